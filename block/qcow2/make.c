/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: new images, their size in advance, changes to the header. */
#include <string.h>

#include "block/qcow2/qcow2_int.h"

typedef struct MakeOptions {
    uint64_t size, cluster_size, refcount_bits;
    unsigned version, compression;
    bool     lazy, extended, data_raw;
    const char *backing, *backing_format, *data_file;
    BlockPrealloc how;
    Q2CryptMake crypt;
} MakeOptions;

static bool parse_options(Json *o, MakeOptions *m, GError **err)
{
    const char *compat = "1.1", *prealloc = "off", *compression = "zlib";
    *m = (MakeOptions){ .cluster_size = 65536, .refcount_bits = 16 };
    if (!block_opt_string(o, "compat", &compat, err) || !block_opt_string(o, "preallocation", &prealloc, err) ||
        !block_opt_string(o, "compression_type", &compression, err) || !block_opt_size(o, "size", &m->size, err) ||
        !block_opt_bool(o, "extended_l2", &m->extended, err))
        return false;
    if (m->extended)
        m->cluster_size = 65536;
    if (!block_opt_size(o, "cluster_size", &m->cluster_size, err) ||
        !block_opt_u64(o, "refcount_bits", 64, &m->refcount_bits, err) ||
        !block_opt_bool(o, "lazy_refcounts", &m->lazy, err) || !block_opt_bool(o, "data_file_raw", &m->data_raw, err) ||
        !block_opt_string(o, "backing_file", &m->backing, err) || !block_opt_string(o, "backing_fmt", &m->backing_format, err) ||
        !block_opt_string(o, "data_file", &m->data_file, err) || !block_parse_prealloc(prealloc, &m->how, err) ||
        !q2_crypt_options(o, &m->crypt, err))
        return false;
    m->size = align_up(m->size, 512);      /* others take a disk to be whole sectors */
    if (m->backing && !*m->backing)
        m->backing = NULL;
    if (!strcmp(compat, "1.1") || !strcmp(compat, "v3"))
        m->version = 3;
    else if (!strcmp(compat, "0.10") || !strcmp(compat, "v2"))
        m->version = 2;
    else
        return fail(err, "compat '%s' is neither 0.10 nor 1.1", compat);
    if (!strcmp(compression, "zstd"))
        m->compression = Q2_ZSTD;
    else if (strcmp(compression, "zlib"))
        return fail(err, "compression type '%s' is neither zlib nor zstd", compression);
    if (!is_pow2(m->cluster_size) || m->cluster_size < 512 || m->cluster_size > 2 << 20)
        return fail(err, "cluster size must be a power of two from 512 to 2M");
    if (!is_pow2(m->refcount_bits) || m->refcount_bits > 64)
        return fail(err, "refcount_bits must be a power of two up to 64");
    if (m->version < 3 && (m->refcount_bits != 16 || m->lazy || m->extended || m->compression || m->data_file))
        return fail(err, "refcount_bits other than 16, lazy_refcounts, extended_l2, zstd and data_file need compat=1.1");
    if (m->extended && m->cluster_size < 16384)
        return fail(err, "extended_l2 needs clusters of at least 16k");
    if (m->data_raw && !m->data_file)
        return fail(err, "data_file_raw needs data_file");
    if (m->data_raw && m->backing)
        return fail(err, "data_file_raw goes not with a backing file");
    if (m->backing && m->how != PREALLOC_OFF)
        return fail(err, "preallocation goes not with a backing file");
    if (m->backing && strlen(m->backing) > 1023)
        return fail(err, "the backing file's name is longer than 1023 bytes");
    if (m->crypt.on && m->data_raw)
        return fail(err, "data_file_raw goes not with encryption");
    if (m->crypt.on && m->how != PREALLOC_OFF && m->version < 3)
        return fail(err, "preallocation of an encrypted disk needs compat=1.1");
    if (!m->backing && m->backing_format)
        return fail(err, "backing_fmt without backing_file");
    return true;
}

static void put(GByteArray *h, uint64_t v, unsigned bytes)
{
    uint8_t p[8];
    store_be64(p, v);
    g_byte_array_append(h, p + 8 - bytes, bytes);
}

