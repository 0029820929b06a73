/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/toy.h"

#include <stdlib.h>
#include <string.h>
#include "config.h"
#include "tcg/build.h"
#include "util/endian.h"

#define HOT(n) (offsetof(CpuState, hot) + 8 * (n))

static const Slot slots[TOY_N_SLOTS] = {
    { "r0", I64, HOT(0) }, { "r1", I64, HOT(1) }, { "r2", I64, HOT(2) }, { "r3", I64, HOT(3) },
    { "r4", I64, HOT(4) }, { "r5", I64, HOT(5) }, { "r6", I64, HOT(6) }, { "r7", I64, HOT(7) },
    [TOY_PC] = { "pc", I64, PC_OFFSET },
    [TOY_Q0] = { "q0", V128T, offsetof(ToyCpu, q0) },
    [TOY_SYS] = { "sys", T_NONE, 0 },
};
static const SlotTable slot_table = { slots, TOY_N_SLOTS, TOY_PC };

static ToyCpu *toy(CpuState *s) { return (ToyCpu *)s; }
static const CpuHooks *hooks_of(CpuState *s) { return accel_hooks(((Vcpu *)s->vcpu)->accel); }

/* --- instructions: opcode, then operands */

enum { OP_HALT, OP_LI, OP_ADD, OP_ADDI, OP_LD, OP_ST, OP_STB, OP_RMW, OP_ATOMIC, OP_LDQ, OP_STQ, OP_LDV, OP_JNZ, OP_JMP,
       OP_JR, OP_SYS, OP_CALL, OP_RET, N_OPS };
static const uint8_t op_len[N_OPS] = { 1, 6, 3, 3, 3, 3, 3, 3, 3, 2, 2, 3, 6, 5, 2, 2, 5, 2 };

static void put(Toy *t, uint8_t b) { t->bytes[t->at++] = b; }
static void put32(Toy *t, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        put(t, v >> 8 * i);
}
static void op1(Toy *t, unsigned op, unsigned a) { put(t, op); put(t, a); }
static void op2(Toy *t, unsigned op, unsigned a, unsigned b) { put(t, op); put(t, a); put(t, b); }
void a_halt(Toy *t) { put(t, OP_HALT); }
void a_li(Toy *t, unsigned r, int32_t v) { op1(t, OP_LI, r); put32(t, v); }
void a_add(Toy *t, unsigned d, unsigned s) { op2(t, OP_ADD, d, s); }
void a_addi(Toy *t, unsigned d, int8_t v) { op2(t, OP_ADDI, d, (uint8_t)v); }
void a_ld(Toy *t, unsigned d, unsigned a) { op2(t, OP_LD, d, a); }
void a_st(Toy *t, unsigned a, unsigned s) { op2(t, OP_ST, a, s); }
void a_stb(Toy *t, unsigned a, unsigned s) { op2(t, OP_STB, a, s); }
void a_rmw(Toy *t, unsigned a, unsigned s) { op2(t, OP_RMW, a, s); }
void a_atomic(Toy *t, unsigned a, unsigned s) { op2(t, OP_ATOMIC, a, s); }
void a_ldq(Toy *t, unsigned a) { op1(t, OP_LDQ, a); }
void a_stq(Toy *t, unsigned a) { op1(t, OP_STQ, a); }
void a_ldv(Toy *t, unsigned d, unsigned a) { op2(t, OP_LDV, d, a); }
void a_jnz(Toy *t, unsigned r, uint64_t to) { uint64_t from = t->at; op1(t, OP_JNZ, r); put32(t, to - from); }
void a_jmp(Toy *t, uint64_t to) { uint64_t from = t->at; put(t, OP_JMP); put32(t, to - from); }
void a_jr(Toy *t, unsigned r) { op1(t, OP_JR, r); }
void a_call(Toy *t, uint64_t to) { uint64_t from = t->at; put(t, OP_CALL); put32(t, to - from); }
void a_ret(Toy *t, unsigned r) { op1(t, OP_RET, r); }
void a_sys(Toy *t, unsigned code) { op1(t, OP_SYS, code); }
void a_done(Toy *t)
{
    a_sys(t, SYS_DONE);
    a_halt(t);
}
void a_repeat(Toy *t, unsigned r, uint64_t loop)
{
    a_addi(t, r, -1);
    a_jnz(t, r, loop);
}
void a_visit(Toy *t, uint64_t to)
{
    enum { LEN = 6 + 5 };               /* of these two */
    a_li(t, 7, (int)t->at + LEN);
    a_jmp(t, to);
}
void a_paging(Toy *t, uint64_t table)
{
    a_li(t, 0, (int)table);
    a_li(t, 1, TOY_MAP_PAGES);
    a_sys(t, SYS_PTBASE);
}
void a_bad(Toy *t) { put(t, 0xee); }

