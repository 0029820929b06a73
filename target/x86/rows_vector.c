/* SPDX-License-Identifier: GPL-2.0-or-later
 * Rows of the vector instructions that have more than one encoding: a line here makes the legacy SSE row of an operation, its
 * VEX row and, where there is one, its MMX row.  What has one encoding alone stands in translate_sse.c or translate_avx.c.
 * Encodings and operands: Intel SDM vol. 2; alignment: vol. 1, sections 4.1.1 and 14.9. */
#include "tcg/hostop.h"
#include "target/x86/sse.h"
#include "target/x86/vector.h"

/* Prefix, map and length as the two kinds of row name them. */
#define L_NP   ""
#define L_66   "66 "
#define L_F3   "F3 "
#define L_F2   "F2 "
#define L_0F   "0F "
#define L_0F38 "0F 38 "
#define L_0F3A "0F 3A "
#define V_NP   ""
#define V_66   ".66"
#define V_F3   ".F3"
#define V_F2   ".F2"
#define V_0F   ".0F "
#define V_0F38 ".0F38 "
#define V_0F3A ".0F3A "
#define V_ANY  "VEX"
#define V_128  "VEX.128"
#define V_LIG  "VEX.LIG"
#define V_LZ   "VEX.LZ"
/* A whole register: where VEX.L is ignored, it must not be read as a length. */
#define X_ANY  "x"
#define X_128  "x"
#define X_LIG  "dq"

/* Operands of 16 bytes are aligned unless they say NOALIGN; VEX's only where they say ALIGN.  AVX2: of 256 bits. */
enum {
    W = R_WRITE, WF = W | R_FP, WI = W | R_AVX2, F = R_FP, I = R_AVX2, K = R_KEEP, KF = K | F,
    LOAD = W | R_MEMONLY, MEM = R_MEMONLY, REG = R_REGONLY, ALIGNED = W | R_ALIGN, ANYWHERE = W | R_NOALIGN,
};
#define LEGACY(flags) (R_SSE | ((flags) & ~(R_ALIGN | R_AVX2)))
#define VEX(flags)    (R_AVX | ((flags) & ~R_NOALIGN))
#define MMX           (R_FPU | R_KEEP)

/* `op` is a function and its arg. */
#define H(name) x86_tr_host, HOP_##name
#define MOVE    x86_tr_vmov, 0
#define FN(fn, arg) fn, arg

