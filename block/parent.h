/* SPDX-License-Identifier: GPL-2.0-or-later
 * How disks of Windows programs name their parents: paths with backslashes and drive letters, in UTF-16. */
#ifndef BLOCK_PARENT_H
#define BLOCK_PARENT_H

#include "block/driver.h"

/* A path in UTF-16, as a name that block_path_beside() takes; NULL if it is none. */
char *parent_from_utf16(const uint8_t *text, size_t bytes, bool big_endian);
/* The other way; slashes become backslashes.  *bytes: without a terminator. */
uint8_t *parent_to_utf16(const char *path, bool big_endian, size_t *bytes);
/* Names in order of preference (NULL ones are skipped): the first whose file is there, by itself or beside `over`, otherwise
 * the first; NULL: there is none. */
char *parent_choose(const char *over, char *const *names, unsigned n);
/* For co_create: opens the parent that options name (backing_file, backing_fmt; the format must be `format`) to read from
 * it; *out stays NULL if they name none.  *name is theirs. */
bool parent_for_new(BlockGraph *g, const char *filename, Json *options, const char *format, Block **out, const char **name, GError **err);

#endif
