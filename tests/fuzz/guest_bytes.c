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
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
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
#include "target/x86/decode.h"
#include "target/x86/sys.h"
#include "util/disas.h"
#include "util/qsr.h"

/* Physical and, but for noise in the page tables, linear addresses. */
enum {
    RAM_LEN = 0x40000, ROM_AT = 0x40000, IO_AT = 0x50000, ALIAS_AT = 0x60000,
    PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, PD32 = 0x5000, PT32 = 0x6000, PAE = 0x7000,
    GDT = 0x8000, IDT = 0x9000, TSS = 0xa000, LDT = 0xb000, IVT = 0xc000, TSS2 = 0xd000, TSS16 = 0xe000, SYSCALL_AT = 0xf000,
    HANDLERS = 0x10000, HANDLER_LEN = 32, CODE = 0x20000, DATA = 0x28000, DATA_LEN = 0x4000, STACK = 0x30000,
    STACK_TOP = 0x38000, STACK0 = 0x3c000,
    MAX_CHUNKS = 24, CHUNK_LEN = 96, MAX_EVENTS = 96, MAX_VISITS = 20000, MAX_BLOCK = 128,
};
enum {                          /* selectors */
    S_CODE64 = 0x08, S_DATA = 0x10, S_CODE32 = 0x18, S_CODE16 = 0x20, S_DATA16 = 0x28, S_UCODE64 = 0x33, S_UDATA = 0x3b,
    S_UCODE32 = 0x43, S_UCODE16 = 0x4b, S_UDATA16 = 0x53, S_DOWN = 0x5b, S_TSS = 0x60, S_LDT = 0x70, S_GATE = 0x83,
    S_CONFORMING = 0x90, S_ABSENT = 0x98, S_TSS2 = 0xa3, S_TSS16 = 0xab, S_TGATE = 0xb3,
    S_RANDOM = 0xb8, GDT_LEN = 0x100,
};
enum { CC_D_HOT = 28 };         /* where X_CC_D is, see cpu.h */
enum { HANG_SECONDS = 30 };     /* of processor time; ten times that by the clock */

typedef struct Rng { uint64_t s; } Rng;
static uint64_t rnd64(Rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
static unsigned rnd(Rng *r, unsigned n) { return (rnd64(r) >> 32) % n; }
static bool chance(Rng *r, unsigned one_in) { return rnd(r, one_in) == 0; }
#define PICK(r, a) ((a)[rnd(r, G_N_ELEMENTS(a))])

static uint64_t interesting(Rng *r)
{
    switch (rnd(r, 8)) {
    case 0: return rnd(r, 256);
    case 1: return -(uint64_t)rnd(r, 256);
    case 2: return 1ull << rnd(r, 64);
    case 3: return (1ull << rnd(r, 64)) - 1;
    case 4: return (int64_t)(int32_t)rnd64(r);
    case 5: return (uint32_t)rnd64(r);
    case 6: return DATA + rnd(r, DATA_LEN);
    default: return rnd64(r);
    }
}

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

/* --- cases */

typedef enum Kind { K_LONG, K_COMPAT32, K_COMPAT16, K_PROT32, K_PROT16, K_REAL, K_VM86, N_KINDS } Kind;
static const char *const kind_name[N_KINDS] = { "64-bit", "compatibility 32", "compatibility 16", "protected 32",
                                                "protected 16", "real", "virtual-8086" };

typedef struct Chunk { uint8_t b[CHUNK_LEN]; unsigned len; int dec; } Chunk;

typedef struct Case {
    Kind     kind;
    unsigned cpl, n, limit;
    bool     paging, pae, high;
    bool     quiet;                     /* no interrupts, whose time hangs on where blocks begin: all rigs take part */
    uint64_t code_off;                  /* in the code area */
    uint64_t cr0, cr4, efer, flags, gpr[16];
    uint32_t mxcsr;
    uint16_t fcw;
    Chunk    chunk[MAX_CHUNKS];
    uint8_t  image[RAM_LEN];
} Case;

static bool is16(const Case *c) { return c->kind == K_COMPAT16 || c->kind == K_PROT16 || c->kind >= K_REAL; }
static bool is_long(const Case *c) { return c->kind <= K_COMPAT16; }

static void put(Chunk *k, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n && k->len < CHUNK_LEN; i++)
        k->b[k->len++] = v >> 8 * i;
}
static void image64(Case *c, unsigned at, uint64_t v) { memcpy(c->image + at, &v, 8); }

/* An offset in DS that reaches the linear address, or its part of the data area. */
static uint64_t ds_off(const Case *c, uint64_t linear) { return is16(c) ? linear & (DATA_LEN - 1) : linear; }
static uint64_t data_at(Case *c, Rng *r)
{
    static const unsigned edge[] = { 0, 0xff0, 0xff8, 0xffc, 0xfff, 0x800, 0x840, 0x1000, 0x2000 };
    return ds_off(c, DATA + (chance(r, 2) ? PICK(r, edge) : rnd(r, DATA_LEN)));
}

static void mov_imm(Case *c, Chunk *k, unsigned reg, uint64_t v)
{
    if (c->kind == K_LONG && v >> 32) {
        put(k, 0x48 | reg >> 3, 1);
        put(k, 0xb8 | (reg & 7), 1);
        put(k, v, 8);
        return;
    }
    if (is16(c))
        put(k, 0x66, 1);
    else if (c->kind == K_LONG && reg > 7)
        put(k, 0x41, 1);
    put(k, 0xb8 | (reg & 7), 1);
    put(k, v, 4);
}

