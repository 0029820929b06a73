/* SPDX-License-Identifier: GPL-2.0-or-later
 * The direct-boot PC.  The memory map and interrupt wiring are those of every PC since the AT; docs/hw.md has the table. */
#include "hw/x86/pc.h"

#include "hw/core/bus.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/intc/cpu_lines.h"
#include "hw/x86/acpi_tables.h"
#include "hw/x86/linux_boot.h"
#include "hw/x86/unpack_cache.h"
#include "util/bits.h"

enum { VGA_HOLE = 0xa0000, VGA_HOLE_END = 0xc0000, TABLES_AT = 0xe0000, MP_TABLES_AT = 0xf0000, FIRST_MIB = 0x100000, EBDA = 0x9fc00 };
#define LOW_RAM_MAX UINT64_C(0xc0000000)        /* above: APICs, firmware, room for PCI */
#define HIGH_RAM    UINT64_C(0x100000000)

struct Pc {
    Machine    *m;
    PcConfig    config;
    Accel      *accel;
    X86Cpu     *cpu[PC_MAX_CPUS];
    Region      ram, below_hole, above_hole, high, config_address;
    uint64_t    low_len;
    bool        ram_used;               /* something has been written to it */
    bool        started;
    BootImage  *boot;
    Firmware   *firmware;
    GByteArray *tables, *mp_tables;
};

/* Type, id, address, wires.  The 8254 and the 16550s go to the 8259s and to the I/O APIC; input 2 of the I/O APIC is
 * the timer, which the MADT says too. */
static const BoardSlot board[] = {
    { "i8259", "pic1", 0xa0, "pic0.ir:2", SLOT_IO, "elcr-mask=0xde", .more = { { 0x4d1, SLOT_IO } } },
    { "i8259", "pic0", 0x20, "lapic0.lint:0", SLOT_IO, "slave=pic1,elcr-mask=0xf8", .more = { { 0x4d0, SLOT_IO } } },
    { "lapic", "lapic0", LAPIC_BASE, NULL, SLOT_MEM, "id-number=0,pic=pic0", .priority = 2 },     /* before the others */
    { "ioapic", "ioapic", IOAPIC_BASE, NULL, SLOT_MEM },
    { "i8254", "pit", 0x40, "out=pic0.ir:0 out=ioapic.in:2", SLOT_IO, .more = { { 0x61, SLOT_IO } } },
    { "cpu-lines", "lines", 0xf0, "irq=pic1.ir:5 irq=ioapic.in:13", SLOT_IO },
    { "acpi-pm", "pm", PM_BASE, "sci=pic1.ir:1 sci=ioapic.in:9 a20=lines.a20:0", SLOT_IO, .more = { { 0 }, { 0x92, SLOT_IO } } },
    { "fw_cfg", "fw_cfg", 0x510, NULL, SLOT_IO, .more = { { 0x514, SLOT_IO } } },
    { 0 }
};

static const struct { uint16_t port; const char *wires; } serial_slot[PC_MAX_SERIAL] = {
    { 0x3f8, "irq=pic0.ir:4 irq=ioapic.in:4" }, { 0x2f8, "irq=pic0.ir:3 irq=ioapic.in:3" },
    { 0x3e8, "irq=pic0.ir:4 irq=ioapic.in:4" }, { 0x2e8, "irq=pic0.ir:3 irq=ioapic.in:3" },
};

static unsigned count_serial(const PcConfig *c)
{
    unsigned n = 0;
    while (n < PC_MAX_SERIAL && c->serial[n])
        n++;
    return n;
}

static bool add_ram(Pc *pc, GError **err)
{
    Region *root = space_root(pc->m->mem);
    if (!region_init_ram(&pc->ram, "pc.ram", pc->m->ram, pc->config.ram, err))
        return false;
    pc->low_len = MIN(pc->config.ram, LOW_RAM_MAX);
    region_init_alias(&pc->below_hole, "ram-low", &pc->ram, 0, VGA_HOLE);
    region_map(root, 0, &pc->below_hole, 0);
    region_init_alias(&pc->above_hole, "ram", &pc->ram, VGA_HOLE_END, pc->low_len - VGA_HOLE_END);
    region_map(root, VGA_HOLE_END, &pc->above_hole, 0);
    if (pc->config.ram > LOW_RAM_MAX) {
        region_init_alias(&pc->high, "ram-high", &pc->ram, LOW_RAM_MAX, pc->config.ram - LOW_RAM_MAX);
        region_map(root, HIGH_RAM, &pc->high, 0);
    }
    return true;
}

