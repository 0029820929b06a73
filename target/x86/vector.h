/* SPDX-License-Identifier: GPL-2.0-or-later
 * What rows_vector.c, translate_sse.c and translate_avx.c share. */
#ifndef RHEA_TARGET_X86_VECTOR_H
#define RHEA_TARGET_X86_VECTOR_H

#include "target/x86/translate.h"

/* arg of x86_tr_host: HOP_*. */
X86Fn x86_tr_host, x86_tr_cmp, x86_tr_insertps, x86_tr_vmov, x86_tr_vhigh, x86_tr_maskmov, x86_tr_pcmpstr, x86_tr_stmxcsr,
      x86_tr_ldmxcsr, x86_tr_mmx, x86_tr_mmx_shift;
/* How the XMM form gives the MMX result in its low half; above the row in arg of x86_tr_mmx. */
enum {
    M_LANES = 0,            /* as it is */
    M_BOTH = 1 << 16,    /* both operands side by side in one register, given twice: packs, horizontal adds */
    M_HIGH = 2 << 16,       /* the upper half of the "low" unpack */
    M_SHUFB = 3 << 16,      /* indices of three bits */
    M_ALIGN = 4 << 16,      /* palignr */
    M_FORM = 7 << 16,
};

/* False: it has raised. */
bool x86_avx_enabled(X86Trans *t);
void x86_check_xstate(X86Trans *t);     /* R_XSTATE */
/* Of a, b, c and the result one at least is a v256: by a helper, with a look at the exceptions before anything is
 * written.  translate_avx.c */
Val x86_host_wide_checked(X86Trans *t, IrType type, unsigned row, Val a, Val b, Val c, unsigned imm);

#endif