/* op with a ModRM that names an absolute address. */
static void op_abs(Case *c, Chunk *k, const char *op, unsigned reg, uint64_t at)
{
    for (; *op; op++)
        put(k, (uint8_t)*op == 0xfe ? 0 : (uint8_t)*op, 1);
    if (is16(c)) {
        put(k, reg << 3 | 6, 1);
        put(k, at, 2);
    } else if (c->kind == K_LONG) {
        put(k, reg << 3 | 4, 1);
        put(k, 0x25, 1);
        put(k, at, 4);
    } else {
        put(k, reg << 3 | 5, 1);
        put(k, at, 4);
    }
}

static uint16_t selector(Rng *r)
{
    static const uint16_t sel[] = { 0, 3, S_CODE64, S_DATA, S_CODE32, S_CODE16, S_DATA16, S_UCODE64, S_UDATA, S_UCODE32,
                                    S_UCODE16, S_UDATA16, S_DOWN, S_TSS, S_LDT, S_GATE, S_CONFORMING, S_ABSENT, S_TSS2, S_TSS16, S_TGATE };
    if (chance(r, 8))
        return rnd64(r);
    return chance(r, 4) ? S_RANDOM + rnd(r, GDT_LEN - S_RANDOM + 8) : PICK(r, sel) | (chance(r, 6) ? rnd(r, 8) : 0);
}

static uint64_t code_pointer(Case *c, Rng *r)
{
    uint64_t off = c->code_off + rnd(r, 64);
    if (chance(r, 10))
        return interesting(r);
    return is16(c) ? off : CODE + off + (c->high && chance(r, 2) ? UINT64_C(0xffffff8000000000) : 0);
}

static uint64_t pte(Rng *r, uint64_t pa)
{
    uint64_t e = pa | 7 | 0x60;
    if (chance(r, 2))
        e ^= PICK(r, ((const uint64_t[]){ 1, 2, 4, 0x20, 0x40, 0x60, 0x80, 0x100, UINT64_C(1) << 63, UINT64_C(1) << 51, 0x18 }));
    return e;
}
static uint64_t any_page(Rng *r) { return (uint64_t)rnd(r, chance(r, 8) ? 0x200 : 0xa0) << 12; }

/* --- chunks: a row of the tables, as the decoder would have it */

static unsigned imm_size(const X86Op *op, unsigned opsize, bool rexw)
{
    return op->size < OSZ_V ? op->size : op->size == OSZ_V ? opsize : op->size == OSZ_Z ? MIN(opsize, 4) : rexw ? 8 : 4;
}

static void put_modrm(Case *c, Rng *r, Chunk *k, const X86Dec *d, bool ad16)
{
    unsigned mod = d->mod == 1 ? rnd(r, 3) : d->mod == 2 ? 3 : chance(r, 2) ? 3 : rnd(r, 3);
    unsigned reg = d->digit >= 0 ? (unsigned)d->digit : rnd(r, 8), rm = rnd(r, 8);
    uint8_t modrm = mod << 6 | reg << 3 | rm;
    if (d->byte_mask)
        modrm = d->byte | (modrm & ~d->byte_mask);
    put(k, modrm, 1);
    mod = modrm >> 6;
    rm = modrm & 7;
    if (mod == 3)
        return;
    if (ad16) {
        put(k, data_at(c, r), mod == 0 && rm == 6 ? 2 : mod);
        return;
    }
    uint8_t sib = rnd(r, 256);
    if (rm == 4)
        put(k, sib, 1);
    bool disp32 = mod == 2 || (mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5)));
    if (disp32) {
        bool rip = c->kind == K_LONG && rm == 5;
        put(k, rip || mod ? chance(r, 2) ? rnd(r, 64) - 32u : DATA - CODE + rnd(r, DATA_LEN) : data_at(c, r), 4);
    } else if (mod == 1) {
        put(k, rnd(r, 256), 1);
    }
}

/* VEX: now and then with fields that make it #UD. */
static void put_vex_row(Case *c, Rng *r, Chunk *k, const X86Dec *d, bool ad16)
{
    static const uint8_t pp[] = { [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };
    bool l = d->vex_l && !chance(r, 20) ? d->vex_l == 2 : chance(r, 2), w = d->vex_w ? d->vex_w == 2 : chance(r, 2);
    unsigned vvvv = d->vvvv || chance(r, 20) ? rnd(r, 16) : 0, rxb = c->kind == K_LONG ? rnd(r, 8) : 0;
    put(k, 0xc4, 1);
    put(k, (~rxb & 7) << 5 | (d->map - MAP_VEX), 1);
    put(k, w << 7 | (~vvvv & 15) << 3 | l << 2 | (d->pfx > PFX_NONE ? pp[d->pfx] : 0), 1);
    put(k, d->opcode, 1);
    if (d->has_modrm)
        put_modrm(c, r, k, d, ad16);
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->op[i].kind == OPK_I)
            put(k, rnd(r, 256), 1);
}

