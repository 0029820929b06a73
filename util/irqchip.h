/* SPDX-License-Identifier: GPL-2.0-or-later
 * Chips that an accelerator can work itself while the machine runs: interrupt controllers and the interval timer.
 *
 * The device owns the state.  At resume an accelerator that wants to borrows it (`lend`), at pause the device takes it
 * back (`take`): a machine that stands is described by its devices whatever runs it.  While a chip is lent the device
 * passes on what comes to its pins, and its registers answer nothing: the guest's accesses do not get there.
 * Neither side knows the other; an accelerator that does not care never calls. */
#ifndef UTIL_IRQCHIP_H
#define UTIL_IRQCHIP_H

#include <stdbool.h>
#include <stdint.h>

typedef enum ChipKind { CHIP_PIC, CHIP_IOAPIC, CHIP_PIT, CHIP_LAPIC } ChipKind;
enum { CHIP_IOAPIC_PINS = 24 };

/* What a chip holds, in its data sheet's terms. */
typedef struct PicRegs {
    uint8_t irr, imr, isr, level /* of the pins */, base, elcr;
    uint8_t lowest;             /* the input of the lowest priority */
    uint8_t init_step;          /* which ICW is next: 2, 3, 4; 0: not being initialised */
    bool    need_icw4, single, aeoi, rotate_aeoi, read_isr, poll, special_mask, all_level;
} PicRegs;

typedef struct IoapicRegs {
    uint32_t id, level;         /* level: of the pins, active high */
    uint8_t  select;
    uint64_t rte[CHIP_IOAPIC_PINS];
} IoapicRegs;

typedef struct PitChannel {
    uint16_t count, latched;    /* count: as written, 0 is the highest */
    uint8_t  mode, access /* 1 low, 2 high, 3 both */, status, low /* first byte of a two-byte write */;
    uint8_t  latch_left;        /* latched bytes not yet read */
    bool     bcd, gate, status_latched, read_high, write_high;
    bool     running;
    uint64_t elapsed;           /* ticks since the count was loaded */
} PitChannel;
typedef struct PitRegs { PitChannel ch[3]; uint8_t port_b; } PitRegs;

typedef struct LapicRegs {
    uint64_t base, deadline;    /* IA32_APIC_BASE, IA32_TSC_DEADLINE */
    uint32_t id;                /* the initial one, which x2APIC mode shows */
    uint32_t reg[64];           /* by offset / 16 */
} LapicRegs;

typedef union ChipRegs { PicRegs pic; IoapicRegs ioapic; PitRegs pit; LapicRegs lapic; } ChipRegs;

typedef struct Chip Chip;

/* The device's; they take its lock. */
typedef struct ChipOps {
    void (*lend)(void *self, ChipRegs *to);
    void (*take)(void *self, const ChipRegs *from);
    void (*eoi)(void *self, uint8_t vector);        /* an I/O APIC that is not lent beside local APICs that are */
} ChipOps;

/* The accelerator's; any thread, the device's lock held. */
typedef struct ChipHost {
    void (*input)(void *self, Chip *c, unsigned pin, bool level);           /* of a chip that is lent */
    void (*message)(void *self, uint64_t addr, uint32_t data);              /* to local APICs that are lent */
    void (*entry)(void *self, unsigned pin, uint64_t rte);                  /* of an I/O APIC that is not lent has changed */
} ChipHost;

/* Message-signalled interrupts that are raised by writing to an eventfd: what an accelerator with local APICs of its own
 * offers.  On the loop's thread; ids are from 0 on. */
typedef struct MsiHost {
    int  (*add)(void *self, int fd, uint64_t addr, uint32_t data);          /* -1: it cannot */
    void (*change)(void *self, int id, uint64_t addr, uint32_t data);
    void (*remove)(void *self, int id);
} MsiHost;

struct Chip {                   /* part of the device, which fills the first four before the machine runs */
    ChipKind        kind;
    unsigned        index;      /* of PICs: 0 the master; of local APICs: the CPU */
    const ChipOps  *ops;
    void           *self;
    const ChipHost *host;       /* NULL: no accelerator wants it */
    void           *host_self;
    bool            lent;
};

#endif
