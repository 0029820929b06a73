/* SPDX-License-Identifier: GPL-2.0-or-later
 * Parallels expandable disks ("HDD"): a header, a table of 32-bit cluster places right behind it, clusters. */
#include <errno.h>
#include <string.h>

#include "block/sparse.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    PLS_VERSION = 16, PLS_HEADS = 20, PLS_CYLINDERS = 24, PLS_TRACKS = 28, PLS_ENTRIES = 32, PLS_SECTORS = 36, PLS_IN_USE = 44,
    PLS_DATA_AT = 48, PLS_FLAGS = 52, PLS_EXTENSION = 56, PLS_HEADER = 64,
    PLS_OPEN = 0x746f6e59, PLS_CLOSED = 0x312e3276, MAX_ENTRIES = 1 << 29, DEFAULT_CLUSTER = 1 << 20,
};
static const char old_magic[16] = "WithoutFreeSpace", new_magic[16] = "WithouFreSpacExt";

/* unit: entries count units of that many bytes. */
typedef struct Parallels { Sparse s; uint64_t unit; uint32_t entries; bool opened_mark; } Parallels;

static int parallels_probe(const uint8_t *h, size_t n)
{
    return n >= PLS_HEADER && (!memcmp(h, old_magic, 16) || !memcmp(h, new_magic, 16)) && load_le32(h + PLS_VERSION) == 2 ? 100 : 0;
}

static int parallels_find(Block *b, uint64_t n, Place *out)
{
    Parallels *p = b->state;
    uint8_t word[4];
    *out = (Place){ PLACE_NONE };
    if (n >= p->entries)
        return 0;
    int r = meta_read(&p->s.meta, PLS_HEADER + n * 4, word, 4);
    if (load_le32(word))
        *out = (Place){ PLACE_DATA, (uint64_t)load_le32(word) * p->unit };
    return r;
}

static int parallels_set(Block *b, uint64_t n, const Place *place)
{
    Parallels *p = b->state;
    uint8_t word[4];
    store_le32(word, place->kind == PLACE_DATA ? (uint32_t)(place->at / p->unit) : 0);
    if (n >= p->entries)
        return -EIO;
    return meta_write(&p->s.meta, PLS_HEADER + n * 4, word, 4, 1);
}

/* A mark in the header says that the image is open for writing; whoever finds it knows that it was not closed. */
static int mark(Block *b, bool in_use)
{
    Parallels *p = b->state;
    uint8_t word[4];
    store_le32(word, in_use ? PLS_OPEN : PLS_CLOSED);
    p->opened_mark = in_use;
    int r = meta_write(&p->s.meta, PLS_IN_USE, word, 4, 0);
    return r ? r : meta_commit(&p->s.meta);
}

static int parallels_before_commit(Block *b)
{
    Parallels *p = b->state;
    return !p->opened_mark && meta_dirty(&p->s.meta) ? mark(b, true) : 0;
}

static const SparseOps parallels_ops = { .co_find = parallels_find, .co_set = parallels_set,
                                         .co_before_commit = parallels_before_commit, .counts_leaks = true };

