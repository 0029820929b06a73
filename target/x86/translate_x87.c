/* SPDX-License-Identifier: GPL-2.0-or-later
 * x87 rows: every instruction is a helper of helper_x87.c that is told which one by a word
 * (x87.h).  Memory operands are loaded and stored by generated code.  Encodings: Intel SDM vol. 2,
 * appendix A, tables. */
#include "tcg/hostop.h"
#include "target/x86/translate.h"
#include "target/x86/x87.h"

#define SET(bits) { { (bits), 0 } }
#define FPU SLOT_BIT(X_FPU)
static const IrHelper
    h_reg    = { "x87_reg",    x87_reg,    T_NONE, 2, HF_FAULTS, SET(FPU), SET(FPU) },
    h_cmov   = { "x87_cmov",   x87_cmov,   T_NONE, 3, HF_FAULTS, SET(FPU), SET(FPU) },
    h_comi   = { "x87_comi",   x87_comi,   T_NONE, 2, HF_FAULTS, SET(FPU),
                 SET(FPU | SLOT_BIT(X_HELPER_RET)) },
    h_mem    = { "x87_mem",    x87_mem,    T_NONE, 5, HF_FAULTS, SET(FPU), SET(FPU) },
    h_store  = { "x87_store",  x87_store,  T_NONE, 2, HF_FAULTS, SET(FPU),
                 SET(SLOT_BIT(X_HELPER_RET) | SLOT_BIT(X_XMM_TMP)) },
    h_stored = { "x87_stored", x87_stored, T_NONE, 3, 0,         SET(FPU), SET(FPU) },
    h_env    = { "x87_env",    x87_env,    T_NONE, 2, HF_FAULTS, SET(FPU), SET(FPU) },
    h_wait   = { "x87_wait",   x87_wait,   T_NONE, 0, HF_FAULTS, SET(FPU | SLOT_BIT(X_SYS)), SET(0) },
    h_check  = { "x87_check",  x87_check,  T_NONE, 0, HF_FAULTS, SET(FPU), SET(0) },
    h_setfcw = { "x87_set_fcw", x87_set_fcw, T_NONE, 1, 0,       SET(FPU), SET(FPU) },
    h_getfcw = { "x87_get_fcw", x87_get_fcw, I64,    0, 0,       SET(FPU), SET(0) },
    h_getfsw = { "x87_get_fsw", x87_get_fsw, I64,    0, 0,       SET(FPU), SET(0) },
    h_clex   = { "x87_clex",   x87_clex,   T_NONE, 0, 0,         SET(FPU), SET(FPU) },
    h_init   = { "x87_init",   x87_init,   T_NONE, 0, 0,         SET(FPU), SET(FPU) };

/* For MMX: CR0.EM is #UD; before a memory operand. */
static int mmx_off(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    x86_raise(c, c->cr0 & CR0_EM ? EXC_UD : EXC_NM, 0);
    return 1;
}
const IrHelper x86_helper_mmx_off = { "x86_mmx_off", mmx_off, T_NONE, 0, HF_FAULTS, SET(SLOT_BIT(X_SYS)), SET(0) };
const IrHelper x86_helper_x87_check = { "x86_x87_check", x87_check, T_NONE, 0, HF_FAULTS, SET(FPU), SET(0) };

/* The row's word with FOP, and with the register or the segment. */
static Val word(X86Trans *t, const X86Args *a)
{
    uint32_t w = a->row->arg | (uint32_t)((a->opcode & 7) << 8 | a->modrm) << X87W_FOP;
    w |= a->is_mem ? a->seg << X87W_SEG : (a->modrm & 7) << X87W_I;
    return ir_imm(t->b, I32, w);
}

static bool tr_reg(X86Trans *t, X86Args *a)
{
    Val w = word(t, a), pc = ir_pc(t->b, t->off);
    ir_call(t->b, &h_reg, w, pc);
    return true;
}

