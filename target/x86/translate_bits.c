/* SPDX-License-Identifier: GPL-2.0-or-later
 * Shifts, rotates, bit tests and counts, byte order, CRC32.  Source: APM vol. 3; Intel SDM vol. 2 where AMD leaves
 * results undefined. */
#include "tcg/hostop.h"
#include "target/x86/alu_int.h"

/* helper_int.c */
extern const IrHelper x86_helper_rcl, x86_helper_rcl_flags;

/* --- shifts and rotates */

enum { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAL, SH_SAR };
static const uint8_t shift_cc[8] = { [SH_SHL] = CC_SHL, [SH_SAL] = CC_SHL, [SH_SHR] = CC_SHR, [SH_SAR] = CC_SAR };

/* Narrow shifts are done in 32 bits, where counts up to 31 are good. */
static Val shift(X86Trans *t, unsigned op, unsigned size, Val x, Val count)
{
    Val wide = size >= 4 ? x : op == SH_SAR ? sext(t, I32, x) : zext(t, I32, x);
    wide = ir_op2(t->b, op == SH_SHR ? IR_SHR : op == SH_SAR ? IR_SAR : IR_SHL, wide, count);
    return size >= 4 ? wide : narrow(t, size, wide);
}

static unsigned count_mask(const X86Args *a) { return a->size == 8 ? 63 : 31; }

static bool shift_by_imm(X86Trans *t, X86Args *a, unsigned count)
{
    unsigned op = a->row->arg;
    if (!count)
        return true;
    Val c = ir_imm(t->b, I8, count), x = a->dst;
    a->dst = shift(t, op, a->size, x, c);
    x86_put_flags(t, shift_cc[op], a->size, a->dst, x, c);
    return true;
}

/* CL, masked to the operand's width. */
static Val count_cl(X86Trans *t, X86Args *a)
{
    Val c = x86_get_reg(t, RCX, 1);
    return ir_op2i(t->b, IR_AND, c, count_mask(a));
}

/* A count of zero leaves the flags alone. */
static bool shift_by_cl(X86Trans *t, X86Args *a)
{
    unsigned op = a->row->arg;
    X86CcSlots cc;
    uint64_t known;
    Val c = count_cl(t, a), x = a->dst;
    if (ir_is_imm(t->b, c, &known))
        return shift_by_imm(t, a, known);
    x86_cc_save(t, &cc);
    a->dst = shift(t, op, a->size, x, c);
    x86_put_flags(t, shift_cc[op], a->size, a->dst, x, c);
    Val none = ir_cmpi(t->b, C_EQ, c, 0);
    x86_cc_keep_if(t, none, &cc);
    return true;
}

/* CF is the bit that went round; OF, for a count of 1, says whether the sign changed (ROL: sign xor CF; ROR: the two
 * top bits differ). */
static void rotate_flags(X86Trans *t, bool left, unsigned bits, Val res, Val *cf, Val *of)
{
    Ir *b = t->b;
    Val one = ir_imm(b, val_type(b, res), 1);
    *cf = left ? ir_cmp(b, C_TSTNE, res, one) : ir_cmpi(b, C_LT, res, 0);
    Val wide = ir_resize(b, bits == 64 ? I64 : I32, res, false);
    Val other = left ? ir_op2i(b, IR_SHL, wide, bits - 1) : ir_op2i(b, IR_SHL, wide, 1);
    Val d = ir_op2(b, IR_XOR, wide, other);
    Val sign = ir_imm(b, val_type(b, wide), 1ull << (bits - 1));
    *of = ir_cmp(b, C_TSTNE, d, sign);
}

static bool rotate_by_imm(X86Trans *t, X86Args *a, unsigned count)
{
    bool left = a->row->arg == SH_ROL;
    if (!count)
        return true;
    if (count % bits_of(a)) {
        Val c = ir_imm(t->b, I8, count % bits_of(a));
        a->dst = ir_op2(t->b, left ? IR_ROL : IR_ROR, a->dst, c);
    }
    if (count == 1) {
        Val cf, of;
        rotate_flags(t, left, bits_of(a), a->dst, &cf, &of);
        x86_put_carry_ovf(t, cf, of);
    } else {                    /* OF is undefined: stays */
        Val one = ir_imm(t->b, type_of(a), 1);
        Val cf = left ? ir_cmp(t->b, C_TSTNE, a->dst, one) : ir_cmpi(t->b, C_LT, a->dst, 0);
        x86_put_carry(t, cf);
    }
    return true;
}

