/* SPDX-License-Identifier: GPL-2.0-or-later
 * 8259A interrupt controller; a PC has two.  Source: Intel 8259A data sheet; the edge/level register ELCR at 4D0h/4D1h
 * is from the PIIX data sheet.  Left out on purpose: 8080 mode, buffered mode and special fully nested mode, which no PC
 * software uses: their bits have no effect. */
#include "hw/intc/i8259.h"

enum { ICW1_INIT = 0x10, ICW1_ICW4 = 1, ICW1_SINGLE = 2, ICW1_LEVEL = 8, ICW4_AEOI = 2, OCW3 = 8 };
enum { CASCADE_PIN = 2 };

typedef struct I8259 {
    Device  dev;
    Line    intr;
    Line    pending[8];                 /* high while a request of that input waits to be taken */
    Device *slave;                      /* property; of the master */
    uint8_t elcr_mask;                  /* property: ELCR bits that can be set */

    uint8_t irr, imr, isr, level;       /* level: of the pins */
    uint8_t icw_base, init_step, lowest;        /* lowest: pin of the lowest priority */
    uint8_t elcr;
    bool    need_icw4, single, aeoi, rotate_aeoi, read_isr, poll, special_mask, all_level;
    Chip    chip;
    uint64_t rises[8];                  /* of the pins, since the start */
} I8259;

/* Priority of the first of some pins: 0 the highest; 8: none is set. */
static unsigned best(const I8259 *p, uint8_t bits)
{
    for (unsigned i = 0; i < 8; i++)
        if (bits >> ((p->lowest + 1 + i) & 7) & 1)
            return i;
    return 8;
}

static uint8_t pin_of(const I8259 *p, unsigned priority) { return (p->lowest + 1 + priority) & 7; }

/* The special mask mode overlooks what is in service and masked, in the nesting and at a non-specific EOI. */
static uint8_t serving(const I8259 *p) { return p->special_mask ? p->isr & ~p->imr : p->isr; }

/* The pin that would be served now, or -1. */
static int pending(const I8259 *p)
{
    unsigned want = best(p, p->irr & ~p->imr);
    return want < best(p, serving(p)) ? pin_of(p, want) : -1;
}

static void settle(void *self)
{
    I8259 *p = self;
    for (unsigned n = 0; n < 8; n++)
        if (p->pending[n].n_sinks)
            line_set(&p->pending[n], !p->chip.lent && p->irr & ~p->imr & 1 << n);
    if (!p->chip.lent)
        line_set(&p->intr, p->init_step == 0 && pending(p) >= 0);
}

static bool is_level(const I8259 *p, unsigned n) { return p->all_level || p->elcr >> n & 1; }

static void input(void *self, unsigned n, bool level)
{
    I8259 *p = self;
    uint8_t bit = 1 << n;
    p->rises[n] += level && !(p->level & bit);
    if (p->chip.lent)
        p->chip.host->input(p->chip.host_self, &p->chip, n, level);
    else if (level && (is_level(p, n) || !(p->level & bit)))
        p->irr |= bit;
    else if (!level)
        p->irr &= ~bit;                 /* edge mode as well: the pin must stay high until INTA */
    p->level = level ? p->level | bit : p->level & ~bit;
}

static void serve(I8259 *p, unsigned n)
{
    if (!p->aeoi)
        p->isr |= 1 << n;
    else if (p->rotate_aeoi)
        p->lowest = n;
    if (!is_level(p, n))
        p->irr &= ~(1 << n);
}

static uint8_t acknowledge(I8259 *p)
{
    int n = pending(p);
    if (n < 0)
        return p->icw_base + 7;         /* spurious: IR7, ISR untouched */
    serve(p, n);
    uint8_t vector = p->icw_base + n;
    if (n == CASCADE_PIN && p->slave) {
        I8259 *s = (I8259 *)p->slave;
        vector = acknowledge(s);
        settle(s);
    }
    return vector;
}

uint8_t i8259_acknowledge(Device *master)
{
    I8259 *p = (I8259 *)master;
    uint8_t vector = acknowledge(p);
    settle(p);
    return vector;
}

static void end_of_interrupt(I8259 *p, uint8_t v)
{
    bool rotate = v & 0x80, specific = v & 0x40;
    if (!(v & 0x20)) {
        if (specific && rotate)
            p->lowest = v & 7;          /* set priority */
        else if (!specific)
            p->rotate_aeoi = rotate;
        return;
    }
    unsigned i = best(p, serving(p));
    if (!specific && i == 8)
        return;
    uint8_t n = specific ? v & 7 : pin_of(p, i);
    p->isr &= ~(1 << n);
    if (rotate)
        p->lowest = n;
}

static void icw1(I8259 *p, uint8_t v)
{
    p->init_step = 2;
    p->need_icw4 = v & ICW1_ICW4;
    p->single = v & ICW1_SINGLE;
    p->all_level = v & ICW1_LEVEL;
    p->imr = p->isr = 0;
    p->irr = p->all_level ? p->level : p->level & p->elcr;      /* the edge sense is reset */
    p->lowest = 7;
    p->aeoi = p->rotate_aeoi = p->read_isr = p->poll = p->special_mask = false;
}

static void command(I8259 *p, uint8_t v)
{
    if (v & ICW1_INIT) {
        icw1(p, v);
    } else if (v & OCW3) {
        if (v & 2)
            p->read_isr = v & 1;
        p->poll = v & 4;
        if (v & 0x40)
            p->special_mask = v & 0x20;
    } else {
        end_of_interrupt(p, v);
    }
}