static void put_extension(GByteArray *h, uint32_t type, const void *data, size_t len)
{
    static const uint8_t pad[8];
    put(h, type, 4);
    put(h, len, 4);
    g_byte_array_append(h, data, (guint)len);
    g_byte_array_append(h, pad, (guint)(align_up(len, 8) - len));
}

/* So that programs that do not know a feature can name it. */
static void put_feature_names(GByteArray *h)
{
    static const struct { uint8_t kind, bit; char name[46]; } names[] = {
        { 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" }, { 0, 3, "compression type" },
        { 0, 4, "extended L2 entries" }, { 1, 0, "lazy refcounts" }, { 2, 0, "bitmaps" }, { 2, 1, "raw external data" },
    };
    put_extension(h, Q2_EXT_FEATURES, names, sizeof names);
}

static GByteArray *header(const MakeOptions *m, uint64_t size, uint64_t l1_size)
{
    GByteArray *h = g_byte_array_new();
    unsigned bits = bits_ctz(m->cluster_size);
    uint64_t incompat = (m->data_file ? Q2_INCOMPAT_DATA_FILE : 0) | (m->compression ? Q2_INCOMPAT_COMPRESSION : 0) |
                        (m->extended ? Q2_INCOMPAT_EXTENDED_L2 : 0);
    put(h, Q2_MAGIC, 4);
    put(h, m->version, 4);
    put(h, 0, 8);                       /* backing file: below */
    put(h, 0, 4);
    put(h, bits, 4);
    put(h, size, 8);
    put(h, 0, 4);
    put(h, l1_size, 4);
    put(h, 3 << bits, 8);
    put(h, 1 << bits, 8);
    put(h, 1, 4);
    put(h, 0, 4);
    put(h, 0, 8);
    if (m->version >= 3) {
        put(h, incompat, 8);
        put(h, m->lazy ? Q2_COMPAT_LAZY : 0, 8);
        put(h, m->data_raw ? Q2_AUTOCLEAR_DATA_RAW : 0, 8);
        put(h, bits_ctz(m->refcount_bits), 4);
        put(h, 112, 4);
        put(h, m->compression, 1);
        put(h, 0, 7);
    }
    if (m->backing_format)
        put_extension(h, Q2_EXT_BACKING_FORMAT, m->backing_format, strlen(m->backing_format));
    if (m->data_file)
        put_extension(h, Q2_EXT_DATA_FILE, m->data_file, strlen(m->data_file));
    if (m->version >= 3 && m->cluster_size >= 4096)
        put_feature_names(h);
    put_extension(h, 0, "", 0);
    if (m->backing) {
        store_be64(h->data + 8, h->len);
        store_be32(h->data + 16, (uint32_t)strlen(m->backing));
        g_byte_array_append(h, (const uint8_t *)m->backing, (guint)strlen(m->backing));
    }
    return h;
}

/* Header, refcount table, one refcount block, an L1 table that the block can count. */
static bool write_image(BlockGraph *g, const char *filename, const MakeOptions *m, uint64_t size, GError **err)
{
    unsigned bits = bits_ctz(m->cluster_size), l2_bits = bits - (m->extended ? 4 : 3);
    uint64_t l1_size = (size + BIT(bits + l2_bits) - 1) >> (bits + l2_bits);
    uint64_t clusters = 3 + MAX((l1_size * 8 + m->cluster_size - 1) >> bits, 1);
    Qcow2 shape = { .refcount_order = bits_ctz(m->refcount_bits) };
    GByteArray *h = header(m, size, MAX(l1_size, 1));
    if (h->len > m->cluster_size) {
        g_byte_array_free(h, TRUE);
        return fail(err, "the names do not fit in a header of %" PRIu64 " bytes", m->cluster_size);
    }
    g_autofree uint8_t *image = g_malloc0(clusters << bits);
    memcpy(image, h->data, h->len);
    g_byte_array_free(h, TRUE);
    store_be64(image + m->cluster_size, 2 << bits);
    for (uint64_t i = 0; i < clusters; i++)
        q2_ref_store(&shape, image + 2 * m->cluster_size, i, 1);
    Block *file = block_open(g, filename, NULL, BLOCK_RDWR | BLOCK_PROTOCOL, err);
    if (!file)
        return false;
    bool ok = true;
    if (file->length < clusters << bits)
        ok = file->growable || fail(err, "%s is too small", filename);
    int r = ok ? block_write(file, 0, image, clusters << bits, 0) : 0;
    int close_result = block_close(file);
    if (!r)
        r = close_result;
    return ok && r ? fail_errno(err, -r, "cannot write %s", filename) : ok;
}

static bool qcow2_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    MakeOptions m;
    if (!parse_options(options, &m, err))
        return false;
    if (m.crypt.on && !luks_make_ready(g, &m.crypt.luks, err))
        return fail_prefix(err, "encrypt: ");
    unsigned bits = bits_ctz(m.cluster_size), l2_bits = bits - (m.extended ? 4 : 3);
    if ((m.size >> (bits + l2_bits)) >= Q2_MAX_L1_BYTES / 8)
        return fail(err, "%" PRIu64 " bytes are too many for clusters of %" PRIu64 " bytes", m.size, m.cluster_size);
    uint64_t l1_clusters = (((m.size >> (bits + l2_bits)) + 1) * 8 >> bits) + 1;
    uint64_t counted = m.cluster_size * 8 / m.refcount_bits;
    bool in_one = l1_clusters + 3 <= counted;
    Json *below = json_object();
    bool ok = block_create(g, &block_file_driver, filename, below, err);
    json_free(below);
    if (ok && m.data_file) {
        g_autofree char *path = block_path_beside(filename, m.data_file);
        below = json_object();
        json_set(below, "size", json_u64(m.size));
        ok = block_create(g, &block_file_driver, path, below, err);
        json_free(below);
    }
    if (!ok || !write_image(g, filename, &m, in_one ? m.size : 0, err))
        return false;
    if (in_one && m.how == PREALLOC_OFF && !m.crypt.on)
        return true;
    Json *o = json_object();
    json_set(o, "driver", json_string("qcow2"));
    Block *b = block_open(g, filename, o, BLOCK_RDWR | BLOCK_NO_BACKING, err);
    if (!b)
        return false;
    ok = !m.crypt.on || q2_crypt_make(b, &m.crypt, err);
    if (ok && !in_one)
        ok = block_resize(b, m.size, PREALLOC_OFF, err);
    int r = ok && m.how != PREALLOC_OFF ? q2_preallocate(b, 0, m.size, m.how) : 0;
    b->writes_done++;
    int close_result = block_close(b);
    if (!r)
        r = close_result;
    return ok && r ? fail_errno(err, -r, "cannot preallocate %s", filename) : ok;
}

