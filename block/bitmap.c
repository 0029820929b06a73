/* SPDX-License-Identifier: GPL-2.0-or-later
 * Dirty bitmaps (bitmap.h). */
#include "block/bitmap.h"

#include <assert.h>
#include <string.h>

#include "block/driver.h"
#include "util/bits.h"
#include "util/error.h"

enum { PAGE_BYTES = 4096, PAGE_BITS = PAGE_BYTES * 8, DEFAULT_SHIFT = 16, MIN_DEFAULT = 4096, MAX_NAME = 1023 };

/* Stands for a page whose bits are all set; never read or written. */
static const uint8_t all_set_page;
#define all_set ((uint8_t *)(uintptr_t)&all_set_page)

static uint64_t pages(uint64_t n_bits) { return (n_bits + PAGE_BITS - 1) / PAGE_BITS; }

/* --- pages */

static void page_free(uint8_t *p)
{
    if (p != all_set)
        g_free(p);
}

static uint64_t bits_of_page(const BlockBitmap *m, uint64_t i) { return MIN(m->n_bits - i * PAGE_BITS, PAGE_BITS); }

static uint8_t *page_writable(BlockBitmap *m, uint64_t i)
{
    uint8_t *p = m->page[i];
    if (p && p != all_set)
        return p;
    uint64_t n = bits_of_page(m, i);
    uint8_t *new = g_malloc0(PAGE_BYTES);
    if (p) {
        memset(new, 0xff, n / 8);
        if (n % 8)
            new[n / 8] = (uint8_t)bits_mask(n % 8);
    }
    return m->page[i] = new;
}

static int count_bits(const uint8_t *p, uint64_t from, uint64_t to)
{
    int n = 0;
    for (uint64_t i = from; i < to;) {
        if (!(i & 63) && i + 64 <= to) {
            uint64_t w;
            memcpy(&w, p + i / 8, 8);
            n += __builtin_popcountll(w);
            i += 64;
        } else {
            n += p[i / 8] >> i % 8 & 1;
            i++;
        }
    }
    return n;
}

/* Bits [from, to) of the bitmap. */
static void change(BlockBitmap *m, uint64_t from, uint64_t to, bool set)
{
    for (uint64_t next; from < to; from = next) {
        uint64_t i = from / PAGE_BITS, first = i * PAGE_BITS, n = bits_of_page(m, i);
        next = MIN(to, first + n);
        uint8_t *p = m->page[i];
        if (p == (set ? all_set : NULL))
            continue;
        uint64_t a = from - first, z = next - first;
        uint64_t had = p == all_set ? z - a : p ? (uint64_t)count_bits(p, a, z) : 0;
        m->n_set = m->n_set - had + (set ? z - a : 0);
        if (z - a == n) {
            page_free(p);
            m->page[i] = set ? all_set : NULL;
            continue;
        }
        p = page_writable(m, i);
        for (; a < z && a % 8; a++)
            p[a / 8] = (uint8_t)(set ? p[a / 8] | 1 << a % 8 : p[a / 8] & ~(1 << a % 8));
        if (a < z) {
            memset(p + a / 8, set ? 0xff : 0, (z - a) / 8);
            for (a += (z - a) / 8 * 8; a < z; a++)
                p[a / 8] = (uint8_t)(set ? p[a / 8] | 1 << a % 8 : p[a / 8] & ~(1 << a % 8));
        }
    }
}

/* The first bit at or behind i that is `set`; n_bits: none. */
static uint64_t find(const BlockBitmap *m, uint64_t i, uint64_t limit, bool set)
{
    limit = MIN(limit, m->n_bits);
    while (i < limit) {
        uint64_t k = i / PAGE_BITS, end = MIN(limit, k * PAGE_BITS + bits_of_page(m, k));
        const uint8_t *p = m->page[k];
        if (!p || p == all_set) {
            if (set == (p != NULL))
                return i;
            i = end;
            continue;
        }
        for (; i < end; i++) {
            uint64_t in = i % PAGE_BITS;
            uint8_t byte = p[in / 8];
            if (!(in % 8) && byte == (set ? 0 : 0xff)) {
                i += 7;
                continue;
            }
            if ((byte >> in % 8 & 1) == set)
                return i;
        }
        i = MIN(i, end);
    }
    return limit;
}

/* --- bitmaps */

static uint64_t bits_for(uint64_t length, unsigned shift) { return (length >> shift) + ((length & bits_mask(shift)) != 0); }

