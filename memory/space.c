/* SPDX-License-Identifier: GPL-2.0-or-later
 * Accesses to an address space.  Readers load the pointer to the flat view once per piece; an old view goes
 * when every thread has passed a quiescent point.
 *
 * The lock of an I/O region's domain is taken here, once per access.  A thread that holds a device lock
 * already is a device doing DMA: its write to I/O is queued until it holds none (a posted write, as on PCI),
 * and its read of I/O answers all ones, as a master abort does, since waiting for another device with a lock
 * held could deadlock. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "memory/space_int.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/log.h"
#include "util/qsr.h"

typedef struct Listener { const MemoryListener *ops; void *self; } Listener;

struct Space {
    Flat       *flat;           /* swapped whole */
    Region      root;
    const char *name;
    unsigned    bits;
    RamMap     *ram_map;
    unsigned    nesting;        /* of begin/commit */
    bool        stale;
    GArray     *listeners;      /* Listener */
};

/* --- changes --- */

static bool same(const FlatRange *a, const FlatRange *b)
{
    return a->first == b->first && a->last == b->last && a->region == b->region && a->offset == b->offset &&
           a->host == b->host && a->readonly == b->readonly && a->attributes == b->attributes;
}

static MemSection section_of(const FlatRange *r, uint64_t pa)
{
    uint64_t skip = pa - r->first, len = r->last - pa + 1;
    return (MemSection){
        .region = r->region, .offset = r->offset + skip, .len = len ? len : UINT64_MAX, .pa = pa,
        .host = r->host ? r->host + skip : NULL, .readonly = r->readonly,
        .ram_page = r->host ? r->region->block->first_page + ((r->offset + skip) >> RAM_PAGE_SHIFT)
                            : RAM_PAGE_NONE,
    };
}

/* Tells one listener of the ranges of `these` that are not, just so, among `others`. */
static void tell_difference(const Listener *l, bool added, const Flat *these, const Flat *others)
{
    void (*fn)(void *, const MemSection *) = added ? l->ops->add : l->ops->remove;
    for (unsigned i = 0, j = 0; fn && these && i < these->n; i++) {
        const FlatRange *r = &these->ranges[i];
        while (others && j < others->n && others->ranges[j].first < r->first)
            j++;
        if (others && j < others->n && same(r, &others->ranges[j]))
            continue;
        MemSection s = section_of(r, r->first);
        fn(l->self, &s);
    }
}

static void update(Space *s)
{
    Flat *old = s->flat, *new = flat_new(&s->root, s->bits);
    s->stale = false;
    for (guint i = 0; i < s->listeners->len; i++) {
        const Listener *l = &g_array_index(s->listeners, Listener, i);
        if (l->ops->begin)
            l->ops->begin(l->self);
        tell_difference(l, false, old, new);
        tell_difference(l, true, new, old);
    }
    __atomic_store_n(&s->flat, new, __ATOMIC_RELEASE);
    for (guint i = 0; i < s->listeners->len; i++) {
        const Listener *l = &g_array_index(s->listeners, Listener, i);
        if (l->ops->commit)
            l->ops->commit(l->self);
    }
    qsr_free_later(flat_free, old);
}

void space_changed(Space *s)
{
    s->stale = true;
    if (!s->nesting)
        update(s);
}

void space_begin(Space *s) { s->nesting++; }

void space_commit(Space *s)
{
    g_assert(s->nesting);
    if (!--s->nesting && s->stale)
        update(s);
}

Space *space_new(const char *name, unsigned bits, RamMap *ram_map)
{
    g_assert(bits >= 12 && bits <= 64);
    Space *s = g_new0(Space, 1);
    s->name = name;
    s->bits = bits;
    s->ram_map = ram_map;
    s->listeners = g_array_new(FALSE, FALSE, sizeof(Listener));
    region_init_container(&s->root, name, bits == 64 ? 0 : BIT(bits));
    s->root.space = s;
    s->flat = flat_new(&s->root, bits);
    return s;
}

