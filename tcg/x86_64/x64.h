/* SPDX-License-Identifier: GPL-2.0-or-later
 * Encoding of x86-64 host instructions (Intel SDM vol. 2) and the back end's own state. */
#ifndef RHEA_TCG_X64_H
#define RHEA_TCG_X64_H

#include <string.h>
#include "tcg/backend.h"
#include "tcg/gen.h"
#include "tcg/hostop.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum { RTMP = R10, RTMP2 = R11, RCTX = R15, VTMP = 31, VTMP2 = 30 };
enum {
    CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G
};

/* Opcodes: low byte, map, mandatory prefix, width. */
enum {
    O_0F = 0x100, O_0F38 = 0x200, O_0F3A = 0x300, O_MAP = 0x300,
    O_66 = 0x1000, O_F3 = 0x2000, O_F2 = 0x4000,
    O_W = 0x8000,               /* REX.W */
    O_L = 0x40000,              /* VEX.256 */
    O_BREG = 0x10000,           /* the reg field is a byte register: spl bpl sil dil need a REX */
    O_BRM = 0x20000,            /* the same for the r/m field */
};
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
enum { SH_ROL = 0, SH_ROR = 1, SH_SHL = 4, SH_SHR = 5, SH_SAR = 7 };

static inline void x64_1(Gen *g, unsigned v) { *g->p++ = (uint8_t)v; }
static inline void x64_4(Gen *g, uint32_t v) { memcpy(g->p, &v, 4); g->p += 4; }
static inline void x64_8(Gen *g, uint64_t v) { memcpy(g->p, &v, 8); g->p += 8; }

static inline void x64_prefixes(Gen *g, uint32_t op, unsigned reg, unsigned index, unsigned rm)
{
    if (op & (O_66 | O_F3 | O_F2))
        x64_1(g, op & O_66 ? 0x66 : op & O_F3 ? 0xf3 : 0xf2);
    unsigned rex = (op & O_W ? 8 : 0) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (rm >> 3 & 1);
    if (rex || (op & O_BREG && reg >= 4) || (op & O_BRM && rm >= 4))
        x64_1(g, 0x40 | rex);
    if (op & O_MAP) {
        x64_1(g, 0x0f);
        if ((op & O_MAP) == O_0F38)
            x64_1(g, 0x38);
        else if ((op & O_MAP) == O_0F3A)
            x64_1(g, 0x3a);
    }
    x64_1(g, op);
}
/* reg field, register in the r/m field.  Vector registers may be given as 16..31. */
static inline void x64_rr(Gen *g, uint32_t op, unsigned reg, unsigned rm)
{
    x64_prefixes(g, op, reg, 0, rm);
    x64_1(g, 0xc0 | (reg & 7) << 3 | (rm & 7));
}
static inline void x64_modrm_disp(Gen *g, unsigned reg, unsigned base, int32_t disp)
{
    unsigned mod = disp == 0 && (base & 7) != RBP ? 0 : disp == (int8_t)disp ? 1 : 2;
    x64_1(g, mod << 6 | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == RSP)
        x64_1(g, 0x24);
    if (mod == 1)
        x64_1(g, disp);
    else if (mod == 2)
        x64_4(g, disp);
}
static inline void x64_rm(Gen *g, uint32_t op, unsigned reg, unsigned base, int32_t disp)
{
    x64_prefixes(g, op & ~O_BRM, reg, 0, base);
    x64_modrm_disp(g, reg, base, disp);
}
static inline void x64_sib_disp(Gen *g, unsigned reg, unsigned base, unsigned index, unsigned scale,
                                int32_t disp)
{
    unsigned mod = disp == 0 && (base & 7) != RBP ? 0 : disp == (int8_t)disp ? 1 : 2;
    x64_1(g, mod << 6 | (reg & 7) << 3 | 4);
    x64_1(g, scale << 6 | (index & 7) << 3 | (base & 7));
    if (mod == 1)
        x64_1(g, disp);
    else if (mod == 2)
        x64_4(g, disp);
}
/* [base + index << scale + disp] */
static inline void x64_rx(Gen *g, uint32_t op, unsigned reg, unsigned base, unsigned index, unsigned scale,
                          int32_t disp)
{
    x64_prefixes(g, op & ~O_BRM, reg, index, base);
    x64_sib_disp(g, reg, base, index, scale, disp);
}
/* [CPU base + disp] */
static inline void x64_cpu(Gen *g, uint32_t op, unsigned reg, int32_t disp) { x64_rm(g, op, reg, RBP, disp); }
/* Register, or MEM at disp from the CPU base. */
static inline void x64_ro(Gen *g, uint32_t op, unsigned reg, unsigned rm, int32_t disp)
{
    if (rm == MEM)
        x64_cpu(g, op, reg, disp);
    else
        x64_rr(g, op, reg, rm);
}

