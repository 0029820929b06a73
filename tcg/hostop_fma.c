/* SPDX-License-Identifier: GPL-2.0-or-later
 * Portable functions of the VCMP, FMA and F16C rows of hostop.def: conversions and the fused multiply-add in integers,
 * since a host without these instructions has nothing to build them from.
 * Sources: Intel SDM vol. 1, 4.9 (exceptions), 14.4 and 14.5 (F16C, FMA, NaN rules); vol. 2, CMPPD. */
#include <glib.h>
#include <stdbool.h>
#include "tcg/hostop_int.h"
#include "tcg/x86_64/hostfp.h"
#include "util/bits.h"

typedef unsigned __int128 Wide;
enum { MX_DE = 2, MX_OE = 8, MX_UE = 0x10 };
enum { RC_NEAREST, RC_DOWN, RC_UP, RC_ZERO };

/* An IEEE format: bits of fraction and exponent. */
typedef struct Format { unsigned frac, exp; } Format;
static const Format f16 = { 10, 5 }, f32 = { 23, 8 }, f64 = { 52, 11 };

static int bias(const Format *f) { return (1 << (f->exp - 1)) - 1; }
static uint64_t infinity(const Format *f) { return ((UINT64_C(1) << f->exp) - 1) << f->frac; }
static uint64_t sign_bit(const Format *f) { return UINT64_C(1) << (f->frac + f->exp); }
static uint64_t quiet_bit(const Format *f) { return UINT64_C(1) << (f->frac - 1); }

typedef enum Class { ZERO, FINITE, INFINITE, NAN_QUIET, NAN_SIGNALING } Class;

typedef struct Unpacked {
    Class    class;
    bool     sign, denormal;
    int      exp;               /* value: mant * 2^exp, FINITE */
    uint64_t mant, bits;
} Unpacked;

static Unpacked unpack(const Format *f, uint64_t bits, bool daz)
{
    Unpacked u = { .sign = bits & sign_bit(f), .bits = bits };
    uint64_t mag = bits & (sign_bit(f) - 1), frac = mag & ((UINT64_C(1) << f->frac) - 1);
    int e = (int)(mag >> f->frac);
    if (mag >= infinity(f)) {
        u.class = !frac ? INFINITE : frac & quiet_bit(f) ? NAN_QUIET : NAN_SIGNALING;
    } else if (!e && (daz || !frac)) {
        u.class = ZERO;
    } else {
        u.class = FINITE;
        u.denormal = !e;
        u.mant = e ? frac | UINT64_C(1) << f->frac : frac;
        u.exp = MAX(e, 1) - bias(f) - (int)f->frac;
    }
    return u;
}

static bool is_nan(const Unpacked *u) { return u->class >= NAN_QUIET; }

static Wide shift_right_jam(Wide v, unsigned n)
{
    return !n ? v : n > 127 ? v != 0 : v >> n | ((v & (((Wide)1 << n) - 1)) != 0);
}

static unsigned top_bit(Wide v)
{
    return v >> 64 ? 127 - bits_clz((uint64_t)(v >> 64)) : 63 - bits_clz((uint64_t)v);
}

/* v without its low n bits, rounded. */
static Wide round_off(Wide v, unsigned n, bool sign, unsigned rc, bool *inexact)
{
    Wide rest = v & (((Wide)1 << n) - 1), half = (Wide)1 << (n - 1), r = v >> n;
    *inexact = rest != 0;
    if (rc == RC_NEAREST)
        r += rest > half || (rest == half && r & 1);
    else if (rc == (sign ? RC_DOWN : RC_UP))
        r += rest != 0;
    return r;
}

/* v * 2^exp, v not 0, its last bit jammed, to format f.  Tininess is found after rounding (SDM vol. 1, 4.9.1.5); ftz:
 * tiny results become 0. */
static uint64_t pack(const Format *f, bool sign, Wide v, int exp, unsigned rc, bool ftz, uint32_t *flags)
{
    unsigned top = top_bit(v);
    v <<= 126 - top;
    exp -= 126 - (int)top;                              /* 1.xxx at bit 126 */
    int e = exp + 126 + bias(f);                        /* biased */
    unsigned drop = 126 - f->frac;
    bool inexact, scratch;
    uint64_t s = sign ? sign_bit(f) : 0;
    if (e <= 0) {
        /* as if the exponent had no bound */
        bool tiny = e < 0 || round_off(v, drop, sign, rc, &scratch) >> (f->frac + 1) == 0;
        if (tiny && ftz) {
            *flags |= MX_UE | MX_PE;
            return s;
        }
        Wide r = round_off(shift_right_jam(v, 1 - e), drop, sign, rc, &inexact);
        *flags |= inexact ? MX_PE | (tiny ? MX_UE : 0) : 0;
        return s | (uint64_t)r;                         /* may have become the least normal number */
    }
    Wide r = round_off(v, drop, sign, rc, &inexact);
    uint64_t bits = ((uint64_t)(e - 1) << f->frac) + (uint64_t)r;
    *flags |= inexact ? MX_PE : 0;
    if (bits >= infinity(f)) {
        *flags |= MX_OE | MX_PE;
        bool to_inf = rc == RC_NEAREST || rc == (sign ? RC_DOWN : RC_UP);
        bits = infinity(f) - !to_inf;
    }
    return s | bits;
}