/* --- helpers */

static void reload(ToyCpu *c)
{
    c->s.mode_tag = (uint64_t)(c->view ? TOY_VIEW : 0) << 48;
    hooks_of(&c->s)->tlb_select(&c->s, c->asid, c->view);
}

static Toy *toy_of(CpuState *s) { return ((Vcpu *)s->vcpu)->accel->m.self; }

static uint64_t toy_sys(CpuState *s, uint64_t code)
{
    ToyCpu *c = toy(s);
    const CpuHooks *h = hooks_of(s);
    uint64_t *r = s->hot;
    switch (code) {
    case SYS_DONE: {
        Toy *t = toy_of(s);
        pthread_mutex_lock(&t->lock);
        t->done = true;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
        break;
    }
    case SYS_FLUSH_ALL:  h->tlb_flush(s, -1, true); break;
    case SYS_FLUSH_ASID: h->tlb_flush(s, r[0], false); break;
    case SYS_FLUSH_PAGE: h->tlb_flush_page(s, r[1], r[0]); break;
    case SYS_ASID:       c->asid = r[0]; break;
    case SYS_VIEW:       c->view = r[0]; break;
    case SYS_PTBASE:     c->ptbase = r[0]; c->n_pages = r[1]; h->tlb_flush(s, -1, true); break;
    case SYS_VECTOR:     c->vector = r[0]; break;
    case SYS_PRINT:
        if (c->n_printed < G_N_ELEMENTS(c->printed))
            c->printed[c->n_printed++] = r[0];
        break;
    case SYS_IRQ_ON:     c->irq_on = true; h->attention(s); break;
    case SYS_WAIT:       c->irq_on = c->halted = true; h->attention(s); break;
    case SYS_IRQ_OFF:    c->irq_on = false; break;
    case SYS_TIME:       r[0] = h->now_ns(s); break;
    case SYS_RANDOM:     r[0] = h->random64(s); break;
    case SYS_PROBE:      return !h->probe(s, r[0], 100, ACC_WRITE, -1);
    case SYS_PUT:        return !h->store(s, r[0], 8, -1, r[1]);
    case SYS_INPUT:
        if (!h->probe(s, r[0], 8, ACC_WRITE, -1))
            return 1;
        c->n_inputs++;
        return !h->store(s, r[0], 8, -1, r[1]);
    case SYS_GET: {
        uint64_t v;
        if (!h->load(s, r[0], 8, -1, &v))
            return 1;
        r[1] = v;
        break;
    }
    }
    reload(c);
    return 0;
}

static uint64_t toy_halt(CpuState *s)
{
    toy(s)->halted = true;
    return 0;
}

static const IrHelper help_sys = { "sys", toy_sys, I32, 1, HF_FAULTS, { { 0xff | 1 << TOY_SYS } }, { { 0xff | 1 << TOY_SYS } } };
static const IrHelper help_halt = { "halt", toy_halt, T_NONE, 0, 0, { { 1 << TOY_SYS } }, { { 1 << TOY_SYS } } };

/* --- translator */

static Val reg(Ir *ir, unsigned r) { return ir_get(ir, r & 7); }

