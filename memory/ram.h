/* SPDX-License-Identifier: GPL-2.0-or-later
 * A machine's RAM and ROM as host memory.  Every 4 KiB page of it, whichever block it lies in, has one
 * machine-wide number, `ram_page`; per-page facts (does it hold translated code, is it dirty) are arrays
 * indexed by it. */
#ifndef MEMORY_RAM_H
#define MEMORY_RAM_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum { RAM_PAGE_SHIFT = 12, RAM_PAGE_SIZE = 1 << RAM_PAGE_SHIFT };
#define RAM_MAP_PAGES (UINT64_C(1) << 28)       /* numbers reserved: 1 TiB of RAM per machine */
#define RAM_PAGE_NONE UINT64_MAX

typedef struct RamBlock {
    char    *name;
    uint8_t *host;
    uint64_t len;               /* whole pages */
    uint64_t first_page;
} RamBlock;

/* What the user says of the host's memory; all false and NULL is what suits most. */
typedef struct RamHints {
    bool        keep_single;            /* -machine mem-merge=off: the host may not merge equal pages (ksm) */
    bool        dump;                   /* -machine dump-guest-core=on: it is part of core files */
    bool        prealloc;               /* -mem-prealloc: all of it is taken now, or starting fails */
    bool        lock;                   /* -overcommit mem-lock=on: it stays in the host's memory */
    const char *path;                   /* -mem-path: a folder, of huge pages say, in which a file of it is made */
} RamHints;

typedef struct RamMap {
    RamHints  hints;                    /* for what is allocated after they have been set */
    /* code_flags[page] != 0: translated code was read from it, so a writer must call `written`.  Never moves;
     * set and cleared by the accelerator with atomic byte stores. */
    uint8_t  *code_flags;
    /* Bits of DirtyClient that have been written since their last harvest (memory/dirty.h). */
    uint8_t  *dirty_flags;
    uint8_t   dirty_clients;    /* bits of those that are listening */
    uint64_t  n_pages;          /* numbers given out */
    /* RamBlock, by first_page.  Changes under the topology lock before the machine runs. */
    GPtrArray *blocks;

    /* Set by the accelerator.  Called after bytes of a page with a code flag have changed, in the writer's
     * thread, before the write returns.  Device locks may be held: it only unlinks and kicks, it does not
     * wait. */
    void    (*written)(void *self, uint64_t ram_page, unsigned offset, unsigned len);
    void     *written_self;
    /* Set by the accelerator.  Dirty bits of these pages were cleared: writes must be seen again. */
    void    (*protect)(void *self, uint64_t ram_page, uint64_t n);
    void     *protect_self;
    /* An accelerator that keeps a log of its own of what the guest writes: it starts with the first client and ends with
     * the last; sync marks what it has of these pages, before they are harvested.  NULL: none. */
    void    (*log_switch)(void *self, bool on);
    void    (*log_sync)(void *self, uint64_t ram_page, uint64_t n);
    void     *log_self;
} RamMap;

RamMap *ram_map_new(void);
void    ram_map_free(RamMap *m);        /* unmaps all blocks */

/* Before the machine runs.  Zeroed memory as the hints say, by default anonymous with huge-page advice; len is rounded up to pages.  NULL: err says why. */
RamBlock *ram_alloc(RamMap *m, const char *name, uint64_t len, GError **err);
/* Host address of a page's first byte, NULL for a number that was not given out. */
uint8_t  *ram_page_host(const RamMap *m, uint64_t ram_page);
/* Inverse; RAM_PAGE_NONE if host lies in no block. */
uint64_t  ram_page_of(const RamMap *m, const void *host);

/* Tell that bytes were stored to RAM behind the spaces' back (generated code's slow path, a device with a
 * host pointer): marks dirty, and calls `written` where a page holds code.  The range may cross pages of one
 * block. */
void ram_written_slow(RamMap *m, uint64_t ram_page, uint64_t offset, uint64_t len);
static inline void ram_written(RamMap *m, uint64_t ram_page, uint64_t offset, uint64_t len)
{
    uint64_t first = ram_page + (offset >> RAM_PAGE_SHIFT);
    bool one = (offset & (RAM_PAGE_SIZE - 1)) + len <= RAM_PAGE_SIZE;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);    /* who makes code of the page sees our bytes, or we see its flag */
    if (one && !__atomic_load_n(&m->code_flags[first], __ATOMIC_ACQUIRE) &&
        !__atomic_load_n(&m->dirty_clients, __ATOMIC_RELAXED))
        return;
    ram_written_slow(m, ram_page, offset, len);
}

#endif
