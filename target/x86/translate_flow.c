/* SPDX-License-Identifier: GPL-2.0-or-later
 * Near control flow, the stack, software interrupts.  Far transfers are in translate_sys.c.  Source: APM vol. 3. */
#include "target/x86/translate.h"

extern const IrHelper x86_helper_into;          /* helper_int.c */

static IrType op_type(const X86Trans *t) { return x86_type(t->opsize); }

/* --- jumps */

static bool tr_jcc(X86Trans *t, X86Args *a)
{
    Val p = x86_cond(t, a->opcode & 15);
    x86_check_jump(t, p, (int64_t)t->next + a->imm);
    x86_exit_to_if(t, p, (int64_t)t->next + a->imm);
    return true;
}

static bool tr_jmp(X86Trans *t, X86Args *a)
{
    x86_check_jump(t, VAL_NONE, (int64_t)t->next + a->imm);
    x86_exit_to(t, (int64_t)t->next + a->imm);
    return true;
}

static bool tr_jmp_ind(X86Trans *t, X86Args *a)
{
    Val pc = ir_ext(t->b, IR_ZEXT, I64, a->dst);
    x86_check_target(t, pc);
    x86_put_pc(t, pc);
    x86_exit_indirect(t);
    return true;
}

static void push_next(X86Trans *t)
{
    Val pc = x86_next_pc(t);
    pc = ir_ext(t->b, IR_TRUNC, op_type(t), pc);
    x86_push(t, t->opsize, pc);
}

static bool tr_call(X86Trans *t, X86Args *a)
{
    x86_check_jump(t, VAL_NONE, (int64_t)t->next + a->imm);
    push_next(t);
    x86_exit_to(t, (int64_t)t->next + a->imm);
    x86_exit_call(t);
    return true;
}

static bool tr_call_ind(X86Trans *t, X86Args *a)
{
    Val pc = ir_ext(t->b, IR_ZEXT, I64, a->dst);
    x86_check_target(t, pc);
    push_next(t);
    x86_put_pc(t, pc);
    x86_exit_indirect(t);
    x86_exit_call(t);
    return true;
}

static bool tr_ret(X86Trans *t, X86Args *a)
{
    Val pc = x86_pop(t, t->opsize);
    pc = ir_ext(t->b, IR_ZEXT, I64, pc);
    x86_check_target(t, pc);
    if (a->n_ops)
        x86_add_sp(t, a->imm);
    x86_put_pc(t, pc);
    x86_exit_return(t);
    return true;
}

/* rCX at the address size. */
static Val count_reg(X86Trans *t) { return x86_get_reg(t, RCX, t->adsize); }

/* arg: 0 LOOPNE, 1 LOOPE, 2 LOOP */
static bool tr_loop(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    Val zf = a->row->arg < 2 ? x86_cond(t, a->row->arg ? 4 : 5) : VAL_NONE;
    Val n = count_reg(t);
    n = ir_addi(b, n, -1);
    x86_put_reg(t, RCX, t->adsize, n);
    Val p = ir_cmpi(b, C_NE, n, 0);
    if (zf) {
        Val x = ir_ext(b, IR_ZEXT, I32, p), y = ir_ext(b, IR_ZEXT, I32, zf);
        x = ir_op2(b, IR_AND, x, y);
        p = ir_cmpi(b, C_NE, x, 0);
    }
    x86_check_jump(t, p, (int64_t)t->next + a->imm);
    x86_exit_to_if(t, p, (int64_t)t->next + a->imm);
    return true;
}

static bool tr_jcxz(X86Trans *t, X86Args *a)
{
    Val n = count_reg(t), p = ir_cmpi(t->b, C_EQ, n, 0);
    x86_check_jump(t, p, (int64_t)t->next + a->imm);
    x86_exit_to_if(t, p, (int64_t)t->next + a->imm);
    return true;
}

/* --- the stack */

static bool tr_push(X86Trans *t, X86Args *a)
{
    x86_push(t, t->opsize, a->dst);
    return true;
}

