/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: refcounts of another width (specification, "refcount_order").
 *
 * New blocks and a new table are written behind everything that is in use, where the old ones count nothing; they count
 * themselves, and no more the old ones.  One write of the header's sector makes them the image's.  Whenever it ends
 * before that, the image is what it was, with some bytes behind its end that belong to nobody; after it, the old table and
 * blocks are free. */
#include <string.h>

#include "block/qcow2/qcow2_int.h"

enum { MAX_BLOCKS = Q2_MAX_RT_BYTES / 8, SWITCH_FROM = 48, SWITCH_ORDER = 96, SWITCH_LEN = 100 };

typedef struct Recount {
    Block      *b;
    Qcow2       shape;          /* just the new width */
    unsigned    rb_bits;        /* of the new blocks */
    GHashTable *old;            /* clusters of the old table and its blocks */
    uint64_t    start;          /* the first cluster behind all that are in use */
    uint8_t    *needed;         /* [MAX_BLOCKS]: the new table has this block */
    uint64_t    blocks, table;  /* how many of them; clusters of the table */
} Recount;

static gpointer key(uint64_t cluster) { return (gpointer)(uintptr_t)cluster; }

/* What remains of a cluster's count without the old structures. */
static int count(Recount *n, uint64_t cluster, uint64_t *out)
{
    int r = q2_ref_get(n->b, cluster, out);
    if (r || !g_hash_table_contains(n->old, key(cluster)))
        return r;
    if ((*out)--)
        return 0;
    Qcow2 *q = n->b->state;
    return q2_damaged(n->b, "the refcounts at %#" PRIx64 " have refcount 0", cluster << q->cluster_bits);
}

static int find_old(Recount *n)
{
    Qcow2 *q = n->b->state;
    for (uint64_t i = 0; i < q2_clusters(q, (uint64_t)q->rt_size * 8); i++)
        g_hash_table_add(n->old, key((q->rt_at >> q->cluster_bits) + i));
    for (uint32_t i = 0; i < q->rt_size; i++)
        if (q->rt[i] && ((q->rt[i] & (q->cluster_size - 1)) || q->rt[i] >= n->b->file->length ||
                         !g_hash_table_add(n->old, key(q->rt[i] >> q->cluster_bits))))
            return q2_damaged(n->b, "refcount block %u lies at %#" PRIx64, i, q->rt[i]);
    return 0;
}

/* Everything fits in the new width?  Where does it end, and which new blocks does it need? */
static bool survey(Recount *n, GError **err)
{
    Qcow2 *q = n->b->state;
    uint64_t per_block = BIT(q->rb_bits);
    for (uint64_t i = 0; i < q->rt_size; i++) {
        Q2Table *t;
        int r = q->rt[i] ? q2_table_get(n->b, &q->rb, q->rt[i], false, &t) : 0;
        if (!r && (!q->rt[i] || buf_is_zero(t->data, q->cluster_size)))
            continue;
        for (uint64_t c = i * per_block; c < (i + 1) * per_block && !r; c++) {
            uint64_t v;
            r = count(n, c, &v);
            if (r || (!v && !g_hash_table_contains(n->old, key(c))))
                continue;
            n->start = c + 1;
            if (!v)
                continue;
            if (v > q2_ref_max(&n->shape))
                return fail(err, "Cannot decrease refcount entry width to %u bits: Cluster at offset %#" PRIx64
                            " has a refcount of %" PRIu64, 1u << n->shape.refcount_order, c << q->cluster_bits, v);
            if (c >> n->rb_bits >= MAX_BLOCKS)
                return fail(err, "refcounts of %u bits for an image file of this size need too large a table",
                            1u << n->shape.refcount_order);
            n->needed[c >> n->rb_bits] = 1;
        }
        if (r)
            return fail_errno(err, -r, "cannot read the refcounts");
    }
    return true;
}

/* Blocks and table count themselves, which may take more blocks. */
static int place(Recount *n)
{
    Qcow2 *q = n->b->state;
    for (uint64_t blocks = 1, table = 1;; n->blocks = blocks, n->table = table) {
        uint64_t last = (n->start + blocks + table - 1) >> n->rb_bits, size = 0;
        if (last >= MAX_BLOCKS)
            return -EFBIG;
        memset(n->needed + (n->start >> n->rb_bits), 1, last - (n->start >> n->rb_bits) + 1);
        blocks = 0;
        for (uint64_t i = 0; i < MAX_BLOCKS; i++) {
            blocks += n->needed[i];
            size = n->needed[i] ? i + 1 : size;
        }
        table = q2_clusters(q, size * 8);
        if (blocks == n->blocks && table == n->table)
            return 0;
    }
}