static void put_row(Case *c, Rng *r, Chunk *k, const X86Dec *d)
{
    bool ad = chance(r, 10), data16 = (d->pfx == PFX_66 && !x86_dec_vex(d)) || (d->pfx == PFX_ANY && chance(r, 5));
    bool string = d->map == 0 && ((d->opcode >= 0xa4 && d->opcode <= 0xaf) || (d->opcode & 0xfc) == 0x6c);
    bool lock = chance(r, d->row->flags & R_LOCK ? 4 : 60);
    if (ad)
        put(k, 0x67, 1);
    if (data16)
        put(k, 0x66, 1);
    if (chance(r, 12))
        put(k, PICK(r, ((const uint8_t[]){ 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 })), 1);
    if (lock)
        put(k, 0xf0, 1);
    if (x86_dec_vex(d)) {
        put_vex_row(c, r, k, d, c->kind != K_LONG && is16(c) != ad);
        return;
    }
    if (d->pfx == PFX_F3 || d->pfx == PFX_F2)
        put(k, d->pfx == PFX_F3 ? 0xf3 : 0xf2, 1);
    else if (d->pfx == PFX_ANY && chance(r, string ? 2 : 20))
        put(k, 0xf2 + rnd(r, 2), 1);
    bool rexw = false;
    if (c->kind == K_LONG && (d->rexw || chance(r, 2))) {
        uint8_t rex = 0x40 | rnd(r, 16) | (d->rexw ? 8 : 0);
        put(k, rex, 1);
        rexw = rex & 8;
    }
    if (d->map)
        put(k, 0x0f, 1);
    if (d->map > 1)
        put(k, d->map == 2 ? 0x38 : 0x3a, 1);
    put(k, d->opcode + (d->plus_r ? rnd(r, 8) : 0), 1);
    bool ad16 = c->kind != K_LONG && is16(c) != ad;
    if (d->has_modrm)
        put_modrm(c, r, k, d, ad16);
    bool small = c->kind == K_LONG ? data16 : is16(c) != data16;
    unsigned opsize = rexw ? 8 : small ? 2 : 4;
    for (unsigned i = 0; i < d->n_ops; i++) {
        const X86Op *op = &d->op[i];
        if (op->kind == OPK_J)
            put(k, chance(r, 12) ? rnd64(r) : rnd(r, 40) - 16u, MIN(imm_size(op, opsize, rexw), 4));
        else if (op->kind == OPK_I)
            put(k, interesting(r), imm_size(op, opsize, rexw));
        else if (op->kind == OPK_O)
            put(k, data_at(c, r), c->kind == K_LONG ? (ad ? 4 : 8) : ad16 ? 2 : 4);
        else if (op->kind == OPK_A) {
            put(k, code_pointer(c, r), MIN(opsize, 4));
            put(k, selector(r), 2);
        }
    }
}

/* --- chunks: what a kernel does, and what it should not do */

static void rec_msr(Case *c, Rng *r, Chunk *k)
{
    static const uint32_t msr[] = { 0x10, 0x17, 0x1b, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x1d9,
        0x1db, 0x200, 0x20f, 0x210, 0x250, 0x251, 0x258, 0x259, 0x25a, 0x268, 0x26f, 0x270, 0x277, 0x2ff, 0x6e0, 0x800,
        0x808, 0x80b, 0x830, 0x8ff, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
        0xc0000102, 0xc0000103, 0xc0010010, 0xc0010015, 0xc001001a, 0xc0010114, 0xc0011029 };
    mov_imm(c, k, RCX, chance(r, 10) ? rnd64(r) : PICK(r, msr));
    uint64_t v = interesting(r);
    if (chance(r, 3))
        v = c->efer ^ (1u << rnd(r, 16));
    mov_imm(c, k, RAX, (uint32_t)v);
    mov_imm(c, k, RDX, chance(r, 2) ? v >> 32 : 0);
    put(k, chance(r, 3) ? 0x320f : 0x300f, 2);
}

static void rec_control(Case *c, Rng *r, Chunk *k)
{
    unsigned n = PICK(r, ((const uint8_t[]){ 0, 0, 3, 3, 4, 4, 2, 8, 1, 5 }));
    uint64_t v = n == 0 ? c->cr0 : n == 4 ? c->cr4 : is_long(c) ? PML4 : PD32;
    if (!chance(r, 3))
        v ^= UINT64_C(1) << rnd(r, chance(r, 4) ? 64 : 32);
    if (chance(r, 12))
        v = interesting(r);
    bool dr = chance(r, 3);
    mov_imm(c, k, RAX, dr ? interesting(r) : v);
    put(k, 0x0f, 1);
    put(k, (dr ? 0x21 : 0x20) | (chance(r, 4) ? 0 : 2), 1);
    put(k, 0xc0 | (dr ? rnd(r, 8) : n) << 3, 1);
}

static void rec_table(Case *c, Rng *r, Chunk *k)
{
    if (chance(r, 3))           /* a sensible one, mostly */
        op_abs(c, k, "\x0f\x01", chance(r, 2) ? 2 : 3, ds_off(c, DATA + 0x800 + 16 * rnd(r, 4)));
    else if (chance(r, 2))
        op_abs(c, k, "\x0f\x01", rnd(r, 8), data_at(c, r));
    else {
        mov_imm(c, k, RAX, selector(r));
        put(k, 0x0f, 1);
        put(k, 0, 1);
        put(k, 0xc0 | rnd(r, 6) << 3, 1);
    }
}

static void rec_segment(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, RAX, selector(r));
    put(k, 0x8e, 1);
    put(k, 0xc0 | rnd(r, 8) << 3, 1);
}

