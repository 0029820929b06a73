/* SPDX-License-Identifier: GPL-2.0-or-later
 * Integer arithmetic and moves.  Source: APM vol. 3; Intel SDM vol. 2 where AMD leaves results undefined. */
#include "target/x86/alu_int.h"

/* helper_int.c */
extern const IrHelper x86_helper_idiv64, x86_helper_cmpxchg8b, x86_helper_cmpxchg16b, x86_helper_decimal, x86_helper_pause;

/* --- ADD OR ADC SBB AND SUB XOR CMP */

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/* Compare-and-swap by hand, for what no host atomic does: if somebody else was faster, nothing has changed, and the
 * instruction runs again. */
static void locked_swap(X86Trans *t, X86Args *a, Val expected, Val v, const X86CcSlots *cc)
{
    Val old = x86_atomic(t, a, AT_CAS, expected, v);
    Val lost = ir_cmp(t->b, C_NE, old, expected);
    x86_cc_keep_if(t, lost, cc);
    x86_exit_again_if(t, lost);
}

static bool alu_carry(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    bool add = a->row->arg == ALU_ADC;
    X86CcSlots cc;
    if (t->lock) {
        x86_cc_save(t, &cc);
        a->dst = get_rm(t, a, true);
    }
    Val carry = x86_chain_in(t, FL_CF), x = a->dst, y = a->src;
    a->dst = ir_op3(b, add ? IR_ADDC : IR_SUBB, x, y, carry);
    Val out = ir_second(b, a->dst);
    x86_put_flags(t, add ? CC_ADC : CC_SBB, a->size, a->dst, x, y);
    t->cc.carry = out;
    if (t->lock)
        locked_swap(t, a, x, a->dst, &cc);
    return true;
}

static Val locked_alu(X86Trans *t, X86Args *a)
{
    static const uint8_t ops[8] = { [ALU_ADD] = AT_ADD, [ALU_OR] = AT_OR, [ALU_AND] = AT_AND, [ALU_SUB] = AT_ADD,
                                    [ALU_XOR] = AT_XOR };
    Val y = a->src;
    if (a->row->arg == ALU_SUB)
        y = ir_op1(t->b, IR_NEG, y);
    return x86_atomic(t, a, ops[a->row->arg], y, VAL_NONE);
}

static bool tr_alu(X86Trans *t, X86Args *a)
{
    static const uint8_t ops[8] = { [ALU_ADD] = IR_ADD, [ALU_OR] = IR_OR, [ALU_AND] = IR_AND, [ALU_SUB] = IR_SUB,
                                    [ALU_XOR] = IR_XOR };
    unsigned op = a->row->arg;
    if (op == ALU_ADC || op == ALU_SBB)
        return alu_carry(t, a);
    Val y = a->src, x = t->lock ? locked_alu(t, a) : a->dst;
    if (op == ALU_CMP) {
        x86_put_flags(t, CC_CMP, a->size, VAL_NONE, x, y);
        return true;
    }
    a->dst = ir_op2(t->b, ops[op], x, y);
    x86_put_flags(t, op == ALU_ADD ? CC_ADD : op == ALU_SUB ? CC_SUB : CC_LOGIC, a->size, a->dst, x, y);
    return true;
}

static bool tr_test(X86Trans *t, X86Args *a)
{
    Val v = ir_op2(t->b, IR_AND, a->dst, a->src);
    x86_put_flags(t, CC_LOGIC, a->size, v, a->dst, a->src);
    return true;
}

/* arg: 0 INC, 1 DEC.  The carry stays. */
static bool tr_inc(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    bool dec = a->row->arg;
    Val one = ir_imm(b, type_of(a), 1), x = a->dst;
    if (t->lock) {
        Val d = ir_imm(b, type_of(a), dec ? ~0ull : 1);
        x = x86_atomic(t, a, AT_ADD, d, VAL_NONE);
    }
    a->dst = ir_op2(b, dec ? IR_SUB : IR_ADD, x, one);
    x86_put_step(t, dec, a->size, a->dst, x);
    return true;
}

