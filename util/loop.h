/* SPDX-License-Identifier: GPL-2.0-or-later
 * Event loop on a GMainContext of its own: file descriptors, functions posted from any thread, the timers of
 * a Clock. Deadlines are kept by a timerfd, since GLib rounds to milliseconds.  While it sleeps its thread is
 * offline for QSR. */
#ifndef UTIL_LOOP_H
#define UTIL_LOOP_H

#include <glib.h>

#include "util/clock.h"

typedef struct Loop Loop;
typedef struct Watch Watch;

Loop *loop_new(Clock *clock);           /* clock may be NULL; otherwise the loop takes its kick */
void  loop_free(Loop *l);
GMainContext *loop_context(Loop *l);
/* One round; wait: sleep until something happens.  Returns whether anything did.  One thread at a time. */
bool  loop_run_once(Loop *l, bool wait);
/* Makes a sleeping round return; any thread, also a signal handler. */
void  loop_wake(Loop *l);
/* fn(self) on the loop's thread, in order of posting, with no lock held; any thread. */
void  loop_post(Loop *l, void (*fn)(void *self), void *self);

/* A bottom half: however often it is scheduled, it runs once; under its domain if it has one. */
typedef struct Bh {
    Loop       *loop;
    void      (*fn)(void *self);
    void       *self;
    LockDomain *domain;
    struct Bh  *next;
    bool        scheduled, listed;
} Bh;
void bh_init(Bh *bh, Loop *l, void (*fn)(void *self), void *self, LockDomain *domain);
void bh_schedule(Bh *bh);               /* any thread */
void bh_cancel(Bh *bh);                 /* under the domain: fn will not run for the schedulings so far */
void bh_destroy(Bh *bh);  /* on the loop's thread or with the loop at rest, before freeing the owner */

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HUP = 4 };   /* LOOP_HUP (or an error) is always reported */
/* fn runs on the loop's thread with no lock held.  The descriptor stays the caller's. */
Watch *loop_watch(Loop *l, int fd, unsigned events, void (*fn)(void *self, unsigned events), void *self);
/* Any thread.  Events 0 rests the watch altogether. */
void   watch_set_events(Watch *w, unsigned events);
void   watch_free(Watch *w);            /* on the loop's thread, also inside fn */

#endif
