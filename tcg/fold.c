/* SPDX-License-Identifier: GPL-2.0-or-later
 * Folds: rows tried in order on each pure insn before it is appended; the first that fits and applies wins.
 *
 * Rules for a row.  It never grows the region: the answer is a value that exists, a constant, or one insn in place of
 * the one asked for.  It never makes an insn that costs more.  Where it only reorders, it goes one way: constants
 * to the right, SUB of a constant to ADD, a whole-width shift pair to EXTRACT, AND compared with 0 to TST.
 * tests/ir/fold_*.ir has a case for each. */
#include "tcg/build_int.h"
#include "tcg/eval.h"
#include "tcg/hostop.h"

/* What an operand must be. */
enum {
    V    = 0,           /* any value */
    K    = 1,           /* a constant */
    ZERO = 2 | K,
    ONE  = 4 | K,
    ONES = 8 | K,       /* all bits of the type */
    POW2 = 16 | K,
    X    = 32,          /* the same value as the operand to its left */
};

/* Returned besides a value: */
#define NEXT  VAL_NONE          /* does not apply after all: try the next row */
#define AGAIN 0x7fffffffu       /* *in has become another insn: start over with it */

typedef struct Fold { Ir *ir; IrInsn *in; Val *second; } Fold;
typedef Val FoldFn(const Fold *f);

typedef struct FoldRow {
    uint8_t op, a, b, c;
    uint8_t a_op;               /* the operation that makes a; 0: any */
    FoldFn *fn;
    const char *name;
} FoldRow;

/* --- small helpers -------------------------------------------------------------------------------------------- */

/* The insn that makes v; a constant answers with insn 0, a NOP. */
static const IrInsn *def(const Ir *ir, Val v) { return &ir->insns[val_is_const(v) ? 0 : v]; }
static uint64_t k_of(const Fold *f, Val v) { return const_lo(f->ir, v); }
static IrType op_type(const Fold *f) { return val_type(f->ir, f->in->a); }     /* of the operands */
static unsigned bits_of(const Fold *f) { return type_bits(f->in->type); }

static Val imm(const Fold *f, uint64_t v) { return ir_imm(f->ir, f->in->type, v); }

/* *in becomes op(a, b) of the same type. */
static Val become(const Fold *f, IrOp op, Val a, Val b)
{
    *f->in = (IrInsn){ .op = op, .type = f->in->type, .a = a, .b = b };
    return AGAIN;
}

static Val become_field(const Fold *f, IrOp op, Val a, Val b, unsigned pos, unsigned len)
{
    become(f, op, a, b);
    f->in->aux = FIELD_AUX(pos, len);
    return AGAIN;
}

static Val become_cmp(const Fold *f, IrCond c, Val a, Val b)
{
    become(f, IR_CMP, a, b);
    f->in->aux = c;
    return AGAIN;
}

/* Bits that may be set in v. */
static uint64_t possible(const Ir *ir, Val v, int depth)
{
    if (val_is_const(v))
        return const_lo(ir, v);
    const IrInsn *d = def(ir, v);
    uint64_t all = eval_mask(d->type);
    if (!depth)
        return all;
    switch (d->op) {
    case IR_ZEXT:    return possible(ir, d->a, depth - 1);
    case IR_EXTRACT: return bits_mask(FIELD_LEN(d->aux)) & possible(ir, d->a, depth - 1) >> FIELD_POS(d->aux);
    case IR_AND:     return possible(ir, d->a, depth - 1) & possible(ir, d->b, depth - 1);
    case IR_OR:
    case IR_XOR:     return possible(ir, d->a, depth - 1) | possible(ir, d->b, depth - 1);
    case IR_SELECT:  return possible(ir, d->b, depth - 1) | possible(ir, d->c, depth - 1);
    case IR_SHR:     return val_is_const(d->b) ? possible(ir, d->a, depth - 1) >> const_lo(ir, d->b) : all;
    case IR_SHL:     return val_is_const(d->b) ? possible(ir, d->a, depth - 1) << const_lo(ir, d->b) & all : all;
    default:         return all;
    }
}

/* --- constants and identities --------------------------------------------------------------------------------- */

static Val fold_const(const Fold *f)
{
    IrInsn *in = f->in;
    uint64_t out, second, k[3] = { 0 };
    const Val v[3] = { in->a, in->b, in->c };

    for (unsigned i = 0; i < 3; i++) {
        if (v[i])
            k[i] = k_of(f, v[i]);
    }
    if (!ir_eval(in->op, in->type, in->aux, op_type(f), k[0], k[1], k[2], &out, &second))
        return NEXT;
    if (ir_ops[in->op].effects & E_SECOND) {
        bool carry = in->op == IR_ADDC || in->op == IR_SUBB;
        *f->second = ir_imm(f->ir, carry ? PRED : in->type, second);
    }
    return imm(f, out);
}

