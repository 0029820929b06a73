/* SPDX-License-Identifier: GPL-2.0-or-later
 * Register allocation, one insn at a time in order.  An entity is in at most one register, and may have
 * places in memory besides: a spill slot, or the "home", a guest slot whose memory happens to hold it.
 * When registers run out the one goes whose next use is farthest; if it is the committed value of a guest
 * slot it is written to that slot rather than to a spill slot, so that no exit has to store it again. */
#include <string.h>
#include "tcg/gen.h"

static inline unsigned low(uint32_t mask) { return (unsigned)__builtin_ctz(mask); }

static uint32_t rng(Gen *g)
{
    g->rng = g->rng * 1664525 + 1013904223;
    return g->rng >> 8;
}

void ra_start(Gen *g)
{
    g->free = g->regs->all;
    g->locked = 0;
    memset(g->reg_ent, 0, sizeof g->reg_ent);
    memset(g->spill_used, 0, 2 * SPILL_SLOTS);
    g->spill_hint = 0;
    g->flags_live = false;
    g->flags_a = VAL_NONE;
    g->n_bases = 0;
    g->base_regs = 0;
    memset(g->home_ent, 0, g->ir->n_slots * sizeof g->home_ent[0]);
    g->dirty = g->kept = (SlotSet){ { 0, 0 } };
    g->n_commits = g->ir->blocks[0].first_commit;
    g->pc_mem_off = 0;
    g->pc_mem_known = true;
    g->entry_pc = 0;
}

/* --- places in memory */

static unsigned spill_units(const Gen *g, uint32_t e) { return ent_room(g, e) / 8; }

static bool units_free(const Gen *g, unsigned at, unsigned n)
{
    bool any = false;
    for (unsigned i = 0; i < n; i++)
        any |= g->spill_used[at + i];
    return !any;
}

enum { FREE, USED, PINNED };

static bool spill_new(Gen *g, uint32_t e)
{
    unsigned n = spill_units(g, e);
    if (g->ir->n_blocks > 1 && g->pin[e]) {
        g->ent[e].spill = g->pin[e];
        return true;
    }
    for (unsigned tries = 0; tries < 2; tries++) {
        for (unsigned i = tries ? 0 : g->spill_hint & ~3u; i + n <= 2 * SPILL_SLOTS; i += n) {
            if (!units_free(g, i, n))
                continue;
            memset(g->spill_used + i, USED, n);
            g->ent[e].spill = i + 1;
            g->spill_hint = i + n;
            return true;
        }
    }
    g->overflow = true;         /* more live values than a region can have: compiled as "does not fit" */
    g->ent[e].spill = 1;
    return false;
}

static void spill_free(Gen *g, uint32_t e)
{
    Ent *x = &g->ent[e];
    if (!x->spill)
        return;
    if (g->spill_used[x->spill - 1] == PINNED) {
        x->spill = 0;
        return;
    }
    memset(g->spill_used + x->spill - 1, FREE, spill_units(g, e));
    if (x->spill - 1u < g->spill_hint)
        g->spill_hint = x->spill - 1;
    x->spill = 0;
}

static unsigned ent_bytes(const Gen *g, uint32_t e) { return type_size(g->ir->insns[e].type); }

/* A slot can stand for the whole entity, unless it holds only the low part.  Zeros above come back on
 * reload. */
static bool home_whole(const Gen *g, uint32_t e, unsigned slot)
{
    unsigned n = ent_bytes(g, e);
    if (g->how[e] & HOW_SEXT)
        n = MAX(n, type_size(g->ext[e]));
    return slot_bytes(g, slot) >= n;
}

bool ra_mem(const Gen *g, uint32_t e, unsigned bytes, int32_t *disp)
{
    const Ent *x = &g->ent[e];
    if (ent_is_const(g, e))
        return false;
    if (x->home && slot_bytes(g, x->home - 1) >= bytes) {
        *disp = slot_disp(g, x->home - 1);
        return true;
    }
    if (x->spill) {
        *disp = spill_disp(x->spill - 1);
        return true;
    }
    return false;
}

