/* SPDX-License-Identifier: GPL-2.0-or-later
 * Register rows at work: look-up, splitting and widening, effects, reset. */
#include "hw/core/reg.h"

#include <inttypes.h>
#include <string.h>

#include "hw/core/core_int.h"
#include "util/bits.h"

enum { INDEXED_SPAN = 8192 };       /* larger windows are searched row by row */

/* skip: of the offset, within the register */
typedef struct Hit { const Reg *reg; unsigned i, width, skip; } Hit;

Window device_window(const DeviceType *t, unsigned w)
{
    Window win = t->windows[w];
    if (w == 0 && !win.span)
        win = (Window){ .span = t->span, .regs = t->regs, .width = t->reg_width, .ops = t->ops };
    return win;
}

static unsigned reg_width(const Window *win, const Reg *r)
{
    if (r->width)
        return r->width;
    if (win->width)
        return win->width;
    return r->member_size ? r->member_size : 1;
}

static unsigned reg_stride(const Window *win, const Reg *r)
{
    return r->stride ? r->stride : reg_width(win, r);
}

static bool covers(const Window *win, const Reg *r, uint64_t off, Hit *hit)
{
    unsigned width = reg_width(win, r), stride = reg_stride(win, r);
    if (off < r->at || (off - r->at) / stride >= reg_count(r) || (off - r->at) % stride >= width)
        return false;
    *hit = (Hit){ r, (unsigned)((off - r->at) / stride), width, (unsigned)((off - r->at) % stride) };
    return true;
}

void reg_build_index(Device *d, unsigned w)
{
    Window win = device_window(d->type, w);
    if (!win.regs || win.span > INDEXED_SPAN)
        return;
    d->reg_index[w] = g_new0(uint16_t, win.span);
    Hit hit;
    for (const Reg *r = win.regs; r->name; r++)
        for (uint64_t off = 0; off < win.span; off++)
            if (!d->reg_index[w][off] && covers(&win, r, off, &hit))
                d->reg_index[w][off] = (uint16_t)(r - win.regs + 1);
}

static bool reg_at(const Device *d, const Window *win, unsigned w, uint64_t off, Hit *hit)
{
    if (!win->regs || off >= win->span)
        return false;
    const Reg *r = win->regs;
    if (d->reg_index[w]) {
        unsigned first = d->reg_index[w][off];
        if (!first)
            return false;
        r += first - 1;
    }
    for (; r->name; r++)
        if (covers(win, r, off, hit) && (!r->when || r->when(d)))
            return true;
    return false;
}

/* The member as a field; element i for the i-th register. */
static Field member(const Reg *r)
{
    return (Field){ .type = r->type, .at = r->member_at, .size = r->member_size, .count = r->member_count };
}

static uint64_t reg_value(const Device *d, const Reg *r, unsigned i)
{
    if (r->value_at)
        return r->value_at(d, i);
    if (r->value)
        return r->value(d);
    if (r->type) {
        Field f = member(r);
        return field_get(&f, d, i < f.count ? i : 0);
    }
    return r->reset;
}

static void reg_name(const Reg *r, unsigned i, char *out, size_t len)
{
    if (reg_count(r) > 1)
        g_snprintf(out, len, "%s[%u]", r->name, i);
    else
        g_strlcpy(out, r->name, len);
}

static void note_access(const Device *d, const Hit *hit, const char *arrow, uint64_t v)
{
    char name[64];
    reg_name(hit->reg, hit->i, name, sizeof name);
    log_text("%s.%s %s %0*" PRIx64 "\n", d->id, name, arrow, (int)(2 * hit->width), v);
}

uint64_t device_reg_read(Device *d, unsigned w, uint64_t off, unsigned size)
{
    Window win = device_window(d->type, w);
    uint64_t v = 0;
    bool effects = false;
    for (unsigned done = 0; done < size;) {
        Hit hit;
        if (!reg_at(d, &win, w, off + done, &hit)) {
            log_guest_dev(d, "read of offset %" PRIx64 ", where there is no register", off + done);
            done++;
            continue;
        }
        const Reg *r = hit.reg;
        unsigned n = MIN(hit.width - hit.skip, size - done);
        uint64_t whole = reg_value(d, r, hit.i) & size_mask(hit.width);
        if (log_on(LOG_DEV))
            note_access(d, &hit, "->", whole);
        v |= (whole >> 8 * hit.skip & size_mask(n)) << 8 * done;
        if (r->on_read_at)
            r->on_read_at(d, hit.i);
        else if (r->on_read)
            r->on_read(d);
        effects |= r->on_read || r->on_read_at;
        done += n;
    }
    if (effects && d->type->settle)
        d->type->settle(d);
    return v;
}

