/* SPDX-License-Identifier: GPL-2.0-or-later
 * 8254 by its data sheet: modes, latches, read-back, and port 61h of the PC. */
#include "tests/bench.h"

enum { PIT_HZ = 1193182, OUT = 0x80, NULL_COUNT = 0x40, IRR0 = 1 };

static uint8_t in(Bench *b, unsigned port) { return bench_read_at(b, "pit", port, 1); }
static void out(Bench *b, unsigned port, uint8_t v) { bench_write_at(b, "pit", port, 1, v); }
static uint16_t in16(Bench *b, unsigned port)
{
    uint8_t low = in(b, port);
    return low | in(b, port) << 8;
}
static void out16(Bench *b, unsigned port, uint16_t v)
{
    out(b, port, v);
    out(b, port, v >> 8);
}
static void gate2(Bench *b, bool on) { bench_write_at(b, "pit/1", 0, 1, on); }
static bool out2(Bench *b) { return bench_read_at(b, "pit/1", 0, 1) & 0x20; }

/* To the moment at which so many more ticks have passed; the bench starts at tick 0. */
static void tick(Bench *b, uint64_t n)
{
    int64_t now = clock_now_ns(b->m->clock);
    uint64_t to = muldiv64(now, PIT_HZ, NS_PER_S) + n;
    bench_step_ns(b, (int64_t)muldiv64_up(to, NS_PER_S, PIT_HZ) - now);
}

/* Counts counter 0's rising edges with an 8259 in automatic EOI mode, which is a device and so saved and restored. */
static void add_pic(Bench *b)
{
    static const uint8_t icw[] = { 0x20, 0, 3, 0 };
    bench_add(b, "i8259,id=pic");
    bench_wire(b, "pit.out", "pic.ir", 0);
    bench_write_at(b, "pic", 0, 1, 0x13);
    for (unsigned i = 0; i < 4; i += i == 0 ? 2 : 1)        /* single: no ICW3 */
        bench_write_at(b, "pic", 1, 1, icw[i]);
}
static bool edge(Bench *b)
{
    bench_write_at(b, "pic", 0, 1, 0x0c);       /* poll: acknowledges */
    return bench_read_at(b, "pic", 0, 1) == 0x80;
}

static void mode_0_interrupts_on_terminal_count(Bench *b)
{
    add_pic(b);
    out(b, 3, 0x30);
    g_assert_false(bench_pin(b, "pit.out"));
    out16(b, 0, 1000);
    tick(b, 999);
    g_assert_false(bench_pin(b, "pit.out"));
    g_assert_cmpuint(in16(b, 0), ==, 1);
    tick(b, 1);
    g_assert_true(bench_pin(b, "pit.out"));
    g_assert_true(edge(b));
    tick(b, 1);
    g_assert_cmphex(in16(b, 0), ==, 0xffff);    /* goes on */
    tick(b, 100000);
    g_assert_false(edge(b));
    out(b, 0, 5);                               /* the first byte stops counting and lowers the output */
    g_assert_false(bench_pin(b, "pit.out"));
    tick(b, 100);
    g_assert_false(edge(b));
    out(b, 0, 0);
    tick(b, 5);
    g_assert_true(edge(b));
}

static void mode_2_makes_one_edge_a_period(Bench *b)
{
    add_pic(b);
    out(b, 3, 0x34);
    out16(b, 0, 1193);
    g_assert_true(bench_pin(b, "pit.out"));
    (void)edge(b);
    for (unsigned i = 0; i < 5; i++) {
        tick(b, 1192);
        g_assert_false(edge(b));
        g_assert_cmpuint(in16(b, 0), ==, 1);
        tick(b, 1);
        g_assert_true(edge(b));
        g_assert_false(edge(b));
        g_assert_cmpuint(in16(b, 0), ==, 1193);
    }
}

