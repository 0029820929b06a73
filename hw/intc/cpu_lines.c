/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a PC's chip set does with A20M#, FERR# and IGNNE#: the A20 gate, open if any source opens it, and the x87 error
 * interrupt with the port F0h that acknowledges it.  Sources: 82371AB (PIIX4) data sheet, sections 4.1.7 (port 92h),
 * 8.4 (coprocessor error support); SDM vol. 1, appendix D. */
#include "hw/intc/cpu_lines.h"

enum { MAX_CPUS = 64, A20_SOURCES = 2 /* port 92h, keyboard controller */ };

typedef struct CpuLines {
    Device   dev;
    Line     irq;
    uint8_t  a20;               /* inputs, a bit each */
    uint64_t ferr;              /* by CPU */
    bool     error, ignne;      /* the interrupt; IGNNE# */
    CpuPort *port[MAX_CPUS];
} CpuLines;

static void a20_input(void *self, unsigned n, bool level)
{
    CpuLines *l = self;
    l->a20 = level ? l->a20 | 1u << n : l->a20 & ~(1u << n);
}

/* A new error interrupts; when it is gone errors count again. */
static void ferr_input(void *self, unsigned n, bool level)
{
    CpuLines *l = self;
    uint64_t bit = UINT64_C(1) << n;
    if (level && !(l->ferr & bit))
        l->error = true;
    l->ferr = level ? l->ferr | bit : l->ferr & ~bit;
    if (!l->ferr)
        l->ignne = false;
}

static uint64_t io_read(void *self, uint64_t off, unsigned size) { return 0xff; }
static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    CpuLines *l = self;
    if (off)                            /* F1h resets a 287; there is none */
        return;
    l->error = false;
    l->ignne = l->ferr != 0;
}

static void settle(void *self)
{
    CpuLines *l = self;
    line_set(&l->irq, l->error);
    for (unsigned i = 0; i < MAX_CPUS && l->port[i]; i++) {
        port_line(l->port[i], LINE_A20M, !l->a20);
        port_line(l->port[i], LINE_IGNNE, l->ignne);
    }
}

static void ferr(void *self, unsigned cpu, bool level) { device_input(self, "ferr", cpu, level); }

void cpu_lines_attach(Device *d, CpuPort *port)
{
    CpuLines *l = (CpuLines *)d;
    g_assert(port->cpu_index < MAX_CPUS);
    l->port[port->cpu_index] = port;
    port->ferr = ferr;
    port->ferr_self = l;
}

/* The gate is wherever its sources have it; they say so only when they change it. */
static void reset(void *self) { CpuLines *l = self; l->a20 = 1; }

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };
static const Field pins[] = { PIN(CpuLines, irq, "irq"), PIN_IN("a20", A20_SOURCES, a20_input),
                              PIN_IN("ferr", MAX_CPUS, ferr_input), { 0 } };
static const Field state[] = { FIELD(CpuLines, a20), FIELD(CpuLines, ferr), FIELD(CpuLines, error), FIELD(CpuLines, ignne), { 0 } };

const DeviceType cpu_lines_type = {
    .name = "cpu-lines", .help = "A20 gate and x87 error interrupt", .size = sizeof(CpuLines), .span = 2, .ops = &ops,
    .pins = pins, .state = state, .reset = reset, .settle = settle,
};
