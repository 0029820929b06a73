/* SPDX-License-Identifier: GPL-2.0-or-later
 * Devices from descriptors: making and freeing them, properties, pins, timers, reset. */
#include "hw/core/device.h"

#include <string.h>

#include "hw/core/core_int.h"
#include "hw/core/machine.h"

#define DEVICE(x) extern const DeviceType x##_type;
#include "hw/devices.def"
#undef DEVICE

static const DeviceType *const all_types[] = {
#define DEVICE(x) &x##_type,
#include "hw/devices.def"
#undef DEVICE
    NULL
};

const DeviceType *device_type_find(const Machine *m, const char *name)
{
    for (guint i = 0; m && i < m->types->len; i++)
        if (!strcmp(((const DeviceType *)m->types->pdata[i])->name, name))
            return m->types->pdata[i];
    for (unsigned i = 0; all_types[i]; i++)
        if (!strcmp(all_types[i]->name, name))
            return all_types[i];
    return NULL;
}

void device_props_help(const DeviceType *t, GString *out)
{
    static const char *const types[] = {
        [FT_BOOL] = "on/off", [FT_U8] = "number", [FT_U16] = "number", [FT_U32] = "number", [FT_U64] = "size",
        [FT_STRING] = "text", [FT_STREAM] = "character device", [FT_DEVICE] = "device",
    };
    for (const Field *f = t->props; f && f->name; f++)
        g_string_append_printf(out, "  %s=<%s>%s%s%s%s%s\n", f->name,
                               f->type < G_N_ELEMENTS(types) && types[f->type] ? types[f->type] : "value",
                               f->help ? "  " : "", f->help ? f->help : "",
                               f->preset ? " (default: " : "", f->preset ? f->preset : "",
                               f->preset ? ")" : "");
}

/* --- properties --- */

static bool set_prop(Device *d, const Field *f, const char *text, GError **err)
{
    void *p = (uint8_t *)d + f->at;
    if (f->type == FT_STREAM) {
        Stream *s = machine_stream(d->machine, text);
        if (!s)
            return fail(err, "%s: there is no character device '%s'", f->name, text);
        if (!stream_claim(s, d->id, d->domain, err))
            return false;
        *(Stream **)p = s;
        return true;
    }
    if (f->type == FT_DEVICE) {
        *(Device **)p = machine_find(d->machine, text);
        return *(Device **)p || fail(err, "%s: there is no device '%s'", f->name, text);
    }
    return field_parse(f, d, text, err);
}

static bool set_props(Device *d, Options *o, GError **err)
{
    for (const Field *f = d->type->props; f && f->name; f++) {
        const char *text = options_get(o, f->name);
        if (!text)
            text = f->preset;
        if (text && !set_prop(d, f, text, err))
            return false;
    }
    return options_done(o, err);
}

/* --- making and freeing --- */

static uint64_t plain_read(void *self, uint64_t off, unsigned size)
{
    DeviceWindow *dw = self;
    const DeviceType *t = dw->device->type;
    uint64_t v = device_window(t, dw->w).ops->read(dw->device, off, size);
    if (t->settle)
        t->settle(dw->device);
    return v;
}

static void plain_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    DeviceWindow *dw = self;
    const DeviceType *t = dw->device->type;
    device_window(t, dw->w).ops->write(dw->device, off, v, size);
    if (t->settle)
        t->settle(dw->device);
}

static void make_windows(Device *d)
{
    for (unsigned w = 0; w < DEVICE_WINDOWS; w++) {
        Window win = device_window(d->type, w);
        if (!win.span)
            break;
        DeviceWindow *self = &d->window_self[w];
        *self = (DeviceWindow){ .device = d, .w = w, .ops = reg_ops };
        if (win.ops) {
            self->ops = *win.ops;
            self->ops.read = win.ops->read ? plain_read : NULL;
            self->ops.write = win.ops->write ? plain_write : NULL;
        }
        region_init_io(&d->windows[w], win.name ? win.name : d->id, win.span, &self->ops, self, d->domain);
        reg_build_index(d, w);
        d->n_windows++;
    }
}