static bool qcow2_measure(Json *options, uint64_t size, uint64_t data, uint64_t *required, uint64_t *full, GError **err)
{
    MakeOptions m;
    if (!parse_options(options, &m, err))
        return false;
    unsigned bits = bits_ctz(m.cluster_size), l2_bits = bits - (m.extended ? 4 : 3);
    if ((size >> (bits + l2_bits)) >= Q2_MAX_L1_BYTES / 8)
        return fail(err, "%" PRIu64 " bytes are too many for clusters of %" PRIu64 " bytes", size, m.cluster_size);
    uint64_t clusters = (size + m.cluster_size - 1) >> bits, l2 = (clusters + BIT(l2_bits) - 1) >> l2_bits;
    uint64_t l1 = (l2 * 8 + m.cluster_size - 1) >> bits, counted = m.cluster_size * 8 / m.refcount_bits;
    uint64_t crypt = m.crypt.on ? (luks_make_size(&m.crypt.luks) + m.cluster_size - 1) >> bits : 0;
    uint64_t plain = 1 + l1 + l2 + clusters + crypt, blocks = 0, table = 0;
    for (uint64_t last = UINT64_MAX; last != blocks + table;) {
        last = blocks + table;
        blocks = (plain + blocks + table + counted - 1) / counted;
        table = (blocks * 8 + m.cluster_size - 1) >> bits;
    }
    /* A data file counts: it is as large as the disk. */
    uint64_t data_bytes = align_up(size, m.cluster_size);
    *full = ((plain - clusters + blocks + table) << bits) + data_bytes;
    uint64_t needed = m.how == PREALLOC_FULL || m.how == PREALLOC_FALLOC ? data_bytes : MIN(align_up(data, m.cluster_size), data_bytes);
    *required = *full - data_bytes + needed;
    return true;
}

