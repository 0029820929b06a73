/* SPDX-License-Identifier: GPL-2.0-or-later
 * Clocks and timers, stepped by hand and on host time, and the loop that serves them. */
#include "util/clock.h"

#include <glib.h>

#include "util/loop.h"
#include "util/qsr.h"

typedef struct Log { Clock *c; Timer t; int64_t at[64], period; unsigned n; } Log;

static void note(void *self)
{
    Log *l = self;
    if (l->n < G_N_ELEMENTS(l->at))
        l->at[l->n] = clock_now_ns(l->c);
    l->n++;
    if (l->period)
        timer_set_ns(&l->t, clock_now_ns(l->c) + l->period);
}

static void a_timer_fires_at_its_own_time(void)
{
    Log l = { .c = clock_new_manual(), .period = 100 };
    timer_init(&l.t, l.c, note, &l);
    g_assert_cmpint(clock_next_ns(l.c), ==, TIME_NEVER);
    timer_set_ns(&l.t, 50);
    g_assert_cmpint(clock_next_ns(l.c), ==, 50);
    clock_step_ns(l.c, 49);
    g_assert_cmpuint(l.n, ==, 0);
    clock_step_ns(l.c, 301);
    g_assert_cmpuint(l.n, ==, 4);
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmpint(l.at[i], ==, 50 + 100 * (int64_t)i);
    g_assert_cmpint(clock_now_ns(l.c), ==, 350);
    timer_cancel(&l.t);
    g_assert_false(timer_armed(&l.t));
    clock_step_ns(l.c, 1000);
    g_assert_cmpuint(l.n, ==, 4);
    clock_free(l.c);
}

static void many_timers_keep_their_order(void)
{
    enum { N = 200 };
    g_autoptr(GRand) r = g_rand_new_with_seed(2);
    Clock *c = clock_new_manual();
    Log *l = g_new0(Log, N);
    int64_t due[N];
    for (unsigned i = 0; i < N; i++) {
        l[i].c = c;
        timer_init(&l[i].t, c, note, &l[i]);
        due[i] = TIME_NEVER;
    }
    for (unsigned round = 0; round < 5000; round++) {
        unsigned i = g_rand_int(r) % N;
        switch (g_rand_int(r) % 4) {
        case 0: case 1:
            due[i] = clock_now_ns(c) + g_rand_int_range(r, -10, 100);
            timer_set_ns(&l[i].t, due[i]);
            break;
        case 2:
            due[i] = TIME_NEVER;
            timer_cancel(&l[i].t);
            break;
        default: {
            int64_t start = clock_now_ns(c), step = g_rand_int_range(r, 0, 20);
            clock_step_ns(c, step);
            for (unsigned k = 0; k < N; k++) {
                bool fires = due[k] <= start + step;
                g_assert_cmpuint(l[k].n, ==, fires);
                if (fires)
                    g_assert_cmpint(l[k].at[0], ==, MAX(due[k], start));
                if (fires)
                    due[k] = TIME_NEVER;
                l[k].n = 0;
            }
        } }
        int64_t first = TIME_NEVER;
        for (unsigned k = 0; k < N; k++)
            first = MIN(first, due[k]);
        g_assert_cmpint(clock_next_ns(c), ==, first);
    }
    for (unsigned i = 0; i < N; i++)
        timer_destroy(&l[i].t);
    g_free(l);
    clock_free(c);
}

static void host_time_stands_while_stopped(void)
{
    Clock *c = clock_new_host();
    int64_t a = clock_now_ns(c);
    g_assert_cmpint(a, >=, 0);
    clock_stop(c);
    int64_t b = clock_now_ns(c);
    g_assert_cmpint(b, >=, a);
    g_usleep(2000);
    g_assert_cmpint(clock_now_ns(c), ==, b);
    g_assert_cmpint(clock_host_ns(c, b + 5), ==, TIME_NEVER);
    clock_set_ns(c, 1000 * (int64_t)NS_PER_S);
    clock_start(c);
    g_assert_cmpint(clock_now_ns(c), >=, 1000 * (int64_t)NS_PER_S);
    g_assert_cmpint(clock_now_ns(c), <, 9000 * (int64_t)NS_PER_S);
    clock_free(c);
}

