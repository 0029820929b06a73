/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: refcounts, and finding free clusters. */
#include <string.h>

#include "block/qcow2/qcow2_int.h"

enum { PENDING_FREES = 4096 };
#define MAX_CLUSTER(q) (BIT(56) >> (q)->cluster_bits)       /* L1 and L2 entries have 56 bits for offsets */

uint64_t q2_ref_max(const Qcow2 *q) { return q->refcount_order == 6 ? INT64_MAX : bits_mask(1u << q->refcount_order); }

uint64_t q2_ref_load(const Qcow2 *q, const uint8_t *p, uint64_t i)
{
    switch (q->refcount_order) {
    case 0: return p[i / 8] >> i % 8 & 1;
    case 1: return p[i / 4] >> i % 4 * 2 & 3;
    case 2: return p[i / 2] >> i % 2 * 4 & 15;
    case 3: return p[i];
    case 4: return load_be16(p + i * 2);
    case 5: return load_be32(p + i * 4);
    default: return load_be64(p + i * 8);
    }
}

static void store_bits(uint8_t *p, unsigned shift, unsigned mask, uint64_t v)
{
    *p = (uint8_t)((*p & ~(mask << shift)) | v << shift);
}

void q2_ref_store(const Qcow2 *q, uint8_t *p, uint64_t i, uint64_t v)
{
    switch (q->refcount_order) {
    case 0: store_bits(p + i / 8, i % 8, 1, v); break;
    case 1: store_bits(p + i / 4, i % 4 * 2, 3, v); break;
    case 2: store_bits(p + i / 2, i % 2 * 4, 15, v); break;
    case 3: p[i] = (uint8_t)v; break;
    case 4: store_be16(p + i * 2, (uint16_t)v); break;
    case 5: store_be32(p + i * 4, (uint32_t)v); break;
    default: store_be64(p + i * 8, v);
    }
}

/* The block that counts this cluster; *out NULL: there is none yet, all its counts are 0. */
static int block_for(Block *b, uint64_t cluster, Q2Table **out)
{
    Qcow2 *q = b->state;
    uint64_t i = cluster >> q->rb_bits;
    *out = NULL;
    if (i >= q->rt_size || !q->rt[i])
        return 0;
    if (q->rt[i] & (q->cluster_size - 1))
        return q2_damaged(b, "refcount block %" PRIu64 " lies at %#" PRIx64, i, q->rt[i]);
    return q2_table_get(b, &q->rb, q->rt[i], false, out);
}

int q2_ref_get(Block *b, uint64_t cluster, uint64_t *out)
{
    Qcow2 *q = b->state;
    Q2Table *t;
    int r = block_for(b, cluster, &t);
    *out = r || !t ? 0 : q2_ref_load(q, t->data, cluster & bits_mask(q->rb_bits));
    return r;
}

static void rt_changed(Qcow2 *q, uint32_t i)
{
    q->rt_dirty_from = q->rt_dirty_from < q->rt_dirty_to ? MIN(q->rt_dirty_from, i) : i;
    q->rt_dirty_to = MAX(q->rt_dirty_to, i + 1);
}

/* A larger refcount table.  It and the blocks that count it go where no block counts anything yet, so nothing needs
 * allocating to allocate it. */
static int grow_rt(Block *b, uint64_t needed)
{
    Qcow2 *q = b->state;
    uint64_t first = MAX(q->rt_size, needed), per_block = BIT(q->rb_bits);
    uint64_t size = MAX(first + 1, (uint64_t)q->rt_size * 3 / 2), table, blocks;
    for (;;) {
        size = align_up(size, q->cluster_size / 8);
        table = size * 8 >> q->cluster_bits;
        blocks = 1;
        while (blocks * per_block < table + blocks)
            blocks++;
        if (first + blocks <= size)
            break;
        size = first + blocks;
    }
    if (size * 8 > Q2_MAX_RT_BYTES)
        return -EFBIG;
    uint64_t start = first * per_block;
    if (start + blocks + table > MAX_CLUSTER(q))
        return -EFBIG;
    /* Blocks and table reach the file before the header names them. */
    int r = 0;
    g_autofree uint8_t *block = g_malloc(q->cluster_size), *words = g_try_malloc0(table << q->cluster_bits);
    uint64_t *rt = g_try_new0(uint64_t, size);
    if (!words || !rt) {
        g_free(rt);
        return -ENOMEM;
    }
    memcpy(rt, q->rt, (size_t)q->rt_size * 8);
    for (uint64_t i = 0; i < blocks && !r; i++) {
        uint64_t used = table + blocks - MIN(table + blocks, i * per_block);
        memset(block, 0, q->cluster_size);
        for (uint64_t k = 0; k < MIN(used, per_block); k++)
            q2_ref_store(q, block, k, 1);
        rt[first + i] = (start + i) << q->cluster_bits;
        r = block_write(b->file, rt[first + i], block, q->cluster_size, 0);
    }
    for (uint64_t i = 0; i < size; i++)
        store_be64(words + i * 8, rt[i]);
    uint64_t rt_at = (start + blocks) << q->cluster_bits;
    if (!r)
        r = block_write(b->file, rt_at, words, table << q->cluster_bits, 0);
    /* Blocks that only the old table's memory copy names must be there too. */
    if (!r)
        r = q2_commit(b, true);
    if (!r)
        r = q2_sync(b);
    uint8_t fields[12];
    store_be64(fields, rt_at);
    store_be32(fields + 8, (uint32_t)table);
    if (!r)
        r = block_write(b->file, 48, fields, sizeof fields, 0);
    if (!r)
        r = q2_sync(b);
    if (r) {
        g_free(rt);
        return r;
    }
    uint64_t old_at = q->rt_at, old_clusters = q2_clusters(q, (uint64_t)q->rt_size * 8);
    memcpy(rt, q->rt, (size_t)q->rt_size * 8);
    g_free(q->rt);
    q->rt = rt;
    q->rt_size = (uint32_t)size;
    q->rt_at = rt_at;
    q->fresh = MAX(q->fresh, (start + blocks + table) << q->cluster_bits);
    q2_free_later(b, old_at, old_clusters);
    return 0;
}

