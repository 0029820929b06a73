/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest time and its timers: a binary heap by deadline under one mutex, which is held for the heap only,
 * never while a timer's function runs.
 *
 * A timer that has a domain is looked up again once the domain's lock is held: had its owner cancelled or
 * moved it meanwhile (it does so under that lock), it does not run. */
#include "util/clock.h"

#include <glib.h>
#include <time.h>

#include "util/log.h"

#define RUNNING INT64_MIN
/* A timer that sets itself into the past again and again must let its loop go on with other things. */
enum { RUN_BATCH = 64, STEP_STUCK = 100000 };

/* A timer that a thread is about to run or running; lives on that thread's stack. */
typedef struct Active { Timer *timer; pthread_t thread; struct Active *next; } Active;

struct Clock {
    int64_t         frozen;         /* guest time while stopped or manual; RUNNING: host time minus offset */
    int64_t         offset;
    int64_t         next;           /* copy of the first deadline, readable without the lock */
    bool            manual;
    pthread_mutex_t lock;
    pthread_cond_t  done;           /* an Active went away */
    GPtrArray      *heap;           /* Timer */
    Active         *active;
    void          (*kick)(void *self);
    void           *kick_self;
};

static int64_t host_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

static Clock *clock_new(void)
{
    Clock *c = g_new0(Clock, 1);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done, NULL);
    c->heap = g_ptr_array_new();
    c->next = TIME_NEVER;
    return c;
}

Clock *clock_new_host(void)
{
    Clock *c = clock_new();
    c->frozen = RUNNING;
    c->offset = host_ns();
    return c;
}

Clock *clock_new_manual(void)
{
    Clock *c = clock_new();
    c->manual = true;
    return c;
}

void clock_free(Clock *c)
{
    if (!c)
        return;
    g_ptr_array_free(c->heap, TRUE);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->done);
    g_free(c);
}

int64_t clock_now_ns(const Clock *c)
{
    int64_t frozen = __atomic_load_n(&c->frozen, __ATOMIC_ACQUIRE);
    return frozen != RUNNING ? frozen : host_ns() - __atomic_load_n(&c->offset, __ATOMIC_RELAXED);
}

bool clock_running(const Clock *c)
{
    return c->manual || __atomic_load_n(&c->frozen, __ATOMIC_RELAXED) == RUNNING;
}

bool clock_is_manual(const Clock *c) { return c->manual; }

static void kick(Clock *c) { if (c->kick) c->kick(c->kick_self); }

void clock_stop(Clock *c)
{
    if (!c->manual)
        __atomic_store_n(&c->frozen, clock_now_ns(c), __ATOMIC_RELEASE);
}

void clock_start(Clock *c)
{
    if (clock_running(c))
        return;
    __atomic_store_n(&c->offset, host_ns() - c->frozen, __ATOMIC_RELAXED);
    __atomic_store_n(&c->frozen, RUNNING, __ATOMIC_RELEASE);
    kick(c);
}

void clock_set_ns(Clock *c, int64_t now)
{
    if (!c->manual && clock_running(c))
        __atomic_store_n(&c->offset, host_ns() - now, __ATOMIC_RELAXED);
    else
        __atomic_store_n(&c->frozen, now, __ATOMIC_RELEASE);
    kick(c);
}

int64_t clock_next_ns(const Clock *c) { return __atomic_load_n(&c->next, __ATOMIC_ACQUIRE); }

int64_t clock_host_ns(const Clock *c, int64_t ns)
{
    if (c->manual || ns == TIME_NEVER || __atomic_load_n(&c->frozen, __ATOMIC_ACQUIRE) != RUNNING)
        return TIME_NEVER;
    int64_t offset = __atomic_load_n(&c->offset, __ATOMIC_RELAXED), host;
    return __builtin_add_overflow(ns, offset, &host) ? (ns < 0 ? 0 : TIME_NEVER) : host < 0 ? 0 : host;
}

void clock_set_kick(Clock *c, void (*fn)(void *self), void *self)
{
    c->kick = fn;
    c->kick_self = self;
}

/* --- heap; the lock is held --- */

static Timer *heap_at(Clock *c, unsigned i) { return c->heap->pdata[i]; }

static void heap_put(Clock *c, unsigned i, Timer *t)
{
    c->heap->pdata[i] = t;
    t->slot = i;
}

static void heap_settle(Clock *c, unsigned i)
{
    Timer *t = heap_at(c, i);
    for (; i && heap_at(c, (i - 1) / 2)->deadline > t->deadline; i = (i - 1) / 2)
        heap_put(c, i, heap_at(c, (i - 1) / 2));
    for (;;) {
        unsigned child = 2 * i + 1;
        if (child + 1 < c->heap->len && heap_at(c, child + 1)->deadline < heap_at(c, child)->deadline)
            child++;
        if (child >= c->heap->len || heap_at(c, child)->deadline >= t->deadline)
            break;
        heap_put(c, i, heap_at(c, child));
        i = child;
    }
    heap_put(c, i, t);
}

