/* SPDX-License-Identifier: GPL-2.0-or-later
 * Reclamation: nothing goes early, everything goes in the end. */
#include "util/qsr.h"

#include <glib.h>
#include <stdint.h>

static unsigned freed;
static void count_free(void *p) { freed++; g_free(p); }

static void alone_it_goes_at_the_next_point(void)
{
    freed = 0;
    qsr_register();
    qsr_free_later(count_free, g_malloc(1));
    g_assert_cmpuint(freed, ==, 0);
    g_assert_true(qsr_pending());
    qsr_quiescent();
    g_assert_cmpuint(freed, ==, 1);
    qsr_free_later(count_free, g_malloc(1));
    qsr_offline();
    g_assert_cmpuint(freed, ==, 2);
    qsr_free_later(count_free, g_malloc(1));    /* nobody is online */
    g_assert_cmpuint(freed, ==, 3);
    qsr_online();
    qsr_unregister();
}

/* Readers follow a shared pointer to a cell whose two halves agree until it is freed. */
typedef struct Cell { uint64_t a, b; } Cell;
typedef struct Shared { Cell *cell; bool stop; uint64_t reads, freed; } Shared;

static Shared *the_shared;      /* for the free function of this test */
static void spoil(void *p)
{
    Cell *c = p;
    __atomic_store_n(&c->b, 0, __ATOMIC_RELAXED);
    __atomic_add_fetch(&the_shared->freed, 1, __ATOMIC_RELAXED);
    g_free(c);
}

static Cell *new_cell(uint64_t v)
{
    Cell *c = g_new(Cell, 1);
    *c = (Cell){ v, v };
    return c;
}

static void *reader(void *self)
{
    Shared *s = self;
    uint64_t n = 0;
    qsr_register();
    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        Cell *c = __atomic_load_n(&s->cell, __ATOMIC_ACQUIRE);
        for (unsigned i = 0; i < 8; i++)
            g_assert_cmpuint(__atomic_load_n(&c->b, __ATOMIC_RELAXED), ==, c->a);
        if (++n % 64 == 0) {
            qsr_offline();
            qsr_online();
        } else {
            qsr_quiescent();
        }
    }
    qsr_unregister();
    __atomic_add_fetch(&s->reads, n, __ATOMIC_RELAXED);
    return NULL;
}

static void readers_never_see_a_freed_cell(void)
{
    enum { WRITES = 20000 };
    Shared s = { .cell = new_cell(1) };
    the_shared = &s;
    GThread *t[3];
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++)
        t[i] = g_thread_new("reader", reader, &s);
    qsr_register();
    for (uint64_t i = 2; i < WRITES; i++) {
        Cell *old = s.cell;
        __atomic_store_n(&s.cell, new_cell(i), __ATOMIC_RELEASE);
        qsr_free_later(spoil, old);
        qsr_quiescent();
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    qsr_unregister();
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++)
        g_thread_join(t[i]);
    qsr_register();
    qsr_quiescent();
    qsr_unregister();
    g_assert_cmpuint(s.freed, ==, WRITES - 2);
    g_test_message("%u writes, %u reads", (unsigned)WRITES, (unsigned)s.reads);
    g_free(s.cell);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/qsr/alone", alone_it_goes_at_the_next_point);
    g_test_add_func("/qsr/threads", readers_never_see_a_freed_cell);
    return g_test_run();
}
