/* SPDX-License-Identifier: GPL-2.0-or-later
 * Lines: a level that one device drives and several sinks, or none, listen to.  The driver holds its own
 * domain's lock; the line takes the sink's, or queues the call where that would go against the nesting
 * order. */
#ifndef UTIL_LINE_H
#define UTIL_LINE_H

#include "util/domain.h"

typedef void LineFn(void *self, unsigned n, bool level);

typedef struct LineSink {
    LineFn     *fn;
    void       *self;
    unsigned    n;
    LockDomain *domain;         /* NULL: fn is atomic by itself */
} LineSink;

typedef struct Line {
    bool      level;
    unsigned  n_sinks;
    LineSink *sinks;
} Line;

/* Wiring is done before the machine runs.  A line that is high tells its new sink at once. */
void line_connect(Line *l, LineFn *fn, void *self, unsigned n, LockDomain *domain);
void line_disconnect_all(Line *l);
/* Takes away the sinks whose self is in [from, to). */
void line_disconnect(Line *l, const void *from, const void *to);
/* Tells the sinks of a high line again: they have been reset. */
void line_retell(Line *l);
/* By the driver, under its domain's lock.  Tells the sinks of a change; nothing happens when the level is there already. */
void line_set(Line *l, bool level);
/* Up and down again: an edge. */
void line_pulse(Line *l);
static inline bool line_level(const Line *l) { return __atomic_load_n(&l->level, __ATOMIC_RELAXED); }

/* Message-signalled interrupts are messages, not levels. */
typedef struct MsiSink {
    void      (*fn)(void *self, uint64_t addr, uint32_t data);
    void       *self;
    LockDomain *domain;
} MsiSink;
/* A sink without fn swallows the message. */
void msi_send(const MsiSink *to, uint64_t addr, uint32_t data);

#endif
