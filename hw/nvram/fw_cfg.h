/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a board offers to its firmware by name and by key; see fw_cfg.c. */
#ifndef HW_NVRAM_FW_CFG_H
#define HW_NVRAM_FW_CFG_H

#include "hw/core/device.h"

enum {                          /* keys of items that are no files */
    FW_CFG_SIGNATURE, FW_CFG_ID, FW_CFG_UUID, FW_CFG_RAM_SIZE, FW_CFG_NOGRAPHIC, FW_CFG_NB_CPUS, FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS, FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
};
enum { FW_CFG_NAME_MAX = 55, FW_CFG_FILES_MAX = 0x1000 };

/* Before the machine runs.  The bytes are copied.  A key or name that is there is replaced. */
void fw_cfg_add(Device *d, uint16_t key, const void *bytes, size_t len);
void fw_cfg_add_u16(Device *d, uint16_t key, uint16_t v);
bool fw_cfg_add_file(Device *d, const char *name, const void *bytes, size_t len, GError **err);

#endif
