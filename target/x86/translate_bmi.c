/* SPDX-License-Identifier: GPL-2.0-or-later
 * BMI1 and BMI2: the VEX-encoded instructions on general registers.  They need no vector state, so nothing but the
 * feature is asked for.  Source: Intel SDM vol. 2, instruction pages; APM vol. 3 for the undefined flags. */
#include "tcg/hostop.h"
#include "target/x86/alu_int.h"

static bool tr_andn(X86Trans *t, X86Args *a)
{
    a->dst = ir_op2(t->b, IR_ANDC, a->src2, a->src);
    x86_put_flags(t, CC_LOGIC, a->size, a->dst, VAL_NONE, VAL_NONE);
    return true;
}

/* BLSR, BLSMSK: with x - 1 and CF if x is 0; BLSI: with -x and CF if it is not. */
static bool tr_bls(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    bool blsi = a->row->arg == IR_NEG;
    Val other = blsi ? ir_op1(b, IR_NEG, a->src) : ir_addi(b, a->src, -1);
    a->dst = ir_op2(b, blsi ? IR_AND : (IrOp)a->row->arg, a->src, other);
    Val cf = ir_cmpi(b, blsi ? C_NE : C_EQ, a->src, 0);
    x86_put_flags(t, CC_LOGIC, a->size, a->dst, VAL_NONE, VAL_NONE);
    x86_put_carry(t, cf);
    return true;
}

/* The low n bits of x: all of them where the byte n is no less than the width. */
static Val low_bits(X86Trans *t, X86Args *a, Val x, Val n, Val *beyond)
{
    Ir *b = t->b;
    Val count = ir_op2i(b, IR_AND, n, bits_of(a) - 1), one = ir_imm(b, type_of(a), 1);
    Val mask = ir_op2(b, IR_SHL, one, count);
    mask = ir_addi(b, mask, -1);
    Val low = ir_op2(b, IR_AND, x, mask);
    *beyond = ir_cmpi(b, C_GTU, n, bits_of(a) - 1);
    return ir_select(b, *beyond, x, low);
}

static bool tr_bzhi(X86Trans *t, X86Args *a)
{
    Val n = narrow(t, 1, a->src2), cf;
    a->dst = low_bits(t, a, a->src, n, &cf);
    x86_put_flags(t, CC_LOGIC, a->size, a->dst, VAL_NONE, VAL_NONE);
    x86_put_carry(t, cf);
    return true;
}

static bool tr_bextr(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val start = narrow(t, 1, a->src2), zero = ir_imm(b, type_of(a), 0), beyond;
    Val len = ir_extract(b, a->src2, 8, 8);
    len = narrow(t, 1, len);
    Val count = ir_op2i(b, IR_AND, start, bits_of(a) - 1);
    Val v = ir_op2(b, IR_SHR, a->src, count), none = ir_cmpi(b, C_GTU, start, bits_of(a) - 1);
    v = ir_select(b, none, zero, v);
    a->dst = low_bits(t, a, v, len, &beyond);
    x86_put_flags(t, CC_LOGIC, a->size, a->dst, VAL_NONE, VAL_NONE);
    return true;
}

/* The high half counts where both go to one register. */
static bool tr_mulx(X86Trans *t, X86Args *a)
{
    Val d = x86_get_reg(t, RDX, a->size), lo = ir_op2(t->b, IR_UMULW, d, a->src2);
    a->dst = ir_second(t->b, lo);
    x86_put_reg(t, t->vvvv, a->size, lo);
    return true;
}

static bool tr_pdep(X86Trans *t, X86Args *a)
{
    a->dst = x86_host(t, type_of(a), a->row->arg, a->src, a->src2, VAL_NONE, 0);
    return true;
}

static bool tr_rorx(X86Trans *t, X86Args *a)
{
    unsigned n = a->imm8 & (bits_of(a) - 1);
    Val count = ir_imm(t->b, I8, n);
    a->dst = n ? ir_op2(t->b, IR_ROR, a->src, count) : a->src;
    return true;
}

static bool tr_shiftx(X86Trans *t, X86Args *a)
{
    Val count = narrow(t, 1, a->src2);
    count = ir_op2i(t->b, IR_AND, count, bits_of(a) - 1);
    a->dst = ir_op2(t->b, a->row->arg, a->src, count);
    return true;
}

const X86Row x86_rows_bmi[] = {
    { "VEX.LZ.0F38 F2 /r",    "Gy By Ey", tr_andn,   0, R_WRITE, X86F_BMI1 },
    { "VEX.LZ.0F38 F3 /1",    "By Ey",    tr_bls,    IR_AND, R_WRITE, X86F_BMI1 },          /* blsr */
    { "VEX.LZ.0F38 F3 /2",    "By Ey",    tr_bls,    IR_XOR, R_WRITE, X86F_BMI1 },          /* blsmsk */
    { "VEX.LZ.0F38 F3 /3",    "By Ey",    tr_bls,    IR_NEG, R_WRITE, X86F_BMI1 },          /* blsi */
    { "VEX.LZ.0F38 F7 /r",    "Gy Ey By", tr_bextr,  0, R_WRITE, X86F_BMI1 },
    { "VEX.LZ.0F38 F5 /r",    "Gy Ey By", tr_bzhi,   0, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.F2.0F38 F5 /r", "Gy By Ey", tr_pdep,   HOP_PDEP, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.F3.0F38 F5 /r", "Gy By Ey", tr_pdep,   HOP_PEXT, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.F2.0F38 F6 /r", "Gy By Ey", tr_mulx,   0, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.66.0F38 F7 /r", "Gy Ey By", tr_shiftx, IR_SHL, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.F3.0F38 F7 /r", "Gy Ey By", tr_shiftx, IR_SAR, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.F2.0F38 F7 /r", "Gy Ey By", tr_shiftx, IR_SHR, R_WRITE, X86F_BMI2 },
    { "VEX.LZ.F2.0F3A F0 /r ib", "Gy Ey Ib", tr_rorx, 0, R_WRITE, X86F_BMI2 },
    { NULL }
};
