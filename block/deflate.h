/* SPDX-License-Identifier: GPL-2.0-or-later
 * Compressed clusters of formats that use zlib.  window: 15 with zlib's own header, -12 for raw deflate of that window;
 * no others. */
#ifndef BLOCK_DEFLATE_H
#define BLOCK_DEFLATE_H

#include "block/aio.h"

/* Any thread.  Must give exactly out_len bytes; what follows in the input is ignored.  -EIO, -ENOMEM. */
int deflate_unpack(int window, const void *in, size_t in_len, void *out, size_t out_len);
/* *out_len: room, then bytes used.  -ENOSPC: does not fit. */
int deflate_pack(int window, const void *in, size_t in_len, void *out, size_t *out_len);
/* The same by a helper thread. */
int co_deflate_unpack(Aio *a, int window, const void *in, size_t in_len, void *out, size_t out_len);
int co_deflate_pack(Aio *a, int window, const void *in, size_t in_len, void *out, size_t *out_len);

#endif
