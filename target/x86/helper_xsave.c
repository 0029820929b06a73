/* SPDX-License-Identifier: GPL-2.0-or-later
 * FXSAVE, XSAVE and their relatives, XCR0, PKRU.  Sources: SDM vol. 1, chapter 13; APM vol. 2, 11.5.
 *
 * A save makes the image of what it writes on the stack, then writes those parts in one piece; a restore reads the area
 * first and checks it, so that neither leaves half of its work behind a fault.  Components in use are found by looking at
 * them; that a component has not been modified since the last restore is not tracked (an option: 13.6). */
#include <string.h>

#include "target/x86/helper_sys.h"
#include "target/x86/sys.h"
#include "target/x86/x87.h"

enum { ST_AT = 32, MXCSR_AT = 24, XMM_AT = 160, FX_LEN = 512, XS_BV = 512, XS_COMP = 520, XS_AREA = 576, XS_MAX = 2696 };
#define COMPACT (UINT64_C(1) << 63)

static void put16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static void put64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static uint16_t get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

/* --- guest memory */

typedef struct Part { uint16_t at, len; } Part;
typedef struct Image {
    uint8_t  b[XS_MAX];
    Part     part[X86_COMPONENTS + 4];
    unsigned n, end;
} Image;

static void touch(Image *m, unsigned at, unsigned len)
{
    m->part[m->n++] = (Part){ at, len };
    m->end = MAX(m->end, at + len);
}

static bool write_image(X86Cpu *c, uint64_t va, const Image *m)
{
    uint8_t *p = c->hooks->host(&c->s, va, m->end, ACC_WRITE, -1);
    if (p) {
        for (unsigned i = 0; i < m->n; i++)
            memcpy(p + m->part[i].at, m->b + m->part[i].at, m->part[i].len);
        return true;
    }
    for (unsigned i = 0; i < m->n; i++)
        if (!c->hooks->probe(&c->s, va + m->part[i].at, m->part[i].len, ACC_WRITE, -1))
            return false;
    for (unsigned i = 0; i < m->n; i++)
        for (unsigned k = m->part[i].at; k < (unsigned)m->part[i].at + m->part[i].len; k += 8)
            if (!c->hooks->store(&c->s, va + k, 8, -1, get64(m->b + k)))
                return false;
    return true;
}

static bool read_bytes(X86Cpu *c, uint64_t va, uint8_t *to, unsigned len)
{
    const uint8_t *p = c->hooks->host(&c->s, va, len, ACC_READ, -1);
    if (p) {
        memcpy(to, p, len);
        return true;
    }
    for (unsigned k = 0; k < len; k += 8) {
        uint64_t v;
        if (!c->hooks->load(&c->s, va + k, 8, -1, &v))
            return false;
        put64(to + k, v);
    }
    return true;
}

static bool misaligned(X86Cpu *c, uint64_t va, unsigned align)
{
    if (va & (align - 1))
        x86_fault(c, EXC_GP, 0);
    return va & (align - 1);
}

/* --- components */

static V128 *xmm(X86Cpu *c, unsigned i) { return &c->ymm[i].lo; }
static V128 *ymm_high(X86Cpu *c, unsigned i) { return &c->ymm[i].hi; }

/* Registers 8 to 15 are outside the reach of code that is not 64-bit. */
static unsigned n_vectors(const X86Cpu *c) { return x86_code64(c) ? 16 : 8; }

static void x87_save(X86Cpu *c, uint8_t *b, bool wide)
{
    put16(b, c->fcw);
    put16(b + 2, x87_fsw(c));
    b[4] = ~c->fpu_empty;               /* one bit per register: not empty */
    b[5] = 0;
    put16(b + 6, c->fop);
    put64(b + 8, wide ? c->fip : (c->fip & UINT32_MAX) | (uint64_t)c->fcs << 32);
    put64(b + 16, wide ? c->fdp : (c->fdp & UINT32_MAX) | (uint64_t)c->fds << 32);
    for (unsigned i = 0; i < 8; i++) {
        const X86Fpr *r = &c->fpr[(c->fpu_top + i) & 7];
        put64(b + ST_AT + 16 * i, r->mant);
        put64(b + ST_AT + 16 * i + 8, r->exp);
    }
}

