/* SPDX-License-Identifier: GPL-2.0-or-later
 * System instructions: control registers, descriptor tables, segments, far transfers, interrupts, ports, MSRs, TLB,
 * time, random numbers, state saving.  Most are a helper and the end of the block; those that kernels run all the time
 * (CLI, STI, PUSHF, SWAPGS, RDFSBASE) are inline.
 * Sources: SDM vol. 2; APM vol. 3. */
#include "target/x86/helper_sys.h"
#include "target/x86/sys.h"

/* --- bits */

static Val i32(X86Trans *t, uint32_t v) { return ir_imm(t->b, I32, v); }
static Val i64(X86Trans *t, uint64_t v) { return ir_imm(t->b, I64, v); }

/* The block ends after this instruction; mode and TLB context may be others. */
static void end_block(X86Trans *t)
{
    Val pc = x86_next_pc(t);
    x86_put_pc(t, pc);
    t->plain = true;
    x86_exit_mode(t);
}

/* #GP(0), #UD if the bits of CR4 are not set / are set. */
static void unless_cr4(X86Trans *t, uint32_t bit, unsigned vector)
{
    Val cr4 = ir_get(t->b, X_CR4);
    Val mask = i64(t, bit);
    Val off = ir_cmp(t->b, C_TSTEQ, cr4, mask);
    ir_raise_if(t->b, off, vector, 0);
}
static void if_cr4(X86Trans *t, uint32_t bit, unsigned vector)
{
    Val cr4 = ir_get(t->b, X_CR4);
    Val mask = i64(t, bit);
    Val on = ir_cmp(t->b, C_TSTNE, cr4, mask);
    ir_raise_if(t->b, on, vector, 0);
}

static bool vm86(const X86Trans *t) { return t->mode & MODE_REAL && t->cpl == 3; }

/* --- flags and interrupts */

static void put_flag_bit(X86Trans *t, uint64_t bit, bool on)
{
    Val fl = ir_get(t->b, X_EFLAGS);
    fl = on ? ir_op2i(t->b, IR_OR, fl, bit) : ir_op2i(t->b, IR_AND, fl, ~bit);
    ir_put(t->b, X_EFLAGS, fl);
}

/* Above IOPL: VIF, at privilege 3 and if CR4 says so. */
static void virtual_if(X86Trans *t, bool on)
{
    if (t->cpl == 3)
        ir_call(t->b, &x86_helper_virtual_if, i32(t, on));
    else
        x86_gp0(t);
}

static bool tr_cli(X86Trans *t, X86Args *a)
{
    (void)a;
    if (t->mode & MODE_IOPL)
        put_flag_bit(t, FL_IF, false);
    else
        virtual_if(t, false);
    return true;
}

static bool tr_sti(X86Trans *t, X86Args *a)
{
    (void)a;
    if (!(t->mode & MODE_IOPL)) {
        virtual_if(t, true);
        return true;
    }
    put_flag_bit(t, FL_IF, true);
    ir_put(t->b, X_SHADOW, ir_imm(t->b, I8, SHADOW_STI));
    ir_call(t->b, &x86_helper_interrupts_on);
    t->shadow = true;
    return true;
}

/* PUSHF and POPF in virtual-8086 mode above IOPL: 16 bits only, with CR4.VME; IF is VIF then (SDM vol. 3, 20.3). */
static bool vme_flags(X86Trans *t)
{
    if (!vm86(t) || t->mode & MODE_IOPL)
        return false;
    if (t->opsize == 2)
        unless_cr4(t, CR4_VME, EXC_GP);
    else
        x86_gp0(t);
    return true;
}

static bool tr_pushf(X86Trans *t, X86Args *a)
{
    (void)a;
    bool vme = vme_flags(t);
    if (t->ended)
        return true;
    Val arith = x86_get_flags(t);
    Val sys = ir_get(t->b, X_EFLAGS);
    arith = ir_ext(t->b, IR_ZEXT, I64, arith);
    Val all = ir_op2(t->b, IR_OR, sys, arith);
    all = ir_op2i(t->b, IR_AND, all, ~(uint64_t)(FL_VM | FL_RF));
    if (vme) {
        Val vif = ir_extract(t->b, all, 19, 1);
        all = ir_deposit(t->b, all, vif, 9, 1);
        all = ir_op2i(t->b, IR_OR, all, FL_IOPL);
    }
    all = ir_resize(t->b, x86_type(t->opsize), all, false);
    x86_push(t, t->opsize, all);
    return true;
}

static bool tr_popf(X86Trans *t, X86Args *a)
{
    (void)a;
    bool vme = vme_flags(t);
    if (t->ended)
        return true;
    if (vme) {
        Val image = x86_pop(t, 2);
        image = ir_ext(t->b, IR_ZEXT, I64, image);
        ir_call(t->b, &x86_helper_vme_popf, image);
        x86_cc_forget(t);
        return true;
    }
    uint64_t mask = FL_TF | FL_DF | FL_NT | FL_AC | FL_ID;
    if (t->mode & MODE_IOPL)
        mask |= FL_IF;
    if (t->cpl == 0)
        mask |= FL_IOPL;
    if (t->opsize == 2)
        mask &= 0xffff;
    Val v = x86_pop(t, t->opsize);
    v = ir_resize(t->b, I64, v, false);
    Val old = ir_get(t->b, X_EFLAGS);
    old = ir_op2i(t->b, IR_AND, old, ~(mask | (t->opsize == 2 ? 0 : FL_RF)));
    Val sys = ir_op2i(t->b, IR_AND, v, mask);
    sys = ir_op2(t->b, IR_OR, old, sys);
    ir_put(t->b, X_EFLAGS, sys);
    Val arith = ir_op2i(t->b, IR_AND, v, FL_ARITH);
    x86_put_eflags(t, arith);
    ir_call(t->b, &x86_helper_mode_changed);
    return true;
}

