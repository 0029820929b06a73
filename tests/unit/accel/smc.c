/* SPDX-License-Identifier: GPL-2.0-or-later
 * Code that is written while it exists: by itself, by its neighbour, by a helper, by a device; data beside code. */
#include "tests/toy.h"

#include <string.h>

#include "memory/dma.h"

/* A block overwrites an immediate further on in itself, 100 times: each run sees the new one. */
static void stores_into_itself(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 1, 100);
    uint64_t loop = t->at;
    a_li(t, 3, 0x40 + 2);               /* the low byte of the immediate below */
    a_stb(t, 3, 1);
    a_jmp(t, 0x40);                     /* keeps the address known; same page */
    t->at = 0x40;
    a_li(t, 4, 0);
    a_add(t, 2, 4);
    a_repeat(t, 1, loop);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 5050);
    toy_free(t);
}

/* The same with the changed instruction in the very block that stores. */
static void next_instruction_is_changed(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 1, 100);
    uint64_t loop = t->at, patch = loop + 6 + 3;
    a_li(t, 3, (int)patch + 2);
    a_stb(t, 3, 1);
    g_assert_cmpuint(t->at, ==, patch);
    a_li(t, 4, 0);
    a_add(t, 2, 4);
    a_repeat(t, 1, loop);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 5050);
    toy_free(t);
}

/* Read-modify-write, atomic, 16 bytes and a helper's store, each into the block that does it. */
static void all_kinds_of_stores(const char *spec)
{
    for (unsigned kind = 0; kind < 5; kind++) {
        Toy *t = toy_new(spec);
        uint64_t data = 0x200;          /* the code that is patched, in the block that does it */
        a_li(t, 3, data);
        a_li(t, 0, data);
        a_li(t, 5, 0x3000);
        a_ldq(t, 5);
        a_ld(t, 1, 5);
        a_jmp(t, data - (kind < 3 ? 33 : 32));
        t->at = data - (kind < 3 ? 33 : 32);
        switch (kind) {
        case 0: a_st(t, 3, 1); break;
        case 1: a_rmw(t, 3, 1); break;
        case 2: a_atomic(t, 3, 1); break;
        case 3: a_stq(t, 3); break;
        case 4: a_sys(t, SYS_PUT); break;
        }
        while (t->at + 3 <= data)       /* up to it, in one block */
            a_addi(t, 4, 0);
        g_assert_cmpuint(t->at, ==, data);
        t->at = data;
        a_li(t, 2, 0);                  /* becomes li r2, 7 */
        a_addi(t, 2, 1);
        a_done(t);
        memcpy(t->bytes + 0x3000, t->bytes + data, 16);
        t->bytes[0x3002] = 7;
        if (kind == 1 || kind == 2) {   /* they add */
            memset(t->bytes + 0x3000, 0, 8);
            t->bytes[0x3002] = 7;
        }
        toy_run(t);
        g_assert_cmpuint(toy_reg(t, 2), ==, 8);
        toy_free(t);
    }
}

/* A subroutine in another page is rewritten between calls, warm in the jump cache. */
static void another_page(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 1, 200);
    a_li(t, 3, 0x5002);
    uint64_t loop = t->at;
    a_stb(t, 3, 1);
    a_visit(t, 0x5000);
    a_add(t, 2, 4);
    a_repeat(t, 1, loop);
    a_done(t);
    t->at = 0x5000;
    a_li(t, 4, 0);
    a_jr(t, 7);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 200 * 201 / 2);
    toy_free(t);
}

/* What cannot be undone comes once, though the store behind it hits code: an input that is stored (INS). */
static void input_into_code(const char *spec)
{
    enum { TIMES = 50 };
    Toy *t = toy_new(spec);
    a_li(t, 3, TIMES);
    a_li(t, 0, 0x5000);
    a_li(t, 5, 0x3000);
    a_ld(t, 1, 5);
    uint64_t loop = t->at;
    a_visit(t, 0x5000);
    a_sys(t, SYS_INPUT);
    a_repeat(t, 3, loop);
    a_done(t);
    t->at = 0x5000;
    a_li(t, 4, 9);
    a_jr(t, 7);
    memcpy(t->bytes + 0x3000, t->bytes + 0x5000, 8);
    toy_run(t);
    g_assert_cmpuint(t->cpu->n_inputs, ==, TIMES);
    g_assert_cmpuint(toy_reg(t, 4), ==, 9);
    toy_free(t);
}

/* The page is mapped at a second address and written there. */
static void through_an_alias(const char *spec)
{
    enum { TABLE = 0x100000 };
    Toy *t = toy_new(spec);
    toy_map(t, TABLE, TOY_MAP_PAGES, PTE_V | PTE_W | PTE_X);
    toy_pte(t, TABLE, 0x300000, 0x5000, PTE_V | PTE_W);
    a_paging(t, TABLE);
    a_li(t, 1, 200);
    a_li(t, 3, 0x300002);
    uint64_t loop = t->at;
    a_stb(t, 3, 1);
    a_visit(t, 0x5000);
    a_add(t, 2, 4);
    a_repeat(t, 1, loop);
    a_done(t);
    t->at = 0x5000;
    a_li(t, 4, 0);
    a_jr(t, 7);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 200 * 201 / 2);
    toy_free(t);
}

