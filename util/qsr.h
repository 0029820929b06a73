/* SPDX-License-Identifier: GPL-2.0-or-later
 * Quiescent-state reclamation: readers of shared pointers take no lock; whoever unlinks an object has it
 * freed when each thread has since passed a point at which it holds no such pointer.  Nobody ever waits for
 * that. Threads belong to the process, so there is one registry, not one per machine. */
#ifndef UTIL_QSR_H
#define UTIL_QSR_H

#include <stdbool.h>

/* Registrations nest (a thread may serve two machines); a registered thread is online. */
void qsr_register(void);
void qsr_unregister(void);
/* "I hold no pointer": at block heads when asked, once per loop round.  A load and a compare when nothing is
 * up. */
void qsr_quiescent(void);
/* Around anything that may block: a thread that is offline holds no pointer and holds nobody up.  They do not
 * nest. On a thread that is not registered they do nothing. */
void qsr_offline(void);
void qsr_online(void);
bool qsr_is_online(void);

/* fn(ptr) runs later, on some thread at one of its quiescent points, with no QSR lock held; fn may free, and
 * may call this function again.  Call it after the unlinking store. */
void qsr_free_later(void (*fn)(void *ptr), void *ptr);
/* The global epoch and whether this thread has seen it: what generated code or a run loop may poll. */
bool qsr_pending(void);

#endif
