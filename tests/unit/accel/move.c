/* SPDX-License-Identifier: GPL-2.0-or-later
 * A guest that moves between accelerators while it runs: some of it under tcg, stopped, its saved state loaded under kvm,
 * some of it there, and back.  It ends with the registers and the memory of one that stayed.  And kvm's log of written
 * pages, with bitmaps and with rings; doorbells and writes that are gathered. */
#include "accel/debug.h"
#include "memory/dirty.h"
#include "target/x86/cpu.h"
#include "util/qsr.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { RAM = 4 << 20, CODE = 0x10000, DATA = 0x100000, DATA_LEN = 0x8000, STACK = 0x9000, WATCHED = STACK - 72, ROUNDS = 1500, TICK = 0x10, DONE = 0x11 };

extern const uint8_t guest_code[], guest_pushed[], guest_loaded[], guest_popped[], guest_code_end[];
__asm__(".pushsection .rodata\n"
        "guest_code:\n"
        "mov $1500, %ecx\n"                     /* ROUNDS */
        "mov $0x100000, %rdi\n"                 /* DATA */
        "mov $12345, %ebx\n"
        "xor %edx, %edx\n"
        "xor %r9d, %r9d\n"
        "fninit\n"
        "fldz\n"
        "pxor %xmm1, %xmm1\n"
        "1: imul $0x5851f42d, %rbx, %rbx\n"
        "add %rcx, %rbx\n"
        "adc %rbx, %rdx\n"
        "pushfq\n"
        "pop %r8\n"
        "and $0x8d5, %r8d\n"                   /* the arithmetic ones: a KVM in software may show others wrong to users */
        "xor %r8, %r9\n"
        "rol $7, %rdx\n"
        "mov %ebx, %eax\n"
        "and $0xfff, %eax\n"
        "mov %rdx, (%rdi,%rax,8)\n"
        "cvtsi2sd %rcx, %xmm0\n"
        "mulsd %xmm0, %xmm0\n"
        "addsd %xmm0, %xmm1\n"
        "movq %rbx, %xmm2\n"
        "punpcklqdq %xmm2, %xmm3\n"
        "pxor %xmm3, %xmm4\n"
        "lea -64(%rsp), %rsp\n"
        "push %rcx\n"                          /* the only use of this place, WATCHED */
        "guest_pushed: fildq (%rsp)\n"
        "guest_loaded: fld1\n"
        "faddp\n"
        "fsqrt\n"
        "faddp\n"
        "pop %rcx\n"
        "guest_popped: lea 64(%rsp), %rsp\n"
        "out %al, $0x10\n"                      /* TICK */
        "dec %rcx\n"
        "jnz 1b\n"
        "out %al, $0x11\n"                      /* DONE */
        "2: pause\n"
        "jmp 2b\n"
        "guest_code_end:\n"
        ".popsection\n");

typedef struct Side {
    AccelMachine m;
    Accel  *a;
    X86Cpu *cpu;
    Region  ram, port;
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    unsigned ticks, wanted;
    bool    done, stopped;
} Side;

static void port_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Side *s = self;
    pthread_mutex_lock(&s->lock);
    s->ticks += off == 0;
    s->done |= off != 0;
    bool stop = s->done || s->ticks == s->wanted;
    pthread_mutex_unlock(&s->lock);
    if (stop)
        vcpu_debug_stop(accel_vcpu(s->a, 0), DEBUG_STEPPED, NULL, 0);       /* else it would be done before it is paused */
}

static const RegionOps port_ops = { .write = port_write, .min = 1, .max = 1 };

