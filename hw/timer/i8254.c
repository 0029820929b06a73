/* SPDX-License-Identifier: GPL-2.0-or-later
 * 8254 programmable interval timer with the PC's port 61h (gate and output of counter 2).  Source: Intel 8254 data
 * sheet.  Counters are not stepped: what a read shows follows from the clock. */
#include "hw/core/device.h"
#include "hw/core/machine.h"
#include "util/bits.h"

enum { PIT_HZ = 1193182 };
enum { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };
enum { PORT_B_GATE2 = 1, PORT_B_SPEAKER = 2, PORT_B_REFRESH = 0x10, PORT_B_OUT2 = 0x20 };

typedef struct Counter {
    uint16_t reload, latched;
    uint8_t  mode, access, latch_left, status, status_latched;     /* latch_left: latched bytes not yet read */
    bool     bcd, read_high, write_high, gate, loaded;
    uint8_t  low;                       /* first byte of a two-byte write */
    int64_t  start;                     /* guest ns at which counting began; a stopped gate: see held */
    uint32_t held;                      /* ticks that had passed when the gate went low */
} Counter;

typedef struct I8254 {
    Device  dev;
    Line    out0;
    Counter ch[3];
    uint8_t port_b;
    Timer   timer;
} I8254;

static int64_t now(const I8254 *p) { return clock_now_ns(p->dev.machine->clock); }
static uint32_t divisor(const Counter *c)
{
    uint32_t full = c->bcd ? 10000 : 0x10000, v = c->reload;
    if (c->bcd)
        v = (v & 15) + 10 * (v >> 4 & 15) + 100 * (v >> 8 & 15) + 1000 * (v >> 12);
    return v ? v : full;
}

static uint64_t ticks(const I8254 *p, const Counter *c)
{
    bool stopped = !c->gate && c->mode != 1 && c->mode != 5;
    return stopped ? c->held : c->held + muldiv64(now(p) - c->start, PIT_HZ, NS_PER_S);
}

