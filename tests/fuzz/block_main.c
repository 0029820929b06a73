/* SPDX-License-Identifier: GPL-2.0-or-later
 * libFuzzer's entry points for the block layer.  The program's name says what it feeds: block-qcow2, block-nbd-client (links
 * to one program; tests/block/fuzz makes and runs them).
 *   block-any --pack IMAGE INPUT, --unpack INPUT IMAGE     go between images and inputs */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/block.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char **arg = *argv;
    if (*argc == 4 && (!strcmp(arg[1], "--pack") || !strcmp(arg[1], "--unpack"))) {
        (strcmp(arg[1], "--pack") ? fuzz_block_unpack : fuzz_block_pack)(arg[2], arg[3]);
        exit(0);
    }
    const char *slash = strrchr(arg[0], '/'), *name = slash ? slash + 1 : arg[0];
    fuzz_block_start(strncmp(name, "block-", 6) ? name : name + 6);
    atexit(fuzz_block_stop);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fuzz_block_input(data, len);
    return 0;
}
