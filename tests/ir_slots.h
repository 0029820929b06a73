/* SPDX-License-Identifier: GPL-2.0-or-later
 * A small guest for tests of the IR: integer and vector slots, a token, the pc; memory and helpers. */
#ifndef RHEA_TESTS_IR_SLOTS_H
#define RHEA_TESTS_IR_SLOTS_H

#include "tcg/backend.h"

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

/* Guest memory of the tests: plain, but for a page that may not be written and one that may not be touched.  Anything
 * from TEST_RAM on faults. */
enum { TEST_RAM = 0x10000, TEST_ROM_PAGE = 3, TEST_BAD_PAGE = 7 };

typedef struct TestCpu {
    CpuState s;
    V128     v[4];
    uint64_t tmp;
    uint64_t sys;               /* what the token stands for: a hash of all calls that have an effect */
    uint64_t fault_va;
    uint8_t  ram[TEST_RAM] __attribute__((aligned(4096)));
} TestCpu;

extern const SlotTable test_slots;
extern const SlowOps test_slow_ops;

/* Helpers, by name and in a list (for the parser). */
extern const IrHelper th_pure, th_five, th_read, th_mutate, th_check, th_fp, th_pc;
extern const IrHelper *const test_helpers[];
extern const unsigned n_test_helpers;

TestCpu *test_cpu_new(void);                            /* zeroed, page-aligned; free() it */
void     test_cpu_seed(TestCpu *cpu, uint32_t seed);    /* slots, memory, pc, rounding mode: all from the seed */
/* NULL, or what differs in slots, memory, countdown, FP flags (free with g_free). */
char    *test_cpu_diff(const TestCpu *a, const TestCpu *b);

#endif
