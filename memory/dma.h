/* SPDX-License-Identifier: GPL-2.0-or-later
 * What device models use to reach guest memory: typed little-endian loads and stores on a space, and direct
 * host pointers for bulk data. */
#ifndef MEMORY_DMA_H
#define MEMORY_DMA_H

#include "memory/space.h"
#include "util/endian.h"

static inline MemStatus dma_read(Space *s, uint64_t pa, void *buf, uint64_t len)
{
    return space_read(s, pa, buf, len);
}
static inline MemStatus dma_write(Space *s, uint64_t pa, const void *buf, uint64_t len)
{
    return space_write(s, pa, buf, len);
}
static inline uint16_t dma_load16(Space *s, uint64_t pa) { return (uint16_t)space_load(s, pa, 2, NULL); }
static inline uint32_t dma_load32(Space *s, uint64_t pa) { return (uint32_t)space_load(s, pa, 4, NULL); }
static inline uint64_t dma_load64(Space *s, uint64_t pa) { return space_load(s, pa, 8, NULL); }
static inline void dma_store16(Space *s, uint64_t pa, uint16_t v) { space_store(s, pa, 2, v); }
static inline void dma_store32(Space *s, uint64_t pa, uint32_t v) { space_store(s, pa, 4, v); }
static inline void dma_store64(Space *s, uint64_t pa, uint64_t v) { space_store(s, pa, 8, v); }
/* The worst status met; the rest is done all the same. */
MemStatus dma_fill(Space *s, uint64_t pa, uint8_t byte, uint64_t len);

/* Host memory behind [pa, pa + *len), as far as it is one piece of RAM (of writable RAM if `write`): *len is
 * cut to that.  NULL: no RAM there; go through dma_read/dma_write.  After writing, dma_done() reports the
 * bytes.  The pointer stays good as long as the RAM exists, which is as long as the machine. */
uint8_t *dma_map(Space *s, uint64_t pa, uint64_t *len, bool write);
void     dma_done(Space *s, const void *host, uint64_t len);

#endif
