/* SPDX-License-Identifier: GPL-2.0-or-later
 * What cpu.c, mode.c, mmu.c, seg.c, trap.c, msr.c and helper_sys.c share: descriptors, accesses of the
 * processor itself (tables, task state, frames), and modes. */
#ifndef RHEA_TARGET_X86_SYS_H
#define RHEA_TARGET_X86_SYS_H

#include "target/x86/cpu.h"

static inline bool x86_long(const X86Cpu *c) { return c->efer & EFER_LMA; }
static inline bool x86_code64(const X86Cpu *c) { return x86_long(c) && (c->seg[CS].attr & SEG_L); }
static inline bool x86_pe(const X86Cpu *c) { return c->cr0 & CR0_PE; }
static inline uint64_t *x86_flags(X86Cpu *c) { return &c->s.hot[21]; }     /* the X_EFLAGS slot */
static inline bool x86_vm86(X86Cpu *c) { return *x86_flags(c) & FL_VM; }
static inline bool x86_realish(X86Cpu *c) { return !x86_pe(c) || x86_vm86(c); }
static inline unsigned x86_iopl(X86Cpu *c) { return (*x86_flags(c) & FL_IOPL) >> 12; }
static inline uint64_t *x86_pc(X86Cpu *c) { return &c->s.hot[16]; }
/* 48-bit linear addresses. */
static inline bool x86_canonical(uint64_t va) { return ((va + 0x800000000000ull) >> 48) == 0; }

/* Accesses of the current program must be aligned (SDM vol. 3, 6.15, #AC). */
static inline bool x86_aligned_only(const X86Cpu *c) { return c->s.mode_tag >> 48 & MODE_AC; }

/* What leaves the processor as a physical address while the A20 gate is shut. */
static inline uint64_t x86_a20(const X86Cpu *c, uint64_t pa)
{
    return G_UNLIKELY(c->a20_off) ? pa & ~(UINT64_C(1) << 20) : pa;
}

/* A descriptor's two words. */
typedef struct X86Desc { uint32_t lo, hi; } X86Desc;
enum {
    DESC_ATTR = 0x00f0ff00,
    DESC_A = 0x100,
    DESC_W = 0x200 /* data: writable */,
    DESC_R = 0x200 /* code: readable */,
    DESC_C = 0x400 /* code: conforming; data: expands down */,
    DESC_CODE = 0x800
};
static inline uint32_t desc_base(X86Desc d) { return d.lo >> 16 | (d.hi & 0xff) << 16 | (d.hi & 0xff000000); }
static inline uint32_t desc_limit(X86Desc d)
{
    uint32_t l = (d.lo & 0xffff) | (d.hi & 0xf0000);
    return d.hi & SEG_G ? l << 12 | 0xfff : l;
}
static inline unsigned desc_dpl(X86Desc d) { return d.hi >> SEG_DPL_SHIFT & 3; }
static inline unsigned desc_type(X86Desc d) { return d.hi >> 8 & 15; }
static inline bool desc_is_code(X86Desc d) { return (d.hi & (SEG_S | DESC_CODE)) == (SEG_S | DESC_CODE); }
static inline bool desc_is_wdata(X86Desc d)
{
    return (d.hi & (SEG_S | DESC_CODE | DESC_W)) == (SEG_S | DESC_W);
}
static inline bool sel_null(uint16_t sel) { return !(sel & ~3); }

/* Types of system descriptors. */
enum {
    SYS_TSS16 = 1,
    SYS_LDT = 2,
    SYS_TSS16_BUSY = 3,
    SYS_CALL16 = 4,
    SYS_TASK_GATE = 5,
    SYS_INT16 = 6,
    SYS_TRAP16 = 7,
    SYS_TSS32 = 9,
    SYS_TSS32_BUSY = 11,
    SYS_CALL32 = 12,
    SYS_INT32 = 14,
    SYS_TRAP32 = 15
};

/* Implicit accesses of the processor are supervisor accesses whatever the CPL, and SMAP holds for them
 * whatever AC (SDM vol. 3, 4.6.1). */
