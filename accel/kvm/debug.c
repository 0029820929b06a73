/* SPDX-License-Identifier: GPL-2.0-or-later
 * Debugging the guest: int3 in its memory for software breakpoints, the debug registers for hardware breakpoints and
 * watchpoints, single step (API, "KVM_SET_GUEST_DEBUG"; SDM vol. 3, chapter 18). */
#include "accel/kvm/kvm_int.h"

#include <errno.h>
#include <string.h>
#include "accel/debug.h"
#include "util/error.h"
#include "util/log.h"

enum { INT3 = 0xcc, N_DR = 4, DR6_STEP = 1 << 14 };

/* --- software breakpoints */

static KvmPatch *patch_at(Kvm *k, unsigned i) { return &g_array_index(k->patches, KvmPatch, i); }

static uint8_t *ram_byte(Accel *a, uint64_t pa)
{
    MemSection sec;
    return space_lookup(a->m.mem, pa, &sec) && sec.host ? sec.host : NULL;
}

static void poke(Accel *a, uint64_t pa, uint8_t byte)
{
    MemSection sec;
    if (!space_lookup(a->m.mem, pa, &sec) || !sec.host)
        return;
    *sec.host = byte;
    ram_written(a->m.ram, sec.ram_page, (uintptr_t)sec.host % RAM_PAGE_SIZE, 1);
}

static bool insert_soft(Kvm *k, uint64_t va, GError **err)
{
    KvmPatch p = { .va = va };
    bool mapped = false;
    for (unsigned i = 0; i < k->a.vcpus->len && !mapped; i++)
        mapped = vcpu_debug_translate(k->a.vcpus->pdata[i], va, &p.pa, NULL);
    const uint8_t *at = mapped ? ram_byte(&k->a, p.pa) : NULL;
    if (!at)
        return fail(err, "there is no memory at %#" G_GINT64_MODIFIER "x to put a breakpoint into; a hardware breakpoint needs none",
                    (guint64)va);
    p.byte = *at;
    for (unsigned i = 0; i < k->patches->len; i++)      /* the same byte by another address */
        if (patch_at(k, i)->pa == p.pa)
            p.byte = patch_at(k, i)->byte;
    g_array_append_val(k->patches, p);
    poke(&k->a, p.pa, INT3);
    return true;
}

static void remove_soft(Kvm *k, uint64_t va)
{
    for (unsigned i = 0; i < k->patches->len; i++) {
        KvmPatch p = *patch_at(k, i);
        if (p.va != va)
            continue;
        g_array_remove_index_fast(k->patches, i);
        bool other = false;
        for (unsigned n = 0; n < k->patches->len; n++)
            other |= patch_at(k, n)->pa == p.pa;
        const uint8_t *at = ram_byte(&k->a, p.pa);
        if (!other && at && *at == INT3)                /* else the guest has written something new there */
            poke(&k->a, p.pa, p.byte);
        return;
    }
}

static void debug_unmask(Accel *a, uint64_t pa, uint8_t *buf, size_t len)
{
    Kvm *k = (Kvm *)a;
    for (unsigned i = 0; i < k->patches->len; i++) {
        const KvmPatch *p = patch_at(k, i);
        if (p->pa - pa < len && buf[p->pa - pa] == INT3)
            buf[p->pa - pa] = p->byte;
    }
}

static void debug_written(Accel *a, uint64_t pa, const uint8_t *buf, size_t len)
{
    Kvm *k = (Kvm *)a;
    for (unsigned i = 0; i < k->patches->len; i++) {
        KvmPatch *p = patch_at(k, i);
        if (p->pa - pa >= len)
            continue;
        p->byte = buf[p->pa - pa];
        poke(a, p->pa, INT3);
    }
}

/* --- debug registers */

static bool in_registers(const DebugPoint *p) { return p->kind != DEBUG_SW_BREAK; }

static bool debug_insert(Accel *a, const DebugPoint *p, GError **err)
{
    Kvm *k = (Kvm *)a;
    unsigned n, used = 0;
    const DebugPoint *all = accel_debug_points(a, &n);
    if (p->kind == DEBUG_SW_BREAK)
        return insert_soft(k, p->va, err);
    if (p->kind == DEBUG_WATCH_READ)
        return fail(err, "the processor has no watchpoints on reads alone; one on any access stops at reads too");
    if (p->len > 8 || p->len & (p->len - 1) || p->va & (p->len - 1))
        return fail(err, "a debug register watches 1, 2, 4 or 8 bytes at an address that is a multiple of it");
    for (unsigned i = 0; i < n; i++)
        used += in_registers(&all[i]);
    return used < N_DR || fail(err, "all %d debug registers are in use", N_DR);
}

