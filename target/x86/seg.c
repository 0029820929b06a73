/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segments: descriptors and their checks, segment loads, stacks of the processor's own, far transfers.
 * Sources: SDM vol. 3, chapters 3, 5, 7; APM vol. 2, chapter 4; instruction pages of MOV, JMP, CALL, RET,
 * LAR, LSL. Every function checks first and changes state last, so that a fault leaves all as it was. */
#include "target/x86/sys.h"

/* --- descriptors */

static bool desc_at(X86Cpu *c, uint16_t sel, unsigned len, unsigned vector, uint64_t *at)
{
    uint64_t base = c->gdt.base;
    uint32_t limit = c->gdt.limit;
    if (sel & 4) {
        base = c->seg[LDTR].base;
        limit = c->seg[LDTR].attr & SEG_P ? c->seg[LDTR].limit : 0;
        if (!(c->seg[LDTR].attr & SEG_P))
            return x86_fault_sel(c, vector, sel);
    }
    if ((sel & ~7u) + len - 1 > limit)
        return x86_fault_sel(c, vector, sel);
    *at = base + (sel & ~7u);
    return true;
}

bool x86_read_desc(X86Cpu *c, uint16_t sel, unsigned vector, X86Desc *d)
{
    uint64_t at, v;
    if (!desc_at(c, sel, 8, vector, &at) || !x86_sys_load(c, at, 8, &v))
        return false;
    d->lo = v;
    d->hi = v >> 32;
    return true;
}

/* The upper half of a 16-byte system descriptor of long mode. */
static bool read_desc_high(X86Cpu *c, uint16_t sel, uint64_t *high)
{
    uint64_t at;
    return desc_at(c, sel, 16, EXC_GP, &at) && x86_sys_load(c, at + 8, 8, high);
}

static bool set_type(X86Cpu *c, uint16_t sel, X86Desc *d, uint32_t bits)
{
    uint64_t at;
    if ((d->hi & bits) == bits)
        return true;
    if (!desc_at(c, sel, 8, EXC_GP, &at) || !x86_sys_store(c, at + 5, 1, (d->hi | bits) >> 8 & 0xff))
        return false;
    d->hi |= bits;
    return true;
}

bool x86_mark_accessed(X86Cpu *c, uint16_t sel, X86Desc *d) { return set_type(c, sel, d, DESC_A); }

/* --- the hidden part */

static void set_base(X86Cpu *c, unsigned seg, uint64_t base)
{
    if (seg < N_SEGS)
        *x86_seg_base(c, seg) = base;
    else
        c->seg[seg].base = base;
}

void x86_set_seg(X86Cpu *c, unsigned seg, uint16_t sel, X86Desc d)
{
    X86Seg *g = &c->seg[seg];
    g->sel = sel;
    g->limit = desc_limit(d);
    g->attr = d.hi & DESC_ATTR;
    set_base(c, seg, desc_base(d));
}

/* The base becomes 0 as well, as processors say that have the CPUID bit null-sel-clr-base. */
void x86_set_seg_null(X86Cpu *c, unsigned seg, uint16_t sel)
{
    X86Seg *g = &c->seg[seg];
    g->sel = sel;
    g->limit = 0;
    g->attr = seg == SS ? c->cpl << SEG_DPL_SHIFT : 0;
    set_base(c, seg, 0);
}

void x86_set_seg_real(X86Cpu *c, unsigned seg, uint16_t sel)
{
    c->seg[seg].sel = sel;
    set_base(c, seg, (uint64_t)sel << 4);
}

void x86_set_seg_vm86(X86Cpu *c, unsigned seg, uint16_t sel)
{
    c->seg[seg] = (X86Seg){ .sel = sel, .limit = 0xffff, .attr = SEG_P | SEG_S | 3 << SEG_DPL_SHIFT | 0x300 };
    set_base(c, seg, (uint64_t)sel << 4);
}

/* --- loads */

bool x86_check_ss(X86Cpu *c, uint16_t sel, unsigned cpl, unsigned vector, X86Desc *d)
{
    if (sel_null(sel))
        return x86_fault(c, vector, x86_ext(c));
    if (!x86_read_desc(c, sel, vector, d))
        return false;
    if ((sel & 3u) != cpl || !desc_is_wdata(*d) || desc_dpl(*d) != cpl)
        return x86_fault_sel(c, vector, sel);
    if (!(d->hi & SEG_P))
        return x86_fault_sel(c, EXC_SS, sel);
    return true;
}