uint64_t block_bitmap_granularity(uint64_t length, uint64_t wanted)
{
    while (bits_for(length, bits_ctz(wanted)) > BITMAP_MAX_BITS)
        wanted <<= 1;
    return wanted;
}

BlockBitmap *block_bitmap_new(Block *b, const char *name, uint64_t granularity, GError **err)
{
    if (name && (!*name || strlen(name) > MAX_NAME)) {
        fail(err, "a bitmap's name has from 1 to %d bytes", MAX_NAME);
        return NULL;
    }
    for (BlockBitmap *m = b->bitmaps; m && name; m = m->next)
        if (m->name && !strcmp(m->name, name)) {
            fail(err, "Bitmap already exists: %s", name);
            return NULL;
        }
    if (!granularity) {
        BlockInfo info;
        granularity = 1 << DEFAULT_SHIFT;
        if (!block_info(b, &info)) {
            json_free(info.specific);
            if (info.granule)
                granularity = CLAMP(info.granule, MIN_DEFAULT, granularity);
        }
    }
    if (!is_pow2(granularity) || granularity < 512 || granularity > UINT64_C(1) << 31) {
        fail(err, "Granularity must be power of 2, from 512 to 2G");
        return NULL;
    }
    unsigned shift = bits_ctz(granularity);
    if (bits_for(b->length, shift) > BITMAP_MAX_BITS) {
        fail(err, "a bitmap of %" PRIu64 " bits is too large; take a larger granularity", bits_for(b->length, shift));
        return NULL;
    }
    BlockBitmap *m = g_new0(BlockBitmap, 1);
    *m = (BlockBitmap){ .node = b, .name = g_strdup(name), .length = b->length, .shift = shift, .enabled = true,
                        .n_bits = bits_for(b->length, shift) };
    m->page = g_new0(uint8_t *, pages(m->n_bits) + 1);
    BlockBitmap **link = &b->bitmaps;
    while (*link)
        link = &(*link)->next;
    *link = m;
    return m;
}

void block_bitmap_free(BlockBitmap *m)
{
    BlockBitmap **link = &m->node->bitmaps;
    while (*link != m)
        link = &(*link)->next;
    *link = m->next;
    for (uint64_t i = 0; i < pages(m->n_bits); i++)
        page_free(m->page[i]);
    g_free(m->page);
    g_free(m->name);
    g_free(m);
}

BlockBitmap *block_bitmap_find(Block *b, const char *name, GError **err)
{
    for (BlockBitmap *m = b->bitmaps; m; m = m->next)
        if (m->name && !strcmp(m->name, name))
            return m;
    fail(err, "Dirty bitmap '%s' not found", name);
    return NULL;
}

BlockBitmap *block_bitmap_first(Block *b) { return b->bitmaps; }

bool block_keeps_bitmaps(Block *b) { return b->drv->may_persist && b->drv->may_persist(b, NULL); }

bool block_bitmap_persist(BlockBitmap *m, GError **err)
{
    Block *b = m->node;
    if (!(b->flags & BLOCK_RDWR))
        return fail(err, "%s is read-only", b->filename);
    if (!b->drv->may_persist)
        return fail(err, "Cannot store dirty bitmaps in file '%s': %s images keep none", b->filename, b->drv->name);
    m->persistent = b->drv->may_persist(b, err);
    return m->persistent;
}

bool block_bitmap_usable(const BlockBitmap *m, GError **err)
{
    if (m->busy)
        return fail(err, "Bitmap '%s' is currently in use by another operation and cannot be used", m->name);
    if (m->inconsistent)
        return fail(err, "Bitmap '%s' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this "
                    "bitmap from disk", m->name);
    return true;
}

/* --- bits */

void block_bitmap_set(BlockBitmap *m, uint64_t at, uint64_t len)
{
    if (!len || at >= m->length)
        return;
    uint64_t end = MIN(len, m->length - at) + at;
    change(m, at >> m->shift, bits_for(end, m->shift), true);
    if (m->wake)
        co_queue_wake_all(m->wake);
}

void block_bitmap_clear(BlockBitmap *m, uint64_t at, uint64_t len)
{
    uint64_t end = MIN(at > UINT64_MAX - len ? UINT64_MAX : at + len, m->length);
    uint64_t from = bits_for(at, m->shift), to = end == m->length ? m->n_bits : end >> m->shift;
    if (from < to)
        change(m, from, to, false);
}

