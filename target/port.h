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
    uint8_t          sipi_vector;
    void           (*kick)(CpuPort *port);      /* any thread: make the vCPU look at pending soon, wake it from halt */
    void            *vcpu;                      /* the accelerator's, which sets kick as well; kick is NULL before */
    const CpuIntc   *intc;                      /* NULL: none */
    void            *intc_self;
    unsigned         cpu_index;
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
static inline void port_clear(CpuPort *port, uint32_t bits) { atomic_fetch_and(&port->pending, ~bits); }

/* The CPU whose access this thread is making, NULL for all others: what lies at one address for every CPU and is yet
 * each CPU's own (the local APICs' window) tells them apart by it.  Accelerators set it. */
extern __thread CpuPort *port_current;

#endif
