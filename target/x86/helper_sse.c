/* SPDX-License-Identifier: GPL-2.0-or-later
 * SSE instructions that generated code does not do itself: the checked way of floating point when exceptions are
 * unmasked, string compares, masked stores, MXCSR.  Sources: Intel SDM vol. 1, 11.5; vol. 2, 4.1 (PCMPxSTRx). */
#include <string.h>
#include "target/x86/sse.h"
#include "tcg/hostop.h"

enum { MX_FLAGS = 0x3f, MX_PRE = 7 /* IE DE ZE */, MX_UE = 0x10, MX_UM = 0x800, MX_FTZ = 0x8000, MX_MASK_SHIFT = 7,
       MX_VALID = 0xffff };

/* A lane that arithmetic has written is denormal.  Unmasked underflow is raised for those even when they are exact
 * (SDM vol. 1, 4.9.1.5).  What the lanes are follows from the name: the result of xxxPS is floats. */
static bool tiny_result(const HostRow *row, const V128 *d)
{
    size_t n = strlen(row->name);
    bool scalar = row->name[n - 2] == 'S', single = row->name[n - 1] == 'S';
    if (!strchr("PS", row->name[n - 2]) || !strchr("SD", row->name[n - 1]))     /* integers: xxxDQ */
        return false;
    if (!memcmp(row->name, "MIN", 3) || !memcmp(row->name, "MAX", 3))   /* these only choose */
        return false;
    for (unsigned i = 0; i < (scalar ? 1 : single ? 4 : 2); i++) {
        uint64_t mag = single ? (uint64_t)d->u32[i] << 33 : d->u64[i] << 1;
        if (mag && !(mag >> (single ? 56 : 53)))
            return true;
    }
    return false;
}

/* Left out: whether PE comes with an unmasked overflow or underflow is decided by the denormal or infinite result, not
 * by that with unbounded exponent (docs/gaps.md). */
int sse_checked(CpuState *s, uint32_t word, uint64_t a_lo, uint64_t a_hi, uint64_t b_lo, uint64_t b_hi)
{
    X86Cpu *c = x86_cpu(s);
    const HostRow *row = &host_rows[word & 0xffff];
    V128 va = { .u64 = { a_lo, a_hi } }, vb = { .u64 = { b_lo, b_hi } }, d = { 0 };
    HostArg a = { .v = &va }, b = { .v = &vb }, none = { 0 };
    uint32_t old = x86_mxcsr(c), mxcsr = old & ~MX_FLAGS;
    if (!(old & MX_UM))
        mxcsr &= ~MX_FTZ;                       /* flush-to-zero counts only with underflow masked (SDM vol. 1, 10.2.3.3) */
    if (row->kind == HK_VVG)
        b.g = b_lo;
    uint64_t ret = row->fn(&d, a, b, none, word >> 16 & 0xff, &mxcsr, word >> 24);
    uint32_t raised = mxcsr & MX_FLAGS, unmasked = ~(old >> MX_MASK_SHIFT) & MX_FLAGS;
    if (!(old & MX_UM) && (row->kind == HK_VV || row->kind == HK_VVV) && tiny_result(row, &d))
        raised |= MX_UE;
    if (raised & unmasked & MX_PRE)             /* found before anything was computed (SDM vol. 1, 11.5.2) */
        raised &= MX_PRE;
    x86_set_mxcsr(c, old | raised);
    if (raised & unmasked) {
        x86_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD, 0);
        return 1;
    }
    c->xmm_tmp = d;
    s->helper_ret = ret;
    return 0;
}

/* Bytes whose mask bit is set; nothing is written when one of them would fault. */
int sse_maskmov(CpuState *s, uint64_t va, uint64_t lo, uint64_t hi, uint64_t mask_lo, uint64_t mask_hi)
{
    X86Cpu *c = x86_cpu(s);
    V128 v = { .u64 = { lo, hi } }, mask = { .u64 = { mask_lo, mask_hi } };
    for (unsigned i = 0; i < 16; i++)
        if (mask.s8[i] < 0 && !c->hooks->probe(s, va + i, 1, ACC_WRITE, -1))
            return 1;
    for (unsigned i = 0; i < 16; i++)
        if (mask.s8[i] < 0 && !c->hooks->store(s, va + i, 1, -1, v.u8[i]))
            return 1;
    return 0;
}

/* --- string compares */

typedef struct StrOp { unsigned n, len_a, len_b; int32_t a[16], b[16]; } StrOp;

static int32_t element(const V128 *v, unsigned format, unsigned i)
{
    switch (format) {
    case 0:  return v->u8[i];
    case 1:  return v->u16[i];
    case 2:  return v->s8[i];
    default: return v->s16[i];
    }
}

