/* SPDX-License-Identifier: GPL-2.0-or-later
 * The table of host operations and what this host can do.  CPUID leaves: Intel SDM vol. 2A, CPUID. */
#include <glib.h>
#include "config.h"
#include "tcg/hostop_int.h"

const HostRow host_rows[HOST_N_ROWS] = {
#define HOSTOP(name, kind, prefix, map, opcode, digit, flags, needs) \
    { #name, kind, prefix, map, opcode, digit, flags, needs, h_##name },
#include "tcg/hostop.def"
#undef HOSTOP
};

#if HOST_X86_64
#include <cpuid.h>

static unsigned detect(void)
{
    enum { A, B, C, D };
    static const struct { uint32_t leaf; uint8_t reg, bit; uint16_t feature; } bits[] = {
        { 1, C, 0, HOST_SSE3 }, { 1, C, 1, HOST_PCLMUL }, { 1, C, 9, HOST_SSSE3 }, { 1, C, 12, HOST_FMA },
        { 1, C, 19, HOST_SSE41 }, { 1, C, 20, HOST_SSE42 }, { 1, C, 22, HOST_MOVBE },
        { 1, C, 23, HOST_POPCNT },
        { 1, C, 25, HOST_AES }, { 1, C, 28, HOST_AVX }, { 1, C, 29, HOST_F16C },
        { 7, B, 3, HOST_BMI1 }, { 7, B, 5, HOST_AVX2 }, { 7, B, 8, HOST_BMI2 }, { 7, B, 29, HOST_SHA },
        { 0x80000001, C, 5, HOST_LZCNT },
    };
    enum { NEED_YMM = HOST_AVX | HOST_AVX2 | HOST_FMA | HOST_F16C, OSXSAVE = 1 << 27, XCR0_SSE_AVX = 6 };
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
#endif

unsigned host_features(void)
{
    static gsize known;                 /* a constant, once found: CPUID is slow under a hypervisor */
    if (g_once_init_enter(&known))
        g_once_init_leave(&known, (gsize)detect() | 1u << 31);
    return known & 0x7fffffff;
}
