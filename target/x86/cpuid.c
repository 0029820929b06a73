/* SPDX-License-Identifier: GPL-2.0-or-later
 * What CPUID says.  Sources: SDM vol. 2, CPUID; APM vol. 3, appendix E.  Bits of features come from features.def, the rest
 * from the model (models.c) and here. */
#include <string.h>

#include "target/x86/sys.h"

static uint32_t signature(const X86Model *m)
{
    uint32_t fam = MIN(m->family, 15u), ext = m->family - fam;
    return ext << 20 | (m->model >> 4) << 16 | fam << 8 | (m->model & 15) << 4 | m->stepping;
}

static uint32_t word(const char *s) { uint32_t v; memcpy(&v, s, 4); return v; }

static void vendor(const X86Model *m, uint32_t max, uint32_t out[4])
{
    out[0] = max;
    out[1] = word(m->vendor);
    out[3] = word(m->vendor + 4);
    out[2] = word(m->vendor + 8);
}

/* The hypervisor's own leaves: a signature, and at +10h the frequencies in kHz, in the place where VMware
 * has them. */
static void hypervisor_leaf(uint32_t leaf, uint32_t out[4])
{
    if (leaf == 0x40000000) {
        out[0] = 0x40000010;
        out[1] = out[2] = out[3] = word("Rhea");
    } else if (leaf == 0x40000010) {
        out[0] = X86_TSC_HZ / 1000;
        out[1] = 1000000;
    }
}

static bool apic_on(X86Cpu *c)
{
    uint64_t base;
    return c->port.intc && c->port.intc->msr_read(c->port.intc_self, 0x1b, &base) && (base >> 11 & 1);
}

/* The state that XSAVE keeps, by number; SDM vol. 1, 13.4.  Its first two live in the legacy area. */
const X86Component x86_components[X86_COMPONENTS] = {
    [0] = { X86F_XSAVE, 0, 0 },
    [1] = { X86F_XSAVE, 0, 0 },
    [2] = { X86F_AVX, 576, 256 },
    [9] = { X86F_PKU, 2688, 8 },
};

uint64_t x86_xcr0_allowed(const X86Cpu *c)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < X86_COMPONENTS; i++)
        if (x86_components[i].feature && x86_has(c, x86_components[i].feature))
            all |= UINT64_C(1) << i;
    return x86_has(c, X86F_XSAVE) ? all : 0;
}

uint32_t x86_xsave_size(uint64_t components, bool compact)
{
    uint32_t n = 512 + 64;
    for (unsigned i = 2; i < X86_COMPONENTS; i++)
        if (components >> i & 1)
            n = compact ? n + x86_components[i].size : MAX(n, (uint32_t)x86_components[i].at + x86_components[i].size);
    return n;
}

static void xsave_leaf(const X86Cpu *c, uint32_t sub, uint32_t out[4])
{
    uint64_t all = x86_xcr0_allowed(c);
    if (!all) {
        out[0] = out[1] = out[2] = out[3] = 0;
    } else if (sub == 0) {
        out[0] = all;
        out[1] = x86_xsave_size(c->xcr0, false);
        out[2] = x86_xsave_size(all, false);
    } else if (sub == 1) {              /* bits come with the features; EBX is what XSAVES would need now */
        if (out[0] & 0xa)
            out[1] = x86_xsave_size(c->xcr0 | c->xss, true);
    } else if (sub < X86_COMPONENTS && all >> sub & 1) {
        out[0] = x86_components[sub].size;
        out[1] = x86_components[sub].at;
    }
}

static void brand_leaf(const X86Model *m, uint32_t leaf, uint32_t out[4])
{
    char brand[48] = { 0 };
    memcpy(brand, m->brand, strlen(m->brand));
    for (unsigned i = 0; i < 4; i++)
        out[i] = word(brand + (leaf - 0x80000002) * 16 + 4 * i);
}

static void copy_leaf(const uint32_t from[4], uint32_t out[4]) { memcpy(out, from, 4 * sizeof *out); }

