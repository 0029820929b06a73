/* SPDX-License-Identifier: GPL-2.0-or-later
 * Coroutines: order of running, queues, mutexes, stacks, threads. */
#include "util/coroutine.h"

#include <glib.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Trail { char text[256]; Coroutine *co; CoMutex m; CoQueue q; } Trail;

static void note(Trail *t, const char *s) { g_strlcat(t->text, s, sizeof t->text); }

static void two_halves(void *self)
{
    Trail *t = self;
    g_assert_true(co_self() == t->co);
    note(t, "a");
    co_yield();
    note(t, "b");
}

static void it_stops_and_goes_on(void)
{
    Trail t = { .text = "" };
    g_assert_null(co_self());
    t.co = co_new(two_halves, &t);
    note(&t, "1");
    co_wake(t.co);
    note(&t, "2");
    co_wake(t.co);
    note(&t, "3");
    g_assert_cmpstr(t.text, ==, "1a2b3");
    g_assert_null(co_self());
}

static void inner(void *self) { note(self, "i"); }
static void outer(void *self)
{
    note(self, "<");
    co_start(inner, self);      /* waits until this one stops */
    note(self, ">");
}

static void waking_does_not_nest(void)
{
    Trail t = { .text = "" };
    co_start(outer, &t);
    g_assert_cmpstr(t.text, ==, "<>i");
}

static void holds(void *self)
{
    Trail *t = self;
    co_mutex_lock(&t->m);
    note(t, "(");
    co_queue_wait(&t->q);
    note(t, ")");
    co_mutex_unlock(&t->m);
    note(t, ".");
}

static void a_mutex_holds_across_yields(void)
{
    Trail t = { .text = "" };
    for (unsigned i = 0; i < 3; i++)
        co_start(holds, &t);
    g_assert_cmpstr(t.text, ==, "(");
    while (co_queue_wake_one(&t.q))
        note(&t, " ");
    g_assert_cmpstr(t.text, ==, "().( ).( ). ");
    g_assert_null(t.m.holder);
}

static void waits(void *self) { Trail *t = self; co_queue_wait(&t->q); note(t, "x"); co_queue_wait(&t->q); note(t, "y"); }

static void wake_all_wakes_each_once(void)
{
    Trail t = { .text = "" };
    for (unsigned i = 0; i < 3; i++)
        co_start(waits, &t);
    co_queue_wake_all(&t.q);
    g_assert_cmpstr(t.text, ==, "xxx");
    co_queue_wake_all(&t.q);
    g_assert_cmpstr(t.text, ==, "xxxyyy");
    g_assert_true(co_queue_empty(&t.q));
}

/* Fills a good part of the stack and checks it after a yield; sums in floating point on the way. */
typedef struct Deep { unsigned seed, depth; double sum; bool done; } Deep;
static double G_GNUC_NO_INLINE dig(unsigned seed, unsigned depth)
{
    volatile uint8_t page[1024];
    memset((uint8_t *)page, (int)(seed + depth), sizeof page);
    double below = 0;
    if (depth)
        below = dig(seed, depth - 1);
    else
        co_yield();
    for (unsigned i = 0; i < sizeof page; i++)
        g_assert_cmpuint(page[i], ==, (uint8_t)(seed + depth));
    return below + seed / 2.0;
}
static void deep(void *self)
{
    Deep *d = self;
    d->sum = dig(d->seed, d->depth);
    d->done = true;
}

static void many_stacks_keep_their_own(void)
{
    enum { N = 200 };
    static Deep d[N];
    Coroutine *co[N];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i++) {
            d[i] = (Deep){ .seed = i, .depth = i % 150 };
            co[i] = co_new(deep, &d[i]);
            co_wake(co[i]);
        }
        for (unsigned i = N; i-- > 0;) {
            g_assert_false(d[i].done);
            co_wake(co[i]);
            g_assert_true(d[i].done);
            g_assert_cmpfloat(d[i].sum, ==, (i % 150 + 1) * (i / 2.0));
        }
    }
}

static void *in_a_thread(void *unused) { many_stacks_keep_their_own(); return unused; }

static void threads_do_not_meet(void)
{
    /* many_stacks_keep_their_own uses static storage, so one after the other; each thread ends with its own spares. */
    for (unsigned i = 0; i < 3; i++)
        g_thread_join(g_thread_new("co", in_a_thread, NULL));
}

static unsigned G_GNUC_NO_INLINE fall(unsigned depth)
{
    volatile uint8_t here[512];
    here[0] = (uint8_t)depth;
    return depth ? fall(depth - 1) + here[0] : 0;
}
static void falls(void *self) { *(unsigned *)self = fall(1000000); }

static void an_overflow_faults(void)
{
    if (g_test_subprocess()) {
        unsigned n;
        signal(SIGSEGV, SIG_DFL);
        co_start(falls, &n);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coroutine/yield", it_stops_and_goes_on);
    g_test_add_func("/coroutine/no-nesting", waking_does_not_nest);
    g_test_add_func("/coroutine/mutex", a_mutex_holds_across_yields);
    g_test_add_func("/coroutine/wake-all", wake_all_wakes_each_once);
    g_test_add_func("/coroutine/stacks", many_stacks_keep_their_own);
    g_test_add_func("/coroutine/threads", threads_do_not_meet);
    g_test_add_func("/coroutine/overflow", an_overflow_faults);
    return g_test_run();
}