/* A counter beside the code that increments it: nothing is translated again. */
static void data_beside_code(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 1, 1000);
    a_li(t, 3, 0x800);
    a_li(t, 5, 1);
    uint64_t loop = t->at;
    a_rmw(t, 3, 5);
    a_repeat(t, 1, loop);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(t->bytes[0x800] | t->bytes[0x801] << 8, ==, 1000);
    GString *s = g_string_new(NULL);
    accel_stats(t->accel, s);
    g_assert_nonnull(strstr(s->str, "invalidated: 0 blocks"));
    g_string_free(s, TRUE);
    toy_free(t);
}

/* A page of code is reused for data: after a few hits all of its blocks are gone and its code flag is clear. */
static void page_is_reused(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 3, 0x5000);
    for (unsigned i = 0; i < 60; i++) {         /* 60 blocks at 0x5000, 64 bytes apart, called in turn */
        uint64_t at = t->at;
        t->at = 0x5000 + i * 64;
        a_addi(t, 2, 1);
        a_jmp(t, at + 5);
        t->at = at;
        a_jmp(t, 0x5000 + i * 64);
    }
    a_li(t, 1, 512);
    a_li(t, 4, 0);
    uint64_t loop = t->at;
    a_st(t, 3, 4);
    a_addi(t, 3, 8);
    a_repeat(t, 1, loop);
    a_done(t);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 60);
    g_assert_cmpuint(t->ram_map->code_flags[5], ==, 0);
    for (unsigned i = 0; i < 4096; i++)
        g_assert_cmpuint(t->bytes[0x5000 + i], ==, 0);
    toy_free(t);
}

/* A device writes code while the guest waits for it in a loop. */
static void device_writes_code(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 5, TOY_IO);
    uint64_t loop = t->at;
    a_visit(t, 0x5000);
    a_st(t, 5, 4);
    a_li(t, 3, 0x6000);
    a_ld(t, 2, 3);
    a_repeat(t, 2, loop);
    a_done(t);
    t->at = 0x5000;
    a_li(t, 4, 0);
    a_jr(t, 7);
    toy_start(t);
    for (unsigned i = 1; i < 100; i++) {
        uint8_t b = i;
        while (!__atomic_load_n(&t->dev_writes, __ATOMIC_ACQUIRE))
            g_thread_yield();
        g_assert_cmpint(dma_write(t->mem, 0x5002, &b, 1), ==, MEM_OK);
        while ((uint8_t)__atomic_load_n(&t->dev_last, __ATOMIC_ACQUIRE) != i)
            g_thread_yield();
    }
    dma_store64(t->mem, 0x6000, 1);
    toy_wait(t);
    toy_free(t);
}

/* While the guest is paused everything may be rewritten. */
static void written_while_paused(const char *spec)
{
    Toy *t = toy_new(spec);
    for (unsigned i = 1; i < 20; i++) {
        t->at = 0;
        a_li(t, 2, i);
        a_done(t);
        uint8_t code[16];
        memcpy(code, t->bytes, sizeof code);
        dma_write(t->mem, 0, code, sizeof code);
        t->cpu->s.hot[16] = 0;
        toy_run(t);
        g_assert_cmpuint(toy_reg(t, 2), ==, i);
    }
    toy_free(t);
}

/* The changed byte is in the second page of a straddling instruction. */
static void second_page_of_a_straddler(const char *spec)
{
    Toy *t = toy_new(spec);
    a_li(t, 1, 100);
    a_li(t, 3, 0x5000);
    uint64_t loop = t->at;
    a_stb(t, 3, 1);
    a_visit(t, 0x4ffd);
    a_add(t, 2, 4);
    a_repeat(t, 1, loop);
    a_done(t);
    t->at = 0x4ffd;
    a_li(t, 4, 0);
    a_jr(t, 7);
    toy_run(t);
    g_assert_cmpuint(toy_reg(t, 2), ==, 5050 * 256);
    toy_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    toy_test("stores-into-itself", stores_into_itself);
    toy_test("next-instruction-is-changed", next_instruction_is_changed);
    toy_test("all-kinds-of-stores", all_kinds_of_stores);
    toy_test("another-page", another_page);
    toy_test("input-into-code", input_into_code);
    toy_test("through-an-alias", through_an_alias);
    toy_test("data-beside-code", data_beside_code);
    toy_test("page-is-reused", page_is_reused);
    toy_test("device-writes-code", device_writes_code);
    toy_test("written-while-paused", written_while_paused);
    toy_test("second-page-of-a-straddler", second_page_of_a_straddler);
    return g_test_run();
}
