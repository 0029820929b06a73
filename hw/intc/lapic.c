/* SPDX-License-Identifier: GPL-2.0-or-later
 * Local APIC with x2APIC mode and TSC-deadline timer.  Source: Intel SDM vol. 3, chapter "Advanced Programmable
 * Interrupt Controller".  Left out on purpose: thermal, performance and CMCI sources (their LVT entries are kept). */
#include "hw/intc/lapic.h"

#include <inttypes.h>

#include "hw/core/machine.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "util/bits.h"

enum {
    APICBASE_BSP = 1 << 8, APICBASE_X2 = 1 << 10, APICBASE_EN = 1 << 11,
    SVR_ENABLE = 1 << 8,
    LVT_MASKED = 1 << 16, LVT_LEVEL = 1 << 15, LVT_REMOTE_IRR = 1 << 14,
    LVT_TIMER_MODE = 3 << 17, TIMER_ONESHOT = 0, TIMER_PERIODIC = 1 << 17, TIMER_DEADLINE = 2 << 17,
    ESR_SEND_ILLEGAL = 1 << 5, ESR_RECV_ILLEGAL = 1 << 6, ESR_ILLEGAL_REG = 1 << 7,
    VERSION = 0x14 | 5 << 16,           /* 6 LVT entries; no EOI-broadcast suppression */
    ICR_BITS = 0xccfff, ICR2_XAPIC = 0xff000000u, DCR_BITS = 0xb, SVR_BITS = 0x1ff,
};
#define BASE_ADDR UINT64_C(0xffffff000)     /* 36 bits: every x86-64 processor has them */
enum { MSR_APICBASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, N_LVT };
/* Register offsets / 16 */
enum {
    R_ID = 0x2, R_VERSION = 0x3, R_TPR = 0x8, R_APR = 0x9, R_PPR = 0xa, R_EOI = 0xb, R_LDR = 0xd, R_DFR = 0xe, R_SVR = 0xf,
    R_ISR = 0x10, R_TMR = 0x18, R_IRR = 0x20, R_ESR = 0x28, R_ICR = 0x30, R_ICR2 = 0x31, R_LVT = 0x32, R_TIMER_ICT = 0x38,
    R_TIMER_CCT = 0x39, R_TIMER_DCR = 0x3e, R_SELF_IPI = 0x3f,
};

typedef struct Lapic {
    Device    dev;
    uint32_t  id;                       /* property: initial APIC id */
    Device   *pic;                      /* property: the 8259 behind LINT0 */
    CpuPort  *port;

    uint64_t  base;                     /* IA32_APIC_BASE */
    uint32_t  xid, tpr, ldr, dfr, svr, esr, esr_new, icr, icr2, dcr, ict;
    uint32_t  lvt[N_LVT];
    uint32_t  isr[8], irr[8], tmr[8];   /* tmr: level-triggered */
    bool      lint[2];                  /* levels of the LINT0 and LINT1 pins */
    int64_t   timer_start;              /* guest ns at which the initial count was loaded */
    uint64_t  deadline;                 /* TSC; 0: not armed */
    Timer     timer;
    Chip      chip;
    uint64_t  taken[256];               /* by vector, since the start, ExtINT's among them */
} Lapic;

static bool enabled(const Lapic *a) { return a->base & APICBASE_EN; }
static bool x2(const Lapic *a) { return (a->base & (APICBASE_EN | APICBASE_X2)) == (APICBASE_EN | APICBASE_X2); }
static bool soft_on(const Lapic *a) { return a->svr & SVR_ENABLE; }
static bool soft_enabled(const Lapic *a) { return enabled(a) && soft_on(a); }
static uint32_t apic_id(const Lapic *a) { return x2(a) ? a->id : a->xid >> 24; }

static void set_bit(uint32_t *r, unsigned n) { r[n / 32] |= 1u << n % 32; }
static void clear_bit(uint32_t *r, unsigned n) { r[n / 32] &= ~(1u << n % 32); }
static bool test_bit(const uint32_t *r, unsigned n) { return r[n / 32] >> n % 32 & 1; }
static int highest(const uint32_t *r)
{
    for (int i = 7; i >= 0; i--)
        if (r[i])
            return i * 32 + 31 - __builtin_clz(r[i]);
    return -1;
}

