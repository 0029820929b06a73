/* SPDX-License-Identifier: GPL-2.0-or-later
 * Boards from tables: making, mapping, wiring. */
#include "hw/core/bus.h"

#include <string.h>

#include "hw/core/machine.h"

void device_map(Device *d, unsigned w, Space *s, uint64_t at, int priority)
{
    g_assert(w < d->n_windows);
    region_map(space_root(s), at, &d->windows[w], priority);
}

/* "[PIN=]DEVICE[.PIN]:N" */
static bool wire_one(Machine *m, Device *d, const char *text, GError **err)
{
    g_autofree char *copy = g_strdup(text);
    char *to = copy, *pin = NULL, *equals = strchr(copy, '=');
    if (equals) {
        *equals = 0;
        pin = copy;
        to = equals + 1;
    }
    char *colon = strrchr(to, ':');
    if (!colon)
        return fail(err, "wire '%s' of %s lacks the ':' before the input's number", text, d->id);
    *colon = 0;
    uint64_t n;
    if (!parse_u64("wire", colon + 1, 0, UINT32_MAX, &n, err))
        return false;
    char *dot = strchr(to, '.');
    if (dot)
        *dot = 0;
    Device *target = machine_find(m, to);
    if (!target)
        return fail(err, "wire '%s' of %s leads to no device", text, d->id);
    return device_wire(d, pin, target, dot ? dot + 1 : NULL, (unsigned)n, err);
}

bool board_wire(Machine *m, Device *d, const char *wires, GError **err)
{
    bool ok = true;
    char **list = g_strsplit(wires, " ", -1);
    for (char **w = list; *w && ok; w++)
        if (**w)
            ok = wire_one(m, d, *w, err);
    g_strfreev(list);
    return ok;
}

static void map_to(Machine *m, Device *d, unsigned w, SlotSpace space, uint64_t at, int priority)
{
    if (space != SLOT_NONE && w < d->n_windows)
        device_map(d, w, space == SLOT_IO ? m->io : m->mem, at, priority);
}

static bool place(Machine *m, const BoardSlot *s, GError **err)
{
    Device *d = machine_find(m, s->id);
    map_to(m, d, 0, s->space, s->at, s->priority);
    for (unsigned w = 1; w < DEVICE_WINDOWS; w++)
        if (s->more[w - 1].at)
            map_to(m, d, w, s->more[w - 1].space, s->more[w - 1].at, s->priority);
    return !s->wires || board_wire(m, d, s->wires, err);
}

bool board_build(Machine *m, const BoardSlot *slots, LockDomain *domain, GError **err)
{
    for (const BoardSlot *s = slots; s->type; s++) {
        g_autofree char *opts = g_strdup_printf("%s,id=%s%s%s", s->type, s->id, s->props ? "," : "",
                                                s->props ? s->props : "");
        if (!device_new(m, opts, domain, err))
            return false;
    }
    space_begin(m->mem);
    space_begin(m->io);
    bool ok = true;
    for (const BoardSlot *s = slots; s->type && ok; s++)
        ok = place(m, s, err);
    space_commit(m->io);
    space_commit(m->mem);
    return ok;
}
