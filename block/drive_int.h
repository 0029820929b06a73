/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the table of drives has inside. */
#ifndef BLOCK_DRIVE_INT_H
#define BLOCK_DRIVE_INT_H

#include "block/drive.h"
#include "block/driver.h"
#include "block/throttle.h"

struct Drives {
    Aio        *aio;
    BlockGraph *graph;
    GPtrArray  *asked;          /* Asked, as they came */
    GPtrArray  *drives;         /* Drive */
    GPtrArray  *nodes;          /* Block, of -blockdev */
    bool        snapshot;
};


#endif
