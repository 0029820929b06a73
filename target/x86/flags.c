/* SPDX-License-Identifier: GPL-2.0-or-later
 * The arithmetic flags from their lazy description (CcOp), and the flags register as a whole.
 * Sources: APM vol. 1 section 3.1.4 and the instruction pages of vol. 3. */
#include "target/x86/cpu.h"

enum { HOT_CC_D = 28 };

typedef struct Parts { uint64_t result; bool cf, of, af; } Parts;

static uint64_t mask_of(unsigned size) { return size == 3 ? ~0ull : (1ull << (8 << size)) - 1; }

/* Carry (or borrow) out of each bit of a sum (a difference) is a function of both operands and the result. */
static void carries(Parts *p, uint64_t carry, unsigned top)
{
    p->cf = carry >> top & 1;
    p->of = (carry >> top ^ carry >> (top - 1)) & 1;
    p->af = carry >> 3 & 1;
}

static void add_parts(Parts *p, uint64_t x, uint64_t y, unsigned top)
{
    carries(p, (x & y) | ((x | y) & ~p->result), top);
}

static void sub_parts(Parts *p, uint64_t x, uint64_t y, unsigned top)
{
    carries(p, (~x & y) | (~(x ^ y) & p->result), top);
}

static int64_t sign_extend(uint64_t v, unsigned bits) { return (int64_t)(v << (64 - bits)) >> (64 - bits); }

static void shift_parts(Parts *p, unsigned op, uint64_t x, unsigned count, unsigned bits)
{
    unsigned top = bits - 1;
    if (op == CC_SHL)
        p->cf = count <= bits && (x >> (bits - count) & 1);
    else if (op == CC_SHR)
        p->cf = count <= 64 && (x >> (count - 1) & 1);
    else
        p->cf = sign_extend(x, bits) >> (count - 1) & 1;
    p->of = op == CC_SHL ? (p->result >> top & 1) != p->cf : (p->result ^ x) >> top & 1;
}

static bool product_overflows(uint64_t x, uint64_t y, unsigned bits, bool sgn)
{
    if (sgn) {
        __int128 v = (__int128)sign_extend(x, bits) * sign_extend(y, bits);
        return v != sign_extend((uint64_t)v, bits);
    }
    unsigned __int128 v = (unsigned __int128)x * y;
    return (v >> bits) != 0;
}

static uint32_t from_result(uint64_t v, unsigned top)
{
    return (v >> top & 1 ? FL_SF : 0) | (v ? 0 : FL_ZF) | (__builtin_parity(v & 0xff) ? 0 : FL_PF);
}

/* All but CF, after an INC or DEC whose result is d. */
static uint32_t step_flags(uint32_t cc_op, uint64_t d)
{
    unsigned size = cc_op >> CCF_STEP_SIZE & 3, top = (8 << size) - 1;
    uint64_t lowest = 1ull << top, border = cc_op & CCF_INC ? lowest : lowest - 1;
    d &= mask_of(size);
    return from_result(d, top) | (d == border ? FL_OF : 0) | ((d & 15) == (cc_op & CCF_INC ? 0 : 15) ? FL_AF : 0);
}

uint32_t x86_arith_flags(uint32_t cc_op, uint32_t cf, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    unsigned size = cc_op & 3, bits = 8 << size, top = bits - 1, op = cc_op & 0x3c;
    uint64_t m = mask_of(size);
    uint32_t f;
    Parts p = { .result = a & m };
    bool product = false;
    b &= m;
    switch (op) {
    case CC_EFLAGS:
        f = a & FL_ARITH;
        goto override;
    case CC_ADD:
        add_parts(&p, (p.result - b) & m, b, top);
        break;
    case CC_SUB:
        sub_parts(&p, (p.result + b) & m, b, top);
        break;
    case CC_CMP:
        p.result = (a - b) & m;
        sub_parts(&p, a & m, b, top);
        break;
    case CC_ADC:
        add_parts(&p, b, c & m, top);
        break;
    case CC_SBB:
        sub_parts(&p, b, c & m, top);
        break;
    case CC_SHL:
    case CC_SHR:
    case CC_SAR:
        shift_parts(&p, op, b, MAX(c & 0x3f, 1), bits);
        break;
    case CC_IMUL:
    case CC_UMUL:
        p.cf = p.of = product_overflows(a & m, b, bits, op == CC_IMUL);
        p.result = (a * b) & m;
        product = true;
        break;
    default:        /* CC_LOGIC; nothing else is ever put */
        break;
    }
    f = (p.cf ? FL_CF : 0) | (p.of ? FL_OF : 0) | (p.af ? FL_AF : 0) | (from_result(p.result, top) & ~(product ? FL_ZF : 0));
override:
    if (cc_op & CCF_STEP)
        f = (f & FL_CF) | step_flags(cc_op, d);
    if (cc_op & CCF_CARRY)
        f = (f & ~FL_CF) | (cf & 1);
    if (cc_op & CCF_OVF)
        f = (f & ~FL_OF) | (cf & 0x100 ? FL_OF : 0);
    return f;
}

uint64_t x86_eflags(X86Cpu *c)
{
    const uint64_t *hot = c->s.hot;
    uint64_t sys = hot[X_EFLAGS - 1];           /* hot[21]: CC_OP, CC_CF, CC_OF share a word */
    return sys | x86_arith_flags(*x86_cc_op(c), *x86_cc_cf(c), hot[X_CC_A], hot[X_CC_B], hot[X_CC_C], hot[HOT_CC_D]);
}

void x86_set_eflags(X86Cpu *c, uint64_t v, uint64_t mask)
{
    uint64_t *hot = c->s.hot, now = x86_eflags(c);
    now = (now & ~mask) | (v & mask) | FL_1;
    hot[X_EFLAGS - 1] = now & ~(uint64_t)FL_ARITH;
    hot[X_CC_A] = now & FL_ARITH;
    *x86_cc_op(c) = CC_EFLAGS;
}
