/* SPDX-License-Identifier: GPL-2.0-or-later
 * Portable functions of the integer, bitwise and shuffling rows of hostop.def.  Intel SDM vol. 2, each
 * instruction's "Operation" section.  A result may overlie an operand, hence the local r. */
#include <string.h>
#include "tcg/hostop_int.h"

static int sat(int v, int lo, int hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

static int sat_s8(int v)  { return sat(v, -128, 127); }
static int sat_u8(int v)  { return sat(v, 0, 255); }
static int sat_s16(int v) { return sat(v, -32768, 32767); }
static int sat_u16(int v) { return sat(v, 0, 65535); }

/* Lane by lane: x of a and y of b are n lanes of member m. */
#define LANES(name, m, n, expr) HOST_FN(name)                   \
{                                                               \
    V128 r;                                                     \
    for (unsigned i = 0; i < n; i++) {                          \
        __auto_type x = a.v->m[i];                              \
        __auto_type y = b.v->m[i];                              \
        r.m[i] = (expr);                                        \
    }                                                           \
    *d = r;                                                     \
    return 0;                                                   \
}

/* Lane i of the result is expr, in terms of i; A and B are the operands' lanes. */
#define GATHER(name, m, n, expr) HOST_FN(name)                  \
{                                                               \
    const V128 *va = a.v, *vb = b.v;                            \
    V128 r;                                                     \
    (void)va, (void)vb;                                         \
    for (unsigned i = 0; i < n; i++)                            \
        r.m[i] = (expr);                                        \
    *d = r;                                                     \
    return 0;                                                   \
}

/* --- bitwise */

LANES(ANDPS,  u64, 2, x & y)
LANES(ANDNPS, u64, 2, ~x & y)
LANES(ORPS,   u64, 2, x | y)
LANES(XORPS,  u64, 2, x ^ y)
LANES(PAND,   u64, 2, x & y)
LANES(PANDN,  u64, 2, ~x & y)
LANES(POR,    u64, 2, x | y)
LANES(PXOR,   u64, 2, x ^ y)

/* --- arithmetic */

LANES(PADDB, u8, 16, x + y)
LANES(PADDW, u16, 8, x + y)
LANES(PADDD, u32, 4, x + y)
LANES(PADDQ, u64, 2, x + y)
LANES(PSUBB, u8, 16, x - y)
LANES(PSUBW, u16, 8, x - y)
LANES(PSUBD, u32, 4, x - y)
LANES(PSUBQ, u64, 2, x - y)
LANES(PADDSB,  s8, 16, sat_s8(x + y))
LANES(PADDSW,  s16, 8, sat_s16(x + y))
LANES(PADDUSB, u8, 16, sat_u8(x + y))
LANES(PADDUSW, u16, 8, sat_u16(x + y))
LANES(PSUBSB,  s8, 16, sat_s8(x - y))
LANES(PSUBSW,  s16, 8, sat_s16(x - y))
LANES(PSUBUSB, u8, 16, sat_u8(x - y))
LANES(PSUBUSW, u16, 8, sat_u16(x - y))
LANES(PMINUB, u8, 16, x < y ? x : y)
LANES(PMINUW, u16, 8, x < y ? x : y)
LANES(PMINUD, u32, 4, x < y ? x : y)
LANES(PMINSB, s8, 16, x < y ? x : y)
LANES(PMINSW, s16, 8, x < y ? x : y)
LANES(PMINSD, s32, 4, x < y ? x : y)
LANES(PMAXUB, u8, 16, x > y ? x : y)
LANES(PMAXUW, u16, 8, x > y ? x : y)
LANES(PMAXUD, u32, 4, x > y ? x : y)
LANES(PMAXSB, s8, 16, x > y ? x : y)
LANES(PMAXSW, s16, 8, x > y ? x : y)
LANES(PMAXSD, s32, 4, x > y ? x : y)
LANES(PAVGB, u8, 16, (x + y + 1) >> 1)
LANES(PAVGW, u16, 8, (x + y + 1) >> 1)
LANES(PMULLW,   u16, 8, (uint32_t)x * y)
LANES(PMULLD,   u32, 4, x * y)
LANES(PMULHW,   s16, 8, x * y >> 16)
LANES(PMULHUW,  u16, 8, (uint32_t)x * y >> 16)
LANES(PMULHRSW, s16, 8, ((x * y >> 14) + 1) >> 1)
LANES(PMULUDQ,  u64, 2, (uint64_t)(uint32_t)x * (uint32_t)y)
LANES(PMULDQ,   s64, 2, (int64_t)(int32_t)x * (int32_t)y)
LANES(PCMPEQB, u8, 16, -(x == y))
LANES(PCMPEQW, u16, 8, -(x == y))
LANES(PCMPEQD, u32, 4, -(x == y))
LANES(PCMPEQQ, s64, 2, -(int64_t)(x == y))
LANES(PCMPGTB, s8, 16, -(x > y))
LANES(PCMPGTW, s16, 8, -(x > y))
LANES(PCMPGTD, s32, 4, -(x > y))
LANES(PCMPGTQ, s64, 2, -(int64_t)(x > y))
LANES(PSIGNB, s8, 16, y < 0 ? -x : y ? x : 0)
LANES(PSIGNW, s16, 8, y < 0 ? -x : y ? x : 0)
LANES(PSIGND, u32, 4, (int32_t)y < 0 ? -x : y ? x : 0)
GATHER(PABSB, u8, 16, va->s8[i] < 0 ? -va->s8[i] : va->s8[i])
GATHER(PABSW, u16, 8, va->s16[i] < 0 ? -va->s16[i] : va->s16[i])
GATHER(PABSD, u32, 4, va->s32[i] < 0 ? -va->u32[i] : va->u32[i])
GATHER(PMADDWD, u32, 4, (uint32_t)(va->s16[2 * i] * vb->s16[2 * i]) +
                        (uint32_t)(va->s16[2 * i + 1] * vb->s16[2 * i + 1]))
GATHER(PMADDUBSW, s16, 8, sat_s16(va->u8[2 * i] * vb->s8[2 * i] + va->u8[2 * i + 1] * vb->s8[2 * i + 1]))

static unsigned abs_diff(unsigned x, unsigned y)
{
    return x > y ? x - y : y - x;
}

HOST_FN(PSADBW)
{
    V128 r = { 0 };
    for (unsigned i = 0; i < 16; i++)
        r.u64[i / 8] += abs_diff(a.v->u8[i], b.v->u8[i]);
    *d = r;
    return 0;
}

HOST_FN(MPSADBW)
{
    unsigned at_a = (imm >> 2 & 1) * 4, at_b = (imm & 3) * 4;
    V128 r = { 0 };
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 4; k++)
            r.u16[i] += abs_diff(a.v->u8[at_a + i + k], b.v->u8[at_b + k]);
    *d = r;
    return 0;
}