static bool tr_cmov(X86Trans *t, X86Args *a)
{
    static const uint8_t cc[] = { 2, 4, 6, 10 };        /* B E BE U; DB: the opposites */
    Val w = word(t, a), pc = ir_pc(t->b, t->off), cond = x86_cond(t, cc[a->modrm >> 3 & 3] | (a->opcode & 1));
    cond = ir_ext(t->b, IR_ZEXT, I32, cond);
    ir_call(t->b, &h_cmov, w, pc, cond);
    return true;
}

static bool tr_comi(X86Trans *t, X86Args *a)
{
    Val w = word(t, a), pc = ir_pc(t->b, t->off);
    ir_call(t->b, &h_comi, w, pc);
    Val flags = ir_get(t->b, X_HELPER_RET);
    x86_put_eflags(t, flags);
    return true;
}

/* A pending #MF comes before the faults of the memory operand (SDM vol. 3, table 6-2): hence the check in
 * front of each load here, and no load by the driver. */
static Val checked_load(X86Trans *t, Val addr, unsigned size)
{
    ir_call(t->b, &h_check);
    Val v = x86_load(t, addr, size);
    return ir_resize(t->b, I64, v, false);
}

/* Loads, and arithmetic with an operand in memory. */
static bool tr_mem(X86Trans *t, X86Args *a)
{
    Val w = word(t, a), pc = ir_pc(t->b, t->off), v = checked_load(t, a->addr, a->size),
        zero = ir_imm(t->b, I64, 0);
    ir_call(t->b, &h_mem, w, pc, a->addr, v, zero);
    return true;
}

static bool tr_load10(X86Trans *t, X86Args *a)
{
    x86_limit(t, a, 10, false);
    Val w = word(t, a), pc = ir_pc(t->b, t->off);
    Val low = checked_load(t, a->addr, 8), high_at = ir_addi(t->b, a->addr, 8);
    Val high = x86_load(t, high_at, 2);
    high = ir_ext(t->b, IR_ZEXT, I64, high);
    ir_call(t->b, &h_mem, w, pc, a->addr, low, high);
    return true;
}

static bool tr_store(X86Trans *t, X86Args *a)
{
    static const uint8_t size[] = { [X87_F32] = 4, [X87_I32] = 4, [X87_F64] = 8, [X87_I16] = 2,
                                    [X87_I64] = 8 };
    unsigned n = size[x87_i(a->row->arg)];
    x86_limit(t, a, n, true);
    Val w = word(t, a), pc = ir_pc(t->b, t->off);
    ir_call(t->b, &h_store, w, a->addr);
    Val v = ir_get(t->b, X_HELPER_RET);
    v = ir_resize(t->b, x86_type(n), v, false);
    x86_store(t, a->addr, n, v);
    ir_call(t->b, &h_stored, w, pc, a->addr);
    return true;
}

/* FSTP m80, FBSTP: both parts are probed before one is written. */
static bool tr_store10(X86Trans *t, X86Args *a)
{
    x86_limit(t, a, 10, true);
    Val w = word(t, a), pc = ir_pc(t->b, t->off), none = VAL_NONE;
    ir_call(t->b, &h_store, w, a->addr);
    Val v = ir_get(t->b, X_XMM_TMP), at = ir_addi(t->b, a->addr, 8);
    Val high = ir_host(t->b, I32, HOP_PEXTRW, v, none, none, 4),
        low = ir_host(t->b, I64, HOP_MOVDG, v, none, none, 0);
    high = ir_ext(t->b, IR_TRUNC, I16, high);
    ir_load(t->b, I64, 3 | x86_align_op(t, 8) | MO_ACQ | MO_RMW, a->addr);
    x86_store(t, at, 2, high);
    x86_store(t, a->addr, 8, low);
    ir_call(t->b, &h_stored, w, pc, a->addr);
    return true;
}

