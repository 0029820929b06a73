/* SPDX-License-Identifier: GPL-2.0-or-later
 * QED images: two levels of tables of one size, clusters, backing files.  "Need check" is set while tables may be behind. */
#include <errno.h>
#include <string.h>

#include "block/sparse.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    QED_CLUSTER = 4, QED_TABLE = 8, QED_HEADER_SIZE = 12, QED_FEATURES = 16, QED_COMPAT = 24, QED_AUTOCLEAR = 32, QED_L1 = 40,
    QED_SIZE = 48, QED_NAME_AT = 56, QED_NAME_LEN = 60, QED_HEADER = 64,
    QED_F_BACKING = 1, QED_F_NEED_CHECK = 2, QED_F_BACKING_RAW = 4, QED_F_KNOWN = 7,
    DEFAULT_CLUSTER = 65536, DEFAULT_TABLE = 4,
};
#define QED_MAGIC 0x00444551u

typedef struct Qed { Sparse s; uint64_t l1_at, features; uint32_t table_bytes, header_clusters; } Qed;

static int qed_probe(const uint8_t *h, size_t n) { return n >= QED_HEADER && load_le32(h) == QED_MAGIC ? 100 : 0; }

/* Where the L2 table with cluster n's entry lies; 0: none. */
static int l2_table(Block *b, uint64_t n, uint64_t *out)
{
    Qed *q = b->state;
    uint8_t word[8];
    uint64_t i = n / (q->table_bytes / 8);
    *out = 0;
    if (i >= q->table_bytes / 8)
        return -EIO;
    int r = meta_read(&q->s.meta, q->l1_at + i * 8, word, 8);
    *out = load_le64(word);
    if (!r && *out && (*out % q->s.cluster || *out + q->table_bytes > MAX(b->file->length, q->s.end) || *out > INT64_MAX))
        r = -EIO;
    return r;
}

static int qed_find(Block *b, uint64_t n, Place *out)
{
    Qed *q = b->state;
    uint64_t l2;
    uint8_t word[8] = { 0 };
    int r = l2_table(b, n, &l2);
    if (!r && l2)
        r = meta_read(&q->s.meta, l2 + n % (q->table_bytes / 8) * 8, word, 8);
    uint64_t e = load_le64(word);
    *out = e == 0 ? (Place){ PLACE_NONE, .run = l2 ? 0 : q->table_bytes / 8 - n % (q->table_bytes / 8) } : e == 1 ? (Place){ PLACE_ZERO } : (Place){ PLACE_DATA, e };
    return r ? r : e > 1 && (e % q->s.cluster || e > INT64_MAX - q->s.cluster) ? -EIO : 0;
}

static int set_feature(Block *b, uint64_t features)
{
    Qed *q = b->state;
    uint8_t word[8];
    store_le64(word, features);
    q->features = features;
    return meta_write(&q->s.meta, QED_FEATURES, word, 8, 0);
}

static int qed_set(Block *b, uint64_t n, const Place *p)
{
    Qed *q = b->state;
    uint64_t l2;
    uint8_t word[8];
    int r = l2_table(b, n, &l2);
    if (!r && !l2) {
        r = sparse_grow_table(b, q->table_bytes, &l2);
        store_le64(word, l2);
        if (!r)
            r = meta_write(&q->s.meta, q->l1_at + n / (q->table_bytes / 8) * 8, word, 8, 2);
    }
    store_le64(word, p->kind == PLACE_DATA ? p->at : p->kind == PLACE_ZERO);
    return r ? r : meta_write(&q->s.meta, l2 + n % (q->table_bytes / 8) * 8, word, 8, 1);
}

/* The mark costs a write and keeps others from opening the image without a check, which they do not need after us: the order
 * of writes leaves no more than leaks.  So it is never set here, and cleared at the end where a check has been made. */
static const SparseOps qed_ops = { .co_find = qed_find, .co_set = qed_set, .marks_zero = true };

