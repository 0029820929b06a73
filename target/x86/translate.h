/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86 translator's inner interface: rows, and the driver that decodes an instruction, reads its operands, calls the
 * row's semantic function and writes back.  decode.c (tables) and translate.c (driver) serve the files
 * translate_alu.c, _flow.c, _string.c, _sys.c, _sse.c, _x87.c, which hold semantic functions. */
#ifndef RHEA_TARGET_X86_TRANSLATE_H
#define RHEA_TARGET_X86_TRANSLATE_H

#include <string.h>
#include "tcg/build.h"
#include "target/x86/cpu.h"

typedef struct X86Args {
    const struct X86Row *row;
    uint8_t  size;              /* of operand 0 in bytes: 1 2 4 8, 16; without operands: the operand size */
    uint8_t  n_ops;             /* operands the row names */
    Val      dst, src, src2, src3;      /* operand values in the row's order, VAL_NONE for operands without one; see X86Row.
                                 * On return dst is written to operand 0 unless the row says KEEP */
    int64_t  imm;               /* the (first) immediate, sign-extended (Iw, Iq, moffs: zero-extended).  Ap: offset |
                                 * selector << 32 */
    uint8_t  imm8;              /* the last immediate's low byte, unsigned */
    uint8_t  opcode;            /* its last byte */
    /* ModRM */
    uint8_t  modrm, mod, reg, rm;               /* reg, rm with REX.R, REX.B */
    bool     is_mem;
    uint8_t  seg;               /* of the memory operand */
    Val      addr;              /* linear address of the memory operand (segment base added, address size applied) */
    Val      ea;                /* effective address without the base, for LEA and segment-relative needs */
    /* how ea is made: x86_mem() makes it again after rSP or the like has changed */
    int8_t   base, index;       /* registers, or -1; base 16: RIP */
    uint8_t  scale;             /* 0..3 */
    uint8_t  vindex;            /* R_VSIB: the vector register that indexes */
    int64_t  disp;
} X86Args;

/* The instruction being translated, and block-wide state. */
typedef struct X86Trans {
    Ir       *b;
    TransReq *req;
    uint32_t  mode;
    uint32_t  off;              /* of the instruction from the block's entry */
    uint32_t  next;             /* of the one after it; valid once decoded, semantic functions may use it */
    uint8_t   opsize;           /* 2 4 8: of "v" operands */
    uint8_t   adsize;           /* 2 4 8 */
    uint8_t   stksize;          /* 2 4 8: stack address size */
    uint8_t   rex;              /* 0, or 0x40.. */
    uint8_t   vex_l, vex_w, vvvv;       /* of a VEX prefix; vex_l 0 without one */
    bool      vex;              /* there is a VEX prefix */
    bool      lock, repz /* F3 was the last of F2, F3 */, repnz /* F2 was */, data16 /* 66 */;
    int8_t    seg_override;     /* -1 or ES.. */
    bool      code64;
    unsigned  cpl;
    bool      done;             /* the semantic function has ended the block */
    bool      shadow;           /* set by STI, MOV SS, POP SS.  The driver: when it was set by the instruction before,
                                 * clears it, puts X_SHADOW 0 before calling the row, and ends the block after the row
                                 * (a head that takes interrupts follows) */

    /* Flags as the translator knows them: SSA operands of the last operation that set them. */
    struct {
        bool  known;            /* op below is what the slots will hold; else: ask the slots */
        uint8_t op;             /* CcOp with size, and CCF_CARRY, CCF_OVF */
        Val   a, b, c;          /* as in the slots, but of the operand size's type */
        Val   lhs, rhs;         /* ADD SUB CMP: the operands themselves, for fused compares */
        uint16_t step;          /* CCF_INC or CCF_DEC, and its size, if known to have come after op; CCF_OVF is newer */
        Val   d, d_lhs;         /* result and operand of that */
        Val   carry, ovf;       /* PRED, or VAL_NONE when not known as such (known or not) */
        Val   flags;            /* I32, all flags, if someone had them made (known or not) */
        uint32_t stale;         /* of these, CF and OF that have changed since */
    } cc;
    bool      no_step;          /* MOV SS, POP SS: no single-step trap behind it (SDM vol. 3, 6.8.3) */
    bool      plain;            /* no branch: nor one with DebugCtl.BTF (SDM vol. 3, 17.4.3) */
    /* the driver's own */
    unsigned  side_exits;
    bool      ended;            /* ir_insn_end() has been called for this instruction */
    bool      aligned;          /* 16-byte accesses of this instruction must be aligned */
    bool      any_alignment;    /* MODE_AC does not concern this instruction */
    uint8_t   limit_len;        /* for limit checks: length of the access to come, 0: none */
    bool      limit_write;
} X86Trans;