static void make_sinks(Device *d)
{
    unsigned n = 0;
    for (const Field *f = d->type->pins; f && f->name; f++)
        n++;
    d->sinks = g_new0(DeviceSink, n + 1);
    for (unsigned i = 0; i < n; i++)
        d->sinks[i] = (DeviceSink){ d, &d->type->pins[i] };
}

static char *new_id(Machine *m, const char *type)
{
    for (unsigned n = 0;; n++) {
        char *id = g_strdup_printf("%s%u", type, n);
        if (!machine_find(m, id))
            return id;
        g_free(id);
    }
}

static Device *make(Machine *m, Options *o, LockDomain *domain, GError **err)
{
    const char *name = options_get(o, "driver"), *id = options_get(o, "id");
    const DeviceType *t = name ? device_type_find(m, name) : NULL;
    if (!t) {
        fail(err, "'%s' is not a device type", name ? name : "");
        return NULL;
    }
    if (id && machine_find(m, id)) {
        fail(err, "there is a device '%s' already", id);
        return NULL;
    }
    Device *d = g_malloc0(t->size);
    d->type = t;
    d->machine = m;
    d->domain = domain ? domain : &m->legacy;
    d->id = id ? g_strdup(id) : new_id(m, t->name);
    d->timers = g_ptr_array_new();
    make_windows(d);
    make_sinks(d);
    g_ptr_array_add(m->devices, d);
    if (!set_props(d, o, err) || (t->init && !t->init(d, err))) {
        fail_prefix(err, "%s: ", d->id);
        device_free(d);
        return NULL;
    }
    return d;
}

Device *device_new(Machine *m, const char *opts, LockDomain *domain, GError **err)
{
    Options *o = options_parse("-device", opts, "driver", err);
    if (!o)
        return NULL;
    Device *d = make(m, o, domain, err);
    options_free(o);
    return d;
}

static void each_line(Device *d, void (*fn)(Line *l, void *arg), void *arg)
{
    for (const Field *f = d->type->pins; f && f->name; f++)
        for (unsigned i = 0; f->type == FT_LINE && i < f->count; i++)
            fn((Line *)(void *)((uint8_t *)d + f->at) + i, arg);
}

static void disconnect(Line *l, void *arg) { line_disconnect_all(l); }
static void retell(Line *l, void *arg) { line_retell(l); }

static void forget(Line *l, void *arg)
{
    Device *gone = arg;
    unsigned n = 0;
    for (const Field *f = gone->type->pins; f && f->name; f++)
        n++;
    line_disconnect(l, gone->sinks, gone->sinks + n + 1);
}

void device_disconnect(Device *d) { each_line(d, disconnect, NULL); }

typedef struct DeviceTimer { Device *device; Timer *timer; void (*fn)(void *self); } DeviceTimer;

void device_free(Device *d)
{
    if (!d)
        return;
    Machine *m = d->machine;
    for (unsigned w = 0; w < d->n_windows; w++)
        region_unmap(&d->windows[w]);
    g_ptr_array_remove(m->devices, d);
    for (guint i = 0; i < m->devices->len; i++)
        each_line(m->devices->pdata[i], forget, d);
    for (guint i = 0; i < d->timers->len; i++) {
        DeviceTimer *dt = d->timers->pdata[i];
        timer_destroy(dt->timer);
        g_free(dt);
    }
    for (const Field *f = d->type->props; f && f->name; f++)
        if (f->type == FT_STREAM)
            stream_release(*(Stream **)(void *)((uint8_t *)d + f->at));
    if (d->type->free)
        d->type->free(d);
    device_disconnect(d);
    for (const Field *f = d->type->props; f && f->name; f++)
        field_free(f, d);
    for (unsigned w = 0; w < d->n_windows; w++) {
        region_destroy(&d->windows[w]);
        g_free(d->reg_index[w]);
    }
    g_ptr_array_free(d->timers, TRUE);
    g_free(d->sinks);
    g_free(d->id);
    g_free(d);
}

/* --- time, reset --- */