static void push_imm(Case *c, Chunk *k, uint64_t v)
{
    mov_imm(c, k, RAX, v);
    put(k, 0x50, 1);
}

static void rec_far(Case *c, Rng *r, Chunk *k)
{
    uint16_t cs = selector(r);
    switch (rnd(r, 4)) {
    case 0:                     /* IRET */
        push_imm(c, k, selector(r));
        push_imm(c, k, chance(r, 4) ? interesting(r) : is16(c) ? 0x7000 : STACK + 0x7000);
        push_imm(c, k, chance(r, 2) ? 0x202 : rnd64(r));
        push_imm(c, k, cs);
        push_imm(c, k, code_pointer(c, r));
        if (c->kind == K_LONG && !chance(r, 6))
            put(k, 0x48, 1);
        put(k, 0xcf, 1);
        break;
    case 1:                     /* RETF */
        push_imm(c, k, cs);
        push_imm(c, k, code_pointer(c, r));
        if (c->kind == K_LONG && !chance(r, 6))
            put(k, 0x48, 1);
        put(k, chance(r, 3) ? 0x10ca : 0xcb, chance(r, 3) ? 3 : 1);
        break;
    case 2:
        mov_imm(c, k, RAX, code_pointer(c, r));
        op_abs(c, k, "\x89", 0, ds_off(c, DATA + 0x900));
        mov_imm(c, k, RAX, cs);
        op_abs(c, k, "\x89", 0, ds_off(c, DATA + (is16(c) ? 0x902 : 0x904)));
        op_abs(c, k, "\xff", chance(r, 2) ? 5 : 3, ds_off(c, DATA + 0x900));
        break;
    default:
        if (c->kind == K_LONG) {
            mov_imm(c, k, RCX, code_pointer(c, r));
            mov_imm(c, k, 11, rnd64(r) & 0x3ffff);
            put(k, chance(r, 2) ? 0x48 : 0x90, 1);
        } else {
            mov_imm(c, k, RCX, STACK_TOP);
            mov_imm(c, k, RDX, code_pointer(c, r));
        }
        put(k, 0x0f, 1);
        put(k, PICK(r, ((const uint8_t[]){ 0x05, 0x07, 0x34, 0x35 })), 1);
    }
}

static void rec_state(Case *c, Rng *r, Chunk *k)
{
    static const char *const op[] = { "\x0f\xae", "\x0f\xae", "\xd9", "\xdd", "\xdb", "\x0f\xc7", "\xdf" };
    mov_imm(c, k, RAX, chance(r, 2) ? 7 : interesting(r));
    mov_imm(c, k, RDX, chance(r, 2) ? 0 : interesting(r));
    uint64_t at = data_at(c, r);
    if (!chance(r, 3))
        at &= ~UINT64_C(63);
    if (c->kind == K_LONG && chance(r, 3))
        put(k, 0x48, 1);
    op_abs(c, k, PICK(r, op), rnd(r, 8), at);
}

static void rec_string(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, RCX, chance(r, 2) ? interesting(r) : rnd(r, 0x2000));
    mov_imm(c, k, RSI, chance(r, 8) ? interesting(r) : data_at(c, r));
    uint64_t to = data_at(c, r);
    if (chance(r, 6))
        to = ds_off(c, chance(r, 2) ? CODE + c->code_off : IO_AT + 0xff0);
    mov_imm(c, k, RDI, to);
    if (chance(r, 4))
        put(k, 0xfd, 1);
    else if (chance(r, 2))
        put(k, 0xfc, 1);
    if (chance(r, 6))
        put(k, 0x66, 1);
    put(k, 0xf2 + rnd(r, 2), 1);
    if (c->kind == K_LONG && chance(r, 3))
        put(k, 0x48, 1);
    put(k, PICK(r, ((const uint8_t[]){ 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x6c, 0x6d, 0x6e, 0x6f })), 1);
}

static void rec_modify(Case *c, Rng *r, Chunk *k)
{
    uint64_t at = CODE + c->code_off + rnd(r, 160);
    if (chance(r, 4))
        at += ALIAS_AT;
    mov_imm(c, k, RAX, rnd64(r));
    if (is16(c))
        put(k, 0x2e, 1);        /* CS: faults in protected mode */
    static const char *const op[] = { "\x88", "\x89", "\x01", "\xf0\x01", "\x87", "\x0f\x11", "\x0f\xc1" };
    op_abs(c, k, PICK(r, op), 0, is16(c) ? at - CODE : at);
}

static void rec_tlb(Case *c, Rng *r, Chunk *k)
{
    unsigned i = chance(r, 2) ? rnd(r, 0xa0) : (CODE + c->code_off) >> 12;
    unsigned wide = is_long(c) || c->pae ? 8 : 4;
    if (!is16(c)) {
        mov_imm(c, k, RAX, pte(r, chance(r, 2) ? any_page(r) : i << 12) & (wide == 8 && c->kind == K_LONG ? ~0ull : 0xffffffff));
        if (c->kind == K_LONG)
            put(k, 0x48, 1);
        op_abs(c, k, "\x89", 0, (wide == 8 ? PT : PT32) + i * wide);
    }
    if (chance(r, 2))
        op_abs(c, k, "\x0f\x01", 7, is16(c) ? rnd(r, 0x10000) : chance(r, 8) ? interesting(r) : i << 12);
    if (chance(r, 3)) {
        mov_imm(c, k, RAX, rnd(r, 5));
        op_abs(c, k, "\x66\x0f\x38\x82", 0, data_at(c, r));
    }
}

