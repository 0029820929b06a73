/* SPDX-License-Identifier: GPL-2.0-or-later
 * TLB contexts: what a flush drops and what it keeps, for data and for code; views; more address spaces than contexts;
 * the memory map and dirty bits changing under the TLB. */
#include "tests/toy.h"

#include <string.h>

#include "memory/dirty.h"
#include "util/endian.h"

enum { TABLE = 0x100000, N_PAGES = 4096, HANDLER = 0x9000 };

static void a_sysr(Toy *t, unsigned code, int32_t r0, int32_t r1)
{
    a_li(t, 0, r0);
    a_li(t, 1, r1);
    a_sys(t, code);
}

/* r0 = [va], printed */
static void a_show(Toy *t, uint64_t va)
{
    a_li(t, 3, va);
    a_ld(t, 0, 3);
    a_sys(t, SYS_PRINT);
}

static void a_poke(Toy *t, uint64_t pa, uint64_t v)
{
    a_li(t, 3, pa);
    a_li(t, 4, v);
    a_st(t, 3, 4);
}

static void a_set_pte(Toy *t, uint64_t va, uint64_t pa, unsigned flags)
{
    a_poke(t, TABLE + (va >> 12) * 8, pa | flags);
}

static Toy *paged(const char *spec)
{
    Toy *t = toy_new(spec);
    toy_map(t, TABLE, N_PAGES, PTE_V | PTE_W | PTE_X);
    for (uint64_t i = 0; i < 64; i++)
        store_le(t->bytes + 0x200000 + i * 0x1000, 8, 100 + i);
    a_sysr(t, SYS_VECTOR, HANDLER, 0);
    a_sysr(t, SYS_PTBASE, TABLE, N_PAGES);
    return t;
}

static void expect(Toy *t, const uint64_t *want, unsigned n)
{
    g_assert_cmpuint(t->cpu->n_printed, ==, n);
    for (unsigned i = 0; i < n; i++)
        g_assert_cmpuint(t->cpu->printed[i], ==, want[i]);
}
#define EXPECT(t, ...) expect(t, (const uint64_t[]){ __VA_ARGS__ }, sizeof (const uint64_t[]){ __VA_ARGS__ } / 8)

/* A stale entry is used until it is flushed (the guest may rely on it), and not after. */
static void flushes_of_data(const char *spec)
{
    Toy *t = paged(spec);
    enum { A = 0x400000, B = 0x401000, G = 0x402000 };
    toy_pte(t, TABLE, A, 0x200000, PTE_V);
    toy_pte(t, TABLE, B, 0x201000, PTE_V);
    toy_pte(t, TABLE, G, 0x202000, PTE_V | PTE_G);
    a_show(t, A), a_show(t, B), a_show(t, G);                           /* 100 101 102 */
    a_set_pte(t, A, 0x210000, PTE_V);
    a_set_pte(t, B, 0x211000, PTE_V);
    a_set_pte(t, G, 0x212000, PTE_V | PTE_G);
    a_show(t, A), a_show(t, B), a_show(t, G);                           /* as before */
    a_sysr(t, SYS_FLUSH_PAGE, A, 0);
    a_show(t, A), a_show(t, B), a_show(t, G);                           /* 116 101 102 */
    a_sysr(t, SYS_FLUSH_ASID, 0, 0);
    a_show(t, A), a_show(t, B), a_show(t, G);                           /* 116 117 102 */
    a_sysr(t, SYS_FLUSH_PAGE, G, 5);                                    /* of another asid: globals go all the same */
    a_show(t, G);                                                       /* 118 */
    a_set_pte(t, G, 0x202000, PTE_V | PTE_G);
    a_sys(t, SYS_FLUSH_ALL);
    a_show(t, G);                                                       /* 102 */
    a_done(t);
    t->at = HANDLER;
    a_bad(t);
    toy_run(t);
    EXPECT(t, 100, 101, 102, 100, 101, 102, 116, 101, 102, 116, 117, 102, 118, 102);
    toy_free(t);
}

