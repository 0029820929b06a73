/* SPDX-License-Identifier: GPL-2.0-or-later
 * A PC's firmware and what it is told.  Sources: the fw_cfg specification for the items' forms; the PC/AT's CMOS map
 * (Ralf Brown's CMOS list) for the memory sizes, cells 34h..35h and 5Bh..5Dh and the boot order in 38h and 3Dh as Bochs'
 * and SeaBIOS' documentation have them. */
#include "hw/x86/firmware.h"

#include <string.h>
#include <unistd.h>

#include "config.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/timer/mc146818.h"
#include "util/bits.h"
#include "util/endian.h"

#define TOP UINT64_C(0x100000000)
enum { FIRST_MIB = 0x100000, SHADOW_LEN = 0x20000, MIN_LEN = 0x10000, MAX_LEN = 16 << 20 };
enum {                                  /* CMOS cells */
    C_BASE_KIB = 0x15, C_EXT_KIB = 0x17, C_EXT_KIB_2 = 0x30, C_EXT_64K = 0x34, C_BOOT_3 = 0x38, C_BOOT_1_2 = 0x3d,
    C_HIGH_64K = 0x5b,
};

struct Firmware {
    Region rom;
};

static const char *const places[] = { RHEA_PREFIX "/share/rhea", "/usr/share/seabios", "/usr/share/qemu", "/usr/share/ovmf" };

static char *file_in(const char *folder, const char *name)
{
    char *path = g_build_filename(folder, name, NULL);
    if (access(path, R_OK) == 0)
        return path;
    g_free(path);
    return NULL;
}

char *firmware_find(const char *name, char *const *folders)
{
    char *path = NULL;
    if (strchr(name, '/') || access(name, R_OK) == 0)
        return g_strdup(name);
    for (; *folders && !path; folders++)
        path = file_in(*folders, name);
    for (unsigned i = 0; i < ARRAY_LEN(places) && !path; i++)
        path = file_in(places[i], name);
    return path ? path : g_strdup(name);
}

void firmware_folders(char *const *folders, GString *out)
{
    for (; *folders; folders++)
        g_string_append_printf(out, "%s\n", *folders);
    for (unsigned i = 0; i < ARRAY_LEN(places); i++)
        g_string_append_printf(out, "%s\n", places[i]);
}

Firmware *firmware_open(Machine *m, const char *file, GError **err)
{
    g_autofree char *text = NULL;
    gsize len;
    GError *why = NULL;
    if (!g_file_get_contents(file, &text, &len, &why)) {
        fail(err, "-bios: %s", why->message);
        g_error_free(why);
        return NULL;
    }
    if (len < MIN_LEN || len > MAX_LEN || len % MIN_LEN) {
        fail(err, "-bios: %s: %zu bytes; firmware has a multiple of 64 KiB, up to 16 MiB", file, (size_t)len);
        return NULL;
    }
    Firmware *f = g_new0(Firmware, 1);
    if (!region_init_rom(&f->rom, "bios", m->ram, len, NULL, NULL, NULL, err)) {
        g_free(f);
        return NULL;
    }
    memcpy(region_host(&f->rom), text, len);
    region_map(space_root(m->mem), TOP - len, &f->rom, 1);
    return f;
}

void firmware_load(const Firmware *f, Machine *m)
{
    uint64_t len = region_last(&f->rom) + 1, low = MIN(len, SHADOW_LEN);
    space_write(m->mem, FIRST_MIB - low, region_host(&f->rom) + len - low, low);
}

void firmware_free(Firmware *f)
{
    region_destroy(&f->rom);
    g_free(f);
}

/* --- what it is told */

static void put_cmos(Machine *m, unsigned cell, uint64_t v, unsigned n)
{
    for (Device *rtc = machine_find(m, "rtc"); n--; v >>= 8)
        mc146818_set_cell(rtc, cell++, v);
}

/* Saturated where a size does not fit. */
static void put_sizes(Machine *m, const FirmwareInfo *i)
{
    uint64_t ext = MIN((i->low_ram - FIRST_MIB) >> 10, 0xffff), above16 = i->low_ram > 16 << 20 ? i->low_ram - (16 << 20) : 0;
    put_cmos(m, C_BASE_KIB, 640, 2);
    put_cmos(m, C_EXT_KIB, ext, 2);
    put_cmos(m, C_EXT_KIB_2, ext, 2);
    put_cmos(m, C_EXT_64K, MIN(above16 >> 16, 0xffff), 2);
    put_cmos(m, C_HIGH_64K, MIN((i->ram - i->low_ram) >> 16, 0xffffff), 3);
}