static Val fold_swap(const Fold *f) { return become(f, f->in->op, f->in->b, f->in->a); }
static Val fold_a(const Fold *f)    { return f->in->a; }
static Val fold_b(const Fold *f)    { return f->in->b; }
static Val fold_zero(const Fold *f) { return imm(f, 0); }
static Val fold_ones(const Fold *f) { return imm(f, UINT64_MAX); }
static Val fold_neg(const Fold *f)  { return become(f, IR_NEG, f->in->a, VAL_NONE); }
static Val fold_not(const Fold *f)  { return become(f, IR_NOT, f->in->a, VAL_NONE); }
static Val fold_inverse(const Fold *f) { return def(f->ir, f->in->a)->a; }     /* ~~a, --a, bswap(bswap a) */

/* (v op k1) op k2 = v op (k1 op k2) */
static Val fold_assoc(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    uint64_t k, unused;

    if (!val_is_const(d->b))
        return NEXT;
    ir_eval(f->in->op, f->in->type, 0, f->in->type, k_of(f, d->b), k_of(f, f->in->b), 0, &k, &unused);
    Val b = imm(f, k);
    return become(f, f->in->op, d->a, b);
}

/* --- add, subtract, multiply ---------------------------------------------------------------------------------- */

static Val fold_add_neg(const Fold *f)          /* a + -b */
{
    const IrInsn *d = def(f->ir, f->in->b);
    return d->op == IR_NEG ? become(f, IR_SUB, f->in->a, d->a) : NEXT;
}

static Val fold_sub_k(const Fold *f)
{
    Val k = imm(f, -k_of(f, f->in->b));
    return become(f, IR_ADD, f->in->a, k);
}

static Val fold_sub_of_sum(const Fold *f)       /* (a + b) - b, (a + b) - a */
{
    const IrInsn *d = def(f->ir, f->in->a);
    return d->b == f->in->b ? d->a : d->a == f->in->b ? d->b : NEXT;
}

static Val fold_from_zero(const Fold *f) { return become(f, IR_NEG, f->in->b, VAL_NONE); }

static Val fold_neg_sub(const Fold *f)          /* -(a - b) */
{
    const IrInsn *d = def(f->ir, f->in->a);
    return become(f, IR_SUB, d->b, d->a);
}

static Val fold_mul_pow2(const Fold *f)
{
    if (f->in->type < I32)
        return NEXT;
    Val n = ir_imm(f->ir, I8, bits_ctz(k_of(f, f->in->b)));
    return become(f, IR_SHL, f->in->a, n);
}

/* --- and, or -------------------------------------------------------------------------------------------------- */

static Val fold_and_known(const Fold *f)        /* the mask clears nothing, or everything */
{
    uint64_t p = possible(f->ir, f->in->a, 3), k = k_of(f, f->in->b);
    return !(p & ~k) ? f->in->a : !(p & k) ? imm(f, 0) : NEXT;
}

static Val fold_andc_k(const Fold *f)
{
    Val k = imm(f, ~k_of(f, f->in->b));
    return become(f, IR_AND, f->in->a, k);
}

static Val fold_and_not(const Fold *f)          /* a & ~b */
{
    const IrInsn *d = def(f->ir, f->in->b);
    return d->op == IR_NOT ? become(f, IR_ANDC, f->in->a, d->a) : NEXT;
}

/* --- shifts --------------------------------------------------------------------------------------------------- */

static Val fold_shift_shift(const Fold *f)      /* (v << k1) << k2, for SHL, SHR, SAR, ROL, ROR */
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned bits = bits_of(f);

    if (!val_is_const(d->b))
        return NEXT;
    uint64_t n = k_of(f, d->b) + k_of(f, f->in->b);
    if (f->in->op == IR_ROL || f->in->op == IR_ROR)
        n %= bits;
    else if (n >= bits && f->in->op != IR_SAR)
        return imm(f, 0);
    else if (n >= bits)
        n = bits - 1;
    Val k = ir_imm(f->ir, I8, n);
    return become(f, f->in->op, d->a, k);
}

static Val fold_shl_shr(const Fold *f)          /* (v << k1) >> k2 is a field of v when k2 >= k1 */
{
    const IrInsn *d = def(f->ir, f->in->a);
    if (!val_is_const(d->b))
        return NEXT;
    unsigned k1 = k_of(f, d->b), k2 = k_of(f, f->in->b);
    return k2 >= k1 ? become_field(f, IR_EXTRACT, d->a, VAL_NONE, k2 - k1, bits_of(f) - k2) : NEXT;
}

static Val fold_shr_extract(const Fold *f)      /* a shorter field */
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned k = k_of(f, f->in->b), pos = FIELD_POS(d->aux), len = FIELD_LEN(d->aux);
    return k < len ? become_field(f, IR_EXTRACT, d->a, VAL_NONE, pos + k, len - k) : imm(f, 0);
}

static Val fold_shr_known(const Fold *f)        /* nothing left */
{
    return possible(f->ir, f->in->a, 3) >> k_of(f, f->in->b) ? NEXT : imm(f, 0);
}

