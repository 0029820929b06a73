/* SPDX-License-Identifier: GPL-2.0-or-later
 * I/O APIC, 24 inputs.  Source: Intel 82093AA data sheet; the EOI register is that of version 0x20 (ICH). */
#include "hw/intc/ioapic.h"

#include "hw/core/machine.h"
#include "hw/intc/lapic.h"

enum { RTE_LOGICAL = 1 << 11, RTE_STATUS = 1 << 12, RTE_LOW = 1 << 13, RTE_REMOTE_IRR = 1 << 14, RTE_LEVEL = 1 << 15,
       RTE_MASKED = 1 << 16 };
enum { REG_ID, REG_VER, REG_ARB, REG_REDTBL = 0x10, VERSION = 0x20 | (IOAPIC_PINS - 1) << 16 };

typedef struct Ioapic {
    Device   dev;
    uint32_t id;
    uint8_t  select;
    uint32_t level;                     /* of the inputs, active high inside */
    uint64_t rte[IOAPIC_PINS];
    uint32_t sent;                      /* edges in the IRR of a local APIC, of the inputs whose `pending` leads anywhere */
    Line     pending[IOAPIC_PINS];      /* high while the request of an edge of that input waits to be taken */
    Chip     chip;
    uint64_t rises[IOAPIC_PINS];        /* of the inputs, since the start */
} Ioapic;
_Static_assert((int)IOAPIC_PINS == (int)CHIP_IOAPIC_PINS, "IoapicRegs");

/* SMI, NMI, INIT and ExtINT are edges whatever the trigger mode says: nobody would end them. */
static bool is_level(uint64_t rte)
{
    unsigned mode = rte >> 8 & 7;
    return rte & RTE_LEVEL && (mode == DM_FIXED || mode == DM_LOWEST);
}

static void send(Ioapic *p, unsigned n)
{
    uint64_t r = p->rte[n];
    if (is_level(r))
        p->rte[n] |= RTE_REMOTE_IRR;
    bool accepted = lapic_deliver(p->dev.machine, &(ApicMessage){
        .dest = apic_dest8(r >> 56, r & RTE_LOGICAL), .vector = r, .mode = r >> 8 & 7, .logical = r & RTE_LOGICAL,
        .level = is_level(r), .assert = true });
    if (accepted && !is_level(r) && p->pending[n].n_sinks)
        p->sent |= 1u << n;
}

/* What was sent is no longer this input's affair, or was taken: who hears of it may raise the input at once. */
static void forget_sent(Ioapic *p, uint32_t pins)
{
    pins &= p->sent;
    p->sent &= ~pins;
    for (unsigned n = 0; pins >> n; n++)
        if (pins >> n & 1)
            line_set(&p->pending[n], p->sent >> n & 1);
}

/* Level-triggered inputs that are high and that nobody is serving. */
static void settle(void *self)
{
    Ioapic *p = self;
    for (unsigned n = 0; n < IOAPIC_PINS && !p->chip.lent; n++)
        if (p->level >> n & 1 && is_level(p->rte[n]) && !(p->rte[n] & (RTE_MASKED | RTE_REMOTE_IRR)))
            send(p, n);
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        if (p->pending[n].n_sinks)
            line_set(&p->pending[n], p->sent >> n & 1);
}

static void input(void *self, unsigned n, bool level)
{
    Ioapic *p = self;
    uint32_t bit = 1u << n;
    bool edge = level && !(p->level & bit);
    p->level = level ? p->level | bit : p->level & ~bit;
    p->rises[n] += edge;
    if (p->chip.lent) {
        p->chip.host->input(p->chip.host_self, &p->chip, n, level);
        return;
    }
    /* An edge while masked is lost: data sheet, "Interrupt Mask". */
    if (edge && !is_level(p->rte[n]) && !(p->rte[n] & RTE_MASKED))
        send(p, n);
}

void ioapic_eoi(Device *d, uint8_t vector)
{
    Ioapic *p = (Ioapic *)d;
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        if ((uint8_t)p->rte[n] == vector)
            p->rte[n] &= ~(uint64_t)RTE_REMOTE_IRR;
    settle(p);
}

void ioapic_taken(Device *d, uint8_t vector)
{
    Ioapic *p = (Ioapic *)d;
    uint32_t pins = 0;
    for (unsigned n = 0; p->sent >> n; n++)
        pins |= (uint32_t)((uint8_t)p->rte[n] == vector) << n;
    forget_sent(p, pins);
}

