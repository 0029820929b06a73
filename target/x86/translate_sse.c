/* SPDX-License-Identifier: GPL-2.0-or-later
 * SSE to SSE4.2, AES, PCLMULQDQ, SHA and MMX.  Nearly every instruction is one row of tcg/hostop.def on V128 values
 * (x86_tr_host, for VEX as well); XMM registers are slots.  MMX instructions take their registers from the x87 file by helper and
 * run as the host row of the XMM form on the low half.  Encodings and operands: Intel SDM vol. 2, appendix A. */
#include "tcg/hostop.h"
#include "target/x86/sse.h"
#include "target/x86/vector.h"
#include "target/x86/x87.h"

#define SET(bits) { { (bits), 0 } }
#define RET SLOT_BIT(X_HELPER_RET)
#define TMP SLOT_BIT(X_XMM_TMP)
#define FPU SLOT_BIT(X_FPU)
static const IrHelper
    h_checked = { "sse_checked", sse_checked, T_NONE, 5, HF_FAULTS | HF_FP, SET(TMP | SLOT_BIT(X_SYS)),
                  SET(TMP | RET | SLOT_BIT(X_MXCSR)) },
    h_maskmov = { "sse_maskmov", sse_maskmov, T_NONE, 5, HF_FAULTS, SET(0), SET(0) },
    h_extrq   = { "sse_extrq", sse_extrq, I64, 3, 0, SET(0), SET(0) },
    h_insertq = { "sse_insertq", sse_insertq, I64, 3, 0, SET(0), SET(0) },
    h_stri    = { "sse_pcmpstri", sse_pcmpstri, I32, 3, 0, SET(SLOTS_XMM), SET(RET) },
    h_strm    = { "sse_pcmpstrm", sse_pcmpstrm, I32, 3, 0, SET(SLOTS_XMM), SET(SLOT_BIT(X_XMM0)) },
    h_stmxcsr = { "sse_get_mxcsr", sse_get_mxcsr, I32, 0, HF_FP, SET(SLOT_BIT(X_MXCSR)),
                  SET(SLOT_BIT(X_MXCSR)) },
    h_ldmxcsr = { "sse_set_mxcsr", sse_set_mxcsr, T_NONE, 1, HF_FAULTS | HF_FP, SET(SLOT_BIT(X_MXCSR)),
                  SET(SLOT_BIT(X_MXCSR) | SLOT_BIT(X_SYS)) },
    h_check   = { "x87_check", x87_check, T_NONE, 0, HF_FAULTS, SET(FPU), SET(0) },
    h_mmget   = { "mmx_get", mmx_get, I64, 1, 0, SET(FPU), SET(0) },
    h_mmput   = { "mmx_put", mmx_put, T_NONE, 2, 0, SET(FPU), SET(FPU) },
    h_mmenter = { "mmx_enter", mmx_enter, T_NONE, 0, 0, SET(FPU), SET(FPU) },
    h_emms    = { "mmx_empty", mmx_empty, T_NONE, 0, 0, SET(FPU), SET(FPU) };

/* --- values */

static Val host1(X86Trans *t, unsigned row, Val a, unsigned imm)
{
    return ir_host(t->b, V128T, row, a, VAL_NONE, VAL_NONE, imm);
}

static Val host2(X86Trans *t, unsigned row, Val a, Val b)
{
    return ir_host(t->b, V128T, row, a, b, VAL_NONE, 0);
}

static Val low64(X86Trans *t, Val v)
{
    return ir_host(t->b, I64, HOP_MOVDG, v, VAL_NONE, VAL_NONE, 0);
}

static Val high64(X86Trans *t, Val v)
{
    Val h = host2(t, HOP_UNPCKHPD, v, v);
    return low64(t, h);
}

static Val vector_of(X86Trans *t, Val g)
{
    return ir_host(t->b, V128T, HOP_MOVDV, g, VAL_NONE, VAL_NONE, 0);
}

static bool is_general(const HostRow *row, unsigned operand)
{
    return row->kind == HK_GGG || (operand ? row->kind == HK_VVG : row->kind == HK_VG);
}