static bool output(const I8254 *p, const Counter *c)
{
    if (!c->loaded)
        return c->mode != 0;
    uint64_t t = ticks(p, c), n = divisor(c);
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

static uint16_t count(const I8254 *p, const Counter *c)
{
    uint64_t t = ticks(p, c), n = divisor(c);
    uint32_t v;
    switch (c->mode) {
    case 2:
        v = n - t % n;
        break;
    case 3:
        v = n - 2 * t % n;              /* counts by two, in each half */
        break;
    default:
        v = n - t;
    }
    if (!c->bcd)
        return v;
    v %= 10000;
    return v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 << 12;
}

/* The next change of counter 0's output, which is all that anybody is told of. */
static void arm(I8254 *p)
{
    Counter *c = &p->ch[0];
    if (!c->loaded) {
        timer_cancel(&p->timer);
        return;
    }
    uint64_t t = ticks(p, c), n = divisor(c), next;
    switch (c->mode) {
    case 2:
        next = t - t % n + (t % n < n - 1 ? n - 1 : n);
        break;
    case 3:
        next = t - t % n + (t % n < (n + 1) / 2 ? (n + 1) / 2 : n);
        break;
    case 0:
    case 1:
        next = n;
        break;
    default:
        next = t < n ? n : n + 1;
    }
    if (next > t && next >= c->held)
        timer_set_ns(&p->timer, c->start + (int64_t)muldiv64_up(next - c->held, NS_PER_S, PIT_HZ));
    else
        timer_cancel(&p->timer);
}

static void settle(void *self) { I8254 *p = self; line_set(&p->out0, output(p, &p->ch[0])); }

static void fired(void *self)
{
    I8254 *p = self;
    /* Modes 2 and 3 with a late host: the rising edge must not be missed. */
    if (p->ch[0].mode == 2) {
        line_set(&p->out0, false);
        line_set(&p->out0, true);
    }
    arm(p);
}

static void start(I8254 *p, Counter *c)
{
    c->start = now(p);
    c->held = 0;
    c->loaded = true;
    if (c == &p->ch[0])
        arm(p);
}

static void set_gate(I8254 *p, Counter *c, bool gate)
{
    if (c->gate == gate)
        return;
    if (c->mode == 0 || c->mode == 4) {
        c->held = c->gate ? ticks(p, c) : c->held;
        c->start = now(p);
    }
    c->gate = gate;
    if (gate && c->mode != 0 && c->mode != 4 && c->loaded)
        start(p, c);                    /* the rising edge starts anew */
}

static void latch_count(I8254 *p, Counter *c)
{
    if (c->latch_left)
        return;
    c->latched = count(p, c);
    c->latch_left = c->access == RW_BOTH ? 2 : 1;
}

static void control(I8254 *p, uint8_t v)
{
    if (v >> 6 == 3) {                  /* read-back */
        for (unsigned i = 0; i < 3; i++) {
            Counter *c = &p->ch[i];
            if (!(v >> (i + 1) & 1))
                continue;
            if (!(v & 0x20))
                latch_count(p, c);
            if (!(v & 0x10) && !c->status_latched) {
                c->status = output(p, c) << 7 | !c->loaded << 6 | c->access << 4 | c->mode << 1 | c->bcd;
                c->status_latched = 1;
            }
        }
        return;
    }
    Counter *c = &p->ch[v >> 6];
    if ((v >> 4 & 3) == RW_LATCH) {
        latch_count(p, c);
        return;
    }
    c->access = v >> 4 & 3;
    c->mode = v >> 1 & 7;
    if (c->mode > 5)
        c->mode &= 3;                   /* 6 and 7 are 2 and 3 */
    c->bcd = v & 1;
    c->read_high = c->write_high = c->loaded = false;
    c->latch_left = c->status_latched = 0;
    if (c == &p->ch[0])
        arm(p);
}

static void write_count(I8254 *p, Counter *c, uint8_t v)
{
    switch (c->access) {
    case RW_LOW:
        c->reload = v;
        break;
    case RW_HIGH:
        c->reload = v << 8;
        break;
    default:
        c->write_high = !c->write_high;
        if (c->write_high) {
            c->low = v;
            if (c->mode == 0)
                c->loaded = false;      /* counting stops between the two bytes */
            return;
        }
        c->reload = c->low | v << 8;
    }
    if ((c->mode == 2 || c->mode == 3) && c->loaded) {
        /* takes effect at the end of the period; starting at once is what software can't tell apart but by a glitch */
        start(p, c);
        return;
    }
    start(p, c);
}

static uint8_t read_count(I8254 *p, Counter *c)
{
    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    uint16_t v = c->latch_left ? c->latched : count(p, c);
    bool high;
    if (c->latch_left) {
        high = c->access == RW_HIGH || (c->access == RW_BOTH && c->latch_left == 1);
        c->latch_left--;
    } else {
        high = c->access == RW_HIGH || (c->access == RW_BOTH && c->read_high);
        if (c->access == RW_BOTH)
            c->read_high = !c->read_high;
    }
    return high ? v >> 8 : v;
}

static uint64_t io_read(void *self, uint64_t off, unsigned size)
{
    I8254 *p = self;
    return off == 3 ? 0xff : read_count(p, &p->ch[off]);
}

static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    I8254 *p = self;
    if (off == 3)
        control(p, v);
    else
        write_count(p, &p->ch[off], v);
    settle(p);
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
    p->port_b = v & 0xf;
    set_gate(p, &p->ch[2], v & PORT_B_GATE2);
}

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };
static const RegionOps b_ops = { b_read, b_write, .min = 1, .max = 1 };

static bool init(void *self, GError **err)
{
    I8254 *p = self;
    device_timer_init(p, &p->timer, fired);
    return true;
}

static void reset(void *self)
{
    I8254 *p = self;
    for (unsigned i = 0; i < 3; i++)
        p->ch[i] = (Counter){ .mode = 3, .access = RW_BOTH, .gate = i != 2 };
    p->port_b = 0;
    timer_cancel(&p->timer);
}

static bool restored(void *self, GError **err)
{
    I8254 *p = self;
    for (unsigned i = 0; i < 3; i++)
        if (p->ch[i].mode > 5 || p->ch[i].access > RW_BOTH || p->ch[i].start > now(p))
            return fail(err, "counter %u: state out of range", i);
    return true;
}

static const Field counter_state[] = {
    FIELD(Counter, reload), FIELD(Counter, latched), FIELD(Counter, mode), FIELD(Counter, access),
    FIELD(Counter, latch_left), FIELD(Counter, status), FIELD(Counter, status_latched), FIELD(Counter, bcd),
    FIELD(Counter, read_high), FIELD(Counter, write_high), FIELD(Counter, gate), FIELD(Counter, loaded),
    FIELD(Counter, low), FIELD(Counter, start), FIELD(Counter, held), { 0 }
};
static const Field pins[] = { PIN(I8254, out0, "out"), { 0 } };
static const Field state[] = {
    FIELD_SUB(I8254, ch, 3, counter_state), FIELD(I8254, port_b), FIELD(I8254, timer), { 0 }
};

const DeviceType i8254_type = {
    .name = "i8254", .help = "interval timer", .size = sizeof(I8254),
    .windows = { { .span = 4, .ops = &ops }, { .name = "port-b", .span = 1, .ops = &b_ops } },
    .pins = pins, .state = state, .init = init, .reset = reset, .settle = settle, .restored = restored,
};