typedef bool X86Fn(X86Trans *t, X86Args *a);    /* false: #UD after all */

/* The first row that fits.
 *
 * opcode: as in the reference pages: mandatory prefix (66, F2, F3; NP for none of them), REX.W, 0F [38|3A], the opcode
 * byte or "90+r", then /r, /0../7, or the ModRM byte itself ("0F 01 D0", "D9 E8", "D8 C0+i").  "ib", "cd" and the like
 * are for the reader.  A row without a mandatory prefix fits any, but one with R_SSE only none; rows that name the
 * prefix go first.  A row whose feature is absent does not fit.  With VEX: "VEX.128.66.0F38.W0 F5 /r": 128 (LZ) or
 * 256, 66 F2 F3 (none: none of them), map, W0 or W1; what is not said may be either.  A row without H or B operand does
 * not fit if vvvv names a register.
 *
 * operands: a letter and a size.  The driver gives values as integers of the operand's type, vectors as V128T.
 *   E  r/m: register or memory.  G: ModRM.reg.  R: r/m, register only.  Z: register in the opcode ("+r").
 *   M  memory only: read and written as an integer of its size (dq, x, ps, pd, ss, sd: as a vector, see W).
 *      E or M without size, Ma, Mp, Ms, Mt: no access, the row uses addr or ea.
 *   I  immediate: a constant of operand 0's type.  J: relative, imm only.  O: memory at an offset in the instruction.
 *   V  xmm of ModRM.reg.  W: xmm of r/m or memory; U: xmm of r/m, register only.  Registers come whole; memory of
 *      fewer than 16 bytes (Wd, Wq, Wss, Wsd, ...) with zeros above, and is stored from the low lanes.
 *   H  vector of VEX.vvvv.  L: vector of imm8[7:4], which is the Ib that follows.  B: GPR of VEX.vvvv.
 *   Q  mmx or memory (Qq, Qd): an integer if in memory, else no value.  P, N: mmx, no value.
 *   S C D  segment, control, debug register of ModRM.reg: no value.  A: far immediate.  X Y: strings, no value.
 *   AL CL DX rAX (v) eAX (z) XMM0, 1: as named, with value.  ES.. GS, ST, STi: as named, without value.
 *   sizes: b 1, w 2, d and ss 4, q and sd 8, dq 16, qq 32, x 16 or 32 by VEX.L (16 without), xh xq xe a half, a quarter,
 *   an eighth of x, v operand size, z the same but at most 4, y 4 or 8 by
 *   REX.W.  Ib is sign-extended; Iv may have 8 bytes.
 *
 * Operand 0 is read unless the row says WRITE, and written unless it says KEEP; a memory operand 0 that is read and
 * written is probed for write first.  With LOCK operand 0 is not read, and the row does it all (x86_atomic). */
typedef struct X86Row {
    const char *opcode, *operands;
    X86Fn      *fn;
    uint32_t    arg;            /* IrOp, IrCond, HOP_* ... for fn */
    uint32_t    flags;          /* R_* */
    uint16_t    feature;        /* X86F_*: CPUID bit without which it does not fit; 0: none */
} X86Row;

enum {
    R_LOCK   = 1,               /* may have LOCK on a memory destination (else #UD); MOV CR0: means CR8 */
    R_KEEP   = 2,               /* operand 0 is not written back */
    R_WRITE  = 4,               /* operand 0 is written without being read */
    R_CPL0   = 8,               /* #GP(0) unless CPL 0 */
    R_ENDS   = 0x10,            /* the block ends after it (state that translation depends on may have changed) */
    R_ONLY64 = 0x20, R_NO64 = 0x40,
    R_DEF64  = 0x80,            /* operand size is 64 in 64-bit mode without REX.W (push, pop) */
    R_FORCE64 = 0x4000,         /* operand size is 64 in 64-bit mode whatever 66 says (near branches; so Intel's do) */
    R_SSE    = 0x100,           /* MODE_SSE_UD: #UD; CR0.TS: #NM */
    R_FPU    = 0x200,           /* MODE_FPU_NM: #NM */
    R_FP     = 0x400,           /* SSE floating point: with MODE_FPEXC goes the checked way */
    R_NOALIGN = 0x800,          /* without VEX: a 16-byte memory operand need not be aligned */
    R_MEMONLY = 0x1000, R_REGONLY = 0x2000,
    R_AVX    = 0x8000,          /* MODE_AVX_UD: #UD; CR0.TS: #NM */
    R_AVX2   = 0x10000,         /* with VEX.256 it needs AVX2 too */
    R_VSIB   = 0x20000,         /* the SIB's index is a vector register */
    R_ALIGN  = 0x40000,         /* with VEX: the memory operand must be aligned */
    R_XSTATE = 0x80000,         /* CR4.OSXSAVE clear: #UD; CR0.TS: #NM, whatever EM says */
    R_PROT   = 0x100000,        /* real and virtual-8086 mode do not know it: #UD */
};