static void mode_2_takes_a_new_count_at_the_end_of_the_period(Bench *b)
{
    add_pic(b);
    out(b, 3, 0x34);
    out16(b, 0, 1000);
    (void)edge(b);
    tick(b, 400);
    out16(b, 0, 300);
    g_assert_cmpuint(in16(b, 0), ==, 600);
    out(b, 3, 0xe2);                            /* read-back: status of counter 0 */
    g_assert_cmphex(in(b, 0), ==, OUT | NULL_COUNT | 0x34);
    tick(b, 600);
    g_assert_true(edge(b));
    g_assert_cmpuint(in16(b, 0), ==, 300);
    out(b, 3, 0xe2);
    g_assert_cmphex(in(b, 0), ==, OUT | 0x34);
    tick(b, 300);
    g_assert_true(edge(b));
}

static void mode_3_is_a_square_wave(Bench *b)
{
    gate2(b, true);
    out(b, 3, 0xb6);
    out16(b, 2, 10);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned t = 0; t < 10; t++) {
            g_assert_cmpint(out2(b), ==, t < 5);
            g_assert_cmpuint(in16(b, 2), ==, 10 - 2 * (t % 5));
            tick(b, 1);
        }
    }
    out(b, 3, 0xb6);
    out16(b, 2, 7);                             /* odd: high for 4, low for 3 */
    for (unsigned t = 0; t < 14; t++) {
        g_assert_cmpint(out2(b), ==, t % 7 < 4);
        tick(b, 1);
    }
}

static void mode_3_interrupts_once_a_period(Bench *b)
{
    add_pic(b);
    out(b, 3, 0x36);
    out16(b, 0, 0);                             /* 65536: 18.2 Hz */
    (void)edge(b);
    for (unsigned i = 0; i < 4; i++) {
        tick(b, 65535);
        g_assert_false(edge(b));
        tick(b, 1);
        g_assert_true(edge(b));
    }
}

static void mode_4_strobes_once(Bench *b)
{
    add_pic(b);
    out(b, 3, 0x38);
    (void)edge(b);
    out16(b, 0, 50);
    tick(b, 50);
    g_assert_false(edge(b));
    tick(b, 1);
    g_assert_true(edge(b));
    tick(b, 200000);
    g_assert_false(edge(b));
    out16(b, 0, 20);
    tick(b, 21);
    g_assert_true(edge(b));
}

static void mode_1_and_5_wait_for_the_gate(Bench *b)
{
    out(b, 3, 0xb2);
    out16(b, 2, 20);
    tick(b, 100);
    g_assert_true(out2(b));
    gate2(b, true);                             /* one shot */
    g_assert_false(out2(b));
    tick(b, 10);
    gate2(b, false);
    gate2(b, true);                             /* again from the start */
    tick(b, 19);
    g_assert_false(out2(b));
    tick(b, 1);
    g_assert_true(out2(b));
    out(b, 3, 0xba);                            /* mode 5: hardware triggered strobe */
    out16(b, 2, 5);
    gate2(b, false);
    gate2(b, true);
    tick(b, 4);
    g_assert_true(out2(b));
    tick(b, 1);
    g_assert_false(out2(b));
    tick(b, 1);
    g_assert_true(out2(b));
}

static void a_low_gate_stops_and_a_rising_one_reloads(Bench *b)
{
    gate2(b, true);
    out(b, 3, 0xb0);                            /* mode 0: pauses */
    out16(b, 2, 100);
    tick(b, 30);
    gate2(b, false);
    tick(b, 1000);
    g_assert_cmpuint(in16(b, 2), ==, 70);
    gate2(b, true);
    tick(b, 20);
    g_assert_cmpuint(in16(b, 2), ==, 50);
    out(b, 3, 0xb4);                            /* mode 2: high while stopped, then from the start */
    out16(b, 2, 100);
    tick(b, 99);
    g_assert_false(out2(b));
    gate2(b, false);
    g_assert_true(out2(b));
    tick(b, 5);
    gate2(b, true);
    g_assert_cmpuint(in16(b, 2), ==, 100);
}

