/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: the header and its extensions; opening, closing, resizing; what "info" tells. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/qcow2_int.h"
#include "util/options.h"

enum { V2_HEADER = 72, V3_HEADER = 104, MAX_HEADER = 2 << 20, DEFAULT_L2_CACHE = 32 << 20, ONCE_CACHE = 2 << 20 };

static int qcow2_probe(const uint8_t *head, size_t n)
{
    if (n < V2_HEADER || load_be32(head) != Q2_MAGIC)
        return 0;
    uint32_t version = load_be32(head + 4);
    return version == 2 || version == 3 ? 100 : 0;
}

/* A table in the file: aligned, within it, not over the header. */
static bool table_fits(Block *b, const char *what, uint64_t at, uint64_t bytes, GError **err)
{
    Qcow2 *q = b->state;
    if (!bytes)
        return true;
    if (at & (q->cluster_size - 1))
        return fail(err, "%s is not at a cluster boundary (%#" PRIx64 ")", what, at);
    if (at < q->cluster_size)
        return fail(err, "%s lies over the header", what);
    if (at > b->file->length || bytes > b->file->length - at)
        return fail(err, "%s ends beyond the file", what);
    return true;
}

static bool read_at(Block *b, const char *what, uint64_t at, void *buf, uint64_t len, GError **err)
{
    int r = block_read(b->file, at, buf, len);
    return r ? fail_errno(err, -r, "cannot read %s", what) : true;
}

static bool load_words(Block *b, const char *what, uint64_t at, uint64_t n, uint64_t **out, GError **err)
{
    if (!table_fits(b, what, at, n * 8, err))
        return false;
    *out = g_try_new0(uint64_t, n + 1);
    if (!*out)
        return fail(err, "no memory for %s", what);
    if (n && !read_at(b, what, at, *out, n * 8, err))
        return false;
    for (uint64_t i = 0; i < n; i++)
        (*out)[i] = GUINT64_FROM_BE((*out)[i]);
    return true;
}

static void extension_free(void *p)
{
    Q2Extension *e = p;
    g_free(e->data);
    g_free(e);
}

static char *feature_name(Qcow2 *q, unsigned bit)
{
    for (unsigned i = 0; i < q->extensions->len; i++) {
        Q2Extension *e = q->extensions->pdata[i];
        for (uint32_t at = 0; e->type == Q2_EXT_FEATURES && at + 48 <= e->len; at += 48)
            if (e->data[at] == 0 && e->data[at + 1] == bit)
                return g_strndup((char *)e->data + at + 2, 46);
    }
    return g_strdup_printf("bit %u", bit);
}

static bool read_extensions(Block *b, const uint8_t *head, uint64_t len, uint64_t from, GError **err)
{
    Qcow2 *q = b->state;
    while (from + 8 <= len) {
        uint32_t type = load_be32(head + from), n = load_be32(head + from + 4);
        from += 8;
        if (!type)
            break;
        if (n > len - from)
            return fail(err, "header extension %#x is longer than the header's cluster", type);
        const char *text = (const char *)head + from;
        switch (type) {
        case Q2_EXT_BACKING_FORMAT:
            if (n > 64)
                return fail(err, "the backing format's name has %u characters", n);
            g_free(b->backing_format);
            b->backing_format = g_strndup(text, n);
            break;
        case Q2_EXT_DATA_FILE:
            g_free(q->data_file_name);
            q->data_file_name = g_strndup(text, n);
            break;
        case Q2_EXT_BITMAPS:
            if (!q2_bitmaps_extension(b, head + from, n, from, err))
                return false;
            break;
        default: {
            Q2Extension *e = g_new(Q2Extension, 1);
            *e = (Q2Extension){ type, n, g_memdup2(head + from, n) };
            g_ptr_array_add(q->extensions, e);
        } }
        from += align_up(n, 8);
    }
    return true;
}

