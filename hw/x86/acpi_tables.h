/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_X86_ACPI_TABLES_H
#define HW_X86_ACPI_TABLES_H

#include <glib.h>
#include <stdint.h>

enum { PM_BASE = 0x600, ACPI_SCI = 9, RESET_PORT = 0xcf9 };

/* What the tables tell of a board. */
enum { ACPI_MAX_CPUS = 64 };
typedef struct AcpiInfo {
    unsigned n_cpus;
    unsigned n_uarts;           /* of COM1.. COM4 in order */
    uint8_t  apic_id[ACPI_MAX_CPUS];
} AcpiInfo;

/* RSDP, XSDT, FADT, FACS, MADT, DSDT as one image to be placed at `at`, 64-byte aligned and below 4 GiB; the RSDP comes
 * first.  The caller owns it. */
GByteArray *acpi_tables(const AcpiInfo *info, uint32_t at);

/* mp_tables.c: the same for software from before ACPI: floating pointer and configuration table of the MultiProcessor
 * Specification, to be placed at `at`, in the last 64 KiB below 1 MiB. */
GByteArray *mp_tables(const AcpiInfo *info, uint32_t at);

#endif