static void x87_load(X86Cpu *c, const uint8_t *b, bool wide)
{
    x87_load_words(c, get16(b), get16(b + 2));
    c->fpu_empty = ~b[4];
    c->fop = get16(b + 6) & 0x7ff;
    c->fip = wide ? get64(b + 8) : get32(b + 8);
    c->fdp = wide ? get64(b + 16) : get32(b + 16);
    c->fcs = wide ? 0 : get16(b + 12);
    c->fds = wide ? 0 : get16(b + 20);
    for (unsigned i = 0; i < 8; i++) {
        X86Fpr *r = &c->fpr[(c->fpu_top + i) & 7];
        r->mant = get64(b + ST_AT + 16 * i);
        r->exp = get16(b + ST_AT + 16 * i + 8);
    }
}

static void x87_reset(X86Cpu *c)
{
    memset(c->fpr, 0, sizeof c->fpr);
    c->fcw = 0x37f;
    c->fsw = c->fop = c->fcs = c->fds = 0;
    c->fip = c->fdp = 0;
    c->fpu_top = 0;
    c->fpu_empty = 0xff;
}

static bool x87_used(X86Cpu *c)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < 8; i++)
        any |= c->fpr[i].mant | c->fpr[i].exp;
    return any || c->fcw != 0x37f || c->fsw || c->fop || c->fip || c->fdp || c->fcs || c->fds || c->fpu_top ||
           c->fpu_empty != 0xff;
}

static void sse_save(X86Cpu *c, uint8_t *b, bool wide)
{
    (void)wide;
    for (unsigned i = 0; i < n_vectors(c); i++)
        memcpy(b + 16 * i, xmm(c, i), 16);
}

static void sse_load(X86Cpu *c, const uint8_t *b, bool wide)
{
    (void)wide;
    for (unsigned i = 0; i < n_vectors(c); i++)
        memcpy(xmm(c, i), b + 16 * i, 16);
}

static void sse_reset(X86Cpu *c)
{
    for (unsigned i = 0; i < n_vectors(c); i++)
        memset(xmm(c, i), 0, 16);
}

static bool sse_used(X86Cpu *c)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < n_vectors(c); i++)
        any |= xmm(c, i)->u64[0] | xmm(c, i)->u64[1];
    return any;
}

static void avx_save(X86Cpu *c, uint8_t *b, bool wide)
{
    (void)wide;
    for (unsigned i = 0; i < n_vectors(c); i++)
        memcpy(b + 16 * i, ymm_high(c, i), 16);
}

static void avx_load(X86Cpu *c, const uint8_t *b, bool wide)
{
    (void)wide;
    for (unsigned i = 0; i < n_vectors(c); i++)
        memcpy(ymm_high(c, i), b + 16 * i, 16);
}

static void avx_reset(X86Cpu *c)
{
    for (unsigned i = 0; i < n_vectors(c); i++)
        memset(ymm_high(c, i), 0, 16);
}

static bool avx_used(X86Cpu *c)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < n_vectors(c); i++)
        any |= ymm_high(c, i)->u64[0] | ymm_high(c, i)->u64[1];
    return any;
}

static void pkru_save(X86Cpu *c, uint8_t *b, bool wide) { (void)wide; put64(b, c->pkru); }
static void pkru_load(X86Cpu *c, const uint8_t *b, bool wide) { (void)wide; x86_set_pkru(c, get32(b)); }
static void pkru_reset(X86Cpu *c) { x86_set_pkru(c, 0); }
static bool pkru_used(X86Cpu *c) { return c->pkru; }

typedef struct Component {
    void (*save)(X86Cpu *c, uint8_t *b, bool wide);
    void (*load)(X86Cpu *c, const uint8_t *b, bool wide);
    void (*reset)(X86Cpu *c);
    bool (*used)(X86Cpu *c);
} Component;

