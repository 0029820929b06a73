/* SPDX-License-Identifier: GPL-2.0-or-later
 * 8259A by its data sheet: initialisation, nesting, end of interrupt, rotation, masks, poll, cascade. */
#include "tests/bench.h"

#include "hw/intc/i8259.h"

enum { NON_SPECIFIC_EOI = 0x20, SPECIFIC_EOI = 0x60, ROTATE_EOI = 0xa0, SET_PRIORITY = 0xc0, ROTATE_AEOI = 0x80 };
enum { READ_IRR = 0x0a, READ_ISR = 0x0b, POLL = 0x0c, SPECIAL_MASK = 0x68, NO_SPECIAL_MASK = 0x48 };

static void command(Bench *b, const char *pic, uint8_t v) { bench_write_at(b, pic, 0, 1, v); }
static void data(Bench *b, const char *pic, uint8_t v) { bench_write_at(b, pic, 1, 1, v); }
static uint8_t status(Bench *b, const char *pic, uint8_t which)
{
    command(b, pic, which);
    return bench_read_at(b, pic, 0, 1);
}

/* ICW1 to ICW4, all unmasked. */
static void init(Bench *b, const char *pic, uint8_t vector, uint8_t icw3, uint8_t icw4)
{
    command(b, pic, 0x11);
    data(b, pic, vector);
    data(b, pic, icw3);
    data(b, pic, icw4);
    data(b, pic, 0);
}

static uint8_t acknowledge(Bench *b, const char *pic)
{
    Device *d = machine_find(b->m, pic);
    if (b->cycles)
        bench_cycle(b);
    domain_enter(d->domain);
    uint8_t v = i8259_acknowledge(d);
    domain_leave(d->domain);
    return v;
}

static void an_edge_becomes_a_vector(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    g_assert_false(bench_pin(b, "pic.int"));
    bench_drive(b, "pic.ir", 3, true);
    g_assert_true(bench_pin(b, "pic.int"));
    g_assert_cmphex(status(b, "pic", READ_IRR), ==, 0x08);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x23);
    g_assert_false(bench_pin(b, "pic.int"));
    g_assert_cmphex(status(b, "pic", READ_IRR), ==, 0);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0x08);
    command(b, "pic", NON_SPECIFIC_EOI);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0);
    g_assert_false(bench_pin(b, "pic.int"));        /* the pin is still high: an edge is needed */
    bench_drive(b, "pic.ir", 3, false);
    bench_drive(b, "pic.ir", 3, true);
    g_assert_true(bench_pin(b, "pic.int"));
}

static void initialisation_resets_the_edge_sense(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    bench_drive(b, "pic.ir", 0, true);
    command(b, "pic", 0x11);
    g_assert_false(bench_pin(b, "pic.int"));
    data(b, "pic", 0x40);
    data(b, "pic", 0);
    data(b, "pic", 1);
    g_assert_cmphex(bench_read_at(b, "pic", 1, 1), ==, 0);
    g_assert_false(bench_pin(b, "pic.int"));
    bench_drive(b, "pic.ir", 0, false);
    bench_drive(b, "pic.ir", 0, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x40);
}

static void initialisation_without_icw3_and_icw4(Bench *b)
{
    command(b, "pic", 0x12);            /* single, no ICW4 */
    data(b, "pic", 0x58);
    data(b, "pic", 0xfe);               /* OCW1 already */
    g_assert_cmphex(bench_read_at(b, "pic", 1, 1), ==, 0xfe);
    bench_drive(b, "pic.ir", 0, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x58);
}

static void a_mask_holds_back_and_does_not_forget(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    data(b, "pic", 0x10);
    bench_drive(b, "pic.ir", 4, true);
    g_assert_false(bench_pin(b, "pic.int"));
    g_assert_cmphex(status(b, "pic", READ_IRR), ==, 0x10);
    data(b, "pic", 0);
    g_assert_true(bench_pin(b, "pic.int"));
}

static void the_higher_one_nests(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    bench_drive(b, "pic.ir", 4, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x24);
    bench_drive(b, "pic.ir", 5, true);
    g_assert_false(bench_pin(b, "pic.int"));
    bench_drive(b, "pic.ir", 1, true);
    g_assert_true(bench_pin(b, "pic.int"));
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x21);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0x12);
    command(b, "pic", NON_SPECIFIC_EOI);            /* ends the higher */
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0x10);
    g_assert_false(bench_pin(b, "pic.int"));
    command(b, "pic", SPECIFIC_EOI | 4);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x25);
}

