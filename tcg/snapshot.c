/* SPDX-License-Identifier: GPL-2.0-or-later
 * Snapshots: which guest slots are dirty at a point and where their values are.  A record lies behind the
 * code:
 *     { int32 pc_delta, u16 insns, u16 n }, then n words { slot, kind, u16 index }
 * constants followed by their bits, kinds with LOC_PLUS by an int32 to add. */
#include <string.h>
#include "tcg/gen.h"

enum { LOC_REG, LOC_REG_HIGH, LOC_SPILL, LOC_HOME, LOC_CONST, LOC_CONST128, LOC_ZERO128, LOC_PLUS = 0x80 };

void snap_advance(Gen *g, uint32_t snap)
{
    const Ir *ir = g->ir;
    for (uint32_t n = ir->snaps[snap].n_commits; g->n_commits < n; g->n_commits++) {
        const IrCommit *c = &ir->commits[g->n_commits];
        g->kept.w[c->slot / 64] &= ~BIT(c->slot % 64);
        if (c->v) {
            g->dirty.w[c->slot / 64] |= BIT(c->slot % 64);
            g->dirty_val[c->slot] = c->v;
        } else {
            g->dirty.w[c->slot / 64] &= ~BIT(c->slot % 64);
        }
    }
}

bool ent_is_dirty(const Gen *g, uint32_t e)
{
    for (unsigned w = 0; w < 2; w++)
        for (uint64_t m = g->dirty.w[w]; m; m &= m - 1) {
            if (snap_ent(g, g->dirty_val[w * 64 + bits_ctz(m)]).ent == e)
                return true;
        }
    return false;
}

enum { MAX_ENTRY = 4 + 16 + 4 };

/* Room for a record of n slots; where it starts. */
static uint8_t *record_room(Gen *g, unsigned n)
{
    uint32_t need = g->n_recs + 8 + n * MAX_ENTRY;
    if (need > g->cap_recs) {
        g->cap_recs = MAX(need, 2 * g->cap_recs);
        g->recs = g_realloc(g->recs, g->cap_recs);
    }
    return g->recs + g->n_recs;
}
static uint8_t *put(uint8_t *p, const void *from, unsigned n)
{
    memcpy(p, from, n);
    return p + n;
}
static uint8_t *put_loc(uint8_t *p, unsigned slot, unsigned kind, unsigned index)
{
    uint32_t w = slot | kind << 8 | index << 16;
    return put(p, &w, 4);
}

uint32_t snap_record(Gen *g, uint32_t snap)
{
    const IrSnap *sn = &g->ir->snaps[snap];
    uint32_t at = g->n_recs;
    uint16_t n = 0, insns = sn->insn_index;
    int32_t delta = (int32_t)sn->pc_off - g->pc_mem_off;
    uint8_t *p = record_room(g, bits_count(g->dirty.w[0]) + bits_count(g->dirty.w[1])), *start = p;

    g_assert(g->pc_mem_known);
    p = put(p, &delta, 4);
    p = put(p, &insns, 2);
    p = put(p, &n, 2);
    for (unsigned w = 0; w < 2; w++)
        for (uint64_t m = g->dirty.w[w]; m; m &= m - 1) {
            unsigned slot = w * 64 + bits_ctz(m);
            if (g->home_ent[slot] == gen_ent(g, g->dirty_val[slot]) || slot == g->ir->slots->pc)
                continue;
            SnapEnt s = snap_ent(g, g->dirty_val[slot]);
            uint32_t e = s.ent;
            int32_t plus = s.plus;
            const Ent *x = &g->ent[e];
            if (plus)
                slot |= LOC_PLUS << 8;
            if (ent_is_const(g, e)) {
                const IrConst *k = ent_const(g, e);
                bool wide = type_size(k->type) > 8;
                if (wide && !k->lo && !k->hi) {         /* VZEROUPPER leaves sixteen of them */
                    p = put_loc(p, slot, LOC_ZERO128, 0);
                    n++;
                    continue;
                }
                p = put_loc(p, slot, wide ? LOC_CONST128 : LOC_CONST, 0);
                p = put(p, &k->lo, 8);
                if (wide)
                    p = put(p, &k->hi, 8);
            } else if (x->reg != NO_REG) {
                p = put_loc(p, slot, s.high ? LOC_REG_HIGH : LOC_REG, x->reg);
            } else if (x->home) {
                p = put_loc(p, slot, LOC_HOME, x->home - 1);
            } else {
                g_assert(x->spill || g->overflow);
                p = put_loc(p, slot, LOC_SPILL, x->spill - 1 + (s.high ? 2 : 0));
            }
            if (plus)
                p = put(p, &plus, 4);
            n++;
        }
    memcpy(start + 6, &n, 2);
    g->n_recs += (uint32_t)(p - start);
    return at;
}

unsigned snap_insns(const uint8_t *rec)
{
    uint16_t n;
    memcpy(&n, rec + 4, 2);
    return n;
}

static uint32_t word(const uint8_t **p)
{
    uint32_t v;
    memcpy(&v, *p, 4);
    *p += 4;
    return v;
}

void snap_restore(const uint8_t *rec, const SlotTable *slots, CpuState *cpu)
{
    V128 value[MAX_SLOTS];
    uint8_t slot[MAX_SLOTS];
    const uint8_t *p = rec + 8;
    int32_t delta;
    uint16_t n;

    memcpy(&delta, rec, 4);
    memcpy(&n, rec + 6, 2);
    g_assert(n <= MAX_SLOTS);
    for (unsigned i = 0; i < n; i++) {  /* all are read before any is written: some live in other slots */
        uint32_t w = word(&p), index = w >> 16;
        V128 *v = &value[i];
        slot[i] = w & 0xff;
        *v = (V128){ .u64 = { 0, 0 } };         /* a narrow home stands for a zero-extended value */
        switch (w >> 8 & 0x7f) {
        case LOC_REG:
            if (reg_is_vec(index))
                *v = cpu->dump_vec[index - FIRST_VEC].v[0];
            else
                v->u64[0] = cpu->dump_gpr[index];
            break;
        case LOC_REG_HIGH:
            *v = cpu->dump_vec[index - FIRST_VEC].v[1];
            break;
        case LOC_SPILL:
            memcpy(v, (uint8_t *)cpu->spill + index * 8, index % 2 ? 8 : 16);
            break;
        case LOC_HOME:
            memcpy(v, (uint8_t *)cpu + slots->slot[index].offset, type_size(slots->slot[index].type));
            break;
        case LOC_CONST128:
            memcpy(v, p, 16);
            p += 16;
            break;
        case LOC_ZERO128:
            break;
        default:
            memcpy(v, p, 8);
            p += 8;
            break;
        }
        if (w & LOC_PLUS << 8)
            v->u64[0] += (uint64_t)(int64_t)(int32_t)word(&p);
    }
    for (unsigned i = 0; i < n; i++) {
        const Slot *s = &slots->slot[slot[i]];
        memcpy((uint8_t *)cpu + s->offset, &value[i], type_size(s->type));
    }
    const Slot *pc = &slots->slot[slots->pc];
    if (type_size(pc->type) == 4)
        *(uint32_t *)((uint8_t *)cpu + pc->offset) += (uint32_t)delta;
    else
        *(uint64_t *)((uint8_t *)cpu + pc->offset) += (uint64_t)(int64_t)delta;
}
