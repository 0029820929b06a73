/* SPDX-License-Identifier: GPL-2.0-or-later
 * The driver of the x86 translator: builds one block.  It decodes an instruction, checks what its row demands, reads
 * the operands, calls the row and writes back; registers and flags stay pending until ir_insn_end(), so that a fault
 * of the write-back finds the state of the instruction's start.
 *
 * Blocks run on past conditional branches that are not taken (a side exit each), within one guest page. */
#include "tcg/hostop.h"
#include "target/x86/decode.h"
#include "target/x86/vector.h"

enum { MAX_BLOCK_INSNS = 64, MAX_SIDE_EXITS = 4, FETCH_SLACK = 40 };

/* --- registers and memory */

static unsigned log2_size(unsigned size) { return __builtin_ctz(size); }

Val x86_get_reg(X86Trans *t, unsigned reg, unsigned size)
{
    Val v = ir_get(t->b, X_RAX + reg);
    return size == 8 ? v : ir_ext(t->b, IR_TRUNC, x86_type(size), v);
}

/* APM vol. 3 section 1.2.7: without REX the numbers 4 to 7 are AH CH DH BH. */
static bool is_high(const X86Trans *t, unsigned reg) { return !t->rex && reg >= 4 && reg < 8; }

Val x86_get_reg8(X86Trans *t, unsigned reg)
{
    if (!is_high(t, reg))
        return x86_get_reg(t, reg, 1);
    Val v = ir_get(t->b, X_RAX + reg - 4);
    v = ir_extract(t->b, v, 8, 8);
    return ir_ext(t->b, IR_TRUNC, I8, v);
}

void x86_put_reg(X86Trans *t, unsigned reg, unsigned size, Val v)
{
    if (size >= 4) {
        v = ir_ext(t->b, IR_ZEXT, I64, v);
    } else {
        Val old = ir_get(t->b, X_RAX + reg);
        v = ir_ext(t->b, IR_ZEXT, I64, v);
        v = ir_deposit(t->b, old, v, 0, size * 8);
    }
    ir_put(t->b, X_RAX + reg, v);
}

void x86_put_reg8(X86Trans *t, unsigned reg, Val v)
{
    bool high = is_high(t, reg);
    unsigned slot = X_RAX + reg - (high ? 4 : 0);
    Val old = ir_get(t->b, slot);
    v = ir_ext(t->b, IR_ZEXT, I64, v);
    v = ir_deposit(t->b, old, v, high ? 8 : 0, 8);
    ir_put(t->b, slot, v);
}

static unsigned memop(const X86Trans *t, unsigned size)
{
    return log2_size(size) | (size >= 16 && t->aligned ? MO_ALIGN : x86_align_op(t, size));
}

void x86_check_aligned(X86Trans *t, Val addr, unsigned align)
{
    if (G_LIKELY(!(t->mode & MODE_AC)))
        return;
    Val low = ir_op2i(t->b, IR_AND, addr, align - 1);
    Val zero = ir_imm(t->b, I64, 0);
    Val bad = ir_cmp(t->b, C_NE, low, zero);
    ir_raise_if(t->b, bad, EXC_AC, 0);
}

/* MODE_AC: operands of 16 and 32 bytes that need not be aligned for #GP must be to 16 for #AC (APM vol. 2,
 * 8.2.18; so AMD's processors do). */
static void check_vector(X86Trans *t, Val addr, unsigned size)
{
    if (size >= 16 && !t->aligned && !t->any_alignment)
        x86_check_aligned(t, addr, 16);
}

/* x86 is TSO: every load acquires, every store releases. */
Val x86_load(X86Trans *t, Val addr, unsigned size)
{
    check_vector(t, addr, size);
    return ir_load(t->b, x86_type(size), memop(t, size) | MO_ACQ, addr);
}

void x86_store(X86Trans *t, Val addr, unsigned size, Val v)
{
    check_vector(t, addr, size);
    ir_store(t->b, memop(t, size) | MO_REL, addr, v);
}

Val x86_atomic(X86Trans *t, X86Args *a, AtomicOp op, Val b, Val c)
{
    return ir_atomic(t->b, op, log2_size(a->size) | x86_align_op(t, a->size) | MO_ACQ | MO_REL | MO_SC, a->addr, b, c);
}