static bool tr_hlt(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_halt);
    x86_exit_run(t, EXITR_HALT);
    return true;
}

static bool tr_iret(X86Trans *t, X86Args *a)
{
    (void)a;
    Val next = x86_next_pc(t);
    ir_call(t->b, &x86_helper_iret, i32(t, t->opsize), next);
    x86_exit_mode(t);
    return true;
}

static bool tr_rsm(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_rsm);
    x86_exit_mode(t);
    return true;
}

static bool tr_syscall(X86Trans *t, X86Args *a)
{
    (void)a;
    Val next = x86_next_pc(t);
    ir_call(t->b, &x86_helper_syscall, next);
    t->mode &= ~MODE_TF;        /* no single step here: every system has TF among what SFMASK clears */
    x86_exit_mode(t);
    return true;
}

/* SYSRET, SYSEXIT: helpers that take the operand size and go elsewhere. */
static bool tr_sysret(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_sysret, i32(t, t->rex & 8 ? 8 : 4));
    x86_exit_mode(t);
    return true;
}
static bool tr_sysexit(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_sysexit, i32(t, t->rex & 8 ? 8 : 4));
    x86_exit_mode(t);
    return true;
}
static bool tr_sysenter(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_sysenter);
    x86_exit_mode(t);
    return true;
}

/* --- control and debug registers; moves take mod for 3 */

/* With LOCK CR0 means CR8 (APM vol. 3, MOV CRn; CPUID's AltMovCr8).  9: #UD. */
static unsigned control_register(const X86Trans *t, const X86Args *a)
{
    if (t->lock)
        return a->reg == 0 && x86_has((const X86Cpu *)t->req->cpu, X86F_CR8LEGACY) ? 8 : 9;
    return a->reg;
}

static bool tr_mov_from_cr(X86Trans *t, X86Args *a)
{
    unsigned n = control_register(t, a), size = t->code64 ? 8 : 4;
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
        return false;
    static const uint8_t slots[] = { [0] = X_CR0, [2] = X_CR2, [3] = X_CR3, [4] = X_CR4 };
    Val v = n == 8 ? ir_call(t->b, &x86_helper_get_cr8) : ir_get(t->b, slots[n]);
    v = ir_resize(t->b, x86_type(size), v, false);
    x86_put_reg(t, a->rm, size, v);
    return true;
}

static bool tr_mov_to_cr(X86Trans *t, X86Args *a)
{
    unsigned n = control_register(t, a);
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
        return false;
    Val v = x86_get_reg(t, a->rm, t->code64 ? 8 : 4);
    v = ir_resize(t->b, I64, v, false);
    ir_call(t->b, &x86_helper_set_cr, i32(t, n), v);
    return true;
}

static bool tr_mov_from_dr(X86Trans *t, X86Args *a)
{
    unsigned size = t->code64 ? 8 : 4;
    if (a->reg > 7)
        return false;
    ir_call(t->b, &x86_helper_get_dr, i32(t, a->reg));
    Val v = ir_get(t->b, X_HELPER_RET);
    v = ir_resize(t->b, x86_type(size), v, false);
    x86_put_reg(t, a->rm, size, v);
    return true;
}

static bool tr_mov_to_dr(X86Trans *t, X86Args *a)
{
    if (a->reg > 7)
        return false;
    Val v = x86_get_reg(t, a->rm, t->code64 ? 8 : 4);
    v = ir_resize(t->b, I64, v, false);
    ir_call(t->b, &x86_helper_set_dr, i32(t, a->reg), v);
    return true;
}

static bool tr_clts(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_clts);
    return true;
}

static bool tr_lmsw(X86Trans *t, X86Args *a)
{
    Val v = ir_ext(t->b, IR_ZEXT, I64, a->dst);
    ir_call(t->b, &x86_helper_lmsw, v);
    return true;
}

/* SMSW, SLDT, STR: 16 bits to memory, the operand size to a register; secrets of the kernel under UMIP. */
static void put_word(X86Trans *t, X86Args *a, Val v)
{
    if (a->is_mem) {
        Val w = ir_resize(t->b, I16, v, false);
        x86_limit(t, a, 2, true);
        x86_store(t, a->addr, 2, w);
    } else {
        Val r = ir_resize(t->b, x86_type(t->opsize), v, false);
        x86_put_reg(t, a->rm, t->opsize, r);
    }
}
static void umip(X86Trans *t)
{
    if (t->cpl)
        if_cr4(t, CR4_UMIP, EXC_GP);
}

static bool tr_smsw(X86Trans *t, X86Args *a)
{
    umip(t);
    Val v = ir_get(t->b, X_CR0);
    put_word(t, a, v);
    return true;
}

static bool tr_store_sel(X86Trans *t, X86Args *a)       /* SLDT, STR */
{
    umip(t);
    Val v = ir_call(t->b, &x86_helper_get_sel, i32(t, a->row->arg));
    put_word(t, a, v);
    return true;
}

