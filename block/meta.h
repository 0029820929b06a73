/* SPDX-License-Identifier: GPL-2.0-or-later
 * Metadata of an image in memory: reads and small changes of tables, written back in a fixed order.
 *
 * A change belongs to a level.  meta_commit() flushes the data below first, then writes level after level with a
 * flush between them, so a table never names, in the file, what is not there yet.  Whoever calls holds the image's lock. */
#ifndef BLOCK_META_H
#define BLOCK_META_H

#include "block/driver.h"

enum { META_PIECE = 4096, META_LEVELS = 4 };

/* Pieces that are about to be written, for a format that keeps a journal. */
typedef struct MetaChange { uint64_t at; const uint8_t *data; } MetaChange;
enum { META_LOG_MAX = 64 };

typedef struct Meta {
    Block      *file;
    /* NULL, or: has n changes (up to META_LOG_MAX) on stable storage when it returns 0. */
    int       (*co_log)(void *self, const MetaChange *change, unsigned n);
    void       *log_self;
    GHashTable *pieces;         /* at / META_PIECE to MetaPiece */
    GQueue      lru;            /* most recent first */
    unsigned    limit, dirty[META_LEVELS];
} Meta;

void meta_init(Meta *m, Block *file);
void meta_free(Meta *m);        /* forgets changes; zero bytes are fine */
/* At any alignment and across pieces.  Past the end of the file there are zeros. */
int  meta_read(Meta *m, uint64_t at, void *out, size_t len);
int  meta_write(Meta *m, uint64_t at, const void *in, size_t len, unsigned level);
bool meta_dirty(const Meta *m);
int  meta_commit(Meta *m);

#endif
