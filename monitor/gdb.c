/* SPDX-License-Identifier: GPL-2.0-or-later
 * The gdb stub: one client, the vCPUs as threads, all of them stopped or running (all-stop mode).
 * Source: gdb's manual, appendix "Remote Protocol".
 *
 * While the client thinks that the machine runs, its packets (but Ctrl-C) are odd and yet answered: vCPUs are frozen
 * meanwhile.  Stops that come from elsewhere (monitor, guest) are told as SIGINT. */
#include <string.h>

#include "monitor/gdb_int.h"
#include "util/error.h"

enum { SIG_INT = 2, SIG_TRAP = 5 };

void gdb_reply(GdbServer *g, const char *text) { g_string_assign(g->reply, text); }

bool gdb_thread(GdbServer *g, const char **p, unsigned *cpu, bool *any)
{
    uint64_t v;
    *any = false;
    *cpu = g->c;
    if (**p == '-') {
        *any = true;
        (*p)++;
        return gdb_hex_number(p, &v) && v == 1;
    }
    if (!gdb_hex_number(p, &v))
        return false;
    *any = !v;
    if (v)
        *cpu = v - 1;
    return !v || v <= accel_n_vcpus(g->accel);
}

/* --- registers */

static const DebugReg *find_reg(GdbServer *g, uint64_t number)
{
    Vcpu *v = gdb_vcpu(g, g->g);
    unsigned n;
    const DebugFeature *f = vcpu_target(v)->debug->features(vcpu_cpu(v), &n);
    for (unsigned i = 0; i < n; i++) {
        if (number < f[i].n)
            return &f[i].regs[number];
        number -= f[i].n;
    }
    return NULL;
}

static void read_reg(GdbServer *g, const DebugReg *r)
{
    Vcpu *v = gdb_vcpu(g, g->g);
    uint8_t value[DEBUG_REG_BYTES];
    vcpu_target(v)->debug->get(vcpu_cpu(v), r->id, value);
    gdb_put_hex(g->reply, value, r->bits / 8);
}

static bool write_reg(GdbServer *g, const DebugReg *r, const char *hex)
{
    Vcpu *v = gdb_vcpu(g, g->g);
    uint8_t value[DEBUG_REG_BYTES] = { 0 };
    return gdb_hex_bytes(hex, value, r->bits / 8) && vcpu_target(v)->debug->set(vcpu_cpu(v), r->id, value);
}

static void all_registers(GdbServer *g)
{
    const DebugReg *r;
    for (unsigned i = 0; (r = find_reg(g, i)); i++)
        read_reg(g, r);
}

/* What a client gives is what it read before but for one; a register that cannot have its value is the error. */
static void set_registers(GdbServer *g, const char *p)
{
    const DebugReg *r;
    size_t left = strlen(p);
    bool ok = true;
    for (unsigned i = 0; (r = find_reg(g, i)) && left >= r->bits / 4u; i++) {
        ok = write_reg(g, r, p) && ok;
        p += r->bits / 4;
        left -= r->bits / 4;
    }
    gdb_reply(g, ok ? "OK" : "E22");
}

static void one_register(GdbServer *g, const char *p)
{
    uint64_t n;
    const DebugReg *r = gdb_hex_number(&p, &n) ? find_reg(g, n) : NULL;
    if (r)
        read_reg(g, r);
    else
        gdb_reply(g, "E14");
}

static void set_register(GdbServer *g, const char *p)
{
    uint64_t n;
    const DebugReg *r = gdb_hex_number(&p, &n) && *p++ == '=' ? find_reg(g, n) : NULL;
    gdb_reply(g, r && strlen(p) >= r->bits / 4u && write_reg(g, r, p) ? "OK" : "E14");
}

/* --- memory.  "ADDR,LENGTH", and what follows */

static bool range(const char **p, uint64_t *va, uint64_t *len)
{
    return gdb_hex_number(p, va) && *(*p)++ == ',' && gdb_hex_number(p, len);
}