/* Each address space keeps what it has while others run. */
static void contexts_are_kept(const char *spec)
{
    Toy *t = paged(spec);
    enum { A = 0x400000 };
    toy_pte(t, TABLE, A, 0x200000, PTE_V);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned asid = 0; asid < 8; asid++) {
            a_sysr(t, SYS_ASID, asid, 0);
            if (!round)
                a_set_pte(t, A, 0x200000 + asid * 0x1000, PTE_V);
            a_show(t, A);
        }
    a_sysr(t, SYS_ASID, 3, 0);
    a_sysr(t, SYS_FLUSH_ASID, 5, 0);                                    /* of another one */
    a_show(t, A);
    a_sysr(t, SYS_ASID, 5, 0);
    a_show(t, A);
    a_done(t);
    t->at = HANDLER;
    a_bad(t);
    toy_run(t);
    for (unsigned i = 0; i < 24; i++)
        g_assert_cmpuint(t->cpu->printed[i], ==, 100 + i % 8);
    g_assert_cmpuint(t->cpu->printed[24], ==, 103);
    g_assert_cmpuint(t->cpu->printed[25], ==, 107);                     /* the mapping of now */
    toy_free(t);
}

/* More address spaces than contexts: the oldest are reused, and nothing of what they held is seen. */
static void more_spaces_than_contexts(const char *spec)
{
    Toy *t = paged(spec);
    enum { A = 0x400000, N = 50 };
    a_li(t, 5, N);
    uint64_t loop = t->at;
    a_li(t, 0, 0);
    a_add(t, 0, 5);
    a_sys(t, SYS_ASID);
    a_li(t, 3, TABLE + (A >> 12) * 8);          /* pte += a page, so each space sees its own */
    a_li(t, 4, 0x1000);
    a_rmw(t, 3, 4);
    a_li(t, 3, A);
    a_ld(t, 0, 3);
    a_sys(t, SYS_PRINT);
    a_repeat(t, 5, loop);
    a_done(t);
    toy_pte(t, TABLE, A, 0x200000, PTE_V);
    t->at = HANDLER;
    a_bad(t);
    toy_run(t);
    for (unsigned i = 0; i < N; i++)
        g_assert_cmpuint(t->cpu->printed[i], ==, 101 + i);
    toy_free(t);
}

/* A 2 MiB mapping goes as a whole when any page of it is flushed, fragments of data and of code. */
static void large_pages(const char *spec)
{
    Toy *t = paged(spec);
    enum { L = 0x600000, CODE = 0x681000 };
    for (uint64_t i = 0; i < 512; i++)
        toy_pte(t, TABLE, L + i * 0x1000, (i < 64 ? 0x200000 : L) + i * 0x1000, PTE_V | PTE_W | PTE_X | PTE_L);
    a_show(t, L), a_show(t, L + 0x5000);                                /* 100 105 */
    a_visit(t, CODE);
    a_set_pte(t, L, 0x210000, PTE_V | PTE_L);
    a_set_pte(t, L + 0x5000, 0x215000, PTE_V | PTE_L);
    a_set_pte(t, CODE, 0x701000, PTE_V | PTE_X | PTE_L);
    a_show(t, L + 0x5000);                                              /* 105 still */
    a_visit(t, CODE);                                                   /* 1 still */
    a_sysr(t, SYS_FLUSH_PAGE, L + 0x100000, 0);
    a_show(t, L), a_show(t, L + 0x5000);                                /* 116 121 */
    a_visit(t, CODE);                                                   /* 2 */
    a_done(t);
    t->at = CODE;
    a_li(t, 0, 1);
    a_sys(t, SYS_PRINT);
    a_jr(t, 7);
    t->at = 0x701000;
    a_li(t, 0, 2);
    a_sys(t, SYS_PRINT);
    a_jr(t, 7);
    t->at = HANDLER;
    a_bad(t);
    toy_run(t);
    EXPECT(t, 100, 105, 1, 105, 1, 116, 121, 2);
    toy_free(t);
}