static void a_request_that_goes_away_is_spurious(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    bench_drive(b, "pic.ir", 2, true);
    bench_drive(b, "pic.ir", 2, false);
    g_assert_false(bench_pin(b, "pic.int"));
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x27);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0);
}

static void a_level_comes_again_after_eoi(Bench *b)
{
    bench_write_at(b, "pic/1", 0, 1, 0xff);
    g_assert_cmphex(bench_read_at(b, "pic/1", 0, 1), ==, 0xf8);     /* 0, 1 and 2 are edges for ever */
    init(b, "pic", 0x20, 0, 1);
    bench_drive(b, "pic.ir", 5, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x25);
    g_assert_false(bench_pin(b, "pic.int"));
    command(b, "pic", NON_SPECIFIC_EOI);
    g_assert_true(bench_pin(b, "pic.int"));
    bench_drive(b, "pic.ir", 5, false);
    g_assert_false(bench_pin(b, "pic.int"));
}

static void the_trigger_mode_can_change_under_a_level(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    bench_drive(b, "pic.ir", 5, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x25);
    command(b, "pic", NON_SPECIFIC_EOI);
    g_assert_false(bench_pin(b, "pic.int"));
    bench_write_at(b, "pic/1", 0, 1, 0x20);
    g_assert_true(bench_pin(b, "pic.int"));
    bench_write_at(b, "pic/1", 0, 1, 0);
    g_assert_false(bench_pin(b, "pic.int"));
}

static void level_mode_is_for_all_pins(Bench *b)
{
    command(b, "pic", 0x1b);            /* LTIM, single */
    data(b, "pic", 0x20);
    data(b, "pic", 1);
    data(b, "pic", 0);
    bench_drive(b, "pic.ir", 1, true);
    bench_write_at(b, "pic/1", 0, 1, 0xff);
    bench_write_at(b, "pic/1", 0, 1, 0);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x21);
    command(b, "pic", NON_SPECIFIC_EOI);
    g_assert_true(bench_pin(b, "pic.int"));
}

static void priorities_rotate(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    command(b, "pic", SET_PRIORITY | 3);            /* 3 the lowest, so 4 the highest */
    bench_drive(b, "pic.ir", 0, true);
    bench_drive(b, "pic.ir", 4, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x24);
    command(b, "pic", ROTATE_EOI);                  /* now 4 is the lowest */
    bench_drive(b, "pic.ir", 4, false);
    bench_drive(b, "pic.ir", 4, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x20);
    command(b, "pic", ROTATE_EOI | 0x40 | 0);       /* rotate on specific EOI: 0 is the lowest */
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0);
    bench_drive(b, "pic.ir", 0, false);
    bench_drive(b, "pic.ir", 0, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x24);
}

static void automatic_eoi(Bench *b)
{
    init(b, "pic", 0x20, 0, 3);
    bench_drive(b, "pic.ir", 1, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x21);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0);
    command(b, "pic", ROTATE_AEOI);
    bench_drive(b, "pic.ir", 2, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x22);
    bench_drive(b, "pic.ir", 2, false);
    bench_drive(b, "pic.ir", 2, true);
    bench_drive(b, "pic.ir", 3, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x23);       /* 2 had become the lowest */
}

static void special_mask_mode(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    bench_drive(b, "pic.ir", 3, true);
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x23);
    bench_drive(b, "pic.ir", 6, true);
    g_assert_false(bench_pin(b, "pic.int"));
    data(b, "pic", 0x08);
    command(b, "pic", SPECIAL_MASK);
    g_assert_true(bench_pin(b, "pic.int"));         /* lower ones too, but for the masked one */
    g_assert_cmphex(acknowledge(b, "pic"), ==, 0x26);
    command(b, "pic", NON_SPECIFIC_EOI);            /* does not see the masked one */
    command(b, "pic", NON_SPECIFIC_EOI);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0x08);
    command(b, "pic", NO_SPECIAL_MASK);
    command(b, "pic", NON_SPECIFIC_EOI);
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0);
}

static void a_poll_acknowledges(Bench *b)
{
    init(b, "pic", 0x20, 0, 1);
    command(b, "pic", POLL);
    g_assert_cmphex(bench_read_at(b, "pic", 0, 1), ==, 0);
    bench_drive(b, "pic.ir", 6, true);
    command(b, "pic", POLL);
    g_assert_cmphex(bench_read_at(b, "pic", 0, 1), ==, 0x86);
    g_assert_false(bench_pin(b, "pic.int"));
    g_assert_cmphex(status(b, "pic", READ_ISR), ==, 0x40);
}