/* --- fused multiply-add */

enum { NEGATE_PRODUCT = 1, NEGATE_ADDEND = 2 };

/* x * y + z; NaNs: that of x, else of y, else of z. */
static uint64_t fma_bits(const Format *f, uint64_t xb, uint64_t yb, uint64_t zb, unsigned negate, uint32_t *mxcsr)
{
    bool daz = *mxcsr & MX_DAZ, ftz = *mxcsr & MX_FTZ;
    unsigned rc = *mxcsr >> MX_RC_SHIFT & 3;
    Unpacked x = unpack(f, xb, daz), y = unpack(f, yb, daz), z = unpack(f, zb, daz);
    uint64_t indefinite = sign_bit(f) | infinity(f) | quiet_bit(f);
    bool undefined = (x.class == INFINITE && y.class == ZERO) || (x.class == ZERO && y.class == INFINITE);
    if (x.class == NAN_SIGNALING || y.class == NAN_SIGNALING || z.class == NAN_SIGNALING)
        *mxcsr |= MX_IE;
    if (is_nan(&x) || is_nan(&y) || is_nan(&z)) {
        const Unpacked *n = is_nan(&x) ? &x : is_nan(&y) ? &y : &z;
        return n->bits | quiet_bit(f);
    }
    if (undefined) {
        *mxcsr |= MX_IE;
        return indefinite;
    }
    bool sign = (x.sign ^ y.sign) ^ !!(negate & NEGATE_PRODUCT), z_sign = z.sign ^ !!(negate & NEGATE_ADDEND);
    if (x.class == INFINITE || y.class == INFINITE) {
        if (z.class == INFINITE && z_sign != sign) {
            *mxcsr |= MX_IE;
            return indefinite;
        }
        *mxcsr |= x.denormal || y.denormal || z.denormal ? MX_DE : 0;
        return infinity(f) | (sign ? sign_bit(f) : 0);
    }
    if (x.denormal || y.denormal || z.denormal)
        *mxcsr |= MX_DE;
    if (z.class == INFINITE)
        return infinity(f) | (z_sign ? sign_bit(f) : 0);
    Wide p = x.class == ZERO || y.class == ZERO ? 0 : (Wide)x.mant * y.mant, c = z.class == ZERO ? 0 : z.mant;
    if (!p && !c)
        return (sign == z_sign ? sign : rc == RC_DOWN) ? sign_bit(f) : 0;
    if (!p || !c)
        return pack(f, p ? sign : z_sign, p ? p : c, p ? x.exp + y.exp : z.exp, rc, ftz, mxcsr);
    int pe = x.exp + y.exp, ce = z.exp;
    unsigned up = 125 - top_bit(p), cup = 125 - top_bit(c);
    p <<= up, pe -= (int)up;
    c <<= cup, ce -= (int)cup;
    int e = MAX(pe, ce);
    p = shift_right_jam(p, (unsigned)(e - pe));
    c = shift_right_jam(c, (unsigned)(e - ce));
    Wide sum = sign == z_sign ? p + c : p >= c ? p - c : c - p;
    if (!sum)
        return rc == RC_DOWN ? sign_bit(f) : 0;
    return pack(f, sign != z_sign && c > p ? z_sign : sign, sum, e, rc, ftz, mxcsr);
}

/* Lanes below n; the others are those of a, the destination.  alt: odd lanes add and even ones subtract, or the other
 * way round. */
enum { ALL_ADD, ADD_ODD, ADD_EVEN };
static void fma_lanes(V128 *d, const V128 *x, const V128 *y, const V128 *z, const V128 *a, bool wide, unsigned n,
                      unsigned negate, unsigned alt, uint32_t *mxcsr)
{
    V128 r = *a;
    for (unsigned i = 0; i < n; i++) {
        bool subtract = (alt == ADD_ODD && !(i & 1)) || (alt == ADD_EVEN && i & 1);
        unsigned neg = negate ^ (subtract ? NEGATE_ADDEND : 0);
        if (wide)
            r.u64[i] = fma_bits(&f64, x->u64[i], y->u64[i], z->u64[i], neg, mxcsr);
        else
            r.u32[i] = (uint32_t)fma_bits(&f32, x->u32[i], y->u32[i], z->u32[i], neg, mxcsr);
    }
    *d = r;
}

#define FMA_ONE(name, wide, n, negate, alt, x, y, z) \
    HOST_FN(name) { fma_lanes(d, x.v, y.v, z.v, a.v, wide, n, negate, alt, mxcsr); return 0; }