extern const IrHelper x86_helper_limit;         /* helper_int.c */
extern const IrHelper x86_helper_mmx_off, x86_helper_x87_check;         /* translate_x87.c */

static void check_limit(X86Trans *t, unsigned seg, Val ea, unsigned len, bool write)
{
    Val what = ir_imm(t->b, I32, seg | (unsigned)write << 7 | len << 8);
    ir_call(t->b, &x86_helper_limit, what, ea);
}

void x86_limit(X86Trans *t, const X86Args *a, unsigned len, bool write)
{
    if (t->mode & MODE_LIMITS && !t->code64)
        check_limit(t, a->seg, a->ea, len, write);
}

Val x86_linear(X86Trans *t, unsigned seg, Val ea)
{
    Ir *b = t->b;
    if (t->code64) {
        if (seg < FS)
            return ea;
        Val base = ir_get(b, X_ES_BASE + seg);
        return ir_op2(b, IR_ADD, base, ea);
    }
    if (t->mode & MODE_LIMITS && t->limit_len)
        check_limit(t, seg, ea, t->limit_len, t->limit_write);
    if (seg < FS && !(t->mode & MODE_BASES))
        return ea;
    Val base = ir_get(b, X_ES_BASE + seg);
    Val sum = ir_op2(b, IR_ADD, base, ea);
    return ir_op2i(b, IR_AND, sum, 0xffffffff);
}

static Val mask_address(X86Trans *t, Val v, unsigned size)
{
    return size == 8 ? v : ir_op2i(t->b, IR_AND, v, size == 4 ? 0xffffffff : 0xffff);
}

void x86_mem(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val v = VAL_NONE;
    if (a->base == 16) {
        v = ir_pc(b, (int64_t)t->next + a->disp);
    } else {
        if (a->base >= 0)
            v = ir_get(b, X_RAX + a->base);
        if (a->index >= 0) {
            Val index = ir_get(b, X_RAX + a->index);
            if (a->scale)
                index = ir_op2i(b, IR_SHL, index, a->scale);
            v = v ? ir_op2(b, IR_ADD, v, index) : index;
        }
        if (!v)
            v = ir_imm(b, I64, a->disp);
        else if (a->disp)
            v = ir_addi(b, v, a->disp);
    }
    a->ea = mask_address(t, v, t->adsize);
    a->addr = x86_linear(t, a->seg, a->ea);
}

/* --- the stack */

/* rSP + off, as an offset in SS. */
static Val stack_offset(X86Trans *t, int off)
{
    Val sp = ir_get(t->b, X_RSP);
    if (off)
        sp = ir_addi(t->b, sp, off);
    return mask_address(t, sp, t->stksize);
}

Val x86_stack_addr(X86Trans *t, int off)
{
    Val sp = stack_offset(t, off);
    return x86_linear(t, SS, sp);
}

/* An 8-, 4- or 2-byte stack pointer; the narrow one leaves the rest of ESP alone. */
static void put_sp(X86Trans *t, Val sp)
{
    if (t->stksize == 2) {
        Val old = ir_get(t->b, X_RSP);
        sp = ir_deposit(t->b, old, sp, 0, 16);
    }
    ir_put(t->b, X_RSP, sp);
}

void x86_add_sp(X86Trans *t, int n)
{
    Val sp = stack_offset(t, n);
    put_sp(t, sp);
}

void x86_push(X86Trans *t, unsigned size, Val v)
{
    Val sp = stack_offset(t, -(int)size);
    t->limit_len = size;
    t->limit_write = true;
    Val addr = x86_linear(t, SS, sp);
    x86_store(t, addr, size, v);
    put_sp(t, sp);
}

Val x86_pop(X86Trans *t, unsigned size)
{
    t->limit_len = size;
    t->limit_write = false;
    Val addr = x86_stack_addr(t, 0);
    Val v = x86_load(t, addr, size);
    x86_add_sp(t, size);
    return v;
}

/* --- leaving */

Val x86_next_pc(X86Trans *t)
{
    Val pc = ir_pc(t->b, t->next);
    return t->code64 ? pc : ir_op2i(t->b, IR_AND, pc, 0xffffffff);
}

