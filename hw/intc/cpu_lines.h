/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_INTC_CPU_LINES_H
#define HW_INTC_CPU_LINES_H

#include "hw/core/device.h"
#include "target/port.h"

/* The CPU's A20M#, IGNNE# and FERR# go to this device.  Before the machine runs; port->cpu_index is set. */
void cpu_lines_attach(Device *lines, CpuPort *port);

#endif
