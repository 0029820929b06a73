/* SPDX-License-Identifier: GPL-2.0-or-later
 * Arithmetic flags in translated code.  An instruction that sets them says only what it did (CcOp) and with what; the
 * slots hold that, and a condition is made from the operands by the cheapest compare, if the block knows the operation.
 * Flags of unknown origin (those at the block's start) are computed by x86_arith_flags(), once. */
#include "target/x86/translate.h"

static uint64_t h_flags(CpuState *s, uint64_t op_cf, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return x86_arith_flags(op_cf, op_cf >> 32, a, b, c, d);
}
static const IrHelper flags_helper = { "x86_arith_flags", h_flags, I32, 5, HF_PURE };

/* CF and OF alone, as they are in memory.  Where a chain through them goes on in another block both lie ready, or an XOR of
 * a register with itself has cleared them. */
static uint64_t h_carry(CpuState *s) { return x86_eflags(x86_cpu(s)) & FL_CF ? 1 : 0; }
static uint64_t h_overflow(CpuState *s) { return x86_eflags(x86_cpu(s)) & FL_OF ? 1 : 0; }
enum { CC_OP_AT = offsetof(X86Cpu, s.hot[20]) /* x86_cc_op(), x86_cc_cf() */, CC_ANY = 0x3c };
static const IrGuard
    carry_guard = { .word = CC_OP_AT, .mask = CCF_CARRY, .set = true, .value = CC_OP_AT + 4,
                    .zero_mask = CC_ANY | CCF_CARRY, .zero_is = CC_LOGIC },
    overflow_guard = { .word = CC_OP_AT, .mask = CCF_OVF, .set = true, .value = CC_OP_AT + 5,
                       .zero_mask = CC_ANY | CCF_OVF | CCF_STEP, .zero_is = CC_LOGIC };
static const IrHelper
    carry_helper = { "x86_carry", h_carry, I8, 0, 0, .reads = { { SLOTS_FL } }, .guard = &carry_guard },
    overflow_helper = { "x86_overflow", h_overflow, I8, 0, 0, .reads = { { SLOTS_FL } }, .guard = &overflow_guard };

static unsigned log2_size(unsigned size) { return __builtin_ctz(size); }
static CcOp known_op(const X86Trans *t) { return t->cc.op & ~(CCF_ALL | 3); }

static Val as_i64(X86Trans *t, Val v) { return ir_ext(t->b, IR_ZEXT, I64, v); }

/* Operands that the operation does not have need not be kept. */
static void put_wide(X86Trans *t, unsigned slot, Val v)
{
    if (!v) {
        ir_drop(t->b, slot);
        return;
    }
    v = as_i64(t, v);
    ir_put(t->b, slot, v);
}

static void put_slots(X86Trans *t)
{
    put_wide(t, X_CC_A, t->cc.a);
    put_wide(t, X_CC_B, t->cc.b);
    put_wide(t, X_CC_C, t->cc.c);
    ir_drop(t->b, X_CC_D);
    ir_drop(t->b, X_CC_CF);
    ir_drop(t->b, X_CC_OF);
    Val op = ir_imm(t->b, I32, t->cc.op);
    ir_put(t->b, X_CC_OP, op);
}

void x86_put_flags(X86Trans *t, CcOp op, unsigned size, Val result, Val lhs, Val rhs)
{
    t->cc.known = true;
    t->cc.op = op | log2_size(size);
    t->cc.a = result;
    t->cc.b = t->cc.c = VAL_NONE;
    t->cc.lhs = lhs;
    t->cc.rhs = rhs;
    t->cc.carry = t->cc.ovf = t->cc.flags = VAL_NONE;
    t->cc.step = 0;
    switch (op) {
    case CC_ADD:
    case CC_SUB:
        t->cc.b = rhs;
        break;
    case CC_CMP:
        t->cc.a = lhs;
        t->cc.b = rhs;
        break;
    case CC_ADC:
    case CC_SBB:
    case CC_SHL:
    case CC_SHR:
    case CC_SAR:
        t->cc.b = lhs;
        t->cc.c = rhs;
        break;
    case CC_IMUL:
    case CC_UMUL:
        t->cc.a = lhs;
        t->cc.b = rhs;
        break;
    default:
        break;
    }
    put_slots(t);
}