void x86_put_pc(X86Trans *t, Val pc)
{
    if (!t->code64)
        pc = ir_op2i(t->b, IR_AND, pc, 0xffffffff);
    ir_put(t->b, X_PC, pc);
}

/* Where a near jump to off goes: 16-bit operand size keeps only IP (SDM, JMP). */
static Val jump_pc(X86Trans *t, int64_t off)
{
    Val pc = ir_pc(t->b, off);
    return t->code64 ? pc : ir_op2i(t->b, IR_AND, pc, t->opsize == 2 ? 0xffff : 0xffffffff);
}

/* May be said relative to the block's pc.  EIP wraps, but never inside a page that starts at a multiple of its size. */
static bool is_direct(const X86Trans *t, int64_t off)
{
    if (t->code64)
        return off == (int32_t)off;
    if ((t->mode & (MODE_CS | MODE_BASES)) != MODE_CS32 || t->opsize == 2)
        return false;
    int64_t start = (int64_t)(t->req->pc & (PAGE_SIZE - 1));
    return off >= -start && off < PAGE_SIZE - start;
}

/* #GP(0) if offset `at` (I64) lies beyond CS (and p, unless it is VAL_NONE). */
static void check_code(X86Trans *t, Val at, Val p)
{
    Val limit = ir_get(t->b, X_CS_LIMIT);
    limit = ir_ext(t->b, IR_ZEXT, I64, limit);
    if (p) {
        Val zero = ir_imm(t->b, I64, 0);
        at = ir_select(t->b, p, at, zero);
    }
    Val beyond = ir_cmp(t->b, C_GTU, at, limit);
    ir_raise_if(t->b, beyond, EXC_GP, 0);
}

void x86_check_target(X86Trans *t, Val pc)
{
    if (t->mode & MODE_LIMITS && !t->code64)
        check_code(t, pc, VAL_NONE);
}

void x86_check_jump(X86Trans *t, Val p, int64_t off)
{
    if (t->mode & MODE_LIMITS && !t->code64) {
        Val pc = jump_pc(t, off);
        check_code(t, pc, p);
    }
}

/* The instruction's own bytes, before anything else of it. */
static void check_fetch(X86Trans *t, unsigned len)
{
    Val last = ir_pc(t->b, t->off + len - 1);
    check_code(t, last, VAL_NONE);
}

static void end_insn(X86Trans *t)
{
    ir_insn_end(t->b);
    t->ended = true;
}

extern const IrHelper x86_helper_step_soon;     /* helper_int.c */

/* how: X86Step, VAL_NONE: as t->plain says. */
static void step_soon(X86Trans *t, Val how)
{
    if (!(t->mode & MODE_TF) || t->no_step)
        return;
    if (!how)
        how = ir_imm(t->b, I32, t->plain ? STEP_PLAIN : STEP_BRANCH);
    ir_call(t->b, &x86_helper_step_soon, how);
}

static void exit_indirect(X86Trans *t, Val how)
{
    step_soon(t, how);
    end_insn(t);
    ir_exit_indirect(t->b);
    t->done = true;
}

void x86_exit_indirect(X86Trans *t) { exit_indirect(t, VAL_NONE); }

void x86_exit_mode(X86Trans *t)
{
    step_soon(t, VAL_NONE);
    end_insn(t);
    ir_exit_mode(t->b);
    t->done = true;
}

void x86_exit_run(X86Trans *t, unsigned reason)
{
    end_insn(t);
    ir_exit_run(t->b, reason, t->next);
    t->done = true;
}

void x86_exit_to(X86Trans *t, int64_t off)
{
    if (!is_direct(t, off)) {
        Val pc = jump_pc(t, off);
        ir_put(t->b, X_PC, pc);
        x86_exit_indirect(t);
        return;
    }
    end_insn(t);
    if (t->mode & MODE_TF && !t->no_step) {     /* an instruction of its own, that leaves with the #DB recorded */
        ir_insn_start_extra(t->b, off);
        Val pc = ir_pc(t->b, off);
        Val how = ir_imm(t->b, I32, t->plain ? STEP_PLAIN : STEP_BRANCH);
        ir_call(t->b, &x86_helper_single_step, pc, how);
        ir_insn_end(t->b);
    }
    if (t->mode & MODE_TF && t->no_step)
        ir_exit_run(t->b, EXITR_NONE, off);     /* x86_service() sees to the shadow */
    else
        ir_exit_direct(t->b, off);
    t->done = true;
}

