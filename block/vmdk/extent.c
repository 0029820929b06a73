/* SPDX-License-Identifier: GPL-2.0-or-later
 * VMware disks: sparse extents. */
#include <errno.h>
#include <string.h>

#include "block/deflate.h"
#include "block/vmdk/vmdk_int.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum { GRAIN_SECTORS = 128, DESCRIPTOR_SECTORS = 20, PACKED_HEADER = 12, MAX_GD = 1 << 24 };

/* Where the entry of grain n lies, by the directory at gd_at; 0: its table does not exist. */
static int entry_at(Block *b, uint64_t gd_at, uint64_t n, uint64_t *out)
{
    Vmdk *d = b->state;
    uint8_t word[4];
    *out = 0;
    if (n / d->gtes >= d->gd_entries)
        return -EIO;
    int r = meta_read(&d->s.meta, gd_at + n / d->gtes * 4, word, 4);
    if (!r && load_le32(word))
        *out = (uint64_t)load_le32(word) * 512 + n % d->gtes * 4;
    return r ? r : *out > MAX(b->file->length, d->s.end) ? -EIO : 0;
}

static int extent_find(Block *b, uint64_t n, Place *out)
{
    Vmdk *d = b->state;
    uint64_t at;
    uint8_t word[4] = { 0 };
    int r = entry_at(b, d->gd_at, n, &at);
    if (!r && at)
        r = meta_read(&d->s.meta, at, word, 4);
    uint32_t e = load_le32(word);
    if (!e)
        *out = (Place){ PLACE_NONE, .run = at ? 0 : d->gtes - n % d->gtes };
    else if (e == 1 && d->s.ops->marks_zero)
        *out = (Place){ PLACE_ZERO };
    else
        *out = (Place){ d->compressed ? PLACE_PACKED : PLACE_DATA, (uint64_t)e * 512 };
    return r;
}

/* A table of no grains at the end of the file, and its place in the directory. */
static int make_table(Block *b, uint64_t gd_at, uint64_t n)
{
    Vmdk *d = b->state;
    uint8_t word[4];
    uint64_t at;
    int r = sparse_grow_table(b, (uint64_t)d->gtes * 4, &at);
    store_le32(word, (uint32_t)(at / 512));
    return r ? r : at / 512 > UINT32_MAX ? -EFBIG : meta_write(&d->s.meta, gd_at + n / d->gtes * 4, word, 4, 2);
}

static int extent_set(Block *b, uint64_t n, const Place *p)
{
    Vmdk *d = b->state;
    uint8_t word[4];
    if (p->at / 512 > UINT32_MAX)
        return -EFBIG;
    store_le32(word, p->kind == PLACE_ZERO ? 1 : p->kind == PLACE_NONE ? 0 : (uint32_t)(p->at / 512));
    int r = 0;
    const uint64_t directories[] = { d->gd_at, d->rgd_at };
    for (unsigned i = 0; i < 2 && !r && directories[i]; i++) {
        uint64_t at;
        r = entry_at(b, directories[i], n, &at);
        if (!r && !at) {
            r = make_table(b, directories[i], n);
            if (!r)
                r = entry_at(b, directories[i], n, &at);
        }
        if (!r)
            r = meta_write(&d->s.meta, at, word, 4, 1);
    }
    return r;
}

static int extent_unpack(Block *b, const Place *p, uint8_t *out)
{
    Vmdk *d = b->state;
    uint8_t head[PACKED_HEADER];
    int r = block_read(b->file, p->at, head, sizeof head);
    uint32_t len = load_le32(head + 8);
    if (!r && len > 2 * d->s.cluster)
        r = -EIO;
    if (r)
        return r;
    g_autofree uint8_t *in = g_malloc(len + 1);
    r = block_read(b->file, p->at + sizeof head, in, len);
    /* Of the last grain there may be no more than the disk has. */
    uint64_t from = load_le64(head), want = from < b->length / 512 ? MIN(d->s.cluster, b->length - from * 512) : d->s.cluster;
    memset(out + want, 0, d->s.cluster - want);
    return r ? r : co_deflate_unpack(b->aio, 15, in, len, out, want);
}

static int extent_before_commit(Block *b) { return meta_dirty(&((Vmdk *)b->state)->s.meta) ? vmdk_new_cid(b) : 0; }

static const SparseOps extent_ops = { .co_find = extent_find, .co_set = extent_set, .co_unpack = extent_unpack,
                                      .co_before_commit = extent_before_commit };
static const SparseOps zero_grain_ops = { .co_find = extent_find, .co_set = extent_set, .co_unpack = extent_unpack,
                                          .co_before_commit = extent_before_commit, .marks_zero = true };