/* SDM "Task Priority and Processor Priority": the higher of TPR and the class in service. */
static unsigned ppr(const Lapic *a)
{
    int in_service = highest(a->isr);
    unsigned s = in_service < 0 ? 0 : in_service & 0xf0;
    return (a->tpr & 0xf0) >= s ? a->tpr : s;
}

/* The 8259's interrupt comes through LINT0 in ExtINT mode, or straight when the APIC is off. */
static bool extint(const Lapic *a)
{
    if (!a->lint[0])
        return false;
    if (!enabled(a))
        return true;
    return (a->lvt[LVT_LINT0] & (LVT_MASKED | 7 << 8)) == DM_EXTINT << 8;
}

/* The vector of the APIC's own that is due, or -1. */
static int due(const Lapic *a)
{
    int v = highest(a->irr);
    return soft_enabled(a) && v >= 0 && (unsigned)(v & 0xf0) > (ppr(a) & 0xf0) ? v : -1;
}

static void lapic_settle(void *self)
{
    Lapic *a = self;
    if (!a->port || a->chip.lent)
        return;
    if (extint(a) || due(a) >= 0)
        port_set(a->port, PORT_INTR);
    else
        port_clear(a->port, PORT_INTR);
}

static void lvt_fire(Lapic *a, unsigned n);

static void signal_cpu(Lapic *a, uint32_t bits)
{
    if (a->port)
        port_set(a->port, bits);
}

static void error(Lapic *a, uint32_t bit)
{
    a->esr_new |= bit;
    if (!(a->lvt[LVT_ERROR] & LVT_MASKED))
        lvt_fire(a, LVT_ERROR);
}

static bool accept(Lapic *a, uint8_t vector, bool level)
{
    if (!soft_enabled(a))
        return false;
    if (vector < 16) {
        if (!(a->esr_new & ESR_RECV_ILLEGAL))       /* the error interrupt may itself have such a vector */
            error(a, ESR_RECV_ILLEGAL);
        return false;
    }
    set_bit(a->irr, vector);
    if (level)
        set_bit(a->tmr, vector);
    else
        clear_bit(a->tmr, vector);
    return true;
}

static bool level_pin(const Lapic *a, unsigned n)
{
    return (n == LVT_LINT0 || n == LVT_LINT1) && (a->lvt[n] & (LVT_LEVEL | 7 << 8)) == (LVT_LEVEL | DM_FIXED << 8);
}

static void lvt_fire(Lapic *a, unsigned n)
{
    uint32_t lvt = a->lvt[n];
    if (lvt & LVT_MASKED)
        return;
    switch (lvt >> 8 & 7) {
    case DM_FIXED:
        if (level_pin(a, n))
            a->lvt[n] |= LVT_REMOTE_IRR;
        accept(a, lvt, level_pin(a, n));
        break;
    case DM_NMI:
        signal_cpu(a, PORT_NMI);
        break;
    case DM_SMI:
        signal_cpu(a, PORT_SMI);
        break;
    case DM_INIT:
        signal_cpu(a, PORT_INIT);
        break;
    }
}

/* Level-triggered local pins: high, and not in service. */
static void sample_pin(Lapic *a, unsigned n)
{
    if (enabled(a) && a->lint[n - LVT_LINT0] && level_pin(a, n) && !(a->lvt[n] & LVT_REMOTE_IRR))
        lvt_fire(a, n);
}

static void lint_input(void *self, unsigned n, bool level)
{
    Lapic *a = self;
    bool rise = level && !a->lint[n];
    a->lint[n] = level;
    if (a->chip.lent) {
        a->chip.host->input(a->chip.host_self, &a->chip, n, level);
        return;
    }
    if (!enabled(a)) {
        if (rise && n == 1)
            signal_cpu(a, PORT_NMI);                /* LINT1 is the NMI pin then, LINT0 is INTR: see extint() */
    } else if (level_pin(a, LVT_LINT0 + n)) {
        sample_pin(a, LVT_LINT0 + n);
    } else if (rise) {
        lvt_fire(a, LVT_LINT0 + n);
    }
}

/* --- timer */

static unsigned divide(const Lapic *a)
{
    unsigned code = (a->dcr & 3) | (a->dcr >> 1 & 4);
    return code == 7 ? 1 : 2u << code;
}

/* LAPIC_BUS_HZ is 1 GHz: one undivided tick is one nanosecond. */
static int64_t period(const Lapic *a) { return (int64_t)a->ict * divide(a); }

