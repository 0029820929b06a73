/* SPDX-License-Identifier: GPL-2.0-or-later
 * The tree of regions.  A change walks up to the roots that can see it, through aliases too. */
#include "memory/region.h"
#include "util/qsr.h"

#include <string.h>

#include "memory/space_int.h"
#include "util/bits.h"

static void init(Region *r, RegionKind kind, const char *name, uint64_t len)
{
    memset(r, 0, sizeof *r);
    r->kind = kind;
    r->name = name;
    r->len = len;
}

void region_init_container(Region *r, const char *name, uint64_t len)
{
    init(r, REGION_CONTAINER, name, len);
}

bool region_init_ram(Region *r, const char *name, RamMap *m, uint64_t len, GError **err)
{
    init(r, REGION_RAM, name, len);
    r->ram_map = m;
    r->block = ram_alloc(m, name, len, err);
    return r->block;
}

bool region_init_rom(Region *r, const char *name, RamMap *m, uint64_t len,
                     const RegionOps *ops, void *self, LockDomain *domain, GError **err)
{
    bool ok = region_init_ram(r, name, m, len, err);
    r->kind = REGION_ROM;
    r->ops = ops;
    r->self = self;
    r->domain = domain;
    return ok;
}

void region_init_io(Region *r, const char *name, uint64_t len, const RegionOps *ops, void *self,
                    LockDomain *domain)
{
    unsigned min = ops->min ? ops->min : 1, max = ops->max ? ops->max : 8;
    g_assert(is_pow2(min) && is_pow2(max) && min <= max && max <= 8 && len % min == 0);
    init(r, REGION_IO, name, len);
    r->ops = ops;
    r->self = self;
    r->domain = domain;
}

void region_init_alias(Region *r, const char *name, Region *target, uint64_t at, uint64_t len)
{
    init(r, REGION_ALIAS, name, len);
    r->target = target;
    r->target_at = at;
    if (!target->aliases)
        target->aliases = g_ptr_array_new();
    g_ptr_array_add(target->aliases, r);
}

/* What can be seen through r has changed. */
static void changed(Region *r)
{
    for (; r; r = r->parent) {
        for (guint i = 0; r->aliases && i < r->aliases->len; i++)
            changed(r->aliases->pdata[i]);
        if (r->space)
            space_changed(r->space);
    }
}

void region_map(Region *parent, uint64_t at, Region *child, int priority)
{
    g_assert(parent->kind == REGION_CONTAINER && !child->parent && !child->space);
    child->parent = parent;
    child->at = at;
    child->priority = priority;
    if (!parent->children)
        parent->children = g_ptr_array_new();
    guint i = 0;
    while (i < parent->children->len && ((Region *)parent->children->pdata[i])->priority > priority)
        i++;
    g_ptr_array_insert(parent->children, (gint)i, child);
    changed(parent);
}

void region_unmap(Region *child)
{
    Region *parent = child->parent;
    if (!parent)
        return;
    g_ptr_array_remove(parent->children, child);
    child->parent = NULL;
    changed(parent);
}

void region_move(Region *child, uint64_t at)
{
    if (child->at == at)
        return;
    child->at = at;
    changed(child);
}

void region_enable(Region *r, bool on)
{
    if (r->disabled == !on)
        return;
    r->disabled = !on;
    changed(r);
}

void region_set_alias_at(Region *r, uint64_t target_at)
{
    g_assert(r->kind == REGION_ALIAS);
    if (r->target_at == target_at)
        return;
    r->target_at = target_at;
    changed(r);
}

void region_set_readonly(Region *r, bool readonly)
{
    g_assert(r->kind == REGION_RAM || r->kind == REGION_ROM);
    RegionKind kind = readonly ? REGION_ROM : REGION_RAM;
    if (r->kind == kind)
        return;
    r->kind = kind;
    changed(r);
}

/* --- attributes */

static void attributes_changed(Region *r)
{
    r->attributes++;
    changed(r);
}

static bool bell_is(const Doorbell *a, const Doorbell *b)
{
    return a->at == b->at && a->size == b->size && a->any == b->any && (a->any || a->value == b->value) && a->fd == b->fd;
}

/* The old list without `gone` and with `more` (each may be NULL). */
static void new_bells(Region *r, const Doorbell *gone, const Doorbell *more)
{
    DoorbellList *old = r->doorbells, *list = g_malloc0(sizeof *list + ((old ? old->n : 0) + 1) * sizeof(Doorbell));
    for (unsigned i = 0; old && i < old->n; i++)
        if (!gone || !bell_is(&old->bells[i], gone))
            list->bells[list->n++] = old->bells[i];
    if (more)
        list->bells[list->n++] = *more;
    if (!list->n) {
        g_free(list);
        list = NULL;
    }
    __atomic_store_n(&r->doorbells, list, __ATOMIC_RELEASE);
    attributes_changed(r);
    if (old)
        qsr_free_later(g_free, old);
}

void region_add_doorbell(Region *r, const Doorbell *d)
{
    g_assert(r->kind == REGION_IO);
    new_bells(r, NULL, d);
}

void region_remove_doorbell(Region *r, const Doorbell *d) { new_bells(r, d, NULL); }

void region_set_coalesced(Region *r, bool on)
{
    if (r->coalesced == on)
        return;
    r->coalesced = on;
    attributes_changed(r);
}

void region_destroy(Region *r)
{
    region_unmap(r);
    if (r->doorbells)
        qsr_free_later(g_free, r->doorbells);
    r->doorbells = NULL;
    if (r->target)
        g_ptr_array_remove(r->target->aliases, r);
    for (guint i = 0; r->children && i < r->children->len; i++)
        ((Region *)r->children->pdata[i])->parent = NULL;
    while (r->aliases && r->aliases->len) {
        Region *a = g_ptr_array_steal_index(r->aliases, 0);
        a->target = NULL;
        changed(a);
    }
    if (r->children)
        g_ptr_array_free(r->children, TRUE);
    if (r->aliases)
        g_ptr_array_free(r->aliases, TRUE);
    r->children = r->aliases = NULL;
    r->target = NULL;
}

uint8_t *region_host(const Region *r) { return r->block ? r->block->host : NULL; }