static void linux_measures_the_tsc_with_counter_2(Bench *b)
{
    bench_write_at(b, "pit/1", 0, 1, (bench_read_at(b, "pit/1", 0, 1) & ~2) | 1);
    out(b, 3, 0xb0);
    out(b, 2, PIT_HZ / 20 & 0xff);
    out(b, 2, PIT_HZ / 20 >> 8);
    int64_t start = clock_now_ns(b->m->clock);
    while (!(bench_read_at(b, "pit/1", 0, 1) & 0x20))
        bench_step_ns(b, 100000);
    g_assert_cmpint((clock_now_ns(b->m->clock) - start) / 100000, ==, 500);    /* 50 ms */
}

static void latches_hold(Bench *b)
{
    gate2(b, true);
    out(b, 3, 0xb4);
    out16(b, 2, 0x1234);
    tick(b, 0x34);
    out(b, 3, 0x80);                            /* latch counter 2 */
    tick(b, 0x100);
    out(b, 3, 0x80);                            /* ignored: not read yet */
    g_assert_cmphex(in16(b, 2), ==, 0x1200);
    g_assert_cmphex(in16(b, 2), ==, 0x1100);
    out(b, 3, 0xc8);                            /* read-back: status and count; status comes first */
    tick(b, 1);
    g_assert_cmphex(in(b, 2), ==, OUT | 0x34);
    g_assert_cmphex(in16(b, 2), ==, 0x1100);
    g_assert_cmphex(in16(b, 2), ==, 0x10ff);
}

static void one_byte_counts(Bench *b)
{
    gate2(b, true);
    out(b, 3, 0x94);                            /* low byte only, mode 2 */
    out(b, 2, 40);
    g_assert_cmpuint(in(b, 2), ==, 40);
    g_assert_cmpuint(in(b, 2), ==, 40);
    out(b, 3, 0xa4);                            /* high byte only */
    out(b, 2, 2);
    g_assert_cmpuint(in(b, 2), ==, 2);
    tick(b, 1);
    g_assert_cmpuint(in(b, 2), ==, 1);
    g_assert_cmphex(in(b, 3), ==, 0xff);        /* the control word is write-only */
}

static void bcd_counts(Bench *b)
{
    gate2(b, true);
    out(b, 3, 0xb5);
    out16(b, 2, 0x1000);
    tick(b, 1);
    g_assert_cmphex(in16(b, 2), ==, 0x0999);
    out(b, 3, 0xb1);                            /* mode 0 goes on past zero */
    out16(b, 2, 0x0001);
    tick(b, 2);
    g_assert_cmphex(in16(b, 2), ==, 0x9999);
    out16(b, 2, 0xffff);                        /* no digits: nothing breaks */
    tick(b, 1);
    (void)in16(b, 2);
}

static void the_refresh_bit_toggles(Bench *b)
{
    unsigned changes = 0;
    for (unsigned i = 0, last = 0; i < 1000; i++) {
        unsigned bit = bench_read_at(b, "pit/1", 0, 1) & 0x10;
        changes += bit != last;
        last = bit;
        bench_step_ns(b, 1000);
    }
    g_assert_cmpuint(changes, ==, 66);
}

/* The shortest period asks for 600,000 interrupts a second. */
static void a_short_period_does_not_flood(Bench *b)
{
    for (unsigned count = 1; count < 4; count++) {
        unsigned fired = 0;
        out(b, 3, 0x34);
        out16(b, 0, count);
        int64_t end = clock_now_ns(b->m->clock) + NS_PER_S / 10;
        while (clock_next_ns(b->m->clock) <= end) {
            clock_step_ns(b->m->clock, clock_next_ns(b->m->clock) - clock_now_ns(b->m->clock));
            fired++;
        }
        g_assert_cmpuint(fired, >, 1000);
        g_assert_cmpuint(fired, <=, 5001);
    }
}

