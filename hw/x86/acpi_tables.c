/* SPDX-License-Identifier: GPL-2.0-or-later
 * ACPI tables of the direct-boot PC.  Source: ACPI 6.4, chapters 5 (tables) and 20 (AML). */
#include "hw/x86/acpi_tables.h"

#include <string.h>

#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"

static void u8(GByteArray *b, uint8_t v) { g_byte_array_append(b, &v, 1); }
static void u16(GByteArray *b, uint16_t v) { u8(b, v); u8(b, v >> 8); }
static void u32(GByteArray *b, uint32_t v) { u16(b, v); u16(b, v >> 16); }
static void u64(GByteArray *b, uint64_t v) { u32(b, v); u32(b, v >> 32); }
static void text(GByteArray *b, const char *s, unsigned len) { g_byte_array_append(b, (const uint8_t *)s, len); }

static void put32(GByteArray *b, unsigned at, uint32_t v) { memcpy(b->data + at, &v, 4); }

static void checksum(GByteArray *b, unsigned first, unsigned len, unsigned at)
{
    uint8_t sum = 0;
    b->data[at] = 0;
    for (unsigned i = first; i < first + len; i++)
        sum += b->data[i];
    b->data[at] = -sum;
}

/* The header of 5.2.6; returns where the table starts. */
static unsigned table_begin(GByteArray *b, const char *signature, uint8_t revision)
{
    while (b->len % 64)
        u8(b, 0);
    unsigned start = b->len;
    text(b, signature, 4);
    u32(b, 0);                          /* length and checksum: table_end() */
    u8(b, revision);
    u8(b, 0);
    text(b, "RHEA  ", 6);
    text(b, "RHEAPC  ", 8);
    u32(b, 1);
    text(b, "RHEA", 4);
    u32(b, 1);
    return start;
}

static void table_end(GByteArray *b, unsigned start)
{
    put32(b, start + 4, b->len - start);
    checksum(b, start, b->len - start, start + 9);
}

/* Generic address structure, 5.2.3.2: in I/O space. */
static void gas_io(GByteArray *b, unsigned bits, unsigned access, uint32_t port)
{
    u8(b, bits ? 1 : 0);
    u8(b, bits);
    u8(b, 0);
    u8(b, access);
    u64(b, port);
}

static void fadt(GByteArray *b, uint32_t facs, uint32_t dsdt)
{
    enum { PM1A_EVT = PM_BASE, PM1A_CNT = PM_BASE + 4, PM_TMR = PM_BASE + 8 };
    enum { WBINVD = 1 << 0, PROC_C1 = 1 << 2, SLP_BUTTON = 1 << 5, RESET_REG_SUP = 1 << 10 };
    enum { BOOT_LEGACY = 1 << 0, BOOT_NO_VGA = 1 << 2, BOOT_NO_ASPM = 1 << 4 };      /* bit 1, 8042, clear: there is none */
    unsigned start = table_begin(b, "FACP", 6);
    u32(b, facs);
    u32(b, dsdt);
    u8(b, 0);
    u8(b, 0);                           /* unspecified profile */
    u16(b, ACPI_SCI);
    u32(b, 0);                          /* SMI_CMD: none, ACPI mode is always on */
    u32(b, 0);                          /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
    u32(b, PM1A_EVT);
    u32(b, 0);
    u32(b, PM1A_CNT);
    u32(b, 0);
    u32(b, 0);
    u32(b, PM_TMR);
    u32(b, 0);
    u32(b, 0);
    u8(b, 4);                           /* PM1_EVT_LEN, PM1_CNT_LEN, PM2_CNT_LEN, PM_TMR_LEN */
    u8(b, 2);
    u8(b, 0);
    u8(b, 4);
    u32(b, 0);                          /* GPE lengths and base, CST_CNT */
    u16(b, 0xfff);                      /* P_LVL2_LAT, P_LVL3_LAT: not supported */
    u16(b, 0xfff);
    u32(b, 0);                          /* FLUSH_SIZE, FLUSH_STRIDE */
    u8(b, 0);                           /* DUTY_OFFSET, DUTY_WIDTH */
    u8(b, 0);
    u8(b, 0);                           /* DAY_ALRM, MON_ALRM: none */
    u8(b, 0);
    u8(b, 0x32);                        /* CENTURY */
    u16(b, BOOT_LEGACY | BOOT_NO_VGA | BOOT_NO_ASPM);
    u8(b, 0);
    u32(b, WBINVD | PROC_C1 | SLP_BUTTON | RESET_REG_SUP);
    gas_io(b, 8, 1, RESET_PORT);
    u8(b, 6);                           /* RESET_VALUE */
    u16(b, 0);
    u8(b, 4);                           /* minor version */
    u64(b, 0);                          /* X_FIRMWARE_CTRL: below 4 GiB the other one is used */
    u64(b, dsdt);
    gas_io(b, 32, 2, PM1A_EVT);
    gas_io(b, 0, 0, 0);
    gas_io(b, 16, 2, PM1A_CNT);
    gas_io(b, 0, 0, 0);
    gas_io(b, 0, 0, 0);
    gas_io(b, 32, 3, PM_TMR);
    gas_io(b, 0, 0, 0);                 /* GPE0, GPE1 */
    gas_io(b, 0, 0, 0);
    gas_io(b, 0, 0, 0);                 /* SLEEP_CONTROL, SLEEP_STATUS */
    gas_io(b, 0, 0, 0);
    text(b, "RHEA\0\0\0\0", 8);         /* hypervisor vendor identity */
    table_end(b, start);
}