static bool rotate_by_cl(X86Trans *t, X86Args *a)
{
    bool left = a->row->arg == SH_ROL;
    X86CcSlots cc;
    uint64_t known;
    Val c = count_cl(t, a), cf, of;
    if (ir_is_imm(t->b, c, &known))
        return rotate_by_imm(t, a, known);
    x86_cc_save(t, &cc);
    Val n = a->size >= 4 ? c : ir_op2i(t->b, IR_AND, c, bits_of(a) - 1);
    a->dst = ir_op2(t->b, left ? IR_ROL : IR_ROR, a->dst, n);
    rotate_flags(t, left, bits_of(a), a->dst, &cf, &of);
    x86_put_carry_ovf(t, cf, of);
    Val none = ir_cmpi(t->b, C_EQ, c, 0);
    x86_cc_keep_if(t, none, &cc);
    return true;
}

/* Through the carry, by one place: the common one. */
static bool rotate_carry_1(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    bool left = a->row->arg == SH_RCL;
    Val carry = x86_get_carry(t), in = zext(t, a->size == 8 ? I64 : I32, carry);
    Val x = a->dst, wide = ir_resize(b, a->size == 8 ? I64 : I32, x, false), one = ir_imm(b, type_of(a), 1);
    Val cf = left ? ir_cmpi(b, C_LT, x, 0) : ir_cmp(b, C_TSTNE, x, one), v;
    if (left) {
        v = ir_op2i(b, IR_SHL, wide, 1);
    } else {
        v = ir_op2i(b, IR_SHR, wide, 1);
        in = ir_op2i(b, IR_SHL, in, bits_of(a) - 1);
    }
    v = ir_op2(b, IR_OR, v, in);
    a->dst = ir_resize(b, type_of(a), v, false);
    Val d = left ? ir_op2(b, IR_XOR, a->dst, x) : VAL_NONE;
    if (!left) {                /* the two top bits of the result */
        Val up = ir_op2i(b, IR_SHL, v, 1);
        d = ir_op2(b, IR_XOR, v, up);
        d = ir_resize(b, type_of(a), d, false);
    }
    Val of = ir_cmpi(b, C_LT, d, 0);
    x86_put_carry_ovf(t, cf, of);
    return true;
}

static bool rotate_carry(X86Trans *t, X86Args *a, Val count)
{
    Ir *b = t->b;
    Val flags = x86_get_flags(t), x = zext(t, I64, a->dst), c = zext(t, I32, count);
    Val what = ir_op2i(b, IR_OR, c, (unsigned)a->size << 8 | (a->row->arg == SH_RCL ? 0 : 1u << 16));
    Val v = ir_call(b, &x86_helper_rcl, x, what, flags);
    Val f = ir_call(b, &x86_helper_rcl_flags, x, what, flags);
    a->dst = ir_resize(b, type_of(a), v, false);
    x86_put_eflags(t, f);
    return true;
}

static bool tr_shift_imm(X86Trans *t, X86Args *a)
{
    unsigned count = a->n_ops > 1 && a->opcode < 0xd0 ? a->imm8 & count_mask(a) : 1;
    switch (a->row->arg) {
    case SH_ROL:
    case SH_ROR:
        return rotate_by_imm(t, a, count);
    case SH_RCL:
    case SH_RCR:
        if (!count)
            return true;
        return count == 1 ? rotate_carry_1(t, a) : rotate_carry(t, a, ir_imm(t->b, I8, count));
    default:
        return shift_by_imm(t, a, count);
    }
}

static bool tr_shift_cl(X86Trans *t, X86Args *a)
{
    switch (a->row->arg) {
    case SH_ROL:
    case SH_ROR:
        return rotate_by_cl(t, a);
    case SH_RCL:
    case SH_RCR:
        return rotate_carry(t, a, count_cl(t, a));
    default:
        return shift_by_cl(t, a);
    }
}