static bool tr_lldt_ltr(X86Trans *t, X86Args *a)
{
    Val sel = ir_ext(t->b, IR_ZEXT, I32, a->dst);
    ir_call(t->b, a->row->arg == TR ? &x86_helper_ltr : &x86_helper_lldt, sel);
    return true;
}

static bool tr_store_table(X86Trans *t, X86Args *a)     /* SGDT, SIDT */
{
    umip(t);
    unsigned size = t->code64 ? 8 : 4;
    Val idt = i32(t, a->row->arg), one = i32(t, 1), zero = i32(t, 0);
    Val limit = ir_call(t->b, &x86_helper_get_table, idt, one);
    Val base = ir_call(t->b, &x86_helper_get_table, idt, zero);
    limit = ir_resize(t->b, I16, limit, false);
    base = ir_resize(t->b, x86_type(size), base, false);
    x86_limit(t, a, 2 + size, true);
    t->any_alignment = true;
    x86_store(t, a->addr, 2, limit);
    Val at = ir_addi(t->b, a->addr, 2);
    x86_store(t, at, size, base);
    return true;
}

static bool tr_load_table(X86Trans *t, X86Args *a)      /* LGDT, LIDT */
{
    unsigned size = t->code64 ? 8 : 4;
    x86_limit(t, a, 2 + size, false);
    Val limit = x86_load(t, a->addr, 2);
    Val at = ir_addi(t->b, a->addr, 2);
    Val base = x86_load(t, at, size);
    base = ir_resize(t->b, I64, base, false);
    if (t->opsize == 2 && !t->code64)
        base = ir_op2i(t->b, IR_AND, base, 0xffffff);
    limit = ir_ext(t->b, IR_ZEXT, I32, limit);
    ir_call(t->b, &x86_helper_set_table, i32(t, a->row->arg), base, limit);
    return true;
}

/* --- segments */

/* Loads seg; in 64-bit mode nothing that translation depends on has changed.  The caller's other register writes must
 * come before: this may end the block. */
static void load_seg(X86Trans *t, unsigned seg, Val sel16)
{
    Val sel = ir_ext(t->b, IR_ZEXT, I32, sel16);
    ir_call(t->b, &x86_helper_load_seg, i32(t, seg), sel);
    if (seg == SS) {
        ir_put(t->b, X_SHADOW, ir_imm(t->b, I8, SHADOW_SS));
        t->shadow = t->no_step = true;
    }
    if (t->code64)
        return;
    if (seg == SS)
        x86_exit_run(t, EXITR_NONE);    /* x86_service() sees to the end of the shadow */
    else
        end_block(t);
}

static bool tr_mov_to_seg(X86Trans *t, X86Args *a)
{
    unsigned seg = a->reg & 7;
    if (seg == CS || seg > GS)
        return false;
    load_seg(t, seg, a->src);
    return true;
}

static bool tr_mov_from_seg(X86Trans *t, X86Args *a)
{
    unsigned seg = a->reg & 7;
    if (seg > GS)
        return false;
    Val v = ir_call(t->b, &x86_helper_get_sel, i32(t, seg));
    put_word(t, a, v);
    return true;
}

static bool tr_push_seg(X86Trans *t, X86Args *a)
{
    Val v = ir_call(t->b, &x86_helper_get_sel, i32(t, a->row->arg));
    v = ir_resize(t->b, x86_type(t->opsize), v, false);
    x86_push(t, t->opsize, v);
    return true;
}

static bool tr_pop_seg(X86Trans *t, X86Args *a)
{
    Val v = x86_pop(t, t->opsize);
    v = ir_resize(t->b, I16, v, false);
    load_seg(t, a->row->arg, v);
    return true;
}

static bool tr_load_far(X86Trans *t, X86Args *a)        /* LDS LES LFS LGS LSS */
{
    x86_limit(t, a, t->opsize + 2, false);
    Val off = x86_load(t, a->addr, t->opsize);
    Val at = ir_addi(t->b, a->addr, t->opsize);
    Val sel = x86_load(t, at, 2);
    x86_put_reg(t, a->reg, t->opsize, off);
    load_seg(t, a->row->arg, sel);
    return true;
}

static bool tr_lar_lsl(X86Trans *t, X86Args *a)
{
    Val sel = ir_ext(t->b, IR_ZEXT, I32, a->src);
    Val flags = x86_get_flags(t);
    ir_call(t->b, &x86_helper_look, sel, i32(t, a->row->arg));
    Val r = ir_get(t->b, X_HELPER_RET);
    Val ok = ir_cmpi(t->b, C_LT, r, 0);                 /* bit 63 */
    Val v = ir_ext(t->b, IR_TRUNC, I32, r);
    v = ir_resize(t->b, x86_type(a->size), v, false);
    a->dst = ir_select(t->b, ok, v, a->dst);
    Val zf = ir_ext(t->b, IR_ZEXT, I32, ok);
    flags = ir_deposit(t->b, flags, zf, 6, 1);
    x86_put_eflags(t, flags);
    return true;
}

static bool tr_verr_verw(X86Trans *t, X86Args *a)
{
    Val sel = ir_ext(t->b, IR_ZEXT, I32, a->dst);
    Val flags = x86_get_flags(t);
    ir_call(t->b, &x86_helper_look, sel, i32(t, a->row->arg));
    Val r = ir_get(t->b, X_HELPER_RET);
    Val ok = ir_cmpi(t->b, C_LT, r, 0);
    Val zf = ir_ext(t->b, IR_ZEXT, I32, ok);
    flags = ir_deposit(t->b, flags, zf, 6, 1);
    x86_put_eflags(t, flags);
    return true;
}

