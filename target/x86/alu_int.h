/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the integer rows of translate_alu.c and translate_bits.c share. */
#ifndef RHEA_TARGET_X86_ALU_INT_H
#define RHEA_TARGET_X86_ALU_INT_H

#include "target/x86/translate.h"

static inline Val zext(X86Trans *t, IrType to, Val v) { return ir_ext(t->b, IR_ZEXT, to, v); }
static inline Val sext(X86Trans *t, IrType to, Val v) { return ir_ext(t->b, IR_SEXT, to, v); }
static inline Val narrow(X86Trans *t, unsigned size, Val v) { return ir_ext(t->b, IR_TRUNC, x86_type(size), v); }
static inline unsigned bits_of(const X86Args *a) { return a->size * 8u; }
static inline IrType type_of(const X86Args *a) { return x86_type(a->size); }

/* Writes operand 0 of a row that has KEEP because only some of its forms write. */
static inline void put_rm(X86Trans *t, X86Args *a, Val v)
{
    if (a->is_mem)
        x86_store(t, a->addr, a->size, v);
    else if (a->size == 1)
        x86_put_reg8(t, a->rm, v);
    else
        x86_put_reg(t, a->rm, a->size, v);
}

static inline Val get_rm(X86Trans *t, X86Args *a, bool rmw)
{
    if (a->is_mem)
        return ir_load(t->b, type_of(a), (unsigned)__builtin_ctz(a->size) | x86_align_op(t, a->size) | MO_ACQ |
                                         (rmw ? MO_RMW : 0), a->addr);
    return a->size == 1 ? x86_get_reg8(t, a->rm) : x86_get_reg(t, a->rm, a->size);
}

static inline void put_gpr(X86Trans *t, unsigned reg, unsigned size, Val v)
{
    if (size == 1)
        x86_put_reg8(t, reg, v);
    else
        x86_put_reg(t, reg, size, v);
}

#endif
