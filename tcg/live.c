/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the allocator knows beforehand.  One forward pass finds values that are the same bits (entities);
 * one backward pass over each block decides what is computed where it is used (compares, address sums) and
 * notes next uses.  A value that a snapshot needs lives to the last such snapshot, without counting as
 * used there: it may as well be in memory.  Regions of several blocks need live-in sets first (the usual
 * bit-set iteration). */
#include <string.h>
#include "tcg/gen.h"

enum { FUSE_DISTANCE = 40 };
#define LIVE_OUT (UINT32_MAX - 1)       /* as Ent.last: needed by another block */

void *gen_grow(void *array, uint32_t *cap, size_t size)
{
    *cap = *cap ? 2 * *cap : 64;
    return g_realloc_n(array, *cap, size);
}

static void make_room(Gen *g)
{
    const Ir *ir = g->ir;
    uint32_t n = ir->n_insns + ir->n_consts;
    g->n_ents = n;
    if (n > g->cap_ents) {
        g->cap_ents = MAX(n, 2 * g->cap_ents);
        g->ent = g_renew(Ent, g->ent, g->cap_ents);
        g->rep = g_renew(uint32_t, g->rep, g->cap_ents);
        g->zx = g_renew(uint8_t, g->zx, g->cap_ents);
        g->how = g_renew(uint8_t, g->how, g->cap_ents);
        g->ext = g_renew(uint8_t, g->ext, g->cap_ents);
        g->next_call = g_renew(uint32_t, g->next_call, g->cap_ents);
        g->uses = g_renew(Uses, g->uses, g->cap_ents);
        g->group_of = g_renew(uint16_t, g->group_of, g->cap_ents);
    }
    if (ir->n_commits > g->cap_commits) {
        g->cap_commits = MAX(ir->n_commits, 2 * g->cap_commits);
        g->commit_prev = g_renew(uint32_t, g->commit_prev, g->cap_commits);
    }
    memset(g->how, 0, ir->n_insns);
    memset(g->group_of, 0, ir->n_insns * sizeof g->group_of[0]);
    for (uint32_t i = 0; i < n; i++)
        g->ent[i] = (Ent){ .next = NEVER, .reg = NO_REG };
}

/* Which 32-bit results (and narrower ones) come with zeros above, given how the host rows compute them:
 * all 32-bit operations clear the upper half. */
static bool zero_above(const Ir *ir, const IrInsn *in)
{
    switch (in->type) {
    case I64: return true;
    case PRED: return in->op == IR_CMP || in->op == IR_SLOT_GET;        /* carries are what SETcc leaves */
    case I32:       /* double shifts by 0 and moves of bytes leave upper bits alone */
        return in->op != IR_CALL && in->op != IR_PARAM && in->op != IR_ATOMIC && in->op != IR_TRUNC &&
               in->op != IR_SHLD && in->op != IR_SHRD && in->op != IR_DEPOSIT;
    case I8: case I16:
        return in->op == IR_LOAD || in->op == IR_SLOT_GET || in->op == IR_EXTRACT || in->op == IR_ZEXT;
    default: return false;
    }
}

static void find_entities(Gen *g)
{
    const Ir *ir = g->ir;
    g->wide = false;
    for (uint32_t i = 1; i < ir->n_insns; i++) {
        const IrInsn *in = &ir->insns[i];
        g->rep[i] = i;
        g->wide |= in->type == V256T;
        g->zx[i] = zero_above(ir, in);
        if (in->op == IR_LOW)
            g->rep[i] = g->rep[in->a];
        if (in->op == IR_ZEXT || in->op == IR_SEXT || in->op == IR_TRUNC) {
            Val a = in->a;
            if (val_is_const(a))
                continue;
            const IrInsn *from = &ir->insns[a];
            if (in->op == IR_TRUNC) {
                g->rep[i] = g->rep[a];
                g->zx[i] = in->type == I32 && from->op == IR_ZEXT && type_bits(val_type(ir, from->a)) <= 32;
            } else if (in->op == IR_ZEXT && val_type(ir, a) == PRED && in->type == I8) {
                g->rep[i] = g->rep[a];
                g->zx[i] = g->zx[a];
            } else if (in->op == IR_ZEXT && g->zx[a]) {
                g->rep[i] = g->rep[a];
                g->zx[i] = true;
                g->how[a] |= HOW_ZXUSED;
            } else if (in->op == IR_SEXT && from->op == IR_LOAD && !(g->how[a] & (HOW_ZXUSED | HOW_SEXT))) {
                g->rep[i] = a;
                g->how[a] |= HOW_SEXT;
                g->ext[a] = in->type;
                g->zx[a] = false;
                g->zx[i] = in->type >= I32;
            }
        }
    }
}

