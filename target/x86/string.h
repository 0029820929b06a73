/* SPDX-License-Identifier: GPL-2.0-or-later
 * What translate_string.c tells helper_string.c about an instruction. */
#ifndef RHEA_TARGET_X86_STRING_H
#define RHEA_TARGET_X86_STRING_H

#include "target/x86/translate.h"

enum { STR_MOVS, STR_STOS, STR_LODS, STR_SCAS, STR_CMPS, STR_INS, STR_OUTS, STR_OP = 7 };
enum {
    REP_COUNTED  = 0x08,        /* rCX iterations, else one */
    REP_WHILE_NE = 0x10,        /* SCAS, CMPS: go on while ZF is 0, else while it is 1 */
    REP_CODE64   = 0x20,        /* linear addresses do not wrap at 4 GiB */
    REP_ONE      = 0x40,        /* at most one iteration per call: single step */
    REP_LIMITS   = 0x80,        /* MODE_LIMITS: each element is checked against its segment */
    REP_SIZE     = 8,           /* shift: bytes of an element */
    REP_ADSIZE   = 16,          /* shift: bytes of the address size */
    REP_SEG      = 24,          /* shift: segment of the source */
};

/* helper_int.c: whether an access to segment n is allowed by its type and limit. */
bool x86_within(const X86Cpu *c, unsigned n, uint64_t ea, unsigned len, bool write);

#endif