/* The same operands in both. */
#define SAME(len, p, map, opcode, operands, op, flags, feature)                                              \
    { L_##p L_##map opcode, operands, op, LEGACY(flags), X86F_##feature },                                   \
    { V_##len V_##p V_##map opcode, operands, op, VEX(flags), X86F_AVX }
/* V = V op source, with VEX V = H op source. */
#define THREE(len, p, map, opcode, source, op, flags, feature)                                               \
    { L_##p L_##map opcode, "V" X_##len " " source, op, LEGACY(flags), X86F_##feature },                     \
    { V_##len V_##p V_##map opcode, "V" X_##len " H" X_##len " " source, op, VEX((flags) | R_WRITE), X86F_AVX }

/* Floating point: packed single and double, scalar single and double. */
#define FP4(opcode, name)                                                                                    \
    THREE(ANY, NP, 0F, opcode " /r", "Wx", H(name##PS), F, SSE),                                             \
    THREE(ANY, 66, 0F, opcode " /r", "Wx", H(name##PD), F, SSE2),                                            \
    THREE(LIG, F3, 0F, opcode " /r", "Wss", H(name##SS), F, SSE),                                            \
    THREE(LIG, F2, 0F, opcode " /r", "Wsd", H(name##SD), F, SSE2)
#define BITWISE(opcode, name)                                                                                \
    THREE(ANY, NP, 0F, opcode " /r", "Wx", H(name), 0, SSE),                                                 \
    THREE(ANY, 66, 0F, opcode " /r", "Wx", H(name), 0, SSE2)
/* Without VEX there are eight predicates. */
#define CMP(len, p, name, source, feature)                                                                   \
    { L_##p "0F C2 /r ib", "V" X_##len " " source " Ib", x86_tr_cmp, HOP_CMP##name, LEGACY(F), X86F_##feature }, \
    { V_##len V_##p ".0F C2 /r ib", "V" X_##len " H" X_##len " " source " Ib", H(VCMP##name), VEX(WF), X86F_AVX }
/* The scalar moves between registers: the rest comes from the destination, or from H. */
#define MOVE_LOW(p, name, feature)                                                                           \
    THREE(LIG, p, 0F, "10 /r", "Udq", H(name), REG, feature),                                                \
    { L_##p "0F 11 /r", "Udq Vdq", H(name), LEGACY(REG), X86F_##feature },                                   \
    { V_LIG V_##p ".0F 11 /r", "Udq Hdq Vdq", H(name), VEX(W | REG), X86F_AVX }

/* Integers. */
#define INT(opcode, name) THREE(ANY, 66, 0F, opcode " /r", "Wx", H(name), I, SSE2)
#define INT_MMX(opcode, name, form, mm_feature)                                                              \
    INT(opcode, name), { "NP 0F " opcode " /r", "Pq Qq", x86_tr_mmx, HOP_##name | form, MMX, X86F_##mm_feature }
#define UNPACK(low, high, types)                                                                             \
    INT(low, PUNPCKL##types), INT(high, PUNPCKH##types),                                                     \
    { "NP 0F " low " /r", "Pq Qd", x86_tr_mmx, HOP_PUNPCKL##types, MMX, X86F_MMX },                          \
    { "NP 0F " high " /r", "Pq Qq", x86_tr_mmx, HOP_PUNPCKL##types | M_HIGH, MMX, X86F_MMX }
#define SHIFT_BY(opcode, name)          /* the count is 64 bits of 16 bytes */                               \
    THREE(ANY, 66, 0F, opcode " /r", "Wdq", H(name), I, SSE2),                                               \
    { "NP 0F " opcode " /r", "Pq Qq", x86_tr_mmx, HOP_##name, MMX, X86F_MMX }
#define SHIFT(opcode, name)                                                                                  \
    { "66 0F " opcode " ib", "Ux Ib", H(name), LEGACY(I), X86F_SSE2 },                                       \
    { "VEX.66.0F " opcode " ib", "Hx Ux Ib", H(name), VEX(WI), X86F_AVX }
#define SHIFT_MMX(opcode, name)                                                                              \
    SHIFT(opcode, name), { "NP 0F " opcode " ib", "Nq Ib", x86_tr_mmx_shift, HOP_##name, MMX, X86F_MMX }
#define SSSE3(opcode, name, form)                                                                            \
    THREE(ANY, 66, 0F38, opcode " /r", "Wx", H(name), I, SSSE3),                                             \
    { "NP 0F 38 " opcode " /r", "Pq Qq", x86_tr_mmx, HOP_##name | form, MMX, X86F_SSSE3 }
#define SSSE3_ONE(opcode, name)                                                                              \
    SAME(ANY, 66, 0F38, opcode " /r", "Vx Wx", H(name), WI, SSSE3),                                          \
    { "NP 0F 38 " opcode " /r", "Pq Qq", x86_tr_mmx, HOP_##name, MMX, X86F_SSSE3 }
#define INT41(opcode, name) THREE(ANY, 66, 0F38, opcode " /r", "Wx", H(name), I, SSE41)
#define WIDEN(opcode, name, source) SAME(ANY, 66, 0F38, opcode " /r", "Vx " source, H(name), WI, SSE41)

/* AES and carry-less multiplication have features of their own for each length. */
#define CRYPTO(map, opcode, imm, name, feature)                                                              \
    { "66 " L_##map opcode, "Vx Wx" imm, H(name), LEGACY(0), X86F_##feature },                               \
    { "VEX.128.66" V_##map opcode, "Vx Hx Wx" imm, H(name), VEX(W), X86F_##feature },                        \
    { "VEX.256.66" V_##map opcode, "Vx Hx Wx" imm, H(name), VEX(W), X86F_V##feature }
#define AES_ONE(map, opcode, imm, name)                                                                      \
    { "66 " L_##map opcode, "Vx Wx" imm, H(name), LEGACY(W), X86F_AES },                                     \
    { "VEX.128.66" V_##map opcode, "Vx Wx" imm, H(name), VEX(W), X86F_AES }

const X86Row x86_rows_vector[] = {
    /* --- moves */
    SAME(ANY, NP, 0F, "10 /r", "Vx Wx", MOVE, ANYWHERE, SSE),
    SAME(ANY, NP, 0F, "11 /r", "Wx Vx", MOVE, ANYWHERE, SSE),
    SAME(ANY, 66, 0F, "10 /r", "Vx Wx", MOVE, ANYWHERE, SSE2),
    SAME(ANY, 66, 0F, "11 /r", "Wx Vx", MOVE, ANYWHERE, SSE2),
    SAME(LIG, F3, 0F, "10 /r", "Vdq Wss", MOVE, LOAD, SSE),
    SAME(LIG, F3, 0F, "11 /r", "Mss Vdq", MOVE, LOAD, SSE),
    MOVE_LOW(F3, MOVSS, SSE),
    SAME(LIG, F2, 0F, "10 /r", "Vdq Wsd", MOVE, LOAD, SSE2),
    SAME(LIG, F2, 0F, "11 /r", "Msd Vdq", MOVE, LOAD, SSE2),
    MOVE_LOW(F2, MOVSD, SSE2),
    THREE(128, NP, 0F, "12 /r", "Wsd", H(MOVSD), MEM, SSE),                     /* movlps */
    THREE(128, NP, 0F, "12 /r", "Ux", H(MOVHLPS), REG, SSE),
    THREE(128, 66, 0F, "12 /r", "Wsd", H(MOVSD), MEM, SSE2),
    SAME(128, F2, 0F, "12 /r", "Vx Wsd", H(MOVDDUP), W, SSE3),
    { "VEX.256.F2.0F 12 /r", "Vx Wx", H(MOVDDUP), VEX(W), X86F_AVX },
    SAME(ANY, F3, 0F, "12 /r", "Vx Wx", H(MOVSLDUP), W, SSE3),
    SAME(ANY, F3, 0F, "16 /r", "Vx Wx", H(MOVSHDUP), W, SSE3),
    SAME(128, NP, 0F, "13 /r", "Msd Vx", MOVE, LOAD, SSE),
    SAME(128, 66, 0F, "13 /r", "Msd Vx", MOVE, LOAD, SSE2),
    THREE(128, NP, 0F, "16 /r", "Wsd", H(MOVLHPS), 0, SSE),                     /* movhps from memory as well */
    THREE(128, 66, 0F, "16 /r", "Wsd", H(MOVLHPS), MEM, SSE2),
    SAME(128, NP, 0F, "17 /r", "Msd Vx", FN(x86_tr_vhigh, 0), LOAD, SSE),
    SAME(128, 66, 0F, "17 /r", "Msd Vx", FN(x86_tr_vhigh, 0), LOAD, SSE2),
    SAME(ANY, NP, 0F, "28 /r", "Vx Wx", MOVE, ALIGNED, SSE),
    SAME(ANY, NP, 0F, "29 /r", "Wx Vx", MOVE, ALIGNED, SSE),
    SAME(ANY, 66, 0F, "28 /r", "Vx Wx", MOVE, ALIGNED, SSE2),
    SAME(ANY, 66, 0F, "29 /r", "Wx Vx", MOVE, ALIGNED, SSE2),
    SAME(ANY, 66, 0F, "6F /r", "Vx Wx", MOVE, ALIGNED, SSE2),
    SAME(ANY, 66, 0F, "7F /r", "Wx Vx", MOVE, ALIGNED, SSE2),
    SAME(ANY, F3, 0F, "6F /r", "Vx Wx", MOVE, ANYWHERE, SSE2),
    SAME(ANY, F3, 0F, "7F /r", "Wx Vx", MOVE, ANYWHERE, SSE2),
    SAME(ANY, F2, 0F, "F0 /r", "Vx Mx", MOVE, ANYWHERE, SSE3),                  /* lddqu */
    SAME(ANY, NP, 0F, "2B /r", "Mx Vx", MOVE, ALIGNED, SSE),                    /* movntps */
    SAME(ANY, 66, 0F, "2B /r", "Mx Vx", MOVE, ALIGNED, SSE2),
    SAME(ANY, 66, 0F, "E7 /r", "Mx Vx", MOVE, ALIGNED, SSE2),
    SAME(ANY, 66, 0F38, "2A /r", "Vx Mx", MOVE, ALIGNED | I, SSE41),
    { "66 REX.W 0F 6E /r", "Vx Wsd", MOVE, LEGACY(LOAD), X86F_SSE2 },
    { "VEX.128.66.0F.W1 6E /r", "Vx Wsd", MOVE, VEX(LOAD | R_ONLY64), X86F_AVX },
    SAME(128, 66, 0F, "6E /r", "Vx Wss", MOVE, LOAD, SSE2),
    SAME(128, 66, 0F, "6E /r", "Vx Ry", H(MOVDV), W, SSE2),
    { "66 REX.W 0F 7E /r", "Msd Vx", MOVE, LEGACY(LOAD), X86F_SSE2 },
    { "VEX.128.66.0F.W1 7E /r", "Msd Vx", MOVE, VEX(LOAD | R_ONLY64), X86F_AVX },
    SAME(128, 66, 0F, "7E /r", "Mss Vx", MOVE, LOAD, SSE2),
    SAME(128, 66, 0F, "7E /r", "Ry Vx", H(MOVDG), W, SSE2),
    SAME(128, F3, 0F, "7E /r", "Vx Wsd", MOVE, LOAD, SSE2),
    SAME(128, F3, 0F, "7E /r", "Vx Ux", H(MOVQ), W, SSE2),
    SAME(128, 66, 0F, "D6 /r", "Msd Vx", MOVE, LOAD, SSE2),
    SAME(128, 66, 0F, "D6 /r", "Ux Vx", H(MOVQ), W, SSE2),
    SAME(128, 66, 0F, "F7 /r", "Vx Ux", FN(x86_tr_maskmov, 0), K, SSE2),
    SAME(ANY, NP, 0F, "50 /r", "Gd Ux", H(MOVMSKPS), W, SSE),
    SAME(ANY, 66, 0F, "50 /r", "Gd Ux", H(MOVMSKPD), W, SSE2),
    SAME(ANY, 66, 0F, "D7 /r", "Gd Ux", H(PMOVMSKB), WI, SSE2),

    /* --- floating point */
    FP4("58", ADD), FP4("59", MUL), FP4("5C", SUB), FP4("5D", MIN), FP4("5E", DIV), FP4("5F", MAX),
    SAME(ANY, NP, 0F, "51 /r", "Vx Wx", H(SQRTPS), WF, SSE),
    SAME(ANY, 66, 0F, "51 /r", "Vx Wx", H(SQRTPD), WF, SSE2),
    THREE(LIG, F3, 0F, "51 /r", "Wss", H(SQRTSS), F, SSE),
    THREE(LIG, F2, 0F, "51 /r", "Wsd", H(SQRTSD), F, SSE2),
    SAME(ANY, NP, 0F, "52 /r", "Vx Wx", H(RSQRTPS), W, SSE),
    THREE(LIG, F3, 0F, "52 /r", "Wss", H(RSQRTSS), 0, SSE),
    SAME(ANY, NP, 0F, "53 /r", "Vx Wx", H(RCPPS), W, SSE),
    THREE(LIG, F3, 0F, "53 /r", "Wss", H(RCPSS), 0, SSE),
    CMP(ANY, NP, PS, "Wx", SSE), CMP(ANY, 66, PD, "Wx", SSE2), CMP(LIG, F3, SS, "Wss", SSE), CMP(LIG, F2, SD, "Wsd", SSE2),
    SAME(LIG, NP, 0F, "2E /r", "Vdq Wss", H(UCOMISS), KF, SSE),
    SAME(LIG, 66, 0F, "2E /r", "Vdq Wsd", H(UCOMISD), KF, SSE2),
    SAME(LIG, NP, 0F, "2F /r", "Vdq Wss", H(COMISS), KF, SSE),
    SAME(LIG, 66, 0F, "2F /r", "Vdq Wsd", H(COMISD), KF, SSE2),
    SAME(ANY, NP, 0F, "5A /r", "Vx Wxh", H(CVTPS2PD), WF, SSE2),
    SAME(ANY, 66, 0F, "5A /r", "Vdq Wx", H(CVTPD2PS), WF, SSE2),
    THREE(LIG, F3, 0F, "5A /r", "Wss", H(CVTSS2SD), F, SSE2),
    THREE(LIG, F2, 0F, "5A /r", "Wsd", H(CVTSD2SS), F, SSE2),
    SAME(ANY, NP, 0F, "5B /r", "Vx Wx", H(CVTDQ2PS), WF, SSE2),
    SAME(ANY, 66, 0F, "5B /r", "Vx Wx", H(CVTPS2DQ), WF, SSE2),
    SAME(ANY, F3, 0F, "5B /r", "Vx Wx", H(CVTTPS2DQ), WF, SSE2),
    SAME(ANY, F3, 0F, "E6 /r", "Vx Wxh", H(CVTDQ2PD), W, SSE2),
    SAME(ANY, F2, 0F, "E6 /r", "Vdq Wx", H(CVTPD2DQ), WF, SSE2),
    SAME(ANY, 66, 0F, "E6 /r", "Vdq Wx", H(CVTTPD2DQ), WF, SSE2),
    THREE(LIG, F3, 0F, "2A /r", "Ey", H(CVTSI2SS), F, SSE),
    THREE(LIG, F2, 0F, "2A /r", "Ey", H(CVTSI2SD), F, SSE2),
    SAME(LIG, F3, 0F, "2C /r", "Gy Wss", H(CVTTSS2SI), WF, SSE),
    SAME(LIG, F2, 0F, "2C /r", "Gy Wsd", H(CVTTSD2SI), WF, SSE2),
    SAME(LIG, F3, 0F, "2D /r", "Gy Wss", H(CVTSS2SI), WF, SSE),
    SAME(LIG, F2, 0F, "2D /r", "Gy Wsd", H(CVTSD2SI), WF, SSE2),
    THREE(ANY, F2, 0F, "D0 /r", "Wx", H(ADDSUBPS), F, SSE3),
    THREE(ANY, 66, 0F, "D0 /r", "Wx", H(ADDSUBPD), F, SSE3),
    THREE(ANY, F2, 0F, "7C /r", "Wx", H(HADDPS), F, SSE3),
    THREE(ANY, 66, 0F, "7C /r", "Wx", H(HADDPD), F, SSE3),
    THREE(ANY, F2, 0F, "7D /r", "Wx", H(HSUBPS), F, SSE3),
    THREE(ANY, 66, 0F, "7D /r", "Wx", H(HSUBPD), F, SSE3),
    SAME(ANY, 66, 0F3A, "08 /r ib", "Vx Wx Ib", H(ROUNDPS), WF, SSE41),
    SAME(ANY, 66, 0F3A, "09 /r ib", "Vx Wx Ib", H(ROUNDPD), WF, SSE41),
    THREE(LIG, 66, 0F3A, "0A /r ib", "Wss Ib", H(ROUNDSS), F, SSE41),
    THREE(LIG, 66, 0F3A, "0B /r ib", "Wsd Ib", H(ROUNDSD), F, SSE41),
    THREE(ANY, 66, 0F3A, "40 /r ib", "Wx Ib", H(DPPS), F, SSE41),
    THREE(128, 66, 0F3A, "41 /r ib", "Wx Ib", H(DPPD), F, SSE41),
    SAME(LZ, NP, 0F, "AE /2", "Md", FN(x86_tr_ldmxcsr, 0), K | R_ENDS, SSE),
    SAME(LZ, NP, 0F, "AE /3", "Md", FN(x86_tr_stmxcsr, 0), W, SSE),

    /* --- bitwise */
    BITWISE("54", ANDPS), BITWISE("55", ANDNPS), BITWISE("56", ORPS), BITWISE("57", XORPS),
    INT_MMX("DB", PAND, M_LANES, MMX), INT_MMX("DF", PANDN, M_LANES, MMX),
    INT_MMX("EB", POR, M_LANES, MMX), INT_MMX("EF", PXOR, M_LANES, MMX),

    /* --- shuffles */
    THREE(ANY, NP, 0F, "14 /r", "Wx", H(UNPCKLPS), 0, SSE),
    THREE(ANY, 66, 0F, "14 /r", "Wx", H(UNPCKLPD), 0, SSE2),
    THREE(ANY, NP, 0F, "15 /r", "Wx", H(UNPCKHPS), 0, SSE),
    THREE(ANY, 66, 0F, "15 /r", "Wx", H(UNPCKHPD), 0, SSE2),
    THREE(ANY, NP, 0F, "C6 /r ib", "Wx Ib", H(SHUFPS), 0, SSE),
    THREE(ANY, 66, 0F, "C6 /r ib", "Wx Ib", H(SHUFPD), 0, SSE2),
    SAME(ANY, 66, 0F, "70 /r ib", "Vx Wx Ib", H(PSHUFD), WI, SSE2),
    SAME(ANY, F3, 0F, "70 /r ib", "Vx Wx Ib", H(PSHUFHW), WI, SSE2),
    SAME(ANY, F2, 0F, "70 /r ib", "Vx Wx Ib", H(PSHUFLW), WI, SSE2),
    { "NP 0F 70 /r ib", "Pq Qq Ib", x86_tr_mmx, HOP_PSHUFLW, MMX, X86F_SSE },
    UNPACK("60", "68", BW), UNPACK("61", "69", WD), UNPACK("62", "6A", DQ),
    INT("6C", PUNPCKLQDQ), INT("6D", PUNPCKHQDQ),
    INT_MMX("63", PACKSSWB, M_BOTH, MMX), INT_MMX("67", PACKUSWB, M_BOTH, MMX), INT_MMX("6B", PACKSSDW, M_BOTH, MMX),
    THREE(128, 66, 0F, "C4 /r ib", "Rd Ib", H(PINSRW), 0, SSE2),
    THREE(128, 66, 0F, "C4 /r ib", "Mw Ib", H(PINSRW), 0, SSE2),
    SAME(128, 66, 0F, "C5 /r ib", "Gd Ux Ib", H(PEXTRW), W, SSE2),
    THREE(ANY, 66, 0F3A, "0F /r ib", "Wx Ib", H(PALIGNR), I, SSSE3),
    { "NP 0F 3A 0F /r ib", "Pq Qq Ib", x86_tr_mmx, HOP_PSRLDQ | M_ALIGN, MMX, X86F_SSSE3 },

    /* --- integers */
    INT_MMX("FC", PADDB, M_LANES, MMX), INT_MMX("FD", PADDW, M_LANES, MMX), INT_MMX("FE", PADDD, M_LANES, MMX),
    INT_MMX("D4", PADDQ, M_LANES, SSE2), INT_MMX("F8", PSUBB, M_LANES, MMX), INT_MMX("F9", PSUBW, M_LANES, MMX),
    INT_MMX("FA", PSUBD, M_LANES, MMX), INT_MMX("FB", PSUBQ, M_LANES, SSE2), INT_MMX("EC", PADDSB, M_LANES, MMX),
    INT_MMX("ED", PADDSW, M_LANES, MMX), INT_MMX("DC", PADDUSB, M_LANES, MMX), INT_MMX("DD", PADDUSW, M_LANES, MMX),
    INT_MMX("E8", PSUBSB, M_LANES, MMX), INT_MMX("E9", PSUBSW, M_LANES, MMX), INT_MMX("D8", PSUBUSB, M_LANES, MMX),
    INT_MMX("D9", PSUBUSW, M_LANES, MMX), INT_MMX("DA", PMINUB, M_LANES, SSE), INT_MMX("DE", PMAXUB, M_LANES, SSE),
    INT_MMX("EA", PMINSW, M_LANES, SSE), INT_MMX("EE", PMAXSW, M_LANES, SSE), INT_MMX("E0", PAVGB, M_LANES, SSE),
    INT_MMX("E3", PAVGW, M_LANES, SSE), INT_MMX("D5", PMULLW, M_LANES, MMX), INT_MMX("E5", PMULHW, M_LANES, MMX),
    INT_MMX("E4", PMULHUW, M_LANES, SSE), INT_MMX("F4", PMULUDQ, M_LANES, SSE2), INT_MMX("F5", PMADDWD, M_LANES, MMX),
    INT_MMX("F6", PSADBW, M_LANES, SSE), INT_MMX("74", PCMPEQB, M_LANES, MMX), INT_MMX("75", PCMPEQW, M_LANES, MMX),
    INT_MMX("76", PCMPEQD, M_LANES, MMX), INT_MMX("64", PCMPGTB, M_LANES, MMX), INT_MMX("65", PCMPGTW, M_LANES, MMX),
    INT_MMX("66", PCMPGTD, M_LANES, MMX),
    SHIFT_BY("D1", PSRLW), SHIFT_BY("D2", PSRLD), SHIFT_BY("D3", PSRLQ), SHIFT_BY("E1", PSRAW), SHIFT_BY("E2", PSRAD),
    SHIFT_BY("F1", PSLLW), SHIFT_BY("F2", PSLLD), SHIFT_BY("F3", PSLLQ),
    SHIFT_MMX("71 /2", PSRLWI), SHIFT_MMX("71 /4", PSRAWI), SHIFT_MMX("71 /6", PSLLWI),
    SHIFT_MMX("72 /2", PSRLDI), SHIFT_MMX("72 /4", PSRADI), SHIFT_MMX("72 /6", PSLLDI),
    SHIFT_MMX("73 /2", PSRLQI), SHIFT_MMX("73 /6", PSLLQI), SHIFT("73 /3", PSRLDQ), SHIFT("73 /7", PSLLDQ),

    SSSE3("00", PSHUFB, M_SHUFB), SSSE3("01", PHADDW, M_BOTH), SSSE3("02", PHADDD, M_BOTH), SSSE3("03", PHADDSW, M_BOTH),
    SSSE3("04", PMADDUBSW, M_LANES), SSSE3("05", PHSUBW, M_BOTH), SSSE3("06", PHSUBD, M_BOTH), SSSE3("07", PHSUBSW, M_BOTH),
    SSSE3("08", PSIGNB, M_LANES), SSSE3("09", PSIGNW, M_LANES), SSSE3("0A", PSIGND, M_LANES), SSSE3("0B", PMULHRSW, M_LANES),
    SSSE3_ONE("1C", PABSB), SSSE3_ONE("1D", PABSW), SSSE3_ONE("1E", PABSD),

    /* --- SSE4.1, SSE4.2 */
    SAME(ANY, 66, 0F38, "17 /r", "Vx Wx", H(PTEST), K, SSE41),
    WIDEN("20", PMOVSXBW, "Wxh"), WIDEN("21", PMOVSXBD, "Wxq"), WIDEN("22", PMOVSXBQ, "Wxe"),
    WIDEN("23", PMOVSXWD, "Wxh"), WIDEN("24", PMOVSXWQ, "Wxq"), WIDEN("25", PMOVSXDQ, "Wxh"),
    WIDEN("30", PMOVZXBW, "Wxh"), WIDEN("31", PMOVZXBD, "Wxq"), WIDEN("32", PMOVZXBQ, "Wxe"),
    WIDEN("33", PMOVZXWD, "Wxh"), WIDEN("34", PMOVZXWQ, "Wxq"), WIDEN("35", PMOVZXDQ, "Wxh"),
    INT41("28", PMULDQ), INT41("29", PCMPEQQ), INT41("2B", PACKUSDW), INT41("38", PMINSB), INT41("39", PMINSD),
    INT41("3A", PMINUW), INT41("3B", PMINUD), INT41("3C", PMAXSB), INT41("3D", PMAXSD), INT41("3E", PMAXUW),
    INT41("3F", PMAXUD), INT41("40", PMULLD),
    SAME(128, 66, 0F38, "41 /r", "Vx Wx", H(PHMINPOSUW), W, SSE41),
    THREE(ANY, 66, 0F3A, "0C /r ib", "Wx Ib", H(BLENDPS), 0, SSE41),
    THREE(ANY, 66, 0F3A, "0D /r ib", "Wx Ib", H(BLENDPD), 0, SSE41),
    THREE(ANY, 66, 0F3A, "0E /r ib", "Wx Ib", H(PBLENDW), I, SSE41),
    SAME(128, 66, 0F3A, "14 /r ib", "Rd Vx Ib", H(PEXTRB), W, SSE41),
    SAME(128, 66, 0F3A, "14 /r ib", "Mb Vx Ib", H(PEXTRB), W, SSE41),
    SAME(128, 66, 0F3A, "15 /r ib", "Rd Vx Ib", H(PEXTRW), W, SSE41),
    SAME(128, 66, 0F3A, "15 /r ib", "Mw Vx Ib", H(PEXTRW), W, SSE41),
    SAME(128, 66, 0F3A, "16 /r ib", "Ey Vx Ib", H(PEXTRD), W, SSE41),
    SAME(128, 66, 0F3A, "17 /r ib", "Ed Vx Ib", H(PEXTRD), W, SSE41),           /* extractps */
    THREE(128, 66, 0F3A, "20 /r ib", "Rd Ib", H(PINSRB), 0, SSE41),
    THREE(128, 66, 0F3A, "20 /r ib", "Mb Ib", H(PINSRB), 0, SSE41),
    THREE(128, 66, 0F3A, "21 /r ib", "Wss Ib", FN(x86_tr_insertps, HOP_INSERTPS), 0, SSE41),
    THREE(128, 66, 0F3A, "22 /r ib", "Ey Ib", H(PINSRD), 0, SSE41),
    THREE(ANY, 66, 0F3A, "42 /r ib", "Wx Ib", H(MPSADBW), I, SSE41),
    THREE(ANY, 66, 0F38, "37 /r", "Wx", H(PCMPGTQ), I, SSE42),
    SAME(128, 66, 0F3A, "60 /r ib", "Vx Wx Ib", FN(x86_tr_pcmpstr, STR_EXPLICIT | 1), K | R_NOALIGN, SSE42),
    SAME(128, 66, 0F3A, "61 /r ib", "Vx Wx Ib", FN(x86_tr_pcmpstr, STR_EXPLICIT), K | R_NOALIGN, SSE42),
    SAME(128, 66, 0F3A, "62 /r ib", "Vx Wx Ib", FN(x86_tr_pcmpstr, 1), K | R_NOALIGN, SSE42),
    SAME(128, 66, 0F3A, "63 /r ib", "Vx Wx Ib", FN(x86_tr_pcmpstr, 0), K | R_NOALIGN, SSE42),

    /* --- AES, carry-less multiplication */
    CRYPTO(0F38, "DC /r", "", AESENC, AES), CRYPTO(0F38, "DD /r", "", AESENCLAST, AES),
    CRYPTO(0F38, "DE /r", "", AESDEC, AES), CRYPTO(0F38, "DF /r", "", AESDECLAST, AES),
    AES_ONE(0F38, "DB /r", "", AESIMC), AES_ONE(0F3A, "DF /r ib", " Ib", AESKEYGENASSIST),
    CRYPTO(0F3A, "44 /r ib", " Ib", PCLMULQDQ, PCLMULQDQ),
    { NULL },
};