static bool tr_not(X86Trans *t, X86Args *a)
{
    if (t->lock) {
        Val ones = ir_imm(t->b, type_of(a), ~0ull);
        x86_atomic(t, a, AT_XOR, ones, VAL_NONE);
        return true;
    }
    a->dst = ir_op1(t->b, IR_NOT, a->dst);
    return true;
}

static bool tr_neg(X86Trans *t, X86Args *a)
{
    X86CcSlots cc;
    if (t->lock) {
        x86_cc_save(t, &cc);
        a->dst = get_rm(t, a, true);
    }
    Val x = a->dst, zero = ir_imm(t->b, type_of(a), 0);
    a->dst = ir_op1(t->b, IR_NEG, x);
    x86_put_flags(t, CC_SUB, a->size, a->dst, zero, x);
    if (t->lock)
        locked_swap(t, a, x, a->dst, &cc);
    return true;
}

/* --- multiplication and division */

/* IMUL with two and three operands. */
static Val imul2(X86Trans *t, X86Args *a, Val x, Val y)
{
    Val v = ir_op2(t->b, IR_MUL, x, y);
    x86_put_flags(t, CC_IMUL, a->size, VAL_NONE, x, y);
    return v;
}

static bool tr_imul2(X86Trans *t, X86Args *a)
{
    a->dst = imul2(t, a, a->dst, a->src);
    return true;
}

static bool tr_imul3(X86Trans *t, X86Args *a)
{
    a->dst = imul2(t, a, a->src, a->src2);
    return true;
}

/* MUL, IMUL with one operand; arg: 0 unsigned, 1 signed. */
static bool tr_mul(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    bool sgn = a->row->arg;
    Val x = x86_get_reg(t, RAX, a->size), y = a->dst;
    IrOp ext = sgn ? IR_SEXT : IR_ZEXT;
    if (a->size == 8) {
        Val lo = ir_op2(b, sgn ? IR_SMULW : IR_UMULW, x, y);
        Val hi = ir_second(b, lo);
        x86_put_reg(t, RAX, 8, lo);
        x86_put_reg(t, RDX, 8, hi);
    } else {
        IrType wide = a->size == 4 ? I64 : I32;
        Val wx = ir_ext(b, ext, wide, x), wy = ir_ext(b, ext, wide, y);
        Val p = ir_op2(b, IR_MUL, wx, wy);
        if (a->size == 1) {
            Val v = narrow(t, 2, p);
            x86_put_reg(t, RAX, 2, v);
        } else {
            Val lo = narrow(t, a->size, p);
            Val hi = ir_op2i(b, IR_SHR, p, bits_of(a));
            hi = narrow(t, a->size, hi);
            x86_put_reg(t, RAX, a->size, lo);
            x86_put_reg(t, RDX, a->size, hi);
        }
    }
    x86_put_flags(t, sgn ? CC_IMUL : CC_UMUL, a->size, VAL_NONE, x, y);
    return true;
}

/* DIV r/m8: AX by 8 bits into AL and AH. */
static void put_al_ah(X86Trans *t, Val q, Val r)
{
    Val v = ir_op2i(t->b, IR_AND, q, 0xff);
    r = ir_op2i(t->b, IR_SHL, r, 8);
    v = ir_op2(t->b, IR_OR, v, r);
    v = narrow(t, 2, v);
    x86_put_reg(t, RAX, 2, v);
}

static bool tr_div8(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val ax = x86_get_reg(t, RAX, 2), x = zext(t, I32, ax), d = zext(t, I32, a->dst);
    Val high = ir_op2i(b, IR_SHR, x, 8);
    Val bad = ir_cmp(b, C_GEU, high, d);
    ir_raise_if(b, bad, EXC_DE, 0);
    Val q = ir_op2(b, IR_UDIV, x, d);
    Val r = ir_second(b, q);
    put_al_ah(t, q, r);
    return true;
}

