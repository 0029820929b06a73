/* SPDX-License-Identifier: GPL-2.0-or-later
 * The block layer's public face: a graph of nodes (format over filter over protocol), opened from names and
 * options, read and written in bytes.
 *
 * A graph belongs to one Aio and its thread.  Everything but what says otherwise runs in a coroutine of that Aio.
 * Ints are 0 or -errno. */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <inttypes.h>

#include "block/aio.h"
#include "util/json.h"

typedef struct Block Block;
typedef struct BlockGraph BlockGraph;
typedef struct BlockDriver BlockDriver;

BlockGraph *block_graph_new(Aio *aio);      /* anywhere */
void block_graph_free(BlockGraph *g);       /* anywhere; all nodes are closed */
Aio *block_graph_aio(BlockGraph *g);
/* "--object TYPE,id=ID,...": the types are a table in block/object.c. */
bool block_add_object(BlockGraph *g, const char *spec, GError **err);

enum {
    BLOCK_RDWR         = 1 << 0,
    BLOCK_NO_BACKING   = 1 << 1,    /* leave the backing file alone */
    BLOCK_PROTOCOL     = 1 << 2,    /* the bytes as they are: no format on top */
    BLOCK_SHARE        = 1 << 3,    /* take no locks */
    BLOCK_CHECK        = 1 << 4,    /* for check and repair: damaged and dirty images open as well */
    BLOCK_DIRECT       = 1 << 5,    /* past the host's page cache */
    BLOCK_NO_FLUSH     = 1 << 6,    /* flushes do nothing */
    BLOCK_WRITETHROUGH = 1 << 7,    /* each write is flushed */
    BLOCK_UNMAP        = 1 << 8,    /* discards reach the file */
    BLOCK_NO_IO        = 1 << 9,    /* the caller wants to know about the image, not its data */
    BLOCK_UNUSED       = 1 << 16,   /* nobody has it yet: with auto-read-only=on it opens for reading until somebody writes */
    BLOCK_MAY_READ_ONLY = 1 << 17,  /* BLOCK_RDWR is a wish: what can only be read opens for reading */
    BLOCK_ONCE         = 1 << 18,   /* gone through once, from start to end: small caches of tables do */
    BLOCK_AIO_THREADS  = 1 << 19,   /* how files are read and written, unless they say so by "aio" themselves; at most one */
    BLOCK_AIO_NATIVE   = 1 << 20,
    BLOCK_AIO_URING    = 1 << 21,
    BLOCK_AIO          = BLOCK_AIO_THREADS | BLOCK_AIO_NATIVE | BLOCK_AIO_URING,
    BLOCK_PASSING      = 1 << 22,   /* what is read need not stay in the host's page cache, if it is not there already */
    BLOCK_INHERIT      = BLOCK_AIO | BLOCK_ONCE | BLOCK_PASSING | BLOCK_MAY_READ_ONLY | BLOCK_SHARE | BLOCK_DIRECT | BLOCK_NO_FLUSH | BLOCK_NO_IO | BLOCK_CHECK,
};
/* none, writeback, writethrough, directsync, unsafe: replaces the three flags of *flags. */
bool block_parse_cache(const char *mode, unsigned *flags, GError **err);
/* threads, native, io_uring: replaces BLOCK_AIO of *flags. */
bool block_parse_aio(const char *engine, unsigned *flags, GError **err);

/* filename: a path, "json:{...}" or PROTOCOL:...; may be NULL if options say it all.  options (an object, may be
 * NULL) are taken.  Without a "driver" the format is probed.  NULL on error. */
Block *block_open(BlockGraph *g, const char *filename, Json *options, unsigned flags, GError **err);
void block_ref(Block *b);
/* The last one writes back what is held and closes; 0, or what went wrong with that. */
int block_close(Block *b);
Block *block_node(BlockGraph *g, const char *node_name);        /* NULL: none */
Block *block_node_at(BlockGraph *g, unsigned i);                /* in order of making; NULL past the last */

