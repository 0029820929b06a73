/* SPDX-License-Identifier: GPL-2.0-or-later
 * C helpers of the system instructions, and their declarations to the IR.  Those with HF_FAULTS return 0,
 * or 1 with an exception recorded and nothing changed.  Sources: SDM vol. 2, APM vol. 3; SDM vol. 1,
 * chapter 13 for XSAVE. */
#include <string.h>

#include "target/x86/helper_sys.h"
#include "target/x86/debug.h"
#include "target/x86/x87.h"

/* --- control, debug and model-specific registers */

static uint64_t get_cr8(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    return c->port.intc ? c->port.intc->get_cr8(c->port.intc_self) : 0;
}

static int set_cr(CpuState *s, uint32_t n, uint64_t v) { return !x86_set_cr(x86_cpu(s), n, v); }

static int lmsw(CpuState *s, uint64_t v)
{
    X86Cpu *c = x86_cpu(s);             /* PE can be set, not cleared */
    return !x86_set_cr(c, 0, (c->cr0 & ~UINT64_C(0xe)) | (v & 0xf));
}

static void clts(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    c->cr0 &= ~(uint64_t)CR0_TS;
    x86_mode_changed(c);
}

/* DR4, DR5 are DR6, DR7 unless CR4.DE; with DR7.GD every access traps. */
static bool debug_register(X86Cpu *c, uint32_t *n)
{
    if (*n == 4 || *n == 5) {
        if (c->cr4 & CR4_DE)
            return x86_fault(c, EXC_UD, 0);
        *n += 2;
    }
    if (c->dr[7] & DR7_GD) {
        c->exc_dr6 |= DR6_BD;
        return x86_fault(c, EXC_DB, 0);
    }
    return true;
}

static int get_dr(CpuState *s, uint32_t n)
{
    X86Cpu *c = x86_cpu(s);
    if (!debug_register(c, &n))
        return 1;
    s->helper_ret = c->dr[n];
    return 0;
}

static int set_dr(CpuState *s, uint32_t n, uint64_t v)
{
    X86Cpu *c = x86_cpu(s);
    if (!debug_register(c, &n))
        return 1;
    if (n >= 6 && v >> 32)
        return !x86_fault(c, EXC_GP, 0);
    if (n == 6)
        v = (v & 0xe00f) | 0xffff0ff0;
    if (n == 7)
        v = (v & 0xffff2bff) | 0x400;
    c->dr[n] = v;
    if (n != 6)
        x86_debug_changed(c);
    return 0;
}

static void cpuid(CpuState *s)
{
    uint32_t out[4];
    x86_serialize();
    x86_cpuid(x86_cpu(s), s->hot[RAX], s->hot[RCX], out);
    s->hot[RAX] = out[0];
    s->hot[RBX] = out[1];
    s->hot[RCX] = out[2];
    s->hot[RDX] = out[3];
}

static int rdmsr(CpuState *s)
{
    uint64_t v;
    if (!x86_rdmsr(x86_cpu(s), s->hot[RCX], &v))
        return 1;
    s->hot[RAX] = (uint32_t)v;
    s->hot[RDX] = v >> 32;
    return 0;
}

static int wrmsr(CpuState *s)
{
    return !x86_wrmsr(x86_cpu(s), s->hot[RCX], s->hot[RDX] << 32 | (uint32_t)s->hot[RAX]);
}

static uint64_t tsc(CpuState *s) { return x86_tsc(x86_cpu(s)); }
static uint64_t tsc_aux(CpuState *s) { return x86_cpu(s)->tsc_aux; }
static uint64_t random64(CpuState *s) { return x86_cpu(s)->hooks->random64(s); }

/* --- TLB */

static uint32_t pcid(const X86Cpu *c) { return c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0; }