static void rec_flags(Case *c, Rng *r, Chunk *k)
{
    switch (rnd(r, 6)) {
    case 0: case 1:
        push_imm(c, k, chance(r, 2) ? rnd64(r) & 0x7ffff : 1u << rnd(r, 22));
        if (is16(c) && chance(r, 2))
            put(k, 0x66, 1);
        put(k, 0x9d, 1);
        break;
    case 2: put(k, chance(r, 2) ? 0xfb : 0xfa, 1); break;
    case 3: put(k, 0xcd, 1); put(k, rnd(r, chance(r, 2) ? 32 : 256), 1); break;
    case 4: put(k, PICK(r, ((const uint8_t[]){ 0xf4, 0xcc, 0xce, 0xf1, 0x17, 0xfb })), 1); break;
    default:
        mov_imm(c, k, RDX, rnd(r, 0x10000));
        put(k, PICK(r, ((const uint8_t[]){ 0xec, 0xed, 0xee, 0xef })), 1);
    }
}

static void rec_bytes(Case *c, Rng *r, Chunk *k)
{
    for (unsigned n = 1 + rnd(r, 16); n--;)
        put(k, rnd(r, 256), 1);
}

static void rec_register(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, rnd(r, c->kind == K_LONG ? 16 : 8), chance(r, 2) ? data_at(c, r) : interesting(r));
}

static void rec_loop(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, RCX, 2 + rnd(r, 12));
    unsigned start = k->len;
    put(k, 0x04, 1);            /* ADD AL, ib */
    put(k, rnd(r, 256), 1);
    op_abs(c, k, chance(r, 2) ? "\xfe" "\xfe" : "\x10", rnd(r, 2), chance(r, 4) && !is16(c) ? CODE + c->code_off + rnd(r, 96) : data_at(c, r));
    put(k, 0xe2, 1);
    put(k, start - (k->len + 1), 1);
}

typedef struct Fuzz {
    const X86Dec *dec;
    unsigned n_dec, *sys, n_sys;
    uint64_t *made, *ran;
    const X86Model *model;
    Rig      *rig[3];
    unsigned  n_rigs;
    uint64_t  case_no, agreed_insns, deaths;
} Fuzz;

static void make_chunk(Fuzz *f, Case *c, Rng *r, Chunk *k)
{
    static void (*const recipe[])(Case *, Rng *, Chunk *) = {
        rec_msr, rec_control, rec_table, rec_segment, rec_far, rec_state, rec_string, rec_modify, rec_tlb, rec_flags,
        rec_bytes, rec_register, rec_loop, rec_modify, rec_tlb, rec_register,
    };
    k->len = 0;
    k->dec = -1;
    unsigned how = rnd(r, 16);
    if (how < 9) {
        k->dec = how < 8 ? rnd(r, f->n_dec) : f->sys[rnd(r, f->n_sys)];
        put_row(c, r, k, &f->dec[k->dec]);
    } else {
        PICK(r, recipe)(c, r, k);
    }
    if (chance(r, 40) && k->len)
        k->b[rnd(r, k->len)] ^= 1 << rnd(r, 8);
}

/* --- the machine's memory */

