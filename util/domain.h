/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lock domains.  A device runs under its domain's lock, taken once by whoever calls in (bus, event loop,
 * timer, line) and never by the device.  Domains nest upwards in rank: device, interrupt controller, CPU.  A
 * call that would go against that order, or come back into a domain that this thread is already in, is queued
 * on the thread and runs when it has left its outermost domain. */
#ifndef UTIL_DOMAIN_H
#define UTIL_DOMAIN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum DomainRank { RANK_TOPOLOGY, RANK_DEVICE, RANK_INTC, RANK_CPU } DomainRank;

typedef struct LockDomain {
    pthread_mutex_t lock;
    const char     *name;
    DomainRank      rank;
} LockDomain;

void domain_init(LockDomain *d, const char *name, DomainRank rank);
void domain_destroy(LockDomain *d);

/* Enter a domain from outside or upwards from a domain of lower rank; anything else is our bug and asserts.
 * d may be NULL: no lock (the callee is atomic by itself).  Leaving the outermost one runs what was
 * queued. */
void domain_enter(LockDomain *d);
void domain_leave(LockDomain *d);
/* This thread is in d (or d is NULL). */
bool domain_held(const LockDomain *d);
/* This thread is in any domain. */
bool domain_any_held(void);
/* domain_enter() would be in order. */
bool domain_may_enter(const LockDomain *d);

/* Queues fn(arg), to run with no device lock held: at once if this thread holds none, else when it has left
 * its outermost domain.  arg is a copy of len bytes (at most DEFER_ARG).  A queue that feeds itself without
 * end (two devices ringing each other's doorbells) is cut: calls beyond the bounds are dropped and logged. */
enum { DEFER_ARG = 64, DEFER_DEPTH = 64, DEFER_CALLS = 1 << 16 };
void domain_defer(void (*fn)(void *arg), const void *arg, size_t len);

#endif