/* The quotient fits exactly if the high half is below the divisor; that covers a zero divisor. */
static bool tr_div(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    if (a->size == 1)
        return tr_div8(t, a);
    Val hi = x86_get_reg(t, RDX, a->size), lo = x86_get_reg(t, RAX, a->size), d = a->dst;
    Val bad = ir_cmp(b, C_GEU, hi, d);
    ir_raise_if(b, bad, EXC_DE, 0);
    Val q, r;
    uint64_t high;
    if (a->size == 2) {
        Val wide = zext(t, I32, hi);
        wide = ir_op2i(b, IR_SHL, wide, 16);
        Val low = zext(t, I32, lo), wd = zext(t, I32, d);
        wide = ir_op2(b, IR_OR, wide, low);
        q = ir_op2(b, IR_UDIV, wide, wd);
    } else if (ir_is_imm(b, hi, &high) && !high) {
        q = ir_op2(b, IR_UDIV, lo, d);
    } else {
        q = ir_op3(b, IR_UDIVW, hi, lo, d);
    }
    r = ir_second(b, q);
    q = ir_resize(b, type_of(a), q, false);
    r = ir_resize(b, type_of(a), r, false);
    x86_put_reg(t, RAX, a->size, q);
    x86_put_reg(t, RDX, a->size, r);
    return true;
}

/* Signed division where the quotient of the wide type cannot overflow: checks for zero and for a quotient too wide. */
static Val checked_sdiv(X86Trans *t, Val x, Val d, IrType narrow, Val *rem)
{
    Ir *b = t->b;
    Val bad = ir_cmpi(b, C_EQ, d, 0);
    ir_raise_if(b, bad, EXC_DE, 0);
    Val q = ir_op2(b, IR_SDIV, x, d);
    *rem = ir_second(b, q);
    Val low = ir_ext(b, IR_TRUNC, narrow, q);
    Val back = ir_ext(b, IR_SEXT, val_type(b, q), low);
    bad = ir_cmp(b, C_NE, back, q);
    ir_raise_if(b, bad, EXC_DE, 0);
    return q;
}

/* The smallest number by -1 overflows. */
static void raise_if_overflow(X86Trans *t, Val x, Val d, unsigned bits)
{
    Ir *b = t->b;
    Val m = ir_op2i(b, IR_XOR, x, 1ull << (bits - 1));
    Val n = ir_op1(b, IR_NOT, d);
    m = ir_op2(b, IR_OR, m, n);
    Val bad = ir_cmpi(b, C_EQ, m, 0);
    ir_raise_if(b, bad, EXC_DE, 0);
}

/* CDQ or CQO came before: the common case. */
static void idiv_extended(X86Trans *t, X86Args *a, Val lo, Val d)
{
    Ir *b = t->b;
    Val bad = ir_cmpi(b, C_EQ, d, 0);
    ir_raise_if(b, bad, EXC_DE, 0);
    raise_if_overflow(t, lo, d, bits_of(a));
    Val q = ir_op2(b, IR_SDIV, lo, d);
    Val r = ir_second(b, q);
    x86_put_reg(t, RAX, a->size, q);
    x86_put_reg(t, RDX, a->size, r);
}

static bool tr_idiv(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val d = a->dst, r;
    if (a->size == 1) {
        Val ax = x86_get_reg(t, RAX, 2), x = sext(t, I32, ax), wd = sext(t, I32, d);
        Val q = checked_sdiv(t, x, wd, I8, &r);
        put_al_ah(t, q, r);
        return true;
    }
    Val hi = x86_get_reg(t, RDX, a->size), lo = x86_get_reg(t, RAX, a->size);
    if (a->size >= 4) {
        Val sign = ir_op2i(b, IR_SAR, lo, bits_of(a) - 1);
        if (sign == hi) {
            idiv_extended(t, a, lo, d);
            return true;
        }
    }
    if (a->size == 8) {
        ir_call(b, &x86_helper_idiv64, d);
        return true;
    }
    Val wide = zext(t, I64, hi), low = zext(t, I64, lo), wd = sext(t, I64, d);
    wide = ir_op2i(b, IR_SHL, wide, bits_of(a));
    wide = ir_op2(b, IR_OR, wide, low);
    if (a->size == 2) {
        Val x = ir_ext(b, IR_TRUNC, I32, wide);
        wide = sext(t, I64, x);
    } else {
        raise_if_overflow(t, wide, wd, 64);
    }
    Val q = checked_sdiv(t, wide, wd, type_of(a), &r);
    q = narrow(t, a->size, q);
    r = narrow(t, a->size, r);
    x86_put_reg(t, RAX, a->size, q);
    x86_put_reg(t, RDX, a->size, r);
    return true;
}