/* VEX: vvvv is the first source (0 and ~ handled here). */
static inline void x64_vex(Gen *g, uint32_t op, unsigned reg, unsigned vvvv, unsigned index, unsigned rm)
{
    unsigned pp = op & O_66 ? 1 : op & O_F3 ? 2 : op & O_F2 ? 3 : 0;
    unsigned map = (op & O_MAP) >> 8, l = op & O_L ? 4 : 0;
    unsigned r = ~reg >> 3 & 1, x = ~index >> 3 & 1, b = ~rm >> 3 & 1;
    if (map == 1 && x && b && !(op & O_W)) {
        x64_1(g, 0xc5);
        x64_1(g, r << 7 | (~vvvv & 15) << 3 | l | pp);
    } else {
        x64_1(g, 0xc4);
        x64_1(g, r << 7 | x << 6 | b << 5 | map);
        x64_1(g, (op & O_W ? 0x80 : 0) | (~vvvv & 15) << 3 | l | pp);
    }
    x64_1(g, op);
}
static inline void x64_vrr(Gen *g, uint32_t op, unsigned reg, unsigned vvvv, unsigned rm)
{
    x64_vex(g, op, reg, vvvv, 0, rm);
    x64_1(g, 0xc0 | (reg & 7) << 3 | (rm & 7));
}
static inline void x64_vrm(Gen *g, uint32_t op, unsigned reg, unsigned vvvv, unsigned base, int32_t disp)
{
    x64_vex(g, op, reg, vvvv, 0, base);
    x64_modrm_disp(g, reg, base, disp);
}
static inline void x64_vrx(Gen *g, uint32_t op, unsigned reg, unsigned base, unsigned index, int32_t disp)
{
    x64_vex(g, op, reg, 0, index, base);
    x64_sib_disp(g, reg, base, index, 0, disp);
}

static inline uint32_t wide(bool w) { return w ? O_W : 0; }
static inline void x64_zero_upper(Gen *g) { x64_1(g, 0xc5), x64_1(g, 0xf8), x64_1(g, 0x77); }

static inline void x64_mov(Gen *g, unsigned to, unsigned from) { x64_rr(g, 0x89 | O_W, from, to); }
static inline void x64_mov32(Gen *g, unsigned to, unsigned from) { x64_rr(g, 0x89, from, to); }
static inline void x64_alu_ri(Gen *g, bool w, unsigned alu, unsigned reg, int32_t imm)
{
    if (imm == (int8_t)imm) {
        x64_rr(g, 0x83 | wide(w), alu, reg);
        x64_1(g, imm);
    } else if (reg == RAX) {
        if (w)
            x64_1(g, 0x48);
        x64_1(g, alu << 3 | 5);
        x64_4(g, imm);
    } else {
        x64_rr(g, 0x81 | wide(w), alu, reg);
        x64_4(g, imm);
    }
}
static inline void x64_shift_i(Gen *g, bool w, unsigned sh, unsigned reg, unsigned n)
{
    x64_rr(g, (n == 1 ? 0xd1 : 0xc1) | wide(w), sh, reg);
    if (n != 1)
        x64_1(g, n);
}
static inline void x64_mov_i(Gen *g, unsigned to, uint64_t v)   /* leaves the flags alone */
{
    if (v == (uint32_t)v) {
        if (to >= 8)
            x64_1(g, 0x41);
        x64_1(g, 0xb8 | (to & 7));
        x64_4(g, (uint32_t)v);
    } else if ((int64_t)v == (int32_t)v) {
        x64_rr(g, 0xc7 | O_W, 0, to);
        x64_4(g, (uint32_t)v);
    } else {
        x64_1(g, to >= 8 ? 0x49 : 0x48);
        x64_1(g, 0xb8 | (to & 7));
        x64_8(g, v);
    }
}

/* --- the back end */

/* The return stack: this much of the host's, below what it is aligned to on entry.  A frame is a guest pc and the host
 * address that the host's CALL has pushed. */
enum { RETURNS_LEN = 16384, RETURN_FRAME = 16 };