unsigned gen_uses(const Gen *g, uint32_t i, uint32_t out[MAX_USES])
{
    const IrInsn *insns = g->ir->insns, *in = &insns[i];
    Val v[MAX_USES];
    unsigned n = 0, m = 0;

    switch (in->op) {
    case IR_NOP: case IR_PARAM: case IR_SLOT_GET: case IR_SECOND: case IR_FENCE: case IR_EXIT: case IR_HEAD:
    case IR_JUMP:
        return 0;
    case IR_LOAD: case IR_STORE:
        v[n++] = g->how[i] & HOW_ADDR ? insns[in->a].a : in->a;
        v[n++] = in->b;
        break;
    case IR_SELECT: case IR_EXIT_IF: case IR_BRANCH:
        if (g->how[i] & HOW_FUSE) {
            v[n++] = insns[in->a].a;
            v[n++] = insns[in->a].b;
        } else {
            v[n++] = in->a;
        }
        v[n++] = in->b;
        v[n++] = in->c;
        break;
    case IR_ADD:
        v[n++] = in->a;
        v[n++] = g->how[i] & HOW_SCALE ? insns[in->b].a : in->b;
        break;
    default:
        v[n++] = in->a;
        v[n++] = in->b;
        v[n++] = in->c;
        break;
    }
    for (unsigned k = 0; k < n; k++)
        if (v[k])
            out[m++] = gen_ent(g, v[k]);
    return m;
}

/* --- accesses that share a look-up */

enum { OPEN_GROUPS = 6, GROUP_SPAN = 256, GROUP_REACH = 80 };

static bool may_share(const IrInsn *in)
{
    return !(in->flags & (MO_VIEW | MO_ALIGN)) && mo_bytes(in->flags) <= 32 && !val_is_const(in->a);
}

/* Base entity and displacement of the address. */
static bool base_of(const Gen *g, const IrInsn *in, uint32_t first, uint32_t *base, int32_t *disp)
{
    const IrInsn *add = &g->ir->insns[in->a];
    *disp = 0;
    if (add->op == IR_ADD && in->a >= first && val_is_const(add->b) && !val_is_const(add->a)) {
        int64_t d = (int64_t)const_lo(g->ir, add->b);
        if (d > -0x100000 && d < 0x100000) {
            *disp = (int32_t)d;
            *base = gen_ent(g, add->a);
            return true;
        }
    }
    *base = gen_ent(g, in->a);
    return false;
}

static void find_groups(Gen *g, const IrBlock *b)
{
    const Ir *ir = g->ir;
    struct { uint32_t group, head; bool head_add; } open[OPEN_GROUPS];
    unsigned n_open = 0, next = 0;

    for (uint32_t i = b->first; i < b->end; i++) {
        const IrInsn *in = &ir->insns[i];
        if (in->op == IR_CALL)
            n_open = 0;
        if ((in->op != IR_LOAD && in->op != IR_STORE) || !may_share(in) || g->n_groups == UINT16_MAX - 1)
            continue;
        uint32_t base;
        int32_t lo;
        bool add = base_of(g, in, b->first, &base, &lo);
        int32_t hi = lo + (int32_t)mo_bytes(in->flags);
        unsigned k = 0;
        for (; k < n_open; k++) {
            Group *gr = &g->groups[open[k].group];
            if (gr->base == base && i - gr->last < GROUP_REACH &&
                MAX(hi, gr->hi) - MIN(lo, gr->lo) <= GROUP_SPAN)
                break;
        }
        if (k < n_open) {
            Group *gr = &g->groups[open[k].group];
            gr->lo = MIN(lo, gr->lo);
            gr->hi = MAX(hi, gr->hi);
            gr->store |= in->op == IR_STORE || in->flags & MO_RMW;
            gr->last = i;
            if (++gr->n == 2) {
                g->group_of[open[k].head] = open[k].group + 1;
                g->how[open[k].head] |= open[k].head_add ? HOW_ADDR : 0;
            }
            g->group_of[i] = open[k].group + 1;
            g->how[i] |= add ? HOW_ADDR : 0;
            continue;
        }
        k = n_open < OPEN_GROUPS ? n_open++ : next++ % OPEN_GROUPS;
        open[k].group = g->n_groups;
        open[k].head = i;
        open[k].head_add = add;
        GEN_PUSH(g, groups) = (Group){ base, lo, hi, i, 1, in->op == IR_STORE || in->flags & MO_RMW };
    }
}