/* --- moves */

static bool tr_mov(X86Trans *t, X86Args *a)
{
    a->dst = a->src;
    return true;
}

static bool tr_movzx(X86Trans *t, X86Args *a)
{
    a->dst = ir_resize(t->b, type_of(a), a->src, a->row->arg);
    return true;
}

static bool tr_lea(X86Trans *t, X86Args *a)
{
    a->dst = ir_resize(t->b, type_of(a), a->ea, false);
    return true;
}

static bool tr_cmov(X86Trans *t, X86Args *a)
{
    Val p = x86_cond(t, a->opcode & 15);
    a->dst = ir_select(t->b, p, a->src, a->dst);
    return true;
}

static bool tr_setcc(X86Trans *t, X86Args *a)
{
    Val p = x86_cond(t, a->opcode & 15);
    a->dst = zext(t, I8, p);
    return true;
}

/* SALC: AL = CF ? FFh : 0.  In no manual, and in every processor. */
static bool tr_salc(X86Trans *t, X86Args *a)
{
    Val cf = x86_get_carry(t);
    Val one = zext(t, I8, cf);
    a->dst = ir_op1(t->b, IR_NEG, one);
    return true;
}

/* XCHG r/m, r.  With memory it is atomic, LOCK or not. */
static bool tr_xchg(X86Trans *t, X86Args *a)
{
    Val y = a->src;
    Val x = a->is_mem ? x86_atomic(t, a, AT_XCHG, y, VAL_NONE) : get_rm(t, a, false);
    if (!a->is_mem)
        put_rm(t, a, y);
    put_gpr(t, a->reg, a->size, x);
    return true;
}

/* XCHG rAX, r */
static bool tr_xchg_ax(X86Trans *t, X86Args *a)
{
    if (a->rm == RAX)
        return true;            /* NOP: the upper half stays as well */
    x86_put_reg(t, a->rm, a->size, a->src);
    x86_put_reg(t, RAX, a->size, a->dst);
    return true;
}

static bool tr_xadd(X86Trans *t, X86Args *a)
{
    Val y = a->src, x = t->lock ? x86_atomic(t, a, AT_ADD, y, VAL_NONE) : get_rm(t, a, true);
    Val sum = ir_op2(t->b, IR_ADD, x, y);
    if (a->is_mem) {            /* the store may fault, so it comes first; of two equal registers the sum stays */
        if (!t->lock)
            put_rm(t, a, sum);
        put_gpr(t, a->reg, a->size, x);
    } else {
        put_gpr(t, a->reg, a->size, x);
        put_rm(t, a, sum);
    }
    x86_put_flags(t, CC_ADD, a->size, sum, x, y);
    return true;
}

/* A memory destination is written in any case.  Of registers only one is written, so that a 32-bit operand does not
 * clear the other's upper half (what processors do; the manuals are silent). */
static bool tr_cmpxchg(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val expected = x86_get_reg(t, RAX, a->size), y = a->src, x, equal;
    if (t->lock) {
        x = x86_atomic(t, a, AT_CAS, expected, y);
        equal = ir_cmp(b, C_EQ, expected, x);
    } else {
        x = get_rm(t, a, true);
        equal = ir_cmp(b, C_EQ, expected, x);
        if (a->is_mem) {
            Val v = ir_select(b, equal, y, x);
            put_rm(t, a, v);
        }
    }
    Val rax = ir_get(b, X_RAX), now = zext(t, I64, x);
    if (a->size < 4)
        now = ir_deposit(b, rax, now, 0, bits_of(a));
    now = ir_select(b, equal, rax, now);
    ir_put(b, X_RAX, now);
    if (!a->is_mem) {
        bool high = a->size == 1 && !t->rex && a->rm >= 4;
        unsigned slot = X_RAX + a->rm - (high ? 4 : 0);
        Val old = ir_get(b, slot);
        put_rm(t, a, y);
        Val swapped = ir_get(b, slot);
        swapped = ir_select(b, equal, swapped, old);
        ir_put(b, slot, swapped);
    }
    x86_put_flags(t, CC_CMP, a->size, VAL_NONE, expected, x);
    return true;
}

