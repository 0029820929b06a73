/* SPDX-License-Identifier: GPL-2.0-or-later
 * Local APIC: what boards and other interrupt controllers need of it. */
#ifndef HW_INTC_LAPIC_H
#define HW_INTC_LAPIC_H

#include "hw/core/device.h"
#include "target/port.h"

enum { LAPIC_BASE = 0xfee00000, LAPIC_BUS_HZ = 1000000000 };

/* Delivery modes of ICR, IOREDTBL and MSI data. */
enum { DM_FIXED, DM_LOWEST, DM_SMI, DM_NMI = 4, DM_INIT, DM_SIPI, DM_EXTINT };

typedef struct ApicMessage {
    uint32_t dest;              /* APIC id, or logical destination; xAPIC: 8 bits, 0xff all */
    uint8_t  vector, mode;      /* DM_* */
    bool     logical, level, assert;
} ApicMessage;

/* A destination of 8 bits in an ApicMessage: FFh is everybody, also for APICs in x2APIC mode. */
static inline uint32_t apic_dest8(uint8_t dest, bool logical) { return dest == 0xff && !logical ? 0xffffffff : dest; }

/* Joins a local APIC and its CPU; before the machine runs. */
void lapic_attach(Device *lapic, CpuPort *port);
/* To every local APIC of the machine that the message is for; under the legacy domain, in which all of them live.  Returns
 * whether some IRR has it now: ioapic_taken() tells when it is taken. */
bool lapic_deliver(Machine *m, const ApicMessage *msg);
/* What firmware leaves behind for a kernel that does not use the APIC (MP specification 3.6.2.2, "Virtual Wire Mode"):
 * enabled, the 8259's interrupts and NMI come through. */
void lapic_virtual_wire(Device *lapic);
/* Machine.msi: address and data as in the SDM, vol. 3, "Message Signalled Interrupts". */
MsiSink lapic_msi_sink(Machine *m);

#endif
