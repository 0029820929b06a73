/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include "tcg/build.h"
#include "tcg/hostop.h"
#include "tests/ir_random.h"

enum { POOL = 12 };

typedef struct Gen {
    Ir      *ir;
    uint64_t x;
    unsigned flags, host;       /* host: features, asked once (CPUID is slow in a virtual machine) */
    uint64_t pending;           /* slots put by this instruction */
    Val      pool[IR_N_TYPES][POOL];
    unsigned n[IR_N_TYPES];
} Gen;

static uint32_t rnd(Gen *g, uint32_t n)
{
    g->x ^= g->x << 13, g->x ^= g->x >> 7, g->x ^= g->x << 17;
    return (uint32_t)(g->x >> 24) % n;
}

static bool chance(Gen *g, unsigned percent) { return rnd(g, 100) < percent; }

static Val add(Gen *g, Val v)
{
    IrType t = val_type(g->ir, v);
    g->pool[t][g->n[t] < POOL ? g->n[t]++ : rnd(g, POOL)] = v;
    return v;
}

static uint64_t number(Gen *g)
{
    static const uint64_t special[] = {
        0, 1, 2, UINT64_MAX, 0xff, 0xffff, 0xffffffff, 0x80, 0x8000, 0x80000000, UINT64_C(0x8000000000000000), 0xff00,
        UINT64_C(0xffffffff00000000), 0x7f, 0x7fffffff, INT64_MAX, 15, 16, 64,
    };
    uint32_t kind = rnd(g, 4);
    if (kind < 2)
        return special[rnd(g, G_N_ELEMENTS(special))];
    uint64_t hi = rnd(g, UINT32_MAX), lo = rnd(g, UINT32_MAX);
    return kind == 2 ? lo % 1000 : hi << 32 | lo;
}

static Val pick(Gen *g, IrType t)
{
    bool k = !g->n[t] || chance(g, t == PRED ? 5 : 25);
    if (t == V256T && (!g->n[t] || chance(g, 30))) {
        Val lo = pick(g, V128T), hi = chance(g, 30) ? ir_imm128(g->ir, 0, 0) : pick(g, V128T);
        return ir_concat(g->ir, lo, hi);
    }
    k &= t != V256T;
    if (k && t == V128T) {
        uint64_t lo = number(g), hi = number(g);
        return ir_imm128(g->ir, lo, hi);
    }
    if (k) {
        uint64_t v = number(g);
        return ir_imm(g->ir, t, v);
    }
    return g->pool[t][rnd(g, g->n[t])];
}

static IrType int_type(Gen *g, IrType from) { return from + rnd(g, I64 - from + 1); }

static Val count(Gen *g, IrType t)
{
    unsigned bits = type_bits(t);
    if (chance(g, 70)) {
        uint64_t n = rnd(g, bits);
        return ir_imm(g->ir, I8, n);
    }
    Val v = pick(g, I8);
    return ir_op2i(g->ir, IR_AND, v, bits - 1);
}

/* --- pure operations ------------------------------------------------------------------------------------------ */

static void op_two(Gen *g, IrOp op, IrType t)
{
    Val a = pick(g, t), b = pick(g, t), c;

    switch (op) {
    case IR_ADDC: case IR_SUBB:
        c = pick(g, PRED);
        a = ir_op3(g->ir, op, a, b, c);
        break;
    case IR_UDIVW:                              /* quotient must fit */
        a = ir_op2i(g->ir, IR_AND, a, 0x7fffffff);
        c = pick(g, t);
        c = ir_op2i(g->ir, IR_OR, c, UINT64_C(1) << (type_bits(t) - 1));
        a = ir_op3(g->ir, op, a, b, c);
        break;
    case IR_UDIV: case IR_SDIV:                 /* neither zero nor -1 */
        b = ir_op2i(g->ir, IR_AND, b, UINT64_MAX >> (65 - type_bits(t)));
        b = ir_op2i(g->ir, IR_OR, b, 1);
        /* fall through */
    default:
        a = ir_op2(g->ir, op, a, b);
    }
    Val second = ir_second(g->ir, a);
    add(g, a);
    add(g, second);
}