static bool qed_open(Block *b, GError **err)
{
    Qed *q = b->state;
    uint8_t h[QED_HEADER];
    meta_init(&q->s.meta, b->file);
    int r = meta_read(&q->s.meta, 0, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    uint32_t cluster = load_le32(h + QED_CLUSTER), table = load_le32(h + QED_TABLE);
    uint32_t name_at = load_le32(h + QED_NAME_AT), name_len = load_le32(h + QED_NAME_LEN);
    q->features = load_le64(h + QED_FEATURES);
    q->l1_at = load_le64(h + QED_L1);
    q->header_clusters = load_le32(h + QED_HEADER_SIZE);
    b->length = load_le64(h + QED_SIZE);
    if (load_le32(h) != QED_MAGIC)
        return fail(err, "%s: not a QED image", b->filename);
    if (q->features & ~(uint64_t)QED_F_KNOWN)
        return fail(err, "%s: unknown QED features %#" PRIx64, b->filename, q->features & ~(uint64_t)QED_F_KNOWN);
    if (!is_pow2(cluster) || cluster < 4096 || cluster > 64 << 20 || !is_pow2(table) || table > 16)
        return fail(err, "%s: clusters of %u bytes and tables of %u clusters", b->filename, cluster, table);
    q->table_bytes = cluster * table;
    uint64_t entries = q->table_bytes / 8;
    if (q->table_bytes / table != cluster || b->length > INT64_MAX || b->length % 512 || b->length / cluster / entries >= entries)
        return fail(err, "%s: %" PRIu64 " bytes are too many for its tables", b->filename, b->length);
    if (q->l1_at % cluster || q->l1_at < cluster || q->l1_at > INT64_MAX || q->l1_at + q->table_bytes > b->file->length)
        return fail(err, "%s: the L1 table at %#" PRIx64 " does not lie in the file", b->filename, q->l1_at);
    if (q->features & QED_F_BACKING) {
        if (name_len > 1023 || name_at > cluster || name_len > cluster - name_at)
            return fail(err, "%s: the backing file's name is not in the first cluster", b->filename);
        b->backing_name = g_malloc0(name_len + 1);
        r = meta_read(&q->s.meta, name_at, b->backing_name, name_len);
        if (r)
            return fail_errno(err, -r, "%s: cannot read the backing file's name", b->filename);
        if (q->features & QED_F_BACKING_RAW)
            b->backing_format = g_strdup("raw");
    }
    sparse_init(b, &qed_ops, cluster, 0, 0);
    return true;
}

static int qed_check(Block *b, unsigned fix, BlockCheck *out, GError **err)
{
    Qed *q = b->state;
    int r = sparse_check(b, fix, out, err);
    if (!r && fix && (q->features & QED_F_NEED_CHECK) && out->corruptions == out->corruptions_fixed && !out->check_errors) {
        r = set_feature(b, q->features & ~(uint64_t)QED_F_NEED_CHECK);
        if (!r)
            r = meta_commit(&q->s.meta);
    }
    return r;
}

static bool qed_set_backing(Block *b, const char *name, const char *format, GError **err)
{
    Qed *q = b->state;
    uint64_t features = q->features & ~(uint64_t)(QED_F_BACKING | QED_F_BACKING_RAW);
    size_t len = name ? strlen(name) : 0;
    uint8_t place[8];
    if (len > 1023 || len > q->s.cluster - QED_HEADER)
        return fail(err, "the backing file's name is longer than 1023 bytes");
    if (len)
        features |= QED_F_BACKING | (format && !strcmp(format, "raw") ? QED_F_BACKING_RAW : 0);
    store_le32(place, len ? QED_HEADER : 0);
    store_le32(place + 4, (uint32_t)len);
    int r = len ? meta_write(&q->s.meta, QED_HEADER, name, len, 0) : 0;
    if (!r)
        r = meta_write(&q->s.meta, QED_NAME_AT, place, 8, 0);
    if (!r)
        r = set_feature(b, features);
    if (!r)
        r = meta_commit(&q->s.meta);
    if (r)
        return fail_errno(err, -r, "cannot write the header of %s", b->filename);
    g_free(b->backing_name);
    g_free(b->backing_format);
    b->backing_name = len ? g_strdup(name) : NULL;
    b->backing_format = len && format && !strcmp(format, "raw") ? g_strdup(format) : NULL;
    return true;
}

static int qed_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    Qed *q = b->state;
    uint64_t entries = q->table_bytes / 8;
    uint8_t word[8];
    if (how != PREALLOC_OFF) {
        fail(err, "QED images are not preallocated");
        return -ENOTSUP;
    }
    if (len < b->length) {
        fail(err, "QED images cannot be shrunk");
        return -ENOTSUP;
    }
    if (len % 512 || len / q->s.cluster / entries >= entries) {
        fail(err, "%" PRIu64 " bytes are no multiple of 512 or too many for the tables of %s", len, b->filename);
        return -EINVAL;
    }
    store_le64(word, len);
    int r = meta_write(&q->s.meta, QED_SIZE, word, 8, 0);
    if (!r)
        r = meta_commit(&q->s.meta);
    if (!r)
        b->length = len;
    return r;
}

