/* SPDX-License-Identifier: GPL-2.0-or-later
 * A machine to monitor: one x86 CPU under tcg, 1 MiB of RAM, no devices.  At 1000h stands a loop of real-mode code; the
 * CPU is at its start. */
#ifndef TESTS_MONITOR_RIG_H
#define TESTS_MONITOR_RIG_H

#include "accel/debug.h"
#include "hw/core/machine.h"
#include "monitor/monitor.h"
#include "target/x86/cpu.h"

enum { RIG_CODE = 0x1000, RIG_DATA = 0x2000 };

typedef struct Rig {
    Machine        *m;
    Accel          *accel;
    const X86Model *model;
    X86Cpu         *cpu;
    Region          ram;
    Monitor        *monitor;
    unsigned        dead;
} Rig;

Rig *rig_new(void);
void rig_free(Rig *r);
void rig_restart(Rig *r);               /* paused: the CPU back to the loop's start */

#endif