/* The return stack is for programs: the kernel's short paths have few call sites each, which look-ups serve faster. */
void x86_exit_call(X86Trans *t)
{
    if (t->cpl == 3 && t->done && !(t->mode & MODE_TF) && is_direct(t, t->next))
        ir_exit_is_call(t->b, t->next);
}

void x86_exit_return(X86Trans *t)
{
    x86_exit_indirect(t);
    if (t->cpl == 3)
        ir_exit_is_return(t->b);
}

/* If p the pc goes to off, else on; yes, no: X86Step. */
static void exit_select(X86Trans *t, Val p, int64_t off, unsigned yes, unsigned no)
{
    Val there = jump_pc(t, off);
    Val next = x86_next_pc(t);
    Val pc = ir_select(t->b, p, there, next);
    ir_put(t->b, X_PC, pc);
    Val a = ir_imm(t->b, I32, yes), b = ir_imm(t->b, I32, no);
    Val how = ir_select(t->b, p, a, b);
    exit_indirect(t, how);
}

void x86_exit_to_if(X86Trans *t, Val p, int64_t off)
{
    uint64_t known;
    if (ir_is_imm(t->b, p, &known)) {
        if (known)
            x86_exit_to(t, off);
        return;
    }
    if (t->mode & MODE_TF || !is_direct(t, off)) {
        exit_select(t, p, off, STEP_BRANCH, STEP_PLAIN);
        return;
    }
    end_insn(t);
    ir_exit_direct_if(t->b, p, off);
    t->side_exits++;
}

void x86_exit_again_if(X86Trans *t, Val p)
{
    if (t->mode & MODE_TF)
        exit_select(t, p, t->off, STEP_NONE, STEP_PLAIN);
    else
        x86_exit_to_if(t, p, t->off);
}

static void raise_exc(X86Trans *t, unsigned vector, uint32_t error)
{
    ir_raise(t->b, vector, error);
    t->ended = t->done = true;
}

void x86_ud(X86Trans *t) { raise_exc(t, EXC_UD, 0); }
void x86_gp0(X86Trans *t) { raise_exc(t, EXC_GP, 0); }

/* --- operands */

static Val read_mem(X86Trans *t, X86Args *a, unsigned size, bool rmw)
{
    return ir_load(t->b, x86_type(size), log2_size(size) | x86_align_op(t, size) | MO_ACQ | (rmw ? MO_RMW : 0), a->addr);
}

static Val read_vec(X86Trans *t, X86Args *a, unsigned size)
{
    if (size < 4) {
        Val v = read_mem(t, a, size, false);
        v = ir_ext(t->b, IR_ZEXT, I32, v);
        return ir_host(t->b, V128T, HOP_MOVDV, v, VAL_NONE, VAL_NONE, 0);
    }
    check_vector(t, a->addr, size);
    return ir_load(t->b, size == 32 ? V256T : V128T, memop(t, size) | MO_ACQ, a->addr);
}

Val x86_get_vec(X86Trans *t, unsigned r, unsigned size)
{
    Val low = ir_get(t->b, X_XMM0 + r);
    if (size < 32)
        return low;
    Val high = ir_get(t->b, X_YMMH0 + r);
    return ir_concat(t->b, low, high);
}

void x86_put_vec(X86Trans *t, unsigned r, Val v)
{
    bool wide = val_type(t->b, v) == V256T;
    Val low = wide ? ir_low(t->b, v) : v, high = wide ? ir_high(t->b, v) : ir_imm128(t->b, 0, 0);
    ir_put(t->b, X_XMM0 + r, low);
    ir_put(t->b, X_YMMH0 + r, high);
}

static void put_vec(X86Trans *t, unsigned r, Val v)
{
    if (t->vex)
        x86_put_vec(t, r, v);
    else
        x86_put_xmm(t, r, v);
}

static Val get_gpr(X86Trans *t, unsigned reg, unsigned size)
{
    return size == 1 ? x86_get_reg8(t, reg) : x86_get_reg(t, reg, size);
}

static void put_gpr(X86Trans *t, unsigned reg, unsigned size, Val v)
{
    if (size == 1)
        x86_put_reg8(t, reg, v);
    else
        x86_put_reg(t, reg, size, v);
}