static void debug_remove(Accel *a, const DebugPoint *p)
{
    if (p->kind == DEBUG_SW_BREAK)
        remove_soft((Kvm *)a, p->va);
}

const AccelDebug kvm_debug = { debug_insert, debug_remove, debug_unmask, debug_written };

/* Which point register n holds: those of the list, in its order. */
static const DebugPoint *point_of(Accel *a, unsigned n)
{
    unsigned count;
    const DebugPoint *all = accel_debug_points(a, &count);
    for (unsigned i = 0; i < count; i++)
        if (in_registers(&all[i]) && n-- == 0)
            return &all[i];
    return NULL;
}

/* DR7: enable bits, then four bits for each: condition (0 execute, 1 write, 3 any access) and length. */
static uint64_t dr7_of(const DebugPoint *p, unsigned n)
{
    static const uint8_t lengths[9] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };
    unsigned condition = p->kind == DEBUG_HW_BREAK ? 0 : p->kind == DEBUG_WATCH_WRITE ? 1 : 3;
    unsigned len = p->kind == DEBUG_HW_BREAK ? 0 : lengths[p->len];
    return UINT64_C(2) << 2 * n | (uint64_t)(condition | len << 2) << (16 + 4 * n);
}

/* Before the vCPU is let go: what changed since the last time is told to the kernel. */
int kvm_debug_put(KvmVcpu *v)
{
    struct kvm_guest_debug d = { 0 };
    const DebugPoint *p;
    if (v->kvm->patches->len)
        d.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    for (unsigned n = 0; n < N_DR && (p = point_of(&v->kvm->a, n)); n++) {
        d.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        d.arch.debugreg[n] = p->va;
        d.arch.debugreg[7] |= dr7_of(p, n);
    }
    if (v->v.debug.step)
        d.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | (v->kvm->debug_flags & KVM_GUESTDBG_BLOCKIRQ);
    if (!memcmp(&d, &v->debug, sizeof d))
        return 0;
    v->debug = d;
    return kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d);
}

/* The guest's own: it gets the exception that it would have had. */
static void give_back(KvmVcpu *v, unsigned vector, uint64_t dr6)
{
    if (kvm_state_get(v) < 0)
        return;
    v->cpu->exc_pending = true;
    v->cpu->exc_noncanonical = false;
    v->cpu->exc_vector = vector;
    v->cpu->exc_error = 0;
    if (vector == EXC_DB)
        v->cpu->dr[6] = (v->cpu->dr[6] & ~UINT64_C(0xf)) | dr6;
}

void kvm_debug_exit(KvmVcpu *v)
{
    const struct kvm_debug_exit_arch *d = &v->run->debug.arch;
    if (d->exception == EXC_BP) {
        const DebugPoint *p = accel_debug_break_at(&v->kvm->a, d->pc);
        if (p)
            vcpu_debug_stop(&v->v, DEBUG_POINT, p, d->pc);
        else
            give_back(v, EXC_BP, 0);
        return;
    }
    for (unsigned n = 0; n < N_DR; n++) {
        const DebugPoint *p = d->dr6 >> n & 1 ? point_of(&v->kvm->a, n) : NULL;
        if (p) {
            vcpu_debug_stop(&v->v, DEBUG_POINT, p, p->va);
            return;
        }
    }
    if (v->v.debug.step)
        vcpu_debug_stop(&v->v, DEBUG_STEPPED, NULL, d->pc);
    else
        give_back(v, EXC_DB, d->dr6);
}

/* A KVM whose instruction emulator does not know int3: where it gives up is a breakpoint as well. */
bool kvm_debug_at_break(KvmVcpu *v)
{
    if (!v->kvm->patches->len || (v->in_kernel && kvm_state_get(v) < 0))
        return false;
    uint64_t pc = v->v.target->code_va(&v->cpu->s, v->cpu->s.hot[16]);
    const DebugPoint *p = accel_debug_break_at(&v->kvm->a, pc);
    if (p && p->kind == DEBUG_SW_BREAK)
        vcpu_debug_stop(&v->v, DEBUG_POINT, p, pc);
    return p && p->kind == DEBUG_SW_BREAK;
}