/* A sum of several words: each takes the carry of the last one, sometimes after a product, which leaves it alone. */
static void op_chain(Gen *g)
{
    Ir *ir = g->ir;
    IrType t = int_type(g, I8);
    Val c = pick(g, PRED);
    for (unsigned n = 2 + rnd(g, 4); n; n--) {
        Val a = pick(g, t), b = pick(g, t);
        if (t >= I32 && chance(g, 50)) {
            a = ir_op2(ir, IR_UMULW, a, b);
            b = ir_second(ir, a);
        }
        a = ir_op3(ir, chance(g, 70) ? IR_ADDC : IR_SUBB, a, b, c);
        c = ir_second(ir, a);
        add(g, a);
    }
    add(g, c);
}

static void op_int(Gen *g)
{
    static const uint8_t any2[] = { IR_ADD, IR_SUB, IR_MUL, IR_AND, IR_OR, IR_XOR, IR_ANDC };
    static const uint8_t any1[] = { IR_NOT, IR_NEG };
    static const uint8_t wide1[] = { IR_BSWAP, IR_CLZ, IR_CTZ, IR_POPCNT };
    static const uint8_t shifts[] = { IR_SHL, IR_SHR, IR_SAR };
    static const uint8_t rotates[] = { IR_ROL, IR_ROR };
    static const uint8_t funnels[] = { IR_SHLD, IR_SHRD };
    static const uint8_t two[] = { IR_ADDC, IR_SUBB, IR_UMULW, IR_SMULW, IR_UDIVW, IR_UDIV, IR_SDIV };
    Ir *ir = g->ir;
    IrType t = int_type(g, I8), w = int_type(g, I32), u;
    Val a, b, c;

    switch (rnd(g, 17)) {
    case 16:
        op_chain(g);
        return;
    case 0: case 1: case 2: case 3:
        a = pick(g, t), b = chance(g, 8) ? a : pick(g, t);
        add(g, ir_op2(ir, any2[rnd(g, G_N_ELEMENTS(any2))], a, b));
        return;
    case 4:
        a = pick(g, t);
        add(g, ir_op1(ir, any1[rnd(g, 2)], a));
        return;
    case 5:
        a = pick(g, w);
        add(g, ir_op1(ir, wide1[rnd(g, 4)], a));
        return;
    case 6: case 7:
        a = pick(g, w), b = count(g, w);
        add(g, ir_op2(ir, shifts[rnd(g, 3)], a, b));
        return;
    case 8:
        a = pick(g, t), b = count(g, t);
        add(g, ir_op2(ir, rotates[rnd(g, 2)], a, b));
        return;
    case 9:
        a = pick(g, w), b = chance(g, 20) ? a : pick(g, w), c = count(g, w);
        add(g, ir_op3(ir, funnels[rnd(g, 2)], a, b, c));
        return;
    case 10: {
        unsigned i = rnd(g, G_N_ELEMENTS(two));
        op_two(g, two[i], i < 2 ? t : w);
        return;
    }
    case 11:
        u = int_type(g, I8);
        a = pick(g, t);
        add(g, ir_resize(ir, u, a, chance(g, 50)));
        return;
    case 12: {
        unsigned pos = rnd(g, type_bits(t)), len = 1 + rnd(g, type_bits(t) - pos);
        if (chance(g, 40))
            pos = 0, len = chance(g, 50) ? 8 : MAX(8, type_bits(t) / 2);
        a = pick(g, t), b = pick(g, t);
        add(g, chance(g, 50) ? ir_extract(ir, a, pos, len) : ir_deposit(ir, a, b, pos, len));
        return;
    }
    case 13: case 14:
        a = pick(g, t), b = chance(g, 5) ? a : pick(g, t);
        add(g, ir_cmp(ir, rnd(g, IR_N_CONDS), a, b));
        return;
    default:
        a = pick(g, PRED);
        if (chance(g, 50)) {
            add(g, ir_ext(ir, IR_ZEXT, t, a));
            return;
        }
        b = pick(g, t), c = pick(g, t);
        add(g, ir_select(ir, a, b, c));
    }
}