static bool qed_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size, cluster = DEFAULT_CLUSTER, table = DEFAULT_TABLE;
    const char *backing = NULL, *format = NULL;
    if (!block_opt_size(options, "cluster_size", &cluster, err) || !block_opt_size(options, "table_size", &table, err) ||
        !block_opt_string(options, "backing_file", &backing, err) || !block_opt_string(options, "backing_fmt", &format, err) ||
        !sparse_make_size(options, INT64_MAX, &size, err))
        return false;
    if (!is_pow2(cluster) || cluster < 4096 || cluster > 64 << 20)
        return fail(err, "cluster_size %" PRIu64 " is no power of two from 4k to 64M", cluster);
    if (!is_pow2(table) || table > 16)
        return fail(err, "table_size %" PRIu64 " is none of 1, 2, 4, 8, 16", table);
    uint64_t entries = cluster * table / 8;
    size = align_up(size, 512);
    if (size / cluster / entries >= entries)
        return fail(err, "%" PRIu64 " bytes are too many for clusters of %" PRIu64 " and tables of %" PRIu64 " clusters", size, cluster, table);
    size_t len = backing ? strlen(backing) : 0;
    if (len > 1023 || len > cluster - QED_HEADER)
        return fail(err, "the backing file's name is longer than 1023 bytes");
    uint8_t h[QED_HEADER] = { 0 };
    store_le32(h, QED_MAGIC);
    store_le32(h + QED_CLUSTER, (uint32_t)cluster);
    store_le32(h + QED_TABLE, (uint32_t)table);
    store_le32(h + QED_HEADER_SIZE, 1);
    store_le64(h + QED_FEATURES, !len ? 0 : format && !strcmp(format, "raw") ? QED_F_BACKING | QED_F_BACKING_RAW : QED_F_BACKING);
    store_le64(h + QED_L1, cluster);
    store_le64(h + QED_SIZE, size);
    store_le32(h + QED_NAME_AT, len ? QED_HEADER : 0);
    store_le32(h + QED_NAME_LEN, (uint32_t)len);
    SparsePart parts[] = { { 0, h, sizeof h }, { QED_HEADER, backing, len } };
    return sparse_make(g, filename, parts, len ? 2 : 1, cluster + cluster * table, err);
}

static const BlockOption qed_options[] = {
    { "backing_file", "str", "image that is read where this one has nothing" },
    { "backing_fmt", "str", "its format" },
    { "cluster_size", "size", "4k to 64M, default 64k" },
    { "table_size", "size", "clusters of a table, 1 to 16, default 4" },
    { NULL }
};
static const BlockMaker qed_maker = { .options = qed_options, .co_create = qed_create, .co_check = qed_check, .co_set_backing = qed_set_backing };

const BlockDriver block_qed_driver = {
    .name = "qed", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Qed), .probe = qed_probe, .co_open = qed_open, .co_close = sparse_close,
    .co_read = sparse_read, .co_write = sparse_write, .co_flush = sparse_flush, .co_zero = sparse_zero, .co_discard = sparse_discard,
    .co_map = sparse_map, .co_resize = qed_resize, .co_info = sparse_info, .maker = &qed_maker,
};