static void madt_override(GByteArray *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    u8(b, 2);
    u8(b, 10);
    u8(b, 0);
    u8(b, irq);
    u32(b, gsi);
    u16(b, flags);
}

static void madt(GByteArray *b, const AcpiInfo *info)
{
    unsigned start = table_begin(b, "APIC", 5);
    u32(b, LAPIC_BASE);
    u32(b, 1);                          /* PCAT_COMPAT: two 8259 as well */
    for (unsigned i = 0; i < info->n_cpus; i++) {
        u8(b, 0);
        u8(b, 8);
        u8(b, i);
        u8(b, info->apic_id[i]);
        u32(b, 1);
    }
    u8(b, 1);
    u8(b, 12);
    u8(b, 0);
    u8(b, 0);
    u32(b, IOAPIC_BASE);
    u32(b, 0);
    madt_override(b, 0, 2, 0);          /* the timer comes in at input 2 */
    madt_override(b, ACPI_SCI, ACPI_SCI, 0xd);      /* active high, level */
    u8(b, 4);                           /* NMI at LINT1 of every processor */
    u8(b, 6);
    u8(b, 0xff);
    u16(b, 0);
    u8(b, 1);
    table_end(b, start);
}

/* --- AML */

/* PkgLength of 20.2.4, counting itself, in front of what stands in the array from `at` on. */
static void aml_length(GByteArray *b, unsigned at)
{
    unsigned len = b->len - at, n = len + 1 < 0x40 ? 1 : len + 2 < 0x1000 ? 2 : 3;
    uint8_t head[3];
    len += n;
    if (n == 1) {
        head[0] = len;
    } else {
        head[0] = (n - 1) << 6 | (len & 15);
        for (unsigned i = 1; i < n; i++)
            head[i] = len >> (8 * i - 4);
    }
    g_byte_array_set_size(b, b->len + n);
    memmove(b->data + at + n, b->data + at, b->len - n - at);
    memcpy(b->data + at, head, n);
}

static unsigned aml_open(GByteArray *b, const char *op, unsigned op_len) { text(b, op, op_len); return b->len; }

static void aml_name_int(GByteArray *b, const char *name, uint32_t v)
{
    u8(b, 0x08);
    text(b, name, 4);
    u8(b, 0x0c);
    u32(b, v);
}