HOST_FN(PHMINPOSUW)
{
    unsigned best = 0;
    for (unsigned i = 1; i < 8; i++)
        if (a.v->u16[i] < a.v->u16[best])
            best = i;
    *d = (V128){ .u64 = { a.v->u16[best] | best << 16, 0 } };
    return 0;
}

/* Pairs of neighbours, first those of a, then those of b. */
#define PAIRS(name, m, n, expr) HOST_FN(name)                   \
{                                                               \
    V128 r;                                                     \
    for (unsigned i = 0; i < n; i++) {                          \
        const V128 *v = i < n / 2 ? a.v : b.v;                  \
        __auto_type x = v->m[2 * i % n];                        \
        __auto_type y = v->m[2 * i % n + 1];                    \
        r.m[i] = (expr);                                        \
    }                                                           \
    *d = r;                                                     \
    return 0;                                                   \
}
PAIRS(PHADDW,  u16, 8, x + y)
PAIRS(PHADDD,  u32, 4, x + y)
PAIRS(PHADDSW, s16, 8, sat_s16(x + y))
PAIRS(PHSUBW,  u16, 8, x - y)
PAIRS(PHSUBD,  u32, 4, x - y)
PAIRS(PHSUBSW, s16, 8, sat_s16(x - y))

/* --- shifts: k, the count, is the low quadword of b or the immediate */