static inline int x86_sys_view(const X86Cpu *c) { return c->cr4 & CR4_SMAP ? VIEW_SMAP : VIEW_KERNEL; }
static inline bool x86_sys_load(X86Cpu *c, uint64_t va, unsigned size, uint64_t *v)
{
    return c->hooks->load(&c->s, va, size, x86_sys_view(c), v);
}
static inline bool x86_sys_store(X86Cpu *c, uint64_t va, unsigned size, uint64_t v)
{
    return c->hooks->store(&c->s, va, size, x86_sys_view(c), v);
}

/* Record vector with an error code, or with a selector and EXT as its error code; return false. */
static inline bool x86_fault(X86Cpu *c, unsigned vector, uint32_t error)
{
    x86_raise(c, vector, error);
    return false;
}
/* VIF and VIP are both set where they count: #GP at the beginning of the next instruction (SDM vol. 3, 20.3.2 and 20.4). */
static inline bool x86_virtual_interrupt(const X86Cpu *c)
{
    uint64_t fl = c->s.hot[21];
    return (fl & (FL_VIF | FL_VIP)) == (FL_VIF | FL_VIP) && c->cpl == 3 && (fl & FL_IOPL) != FL_IOPL &&
           (c->cr4 & (fl & FL_VM ? CR4_VME : CR4_PVI));
}
static inline uint32_t x86_ext(const X86Cpu *c) { return c->delivering ? c->exc_ext : 0; }
static inline bool x86_fault_sel(X86Cpu *c, unsigned vector, uint16_t sel)
{
    return x86_fault(c, vector, (sel & ~3u) | x86_ext(c));
}
/* A memory access on the stack has failed: a non-canonical address is #SS, not #GP. */
bool x86_stack_fault(X86Cpu *c);

/* seg.c */
/* Reads the descriptor of a selector that is not null; beyond its table: `vector` with the selector. */
bool x86_read_desc(X86Cpu *c, uint16_t sel, unsigned vector, X86Desc *d);
bool x86_mark_accessed(X86Cpu *c, uint16_t sel, X86Desc *d);
/* Loads the hidden part; no checks.  Does not call x86_mode_changed(). */
void x86_set_seg(X86Cpu *c, unsigned seg, uint16_t sel, X86Desc d);
static inline void x86_set_seg_flat(X86Cpu *c, unsigned seg, uint16_t sel, uint32_t attr)
{
    c->seg[seg].sel = sel;
    c->seg[seg].limit = UINT32_MAX;
    c->seg[seg].attr = attr;
    *x86_seg_base(c, seg) = 0;
}
void x86_set_seg_null(X86Cpu *c, unsigned seg, uint16_t sel);
void x86_set_seg_real(X86Cpu *c, unsigned seg, uint16_t sel);      /* real mode: base only, the rest stays */
void x86_set_seg_vm86(X86Cpu *c, unsigned seg, uint16_t sel);      /* 64 KiB, DPL 3, writable */
/* Checks of a code segment that control is to be returned to, privilege = RPL of sel. */
bool x86_check_return_cs(X86Cpu *c, uint16_t sel, X86Desc *d);
/* SS for privilege `cpl`; faults with `vector` (#GP on returns, #TS on calls), #SS when absent. */
bool x86_check_ss(X86Cpu *c, uint16_t sel, unsigned cpl, unsigned vector, X86Desc *d);
/* DS, ES, FS, GS at c->cpl; faults with `vector`, #NP when absent. */
bool x86_check_data(X86Cpu *c, uint16_t sel, unsigned vector, X86Desc *d);
/* Data segments that the new, lower privilege may not see become null. */
void x86_drop_data_segs(X86Cpu *c);
/* Stack for privilege `cpl` out of the task state: in long mode ss is null and ist, if not 0, picks the
 * slot. */
bool x86_tss_stack(X86Cpu *c, unsigned cpl, unsigned ist, uint16_t *ss, uint64_t *sp);

