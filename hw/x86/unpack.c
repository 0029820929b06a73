/* SPDX-License-Identifier: GPL-2.0-or-later
 * Decompression of kernel payloads, by the piece, so that nobody needs room for the whole. */
#include "hw/x86/unpack.h"

#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "util/error.h"

#define MEMORY_LIMIT (UINT64_C(256) << 20)  /* that a stream may ask for; Linux's dictionaries have up to 128 MiB */

typedef struct Out {
    UnpackFn *fn;
    void     *self;
    uint64_t  done;                         /* bytes passed on */
    uint8_t  *piece;
} Out;

static bool pass_on(Out *o, size_t len, GError **err)
{
    o->done += len;
    return !len || o->fn(o->self, o->piece, len, err);
}

static bool unpack_gzip(const uint8_t *in, size_t in_len, Out *o, GError **err)
{
    z_stream z = { .next_in = (Bytef *)in };
    int rc = inflateInit2(&z, 15 + 16);
    if (rc != Z_OK)
        return fail(err, "zlib: out of memory");
    bool ok = true;
    while (ok && rc == Z_OK) {
        size_t feed = MIN(in_len - (size_t)(z.next_in - in), UINT32_MAX);   /* its counters have 32 bits */
        z.avail_in = feed;
        z.next_out = o->piece;
        z.avail_out = UNPACK_PIECE;
        while (rc == Z_OK && z.avail_out && z.avail_in)
            rc = inflate(&z, Z_NO_FLUSH);
        if (rc == Z_OK && !z.avail_in && z.avail_out)
            rc = inflate(&z, Z_FINISH) == Z_STREAM_END ? Z_STREAM_END : Z_BUF_ERROR;
        if (rc == Z_OK || rc == Z_STREAM_END)
            ok = pass_on(o, UNPACK_PIECE - z.avail_out, err);
    }
    inflateEnd(&z);
    return ok && (rc == Z_STREAM_END || fail(err, "broken gzip data after %" G_GUINT64_FORMAT " bytes", o->done));
}

static bool unpack_lzma(lzma_ret rc, lzma_stream *s, const uint8_t *in, size_t in_len, Out *o, GError **err)
{
    if (rc != LZMA_OK)
        return fail(err, "liblzma: out of memory");
    bool ok = true;
    s->next_in = in;
    s->avail_in = in_len;
    while (ok && rc == LZMA_OK) {
        s->next_out = o->piece;
        s->avail_out = UNPACK_PIECE;
        while (rc == LZMA_OK && s->avail_out)
            rc = lzma_code(s, LZMA_FINISH);
        if (rc == LZMA_OK || rc == LZMA_STREAM_END)
            ok = pass_on(o, UNPACK_PIECE - s->avail_out, err);
    }
    lzma_end(s);
    if (ok && rc == LZMA_MEMLIMIT_ERROR)
        return fail(err, "xz data with a dictionary of more than 256 MiB");
    return ok && (rc == LZMA_STREAM_END || fail(err, "broken xz data after %" G_GUINT64_FORMAT " bytes", o->done));
}

static bool unpack_zstd(const uint8_t *in, size_t in_len, Out *o, GError **err)
{
    ZSTD_DStream *d = ZSTD_createDStream();
    if (!d)
        return fail(err, "zstd: out of memory");
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 27);
    ZSTD_inBuffer src = { in, in_len, 0 };
    size_t rc = 1;
    bool ok = true, more = true;
    while (ok && more) {
        ZSTD_outBuffer dst = { o->piece, UNPACK_PIECE, 0 };
        while (more && dst.pos < dst.size) {
            size_t from = src.pos, to = dst.pos;
            rc = ZSTD_decompressStream(d, &dst, &src);
            more = rc && !ZSTD_isError(rc) && (src.pos > from || dst.pos > to);
        }
        if (more || rc == 0)
            ok = pass_on(o, dst.pos, err);
    }
    ZSTD_freeDStream(d);
    if (!ok)
        return false;
    if (ZSTD_isError(rc))
        return fail(err, "broken zstd data after %" G_GUINT64_FORMAT " bytes: %s", o->done, ZSTD_getErrorName(rc));
    return rc == 0 || fail(err, "zstd data ends early, after %" G_GUINT64_FORMAT " bytes", o->done);
}

bool unpack(const uint8_t *in, size_t in_len, UnpackFn *fn, void *self, GError **err)
{
    g_autofree uint8_t *piece = g_malloc(UNPACK_PIECE);
    Out o = { fn, self, 0, piece };
    lzma_stream s = LZMA_STREAM_INIT;
    if (in_len >= 2 && in[0] == 0x1f && in[1] == 0x8b)
        return unpack_gzip(in, in_len, &o, err);
    if (in_len >= 6 && memcmp(in, "\xfd" "7zXZ", 6) == 0)
        return unpack_lzma(lzma_stream_decoder(&s, MEMORY_LIMIT, 0), &s, in, in_len, &o, err);
    if (in_len >= 4 && memcmp(in, "\x28\xb5\x2f\xfd", 4) == 0)
        return unpack_zstd(in, in_len, &o, err);
    if (in_len >= 13 && in[0] == 0x5d && in[1] == 0 && in[2] == 0)
        return unpack_lzma(lzma_alone_decoder(&s, MEMORY_LIMIT), &s, in, in_len, &o, err);
    return fail(err, "compression is not one of gzip, xz, lzma, zstd (it starts with %02x %02x %02x %02x)",
                in_len > 0 ? in[0] : 0, in_len > 1 ? in[1] : 0, in_len > 2 ? in[2] : 0, in_len > 3 ? in[3] : 0);
}