static bool tr_arpl(X86Trans *t, X86Args *a)
{
    Val flags = x86_get_flags(t);
    Val d = ir_op2i(t->b, IR_AND, a->dst, 3);
    Val s = ir_op2i(t->b, IR_AND, a->src, 3);
    Val less = ir_cmp(t->b, C_LTU, d, s);
    Val high = ir_op2i(t->b, IR_AND, a->dst, 0xfffc);
    Val raised = ir_op2(t->b, IR_OR, high, s);
    a->dst = ir_select(t->b, less, raised, a->dst);
    Val zf = ir_ext(t->b, IR_ZEXT, I32, less);
    flags = ir_deposit(t->b, flags, zf, 6, 1);
    x86_put_eflags(t, flags);
    return true;
}

/* --- far transfers */

static void far_jmp(X86Trans *t, Val sel, Val off)
{
    Val next = x86_next_pc(t);
    ir_call(t->b, &x86_helper_far_jmp, sel, off, i32(t, t->opsize), next);
    x86_exit_mode(t);
}
static void far_call(X86Trans *t, Val sel, Val off)
{
    Val next = x86_next_pc(t);
    ir_call(t->b, &x86_helper_far_call, sel, off, i32(t, t->opsize), next);
    x86_exit_mode(t);
}

static bool tr_far_imm(X86Trans *t, X86Args *a)         /* arg: 1 call */
{
    Val sel = i32(t, (uint64_t)a->imm >> 32 & 0xffff);
    Val off = i64(t, (uint32_t)a->imm);
    (a->row->arg ? far_call : far_jmp)(t, sel, off);
    return true;
}

static bool tr_far_mem(X86Trans *t, X86Args *a)
{
    x86_limit(t, a, t->opsize + 2, false);
    Val off = x86_load(t, a->addr, t->opsize);
    Val at = ir_addi(t->b, a->addr, t->opsize);
    Val sel = x86_load(t, at, 2);
    off = ir_resize(t->b, I64, off, false);
    sel = ir_ext(t->b, IR_ZEXT, I32, sel);
    (a->row->arg ? far_call : far_jmp)(t, sel, off);
    return true;
}

static bool tr_far_ret(X86Trans *t, X86Args *a)         /* arg: 1 with an immediate */
{
    Val size = i32(t, t->opsize);
    Val extra = i32(t, a->row->arg ? a->imm & 0xffff : 0);
    ir_call(t->b, &x86_helper_far_ret, size, extra);
    x86_exit_mode(t);
    return true;
}

/* --- ports: operand letters give size and port */

static void check_port(X86Trans *t, Val port, unsigned size)
{
    if (!(t->mode & MODE_IOPL) || vm86(t))
        ir_call(t->b, &x86_helper_io_check, port, i32(t, size));
    ir_call(t->b, &x86_helper_io_break, port, i32(t, size));
}

static bool tr_in(X86Trans *t, X86Args *a)
{
    unsigned size = a->row->arg ? MIN(t->opsize, 4) : 1;
    Val port = ir_resize(t->b, I32, a->src, false);
    port = ir_op2i(t->b, IR_AND, port, a->opcode & 8 ? 0xffff : 0xff);
    check_port(t, port, size);
    Val v = ir_call(t->b, &x86_helper_in, port, i32(t, size));
    v = ir_resize(t->b, x86_type(size), v, false);
    if (size == 1)
        x86_put_reg8(t, RAX, v);
    else
        x86_put_reg(t, RAX, size, v);
    return true;
}

static bool tr_out(X86Trans *t, X86Args *a)
{
    unsigned size = a->row->arg ? MIN(t->opsize, 4) : 1;
    Val port = ir_resize(t->b, I32, a->dst, false);
    port = ir_op2i(t->b, IR_AND, port, a->opcode & 8 ? 0xffff : 0xff);
    check_port(t, port, size);
    Val v = size == 1 ? x86_get_reg8(t, RAX) : x86_get_reg(t, RAX, size);
    v = ir_resize(t->b, I64, v, false);
    ir_call(t->b, &x86_helper_out, port, i32(t, size), v);
    return true;
}

/* --- processor identification, MSRs, time, random numbers */

static bool tr_cpuid(X86Trans *t, X86Args *a)
{
    (void)a;
    ir_call(t->b, &x86_helper_cpuid);
    return true;
}

static bool tr_msr(X86Trans *t, X86Args *a)             /* arg: 1 write */
{
    ir_call(t->b, a->row->arg ? &x86_helper_wrmsr : &x86_helper_rdmsr);
    return true;
}

/* low 32 bits to EAX, high ones to EDX */
static void put_edx_eax(X86Trans *t, Val v)
{
    Val lo = ir_ext(t->b, IR_TRUNC, I32, v);
    Val hi = ir_extract(t->b, v, 32, 32);
    hi = ir_ext(t->b, IR_TRUNC, I32, hi);
    x86_put_reg(t, RAX, 4, lo);
    x86_put_reg(t, RDX, 4, hi);
}