/* By number, as x86_components; of SSE the registers alone: MXCSR goes ways of its own. */
static const Component components[X86_COMPONENTS] = {
    [0] = { x87_save, x87_load, x87_reset, x87_used },
    [1] = { sse_save, sse_load, sse_reset, sse_used },
    [2] = { avx_save, avx_load, avx_reset, avx_used },
    [9] = { pkru_save, pkru_load, pkru_reset, pkru_used },
};

static uint64_t used(X86Cpu *c, uint64_t asked)
{
    uint64_t in_use = 0;
    for (unsigned i = 0; i < X86_COMPONENTS; i++)
        if ((asked >> i & 1) && components[i].used(c))
            in_use |= UINT64_C(1) << i;
    return in_use;
}

/* Where component i starts, and its length: in non-64-bit code vectors 8 to 15 are not touched. */
static unsigned place(uint64_t compact, unsigned i)
{
    if (i < 2)
        return i ? XMM_AT : 0;
    return compact & COMPACT ? x86_xsave_size(compact & ((UINT64_C(1) << i) - 1), true) : x86_components[i].at;
}

static unsigned length(const X86Cpu *c, unsigned i)
{
    return i == 1 || i == 2 ? 16 * n_vectors(c) : x86_components[i].size;
}

/* --- FXSAVE, FXRSTOR */

/* EFER.FFXSR: in 64-bit code at privilege 0 they leave the XMM registers alone (APM vol. 2, 11.4.4). */
static bool with_xmm(const X86Cpu *c)
{
    return (c->cr4 & CR4_OSFXSR) && !((c->efer & EFER_FFXSR) && x86_code64(c) && c->cpl == 0);
}

static void add_x87(X86Cpu *c, Image *m, bool wide)
{
    x87_save(c, m->b, wide);
    touch(m, 0, MXCSR_AT);
    touch(m, ST_AT, 128);
}

static void add_mxcsr(X86Cpu *c, Image *m)
{
    put32(m->b + MXCSR_AT, x86_mxcsr(c));
    put32(m->b + MXCSR_AT + 4, 0xffff);
    touch(m, MXCSR_AT, 8);
}

static int fxsave(CpuState *s, uint64_t va, uint32_t wide)
{
    X86Cpu *c = x86_cpu(s);
    Image m;
    m.n = m.end = 0;
    if (misaligned(c, va, 16))
        return 1;
    add_x87(c, &m, wide);
    if (c->cr4 & CR4_OSFXSR) {
        add_mxcsr(c, &m);
    } else {
        memset(m.b + MXCSR_AT, 0, 8);
        touch(&m, MXCSR_AT, 8);
    }
    if (with_xmm(c)) {
        sse_save(c, m.b + XMM_AT, wide);
        touch(&m, XMM_AT, length(c, 1));
    }
    return !write_image(c, va, &m);
}

static int fxrstor(CpuState *s, uint64_t va, uint32_t wide)
{
    X86Cpu *c = x86_cpu(s);
    uint8_t b[FX_LEN];
    if (misaligned(c, va, 16) || !read_bytes(c, va, b, XMM_AT + length(c, 1)))
        return 1;
    bool sse = c->cr4 & CR4_OSFXSR;
    if (sse && get32(b + MXCSR_AT) >> 16)
        return !x86_fault(c, EXC_GP, 0);
    x87_load(c, b, wide);
    if (with_xmm(c))
        sse_load(c, b + XMM_AT, wide);
    if (sse)
        x86_set_mxcsr(c, get32(b + MXCSR_AT));
    return 0;
}

/* --- XSAVE and XRSTOR */

static uint64_t requested(const X86Cpu *c, bool supervisor)
{
    return (c->xcr0 | (supervisor ? c->xss : 0)) & (c->s.hot[RDX] << 32 | (uint32_t)c->s.hot[RAX]);
}

/* Standard format: MXCSR goes with SSE or AVX, in its initial state or not (13.7); XSAVEOPT leaves out components that are
 * in theirs (13.9). */