static int write_blocks(Recount *n, uint64_t *rt)
{
    Qcow2 *q = n->b->state;
    uint64_t per_block = BIT(n->rb_bits), at = n->start, end = n->start + n->blocks + n->table;
    g_autofree uint8_t *block = g_malloc(q->cluster_size);
    int r = 0;
    for (uint64_t i = 0; i < MAX_BLOCKS && !r; i++) {
        if (!n->needed[i])
            continue;
        memset(block, 0, q->cluster_size);
        for (uint64_t k = 0, c = i * per_block; k < per_block && c < end && !r; k++, c++) {
            uint64_t v = 1;
            if (c < n->start)
                r = count(n, c, &v);
            q2_ref_store(&n->shape, block, k, v);
        }
        rt[i] = at++ << q->cluster_bits;
        if (!r)
            r = block_write(n->b->file, rt[i], block, q->cluster_size, 0);
    }
    return r;
}

static int switch_header(Recount *n, uint64_t rt_at)
{
    uint8_t h[SWITCH_LEN];
    int r = block_read(n->b->file, 0, h, sizeof h);
    store_be64(h + SWITCH_FROM, rt_at);
    store_be32(h + SWITCH_FROM + 8, (uint32_t)n->table);
    store_be32(h + SWITCH_ORDER, n->shape.refcount_order);
    if (!r)
        r = q2_sync(n->b);
    if (!r)
        r = block_write(n->b->file, SWITCH_FROM, h + SWITCH_FROM, sizeof h - SWITCH_FROM, 0);
    return r ? r : q2_sync(n->b);
}

static int write_all(Recount *n)
{
    Qcow2 *q = n->b->state;
    uint64_t entries = (n->table << q->cluster_bits) / 8, rt_at = (n->start + n->blocks) << q->cluster_bits;
    uint64_t *rt = g_new0(uint64_t, entries);
    g_autofree uint8_t *words = g_malloc(entries * 8);
    int r = write_blocks(n, rt);
    for (uint64_t i = 0; i < entries; i++)
        store_be64(words + i * 8, rt[i]);
    if (!r)
        r = block_write(n->b->file, rt_at, words, entries * 8, 0);
    if (!r)
        r = switch_header(n, rt_at);
    if (r) {
        g_free(rt);
        return r;
    }
    uint64_t limit = q->rb.limit;
    q2_cache_free(&q->rb);
    q->rb = (Q2Cache){ 0 };
    q2_cache_init(q, &q->rb, limit << q->cluster_bits);
    g_free(q->rt);
    q->rt = rt;
    q->rt_at = rt_at;
    q->rt_size = (uint32_t)entries;
    q->rt_dirty_from = q->rt_dirty_to = 0;
    q->refcount_order = n->shape.refcount_order;
    q->rb_bits = n->rb_bits;
    q->free_hint = 0;
    q->fresh = MAX(q->fresh, (n->start + n->blocks + n->table) << q->cluster_bits);
    q->compressed_at = 0;
    GHashTableIter it;
    gpointer cluster;
    g_hash_table_iter_init(&it, n->old);
    while (q->discard_freed && g_hash_table_iter_next(&it, &cluster, NULL))
        block_discard(n->b->file, (uint64_t)(uintptr_t)cluster << q->cluster_bits, q->cluster_size);
    return 0;
}

bool q2_recount(Block *b, unsigned order, GError **err)
{
    Qcow2 *q = b->state;
    Recount n = { .b = b, .shape = { .refcount_order = order }, .rb_bits = q->cluster_bits + 3 - order };
    n.old = g_hash_table_new(NULL, NULL);
    n.needed = g_malloc0(MAX_BLOCKS);
    co_mutex_lock(&q->lock);
    int r = 0;
    do      /* nothing is on its way, and nothing waits to be let go */
        r = q2_commit(b, true);
    while (!r && q->to_free->len);
    r = r ? r : find_old(&n);
    bool ok = !r && survey(&n, err);
    if (ok)
        r = place(&n);
    if (ok && !r)
        r = write_all(&n);
    co_mutex_unlock(&q->lock);
    g_hash_table_destroy(n.old);
    g_free(n.needed);
    return r ? fail_errno(err, -r, "cannot change the refcounts of %s", b->filename) : ok;
}
