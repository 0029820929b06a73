/* SPDX-License-Identifier: GPL-2.0-or-later
 * Debug console: bytes written to the port go to a character device; reading gives E9h, by which firmware knows it. */
#include "hw/core/device.h"

typedef struct Debugcon {
    Device  dev;
    Stream *chr;
} Debugcon;

static uint64_t io_read(void *self, uint64_t off, unsigned size) { return 0xe9; }
static void io_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Debugcon *d = self;
    if (d->chr)
        stream_put(d->chr, v);
}

static const RegionOps ops = { io_read, io_write, .min = 1, .max = 1 };
static const Field props[] = { PROP(Debugcon, chr, "chardev", "where the bytes go"), { 0 } };

const DeviceType debugcon_type = {
    .name = "isa-debugcon", .help = "debug console port", .size = sizeof(Debugcon), .span = 1, .ops = &ops, .props = props, .user = true,
};