static int xsave(CpuState *s, uint64_t va, uint32_t wide, uint32_t opt)
{
    X86Cpu *c = x86_cpu(s);
    uint64_t rfbm = requested(c, false), in_use = used(c, rfbm), save = opt ? in_use : rfbm, old;
    Image m;
    m.n = m.end = 0;
    if (misaligned(c, va, 64) || !c->hooks->load(s, va + XS_BV, 8, -1, &old))
        return 1;
    if (save & XCR0_X87)
        add_x87(c, &m, wide);
    if (rfbm & (XCR0_SSE | XCR0_AVX))
        add_mxcsr(c, &m);
    for (unsigned i = 1; i < X86_COMPONENTS; i++)
        if (save >> i & 1) {
            components[i].save(c, m.b + place(0, i), wide);
            touch(&m, place(0, i), length(c, i));
        }
    put64(m.b + XS_BV, (old & ~rfbm) | in_use);
    touch(&m, XS_BV, 8);
    return !write_image(c, va, &m);
}

/* Compact format: only what is in use; MXCSR is part of SSE, which it puts in use (13.10, 13.11). */
static int xsavec(CpuState *s, uint64_t va, uint32_t wide, uint32_t supervisor)
{
    X86Cpu *c = x86_cpu(s);
    uint64_t rfbm = requested(c, supervisor), save = used(c, rfbm), comp = rfbm | COMPACT;
    Image m;
    m.n = m.end = 0;
    if (misaligned(c, va, 64))
        return 1;
    if ((rfbm & XCR0_SSE) && x86_mxcsr(c) != 0x1f80)
        save |= XCR0_SSE;
    if (save & XCR0_X87)
        add_x87(c, &m, wide);
    if (save & XCR0_SSE)
        add_mxcsr(c, &m);
    for (unsigned i = 1; i < X86_COMPONENTS; i++)
        if (save >> i & 1) {
            components[i].save(c, m.b + place(comp, i), wide);
            touch(&m, place(comp, i), length(c, i));
        }
    put64(m.b + XS_BV, save);
    put64(m.b + XS_COMP, comp);
    touch(&m, XS_BV, 16);
    return !write_image(c, va, &m);
}

/* 13.8 and 13.12: the header must say one of the two formats, and nothing that is not enabled. */
static bool header_ok(const X86Cpu *c, const uint8_t *h, bool supervisor)
{
    uint64_t bv = get64(h), comp = get64(h + 8), enabled = c->xcr0 | (supervisor ? c->xss : 0), rest = 0;
    if (!(comp & COMPACT))
        return !supervisor && !(bv & ~c->xcr0) && !comp && !get64(h + 16);
    for (unsigned i = 16; i < 64; i += 8)
        rest |= get64(h + i);
    return x86_has(c, X86F_XSAVEC) && !(comp & ~(enabled | COMPACT)) && !(bv & ~(comp & ~COMPACT)) && !rest;
}

static int xrstor(CpuState *s, uint64_t va, uint32_t wide, uint32_t supervisor)
{
    X86Cpu *c = x86_cpu(s);
    uint8_t b[XS_MAX];
    uint64_t rfbm = requested(c, supervisor);
    if (misaligned(c, va, 64) || !read_bytes(c, va, b, XS_AREA))
        return 1;
    if (!header_ok(c, b + XS_BV, supervisor))
        return !x86_fault(c, EXC_GP, 0);
    uint64_t load = rfbm & get64(b + XS_BV), comp = get64(b + XS_COMP);
    bool compact = comp & COMPACT;
    for (unsigned i = 2; i < X86_COMPONENTS; i++)
        if ((load >> i & 1) && !read_bytes(c, va + place(comp, i), b + place(0, i), length(c, i)))
            return 1;
    bool mxcsr = compact ? load & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
    if (mxcsr && get32(b + MXCSR_AT) >> 16)
        return !x86_fault(c, EXC_GP, 0);
    for (unsigned i = 0; i < X86_COMPONENTS; i++)
        if (load >> i & 1)
            components[i].load(c, b + place(0, i), wide);
        else if (rfbm >> i & 1)
            components[i].reset(c);
    if (mxcsr)
        x86_set_mxcsr(c, get32(b + MXCSR_AT));
    else if (compact && (rfbm & XCR0_SSE))
        x86_set_mxcsr(c, 0x1f80);
    return 0;
}

