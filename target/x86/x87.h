/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between translate_x87.c and helper_x87.c: the word that tells a helper which x87 instruction it runs. */
#ifndef RHEA_TARGET_X86_X87_H
#define RHEA_TARGET_X86_X87_H

#include "target/x86/cpu.h"

/* Operations.  The first eight in the order of the /digit of D8, DA, DC, DE. */
typedef enum X87Op {
    X87_ADD, X87_MUL, X87_COM, X87_COMP, X87_SUB, X87_SUBR, X87_DIV, X87_DIVR,
    X87_UCOM, X87_COMI, X87_UCOMI, X87_TST, X87_XAM,
    X87_LD, X87_ST, X87_STNCE, X87_XCH, X87_CMOV, X87_CHS, X87_ABS,
    X87_1, X87_L2T, X87_L2E, X87_PI, X87_LG2, X87_LN2, X87_Z,           /* in the order of D9 E8.. */
    X87_2XM1, X87_SQRT, X87_RNDINT, X87_SIN, X87_COS,
    X87_PREM, X87_PREM1, X87_SCALE, X87_YL2X, X87_YL2XP1, X87_PATAN,
    X87_XTRACT, X87_SINCOS, X87_PTAN,
    X87_FREE, X87_INCSTP, X87_DECSTP, X87_NOP,
    X87_LDENV, X87_STENV, X87_RSTOR, X87_SAVE,
    X87_N_OPS
} X87Op;

/* Memory operands. */
typedef enum X87Kind { X87_F32, X87_I32, X87_F64, X87_I16, X87_I64, X87_F80, X87_BCD, X87_N_KINDS } X87Kind;

/* bits 0..7: X87Op; 8..10: register or X87Kind; 11..13: segment of the memory operand; 16..26: FOP */
enum {
    X87W_I = 8, X87W_SEG = 11, X87W_FOP = 16,
    X87W_POP = 1 << 27,         /* pops if it completes */
    X87W_POP2 = 1 << 28,        /* twice */
    X87W_TO = 1 << 29,     /* the destination is ST(i);  FIST: chops (FISTTP);  environments: 16-bit format */
    X87W_CONTROL = 1 << 30,     /* does not touch FIP, FDP, FOP */
    X87W_REAL = 1u << 31,       /* environments: real-mode format */
};
static inline X87Op x87_op(uint32_t w) { return w & 0xff; }
static inline unsigned x87_i(uint32_t w) { return w >> X87W_I & 7; }
static inline unsigned x87_seg(uint32_t w) { return w >> X87W_SEG & 7; }
static inline unsigned x87_fop(uint32_t w) { return w >> X87W_FOP & 0x7ff; }

/* Helpers as generated code calls them; those that return int have HF_FAULTS: 1 when an exception has been
 * recorded. */
int      x87_reg(CpuState *s, uint32_t word, uint64_t pc);
int      x87_cmov(CpuState *s, uint32_t word, uint64_t pc, uint32_t cond);
int      x87_comi(CpuState *s, uint32_t word, uint64_t pc);             /* helper_ret: ZF PF CF */
int      x87_mem(CpuState *s, uint32_t word, uint64_t pc, uint64_t addr, uint64_t value, uint64_t high);
/* Stores: the first half computes helper_ret (and xmm_tmp: all of it) and changes nothing that the guest
 * sees; the second, after the store, does the rest. */
int      x87_store(CpuState *s, uint32_t word, uint64_t addr);
void     x87_stored(CpuState *s, uint32_t word, uint64_t pc, uint64_t addr);
int      x87_env(CpuState *s, uint32_t word, uint64_t addr);
int      x87_wait(CpuState *s);                                         /* FWAIT */
int      x87_check(CpuState *s);                                        /* #MF if an exception is pending */
void     x87_set_fcw(CpuState *s, uint32_t v);
uint64_t x87_get_fcw(CpuState *s);
uint64_t x87_get_fsw(CpuState *s);
void     x87_clex(CpuState *s);
void     x87_init(CpuState *s);
/* MMX: register n is the significand of fpr[n]; writing makes the exponent all ones. */
uint64_t mmx_get(CpuState *s, uint32_t n);
void     mmx_put(CpuState *s, uint32_t n, uint64_t v);                  /* with mmx_enter() */
void     mmx_enter(CpuState *s);                                        /* TOP 0, all registers valid */
void     mmx_empty(CpuState *s);                                        /* EMMS */

/* For FXSAVE and the like (helper_sys.c). */
uint16_t x87_fsw(const X86Cpu *c);                                      /* with TOP */
uint16_t x87_full_tags(const X86Cpu *c);                        /* two bits per register, as FSAVE has them */
void     x87_load_words(X86Cpu *c, uint16_t fcw, uint16_t fsw);         /* sets TOP and what follows */

/* Whether x op y (opcode: the SSE one, 58 59 5C 5E; y NULL: x itself) is inexact when rounded to a float's
 * or double's significand with unbounded exponent, by rounding control rc. */
bool     x87_inexact(unsigned opcode, const void *x, const void *y, bool from_float, bool to_float,
                     unsigned rc);

#endif