static void heap_remove(Clock *c, Timer *t)
{
    unsigned i = t->slot, last = c->heap->len - 1;
    t->deadline = TIME_NEVER;
    Timer *moved = heap_at(c, last);
    g_ptr_array_set_size(c->heap, (int)last);
    if (i < last) {
        heap_put(c, i, moved);
        heap_settle(c, i);
    }
}

static void note_next(Clock *c)
{
    __atomic_store_n(&c->next, c->heap->len ? heap_at(c, 0)->deadline : TIME_NEVER, __ATOMIC_RELEASE);
}

/* --- timers --- */

void timer_init(Timer *t, Clock *c, void (*fn)(void *opaque), void *opaque)
{
    *t = (Timer){ .clock = c, .fn = fn, .opaque = opaque, .deadline = TIME_NEVER };
}

void timer_set_domain(Timer *t, LockDomain *d) { t->domain = d; }

void timer_set_ns(Timer *t, int64_t deadline)
{
    if (deadline == TIME_NEVER) {
        timer_cancel(t);
        return;
    }
    Clock *c = t->clock;
    pthread_mutex_lock(&c->lock);
    bool armed = t->deadline != TIME_NEVER;
    __atomic_store_n(&t->deadline, deadline, __ATOMIC_RELAXED);
    if (!armed) {
        g_ptr_array_add(c->heap, t);
        t->slot = c->heap->len - 1;
    }
    heap_settle(c, t->slot);
    int64_t before = c->next;
    note_next(c);
    bool sooner = c->next < before;
    pthread_mutex_unlock(&c->lock);
    if (sooner)
        kick(c);
}

void timer_cancel(Timer *t)
{
    Clock *c = t->clock;
    if (!c || !timer_armed(t))          /* nobody but its owner, who is here, would arm it now */
        return;
    pthread_mutex_lock(&c->lock);
    if (t->deadline != TIME_NEVER) {
        heap_remove(c, t);
        note_next(c);
    }
    pthread_mutex_unlock(&c->lock);
}

static bool active_elsewhere(const Clock *c, const Timer *t)
{
    for (const Active *a = c->active; a; a = a->next)
        if (a->timer == t && !pthread_equal(a->thread, pthread_self()))
            return true;
    return false;
}

void timer_destroy(Timer *t)
{
    Clock *c = t->clock;
    if (!c)
        return;
    timer_cancel(t);
    pthread_mutex_lock(&c->lock);
    while (active_elsewhere(c, t))
        pthread_cond_wait(&c->done, &c->lock);
    if (t->deadline != TIME_NEVER) {        /* its last run set it again */
        heap_remove(c, t);
        note_next(c);
    }
    pthread_mutex_unlock(&c->lock);
    t->clock = NULL;
}

bool timer_armed(const Timer *t) { return __atomic_load_n(&t->deadline, __ATOMIC_RELAXED) != TIME_NEVER; }
int64_t timer_deadline_ns(const Timer *t) { return __atomic_load_n(&t->deadline, __ATOMIC_RELAXED); }

/* Runs the first timer if its deadline is at or before `now`. */
static bool run_first(Clock *c, int64_t now)
{
    pthread_mutex_lock(&c->lock);
    Timer *t = c->heap->len ? heap_at(c, 0) : NULL;
    if (!t || t->deadline > now) {
        pthread_mutex_unlock(&c->lock);
        return false;
    }
    Active a = { t, pthread_self(), c->active };
    c->active = &a;
    LockDomain *domain = t->domain;
    if (domain) {
        pthread_mutex_unlock(&c->lock);
        domain_enter(domain);
        pthread_mutex_lock(&c->lock);
    }
    bool due = t->deadline <= now;
    if (due) {
        heap_remove(c, t);
        note_next(c);
    }
    void (*fn)(void *) = t->fn;
    void *opaque = t->opaque;
    pthread_mutex_unlock(&c->lock);
    if (due)
        fn(opaque);
    domain_leave(domain);
    pthread_mutex_lock(&c->lock);
    Active **link = &c->active;
    while (*link != &a)
        link = &(*link)->next;
    *link = a.next;
    pthread_cond_broadcast(&c->done);
    pthread_mutex_unlock(&c->lock);
    return true;
}

bool clock_run(Clock *c)
{
    if (!clock_running(c) || clock_next_ns(c) == TIME_NEVER)
        return false;
    int64_t now = clock_now_ns(c);
    unsigned ran = 0;
    while (ran < RUN_BATCH && run_first(c, now))
        ran++;
    return ran;
}

void clock_step_ns(Clock *c, int64_t ns)
{
    g_assert(c->manual && ns >= 0);
    int64_t end = c->frozen + ns;
    unsigned stuck = 0;
    while (clock_next_ns(c) <= end && stuck < STEP_STUCK) {
        int64_t at = clock_next_ns(c);
        stuck = at > c->frozen ? 0 : stuck + 1;
        if (at > c->frozen)
            __atomic_store_n(&c->frozen, at, __ATOMIC_RELEASE);
        run_first(c, c->frozen);
    }
    if (stuck == STEP_STUCK)
        log_warn(NULL, "a timer sets itself into the past without end");
    __atomic_store_n(&c->frozen, end, __ATOMIC_RELEASE);
}
