/* SPDX-License-Identifier: GPL-2.0-or-later
 * A vCPU's registers: X86Cpu to the kernel and back.  While the machine stands, X86Cpu holds them in the form that every
 * accelerator uses; while it runs, the kernel does. */
#include "accel/kvm/kvm_int.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "util/log.h"

/* --- model-specific registers that are plain members.  TSC and APIC base have their own ways. */

#define AT(m) offsetof(X86Cpu, m)
static const struct { uint32_t first, n; uint16_t at; } msr_rows[] = {
    { 0x0000003b, 1, AT(tsc_adjust) },
    { 0x00000048, 1, AT(spec_ctrl) },
    { 0x00000174, 1, AT(sysenter_cs) },
    { 0x00000175, 1, AT(sysenter_esp) },
    { 0x00000176, 1, AT(sysenter_eip) },
    { 0x0000017a, 1, AT(mcg_status) },
    { 0x000001a0, 1, AT(misc_enable) },
    { 0x000001d9, 1, AT(debugctl) },
    { 0x00000200, 16, AT(mtrr_var) },
    { 0x00000250, 1, AT(mtrr_fixed[0]) },
    { 0x00000258, 2, AT(mtrr_fixed[1]) },
    { 0x00000268, 8, AT(mtrr_fixed[3]) },
    { 0x00000277, 1, AT(pat) },
    { 0x000002ff, 1, AT(mtrr_def) },
    { 0x00000da0, 1, AT(xss) },
    { 0x4b564d00, N_PV_MSRS, AT(pv_msr) },
    { 0xc0000081, 1, AT(star) },
    { 0xc0000082, 1, AT(lstar) },
    { 0xc0000083, 1, AT(cstar) },
    { 0xc0000084, 1, AT(sfmask) },
    { 0xc0000102, 1, AT(kernel_gs_base) },
    { 0xc0000103, 1, AT(tsc_aux) },
};
enum { MSR_TSC = 0x10, MSR_TSC_DEADLINE = 0x6e0, MSRS_MAX = 72 };

typedef union MsrBatch {
    struct kvm_msrs h;
    uint8_t space[sizeof(struct kvm_msrs) + MSRS_MAX * sizeof(struct kvm_msr_entry)];
} MsrBatch;

static bool msr_get(KvmVcpu *v, uint32_t index, uint64_t *value)
{
    MsrBatch b = { .h.nmsrs = 1 };
    b.h.entries[0].index = index;
    if (kvm_ioctl(v->fd, KVM_GET_MSRS, &b) != 1)
        return false;
    *value = b.h.entries[0].data;
    return true;
}

static bool msr_set(KvmVcpu *v, uint32_t index, uint64_t value)
{
    MsrBatch b = { .h.nmsrs = 1 };
    b.h.entries[0].index = index;
    b.h.entries[0].data = value;
    return kvm_ioctl(v->fd, KVM_SET_MSRS, &b) == 1;
}

/* Which of them there are depends on the kernel, the host and the CPU model: a register that can be read is there. */
void kvm_msrs_find(KvmVcpu *v)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(msr_rows); i++) {
        for (unsigned n = 0; n < msr_rows[i].n; n++) {
            KvmMsr m = { msr_rows[i].first + n, msr_rows[i].at + 8 * n };
            if (msr_get(v, m.index, &m.last))
                g_array_append_val(v->msrs, m);
        }
    }
}

static uint64_t *msr_member(KvmVcpu *v, const KvmMsr *m) { return (uint64_t *)((char *)v->cpu + m->at); }

/* Those that changed: the kernel complains in its log of some even where they are 0 as before. */
static void put_msrs(KvmVcpu *v)
{
    for (unsigned done = 0; done < v->msrs->len;) {
        MsrBatch b = { .h.nmsrs = 0 };
        unsigned from[MSRS_MAX], i = done;
        for (; i < v->msrs->len; i++) {
            KvmMsr *m = &g_array_index(v->msrs, KvmMsr, i);
            uint64_t value = *msr_member(v, m);
            if (value == m->last)
                continue;
            m->last = value;
            from[b.h.nmsrs] = i;
            b.h.entries[b.h.nmsrs].index = m->index;
            b.h.entries[b.h.nmsrs++].data = value;
        }
        int n = b.h.nmsrs ? kvm_ioctl(v->fd, KVM_SET_MSRS, &b) : 0;
        done = i;
        if (n < 0)
            n = 0;
        if (n < (int)b.h.nmsrs) {       /* the kernel stops at the first that it refuses: go on behind it */
            trace(LOG_UNIMP, "kvm: MSR %#x does not take %#" G_GINT64_MODIFIER "x\n", b.h.entries[n].index,
                  (guint64)b.h.entries[n].data);
            done = from[n] + 1;
            for (unsigned k = n + 1; k < b.h.nmsrs; k++)        /* these were not looked at */
                g_array_index(v->msrs, KvmMsr, from[k]).last = ~b.h.entries[k].data;
        }
    }
}