static Val read_op(X86Trans *t, X86Args *a, const X86Op *op, bool rmw)
{
    unsigned size = x86_op_size(t, op);
    switch (op->kind) {
    case OPK_E:
        if (!size)
            return VAL_NONE;
        return a->is_mem ? read_mem(t, a, size, rmw) : get_gpr(t, a->rm, size);
    case OPK_G:
        return get_gpr(t, a->reg, size);
    case OPK_R:
    case OPK_Z:
        return get_gpr(t, a->rm, size);
    case OPK_O:
        return read_mem(t, a, size, rmw);
    case OPK_M:
    case OPK_Q:
        return a->is_mem && size ? read_mem(t, a, size, rmw) : VAL_NONE;
    case OPK_I:
        return a->size <= 8 && !(a->row->flags & (R_SSE | R_AVX)) ? ir_imm(t->b, x86_type(a->size), a->imm) : VAL_NONE;
    case OPK_V:
        return x86_get_vec(t, a->reg, size);
    case OPK_MV:
    case OPK_W:
        return a->is_mem ? read_vec(t, a, size) : x86_get_vec(t, a->rm, size);
    case OPK_U:
        return x86_get_vec(t, a->rm, size);
    case OPK_H:
        return x86_get_vec(t, t->vvvv, size);
    case OPK_L:
        return x86_get_vec(t, a->imm8 >> 4 & (t->code64 ? 15 : 7), size);
    case OPK_REG:
        return x86_get_reg(t, op->reg, size);
    case OPK_AH: {
        Val v = ir_get(t->b, X_RAX);
        v = ir_extract(t->b, v, 8, 8);
        return ir_ext(t->b, IR_TRUNC, I8, v);
    }
    case OPK_ONE:
        return ir_imm(t->b, I8, 1);
    case OPK_XMM0:
        return x86_get_xmm(t, 0);
    case OPK_B:
        return get_gpr(t, t->vvvv, size);
    default:
        return VAL_NONE;
    }
}

static void write_op(X86Trans *t, X86Args *a, const X86Op *op, Val v)
{
    unsigned size = x86_op_size(t, op);
    switch (op->kind) {
    case OPK_E:
    case OPK_M:
    case OPK_Q:
    case OPK_O:
        if (!size || !v)
            return;
        if (a->is_mem)
            x86_store(t, a->addr, size, v);
        else if (op->kind == OPK_E)
            put_gpr(t, a->rm, size, v);
        return;
    case OPK_G:
        put_gpr(t, a->reg, size, v);
        return;
    case OPK_R:
    case OPK_Z:
        put_gpr(t, a->rm, size, v);
        return;
    case OPK_V:
        put_vec(t, a->reg, v);
        return;
    case OPK_H:
        put_vec(t, t->vvvv, v);
        return;
    case OPK_MV:
    case OPK_W:
        if (a->is_mem)
            x86_store(t, a->addr, size, v);
        else
            put_vec(t, a->rm, v);
        return;
    case OPK_U:
        put_vec(t, a->rm, v);
        return;
    case OPK_REG:
        x86_put_reg(t, op->reg, size, v);
        return;
    case OPK_B:
        put_gpr(t, t->vvvv, size, v);
        return;
    default:
        return;
    }
}

/* --- one instruction */

/* Rows of MMX registers: x87 has its opcodes, FXSAVE is 0F AE. */
static bool is_mmx(const X86Dec *d)
{
    return d->row->flags & R_FPU && d->map && d->opcode != 0xae;
}

/* False: it has raised. */
static bool check_row(X86Trans *t, const X86Args *a, const X86Dec *d)
{
    uint32_t flags = d->row->flags;
    if (G_UNLIKELY(t->lock) && !(flags & R_LOCK && ((a->is_mem && d->rm_op == 0) || flags & R_CPL0))) {
        x86_ud(t);
        return false;
    }
    if (G_LIKELY(!(flags & (R_CPL0 | R_SSE | R_FPU | R_AVX | R_XSTATE | R_PROT))))
        return true;
    if (flags & R_PROT && t->mode & MODE_REAL) {
        x86_ud(t);
        return false;
    }
    if (flags & R_XSTATE)
        x86_check_xstate(t);
    if (flags & R_CPL0 && t->cpl) {
        x86_gp0(t);
        return false;
    }
    if (flags & R_SSE && t->mode & MODE_SSE_UD) {
        x86_ud(t);
        return false;
    }
    if (flags & R_AVX)
        return x86_avx_enabled(t);
    if (flags & (R_SSE | R_FPU) && t->mode & MODE_FPU_NM) {
        if (is_mmx(d))                  /* CR0.EM: #UD (SDM vol. 3, table 12-1) */
            ir_call(t->b, &x86_helper_mmx_off);
        raise_exc(t, EXC_NM, 0);
        return false;
    }
    return true;
}

