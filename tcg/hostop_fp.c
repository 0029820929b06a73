/* SPDX-License-Identifier: GPL-2.0-or-later
 * Portable functions of the floating-point rows of hostop.def, lane by lane from scalar primitives.  Intel
 * SDM vol. 1 chapter 11 and appendix E (NaNs: the first operand's, quietened, unless only the second is
 * one), vol. 2. */
#include "tcg/hostop_int.h"
#include "tcg/x86_64/hostfp.h"

/* Lanes 0..n-1 from both operands, the rest from a. */
#define FP_LANES(name, m, n, fn) HOST_FN(name)                  \
{                                                               \
    V128 r = *a.v;                                              \
    for (unsigned i = 0; i < n; i++)                            \
        r.m[i] = fn(a.v->m[i], b.v->m[i], mxcsr);               \
    *d = r;                                                     \
    return 0;                                                   \
}

#define FP_OP(name, fn)                                         \
    FP_LANES(name##PS, f32, 4, f32_##fn)                        \
    FP_LANES(name##PD, f64, 2, f64_##fn)                        \
    FP_LANES(name##SS, f32, 1, f32_##fn)                        \
    FP_LANES(name##SD, f64, 1, f64_##fn)
FP_OP(ADD, add)
FP_OP(SUB, sub)
FP_OP(MUL, mul)
FP_OP(DIV, div)
FP_OP(MIN, min)
FP_OP(MAX, max)

/* All lanes of the one operand; lane 0 of b, the rest from a. */
#define FP_EACH(name, m, n, fn) HOST_FN(name)                   \
{                                                               \
    V128 r;                                                     \
    for (unsigned i = 0; i < n; i++)                            \
        r.m[i] = fn(a.v->m[i], mxcsr);                          \
    *d = r;                                                     \
    return 0;                                                   \
}
#define FP_ONE(name, m, fn, expr) HOST_FN(name)                 \
{                                                               \
    V128 r = *a.v;                                              \
    r.m[0] = fn(expr, mxcsr);                                   \
    *d = r;                                                     \
    return 0;                                                   \
}
FP_EACH(SQRTPS,  f32, 4, f32_sqrt)
FP_EACH(SQRTPD,  f64, 2, f64_sqrt)
FP_EACH(RCPPS,   f32, 4, f32_rcp)
FP_EACH(RSQRTPS, f32, 4, f32_rsqrt)
FP_ONE(SQRTSS,   f32, f32_sqrt, b.v->f32[0])
FP_ONE(SQRTSD,   f64, f64_sqrt, b.v->f64[0])
FP_ONE(RCPSS,    f32, f32_rcp, b.v->f32[0])
FP_ONE(RSQRTSS,  f32, f32_rsqrt, b.v->f32[0])
FP_ONE(CVTSS2SD, f64, f32_to_f64, b.v->f32[0])
FP_ONE(CVTSD2SS, f32, f64_to_f32, b.v->f64[0])

/* --- comparisons */

enum { CF = 1, PF = 4, ZF = 0x40 };

HOST_FN(UCOMISS) { return f32_ucomi(a.v->f32[0], b.v->f32[0], mxcsr); }
HOST_FN(UCOMISD) { return f64_ucomi(a.v->f64[0], b.v->f64[0], mxcsr); }
HOST_FN(COMISS)  { return f32_comi(a.v->f32[0], b.v->f32[0], mxcsr); }
HOST_FN(COMISD)  { return f64_comi(a.v->f64[0], b.v->f64[0], mxcsr); }

/* Predicates EQ LT LE UNORD NEQ NLT NLE ORD; LT, LE and their opposites signal quiet NaNs. */
static bool cmp_signals(unsigned pred)
{
    return (pred & 3) == 1 || (pred & 3) == 2;
}

static bool cmp_holds(unsigned pred, unsigned fl)
{
    bool unordered = fl & PF, less = fl & CF, equal = fl & ZF, r;
    switch (pred & 3) {
    case 0: r = !unordered && equal; break;
    case 1: r = !unordered && less; break;
    case 2: r = !unordered && (less || equal); break;
    default: r = unordered; break;
    }
    return r ^ (pred >> 2 & 1);
}

#define FP_CMP(name, f, u, n) HOST_FN(name)                                                                  \
{                                                                                                            \
    V128 r = *a.v;                                                                                           \
    for (unsigned i = 0; i < n; i++) {                                                                       \
        __auto_type x = a.v->f[i];                                                                           \
        __auto_type y = b.v->f[i];                                                                           \
        unsigned fl = cmp_signals(imm) ? f##_comi(x, y, mxcsr) : f##_ucomi(x, y, mxcsr);                     \
        r.u[i] = -(int64_t)cmp_holds(imm, fl);                                                               \
    }                                                                                                        \
    *d = r;                                                                                                  \
    return 0;                                                                                                \
}
FP_CMP(CMPPS, f32, u32, 4)
FP_CMP(CMPPD, f64, u64, 2)
FP_CMP(CMPSS, f32, u32, 1)
FP_CMP(CMPSD, f64, u64, 1)

/* --- conversions */

/* n lanes `from` to lanes `to`, zeros above. */
#define FP_CONVERT(name, to, from, n, fn) HOST_FN(name)         \
{                                                               \
    V128 r = { 0 };                                             \
    for (unsigned i = 0; i < n; i++)                            \
        r.to[i] = fn(a.v->from[i], mxcsr);                      \
    *d = r;                                                     \
    return 0;                                                   \
}
FP_CONVERT(CVTPS2PD,  f64, f32, 2, f32_to_f64)
FP_CONVERT(CVTPD2PS,  f32, f64, 2, f64_to_f32)
FP_CONVERT(CVTDQ2PS,  f32, s32, 4, i32_to_f32)
FP_CONVERT(CVTDQ2PD,  f64, s32, 2, i32_to_f64)
FP_CONVERT(CVTPS2DQ,  s32, f32, 4, f32_to_i32)
FP_CONVERT(CVTTPS2DQ, s32, f32, 4, f32_chop_i32)
FP_CONVERT(CVTPD2DQ,  s32, f64, 2, f64_to_i32)
FP_CONVERT(CVTTPD2DQ, s32, f64, 2, f64_chop_i32)

#define FP_FROM_INT(name, m) HOST_FN(name)                                                      \
{                                                                                               \
    V128 r = *a.v;                                                                              \
    r.m[0] = gsize == 8 ? i64_to_##m(b.g, mxcsr) : i32_to_##m(b.g, mxcsr);                      \
    *d = r;                                                                                     \
    return 0;                                                                                   \
}
FP_FROM_INT(CVTSI2SS, f32)
FP_FROM_INT(CVTSI2SD, f64)

#define FP_TO_INT(name, m, how) HOST_FN(name)                                                   \
{                                                                                               \
    return gsize == 8 ? (uint64_t)m##how##i64(a.v->m[0], mxcsr) : (uint32_t)m##how##i32(a.v->m[0], mxcsr);   \
}
FP_TO_INT(CVTSS2SI,  f32, _to_)
FP_TO_INT(CVTSD2SI,  f64, _to_)
FP_TO_INT(CVTTSS2SI, f32, _chop_)
FP_TO_INT(CVTTSD2SI, f64, _chop_)

/* --- SSE3: horizontal and alternating */

#define FP_HORIZONTAL(name, m, n, fn) HOST_FN(name)                                             \
{                                                                                               \
    V128 r;                                                                                     \
    for (unsigned i = 0; i < n; i++) {                                                          \
        const V128 *v = i < n / 2 ? a.v : b.v;                                                  \
        r.m[i] = fn(v->m[2 * i % n], v->m[2 * i % n + 1], mxcsr);                               \
    }                                                                                           \
    *d = r;                                                                                     \
    return 0;                                                                                   \
}
FP_HORIZONTAL(HADDPS, f32, 4, f32_add)
FP_HORIZONTAL(HADDPD, f64, 2, f64_add)
FP_HORIZONTAL(HSUBPS, f32, 4, f32_sub)
FP_HORIZONTAL(HSUBPD, f64, 2, f64_sub)

#define FP_ADDSUB(name, m, n) HOST_FN(name)                                                     \
{                                                                                               \
    V128 r;                                                                                     \
    for (unsigned i = 0; i < n; i++)                                                            \
        r.m[i] = i & 1 ? m##_add(a.v->m[i], b.v->m[i], mxcsr) : m##_sub(a.v->m[i], b.v->m[i], mxcsr);  \
    *d = r;                                                                                     \
    return 0;                                                                                   \
}
FP_ADDSUB(ADDSUBPS, f32, 4)
FP_ADDSUB(ADDSUBPD, f64, 2)

/* --- SSE4.1 */

/* Lanes chosen by imm[7:4] multiplied, the others 0; summed in pairs; the sum goes where imm[3:0] says. */
#define FP_DOT(name, m, n, sum) HOST_FN(name)                                                   \
{                                                                                               \
    V128 p = { 0 }, r = { 0 };                                                                  \
    for (unsigned i = 0; i < n; i++)                                                            \
        if (imm >> (4 + i) & 1)                                                                 \
            p.m[i] = m##_mul(a.v->m[i], b.v->m[i], mxcsr);                                      \
    __auto_type s = (sum);                                                                      \
    for (unsigned i = 0; i < n; i++)                                                            \
        if (imm >> i & 1)                                                                       \
            r.m[i] = s;                                                                         \
    *d = r;                                                                                     \
    return 0;                                                                                   \
}

static float sum4(const float *p, uint32_t *mxcsr)
{
    float x = f32_add(p[0], p[1], mxcsr), y = f32_add(p[2], p[3], mxcsr);
    return f32_add(x, y, mxcsr);
}
FP_DOT(DPPS, f32, 4, sum4(p.f32, mxcsr))
FP_DOT(DPPD, f64, 2, f64_add(p.f64[0], p.f64[1], mxcsr))

/* ROUNDxx: imm[2] set: rounding of MXCSR, else imm[1:0]; imm[3]: inexact is not told.  Denormals raise
 * nothing. */
#define FP_ROUND(fn, type, utype, fbits, to_int)                                                             \
    static type fn(type v, unsigned imm, uint32_t *mxcsr)                                                    \
    {                                                                                                        \
        union { type f; utype u; } x = { v }, r;                                                             \
        const utype sign = (utype)1 << (sizeof(type) * 8 - 1), top = (utype)1 << fbits;                      \
        utype mag = x.u & ~sign, inf = (~(utype)0 >> 1) & ~(top - 1);                                        \
        if (mag > inf) {                                                                                     \
            if (!(mag & top >> 1))                                                                           \
                *mxcsr |= MX_IE;                                                                             \
            x.u |= top >> 1;                                                                                 \
            return x.f;                                                                                      \
        }                                                                                                    \
        if (mag < top && *mxcsr & MX_DAZ)                                                                    \
            x.u &= sign;                                                                                     \
        if (mag >> fbits >= (inf >> fbits >> 1) + fbits)        /* all such values are integers */           \
            return x.f;                                                                                      \
        uint32_t mode = imm & 4 ? *mxcsr : (*mxcsr & ~MX_RC) | (imm & 3) << MX_RC_SHIFT;                     \
        r.f = to_int(x.f, &mode);                                                                            \
        r.u |= x.u & sign;                                                                                   \
        if (r.u != x.u && !(imm & 8))                                                                        \
            *mxcsr |= MX_PE;                                                                                 \
        return r.f;                                                                                          \
    }
FP_ROUND(f32_round, float, uint32_t, 23, f32_to_i64)
FP_ROUND(f64_round, double, uint64_t, 52, f64_to_i64)

#define FP_ROUND_ROW(name, m, n, src) HOST_FN(name)             \
{                                                               \
    V128 r = *a.v;                                              \
    for (unsigned i = 0; i < n; i++)                            \
        r.m[i] = m##_round((src).v->m[i], imm, mxcsr);          \
    *d = r;                                                     \
    return 0;                                                   \
}
FP_ROUND_ROW(ROUNDPS, f32, 4, a)
FP_ROUND_ROW(ROUNDPD, f64, 2, a)
FP_ROUND_ROW(ROUNDSS, f32, 1, b)
FP_ROUND_ROW(ROUNDSD, f64, 1, b)