static int get_msrs(KvmVcpu *v)
{
    MsrBatch b = { .h.nmsrs = v->msrs->len };
    for (unsigned i = 0; i < v->msrs->len; i++)
        b.h.entries[i].index = g_array_index(v->msrs, KvmMsr, i).index;
    int n = kvm_ioctl(v->fd, KVM_GET_MSRS, &b);
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        KvmMsr *m = &g_array_index(v->msrs, KvmMsr, i);
        *msr_member(v, m) = m->last = b.h.entries[i].data;
    }
    return n == (int)v->msrs->len ? 0 : -EIO;
}

/* --- segments */

static struct kvm_segment segment(X86Cpu *c, unsigned i)
{
    const X86Seg *g = &c->seg[i];
    return (struct kvm_segment){
        .base = i < N_SEGS ? *x86_seg_base(c, i) : g->base, .limit = g->limit, .selector = g->sel,
        .type = g->attr >> 8 & 15, .s = !!(g->attr & SEG_S), .dpl = g->attr >> SEG_DPL_SHIFT & 3,
        .present = !!(g->attr & SEG_P), .avl = g->attr >> 20 & 1, .l = !!(g->attr & SEG_L), .db = !!(g->attr & SEG_DB),
        .g = !!(g->attr & SEG_G), .unusable = !(g->attr & SEG_P),
    };
}

static void take_segment(X86Cpu *c, unsigned i, const struct kvm_segment *k)
{
    X86Seg *g = &c->seg[i];
    g->sel = k->selector;
    g->limit = k->limit;
    g->attr = (k->type & 15u) << 8 | (k->s ? SEG_S : 0) | (k->dpl & 3u) << SEG_DPL_SHIFT | (k->avl ? 1u << 20 : 0) |
              (k->l ? SEG_L : 0) | (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0) | (k->present && !k->unusable ? SEG_P : 0);
    if (i < N_SEGS)
        *x86_seg_base(c, i) = k->base;
    else
        g->base = k->base;
}

static struct kvm_segment *sregs_seg(struct kvm_sregs *s, unsigned i)
{
    struct kvm_segment *by_number[N_SEG_REGS] = { &s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs, &s->ldt, &s->tr };
    return by_number[i];
}

static int put_sregs(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    const CpuIntc *intc = c->port.intc;
    struct kvm_sregs s = { 0 };
    int e = kvm_ioctl(v->fd, KVM_GET_SREGS, &s);
    if (e < 0)
        return e;
    for (unsigned i = 0; i < N_SEG_REGS; i++)
        *sregs_seg(&s, i) = segment(c, i);
    s.ss.dpl = c->cpl;                  /* the kernel reads the privilege there, also of a null SS */
    s.gdt = (struct kvm_dtable){ .base = c->gdt.base, .limit = c->gdt.limit };
    s.idt = (struct kvm_dtable){ .base = c->idt.base, .limit = c->idt.limit };
    s.cr0 = c->cr0;
    s.cr2 = c->exc_pending && c->exc_vector == EXC_PF ? c->exc_cr2 : c->cr2;
    s.cr3 = c->cr3;
    s.cr4 = c->cr4;
    s.efer = c->efer;
    memset(s.interrupt_bitmap, 0, sizeof s.interrupt_bitmap);
    if (v->lapic && v->lapic->lent) {
        s.apic_base = v->lapic_regs.base;
        s.cr8 = v->lapic_regs.reg[8] >> 4 & 15;     /* of TPR */
    } else if (intc) {
        uint64_t base;
        s.cr8 = intc->get_cr8(c->port.intc_self);
        if (intc->msr_read(c->port.intc_self, 0x1b, &base))
            s.apic_base = base;
    }
    v->apic_base = s.apic_base;
    return kvm_ioctl(v->fd, KVM_SET_SREGS, &s);
}