static void a_late_host_gets_one_edge(Bench *b)
{
    add_pic(b);
    out(b, 3, 0x34);
    out16(b, 0, 1193);
    (void)edge(b);
    clock_set_ns(b->m->clock, NS_PER_S);        /* the loop was away for a thousand periods */
    bench_step_ns(b, 0);
    g_assert_true(edge(b));
    g_assert_false(edge(b));
    g_assert_cmpint(clock_next_ns(b->m->clock) - clock_now_ns(b->m->clock), <=, NS_PER_MS);
    g_assert_cmpint(clock_next_ns(b->m->clock) - clock_now_ns(b->m->clock), >, 0);
}

/* --- lost ticks: the 8259 says which have been taken */

static void add_pic_that_tells(Bench *b)
{
    add_pic(b);
    bench_wire(b, "pic.pending[0]", "pit.pending", 0);
}

/* A period of 1193 ticks is a little less than a millisecond. */
static void start_ticking(Bench *b)
{
    out(b, 3, 0x34);
    out16(b, 0, 1193);
    (void)edge(b);
}

static unsigned edges(Bench *b)
{
    unsigned n = 0;
    while (edge(b))
        n++;
    return n;
}

static void lost_ticks_come_one_after_each_acknowledge(Bench *b)
{
    add_pic_that_tells(b);
    start_ticking(b);
    for (unsigned i = 0; i < 3; i++) {
        tick(b, 5 * 1193);                      /* nobody takes the first of them */
        for (unsigned k = 0; k < 5; k++) {
            g_assert_true(bench_pin(b, "pic.int"));
            g_assert_true(edge(b));
        }
        g_assert_false(bench_pin(b, "pic.int"));
        g_assert_false(edge(b));
        tick(b, 1193);                          /* and then the usual rate */
        g_assert_cmpuint(edges(b), ==, 1);
        tick(b, 1192);
        g_assert_cmpuint(edges(b), ==, 0);
        tick(b, 1);
        g_assert_cmpuint(edges(b), ==, 1);
    }
}

/* The next may be requested while one is in service and comes after its EOI. */
static void lost_ticks_wait_for_the_end_of_interrupt(Bench *b)
{
    add_pic_that_tells(b);
    bench_write_at(b, "pic", 0, 1, 0x13);
    bench_write_at(b, "pic", 1, 1, 0x20);
    bench_write_at(b, "pic", 1, 1, 1);          /* no automatic EOI */
    start_ticking(b);
    bench_write_at(b, "pic", 0, 1, 0x20);
    tick(b, 3 * 1193);
    for (unsigned k = 0; k < 3; k++) {
        g_assert_true(edge(b));
        g_assert_false(edge(b));
        bench_write_at(b, "pic", 0, 1, 0x20);
    }
    g_assert_false(edge(b));
    tick(b, 1193);
    g_assert_true(edge(b));                     /* in service for the next four */
    tick(b, 4 * 1193);
    for (unsigned k = 0; k < 4; k++) {
        bench_write_at(b, "pic", 0, 1, 0x20);
        g_assert_true(edge(b));
    }
    bench_write_at(b, "pic", 0, 1, 0x20);
    g_assert_false(edge(b));
}

static void a_late_host_makes_up_for_its_ticks(Bench *b)
{
    add_pic_that_tells(b);
    start_ticking(b);
    clock_set_ns(b->m->clock, NS_PER_S);        /* the loop was away for a thousand periods */
    bench_step_ns(b, 0);
    g_assert_cmpuint(edges(b), ==, 1000);
    clock_set_ns(b->m->clock, INT64_C(1000) * NS_PER_S);
    bench_step_ns(b, 0);
    g_assert_cmpuint(edges(b), ==, 65536);      /* there is a limit */
    tick(b, 1193);
    g_assert_cmpuint(edges(b), ==, 1);
}

