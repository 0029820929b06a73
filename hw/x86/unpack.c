/* SPDX-License-Identifier: GPL-2.0-or-later
 * Decompression of kernel payloads. */
#include "hw/x86/unpack.h"

#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "util/error.h"

static bool unpack_gzip(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *got, GError **err)
{
    z_stream z = { .next_in = (Bytef *)in, .avail_in = in_len, .next_out = out, .avail_out = out_len };
    if (inflateInit2(&z, 15 + 32) != Z_OK)
        return fail(err, "zlib: out of memory");
    int rc = inflate(&z, Z_FINISH);
    *got = z.total_out;
    inflateEnd(&z);
    return rc == Z_STREAM_END || fail(err, "broken gzip data after %zu bytes", *got);
}

static bool unpack_lzma(lzma_ret init, lzma_stream *s, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
                        size_t *got, GError **err)
{
    if (init != LZMA_OK)
        return fail(err, "liblzma: out of memory");
    s->next_in = in;
    s->avail_in = in_len;
    s->next_out = out;
    s->avail_out = out_len;
    lzma_ret rc = lzma_code(s, LZMA_FINISH);
    *got = s->total_out;
    lzma_end(s);
    return rc == LZMA_STREAM_END || fail(err, "broken xz data after %zu bytes", *got);
}

static bool unpack_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *got, GError **err)
{
    ZSTD_DStream *d = ZSTD_createDStream();
    ZSTD_inBuffer src = { in, in_len, 0 };
    ZSTD_outBuffer dst = { out, out_len, 0 };
    size_t rc = 1;
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 27);
    while (rc && !ZSTD_isError(rc) && src.pos < src.size && dst.pos < dst.size)
        rc = ZSTD_decompressStream(d, &dst, &src);
    ZSTD_freeDStream(d);
    *got = dst.pos;
    if (ZSTD_isError(rc))
        return fail(err, "broken zstd data after %zu bytes: %s", *got, ZSTD_getErrorName(rc));
    return rc == 0 || fail(err, "zstd data ends early, after %zu bytes", *got);
}

bool unpack(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *got, GError **err)
{
    lzma_stream s = LZMA_STREAM_INIT;
    const uint64_t memory = 256 << 20;
    if (in_len >= 2 && in[0] == 0x1f && in[1] == 0x8b)
        return unpack_gzip(in, in_len, out, out_len, got, err);
    if (in_len >= 6 && memcmp(in, "\xfd" "7zXZ", 6) == 0)
        return unpack_lzma(lzma_stream_decoder(&s, memory, 0), &s, in, in_len, out, out_len, got, err);
    if (in_len >= 4 && memcmp(in, "\x28\xb5\x2f\xfd", 4) == 0)
        return unpack_zstd(in, in_len, out, out_len, got, err);
    if (in_len >= 13 && in[0] == 0x5d && in[1] == 0 && in[2] == 0)
        return unpack_lzma(lzma_alone_decoder(&s, memory), &s, in, in_len, out, out_len, got, err);
    return fail(err, "compression is not one of gzip, xz, lzma, zstd (it starts with %02x %02x %02x %02x)",
                in_len > 0 ? in[0] : 0, in_len > 1 ? in[1] : 0, in_len > 2 ? in[2] : 0, in_len > 3 ? in[3] : 0);
}