/* "PNP0501" as a compressed EISA id. */
static uint32_t eisa(const char *id)
{
    uint32_t v = (id[0] - '@') << 26 | (id[1] - '@') << 21 | (id[2] - '@') << 16 | g_ascii_xdigit_value(id[3]) << 12 |
                 g_ascii_xdigit_value(id[4]) << 8 | g_ascii_xdigit_value(id[5]) << 4 | g_ascii_xdigit_value(id[6]);
    return GUINT32_SWAP_LE_BE(v);
}

typedef struct AmlDevice { const char *name, *hid; uint8_t uid; uint16_t port, len; uint8_t irq; } AmlDevice;

static void aml_device(GByteArray *b, const AmlDevice *d)
{
    unsigned at = aml_open(b, "\x5b\x82", 2);
    text(b, d->name, 4);
    aml_name_int(b, "_HID", eisa(d->hid));
    aml_name_int(b, "_UID", d->uid);
    u8(b, 0x08);
    text(b, "_CRS", 4);
    unsigned buffer = aml_open(b, "\x11", 1);
    u8(b, 0x0a);
    unsigned size_at = b->len;
    u8(b, 0);
    u8(b, 0x47);                        /* I/O port descriptor, 6.4.2.5 */
    u8(b, 1);
    u16(b, d->port);
    u16(b, d->port);
    u8(b, 1);
    u8(b, d->len);
    if (d->irq) {
        u8(b, 0x22);                    /* IRQ descriptor, 6.4.2.1 */
        u16(b, 1 << d->irq);
    }
    u8(b, 0x79);
    u8(b, 0);
    b->data[size_at] = b->len - size_at - 1;
    aml_length(b, buffer);
    aml_length(b, at);
}

static void dsdt(GByteArray *b, const AcpiInfo *info)
{
    static const AmlDevice uarts[] = {
        { "COM1", "PNP0501", 1, 0x3f8, 8, 4 }, { "COM2", "PNP0501", 2, 0x2f8, 8, 3 },
        { "COM3", "PNP0501", 3, 0x3e8, 8, 4 }, { "COM4", "PNP0501", 4, 0x2e8, 8, 3 },
    };
    static const AmlDevice rtc = { "RTC_", "PNP0B00", 0, 0x70, 2, 8 };
    unsigned start = table_begin(b, "DSDT", 2);
    u8(b, 0x08);                        /* Name (_S5, Package { 5, 5, 0, 0 }) */
    text(b, "_S5_", 4);
    text(b, "\x12\x08\x04\x0a\x05\x0a\x05\x00\x00", 9);
    unsigned scope = aml_open(b, "\x10", 1);
    text(b, "\\_SB_", 5);
    aml_device(b, &rtc);
    for (unsigned i = 0; i < info->n_uarts; i++)
        aml_device(b, &uarts[i]);
    aml_length(b, scope);
    table_end(b, start);
}

GByteArray *acpi_tables(const AcpiInfo *info, uint32_t at)
{
    GByteArray *b = g_byte_array_new();
    enum { RSDP_LEN = 36 };
    g_byte_array_set_size(b, 64);
    memset(b->data, 0, 64);

    unsigned facs_at = b->len;          /* 5.2.10: no header checksum, 64 bytes, aligned to 64 */
    text(b, "FACS", 4);
    u32(b, 64);
    for (unsigned i = 8; i < 64; i++)
        u8(b, i == 32 ? 2 : 0);         /* version 2 */
    unsigned dsdt_at = b->len;
    dsdt(b, info);
    unsigned fadt_at = (b->len + 63) & ~63u;
    fadt(b, at + facs_at, at + dsdt_at);
    unsigned madt_at = (b->len + 63) & ~63u;
    madt(b, info);
    unsigned xsdt_at = table_begin(b, "XSDT", 1);
    u64(b, at + fadt_at);
    u64(b, at + madt_at);
    table_end(b, xsdt_at);

    memcpy(b->data, "RSD PTR \0RHEA  \2", 16);
    put32(b, 20, RSDP_LEN);
    put32(b, 24, at + xsdt_at);
    checksum(b, 0, 20, 8);
    checksum(b, 0, RSDP_LEN, 32);
    return b;
}
