/* SPDX-License-Identifier: GPL-2.0-or-later
 * The container of a region: arrays that are kept from one region to the next. */
#include <string.h>
#include "tcg/build_int.h"

const IrOpInfo ir_ops[IR_N_OPS] = {
    { "nop", "-:---", 0, "removed" },
#define IR(name, sig, effects, text) { #name, sig, effects, text },
#include "tcg/ir.def"
#undef IR
};

void *ir_grow(void *array, uint32_t *cap, size_t size)
{
    *cap = *cap ? 2 * *cap : 256;
    return g_realloc_n(array, *cap, size);
}

Ir *ir_new(const SlotTable *slots)
{
    Ir *ir = g_new0(Ir, 1);
    g_assert(slots->n <= MAX_SLOTS);
    ir->slots = slots;
    ir->n_slots = slots->n;
    ir->builder = g_new0(struct IrBuilder, 1);
    ir->builder->folding = true;
    ir_fold_index(ir->builder->fold_first);
    ir_reset(ir);
    return ir;
}

void ir_forget_numbers(struct IrBuilder *b)
{
    if (!++b->vn_stamp) {                       /* came round: old entries would look new */
        memset(b->vn, 0, sizeof b->vn);
        b->vn_stamp = 1;
    }
}

void ir_reset(Ir *ir)
{
    struct IrBuilder *b = ir->builder;

    ir->n_insns = ir->n_consts = ir->n_snaps = ir->n_commits = ir->n_exits = 0;
    ir->n_blocks = ir->n_edges = ir->n_edge_args = ir->n_guest = ir->n_helpers = 0;
    ir->guest_len = ir->entry_page_off = ir->n_extra = 0;
    IR_PUSH(ir, insns) = (IrInsn){ 0 };         /* so that 0 names no value */

    b->open = b->in_insn = b->extra = b->sealed = b->pc_lost = false;
    b->head = b->done = 0;
    ir_forget_numbers(b);
    if (!++b->const_stamp) {
        memset(b->consts, 0, sizeof b->consts);
        b->const_stamp = 1;
    }
}

void ir_free(Ir *ir)
{
    if (!ir)
        return;
    g_free(ir->insns);
    g_free(ir->consts);
    g_free(ir->snaps);
    g_free(ir->commits);
    g_free(ir->exits);
    g_free(ir->blocks);
    g_free(ir->edges);
    g_free(ir->edge_args);
    g_free(ir->guest);
    g_free(ir->helpers);
    g_free(ir->builder);
    g_free(ir);
}