static uint32_t current_count(const Lapic *a)
{
    if (!a->ict || (a->lvt[LVT_TIMER] & LVT_TIMER_MODE) == TIMER_DEADLINE)
        return 0;
    int64_t gone = clock_now_ns(a->dev.machine->clock) - a->timer_start;
    if (gone >= period(a)) {
        if ((a->lvt[LVT_TIMER] & LVT_TIMER_MODE) != TIMER_PERIODIC)
            return 0;
        gone %= period(a);
    }
    return a->ict - gone / divide(a);
}

/* The guest time at which the TSC gets to the deadline; TIME_NEVER if that is beyond what the clock can say. */
static int64_t deadline_ns(const Lapic *a, int64_t now)
{
    if (a->deadline <= a->port->tsc_at(a->port, now))
        return now;
    uint64_t ns = a->port->ns_of_tsc(a->port, a->deadline);
    return ns < (uint64_t)now || ns > INT64_MAX ? TIME_NEVER : (int64_t)ns;
}

static void timer_arm(Lapic *a)
{
    uint32_t mode = a->lvt[LVT_TIMER] & LVT_TIMER_MODE;
    int64_t now = clock_now_ns(a->dev.machine->clock), at = TIME_NEVER;
    if (mode == TIMER_DEADLINE) {
        if (a->deadline && a->port)
            at = deadline_ns(a, now);
    } else if (a->ict) {
        at = a->timer_start + period(a);
        if (mode == TIMER_PERIODIC && at <= now)    /* late: once for all that were missed */
            at = now + period(a) - (now - a->timer_start) % period(a);
        if (mode == TIMER_PERIODIC)
            at = device_period_at(at, period(a), now);
    }
    timer_set_ns(&a->timer, at);
}

static void timer_fired(void *self)
{
    Lapic *a = self;
    uint32_t mode = a->lvt[LVT_TIMER] & LVT_TIMER_MODE;
    if (mode == TIMER_DEADLINE)
        a->deadline = 0;
    lvt_fire(a, LVT_TIMER);
    if (mode == TIMER_PERIODIC)
        timer_arm(a);
}

/* --- messages */

static bool is_for(const Lapic *a, const ApicMessage *m)
{
    if (!enabled(a))
        return false;
    if (!m->logical)
        return m->dest == apic_id(a) || m->dest == 0xffffffff || (!x2(a) && m->dest == 0xff);
    if (x2(a)) {
        uint32_t ldr = a->id >> 4 << 16 | 1u << (a->id & 15);
        return m->dest == 0xffffffff || (m->dest >> 16 == ldr >> 16 && m->dest & ldr & 0xffff);
    }
    uint32_t mda = m->dest & 0xff, ldr = a->ldr >> 24;
    if (a->dfr >> 28 == 0xf)
        return mda & ldr;
    return (mda >> 4 == ldr >> 4 || mda >> 4 == 0xf) && mda & ldr & 0xf;
}

static void reset_registers(Lapic *a);

/* Returns whether it is in the IRR. */
static bool take(Lapic *a, const ApicMessage *m)
{
    bool requested = false;
    if (m->level && !m->assert)                     /* a message that a level went; INIT's is for APICs of the Pentium */
        return false;
    switch (m->mode) {
    case DM_FIXED:
    case DM_LOWEST:
        requested = accept(a, m->vector, m->level);
        break;
    case DM_SMI:
        signal_cpu(a, PORT_SMI);
        break;
    case DM_NMI:
        signal_cpu(a, PORT_NMI);
        break;
    case DM_INIT:
        if (a->port)
            port_clear(a->port, PORT_SIPI);         /* one that came before it has no effect */
        reset_registers(a);                         /* SDM "Local APIC State After It Receives an INIT-Deassert IPI" */
        signal_cpu(a, PORT_INIT);
        break;
    case DM_SIPI:
        if (a->port)
            a->port->sipi_vector = m->vector;
        signal_cpu(a, PORT_SIPI);
        break;
    }
    lapic_settle(a);
    return requested;
}

extern const DeviceType lapic_type;

static Lapic *lapic_of(Device *d) { return d->type == &lapic_type ? (Lapic *)d : NULL; }

/* The message as a device would send it: SDM vol. 3, "Message Signalled Interrupts".  Identifiers above 255 go where the
 * kernel's KVM_X2APIC_API and hypervisors with extended destinations expect them: address bits 63..40. */
