/* SPDX-License-Identifier: GPL-2.0-or-later
 * 16550A by its data sheet, and the questions that Linux's 8250 driver asks it. */
#include "tests/bench.h"

#define UART "uart16550,id=u,chardev=c"
enum { RX = 1, TX = 2, LINE = 4, MODEM = 8, OUT2 = 8, LOOP = 0x10, DLAB = 0x80, THRE_TEMT = 0x60 };
enum { CHAR_NS = 86806 };

static void open_irq(Bench *b, uint8_t ier)
{
    bench_write(b, "u.MCR", OUT2);
    bench_write(b, "u.IER", ier);
}

static void reading_the_byte_lowers_the_pin(Bench *b)
{
    open_irq(b, RX);
    bench_send(b, "c", "A");
    g_assert_true(bench_pin(b, "u.irq"));
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x04);
    g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT | 1);
    g_assert_cmpuint(bench_read(b, "u.DATA"), ==, 'A');
    g_assert_false(bench_pin(b, "u.irq"));
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x01);
    g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT);
}

static void bytes_written_go_out(Bench *b)
{
    for (const char *s = "hello"; *s; s++) {
        g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT);
        bench_write(b, "u.DATA", *s);
    }
    bench_expect(b, "c", "hello");
}

static void the_transmitter_interrupts_when_empty(Bench *b)
{
    open_irq(b, 0);
    bench_write(b, "u.IER", TX);                /* at once: it is empty */
    g_assert_true(bench_pin(b, "u.irq"));
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x02);
    g_assert_false(bench_pin(b, "u.irq"));      /* reading IIR answers it */
    bench_write(b, "u.IER", TX);                /* no change, no interrupt */
    g_assert_false(bench_pin(b, "u.irq"));
    bench_write(b, "u.DATA", 'x');
    g_assert_true(bench_pin(b, "u.irq"));
    bench_write(b, "u.IER", 0);
    g_assert_false(bench_pin(b, "u.irq"));
    bench_expect(b, "c", "x");
}

static void interrupts_have_priorities(Bench *b)
{
    open_irq(b, RX | TX | LINE | MODEM);
    bench_write(b, "u.MCR", LOOP);
    bench_write(b, "u.DATA", 'a');              /* loops back; a second one overruns: no FIFO */
    bench_write(b, "u.DATA", 'b');
    bench_write(b, "u.MCR", OUT2);              /* modem lines change */
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x06);
    g_assert_cmphex(bench_read(b, "u.LSR") & 0x1f, ==, 0x03);
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x04);
    g_assert_cmpuint(bench_read(b, "u.DATA"), ==, 'a');
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x02);
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x00);
    (void)bench_read(b, "u.MSR");
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x01);
    bench_expect(b, "c", "");
}

static void the_fifo_has_trigger_levels(Bench *b)
{
    static const struct { uint8_t fcr, level; } rows[] = { { 0x01, 1 }, { 0x41, 4 }, { 0x81, 8 }, { 0xc1, 14 } };
    open_irq(b, RX);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        bench_write(b, "u.IIR", rows[i].fcr | 2);
        for (unsigned n = 1; n < rows[i].level; n++)
            bench_send(b, "c", "x");
        g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0xc1);
        bench_send(b, "c", "y");
        g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0xc4);
        (void)bench_read(b, "u.DATA");
        g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0xc1);
    }
}

static void waiting_bytes_time_out(Bench *b)
{
    open_irq(b, RX);
    bench_write(b, "u.IIR", 0x81);
    bench_send(b, "c", "ab");
    bench_step_ns(b, 4 * CHAR_NS - 1);
    g_assert_false(bench_pin(b, "u.irq"));
    bench_step_ns(b, 1);
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0xcc);
    g_assert_cmpuint(bench_read(b, "u.DATA"), ==, 'a');
    g_assert_false(bench_pin(b, "u.irq"));
    bench_step_ns(b, 4 * CHAR_NS);
    g_assert_true(bench_pin(b, "u.irq"));
    g_assert_cmpuint(bench_read(b, "u.DATA"), ==, 'b');
    bench_step_ns(b, 100 * CHAR_NS);
    g_assert_false(bench_pin(b, "u.irq"));
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
}

static void input_waits_until_there_is_room(Bench *b)
{
    bench_write(b, "u.IIR", 1);
    bench_send(b, "c", "0123456789abcdefghij");
    for (const char *s = "0123456789abcdefghij"; *s; s++) {
        g_assert_cmphex(bench_read(b, "u.LSR") & 3, ==, 1);
        g_assert_cmpuint(bench_read(b, "u.DATA"), ==, *s);
        bench_step_ns(b, 0);
    }
    g_assert_cmphex(bench_read(b, "u.LSR") & 3, ==, 0);
}

static void clearing_the_fifo(Bench *b)
{
    bench_write(b, "u.IIR", 1);
    bench_send(b, "c", "abc");
    bench_write(b, "u.IIR", 3);
    g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT);
    bench_send(b, "c", "d");
    bench_write(b, "u.IIR", 0);                 /* turning the FIFO off clears it as well */
    g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT);
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x01);
}