static void ticks_lost_under_a_mask_stay_lost(Bench *b)
{
    add_pic_that_tells(b);
    start_ticking(b);
    tick(b, 3 * 1193);
    bench_write_at(b, "pic", 1, 1, 1);
    tick(b, 10 * 1193);
    bench_write_at(b, "pic", 1, 1, 0);
    g_assert_cmpuint(edges(b), ==, 1);          /* the 8259 remembers one */
    tick(b, 1193);
    g_assert_cmpuint(edges(b), ==, 1);
}

static void a_new_count_forgets_lost_ticks(Bench *b)
{
    add_pic_that_tells(b);
    start_ticking(b);
    tick(b, 10 * 1193);
    start_ticking(b);                           /* takes the one that waits */
    g_assert_cmpuint(edges(b), ==, 0);
    tick(b, 1193);
    g_assert_cmpuint(edges(b), ==, 1);
    tick(b, 5 * 1193);
    out(b, 3, 0x30);                            /* mode 0: one edge a count */
    out16(b, 0, 100);
    (void)edge(b);
    tick(b, 10000);
    g_assert_cmpuint(edges(b), ==, 1);
}

/* Nothing could keep up with these, and nobody is asked to. */
static void short_periods_are_not_made_up_for(Bench *b)
{
    add_pic_that_tells(b);
    out(b, 3, 0x34);
    out16(b, 0, 20);
    (void)edge(b);
    tick(b, 1000);
    g_assert_cmpuint(edges(b), ==, 1);
}

static const BenchCase cases[] = {
    { "mode 0 interrupts on terminal count", "i8254,id=pit", mode_0_interrupts_on_terminal_count },
    { "mode 2 makes one edge a period", "i8254,id=pit", mode_2_makes_one_edge_a_period },
    { "mode 2 takes a new count at the end of the period", "i8254,id=pit",
      mode_2_takes_a_new_count_at_the_end_of_the_period },
    { "mode 3 is a square wave", "i8254,id=pit", mode_3_is_a_square_wave },
    { "mode 3 interrupts once a period", "i8254,id=pit", mode_3_interrupts_once_a_period },
    { "mode 4 strobes once", "i8254,id=pit", mode_4_strobes_once },
    { "mode 1 and 5 wait for the gate", "i8254,id=pit", mode_1_and_5_wait_for_the_gate },
    { "a low gate stops and a rising one reloads", "i8254,id=pit", a_low_gate_stops_and_a_rising_one_reloads },
    { "Linux measures the TSC with counter 2", "i8254,id=pit", linux_measures_the_tsc_with_counter_2 },
    { "latches hold", "i8254,id=pit", latches_hold },
    { "one-byte counts", "i8254,id=pit", one_byte_counts },
    { "BCD counts", "i8254,id=pit", bcd_counts },
    { "the refresh bit toggles", "i8254,id=pit", the_refresh_bit_toggles },
    { "a short period does not flood", "i8254,id=pit", a_short_period_does_not_flood },
    { "a late host gets one edge", "i8254,id=pit", a_late_host_gets_one_edge },
    { "lost ticks come one after each acknowledge", "i8254,id=pit", lost_ticks_come_one_after_each_acknowledge },
    { "lost ticks wait for the end of interrupt", "i8254,id=pit", lost_ticks_wait_for_the_end_of_interrupt },
    { "a late host makes up for its ticks", "i8254,id=pit", a_late_host_makes_up_for_its_ticks },
    { "ticks lost under a mask stay lost", "i8254,id=pit", ticks_lost_under_a_mask_stay_lost },
    { "a new count forgets lost ticks", "i8254,id=pit", a_new_count_forgets_lost_ticks },
    { "short periods are not made up for", "i8254,id=pit", short_periods_are_not_made_up_for },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "i8254", cases); }