static void pass_on(Lapic *a, const ApicMessage *m)
{
    bool all = m->dest == 0xffffffff;
    uint64_t addr = LAPIC_BASE | (m->dest & 0xff) << 12 | m->logical << 2 | (m->mode == DM_LOWEST) << 3 |
                    (all ? 0 : (uint64_t)(m->dest & 0xffffff00) << 32);
    a->chip.host->message(a->chip.host_self, addr, m->vector | m->mode << 8 | m->assert << 14 | (uint32_t)m->level << 15);
}

bool lapic_deliver(Machine *m, const ApicMessage *msg)
{
    Lapic *best = NULL;
    bool requested = false;
    for (unsigned i = 0; i < m->devices->len; i++) {
        Lapic *a = lapic_of(g_ptr_array_index(m->devices, i));
        if (a && a->chip.lent) {                    /* all are, or none */
            pass_on(a, msg);
            return false;
        }
        if (!a || !is_for(a, msg))
            continue;
        if (msg->mode != DM_LOWEST)
            requested |= take(a, msg);
        else if (soft_enabled(a) && (!best || ppr(a) < ppr(best)))
            best = a;
    }
    return best ? take(best, msg) : requested;
}

static void msi_message(void *self, uint64_t addr, uint32_t data)
{
    lapic_deliver(self, &(ApicMessage){
        .dest = apic_dest8(addr >> 12, addr >> 2 & 1), .logical = addr >> 2 & 1, .vector = data, .mode = data >> 8 & 7,
        .level = data >> 15 & 1, .assert = data >> 14 & 1 });
}

MsiSink lapic_msi_sink(Machine *m) { return (MsiSink){ msi_message, m, &m->legacy }; }

static void send_ipi(Lapic *a)
{
    ApicMessage msg = {
        .dest = x2(a) ? a->icr2 : a->icr2 >> 24, .vector = a->icr, .mode = a->icr >> 8 & 7, .logical = a->icr >> 11 & 1,
        .assert = a->icr >> 14 & 1, .level = a->icr >> 15 & 1,
    };
    bool fixed = msg.mode == DM_FIXED || msg.mode == DM_LOWEST;
    if (fixed && msg.vector < 16) {
        error(a, ESR_SEND_ILLEGAL);
        return;
    }
    if (msg.mode != DM_INIT)
        msg.level = false;                          /* IPIs are edges whatever the trigger bit says */
    switch (a->icr >> 18 & 3) {
    case 0:
        lapic_deliver(a->dev.machine, &msg);
        break;
    case 1:
        take(a, &msg);
        break;
    default:
        for (unsigned i = 0; i < a->dev.machine->devices->len; i++) {
            Lapic *other = lapic_of(g_ptr_array_index(a->dev.machine->devices, i));
            if (other && enabled(other) && (other != a || (a->icr >> 18 & 3) == 2))
                take(other, &msg);
        }
    }
}

static void tell_ioapics(Lapic *a, uint8_t vector, void (*fn)(Device *ioapic, uint8_t vector))
{
    for (unsigned i = 0; i < a->dev.machine->devices->len; i++) {
        Device *d = g_ptr_array_index(a->dev.machine->devices, i);
        if (d->type == &ioapic_type)
            fn(d, vector);
    }
}

static void eoi(Lapic *a)
{
    int v = highest(a->isr);
    if (v < 0)
        return;
    clear_bit(a->isr, v);
    if (!test_bit(a->tmr, v))
        return;
    for (unsigned n = LVT_LINT0; n <= LVT_LINT1; n++) {
        if (!level_pin(a, n) || (uint8_t)a->lvt[n] != v)
            continue;
        a->lvt[n] &= ~LVT_REMOTE_IRR;
        sample_pin(a, n);
    }
    tell_ioapics(a, v, ioapic_eoi);
}

/* --- registers, by offset / 16: MMIO and x2APIC MSRs share them */

