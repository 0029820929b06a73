/* SPDX-License-Identifier: GPL-2.0-or-later
 * The run loop with a made-up guest: loops, faults, pages straddled by instructions and data, I/O, halting and waking,
 * eviction, pausing. */
#include "tests/toy.h"

#include <string.h>

#include "util/endian.h"

/* r2 = 1 + 2 + ... + n, by a loop in one page. */
static void a_sum(Toy *t, uint32_t n)
{
    a_li(t, 1, n);
    a_li(t, 2, 0);
    uint64_t loop = t->at;
    a_add(t, 2, 1);
    a_repeat(t, 1, loop);
}

static void sums(const char *spec)
{
    Toy *t = toy_new(spec);
    a_sum(t, 1000);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 500500);
    g_assert_cmpuint(t->cpu->s.insns, >=, 3000);
    g_assert_cmpuint(t->cpu->s.insns, <=, 3000 + 2 + 2 + 1);
    toy_free(t);
}

/* Blocks in two pages call each other by direct and by indirect jumps. */
static void crosses_pages(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 1, 2000);
    a_li(t, 3, 0x3000);
    uint64_t loop = t->at;
    a_addi(t, 2, 1);
    a_jmp(t, 0x1000);
    t->at = 0x1000;
    a_addi(t, 4, 2);
    a_jr(t, 3);
    t->at = 0x3000;
    a_repeat(t, 1, loop);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 2000);
    g_assert_cmpuint(toy_reg(t, 4), ==, 4000);
    toy_free(t);
}

/* An instruction whose bytes lie in two pages; then the second page is mapped elsewhere; then not at all. */
static void instruction_straddles(const char *spec)
{
    enum { TABLE = 0x100000, HANDLER = 0x9000 };
    Toy *t = toy_new(spec);
    toy_map(t, TABLE, TOY_MAP_PAGES, PTE_V | PTE_W | PTE_X);
    a_li(t, 0, HANDLER);
    a_sys(t, SYS_VECTOR);
    a_paging(t, TABLE);
    uint64_t again = t->at;
    a_jmp(t, 0x4ffd);
    t->at = 0x4ffd;                     /* li r2, ...: three bytes here, three there */
    a_li(t, 2, 0x11223344);
    a_jr(t, 5);
    t->at = 0x7000;                     /* the other second page: its immediate ends differently */
    memcpy(t->bytes + 0x7000, t->bytes + 0x5000, 64);
    t->bytes[0x7000 + 2] = 0x55;
    t->at = again;
    a_li(t, 5, 0x8000);
    a_jmp(t, 0x4ffd);
    t->at = 0x8000;
    a_add(t, 4, 2);                     /* r4 += what was loaded */
    a_li(t, 0, TABLE + 5 * 8);
    a_li(t, 1, 0x7000 | PTE_V | PTE_X);
    a_st(t, 0, 1);
    a_li(t, 0, 0x5000);
    a_li(t, 1, 0);
    a_sys(t, SYS_FLUSH_PAGE);
    a_li(t, 5, 0x8800);
    a_jmp(t, 0x4ffd);
    t->at = 0x8800;
    a_add(t, 4, 2);
    a_li(t, 0, TABLE + 5 * 8);
    a_li(t, 1, 0);
    a_st(t, 0, 1);
    a_li(t, 0, 0x5000);
    a_sys(t, SYS_FLUSH_PAGE);
    a_jmp(t, 0x4ffd);
    t->at = HANDLER;
    a_done(t);
    toy_run(t);
    g_assert_cmphex(toy_reg(t, 4), ==, 0x11223344 + 0x55223344);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | 0x5000 << 8);
    g_assert_cmphex(toy_reg(t, 7), ==, 0x4ffd);
    toy_free(t);
}