/* Decides what insn i takes into itself. */
static void decide(Gen *g, uint32_t i, uint32_t first)
{
    const IrInsn *insns = g->ir->insns, *in = &insns[i];
    const IrInsn *from;

    switch (in->op) {
    case IR_SELECT: case IR_EXIT_IF: case IR_BRANCH:
        if (val_is_const(in->a) || in->a < first || i - in->a > FUSE_DISTANCE)
            return;
        from = &insns[in->a];
        if (from->op == IR_CMP && from->n_uses <= 2 && !from->in_snap)
            g->how[i] |= HOW_FUSE;
        return;
    case IR_LOAD: case IR_STORE:
        if (g->group_of[i] || val_is_const(in->a) || in->a < first)
            return;                     /* of a group: decided already */
        from = &insns[in->a];
        if (from->op == IR_ADD && from->n_uses == 1 && !from->in_snap && val_is_const(from->b) &&
            !val_is_const(from->a)) {
            int64_t d = (int64_t)const_lo(g->ir, from->b);
            if (d >= INT32_MIN && d <= INT32_MAX - 32)
                g->how[i] |= HOW_ADDR;
        }
        return;
    case IR_ADD:
        if (val_is_const(in->b) || in->b < first || in->type < I32 || val_is_const(in->a) || in->a == in->b)
            return;
        from = &insns[in->b];
        if (from->op == IR_SHL && from->n_uses == 1 && !from->in_snap && !val_is_const(from->a) &&
            val_is_const(from->b) && const_lo(g->ir, from->b) - 1 < 3)
            g->how[i] |= HOW_SCALE;
        return;
    default:
        return;
    }
}

static bool removable(const IrInsn *in)
{
    if (in->op == IR_HOST)
        return !in->flags;              /* HOSTF_FP: sets sticky flags */
    return in->op == IR_SLOT_GET || !(ir_ops[in->op].effects & ~(E_READ | E_SECOND)) || in->op == IR_NOP;
}

static inline void touch(Gen *g, uint32_t e, uint32_t at)
{
    if (g->ent[e].last < at)
        g->ent[e].last = at;
}

static void note_use(Gen *g, uint32_t i, uint32_t at)
{
    uint32_t e[MAX_USES];
    unsigned n = gen_uses(g, i, e);
    for (unsigned k = 0; k < n; k++) {
        Ent *x = &g->ent[e[k]];
        g->uses[i].next[k] = x->next;
        x->next = at;
        touch(g, e[k], at);
    }
}

/* An address that was stepped on and will be stepped on again, as by pushes: computed only where it is
 * stored. */
static bool only_snapshots(const Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    if (in->op == IR_HIGH)
        return g->ent[i].next == NEVER;
    if (in->op != IR_ADD || in->type != I64 || g->ent[i].next != NEVER || !val_is_const(in->b) ||
        val_is_const(in->a))
        return false;
    int64_t k = (int64_t)const_lo(g->ir, in->b);
    return k >= -0x10000 && k <= 0x10000;
}

static void touch_edge(Gen *g, uint32_t edge, uint32_t at)
{
    const IrEdge *ed = &g->ir->edges[edge];
    for (uint32_t k = 0; k < ed->n_args; k++) {
        uint32_t e = gen_ent(g, g->ir->edge_args[ed->first_arg + k]);
        touch(g, e, at);
        g->ent[e].next = at;
    }
}

static void touch_commit(Gen *g, uint32_t k, uint32_t at)
{
    Val v = g->ir->commits[k].v;
    if (v)
        touch(g, gen_ent(g, v), at);
}

/* Makes visible what the log holds before its entry `to`; what newly shows is needed at `at`. */
static void rewind_log(Gen *g, uint32_t from, uint32_t to, uint32_t at)
{
    for (uint32_t k = from; k > to; k--) {
        uint32_t prev = g->commit_prev[k - 1];
        if (prev && prev - 1 < to)
            touch_commit(g, prev - 1, at);
    }
}

