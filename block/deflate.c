/* SPDX-License-Identifier: GPL-2.0-or-later
 * Compressed clusters of formats that use zlib (deflate.h). */
#include "block/deflate.h"

#include <errno.h>
#include <zlib.h>

int deflate_unpack(int window, const void *in, size_t in_len, void *out, size_t out_len)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)out_len };
    if (inflateInit2(&z, window) != Z_OK)
        return -ENOMEM;
    int r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    return (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK) && !z.avail_out ? 0 : -EIO;
}

int deflate_pack(int window, const void *in, size_t in_len, void *out, size_t *out_len)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)in_len, .next_out = out, .avail_out = (uInt)*out_len };
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    int r = deflate(&z, Z_FINISH);
    *out_len -= z.avail_out;
    deflateEnd(&z);
    return r == Z_STREAM_END ? 0 : -ENOSPC;
}

typedef struct Work { int window; const void *in; void *out; size_t in_len, out_len; } Work;

static int unpack(void *self)
{
    Work *w = self;
    return deflate_unpack(w->window, w->in, w->in_len, w->out, w->out_len);
}

static int pack(void *self)
{
    Work *w = self;
    return deflate_pack(w->window, w->in, w->in_len, w->out, &w->out_len);
}

int co_deflate_unpack(Aio *a, int window, const void *in, size_t in_len, void *out, size_t out_len)
{
    return co_work(a, unpack, &(Work){ window, in, out, in_len, out_len });
}

int co_deflate_pack(Aio *a, int window, const void *in, size_t in_len, void *out, size_t *out_len)
{
    Work w = { window, in, out, in_len, *out_len };
    int r = co_work(a, pack, &w);
    *out_len = w.out_len;
    return r;
}