void space_free(Space *s)
{
    if (!s)
        return;
    s->root.space = NULL;
    region_destroy(&s->root);
    flat_free(s->flat);
    g_array_free(s->listeners, TRUE);
    g_free(s);
}

Region *space_root(Space *s) { return &s->root; }
RamMap *space_ram_map(Space *s) { return s->ram_map; }

void space_add_listener(Space *s, const MemoryListener *ops, void *self)
{
    Listener l = { ops, self };
    g_array_append_val(s->listeners, l);
    if (ops->begin)
        ops->begin(self);
    tell_difference(&l, true, s->flat, NULL);
    if (ops->commit)
        ops->commit(self);
}

void space_remove_listener(Space *s, const MemoryListener *ops, void *self)
{
    for (guint i = 0; i < s->listeners->len; i++) {
        const Listener *l = &g_array_index(s->listeners, Listener, i);
        if (l->ops == ops && l->self == self) {
            g_array_remove_index(s->listeners, i);
            return;
        }
    }
}

void space_show(Space *s, GString *out)
{
    static const char *const kinds[] = { "container", "ram", "rom", "i/o", "alias" };
    const Flat *f = __atomic_load_n(&s->flat, __ATOMIC_ACQUIRE);
    g_string_append_printf(out, "%s:\n", s->name);
    for (unsigned i = 0; i < f->n; i++) {
        const FlatRange *r = &f->ranges[i];
        g_string_append_printf(out, "  %0*" PRIx64 "-%0*" PRIx64 " %-4s %s", s->bits <= 16 ? 4 : 16, r->first,
                               s->bits <= 16 ? 4 : 16, r->last, kinds[r->region->kind], r->region->name);
        g_string_append_printf(out, r->offset ? " @%" PRIx64 "\n" : "\n", r->offset);
    }
}

static void show_region(const Region *r, uint64_t at, unsigned digits, unsigned depth, GString *out)
{
    static const char *const kinds[] = { "container", "ram", "rom", "i/o", "alias" };
    g_string_append_printf(out, "%*s%0*" PRIx64 "-%0*" PRIx64 " (prio %d, %s): ", (int)(2 * depth), "", (int)digits, at,
                           (int)digits, at + region_last(r), r->priority, kinds[r->kind]);
    if (r->kind == REGION_ALIAS)
        g_string_append_printf(out, "%s @%s %0*" PRIx64 "-%0*" PRIx64, r->name, r->target->name, (int)digits, r->target_at,
                               (int)digits, r->target_at + region_last(r));
    else
        g_string_append(out, r->name);
    g_string_append(out, r->disabled ? " [disabled]\n" : "\n");
    for (unsigned i = 0; r->children && i < r->children->len; i++) {
        const Region *child = r->children->pdata[i];
        show_region(child, at + child->at, digits, depth + 1, out);
    }
}

void space_show_tree(Space *s, GString *out)
{
    g_string_append_printf(out, "address-space: %s\n", s->name);
    show_region(space_root(s), 0, s->bits <= 16 ? 4 : 16, 1, out);
}

/* --- I/O --- */

static unsigned ops_min(const RegionOps *o) { return o->min ? o->min : 1; }
static unsigned ops_max(const RegionOps *o) { return o->max ? o->max : 8; }

/* Width of the accesses that an access of `size` at `off` is made of. */
static unsigned step_width(const RegionOps *o, uint64_t off, unsigned size)
{
    unsigned w = size < ops_min(o) ? ops_min(o) : size > ops_max(o) ? ops_max(o) : size;
    while (w > ops_min(o) && (off & (w - 1)) && !o->unaligned)
        w /= 2;
    return w;
}

