/* SPDX-License-Identifier: GPL-2.0-or-later
 * A hostile guest: random and half-sensible code, kernel and user, in every mode, on whole little machines.  Each case
 * runs on one machine with the IR interpreter and on others with compiled code (plain; tiny code cache and random
 * registers).  No case may crash, hang or leave its machine, and registers, memory, device accesses and exceptions
 * must agree.
 *
 *     guest_bytes --minutes 10 --seed 7        --case N: only that one;  --trace: names each case before it runs
 *
 * A case is bounded in guest instructions by the countdown that all blocks share, and in exceptions by a count of
 * visits to Target.service, which is wrapped here.  Vectors, time and random numbers are counters. */
#include <capstone/capstone.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "accel/tcg/tcg_int.h"
#include "config.h"
#include "target/x86/sys.h"
#include "tests/fuzz/guest_bytes.h"
#include "util/disas.h"
#include "util/qsr.h"

enum { CC_D_HOT = 28 };         /* where X_CC_D is, see cpu.h */
enum { HANG_SECONDS = 30 };     /* of processor time; ten times that by the clock */

static const char *const kind_name[N_KINDS] = { "64-bit", "compatibility 32", "compatibility 16", "protected 32",
                                                "protected 16", "real", "virtual-8086" };

/* --- a machine */

typedef struct Rig {
    const char *spec;
    Accel      *accel;
    Vcpu       *vcpu;
    X86Cpu     *c;
    Target      target;
    CpuHooks    hooks;
    RamMap     *ram_map;
    Space      *mem, *io;
    Region      ram, rom, dev, alias, ports;
    LockDomain  domain;
    Clock      *clock;
    uint8_t    *bytes;
    /* of the case under way */
    uint64_t    now, entropy, io_hash, io_count, start, limit;
    unsigned    events, visits, wakes;
    bool        quiet, dead;
} Rig;

/* Device accesses: their order, places and values are part of what must agree. */
static void io_note(Rig *g, uint64_t what, uint64_t v)
{
    g->io_hash = (g->io_hash ^ what ^ v << 1) * 0x9e3779b97f4a7c15 + 1;
    g->io_count++;
}
static uint64_t dev_read(void *self, uint64_t off, unsigned size)
{
    Rig *g = self;
    io_note(g, off | size << 24, 0);
    if (off % 64 == 7 && !g->quiet)
        port_set(&g->c->port, PORT_INTR);
    return g->io_hash;
}
static void dev_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Rig *g = self;
    io_note(g, off | size << 24 | 1 << 28, v);
    if (off % 64 == 8 && !g->quiet)
        port_set(&g->c->port, off & 64 ? PORT_NMI : PORT_INTR);
    if (off % 1024 == 9 && !g->quiet)
        port_set(&g->c->port, PORT_INIT);
    if (off % 128 == 10 && !g->quiet)
        port_set(&g->c->port, PORT_SMI);
}
static const RegionOps dev_ops = { .read = dev_read, .write = dev_write };

static int acknowledge(void *self)
{
    Rig *g = self;
    port_clear(&g->c->port, PORT_INTR);
    io_note(g, 1 << 29, 0);
    return g->io_hash >> 56;
}
static bool msr_read(void *self, uint32_t msr, uint64_t *v)
{
    Rig *g = self;
    io_note(g, msr, 0);
    *v = g->io_hash;
    return msr & 7;
}
static bool msr_write(void *self, uint32_t msr, uint64_t v)
{
    io_note(self, msr, v);
    return msr & 7;
}
static unsigned get_cr8(void *self) { return 3; }
static void set_cr8(void *self, unsigned v) { io_note(self, 8, v); }
static const CpuIntc intc = { acknowledge, msr_read, msr_write, get_cr8, set_cr8 };

static Rig *rig_of(CpuState *s) { return x86_cpu(s)->port.intc_self; }
static uint64_t hook_now(CpuState *s) { return rig_of(s)->now += 100; }
static uint64_t hook_random(CpuState *s) { return rig_of(s)->entropy += 0x9e3779b97f4a7c15; }
static void cpu_dead(void *self, unsigned index)
{
    Rig *g = self;
    g->dead = true;
    atomic_fetch_or(&g->vcpu->requests, VCPU_STOP);
}

