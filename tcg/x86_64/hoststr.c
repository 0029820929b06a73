/* SPDX-License-Identifier: GPL-2.0-or-later
 * PCMPESTRM by the host's own, for the helper of the guest's string compares: the immediate is part of the instruction,
 * so there is one for each that matters. */
#include <nmmintrin.h>
#include "tcg/hostop.h"

#define ONE(i)   case i: r = _mm_cmpestrm(x, (int)len_a, y, (int)len_b, i); break;
#define FOUR(i)  ONE(i) ONE(i + 1) ONE(i + 2) ONE(i + 3)
#define MANY(i)  FOUR(i) FOUR(i + 4) FOUR(i + 8) FOUR(i + 12)

static __attribute__((target("sse4.2"))) unsigned compare(const V128 *a, unsigned len_a, const V128 *b, unsigned len_b,
                                                          unsigned imm)
{
    __m128i x = _mm_loadu_si128((const __m128i *)a), y = _mm_loadu_si128((const __m128i *)b), r;
    switch (imm & 0x3f) {
    MANY(0) MANY(16) MANY(32) MANY(48)
    default: __builtin_unreachable();
    }
    return (unsigned)_mm_cvtsi128_si32(r);
}

bool host_compare_strings(const V128 *a, unsigned len_a, const V128 *b, unsigned len_b, unsigned imm, unsigned *out)
{
    if (!(host_features() & HOST_SSE42))
        return false;
    *out = compare(a, len_a, b, len_b, imm);
    return true;
}