/* Flushing a page of one address space takes global entries from all: pages, fragments of a large mapping, code, and
 * code of which the half is global.  Entries that are not global stay. */
static void globals_of_other_spaces(const char *spec)
{
    Toy *t = paged(spec);
    enum { A = 0x400000, B = 0x401000, L = 0x600000, C = 0x20000, D = 0x21000, S = D - 3, NEW = 0x30000 };
    toy_pte(t, TABLE, A, 0x200000, PTE_V | PTE_G);
    toy_pte(t, TABLE, B, 0x201000, PTE_V);
    for (uint64_t i = 0; i < 512; i++)
        toy_pte(t, TABLE, L + i * 0x1000, (i < 64 ? 0x200000 : L) + i * 0x1000, PTE_V | PTE_L | PTE_G);
    toy_pte(t, TABLE, C, C, PTE_V | PTE_X | PTE_G);
    a_jmp(t, 0x1000);
    for (unsigned i = 0; i < 2; i++) {
        t->at = i ? NEW : C;                    /* in a global page */
        a_li(t, 0, i + 1);
        a_sys(t, SYS_PRINT);
        a_jr(t, 7);
        t->at = i ? NEW + 0xffd : S;            /* from a global page into one that is not */
        a_li(t, 0, i + 3);
        a_sys(t, SYS_PRINT);
        a_jr(t, 7);
    }
    memcpy(t->bytes + D, t->bytes + NEW + 0x1000, 16);
    t->at = 0x1000;
    for (unsigned round = 0; round < 3; round++) {
        a_show(t, A), a_show(t, B), a_show(t, L + 0x5000);
        for (unsigned i = 0; i < 2; i++) {
            a_li(t, 5, i ? S : C);
            a_li(t, 7, (int)t->at + 6 + 2);
            a_jr(t, 5);
        }
        if (round == 2)
            break;
        if (!round) {
            a_set_pte(t, A, 0x210000, PTE_V | PTE_G);
            a_set_pte(t, B, 0x211000, PTE_V);
            a_set_pte(t, L + 0x5000, 0x215000, PTE_V | PTE_L | PTE_G);
            a_set_pte(t, C, NEW, PTE_V | PTE_X | PTE_G);
        } else {
            a_sysr(t, SYS_ASID, 5, 0);
            a_sysr(t, SYS_FLUSH_PAGE, A, 5);
            a_sysr(t, SYS_FLUSH_PAGE, B, 5);
            a_sysr(t, SYS_FLUSH_PAGE, L + 0x100000, 5);
            a_sysr(t, SYS_FLUSH_PAGE, C, 5);
            a_sysr(t, SYS_ASID, 0, 0);
        }
    }
    a_done(t);
    t->at = HANDLER;
    a_bad(t);
    toy_run(t);
    g_assert_cmpuint(t->cpu->n_printed, ==, 15);
    static const uint64_t first[5] = { 100, 101, 105, 1, 3 }, last[5] = { 116, 101, 121, 2, 4 };
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpuint(t->cpu->printed[i], ==, first[i]);
        g_assert_cmpuint(t->cpu->printed[10 + i], ==, last[i]);
    }
    toy_free(t);
}