static void one(Ir *ir, const uint8_t *p, uint32_t off, bool *ends)
{
    unsigned d = p[1] & 7, s = p[2] & 7;
    uint32_t imm = p[2] | p[3] << 8 | p[4] << 16 | (uint32_t)p[5] << 24;
    Val x = VAL_NONE, y = VAL_NONE;
    switch (p[0]) {
    case OP_LI:
        ir_put(ir, d, ir_imm(ir, I64, (int64_t)(int32_t)imm));
        break;
    case OP_ADD:
        x = reg(ir, d);
        y = reg(ir, s);
        ir_put(ir, d, ir_op2(ir, IR_ADD, x, y));
        break;
    case OP_ADDI:
        x = reg(ir, d);
        ir_put(ir, d, ir_addi(ir, x, (int8_t)p[2]));
        break;
    case OP_LD: case OP_LDV:
        x = ir_load(ir, I64, MO_64 | (p[0] == OP_LDV ? 2 << MO_VIEW_SHIFT : 0), reg(ir, s));
        ir_put(ir, d, x);
        break;
    case OP_ST: case OP_STB:
        x = reg(ir, d);
        y = reg(ir, s);
        if (p[0] == OP_STB)
            y = ir_ext(ir, IR_TRUNC, I8, y);
        ir_store(ir, p[0] == OP_STB ? MO_8 : MO_64, x, y);
        break;
    case OP_RMW:
        x = reg(ir, d);
        y = ir_load(ir, I64, MO_64 | MO_RMW, x);
        y = ir_op2(ir, IR_ADD, y, reg(ir, s));
        ir_store(ir, MO_64, x, y);
        break;
    case OP_ATOMIC:
        x = reg(ir, d);
        y = reg(ir, s);
        ir_put(ir, s, ir_atomic(ir, AT_ADD, MO_64, x, y, VAL_NONE));
        break;
    case OP_LDQ:
        ir_put(ir, TOY_Q0, ir_load(ir, V128T, MO_128 | MO_ALIGN, reg(ir, d)));
        break;
    case OP_STQ:
        x = reg(ir, d);
        ir_store(ir, MO_128 | MO_ALIGN, x, ir_get(ir, TOY_Q0));
        break;
    case OP_CALL:
        ir_put(ir, 5, ir_pc(ir, off + 5));
        *ends = true;
        break;
    case OP_JR: case OP_RET:
        ir_put(ir, TOY_PC, reg(ir, d));
        *ends = true;
        break;
    case OP_SYS:
        ir_put(ir, TOY_PC, ir_pc(ir, off + 2));
        ir_call(ir, &help_sys, ir_imm(ir, I32, p[1]));
        *ends = true;
        break;
    case OP_HALT:
        ir_call(ir, &help_halt);
        *ends = true;
        break;
    case OP_JNZ: case OP_JMP:
        *ends = true;
        break;
    }
}

static void exits(Ir *ir, const uint8_t *p, uint32_t off)
{
    uint32_t next = off + op_len[p[0]];
    switch (p[0]) {
    case OP_JNZ:
        ir_exit_direct_if(ir, ir_cmpi(ir, C_NE, reg(ir, p[1]), 0), off + (p[2] | p[3] << 8 | p[4] << 16 | (uint32_t)p[5] << 24));
        ir_exit_direct(ir, next);
        break;
    case OP_JMP: case OP_CALL:
        ir_exit_direct(ir, off + (p[1] | p[2] << 8 | p[3] << 16 | (uint32_t)p[4] << 24));
        if (p[0] == OP_CALL)
            ir_exit_is_call(ir, next);
        break;
    case OP_JR: case OP_RET:
        ir_exit_indirect(ir);
        if (p[0] == OP_RET)
            ir_exit_is_return(ir);
        break;
    case OP_SYS:
        ir_exit_mode(ir);
        break;
    default:
        ir_exit_run(ir, EXITR_HALT, next);
        break;
    }
}

static void toy_translate(Ir *ir, TransReq *req)
{
    uint32_t off = 0;
    ir_block(ir);
    for (unsigned n = 0;; n++) {
        const uint8_t *p = req->code + off;
        unsigned len = p[0] < N_OPS ? op_len[p[0]] : 1;
        if (n == req->max_insns || (n && off + len > req->first_len)) {
            ir_exit_direct(ir, off);
            break;
        }
        if (off + len > req->first_len) {
            if (!req->more(req)) {
                ir_exit_direct(ir, 0);
                break;
            }
            p = req->code;
        }
        bool ends = false;
        ir_insn_start(ir, off);
        if (p[0] >= N_OPS) {
            ir_raise(ir, TOY_EXC_UNDEF, 0);
            off += len;
            break;
        }
        one(ir, p, off, &ends);
        ir_insn_end(ir);
        if (ends) {
            exits(ir, p, off);
            off += len;
            break;
        }
        off += len;
        if (off >= req->first_len) {
            ir_exit_direct(ir, off);
            break;
        }
    }
    ir_finish(ir, off);
}

/* --- the rest of the target */