/* The lock is held. */
static uint64_t io_read(const Region *r, uint64_t off, unsigned size)
{
    unsigned w = step_width(r->ops, off, size);
    if (w == size && (!(off & (w - 1)) || r->ops->unaligned))
        return r->ops->read(r->self, off, size) & size_mask(size);
    uint64_t v = 0;
    for (unsigned i = 0; i < size;) {
        uint64_t base = align_down(off + i, w);
        unsigned skip = (unsigned)(off + i - base), n = w - skip < size - i ? w - skip : size - i;
        uint64_t part = r->ops->read(r->self, base, w) >> 8 * skip & size_mask(n);
        v |= part << 8 * i;
        i += n;
    }
    return v;
}

static void io_write(const Region *r, uint64_t off, uint64_t v, unsigned size)
{
    unsigned w = step_width(r->ops, off, size);
    v &= size_mask(size);
    if (w == size && (!(off & (w - 1)) || r->ops->unaligned)) {
        r->ops->write(r->self, off, v, size);
        return;
    }
    for (unsigned i = 0; i < size;) {
        uint64_t base = align_down(off + i, w);
        unsigned skip = (unsigned)(off + i - base), n = w - skip < size - i ? w - skip : size - i;
        r->ops->write(r->self, base, (v >> 8 * i & size_mask(n)) << 8 * skip, w);
        i += n;
    }
}

typedef struct LateWrite { const Region *region; uint64_t off, v; unsigned size; } LateWrite;

static void write_late(void *arg)
{
    LateWrite *w = arg;
    domain_enter(w->region->domain);
    io_write(w->region, w->off, w->v, w->size);
    domain_leave(w->region->domain);
}

static uint64_t io_load(const Region *r, uint64_t off, unsigned size)
{
    if (!r->ops || !r->ops->read)
        return size_mask(size);
    if (domain_any_held()) {
        log_guest(r->name, "DMA read of a device register at offset %" PRIx64, off);
        return size_mask(size);
    }
    domain_enter(r->domain);
    uint64_t v = io_read(r, off, size);
    domain_leave(r->domain);
    return v;
}

static bool rings(const Region *r, uint64_t off, unsigned size, uint64_t v)
{
    const DoorbellList *list = __atomic_load_n(&r->doorbells, __ATOMIC_ACQUIRE);
    for (unsigned i = 0; list && i < list->n; i++) {
        const Doorbell *d = &list->bells[i];
        if (d->at == off && (!d->size || d->size == size) && (d->any || d->value == (v & size_mask(size)))) {
            uint64_t one = 1;
            return write(d->fd, &one, sizeof one) == sizeof one || errno == EAGAIN;     /* full: it has been told often enough */
        }
    }
    return false;
}

static void io_store(const Region *r, uint64_t off, unsigned size, uint64_t v)
{
    if (G_UNLIKELY(r->doorbells) && rings(r, off, size, v))
        return;
    if (!r->ops || !r->ops->write)
        return;
    if (domain_any_held()) {
        LateWrite w = { r, off, v, size };
        domain_defer(write_late, &w, sizeof w);
        return;
    }
    domain_enter(r->domain);
    io_write(r, off, v, size);
    domain_leave(r->domain);
}

/* --- accesses --- */

static const Flat *view(Space *s)
{
    assert(qsr_is_online());
    return __atomic_load_n(&s->flat, __ATOMIC_ACQUIRE);
}

static MemStatus worse(MemStatus a, MemStatus b)
{
    return a == MEM_UNASSIGNED || b == MEM_UNASSIGNED ? MEM_UNASSIGNED : a ? a : b;
}

bool space_lookup(Space *s, uint64_t pa, MemSection *out)
{
    const Flat *f = view(s);
    const FlatRange *r = flat_find(f, pa);
    if (r) {
        *out = section_of(r, pa);
        return true;
    }
    const FlatRange *next = flat_after(f, pa);
    uint64_t len = next ? next->first - pa : UINT64_MAX - pa + 1;
    *out = (MemSection){ .pa = pa, .len = len ? len : UINT64_MAX, .ram_page = RAM_PAGE_NONE };
    return false;
}