static bool reg_read(Lapic *a, unsigned r, uint32_t *v)
{
    switch (r) {
    case R_ID: *v = x2(a) ? a->id : a->xid; return true;
    case R_VERSION: *v = VERSION; return true;
    case R_TPR: *v = a->tpr; return true;
    case R_APR: *v = 0; return true;
    case R_PPR: *v = ppr(a); return true;
    case R_EOI: *v = 0; return !x2(a);
    case R_LDR: *v = x2(a) ? a->id >> 4 << 16 | 1u << (a->id & 15) : a->ldr; return true;
    case R_DFR: *v = a->dfr; return !x2(a);
    case R_SVR: *v = a->svr; return true;
    case R_ISR ... R_ISR + 7: *v = a->isr[r - R_ISR]; return true;
    case R_TMR ... R_TMR + 7: *v = a->tmr[r - R_TMR]; return true;
    case R_IRR ... R_IRR + 7: *v = a->irr[r - R_IRR]; return true;
    case R_ESR: *v = a->esr; return true;
    case R_ICR: *v = a->icr; return true;
    case R_ICR2: *v = a->icr2; return true;
    case R_LVT ... R_LVT + N_LVT - 1:
        *v = a->lvt[r - R_LVT];
        return true;
    case R_TIMER_ICT: *v = a->ict; return true;
    case R_TIMER_CCT: *v = current_count(a); return true;
    case R_TIMER_DCR: *v = a->dcr; return true;
    }
    return false;
}

/* Bits that can be written. */
static const uint32_t lvt_bits[N_LVT] = { 0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff };

static void lvt_write(Lapic *a, unsigned n, uint32_t v)
{
    uint32_t old = a->lvt[n];
    a->lvt[n] = (v & lvt_bits[n]) | (soft_on(a) ? 0 : LVT_MASKED);
    if (level_pin(a, n))
        a->lvt[n] |= old & LVT_REMOTE_IRR;
    if (n == LVT_TIMER && (old ^ v) & LVT_TIMER_MODE) {
        a->deadline = 0;                            /* SDM: the timer is disarmed when the mode changes */
        a->ict = 0;
        timer_arm(a);
    }
    if (n == LVT_LINT0 || n == LVT_LINT1)
        sample_pin(a, n);
}

static void svr_write(Lapic *a, uint32_t v)
{
    a->svr = v & SVR_BITS;
    for (unsigned i = 0; i < N_LVT && !soft_on(a); i++)
        a->lvt[i] |= LVT_MASKED;
}

/* The count goes on from where it stands at the new rate. */
static void dcr_write(Lapic *a, uint32_t v)
{
    uint32_t count = current_count(a);
    bool armed = timer_armed(&a->timer);
    a->dcr = v & DCR_BITS;
    if (!a->ict)
        return;
    a->timer_start = clock_now_ns(a->dev.machine->clock) - (int64_t)(a->ict - count) * divide(a);
    if (armed)
        timer_arm(a);
}

static void ict_write(Lapic *a, uint32_t v)
{
    if ((a->lvt[LVT_TIMER] & LVT_TIMER_MODE) == TIMER_DEADLINE)
        return;                                     /* ignored in this mode */
    a->ict = v;
    a->timer_start = clock_now_ns(a->dev.machine->clock);
    timer_arm(a);
}

/* False: no such register, or read-only. */
static bool reg_write(Lapic *a, unsigned r, uint32_t v)
{
    bool x = !x2(a);                                /* registers that x2APIC mode has not, or has read-only */
    switch (r) {
    case R_ID:
        a->xid = x ? v & 0xff000000 : a->xid;
        return x;
    case R_TPR:
        a->tpr = v & 0xff;
        return true;
    case R_EOI:
        eoi(a);
        return true;
    case R_LDR:
        a->ldr = x ? v & 0xff000000 : a->ldr;
        return x;
    case R_DFR:
        a->dfr = x ? v | 0x0fffffff : a->dfr;
        return x;
    case R_SVR:
        svr_write(a, v);
        return true;
    case R_ESR:
        a->esr = a->esr_new;                        /* a write latches what has gathered */
        a->esr_new = 0;
        return true;
    case R_ICR:
        a->icr = v & ICR_BITS;
        send_ipi(a);
        return true;
    case R_ICR2:
        a->icr2 = x ? v & ICR2_XAPIC : a->icr2;
        return x;
    case R_LVT ... R_LVT + N_LVT - 1:
        lvt_write(a, r - R_LVT, v);
        return true;
    case R_TIMER_ICT:
        ict_write(a, v);
        return true;
    case R_TIMER_DCR:
        dcr_write(a, v);
        return true;
    case R_SELF_IPI:
        if (!x)
            take(a, &(ApicMessage){ .vector = v });
        return !x;
    }
    return false;
}