static void record(ToyCpu *c, unsigned vector, uint64_t word)
{
    c->exc = true;
    c->exc_word = vector | word << 8;
}

static bool toy_mmu(CpuState *s, uint64_t va, MmuAccess acc, unsigned view, MmuResult *out)
{
    ToyCpu *c = toy(s);
    c->n_walks++;
    if (!c->n_pages) {
        *out = (MmuResult){ va, PAGE_SIZE, true, true, true, false };
        return true;
    }
    uint64_t pte = 0, want = PTE_V | (acc == ACC_WRITE ? PTE_W : acc == ACC_EXEC ? PTE_X : 0) | (view == 1 ? PTE_U : 0);
    if (va >> 12 < c->n_pages && !hooks_of(s)->phys_load(s, c->ptbase + (va >> 12) * 8, 8, &pte))
        pte = 0;
    if ((pte & want) != want) {
        record(c, TOY_EXC_FAULT, va);
        return false;
    }
    *out = (MmuResult){ (pte & PAGE_MASK) | (va & ~PAGE_MASK), pte & PTE_L ? 2 << 20 : PAGE_SIZE, true, pte & PTE_W,
                        pte & PTE_X, pte & PTE_G };
    return true;
}

static bool toy_misaligned(CpuState *s, uint64_t va, unsigned memop)
{
    record(toy(s), TOY_EXC_ALIGN, va);
    return false;
}
static bool toy_unassigned(CpuState *s, uint64_t pa, MmuAccess acc) { return true; }
static void toy_raise(CpuState *s, unsigned vector, uint32_t error) { record(toy(s), vector, error); }

static void deliver(ToyCpu *c, uint64_t word)
{
    if (!c->vector) {
        hooks_of(&c->s)->triple_fault(&c->s);
        return;
    }
    c->s.hot[6] = word;
    c->s.hot[7] = c->s.hot[16];
    c->s.hot[16] = c->vector;
    c->halted = false;
}

static bool toy_service(CpuState *s)
{
    ToyCpu *c = toy(s);
    if (c->exc) {
        c->exc = false;
        c->n_exc++;
        deliver(c, c->exc_word);
    }
    if (c->irq_on && (atomic_load(&c->port.pending) & PORT_INTR)) {
        port_clear(&c->port, PORT_INTR);
        c->irq_on = false;
        c->n_irq++;
        deliver(c, TOY_IRQ);
    }
    return !c->halted;
}

static void toy_leave(CpuState *s, uint64_t reason) { }
static uint32_t toy_mode_key(const CpuState *s) { return s->mode_tag >> 48; }
static uint64_t toy_code_va(const CpuState *s, uint64_t pc) { return pc; }
static void toy_dump(const CpuState *s, GString *out)
{
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(out, "r%u %" G_GINT64_MODIFIER "x ", i, s->hot[i]);
    g_string_append_printf(out, "pc %" G_GINT64_MODIFIER "x\n", s->hot[16]);
}

const Target toy_target = {
    .name = "toy", .slots = &slot_table, .cpu_size = sizeof(ToyCpu), .cs_arch = -1,
    .mode_key = toy_mode_key, .code_va = toy_code_va, .translate = toy_translate, .mmu = toy_mmu,
    .misaligned = toy_misaligned, .unassigned = toy_unassigned, .raise = toy_raise, .service = toy_service,
    .leave = toy_leave, .dump = toy_dump,
};

/* --- bench */

static uint64_t dev_read(void *self, uint64_t off, unsigned size)
{
    Toy *t = self;
    t->dev_reads++;
    return off + 0x1000 * t->dev_reads;
}

static void dev_write(void *self, uint64_t off, uint64_t v, unsigned size)
{
    Toy *t = self;
    t->dev_writes++;
    t->dev_last = v;
    if (off == 8)
        port_set(&t->cpu->port, PORT_INTR);
}
static const RegionOps dev_ops = { dev_read, dev_write, 1, 8, true };

