/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x87 FPU by the host's x87.  Sources: Intel SDM vol. 1, chapter 8 (stack, exceptions, their order),
 * vol. 2.
 *
 * Arithmetic runs on the host FPU under the guest's own control word, masks included: an unmasked
 * exception then gives the guest's result too (nothing stored, or a biased exponent).  The host's #MF
 * never comes: the status word is read and cleared by non-waiting instructions before the next waiting
 * one.  Outside these few instructions the host's register stack is empty and its control word the ABI's,
 * 0x37f.
 *
 * The register stack (tags, TOP, stack faults) is kept in C, so the host never sees an empty register. */
#include <string.h>
#include "target/x86/x87.h"

enum {
    SW_IE = 1, SW_DE = 2, SW_ZE = 4, SW_OE = 8, SW_UE = 0x10, SW_PE = 0x20, SW_SF = 0x40, SW_ES = 0x80,
    SW_C0 = 0x100, SW_C1 = 0x200, SW_C2 = 0x400, SW_TOP = 0x3800, SW_C3 = 0x4000, SW_B = 0x8000,
    SW_EXC = 0x3f, SW_CC = SW_C0 | SW_C1 | SW_C2 | SW_C3,
    SW_PRE = SW_IE | SW_DE | SW_ZE,             /* unmasked: the operands stay as they were */
    SW_NO_STORE = SW_PRE | SW_OE | SW_UE,       /* unmasked: memory stays as it was */
    CW_RESERVED = 0x40, CW_INIT = 0x37f, CW_VALID = 0x1f7f, CW_CHOP = 0xc00,
};

static const uint16_t host_cw = CW_INIT;
static const X86Fpr indefinite = { { 0xc000000000000000, 0xffff } };

#define X87_CLOBBERS "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

/* --- arithmetic on the host: a op b to *r; the host's status word
 *
 * Under the control word that nearly everyone uses, which is the host's too, the operation runs as it
 * is.  The host's exception flags then may be older than it; that does no harm as long as the guest has
 * all of them (known) anyway. Else the exact way is taken: flags cleared, guest's control word in,
 * operation, host's control word back. */

static bool flags_known(uint16_t sw, uint16_t known)
{
    return !(sw & (SW_EXC | SW_SF) & ~known);
}

typedef uint16_t Binary(X86Fpr *r, const X86Fpr *a, const void *b, uint16_t cw, uint16_t known);

#define EXACT(load, insn)                                                                                    \
    "fnclex\n\tfldcw %[cw]\n\t" load "\n\t" insn "\n\tfnstsw %[sw]\n\tfnclex\n\tfldcw %[host]\n\t"
#define BINARY_ST(name, insn, quick)                                                                         \
    static uint16_t name(X86Fpr *r, const X86Fpr *a, const void *b, uint16_t cw, uint16_t known)             \
    {                                                                                                        \
        uint16_t sw;                                                                                         \
        if (quick && cw == CW_INIT) {                                                                        \
            asm volatile("fldt %[b]\n\tfldt %[a]\n\t" insn "\n\tfnstsw %[sw]\n\tfstpt %[r]\n\tfstp %%st(0)"  \
                         : [r] "=m"(*r), [sw] "=&a"(sw)                                                      \
                         : [a] "m"(*a), [b] "m"(*(const X86Fpr *)b) : X87_CLOBBERS);                         \
            if (flags_known(sw, known))                                                                      \
                return sw;                                                                                   \
        }                                                                                                    \
        asm volatile(EXACT("fldt %[b]\n\tfldt %[a]", insn) "fstpt %[r]\n\temms"                              \
                     : [r] "=m"(*r), [sw] "=&a"(sw)                                                          \
                     : [a] "m"(*a), [b] "m"(*(const X86Fpr *)b), [cw] "m"(cw), [host] "m"(host_cw)           \
                     : X87_CLOBBERS);                                                                        \
        return sw;                                                                                           \
    }
#define BINARY_MEM(name, insn, type)                                                                         \
    static uint16_t name(X86Fpr *r, const X86Fpr *a, const void *b, uint16_t cw, uint16_t known)             \
    {                                                                                                        \
        uint16_t sw;                                                                                         \
        if (cw == CW_INIT) {                                                                                 \
            asm volatile("fldt %[a]\n\t" insn " %[b]\n\tfnstsw %[sw]\n\tfstpt %[r]"                          \
                         : [r] "=m"(*r), [sw] "=&a"(sw)                                                      \
                         : [a] "m"(*a), [b] "m"(*(const type *)b) : X87_CLOBBERS);                           \
            if (flags_known(sw, known))                                                                      \
                return sw;                                                                                   \
        }                                                                                                    \
        asm volatile(EXACT("fldt %[a]", insn " %[b]") "fstpt %[r]"                                           \
                     : [r] "=m"(*r), [sw] "=&a"(sw)                                                          \
                     : [a] "m"(*a), [b] "m"(*(const type *)b), [cw] "m"(cw), [host] "m"(host_cw)             \
                     : X87_CLOBBERS);                                                                        \
        return sw;                                                                                           \
    }