static void put_desc(Case *c, uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr)
{
    image64(c, GDT + (sel & ~7), (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 32 |
                                     (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56);
}

static void make_gdt(Case *c, Rng *r)
{
    enum { CODE_A = 0x9b00, DATA_A = 0x9300, U = 0x6000, G = 0x800000, D = 0x400000, L = 0x200000 };
    put_desc(c, S_CODE64, 0, 0xfffff, CODE_A | G | L);
    put_desc(c, S_DATA, 0, 0xfffff, DATA_A | G | D);
    put_desc(c, S_CODE32, 0, 0xfffff, CODE_A | G | D);
    put_desc(c, S_CODE16, CODE, 0xffff, CODE_A);
    put_desc(c, S_DATA16, DATA, 0xffff, DATA_A);
    put_desc(c, S_UCODE64, 0, 0xfffff, CODE_A | U | G | L);
    put_desc(c, S_UDATA, 0, 0xfffff, DATA_A | U | G | D);
    put_desc(c, S_UCODE32, 0, 0xfffff, CODE_A | U | G | D);
    put_desc(c, S_UCODE16, CODE, 0xffff, CODE_A | U);
    put_desc(c, S_UDATA16, DATA, 0xffff, DATA_A | U);
    put_desc(c, S_DOWN, 0, 0x0ffff, (DATA_A | U | D) + 0x400);
    put_desc(c, S_TSS, TSS, 0x2fff, 0x8900);
    image64(c, GDT + S_TSS + 8, 0);
    put_desc(c, S_LDT, LDT, 0x7f, 0x8200);
    image64(c, GDT + S_LDT + 8, 0);
    uint64_t to = HANDLERS + HANDLER_LEN * rnd(r, 32);
    image64(c, GDT + (S_GATE & ~7), (to & 0xffff) | (uint64_t)(is_long(c) ? S_CODE64 : S_CODE32) << 16 | UINT64_C(0xec00) << 32 |
                                        (to >> 16) << 48);
    image64(c, GDT + (S_GATE & ~7) + 8, 0);
    put_desc(c, S_CONFORMING, 0, 0xfffff, 0x9f00 | G | (is_long(c) ? L : D));
    put_desc(c, S_ABSENT, 0, 0xfffff, 0x1300 | G);
    put_desc(c, S_TSS2, TSS2, 0x67, 0xe900);
    put_desc(c, S_TSS16, TSS16, 0x2b, 0xe100);
    image64(c, GDT + (S_TGATE & ~7), (uint64_t)(chance(r, 2) ? S_TSS2 : S_TSS16) << 16 | UINT64_C(0xe500) << 32);
    for (unsigned at = S_RANDOM; at < GDT_LEN; at += 8)
        image64(c, GDT + at, rnd64(r));
    for (unsigned at = 0; at < 0x80; at += 8)
        image64(c, LDT + at, rnd64(r) | UINT64_C(0x9000) << 32);
}

static void make_handlers(Case *c, Rng *r)
{
    for (unsigned v = 0; v < 32; v++) {
        Chunk k = { .len = 0 };
        bool error = 0x27d00u >> v & 1, word = c->kind == K_REAL || c->kind == K_PROT16;
        unsigned skip = 1 + rnd(r, 4);
        if (chance(r, 24)) {
            rec_bytes(c, r, &k);
        } else if (is_long(c)) {
            if (error)
                put(&k, 0x08c48348, 4);
            put(&k, 0x24048348, 4);
            put(&k, skip, 1);
            put(&k, 0xcf48, 2);
        } else if (!word) {
            if (error)
                put(&k, 0x04c483, 3);
            put(&k, 0x240483, 3);
            put(&k, skip, 1);
            put(&k, 0xcf, 1);
        } else {
            if (error && c->kind != K_REAL)
                put(&k, 0x02c483, 3);
            put(&k, 0x4683e58955, 5);
            put(&k, 2 | skip << 8, 2);
            put(&k, 0xcf5d, 2);
        }
        memcpy(c->image + HANDLERS + v * HANDLER_LEN, k.b, MIN(k.len, (unsigned)HANDLER_LEN));
    }
}

static void make_idt(Case *c, Rng *r)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t to = HANDLERS + HANDLER_LEN * (v & 31), type = (chance(r, 3) ? 0xee : 0x8e) + rnd(r, 2);
        unsigned cs = is_long(c) ? S_CODE64 : c->kind == K_PROT16 ? S_CODE16 : S_CODE32;
        if (chance(r, 60))
            cs = selector(r);
        if (c->kind == K_PROT16)
            to = chance(r, 2) ? to - CODE : HANDLERS;
        uint64_t g = (to & 0xffff) | (uint64_t)cs << 16 | type << 40 | (to >> 16 & 0xffff) << 48;
        if (chance(r, 60))
            g ^= UINT64_C(1) << rnd(r, 64);
        if (!is_long(c) && chance(r, 30))
            g = (uint64_t)(chance(r, 2) ? S_TSS2 : S_TSS16) << 16 | UINT64_C(0xe500) << 32;
        if (is_long(c)) {
            g |= (uint64_t)(chance(r, 8) ? rnd(r, 8) : 0) << 32;
            image64(c, IDT + v * 16, g);
            image64(c, IDT + v * 16 + 8, 0);
        } else {
            image64(c, IDT + v * 8, g);
        }
        uint32_t far = (HANDLERS >> 4) << 16 | HANDLER_LEN * (v & 31);
        memcpy(c->image + IVT + 4 * v, &far, 4);
    }
    for (unsigned i = 4; i < 0x68; i += 8)              /* stacks of both kinds of task state */
        image64(c, TSS + i, STACK0);
    if (!is_long(c))
        for (unsigned i = 8; i < 0x1c; i += 8)
            image64(c, TSS + i - 4, STACK0 | (uint64_t)S_DATA << 32);
    c->image[TSS + 0x66] = c->kind == K_VM86 ? 0x88 : 0x68;
    for (unsigned i = 0x68; i < 0x1000; i++)
        c->image[TSS + i] = chance(r, 2) ? 0 : rnd(r, 256);
}

/* The states of two more tasks, mostly sensible. */
static void make_tasks(Case *c, Rng *r)
{
    bool vm = chance(r, 3), user = chance(r, 2);
    uint16_t cs = user ? S_UCODE32 : S_CODE32, ds = user ? S_UDATA : S_DATA;
    uint32_t t[26] = { [7] = c->pae ? PAE : PD32, [8] = vm ? c->code_off : CODE + c->code_off,
                       [9] = FL_1 | (vm ? FL_VM : 0) | (chance(r, 2) ? FL_IF : 0) | (chance(r, 2) ? FL_IOPL : 0), [24] = S_LDT,
                       [25] = chance(r, 8) };
    for (unsigned i = 10; i < 18; i++)
        t[i] = data_at(c, r);
    t[14] = vm ? 0x4000 : STACK_TOP - 0x200;
    for (unsigned i = 0; i < 6; i++)
        t[18 + i] = vm ? (i == CS ? CODE : i == SS ? STACK : DATA) >> 4 : i == CS ? cs : ds;
    t[2] = t[4] = t[6] = S_DATA;
    t[1] = t[3] = t[5] = STACK0;
    if (chance(r, 4))
        t[rnd(r, 26)] = chance(r, 2) ? selector(r) : (uint32_t)interesting(r);
    memcpy(c->image + TSS2, t, sizeof t);
    uint16_t n[22] = { [7] = c->code_off, [8] = FL_1 | (chance(r, 2) ? FL_IF : 0), [13] = 0x4000, [17] = S_UDATA16, [18] = S_UCODE16,
                       [19] = S_UDATA16, [20] = S_UDATA16, [21] = chance(r, 2) ? S_LDT : 0 };
    n[1] = n[3] = n[5] = 0x4000;
    n[2] = n[4] = n[6] = S_DATA16;
    if (chance(r, 4))
        n[rnd(r, 22)] = selector(r);
    memcpy(c->image + TSS16, n, sizeof n);
    c->image[STACK_TOP] = 0x0f;         /* where an SMI goes: RSM */
    c->image[STACK_TOP + 1] = 0xaa;
}