static bool second_used(const Gen *g, uint32_t i)
{
    return i + 1 < g->ir->n_insns && g->ir->insns[i + 1].op == IR_SECOND && g->ent[i + 1].last;
}

static void backward(Gen *g, const IrBlock *b, uint32_t log_end)
{
    const Ir *ir = g->ir;
    uint32_t last_of[MAX_SLOTS], call = NEVER, seen = log_end;
    bool any = false;

    find_groups(g, b);
    memset(last_of, 0, ir->n_slots * sizeof last_of[0]);
    for (uint32_t k = b->first_commit; k < log_end; k++) {
        uint32_t s = ir->commits[k].slot;
        g->commit_prev[k] = last_of[s];         /* index + 1 */
        last_of[s] = k + 1;
    }

    for (uint32_t i = b->end; i-- > b->first;) {
        const IrInsn *in = &ir->insns[i];
        g->next_call[i] = call;
        if (in->op == IR_NOP || in->op == IR_ARGS)
            continue;
        if (g->rep[i] != i)
            continue;                           /* nothing to compute: uses count for the entity */
        if (removable(in) && !g->ent[i].last && !(ir_ops[in->op].effects & E_SECOND && second_used(g, i))) {
            g->how[i] |= HOW_DEAD;
            continue;
        }
        if (only_snapshots(g, i)) {
            g->how[i] |= HOW_SUM;
            touch(g, gen_ent(g, in->a), g->ent[i].last);
            continue;
        }
        int32_t snap = insn_snap(ir, in);
        if (snap >= 0) {
            uint32_t n = ir->snaps[snap].n_commits;
            if (!any) {                         /* all that shows here is needed */
                for (uint32_t s = 0; s < ir->n_slots; s++) {
                    uint32_t k = last_of[s];
                    while (k > n)
                        k = g->commit_prev[k - 1];
                    if (k)
                        touch_commit(g, k - 1, i);
                }
                any = true;
            } else {
                rewind_log(g, seen, n, i);
            }
            seen = n;
        }
        if (in->op == IR_CALL) {
            if (ir->insns[i - 1].op == IR_ARGS)
                note_use(g, i - 1, i);
            call = i;
        } else if (in->op == IR_JUMP) {
            touch_edge(g, in->aux, i);
        } else if (in->op == IR_BRANCH) {
            touch_edge(g, in->aux, i);
            touch_edge(g, in->aux + 1, i);
        }
        decide(g, i, b->first);
        note_use(g, i, i);
    }
}

/* --- regions of several blocks */

static inline bool bit_get(const uint64_t *w, uint32_t i) { return w[i / 64] >> i % 64 & 1; }
static inline void bit_set(uint64_t *w, uint32_t i) { w[i / 64] |= BIT(i % 64); }

/* Entities that a block uses before it defines them. */
static void exposed(Gen *g, const IrBlock *b, uint32_t log_end, uint64_t *use, uint64_t *def)
{
    const Ir *ir = g->ir;
    for (uint32_t i = b->first; i < b->end; i++)
        if (g->rep[i] == i && ir->insns[i].type != T_NONE)
            bit_set(def, i);
    for (uint32_t i = b->first; i < b->end; i++) {
        const IrInsn *in = &ir->insns[i];
        uint32_t e[MAX_USES];
        unsigned n = g->rep[i] == i && in->op != IR_NOP ? gen_uses(g, i, e) : 0;
        for (unsigned k = 0; k < n; k++)
            if (!bit_get(def, e[k]))
                bit_set(use, e[k]);
        unsigned edges = in->op == IR_JUMP ? 1 : in->op == IR_BRANCH ? 2 : 0;
        for (unsigned j = 0; j < edges; j++) {
            const IrEdge *ed = &ir->edges[in->aux + j];
            for (uint32_t k = 0; k < ed->n_args; k++) {
                uint32_t x = gen_ent(g, ir->edge_args[ed->first_arg + k]);
                if (!bit_get(def, x))
                    bit_set(use, x);
            }
        }
    }
    for (uint32_t k = b->first_commit; k < log_end; k++)
        if (ir->commits[k].v && !bit_get(def, gen_ent(g, ir->commits[k].v)))
            bit_set(use, gen_ent(g, ir->commits[k].v));
}