static bool tr_push_imm(X86Trans *t, X86Args *a)
{
    Val v = ir_imm(t->b, op_type(t), a->imm);
    x86_push(t, t->opsize, v);
    return true;
}

static bool tr_pop(X86Trans *t, X86Args *a)
{
    a->dst = x86_pop(t, t->opsize);
    return true;
}

/* An address made from rSP takes the incremented one (APM, POP). */
static bool tr_pop_mem(X86Trans *t, X86Args *a)
{
    Val v = x86_pop(t, t->opsize);
    if (a->is_mem) {
        t->limit_len = t->opsize;
        t->limit_write = true;
        x86_mem(t, a);
        x86_store(t, a->addr, t->opsize, v);
    } else {
        x86_put_reg(t, a->rm, t->opsize, v);
    }
    return true;
}

static bool tr_pusha(X86Trans *t, X86Args *a)
{
    Val sp = x86_get_reg(t, RSP, t->opsize);
    for (unsigned r = RAX; r <= RDI; r++) {
        Val v = r == RSP ? sp : x86_get_reg(t, r, t->opsize);
        x86_push(t, t->opsize, v);
    }
    return true;
}

static bool tr_popa(X86Trans *t, X86Args *a)
{
    for (int r = RDI; r >= RAX; r--) {
        Val v = x86_pop(t, t->opsize);
        if (r != RSP)
            x86_put_reg(t, r, t->opsize, v);
    }
    return true;
}

static bool tr_enter(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    unsigned level = a->imm8 & 31, size = a->imm & 0xffff;
    Val bp = x86_get_reg(t, RBP, t->opsize);
    x86_push(t, t->opsize, bp);
    Val frame = x86_get_reg(t, RSP, t->opsize), link = ir_get(b, X_RBP);
    for (unsigned i = 1; i < level; i++) {
        Val at = ir_addi(b, link, -(int)(i * t->opsize));
        if (t->stksize < 8)
            at = ir_op2i(b, IR_AND, at, t->stksize == 4 ? 0xffffffff : 0xffff);
        t->limit_len = t->opsize;
        t->limit_write = false;
        Val addr = x86_linear(t, SS, at);
        Val v = x86_load(t, addr, t->opsize);
        x86_push(t, t->opsize, v);
    }
    if (level)
        x86_push(t, t->opsize, frame);
    if (size) {                         /* where the stack ends must be writable (SDM vol. 2, ENTER: #PF) */
        x86_add_sp(t, -(int)size);
        t->limit_len = t->opsize;
        t->limit_write = true;
        Val top = x86_stack_addr(t, 0);
        ir_load(b, x86_type(t->opsize), (unsigned)__builtin_ctz(t->opsize) | x86_align_op(t, t->opsize) | MO_ACQ | MO_RMW, top);
    }
    x86_put_reg(t, RBP, t->opsize, frame);
    return true;
}

static bool tr_leave(X86Trans *t, X86Args *a)
{
    Val bp = x86_get_reg(t, RBP, t->stksize);
    x86_put_reg(t, RSP, t->stksize, bp);
    bp = x86_pop(t, t->opsize);
    x86_put_reg(t, RBP, t->opsize, bp);
    return true;
}

/* --- software interrupts and checks */

static bool soft_int(X86Trans *t, const IrHelper *h, unsigned vector, unsigned kind)
{
    Ir *b = t->b;
    Val v = ir_imm(b, I32, vector), k = ir_imm(b, I32, kind), pc = x86_next_pc(t);
    if (h == &x86_helper_into) {
        Val p = x86_cond(t, 0);
        Val of = ir_ext(b, IR_ZEXT, I32, p);
        ir_call(b, h, of, pc);
    } else {
        ir_call(b, h, v, k, pc);
    }
    ir_insn_end(b);             /* no single step here: an interrupt clears TF (APM vol. 2, 8.1.4) */
    ir_exit_mode(b);
    t->ended = t->done = true;
    return true;
}

