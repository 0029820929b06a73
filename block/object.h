/* SPDX-License-Identifier: GPL-2.0-or-later
 * What "--object TYPE,id=ID,..." makes: things that nodes name by their id. */
#ifndef BLOCK_OBJECT_H
#define BLOCK_OBJECT_H

#include "block/block.h"
#include "util/options.h"

typedef enum BlockObjectKind { OBJECT_TLS_CREDS, OBJECT_THROTTLE_GROUP, OBJECT_SECRET } BlockObjectKind;

/* In order of making; freed with the graph, last first. */
void block_objects_free(GPtrArray *objects);
GPtrArray *block_objects(BlockGraph *g);        /* graph.c keeps it */
/* The object of that kind and id; NULL: none. */
void *block_object(BlockGraph *g, BlockObjectKind kind, const char *id);

#endif