/* As much as there is: gdb asks for what lies behind the end of a stack or a mapping. */
static void read_memory(GdbServer *g, const char *p)
{
    uint64_t va, len;
    uint8_t buf[GDB_PACKET_SIZE / 2];
    if (!range(&p, &va, &len) || *p) {
        gdb_reply(g, "E22");
        return;
    }
    len = MIN(len, sizeof buf);
    uint64_t done = 0;
    while (done < len) {
        uint64_t n = MIN(len - done, PAGE_SIZE - (va + done) % PAGE_SIZE);
        if (!vcpu_debug_read(gdb_vcpu(g, g->g), va + done, buf + done, n))
            break;
        done += n;
    }
    if (done || !len)
        gdb_put_hex(g->reply, buf, done);
    else
        gdb_reply(g, "E14");
}

static void write_memory(GdbServer *g, const char *p, const char *end, bool binary)
{
    uint64_t va, len;
    if (!range(&p, &va, &len) || *p++ != ':' || len > (uint64_t)(end - p) / (binary ? 1 : 2)) {
        gdb_reply(g, "E22");
        return;
    }
    uint8_t *buf = g_malloc(len + 1);
    bool ok = true;
    if (binary)
        memcpy(buf, p, len);
    else
        ok = gdb_hex_bytes(p, buf, len);
    gdb_reply(g, !ok ? "E22" : vcpu_debug_write(gdb_vcpu(g, g->g), va, buf, len) ? "OK" : "E14");
    g_free(buf);
}

/* --- breakpoints: "TYPE,ADDR,KIND".  What follows (conditions) is not offered, so not sent. */

static void point(GdbServer *g, const char *p, bool insert)
{
    uint64_t kind, va, len;
    if (!gdb_hex_number(&p, &kind) || *p++ != ',' || !range(&p, &va, &len)) {
        gdb_reply(g, "E22");
        return;
    }
    if (kind >= DEBUG_N_KINDS)
        return;                         /* empty: not supported */
    GError *err = NULL;
    if (!insert) {
        gdb_reply(g, accel_debug_remove(g->accel, (DebugKind)kind, va, len) ? "OK" : "E22");
    } else if (accel_debug_insert(g->accel, (DebugKind)kind, va, len, &err)) {
        gdb_reply(g, "OK");
    } else {
        g_string_printf(g->reply, "E22");
        g_error_free(err);
    }
}

/* --- telling a stop */

static void stop_reply(GdbServer *g, unsigned signal, unsigned cpu, const DebugStop *stop)
{
    static const char *const words[DEBUG_N_KINDS] = { "swbreak", "hwbreak", "watch", "rwatch", "awatch" };
    GString *s = g_string_new(NULL);
    g_string_printf(s, "T%02xthread:%02x;", signal, cpu + 1);
    if (stop && stop->why == DEBUG_POINT) {
        DebugKind k = stop->point.kind;
        if (k >= DEBUG_WATCH_WRITE)
            g_string_append_printf(s, "%s:%" G_GINT64_MODIFIER "x;", words[k], stop->va);
        else if (k == DEBUG_SW_BREAK ? g->swbreak : g->hwbreak)
            g_string_append_printf(s, "%s:;", words[k]);
    }
    gdb_link_send(&g->link, s->str, s->len);
    g_string_free(s, TRUE);
    stream_flush(g->stream);
}

static bool untold(GdbServer *g, unsigned cpu, DebugStop *stop)
{
    Vcpu *v = accel_vcpu(g->accel, cpu);
    *stop = vcpu_debug_stopped(v);
    return stop->why != DEBUG_NONE && !vcpu_debug_told(v) && !vcpu_debug_held(v);
}

/* The vCPU whose stop is told: the one that the client steps before others. */
static int find_stopped(GdbServer *g, DebugStop *stop)
{
    if (g->c < accel_n_vcpus(g->accel) && untold(g, g->c, stop))
        return (int)g->c;
    for (unsigned i = 0; i < accel_n_vcpus(g->accel); i++)
        if (untold(g, i, stop))
            return (int)i;
    return -1;
}

static void calm(GdbServer *g)
{
    for (unsigned i = 0; i < accel_n_vcpus(g->accel); i++) {
        vcpu_debug_step(accel_vcpu(g->accel, i), false);
        vcpu_debug_hold(accel_vcpu(g->accel, i), false);
    }
}

static void tell(GdbServer *g, unsigned signal, unsigned cpu, const DebugStop *stop)
{
    g->running = g->range.on = false;
    g->g = g->c = cpu;
    if (stop)
        vcpu_debug_tell(accel_vcpu(g->accel, cpu));
    calm(g);
    stop_reply(g, signal, cpu, stop);
}

