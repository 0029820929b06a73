/* SPDX-License-Identifier: GPL-2.0-or-later
 * Reads what print.c writes.  A line is a region, block or insn header, a commit (slot := value), or an insn.
 * Value names are numbers; where the text leaves some out, NOPs fill the gap, so that a printed region comes back
 * with its numbers.  With folding (tests of folds) pure insns go through the builder instead, and names stand for what it answers. */
#include <string.h>
#include "tcg/build_int.h"
#include "tcg/hostop.h"
#include "tcg/names.h"

enum { MAX_VALUES = 1 << 20 };

typedef struct Parser {
    Ir          *ir;
    const char  *at;            /* in the line */
    unsigned     line;
    bool         fold;
    GHashTable  *names;         /* number -> Val */
    IrInsn       args;          /* ARGS to go in front of the call being read; op NOP: none */
    const IrHelper *const *helpers;
    unsigned     n_helpers;
    GError     **err;
} Parser;

static bool bad(Parser *p, const char *what)
{
    g_set_error(p->err, G_MARKUP_ERROR, G_MARKUP_ERROR_PARSE, "line %u: %s at '%.20s'", p->line, what, p->at);
    return false;
}

static void blanks(Parser *p) { while (*p->at == ' ' || *p->at == '\t') p->at++; }
static bool at_end(Parser *p) { blanks(p); return !*p->at || *p->at == ';'; }

static bool accept(Parser *p, const char *s)
{
    blanks(p);
    size_t n = strlen(s);
    if (strncmp(p->at, s, n))
        return false;
    p->at += n;
    return true;
}

static bool want(Parser *p, const char *s) { return accept(p, s) || bad(p, s); }

/* Letters, digits, _ */
static bool word(Parser *p, char *out, size_t size)
{
    size_t n = 0;
    blanks(p);
    while (g_ascii_isalnum(p->at[n]) || p->at[n] == '_')
        n++;
    if (!n || n >= size)
        return bad(p, "a name was expected");
    memcpy(out, p->at, n);
    out[n] = 0;
    p->at += n;
    return true;
}

static bool number(Parser *p, uint64_t *out)
{
    char *end;
    blanks(p);
    bool minus = *p->at == '-';
    const char *digits = p->at + (minus || *p->at == '+');
    if (!g_ascii_isdigit(*digits))
        return bad(p, "a number was expected");
    *out = g_ascii_strtoull(digits, &end, 0);
    if (minus)
        *out = -*out;
    p->at = end;
    return true;
}