static void op_host_wide(Gen *g, unsigned row, unsigned imm)
{
    const HostRow *r = &host_rows[row];
    bool down = r->wide == HW_DOWN, up = r->wide == HW_UP || r->wide == HW_BCAST;
    IrType t = down ? V128T : r->kind == HK_GV || r->kind == HK_FVV ? I32 : V256T;
    Val a = pick(g, up ? V128T : V256T), b = VAL_NONE, c = VAL_NONE;
    if (r->kind == HK_VVV || r->kind == HK_FVV || r->kind == HK_VVVV || r->kind == HK_FMA)
        b = chance(g, 10) && r->wide != HW_COUNT ? a : pick(g, r->wide == HW_COUNT ? V128T : V256T);
    if (r->kind == HK_VVVV || r->kind == HK_FMA)
        c = pick(g, V256T);
    add(g, ir_host(g->ir, t, row, a, b, c, imm));
}

static void op_halves(Gen *g)
{
    Val v = pick(g, V256T);
    unsigned how = rnd(g, 3);
    if (how == 2) {
        Val lo = pick(g, V128T), hi = pick(g, V128T);
        v = ir_concat(g->ir, lo, hi);
    } else {
        v = how ? ir_high(g->ir, v) : ir_low(g->ir, v);
    }
    add(g, v);
}

static void op_host(Gen *g)
{
    unsigned row = rnd(g, HOST_N_ROWS), imm = rnd(g, 256);
    const HostRow *r = &host_rows[row];
    IrType wide = r->flags & HOF_W && chance(g, 50) ? I64 : I32, t = V128T;
    bool whole = g->flags & IRR_VEX && r->wide != HW_NONE && !(r->wide_needs & ~g->host) &&
                 (chance(g, 40) || r->flags & HOF_256);
    if (whole && !(r->flags & HOF_FP && !(g->flags & IRR_FP))) {
        op_host_wide(g, row, imm);
        return;
    }
    Val a = VAL_NONE, b = VAL_NONE, c = VAL_NONE;

    if (r->flags & HOF_256 || r->needs & ~g->host || (r->flags & HOF_VEX && !(g->flags & IRR_VEX)) || (r->flags & HOF_FP && !(g->flags & IRR_FP)))
        return;
    switch ((HostKind)r->kind) {
    case HK_VV: case HK_VSHI:
        a = pick(g, V128T);
        break;
    case HK_VVV:
        a = pick(g, V128T), b = chance(g, 10) ? a : pick(g, V128T);
        break;
    case HK_VVVV: case HK_FMA:
        a = pick(g, V128T), b = pick(g, V128T), c = pick(g, V128T);
        break;
    case HK_VG:
        a = pick(g, wide);
        break;
    case HK_VVG:
        a = pick(g, V128T), b = pick(g, wide);
        break;
    case HK_GV:
        a = pick(g, V128T), t = wide;
        break;
    case HK_FVV:
        a = pick(g, V128T), b = pick(g, V128T), t = I32;
        break;
    case HK_GGG:
        a = pick(g, wide), b = pick(g, wide), t = wide;
        break;
    default:
        return;
    }
    add(g, ir_host(g->ir, t, row, a, b, c, imm));
}

static void op_pure(Gen *g)
{
    if (g->flags & IRR_HOST && g->flags & IRR_VEX && g->host & HOST_AVX && chance(g, 8))
        op_halves(g);
    else if (g->flags & IRR_HOST && chance(g, 20))
        op_host(g);
    else
        op_int(g);
}

/* --- slots, memory, calls ------------------------------------------------------------------------------------- */

static unsigned any_slot(Gen *g)
{
    unsigned s = rnd(g, TS_V3 + 1);
    return s == TS_PC ? TS_R0 : s;
}