static void stopped(void *self, unsigned cpu_index)
{
    Side *s = self;
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static Side *side_new(const char *spec, const X86Model *model)
{
    Side *s = g_new0(Side, 1);
    GError *err = NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->m = (AccelMachine){ .target = &x86_target, .clock = clock_new_host(), .ram = ram_map_new(),
                          .chips = strstr(spec, "irqchip") != NULL, .self = s, .cpu_stopped = stopped };
    s->m.mem = space_new("mem", 64, s->m.ram);
    s->m.io = space_new("io", 16, s->m.ram);
    g_assert_true(region_init_ram(&s->ram, "ram", s->m.ram, RAM, &err));
    region_map(space_root(s->m.mem), 0, &s->ram, 0);
    region_init_io(&s->port, "port", 2, &port_ops, s, NULL);
    region_map(space_root(s->m.io), TICK, &s->port, 0);
    s->a = accel_open(&spec, 1, &s->m, &err);
    g_assert_no_error(err);
    s->cpu = x86_cpu_new(model, accel_hooks(s->a));
    g_assert_nonnull(accel_add_vcpu(s->a, &x86_target, &s->cpu->s, &s->cpu->port, &err));
    x86_reset(s->cpu);
    accel_reset(s->a);
    return s;
}

static void side_free(Side *s)
{
    accel_close(s->a);
    x86_cpu_free(s->cpu);
    region_destroy(&s->port);
    region_destroy(&s->ram);
    space_free(s->m.mem);
    space_free(s->m.io);
    ram_map_free(s->m.ram);
    clock_free(s->m.clock);
    g_free(s);
}

/* The program in memory, pages mapped one to one, 64-bit mode; in user mode, where a kernel that emulates KVM runs all
 * there is and not what its instruction emulator knows. */
static void begin(Side *s)
{
    uint8_t *ram = region_host(&s->ram);
    memset(ram, 0, RAM);
    ((uint64_t *)(ram + 0x1000))[0] = 0x2007;
    ((uint64_t *)(ram + 0x2000))[0] = 0x3007;
    for (unsigned i = 0; i < 2; i++)
        ((uint64_t *)(ram + 0x3000))[i] = (uint64_t)i << 21 | 0x87;
    memcpy(ram + CODE, guest_code, guest_code_end - guest_code);
    x86_reset(s->cpu);
    memset(s->cpu->ymm, 0, sizeof s->cpu->ymm);
    x86_enter_long(s->cpu, CODE, 0, STACK, 0x1000, 0, 0);
    s->cpu->cr4 |= 0x600;               /* OSFXSR, OSXMMEXCPT */
    for (unsigned i = 0; i < N_SEGS; i++) {
        s->cpu->seg[i].attr |= 3 << SEG_DPL_SHIFT;
        s->cpu->seg[i].sel |= 3;
    }
    s->cpu->cpl = 3;
    x86_set_eflags(s->cpu, FL_IOPL, FL_IOPL);
    x86_mode_changed(s->cpu);
    accel_reset(s->a);
    s->done = false;
    s->ticks = 0;
}

/* So many rounds more, or to the end, or to what a debugger set. */
static void run(Side *s, unsigned rounds)
{
    pthread_mutex_lock(&s->lock);
    s->wanted = s->ticks + rounds;
    s->stopped = false;
    pthread_mutex_unlock(&s->lock);
    accel_resume(s->a);
    pthread_mutex_lock(&s->lock);
    while (!s->stopped)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    accel_pause(s->a);
}

static void move(Side *from, Side *to)
{
    GError *err = NULL;
    GByteArray *state = describe_save(x86_state, from->cpu);
    describe_load(x86_state, to->cpu, describe_version(x86_state), state->data, state->len, &err);
    g_assert_no_error(err);
    x86_restored(to->cpu);
    accel_reset(to->a);
    for (uint64_t pa = 0; pa < RAM; pa += 0x1000)
        if (memcmp(region_host(&to->ram) + pa, region_host(&from->ram) + pa, 0x1000))
            space_write(to->m.mem, pa, region_host(&from->ram) + pa, 0x1000);
    to->done = from->done;
    g_byte_array_free(state, TRUE);
}

/* What the guest has worked out. */
static char *result(Side *s)
{
    X86Cpu *c = s->cpu;
    GString *t = g_string_new(NULL);
    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(t, "%" G_GINT64_MODIFIER "x ", (guint64)c->s.hot[i]);
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(t, "%" G_GINT64_MODIFIER "x:%" G_GINT64_MODIFIER "x ", (guint64)c->ymm[i].lo.u64[1],
                               (guint64)c->ymm[i].lo.u64[0]);
    const X86Fpr *st = &c->fpr[c->fpu_top & 7];
    g_string_append_printf(t, "st %x %" G_GINT64_MODIFIER "x empty %x mxcsr %x ", st->exp, (guint64)st->mant, c->fpu_empty,
                           x86_mxcsr(c));
    g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, region_host(&s->ram) + DATA, DATA_LEN);
    g_string_append_printf(t, "flags %x data %s", (unsigned)x86_eflags(c) & FL_ARITH, sum);
    return g_string_free(t, FALSE);
}

