/* SPDX-License-Identifier: GPL-2.0-or-later
 * SSE instructions that generated code does not do itself: the checked way of floating point when
 * exceptions are unmasked, string compares, masked stores, MXCSR.  Sources: Intel SDM vol. 1, 11.5; vol.
 * 2, 4.1 (PCMPxSTRx). */
#include <string.h>
#include "target/x86/avx.h"
#include "target/x86/x87.h"
#include "tcg/hostop.h"

enum { MX_FLAGS = 0x3f, MX_PRE = 7 /* IE DE ZE */, MX_OE = 8, MX_UE = 0x10, MX_PE = 0x20, MX_UM = 0x800,
       MX_FTZ = 0x8000, MX_MASK_SHIFT = 7, MX_RC_SHIFT = 13, MX_VALID = 0xffff };

/* Lanes of the result that arithmetic writes, told from the name: the result of xxxPS is floats.  0: not
 * such a row. */
static unsigned result_lanes(const HostRow *row, bool *single)
{
    size_t n = strlen(row->name);
    bool scalar = row->name[n - 2] == 'S';
    if (!(row->flags & HOF_FP) || (row->kind != HK_VV && row->kind != HK_VVV) ||
        !strchr("PS", row->name[n - 2]) || !strchr("SD", row->name[n - 1]) ||   /* integers: xxxDQ */
        !memcmp(row->name, "MIN", 3) || !memcmp(row->name, "MAX", 3))           /* these only choose */
        return 0;
    *single = row->name[n - 1] == 'S';
    return scalar ? 1 : *single ? 4 : 2;
}

/* A lane that arithmetic has written is denormal.  Unmasked underflow is raised for those even when they
 * are exact (SDM vol. 1, 4.9.1.5). */
static bool tiny_result(const HostRow *row, const V128 *d)
{
    bool single = false;
    unsigned n = result_lanes(row, &single);
    for (unsigned i = 0; i < n; i++) {
        uint64_t mag = single ? (uint64_t)d->u32[i] << 33 : d->u64[i] << 1;
        if (mag && !(mag >> (single ? 56 : 53)))
            return true;
    }
    return false;
}

/* With unmasked overflow or underflow PE tells of the result with unbounded exponent (SDM vol. 1, 4.9.1.4,
 * 4.9.1.5). */
static uint32_t inexact(const HostRow *row, const V128 *a, const V128 *b, uint32_t mxcsr, uint32_t pe)
{
    enum { CVT = 0x5a, ADDSUB = 0xd0, HADD = 0x7c, HSUB = 0x7d, ADD = 0x58, SUB = 0x5c };
    bool single = false;
    unsigned n = result_lanes(row, &single), rc = mxcsr >> MX_RC_SHIFT & 3;
    if (!n || row->map != 1)
        return pe;
    if (row->opcode == CVT) {
        const V128 *v = n == 1 ? b : a;
        return x87_inexact(CVT, &v->f64[0], NULL, false, true, rc) ||
               (n > 1 && x87_inexact(CVT, &v->f64[1], NULL, false, true, rc)) ? MX_PE : 0;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned op = row->opcode, at = i, of = i;
        const V128 *x = a, *y = b;
        if (op == ADDSUB)
            op = i & 1 ? ADD : SUB;
        if (op == HADD || op == HSUB) {
            op = op == HADD ? ADD : SUB;
            x = y = i < n / 2 ? a : b;
            at = 2 * i % n;
            of = at + 1;
        }
        if (x87_inexact(op, single ? (void *)&x->f32[at] : (void *)&x->f64[at],
                        single ? (void *)&y->f32[of] : (void *)&y->f64[of], single, single, rc))
            return MX_PE;
    }
    return 0;
}

typedef struct Operands { V256 a, b, c; uint64_t ga, gb; unsigned imm, gsize; bool wide; } Operands;

static HostArg operand(const V256 *v, uint64_t g, bool general) { return general ? (HostArg){ .g = g } : (HostArg){ .v = &v->v[0] }; }