/* Ends the case after so many instructions or exceptions.  The last instructions run one by one, so that the end does
 * not depend on where blocks begin. */
static bool service(CpuState *s)
{
    Rig *g = rig_of(s);
    TcgVcpu *v = s->vcpu;
    uint64_t done = s->insns - g->start;
    g->events += g->c->exc_pending;
    if (g->events < MAX_EVENTS && g->visits++ < MAX_VISITS && done < g->limit) {
        bool runs = x86_service(s);
        while (!runs && !g->dead && g->wakes) {         /* HLT: something happens */
            port_set(&g->c->port, --g->wakes & 1 ? PORT_NMI : PORT_INTR);
            runs = x86_service(s);
        }
        if (runs) {
            int32_t left = g->limit - done;
            if (left < MAX_BLOCK)
                v->after_one = true;
            else if (s->countdown > left)
                v->budget -= s->countdown - left, s->countdown = left;
            return true;
        }
    }
    atomic_fetch_or(&g->vcpu->requests, VCPU_STOP);
    return false;
}

static Rig *rig_new(const char *spec, const X86Model *model)
{
    Rig *g = g_new0(Rig, 1);
    GError *err = NULL;
    g->spec = spec;
    g->ram_map = ram_map_new();
    g->mem = space_new("memory", 40, g->ram_map);
    g->io = space_new("io", 16, g->ram_map);
    domain_init(&g->domain, "rig", RANK_DEVICE);
    bool ok = region_init_ram(&g->ram, "ram", g->ram_map, RAM_LEN, &err) &&
              region_init_rom(&g->rom, "rom", g->ram_map, PAGE_SIZE, &dev_ops, g, &g->domain, &err);
    region_init_io(&g->dev, "dev", PAGE_SIZE, &dev_ops, g, &g->domain);
    region_init_io(&g->ports, "ports", 0xf000, &dev_ops, g, &g->domain);
    region_init_alias(&g->alias, "alias", &g->ram, 0, RAM_LEN);
    region_map(space_root(g->mem), 0, &g->ram, 0);
    region_map(space_root(g->mem), ROM_AT, &g->rom, 0);
    region_map(space_root(g->mem), IO_AT, &g->dev, 0);
    region_map(space_root(g->mem), ALIAS_AT, &g->alias, 0);
    region_map(space_root(g->io), 0, &g->ports, 0);
    g->bytes = region_host(&g->ram);
    g->clock = clock_new_manual();
    AccelMachine m = { .clock = g->clock, .mem = g->mem, .io = g->io, .ram = g->ram_map, .self = g, .cpu_dead = cpu_dead };
    g->accel = ok ? accel_open(&spec, 1, &m, &err) : NULL;
    if (!g->accel) {
        fprintf(stderr, "guest_bytes: %s\n", err->message);
        exit(1);
    }
    g->hooks = *accel_hooks(g->accel);
    g->hooks.now_ns = hook_now;
    g->hooks.random64 = hook_random;
    g->target = x86_target;
    g->target.service = service;
    g->c = x86_cpu_new(model, &g->hooks);
    g->c->port.intc = &intc;
    g->c->port.intc_self = g;
    g->vcpu = accel_add_vcpu(g->accel, &g->target, &g->c->s, &g->c->port, &err);
    return g;
}

static void rig_free(Rig *g)
{
    accel_close(g->accel);
    x86_cpu_free(g->c);
    region_destroy(&g->alias);
    region_destroy(&g->ram);
    region_destroy(&g->rom);
    region_destroy(&g->dev);
    region_destroy(&g->ports);
    space_free(g->mem);
    space_free(g->io);
    ram_map_free(g->ram_map);
    domain_destroy(&g->domain);
    clock_free(g->clock);
    g_free(g);
}

typedef struct Fuzz {
    GuestRows rows;
    uint64_t *made, *ran;
    const X86Model *model;
    Rig      *rig[3];
    unsigned  n_rigs;
    uint64_t  case_no, agreed_insns, deaths;
} Fuzz;

/* --- running */

static X86Desc desc_of(const Case *c, uint16_t sel)
{
    X86Desc d;
    memcpy(&d, c->image + GDT + (sel & ~7), 8);
    return d;
}