static bool tr_rdtsc(X86Trans *t, X86Args *a)           /* arg: 1 RDTSCP */
{
    if (t->cpl)
        if_cr4(t, CR4_TSD, EXC_GP);
    Val v = ir_call(t->b, &x86_helper_tsc);
    put_edx_eax(t, v);
    if (a->row->arg) {
        Val aux = ir_call(t->b, &x86_helper_tsc_aux);
        aux = ir_ext(t->b, IR_TRUNC, I32, aux);
        x86_put_reg(t, RCX, 4, aux);
    }
    return true;
}

static bool tr_rdpid(X86Trans *t, X86Args *a)
{
    unsigned size = t->code64 ? 8 : 4;
    Val aux = ir_call(t->b, &x86_helper_tsc_aux);
    aux = ir_resize(t->b, x86_type(size), aux, false);
    x86_put_reg(t, a->rm, size, aux);
    return true;
}

static bool tr_rdpmc(X86Trans *t, X86Args *a)           /* no counters: every index is bad */
{
    (void)a;
    x86_gp0(t);
    return true;
}

static bool tr_random(X86Trans *t, X86Args *a)
{
    Val v = ir_call(t->b, &x86_helper_random);
    v = ir_resize(t->b, x86_type(t->opsize), v, false);
    x86_put_reg(t, a->rm, t->opsize, v);
    Val cf = i32(t, FL_CF);
    x86_put_eflags(t, cf);
    return true;
}

/* --- FS and GS bases */

static bool tr_swapgs(X86Trans *t, X86Args *a)
{
    (void)a;
    Val gs = ir_get(t->b, X_GS_BASE);
    Val kernel = ir_get(t->b, X_KERNEL_GS);
    ir_put(t->b, X_GS_BASE, kernel);
    ir_put(t->b, X_KERNEL_GS, gs);
    return true;
}

static bool tr_rd_base(X86Trans *t, X86Args *a)
{
    unsigned size = t->rex & 8 ? 8 : 4;
    unless_cr4(t, CR4_FSGSBASE, EXC_UD);
    Val v = ir_get(t->b, a->row->arg);
    v = ir_resize(t->b, x86_type(size), v, false);
    x86_put_reg(t, a->rm, size, v);
    return true;
}

static bool tr_wr_base(X86Trans *t, X86Args *a)
{
    unsigned size = t->rex & 8 ? 8 : 4;
    unless_cr4(t, CR4_FSGSBASE, EXC_UD);
    Val v = x86_get_reg(t, a->rm, size);
    v = ir_resize(t->b, I64, v, false);
    if (size == 8) {                                    /* #GP unless canonical */
        Val up = ir_addi(t->b, v, INT64_C(1) << 47);
        Val limit = i64(t, UINT64_C(1) << 48);
        Val bad = ir_cmp(t->b, C_GEU, up, limit);
        ir_raise_if(t->b, bad, EXC_GP, 0);
    }
    ir_put(t->b, a->row->arg, v);
    return true;
}

/* --- MONITOR and MWAIT, which only CPUs have that were asked to (SDM vol. 2; vol. 3, 9.10.4) */

static bool tr_monitor(X86Trans *t, X86Args *a)
{
    if (t->cpl)
        return false;
    Val hints = x86_get_reg(t, RCX, 4);
    Val bad = ir_cmpi(t->b, C_NE, hints, 0);
    ir_raise_if(t->b, bad, EXC_GP, 0);
    a->seg = t->seg_override >= 0 ? t->seg_override : DS;
    Val ea = x86_get_reg(t, RAX, t->adsize);
    a->ea = ir_resize(t->b, I64, ea, false);
    a->addr = x86_linear(t, a->seg, a->ea);
    x86_limit(t, a, 1, false);
    x86_load(t, a->addr, 1);
    return true;
}

/* Who stores to the line is not watched.  Among several CPUs waiting ends at once, as it may; one alone has but
 * interrupts to wait for. */
static bool tr_mwait(X86Trans *t, X86Args *a)
{
    (void)a;
    if (t->cpl)
        return false;
    Val ext = x86_get_reg(t, RCX, 4);
    Val bad = ir_op2i(t->b, IR_AND, ext, ~1u);
    bad = ir_cmpi(t->b, C_NE, bad, 0);
    ir_raise_if(t->b, bad, EXC_GP, 0);
    ir_call(t->b, &x86_helper_mwait);
    x86_exit_run(t, EXITR_HALT);
    return true;
}

/* --- TLB, caches, SMAP */

static bool tr_invlpg(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &x86_helper_invlpg, a->addr);
    return true;
}

static bool tr_invpcid(X86Trans *t, X86Args *a)
{
    Val type = x86_get_reg(t, a->reg, t->code64 ? 8 : 4);
    type = ir_resize(t->b, I64, type, false);
    x86_limit(t, a, 16, false);
    Val lo = x86_load(t, a->addr, 8);
    Val at = ir_addi(t->b, a->addr, 8);
    Val hi = x86_load(t, at, 8);
    ir_call(t->b, &x86_helper_invpcid, type, lo, hi);
    return true;
}

static bool tr_nothing(X86Trans *t, X86Args *a)         /* WBINVD and the like: there are no caches */
{
    (void)t, (void)a;
    return true;
}

static bool tr_flush_line(X86Trans *t, X86Args *a)      /* faults as a load of one byte does */
{
    x86_limit(t, a, 1, false);
    x86_load(t, a->addr, 1);
    return true;
}