/* Code at one address: another address space, a flushed page, a page no longer executable. */
static void flushes_of_code(const char *spec)
{
    Toy *t = paged(spec);
    enum { C = 0x5000, D = 0x6000 };
    for (unsigned i = 0; i < 2; i++) {
        t->at = i ? D : C;
        a_li(t, 0, i + 1);
        a_sys(t, SYS_PRINT);
        a_jr(t, 7);
    }
    t->at = 0x100;
    for (unsigned round = 0; round < 2; round++) {
        a_visit(t, C);                                                  /* 1 */
    }
    a_set_pte(t, C, D, PTE_V | PTE_X);
    a_visit(t, C);                                                      /* 1 still */
    a_sysr(t, SYS_ASID, 4, 0);
    a_visit(t, C);                                                      /* 2 */
    a_sysr(t, SYS_ASID, 0, 0);
    a_visit(t, C);                                                      /* 1 still */
    a_sysr(t, SYS_FLUSH_PAGE, C, 0);
    a_visit(t, C);                                                      /* 2 */
    a_set_pte(t, C, C, PTE_V);
    a_sysr(t, SYS_FLUSH_PAGE, C, 0);
    a_jmp(t, C);                                                        /* faults */
    uint64_t start = 0;
    t->at = HANDLER;
    a_done(t);
    t->at = start;                      /* paged()'s prologue, again, then on */
    a_sysr(t, SYS_VECTOR, HANDLER, 0);
    a_sysr(t, SYS_PTBASE, TABLE, N_PAGES);
    a_jmp(t, 0x100);
    toy_run(t);
    EXPECT(t, 1, 1, 1, 2, 1, 2);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | C << 8);
    g_assert_cmphex(toy_reg(t, 7), ==, C);
    toy_free(t);
}

/* View 1 sees only pages that it may. */
static void views(const char *spec)
{
    Toy *t = paged(spec);
    enum { A = 0x400000, B = 0x401000 };
    toy_pte(t, TABLE, A, 0x200000, PTE_V | PTE_U);
    toy_pte(t, TABLE, B, 0x201000, PTE_V);
    a_li(t, 3, A);
    a_ldv(t, 0, 3);
    a_sys(t, SYS_PRINT);
    a_show(t, B);
    a_li(t, 3, B);
    a_ldv(t, 0, 3);                     /* faults */
    a_bad(t);
    t->at = HANDLER;
    a_done(t);
    toy_run(t);
    EXPECT(t, 100, 101);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | B << 8);
    toy_free(t);
}

static void probes(const char *spec)
{
    Toy *t = paged(spec);
    enum { A = 0x400000, B = 0x401000 };
    toy_pte(t, TABLE, A, 0x200000, PTE_V | PTE_W);
    toy_pte(t, TABLE, B, 0x201000, PTE_V);
    a_sysr(t, SYS_PROBE, A, 0);
    a_sysr(t, SYS_PROBE, A + 4096 - 100, 0);
    a_sysr(t, SYS_GET, A + 4092, 0);
    a_li(t, 0, 7);
    a_sys(t, SYS_PRINT);
    uint64_t at = t->at + 12;
    a_sysr(t, SYS_PROBE, A + 4096 - 99, 0);
    a_bad(t);
    t->at = HANDLER;
    a_done(t);
    toy_run(t);
    EXPECT(t, 7);
    g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | B << 8);
    g_assert_cmphex(toy_reg(t, 7), ==, at);
    toy_free(t);
}

/* A table that nothing was put into yet matches nothing: neither page 0 nor what wraps into it. */
static void empty_matches_nothing(const char *spec)
{
    enum { BELOW_0 = -4, IN_0 = 16 };
    static const int32_t vas[] = { BELOW_0, IN_0 };
    for (unsigned i = 0; i < G_N_ELEMENTS(vas); i++) {
        Toy *t = toy_new(spec);
        toy_map(t, TABLE, N_PAGES, PTE_V | PTE_W | PTE_X);
        toy_pte(t, TABLE, 0, 0, 0);
        a_jmp(t, 0x1000);
        t->at = 0x1000;
        a_sysr(t, SYS_VECTOR, HANDLER, 0);
        a_sysr(t, SYS_ASID, 7, 0);
        a_sysr(t, SYS_PTBASE, TABLE, N_PAGES);
        a_li(t, 3, vas[i]);
        a_ld(t, 0, 3);
        a_bad(t);
        t->at = HANDLER;
        a_done(t);
        toy_run(t);
        g_assert_cmphex(toy_reg(t, 6), ==, TOY_EXC_FAULT | (uint64_t)vas[i] << 8);
        toy_free(t);
    }
}