/* Compressed grains are never changed in place: the new one goes to the end. */
static int write_grain(Block *b, uint64_t n, const uint8_t *data)
{
    Vmdk *d = b->state;
    size_t room = d->s.cluster * 2, len = room;
    g_autofree uint8_t *out = g_malloc0(PACKED_HEADER + room + 512);
    int r = co_deflate_pack(b->aio, 15, data, d->s.cluster, out + PACKED_HEADER, &len);
    uint64_t at = 0;
    store_le64(out, n * (d->s.cluster / 512));
    store_le32(out + 8, (uint32_t)len);
    uint64_t bytes = align_up(PACKED_HEADER + len, 512);
    if (!r && bytes <= d->s.step) {
        r = sparse_grow_bytes(b, bytes, &at);
    } else if (!r) {
        uint64_t second;
        r = sparse_grow(b, &at);
        if (!r)
            r = sparse_grow(b, &second);
    }
    if (!r)
        r = block_write(b->file, at, out, bytes, 0);
    return r ? r : extent_set(b, n, &(Place){ PLACE_PACKED, at });
}

int vmdk_write_packed(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Vmdk *d = b->state;
    uint64_t len = iov_size(v, nv), size = d->s.cluster;
    g_autofree uint8_t *buf = g_malloc(size);
    struct iovec whole = { buf, size };
    int r = 0;
    co_mutex_lock(&d->fill);
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        uint64_t grain = (at + done) / size, in = (at + done) % size;
        n = MIN(size - in, len - done);
        memset(buf, 0, size);
        if (n < size && grain * size < b->length) {
            whole.iov_len = MIN(size, b->length - grain * size);
            r = sparse_read(b, grain * size, &whole, 1);
        }
        iov_to_buf(v, nv, done, buf + in, n);
        if (r)
            break;
        co_mutex_lock(&d->s.lock);
        r = write_grain(b, grain, buf);
        co_mutex_unlock(&d->s.lock);
    }
    co_mutex_unlock(&d->fill);
    return r;
}

/* --- opening */

static bool open_cowd(Block *b, const uint8_t *h, uint64_t *grain, GError **err)
{
    Vmdk *d = b->state;
    b->length = (uint64_t)load_le32(h + COWD_CAPACITY) * 512;
    *grain = load_le32(h + COWD_GRAIN);
    d->gd_at = (uint64_t)load_le32(h + COWD_GD) * 512;
    d->gd_entries = load_le32(h + COWD_GD_ENTRIES);
    d->gtes = COWD_GTES;
    return true;
}

static bool open_hosted(Block *b, const uint8_t *h, uint64_t *grain, GError **err)
{
    Vmdk *d = b->state;
    uint8_t footer[SE_HEADER];
    if (load_le64(h + SE_GD) == UINT64_MAX) {
        /* Written as a stream: the header that counts stands before the end-of-stream marker. */
        int r = b->file->length >= 1536 ? block_read(b->file, b->file->length - 1024, footer, sizeof footer) : -EIO;
        if (r || load_le32(footer) != VMDK_MAGIC)
            return fail(err, "%s: the footer of a stream-optimized disk is missing: the file is cut off", b->filename);
        h = footer;
    }
    uint32_t flags = load_le32(h + SE_FLAGS), version = load_le32(h + SE_VERSION);
    uint64_t capacity = load_le64(h + SE_CAPACITY);
    if (version > 3)
        return fail(err, "%s: VMDK version %u; 1 to 3 are known", b->filename, version);
    if (version == 3 && (b->flags & BLOCK_RDWR) && !(flags & SEF_COMPRESSED))
        return fail(err, "%s: VMDK version 3 can only be read (read-only=on)", b->filename);
    *grain = load_le64(h + SE_GRAIN);
    d->gtes = load_le32(h + SE_GTES);
    d->compressed = flags & SEF_COMPRESSED;
    if (d->compressed && load_le16(h + SE_COMPRESS) != 1)
        return fail(err, "%s: unknown compression %u", b->filename, load_le16(h + SE_COMPRESS));
    uint64_t gd = load_le64(h + SE_GD), rgd = load_le64(h + SE_RGD);
    if (capacity > INT64_MAX / 512 || gd > INT64_MAX / 512 || rgd > INT64_MAX / 512)
        return fail(err, "%s: %" PRIu64 " sectors, directories at %#" PRIx64 " and %#" PRIx64, b->filename, capacity, gd, rgd);
    b->length = capacity * 512;
    d->gd_at = gd * 512;
    d->rgd_at = flags & SEF_RGD ? rgd * 512 : 0;
    d->gd_entries = *grain && d->gtes ? (capacity + *grain * d->gtes - 1) / *grain / d->gtes : 0;
    uint64_t at = load_le64(h + SE_DESC_AT), size = load_le64(h + SE_DESC_SIZE);
    if (at && size) {
        if (size > MAX_DESCRIPTOR / 512 || at > INT64_MAX / 512 || at * 512 > b->file->length || size * 512 > b->file->length - at * 512)
            return fail(err, "%s: a descriptor of %" PRIu64 " sectors at %" PRIu64 " does not lie in the file", b->filename, size, at);
        d->descriptor = g_malloc0(size * 512 + 1);
        d->descriptor_at = at * 512;
        int r = block_read(b->file, at * 512, d->descriptor, size * 512);
        if (r)
            return fail_errno(err, -r, "%s: cannot read the descriptor", b->filename);
    }
    return true;
}

