/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: internal snapshots.  Each is an L1 table of its own; L2 tables and clusters are shared and counted.
 *
 * Every change here is one write to the header, before which all that it makes reachable has been counted and
 * written, and after which what it made unreachable is let go.  A crash leaves leaks. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/qcow2/qcow2_int.h"

enum { MIN_EXTRA = 16, MAX_EXTRA = 1024 };

static void snapshot_free(void *p)
{
    Q2Snapshot *s = p;
    g_free(s->extra);
    g_free(s->id);
    g_free(s->name);
    g_free(s);
}

int q2_snapshots_load(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    uint8_t h[12];
    q->snapshots = g_ptr_array_new_with_free_func(snapshot_free);
    int r = block_read(b->file, 60, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "cannot read the header");
    uint32_t n = load_be32(h);
    uint64_t start = load_be64(h + 4), at = start;
    if (!n)
        return true;
    if (n > Q2_MAX_SNAPSHOTS)
        return fail(err, "%u snapshots are too many", n);
    if ((at & (q->cluster_size - 1)) || at < q->cluster_size)
        return fail(err, "the snapshot table lies at %#" PRIx64, at);
    q->snapshots_at = at;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t e[40];
        if (at > b->file->length || b->file->length - at < sizeof e)
            return fail(err, "the snapshot table ends beyond the file");
        r = block_read(b->file, at, e, sizeof e);
        if (r)
            return fail_errno(err, -r, "cannot read the snapshot table");
        Q2Snapshot *s = g_new0(Q2Snapshot, 1);
        g_ptr_array_add(q->snapshots, s);
        uint32_t id_len = load_be16(e + 12), name_len = load_be16(e + 14);
        s->l1_at = load_be64(e);
        s->l1_size = load_be32(e + 8);
        s->date_s = load_be32(e + 16);
        s->date_ns = load_be32(e + 20);
        s->vm_clock_ns = load_be64(e + 24);
        s->vm_state_size = load_be32(e + 32);
        s->extra_size = load_be32(e + 36);
        s->disk_size = b->length;
        if (s->extra_size > MAX_EXTRA)
            return fail(err, "a snapshot with %u bytes of extra data", s->extra_size);
        uint64_t len = sizeof e + s->extra_size + id_len + name_len;
        if (at + len > b->file->length || at + len - start > Q2_MAX_SNAPSHOT_BYTES)
            return fail(err, "the snapshot table ends beyond the file, or is too large");
        g_autofree uint8_t *rest = g_malloc(len);
        r = block_read(b->file, at, rest, len);
        if (r)
            return fail_errno(err, -r, "cannot read the snapshot table");
        const uint8_t *p = rest + sizeof e;
        if (s->extra_size >= 8)
            s->vm_state_size = load_be64(p);
        if (s->extra_size >= 16)
            s->disk_size = load_be64(p + 8);
        s->extra = g_memdup2(p, s->extra_size);
        s->id = g_strndup((char *)p + s->extra_size, id_len);
        s->name = g_strndup((char *)p + s->extra_size + id_len, name_len);
        if (s->l1_size > Q2_MAX_L1_BYTES / 8 || (s->l1_at & (q->cluster_size - 1)) || s->l1_at > b->file->length ||
            (uint64_t)s->l1_size * 8 > b->file->length - s->l1_at)
            return fail(err, "the L1 table of snapshot '%s' is not in the file", s->id);
        at = align_up(at + len, 8);
    }
    q->snapshots_bytes = at - start;
    return true;
}

static int list_snapshots(Block *b, GPtrArray *out)
{
    Qcow2 *q = b->state;
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        Q2Snapshot *s = q->snapshots->pdata[i];
        BlockSnapshot *o = g_new0(BlockSnapshot, 1);
        *o = (BlockSnapshot){ .id = g_strdup(s->id), .name = g_strdup(s->name), .vm_state_size = s->vm_state_size,
                              .disk_size = s->disk_size, .date_s = s->date_s, .date_ns = s->date_ns,
                              .vm_clock_ns = s->vm_clock_ns,
                              .icount = s->extra_size >= 24 ? load_be64(s->extra + 16) : UINT64_MAX };
        g_ptr_array_add(out, o);
    }
    return 0;
}

