/* SPDX-License-Identifier: GPL-2.0-or-later
 * What CPUID says under KVM: the CPU model, and never more than the host's KVM can run. */
#include "accel/kvm/kvm_int.h"

#include <errno.h>
#include <string.h>
#include "util/error.h"

enum { N_CPUID = 256 };

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *all, uint32_t leaf, uint32_t sub)
{
    for (unsigned i = 0; i < all->nent; i++)
        if (all->entries[i].function == leaf &&
            (!(all->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || all->entries[i].index == sub))
            return &all->entries[i];
    return NULL;
}

static uint32_t supported(const Kvm *k, uint32_t leaf, uint32_t sub, unsigned reg)
{
    const struct kvm_cpuid_entry2 *e = find(k->supported, leaf, sub);
    return !e ? 0 : reg == 0 ? e->eax : reg == 1 ? e->ebx : reg == 2 ? e->ecx : e->edx;
}

/* Not for guests, whatever the host has: virtualisation inside the guest, waiting on memory, state that X86Cpu does not
 * hold, what the operating system sets. */
static const uint8_t never[] = { X86F_VMX, X86F_SVM, X86F_MONITOR, X86F_PKU, X86F_XSAVEC, X86F_XSAVES, X86F_OSXSAVE };
/* What only a local APIC inside the kernel gives; it does not always list the latter. */
static const uint8_t with_lapic[] = { X86F_X2APIC, X86F_TSC_DEADLINE };
/* The kernel does these whether it lists them or not. */
static const uint8_t always[] = { X86F_HYPERVISOR, X86F_INVTSC, X86F_APIC };

static void host_feature(Kvm *k, unsigned f, bool on)
{
    uint64_t bit = UINT64_C(1) << f % 64;
    k->host.has[f / 64] = on ? k->host.has[f / 64] | bit : k->host.has[f / 64] & ~bit;
}

static void host_name(Kvm *k)
{
    const struct kvm_cpuid_entry2 *e = find(k->supported, 0, 0);
    if (e) {
        memcpy(k->vendor, &e->ebx, 4);
        memcpy(k->vendor + 4, &e->edx, 4);
        memcpy(k->vendor + 8, &e->ecx, 4);
    }
    for (unsigned i = 0; i < 3; i++)
        if ((e = find(k->supported, 0x80000002 + i, 0)))
            memcpy(k->brand + 16 * i, &e->eax, 16);
}

static void host_model(Kvm *k)
{
    X86Model *h = &k->host;
    uint32_t sig = supported(k, 1, 0, 0), sizes = supported(k, 0x80000008, 0, 0);
    host_name(k);
    h->name = "host";
    h->vendor = k->vendor;
    h->brand = k->brand;
    h->family = (sig >> 8 & 15) + ((sig >> 8 & 15) == 15 ? sig >> 20 & 0xff : 0);
    h->model = (sig >> 4 & 15) | (sig >> 12 & 0xf0);
    h->stepping = sig & 15;
    h->level = 0xd;
    h->xlevel = MIN(MAX(supported(k, 0x80000000, 0, 0), 0x80000008u), 0x80000021u);
    h->phys_bits = sizes & 0xff ? sizes & 0xff : 36;
    h->virt_bits = sizes >> 8 & 0xff ? sizes >> 8 & 0xff : 48;
    for (unsigned f = 1; f < X86F_N; f++) {
        const X86Feature *row = x86_feature(f);
        host_feature(k, f, row->have != FEAT_NO && supported(k, row->leaf, row->sub, row->reg) >> row->bit & 1);
    }
    for (unsigned i = 0; i < sizeof never; i++)
        host_feature(k, never[i], false);
    for (unsigned i = 0; i < sizeof always; i++)
        host_feature(k, always[i], true);
    for (unsigned i = 0; i < sizeof with_lapic; i++)
        host_feature(k, with_lapic[i], k->chips != KVM_CHIPS_OFF);
}

bool kvm_cpuid_open(Kvm *k, GError **err)
{
    k->supported = g_malloc0(sizeof *k->supported + N_CPUID * sizeof k->supported->entries[0]);
    k->supported->nent = N_CPUID;
    int e = kvm_ioctl(k->dev_fd, KVM_GET_SUPPORTED_CPUID, k->supported);
    if (e < 0)
        return fail_errno(err, -e, "the kernel does not say which CPU features it can run");
    host_model(k);
    return true;
}

/* --- one vCPU */

static void add(struct kvm_cpuid2 *to, uint32_t leaf, uint32_t sub, uint32_t flags, const uint32_t r[4])
{
    if (to->nent < N_CPUID)
        to->entries[to->nent++] = (struct kvm_cpuid_entry2){
            .function = leaf, .index = sub, .flags = flags, .eax = r[0], .ebx = r[1], .ecx = r[2], .edx = r[3] };
}

/* Leaves that have others below them, and whether this one, which CPUID answers so, is one more or past the last. */
static bool has_subleaves(uint32_t leaf)
{
    return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f || leaf == 0x8000001d;
}

static bool subleaf_is_last(uint32_t leaf, uint32_t sub, const uint32_t r[4], uint32_t first_eax)
{
    switch (leaf) {
    case 4:
    case 0x8000001d:
        return !(r[0] & 0x1f);                          /* no more caches */
    case 7:
        return sub >= first_eax;
    case 0xb:
    case 0x1f:
        return !(r[2] & 0xff00);                        /* no such level */
    default:
        return sub == 31;
    }
}

static void add_range(KvmVcpu *v, struct kvm_cpuid2 *to, uint32_t first, uint32_t last)
{
    for (uint32_t leaf = first; leaf <= last; leaf++) {
        bool more = has_subleaves(leaf);
        uint32_t first_eax = 0;
        for (uint32_t sub = 0; sub == 0 || more; sub++) {
            uint32_t r[4];
            x86_cpuid(v->cpu, leaf, sub, r);
            if (leaf == 1)              /* the kernel takes this out and puts it in as the APIC goes off and on */
                r[3] |= 1u << 9;
            if (sub == 0)
                first_eax = r[0];
            bool empty = leaf == 0xd && sub > 1 && !(r[0] | r[1] | r[2] | r[3]);
            if (!empty)
                add(to, leaf, sub, more ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0, r);
            more = more && !subleaf_is_last(leaf, sub, r, first_eax);
        }
    }
}

/* The kernel's own leaves (Documentation/virt/kvm/x86/cpuid.rst): the paravirtual clock, its stability, and that port
 * accesses need no delay after them; with local APICs of the kernel, interrupts that need fewer exits, and what tells of
 * vCPUs that wait. */
static void add_paravirtual(KvmVcpu *v, struct kvm_cpuid2 *to)
{
    enum { CLOCKSOURCE = 1 << 0, NOP_IO_DELAY = 1 << 1, CLOCKSOURCE2 = 1 << 3, CLOCKSOURCE_STABLE = 1 << 24 };
    enum { STEAL_TIME = 1 << 5, PV_EOI = 1 << 6, UNHALT = 1 << 7, TLB_FLUSH = 1 << 9, SEND_IPI = 1 << 11,
           SCHED_YIELD = 1 << 13 };
    uint32_t allowed = CLOCKSOURCE | NOP_IO_DELAY | CLOCKSOURCE2 | CLOCKSOURCE_STABLE;
    if (v->kvm->chips != KVM_CHIPS_OFF)
        allowed |= STEAL_TIME | PV_EOI | UNHALT | TLB_FLUSH | SEND_IPI | SCHED_YIELD;
    uint32_t features = supported(v->kvm, 0x40000001, 0, 0) & allowed;
    uint32_t name[4] = { 0x40000010 }, what[4] = { features }, hz[4] = { v->tsc_khz, 1000000 };
    memcpy(name + 1, "KVMKVMKVM\0\0\0", 12);
    add(to, 0x40000000, 0, 0, name);
    add(to, 0x40000001, 0, 0, what);
    add(to, 0x40000010, 0, 0, hz);
}

bool kvm_cpuid_set(KvmVcpu *v, GError **err)
{
    g_autofree struct kvm_cpuid2 *to = g_malloc0(sizeof *to + N_CPUID * sizeof to->entries[0]);
    const X86Model *m = v->cpu->model;
    add_range(v, to, 0, m->level);
    add_range(v, to, 0x80000000, m->xlevel);
    if (x86_has(v->cpu, X86F_HYPERVISOR))
        add_paravirtual(v, to);
    int e = kvm_ioctl(v->fd, KVM_SET_CPUID2, to);
    return e == 0 || fail_errno(err, -e, "the kernel refuses the CPU model %s", m->name);
}