/* x2APIC: a bit that must be zero and is not is a #GP. */
static bool x2_bits_ok(unsigned r, uint64_t v)
{
    switch (r) {
    case R_EOI:
    case R_ESR:
        return v == 0;
    case R_TPR:
    case R_SELF_IPI:
        return v <= 0xff;
    case R_SVR:
        return !(v & ~(uint64_t)(SVR_BITS | 1 << 9));       /* bit 9, focus checking, is on older APICs */
    case R_ICR:
        return !((uint32_t)v & ~(ICR_BITS | 1u << 12));     /* bit 12, delivery status, is no longer there */
    case R_LVT ... R_LVT + N_LVT - 1:
        return !(v & ~(uint64_t)(lvt_bits[r - R_LVT] | 1 << 12 | LVT_REMOTE_IRR));      /* these two are read-only */
    case R_TIMER_DCR:
        return !(v & ~(uint64_t)DCR_BITS);
    default:
        return v <= UINT32_MAX;
    }
}

static const CpuIntc lapic_intc;

/* All local APICs have their registers at the same address, unless software has moved one.  Whose window the memory map
 * shows there makes no difference to a CPU, it gets its own; NULL: its own is off or elsewhere.  Others than CPUs get
 * the one that is mapped. */
static Lapic *window_owner(Lapic *a)
{
    if (!port_current || port_current->intc != &lapic_intc)
        return a;
    Lapic *own = port_current->intc_self;
    return own == a || (enabled(own) && !x2(own) && !((own->base ^ a->base) & BASE_ADDR)) ? own : NULL;
}

static uint64_t mmio_read(void *self, uint64_t off, unsigned size)
{
    Lapic *a = window_owner(self);
    uint32_t v = 0;
    if (!a || a->chip.lent)
        return UINT32_MAX;
    if (off & 15 || !reg_read(a, off >> 4, &v)) {
        log_guest_dev(a, "read of reserved register 0x%" PRIx64, off);
        error(a, ESR_ILLEGAL_REG);
        lapic_settle(a);
    }
    return v;
}

static void mmio_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Lapic *a = window_owner(self);
    if (!a || a->chip.lent)
        return;
    if (off & 15 || !reg_write(a, off >> 4, v)) {
        log_guest_dev(a, "write of reserved register 0x%" PRIx64, off);
        error(a, ESR_ILLEGAL_REG);
    }
    lapic_settle(a);
}

static const RegionOps mmio_ops = { mmio_read, mmio_write, .min = 4, .max = 4 };

/* --- the CPU's side */

static int acknowledge(void *self)
{
    Lapic *a = self;
    domain_enter(a->dev.domain);
    int v = a->chip.lent ? -1 : due(a);
    if (a->pic && (a->chip.lent ? a->lint[0] : extint(a))) {
        v = i8259_acknowledge(a->pic);
    } else if (v >= 0) {
        clear_bit(a->irr, v);
        set_bit(a->isr, v);
        tell_ioapics(a, v, ioapic_taken);
    }
    if (v >= 0)
        a->taken[v]++;
    lapic_settle(a);
    domain_leave(a->dev.domain);
    return v;
}

static void lapic_map(void *self)
{
    Lapic *a = self;
    Region *window = &a->dev.windows[0];
    if (!window->parent)
        return;
    region_enable(window, enabled(a) && !x2(a));
    region_move(window, a->base & BASE_ADDR);
}

static bool base_write(Lapic *a, uint64_t v)
{
    uint64_t old = a->base;
    bool to_x2 = v & APICBASE_X2;
    if (v & ~(BASE_ADDR | APICBASE_BSP | APICBASE_EN | APICBASE_X2))
        return false;
    if (to_x2 && !(v & APICBASE_EN))
        return false;
    if ((old & APICBASE_X2) && (v & APICBASE_EN) && !to_x2)     /* SDM: only through "disabled" */
        return false;
    if (!(old & APICBASE_EN) && to_x2)
        return false;
    if (old & APICBASE_EN && !(v & APICBASE_EN))
        reset_registers(a);                         /* SDM "Enabling or Disabling the Local APIC" */
    a->base = v;
    if (old != v)
        device_remap(a, lapic_map);
    return true;
}

static bool msr_read(void *self, uint32_t msr, uint64_t *v)
{
    Lapic *a = self;
    uint32_t low = 0;
    bool ok = true;
    domain_enter(a->dev.domain);
    if (msr == MSR_APICBASE) {
        *v = a->base;
    } else if (msr == MSR_TSC_DEADLINE) {
        *v = a->deadline;
    } else if (x2(a) && msr == MSR_X2APIC + R_ICR) {
        *v = a->icr | (uint64_t)a->icr2 << 32;
    } else {
        ok = x2(a) && msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x40 && msr != MSR_X2APIC + R_ICR2 &&
             msr != MSR_X2APIC + R_APR && reg_read(a, msr - MSR_X2APIC, &low);
        *v = low;
    }
    domain_leave(a->dev.domain);
    return ok;
}