/* The helper writes ZF and the registers. */
static bool tr_cmpxchg8b(X86Trans *t, X86Args *a)
{
    x86_limit(t, a, a->row->arg, true);
    Val flags = x86_get_flags(t);
    ir_call(t->b, a->row->arg == 16 ? &x86_helper_cmpxchg16b : &x86_helper_cmpxchg8b, a->addr, flags);
    x86_cc_forget(t);
    return true;
}

static bool tr_pause(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &x86_helper_pause);
    return true;
}

/* CBW CWDE CDQE */
static bool tr_cbw(X86Trans *t, X86Args *a)
{
    Val v = x86_get_reg(t, RAX, t->opsize / 2);
    v = sext(t, x86_type(t->opsize), v);
    x86_put_reg(t, RAX, t->opsize, v);
    return true;
}

/* CWD CDQ CQO */
static bool tr_cwd(X86Trans *t, X86Args *a)
{
    Val v = x86_get_reg(t, RAX, t->opsize);
    if (t->opsize == 2) {
        v = sext(t, I32, v);
        v = ir_op2i(t->b, IR_SAR, v, 16);
        v = narrow(t, 2, v);
    } else {
        v = ir_op2i(t->b, IR_SAR, v, t->opsize * 8 - 1);
    }
    x86_put_reg(t, RDX, t->opsize, v);
    return true;
}

static bool tr_xlat(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val al = x86_get_reg(t, RAX, 1), base = ir_get(b, X_RBX);
    al = zext(t, I64, al);
    Val ea = ir_op2(b, IR_ADD, base, al);
    if (t->adsize < 8)
        ea = ir_op2i(b, IR_AND, ea, t->adsize == 4 ? 0xffffffff : 0xffff);
    t->limit_len = 1;
    t->limit_write = false;
    Val addr = x86_linear(t, t->seg_override >= 0 ? t->seg_override : DS, ea);
    Val v = x86_load(t, addr, 1);
    x86_put_reg(t, RAX, 1, v);
    return true;
}

/* --- flags */

static bool tr_lahf(X86Trans *t, X86Args *a)
{
    Val f = x86_get_flags(t);
    f = ir_op2i(t->b, IR_AND, f, FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF);
    f = ir_op2i(t->b, IR_OR, f, FL_1);
    f = zext(t, I64, f);
    Val rax = ir_get(t->b, X_RAX);
    rax = ir_deposit(t->b, rax, f, 8, 8);
    ir_put(t->b, X_RAX, rax);
    return true;
}

static bool tr_sahf(X86Trans *t, X86Args *a)
{
    Val of = x86_get_flags(t);
    of = ir_op2i(t->b, IR_AND, of, FL_OF);
    Val rax = ir_get(t->b, X_RAX);
    Val f = ir_extract(t->b, rax, 8, 8);
    f = ir_ext(t->b, IR_TRUNC, I32, f);
    f = ir_op2i(t->b, IR_AND, f, FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF);
    f = ir_op2(t->b, IR_OR, f, of);
    x86_put_eflags(t, f);
    return true;
}

/* CLC, STC (arg 0, 1), CMC (2) */
static bool tr_clc(X86Trans *t, X86Args *a)
{
    Val cf;
    if (a->row->arg < 2) {
        cf = ir_imm(t->b, PRED, a->row->arg);
    } else {
        cf = x86_get_carry(t);
        cf = zext(t, I32, cf);
        cf = ir_cmpi(t->b, C_EQ, cf, 0);
    }
    x86_put_carry(t, cf);
    return true;
}

