/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_INTC_IOAPIC_H
#define HW_INTC_IOAPIC_H

#include "hw/core/device.h"

enum { IOAPIC_BASE = 0xfec00000, IOAPIC_PINS = 24 };

extern const DeviceType ioapic_type;
/* The EOI message of a local APIC for a level-triggered vector; under the domain's lock. */
void ioapic_eoi(Device *ioapic, uint8_t vector);
/* A CPU has taken a vector from its local APIC; under the domain's lock. */
void ioapic_taken(Device *ioapic, uint8_t vector);

#endif
