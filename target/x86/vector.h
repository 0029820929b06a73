/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the vector rows of translate_sse.c and translate_avx.c share. */
#ifndef RHEA_TARGET_X86_VECTOR_H
#define RHEA_TARGET_X86_VECTOR_H

#include "target/x86/translate.h"

Val x86_low64(X86Trans *t, Val v);
Val x86_high64(X86Trans *t, Val v);
X86Fn x86_tr_vmov, x86_tr_vhigh, x86_tr_maskmov, x86_tr_pcmpstr, x86_tr_stmxcsr, x86_tr_ldmxcsr;
/* False: it has raised. */
bool x86_avx_enabled(X86Trans *t);
/* Of a, b, c and the result one at least is a v256: by a helper, with a look at the exceptions before anything is
 * written.  translate_avx.c */
Val x86_host_wide_checked(X86Trans *t, IrType type, unsigned row, Val a, Val b, Val c, unsigned imm);

#endif
