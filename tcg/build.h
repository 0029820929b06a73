/* SPDX-License-Identifier: GPL-2.0-or-later
 * The builder: appends insns, folding constants, numbering values and forwarding guest slots as it goes.
 * Two builder calls never share an argument list (C does not order them).
 *
 *     ir_reset; ir_block(ir); for each guest instruction { ir_insn_start; ... ; ir_insn_end }; ir_exit_*; ir_finish
 *
 * Within a guest instruction ir_put() is pending: ir_get() sees it, but snapshots describe the state at
 * ir_insn_start().  ir_insn_end() commits.
 */
#ifndef RHEA_TCG_BUILD_H
#define RHEA_TCG_BUILD_H

#include "tcg/ir.h"

void ir_block(Ir *ir);                                  /* starts the entry block (or, tier 2, the next one) */
void ir_insn_start(Ir *ir, uint32_t pc_off);            /* offset of the guest instruction from the entry pc */
void ir_insn_start_extra(Ir *ir, uint32_t pc_off);      /* the translator's own, not counted */
void ir_insn_end(Ir *ir);
void ir_insn_abandon(Ir *ir);                           /* forget the instruction begun: as before ir_insn_start() */
void ir_finish(Ir *ir, uint32_t guest_len);             /* after the last exit */
unsigned ir_guest_count(const Ir *ir);                  /* guest instructions begun so far */

Val  ir_imm(Ir *ir, IrType t, uint64_t v);
Val  ir_imm128(Ir *ir, uint64_t lo, uint64_t hi);       /* V128T */
bool ir_is_imm(const Ir *ir, Val v, uint64_t *out);

Val  ir_get(Ir *ir, unsigned slot);
void ir_put(Ir *ir, unsigned slot, Val v);              /* the slot's own type */
void ir_drop(Ir *ir, unsigned slot);                    /* undoes a put: nobody will look at the slot before the next one */
Val  ir_pc(Ir *ir, int64_t off);                        /* I64: pc slot at entry + off */

Val  ir_op1(Ir *ir, IrOp op, Val a);                    /* type of a */
Val  ir_op2(Ir *ir, IrOp op, Val a, Val b);             /* type of a */
Val  ir_op3(Ir *ir, IrOp op, Val a, Val b, Val c);      /* type of a (SELECT: of b) */
Val  ir_second(Ir *ir, Val first);                      /* at once after ADDC, SUBB, xMULW, xDIV, UDIVW */
Val  ir_addi(Ir *ir, Val a, int64_t imm);
Val  ir_op2i(Ir *ir, IrOp op, Val a, uint64_t imm);     /* b: constant of a's type (i8 for shifts) */
Val  ir_ext(Ir *ir, IrOp op, IrType to, Val a);         /* ZEXT SEXT TRUNC; same type: a itself */
Val  ir_resize(Ir *ir, IrType to, Val a, bool sign);    /* whichever of the three fits */
Val  ir_extract(Ir *ir, Val a, unsigned pos, unsigned len);
Val  ir_deposit(Ir *ir, Val a, Val b, unsigned pos, unsigned len);
Val  ir_cmp(Ir *ir, IrCond c, Val a, Val b);            /* PRED; constants are PRED consts 0/1 */
Val  ir_cmpi(Ir *ir, IrCond c, Val a, uint64_t imm);
Val  ir_select(Ir *ir, Val p, Val x, Val y);
Val  ir_concat(Ir *ir, Val low, Val high);              /* V256T */
Val  ir_low(Ir *ir, Val v);                             /* V128T halves of a V256T */
Val  ir_high(Ir *ir, Val v);
Val  ir_host(Ir *ir, IrType t, unsigned row, Val a, Val b, Val c, unsigned imm);

Val  ir_load(Ir *ir, IrType t, unsigned memop, Val addr);
void ir_store(Ir *ir, unsigned memop, Val addr, Val v);
Val  ir_atomic(Ir *ir, AtomicOp op, unsigned memop, Val addr, Val b, Val c);    /* c: CAS only (b expected) */
void ir_fence(Ir *ir);

/* nargs values follow; the result (VAL_NONE for T_NONE and HF_FAULTS). */
Val  ir_call(Ir *ir, const IrHelper *h, ...);
Val  ir_callv(Ir *ir, const IrHelper *h, unsigned n, const Val *args);

/* Exits.  The unconditional ones end the block and come after ir_insn_end() of the last instruction; their dirty
 * slots are those committed.  The conditional ones come either inside an instruction (RAISE: state and pc at its
 * start) or after ir_insn_end() (a side exit of a branch: state after it). */
void ir_exit_direct(Ir *ir, int32_t target_off);
void ir_exit_direct_if(Ir *ir, Val p, int32_t target_off);
void ir_exit_indirect(Ir *ir);                          /* pc slot has been put */
void ir_exit_is_call(Ir *ir, int32_t return_off);       /* the exit made last */
void ir_exit_is_return(Ir *ir);
void ir_exit_mode(Ir *ir);                              /* pc slot has been put, by ir_put or by a helper */
void ir_exit_run(Ir *ir, unsigned reason, int32_t pc_off);
void ir_raise(Ir *ir, unsigned vector, uint32_t error);         /* ends the block; pc at the instruction's start */
void ir_raise_if(Ir *ir, Val p, unsigned vector, uint32_t error);

#endif
