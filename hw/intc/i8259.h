/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_INTC_I8259_H
#define HW_INTC_I8259_H

#include "hw/core/device.h"

extern const DeviceType i8259_type;
/* The INTA cycles of the master: the vector, of a slave if it asks through IR2; under the domain's lock. */
uint8_t i8259_acknowledge(Device *master);

#endif