/* Port CF9h takes bytes alone: wider accesses in CF8h..CFBh are for PCI's configuration address (PCI 2.1, 3.2.2.3.2), and
 * programs look for PCI where there is none. */
enum { CONFIG_ADDRESS = 0xcf8, PM_RESET = 1 };
static uint64_t config_read(void *self, uint64_t off, unsigned size)
{
    const Pc *pc = self;
    bool reset = off == RESET_PORT - CONFIG_ADDRESS && size == 1;
    return reset ? device_reg_read(machine_find(pc->m, "pm"), PM_RESET, 0, 1) : UINT64_MAX;
}

static void config_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    const Pc *pc = self;
    if (off == RESET_PORT - CONFIG_ADDRESS && size == 1)
        device_reg_write(machine_find(pc->m, "pm"), PM_RESET, 0, v, 1);
}

static const RegionOps config_ops = { config_read, config_write, .min = 1, .max = 4, .unaligned = true };

/* The 8254 makes up for lost ticks when the controllers say which of them have been taken. */
static bool wire_lost_ticks(Machine *m, GError **err)
{
    return board_wire(m, machine_find(m, "pic0"), "pending[0]=pit.pending:0", err) &&
           board_wire(m, machine_find(m, "ioapic"), "pending[2]=pit.pending:1", err);
}

static bool add_devices(Pc *pc, GError **err)
{
    Machine *m = pc->m;
    const PcConfig *c = &pc->config;
    const BoardSlot none = { 0 };
    GArray *slots = g_array_new(FALSE, FALSE, sizeof(BoardSlot));
    GPtrArray *text = g_ptr_array_new_with_free_func(g_free);
    for (const BoardSlot *s = board; s->type; s++)
        g_array_append_val(slots, *s);
    g_ptr_array_add(text, g_strdup_printf("slew=%s%s%s", c->slew_rtc ? "on" : "off", c->rtc_base ? ",base=" : "",
                                          c->rtc_base ? c->rtc_base : ""));
    for (unsigned i = 1; i < c->n_cpus; i++) {
        char *id = g_strdup_printf("lapic%u", i);
        char *props = g_strdup_printf("id-number=%u", x86_apic_id(&c->topology, i));
        BoardSlot s = { "lapic", id, LAPIC_BASE, NULL, SLOT_MEM, props, .priority = 1 };
        g_ptr_array_add(text, id);
        g_ptr_array_add(text, props);
        g_array_append_val(slots, s);
    }
    BoardSlot rtc = { "mc146818", "rtc", 0x70, "irq=pic1.ir:0 irq=ioapic.in:8 irq=pm.rtc:0", SLOT_IO,
                      g_ptr_array_index(text, 0) };
    g_array_append_val(slots, rtc);
    for (unsigned i = 0; i < count_serial(c); i++) {
        char *id = g_strdup_printf("com%u", i + 1), *props = g_strdup_printf("chardev=%s", c->serial[i]);
        BoardSlot s = { "uart16550", id, serial_slot[i].port, serial_slot[i].wires, SLOT_IO, props };
        g_ptr_array_add(text, id);
        g_ptr_array_add(text, props);
        g_array_append_val(slots, s);
    }
    g_array_append_val(slots, none);
    bool ok = board_build(m, (const BoardSlot *)slots->data, NULL, err) && (c->discard_lost_ticks || wire_lost_ticks(m, err));
    g_array_free(slots, TRUE);
    g_ptr_array_free(text, TRUE);
    m->msi = lapic_msi_sink(m);
    region_init_io(&pc->config_address, "config-address", 4, &config_ops, pc, &m->legacy);
    region_map(space_root(m->io), CONFIG_ADDRESS, &pc->config_address, 0);
    return ok;
}