/* By a helper: the row's portable function, with a look at the exceptions before anything is written. */
static Val by_helper(X86Trans *t, IrType type, unsigned row, Val a, Val b, Val c, unsigned imm)
{
    const HostRow *r = &host_rows[row];
    Val g = is_general(r, 0) ? a : is_general(r, 1) ? b : VAL_NONE, zero = ir_imm(t->b, I64, 0);
    bool wide = type == I64 || (g && val_type(t->b, g) == I64);
    Val args[5] = { ir_imm(t->b, I32, row | imm << 16 | (wide ? 8u : 4u) << 24), zero, zero, zero, zero };
    Val v[2] = { a, b };
    for (unsigned i = 0; i < 2; i++) {
        if (!v[i])
            continue;
        bool general = is_general(r, i);
        args[1 + 2 * i] = general ? ir_resize(t->b, I64, v[i], false) : low64(t, v[i]);
        if (!general)
            args[2 + 2 * i] = high64(t, v[i]);
    }
    if (c)
        ir_put(t->b, X_XMM_TMP, c);
    ir_callv(t->b, &h_checked, 5, args);
    if (type == V128T)
        return ir_get(t->b, X_XMM_TMP);
    Val ret = ir_get(t->b, X_HELPER_RET);
    return ir_resize(t->b, type, ret, false);
}

/* What x op x is, for idioms that make constants. */
static Val of_itself(X86Trans *t, unsigned row, Val x)
{
    switch (row) {
    case HOP_XORPS: case HOP_PXOR: case HOP_ANDNPS: case HOP_PANDN:
    case HOP_PSUBB: case HOP_PSUBW: case HOP_PSUBD: case HOP_PSUBQ:
    case HOP_PSUBSB: case HOP_PSUBSW: case HOP_PSUBUSB: case HOP_PSUBUSW:
    case HOP_PCMPGTB: case HOP_PCMPGTW: case HOP_PCMPGTD: case HOP_PCMPGTQ:
        return ir_imm128(t->b, 0, 0);
    case HOP_PCMPEQB: case HOP_PCMPEQW: case HOP_PCMPEQD: case HOP_PCMPEQQ:
        return ir_imm128(t->b, ~0ull, ~0ull);
    case HOP_ANDPS: case HOP_PAND: case HOP_ORPS: case HOP_POR:
        return x;
    default:
        return VAL_NONE;
    }
}

Val x86_host(X86Trans *t, IrType type, unsigned row, Val a, Val b, Val c, unsigned imm)
{
    const HostRow *r = &host_rows[row];
    if (a == b) {
        Val known = of_itself(t, row, a);
        if (known != VAL_NONE)
            return type == V256T && val_type(t->b, known) == V128T ? ir_concat(t->b, known, known) : known;
    }
    bool wide = type == V256T || val_type(t->b, a) == V256T;
    if (G_UNLIKELY((t->mode & MODE_FPEXC && r->flags & HOF_FP) || (wide ? r->wide_needs : r->needs) & ~host_features()))
        return wide ? x86_host_wide_checked(t, type, row, a, b, c, imm) : by_helper(t, type, row, a, b, c, imm);
    return ir_host(t->b, type, row, a, b, c, imm);
}

/* --- SSE */

static IrType vector_type(const X86Trans *t, const HostRow *r)
{
    return t->vex && t->vex_l && r->wide != HW_NONE && r->wide != HW_DOWN ? V256T : V128T;
}