static void invlpg(CpuState *s, uint64_t va)
{
    x86_serialize();
    X86Cpu *c = x86_cpu(s);
    c->walk_gen++;
    if (!x86_long(c))
        va = (uint32_t)va;
    if (!x86_long(c) || x86_canonical(va))
        c->hooks->tlb_flush_page(s, pcid(c), va);
}

/* 0: one address of a PCID; 1: a PCID but globals; 2: everything; 3: everything but globals. */
static int invpcid(CpuState *s, uint64_t type, uint64_t lo, uint64_t va)
{
    X86Cpu *c = x86_cpu(s);
    uint32_t id = lo & 0xfff;
    bool bad = type > 3 || (type < 2 && (lo >> 12 || (id && !(c->cr4 & CR4_PCIDE)))) ||
               (type == 0 && !x86_canonical(va));
    if (bad)
        return !x86_fault(c, EXC_GP, 0);
    c->walk_gen++;
    if (type == 0)
        c->hooks->tlb_flush_page(s, id, va);
    else
        c->hooks->tlb_flush(s, type == 1 ? (int32_t)id : -1, type == 2);
    return 0;
}

/* --- flags, interrupts, halt */

static void mode_changed(CpuState *s) { x86_privilege_changed(x86_cpu(s)); }
static void prepare_ac(CpuState *s) { x86_prepare_ac(x86_cpu(s)); }

/* STI has set IF: what waits is looked at after the next instruction. */
static void interrupts_on(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if (atomic_load_explicit(&c->port.pending, memory_order_relaxed))
        c->hooks->attention(s);
}

/* CLI and STI at privilege 3 above IOPL (SDM vol. 3, 20.3 and 20.4). */
static int virtual_if(CpuState *s, uint32_t on)
{
    X86Cpu *c = x86_cpu(s);
    uint64_t *fl = x86_flags(c);
    if (!(c->cr4 & (*fl & FL_VM ? CR4_VME : CR4_PVI)) || (on && (*fl & FL_VIP)))
        return !x86_fault(c, EXC_GP, 0);
    *fl = on ? *fl | FL_VIF : *fl & ~(uint64_t)FL_VIF;
    return 0;
}

static int vme_popf(CpuState *s, uint64_t v) { return !x86_vme_popf(x86_cpu(s), v); }

static void halt(CpuState *s) { x86_cpu(s)->halted = true; }
static void mwait(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    const X86Topology *t = &c->topology;
    c->halted = t->threads * t->cores * t->dies <= 1 && (*x86_flags(c) & FL_IF);
}

static int soft_int(CpuState *s, uint32_t vector, uint32_t kind, uint64_t ret)
{
    X86Cpu *c = x86_cpu(s);
    if (kind == SOFT_INTO && !(x86_eflags(c) & FL_OF)) {
        *x86_pc(c) = ret;
        return 0;
    }
    return !x86_int_soft(c, vector, kind, ret);
}

static int single_step(CpuState *s, uint64_t pc, uint32_t how)
{
    X86Cpu *c = x86_cpu(s);
    (void)pc;                           /* the snapshot says so too */
    if (how == STEP_NONE || (how == STEP_PLAIN && c->debugctl & DEBUGCTL_BTF))
        return 0;
    c->exc_dr6 |= DR6_BS;
    return !x86_fault(c, EXC_DB, 0);
}

/* TransReq.checks: the instruction at pc is about to run. */
static int debug_insn(CpuState *s, uint64_t pc)
{
    return x86_debug_insn(s, x86_target.code_va(s, pc));
}

static int iret(CpuState *s, uint32_t opsize, uint64_t next) { return !x86_iret(x86_cpu(s), opsize, next); }
static int rsm(CpuState *s) { return !x86_rsm(x86_cpu(s)); }
static int syscall_(CpuState *s, uint64_t next) { return !x86_syscall(x86_cpu(s), next); }
static int sysret_(CpuState *s, uint32_t opsize) { return !x86_sysret(x86_cpu(s), opsize); }
static int sysenter(CpuState *s) { return !x86_sysenter(x86_cpu(s)); }
static int sysexit(CpuState *s, uint32_t opsize) { return !x86_sysexit(x86_cpu(s), opsize); }

