/* SPDX-License-Identifier: GPL-2.0-or-later
 * Dirty bitmaps: which parts of a node have been written since some moment.  Every change of a node's contents marks
 * all its enabled bitmaps (block.c, write_done()), after the data are in place: whoever clears a bit and then reads
 * misses nothing.
 *
 * Memory: pages of 32768 bits; all-clear and all-set pages take none.  At most BITMAP_MAX_BITS bits. */
#ifndef BLOCK_BITMAP_H
#define BLOCK_BITMAP_H

#include "block/block.h"

#define BITMAP_MAX_BITS (UINT64_C(1) << 32)

typedef struct BlockBitmap {
    Block      *node;
    char       *name;           /* NULL: a job's own */
    uint64_t    length;         /* of the disk, bytes */
    unsigned    shift;          /* a bit is 2^shift bytes */
    uint64_t    n_bits, n_set;
    bool        enabled;        /* writes are recorded */
    bool        persistent;     /* the image keeps it */
    bool        inconsistent;   /* of the image, not put away properly: can be removed, and nothing else */
    bool        busy;           /* a job or an export has it: may not be changed by others */
    CoQueue    *wake;           /* woken when something becomes dirty; NULL: nobody waits */
    uint8_t   **page;
    struct BlockBitmap *next;   /* of the node's */
} BlockBitmap;

/* The granularity that is wanted, or as much more as a disk of that length needs. */
uint64_t block_bitmap_granularity(uint64_t length, uint64_t wanted);
/* Appended to b's bitmaps, enabled and clear.  granularity: 0: what suits the image.  NULL on error. */
BlockBitmap *block_bitmap_new(Block *b, const char *name, uint64_t granularity, GError **err);
void block_bitmap_free(BlockBitmap *m);
BlockBitmap *block_bitmap_find(Block *b, const char *name, GError **err);      /* NULL: none, and why */
BlockBitmap *block_bitmap_first(Block *b);                                      /* then ->next */
bool block_keeps_bitmaps(Block *b);             /* whether b's image can keep one (more) */
/* From now on the image keeps it. */
bool block_bitmap_persist(BlockBitmap *m, GError **err);
/* Whether others may change it. */
bool block_bitmap_usable(const BlockBitmap *m, GError **err);

void block_bitmap_set(BlockBitmap *m, uint64_t at, uint64_t len);
/* Clears the bits that lie wholly in the range (the disk's last one may be cut off). */
void block_bitmap_clear(BlockBitmap *m, uint64_t at, uint64_t len);
bool block_bitmap_get(const BlockBitmap *m, uint64_t at);
uint64_t block_bitmap_count(const BlockBitmap *m);          /* bytes of set bits, within the disk */
/* The first dirty bytes at or behind from: *at and *len, at most max.  False: none. */
bool block_bitmap_next_dirty(const BlockBitmap *m, uint64_t from, uint64_t max, uint64_t *at, uint64_t *len);
/* All that is dirty in from is dirty in m. */
void block_bitmap_merge(BlockBitmap *m, const BlockBitmap *from);

/* For drivers that keep them: bits [8 * from, 8 * (from + n)), the lowest bit of a byte first; bits past the end
 * are clear. */
void block_bitmap_save(const BlockBitmap *m, uint64_t from, uint8_t *out, size_t n);
void block_bitmap_load(BlockBitmap *m, uint64_t from, const uint8_t *in, size_t n);

/* For block.c. */
void block_bitmaps_dirty(Block *b, uint64_t at, uint64_t len);
void block_bitmaps_resize(Block *b, uint64_t len);

#endif
