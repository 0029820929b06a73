/* SPDX-License-Identifier: GPL-2.0-or-later
 * 8254 programmable interval timer with the PC's port 61h (gate and output of counter 2).  Source: Intel 8254 data
 * sheet.  Counters are not stepped: what a read shows follows from the clock.  Simplified: a count is loaded at once
 * and not at the next tick; a new count in mode 3 waits for the end of the period, not of its half. */
#include "hw/core/device.h"
#include "hw/core/machine.h"

enum { PIT_HZ = 1193182 };
enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };
enum { READ_BACK = 3, BACK_NO_COUNT = 0x20, BACK_NO_STATUS = 0x10 };
enum { PORT_B_GATE2 = 1, PORT_B_WRITABLE = 0x0f, PORT_B_REFRESH = 0x10, PORT_B_OUT2 = 0x20 };

typedef struct Counter {
    uint16_t written, active, latched;  /* the count register, the count in use, what a read will get */
    uint8_t  mode, access, latch_left, status;      /* latch_left: latched bytes not yet read */
    bool     bcd, read_high, write_high, gate, running, null, status_latched;
    uint8_t  low;                       /* first byte of a two-byte write */
    uint64_t start;                     /* tick at which `active` was loaded */
    uint64_t held;                      /* ticks that had passed when the gate went low */
    uint64_t switch_at;                 /* tick at which `written` is loaded; 0: never */
} Counter;

typedef struct I8254 {
    Device  dev;
    Line    out0;
    Counter ch[3];
    uint8_t port_b;
    Timer   timer;                      /* the next rising edge of counter 0's output */
    uint64_t due;                       /* the tick that it is for, in the periodic modes; 0: not known */
    uint16_t owed;                      /* edges that are to come later: see fired() */
    bool    pending[2];                 /* inputs: an interrupt controller has an edge that waits to be taken */
    bool    taken;                      /* one of them has gone down since the last edge */
    Chip    chip;
} I8254;

static int64_t now(const I8254 *p) { return clock_now_ns(p->dev.machine->clock); }
static uint64_t tick(const I8254 *p) { return muldiv64(now(p), PIT_HZ, NS_PER_S); }
static int64_t ns_of(uint64_t tick) { return (int64_t)muldiv64_up(tick, NS_PER_S, PIT_HZ); }

static uint32_t divisor(const Counter *c)
{
    uint32_t v = c->active;
    if (c->bcd)
        v = (v & 15) + 10 * (v >> 4 & 15) + 100 * (v >> 8 & 15) + 1000 * (v >> 12);
    return v ? v : c->bcd ? 10000 : 0x10000;
}

/* Modes 1 and 5 are triggered by the gate's rising edge and do not look at its level. */
static bool triggered(const Counter *c) { return c->mode == 1 || c->mode == 5; }
static bool periodic(const Counter *c) { return c->mode == 2 || c->mode == 3; }

static void load(I8254 *p, Counter *c, uint64_t at)
{
    c->active = c->written;
    c->start = at;
    c->held = c->switch_at = 0;
    c->running = true;
    c->null = false;
}

/* Ticks since the count was loaded. */
static uint64_t elapsed(I8254 *p, Counter *c)
{
    uint64_t t = tick(p);
    if (c->switch_at && t >= c->switch_at)
        load(p, c, c->switch_at);
    return c->gate || triggered(c) ? t - c->start : c->held;
}

static bool output(I8254 *p, Counter *c)
{
    if (!c->running)
        return c->mode != 0;
    uint64_t t = elapsed(p, c), n = divisor(c);
    switch (c->mode) {
    case 0:
    case 1:
        return t >= n;
    case 2:
        return !c->gate || t % n != n - 1;
    case 3:
        return !c->gate || t % n < (n + 1) / 2;
    default:
        return t != n;
    }
}

static uint16_t count(I8254 *p, Counter *c)
{
    uint64_t t = c->running ? elapsed(p, c) : 0, n = divisor(c), half = (n + 1) / 2, wrap = c->bcd ? 10000 : 0x10000;
    uint64_t v;
    if (c->mode == 2)
        v = n - t % n;
    else if (c->mode == 3)              /* twice a period from the even number below the count, by two */
        v = (n & ~UINT64_C(1)) - 2 * (t % n < half ? t % n : t % n - half);
    else
        v = n + wrap - t % wrap;        /* goes on past zero */
    v %= wrap;
    return c->bcd ? v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 << 12 : v;
}