static bool open_kernel(Pc *pc, GError **err)
{
    g_autofree char *cache = unpack_cache_dir();
    BootInfo info = {
        .cache = cache, .kernel = pc->config.kernel, .initrd = pc->config.initrd, .append = pc->config.append,
        .low_ram = pc->low_len, .rsdp = TABLES_AT, .n_e820 = 4,
        .e820 = { { 0, EBDA, E820_RAM }, { EBDA, VGA_HOLE - EBDA, E820_RESERVED },
                  { TABLES_AT, FIRST_MIB - TABLES_AT, E820_RESERVED },
                  { FIRST_MIB, pc->low_len - FIRST_MIB, E820_RAM } },
    };
    if (pc->config.ram > LOW_RAM_MAX)
        info.e820[info.n_e820++] = (E820Entry){ HIGH_RAM, pc->config.ram - LOW_RAM_MAX, E820_RAM };
    pc->boot = boot_image_open(&info, err);
    return pc->boot != NULL;
}

static bool describe(Pc *pc, GError **err)
{
    const PcConfig *c = &pc->config;
    FirmwareInfo info = {
        .ram = c->ram, .low_ram = pc->low_len, .n_cpus = c->n_cpus, .console_port = c->serial[0] ? serial_slot[0].port : 0,
        .boot = c->boot, .items = c->fw_cfg, .n_items = c->n_fw_cfg,
    };
    return firmware_describe(pc->m, &info, err);
}

/* No controllers yet; if= is IDE on a PC unless said otherwise. */
const DriveBoard pc_drive_board = { .name = "pc", .preset = DRIVE_IDE };

Pc *pc_new(Machine *m, const PcConfig *config, GError **err)
{
    Pc *pc = g_new0(Pc, 1);
    pc->m = m;
    pc->config = *config;
    m->board = pc;
    AcpiInfo info = { config->n_cpus, count_serial(config) };
    for (unsigned i = 0; i < config->n_cpus; i++)
        info.apic_id[i] = x86_apic_id(&config->topology, i);
    pc->tables = acpi_tables(&info, TABLES_AT);
    pc->mp_tables = mp_tables(&info, MP_TABLES_AT);
    bool ok = add_ram(pc, err) && add_devices(pc, err) && describe(pc, err);
    if (ok && config->kernel)
        ok = open_kernel(pc, err);
    else if (ok && config->bios)
        ok = (pc->firmware = firmware_open(m, config->bios, err)) != NULL;
    if (ok)
        return pc;
    pc_free(pc);
    return NULL;
}

void pc_free(Pc *pc)
{
    for (unsigned i = 0; i < PC_MAX_CPUS; i++)
        if (pc->cpu[i])
            x86_cpu_free(pc->cpu[i]);
    if (pc->boot)
        boot_image_free(pc->boot);
    if (pc->firmware)
        firmware_free(pc->firmware);
    Region *regions[] = { &pc->config_address, &pc->high, &pc->above_hole, &pc->below_hole, &pc->ram };
    for (unsigned i = 0; i < ARRAY_LEN(regions); i++)
        region_destroy(regions[i]);
    g_byte_array_free(pc->tables, TRUE);
    g_byte_array_free(pc->mp_tables, TRUE);
    pc->m->board = NULL;
    g_free(pc);
}

/* --- CPUs */

static bool load(Pc *pc, GError **err)
{
    BootEntry e;
    for (unsigned i = 0; i < pc->config.n_cpus; i++)
        x86_reset(pc->cpu[i]);
    firmware_set_boot(pc->m, &pc->config.boot, !pc->started);
    pc->started = true;
    if (pc->firmware)
        firmware_load(pc->firmware, pc->m);
    if (!pc->boot)
        return true;
    if (!boot_image_load(pc->boot, pc->m->mem, !pc->ram_used, &e, err))
        return false;
    if (e.long_mode && !x86_has(pc->cpu[0], X86F_LM))
        return fail(err, "-kernel: %s is a 64-bit kernel and -cpu %s a 32-bit processor", pc->config.kernel,
                    pc->cpu[0]->model->name);
    pc->ram_used = true;
    space_write(pc->m->mem, TABLES_AT, pc->tables->data, pc->tables->len);
    space_write(pc->m->mem, MP_TABLES_AT, pc->mp_tables->data, pc->mp_tables->len);
    lapic_virtual_wire(machine_find(pc->m, "lapic0"));
    if (e.long_mode)
        x86_enter_long(pc->cpu[0], e.pc, e.arg, 0, e.cr3, e.gdt, e.gdt_limit);
    else
        x86_enter_protected(pc->cpu[0], e.pc, e.linux32 ? 0 : e.arg, e.linux32 ? e.arg : 0, e.gdt, e.gdt_limit);
    return true;
}