#define SHIFT(name, m, n, expr)                                                                              \
    static void shift_##name(V128 *d, const V128 *v, uint64_t k)                                             \
    {                                                                                                        \
        for (unsigned i = 0; i < n; i++) {                                                                   \
            __auto_type x = v->m[i];                                                                         \
            d->m[i] = (expr);                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    HOST_FN(name)    { shift_##name(d, a.v, b.v->u64[0]); return 0; }                                        \
    HOST_FN(name##I) { shift_##name(d, a.v, imm); return 0; }
SHIFT(PSRLW, u16, 8, k < 16 ? x >> k : 0)
SHIFT(PSRLD, u32, 4, k < 32 ? x >> k : 0)
SHIFT(PSRLQ, u64, 2, k < 64 ? x >> k : 0)
SHIFT(PSLLW, u16, 8, k < 16 ? (uint32_t)x << k : 0)
SHIFT(PSLLD, u32, 4, k < 32 ? x << k : 0)
SHIFT(PSLLQ, u64, 2, k < 64 ? x << k : 0)
SHIFT(PSRAW, s16, 8, x >> (k < 16 ? k : 15))
SHIFT(PSRAD, s32, 4, x >> (k < 32 ? k : 31))

GATHER(PSRLDQ, u8, 16, i + imm < 16 ? va->u8[i + imm] : 0)
GATHER(PSLLDQ, u8, 16, i >= imm ? va->u8[i - imm] : 0)
GATHER(PALIGNR, u8, 16, i + imm < 16 ? vb->u8[i + imm] : i + imm < 32 ? va->u8[i + imm - 16] : 0)

/* --- shuffles */

GATHER(MOVSS,   u32, 4, i ? va->u32[i] : vb->u32[0])
GATHER(MOVSD,   u64, 2, i ? va->u64[i] : vb->u64[0])
GATHER(MOVHLPS, u64, 2, i ? va->u64[1] : vb->u64[1])
GATHER(MOVLHPS, u64, 2, i ? vb->u64[0] : va->u64[0])
GATHER(MOVQ,    u64, 2, i ? 0 : va->u64[0])
GATHER(MOVDDUP,  u64, 2, va->u64[0])
GATHER(MOVSLDUP, u32, 4, va->u32[i & ~1u])
GATHER(MOVSHDUP, u32, 4, va->u32[i | 1])
GATHER(UNPCKLPS, u32, 4, (i & 1 ? vb : va)->u32[i / 2])
GATHER(UNPCKLPD, u64, 2, (i & 1 ? vb : va)->u64[0])
GATHER(UNPCKHPS, u32, 4, (i & 1 ? vb : va)->u32[2 + i / 2])
GATHER(UNPCKHPD, u64, 2, (i & 1 ? vb : va)->u64[1])
GATHER(PUNPCKLBW,  u8, 16, (i & 1 ? vb : va)->u8[i / 2])
GATHER(PUNPCKLWD,  u16, 8, (i & 1 ? vb : va)->u16[i / 2])
GATHER(PUNPCKLDQ,  u32, 4, (i & 1 ? vb : va)->u32[i / 2])
GATHER(PUNPCKLQDQ, u64, 2, (i & 1 ? vb : va)->u64[0])
GATHER(PUNPCKHBW,  u8, 16, (i & 1 ? vb : va)->u8[8 + i / 2])
GATHER(PUNPCKHWD,  u16, 8, (i & 1 ? vb : va)->u16[4 + i / 2])
GATHER(PUNPCKHDQ,  u32, 4, (i & 1 ? vb : va)->u32[2 + i / 2])
GATHER(PUNPCKHQDQ, u64, 2, (i & 1 ? vb : va)->u64[1])
GATHER(SHUFPS,  u32, 4, (i < 2 ? va : vb)->u32[imm >> 2 * i & 3])
GATHER(SHUFPD,  u64, 2, (i < 1 ? va : vb)->u64[imm >> i & 1])
GATHER(PSHUFD,  u32, 4, va->u32[imm >> 2 * i & 3])
GATHER(PSHUFLW, u16, 8, i < 4 ? va->u16[imm >> 2 * i & 3] : va->u16[i])
GATHER(PSHUFHW, u16, 8, i < 4 ? va->u16[i] : va->u16[4 + (imm >> 2 * (i - 4) & 3)])
GATHER(PSHUFB,  u8, 16, vb->u8[i] & 0x80 ? 0 : va->u8[vb->u8[i] & 15])
GATHER(PACKSSWB, s8, 16, sat_s8((i < 8 ? va : vb)->s16[i % 8]))
GATHER(PACKUSWB, u8, 16, sat_u8((i < 8 ? va : vb)->s16[i % 8]))
GATHER(PACKSSDW, s16, 8, sat_s16((i < 4 ? va : vb)->s32[i % 4]))
GATHER(PACKUSDW, u16, 8, sat_u16((i < 4 ? va : vb)->s32[i % 4]))
GATHER(PMOVSXBW, s16, 8, va->s8[i])
GATHER(PMOVSXBD, s32, 4, va->s8[i])
GATHER(PMOVSXBQ, s64, 2, va->s8[i])
GATHER(PMOVSXWD, s32, 4, va->s16[i])
GATHER(PMOVSXWQ, s64, 2, va->s16[i])
GATHER(PMOVSXDQ, s64, 2, va->s32[i])
GATHER(PMOVZXBW, u16, 8, va->u8[i])
GATHER(PMOVZXBD, u32, 4, va->u8[i])
GATHER(PMOVZXBQ, u64, 2, va->u8[i])
GATHER(PMOVZXWD, u32, 4, va->u16[i])
GATHER(PMOVZXWQ, u64, 2, va->u16[i])
GATHER(PMOVZXDQ, u64, 2, va->u32[i])
GATHER(BLENDPS,  u32, 4, (imm >> i & 1 ? vb : va)->u32[i])
GATHER(BLENDPD,  u64, 2, (imm >> i & 1 ? vb : va)->u64[i])
GATHER(PBLENDW,  u16, 8, (imm >> i & 1 ? vb : va)->u16[i])
GATHER(PBLENDVB, u8, 16, (c.v->s8[i] < 0 ? vb : va)->u8[i])
GATHER(BLENDVPS, u32, 4, (c.v->s32[i] < 0 ? vb : va)->u32[i])
GATHER(BLENDVPD, u64, 2, (c.v->s64[i] < 0 ? vb : va)->u64[i])
GATHER(INSERTPS, u32, 4, imm >> i & 1 ? 0 : i == (imm >> 4 & 3) ? vb->u32[imm >> 6 & 3] : va->u32[i])

/* --- to and from general registers */

GATHER(MOVDV,  u64, 2, i ? 0 : gsize == 8 ? a.g : (uint32_t)a.g)
GATHER(PINSRB, u8, 16, i == (imm & 15) ? b.g : va->u8[i])
GATHER(PINSRW, u16, 8, i == (imm & 7) ? b.g : va->u16[i])

HOST_FN(PINSRD)
{
    V128 r = *a.v;
    if (gsize == 8)
        r.u64[imm & 1] = b.g;
    else
        r.u32[imm & 3] = b.g;
    *d = r;
    return 0;
}

HOST_FN(MOVDG)  { return gsize == 8 ? a.v->u64[0] : a.v->u32[0]; }
HOST_FN(PEXTRB) { return a.v->u8[imm & 15]; }
HOST_FN(PEXTRW) { return a.v->u16[imm & 7]; }
HOST_FN(PEXTRD) { return gsize == 8 ? a.v->u64[imm & 1] : a.v->u32[imm & 3]; }

#define SIGNS(name, m, n) HOST_FN(name)                         \
{                                                               \
    uint64_t r = 0;                                             \
    for (unsigned i = 0; i < n; i++)                            \
        r |= (uint64_t)(a.v->m[i] < 0) << i;                    \
    return r;                                                   \
}
SIGNS(MOVMSKPS, s32, 4)
SIGNS(MOVMSKPD, s64, 2)
SIGNS(PMOVMSKB, s8, 16)

HOST_FN(PTEST)
{
    enum { CF = 1, ZF = 0x40 };
    uint64_t both = 0, only_b = 0;
    for (unsigned i = 0; i < 2; i++) {
        both |= a.v->u64[i] & b.v->u64[i];
        only_b |= ~a.v->u64[i] & b.v->u64[i];
    }
    return (both ? 0 : ZF) | (only_b ? 0 : CF);
}

/* --- BMI2: the bits of a go where b has ones, and come from there */

HOST_FN(PDEP)
{
    uint64_t r = 0;
    for (uint64_t m = gsize == 4 ? (uint32_t)b.g : b.g, from = a.g; m; m &= m - 1, from >>= 1)
        r |= from & 1 ? m & -m : 0;
    return r;
}

HOST_FN(PEXT)
{
    uint64_t r = 0;
    unsigned n = 0;
    for (uint64_t m = gsize == 4 ? (uint32_t)b.g : b.g; m; m &= m - 1, n++)
        r |= (uint64_t)!!(a.g & m & -m) << n;
    return r;
}

/* --- AVX, AVX2.  Those of the rows that say HW_WHOLE get V256s and write two V128s. */

GATHER(VPERMILPS,  u32, 4, va->u32[vb->u32[i] & 3])
GATHER(VPERMILPD,  u64, 2, va->u64[vb->u64[i] >> 1 & 1])
GATHER(VPERMILPSI, u32, 4, va->u32[imm >> 2 * i & 3])
GATHER(VPERMILPDI, u64, 2, va->u64[imm >> i & 1])
GATHER(VPBLENDD,   u32, 4, (imm >> i & 1 ? vb : va)->u32[i])
GATHER(VPBROADCASTB, u8, 16, va->u8[0])
GATHER(VPBROADCASTW, u16, 8, va->u16[0])
GATHER(VPBROADCASTD, u32, 4, va->u32[0])
GATHER(VPBROADCASTQ, u64, 2, va->u64[0])
GATHER(VBROADCASTSS, u32, 4, va->u32[0])
GATHER(VBROADCASTSD, u64, 2, va->u64[0])
LANES(VPSRLVD, u32, 4, y < 32 ? x >> y : 0)
LANES(VPSRLVQ, u64, 2, y < 64 ? x >> y : 0)
LANES(VPSLLVD, u32, 4, y < 32 ? x << y : 0)
LANES(VPSLLVQ, u64, 2, y < 64 ? x << y : 0)
GATHER(VPSRAVD, s32, 4, va->s32[i] >> (vb->u32[i] < 32 ? vb->u32[i] : 31))

/* All signs of a & b (ZF), of ~a & b (CF) are 0. */
#define TEST_LANES(name, m, n) HOST_FN(name)                                                         \
{                                                                                               \
    bool zf = true, cf = true;                                                                  \
    for (unsigned i = 0; i < n; i++) {                                                          \
        zf &= (a.v->m[i] & b.v->m[i]) >= 0;                                                     \
        cf &= (~a.v->m[i] & b.v->m[i]) >= 0;                                                    \
    }                                                                                           \
    return zf << 6 | cf;                                                                        \
}
TEST_LANES(VTESTPS, s32, 4)
TEST_LANES(VTESTPD, s64, 2)

static void permute32(V128 *d, const V128 *index, const V128 *from)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned k = index[i / 4].u32[i % 4] & 7;
        d[i / 4].u32[i % 4] = from[k / 4].u32[k % 4];
    }
}

HOST_FN(VPERMD)  { permute32(d, a.v, b.v); return 0; }
HOST_FN(VPERMPS) { permute32(d, a.v, b.v); return 0; }

static void permute64(V128 *d, const V128 *from, unsigned imm)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned k = imm >> 2 * i & 3;
        d[i / 2].u64[i % 2] = from[k / 2].u64[k % 2];
    }
}

HOST_FN(VPERMQ)  { permute64(d, a.v, imm); return 0; }
HOST_FN(VPERMPD) { permute64(d, a.v, imm); return 0; }

/* Each half: one of the four of a and b, or zero. */
static void permute128(V128 *d, const V128 *a, const V128 *b, unsigned imm)
{
    for (unsigned i = 0; i < 2; i++) {
        unsigned how = imm >> 4 * i & 15;
        d[i] = how & 8 ? (V128){ .u64 = { 0, 0 } } : how & 2 ? b[how & 1] : a[how & 1];
    }
}

HOST_FN(VPERM2F128) { permute128(d, a.v, b.v, imm); return 0; }
HOST_FN(VPERM2I128) { permute128(d, a.v, b.v, imm); return 0; }
