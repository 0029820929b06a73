/* SPDX-License-Identifier: GPL-2.0-or-later
 * MC146818A real-time clock and its CMOS RAM.  Source: Motorola MC146818A data sheet; the century byte at 32h is where
 * ACPI's FADT says it is.  Bit 7 of the index port (NMI mask) is kept and has no effect. */
#include <time.h>

#include "hw/core/device.h"
#include "hw/core/machine.h"
#include "util/bits.h"

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR, REG_A, REG_B, REG_C,
       REG_D, CENTURY = 0x32 };
enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_RATE = 0x0f, B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 4, B_24H = 2,
       C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10, D_VRT = 0x80 };

typedef struct Rtc {
    Device  dev;
    Line    irq;
    char   *base;                       /* property: utc, localtime, or a date */
    uint8_t index;
    uint8_t ram[128];
    int64_t offset_ns;                  /* calendar time (ns since 1970) minus guest time */
    int64_t stopped_at;                 /* calendar seconds while SET or a stopped divider hold the clock */
    int64_t period_at;                  /* guest ns of the next periodic tick */
    Timer   second, periodic;
} Rtc;

static int64_t guest_now(const Rtc *r) { return clock_now_ns(r->dev.machine->clock); }
static bool held(const Rtc *r) { return r->ram[REG_B] & B_SET || (r->ram[REG_A] & 0x60) == 0x60; }
static int64_t calendar(const Rtc *r)
{
    return held(r) ? r->stopped_at : (guest_now(r) + r->offset_ns) / NS_PER_S;
}

static uint8_t encode(const Rtc *r, unsigned v) { return r->ram[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10; }
static unsigned decode(const Rtc *r, uint8_t v) { return r->ram[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15); }

static uint8_t encode_hour(const Rtc *r, unsigned h)
{
    if (r->ram[REG_B] & B_24H)
        return encode(r, h);
    return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const Rtc *r, uint8_t v)
{
    if (r->ram[REG_B] & B_24H)
        return decode(r, v);
    return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* Puts the calendar into the time registers. */
static void show(Rtc *r)
{
    if (r->ram[REG_B] & B_SET)
        return;                         /* they hold what software has written */
    time_t t = calendar(r);
    struct tm tm;
    gmtime_r(&t, &tm);
    r->ram[SECONDS] = encode(r, tm.tm_sec);
    r->ram[MINUTES] = encode(r, tm.tm_min);
    r->ram[HOURS] = encode_hour(r, tm.tm_hour);
    r->ram[WEEKDAY] = encode(r, tm.tm_wday + 1);
    r->ram[DAY] = encode(r, tm.tm_mday);
    r->ram[MONTH] = encode(r, tm.tm_mon + 1);
    r->ram[YEAR] = encode(r, tm.tm_year % 100);
    r->ram[CENTURY] = encode(r, (tm.tm_year + 1900) / 100);
}

/* Takes the calendar from the time registers.  Nonsense dates are normalised by the arithmetic of timegm(). */
static int64_t registers_time(const Rtc *r)
{
    struct tm tm = {
        .tm_sec = decode(r, r->ram[SECONDS]), .tm_min = decode(r, r->ram[MINUTES]), .tm_hour = decode_hour(r, r->ram[HOURS]),
        .tm_mday = decode(r, r->ram[DAY]), .tm_mon = (int)decode(r, r->ram[MONTH]) - 1,
        .tm_year = (int)(decode(r, r->ram[CENTURY]) * 100 + decode(r, r->ram[YEAR])) - 1900,
    };
    return timegm(&tm);
}

static void arm_second(Rtc *r)
{
    if (held(r))
        timer_cancel(&r->second);
    else
        timer_set_ns(&r->second, (calendar(r) + 1) * NS_PER_S - r->offset_ns);
}

static int64_t rate_ns(const Rtc *r)
{
    unsigned rate = r->ram[REG_A] & A_RATE;
    if (!rate || (r->ram[REG_A] & 0x60) == 0x60)
        return 0;
    if (rate <= 2)
        rate += 7;                      /* 256 Hz and 128 Hz with the 32 kHz time base */
    return ((int64_t)NS_PER_S << (rate - 1)) / 32768;
}

static void arm_periodic(Rtc *r)
{
    int64_t step = rate_ns(r);
    /* Nobody sees PF without PIE but by polling, which starts from a read of register C. */
    if (!step || !(r->ram[REG_B] & B_PIE)) {
        timer_cancel(&r->periodic);
        return;
    }
    r->period_at = guest_now(r) / step * step + step;
    timer_set_ns(&r->periodic, r->period_at);
}

static void settle(void *self)
{
    Rtc *r = self;
    bool on = r->ram[REG_C] & r->ram[REG_B] & (C_PF | C_AF | C_UF);
    r->ram[REG_C] = (r->ram[REG_C] & ~C_IRQF) | (on ? C_IRQF : 0);
    line_set(&r->irq, on);
}

static bool alarm_hit(const Rtc *r, unsigned reg, unsigned alarm)
{
    return r->ram[alarm] >= 0xc0 || r->ram[alarm] == r->ram[reg];
}

static void second_fired(void *self)
{
    Rtc *r = self;
    show(r);
    r->ram[REG_C] |= C_UF;
    if (alarm_hit(r, SECONDS, SECONDS_ALARM) && alarm_hit(r, MINUTES, MINUTES_ALARM) && alarm_hit(r, HOURS, HOURS_ALARM))
        r->ram[REG_C] |= C_AF;
    arm_second(r);
}

static void periodic_fired(void *self)
{
    Rtc *r = self;
    r->ram[REG_C] |= C_PF;
    arm_periodic(r);
}

static uint64_t io_read(void *self, uint64_t off, unsigned size)
{
    Rtc *r = self;
    if (off == 0)
        return 0xff;                    /* write-only on a PC */
    unsigned i = r->index & 0x7f;
    switch (i) {
    case SECONDS:
    case MINUTES:
    case HOURS:
    case WEEKDAY ... YEAR:
    case CENTURY:
        show(r);
        return r->ram[i];
    case REG_A: {
        /* UIP for the 244 microseconds before an update, data sheet figure "Update-ended and periodic interrupt" */
        int64_t part = (guest_now(r) + r->offset_ns) % NS_PER_S;
        return r->ram[i] | (!held(r) && part >= NS_PER_S - 244000 ? A_UIP : 0);
    }
    case REG_C: {
        uint8_t v = r->ram[i];
        r->ram[i] = 0;
        settle(r);
        return v;
    }
    case REG_D:
        return D_VRT;
    }
    return r->ram[i];
}

static void set_control(Rtc *r, unsigned i, uint8_t v)
{
    int64_t t = calendar(r);
    bool was_held = held(r), was_set = r->ram[REG_B] & B_SET;
    show(r);
    r->ram[i] = i == REG_A ? v & ~A_UIP : v;
    if (i == REG_B && v & B_SET)
        r->ram[REG_B] &= ~B_UIE;        /* data sheet: SET clears UIE */
    if (was_set && !(r->ram[REG_B] & B_SET))
        t = registers_time(r);
    r->stopped_at = t;
    if (was_held && !held(r))
        r->offset_ns = t * NS_PER_S - guest_now(r);
    arm_second(r);
    arm_periodic(r);
}

static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Rtc *r = self;
    if (off == 0) {
        r->index = v;
        return;
    }
    unsigned i = r->index & 0x7f;
    switch (i) {
    case SECONDS:
    case MINUTES:
    case HOURS:
    case WEEKDAY ... YEAR:
    case CENTURY:
        show(r);
        r->ram[i] = v;
        if (!(r->ram[REG_B] & B_SET)) {
            int64_t t = registers_time(r);
            r->stopped_at = t;
            r->offset_ns = t * NS_PER_S - guest_now(r);
            arm_second(r);
        }
        break;
    case REG_A:
    case REG_B:
        set_control(r, i, v);
        break;
    case REG_C:
    case REG_D:
        break;
    default:
        r->ram[i] = v;
    }
    settle(r);
}

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };

static bool init(void *self, GError **err)
{
    Rtc *r = self;
    int64_t t = time(NULL);
    device_timer_init(r, &r->second, second_fired);
    device_timer_init(r, &r->periodic, periodic_fired);
    if (!r->base || strcmp(r->base, "utc") == 0) {
    } else if (strcmp(r->base, "localtime") == 0) {
        time_t now = t;
        struct tm tm;
        localtime_r(&now, &tm);
        t = timegm(&tm);
    } else {
        GDateTime *d = NULL;
        GTimeZone *utc = g_time_zone_new_utc();
        d = g_date_time_new_from_iso8601(r->base, utc);
        g_time_zone_unref(utc);
        if (!d)
            return fail(err, "base: '%s' is neither utc, localtime nor a date like 2026-01-31T12:00:00", r->base);
        t = g_date_time_to_unix(d);
        g_date_time_unref(d);
    }
    r->offset_ns = t * NS_PER_S - guest_now(r);
    r->ram[REG_A] = 0x26;               /* 32 kHz, 1024 Hz: what a PC's firmware sets */
    r->ram[REG_B] = B_24H;
    return true;
}

/* Battery-backed: a reset clears only what the data sheet says (PIE AIE UIE SQWE and register C). */
static void reset(void *self)
{
    Rtc *r = self;
    r->ram[REG_B] &= ~(B_PIE | B_AIE | B_UIE | 8);
    r->ram[REG_C] = 0;
    r->index = 0;
    arm_second(r);
    arm_periodic(r);
}

static const Field props[] = { PROP(Rtc, base, "base", "utc, localtime, or a date"), { 0 } };
static const Field pins[] = { PIN(Rtc, irq, "irq"), { 0 } };
static const Field state[] = {
    FIELD(Rtc, index), FIELD_KEEP(Rtc, ram), FIELD_KEEP(Rtc, offset_ns), FIELD_KEEP(Rtc, stopped_at), FIELD(Rtc, period_at),
    FIELD(Rtc, second), FIELD(Rtc, periodic), { 0 }
};

const DeviceType mc146818_type = {
    .name = "mc146818", .help = "real-time clock and CMOS RAM", .size = sizeof(Rtc), .span = 2, .ops = &ops,
    .props = props, .pins = pins, .state = state, .init = init, .reset = reset, .settle = settle,
};