static void hook_pause(void *self) { Pc *pc = self; accel_pause(pc->accel); }
static void hook_resume(void *self) { Pc *pc = self; accel_resume(pc->accel); }

static void hook_reset(void *self)
{
    Pc *pc = self;
    GError *err = NULL;
    if (!load(pc, &err)) {
        log_error(NULL, "reset: %s", err->message);
        g_error_free(err);
        machine_request_exit(pc->m, 1);
    }
    accel_reset(pc->accel);
}

static const MachineHooks hooks = { hook_pause, hook_resume, hook_reset };

bool pc_add_cpus(Pc *pc, Accel *accel, GError **err)
{
    pc->accel = accel;
    for (unsigned i = 0; i < pc->config.n_cpus; i++) {
        char id[16];
        g_snprintf(id, sizeof(id), "lapic%u", i);
        X86Cpu *c = pc->cpu[i] = x86_cpu_new(pc->config.model, accel_hooks(accel));
        c->port.cpu_index = i;
        c->topology = pc->config.topology;
        c->apic_id = x86_apic_id(&c->topology, i);
        if (!accel_add_vcpu(accel, &x86_target, &c->s, &c->port, err))
            return false;
        lapic_attach(machine_find(pc->m, id), &c->port);
        cpu_lines_attach(machine_find(pc->m, "lines"), &c->port);
    }
    for (unsigned i = 0; i < pc->m->devices->len; i++) {
        Device *d = g_ptr_array_index(pc->m->devices, i);
        if (d->type->chip)
            accel_add_chip(accel, (Chip *)((char *)d + d->type->chip));
    }
    pc->m->msi_host = accel_msi_host(accel);
    pc->m->msi_host_self = accel;
    pc->m->hooks = &hooks;
    pc->m->hooks_self = pc;
    return true;
}

bool pc_power_on(Pc *pc, GError **err)
{
    machine_reset_devices(pc->m);
    if (!load(pc, err))
        return false;
    accel_reset(pc->accel);
    return true;
}

/* --- -device */

typedef struct IsaType { const char *type; uint16_t iobase; const char *help; } IsaType;
static const IsaType isa_types[] = {
    { "isa-debug-exit", 0x501, "a write of v ends Rhea with exit status 2 * v + 1" },
    { "isa-debugcon", 0xe9, "writes go to a character device" },
};

void pc_device_help(GString *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(isa_types); i++)
        g_string_append_printf(out, "%-16s bus ISA, %s (iobase=0x%x)\n", isa_types[i].type, isa_types[i].help, isa_types[i].iobase);
}

bool pc_device_props_help(const char *type, GString *out)
{
    for (unsigned i = 0; i < ARRAY_LEN(isa_types); i++)
        if (strcmp(type, isa_types[i].type) == 0) {
            g_string_append_printf(out, "%s options:\n  iobase=<number>  its first I/O port (default: 0x%x)\n", type, isa_types[i].iobase);
            device_props_help(device_type_find(NULL, type), out);
            return true;
        }
    return false;
}

bool pc_add_device(Pc *pc, const char *text, GError **err)
{
    Options *o = options_parse("-device", text, "driver", err);
    if (!o)
        return false;
    const char *type = options_get(o, "driver");
    const IsaType *isa = NULL;
    for (unsigned i = 0; type && i < ARRAY_LEN(isa_types); i++)
        if (strcmp(type, isa_types[i].type) == 0)
            isa = &isa_types[i];
    uint64_t port = isa ? isa->iobase : 0, size = 4;
    bool ok = isa || fail(err, "-device: unknown device '%s'; -device help lists them", type ? type : "");
    ok = ok && options_u64(o, "iobase", 1, 0xfff0, &port, err);
    ok = ok && (!g_str_equal(type, "isa-debug-exit") || options_u64(o, "iosize", 4, 4, &size, err));
    GString *rest = g_string_new(type);
    for (unsigned i = 0; ok && i < options_count(o); i++) {
        const char *key, *value;
        options_item(o, i, &key, &value);
        if (strcmp(key, "driver") != 0 && strcmp(key, "iobase") != 0 && strcmp(key, "iosize") != 0)
            g_string_append_printf(rest, ",%s=%s", key, value);
    }
    Device *d = ok ? device_new(pc->m, rest->str, NULL, err) : NULL;
    if (d)
        device_map(d, 0, pc->m->io, port, 1);
    g_string_free(rest, TRUE);
    options_free(o);
    return d != NULL;
}