/* 16-bit SHLD, SHRD: in 64 bits, as x:y:x, which is what processors make of counts above 16 (undefined). */
static Val shld16(X86Trans *t, bool left, Val x, Val y, Val count)
{
    Ir *b = t->b;
    Val wx = zext(t, I64, x), wy = zext(t, I64, y);
    Val hi = ir_op2i(b, IR_SHL, wx, 32), mid = ir_op2i(b, IR_SHL, wy, 16);
    Val v = ir_op2(b, IR_OR, hi, mid);
    v = ir_op2(b, IR_OR, v, wx);
    if (left) {
        v = ir_op2(b, IR_SHL, v, count);
        v = ir_op2i(b, IR_SHR, v, 32);
    } else {
        v = ir_op2(b, IR_SHR, v, count);
    }
    return narrow(t, 2, v);
}

/* arg: CC_SHL or CC_SHR */
static void shld(X86Trans *t, X86Args *a, Val count)
{
    bool left = a->row->arg == CC_SHL;
    Val x = a->dst;
    a->dst = a->size == 2 ? shld16(t, left, x, a->src, count)
                          : ir_op3(t->b, left ? IR_SHLD : IR_SHRD, x, a->src, count);
    x86_put_flags(t, a->row->arg, a->size, a->dst, x, count);
}

static bool tr_shld_imm(X86Trans *t, X86Args *a)
{
    unsigned count = a->imm8 & count_mask(a);
    if (count)
        shld(t, a, ir_imm(t->b, I8, count));
    return true;
}

static bool tr_shld_cl(X86Trans *t, X86Args *a)
{
    X86CcSlots cc;
    x86_cc_save(t, &cc);
    Val c = count_cl(t, a), none = ir_cmpi(t->b, C_EQ, c, 0);
    shld(t, a, c);
    x86_cc_keep_if(t, none, &cc);
    return true;
}

/* --- bits */

