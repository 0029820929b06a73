/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hardware task switches: by JMP, CALL, INT n, exceptions and IRET, through task gates and TSS descriptors, between
 * 16-bit and 32-bit task states.  Sources: SDM vol. 3, 7.2 and 7.3; APM vol. 2, 12.2 and 12.3.
 *
 * Up to the commit point everything is checked and probed and a fault belongs to the old task.  From there on the
 * state is the new task's, and so is a fault: it is recorded, kept (X86Cpu.exc_kept) over whatever the fetch of the
 * next instruction would record, and taken at the next block head. */
#include "target/x86/sys.h"

enum { TSS_LINK = 0, TSS32_CR3 = 0x1c, TSS32_TRAP = 0x64, TSS32_LEN = 0x68, TSS16_LEN = 0x2c };

/* Where a task state keeps what, by its width. */
typedef struct TssLayout { uint8_t pc, flags, gprs, sels, ldt, size, n_sels, len; } TssLayout;
static const TssLayout layouts[2] = {
    { 0x0e, 0x10, 0x12, 0x22, 0x2a, 2, 4, TSS16_LEN },
    { 0x20, 0x24, 0x28, 0x48, 0x60, 4, 6, TSS32_LEN },
};

typedef struct Task {
    uint16_t  sel;
    X86Desc   d;
    uint64_t  base;
    bool      wide;
    const TssLayout *at;
    /* as loaded */
    uint32_t  cr3, pc, flags, gpr[8];
    uint16_t  seg[6], ldt;
    bool      trap;
} Task;

static bool is_tss(X86Desc d, bool busy)
{
    unsigned type = desc_type(d);
    return !(d.hi & SEG_S) && (busy ? type == SYS_TSS16_BUSY || type == SYS_TSS32_BUSY
                                    : type == SYS_TSS16 || type == SYS_TSS32);
}

