/* SPDX-License-Identifier: GPL-2.0-or-later
 * What formats share that cut the guest's disk into equal clusters and have a table that says where each lies.  The
 * format supplies the table (SparseOps); this gives it reads, writes with allocation and copy-on-write, zeroes, maps,
 * checks.
 *
 * A cluster once placed stays there while the image is open: zeroes punch holes.  So a request that has looked a
 * cluster up needs no lock while it reads or writes it. */
#ifndef BLOCK_SPARSE_H
#define BLOCK_SPARSE_H

#include "block/crypto/crypt.h"
#include "block/meta.h"

typedef enum PlaceKind { PLACE_NONE, PLACE_ZERO, PLACE_DATA, PLACE_PACKED } PlaceKind;
typedef struct Place {
    PlaceKind kind;             /* NONE: the backing file's, or zeros */
    uint64_t  at;               /* in b->file */
    uint64_t  len;              /* PACKED: bytes there */
    uint64_t  run;              /* NONE: so many clusters from this one on have no table; 0: the next are to be asked for */
    bool      partial;          /* DATA: parts of it (co_own) are the backing file's */
} Place;

/* All are called locked. */
typedef struct SparseOps {
    int (*co_find)(Block *b, uint64_t n, Place *out);
    /* NULL: read-only.  Changes tables in memory (Meta); kinds other than DATA only where `marks_zero`. */
    int (*co_set)(Block *b, uint64_t n, const Place *p);
    /* Room for cluster n, beyond all that is in use, with whatever the format keeps beside it.  NULL: sparse_grow(), and
     * neighbours lie beside each other. */
    int (*co_alloc)(Block *b, uint64_t n, uint64_t *at);
    int (*co_unpack)(Block *b, const Place *p, uint8_t *out);
    /* Of a partial cluster: whether the bytes from `in` on are its own, and how many go on so (whole sectors). */
    int (*co_own)(Block *b, uint64_t n, const Place *p, uint64_t in, bool *own, uint64_t *len);
    int (*co_complete)(Block *b, uint64_t n, const Place *p);      /* all of it is its own now */
    int (*co_before_commit)(Block *b);          /* headers that follow from the tables; may be NULL */
    /* Before the first change since the image was opened, until it succeeds: ids that children compare.  May be NULL. */
    int (*co_touch)(Block *b);
    bool marks_zero;                            /* co_set takes PLACE_ZERO */
    bool counts_leaks;                          /* all of the file behind data_at is clusters */
} SparseOps;

typedef struct SparseFill { uint64_t n; CoQueue waiters; struct SparseFill *next; } SparseFill;

/* First member of the driver's state. */
typedef struct Sparse {
    const SparseOps *ops;
    uint64_t    cluster;        /* bytes */
    uint64_t    data_at;        /* clusters lie at data_at + i * step */
    uint64_t    step;
    uint64_t    end;            /* nothing is in use from here on */
    uint64_t    tail, tail_end; /* sparse_grow_bytes() goes on here; 0: nowhere */
    uint64_t    fresh;          /* the file has never had anything from here on */
    CoMutex     lock;
    Meta        meta;
    SparseFill *filling;        /* clusters that are being allocated */
    uint64_t    unpacked_at;    /* the packed cluster in `unpacked`; UINT64_MAX: none */
    uint8_t    *unpacked;
    bool        touched;        /* co_touch has been called */
    bool        encrypted;      /* the data of PLACE_DATA */
    Crypt      *crypt;          /* NULL: no key was needed so far */
} Sparse;

/* After the driver has set b->length and its tables: cluster and data_at, step 0 meaning cluster. */
void sparse_init(Block *b, const SparseOps *ops, uint64_t cluster, uint64_t data_at, uint64_t step);
int  sparse_close(Block *b);                    /* writes back if it was open for writing */
int  sparse_grow(Block *b, uint64_t *at);       /* what most co_alloc are: one step more at the end */
/* Whole clusters beside each other for a table of zeros, which the file then has. */
int  sparse_grow_table(Block *b, uint64_t bytes, uint64_t *at);
/* Less than a cluster, in what is left of the one that earlier calls began, or in a new one. */
int  sparse_grow_bytes(Block *b, uint64_t len, uint64_t *at);

int  sparse_read(Block *b, uint64_t at, const struct iovec *v, int nv);
int  sparse_write(Block *b, uint64_t at, const struct iovec *v, int nv);
int  sparse_zero(Block *b, uint64_t at, uint64_t len, unsigned flags);
int  sparse_discard(Block *b, uint64_t at, uint64_t len);
int  sparse_map(Block *b, uint64_t at, uint64_t len, Extent *out);
int  sparse_flush(Block *b);
int  sparse_info(Block *b, BlockInfo *out);
/* Places outside the file, misplaced or used twice; leaks behind the last one in use, which a fix cuts off. */
int  sparse_check(Block *b, unsigned fix, BlockCheck *out, GError **err);
void sparse_check_note(BlockCheck *out, uint64_t *counter, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* Creates the file, writes parts of it, gives it a length.  For co_create. */
typedef struct SparsePart { uint64_t at; const void *data; size_t len; } SparsePart;
bool sparse_make(BlockGraph *g, const char *filename, const SparsePart *part, unsigned n, uint64_t length, GError **err);
/* "size", which every co_create needs. */
bool sparse_make_size(Json *options, uint64_t max, uint64_t *size, GError **err);
#endif
