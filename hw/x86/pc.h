/* SPDX-License-Identifier: GPL-2.0-or-later
 * The PC that boots a kernel directly: RAM, local and I/O APIC, 8259s, 8254, RTC, serial ports, ACPI. */
#ifndef HW_X86_PC_H
#define HW_X86_PC_H

#include "accel/accel.h"
#include "block/drive.h"
#include "hw/core/machine.h"
#include "hw/x86/firmware.h"
#include "target/x86/cpu.h"

enum { PC_MAX_CPUS = 64, PC_MAX_SERIAL = 4 };
#define PC_MIN_RAM (UINT64_C(16) << 20)

typedef struct PcConfig {
    uint64_t        ram;                        /* bytes, whole MiB */
    unsigned        n_cpus;
    X86Topology     topology;                   /* of these and, by number, of any that could be there */
    const X86Model *model;
    const char     *kernel, *initrd, *append;   /* NULL: none */
    const char     *bios;                       /* firmware file, used when there is no kernel */
    const char     *serial[PC_MAX_SERIAL];      /* ids of streams of the machine; NULL: no such port */
    const char     *rtc_base;                   /* as mc146818's property; NULL: utc */
    bool            discard_lost_ticks;         /* of the 8254; otherwise they come later */
    bool            slew_rtc;                   /* the RTC's come later as well (-rtc driftfix=slew) */
    BootConfig      boot;
    const char *const *fw_cfg;                  /* n_fw_cfg arguments of -fw_cfg */
    unsigned        n_fw_cfg;
} PcConfig;

typedef struct Pc Pc;

extern const DriveBoard pc_drive_board;     /* where it has room for drives */

/* Builds the board into the machine.  The strings of the configuration must outlive it. */
Pc  *pc_new(Machine *m, const PcConfig *config, GError **err);
/* Gives it an accelerator's CPUs; once, before the machine runs; sets the machine's hooks. */
bool pc_add_cpus(Pc *pc, Accel *accel, GError **err);
/* "-device isa-debug-exit,iobase=0xf4": ISA devices with I/O ports. */
bool pc_add_device(Pc *pc, const char *opts, GError **err);
void pc_device_help(GString *out);                                  /* -device help */
bool pc_device_props_help(const char *type, GString *out);          /* -device TYPE,help; false: there is no such type */
/* Puts the machine into its initial state with the kernel in memory (device and CPU reset included). */
bool pc_power_on(Pc *pc, GError **err);
/* After accel_close() and before machine_free(). */
void pc_free(Pc *pc);

#endif
