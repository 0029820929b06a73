/* SPDX-License-Identifier: GPL-2.0-or-later
 * A region as text; docs/ir.md has the grammar.  Commits and snapshots are shown where they take effect:
 *
 *     slots rax rcx pc
 *     block 0
 *         head 2, run 3 @+0 #0
 *       insn +0
 *         %3 = i64 load.64 %2 @+0 #0          snapshot: pc offset, guest instructions completed
 *         rax := %3                           commit: seen by the snapshots that follow
 */
#include <string.h>
#include "tcg/hostop.h"
#include "tcg/ir.h"
#include "tcg/names.h"

typedef struct Printer {
    const Ir *ir;
    GString  *out;
    uint32_t  commit, guest;    /* how far the log and the list of guest instructions have been printed */
} Printer;

static void put_val(Printer *p, Val v)
{
    if (!v) {
        g_string_append(p->out, "-");
        return;
    }
    if (!val_is_const(v)) {
        g_string_append_printf(p->out, "%%%u", v);
        return;
    }
    const IrConst *c = &p->ir->consts[v & ~VAL_CONST];
    if (c->type == V128T)
        g_string_append_printf(p->out, "0x%" G_GINT64_MODIFIER "x:", c->hi);
    g_string_append_printf(p->out, c->lo < 10 ? "%" G_GINT64_MODIFIER "u" : "0x%" G_GINT64_MODIFIER "x", c->lo);
    g_string_append(p->out, ir_type_names[c->type]);
}

static void put_snap(Printer *p, uint32_t snap)
{
    const IrSnap *s = &p->ir->snaps[snap];
    g_string_append_printf(p->out, " @%+d #%u", (int32_t)s->pc_off, s->insn_index);
}

static void put_commits(Printer *p, uint32_t upto)
{
    for (; p->commit < upto; p->commit++) {
        const IrCommit *c = &p->ir->commits[p->commit];
        g_string_append_printf(p->out, "    %s := ", p->ir->slots->slot[c->slot].name);
        put_val(p, c->v);
        g_string_append_c(p->out, '\n');
    }
}

static void put_memop(Printer *p, unsigned mo)
{
    g_string_append_printf(p->out, ".%u", mo_bytes(mo) * 8);
    for (unsigned i = 0; i < G_N_ELEMENTS(ir_memop_names); i++) {
        if (mo & ir_memop_names[i].bit)
            g_string_append_printf(p->out, ".%s", ir_memop_names[i].name);
    }
    if (mo & MO_VIEW)
        g_string_append_printf(p->out, ".view%u", ((mo & MO_VIEW) >> MO_VIEW_SHIFT) - 1);
}

static void put_exit(Printer *p, uint32_t exit)
{
    const IrExit *e = &p->ir->exits[exit];
    g_string_append(p->out, ir_exit_names[e->kind]);
    if (e->kind == EXIT_DIRECT)
        g_string_append_printf(p->out, " %+d", e->target_off);
    if (e->kind == EXIT_RUN || e->kind == EXIT_RAISE)
        g_string_append_printf(p->out, " %u", e->aux);
    if (e->kind == EXIT_RAISE)
        g_string_append_printf(p->out, " 0x%x", e->aux2);
    if (e->use == EXIT_CALL)
        g_string_append_printf(p->out, " call %+d", e->return_off);
    if (e->use == EXIT_RETURN)
        g_string_append(p->out, " return");
    put_snap(p, e->snap);
}

static void put_edge(Printer *p, uint32_t edge)
{
    const IrEdge *e = &p->ir->edges[edge];
    g_string_append_printf(p->out, "%u(", e->to);
    for (uint32_t i = 0; i < e->n_args; i++) {
        if (i)
            g_string_append(p->out, ", ");
        put_val(p, p->ir->edge_args[e->first_arg + i]);
    }
    g_string_append_c(p->out, ')');
}

/* Operands a, b, c: as many as the signature names, for HOST as many as there are. */
static void put_operands(Printer *p, const IrInsn *in)
{
    const char *sig = ir_ops[in->op].sig, *sep = " ";
    const Val v[3] = { in->a, in->b, in->c };
    for (unsigned i = 0; i < 3 && sig[2 + i] != '-'; i++) {
        if (!v[i])
            break;
        g_string_append(p->out, sep);
        put_val(p, v[i]);
        sep = ", ";
    }
}