bool block_bitmap_get(const BlockBitmap *m, uint64_t at)
{
    uint64_t i = at >> m->shift;
    return i < m->n_bits && find(m, i, i + 1, true) == i;
}

uint64_t block_bitmap_count(const BlockBitmap *m)
{
    uint64_t bytes = m->n_set << m->shift;
    if (m->n_bits && m->length & bits_mask(m->shift) && find(m, m->n_bits - 1, m->n_bits, true) == m->n_bits - 1)
        bytes -= (UINT64_C(1) << m->shift) - (m->length & bits_mask(m->shift));
    return bytes;
}

bool block_bitmap_next_dirty(const BlockBitmap *m, uint64_t from, uint64_t max, uint64_t *at, uint64_t *len)
{
    if (from >= m->length || !m->n_set)
        return false;
    uint64_t first = find(m, from >> m->shift, m->n_bits, true);
    if (first == m->n_bits)
        return false;
    *at = MAX(first << m->shift, from);
    uint64_t most = *at > UINT64_MAX - max ? m->n_bits : bits_for(*at + max, m->shift);
    uint64_t past = find(m, first, most, false);
    *len = MIN(MIN(past << m->shift, m->length) - *at, max);
    return true;
}

void block_bitmap_merge(BlockBitmap *m, const BlockBitmap *from)
{
    uint64_t at = 0, len;
    for (; block_bitmap_next_dirty(from, at, UINT64_MAX, &at, &len); at += len)
        block_bitmap_set(m, at, len);
}

void block_bitmap_save(const BlockBitmap *m, uint64_t from, uint8_t *out, size_t n)
{
    memset(out, 0, n);
    uint64_t limit = MIN((from + n) * 8, m->n_bits);
    for (uint64_t a = find(m, from * 8, limit, true), z; a < limit; a = find(m, z, limit, true)) {
        z = find(m, a, limit, false);
        for (uint64_t i = a; i < z; i++) {
            if (!(i % 8) && z - i >= 8) {
                memset(out + (i / 8 - from), 0xff, (z - i) / 8);
                i += (z - i) / 8 * 8 - 1;
            } else {
                out[i / 8 - from] = (uint8_t)(out[i / 8 - from] | 1 << i % 8);
            }
        }
    }
}

void block_bitmap_load(BlockBitmap *m, uint64_t from, const uint8_t *in, size_t n)
{
    uint64_t end = MIN((from + n) * 8, m->n_bits);
    for (uint64_t i = from * 8, z; i < end; i = z) {
        bool set = in[i / 8 - from] >> i % 8 & 1;
        for (z = i + 1; z < end && (in[z / 8 - from] >> z % 8 & 1) == set;)
            z += !(z % 8) && z + 8 <= end && in[z / 8 - from] == (set ? 0xff : 0) ? 8 : 1;
        change(m, i, z, set);
    }
}

/* --- the node's part */

void block_bitmaps_dirty(Block *b, uint64_t at, uint64_t len)
{
    for (BlockBitmap *m = b->bitmaps; m; m = m->next)
        if (m->enabled && !m->inconsistent)
            block_bitmap_set(m, at, len);
}

void block_bitmaps_resize(Block *b, uint64_t len)
{
    for (BlockBitmap *m = b->bitmaps; m; m = m->next) {
        uint64_t n = bits_for(len, m->shift), old_length = m->length;
        if (n > BITMAP_MAX_BITS) {      /* too large to record anything more */
            m->inconsistent = true;
            continue;
        }
        if (n < m->n_bits) {
            change(m, n, m->n_bits, false);
            if (m->page[n / PAGE_BITS])     /* "all set" means: up to the end */
                page_writable(m, n / PAGE_BITS);
        } else if (m->n_bits && m->page[(m->n_bits - 1) / PAGE_BITS]) {
            page_writable(m, (m->n_bits - 1) / PAGE_BITS);
        }
        uint64_t old_pages = pages(m->n_bits) + 1, new_pages = pages(n) + 1;
        m->page = g_renew(uint8_t *, m->page, new_pages);
        for (uint64_t i = old_pages; i < new_pages; i++)
            m->page[i] = NULL;
        m->n_bits = n;
        m->length = len;
        if (len > old_length && m->enabled && !m->inconsistent)
            block_bitmap_set(m, old_length, len - old_length);
    }
}