/* vCont;r: steps within the range go on by themselves. */
static bool range_goes_on(GdbServer *g, int cpu, const DebugStop *stop)
{
    uint64_t pc;
    if (!g->range.on || cpu != (int)g->range.cpu || stop->why != DEBUG_STEPPED)
        return false;
    Vcpu *v = gdb_vcpu(g, g->range.cpu);
    if (!vcpu_target(v)->debug->lookup(vcpu_cpu(v), "pc", &pc) || pc < g->range.start || pc >= g->range.end)
        return false;
    vcpu_debug_tell(v);
    machine_start(g->machine);
    return true;
}

static void state_changed(void *self)
{
    GdbServer *g = self;
    if (!g->connected)
        return;
    if (g->machine->state == RUN_SHUTDOWN) {
        char text[8];
        g_snprintf(text, sizeof text, "W%02x", g->machine->exit_code & 0xff);
        gdb_link_send(&g->link, text, strlen(text));
        stream_flush(g->stream);
        g->connected = g->running = false;
        return;
    }
    if (g->machine->state != RUN_PAUSED || !g->running)
        return;
    DebugStop stop;
    int cpu = find_stopped(g, &stop);
    if (cpu >= 0 && range_goes_on(g, cpu, &stop))
        return;
    if (cpu >= 0)
        tell(g, SIG_TRAP, (unsigned)cpu, &stop);
    else
        tell(g, SIG_INT, g->c, NULL);
}

/* --- execution */

/* Runs on as held and stepping vCPUs have been marked. */
static void resume(GdbServer *g)
{
    DebugStop stop;
    g->running = true;
    for (unsigned i = 0; i < accel_n_vcpus(g->accel); i++)
        if (untold(g, i, &stop) && stop.why == DEBUG_POINT && stop.point.kind >= DEBUG_WATCH_WRITE) {
            tell(g, SIG_TRAP, i, &stop);        /* hit together with another one, which went first */
            return;
        }
    if (g->machine->state == RUN_PAUSED)
        machine_start(g->machine);
}

/* c, s, C, S: with an optional address to go on at. */
static void resume_simple(GdbServer *g, const char *p, bool step)
{
    uint64_t v;
    Vcpu *cpu = gdb_vcpu(g, g->c);
    if (*p && gdb_hex_number(&p, &v) && vcpu_target(cpu)->debug->set_pc)
        vcpu_target(cpu)->debug->set_pc(vcpu_cpu(cpu), v);
    calm(g);
    for (unsigned i = 0; step && i < accel_n_vcpus(g->accel); i++)      /* a step is of one thread */
        vcpu_debug_hold(accel_vcpu(g->accel, i), i != vcpu_index(cpu));
    vcpu_debug_step(cpu, step);
    resume(g);
}

static void with_signal(GdbServer *g, const char *p, bool step)
{
    uint64_t v;
    if (!gdb_hex_number(&p, &v)) {
        gdb_reply(g, "E22");
        return;
    }
    resume_simple(g, *p == ';' ? p + 1 : p, step);
}

enum { ACT_NONE, ACT_RUN, ACT_STEP };

/* ";ACTION[:THREAD]"...: the first that names a thread is its own. */
static bool parse_actions(GdbServer *g, const char *p, uint8_t *act, unsigned n)
{
    while (*p == ';') {
        char a = *++p;
        uint64_t v, end = 0;
        unsigned cpu;
        bool any = true;
        if (!a || !strchr("cCsSrt", a))
            return false;
        p++;
        if ((a == 'C' || a == 'S') && !gdb_hex_number(&p, &v))
            return false;
        if (a == 'r' && !(gdb_hex_number(&p, &v) && *p++ == ',' && gdb_hex_number(&p, &end)))
            return false;
        if (*p == ':') {
            p++;
            if (!gdb_thread(g, &p, &cpu, &any))
                return false;
        }
        for (unsigned i = 0; i < n; i++) {
            if ((!any && i != cpu) || act[i] != ACT_NONE)
                continue;
            act[i] = a == 'c' || a == 'C' ? ACT_RUN : a == 't' ? ACT_NONE : ACT_STEP;
            if (a == 'r') {
                g->range.on = true;
                g->range.start = v;
                g->range.end = end;
                g->range.cpu = i;
            }
        }
    }
    return !*p;
}