static Val fold_funnel_zero(const Fold *f) { return f->in->a; }

static Val fold_funnel_same(const Fold *f)      /* shld x, x is a rotation */
{
    return become(f, f->in->op == IR_SHLD ? IR_ROL : IR_ROR, f->in->a, f->in->c);
}

/* --- widths --------------------------------------------------------------------------------------------------- */

/* zext zext, sext sext, sext zext, trunc trunc: one step of the inner kind */
static Val fold_ext_ext(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    return become(f, d->op, d->a, VAL_NONE);
}

static Val fold_zext_trunc(const Fold *f)       /* back to where it came from: the low field */
{
    const IrInsn *d = def(f->ir, f->in->a);
    if (val_type(f->ir, d->a) != f->in->type)
        return NEXT;
    return become_field(f, IR_EXTRACT, d->a, VAL_NONE, 0, type_bits(d->type));
}

static Val fold_trunc_ext(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    IrType from = val_type(f->ir, d->a);

    if (from == f->in->type)
        return d->a;
    bool wider = from != PRED && type_size(from) > type_size(f->in->type);
    return become(f, wider ? IR_TRUNC : d->op, d->a, VAL_NONE);
}

static Val fold_trunc_deposit(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned pos = FIELD_POS(d->aux), len = FIELD_LEN(d->aux);

    if (pos >= bits_of(f))
        return become(f, IR_TRUNC, d->a, VAL_NONE);
    if (pos == 0 && len >= bits_of(f))
        return become(f, IR_TRUNC, d->b, VAL_NONE);
    return NEXT;
}

static Val fold_trunc_extract(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    bool low = FIELD_POS(d->aux) == 0 && FIELD_LEN(d->aux) >= bits_of(f);
    return low ? become(f, IR_TRUNC, d->a, VAL_NONE) : NEXT;
}

static Val fold_trunc_mask(const Fold *f)       /* and, or with a constant that does not touch what remains */
{
    const IrInsn *d = def(f->ir, f->in->a);
    uint64_t low = eval_mask(f->in->type);

    if (!val_is_const(d->b))
        return NEXT;
    uint64_t k = k_of(f, d->b) & low;
    return k == (d->op == IR_AND ? low : 0) ? become(f, IR_TRUNC, d->a, VAL_NONE) : NEXT;
}

/* --- fields --------------------------------------------------------------------------------------------------- */

static Val fold_extract(const Fold *f)          /* all of it, what must be zero, what is a plain shift */
{
    unsigned pos = FIELD_POS(f->in->aux), len = FIELD_LEN(f->in->aux);
    uint64_t p = possible(f->ir, f->in->a, 3);

    if (pos == 0 && !(p & ~bits_mask(len)))
        return f->in->a;
    if (!(p >> pos & bits_mask(len)))
        return imm(f, 0);
    if (pos && pos + len == bits_of(f) && f->in->type >= I32) {
        Val k = ir_imm(f->ir, I8, pos);
        return become(f, IR_SHR, f->in->a, k);
    }
    return NEXT;
}

static Val fold_extract_extract(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned pos = FIELD_POS(f->in->aux), len = FIELD_LEN(f->in->aux), d_len = FIELD_LEN(d->aux);

    if (pos >= d_len)
        return imm(f, 0);
    return become_field(f, IR_EXTRACT, d->a, VAL_NONE, FIELD_POS(d->aux) + pos, MIN(len, d_len - pos));
}

static Val fold_extract_shift(const Fold *f)    /* of SHR, SHL by a constant */
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned pos = FIELD_POS(f->in->aux), len = FIELD_LEN(f->in->aux), bits = bits_of(f);

    if (!val_is_const(d->b))
        return NEXT;
    unsigned k = k_of(f, d->b);
    if (d->op == IR_SHL)
        return pos >= k ? become_field(f, IR_EXTRACT, d->a, VAL_NONE, pos - k, len) : NEXT;
    if (pos + k >= bits)
        return imm(f, 0);
    return become_field(f, IR_EXTRACT, d->a, VAL_NONE, pos + k, MIN(len, bits - pos - k));
}

static Val fold_extract_deposit(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned pos = FIELD_POS(f->in->aux), len = FIELD_LEN(f->in->aux);
    unsigned d_pos = FIELD_POS(d->aux), d_len = FIELD_LEN(d->aux);

    if (pos + len <= d_pos || pos >= d_pos + d_len)
        return become_field(f, IR_EXTRACT, d->a, VAL_NONE, pos, len);
    if (pos >= d_pos && pos + len <= d_pos + d_len)
        return become_field(f, IR_EXTRACT, d->b, VAL_NONE, pos - d_pos, len);
    return NEXT;
}

static Val fold_extract_mask(const Fold *f)     /* of AND, OR with a constant that leaves the field alone */
{
    const IrInsn *d = def(f->ir, f->in->a);
    unsigned pos = FIELD_POS(f->in->aux), len = FIELD_LEN(f->in->aux);

    if (!val_is_const(d->b))
        return NEXT;
    uint64_t k = bits_get(k_of(f, d->b), pos, len);
    return k == (d->op == IR_AND ? bits_mask(len) : 0)
        ? become_field(f, IR_EXTRACT, d->a, VAL_NONE, pos, len) : NEXT;
}