static bool set_backing(Block *b, const char *name, const char *format, GError **err)
{
    Qcow2 *q = b->state;
    if (name && strlen(name) > 1023)
        return fail(err, "the backing file's name is longer than 1023 bytes");
    if (name && q->autoclear & Q2_AUTOCLEAR_DATA_RAW)
        return fail(err, "a raw data file goes not with a backing file");
    char *old_name = b->backing_name, *old_format = b->backing_format;
    b->backing_name = g_strdup(name);
    b->backing_format = name ? g_strdup(format) : NULL;
    int r = q2_header_write(b);
    if (r) {
        g_free(b->backing_name);
        g_free(b->backing_format);
        b->backing_name = old_name;
        b->backing_format = old_format;
        return r == -ENOSPC ? fail(err, "the backing file's name does not fit in the header")
                            : fail_errno(err, -r, "cannot write the header");
    }
    g_free(old_name);
    g_free(old_format);
    return true;
}

/* --- version 3 to version 2, which has no features, no zero flags and refcounts of 16 bits */

/* Whether an L2 table that a snapshot names has zero flags. */
static int zero_flags(Block *b, uint64_t l1_at, uint32_t l1_size, bool *found)
{
    Qcow2 *q = b->state;
    g_autofree uint8_t *l1 = g_try_malloc((size_t)l1_size * 8 + 1);
    int r = l1 ? block_read(b->file, l1_at, l1, (size_t)l1_size * 8) : -ENOMEM;
    for (uint32_t i = 0; i < l1_size && !r && !*found; i++) {
        uint64_t at = load_be64(l1 + (size_t)i * 8) & Q2_OFFSET;
        Q2Table *t;
        r = at ? q2_table_get(b, &q->l2, at, false, &t) : 0;
        for (unsigned k = 0; at && !r && k < BIT(q->l2_bits); k++) {
            uint64_t e = q2_entry(q, t, k);
            *found |= !(e & Q2_COMPRESSED) && (e & Q2_ZERO);
        }
    }
    return r;
}

static bool can_be_v2(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    const struct { bool bad; const char *why; } rows[] = {
        { q->refcount_order != 4, "refcounts of other than 16 bits" }, { q->extended, "extended L2 entries" },
        { b->data, "an external data file" }, { q->compression != Q2_ZLIB, "compressed clusters other than zlib's" },
        { q->crypt_method, "encryption that is safe there" }, { q->n_bitmaps, "bitmaps (rhea-img bitmap --remove)" }, { q->incompat & Q2_INCOMPAT_CORRUPT, "damage (rhea-img check -r all)" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].bad)
            return fail(err, "version 2 (compat=0.10) has no %s; this image does", rows[i].why);
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Q2Snapshot *s = q->snapshots->pdata[i];
        bool found = false;
        co_mutex_lock(&q->lock);
        int r = zero_flags(b, s->l1_at, s->l1_size, &found);
        co_mutex_unlock(&q->lock);
        if (r)
            return fail_errno(err, -r, "cannot read snapshot '%s'", s->name);
        if (found)
            return fail(err, "snapshot '%s' has clusters marked as zeros, which version 2 cannot say; delete it or convert the image",
                        s->name);
    }
    return true;
}