/* A row of hostop.def.  Legacy instructions have their first source in the destination; VEX names it. */
bool x86_tr_host(X86Trans *t, X86Args *a)
{
    unsigned row = a->row->arg, imm = host_rows[row].flags & HOF_IMM ? a->imm8 : 0;
    const HostRow *r = &host_rows[row];
    IrType type = vector_type(t, r);
    bool wide = r->flags & HOF_W;
    Val none = VAL_NONE, first = t->vex ? a->src : a->dst, second = t->vex ? a->src2 : a->src, v;
    switch (r->kind) {
    case HK_VV:
    case HK_VG:
        a->dst = x86_host(t, type, row, a->src, none, none, imm);
        break;
    case HK_VSHI:
        a->dst = x86_host(t, type, row, first, none, none, imm);
        break;
    case HK_VVV:
        a->dst = x86_host(t, type, row, first, second, none, imm);
        break;
    case HK_VVVV:
        v = t->vex ? a->src3 : x86_get_xmm(t, 0);
        a->dst = x86_host(t, type, row, first, second, v, imm);
        break;
    case HK_FMA:
        a->dst = x86_host(t, type, row, a->dst, a->src, a->src2, imm);
        break;
    case HK_VVG:
        v = wide ? second : ir_resize(t->b, I32, second, false);
        a->dst = x86_host(t, type, row, first, v, none, imm);
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

bool x86_tr_vmov(X86Trans *t, X86Args *a)
{
    a->dst = a->src;
    return true;
}

/* Only eight predicates without VEX; the host may encode with VEX, where bits 3 and 4 count. */
bool x86_tr_cmp(X86Trans *t, X86Args *a)
{
    a->imm8 &= 7;
    return x86_tr_host(t, a);
}

/* A source in memory is one element: no choice among four. */
bool x86_tr_insertps(X86Trans *t, X86Args *a)
{
    if (a->is_mem)
        a->imm8 &= 0x3f;
    return x86_tr_host(t, a);
}

/* MOVHPD and MOVHPS to memory: the upper half in the low half's place. */
bool x86_tr_vhigh(X86Trans *t, X86Args *a)
{
    a->dst = host2(t, HOP_UNPCKHPD, a->src, a->src);
    return true;
}

static Val di_address(X86Trans *t, unsigned len)
{
    t->limit_len = len;
    t->limit_write = true;
    Val ea = x86_get_reg(t, RDI, t->adsize);
    ea = ir_resize(t->b, I64, ea, false);
    return x86_linear(t, t->seg_override >= 0 ? (unsigned)t->seg_override : (unsigned)DS, ea);
}

bool x86_tr_maskmov(X86Trans *t, X86Args *a)
{
    Val at = di_address(t, 16), lo = low64(t, a->dst), hi = high64(t, a->dst), mlo = low64(t, a->src),
        mhi = high64(t, a->src);
    x86_check_aligned(t, at, 8);        /* whatever the mask: AMD's hardware */
    ir_call(t->b, &h_maskmov, at, lo, hi, mlo, mhi);
    return true;
}

/* EXTRQ (arg 0), INSERTQ: a field of the low half by length and place; the upper half, undefined, becomes 0 as on AMD's
 * hardware.  Sums beyond 64 are undefined too: what falls out falls out. */
static bool tr_field(X86Trans *t, X86Args *a)
{
    bool insert = a->row->arg;
    Val lo = low64(t, a->dst), with = insert ? low64(t, a->src) : ir_imm(t->b, I64, 0), word;
    if (a->opcode == 0x78)
        word = ir_imm(t->b, I64, (a->imm & 63) | (a->imm8 & 63) << 8);
    else
        word = insert ? high64(t, a->src) : low64(t, a->src);
    Val r = ir_call(t->b, insert ? &h_insertq : &h_extrq, lo, with, word);
    a->dst = vector_of(t, r);
    return true;
}

/* arg: STR_EXPLICIT, and 1 for a mask in XMM0 instead of an index in ECX. */
bool x86_tr_pcmpstr(X86Trans *t, X86Args *a)
{
    bool mask = a->row->arg & 1;
    uint32_t w = a->imm8 | (uint32_t)a->reg << STR_A | (a->row->arg & STR_EXPLICIT) |
                 (t->opsize == 8 ? STR_WIDE : 0);
    Val word = ir_imm(t->b, I32, w), eax = x86_get_reg(t, RAX, 8), edx = x86_get_reg(t, RDX, 8);
    ir_put(t->b, X_XMM_TMP, a->src);
    Val flags = ir_call(t->b, mask ? &h_strm : &h_stri, word, eax, edx);
    if (!mask) {
        Val index = ir_get(t->b, X_HELPER_RET);
        index = ir_ext(t->b, IR_TRUNC, I32, index);
        x86_put_reg(t, RCX, 4, index);
    } else if (t->vex) {
        Val zero = ir_imm128(t->b, 0, 0);
        ir_put(t->b, X_YMMH0, zero);
    }
    x86_put_eflags(t, flags);
    return true;
}

bool x86_tr_stmxcsr(X86Trans *t, X86Args *a)
{
    a->dst = ir_call(t->b, &h_stmxcsr);
    return true;
}

bool x86_tr_ldmxcsr(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_ldmxcsr, a->dst);
    return true;
}

/* --- MMX */

static Val mm_get(X86Trans *t, unsigned n)
{
    Val i = ir_imm(t->b, I32, n & 7), v = ir_call(t->b, &h_mmget, i);
    return vector_of(t, v);
}

static void mm_put(X86Trans *t, unsigned n, Val v)
{
    Val i = ir_imm(t->b, I32, n & 7), g = low64(t, v);
    ir_call(t->b, &h_mmput, i, g);
}

/* The Q operand, in place 1. */
static Val mm_source(X86Trans *t, X86Args *a)
{
    return a->is_mem ? vector_of(t, a->src) : mm_get(t, a->rm);
}

static Val mm_both(X86Trans *t, Val low, Val high)
{
    return host2(t, HOP_PUNPCKLQDQ, low, high);
}

bool x86_tr_mmx(X86Trans *t, X86Args *a)
{
    unsigned row = a->row->arg & 0xffff, imm = host_rows[row].flags & HOF_IMM ? a->imm8 : 0;
    ir_call(t->b, &h_check);
    Val s = mm_source(t, a), d = mm_get(t, a->reg);
    switch (a->row->arg & M_FORM) {
    case M_BOTH:
        d = s = mm_both(t, d, s);
        break;
    case M_SHUFB:
        s = host2(t, HOP_PAND, s, ir_imm128(t->b, 0x8787878787878787, 0));
        break;
    case M_ALIGN:
        d = mm_both(t, s, d);
        break;
    }
    Val none = VAL_NONE, r = host_rows[row].kind == HK_VVV ? x86_host(t, V128T, row, d, s, none, imm)
                           : x86_host(t, V128T, row, host_rows[row].kind == HK_VSHI ? d : s, none, none, imm);
    if ((a->row->arg & M_FORM) == M_HIGH)
        r = host2(t, HOP_UNPCKHPD, r, r);
    mm_put(t, a->reg, r);
    return true;
}

bool x86_tr_mmx_shift(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    Val d = mm_get(t, a->rm), r = host1(t, a->row->arg, d, a->imm8);
    mm_put(t, a->rm, r);
    return true;
}

/* MOVQ, MOVD mm, ... */
static bool tr_mmx_load(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    Val v = a->src == VAL_NONE ? mm_get(t, a->rm) : vector_of(t, a->src);
    mm_put(t, a->reg, v);
    return true;
}

/* MOVQ, MOVD ..., mm: the store comes before the FPU's state changes. */
static bool tr_mmx_store(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    Val v = low64(t, mm_get(t, a->reg));
    if (a->row->arg == 8 && !a->is_mem) {               /* movq mm, mm */
        mm_put(t, a->rm, vector_of(t, v));
        return true;
    }
    v = ir_resize(t->b, x86_type(a->size), v, false);
    if (a->is_mem)
        x86_store(t, a->addr, a->size, v);
    else
        x86_put_reg(t, a->rm, a->size, v);
    ir_call(t->b, &h_mmenter);
    return true;
}

static bool tr_pinsrw_mm(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    Val d = mm_get(t, a->reg), g = ir_resize(t->b, I32, a->src, false);
    mm_put(t, a->reg, ir_host(t->b, V128T, HOP_PINSRW, d, g, VAL_NONE, a->imm8 & 3));
    return true;
}

/* PEXTRW, PMOVMSKB r, mm */
static bool tr_mmx_to_gpr(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    unsigned imm = a->row->arg == HOP_PEXTRW ? a->imm8 & 3 : 0;
    Val v = mm_get(t, a->rm), r = ir_host(t->b, I32, a->row->arg, v, VAL_NONE, VAL_NONE, imm);
    ir_call(t->b, &h_mmenter);
    a->dst = r;
    return true;
}

static bool tr_movq2dq(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    a->dst = mm_get(t, a->rm);
    ir_call(t->b, &h_mmenter);
    return true;
}

static bool tr_movdq2q(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    mm_put(t, a->reg, a->src);
    return true;
}

static bool tr_maskmovq(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    Val at = di_address(t, 8), zero = ir_imm(t->b, I64, 0), v = low64(t, mm_get(t, a->reg)),
        mask = low64(t, mm_get(t, a->rm));
    x86_check_aligned(t, at, 8);
    ir_call(t->b, &h_maskmov, at, v, zero, mask, zero);
    ir_call(t->b, &h_mmenter);
    return true;
}

/* CVTPI2PS, CVTPI2PD.  From memory they do not touch the x87 state (SDM for CVTPI2PD; AMD's hardware for
 * both). Otherwise MMX has begun even if they end in #XM (AMD's hardware). */
static bool tr_cvt_from_mm(X86Trans *t, X86Args *a)
{
    unsigned row = a->row->arg;
    if (!a->is_mem)
        ir_call(t->b, &h_check);
    Val s = mm_source(t, a);
    if (!a->is_mem)
        ir_call(t->b, &h_mmenter);
    Val r = x86_host(t, V128T, row, s, VAL_NONE, VAL_NONE, 0);
    a->dst = row == HOP_CVTDQ2PS ? host2(t, HOP_MOVSD, a->dst, r) : r;
    return true;
}

/* CVTPS2PI, CVTPD2PI and the chopping ones.  The upper lanes must not raise flags. */
static bool tr_cvt_to_mm(X86Trans *t, X86Args *a)
{
    unsigned row = a->row->arg;
    ir_call(t->b, &h_check);
    Val s = row == HOP_CVTPS2DQ || row == HOP_CVTTPS2DQ ? host1(t, HOP_MOVQ, a->src, 0) : a->src;
    if (t->mode & MODE_FPEXC)           /* it may end in #XM, see above */
        ir_call(t->b, &h_mmenter);
    Val r = x86_host(t, V128T, row, s, VAL_NONE, VAL_NONE, 0);
    mm_put(t, a->reg, r);
    return true;
}

static bool tr_emms(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_check);
    ir_call(t->b, &h_emms);
    return true;
}