static void set_home(Gen *g, uint32_t e, unsigned slot)
{
    if (slot_volatile(g, slot))
        return;
    g->home_ent[slot] = e;
    if (!g->ent[e].home && !ent_is_const(g, e) && home_whole(g, e, slot))
        g->ent[e].home = slot + 1;
}

/* The committed value of a slot may be stored there now: snapshots only move on. */
static bool write_home(Gen *g, uint32_t e)
{
    if (g->exact)
        return false;
    for (unsigned w = 0; w < 2; w++)
        for (uint64_t m = g->dirty.w[w] & ~g->kept.w[w]; m; m &= m - 1) {
            unsigned s = w * 64 + bits_ctz(m);
            if (gen_ent(g, g->dirty_val[s]) != e || !home_whole(g, e, s) || s == g->ir->slots->pc ||
                slot_volatile(g, s))
                continue;
            uint32_t old = g->home_ent[s];
            if (old && old != e && !ent_is_const(g, old) && g->ent[old].home == s + 1 &&
                g->ent[old].last >= g->pos && !g->ent[old].spill)
                continue;       /* the slot's old value is still needed and in no other memory */
            if (old && old != e && !ent_is_const(g, old) && g->ent[old].home == s + 1)
                g->ent[old].home = 0;
            host_store(g, slot_disp(g, s), g->ent[e].reg, slot_bytes(g, s));
            set_home(g, e, s);
            return true;
        }
    return false;
}

void ra_save(Gen *g, uint32_t e)
{
    Ent *x = &g->ent[e];
    if (ent_is_const(g, e) || x->home || x->spill || write_home(g, e))
        return;
    if (spill_new(g, e))
        host_store(g, spill_disp(x->spill - 1), x->reg, ent_room(g, e));
}

void ra_home_overwrite(Gen *g, unsigned slot, uint32_t e)
{
    uint32_t old = g->home_ent[slot];
    if (old && old != e && !ent_is_const(g, old) && g->ent[old].home == slot + 1) {
        Ent *x = &g->ent[old];
        if (x->last >= g->pos && x->reg == NO_REG && !x->spill)
            ra_use(g, old, ent_is_vec(g, old) ? VECS : GPRS);
        x->home = 0;
    }
    g->home_ent[slot] = 0;
    if (e)
        set_home(g, e, slot);
}

/* --- registers */

void ra_drop_reg(Gen *g, unsigned reg)
{
    uint32_t e = g->reg_ent[reg];
    if (e) {
        g->ent[e].reg = NO_REG;
        g->reg_ent[reg] = 0;
    }
    g->free |= 1u << reg;
}

/* Frees all its places. */
static void forget(Gen *g, uint32_t e)
{
    Ent *x = &g->ent[e];
    if (x->reg != NO_REG)
        ra_drop_reg(g, x->reg);
    if (x->spill)
        spill_free(g, e);
}

static void base_drop(Gen *g, unsigned k)
{
    uint32_t bit = 1u << g->base[k].reg;
    g->base_regs &= ~bit;
    g->free |= bit;
    g->base[k] = g->base[--g->n_bases];
}

void ra_base_drop_all(Gen *g)
{
    while (g->n_bases)
        base_drop(g, 0);
}

static void base_drop_reg(Gen *g, unsigned reg)
{
    for (unsigned k = 0; k < g->n_bases; k++)
        if (g->base[k].reg == reg) {
            base_drop(g, k);
            return;
        }
}

unsigned ra_base_find(Gen *g, uint32_t group)
{
    for (unsigned k = 0; k < g->n_bases; k++)
        if (g->base[k].group == group) {
            g->locked |= 1u << g->base[k].reg;
            return g->base[k].reg;
        }
    return NO_REG;
}

static void expire(Gen *g);

