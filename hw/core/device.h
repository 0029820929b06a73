/* SPDX-License-Identifier: GPL-2.0-or-later
 * Devices: a constant descriptor and an object that starts with a Device.  Everything runs under dev->domain,
 * taken by whoever calls in; a device never takes it. */
#ifndef HW_CORE_DEVICE_H
#define HW_CORE_DEVICE_H

#include "chardev/stream.h"
#include "hw/core/reg.h"
#include "memory/dma.h"
#include "util/describe.h"
#include "util/error.h"
#include "util/irqchip.h"
#include "util/log.h"
#include "util/options.h"

typedef struct Machine Machine;
typedef struct DeviceType DeviceType;
typedef struct DeviceSink DeviceSink;

enum { DEVICE_WINDOWS = 4 };

struct DeviceType {
    const char  *name;
    const char  *help;
    const char  *compatible;            /* device tree */
    size_t       size;                  /* of the object, which starts with a Device */
    uint64_t     span;                  /* window 0 in short: its bytes, ... */
    const Reg   *regs;                  /* ... its registers (or .ops), ... */
    const RegionOps *ops;
    uint8_t      reg_width;             /* ... and their default width */
    /* windows 0.. in full, instead of or (from 1) in addition to the short form */
    Window       windows[DEVICE_WINDOWS];
    const Field *props, *pins, *state;
    unsigned     version;               /* of the saved state; 0: the highest since of `state` */
    bool         user;                  /* may be named in -device */
    size_t       chip;                  /* offset of a Chip that an accelerator may borrow; 0: none */
    /* `info irq`: offset of uint64_t counts of an interrupt controller since the start, n_irqs of them (0: it counts
     * nothing): how often its inputs have risen; of a local APIC: how often the CPU has taken each vector. */
    size_t       irqs;
    unsigned     n_irqs;

    bool (*init)(void *self, GError **err);     /* properties are set; machine, domain, id are valid */
    /* State rows are zero, registers at their reset value; pins are settle's. */
    void (*reset)(void *self);
    /* Pins from state: after each access, input, timer, reset, restore. */
    void (*settle)(void *self);
    /* Checks what a saved state brought, rebuilds what is derived. */
    bool (*restored)(void *self, GError **err);
    void (*free)(void *self);                   /* timers are cancelled; props and lines are freed after it */
};

struct Device {
    const DeviceType *type;
    char             *id;
    Machine          *machine;
    LockDomain       *domain;
    Region            windows[DEVICE_WINDOWS];
    unsigned          n_windows;
    struct DeviceWindow { Device *device; unsigned w; RegionOps ops; } window_self[DEVICE_WINDOWS];
    uint16_t         *reg_index[DEVICE_WINDOWS];    /* by offset: first row that covers it, plus 1 */
    DeviceSink       *sinks;
    GPtrArray        *timers;           /* of device_timer_init() */
};

/* "uart16550,id=u,chardev=c": makes, sets properties, runs init, adds to the machine.  domain NULL: the
 * machine's legacy domain.  NULL on error. */
Device *device_new(Machine *m, const char *opts, LockDomain *domain, GError **err);
const DeviceType *device_type_find(const Machine *m, const char *name);      /* m NULL: none but those of devices.def */
void device_free(Device *d);                        /* out of its machine and freed; vCPUs stopped */
void device_props_help(const DeviceType *t, GString *out);  /* a line a property */

/* State rows to zero, registers to their reset values, then type->reset, then settle; takes the lock. */
void device_reset(Device *d);

/* A timer of the device: fn(self) runs under its lock and is followed by settle.  Call in init; freed with
 * the device. */
void device_timer_init(void *self, Timer *t, void (*fn)(void *self));
/* The time at which a timer that goes on by itself is to be set: at `at`, unless the guest chose a period so short
 * that the host would do nothing else.  What falls in between is one tick. */
enum { DEVICE_PERIOD_MIN_NS = 20000 };
static inline int64_t device_period_at(int64_t at, int64_t period_ns, int64_t now)
{
    return period_ns < DEVICE_PERIOD_MIN_NS && at < now + DEVICE_PERIOD_MIN_NS ? now + DEVICE_PERIOD_MIN_NS : at;
}

/* Run-time changes of the memory map (region_map, region_enable, ...): fn(self) runs under the machine's
 * topology lock and the device's own, as soon as this thread holds no device lock, which is before its
 * guest's next instruction.  fn looks at the device's state as it is by then. */
void device_remap(void *self, void (*fn)(void *self));

/* Registers by name ("IER", or "TCR[2]" for an array): peek is free of effects; read and write are the
 * guest's. */
bool device_reg_find(Device *d, const char *name, unsigned *window, uint64_t *at, unsigned *width);
bool device_reg_peek(Device *d, const char *name, uint64_t *v);
void device_regs_show(Device *d, GString *out);

/* Accesses as the bus makes them, the lock held: splits or widens to registers, calls rows, settles. */
uint64_t device_reg_read(Device *d, unsigned window, uint64_t off, unsigned size);
void     device_reg_write(Device *d, unsigned window, uint64_t off, uint64_t v, unsigned size);

/* Pins.  "irq", or "irq[3]"; an output line, or an input. */
Line *device_line(Device *d, const char *pin);
bool  device_has_input(const Device *d, const char *pin, unsigned n);
/* Drives an input: takes the lock, calls the row, settles. */
void  device_input(Device *d, const char *pin, unsigned n, bool level);
/* Wires an output line to input n of another device.  False: no such pin. */
bool  device_wire(Device *from, const char *pin, Device *to, const char *to_pin, unsigned n, GError **err);

#define log_guest_dev(dev, ...) log_guest(((const Device *)(dev))->id, __VA_ARGS__)

#endif