/* Writes the table to a new place and makes the header name it.  *named: it may do so in the file even if this fails. */
static int write_table(Block *b, GPtrArray *list, bool *named)
{
    Qcow2 *q = b->state;
    GByteArray *t = g_byte_array_new();
    for (unsigned i = 0; i < list->len; i++) {
        Q2Snapshot *s = list->pdata[i];
        uint32_t extra = MAX(s->extra_size, MIN_EXTRA);
        uint8_t e[40 + MAX_EXTRA] = { 0 }, pad[8] = { 0 };
        size_t id_len = strlen(s->id), name_len = strlen(s->name);
        store_be64(e, s->l1_at);
        store_be32(e + 8, s->l1_size);
        store_be16(e + 12, (uint16_t)id_len);
        store_be16(e + 14, (uint16_t)name_len);
        store_be32(e + 16, s->date_s);
        store_be32(e + 20, s->date_ns);
        store_be64(e + 24, s->vm_clock_ns);
        store_be32(e + 32, s->vm_state_size > UINT32_MAX ? 0 : (uint32_t)s->vm_state_size);
        store_be32(e + 36, extra);
        if (s->extra)
            memcpy(e + 40, s->extra, s->extra_size);
        store_be64(e + 40, s->vm_state_size);
        store_be64(e + 48, s->disk_size);
        g_byte_array_append(t, e, 40 + extra);
        g_byte_array_append(t, (uint8_t *)s->id, (guint)id_len);
        g_byte_array_append(t, (uint8_t *)s->name, (guint)name_len);
        g_byte_array_append(t, pad, (guint)(align_up(t->len, 8) - t->len));
    }
    uint64_t at = 0, got = 0, old_at = q->snapshots_at, old_bytes = q->snapshots_bytes, bytes = t->len;
    int r = bytes > Q2_MAX_SNAPSHOT_BYTES ? -EFBIG : 0;
    if (!r && bytes) {
        r = q2_alloc(b, q2_clusters(q, bytes), true, &at, &got);
        q->fresh = MAX(q->fresh, at + (got << q->cluster_bits));
        if (!r)
            r = block_write(b->file, at, t->data, bytes, 0);
    }
    if (!r)
        r = q2_commit(b, true);
    if (!r)
        r = q2_sync(b);
    uint8_t fields[12];
    store_be32(fields, list->len);
    store_be64(fields + 4, at);
    *named = !r;
    if (!r)
        r = block_write(b->file, 60, fields, sizeof fields, 0);
    if (!r)
        r = q2_sync(b);
    g_byte_array_free(t, TRUE);
    if (r) {
        if (got && !*named)
            q2_ref_add(b, at >> q->cluster_bits, got, -1);
        return r;
    }
    q->snapshots_at = at;
    q->snapshots_bytes = bytes;
    if (old_bytes)
        q2_free_later(b, old_at, q2_clusters(q, old_bytes));
    return 0;
}

/* Adds delta to the refcounts of the clusters that bytes [at, at + len) touch; *steps as below. */
static int count(Block *b, uint64_t at, uint64_t len, int delta, uint64_t most, uint64_t *steps)
{
    Qcow2 *q = b->state;
    for (uint64_t c = at >> q->cluster_bits, last = (at + len - 1) >> q->cluster_bits; c <= last && *steps < most; c++) {
        int r = q2_ref_add(b, c, 1, delta);
        if (r)
            return r;
        ++*steps;
    }
    return 0;
}

/* Adds delta to the refcount of each L2 table and cluster that an L1 table reaches, the first `most` of them; *steps: of how
 * many, also if it fails.  So count_tree(…, -delta, *steps, …) undoes it. */