/* Data across pages: second half faults, nothing is stored; then both halves are written. */
static void data_straddles(const char *spec)
{
    enum { TABLE = 0x100000, HANDLER = 0x9000 };
    Toy *t = toy_new(spec);
    toy_map(t, TABLE, TOY_MAP_PAGES, PTE_V | PTE_W | PTE_X);
    toy_pte(t, TABLE, 0x21000, 0x31000, PTE_V);         /* read-only, elsewhere */
    memset(t->bytes + 0x20ff0, 0x11, 16);
    memset(t->bytes + 0x31000, 0x22, 16);
    a_li(t, 0, HANDLER);
    a_sys(t, SYS_VECTOR);
    a_paging(t, TABLE);
    a_li(t, 3, 0x20ffd);
    a_ld(t, 2, 3);
    a_add(t, 5, 2);
    a_li(t, 4, -1);
    a_st(t, 3, 4);                      /* faults */
    a_bad(t);
    t->at = HANDLER;
    a_done(t);
    toy_run(t);
    g_assert_cmphex(toy_reg(t, 5), ==, 0x2222222222111111);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | 0x21000 << 8);
    g_assert_cmphex(load_le(t->bytes + 0x20ff8, 8), ==, 0x1111111111111111);

    toy_pte(t, TABLE, 0x21000, 0x31000, PTE_V | PTE_W);
    t->cpu->s.hot[16] = toy_reg(t, 7);  /* once more; the failed translation is not kept */
    t->bytes[toy_reg(t, 7) + 3] = 15;   /* SYS_DONE in place of the bad byte */
    t->bytes[toy_reg(t, 7) + 4] = SYS_DONE;
    toy_run(t);
    g_assert_cmphex(load_le(t->bytes + 0x20ff8, 8), ==, 0xffffff1111111111);
    g_assert_cmphex(load_le(t->bytes + 0x31000, 8), ==, 0x222222ffffffffff);
    toy_free(t);
}

/* State at a fault in the middle of a block is that of the instruction's start. */
static void faults_are_precise(const char *spec)
{
    enum { TABLE = 0x100000, HANDLER = 0x9000 };
    Toy *t = toy_new(spec);
    toy_map(t, TABLE, TOY_MAP_PAGES, PTE_V | PTE_W | PTE_X);
    toy_pte(t, TABLE, 0x20000, 0x20000, PTE_V);
    store_le(t->bytes + 0x20010, 8, 77);
    a_li(t, 0, HANDLER);
    a_sys(t, SYS_VECTOR);
    a_paging(t, TABLE);
    a_li(t, 2, 5);
    a_li(t, 3, 0x20010);
    a_ld(t, 4, 3);                      /* reading is allowed */
    a_addi(t, 2, 1);
    uint64_t at = t->at;
    a_rmw(t, 3, 2);                     /* probes for write before it reads */
    a_addi(t, 2, 1);
    a_done(t);
    t->at = HANDLER;
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 6);
    g_assert_cmpuint(toy_reg(t, 4), ==, 77);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | 0x20010 << 8);
    g_assert_cmphex(toy_reg(t, 7), ==, at);
    g_assert_cmpuint(t->cpu->n_exc, ==, 1);
    toy_free(t);
}

static void raises(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 0, 0x9000);
    a_sys(t, SYS_VECTOR);
    a_li(t, 2, 3);
    uint64_t at = t->at;
    a_bad(t);
    t->at = 0x9000;
    a_done(t);
    toy_run(t);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_UNDEF);
    g_assert_cmphex(toy_reg(t, 7), ==, at);
    g_assert_cmphex(toy_reg(t, 2), ==, 3);
    toy_free(t);
}

static void aligned_vectors(const char *spec)
{
    Toy *t = toy_new(spec);
    for (unsigned i = 0; i < 16; i++)
        t->bytes[0x20000 + i] = i + 1;
    a_li(t, 0, 0x9000);
    a_sys(t, SYS_VECTOR);
    a_li(t, 1, 0x20000);
    a_li(t, 2, 0x21000);
    a_ldq(t, 1);
    a_stq(t, 2);
    a_addi(t, 2, 8);
    a_stq(t, 2);
    t->at = 0x9000;
    a_done(t);
    toy_run(t);
    g_assert_cmpmem(t->bytes + 0x21000, 16, t->bytes + 0x20000, 16);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_ALIGN | 0x21008 << 8);
    toy_free(t);
}