static void op_get(Gen *g)
{
    unsigned s = any_slot(g);
    add(g, ir_get(g->ir, s));
}

static void op_put(Gen *g)
{
    unsigned s = any_slot(g);
    Val v = pick(g, test_slots.slot[s].type);
    ir_put(g->ir, s, v);
    g->pending |= UINT64_C(1) << s;
    unsigned upper = test_slots.slot[s].upper;
    if (!upper || !(g->flags & IRR_VEX && g->host & HOST_AVX) || chance(g, 40))
        return;
    bool both = chance(g, 70);                  /* halves of one value, or zeros above another */
    Val whole = pick(g, V256T), zero = ir_imm128(g->ir, 0, 0), low = ir_low(g->ir, whole), high = ir_high(g->ir, whole);
    if (both)
        ir_put(g->ir, s, low);
    ir_put(g->ir, upper, both ? high : zero);
    g->pending |= UINT64_C(1) << upper;
}

static Val address(Gen *g)
{
    Val a = pick(g, I64);
    a = ir_op2i(g->ir, IR_AND, a, chance(g, 50) ? 0x1ff8 : chance(g, 80) ? 0x1fff : 0xffff);
    return chance(g, 40) ? ir_addi(g->ir, a, rnd(g, 64)) : a;
}

static void op_mem(Gen *g)
{
    Ir *ir = g->ir;
    Val a = address(g), b, c = VAL_NONE;
    unsigned size = rnd(g, 4), mo = size;

    if (g->flags & IRR_ATOMIC && chance(g, 15)) {
        unsigned op = rnd(g, AT_CAS + 1);
        b = pick(g, I8 + size);
        if (op == AT_CAS)
            c = pick(g, I8 + size);
        add(g, ir_atomic(ir, op, mo, a, b, c));
        return;
    }
    bool vector = chance(g, 25), store = chance(g, 40);
    bool whole = vector && g->flags & IRR_VEX && g->host & HOST_AVX && chance(g, 40);
    if (vector)
        mo = whole ? MO_256 : MO_32 + rnd(g, 3);
    if (chance(g, 3))
        mo |= MO_ALIGN;
    if (g->flags & IRR_BE && !vector && size && chance(g, 10))
        mo |= MO_BE;
    if (store) {
        b = pick(g, whole ? V256T : vector ? V128T : chance(g, 70) ? I8 + size : (unsigned)int_type(g, I8 + size));
        ir_store(ir, mo, a, b);
        return;
    }
    if (chance(g, 10))
        mo |= MO_RMW;
    add(g, ir_load(ir, whole ? V256T : vector ? V128T : I8 + size, mo, a));
}

static Val rarely(Gen *g)
{
    Val v = pick(g, I64);
    v = ir_op2i(g->ir, IR_AND, v, 15);
    return ir_cmpi(g->ir, C_EQ, v, 7);
}

static void op_call_faulting(Gen *g)
{
    if (g->pending & (th_check.reads.w[0] | th_check.writes.w[0]))
        return;
    Val a = pick(g, I64), b = pick(g, I64);
    if (chance(g, 80))
        a = ir_op2i(g->ir, IR_OR, a, 1);        /* passes */
    ir_call(g->ir, &th_check, a, b);
    add(g, ir_get(g->ir, TS_HELPER_RET));
}

static void op_call(Gen *g)
{
    static const IrHelper *const list[] = { &th_pure, &th_five, &th_read, &th_mutate, &th_fp };
    const IrHelper *h = list[rnd(g, G_N_ELEMENTS(list))];
    Val args[5];

    if (h == &th_read) {
        Val v = pick(g, I64);
        ir_put(g->ir, TS_TMP, v);
    }
    for (unsigned i = 0; i < h->nargs; i++)
        args[i] = pick(g, h == &th_five && i > 2 ? I16 : I64);
    add(g, ir_callv(g->ir, h, h->nargs, args));
}

