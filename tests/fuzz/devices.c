/* SPDX-License-Identifier: GPL-2.0-or-later
 * Every device of the PC under random accesses: ports and MMIO of all sizes, MSRs, interrupts taken, pins, serial input,
 * steps and jumps of time, resets, save and restore, and restoring states that somebody has tampered with.  Nothing is
 * expected but that the emulator goes on, and that saving what was restored gives the same bytes.
 *
 *   tests/fuzz/devices [--minutes=N] [--first=CASE] [--cases=N]
 *
 * A case is told by its number alone, which is printed before it runs. */
#include <stdlib.h>
#include <string.h>

#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "hw/x86/pc.h"
#include "tests/fake_port.h"

enum { STEPS = 1500, CPUS = 2 };

typedef struct Fuzz {
    GRand   *rand;
    Bench   *b;
    Pc      *pc;
    FakeCpu  cpu[CPUS];
    bool     tampered;                          /* lines and the inputs that they drive may disagree */
    uint64_t fired;                             /* timers run in this case */
} Fuzz;

static uint32_t below(Fuzz *f, uint32_t n) { return g_rand_int(f->rand) % n; }
static bool one_in(Fuzz *f, uint32_t n) { return below(f, n) == 0; }

/* Numbers at which things break: few bits, all bits, neighbours of powers of two, anything. */
static uint64_t value(Fuzz *f)
{
    uint64_t bit = UINT64_C(1) << below(f, 64), any = (uint64_t)g_rand_int(f->rand) << 32 | g_rand_int(f->rand);
    switch (below(f, 8)) {
    case 0:
        return below(f, 4);
    case 1:
        return bit;
    case 2:
        return bit - 1;
    case 3:
        return ~bit;
    case 4:
        return any;
    default:
        return any & 0xff;
    }
}

static const struct { uint16_t at, n; } ports[] = {
    { 0x20, 2 }, { 0xa0, 2 }, { 0x4d0, 2 }, { 0x40, 4 }, { 0x43, 1 }, { 0x61, 1 }, { 0x70, 2 }, { 0x3f8, 8 }, { 0x2f8, 8 },
    { 0x600, 16 }, { 0xcf9, 1 }, { 0x92, 1 }, { 0xf4, 4 }, { 0xe9, 1 }, { 0x0, 0xffff },
};

static uint64_t a_port(Fuzz *f)
{
    unsigned i = below(f, G_N_ELEMENTS(ports));
    return ports[i].at + below(f, ports[i].n);
}

static uint64_t an_address(Fuzz *f)
{
    static const uint64_t bases[] = { 0, 0x9f000, 0xa0000, 0xe0000, 0x3fff000, 0xfff00000, LAPIC_BASE, IOAPIC_BASE };
    static const uint16_t lapic[] = { 0x20, 0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x300, 0x310, 0x320, 0x350, 0x360, 0x370,
                                      0x380, 0x390, 0x3e0 };
    switch (below(f, 4)) {
    case 0:
        return LAPIC_BASE + lapic[below(f, G_N_ELEMENTS(lapic))];
    case 1:
        return IOAPIC_BASE + (one_in(f, 2) ? 0 : 0x10);
    case 2:
        return bases[below(f, G_N_ELEMENTS(bases))] + below(f, 4096);
    default:
        return value(f);
    }
}

static void access_space(Fuzz *f, Space *s, uint64_t at)
{
    unsigned size = 1u << below(f, 4);
    if (one_in(f, 3))
        (void)space_load(s, at, size, NULL);
    else
        space_store(s, at, size, value(f));
}

static void access_msr(Fuzz *f)
{
    static const uint32_t msrs[] = { 0x1b, 0x6e0, 0x802, 0x808, 0x80b, 0x80f, 0x828, 0x830, 0x832, 0x838, 0x83e, 0x83f };
    FakeCpu *c = &f->cpu[below(f, CPUS)];
    uint32_t msr = one_in(f, 4) ? 0x800 + below(f, 0x100) : msrs[below(f, G_N_ELEMENTS(msrs))];
    uint64_t v = value(f);
    if (msr == 0x1b && !one_in(f, 4))
        v = LAPIC_BASE | below(f, 16) << 8;
    if (msr == 0x6e0 && one_in(f, 2))
        v = (uint64_t)clock_now_ns(f->b->m->clock) + FAKE_TSC_OFFSET + below(f, 1 << 20);
    if (one_in(f, 3))
        fake_rdmsr(c, f->b, msr, &v);
    else
        fake_wrmsr(c, f->b, msr, v);
}

