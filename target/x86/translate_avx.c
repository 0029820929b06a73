/* SPDX-License-Identifier: GPL-2.0-or-later
 * AVX, AVX2, FMA, F16C, VAES, VPCLMULQDQ: rows of tcg/hostop.def with VEX operands.  A ymm register is two slots; its
 * value is their CONCAT, which the builder folds away between instructions.  What VEX writes has zeros above.
 * Masked moves and gathers are helpers: each element has its own fault.  Source: Intel SDM vol. 2; vol. 1, chapter 14. */
#include "tcg/hostop.h"
#include "target/x86/avx.h"
#include "target/x86/vector.h"

#define TMP { { 0, SLOTS_VTMP } }
#define TMP_RET { { SLOT_BIT(X_HELPER_RET), SLOTS_VTMP } }
#define SET0(bits) { { (bits), 0 } }
static const IrHelper
    h_checked = { "avx_checked", avx_checked, T_NONE, 1, HF_FAULTS | HF_FP, { { SLOT_BIT(X_SYS), SLOTS_VTMP } },
                  { { SLOT_BIT(X_HELPER_RET) | SLOT_BIT(X_MXCSR), SLOTS_VTMP } } },
    h_load    = { "avx_masked_load", avx_masked_load, T_NONE, 3, HF_FAULTS, TMP, TMP },
    h_store   = { "avx_masked_store", avx_masked_store, T_NONE, 3, HF_FAULTS, TMP, SET0(0) },
    h_gather  = { "avx_gather", avx_gather, T_NONE, 3, HF_FAULTS, TMP, TMP_RET },
    h_probe   = { "avx_probe", avx_probe, T_NONE, 2, HF_FAULTS, SET0(0), SET0(0) },
    h_enabled = { "avx_enabled", avx_enabled, T_NONE, 0, HF_FAULTS, SET0(SLOT_BIT(X_SYS)), SET0(0) };

/* Real and virtual-8086 mode do not decode VEX.  CR0.EM and CR4.OSFXSR do not matter, but the former hides from the mode
 * key whether TS is set. */
bool x86_avx_enabled(X86Trans *t)
{
    if (t->mode & MODE_AVX_UD) {
        x86_ud(t);
        return false;
    }
    if (G_LIKELY(!(t->mode & MODE_FPU_NM)))
        return true;
    if (!(t->mode & MODE_SSE_UD)) {
        ir_raise(t->b, EXC_NM, 0);
        t->ended = t->done = true;
        return false;
    }
    ir_call(t->b, &h_enabled);
    return true;
}

/* --- helpers' operands: halves of v in the n-th pair of temporaries */

static void put_tmp(X86Trans *t, unsigned n, Val v)
{
    bool wide = val_type(t->b, v) == V256T;
    Val low = wide ? ir_low(t->b, v) : v, high = wide ? ir_high(t->b, v) : ir_imm128(t->b, 0, 0);
    ir_put(t->b, X_VTMP0 + 2 * n, low);
    ir_put(t->b, X_VTMP0 + 2 * n + 1, high);
}

static Val get_tmp(X86Trans *t, unsigned n, bool wide)
{
    Val low = ir_get(t->b, X_VTMP0 + 2 * n);
    if (!wide)
        return low;
    Val high = ir_get(t->b, X_VTMP0 + 2 * n + 1);
    return ir_concat(t->b, low, high);
}

Val x86_host_wide_checked(X86Trans *t, IrType type, unsigned row, Val a, Val b, Val c, unsigned imm)
{
    Val v[3] = { a, b, c }, word = ir_imm(t->b, I32, row | imm << 16);
    for (unsigned i = 0; i < 3; i++)
        if (v[i])
            put_tmp(t, i, v[i]);
    ir_call(t->b, &h_checked, word);
    if (type >= V128T)
        return get_tmp(t, 0, type == V256T);
    Val ret = ir_get(t->b, X_HELPER_RET);
    return ir_resize(t->b, type, ret, false);
}

/* --- rows of hostop.def */

static IrType vector_type(const X86Trans *t, const HostRow *r)
{
    return t->vex_l && r->wide != HW_NONE && r->wide != HW_DOWN ? V256T : V128T;
}

static bool tr_vex(X86Trans *t, X86Args *a)
{
    unsigned row = a->row->arg, imm = host_rows[row].flags & HOF_IMM ? a->imm8 : 0;
    const HostRow *r = &host_rows[row];
    IrType type = vector_type(t, r);
    bool wide = r->flags & HOF_W;
    Val none = VAL_NONE, v;
    switch (r->kind) {
    case HK_VV: case HK_VG: case HK_VSHI:
        a->dst = x86_host(t, type, row, a->src, none, none, imm);
        break;
    case HK_VVV:
        a->dst = x86_host(t, type, row, a->src, a->src2, none, imm);
        break;
    case HK_VVVV:
        a->dst = x86_host(t, type, row, a->src, a->src2, a->src3, imm);
        break;
    case HK_FMA:
        a->dst = x86_host(t, type, row, a->dst, a->src, a->src2, imm);
        break;
    case HK_VVG:
        v = wide ? a->src2 : ir_resize(t->b, I32, a->src2, false);
        a->dst = x86_host(t, type, row, a->src, v, none, imm);
        break;
    case HK_GV:
        v = x86_host(t, wide && a->size == 8 ? I64 : I32, row, a->src, none, none, imm);
        a->dst = ir_resize(t->b, x86_type(a->size), v, false);
        break;
    case HK_FVV:
        v = x86_host(t, I32, row, a->dst, a->src, none, imm);
        x86_put_eflags(t, v);
        break;
    default:
        return false;
    }
    return true;
}