static bool read_header(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    uint8_t h[112] = { 0 };
    q->extensions = g_ptr_array_new_with_free_func(extension_free);
    if (!read_at(b, "the header", 0, h, MIN(sizeof h, b->file->length), err))
        return false;
    if (load_be32(h) != Q2_MAGIC)
        return fail(err, "not a qcow2 image");
    q->version = load_be32(h + 4);
    if (q->version != 2 && q->version != 3)
        return fail(err, "qcow2 version %u is unknown", q->version);
    q->cluster_bits = load_be32(h + 20);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return fail(err, "cluster size 2^%u is outside 2^9..2^21", q->cluster_bits);
    q->cluster_size = BIT(q->cluster_bits);
    q->refcount_order = 4;
    q->header_length = V2_HEADER;
    if (q->version >= 3) {
        q->incompat = load_be64(h + 72);
        q->compat = load_be64(h + 80);
        q->autoclear = load_be64(h + 88);
        q->refcount_order = load_be32(h + 96);
        q->header_length = load_be32(h + 100);
        if (q->header_length < V3_HEADER || q->header_length > q->cluster_size || q->header_length % 8)
            return fail(err, "a header of %u bytes", q->header_length);
        if (q->header_length > V3_HEADER)
            q->compression = h[104];
    }
    g_autofree uint8_t *head = g_malloc0(q->cluster_size);
    if (!read_at(b, "the header", 0, head, MIN(q->cluster_size, b->file->length), err) ||
        !read_extensions(b, head, q->cluster_size, q->header_length, err))
        return false;
    uint64_t unknown = q->incompat & ~(uint64_t)Q2_INCOMPAT_KNOWN;
    if (unknown) {
        g_autofree char *name = feature_name(q, bits_ctz(unknown));
        return fail(err, "the image needs a feature that is not known here: %s", name);
    }
    q->crypt_method = load_be32(h + 32);
    if (q->refcount_order > 6)
        return fail(err, "refcounts of 2^%u bits", q->refcount_order);
    if (!!(q->incompat & Q2_INCOMPAT_COMPRESSION) != (q->compression != 0) || q->compression > Q2_ZSTD)
        return fail(err, "compression type %u is unknown or contradicts the feature bits", q->compression);
    if ((q->incompat & Q2_INCOMPAT_CORRUPT) && (b->flags & BLOCK_RDWR) && !(b->flags & BLOCK_CHECK))
        return fail(err, "the image is marked corrupt: it can be read, and repaired by 'rhea-img check -r all'");
    q->extended = q->incompat & Q2_INCOMPAT_EXTENDED_L2;
    if (q->extended && q->cluster_bits < 14)
        return fail(err, "extended L2 entries with clusters of 2^%u bytes", q->cluster_bits);
    q->n_sc = q->extended ? 32 : 1;
    q->sc_bits = q->cluster_bits - (q->extended ? 5 : 0);
    q->l2_bits = q->cluster_bits - (q->extended ? 4 : 3);
    q->rb_bits = q->cluster_bits + 3 - q->refcount_order;

    b->length = load_be64(h + 24);
    q->l1_size = load_be32(h + 36);
    q->l1_at = load_be64(h + 40);
    q->rt_at = load_be64(h + 48);
    uint64_t rt_bytes = (uint64_t)load_be32(h + 56) << q->cluster_bits;
    uint64_t l1_needed = b->length > INT64_MAX ? UINT64_MAX : (b->length + BIT(q->cluster_bits + q->l2_bits) - 1) >> (q->cluster_bits + q->l2_bits);
    if (l1_needed > Q2_MAX_L1_BYTES / 8 || q->l1_size > Q2_MAX_L1_BYTES / 8)
        return fail(err, "a disk of %" PRIu64 " bytes and an L1 table of %u entries: too large", b->length, q->l1_size);
    if (q->l1_size < l1_needed)
        return fail(err, "the L1 table has %u entries, %" PRIu64 " are needed", q->l1_size, l1_needed);
    if (!rt_bytes || rt_bytes > Q2_MAX_RT_BYTES)
        return fail(err, "a refcount table of %" PRIu64 " bytes", rt_bytes);
    q->rt_size = (uint32_t)(rt_bytes / 8);
    if (!load_words(b, "the L1 table", q->l1_at, q->l1_size, &q->l1, err) ||
        !load_words(b, "the refcount table", q->rt_at, q->rt_size, &q->rt, err))
        return false;

    uint64_t name_at = load_be64(h + 8);
    uint32_t name_len = load_be32(h + 16);
    if (name_at) {
        if (name_len > 1023 || name_at > q->cluster_size || name_len > q->cluster_size - name_at)
            return fail(err, "the backing file's name (%u bytes at %" PRIu64 ") is not in the first cluster", name_len, name_at);
        if (name_len)
            b->backing_name = g_strndup((char *)head + name_at, name_len);
    }
    return true;
}