/* The same, made if need be: a new block counts itself and lies first among those it counts. */
static int block_made(Block *b, uint64_t cluster, Q2Table **out)
{
    Qcow2 *q = b->state;
    int r = block_for(b, cluster, out);
    if (r || *out)
        return r;
    uint64_t i = cluster >> q->rb_bits;
    if (i >= q->rt_size) {
        r = grow_rt(b, i);
        return r ? r : block_for(b, cluster, out);      /* may still be none: the caller looks again */
    }
    uint64_t at = i << (q->rb_bits + q->cluster_bits);
    q2_cache_drop(&q->rb, at);
    r = q2_table_get(b, &q->rb, at, true, out);
    if (r)
        return r;
    q2_ref_store(q, (*out)->data, 0, 1);
    q2_table_dirty(&q->rb, *out);
    q->rt[i] = at;
    rt_changed(q, (uint32_t)i);
    q->fresh = MAX(q->fresh, at + q->cluster_size);
    return 0;
}

int q2_ref_add(Block *b, uint64_t cluster, uint64_t n, int delta)
{
    Qcow2 *q = b->state;
    for (uint64_t i = 0; i < n; i++, cluster++) {
        Q2Table *t;
        int r = block_for(b, cluster, &t);
        if (r)
            return r;
        uint64_t k = cluster & bits_mask(q->rb_bits), v = t ? q2_ref_load(q, t->data, k) : 0;
        if ((delta < 0 && v < (uint64_t)-delta) || (delta > 0 && !t))
            return q2_damaged(b, "cluster at %#" PRIx64 " is in use and has refcount %" PRIu64,
                              cluster << q->cluster_bits, v);
        if (delta > 0 && v + (uint64_t)delta > q2_ref_max(q))
            return -ERANGE;
        v = delta < 0 ? v - (uint64_t)-delta : v + (uint64_t)delta;
        q2_ref_store(q, t->data, k, v);
        q2_table_dirty(&q->rb, t);
        if (!v) {
            q->free_hint = MIN(q->free_hint, cluster);
            uint64_t at = cluster << q->cluster_bits;
            q2_cache_drop(&q->l2, at);
            if (q->compressed_at >> q->cluster_bits == cluster)
                q->compressed_at = 0;
        }
    }
    return 0;
}

bool q2_overlaps(Block *b, uint64_t at, uint64_t len)
{
    Qcow2 *q = b->state;
    const struct { uint64_t at, len; } areas[] = {
        { 0, q->cluster_size }, { q->l1_at, (uint64_t)q->l1_size * 8 }, { q->rt_at, (uint64_t)q->rt_size * 8 },
        { q->snapshots_at, q->snapshots_bytes }, { q->crypt_at, q->crypt_len },
    };
    for (unsigned i = 0; i < ARRAY_LEN(areas); i++)
        if (areas[i].len && at < areas[i].at + areas[i].len && areas[i].at < at + len)
            return true;
    for (uint64_t c = align_down(at, q->cluster_size); c < at + len; c += q->cluster_size)
        if (g_hash_table_contains(q->l2.by_offset, (gpointer)(uintptr_t)(c >> 9)) ||
            g_hash_table_contains(q->rb.by_offset, (gpointer)(uintptr_t)(c >> 9)))
            return true;
    return false;
}

/* More neighbours than one refcount block counts.  Blocks that count themselves would lie among them, so these go in front of
 * all, where no block counts anything yet. */
