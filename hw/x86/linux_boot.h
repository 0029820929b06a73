/* SPDX-License-Identifier: GPL-2.0-or-later
 * -kernel on x86 without firmware. */
#ifndef HW_X86_LINUX_BOOT_H
#define HW_X86_LINUX_BOOT_H

#include "memory/dma.h"
#include "util/error.h"

typedef struct E820Entry { uint64_t at, len; uint32_t type; } __attribute__((packed)) E820Entry;
enum { E820_RAM = 1, E820_RESERVED = 2, E820_MAX = 16 };

typedef struct BootInfo {
    const char *kernel, *initrd, *append;       /* initrd, append: may be NULL */
    const char *cache;                          /* directory of unpacked kernels, or NULL */
    uint64_t    low_ram;                        /* end of RAM below 4 GiB */
    uint32_t    rsdp;
    E820Entry   e820[E820_MAX];
    unsigned    n_e820;
} BootInfo;

/* How the first CPU starts. */
typedef struct BootEntry {
    bool     long_mode;         /* 64-bit with the page tables at cr3, boot_params in RSI; else 32-bit, unpaged: */
    bool     linux32;           /* boot_params in ESI; else PVH, start info in EBX */
    uint64_t pc, arg, cr3;
    uint64_t gdt;               /* of four descriptors: null, null, code at 10h, data at 18h */
    uint16_t gdt_limit;
} BootEntry;

/* open checks the files and finds places for all; load puts the bytes into memory, at start and at each reset.  fresh:
 * nothing has been written to memory yet, so that zeros need not be either. */
typedef struct BootImage BootImage;
BootImage *boot_image_open(const BootInfo *info, GError **err);
bool boot_image_load(const BootImage *b, Space *mem, bool fresh, BootEntry *entry, GError **err);
void boot_image_free(BootImage *b);

#endif