/* Pages that share an entry, as arrays a large power of two apart do. */
static void aliases_in_the_table(const char *spec)
{
    Toy *t = toy_new(spec);
    enum { APART = TLB_SIZE * PAGE_SIZE, A = 0x400000, B = A + APART, LONG = (B >> 12) + 1 };
    toy_map(t, TABLE, N_PAGES, PTE_V | PTE_W | PTE_X);
    toy_pte(t, TABLE, A, 0x200000, PTE_V | PTE_W);
    toy_pte(t, TABLE, B, 0x201000, PTE_V | PTE_W);
    store_le(t->bytes + 0x200000, 8, 1);
    store_le(t->bytes + 0x201000, 8, 2);
    a_sysr(t, SYS_PTBASE, TABLE, LONG);
    for (unsigned i = 0; i < 3; i++) {
        a_show(t, A), a_show(t, B);
        a_li(t, 3, A), a_li(t, 4, 10), a_rmw(t, 3, 4);
        a_li(t, 3, B), a_li(t, 4, 20), a_rmw(t, 3, 4);
    }
    a_sysr(t, SYS_FLUSH_PAGE, A, 0);
    a_show(t, A), a_show(t, B);
    a_done(t);
    toy_run(t);
    EXPECT(t, 1, 2, 11, 22, 21, 42, 31, 62);
    toy_free(t);
}

/* RAM that was read is covered by a device; then the device goes. */
static void memory_map_changes(const char *spec)
{
    Toy *t = toy_new(spec);
    store_le(t->bytes + 0x400010, 8, 55);
    a_show(t, 0x400010);
    a_done(t);
    toy_run(t);
    region_unmap(&t->dev);
    region_map(space_root(t->mem), 0x400000, &t->dev, 1);
    t->cpu->s.hot[16] = 0;
    toy_run(t);
    region_unmap(&t->dev);
    t->cpu->s.hot[16] = 0;
    toy_run(t);
    EXPECT(t, 55, 0x1010, 55);
    toy_free(t);
}

/* A client that harvests dirty bits sees each write since, though the guest's stores are fast in between. */
static void dirty_pages(const char *spec)
{
    Toy *t = toy_new(spec);
    dirty_start(t->ram_map, DIRTY_DISPLAY);
    a_li(t, 3, 0x400000);
    a_li(t, 5, 0x402000);
    a_st(t, 5, 3);                      /* both pages written once */
    for (unsigned i = 0; i < 4; i++)
        a_st(t, 3, 3);
    a_done(t);
    uint64_t again = t->at;
    for (unsigned i = 0; i < 4; i++)
        a_st(t, 3, 3);
    a_done(t);
    dirty_harvest(t->ram_map, DIRTY_DISPLAY, 0, TOY_RAM >> 12, NULL);
    toy_run(t);
    g_assert_true(dirty_test(t->ram_map, DIRTY_DISPLAY, 0x400));
    g_assert_true(dirty_test(t->ram_map, DIRTY_DISPLAY, 0x402));
    g_assert_false(dirty_test(t->ram_map, DIRTY_DISPLAY, 0x401));
    for (unsigned i = 0; i < 3; i++) {
        dirty_harvest(t->ram_map, DIRTY_DISPLAY, 0, TOY_RAM >> 12, NULL);
        t->cpu->s.hot[16] = again;
        toy_run(t);
        g_assert_true(dirty_test(t->ram_map, DIRTY_DISPLAY, 0x400));
        if (i)                          /* once it may be reported without need, not again and again */
            g_assert_false(dirty_test(t->ram_map, DIRTY_DISPLAY, 0x402));
    }
    dirty_stop(t->ram_map, DIRTY_DISPLAY);
    toy_free(t);
}