static void set_segments(const Case *k, X86Cpu *c)
{
    if (k->kind == K_REAL) {
        static const uint32_t base[6] = { DATA, CODE, STACK, DATA, 0, 0 };
        for (unsigned i = 0; i < 6; i++)
            x86_set_seg_real(c, i, base[i] >> 4);
        return;
    }
    x86_set_seg(c, LDTR, S_LDT, desc_of(k, S_LDT));
    x86_set_seg(c, TR, S_TSS, desc_of(k, S_TSS));
    c->seg[TR].attr |= 0x200;           /* busy */
    if (k->kind == K_VM86) {
        for (unsigned i = 0; i < 6; i++)
            x86_set_seg_vm86(c, i, (i == CS ? CODE : i == SS ? STACK : DATA) >> 4);
        return;
    }
    bool user = k->cpl == 3;
    uint16_t cs = k->kind == K_LONG                             ? (user ? S_UCODE64 : S_CODE64)
                  : is16(k)                                     ? (user ? S_UCODE16 : S_CODE16)
                                                                : (user ? S_UCODE32 : S_CODE32);
    uint16_t ds = is16(k) ? (user ? S_UDATA16 : S_DATA16) : (user ? S_UDATA : S_DATA);
    x86_set_seg(c, CS, cs, desc_of(k, cs));
    for (unsigned i = 0; i < 6; i++)
        if (i != CS)
            x86_set_seg(c, i, ds, desc_of(k, ds));
    *x86_seg_base(c, FS) = is16(k) ? 0 : 0x40;
}

static void set_cpu(const Case *k, X86Cpu *c)
{
    x86_reset(c);
    c->cr0 = k->cr0;
    c->cr4 = k->cr4;
    c->cr3 = is_long(k) ? PML4 : k->pae ? PAE : PD32;
    c->efer = k->efer;
    memcpy(c->pdpte, k->image + PAE, sizeof c->pdpte);
    c->cpl = k->cpl;
    memcpy(c->s.hot, k->gpr, sizeof k->gpr);
    *x86_pc(c) = is16(k) ? k->code_off : CODE + k->code_off + (k->high ? UINT64_C(0xffffff8000000000) : 0);
    c->s.hot[X_EFLAGS - 1] = FL_1;
    x86_set_eflags(c, k->flags, ~UINT64_C(0));
    c->gdt = (X86Table){ GDT, GDT_LEN - 1 };
    c->idt = (X86Table){ k->kind == K_REAL ? IVT : IDT, k->kind == K_REAL ? 0x3ff : is_long(k) ? 0xfff : 0x7ff };
    set_segments(k, c);
    c->lstar = c->cstar = SYSCALL_AT;
    c->star = (uint64_t)S_CODE64 << 32 | (uint64_t)(S_CODE16 | 3) << 48 | SYSCALL_AT;
    c->sfmask = FL_IF | FL_TF;
    c->sysenter_cs = S_CODE64;
    c->sysenter_eip = SYSCALL_AT;
    c->sysenter_esp = STACK0;
    c->kernel_gs_base = DATA;
    c->xcr0 = 3;
    c->fcw = k->fcw;
    c->fpu_empty = 0xff;
    for (unsigned i = 0; i < 16; i++)
        memcpy(&c->ymm[i].lo, k->image + DATA + 0x400 + 16 * i, 16);
    x86_set_mxcsr(c, k->mxcsr);
    x86_tlb_forget(c);
    x86_mode_changed(c);
}

static void rig_run(Rig *g, const Case *k)
{
    accel_reset(g->accel);
    space_write(g->mem, 0, k->image, RAM_LEN);
    memcpy(region_host(&g->rom), k->image + DATA, PAGE_SIZE);
    port_clear(&g->c->port, ~0u);
    g->now = g->entropy = g->io_hash = g->io_count = 0;
    g->events = g->visits = 0;
    g->quiet = k->quiet;
    g->wakes = 3;
    g->dead = false;
    g->c->s.fp_host = 0x1f80;
    set_cpu(k, g->c);
    atomic_fetch_and(&g->vcpu->requests, ~(uint32_t)VCPU_STOP);
    g->c->s.insns = 0;
    g->start = 0;
    TcgVcpu *v = g->c->s.vcpu;
    g->c->s.countdown = v->budget = 0;
    g->limit = k->limit;
    tcg_vcpu_run(g->vcpu);
}