static bool open_data_file(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    Json *given = json_get(b->options, "data-file");
    if (!(q->incompat & Q2_INCOMPAT_DATA_FILE)) {
        if (given)
            return fail(err, "the image has no data file");
        return true;
    }
    /* Whoever wants to know about the image only does not follow names in it. */
    if (!given && (b->flags & BLOCK_NO_IO) && (b->flags & BLOCK_NO_BACKING))
        return true;
    if (!given) {
        if (!q->data_file_name)
            return fail(err, "the image does not name its data file; give data-file.filename=");
        if (!b->trusted_format)
            return fail(err, "the image names a data file, but its own format was only guessed");
        g_autofree char *path = block_path_beside(b->filename, q->data_file_name);
        Json *o = json_object();
        json_set(o, "driver", json_string("file"));
        json_set(o, "filename", json_string(path));
        json_set(b->options, "data-file", o);
    }
    b->data = block_open_child(b, "data-file", (b->flags & (BLOCK_RDWR | BLOCK_UNMAP)) | BLOCK_PROTOCOL, true, err);
    return b->data;
}

static bool repair_after_crash(Block *b, GError **err)
{
    BlockCheck result = { .messages = g_ptr_array_new_with_free_func(g_free) };
    int r = q2_check(b, CHECK_FIX_LEAKS | CHECK_FIX_ERRORS, &result, err);
    bool ok = !r && !(result.corruptions - result.corruptions_fixed) && !result.check_errors;
    block_check_clear(&result);
    if (!ok && !*err)
        return fail(err, "the image was not closed properly and could not be repaired");
    return ok;
}

static bool begin_writing(Block *b, GError **err);

static bool qcow2_open(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    GError *why = NULL;
    uint64_t l2_cache = b->flags & BLOCK_ONCE ? ONCE_CACHE : DEFAULT_L2_CACHE;
    uint64_t rb_cache = b->flags & BLOCK_ONCE ? ONCE_CACHE : DEFAULT_L2_CACHE / 4, total = 0, ignored = 0;
    bool lazy = false, discard_freed = true;
    q->to_free = g_array_new(FALSE, FALSE, sizeof(Q2Free));
    if (!block_opt_size(b->options, "l2-cache-size", &l2_cache, err) ||
        !block_opt_size(b->options, "refcount-cache-size", &rb_cache, err) ||
        !block_opt_size(b->options, "cache-size", &total, err) ||
        !block_opt_size(b->options, "l2-cache-entry-size", &ignored, err) ||
        !block_opt_u64(b->options, "cache-clean-interval", UINT32_MAX, &ignored, err) ||
        !block_opt_bool(b->options, "pass-discard-request", &discard_freed, err) ||
        !block_opt_bool(b->options, "pass-discard-snapshot", &discard_freed, err) ||
        !block_opt_bool(b->options, "pass-discard-other", &discard_freed, err))
        return false;
    if (total) {
        l2_cache = total / 5 * 4;
        rb_cache = total / 5;
    }
    if (!read_header(b, err) || !q2_snapshots_load(b, &why) || !q2_crypt_open(b, &why)) {
        if (why)
            g_propagate_error(err, why);
        return fail_prefix(err, "%s: ", b->filename);
    }
    lazy = q->compat & Q2_COMPAT_LAZY;
    if (!block_opt_bool(b->options, "lazy-refcounts", &lazy, err))
        return false;
    if (lazy && q->version < 3)
        return fail(err, "%s: lazy refcounts need qcow2 version 3", b->filename);
    q->compat = lazy ? q->compat | Q2_COMPAT_LAZY : q->compat & ~(uint64_t)Q2_COMPAT_LAZY;
    q2_cache_init(q, &q->l2, MIN(l2_cache, MAX(b->length >> (q->l2_bits ? q->l2_bits : 1), 1 << 20)));
    q2_cache_init(q, &q->rb, rb_cache);
    q->fresh = b->file->length;
    q->discard_freed = discard_freed;
    q->header_ok = true;
    if (!open_data_file(b, err) || (!(b->flags & BLOCK_CHECK) && !q2_bitmaps_load(b, err)))
        return fail_prefix(err, "%s: ", b->filename);
    return !(b->flags & BLOCK_RDWR) || (b->flags & BLOCK_CHECK) || begin_writing(b, err);
}

