/* SPDX-License-Identifier: GPL-2.0-or-later
 * isa-debug-exit: a write of v ends the process with status v << 1 | 1, so that a guest test can tell its verdict. */
#include "hw/core/device.h"
#include "hw/core/machine.h"

static uint64_t io_read(void *self, uint64_t off, unsigned size) { return 0; }
static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Device *d = self;
    machine_request_exit(d->machine, (v << 1 | 1) & 0xff);
}

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 4 };

const DeviceType debug_exit_type = {
    .name = "isa-debug-exit", .help = "port that ends the emulator", .size = sizeof(Device), .span = 4, .ops = &ops, .user = true,
};