static bool tr_int(X86Trans *t, X86Args *a) { return soft_int(t, &x86_helper_int, a->imm8, SOFT_INT); }
static bool tr_int3(X86Trans *t, X86Args *a) { return soft_int(t, &x86_helper_int, EXC_BP, SOFT_INT3); }
static bool tr_int1(X86Trans *t, X86Args *a) { return soft_int(t, &x86_helper_int, EXC_DB, SOFT_INT1); }
static bool tr_into(X86Trans *t, X86Args *a) { return soft_int(t, &x86_helper_into, EXC_OF, SOFT_INTO); }

static bool tr_bound(X86Trans *t, X86Args *a)
{
    Ir *b = t->b;
    x86_limit(t, a, 2 * t->opsize, false);
    Val low = x86_load(t, a->addr, t->opsize), at = ir_addi(b, a->addr, t->opsize);
    Val high = x86_load(t, at, t->opsize);
    Val p = ir_cmp(b, C_LT, a->dst, low), q = ir_cmp(b, C_GT, a->dst, high);
    ir_raise_if(b, p, EXC_BR, 0);
    ir_raise_if(b, q, EXC_BR, 0);
    return true;
}

#define JB(cc) { "7" cc " cb", "Jb", tr_jcc, 0, R_KEEP | R_FORCE64 }
#define JZ(cc) { "0F 8" cc " cd", "Jz", tr_jcc, 0, R_KEEP | R_FORCE64 }
#define CC_ROWS(row) row("0"), row("1"), row("2"), row("3"), row("4"), row("5"), row("6"), row("7"), \
                     row("8"), row("9"), row("A"), row("B"), row("C"), row("D"), row("E"), row("F")

const X86Row x86_rows_flow[] = {
    CC_ROWS(JB), CC_ROWS(JZ),
    { "EB cb",        "Jb",     tr_jmp,      0, R_KEEP | R_FORCE64 },
    { "E9 cd",        "Jz",     tr_jmp,      0, R_KEEP | R_FORCE64 },
    { "E8 cd",        "Jz",     tr_call,     0, R_KEEP | R_FORCE64 },
    { "FF /2",        "Ev",     tr_call_ind, 0, R_KEEP | R_FORCE64 },
    { "FF /4",        "Ev",     tr_jmp_ind,  0, R_KEEP | R_FORCE64 },
    { "C2 iw",        "Iw",     tr_ret,      0, R_WRITE | R_KEEP | R_FORCE64 },
    { "C3",           "",       tr_ret,      0, R_FORCE64 },
    { "E0 cb",        "Jb",     tr_loop,     0, R_KEEP | R_FORCE64 },
    { "E1 cb",        "Jb",     tr_loop,     1, R_KEEP | R_FORCE64 },
    { "E2 cb",        "Jb",     tr_loop,     2, R_KEEP | R_FORCE64 },
    { "E3 cb",        "Jb",     tr_jcxz,     0, R_KEEP | R_FORCE64 },

    { "50+r",         "Zv",     tr_push,     0, R_KEEP | R_DEF64 },
    { "58+r",         "Zv",     tr_pop,      0, R_WRITE | R_DEF64 },
    { "68 id",        "Iz",     tr_push_imm, 0, R_WRITE | R_KEEP | R_DEF64 },
    { "6A ib",        "Ib",     tr_push_imm, 0, R_WRITE | R_KEEP | R_DEF64 },
    { "FF /6",        "Ev",     tr_push,     0, R_KEEP | R_DEF64 },
    { "8F /0",        "Ev",     tr_pop_mem,  0, R_WRITE | R_KEEP | R_DEF64 },
    { "60",           "",       tr_pusha,    0, R_NO64 },
    { "61",           "",       tr_popa,     0, R_NO64 },
    { "C8 iw ib",     "Iw Ib",  tr_enter,    0, R_WRITE | R_KEEP | R_DEF64 },
    { "C9",           "",       tr_leave,    0, R_DEF64 },

    { "CC",           "",       tr_int3 },
    { "CD ib",        "Ib",     tr_int,      0, R_WRITE | R_KEEP },
    { "CE",           "",       tr_into,     0, R_NO64 },
    { "F1",           "",       tr_int1 },
    { "62 /r",        "Gv Ma",  tr_bound,    0, R_KEEP | R_NO64 },
    { NULL }
};
