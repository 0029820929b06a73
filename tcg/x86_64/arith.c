/* SPDX-License-Identifier: GPL-2.0-or-later
 * Integer operations with flags, fixed registers or two results: compares, selects, carries, wide
 * products, quotients. */
#include "tcg/x86_64/x64.h"

static const uint8_t cc_of[IR_N_CONDS] = {
    [C_EQ] = CC_E, [C_NE] = CC_NE, [C_LTU] = CC_B, [C_GEU] = CC_AE, [C_LEU] = CC_BE, [C_GTU] = CC_A,
    [C_LT] = CC_L, [C_GE] = CC_GE, [C_LE] = CC_LE, [C_GT] = CC_G, [C_TSTEQ] = CC_E, [C_TSTNE] = CC_NE,
};
static const uint8_t swapped[IR_N_CONDS] = {
    [C_EQ] = C_EQ, [C_NE] = C_NE, [C_LTU] = C_GTU, [C_GEU] = C_LEU, [C_LEU] = C_GEU, [C_GTU] = C_LTU,
    [C_LT] = C_GT, [C_GE] = C_LE, [C_LE] = C_GE, [C_GT] = C_LT, [C_TSTEQ] = C_TSTEQ, [C_TSTNE] = C_TSTNE,
};

/* Opcode of the byte form or its wider sibling, with what the width needs. */
static uint32_t sized(IrType t, unsigned byte_op)
{
    switch (t) {
    case I8: case PRED: return byte_op | O_BREG | O_BRM;
    case I16: return (byte_op | 1) | O_66;
    case I64: return (byte_op | 1) | O_W;
    default:  return byte_op | 1;
    }
}

/* Do the host flags already tell? */
static bool flags_tell(const Gen *g, IrCond cond, Val a, Val b, unsigned *cc)
{
    if (!g->flags_a)
        return false;
    if (g->flags_b) {                   /* of a compare */
        if (g->flags_a != a || g->flags_b != b || cond >= C_TSTEQ)
            return false;
        *cc = cc_of[cond];
        return true;
    }
    const IrInsn *op = &g->ir->insns[g->flags_a];
    if (op->op == IR_SUB && op->a == a && op->b == b && cond < C_TSTEQ) {
        *cc = cc_of[cond];
        return true;
    }
    if (g->flags_a != a)
        return false;
    if (cond >= C_TSTEQ ? b != a : !val_is_const(b) || const_lo(g->ir, b))
        return false;
    bool logic = op->op == IR_AND || op->op == IR_OR || op->op == IR_XOR;       /* CF, OF clear */
    if (cond == C_EQ || cond == C_NE || cond >= C_TSTEQ || logic)
        *cc = cc_of[cond];
    else if (cond == C_LT || cond == C_GE)
        *cc = cond == C_LT ? CC_S : CC_NS;
    else
        return false;
    return true;
}

static bool in_memory(const Gen *g, uint32_t e, uint32_t next, unsigned bytes, int32_t *disp)
{
    return g->ent[e].reg == NO_REG && next == NEVER && ra_mem(g, e, bytes, disp);
}

static void test_imm(Gen *g, IrType t, unsigned r, int64_t k)
{
    uint64_t u = (uint64_t)k & bits_mask(type_bits(t));
    if (u <= 0xff) {
        x64_rr(g, 0xf6 | O_BRM, 0, r);
        x64_1(g, (unsigned)u);
    } else {
        x64_rr(g, 0xf7 | wide(u > UINT32_MAX), 0, r);
        x64_4(g, (uint32_t)u);
    }
}