static void make_tables(Case *c, Rng *r)
{
    bool noisy = chance(r, 2);
    for (unsigned i = 0; i < 512; i++) {
        uint64_t pa = i < 0xa0 ? i << 12 : any_page(r);
        bool vital = i < 0x11 || i == CODE >> 12 || i == DATA >> 12 || i == (STACK_TOP >> 12) - 1 || i == (STACK0 >> 12) - 1;
        uint64_t e = noisy && !chance(r, 4) && (!vital || chance(r, 20)) ? pte(r, chance(r, 4) ? any_page(r) : pa) : pa | 0x67;
        image64(c, PT + 8 * i, e);
        uint32_t low = e;
        memcpy(c->image + PT32 + 4 * i, &low, 4);
    }
    image64(c, PML4, PDPT | 7);
    image64(c, PML4 + 8 * 511, PDPT | 7);
    image64(c, PML4 + 8, rnd64(r));
    image64(c, PDPT, PD | 7);
    image64(c, PDPT + 8, 0x87 | rnd(r, 2) << 8);        /* 1 GiB at 0 */
    image64(c, PDPT + 16, pte(r, PD));
    image64(c, PD, PT | 7);
    image64(c, PD + 8, 0xe7 | rnd(r, 2) << 8);          /* 2 MiB at 0 */
    image64(c, PD + 16, pte(r, PML4));
    image64(c, PD + 24, rnd64(r));
    image64(c, PAE, PD | 1);
    image64(c, PAE + 8, chance(r, 2) ? PD | 1 : rnd64(r));
    image64(c, PAE + 16, 0);
    image64(c, PAE + 24, PD | 1);
    uint32_t pd32[4] = { PT32 | 7, 0xe7, rnd64(r), PT32 | 5 };
    memcpy(c->image + PD32, pd32, sizeof pd32);
}

static void make_data(Case *c, Rng *r)
{
    for (unsigned at = DATA; at < DATA + DATA_LEN; at += 8)
        image64(c, at, chance(r, 3) ? 0 : interesting(r));
    for (unsigned i = 0; i < 4; i++) {                  /* operands of LGDT, LIDT */
        uint64_t base = i & 1 ? IDT : GDT;
        uint16_t limit = i & 1 ? 0xfff : GDT_LEN - 1;
        if (i > 1) {
            base = interesting(r);
            limit = rnd64(r);
        }
        memcpy(c->image + DATA + 0x800 + 16 * i, &limit, 2);
        image64(c, DATA + 0x802 + 16 * i, base);
    }
    Chunk k = { .len = 0 };
    while (k.len < 40)
        rec_flags(c, r, &k);
    memcpy(c->image + SYSCALL_AT, k.b, k.len);
    if (chance(r, 2))
        image64(c, SYSCALL_AT, 0x070f48);
}

static void lay_out(Case *c)
{
    memset(c->image + CODE, 0x90, 0x8000);
    unsigned at = CODE + c->code_off;
    for (unsigned i = 0; i < c->n; i++) {
        memcpy(c->image + at, c->chunk[i].b, c->chunk[i].len);
        at += c->chunk[i].len;
    }
    c->image[at] = 0xf4;        /* HLT: #GP for programs */
    c->image[at + 1] = 0xeb;
    c->image[at + 2] = 0xfd;
}