/* False: #UD after all. */
static bool run_row(X86Trans *t, X86Args *a, const X86Dec *d)
{
    const X86Row *row = d->row;
    uint32_t flags = row->flags;
    t->aligned = t->vex ? flags & R_ALIGN : !(flags & R_NOALIGN);
    t->any_alignment = false;
    t->limit_len = 0;
    a->dst = a->src = a->src2 = a->src3 = VAL_NONE;
    a->size = d->n_ops ? x86_op_size(t, &d->op[0]) : 0;
    if (!a->size)
        a->size = t->opsize;
    if (!row->fn)
        return true;
    if (a->is_mem) {
        t->limit_len = d->rm_op >= 0 ? x86_op_size(t, &d->op[d->rm_op]) : d->n_ops ? a->size : 0;
        /* BT and the like: once the bit's place is known; POP: the stack's goes first */
        if ((d->map == 1 && (d->opcode & 0xe7) == 0xa3) || (d->map == 0 && d->opcode == 0x8f))
            t->limit_len = 0;
        t->limit_write = d->rm_op == 0 && !(flags & R_KEEP);
        x86_mem(t, a);
    }
    /* A pending x87 error goes before the operand's faults (SDM vol. 3, table 6-2).  CVTPI2PS and CVTPI2PD do not ask. */
    if (G_UNLIKELY(a->is_mem && flags & R_FPU) && is_mmx(d) && d->opcode != 0x2a)
        ir_call(t->b, &x86_helper_x87_check);
    /* The memory operand's fault comes before any effect, so the order of reads is free. */
    if (d->n_ops) {
        if (!(flags & R_WRITE) && !t->lock)
            a->dst = read_op(t, a, &d->op[0], !(flags & R_KEEP));
        if (d->n_ops > 1)
            a->src = read_op(t, a, &d->op[1], false);
        if (d->n_ops > 2)
            a->src2 = read_op(t, a, &d->op[2], false);
        if (d->n_ops > 3)
            a->src3 = read_op(t, a, &d->op[3], false);
    }
    if (!row->fn(t, a))
        return false;
    if (d->n_ops && !(flags & R_KEEP) && !t->lock && !t->ended)
        write_op(t, a, &d->op[0], a->dst);
    return true;
}

extern const IrHelper x86_helper_debug_insn;    /* helper_sys.c */

/* Some instruction breakpoint may be here: an instruction of its own, that faults or does nothing. */
static void check_breakpoint(X86Trans *t)
{
    ir_insn_start_extra(t->b, t->off);
    Val pc = ir_pc(t->b, t->off);
    ir_call(t->b, &x86_helper_debug_insn, pc);
    ir_insn_end(t->b);
}

static bool may_break(const X86Trans *t)
{
    unsigned at = (t->b->entry_page_off + t->off) % PAGE_SIZE;
    return t->req->checks && t->req->checks[at / 64] >> at % 64 & 1;
}

/* An instruction begins, of len bytes. */
static void start_insn(X86Trans *t, unsigned len)
{
    ir_insn_start(t->b, t->off);
    if (t->mode & MODE_LIMITS && !t->code64)
        check_fetch(t, len);
}