/* Random accesses, mappings and flushes against a plain model of a TLB that never forgets by itself: what the guest
 * reads must be what some mapping since the last flush of that page gives.  Odd pages are global. */
static void random_flushes(const char *spec)
{
    enum { PAGES = 8, STEPS = 60, ROUNDS = 30 };
    GRand *r = g_rand_new_with_seed(7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        Toy *t = paged(spec);
        uint64_t may[4][PAGES] = { { 0 } };     /* by asid: bit per frame that may be seen */
        unsigned now[PAGES], asid = 0, n = 0;
        uint64_t want[64];
        for (unsigned i = 0; i < PAGES; i++) {
            now[i] = g_rand_int_range(r, 0, 64);
            toy_pte(t, TABLE, 0x400000 + i * 0x1000, 0x200000 + now[i] * 0x1000, PTE_V | (i & 1 ? PTE_G : 0));
            for (unsigned a = 0; a < 4; a++)
                may[a][i] = 1ull << now[i];
        }
        for (unsigned i = 0; i < STEPS; i++) {
            unsigned page = g_rand_int_range(r, 0, PAGES);
            switch (g_rand_int_range(r, 0, 6)) {
            case 0:
                now[page] = g_rand_int_range(r, 0, 64);
                a_set_pte(t, 0x400000 + page * 0x1000, 0x200000 + now[page] * 0x1000, PTE_V | (page & 1 ? PTE_G : 0));
                for (unsigned a = 0; a < 4; a++)
                    may[a][page] |= 1ull << now[page];
                break;
            case 1: {
                unsigned of = g_rand_int_range(r, 0, 4);
                a_sysr(t, SYS_FLUSH_PAGE, 0x400000 + page * 0x1000, of);
                for (unsigned a = 0; a < 4; a++)
                    if (a == of || (page & 1))
                        may[a][page] = 1ull << now[page];
                break;
            }
            case 2:
                asid = g_rand_int_range(r, 0, 4);
                a_sysr(t, SYS_ASID, asid, 0);
                break;
            case 3:
                if (g_rand_boolean(r)) {
                    a_sysr(t, SYS_FLUSH_ASID, asid, 0);
                    for (unsigned p = 0; p < PAGES; p += 2)
                        may[asid][p] = 1ull << now[p];
                } else if (g_rand_boolean(r)) {
                    a_sys(t, SYS_FLUSH_ALL);
                    for (unsigned a = 0; a < 4; a++)
                        for (unsigned p = 0; p < PAGES; p++)
                            may[a][p] = 1ull << now[p];
                }
                break;
            default:
                want[n++] = may[asid][page];
                a_show(t, 0x400000 + page * 0x1000);
                break;
            }
        }
        a_done(t);
        g_assert_cmpuint(t->at, <, HANDLER);
        t->at = HANDLER;
        a_bad(t);
        toy_run(t);
        g_assert_true(t->done);
        g_assert_cmpuint(t->cpu->n_printed, ==, n);
        for (unsigned i = 0; i < n; i++)
            g_assert_cmpuint(want[i] >> (t->cpu->printed[i] - 100) & 1, ==, 1);
        toy_free(t);
    }
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    toy_test("flushes-of-data", flushes_of_data);
    toy_test("contexts-are-kept", contexts_are_kept);
    toy_test("more-spaces-than-contexts", more_spaces_than_contexts);
    toy_test("large-pages", large_pages);
    toy_test("globals-of-other-spaces", globals_of_other_spaces);
    toy_test("flushes-of-code", flushes_of_code);
    toy_test("views", views);
    toy_test("probes", probes);
    toy_test("empty-matches-nothing", empty_matches_nothing);
    toy_test("aliases-in-the-table", aliases_in_the_table);
    toy_test("memory-map-changes", memory_map_changes);
    toy_test("dirty-pages", dirty_pages);
    toy_test("random-flushes", random_flushes);
    return g_test_run();
}