static unsigned compare(Gen *g, IrCond cond, Val a, Val b, const uint32_t *next)
{
    IrType t = val_type(g->ir, a);
    unsigned cc, bytes = type_size(t);
    uint32_t next_a = next[0], next_b = next[1];
    int32_t disp;

    if (flags_tell(g, cond, a, b, &cc))
        return cc;
    if (val_is_const(a) && !val_is_const(b)) {
        Val v = a;
        a = b;
        b = v;
        cond = swapped[cond];
        next_a = next[1];
        next_b = next[0];
    }
    cc = cc_of[cond];
    uint32_t ea = gen_ent(g, a), eb = gen_ent(g, b);
    bool tst = cond >= C_TSTEQ;
    if (val_is_const(b)) {
        int64_t k = bits_sext(const_lo(g->ir, b), t == PRED ? 8 : type_bits(t));
        if (tst && (k == (int32_t)k || (t == I64 && (uint64_t)k <= UINT32_MAX))) {
            test_imm(g, t, ra_use(g, ea, GPRS), k);
            goto done;
        }
        if (!tst && k == (int32_t)k) {
            if (in_memory(g, ea, next_a, bytes, &disp)) {
                bool small = k == (int8_t)k || bytes == 1;
                uint32_t op = sized(t, 0x80) & ~(uint32_t)(O_BREG | O_BRM);
                x64_cpu(g, small && bytes > 1 ? op | 2 : op, ALU_CMP, disp);
                if (small)
                    x64_1(g, (unsigned)k);
                else if (bytes == 2)
                    x64_1(g, k & 0xff), x64_1(g, k >> 8 & 0xff);
                else
                    x64_4(g, (uint32_t)k);
                goto done;
            }
            unsigned r = ra_use(g, ea, GPRS);
            if (k == 0) {
                x64_rr(g, sized(t, 0x84), r, r);
            } else if (bytes == 1) {
                x64_rr(g, 0x80 | O_BRM, ALU_CMP, r);
                x64_1(g, (unsigned)k);
            } else if (bytes == 2 && k != (int8_t)k) {
                x64_rr(g, 0x81 | O_66, ALU_CMP, r);
                x64_1(g, k & 0xff);
                x64_1(g, k >> 8 & 0xff);
            } else if (bytes == 2) {
                x64_rr(g, 0x83 | O_66, ALU_CMP, r);
                x64_1(g, (unsigned)k);
            } else {
                x64_alu_ri(g, t == I64, ALU_CMP, r, (int32_t)k);
            }
            goto done;
        }
    }
    if (tst) {
        unsigned ra = ra_use(g, ea, GPRS), rb = ra_use(g, eb, GPRS);
        x64_rr(g, sized(t, 0x84), rb, ra);
    } else if (in_memory(g, eb, next_b, bytes, &disp)) {
        unsigned ra = ra_use(g, ea, GPRS);
        x64_cpu(g, sized(t, 0x3a), ra, disp);
    } else if (in_memory(g, ea, next_a, bytes, &disp)) {
        unsigned rb = ra_use(g, eb, GPRS);
        x64_cpu(g, sized(t, 0x38), rb, disp);
    } else {
        unsigned ra = ra_use(g, ea, GPRS), rb = ra_use(g, eb, GPRS);
        x64_rr(g, sized(t, 0x38), rb, ra);
    }
done:
    g->flags_a = VAL_NONE;
    if (!tst) {
        g->flags_a = a;
        g->flags_b = b;
    }
    return cc;
}

unsigned x64_test(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    if (g->how[i] & HOW_FUSE) {
        const IrInsn *cmp = &g->ir->insns[in->a];
        return compare(g, cmp->aux, cmp->a, cmp->b, g->uses[i].next);
    }
    unsigned r = ra_use(g, gen_ent(g, in->a), GPRS);
    x64_rr(g, sized(PRED, 0x84), r, r);
    g->flags_a = VAL_NONE;
    return CC_NE;
}

static void set_cc(Gen *g, unsigned cc, unsigned d)
{
    x64_rr(g, (0x90 | cc) | O_0F | O_BRM, 0, d);
    x64_rr(g, 0xb6 | O_0F | O_BRM, d, d);
}

void x64_cmp(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    unsigned cc = compare(g, in->aux, in->a, in->b, g->uses[i].next);
    g->flags_live = true;
    unsigned d = ra_def(g, i, GPRS);
    set_cc(g, cc, d);
}

void x64_select(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    unsigned cc = x64_test(g, i), at = g->how[i] & HOW_FUSE ? 2 : 1;
    Val x = in->b, y = in->c;
    uint32_t next = g->uses[i].next[at];
    bool w = in->type == I64;
    int32_t disp;

    g->flags_live = true;
    if (!ent_dies(g, gen_ent(g, y)) && ent_dies(g, gen_ent(g, x)) && !val_is_const(x)) {
        x = in->c;
        y = in->b;
        cc ^= 1;
        next = g->uses[i].next[at + 1];
    }
    uint32_t ex = gen_ent(g, x);
    if (in->type >= I32 && in->type != PRED && in_memory(g, ex, next, type_size(in->type), &disp)) {
        unsigned d = ra_def_from(g, i, gen_ent(g, y), GPRS);
        x64_cpu(g, (0x40 | cc) | O_0F | wide(w), d, disp);
    } else {
        unsigned r = ra_use(g, ex, GPRS);
        unsigned d = ra_def_from(g, i, gen_ent(g, y), GPRS);
        x64_rr(g, (0x40 | cc) | O_0F | wide(w), d, r);
    }
}