const char *block_name(const Block *b);         /* the node's name */
const char *block_filename(const Block *b);     /* as a user would write it; "json:{...}" if need be */
const char *block_format(const Block *b);       /* the driver's name */
uint64_t block_length(const Block *b);
bool block_writable(const Block *b);
Block *block_backing(const Block *b);           /* NULL: none */
Block *block_file(const Block *b);              /* the node below; NULL: none */
/* What the image says of its backing file: name as written, format or NULL.  NULL: none. */
const char *block_backing_name(const Block *b, const char **format);
/* The path that a backing name in an image called `over` means. */
char *block_path_beside(const char *over, const char *name);

typedef struct BlockStats {
    uint64_t reads, read_bytes, writes, written_bytes, flushes, discards, zeroes, errors, merged_rmw;
    uint64_t read_ns, write_ns, flush_ns, last_ns;      /* of block_time()d nodes; last_ns: when a request ended last */
} BlockStats;
BlockStats block_stats(const Block *b);
void block_time(Block *b);                      /* from now on requests are timed */

/* --- I/O.  Ranges outside the node are -EIO (reads) or -ENOSPC (writes). */
enum {
    BLOCK_FUA         = 1 << 0,     /* on stable storage when it returns */
    BLOCK_COMPRESS    = 1 << 1,     /* whole clusters (block_info's granule) of a format that can; -ENOTSUP */
    BLOCK_MAY_UNMAP   = 1 << 2,     /* zeroes may give the space back */
    BLOCK_NO_FALLBACK = 1 << 3,     /* zeroes: -ENOTSUP rather than writing them out */
    BLOCK_UNCHANGED   = 1 << 4,     /* it read so before: nothing becomes dirty */
};
int block_readv(Block *b, uint64_t at, const struct iovec *v, int nv);
int block_writev(Block *b, uint64_t at, const struct iovec *v, int nv, unsigned flags);
int block_read(Block *b, uint64_t at, void *buf, size_t len);
int block_write(Block *b, uint64_t at, const void *buf, size_t len, unsigned flags);
int block_flush(Block *b);
int block_zero(Block *b, uint64_t at, uint64_t len, unsigned flags);
int block_discard(Block *b, uint64_t at, uint64_t len);

typedef enum BlockPrealloc { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL } BlockPrealloc;
bool block_parse_prealloc(const char *text, BlockPrealloc *out, GError **err);
bool block_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err);

enum {
    EXTENT_DATA       = 1 << 0,     /* must be read to be known */
    EXTENT_ZERO       = 1 << 1,     /* reads as zeros */
    EXTENT_ALLOCATED  = 1 << 2,     /* this node decides, not its backing file */
    EXTENT_OFFSET     = 1 << 3,     /* the bytes lie plainly in `file` at `offset` */
    EXTENT_COMPRESSED = 1 << 4,
};
typedef struct Extent { uint64_t len; unsigned flags; Block *file; uint64_t offset; unsigned depth; } Extent;
/* What [at, at + out->len) is in this node alone; out->len <= len, at least 1. */
int block_map(Block *b, uint64_t at, uint64_t len, Extent *out);
/* The same looking through backing files down to but not including base (NULL: all); out->depth says how far down.
 * EXTENT_ALLOCATED clear: none of them decides. */
int block_map_above(Block *b, Block *base, uint64_t at, uint64_t len, Extent *out);

/* --- what images have besides data */
typedef struct BlockSnapshot {
    char    *id, *name;
    uint64_t vm_state_size, disk_size, date_s, vm_clock_ns, icount;     /* icount: UINT64_MAX: not said */
    uint32_t date_ns;
} BlockSnapshot;
bool block_snapshot_list(Block *b, GPtrArray **out, GError **err);      /* BlockSnapshot *; frees them itself */
bool block_snapshot_create(Block *b, const char *name, GError **err);
bool block_snapshot_apply(Block *b, const char *name, GError **err);    /* name or id */
bool block_snapshot_delete(Block *b, const char *name, GError **err);   /* name */
bool block_snapshot_show(Block *b, const char *name, GError **err);     /* a read-only node shows it from now on */

