/* SPDX-License-Identifier: GPL-2.0-or-later
 * Locks on ranges of a disk between coroutines of one thread, first come first served. */
#ifndef BLOCK_RANGE_H
#define BLOCK_RANGE_H

#include <stdint.h>

#include "util/coroutine.h"

typedef struct RangeHold {
    uint64_t from, to;
    bool     shared;            /* with others that are */
    CoQueue  waiters;
    struct RangeHold *next, **link;
} RangeHold;
typedef struct RangeLock { RangeHold *first; } RangeLock;     /* zero bytes: nothing is held */

/* h stays where it is until the unlock. */
void range_lock(RangeLock *l, RangeHold *h, uint64_t from, uint64_t to, bool shared);
void range_unlock(RangeHold *h);

#endif
