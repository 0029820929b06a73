/* SPDX-License-Identifier: GPL-2.0-or-later
 * Is a region well formed?  Everything that back ends take for granted is checked here, from the signatures of ir.def
 * and the rules of docs/ir.md.  Debug builds run it after each stage; it may be slow. */
#include <stdarg.h>
#include "tcg/build_int.h"
#include "tcg/hostop.h"
#include "tcg/names.h"

typedef struct Verifier {
    const Ir *ir;
    uint32_t  block, at;        /* where we are */
    uint32_t  commits;          /* how far the log has been checked */
    char     *error;            /* the first one */
} Verifier;

static bool fail(Verifier *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static bool fail(Verifier *v, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (!v->error) {
        const IrInsn *in = &v->ir->insns[v->at];
        g_autofree char *op = in->op < IR_N_OPS ? g_ascii_strdown(ir_ops[in->op].name, -1) : g_strdup("?");
        v->error = g_strdup_printf("block %u, insn %%%u (%s): %s", v->block, v->at, op, what);
    }
    return false;
}

/* --- flow ----------------------------------------------------------------------------------------------------- */

/* Edges that leave a block: first and how many. */
static uint32_t edges_of(const Ir *ir, uint32_t block, uint32_t *first)
{
    const IrInsn *last = &ir->insns[ir->blocks[block].end - 1];
    *first = last->aux;
    return last->op == IR_JUMP ? 1 : last->op == IR_BRANCH ? 2 : 0;
}

/* Whether the region's entry reaches `to` without going through `avoid`. */
static bool reaches(const Ir *ir, uint32_t to, uint32_t avoid)
{
    g_autofree bool *seen = g_new0(bool, ir->n_blocks);
    g_autoptr(GArray) todo = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    uint32_t at = 0;

    if (avoid == 0)
        return false;
    for (;;) {
        if (at == to)
            return true;
        uint32_t first, n = edges_of(ir, at, &first);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t next = ir->edges[first + i].to;
            if (next != avoid && !seen[next]) {
                seen[next] = true;
                g_array_append_val(todo, next);
            }
        }
        if (!todo->len)
            return false;
        at = g_array_index(todo, uint32_t, todo->len - 1);
        g_array_set_size(todo, todo->len - 1);
    }
}

static uint32_t block_of(const Ir *ir, uint32_t insn)
{
    uint32_t b = 0;
    while (b < ir->n_blocks && insn >= ir->blocks[b].end)
        b++;
    return b;
}

static bool has_head(const Ir *ir, uint32_t block)
{
    for (uint32_t i = ir->blocks[block].first; i < ir->blocks[block].end; i++) {
        if (ir->insns[i].op == IR_HEAD)
            return true;
    }
    return false;
}

/* --- values --------------------------------------------------------------------------------------------------- */

static bool check_value(Verifier *v, Val x, const char *what)
{
    const Ir *ir = v->ir;

    if (val_is_const(x))
        return (x & ~VAL_CONST) < ir->n_consts || fail(v, "%s is no constant of this region", what);
    if (!x || x >= v->at)
        return fail(v, "%s is not defined before its use", what);
    if (ir->insns[x].op == IR_NOP || ir->insns[x].type == T_NONE)
        return fail(v, "%s (%%%u) has no value", what, x);
    uint32_t from = block_of(ir, x);
    if (from != v->block && reaches(ir, v->block, from))
        return fail(v, "%s (%%%u) does not dominate its use", what, x);
    return true;
}

static bool check_typed(Verifier *v, Val x, IrType want, const char *what)
{
    if (!check_value(v, x, what))
        return false;
    IrType t = val_type(v->ir, x);
    return t == want || fail(v, "%s is %s, not %s", what, ir_type_names[t], ir_type_names[want]);
}

