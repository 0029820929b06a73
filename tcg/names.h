/* SPDX-License-Identifier: GPL-2.0-or-later
 * The words of the IR's text form, shared by printer and parser. */
#ifndef RHEA_TCG_NAMES_H
#define RHEA_TCG_NAMES_H

#include "tcg/ir.h"

static const char *const ir_type_names[IR_N_TYPES] = {
    "none", "i8", "i16", "i32", "i64", "i128", "f32", "f64", "v128", "v256", "p",
};
static const char *const ir_cond_names[IR_N_CONDS] = {
    "eq", "ne", "ltu", "geu", "leu", "gtu", "lt", "ge", "le", "gt", "tsteq", "tstne",
};
static const char *const ir_exit_names[] = { "direct", "indirect", "mode", "run", "raise" };
static const char *const ir_atomic_names[] = { "add", "and", "or", "xor", "xchg", "cas" };
static const struct { uint32_t bit; const char *name; } ir_memop_names[] = {
    { MO_BE, "be" }, { MO_ALIGN, "align" }, { MO_RMW, "rmw" }, { MO_ACQ, "acq" }, { MO_REL, "rel" }, { MO_SC, "sc" },
};

#endif