/* What a node that may write must do first. */
static bool begin_writing(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    GError *why = NULL;
    if (q->incompat & Q2_INCOMPAT_CORRUPT)
        return fail(err, "%s is marked corrupt", b->filename);
    if (q->incompat & Q2_INCOMPAT_DIRTY) {
        if (!repair_after_crash(b, &why)) {
            g_propagate_error(err, why);
            return fail_prefix(err, "%s: ", b->filename);
        }
    }
    /* Features that we do not know are told to be out of date. */
    uint64_t keep = q->autoclear & (Q2_AUTOCLEAR_DATA_RAW | Q2_AUTOCLEAR_BITMAPS);
    if (q->version >= 3 && q->autoclear != keep) {
        uint8_t word[8];
        store_be64(word, keep);
        int r = block_write(b->file, 88, word, sizeof word, 0);
        if (r)
            return fail_errno(err, -r, "%s: cannot write the header", b->filename);
        q->autoclear = keep;
    }
    int r = q2_bitmaps_in_use(b);
    return r ? fail_errno(err, -r, "%s: cannot write the bitmap directory", b->filename) : true;
}

static int qcow2_flush(Block *b)
{
    Qcow2 *q = b->state;
    co_mutex_lock(&q->lock);
    int r = q2_commit(b, false);
    co_mutex_unlock(&q->lock);
    return r;
}

static int qcow2_close(Block *b)
{
    Qcow2 *q = b->state;
    int r = 0;
    if (b->opened && (b->flags & BLOCK_RDWR)) {
        co_mutex_lock(&q->lock);
        r = q2_bitmaps_store(b);
        /* Twice: what the first one lets go changes refcounts. */
        for (int i = 0; i < 2; i++) {
            int commit_result = q2_commit(b, true);
            if (!r)
                r = commit_result;
        }
        if (!r && (q->incompat & Q2_INCOMPAT_DIRTY) && !(b->flags & BLOCK_CHECK)) {
            r = q2_sync(b);
            if (!r)
                r = q2_unmark(b, Q2_INCOMPAT_DIRTY);
        }
        co_mutex_unlock(&q->lock);
        /* Whole clusters, for readers that have no zeros behind the end (NBD, web servers). */
        GError *err = NULL;
        if (!r && b->file->growable && b->file->length % q->cluster_size &&
            !block_resize(b->file, align_up(b->file->length, q->cluster_size), PREALLOC_OFF, &err)) {
            g_error_free(err);
            r = -EIO;
        }
        if (!r)
            r = q2_sync(b);
    }
    q2_bitmaps_free(b);
    q2_cache_free(&q->l2);
    q2_cache_free(&q->rb);
    if (q->snapshots)
        g_ptr_array_free(q->snapshots, TRUE);
    if (q->extensions)
        g_ptr_array_free(q->extensions, TRUE);
    q2_crypt_close(q);
    if (q->to_free)
        g_array_free(q->to_free, TRUE);
    g_free(q->l1);
    g_free(q->rt);
    g_free(q->data_file_name);
    free(q->unpacked);
    return r;
}