static void cpu_dead(void *self, unsigned index)
{
    Toy *t = self;
    pthread_mutex_lock(&t->lock);
    t->dead = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

Toy *toy_new(const char *spec)
{
    Toy *t = g_new0(Toy, 1);
    GError *err = NULL;
    qsr_register();
    t->ram_map = ram_map_new();
    t->mem = space_new("memory", 40, t->ram_map);
    t->io = space_new("io", 16, t->ram_map);
    domain_init(&t->domain, "toy", RANK_DEVICE);
    g_assert_true(region_init_ram(&t->ram, "ram", t->ram_map, TOY_RAM, &err));
    g_assert_true(region_init_rom(&t->rom, "rom", t->ram_map, 1 << 16, &dev_ops, t, &t->domain, &err));
    region_init_io(&t->dev, "dev", 1 << 16, &dev_ops, t, &t->domain);
    region_map(space_root(t->mem), 0, &t->ram, 0);
    region_map(space_root(t->mem), TOY_IO, &t->dev, 0);
    region_map(space_root(t->mem), TOY_ROM, &t->rom, 0);
    t->bytes = region_host(&t->ram);
    t->clock = clock_new_manual();
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    AccelMachine m = { .clock = t->clock, .mem = t->mem, .io = t->io, .ram = t->ram_map, .self = t, .cpu_dead = cpu_dead };
    t->accel = accel_open(&spec, 1, &m, &err);
    g_assert_no_error(err);
    t->cpu = aligned_alloc(64, (sizeof(ToyCpu) + 63) & ~63);
    memset(t->cpu, 0, sizeof *t->cpu);
    t->cpu->s.fp_control = t->cpu->s.fp_host = 0x1f80;
    t->vcpu = accel_add_vcpu(t->accel, &toy_target, &t->cpu->s, &t->cpu->port, &err);
    g_assert_no_error(err);
    accel_reset(t->accel);
    reload(t->cpu);
    return t;
}

void toy_free(Toy *t)
{
    if (g_test_verbose()) {
        GString *s = g_string_new(NULL);
        accel_stats(t->accel, s);
        g_test_message("%s", s->str);
        g_string_free(s, TRUE);
    }
    accel_close(t->accel);
    free(t->cpu);
    region_destroy(&t->ram);
    region_destroy(&t->dev);
    region_destroy(&t->rom);
    space_free(t->mem);
    space_free(t->io);
    ram_map_free(t->ram_map);
    domain_destroy(&t->domain);
    clock_free(t->clock);
    qsr_unregister();
    g_free(t);
}

void toy_start(Toy *t)
{
    t->done = t->dead = t->cpu->halted = false;
    accel_resume(t->accel);
}

void toy_wait(Toy *t)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 300;                /* a crowded host, sanitizers, check=on */
    qsr_offline();
    pthread_mutex_lock(&t->lock);
    while (!t->done && !t->dead)
        if (pthread_cond_clockwait(&t->changed, &t->lock, CLOCK_MONOTONIC, &until))
            g_error("the guest does not end: pc %" G_GINT64_MODIFIER "x", t->cpu->s.hot[16]);
    pthread_mutex_unlock(&t->lock);
    qsr_online();
    accel_pause(t->accel);
}

void toy_run(Toy *t)
{
    toy_start(t);
    toy_wait(t);
}

uint64_t toy_reg(const Toy *t, unsigned r) { return t->cpu->s.hot[r]; }

void toy_pte(Toy *t, uint64_t table, uint64_t va, uint64_t pa, unsigned flags)
{
    store_le(t->bytes + table + (va >> 12) * 8, 8, (pa & PAGE_MASK) | flags);
}

void toy_map(Toy *t, uint64_t table, uint64_t n, unsigned flags)
{
    for (uint64_t i = 0; i < n; i++)
        toy_pte(t, table, i << 12, i << 12, flags);
}

typedef struct Case { void (*fn)(const char *spec); const char *spec; } Case;

static void run_case(const void *data)
{
    const Case *c = data;
    c->fn(c->spec);
}

void toy_test(const char *name, void (*fn)(const char *spec))
{
    static const char *const specs[] = {
        "tcg,backend=interp",
        "tcg,backend=interp,stress=interrupt,tb-size=1",
#if HOST_X86_64
        "tcg", "tcg,check=on", "tcg,stress=interrupt", "tcg,stress=regalloc,tb-size=1,split-wx=on", "tcg,one-insn-per-tb=on",
#endif
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
        Case *c = g_new(Case, 1);
        *c = (Case){ fn, specs[i] };
        char *path = g_strdup_printf("/accel/%s/%s", name, specs[i]);
        g_test_add_data_func_full(path, c, run_case, g_free);
        g_free(path);
    }
}
