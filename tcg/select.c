/* SPDX-License-Identifier: GPL-2.0-or-later
 * Row selection for plain operations: the first row of the op whose operand classes fit what the operands
 * are.
 *   "="    the result is made in the operand's register (a copy if the operand lives on)
 *   "!"    the same, and only when no copy is needed
 *   "r"    a register       "m"  a register, or memory if the value is there and not used again
 *   "c"    the host's count register (rcx)
 *   "x"    a vector register
 *   "i8" "i32" "i"          a constant: sign-extended 8 or 32 bits, any
 *   "u32" "ff" "ffff" "lea" a constant: zero-extended 32 bits; exactly 0xff, 0xffff; 1 to 3 */
#include <string.h>
#include "tcg/gen.h"

enum { K_NONE, K_SAME, K_DIES, K_REG, K_MEM, K_COUNT, K_VEC, K_I8, K_I32, K_I, K_U32, K_FF, K_FFFF, K_LEA };
enum { COUNT_REG = 1 };
static const char *const class_names[] = {
    [K_SAME] = "=", [K_DIES] = "!", [K_REG] = "r", [K_MEM] = "m", [K_COUNT] = "c", [K_VEC] = "x",
    [K_I8] = "i8", [K_I32] = "i32", [K_I] = "i", [K_U32] = "u32", [K_FF] = "ff", [K_FFFF] = "ffff", [K_LEA] = "lea",
};

static uint8_t class_of(const char *s)
{
    if (!s)
        return K_NONE;
    for (unsigned k = 1; k < ARRAY_LEN(class_names); k++)
        if (!strcmp(s, class_names[k]))
            return k;
    g_assert_not_reached();
}

RowSet *rows_new(const EmitRow *rows, unsigned n, unsigned features)
{
    RowSet *rs = g_new0(RowSet, 1);
    unsigned out = 0;
    rs->row = g_new0(Row, n);
    for (unsigned op = 0; op < IR_N_OPS; op++) {
        rs->first[op] = out;
        for (unsigned i = 0; i < n; i++)
            if (rows[i].op == op && (rows[i].needs & features) == rows[i].needs)
                rs->row[out++] = (Row){ rows[i].types, class_of(rows[i].a), class_of(rows[i].b),
                                        class_of(rows[i].c), rows[i].aux, rows[i].emit };
    }
    rs->first[IR_N_OPS] = out;
    return rs;
}

void rows_free(RowSet *rs)
{
    if (rs)
        g_free(rs->row);
    g_free(rs);
}

static int64_t const_value(const Gen *g, Val v)
{
    const IrConst *k = &g->ir->consts[v & ~VAL_CONST];
    return k->type == PRED ? (int64_t)k->lo : bits_sext(k->lo, type_bits(k->type));
}

static bool fits(const Gen *g, uint8_t kind, Val v)
{
    if (kind < K_I8) {
        if (kind != K_DIES)
            return true;
        uint32_t e = gen_ent(g, v);
        return !val_is_const(v) && (g->ent[e].last <= g->pos || g->ent[e].reg == NO_REG);
    }
    if (!val_is_const(v))
        return false;
    int64_t k = const_value(g, v);
    switch (kind) {
    case K_I8:   return k == (int8_t)k;
    case K_I32:  return k == (int32_t)k;
    case K_U32:  return k == (uint32_t)k;
    case K_FF:   return k == 0xff;
    case K_FFFF: return k == 0xffff;
    case K_LEA:  return k >= 1 && k <= 3;
    default:     return true;
    }
}

static bool commutes(uint8_t op)
{
    return op == IR_ADD || op == IR_AND || op == IR_OR || op == IR_XOR || op == IR_MUL;
}

bool select_emit(Gen *g, const RowSet *rs, uint32_t i)
{
    const Ir *ir = g->ir;
    const IrInsn *in = &ir->insns[i];
    Val a = in->a, b = in->b, c = in->c;
    const Row *row = &rs->row[rs->first[in->op]], *end = &rs->row[rs->first[in->op + 1]];
    uint8_t tb = in->type == PRED ? TB_PRED : BIT(in->type - I8);

    if (commutes(in->op)) {
        bool swap = val_is_const(a);
        if (!swap && !val_is_const(b)) {
            uint32_t ea = gen_ent(g, a), eb = gen_ent(g, b);
            swap = ent_dies(g, eb) && g->ent[eb].reg != NO_REG &&
                   !(ent_dies(g, ea) && g->ent[ea].reg != NO_REG);
        }
        if (swap && !val_is_const(b)) {
            a = in->b;
            b = in->a;
        }
    }
    for (; row < end; row++)
        if (row->types & tb && fits(g, row->ka, a) && (!row->kb || fits(g, row->kb, b)) &&
            (!row->kc || fits(g, row->kc, c)))
            break;
    if (row == end)
        return false;

    Emit e = { .type = in->type, .from = val_type(ir, a), .d = NO_REG, .a = NO_REG, .b = NO_REG, .c = NO_REG,
               .w = in->type == I64, .aux = row->aux, .field = in->aux };
    /* Fixed registers first, then those that only need some register. */
    if (row->kb == K_COUNT || row->kc == K_COUNT) {
        uint32_t x = gen_ent(g, row->kb == K_COUNT ? b : c);
        if (g->ent[x].reg == COUNT_REG) {
            g->locked |= 1u << COUNT_REG;
        } else {
            ra_take(g, COUNT_REG);
            ra_copy_to(g, COUNT_REG, x);
        }
    }
    if (row->kb >= K_I8) {
        e.imm = const_value(g, b);
    } else if (row->kb == K_MEM && g->ent[gen_ent(g, b)].reg == NO_REG && e.type >= I32 &&
               g->uses[i].next[b == in->b] == NEVER && ra_mem(g, gen_ent(g, b), type_size(e.type), &e.disp)) {
        e.b = MEM;
    } else if (row->kb == K_REG || row->kb == K_MEM) {
        e.b = ra_use(g, gen_ent(g, b), GPRS);
    } else if (row->kb == K_COUNT) {
        e.b = COUNT_REG;
    }
    if (row->kc >= K_I8)
        e.imm = const_value(g, c);
    else if (row->kc == K_REG)
        e.c = ra_use(g, gen_ent(g, c), GPRS);
    else if (row->kc == K_COUNT)
        e.c = COUNT_REG;

    if (row->ka == K_REG) {
        e.a = ra_use(g, gen_ent(g, a), GPRS);
        uint32_t ea = gen_ent(g, a);
        /* a dying operand's register may become the result's: emitters read before they write, or say so
         * with "=" */
        if (ent_dies(g, ea) && !ent_is_const(g, ea) && e.b != e.a && e.c != e.a && !row->kc) {
            ra_drop_reg(g, e.a);
            g->free &= ~(1u << e.a);
            ra_set(g, i, e.a);
            e.d = e.a;
        } else {
            e.d = ra_def(g, i, GPRS);
        }
    } else {
        uint32_t mask = GPRS;
        if (row->kb == K_COUNT || row->kc == K_COUNT)
            mask &= ~(1u << COUNT_REG);
        e.d = e.a = ra_def_from(g, i, gen_ent(g, a), mask);
    }
    row->emit(g, &e);
    return true;
}