/* Deterministic cache parameters; who shares them is for x86_topology_leaf() to say. */
static void cache_leaf(const X86Model *m, uint32_t sub, uint32_t out[4])
{
    if (sub < G_N_ELEMENTS(m->caches->cache))
        copy_leaf(m->caches->cache[sub], out);
}

static void standard_leaf(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const X86Model *m = c->model;
    bool caches = m->caches && m->caches->descriptors[0];
    switch (leaf) {
    case 0: vendor(m, m->level, out); break;
    case 1:
        out[0] = signature(m);
        out[1] = 8 << 8;                /* CLFLUSH 64 bytes */
        if (c->cr4 & CR4_OSXSAVE)
            out[2] |= 1u << 27;
        if (!apic_on(c))
            out[3] &= ~(1u << 9);
        break;
    case 2:
        if (caches)
            copy_leaf(m->caches->descriptors, out);
        break;
    case 4:
        if (caches)
            cache_leaf(m, sub, out);
        break;
    case 5: out[2] = 3; break;          /* MONITOR: line sizes unknown; interrupts end MWAIT even if off */
    case 7:
        if (!sub && (c->cr4 & CR4_PKE))
            out[2] |= 1u << 4;          /* OSPKE */
        for (unsigned f = 1; !sub && f < X86F_N; f++)           /* EAX: the last subleaf */
            if (x86_feature(f)->leaf == 7 && x86_has(c, f))
                out[0] = MAX(out[0], x86_feature(f)->sub);
        break;
    case 0xd: xsave_leaf(c, sub, out); break;
    }
}

static void extended_leaf(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const X86Model *m = c->model;
    switch (leaf) {
    case 0x80000000:
        if (m->intel)
            out[0] = m->xlevel;
        else
            vendor(m, m->xlevel, out);
        break;
    case 0x80000001:
        out[0] = signature(m);
        if (m->intel && !x86_code64(c))
            out[3] &= ~(1u << 11);      /* SYSCALL is for 64-bit code there, and so is its bit */
        for (unsigned f = 1; !m->intel && f < X86F_N; f++)      /* AMD repeats the low bits of leaf 1 here */
            if (x86_feature(f)->leaf == 1 && x86_feature(f)->reg == 3 && x86_has(c, f))
                out[3] |= UINT32_C(1) << x86_feature(f)->bit & 0x0183f3ff;
        break;
    case 0x80000002: case 0x80000003: case 0x80000004: brand_leaf(m, leaf, out); break;
    case 0x80000005:
        if (m->caches)
            copy_leaf(m->caches->l1, out);
        break;
    case 0x80000006:
        if (m->caches)
            copy_leaf(m->caches->l2, out);
        break;
    case 0x80000008: out[0] = m->virt_bits << 8 | m->phys_bits; break;
    case 0x8000001d:
        if (x86_has(c, X86F_TOPOEXT) && m->caches)
            cache_leaf(m, sub, out);
        break;
    }
}

/* Beyond the last leaf AMD's processors say nothing and Intel's repeat their last standard leaf (SDM vol. 2, CPUID). */
static bool beyond(const X86Model *m, uint32_t *leaf)
{
    if (*leaf >> 31 ? *leaf <= m->xlevel : *leaf <= m->level)
        return false;
    if (!m->intel)
        return true;
    *leaf = m->level;
    return false;
}

void x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    memset(out, 0, 4 * sizeof *out);
    if (leaf >> 28 == 4 && x86_has(c, X86F_HYPERVISOR)) {
        hypervisor_leaf(leaf, out);
        return;
    }
    if (beyond(c->model, &leaf))
        return;
    for (unsigned f = 1; f < X86F_N; f++) {
        const X86Feature *row = x86_feature(f);
        if (row->leaf == leaf && x86_has(c, f) && (row->sub == sub || (leaf != 7 && leaf != 0xd)))
            out[row->reg] |= UINT32_C(1) << row->bit;
    }
    if (leaf >> 31)
        extended_leaf(c, leaf, sub, out);
    else
        standard_leaf(c, leaf, sub, out);
    x86_topology_leaf(c, leaf, sub, out);
}