/* Something that may leave in the middle of the instruction. */
static void op_leaving(Gen *g)
{
    if (g->flags & IRR_MEM && chance(g, 70))
        op_mem(g);
    else if (g->flags & IRR_CALLS && chance(g, 50))
        op_call_faulting(g);
    else if (g->flags & IRR_EXITS && chance(g, 50)) {
        Val p = rarely(g);
        ir_raise_if(g->ir, p, rnd(g, 20), rnd(g, 100));
    }
}

static void op_quiet(Gen *g)
{
    uint32_t k = rnd(g, 10);
    if (k < 6)
        op_pure(g);
    else if (k < 8)
        op_get(g);
    else
        op_put(g);
}

static void body(Gen *g)
{
    g->pending = 0;
    for (unsigned n = 1 + rnd(g, 6); n; n--) {
        if (chance(g, 75))
            op_quiet(g);
        else
            op_leaving(g);
    }
    if (g->flags & IRR_CALLS && chance(g, 15))
        op_call(g);             /* takes pending slots: nothing may leave after it */
    for (unsigned n = rnd(g, 3); n; n--)
        op_quiet(g);
}

static void abandoned(Gen *g, uint32_t pc_off)
{
    Gen saved = *g;
    ir_insn_start(g->ir, pc_off);
    body(g);
    ir_insn_abandon(g->ir);
    saved.x = g->x;
    *g = saved;
}

static int32_t direct_target(Gen *g)
{
    return g->flags & IRR_LOOPS ? 0 : (int32_t)rnd(g, 4096) - 2048;
}

/* The last instruction and the exit. */
static void finish(Gen *g, uint32_t pc_off)
{
    Ir *ir = g->ir;
    Val v;

    ir_insn_start(ir, pc_off);
    switch (g->flags & IRR_LOOPS && rnd(g, 4) ? 4 : rnd(g, 5)) {
    case 0:
        v = pick(g, I64);
        ir_put(ir, TS_PC, v);
        ir_insn_end(ir);
        ir_exit_indirect(ir);
        if (ir->n_insns % 3 == 1)
            ir_exit_is_call(ir, (int32_t)pc_off + 4);
        else if (ir->n_insns % 3)
            ir_exit_is_return(ir);
        break;
    case 1:
        v = ir_pc(ir, rnd(g, 100));
        ir_call(ir, &th_pc, v);
        ir_insn_end(ir);
        ir_exit_mode(ir);
        break;
    case 2:
        ir_insn_end(ir);
        ir_exit_run(ir, EXITR_HALT, (int32_t)pc_off + 4);
        break;
    case 3:
        op_put(g);
        ir_raise(ir, 6, 0);
        ir_insn_end(ir);
        break;
    default:
        v = ir_pc(ir, (int32_t)pc_off + 4);
        ir_put(ir, TS_R7, v);
        ir_insn_end(ir);
        ir_exit_direct(ir, direct_target(g));
        if (ir->n_insns % 2)
            ir_exit_is_call(ir, (int32_t)pc_off + 4);
    }
}

static unsigned features(void)
{
    static gsize known;                         /* + 1 */
    if (g_once_init_enter(&known))
        g_once_init_leave(&known, (gsize)host_features() + 1);
    return (unsigned)known - 1;
}

void ir_random(Ir *ir, uint32_t seed, unsigned flags)
{
    Gen g = { .ir = ir, .x = (seed + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9) | 1, .flags = flags,
              .host = features() };
    unsigned n = 1 + rnd(&g, 24), i;

    ir_reset(ir);
    ir_block(ir);
    for (i = 0; i < n; i++) {
        ir_insn_start(ir, 4 * i);
        if (!i) {
            for (unsigned s = 0; s < 6; s++)
                op_get(&g);
        }
        body(&g);
        ir_insn_end(ir);
        if (flags & IRR_EXITS && chance(&g, 8)) {
            Val p = rarely(&g);
            ir_exit_direct_if(ir, p, direct_target(&g));
        }
    }
    if (flags & IRR_ABANDON && chance(&g, 20))
        abandoned(&g, 4 * i);
    finish(&g, 4 * i);
    ir_finish(ir, 4 * i + 4);
}