static bool number32(Parser *p, uint32_t *out)
{
    uint64_t v;
    if (!number(p, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

/* Index of name in a list, or -1. */
static int find(const char *const *list, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++) {
        if (!strcmp(list[i], name))
            return (int)i;
    }
    return -1;
}

static bool type(Parser *p, IrType *out)
{
    char name[16];
    if (!word(p, name, sizeof name))
        return false;
    int t = find(ir_type_names, IR_N_TYPES, name);
    *out = t;
    return t > T_NONE || bad(p, "no such type");
}

static bool value(Parser *p, Val *out)
{
    uint64_t lo, hi = 0;
    IrType t;

    if (accept(p, "%")) {
        if (!number(p, &lo))
            return false;
        *out = GPOINTER_TO_UINT(g_hash_table_lookup(p->names, GUINT_TO_POINTER((guint)lo)));
        return *out || bad(p, "unknown value");
    }
    if (!number(p, &lo))
        return false;
    if (accept(p, ":")) {
        hi = lo;
        if (!number(p, &lo))
            return false;
    }
    if (!type(p, &t))
        return false;
    if (t == V128T)
        *out = ir_imm128(p->ir, lo, hi);
    else if (t == PRED || (t >= I8 && t <= I64))
        *out = ir_imm(p->ir, t, lo);
    else
        return bad(p, "no constants of this type");
    return true;
}

/* Up to max values separated by commas; stops where none follows. */
static bool values(Parser *p, Val *out, unsigned max, unsigned *n)
{
    for (*n = 0; *n < max; (*n)++) {
        blanks(p);
        if (*p->at != '%' && !g_ascii_isdigit(*p->at) && *p->at != '-')
            break;
        if (!value(p, &out[*n]))
            return false;
        if (!accept(p, ",")) {
            (*n)++;
            break;
        }
    }
    return true;
}

static bool slot(Parser *p, uint32_t *out)
{
    char name[32];
    if (!word(p, name, sizeof name))
        return false;
    for (*out = 0; *out < p->ir->n_slots; (*out)++) {
        if (p->ir->slots->slot[*out].name && !strcmp(p->ir->slots->slot[*out].name, name))
            return true;
    }
    return bad(p, "no such slot");
}

static bool snapshot(Parser *p, uint32_t *out)
{
    Ir *ir = p->ir;
    IrSnap s = { .n_commits = ir->n_commits, .block = ir->n_blocks - 1 };

    if (!want(p, "@") || !number32(p, &s.pc_off) || !want(p, "#") || !number32(p, &s.insn_index))
        return false;
    if (!ir->n_snaps || memcmp(&ir->snaps[ir->n_snaps - 1], &s, sizeof s))
        IR_PUSH(ir, snaps) = s;
    *out = ir->n_snaps - 1;
    return true;
}

static bool exit_(Parser *p, uint32_t *out)
{
    char name[16];
    IrExit e = { 0 };

    if (!word(p, name, sizeof name))
        return false;
    int kind = find(ir_exit_names, G_N_ELEMENTS(ir_exit_names), name);
    if (kind < 0)
        return bad(p, "no such exit");
    e.kind = kind;
    uint32_t off = 0;
    if (kind == EXIT_DIRECT && !number32(p, &off))
        return false;
    e.target_off = (int32_t)off;
    if ((kind == EXIT_RUN || kind == EXIT_RAISE) && !number32(p, &e.aux))
        return false;
    if (kind == EXIT_RAISE && !number32(p, &e.aux2))
        return false;
    e.use = accept(p, "call ") ? EXIT_CALL : accept(p, "return") ? EXIT_RETURN : EXIT_JUMP;
    off = 0;
    if (e.use == EXIT_CALL && !number32(p, &off))
        return false;
    e.return_off = (int32_t)off;
    if (!snapshot(p, &e.snap))
        return false;
    IR_PUSH(p->ir, exits) = e;
    *out = p->ir->n_exits - 1;
    return true;
}

static bool edge(Parser *p, uint32_t *out)
{
    IrEdge e = { .first_arg = p->ir->n_edge_args };
    Val v;

    if (!number32(p, &e.to) || !want(p, "("))
        return false;
    while (!accept(p, ")")) {
        if ((e.n_args && !want(p, ",")) || !value(p, &v))
            return false;
        IR_PUSH(p->ir, edge_args) = v;
        e.n_args++;
    }
    IR_PUSH(p->ir, edges) = e;
    *out = p->ir->n_edges - 1;
    return true;
}

/* .32.be.view1 */
static bool memop(Parser *p, uint32_t *out)
{
    char name[16];
    uint64_t bits;

    if (!want(p, ".") || !number(p, &bits))
        return false;
    if (bits < 8 || bits > 256 || bits & (bits - 1))
        return bad(p, "no such access size");
    *out |= (uint32_t)__builtin_ctzll(bits) - 3;
    while (*p->at == '.') {
        p->at++;
        if (!word(p, name, sizeof name))
            return false;
        if (!strncmp(name, "view", 4) && g_ascii_isdigit(name[4]) && name[4] < '7' && !name[5]) {
            *out |= (uint32_t)(name[4] - '0' + 1) << MO_VIEW_SHIFT;
            continue;
        }
        unsigned i = 0;
        while (i < G_N_ELEMENTS(ir_memop_names) && strcmp(name, ir_memop_names[i].name))
            i++;
        if (i == G_N_ELEMENTS(ir_memop_names))
            return bad(p, "no such access attribute");
        *out |= ir_memop_names[i].bit;
    }
    return true;
}

static void append(Parser *p, IrInsn in) { IR_PUSH(p->ir, insns) = in; }

static bool operands(Parser *p, IrInsn *in)
{
    Val v[3] = { 0 };
    unsigned n;
    if (!values(p, v, 3, &n))
        return false;
    in->a = v[0];
    in->b = v[1];
    in->c = v[2];
    return true;
}

static bool call(Parser *p, IrInsn *in)
{
    Ir *ir = p->ir;
    char name[64];
    Val v[5] = { 0 };
    unsigned n, i = 0;

    if (!word(p, name, sizeof name) || !want(p, "(") || !values(p, v, 5, &n) || !want(p, ")"))
        return false;
    while (i < p->n_helpers && strcmp(p->helpers[i]->name, name))
        i++;
    if (i == p->n_helpers || p->helpers[i]->nargs != n)
        return bad(p, "no such helper, or other arguments");
    const IrHelper *h = p->helpers[i];
    for (in->aux = 0; in->aux < ir->n_helpers && ir->helpers[in->aux] != h; in->aux++)
        ;
    if (in->aux == ir->n_helpers)
        IR_PUSH(ir, helpers) = h;
    if (h->flags & HF_FAULTS && !snapshot(p, &in->flags))
        return false;
    if (n > 3)
        p->args = (IrInsn){ .op = IR_ARGS, .a = v[3], .b = v[4] };
    in->a = v[0];
    in->b = v[1];
    in->c = v[2];
    return true;
}

static bool host(Parser *p, IrInsn *in)
{
    char name[32];
    uint32_t imm, row = 0;

    if (!want(p, ".") || !word(p, name, sizeof name) || !want(p, ".") || !number32(p, &imm) || !operands(p, in))
        return false;
    while (row < HOST_N_ROWS && g_ascii_strcasecmp(host_rows[row].name, name))
        row++;
    if (row == HOST_N_ROWS)
        return bad(p, "no such host row");
    in->aux = HOST_AUX(row, imm);
    in->flags = host_rows[row].flags & HOF_FP ? HOSTF_FP : 0;
    return true;
}

/* What follows the operation's name. */
static bool rest(Parser *p, IrInsn *in)
{
    char name[16];
    uint32_t pos, len, second;
    int i;

    switch (in->op) {
    case IR_CALL:
        return call(p, in);
    case IR_HOST:
        return host(p, in);
    case IR_HEAD:
        return number32(p, &in->flags) && want(p, ",") && exit_(p, &in->aux);
    case IR_EXIT:
        return exit_(p, &in->aux);
    case IR_EXIT_IF:
        return value(p, &in->a) && want(p, ",") && exit_(p, &in->aux);
    case IR_JUMP:
        return edge(p, &in->aux);
    case IR_BRANCH:
        return value(p, &in->a) && want(p, ",") && edge(p, &in->aux) && want(p, ",") && edge(p, &second);
    case IR_SLOT_GET:
        return slot(p, &in->aux);
    case IR_SLOT_PUT:
        return slot(p, &in->aux) && want(p, ",") && operands(p, in);
    case IR_PARAM:
        p->ir->blocks[p->ir->n_blocks - 1].n_params++;
        return number32(p, &in->aux);
    case IR_CMP:
        if (!want(p, ".") || !word(p, name, sizeof name))
            return false;
        i = find(ir_cond_names, IR_N_CONDS, name);
        in->aux = i;
        return i < 0 ? bad(p, "no such condition") : operands(p, in);
    case IR_EXTRACT:
        if (!value(p, &in->a) || !want(p, ","))
            return false;
        goto field;
    case IR_DEPOSIT:
        if (!value(p, &in->a) || !want(p, ",") || !value(p, &in->b) || !want(p, ","))
            return false;
    field:
        if (!number32(p, &pos) || !want(p, ",") || !number32(p, &len))
            return false;
        in->aux = FIELD_AUX(pos & 0xff, len & 0xff);
        return true;
    case IR_ATOMIC:
        if (!want(p, ".") || !word(p, name, sizeof name))
            return false;
        i = find(ir_atomic_names, G_N_ELEMENTS(ir_atomic_names), name);
        if (i < 0)
            return bad(p, "no such atomic operation");
        in->flags = ATOMIC_FLAGS(0, i);
        /* fall through */
    case IR_LOAD:
    case IR_STORE:
        return memop(p, &in->flags) && operands(p, in) && snapshot(p, &in->aux);
    default:
        return operands(p, in);
    }
}

/* Appends or folds; names the result. */
static bool finish(Parser *p, const IrInsn *in, uint64_t name)
{
    Ir *ir = p->ir;
    Val v;

    if (p->fold && in->op == IR_SECOND) {
        if (in->a != ir->builder->second_of)
            return bad(p, "not after its first");
        v = ir_second(ir, in->a);
    } else if (p->fold && in->type && !(ir_ops[in->op].effects & ~E_SECOND)) {
        v = ir_emit(ir, *in);
    } else {
        bool more = p->args.op;
        while (!p->fold && in->op != IR_PARAM && name > ir->n_insns + more)
            append(p, (IrInsn){ .op = IR_NOP });
        if (more)
            append(p, p->args);
        p->args.op = IR_NOP;
        append(p, *in);
        v = ir->n_insns - 1;
    }
    if (name)
        g_hash_table_insert(p->names, GUINT_TO_POINTER((guint)name), GUINT_TO_POINTER(v));
    return true;
}

static bool insn(Parser *p)
{
    IrInsn in = { 0 };
    IrType t = T_NONE;
    char op[16];
    uint64_t name = 0;

    if (accept(p, "%")) {
        if (!number(p, &name) || !want(p, "=") || !type(p, &t))
            return false;
        if (!name || name >= MAX_VALUES)
            return bad(p, "value numbers go from 1 to a million");
        if (g_hash_table_contains(p->names, GUINT_TO_POINTER((guint)name)))
            return bad(p, "value defined twice");
    }
    if (!word(p, op, sizeof op))
        return false;
    in.type = t;
    while (in.op < IR_N_OPS && g_ascii_strcasecmp(ir_ops[in.op].name, op))
        in.op++;
    if (in.op == IR_N_OPS)
        return bad(p, "no such operation");
    return rest(p, &in) && finish(p, &in, name);
}

static void end_block(Ir *ir)
{
    if (ir->n_blocks)
        ir->blocks[ir->n_blocks - 1].end = ir->n_insns;
}

static bool line(Parser *p)
{
    Ir *ir = p->ir;
    uint32_t n;

    if (at_end(p))
        return true;
    if (accept(p, "region "))
        return number32(p, &ir->guest_len);
    if (accept(p, "block ")) {
        if (!number32(p, &n))
            return false;
        if (n != ir->n_blocks)
            return bad(p, "blocks are numbered in order");
        end_block(ir);
        IR_PUSH(ir, blocks) = (IrBlock){ .first = ir->n_insns, .end = ir->n_insns, .first_commit = ir->n_commits };
        ir_forget_numbers(ir->builder);
        return true;
    }
    if (!ir->n_blocks)
        return bad(p, "no block yet");
    if (accept(p, "insn ")) {
        if (!number32(p, &n))
            return false;
        IR_PUSH(ir, guest) = (IrGuestInsn){ n, ir->n_insns };
        return true;
    }
    if (strstr(p->at, ":=")) {
        IrCommit c = { 0, VAL_NONE };
        if (!slot(p, &c.slot) || !want(p, ":=") || (!accept(p, "-") && !value(p, &c.v)))
            return false;
        IR_PUSH(ir, commits) = c;
        return true;
    }
    return insn(p);
}

bool ir_parse_folding(Ir *ir, const char *text, bool fold, const IrHelper *const *helpers, unsigned n_helpers,
                      GError **err)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    Parser p = { .ir = ir, .fold = fold, .helpers = helpers, .n_helpers = n_helpers, .err = err };
    bool ok = true;

    ir_reset(ir);
    ir->builder->open = true;
    p.names = g_hash_table_new(NULL, NULL);
    for (unsigned i = 0; ok && lines[i]; i++) {
        p.at = lines[i];
        p.line = i + 1;
        ok = line(&p);
        if (ok && !at_end(&p))
            ok = bad(&p, "something left over");
    }
    g_hash_table_destroy(p.names);
    end_block(ir);
    ir->builder->open = false;
    if (ok && !ir->n_blocks)
        ok = bad(&p, "no block");
    return ok;
}

bool ir_parse(Ir *ir, const char *text, const IrHelper *const *helpers, unsigned n_helpers, GError **err)
{
    return ir_parse_folding(ir, text, false, helpers, n_helpers, err);
}