static bool add_e820(Device *d, const FirmwareInfo *i, GError **err)
{
    struct __attribute__((packed)) { uint64_t at, len; uint32_t type; } rows[2] = {
        { 0, GUINT64_TO_LE(i->low_ram), GUINT32_TO_LE(1) }, { GUINT64_TO_LE(TOP), GUINT64_TO_LE(i->ram - i->low_ram), GUINT32_TO_LE(1) },
    };
    return fw_cfg_add_file(d, "etc/e820", rows, i->ram > i->low_ram ? sizeof(rows) : sizeof(rows[0]), err);
}

static bool add_number(Device *d, const char *name, uint64_t v, unsigned size, GError **err)
{
    v = GUINT64_TO_LE(v);
    return fw_cfg_add_file(d, name, &v, size, err);
}

/* -fw_cfg [name=]NAME,file=FILE|string=TEXT */
static bool add_item(Device *d, const char *text, GError **err)
{
    Options *o = options_parse("-fw_cfg", text, "name", err);
    if (!o)
        return false;
    const char *name = options_get(o, "name"), *file = options_get(o, "file"), *string = options_get(o, "string");
    g_autofree char *bytes = NULL;
    gsize len = string ? strlen(string) : 0;
    GError *why = NULL;
    bool ok = name || fail(err, "-fw_cfg: %s: it has no name=", text);
    ok = ok && (!file != !string || fail(err, "-fw_cfg: %s: either file= or string=", text));
    if (ok && file && !g_file_get_contents(file, &bytes, &len, &why)) {
        ok = fail(err, "-fw_cfg: %s", why->message);
        g_error_free(why);
    }
    ok = ok && options_done(o, err);
    if (ok && !g_str_has_prefix(name, "opt/"))
        log_warn(NULL, "-fw_cfg: names of your own should begin with \"opt/\", which '%s' does not", name);
    ok = ok && (fw_cfg_add_file(d, name, file ? bytes : string, len, err) || fail_prefix(err, "-fw_cfg: "));
    options_free(o);
    return ok;
}

bool firmware_describe(Machine *m, const FirmwareInfo *i, GError **err)
{
    static const uint8_t no_uuid[16];
    Device *d = machine_find(m, "fw_cfg");
    uint64_t ram = GUINT64_TO_LE(i->ram);
    put_sizes(m, i);
    fw_cfg_add(d, FW_CFG_UUID, no_uuid, sizeof(no_uuid));
    fw_cfg_add(d, FW_CFG_RAM_SIZE, &ram, sizeof(ram));
    fw_cfg_add_u16(d, FW_CFG_NOGRAPHIC, 1);
    fw_cfg_add_u16(d, FW_CFG_NB_CPUS, i->n_cpus);
    fw_cfg_add_u16(d, FW_CFG_MAX_CPUS, i->n_cpus);
    fw_cfg_add_u16(d, FW_CFG_BOOT_MENU, i->boot.menu);
    bool ok = add_e820(d, i, err);
    if (i->console_port)
        ok = ok && add_number(d, "etc/sercon-port", i->console_port, 2, err);
    if (i->boot.splash_ms)
        ok = ok && add_number(d, "etc/boot-menu-wait", i->boot.splash_ms, 2, err);
    ok = ok && add_number(d, "etc/boot-fail-wait", i->boot.reboot ? i->boot.reboot_ms : UINT32_MAX, 4, err);
    for (unsigned n = 0; ok && n < i->n_items; n++)
        ok = add_item(d, i->items[n], err);
    return ok;
}

/* A nibble for each: 1 floppy, 2 hard disk, 3 CD, 4 network. */
static const char boot_letters[] = "acdn";

bool firmware_boot_order_ok(const char *order, GError **err)
{
    for (const char *p = order; *p; p++) {
        if (!strchr(boot_letters, *p))
            return fail(err, "-boot: there is no device '%c'; a floppy, c hard disk, d CD, n network", *p);
        if (strchr(p + 1, *p))
            return fail(err, "-boot: device '%c' is named twice", *p);
    }
    return true;
}

void firmware_set_boot(Machine *m, const BootConfig *boot, bool first)
{
    const char *order = first && boot->once ? boot->once : boot->order ? boot->order : "cad";
    uint8_t nibble[3] = { 0 };
    for (unsigned i = 0; i < 3 && order[i]; i++)
        nibble[i] = strchr(boot_letters, order[i]) - boot_letters + 1;
    put_cmos(m, C_BOOT_1_2, nibble[0] | nibble[1] << 4, 1);
    put_cmos(m, C_BOOT_3, nibble[2] << 4 | boot->unsigned_floppies, 1);
}