static void put_call(Printer *p, uint32_t at)
{
    const Ir *ir = p->ir;
    const IrInsn *in = &ir->insns[at];
    const IrHelper *h = ir->helpers[in->aux];
    const bool more = ir->insns[at - 1].op == IR_ARGS;
    const Val v[5] = { in->a, in->b, in->c, more ? in[-1].a : VAL_NONE, more ? in[-1].b : VAL_NONE };

    g_string_append_printf(p->out, " %s(", h->name);
    for (unsigned i = 0; i < h->nargs; i++) {
        if (i)
            g_string_append(p->out, ", ");
        put_val(p, v[i]);
    }
    g_string_append_c(p->out, ')');
    if (h->flags & HF_FAULTS)
        put_snap(p, in->flags);
}

static void put_insn(Printer *p, uint32_t at)
{
    const IrInsn *in = &p->ir->insns[at];
    const IrOpInfo *info = &ir_ops[in->op];
    g_autofree char *name = g_ascii_strdown(info->name, -1);

    g_string_append(p->out, "    ");
    if (in->type != T_NONE)
        g_string_append_printf(p->out, "%%%u = %s ", at, ir_type_names[in->type]);
    g_string_append(p->out, name);

    switch (in->op) {
    case IR_CALL:
        put_call(p, at);
        break;
    case IR_HEAD:
        g_string_append_printf(p->out, " %u, ", in->flags);
        put_exit(p, in->aux);
        break;
    case IR_EXIT:
        g_string_append_c(p->out, ' ');
        put_exit(p, in->aux);
        break;
    case IR_EXIT_IF:
        put_operands(p, in);
        g_string_append(p->out, ", ");
        put_exit(p, in->aux);
        break;
    case IR_JUMP:
    case IR_BRANCH:
        put_operands(p, in);
        g_string_append(p->out, in->op == IR_JUMP ? " " : ", ");
        put_edge(p, in->aux);
        if (in->op == IR_BRANCH) {
            g_string_append(p->out, ", ");
            put_edge(p, in->aux + 1);
        }
        break;
    case IR_SLOT_GET:
    case IR_SLOT_PUT:
        g_string_append_printf(p->out, " %s", p->ir->slots->slot[in->aux].name);
        if (in->op == IR_SLOT_PUT)
            g_string_append_c(p->out, ',');
        put_operands(p, in);
        break;
    case IR_PARAM:
        g_string_append_printf(p->out, " %u", in->aux);
        break;
    case IR_CMP:
        g_string_append_printf(p->out, ".%s", ir_cond_names[in->aux]);
        put_operands(p, in);
        break;
    case IR_EXTRACT:
    case IR_DEPOSIT:
        put_operands(p, in);
        g_string_append_printf(p->out, ", %u, %u", FIELD_POS(in->aux), FIELD_LEN(in->aux));
        break;
    case IR_HOST: {
        g_autofree char *row = g_ascii_strdown(host_rows[HOST_ROW(in->aux)].name, -1);
        g_string_append_printf(p->out, ".%s.%u", row, HOST_IMM(in->aux));
        put_operands(p, in);
        break;
    }
    case IR_ATOMIC:
        g_string_append_printf(p->out, ".%s", ir_atomic_names[ATOMIC_OP(in->flags)]);
        /* fall through */
    case IR_LOAD:
    case IR_STORE:
        put_memop(p, in->flags & 0xffff);
        put_operands(p, in);
        put_snap(p, in->aux);
        break;
    default:
        put_operands(p, in);
    }
    g_string_append_c(p->out, '\n');
}

static void put_block(Printer *p, uint32_t n)
{
    const Ir *ir = p->ir;
    const IrBlock *b = &ir->blocks[n];

    g_string_append_printf(p->out, "block %u\n", n);
    for (uint32_t i = b->first; i < b->end; i++) {
        const IrInsn *in = &ir->insns[i];

        for (; p->guest < ir->n_guest && ir->guest[p->guest].first <= i; p->guest++)
            g_string_append_printf(p->out, "  insn %+d\n", (int32_t)ir->guest[p->guest].pc_off);
        int64_t snap = ir_insn_snap(ir, in);
        if (snap >= 0)
            put_commits(p, ir->snaps[snap].n_commits);
        if (in->op != IR_NOP && in->op != IR_ARGS)
            put_insn(p, i);
    }
    put_commits(p, n + 1 < ir->n_blocks ? b[1].first_commit : ir->n_commits);
}

void ir_print(const Ir *ir, GString *out)
{
    Printer p = { ir, out, 0, 0 };

    g_string_append_printf(out, "region %u\n", ir->guest_len);
    for (uint32_t i = 0; i < ir->n_blocks; i++)
        put_block(&p, i);
}