static Val fold_deposit(const Fold *f)
{
    IrInsn *in = f->in;
    unsigned pos = FIELD_POS(in->aux), len = FIELD_LEN(in->aux);
    const IrInsn *a = def(f->ir, in->a), *b = def(f->ir, in->b);

    if (len == bits_of(f))
        return in->b;
    if (b->op == IR_EXTRACT && b->a == in->a && FIELD_POS(b->aux) == pos && FIELD_LEN(b->aux) == len)
        return in->a;                           /* put back where it was */
    if (a->op == IR_DEPOSIT && FIELD_POS(a->aux) >= pos &&
        FIELD_POS(a->aux) + FIELD_LEN(a->aux) <= pos + len)
        return become_field(f, IR_DEPOSIT, a->a, in->b, pos, len);      /* overwrites the earlier one */
    if (b->op == IR_EXTRACT && FIELD_POS(b->aux) == 0 && FIELD_LEN(b->aux) >= len)
        return become_field(f, IR_DEPOSIT, in->a, b->a, pos, len);
    if (b->op == IR_AND && val_is_const(b->b) && !(~k_of(f, b->b) & bits_mask(len)))
        return become_field(f, IR_DEPOSIT, in->a, b->a, pos, len);
    if (val_is_const(in->b) && k_of(f, in->b) & ~bits_mask(len)) {
        Val k = imm(f, k_of(f, in->b) & bits_mask(len));
        return become_field(f, IR_DEPOSIT, in->a, k, pos, len);
    }
    return NEXT;
}

static Val fold_deposit_zero(const Fold *f)     /* into 0 at the bottom */
{
    if (FIELD_POS(f->in->aux))
        return NEXT;
    return become_field(f, IR_EXTRACT, f->in->b, VAL_NONE, 0, FIELD_LEN(f->in->aux));
}

/* --- comparisons ---------------------------------------------------------------------------------------------- */

static Val fold_cmp_swap(const Fold *f)
{
    static const uint8_t swapped[IR_N_CONDS] = {
        [C_EQ] = C_EQ, [C_NE] = C_NE, [C_LTU] = C_GTU, [C_GEU] = C_LEU, [C_LEU] = C_GEU, [C_GTU] = C_LTU,
        [C_LT] = C_GT, [C_GE] = C_LE, [C_LE] = C_GE, [C_GT] = C_LT, [C_TSTEQ] = C_TSTEQ, [C_TSTNE] = C_TSTNE,
    };
    return become_cmp(f, swapped[f->in->aux], f->in->b, f->in->a);
}

static Val fold_cmp_same(const Fold *f)
{
    switch (f->in->aux) {
    case C_EQ: case C_LEU: case C_GEU: case C_LE: case C_GE:
        return imm(f, 1);
    case C_TSTEQ: case C_TSTNE: {
        Val zero = ir_imm(f->ir, op_type(f), 0);
        return become_cmp(f, f->in->aux == C_TSTEQ ? C_EQ : C_NE, f->in->a, zero);
    }
    default:
        return imm(f, 0);
    }
}

static Val fold_cmp_zero(const Fold *f)
{
    switch (f->in->aux) {
    case C_LTU:   case C_TSTNE: return imm(f, 0);
    case C_GEU:   case C_TSTEQ: return imm(f, 1);
    case C_LEU:   return become_cmp(f, C_EQ, f->in->a, f->in->b);
    case C_GTU:   return become_cmp(f, C_NE, f->in->a, f->in->b);
    default:      return NEXT;
    }
}

static Val fold_cmp_one(const Fold *f)          /* a < 1 */
{
    if (f->in->aux != C_LTU && f->in->aux != C_GEU)
        return NEXT;
    Val zero = ir_imm(f->ir, op_type(f), 0);
    return become_cmp(f, f->in->aux == C_LTU ? C_EQ : C_NE, f->in->a, zero);
}

static Val fold_cmp_ones(const Fold *f)         /* a & ~0, a <= ~0 */
{
    switch (f->in->aux) {
    case C_LEU: return imm(f, 1);
    case C_GTU: return imm(f, 0);
    case C_TSTEQ: case C_TSTNE: {
        Val zero = ir_imm(f->ir, op_type(f), 0);
        return become_cmp(f, f->in->aux == C_TSTEQ ? C_EQ : C_NE, f->in->a, zero);
    }
    default: return NEXT;
    }
}