/* Lowers the requests again as a processor would, more often than not. */
static void take_interrupt(Fuzz *f)
{
    FakeCpu *c = &f->cpu[below(f, CPUS)];
    fake_edge(c, PORT_NMI | PORT_SMI | PORT_INIT | PORT_SIPI);
    int v = fake_take(c, f->b);
    g_assert_cmpint(v, <, 256);
    if (v >= 0 && !one_in(f, 8))
        space_store(f->b->m->mem, LAPIC_BASE + 0xb0, 4, 0);
    if (one_in(f, 2))
        space_store(f->b->m->io, one_in(f, 2) ? 0x20 : 0xa0, 1, 0x20);
    c->port.intc->set_cr8(c->port.intc_self, one_in(f, 8) ? below(f, 16) : 0);
}

/* Timers that the guest has asked for may not fire without bound: at most every 20 us each, six of them here, and one
 * late one each. */
static void pass_time(Fuzz *f)
{
    Clock *c = f->b->m->clock;
    int64_t now = clock_now_ns(c);
    if (one_in(f, 16) && now < INT64_C(1) << 59)
        clock_set_ns(c, now + (INT64_C(1) << below(f, 58)));
    int64_t ns = (int64_t)below(f, one_in(f, 16) ? 50000000 : 200000), end = clock_now_ns(c) + ns;
    uint64_t fired = 0;
    for (; clock_next_ns(c) <= end; fired++)
        clock_step_ns(c, MAX(clock_next_ns(c) - clock_now_ns(c), 0));
    bench_step_ns(f->b, end - clock_now_ns(c));
    g_assert_cmpuint(fired, <=, 64 + 6 * (uint64_t)ns / DEVICE_PERIOD_MIN_NS);
    f->fired += fired;
}

/* Pins that no line drives: what is restored follows from the lines elsewhere. */
static void move_pin(Fuzz *f)
{
    static const struct { const char *pin; unsigned at, n; } pins[] = {
        { "pic0.ir", 5, 3 }, { "pic1.ir", 2, 6 }, { "ioapic.in", 10, 14 }, { "lapic0.lint", 1, 1 },
        { "lapic1.lint", 0, 2 }, { "pm.power-button", 0, 1 },
    };
    unsigned i = below(f, G_N_ELEMENTS(pins));
    bench_drive(f->b, pins[i].pin, pins[i].at + below(f, pins[i].n), one_in(f, 2));
}

static void reset(Fuzz *f)
{
    machine_reset_devices(f->b->m);
    f->tampered = false;
}

/* Restores something that is almost what was saved; returns whether it was taken. */
static bool restore_tampered(Fuzz *f, const GByteArray *good)
{
    g_autoptr(GByteArray) bad = g_byte_array_new();
    GError *err = NULL;
    g_byte_array_append(bad, good->data, good->len);
    for (unsigned n = 1 + below(f, 4); n; n--)
        bad->data[below(f, bad->len)] = value(f);
    bool ok = machine_restore(f->b->m, bad->data, one_in(f, 16) ? below(f, bad->len) : bad->len, &err);
    g_assert_true(ok == !err);
    g_clear_error(&err);
    return ok;
}

static void save_and_restore(Fuzz *f)
{
    GError *err = NULL;
    bool tampered = f->tampered;
    g_autoptr(GByteArray) good = bench_save(f->b);
    reset(f);
    if (one_in(f, 2)) {
        f->tampered = restore_tampered(f, good);
        if (f->tampered && one_in(f, 2))
            return;                             /* lives on with it until the next reset */
        reset(f);
    }
    f->tampered = tampered;
    if (!tampered)
        bench_restore(f->b, good);
    else if (!machine_restore(f->b->m, good->data, good->len, &err))     /* no longer the same, but good */
        g_error("%s", err->message);
}

