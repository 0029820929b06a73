/* SPDX-License-Identifier: GPL-2.0-or-later
 * The A20 gate and the x87 error interrupt of a PC (PIIX4 data sheet, 8.4; SDM vol. 1, appendix D). */
#include "hw/intc/cpu_lines.h"
#include "tests/bench.h"

static CpuPort ports[2];

static void attach(Bench *b)
{
    for (unsigned i = 0; i < 2; i++) {
        ports[i] = (CpuPort){ .cpu_index = i };
        cpu_lines_attach(machine_find(b->m, "l"), &ports[i]);
    }
}
static uint32_t lines(unsigned i) { return atomic_load(&ports[i].lines); }

static void the_a20_gate_opens_by_any_source(Bench *b)
{
    attach(b);
    bench_drive(b, "l.a20", 0, false);
    g_assert_cmphex(lines(0), ==, LINE_A20M);
    g_assert_cmphex(lines(1), ==, LINE_A20M);
    g_assert_cmphex(atomic_load(&ports[1].pending), ==, PORT_LINES);
    bench_drive(b, "l.a20", 1, true);
    g_assert_cmphex(lines(0), ==, 0);
    bench_drive(b, "l.a20", 0, true);
    bench_drive(b, "l.a20", 1, false);
    g_assert_cmphex(lines(1), ==, 0);
}

static void an_x87_error_interrupts_until_port_f0(Bench *b)
{
    attach(b);
    ports[0].ferr(ports[0].ferr_self, 0, true);
    g_assert_true(bench_pin(b, "l.irq"));
    g_assert_cmphex(lines(0) & LINE_IGNNE, ==, 0);
    bench_write_at(b, "l", 0, 1, 0);
    g_assert_false(bench_pin(b, "l.irq"));
    g_assert_cmphex(lines(0) & LINE_IGNNE, ==, LINE_IGNNE);
    ports[0].ferr(ports[0].ferr_self, 0, false);        /* FNCLEX */
    g_assert_cmphex(lines(0) & LINE_IGNNE, ==, 0);
    bench_write_at(b, "l", 0, 1, 0);                    /* with no error: nothing is ignored */
    g_assert_cmphex(lines(0) & LINE_IGNNE, ==, 0);
    ports[1].ferr(ports[1].ferr_self, 1, true);
    bench_write_at(b, "l", 1, 1, 0);
    g_assert_true(bench_pin(b, "l.irq"));
    ports[1].ferr(ports[1].ferr_self, 1, false);        /* the interrupt is latched */
    g_assert_true(bench_pin(b, "l.irq"));
}

static const BenchCase cases[] = {
    { "the A20 gate opens by any source", "cpu-lines,id=l", the_a20_gate_opens_by_any_source },
    { "an x87 error interrupts until port F0h", "cpu-lines,id=l", an_x87_error_interrupts_until_port_f0 },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "cpu_lines", cases); }