/* The descriptor of the task to go to.  #GP for JMP, CALL and interrupts, #TS for IRET (SDM vol. 3, table 7-1). */
static bool find(X86Cpu *c, uint16_t sel, X86TaskWhy why, Task *t)
{
    unsigned vector = why == TASK_IRET ? EXC_TS : EXC_GP;
    t->sel = sel;
    if ((sel & 4) || sel_null(sel))
        return x86_fault_sel(c, vector, sel);
    if (!x86_read_desc(c, sel, vector, &t->d))
        return false;
    if (!is_tss(t->d, why == TASK_IRET))
        return x86_fault_sel(c, vector, sel);
    if (!(t->d.hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    t->wide = desc_type(t->d) & 8;
    t->at = &layouts[t->wide];
    t->base = desc_base(t->d);
    if (desc_limit(t->d) < t->at->len - 1u)
        return x86_fault_sel(c, EXC_TS, sel);
    return true;
}

static bool get(X86Cpu *c, const Task *t, unsigned at, unsigned size, uint64_t *v)
{
    return x86_sys_load(c, (uint32_t)(t->base + at), size, v);
}

static bool read_task(X86Cpu *c, Task *t)
{
    const TssLayout *at = t->at;
    unsigned n = at->size;
    uint64_t v = 0;
    if (t->wide && (c->cr0 & CR0_PG) && !get(c, t, TSS32_CR3, 4, &v))
        return false;
    t->cr3 = v;
    if (!get(c, t, at->pc, n, &v))
        return false;
    t->pc = v;
    if (!get(c, t, at->flags, n, &v))
        return false;
    t->flags = v;
    for (unsigned i = 0; i < 8; i++) {
        if (!get(c, t, at->gprs + n * i, n, &v))
            return false;
        t->gpr[i] = v;                  /* the upper halves out of a 16-bit task state are undefined: 0 */
    }
    for (unsigned i = 0; i < 6; i++) {
        v = 0;
        if (i < at->n_sels && !get(c, t, at->sels + n * i, 2, &v))
            return false;
        t->seg[i] = v;
    }
    if (!get(c, t, at->ldt, 2, &v))
        return false;
    t->ldt = v;
    v = 0;
    if (t->wide && !get(c, t, TSS32_TRAP, 2, &v))
        return false;
    t->trap = v & 1;
    return true;
}

/* Of the old task: what is written there lies between the pc and the last selector. */
static bool probe_old(X86Cpu *c, const Task *t)
{
    unsigned first = t->at->pc, end = t->at->sels + t->at->size * t->at->n_sels;
    return c->hooks->probe(&c->s, (uint32_t)(t->base + first), end - first, ACC_WRITE, x86_sys_view(c));
}

static bool save_old(X86Cpu *c, const Task *t, uint64_t pc, uint64_t flags)
{
    static const uint8_t order[] = { ES, CS, SS, DS, FS, GS };
    const TssLayout *at = t->at;
    unsigned n = at->size;
    bool ok = x86_sys_store(c, (uint32_t)(t->base + at->pc), n, pc) &&
              x86_sys_store(c, (uint32_t)(t->base + at->flags), n, flags);
    for (unsigned i = 0; i < 8 && ok; i++)
        ok = x86_sys_store(c, (uint32_t)(t->base + at->gprs + n * i), n, c->s.hot[i]);
    for (unsigned i = 0; i < at->n_sels && ok; i++)
        ok = x86_sys_store(c, (uint32_t)(t->base + at->sels + n * i), 2, c->seg[order[i]].sel);
    return ok;
}

static bool set_busy(X86Cpu *c, uint16_t sel, bool busy)
{
    uint64_t at = c->gdt.base + (sel & ~7u) + 5, v;
    if (!x86_sys_load(c, at, 1, &v))
        return false;
    return x86_sys_store(c, at, 1, busy ? v | 2 : v & ~UINT64_C(2));
}

/* --- the new task's segments; faults are its own */

static bool load_ldt(X86Cpu *c, uint16_t sel)
{
    X86Desc d;
    x86_set_seg_null(c, LDTR, sel);
    if (sel_null(sel))
        return true;
    if (sel & 4)
        return x86_fault_sel(c, EXC_TS, sel);
    if (!x86_read_desc(c, sel, EXC_TS, &d))
        return false;
    if ((d.hi & SEG_S) || desc_type(d) != SYS_LDT || !(d.hi & SEG_P))
        return x86_fault_sel(c, EXC_TS, sel);
    x86_set_seg(c, LDTR, sel, d);
    return true;
}

static bool load_cs(X86Cpu *c, uint16_t sel)
{
    X86Desc d;
    unsigned rpl = sel & 3;
    if (sel_null(sel))
        return x86_fault_sel(c, EXC_TS, sel);
    if (!x86_read_desc(c, sel, EXC_TS, &d))
        return false;
    if (!desc_is_code(d) || (d.hi & DESC_C ? desc_dpl(d) > rpl : desc_dpl(d) != rpl))
        return x86_fault_sel(c, EXC_TS, sel);
    if (!(d.hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    if (!x86_mark_accessed(c, sel, &d))
        return false;
    x86_set_seg(c, CS, sel, d);
    return true;
}

static bool load_ss(X86Cpu *c, uint16_t sel)
{
    X86Desc d;
    if (!x86_check_ss(c, sel, c->cpl, EXC_TS, &d) || !x86_mark_accessed(c, sel, &d))
        return false;
    x86_set_seg(c, SS, sel, d);
    return true;
}

static bool load_data(X86Cpu *c, unsigned seg, uint16_t sel)
{
    X86Desc d;
    if (sel_null(sel))
        return true;
    if (!x86_check_data(c, sel, EXC_TS, &d) || !x86_mark_accessed(c, sel, &d))
        return false;
    x86_set_seg(c, seg, sel, d);
    return true;
}

static bool load_segments(X86Cpu *c, const Task *t)
{
    static const uint8_t data[] = { DS, ES, FS, GS };
    if (t->flags & FL_VM) {
        for (unsigned i = 0; i < N_SEGS; i++)
            x86_set_seg_vm86(c, i, t->seg[i]);
        return load_ldt(c, t->ldt);
    }
    bool ok = load_ldt(c, t->ldt) && load_cs(c, t->seg[CS]) && load_ss(c, t->seg[SS]);
    for (unsigned i = 0; i < sizeof data && ok; i++)
        ok = load_data(c, data[i], t->seg[data[i]]);
    return ok;
}

static bool load_cr3(X86Cpu *c, const Task *t)
{
    return !t->wide || !(c->cr0 & CR0_PG) || x86_set_cr(c, 3, t->cr3);
}

/* CR3, LDTR, segments, and the error code on the new stack. */
static bool enter(X86Cpu *c, const Task *t, const uint32_t *error)
{
    if (!load_cr3(c, t) || !load_segments(c, t))
        return false;
    if (t->pc > c->seg[CS].limit)
        return x86_fault(c, EXC_GP, x86_ext(c));
    if (error) {
        X86Stack st = x86_stack_now(c);
        st.view = c->cpl == 3 ? VIEW_USER : x86_sys_view(c);
        if (!x86_stack_push(&st, t->at->size, *error))
            return false;
        x86_stack_commit(c, &st);
    }
    if (t->trap)
        x86_debug_task_trap(c);
    return true;
}

static void commit(X86Cpu *c, const Task *t, X86TaskWhy why)
{
    c->seg[TR] = (X86Seg){
        .sel = t->sel, .limit = desc_limit(t->d), .attr = (t->d.hi | 0x200) & DESC_ATTR, .base = t->base
    };
    c->cr0 |= CR0_TS;
    uint32_t flags = t->flags | (why == TASK_CALL ? FL_NT : 0);
    uint32_t known = FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID;
    x86_set_eflags(c, flags & known, UINT64_MAX);
    *x86_pc(c) = t->pc;
    for (unsigned i = 0; i < 8; i++)
        c->s.hot[i] = t->gpr[i];
    c->cpl = t->flags & FL_VM ? 3 : t->seg[CS] & 3;
    for (unsigned i = 0; i < N_SEGS; i++)
        x86_set_seg_null(c, i, t->seg[i]);
    c->seg[CS].attr = c->cpl << SEG_DPL_SHIFT;
    c->dr[7] &= ~UINT64_C(0x155);       /* local breakpoints (SDM vol. 3, 17.2.4) */
    c->shadow = 0;
}

bool x86_task_switch(X86Cpu *c, uint16_t sel, X86TaskWhy why, uint64_t ret, uint32_t rf, const uint32_t *error)
{
    Task old = { .sel = c->seg[TR].sel, .base = c->seg[TR].base, .wide = c->seg[TR].attr & 0x800 }, t = { 0 };
    old.at = &layouts[old.wide];
    /* Stores that the accelerator wants run again by themselves (into a page with code) must not begin a switch twice. */
    if (c->hooks->precise && !c->hooks->precise(&c->s))
        return false;
    if (!find(c, sel, why, &t))
        return false;
    if (!(c->seg[TR].attr & SEG_P) || c->seg[TR].limit < old.at->len - 1u)
        return x86_fault_sel(c, EXC_TS, old.sel);
    if (!read_task(c, &t) || !probe_old(c, &old))
        return false;
    if (why == TASK_CALL && !c->hooks->probe(&c->s, t.base, 2, ACC_WRITE, x86_sys_view(c)))
        return false;
    if (why != TASK_IRET && !c->hooks->probe(&c->s, c->gdt.base + (sel & ~7u) + 5, 1, ACC_WRITE, x86_sys_view(c)))
        return false;
    uint64_t flags = x86_eflags(c) | rf;
    if (why == TASK_IRET)
        flags &= ~(uint64_t)FL_NT;
    if (why != TASK_CALL && !set_busy(c, old.sel, false))
        return false;
    if (!save_old(c, &old, ret, flags) || (t.base == old.base && !read_task(c, &t)))
        return false;
    if (why == TASK_CALL && !x86_sys_store(c, t.base + TSS_LINK, 2, old.sel))
        return false;
    if (why != TASK_IRET && !set_busy(c, sel, true))
        return false;
    commit(c, &t, why);
    if (!enter(c, &t, error)) {
        c->exc_kept = true;
        c->hooks->attention(&c->s);
    }
    x86_debug_changed(c);
    x86_mode_changed(c);
    return true;
}


bool x86_task_return(X86Cpu *c, uint64_t ret)
{
    uint64_t link;
    if (!x86_sys_load(c, c->seg[TR].base, 2, &link))
        return false;
    return x86_task_switch(c, link, TASK_IRET, ret, 0, NULL);
}
