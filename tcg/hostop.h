/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host operations: vector and odd integer operations that the IR passes through to the host, named after
 * the x86 instruction that defines them.  hostop.def is the one table: the x86-64 back end encodes from
 * it, the interpreter calls the portable function of the row. */
#ifndef RHEA_TCG_HOSTOP_H
#define RHEA_TCG_HOSTOP_H

#include "tcg/layout.h"

/* What the operands a, b, c and the result are; V vector, G general register (i32 or i64 by the insn's
 * type). */
typedef enum HostKind {
    HK_VV,      /* d = op(a)                   pshufd, cvtdq2ps, pabsb: the r/m operand is a */
    HK_VVV,     /* d = op(a, b)                addps, pshufb: a is the legacy form's destination operand */
    HK_VVVV,    /* d = op(a, b, c)             blendvps: c is the mask (legacy: xmm0); VEX opcode in digit */
    HK_VG,      /* d = op(g)                   movd, movq from a general register */
    HK_VVG,     /* d = op(a, g)                pinsrw, cvtsi2sd: other lanes from a */
    HK_GV,      /* g = op(a)                   pmovmskb, cvttsd2si, pextrw, movd */
    HK_FVV,     /* flags = op(a, b)            ucomisd, ptest: i32, CF PF ZF SF OF at their EFLAGS places */
    HK_VSHI,    /* d = op(a), imm8, /digit     psrldq, psllw imm */
    HK_FMA,     /* d = op(a, b, c)             vfmadd132ps: a is the destination operand, b in vvvv, c in r/m */
    HK_GGG,     /* g = op(a, g)                crc32; pdep: a in VEX.vvvv */
} HostKind;

/* How the 256-bit form comes from the portable function, which does 128 bits; n: wide_n. */
typedef enum HostWide {
    HW_NONE,    /* there is none */
    HW_LANES,   /* halves by themselves; the upper one's immediate is imm >> n */
    HW_COUNT,   /* the same, with a v128 b for both: shifts by a count */
    HW_UP,      /* v256 from v128: the upper half is made of what lies n bytes up.  pmovzxbw, cvtps2pd */
    HW_DOWN,    /* v128 from v256: the low 8 bytes of each half's result.  cvtpd2ps */
    HW_MASK,    /* bits: the upper half's go to bit n and up.  pmovmskb */
    HW_TEST,    /* flags: ZF and CF want it of both halves.  ptest */
    HW_BCAST,   /* v256 from v128: the result twice */
    HW_WHOLE,   /* the function is one of 256 bits: its operands are V256 (b of VVV rows with HOF_IMM too).  vpermd */
} HostWide;

enum {
    HOF_FP    = 1,      /* reads rounding and masks from MXCSR, sets its sticky flags */
    HOF_IMM   = 2,      /* has an imm8 */
    HOF_COMM  = 4,      /* a and b commute, result the same to the bit */
    HOF_W     = 8,      /* REX.W / VEX.W when the general operand is i64 (cvtsi2sd, movq, pinsrq ...) */
    HOF_STORE = 16,     /* r/m is the general destination: the vector is in the reg field (movd, pextrb) */
    HOF_LEGACY = 32,    /* has no VEX form (crc32, sha) */
    HOF_VEX   = 128,    /* has only the VEX form */
    HOF_W1    = 256,    /* VEX.W is 1 (the VEX form of what REX.W does not choose) */
    HOF_256   = 512,    /* there is no 128-bit form */
    HOF_BYTE  = 64,     /* the general operand b is a byte register: REX for spl, bpl, sil, dil (crc32b) */
};

typedef union HostArg { const V128 *v; uint64_t g; } HostArg;
/* gsize: 4 or 8, bytes of the general operand or result.  GV and FVV results are zero-extended. Result to
 * d (vectors; may be one of the operands) or returned (general, flags).  FP rows take rounding, FTZ, DAZ
 * from *mxcsr and or in flags. */
typedef uint64_t HostFn(V128 *d, HostArg a, HostArg b, HostArg c, unsigned imm, uint32_t *mxcsr,
                        unsigned gsize);

typedef struct HostRow {
    const char *name;
    uint8_t     kind;
    uint8_t     prefix;         /* 0, 0x66, 0xf3, 0xf2 */
    uint8_t     map;            /* 1: 0F, 2: 0F38, 3: 0F3A */
    uint8_t     opcode, digit;
    uint16_t    flags;
    uint32_t    needs;          /* HOST_* feature bits */
    uint8_t     wide, wide_n;   /* HostWide */
    uint32_t    wide_needs;     /* of the 256-bit form, instead of needs */
    HostFn     *fn;
} HostRow;

/* Features of the host that rows may need; detected once at start (host_features()). */
enum {
    HOST_SSE3 = 1, HOST_SSSE3 = 2, HOST_SSE41 = 4, HOST_SSE42 = 8, HOST_POPCNT = 16, HOST_AES = 32,
    HOST_PCLMUL = 64, HOST_SHA = 128, HOST_AVX = 256, HOST_AVX2 = 512, HOST_BMI1 = 1024, HOST_BMI2 = 2048,
    HOST_LZCNT = 4096, HOST_MOVBE = 8192, HOST_FMA = 16384, HOST_F16C = 32768, HOST_VAES = 65536, HOST_VPCLMUL = 1 << 17,
};
unsigned host_features(void);

/* IntRes2 of PCMPxSTRx with explicit lengths (at most the number of elements) and imm's bits 0 to 5.  False: the host has
 * no such instruction. */
bool host_compare_strings(const V128 *a, unsigned len_a, const V128 *b, unsigned len_b, unsigned imm, unsigned *out);

enum {
#define HOSTOP(name, ...) HOP_##name,
#include "tcg/hostop.def"
#undef HOSTOP
    HOST_N_ROWS
};
extern const HostRow host_rows[HOST_N_ROWS];

/* The 256-bit form, by the portable function: vector operands as V256 (a v128 in v[0]), the result to d or returned. */
uint64_t host_run_wide(const HostRow *row, V256 *d, const V256 *a, const V256 *b, const V256 *c, unsigned imm,
                       uint32_t *mxcsr);

#endif