/* Counter 0's pin, on whose rising edge the interrupt controllers act.  In mode 0 it is the output.  In modes 2 to 5 it
 * is high and goes down and up again when the output rises: the low half of mode 3 is not shown, so that an interrupt
 * request stays until it is taken and the host need not wake for falling edges. */
static void settle(void *self)
{
    I8254 *p = self;
    if (!p->chip.lent)
        line_set(&p->out0, p->ch[0].mode != 0 || output(p, &p->ch[0]));
}

static void arm(I8254 *p)
{
    Counter *c = &p->ch[0];
    uint64_t t = elapsed(p, c), n = divisor(c);
    if (c->running && periodic(c)) {
        p->due = c->start + t - t % n + n;
        timer_set_ns(&p->timer, device_period_at(ns_of(p->due), ns_of(n), now(p)));
    } else if (c->running && c->mode == 0 && t < n)
        timer_set_ns(&p->timer, ns_of(c->start + n));
    else if (c->running && c->mode == 4 && t <= n)
        timer_set_ns(&p->timer, ns_of(c->start + n + 1));
    else
        timer_cancel(&p->timer);
}

/* Edges of the periodic modes that no interrupt came of: of the periods that are over when the timer fires late all but
 * one, and this one as well if the edge before it still waits.  Periods that device_period_at() stretches do not count. */
static void count_lost(I8254 *p)
{
    Counter *c = &p->ch[0];
    (void)elapsed(p, c);                /* a new count is used from `due` on */
    uint64_t t = tick(p), n = divisor(c), lost = p->due && t > p->due ? (t - p->due) / n : 0;
    if (ns_of(n) < DEVICE_PERIOD_MIN_NS)
        return;
    lost += (p->pending[0] || p->pending[1]) && !p->taken;
    p->owed = MIN(p->owed + lost, UINT16_MAX);
}

static void edge(I8254 *p)
{
    p->taken = false;
    line_set(&p->out0, false);
    line_set(&p->out0, true);
    if (!p->pending[0] && !p->pending[1])
        p->owed = 0;                    /* it is masked, or nobody says when it is taken */
}

/* A host that has too much to do lets a guest's ticks pass in which the guest had no turn, and guests count ticks: Linux
 * waits 40 of them by its TSC for four interrupts and panics otherwise ("IO-APIC + timer doesn't work").  So those that are
 * lost are made up for, each as soon as the guest has taken the one before. */
static void fired(void *self)
{
    I8254 *p = self;
    if (periodic(&p->ch[0])) {
        count_lost(p);
        arm(p);
        edge(p);
        return;
    }
    if (p->ch[0].mode != 0)
        line_set(&p->out0, false);
    arm(p);
}

static void pending(void *self, unsigned n, bool level)
{
    I8254 *p = self;
    bool fell = p->pending[n] && !level && line_level(&p->out0);        /* low: edge() made the 8259 forget it */
    p->pending[n] = level;
    p->taken |= fell;
    if (!fell || !p->owed)
        return;
    p->owed--;
    edge(p);
}

static void set_gate(I8254 *p, Counter *c, bool gate)
{
    if (c->gate == gate)
        return;
    uint64_t t = elapsed(p, c);
    c->gate = gate;
    if (!gate) {
        c->held = t;
        c->switch_at = 0;               /* the rising edge loads it */
    } else if (c->mode == 0 || c->mode == 4) {
        c->start = tick(p) - c->held;
    } else if (c->running || (triggered(c) && c->null)) {
        load(p, c, tick(p));
    }
}

static void latch_count(I8254 *p, Counter *c)
{
    if (c->latch_left)
        return;
    c->latched = count(p, c);
    c->latch_left = c->access == RW_BOTH ? 2 : 1;
}