/* --- the rows that have this encoding alone; the others: rows_vector.c */

enum {
    S = R_SSE, SF = R_SSE | R_FP, SW = R_SSE | R_WRITE, SK = R_SSE | R_KEEP, SFK = R_SSE | R_FP | R_KEEP,
    MM = R_FPU | R_KEEP, MS = R_FPU | R_KEEP | R_WRITE,
};
#define H(name) x86_tr_host, HOP_##name

const X86Row x86_rows_sse[] = {
    /* --- SSE4A */
    { "F3 0F 2B /r", "Mss Vx",  x86_tr_vmov, 0, SW, X86F_SSE4A },                    /* movntss, movntsd */
    { "F2 0F 2B /r", "Msd Vx",  x86_tr_vmov, 0, SW, X86F_SSE4A },
    { "66 0F 78 /0 ib ib", "Ux Ib Ib", tr_field, 0, S, X86F_SSE4A },
    { "66 0F 79 /r", "Vx Ux",   tr_field, 0, S, X86F_SSE4A },
    { "F2 0F 78 /r ib ib", "Vx Ux Ib Ib", tr_field, 1, S, X86F_SSE4A },
    { "F2 0F 79 /r", "Vx Ux",   tr_field, 1, S, X86F_SSE4A },

    /* --- SSE4.1: XMM0 chooses */
    { "66 0F 38 10 /r", "Vx Wx", H(PBLENDVB), S, X86F_SSE41 },
    { "66 0F 38 14 /r", "Vx Wx", H(BLENDVPS), S, X86F_SSE41 },
    { "66 0F 38 15 /r", "Vx Wx", H(BLENDVPD), S, X86F_SSE41 },

    /* --- SHA */
    { "0F 38 C8 /r",    "Vx Wx", H(SHA1NEXTE), S, X86F_SHA_NI },
    { "0F 38 C9 /r",    "Vx Wx", H(SHA1MSG1), S, X86F_SHA_NI },
    { "0F 38 CA /r",    "Vx Wx", H(SHA1MSG2), S, X86F_SHA_NI },
    { "0F 38 CB /r",    "Vx Wx", H(SHA256RNDS2), S, X86F_SHA_NI },
    { "0F 38 CC /r",    "Vx Wx", H(SHA256MSG1), S, X86F_SHA_NI },
    { "0F 38 CD /r",    "Vx Wx", H(SHA256MSG2), S, X86F_SHA_NI },
    { "0F 3A CC /r ib", "Vx Wx Ib", H(SHA1RNDS4), S, X86F_SHA_NI },

    /* --- MMX */
    { "NP 0F 6E /r", "Pq Ey",   tr_mmx_load, 0, MM, X86F_MMX },
    { "NP 0F 6F /r", "Pq Qq",   tr_mmx_load, 0, MM, X86F_MMX },
    { "NP 0F 7E /r", "Ey Pq",   tr_mmx_store, 0, MS, X86F_MMX },
    { "NP 0F 7F /r", "Qq Pq",   tr_mmx_store, 8, MS, X86F_MMX },
    { "NP 0F E7 /r", "Mq Pq",   tr_mmx_store, 8, MS, X86F_SSE },                /* movntq */
    { "NP 0F C4 /r ib", "Pq Rd Ib", tr_pinsrw_mm, 0, MM, X86F_SSE },
    { "NP 0F C4 /r ib", "Pq Mw Ib", tr_pinsrw_mm, 0, MM, X86F_SSE },
    { "NP 0F C5 /r ib", "Gd Nq Ib", tr_mmx_to_gpr, HOP_PEXTRW, R_FPU | R_WRITE, X86F_SSE },
    { "NP 0F D7 /r", "Gd Nq",   tr_mmx_to_gpr, HOP_PMOVMSKB, R_FPU | R_WRITE, X86F_SSE },
    { "NP 0F F7 /r", "Pq Nq",   tr_maskmovq, 0, MM, X86F_SSE },
    { "F3 0F D6 /r", "Vx Nq",   tr_movq2dq, 0, SW | R_FPU, X86F_SSE2 },
    { "F2 0F D6 /r", "Pq Ux",   tr_movdq2q, 0, SK | R_FPU, X86F_SSE2 },
    { "0F 2A /r",    "Vx Qq",   tr_cvt_from_mm, HOP_CVTDQ2PS, SF | R_FPU, X86F_SSE },
    { "66 0F 2A /r", "Vx Qq",   tr_cvt_from_mm, HOP_CVTDQ2PD, SW | R_FPU, X86F_SSE2 },
    { "0F 2C /r",    "Pq Wsd",  tr_cvt_to_mm, HOP_CVTTPS2DQ, SFK | R_FPU, X86F_SSE },
    { "0F 2D /r",    "Pq Wsd",  tr_cvt_to_mm, HOP_CVTPS2DQ, SFK | R_FPU, X86F_SSE },
    { "66 0F 2C /r", "Pq Wx",   tr_cvt_to_mm, HOP_CVTTPD2DQ, SFK | R_FPU, X86F_SSE2 },
    { "66 0F 2D /r", "Pq Wx",   tr_cvt_to_mm, HOP_CVTPD2DQ, SFK | R_FPU, X86F_SSE2 },
    { "NP 0F 77",    "",        tr_emms, 0, R_FPU | R_KEEP, X86F_MMX },
    { NULL },
};
