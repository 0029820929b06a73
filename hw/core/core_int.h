/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between the files of hw/core. */
#ifndef HW_CORE_INT_H
#define HW_CORE_INT_H

#include "hw/core/device.h"

/* An input pin: what a line's sink points at. */
struct DeviceSink {
    Device      *device;
    const Field *pin;
};

typedef struct DeviceWindow DeviceWindow;

/* reg.c */
extern const RegionOps reg_ops;         /* self is a DeviceWindow */
Window device_window(const DeviceType *t, unsigned w);  /* the short form of window 0 included */
void reg_build_index(Device *d, unsigned w);
void reg_reset(Device *d);
static inline unsigned reg_count(const Reg *r) { return r->count ? r->count : 1; }

/* state.c: register members and state rows as one stream.  Restoring takes the lock and leaves pins alone. */
unsigned device_version(const Device *d);
void device_save(Device *d, GByteArray *out);
bool device_restore(Device *d, unsigned version, const uint8_t *bytes, size_t len, GError **err);

/* device.c: these take the lock. */
void device_reset_state(Device *d);
void device_settle(Device *d);
void device_retell(Device *d);
/* Takes the sinks off all of its lines. */
void device_disconnect(Device *d);

#endif