/* Legacy PAE keeps its four pointers in registers; the kernel reads them again when they are set. */
static void take_pdptes(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    if (!(c->cr0 & CR0_PG) || !(c->cr4 & CR4_PAE) || (c->efer & EFER_LMA))
        return;
    for (unsigned i = 0; i < 4; i++)
        c->pdpte[i] = space_load(v->kvm->a.m.mem, (c->cr3 & 0xffffffe0) + 8 * i, 8, NULL);
}

static int get_sregs(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    struct kvm_sregs s;
    int e = kvm_ioctl(v->fd, KVM_GET_SREGS, &s);
    if (e < 0)
        return e;
    for (unsigned i = 0; i < N_SEG_REGS; i++)
        take_segment(c, i, sregs_seg(&s, i));
    c->cpl = s.ss.dpl;
    c->gdt = (X86Table){ s.gdt.base, s.gdt.limit };
    c->idt = (X86Table){ s.idt.base, s.idt.limit };
    c->cr0 = s.cr0;
    c->cr2 = s.cr2;
    c->cr3 = s.cr3;
    c->cr4 = s.cr4;
    c->efer = s.efer;
    v->lapic_regs.base = s.apic_base;
    take_pdptes(v);
    return 0;
}

/* --- general registers */

static __u64 *regs_gpr(struct kvm_regs *r, unsigned i)
{
    __u64 *by_number[16] = { &r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
                             &r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15 };
    return by_number[i];
}

static int put_regs(KvmVcpu *v)
{
    struct kvm_regs r = { .rip = v->cpu->s.hot[16], .rflags = x86_eflags(v->cpu) };
    for (unsigned i = 0; i < 16; i++)
        *regs_gpr(&r, i) = v->cpu->s.hot[i];
    return kvm_ioctl(v->fd, KVM_SET_REGS, &r);
}

static int get_regs(KvmVcpu *v)
{
    struct kvm_regs r;
    int e = kvm_ioctl(v->fd, KVM_GET_REGS, &r);
    if (e < 0)
        return e;
    for (unsigned i = 0; i < 16; i++)
        v->cpu->s.hot[i] = *regs_gpr(&r, i);
    v->cpu->s.hot[16] = r.rip;
    x86_set_eflags(v->cpu, r.rflags, ~UINT64_C(0));
    return 0;
}

/* --- x87, SSE, AVX: the standard format of XSAVE (SDM vol. 1, 13.4) */

typedef struct XsaveArea {
    uint16_t fcw, fsw;
    uint8_t  tags, reserved;            /* bit i: physical register i is in use */
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    X86Fpr   st[8];                     /* from the top of the stack */
    V128     xmm[16];
    uint8_t  unused[96];
    uint64_t present, compacted, zero[6];
    V128     ymmh[16];
} XsaveArea;
_Static_assert(offsetof(XsaveArea, present) == 512 && offsetof(XsaveArea, ymmh) == 576, "XSAVE layout");

static int put_xsave(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    XsaveArea x;
    memcpy(&x, &v->xsave, sizeof x);
    x.fcw = c->fcw;
    x.fsw = (c->fsw & ~0x3800) | c->fpu_top << 11;
    x.tags = ~c->fpu_empty;
    x.fop = c->fop;
    x.fip = c->fip;
    x.fdp = c->fdp;
    x.mxcsr = x86_mxcsr(c);
    for (unsigned i = 0; i < 8; i++)
        x.st[i] = c->fpr[(c->fpu_top + i) & 7];
    for (unsigned i = 0; i < 16; i++)
        x.xmm[i] = c->ymm[i].lo;
    x.present |= XCR0_X87 | XCR0_SSE;
    x.compacted = 0;
    if (x86_has(c, X86F_AVX)) {
        for (unsigned i = 0; i < 16; i++)
            x.ymmh[i] = c->ymm[i].hi;
        x.present |= XCR0_AVX;
    }
    memcpy(&v->xsave, &x, sizeof x);
    return kvm_ioctl(v->fd, KVM_SET_XSAVE, &v->xsave);
}