static bool tr_env(X86Trans *t, X86Args *a)
{
    uint32_t format = (t->opsize == 2 ? X87W_TO : 0) | (t->mode & MODE_REAL ? X87W_REAL : 0);
    unsigned env = t->opsize == 2 ? 14 : 28, op = a->row->arg;
    x86_limit(t, a, op == X87_LDENV || op == X87_STENV ? env : env + 80, op == X87_STENV || op == X87_SAVE);
    x86_check_aligned(t, a->addr, t->opsize == 2 ? 2 : 4);      /* SDM vol. 3, table 6-7 */
    Val w = ir_imm(t->b, I32, op | format);
    ir_call(t->b, &h_env, w, a->addr);
    return true;
}

static bool tr_fldcw(X86Trans *t, X86Args *a)
{
    Val v = checked_load(t, a->addr, 2);
    v = ir_ext(t->b, IR_TRUNC, I32, v);
    ir_call(t->b, &h_setfcw, v);
    return true;
}

static bool tr_fstcw(X86Trans *t, X86Args *a)
{
    Val v = ir_call(t->b, a->row->arg ? &h_getfsw : &h_getfcw);
    a->dst = ir_ext(t->b, IR_TRUNC, I16, v);
    return true;
}

static bool tr_fclex(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_clex);
    return true;
}

static bool tr_finit(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_init);
    return true;
}

static bool tr_fwait(X86Trans *t, X86Args *a)
{
    ir_call(t->b, &h_wait);
    return true;
}

static bool tr_nop(X86Trans *t, X86Args *a)
{
    return true;
}

#define MEM(op, kind) (X87_##op | X87_##kind << X87W_I)
enum { F = R_FPU | R_KEEP, FM = F | R_WRITE /* the row accesses memory itself */, POP = X87W_POP,
       POP2 = X87W_POP2, TO = X87W_TO, CTL = X87W_CONTROL };

/* The eight operations with one kind of memory operand. */
#define GROUP(byte, operand, kind)                                                                           \
    { byte " /0", operand, tr_mem, MEM(ADD, kind), FM },                                                     \
    { byte " /1", operand, tr_mem, MEM(MUL, kind), FM },                                                     \
    { byte " /2", operand, tr_mem, MEM(COM, kind), FM },                                                     \
    { byte " /3", operand, tr_mem, MEM(COMP, kind) | POP, FM },                                              \
    { byte " /4", operand, tr_mem, MEM(SUB, kind), FM },                                                     \
    { byte " /5", operand, tr_mem, MEM(SUBR, kind), FM },                                                    \
    { byte " /6", operand, tr_mem, MEM(DIV, kind), FM },                                                     \
    { byte " /7", operand, tr_mem, MEM(DIVR, kind), FM }