static bool parallels_open(Block *b, GError **err)
{
    Parallels *p = b->state;
    uint8_t h[PLS_HEADER];
    meta_init(&p->s.meta, b->file);
    int r = meta_read(&p->s.meta, 0, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    bool newer = !memcmp(h, new_magic, 16);
    if ((!newer && memcmp(h, old_magic, 16)) || load_le32(h + PLS_VERSION) != 2)
        return fail(err, "%s: not a Parallels image of version 2", b->filename);
    uint64_t cluster = (uint64_t)load_le32(h + PLS_TRACKS) * 512, sectors = load_le64(h + PLS_SECTORS);
    if (!newer)
        sectors &= UINT32_MAX;
    p->entries = load_le32(h + PLS_ENTRIES);
    p->unit = newer ? cluster : 512;
    if (!cluster || cluster > 64 << 20)
        return fail(err, "%s: clusters of %" PRIu64 " bytes", b->filename, cluster);
    if (sectors > INT64_MAX / 512 || p->entries > MAX_ENTRIES || sectors * 512 > p->entries * cluster)
        return fail(err, "%s: %u clusters do not hold %" PRIu64 " sectors", b->filename, p->entries, sectors);
    b->length = sectors * 512;
    uint64_t table_end = PLS_HEADER + (uint64_t)p->entries * 4, data_at = (uint64_t)load_le32(h + PLS_DATA_AT) * 512;
    if (!data_at)
        data_at = align_up(table_end, 512);
    if (table_end > b->file->length)
        return fail(err, "%s: a table of %u clusters does not lie in the file", b->filename, p->entries);
    if (data_at < table_end)
        return fail(err, "%s: data at %#" PRIx64 " overlap the table", b->filename, data_at);
    if (load_le64(h + PLS_EXTENSION) && (b->flags & BLOCK_RDWR))
        return fail(err, "%s: an image with a format extension can only be read (-r, read-only=on)", b->filename);
    if (load_le32(h + PLS_IN_USE) == PLS_OPEN)
        p->opened_mark = true;
    /* With the newer magic places are multiples of a cluster from the file's start. */
    if (newer)
        data_at = (data_at + cluster - 1) / cluster * cluster;
    sparse_init(b, &parallels_ops, cluster, data_at, 0);
    return true;
}

static int parallels_close(Block *b)
{
    Parallels *p = b->state;
    int r = 0;
    if (b->opened && (b->flags & BLOCK_RDWR)) {
        r = sparse_flush(b);
        if (!r && p->opened_mark)
            r = block_flush(b->file);
        if (!r && p->opened_mark)
            r = mark(b, false);
    }
    int close_result = sparse_close(b);
    return r ? r : close_result;
}

static bool parallels_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size, cluster = DEFAULT_CLUSTER;
    if (!block_opt_size(options, "cluster_size", &cluster, err) ||
        !sparse_make_size(options, (uint64_t)MAX_ENTRIES * DEFAULT_CLUSTER, &size, err))
        return false;
    if (!cluster || cluster % 512 || cluster > 64 << 20)
        return fail(err, "cluster_size %" PRIu64 " is not a multiple of 512 up to 64M", cluster);
    if (size / cluster > MAX_ENTRIES)
        return fail(err, "%" PRIu64 " bytes are too many for clusters of %" PRIu64 " bytes", size, cluster);
    size = align_up(size, 512);
    uint32_t entries = (uint32_t)((size + cluster - 1) / cluster);
    uint64_t data_at = (PLS_HEADER + (uint64_t)entries * 4 + cluster - 1) / cluster * cluster;
    g_autofree uint8_t *h = g_malloc0(PLS_HEADER);
    memcpy(h, new_magic, 16);
    static const struct { uint8_t at; uint32_t v; } fields[] = { { PLS_VERSION, 2 }, { PLS_HEADS, 16 }, { PLS_IN_USE, PLS_CLOSED } };
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
        store_le32(h + fields[i].at, fields[i].v);
    store_le32(h + PLS_CYLINDERS, (uint32_t)MIN(size / 512 / 16 / 32, UINT32_MAX));
    store_le32(h + PLS_TRACKS, (uint32_t)(cluster / 512));
    store_le32(h + PLS_ENTRIES, entries);
    store_le64(h + PLS_SECTORS, size / 512);
    store_le32(h + PLS_DATA_AT, (uint32_t)(data_at / 512));
    SparsePart part = { 0, h, PLS_HEADER };
    return sparse_make(g, filename, &part, 1, data_at, err);
}

static const BlockOption parallels_options[] = { { "cluster_size", "size", "Parallels image cluster size, default 1M" }, { NULL } };
static const BlockMaker parallels_maker = { .options = parallels_options, .co_create = parallels_create, .co_check = sparse_check };

const BlockDriver block_parallels_driver = {
    .name = "parallels", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Parallels), .probe = parallels_probe, .co_open = parallels_open,
    .co_close = parallels_close, .co_read = sparse_read, .co_write = sparse_write, .co_flush = sparse_flush, .co_zero = sparse_zero,
    .co_discard = sparse_discard, .co_map = sparse_map, .co_info = sparse_info, .maker = &parallels_maker,
};