static bool no_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    else
        g_test_skip("no /dev/kvm that can be opened");
    return fd < 0;
}

/* A model that both can have. */
static const X86Model *common_model(void)
{
    AccelMachine m = { .target = &x86_target };
    const char *spec = "kvm";
    GError *err = NULL;
    Accel *a = accel_open(&spec, 1, &m, &err);
    g_assert_no_error(err);
    const X86Model *model = x86_model_parse_for("qemu64", accel_host_cpu(a), &err);
    g_assert_no_error(err);
    accel_close(a);
    return model;
}

static void there_and_back(void)
{
    if (no_kvm())
        return;
    const X86Model *model = common_model();
    Side *side[2] = { side_new("tcg", model), side_new("kvm", model) };
    begin(side[0]);
    run(side[0], UINT16_MAX);
    g_autofree char *want = result(side[0]);
    g_test_message("%s", want);
    begin(side[1]);
    run(side[1], UINT16_MAX);
    g_autofree char *stayed = result(side[1]);
    g_assert_cmpstr(stayed, ==, want);
    begin(side[0]);
    unsigned at = 0, moves = 0;
    for (;;) {
        run(side[at], g_test_rand_int_range(1, 100));
        if (side[at]->done)
            break;
        move(side[at], side[!at]);
        at = !at;
        moves++;
    }
    g_autofree char *moved = result(side[at]);
    g_assert_cmpstr(moved, ==, want);
    g_test_message("%u moves", moves);
    g_assert_cmpuint(moves, >, 2);
    side_free(side[0]);
    side_free(side[1]);
    x86_model_free(model);
}

/* It has been stopped by a watchpoint on writes; then those on any access. */
static void watch(Side *s, Vcpu *v)
{
    static const struct { DebugKind kind; const uint8_t *behind; } stops[] = {
        { DEBUG_WATCH_WRITE, guest_pushed }, { DEBUG_WATCH_ACCESS, guest_loaded }, { DEBUG_WATCH_ACCESS, guest_popped },
        { DEBUG_WATCH_ACCESS, guest_pushed } };
    for (unsigned i = 0; i < G_N_ELEMENTS(stops); i++) {
        GError *err = NULL;
        DebugStop stop = vcpu_debug_stopped(v);
        g_assert_cmpint(stop.why, ==, DEBUG_POINT);
        g_assert_cmpint(stop.point.kind, ==, stops[i].kind);
        g_assert_cmphex(stop.va, ==, WATCHED);
        g_assert_cmphex(s->cpu->s.hot[16], ==, CODE + (stops[i].behind - guest_code));
        vcpu_debug_tell(v);
        if (i == 0) {
            accel_debug_clear(s->a);
            g_assert_true(accel_debug_insert(s->a, DEBUG_WATCH_ACCESS, WATCHED, 8, &err));
        }
        if (i + 1 < G_N_ELEMENTS(stops))
            run(s, UINT16_MAX);
    }
}