/* A frame on a stack: pushes or pops of one size, bounds and faults as the stack's own. */
typedef struct X86Stack {
    X86Cpu  *c;
    uint64_t sp, mask;          /* mask: of the stack pointer */
    uint64_t base;
    uint32_t limit, attr;       /* of SS; not looked at in 64-bit mode */
    bool     flat;              /* 64-bit: no base, no limit */
    bool     fresh;             /* switched to through a gate: ss and top are its own; #SS names it (SDM vol. 2, CALL, INT n) */
    uint16_t ss;
    uint32_t top;               /* ESP out of the task state: all of it is loaded, whatever the stack's width */
    int      view;
} X86Stack;
bool x86_stack_push(X86Stack *st, unsigned size, uint64_t v);
bool x86_stack_pop(X86Stack *st, unsigned size, uint64_t *v);
/* The current stack, for accesses at privilege c->cpl. */
X86Stack x86_stack_now(X86Cpu *c);
/* The stack pointer register takes sp as the stack's width says; above that remains what was there, or is a fresh stack's. */
void x86_stack_commit(X86Cpu *c, const X86Stack *st);

/* Far transfers: on success CS, pc and stack are new and x86_mode_changed() was called. opsize 2, 4, 8. */
bool x86_far_jmp(X86Cpu *c, uint16_t sel, uint64_t off, unsigned opsize, uint64_t ret);
bool x86_far_call(X86Cpu *c, uint16_t sel, uint64_t off, unsigned opsize, uint64_t ret);
bool x86_far_ret(X86Cpu *c, unsigned opsize, unsigned extra);
bool x86_lldt(X86Cpu *c, uint16_t sel);
bool x86_ltr(X86Cpu *c, uint16_t sel);
/* LAR LSL VERR VERW: whether the selector may be looked at; no faults but those of memory (*ok then false,
 * returns false). */
typedef enum X86Look { LOOK_LAR, LOOK_LSL, LOOK_VERR, LOOK_VERW } X86Look;
bool x86_look(X86Cpu *c, uint16_t sel, X86Look what, bool *ok, X86Desc *d);

/* task.c: legacy protected mode only.  ret: where the old task goes on; rf: FL_RF or 0, for the flags saved in it;
 * error: code for the new task's stack, or NULL.  True also when the new task has a fault pending (exc_kept). */
typedef enum X86TaskWhy { TASK_JMP, TASK_CALL /* and interrupts */, TASK_IRET } X86TaskWhy;
bool x86_task_switch(X86Cpu *c, uint16_t sel, X86TaskWhy why, uint64_t ret, uint32_t rf, const uint32_t *error);
bool x86_task_return(X86Cpu *c, uint64_t ret);          /* IRET with NT */

/* trap.c */
bool x86_int_soft(X86Cpu *c, unsigned vector, unsigned kind, uint64_t ret);
bool x86_iret(X86Cpu *c, unsigned opsize, uint64_t next);
bool x86_vme_popf(X86Cpu *c, uint64_t v);                /* POPF in virtual-8086 mode with VME and IOPL below 3 */
bool x86_syscall(X86Cpu *c, uint64_t next);
bool x86_sysret(X86Cpu *c, unsigned opsize);
bool x86_sysenter(X86Cpu *c);
bool x86_sysexit(X86Cpu *c, unsigned opsize);

/* smm.c */
void x86_enter_smm(X86Cpu *c);
void x86_leave_smm(X86Cpu *c);          /* at INIT and reset: no state is loaded */
void x86_smm_reset(X86Cpu *c);
bool x86_rsm(X86Cpu *c);

/* mode.c */
uint64_t x86_cr4_allowed(const X86Cpu *c);
uint64_t x86_efer_allowed(const X86Cpu *c);             /* LMA included */
void x86_prepare_ac(X86Cpu *c);         /* ac_ctx: the context for AC the other way */
void x86_privilege_changed(X86Cpu *c);  /* x86_mode_changed() when only flags, segments and CPL are others */
void x86_lines_changed(X86Cpu *c);      /* PORT_LINES is set: takes A20 over */
void x86_new_cpl(X86Cpu *c, unsigned cpl);
bool x86_load_pdptes(X86Cpu *c, uint64_t cr3);
/* cpu.c */
void x86_init_reset(X86Cpu *c);         /* INIT: what survives it does */
const X86Model *x86_cpu_model(const X86Cpu *c);

/* Serialising instructions (SDM vol. 3, 9.3) are memory barriers too: stores before them are seen before loads after. */
static inline void x86_serialize(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
