/* SPDX-License-Identifier: GPL-2.0-or-later
 * The backward pass of tier 1.  A value is needed by an insn or by a snapshot.  A commit is seen by a snapshot when
 * it is the last one of its slot before it; since snapshots stand in program order, the commits that no snapshot sees are those
 * that another of the same slot follows before the next snapshot.  They are taken out of the log, so that
 * back ends need not ask again. */
#include "tcg/build_int.h"

enum { GONE = UINT32_MAX };

/* Drops the commits in [from, to), an interval without a snapshot inside, that are overwritten in it. */
static void thin_interval(Ir *ir, uint32_t from, uint32_t to)
{
    SlotSet seen = { { 0 } };
    for (uint32_t i = to; i-- > from; ) {
        IrCommit *c = &ir->commits[i];
        if (slotset_has(&seen, c->slot))
            c->slot = GONE;
        else
            slotset_add(&seen, c->slot);
    }
}

static void compact_log(Ir *ir)
{
    uint32_t snap = 0, kept = 0, at = 0;

    for (uint32_t blk = 0; blk < ir->n_blocks; blk++) {
        IrBlock *b = &ir->blocks[blk];
        uint32_t end = blk + 1 < ir->n_blocks ? b[1].first_commit : ir->n_commits;

        at = b->first_commit;
        b->first_commit = kept;
        for (; snap < ir->n_snaps && ir->snaps[snap].block == blk; snap++) {
            uint32_t upto = ir->snaps[snap].n_commits;
            thin_interval(ir, at, upto);
            for (; at < upto; at++) {
                IrCommit c = ir->commits[at];
                if (c.slot == GONE)
                    continue;
                if (c.v && !val_is_const(c.v))
                    ir->insns[c.v].in_snap = 1;
                ir->commits[kept++] = c;
            }
            ir->snaps[snap].n_commits = kept;
        }
        at = end;               /* nobody looks at what follows the last snapshot */
    }
    ir->n_commits = kept;
}

static void use(Ir *ir, Val v)
{
    if (v && !val_is_const(v) && ir->insns[v].n_uses < UINT8_MAX)
        ir->insns[v].n_uses++;
}

static bool removable(const Ir *ir, const IrInsn *in)
{
    switch (in->op) {
    case IR_SLOT_GET:
    case IR_SECOND: return true;
    case IR_HOST:   return !(in->flags & HOSTF_FP);
    case IR_CALL:   return ir->helpers[in->aux]->flags & HF_PURE && !(ir->helpers[in->aux]->flags & HF_FAULTS);
    default:        return !(ir_ops[in->op].effects & ~E_SECOND);
    }
}

static void use_edge(Ir *ir, uint32_t edge)
{
    for (uint32_t i = 0; i < ir->edges[edge].n_args; i++)
        use(ir, ir->edge_args[ir->edges[edge].first_arg + i]);
}

static void walk_block(Ir *ir, const IrBlock *blk)
{
    for (uint32_t i = blk->end; i-- > blk->first; ) {
        IrInsn *in = &ir->insns[i];

        if (in->op == IR_NOP)
            continue;
        if (!in->n_uses && !in->in_snap && removable(ir, in)) {
            bool args = in->op == IR_CALL && i > blk->first && in[-1].op == IR_ARGS;
            in->op = IR_NOP;
            if (args)
                in[-1].op = IR_NOP;
            continue;
        }
        if (in->op == IR_JUMP || in->op == IR_BRANCH)
            use_edge(ir, in->aux);
        if (in->op == IR_BRANCH)
            use_edge(ir, in->aux + 1);
        use(ir, in->a);
        use(ir, in->b);
        use(ir, in->c);
    }
}

/* Values cross blocks through parameters, or from a block to those that it dominates, which stand after it; so one
 * walk from the end sees every use before its definition, but for arguments of back edges, which count anyway. */
void ir_pass_dead(Ir *ir)
{
    for (uint32_t i = 0; i < ir->n_insns; i++)
        ir->insns[i].n_uses = ir->insns[i].in_snap = 0;
    compact_log(ir);
    for (uint32_t i = ir->n_blocks; i-- > 0; )
        walk_block(ir, &ir->blocks[i]);
}
