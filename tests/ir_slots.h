/* SPDX-License-Identifier: GPL-2.0-or-later
 * A small guest for tests of the IR: integer and vector slots, a token, the pc. */
#ifndef RHEA_TESTS_IR_SLOTS_H
#define RHEA_TESTS_IR_SLOTS_H

#include "tcg/ir.h"

enum {
    TS_R0, TS_R1, TS_R2, TS_R3, TS_R4, TS_R5, TS_R6, TS_R7,     /* i64, in hot[0..7] */
    TS_PC,                                                      /* i64 */
    TS_W0, TS_W1,                                               /* i32, in hot[17] */
    TS_B0, TS_H0,                                               /* i8, i16, in hot[18] */
    TS_V0, TS_V1, TS_V2, TS_V3,                                 /* v128, behind CpuState */
    TS_HELPER_RET,                                              /* i64: CpuState.helper_ret */
    TS_TMP,                                                     /* i64, scratch */
    TS_SYS,                                                     /* a token */
    TS_N
};

typedef struct TestCpu {
    CpuState s;
    V128     v[4];
    uint64_t tmp;
    uint64_t sys;               /* what the token stands for */
} TestCpu;

extern const SlotTable test_slots;

#endif