/* The one that may store what raises flags: these must wait for the store's fault. */
static bool tr_vcvtps2ph(X86Trans *t, X86Args *a)
{
    if (a->is_mem) {
        Val size = ir_imm(t->b, I32, 8u << t->vex_l);
        x86_check_aligned(t, a->addr, 8u << t->vex_l);
        ir_call(t->b, &h_probe, a->addr, size);
    }
    return tr_vex(t, a);
}

/* A source in memory is one element: no choice among four. */
static bool tr_vinsertps(X86Trans *t, X86Args *a)
{
    if (a->is_mem)
        a->imm8 &= 0x3f;
    return tr_vex(t, a);
}

/* --- halves */

static bool tr_both(X86Trans *t, X86Args *a)            /* vbroadcastf128 */
{
    a->dst = ir_concat(t->b, a->src, a->src);
    return true;
}

static bool tr_insert_half(X86Trans *t, X86Args *a)
{
    bool upper = a->imm8 & 1;
    Val other = upper ? ir_low(t->b, a->src) : ir_high(t->b, a->src);
    a->dst = upper ? ir_concat(t->b, other, a->src2) : ir_concat(t->b, a->src2, other);
    return true;
}

static bool tr_extract_half(X86Trans *t, X86Args *a)
{
    a->dst = a->imm8 & 1 ? ir_high(t->b, a->src) : ir_low(t->b, a->src);
    return true;
}

/* VZEROUPPER, VZEROALL (arg 1). */
static bool tr_zero(X86Trans *t, X86Args *a)
{
    Val zero = ir_imm128(t->b, 0, 0);
    for (unsigned i = 0; i < (t->code64 ? 16u : 8u); i++) {
        if (a->row->arg)
            ir_put(t->b, X_XMM0 + i, zero);
        ir_put(t->b, X_YMMH0 + i, zero);
    }
    return true;
}

/* --- masked moves; arg: bytes of an element */

/* What all helpers that go by elements are told. */
static uint32_t element_word(const X86Trans *t, const X86Args *a, unsigned size, unsigned n)
{
    return size << ELEM_SIZE | n << ELEM_N | (unsigned)a->seg << ELEM_SEG | (t->code64 ? ELEM_LONG : 0) |
           (!t->code64 && t->mode & MODE_LIMITS ? ELEM_LIMITS : 0);
}

static Val base_of(X86Trans *t, const X86Args *a)
{
    Val zero = ir_imm(t->b, I64, 0);
    return x86_linear(t, a->seg, zero);
}

static void masked(X86Trans *t, X86Args *a, const IrHelper *h)
{
    unsigned size = a->row->arg;
    Val base = base_of(t, a), word = ir_imm(t->b, I32, element_word(t, a, size, (16u << t->vex_l) / size));
    put_tmp(t, 0, a->src);
    ir_call(t->b, h, a->ea, base, word);
}

static bool tr_masked_load(X86Trans *t, X86Args *a)
{
    masked(t, a, &h_load);
    a->dst = get_tmp(t, 0, t->vex_l);
    return true;
}

static bool tr_masked_store(X86Trans *t, X86Args *a)
{
    put_tmp(t, 1, a->src2);
    masked(t, a, &h_store);
    return true;
}

/* arg: bytes of an element | bytes of an index << 4.  A fault after some progress is forgotten: destination and mask say how
 * far it came, and the instruction starts again. */
static bool tr_gather(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    unsigned elem = a->row->arg & 15, index = a->row->arg >> 4, vector = 16u << t->vex_l;
    if (a->reg == a->vindex || a->reg == t->vvvv || a->vindex == t->vvvv)
        return false;
    unsigned n = vector / MAX(elem, index);
    bool index_wide = n * index == 32;
    Val dest = x86_get_vec(t, a->reg, 32), mask = x86_get_vec(t, t->vvvv, 32);
    Val idx = x86_get_vec(t, a->vindex, index_wide ? 32 : 16), base = base_of(t, a);
    Val word = ir_imm(b, I32, element_word(t, a, elem, n) | index << GATHER_INDEX | (unsigned)a->scale << GATHER_SCALE |
                              (unsigned)t->adsize << GATHER_ADDRESS);
    put_tmp(t, 0, dest);
    put_tmp(t, 1, mask);
    put_tmp(t, 2, idx);
    ir_call(b, &h_gather, a->ea, base, word);
    dest = get_tmp(t, 0, true);
    mask = get_tmp(t, 1, true);
    x86_put_vec(t, a->reg, dest);
    x86_put_vec(t, t->vvvv, mask);
    Val left = ir_get(b, X_HELPER_RET);
    left = ir_cmpi(b, C_NE, left, 0);
    x86_exit_again_if(t, left);
    return true;
}

/* --- the rows */

enum {
    A = R_AVX | R_WRITE, AR = R_AVX, AF = A | R_FP, AFR = R_AVX | R_FP, AK = R_AVX | R_KEEP, AFK = AK | R_FP,
    A2 = A | R_AVX2, AL = A | R_ALIGN, LOAD = A | R_MEMONLY, REG = A | R_REGONLY,
    GATHER = R_AVX | R_KEEP | R_WRITE | R_VSIB | R_MEMONLY,
};
#define H(name) tr_vex, HOP_##name