/* A predicate that went through an integer, compared with a constant: the predicate, its opposite, or known. */
static Val fold_cmp_pred(const Fold *f)
{
    const IrInsn *d = def(f->ir, f->in->a);
    uint64_t k = k_of(f, f->in->b);
    IrType t = op_type(f);

    if (val_type(f->ir, d->a) != PRED)
        return NEXT;
    bool if0 = eval_cond(f->in->aux, t, 0, k), if1 = eval_cond(f->in->aux, t, 1, k);
    if (if0 == if1)
        return imm(f, if0);
    if (if1)
        return d->a;
    const IrInsn *p = def(f->ir, d->a);
    return p->op == IR_CMP ? become_cmp(f, cond_not(p->aux), p->a, p->b) : NEXT;
}

static bool is_equality(uint32_t cond) { return cond == C_EQ || cond == C_NE; }

static Val fold_cmp_and_zero(const Fold *f)     /* (a & b) == 0 */
{
    const IrInsn *d = def(f->ir, f->in->a);
    return is_equality(f->in->aux) ? become_cmp(f, f->in->aux == C_EQ ? C_TSTEQ : C_TSTNE, d->a, d->b) : NEXT;
}

static Val fold_cmp_diff_zero(const Fold *f)    /* a - b == 0, a ^ b == 0 */
{
    const IrInsn *d = def(f->ir, f->in->a);
    return is_equality(f->in->aux) ? become_cmp(f, f->in->aux, d->a, d->b) : NEXT;
}

static Val fold_cmp_field_zero(const Fold *f)   /* field == 0, where the mask is a cheap immediate */
{
    const IrInsn *d = def(f->ir, f->in->a);
    uint64_t mask = bits_mask(FIELD_LEN(d->aux)) << FIELD_POS(d->aux);

    if (!is_equality(f->in->aux) || mask > INT32_MAX)
        return NEXT;
    Val k = ir_imm(f->ir, op_type(f), mask);
    return become_cmp(f, f->in->aux == C_EQ ? C_TSTEQ : C_TSTNE, d->a, k);
}

static Val fold_cmp_add(const Fold *f)          /* a + k1 == k2 */
{
    const IrInsn *d = def(f->ir, f->in->a);
    if (!is_equality(f->in->aux) || !val_is_const(d->b))
        return NEXT;
    Val k = ir_imm(f->ir, op_type(f), k_of(f, f->in->b) - k_of(f, d->b));
    return become_cmp(f, f->in->aux, d->a, k);
}

static Val fold_cmp_zext(const Fold *f)         /* compare in the narrow type */
{
    const IrInsn *d = def(f->ir, f->in->a);
    IrType from = val_type(f->ir, d->a);
    uint64_t k = k_of(f, f->in->b), mask = eval_mask(from);

    if (from == PRED)
        return NEXT;
    if (f->in->aux == C_TSTEQ || f->in->aux == C_TSTNE)
        k &= mask;
    else if (f->in->aux > C_GTU || k > mask)
        return NEXT;
    Val narrow = ir_imm(f->ir, from, k);
    return become_cmp(f, f->in->aux, d->a, narrow);
}

static Val fold_cmp_range(const Fold *f)        /* unsigned against a constant that the value cannot reach */
{
    uint64_t p = possible(f->ir, f->in->a, 3), k = k_of(f, f->in->b);

    if (f->in->aux == C_TSTEQ || f->in->aux == C_TSTNE)
        return p & k ? NEXT : imm(f, f->in->aux == C_TSTEQ);
    if (is_equality(f->in->aux))
        return k & ~p ? imm(f, f->in->aux == C_NE) : NEXT;
    if (f->in->aux > C_GTU || p >= k)
        return NEXT;
    return imm(f, f->in->aux == C_LTU || f->in->aux == C_LEU);
}

static Val fold_tst_and(const Fold *f)          /* (a & k1) & k2 */
{
    const IrInsn *d = def(f->ir, f->in->a);
    if (f->in->aux != C_TSTEQ && f->in->aux != C_TSTNE)
        return NEXT;
    if (!val_is_const(d->b))
        return NEXT;
    Val k = ir_imm(f->ir, op_type(f), k_of(f, d->b) & k_of(f, f->in->b));
    return become_cmp(f, f->in->aux, d->a, k);
}

/* --- select, host rows ---------------------------------------------------------------------------------------- */

static Val fold_select_k(const Fold *f) { return k_of(f, f->in->a) ? f->in->b : f->in->c; }

static Val fold_select_bool(const Fold *f)      /* p ? 1 : 0 */
{
    return become(f, IR_ZEXT, f->in->a, VAL_NONE);
}

static Val fold_host_same(const Fold *f)        /* the zeroing and all-ones idioms */
{
    if (f->in->type != V128T)
        return NEXT;
    switch (HOST_ROW(f->in->aux)) {
    case HOP_PXOR: case HOP_XORPS:
    case HOP_PSUBB: case HOP_PSUBW: case HOP_PSUBD: case HOP_PSUBQ:
        return ir_imm128(f->ir, 0, 0);
    case HOP_PCMPEQB: case HOP_PCMPEQW: case HOP_PCMPEQD: case HOP_PCMPEQQ:
        return ir_imm128(f->ir, UINT64_MAX, UINT64_MAX);
    case HOP_PAND: case HOP_POR: case HOP_ANDPS: case HOP_ORPS:
        return f->in->a;
    default:
        return NEXT;
    }
}