static bool check_operand(Verifier *v, char kind, Val x, const char *what)
{
    const IrInsn *in = &v->ir->insns[v->at];

    switch (kind) {
    case '-': return !x || fail(v, "%s is not used by this operation", what);
    case 't': return check_typed(v, x, in->type, what);
    case 'p': return check_typed(v, x, PRED, what);
    case 'a': return check_typed(v, x, I64, what);
    case 's': return check_typed(v, x, I8, what);
    case 'v': return check_typed(v, x, V128T, what);
    case 'w': return check_typed(v, x, V256T, what);
    case 'i':
        return check_value(v, x, what) &&
               (type_is_int(val_type(v->ir, x)) || fail(v, "%s is not an integer", what));
    default:
        return check_value(v, x, what);
    }
}

static bool is_number(IrType t) { return t >= I8 && t <= I64; }

static bool check_result(Verifier *v)
{
    const IrInsn *in = &v->ir->insns[v->at];

    if (in->type >= IR_N_TYPES)
        return fail(v, "no such type");
    if (in->type == I128 || in->type == F32 || in->type == F64)
        return fail(v, "no operation gives %s", ir_type_names[in->type]);
    switch (ir_ops[in->op].sig[0]) {
    case '-': return in->type == T_NONE || fail(v, "this operation has no result");
    case 'P': return in->type == PRED || fail(v, "the result is a predicate");
    case 'V': return in->type == V128T || fail(v, "the result is v128");
    case 'W': return in->type == V256T || fail(v, "the result is v256");
    case 'I': return is_number(in->type) || fail(v, "the result is an integer");
    default:  return in->type != T_NONE || in->op == IR_CALL || fail(v, "no result type");
    }
}

/* --- snapshots and exits -------------------------------------------------------------------------------------- */

static bool check_snap(Verifier *v, uint32_t snap)
{
    const Ir *ir = v->ir;

    if (snap >= ir->n_snaps)
        return fail(v, "no such snapshot");
    const IrSnap *s = &ir->snaps[snap];
    if (s->block != v->block || s->n_commits < v->commits || s->n_commits > ir->n_commits)
        return fail(v, "the snapshot's place in the commit log does not fit");
    for (; v->commits < s->n_commits; v->commits++) {
        IrCommit c = ir->commits[v->commits];
        if (c.slot >= ir->n_slots)
            return fail(v, "commit to a slot that does not exist");
        if (c.v && !check_typed(v, c.v, ir->slots->slot[c.slot].type, ir->slots->slot[c.slot].name))
            return false;
    }
    return true;
}

static bool check_exit(Verifier *v, uint32_t exit)
{
    const IrInsn *in = &v->ir->insns[v->at];

    if (exit >= v->ir->n_exits || v->ir->exits[exit].kind > EXIT_RAISE)
        return fail(v, "no such exit");
    if (in->op == IR_HEAD && v->ir->exits[exit].kind != EXIT_RUN)
        return fail(v, "a head leaves to the run loop");
    const IrExit *x = &v->ir->exits[exit];
    if (x->use && (in->op != IR_EXIT || (x->kind != EXIT_INDIRECT && (x->kind != EXIT_DIRECT || x->use != EXIT_CALL))))
        return fail(v, "not an exit that calls or returns");
    return check_snap(v, x->snap);
}

static bool check_edge(Verifier *v, uint32_t edge)
{
    const Ir *ir = v->ir;
    const IrEdge *e = &ir->edges[edge];
    const IrBlock *to = &ir->blocks[e->to];

    if (e->first_arg + e->n_args > ir->n_edge_args || e->n_args != to->n_params)
        return fail(v, "block %u takes %u parameters", e->to, to->n_params);
    for (uint32_t i = 0; i < e->n_args; i++) {
        if (!check_typed(v, ir->edge_args[e->first_arg + i], ir->insns[to->first + i].type, "argument"))
            return false;
    }
    if (e->to <= v->block && !has_head(ir, e->to) && !has_head(ir, v->block))
        return fail(v, "a loop without a head could not be interrupted");
    return true;
}

/* --- one operation -------------------------------------------------------------------------------------------- */