/* Each translate_*.c exports its rows; decode.c joins the lists (ended by a row with a NULL opcode) at start-up. */
extern const X86Row x86_rows_alu[], x86_rows_bits[], x86_rows_flow[], x86_rows_string[], x86_rows_sys[], x86_rows_sse[], x86_rows_x87[],
                    x86_rows_bmi[], x86_rows_avx[], x86_rows_vector[];

/* translate.c: Target.translate. */
void x86_translate(Ir *ir, TransReq *req);

/* Services of the driver.  A row that ends the block itself puts the pc if it must, then calls one of the x86_exit_*():
 * they end the instruction, take the single step if need be, and set done. */
void x86_exit_to(X86Trans *t, int64_t off);                             /* same mode, to entry + off; masks EIP, IP */
void x86_exit_to_if(X86Trans *t, Val p, int64_t off);                   /* the same if p, else the next instruction */
void x86_exit_again_if(X86Trans *t, Val p);     /* p: this instruction has not come to its end and runs again */
void x86_exit_call(X86Trans *t);                                        /* after the exit of a CALL */
void x86_exit_indirect(X86Trans *t);                                    /* pc slot has been put, same mode */
void x86_exit_return(X86Trans *t);                                      /* x86_exit_indirect() of a near RET */
void x86_exit_mode(X86Trans *t);                                        /* pc slot has been put, by a helper maybe */
void x86_exit_run(X86Trans *t, unsigned reason);                        /* to the run loop, at the next instruction */
Val  x86_next_pc(X86Trans *t);                                          /* I64, of the next instruction, masked */
void x86_put_pc(X86Trans *t, Val pc);                                   /* I64; masked */
void x86_push(X86Trans *t, unsigned size, Val v);                       /* rSP pending after the store */
Val  x86_pop(X86Trans *t, unsigned size);
Val  x86_stack_addr(X86Trans *t, int off);                              /* linear address of SS:(rSP + off) */
void x86_add_sp(X86Trans *t, int n);
void x86_mem(X86Trans *t, X86Args *a);                                  /* makes ea and addr (again) */
Val  x86_get_reg(X86Trans *t, unsigned reg, unsigned size);             /* I8..I64; AH.. : x86_get_reg8 */
Val  x86_get_reg8(X86Trans *t, unsigned reg);                           /* honours REX */
void x86_put_reg(X86Trans *t, unsigned reg, unsigned size, Val v);      /* 32-bit writes zero the upper half */
void x86_put_reg8(X86Trans *t, unsigned reg, Val v);
Val  x86_load(X86Trans *t, Val addr, unsigned size);                    /* 1..8 integer, 16 V128T */
void x86_store(X86Trans *t, Val addr, unsigned size, Val v);
Val  x86_linear(X86Trans *t, unsigned seg, Val ea);                     /* adds the base where the mode needs it; wraps; limit check */
static inline IrType x86_type(unsigned size) { return size == 1 ? I8 : size == 2 ? I16 : size == 4 ? I32 : size == 8 ? I64 : size == 16 ? V128T : V256T; }
static inline Val x86_get_xmm(X86Trans *t, unsigned r) { return ir_get(t->b, X_XMM0 + r); }
Val  x86_get_vec(X86Trans *t, unsigned r, unsigned size);                /* V128T, or V256T for a size of 32 */
void x86_put_vec(X86Trans *t, unsigned r, Val v);                       /* as VEX does: zeros above */
static inline void x86_put_xmm(X86Trans *t, unsigned r, Val v) { ir_put(t->b, X_XMM0 + r, v); }
/* MODE_LIMITS: [a->ea, a->ea + len) in a->seg, for operands whose size the row does not tell; near jumps to pc (I64), to
 * entry + off if p (VAL_NONE: in any case), to be called before the stack is written. */