/* --- halves ---------------------------------------------------------------------------------------------------- */

static Val fold_low_of_concat(const Fold *f) { return def(f->ir, f->in->a)->a; }
static Val fold_high_of_concat(const Fold *f) { return def(f->ir, f->in->a)->b; }

static Val fold_concat_halves(const Fold *f)    /* both of one value */
{
    const IrInsn *high = def(f->ir, f->in->b);
    Val v = def(f->ir, f->in->a)->a;
    return high->op == IR_HIGH && high->a == v ? v : NEXT;
}

/* --- the table: grouped by op, in the order of ir.def ---------------------------------------------------------- */

#define ROW(op, a, b, c, a_op, fn) { op, a, b, c, a_op, fn, #op " " #fn }
static const FoldRow folds[] = {
    /*  op         a     b     c    a made by    then */
    ROW(IR_ADD,     K,    K,    V,   0,           fold_const),
    ROW(IR_ADD,     K,    V,    V,   0,           fold_swap),
    ROW(IR_ADD,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_ADD,     V,    K,    V,   IR_ADD,      fold_assoc),
    ROW(IR_ADD,     V,    V,    V,   0,           fold_add_neg),
    ROW(IR_SUB,     K,    K,    V,   0,           fold_const),
    ROW(IR_SUB,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_SUB,     V,    K,    V,   0,           fold_sub_k),
    ROW(IR_SUB,     V,    X,    V,   0,           fold_zero),
    ROW(IR_SUB,     ZERO, V,    V,   0,           fold_from_zero),
    ROW(IR_SUB,     V,    V,    V,   IR_ADD,      fold_sub_of_sum),
    ROW(IR_MUL,     K,    K,    V,   0,           fold_const),
    ROW(IR_MUL,     K,    V,    V,   0,           fold_swap),
    ROW(IR_MUL,     V,    ZERO, V,   0,           fold_zero),
    ROW(IR_MUL,     V,    ONE,  V,   0,           fold_a),
    ROW(IR_MUL,     V,    ONES, V,   0,           fold_neg),
    ROW(IR_MUL,     V,    POW2, V,   0,           fold_mul_pow2),
    ROW(IR_AND,     K,    K,    V,   0,           fold_const),
    ROW(IR_AND,     K,    V,    V,   0,           fold_swap),
    ROW(IR_AND,     V,    X,    V,   0,           fold_a),
    ROW(IR_AND,     V,    K,    V,   IR_AND,      fold_assoc),
    ROW(IR_AND,     V,    K,    V,   0,           fold_and_known),
    ROW(IR_AND,     V,    V,    V,   0,           fold_and_not),
    ROW(IR_OR,      K,    K,    V,   0,           fold_const),
    ROW(IR_OR,      K,    V,    V,   0,           fold_swap),
    ROW(IR_OR,      V,    ZERO, V,   0,           fold_a),
    ROW(IR_OR,      V,    ONES, V,   0,           fold_ones),
    ROW(IR_OR,      V,    X,    V,   0,           fold_a),
    ROW(IR_OR,      V,    K,    V,   IR_OR,       fold_assoc),
    ROW(IR_XOR,     K,    K,    V,   0,           fold_const),
    ROW(IR_XOR,     K,    V,    V,   0,           fold_swap),
    ROW(IR_XOR,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_XOR,     V,    X,    V,   0,           fold_zero),
    ROW(IR_XOR,     V,    K,    V,   IR_XOR,      fold_assoc),
    ROW(IR_XOR,     V,    ONES, V,   0,           fold_not),
    ROW(IR_ANDC,    K,    K,    V,   0,           fold_const),
    ROW(IR_ANDC,    V,    X,    V,   0,           fold_zero),
    ROW(IR_ANDC,    V,    K,    V,   0,           fold_andc_k),
    ROW(IR_ANDC,    ZERO, V,    V,   0,           fold_zero),
    ROW(IR_NOT,     K,    V,    V,   0,           fold_const),
    ROW(IR_NOT,     V,    V,    V,   IR_NOT,      fold_inverse),
    ROW(IR_NEG,     K,    V,    V,   0,           fold_const),
    ROW(IR_NEG,     V,    V,    V,   IR_NEG,      fold_inverse),
    ROW(IR_NEG,     V,    V,    V,   IR_SUB,      fold_neg_sub),
    ROW(IR_SHL,     K,    K,    V,   0,           fold_const),
    ROW(IR_SHL,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_SHL,     ZERO, V,    V,   0,           fold_zero),
    ROW(IR_SHL,     V,    K,    V,   IR_SHL,      fold_shift_shift),
    ROW(IR_SHR,     K,    K,    V,   0,           fold_const),
    ROW(IR_SHR,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_SHR,     ZERO, V,    V,   0,           fold_zero),
    ROW(IR_SHR,     V,    K,    V,   IR_SHR,      fold_shift_shift),
    ROW(IR_SHR,     V,    K,    V,   IR_SHL,      fold_shl_shr),
    ROW(IR_SHR,     V,    K,    V,   IR_EXTRACT,  fold_shr_extract),
    ROW(IR_SHR,     V,    K,    V,   0,           fold_shr_known),
    ROW(IR_SAR,     K,    K,    V,   0,           fold_const),
    ROW(IR_SAR,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_SAR,     ZERO, V,    V,   0,           fold_zero),
    ROW(IR_SAR,     V,    K,    V,   IR_SAR,      fold_shift_shift),
    ROW(IR_ROL,     K,    K,    V,   0,           fold_const),
    ROW(IR_ROL,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_ROL,     V,    K,    V,   IR_ROL,      fold_shift_shift),
    ROW(IR_ROR,     K,    K,    V,   0,           fold_const),
    ROW(IR_ROR,     V,    ZERO, V,   0,           fold_a),
    ROW(IR_ROR,     V,    K,    V,   IR_ROR,      fold_shift_shift),
    ROW(IR_SHLD,    K,    K,    K,   0,           fold_const),
    ROW(IR_SHLD,    V,    V,    ZERO, 0,          fold_funnel_zero),
    ROW(IR_SHLD,    V,    X,    V,   0,           fold_funnel_same),
    ROW(IR_SHRD,    K,    K,    K,   0,           fold_const),
    ROW(IR_SHRD,    V,    V,    ZERO, 0,          fold_funnel_zero),
    ROW(IR_SHRD,    V,    X,    V,   0,           fold_funnel_same),
    ROW(IR_ADDC,    K,    K,    K,   0,           fold_const),
    ROW(IR_SUBB,    K,    K,    K,   0,           fold_const),
    ROW(IR_UMULW,   K,    K,    V,   0,           fold_const),
    ROW(IR_SMULW,   K,    K,    V,   0,           fold_const),
    ROW(IR_UDIVW,   K,    K,    K,   0,           fold_const),
    ROW(IR_UDIV,    K,    K,    V,   0,           fold_const),
    ROW(IR_SDIV,    K,    K,    V,   0,           fold_const),
    ROW(IR_BSWAP,   K,    V,    V,   0,           fold_const),
    ROW(IR_BSWAP,   V,    V,    V,   IR_BSWAP,    fold_inverse),
    ROW(IR_CLZ,     K,    V,    V,   0,           fold_const),
    ROW(IR_CTZ,     K,    V,    V,   0,           fold_const),
    ROW(IR_POPCNT,  K,    V,    V,   0,           fold_const),
    ROW(IR_ZEXT,    K,    V,    V,   0,           fold_const),
    ROW(IR_ZEXT,    V,    V,    V,   IR_ZEXT,     fold_ext_ext),
    ROW(IR_ZEXT,    V,    V,    V,   IR_TRUNC,    fold_zext_trunc),
    ROW(IR_SEXT,    K,    V,    V,   0,           fold_const),
    ROW(IR_SEXT,    V,    V,    V,   IR_SEXT,     fold_ext_ext),
    ROW(IR_SEXT,    V,    V,    V,   IR_ZEXT,     fold_ext_ext),
    ROW(IR_TRUNC,   K,    V,    V,   0,           fold_const),
    ROW(IR_TRUNC,   V,    V,    V,   IR_TRUNC,    fold_ext_ext),
    ROW(IR_TRUNC,   V,    V,    V,   IR_ZEXT,     fold_trunc_ext),
    ROW(IR_TRUNC,   V,    V,    V,   IR_SEXT,     fold_trunc_ext),
    ROW(IR_TRUNC,   V,    V,    V,   IR_DEPOSIT,  fold_trunc_deposit),
    ROW(IR_TRUNC,   V,    V,    V,   IR_EXTRACT,  fold_trunc_extract),
    ROW(IR_TRUNC,   V,    V,    V,   IR_AND,      fold_trunc_mask),
    ROW(IR_TRUNC,   V,    V,    V,   IR_OR,       fold_trunc_mask),
    ROW(IR_EXTRACT, K,    V,    V,   0,           fold_const),
    ROW(IR_EXTRACT, V,    V,    V,   IR_EXTRACT,  fold_extract_extract),
    ROW(IR_EXTRACT, V,    V,    V,   IR_SHR,      fold_extract_shift),
    ROW(IR_EXTRACT, V,    V,    V,   IR_SHL,      fold_extract_shift),
    ROW(IR_EXTRACT, V,    V,    V,   IR_DEPOSIT,  fold_extract_deposit),
    ROW(IR_EXTRACT, V,    V,    V,   IR_AND,      fold_extract_mask),
    ROW(IR_EXTRACT, V,    V,    V,   IR_OR,       fold_extract_mask),
    ROW(IR_EXTRACT, V,    V,    V,   0,           fold_extract),
    ROW(IR_DEPOSIT, K,    K,    V,   0,           fold_const),
    ROW(IR_DEPOSIT, V,    V,    V,   0,           fold_deposit),
    ROW(IR_DEPOSIT, ZERO, V,    V,   0,           fold_deposit_zero),
    ROW(IR_CMP,     K,    K,    V,   0,           fold_const),
    ROW(IR_CMP,     K,    V,    V,   0,           fold_cmp_swap),
    ROW(IR_CMP,     V,    X,    V,   0,           fold_cmp_same),
    ROW(IR_CMP,     V,    ZERO, V,   0,           fold_cmp_zero),
    ROW(IR_CMP,     V,    ONE,  V,   0,           fold_cmp_one),
    ROW(IR_CMP,     V,    ONES, V,   0,           fold_cmp_ones),
    ROW(IR_CMP,     V,    K,    V,   IR_ZEXT,     fold_cmp_pred),
    ROW(IR_CMP,     V,    K,    V,   0,           fold_cmp_range),
    ROW(IR_CMP,     V,    K,    V,   IR_ZEXT,     fold_cmp_zext),
    ROW(IR_CMP,     V,    K,    V,   IR_ADD,      fold_cmp_add),
    ROW(IR_CMP,     V,    K,    V,   IR_AND,      fold_tst_and),
    ROW(IR_CMP,     V,    ZERO, V,   IR_AND,      fold_cmp_and_zero),
    ROW(IR_CMP,     V,    ZERO, V,   IR_SUB,      fold_cmp_diff_zero),
    ROW(IR_CMP,     V,    ZERO, V,   IR_XOR,      fold_cmp_diff_zero),
    ROW(IR_CMP,     V,    ZERO, V,   IR_EXTRACT,  fold_cmp_field_zero),
    ROW(IR_SELECT,  K,    V,    V,   0,           fold_select_k),
    ROW(IR_SELECT,  V,    V,    X,   0,           fold_b),
    ROW(IR_SELECT,  V,    ONE,  ZERO, 0,          fold_select_bool),
    ROW(IR_HOST,    V,    X,    V,   0,           fold_host_same),
    ROW(IR_CONCAT,  V,    V,    V,   IR_LOW,      fold_concat_halves),
    ROW(IR_LOW,     V,    V,    V,   IR_CONCAT,   fold_low_of_concat),
    ROW(IR_HIGH,    V,    V,    V,   IR_CONCAT,   fold_high_of_concat),
};
#undef ROW

