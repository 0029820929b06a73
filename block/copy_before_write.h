/* SPDX-License-Identifier: GPL-2.0-or-later
 * The filter that a backup puts over its source. */
#ifndef BLOCK_COPY_BEFORE_WRITE_H
#define BLOCK_COPY_BEFORE_WRITE_H

#include "block/bitmap.h"

/* What is still to be copied: a bitmap that the filter has. */
BlockBitmap *cbw_todo(Block *filter);
void cbw_set_compress(Block *filter, bool compress);
/* Copies what is still to be copied of the range; *reading: which side failed. */
int cbw_copy(Block *filter, uint64_t at, uint64_t len, bool *reading);
/* 0, or why the target is no longer what the source was. */
int cbw_broken(Block *filter);

#endif