#define FMA_PACKED(name, order, negate, alt, x, y, z) \
    FMA_ONE(name##order##PS, false, 4, negate, alt, x, y, z) FMA_ONE(name##order##PD, true, 2, negate, alt, x, y, z)
#define FMA_ALL(name, order, negate, x, y, z) \
    FMA_PACKED(name, order, negate, ALL_ADD, x, y, z) \
    FMA_ONE(name##order##SS, false, 1, negate, ALL_ADD, x, y, z) FMA_ONE(name##order##SD, true, 1, negate, ALL_ADD, x, y, z)
#define FMA_ORDER(order, x, y, z) \
    FMA_ALL(VFMADD, order, 0, x, y, z) FMA_ALL(VFMSUB, order, NEGATE_ADDEND, x, y, z) \
    FMA_ALL(VFNMADD, order, NEGATE_PRODUCT, x, y, z) FMA_ALL(VFNMSUB, order, NEGATE_PRODUCT | NEGATE_ADDEND, x, y, z) \
    FMA_PACKED(VFMADDSUB, order, 0, ADD_ODD, x, y, z) FMA_PACKED(VFMSUBADD, order, 0, ADD_EVEN, x, y, z)
FMA_ORDER(132, a, c, b)
FMA_ORDER(213, b, a, c)
FMA_ORDER(231, b, c, a)

/* --- F16C */

/* Neither DAZ nor FTZ count for half precision, nor is a denormal half told of (SDM vol. 1, 14.4.1). */
static uint32_t half_to_single(uint16_t h, uint32_t *mxcsr)
{
    Unpacked u = unpack(&f16, h, false);
    uint32_t s = u.sign ? 0x80000000u : 0;
    if (u.class == ZERO)
        return s;
    if (u.class >= INFINITE) {
        if (u.class == NAN_SIGNALING)
            *mxcsr |= MX_IE;
        return s | 0x7f800000u | (uint32_t)(h & 0x3ff) << 13 | (is_nan(&u) ? 0x400000u : 0);
    }
    uint32_t none = 0;
    return (uint32_t)pack(&f32, u.sign, u.mant, u.exp, RC_NEAREST, false, &none);
}

static uint16_t single_to_half(uint32_t v, unsigned imm, uint32_t *mxcsr)
{
    unsigned rc = imm & 4 ? *mxcsr >> MX_RC_SHIFT & 3 : imm & 3;
    Unpacked u = unpack(&f32, v, *mxcsr & MX_DAZ);
    uint16_t s = u.sign ? 0x8000 : 0;
    if (u.class == ZERO)
        return s;
    if (u.class >= INFINITE) {
        if (u.class == NAN_SIGNALING)
            *mxcsr |= MX_IE;
        return s | 0x7c00 | (v >> 13 & 0x3ff) | (is_nan(&u) ? 0x200 : 0);
    }
    if (u.denormal)
        *mxcsr |= MX_DE;
    return (uint16_t)pack(&f16, u.sign, u.mant, u.exp, rc, false, mxcsr);
}

HOST_FN(VCVTPH2PS)
{
    V128 r;
    for (unsigned i = 0; i < 4; i++)
        r.u32[i] = half_to_single(a.v->u16[i], mxcsr);
    *d = r;
    return 0;
}

HOST_FN(VCVTPS2PH)
{
    V128 r = { .u64 = { 0, 0 } };
    for (unsigned i = 0; i < 4; i++)
        r.u16[i] = single_to_half(a.v->u32[i], imm, mxcsr);
    *d = r;
    return 0;
}

/* --- the 32 predicates of VCMP */

/* The lower half of them is EQ_OQ LT_OS LE_OS UNORD_Q, their opposites, then the same with the unordered case turned
 * (UNORD becoming FALSE); the upper half differs in whether quiet NaNs signal. */
static bool vcmp_holds(unsigned pred, unsigned fl)
{
    bool unordered = fl & 4, less = fl & 1, equal = fl & 0x40, r, turned = pred & 8;
    switch (pred & 3) {
    case 0:  r = unordered ? turned : equal; break;
    case 1:  r = unordered ? turned : less; break;
    case 2:  r = unordered ? turned : less || equal; break;
    default: r = !turned && unordered; break;
    }
    return r ^ (pred >> 2 & 1);
}

static bool vcmp_signals(unsigned pred) { return ((pred & 3) == 1 || (pred & 3) == 2) ^ (pred >> 4 & 1); }

#define VCMP(name, f, u, n) HOST_FN(name)                                                                    \
{                                                                                                            \
    V128 r = *a.v;                                                                                           \
    for (unsigned i = 0; i < n; i++) {                                                                       \
        unsigned fl = vcmp_signals(imm) ? f##_comi(a.v->f[i], b.v->f[i], mxcsr)                              \
                                        : f##_ucomi(a.v->f[i], b.v->f[i], mxcsr);                            \
        r.u[i] = -(int64_t)vcmp_holds(imm, fl);                                                              \
    }                                                                                                        \
    *d = r;                                                                                                  \
    return 0;                                                                                                \
}
VCMP(VCMPPS, f32, u32, 4)
VCMP(VCMPPD, f64, u64, 2)
VCMP(VCMPSS, f32, u32, 1)
VCMP(VCMPSD, f64, u64, 1)
