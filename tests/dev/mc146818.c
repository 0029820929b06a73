/* SPDX-License-Identifier: GPL-2.0-or-later
 * MC146818A by its data sheet: calendar, formats, setting, update cycle, three interrupts, battery. */
#include "tests/bench.h"

enum { SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR, A, B, C, D,
       CENTURY = 0x32 };
enum { UIP = 0x80, SET = 0x80, PIE = 0x40, AIE = 0x20, UIE = 0x10, BINARY = 4, H24 = 2 };
enum { IRQF = 0x80, PF = 0x40, AF = 0x20, UF = 0x10 };
#define RTC "mc146818,id=rtc,base=2026-01-31T12:34:56"

static uint8_t rd(Bench *b, uint8_t reg)
{
    bench_write_at(b, "rtc", 0, 1, reg);
    return bench_read_at(b, "rtc", 1, 1);
}
static void wr(Bench *b, uint8_t reg, uint8_t v)
{
    bench_write_at(b, "rtc", 0, 1, reg);
    bench_write_at(b, "rtc", 1, 1, v);
}

static void expect(Bench *b, const char *when)
{
    char got[32];
    g_snprintf(got, sizeof got, "%02x%02x-%02x-%02x %02x:%02x:%02x", rd(b, CENTURY), rd(b, YEAR), rd(b, MONTH),
               rd(b, DAY), rd(b, HOURS), rd(b, MINUTES), rd(b, SECONDS));
    g_assert_cmpstr(got, ==, when);
}

/* As the data sheet says: SET, ten bytes, SET off. */
static void set(Bench *b, uint8_t year, uint8_t month, uint8_t day, uint8_t h, uint8_t m, uint8_t s)
{
    wr(b, B, SET | H24);
    wr(b, YEAR, year);
    wr(b, MONTH, month);
    wr(b, DAY, day);
    wr(b, HOURS, h);
    wr(b, MINUTES, m);
    wr(b, SECONDS, s);
    wr(b, B, H24);
}

static void step(Bench *b, double seconds) { bench_step_ns(b, (int64_t)(seconds * NS_PER_S)); }

static void the_calendar_runs(Bench *b)
{
    expect(b, "2026-01-31 12:34:56");
    g_assert_cmphex(rd(b, WEEKDAY), ==, 7);     /* a Saturday */
    step(b, 4);
    expect(b, "2026-01-31 12:35:00");
    step(b, 12 * 3600);
    expect(b, "2026-02-01 00:35:00");
    g_assert_cmphex(rd(b, WEEKDAY), ==, 1);
    g_assert_cmphex(rd(b, D), ==, 0x80);
    g_assert_cmphex(bench_read_at(b, "rtc", 0, 1), ==, 0xff);
}

