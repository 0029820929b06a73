/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lock domains and lines: nesting, queued calls, two threads that call into each other without end. */
#include "util/domain.h"

#include <glib.h>

#include "util/line.h"

typedef struct Trail { GString *text; LockDomain *d; } Trail;
typedef struct Call { Trail *trail; char mark; } Call;

static void late(void *arg)
{
    Call *c = arg;
    g_assert_false(domain_any_held());
    g_string_append_c(c->trail->text, c->mark);
}

static void deferred_calls_wait_for_the_outermost_leave(void)
{
    LockDomain dev, intc;
    domain_init(&dev, "dev", RANK_DEVICE);
    domain_init(&intc, "intc", RANK_INTC);
    Trail t = { g_string_new(NULL), NULL };
    domain_enter(&dev);
    g_assert_true(domain_held(&dev) && !domain_held(&intc) && domain_may_enter(&intc) &&
                  !domain_may_enter(&dev));
    domain_enter(&intc);
    g_assert_false(domain_may_enter(&dev));
    domain_defer(late, &(Call){ &t, 'a' }, sizeof(Call));
    domain_leave(&intc);
    domain_defer(late, &(Call){ &t, 'b' }, sizeof(Call));
    g_assert_cmpstr(t.text->str, ==, "");
    domain_leave(&dev);
    g_assert_cmpstr(t.text->str, ==, "ab");
    domain_defer(late, &(Call){ &t, 'c' }, sizeof(Call));
    g_assert_cmpstr(t.text->str, ==, "abc");
    g_string_free(t.text, TRUE);
    domain_destroy(&dev);
    domain_destroy(&intc);
}

typedef struct Loopy { LockDomain d; struct Loopy *other; unsigned calls; } Loopy;

static void ring(void *arg)
{
    Loopy *l = *(Loopy **)arg;
    domain_enter(&l->d);
    l->calls++;
    for (unsigned i = 0; i < 2; i++)            /* each call makes two: 2^64 without the bound */
        domain_defer(ring, &l->other, sizeof l->other);
    domain_leave(&l->d);
}

static void doorbells_without_end_are_cut(void)
{
    Loopy a = { .calls = 0 }, b = { .calls = 0 }, *p = &a;
    a.other = &b;
    b.other = &a;
    domain_init(&a.d, "a", RANK_DEVICE);
    domain_init(&b.d, "b", RANK_DEVICE);
    domain_defer(ring, &p, sizeof p);
    g_assert_cmpuint(a.calls + b.calls, <=, DEFER_CALLS);
    g_assert_cmpuint(a.calls + b.calls, >, DEFER_DEPTH);
    unsigned before = a.calls + b.calls;
    domain_defer(ring, &p, sizeof p);           /* the bounds count anew */
    g_assert_cmpuint(a.calls + b.calls, ==, 2 * before);
    domain_destroy(&a.d);
    domain_destroy(&b.d);
}

/* --- lines --- */

typedef struct Sink { LockDomain d; bool level; unsigned rises, calls; } Sink;

static void sink(void *self, unsigned n, bool level)
{
    Sink *s = self;
    g_assert_true(domain_held(&s->d));
    s->rises += level && !s->level;
    s->level = level;
    s->calls++;
}

static void lines_reach_their_sinks(void)
{
    LockDomain dev;
    Sink up, side;
    Line l = { 0 };
    up = side = (Sink){ .calls = 0 };
    domain_init(&dev, "dev", RANK_DEVICE);
    domain_init(&up.d, "up", RANK_INTC);
    domain_init(&side.d, "side", RANK_DEVICE);
    line_set(&l, true);                         /* no sink: nothing happens */
    line_connect(&l, sink, &up, 3, &up.d);      /* is told that the line is high */
    g_assert_cmpuint(up.rises, ==, 1);
    line_connect(&l, sink, &side, 0, &side.d);
    domain_enter(&dev);
    line_set(&l, true);
    line_set(&l, false);
    g_assert_cmpuint(up.calls, ==, 2);          /* upwards: at once */
    g_assert_cmpuint(side.calls, ==, 1);        /* against the order: later */
    line_pulse(&l);
    domain_leave(&dev);
    g_assert_cmpuint(up.rises, ==, 2);
    g_assert_cmpuint(side.rises, ==, 2);        /* no edge was lost */
    g_assert_false(side.level);
    line_disconnect(&l, &side, &side + 1);
    line_set(&l, true);
    g_assert_false(side.level);
    g_assert_true(up.level);
    line_disconnect_all(&l);
    domain_destroy(&dev);
    domain_destroy(&up.d);
    domain_destroy(&side.d);
}

/* Two devices on two threads, each driving a line into the other and one into a common controller. */
typedef struct Peer {
    LockDomain   d;
    Line         to_peer, to_intc;
    bool         in;
    unsigned     ins, seed;
    struct Peer *other;
} Peer;

static void peer_in(void *self, unsigned n, bool level)
{
    Peer *p = self;
    g_assert_true(domain_held(&p->d));
    p->in = level;
    p->ins++;
}

static void *peer_run(void *self)
{
    Peer *p = self;
    for (unsigned i = 0; i < 30000; i++) {
        domain_enter(&p->d);
        line_set(&p->to_peer, g_random_int() & 1);
        line_set(&p->to_intc, i & 1);
        domain_leave(&p->d);
    }
    return NULL;
}

static void two_threads_do_not_deadlock(void)
{
    Peer a = { .seed = 1 }, b = { .seed = 2 };
    Sink intc = { .calls = 0 };
    domain_init(&a.d, "a", RANK_DEVICE);
    domain_init(&b.d, "b", RANK_DEVICE);
    domain_init(&intc.d, "intc", RANK_INTC);
    line_connect(&a.to_peer, peer_in, &b, 0, &b.d);
    line_connect(&b.to_peer, peer_in, &a, 0, &a.d);
    line_connect(&a.to_intc, sink, &intc, 0, &intc.d);
    line_connect(&b.to_intc, sink, &intc, 1, &intc.d);
    GThread *ta = g_thread_new("a", peer_run, &a), *tb = g_thread_new("b", peer_run, &b);
    g_thread_join(ta);
    g_thread_join(tb);
    /* Each input has ended at its line's level, whatever the order in which the calls came through. */
    g_assert_cmpint(a.in, ==, line_level(&b.to_peer));
    g_assert_cmpint(b.in, ==, line_level(&a.to_peer));
    g_assert_cmpuint(intc.calls, ==, 2 * 29999);
    g_test_message("%u and %u inputs", a.ins, b.ins);
    line_disconnect_all(&a.to_peer);
    line_disconnect_all(&a.to_intc);
    line_disconnect_all(&b.to_peer);
    line_disconnect_all(&b.to_intc);
    domain_destroy(&a.d);
    domain_destroy(&b.d);
    domain_destroy(&intc.d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/domain/defer", deferred_calls_wait_for_the_outermost_leave);
    g_test_add_func("/domain/endless", doorbells_without_end_are_cut);
    g_test_add_func("/line/sinks", lines_reach_their_sinks);
    g_test_add_func("/line/threads", two_threads_do_not_deadlock);
    return g_test_run();
}