void x86_put_eflags(X86Trans *t, Val bits)
{
    t->cc.known = true;
    t->cc.op = CC_EFLAGS;
    t->cc.a = bits;
    t->cc.b = t->cc.c = t->cc.lhs = t->cc.rhs = t->cc.carry = t->cc.ovf = VAL_NONE;
    t->cc.step = 0;
    t->cc.flags = ir_resize(t->b, I32, bits, false);
    t->cc.stale = 0;
    put_slots(t);
}

/* Adds the flag bits to CC_OP. */
static void put_op_flags(X86Trans *t, unsigned set)
{
    Val op;
    if (t->cc.known) {
        t->cc.op |= set;
        op = ir_imm(t->b, I32, t->cc.op | t->cc.step);
    } else {
        op = ir_get(t->b, X_CC_OP);
        op = ir_op2i(t->b, IR_OR, op, set);
    }
    ir_put(t->b, X_CC_OP, op);
}

void x86_put_step(X86Trans *t, bool dec, unsigned size, Val result, Val operand)
{
    Ir *b = t->b;
    bool chain = t->cc.ovf;
    t->cc.step = (dec ? CCF_DEC : CCF_INC) | log2_size(size) << CCF_STEP_SIZE;
    t->cc.d = result;
    t->cc.d_lhs = operand;
    t->cc.ovf = t->cc.flags = VAL_NONE;
    Val d = as_i64(t, result), op;
    ir_put(b, X_CC_D, d);
    if (t->cc.known) {
        t->cc.op &= ~CCF_OVF;
        op = ir_imm(b, I32, t->cc.op | t->cc.step);
    } else {
        op = ir_get(b, X_CC_OP);
        op = ir_op2i(b, IR_AND, op, 0xff & ~CCF_OVF);
        op = ir_op2i(b, IR_OR, op, t->cc.step);
    }
    ir_put(b, X_CC_OP, op);
    /* The counter of a loop around ADOX, which is to find its OF at the next round: lies ready. */
    if (chain) {
        Val of = x86_cond(t, 0);
        x86_put_ovf(t, of);
    }
}

/* CF and OF have a slot each, so that a chain through one leaves the other alone. */
static void put_one(X86Trans *t, unsigned slot, Val p, unsigned flag)
{
    Val v = ir_ext(t->b, IR_ZEXT, I8, p);
    ir_put(t->b, slot, v);
    t->cc.stale |= flag;
}

void x86_put_carry(X86Trans *t, Val cf)
{
    put_one(t, X_CC_CF, cf, FL_CF);
    put_op_flags(t, CCF_CARRY);
    t->cc.carry = cf;
}

void x86_put_ovf(X86Trans *t, Val of)
{
    put_one(t, X_CC_OF, of, FL_OF);
    put_op_flags(t, CCF_OVF);
    t->cc.ovf = of;
}

void x86_put_carry_ovf(X86Trans *t, Val cf, Val of)
{
    put_one(t, X_CC_CF, cf, FL_CF);
    put_one(t, X_CC_OF, of, FL_OF);
    put_op_flags(t, CCF_ALL);
    t->cc.carry = cf;
    t->cc.ovf = of;
}

void x86_cc_save(X86Trans *t, X86CcSlots *s)
{
    s->op = ir_get(t->b, X_CC_OP);
    s->a = ir_get(t->b, X_CC_A);
    s->b = ir_get(t->b, X_CC_B);
    s->c = ir_get(t->b, X_CC_C);
    s->d = ir_get(t->b, X_CC_D);
    s->cf = ir_get(t->b, X_CC_CF);
    s->of = ir_get(t->b, X_CC_OF);
}

