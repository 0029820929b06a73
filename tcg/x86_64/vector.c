/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host operations: instructions encoded from the rows of tcg/hostop.def, in the VEX form (three operands,
 * no alignment of memory operands) where the host has AVX, else in the legacy form. */
#include "tcg/x86_64/x64.h"

static uint32_t row_op(const HostRow *r, bool w, bool l)
{
    uint32_t op = r->opcode | (uint32_t)r->map << 8 | wide(r->flags & HOF_W1 || (w && r->flags & HOF_W)) | (l ? O_L : 0);
    return op | (r->prefix == 0x66 ? O_66 : r->prefix == 0xf3 ? O_F3 : r->prefix == 0xf2 ? O_F2 : 0);
}

static bool mem_operand(const Gen *g, uint32_t i, unsigned use, uint32_t e, int32_t *disp)
{
    return g->be->avx && g->ent[e].reg == NO_REG && g->uses[i].next[use] == NEVER && ra_mem(g, e, ent_room(g, e), disp);
}

/* Flags to a general register: lahf gives SF ZF AF PF CF; of the rows' instructions only ZF, PF, CF can be
 * set. */
static void flags_result(Gen *g, uint32_t i)
{
    x64_1(g, 0x9f);
    x64_1(g, 0x0f);                     /* movzx eax, ah */
    x64_1(g, 0xb6);
    x64_1(g, 0xc4);
    x64_alu_ri(g, false, ALU_AND, RAX, 0x45);
    ra_set(g, i, RAX);
}

static void legacy(Gen *g, uint32_t i, const HostRow *r, uint32_t op)
{
    const IrInsn *in = &g->ir->insns[i];
    uint32_t ea = gen_ent(g, in->a), eb = in->b ? gen_ent(g, in->b) : 0;
    unsigned d, b = 0, a;

    switch (r->kind) {
    case HK_VV:
        a = ra_use(g, ea, VECS);
        d = ra_def(g, i, VECS);
        x64_rr(g, op, d & 15, a & 15);
        break;
    case HK_VG:
        a = ra_use(g, ea, GPRS);
        d = ra_def(g, i, VECS);
        x64_rr(g, op, d & 15, a);
        break;
    case HK_GV:
        a = ra_use(g, ea, VECS);
        d = ra_def(g, i, GPRS);
        x64_rr(g, op, r->flags & HOF_STORE ? a & 15 : d, r->flags & HOF_STORE ? d : a & 15);
        break;
    case HK_FVV:
        ra_take(g, RAX);
        a = ra_use(g, ea, VECS);
        b = ra_use(g, eb, VECS);
        x64_rr(g, op, a & 15, b & 15);
        flags_result(g, i);
        break;
    case HK_VSHI:
        d = ra_def_from(g, i, ea, VECS);
        x64_rr(g, op, r->digit, d & 15);
        break;
    case HK_GGG:
        b = ra_use(g, eb, GPRS);
        d = ra_def_from(g, i, ea, GPRS);
        x64_rr(g, op | (r->flags & HOF_BYTE ? O_BRM : 0), d, b);
        break;
    case HK_VVVV: {
        const uint32_t others = VECS & ~(1u << FIRST_VEC);      /* the mask is in xmm0 */
        ra_take_with(g, FIRST_VEC, gen_ent(g, in->c));
        b = ra_use(g, eb, VECS);
        d = ra_def_from(g, i, ea, others);
        x64_rr(g, op, d & 15, b & 15);
        break;
    }
    default:                            /* VVV, VVG */
        b = ra_use(g, eb, r->kind == HK_VVG ? GPRS : VECS);
        d = ra_def_from(g, i, ea, VECS);
        x64_rr(g, op, d & 15, b & 15);
        break;
    }
}

static void vex(Gen *g, uint32_t i, const HostRow *r, uint32_t op)
{
    const IrInsn *in = &g->ir->insns[i];
    uint32_t ea = gen_ent(g, in->a), eb = in->b ? gen_ent(g, in->b) : 0;
    unsigned d, a, b, c;
    int32_t disp;

    switch (r->kind) {
    case HK_VV:
        if (!(r->flags & HOF_STORE) && mem_operand(g, i, 0, ea, &disp)) {
            d = ra_def(g, i, VECS);
            x64_vrm(g, op, d & 15, 0, RBP, disp);
            break;
        }
        a = ra_use(g, ea, VECS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, op, r->flags & HOF_STORE ? a & 15 : d & 15, 0, r->flags & HOF_STORE ? d & 15 : a & 15);
        break;
    case HK_VG:
        a = ra_use(g, ea, GPRS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, op, d & 15, 0, a);
        break;
    case HK_GV:
        a = ra_use(g, ea, VECS);
        d = ra_def(g, i, GPRS);
        x64_vrr(g, op, r->flags & HOF_STORE ? a & 15 : d, 0, r->flags & HOF_STORE ? d : a & 15);
        break;
    case HK_FVV:
        ra_take(g, RAX);
        a = ra_use(g, ea, VECS);
        b = ra_use(g, eb, VECS);
        x64_vrr(g, op, a & 15, 0, b & 15);
        flags_result(g, i);
        break;
    case HK_VSHI:
        a = ra_use(g, ea, VECS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, op, r->digit, d & 15, a & 15);
        break;
    case HK_VVVV:
        a = ra_use(g, ea, VECS);
        b = ra_use(g, eb, VECS);
        c = ra_use(g, gen_ent(g, in->c), VECS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, r->digit | O_0F3A | O_66 | (op & O_L), d & 15, a & 15, b & 15);
        x64_1(g, (c & 15) << 4);
        break;
    case HK_VVG:
        a = ra_use(g, ea, VECS);
        b = ra_use(g, eb, GPRS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, op, d & 15, a & 15, b);
        break;
    case HK_FMA:
        b = ra_use(g, eb, VECS);
        c = ra_use(g, gen_ent(g, in->c), VECS);
        d = ra_def_from(g, i, ea, VECS);
        x64_vrr(g, op, d & 15, b & 15, c & 15);
        break;
    case HK_GGG:
        a = ra_use(g, ea, GPRS);
        b = ra_use(g, eb, GPRS);
        d = ra_def(g, i, GPRS);
        x64_vrr(g, op, d, a, b);
        break;
    default:
        a = ra_use(g, ea, VECS);
        /* movss, movsd, movhlps, movlhps, insertps mean something else with memory */
        bool moves = (r->map == 1 && (r->opcode == 0x10 || r->opcode == 0x12 || r->opcode == 0x16)) ||
                     (r->map == 3 && r->opcode == 0x21);
        if (!moves && mem_operand(g, i, 1, eb, &disp)) {
            d = ra_def(g, i, VECS);
            x64_vrm(g, op, d & 15, a & 15, RBP, disp);
            break;
        }
        b = ra_use(g, eb, VECS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, op, d & 15, a & 15, b & 15);
        break;
    }
}

