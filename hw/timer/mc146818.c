/* SPDX-License-Identifier: GPL-2.0-or-later
 * MC146818A real-time clock and its CMOS RAM.  Source: Motorola MC146818A data sheet; the century byte at 32h is where
 * ACPI's FADT says it is.  Bit 7 of the index port (NMI mask) is kept and has no effect.
 *
 * Time and flags follow from the clock when somebody looks; timers run only for interrupts that are enabled. */
#include "hw/timer/mc146818.h"

#include <assert.h>
#include <time.h>

#include "hw/core/machine.h"

enum {
    SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR, REG_A, REG_B, REG_C,
    REG_D, CENTURY = 0x32
};
enum {
    A_UIP = 0x80, A_DIVIDER_RESET = 0x60, A_RATE = 0x0f,
    B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_SQWE = 8, B_BINARY = 4, B_24H = 2,
    C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10, D_VRT = 0x80, ALARM_ANY = 0xc0,
};
enum { UPDATE_NS = 244000, DAY_S = 86400 };
#define CALENDAR_MAX (INT64_C(1) << 40)     /* seconds; what the registers can say is less */

typedef struct Rtc {
    Device  dev;
    Line    irq;
    char   *base;                       /* property: utc, localtime, or a date */
    uint8_t index;
    uint8_t ram[128];
    /* The calendar: seconds since 1970 at guest time base_ns, which is one of the times at which the seconds change.
     * While SET or a stopped divider hold it, base_s alone. */
    int64_t base_s, base_ns;
    int64_t seen_s;                     /* calendar up to which UF and AF have been looked after */
    uint64_t seen_period;               /* periodic ticks, the same for PF */
    bool    slew;                       /* property */
    uint16_t owed;                      /* with slew: periodic interrupts that are to come later */
    Timer   second, periodic;
} Rtc;