static void keep_slot(X86Trans *t, Val keep, unsigned slot, Val old)
{
    Val v = ir_get(t->b, slot);         /* the old one as well if the new flags do without */
    if (v != old)
        v = ir_select(t->b, keep, old, v);
    ir_put(t->b, slot, v);
}

void x86_cc_keep_if(X86Trans *t, Val keep, const X86CcSlots *s)
{
    keep_slot(t, keep, X_CC_OP, s->op);
    keep_slot(t, keep, X_CC_A, s->a);
    keep_slot(t, keep, X_CC_B, s->b);
    keep_slot(t, keep, X_CC_C, s->c);
    keep_slot(t, keep, X_CC_D, s->d);
    keep_slot(t, keep, X_CC_CF, s->cf);
    keep_slot(t, keep, X_CC_OF, s->of);
    x86_cc_forget(t);
}

void x86_cc_forget(X86Trans *t) { memset(&t->cc, 0, sizeof t->cc); }

static Val or_shifted(X86Trans *t, Val v, unsigned slot, unsigned shift)
{
    Val x = ir_get(t->b, slot);
    x = as_i64(t, x);
    x = ir_op2i(t->b, IR_SHL, x, shift);
    return ir_op2(t->b, IR_OR, v, x);
}

Val x86_get_flags(X86Trans *t)
{
    if (t->cc.flags && !t->cc.stale)
        return t->cc.flags;
    Ir *b = t->b;
    Val v[5];
    v[0] = ir_get(b, X_CC_OP);
    v[0] = as_i64(t, v[0]);
    v[0] = or_shifted(t, v[0], X_CC_CF, 32);
    v[0] = or_shifted(t, v[0], X_CC_OF, 40);
    v[1] = ir_get(b, X_CC_A);
    v[2] = ir_get(b, X_CC_B);
    v[3] = ir_get(b, X_CC_C);
    v[4] = ir_get(b, X_CC_D);
    t->cc.flags = ir_callv(b, &flags_helper, 5, v);
    t->cc.stale = 0;
    return t->cc.flags;
}

/* --- conditions.  Each returns the predicate or its negation. */

static Val test_pred(X86Trans *t, Val p, bool neg)
{
    if (!neg)
        return p;
    Val v = ir_ext(t->b, IR_ZEXT, I32, p);
    return ir_cmpi(t->b, C_EQ, v, 0);
}

static Val constant(X86Trans *t, bool v) { return ir_imm(t->b, PRED, v); }

static Val cmp0(X86Trans *t, IrCond c, Val v, bool neg) { return ir_cmpi(t->b, neg ? cond_not(c) : c, v, 0); }

static Val result(X86Trans *t)
{
    if (t->cc.step)
        return t->cc.d;
    switch (known_op(t)) {
    case CC_CMP:
        return ir_op2(t->b, IR_SUB, t->cc.lhs, t->cc.rhs);
    case CC_IMUL:
    case CC_UMUL:
        return ir_op2(t->b, IR_MUL, t->cc.lhs, t->cc.rhs);
    default:
        return t->cc.a;
    }
}

static Val flags_test(X86Trans *t, unsigned mask, bool neg)
{
    Val f = t->cc.flags && !(t->cc.stale & mask) ? t->cc.flags : x86_get_flags(t);
    Val m = ir_imm(t->b, I32, mask);
    return ir_cmp(t->b, neg ? C_TSTEQ : C_TSTNE, f, m);
}

static unsigned cc_bits(const X86Trans *t) { return 8u << (t->cc.op & 3); }

static Val carry_of_shift(X86Trans *t, bool neg)
{
    uint64_t count;
    unsigned bits = cc_bits(t);
    if (!ir_is_imm(t->b, t->cc.c, &count) || count > bits)
        return flags_test(t, FL_CF, neg);
    uint64_t bit = known_op(t) == CC_SHL ? bits - count : count - 1;
    Val m = ir_imm(t->b, val_type(t->b, t->cc.b), 1ull << bit);
    return ir_cmp(t->b, neg ? C_TSTEQ : C_TSTNE, t->cc.b, m);
}