/* A flag becomes nothing where nothing lies below, and zeros written out over a backing file. */
static int write_flags_out(Block *b)
{
    Qcow2 *q = b->state;
    uint64_t cs = q->cluster_size, span = BIT(q->cluster_bits + q->l2_bits);
    g_autofree uint8_t *zeros = g_try_malloc0(cs);
    int r = zeros ? 0 : -ENOMEM;
    for (uint64_t at = 0; at < b->length && !r; at += cs) {
        bool write = false;
        co_mutex_lock(&q->lock);
        uint64_t table = q->l1[q2_l1_index(q, at)] & Q2_OFFSET, e = 0;
        Q2Table *t;
        if (!table) {
            at = align_down(at, span) + span - cs;
        } else {
            r = q2_table_get(b, &q->l2, table, false, &t);
            e = r ? 0 : q2_entry(q, t, q2_l2_index(q, at));
        }
        if (!(e & Q2_COMPRESSED) && (e & Q2_ZERO)) {
            write = b->backing_name;
            if (!write)
                r = q2_l2_for(b, at, &t);
            if (!write && !r) {
                q2_entry_set(q, t, q2_l2_index(q, at), 0, 0);
                r = q2_free_entry_later(b, e);
            }
        }
        co_mutex_unlock(&q->lock);
        if (write) {
            struct iovec v = { zeros, MIN(cs, b->length - at) };
            r = q2_write(b, at, &v, 1);
        }
    }
    return r;
}

static bool to_version_2(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    if (!can_be_v2(b, err))
        return false;
    int r = write_flags_out(b);
    co_mutex_lock(&q->lock);
    r = r ? r : q2_commit(b, true);
    r = r ? r : q2_unmark(b, Q2_INCOMPAT_DIRTY | Q2_INCOMPAT_COMPRESSION);
    co_mutex_unlock(&q->lock);
    if (r)
        return fail_errno(err, -r, "cannot write %s", b->filename);
    for (unsigned i = q->extensions->len; i--;)
        if (((Q2Extension *)q->extensions->pdata[i])->type == Q2_EXT_FEATURES)
            g_ptr_array_remove_index(q->extensions, i);
    q->version = 2;
    q->header_length = 72;
    q->compat = q->autoclear = 0;
    r = q2_header_write(b);
    return !r || fail_errno(err, -r, "cannot write the header");
}

/* Only the name changes: what it means is found at the next opening. */
static bool amend_data_file(Block *b, Json *o, GError **err)
{
    Qcow2 *q = b->state;
    const char *name = NULL;
    bool raw = q->autoclear & Q2_AUTOCLEAR_DATA_RAW, was_raw = raw;
    if (!block_opt_string(o, "data_file", &name, err) || !block_opt_bool(o, "data_file_raw", &raw, err))
        return false;
    if (name && !(q->incompat & Q2_INCOMPAT_DATA_FILE))
        return fail(err, "data-file can only be set for images that use an external data file");
    if (raw && !was_raw)
        return fail(err, "data-file-raw cannot be set on existing images");
    if (!raw)
        q->autoclear &= ~(uint64_t)Q2_AUTOCLEAR_DATA_RAW;
    if (name) {
        g_free(q->data_file_name);
        q->data_file_name = *name ? g_strdup(name) : NULL;
    }
    if (!name && raw == was_raw)
        return true;
    int r = q2_header_write(b);
    if (r == -ENOSPC)
        return fail(err, "the data file's name does not fit in the header");
    return !r || fail_errno(err, -r, "cannot write the header");
}

static bool amend_refcounts(Block *b, uint64_t bits, GError **err)
{
    Qcow2 *q = b->state;
    if (bits == 1u << q->refcount_order)
        return true;
    if (q->version < 3)
        return fail(err, "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)");
    return q2_recount(b, bits_ctz(bits), err);
}

static bool amend_lazy(Block *b, bool lazy, GError **err)
{
    Qcow2 *q = b->state;
    co_mutex_lock(&q->lock);
    int r = q2_commit(b, true);
    if (!r && !lazy)
        r = q2_unmark(b, Q2_INCOMPAT_DIRTY);
    q->compat = lazy ? q->compat | Q2_COMPAT_LAZY : q->compat & ~(uint64_t)Q2_COMPAT_LAZY;
    co_mutex_unlock(&q->lock);
    return !r || fail_errno(err, -r, "cannot write %s", b->filename);
}