static bool qcow2_reopen(Block *b, GError **err)
{
    if (b->flags & BLOCK_RDWR)
        return begin_writing(b, err);
    Qcow2 *q = b->state;
    co_mutex_lock(&q->lock);
    int r = q2_bitmaps_store(b);
    if (!r)
        r = q2_commit(b, true);
    if (!r)
        r = q2_sync(b);
    co_mutex_unlock(&q->lock);
    return r ? fail_errno(err, -r, "%s: cannot write the bitmaps", b->filename) : true;
}

/* After a commit: each cluster is let go. */
static int qcow2_empty(Block *b)
{
    Qcow2 *q = b->state;
    int r = 0;
    co_mutex_lock(&q->lock);
    for (uint64_t i = 0; i < q->l1_size && !r; i++) {
        Q2Table *t;
        uint64_t guest = i << (q->cluster_bits + q->l2_bits), l2_at = q->l1[i] & Q2_OFFSET;
        if (!l2_at)
            continue;
        r = q2_l2_for(b, guest, &t);        /* a table of its own, if it was shared */
        for (unsigned k = 0; k < BIT(q->l2_bits) && !r; k++) {
            uint64_t e = q2_entry(q, t, k);
            if (!e && !q2_bitmap(q, t, k))
                continue;
            q2_entry_set(q, t, k, 0, 0);
            if (!b->data)
                r = q2_free_entry_later(b, e);
            if (!r)
                r = q2_l2_for(b, guest, &t);
        }
    }
    if (!r)
        r = q2_commit(b, true);
    co_mutex_unlock(&q->lock);
    return r;
}

static void put_extension(GByteArray *h, uint32_t type, const void *data, uint32_t len)
{
    uint8_t head[8], pad[8] = { 0 };
    store_be32(head, type);
    store_be32(head + 4, len);
    g_byte_array_append(h, head, 8);
    g_byte_array_append(h, data, len);
    g_byte_array_append(h, pad, (guint)(align_up(len, 8) - len));
}

int q2_header_write(Block *b)
{
    Qcow2 *q = b->state;
    g_autofree uint8_t *cluster = g_malloc0(q->cluster_size);
    GByteArray *h = g_byte_array_new();
    /* The fixed part as the file has it: unknown fields are kept. */
    int r = block_read(b->file, 0, cluster, q->cluster_size);
    g_byte_array_append(h, cluster, MIN(q->header_length, load_be32(cluster + 4) >= 3 ? q->header_length : V2_HEADER));
    if (h->len < q->header_length) {        /* version 2 so far */
        uint8_t more[V3_HEADER - V2_HEADER] = { 0 };
        store_be32(more + 24, q->refcount_order);
        store_be32(more + 28, V3_HEADER);
        g_byte_array_append(h, more, sizeof more);
    }
    uint8_t *p = h->data;
    store_be32(p + 4, q->version);
    store_be64(p + 24, b->length);
    store_be32(p + 32, q->crypt_method);
    store_be32(p + 36, q->l1_size);
    store_be64(p + 40, q->l1_at);
    if (q->version >= 3) {
        store_be64(p + 72, q->incompat);
        store_be64(p + 80, q->compat);
        store_be64(p + 88, q->autoclear);
    }
    if (b->backing_format)
        put_extension(h, Q2_EXT_BACKING_FORMAT, b->backing_format, (uint32_t)strlen(b->backing_format));
    if (q->data_file_name)
        put_extension(h, Q2_EXT_DATA_FILE, q->data_file_name, (uint32_t)strlen(q->data_file_name));
    uint64_t bitmaps_at = 0;
    if (q->n_bitmaps) {
        uint8_t data[24];
        bitmaps_at = h->len + 8;
        q2_bitmaps_extension_put(b, data);
        put_extension(h, Q2_EXT_BITMAPS, data, sizeof data);
    }
    for (unsigned i = 0; i < q->extensions->len; i++) {
        Q2Extension *e = q->extensions->pdata[i];
        put_extension(h, e->type, e->data, e->len);
    }
    put_extension(h, 0, "", 0);
    size_t name_len = b->backing_name ? strlen(b->backing_name) : 0;
    store_be64(h->data + 8, name_len ? h->len : 0);
    store_be32(h->data + 16, (uint32_t)name_len);
    if (name_len)
        g_byte_array_append(h, (uint8_t *)b->backing_name, (guint)name_len);
    if (!r && h->len > q->cluster_size)
        r = -ENOSPC;
    if (!r) {
        memset(cluster, 0, q->cluster_size);
        memcpy(cluster, h->data, h->len);
        r = block_write(b->file, 0, cluster, q->cluster_size, 0);
    }
    if (!r)
        q->bitmaps_extension_at = bitmaps_at;
    g_byte_array_free(h, TRUE);
    if (!r)
        r = block_flush(b->file);
    return r;
}

