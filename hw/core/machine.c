/* SPDX-License-Identifier: GPL-2.0-or-later
 * The machine: what owns everything, its run state, and its saved state. */
#include "hw/core/machine.h"

#include <string.h>

#include "hw/core/core_int.h"
#include "util/endian.h"

enum { REQ_RESET = 1, REQ_SHUTDOWN = 2, REQ_EXIT = 4, REQ_PAUSE = 8, REQ_RESUME = 16, REQ_DEBUG = 32 };

Machine *machine_new(const char *name, Clock *clock)
{
    qsr_register();
    Machine *m = g_new0(Machine, 1);
    m->name = g_strdup(name);
    m->clock = clock;
    if (!clock) {
        m->clock = clock_new_host();
        clock_stop(m->clock);
        clock_set_ns(m->clock, 0);
    }
    m->loop = loop_new(m->clock);
    m->ram = ram_map_new();
    m->mem = space_new("memory", 64, m->ram);
    m->io = space_new("ports", 16, m->ram);
    domain_init(&m->topology, "topology", RANK_TOPOLOGY);
    domain_init(&m->legacy, "legacy", RANK_DEVICE);
    m->devices = g_ptr_array_new();
    m->streams = g_ptr_array_new();
    m->types = g_ptr_array_new();
    m->cpus = g_ptr_array_new();
    m->listeners = g_array_new(FALSE, FALSE, sizeof(MachineListener));
    return m;
}

void machine_free(Machine *m)
{
    if (!m)
        return;
    for (guint i = 0; i < m->devices->len; i++)
        device_disconnect(m->devices->pdata[i]);
    while (m->devices->len)
        device_free(m->devices->pdata[m->devices->len - 1]);
    for (guint i = 0; i < m->streams->len; i++)
        stream_free(m->streams->pdata[i]);
    space_free(m->mem);
    space_free(m->io);
    g_ptr_array_free(m->devices, TRUE);
    g_ptr_array_free(m->streams, TRUE);
    g_ptr_array_free(m->types, TRUE);
    g_ptr_array_free(m->cpus, TRUE);
    g_array_free(m->listeners, TRUE);
    ram_map_free(m->ram);
    loop_free(m->loop);
    clock_free(m->clock);
    domain_destroy(&m->topology);
    domain_destroy(&m->legacy);
    g_free(m->name);
    g_free(m);
    qsr_unregister();
}

Device *machine_find(Machine *m, const char *id)
{
    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        if (!strcmp(d->id, id))
            return d;
    }
    return NULL;
}

Stream *machine_stream(Machine *m, const char *id)
{
    for (guint i = 0; i < m->streams->len; i++)
        if (!strcmp(stream_id(m->streams->pdata[i]), id))
            return m->streams->pdata[i];
    return NULL;
}

void machine_add_stream(Machine *m, Stream *s) { g_ptr_array_add(m->streams, s); }
void machine_add_type(Machine *m, const DeviceType *t) { g_ptr_array_add(m->types, (gpointer)t); }

/* --- requests and run state --- */

static void request(Machine *m, unsigned what, RunCause cause)
{
    if (cause != CAUSE_NONE)
        __atomic_store_n(&m->request_cause, (int)cause, __ATOMIC_RELAXED);
    __atomic_or_fetch(&m->requests, what, __ATOMIC_RELEASE);
    loop_wake(m->loop);
}

void machine_request_reset(Machine *m, RunCause cause) { request(m, REQ_RESET, cause); }
void machine_request_shutdown(Machine *m, RunCause cause) { request(m, REQ_SHUTDOWN, cause); }
void machine_request_pause(Machine *m) { request(m, REQ_PAUSE, CAUSE_NONE); }
void machine_request_resume(Machine *m) { request(m, REQ_RESUME, CAUSE_NONE); }
void machine_request_debug_pause(Machine *m) { request(m, REQ_DEBUG, CAUSE_NONE); }