static int get_xsave(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    int e = kvm_ioctl(v->fd, KVM_GET_XSAVE, &v->xsave);
    if (e < 0)
        return e;
    XsaveArea x;
    memcpy(&x, &v->xsave, sizeof x);
    c->fcw = x.fcw;
    c->fsw = x.fsw & ~0x3800;
    c->fpu_top = x.fsw >> 11 & 7;
    c->fpu_empty = ~x.tags;
    c->fop = x.fop;
    c->fip = x.fip;
    c->fdp = x.fdp;
    for (unsigned i = 0; i < 8; i++)
        c->fpr[(c->fpu_top + i) & 7] = x.st[i];
    for (unsigned i = 0; i < 16; i++) {
        c->ymm[i].lo = x.xmm[i];
        c->ymm[i].hi = x.present & XCR0_AVX ? x.ymmh[i] : (V128){ .u64 = { 0, 0 } };
    }
    x86_set_mxcsr(c, x.mxcsr);
    return 0;
}

static int put_xcrs(KvmVcpu *v)
{
    struct kvm_xcrs x = { .nr_xcrs = 1 };
    x.xcrs[0].value = v->cpu->xcr0;
    return v->kvm->has_xcrs && x86_has(v->cpu, X86F_XSAVE) ? kvm_ioctl(v->fd, KVM_SET_XCRS, &x) : 0;
}

static int get_xcrs(KvmVcpu *v)
{
    struct kvm_xcrs x = { 0 };
    int e = v->kvm->has_xcrs && x86_has(v->cpu, X86F_XSAVE) ? kvm_ioctl(v->fd, KVM_GET_XCRS, &x) : 0;
    if (e == 0 && x.nr_xcrs)
        v->cpu->xcr0 = x.xcrs[0].value;
    return e;
}

/* --- debug registers, events, time */

static int put_debug(KvmVcpu *v)
{
    struct kvm_debugregs d = { .dr6 = v->cpu->dr[6], .dr7 = v->cpu->dr[7] };
    for (unsigned i = 0; i < 4; i++)
        d.db[i] = v->cpu->dr[i];
    return kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

static int get_debug(KvmVcpu *v)
{
    struct kvm_debugregs d;
    int e = kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &d);
    if (e < 0)
        return e;
    for (unsigned i = 0; i < 4; i++)
        v->cpu->dr[i] = d.db[i];
    v->cpu->dr[6] = d.dr6;
    v->cpu->dr[7] = d.dr7;
    return 0;
}

static int put_events(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    struct kvm_vcpu_events *e = &v->events;
    e->nmi.masked = c->nmi_blocked;
    e->nmi.pending = e->nmi.injected = 0;
    e->interrupt.injected = c->irq_held;
    e->interrupt.nr = c->irq_vector;
    e->interrupt.soft = 0;
    e->interrupt.shadow = (c->shadow & SHADOW_STI ? KVM_X86_SHADOW_INT_STI : 0) |
                          (c->shadow & SHADOW_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
    e->flags = KVM_VCPUEVENT_VALID_SHADOW;
    e->exception.injected = c->exc_pending;
    if (c->exc_pending) {
        e->exception.nr = c->exc_vector;
        e->exception.has_error_code = 0x27d00u >> (c->exc_vector & 31) & 1;     /* 8, 10 to 14, 17 */
        e->exception.error_code = c->exc_error;
    }
    return kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, e);
}

static int get_events(KvmVcpu *v)
{
    X86Cpu *c = v->cpu;
    struct kvm_vcpu_events *e = &v->events;
    int r = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, e);
    if (r < 0)
        return r;
    c->nmi_blocked = e->nmi.masked;
    c->shadow = (e->interrupt.shadow & KVM_X86_SHADOW_INT_STI ? SHADOW_STI : 0) |
                (e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? SHADOW_SS : 0);
    c->irq_held = e->interrupt.injected && !e->interrupt.soft;
    c->irq_vector = e->interrupt.nr;
    if (e->nmi.pending || e->nmi.injected)
        port_set(&c->port, PORT_NMI);
    c->exc_pending = e->exception.injected;
    c->exc_noncanonical = false;
    c->exc_vector = e->exception.nr;
    c->exc_error = e->exception.error_code;
    c->exc_cr2 = c->cr2;
    return 0;
}

