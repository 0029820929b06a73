/* SPDX-License-Identifier: GPL-2.0-or-later
 * The CMOS RAM beside the clock, for boards that leave notes to the firmware there. */
#ifndef HW_TIMER_MC146818_H
#define HW_TIMER_MC146818_H

#include "hw/core/device.h"

/* Cells from 0Eh on but for the century's.  Takes the device's lock. */
void mc146818_set_cell(Device *d, unsigned cell, uint8_t v);

#endif