unsigned ra_base_new(Gen *g, uint32_t group)
{
    if (!(g->free & GPRS & ~g->locked))
        expire(g);
    uint32_t avail = g->free & GPRS & ~g->locked;
    if (g->n_bases == MAX_BASES)
        for (unsigned k = 0; k < MAX_BASES; k++)
            if (!(g->locked >> g->base[k].reg & 1)) {
                base_drop(g, k);
                break;
            }
    if (!avail || g->n_bases == MAX_BASES)
        return NO_REG;
    unsigned r = low(avail & ~g->regs->saved ? avail & ~g->regs->saved : avail);
    g->free &= ~(1u << r);
    g->locked |= 1u << r;
    g->base_regs |= 1u << r;
    g->base[g->n_bases++] = (HostBase){ group, (uint8_t)r };
    return r;
}

static void expire(Gen *g)
{
    for (uint32_t m = g->regs->all & ~g->free & ~g->locked; m; m &= m - 1) {
        uint32_t e = g->reg_ent[low(m)];
        if (e && g->ent[e].last < g->pos)
            forget(g, e);
    }
    for (unsigned k = g->n_bases; k-- > 0;)
        if (g->groups[g->base[k].group].last < g->pos && !(g->locked >> g->base[k].reg & 1))
            base_drop(g, k);
}

/* The register to give up: the farthest next use; one that is in memory already counts as farther. */
static unsigned victim(Gen *g, uint32_t mask)
{
    unsigned best = NO_REG;
    uint64_t best_score = 0;
    g_assert(mask);
    if (g->random) {
        for (unsigned n = rng(g) % bits_count(mask); n; n--)
            mask &= mask - 1;
        return low(mask);
    }
    for (uint32_t m = mask; m; m &= m - 1) {
        unsigned r = low(m);
        uint32_t e = g->reg_ent[r];
        const Ent *x = &g->ent[e];
        uint64_t score = (uint64_t)x->next + 1;
        if (ent_is_const(g, e))
            score += 12;
        else if (x->home || x->spill)
            score += 16;
        if (score > best_score) {
            best_score = score;
            best = r;
        }
    }
    return best;
}

static unsigned pick(Gen *g, uint32_t avail, bool crosses)
{
    if (g->random) {
        for (unsigned n = rng(g) % bits_count(avail); n; n--)
            avail &= avail - 1;
        return low(avail);
    }
    uint32_t pref = crosses ? avail & g->regs->saved : avail & ~g->regs->saved;
    return low(pref ? pref : avail);
}

static unsigned get_reg(Gen *g, uint32_t mask, bool crosses)
{
    uint32_t allowed = mask & g->regs->all & ~g->locked, avail = g->free & allowed;
    unsigned r;
    if (!avail) {
        expire(g);
        avail = g->free & allowed;
        if (!avail && g->base_regs & allowed) {
            base_drop_reg(g, low(g->base_regs & allowed));
            avail = g->free & allowed;
        }
    }
    if (avail && !(g->random && rng(g) % 8 == 0 && (allowed & ~g->free & ~g->base_regs))) {
        r = pick(g, avail, crosses);
    } else {
        r = victim(g, allowed & ~g->free & ~g->base_regs);
        uint32_t e = g->reg_ent[r];
        if (g->ent[e].last >= g->pos)
            ra_save(g, e);
        ra_drop_reg(g, r);
    }
    g->free &= ~(1u << r);
    g->locked |= 1u << r;
    return r;
}

static bool crosses_call(const Gen *g, uint32_t e) { return g->ent[e].last > g->next_call[g->pos]; }

unsigned ra_temp(Gen *g, uint32_t mask) { return get_reg(g, mask, false); }

void ra_set(Gen *g, uint32_t e, unsigned reg)
{
    g->reg_ent[reg] = e;
    g->ent[e].reg = reg;
    g->free &= ~(1u << reg);
    g->locked |= 1u << reg;
}

unsigned ra_def(Gen *g, uint32_t e, uint32_t mask)
{
    unsigned r = get_reg(g, mask, crosses_call(g, e));
    ra_set(g, e, r);
    return r;
}