/* The TSC counts at the host's rate while the guest runs, and stands while the machine stands: the offset to the virtual
 * clock is made anew at each pause.  The paravirtual clock is the virtual clock. */
static void put_time(KvmVcpu *v)
{
    uint64_t now = clock_now_ns(v->kvm->a.m.clock);
    msr_set(v, MSR_TSC, now + v->cpu->tsc_offset);
    if (v->v.index == 0 && v->kvm->has_clock) {
        struct kvm_clock_data d = { .clock = now };
        kvm_ioctl(v->kvm->vm_fd, KVM_SET_CLOCK, &d);
    }
}

static void get_time(KvmVcpu *v)
{
    uint64_t tsc;
    if (v->lapic && v->lapic->lent && !msr_get(v, MSR_TSC_DEADLINE, &v->lapic_regs.deadline))
        v->lapic_regs.deadline = 0;
    if (msr_get(v, MSR_TSC, &tsc))
        v->cpu->tsc_offset = tsc - clock_now_ns(v->kvm->a.m.clock);
}

/* --- with local APICs in the kernel it also knows who waits for what.  Reading comes first: the kernel acts upon an INIT
 * or start-up message then, which changes registers. */

static int put_activity(KvmVcpu *v)
{
    /* Not UNINITIALIZED: the kernel would want an INIT first, which may have come before the pause. */
    struct kvm_mp_state m = { .mp_state = v->cpu->wait_sipi ? KVM_MP_STATE_INIT_RECEIVED
                                        : v->cpu->halted    ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE };
    return v->lapic ? kvm_ioctl(v->fd, KVM_SET_MP_STATE, &m) : 0;
}

static int get_activity(KvmVcpu *v)
{
    struct kvm_mp_state m;
    if (!v->lapic)
        return 0;
    int e = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &m);
    if (e < 0)
        return e;
    v->cpu->halted = m.mp_state == KVM_MP_STATE_HALTED;
    v->cpu->wait_sipi = m.mp_state == KVM_MP_STATE_UNINITIALIZED || m.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    return 0;
}

static int put_msrs_time(KvmVcpu *v)
{
    put_msrs(v);
    put_time(v);
    if (v->lapic)
        msr_set(v, MSR_TSC_DEADLINE, v->lapic_regs.deadline);
    return 0;
}

/* --- all of it */

typedef struct StatePart { const char *what; int (*put)(KvmVcpu *v), (*get)(KvmVcpu *v); } StatePart;
/* In the order of putting: setting the general registers drops a pending exception; control registers decide what MSRs
 * and XCR0 may hold; the local APIC's timer needs its mode before its deadline, and the time. */
static const StatePart parts[] = {
    { "activity", NULL, get_activity },
    { "special registers", put_sregs, get_sregs },
    { "general registers", put_regs, get_regs },
    { "XCR0", put_xcrs, get_xcrs },
    { "FPU and vector registers", put_xsave, get_xsave },
    { "debug registers", put_debug, get_debug },
    { "local APIC", kvm_lapic_put, kvm_lapic_get },
    { "MSRs", put_msrs_time, get_msrs },
    { "activity", put_activity, NULL },
    { "events", put_events, get_events },
};

static int failed(KvmVcpu *v, const char *verb, const char *what, int e)
{
    log_error(NULL, "kvm: cpu%u: cannot %s the %s: %s", v->v.index, verb, what, g_strerror(-e));
    return e;
}

int kvm_state_put(KvmVcpu *v)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        int e = parts[i].put ? parts[i].put(v) : 0;
        if (e < 0)
            return failed(v, "set", parts[i].what, e);
    }
    v->if_flag = x86_eflags(v->cpu) & FL_IF;
    v->can_inject = false;
    v->in_kernel = true;
    return 0;
}

int kvm_state_get(KvmVcpu *v)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        int e = parts[i].get ? parts[i].get(v) : 0;
        if (e < 0)
            return failed(v, "read", parts[i].what, e);
    }
    get_time(v);
    x86_restored(v->cpu);
    v->in_kernel = false;
    return 0;
}

void kvm_state_reset(KvmVcpu *v)
{
    memset(&v->xsave, 0, sizeof v->xsave);
    memset(&v->events, 0, sizeof v->events);
    v->in_kernel = v->dead = false;
}