static bool needs_word(IrOp op)         /* i32 or i64 only */
{
    switch (op) {
    case IR_SHL: case IR_SHR: case IR_SAR: case IR_SHLD: case IR_SHRD: case IR_UMULW: case IR_SMULW: case IR_UDIVW:
    case IR_UDIV: case IR_SDIV: case IR_BSWAP: case IR_CLZ: case IR_CTZ: case IR_POPCNT:
        return true;
    default:
        return false;
    }
}

static bool check_shift(Verifier *v, Val n)
{
    const IrInsn *in = &v->ir->insns[v->at];
    uint64_t k;
    return !ir_is_imm(v->ir, n, &k) || k < type_bits(in->type) || fail(v, "shift count %u", (unsigned)k);
}

static bool check_slot(Verifier *v, IrType t)
{
    uint32_t slot = v->ir->insns[v->at].aux;
    if (slot >= v->ir->n_slots || v->ir->slots->slot[slot].type == T_NONE)
        return fail(v, "no such slot");
    return t == v->ir->slots->slot[slot].type || fail(v, "the slot is of another type");
}

static bool check_memory(Verifier *v)
{
    const IrInsn *in = &v->ir->insns[v->at];
    unsigned bytes = mo_bytes(in->flags);

    if (in->op == IR_STORE) {
        IrType t = val_type(v->ir, in->b);
        if (bytes > type_size(t) || t == PRED)
            return fail(v, "stores more than it has");
    } else if (is_number(in->type) ? bytes != type_size(in->type) : in->type == V256T ? bytes != 32 : in->type != V128T || bytes > 16 || bytes < 4) {
        return fail(v, "access size and type do not fit");
    }
    if (in->op == IR_ATOMIC) {
        if (!is_number(in->type) || ATOMIC_OP(in->flags) > AT_CAS)
            return fail(v, "no such atomic operation");
        if (!in->c != (ATOMIC_OP(in->flags) != AT_CAS))
            return fail(v, "a compare and swap, and only it, has a third operand");
    }
    if (in->flags & MO_BE && (bytes > 8 || val_type(v->ir, in->op == IR_STORE ? in->b : v->at) >= V128T))
        return fail(v, "vectors have no byte order");
    return check_snap(v, in->aux);
}

static bool check_call(Verifier *v)
{
    const Ir *ir = v->ir;
    const IrInsn *in = &ir->insns[v->at];

    if (in->aux >= ir->n_helpers)
        return fail(v, "no such helper");
    const IrHelper *h = ir->helpers[in->aux];
    bool more = v->at > ir->blocks[v->block].first && in[-1].op == IR_ARGS;
    const Val args[5] = { in->a, in->b, in->c, more ? in[-1].a : VAL_NONE, more ? in[-1].b : VAL_NONE };

    if (more != (h->nargs > 3))
        return fail(v, "%s has %u arguments", h->name, h->nargs);
    for (unsigned i = 0; i < 5; i++) {
        if (i >= h->nargs) {
            if (args[i])
                return fail(v, "%s has %u arguments", h->name, h->nargs);
            continue;
        }
        if (!check_value(v, args[i], "argument"))
            return false;
        if (val_type(ir, args[i]) != PRED && !is_number(val_type(ir, args[i])))
            return fail(v, "arguments of helpers are integers");
    }
    if (in->type != (h->flags & HF_FAULTS ? T_NONE : h->ret))
        return fail(v, "%s gives another type", h->name);
    return h->flags & HF_FAULTS ? check_snap(v, in->flags) : true;
}

