/* SPDX-License-Identifier: GPL-2.0-or-later
 * The IR interpreter: one region from its entry to an exit, every operation as ir.def says it, every access through
 * the slow paths.  It is the reference that compiled code is compared with, and the back end where there is no other;
 * so it is plain rather than fast: a value per insn, no state between calls. */
#include <string.h>
#include "tcg/backend.h"
#include "tcg/eval.h"
#include "tcg/hostop.h"

struct Interp {
    const SlowOps *ops;
    V256          *vals;        /* by insn; integers in v[0].u64[0], zero-extended */
    V256          *args;        /* of an edge, while they move */
    uint32_t       cap, cap_args;
};

typedef struct Run {
    Interp   *in;
    CpuState *cpu;
    const Ir *ir;
    V256     *vals;
    uint32_t  block;
    CpuExit   out;
} Run;

/* What an insn does to the flow. */
typedef enum Step { STEP_ON, STEP_BLOCK /* run.block has changed */, STEP_OUT } Step;

Interp *interp_new(const SlowOps *ops)
{
    Interp *in = g_new0(Interp, 1);
    in->ops = ops;
    return in;
}

void interp_free(Interp *in)
{
    if (!in)
        return;
    g_free(in->vals);
    g_free(in->args);
    g_free(in);
}

static const V256 v256_zero;

static V256 value(const Run *r, Val v)
{
    if (!val_is_const(v))
        return r->vals[v];      /* VAL_NONE: insn 0, zero */
    const IrConst *c = &r->ir->consts[v & ~VAL_CONST];
    return (V256){ { { .u64 = { c->lo, c->hi } }, { .u64 = { 0, 0 } } } };
}

static uint64_t integer(const Run *r, Val v) { return val_is_const(v) ? r->ir->consts[v & ~VAL_CONST].lo : r->vals[v].v[0].u64[0]; }

/* --- slots and snapshots -------------------------------------------------------------------------------------- */

static void *slot_at(const Run *r, uint32_t slot)
{
    return (uint8_t *)r->cpu + r->ir->slots->slot[slot].offset;
}

static void slot_write(const Run *r, uint32_t slot, Val v)
{
    if (r->ir->slots->slot[slot].type == I64) {
        uint64_t g = integer(r, v);
        memcpy(slot_at(r, slot), &g, sizeof g);
        return;
    }
    V256 x = value(r, v);
    memcpy(slot_at(r, slot), &x, type_size(r->ir->slots->slot[slot].type));
}

static void add_pc(const Run *r, uint32_t pc_off)
{
    uint64_t *pc = slot_at(r, r->ir->slots->pc);
    *pc += (uint64_t)(int32_t)pc_off;
}

/* Stores what is dirty at a snapshot. */
static void write_back(const Run *r, uint32_t snap)
{
    const IrSnap *s = &r->ir->snaps[snap];
    uint64_t seen[MAX_SLOTS / 64] = { 0 };

    for (uint32_t i = s->n_commits; i-- > r->ir->blocks[s->block].first_commit; ) {
        IrCommit c = r->ir->commits[i];
        if (seen[c.slot / 64] >> c.slot % 64 & 1)
            continue;
        seen[c.slot / 64] |= UINT64_C(1) << c.slot % 64;
        if (c.v)
            slot_write(r, c.slot, c.v);
    }
}

/* A slow path or helper has failed: state of the snapshot. */
static Step fault(Run *r, uint32_t snap)
{
    write_back(r, snap);
    add_pc(r, r->ir->snaps[snap].pc_off);
    r->out = (CpuExit){ EXITR_FAULT, r->ir->snaps[snap].insn_index };
    return STEP_OUT;
}

static Step leave(Run *r, uint32_t exit)
{
    const IrExit *e = &r->ir->exits[exit];

    write_back(r, e->snap);
    r->cpu->countdown += ir_not_run(r->ir, e);
    switch ((IrExitKind)e->kind) {
    case EXIT_DIRECT:
        add_pc(r, (uint32_t)e->target_off);
        r->out = (CpuExit){ EXITR_LINK, 0 };
        break;
    case EXIT_INDIRECT:
    case EXIT_MODE:
        r->out = (CpuExit){ EXITR_LOOKUP, 0 };
        break;
    case EXIT_RUN:
        add_pc(r, r->ir->snaps[e->snap].pc_off);
        r->out = (CpuExit){ e->aux, 0 };
        break;
    case EXIT_RAISE:
        add_pc(r, r->ir->snaps[e->snap].pc_off);
        r->out = (CpuExit){ EXITR_RAISE, e->aux | (uint64_t)e->aux2 << 32 };
        break;
    }
    return STEP_OUT;
}

