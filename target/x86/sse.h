/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between translate_sse.c and helper_sse.c. */
#ifndef RHEA_TARGET_X86_SSE_H
#define RHEA_TARGET_X86_SSE_H

#include "target/x86/cpu.h"

/* Runs the portable function of host row (bits 0..15 of word), immediate (16..23), general operand of 4 or
 * 8 bytes (24..31), with the guest's exception masks.  Operands: a, b (general ones in the low half), c in
 * xmm_tmp.  Result in xmm_tmp or helper_ret, or 1 with #XM (#UD) recorded. */
int      sse_checked(CpuState *s, uint32_t word, uint64_t a_lo, uint64_t a_hi, uint64_t b_lo, uint64_t b_hi);
uint64_t sse_extrq(CpuState *s, uint64_t v, uint64_t with, uint64_t word);       /* word: length, place << 8 */
uint64_t sse_insertq(CpuState *s, uint64_t v, uint64_t with, uint64_t word);
int      sse_maskmov(CpuState *s, uint64_t va, uint64_t lo, uint64_t hi, uint64_t mask_lo, uint64_t mask_hi);
/* PCMPxSTRx: b in xmm_tmp; word: imm, xmm of a (8..11), STRx_EXPLICIT, STRx_WIDE; eax, edx: explicit lengths.
 * Returns the flags; helper_ret: the index;  sse_pcmpstrm writes XMM0 instead. */
enum { STR_A = 8, STR_EXPLICIT = 1 << 16, STR_WIDE = 1 << 17 };
uint32_t sse_pcmpstri(CpuState *s, uint32_t word, uint64_t eax, uint64_t edx);
uint32_t sse_pcmpstrm(CpuState *s, uint32_t word, uint64_t eax, uint64_t edx);
/* Their comparison, for hosts without it: IntRes2 by imm's bits 0 to 5. */
unsigned sse_compare_strings(const V128 *a, unsigned len_a, const V128 *b, unsigned len_b, unsigned imm);
uint32_t sse_get_mxcsr(CpuState *s);
int      sse_set_mxcsr(CpuState *s, uint32_t v);

#endif