static bool check_host(Verifier *v)
{
    static const char *const shapes[] = {       /* result, a, b, c: V, or G an i32 or i64 */
        [HK_VV] = "VV--", [HK_VVV] = "VVV-", [HK_VVVV] = "VVVV", [HK_VG] = "VG--", [HK_VVG] = "VVG-",
        [HK_GV] = "GV--", [HK_FVV] = "GVV-", [HK_VSHI] = "VV--", [HK_GGG] = "GGG-", [HK_FMA] = "VVVV",
    };
    static const char *const wide[] = {         /* the 256-bit form: V v128, W v256 */
        [HW_LANES] = "WWWW", [HW_COUNT] = "WWV", [HW_UP] = "WV", [HW_DOWN] = "VW", [HW_MASK] = "GW", [HW_TEST] = "GWW",
        [HW_BCAST] = "WV", [HW_WHOLE] = "WWW",
    };
    const IrInsn *in = &v->ir->insns[v->at];

    if (HOST_ROW(in->aux) >= HOST_N_ROWS)
        return fail(v, "no such host row");
    const HostRow *row = &host_rows[HOST_ROW(in->aux)];
    const char *shape = shapes[row->kind], *form = shape;
    bool is_wide = host_is_wide(v->ir, in);
    if (!is_wide && row->flags & HOF_256)
        return fail(v, "%s has no form of 128 bits", row->name);
    if (is_wide && row->wide == HW_NONE)
        return fail(v, "%s has no form of 256 bits", row->name);
    if (is_wide)
        form = wide[row->wide];
    const Val x[3] = { in->a, in->b, in->c };
    if (!(row->flags & HOF_FP) != !(in->flags & HOSTF_FP))
        return fail(v, "flags do not say what %s does", row->name);
    if (form[0] == 'W' ? in->type != V256T : form[0] == 'V' ? in->type != V128T : in->type != I32 && in->type != I64)
        return fail(v, "%s gives another type", row->name);
    for (unsigned i = 0; i < 3; i++) {
        if (shape[1 + i] == '-') {
            if (x[i])
                return fail(v, "%s has fewer operands", row->name);
            continue;
        }
        if (!check_value(v, x[i], "operand"))
            return false;
        IrType t = val_type(v->ir, x[i]);
        char want = shape[1 + i] == 'G' ? 'G' : form[1 + i];
        if (want == 'W' ? t != V256T : want == 'V' ? t != V128T : t != I32 && t != I64)
            return fail(v, "%s wants another type", row->name);
    }
    return true;
}

static bool check_second(Verifier *v)
{
    const IrInsn *in = &v->ir->insns[v->at], *first = in - 1;

    if (in->a != v->at - 1 || !(ir_ops[first->op].effects & E_SECOND))
        return fail(v, "the second result does not follow its first");
    bool carry = first->op == IR_ADDC || first->op == IR_SUBB;
    return in->type == (carry ? PRED : first->type) || fail(v, "second result of another type");
}

static bool check_field(Verifier *v)
{
    const IrInsn *in = &v->ir->insns[v->at];
    unsigned pos = FIELD_POS(in->aux), len = FIELD_LEN(in->aux);
    return (len && pos + len <= type_bits(in->type)) || fail(v, "the field does not lie in the value");
}

/* What the signature does not say. */
static bool check_special(Verifier *v)
{
    const Ir *ir = v->ir;
    const IrInsn *in = &ir->insns[v->at];
    IrType a;

    switch (in->op) {
    case IR_SHL: case IR_SHR: case IR_SAR: case IR_ROL: case IR_ROR:
        return check_shift(v, in->b);
    case IR_SHLD: case IR_SHRD:
        return check_shift(v, in->c);
    case IR_SLOT_GET:
        return check_slot(v, in->type);
    case IR_SLOT_PUT:
        return check_slot(v, val_type(ir, in->a));
    case IR_ZEXT: case IR_SEXT: case IR_TRUNC:
        a = val_type(ir, in->a);
        if (a == PRED && in->op == IR_ZEXT)
            return true;
        if (!is_number(a) || a == in->type || (a > in->type) != (in->op == IR_TRUNC))
            return fail(v, "from %s to %s", ir_type_names[a], ir_type_names[in->type]);
        return true;
    case IR_EXTRACT: case IR_DEPOSIT:
        return check_field(v);
    case IR_CMP:
        if (in->aux >= IR_N_CONDS)
            return fail(v, "no such condition");
        a = val_type(ir, in->a);
        return (is_number(a) && a == val_type(ir, in->b)) || fail(v, "operands are integers of one type");
    case IR_SECOND:
        return check_second(v);
    case IR_LOAD: case IR_STORE: case IR_ATOMIC:
        return check_memory(v);
    case IR_ARGS:
        return in[1].op == IR_CALL || fail(v, "no call follows");
    case IR_EXIT_IF: case IR_EXIT: case IR_HEAD:
        return check_exit(v, in->aux);
    case IR_JUMP:
        return check_edge(v, in->aux);
    case IR_BRANCH:
        return check_edge(v, in->aux) && check_edge(v, in->aux + 1);
    case IR_PARAM:
        return in->aux == v->at - ir->blocks[v->block].first || fail(v, "parameters come first, in order");
    default:
        return true;
    }
}

