/* SPDX-License-Identifier: GPL-2.0-or-later
 * Dirty pages: a byte per page, a bit of it per client, changed by atomic operations. */
#include "memory/dirty.h"

#include <string.h>

void dirty_start(RamMap *m, DirtyClient c)
{
    for (uint64_t p = 0; p < m->n_pages; p++)
        __atomic_or_fetch(&m->dirty_flags[p], c, __ATOMIC_RELAXED);
    uint8_t before = __atomic_fetch_or(&m->dirty_clients, c, __ATOMIC_SEQ_CST);
    if (!before && m->log_switch)
        m->log_switch(m->log_self, true);
}

void dirty_stop(RamMap *m, DirtyClient c)
{
    uint8_t before = __atomic_fetch_and(&m->dirty_clients, (uint8_t)~c, __ATOMIC_SEQ_CST);
    if (before == c && m->log_switch)
        m->log_switch(m->log_self, false);
}

void dirty_mark(RamMap *m, uint64_t ram_page, uint64_t n)
{
    uint8_t all = DIRTY_DISPLAY | DIRTY_MIGRATION;
    for (uint64_t p = ram_page; p < ram_page + n; p++)
        if (__atomic_load_n(&m->dirty_flags[p], __ATOMIC_RELAXED) != all)
            __atomic_or_fetch(&m->dirty_flags[p], all, __ATOMIC_RELEASE);
}

bool dirty_test(const RamMap *m, DirtyClient c, uint64_t ram_page)
{
    return __atomic_load_n(&m->dirty_flags[ram_page], __ATOMIC_ACQUIRE) & c;
}

uint64_t dirty_harvest(RamMap *m, DirtyClient c, uint64_t ram_page, uint64_t n, uint8_t *bitmap)
{
    uint64_t found = 0;
    if (m->log_sync)
        m->log_sync(m->log_self, ram_page, n);
    if (bitmap)
        memset(bitmap, 0, (n + 7) / 8);
    for (uint64_t i = 0; i < n; i++) {
        if (!(__atomic_load_n(&m->dirty_flags[ram_page + i], __ATOMIC_RELAXED) & c))
            continue;
        __atomic_and_fetch(&m->dirty_flags[ram_page + i], (uint8_t)~c, __ATOMIC_ACQ_REL);
        found++;
        if (bitmap)
            bitmap[i / 8] |= (uint8_t)(1 << i % 8);
    }
    if (found && m->protect)
        m->protect(m->protect_self, ram_page, n);
    return found;
}
