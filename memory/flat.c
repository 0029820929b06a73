/* SPDX-License-Identifier: GPL-2.0-or-later
 * Flattening: from the tree of regions to a sorted array of ranges.  Regions are rendered from the highest
 * priority down, each into what is still free, so what is below shows only through holes. */
#include <string.h>

#include "memory/space_int.h"
#include "util/bits.h"

enum { LEVEL = 9, SLOTS = 1 << LEVEL, MAX_DEPTH = 64 };

/* A slot: two bits of kind, then an index.  PART: several ranges share the leaf, the search starts at the
 * first. */
enum { SLOT_HOLE = 0, SLOT_RANGE = 1u << 30, SLOT_NODE = 2u << 30, SLOT_PART = 3u << 30 };
#define SLOT_KIND (3u << 30)
typedef struct FlatNode { uint32_t slot[SLOTS]; } FlatNode;

typedef __int128 Wide;          /* addresses of clipped regions may start below 0 and end at 2^64 */

/* --- rendering --- */

/* Index of the first range that ends at or after pa. */
static unsigned first_after(const FlatRange *r, unsigned n, uint64_t pa)
{
    unsigned lo = 0;
    while (lo < n) {
        unsigned mid = (lo + n) / 2;
        if (r[mid].last < pa)
            lo = mid + 1;
        else
            n = mid;
    }
    return lo;
}

static void put_range(GArray *out, unsigned at, Region *r, uint64_t first, uint64_t last, uint64_t offset)
{
    FlatRange f = { .first = first, .last = last, .region = r, .offset = offset,
                    .readonly = r->kind == REGION_ROM, .attributes = r->attributes };
    if (r->block) {
        /* The software TLB maps guest pages to RAM pages one to one. */
        g_assert((first - offset) % RAM_PAGE_SIZE == 0);
        f.host = r->block->host + offset;
        f.ram_page = r->block->first_page + (offset >> RAM_PAGE_SHIFT);
    }
    g_array_insert_val(out, at, f);
}

/* Gives the free parts of [lo, hi] to a leaf region whose offset 0 is at `base`. */
static void render_leaf(GArray *out, Region *r, Wide base, uint64_t lo, uint64_t hi)
{
    unsigned i = first_after((FlatRange *)(void *)out->data, out->len, lo);
    for (;;) {
        FlatRange *next = i < out->len ? &g_array_index(out, FlatRange, i) : NULL;
        if (next && next->first <= lo) {
            if (next->last >= hi)
                return;
            lo = next->last + 1;
            i++;
            continue;
        }
        uint64_t end = next && next->first <= hi ? next->first - 1 : hi;
        put_range(out, i, r, lo, end, (uint64_t)(lo - base));
        if (end == hi)
            return;
        i++;
        lo = end + 1;
    }
}

static void render(GArray *out, Region *r, Wide base, Wide lo, Wide hi, unsigned depth)
{
    Wide last = base + region_last(r);
    lo = MAX(lo, base);
    hi = MIN(hi, last);
    g_assert(depth < MAX_DEPTH);        /* an alias that leads back to itself */
    if (r->disabled || lo > hi)
        return;
    if (r->kind == REGION_ALIAS) {
        if (r->target)
            render(out, r->target, base - r->target_at, lo, hi, depth + 1);
    } else if (r->kind == REGION_CONTAINER) {
        for (guint i = 0; r->children && i < r->children->len; i++) {
            Region *c = r->children->pdata[i];
            render(out, c, base + c->at, lo, hi, depth + 1);
        }
    } else {
        render_leaf(out, r, base, (uint64_t)lo, (uint64_t)hi);
    }
}

static void merge_neighbours(GArray *out)
{
    unsigned n = 0;
    FlatRange *r = (FlatRange *)(void *)out->data;
    for (unsigned i = 0; i < out->len; i++) {
        FlatRange *p = n ? &r[n - 1] : NULL;
        if (p && p->last + 1 == r[i].first && p->region == r[i].region &&
            p->offset + (r[i].first - p->first) == r[i].offset)
            p->last = r[i].last;
        else
            r[n++] = r[i];
    }
    g_array_set_size(out, n);
}

/* --- the radix tree --- */

static uint32_t build_node(Flat *f, uint64_t base, unsigned shift)
{
    uint32_t index = f->nodes->len;
    g_array_set_size(f->nodes, index + 1);
    FlatNode node;
    for (unsigned s = 0; s < SLOTS; s++) {
        node.slot[s] = SLOT_HOLE;
        unsigned __int128 wide = base + ((unsigned __int128)s << shift);
        if (wide > UINT64_MAX)
            continue;
        uint64_t lo = (uint64_t)wide, hi = lo + bits_mask(shift);
        unsigned i = first_after(f->ranges, f->n, lo);
        if (i == f->n || f->ranges[i].first > hi)
            continue;
        if (f->ranges[i].first <= lo && f->ranges[i].last >= hi)
            node.slot[s] = SLOT_RANGE | i;
        else if (shift == f->granule)
            node.slot[s] = SLOT_PART | i;
        else
            node.slot[s] = SLOT_NODE | build_node(f, lo, shift - LEVEL);
    }
    g_array_index(f->nodes, FlatNode, index) = node;
    return index;
}

Flat *flat_new(Region *root, unsigned bits)
{
    GArray *out = g_array_new(FALSE, FALSE, sizeof(FlatRange));
    render(out, root, 0, 0, UINT64_MAX, 0);
    merge_neighbours(out);
    Flat *f = g_new0(Flat, 1);
    f->n = out->len;
    f->ranges = (FlatRange *)(void *)g_array_free(out, FALSE);
    f->nodes = g_array_new(FALSE, FALSE, sizeof(FlatNode));
    f->granule = bits <= 16 ? 0 : RAM_PAGE_SHIFT;
    f->top = f->granule;
    while (f->top + LEVEL < bits)
        f->top += LEVEL;
    build_node(f, 0, f->top);
    return f;
}

void flat_free(void *flat)
{
    Flat *f = flat;
    g_free(f->ranges);
    g_array_free(f->nodes, TRUE);
    g_free(f);
}

const FlatRange *flat_find(const Flat *f, uint64_t pa)
{
    uint64_t at = pa >> f->top;
    if (at >= SLOTS)
        return NULL;
    const FlatNode *nodes = (const FlatNode *)(const void *)f->nodes->data, *node = nodes;
    for (unsigned shift = f->top;; shift -= LEVEL, at = pa >> shift & (SLOTS - 1)) {
        uint32_t slot = node->slot[at], i = slot & ~SLOT_KIND;
        switch (slot & SLOT_KIND) {
        case SLOT_HOLE:
            return NULL;
        case SLOT_RANGE:
            return &f->ranges[i];
        case SLOT_NODE:
            node = &nodes[i];
            break;
        default:
            while (i < f->n && f->ranges[i].last < pa)
                i++;
            return i < f->n && f->ranges[i].first <= pa ? &f->ranges[i] : NULL;
        }
    }
}

const FlatRange *flat_after(const Flat *f, uint64_t pa)
{
    unsigned i = first_after(f->ranges, f->n, pa);
    return i < f->n ? &f->ranges[i] : NULL;
}