static Val cond_carry(X86Trans *t, bool neg)
{
    if (t->cc.carry)
        return test_pred(t, t->cc.carry, neg);
    if (t->cc.known)
        switch (known_op(t)) {
        case CC_ADD:
            return ir_cmp(t->b, neg ? C_GEU : C_LTU, t->cc.a, t->cc.b);
        case CC_SUB:
        case CC_CMP:
            return ir_cmp(t->b, neg ? C_GEU : C_LTU, t->cc.lhs, t->cc.rhs);
        case CC_LOGIC:
            return constant(t, neg);
        case CC_SHL:
        case CC_SHR:
        case CC_SAR:
            return carry_of_shift(t, neg);
        default:
            break;
        }
    return flags_test(t, FL_CF, neg);
}

/* ZF, SF and PF are those of result(). */
static bool known_result(const X86Trans *t)
{
    return t->cc.step || (t->cc.known && known_op(t) != CC_EFLAGS);
}
static bool is_product(const X86Trans *t) { return !t->cc.step && (known_op(t) == CC_IMUL || known_op(t) == CC_UMUL); }

static Val cond_zero(X86Trans *t, bool neg)
{
    if (!known_result(t) || is_product(t))
        return flags_test(t, FL_ZF, neg);
    if (!t->cc.step && known_op(t) == CC_CMP)
        return ir_cmp(t->b, neg ? C_NE : C_EQ, t->cc.lhs, t->cc.rhs);
    Val r = result(t);
    return cmp0(t, C_EQ, r, neg);
}

static Val cond_sign(X86Trans *t, bool neg)
{
    if (!known_result(t))
        return flags_test(t, FL_SF, neg);
    Val r = result(t);
    return cmp0(t, C_LT, r, neg);
}

static Val cond_parity(X86Trans *t, bool neg)
{
    if (!known_result(t))
        return flags_test(t, FL_PF, neg);
    Val r = result(t);
    r = ir_resize(t->b, I32, r, false);
    r = ir_op2i(t->b, IR_AND, r, 0xff);
    r = ir_op1(t->b, IR_POPCNT, r);
    Val one = ir_imm(t->b, I32, 1);
    return ir_cmp(t->b, neg ? C_TSTNE : C_TSTEQ, r, one);
}

static unsigned step_bits(const X86Trans *t) { return 8u << (t->cc.step >> CCF_STEP_SIZE & 3); }

/* Both operands and the result are at hand. */
static Val overflow_of(X86Trans *t, Val same, Val lhs, Val r, bool neg)
{
    Val d = ir_op2(t->b, IR_XOR, lhs, r);
    d = ir_op2(t->b, IR_AND, same, d);
    return cmp0(t, C_LT, d, neg);
}

static bool is_logic(const X86Trans *t, bool need_carry)
{
    return t->cc.known && !t->cc.step && known_op(t) == CC_LOGIC && !(t->cc.op & (need_carry ? CCF_CARRY : CCF_OVF));
}

static Val cond_overflow(X86Trans *t, bool neg)
{
    if (t->cc.ovf)
        return test_pred(t, t->cc.ovf, neg);
    if (t->cc.step && !(t->cc.op & CCF_OVF)) {
        uint64_t lowest = 1ull << (step_bits(t) - 1);
        return ir_cmpi(t->b, neg ? C_NE : C_EQ, t->cc.d, t->cc.step & CCF_INC ? lowest : lowest - 1);
    }
    if (t->cc.known && !(t->cc.op & CCF_OVF) && t->cc.lhs)
        switch (known_op(t)) {
        case CC_ADD: {
            Val x = ir_op2(t->b, IR_XOR, t->cc.a, t->cc.rhs);
            return overflow_of(t, x, t->cc.lhs, t->cc.a, neg);
        }
        case CC_SUB:
        case CC_CMP: {
            Val r = result(t);
            Val x = ir_op2(t->b, IR_XOR, t->cc.lhs, t->cc.rhs);
            return overflow_of(t, x, t->cc.lhs, r, neg);
        }
        default:
            break;
        }
    if (is_logic(t, false))
        return constant(t, neg);
    return flags_test(t, FL_OF, neg);
}