static void setting_stops_it(Bench *b)
{
    wr(b, B, SET | H24);
    step(b, 10);
    expect(b, "2026-01-31 12:34:56");
    wr(b, B, H24);
    expect(b, "2026-01-31 12:34:56");
    set(b, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
    expect(b, "2099-12-31 23:59:59");
    step(b, 1);
    expect(b, "2100-01-01 00:00:00");           /* the century byte counts on */
}

static void leap_years(Bench *b)
{
    set(b, 0x28, 0x02, 0x28, 0x23, 0x59, 0x59);
    step(b, 1);
    expect(b, "2028-02-29 00:00:00");
    set(b, 0x27, 0x02, 0x28, 0x23, 0x59, 0x59);
    step(b, 1);
    expect(b, "2027-03-01 00:00:00");
}

static void formats(Bench *b)
{
    wr(b, B, H24 | BINARY);
    g_assert_cmpuint(rd(b, MINUTES), ==, 34);
    g_assert_cmpuint(rd(b, YEAR), ==, 26);
    wr(b, B, 0);                                /* BCD, twelve hours */
    g_assert_cmphex(rd(b, HOURS), ==, 0x92);    /* 12 PM */
    step(b, 3600);
    g_assert_cmphex(rd(b, HOURS), ==, 0x81);
    step(b, 11 * 3600);
    g_assert_cmphex(rd(b, HOURS), ==, 0x12);    /* 12 AM */
    wr(b, B, BINARY | SET);
    wr(b, HOURS, 0x80 | 11);
    wr(b, B, BINARY);
    wr(b, B, BINARY | H24);
    g_assert_cmpuint(rd(b, HOURS), ==, 23);
}

static void the_update_in_progress_bit(Bench *b)
{
    g_assert_false(rd(b, A) & UIP);
    bench_step_ns(b, NS_PER_S - 244000);
    g_assert_true(rd(b, A) & UIP);
    bench_step_ns(b, 243999);
    g_assert_true(rd(b, A) & UIP);
    expect(b, "2026-01-31 12:34:56");
    bench_step_ns(b, 1);
    g_assert_false(rd(b, A) & UIP);
    expect(b, "2026-01-31 12:34:57");
    wr(b, B, SET | H24);
    bench_step_ns(b, NS_PER_S - 100);
    g_assert_false(rd(b, A) & UIP);
}

static void releasing_the_divider_starts_half_a_second_before_an_update(Bench *b)
{
    wr(b, A, 0x76);
    step(b, 5.3);
    expect(b, "2026-01-31 12:34:56");
    wr(b, SECONDS, 0x10);
    wr(b, A, 0x26);
    step(b, 0.499);
    expect(b, "2026-01-31 12:34:10");
    step(b, 0.002);
    expect(b, "2026-01-31 12:34:11");
}

static void the_update_interrupt(Bench *b)
{
    wr(b, B, H24 | UIE);
    step(b, 0.9);
    g_assert_false(bench_pin(b, "rtc.irq"));
    step(b, 0.1);
    g_assert_true(bench_pin(b, "rtc.irq"));
    g_assert_cmphex(rd(b, C) & ~PF, ==, IRQF | UF);
    g_assert_false(bench_pin(b, "rtc.irq"));
    g_assert_cmphex(rd(b, C) & ~PF, ==, 0);
    step(b, 1);
    g_assert_true(bench_pin(b, "rtc.irq"));
    wr(b, B, SET | H24 | UIE);                  /* SET clears UIE */
    g_assert_cmphex(rd(b, B), ==, SET | H24);
    g_assert_false(bench_pin(b, "rtc.irq"));
}

static void flags_come_without_interrupts(Bench *b)
{
    (void)rd(b, C);
    step(b, 1.5);
    g_assert_cmphex(rd(b, C), ==, UF | PF);
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
    wr(b, A, 0x20);                             /* no rate, no PF */
    (void)rd(b, C);
    step(b, 0.4);
    g_assert_cmphex(rd(b, C), ==, 0);
}

static void the_alarm(Bench *b)
{
    wr(b, HOURS_ALARM, 0x12);
    wr(b, MINUTES_ALARM, 0x35);
    wr(b, SECONDS_ALARM, 0x07);
    (void)rd(b, C);
    wr(b, B, H24 | AIE);
    step(b, 10.9);
    g_assert_false(bench_pin(b, "rtc.irq"));
    step(b, 0.2);
    g_assert_true(bench_pin(b, "rtc.irq"));
    g_assert_cmphex(rd(b, C) & ~PF, ==, IRQF | AF | UF);
    step(b, 3600);
    g_assert_cmphex(rd(b, C) & AF, ==, 0);
    wr(b, HOURS_ALARM, 0xff);                   /* every hour */
    step(b, 3600);
    g_assert_cmphex(rd(b, C) & AF, ==, AF);
    wr(b, MINUTES_ALARM, 0xc0);
    wr(b, SECONDS_ALARM, 0xc0);                 /* every second */
    step(b, 1);
    g_assert_cmphex(rd(b, C) & AF, ==, AF);
}

static void an_alarm_is_not_missed_by_a_late_host(Bench *b)
{
    wr(b, HOURS_ALARM, 0x12);
    wr(b, MINUTES_ALARM, 0x35);
    wr(b, SECONDS_ALARM, 0x07);
    (void)rd(b, C);
    clock_set_ns(b->m->clock, INT64_C(60) * NS_PER_S);
    g_assert_cmphex(rd(b, C) & AF, ==, AF);
    clock_set_ns(b->m->clock, INT64_C(1000000) * NS_PER_S);     /* a day's look back is enough */
    g_assert_cmphex(rd(b, C) & AF, ==, AF);
}

static void the_periodic_interrupt(Bench *b)
{
    for (unsigned rate = 1; rate < 16; rate++) {
        static const unsigned hz[] = { 0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2 };
        wr(b, A, 0x20 | rate);
        wr(b, B, H24 | PIE);
        int64_t now = clock_now_ns(b->m->clock);
        bench_step_ns(b, NS_PER_S - now % NS_PER_S);
        (void)rd(b, C);
        g_assert_false(bench_pin(b, "rtc.irq"));
        bench_step_ns(b, NS_PER_S / hz[rate] - 1);
        g_assert_false(bench_pin(b, "rtc.irq"));
        bench_step_ns(b, 2);
        g_assert_true(bench_pin(b, "rtc.irq"));
        g_assert_cmphex(rd(b, C) & ~UF, ==, IRQF | PF);
    }
}

static void periodic_interrupts_are_as_many_as_the_rate_says(Bench *b)
{
    unsigned n = 0;
    wr(b, B, H24 | PIE);                        /* 1024 Hz */
    for (int64_t end = clock_now_ns(b->m->clock) + NS_PER_S; clock_next_ns(b->m->clock) <= end; n++) {
        clock_step_ns(b->m->clock, clock_next_ns(b->m->clock) - clock_now_ns(b->m->clock));
        (void)rd(b, C);
    }
    g_assert_cmpuint(n, ==, 1024);
}

static unsigned reads_with_pf(Bench *b)
{
    unsigned n = 0;
    while (bench_pin(b, "rtc.irq")) {
        g_assert_cmphex(rd(b, C) & (IRQF | PF), ==, IRQF | PF);
        n++;
    }
    g_assert_cmphex(rd(b, C) & PF, ==, 0);
    return n;
}

/* -rtc driftfix=slew: one after each read of register C. */
static void lost_periodic_interrupts_come_later(Bench *b)
{
    wr(b, B, H24 | PIE);                        /* 1024 Hz */
    (void)rd(b, C);
    for (unsigned i = 1; i < 4; i++) {
        bench_step_ns(b, (int64_t)i * NS_PER_S / 64 + NS_PER_US);
        g_assert_cmpuint(reads_with_pf(b), ==, i * 16);
        bench_step_ns(b, NS_PER_S / 1024);
        g_assert_cmpuint(reads_with_pf(b), ==, 1);
    }
    clock_set_ns(b->m->clock, 1000 * (int64_t)NS_PER_S);        /* the loop was away */
    bench_step_ns(b, 0);
    g_assert_cmpuint(reads_with_pf(b), ==, 65536);
    bench_step_ns(b, NS_PER_S);
    wr(b, B, H24);                              /* nobody wants them any more */
    wr(b, B, H24 | PIE);
    g_assert_cmpuint(reads_with_pf(b), ==, 1);
    bench_step_ns(b, NS_PER_S);
    wr(b, A, 0x2a);
    g_assert_cmpuint(reads_with_pf(b), ==, 1);
}

static void lost_periodic_interrupts_stay_lost(Bench *b)
{
    wr(b, B, H24 | PIE);
    bench_step_ns(b, NS_PER_S);
    g_assert_cmpuint(reads_with_pf(b), ==, 1);
}

static void nonsense_dates_are_harmless(Bench *b)
{
    for (unsigned v = 0; v < 256; v++) {
        set(b, v, v * 7, v * 5, v * 3, v, v * 11);
        wr(b, CENTURY, v * 13);
        (void)rd(b, YEAR);
        step(b, 0.7);
        (void)rd(b, SECONDS);
        (void)rd(b, C);
    }
    set(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    wr(b, CENTURY, 0xff);
    step(b, 86400);
    (void)rd(b, CENTURY);
}

static void the_battery_keeps_calendar_and_ram(Bench *b)
{
    wr(b, 0x40, 0xa5);
    set(b, 0x30, 0x06, 0x15, 0x10, 0x20, 0x30);
    wr(b, B, H24 | PIE | AIE | UIE);
    step(b, 1);
    bench_reset(b);
    g_assert_false(bench_pin(b, "rtc.irq"));
    g_assert_cmphex(rd(b, B), ==, H24);
    g_assert_cmphex(rd(b, 0x40), ==, 0xa5);
    expect(b, "2030-06-15 10:20:31");
}

static const BenchCase cases[] = {
    { "the calendar runs", RTC, the_calendar_runs },
    { "setting stops it", RTC, setting_stops_it },
    { "leap years", RTC, leap_years },
    { "formats", RTC, formats },
    { "the update-in-progress bit", RTC, the_update_in_progress_bit },
    { "releasing the divider starts half a second before an update", RTC,
      releasing_the_divider_starts_half_a_second_before_an_update },
    { "the update interrupt", RTC, the_update_interrupt },
    { "flags come without interrupts", RTC, flags_come_without_interrupts },
    { "the alarm", RTC, the_alarm },
    { "an alarm is not missed by a late host", RTC, an_alarm_is_not_missed_by_a_late_host },
    { "the periodic interrupt", RTC, the_periodic_interrupt },
    { "periodic interrupts are as many as the rate says", RTC, periodic_interrupts_are_as_many_as_the_rate_says },
    { "lost periodic interrupts come later", RTC ",slew=on", lost_periodic_interrupts_come_later },
    { "lost periodic interrupts stay lost", RTC, lost_periodic_interrupts_stay_lost },
    { "nonsense dates are harmless", RTC, nonsense_dates_are_harmless },
    { "the battery keeps calendar and RAM", RTC, the_battery_keeps_calendar_and_ram },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "mc146818", cases); }
