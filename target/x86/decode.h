/* SPDX-License-Identifier: GPL-2.0-or-later
 * Compiled rows: what decode.c makes of the opcode and operand columns.  For the driver and the tests. */
#ifndef RHEA_TARGET_X86_DECODE_H
#define RHEA_TARGET_X86_DECODE_H

#include "target/x86/translate.h"

typedef enum X86OpKind {
    OPK_NONE,           /* takes part in no value: segment registers, strings, ST(i) */
    OPK_E, OPK_G, OPK_R, OPK_Z, OPK_M, OPK_MV /* M of a vector size */, OPK_I, OPK_J, OPK_O, OPK_A,
    OPK_V, OPK_W, OPK_U, OPK_Q, OPK_REG /* reg: GPR */, OPK_AH, OPK_ONE, OPK_XMM0,
    OPK_H, OPK_B /* VEX.vvvv: vector, GPR */, OPK_L /* imm8[7:4]: vector */,
} X86OpKind;

/* Else bytes: 1 2 4 8 16 32.  X: a whole vector by VEX.L; XH, XQ, XE: a half, a quarter, an eighth of it. */
enum { OSZ_NONE = 0, OSZ_V = 64, OSZ_Z, OSZ_Y, OSZ_X, OSZ_XH, OSZ_XQ, OSZ_XE };

typedef struct X86Op { uint8_t kind, size, reg; } X86Op;

enum { PFX_ANY, PFX_NONE, PFX_66, PFX_F3, PFX_F2 };
enum { MAX_OPS = 5, X86_MAX_LEN = 15, MAP_VEX = 3, N_MAPS = MAP_VEX + 4 };

typedef struct X86Dec {
    const X86Row *row;
    uint8_t  map, opcode;       /* map 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A; MAP_VEX + 1 to 3: the same with VEX */
    uint8_t  pfx;               /* PFX_* */
    int8_t   digit;             /* of ModRM.reg, or -1 */
    uint8_t  byte, byte_mask;   /* ModRM itself; mask 0: any */
    uint8_t  mod;               /* 0 any, 1 memory, 2 register, 3: taken for a register (MOV CRn) */
    bool     rexw, has_modrm, plus_r;
    uint8_t  vex_l, vex_w;      /* VEX: 0: any, 1 + the bit */
    bool     vvvv;              /* VEX: names a register */
    uint8_t  n_ops;
    int8_t   rm_op;             /* the operand that is r/m, or -1 */
    X86Op    op[MAX_OPS];
} X86Dec;

typedef enum X86DecStatus { DEC_OK, DEC_UD, DEC_LONG } X86DecStatus;

/* Decodes one instruction at code (32 bytes readable) into t's prefix fields, t->next and a.  *len is set in any case:
 * to the bytes looked at before the verdict. */
X86DecStatus x86_decode(X86Trans *t, X86Args *a, const uint8_t *code, const X86Dec **dec, unsigned *len);

/* All compiled rows, in order; the tables are made on first use. */
const X86Dec *x86_decs(unsigned *n);
static inline bool x86_dec_vex(const X86Dec *d) { return d->map > MAP_VEX; }
static inline unsigned x86_op_size(const X86Trans *t, const X86Op *op)
{
    if (op->size >= OSZ_X)
        return 16u << t->vex_l >> (op->size - OSZ_X);
    return op->size < OSZ_V ? op->size : op->size == OSZ_V ? t->opsize : op->size == OSZ_Z ? MIN(t->opsize, 4) :
           t->rex & 8 ? 8 : 4;
}

#endif