static void the_loop_sleeps_until_the_deadline(void)
{
    qsr_register();
    Clock *c = clock_new_host();
    Loop *loop = loop_new(c);
    Log l = { .c = c };
    timer_init(&l.t, c, note, &l);
    int64_t due = clock_now_ns(c) + 3 * (int64_t)NS_PER_MS;
    timer_set_ns(&l.t, due);
    while (!l.n)
        loop_run_once(loop, true);
    g_assert_cmpint(l.at[0], >=, due);
    /* A stopped clock runs no timer; started again, it does. */
    timer_set_ns(&l.t, clock_now_ns(c));
    clock_stop(c);
    while (loop_run_once(loop, false))
        ;
    g_assert_cmpuint(l.n, ==, 1);
    clock_start(c);
    while (l.n < 2)
        loop_run_once(loop, true);
    timer_destroy(&l.t);
    loop_free(loop);
    clock_free(c);
    qsr_unregister();
}

typedef struct Race { LockDomain d; Clock *c; Timer t; bool stop, forbidden; unsigned fired; } Race;

static void race_fired(void *self)
{
    Race *r = self;
    g_assert_false(r->forbidden);
    r->fired++;
}

static void *race_runner(void *self)
{
    Race *r = self;
    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED))
        clock_run(r->c);
    return NULL;
}

/* Cancelled under its domain's lock, a timer does not run, although two threads are just about to run it. */
static void cancel_under_the_lock_is_final(void)
{
    Race r = { .c = clock_new_host() };
    domain_init(&r.d, "race", RANK_DEVICE);
    timer_init(&r.t, r.c, race_fired, &r);
    timer_set_domain(&r.t, &r.d);
    GThread *a = g_thread_new("a", race_runner, &r), *b = g_thread_new("b", race_runner, &r);
    for (unsigned i = 0; i < 3000; i++) {
        domain_enter(&r.d);
        timer_set_ns(&r.t, clock_now_ns(r.c));
        domain_leave(&r.d);
        if (i % 3)
            g_thread_yield();
        domain_enter(&r.d);
        timer_cancel(&r.t);
        r.forbidden = true;
        domain_leave(&r.d);
        domain_enter(&r.d);
        r.forbidden = false;
        domain_leave(&r.d);
    }
    timer_destroy(&r.t);
    __atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
    g_thread_join(a);
    g_thread_join(b);
    g_test_message("fired %u of 3000", r.fired);
    domain_destroy(&r.d);
    clock_free(r.c);
}

static void *post_many(void *self);
typedef struct Posts { Loop *loop; unsigned posted, bh_ran; Bh bh; } Posts;
static void posted(void *self) { ((Posts *)self)->posted++; }
static void bh_ran(void *self) { ((Posts *)self)->bh_ran++; }
static void *post_many(void *self)
{
    Posts *p = self;
    for (unsigned i = 0; i < 2000; i++) {
        loop_post(p->loop, posted, p);
        bh_schedule(&p->bh);
    }
    return NULL;
}

static void posts_come_from_any_thread(void)
{
    qsr_register();
    Posts p = { .loop = loop_new(NULL) };
    bh_init(&p.bh, p.loop, bh_ran, &p, NULL);
    GThread *t = g_thread_new("post", post_many, &p);
    while (p.posted < 2000)
        loop_run_once(p.loop, true);
    g_thread_join(t);
    while (loop_run_once(p.loop, false))
        ;
    g_assert_cmpuint(p.bh_ran, >=, 1);
    g_assert_cmpuint(p.bh_ran, <=, 2000);
    unsigned before = p.bh_ran;
    bh_schedule(&p.bh);
    bh_schedule(&p.bh);
    while (loop_run_once(p.loop, false))
        ;
    g_assert_cmpuint(p.bh_ran, ==, before + 1);
    bh_schedule(&p.bh);
    bh_cancel(&p.bh);
    bh_schedule(&p.bh);
    bh_cancel(&p.bh);
    while (loop_run_once(p.loop, false))
        ;
    g_assert_cmpuint(p.bh_ran, ==, before + 1);
    bh_schedule(&p.bh);
    bh_destroy(&p.bh);
    loop_free(p.loop);
    qsr_unregister();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/clock/step", a_timer_fires_at_its_own_time);
    g_test_add_func("/clock/heap", many_timers_keep_their_order);
    g_test_add_func("/clock/host", host_time_stands_while_stopped);
    g_test_add_func("/clock/loop", the_loop_sleeps_until_the_deadline);
    g_test_add_func("/clock/cancel", cancel_under_the_lock_is_final);
    g_test_add_func("/clock/posts", posts_come_from_any_thread);
    return g_test_run();
}
