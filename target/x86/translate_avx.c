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

/* SDM vol. 2, XSAVE: exceptions. */
void x86_check_xstate(X86Trans *t)
{
    Val cr4 = ir_get(t->b, X_CR4), osxsave = ir_imm(t->b, I64, CR4_OSXSAVE);
    Val off = ir_cmp(t->b, C_TSTEQ, cr4, osxsave);
    ir_raise_if(t->b, off, EXC_UD, 0);
    if (t->mode & MODE_FPU_NM)
        ir_call(t->b, &h_enabled);
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

/* The one that may store what raises flags: these must wait for the store's fault. */
static bool tr_vcvtps2ph(X86Trans *t, X86Args *a)
{
    if (a->is_mem) {
        Val size = ir_imm(t->b, I32, 8u << t->vex_l);
        x86_check_aligned(t, a->addr, 8u << t->vex_l);
        ir_call(t->b, &h_probe, a->addr, size);
    }
    return x86_tr_host(t, a);
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

/* --- the rows that have this encoding alone; the others: rows_vector.c */

enum {
    A = R_AVX | R_WRITE, AR = R_AVX, AF = A | R_FP, AFR = R_AVX | R_FP, AK = R_AVX | R_KEEP,
    A2 = A | R_AVX2, LOAD = A | R_MEMONLY, REG = A | R_REGONLY,
    GATHER = R_AVX | R_KEEP | R_WRITE | R_VSIB | R_MEMONLY,
};
#define H(name) x86_tr_host, HOP_##name

#define FMA2(opcode, name)                                                                                   \
    { "VEX.66.0F38.W0 " opcode " /r", "Vx Hx Wx", H(name##PS), AFR, X86F_FMA },                              \
    { "VEX.66.0F38.W1 " opcode " /r", "Vx Hx Wx", H(name##PD), AFR, X86F_FMA }
#define FMA4(packed, scalar, name)                                                                           \
    FMA2(packed, name),                                                                                      \
    { "VEX.LIG.66.0F38.W0 " scalar " /r", "Vdq Hdq Wss", H(name##SS), AFR, X86F_FMA },                       \
    { "VEX.LIG.66.0F38.W1 " scalar " /r", "Vdq Hdq Wsd", H(name##SD), AFR, X86F_FMA }

const X86Row x86_rows_avx[] = {
    /* --- floating point */
    FMA2("96", VFMADDSUB132), FMA2("97", VFMSUBADD132), FMA4("98", "99", VFMADD132), FMA4("9A", "9B", VFMSUB132),
    FMA4("9C", "9D", VFNMADD132), FMA4("9E", "9F", VFNMSUB132),
    FMA2("A6", VFMADDSUB213), FMA2("A7", VFMSUBADD213), FMA4("A8", "A9", VFMADD213), FMA4("AA", "AB", VFMSUB213),
    FMA4("AC", "AD", VFNMADD213), FMA4("AE", "AF", VFNMSUB213),
    FMA2("B6", VFMADDSUB231), FMA2("B7", VFMSUBADD231), FMA4("B8", "B9", VFMADD231), FMA4("BA", "BB", VFMSUB231),
    FMA4("BC", "BD", VFNMADD231), FMA4("BE", "BF", VFNMSUB231),
    { "VEX.66.0F38.W0 13 /r",    "Vx Wxh",    H(VCVTPH2PS), AF, X86F_F16C },
    { "VEX.66.0F3A.W0 1D /r ib", "Wxh Vx Ib", tr_vcvtps2ph, HOP_VCVTPS2PH, AF, X86F_F16C },

    /* --- shuffles, choices */
    { "VEX.66.0F3A.W0 4A /r ib", "Vx Hx Wx Lx Ib", H(BLENDVPS), A, X86F_AVX },
    { "VEX.66.0F3A.W0 4B /r ib", "Vx Hx Wx Lx Ib", H(BLENDVPD), A, X86F_AVX },
    { "VEX.66.0F3A.W0 4C /r ib", "Vx Hx Wx Lx Ib", H(PBLENDVB), A2, X86F_AVX },
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

    /* --- integers, tests */
    { "VEX.66.0F38.W0 45 /r", "Vx Hx Wx", H(VPSRLVD), A, X86F_AVX2 },
    { "VEX.66.0F38.W1 45 /r", "Vx Hx Wx", H(VPSRLVQ), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 46 /r", "Vx Hx Wx", H(VPSRAVD), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 47 /r", "Vx Hx Wx", H(VPSLLVD), A, X86F_AVX2 },
    { "VEX.66.0F38.W1 47 /r", "Vx Hx Wx", H(VPSLLVQ), A, X86F_AVX2 },
    { "VEX.66.0F38.W0 0E /r",  "Vx Wx",   H(VTESTPS), AK, X86F_AVX },
    { "VEX.66.0F38.W0 0F /r",  "Vx Wx",   H(VTESTPD), AK, X86F_AVX },

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