void x86_limit(X86Trans *t, const X86Args *a, unsigned len, bool write);
void x86_check_target(X86Trans *t, Val pc);
void x86_check_jump(X86Trans *t, Val p, int64_t off);
/* MODE_AC: #AC if addr is not a multiple of `align`; for operands of helpers. */
void x86_check_aligned(X86Trans *t, Val addr, unsigned align);
/* MODE_AC: what has 2, 4 or 8 bytes must be aligned (SDM vol. 3, table 6-7). */
static inline unsigned x86_align_op(const X86Trans *t, unsigned size)
{
    return G_UNLIKELY(t->mode & MODE_AC) && !t->any_alignment && size > 1 && size < 16 ? MO_ALIGN : 0;
}
void x86_ud(X86Trans *t);                                               /* raise and end the block */
void x86_gp0(X86Trans *t);

/* A row of hostop.def: inline if the host has it, else (or when MXCSR unmasks exceptions) by helper; may then fault. */
Val  x86_host(X86Trans *t, IrType type, unsigned row, Val a, Val b, Val c, unsigned imm);

/* A locked read-modify-write of operand 0: the old value. */
Val  x86_atomic(X86Trans *t, X86Args *a, AtomicOp op, Val b, Val c);

/* Flags. op: CC_* without size. rhs: CC_ADD..; lhs and rhs as the slots' b and c for ADC, SBB, SHL.., a and b for IMUL. Sets cc and puts the CC slots. */
void x86_put_flags(X86Trans *t, CcOp op, unsigned size, Val result, Val lhs, Val rhs);
void x86_put_eflags(X86Trans *t, Val arith_bits /* I32 or I64 */);      /* CC_EFLAGS */
void x86_put_step(X86Trans *t, bool dec, unsigned size, Val result, Val operand);       /* INC, DEC: all but CF */
void x86_put_carry(X86Trans *t, Val cf01 /* PRED */);                   /* only CF changes */
void x86_put_ovf(X86Trans *t, Val of);                                  /* PRED; only OF changes */
void x86_put_carry_ovf(X86Trans *t, Val cf, Val of);                    /* PRED; CF and OF change */
/* Flags that change only if some predicate says so: save, set new ones, then keep the saved if p. */
typedef struct X86CcSlots { Val op, a, b, c, d, cf, of; } X86CcSlots;
void x86_cc_save(X86Trans *t, X86CcSlots *s);
void x86_cc_keep_if(X86Trans *t, Val p, const X86CcSlots *s);
void x86_cc_forget(X86Trans *t);                                        /* a helper has written the CC slots */
Val  x86_get_flags(X86Trans *t);                                        /* I32: FL_ARITH bits */
Val  x86_get_carry(X86Trans *t);                                        /* PRED */
Val  x86_chain_in(X86Trans *t, unsigned flag /* FL_CF, FL_OF */);       /* the same, for additions through one of them */
Val  x86_cond(X86Trans *t, unsigned cc);                                /* PRED for condition code 0..15 of Jcc */

/* helper_sys.c.  What other files' rows need of it. */
/* INT n, INT3, INTO, INT1: vector (I32), kind (I32, SOFT_*), return pc (I64).  On success the pc and all the rest is
 * that of the handler: follow with ir_insn_end, ir_exit_mode. */
enum { SOFT_INT, SOFT_INT3, SOFT_INTO, SOFT_INT1 };
extern const IrHelper x86_helper_int;
/* MODE_TF: at the end of each instruction, pc of the next one (I64) given: records the #DB and returns non-zero.  Comes
 * after ir_insn_end() of the instruction, as an empty instruction of its own. */
/* What the step helpers are told: nothing yet; no branch: a #DB without DebugCtl.BTF only; a #DB. */
typedef enum X86Step { STEP_NONE, STEP_PLAIN, STEP_BRANCH } X86Step;
extern const IrHelper x86_helper_single_step;
/* IN, OUT, INS, OUTS without MODE_IOPL: port (I32), size (I32): #GP(0) unless the TSS's bitmap allows it. */
extern const IrHelper x86_helper_io_check;
/* port (I32), size (I32) -> I64 value;  port, size, value (I64). */
extern const IrHelper x86_helper_in, x86_helper_out;

#endif