static void the_divisor_latch(Bench *b)
{
    g_assert_cmphex(bench_read_at(b, "u", 1, 1), ==, 0);
    bench_write(b, "u.LCR", DLAB | 3);
    g_assert_cmphex(bench_read_at(b, "u", 0, 1), ==, 12);
    bench_write_at(b, "u", 0, 1, 1);
    bench_write_at(b, "u", 1, 1, 0x80);
    bench_write(b, "u.LCR", 3);
    bench_write_at(b, "u", 1, 1, 0xff);
    g_assert_cmphex(bench_read_at(b, "u", 1, 1), ==, 0x0f);
    bench_write(b, "u.LCR", DLAB | 3);
    g_assert_cmphex(bench_read_at(b, "u", 0, 1), ==, 1);
    g_assert_cmphex(bench_read_at(b, "u", 1, 1), ==, 0x80);
    bench_expect(b, "c", "");
}

static void out2_gates_the_interrupt(Bench *b)
{
    bench_write(b, "u.IER", TX);
    g_assert_cmphex(bench_peek(b, "u.IIR"), ==, 0x02);
    g_assert_false(bench_pin(b, "u.irq"));
    bench_write(b, "u.MCR", OUT2);
    g_assert_true(bench_pin(b, "u.irq"));
    bench_write(b, "u.MCR", OUT2 | LOOP);
    g_assert_false(bench_pin(b, "u.irq"));
}

static void modem_lines(Bench *b)
{
    g_assert_cmphex(bench_read(b, "u.MSR"), ==, 0xb0);      /* DCD, DSR, CTS: somebody is there */
    bench_write(b, "u.MCR", LOOP | 0x0f);
    g_assert_cmphex(bench_read(b, "u.MSR"), ==, 0xf0);      /* RI came up: no trailing edge */
    bench_write(b, "u.MCR", LOOP | 0x0a);
    g_assert_cmphex(bench_read(b, "u.MSR"), ==, 0x96);      /* DSR went, RI's trailing edge; RTS and OUT2 are left */
    g_assert_cmphex(bench_read(b, "u.MSR"), ==, 0x90);
}

static void a_break(Bench *b)
{
    open_irq(b, LINE | RX);
    bench_write(b, "u.LCR", 0x43);
    bench_write(b, "u.LCR", 0x03);
    g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT);
}

/* drivers/tty/serial/8250: scratch register, loopback, FIFO, divisor registers under LCR BFh, THRE test. */
static void the_8250_driver_finds_a_16550a(Bench *b)
{
    bench_write(b, "u.IER", 0);
    bench_write(b, "u.IER", 0x0f);
    g_assert_cmphex(bench_read(b, "u.IER"), ==, 0x0f);
    bench_write(b, "u.IER", 0);
    bench_write(b, "u.MCR", LOOP | 0x0a);
    g_assert_cmphex(bench_read(b, "u.MSR") & 0xf0, ==, 0x90);
    bench_write(b, "u.MCR", 0);
    bench_write(b, "u.LCR", 0xbf);
    bench_write_at(b, "u", 2, 1, 0);
    bench_write(b, "u.LCR", 0);
    bench_write_at(b, "u", 2, 1, 1);
    g_assert_cmphex(bench_read_at(b, "u", 2, 1) >> 6, ==, 3);
    bench_write(b, "u.SCR", 0x5a);
    g_assert_cmphex(bench_read(b, "u.SCR"), ==, 0x5a);
    for (unsigned i = 0; i < 2; i++) {          /* serial8250_do_startup(): a THRE interrupt each time it is enabled */
        bench_write(b, "u.IER", TX);
        g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0xc2);
        bench_write(b, "u.IER", 0);
    }
}

static void a_reset_forgets(Bench *b)
{
    open_irq(b, RX | TX);
    bench_write(b, "u.IIR", 1);
    bench_send(b, "c", "abc");
    bench_reset(b);
    g_assert_false(bench_pin(b, "u.irq"));
    g_assert_cmphex(bench_read(b, "u.IIR"), ==, 0x01);
    g_assert_cmphex(bench_read(b, "u.LSR"), ==, THRE_TEMT);
    g_assert_cmphex(bench_read(b, "u.MSR"), ==, 0xb0);
    g_assert_cmphex(bench_read(b, "u.MCR"), ==, 0);
}

static void nothing_connected(Bench *b)
{
    bench_write(b, "u.DATA", 'x');
    bench_write(b, "u.LCR", 0x40);
    g_assert_cmphex(bench_read(b, "u.DATA"), ==, 0);
    bench_write(b, "u.MCR", LOOP);
    bench_write(b, "u.DATA", 'y');
    g_assert_cmphex(bench_read(b, "u.DATA"), ==, 'y');
}

static const BenchCase cases[] = {
    { "reading the byte lowers the pin", UART, reading_the_byte_lowers_the_pin },
    { "bytes written go out", UART, bytes_written_go_out },
    { "the transmitter interrupts when empty", UART, the_transmitter_interrupts_when_empty },
    { "interrupts have priorities", UART, interrupts_have_priorities },
    { "the FIFO has trigger levels", UART, the_fifo_has_trigger_levels },
    { "waiting bytes time out", UART, waiting_bytes_time_out },
    { "input waits until there is room", UART, input_waits_until_there_is_room },
    { "clearing the FIFO", UART, clearing_the_fifo },
    { "the divisor latch", UART, the_divisor_latch },
    { "OUT2 gates the interrupt", UART, out2_gates_the_interrupt },
    { "modem lines", UART, modem_lines },
    { "a break", UART, a_break },
    { "the 8250 driver finds a 16550A", UART, the_8250_driver_finds_a_16550a },
    { "a reset forgets", UART, a_reset_forgets },
    { "nothing connected", "uart16550,id=u", nothing_connected },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "uart16550", cases); }