static void show_registers(Fuzz *f)
{
    g_autoptr(GString) text = g_string_new(NULL);
    GPtrArray *devices = f->b->m->devices;
    device_regs_show(g_ptr_array_index(devices, below(f, devices->len)), text);
}

static void serial_input(Fuzz *f)
{
    char text[40] = { 0 };
    memset(text, 'x', below(f, sizeof text));
    bench_send(f->b, "serial0", text);
    g_free(stream_take(machine_stream(f->b->m, "serial0"), NULL));
}

static void step(Fuzz *f)
{
    Machine *m = f->b->m;
    unsigned what = below(f, 1000);
    if (what < 450)
        access_space(f, m->io, a_port(f));
    else if (what < 650)
        access_space(f, m->mem, an_address(f));
    else if (what < 750)
        access_msr(f);
    else if (what < 850)
        take_interrupt(f);
    else if (what < 930)
        pass_time(f);
    else if (what < 960)
        move_pin(f);
    else if (what < 980)
        serial_input(f);
    else if (what < 990)
        save_and_restore(f);
    else if (what < 995)
        show_registers(f);
    else
        reset(f);
    m->requests = 0;                            /* power-off and reset are the guest's right */
}

static void build(Fuzz *f)
{
    GError *err = NULL;
    f->b = bench_new(NULL);
    Machine *m = f->b->m;
    machine_add_stream(m, stream_new_memory(m->loop, "serial0"));
    machine_add_stream(m, stream_new_memory(m->loop, "serial1"));
    machine_add_stream(m, stream_new_memory(m->loop, "debug"));
    PcConfig config = { .ram = 64 << 20, .n_cpus = 1, .serial = { "serial0", "serial1" },
                        .rtc_base = "2026-01-31T23:59:00" };
    f->pc = pc_new(m, &config, &err);
    g_assert_no_error(err);
    g_assert_true(pc_add_device(f->pc, "isa-debug-exit,iobase=0xf4", &err));
    g_assert_true(pc_add_device(f->pc, "isa-debugcon,chardev=debug", &err));
    bench_add(f->b, "lapic,id=lapic1,id-number=1");
    fake_cpu(&f->cpu[0], f->b, "lapic0");
    fake_cpu(&f->cpu[1], f->b, "lapic1");
    machine_reset_devices(m);
    lapic_virtual_wire(machine_find(m, "lapic0"));
}

static void run_case(uint32_t number)
{
    Fuzz f = { .rand = g_rand_new_with_seed(number) };
    g_test_message("case %u", number);
    build(&f);
    for (unsigned i = 0; i < STEPS; i++)
        step(&f);
    pc_free(f.pc);
    bench_free(f.b);
    g_rand_free(f.rand);
}

typedef struct Budget { uint32_t first, cases; double minutes; } Budget;

static void random_accesses(gconstpointer data)
{
    const Budget *b = data;
    GTimer *t = g_timer_new();
    uint32_t n = 0;
    for (; b->minutes ? g_timer_elapsed(t, NULL) < 60 * b->minutes : n < b->cases; n++)
        run_case(b->first + n);
    g_test_message("%u cases of %u steps in %.1f s", n, STEPS, g_timer_elapsed(t, NULL));
    g_timer_destroy(t);
}

int main(int argc, char **argv)
{
    Budget b = { 1, 400, 0 };
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "--minutes="))
            b.minutes = atof(argv[i] + 10);
        else if (g_str_has_prefix(argv[i], "--first="))
            b.first = strtoul(argv[i] + 8, NULL, 0);
        else if (g_str_has_prefix(argv[i], "--cases="))
            b.cases = strtoul(argv[i] + 8, NULL, 0);
        else
            argv[kept++] = argv[i];
    }
    g_test_init(&kept, &argv, NULL);
    g_test_add_data_func("/fuzz/devices", &b, random_accesses);
    return g_test_run();
}
