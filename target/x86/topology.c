/* SPDX-License-Identifier: GPL-2.0-or-later
 * Where a CPU stands among the others, as CPUID tells it.  Sources: SDM vol. 2, CPUID leaves 1, 4, 0Bh, 1Fh; APM vol. 3,
 * appendix E.3 and E.4, leaves 8000_0008h, 8000_001Eh.
 *
 * An APIC id is thread, core, die and package, from the lowest bits up, each in as many bits as its count needs. */
#include "target/x86/sys.h"

static unsigned width(unsigned n) { return n > 1 ? 32 - __builtin_clz(n - 1) : 0; }

/* All zero is one of each. */
static unsigned n_threads(const X86Topology *t) { return MAX(t->threads, 1u); }
static unsigned n_cores(const X86Topology *t) { return MAX(t->cores, 1u); }
static unsigned n_dies(const X86Topology *t) { return MAX(t->dies, 1u); }

static unsigned core_shift(const X86Topology *t) { return width(n_threads(t)); }
static unsigned die_shift(const X86Topology *t) { return core_shift(t) + width(n_cores(t)); }
static unsigned package_shift(const X86Topology *t) { return die_shift(t) + width(n_dies(t)); }
static unsigned per_package(const X86Topology *t) { return n_threads(t) * n_cores(t) * n_dies(t); }

uint32_t x86_apic_id(const X86Topology *t, unsigned index)
{
    unsigned thread = index % n_threads(t), core = index / n_threads(t) % n_cores(t);
    unsigned die = index / (n_threads(t) * n_cores(t)) % n_dies(t), package = index / per_package(t);
    return package << package_shift(t) | die << die_shift(t) | core << core_shift(t) | thread;
}

/* Leaf 0Bh: thread and core (all that is below the package: it knows no dies).  Leaf 1Fh: thread, core, die. */
static void levels(const X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    enum { INVALID, SMT, CORE, DIE = 5 };
    const X86Topology *t = &c->topology;
    bool dies = leaf == 0x1f;
    out[2] = sub & 0xff;
    out[3] = c->apic_id;
    if (sub == 0) {
        out[0] = core_shift(t);
        out[1] = n_threads(t);
        out[2] |= SMT << 8;
    } else if (sub == 1) {
        out[0] = dies ? die_shift(t) : package_shift(t);
        out[1] = dies ? n_threads(t) * n_cores(t) : per_package(t);
        out[2] |= CORE << 8;
    } else if (sub == 2 && dies) {
        out[0] = package_shift(t);
        out[1] = per_package(t);
        out[2] |= DIE << 8;
    }
}

void x86_topology_leaf(const X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
    const X86Topology *t = &c->topology;
    unsigned n = per_package(t);
    switch (leaf) {
    case 1:
        out[1] |= c->apic_id << 24;
        if (n > 1) {
            out[1] |= 1u << package_shift(t) << 16; /* room for ids in a package */
            out[3] |= 1u << 28;                     /* HTT */
        }
        break;
    case 4:
    case 0x8000001d:                                /* a cache: how many share it, cores in the package */
        if (!(out[0] & 31))
            break;
        out[0] &= 0x3fff;
        out[0] |= (((out[0] >> 5 & 7) >= 3 ? 1u << die_shift(t) : 1u << core_shift(t)) - 1) << 14;
        if (leaf == 4)
            out[0] |= MIN((1u << (package_shift(t) - core_shift(t))) - 1, 63u) << 26;
        break;
    case 0xb:
    case 0x1f:
        levels(c, leaf, sub, out);
        break;
    case 0x80000001:
        if (n > 1 && !c->model->intel)
            out[2] |= 1u << 1;                      /* CmpLegacy: HTT means cores */
        break;
    case 0x80000008:
        if (!c->model->intel)
            out[2] |= (n - 1) | package_shift(t) << 12;
        break;
    case 0x8000001e:
        if (!x86_has(c, X86F_TOPOEXT))
            break;
        out[0] = c->apic_id;
        out[1] = (n_threads(t) - 1) << 8 | (c->apic_id >> core_shift(t) & ((1u << (package_shift(t) - core_shift(t))) - 1));
        out[2] = (n_dies(t) - 1) << 8 | c->apic_id >> die_shift(t);
        break;
    }
}
