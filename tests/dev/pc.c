/* SPDX-License-Identifier: GPL-2.0-or-later
 * The PC as a whole, without an accelerator: addresses, wiring, from a device's event to the vector that the processor
 * gets and back, reset, two machines at once, the ACPI tables. */
#include <string.h>

#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/x86/acpi_tables.h"
#include "hw/x86/pc.h"
#include "target/x86/cpu.h"
#include "tests/fake_port.h"
#include "util/bits.h"

enum { L_EOI = 0xb0, L_SVR = 0xf0, L_LVT_LINT0 = 0x350, LEVEL = 0x8000 };

typedef struct Board {
    Bench  *b;
    Pc     *pc;
    FakeCpu cpu;
    Space  *io, *mem;
} Board;

static Board board_of(Bench *b, bool discard_lost_ticks)
{
    GError *err = NULL;
    machine_add_stream(b->m, stream_new_memory(b->m->loop, "serial0"));
    PcConfig config = { .ram = 64 << 20, .n_cpus = 1, .serial = { "serial0" }, .rtc_base = "2026-01-31T12:34:56",
                        .discard_lost_ticks = discard_lost_ticks };
    Board x = { .b = b, .pc = pc_new(b->m, &config, &err), .io = b->m->io, .mem = b->m->mem };
    g_assert_no_error(err);
    machine_reset_devices(b->m);
    return x;
}

static Board board_new(Bench *b) { return board_of(b, false); }

/* After board_new(), when the Board stands where it stays. */
static void add_cpu(Board *x)
{
    fake_cpu(&x->cpu, x->b, "lapic0");
    bench_store(x->b, x->mem, LAPIC_BASE + L_SVR, 4, 0x1ff);
}

static void out(Board *x, uint16_t port, uint8_t v) { bench_store(x->b, x->io, port, 1, v); }
static uint8_t in(Board *x, uint16_t port) { return bench_load(x->b, x->io, port, 1); }
static void eoi(Board *x) { bench_store(x->b, x->mem, LAPIC_BASE + L_EOI, 4, 0); }

static void redirect(Board *x, unsigned pin, uint32_t low)
{
    bench_store(x->b, x->mem, IOAPIC_BASE, 4, 0x11 + 2 * pin);
    bench_store(x->b, x->mem, IOAPIC_BASE + 0x10, 4, 0);
    bench_store(x->b, x->mem, IOAPIC_BASE, 4, 0x10 + 2 * pin);
    bench_store(x->b, x->mem, IOAPIC_BASE + 0x10, 4, low);
}

/* As every kernel does: vectors 20h and 28h, slave at 2, all unmasked. */
static void init_pics(Board *x)
{
    static const struct { uint8_t port, v; } steps[] = {
        { 0x20, 0x11 }, { 0x21, 0x20 }, { 0x21, 4 }, { 0x21, 1 }, { 0xa0, 0x11 }, { 0xa1, 0x28 }, { 0xa1, 2 },
        { 0xa1, 1 }, { 0x21, 0 }, { 0xa1, 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++)
        out(x, steps[i].port, steps[i].v);
}

static void the_timer_by_way_of_the_apics(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    redirect(&x, 2, 0x30);
    out(&x, 0x43, 0x34);
    out(&x, 0x40, 1193 & 0xff);
    out(&x, 0x40, 1193 >> 8);
    for (unsigned i = 0; i < 3; i++) {
        bench_step_ns(b, 999000);
        g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
        bench_step_ns(b, 1000);
        g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x30);
        eoi(&x);
        g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    }
    pc_free(x.pc);
}

/* How many interrupts come, one after the other. */
static unsigned take_all(Board *x, int vector)
{
    unsigned n = 0;
    for (int v; (v = fake_take(&x->cpu, x->b)) >= 0; n++) {
        g_assert_cmphex(v, ==, vector);
        if (vector == 0x20)
            out(x, 0x20, 0x20);
        else
            eoi(x);
    }
    return n;
}

