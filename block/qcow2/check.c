/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: check and repair.  Counts what the tables reach and compares it with the refcounts.
 *
 * Leaks (counted too high) are lowered in place.  Anything counted too low has the refcounts made anew at the end of
 * the file, from what was found; flags follow.  Entries that point nowhere sensible are told and left: what they meant
 * nobody knows.  Memory and time go with what the file holds, not with what it claims: counts are kept in pages that
 * come with the first use, and a table that was walked is not walked again for the same L1 table. */
#include <stdarg.h>
#include <string.h>

#include "block/qcow2/qcow2_int.h"

enum { PAGE = 64 };         /* clusters counted by one page: a refcount block has at least so many */

typedef struct Check {
    Block      *b;
    BlockCheck *out;
    unsigned    fix;
    GHashTable *pages;      /* cluster / PAGE to uint32_t[PAGE] */
    uint64_t    highest;    /* cluster in use, plus one */
    bool        sparse;     /* most of the file are holes */
    uint64_t    refcount_errors, flag_errors, flag_slips, odd_blocks, next_data;
} Check;

static void note(Check *c, uint64_t *counter, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
static void note(Check *c, uint64_t *counter, const char *fmt, ...)
{
    (*counter)++;
    if (c->out->messages->len >= CHECK_MESSAGES)
        return;
    va_list args;
    va_start(args, fmt);
    g_ptr_array_add(c->out->messages, g_strdup_vprintf(fmt, args));
    va_end(args);
}

static uint32_t *page_of(Check *c, uint64_t cluster, bool make)
{
    gpointer k = (gpointer)(uintptr_t)(cluster / PAGE);
    uint32_t *p = g_hash_table_lookup(c->pages, k);
    if (!p && make) {
        p = g_new0(uint32_t, PAGE);
        g_hash_table_insert(c->pages, k, p);
    }
    return p;
}

static uint32_t found(Check *c, uint64_t cluster)
{
    uint32_t *p = page_of(c, cluster, false);
    return p ? p[cluster % PAGE] : 0;
}

static void use(Check *c, uint64_t at, uint64_t bytes)
{
    Qcow2 *q = c->b->state;
    for (uint64_t i = at >> q->cluster_bits; bytes && i <= (at + bytes - 1) >> q->cluster_bits; i++) {
        uint32_t *p = page_of(c, i, true);
        if (p[i % PAGE] < UINT32_MAX)
            p[i % PAGE]++;
        c->highest = MAX(c->highest, i + 1);
    }
}

/* Nothing that lies elsewhere is counted: it would set how long the comparison takes. */
static bool in_file(Check *c, uint64_t at) { return at < c->b->file->length; }

/* A table in a hole of the file: zeros, which need not be read one by one. */
static bool hole(Check *c, Q2Cache *cache, uint64_t at)
{
    Qcow2 *q = c->b->state;
    Extent e;
    return c->sparse && !q2_table_peek(cache, at) && !block_map(c->b->file, at, q->cluster_size, &e) && (e.flags & EXTENT_ZERO) &&
           e.len == q->cluster_size;
}

static int walk_l2(Check *c, uint64_t l2_at, bool active, uint64_t guest)
{
    Qcow2 *q = c->b->state;
    Q2Table *t;
    if (hole(c, &q->l2, l2_at))
        return 0;
    int r = q2_table_get(c->b, &q->l2, l2_at, false, &t);
    if (r)
        return r;
    for (unsigned i = 0; i < BIT(q->l2_bits); i++) {
        uint64_t e = q2_entry(q, t, i), map = q2_bitmap(q, t, i), at = e & Q2_OFFSET;
        uint64_t where = guest + ((uint64_t)i << q->cluster_bits);
        if (e & Q2_COMPRESSED) {
            uint64_t len;
            q2_compressed_range(q, e, &at, &len);
            if ((e & Q2_COPIED) && active)
                note(c, &c->out->corruptions, "compressed cluster for %#" PRIx64 " has the COPIED flag", where);
            if (!in_file(c, at)) {
                note(c, &c->out->corruptions, "compressed cluster for %#" PRIx64 " lies beyond the file, at %#" PRIx64, where, at);
                continue;
            }
            use(c, at, len);
            if (active) {
                c->out->allocated_clusters++;
                c->out->compressed_clusters++;
                c->out->fragmented_clusters++;
            }
            continue;
        }
        if (q->extended && ((map >> 32) & map & UINT32_MAX))
            note(c, &c->out->corruptions, "subclusters for %#" PRIx64 " are both data and zeros", where);
        if (!at)
            continue;
        if (at & (q->cluster_size - 1)) {
            note(c, &c->out->corruptions, "cluster for %#" PRIx64 " lies at %#" PRIx64 ", no cluster boundary", where, at);
            continue;
        }
        if (!c->b->data && !in_file(c, at)) {
            note(c, &c->out->corruptions, "cluster for %#" PRIx64 " lies beyond the file, at %#" PRIx64, where, at);
            continue;
        }
        if (active) {
            c->out->allocated_clusters++;
            if (c->next_data && at != c->next_data)
                c->out->fragmented_clusters++;
            c->next_data = at + q->cluster_size;
        }
        if (!c->b->data)
            use(c, at, q->cluster_size);
    }
    return 0;
}

static int walk_l1(Check *c, const char *whose, const uint64_t *l1, uint32_t n, bool active)
{
    Qcow2 *q = c->b->state;
    GHashTable *seen = g_hash_table_new(NULL, NULL);
    int r = 0;
    for (uint32_t i = 0; i < n && !r; i++) {
        uint64_t at = l1[i] & Q2_OFFSET;
        if (!at)
            continue;
        if (at & (q->cluster_size - 1)) {
            note(c, &c->out->corruptions, "%s: L2 table %u lies at %#" PRIx64 ", no cluster boundary", whose, i, at);
            continue;
        }
        if (!in_file(c, at)) {
            note(c, &c->out->corruptions, "%s: L2 table %u lies beyond the file, at %#" PRIx64, whose, i, at);
            continue;
        }
        use(c, at, q->cluster_size);
        if (!g_hash_table_add(seen, (gpointer)(uintptr_t)(at >> 9))) {
            note(c, &c->out->corruptions, "%s: two parts share the L2 table at %#" PRIx64, whose, at);
            continue;
        }
        r = walk_l2(c, at, active, (uint64_t)i << (q->cluster_bits + q->l2_bits));
    }
    g_hash_table_destroy(seen);
    return r;
}

/* Bitmaps' clusters count, if the header says that they mean anything. */
static int walk_bitmaps(Check *c)
{
    Qcow2 *q = c->b->state;
    uint64_t at = q->bitmaps_at, bytes = q->bitmaps_bytes, end = at + bytes;
    if (!q->n_bitmaps)
        return 0;
    if (!in_file(c, at) || (at & (q->cluster_size - 1))) {
        note(c, &c->out->corruptions, "the bitmap directory (%" PRIu64 " bytes at %#" PRIx64 ") is not in the file", bytes, at);
        return 0;
    }
    use(c, at, bytes);
    while (at + 24 <= end) {
        uint8_t d[24];
        int r = block_read(c->b->file, at, d, sizeof d);
        if (r)
            return r;
        uint64_t table = load_be64(d), n = load_be32(d + 8);
        if (n && (!in_file(c, table) || table & (q->cluster_size - 1) || n * 8 > Q2_MAX_L1_BYTES)) {
            note(c, &c->out->corruptions, "a bitmap's table (%" PRIu64 " entries at %#" PRIx64 ") is not in the file", n, table);
        } else {
            g_autofree uint64_t *words = g_new(uint64_t, n + 1);
            r = block_read(c->b->file, table, words, n * 8);
            if (r)
                return r;
            use(c, table, n * 8);
            for (uint64_t k = 0; k < n; k++) {
                uint64_t data = GUINT64_FROM_BE(words[k]) & Q2_OFFSET;
                if (data && in_file(c, data))
                    use(c, data, q->cluster_size);
            }
        }
        at += align_up(24 + (uint64_t)load_be16(d + 18) + load_be32(d + 20), 8);
    }
    return 0;
}

static int walk_all(Check *c)
{
    Qcow2 *q = c->b->state;
    use(c, 0, q->cluster_size);
    use(c, q->l1_at, (uint64_t)q->l1_size * 8);
    int r = walk_l1(c, "the disk", q->l1, q->l1_size, true);
    use(c, q->snapshots_at, q->snapshots_bytes);
    use(c, q->crypt_at, q->crypt_len);
    for (unsigned i = 0; i < q->snapshots->len && !r; i++) {
        Q2Snapshot *s = q->snapshots->pdata[i];
        g_autofree uint64_t *l1 = g_try_new(uint64_t, s->l1_size + 1);
        g_autofree char *whose = g_strdup_printf("snapshot %s", s->id);
        r = l1 ? block_read(c->b->file, s->l1_at, l1, (size_t)s->l1_size * 8) : -ENOMEM;
        for (uint32_t k = 0; !r && k < s->l1_size; k++)
            l1[k] = GUINT64_FROM_BE(l1[k]);
        use(c, s->l1_at, (uint64_t)s->l1_size * 8);
        if (!r)
            r = walk_l1(c, whose, l1, s->l1_size, false);
    }
    if (!r)
        r = walk_bitmaps(c);
    return r;
}

/* The refcount structures count themselves; told apart since a repair makes them anew. */
static void walk_refcounts(Check *c)
{
    Qcow2 *q = c->b->state;
    use(c, q->rt_at, (uint64_t)q->rt_size * 8);
    for (uint32_t i = 0; i < q->rt_size; i++) {
        uint64_t at = q->rt[i];
        if (!at)
            continue;
        if ((at & (q->cluster_size - 1)) || !in_file(c, at)) {
            note(c, &c->odd_blocks, "refcount block %u lies at %#" PRIx64, i, at);
            continue;
        }
        use(c, at, q->cluster_size);
        if (found(c, at >> q->cluster_bits) > 1)
            note(c, &c->odd_blocks, "refcount block %u at %#" PRIx64 " is something else as well", i, at);
    }
}

/* The pages there are, by number. */
static int by_number(gconstpointer a, gconstpointer b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static GArray *pages_in_order(Check *c)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    GHashTableIter it;
    gpointer key;
    g_hash_table_iter_init(&it, c->pages);
    while (g_hash_table_iter_next(&it, &key, NULL)) {
        uint64_t number = (uintptr_t)key;
        g_array_append_val(list, number);
    }
    g_array_sort(list, by_number);
    return list;
}

static void too_low(Check *c, uint64_t cluster, uint64_t have, uint64_t want)
{
    note(c, &c->refcount_errors, "cluster at %#" PRIx64 ": refcount %" PRIu64 ", in use %" PRIu64 " times",
         cluster << ((Qcow2 *)c->b->state)->cluster_bits, have, want);
}

/* A page of clusters that no refcount block counts. */
static void compare_uncounted(Check *c, uint64_t page)
{
    for (uint64_t cluster = page * PAGE; cluster < (page + 1) * PAGE; cluster++)
        if (found(c, cluster))
            too_low(c, cluster, 0, found(c, cluster));
}

static void compare_block(Check *c, uint64_t i, Q2Table *t)
{
    Qcow2 *q = c->b->state;
    uint64_t first = i << q->rb_bits;
    const uint32_t *page = NULL;
    for (uint64_t k = 0; k < BIT(q->rb_bits); k++) {
        uint64_t cluster = first + k;
        if (!(k % PAGE))
            page = page_of(c, cluster, false);
        uint64_t have = q2_ref_load(q, t->data, k), want = page ? page[cluster % PAGE] : 0;
        if (have == want)
            continue;
        if (have < want) {
            too_low(c, cluster, have, want);
            continue;
        }
        note(c, &c->out->leaks, "leaked cluster at %#" PRIx64 ": refcount %" PRIu64 ", in use %" PRIu64 " times",
             cluster << q->cluster_bits, have, want);
        if (c->fix & CHECK_FIX_LEAKS) {
            q2_ref_store(q, t->data, k, want);
            q2_table_dirty(&q->rb, t);
            q->free_hint = MIN(q->free_hint, cluster);
            c->out->leaks_fixed++;
        }
    }
}

/* Where there is neither a block nor a use there is nothing to see. */
static int compare(Check *c)
{
    Qcow2 *q = c->b->state;
    GHashTable *seen = g_hash_table_new(NULL, NULL);
    GArray *pages = pages_in_order(c);
    int r = 0;
    guint k = 0;
    for (uint64_t i = 0; i < q->rt_size && !r; i++) {
        uint64_t at = q->rt[i], number;
        if (!at || (at & (q->cluster_size - 1)) || !in_file(c, at) || !g_hash_table_add(seen, (gpointer)(uintptr_t)(at >> 9)))
            continue;
        Q2Table *t = NULL;
        if (!hole(c, &q->rb, at))
            r = q2_table_get(c->b, &q->rb, at, false, &t);
        for (; !r && k < pages->len && (number = g_array_index(pages, uint64_t, k)) < ((i + 1) << q->rb_bits) / PAGE; k++)
            if (!t || number < (i << q->rb_bits) / PAGE)
                compare_uncounted(c, number);
        if (t && !r)
            compare_block(c, i, t);
    }
    for (; !r && k < pages->len; k++)
        compare_uncounted(c, g_array_index(pages, uint64_t, k));
    g_array_free(pages, TRUE);
    g_hash_table_destroy(seen);
    return r;
}

/* The refcount blocks that what is in use needs, with those that count themselves and the table behind `start`; *table: its
 * clusters. */
static GArray *blocks_needed(Check *c, uint64_t start, uint64_t *table)
{
    Qcow2 *q = c->b->state;
    GArray *blocks = g_array_new(FALSE, FALSE, sizeof(uint64_t)), *pages = pages_in_order(c);
    for (guint k = 0; k < pages->len; k++) {
        uint64_t i = (g_array_index(pages, uint64_t, k) * PAGE) >> q->rb_bits;
        if (!blocks->len || g_array_index(blocks, uint64_t, blocks->len - 1) != i)
            g_array_append_val(blocks, i);
    }
    g_array_free(pages, TRUE);
    for (uint64_t had = UINT64_MAX; had != blocks->len;) {
        had = blocks->len;
        uint64_t last = MAX(g_array_index(blocks, uint64_t, had - 1), start >> q->rb_bits);
        *table = q2_clusters(q, (last + 1) * 8);
        for (uint64_t i = start >> q->rb_bits; i <= (start + had + *table - 1) >> q->rb_bits; i++)
            if (i > g_array_index(blocks, uint64_t, blocks->len - 1))
                g_array_append_val(blocks, i);
    }
    return blocks;
}

static int write_block(Check *c, uint64_t i, uint64_t at, uint8_t *buf)
{
    Qcow2 *q = c->b->state;
    memset(buf, 0, q->cluster_size);
    for (uint64_t k = 0; k < BIT(q->rb_bits); k += PAGE) {
        const uint32_t *page = page_of(c, (i << q->rb_bits) + k, false);
        for (unsigned n = 0; page && n < PAGE; n++) {
            if (page[n] > q2_ref_max(q))
                return -ERANGE;
            q2_ref_store(q, buf, k + n, page[n]);
        }
    }
    return block_write(c->b->file, at, buf, q->cluster_size, 0);
}

/* Refcounts made anew behind all that is in use and the old ones (old_end).  careful: some entries could not be followed, so
 * behind everything there is, unless the table would be too long for that. */
static int rebuild(Check *c, uint64_t old_end, bool careful)
{
    Block *b = c->b;
    Qcow2 *q = b->state;
    uint64_t start = MAX(c->highest, careful ? q2_clusters(q, b->file->length) : old_end), table;
    GArray *blocks = blocks_needed(c, start, &table);
    if (table << q->cluster_bits > Q2_MAX_RT_BYTES || start > Q2_OFFSET >> (q->cluster_bits + 1)) {
        g_array_free(blocks, TRUE);
        start = MAX(c->highest, old_end);
        blocks = blocks_needed(c, start, &table);
    }
    if (table << q->cluster_bits > Q2_MAX_RT_BYTES) {
        g_array_free(blocks, TRUE);
        return -EFBIG;
    }
    uint64_t n = blocks->len;
    for (uint64_t i = 0; i < n + table; i++)
        use(c, (start + i) << q->cluster_bits, 1);
    g_autofree uint8_t *block = g_malloc(q->cluster_size), *words = g_malloc0(table << q->cluster_bits);
    uint64_t *rt = g_new0(uint64_t, (table << q->cluster_bits) / 8);
    int r = 0;
    for (guint k = 0; k < n && !r; k++) {
        uint64_t i = g_array_index(blocks, uint64_t, k);
        rt[i] = (start + k) << q->cluster_bits;
        store_be64(words + i * 8, rt[i]);
        r = write_block(c, i, rt[i], block);
    }
    g_array_free(blocks, TRUE);
    uint64_t rt_at = (start + n) << q->cluster_bits;
    uint8_t fields[12];
    store_be64(fields, rt_at);
    store_be32(fields + 8, (uint32_t)table);
    if (!r)
        r = block_write(b->file, rt_at, words, table << q->cluster_bits, 0);
    if (!r)
        r = q2_sync(b);
    if (!r)
        r = block_write(b->file, 48, fields, sizeof fields, 0);
    if (!r)
        r = q2_sync(b);
    if (r) {
        g_free(rt);
        return r;
    }
    g_free(q->rt);
    q->rt = rt;
    q->rt_at = rt_at;
    q->rt_size = (uint32_t)((table << q->cluster_bits) / 8);
    q->rt_dirty_from = q->rt_dirty_to = 0;
    uint64_t limit = q->rb.limit;
    q2_cache_free(&q->rb);
    q->rb = (Q2Cache){ 0 };
    q2_cache_init(q, &q->rb, limit << q->cluster_bits);
    q->free_hint = 0;
    q->fresh = MAX(q->fresh, (start + n + table) << q->cluster_bits);
    q->compressed_at = 0;
    return 0;
}

/* COPIED says: counted once.  Set without reason, a write would go to shared clusters. */
static void flag(Check *c, bool has, uint64_t at, const char *what, bool *change)
{
    Qcow2 *q = c->b->state;
    bool should = c->b->data || found(c, at >> q->cluster_bits) == 1;
    if (has == should)
        return;
    if (has) {
        note(c, &c->flag_errors, "%s at %#" PRIx64 " has the COPIED flag, but is in use %u times", what, at,
             found(c, at >> q->cluster_bits));
        *change = c->fix & CHECK_FIX_ERRORS;
    } else {
        note(c, &c->flag_slips, "%s at %#" PRIx64 " lacks the COPIED flag (harmless)", what, at);
        *change = c->fix & (CHECK_FIX_LEAKS | CHECK_FIX_ERRORS);
    }
}

static int check_flags(Check *c)
{
    Qcow2 *q = c->b->state;
    GHashTable *seen = g_hash_table_new(NULL, NULL);
    int r = 0;
    for (uint32_t i = 0; i < q->l1_size && !r; i++) {
        uint64_t at = q->l1[i] & Q2_OFFSET;
        bool change = false;
        if (!at || (at & (q->cluster_size - 1)) || !in_file(c, at) || !g_hash_table_add(seen, (gpointer)(uintptr_t)(at >> 9)))
            continue;
        if (found(c, at >> q->cluster_bits) != 1 || !(q->l1[i] & Q2_COPIED)) {
            bool has = q->l1[i] & Q2_COPIED, should = found(c, at >> q->cluster_bits) == 1;
            if (has != should) {
                note(c, has ? &c->flag_errors : &c->flag_slips, "L2 table at %#" PRIx64 " %s the COPIED flag", at, has ? "has" : "lacks");
                change = c->fix & (has ? CHECK_FIX_ERRORS : CHECK_FIX_LEAKS | CHECK_FIX_ERRORS);
            }
        }
        if (change) {
            q->l1[i] ^= Q2_COPIED;
            q->l1_dirty_from = q->l1_dirty_from < q->l1_dirty_to ? MIN(q->l1_dirty_from, i) : i;
            q->l1_dirty_to = MAX(q->l1_dirty_to, i + 1);
        }
        Q2Table *t;
        if (hole(c, &q->l2, at))
            continue;
        r = q2_table_get(c->b, &q->l2, at, false, &t);
        for (unsigned k = 0; k < BIT(q->l2_bits) && !r; k++) {
            uint64_t e = q2_entry(q, t, k), data = e & Q2_OFFSET;
            if ((e & Q2_COMPRESSED) || !data || (data & (q->cluster_size - 1)))
                continue;
            change = false;
            flag(c, e & Q2_COPIED, data, "data cluster", &change);
            if (change)
                q2_entry_set(q, t, k, e ^ Q2_COPIED, q2_bitmap(q, t, k));
        }
    }
    g_hash_table_destroy(seen);
    return r;
}

int q2_check(Block *b, unsigned fix, BlockCheck *out, GError **err)
{
    Qcow2 *q = b->state;
    Check c = { .b = b, .out = out, .fix = fix };
    c.pages = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    BlockInfo info;
    if (!block_info(b->file, &info)) {
        json_free(info.specific);
        c.sparse = info.allocated < b->file->length / 2;        /* unknown: no */
    }
    co_mutex_lock(&q->lock);
    int r = walk_all(&c);
    /* Found so far are damages that no refcount can mend. */
    uint64_t beyond_repair = out->corruptions;
    if (!r)
        walk_refcounts(&c);
    if (!r)
        r = compare(&c);
    uint64_t bad = c.refcount_errors + c.odd_blocks;
    if (!r && bad && (fix & CHECK_FIX_ERRORS)) {
        /* Counts of the old structures go, those of the new ones come. */
        uint64_t old_end = c.highest;
        g_hash_table_remove_all(c.pages);
        c.highest = 0;
        BlockCheck again = { .messages = g_ptr_array_new_with_free_func(g_free) };
        c.out = &again;
        c.next_data = 0;
        r = walk_all(&c);
        if (!r)
            r = rebuild(&c, old_end, beyond_repair);
        g_ptr_array_free(again.messages, TRUE);
        c.out = out;
        if (!r) {
            out->corruptions_fixed += bad;
            out->leaks_fixed = out->leaks;
        }
    }
    if (!r)
        r = check_flags(&c);
    out->corruptions += bad + c.flag_errors;
    out->leaks += c.flag_slips;
    if (fix && !r) {
        r = q2_commit(b, true);
        if (!r)
            r = q2_sync(b);
        if (!r && (fix & CHECK_FIX_ERRORS))
            out->corruptions_fixed += c.flag_errors;
        if (!r)
            out->leaks_fixed += c.flag_slips;
        if (!r && (fix & CHECK_FIX_ERRORS) && !beyond_repair) {
            r = q2_unmark(b, Q2_INCOMPAT_CORRUPT | Q2_INCOMPAT_DIRTY);
            q->incompat &= ~(uint64_t)(Q2_INCOMPAT_CORRUPT | Q2_INCOMPAT_DIRTY);
            q->lazy_marked = false;
        }
    }
    out->total_clusters = q2_clusters(q, b->length);
    out->image_end = c.highest << q->cluster_bits;
    co_mutex_unlock(&q->lock);
    g_hash_table_destroy(c.pages);
    if (r) {
        out->check_errors++;
        fail_errno(err, -r, "%s cannot be checked", b->filename);
    }
    return r;
}