/* The four arithmetic forms of one opcode. */
#define FP4(opcode, name)                                                                                    \
    { "VEX.0F " opcode " /r",        "Vx Hx Wx",    H(name##PS), AF, X86F_AVX },                             \
    { "VEX.66.0F " opcode " /r",     "Vx Hx Wx",    H(name##PD), AF, X86F_AVX },                             \
    { "VEX.LIG.F3.0F " opcode " /r", "Vdq Hdq Wss", H(name##SS), AF, X86F_AVX },                             \
    { "VEX.LIG.F2.0F " opcode " /r", "Vdq Hdq Wsd", H(name##SD), AF, X86F_AVX }
/* Integers: 256 bits are AVX2's. */
#define INT(opcode, name)    { "VEX.66.0F " opcode " /r",   "Vx Hx Wx", H(name), A2, X86F_AVX }
#define INT38(opcode, name)  { "VEX.66.0F38 " opcode " /r", "Vx Hx Wx", H(name), A2, X86F_AVX }
#define ONE38(opcode, name, src) { "VEX.66.0F38 " opcode " /r", "Vx " src, H(name), A2, X86F_AVX }
#define COUNT(opcode, name)  { "VEX.66.0F " opcode " /r",   "Vx Hx Wdq", H(name), A2, X86F_AVX }
#define SHIFT(opcode, name)  { "VEX.66.0F " opcode " ib",   "Hx Ux Ib", H(name), A2, X86F_AVX }
#define TWO(opcode, name)                                                                                    \
    { "VEX.0F " opcode " /r",    "Vx Hx Wx", H(name), A, X86F_AVX },                                         \
    { "VEX.66.0F " opcode " /r", "Vx Hx Wx", H(name), A, X86F_AVX }
#define FMA2(opcode, name)                                                                                   \
    { "VEX.66.0F38.W0 " opcode " /r", "Vx Hx Wx", H(name##PS), AFR, X86F_FMA },                              \
    { "VEX.66.0F38.W1 " opcode " /r", "Vx Hx Wx", H(name##PD), AFR, X86F_FMA }
#define FMA4(packed, scalar, name)                                                                           \
    FMA2(packed, name),                                                                                      \
    { "VEX.LIG.66.0F38.W0 " scalar " /r", "Vdq Hdq Wss", H(name##SS), AFR, X86F_FMA },                       \
    { "VEX.LIG.66.0F38.W1 " scalar " /r", "Vdq Hdq Wsd", H(name##SD), AFR, X86F_FMA }
#define AES(opcode, name)                                                                                    \
    { "VEX.128.66.0F38 " opcode " /r", "Vdq Hdq Wdq", H(name), A, X86F_AES },                                \
    { "VEX.256.66.0F38 " opcode " /r", "Vqq Hqq Wqq", H(name), A, X86F_VAES }

const X86Row x86_rows_avx[] = {
    /* --- moves */
    { "VEX.0F 10 /r",    "Vx Wx", x86_tr_vmov, 0, A, X86F_AVX },
    { "VEX.0F 11 /r",    "Wx Vx", x86_tr_vmov, 0, A, X86F_AVX },
    { "VEX.66.0F 10 /r", "Vx Wx", x86_tr_vmov, 0, A, X86F_AVX },
    { "VEX.66.0F 11 /r", "Wx Vx", x86_tr_vmov, 0, A, X86F_AVX },
    { "VEX.LIG.F3.0F 10 /r", "Vdq Wss",     x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.LIG.F3.0F 10 /r", "Vdq Hdq Udq", H(MOVSS), REG, X86F_AVX },
    { "VEX.LIG.F3.0F 11 /r", "Mss Vdq",     x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.LIG.F3.0F 11 /r", "Udq Hdq Vdq", H(MOVSS), REG, X86F_AVX },
    { "VEX.LIG.F2.0F 10 /r", "Vdq Wsd",     x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.LIG.F2.0F 10 /r", "Vdq Hdq Udq", H(MOVSD), REG, X86F_AVX },
    { "VEX.LIG.F2.0F 11 /r", "Msd Vdq",     x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.LIG.F2.0F 11 /r", "Udq Hdq Vdq", H(MOVSD), REG, X86F_AVX },
    { "VEX.128.0F 12 /r",    "Vdq Hdq Wsd", H(MOVSD), LOAD, X86F_AVX },         /* vmovlps */
    { "VEX.128.0F 12 /r",    "Vdq Hdq Udq", H(MOVHLPS), REG, X86F_AVX },
    { "VEX.128.66.0F 12 /r", "Vdq Hdq Wsd", H(MOVSD), LOAD, X86F_AVX },
    { "VEX.128.F2.0F 12 /r", "Vdq Wsd",     H(MOVDDUP), A, X86F_AVX },
    { "VEX.256.F2.0F 12 /r", "Vqq Wqq",     H(MOVDDUP), A, X86F_AVX },
    { "VEX.F3.0F 12 /r",     "Vx Wx",       H(MOVSLDUP), A, X86F_AVX },
    { "VEX.F3.0F 16 /r",     "Vx Wx",       H(MOVSHDUP), A, X86F_AVX },
    { "VEX.128.0F 13 /r",    "Msd Vdq",     x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.128.66.0F 13 /r", "Msd Vdq",     x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.128.0F 16 /r",    "Vdq Hdq Wsd", H(MOVLHPS), A, X86F_AVX },          /* vmovhps from memory as well */
    { "VEX.128.66.0F 16 /r", "Vdq Hdq Wsd", H(MOVLHPS), LOAD, X86F_AVX },
    { "VEX.128.0F 17 /r",    "Msd Vdq",     x86_tr_vhigh, 0, LOAD, X86F_AVX },
    { "VEX.128.66.0F 17 /r", "Msd Vdq",     x86_tr_vhigh, 0, LOAD, X86F_AVX },
    { "VEX.0F 28 /r",    "Vx Wx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.0F 29 /r",    "Wx Vx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.66.0F 28 /r", "Vx Wx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.66.0F 29 /r", "Wx Vx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.66.0F 6F /r", "Vx Wx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.66.0F 7F /r", "Wx Vx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.F3.0F 6F /r", "Vx Wx", x86_tr_vmov, 0, A, X86F_AVX },
    { "VEX.F3.0F 7F /r", "Wx Vx", x86_tr_vmov, 0, A, X86F_AVX },
    { "VEX.F2.0F F0 /r", "Vx Mx", x86_tr_vmov, 0, A, X86F_AVX },                /* vlddqu */
    { "VEX.0F 2B /r",    "Mx Vx", x86_tr_vmov, 0, AL, X86F_AVX },               /* vmovntps */
    { "VEX.66.0F 2B /r", "Mx Vx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.66.0F E7 /r", "Mx Vx", x86_tr_vmov, 0, AL, X86F_AVX },
    { "VEX.66.0F38 2A /r", "Vx Mx", x86_tr_vmov, 0, AL | R_AVX2, X86F_AVX },
    { "VEX.128.66.0F.W1 6E /r", "Vdq Wsd", x86_tr_vmov, 0, LOAD | R_ONLY64, X86F_AVX },
    { "VEX.128.66.0F 6E /r",    "Vdq Wss", x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.128.66.0F 6E /r",    "Vdq Ry",  H(MOVDV), A, X86F_AVX },
    { "VEX.128.66.0F.W1 7E /r", "Msd Vdq", x86_tr_vmov, 0, LOAD | R_ONLY64, X86F_AVX },
    { "VEX.128.66.0F 7E /r",    "Mss Vdq", x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.128.66.0F 7E /r",    "Ry Vdq",  H(MOVDG), A, X86F_AVX },
    { "VEX.128.F3.0F 7E /r", "Vdq Wsd", x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.128.F3.0F 7E /r", "Vdq Udq", H(MOVQ), A, X86F_AVX },
    { "VEX.128.66.0F D6 /r", "Msd Vdq", x86_tr_vmov, 0, LOAD, X86F_AVX },
    { "VEX.128.66.0F D6 /r", "Udq Vdq", H(MOVQ), A, X86F_AVX },
    { "VEX.128.66.0F F7 /r", "Vdq Udq", x86_tr_maskmov, 0, AK, X86F_AVX },
    { "VEX.0F 50 /r",    "Gd Ux", H(MOVMSKPS), A, X86F_AVX },
    { "VEX.66.0F 50 /r", "Gd Ux", H(MOVMSKPD), A, X86F_AVX },
    { "VEX.66.0F D7 /r", "Gd Ux", H(PMOVMSKB), A2, X86F_AVX },

    /* --- floating point */
    FP4("58", ADD), FP4("59", MUL), FP4("5C", SUB), FP4("5D", MIN), FP4("5E", DIV), FP4("5F", MAX),
    { "VEX.0F 51 /r",        "Vx Wx",       H(SQRTPS), AF, X86F_AVX },
    { "VEX.66.0F 51 /r",     "Vx Wx",       H(SQRTPD), AF, X86F_AVX },
    { "VEX.LIG.F3.0F 51 /r", "Vdq Hdq Wss", H(SQRTSS), AF, X86F_AVX },
    { "VEX.LIG.F2.0F 51 /r", "Vdq Hdq Wsd", H(SQRTSD), AF, X86F_AVX },
    { "VEX.0F 52 /r",        "Vx Wx",       H(RSQRTPS), A, X86F_AVX },
    { "VEX.LIG.F3.0F 52 /r", "Vdq Hdq Wss", H(RSQRTSS), A, X86F_AVX },
    { "VEX.0F 53 /r",        "Vx Wx",       H(RCPPS), A, X86F_AVX },
    { "VEX.LIG.F3.0F 53 /r", "Vdq Hdq Wss", H(RCPSS), A, X86F_AVX },
    { "VEX.0F C2 /r ib",        "Vx Hx Wx Ib",    H(VCMPPS), AF, X86F_AVX },
    { "VEX.66.0F C2 /r ib",     "Vx Hx Wx Ib",    H(VCMPPD), AF, X86F_AVX },
    { "VEX.LIG.F3.0F C2 /r ib", "Vdq Hdq Wss Ib", H(VCMPSS), AF, X86F_AVX },
    { "VEX.LIG.F2.0F C2 /r ib", "Vdq Hdq Wsd Ib", H(VCMPSD), AF, X86F_AVX },
    { "VEX.LIG.0F 2E /r",    "Vdq Wss", H(UCOMISS), AFK, X86F_AVX },
    { "VEX.LIG.66.0F 2E /r", "Vdq Wsd", H(UCOMISD), AFK, X86F_AVX },
    { "VEX.LIG.0F 2F /r",    "Vdq Wss", H(COMISS), AFK, X86F_AVX },
    { "VEX.LIG.66.0F 2F /r", "Vdq Wsd", H(COMISD), AFK, X86F_AVX },
    { "VEX.0F 5A /r",        "Vx Wxh",  H(CVTPS2PD), AF, X86F_AVX },
    { "VEX.66.0F 5A /r",     "Vdq Wx",  H(CVTPD2PS), AF, X86F_AVX },
    { "VEX.LIG.F3.0F 5A /r", "Vdq Hdq Wss", H(CVTSS2SD), AF, X86F_AVX },
    { "VEX.LIG.F2.0F 5A /r", "Vdq Hdq Wsd", H(CVTSD2SS), AF, X86F_AVX },
    { "VEX.0F 5B /r",        "Vx Wx",   H(CVTDQ2PS), AF, X86F_AVX },
    { "VEX.66.0F 5B /r",     "Vx Wx",   H(CVTPS2DQ), AF, X86F_AVX },
    { "VEX.F3.0F 5B /r",     "Vx Wx",   H(CVTTPS2DQ), AF, X86F_AVX },
    { "VEX.F3.0F E6 /r",     "Vx Wxh",  H(CVTDQ2PD), A, X86F_AVX },
    { "VEX.F2.0F E6 /r",     "Vdq Wx",  H(CVTPD2DQ), AF, X86F_AVX },
    { "VEX.66.0F E6 /r",     "Vdq Wx",  H(CVTTPD2DQ), AF, X86F_AVX },
    { "VEX.LIG.F3.0F 2A /r", "Vdq Hdq Ey", H(CVTSI2SS), AF, X86F_AVX },
    { "VEX.LIG.F2.0F 2A /r", "Vdq Hdq Ey", H(CVTSI2SD), AF, X86F_AVX },
    { "VEX.LIG.F3.0F 2C /r", "Gy Wss",  H(CVTTSS2SI), AF, X86F_AVX },
    { "VEX.LIG.F2.0F 2C /r", "Gy Wsd",  H(CVTTSD2SI), AF, X86F_AVX },
    { "VEX.LIG.F3.0F 2D /r", "Gy Wss",  H(CVTSS2SI), AF, X86F_AVX },
    { "VEX.LIG.F2.0F 2D /r", "Gy Wsd",  H(CVTSD2SI), AF, X86F_AVX },
    { "VEX.F2.0F D0 /r",     "Vx Hx Wx", H(ADDSUBPS), AF, X86F_AVX },
    { "VEX.66.0F D0 /r",     "Vx Hx Wx", H(ADDSUBPD), AF, X86F_AVX },
    { "VEX.F2.0F 7C /r",     "Vx Hx Wx", H(HADDPS), AF, X86F_AVX },
    { "VEX.66.0F 7C /r",     "Vx Hx Wx", H(HADDPD), AF, X86F_AVX },
    { "VEX.F2.0F 7D /r",     "Vx Hx Wx", H(HSUBPS), AF, X86F_AVX },
    { "VEX.66.0F 7D /r",     "Vx Hx Wx", H(HSUBPD), AF, X86F_AVX },
    { "VEX.66.0F3A 08 /r ib",     "Vx Wx Ib", H(ROUNDPS), AF, X86F_AVX },
    { "VEX.66.0F3A 09 /r ib",     "Vx Wx Ib", H(ROUNDPD), AF, X86F_AVX },
    { "VEX.LIG.66.0F3A 0A /r ib", "Vdq Hdq Wss Ib", H(ROUNDSS), AF, X86F_AVX },
    { "VEX.LIG.66.0F3A 0B /r ib", "Vdq Hdq Wsd Ib", H(ROUNDSD), AF, X86F_AVX },
    { "VEX.66.0F3A 40 /r ib",     "Vx Hx Wx Ib", H(DPPS), AF, X86F_AVX },
    { "VEX.128.66.0F3A 41 /r ib", "Vdq Hdq Wdq Ib", H(DPPD), AF, X86F_AVX },
    { "VEX.LZ.0F AE /2", "Md", x86_tr_ldmxcsr, 0, AK | R_ENDS, X86F_AVX },
    { "VEX.LZ.0F AE /3", "Md", x86_tr_stmxcsr, 0, A, X86F_AVX },
    FMA2("96", VFMADDSUB132), FMA2("97", VFMSUBADD132), FMA4("98", "99", VFMADD132), FMA4("9A", "9B", VFMSUB132),
    FMA4("9C", "9D", VFNMADD132), FMA4("9E", "9F", VFNMSUB132),
    FMA2("A6", VFMADDSUB213), FMA2("A7", VFMSUBADD213), FMA4("A8", "A9", VFMADD213), FMA4("AA", "AB", VFMSUB213),
    FMA4("AC", "AD", VFNMADD213), FMA4("AE", "AF", VFNMSUB213),
    FMA2("B6", VFMADDSUB231), FMA2("B7", VFMSUBADD231), FMA4("B8", "B9", VFMADD231), FMA4("BA", "BB", VFMSUB231),
    FMA4("BC", "BD", VFNMADD231), FMA4("BE", "BF", VFNMSUB231),
    { "VEX.66.0F38.W0 13 /r",    "Vx Wxh",    H(VCVTPH2PS), AF, X86F_F16C },
    { "VEX.66.0F3A.W0 1D /r ib", "Wxh Vx Ib", tr_vcvtps2ph, HOP_VCVTPS2PH, AF, X86F_F16C },

    /* --- bitwise, shuffles */
    TWO("54", ANDPS), TWO("55", ANDNPS), TWO("56", ORPS), TWO("57", XORPS),
    INT("DB", PAND), INT("DF", PANDN), INT("EB", POR), INT("EF", PXOR),
    { "VEX.0F 14 /r",    "Vx Hx Wx", H(UNPCKLPS), A, X86F_AVX },
    { "VEX.66.0F 14 /r", "Vx Hx Wx", H(UNPCKLPD), A, X86F_AVX },
    { "VEX.0F 15 /r",    "Vx Hx Wx", H(UNPCKHPS), A, X86F_AVX },
    { "VEX.66.0F 15 /r", "Vx Hx Wx", H(UNPCKHPD), A, X86F_AVX },
    { "VEX.0F C6 /r ib",    "Vx Hx Wx Ib", H(SHUFPS), A, X86F_AVX },
    { "VEX.66.0F C6 /r ib", "Vx Hx Wx Ib", H(SHUFPD), A, X86F_AVX },
    { "VEX.66.0F 70 /r ib", "Vx Wx Ib",    H(PSHUFD), A2, X86F_AVX },
    { "VEX.F3.0F 70 /r ib", "Vx Wx Ib",    H(PSHUFHW), A2, X86F_AVX },
    { "VEX.F2.0F 70 /r ib", "Vx Wx Ib",    H(PSHUFLW), A2, X86F_AVX },
    INT("60", PUNPCKLBW), INT("61", PUNPCKLWD), INT("62", PUNPCKLDQ), INT("6C", PUNPCKLQDQ),
    INT("68", PUNPCKHBW), INT("69", PUNPCKHWD), INT("6A", PUNPCKHDQ), INT("6D", PUNPCKHQDQ),
    INT("63", PACKSSWB), INT("67", PACKUSWB), INT("6B", PACKSSDW),
    { "VEX.128.66.0F C4 /r ib", "Vdq Hdq Rd Ib", H(PINSRW), A, X86F_AVX },
    { "VEX.128.66.0F C4 /r ib", "Vdq Hdq Mw Ib", H(PINSRW), A, X86F_AVX },
    { "VEX.128.66.0F C5 /r ib", "Gd Udq Ib", H(PEXTRW), A, X86F_AVX },
    { "VEX.66.0F3A 0F /r ib",   "Vx Hx Wx Ib", H(PALIGNR), A2, X86F_AVX },
    { "VEX.66.0F38.W0 0C /r",    "Vx Hx Wx", H(VPERMILPS), A, X86F_AVX },
    { "VEX.66.0F38.W0 0D /r",    "Vx Hx Wx", H(VPERMILPD), A, X86F_AVX },
    { "VEX.66.0F3A.W0 04 /r ib", "Vx Wx Ib", H(VPERMILPSI), A, X86F_AVX },
    { "VEX.66.0F3A.W0 05 /r ib", "Vx Wx Ib", H(VPERMILPDI), A, X86F_AVX },
    { "VEX.256.66.0F3A.W0 06 /r ib", "Vqq Hqq Wqq Ib", H(VPERM2F128), A, X86F_AVX },
    { "VEX.256.66.0F3A.W0 46 /r ib", "Vqq Hqq Wqq Ib", H(VPERM2I128), A, X86F_AVX2 },
    { "VEX.256.66.0F3A.W0 18 /r ib", "Vqq Hqq Wdq Ib", tr_insert_half, 0, A, X86F_AVX },
    { "VEX.256.66.0F3A.W0 38 /r ib", "Vqq Hqq Wdq Ib", tr_insert_half, 0, A, X86F_AVX2 },
    { "VEX.256.66.0F3A.W0 19 /r ib", "Wdq Vqq Ib", tr_extract_half, 0, A, X86F_AVX },
    { "VEX.256.66.0F3A.W0 39 /r ib", "Wdq Vqq Ib", tr_extract_half, 0, A, X86F_AVX2 },
    { "VEX.66.0F38.W0 18 /r",     "Vx Wss",   H(VBROADCASTSS), LOAD, X86F_AVX },
    { "VEX.66.0F38.W0 18 /r",     "Vx Udq",   H(VBROADCASTSS), REG, X86F_AVX2 },
    { "VEX.256.66.0F38.W0 19 /r", "Vqq Wsd",  H(VBROADCASTSD), LOAD, X86F_AVX },
    { "VEX.256.66.0F38.W0 19 /r", "Vqq Udq",  H(VBROADCASTSD), REG, X86F_AVX2 },
    { "VEX.256.66.0F38.W0 1A /r", "Vqq Mdq",  tr_both, 0, A, X86F_AVX },
    { "VEX.256.66.0F38.W0 5A /r", "Vqq Mdq",  tr_both, 0, A, X86F_AVX2 },
    { "VEX.66.0F38.W0 58 /r",     "Vx Wss",   H(VPBROADCASTD), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 59 /r",     "Vx Wsd",   H(VPBROADCASTQ), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 78 /r",     "Vx Wb",    H(VPBROADCASTB), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 79 /r",     "Vx Ww",    H(VPBROADCASTW), A, X86F_AVX2 },
    { "VEX.256.66.0F38.W0 36 /r", "Vqq Hqq Wqq", H(VPERMD), A, X86F_AVX2 },
    { "VEX.256.66.0F38.W0 16 /r", "Vqq Hqq Wqq", H(VPERMPS), A, X86F_AVX2 },
    { "VEX.256.66.0F3A.W1 00 /r ib", "Vqq Wqq Ib", H(VPERMQ), A, X86F_AVX2 },
    { "VEX.256.66.0F3A.W1 01 /r ib", "Vqq Wqq Ib", H(VPERMPD), A, X86F_AVX2 },
    { "VEX.66.0F3A.W0 02 /r ib",  "Vx Hx Wx Ib", H(VPBLENDD), A, X86F_AVX2 },
    { "VEX.128.0F 77", "", tr_zero, 0, AK, X86F_AVX },
    { "VEX.256.0F 77", "", tr_zero, 1, AK, X86F_AVX },

    /* --- integers */
    INT("FC", PADDB), INT("FD", PADDW), INT("FE", PADDD), INT("D4", PADDQ), INT("F8", PSUBB), INT("F9", PSUBW),
    INT("FA", PSUBD), INT("FB", PSUBQ), INT("EC", PADDSB), INT("ED", PADDSW), INT("DC", PADDUSB), INT("DD", PADDUSW),
    INT("E8", PSUBSB), INT("E9", PSUBSW), INT("D8", PSUBUSB), INT("D9", PSUBUSW), INT("DA", PMINUB), INT("DE", PMAXUB),
    INT("EA", PMINSW), INT("EE", PMAXSW), INT("E0", PAVGB), INT("E3", PAVGW), INT("D5", PMULLW), INT("E5", PMULHW),
    INT("E4", PMULHUW), INT("F4", PMULUDQ), INT("F5", PMADDWD), INT("F6", PSADBW), INT("74", PCMPEQB),
    INT("75", PCMPEQW), INT("76", PCMPEQD), INT("64", PCMPGTB), INT("65", PCMPGTW), INT("66", PCMPGTD),
    COUNT("D1", PSRLW), COUNT("D2", PSRLD), COUNT("D3", PSRLQ), COUNT("E1", PSRAW), COUNT("E2", PSRAD),
    COUNT("F1", PSLLW), COUNT("F2", PSLLD), COUNT("F3", PSLLQ),
    SHIFT("71 /2", PSRLWI), SHIFT("71 /4", PSRAWI), SHIFT("71 /6", PSLLWI),
    SHIFT("72 /2", PSRLDI), SHIFT("72 /4", PSRADI), SHIFT("72 /6", PSLLDI),
    SHIFT("73 /2", PSRLQI), SHIFT("73 /6", PSLLQI), SHIFT("73 /3", PSRLDQ), SHIFT("73 /7", PSLLDQ),
    { "VEX.66.0F38.W0 45 /r", "Vx Hx Wx", H(VPSRLVD), A, X86F_AVX2 },
    { "VEX.66.0F38.W1 45 /r", "Vx Hx Wx", H(VPSRLVQ), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 46 /r", "Vx Hx Wx", H(VPSRAVD), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 47 /r", "Vx Hx Wx", H(VPSLLVD), A, X86F_AVX2 },
    { "VEX.66.0F38.W1 47 /r", "Vx Hx Wx", H(VPSLLVQ), A, X86F_AVX2 },

    INT38("00", PSHUFB), INT38("01", PHADDW), INT38("02", PHADDD), INT38("03", PHADDSW), INT38("04", PMADDUBSW),
    INT38("05", PHSUBW), INT38("06", PHSUBD), INT38("07", PHSUBSW), INT38("08", PSIGNB), INT38("09", PSIGNW),
    INT38("0A", PSIGND), INT38("0B", PMULHRSW),
    ONE38("1C", PABSB, "Wx"), ONE38("1D", PABSW, "Wx"), ONE38("1E", PABSD, "Wx"),
    ONE38("20", PMOVSXBW, "Wxh"), ONE38("21", PMOVSXBD, "Wxq"), ONE38("22", PMOVSXBQ, "Wxe"),
    ONE38("23", PMOVSXWD, "Wxh"), ONE38("24", PMOVSXWQ, "Wxq"), ONE38("25", PMOVSXDQ, "Wxh"),
    ONE38("30", PMOVZXBW, "Wxh"), ONE38("31", PMOVZXBD, "Wxq"), ONE38("32", PMOVZXBQ, "Wxe"),
    ONE38("33", PMOVZXWD, "Wxh"), ONE38("34", PMOVZXWQ, "Wxq"), ONE38("35", PMOVZXDQ, "Wxh"),
    INT38("28", PMULDQ), INT38("29", PCMPEQQ), INT38("2B", PACKUSDW), INT38("37", PCMPGTQ), INT38("38", PMINSB),
    INT38("39", PMINSD), INT38("3A", PMINUW), INT38("3B", PMINUD), INT38("3C", PMAXSB), INT38("3D", PMAXSD),
    INT38("3E", PMAXUW), INT38("3F", PMAXUD), INT38("40", PMULLD),
    { "VEX.128.66.0F38 41 /r", "Vdq Wdq", H(PHMINPOSUW), A, X86F_AVX },
    { "VEX.66.0F38 17 /r",     "Vx Wx",   H(PTEST), AK, X86F_AVX },
    { "VEX.66.0F38.W0 0E /r",  "Vx Wx",   H(VTESTPS), AK, X86F_AVX },
    { "VEX.66.0F38.W0 0F /r",  "Vx Wx",   H(VTESTPD), AK, X86F_AVX },
    { "VEX.66.0F3A 0C /r ib",  "Vx Hx Wx Ib", H(BLENDPS), A, X86F_AVX },
    { "VEX.66.0F3A 0D /r ib",  "Vx Hx Wx Ib", H(BLENDPD), A, X86F_AVX },
    { "VEX.66.0F3A 0E /r ib",  "Vx Hx Wx Ib", H(PBLENDW), A2, X86F_AVX },
    { "VEX.66.0F3A 42 /r ib",  "Vx Hx Wx Ib", H(MPSADBW), A2, X86F_AVX },
    { "VEX.66.0F3A.W0 4A /r ib", "Vx Hx Wx Lx Ib", H(BLENDVPS), A, X86F_AVX },
    { "VEX.66.0F3A.W0 4B /r ib", "Vx Hx Wx Lx Ib", H(BLENDVPD), A, X86F_AVX },
    { "VEX.66.0F3A.W0 4C /r ib", "Vx Hx Wx Lx Ib", H(PBLENDVB), A2, X86F_AVX },
    { "VEX.128.66.0F3A 14 /r ib", "Rd Vdq Ib", H(PEXTRB), A, X86F_AVX },
    { "VEX.128.66.0F3A 14 /r ib", "Mb Vdq Ib", H(PEXTRB), A, X86F_AVX },
    { "VEX.128.66.0F3A 15 /r ib", "Rd Vdq Ib", H(PEXTRW), A, X86F_AVX },
    { "VEX.128.66.0F3A 15 /r ib", "Mw Vdq Ib", H(PEXTRW), A, X86F_AVX },
    { "VEX.128.66.0F3A 16 /r ib", "Ey Vdq Ib", H(PEXTRD), A, X86F_AVX },
    { "VEX.128.66.0F3A 17 /r ib", "Ed Vdq Ib", H(PEXTRD), A, X86F_AVX },        /* vextractps */
    { "VEX.128.66.0F3A 20 /r ib", "Vdq Hdq Rd Ib", H(PINSRB), A, X86F_AVX },
    { "VEX.128.66.0F3A 20 /r ib", "Vdq Hdq Mb Ib", H(PINSRB), A, X86F_AVX },
    { "VEX.128.66.0F3A 21 /r ib", "Vdq Hdq Wss Ib", tr_vinsertps, HOP_INSERTPS, A, X86F_AVX },
    { "VEX.128.66.0F3A 22 /r ib", "Vdq Hdq Ey Ib", H(PINSRD), A, X86F_AVX },
    { "VEX.128.66.0F3A 60 /r ib", "Vdq Wdq Ib", x86_tr_pcmpstr, STR_EXPLICIT | 1, AK, X86F_AVX },
    { "VEX.128.66.0F3A 61 /r ib", "Vdq Wdq Ib", x86_tr_pcmpstr, STR_EXPLICIT, AK, X86F_AVX },
    { "VEX.128.66.0F3A 62 /r ib", "Vdq Wdq Ib", x86_tr_pcmpstr, 1, AK, X86F_AVX },
    { "VEX.128.66.0F3A 63 /r ib", "Vdq Wdq Ib", x86_tr_pcmpstr, 0, AK, X86F_AVX },

    /* --- AES, carry-less multiplication */
    { "VEX.128.66.0F38 DB /r", "Vdq Wdq", H(AESIMC), A, X86F_AES },
    AES("DC", AESENC), AES("DD", AESENCLAST), AES("DE", AESDEC), AES("DF", AESDECLAST),
    { "VEX.128.66.0F3A DF /r ib", "Vdq Wdq Ib", H(AESKEYGENASSIST), A, X86F_AES },
    { "VEX.128.66.0F3A 44 /r ib", "Vdq Hdq Wdq Ib", H(PCLMULQDQ), A, X86F_PCLMULQDQ },
    { "VEX.256.66.0F3A 44 /r ib", "Vqq Hqq Wqq Ib", H(PCLMULQDQ), A, X86F_VPCLMULQDQ },

    /* --- element by element */
    { "VEX.66.0F38.W0 2C /r", "Vx Hx M",  tr_masked_load, 4, A, X86F_AVX },
    { "VEX.66.0F38.W0 2D /r", "Vx Hx M",  tr_masked_load, 8, A, X86F_AVX },
    { "VEX.66.0F38.W0 2E /r", "M Hx Vx",  tr_masked_store, 4, AK | R_WRITE, X86F_AVX },
    { "VEX.66.0F38.W0 2F /r", "M Hx Vx",  tr_masked_store, 8, AK | R_WRITE, X86F_AVX },
    { "VEX.66.0F38.W0 8C /r", "Vx Hx M",  tr_masked_load, 4, A, X86F_AVX2 },
    { "VEX.66.0F38.W1 8C /r", "Vx Hx M",  tr_masked_load, 8, A, X86F_AVX2 },
    { "VEX.66.0F38.W0 8E /r", "M Hx Vx",  tr_masked_store, 4, AK | R_WRITE, X86F_AVX2 },
    { "VEX.66.0F38.W1 8E /r", "M Hx Vx",  tr_masked_store, 8, AK | R_WRITE, X86F_AVX2 },
    { "VEX.66.0F38.W0 90 /r", "Vx M Hx",  tr_gather, 4 | 4 << 4, GATHER, X86F_AVX2 },      /* vpgatherdd */
    { "VEX.66.0F38.W1 90 /r", "Vx M Hx",  tr_gather, 8 | 4 << 4, GATHER, X86F_AVX2 },
    { "VEX.66.0F38.W0 91 /r", "Vx M Hx",  tr_gather, 4 | 8 << 4, GATHER, X86F_AVX2 },
    { "VEX.66.0F38.W1 91 /r", "Vx M Hx",  tr_gather, 8 | 8 << 4, GATHER, X86F_AVX2 },
    { "VEX.66.0F38.W0 92 /r", "Vx M Hx",  tr_gather, 4 | 4 << 4, GATHER, X86F_AVX2 },      /* vgatherdps */
    { "VEX.66.0F38.W1 92 /r", "Vx M Hx",  tr_gather, 8 | 4 << 4, GATHER, X86F_AVX2 },
    { "VEX.66.0F38.W0 93 /r", "Vx M Hx",  tr_gather, 4 | 8 << 4, GATHER, X86F_AVX2 },
    { "VEX.66.0F38.W1 93 /r", "Vx M Hx",  tr_gather, 8 | 8 << 4, GATHER, X86F_AVX2 },
    { NULL }
};