/* One operation with each kind of second operand. */
#define BINARY(op)                                                                                           \
    BINARY_ST(op##_st, "f" #op " %%st(1), %%st", true)                                                       \
    BINARY_MEM(op##_f32, "f" #op "s", uint32_t)                                                              \
    BINARY_MEM(op##_i32, "fi" #op "l", uint32_t)                                                             \
    BINARY_MEM(op##_f64, "f" #op "l", uint64_t)                                                              \
    BINARY_MEM(op##_i16, "fi" #op "s", uint16_t)
BINARY(add)
BINARY(mul)
BINARY(sub)
BINARY(subr)
BINARY(div)
BINARY(divr)
BINARY_MEM(com_f32, "fcoms", uint32_t)
BINARY_MEM(com_i32, "ficoml", uint32_t)
BINARY_MEM(com_f64, "fcoml", uint64_t)
BINARY_MEM(com_i16, "ficoms", uint16_t)
BINARY_ST(com_st,     "fcom %%st(1)", true)
BINARY_ST(ucom_st,    "fucom %%st(1)", true)
BINARY_ST(prem_st,    "fprem", false)
BINARY_ST(prem1_st,   "fprem1", false)
BINARY_ST(scale_st,   "fscale", true)
BINARY_ST(yl2x_st,    "fyl2x", false)          /* these three pop: the result is the only register */
BINARY_ST(yl2xp1_st,  "fyl2xp1", false)
BINARY_ST(patan_st,   "fpatan", false)

#define OP_ROW(op) { op##_f32, op##_i32, op##_f64, op##_i16 }
static Binary *const binary_mem[8][4] = {
    [X87_ADD] = OP_ROW(add), [X87_MUL] = OP_ROW(mul), [X87_COM] = OP_ROW(com), [X87_COMP] = OP_ROW(com),
    [X87_SUB] = OP_ROW(sub), [X87_SUBR] = OP_ROW(subr), [X87_DIV] = OP_ROW(div), [X87_DIVR] = OP_ROW(divr),
};

/* Operations on ST(0): r[0] the new ST(0), r[1] what is ST(1) after a push. */
typedef uint16_t Unary(X86Fpr *r, const X86Fpr *a, uint16_t cw);
#define UNARY(name, insn)                                                                                    \
    static uint16_t name(X86Fpr *r, const X86Fpr *a, uint16_t cw)                                            \
    {                                                                                                        \
        uint16_t sw;                                                                                         \
        asm volatile(EXACT("fldt %[a]", insn) "fstpt %[r0]\n\tfstpt %[r1]\n\tfnclex\n\temms"                 \
                     : [r0] "=m"(r[0]), [r1] "=m"(r[1]), [sw] "=&a"(sw)                                      \
                     : [a] "m"(*a), [cw] "m"(cw), [host] "m"(host_cw) : X87_CLOBBERS);                       \
        return sw;                                                                                           \
    }
UNARY(f2xm1,   "f2xm1")
UNARY(fsqrt,   "fsqrt")
UNARY(frndint, "frndint")
UNARY(fsin,    "fsin")
UNARY(fcos,    "fcos")
UNARY(ftst,    "ftst")
UNARY(fxam,    "fxam")
UNARY(fxtract, "fxtract")
UNARY(fsincos, "fsincos")
UNARY(fptan,   "fptan")

/* Loads: no first operand. */
#define LOADER(name, insn, type)                                                                             \
    static uint16_t name(X86Fpr *r, const void *b, uint16_t cw)                                              \
    {                                                                                                        \
        uint16_t sw;                                                                                         \
        asm volatile(EXACT("", insn) "fstpt %[r]\n\tfnclex\n\temms"                                          \
                     : [r] "=m"(*r), [sw] "=&a"(sw)                                                          \
                     : [b] "m"(*(const type *)b), [cw] "m"(cw), [host] "m"(host_cw) : X87_CLOBBERS);         \
        return sw;                                                                                           \
    }
typedef uint16_t Loader(X86Fpr *r, const void *b, uint16_t cw);
LOADER(ld_f32, "flds %[b]", uint32_t)
LOADER(ld_f64, "fldl %[b]", uint64_t)
LOADER(ld_i16, "filds %[b]", uint16_t)
LOADER(ld_i32, "fildl %[b]", uint32_t)
LOADER(ld_i64, "fildll %[b]", uint64_t)
LOADER(ld_bcd, "fbld %[b]", X86Fpr)
LOADER(ld_1,   "fld1", X86Fpr)
LOADER(ld_l2t, "fldl2t", X86Fpr)
LOADER(ld_l2e, "fldl2e", X86Fpr)
LOADER(ld_pi,  "fldpi", X86Fpr)
LOADER(ld_lg2, "fldlg2", X86Fpr)
LOADER(ld_ln2, "fldln2", X86Fpr)
LOADER(ld_z,   "fldz", X86Fpr)
static Loader *const loaders[] = { [X87_F32] = ld_f32, [X87_I32] = ld_i32, [X87_F64] = ld_f64,
                                   [X87_I16] = ld_i16,
                                   [X87_I64] = ld_i64, [X87_BCD] = ld_bcd };
static Loader *const constants[] = { ld_1, ld_l2t, ld_l2e, ld_pi, ld_lg2, ld_ln2, ld_z };

/* Stores; pop: the instruction pops. */
#define STORER(name, insn, pop)                                                                              \
    static uint16_t name(X86Fpr *r, const X86Fpr *a, uint16_t cw, uint16_t known)                            \
    {                                                                                                        \
        uint16_t sw;                                                                                         \
        if (cw == CW_INIT) {                                                                                 \
            asm volatile("fldt %[a]\n\t" insn " %[r]\n\tfnstsw %[sw]\n\t" pop                                \
                         : [r] "+m"(*r), [sw] "=&a"(sw) : [a] "m"(*a) : X87_CLOBBERS);                       \
            if (flags_known(sw, known))                                                                      \
                return sw;                                                                                   \
        }                                                                                                    \
        asm volatile(EXACT("fldt %[a]", insn " %[r]") "emms"                                                 \
                     : [r] "+m"(*r), [sw] "=&a"(sw)                                                          \
                     : [a] "m"(*a), [cw] "m"(cw), [host] "m"(host_cw) : X87_CLOBBERS);                       \
        return sw;                                                                                           \
    }
typedef uint16_t Storer(X86Fpr *r, const X86Fpr *a, uint16_t cw, uint16_t known);
STORER(st_f32, "fsts", "fstp %%st(0)")
STORER(st_f64, "fstl", "fstp %%st(0)")
STORER(st_i16, "fists", "fstp %%st(0)")
STORER(st_i32, "fistl", "fstp %%st(0)")
STORER(st_i64, "fistpll", "")
STORER(st_bcd, "fbstp", "")
static Storer *const storers[] = { [X87_F32] = st_f32, [X87_I32] = st_i32, [X87_F64] = st_f64,
                                   [X87_I16] = st_i16,
                                   [X87_I64] = st_i64, [X87_BCD] = st_bcd };

/* --- the register stack */

static unsigned phys(const X86Cpu *c, unsigned i) { return (c->fpu_top + i) & 7; }
static X86Fpr *st(X86Cpu *c, unsigned i) { return &c->fpr[phys(c, i)]; }
static bool empty(const X86Cpu *c, unsigned i) { return c->fpu_empty >> phys(c, i) & 1; }

static void set_st(X86Cpu *c, unsigned i, X86Fpr v)
{
    c->fpr[phys(c, i)] = v;
    c->fpu_empty &= ~(1 << phys(c, i));
}

static void pop(X86Cpu *c)
{
    c->fpu_empty |= 1 << c->fpu_top;
    c->fpu_top = (c->fpu_top + 1) & 7;
}

static void push(X86Cpu *c, X86Fpr v)
{
    c->fpu_top = (c->fpu_top - 1) & 7;
    set_st(c, 0, v);
}

/* ES and B follow from flags and masks. */
static uint16_t summary(uint16_t fsw, uint16_t fcw)
{
    fsw &= ~(SW_ES | SW_B);
    return fsw & ~fcw & SW_EXC ? fsw | SW_ES | SW_B : fsw;
}

/* Merges the exceptions of sw and the condition codes named by cc.  False: one of `fatal` among them is
 * unmasked. */
static bool merge(X86Cpu *c, uint16_t sw, uint16_t cc, uint16_t fatal)
{
    c->fsw = summary((c->fsw & ~cc) | (sw & (cc | SW_EXC | SW_SF)), c->fcw);
    return !(sw & ~c->fcw & fatal);
}

/* True if masked: the caller writes the indefinite. */
static bool stack_fault(X86Cpu *c, bool overflow)
{
    return merge(c, SW_IE | SW_SF | (overflow ? SW_C1 : 0), SW_C1, SW_IE);
}

/* --- one function per form; true: completed, so that a popping form pops */

/* Instructions that say "not yet" or "out of range" in C2 clear it when they fault or give a NaN; C0 and
 * C3 stay. */
static uint16_t faulting_cc(uint16_t cc)
{
    return SW_C1 | (cc & SW_C2);
}

static bool two_operands(X86Cpu *c, Binary *fn, unsigned dst, unsigned a, unsigned b, uint16_t cc)
{
    X86Fpr r = indefinite;
    if (empty(c, a) || empty(c, b)) {
        c->fsw &= ~faulting_cc(cc);
        if (!stack_fault(c, false))
            return false;
    } else {
        uint16_t sw = fn(&r, st(c, a), st(c, b), c->fcw, c->fsw);
        bool nan = (r.exp & 0x7fff) == 0x7fff && r.mant << 1;
        bool partial = nan || sw & SW_IE || sw & ~c->fcw & SW_PRE;
        if (!merge(c, sw, partial ? faulting_cc(cc) : cc, SW_PRE))
            return false;
    }
    set_st(c, dst, r);
    return true;
}

static bool one_operand(X86Cpu *c, Unary *fn, uint16_t cc)
{
    X86Fpr r[2] = { indefinite };
    if (empty(c, 0)) {
        c->fsw &= ~faulting_cc(cc);
        if (!stack_fault(c, false))
            return false;
    } else if (!merge(c, fn(r, st(c, 0), c->fcw), cc, SW_PRE)) {
        return false;
    }
    set_st(c, 0, r[0]);
    return true;
}

/* FXTRACT, FSINCOS, FPTAN: ST(0) becomes two.  C2: the argument is out of range, nothing happens. */
static bool one_to_two(X86Cpu *c, Unary *fn, uint16_t cc)
{
    X86Fpr r[2] = { indefinite, indefinite };
    if (empty(c, 0) || !empty(c, 7)) {
        c->fsw &= ~faulting_cc(cc);
        if (!stack_fault(c, !empty(c, 0)))
            return false;
    } else {
        uint16_t sw = fn(r, st(c, 0), c->fcw);
        if (!merge(c, sw, cc, SW_PRE) || (cc & SW_C2 && sw & SW_C2))
            return true;
    }
    set_st(c, 0, r[1]);
    push(c, r[0]);
    return true;
}

/* The condition codes say "unordered" after an unmasked #I as well; only the pops are left out then (so
 * AMD's hardware does it; SDM vol. 2, FCOM, leaves them undefined). */
static bool compared(X86Cpu *c, uint16_t sw)
{
    return merge(c, sw, SW_CC, SW_PRE);
}

static bool compare(X86Cpu *c, Binary *fn, const void *b, bool b_empty)
{
    enum { UNORDERED = SW_C0 | SW_C2 | SW_C3 };
    X86Fpr r;
    return compared(c,
                    empty(c, 0) || b_empty ? SW_IE | SW_SF | UNORDERED : fn(&r, st(c, 0), b, c->fcw, c->fsw));
}

static bool load(X86Cpu *c, X86Fpr v)
{
    if (!empty(c, 7)) {
        if (!stack_fault(c, true))
            return false;
        v = indefinite;
    } else {
        c->fsw &= ~SW_C1;
    }
    push(c, v);
    return true;
}

/* Numbers that convert exactly and raise nothing: integers, zeros and normal floats (IEEE 754 formats). */
static bool load_plainly(X87Kind kind, const X86Fpr *from, X86Fpr *to)
{
    enum { BIAS = 0x3fff };
    int64_t i = kind == X87_I16   ? (int16_t)from->mant
                : kind == X87_I32 ? (int32_t)from->mant
                                  : (int64_t)from->mant;
    if (kind == X87_I16 || kind == X87_I32 || kind == X87_I64) {
        uint64_t mag = i < 0 ? -(uint64_t)i : (uint64_t)i;
        unsigned zeros = mag ? __builtin_clzll(mag) : 0;
        *to = (X86Fpr){ { mag << zeros, (i < 0 ? 0x8000 : 0) | (mag ? BIAS + 63 - zeros : 0) } };
        return true;
    }
    if (kind != X87_F32 && kind != X87_F64)
        return false;
    unsigned bits = kind == X87_F32 ? 23 : 52, max = kind == X87_F32 ? 0xff : 0x7ff;
    uint64_t v = kind == X87_F32 ? (uint32_t)from->mant : from->mant, frac = v & ((1ull << bits) - 1);
    unsigned exp = v >> bits & max, sign = v >> bits > max ? 0x8000 : 0;
    if (exp == max || (!exp && frac))
        return false;
    *to = exp ? (X86Fpr){ { 1ull << 63 | frac << (63 - bits), sign | (exp - max / 2 + BIAS) } }
              : (X86Fpr){ { 0, sign } };
    return true;
}

static bool load_converted(X86Cpu *c, Loader *fn, const void *b)
{
    X86Fpr r;
    if (!empty(c, 7))
        return load(c, indefinite);
    /* an unmasked #D lets the load complete (AMD's hardware) */
    if (!merge(c, fn(&r, b, c->fcw), SW_C1, SW_IE))
        return false;
    push(c, r);
    return true;
}

/* FXAM never faults; an empty register has a sign too. */
static bool examine(X86Cpu *c)
{
    X86Fpr r[2];
    uint16_t sw = fxam(r, st(c, 0), host_cw) & SW_CC;
    if (empty(c, 0))
        sw = SW_C3 | SW_C0 | (sw & SW_C1);
    c->fsw = (c->fsw & ~SW_CC) | sw;
    return true;
}

static bool test_zero(X86Cpu *c)
{
    X86Fpr r[2];
    return compared(c, empty(c, 0) ? SW_IE | SW_SF | SW_C0 | SW_C2 | SW_C3 : ftst(r, st(c, 0), c->fcw));
}

/* ST(0) to ST(i), with its sign changed by and_mask, xor_mask. */
static bool move(X86Cpu *c, unsigned to, uint16_t and_mask, uint16_t xor_mask)
{
    X86Fpr v = *st(c, 0);
    v.exp = (v.exp & and_mask) ^ xor_mask;
    if (empty(c, 0)) {
        if (!stack_fault(c, false))
            return false;
        v = indefinite;
    }
    c->fsw &= ~SW_C1;
    set_st(c, to, v);
    return true;
}

static bool exchange(X86Cpu *c, unsigned i)
{
    if ((empty(c, 0) || empty(c, i)) && !stack_fault(c, false))
        return false;
    X86Fpr x = empty(c, 0) ? indefinite : *st(c, 0), y = empty(c, i) ? indefinite : *st(c, i);
    set_st(c, 0, y);
    set_st(c, i, x);
    c->fsw &= ~SW_C1;
    return true;
}

static bool load_register(X86Cpu *c, unsigned i)
{
    if (!empty(c, i))
        return load(c, *st(c, i));
    if (!stack_fault(c, false))
        return false;
    push(c, indefinite);
    return true;
}

/* D9 D8+i, which the manuals do not name: an empty ST(0) is no fault, nothing is stored then. */
static bool move_unchecked(X86Cpu *c, unsigned to)
{
    if (!empty(c, 0))
        return move(c, to, 0xffff, 0);
    c->fsw &= ~SW_C1;
    return true;
}

static bool free_register(X86Cpu *c, unsigned i)
{
    c->fpu_empty |= 1 << phys(c, i);
    c->fsw &= ~SW_C1;
    return true;
}

static bool rotate(X86Cpu *c, unsigned by)
{
    c->fpu_top = phys(c, by);
    c->fsw &= ~SW_C1;
    return true;
}

/* FYL2X and the like: to ST(1), which becomes ST(0). */
static bool to_second(X86Cpu *c, Binary *fn)
{
    return two_operands(c, fn, 1, 0, 1, SW_C1);
}

static bool run(X86Cpu *c, uint32_t w)
{
    static Binary *const ops[8] = { add_st, mul_st, com_st, com_st, sub_st, subr_st, div_st, divr_st };
    unsigned i = x87_i(w);
    X87Op op = x87_op(w);
    switch (op) {
    case X87_ADD: case X87_MUL: case X87_SUB: case X87_SUBR: case X87_DIV: case X87_DIVR:
        return w & X87W_TO ? two_operands(c, ops[op], i, i, 0, SW_C1)
                           : two_operands(c, ops[op], 0, 0, i, SW_C1);
    case X87_COM: case X87_COMP: return compare(c, com_st, st(c, i), empty(c, i));
    case X87_UCOM:   return compare(c, ucom_st, st(c, i), empty(c, i));
    case X87_TST:    return test_zero(c);
    case X87_XAM:    return examine(c);
    case X87_LD:     return load_register(c, i);
    case X87_ST:     return move(c, i, 0xffff, 0);
    case X87_STNCE:  return move_unchecked(c, i);
    case X87_XCH:    return exchange(c, i);
    case X87_CHS:    return move(c, 0, 0xffff, 0x8000);
    case X87_ABS:    return move(c, 0, 0x7fff, 0);
    case X87_1: case X87_L2T: case X87_L2E: case X87_PI: case X87_LG2: case X87_LN2: case X87_Z:
        return load_converted(c, constants[op - X87_1], NULL);
    case X87_2XM1:   return one_operand(c, f2xm1, SW_C1);
    case X87_SQRT:   return one_operand(c, fsqrt, SW_C1);
    case X87_RNDINT: return one_operand(c, frndint, SW_C1);
    case X87_SIN:    return one_operand(c, fsin, SW_C1 | SW_C2);
    case X87_COS:    return one_operand(c, fcos, SW_C1 | SW_C2);
    case X87_PREM:   return two_operands(c, prem_st, 0, 0, 1, SW_CC);
    case X87_PREM1:  return two_operands(c, prem1_st, 0, 0, 1, SW_CC);
    case X87_SCALE:  return two_operands(c, scale_st, 0, 0, 1, SW_C1);
    case X87_YL2X:   return to_second(c, yl2x_st);
    case X87_YL2XP1: return to_second(c, yl2xp1_st);
    case X87_PATAN:  return to_second(c, patan_st);
    case X87_XTRACT: return one_to_two(c, fxtract, SW_C1);
    case X87_SINCOS: return one_to_two(c, fsincos, SW_C1 | SW_C2);
    case X87_PTAN:   return one_to_two(c, fptan, SW_C1 | SW_C2);
    case X87_FREE:   return free_register(c, i);
    case X87_INCSTP: return rotate(c, 1);
    case X87_DECSTP: return rotate(c, 7);
    default:         return true;               /* FNOP */
    }
}

/* --- what generated code calls */

/* An error waits.  With CR0.NE clear it is the board's: FERR# is raised, and until its interrupt comes, or IGNNE# says to
 * go on, the instruction does not start (SDM vol. 3, 2.5, NE; vol. 1, appendix D).  A board without that pin has #MF. */
static bool pending(X86Cpu *c)
{
    if (!(c->fsw & SW_ES))
        return false;
    if (G_LIKELY(c->cr0 & CR0_NE) || !c->port.ferr) {
        x86_raise(c, EXC_MF, 0);
        return true;
    }
    if (!c->ferr) {
        c->ferr = true;
        c->port.ferr(c->port.ferr_self, c->port.cpu_index, true);
    }
    return !(atomic_load(&c->port.lines) & LINE_IGNNE);         /* true, nothing recorded: it tries again */
}

/* FERR# falls with the error. */
static void settle_ferr(X86Cpu *c)
{
    if (G_UNLIKELY(c->ferr) && !(c->fsw & SW_ES)) {
        c->ferr = false;
        c->port.ferr(c->port.ferr_self, c->port.cpu_index, false);
    }
}

static void pops(X86Cpu *c, uint32_t w)
{
    if (w & (X87W_POP | X87W_POP2))
        pop(c);
    if (w & X87W_POP2)
        pop(c);
}

static void remember(X86Cpu *c, uint32_t w, uint64_t pc)
{
    c->fop = x87_fop(w);
    c->fip = pc;
    c->fcs = c->seg[CS].sel;
}

static void remember_operand(X86Cpu *c, uint32_t w, uint64_t pc, uint64_t addr)
{
    remember(c, w, pc);
    c->fdp = addr;
    c->fds = c->seg[x87_seg(w)].sel;
}

int x87_check(CpuState *s)
{
    return pending(x86_cpu(s));
}

int x87_reg(CpuState *s, uint32_t w, uint64_t pc)
{
    X86Cpu *c = x86_cpu(s);
    if (pending(c))
        return 1;
    if (!(w & X87W_CONTROL))
        remember(c, w, pc);
    if (run(c, w))
        pops(c, w);
    return 0;
}

int x87_cmov(CpuState *s, uint32_t w, uint64_t pc, uint32_t cond)
{
    X86Cpu *c = x86_cpu(s);
    unsigned i = x87_i(w);
    if (pending(c))
        return 1;
    remember(c, w, pc);
    if (empty(c, 0) || empty(c, i)) {
        if (stack_fault(c, false))
            set_st(c, 0, indefinite);
        return 0;
    }
    if (cond)
        set_st(c, 0, *st(c, i));
    return 0;
}

/* C3 C2 C0 become ZF PF CF instead. */
int x87_comi(CpuState *s, uint32_t w, uint64_t pc)
{
    X86Cpu *c = x86_cpu(s);
    unsigned i = x87_i(w);
    if (pending(c))
        return 1;
    remember(c, w, pc);
    X86Fpr r;
    uint16_t sw = SW_IE | SW_SF | SW_C0 | SW_C2 | SW_C3;
    if (!empty(c, 0) && !empty(c, i))
        sw = (x87_op(w) == X87_UCOMI ? ucom_st : com_st)(&r, st(c, 0), st(c, i), c->fcw, c->fsw);
    /* C1 changes only with a stack fault */
    if (merge(c, sw & ~SW_C1, sw & SW_SF ? SW_C1 : 0, SW_PRE))
        pops(c, w);
    s->helper_ret = (sw & SW_C3 ? FL_ZF : 0) | (sw & SW_C2 ? FL_PF : 0) | (sw & SW_C0 ? FL_CF : 0);
    return 0;
}

int x87_mem(CpuState *s, uint32_t w, uint64_t pc, uint64_t addr, uint64_t value, uint64_t high)
{
    X86Cpu *c = x86_cpu(s);
    X87Op op = x87_op(w);
    X87Kind kind = x87_i(w);
    X86Fpr v = { { value, high } };
    bool done;
    if (pending(c))
        return 1;
    remember_operand(c, w, pc, addr);
    if (op == X87_LD) {
        X86Fpr plain;
        done = kind == X87_F80 ? load(c, v)
             : load_plainly(kind, &v, &plain) ? load(c, plain) : load_converted(c, loaders[kind], &v);
    } else if (op == X87_COM || op == X87_COMP) {
        done = compare(c, binary_mem[op][kind], &v, false);
    } else {
        X86Fpr r = indefinite;
        done = empty(c, 0) ? stack_fault(c, false)
                           : merge(c, binary_mem[op][kind](&r, st(c, 0), &v, c->fcw, c->fsw), SW_C1, SW_PRE);
        if (done)
            set_st(c, 0, r);
    }
    if (done)
        pops(c, w);
    return 0;
}

/* What FST gives for an empty register. */
static X86Fpr indefinite_of(X87Kind kind)
{
    static const uint64_t low[] = {
        [X87_F32] = 0xffc00000, [X87_F64] = 0xfff8000000000000, [X87_I16] = 0x8000, [X87_I32] = 0x80000000,
        [X87_I64] = 0x8000000000000000, [X87_F80] = 0xc000000000000000, [X87_BCD] = 0xc000000000000000,
    };
    return (X86Fpr){ { low[kind], 0xffff } };
}

static const uint8_t kind_size[] = { [X87_F32] = 4, [X87_I32] = 4, [X87_F64] = 8, [X87_I16] = 2,
                                     [X87_I64] = 8,
                                     [X87_F80] = 10, [X87_BCD] = 10 };

/* An unmasked exception lets memory as it is: the store that follows then writes back what was there. */
static bool old_contents(X86Cpu *c, uint64_t addr, unsigned size, X86Fpr *v)
{
    uint64_t high = 0;
    if (!c->hooks->load(&c->s, addr, size > 8 ? 8 : size, -1, &v->mant) ||
        (size > 8 && !c->hooks->load(&c->s, addr + 8, 2, -1, &high)))
        return false;
    v->exp = high;
    return true;
}

int x87_store(CpuState *s, uint32_t w, uint64_t addr)
{
    X86Cpu *c = x86_cpu(s);
    X87Kind kind = x87_i(w);
    uint16_t sw = 0;
    X86Fpr v = indefinite_of(kind);
    if (pending(c))
        return 1;
    if (empty(c, 0))
        sw = SW_IE | SW_SF;
    else if (kind == X87_F80)
        v = *st(c, 0);
    else
        sw = storers[kind](&v, st(c, 0), w & X87W_TO ? c->fcw | CW_CHOP : c->fcw, c->fsw);
    if (sw & ~c->fcw & SW_NO_STORE && !old_contents(c, addr, kind_size[kind], &v))
        return 1;
    c->fpu_store_sw = sw;
    s->helper_ret = v.mant;
    c->xmm_tmp = (V128){ .u64 = { v.mant, v.exp } };
    return 0;
}

void x87_stored(CpuState *s, uint32_t w, uint64_t pc, uint64_t addr)
{
    X86Cpu *c = x86_cpu(s);
    remember_operand(c, w, pc, addr);
    if (merge(c, c->fpu_store_sw, SW_C1, SW_NO_STORE))
        pops(c, w);
}

/* FWAIT traps on TS only with MP (SDM vol. 3, table 2-2). */
int x87_wait(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if ((c->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) {
        x86_raise(c, EXC_NM, 0);
        return 1;
    }
    return pending(c);
}

/* --- control */

void x87_set_fcw(CpuState *s, uint32_t v)
{
    X86Cpu *c = x86_cpu(s);
    c->fcw = (v & CW_VALID) | CW_RESERVED;
    c->fsw = summary(c->fsw, c->fcw);
    settle_ferr(c);
}

uint64_t x87_get_fcw(CpuState *s) { return x86_cpu(s)->fcw; }
uint64_t x87_get_fsw(CpuState *s) { return x87_fsw(x86_cpu(s)); }

uint16_t x87_fsw(const X86Cpu *c)
{
    return (c->fsw & ~SW_TOP) | c->fpu_top << 11;
}

void x87_load_words(X86Cpu *c, uint16_t fcw, uint16_t fsw)
{
    c->fcw = (fcw & CW_VALID) | CW_RESERVED;
    c->fpu_top = fsw >> 11 & 7;
    c->fsw = summary(fsw & ~SW_TOP, c->fcw);
    settle_ferr(c);
}

void x87_clex(CpuState *s)
{
    x86_cpu(s)->fsw &= SW_CC;
    settle_ferr(x86_cpu(s));
}

void x87_init(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    c->fcw = CW_INIT;
    c->fsw = c->fop = c->fcs = c->fds = 0;
    c->fip = c->fdp = 0;
    c->fpu_top = 0;
    c->fpu_empty = 0xff;
    settle_ferr(c);
}

/* --- environments (SDM vol. 1, 8.1.10) */

uint16_t x87_full_tags(const X86Cpu *c)
{
    enum { VALID, ZERO, SPECIAL, EMPTY };
    uint16_t tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned exp = c->fpr[i].exp & 0x7fff;
        uint64_t mant = c->fpr[i].mant;
        bool special = exp == 0 || exp == 0x7fff || !(mant >> 63);
        unsigned tag = exp == 0 && !mant ? ZERO : special ? SPECIAL : VALID;
        tags |= (c->fpu_empty >> i & 1 ? EMPTY : tag) << 2 * i;
    }
    return tags;
}

/* The seven words of each format as they lie in memory; 32-bit ones have ones in unused upper halves. */
static unsigned env_make(const X86Cpu *c, uint32_t w, uint8_t *out)
{
    enum { ONES = 0xffff0000u };
    uint32_t v[7] = { ONES | c->fcw, ONES | x87_fsw(c), ONES | x87_full_tags(c), c->fip,
                      c->fcs | (uint32_t)c->fop << 16,
                      c->fdp, ONES | c->fds };
    if (w & X87W_REAL) {
        uint32_t ip = c->fip + ((uint32_t)c->fcs << 4), dp = c->fdp + ((uint32_t)c->fds << 4);
        v[3] = ONES | (ip & 0xffff);
        v[4] = (ip >> 16) << 12 | c->fop;
        v[5] = ONES | (dp & 0xffff);
        v[6] = (dp >> 16) << 12;
    }
    bool small = w & X87W_TO;
    for (unsigned i = 0; i < 7; i++) {
        uint16_t h = v[i];
        memcpy(out + i * (small ? 2 : 4), small ? (void *)&h : (void *)&v[i], small ? 2 : 4);
    }
    return small ? 14 : 28;
}

static void env_take(X86Cpu *c, uint32_t w, const uint8_t *in)
{
    bool small = w & X87W_TO;
    uint32_t v[7];
    for (unsigned i = 0; i < 7; i++)
        v[i] = small ? in[2 * i] | (uint32_t)in[2 * i + 1] << 8 : in[4 * i] | in[4 * i + 1] << 8 |
               in[4 * i + 2] << 16 |
               (uint32_t)in[4 * i + 3] << 24;
    x87_load_words(c, v[0], v[1]);
    c->fpu_empty = 0;
    for (unsigned i = 0; i < 8; i++)
        c->fpu_empty |= ((v[2] >> 2 * i & 3) == 3) << i;
    if (w & X87W_REAL) {
        c->fip = (v[3] & 0xffff) | (v[4] >> 12) << 16;
        c->fdp = (v[5] & 0xffff) | (v[6] >> 12) << 16;
        c->fop = v[4] & 0x7ff;
        c->fcs = c->fds = 0;
    } else {
        c->fip = v[3];
        c->fdp = v[5];
        c->fop = small ? 0 : v[4] >> 16 & 0x7ff;
        c->fcs = v[4];
        c->fds = v[6];
    }
}

static bool read_bytes(X86Cpu *c, uint64_t va, uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i += 2) {
        uint64_t v;
        if (!c->hooks->load(&c->s, va + i, 2, -1, &v))
            return false;
        p[i] = v;
        p[i + 1] = v >> 8;
    }
    return true;
}

static bool write_bytes(X86Cpu *c, uint64_t va, const uint8_t *p, unsigned n)
{
    if (!c->hooks->probe(&c->s, va, n, ACC_WRITE, -1))
        return false;
    for (unsigned i = 0; i < n; i += 2)
        if (!c->hooks->store(&c->s, va + i, 2, -1, p[i] | p[i + 1] << 8))
            return false;
    return true;
}

int x87_env(CpuState *s, uint32_t w, uint64_t addr)
{
    enum { MAX = 28 + 80 };
    X86Cpu *c = x86_cpu(s);
    X87Op op = x87_op(w);
    uint8_t buf[MAX];
    unsigned n = w & X87W_TO ? 14 : 28;
    bool regs = op == X87_SAVE || op == X87_RSTOR, reads = op == X87_LDENV || op == X87_RSTOR;
    if (reads) {
        if (pending(c) || !read_bytes(c, addr, buf, regs ? n + 80 : n))
            return 1;
        env_take(c, w, buf);
        for (unsigned i = 0; i < 8 && regs; i++)
            memcpy(st(c, i)->b, buf + n + 10 * i, 10);
        return 0;
    }
    env_make(c, w, buf);
    for (unsigned i = 0; i < 8 && regs; i++)
        memcpy(buf + n + 10 * i, st(c, i)->b, 10);
    if (!write_bytes(c, addr, buf, regs ? n + 80 : n))
        return 1;
    if (regs)
        x87_init(s);
    else
        x87_set_fcw(s, c->fcw | SW_EXC);
    return 0;
}

/* --- for SSE */

bool x87_inexact(unsigned opcode, const void *x, const void *y, bool from_float, bool to_float, unsigned rc)
{
    enum { CW_DOUBLE = 0x200, CW_RC_SHIFT = 10 };
    Loader *ld = from_float ? ld_f32 : ld_f64;
    Binary *fn = opcode == 0x58 ? add_st : opcode == 0x5c ? sub_st : opcode == 0x5e ? div_st : mul_st;
    X86Fpr a, b, r;
    ld(&a, x, host_cw);
    if (y)
        ld(&b, y, host_cw);
    else
        ld_1(&b, NULL, host_cw);
    return fn(&r, &a, &b, SW_EXC | CW_RESERVED | (to_float ? 0 : CW_DOUBLE) | rc << CW_RC_SHIFT, 0) & SW_PE;
}

/* --- MMX */

uint64_t mmx_get(CpuState *s, uint32_t n)
{
    return x86_cpu(s)->fpr[n & 7].mant;
}

void mmx_enter(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    c->fpu_top = 0;
    c->fpu_empty = 0;
}

void mmx_put(CpuState *s, uint32_t n, uint64_t v)
{
    mmx_enter(s);
    x86_cpu(s)->fpr[n & 7] = (X86Fpr){ { v, 0xffff } };
}

void mmx_empty(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    c->fpu_top = 0;
    c->fpu_empty = 0xff;
}
