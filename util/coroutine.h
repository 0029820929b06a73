/* SPDX-License-Identifier: GPL-2.0-or-later
 * Coroutines: functions with a stack of their own that stop and go on within one thread.  Straight-line code
 * for what would otherwise be callbacks.
 *
 * A coroutine belongs to the thread that first enters it and never runs on another.  Waking never nests: a
 * coroutine that another one wakes runs when the thread is back outside all coroutines. */
#ifndef UTIL_COROUTINE_H
#define UTIL_COROUTINE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Coroutine Coroutine;

/* Usable bytes of a coroutine's stack; below it lies a page that faults. */
enum { CO_STACK_SIZE = 256 * 1024 };

/* fn(self) runs when the coroutine is first woken; it is freed when fn returns. */
Coroutine *co_new(void (*fn)(void *self), void *self);
/* Starts or resumes it: at once from outside coroutines, otherwise once the thread is outside again.  In
 * between two yields it may be woken once. */
void co_wake(Coroutine *co);
/* co_wake(co_new(fn, self)). */
void co_start(void (*fn)(void *self), void *self);
/* Stops the running coroutine until somebody wakes it. */
void co_yield(void);
/* The running coroutine, NULL outside. */
Coroutine *co_self(void);

/* Waiting coroutines, first come first served. */
typedef struct CoQueue { Coroutine *first, **last; } CoQueue;
void co_queue_wait(CoQueue *q);
bool co_queue_wake_one(CoQueue *q);     /* false: nobody waits */
void co_queue_wake_all(CoQueue *q);
static inline bool co_queue_empty(const CoQueue *q) { return !q->first; }

/* Excludes coroutines of one thread from each other across their yields.  Zero bytes are an unlocked mutex.
 * Unlocking hands it to the first waiter. */
typedef struct CoMutex { Coroutine *holder; CoQueue waiters; } CoMutex;
void co_mutex_lock(CoMutex *m);
void co_mutex_unlock(CoMutex *m);

#endif