static void resume_many(GdbServer *g, const char *p)
{
    unsigned n = accel_n_vcpus(g->accel), acting = 0;
    g_autofree uint8_t *act = g_malloc0(n + 1);
    g->range.on = false;
    if (!parse_actions(g, p, act, n)) {
        g->range.on = false;
        gdb_reply(g, "E22");
        return;
    }
    calm(g);
    for (unsigned i = 0; i < n; i++) {
        acting += act[i] != ACT_NONE;
        vcpu_debug_hold(accel_vcpu(g->accel, i), act[i] == ACT_NONE);
        vcpu_debug_step(accel_vcpu(g->accel, i), act[i] == ACT_STEP);
        if (act[i] == ACT_STEP)
            g->c = i;
    }
    if (acting) {
        resume(g);
        return;
    }
    calm(g);
    gdb_reply(g, "E22");
}

static void detach(GdbServer *g)
{
    accel_debug_clear(g->accel);
    g->connected = g->running = false;
    if (g->machine->state == RUN_PAUSED)
        machine_start(g->machine);
}

static void set_thread(GdbServer *g, const char *p)
{
    char what = *p ? *p++ : 0;
    unsigned cpu;
    bool any;
    if ((what != 'g' && what != 'c') || !gdb_thread(g, &p, &cpu, &any)) {
        gdb_reply(g, "E22");
        return;
    }
    if (what == 'g')
        g->g = any ? g->g : cpu;
    else
        g->c = any ? g->c : cpu;
    gdb_reply(g, "OK");
}

static void is_alive(GdbServer *g, const char *p)
{
    unsigned cpu;
    bool any;
    gdb_reply(g, gdb_thread(g, &p, &cpu, &any) ? "OK" : "E22");
}

static void kill_machine(GdbServer *g) { machine_request_exit(g->machine, 0); }

/* --- packets.  A reply that stays empty says "not supported"; `silent` ones answer when the machine stops. */

typedef enum { SILENT, ANSWER } Reply;

static Reply v_packet(GdbServer *g, const char *p)
{
    if (gdb_starts(&p, "vCont?")) {
        gdb_reply(g, "vCont;c;C;s;S;t;r");
    } else if (gdb_starts(&p, "vCont")) {
        resume_many(g, p);
        return g->reply->len ? ANSWER : SILENT;
    } else if (gdb_starts(&p, "vKill")) {
        kill_machine(g);
        gdb_reply(g, "OK");
    } else if (gdb_starts(&p, "vAttach")) {
        stop_reply(g, SIG_TRAP, g->c, NULL);
        return SILENT;
    }
    return ANSWER;
}

static Reply handle(GdbServer *g, const char *p, size_t len)
{
    const char *end = p + len;
    switch (*p) {
    case '?':
        accel_debug_clear(g->accel);    /* what an earlier client has left */
        stop_reply(g, SIG_TRAP, g->c, NULL);
        return SILENT;
    case 'c':
    case 's':
        resume_simple(g, p + 1, *p == 's');
        return SILENT;
    case 'C':
    case 'S':
        with_signal(g, p + 1, *p == 'S');
        return g->reply->len ? ANSWER : SILENT;
    case 'D':
        detach(g);
        gdb_reply(g, "OK");
        return ANSWER;
    case 'g': all_registers(g); return ANSWER;
    case 'G': set_registers(g, p + 1); return ANSWER;
    case 'H': set_thread(g, p + 1); return ANSWER;
    case 'k':
        kill_machine(g);
        return SILENT;
    case 'm': read_memory(g, p + 1); return ANSWER;
    case 'M': write_memory(g, p + 1, end, false); return ANSWER;
    case 'p': one_register(g, p + 1); return ANSWER;
    case 'P': set_register(g, p + 1); return ANSWER;
    case 'q':
    case 'Q': gdb_query(g, p, len); return ANSWER;
    case 'T': is_alive(g, p + 1); return ANSWER;
    case 'v': return v_packet(g, p);
    case 'X': write_memory(g, p + 1, end, true); return ANSWER;
    case 'z':
    case 'Z': point(g, p + 1, *p == 'Z'); return ANSWER;
    default:  return ANSWER;
    }
}