/* Two descriptions of one state become the same. */
static void normalize(X86Cpu *c)
{
    uint32_t flags = x86_eflags(c) & FL_ARITH;
    c->mxcsr = x86_mxcsr(c);
    c->s.hot[X_CC_A] = flags;
    c->s.hot[X_CC_B] = c->s.hot[X_CC_C] = c->s.hot[CC_D_HOT] = 0;
    *x86_cc_op(c) = CC_EFLAGS;
    *x86_cc_cf(c) = 0;
    if (!c->exc_pending) {              /* left over */
        c->exc_vector = c->exc_error = 0;
        c->exc_noncanonical = false;
    }
    if (!c->exc_pending || c->exc_vector != EXC_PF)
        c->exc_cr2 = 0;
}

static char *state_text(Rig *g)
{
    GString *s = g_string_new(NULL);
    describe_show(x86_state, g->c, s);
    g_string_append_printf(s, ", insns=%" PRIu64 ", events=%u, dead=%d, io=%" PRIu64 " hash=%" PRIx64 ", flags=%" PRIx64,
                           g->c->s.insns, g->events, g->dead, g->io_count, g->io_hash, x86_eflags(g->c));
    return g_string_free(s, FALSE);
}

static bool same(Rig *a, Rig *b)
{
    GByteArray *x = describe_save(x86_state, a->c), *y = describe_save(x86_state, b->c);
    bool ok = x->len == y->len && !memcmp(x->data, y->data, x->len) && !memcmp(a->bytes, b->bytes, RAM_LEN) &&
              a->c->s.insns == b->c->s.insns && a->io_hash == b->io_hash && a->dead == b->dead;
    g_byte_array_free(x, TRUE);
    g_byte_array_free(y, TRUE);
    return ok;
}

/* Where two texts "a=1, b=2" differ. */
static void show_difference(Rig *a, Rig *b)
{
    char *x = state_text(a), *y = state_text(b);
    char **xs = g_strsplit(x, ", ", 0), **ys = g_strsplit(y, ", ", 0);
    printf("  %s | %s:\n", a->spec, b->spec);
    for (unsigned i = 0; xs[i] && ys[i]; i++)
        if (strcmp(xs[i], ys[i]))
            printf("    %s | %s\n", xs[i], ys[i]);
    unsigned shown = 0;
    for (unsigned i = 0; i < RAM_LEN && shown < 8; i++)
        if (a->bytes[i] != b->bytes[i]) {
            printf("    [%05x] %02x | %02x\n", i, a->bytes[i], b->bytes[i]);
            shown++;
        }
    GString *dump = g_string_new(NULL);
    x86_dump(&a->c->s, dump);
    g_string_append(dump, "  and\n");
    x86_dump(&b->c->s, dump);
    printf("%s", dump->str);
    g_string_free(dump, TRUE);
    g_strfreev(xs);
    g_strfreev(ys);
    g_free(x);
    g_free(y);
}

/* Page tables run as code: walks set bits in them, and when a processor sees that of its own code is not defined. */
static bool runs_tables(const Rig *r) { return r->c->s.hot[X_PC] - PML4 < PAE + PAGE_SIZE - PML4; }

/* The first rig that disagrees with rig 0, or 0. */
static unsigned run_case(Fuzz *f, const Case *c)
{
    unsigned n_rigs = c->quiet ? f->n_rigs : MIN(f->n_rigs, 2);
    rig_run(f->rig[0], c);
    normalize(f->rig[0]->c);
    for (unsigned i = 1; i < n_rigs; i++) {
        rig_run(f->rig[i], c);
        normalize(f->rig[i]->c);
        if (!same(f->rig[0], f->rig[i]) && !runs_tables(f->rig[0]) && !runs_tables(f->rig[i]))
            return i;
    }
    return 0;
}

