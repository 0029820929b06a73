/* SPDX-License-Identifier: GPL-2.0-or-later
 * Bulk access to guest memory for devices. */
#include "memory/dma.h"

#include <string.h>

MemStatus dma_fill(Space *s, uint64_t pa, uint8_t byte, uint64_t len)
{
    uint8_t block[512];
    memset(block, byte, sizeof block);
    MemStatus worst = MEM_OK;
    while (len) {
        uint64_t n = MIN(len, sizeof block);
        MemStatus st = space_write(s, pa, block, n);
        if (st != MEM_OK && worst != MEM_UNASSIGNED)
            worst = st;
        pa += n;
        len -= n;
    }
    return worst;
}

uint8_t *dma_map(Space *s, uint64_t pa, uint64_t *len, bool write)
{
    MemSection sec;
    if (!space_lookup(s, pa, &sec) || !sec.host || (write && sec.readonly))
        return NULL;
    *len = MIN(*len, sec.len);
    return sec.host;
}

void dma_done(Space *s, const void *host, uint64_t len)
{
    RamMap *m = space_ram_map(s);
    uint64_t page = ram_page_of(m, host);
    if (page != RAM_PAGE_NONE && len)
        ram_written(m, page, (uint64_t)(uintptr_t)host & (RAM_PAGE_SIZE - 1), len);
}
