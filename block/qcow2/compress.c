/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: compressed clusters, zlib's raw deflate (window of 12 bits) or zstd, worked on by helper threads.
 *
 * A helper gets several clusters at a time, since handing one over costs some tens of microseconds, and what it makes of them
 * lies together, to be written by one request. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "block/deflate.h"
#include "block/qcow2/qcow2_int.h"

typedef struct Work {
    const uint8_t *in;
    uint8_t *out;
    size_t   in_len, out_len;
    unsigned type;
} Work;

/* Contexts are of a helper thread as its stack is; making one costs as much as using it on a cluster. */
static void free_packer(void *p) { ZSTD_freeCCtx(p); }
static void free_unpacker(void *p) { ZSTD_freeDCtx(p); }

static ZSTD_CCtx *packer(void)
{
    static GPrivate key = G_PRIVATE_INIT(free_packer);
    ZSTD_CCtx *ctx = g_private_get(&key);
    if (!ctx)
        g_private_set(&key, ctx = ZSTD_createCCtx());
    return ctx;
}

static ZSTD_DCtx *unpacker(void)
{
    static GPrivate key = G_PRIVATE_INIT(free_unpacker);
    ZSTD_DCtx *ctx = g_private_get(&key);
    if (!ctx)
        g_private_set(&key, ctx = ZSTD_createDCtx());
    if (ctx)
        ZSTD_DCtx_reset(ctx, ZSTD_reset_session_only);
    return ctx;
}

static int unpack(void *self)
{
    Work *w = self;
    if (w->type == Q2_ZSTD) {
        /* What follows in the last sector is not ours, so as a stream: it stops when a cluster is full. */
        ZSTD_DCtx *ctx = unpacker();
        ZSTD_inBuffer in = { w->in, w->in_len, 0 };
        ZSTD_outBuffer out = { w->out, w->out_len, 0 };
        size_t r = 1;
        while (ctx && out.pos < out.size && in.pos < in.size) {
            r = ZSTD_decompressStream(ctx, &out, &in);
            if (ZSTD_isError(r))
                break;
        }
        return out.pos == out.size && !ZSTD_isError(r) ? 0 : -EIO;
    }
    return deflate_unpack(-12, w->in, w->in_len, w->out, w->out_len);
}

static int pack_one(unsigned type, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
    if (type != Q2_ZSTD)
        return deflate_pack(-12, in, in_len, out, out_len);
    ZSTD_CCtx *ctx = packer();
    if (!ctx)
        return -ENOMEM;
    size_t n = ZSTD_compressCCtx(ctx, out, *out_len, in, in_len, ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(n))
        return -ENOSPC;
    *out_len = n;
    return 0;
}

typedef struct Pack {
    const uint8_t *in;
    uint8_t *out;
    size_t   n, cluster, *len;
    unsigned type;
} Pack;

static int pack(void *self)
{
    Pack *p = self;
    uint8_t *out = p->out;
    for (size_t i = 0; i < p->n; i++) {
        /* It must save a byte at least, or the cluster is stored plainly. */
        size_t len = p->cluster - 1;
        int r = pack_one(p->type, p->in + i * p->cluster, p->cluster, out, &len);
        if (r && r != -ENOSPC)
            return r;
        p->len[i] = r ? 0 : len;
        out += p->len[i];
    }
    return 0;
}

int q2_unpack(Block *b, uint64_t entry, uint8_t *out)
{
    Qcow2 *q = b->state;
    uint64_t at, len;
    q2_compressed_range(q, entry, &at, &len);
    uint8_t *in = block_buffer(len);
    if (!in)
        return -ENOMEM;
    int r = block_read(b->file, at, in, len);
    Work w = { .in = in, .in_len = len, .out = out, .out_len = q->cluster_size, .type = q->compression };
    if (!r)
        r = co_compute(b->aio, unpack, &w);
    free(in);
    return r;
}

int q2_pack(Block *b, const uint8_t *in, size_t n, uint8_t *out, size_t *len)
{
    Qcow2 *q = b->state;
    Pack p = { .in = in, .out = out, .n = n, .cluster = q->cluster_size, .len = len, .type = q->compression };
    return co_compute(b->aio, pack, &p);
}