static void latch_status(I8254 *p, Counter *c)
{
    if (c->status_latched)
        return;
    bool out = output(p, c);
    c->status = out << 7 | c->null << 6 | c->access << 4 | c->mode << 1 | c->bcd;
    c->status_latched = true;
}

static void control(I8254 *p, uint8_t v)
{
    unsigned which = v >> 6, access = v >> 4 & 3;
    for (unsigned i = 0; which == READ_BACK && i < 3; i++) {
        if (!(v >> (i + 1) & 1))
            continue;
        if (!(v & BACK_NO_COUNT))
            latch_count(p, &p->ch[i]);
        if (!(v & BACK_NO_STATUS))
            latch_status(p, &p->ch[i]);
    }
    if (which == READ_BACK)
        return;
    Counter *c = &p->ch[which];
    if (access == RW_LATCH) {
        latch_count(p, c);
        return;
    }
    unsigned mode = v >> 1 & 7;
    if (which == 0)
        p->owed = 0;
    *c = (Counter){ .access = access, .mode = mode > 5 ? mode & 3 : mode, .bcd = v & 1, .gate = c->gate, .null = true,
                    .active = c->active };
}

static void set_count(I8254 *p, Counter *c, uint16_t v)
{
    c->written = v;
    c->null = true;
    if (triggered(c))
        return;
    if (!periodic(c) || !c->running) {
        load(p, c, tick(p));
    } else if (c->gate) {               /* at the end of the period */
        uint64_t t = elapsed(p, c), n = divisor(c);
        c->switch_at = c->start + t - t % n + n;
    }
}

static void write_count(I8254 *p, Counter *c, uint8_t v)
{
    if (c->access == RW_LOW) {
        set_count(p, c, v);
    } else if (c->access == RW_HIGH) {
        set_count(p, c, v << 8);
    } else if (c->write_high) {
        c->write_high = false;
        set_count(p, c, c->low | v << 8);
    } else {
        c->write_high = true;
        c->low = v;
        if (c->mode == 0)
            c->running = false;         /* counting stops between the two bytes */
    }
}

static uint8_t read_count(I8254 *p, Counter *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    bool high = c->access == RW_HIGH;
    uint16_t v;
    if (c->latch_left) {
        v = c->latched;
        high |= c->access == RW_BOTH && c->latch_left == 1;
        c->latch_left--;
    } else {
        v = count(p, c);
        high |= c->access == RW_BOTH && c->read_high;
        c->read_high = !c->read_high;
    }
    return high ? v >> 8 : v;
}

static uint64_t io_read(void *self, uint64_t off, unsigned size)
{
    I8254 *p = self;
    return off == 3 || p->chip.lent ? 0xff : read_count(p, &p->ch[off]);
}

static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    I8254 *p = self;
    if (p->chip.lent)
        return;
    if (off == 3)
        control(p, v);
    else
        write_count(p, &p->ch[off], v);
    if (off == 0 || (off == 3 && v >> 6 == 0))
        arm(p);
}

static uint64_t b_read(void *self, uint64_t off, unsigned size)
{
    I8254 *p = self;
    /* The refresh bit toggles every 15 microseconds: old software times itself with it. */
    return p->port_b | (now(p) / 15085 & 1 ? PORT_B_REFRESH : 0) | (output(p, &p->ch[2]) ? PORT_B_OUT2 : 0);
}

static void b_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    I8254 *p = self;
    if (p->chip.lent)
        return;
    p->port_b = v & PORT_B_WRITABLE;
    set_gate(p, &p->ch[2], v & PORT_B_GATE2);
}

static void chip_lend(void *self, ChipRegs *to)
{
    I8254 *p = self;
    domain_enter(p->dev.domain);
    to->pit.port_b = p->port_b;
    for (unsigned i = 0; i < 3; i++) {
        Counter *c = &p->ch[i];
        uint64_t t = c->running ? elapsed(p, c) : 0;
        to->pit.ch[i] = (PitChannel){
            .count = c->active, .latched = c->latched, .mode = c->mode, .access = c->access, .status = c->status,
            .low = c->low, .latch_left = c->latch_left, .bcd = c->bcd, .gate = c->gate, .status_latched = c->status_latched,
            .read_high = c->read_high, .write_high = c->write_high, .running = c->running, .elapsed = t };
    }
    timer_cancel(&p->timer);
    p->owed = 0;
    p->chip.lent = true;
    domain_leave(p->dev.domain);
}

