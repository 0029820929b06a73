/* SPDX-License-Identifier: GPL-2.0-or-later
 * Boards are tables: which devices, where they are mapped, where their pins go. */
#ifndef HW_CORE_BUS_H
#define HW_CORE_BUS_H

#include "hw/core/device.h"

typedef enum SlotSpace { SLOT_MEM, SLOT_IO, SLOT_NONE } SlotSpace;

/* A row; tables end with { 0 }.  { "uart16550", "com1", 0x3f8, "pic:4", .space = SLOT_IO } */
typedef struct BoardSlot {
    const char *type, *id;
    uint64_t    at;                 /* of window 0 */
    /* "pic:4", or "irq=pic:4 nmi=cpu:1 irq=ioapic.in:4": [PIN[[i]]=]DEVICE[.PIN]:N, blanks between;
     * pins without a name are the first output and the first input. */
    const char *wires;
    SlotSpace   space;
    const char *props;              /* "chardev=serial0" */
    struct { uint64_t at; SlotSpace space; } more[DEVICE_WINDOWS - 1];  /* of windows 1..; at 0: not mapped */
    int         priority;
} BoardSlot;

/* All before the machine runs.  Makes all devices, then maps and wires them, so that rows may name later ones.  domain NULL:
 * legacy.  False: err names the device; those made so far are the machine's to free. */
bool board_build(Machine *m, const BoardSlot *slots, LockDomain *domain, GError **err);
/* One row's wires. */
bool board_wire(Machine *m, Device *d, const char *wires, GError **err);
/* Maps window w of a device at `at` of a space. */
void device_map(Device *d, unsigned w, Space *s, uint64_t at, int priority);

#endif
