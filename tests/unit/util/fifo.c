/* SPDX-License-Identifier: GPL-2.0-or-later
 * Fifo8 against a plain queue. */
#include "util/fifo.h"

#include <glib.h>

static void against_a_queue(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(1);
    for (unsigned cap = 0; cap <= FIFO8_MAX; cap += 37) {
        Fifo8 f = { 0 };
        GQueue q = G_QUEUE_INIT;
        if (cap)
            fifo8_set_cap(&f, cap);
        for (unsigned i = 0; i < 5000; i++) {
            if (g_rand_boolean(r)) {
                uint8_t b = (uint8_t)g_rand_int(r);
                bool fits = q.length < fifo8_cap(&f);
                g_assert_cmpint(fifo8_push(&f, b), ==, fits);
                if (fits)
                    g_queue_push_tail(&q, GUINT_TO_POINTER(b));
            } else {
                g_assert_cmpuint(fifo8_pop(&f), ==, GPOINTER_TO_UINT(g_queue_pop_head(&q)));
            }
            g_assert_cmpuint(fifo8_used(&f), ==, q.length);
            g_assert_cmpint(fifo8_empty(&f), ==, !q.length);
            g_assert_cmpint(fifo8_full(&f), ==, q.length == fifo8_cap(&f));
            unsigned k = q.length ? g_rand_int(r) % q.length : 0;
            g_assert_cmpuint(fifo8_peek(&f, k), ==, GPOINTER_TO_UINT(g_queue_peek_nth(&q, k)));
        }
        g_queue_clear(&q);
    }
}

static void count(void *self) { ++*(unsigned *)self; }

static void the_source_is_told_once(void)
{
    unsigned told = 0;
    Fifo8 f = { .on_room = count, .on_room_self = &told };
    fifo8_push(&f, 1);
    fifo8_push(&f, 2);
    fifo8_drop(&f);
    g_assert_cmpuint(told, ==, 0);
    f.wanted = true;
    fifo8_drop(&f);
    fifo8_drop(&f);
    g_assert_cmpuint(told, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fifo/queue", against_a_queue);
    g_test_add_func("/fifo/source", the_source_is_told_once);
    return g_test_run();
}
