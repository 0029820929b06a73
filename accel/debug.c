/* SPDX-License-Identifier: GPL-2.0-or-later
 * Debugging, the part that all accelerators share: the list of points, steps, holds and stops of vCPUs, and memory by
 * virtual addresses. */
#include "accel/debug.h"

#include <string.h>
#include "target/debug.h"
#include "util/error.h"
#include "util/log.h"

/* --- points.  One element per point; the array of counts beside it says how often it was inserted. */

static const char *const kind_names[DEBUG_N_KINDS] = {
    "software breakpoint", "hardware breakpoint", "write watchpoint", "read watchpoint", "access watchpoint",
};

static DebugPoint *point_at(const Accel *a, unsigned i) { return &g_array_index(a->debug_points, DebugPoint, i); }
static unsigned *count_at(const Accel *a, unsigned i) { return &g_array_index(a->debug_counts, unsigned, i); }

static int point_find(const Accel *a, DebugKind kind, uint64_t va, uint64_t len)
{
    for (unsigned i = 0; i < a->debug_points->len; i++) {
        const DebugPoint *p = point_at(a, i);
        if (p->kind == kind && p->va == va && p->len == len)
            return i;
    }
    return -1;
}

static uint64_t point_len(DebugKind kind, uint64_t len) { return kind <= DEBUG_HW_BREAK ? 1 : len; }

bool accel_debug_insert(Accel *a, DebugKind kind, uint64_t va, uint64_t len, GError **err)
{
    DebugPoint p = { kind, va, point_len(kind, len) };
    g_assert(!a->running && kind < DEBUG_N_KINDS);
    if (!p.len || va + p.len - 1 < va)
        return fail(err, "a %s of %" G_GUINT64_FORMAT " bytes at %#" G_GINT64_MODIFIER "x is not possible", kind_names[kind],
                    p.len, va);
    int i = point_find(a, kind, va, p.len);
    if (i >= 0) {
        ++*count_at(a, i);
        return true;
    }
    const AccelDebug *d = a->type->debug;
    if (!d)
        return fail(err, "accelerator %s has no breakpoints", a->type->name);
    if (!d->insert(a, &p, err))
        return false;
    unsigned one = 1;
    g_array_append_val(a->debug_points, p);
    g_array_append_val(a->debug_counts, one);
    return true;
}

static void point_drop(Accel *a, unsigned i)
{
    DebugPoint p = *point_at(a, i);
    a->type->debug->remove(a, &p);
    g_array_remove_index_fast(a->debug_points, i);
    g_array_remove_index_fast(a->debug_counts, i);
}

bool accel_debug_remove(Accel *a, DebugKind kind, uint64_t va, uint64_t len)
{
    g_assert(!a->running);
    int i = point_find(a, kind, va, point_len(kind, len));
    if (i < 0)
        return false;
    if (!--*count_at(a, i))
        point_drop(a, i);
    return true;
}

void accel_debug_clear(Accel *a)
{
    g_assert(!a->running);
    while (a->debug_points->len)
        point_drop(a, a->debug_points->len - 1);
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        Vcpu *v = a->vcpus->pdata[i];
        v->debug.step = v->debug.hold = false;
        v->debug.stop.why = DEBUG_NONE;
    }
}

const DebugPoint *accel_debug_points(const Accel *a, unsigned *n)
{
    *n = a->debug_points->len;
    return (const DebugPoint *)a->debug_points->data;
}

const DebugPoint *accel_debug_break_at(const Accel *a, uint64_t va)
{
    for (unsigned i = 0; i < a->debug_points->len; i++) {
        const DebugPoint *p = point_at(a, i);
        if (p->kind <= DEBUG_HW_BREAK && p->va == va)
            return p;
    }
    return NULL;
}

const DebugPoint *accel_debug_watch_at(const Accel *a, uint64_t va, uint64_t len, bool write)
{
    for (unsigned i = 0; i < a->debug_points->len; i++) {
        const DebugPoint *p = point_at(a, i);
        bool concerns = p->kind == DEBUG_WATCH_ACCESS || p->kind == (write ? DEBUG_WATCH_WRITE : DEBUG_WATCH_READ);
        if (concerns && va - p->va < p->len)
            return p;
        if (concerns && p->va - va < len)
            return p;
    }
    return NULL;
}