static void devices(const char *spec)
{
    Toy *t = toy_new(spec);
    store_le(region_host(&t->rom) + 0x10, 8, 0x123456789);
    a_li(t, 1, TOY_IO + 0x10);
    a_ld(t, 2, 1);
    a_ld(t, 3, 1);
    a_st(t, 1, 3);
    a_li(t, 1, TOY_ROM + 0x10);
    a_ld(t, 4, 1);
    a_st(t, 1, 4);                      /* goes to the device */
    a_ld(t, 4, 1);
    a_li(t, 1, 0x60000000);             /* nothing there */
    a_ld(t, 5, 1);
    a_st(t, 1, 5);
    a_sys(t, SYS_RANDOM);
    a_sys(t, SYS_TIME);
    a_done(t);
    clock_step_ns(t->clock, 12345);
    toy_run(t);
    g_assert_cmphex(toy_reg(t, 2), ==, 0x1010);
    g_assert_cmphex(toy_reg(t, 3), ==, 0x2010);
    g_assert_cmphex(toy_reg(t, 4), ==, 0x123456789);
    g_assert_cmphex(toy_reg(t, 5), ==, UINT64_MAX);
    g_assert_cmpuint(t->dev_reads, ==, 2);
    g_assert_cmpuint(t->dev_writes, ==, 2);
    g_assert_cmphex(t->dev_last, ==, 0x123456789);
    g_assert_cmpuint(toy_reg(t, 0), ==, 12345);
    toy_free(t);
}

static void timer_fired(void *self)
{
    Toy *t = self;
    __atomic_store_n((uint64_t *)(void *)(t->bytes + 0x10000), 0, __ATOMIC_RELEASE);
}

/* Nobody but the guest gets a turn: the time that it reads is behind a timer's, which fires for it. */
static void late_timers(const char *spec)
{
    Toy *t = toy_new(spec);
    Timer timer;
    timer_init(&timer, t->clock, timer_fired, t);
    timer_set_ns(&timer, 500);
    t->bytes[0x10000] = 1;
    a_li(t, 1, 0x10000);
    uint64_t loop = t->at;
    a_sys(t, SYS_TIME);
    a_ld(t, 2, 1);
    a_jnz(t, 2, loop);
    a_done(t);
    clock_set_ns(t->clock, 1000);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 0), ==, 1000);
    g_assert_false(timer_armed(&timer));
    timer_destroy(&timer);
    toy_free(t);
}

/* Code in a device's window, in a hole (all ones: undefined), and straddling RAM's end. */
static void code_outside_ram(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 0, 0x9000);
    a_sys(t, SYS_VECTOR);
    a_li(t, 1, 0x60000000);
    a_jr(t, 1);
    t->at = 0x9000;
    a_add(t, 5, 6);
    a_add(t, 4, 7);
    a_li(t, 0, 0x9800);
    a_sys(t, SYS_VECTOR);
    a_li(t, 1, TOY_RAM - 2);
    a_jr(t, 1);
    t->at = TOY_RAM - 2;
    t->bytes[t->at++] = 1;              /* li r2, ff ff ff ff */
    t->bytes[t->at++] = 2;
    t->at = 0x9800;
    a_done(t);
    toy_run(t);
    g_assert_cmphex(toy_reg(t, 5), ==, TOY_EXC_UNDEF);
    g_assert_cmphex(toy_reg(t, 4), ==, 0x60000000);
    g_assert_cmphex(toy_reg(t, 2), ==, UINT64_MAX);
    g_assert_cmphex(toy_reg(t, 7), ==, TOY_RAM + 4);
    toy_free(t);
}

static void triple_fault(const char *spec)
{
    Toy *t = toy_new(spec);
    a_bad(t);
    toy_run(t);
    g_assert_true(t->dead);
    /* Reset and run something else. */
    t->cpu->s.hot[16] = 0x100;
    t->at = 0x100;
    a_done(t);
    accel_reset(t->accel);
    toy_run(t);
    g_assert_true(t->done);
    toy_free(t);
}

/* An interrupt that the guest causes itself by a device, taken when it allows it; its handler returns. */
static void interrupts(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 0, 0x9000);
    a_sys(t, SYS_VECTOR);
    a_li(t, 1, TOY_IO + 8);
    a_st(t, 1, 1);
    a_addi(t, 2, 1);
    a_sys(t, SYS_IRQ_ON);
    a_addi(t, 2, 1);                    /* after the handler */
    a_done(t);
    t->at = 0x9000;
    a_add(t, 3, 2);
    a_add(t, 4, 6);
    a_jr(t, 7);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 3), ==, 1);
    g_assert_cmpuint(toy_reg(t, 2), ==, 2);
    g_assert_cmpuint(toy_reg(t, 4), ==, TOY_IRQ);
    g_assert_cmpuint(t->cpu->n_irq, ==, 1);
    toy_free(t);
}