static void timer_fired(void *opaque)
{
    DeviceTimer *dt = opaque;
    dt->fn(dt->device);
    if (dt->device->type->settle)
        dt->device->type->settle(dt->device);
}

void device_timer_init(void *self, Timer *t, void (*fn)(void *self))
{
    Device *d = self;
    DeviceTimer *dt = g_new(DeviceTimer, 1);
    *dt = (DeviceTimer){ d, t, fn };
    g_ptr_array_add(d->timers, dt);
    timer_init(t, d->machine->clock, timer_fired, dt);
    timer_set_domain(t, d->domain);
}

typedef struct Remap { Device *device; void (*fn)(void *self); } Remap;

static void remap_late(void *arg)
{
    Remap *r = arg;
    domain_enter(&r->device->machine->topology);
    domain_enter(r->device->domain);
    r->fn(r->device);
    domain_leave(r->device->domain);
    domain_leave(&r->device->machine->topology);
}

void device_remap(void *self, void (*fn)(void *self))
{
    domain_defer(remap_late, &(Remap){ self, fn }, sizeof(Remap));
}

void device_reset_state(Device *d)
{
    domain_enter(d->domain);
    describe_reset(d->type->state, d);
    reg_reset(d);
    if (d->type->reset)
        d->type->reset(d);
    domain_leave(d->domain);
}

void device_settle(Device *d)
{
    if (!d->type->settle)
        return;
    domain_enter(d->domain);
    d->type->settle(d);
    domain_leave(d->domain);
}

void device_retell(Device *d)
{
    domain_enter(d->domain);
    each_line(d, retell, NULL);
    domain_leave(d->domain);
}

void device_reset(Device *d)
{
    device_reset_state(d);
    device_settle(d);
}

/* --- pins --- */

static const Field *pin_find(const Device *d, const char *name, unsigned *i)
{
    const char *bracket = strchr(name, '[');
    size_t len = bracket ? (size_t)(bracket - name) : strlen(name);
    *i = bracket ? (unsigned)strtoul(bracket + 1, NULL, 0) : 0;
    for (const Field *f = d->type->pins; f && f->name; f++)
        if (strlen(f->name) == len && !memcmp(f->name, name, len))
            return f;
    return NULL;
}

/* The first pin of that type, for wires that name none. */
static const Field *pin_first(const Device *d, FieldType type)
{
    for (const Field *f = d->type->pins; f && f->name; f++)
        if (f->type == type)
            return f;
    return NULL;
}

Line *device_line(Device *d, const char *pin)
{
    unsigned i = 0;
    const Field *f = pin ? pin_find(d, pin, &i) : pin_first(d, FT_LINE);
    return f && f->type == FT_LINE && i < f->count ? (Line *)(void *)((uint8_t *)d + f->at) + i : NULL;
}

static DeviceSink *input(const Device *d, const char *pin, unsigned n)
{
    unsigned i = 0;
    const Field *f = pin ? pin_find(d, pin, &i) : pin_first(d, FT_SINK);
    return f && f->type == FT_SINK && n < f->count ? &d->sinks[f - d->type->pins] : NULL;
}

bool device_has_input(const Device *d, const char *pin, unsigned n) { return input(d, pin, n); }

static void sink_fired(void *self, unsigned n, bool level)
{
    DeviceSink *s = self;
    s->pin->sink(s->device, n, level);
    if (s->device->type->settle)
        s->device->type->settle(s->device);
}

void device_input(Device *d, const char *pin, unsigned n, bool level)
{
    DeviceSink *s = input(d, pin, n);
    g_assert(s);
    domain_enter(d->domain);
    sink_fired(s, n, level);
    domain_leave(d->domain);
}

bool device_wire(Device *from, const char *pin, Device *to, const char *to_pin, unsigned n, GError **err)
{
    Line *l = device_line(from, pin);
    DeviceSink *s = input(to, to_pin, n);
    if (!l)
        return fail(err, "%s has no output pin '%s'", from->id, pin ? pin : "");
    if (!s)
        return fail(err, "%s has no input pin '%s' number %u", to->id, to_pin ? to_pin : "", n);
    line_connect(l, sink_fired, s, n, to->domain);
    return true;
}