static bool msr_write(void *self, uint32_t msr, uint64_t v)
{
    Lapic *a = self;
    bool ok = true;
    domain_enter(a->dev.domain);
    if (msr == MSR_APICBASE) {
        ok = base_write(a, v);
    } else if (msr == MSR_TSC_DEADLINE) {
        if ((a->lvt[LVT_TIMER] & LVT_TIMER_MODE) == TIMER_DEADLINE) {
            a->deadline = v;
            timer_arm(a);
        }
    } else {
        unsigned r = msr - MSR_X2APIC;
        ok = x2(a) && msr >= MSR_X2APIC && r < 0x40 && r != R_ICR2 && x2_bits_ok(r, v);
        if (ok && r == R_ICR)
            a->icr2 = v >> 32;
        ok = ok && reg_write(a, r, v);
    }
    lapic_settle(a);
    domain_leave(a->dev.domain);
    return ok;
}

static unsigned get_cr8(void *self) { Lapic *a = self; return a->tpr >> 4; }

static void set_cr8(void *self, unsigned v)
{
    Lapic *a = self;
    domain_enter(a->dev.domain);
    a->tpr = (v & 15) << 4;
    lapic_settle(a);
    domain_leave(a->dev.domain);
}

static const CpuIntc lapic_intc = { acknowledge, msr_read, msr_write, get_cr8, set_cr8 };

void lapic_attach(Device *d, CpuPort *port)
{
    Lapic *a = lapic_of(d);
    a->port = port;
    a->chip.index = port->cpu_index;
    port->intc = &lapic_intc;
    port->intc_self = a;
}

/* --- worked by the accelerator */

static void chip_lend(void *self, ChipRegs *to)
{
    Lapic *a = self;
    LapicRegs *r = &to->lapic;
    domain_enter(a->dev.domain);
    *r = (LapicRegs){ .base = a->base, .deadline = a->deadline, .id = a->id };
    for (unsigned i = 0; i < 64; i++)
        reg_read(a, i, &r->reg[i]);
    r->reg[R_LDR] = a->ldr;
    r->reg[R_DFR] = a->dfr;
    r->reg[R_EOI] = 0;
    timer_cancel(&a->timer);
    if (a->port)
        port_clear(a->port, PORT_INTR);
    a->chip.lent = true;
    domain_leave(a->dev.domain);
}

/* A one-shot timer whose count has come to zero fires (once more, maybe): whether the kernel has delivered its interrupt
 * is not to be seen, and one too many harms nobody. */
static void chip_take(void *self, const ChipRegs *from)
{
    Lapic *a = self;
    const LapicRegs *r = &from->lapic;
    domain_enter(a->dev.domain);
    a->chip.lent = false;
    bool moved = a->base != r->base;
    a->base = r->base & (BASE_ADDR | APICBASE_BSP | APICBASE_EN | APICBASE_X2);
    a->deadline = r->deadline;
    a->xid = x2(a) ? a->id << 24 : r->reg[R_ID] & 0xff000000;
    a->tpr = r->reg[R_TPR] & 0xff;
    a->ldr = x2(a) ? a->ldr : r->reg[R_LDR] & 0xff000000;
    a->dfr = x2(a) ? a->dfr : r->reg[R_DFR] | 0x0fffffff;
    a->svr = r->reg[R_SVR] & SVR_BITS;
    a->esr = r->reg[R_ESR];
    a->icr = r->reg[R_ICR] & ICR_BITS;
    a->icr2 = r->reg[R_ICR2];
    memcpy(a->isr, &r->reg[R_ISR], sizeof a->isr);
    memcpy(a->tmr, &r->reg[R_TMR], sizeof a->tmr);
    memcpy(a->irr, &r->reg[R_IRR], sizeof a->irr);
    for (unsigned i = 0; i < N_LVT; i++)
        a->lvt[i] = r->reg[R_LVT + i] & (lvt_bits[i] | LVT_REMOTE_IRR);
    a->dcr = r->reg[R_TIMER_DCR] & DCR_BITS;
    a->ict = r->reg[R_TIMER_ICT];
    int64_t gone = (int64_t)(a->ict - MIN(r->reg[R_TIMER_CCT], a->ict)) * divide(a);
    a->timer_start = a->ict ? clock_now_ns(a->dev.machine->clock) - gone : 0;
    timer_arm(a);
    if (moved)
        device_remap(a, lapic_map);
    lapic_settle(a);
    domain_leave(a->dev.domain);
}

