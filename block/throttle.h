/* SPDX-License-Identifier: GPL-2.0-or-later
 * Limits on requests and bytes per second, shared by the nodes of a group (-object throttle-group, -blockdev throttle). */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/driver.h"

typedef struct ThrottleGroup ThrottleGroup;

/* "throttle-group,id=a,limits.bps-total=1000000,limits.iops-read=100,limits.bps-total-max=...,limits.bps-total-max-length=2". */
ThrottleGroup *throttle_group_new(const char *spec, GError **err);
void throttle_group_free(ThrottleGroup *g);
/* A request of len bytes comes at now_ns, on a clock that never goes back: the ns that it must wait, 0 or more, so that all
 * limits of its direction hold.  It counts from now on. */
int64_t throttle_book(ThrottleGroup *g, bool write, uint64_t len, uint64_t now_ns);
ThrottleGroup *throttle_node_group(const Block *b);      /* of a throttle node */
bool throttle_group_equal(const ThrottleGroup *a, const ThrottleGroup *b);
void throttle_group_print(const ThrottleGroup *g, GString *out);        /* "bps=1 bps_rd=0 ...", as info block has it */
ThrottleGroup *block_throttle_group(BlockGraph *g, const char *id, GError **err);      /* one of block_add_object() */

#endif
