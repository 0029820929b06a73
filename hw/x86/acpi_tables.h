/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HW_X86_ACPI_TABLES_H
#define HW_X86_ACPI_TABLES_H

#include <glib.h>
#include <stdint.h>

enum { PM_BASE = 0x600, ACPI_SCI = 9, RESET_PORT = 0xcf9 };

/* What the tables tell of a board. */
typedef struct AcpiInfo {
    unsigned n_cpus;
    unsigned n_uarts;           /* of COM1.. COM4 in order */
} AcpiInfo;

/* RSDP, XSDT, FADT, FACS, MADT, DSDT as one image to be placed at `at`, 64-byte aligned and below 4 GiB; the RSDP comes
 * first.  The caller owns it. */
GByteArray *acpi_tables(const AcpiInfo *info, uint32_t at);

#endif