static bool tr_ac(X86Trans *t, X86Args *a)              /* arg: 1 STAC */
{
    if (t->cpl)
        return false;
    ir_call(t->b, &x86_helper_prepare_ac);
    Val fl = ir_get(t->b, X_EFLAGS);
    Val ac = i64(t, FL_AC);
    Val flips = ir_cmp(t->b, a->row->arg ? C_TSTEQ : C_TSTNE, fl, ac);
    Val from = ir_get(t->b, X_CTX);
    Val to = ir_get(t->b, X_AC_CTX);
    Val now = ir_select(t->b, flips, to, from);
    Val other = ir_select(t->b, flips, from, to);
    put_flag_bit(t, FL_AC, a->row->arg);
    ir_put(t->b, X_CTX, now);
    ir_put(t->b, X_AC_CTX, other);
    return true;
}

/* MFENCE (arg 1).  LFENCE and SFENCE ask for what x86 hosts give every load and store: streaming stores are made as
 * plain ones. */
static bool tr_fence(X86Trans *t, X86Args *a)
{
    if (a->row->arg)
        ir_fence(t->b);
    return true;
}

/* --- XCR0 and the state areas */

static bool tr_xgetbv(X86Trans *t, X86Args *a)
{
    (void)a;
    unless_cr4(t, CR4_OSXSAVE, EXC_UD);
    ir_call(t->b, &x86_helper_xgetbv);
    Val v = ir_get(t->b, X_HELPER_RET);
    put_edx_eax(t, v);
    return true;
}

static bool tr_xsetbv(X86Trans *t, X86Args *a)
{
    (void)a;
    unless_cr4(t, CR4_OSXSAVE, EXC_UD);
    if (t->cpl)
        x86_gp0(t);
    else
        ir_call(t->b, &x86_helper_xsetbv);
    return true;
}

enum { FX_SAVE, FX_RSTOR, X_SAVE, X_SAVEOPT, X_SAVEC, X_SAVES, X_RSTOR, X_RSTORS };

static bool tr_state(X86Trans *t, X86Args *a)
{
    Val wide = i32(t, t->rex & 8 ? 1 : 0);
    bool load = a->row->arg == FX_RSTOR || a->row->arg >= X_RSTOR;
    x86_limit(t, a, a->row->arg >= X_SAVE ? 576 : 512, !load);  /* XSAVE's further parts are not looked at */
    if (a->row->arg < X_SAVE)
        x86_check_aligned(t, a->addr, 4);       /* all else is #GP, and XSAVE's always (SDM vol. 2, FXSAVE; AMD's hardware) */
    switch (a->row->arg) {
    case FX_SAVE: ir_call(t->b, &x86_helper_fxsave, a->addr, wide); break;
    case FX_RSTOR: ir_call(t->b, &x86_helper_fxrstor, a->addr, wide); break;
    case X_SAVE: ir_call(t->b, &x86_helper_xsave, a->addr, wide, i32(t, 0)); break;
    case X_SAVEOPT: ir_call(t->b, &x86_helper_xsave, a->addr, wide, i32(t, 1)); break;
    case X_SAVEC: ir_call(t->b, &x86_helper_xsavec, a->addr, wide, i32(t, 0)); break;
    case X_SAVES: ir_call(t->b, &x86_helper_xsavec, a->addr, wide, i32(t, 1)); break;
    case X_RSTOR: ir_call(t->b, &x86_helper_xrstor, a->addr, wide, i32(t, 0)); break;
    default: ir_call(t->b, &x86_helper_xrstor, a->addr, wide, i32(t, 1)); break;
    }
    return true;
}

static bool tr_pkru(X86Trans *t, X86Args *a)            /* arg: 1 WRPKRU */
{
    unless_cr4(t, CR4_PKE, EXC_UD);
    ir_call(t->b, a->row->arg ? &x86_helper_wrpkru : &x86_helper_rdpkru);
    return true;
}