const X86Row x86_rows_x87[] = {
    GROUP("D8", "Md", F32),
    GROUP("DA", "Md", I32),
    GROUP("DC", "Mq", F64),
    GROUP("DE", "Mw", I16),

    { "D9 /0", "Md", tr_mem,     MEM(LD, F32), FM },
    { "DD /0", "Mq", tr_mem,     MEM(LD, F64), FM },
    { "DB /0", "Md", tr_mem,     MEM(LD, I32), FM },
    { "DF /0", "Mw", tr_mem,     MEM(LD, I16), FM },
    { "DF /5", "Mq", tr_mem,     MEM(LD, I64), FM },
    { "DB /5", "Mt", tr_load10,  MEM(LD, F80), FM },
    { "DF /4", "Mt", tr_load10,  MEM(LD, BCD), FM },
    { "D9 /2", "Md", tr_store,   MEM(ST, F32), FM },
    { "D9 /3", "Md", tr_store,   MEM(ST, F32) | POP, FM },
    { "DD /2", "Mq", tr_store,   MEM(ST, F64), FM },
    { "DD /3", "Mq", tr_store,   MEM(ST, F64) | POP, FM },
    { "DB /2", "Md", tr_store,   MEM(ST, I32), FM },
    { "DB /3", "Md", tr_store,   MEM(ST, I32) | POP, FM },
    { "DF /2", "Mw", tr_store,   MEM(ST, I16), FM },
    { "DF /3", "Mw", tr_store,   MEM(ST, I16) | POP, FM },
    { "DF /7", "Mq", tr_store,   MEM(ST, I64) | POP, FM },
    { "DB /1", "Md", tr_store,   MEM(ST, I32) | POP | TO, FM, X86F_SSE3 },      /* fisttp */
    { "DD /1", "Mq", tr_store,   MEM(ST, I64) | POP | TO, FM, X86F_SSE3 },
    { "DF /1", "Mw", tr_store,   MEM(ST, I16) | POP | TO, FM, X86F_SSE3 },
    { "DB /7", "Mt", tr_store10, MEM(ST, F80) | POP, FM },
    { "DF /6", "Mt", tr_store10, MEM(ST, BCD) | POP, FM },

    { "D8 C0+i", "", tr_reg, X87_ADD, F },
    { "D8 C8+i", "", tr_reg, X87_MUL, F },
    { "D8 D0+i", "", tr_reg, X87_COM, F },
    { "D8 D8+i", "", tr_reg, X87_COM | POP, F },
    { "D8 E0+i", "", tr_reg, X87_SUB, F },
    { "D8 E8+i", "", tr_reg, X87_SUBR, F },
    { "D8 F0+i", "", tr_reg, X87_DIV, F },
    { "D8 F8+i", "", tr_reg, X87_DIVR, F },
    { "DC C0+i", "", tr_reg, X87_ADD | TO, F },
    { "DC C8+i", "", tr_reg, X87_MUL | TO, F },
    { "DC D0+i", "", tr_reg, X87_COM, F },                     /* aliases that the manual lists as reserved */
    { "DC D8+i", "", tr_reg, X87_COM | POP, F },
    { "DC E0+i", "", tr_reg, X87_SUBR | TO, F },     /* fsubr and fsub change places where ST(i) is written */
    { "DC E8+i", "", tr_reg, X87_SUB | TO, F },
    { "DC F0+i", "", tr_reg, X87_DIVR | TO, F },
    { "DC F8+i", "", tr_reg, X87_DIV | TO, F },
    { "DE C0+i", "", tr_reg, X87_ADD | TO | POP, F },
    { "DE C8+i", "", tr_reg, X87_MUL | TO | POP, F },
    { "DE D0+i", "", tr_reg, X87_COM | POP, F },
    { "DE D9",   "", tr_reg, X87_COM | POP2, F },
    { "DE E0+i", "", tr_reg, X87_SUBR | TO | POP, F },
    { "DE E8+i", "", tr_reg, X87_SUB | TO | POP, F },
    { "DE F0+i", "", tr_reg, X87_DIVR | TO | POP, F },
    { "DE F8+i", "", tr_reg, X87_DIV | TO | POP, F },

    { "D9 C0+i", "", tr_reg, X87_LD, F },
    { "D9 C8+i", "", tr_reg, X87_XCH, F },
    { "DD C8+i", "", tr_reg, X87_XCH, F },
    { "DF C8+i", "", tr_reg, X87_XCH, F },
    { "D9 D0",   "", tr_reg, X87_NOP | CTL, F },
    { "D9 D8+i", "", tr_reg, X87_STNCE | POP, F },
    { "DD D0+i", "", tr_reg, X87_ST, F },
    { "DD D8+i", "", tr_reg, X87_ST | POP, F },
    { "DF D0+i", "", tr_reg, X87_ST | POP, F },
    { "DF D8+i", "", tr_reg, X87_ST | POP, F },
    { "DD C0+i", "", tr_reg, X87_FREE | CTL, F },
    { "DF C0+i", "", tr_reg, X87_FREE | CTL | POP, F },
    { "DD E0+i", "", tr_reg, X87_UCOM, F },
    { "DD E8+i", "", tr_reg, X87_UCOM | POP, F },
    { "DA E9",   "", tr_reg, X87_UCOM | POP2, F },
    { "DB E8+i", "", tr_comi, X87_UCOMI, F, X86F_CMOV },
    { "DB F0+i", "", tr_comi, X87_COMI, F, X86F_CMOV },
    { "DF E8+i", "", tr_comi, X87_UCOMI | POP, F, X86F_CMOV },
    { "DF F0+i", "", tr_comi, X87_COMI | POP, F, X86F_CMOV },
    { "DA C0+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DA C8+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DA D0+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DA D8+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DB C0+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DB C8+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DB D0+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },
    { "DB D8+i", "", tr_cmov, X87_CMOV, F, X86F_CMOV },

    { "D9 E0", "", tr_reg, X87_CHS, F },
    { "D9 E1", "", tr_reg, X87_ABS, F },
    { "D9 E4", "", tr_reg, X87_TST, F },
    { "D9 E5", "", tr_reg, X87_XAM, F },
    { "D9 E8", "", tr_reg, X87_1, F },
    { "D9 E9", "", tr_reg, X87_L2T, F },
    { "D9 EA", "", tr_reg, X87_L2E, F },
    { "D9 EB", "", tr_reg, X87_PI, F },
    { "D9 EC", "", tr_reg, X87_LG2, F },
    { "D9 ED", "", tr_reg, X87_LN2, F },
    { "D9 EE", "", tr_reg, X87_Z, F },
    { "D9 F0", "", tr_reg, X87_2XM1, F },
    { "D9 F1", "", tr_reg, X87_YL2X | POP, F },
    { "D9 F2", "", tr_reg, X87_PTAN, F },
    { "D9 F3", "", tr_reg, X87_PATAN | POP, F },
    { "D9 F4", "", tr_reg, X87_XTRACT, F },
    { "D9 F5", "", tr_reg, X87_PREM1, F },
    { "D9 F6", "", tr_reg, X87_DECSTP | CTL, F },
    { "D9 F7", "", tr_reg, X87_INCSTP | CTL, F },
    { "D9 F8", "", tr_reg, X87_PREM, F },
    { "D9 F9", "", tr_reg, X87_YL2XP1 | POP, F },
    { "D9 FA", "", tr_reg, X87_SQRT, F },
    { "D9 FB", "", tr_reg, X87_SINCOS, F },
    { "D9 FC", "", tr_reg, X87_RNDINT, F },
    { "D9 FD", "", tr_reg, X87_SCALE, F },
    { "D9 FE", "", tr_reg, X87_SIN, F },
    { "D9 FF", "", tr_reg, X87_COS, F },

    { "D9 /4", "M",  tr_env, X87_LDENV, F },
    { "D9 /6", "M",  tr_env, X87_STENV, F },
    { "DD /4", "M",  tr_env, X87_RSTOR, F },
    { "DD /6", "M",  tr_env, X87_SAVE, F },
    { "D9 /5", "Mw", tr_fldcw, 0, FM },
    { "D9 /7", "Mw", tr_fstcw, 0, R_FPU | R_WRITE },
    { "DD /7", "Mw", tr_fstcw, 1, R_FPU | R_WRITE },            /* fnstsw */
    { "DF E0", "AX", tr_fstcw, 1, R_FPU | R_WRITE },
    { "DB E2", "",   tr_fclex, 0, F },
    { "DB E3", "",   tr_finit, 0, F },
    { "DB E0", "",   tr_nop, 0, F },                            /* feni, fdisi, fsetpm of the 8087 and 287 */
    { "DB E1", "",   tr_nop, 0, F },
    { "DB E4", "",   tr_nop, 0, F },
    { "9B",    "",   tr_fwait, 0, R_KEEP },
    { NULL },
};