/* Value of e to reg, from wherever it is. */
void ra_copy_to(Gen *g, unsigned reg, uint32_t e)
{
    Ent *x = &g->ent[e];
    if (x->reg != NO_REG) {
        if (x->reg != reg)
            host_move(g, reg, x->reg);
    } else if (ent_is_const(g, e)) {
        host_const(g, reg, ent_const(g, e));
    } else if (x->home) {
        host_load(g, reg, slot_disp(g, x->home - 1), slot_bytes(g, x->home - 1));
    } else {
        g_assert(x->spill || g->overflow);
        host_load(g, reg, spill_disp(x->spill - 1), ent_room(g, e));
    }
}

unsigned ra_use(Gen *g, uint32_t e, uint32_t mask)
{
    Ent *x = &g->ent[e];
    if (x->reg != NO_REG && mask >> x->reg & 1) {
        g->locked |= 1u << x->reg;
        return x->reg;
    }
    unsigned r = get_reg(g, mask, !ent_is_const(g, e) && crosses_call(g, e));
    ra_copy_to(g, r, e);
    if (x->reg != NO_REG)
        ra_drop_reg(g, x->reg);
    ra_set(g, e, r);
    return r;
}

unsigned ra_def_from(Gen *g, uint32_t d, uint32_t a, uint32_t mask)
{
    Ent *x = &g->ent[a];
    unsigned r;
    bool over = ent_dies_now(g, a) || (ent_is_const(g, a) && x->next == NEVER);
    if (x->reg != NO_REG && over && mask >> x->reg & 1) {
        r = x->reg;
        ra_drop_reg(g, r);
        g->locked |= 1u << r;
        g->free &= ~(1u << r);
    } else {
        if (x->reg == NO_REG && !ent_is_const(g, a) && !ent_dies(g, a) && x->next != NEVER)
            ra_use(g, a, ent_is_vec(g, a) ? VECS : GPRS);
        r = get_reg(g, mask, crosses_call(g, d));
        ra_copy_to(g, r, a);
    }
    ra_set(g, d, r);
    return r;
}

void ra_take(Gen *g, unsigned reg)
{
    uint32_t e = g->reg_ent[reg];
    base_drop_reg(g, reg);
    if (e) {
        if (g->ent[e].last < g->pos) {
            forget(g, e);
        } else if (!ent_is_const(g, e)) {
            uint32_t other = g->free & ~g->locked & (reg_is_vec(reg) ? VECS : GPRS) & ~(1u << reg);
            if (other) {
                unsigned r = pick(g, other, crosses_call(g, e));
                host_move(g, r, reg);
                bool lock = g->locked >> reg & 1;
                ra_drop_reg(g, reg);
                uint32_t was = g->locked;
                ra_set(g, e, r);
                g->locked = was | (lock ? 1u << r : 0);
            } else {
                ra_save(g, e);
                ra_drop_reg(g, reg);
            }
        } else {
            ra_drop_reg(g, reg);
        }
    }
    g->free &= ~(1u << reg);
    g->locked |= 1u << reg;
}

void ra_take_with(Gen *g, unsigned reg, uint32_t e)
{
    bool there = g->ent[e].reg == reg;
    ra_take(g, reg);                    /* moving away leaves the bits */
    if (!there)
        ra_copy_to(g, reg, e);
}

/* --- insns */

void ra_start_insn(Gen *g, uint32_t i)
{
    g->pos = i;
    g->locked = 0;
    g->snap_now = false;
}

static void uses_done(Gen *g, uint32_t i)
{
    uint32_t e[MAX_USES];
    unsigned n = gen_uses(g, i, e);
    for (unsigned k = n; k-- > 0;) {
        Ent *x = &g->ent[e[k]];
        x->next = g->uses[i].next[k];
        if (x->last <= g->pos)
            forget(g, e[k]);
    }
}