/* CF | ZF, SF != OF, and the latter | ZF of a subtraction are one compare of its operands. */
static bool is_compare(const X86Trans *t, bool need_carry)
{
    if (!t->cc.known || t->cc.step || !t->cc.lhs || (known_op(t) != CC_SUB && known_op(t) != CC_CMP))
        return false;
    return !(t->cc.op & (need_carry ? CCF_CARRY : CCF_OVF));
}
static Val cond_below_equal(X86Trans *t, bool neg)
{
    if (is_compare(t, true))
        return ir_cmp(t->b, neg ? C_GTU : C_LEU, t->cc.lhs, t->cc.rhs);
    if (is_logic(t, true))
        return cond_zero(t, neg);
    return flags_test(t, FL_CF | FL_ZF, neg);
}

/* SF != OF after INC or DEC: what the operand was before, in unbounded arithmetic. */
static bool is_step(const X86Trans *t) { return t->cc.step && !(t->cc.op & CCF_OVF) && !t->cc.ovf; }
static Val step_less(X86Trans *t, IrCond c)
{
    return ir_cmpi(t->b, c, t->cc.d_lhs, t->cc.step & CCF_INC ? ~0ull : 1);
}

/* SF != OF as bit 0 */
static Val less_bit(X86Trans *t)
{
    Val f = x86_get_flags(t);
    Val s = ir_op2i(t->b, IR_SHR, f, 7);
    Val o = ir_op2i(t->b, IR_SHR, f, 11);
    return ir_op2(t->b, IR_XOR, s, o);
}

static Val cond_less(X86Trans *t, bool neg)
{
    if (is_compare(t, false))
        return ir_cmp(t->b, neg ? C_GE : C_LT, t->cc.lhs, t->cc.rhs);
    if (is_step(t))
        return step_less(t, neg ? C_GE : C_LT);
    if (is_logic(t, false))
        return cond_sign(t, neg);
    Val d = less_bit(t);
    Val one = ir_imm(t->b, I32, 1);
    return ir_cmp(t->b, neg ? C_TSTEQ : C_TSTNE, d, one);
}

static Val cond_less_equal(X86Trans *t, bool neg)
{
    if (is_compare(t, false))
        return ir_cmp(t->b, neg ? C_GT : C_LE, t->cc.lhs, t->cc.rhs);
    if (is_step(t))
        return step_less(t, neg ? C_GT : C_LE);
    if (is_logic(t, false))
        return cmp0(t, C_LE, t->cc.a, neg);
    Val d = less_bit(t);
    d = ir_op2i(t->b, IR_AND, d, 1);
    Val f = x86_get_flags(t);
    Val z = ir_op2i(t->b, IR_AND, f, FL_ZF);
    Val any = ir_op2(t->b, IR_OR, d, z);
    return cmp0(t, C_NE, any, neg);
}

Val x86_cond(X86Trans *t, unsigned cc)
{
    static Val (*const conds[8])(X86Trans *, bool) = {
        cond_overflow, cond_carry, cond_zero, cond_below_equal, cond_sign, cond_parity, cond_less, cond_less_equal,
    };
    return conds[cc >> 1 & 7](t, cc & 1);
}

Val x86_get_carry(X86Trans *t) { return cond_carry(t, false); }

Val x86_chain_in(X86Trans *t, unsigned flag)
{
    bool known = t->cc.known || t->cc.flags || t->cc.step || (flag == FL_CF ? t->cc.carry : t->cc.ovf);
    if (known)
        return flag == FL_CF ? cond_carry(t, false) : cond_overflow(t, false);
    Val v = ir_call(t->b, flag == FL_CF ? &carry_helper : &overflow_helper);
    Val p = ir_cmpi(t->b, C_NE, v, 0);
    *(flag == FL_CF ? &t->cc.carry : &t->cc.ovf) = p;
    return p;
}
