/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_X86_UNPACK_H
#define HW_X86_UNPACK_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Takes what comes out, in order, in pieces of UNPACK_PIECE bytes, the last one shorter.  False ends it. */
typedef bool UnpackFn(void *self, const uint8_t *bytes, size_t len, GError **err);
enum { UNPACK_PIECE = 256 << 10 };

/* Decompresses gzip, xz, lzma or zstd data (told by its magic).  Trailing bytes are ignored. */
bool unpack(const uint8_t *in, size_t in_len, UnpackFn *fn, void *self, GError **err);

#endif
