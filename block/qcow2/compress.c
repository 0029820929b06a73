/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: compressed clusters, zlib's raw deflate (window of 12 bits) or zstd, worked on by helper threads. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "block/deflate.h"
#include "block/qcow2/qcow2_int.h"

typedef struct Work {
    const uint8_t *in;
    uint8_t *out;
    size_t   in_len, out_len;   /* out_len: room, then what was used */
    unsigned type;
} Work;

static int unpack(void *self)
{
    Work *w = self;
    if (w->type == Q2_ZSTD) {
        /* What follows in the last sector is not ours, so as a stream: it stops when a cluster is full. */
        ZSTD_DCtx *ctx = ZSTD_createDCtx();
        ZSTD_inBuffer in = { w->in, w->in_len, 0 };
        ZSTD_outBuffer out = { w->out, w->out_len, 0 };
        size_t r = 1;
        while (ctx && out.pos < out.size && in.pos < in.size) {
            r = ZSTD_decompressStream(ctx, &out, &in);
            if (ZSTD_isError(r))
                break;
        }
        ZSTD_freeDCtx(ctx);
        return out.pos == out.size && !ZSTD_isError(r) ? 0 : -EIO;
    }
    return deflate_unpack(-12, w->in, w->in_len, w->out, w->out_len);
}

static int pack(void *self)
{
    Work *w = self;
    if (w->type == Q2_ZSTD) {
        size_t n = ZSTD_compress(w->out, w->out_len, w->in, w->in_len, ZSTD_CLEVEL_DEFAULT);
        if (ZSTD_isError(n))
            return -ENOSPC;
        w->out_len = n;
        return 0;
    }
    return deflate_pack(-12, w->in, w->in_len, w->out, &w->out_len);
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
        r = co_work(b->aio, unpack, &w);
    free(in);
    return r;
}

int q2_pack(Block *b, const uint8_t *in, uint8_t *out, size_t *len)
{
    Qcow2 *q = b->state;
    /* It must save a byte at least, or the cluster is stored plainly. */
    Work w = { .in = in, .in_len = q->cluster_size, .out = out, .out_len = q->cluster_size - 1, .type = q->compression };
    int r = co_work(b->aio, pack, &w);
    *len = w.out_len;
    return r;
}