static void lost_ticks_by_way_of_the_apics(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    out(&x, 0x43, 0x34);
    out(&x, 0x40, 1193 & 0xff);
    out(&x, 0x40, 1193 >> 8);
    bench_step_ns(b, 20 * NS_PER_MS);           /* masked: these are lost */
    redirect(&x, 2, 0x30);
    for (unsigned i = 1; i < 4; i++) {
        bench_step_ns(b, i * 10 * NS_PER_MS);
        g_assert_cmpuint(take_all(&x, 0x30), ==, i * 10);
    }
    bench_step_ns(b, 10 * NS_PER_MS);
    redirect(&x, 2, 0x31);                      /* 30h waits in the local APIC; the others come as 31h, one from now on */
    bench_step_ns(b, NS_PER_MS);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x31);
    eoi(&x);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x31);
    redirect(&x, 2, 0x10031);
    eoi(&x);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x31);        /* requested before the mask was set */
    eoi(&x);
    g_assert_cmpuint(take_all(&x, 0x30), ==, 1);
    bench_step_ns(b, 10 * NS_PER_MS);
    redirect(&x, 2, 0x31);
    bench_step_ns(b, NS_PER_MS);
    g_assert_cmpuint(take_all(&x, 0x31), ==, 1);
    pc_free(x.pc);
}

static void lost_ticks_by_way_of_the_8259(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    init_pics(&x);
    lapic_virtual_wire(machine_find(b->m, "lapic0"));
    out(&x, 0x43, 0x34);
    out(&x, 0x40, 1193 & 0xff);
    out(&x, 0x40, 1193 >> 8);
    (void)take_all(&x, 0x20);
    for (unsigned i = 1; i < 4; i++) {
        bench_step_ns(b, i * 10 * NS_PER_MS);
        g_assert_cmpuint(take_all(&x, 0x20), ==, i * 10);
    }
    pc_free(x.pc);
}

/* -global kvm-pit.lost_tick_policy=discard */
static void lost_ticks_discarded(Bench *b)
{
    Board x = board_of(b, true);
    add_cpu(&x);
    redirect(&x, 2, 0x30);
    out(&x, 0x43, 0x34);
    out(&x, 0x40, 1193 & 0xff);
    out(&x, 0x40, 1193 >> 8);
    bench_step_ns(b, 10 * NS_PER_MS);
    g_assert_cmpuint(take_all(&x, 0x30), ==, 1);
    pc_free(x.pc);
}

static void the_timer_by_way_of_the_8259(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    init_pics(&x);
    lapic_virtual_wire(machine_find(b->m, "lapic0"));
    out(&x, 0x43, 0x30);
    out(&x, 0x40, 100);
    out(&x, 0x40, 0);
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    bench_step_ns(b, 100000);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x20);
    out(&x, 0x20, 0x20);
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    pc_free(x.pc);
}

static void the_clock_by_way_of_the_slave(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    init_pics(&x);
    lapic_virtual_wire(machine_find(b->m, "lapic0"));
    out(&x, 0x70, 0x0b);
    out(&x, 0x71, 0x12);                    /* update-ended interrupt */
    bench_step_ns(b, NS_PER_S);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x28);
    out(&x, 0xa0, 0x20);
    out(&x, 0x20, 0x20);
    out(&x, 0x70, 0x0c);
    g_assert_cmphex(in(&x, 0x71) & 0x90, ==, 0x90);
    out(&x, 0x70, 0);
    g_assert_cmphex(in(&x, 0x71), ==, 0x57);
    pc_free(x.pc);
}

static void sci_is_a_level(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    redirect(&x, ACPI_SCI, LEVEL | 0x39);
    bench_store(b, x.io, PM_BASE + 2, 2, 0x100);
    bench_drive(b, "pm.power-button", 0, true);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x39);
    eoi(&x);                                /* not answered yet */
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x39);
    bench_store(b, x.io, PM_BASE, 2, 0x100);
    eoi(&x);
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    pc_free(x.pc);
}

/* -boot order=cdn -no-fd-bootchk */
static void boot_order_in_the_cmos_ram(Bench *b)
{
    Board x = board_new(b);
    for (unsigned i = 0; i < 2; i++) {
        firmware_set_boot(b->m, &(BootConfig){ .order = "cdn", .unsigned_floppies = i }, true);
        out(&x, 0x70, 0x3d);
        g_assert_cmphex(in(&x, 0x71), ==, 0x32);
        out(&x, 0x70, 0x38);
        g_assert_cmphex(in(&x, 0x71), ==, 0x40 | i);
    }
    pc_free(x.pc);
}

static void the_console(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    redirect(&x, 4, 0x44);
    out(&x, 0x3fc, 8);
    out(&x, 0x3f9, 1);
    bench_send(b, "serial0", "k");
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x44);
    g_assert_cmphex(in(&x, 0x3f8), ==, 'k');
    eoi(&x);
    out(&x, 0x3f8, '!');
    bench_expect(b, "serial0", "!");
    g_assert_cmphex(in(&x, 0x2f8), ==, 0xff);       /* no second port */
    pc_free(x.pc);
}

