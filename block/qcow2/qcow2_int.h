/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2, versions 2 and 3, after docs/interop/qcow2 of the format's specification.
 *
 * Order of writes.  Metadata change in memory only; q2_commit() brings them to the file in an order that leaves, at
 * whatever point the power goes, at worst clusters that nobody uses (leaks):
 *   1. refcount blocks, then (flushed) the refcount table's entries for new blocks
 *   2. a flush, which also covers all data written so far
 *   3. L2 tables, then (flushed) L1 entries for new tables
 *   4. a flush, and only now are clusters let go that the tables no longer name: their refcounts sink in memory,
 *      reach the file with the next commit, and until then nobody gets them.
 * It runs at each flush and whenever a cache is full of changed tables.
 *
 * Locks.  `lock` orders all changes of metadata and all loading of tables.  Looking something up in a table that is
 * in a cache takes no lock and does not yield.  `requests` keeps apart requests to the same guest clusters. */
#ifndef BLOCK_QCOW2_QCOW2_INT_H
#define BLOCK_QCOW2_QCOW2_INT_H

#include <errno.h>

#include "block/crypto/luks.h"
#include "block/driver.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    Q2_MAGIC = 0x514649fb,
    Q2_INCOMPAT_DIRTY = 1, Q2_INCOMPAT_CORRUPT = 2, Q2_INCOMPAT_DATA_FILE = 4, Q2_INCOMPAT_COMPRESSION = 8,
    Q2_INCOMPAT_EXTENDED_L2 = 16, Q2_INCOMPAT_KNOWN = 31,
    Q2_COMPAT_LAZY = 1,
    Q2_AUTOCLEAR_BITMAPS = 1, Q2_AUTOCLEAR_DATA_RAW = 2,
    Q2_MAX_L1_BYTES = 32 << 20, Q2_MAX_RT_BYTES = 8 << 20, Q2_MAX_SNAPSHOTS = 65536, Q2_MAX_SNAPSHOT_BYTES = 16 << 20,
    Q2_ZLIB = 0, Q2_ZSTD = 1,
};
#define Q2_EXT_BACKING_FORMAT 0xe2792acau
#define Q2_EXT_FEATURES       0x6803f857u
#define Q2_EXT_BITMAPS        0x23852875u
#define Q2_EXT_CRYPTO         0x0537be77u
#define Q2_EXT_DATA_FILE      0x44415441u
#define Q2_COPIED      BIT(63)
#define Q2_COMPRESSED  BIT(62)
#define Q2_ZERO        BIT(0)
#define Q2_OFFSET      UINT64_C(0x00fffffffffffe00)
#define Q2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define Q2_L2_RESERVED UINT64_C(0x3f000000000001fe)

/* A cluster of metadata in memory, as in the file. */
typedef struct Q2Table {
    uint64_t at;            /* in the file */
    uint8_t *data;
    bool     dirty;
    GList    lru;
} Q2Table;

typedef struct Q2Cache {
    GHashTable *by_offset;  /* at >> 9 to Q2Table */
    GQueue      lru;        /* most recent first */
    unsigned    limit, n_dirty;
    Q2Table    *last;
} Q2Cache;

/* A snapshot table entry; unknown extra data are kept. */
typedef struct Q2Snapshot {
    uint64_t l1_at, vm_clock_ns, vm_state_size, disk_size;
    uint32_t l1_size, date_s, date_ns, extra_size;
    uint8_t *extra;
    char    *id, *name;
} Q2Snapshot;

typedef struct Q2Extension { uint32_t type, len; uint8_t *data; } Q2Extension;

/* What requests to the same clusters may not do at once. */
typedef enum Q2Use { Q2_USE_READ, Q2_USE_WRITE, Q2_USE_ALLOC, Q2_USE_FREE } Q2Use;
typedef struct Q2Request { uint64_t from, to; Q2Use use; CoQueue waiters; struct Q2Request *next, **link; } Q2Request;

typedef struct Q2Free { uint64_t at, n; } Q2Free;      /* byte offset, clusters */

