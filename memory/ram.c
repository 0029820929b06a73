/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host memory behind RAM and ROM.  Anonymous private memory: its first touch costs a quarter of shared
 * memory's, and huge pages keep the host's own TLB misses down.  Aligned to 2 MiB so that huge pages fit. */
#include "memory/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

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

/* A file that has no name any more, as long as asked for.  -1: err says why. */
static int path_fd(const char *name, const char *path, uint64_t len, GError **err)
{
    g_autofree char *file = g_strdup_printf("%s/rhea-%s.XXXXXX", path, name);
    int fd = mkostemp(file, O_CLOEXEC);
    if (fd < 0) {
        fail_errno(err, errno, "-mem-path %s", path);
        return -1;
    }
    unlink(file);
    if (ftruncate(fd, len) == 0)
        return fd;
    fail_errno(err, errno, "-mem-path %s: %" G_GUINT64_FORMAT " MiB", path, len >> 20);
    close(fd);
    return -1;
}

/* Pages of the file system of -mem-path: huge ones are larger. */
static uint64_t path_page(const char *path)
{
    struct statfs fs;
    enum { HUGETLBFS = 0x958458f6 };
    return statfs(path, &fs) == 0 && fs.f_type == HUGETLBFS ? (uint64_t)fs.f_bsize : RAM_PAGE_SIZE;
}

/* Aligned to 2 MiB, or to `align` if that is more. */
static uint8_t *map(int fd, uint64_t len, uint64_t align)
{
    uint64_t slack = len >= HUGE || align > RAM_PAGE_SIZE ? MAX(HUGE, align) : 0;
    uint8_t *p = mmap(NULL, len + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    uint8_t *host = slack ? (uint8_t *)(uintptr_t)align_up((uintptr_t)p, slack) : p;
    int kind = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
    if (host > p)
        munmap(p, (size_t)(host - p));
    if (slack - (uint64_t)(host - p))
        munmap(host + len, slack - (uint64_t)(host - p));
    if (mmap(host, len, PROT_READ | PROT_WRITE, kind | MAP_FIXED, fd, 0) != MAP_FAILED)
        return host;
    int e = errno;
    munmap(host, len);
    errno = e;
    return NULL;
}

static bool populate(const char *name, uint8_t *p, uint64_t len, GError **err)
{
#ifndef MADV_POPULATE_WRITE
    enum { MADV_POPULATE_WRITE = 23 };
#endif
    if (madvise(p, len, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return fail_errno(err, errno, "-mem-prealloc: %s: %" G_GUINT64_FORMAT " MiB", name, len >> 20);
    for (uint64_t at = 0; at < len; at += RAM_PAGE_SIZE)        /* a kernel before 5.14 */
        *(volatile uint8_t *)(p + at) = 0;
    return true;
}

static uint8_t *host_memory(const RamHints *h, const char *name, uint64_t len, GError **err)
{
    uint64_t page = h->path ? path_page(h->path) : RAM_PAGE_SIZE;
    int fd = -1;
    uint64_t mapped = align_up(len, page);
    if (h->path && (fd = path_fd(name, h->path, mapped, err)) < 0)
        return NULL;
    uint8_t *p = map(fd, mapped, page);
    if (!p)
        fail_errno(err, errno, "%s: cannot allocate %" G_GUINT64_FORMAT " MiB", name, len >> 20);
    if (fd >= 0)
        close(fd);
    if (p && len >= HUGE && !h->path)
        madvise(p, len, MADV_HUGEPAGE);             /* advice: hosts without it go on with small pages */
    if (p && !h->keep_single)
        madvise(p, len, MADV_MERGEABLE);
    if (p && !h->dump)
        madvise(p, len, MADV_DONTDUMP);
    if (p && h->lock && mlock(p, len) < 0) {
        fail_errno(err, errno, "-overcommit mem-lock=on: %s: %" G_GUINT64_FORMAT " MiB ('ulimit -l' says how much may be locked)",
                   name, len >> 20);
        munmap(p, mapped);
        return NULL;
    }
    if (p && h->prealloc && !populate(name, p, len, err)) {
        munmap(p, mapped);
        return NULL;
    }
    return p;
}

RamBlock *ram_alloc(RamMap *m, const char *name, uint64_t len, GError **err)
{
    uint64_t room = (RAM_MAP_PAGES - m->n_pages) << RAM_PAGE_SHIFT;
    if (!len || len > room) {
        fail(err, "%s: %" G_GUINT64_FORMAT " bytes of memory are not possible (1 byte to 1 TiB)", name, len);
        return NULL;
    }
    len = align_up(len, RAM_PAGE_SIZE);
    uint8_t *p = host_memory(&m->hints, name, len, err);
    if (!p)
        return NULL;
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