/* A processor that is never run, for its MSRs. */
static Clock *tsc_clock(CpuState *cpu) { return CONTAINER_OF(cpu, X86Cpu, s)->port.vcpu; }
static uint64_t tsc_now(CpuState *cpu) { return clock_now_ns(tsc_clock(cpu)); }
static const CpuHooks msr_hooks = { .now_ns = tsc_now };

static void moving_the_tsc_moves_its_deadline(Bench *b)
{
    Board x = board_new(b);
    GError *err = NULL;
    const X86Model *model = x86_model_parse("max", &err);
    g_assert_no_error(err);
    X86Cpu *c = x86_cpu_new(model, &msr_hooks);
    c->port.vcpu = b->m->clock;
    lapic_attach(machine_find(b->m, "lapic0"), &c->port);
    bench_store(b, x.mem, LAPIC_BASE + L_SVR, 4, 0x1ff);
    bench_store(b, x.mem, LAPIC_BASE + 0x320, 4, 0x400ec);          /* TSC-deadline mode */
    uint64_t tsc = x86_tsc(c);
    g_assert_true(x86_wrmsr(c, 0x6e0, tsc + 1000000));
    g_assert_true(x86_wrmsr(c, 0x10, tsc + 900000));
    bench_step_ns(b, 99999);
    g_assert_cmphex(c->port.pending & PORT_INTR, ==, 0);
    bench_step_ns(b, 1);
    g_assert_cmphex(c->port.pending & PORT_INTR, ==, PORT_INTR);
    machine_reset_devices(b->m);
    b->cycles = false;
    pc_free(x.pc);
    Device *lapic = machine_find(b->m, "lapic0");
    device_free(lapic);                                             /* before its processor */
    x86_cpu_free(c);
    x86_model_free(model);
}

static void the_memory_map(Bench *b)
{
    Board x = board_new(b);
    bench_store(b, x.mem, 0x1000, 8, 0x1122334455667788);
    g_assert_cmphex(bench_load(b, x.mem, 0x1004, 4), ==, 0x11223344);
    bench_store(b, x.mem, 0xa0000, 4, 0);           /* the hole */
    g_assert_cmphex(bench_load(b, x.mem, 0xa0000, 4), ==, 0xffffffff);
    bench_store(b, x.mem, 0x3fffff8, 8, 42);
    g_assert_cmpuint(bench_load(b, x.mem, 0x3fffff8, 8), ==, 42);
    g_assert_cmphex(bench_load(b, x.mem, 0x4000000, 4), ==, 0xffffffff);
    g_assert_cmphex(bench_load(b, x.mem, LAPIC_BASE + 0x30, 4), ==, 0x50014);
    for (unsigned port = 0xcf8; port < 0xd00; port++)
        g_assert_cmphex(in(&x, port), ==, port == RESET_PORT ? 0 : 0xff);
    pc_free(x.pc);
}

static void the_local_apic_moves(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    g_assert_true(fake_wrmsr(&x.cpu, b, 0x1b, 0xd0000000 | 0x900));
    g_assert_cmphex(bench_load(b, x.mem, 0xd0000030, 4), ==, 0x50014);
    g_assert_cmphex(bench_load(b, x.mem, LAPIC_BASE + 0x30, 4), ==, 0xffffffff);
    g_assert_true(fake_wrmsr(&x.cpu, b, 0x1b, 0xd0000000 | 0xd00));     /* x2APIC: no window */
    g_assert_cmphex(bench_load(b, x.mem, 0xd0000030, 4), ==, 0xffffffff);
    machine_reset_devices(b->m);
    g_assert_cmphex(bench_load(b, x.mem, LAPIC_BASE + 0x30, 4), ==, 0x50014);
    pc_free(x.pc);
}

static void a_reset_silences_all(Bench *b)
{
    Board x = board_new(b);
    add_cpu(&x);
    redirect(&x, 2, 0x30);
    redirect(&x, 4, 0x44);
    out(&x, 0x43, 0x34);
    out(&x, 0x40, 0);
    out(&x, 0x40, 1);
    out(&x, 0x3fc, 8);
    out(&x, 0x3f9, 2);
    bench_step_ns(b, NS_PER_MS);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x44);
    out(&x, 0xcf9, 6);
    g_assert_true(machine_poll(b->m));
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    bench_step_ns(b, NS_PER_S);
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    g_assert_cmphex(in(&x, 0x21), ==, 0xff);
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
    pc_free(x.pc);
}