static void reg_write(Device *d, const Hit *hit, uint64_t bytes, unsigned n)
{
    const Reg *r = hit->reg;
    uint64_t v = bytes, here = size_mask(n) << 8 * hit->skip;
    /* A part is merged with the rest, except for bits where a one would clear. */
    if (n < hit->width)
        v = (bytes << 8 * hit->skip & here) | (reg_value(d, r, hit->i) & ~here & ~r->w1c);
    v &= size_mask(hit->width);
    if (log_on(LOG_DEV))
        note_access(d, hit, "<-", v);
    if (r->type) {
        Field f = member(r);
        unsigned i = hit->i < f.count ? hit->i : 0;
        uint64_t old = field_get(&f, d, i);
        field_put(&f, d, i, ((old & ~r->mask) | (v & r->mask)) & ~(v & r->w1c));
    }
    if (r->mask | r->w1c)
        v &= r->mask | r->w1c;
    else if (!r->on_write && !r->on_write_at)
        log_guest_dev(d, "write of %" PRIx64 " to %s, which is read-only", v, r->name);
    if (r->on_write_at)
        r->on_write_at(d, hit->i, v);
    else if (r->on_write)
        r->on_write(d, v);
}

void device_reg_write(Device *d, unsigned w, uint64_t off, uint64_t v, unsigned size)
{
    Window win = device_window(d->type, w);
    for (unsigned done = 0; done < size;) {
        Hit hit;
        unsigned n = 1;
        if (reg_at(d, &win, w, off + done, &hit)) {
            n = MIN(hit.width - hit.skip, size - done);
            reg_write(d, &hit, v >> 8 * done & size_mask(n), n);
        } else {
            log_guest_dev(d, "write to offset %" PRIx64 ", where there is no register", off + done);
        }
        done += n;
    }
    if (d->type->settle)
        d->type->settle(d);
}

static uint64_t window_read(void *self, uint64_t off, unsigned size)
{
    DeviceWindow *dw = self;
    return device_reg_read(dw->device, dw->w, off, size);
}

static void window_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    DeviceWindow *dw = self;
    device_reg_write(dw->device, dw->w, off, v, size);
}

const RegionOps reg_ops = { window_read, window_write, .min = 1, .max = 8, .unaligned = true };

void reg_reset(Device *d)
{
    for (unsigned w = 0; w < DEVICE_WINDOWS; w++) {
        const Reg *regs = device_window(d->type, w).regs, *r = regs;
        while (r && r->name)
            r++;
        /* From the last, so that of several rows on one member the first decides. */
        while (r > regs) {
            r--;
            Field f = member(r);
            for (unsigned i = 0; r->type && !r->keep && i < MIN(reg_count(r), f.count); i++)
                field_put(&f, d, i, r->reset);
        }
    }
}

/* --- by name --- */

/* Of rows with one name the first that fits; the name alone finds one that does not fit now. */
static bool find(Device *d, const char *name, unsigned *w, Hit *hit)
{
    g_autofree char *base = g_strdup(name);
    char *index = strchr(base, '[');
    unsigned i = index ? (unsigned)strtoul(index + 1, NULL, 0) : 0;
    bool found = false;
    if (index)
        *index = 0;
    for (unsigned k = 0; k < d->n_windows; k++) {
        Window win = device_window(d->type, k);
        for (const Reg *r = win.regs; r && r->name; r++) {
            bool fits = !r->when || r->when(d);
            if (strcmp(r->name, base) || i >= reg_count(r) || (found && !fits))
                continue;
            *w = k;
            *hit = (Hit){ r, i, reg_width(&win, r), 0 };
            found = true;
            if (fits)
                return true;
        }
    }
    return found;
}

bool device_reg_find(Device *d, const char *name, unsigned *w, uint64_t *at, unsigned *width)
{
    Hit hit;
    if (!find(d, name, w, &hit))
        return false;
    Window win = device_window(d->type, *w);
    *at = hit.reg->at + (uint64_t)hit.i * reg_stride(&win, hit.reg);
    *width = hit.width;
    return true;
}

bool device_reg_peek(Device *d, const char *name, uint64_t *v)
{
    Hit hit;
    unsigned w;
    if (!find(d, name, &w, &hit))
        return false;
    *v = reg_value(d, hit.reg, hit.i) & size_mask(hit.width);
    return true;
}

void device_regs_show(Device *d, GString *out)
{
    for (unsigned w = 0; w < d->n_windows; w++) {
        Window win = device_window(d->type, w);
        for (const Reg *r = win.regs; r && r->name; r++) {
            for (unsigned i = 0; i < reg_count(r); i++) {
                char name[64];
                unsigned width = reg_width(&win, r);
                reg_name(r, i, name, sizeof name);
                g_string_append_printf(out, "%s.%-12s %0*" PRIx64 "\n", d->id, name, (int)(2 * width),
                                       reg_value(d, r, i) & size_mask(width));
            }
        }
    }
}