static uint64_t run_row(const HostRow *row, const Operands *o, V256 *d, uint32_t *mxcsr)
{
    if (o->wide)
        return host_run_wide(row, d, &o->a, &o->b, &o->c, o->imm, mxcsr);
    bool ga = row->kind == HK_VG || row->kind == HK_GGG, gb = row->kind == HK_VVG || row->kind == HK_GGG;
    return row->fn(&d->v[0], operand(&o->a, o->ga, ga), operand(&o->b, o->gb, gb), (HostArg){ .v = &o->c.v[0] }, o->imm,
                   mxcsr, o->gsize);
}

/* False: an unmasked exception, recorded. */
static bool run_checked(X86Cpu *c, const HostRow *row, const Operands *o, V256 *d, uint64_t *ret)
{
    uint32_t old = x86_mxcsr(c), mxcsr = old & ~MX_FLAGS;
    if (!(old & MX_UM))
        mxcsr &= ~MX_FTZ;         /* flush-to-zero counts only with underflow masked (SDM vol. 1, 10.2.3.3) */
    *ret = run_row(row, o, d, &mxcsr);
    uint32_t raised = mxcsr & MX_FLAGS, unmasked = ~(old >> MX_MASK_SHIFT) & MX_FLAGS;
    if (!(old & MX_UM) && (tiny_result(row, &d->v[0]) || (o->wide && tiny_result(row, &d->v[1]))))
        raised |= MX_UE;
    if (raised & unmasked & MX_PRE) {           /* found before anything was computed (SDM vol. 1, 11.5.2) */
        raised &= MX_PRE;
    } else if (raised & unmasked & (MX_OE | MX_UE) && !(raised & ~unmasked & (MX_OE | MX_UE))) {
        uint32_t pe = inexact(row, &o->a.v[0], &o->b.v[0], old, raised & MX_PE);
        if (o->wide)
            pe |= inexact(row, &o->a.v[1], &o->b.v[1], old, raised & MX_PE);
        raised = (raised & ~MX_PE) | pe;
    }
    x86_set_mxcsr(c, old | raised);
    if (!(raised & unmasked))
        return true;
    x86_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD, 0);
    return false;
}

/* DPPS, DPPD: products, then sums of pairs; each step has its exceptions before the next (SDM vol. 2,
 * DPPS). */
static bool dot_checked(X86Cpu *c, bool single, const Operands *o, V256 *d)
{
    const HostRow *mul = &host_rows[single ? HOP_MULPS : HOP_MULPD];
    const HostRow *add = &host_rows[single ? HOP_HADDPS : HOP_HADDPD];
    Operands x = *o;
    V256 p;
    uint64_t ret;
    for (unsigned i = 0; i < 8; i++)            /* what is not selected counts as 0 */
        if (!(o->imm >> (4 + (single ? i % 4 : i % 4 / 2)) & 1))
            x.a.v[i / 4].u32[i % 4] = x.b.v[i / 4].u32[i % 4] = 0;
    if (!run_checked(c, mul, &x, &p, &ret))
        return false;
    for (unsigned i = 0; i < (single ? 2 : 1); i++) {
        x.a = x.b = p;
        if (!run_checked(c, add, &x, &p, &ret))
            return false;
    }
    for (unsigned i = 0; i < 8; i++)
        d->v[i / 4].u32[i % 4] = o->imm >> (single ? i % 4 : i % 4 / 2) & 1 ? p.v[i / 4].u32[i % 4] : 0;
    return true;
}

static bool checked(X86Cpu *c, unsigned id, const Operands *o, V256 *d, uint64_t *ret)
{
    return id == HOP_DPPS || id == HOP_DPPD ? dot_checked(c, id == HOP_DPPS, o, d)
                                            : run_checked(c, &host_rows[id], o, d, ret);
}

int sse_checked(CpuState *s, uint32_t word, uint64_t a_lo, uint64_t a_hi, uint64_t b_lo, uint64_t b_hi)
{
    X86Cpu *c = x86_cpu(s);
    Operands o = { .a.v[0].u64 = { a_lo, a_hi }, .b.v[0].u64 = { b_lo, b_hi }, .c.v[0] = c->xmm_tmp, .ga = a_lo, .gb = b_lo,
                   .imm = word >> 16 & 0xff, .gsize = word >> 24 };
    V256 d = { .v[0].u64 = { 0, 0 } };
    uint64_t ret = 0;
    if (!checked(c, word & 0xffff, &o, &d, &ret))
        return 1;
    c->xmm_tmp = d.v[0];
    s->helper_ret = ret;
    return 0;
}