static int count_tree(Block *b, const uint64_t *l1, uint32_t l1_size, int delta, uint64_t most, uint64_t *steps)
{
    Qcow2 *q = b->state;
    *steps = 0;
    for (uint32_t i = 0; i < l1_size && *steps < most; i++) {
        uint64_t l2_at = l1[i] & Q2_OFFSET;
        if (!l2_at)
            continue;
        if (l2_at & (q->cluster_size - 1))
            return q2_damaged(b, "L2 table at %#" PRIx64, l2_at);
        int r = 0;
        for (unsigned k = 0; k < BIT(q->l2_bits) && !r; k++) {
            Q2Table *t;
            r = q2_table_get(b, &q->l2, l2_at, false, &t);
            if (r)
                return r;
            uint64_t e = q2_entry(q, t, k), at = e & Q2_OFFSET, len = 1;
            if (e & Q2_COMPRESSED)
                q2_compressed_range(q, e, &at, &len);
            if (e & (Q2_COMPRESSED | Q2_OFFSET))
                r = count(b, at, len, delta, most, steps);
        }
        if (!r)
            r = count(b, l2_at, 1, delta, most, steps);
        if (r)
            return r;
    }
    return 0;
}

/* COPIED flags of the active tables, after the refcounts. */
static int set_copied(Block *b)
{
    Qcow2 *q = b->state;
    for (uint32_t i = 0; i < q->l1_size; i++) {
        uint64_t l2_at = q->l1[i] & Q2_OFFSET, count;
        if (!l2_at)
            continue;
        int r = q2_ref_get(b, l2_at >> q->cluster_bits, &count);
        if (r)
            return r;
        uint64_t entry = l2_at | (count == 1 ? Q2_COPIED : 0);
        if (entry != q->l1[i]) {
            q->l1[i] = entry;
            q->l1_dirty_from = q->l1_dirty_from < q->l1_dirty_to ? MIN(q->l1_dirty_from, i) : i;
            q->l1_dirty_to = MAX(q->l1_dirty_to, i + 1);
        }
        for (unsigned k = 0; k < BIT(q->l2_bits); k++) {
            Q2Table *t;
            r = q2_table_get(b, &q->l2, l2_at, false, &t);
            if (r)
                return r;
            uint64_t e = q2_entry(q, t, k);
            if ((e & Q2_COMPRESSED) || !(e & Q2_OFFSET))
                continue;
            r = q2_ref_get(b, (e & Q2_OFFSET) >> q->cluster_bits, &count);
            if (r)
                return r;
            uint64_t now = (e & ~Q2_COPIED) | (count == 1 ? Q2_COPIED : 0);
            if (now != e)
                q2_entry_set(q, t, k, now, q2_bitmap(q, t, k));
        }
    }
    return 0;
}

static int read_l1(Block *b, const Q2Snapshot *s, uint32_t size, uint64_t **out)
{
    uint64_t *l1 = g_try_new0(uint64_t, MAX(size, s->l1_size) + 1);
    if (!l1)
        return -ENOMEM;
    int r = block_read(b->file, s->l1_at, l1, (size_t)s->l1_size * 8);
    for (uint32_t i = 0; i < s->l1_size; i++)
        l1[i] = GUINT64_FROM_BE(l1[i]);
    *out = l1;
    return r;
}

/* Of the file, for an L1 table of n entries that write_l1() makes. */
static uint64_t l1_clusters(Qcow2 *q, uint32_t n) { return MAX(q2_clusters(q, (uint64_t)n * 8), 1); }

/* A copy of a table of words at a new place, in the file. */
static int write_l1(Block *b, const uint64_t *l1, uint32_t n, uint64_t keep, uint64_t *at)
{
    Qcow2 *q = b->state;
    uint64_t got, clusters = l1_clusters(q, n);
    int r = q2_alloc(b, clusters, true, at, &got);
    if (r)
        return r;
    q->fresh = MAX(q->fresh, *at + (clusters << q->cluster_bits));
    g_autofree uint8_t *raw = g_try_malloc0(clusters << q->cluster_bits);
    if (!raw)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        store_be64(raw + (size_t)i * 8, l1[i] & keep);
    return block_write(b->file, *at, raw, clusters << q->cluster_bits, 0);
}

/* One that write_l1() has begun and that nothing names; at 0: it has not. */
static void free_l1(Block *b, uint64_t at, uint32_t n)
{
    Qcow2 *q = b->state;
    if (at)
        q2_ref_add(b, at >> q->cluster_bits, l1_clusters(q, n), -1);
}