/* The guest halts; another thread's interrupts wake it, 200 times, each counted once. */
static void halts_and_wakes(const char *spec)
{
    enum { ROUNDS = 200 };
    Toy *t = toy_new(spec);
    a_li(t, 0, 0x9000);
    a_sys(t, SYS_VECTOR);
    a_li(t, 1, ROUNDS);
    a_li(t, 5, TOY_IO);
    uint64_t loop = t->at;
    a_sys(t, SYS_WAIT);
    a_jnz(t, 1, loop);
    a_done(t);
    t->at = 0x9000;
    a_addi(t, 1, -1);
    a_st(t, 5, 1);                      /* tells the test */
    a_jr(t, 7);
    toy_start(t);
    for (unsigned i = 0; i < ROUNDS; i++) {
        port_set(&t->cpu->port, PORT_INTR);
        while (__atomic_load_n(&t->dev_writes, __ATOMIC_ACQUIRE) <= i)
            g_thread_yield();
    }
    toy_wait(t);
    g_assert_cmpuint(t->cpu->n_irq, ==, ROUNDS);
    toy_free(t);
}

/* A guest that never leaves its loop is paused, and interrupted, all the same. */
static void busy_loops_are_left(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 0, 0x9000);
    a_sys(t, SYS_VECTOR);
    a_sys(t, SYS_IRQ_ON);
    uint64_t loop = t->at;
    a_addi(t, 2, 1);
    a_jmp(t, loop);
    t->at = 0x9000;
    a_done(t);
    for (unsigned i = 0; i < 50; i++) {
        toy_start(t);
        accel_pause(t->accel);
    }
    uint64_t before = toy_reg(t, 2);
    g_assert_cmpuint(t->cpu->s.insns, >=, 2 * before);
    g_assert_cmpuint(t->cpu->s.insns, <=, 2 * before + 8);
    toy_start(t);
    port_set(&t->cpu->port, PORT_INTR);
    toy_wait(t);
    g_assert_cmpuint(t->cpu->n_irq, ==, 1);
    toy_free(t);
}

/* More code than a megabyte holds, twice over: a long chain of blocks in many pages. */
static void evicts(const char *spec)
{
    enum { PAGES = 2000, ROUNDS = 2 };
    Toy *t = toy_new(spec);
    a_li(t, 1, ROUNDS);
    uint64_t top = t->at;
    a_jmp(t, 0x1000000 - 0x800000);
    for (unsigned i = 0; i < PAGES; i++) {
        t->at = 0x800000 + i * 0x1000;
        for (unsigned k = 0; k < 4; k++) {
            a_addi(t, 2, 1);
            a_add(t, 3, 2);
            a_jmp(t, t->at + 16);
            t->at += 11;
        }
        a_jmp(t, i + 1 < PAGES ? 0x800000 + (i + 1) * 0x1000 : 0x600000);
    }
    t->at = 0x600000;
    a_addi(t, 1, -1);
    a_jnz(t, 1, top);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 4 * PAGES * ROUNDS);
    toy_free(t);
}

/* Calls nested deeper than any return stack, twice, with a return that skips ten of them in between. */
static void deep_returns(const char *spec)
{
    enum { DEPTH = 5000, SKIP = 10, STACK = 0x200000 };
    Toy *t = toy_new(spec);
    a_li(t, 3, 2);
    uint64_t again = t->at;
    a_li(t, 4, STACK);
    a_li(t, 1, DEPTH);
    a_call(t, 0x2000);
    a_addi(t, 3, -1);
    a_jnz(t, 3, again);
    a_done(t);
    t->at = 0x2000;                     /* r1 levels, r4 the stack, r2 counts what is run on the way back */
    a_addi(t, 4, 8);
    a_st(t, 4, 5);
    a_addi(t, 1, -1);
    a_jnz(t, 1, 0x2100);
    a_addi(t, 4, -8 * SKIP);
    a_ld(t, 5, 4);
    a_addi(t, 4, -8);
    a_ret(t, 5);
    t->at = 0x2100;
    a_call(t, 0x2000);
    a_addi(t, 2, 1);
    a_ld(t, 5, 4);
    a_addi(t, 4, -8);
    a_ret(t, 5);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 2 * (DEPTH - 1 - SKIP));
    toy_free(t);
}