/* A watchpoint stops behind what it watches for and says what it was; the guest goes on from there to the same end. */
static void watchpoints(gconstpointer spec)
{
    if (!strcmp(spec, "kvm") && no_kvm())
        return;
    GError *err = NULL;
    const X86Model *model = !strcmp(spec, "kvm") ? common_model() : x86_model_parse("qemu64", &err);
    Side *s = side_new(spec, model);
    begin(s);
    run(s, UINT16_MAX);
    g_autofree char *want = result(s);
    begin(s);
    g_assert_true(accel_debug_insert(s->a, DEBUG_WATCH_WRITE, WATCHED, 8, &err));
    run(s, UINT16_MAX);
    if (s->done) {
        g_test_skip("the debug registers of this KVM do not watch data");
    } else {
        watch(s, accel_vcpu(s->a, 0));
        accel_debug_clear(s->a);
        run(s, UINT16_MAX);
        g_assert_true(s->done);
        g_autofree char *got = result(s);
        g_assert_cmpstr(got, ==, want);
    }
    side_free(s);
    x86_model_free(model);
}

/* Pages of DATA that the guest writes are found, each harvest, and others are not. */
static void written_pages(gconstpointer spec)
{
    if (no_kvm())
        return;
    const X86Model *model = common_model();
    Side *s = side_new(spec, model);
    enum { PAGES = RAM >> 12 };
    uint8_t bits[PAGES / 8];
    begin(s);
    dirty_start(s->m.ram, DIRTY_MIGRATION);
    g_assert_cmpuint(dirty_harvest(s->m.ram, DIRTY_MIGRATION, 0, PAGES, bits), ==, PAGES);
    g_assert_cmpuint(dirty_harvest(s->m.ram, DIRTY_MIGRATION, 0, PAGES, bits), ==, 0);
    for (unsigned i = 0; i < 3; i++) {
        run(s, 300);
        uint64_t n = dirty_harvest(s->m.ram, DIRTY_MIGRATION, 0, PAGES, bits);
        g_assert_cmpuint(n, >=, 9);                     /* DATA and the stack */
        g_assert_cmpuint(n, <=, 14);
        for (unsigned p = 0; p < DATA_LEN >> 12; p++)
            g_assert_true(bits[(DATA >> 12) / 8 + p / 8] >> p % 8 & 1);
        g_assert_false(bits[0x180 / 8] & 1);
        g_assert_cmpuint(dirty_harvest(s->m.ram, DIRTY_MIGRATION, 0, PAGES, bits), ==, 0);
    }
    dirty_stop(s->m.ram, DIRTY_MIGRATION);
    run(s, UINT16_MAX);
    side_free(s);
    x86_model_free(model);
}

/* Ticks as doorbells: an eventfd counts them and the port's function sees none. */
static void doorbell(gconstpointer spec)
{
    if (no_kvm())
        return;
    const X86Model *model = common_model();
    Side *s = side_new(spec, model);
    Doorbell d = { .at = 0, .size = 1, .any = true, .fd = eventfd(0, EFD_NONBLOCK) };
    eventfd_t n = 0;
    region_add_doorbell(&s->port, &d);
    begin(s);
    run(s, UINT16_MAX);
    g_assert_true(s->done);
    g_assert_cmpuint(s->ticks, ==, 0);
    g_assert_cmpint(eventfd_read(d.fd, &n), ==, 0);
    g_assert_cmpuint(n, ==, ROUNDS);
    region_remove_doorbell(&s->port, &d);
    begin(s);
    run(s, UINT16_MAX);
    g_assert_cmpuint(s->ticks, ==, ROUNDS);
    g_assert_cmpint(eventfd_read(d.fd, &n), ==, -1);
    close(d.fd);
    side_free(s);
    x86_model_free(model);
}

/* A message raised by a descriptor is in the local APIC's IRR when the device takes that back, whether it was raised while
 * the guest ran or stood; one that was removed is not. */
typedef struct FakeApic { Chip chip; LapicRegs regs; } FakeApic;

static void apic_lend(void *self, ChipRegs *to)
{
    FakeApic *f = self;
    to->lapic = f->regs;
    f->chip.lent = true;
}

static void apic_take(void *self, const ChipRegs *from)
{
    FakeApic *f = self;
    f->regs = from->lapic;
    f->chip.lent = false;
}