/* Size of the next access to I/O in a longer transfer: aligned, and no wider than the device takes. */
static unsigned io_piece(const FlatRange *r, uint64_t off, uint64_t len)
{
    unsigned n = r->region->ops ? ops_max(r->region->ops) : 8;
    while (n > len || (off & (n - 1)))
        n /= 2;
    return n;
}

/* How many of the bytes lie where nothing is. */
static uint64_t hole(Space *s, const char *what, uint64_t pa, uint64_t len)
{
    MemSection sec;
    space_lookup(s, pa, &sec);
    log_guest(s->name, "%s of address %" PRIx64 ", where nothing is", what, pa);
    return MIN(len, sec.len);
}

MemStatus space_read(Space *s, uint64_t pa, void *buf, uint64_t len)
{
    MemStatus st = MEM_OK;
    uint8_t *out = buf;
    while (len) {
        const FlatRange *r = flat_find(view(s), pa);
        uint64_t n;
        if (r && r->host) {
            n = MIN(len - 1, r->last - pa) + 1;
            memcpy(out, r->host + (pa - r->first), n);
        } else if (r) {
            uint64_t off = r->offset + (pa - r->first);
            n = io_piece(r, off, MIN(len - 1, r->last - pa) + 1);
            uint8_t bytes[8];
            store_le64(bytes, io_load(r->region, off, (unsigned)n));
            memcpy(out, bytes, n);
        } else {
            n = hole(s, "read", pa, len);
            memset(out, 0xff, n);
            st = MEM_UNASSIGNED;
        }
        pa += n;
        out += n;
        len -= n;
    }
    return st;
}

MemStatus space_write(Space *s, uint64_t pa, const void *buf, uint64_t len)
{
    MemStatus st = MEM_OK;
    const uint8_t *in = buf;
    while (len) {
        const FlatRange *r = flat_find(view(s), pa);
        uint64_t n;
        if (r && (!r->readonly || r->region->ops)) {
            uint64_t skip = pa - r->first, off = r->offset + skip;
            n = MIN(len - 1, r->last - pa) + 1;
            if (r->host && !r->readonly) {
                memcpy(r->host + skip, in, n);
                ram_written(r->region->ram_map, r->region->block->first_page, off, n);
            } else {
                n = io_piece(r, off, n);
                uint8_t bytes[8] = { 0 };
                memcpy(bytes, in, n);
                io_store(r->region, off, (unsigned)n, load_le64(bytes));
            }
        } else if (r) {
            n = MIN(len - 1, r->last - pa) + 1;
            st = worse(st, MEM_READONLY);
        } else {
            n = hole(s, "write", pa, len);
            st = MEM_UNASSIGNED;
        }
        pa += n;
        in += n;
        len -= n;
    }
    return st;
}

uint64_t space_load(Space *s, uint64_t pa, unsigned size, MemStatus *st)
{
    const FlatRange *r = flat_find(view(s), pa);
    if (G_UNLIKELY(!r || r->last - pa < size - 1)) {
        uint8_t bytes[8];
        MemStatus got = space_read(s, pa, bytes, size);
        if (st)
            *st = got;
        return load_le(bytes, size);
    }
    if (st)
        *st = MEM_OK;
    uint64_t skip = pa - r->first;
    return r->host ? load_le(r->host + skip, size) : io_load(r->region, r->offset + skip, size);
}

MemStatus space_store(Space *s, uint64_t pa, unsigned size, uint64_t v)
{
    const FlatRange *r = flat_find(view(s), pa);
    if (G_UNLIKELY(!r || r->last - pa < size - 1)) {
        uint8_t bytes[8];
        store_le(bytes, size, v);
        return space_write(s, pa, bytes, size);
    }
    uint64_t skip = pa - r->first, off = r->offset + skip;
    if (r->host && !r->readonly) {
        store_le(r->host + skip, size, v);
        ram_written(r->region->ram_map, r->region->block->first_page, off, size);
        return MEM_OK;
    }
    if (r->readonly && !r->region->ops)
        return MEM_READONLY;
    io_store(r->region, off, size, v);
    return MEM_OK;
}
