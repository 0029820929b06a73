/* SPDX-License-Identifier: GPL-2.0-or-later
 * The table of host operations and what this host can do.  CPUID leaves: Intel SDM vol. 2A, CPUID. */
#include <glib.h>
#include <string.h>
#include "config.h"
#include "tcg/hostop_int.h"

const HostRow host_rows[HOST_N_ROWS] = {
#define HOSTOP(name, kind, prefix, map, opcode, digit, flags, needs, ...) \
    { #name, kind, prefix, map, opcode, digit, flags, needs, __VA_ARGS__, h_##name },
/* The last column: the 256-bit form. */
#define NARROW HW_NONE, 0, 0
#define F256(how, n) HW_##how, n, HOST_AVX
#define I256(how, n) HW_##how, n, HOST_AVX2
#define W256(how, n, needs) HW_##how, n, needs
#include "tcg/hostop.def"
#undef HOSTOP
};

#if HOST_X86_64
#include <cpuid.h>

static unsigned detect(void)
{
    enum { A, B, C, D };
    static const struct { uint32_t leaf; uint8_t reg, bit; uint32_t feature; } bits[] = {
        { 1, C, 0, HOST_SSE3 }, { 1, C, 1, HOST_PCLMUL }, { 1, C, 9, HOST_SSSE3 }, { 1, C, 12, HOST_FMA },
        { 1, C, 19, HOST_SSE41 }, { 1, C, 20, HOST_SSE42 }, { 1, C, 22, HOST_MOVBE },
        { 1, C, 23, HOST_POPCNT },
        { 1, C, 25, HOST_AES }, { 1, C, 28, HOST_AVX }, { 1, C, 29, HOST_F16C },
        { 7, B, 3, HOST_BMI1 }, { 7, B, 5, HOST_AVX2 }, { 7, B, 8, HOST_BMI2 }, { 7, B, 29, HOST_SHA },
        { 7, C, 9, HOST_VAES }, { 7, C, 10, HOST_VPCLMUL }, { 0x80000001, C, 5, HOST_LZCNT },
    };
    enum { NEED_YMM = HOST_AVX | HOST_AVX2 | HOST_FMA | HOST_F16C | HOST_VAES | HOST_VPCLMUL, OSXSAVE = 1 << 27, XCR0_SSE_AVX = 6 };
    unsigned found = 0;
    uint32_t r[4], xcr0 = 0, high;
    for (unsigned i = 0; i < sizeof bits / sizeof *bits; i++)
        if (__get_cpuid_count(bits[i].leaf, 0, &r[A], &r[B], &r[C], &r[D]) &&
            r[bits[i].reg] >> bits[i].bit & 1)
            found |= bits[i].feature;
    /* AVX counts only where the operating system saves the upper halves (SDM vol. 1, 14.3). */
    if (__get_cpuid(1, &r[A], &r[B], &r[C], &r[D]) && r[C] & OSXSAVE)
        asm volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if ((xcr0 & XCR0_SSE_AVX) != XCR0_SSE_AVX)
        found &= ~NEED_YMM;
    return found;
}
#else
static unsigned detect(void)
{
    return 0;
}

bool host_compare_strings(const V128 *a, unsigned len_a, const V128 *b, unsigned len_b, unsigned imm, unsigned *out)
{
    return false;
}
#endif

unsigned host_features(void)
{
    static gsize known;                 /* a constant, once found: CPUID is slow under a hypervisor */
    if (g_once_init_enter(&known))
        g_once_init_leave(&known, (gsize)detect() | 1u << 31);
    return known & 0x7fffffff;
}

/* --- 256 bits by halves */

static uint64_t one_half(const HostRow *row, V128 *d, const V128 *a, const V128 *b, const V128 *c, unsigned imm,
                         uint32_t *mxcsr)
{
    return row->fn(d, (HostArg){ .v = a }, (HostArg){ .v = b }, (HostArg){ .v = c }, imm, mxcsr, 4);
}

uint64_t host_run_wide(const HostRow *row, V256 *d, const V256 *a, const V256 *b, const V256 *c, unsigned imm,
                       uint32_t *mxcsr)
{
    V256 r = { { { .u64 = { 0, 0 } }, { .u64 = { 0, 0 } } } };
    unsigned n = row->wide_n;
    uint64_t low, high;
    if (row->wide == HW_WHOLE) {
        low = one_half(row, r.v, a->v, b->v, c->v, imm, mxcsr);
        *d = r;
        return low;
    }
    V128 above = a->v[1];
    if (row->wide == HW_UP) {
        unsigned __int128 all;
        memcpy(&all, &a->v[0], 16);
        all >>= 8 * n;
        memcpy(&above, &all, 16);
    }
    low = one_half(row, &r.v[0], &a->v[0], &b->v[0], &c->v[0], imm, mxcsr);
    if (row->wide == HW_BCAST) {
        r.v[1] = r.v[0];
        *d = r;
        return 0;
    }
    high = one_half(row, &r.v[1], &above, &b->v[row->wide != HW_COUNT], &c->v[1], row->wide == HW_LANES ? imm >> n : imm,
                    mxcsr);
    if (row->wide == HW_DOWN) {
        r.v[0].u64[1] = r.v[1].u64[0];
        r.v[1] = (V128){ .u64 = { 0, 0 } };
    }
    *d = r;
    return row->wide == HW_MASK ? low | high << n : low & high;
}
