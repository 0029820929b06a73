/* SPDX-License-Identifier: GPL-2.0-or-later
 * Compressed clusters of formats that use zlib (deflate.h). */
#include "block/deflate.h"

#include <errno.h>
#include <zlib.h>

/* A state is of a helper thread as its stack is: making one takes half as long as unpacking a small cluster. */
static void free_state(void *p)
{
    inflateEnd(p);
    g_free(p);
}

static z_stream *inflate_state(void)
{
    static GPrivate key = G_PRIVATE_INIT(free_state);
    z_stream *z = g_private_get(&key);
    if (z)
        return z;
    z = g_new0(z_stream, 1);
    if (inflateInit2(z, 15) != Z_OK) {
        g_free(z);
        return NULL;
    }
    g_private_set(&key, z);
    return z;
}

int deflate_unpack(int window, const void *in, size_t in_len, void *out, size_t out_len)
{
    z_stream *z = inflate_state();
    if (!z || inflateReset2(z, window) != Z_OK)
        return -ENOMEM;
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)in_len;
    z->next_out = out;
    z->avail_out = (uInt)out_len;
    int r = inflate(z, Z_FINISH);
    return (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK) && !z->avail_out ? 0 : -EIO;
}

static void free_packer(void *p)
{
    deflateEnd(p);
    g_free(p);
}

/* As above, one for each window: setting one up costs a fifth of packing a cluster. */
static z_stream *packer(int window)
{
    static GPrivate raw = G_PRIVATE_INIT(free_packer), headed = G_PRIVATE_INIT(free_packer);
    GPrivate *key = window < 0 ? &raw : &headed;
    z_stream *z = g_private_get(key);
    if (z)
        return deflateReset(z) == Z_OK ? z : NULL;
    z = g_new0(z_stream, 1);
    if (deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, window, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        g_free(z);
        return NULL;
    }
    g_private_set(key, z);
    return z;
}

int deflate_pack(int window, const void *in, size_t in_len, void *out, size_t *out_len)
{
    z_stream *z = packer(window);
    if (!z)
        return -ENOMEM;
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)in_len;
    z->next_out = out;
    z->avail_out = (uInt)*out_len;
    int r = deflate(z, Z_FINISH);
    *out_len -= z->avail_out;
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
    return co_compute(a, unpack, &(Work){ window, in, out, in_len, out_len });
}

int co_deflate_pack(Aio *a, int window, const void *in, size_t in_len, void *out, size_t *out_len)
{
    Work w = { window, in, out, in_len, *out_len };
    int r = co_compute(a, pack, &w);
    *out_len = w.out_len;
    return r;
}
