/* SPDX-License-Identifier: GPL-2.0-or-later
 * Which RAM pages were written: one bit per client and page, kept only while a client listens. */
#ifndef MEMORY_DIRTY_H
#define MEMORY_DIRTY_H

#include "memory/ram.h"

typedef enum DirtyClient { DIRTY_DISPLAY = 1, DIRTY_MIGRATION = 2 } DirtyClient;

/* Pages are numbers that the RamMap has given out.  A client is one thread that starts, harvests and stops; others mark.
 * All pages count as dirty at the start. */
void dirty_start(RamMap *m, DirtyClient c);
void dirty_stop(RamMap *m, DirtyClient c);
void dirty_mark(RamMap *m, uint64_t ram_page, uint64_t n);
bool dirty_test(const RamMap *m, DirtyClient c, uint64_t ram_page);
/* Tests and clears n pages; bit i of bitmap (little-endian bytes) is set for each that was dirty; bitmap may
 * be NULL. Returns how many were. */
uint64_t dirty_harvest(RamMap *m, DirtyClient c, uint64_t ram_page, uint64_t n, uint8_t *bitmap);

/* A store through a fast path need not be reported: no client waits to see this page. */
static inline bool dirty_settled(const RamMap *m, uint64_t ram_page)
{
    uint8_t want = __atomic_load_n(&m->dirty_clients, __ATOMIC_RELAXED);
    return (__atomic_load_n(&m->dirty_flags[ram_page], __ATOMIC_RELAXED) & want) == want;
}

#endif