void x64_host(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    const HostRow *r = &host_rows[HOST_ROW(in->aux)];
    IrType gt = r->kind == HK_GV || r->kind == HK_GGG ? in->type
              : r->kind == HK_VG ? val_type(g->ir, in->a) : r->kind == HK_VVG ? val_type(g->ir, in->b) : I32;
    bool l = host_is_wide(g->ir, in);
    uint32_t op = row_op(r, gt == I64, l), needs = l ? r->wide_needs : r->needs;

    g_assert((needs & g->be->features) == needs);
    if (r->flags & HOF_VEX || (g->be->avx && !(r->flags & HOF_LEGACY)))
        vex(g, i, r, op);
    else
        legacy(g, i, r, op);
    /* compares: the VEX form takes more predicates than the legacy one, which the row describes */
    if (r->flags & HOF_IMM)
        x64_1(g, r->map == 1 && r->opcode == 0xc2 && !(r->flags & HOF_VEX) ? HOST_IMM(in->aux) & 7 : HOST_IMM(in->aux));
    if (r->flags & HOF_LEGACY && in->type == V128T && g->wide) {        /* may have left the upper half of a v256 */
        unsigned d = g->ent[i].reg & 15;
        x64_vrr(g, 0x28 | O_0F, d, 0, d);
    }
}

/* --- halves of 256 bits.  LOW has no code: it is its operand's register (tcg/live.c) */

static bool at_home(const Gen *g, uint32_t e)
{
    return !ent_is_const(g, e) && g->ent[e].reg == NO_REG && g->ent[e].home;
}

void x64_concat(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    uint32_t ea = gen_ent(g, in->a), eb = gen_ent(g, in->b);
    unsigned d, a, b;
    int32_t disp;

    if (ent_is_const(g, eb) && !ent_const(g, eb)->lo && !ent_const(g, eb)->hi) {
        if (ent_type(g, ea) == V256T) {
            a = ra_use(g, ea, VECS);
            d = ra_def(g, i, VECS);
            x64_vrr(g, 0x28 | O_0F, d & 15, 0, a & 15);
        } else {
            ra_def_from(g, i, ea, VECS);                /* has zeros above */
        }
        return;
    }
    if (at_home(g, ea) && at_home(g, eb) && g->ir->slots->slot[g->ent[ea].home - 1].upper == g->ent[eb].home - 1) {
        d = ra_def(g, i, VECS);
        host_load(g, d, slot_disp(g, g->ent[ea].home - 1), 32);
        return;
    }
    const uint32_t insert = 0x18 | O_0F3A | O_66 | O_L;         /* vinsertf128 */
    a = ra_use(g, ea, VECS);
    if (g->ent[eb].reg == NO_REG && ra_mem(g, eb, 16, &disp)) {
        d = ra_def(g, i, VECS);
        x64_vrm(g, insert, d & 15, a & 15, RBP, disp);
    } else {
        b = ra_use(g, eb, VECS);
        d = ra_def(g, i, VECS);
        x64_vrr(g, insert, d & 15, a & 15, b & 15);
    }
    x64_1(g, 1);
}

void x64_high(Gen *g, uint32_t i)
{
    uint32_t ea = gen_ent(g, g->ir->insns[i].a);
    unsigned a, d;
    if (g->ent[ea].reg == NO_REG && g->ent[ea].spill) {
        d = ra_def(g, i, VECS);
        host_load(g, d, spill_disp(g->ent[ea].spill - 1) + 16, 16);
        return;
    }
    a = ra_use(g, ea, VECS);
    d = ra_def(g, i, VECS);
    x64_vrr(g, 0x19 | O_0F3A | O_66 | O_L, a & 15, 0, d & 15);  /* vextractf128 */
    x64_1(g, 1);
}
