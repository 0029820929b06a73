/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random regions over the guest of tests/ir_slots.h, made through the builder.  The same seed and flags make the
 * same program whatever the builder folds, so that
 *     ir_set_folding(ir, false), interp_run()   ==   folded, dead-passed, interp_run()   ==   compiled, backend_enter()
 * in test_cpu_diff(), exit reason and argument.  (EXITR_FAULT's argument: the interpreter's is guest instructions done,
 * see backend_insns_at().) */
#ifndef RHEA_TESTS_IR_RANDOM_H
#define RHEA_TESTS_IR_RANDOM_H

#include "tests/ir_slots.h"

enum {
    IRR_MEM = 1, IRR_ATOMIC = 2, IRR_BE = 4, IRR_CALLS = 8, IRR_EXITS = 16 /* conditional ones */,
    IRR_HOST = 32 /* host rows without FP */, IRR_FP = 64 /* with IRR_HOST: FP rows as well */,
    IRR_ABANDON = 128, IRR_VEX = 256 /* with IRR_HOST: what is encoded with VEX only */, IRR_ALL = 511,
    IRR_LOOPS = 512 /* direct exits go to the region's own head */,
};

void ir_random(Ir *ir, uint32_t seed, unsigned flags);      /* from ir_reset() to ir_finish() */

#endif