static void print_case(const Case *c, uint64_t number, uint64_t seed)
{
    printf("case %" PRIu64 " (--seed %" PRIu64 "): %s, CPL %u, cr0 %" PRIx64 " cr4 %" PRIx64 " efer %" PRIx64 " flags %" PRIx64
           " mxcsr %x limit %u\n", number, seed, kind_name[c->kind], c->cpl, c->cr0, c->cr4, c->efer, c->flags, c->mxcsr, c->limit);
    for (unsigned i = 0; i < 16; i++)
        printf("  r%-2u %016" PRIx64 "%s", i, c->gpr[i], i % 4 == 3 ? "\n" : "");
    int mode = c->kind == K_LONG ? CS_MODE_64 : is16(c) ? CS_MODE_16 : CS_MODE_32;
    GString *s = g_string_new(NULL);
    unsigned len = 0;
    for (unsigned i = 0; i < c->n; i++)
        len += c->chunk[i].len;
    disas(s, CS_ARCH_X86, mode, c->image + CODE + c->code_off, len + 3, CODE + c->code_off);
    printf("%s", s->str);
    g_string_free(s, TRUE);
}

static void minimize(Fuzz *f, Case *c)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < c->n && c->n > 1; i++) {
            Case *less = g_memdup2(c, sizeof *c);
            memmove(&less->chunk[i], &less->chunk[i + 1], (less->n - i - 1) * sizeof *less->chunk);
            less->n--;
            lay_out(less);
            if (run_case(f, less)) {
                memcpy(c, less, sizeof *c);
                again = true;
            }
            g_free(less);
        }
    }
}

/* --- what the rows saw: one of each by itself, CPL 0 and 3, with its registers in order */

static const uint64_t *running_case;

