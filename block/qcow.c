/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow, the first version: two levels of tables, clusters, compressed clusters, backing files.  Encrypted ones are read and
 * written, but not made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/crypto/secret.h"
#include "block/deflate.h"
#include "block/sparse.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    QCOW_VERSION = 4, QCOW_NAME_AT = 8, QCOW_NAME_LEN = 16, QCOW_TIME = 20, QCOW_SIZE = 24, QCOW_CLUSTER_BITS = 32, QCOW_L2_BITS = 33,
    QCOW_CRYPT = 36, QCOW_L1 = 40, QCOW_HEADER = 48,
};
#define QCOW_MAGIC      0x514649fbu
#define QCOW_COMPRESSED BIT(63)

typedef struct Qcow { Sparse s; uint64_t l1_at, l1_size; unsigned cluster_bits, l2_bits; } Qcow;

static int qcow_probe(const uint8_t *h, size_t n)
{
    return n >= QCOW_HEADER && load_be32(h) == QCOW_MAGIC && load_be32(h + QCOW_VERSION) == 1 ? 100 : 0;
}

static int l2_table(Block *b, uint64_t n, uint64_t *out)
{
    Qcow *q = b->state;
    uint8_t word[8];
    int r = n >> q->l2_bits < q->l1_size ? meta_read(&q->s.meta, q->l1_at + (n >> q->l2_bits) * 8, word, 8) : -EIO;
    *out = r ? 0 : load_be64(word);
    if (*out > INT64_MAX || (*out && *out + BIT(q->l2_bits + 3) > MAX(b->file->length, q->s.end)))
        r = -EIO;
    return r;
}

static int qcow_find(Block *b, uint64_t n, Place *out)
{
    Qcow *q = b->state;
    uint64_t l2;
    uint8_t word[8] = { 0 };
    int r = l2_table(b, n, &l2);
    if (!r && l2)
        r = meta_read(&q->s.meta, l2 + (n & bits_mask(q->l2_bits)) * 8, word, 8);
    uint64_t e = load_be64(word);
    if (e & QCOW_COMPRESSED)
        *out = (Place){ PLACE_PACKED, e & bits_mask(63 - q->cluster_bits), e >> (63 - q->cluster_bits) & bits_mask(q->cluster_bits) };
    else
        *out = (Place){ e ? PLACE_DATA : PLACE_NONE, e, .run = l2 ? 0 : BIT(q->l2_bits) - (n & bits_mask(q->l2_bits)) };
    return r;
}

static int qcow_set(Block *b, uint64_t n, const Place *p)
{
    Qcow *q = b->state;
    uint64_t l2, e = 0;
    uint8_t word[8];
    int r = l2_table(b, n, &l2);
    if (!r && !l2) {
        r = sparse_grow_table(b, BIT(q->l2_bits + 3), &l2);
        store_be64(word, l2);
        if (!r)
            r = meta_write(&q->s.meta, q->l1_at + (n >> q->l2_bits) * 8, word, 8, 2);
    }
    if (p->kind == PLACE_DATA)
        e = p->at;
    else if (p->kind == PLACE_PACKED)
        e = QCOW_COMPRESSED | p->len << (63 - q->cluster_bits) | p->at;
    store_be64(word, e);
    return r ? r : meta_write(&q->s.meta, l2 + (n & bits_mask(q->l2_bits)) * 8, word, 8, 1);
}

static int qcow_unpack(Block *b, const Place *p, uint8_t *out)
{
    Qcow *q = b->state;
    g_autofree uint8_t *in = g_malloc(p->len + 1);
    int r = block_read(b->file, p->at, in, p->len);
    return r ? r : co_deflate_unpack(b->aio, -12, in, p->len, out, q->s.cluster);
}

static const SparseOps qcow_ops = { .co_find = qcow_find, .co_set = qcow_set, .co_unpack = qcow_unpack };