/* What is between the machines must not be: the second one is restored from the first one's state half way. */
static void two_machines(Bench *b)
{
    Bench *b2 = bench_new(NULL);
    Board x = board_new(b), y = board_new(b2);
    add_cpu(&x);
    add_cpu(&y);
    out(&x, 0x3f8, 'x');
    out(&y, 0x3f8, 'y');
    bench_expect(b, "serial0", "x");
    bench_expect(b2, "serial0", "y");
    redirect(&x, 2, 0x30);
    out(&x, 0x43, 0x30);
    out(&x, 0x40, 100);
    out(&x, 0x40, 0);
    bench_step_ns(b, 50000);
    GByteArray *saved = bench_save(b);
    bench_restore(b2, saved);
    g_byte_array_free(saved, TRUE);
    bench_step_ns(b, 30000);
    bench_step_ns(b2, 30000);
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    bench_step_ns(b2, 10000);
    g_assert_cmpint(fake_take(&x.cpu, b), ==, -1);
    g_assert_cmphex(fake_take(&y.cpu, b2), ==, 0x30);
    bench_step_ns(b, 10000);
    g_assert_cmphex(fake_take(&x.cpu, b), ==, 0x30);
    pc_free(x.pc);
    pc_free(y.pc);
    bench_free(b2);
}

static void user_devices(Bench *b)
{
    Board x = board_new(b);
    GError *err = NULL;
    g_assert_true(pc_add_device(x.pc, "isa-debug-exit,iobase=0xf4,iosize=4", &err));
    g_assert_false(pc_add_device(x.pc, "no-such-thing", &err));
    g_assert_nonnull(strstr(err->message, "no-such-thing"));
    g_clear_error(&err);
    g_assert_false(pc_add_device(x.pc, "isa-debug-exit,iobase=0x10000", &err));
    g_clear_error(&err);
    g_assert_false(pc_add_device(x.pc, "isa-debug-exit,colour=red", &err));
    g_clear_error(&err);
    out(&x, 0xf4, 3);
    g_assert_false(machine_poll(b->m));
    g_assert_cmpint(b->m->exit_code, ==, 7);
    pc_free(x.pc);
}

static void a_board_that_cannot_be(Bench *b)
{
    GError *err = NULL;
    PcConfig config = { .ram = 64 << 20, .n_cpus = 1, .kernel = "/proc/nonexistent" };
    g_assert_null(pc_new(b->m, &config, &err));
    g_assert_nonnull(strstr(err->message, "/proc/nonexistent"));
    g_clear_error(&err);
}

/* --- ACPI */

static uint32_t le32_at(const GByteArray *t, uint32_t at) { return load_le(t->data + at, 4); }

static void expect_table(const GByteArray *t, uint32_t at, const char *signature)
{
    uint32_t len = le32_at(t, at + 4);
    uint8_t sum = 0;
    g_assert_cmpmem(t->data + at, 4, signature, 4);
    g_assert_cmpuint(at + len, <=, t->len);
    for (uint32_t i = 0; i < len; i++)
        sum += t->data[at + i];
    g_assert_cmphex(sum, ==, 0);
}

static void acpi_tables_add_up(Bench *b)
{
    const uint32_t base = 0xe0000;
    for (unsigned uarts = 0; uarts <= 4; uarts++) {
        g_autoptr(GByteArray) t = acpi_tables(&(AcpiInfo){ 1 + uarts, uarts }, base);
        uint8_t sum = 0, sum20 = 0;
        g_assert_cmpmem(t->data, 8, "RSD PTR ", 8);
        for (unsigned i = 0; i < 36; i++) {
            sum += t->data[i];
            sum20 += i < 20 ? t->data[i] : 0;
        }
        g_assert_cmphex(sum, ==, 0);
        g_assert_cmphex(sum20, ==, 0);
        uint32_t xsdt = le32_at(t, 24) - base;
        expect_table(t, xsdt, "XSDT");
        uint32_t fadt = le32_at(t, xsdt + 36) - base, madt = le32_at(t, xsdt + 44) - base;
        expect_table(t, fadt, "FACP");
        expect_table(t, madt, "APIC");
        expect_table(t, le32_at(t, fadt + 40) - base, "DSDT");
        g_assert_cmpuint(le32_at(t, fadt + 4), ==, 276);            /* of ACPI 6.4 */
        g_assert_cmphex(le32_at(t, fadt + 64), ==, PM_BASE + 4);    /* PM1a control */
        g_assert_cmpmem(t->data + le32_at(t, fadt + 36) - base, 4, "FACS", 4);
        g_assert_cmpuint(le32_at(t, fadt + 36) % 64, ==, 0);
        g_assert_cmpuint(le32_at(t, madt + 4), ==, 44 + 8 * (1 + uarts) + 12 + 10 + 10 + 6);
    }
}