static bool asks(const FakeApic *f, unsigned vector) { return f->regs.reg[0x20 + vector / 32] >> vector % 32 & 1; }

static void message(void)
{
    static const ChipOps ops = { apic_lend, apic_take };
    if (no_kvm())
        return;
    const X86Model *model = common_model();
    Side *s = side_new("kvm,kernel-irqchip=split", model);
    FakeApic f = { .chip = { .kind = CHIP_LAPIC, .ops = &ops, .self = &f },
                   .regs = { .base = 0xfee00900, .reg = { [0xe] = 0xffffffff, [0xf] = 0x1ff } } };
    for (unsigned i = 0x32; i < 0x38; i++)
        f.regs.reg[i] = 1 << 16;                        /* the local vectors, masked */
    accel_add_chip(s->a, &f.chip);
    const MsiHost *host = accel_msi_host(s->a);
    g_assert_nonnull(host);
    int fd[3];
    for (unsigned i = 0; i < 3; i++)
        fd[i] = eventfd(0, EFD_NONBLOCK);
    begin(s);
    int id = host->add(s->a, fd[0], 0xfee00000, 0x40);
    g_assert_cmpint(id, >=, 0);
    g_assert_cmpint(host->add(s->a, fd[1], 0xfee00000, 0x51), >=, 0);
    int gone = host->add(s->a, fd[2], 0xfee00000, 0x62);
    host->change(s->a, id, 0xfee00000, 0x43);
    eventfd_write(fd[1], 1);
    x86_set_eflags(s->cpu, 0, FL_IF);
    run(s, 10);
    g_assert_true(asks(&f, 0x51));
    g_assert_false(asks(&f, 0x43));
    accel_resume(s->a);
    eventfd_write(fd[0], 1);
    host->remove(s->a, gone);
    eventfd_write(fd[2], 1);
    accel_pause(s->a);
    g_assert_true(asks(&f, 0x51));
    g_assert_true(asks(&f, 0x43));
    g_assert_false(asks(&f, 0x62));
    side_free(s);
    for (unsigned i = 0; i < 3; i++)
        close(fd[i]);
    x86_model_free(model);
}

/* Ticks gathered by the kernel: all have come when the write that is not gathered does. */
static void coalesced(void)
{
    if (no_kvm())
        return;
    const X86Model *model = common_model();
    Side *s = side_new("kvm", model);
    Region ticks;
    region_init_io(&ticks, "ticks", 1, &port_ops, s, NULL);
    region_map(space_root(s->m.io), TICK, &ticks, 1);
    region_set_coalesced(&ticks, true);
    begin(s);
    run(s, UINT16_MAX);
    g_assert_cmpuint(s->ticks, ==, ROUNDS);
    GString *stats = g_string_new(NULL);
    accel_stats(s->a, stats);
    g_test_message("%s", stats->str);
    guint64 exits = 0;
    const char *port = strstr(stats->str, " exits: port");
    if (port) {
        while (port > stats->str && g_ascii_isdigit(port[-1]))
            port--;
        exits = g_ascii_strtoull(port, NULL, 10);
    }
    g_assert_cmpuint(exits, <, ROUNDS / 2);
    g_string_free(stats, TRUE);
    region_destroy(&ticks);
    side_free(s);
    x86_model_free(model);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qsr_register();
    g_test_add_func("/move/there-and-back", there_and_back);
    g_test_add_data_func("/move/watchpoints/tcg", "tcg", watchpoints);
    g_test_add_data_func("/move/watchpoints/kvm", "kvm", watchpoints);
    g_test_add_data_func("/move/written-pages/bitmap", "kvm", written_pages);
    g_test_add_data_func("/move/written-pages/ring", "kvm,dirty-ring-size=1024", written_pages);
    g_test_add_data_func("/move/doorbell/tcg", "tcg", doorbell);
    g_test_add_data_func("/move/doorbell/kvm", "kvm", doorbell);
    g_test_add_func("/move/coalesced", coalesced);
    g_test_add_func("/move/message", message);
    int status = g_test_run();
    qsr_unregister();
    return status;
}