/* CLD, STD */
static bool tr_cld(X86Trans *t, X86Args *a)
{
    Val f = ir_get(t->b, X_EFLAGS);
    f = a->row->arg ? ir_op2i(t->b, IR_OR, f, FL_DF) : ir_op2i(t->b, IR_AND, f, ~(uint64_t)FL_DF);
    ir_put(t->b, X_EFLAGS, f);
    return true;
}

/* --- decimal; arg: opcode of the helper.  Gives AX in bits 0..15, the flags in 32..63. */
static bool tr_decimal(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    if (a->row->arg == 0xd4 && !a->imm8) {
        ir_raise(b, EXC_DE, 0);
        t->ended = t->done = true;
        return true;
    }
    Val flags = x86_get_flags(t), ax = ir_get(b, X_RAX), what = ir_imm(b, I32, a->row->arg | a->imm8 << 8);
    Val v = ir_call(b, &x86_helper_decimal, ax, flags, what);
    Val lo = narrow(t, 2, v);
    x86_put_reg(t, RAX, 2, lo);
    Val hi = ir_op2i(b, IR_SHR, v, 32);
    hi = ir_ext(b, IR_TRUNC, I32, hi);
    x86_put_eflags(t, hi);
    return true;
}

/* --- rows */

#define ALU(base, op, lock, keep)                                           \
    { base "0 /r", "Eb Gb", tr_alu, op, lock | keep },                      \
    { base "1 /r", "Ev Gv", tr_alu, op, lock | keep },                      \
    { base "2 /r", "Gb Eb", tr_alu, op, keep },                             \
    { base "3 /r", "Gv Ev", tr_alu, op, keep },                             \
    { base "4 ib", "AL Ib", tr_alu, op, keep },                             \
    { base "5 id", "rAX Iz", tr_alu, op, keep }
#define ALU8(base, op, lock, keep)                                          \
    { base "8 /r", "Eb Gb", tr_alu, op, lock | keep },                      \
    { base "9 /r", "Ev Gv", tr_alu, op, lock | keep },                      \
    { base "A /r", "Gb Eb", tr_alu, op, keep },                             \
    { base "B /r", "Gv Ev", tr_alu, op, keep },                             \
    { base "C ib", "AL Ib", tr_alu, op, keep },                             \
    { base "D id", "rAX Iz", tr_alu, op, keep }
#define ALU_GROUP(digit, op, lock, keep)                                    \
    { "80 /" digit " ib", "Eb Ib", tr_alu, op, lock | keep },               \
    { "81 /" digit " id", "Ev Iz", tr_alu, op, lock | keep },               \
    { "82 /" digit " ib", "Eb Ib", tr_alu, op, lock | keep | R_NO64 },      \
    { "83 /" digit " ib", "Ev Ib", tr_alu, op, lock | keep }
#define CC_ROWS(row) row("0"), row("1"), row("2"), row("3"), row("4"), row("5"), row("6"), row("7"), \
                     row("8"), row("9"), row("A"), row("B"), row("C"), row("D"), row("E"), row("F")
#define CMOV(cc) { "0F 4" cc " /r", "Gv Ev", tr_cmov, 0, 0, X86F_CMOV }
#define SETCC(cc) { "0F 9" cc " /r", "Eb", tr_setcc, 0, R_WRITE }

