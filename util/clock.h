/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest time: one source per machine, in nanoseconds from 0, and the timers on it. */
#ifndef UTIL_CLOCK_H
#define UTIL_CLOCK_H

#include "util/domain.h"

typedef struct Clock Clock;
enum { NS_PER_US = 1000, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };
#define TIME_NEVER INT64_MAX

Clock *clock_new_host(void);  /* host monotonic time minus the time that it stood stopped; starts running */
Clock *clock_new_manual(void);          /* stands at 0 until stepped */
void   clock_free(Clock *c);            /* with no timer armed */

int64_t clock_now_ns(const Clock *c);   /* any thread, lock-free */
void    clock_stop(Clock *c);           /* freezes; both may be repeated */
void    clock_start(Clock *c);
bool    clock_running(const Clock *c);
/* A restored machine goes on at the time at which it was saved. */
void    clock_set_ns(Clock *c, int64_t now);
/* Manual clocks: moves from deadline to deadline, running each timer at its own time, and ends at now +
 * ns. */
void    clock_step_ns(Clock *c, int64_t ns);
bool    clock_is_manual(const Clock *c);

/* Deadline of the earliest timer, TIME_NEVER if there is none.  Any thread. */
int64_t clock_next_ns(const Clock *c);
/* Host CLOCK_MONOTONIC time at which guest time is `ns`; TIME_NEVER while stopped or on a manual clock. */
int64_t clock_host_ns(const Clock *c, int64_t ns);
/* fn runs, in the setter's thread, whenever the earliest deadline has moved forward or the clock has been
 * started or set: whoever sleeps until clock_next_ns() looks again.  It must not call back into the clock's
 * timers. */
void    clock_set_kick(Clock *c, void (*fn)(void *self), void *self);
/* Runs what has expired; any thread with no domain lock held.  Returns whether anything ran. */
bool    clock_run(Clock *c);

/* A timer lives in its owner.  fn runs once per setting, under t->domain if there is one. */
typedef struct Timer {
    Clock      *clock;
    void      (*fn)(void *opaque);
    void       *opaque;
    LockDomain *domain;
    int64_t     deadline;       /* TIME_NEVER: not armed */
    unsigned    slot;           /* place in the clock's heap */
} Timer;

void timer_init(Timer *t, Clock *c, void (*fn)(void *opaque), void *opaque);
/* The domain that fn runs in; before the first setting. */
void timer_set_domain(Timer *t, LockDomain *d);
/* Any thread; a deadline in the past fires at the next look. */
void timer_set_ns(Timer *t, int64_t deadline);
/* After this, called under the timer's domain lock, fn does not run.  Without a domain it may just be
 * running. */
void timer_cancel(Timer *t);
/* Cancels and waits until fn has returned; call it with no domain lock held, before freeing the owner. */
void timer_destroy(Timer *t);
bool timer_armed(const Timer *t);
int64_t timer_deadline_ns(const Timer *t);

/* value * num / den without overflow, rounded down. */
static inline uint64_t muldiv64(uint64_t value, uint64_t num, uint64_t den)
{
    return (uint64_t)((unsigned __int128)value * num / den);
}
/* The same, rounded up: the first nanosecond at which a counter has reached a value. */
static inline uint64_t muldiv64_up(uint64_t value, uint64_t num, uint64_t den)
{
    return (uint64_t)(((unsigned __int128)value * num + den - 1) / den);
}

#endif