static unsigned implicit_length(const int32_t *v, unsigned n)
{
    unsigned i = 0;
    while (i < n && v[i])
        i++;
    return i;
}

static unsigned explicit_length(uint64_t reg, bool wide, unsigned n)
{
    uint64_t mag = wide ? ((int64_t)reg < 0 ? -reg : reg) : (int32_t)reg < 0 ? -(uint32_t)reg : (uint32_t)reg;
    return mag > n ? n : mag;
}

static bool equal_any(const StrOp *o, unsigned j)
{
    for (unsigned i = 0; i < o->len_a; i++)
        if (j < o->len_b && o->a[i] == o->b[j])
            return true;
    return false;
}

static bool in_ranges(const StrOp *o, unsigned j)
{
    for (unsigned i = 0; i + 1 < o->len_a; i += 2)
        if (j < o->len_b && o->b[j] >= o->a[i] && o->b[j] <= o->a[i + 1])
            return true;
    return false;
}

static bool equal_each(const StrOp *o, unsigned j)
{
    bool in_a = j < o->len_a, in_b = j < o->len_b;
    return in_a && in_b ? o->a[j] == o->b[j] : in_a == in_b;
}

static bool equal_ordered(const StrOp *o, unsigned j)
{
    for (unsigned i = 0; i < o->len_a && i + j < o->n; i++)
        if (i + j >= o->len_b || o->a[i] != o->b[i + j])
            return false;
    return true;
}

/* IntRes2, one bit per element of b; flags at their EFLAGS places. */
static unsigned compare_strings(X86Cpu *c, uint32_t word, uint64_t eax, uint64_t edx, unsigned *n, uint32_t *flags)
{
    static bool (*const aggregate[4])(const StrOp *, unsigned) = { equal_any, in_ranges, equal_each, equal_ordered };
    const V128 *a = &c->xmm[word >> STR_A & 15], *b = &c->xmm_tmp;
    unsigned format = word & 3, polarity = word >> 4 & 3, res = 0;
    bool wide = word & STR_WIDE;
    StrOp o = { .n = format & 1 ? 8 : 16 };
    for (unsigned i = 0; i < o.n; i++) {
        o.a[i] = element(a, format, i);
        o.b[i] = element(b, format, i);
    }
    o.len_a = word & STR_EXPLICIT ? explicit_length(eax, wide, o.n) : implicit_length(o.a, o.n);
    o.len_b = word & STR_EXPLICIT ? explicit_length(edx, wide, o.n) : implicit_length(o.b, o.n);
    for (unsigned j = 0; j < o.n; j++)
        res |= (unsigned)aggregate[word >> 2 & 3](&o, j) << j;
    if (polarity == 1)
        res ^= (1u << o.n) - 1;
    if (polarity == 3)
        res ^= (1u << o.len_b) - 1;
    *n = o.n;
    *flags = (res ? FL_CF : 0) | (o.len_b < o.n ? FL_ZF : 0) | (o.len_a < o.n ? FL_SF : 0) | (res & 1 ? FL_OF : 0);
    return res;
}

uint32_t sse_pcmpstri(CpuState *s, uint32_t word, uint64_t eax, uint64_t edx)
{
    unsigned n;
    uint32_t flags;
    unsigned res = compare_strings(x86_cpu(s), word, eax, edx, &n, &flags);
    s->helper_ret = !res ? (int)n : word & 0x40 ? 31 - __builtin_clz(res) : __builtin_ctz(res);
    return flags;
}

uint32_t sse_pcmpstrm(CpuState *s, uint32_t word, uint64_t eax, uint64_t edx)
{
    X86Cpu *c = x86_cpu(s);
    unsigned n;
    uint32_t flags;
    unsigned res = compare_strings(c, word, eax, edx, &n, &flags);
    V128 r = { .u64 = { res, 0 } };
    for (unsigned i = 0; i < 16 && word & 0x40; i++)
        r.u8[i] = res >> (n == 8 ? i / 2 : i) & 1 ? 0xff : 0;
    c->xmm[0] = r;
    return flags;
}

/* --- MXCSR */

uint32_t sse_get_mxcsr(CpuState *s)
{
    return x86_mxcsr(x86_cpu(s));
}

int sse_set_mxcsr(CpuState *s, uint32_t v)
{
    X86Cpu *c = x86_cpu(s);
    if (v & ~MX_VALID) {
        x86_raise(c, EXC_GP, 0);
        return 1;
    }
    x86_set_mxcsr(c, v);
    return 0;
}