enum { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

/* A register offset reaches beyond the operand in memory: it is a signed bit number counted from there. */
static void bit_address(X86Trans *t, X86Args *a, Val bit)
{
    Ir *b = t->b;
    unsigned log2 = __builtin_ctz(a->size);
    Val wide = a->size == 8 ? bit : sext(t, I64, bit);
    Val off = ir_op2i(b, IR_SAR, wide, 3 + log2);
    off = ir_op2i(b, IR_SHL, off, log2);
    Val ea = ir_op2(b, IR_ADD, a->ea, off);
    if (t->adsize < 8)
        ea = ir_op2i(b, IR_AND, ea, t->adsize == 4 ? 0xffffffff : 0xffff);
    a->ea = ea;
    a->addr = x86_linear(t, a->seg, ea);
    x86_limit(t, a, a->size, a->row->arg != BIT_TEST);
}

static Val bit_mask(X86Trans *t, X86Args *a, Val n)
{
    Ir *b = t->b;
    Val one = ir_imm(b, a->size == 8 ? I64 : I32, 1);
    Val m = ir_op2(b, IR_SHL, one, n);
    return ir_resize(b, type_of(a), m, false);
}

static Val locked_bit(X86Trans *t, X86Args *a, Val mask)
{
    if (a->row->arg == BIT_SET)
        return x86_atomic(t, a, AT_OR, mask, VAL_NONE);
    if (a->row->arg == BIT_COMPLEMENT)
        return x86_atomic(t, a, AT_XOR, mask, VAL_NONE);
    mask = ir_op1(t->b, IR_NOT, mask);
    return x86_atomic(t, a, AT_AND, mask, VAL_NONE);
}

/* Only CF changes (ZF is unaffected, the others are undefined: APM vol. 3, BT). */
static bool tr_bit(X86Trans *t, X86Args *a)
{
    static const uint8_t ops[4] = { 0, IR_OR, IR_ANDC, IR_XOR };
    Ir *b = t->b;
    unsigned op = a->row->arg;
    bool by_imm = a->opcode == 0xba;
    if (a->is_mem && !by_imm)
        bit_address(t, a, a->src);
    Val n;
    if (by_imm) {
        n = ir_imm(b, I8, a->imm8 & (bits_of(a) - 1));
    } else {
        n = ir_ext(b, IR_TRUNC, I8, a->src);
        n = ir_op2i(b, IR_AND, n, bits_of(a) - 1);
    }
    Val m = bit_mask(t, a, n), x;
    x = t->lock ? locked_bit(t, a, m) : get_rm(t, a, op != BIT_TEST);
    Val cf;
    if (by_imm || op != BIT_TEST) {
        cf = ir_cmp(b, C_TSTNE, x, m);
    } else {
        Val wide = ir_resize(b, a->size == 8 ? I64 : I32, x, false);
        wide = ir_op2(b, IR_SHR, wide, n);
        Val one = ir_imm(b, val_type(b, wide), 1);
        cf = ir_cmp(b, C_TSTNE, wide, one);
    }
    if (op != BIT_TEST && !t->lock) {
        Val v = ir_op2(b, ops[op], x, m);
        put_rm(t, a, v);
    }
    x86_put_carry(t, cf);
    return true;
}

static Val wide_of(X86Trans *t, X86Args *a, Val v) { return ir_resize(t->b, a->size == 8 ? I64 : I32, v, false); }

/* BSF, BSR (arg 1).  Zero leaves the destination as it is, all 64 bits of it (APM; SDM says undefined). */
static bool tr_bsf(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val x = wide_of(t, a, a->src), old = ir_get(b, X_RAX + a->reg), v;
    if (a->row->arg) {
        v = ir_op1(b, IR_CLZ, x);
        v = ir_op2i(b, IR_XOR, v, a->size == 8 ? 63 : 31);
    } else {
        v = ir_op1(b, IR_CTZ, x);
    }
    Val zero = ir_cmpi(b, C_EQ, x, 0);
    v = zext(t, I64, v);
    if (a->size == 2)
        v = ir_deposit(b, old, v, 0, 16);
    v = ir_select(b, zero, old, v);
    ir_put(b, X_RAX + a->reg, v);
    x86_put_flags(t, CC_LOGIC, a->size, a->src, VAL_NONE, VAL_NONE);
    return true;
}

/* TZCNT, LZCNT (arg 1): CF for a zero source, ZF for a zero result. */
static bool tr_tzcnt(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val x = wide_of(t, a, a->src), v;
    if (a->row->arg) {
        v = ir_op1(b, IR_CLZ, x);
        if (a->size == 2)
            v = ir_op2i(b, IR_SUB, v, 16);
    } else {
        if (a->size == 2)
            x = ir_op2i(b, IR_OR, x, 0x10000);
        v = ir_op1(b, IR_CTZ, x);
    }
    a->dst = ir_resize(b, type_of(a), v, false);
    Val cf = ir_cmpi(b, C_EQ, a->src, 0);
    x86_put_flags(t, CC_LOGIC, a->size, a->dst, VAL_NONE, VAL_NONE);
    x86_put_carry(t, cf);
    return true;
}

static bool tr_popcnt(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val x = wide_of(t, a, a->src), v = ir_op1(b, IR_POPCNT, x);
    a->dst = ir_resize(b, type_of(a), v, false);
    Val zero = ir_cmpi(b, C_EQ, a->src, 0);
    Val f = zext(t, I32, zero);
    f = ir_op2i(b, IR_SHL, f, 6);
    x86_put_eflags(t, f);
    return true;
}

static bool tr_bswap(X86Trans *t, X86Args *a)
{
    if (a->size == 2)
        a->dst = ir_imm(t->b, I16, 0);          /* undefined (SDM); processors give zero */
    else
        a->dst = ir_op1(t->b, IR_BSWAP, a->dst);
    return true;
}

static bool tr_movbe(X86Trans *t, X86Args *a)
{
    if (a->size == 2) {
        Val n = ir_imm(t->b, I8, 8);
        a->dst = ir_op2(t->b, IR_ROL, a->src, n);
    } else {
        a->dst = ir_op1(t->b, IR_BSWAP, a->src);
    }
    return true;
}

/* The carry chain of ADCX (arg CF) and ADOX (arg OF) leaves all other flags alone. */
static bool tr_adx(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    unsigned flag = a->row->arg;
    Val in = x86_chain_in(t, flag);
    a->dst = ir_op3(b, IR_ADDC, a->dst, a->src, in);
    Val out = ir_second(b, a->dst);
    if (flag == FL_CF)
        x86_put_carry(t, out);
    else
        x86_put_ovf(t, out);
    return true;
}

/* CRC32 r, r/m: bytes one by one for 16 bits, for which there is no host row. */
static bool tr_crc32(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val crc = x86_get_reg(t, a->reg, 4), v = a->src;
    IrType type = val_type(b, v);
    if (type == I64) {
        crc = zext(t, I64, crc);
        crc = x86_host(t, I64, HOP_CRC32, crc, v, VAL_NONE, 0);
    } else if (type == I32) {
        crc = x86_host(t, I32, HOP_CRC32, crc, v, VAL_NONE, 0);
    } else {
        v = zext(t, I32, v);
        Val low = ir_op2i(b, IR_AND, v, 0xff);
        crc = x86_host(t, I32, HOP_CRC32B, crc, low, VAL_NONE, 0);
        if (type == I16) {
            v = ir_op2i(b, IR_SHR, v, 8);
            crc = x86_host(t, I32, HOP_CRC32B, crc, v, VAL_NONE, 0);
        }
    }
    x86_put_reg(t, a->reg, val_type(b, crc) == I64 ? 8 : 4, crc);
    return true;
}

/* --- rows */

#define SHIFT_GROUP(digit, op)                                              \
    { "C0 /" digit " ib", "Eb Ib", tr_shift_imm, op },                      \
    { "C1 /" digit " ib", "Ev Ib", tr_shift_imm, op },                      \
    { "D0 /" digit, "Eb 1", tr_shift_imm, op },                             \
    { "D1 /" digit, "Ev 1", tr_shift_imm, op },                             \
    { "D2 /" digit, "Eb CL", tr_shift_cl, op },                             \
    { "D3 /" digit, "Ev CL", tr_shift_cl, op }
#define BIT(reg_op, digit, op, lock)                                        \
    { "0F " reg_op " /r", "Ev Gv", tr_bit, op, lock | R_WRITE | R_KEEP },   \
    { "0F BA /" digit " ib", "Ev Ib", tr_bit, op, lock | R_WRITE | R_KEEP }

const X86Row x86_rows_bits[] = {
    SHIFT_GROUP("0", SH_ROL), SHIFT_GROUP("1", SH_ROR), SHIFT_GROUP("2", SH_RCL), SHIFT_GROUP("3", SH_RCR),
    SHIFT_GROUP("4", SH_SHL), SHIFT_GROUP("5", SH_SHR), SHIFT_GROUP("6", SH_SAL), SHIFT_GROUP("7", SH_SAR),
    { "0F A4 /r ib",  "Ev Gv Ib", tr_shld_imm, CC_SHL },
    { "0F A5 /r",     "Ev Gv CL", tr_shld_cl,  CC_SHL },
    { "0F AC /r ib",  "Ev Gv Ib", tr_shld_imm, CC_SHR },
    { "0F AD /r",     "Ev Gv CL", tr_shld_cl,  CC_SHR },

    BIT("A3", "4", BIT_TEST, 0), BIT("AB", "5", BIT_SET, R_LOCK), BIT("B3", "6", BIT_RESET, R_LOCK),
    BIT("BB", "7", BIT_COMPLEMENT, R_LOCK),
    { "F3 0F BC /r",  "Gv Ev",  tr_tzcnt,  0, R_WRITE, X86F_BMI1 },
    { "F3 0F BD /r",  "Gv Ev",  tr_tzcnt,  1, R_WRITE, X86F_ABM },
    { "0F BC /r",     "Gv Ev",  tr_bsf,    0, R_WRITE | R_KEEP },
    { "0F BD /r",     "Gv Ev",  tr_bsf,    1, R_WRITE | R_KEEP },
    { "F3 0F B8 /r",  "Gv Ev",  tr_popcnt, 0, R_WRITE, X86F_POPCNT },
    { "0F C8+r",      "Zv",     tr_bswap },
    { "66 0F 38 F6 /r", "Gy Ey", tr_adx,   FL_CF, 0, X86F_ADX },
    { "F3 0F 38 F6 /r", "Gy Ey", tr_adx,   FL_OF, 0, X86F_ADX },
    { "F2 0F 38 F0 /r", "Gy Eb", tr_crc32, 0, R_WRITE | R_KEEP, X86F_SSE42 },
    { "F2 0F 38 F1 /r", "Gy Ev", tr_crc32, 0, R_WRITE | R_KEEP, X86F_SSE42 },
    { "NP 0F 38 F0 /r",  "Gv Mv",  tr_movbe,  0, R_WRITE, X86F_MOVBE },
    { "66 0F 38 F0 /r",  "Gv Mv",  tr_movbe,  0, R_WRITE, X86F_MOVBE },
    { "NP 0F 38 F1 /r",  "Mv Gv",  tr_movbe,  0, R_WRITE, X86F_MOVBE },
    { "66 0F 38 F1 /r",  "Mv Gv",  tr_movbe,  0, R_WRITE, X86F_MOVBE },
    { NULL }
};