/* --- segments */

static int load_seg(CpuState *s, uint32_t seg, uint32_t sel)
{
    X86Cpu *c = x86_cpu(s);
    if (seg == SS && c->dr_exec)
        c->hooks->attention(s);         /* x86_service() is to see the shadow's end */
    return !x86_load_seg(c, seg, sel);
}
static uint64_t get_sel(CpuState *s, uint32_t seg) { return x86_cpu(s)->seg[seg].sel; }
static int far_jmp(CpuState *s, uint32_t sel, uint64_t off, uint32_t opsize, uint64_t ret)
{
    return !x86_far_jmp(x86_cpu(s), sel, off, opsize, ret);
}
static int far_call(CpuState *s, uint32_t sel, uint64_t off, uint32_t opsize, uint64_t ret)
{
    return !x86_far_call(x86_cpu(s), sel, off, opsize, ret);
}
static int far_ret(CpuState *s, uint32_t opsize, uint32_t extra)
{
    return !x86_far_ret(x86_cpu(s), opsize, extra);
}
static int lldt(CpuState *s, uint32_t sel) { return !x86_lldt(x86_cpu(s), sel); }
static int ltr(CpuState *s, uint32_t sel) { return !x86_ltr(x86_cpu(s), sel); }

/* helper_ret: bit 63: the selector may be looked at; below the value for LAR, LSL. */
static int look(CpuState *s, uint32_t sel, uint32_t what)
{
    bool ok;
    X86Desc d = { 0, 0 };
    if (!x86_look(x86_cpu(s), sel, what, &ok, &d))
        return 1;
    uint64_t v = what == LOOK_LAR ? d.hi & DESC_ATTR : what == LOOK_LSL ? desc_limit(d) : 0;
    s->helper_ret = ok ? v | UINT64_C(1) << 63 : 0;
    return 0;
}

static uint64_t get_table(CpuState *s, uint32_t idt, uint32_t limit)
{
    const X86Table *t = idt ? &x86_cpu(s)->idt : &x86_cpu(s)->gdt;
    return limit ? t->limit : t->base;
}

static int set_table(CpuState *s, uint32_t idt, uint64_t base, uint32_t limit)
{
    X86Cpu *c = x86_cpu(s);
    if (x86_long(c) && !x86_canonical(base))
        return !x86_fault(c, EXC_GP, 0);
    *(idt ? &c->idt : &c->gdt) = (X86Table){ base, limit };
    return 0;
}

/* --- ports */

static uint64_t port_in(CpuState *s, uint32_t port, uint32_t size)
{
    return x86_cpu(s)->hooks->port_load(s, port, size);
}
static void port_out(CpuState *s, uint32_t port, uint32_t size, uint64_t v)
{
    X86Cpu *c = x86_cpu(s);
    c->hooks->port_store(s, port, size, v);
    if (G_UNLIKELY(atomic_load_explicit(&c->port.pending, memory_order_relaxed) & PORT_LINES))
        x86_lines_changed(c);           /* the next instruction sees memory so already */
}

static int io_break(CpuState *s, uint32_t port, uint32_t size)
{
    X86Cpu *c = x86_cpu(s);
    return c->dr_io && !x86_debug_port(c, port, size);
}

static int io_check(CpuState *s, uint32_t port, uint32_t size)
{
    X86Cpu *c = x86_cpu(s);
    const X86Seg *tr = &c->seg[TR];
    uint64_t at, bits;
    port &= 0xffff;
    if (!(tr->attr & SEG_P) || !(tr->attr & 0x800) || tr->limit < 0x67)
        return !x86_fault(c, EXC_GP, 0);
    if (!x86_sys_load(c, tr->base + 0x66, 2, &at))
        return 1;
    at += port / 8;
    if (at + 1 > tr->limit)             /* two bytes are always read */
        return !x86_fault(c, EXC_GP, 0);
    if (!x86_sys_load(c, tr->base + at, 2, &bits))
        return 1;
    return bits >> port % 8 & ((1u << size) - 1) ? !x86_fault(c, EXC_GP, 0) : 0;
}