/* --- memory --------------------------------------------------------------------------------------------------- */

static Step run_load(Run *r, uint32_t at)
{
    const IrInsn *in = &r->ir->insns[at];
    CpuState *cpu = r->cpu;
    unsigned bytes = mo_bytes(in->flags);
    V256 v = v256_zero;

    if (r->in->ops->load(cpu, integer(r, in->a), in->flags))
        return fault(r, in->aux);
    memcpy(&v, cpu->scratch, MIN(bytes, sizeof v));
    r->vals[at] = v;
    return STEP_ON;
}

static Step run_store(Run *r, const IrInsn *in)
{
    V256 v = value(r, in->b);
    memcpy(r->cpu->scratch, &v, sizeof v);
    return r->in->ops->store(r->cpu, integer(r, in->a), in->flags) ? fault(r, in->aux) : STEP_ON;
}

static Step run_atomic(Run *r, uint32_t at)
{
    const IrInsn *in = &r->ir->insns[at];
    r->cpu->scratch[0] = integer(r, in->b);
    r->cpu->scratch[1] = integer(r, in->c);
    if (r->in->ops->atomic(r->cpu, integer(r, in->a), in->flags))
        return fault(r, in->aux);
    r->vals[at].v[0].u64[0] = r->cpu->helper_ret & eval_mask(in->type);
    return STEP_ON;
}

/* --- calls, host rows, edges ---------------------------------------------------------------------------------- */