void machine_request_exit(Machine *m, int code)
{
    __atomic_store_n(&m->exit_code, code, __ATOMIC_RELAXED);
    request(m, REQ_EXIT, CAUSE_GUEST_SHUTDOWN);
}

/* --- listeners */

void machine_add_listener(Machine *m, void (*changed)(void *self), void *self)
{
    MachineListener l = { changed, self };
    g_array_append_val(m->listeners, l);
}

void machine_remove_listener(Machine *m, void *self)
{
    for (guint i = m->listeners->len; i-- > 0;)
        if (g_array_index(m->listeners, MachineListener, i).self == self)
            g_array_remove_index(m->listeners, i);
}

static void tell_listeners(Machine *m)
{
    for (guint i = 0; i < m->listeners->len; i++) {
        MachineListener l = g_array_index(m->listeners, MachineListener, i);
        l.changed(l.self);
    }
}

const char *machine_state_name(const Machine *m)
{
    static const char *const paused[] = { "paused (prelaunch)", "paused", "paused (debug)", "paused (shutdown)" };
    return m->state == RUN_RUNNING ? "running" : m->state == RUN_PAUSED ? paused[m->pause_why] : "shutdown";
}

static void go(Machine *m)
{
    clock_start(m->clock);
    if (m->hooks && m->hooks->resume)
        m->hooks->resume(m->hooks_self);
}

static void stand(Machine *m)
{
    if (m->hooks && m->hooks->pause)
        m->hooks->pause(m->hooks_self);
    clock_stop(m->clock);
}

void machine_start(Machine *m)
{
    if (m->state == RUN_RUNNING)
        return;
    m->state = RUN_RUNNING;
    go(m);
    tell_listeners(m);
}

static void pause_for(Machine *m, PauseWhy why)
{
    if (m->state != RUN_RUNNING)
        return;
    stand(m);
    m->state = RUN_PAUSED;
    m->pause_why = why;
    tell_listeners(m);
}

void machine_pause(Machine *m) { pause_for(m, PAUSE_USER); }

void machine_reset_devices(Machine *m)
{
    /* Pins move when every state has been reset, and then each device learns which of its inputs are high. */
    for (guint i = 0; i < m->devices->len; i++)
        device_reset_state(m->devices->pdata[i]);
    for (guint i = 0; i < m->devices->len; i++)
        device_settle(m->devices->pdata[i]);
    for (guint i = 0; i < m->devices->len; i++)
        device_retell(m->devices->pdata[i]);
}

void machine_reset(Machine *m)
{
    machine_reset_devices(m);
    if (m->hooks && m->hooks->reset)
        m->hooks->reset(m->hooks_self);
}

static void end(Machine *m)
{
    if (m->state == RUN_RUNNING)
        stand(m);
    m->state = RUN_SHUTDOWN;
    tell_listeners(m);
}

bool machine_poll(Machine *m)
{
    unsigned req = __atomic_exchange_n(&m->requests, 0, __ATOMIC_ACQUIRE);
    if (req & REQ_RESET && m->no_reboot)
        req |= REQ_SHUTDOWN;
    bool host = m->request_cause == CAUSE_HOST_QUIT || m->request_cause == CAUSE_HOST_SIGNAL;
    if (req & REQ_SHUTDOWN && m->no_shutdown && !host) {
        pause_for(m, PAUSE_SHUTDOWN);
        req &= REQ_EXIT;
    }
    if (req & (REQ_SHUTDOWN | REQ_EXIT)) {
        end(m);
        return false;
    }
    if (req & REQ_RESET) {
        bool running = m->state == RUN_RUNNING;
        if (running)
            stand(m);
        machine_reset(m);
        if (running)
            go(m);
    }
    if (req & REQ_DEBUG)
        pause_for(m, PAUSE_DEBUG);
    else if (req & REQ_PAUSE)
        machine_pause(m);
    else if (req & REQ_RESUME)
        machine_start(m);
    return m->state != RUN_SHUTDOWN;
}