/* --- declarations */

#define NONE 0
#define VECTORS (SLOTS_XMM | SLOT_BIT(X_MXCSR) | SLOT_BIT(X_FPU))
/* All that is not FP, nor the interrupt shadow: an instruction in it that calls such a helper has cleared the slot
 * already, which the helper, that may fail, must not be shown. */
#define INTS (~(VECTORS | SLOT_BIT(X_SCRATCH) | SLOT_BIT(X_SHADOW)))
#define RET SLOT_BIT(X_HELPER_RET)
#define BITS(s) SLOT_BIT(s)
#define MODE_READS (SLOTS_FL | SLOTS_BASE | SLOT_BIT(X_SYS))              /* of x86_mode_changed() */

#define HELPER(id, fn, ret, n, flags, reads, writes) \
    const IrHelper x86_helper_##id = { #id, (void *)(fn), ret, n, flags, { { reads } }, { { writes } } }

HELPER(int,          soft_int,      T_NONE, 3, HF_FAULTS, INTS, INTS);
HELPER(single_step,  single_step,   T_NONE, 2, HF_FAULTS, NONE, NONE);
HELPER(io_check,     io_check,      T_NONE, 2, HF_FAULTS, NONE, NONE);
HELPER(io_break,     io_break,      T_NONE, 2, HF_FAULTS, NONE, NONE);
HELPER(debug_insn,   debug_insn,    T_NONE, 1, HF_FAULTS,
       BITS(X_EFLAGS) | BITS(X_SHADOW) | BITS(X_SYS) | SLOTS_BASE, NONE);
HELPER(in,           port_in,       I64,    2, 0, NONE, NONE);
HELPER(out,          port_out,      T_NONE, 3, 0, NONE, NONE);
HELPER(get_cr8,      get_cr8,       I64,    0, 0, SLOT_BIT(X_SYS), NONE);
HELPER(set_cr,       set_cr,        T_NONE, 2, HF_FAULTS, MODE_READS, BITS(X_SYS) | BITS(X_CR0) | BITS(X_CR2) | BITS(X_CR3) | BITS(X_CR4) |
       BITS(X_CTX));
HELPER(lmsw,         lmsw,          T_NONE, 1, HF_FAULTS, MODE_READS, BITS(X_SYS) | BITS(X_CR0));
HELPER(clts,         clts,          T_NONE, 0, 0, MODE_READS, BITS(X_SYS) | BITS(X_CR0));
HELPER(get_dr,       get_dr,        T_NONE, 1, HF_FAULTS, BITS(X_SYS), RET);
HELPER(set_dr,       set_dr,        T_NONE, 2, HF_FAULTS, BITS(X_SYS), BITS(X_SYS));
HELPER(cpuid,        cpuid,         T_NONE, 0, 0, BITS(X_RAX) | BITS(X_RCX) | BITS(X_CR4),
       BITS(X_RAX) | BITS(X_RBX) | BITS(X_RCX) | BITS(X_RDX));
HELPER(rdmsr, rdmsr, T_NONE, 0, HF_FAULTS, BITS(X_RCX) | SLOTS_BASE | BITS(X_KERNEL_GS) | BITS(X_SYS),
       BITS(X_RAX) | BITS(X_RDX));
HELPER(wrmsr,        wrmsr,         T_NONE, 0, HF_FAULTS,
       BITS(X_RAX) | BITS(X_RCX) | BITS(X_RDX) | SLOTS_BASE | BITS(X_KERNEL_GS) | BITS(X_SYS),
       SLOTS_BASE | BITS(X_KERNEL_GS) | BITS(X_SYS));