typedef struct Qcow2 {
    unsigned  version, cluster_bits, l2_bits, refcount_order, rb_bits, sc_bits, n_sc, header_length, compression;
    uint64_t  cluster_size;
    bool      extended;
    uint64_t  incompat, compat, autoclear;

    uint64_t *l1, l1_at;
    uint32_t  l1_size, l1_dirty_from, l1_dirty_to;      /* changed entries [from, to) */
    uint64_t *rt, rt_at;
    uint32_t  rt_size, rt_dirty_from, rt_dirty_to;
    uint64_t  snapshots_at, snapshots_bytes;
    GPtrArray *snapshots;                               /* Q2Snapshot * */
    GPtrArray *extensions;                              /* Q2Extension *: those that are kept as they are */
    char     *data_file_name;
    GPtrArray *bitmaps;                                 /* Q2Bitmap * (bitmap.c): the directory in the file; NULL: not read */
    uint32_t  n_bitmaps;                                /* the extension; 0: none that means anything */
    uint64_t  bitmaps_at, bitmaps_bytes, bitmaps_extension_at;
    unsigned  crypt_method;     /* 0: none */
    uint64_t  crypt_at, crypt_len;  /* of a LUKS header */
    Luks     *luks;
    Crypt    *crypt;            /* NULL: no key was needed so far */

    Q2Cache   l2, rb;
    CoMutex   lock;
    Q2Request *requests;
    GArray   *to_free;          /* Q2Free: let go once the tables are in the file */
    uint64_t  free_hint;        /* no cluster below this one is free */
    uint64_t  fresh;            /* the file has never had anything from here on: it reads as zeros */
    uint64_t  compressed_at;    /* where the next compressed cluster may go on; 0: nowhere */
    bool      discard_freed;
    bool      header_ok, lazy_marked;

    /* The compressed cluster that was decompressed last. */
    uint64_t  unpacked_entry;
    uint8_t  *unpacked;
} Qcow2;

static inline uint64_t q2_entry(const Qcow2 *q, const Q2Table *t, unsigned i)
{
    return load_be64(t->data + ((size_t)i << (q->extended ? 4 : 3)));
}
static inline uint64_t q2_bitmap(const Qcow2 *q, const Q2Table *t, unsigned i)
{
    return q->extended ? load_be64(t->data + ((size_t)i << 4) + 8) : 0;
}
static inline unsigned q2_l2_index(const Qcow2 *q, uint64_t at) { return (unsigned)(at >> q->cluster_bits & bits_mask(q->l2_bits)); }
static inline uint64_t q2_l1_index(const Qcow2 *q, uint64_t at) { return at >> (q->cluster_bits + q->l2_bits); }
static inline uint64_t q2_clusters(const Qcow2 *q, uint64_t bytes) { return (bytes + q->cluster_size - 1) >> q->cluster_bits; }
static inline Block *q2_data(Block *b) { return b->data ? b->data : b->file; }