static void packet(void *self, const char *data, size_t len)
{
    GdbServer *g = self;
    if (g->doomed || g->machine->state == RUN_SHUTDOWN)
        return;
    g_string_truncate(g->reply, 0);
    bool ran = accel_freeze(g->accel);
    Reply r = handle(g, data, len);
    if (g->machine->state == RUN_RUNNING)       /* it may have been started */
        accel_thaw(g->accel, ran);
    if (r == ANSWER)
        gdb_link_send(&g->link, g->reply->str, g->reply->len);
    if (g->start_no_ack)
        g->link.no_ack = true;
    g->start_no_ack = false;
}

static void interrupt(void *self)
{
    GdbServer *g = self;
    if (g->machine->state == RUN_RUNNING)
        machine_pause(g->machine);
    else if (g->running)                /* somebody else has stopped it */
        tell(g, SIG_INT, g->c, NULL);
}

static void write_bytes(void *self, const void *bytes, size_t len)
{
    GdbServer *g = self;
    stream_write(g->stream, bytes, len);
}

static const GdbLinkUser link_user = { write_bytes, packet, interrupt };

/* --- the connection */

static void filled(void *self)
{
    GdbServer *g = self;
    g->busy = true;
    while (!fifo8_empty(&g->in) && !g->doomed) {
        uint8_t b = fifo8_pop(&g->in);
        if (!g->connected && b == '$')
            g->connected = true;        /* a stream that has no opening: stdio, pty */
        gdb_link_feed(&g->link, &b, 1);
    }
    g->busy = false;
    if (g->doomed)
        gdb_free(g);
    else
        stream_flush(g->stream);
}

static void event(void *self, StreamEvent ev)
{
    GdbServer *g = self;
    if (ev == STREAM_OPENED) {
        gdb_link_reset(&g->link);
        g->connected = true;
        g->running = false;
        g->g = g->c = 0;
        if (g->machine->state == RUN_RUNNING)
            machine_pause(g->machine);
    } else if (ev == STREAM_CLOSED && g->connected) {
        bool ran = accel_freeze(g->accel);      /* it is gone without a word: its breakpoints go, the machine stays as it is */
        accel_debug_clear(g->accel);
        accel_thaw(g->accel, ran);
        g->connected = g->running = false;
    }
}

/* "tcp::1234" listens unless told otherwise. */
static char *as_server(const char *spec)
{
    bool is_socket = g_str_has_prefix(spec, "tcp:") || g_str_has_prefix(spec, "unix:");
    if (!is_socket || strstr(spec, ",server"))
        return g_strdup(spec);
    return g_strdup_printf("%s,server=on,wait=off", spec);
}

GdbServer *gdb_new(Monitor *m, const char *spec, GError **err)
{
    const MonitorEnv *env = monitor_env(m);
    Vcpu *first = accel_vcpu(env->accel, 0);
    if (!first || !vcpu_target(first)->debug) {
        fail(err, "this machine has no CPU that gdb knows");
        return NULL;
    }
    bool named = g_str_has_prefix(spec, "chardev:");
    g_autofree char *full = as_server(spec);
    Stream *s = named ? machine_stream(env->machine, spec + 8) : stream_open(env->machine->loop, full, err);
    if (!s) {
        if (named)
            fail(err, "there is no -chardev with id=%s", spec + 8);
        return NULL;
    }
    if (!stream_claim(s, "gdb", NULL, err)) {
        if (!named)
            stream_free(s);
        return NULL;
    }
    GdbServer *g = g_new0(GdbServer, 1);
    g->monitor = m;
    g->machine = env->machine;
    g->accel = env->accel;
    g->stream = s;
    g->own_stream = !named;
    g->reply = g_string_new(NULL);
    gdb_link_init(&g->link, &link_user, g);
    fifo8_set_cap(&g->in, FIFO8_MAX);
    stream_fill(s, &g->in, filled, g, NULL);
    stream_on_event(s, event, g);
    machine_add_listener(g->machine, state_changed, g);
    return g;
}

void gdb_free(GdbServer *g)
{
    if (!g)
        return;
    if (g->busy) {                      /* by a command that came through it */
        g->doomed = true;
        return;
    }
    bool ran = accel_freeze(g->accel);
    accel_debug_clear(g->accel);
    accel_thaw(g->accel, ran);
    machine_remove_listener(g->machine, g);
    stream_release(g->stream);
    if (g->own_stream)
        stream_free(g->stream);
    gdb_link_free(&g->link);
    g_string_free(g->reply, TRUE);
    if (g->target_xml)
        g_string_free(g->target_xml, TRUE);
    g_free(g);
}