/* An L1 table for `size` bytes, at a new place if it must grow. */
static bool grow_l1(Block *b, uint64_t size, GError **err)
{
    Qcow2 *q = b->state;
    unsigned shift = q->cluster_bits + q->l2_bits;
    uint64_t needed = (size >> shift) + ((size & bits_mask(shift)) != 0), at, got;
    if (needed > Q2_MAX_L1_BYTES / 8)
        return fail(err, "%" PRIu64 " bytes are too many for clusters of %" PRIu64 " bytes", size, q->cluster_size);
    if (needed <= q->l1_size)
        return true;
    uint64_t clusters = q2_clusters(q, needed * 8);
    int r = q2_alloc(b, clusters, true, &at, &got);
    uint64_t *l1 = g_try_new0(uint64_t, needed + 1);
    uint8_t *raw = g_try_malloc0(clusters << q->cluster_bits);
    if (!r && (!l1 || !raw))
        r = -ENOMEM;
    if (!r) {
        q->fresh = MAX(q->fresh, at + (clusters << q->cluster_bits));
        r = q2_commit(b, true);
    }
    if (!r) {
        memcpy(l1, q->l1, (size_t)q->l1_size * 8);
        for (uint32_t i = 0; i < q->l1_size; i++)
            store_be64(raw + (size_t)i * 8, l1[i]);
        r = block_write(b->file, at, raw, clusters << q->cluster_bits, 0);
    }
    if (!r)
        r = q2_sync(b);
    uint8_t fields[12];
    store_be32(fields, (uint32_t)needed);
    store_be64(fields + 4, at);
    if (!r)
        r = block_write(b->file, 36, fields, sizeof fields, 0);
    if (!r)
        r = q2_sync(b);
    g_free(raw);
    if (r) {
        g_free(l1);
        return fail_errno(err, -r, "cannot move the L1 table");
    }
    q2_free_later(b, q->l1_at, q2_clusters(q, (uint64_t)q->l1_size * 8));
    g_free(q->l1);
    q->l1 = l1;
    q->l1_size = (uint32_t)needed;
    q->l1_at = at;
    return true;
}