/* --- vCPUs */

unsigned accel_n_vcpus(const Accel *a) { return a->vcpus->len; }
Vcpu *accel_vcpu(const Accel *a, unsigned index) { return index < a->vcpus->len ? a->vcpus->pdata[index] : NULL; }
unsigned vcpu_index(const Vcpu *v) { return v->index; }

void vcpu_debug_step(Vcpu *v, bool on) { v->debug.step = on; }
void vcpu_debug_hold(Vcpu *v, bool on) { v->debug.hold = on; }
bool vcpu_debug_held(const Vcpu *v) { return v->debug.hold; }
void vcpu_debug_tell(Vcpu *v) { v->debug.told = true; }
bool vcpu_debug_told(const Vcpu *v) { return v->debug.told; }
DebugStop vcpu_debug_stopped(Vcpu *v) { return v->debug.stop; }

void vcpu_debug_stop(Vcpu *v, DebugWhy why, const DebugPoint *p, uint64_t va)
{
    g_assert(vcpu_is_self(v));
    if (v->debug.stop.why == DEBUG_NONE) {
        v->debug.stop.va = va;
        if (p)
            v->debug.stop.point = *p;
        v->debug.stop.why = why;
        v->debug.told = false;
    }
    pthread_mutex_lock(&v->lock);
    v->want_run = false;
    pthread_mutex_unlock(&v->lock);
    vcpu_request(v, VCPU_STOP);
    if (v->accel->m.cpu_stopped)
        v->accel->m.cpu_stopped(v->accel->m.self, v->index);
}

/* --- memory */

/* One piece within one section of the map. */
static uint64_t phys_piece(Accel *a, uint64_t pa, void *buf, uint64_t len, bool write)
{
    MemSection sec;
    const AccelDebug *d = a->type->debug;
    if (!space_lookup(a->m.mem, pa, &sec))
        return 0;
    len = MIN(len, sec.len);
    if (!sec.host) {
        if (write)
            space_write(a->m.mem, pa, buf, len);
        else
            space_read(a->m.mem, pa, buf, len);
    } else if (write) {
        memcpy(sec.host, buf, len);
        if (d && d->written)
            d->written(a, pa, buf, len);
        ram_written(a->m.ram, sec.ram_page, (uintptr_t)sec.host % RAM_PAGE_SIZE, len);
    } else {
        memcpy(buf, sec.host, len);
        if (d && d->unmask)
            d->unmask(a, pa, buf, len);
    }
    return len;
}

static bool phys_access(Accel *a, uint64_t pa, uint8_t *buf, uint64_t len, bool write)
{
    while (len) {
        uint64_t n = phys_piece(a, pa, buf, len, write);
        if (!n)
            return false;
        pa += n;
        buf += n;
        len -= n;
    }
    return true;
}

bool vcpu_debug_translate(Vcpu *v, uint64_t va, uint64_t *pa, uint64_t *len)
{
    uint64_t rest;
    const TargetDebug *d = v->target->debug;
    return d && d->translate(v->cpu, v->accel->m.mem, va, pa, len ? len : &rest);
}

static bool virt_access(Vcpu *v, uint64_t va, uint8_t *buf, uint64_t len, bool write)
{
    while (len) {
        uint64_t pa, n;
        if (!vcpu_debug_translate(v, va, &pa, &n))
            return false;
        n = MIN(n, len);
        if (!phys_access(v->accel, pa, buf, n, write))
            return false;
        va += n;
        buf += n;
        len -= n;
    }
    return true;
}

bool vcpu_debug_read(Vcpu *v, uint64_t va, void *buf, size_t len) { return virt_access(v, va, buf, len, false); }
bool vcpu_debug_write(Vcpu *v, uint64_t va, const void *buf, size_t len)
{
    return virt_access(v, va, (uint8_t *)buf, len, true);       /* only read from */
}
