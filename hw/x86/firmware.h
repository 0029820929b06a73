/* SPDX-License-Identifier: GPL-2.0-or-later
 * A PC's firmware: its ROM, the shadow below 1 MiB, and what the board tells it through fw_cfg and the CMOS RAM. */
#ifndef HW_X86_FIRMWARE_H
#define HW_X86_FIRMWARE_H

#include "hw/core/machine.h"

typedef struct BootConfig {             /* -boot */
    const char *order, *once;           /* letters a c d n; NULL: as the firmware likes */
    bool        menu;
    uint32_t    splash_ms;              /* how long the menu's prompt is there; 0: the firmware's own choice */
    bool        reboot;                 /* where nothing can be booted: a reboot after reboot_ms, else nothing more */
    uint32_t    reboot_ms;
    bool        unsigned_floppies;      /* -no-fd-bootchk */
} BootConfig;

typedef struct FirmwareInfo {
    uint64_t          ram, low_ram;     /* bytes; of them below 4 GiB */
    unsigned          n_cpus;
    uint16_t          console_port;     /* of a serial port that stands in for the screen; 0: none */
    BootConfig        boot;
    const char *const *items;           /* arguments of -fw_cfg, n of them */
    unsigned          n_items;
} FirmwareInfo;

typedef struct Firmware Firmware;

/* The file that -bios FILE means: as it stands or, for a bare name, from the first of `folders` (-L, ended by NULL) and
 * of those where Debian's packages put firmware that has it.  g_free(). */
char *firmware_find(const char *name, char *const *folders);
void  firmware_folders(char *const *folders, GString *out);         /* -L help */

/* Reads the file and maps it so that it ends at 4 GiB.  Before the machine runs. */
Firmware *firmware_open(Machine *m, const char *file, GError **err);
/* At each reset: the image's last 128 KiB are copied to the RAM below 1 MiB, where a chipset would let firmware shadow
 * itself. */
void firmware_load(const Firmware *f, Machine *m);
void firmware_free(Firmware *f);

/* Fills fw_cfg and the memory sizes of the CMOS RAM. */
bool firmware_describe(Machine *m, const FirmwareInfo *info, GError **err);
/* At each reset, `first` being the machine's start: the order of boot devices. */
void firmware_set_boot(Machine *m, const BootConfig *boot, bool first);
/* -boot and -fw_cfg are checked when the command line is read. */
bool firmware_boot_order_ok(const char *order, GError **err);

#endif
