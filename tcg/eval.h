/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the pure integer operations compute: the one definition, used by folds and by the interpreter.  Values are
 * kept zero-extended from their type; predicates are 0 or 1. */
#ifndef RHEA_TCG_EVAL_H
#define RHEA_TCG_EVAL_H

#include "tcg/ir.h"
#include "util/bits.h"

static inline unsigned eval_bits(IrType t) { return t == PRED ? 1 : type_bits(t); }
static inline uint64_t eval_mask(IrType t) { return bits_mask(eval_bits(t)); }
static inline int64_t eval_sext(IrType t, uint64_t v) { return bits_sext(v, eval_bits(t)); }

static inline bool eval_cond(IrCond cond, IrType t, uint64_t a, uint64_t b)
{
    int64_t sa = eval_sext(t, a), sb = eval_sext(t, b);
    switch (cond) {
    case C_EQ:    return a == b;
    case C_NE:    return a != b;
    case C_LTU:   return a < b;
    case C_GEU:   return a >= b;
    case C_LEU:   return a <= b;
    case C_GTU:   return a > b;
    case C_LT:    return sa < sb;
    case C_GE:    return sa >= sb;
    case C_LE:    return sa <= sb;
    case C_GT:    return sa > sb;
    case C_TSTEQ: return !(a & b);
    case C_TSTNE: return a & b;
    default:      return false;
    }
}

/* False: no result (division by zero or out of range, or not an operation of this table).
 * ta: type of operand a, where it is not the result's. */
static inline bool ir_eval(IrOp op, IrType t, uint32_t aux, IrType ta, uint64_t a, uint64_t b, uint64_t c,
                           uint64_t *out, uint64_t *second)
{
    unsigned bits = eval_bits(t), sh = b & (bits - 1);
    uint64_t mask = eval_mask(t), r, s = 0;
    unsigned __int128 w;

    switch (op) {
    case IR_ADD:     r = a + b; break;
    case IR_SUB:     r = a - b; break;
    case IR_MUL:     r = a * b; break;
    case IR_AND:     r = a & b; break;
    case IR_OR:      r = a | b; break;
    case IR_XOR:     r = a ^ b; break;
    case IR_ANDC:    r = a & ~b; break;
    case IR_NOT:     r = ~a; break;
    case IR_NEG:     r = -a; break;
    case IR_SHL:     r = a << sh; break;
    case IR_SHR:     r = a >> sh; break;
    case IR_SAR:     r = (uint64_t)(eval_sext(t, a) >> sh); break;
    case IR_ROL:     r = sh ? a << sh | a >> (bits - sh) : a; break;
    case IR_ROR:     r = sh ? a >> sh | a << (bits - sh) : a; break;
    case IR_SHLD:    sh = c & (bits - 1); r = sh ? a << sh | b >> (bits - sh) : a; break;
    case IR_SHRD:    sh = c & (bits - 1); r = sh ? a >> sh | b << (bits - sh) : a; break;
    case IR_ADDC:    w = (unsigned __int128)a + b + (c & 1); r = (uint64_t)w; s = w >> bits & 1; break;
    case IR_SUBB:    r = a - b - (c & 1); s = a < b || (a == b && (c & 1)); break;
    case IR_UMULW:   w = (unsigned __int128)a * b; r = (uint64_t)w; s = (uint64_t)(w >> bits); break;
    case IR_SMULW:
        w = (unsigned __int128)((__int128)eval_sext(t, a) * eval_sext(t, b));
        r = (uint64_t)w;
        s = (uint64_t)(w >> bits);
        break;
    case IR_UDIVW:
        if (a >= c)
            return false;
        w = (unsigned __int128)a << bits | b;
        r = (uint64_t)(w / c);
        s = (uint64_t)(w % c);
        break;
    case IR_UDIV:
        if (!b)
            return false;
        r = a / b;
        s = a % b;
        break;
    case IR_SDIV: {
        int64_t x = eval_sext(t, a), y = eval_sext(t, b);
        if (!y || (y == -1 && a == BIT(bits - 1)))
            return false;
        r = (uint64_t)(x / y);
        s = (uint64_t)(x % y);
        break;
    }
    case IR_BSWAP:   r = __builtin_bswap64(a) >> (64 - bits); break;
    case IR_CLZ:     r = bits_clz(a) - (64 - bits); break;
    case IR_CTZ:     r = a ? bits_ctz(a) : bits; break;
    case IR_POPCNT:  r = bits_count(a); break;
    case IR_ZEXT:
    case IR_TRUNC:   r = a; break;
    case IR_SEXT:    r = (uint64_t)eval_sext(ta, a); break;
    case IR_EXTRACT: r = bits_get(a, FIELD_POS(aux), FIELD_LEN(aux)); break;
    case IR_DEPOSIT: r = bits_put(a, FIELD_POS(aux), FIELD_LEN(aux), b); break;
    case IR_CMP:     r = eval_cond(aux, ta, a, b); break;
    case IR_SELECT:  r = a ? b : c; break;
    default:         return false;
    }
    *out = r & mask;
    *second = s & mask;
    return true;
}

#endif