static Q2Snapshot *find_by(Qcow2 *q, bool by_name, const char *name, unsigned *index)
{
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        Q2Snapshot *s = q->snapshots->pdata[i];
        if (!strcmp(by_name ? s->name : s->id, name)) {
            *index = i;
            return s;
        }
    }
    return NULL;
}

static Q2Snapshot *find(Qcow2 *q, const char *name, unsigned *index)
{
    Q2Snapshot *s = find_by(q, false, name, index);         /* ids go first, as they are unique */
    return s ? s : find_by(q, true, name, index);
}

static bool may_have_snapshots(Block *b, GError **err)
{
    return b->data ? fail(err, "%s: images with a data file have no internal snapshots", b->filename) : true;
}

static bool create(Block *b, const char *name, GError **err)
{
    Qcow2 *q = b->state;
    if (!may_have_snapshots(b, err))
        return false;
    if (strlen(name) > 255)
        return fail(err, "the snapshot's name is longer than 255 bytes");
    if (q->snapshots->len >= Q2_MAX_SNAPSHOTS)
        return fail(err, "%s has %u snapshots, more than which there cannot be", b->filename, q->snapshots->len);
    unsigned long highest = 0;
    for (unsigned i = 0; i < q->snapshots->len; i++)
        highest = MAX(highest, strtoul(((Q2Snapshot *)q->snapshots->pdata[i])->id, NULL, 10));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    Q2Snapshot *s = g_new0(Q2Snapshot, 1);
    *s = (Q2Snapshot){ .l1_size = q->l1_size, .date_s = (uint32_t)now.tv_sec, .date_ns = (uint32_t)now.tv_nsec,
                       .disk_size = b->length, .id = g_strdup_printf("%lu", highest + 1), .name = g_strdup(name) };
    co_mutex_lock(&q->lock);
    uint64_t steps;
    bool named = false;
    int r = count_tree(b, q->l1, q->l1_size, 1, UINT64_MAX, &steps);
    if (!r)
        r = set_copied(b);          /* they are shared from now on */
    if (!r)
        r = write_l1(b, q->l1, q->l1_size, Q2_OFFSET, &s->l1_at);
    if (!r) {
        g_ptr_array_add(q->snapshots, s);
        r = write_table(b, q->snapshots, &named);
        if (r)
            g_ptr_array_steal_index(q->snapshots, q->snapshots->len - 1);
    }
    if (r && !named && !(q->incompat & Q2_INCOMPAT_CORRUPT)) {
        count_tree(b, q->l1, q->l1_size, -1, steps, &steps);
        free_l1(b, s->l1_at, q->l1_size);
        set_copied(b);
    }
    co_mutex_unlock(&q->lock);
    if (!r)
        return true;
    snapshot_free(s);
    return r == -ERANGE ? fail(err, "%s: refcounts of %u bits do not count this many snapshots", b->filename, 1u << q->refcount_order)
                        : fail_errno(err, -r, "cannot make a snapshot of %s", b->filename);
}