typedef struct Thunks {         /* offsets in the code memory */
    uint32_t enter, exit;       /* exit: rax, rdx set */
    uint32_t load, store, atomic, fault, raise, link;
    uint32_t look_up;           /* jumps by the jump cache to the pc slot's value */
    uint32_t lookup;            /* leaves with EXITR_LOOKUP */
    uint32_t empty;             /* what the frame at the bottom of the return stack leads to: empties it, looks up */
} Thunks;

struct Backend {
    SlowOps        ops;
    BackendOptions options;
    CodeMemory     mem;
    unsigned       features;
    bool           avx;
    RegFile        regs;
    RowSet        *rows;
    const SlotTable *slots;
    Thunks         thunk;
    Gen            gen;
};

/* What 4 bytes of displacement point at, relative to their end; FIX_AT_COLD: they are in cold code. */
enum { FIX_HOT, FIX_COLD, FIX_MEM, FIX_REC, FIX_LINK, FIX_POOL, FIX_BLOCK, FIX_AT_COLD = 0x80 };

static inline uint32_t hot_at(const Gen *g) { return (uint32_t)(g->p - g->hot_start); }
static inline uint32_t cold_at(const Gen *g)
{
    return (uint32_t)((g->in_cold ? g->p : g->cold_end) - g->cold);
}
static inline void cold_begin(Gen *g)
{
    g->hot_p = g->p;
    g->p = g->cold_end;
    g->in_cold = true;
}
static inline void cold_end(Gen *g)
{
    g->cold_end = g->p;
    g->p = g->hot_p;
    g->in_cold = false;
}
/* A 32-bit displacement here that is resolved when the code is complete. */
static inline void x64_fix(Gen *g, uint8_t kind, uint32_t target)
{
    x64_4(g, 0);
    uint32_t at = (uint32_t)(g->in_cold ? g->p - g->cold : g->p - g->hot_start);
    GEN_PUSH(g, fixups) = (Fixup){ at, target, kind | (g->in_cold ? FIX_AT_COLD : 0) };
}
/* To where the next cold code begins, if cc (CC_*; -1: always); back from there to hot_at(). */
static inline void x64_jump_cold(Gen *g, int cc)
{
    if (cc < 0) {
        x64_1(g, 0xe9);
    } else {
        x64_1(g, 0x0f);
        x64_1(g, 0x80 | cc);
    }
    x64_fix(g, FIX_COLD, cold_at(g));
}
static inline void x64_jump_back(Gen *g, uint32_t hot)
{
    x64_1(g, 0xe9);
    x64_fix(g, FIX_HOT, hot);
}
/* call or jmp to a thunk */
void x64_to_thunk(Gen *g, unsigned opcode, uint32_t thunk);

/* thunks.c: at the start of the code memory; the bytes taken */
size_t x64_make_thunks(Backend *be, Gen *g);
/* rows.c: plain operations */
extern const EmitRow x64_rows[];
extern const unsigned x64_n_rows;

/* The rest emits insn i each. */
/* arith.c */
unsigned x64_test(Gen *g, uint32_t i);      /* only its predicate: the condition code under which it holds */
void x64_cmp(Gen *g, uint32_t i);
void x64_select(Gen *g, uint32_t i);
void x64_carry(Gen *g, uint32_t i);
bool x64_keeps_flags(const Gen *g, uint32_t i);          /* g->carry outlives it */
void x64_carry_to_reg(Gen *g);
void x64_mul_div(Gen *g, uint32_t i);
void x64_scaled_add(Gen *g, uint32_t i);
bool x64_extend_memory(Gen *g, uint32_t i);
/* memory.c */
void x64_load(Gen *g, uint32_t i);
void x64_store(Gen *g, uint32_t i);
void x64_atomic(Gen *g, uint32_t i);
void x64_fence(Gen *g);
/* exits.c */
void x64_exit(Gen *g, uint32_t i);
void x64_exit_if(Gen *g, uint32_t i);
void x64_head(Gen *g, uint32_t i);
void x64_loop_begin(Gen *g);                    /* at the entry: what the region's jumps to itself keep in registers */
void x64_look_up(Gen *g);                       /* jump by the jump cache to the pc in r11 */
void x64_slot_put(Gen *g, uint32_t i);
void x64_call(Gen *g, uint32_t i);
void x64_jump(Gen *g, uint32_t i);
void x64_branch(Gen *g, uint32_t i);
/* vector.c */
void x64_host(Gen *g, uint32_t i);
void x64_concat(Gen *g, uint32_t i);
void x64_high(Gen *g, uint32_t i);

#endif
