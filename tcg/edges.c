/* SPDX-License-Identifier: GPL-2.0-or-later
 * Block boundaries of regions.  The first edge to a block that is compiled decides where the block's live
 * values and parameters are at its entry: in the registers that they happen to be in, the rest in spill
 * slots that are theirs alone.  Later edges, back edges among them, move things there.  What guest slots
 * hold in memory is forgotten. */
#include "tcg/gen.h"

static void set_pc_offset(Gen *g, GenBlock *to)
{
    if (!to->known)
        to->pc_mem_off = g->pc_mem_off;
    else if (to->pc_mem_off != g->pc_mem_off)
        host_add_pc(g, to->pc_mem_off - g->pc_mem_off);
}

static uint32_t class_of(const Gen *g, uint32_t e) { return ent_is_vec(g, e) ? VECS : GPRS; }

static void add_loc(Gen *g, uint32_t e, uint8_t reg)
{
    if (reg == NO_REG)
        ra_pin(g, e);
    GEN_PUSH(g, entry_locs) = (EntryLoc){ e, reg };
}

static void decide(Gen *g, const IrEdge *edge, GenBlock *to)
{
    const IrBlock *b = &g->ir->blocks[edge->to];
    const LiveIn *live = &g->live_in[to->first_live];
    uint32_t taken = 0, lives = 0;

    for (uint32_t k = 0; k < to->n_live; k++) {
        uint32_t e = live[k].ent;
        if (!ent_is_const(g, e) && g->ent[e].reg != NO_REG)
            taken |= 1u << g->ent[e].reg;
    }
    lives = taken;
    to->first_loc = g->n_entry_locs;
    for (uint32_t k = 0; k < edge->n_args; k++) {
        uint32_t p = b->first + k, e = gen_ent(g, g->ir->edge_args[edge->first_arg + k]);
        uint32_t avail = g->regs->all & class_of(g, p) & ~taken;
        uint8_t r = ent_is_const(g, e) ? NO_REG : g->ent[e].reg;
        if (r == NO_REG || lives >> r & 1 || !(avail >> r & 1))
            r = !avail ? NO_REG : (uint8_t)bits_ctz(avail & g->regs->saved ? avail & g->regs->saved : avail);
        if (r != NO_REG)
            taken |= 1u << r;
        add_loc(g, p, r);
    }
    for (uint32_t k = 0; k < to->n_live; k++)
        if (!ent_is_const(g, live[k].ent))
            add_loc(g, live[k].ent, g->ent[live[k].ent].reg);
    to->n_loc = g->n_entry_locs - to->first_loc;
}

/* Where the n-th parameter that lives in memory waits while others are overwritten: the far end of the
 * spill area. */
static int32_t transit(Gen *g, unsigned n)
{
    unsigned unit = 2 * SPILL_SLOTS - 4 * (n + 1);
    if (n >= SPILL_SLOTS / 2 || g->spill_used[unit] || g->spill_used[unit + 1] || g->spill_used[unit + 2] ||
        g->spill_used[unit + 3]) {
        g->overflow = true;
        unit = 0;
    }
    return spill_disp(unit);
}

static void copy_to_memory(Gen *g, uint32_t e, int32_t disp, unsigned bytes)
{
    bool vec = bytes > 8;
    unsigned r = g->ent[e].reg != NO_REG ? g->ent[e].reg : vec ? g->regs->vscratch : g->regs->scratch;
    ra_copy_to(g, r, e);
    host_store(g, disp, r, bytes);
}

void edge_moves(Gen *g, const IrEdge *edge)
{
    GenBlock *to = &g->blocks[edge->to];
    const IrBlock *b = &g->ir->blocks[edge->to];
    Move moves[N_REGS];
    unsigned n = 0;

    set_pc_offset(g, to);
    if (!to->known)
        decide(g, edge, to);
    to->known = true;
    const EntryLoc *loc = &g->entry_locs[to->first_loc];

    /* Parameters in memory go by way of another place: arguments may be parameters that are overwritten. */
    unsigned in_memory = 0;
    for (uint32_t k = 0; k < edge->n_args; k++)
        if (loc[k].reg == NO_REG) {
            uint32_t e = gen_ent(g, g->ir->edge_args[edge->first_arg + k]);
            copy_to_memory(g, e, transit(g, in_memory++), ent_room(g, b->first + k));
        }
    for (uint32_t k = edge->n_args; k < to->n_loc; k++) {
        uint32_t e = loc[k].ent;
        if (loc[k].reg == NO_REG && !g->ent[e].spill)
            copy_to_memory(g, e, spill_disp(g->pin[e] - 1), ent_room(g, e));
    }
    for (uint32_t k = 0; k < to->n_loc; k++) {
        uint32_t e = k < edge->n_args ? gen_ent(g, g->ir->edge_args[edge->first_arg + k]) : loc[k].ent;
        if (loc[k].reg != NO_REG)
            moves[n++] = (Move){ .to = loc[k].reg, .ent = e };
    }
    ra_parallel(g, moves, n);
    in_memory = 0;
    for (uint32_t k = 0; k < edge->n_args; k++)
        if (loc[k].reg == NO_REG) {
            unsigned bytes = ent_room(g, b->first + k);
            unsigned r = bytes > 8 ? g->regs->vscratch : g->regs->scratch;
            host_load(g, r, transit(g, in_memory++), bytes);
            host_store(g, spill_disp(g->pin[b->first + k] - 1), r, bytes);
        }
}

bool edge_enter(Gen *g, uint32_t block)
{
    GenBlock *b = &g->blocks[block];
    if (!b->known)
        return false;
    ra_clear(g, g->ir->blocks[block].first_commit);
    g->pc_mem_off = b->pc_mem_off;
    g->pc_mem_known = true;
    for (uint32_t k = 0; k < b->n_live; k++) {
        const LiveIn *l = &g->live_in[b->first_live + k];
        g->ent[l->ent] = (Ent){ .next = l->next, .last = l->last, .reg = NO_REG };
    }
    for (uint32_t k = 0; k < b->n_loc; k++) {
        const EntryLoc *l = &g->entry_locs[b->first_loc + k];
        if (l->reg != NO_REG)
            ra_set(g, l->ent, l->reg);
        else
            g->ent[l->ent].spill = g->pin[l->ent];
    }
    g->locked = 0;
    return true;
}