const char *ir_fold_name(unsigned row) { return folds[row].name; }

static unsigned traits(const Ir *ir, Val v, Val left)
{
    unsigned t = v && v == left ? X : 0;

    if (!val_is_const(v))
        return t;
    const IrConst *c = &ir->consts[v & ~VAL_CONST];
    if (c->type == V128T)
        return t | K;
    t |= K;
    if (c->lo == 0)
        t |= ZERO;
    if (c->lo == 1)
        t |= ONE;
    if (c->lo == eval_mask(c->type))
        t |= ONES;
    if (is_pow2(c->lo))
        t |= POW2;
    return t;
}

unsigned ir_fold_index(uint8_t first[IR_N_OPS + 1])
{
    unsigned row = 0;

    G_STATIC_ASSERT(G_N_ELEMENTS(folds) < 256);
    for (unsigned op = 0; op <= IR_N_OPS; op++) {
        while (row < G_N_ELEMENTS(folds) && folds[row].op < op)
            row++;
        first[op] = row;
    }
    return G_N_ELEMENTS(folds);
}

Val ir_fold(Ir *ir, IrInsn *in, Val *second)
{
    const uint8_t *first = ir->builder->fold_first;
    const Fold f = { ir, in, second };

again:;
    unsigned row = first[in->op], end = first[in->op + 1];
    if (row == end)
        return VAL_NONE;
    unsigned a = traits(ir, in->a, VAL_NONE), b = traits(ir, in->b, in->a), c = traits(ir, in->c, in->b);
    unsigned a_op = def(ir, in->a)->op;
    for (; row < end; row++) {
        const FoldRow *r = &folds[row];
        if ((r->a & ~a) | (r->b & ~b) | (r->c & ~c) || (r->a_op && r->a_op != a_op))
            continue;
        Val v = r->fn(&f);
        if (v && ir->builder->fold_hits)
            ir->builder->fold_hits[row]++;
        if (v == AGAIN)
            goto again;
        if (v)
            return v;
    }
    return VAL_NONE;
}

Val ir_fold_stored(const Ir *ir, Val v, unsigned bytes)
{
    for (;;) {
        const IrInsn *d = def(ir, v);
        bool low = d->op == IR_EXTRACT && !FIELD_POS(d->aux) && FIELD_LEN(d->aux) >= 8 * bytes;
        bool same = d->op == IR_TRUNC || low;
        if (d->op == IR_ZEXT || d->op == IR_SEXT)
            same = val_type(ir, d->a) != PRED && type_size(val_type(ir, d->a)) >= bytes;
        if (!same)
            return v;
        v = d->a;
    }
}