static int64_t guest_now(const Rtc *r) { return clock_now_ns(r->dev.machine->clock); }
static bool divider_held(const Rtc *r) { return (r->ram[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET; }
static bool held(const Rtc *r) { return r->ram[REG_B] & B_SET || divider_held(r); }
static int64_t calendar(const Rtc *r)
{
    return held(r) ? r->base_s : r->base_s + (guest_now(r) - r->base_ns) / NS_PER_S;
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
    int year = tm.tm_year + 1900;
    r->ram[SECONDS] = encode(r, tm.tm_sec);
    r->ram[MINUTES] = encode(r, tm.tm_min);
    r->ram[HOURS] = encode_hour(r, tm.tm_hour);
    r->ram[WEEKDAY] = encode(r, tm.tm_wday + 1);
    r->ram[DAY] = encode(r, tm.tm_mday);
    r->ram[MONTH] = encode(r, tm.tm_mon + 1);
    r->ram[YEAR] = encode(r, year < 0 ? 0 : year % 100);
    r->ram[CENTURY] = encode(r, year < 0 ? 0 : year / 100 % 100);
}

/* Takes the calendar from the time registers.  Nonsense dates are normalised by the arithmetic of timegm(). */
static int64_t registers_time(const Rtc *r)
{
    struct tm tm = {
        .tm_sec = decode(r, r->ram[SECONDS]), .tm_min = decode(r, r->ram[MINUTES]),
        .tm_hour = decode_hour(r, r->ram[HOURS]), .tm_mday = decode(r, r->ram[DAY]),
        .tm_mon = (int)decode(r, r->ram[MONTH]) - 1,
        .tm_year = (int)(decode(r, r->ram[CENTURY]) * 100 + decode(r, r->ram[YEAR])) - 1900,
    };
    return timegm(&tm);
}

static bool alarm_field(const Rtc *r, unsigned alarm, uint8_t v)
{
    return r->ram[alarm] >= ALARM_ANY || r->ram[alarm] == v;
}

static bool alarm_at(const Rtc *r, int64_t t)
{
    unsigned s = ((t % DAY_S) + DAY_S) % DAY_S;
    return alarm_field(r, SECONDS_ALARM, encode(r, s % 60)) && alarm_field(r, MINUTES_ALARM, encode(r, s / 60 % 60)) &&
           alarm_field(r, HOURS_ALARM, encode_hour(r, s / 3600));
}

/* 32768 Hz divided by powers of two; rates 1 and 2 are those of 8 and 9 with this time base.  0: none. */
static unsigned period_hz(const Rtc *r)
{
    unsigned rate = r->ram[REG_A] & A_RATE;
    return !rate || divider_held(r) ? 0 : 32768u >> (rate <= 2 ? rate + 6 : rate - 1);
}

static uint64_t periods(const Rtc *r) { return muldiv64(guest_now(r), period_hz(r), NS_PER_S); }

/* Raises the flags for what has happened since the last look. */
static void catch_up(Rtc *r)
{
    int64_t t = calendar(r);
    if (t > r->seen_s) {
        r->ram[REG_C] |= C_UF;
        for (int64_t s = MAX(r->seen_s, t - DAY_S) + 1; s <= t && !(r->ram[REG_C] & C_AF); s++)
            if (alarm_at(r, s))
                r->ram[REG_C] |= C_AF;
    }
    r->seen_s = t;
    uint64_t now = periods(r), passed = now > r->seen_period ? now - r->seen_period : 0;
    if (passed && r->slew && r->ram[REG_B] & B_PIE)         /* one comes of them, if it is not still to be read */
        r->owed = MIN(r->owed + passed - !(r->ram[REG_C] & C_PF), UINT16_MAX);
    if (passed)
        r->ram[REG_C] |= C_PF;
    r->seen_period = now;
}

/* A new rate, or a calendar that was set: nothing has happened yet. */
static void restart(Rtc *r)
{
    r->seen_s = calendar(r);
    r->seen_period = periods(r);
    r->owed = 0;
}

static void arm(Rtc *r)
{
    uint8_t b = r->ram[REG_B];
    if (!held(r) && b & (B_UIE | B_AIE))
        timer_set_ns(&r->second, r->base_ns + (r->seen_s - r->base_s + 1) * NS_PER_S);
    else
        timer_cancel(&r->second);
    if (period_hz(r) && b & B_PIE)
        timer_set_ns(&r->periodic, (int64_t)muldiv64_up(r->seen_period + 1, NS_PER_S, period_hz(r)));
    else
        timer_cancel(&r->periodic);
}

static void fired(void *self)
{
    Rtc *r = self;
    catch_up(r);
    arm(r);
}

static void settle(void *self)
{
    Rtc *r = self;
    bool on = r->ram[REG_C] & r->ram[REG_B] & (C_PF | C_AF | C_UF);
    r->ram[REG_C] = (r->ram[REG_C] & ~C_IRQF) | (on ? C_IRQF : 0);
    line_set(&r->irq, on);
}

static uint8_t read_flags(Rtc *r)
{
    catch_up(r);
    settle(r);
    uint8_t v = r->ram[REG_C];
    r->ram[REG_C] = 0;
    if (r->owed) {                      /* each read makes room for another: the pin goes down and up */
        settle(r);
        r->owed--;
        r->ram[REG_C] = C_PF;
    }
    arm(r);
    return v;
}

/* UIP for the 244 microseconds before an update, data sheet figure "Update-ended and periodic interrupt". */
static bool updating(const Rtc *r)
{
    return !held(r) && (guest_now(r) - r->base_ns) % NS_PER_S >= NS_PER_S - UPDATE_NS;
}

static bool is_calendar(unsigned i)
{
    return i == SECONDS || i == MINUTES || i == HOURS || (i >= WEEKDAY && i <= YEAR) || i == CENTURY;
}

static uint64_t io_read(void *self, uint64_t off, unsigned size)
{
    Rtc *r = self;
    if (off == 0)
        return 0xff;                    /* write-only on a PC */
    unsigned i = r->index & 0x7f;
    if (is_calendar(i))
        show(r);
    switch (i) {
    case REG_A:
        return r->ram[i] | (updating(r) ? A_UIP : 0);
    case REG_C:
        return read_flags(r);
    case REG_D:
        return D_VRT;
    }
    return r->ram[i];
}

/* The calendar says t from now on; the seconds go on changing when they did. */
static void set_calendar(Rtc *r, int64_t t)
{
    r->base_s = t;
    r->base_ns += (guest_now(r) - r->base_ns) / NS_PER_S * NS_PER_S;
    r->seen_s = t;
}

static void set_control(Rtc *r, unsigned i, uint8_t v)
{
    catch_up(r);
    int64_t t = calendar(r);
    bool was_set = r->ram[REG_B] & B_SET, divider_was_held = divider_held(r);
    uint8_t rate = r->ram[REG_A];
    show(r);
    r->ram[i] = i == REG_A ? v & ~A_UIP : v;
    if (r->ram[REG_B] & B_SET)
        r->ram[REG_B] &= ~B_UIE;        /* data sheet: SET clears UIE */
    else if (was_set)
        t = registers_time(r);
    if (divider_was_held && !divider_held(r))
        r->base_ns = guest_now(r) - NS_PER_S / 2;       /* data sheet: the first update comes half a second later */
    set_calendar(r, t);
    if (rate != r->ram[REG_A])
        restart(r);
    if (!(r->ram[REG_B] & B_PIE))
        r->owed = 0;
    arm(r);
}

static void write_reg(Rtc *r, unsigned i, uint8_t v)
{
    if (is_calendar(i)) {
        show(r);
        r->ram[i] = v;
        if (!(r->ram[REG_B] & B_SET)) {
            set_calendar(r, registers_time(r));
            arm(r);
        }
        return;
    }
    switch (i) {
    case SECONDS_ALARM:
    case MINUTES_ALARM:
    case HOURS_ALARM:
        catch_up(r);
        r->ram[i] = v;
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
}

static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Rtc *r = self;
    if (off == 0)
        r->index = v;
    else
        write_reg(r, r->index & 0x7f, v);
}

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };

static bool start_time(const Rtc *r, struct timespec *t, GError **err)
{
    clock_gettime(CLOCK_REALTIME, t);
    if (!r->base || strcmp(r->base, "utc") == 0)
        return true;
    if (strcmp(r->base, "localtime") == 0) {
        struct tm tm;
        localtime_r(&t->tv_sec, &tm);
        t->tv_sec = timegm(&tm);
        return true;
    }
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) d = g_date_time_new_from_iso8601(r->base, utc);
    if (!d)
        return fail(err, "base: '%s' is neither utc, localtime nor a date like 2026-01-31T12:00:00", r->base);
    *t = (struct timespec){ .tv_sec = g_date_time_to_unix(d) };
    return true;
}

