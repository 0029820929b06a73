/* SPDX-License-Identifier: GPL-2.0-or-later
 * Quiescent-state reclamation.
 *
 * There is a global epoch.  An object to be freed is filed under a new epoch; a thread at a quiescent point
 * notes the epoch that it sees; an object may go when every online thread has noted its epoch or a later one.
 * Whoever notes an epoch, goes offline or leaves while something is filed looks whether anything may go, so
 * the last thread that was waited for does the work.  Coming online is a store, a full fence, then loads of
 * shared pointers; filing is an unlinking store, a full fence, then a look at the threads: one of the two
 * sees the other. */
#include "util/qsr.h"

#include <glib.h>
#include <pthread.h>
#include <stdint.h>

enum { OFFLINE = 0 };       /* of QsrThread.seen; epochs count from 1 */

typedef struct QsrThread {
    uint64_t          seen;
    unsigned          nest;
    struct QsrThread *next;
} QsrThread;

typedef struct Filed {
    void        (*fn)(void *ptr);
    void         *ptr;
    uint64_t      epoch;
    struct Filed *next;
} Filed;

static struct {
    pthread_mutex_t lock;
    uint64_t        epoch;      /* written under the lock */
    QsrThread      *threads;
    Filed          *first, **last;
} qsr = { PTHREAD_MUTEX_INITIALIZER, .epoch = 1, .last = &qsr.first };

static __thread QsrThread me;

static void reclaim(void)
{
    if (!__atomic_load_n(&qsr.first, __ATOMIC_RELAXED))
        return;
    pthread_mutex_lock(&qsr.lock);
    uint64_t oldest = UINT64_MAX;
    for (QsrThread *t = qsr.threads; t; t = t->next) {
        uint64_t seen = __atomic_load_n(&t->seen, __ATOMIC_ACQUIRE);
        if (seen != OFFLINE && seen < oldest)
            oldest = seen;
    }
    Filed *ready = qsr.first, **end = &ready;
    while (*end && (*end)->epoch <= oldest)
        end = &(*end)->next;
    __atomic_store_n(&qsr.first, *end, __ATOMIC_RELAXED);
    if (!qsr.first)
        qsr.last = &qsr.first;
    *end = NULL;
    pthread_mutex_unlock(&qsr.lock);
    while (ready) {
        Filed *f = ready;
        ready = f->next;
        f->fn(f->ptr);
        g_free(f);
    }
}

static void note_epoch(void)
{
    __atomic_store_n(&me.seen, __atomic_load_n(&qsr.epoch, __ATOMIC_ACQUIRE), __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void qsr_register(void)
{
    if (me.nest++)
        return;
    pthread_mutex_lock(&qsr.lock);
    me.next = qsr.threads;
    qsr.threads = &me;
    note_epoch();
    pthread_mutex_unlock(&qsr.lock);
}

void qsr_unregister(void)
{
    g_assert(me.nest);
    if (--me.nest)
        return;
    pthread_mutex_lock(&qsr.lock);
    QsrThread **t = &qsr.threads;
    while (*t != &me)
        t = &(*t)->next;
    *t = me.next;
    __atomic_store_n(&me.seen, OFFLINE, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&qsr.lock);
    reclaim();
}

bool qsr_pending(void) { return me.seen != __atomic_load_n(&qsr.epoch, __ATOMIC_RELAXED); }

void qsr_quiescent(void)
{
    if (!me.nest || me.seen == OFFLINE || !qsr_pending())
        return;
    note_epoch();
    reclaim();
}

void qsr_offline(void)
{
    if (!me.nest)
        return;
    __atomic_store_n(&me.seen, OFFLINE, __ATOMIC_SEQ_CST);
    reclaim();
}

void qsr_online(void)
{
    if (me.nest)
        note_epoch();
}

bool qsr_is_online(void) { return me.nest && me.seen != OFFLINE; }

void qsr_free_later(void (*fn)(void *ptr), void *ptr)
{
    Filed *f = g_new(Filed, 1);
    *f = (Filed){ .fn = fn, .ptr = ptr };
    pthread_mutex_lock(&qsr.lock);
    f->epoch = qsr.epoch + 1;
    __atomic_store_n(&qsr.epoch, f->epoch, __ATOMIC_SEQ_CST);
    if (qsr.last == &qsr.first)
        __atomic_store_n(&qsr.first, f, __ATOMIC_RELAXED);
    else
        *qsr.last = f;
    qsr.last = &f->next;
    bool alone = true;          /* nobody is online: no quiescent point may ever come */
    for (QsrThread *t = qsr.threads; t; t = t->next)
        alone &= __atomic_load_n(&t->seen, __ATOMIC_SEQ_CST) == OFFLINE;
    pthread_mutex_unlock(&qsr.lock);
    if (alone)
        reclaim();
}