static uint32_t read_reg(const Ioapic *p)
{
    switch (p->select) {
    case REG_ID:
    case REG_ARB:
        return p->id << 24;
    case REG_VER:
        return VERSION;
    case REG_REDTBL ... REG_REDTBL + 2 * IOAPIC_PINS - 1: {
        uint64_t r = p->rte[(p->select - REG_REDTBL) / 2];
        return p->select & 1 ? r >> 32 : r;
    }
    }
    return 0;
}

static void write_reg(Ioapic *p, uint32_t v)
{
    if (p->select == REG_ID) {
        p->id = v >> 24 & 0xf;
    } else if (p->select >= REG_REDTBL && p->select < REG_REDTBL + 2 * IOAPIC_PINS) {
        uint64_t *r = &p->rte[(p->select - REG_REDTBL) / 2];
        const uint64_t ro = RTE_STATUS | RTE_REMOTE_IRR, old = *r;
        if (p->select & 1)
            *r = (uint32_t)*r | (uint64_t)(v & 0xff000000) << 32;
        else
            *r = (*r & ~UINT64_C(0xffffffff)) | (*r & ro) | (v & ~ro & 0x1ffff);
        if (!is_level(*r))                 /* an edge pin has none; kernels clear a stuck one this way */
            *r &= ~(uint64_t)RTE_REMOTE_IRR;
        if ((uint32_t)(old ^ *r) & ~ro)
            forget_sent(p, 1u << (p->select - REG_REDTBL) / 2);
        if (p->chip.host && p->chip.host->entry)
            p->chip.host->entry(p->chip.host_self, (p->select - REG_REDTBL) / 2, *r);
    }
}

static uint64_t mmio_read(void *self, uint64_t off, unsigned size)
{
    Ioapic *p = self;
    return p->chip.lent ? UINT32_MAX : off == 0 ? p->select : off == 0x10 ? read_reg(p) : 0;
}

static void mmio_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Ioapic *p = self;
    if (p->chip.lent)
        return;
    if (off == 0)
        p->select = v;
    else if (off == 0x10)
        write_reg(p, v);
    else if (off == 0x40)
        ioapic_eoi(&p->dev, v);
}

static void chip_lend(void *self, ChipRegs *to)
{
    Ioapic *p = self;
    domain_enter(p->dev.domain);
    to->ioapic = (IoapicRegs){ .id = p->id, .level = p->level, .select = p->select };
    memcpy(to->ioapic.rte, p->rte, sizeof p->rte);
    p->sent = 0;
    p->chip.lent = true;
    domain_leave(p->dev.domain);
}

static void chip_take(void *self, const ChipRegs *from)
{
    Ioapic *p = self;
    domain_enter(p->dev.domain);
    p->chip.lent = false;
    p->id = from->ioapic.id & 0xf;
    p->select = from->ioapic.select;
    memcpy(p->rte, from->ioapic.rte, sizeof p->rte);
    settle(p);
    domain_leave(p->dev.domain);
}

static void chip_eoi(void *self, uint8_t vector)
{
    Ioapic *p = self;
    domain_enter(p->dev.domain);
    ioapic_eoi(&p->dev, vector);
    domain_leave(p->dev.domain);
}

static const ChipOps chip_ops = { chip_lend, chip_take, chip_eoi };

static bool init(void *self, GError **err)
{
    Ioapic *p = self;
    p->chip = (Chip){ .kind = CHIP_IOAPIC, .ops = &chip_ops, .self = p };
    return true;
}

static const RegionOps ops = { mmio_read, mmio_write, .min = 4, .max = 4 };

static void reset(void *self)
{
    Ioapic *p = self;
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        p->rte[n] = RTE_MASKED;
}

static const Field pins[] = { PIN_IN("in", IOAPIC_PINS, input), PIN(Ioapic, pending, "pending"), { 0 } };
static const Field state[] = {
    FIELD(Ioapic, id), FIELD(Ioapic, select), FIELD(Ioapic, level), FIELD(Ioapic, rte), FIELD_SINCE(2, Ioapic, sent), { 0 }
};

static bool restored(void *self, GError **err)
{
    Ioapic *p = self;
    p->id &= 0xf;
    p->level &= (1u << IOAPIC_PINS) - 1;
    p->sent &= (1u << IOAPIC_PINS) - 1;
    return true;
}

const DeviceType ioapic_type = {
    .name = "ioapic", .help = "I/O APIC", .size = sizeof(Ioapic), .span = 0x1000, .ops = &ops,
    .pins = pins, .state = state, .init = init, .reset = reset, .settle = settle, .restored = restored,
    .chip = offsetof(Ioapic, chip), .irqs = offsetof(Ioapic, rises), .n_irqs = IOAPIC_PINS,
};