static unsigned successors(const Ir *ir, const IrBlock *b, uint32_t out[2])
{
    const IrInsn *in = &ir->insns[b->end - 1];
    if (in->op == IR_JUMP) {
        out[0] = ir->edges[in->aux].to;
        return 1;
    }
    if (in->op == IR_BRANCH) {
        out[0] = ir->edges[in->aux].to;
        out[1] = ir->edges[in->aux + 1].to;
        return 2;
    }
    return 0;
}

static uint32_t log_end(const Ir *ir, uint32_t block)
{
    return block + 1 < ir->n_blocks ? ir->blocks[block + 1].first_commit : ir->n_commits;
}

/* Constants need no place and are left out. */
static void live_sets(Gen *g, uint32_t words, uint64_t *in, uint64_t *use, uint64_t *def)
{
    const Ir *ir = g->ir;
    for (uint32_t k = 0; k < ir->n_blocks; k++)
        exposed(g, &ir->blocks[k], log_end(ir, k), use + k * words, def + k * words);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = ir->n_blocks; k-- > 0;) {
            uint32_t to[2];
            unsigned n = successors(ir, &ir->blocks[k], to);
            for (uint32_t w = 0; w < words; w++) {
                uint64_t out = 0;
                for (unsigned j = 0; j < n; j++)
                    out |= in[to[j] * words + w];
                uint64_t v = use[k * words + w] | (out & ~def[k * words + w]);
                if (w * 64 + 64 > ir->n_insns)
                    v &= ir->n_insns > w * 64 ? bits_mask(ir->n_insns - w * 64) : 0;
                changed |= v != in[k * words + w];
                in[k * words + w] = v;
            }
        }
    }
}

static void analyse_region(Gen *g)
{
    const Ir *ir = g->ir;
    uint32_t words = (g->n_ents + 63) / 64, need = 3 * words * ir->n_blocks;
    if (need > g->cap_bits) {
        g->cap_bits = need;
        g->bits = g_renew(uint64_t, g->bits, need);
    }
    memset(g->bits, 0, need * sizeof *g->bits);
    if (g->n_ents > g->cap_pin) {
        g->cap_pin = MAX(g->n_ents, 2 * g->cap_pin);
        g->pin = g_renew(uint16_t, g->pin, g->cap_pin);
    }
    memset(g->pin, 0, g->n_ents * sizeof *g->pin);
    uint64_t *in = g->bits;
    live_sets(g, words, in, in + words * ir->n_blocks, in + 2 * words * ir->n_blocks);

    for (uint32_t k = ir->n_blocks; k-- > 0;) {
        uint32_t to[2];
        unsigned n = successors(ir, &ir->blocks[k], to);
        for (uint32_t e = 0; e < g->n_ents; e++) {
            bool out = false;
            for (unsigned j = 0; j < n; j++)
                out |= bit_get(in + to[j] * words, e);
            if (out || ent_is_const(g, e) || bit_get(in + k * words, e) ||
                (e >= ir->blocks[k].first && e < ir->blocks[k].end)) {
                g->ent[e].next = out ? ir->blocks[k].end : NEVER;
                g->ent[e].last = out ? LIVE_OUT : 0;
            }
        }
        backward(g, &ir->blocks[k], log_end(ir, k));
        g->blocks[k].first_live = g->n_live_in;
        for (uint32_t w = 0; w < words; w++)
            for (uint64_t m = in[k * words + w]; m; m &= m - 1) {
                uint32_t e = w * 64 + bits_ctz(m);
                if (!g->ent[e].last)
                    continue;           /* used only by what turned out to be dead */
                GEN_PUSH(g, live_in) = (LiveIn){ e, g->ent[e].next, g->ent[e].last };
            }
        for (uint32_t e = ir->n_insns; e < g->n_ents; e++)
            if (g->ent[e].next != NEVER)
                GEN_PUSH(g, live_in) = (LiveIn){ e, g->ent[e].next, g->ent[e].last };
        g->blocks[k].n_live = g->n_live_in - g->blocks[k].first_live;
    }
}

void gen_analyse(Gen *g)
{
    const Ir *ir = g->ir;
    make_room(g);
    find_entities(g);
    g->n_groups = 0;
    g->n_blocks = g->n_live_in = g->n_entry_locs = 0;
    for (uint32_t k = 0; k < ir->n_blocks; k++)
        GEN_PUSH(g, blocks) = (GenBlock){ 0 };
    if (ir->n_blocks == 1)
        backward(g, &ir->blocks[0], ir->n_commits);
    else
        analyse_region(g);
}