static void chip_take(void *self, const ChipRegs *from)
{
    I8254 *p = self;
    domain_enter(p->dev.domain);
    p->chip.lent = false;
    p->port_b = from->pit.port_b & PORT_B_WRITABLE;
    for (unsigned i = 0; i < 3; i++) {
        const PitChannel *r = &from->pit.ch[i];
        uint64_t t = MIN(r->elapsed, tick(p));
        p->ch[i] = (Counter){
            .written = r->count, .active = r->count, .latched = r->latched, .mode = MIN(r->mode, 5),
            .access = CLAMP(r->access, RW_LOW, RW_BOTH), .status = r->status, .low = r->low,
            .latch_left = MIN(r->latch_left, 2), .bcd = r->bcd, .gate = i < 2 || p->port_b & PORT_B_GATE2,
            .status_latched = r->status_latched, .read_high = r->read_high, .write_high = r->write_high,
            .running = r->running, .null = !r->running, .start = r->running ? tick(p) - t : 0 };
        if (!p->ch[i].gate)
            p->ch[i].held = t;
    }
    arm(p);
    settle(p);
    domain_leave(p->dev.domain);
}

static const ChipOps chip_ops = { chip_lend, chip_take };

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };
static const RegionOps b_ops = { b_read, b_write, .min = 1, .max = 1 };

static bool init(void *self, GError **err)
{
    I8254 *p = self;
    p->chip = (Chip){ .kind = CHIP_PIT, .ops = &chip_ops, .self = p };
    device_timer_init(p, &p->timer, fired);
    return true;
}

/* The data sheet leaves the state after power-up open; the gates of counters 0 and 1 are tied high. */
static void reset(void *self)
{
    I8254 *p = self;
    for (unsigned i = 0; i < 3; i++)
        p->ch[i] = (Counter){ .mode = 3, .access = RW_BOTH, .gate = i != 2, .null = true };
}

static bool restored(void *self, GError **err)
{
    I8254 *p = self;
    uint64_t t = tick(p);
    for (unsigned i = 0; i < 3; i++) {
        const Counter *c = &p->ch[i];
        bool gate = i < 2 || p->port_b & PORT_B_GATE2;
        if (c->mode > 5 || c->access < RW_LOW || c->access > RW_BOTH || c->latch_left > 2 || c->gate != gate ||
            c->start > t || c->held > t || c->switch_at > t + 0x10000)
            return fail(err, "counter %u is in an impossible state", i);
    }
    return true;
}

static const Field counter_state[] = {
    FIELD(Counter, written), FIELD(Counter, active), FIELD(Counter, latched), FIELD(Counter, mode),
    FIELD(Counter, access), FIELD(Counter, latch_left), FIELD(Counter, status), FIELD(Counter, status_latched),
    FIELD(Counter, bcd), FIELD(Counter, read_high), FIELD(Counter, write_high), FIELD(Counter, gate),
    FIELD(Counter, running), FIELD(Counter, null), FIELD(Counter, low), FIELD(Counter, start), FIELD(Counter, held),
    FIELD(Counter, switch_at), { 0 }
};
static const Field pins[] = { PIN(I8254, out0, "out"), PIN_IN("pending", 2, pending), { 0 } };
static const Field state[] = {
    FIELD_SUB(I8254, ch, 3, counter_state), FIELD(I8254, port_b), FIELD(I8254, timer), FIELD_SINCE(2, I8254, due),
    FIELD_SINCE(2, I8254, owed), FIELD_SINCE(2, I8254, pending), FIELD_SINCE(2, I8254, taken), { 0 }
};

const DeviceType i8254_type = {
    .name = "i8254", .help = "interval timer", .size = sizeof(I8254),
    .windows = { { .span = 4, .ops = &ops }, { .name = "port-b", .span = 1, .ops = &b_ops } },
    .pins = pins, .state = state, .init = init, .reset = reset, .settle = settle, .restored = restored,
    .chip = offsetof(I8254, chip),
};