static void data(I8259 *p, uint8_t v)
{
    switch (p->init_step) {
    case 0:
        p->imr = v;
        return;
    case 2:
        p->icw_base = v & 0xf8;
        p->init_step = p->single ? (p->need_icw4 ? 4 : 0) : 3;
        return;
    case 3:
        p->init_step = p->need_icw4 ? 4 : 0;
        return;
    case 4:
        p->aeoi = v & ICW4_AEOI;
        p->init_step = 0;
    }
}

static uint64_t io_read(void *self, uint64_t off, unsigned size)
{
    I8259 *p = self;
    if (p->chip.lent)
        return 0xff;
    if (p->poll) {                      /* the poll command: the read is the acknowledgement */
        p->poll = false;
        int n = pending(p);
        if (n >= 0)
            serve(p, n);
        return n < 0 ? 0 : 0x80 | n;
    }
    return off ? p->imr : p->read_isr ? p->isr : p->irr;
}

static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    I8259 *p = self;
    if (p->chip.lent)
        return;
    if (off)
        data(p, v);
    else
        command(p, v);
}

static uint64_t elcr_read(void *self, uint64_t off, unsigned size) { I8259 *p = self; return p->elcr; }
static void elcr_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    I8259 *p = self;
    uint8_t changed = p->elcr;
    if (p->chip.lent)
        return;
    p->elcr = v & p->elcr_mask;
    changed ^= p->elcr;
    if (!p->all_level)
        p->irr = (p->irr & ~changed) | (p->level & p->elcr);
}

static void chip_lend(void *self, ChipRegs *to)
{
    I8259 *p = self;
    domain_enter(p->dev.domain);
    to->pic = (PicRegs){
        .irr = p->irr, .imr = p->imr, .isr = p->isr, .level = p->level, .base = p->icw_base, .elcr = p->elcr,
        .lowest = p->lowest, .init_step = p->init_step, .need_icw4 = p->need_icw4, .single = p->single, .aeoi = p->aeoi,
        .rotate_aeoi = p->rotate_aeoi, .read_isr = p->read_isr, .poll = p->poll, .special_mask = p->special_mask,
        .all_level = p->all_level };
    p->chip.lent = true;
    domain_leave(p->dev.domain);
}

static void chip_take(void *self, const ChipRegs *from)
{
    I8259 *p = self;
    const PicRegs *r = &from->pic;
    domain_enter(p->dev.domain);
    p->chip.lent = false;
    p->irr = r->irr;
    p->imr = r->imr;
    p->isr = r->isr;
    p->icw_base = r->base;
    p->elcr = r->elcr & p->elcr_mask;
    p->lowest = r->lowest & 7;
    p->init_step = r->init_step;
    p->need_icw4 = r->need_icw4;
    p->single = r->single;
    p->aeoi = r->aeoi;
    p->rotate_aeoi = r->rotate_aeoi;
    p->read_isr = r->read_isr;
    p->poll = r->poll;
    p->special_mask = r->special_mask;
    p->all_level = r->all_level;
    settle(p);
    domain_leave(p->dev.domain);
}

static const ChipOps chip_ops = { chip_lend, chip_take };

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };
static const RegionOps elcr_ops = { elcr_read, elcr_write, .min = 1, .max = 1 };

static void reset(void *self)
{
    I8259 *p = self;
    icw1(p, ICW1_ICW4);
    p->init_step = 0;
    p->icw_base = p->elcr = 0;
    p->imr = 0xff;                      /* not specified; masked is what firmware leaves behind */
}

static const Field props[] = {
    PROP(I8259, slave, "slave", "the 8259 behind IR2"),
    PROP_SET(I8259, elcr_mask, "elcr-mask", "0xf8", "pins that may be level-triggered"),
    { 0 }
};
static const Field pins[] = { PIN(I8259, intr, "int"), PIN_IN("ir", 8, input), PIN(I8259, pending, "pending"), { 0 } };
static const Field state[] = {
    FIELD(I8259, irr), FIELD(I8259, imr), FIELD(I8259, isr), FIELD(I8259, level), FIELD(I8259, icw_base),
    FIELD(I8259, init_step), FIELD(I8259, lowest), FIELD(I8259, elcr), FIELD(I8259, need_icw4), FIELD(I8259, single),
    FIELD(I8259, aeoi), FIELD(I8259, rotate_aeoi), FIELD(I8259, read_isr), FIELD(I8259, poll),
    FIELD(I8259, special_mask), FIELD(I8259, all_level), { 0 }
};

static bool init(void *self, GError **err)
{
    I8259 *p = self;
    p->chip = (Chip){ .kind = CHIP_PIC, .index = p->slave ? 0 : 1, .ops = &chip_ops, .self = p };
    return !p->slave || p->slave->type == &i8259_type || fail(err, "slave: %s is not an 8259", p->slave->id);
}

static bool restored(void *self, GError **err)
{
    I8259 *p = self;
    p->elcr &= p->elcr_mask;
    if (p->lowest > 7 || p->init_step > 4 || p->init_step == 1)
        return fail(err, "8259 state out of range (lowest %u, step %u)", p->lowest, p->init_step);
    return true;
}

const DeviceType i8259_type = {
    .name = "i8259", .help = "interrupt controller", .size = sizeof(I8259),
    .windows = { { .span = 2, .ops = &ops }, { .name = "elcr", .span = 1, .ops = &elcr_ops } },
    .props = props, .pins = pins, .state = state, .init = init,
    .reset = reset, .settle = settle, .restored = restored, .chip = offsetof(I8259, chip),
    .irqs = offsetof(I8259, rises), .n_irqs = 8,
};
