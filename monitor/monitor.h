/* SPDX-License-Identifier: GPL-2.0-or-later
 * The monitor of one machine: command sessions on streams (HMP), and the gdb stub.  All on the loop's thread.
 * docs/monitor.md. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "accel/debug.h"
#include "block/drive.h"
#include "hw/core/machine.h"

typedef struct Monitor Monitor;
typedef struct GdbServer GdbServer;

/* What it works on; copied, the strings must outlive it. */
typedef struct MonitorEnv {
    Machine    *machine;
    Accel      *accel;
    const char *version;                /* of this program */
    const char *name, *uuid;            /* -name, -uuid; may be NULL */
    Drives     *drives;                 /* NULL: none */
} MonitorEnv;

Monitor *monitor_new(const MonitorEnv *env);
void     monitor_free(Monitor *m);      /* before the machine and the accelerator go */
/* A session on a stream, which stays the machine's.  False: it has a user. */
bool     monitor_open(Monitor *m, Stream *s, GError **err);
/* A gdb stub on "tcp::1234", "unix:PATH" (server=on,wait=off unless said otherwise), or any other -chardev spec; it takes
 * the place of one that is there; "none": only that.  The machine's listener; replies when it stops. */
bool     monitor_gdb(Monitor *m, const char *spec, GError **err);
const MonitorEnv *monitor_env(const Monitor *m);

/* One command line with cpu as the current vCPU (NULL: the first); output is appended.  The gdb stub's "monitor". */
void     monitor_run(Monitor *m, const char *line, Vcpu *cpu, GString *out);

/* gdb.c */
GdbServer *gdb_new(Monitor *m, const char *spec, GError **err);
void       gdb_free(GdbServer *g);

#endif
