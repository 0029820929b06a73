/* SPDX-License-Identifier: GPL-2.0-or-later
 * ACPI's fixed hardware (ACPI 6.4, 4.8), reset ports, and the devices of one port. */
#include "tests/bench.h"

enum { TMR = 1, PWRBTN = 0x100, RTC = 0x400, SLP_EN = 0x2000 };
enum { CARRY_TICKS = 1 << 23, PM_HZ = 3579545 };

static int64_t ns(uint64_t ticks) { return (int64_t)muldiv64_up(ticks, NS_PER_S, PM_HZ); }

static void the_timer_runs_and_wraps(Bench *b)
{
    bench_step_ns(b, ns(1000));
    g_assert_cmphex(bench_read(b, "pm.PM_TMR"), ==, 1000);
    bench_step_ns(b, ns(0x1000000) - ns(1000));
    g_assert_cmphex(bench_read(b, "pm.PM_TMR"), ==, 0);
    bench_write_at(b, "pm", 8, 4, 0x123);           /* read-only */
    g_assert_cmphex(bench_read(b, "pm.PM_TMR"), ==, 0);
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
}

static void its_highest_bit_raises_sci(Bench *b)
{
    bench_write(b, "pm.PM1_EN", TMR);
    bench_step_ns(b, ns(CARRY_TICKS) - 1);
    g_assert_false(bench_pin(b, "pm.sci"));
    bench_step_ns(b, 1);
    g_assert_true(bench_pin(b, "pm.sci"));
    g_assert_cmphex(bench_read(b, "pm.PM1_STS"), ==, TMR);
    bench_write(b, "pm.PM1_STS", TMR);
    g_assert_false(bench_pin(b, "pm.sci"));
    bench_step_ns(b, ns(3 * (uint64_t)CARRY_TICKS) - ns(CARRY_TICKS));
    g_assert_true(bench_pin(b, "pm.sci"));
    bench_write(b, "pm.PM1_EN", 0);
    g_assert_false(bench_pin(b, "pm.sci"));
}

static void the_power_button(Bench *b)
{
    bench_drive(b, "pm.power-button", 0, true);
    bench_drive(b, "pm.power-button", 0, false);
    g_assert_false(bench_pin(b, "pm.sci"));
    g_assert_cmphex(bench_read(b, "pm.PM1_STS"), ==, PWRBTN);
    bench_write(b, "pm.PM1_EN", 0xffff);
    g_assert_cmphex(bench_read(b, "pm.PM1_EN"), ==, 0x521);
    g_assert_true(bench_pin(b, "pm.sci"));
    bench_write_at(b, "pm", 1, 1, PWRBTN >> 8);     /* a byte clears its own half */
    g_assert_false(bench_pin(b, "pm.sci"));
}

static void the_rtc_alarm(Bench *b)
{
    bench_write(b, "pm.PM1_EN", RTC);
    bench_drive(b, "pm.rtc", 0, true);
    g_assert_true(bench_pin(b, "pm.sci"));
    bench_write(b, "pm.PM1_STS", RTC);
    g_assert_false(bench_pin(b, "pm.sci"));
    bench_drive(b, "pm.rtc", 0, true);              /* no edge */
    g_assert_false(bench_pin(b, "pm.sci"));
}

static void soft_off(Bench *b)
{
    g_assert_cmphex(bench_read(b, "pm.PM1_CNT"), ==, 1);        /* SCI_EN */
    bench_write(b, "pm.PM1_CNT", 5 << 10);
    g_assert_true(machine_poll(b->m));
    bench_write(b, "pm.PM1_CNT", 3 << 10 | SLP_EN);             /* no such sleep */
    g_assert_true(machine_poll(b->m));
    g_assert_cmphex(bench_read(b, "pm.PM1_CNT"), ==, 3 << 10 | 1);
    bench_write_at(b, "pm", 5, 1, (5 << 10 | SLP_EN) >> 8);     /* by byte */
    g_assert_false(machine_poll(b->m));
    g_assert_cmpint(b->m->request_cause, ==, CAUSE_GUEST_SHUTDOWN);
}

static void port_cf9(Bench *b)
{
    bench_write(b, "pm.PM1_EN", RTC);
    bench_write(b, "pm.RST_CNT", 2);
    g_assert_cmphex(bench_read(b, "pm.RST_CNT"), ==, 2);
    g_assert_cmphex(b->m->requests, ==, 0);
    bench_write(b, "pm.RST_CNT", 6);
    g_assert_cmphex(b->m->requests, !=, 0);
    g_assert_cmphex(bench_read(b, "pm.RST_CNT"), ==, 2);
    g_assert_true(machine_poll(b->m));
    g_assert_cmphex(bench_read(b, "pm.PM1_EN"), ==, 0);
    b->m->no_reboot = true;
    bench_write(b, "pm.RST_CNT", 0xe);
    g_assert_false(machine_poll(b->m));
}

static void port_92(Bench *b)
{
    bench_write(b, "pm.PORT92", 0);
    g_assert_cmphex(bench_read(b, "pm.PORT92"), ==, 0);
    bench_write(b, "pm.PORT92", 2);
    g_assert_cmphex(b->m->requests, ==, 0);
    bench_write(b, "pm.PORT92", 3);
    g_assert_cmphex(b->m->requests, !=, 0);
    g_assert_cmphex(bench_read(b, "pm.PORT92"), ==, 2);
}

static void debug_exit(Bench *b)
{
    bench_write_at(b, "x", 0, 1, 0x21);
    g_assert_false(machine_poll(b->m));
    g_assert_cmpint(b->m->exit_code, ==, 0x43);
}

static void debug_console(Bench *b)
{
    g_assert_cmphex(bench_read_at(b, "d", 0, 1), ==, 0xe9);
    bench_write_at(b, "d", 0, 1, 'o');
    bench_write_at(b, "d", 0, 1, 'k');
    bench_expect(b, "c", "ok");
}

static const BenchCase cases[] = {
    { "the timer runs and wraps", "acpi-pm,id=pm", the_timer_runs_and_wraps },
    { "its highest bit raises SCI", "acpi-pm,id=pm", its_highest_bit_raises_sci },
    { "the power button", "acpi-pm,id=pm", the_power_button },
    { "the RTC's alarm", "acpi-pm,id=pm", the_rtc_alarm },
    { "soft off", "acpi-pm,id=pm", soft_off },
    { "port CF9", "acpi-pm,id=pm", port_cf9 },
    { "port 92", "acpi-pm,id=pm", port_92 },
    { "debug exit", "isa-debug-exit,id=x", debug_exit },
    { "debug console", "isa-debugcon,id=d,chardev=c", debug_console },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "acpi_pm", cases); }