/* One cluster.  What does not shrink is written as it is. */
static int write_packed(Block *b, uint64_t n, const uint8_t *data)
{
    Qcow *q = b->state;
    struct iovec v = { (void *)(uintptr_t)data, q->s.cluster };
    g_autofree uint8_t *out = g_malloc(q->s.cluster);
    size_t packed = q->s.cluster - 1;
    int r = co_deflate_pack(b->aio, -12, data, q->s.cluster, out, &packed);
    if (r == -ENOSPC)
        return sparse_write(b, n * q->s.cluster, &v, 1);
    co_mutex_lock(&q->s.lock);
    uint64_t at = 0;
    if (!r)
        r = sparse_grow_bytes(b, packed, &at);
    if (!r)
        r = block_write(b->file, at, out, packed, 0);
    if (!r)
        r = qcow_set(b, n, &(Place){ PLACE_PACKED, at, packed });
    co_mutex_unlock(&q->s.lock);
    return r;
}

static int qcow_write_compressed(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Qcow *q = b->state;
    uint64_t len = iov_size(v, nv), size = q->s.cluster;
    if (q->s.encrypted)
        return -ENOTSUP;
    if (at % size || (len % size && at + len != b->length))
        return -EINVAL;
    g_autofree uint8_t *buf = g_malloc(size);
    int r = 0;
    for (uint64_t done = 0; done < len && !r; done += size) {
        uint64_t n = MIN(size, len - done);
        memset(buf + n, 0, size - n);
        iov_to_buf(v, nv, done, buf, n);
        r = write_packed(b, (at + done) / size, buf);
    }
    return r;
}

/* Method 1, as in qcow2. */
static bool open_crypt(Block *b, uint32_t method, GError **err)
{
    Qcow *q = b->state;
    const char *format = "aes", *key = NULL;
    Json *o = json_get(b->options, "encrypt");
    if (o && o->type == JSON_OBJECT && method) {
        o->seen = true;
        if (!block_opt_string(o, "format", &format, err) || !block_opt_string(o, "key-secret", &key, err) || !block_opt_done(o, "encrypt", err))
            return false;
    }
    if (!method)
        return true;
    if (method != 1 || strcmp(format, "aes"))
        return fail(err, "the image is encrypted by method %u ('aes' is 1), encrypt.format says '%s'", method, format);
    if (b->length % CRYPT_SECTOR)
        return fail(err, "an encrypted disk of %" PRIu64 " bytes is not whole sectors", b->length);
    b->align = CRYPT_SECTOR;
    q->s.encrypted = true;
    if (!key && (b->flags & (BLOCK_NO_IO | BLOCK_CHECK)))
        return true;
    q->s.crypt = crypt_legacy_aes(b->graph, key, err);
    return q->s.crypt;
}