static bool check_insn(Verifier *v)
{
    static const char *const names[3] = { "operand a", "operand b", "operand c" };
    const IrInsn *in = &v->ir->insns[v->at];
    const Val x[3] = { in->a, in->b, in->c };

    if (in->op >= IR_N_OPS)
        return fail(v, "no such operation");
    if (in->op == IR_NOP)
        return true;
    const IrOpInfo *info = &ir_ops[in->op];
    if (!(info->effects & E_END) != (v->at != v->ir->blocks[v->block].end - 1))
        return fail(v, "a block ends with its only exit or jump");
    if (!check_result(v))
        return false;
    if (needs_word(in->op) && in->type != I32 && in->type != I64)
        return fail(v, "i32 or i64 only");
    if (in->op == IR_CALL)
        return check_call(v);
    if (in->op == IR_HOST)
        return check_host(v);
    for (unsigned i = 0; i < 3; i++) {
        bool optional = (in->op == IR_ATOMIC && i == 2) || (in->op == IR_ARGS && i == 1);
        if (!(optional && !x[i]) && !check_operand(v, info->sig[2 + i], x[i], names[i]))
            return false;
    }
    return check_special(v);
}

/* --- the whole ------------------------------------------------------------------------------------------------ */

/* Block bounds and edges: what the walks above rely on. */
static bool check_blocks(Verifier *v)
{
    const Ir *ir = v->ir;
    uint32_t at = 1, commit = 0;

    if (!ir->n_blocks)
        return fail(v, "no block");
    for (v->block = 0; v->block < ir->n_blocks; v->block++) {
        const IrBlock *b = &ir->blocks[v->block];
        v->at = MIN(b->first, ir->n_insns - 1);
        if (b->first < at || b->end <= b->first || b->end > ir->n_insns || b->first_commit < commit ||
            b->first_commit > ir->n_commits || b->n_params > b->end - b->first)
            return fail(v, "block bounds");
        at = b->end;
        commit = b->first_commit;
        for (uint32_t i = 0; i < b->n_params; i++) {
            if (ir->insns[b->first + i].op != IR_PARAM)
                return fail(v, "parameters come first");
        }
        uint32_t first, n = edges_of(ir, v->block, &first);
        v->at = b->end - 1;
        for (uint32_t i = 0; i < n; i++) {
            if (first + i >= ir->n_edges || ir->edges[first + i].to >= ir->n_blocks)
                return fail(v, "no such edge");
        }
        if (!(ir_ops[MIN(ir->insns[v->at].op, IR_N_OPS - 1)].effects & E_END))
            return fail(v, "the block does not end");
    }
    return !ir->blocks[0].n_params || fail(v, "the entry block has parameters");
}

char *ir_verify(const Ir *ir)
{
    Verifier v = { .ir = ir };

    if (!check_blocks(&v))
        return v.error;
    for (v.block = 0; v.block < ir->n_blocks; v.block++) {
        v.commits = ir->blocks[v.block].first_commit;
        for (v.at = ir->blocks[v.block].first; v.at < ir->blocks[v.block].end; v.at++) {
            if (!check_insn(&v))
                return v.error;
        }
    }
    return NULL;
}
