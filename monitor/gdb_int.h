/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between gdb.c (connection, execution, registers, memory) and gdb_query.c (q packets). */
#ifndef MONITOR_GDB_INT_H
#define MONITOR_GDB_INT_H

#include <string.h>

#include "monitor/gdb_packet.h"
#include "monitor/monitor.h"
#include "target/debug.h"

struct GdbServer {
    Monitor *monitor;
    Machine *machine;
    Accel   *accel;
    Stream  *stream;
    bool     own_stream;                /* else a -chardev's */
    Fifo8    in;
    GdbLink  link;
    GString *reply;
    unsigned g, c;                      /* current threads: vCPU numbers, for registers and for execution */
    unsigned next_thread;               /* qsThreadInfo goes on here */
    bool     connected, running;        /* running: the client waits for a stop */
    bool     swbreak, hwbreak;          /* it understands these words */
    bool     busy, doomed;              /* handling a packet; to be freed after that */
    bool     start_no_ack;              /* once the reply is out */
    struct { bool on; uint64_t start, end; unsigned cpu; } range;      /* vCont r */
    GString *target_xml;                /* made when first asked for */
};

static inline bool gdb_starts(const char **p, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*p, word, n))
        return false;
    *p += n;
    return true;
}
/* A thread id of the protocol: vCPU number + 1.  -1 (all) and 0 (any): *any. */
bool gdb_thread(GdbServer *g, const char **p, unsigned *cpu, bool *any);
static inline Vcpu *gdb_vcpu(const GdbServer *g, unsigned cpu)
{
    Vcpu *v = accel_vcpu(g->accel, cpu);
    return v ? v : accel_vcpu(g->accel, 0);
}
void gdb_reply(GdbServer *g, const char *text);
void gdb_query(GdbServer *g, const char *p, size_t len);

#endif