static int alloc_large(Block *b, uint64_t want, uint64_t *at)
{
    Qcow2 *q = b->state;
    uint64_t per_block = BIT(q->rb_bits), blocks = 1, first;
    while (blocks * per_block < blocks + want)
        blocks++;
    for (;;) {
        first = q->rt_size;
        while (first && !q->rt[first - 1])
            first--;
        if (first + blocks <= q->rt_size)
            break;
        int r = grow_rt(b, first + blocks);
        if (r)
            return r;
    }
    uint64_t start = first * per_block;
    if (start + blocks + want > MAX_CLUSTER(q))
        return -ENOSPC;
    for (uint64_t i = 0; i < blocks; i++) {
        Q2Table *t;
        uint64_t block_at = (start + i) << q->cluster_bits, used = blocks + want - i * per_block;
        q2_cache_drop(&q->rb, block_at);
        int r = q2_table_get(b, &q->rb, block_at, true, &t);
        if (r)
            return r;
        for (uint64_t k = 0; k < MIN(used, per_block); k++)
            q2_ref_store(q, t->data, k, 1);
        q2_table_dirty(&q->rb, t);
        q->rt[first + i] = block_at;
        rt_changed(q, (uint32_t)(first + i));
    }
    *at = (start + blocks) << q->cluster_bits;
    q->fresh = MAX(q->fresh, *at + (want << q->cluster_bits));
    return 0;
}

int q2_alloc(Block *b, uint64_t want, bool whole, uint64_t *at, uint64_t *got)
{
    Qcow2 *q = b->state;
    if (q->incompat & Q2_INCOMPAT_CORRUPT)
        return -EIO;
    if (whole && want >= BIT(q->rb_bits)) {
        *got = want;
        return alloc_large(b, want, at);
    }
    uint64_t start = 0, n = 0, c = q->free_hint;
    bool first_free = true;     /* so far no free cluster was passed over */
    while (n < want) {
        if (c >= MAX_CLUSTER(q))
            return -ENOSPC;
        Q2Table *t;
        int r = block_made(b, c, &t);
        if (r)
            return r;
        if (!t)
            continue;
        uint64_t k = c & bits_mask(q->rb_bits), end = BIT(q->rb_bits);
        for (; k < end && n < want; k++, c++) {
            if (!q2_ref_load(q, t->data, k)) {
                if (!n++)
                    start = c;
            } else if (n && !whole) {
                goto found;
            } else if (n) {
                n = 0;
                first_free = false;
            }
        }
    }
found:
    if (q2_overlaps(b, start << q->cluster_bits, n << q->cluster_bits))
        return q2_damaged(b, "metadata at %#" PRIx64 " have refcount 0", start << q->cluster_bits);
    for (uint64_t i = 0; i < n; i++) {
        Q2Table *t;
        int r = block_made(b, start + i, &t);
        if (r)
            return r;
        q2_ref_store(q, t->data, (start + i) & bits_mask(q->rb_bits), 1);
        q2_table_dirty(&q->rb, t);
    }
    if (first_free)
        q->free_hint = start + n;
    *at = start << q->cluster_bits;
    *got = n;
    return 0;
}

void q2_free_later(Block *b, uint64_t at, uint64_t clusters)
{
    Qcow2 *q = b->state;
    Q2Free f = { at, clusters };
    if (q->to_free->len) {      /* many come in a row */
        Q2Free *last = &g_array_index(q->to_free, Q2Free, q->to_free->len - 1);
        if (last->at + (last->n << q->cluster_bits) == at) {
            last->n += clusters;
            return;
        }
    }
    g_array_append_val(q->to_free, f);
}

void q2_compressed_range(const Qcow2 *q, uint64_t entry, uint64_t *at, uint64_t *len)
{
    unsigned x = 62 - (q->cluster_bits - 8);
    *at = entry & bits_mask(x);
    *len = (bits_get(entry, x, 62 - x) + 1) * 512 - (*at & 511);
}

int q2_free_entry_later(Block *b, uint64_t entry)
{
    Qcow2 *q = b->state;
    if (entry & Q2_COMPRESSED) {
        uint64_t at, len;
        q2_compressed_range(q, entry, &at, &len);
        /* Each host cluster that it touches counts it. */
        for (uint64_t c = at >> q->cluster_bits; c <= (at + len - 1) >> q->cluster_bits; c++)
            q2_free_later(b, c << q->cluster_bits, 1);
        q->unpacked_entry = 0;
    } else if ((entry & Q2_OFFSET) && !b->data) {
        q2_free_later(b, entry & Q2_OFFSET, 1);
    }
    return q->to_free->len > PENDING_FREES ? q2_commit(b, false) : 0;
}

int q2_free_pending(Block *b)
{
    Qcow2 *q = b->state;
    GArray *list = q->to_free;
    q->to_free = g_array_new(FALSE, FALSE, sizeof(Q2Free));
    int r = 0;
    for (unsigned i = 0; i < list->len && !r; i++) {
        Q2Free *f = &g_array_index(list, Q2Free, i);
        r = q2_ref_add(b, f->at >> q->cluster_bits, f->n, -1);
        for (uint64_t k = 0; k < f->n && !r && q->discard_freed; k++) {
            uint64_t left, c = (f->at >> q->cluster_bits) + k;
            r = q2_ref_get(b, c, &left);
            if (!r && !left)
                block_discard(b->file, c << q->cluster_bits, q->cluster_size);
        }
    }
    g_array_free(list, TRUE);
    return r;
}
