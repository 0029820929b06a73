/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lock domains: which ones this thread is in, and the calls that wait until it has left them.  What a thread
 * holds is a fact about the thread, so it is thread-local. */
#include "util/domain.h"

#include <glib.h>
#include <string.h>

#include "util/log.h"

enum { MAX_HELD = 8 };

typedef struct Deferred {
    void   (*fn)(void *arg);
    unsigned depth;
    _Alignas(16) uint8_t arg[DEFER_ARG];
} Deferred;

typedef struct Held {
    LockDomain *stack[MAX_HELD];
    unsigned    n;
    bool        draining;
    unsigned    depth;          /* of the deferred call that is running */
    GQueue      queue;          /* of Deferred */
    unsigned    queued;         /* since the queue was last empty */
} Held;

static __thread Held held;

void domain_init(LockDomain *d, const char *name, DomainRank rank)
{
    d->name = name;
    d->rank = rank;
    pthread_mutex_init(&d->lock, NULL);
}

void domain_destroy(LockDomain *d) { pthread_mutex_destroy(&d->lock); }

bool domain_held(const LockDomain *d)
{
    if (!d)
        return true;
    for (unsigned i = 0; i < held.n; i++)
        if (held.stack[i] == d)
            return true;
    return false;
}

bool domain_any_held(void) { return held.n != 0; }

bool domain_may_enter(const LockDomain *d)
{
    return !d || !held.n || (held.n < MAX_HELD && d->rank > held.stack[held.n - 1]->rank);
}

void domain_enter(LockDomain *d)
{
    if (!d)
        return;
    g_assert(domain_may_enter(d));
    pthread_mutex_lock(&d->lock);
    held.stack[held.n++] = d;
}

static void drain(void)
{
    held.draining = true;
    Deferred *call;
    while ((call = g_queue_pop_head(&held.queue))) {
        held.depth = call->depth;
        call->fn(call->arg);
        g_free(call);
    }
    held.draining = false;
    held.depth = held.queued = 0;
}

void domain_leave(LockDomain *d)
{
    if (!d)
        return;
    g_assert(held.n && held.stack[held.n - 1] == d);
    held.n--;
    pthread_mutex_unlock(&d->lock);
    if (!held.n && held.queue.length && !held.draining)
        drain();
}

void domain_defer(void (*fn)(void *arg), const void *arg, size_t len)
{
    g_assert(len <= DEFER_ARG);
    if (held.depth >= DEFER_DEPTH || held.queued >= DEFER_CALLS) {
        log_guest("locks", "devices feed each other without end: a queued call was dropped");
        return;
    }
    Deferred *call = g_new(Deferred, 1);
    call->fn = fn;
    call->depth = held.depth + 1;
    memcpy(call->arg, arg, len);
    g_queue_push_tail(&held.queue, call);
    held.queued++;
    if (!held.n && !held.draining)
        drain();
}