static bool second_used(const Gen *g, uint32_t i)
{
    return i + 1 < g->ir->n_insns && g->ir->insns[i + 1].op == IR_SECOND && g->ent[i + 1].last;
}

/* The carry of the last ADDC or SUBB stays in the host's CF until something else is done with the flags: a chain takes
 * it from there. */
/* MULX: any two destinations, flags left alone; one factor is in rdx, and stays there for the next one. */
static bool has_mulx(const Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    return g->be->features & HOST_BMI2 && in->op == IR_UMULW && in->type >= I32 && in->type <= I64;
}

bool x64_keeps_flags(const Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    switch (in->op) {
    case IR_SLOT_GET: case IR_PARAM: case IR_SECOND: case IR_ARGS:
        return true;
    case IR_ADDC: case IR_SUBB:
        return val_is_const(in->c) ? false : gen_ent(g, in->c) == g->carry;
    case IR_UMULW:
        return has_mulx(g, i);
    default:
        return false;
    }
}

void x64_carry_to_reg(Gen *g)
{
    uint32_t e = g->carry;
    g->carry = 0;
    if (g->ent[e].last < g->pos)
        return;
    g->flags_live = true;
    unsigned r = ra_def(g, e, GPRS);
    x64_rr(g, (0x90 | CC_B) | O_0F | O_BRM, 0, r);
    g->locked = 0;
}

/* ADDC, SUBB at their own width, so that the carry comes out. */
void x64_carry(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    bool with = !val_is_const(in->c) || const_lo(g->ir, in->c), there = false;
    unsigned alu = in->op == IR_ADDC ? (with ? ALU_ADC : ALU_ADD) : with ? ALU_SBB : ALU_SUB;
    bool imm = false;
    int64_t k = 0;
    unsigned b = 0, c = 0;

    if (with && g->carry) {             /* x64_keeps_flags(): it is this one */
        there = g->flags_live = true;
        uint32_t e = g->carry;
        if (!ent_dies(g, e))
            x64_carry_to_reg(g);
        g->carry = 0;
    } else if (with) {
        c = ra_use(g, gen_ent(g, in->c), GPRS);
    }
    if (val_is_const(in->b)) {
        k = bits_sext(const_lo(g->ir, in->b), type_bits(in->type));
        imm = k == (int8_t)k;
    }
    if (!imm)
        b = ra_use(g, gen_ent(g, in->b), GPRS);
    unsigned d = ra_def_from(g, i, gen_ent(g, in->a), GPRS);
    if (with && !there) {               /* bt c, 0 */
        x64_rr(g, 0xba | O_0F, 4, c);
        x64_1(g, 0);
    }
    if (imm) {
        uint32_t op = sized(in->type, 0x80);
        x64_rr(g, in->type == I8 ? op : op | 2, alu, d);
        x64_1(g, (unsigned)k);
    } else {
        x64_rr(g, sized(in->type, alu << 3 | 2), d, b);
    }
    if (second_used(g, i))
        g->carry = i + 1;
}

static void mulx(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    uint32_t ea = gen_ent(g, in->a), eb = gen_ent(g, in->b), op = 0xf6 | O_0F38 | O_F2 | wide(in->type == I64);
    if (g->ent[ea].reg != RDX && (g->ent[eb].reg == RDX || ent_dies(g, ea))) {
        uint32_t t = ea;
        ea = eb;
        eb = t;
    }
    if (g->ent[ea].reg == RDX) {
        g->locked |= 1u << RDX;
    } else {
        ra_take(g, RDX);
        ra_copy_to(g, RDX, ea);
        if (g->ent[ea].reg != NO_REG)
            ra_drop_reg(g, g->ent[ea].reg);
        ra_set(g, ea, RDX);
    }
    unsigned b = ra_use(g, eb, GPRS), hi = NO_REG;
    if (second_used(g, i))
        hi = ra_def(g, i + 1, GPRS);
    unsigned lo = g->ent[i].last ? ra_def(g, i, GPRS) : hi;
    x64_vrr(g, op, hi == NO_REG ? RTMP : hi, lo, b);            /* equal ones: the high half */
}