static void translate_insn(X86Trans *t, X86Args *a, const X86Dec *d, X86DecStatus status)
{
    Ir *b = t->b;
    t->ended = t->done = t->no_step = t->plain = false;
    if (G_UNLIKELY(may_break(t)))
        check_breakpoint(t);
    start_insn(t, t->next - t->off);
    if (G_UNLIKELY(status != DEC_OK)) {
        if (status == DEC_LONG)
            x86_gp0(t);
        else
            x86_ud(t);
        return;
    }
    if (!check_row(t, a, d))
        return;
    bool ends = d->row->flags & R_ENDS;
    if (G_UNLIKELY(t->shadow)) {
        t->shadow = false;
        Val zero = ir_imm(b, I8, 0);
        ir_put(b, X_SHADOW, zero);
        t->side_exits = MAX_SIDE_EXITS;         /* see x86_translate(): the block ends here */
    }
    if (!run_row(t, a, d)) {
        ir_insn_abandon(b);
        start_insn(t, t->next - t->off);
        x86_ud(t);
        return;
    }
    if (t->ended)
        return;
    t->plain = true;
    if (ends) {
        Val pc = x86_next_pc(t);
        ir_put(b, X_PC, pc);
        x86_exit_mode(t);
    } else if (G_UNLIKELY(t->mode & MODE_TF)) {
        x86_exit_to(t, t->next);
    } else {
        end_insn(t);
    }
}

/* The block ends between instructions. */
static void fall_out(X86Trans *t)
{
    t->opsize = t->code64 ? 8 : 4;
    if (is_direct(t, t->off)) {
        if (t->shadow)                          /* it ends after the next instruction: x86_service() sees to it */
            ir_exit_run(t->b, EXITR_NONE, t->off);
        else
            ir_exit_direct(t->b, t->off);
        return;
    }
    ir_insn_start_extra(t->b, t->off);          /* an empty one, to put the masked pc */
    t->next = t->off;
    Val pc = x86_next_pc(t);
    ir_put(t->b, X_PC, pc);
    ir_insn_end(t->b);
    ir_exit_indirect(t->b);
}

static void begin(X86Trans *t, Ir *b, TransReq *req)
{
    *t = (X86Trans){ .b = b, .req = req, .mode = req->mode };
    t->code64 = (req->mode & MODE_CS) == MODE_CS64;
    t->stksize = t->code64 ? 8 : req->mode & MODE_SS32 ? 4 : 2;
    t->cpl = (req->mode & MODE_CPL) >> MODE_CPL_SHIFT;
}

/* Bytes of the next page are beyond the limit of CS: #GP, whatever that page is. */
static bool past_limit(const X86Trans *t, unsigned avail)
{
    X86Cpu *c = x86_cpu(t->req->cpu);
    if (t->code64 || !(t->mode & MODE_LIMITS) || t->req->pc + avail <= c->seg[CS].limit)
        return false;
    x86_raise(c, EXC_GP, 0);
    t->req->fault = true;
    return true;
}

/* One block at req->pc.  ir has been reset. */
void x86_translate(Ir *b, TransReq *req)
{
    X86Trans t;
    X86Args a;
    uint8_t tail[2 * FETCH_SLACK];
    begin(&t, b, req);
    ir_block(b);
    unsigned max = MIN(req->max_insns, MAX_BLOCK_INSNS), avail = req->first_len;
    bool straddles = false;
    for (unsigned n = 0; ; n++) {
        if (n == max || t.off >= avail || straddles || t.side_exits >= MAX_SIDE_EXITS) {
            fall_out(&t);
            break;
        }
        const uint8_t *p = req->code + t.off;
        if (G_UNLIKELY(avail - t.off < FETCH_SLACK)) {          /* never read past what there is */
            memset(tail, 0, sizeof tail);
            p = memcpy(tail, p, avail - t.off);
        }
        const X86Dec *d = NULL;
        unsigned len;
        X86DecStatus status = x86_decode(&t, &a, p, &d, &len);
        if (G_UNLIKELY(len > avail - t.off)) {
            if (t.off) {
                fall_out(&t);
                break;
            }
            if (straddles || past_limit(&t, avail) || !req->more(req)) {                 /* a fetch fault has been recorded */
                ir_exit_run(b, EXITR_NONE, 0);
                ir_finish(b, avail);
                return;
            }
            straddles = true;
            avail += 16;
            memset(tail, 0, sizeof tail);
            memcpy(tail, req->code, MIN(avail, sizeof req->buf));
            status = x86_decode(&t, &a, tail, &d, &len);
        }
        if (status != DEC_OK)
            t.next = t.off + len;
        translate_insn(&t, &a, d, status);
        t.off = t.next;
        if (t.done)
            break;
    }
    ir_finish(b, t.off);
}