void ra_end_insn(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    uses_done(g, i);
    if (in->op == IR_CALL && g->ir->insns[i - 1].op == IR_ARGS)
        uses_done(g, i - 1);
    if (g->rep[i] == i && in->type != T_NONE && !g->ent[i].last)
        forget(g, i);                /* a result that nobody wants */
    /* temporaries */
    for (uint32_t m = g->locked & ~g->free & ~g->base_regs; m; m &= m - 1)
        if (!g->reg_ent[low(m)])
            g->free |= 1u << low(m);
    g->locked = 0;
}

/* --- parallel moves: each destination is written once its old content is not needed any more; cycles go
 * through the scratch register */

static void move_in(Gen *g, const Move *m, unsigned from)
{
    if (from == NO_REG) {
        ra_copy_to(g, m->to, m->ent);
        from = m->to;
    }
    IrType t = m->zext_of ? val_type(g->ir, m->zext_of) : I64;
    if ((t < I64 || t == PRED) && !val_zx(g, m->zext_of))
        host_zext(g, m->to, from, type_size(t));
    else if (from != m->to)
        host_move(g, m->to, from);
}

void ra_parallel(Gen *g, const Move *moves, unsigned n)
{
    uint8_t from[N_REGS];
    uint32_t todo = 0, memory = 0;
    g_assert(n <= N_REGS);
    for (unsigned k = 0; k < n; k++) {
        from[k] = g->ent[moves[k].ent].reg;
        if (from[k] == NO_REG)
            memory |= 1u << k;
        else
            todo |= 1u << k;
    }
    while (todo) {
        bool moved = false;
        for (uint32_t m = todo; m; m &= m - 1) {
            unsigned k = low(m);
            bool blocked = false;
            for (uint32_t o = todo & ~(1u << k); o; o &= o - 1)
                blocked |= from[low(o)] == moves[k].to;
            if (blocked)
                continue;
            move_in(g, &moves[k], from[k]);
            todo &= ~(1u << k);
            moved = true;
        }
        if (!moved) {                   /* cycles only: free one destination */
            unsigned k = low(todo), to = moves[k].to;
            unsigned scratch = reg_is_vec(to) ? g->regs->vscratch : g->regs->scratch;
            host_move(g, scratch, to);
            for (uint32_t o = todo; o; o &= o - 1)
                if (from[low(o)] == to)
                    from[low(o)] = scratch;
        }
    }
    for (; memory; memory &= memory - 1)
        move_in(g, &moves[low(memory)], NO_REG);
}

/* --- what the blocks of a region agree upon (edges.c) */

/* A spill slot that is e's alone from here on: paths may differ in whether it has been written. */
uint16_t ra_pin(Gen *g, uint32_t e)
{
    if (!g->pin[e]) {
        if (!g->ent[e].spill) {
            spill_new(g, e);
            g->pin[e] = g->ent[e].spill;
            g->ent[e].spill = 0;
        } else {
            g->pin[e] = g->ent[e].spill;
        }
        memset(g->spill_used + g->pin[e] - 1, PINNED, spill_units(g, e));
    }
    return g->pin[e];
}

void ra_clear(Gen *g, uint32_t first_commit)
{
    for (unsigned r = 0; r < N_REGS; r++)
        if (g->reg_ent[r])
            g->ent[g->reg_ent[r]].reg = NO_REG;
    memset(g->reg_ent, 0, sizeof g->reg_ent);
    g->n_bases = 0;
    g->base_regs = 0;
    g->free = g->regs->all;
    g->locked = 0;
    for (unsigned i = 0; i < 2 * SPILL_SLOTS; i++)
        if (g->spill_used[i] == USED)
            g->spill_used[i] = FREE;
    g->spill_hint = 0;
    for (unsigned s = 0; s < g->ir->n_slots; s++) {
        if (g->home_ent[s] && !ent_is_const(g, g->home_ent[s]))
            g->ent[g->home_ent[s]].home = 0;
        g->home_ent[s] = 0;
    }
    g->dirty = g->kept = (SlotSet){ { 0, 0 } };
    g->n_commits = first_commit;
    g->flags_a = VAL_NONE;
}