static void on_signal(int sig)
{
    char text[80];
    int n = snprintf(text, sizeof text, "guest_bytes: case %" PRIu64 " %s\n", *running_case, sig == SIGALRM || sig == SIGPROF ? "does not end" : "crashes");
    signal(SIGABRT, SIG_DFL);
    if (write(2, text, n) < 0)
        _exit(3);
    if (sig == SIGALRM || sig == SIGPROF)
        abort();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void set_alarms(unsigned seconds)
{
    struct itimerval t = { .it_value.tv_sec = seconds };
    setitimer(ITIMER_PROF, &t, NULL);
    alarm(10 * seconds);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

typedef struct Options {
    uint64_t cases, seed, only;
    double   minutes;
    bool     one, trace, tap, no_minimize;
    unsigned limit;
} Options;

static void fuzz_init(Fuzz *f)
{
    static const char *const specs[] = {
        "tcg,backend=interp",
#if HOST_X86_64
        "tcg,tb-size=16,stats=on", "tcg,tb-size=1,stress=regalloc,stats=on",        /* stats: exact counts */
#endif
    };
    qsr_register();
    f->model = x86_model_parse("max", NULL);
    for (f->n_rigs = 0; f->n_rigs < G_N_ELEMENTS(specs); f->n_rigs++)
        f->rig[f->n_rigs] = rig_new(specs[f->n_rigs], f->model);
    f->rows.dec = x86_decs(&f->rows.n_dec);
    f->rows.sys = g_new0(unsigned, f->rows.n_dec);
    f->made = g_new0(uint64_t, f->rows.n_dec);
    f->ran = g_new0(uint64_t, f->rows.n_dec);
    for (unsigned i = 0; i < f->rows.n_dec; i++)
        for (const X86Row *row = x86_rows_sys; row->opcode; row++)
            if (row == f->rows.dec[i].row)
                f->rows.sys[f->rows.n_sys++] = i;
}

/* Each row once by itself, at privilege 0 of 64-bit and 32-bit code: counts those that get past decoding. */
static unsigned cover_rows(Fuzz *f, uint64_t seed)
{
    Case *c = g_new(Case, 1);
    unsigned ran = 0;
    for (unsigned i = 0; i < f->rows.n_dec; i++) {
        bool ok = false;
        for (unsigned try = 0; try < 40 && !ok; try++) {
            Rng r = { (seed + i * 100 + try) * 0x9e3779b97f4a7c15 };
            make_case(&f->rows, &r, c);
            if ((c->kind != K_LONG && c->kind != K_PROT32) || c->cpl || c->flags & FL_TF || c->cr0 & (CR0_EM | CR0_TS))
                continue;
            if (f->rows.dec[i].row->flags & (c->kind == K_LONG ? R_NO64 : R_ONLY64))
                continue;
            c->chunk[0].len = 0;
            put_row(c, &r, &c->chunk[0], &f->rows.dec[i]);
            c->n = 1;
            c->limit = MAX_BLOCK + 1;
            lay_out(c);
            rig_run(f->rig[0], c);
            ok = f->rig[0]->c->exc_vector != EXC_UD;
        }
        ran += ok;
    }
    g_free(c);
    return ran;
}

static unsigned fuzz_run(Fuzz *f, const Options *o)
{
    unsigned failures = 0;
    double stop = o->minutes ? now() + o->minutes * 60 : 0;
    Case *c = g_new(Case, 1);
    running_case = &f->case_no;
    static const int signals[] = { SIGALRM, SIGPROF, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        signal(signals[i], on_signal);
    uint64_t n = o->one ? o->only : 0, last = o->one ? n + 1 : o->cases;
    for (; o->minutes && !o->one ? now() < stop : n < last; n++) {
        Rng r = { o->seed * 0x9e3779b97f4a7c15 + n };
        rnd64(&r);
        f->case_no = n;
        make_case(&f->rows, &r, c);
        if (o->limit)
            c->limit = o->limit;
        for (unsigned i = 0; i < c->n; i++)
            if (c->chunk[i].dec >= 0)
                f->made[c->chunk[i].dec]++;
        if (o->trace)
            fprintf(stderr, "case %" PRIu64 "\n", n);
        if (o->trace && o->one) {
            print_case(c, n, o->seed);
            fflush(stdout);
        }
        set_alarms(HANG_SECONDS);
        unsigned bad = run_case(f, c);
        set_alarms(0);
        f->agreed_insns += f->rig[0]->c->s.insns;
        f->deaths += f->rig[0]->dead;
        if (!bad)
            continue;
        if (!o->no_minimize)
            minimize(f, c);
        print_case(c, n, o->seed);
        bad = run_case(f, c);
        if (bad)
            show_difference(f->rig[0], f->rig[bad]);
        else
            printf("  (not again: it hangs on what ran before)\n");
        fflush(stdout);
        if (++failures == 10)
            break;
    }
    g_free(c);
    printf("%s%" PRIu64 " cases, %" PRIu64 " guest instructions, %" PRIu64 " triple faults, %u failures\n", o->tap ? "# " : "", n,
           f->agreed_insns, f->deaths, failures);
    return failures;
}

static bool take_options(Options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--cases"))
            o->cases = strtoull(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--seed"))
            o->seed = strtoull(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--case"))
            o->only = strtoull(v, NULL, 0), o->one = true, i++;
        else if (!strcmp(argv[i], "--minutes"))
            o->minutes = atof(v), i++;
        else if (!strcmp(argv[i], "--limit"))
            o->limit = strtoul(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--trace"))
            o->trace = true;
        else if (!strcmp(argv[i], "--whole"))
            o->no_minimize = true;
        else if (!strcmp(argv[i], "--tap"))
            o->tap = true;
        else if (strncmp(argv[i], "--seed=", 7))        /* GTest's seed is not ours */
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    Options o = { .cases = 20000, .seed = 1 };
    if (!take_options(&o, argc, argv)) {
        fprintf(stderr, "usage: guest_bytes [--cases N] [--seed S] [--case N [--limit INSNS]] [--minutes M] [--trace] [--whole]\n");
        return 1;
    }
    Fuzz f = { 0 };
    fuzz_init(&f);
    unsigned failures = fuzz_run(&f, &o), covered = o.one ? f.rows.n_dec : cover_rows(&f, o.seed);
    printf("%s%u of %u rows got past decoding\n", o.tap ? "# " : "", covered, f.rows.n_dec);
    if (o.tap) {
        printf("%s 1 /fuzz/guest_bytes/engines-agree\n", failures ? "not ok" : "ok");
        printf("%s 2 /fuzz/guest_bytes/rows-run\n1..2\n", covered * 10 < f.rows.n_dec * 9 ? "not ok" : "ok");
    }
    for (unsigned i = 0; i < f.n_rigs; i++)
        rig_free(f.rig[i]);
    x86_model_free(f.model);
    g_free(f.rows.sys);
    g_free(f.made);
    g_free(f.ran);
    return failures || covered * 10 < f.rows.n_dec * 9;
}
