/* SPDX-License-Identifier: GPL-2.0-or-later
 * Processors and interrupts as told before ACPI.  Source: Intel MultiProcessor Specification 1.4, chapter 4. */
#include <string.h>

#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/x86/acpi_tables.h"
#include "util/bits.h"

enum { POINTER_LEN = 16, LAPIC_VERSION = 0x14, IOAPIC_VERSION = 0x20, IOAPIC_ID = 0, ISA_BUS = 0 };
enum { PROCESSOR, BUS, IOAPIC, IO_INT, LOCAL_INT };
enum { INT, NMI, SMI, EXTINT };
enum { CPU_ENABLED = 1, CPU_BOOT = 2, ALL_LAPICS = 0xff, ACTIVE_HIGH_LEVEL = 0xd };

static void u8(GByteArray *b, uint8_t v) { g_byte_array_append(b, &v, 1); }
static void u16(GByteArray *b, uint16_t v) { u8(b, v); u8(b, v >> 8); }
static void u32(GByteArray *b, uint32_t v) { u16(b, v); u16(b, v >> 16); }
static void text(GByteArray *b, const char *s) { g_byte_array_append(b, (const uint8_t *)s, strlen(s)); }

static void checksum(uint8_t *p, unsigned len, unsigned at)
{
    uint8_t sum = 0;
    p[at] = 0;
    for (unsigned i = 0; i < len; i++)
        sum += p[i];
    p[at] = -sum;
}

static void processor(GByteArray *b, uint8_t apic_id, bool boot)
{
    enum { FPU = 1, APIC = 1 << 9, SIGNATURE = 0xf << 8 };      /* CPUID has the details */
    u8(b, PROCESSOR);
    u8(b, apic_id);
    u8(b, LAPIC_VERSION);
    u8(b, CPU_ENABLED | (boot ? CPU_BOOT : 0));
    u32(b, SIGNATURE);
    u32(b, FPU | APIC);
    u32(b, 0);
    u32(b, 0);
}

static void interrupt(GByteArray *b, uint8_t entry, uint8_t type, uint16_t flags, uint8_t irq, uint8_t to, uint8_t pin)
{
    u8(b, entry);
    u8(b, type);
    u16(b, flags);
    u8(b, ISA_BUS);
    u8(b, irq);
    u8(b, to);
    u8(b, pin);
}

GByteArray *mp_tables(const AcpiInfo *info, uint32_t at)
{
    GByteArray *b = g_byte_array_new();
    text(b, "_MP_");
    u32(b, at + POINTER_LEN);
    u8(b, 1);                           /* its length, in 16 bytes */
    u8(b, 4);                           /* specification 1.4 */
    u8(b, 0);
    u8(b, 0);                           /* a configuration table follows */
    u32(b, 0);                          /* no IMCR: virtual wire mode */
    checksum(b->data, POINTER_LEN, 10);

    text(b, "PCMP");
    u32(b, 0);                          /* length, revision, checksum: below */
    text(b, "RHEA    " "RHEA PC     ");
    u32(b, 0);
    u16(b, 0);
    u16(b, 0);                          /* number of entries: below */
    u32(b, LAPIC_BASE);
    u32(b, 0);

    unsigned n = 0;
    for (; n < info->n_cpus; n++)
        processor(b, info->apic_id[n], n == 0);
    u8(b, BUS);
    u8(b, ISA_BUS);
    text(b, "ISA   ");
    u8(b, IOAPIC);
    u8(b, IOAPIC_ID);
    u8(b, IOAPIC_VERSION);
    u8(b, 1);
    u32(b, IOAPIC_BASE);
    n += 2;
    for (unsigned irq = 0; irq < 16; irq++) {
        if (irq == 2)                   /* the second 8259; input 2 is the timer's */
            continue;
        interrupt(b, IO_INT, INT, irq == ACPI_SCI ? ACTIVE_HIGH_LEVEL : 0, irq, IOAPIC_ID, irq ? irq : 2);
        n++;
    }
    interrupt(b, LOCAL_INT, EXTINT, 0, 0, info->apic_id[0], 0);
    interrupt(b, LOCAL_INT, NMI, 0, 0, ALL_LAPICS, 1);
    n += 2;

    uint8_t *table = b->data + POINTER_LEN;
    unsigned len = b->len - POINTER_LEN;
    memcpy(table + 4, &(uint16_t){ len }, 2);
    table[6] = 4;
    memcpy(table + 34, &(uint16_t){ n }, 2);
    checksum(table, len, 7);
    return b;
}