int avx_checked(CpuState *s, uint32_t word)
{
    X86Cpu *c = x86_cpu(s);
    Operands o = { .a = c->vtmp[0], .b = c->vtmp[1], .c = c->vtmp[2], .imm = word >> 16 & 0xff, .gsize = 4, .wide = true };
    V256 d = { .v[0].u64 = { 0, 0 } };
    uint64_t ret = 0;
    if (!checked(c, word & 0xffff, &o, &d, &ret))
        return 1;
    c->vtmp[0] = d;
    s->helper_ret = ret;
    return 0;
}

/* Bytes whose mask bit is set; nothing is written when one of them would fault. */
/* word: length in bits 0 to 5 (0: 64), place in bits 8 to 13. */
static uint64_t field_mask(uint64_t word)
{
    unsigned len = word & 63;
    return len ? (UINT64_C(1) << len) - 1 : ~UINT64_C(0);
}

uint64_t sse_extrq(CpuState *s, uint64_t v, uint64_t with, uint64_t word)
{
    (void)s, (void)with;
    return v >> (word >> 8 & 63) & field_mask(word);
}

uint64_t sse_insertq(CpuState *s, uint64_t v, uint64_t with, uint64_t word)
{
    (void)s;
    unsigned at = word >> 8 & 63;
    uint64_t mask = field_mask(word) << at;
    return (v & ~mask) | (with << at & mask);
}

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

/* Elements before the first that is zero: the lowest bit set in x - 1 & ~x is that of the lowest zero element. */
static unsigned implicit_length(const V128 *v, bool words)
{
    const uint64_t ones = words ? 0x0001000100010001 : 0x0101010101010101, tops = ones << (words ? 15 : 7);
    unsigned shift = words ? 4 : 3;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t x = GUINT64_FROM_LE(v->u64[i]), zero = (x - ones) & ~x & tops;
        if (zero)
            return (i * 64 + __builtin_ctzll(zero)) >> shift;
    }
    return words ? 8 : 16;
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

unsigned sse_compare_strings(const V128 *a, unsigned len_a, const V128 *b, unsigned len_b, unsigned imm)
{
    static bool (*const aggregate[4])(const StrOp *, unsigned) = { equal_any, in_ranges, equal_each,
                                                                   equal_ordered };
    unsigned format = imm & 3, polarity = imm >> 4 & 3, res = 0;
    StrOp o = { .n = format & 1 ? 8 : 16, .len_a = len_a, .len_b = len_b };
    for (unsigned i = 0; i < o.n; i++) {
        o.a[i] = element(a, format, i);
        o.b[i] = element(b, format, i);
    }
    for (unsigned j = 0; j < o.n; j++)
        res |= (unsigned)aggregate[imm >> 2 & 3](&o, j) << j;
    if (polarity == 1)
        res ^= (1u << o.n) - 1;
    if (polarity == 3)
        res ^= (1u << o.len_b) - 1;
    return res;
}

/* IntRes2, one bit per element of b; flags at their EFLAGS places. */
static unsigned compare_strings(X86Cpu *c, uint32_t word, uint64_t eax, uint64_t edx, unsigned *n, uint32_t *flags)
{
    const V128 *a = &c->ymm[word >> STR_A & 15].lo, *b = &c->xmm_tmp;
    bool words = word & 1, wide = word & STR_WIDE;
    unsigned len_a, len_b, res;
    *n = words ? 8 : 16;
    if (word & STR_EXPLICIT) {
        len_a = explicit_length(eax, wide, *n);
        len_b = explicit_length(edx, wide, *n);
    } else {
        len_a = implicit_length(a, words);
        len_b = implicit_length(b, words);
    }
    if (!host_compare_strings(a, len_a, b, len_b, word & 0x3f, &res))
        res = sse_compare_strings(a, len_a, b, len_b, word & 0x3f);
    *flags = (res ? FL_CF : 0) | (len_b < *n ? FL_ZF : 0) | (len_a < *n ? FL_SF : 0) | (res & 1 ? FL_OF : 0);
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
    c->ymm[0].lo = r;
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