static void make_case(Fuzz *f, Rng *r, Case *c)
{
    static const uint8_t kinds[] = { K_LONG, K_LONG, K_LONG, K_LONG, K_COMPAT32, K_COMPAT16, K_PROT32, K_PROT32, K_PROT16, K_REAL,
                                     K_VM86, K_VM86 };
    memset(c, 0, sizeof *c);
    c->kind = PICK(r, kinds);
    c->cpl = c->kind == K_REAL ? 0 : c->kind == K_VM86 || chance(r, 3) ? 3 : 0;
    c->paging = is_long(c) || (c->kind != K_REAL && chance(r, 2));
    c->pae = is_long(c) || chance(r, 2);
    c->high = c->kind == K_LONG && chance(r, 4);
    c->quiet = chance(r, 2);
    c->code_off = chance(r, 3) ? 0x1000 - 1 - rnd(r, 60) : rnd(r, 0x100);
    c->limit = 2 * MAX_BLOCK + (chance(r, 8) ? 8000 : 600);
    c->cr0 = CR0_ET | CR0_NE | (c->kind == K_REAL ? 0 : CR0_PE) | (c->paging ? CR0_PG : 0) | (chance(r, 2) ? CR0_WP : 0) |
             (chance(r, 20) ? CR0_TS : 0) | (chance(r, 30) ? CR0_EM : 0) | (chance(r, 4) ? CR0_AM : 0);
    c->cr4 = (c->pae ? CR4_PAE : 0) | (chance(r, 2) ? CR4_PSE : 0) | (chance(r, 2) ? CR4_PGE : 0) |
             (chance(r, 12) ? 0 : CR4_OSFXSR) | (chance(r, 4) ? 0 : CR4_OSXMMEXCPT) | (chance(r, 4) ? 0 : CR4_OSXSAVE) |
             (chance(r, 2) ? CR4_FSGSBASE : 0) | (is_long(c) && chance(r, 2) ? CR4_PCIDE : 0) | (chance(r, 8) ? CR4_SMEP : 0) |
             (chance(r, 8) ? CR4_SMAP : 0) | (chance(r, 4) ? CR4_UMIP : 0) |
             (chance(r, 2) ? CR4_VME : 0) | (chance(r, 2) ? CR4_PVI : 0) | (chance(r, 8) ? CR4_TSD : 0) | (chance(r, 2) ? CR4_DE : 0);
    c->efer = EFER_SCE | (is_long(c) ? EFER_LME | EFER_LMA : 0) | (chance(r, 2) ? EFER_NXE : 0);
    c->flags = FL_1 | (chance(r, 2) ? FL_IF : 0) | (chance(r, 8) ? FL_IOPL : 0) | (chance(r, 12) ? FL_TF : 0) |
               (chance(r, 6) ? FL_AC : 0) | (chance(r, 8) ? FL_DF : 0);
    if (c->kind == K_VM86)
        c->flags |= FL_VM | (chance(r, 2) ? FL_IOPL : 0);
    if (chance(r, 6))
        c->flags |= chance(r, 2) ? FL_VIF : FL_VIP;
    if (!is_long(c) && chance(r, 20))
        c->flags |= FL_NT;
    c->mxcsr = chance(r, 4) ? rnd64(r) & 0xffbf : 0x1f80;
    c->fcw = chance(r, 4) ? rnd64(r) & 0x1f7f : 0x37f;
    for (unsigned i = 0; i < 16; i++)
        c->gpr[i] = chance(r, 2) ? data_at(c, r) : interesting(r);
    if (c->kind != K_LONG)
        for (unsigned i = 0; i < 16; i++)
            c->gpr[i] = (uint32_t)c->gpr[i];
    c->gpr[RSP] = is16(c) ? 0x4000 : STACK_TOP - 0x100;
    for (unsigned at = STACK; at < RAM_LEN; at += 8)
        image64(c, at, chance(r, 4) ? code_pointer(c, r) : interesting(r));
    make_gdt(c, r);
    make_handlers(c, r);
    make_idt(c, r);
    make_tasks(c, r);
    make_tables(c, r);
    make_data(c, r);
    c->n = 1 + rnd(r, MAX_CHUNKS);
    for (unsigned i = 0; i < c->n; i++)
        make_chunk(f, c, r, &c->chunk[i]);
    lay_out(c);
}

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
    f->dec = x86_decs(&f->n_dec);
    f->sys = g_new0(unsigned, f->n_dec);
    f->made = g_new0(uint64_t, f->n_dec);
    f->ran = g_new0(uint64_t, f->n_dec);
    for (unsigned i = 0; i < f->n_dec; i++)
        for (const X86Row *row = x86_rows_sys; row->opcode; row++)
            if (row == f->dec[i].row)
                f->sys[f->n_sys++] = i;
}

/* Each row once by itself, at privilege 0 of 64-bit and 32-bit code: counts those that get past decoding. */
static unsigned cover_rows(Fuzz *f, uint64_t seed)
{
    Case *c = g_new(Case, 1);
    unsigned ran = 0;
    for (unsigned i = 0; i < f->n_dec; i++) {
        bool ok = false;
        for (unsigned try = 0; try < 40 && !ok; try++) {
            Rng r = { (seed + i * 100 + try) * 0x9e3779b97f4a7c15 };
            make_case(f, &r, c);
            if ((c->kind != K_LONG && c->kind != K_PROT32) || c->cpl || c->flags & FL_TF || c->cr0 & (CR0_EM | CR0_TS))
                continue;
            if (f->dec[i].row->flags & (c->kind == K_LONG ? R_NO64 : R_ONLY64))
                continue;
            c->chunk[0].len = 0;
            put_row(c, &r, &c->chunk[0], &f->dec[i]);
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
        make_case(f, &r, c);
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
    unsigned failures = fuzz_run(&f, &o), covered = o.one ? f.n_dec : cover_rows(&f, o.seed);
    printf("%s%u of %u rows got past decoding\n", o.tap ? "# " : "", covered, f.n_dec);
    if (o.tap) {
        printf("%s 1 /fuzz/guest_bytes/engines-agree\n", failures ? "not ok" : "ok");
        printf("%s 2 /fuzz/guest_bytes/rows-run\n1..2\n", covered * 10 < f.n_dec * 9 ? "not ok" : "ok");
    }
    for (unsigned i = 0; i < f.n_rigs; i++)
        rig_free(f.rig[i]);
    x86_model_free(f.model);
    g_free(f.sys);
    g_free(f.made);
    g_free(f.ran);
    return failures || covered * 10 < f.n_dec * 9;
}
