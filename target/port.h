/* SPDX-License-Identifier: GPL-2.0-or-later
 * The CPU port: how an interrupt controller in hw/intc and a CPU meet without knowing each other. */
#ifndef RHEA_TARGET_PORT_H
#define RHEA_TARGET_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {                          /* bits of CpuPort.pending, set by any thread */
    PORT_INTR  = 1,             /* level: the controller has a vector to give (asks `acknowledge`) */
    PORT_NMI   = 2,             /* edges from here on: the CPU clears them when taken */
    PORT_SMI   = 4,
    PORT_INIT  = 8,
    PORT_SIPI  = 16,            /* sipi_vector */
    PORT_RESET = 32,
    PORT_LINES = 64,            /* `lines` has changed */
};

enum {                          /* bits of CpuPort.lines: levels, set by any thread through port_line() */
    LINE_A20M  = 1,             /* physical address bit 20 is masked (port 92h, the keyboard controller) */
    LINE_IGNNE = 2,             /* x87 errors with CR0.NE clear are ignored (set by a write to port F0h) */
};

typedef struct CpuPort CpuPort;

/* What the controller offers to its CPU; called on the vCPU thread, takes the controller's own lock. */
typedef struct CpuIntc {
    int  (*acknowledge)(void *self);                                    /* vector 0..255, or -1: spurious, none */
    bool (*msr_read) (void *self, uint32_t msr, uint64_t *v);           /* false: #GP */
    bool (*msr_write)(void *self, uint32_t msr, uint64_t v);            /* x2APIC, APICBASE, TSC deadline */
    unsigned (*get_cr8)(void *self);
    void (*set_cr8)(void *self, unsigned v);
} CpuIntc;

struct CpuPort {
    _Atomic uint32_t pending;
    _Atomic uint32_t lines;                     /* LINE_* */
    uint8_t          sipi_vector;
    void           (*kick)(CpuPort *port);      /* any thread: make the vCPU look at pending soon, wake it from halt */
    void            *vcpu;                      /* the accelerator's, which sets kick as well; kick is NULL before */
    const CpuIntc   *intc;                      /* NULL: none */
    void            *intc_self;
    unsigned         cpu_index;
    /* The FERR# pin, in the vCPU thread: an unmasked x87 error waits while CR0.NE is clear (IRQ 13 of a PC).  May be
     * NULL.  It falls when the guest clears the error. */
    void           (*ferr)(void *self, unsigned cpu_index, bool level);
    void            *ferr_self;
    /* Time of the CPU as its controller's timers need it: virtual ns <-> TSC. */
    uint64_t         tsc_hz;
    uint64_t       (*tsc_at)(CpuPort *port, uint64_t now_ns);
    uint64_t       (*ns_of_tsc)(CpuPort *port, uint64_t tsc);
};

/* Any thread.  Kicks only when the bit was clear. */
static inline void port_set(CpuPort *port, uint32_t bits)
{
    if ((bits & ~atomic_fetch_or(&port->pending, bits)) && port->kick)
        port->kick(port);
}
/* Any thread. */
static inline void port_line(CpuPort *port, uint32_t line, bool level)
{
    uint32_t old = level ? atomic_fetch_or(&port->lines, line) : atomic_fetch_and(&port->lines, ~line);
    if (!(old & line) == level)
        port_set(port, PORT_LINES);
}
static inline void port_clear(CpuPort *port, uint32_t bits) { atomic_fetch_and(&port->pending, ~bits); }

/* The CPU whose access this thread is making, NULL for all others: what lies at one address for every CPU and is yet
 * each CPU's own (the local APICs' window) tells them apart by it.  Accelerators set it. */
extern __thread CpuPort *port_current;

#endif