bool x86_check_data(X86Cpu *c, uint16_t sel, unsigned vector, X86Desc *d)
{
    if (!x86_read_desc(c, sel, vector, d))
        return false;
    bool code = d->hi & DESC_CODE, conforming = code && (d->hi & DESC_C);
    if (!(d->hi & SEG_S) || (code && !(d->hi & DESC_R)))
        return x86_fault_sel(c, vector, sel);
    if (!conforming && ((sel & 3u) > desc_dpl(*d) || c->cpl > desc_dpl(*d)))
        return x86_fault_sel(c, vector, sel);
    if (!(d->hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    return true;
}

bool x86_load_seg(X86Cpu *c, unsigned seg, uint16_t sel)
{
    X86Desc d;
    if (seg == CS || seg >= N_SEGS)
        return x86_fault(c, EXC_UD, 0);
    if (x86_realish(c)) {
        x86_set_seg_real(c, seg, sel);
    } else if (sel_null(sel)) {
        if (seg == SS && (!x86_code64(c) || c->cpl == 3 || (sel & 3u) != c->cpl))
            return x86_fault(c, EXC_GP, 0);
        x86_set_seg_null(c, seg, sel);
    } else {
        bool ok = seg == SS ? x86_check_ss(c, sel, c->cpl, EXC_GP, &d) : x86_check_data(c, sel, EXC_GP, &d);
        if (!ok || !x86_mark_accessed(c, sel, &d))
            return false;
        x86_set_seg(c, seg, sel, d);
    }
    if (!x86_code64(c))
        x86_mode_changed(c);            /* bases, limits and stack width are in the mode key */
    return true;
}

void x86_drop_data_segs(X86Cpu *c)
{
    static const uint8_t segs[] = { ES, DS, FS, GS };
    for (unsigned i = 0; i < sizeof segs; i++) {
        X86Seg *g = &c->seg[segs[i]];
        bool conforming = (g->attr & (DESC_CODE | DESC_C)) == (DESC_CODE | DESC_C);
        if ((g->attr & SEG_P) && !conforming && (g->attr >> SEG_DPL_SHIFT & 3) < c->cpl)
            x86_set_seg_null(c, segs[i], 0);
    }
}

static bool load_system(X86Cpu *c, unsigned seg, uint16_t sel, unsigned type, X86Desc *d, uint64_t *base)
{
    if (sel & 4)
        return x86_fault_sel(c, EXC_GP, sel);
    if (!x86_read_desc(c, sel, EXC_GP, d))
        return false;
    bool fits = !(d->hi & SEG_S) &&
                (desc_type(*d) == type || (seg == TR && !x86_long(c) && desc_type(*d) == SYS_TSS16));
    if (!fits)
        return x86_fault_sel(c, EXC_GP, sel);
    if (!(d->hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    *base = desc_base(*d);
    if (x86_long(c)) {
        uint64_t high;
        if (!read_desc_high(c, sel, &high))
            return false;
        *base |= high << 32;
        if ((high >> 40 & 31) || !x86_canonical(*base))
            return x86_fault_sel(c, EXC_GP, sel);
    }
    return true;
}

bool x86_lldt(X86Cpu *c, uint16_t sel)
{
    X86Desc d;
    uint64_t base;
    if (sel_null(sel)) {
        x86_set_seg_null(c, LDTR, sel);
        return true;
    }
    if (!load_system(c, LDTR, sel, SYS_LDT, &d, &base))
        return false;
    x86_set_seg(c, LDTR, sel, d);
    c->seg[LDTR].base = base;
    return true;
}

bool x86_ltr(X86Cpu *c, uint16_t sel)
{
    X86Desc d;
    uint64_t base;
    if (sel_null(sel))
        return x86_fault(c, EXC_GP, 0);
    if (!load_system(c, TR, sel, SYS_TSS32, &d, &base) || !set_type(c, sel, &d, 0x200 /* busy */))
        return false;
    x86_set_seg(c, TR, sel, d);
    c->seg[TR].base = base;
    return true;
}

bool x86_look(X86Cpu *c, uint16_t sel, X86Look what, bool *ok, X86Desc *d)
{
    /* Types of system descriptors that LAR and LSL accept: bit per type. */
    static const uint16_t types[2][2] = { { 0x1a3e, 0x0a0e }, { 0x1a04, 0x0a04 } };    /* [long][LSL] */
    *ok = false;
    if (sel_null(sel))
        return true;
    bool pending = c->exc_pending;
    uint64_t at;
    if (!desc_at(c, sel, 8, EXC_GP, &at)) {
        c->exc_pending = pending;       /* beyond the table: no fault, just no */
        return true;
    }
    if (!x86_read_desc(c, sel, EXC_GP, d))
        return false;                   /* #PF, or (nothing recorded) the instruction is to be run again by itself */
    bool system = !(d->hi & SEG_S), code = d->hi & DESC_CODE;
    if (what == LOOK_VERR && (system || (code && !(d->hi & DESC_R))))
        return true;
    if (what == LOOK_VERW && !desc_is_wdata(*d))
        return true;
    if (system && !(types[x86_long(c)][what == LOOK_LSL] >> desc_type(*d) & 1))
        return true;
    bool conforming = !system && code && (d->hi & DESC_C);
    unsigned dpl = desc_dpl(*d);
    *ok = conforming || (dpl >= c->cpl && dpl >= (sel & 3u));
    return true;
}

/* --- stacks */

X86Stack x86_stack_now(X86Cpu *c)
{
    bool flat = x86_code64(c);
    return (X86Stack){
        .c = c, .sp = c->s.hot[RSP], .flat = flat, .view = -1,
        .mask = flat ? UINT64_MAX : c->seg[SS].attr & SEG_DB ? UINT32_MAX : 0xffff,
        .base = flat ? 0 : *x86_seg_base(c, SS), .limit = c->seg[SS].limit, .attr = c->seg[SS].attr,
    };
}

static bool in_stack(const X86Stack *st, uint64_t sp, unsigned size)
{
    if (st->flat)
        return true;
    uint64_t top = st->attr & SEG_DB ? UINT32_MAX : 0xffff;
    if (st->attr & DESC_C)              /* expands down */
        return sp > st->limit && sp + size - 1 <= top;
    return sp + size - 1 <= st->limit;
}

static uint64_t stack_va(const X86Stack *st, uint64_t sp)
{
    return st->flat ? sp : (uint32_t)(st->base + sp);
}

/* The program's own pushes and pops; a frame of an event has been started by the processor. */
static bool stack_aligned(const X86Stack *st, uint64_t sp, unsigned size)
{
    return !x86_aligned_only(st->c) || st->view >= 0 || st->c->delivering || !(stack_va(st, sp) & (size - 1));
}

bool x86_stack_push(X86Stack *st, unsigned size, uint64_t v)
{
    X86Cpu *c = st->c;
    uint64_t sp = (st->sp - size) & st->mask;
    if (!in_stack(st, sp, size))
        return x86_fault_sel(c, EXC_SS, st->ss);
    if (!stack_aligned(st, sp, size))
        return x86_fault(c, EXC_AC, 0);
    if (!c->hooks->store(&c->s, stack_va(st, sp), size, st->view, v))
        return x86_stack_fault(c);
    st->sp = sp;
    return true;
}

bool x86_stack_pop(X86Stack *st, unsigned size, uint64_t *v)
{
    X86Cpu *c = st->c;
    uint64_t sp = st->sp & st->mask;
    if (!in_stack(st, sp, size))
        return x86_fault(c, EXC_SS, 0);
    if (!stack_aligned(st, sp, size))
        return x86_fault(c, EXC_AC, 0);
    if (!c->hooks->load(&c->s, stack_va(st, sp), size, st->view, v))
        return x86_stack_fault(c);
    st->sp = (sp + size) & st->mask;
    return true;
}

void x86_stack_commit(X86Cpu *c, const X86Stack *st)
{
    uint64_t *rsp = &c->s.hot[RSP];
    if (st->fresh)
        *rsp = st->top;
    if (st->mask == 0xffff)
        *rsp = (*rsp & ~UINT64_C(0xffff)) | (st->sp & 0xffff);
    else
        *rsp = st->sp & st->mask;
}

bool x86_tss_stack(X86Cpu *c, unsigned cpl, unsigned ist, uint16_t *ss, uint64_t *sp)
{
    const X86Seg *tr = &c->seg[TR];
    bool wide = x86_long(c), tss32 = tr->attr & 0x800;
    unsigned at = wide ? (ist ? 36 + 8 * (ist - 1) : 4 + 8 * cpl) : tss32 ? 4 + 8 * cpl : 2 + 4 * cpl;
    unsigned len = wide ? 8 : tss32 ? 6 : 4;
    if (!(tr->attr & SEG_P) || at + len - 1 > tr->limit)
        return x86_fault_sel(c, EXC_TS, tr->sel);
    uint64_t v;
    if (wide) {
        *ss = cpl;
        if (!x86_sys_load(c, tr->base + at, 8, sp))
            return false;
        return x86_canonical(*sp) || x86_fault(c, EXC_SS, x86_ext(c));
    }
    if (!x86_sys_load(c, tr->base + at, tss32 ? 4 : 2, sp) ||
        !x86_sys_load(c, tr->base + at + (tss32 ? 4 : 2), 2, &v))
        return false;
    *ss = v;
    return true;
}

/* --- far transfers */

/* Checks of a far JMP's or CALL's target code segment without a gate, or (gated) through one.  *cpl: the
 * new privilege. */
static bool check_far_cs(X86Cpu *c, uint16_t sel, X86Desc d, bool gated, bool call, unsigned *cpl)
{
    unsigned dpl = desc_dpl(d);
    *cpl = c->cpl;
    if (!desc_is_code(d))
        return x86_fault_sel(c, EXC_GP, sel);
    if (d.hi & DESC_C) {
        if (dpl > c->cpl)
            return x86_fault_sel(c, EXC_GP, sel);
    } else if (gated && call) {
        if (dpl > c->cpl)
            return x86_fault_sel(c, EXC_GP, sel);
        *cpl = dpl;
    } else if (dpl != c->cpl || (!gated && (sel & 3u) > c->cpl)) {
        return x86_fault_sel(c, EXC_GP, sel);
    }
    bool l = x86_long(c) && (d.hi & SEG_L);
    if ((l && (d.hi & SEG_DB)) || (gated && x86_long(c) && !l))
        return x86_fault_sel(c, EXC_GP, sel);
    if (!(d.hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    return true;
}

static bool check_offset(X86Cpu *c, X86Desc d, uint64_t off)
{
    bool l = x86_long(c) && (d.hi & SEG_L);
    return (l ? x86_canonical(off) : (uint32_t)off <= desc_limit(d)) || x86_fault(c, EXC_GP, 0);
}

static void enter_cs(X86Cpu *c, uint16_t sel, X86Desc d, unsigned cpl, uint64_t off)
{
    x86_set_seg(c, CS, (sel & ~3u) | cpl, d);
    *x86_pc(c) = x86_code64(c) ? off : (uint32_t)off;
    x86_new_cpl(c, cpl);
}

typedef struct CallGate { uint16_t sel; uint64_t off; unsigned params, size; } CallGate;

static bool read_call_gate(X86Cpu *c, uint16_t sel, X86Desc d, CallGate *g)
{
    unsigned type = desc_type(d), dpl = desc_dpl(d);
    bool known = !(d.hi & SEG_S) && (type == SYS_CALL32 || (type == SYS_CALL16 && !x86_long(c)));
    if (!known || dpl < c->cpl || dpl < (sel & 3u))
        return x86_fault_sel(c, EXC_GP, sel);
    if (!(d.hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    g->sel = d.lo >> 16;
    g->off = (d.lo & 0xffff) | (type == SYS_CALL32 ? d.hi & 0xffff0000 : 0);
    g->params = d.hi & 31;
    g->size = type == SYS_CALL32 ? 4 : 2;
    if (x86_long(c)) {
        uint64_t high;
        if (!read_desc_high(c, sel, &high))
            return false;
        if (high >> 40 & 31)
            return x86_fault_sel(c, EXC_GP, sel);
        g->off |= high << 32;
        g->size = 8;
    }
    return !sel_null(g->sel) || x86_fault(c, EXC_GP, 0);
}

/* A far JMP or CALL to a task: through a task gate, or its TSS itself. */
static bool is_task(const X86Cpu *c, X86Desc d)
{
    unsigned type = desc_type(d);
    return !(d.hi & SEG_S) && !x86_long(c) && (type == SYS_TASK_GATE || (type & 7) == SYS_TSS16 || (type & 7) == SYS_TSS16_BUSY);
}

static bool far_task(X86Cpu *c, uint16_t sel, X86Desc d, X86TaskWhy why, uint64_t ret)
{
    if (desc_dpl(d) < c->cpl || desc_dpl(d) < (sel & 3u))
        return x86_fault_sel(c, EXC_GP, sel);
    if (desc_type(d) == SYS_TASK_GATE) {
        if (!(d.hi & SEG_P))
            return x86_fault_sel(c, EXC_NP, sel);
        sel = d.lo >> 16;
    }
    return x86_task_switch(c, sel, why, ret, 0, NULL);
}

bool x86_far_jmp(X86Cpu *c, uint16_t sel, uint64_t off, unsigned opsize, uint64_t ret)
{
    X86Desc d;
    unsigned cpl;
    if (opsize == 2)
        off &= 0xffff;
    if (x86_realish(c)) {
        if ((uint32_t)off > c->seg[CS].limit)
            return x86_fault(c, EXC_GP, 0);
        x86_set_seg_real(c, CS, sel);
        *x86_pc(c) = (uint32_t)off;
        x86_mode_changed(c);
        return true;
    }
    if (sel_null(sel))
        return x86_fault(c, EXC_GP, 0);
    if (!x86_read_desc(c, sel, EXC_GP, &d))
        return false;
    if (is_task(c, d))
        return far_task(c, sel, d, TASK_JMP, ret);
    bool gated = !(d.hi & SEG_S);
    if (gated) {
        CallGate g;
        if (!read_call_gate(c, sel, d, &g) || !x86_read_desc(c, g.sel, EXC_GP, &d))
            return false;
        sel = g.sel;
        off = g.off;
    }
    if (!check_far_cs(c, sel, d, gated, false, &cpl) || !check_offset(c, d, off) ||
        !x86_mark_accessed(c, sel, &d))
        return false;
    enter_cs(c, sel, d, cpl, off);
    return true;
}

/* Through a call gate to a more privileged segment: a new stack with the old one's pointer and parameters. */
static bool call_inner(X86Cpu *c, const CallGate *g, X86Desc cs, unsigned cpl, uint64_t ret)
{
    X86Stack old = x86_stack_now(c), st = old;
    X86Desc ssd = { 0, 0 };
    uint16_t ss;
    uint64_t sp;
    if (!x86_tss_stack(c, cpl, 0, &ss, &sp))
        return false;
    st.view = x86_sys_view(c);
    st.sp = sp;
    if (x86_long(c)) {
        st.flat = true;
        st.mask = UINT64_MAX;
    } else {
        if (!x86_check_ss(c, ss, cpl, EXC_TS, &ssd))
            return false;
        st.base = desc_base(ssd);
        st.limit = desc_limit(ssd);
        st.attr = ssd.hi & DESC_ATTR;
        st.mask = ssd.hi & SEG_DB ? UINT32_MAX : 0xffff;
        st.fresh = true;
        st.ss = ss;
        st.top = sp;
    }
    if (!x86_stack_push(&st, g->size, c->seg[SS].sel) || !x86_stack_push(&st, g->size, c->s.hot[RSP]))
        return false;
    for (unsigned i = x86_long(c) ? 0 : g->params; i-- > 0;) {
        X86Stack from = old;
        uint64_t v;
        from.sp = (from.sp + i * g->size) & from.mask;
        if (!x86_stack_pop(&from, g->size, &v) || !x86_stack_push(&st, g->size, v))
            return false;
    }
    if (!x86_stack_push(&st, g->size, c->seg[CS].sel) || !x86_stack_push(&st, g->size, ret) ||
        !check_offset(c, cs, g->off) || !x86_mark_accessed(c, g->sel, &cs))
        return false;
    c->cpl = cpl;
    if (x86_long(c))
        x86_set_seg_null(c, SS, cpl);
    else
        x86_set_seg(c, SS, (ss & ~3u) | cpl, ssd);
    x86_stack_commit(c, &st);
    enter_cs(c, g->sel, cs, cpl, g->off);
    return true;
}

bool x86_far_call(X86Cpu *c, uint16_t sel, uint64_t off, unsigned opsize, uint64_t ret)
{
    X86Desc d;
    unsigned cpl;
    X86Stack st = x86_stack_now(c);
    if (opsize == 2)
        off &= 0xffff;
    if (x86_realish(c)) {
        if ((uint32_t)off > c->seg[CS].limit)
            return x86_fault(c, EXC_GP, 0);
        if (!x86_stack_push(&st, opsize, c->seg[CS].sel) || !x86_stack_push(&st, opsize, ret))
            return false;
        x86_stack_commit(c, &st);
        x86_set_seg_real(c, CS, sel);
        *x86_pc(c) = (uint32_t)off;
        x86_mode_changed(c);
        return true;
    }
    if (sel_null(sel))
        return x86_fault(c, EXC_GP, 0);
    if (!x86_read_desc(c, sel, EXC_GP, &d))
        return false;
    if (is_task(c, d))
        return far_task(c, sel, d, TASK_CALL, ret);
    bool gated = !(d.hi & SEG_S);
    CallGate g = { .sel = sel, .off = off, .size = opsize };
    if (gated && (!read_call_gate(c, sel, d, &g) || !x86_read_desc(c, g.sel, EXC_GP, &d)))
        return false;
    if (!check_far_cs(c, g.sel, d, gated, true, &cpl))
        return false;
    if (cpl != c->cpl)
        return call_inner(c, &g, d, cpl, ret);
    if (!x86_stack_push(&st, g.size, c->seg[CS].sel) || !x86_stack_push(&st, g.size, ret) ||
        !check_offset(c, d, g.off) || !x86_mark_accessed(c, g.sel, &d))
        return false;
    x86_stack_commit(c, &st);
    enter_cs(c, g.sel, d, cpl, g.off);
    return true;
}

bool x86_check_return_cs(X86Cpu *c, uint16_t sel, X86Desc *d)
{
    if (sel_null(sel))
        return x86_fault(c, EXC_GP, 0);
    if (!x86_read_desc(c, sel, EXC_GP, d))
        return false;
    unsigned rpl = sel & 3, dpl = desc_dpl(*d);
    if (!desc_is_code(*d) || rpl < c->cpl || (d->hi & DESC_C ? dpl > rpl : dpl != rpl))
        return x86_fault_sel(c, EXC_GP, sel);
    if (x86_long(c) && (d->hi & SEG_L) && (d->hi & SEG_DB))
        return x86_fault_sel(c, EXC_GP, sel);
    if (!(d->hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, sel);
    return true;
}

bool x86_far_ret(X86Cpu *c, unsigned opsize, unsigned extra)
{
    X86Stack st = x86_stack_now(c);
    uint64_t off, sel, sp = 0, ss = 0;
    X86Desc cs, ssd = { 0, 0 };
    if (!x86_stack_pop(&st, opsize, &off) || !x86_stack_pop(&st, opsize, &sel))
        return false;
    sel &= 0xffff;
    if (x86_realish(c)) {
        if (off > c->seg[CS].limit)
            return x86_fault(c, EXC_GP, 0);
        st.sp += extra;
        x86_stack_commit(c, &st);
        x86_set_seg_real(c, CS, sel);
        *x86_pc(c) = off;
        x86_mode_changed(c);
        return true;
    }
    if (!x86_check_return_cs(c, sel, &cs))
        return false;
    unsigned rpl = sel & 3;
    bool outer = rpl > c->cpl, to64 = x86_long(c) && (cs.hi & SEG_L);
    st.sp = (st.sp + extra) & st.mask;
    if (outer) {
        if (!x86_stack_pop(&st, opsize, &sp) || !x86_stack_pop(&st, opsize, &ss))
            return false;
        bool null_ok = sel_null(ss) && to64 && rpl != 3 && (ss & 3) == rpl;
        if (!null_ok && (!x86_check_ss(c, ss, rpl, EXC_GP, &ssd) || !x86_mark_accessed(c, ss, &ssd)))
            return false;
    }
    if (!check_offset(c, cs, off) || !x86_mark_accessed(c, sel, &cs))
        return false;
    if (!outer) {
        x86_stack_commit(c, &st);
        enter_cs(c, sel, cs, rpl, off);
        return true;
    }
    c->cpl = rpl;
    if (ssd.hi)
        x86_set_seg(c, SS, ss, ssd);
    else
        x86_set_seg_null(c, SS, ss);
    st.mask = to64 ? UINT64_MAX : ssd.hi & SEG_DB ? UINT32_MAX : 0xffff;
    st.sp = sp + extra;
    x86_stack_commit(c, &st);
    x86_drop_data_segs(c);
    enter_cs(c, sel, cs, rpl, off);
    return true;
}