static void make_pair(Bench *b)
{
    bench_add(b, "i8259,id=slave,elcr-mask=0xde");
    bench_add(b, "i8259,id=master,slave=slave");
    bench_wire(b, "slave.int", "master.ir", 2);
    init(b, "master", 0x20, 4, 1);
    init(b, "slave", 0x28, 2, 1);
}

static void the_slave_gives_its_own_vector(Bench *b)
{
    make_pair(b);
    bench_drive(b, "slave.ir", 4, true);
    g_assert_true(bench_pin(b, "master.int"));
    g_assert_cmphex(acknowledge(b, "master"), ==, 0x2c);
    g_assert_false(bench_pin(b, "slave.int"));
    g_assert_cmphex(status(b, "master", READ_ISR), ==, 0x04);
    g_assert_cmphex(status(b, "slave", READ_ISR), ==, 0x10);
    bench_drive(b, "master.ir", 3, true);           /* lower than the slave */
    g_assert_false(bench_pin(b, "master.int"));
    command(b, "slave", NON_SPECIFIC_EOI);
    command(b, "master", NON_SPECIFIC_EOI);
    g_assert_cmphex(acknowledge(b, "master"), ==, 0x23);
}

static void a_slaves_request_that_goes_away(Bench *b)
{
    make_pair(b);
    bench_drive(b, "slave.ir", 4, true);
    bench_drive(b, "slave.ir", 4, false);
    g_assert_false(bench_pin(b, "master.int"));
    g_assert_cmphex(acknowledge(b, "master"), ==, 0x27);
    g_assert_cmphex(status(b, "master", READ_ISR), ==, 0);
}

static void a_second_request_of_the_slave_follows(Bench *b)
{
    make_pair(b);
    bench_drive(b, "slave.ir", 0, true);
    bench_drive(b, "slave.ir", 7, true);
    g_assert_cmphex(acknowledge(b, "master"), ==, 0x28);
    command(b, "slave", NON_SPECIFIC_EOI);
    command(b, "master", NON_SPECIFIC_EOI);
    g_assert_cmphex(acknowledge(b, "master"), ==, 0x2f);
}

static void a_reset_masks_and_hears_of_high_lines_again(Bench *b)
{
    make_pair(b);
    bench_add(b, "uart16550,id=u");
    bench_wire(b, "u.irq", "slave.ir", 4);
    bench_drive(b, "master.ir", 5, true);
    bench_reset(b);
    g_assert_cmphex(bench_read_at(b, "master", 1, 1), ==, 0xff);
    g_assert_cmphex(bench_read_at(b, "slave", 1, 1), ==, 0xff);
    init(b, "master", 0x20, 4, 1);
    init(b, "slave", 0x28, 2, 1);
    g_assert_false(bench_pin(b, "master.int"));
    bench_write(b, "u.MCR", 8);
    bench_write(b, "u.IER", 2);
    g_assert_cmphex(acknowledge(b, "master"), ==, 0x2c);
}

static const BenchCase cases[] = {
    { "an edge becomes a vector", "i8259,id=pic", an_edge_becomes_a_vector },
    { "initialisation resets the edge sense", "i8259,id=pic", initialisation_resets_the_edge_sense },
    { "initialisation without ICW3 and ICW4", "i8259,id=pic", initialisation_without_icw3_and_icw4 },
    { "a mask holds back and does not forget", "i8259,id=pic", a_mask_holds_back_and_does_not_forget },
    { "the higher one nests", "i8259,id=pic", the_higher_one_nests },
    { "a request that goes away is spurious", "i8259,id=pic", a_request_that_goes_away_is_spurious },
    { "a level comes again after EOI", "i8259,id=pic", a_level_comes_again_after_eoi },
    { "the trigger mode can change under a level", "i8259,id=pic", the_trigger_mode_can_change_under_a_level },
    { "level mode is for all pins", "i8259,id=pic", level_mode_is_for_all_pins },
    { "priorities rotate", "i8259,id=pic", priorities_rotate },
    { "automatic EOI", "i8259,id=pic", automatic_eoi },
    { "special mask mode", "i8259,id=pic", special_mask_mode },
    { "a poll acknowledges", "i8259,id=pic", a_poll_acknowledges },
    { "the slave gives its own vector", NULL, the_slave_gives_its_own_vector },
    { "a slave's request that goes away", NULL, a_slaves_request_that_goes_away },
    { "a second request of the slave follows", NULL, a_second_request_of_the_slave_follows },
    { "a reset masks", NULL, a_reset_masks_and_hears_of_high_lines_again },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "i8259", cases); }