const X86Row x86_rows_sys[] = {
    { "06",           "",       tr_push_seg,     ES,         R_NO64 },
    { "07",           "",       tr_pop_seg,      ES,         R_NO64 },
    { "0E",           "",       tr_push_seg,     CS,         R_NO64 },
    { "16",           "",       tr_push_seg,     SS,         R_NO64 },
    { "17",           "",       tr_pop_seg,      SS,         R_NO64 },
    { "1E",           "",       tr_push_seg,     DS,         R_NO64 },
    { "1F",           "",       tr_pop_seg,      DS,         R_NO64 },
    { "63 /r",        "Ew Gw",  tr_arpl,         0,          R_NO64 | R_PROT },
    { "8C /r",        "E",      tr_mov_from_seg, 0,          R_KEEP },
    { "8E /r",        "Sw Ew",  tr_mov_to_seg,   0,          R_KEEP },
    { "9A cp",        "Ap",     tr_far_imm,      1,          R_NO64 | R_KEEP },
    { "9C",           "",       tr_pushf,        0,          R_DEF64 },
    { "9D",           "",       tr_popf,         0,          R_DEF64 | R_ENDS },
    { "C4 /r",        "M",      tr_load_far,     ES,         R_NO64 | R_KEEP },
    { "C5 /r",        "M",      tr_load_far,     DS,         R_NO64 | R_KEEP },
    { "CA iw",        "Iw",     tr_far_ret,      1,          R_KEEP },
    { "CB",           "",       tr_far_ret,      0,          0 },
    { "CF",           "",       tr_iret,         0,          0 },
    { "E4 ib",        "AL Ib",  tr_in,           0,          R_KEEP },
    { "E5 ib",        "eAX Ib", tr_in,           1,          R_KEEP },
    { "E6 ib",        "Ib AL",  tr_out,          0,          R_KEEP },
    { "E7 ib",        "Ib eAX", tr_out,          1,          R_KEEP },
    { "EA cp",        "Ap",     tr_far_imm,      0,          R_NO64 | R_KEEP },
    { "EC",           "AL DX",  tr_in,           0,          R_KEEP },
    { "ED",           "eAX DX", tr_in,           1,          R_KEEP },
    { "EE",           "DX AL",  tr_out,          0,          R_KEEP },
    { "EF",           "DX eAX", tr_out,          1,          R_KEEP },
    { "F4",           "",       tr_hlt,          0,          R_CPL0 },
    { "FA",           "",       tr_cli,          0,          0 },
    { "FB",           "",       tr_sti,          0,          0 },
    { "FF /3",        "M",      tr_far_mem,      1,          R_KEEP },
    { "FF /5",        "M",      tr_far_mem,      0,          R_KEEP },

    { "0F 00 /0",     "E",      tr_store_sel,    LDTR,       R_KEEP | R_PROT },
    { "0F 00 /1",     "E",      tr_store_sel,    TR,         R_KEEP | R_PROT },
    { "0F 00 /2",     "Ew",     tr_lldt_ltr,     LDTR,       R_KEEP | R_PROT | R_CPL0 },
    { "0F 00 /3",     "Ew",     tr_lldt_ltr,     TR,         R_KEEP | R_PROT | R_CPL0 },
    { "0F 00 /4",     "Ew",     tr_verr_verw,    LOOK_VERR,  R_KEEP | R_PROT },
    { "0F 00 /5",     "Ew",     tr_verr_verw,    LOOK_VERW,  R_KEEP | R_PROT },
    { "NP 0F 01 C8",  "",       tr_monitor,      0,          0, X86F_MONITOR },
    { "NP 0F 01 C9",  "",       tr_mwait,        0,          0, X86F_MONITOR },
    { "NP 0F 01 CA",  "",       tr_ac,           0,          R_ENDS, X86F_SMAP },
    { "NP 0F 01 CB",  "",       tr_ac,           1,          R_ENDS, X86F_SMAP },
    { "NP 0F 01 D0",  "",       tr_xgetbv,       0,          0, X86F_XSAVE },
    { "NP 0F 01 D1",  "",       tr_xsetbv,       0,          R_ENDS, X86F_XSAVE },
    { "NP 0F 01 E8",  "",       tr_nothing,      0,          R_ENDS, X86F_SERIALIZE },
    { "NP 0F 01 EE",  "",       tr_pkru,         0,          0, X86F_PKU },
    { "NP 0F 01 EF",  "",       tr_pkru,         1,          R_ENDS, X86F_PKU },
    { "0F 01 F8",     "",       tr_swapgs,       0,          R_ONLY64 | R_CPL0 },
    { "0F 01 F9",     "",       tr_rdtsc,        1,          0, X86F_RDTSCP },
    { "0F 01 /0",     "M",      tr_store_table,  0,          R_KEEP },
    { "0F 01 /1",     "M",      tr_store_table,  1,          R_KEEP },
    { "0F 01 /2",     "M",      tr_load_table,   0,          R_KEEP | R_CPL0 },
    { "0F 01 /3",     "M",      tr_load_table,   1,          R_KEEP | R_CPL0 },
    { "0F 01 /4",     "E",      tr_smsw,         0,          R_KEEP },
    { "0F 01 /6",     "Ew",     tr_lmsw,         0,          R_KEEP | R_CPL0 | R_ENDS },
    { "0F 01 /7",     "M",      tr_invlpg,       0,          R_KEEP | R_CPL0 | R_ENDS },
    { "0F 02 /r",     "Gv Ew",  tr_lar_lsl,      LOOK_LAR,   R_PROT },
    { "0F 03 /r",     "Gv Ew",  tr_lar_lsl,      LOOK_LSL,   R_PROT },
    { "0F 05",        "",       tr_syscall,      0,          0, X86F_SYSCALL },
    { "0F 06",        "",       tr_clts,         0,          R_CPL0 | R_ENDS },
    { "0F 07",        "",       tr_sysret,       0,          0, X86F_SYSCALL },
    { "0F 08",        "",       tr_nothing,      0,          R_CPL0 },       /* INVD */
    { "0F 09",        "",       tr_nothing,      0,          R_CPL0 },       /* WBINVD, WBNOINVD */
    { "0F 20 /0",     "Rd Cd",  tr_mov_from_cr,  0,          R_KEEP | R_CPL0 | R_LOCK },
    { "0F 20 /2",     "Rd Cd",  tr_mov_from_cr,  0,          R_KEEP | R_CPL0 | R_LOCK },
    { "0F 20 /3",     "Rd Cd",  tr_mov_from_cr,  0,          R_KEEP | R_CPL0 | R_LOCK },
    { "0F 20 /4",     "Rd Cd",  tr_mov_from_cr,  0,          R_KEEP | R_CPL0 | R_LOCK },
    { "0F 21 /r",     "Rd Dd",  tr_mov_from_dr,  0,          R_KEEP | R_CPL0 },
    { "0F 22 /0",     "Cd Rd",  tr_mov_to_cr,    0,          R_KEEP | R_CPL0 | R_ENDS | R_LOCK },
    { "0F 22 /2",     "Cd Rd",  tr_mov_to_cr,    0,          R_KEEP | R_CPL0 | R_ENDS | R_LOCK },
    { "0F 22 /3",     "Cd Rd",  tr_mov_to_cr,    0,          R_KEEP | R_CPL0 | R_ENDS | R_LOCK },
    { "0F 22 /4",     "Cd Rd",  tr_mov_to_cr,    0,          R_KEEP | R_CPL0 | R_ENDS | R_LOCK },
    { "0F 23 /r",     "Dd Rd",  tr_mov_to_dr,    0,          R_KEEP | R_CPL0 | R_ENDS },
    { "0F 30",        "",       tr_msr,          1,          R_CPL0 | R_ENDS, X86F_MSR },
    { "0F 31",        "",       tr_rdtsc,        0,          0, X86F_TSC },
    { "0F 32",        "",       tr_msr,          0,          R_CPL0, X86F_MSR },
    { "0F 33",        "",       tr_rdpmc,        0,          0 },
    { "0F 34",        "",       tr_sysenter,     0,          0, X86F_SEP },
    { "0F 35",        "",       tr_sysexit,      0,          0, X86F_SEP },
    { "0F A0",        "",       tr_push_seg,     FS,         R_DEF64 },
    { "0F A1",        "",       tr_pop_seg,      FS,         R_DEF64 },
    { "0F A2",        "",       tr_cpuid,        0,          0 },
    { "0F A8",        "",       tr_push_seg,     GS,         R_DEF64 },
    { "0F AA",        "",       tr_rsm,          0,          0 },
    { "0F A9",        "",       tr_pop_seg,      GS,         R_DEF64 },
    { "F3 0F AE /0",  "Rd",     tr_rd_base,      X_FS_BASE,  R_KEEP | R_ONLY64, X86F_FSGSBASE },
    { "F3 0F AE /1",  "Rd",     tr_rd_base,      X_GS_BASE,  R_KEEP | R_ONLY64, X86F_FSGSBASE },
    { "F3 0F AE /2",  "Rd",     tr_wr_base,      X_FS_BASE,  R_KEEP | R_ONLY64, X86F_FSGSBASE },
    { "F3 0F AE /3",  "Rd",     tr_wr_base,      X_GS_BASE,  R_KEEP | R_ONLY64, X86F_FSGSBASE },
    { "66 0F AE /6",  "M",      tr_flush_line,   0,          R_KEEP, X86F_CLWB },
    { "66 0F AE /7",  "M",      tr_flush_line,   0,          R_KEEP, X86F_CLFLUSHOPT },
    { "NP 0F AE /0",  "M",      tr_state,        FX_SAVE,    R_KEEP | R_FPU, X86F_FXSR },
    { "NP 0F AE /1",  "M",      tr_state,        FX_RSTOR,   R_KEEP | R_FPU | R_ENDS, X86F_FXSR },
    { "NP 0F AE /4",  "M",      tr_state,        X_SAVE,     R_KEEP | R_XSTATE, X86F_XSAVE },
    { "NP 0F AE /5",  "M",      tr_state,        X_RSTOR,    R_KEEP | R_XSTATE | R_ENDS, X86F_XSAVE },
    { "NP 0F AE /6",  "M",      tr_state,        X_SAVEOPT,  R_KEEP | R_XSTATE, X86F_XSAVEOPT },
    { "NP 0F AE /5",  "",       tr_fence,        0,          R_REGONLY, X86F_SSE2 },
    { "NP 0F AE /6",  "",       tr_fence,        1,          R_REGONLY, X86F_SSE2 },
    { "NP 0F AE /7",  "",       tr_fence,        0,          R_REGONLY, X86F_SSE },
    { "NP 0F AE /7",  "M",      tr_flush_line,   0,          R_KEEP, X86F_CLFLUSH },
    { "0F B2 /r",     "M",      tr_load_far,     SS,         R_KEEP },
    { "0F B4 /r",     "M",      tr_load_far,     FS,         R_KEEP },
    { "0F B5 /r",     "M",      tr_load_far,     GS,         R_KEEP },
    { "NP 0F C7 /3",  "M",      tr_state,        X_RSTORS,   R_KEEP | R_XSTATE | R_CPL0 | R_ENDS, X86F_XSAVES },
    { "NP 0F C7 /4",  "M",      tr_state,        X_SAVEC,    R_KEEP | R_XSTATE, X86F_XSAVEC },
    { "NP 0F C7 /5",  "M",      tr_state,        X_SAVES,    R_KEEP | R_XSTATE | R_CPL0, X86F_XSAVES },
    { "F3 0F C7 /7",  "Rd",     tr_rdpid,        0,          R_KEEP, X86F_RDPID },
    { "NP 0F C7 /6",     "Rd",     tr_random,       0,          R_KEEP, X86F_RDRAND },
    { "66 0F C7 /6",     "Rd",     tr_random,       0,          R_KEEP, X86F_RDRAND },
    { "NP 0F C7 /7",     "Rd",     tr_random,       0,          R_KEEP, X86F_RDSEED },
    { "66 0F C7 /7",     "Rd",     tr_random,       0,          R_KEEP, X86F_RDSEED },
    { "66 0F 38 82 /r", "M",    tr_invpcid,      0,          R_KEEP | R_CPL0 | R_ENDS, X86F_INVPCID },
    { NULL },
};
