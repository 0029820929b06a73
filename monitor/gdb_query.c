/* SPDX-License-Identifier: GPL-2.0-or-later
 * gdb's queries: features, threads, the target's description, monitor commands. */
#include <string.h>

#include "monitor/gdb_int.h"

enum { CONSOLE_CHUNK = 1024 };

static void features(GdbServer *g, const char *p)
{
    g->swbreak = strstr(p, "swbreak+");
    g->hwbreak = strstr(p, "hwbreak+");
    g_string_printf(g->reply, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+",
                    GDB_PACKET_SIZE);
}

static void describe(GdbServer *g)
{
    Vcpu *v = gdb_vcpu(g, 0);
    const TargetDebug *d = vcpu_target(v)->debug;
    GString *x = g->target_xml = g_string_new("<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>");
    unsigned n, number = 0;
    const DebugFeature *f = d->features(vcpu_cpu(v), &n);
    g_string_append_printf(x, "<architecture>%s</architecture>", d->arch(vcpu_cpu(v)));
    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(x, "<feature name=\"%s\">%s", f[i].name, f[i].types ? f[i].types : "");
        for (unsigned k = 0; k < f[i].n; k++) {
            const DebugReg *r = &f[i].regs[k];
            g_string_append_printf(x, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"", r->name, r->bits, r->type,
                                   number++);
            if (r->group)
                g_string_append_printf(x, " group=\"%s\"", r->group);
            g_string_append(x, "/>");
        }
        g_string_append(x, "</feature>");
    }
    g_string_append(x, "</target>");
}

/* "target.xml:OFFSET,LENGTH" */
static void transfer(GdbServer *g, const char *p)
{
    uint64_t at, len;
    if (!gdb_starts(&p, "target.xml:") || !gdb_hex_number(&p, &at) || *p++ != ',' || !gdb_hex_number(&p, &len)) {
        gdb_reply(g, "E00");
        return;
    }
    if (!g->target_xml)
        describe(g);
    const GString *x = g->target_xml;
    at = MIN(at, x->len);
    len = MIN(len, MIN(x->len - at, GDB_PACKET_SIZE / 2 - 4));
    g_string_assign(g->reply, at + len == x->len ? "l" : "m");
    g_string_append_len(g->reply, x->str + at, (gssize)len);
}

static void threads(GdbServer *g)
{
    unsigned n = accel_n_vcpus(g->accel);
    if (g->next_thread >= n) {
        gdb_reply(g, "l");
        return;
    }
    g_string_assign(g->reply, "m");
    for (; g->next_thread < n; g->next_thread++)
        g_string_append_printf(g->reply, "%s%02x", g->reply->len > 1 ? "," : "", g->next_thread + 1);
}

static void thread_info(GdbServer *g, const char *p)
{
    unsigned cpu;
    bool any;
    if (!gdb_thread(g, &p, &cpu, &any) || any) {
        gdb_reply(g, "E22");
        return;
    }
    Vcpu *v = gdb_vcpu(g, cpu);
    g_autofree char *text = g_strdup_printf("CPU#%u [%s]", cpu, vcpu_target(v)->debug->state(vcpu_cpu(v)));
    gdb_put_hex(g->reply, text, strlen(text));
}

/* "monitor ...": what the command prints, as console output, then OK. */
static void command(GdbServer *g, const char *p)
{
    size_t n = strlen(p) / 2;
    g_autofree char *line = g_malloc0(n + 1);
    if (strlen(p) % 2 || !gdb_hex_bytes(p, (uint8_t *)line, n)) {
        gdb_reply(g, "E01");
        return;
    }
    GString *out = g_string_new(NULL);
    monitor_run(g->monitor, line, gdb_vcpu(g, g->g), out);
    for (size_t at = 0; at < out->len && !g->doomed; at += CONSOLE_CHUNK) {
        GString *s = g_string_new("O");
        gdb_put_hex(s, out->str + at, MIN(CONSOLE_CHUNK, out->len - at));
        gdb_link_send(&g->link, s->str, s->len);
        g_string_free(s, TRUE);
    }
    g_string_free(out, TRUE);
    gdb_reply(g, "OK");
}

void gdb_query(GdbServer *g, const char *p, size_t len)
{
    if (gdb_starts(&p, "qSupported")) {
        features(g, p);
    } else if (gdb_starts(&p, "qXfer:features:read:")) {
        transfer(g, p);
    } else if (gdb_starts(&p, "qfThreadInfo")) {
        g->next_thread = 0;
        threads(g);
    } else if (gdb_starts(&p, "qsThreadInfo")) {
        threads(g);
    } else if (gdb_starts(&p, "qThreadExtraInfo,")) {
        thread_info(g, p);
    } else if (gdb_starts(&p, "qRcmd,")) {
        command(g, p);
    } else if (gdb_starts(&p, "qAttached")) {
        gdb_reply(g, "1");
    } else if (!strcmp(p, "qC")) {
        g_string_printf(g->reply, "QC%02x", g->g + 1);
    } else if (!strcmp(p, "QStartNoAckMode")) {
        gdb_reply(g, "OK");
        g->start_no_ack = true;                 /* this reply is still under the old rule */
    }
}