int q2_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    Qcow2 *q = b->state;
    uint64_t old = b->length;
    if (how != PREALLOC_OFF && b->backing) {
        fail(err, "preallocation goes not with a backing file");
        return -ENOTSUP;
    }
    if (q->crypt_method && len % CRYPT_SECTOR) {
        fail(err, "an encrypted disk is whole sectors of %d bytes", CRYPT_SECTOR);
        return -EINVAL;
    }
    if (q->crypt_method && how != PREALLOC_OFF && q->version < 3) {
        fail(err, "preallocation of an encrypted disk needs compat=1.1");
        return -ENOTSUP;
    }
    if (len < old) {
        /* Clusters first, then the length: a crash between leaves zeros at the end, which are to go anyway. */
        uint64_t from = align_up(len, q->cluster_size);
        int r = from < old ? q2_discard(b, from, old - from) : 0;
        if (r)
            return r;
    }
    co_mutex_lock(&q->lock);
    bool ok = grow_l1(b, len, err);
    int r = ok ? q2_commit(b, true) : -EIO;
    if (!r)
        r = q2_sync(b);
    uint8_t size[8];
    store_be64(size, len);
    if (!r)
        r = block_write(b->file, 24, size, sizeof size, 0);
    if (!r)
        b->length = len;
    co_mutex_unlock(&q->lock);
    /* The last cluster's rest may hold anything, and a longer backing file would shine through. */
    if (!r && len > old && (old & (q->cluster_size - 1)))
        r = q2_zero(b, old, MIN(align_up(old, q->cluster_size), len) - old, 0);
    if (!r && len > old && b->backing && b->backing->length > old)
        r = q2_zero(b, old, MIN(align_up(b->backing->length, CRYPT_SECTOR), len) - old, 0);
    if (r == -ENOTSUP)
        fail(err, "version 2 images cannot hide a longer backing file; amend to compat=1.1");
    if (!r && b->data && len > b->data->length)
        r = block_resize(b->data, len, how == PREALLOC_METADATA ? PREALLOC_OFF : how, err) ? 0 : -EIO;
    if (!r && how != PREALLOC_OFF && len > old)
        r = q2_preallocate(b, old, len, how);
    return r;
}

static int qcow2_info(Block *b, BlockInfo *out)
{
    Qcow2 *q = b->state;
    out->granule = q->cluster_size;
    out->dirty = q->incompat & Q2_INCOMPAT_DIRTY;
    out->has_dirty = true;
    out->corrupt = q->incompat & Q2_INCOMPAT_CORRUPT;
    out->can_compress = !b->data && !q->crypt_method;
    out->encrypted = q->crypt_method;
    Json *data = json_object();
    json_set(data, "compat", json_string(q->version >= 3 ? "1.1" : "0.10"));
    json_set(data, "compression-type", json_string(q->compression == Q2_ZSTD ? "zstd" : "zlib"));
    if (q->version >= 3) {
        json_set(data, "lazy-refcounts", json_bool(q->compat & Q2_COMPAT_LAZY));
        Json *bitmaps = q2_bitmaps_info(b);
        if (bitmaps)
            json_set(data, "bitmaps", bitmaps);
        json_set(data, "refcount-bits", json_int(1 << q->refcount_order));
        if ((q->incompat & Q2_INCOMPAT_DATA_FILE) && q->data_file_name)
            json_set(data, "data-file", json_string(q->data_file_name));
        if (q->crypt_method)
            q2_crypt_info(b, data);
        if (q->incompat & Q2_INCOMPAT_DATA_FILE)
            json_set(data, "data-file-raw", json_bool(q->autoclear & Q2_AUTOCLEAR_DATA_RAW));
        json_set(data, "corrupt", json_bool(q->incompat & Q2_INCOMPAT_CORRUPT));
        json_set(data, "extended-l2", json_bool(q->extended));
    } else {
        json_set(data, "refcount-bits", json_int(16));
        if (q->crypt_method)
            q2_crypt_info(b, data);
    }
    out->specific = json_object();
    json_set(out->specific, "type", json_string("qcow2"));
    json_set(out->specific, "data", data);
    return 0;
}

const BlockDriver block_qcow2_driver = {
    .name = "qcow2", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Qcow2), .probe = qcow2_probe,
    .co_open = qcow2_open, .co_close = qcow2_close, .co_read = q2_read, .co_write = q2_write, .co_flush = qcow2_flush,
    .co_write_compressed = q2_write_compressed, .co_zero = q2_zero, .co_discard = q2_discard, .co_resize = q2_resize,
    .co_map = q2_map, .co_info = qcow2_info, .co_empty = qcow2_empty, .co_reopen = qcow2_reopen,
    .may_persist = q2_bitmaps_may_persist,
    .snapshots = &q2_snapshot_ops, .maker = &q2_maker,
};