static bool init(void *self, GError **err)
{
    Rtc *r = self;
    struct timespec t;
    device_timer_init(r, &r->second, fired);
    device_timer_init(r, &r->periodic, fired);
    if (!start_time(r, &t, err))
        return false;
    r->base_s = t.tv_sec;
    r->base_ns = guest_now(r) - t.tv_nsec;
    r->ram[REG_A] = 0x26;               /* 32 kHz, 1024 Hz: what a PC's firmware sets */
    r->ram[REG_B] = B_24H;
    restart(r);
    return true;
}

/* Battery-backed: a reset clears only what the data sheet says (PIE AIE UIE SQWE and register C). */
static void reset(void *self)
{
    Rtc *r = self;
    r->ram[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    r->ram[REG_C] = 0;
    restart(r);
    arm(r);
}

static bool restored(void *self, GError **err)
{
    Rtc *r = self;
    int64_t now = guest_now(r);
    if (r->base_ns > now || r->base_ns < -NS_PER_S || r->base_s < -CALENDAR_MAX || r->base_s > CALENDAR_MAX ||
        r->seen_s < r->base_s || r->seen_s > calendar(r) || r->seen_period > periods(r))
        return fail(err, "the clock stands at an impossible time");
    return true;
}

void mc146818_set_cell(Device *d, unsigned cell, uint8_t v)
{
    Rtc *r = (Rtc *)d;
    assert(cell > REG_D && cell != CENTURY && cell < sizeof(r->ram));
    domain_enter(d->domain);
    r->ram[cell] = v;
    domain_leave(d->domain);
}

static const Field props[] = {
    PROP(Rtc, base, "base", "utc, localtime, or a date"),
    PROP(Rtc, slew, "slew", "periodic interrupts that were lost come later"),
    { 0 }
};
static const Field pins[] = { PIN(Rtc, irq, "irq"), { 0 } };
static const Field state[] = {
    FIELD(Rtc, index), FIELD_KEEP(Rtc, ram), FIELD_KEEP(Rtc, base_s), FIELD_KEEP(Rtc, base_ns), FIELD(Rtc, seen_s),
    FIELD(Rtc, seen_period), FIELD(Rtc, second), FIELD(Rtc, periodic), FIELD_SINCE(2, Rtc, owed), { 0 }
};

const DeviceType mc146818_type = {
    .name = "mc146818", .help = "real-time clock and CMOS RAM", .size = sizeof(Rtc), .span = 2, .ops = &ops,
    .props = props, .pins = pins, .state = state, .init = init, .reset = reset, .settle = settle, .restored = restored,
};
