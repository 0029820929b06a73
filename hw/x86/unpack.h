/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_X86_UNPACK_H
#define HW_X86_UNPACK_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decompresses gzip, xz, lzma or zstd data (told by its magic) into exactly out_len bytes at most; *got says how many
 * came.  Trailing bytes are ignored. */
bool unpack(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *got, GError **err);

#endif
