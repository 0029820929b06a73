/* SPDX-License-Identifier: GPL-2.0-or-later
 * Between translate_avx.c and helper_avx.c.  Vector operands are in X86Cpu.vtmp. */
#ifndef RHEA_TARGET_X86_AVX_H
#define RHEA_TARGET_X86_AVX_H

#include "target/x86/sse.h"

/* As sse_checked(), of the 256-bit form of host row (bits 0..15 of word), immediate (16..23): a, b, c in vtmp; the result
 * in vtmp[0] or helper_ret. */
int avx_checked(CpuState *s, uint32_t word);
/* 1 with #NM recorded if CR0.TS is set. */
int avx_enabled(CpuState *s);
/* May it be written? */
int avx_probe(CpuState *s, uint64_t va, uint32_t len);
/* Element by element; word: bytes of an element, how many there are, and what follows.  ELEM_LIMITS: each lies within the
 * segment; ELEM_LONG: 64-bit code.  Alignment checks do not concern them (SDM vol. 2: "No AC# reported for any mask bit
 * combinations"; VGATHERDPS: "does not perform AC checks"). */
enum {
    ELEM_SIZE = 0, ELEM_N = 4, ELEM_SEG = 24, ELEM_LIMITS = 1 << 28, ELEM_LONG = 1 << 29,
    GATHER_INDEX = 8, GATHER_SCALE = 12, GATHER_ADDRESS = 16,
};
/* Mask in vtmp[0].  Load: the result replaces it; store: of vtmp[1]. */
int avx_masked_load(CpuState *s, uint64_t ea, uint64_t base, uint32_t word);
int avx_masked_store(CpuState *s, uint64_t ea, uint64_t base, uint32_t word);
/* vtmp: destination, mask, indices.  word: bytes of an index, its scale (log 2), bytes of an address as well.  Elements that
 * have been loaded have their mask cleared; helper_ret: some are left. */
int avx_gather(CpuState *s, uint64_t ea, uint64_t base, uint32_t word);

#endif