HELPER(tsc,          tsc,           I64,    0, 0, NONE, NONE);
HELPER(tsc_aux,      tsc_aux,       I64,    0, 0, NONE, NONE);
HELPER(random,       random64,      I64,    0, 0, NONE, NONE);
HELPER(invlpg,       invlpg,        T_NONE, 1, 0, BITS(X_SYS), NONE);
HELPER(invpcid,      invpcid,       T_NONE, 3, HF_FAULTS, BITS(X_SYS), NONE);
HELPER(mode_changed, mode_changed,  T_NONE, 0, 0, MODE_READS, BITS(X_CTX));
static const IrGuard ac_ready = { .word = offsetof(X86Cpu, ac_ready), .mask = 1, .set = true };
const IrHelper x86_helper_prepare_ac = { "prepare_ac", prepare_ac, T_NONE, 0, 0,
                                         { { BITS(X_EFLAGS) | BITS(X_CS_BASE) | BITS(X_SYS) | BITS(X_CTX) | BITS(X_AC_CTX) } },
                                         { { BITS(X_CTX) | BITS(X_AC_CTX) } }, .guard = &ac_ready };
static const IrGuard nothing_pending = { .word = offsetof(X86Cpu, port.pending), .mask = ~0u, .set = false };
const IrHelper x86_helper_interrupts_on = { "interrupts_on", interrupts_on, T_NONE, 0, 0, .guard = &nothing_pending };
HELPER(virtual_if,   virtual_if,    T_NONE, 1, HF_FAULTS, BITS(X_EFLAGS) | BITS(X_CR4), BITS(X_EFLAGS));
HELPER(vme_popf,     vme_popf,      T_NONE, 1, HF_FAULTS, MODE_READS | BITS(X_CR4), SLOTS_FL);
HELPER(halt,         halt,          T_NONE, 0, 0, NONE, NONE);
HELPER(mwait,        mwait,         T_NONE, 0, 0, BITS(X_EFLAGS), NONE);
HELPER(iret,         iret,          T_NONE, 2, HF_FAULTS, INTS, INTS);
HELPER(rsm,          rsm,           T_NONE, 0, HF_FAULTS, INTS, INTS);
HELPER(syscall,      syscall_,      T_NONE, 1, HF_FAULTS, INTS, INTS);
HELPER(sysret,       sysret_,       T_NONE, 1, HF_FAULTS, INTS, INTS);
HELPER(sysenter,     sysenter,      T_NONE, 0, HF_FAULTS, INTS, INTS);
HELPER(sysexit,      sysexit,       T_NONE, 1, HF_FAULTS, INTS, INTS);
HELPER(load_seg,     load_seg,      T_NONE, 2, HF_FAULTS, MODE_READS, SLOTS_BASE | BITS(X_SYS));
HELPER(get_sel,      get_sel,       I64,    1, 0, BITS(X_SYS), NONE);
HELPER(far_jmp,      far_jmp,       T_NONE, 4, HF_FAULTS, INTS, INTS);
HELPER(far_call,     far_call,      T_NONE, 4, HF_FAULTS, INTS, INTS);
HELPER(far_ret,      far_ret,       T_NONE, 2, HF_FAULTS, INTS, INTS);
HELPER(lldt,         lldt,          T_NONE, 1, HF_FAULTS, BITS(X_SYS), BITS(X_SYS));
HELPER(ltr,          ltr,           T_NONE, 1, HF_FAULTS, BITS(X_SYS), BITS(X_SYS));
HELPER(look,         look,          T_NONE, 2, HF_FAULTS, BITS(X_SYS), RET);
HELPER(get_table,    get_table,     I64,    2, 0, BITS(X_SYS), NONE);
HELPER(set_table,    set_table,     T_NONE, 3, HF_FAULTS, BITS(X_SYS), BITS(X_SYS));