static const ChipOps chip_ops = { chip_lend, chip_take };

static bool lapic_init(void *self, GError **err)
{
    Lapic *a = self;
    a->chip = (Chip){ .kind = CHIP_LAPIC, .ops = &chip_ops, .self = a };
    device_timer_init(a, &a->timer, timer_fired);
    return !a->pic || a->pic->type == &i8259_type || fail(err, "pic: %s is not an 8259", a->pic->id);
}

/* All but the base address and the levels of the pins. */
static void reset_registers(Lapic *a)
{
    a->xid = a->id << 24;
    a->tpr = a->ldr = a->esr = a->esr_new = a->icr = a->icr2 = a->dcr = a->ict = 0;
    a->dfr = 0xffffffff;
    a->svr = 0xff;
    for (unsigned i = 0; i < N_LVT; i++)
        a->lvt[i] = LVT_MASKED;
    memset(a->isr, 0, sizeof(a->isr));
    memset(a->irr, 0, sizeof(a->irr));
    memset(a->tmr, 0, sizeof(a->tmr));
    a->timer_start = 0;
    a->deadline = 0;
    timer_cancel(&a->timer);
}

static void lapic_reset(void *self)
{
    Lapic *a = self;
    reset_registers(a);
    a->base = LAPIC_BASE | APICBASE_EN | (a->id == 0 ? APICBASE_BSP : 0);
    device_remap(a, lapic_map);
}

void lapic_virtual_wire(Device *d)
{
    Lapic *a = lapic_of(d);
    domain_enter(d->domain);
    svr_write(a, SVR_ENABLE | 0xff);
    lvt_write(a, LVT_LINT0, DM_EXTINT << 8);
    lvt_write(a, LVT_LINT1, DM_NMI << 8);
    lapic_settle(a);
    domain_leave(d->domain);
}

static bool lapic_restored(void *self, GError **err)
{
    Lapic *a = self;
    int64_t now = clock_now_ns(a->dev.machine->clock);
    if (a->timer_start > now || a->timer_start < -((INT64_C(1) << 32) * 128))       /* a full count, slowest */
        return fail(err, "its timer started at an impossible time");
    for (unsigned i = 0; i < N_LVT; i++)
        a->lvt[i] &= lvt_bits[i] | (level_pin(a, i) ? LVT_REMOTE_IRR : 0);
    a->base &= BASE_ADDR | APICBASE_BSP | APICBASE_EN | APICBASE_X2;
    a->svr &= SVR_BITS;
    a->tpr &= 0xff;
    device_remap(a, lapic_map);
    return true;
}

static const Field lapic_props[] = {
    PROP(Lapic, id, "id-number", "initial APIC id"),
    PROP(Lapic, pic, "pic", "the 8259 that gives ExtINT vectors"),
    { 0 }
};
static const Field lapic_pins[] = { PIN_IN("lint", 2, lint_input), { 0 } };
static const Field lapic_state[] = {
    FIELD(Lapic, base), FIELD(Lapic, xid), FIELD(Lapic, tpr), FIELD(Lapic, ldr), FIELD(Lapic, dfr), FIELD(Lapic, svr),
    FIELD(Lapic, esr), FIELD(Lapic, esr_new), FIELD(Lapic, icr), FIELD(Lapic, icr2), FIELD(Lapic, dcr), FIELD(Lapic, ict),
    FIELD(Lapic, lvt), FIELD(Lapic, isr), FIELD(Lapic, irr), FIELD(Lapic, tmr), FIELD(Lapic, lint),
    FIELD(Lapic, timer_start), FIELD(Lapic, deadline), FIELD(Lapic, timer), { 0 }
};

const DeviceType lapic_type = {
    .name = "lapic", .help = "local APIC", .size = sizeof(Lapic), .span = 0x1000, .ops = &mmio_ops,
    .props = lapic_props, .pins = lapic_pins, .state = lapic_state,
    .init = lapic_init, .reset = lapic_reset, .settle = lapic_settle, .restored = lapic_restored,
    .chip = offsetof(Lapic, chip), .irqs = offsetof(Lapic, taken), .n_irqs = 256,
};