typedef uint64_t HelperFn(CpuState *cpu, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

static Step run_call(Run *r, uint32_t at)
{
    const IrInsn *in = &r->ir->insns[at];
    const IrHelper *h = r->ir->helpers[in->aux];
    const IrInsn *more = h->nargs > 3 ? &in[-1] : &r->ir->insns[0];
    uint64_t a = integer(r, in->a), b = integer(r, in->b), c = integer(r, in->c);
    uint64_t d = integer(r, more->a), e = integer(r, more->b), v;

    if (r->in->ops->replay) {
        r->cpu->scratch[0] = (uintptr_t)h;
        v = r->in->ops->replay(r->cpu, a, b, c, d, e);
    } else {
        HelperFn *fn = (HelperFn *)(uintptr_t)h->fn;    /* it ignores the registers it has no use for */
        v = fn(r->cpu, a, b, c, d, e);
    }
    if (h->flags & HF_FAULTS)
        return (int)v ? fault(r, in->flags) : STEP_ON;
    if (in->type != T_NONE)
        r->vals[at].v[0].u64[0] = v & eval_mask(in->type);
    return STEP_ON;
}

static HostArg host_arg(const V128 *v, bool vector)
{
    return vector ? (HostArg){ .v = v } : (HostArg){ .g = v->u64[0] };
}

static void run_host(Run *r, uint32_t at)
{
    const IrInsn *in = &r->ir->insns[at];
    const HostRow *row = &host_rows[HOST_ROW(in->aux)];
    V256 a = value(r, in->a), b = value(r, in->b), c = value(r, in->c), d = v256_zero;
    uint64_t g;
    bool a_general = row->kind == HK_VG || row->kind == HK_GGG;
    bool b_general = row->kind == HK_VVG || row->kind == HK_GGG;
    bool to_general = row->kind == HK_GV || row->kind == HK_FVV || row->kind == HK_GGG;
    IrType general = to_general ? in->type : val_type(r->ir, a_general ? in->a : in->b);

    if (host_is_wide(r->ir, in))
        g = host_run_wide(row, &d, &a, &b, &c, HOST_IMM(in->aux), &r->cpu->fp_control);
    else
        g = row->fn(&d.v[0], host_arg(&a.v[0], !a_general), host_arg(&b.v[0], !b_general), host_arg(&c.v[0], true),
                    HOST_IMM(in->aux), &r->cpu->fp_control, general == I64 ? 8 : 4);
    if (to_general)
        d.v[0].u64[0] = g & eval_mask(in->type);
    r->vals[at] = d;
}

/* Arguments move at once: they may be parameters of the same block. */
static Step follow(Run *r, uint32_t edge)
{
    const IrEdge *e = &r->ir->edges[edge];
    const IrBlock *to = &r->ir->blocks[e->to];

    if (e->n_args > r->in->cap_args) {
        r->in->cap_args = e->n_args;
        r->in->args = g_renew(V256, r->in->args, e->n_args);
    }
    for (uint32_t i = 0; i < e->n_args; i++)
        r->in->args[i] = value(r, r->ir->edge_args[e->first_arg + i]);
    memcpy(&r->vals[to->first], r->in->args, e->n_args * sizeof *r->vals);
    r->block = e->to;
    return STEP_BLOCK;
}

/* --- one insn ------------------------------------------------------------------------------------------------- */

static void run_pure(Run *r, uint32_t at)
{
    const IrInsn *in = &r->ir->insns[at];
    uint64_t out = 0, second = 0;

    /* A division that the table does not define (the translator has excluded it) gives 0. */
    ir_eval(in->op, in->type, in->aux, in->a ? val_type(r->ir, in->a) : T_NONE, integer(r, in->a),
            integer(r, in->b), integer(r, in->c), &out, &second);
    r->vals[at].v[0].u64[0] = out;
    if (ir_ops[in->op].effects & E_SECOND)
        r->vals[at + 1].v[0].u64[0] = second;
}

static Step run_insn(Run *r, uint32_t at)
{
    const IrInsn *in = &r->ir->insns[at];

    switch (in->op) {
    case IR_NOP: case IR_PARAM: case IR_SECOND: case IR_ARGS:
        return STEP_ON;         /* set by whom they belong to */
    case IR_SLOT_GET:
        r->vals[at] = v256_zero;
        memcpy(&r->vals[at], slot_at(r, in->aux), type_size(in->type));
        return STEP_ON;
    case IR_SLOT_PUT:
        slot_write(r, in->aux, in->a);
        return STEP_ON;
    case IR_HOST:
        run_host(r, at);
        return STEP_ON;
    case IR_CONCAT:
        r->vals[at] = (V256){ { value(r, in->a).v[0], value(r, in->b).v[0] } };
        return STEP_ON;
    case IR_LOW: case IR_HIGH:
        r->vals[at] = (V256){ { value(r, in->a).v[in->op == IR_HIGH], v256_zero.v[0] } };
        return STEP_ON;
    case IR_LOAD:
        return run_load(r, at);
    case IR_STORE:
        return run_store(r, in);
    case IR_ATOMIC:
        return run_atomic(r, at);
    case IR_FENCE:
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return STEP_ON;
    case IR_CALL:
        return run_call(r, at);
    case IR_EXIT_IF:
        return integer(r, in->a) ? leave(r, in->aux) : STEP_ON;
    case IR_EXIT:
        return leave(r, in->aux);
    case IR_JUMP:
        return follow(r, in->aux);
    case IR_BRANCH:
        return follow(r, integer(r, in->a) ? in->aux : in->aux + 1);
    case IR_HEAD:
        r->cpu->countdown -= (int32_t)in->flags;
        if (r->cpu->countdown >= 0)
            return STEP_ON;
        leave(r, in->aux);
        r->out.arg = in->flags;
        return STEP_OUT;
    default:
        run_pure(r, at);
        return STEP_ON;
    }
}

CpuExit interp_run(Interp *in, CpuState *cpu, const Ir *ir)
{
    if (ir->n_insns > in->cap) {
        in->cap = ir->cap_insns;
        in->vals = g_renew(V256, in->vals, in->cap);
    }
    in->vals[0] = v256_zero;

    Run r = { .in = in, .cpu = cpu, .ir = ir, .vals = in->vals };
    for (;;) {
        const IrBlock *b = &ir->blocks[r.block];
        Step step = STEP_ON;
        for (uint32_t at = b->first; at < b->end && step == STEP_ON; at++)
            step = run_insn(&r, at);
        if (step == STEP_OUT)
            return r.out;
        g_assert(step == STEP_BLOCK);           /* blocks end by leaving or going on */
    }
}