int machine_run(Machine *m)
{
    while (machine_poll(m))
        loop_run_once(m->loop, true);
    return m->exit_code;
}

/* --- saved state ---
 * "RHEA", format (32 bits), guest time (64), number of devices (32); of each: type and id (length byte,
 * text), version (32), length (32), fields. */

enum { FORMAT = 1 };
#define TIME_MAX (UINT64_C(1) << 61)    /* 73 years: devices may add times without overflow */

GByteArray *machine_save(Machine *m)
{
    GByteArray *out = g_byte_array_new();
    g_byte_array_append(out, (const uint8_t *)"RHEA", 4);
    state_put(out, FORMAT, 4);
    state_put(out, (uint64_t)clock_now_ns(m->clock), 8);
    state_put(out, m->devices->len, 4);
    for (guint i = 0; i < m->devices->len; i++) {
        Device *d = m->devices->pdata[i];
        state_put_text(out, d->type->name);
        state_put_text(out, d->id);
        state_put(out, device_version(d), 4);
        GByteArray *body = g_byte_array_new();
        device_save(d, body);
        state_put(out, body->len, 4);
        g_byte_array_append(out, body->data, body->len);
        g_byte_array_free(body, TRUE);
    }
    return out;
}

static bool restore_device(Machine *m, StateBytes *s, bool *seen, GError **err)
{
    char type[256], id[256];
    uint64_t version, len;
    if (!state_get_text(s, type, err) || !state_get_text(s, id, err) || !state_get(s, 4, &version, err) ||
        !state_get(s, 4, &len, err))
        return false;
    if (s->len - s->at < len)
        return fail(err, "saved state ends early, at byte %zu", s->len);
    Device *d = machine_find(m, id);
    guint i = 0;
    if (!d || strcmp(d->type->name, type))
        return fail(err, "saved state holds a device '%s' of type '%s', which this machine has not", id,
                    type);
    if (!g_ptr_array_find(m->devices, d, &i) || seen[i])
        return fail(err, "saved state holds device '%s' twice", id);
    seen[i] = true;
    if (version > device_version(d))
        return fail(err, "device '%s': saved by a newer version (%u; this one knows %u)", id,
                    (unsigned)version, device_version(d));
    if (!device_restore(d, (unsigned)version, s->bytes + s->at, len, err))
        return fail_prefix(err, "device '%s': ", id);
    s->at += len;
    return true;
}

bool machine_restore(Machine *m, const uint8_t *bytes, size_t len, GError **err)
{
    StateBytes s = { bytes, len, 0 };
    uint64_t magic, format, now, n;
    if (!state_get(&s, 4, &magic, err) || !state_get(&s, 4, &format, err) || !state_get(&s, 8, &now, err) ||
        !state_get(&s, 4, &n, err))
        return false;
    if (memcmp(bytes, "RHEA", 4))
        return fail(err, "this is not a saved machine");
    if (format != FORMAT)
        return fail(err, "saved state has format %u; this program reads %d", (unsigned)format, FORMAT);
    if (now > TIME_MAX)
        return fail(err, "saved state holds an impossible time");
    clock_set_ns(m->clock, (int64_t)now);
    g_autofree bool *seen = g_new0(bool, m->devices->len + 1);
    while (n--)
        if (!restore_device(m, &s, seen, err))
            return false;
    for (guint i = 0; i < m->devices->len; i++)
        if (!seen[i])
            return fail(err, "device '%s' is missing from the saved state",
                        ((Device *)m->devices->pdata[i])->id);
    if (s.at != len)
        return fail(err, "%zu bytes too many at the end of saved state", len - s.at);
    for (guint i = 0; i < m->devices->len; i++)
        device_settle(m->devices->pdata[i]);
    return true;
}