static bool apply(Block *b, const char *name, GError **err)
{
    Qcow2 *q = b->state;
    unsigned i;
    Q2Snapshot *s = find(q, name, &i);
    if (!s)
        return fail(err, "%s has no snapshot '%s'", b->filename, name);
    /* The disk had another size: the L1 table must be large enough for it. */
    uint64_t needed = (s->disk_size + BIT(q->cluster_bits + q->l2_bits) - 1) >> (q->cluster_bits + q->l2_bits);
    if (needed > Q2_MAX_L1_BYTES / 8)
        return fail(err, "snapshot '%s' has a disk of %" PRIu64 " bytes", name, s->disk_size);
    uint32_t size = MAX(MAX((uint32_t)needed, s->l1_size), 1);
    uint64_t *l1 = NULL, at = 0, *old = q->l1, old_at = q->l1_at;
    uint32_t old_size = q->l1_size;
    co_mutex_lock(&q->lock);
    uint64_t steps = 0;
    int r = read_l1(b, s, size, &l1);
    if (!r)
        r = count_tree(b, l1, s->l1_size, 1, UINT64_MAX, &steps);
    if (!r)
        r = write_l1(b, l1, size, Q2_OFFSET, &at);
    if (!r)
        r = q2_commit(b, true);
    if (!r)
        r = q2_sync(b);
    uint8_t h[24];          /* size, crypt_method, l1_size, l1_table_offset */
    if (!r)
        r = block_read(b->file, 24, h, sizeof h);
    store_be64(h, s->disk_size);
    store_be32(h + 12, size);
    store_be64(h + 16, at);
    bool named = !r;        /* the header may do so in the file even if this fails */
    if (!r)
        r = block_write(b->file, 24, h, sizeof h, 0);
    if (!r)
        r = q2_sync(b);
    if (r && !named && !(q->incompat & Q2_INCOMPAT_CORRUPT)) {
        count_tree(b, l1, s->l1_size, -1, steps, &steps);
        free_l1(b, at, size);
    }
    if (r) {
        g_free(l1);
        co_mutex_unlock(&q->lock);
        return fail_errno(err, -r, "cannot go back to snapshot '%s'", name);
    }
    q->l1 = l1;
    q->l1_at = at;
    q->l1_size = size;
    q->l1_dirty_from = q->l1_dirty_to = 0;
    for (uint32_t k = 0; k < size; k++)
        q->l1[k] &= Q2_OFFSET;
    b->length = s->disk_size;
    r = count_tree(b, old, old_size, -1, UINT64_MAX, &steps);
    if (!r)
        q2_free_later(b, old_at, q2_clusters(q, (uint64_t)old_size * 8));
    if (!r)
        r = q2_commit(b, true);
    if (!r)
        r = set_copied(b);
    co_mutex_unlock(&q->lock);
    g_free(old);
    q->unpacked_entry = 0;
    return r ? fail_errno(err, -r, "snapshot '%s' is in place, but the state before it is not freed", name) : true;
}

static bool delete(Block *b, const char *name, GError **err)
{
    Qcow2 *q = b->state;
    unsigned i = 0;
    /* Not by its id: who deletes "2" does not mean the second one of another name. */
    Q2Snapshot *s = find_by(q, true, name, &i);
    if (!s)
        return fail(err, "%s has no snapshot of the name '%s'", b->filename, name);
    uint64_t *l1 = NULL, steps;
    bool named;
    co_mutex_lock(&q->lock);
    int r = read_l1(b, s, 0, &l1);
    if (!r) {
        g_ptr_array_steal_index(q->snapshots, i);
        r = write_table(b, q->snapshots, &named);
        if (r)
            g_ptr_array_insert(q->snapshots, (gint)i, s);
    }
    if (!r) {
        r = count_tree(b, l1, s->l1_size, -1, UINT64_MAX, &steps);
        q2_free_later(b, s->l1_at, l1_clusters(q, s->l1_size));
        snapshot_free(s);
        if (!r)
            r = q2_commit(b, true);
        if (!r)
            r = set_copied(b);
    }
    co_mutex_unlock(&q->lock);
    g_free(l1);
    q->unpacked_entry = 0;
    return r ? fail_errno(err, -r, "cannot delete snapshot '%s'", name) : true;
}

/* The node, opened read-only, shows the snapshot instead of the disk. */
static bool show(Block *b, const char *name, GError **err)
{
    Qcow2 *q = b->state;
    unsigned i;
    uint64_t *l1;
    Q2Snapshot *s = find(q, name, &i);
    if (!s)
        return fail(err, "%s has no snapshot '%s'", b->filename, name);
    uint64_t needed = (s->disk_size + BIT(q->cluster_bits + q->l2_bits) - 1) >> (q->cluster_bits + q->l2_bits);
    if (needed > s->l1_size)
        return fail(err, "the L1 table of snapshot '%s' is too short for its disk", name);
    int r = read_l1(b, s, 0, &l1);
    if (r) {
        g_free(l1);
        return fail_errno(err, -r, "cannot read snapshot '%s'", name);
    }
    g_free(q->l1);
    q->l1 = l1;
    q->l1_size = s->l1_size;
    b->length = s->disk_size;
    return true;
}

const BlockSnapshots q2_snapshot_ops = {
    .co_show = show,
    .co_list = list_snapshots, .co_create = create, .co_apply = apply, .co_delete = delete,
};