/* Operands in rax and rdx, results there; narrow quotients at 32 bits. */
void x64_mul_div(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    bool w = in->type == I64, narrow = in->type < I32, sign = in->op == IR_SDIV || in->op == IR_SMULW;
    bool mul = in->op == IR_UMULW || in->op == IR_SMULW;
    Val rax = in->op == IR_UDIVW ? in->b : in->a, other = in->op == IR_UDIVW ? in->c : in->b;
    uint32_t ea = gen_ent(g, rax), eo = gen_ent(g, other);

    if (has_mulx(g, i)) {
        mulx(g, i);
        return;
    }
    if (mul && g->ent[eo].reg == RAX && g->ent[ea].reg != RAX) {
        uint32_t t = ea;
        ea = eo;
        eo = t;
    }
    bool twice = ea == eo || (in->op == IR_UDIVW && gen_ent(g, in->a) == ea);
    if (g->ent[ea].reg == RAX && ent_dies(g, ea) && !twice) {
        ra_drop_reg(g, RAX);
        g->free &= ~(1u << RAX);
        g->locked |= 1u << RAX;
        ra_take(g, RDX);
    } else {
        ra_take(g, RAX);
        ra_take(g, RDX);
        ra_copy_to(g, RAX, ea);
    }
    unsigned r = ra_use(g, eo, GPRS);
    if (in->op == IR_UDIVW)
        ra_copy_to(g, RDX, gen_ent(g, in->a));
    if (narrow) {
        uint32_t op = (in->type == I8 ? 0xb6 | O_BRM : 0xb7) | O_0F;
        op += sign ? 8 : 0;             /* movzx, movsx */
        x64_rr(g, op, RAX, RAX);
        x64_rr(g, op, RTMP, r);
        r = RTMP;
    }
    if (mul) {
        x64_rr(g, 0xf7 | wide(w), sign ? 5 : 4, r);
    } else {
        if (in->op == IR_SDIV) {
            if (w)
                x64_1(g, 0x48);
            x64_1(g, 0x99);
        } else if (in->op == IR_UDIV) {
            x64_rr(g, 0x31, RDX, RDX);
        }
        x64_rr(g, 0xf7 | wide(w), sign ? 7 : 6, r);
    }
    ra_set(g, i, RAX);
    if (second_used(g, i))
        ra_set(g, i + 1, RDX);
}

/* a + (b << k), the shift folded in (HOW_SCALE) */
void x64_scaled_add(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i], *shl = &g->ir->insns[in->b];
    unsigned a = ra_use(g, gen_ent(g, in->a), GPRS), b = ra_use(g, gen_ent(g, shl->a), GPRS);
    unsigned d = ra_def(g, i, GPRS);
    x64_rx(g, 0x8d | wide(in->type == I64), d, a, b, (unsigned)const_lo(g->ir, shl->b), 0);
}

/* Part of a value that is only in memory: loaded with its extension.  False: it is elsewhere, or wanted
 * again. */
bool x64_extend_memory(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    unsigned pos = 0, len;
    int32_t disp;

    if (val_is_const(in->a))
        return false;
    if (in->op == IR_EXTRACT) {
        pos = FIELD_POS(in->aux);
        len = FIELD_LEN(in->aux);
    } else {
        len = type_bits(val_type(g->ir, in->a));
    }
    if (pos % 8 || (len != 8 && len != 16 && len != 32) ||
        !in_memory(g, gen_ent(g, in->a), g->uses[i].next[0], (pos + len) / 8, &disp))
        return false;
    unsigned d = ra_def(g, i, GPRS);
    uint32_t w = in->op == IR_SEXT && in->type == I64 ? O_W : 0, sign = in->op == IR_SEXT ? 8 : 0;
    if (len == 32)
        x64_cpu(g, sign ? 0x63 | O_W : 0x8b, d, disp + pos / 8);
    else
        x64_cpu(g, ((len == 8 ? 0xb6 : 0xb7) + sign) | O_0F | w, d, disp + pos / 8);
    return true;
}