static bool qcow2_amend(Block *b, Json *o, GError **err)
{
    Qcow2 *q = b->state;
    const char *compat = NULL, *name = b->backing_name, *format = b->backing_format;
    bool lazy = q->compat & Q2_COMPAT_LAZY, force;      /* --force: means something to key slots only */
    uint64_t size = b->length, bits = 1u << q->refcount_order;
    if (!q2_crypt_amend(b, o, err) || !block_opt_u64(o, "refcount_bits", UINT32_MAX, &bits, err) ||
        !block_opt_string(o, "compat", &compat, err) || !block_opt_bool(o, "lazy_refcounts", &lazy, err) ||
        !block_opt_size(o, "size", &size, err) || !block_opt_string(o, "backing_file", &name, err) ||
        !block_opt_string(o, "backing_fmt", &format, err) || !block_opt_bool(o, "force", &force, err) ||
        !amend_data_file(b, o, err) || !block_opt_done(o, "amend", err))
        return false;
    if (!is_pow2(bits) || bits > 64)
        return fail(err, "Refcount width must be a power of two and may not exceed 64 bits");
    bool v3 = compat ? !strcmp(compat, "1.1") || !strcmp(compat, "v3") : q->version >= 3;
    if (compat && !v3 && strcmp(compat, "0.10") && strcmp(compat, "v2"))
        return fail(err, "compat '%s' is neither 0.10 nor 1.1", compat);
    if (!v3 && bits != 16)
        return json_get(o, "refcount_bits")
               ? fail(err, "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)")
               : fail(err, "compat=0.10 requires refcount_bits=16 (version 2 has no others)");
    if (!v3 && lazy && json_get(o, "lazy_refcounts"))
        return fail(err, "lazy refcounts need compat=1.1");
    lazy &= v3;
    if (v3 && q->version < 3) {
        q->version = 3;
        q->header_length = 104;
        int r = q2_header_write(b);
        if (r)
            return fail_errno(err, -r, "cannot write the header");
    }
    if (!amend_refcounts(b, bits, err) || (!v3 && q->version >= 3 && !to_version_2(b, err)) || !amend_lazy(b, lazy, err) ||
        !set_backing(b, name && *name ? name : NULL, format, err))
        return false;
    return size == b->length || !q2_resize(b, size, PREALLOC_OFF, err);
}

static const BlockOption qcow2_options[] = {
    { "backing_file", "str", "image that is read where this one has nothing" },
    { "backing_fmt", "str", "its format" },
    { "cluster_size", "size", "512 to 2M, default 64k" },
    { "compat", "str", "0.10 (version 2) or 1.1 (version 3, default)" },
    { "compression_type", "str", "of compressed clusters: zlib (default) or zstd" },
    { "data_file", "str", "file that holds the data" },
    { "data_file_raw", "bool", "it can be read as a raw image" },
    LUKS_MAKE_OPTIONS("encrypt."),
    { "encrypt.format", "str", "luks: the data are encrypted" },
    { "extended_l2", "bool", "clusters in 32 subclusters" },
    { "lazy_refcounts", "bool", "refcounts are written late and repaired after a crash" },
    { "preallocation", "str", "off, metadata, falloc or full" },
    { "refcount_bits", "num", "1 to 64, default 16" },
    { NULL }
};
static const BlockOption amend_options[] = {
    { "backing_file", "str", "image that is read where this one has nothing; \"\": none" },
    { "backing_fmt", "str", "its format" },
    { "compat", "str", "0.10 (version 2) or 1.1 (version 3)" },
    { "data_file", "str", "name of the file that holds the data, if the image has one" },
    { "data_file_raw", "bool", "off: it need not be a raw image any more" },
    LUKS_AMEND_OPTIONS("encrypt."),
    { "lazy_refcounts", "bool", "refcounts are written late and repaired after a crash" },
    { "refcount_bits", "num", "1 to 64" },
    { "size", "size", "Virtual disk size" },
    { NULL }
};
const BlockMaker q2_maker = {
    .options = qcow2_options, .co_create = qcow2_create, .co_check = q2_check, .co_set_backing = set_backing,
    .co_amend = qcow2_amend, .amend_options = amend_options, .measure = qcow2_measure,
};