/* table.c.  Locked unless it says otherwise.  A table stays valid until the same cache's next q2_table_get. */
void q2_cache_init(Qcow2 *q, Q2Cache *c, uint64_t bytes);
void q2_cache_free(Q2Cache *c);
Q2Table *q2_table_peek(Q2Cache *c, uint64_t at);                /* unlocked; NULL: not in the cache */
int q2_table_get(Block *b, Q2Cache *c, uint64_t at, bool fresh, Q2Table **out);     /* fresh: zeros, not read */
void q2_table_dirty(Q2Cache *c, Q2Table *t);
void q2_cache_drop(Q2Cache *c, uint64_t at);                    /* forgets it, changed or not */
void q2_entry_set(Qcow2 *q, Q2Table *t, unsigned i, uint64_t entry, uint64_t bitmap);
int q2_commit(Block *b, bool all);          /* all: refcounts as well where they may be lazy */
int q2_sync(Block *b);                      /* flushes file and data file */
int q2_unmark(Block *b, uint64_t bits);
/* Damage that was noticed: says so once, keeps others from writing, -EIO. */
int q2_damaged(Block *b, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* refcount.c.  Locked.  Cluster numbers are offsets >> cluster_bits. */
uint64_t q2_ref_load(const Qcow2 *q, const uint8_t *block, uint64_t i);
void q2_ref_store(const Qcow2 *q, uint8_t *block, uint64_t i, uint64_t v);
uint64_t q2_ref_max(const Qcow2 *q);
int q2_ref_get(Block *b, uint64_t cluster, uint64_t *out);
int q2_ref_add(Block *b, uint64_t cluster, uint64_t n, int delta);
/* Up to want neighbouring free clusters, now with refcount 1; how many goes to *got, 0 < *got <= want, or exactly want
 * if whole. */
int q2_alloc(Block *b, uint64_t want, bool whole, uint64_t *at, uint64_t *got);
void q2_free_later(Block *b, uint64_t at, uint64_t clusters);   /* the tables no longer name them */
int q2_free_entry_later(Block *b, uint64_t entry);              /* what an L2 entry names */
int q2_free_pending(Block *b);
void q2_compressed_range(const Qcow2 *q, uint64_t entry, uint64_t *at, uint64_t *len);
/* The place holds metadata that are known at once: data may not go there. */
bool q2_overlaps(Block *b, uint64_t at, uint64_t len);

/* cluster.c */
int q2_read(Block *b, uint64_t at, const struct iovec *v, int nv);
int q2_write(Block *b, uint64_t at, const struct iovec *v, int nv);
int q2_write_compressed(Block *b, uint64_t at, const struct iovec *v, int nv);
int q2_zero(Block *b, uint64_t at, uint64_t len, unsigned flags);
int q2_discard(Block *b, uint64_t at, uint64_t len);
int q2_map(Block *b, uint64_t at, uint64_t len, Extent *out);
int q2_l2_for(Block *b, uint64_t at, Q2Table **out);            /* locked: to change it; made if need be */
int q2_preallocate(Block *b, uint64_t from, uint64_t to, BlockPrealloc how);

/* compress.c: helper threads do the work.  -EIO: not what it should be. */
int q2_unpack(Block *b, uint64_t entry, uint8_t *out);
/* n clusters, one behind the other to out (of the same size); how much each takes there goes to len[], 0: does not shrink. */
int q2_pack(Block *b, const uint8_t *in, size_t n, uint8_t *out, size_t *len);

/* crypt.c: data by way of the cipher, if there is one.  host: in q2_data(); guest: what it is to the disk. */
typedef struct Q2CryptMake { bool on; LuksMake luks; } Q2CryptMake;
int q2_data_readv(Block *b, uint64_t host, uint64_t guest, const struct iovec *v, int nv);
int q2_data_writev(Block *b, uint64_t host, uint64_t guest, const struct iovec *v, int nv);
bool q2_crypt_open(Block *b, GError **err);
void q2_crypt_close(Qcow2 *q);
void q2_crypt_info(Block *b, Json *data);
bool q2_crypt_options(Json *o, Q2CryptMake *m, GError **err);
bool q2_crypt_make(Block *b, const Q2CryptMake *m, GError **err);
bool q2_crypt_amend(Block *b, Json *o, GError **err);

/* snapshot.c */
extern const BlockSnapshots q2_snapshot_ops;
int q2_snapshots_load(Block *b, GError **err);

/* bitmap.c.  Locked, but for the first four. */
bool q2_bitmaps_extension(Block *b, const uint8_t *data, uint32_t len, uint64_t at, GError **err);
void q2_bitmaps_extension_put(Block *b, uint8_t out[24]);
bool q2_bitmaps_may_persist(Block *b, GError **err);
Json *q2_bitmaps_info(Block *b);            /* NULL: none */
bool q2_bitmaps_load(Block *b, GError **err);
void q2_bitmaps_free(Block *b);
int q2_bitmaps_in_use(Block *b);            /* before the first write */
int q2_bitmaps_store(Block *b);             /* after the last */

/* recount.c: refcounts of 2^order bits.  No request is under way. */
bool q2_recount(Block *b, unsigned order, GError **err);

/* check.c, make.c, header.c */
int q2_check(Block *b, unsigned fix, BlockCheck *out, GError **err);
extern const BlockMaker q2_maker;
int q2_header_write(Block *b);              /* all of the first cluster */
int q2_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err);

#endif
