/* SPDX-License-Identifier: GPL-2.0-or-later
 * Bochs growing images ("Redolog", subtype "Growing"), read-only: a catalog of extents, each with a bitmap of its sectors. */
#include <errno.h>
#include <string.h>

#include "block/sparse.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    BOCHS_TYPE = 32, BOCHS_SUBTYPE = 48, BOCHS_VERSION = 64, BOCHS_HEADER_SIZE = 68, BOCHS_CATALOG = 72, BOCHS_BITMAP = 76,
    BOCHS_EXTENT = 80, BOCHS_SIZE_V1 = 84, BOCHS_SIZE_V2 = 88, BOCHS_HEADER = 512, MAX_CATALOG = 1 << 20,
};
static const char bochs_magic[] = "Bochs Virtual HD Image";

typedef struct Bochs { Sparse s; uint64_t catalog_at, data_at, bitmap, extent; uint32_t catalog; } Bochs;

static int bochs_probe(const uint8_t *h, size_t n)
{
    return n >= BOCHS_HEADER && !memcmp(h, bochs_magic, sizeof bochs_magic) && !memcmp(h + BOCHS_TYPE, "Redolog", 8) &&
           !memcmp(h + BOCHS_SUBTYPE, "Growing", 8) ? 100 : 0;
}

static int bochs_find(Block *b, uint64_t n, Place *out)
{
    Bochs *s = b->state;
    uint8_t word[4], bits;
    uint64_t i = n * 512 / s->extent, sector = n - i * (s->extent / 512);
    *out = (Place){ PLACE_NONE };
    if (i >= s->catalog)
        return -EIO;
    int r = meta_read(&s->s.meta, s->catalog_at + i * 4, word, 4);
    if (r || load_le32(word) == 0xffffffff)
        return r;
    uint64_t at = s->data_at + load_le32(word) * (align_up(s->bitmap, 512) + s->extent);
    r = meta_read(&s->s.meta, at + sector / 8, &bits, 1);
    if (!r && (bits >> sector % 8 & 1))
        *out = (Place){ PLACE_DATA, at + align_up(s->bitmap, 512) + sector * 512 };
    return r;
}

static const SparseOps bochs_ops = { .co_find = bochs_find };

static bool bochs_open(Block *b, GError **err)
{
    Bochs *s = b->state;
    uint8_t h[BOCHS_HEADER];
    if (b->flags & BLOCK_RDWR)
        return fail(err, "%s: bochs images can only be read (read-only=on)", b->filename);
    meta_init(&s->s.meta, b->file);
    int r = meta_read(&s->s.meta, 0, h, sizeof h);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    uint32_t version = load_le32(h + BOCHS_VERSION);
    if (!bochs_probe(h, sizeof h) || (version != 0x10000 && version != 0x20000))
        return fail(err, "%s: not a growing Bochs image of version 1 or 2", b->filename);
    b->length = load_le64(h + (version == 0x10000 ? BOCHS_SIZE_V1 : BOCHS_SIZE_V2));
    s->catalog = load_le32(h + BOCHS_CATALOG);
    s->catalog_at = load_le32(h + BOCHS_HEADER_SIZE);
    s->data_at = s->catalog_at + (uint64_t)s->catalog * 4;
    s->bitmap = load_le32(h + BOCHS_BITMAP);
    s->extent = load_le32(h + BOCHS_EXTENT);
    if (s->catalog > MAX_CATALOG || s->extent < 512 || s->extent % 512 || s->extent > 64 << 20 || s->bitmap < s->extent / 512 / 8)
        return fail(err, "%s: %u extents of %" PRIu64 " bytes with bitmaps of %" PRIu64, b->filename, s->catalog, s->extent, s->bitmap);
    if (b->length > s->catalog * s->extent)
        return fail(err, "%s: %u extents do not hold %" PRIu64 " bytes", b->filename, s->catalog, b->length);
    sparse_init(b, &bochs_ops, 512, 0, 0);
    return true;
}

const BlockDriver block_bochs_driver = {
    .name = "bochs", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Bochs), .probe = bochs_probe, .co_open = bochs_open,
    .co_close = sparse_close, .co_read = sparse_read, .co_map = sparse_map,
};