typedef struct BlockInfo {
    uint64_t granule;           /* cluster size; 0: none */
    uint64_t allocated;         /* bytes that the file takes up on the host; UINT64_MAX: unknown */
    bool     dirty, corrupt, can_compress, has_dirty, encrypted;
    bool     in_memory;         /* the file has no device */
    bool     noise;             /* what was never written reads as anything, not as zeros */
    Json    *specific;          /* format-specific, as "info" shows it; NULL: nothing */
} BlockInfo;
int block_info(Block *b, BlockInfo *out);       /* out->specific becomes the caller's */
/* In qemu-img's words.  snapshots: of block_snapshot_list(), or NULL. */
void block_info_text(Block *b, const BlockInfo *i, const GPtrArray *snapshots, GString *out);
void block_snapshots_text(const GPtrArray *snapshots, GString *out);

enum { CHECK_FIX_LEAKS = 1, CHECK_FIX_ERRORS = 2 };
typedef struct BlockCheck {
    uint64_t corruptions, leaks, check_errors, corruptions_fixed, leaks_fixed;
    uint64_t image_end, total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    GPtrArray *messages;        /* char *: what was found, at most CHECK_MESSAGES lines */
} BlockCheck;
enum { CHECK_MESSAGES = 1000 };
/* -ENOTSUP: the format has nothing to check.  Found damage is no error here. */
int block_check(Block *b, unsigned fix, BlockCheck *out, GError **err);
void block_check_clear(BlockCheck *c);
/* Makes `name` the backing file (NULL: none) in the image's header; contents are the caller's affair. */
bool block_set_backing(Block *b, const char *name, const char *format, GError **err);
/* Reopens the files below for writing, or read-only again. */
bool block_set_writable(Block *b, bool writable, GError **err);
/* Everything becomes the backing file's again. */
int block_make_empty(Block *b);
bool block_amend(Block *b, Json *options, GError **err);        /* options are seen, not taken */

/* --- making images */
typedef struct BlockOption { const char *name, *type, *help; } BlockOption;     /* type: size str bool num */
/* Anywhere.  NULL: no such driver. */
const BlockDriver *block_driver(const char *name);
/* i-th driver, NULL past the last. */
const BlockDriver *block_driver_at(unsigned i);
const char *block_driver_name(const BlockDriver *d);
bool block_driver_is_format(const BlockDriver *d);
/* Options of images that the format can make, ends with a NULL name; NULL: it cannot make any. */
const BlockOption *block_driver_options(const BlockDriver *d);
const BlockOption *block_driver_amend_options(const BlockDriver *d);    /* NULL: nothing of an image can be changed */
/* options: "size" and what block_driver_options() lists. */
bool block_create(BlockGraph *g, const BlockDriver *d, const char *filename, Json *options, GError **err);
/* Bytes a new image would take: with nothing but `data` bytes in it, and with all of it. */
bool block_measure(const BlockDriver *d, Json *options, uint64_t size, uint64_t data, uint64_t *required,
                   uint64_t *full, GError **err);

void block_make_uuid(uint8_t out[16]);         /* random, RFC 4122 version 4 */
/* Memory that any node takes without copying it; free() it.  NULL: there is none. */
void *block_memory(size_t len);

/* --- options.  Each marks the member as seen; absent leaves *out alone.  Strings are parsed as users write them. */
bool block_opt_string(Json *o, const char *key, const char **out, GError **err);
bool block_opt_bool(Json *o, const char *key, bool *out, GError **err);
bool block_opt_u64(Json *o, const char *key, uint64_t max, uint64_t *out, GError **err);
bool block_opt_size(Json *o, const char *key, uint64_t *out, GError **err);
bool block_opt_done(Json *o, const char *what, GError **err);   /* fails on the first member nobody has seen */

#endif