static bool qcow_open(Block *b, GError **err)
{
    Qcow *q = b->state;
    uint8_t h[QCOW_HEADER];
    meta_init(&q->s.meta, b->file);
    int r = meta_read(&q->s.meta, 0, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    if (load_be32(h) != QCOW_MAGIC || load_be32(h + QCOW_VERSION) != 1)
        return fail(err, "%s: not a qcow image of version 1", b->filename);
    b->length = load_be64(h + QCOW_SIZE);
    q->cluster_bits = h[QCOW_CLUSTER_BITS];
    q->l2_bits = h[QCOW_L2_BITS];
    q->l1_at = load_be64(h + QCOW_L1);
    if (q->cluster_bits < 9 || q->cluster_bits > 16 || q->l2_bits < 6 || q->l2_bits > 13)
        return fail(err, "%s: clusters of 2^%u bytes and tables of 2^%u entries", b->filename, q->cluster_bits, q->l2_bits);
    if (b->length > INT64_MAX)
        return fail(err, "%s: %" PRIu64 " bytes are too many", b->filename, b->length);
    q->l1_size = (b->length + BIT(q->cluster_bits + q->l2_bits) - 1) >> (q->cluster_bits + q->l2_bits);
    if (q->l1_at > b->file->length || q->l1_size > (b->file->length - q->l1_at) / 8)
        return fail(err, "%s: an L1 table of %" PRIu64 " entries at %#" PRIx64 " does not lie in the file", b->filename, q->l1_size, q->l1_at);
    uint64_t name_at = load_be64(h + QCOW_NAME_AT);
    uint32_t name_len = load_be32(h + QCOW_NAME_LEN);
    if (name_at && name_len) {
        if (name_len > 1023 || name_at > b->file->length || name_len > b->file->length - name_at)
            return fail(err, "%s: the backing file's name (%u bytes at %" PRIu64 ") does not lie in the file", b->filename, name_len, name_at);
        b->backing_name = g_malloc0(name_len + 1);
        r = meta_read(&q->s.meta, name_at, b->backing_name, name_len);
        if (r)
            return fail_errno(err, -r, "%s: cannot read the backing file's name", b->filename);
    }
    sparse_init(b, &qcow_ops, BIT(q->cluster_bits), 0, 0);
    return open_crypt(b, load_be32(h + QCOW_CRYPT), err) || fail_prefix(err, "%s: ", b->filename);
}

static int qcow_empty(Block *b)
{
    Qcow *q = b->state;
    g_autofree uint8_t *zeros = g_malloc0(q->l1_size * 8 + 1);
    co_mutex_lock(&q->s.lock);
    int r = meta_write(&q->s.meta, q->l1_at, zeros, q->l1_size * 8, 2);
    if (!r)
        r = meta_commit(&q->s.meta);
    co_mutex_unlock(&q->s.lock);
    return r;
}

static bool qcow_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size;
    const char *backing = NULL, *format = NULL;
    bool encrypt = false;
    if (!block_opt_string(options, "backing_file", &backing, err) || !block_opt_string(options, "backing_fmt", &format, err) ||
        !block_opt_bool(options, "encryption", &encrypt, err) || !sparse_make_size(options, UINT64_C(1) << 50, &size, err))
        return false;
    if (encrypt)
        return fail(err, "new qcow images are not encrypted, since that is broken by design; take qcow2 with encrypt.format=luks");
    size_t len = backing ? strlen(backing) : 0;
    if (len > 1023)
        return fail(err, "the backing file's name is longer than 1023 bytes");
    /* Small clusters over a backing file, so that little has to be copied. */
    unsigned cluster_bits = len ? 9 : 12, l2_bits = len ? 12 : 9;
    size = align_up(size, 512);
    uint64_t l1_size = (size + BIT(cluster_bits + l2_bits) - 1) >> (cluster_bits + l2_bits), l1_at = align_up(QCOW_HEADER + len, 8);
    uint8_t h[QCOW_HEADER] = { 0 };
    store_be32(h, QCOW_MAGIC);
    store_be32(h + QCOW_VERSION, 1);
    store_be64(h + QCOW_NAME_AT, len ? QCOW_HEADER : 0);
    store_be32(h + QCOW_NAME_LEN, (uint32_t)len);
    store_be32(h + QCOW_TIME, (uint32_t)time(NULL));
    store_be64(h + QCOW_SIZE, size);
    h[QCOW_CLUSTER_BITS] = (uint8_t)cluster_bits;
    h[QCOW_L2_BITS] = (uint8_t)l2_bits;
    store_be64(h + QCOW_L1, l1_at);
    SparsePart parts[] = { { 0, h, sizeof h }, { QCOW_HEADER, backing, len } };
    return sparse_make(g, filename, parts, len ? 2 : 1, align_up(l1_at + l1_size * 8, BIT(cluster_bits)), err);
}

static const BlockOption qcow_options[] = {
    { "backing_file", "str", "image that is read where this one has nothing" },
    { "backing_fmt", "str", "its format (not recorded)" },
    { NULL }
};
static const BlockMaker qcow_maker = { .options = qcow_options, .co_create = qcow_create, .co_check = sparse_check };

const BlockDriver block_qcow_driver = {
    .name = "qcow", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Qcow), .probe = qcow_probe, .co_open = qcow_open, .co_close = sparse_close,
    .co_read = sparse_read, .co_write = sparse_write, .co_write_compressed = qcow_write_compressed, .co_flush = sparse_flush,
    .co_zero = sparse_zero, .co_discard = sparse_discard, .co_map = sparse_map, .co_info = sparse_info, .co_empty = qcow_empty,
    .maker = &qcow_maker,
};