static void mp_tables_add_up(Bench *b)
{
    const uint32_t base = 0xf0000;
    for (unsigned n = 1; n <= ACPI_MAX_CPUS; n++) {
        AcpiInfo info = { n, 1 };
        for (unsigned i = 0; i < n; i++)
            info.apic_id[i] = 2 * i;
        g_autoptr(GByteArray) t = mp_tables(&info, base);
        uint8_t sum = 0;
        g_assert_cmpmem(t->data, 4, "_MP_", 4);
        for (unsigned i = 0; i < 16; i++)
            sum += t->data[i];
        g_assert_cmphex(sum, ==, 0);
        uint32_t at = le32_at(t, 4) - base, len = le32_at(t, at + 4) & 0xffff;
        g_assert_cmpmem(t->data + at, 4, "PCMP", 4);
        g_assert_cmpuint(at + len, ==, t->len);
        for (unsigned i = 0; i < len; i++)
            sum += t->data[at + i];
        g_assert_cmphex(sum, ==, 0);
        unsigned entries = le32_at(t, at + 34) & 0xffff, p = at + 44, cpus = 0, boot = 0;
        for (unsigned i = 0; i < entries; i++) {
            if (t->data[p] == 0) {
                g_assert_cmpuint(t->data[p + 1], ==, 2 * cpus);
                cpus++;
                boot += t->data[p + 3] >> 1;
            }
            p += t->data[p] == 0 ? 20 : 8;
        }
        g_assert_cmpuint(p, ==, t->len);
        g_assert_cmpuint(cpus, ==, n);
        g_assert_cmpuint(boot, ==, 1);
    }
}

/* Sixty-four processors: an APIC each, at one address, and what the memory map shows is the first one's. */
static void many_processors(Bench *b)
{
    GError *err = NULL;
    PcConfig config = { .ram = 64 << 20, .n_cpus = 64, .topology = { .threads = 2, .cores = 3, .dies = 1 } };
    Pc *pc = pc_new(b->m, &config, &err);
    g_assert_no_error(err);
    machine_reset_devices(b->m);
    FakeCpu cpu[2];
    fake_cpu(&cpu[0], b, "lapic0");
    fake_cpu(&cpu[1], b, "lapic63");
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + 0x20, 4), ==, 0);
    port_current = &cpu[1].port;
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + 0x20, 4), ==, (10 << 3 | 1 << 1 | 1) << 24);
    port_current = NULL;
    pc_free(pc);
}

static const BenchCase cases[] = {
    { "the timer by way of the APICs", NULL, the_timer_by_way_of_the_apics },
    { "the timer by way of the 8259", NULL, the_timer_by_way_of_the_8259 },
    { "lost ticks by way of the APICs", NULL, lost_ticks_by_way_of_the_apics },
    { "lost ticks by way of the 8259", NULL, lost_ticks_by_way_of_the_8259 },
    { "lost ticks discarded", NULL, lost_ticks_discarded },
    { "the clock by way of the slave", NULL, the_clock_by_way_of_the_slave },
    { "SCI is a level", NULL, sci_is_a_level },
    { "the boot order in the CMOS RAM", NULL, boot_order_in_the_cmos_ram },
    { "the console", NULL, the_console },
    { "moving the TSC moves its deadline", NULL, moving_the_tsc_moves_its_deadline },
    { "the memory map", NULL, the_memory_map },
    { "the local APIC moves", NULL, the_local_apic_moves },
    { "a reset silences all", NULL, a_reset_silences_all },
    { "two machines", NULL, two_machines },
    { "user devices", NULL, user_devices },
    { "a board that cannot be", NULL, a_board_that_cannot_be },
    { "ACPI tables add up", NULL, acpi_tables_add_up },
    { "MP tables add up", NULL, mp_tables_add_up },
    { "many processors", NULL, many_processors },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "pc", cases); }
