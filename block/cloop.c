/* SPDX-License-Identifier: GPL-2.0-or-later
 * cloop images (compressed loop devices, version 2), read-only: a shell script of 128 bytes, a table of offsets, zlib streams. */
#include <errno.h>
#include <string.h>

#include "block/deflate.h"
#include "block/sparse.h"
#include "util/endian.h"
#include "util/error.h"

enum { CLOOP_BLOCK = 128, CLOOP_BLOCKS = 132, CLOOP_TABLE = 136, MAX_BLOCK = 64 << 20, MAX_BLOCKS = (512 << 20) / 8 };

typedef struct Cloop { Sparse s; uint32_t blocks; } Cloop;

static int cloop_probe(const uint8_t *h, size_t n)
{
    static const char magic[] = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n";
    return n >= sizeof magic - 1 && !memcmp(h, magic, sizeof magic - 1) ? 2 : 0;
}

static int cloop_find(Block *b, uint64_t n, Place *out)
{
    Cloop *c = b->state;
    uint8_t words[16];
    if (n >= c->blocks)
        return -EIO;
    int r = meta_read(&c->s.meta, CLOOP_TABLE + n * 8, words, 16);
    uint64_t at = load_be64(words), end = load_be64(words + 8);
    *out = (Place){ PLACE_PACKED, at, end - at };
    /* Compression makes nothing more than a little larger. */
    return r ? r : end < at || end - at > 2 * (uint64_t)MAX_BLOCK || at < CLOOP_TABLE ? -EIO : 0;
}

static int cloop_unpack(Block *b, const Place *p, uint8_t *out)
{
    Cloop *c = b->state;
    g_autofree uint8_t *in = g_try_malloc(p->len + 1);
    int r = in ? block_read(b->file, p->at, in, p->len) : -ENOMEM;
    return r ? r : co_deflate_unpack(b->aio, 15, in, p->len, out, c->s.cluster);
}

static const SparseOps cloop_ops = { .co_find = cloop_find, .co_unpack = cloop_unpack };

static bool cloop_open(Block *b, GError **err)
{
    Cloop *c = b->state;
    uint8_t words[8];
    if (b->flags & BLOCK_RDWR)
        return fail(err, "%s: cloop images can only be read (read-only=on)", b->filename);
    meta_init(&c->s.meta, b->file);
    int r = meta_read(&c->s.meta, CLOOP_BLOCK, words, 8);
    if (r)
        return fail_errno(err, -r, "%s: cannot read the header", b->filename);
    uint32_t block = load_be32(words);
    c->blocks = load_be32(words + 4);
    if (!block || block % 512 || block > MAX_BLOCK)
        return fail(err, "%s: blocks of %u bytes are no multiple of 512 up to 64 MiB", b->filename, block);
    if (c->blocks > MAX_BLOCKS || CLOOP_TABLE + (c->blocks + UINT64_C(1)) * 8 > b->file->length)
        return fail(err, "%s: a table of %u blocks does not lie in the file", b->filename, c->blocks);
    b->length = (uint64_t)c->blocks * block;
    sparse_init(b, &cloop_ops, block, 0, 0);
    return true;
}

const BlockDriver block_cloop_driver = {
    .name = "cloop", .kind = BLOCK_KIND_FORMAT, .size = sizeof(Cloop), .probe = cloop_probe, .co_open = cloop_open,
    .co_close = sparse_close, .co_read = sparse_read, .co_map = sparse_map,
};
