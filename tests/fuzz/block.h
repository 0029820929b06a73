/* SPDX-License-Identifier: GPL-2.0-or-later
 * The block layer's fuzz targets: libFuzzer runs them by block_main.c, the corpus is replayed by block_corpus.c. */
#ifndef TESTS_FUZZ_BLOCK_H
#define TESTS_FUZZ_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/* target: a format's name, "vvfat", "nbd-server" or "nbd-client"; ends the program if it is none.  The string stays the caller's. */
void fuzz_block_start(const char *target);
void fuzz_block_input(const uint8_t *data, size_t len);
void fuzz_block_stop(void);

/* Between images and inputs of those targets that take images. */
void fuzz_block_pack(const char *image, const char *input);
void fuzz_block_unpack(const char *input, const char *image);

#endif