bool vmdk_extent_open(Block *b, const uint8_t *head, GError **err)
{
    Vmdk *d = b->state;
    uint64_t grain;
    d->is_extent = true;
    meta_init(&d->s.meta, b->file);
    if (!(load_le32(head) == COWD_MAGIC ? open_cowd(b, head, &grain, err) : open_hosted(b, head, &grain, err)))
        return false;
    if (!is_pow2(grain) || grain > 4096 || (d->gtes != VMDK_GTES && d->gtes != COWD_GTES))
        return fail(err, "%s: grains of %" PRIu64 " sectors, tables of %u", b->filename, grain, d->gtes);
    if (d->gd_entries > MAX_GD || b->length > d->gd_entries * d->gtes * grain * 512)
        return fail(err, "%s: a directory of %" PRIu64 " tables does not hold %" PRIu64 " bytes", b->filename, d->gd_entries, b->length);
    const uint64_t directories[] = { d->gd_at, d->rgd_at };
    for (unsigned i = 0; i < 2; i++)
        if (directories[i] > b->file->length || b->file->length - directories[i] < d->gd_entries * 4)
            return fail(err, "%s: the grain directory at %#" PRIx64 " does not lie in the file", b->filename, directories[i]);
    bool zero_grain = load_le32(head) == VMDK_MAGIC && (load_le32(head + SE_FLAGS) & SEF_ZERO_GRAIN);
    sparse_init(b, zero_grain ? &zero_grain_ops : &extent_ops, grain * 512, 0, 0);
    return true;
}

/* --- making */

static void put_directory(uint8_t *image, uint64_t at, uint64_t tables_at, uint64_t tables)
{
    for (uint64_t i = 0; i < tables; i++)
        store_le32(image + at * 512 + i * 4, (uint32_t)(tables_at + i * (VMDK_GTES * 4 / 512)));
}

bool vmdk_extent_make(BlockGraph *g, const char *filename, const VmdkShape *shape, const char *descriptor, GError **err)
{
    uint64_t grains = (shape->sectors + GRAIN_SECTORS - 1) / GRAIN_SECTORS, tables = (grains + VMDK_GTES - 1) / VMDK_GTES;
    uint64_t gd_sectors = (tables * 4 + 511) / 512, gt_sectors = tables * (VMDK_GTES * 4 / 512);
    uint64_t rgd = 1 + DESCRIPTOR_SECTORS, gd = rgd + gd_sectors + gt_sectors;
    uint64_t overhead = align_up(gd + gd_sectors + gt_sectors, GRAIN_SECTORS);
    if (descriptor && strlen(descriptor) > DESCRIPTOR_SECTORS * 512)
        return fail(err, "the names do not fit in a descriptor of %u bytes", DESCRIPTOR_SECTORS * 512);
    uint8_t h[SE_HEADER] = { 0 };
    static const uint8_t check[] = { '\n', ' ', '\r', '\n' };
    store_le32(h, VMDK_MAGIC);
    store_le32(h + SE_VERSION, shape->compressed ? 3 : shape->zero_grain ? 2 : 1);
    store_le32(h + SE_FLAGS, SEF_NEWLINE | SEF_RGD | (shape->compressed ? SEF_COMPRESSED | SEF_MARKERS : 0) |
                                 (shape->zero_grain ? SEF_ZERO_GRAIN : 0));
    store_le64(h + SE_CAPACITY, shape->sectors);
    store_le64(h + SE_GRAIN, GRAIN_SECTORS);
    store_le64(h + SE_DESC_AT, descriptor ? 1 : 0);
    store_le64(h + SE_DESC_SIZE, descriptor ? DESCRIPTOR_SECTORS : 0);
    store_le32(h + SE_GTES, VMDK_GTES);
    store_le64(h + SE_RGD, rgd);
    store_le64(h + SE_GD, gd);
    store_le64(h + SE_OVERHEAD, overhead);
    memcpy(h + SE_CHECK, check, sizeof check);
    store_le16(h + SE_COMPRESS, shape->compressed);
    g_autofree uint8_t *directories = g_malloc0(2 * gd_sectors * 512 + 1);
    put_directory(directories, 0, rgd + gd_sectors, tables);
    put_directory(directories, gd_sectors, gd + gd_sectors, tables);
    SparsePart parts[] = {
        { 0, h, sizeof h }, { rgd * 512, directories, gd_sectors * 512 }, { gd * 512, directories + gd_sectors * 512, gd_sectors * 512 },
        { 512, descriptor, descriptor ? strlen(descriptor) : 0 },
    };
    return sparse_make(g, filename, parts, ARRAY_LEN(parts), overhead * 512, err);
}