const X86Row x86_rows_alu[] = {
    ALU("0", ALU_ADD, R_LOCK, 0), ALU8("0", ALU_OR, R_LOCK, 0), ALU("1", ALU_ADC, R_LOCK, 0), ALU8("1", ALU_SBB, R_LOCK, 0),
    ALU("2", ALU_AND, R_LOCK, 0), ALU8("2", ALU_SUB, R_LOCK, 0), ALU("3", ALU_XOR, R_LOCK, 0), ALU8("3", ALU_CMP, 0, R_KEEP),
    ALU_GROUP("0", ALU_ADD, R_LOCK, 0), ALU_GROUP("1", ALU_OR, R_LOCK, 0), ALU_GROUP("2", ALU_ADC, R_LOCK, 0),
    ALU_GROUP("3", ALU_SBB, R_LOCK, 0), ALU_GROUP("4", ALU_AND, R_LOCK, 0), ALU_GROUP("5", ALU_SUB, R_LOCK, 0),
    ALU_GROUP("6", ALU_XOR, R_LOCK, 0), ALU_GROUP("7", ALU_CMP, 0, R_KEEP),

    { "40+r",         "Zv",     tr_inc,    0, R_NO64 },
    { "48+r",         "Zv",     tr_inc,    1, R_NO64 },
    { "FE /0",        "Eb",     tr_inc,    0, R_LOCK },
    { "FE /1",        "Eb",     tr_inc,    1, R_LOCK },
    { "FF /0",        "Ev",     tr_inc,    0, R_LOCK },
    { "FF /1",        "Ev",     tr_inc,    1, R_LOCK },

    { "84 /r",        "Eb Gb",  tr_test,   0, R_KEEP },
    { "85 /r",        "Ev Gv",  tr_test,   0, R_KEEP },
    { "A8 ib",        "AL Ib",  tr_test,   0, R_KEEP },
    { "A9 id",        "rAX Iz", tr_test,   0, R_KEEP },
    { "F6 /0 ib",     "Eb Ib",  tr_test,   0, R_KEEP },
    { "F6 /1 ib",     "Eb Ib",  tr_test,   0, R_KEEP },         /* APM appendix A: as /0 */
    { "F7 /0 id",     "Ev Iz",  tr_test,   0, R_KEEP },
    { "F7 /1 id",     "Ev Iz",  tr_test,   0, R_KEEP },
    { "F6 /2",        "Eb",     tr_not,    0, R_LOCK },
    { "F7 /2",        "Ev",     tr_not,    0, R_LOCK },
    { "F6 /3",        "Eb",     tr_neg,    0, R_LOCK },
    { "F7 /3",        "Ev",     tr_neg,    0, R_LOCK },
    { "F6 /4",        "Eb",     tr_mul,    0, R_KEEP },
    { "F7 /4",        "Ev",     tr_mul,    0, R_KEEP },
    { "F6 /5",        "Eb",     tr_mul,    1, R_KEEP },
    { "F7 /5",        "Ev",     tr_mul,    1, R_KEEP },
    { "F6 /6",        "Eb",     tr_div,    0, R_KEEP },
    { "F7 /6",        "Ev",     tr_div,    0, R_KEEP },
    { "F6 /7",        "Eb",     tr_idiv,   0, R_KEEP },
    { "F7 /7",        "Ev",     tr_idiv,   0, R_KEEP },
    { "0F AF /r",     "Gv Ev",  tr_imul2 },
    { "69 /r id",     "Gv Ev Iz", tr_imul3, 0, R_WRITE },
    { "6B /r ib",     "Gv Ev Ib", tr_imul3, 0, R_WRITE },

    { "88 /r",        "Eb Gb",  tr_mov,    0, R_WRITE },
    { "89 /r",        "Ev Gv",  tr_mov,    0, R_WRITE },
    { "8A /r",        "Gb Eb",  tr_mov,    0, R_WRITE },
    { "8B /r",        "Gv Ev",  tr_mov,    0, R_WRITE },
    { "A0",           "AL Ob",  tr_mov,    0, R_WRITE },
    { "A1",           "rAX Ov", tr_mov,    0, R_WRITE },
    { "A2",           "Ob AL",  tr_mov,    0, R_WRITE },
    { "A3",           "Ov rAX", tr_mov,    0, R_WRITE },
    { "B0+r ib",      "Zb Ib",  tr_mov,    0, R_WRITE },
    { "B8+r io",      "Zv Iv",  tr_mov,    0, R_WRITE },
    { "C6 /0 ib",     "Eb Ib",  tr_mov,    0, R_WRITE },
    { "C7 /0 id",     "Ev Iz",  tr_mov,    0, R_WRITE },
    { "NP 0F C3 /r",     "My Gy",  tr_mov,    0, R_WRITE, X86F_SSE2 },     /* MOVNTI */
    { "0F B6 /r",     "Gv Eb",  tr_movzx,  0, R_WRITE },
    { "0F B7 /r",     "Gv Ew",  tr_movzx,  0, R_WRITE },
    { "0F BE /r",     "Gv Eb",  tr_movzx,  1, R_WRITE },
    { "0F BF /r",     "Gv Ew",  tr_movzx,  1, R_WRITE },
    { "63 /r",        "Gv Ez",  tr_movzx,  1, R_WRITE | R_ONLY64 },     /* MOVSXD */
    { "8D /r",        "Gv M",   tr_lea,    0, R_WRITE },
    CC_ROWS(CMOV), CC_ROWS(SETCC),
    { "86 /r",        "Eb Gb",  tr_xchg,   0, R_WRITE | R_KEEP | R_LOCK },
    { "87 /r",        "Ev Gv",  tr_xchg,   0, R_WRITE | R_KEEP | R_LOCK },
    { "F3 90",        "",       tr_pause },
    { "90+r",         "Zv rAX", tr_xchg_ax, 0, R_KEEP },
    { "0F B0 /r",     "Eb Gb",  tr_cmpxchg, 0, R_WRITE | R_KEEP | R_LOCK },
    { "0F B1 /r",     "Ev Gv",  tr_cmpxchg, 0, R_WRITE | R_KEEP | R_LOCK },
    { "0F C0 /r",     "Eb Gb",  tr_xadd,   0, R_WRITE | R_KEEP | R_LOCK },
    { "0F C1 /r",     "Ev Gv",  tr_xadd,   0, R_WRITE | R_KEEP | R_LOCK },
    { "REX.W 0F C7 /1", "M",    tr_cmpxchg8b, 16, R_WRITE | R_KEEP | R_LOCK, X86F_CX16 },
    { "0F C7 /1",     "M",      tr_cmpxchg8b, 8,  R_WRITE | R_KEEP | R_LOCK, X86F_CX8 },
    { "98",           "",       tr_cbw },
    { "99",           "",       tr_cwd },
    { "D7",           "",       tr_xlat },

    { "D6",           "AL",     tr_salc,   0, R_NO64 | R_WRITE },
    { "9F",           "",       tr_lahf,   0, R_NO64 },
    { "9F",           "",       tr_lahf,   0, 0, X86F_LAHF_LM },
    { "9E",           "",       tr_sahf,   0, R_NO64 },
    { "9E",           "",       tr_sahf,   0, 0, X86F_LAHF_LM },
    { "F8",           "",       tr_clc,    0 },
    { "F9",           "",       tr_clc,    1 },
    { "F5",           "",       tr_clc,    2 },
    { "FC",           "",       tr_cld,    0 },
    { "FD",           "",       tr_cld,    1 },
    { "27",           "",       tr_decimal, 0x27, R_NO64 },             /* DAA DAS AAA AAS AAM AAD */
    { "2F",           "",       tr_decimal, 0x2f, R_NO64 },
    { "37",           "",       tr_decimal, 0x37, R_NO64 },
    { "3F",           "",       tr_decimal, 0x3f, R_NO64 },
    { "D4 ib",        "Ib",     tr_decimal, 0xd4, R_NO64 | R_WRITE | R_KEEP },
    { "D5 ib",        "Ib",     tr_decimal, 0xd5, R_NO64 | R_WRITE | R_KEEP },
    { "0F 0D /r",     "M",      NULL,      0, R_KEEP, X86F_LM },        /* PREFETCHW and the like: every 64-bit processor */
    /* hints, ENDBR, reserved NOPs: since the Pentium Pro, as CMOV is */
    { "0F 18 /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 19 /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 1A /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 1B /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 1C /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 1D /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 1E /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { "0F 1F /r",     "E",      NULL,      0, R_KEEP, X86F_CMOV },
    { NULL }
};
