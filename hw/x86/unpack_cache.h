/* SPDX-License-Identifier: GPL-2.0-or-later
 * Kernels that have been unpacked before. */
#ifndef HW_X86_UNPACK_CACHE_H
#define HW_X86_UNPACK_CACHE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* $XDG_CACHE_HOME/rhea/kernels; NULL with RHEA_CACHE=off.  The caller frees it. */
char *unpack_cache_dir(void);
/* Names a file as it is now: where it is, when it changed, and how it starts.  The caller frees it. */
char *unpack_cache_key(const struct stat *st, const uint8_t *bytes, size_t len);

/* Compressed data for unpack(), which checks its checksum; NULL if there is none.  Whoever finds it broken forgets it. */
GMappedFile *unpack_cache_find(const char *dir, const char *key);
void unpack_cache_forget(const char *dir, const char *key);

/* Stores what is put between begin and end; nothing remains unless end is told that all is well.  NULL: there is no
 * cache, or it cannot be written; put and end take that. */
typedef struct CacheWriter CacheWriter;
CacheWriter *unpack_cache_begin(const char *dir, const char *key);
void unpack_cache_put(CacheWriter *w, const uint8_t *bytes, size_t len);
void unpack_cache_end(CacheWriter *w, bool good);

#endif
