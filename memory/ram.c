/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host memory behind RAM and ROM.  Anonymous private memory: its first touch costs a quarter of shared
 * memory's, and huge pages keep the host's own TLB misses down.  Aligned to 2 MiB so that huge pages fit. */
#include "memory/ram.h"

#include <errno.h>
#include <sys/mman.h>

#include "memory/dirty.h"
#include "util/bits.h"
#include "util/error.h"

#define HUGE (UINT64_C(2) << 20)

/* Address space for one byte per page number; pages of it appear as they are written. */
static uint8_t *reserve_flags(void)
{
    void *p = mmap(NULL, RAM_MAP_PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED)
        g_error("cannot reserve %u MiB of address space: %s", (unsigned)(RAM_MAP_PAGES >> 20),
                g_strerror(errno));
    madvise(p, RAM_MAP_PAGES, MADV_NOHUGEPAGE);     /* a huge page would hold flags of 8 GiB */
    madvise(p, RAM_MAP_PAGES, MADV_DONTDUMP);
    return p;
}

RamMap *ram_map_new(void)
{
    RamMap *m = g_new0(RamMap, 1);
    m->code_flags = reserve_flags();
    m->dirty_flags = reserve_flags();
    m->blocks = g_ptr_array_new();
    return m;
}

void ram_map_free(RamMap *m)
{
    if (!m)
        return;
    for (guint i = 0; i < m->blocks->len; i++) {
        RamBlock *b = m->blocks->pdata[i];
        munmap(b->host, b->len);
        g_free(b->name);
        g_free(b);
    }
    g_ptr_array_free(m->blocks, TRUE);
    munmap(m->code_flags, RAM_MAP_PAGES);
    munmap(m->dirty_flags, RAM_MAP_PAGES);
    g_free(m);
}

RamBlock *ram_alloc(RamMap *m, const char *name, uint64_t len, GError **err)
{
    uint64_t room = (RAM_MAP_PAGES - m->n_pages) << RAM_PAGE_SHIFT;
    if (!len || len > room) {
        fail(err, "%s: %" G_GUINT64_FORMAT " bytes of memory are not possible (1 byte to 1 TiB)", name, len);
        return NULL;
    }
    len = align_up(len, RAM_PAGE_SIZE);
    uint64_t slack = len >= HUGE ? HUGE : 0;
    uint8_t *p = mmap(NULL, len + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, 0);
    if (p == MAP_FAILED) {
        fail_errno(err, errno, "%s: cannot allocate %" G_GUINT64_FORMAT " MiB", name, len >> 20);
        return NULL;
    }
    if (slack) {
        uint8_t *host = (uint8_t *)(uintptr_t)align_up((uintptr_t)p, HUGE);
        if (host > p)
            munmap(p, (size_t)(host - p));
        uint64_t tail = slack - (uint64_t)(host - p);
        if (tail)
            munmap(host + len, tail);
        p = host;
        madvise(p, len, MADV_HUGEPAGE);             /* advice: hosts without it go on with small pages */
    }
    madvise(p, len, MADV_DONTDUMP);
    RamBlock *b = g_new(RamBlock, 1);
    *b = (RamBlock){ g_strdup(name), p, len, m->n_pages };
    m->n_pages += len >> RAM_PAGE_SHIFT;
    g_ptr_array_add(m->blocks, b);
    return b;
}

uint8_t *ram_page_host(const RamMap *m, uint64_t ram_page)
{
    unsigned lo = 0, hi = m->blocks->len;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        const RamBlock *b = m->blocks->pdata[mid];
        if (ram_page < b->first_page)
            hi = mid;
        else if (ram_page - b->first_page >= b->len >> RAM_PAGE_SHIFT)
            lo = mid + 1;
        else
            return b->host + ((ram_page - b->first_page) << RAM_PAGE_SHIFT);
    }
    return NULL;
}

uint64_t ram_page_of(const RamMap *m, const void *host)
{
    for (guint i = 0; i < m->blocks->len; i++) {
        const RamBlock *b = m->blocks->pdata[i];
        uint64_t at = (uint64_t)(uintptr_t)host - (uint64_t)(uintptr_t)b->host;
        if (at < b->len)
            return b->first_page + (at >> RAM_PAGE_SHIFT);
    }
    return RAM_PAGE_NONE;
}

void ram_written_slow(RamMap *m, uint64_t ram_page, uint64_t offset, uint64_t len)
{
    ram_page += offset >> RAM_PAGE_SHIFT;
    offset &= RAM_PAGE_SIZE - 1;
    if (__atomic_load_n(&m->dirty_clients, __ATOMIC_RELAXED) && len)
        dirty_mark(m, ram_page, (offset + len - 1) / RAM_PAGE_SIZE + 1);
    for (; len; ram_page++, offset = 0) {
        uint64_t n = MIN(len, RAM_PAGE_SIZE - offset);
        if (__atomic_load_n(&m->code_flags[ram_page], __ATOMIC_ACQUIRE) && m->written)
            m->written(m->written_self, ram_page, (unsigned)offset, (unsigned)n);
        len -= n;
    }
}