/* --- XCR0, PKRU */

/* With ECX 1: components in use, which is all that are enabled: they are not tracked between instructions. */
static int xgetbv(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    uint32_t n = s->hot[RCX];
    if (n > 1 || (n == 1 && !x86_has(c, X86F_XGETBV1)))
        return !x86_fault(c, EXC_GP, 0);
    s->helper_ret = c->xcr0;
    return 0;
}

static int xsetbv(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    uint64_t v = s->hot[RDX] << 32 | (uint32_t)s->hot[RAX];
    if ((uint32_t)s->hot[RCX] || !(v & XCR0_X87) || (v & ~x86_xcr0_allowed(c)) || (v & (XCR0_SSE | XCR0_AVX)) == XCR0_AVX)
        return !x86_fault(c, EXC_GP, 0);
    c->xcr0 = v;
    x86_mode_changed(c);
    return 0;
}

static int rdpkru(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if ((uint32_t)s->hot[RCX])
        return !x86_fault(c, EXC_GP, 0);
    s->hot[RAX] = c->pkru;
    s->hot[RDX] = 0;
    return 0;
}

static int wrpkru(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if ((uint32_t)s->hot[RCX] || (uint32_t)s->hot[RDX])
        return !x86_fault(c, EXC_GP, 0);
    x86_set_pkru(c, s->hot[RAX]);
    return 0;
}

/* --- declarations */

#define VECTORS ((SLOTS_XMM | SLOT_BIT(X_MXCSR) | SLOT_BIT(X_FPU)) & ~SLOT_BIT(X_XMM_TMP))
#define MODE_READS (SLOTS_FL | SLOTS_BASE | SLOT_BIT(X_SYS))              /* of x86_mode_changed() */
#define EDX_EAX (SLOT_BIT(X_RAX) | SLOT_BIT(X_RDX))

#define HELPER(fn, n, flags, ...) const IrHelper x86_helper_##fn = { #fn, (void *)fn, T_NONE, n, flags, __VA_ARGS__ }

HELPER(fxsave,  2, HF_FAULTS | HF_FP, { { VECTORS | SLOT_BIT(X_SYS) } }, { { SLOT_BIT(X_MXCSR) } });
HELPER(fxrstor, 2, HF_FAULTS | HF_FP, { { VECTORS | MODE_READS } }, { { VECTORS } });
HELPER(xsave,   3, HF_FAULTS | HF_FP, { { VECTORS | EDX_EAX | SLOT_BIT(X_SYS), SLOTS_YMMH } }, { { SLOT_BIT(X_MXCSR) } });
HELPER(xsavec,  3, HF_FAULTS | HF_FP, { { VECTORS | EDX_EAX | SLOT_BIT(X_SYS), SLOTS_YMMH } }, { { SLOT_BIT(X_MXCSR) } });
HELPER(xrstor,  3, HF_FAULTS | HF_FP, { { VECTORS | EDX_EAX | MODE_READS, SLOTS_YMMH } }, { { VECTORS, SLOTS_YMMH } });
HELPER(xgetbv,  0, HF_FAULTS, { { SLOT_BIT(X_RCX) | SLOT_BIT(X_SYS) } }, { { SLOT_BIT(X_HELPER_RET) } });
HELPER(xsetbv,  0, HF_FAULTS, { { EDX_EAX | SLOT_BIT(X_RCX) | MODE_READS } }, { { SLOT_BIT(X_SYS) } });
HELPER(rdpkru,  0, HF_FAULTS, { { SLOT_BIT(X_RCX) | SLOT_BIT(X_SYS) } }, { { EDX_EAX } });
HELPER(wrpkru,  0, HF_FAULTS, { { EDX_EAX | SLOT_BIT(X_RCX) | SLOT_BIT(X_SYS) } }, { { SLOT_BIT(X_SYS) } });