/* While a function runs, the page that has called it is mapped elsewhere, then nowhere. */
static void caller_is_remapped(const char *spec)
{
    enum { TABLE = 0x100000, HANDLER = 0x9000 };
    Toy *t = toy_new(spec);
    toy_map(t, TABLE, TOY_MAP_PAGES, PTE_V | PTE_W | PTE_X | PTE_U);
    a_li(t, 0, HANDLER);
    a_sys(t, SYS_VECTOR);
    a_paging(t, TABLE);
    a_li(t, 3, 100);
    a_jmp(t, 0x3000);
    t->at = 0x3000;                     /* warm: a hundred times */
    a_call(t, 0x5000);
    a_addi(t, 2, 1);
    a_addi(t, 3, -1);
    a_jnz(t, 3, 0x3000);
    a_call(t, 0x6000);
    uint64_t back = t->at;
    a_bad(t);
    t->at = 0x4000 | (back & 0xfff);    /* what 0x6000 returns to: runs at 0x3000, so that calls go a page lower */
    a_addi(t, 2, 1);
    a_call(t, 0x8000);
    a_bad(t);                           /* not mapped any more */
    t->at = 0x5000;
    a_ret(t, 5);
    t->at = 0x6000;
    a_li(t, 0, TABLE + 3 * 8);
    a_li(t, 1, 0x4000 | PTE_V | PTE_X | PTE_U);
    a_st(t, 0, 1);
    a_li(t, 0, 0x3000);
    a_li(t, 1, 0);
    a_sys(t, SYS_FLUSH_PAGE);
    a_ret(t, 5);
    t->at = 0x7000;
    a_li(t, 0, TABLE + 3 * 8);
    a_li(t, 1, 0);
    a_st(t, 0, 1);
    a_sys(t, SYS_FLUSH_ALL);
    a_ret(t, 5);
    t->at = HANDLER;
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 101);
    g_assert_cmphex(toy_reg(t, 6) & 0xff, ==, TOY_EXC_FAULT);
    toy_free(t);
}

/* A function writes to where it will return to, each time something else; and one that runs until its caller's code has
 * been evicted from a small code memory. */
static void caller_is_changed(const char *spec)
{
    enum { PAGES = 1000 };
    Toy *t = toy_new(spec);
    a_li(t, 3, 200);
    a_li(t, 4, 0);
    a_jmp(t, 0x3000);
    t->at = 0x3000;
    a_call(t, 0x5000);
    uint64_t patched = t->at + 2;
    a_addi(t, 2, 0);                    /* r2 += r4's low byte */
    a_addi(t, 3, -1);
    a_jnz(t, 3, 0x3000);
    a_call(t, 0x800000);
    a_addi(t, 1, 1);
    a_done(t);
    t->at = 0x5000;
    a_addi(t, 4, 1);
    a_li(t, 0, patched);
    a_stb(t, 0, 4);
    a_ret(t, 5);
    for (unsigned i = 0; i < PAGES; i++) {
        t->at = 0x800000 + i * 0x1000;
        for (unsigned k = 0; k < 4; k++) {
            a_addi(t, 1, 1);
            a_jmp(t, t->at + 16);
            t->at += 11;
        }
        if (i + 1 < PAGES)
            a_jmp(t, 0x800000 + (i + 1) * 0x1000);
        else
            a_ret(t, 5);
    }
    toy_run(t);
    int64_t sum = 0;
    for (unsigned k = 1; k <= 200; k++)
        sum += (int8_t)k;
    g_assert_cmpint((int64_t)toy_reg(t, 2), ==, sum);
    g_assert_cmpuint(toy_reg(t, 1), ==, 4 * PAGES + 1);
    toy_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    toy_test("sums", sums);
    toy_test("late-timers", late_timers);
    toy_test("crosses-pages", crosses_pages);
    toy_test("instruction-straddles", instruction_straddles);
    toy_test("data-straddles", data_straddles);
    toy_test("faults-are-precise", faults_are_precise);
    toy_test("raises", raises);
    toy_test("aligned-vectors", aligned_vectors);
    toy_test("devices", devices);
    toy_test("code-outside-ram", code_outside_ram);
    toy_test("triple-fault", triple_fault);
    toy_test("interrupts", interrupts);
    toy_test("halts-and-wakes", halts_and_wakes);
    toy_test("busy-loops-are-left", busy_loops_are_left);
    toy_test("evicts", evicts);
    toy_test("deep-returns", deep_returns);
    toy_test("caller-is-remapped", caller_is_remapped);
    toy_test("caller-is-changed", caller_is_changed);
    return g_test_run();
}
