/* SPDX-License-Identifier: GPL-2.0-or-later
 * The builder.  It sits on the path of every first execution, so nothing here allocates per insn or clears a table:
 * hashes are direct-mapped and stamped, slot state is three bit sets over arrays.
 *
 * A slot is in one of these states within a block:
 *     unknown               memory is right, nobody has asked yet
 *     known, clean          memory is right and cur holds the same
 *     known, dirty          cur is right, memory is old; the commit log has (slot, cur)
 *     ... and pending       the instruction being built has put pend; snapshots do not see it yet
 */
#include <stdarg.h>
#include <string.h>
#include "tcg/build_int.h"
#include "tcg/eval.h"
#include "tcg/hostop.h"

/* --- appending ---------------------------------------------------------------------------------------------- */

Val ir_append(Ir *ir, IrInsn in)
{
    g_assert(ir->builder->open);
    IR_PUSH(ir, insns) = in;
    return ir->n_insns - 1;
}

static uint32_t hash3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t h = a * 0x9e3779b1u ^ b * 0x85ebca6bu ^ c * 0xc2b2ae35u;
    return h ^ h >> 15;
}

/* The insn of the same meaning that is already there, or *slot to enter it in. */
static Val vn_find(Ir *ir, const IrInsn *in, IrStamped **slot)
{
    struct IrBuilder *b = ir->builder;
    uint32_t h = hash3(in->a, in->b + in->aux * 0x2545f491u, in->op | in->type << 8 | in->c << 16);
    IrStamped *e = &b->vn[h % VN_SIZE];

    *slot = e;
    if (e->stamp != b->vn_stamp)
        return VAL_NONE;
    const IrInsn *o = &ir->insns[e->v];
    return o->op == in->op && o->type == in->type && o->flags == in->flags && o->a == in->a && o->b == in->b &&
           o->c == in->c && o->aux == in->aux ? e->v : VAL_NONE;
}

Val ir_emit(Ir *ir, IrInsn in)
{
    struct IrBuilder *b = ir->builder;
    bool two = ir_ops[in.op].effects & E_SECOND;
    IrStamped *slot = NULL;
    Val v;

    if (b->folding) {
        v = ir_fold(ir, &in, &b->second);
        if (v) {
            b->second_of = v;
            return v;
        }
        v = vn_find(ir, &in, &slot);
        if (v) {
            b->second_of = v;
            b->second = v + 1;
            return v;
        }
    }
    v = ir_append(ir, in);
    if (slot)
        *slot = (IrStamped){ b->vn_stamp, v };
    if (two) {
        bool carry = in.op == IR_ADDC || in.op == IR_SUBB;
        b->second_of = v;
        b->second = ir_append(ir, (IrInsn){ .op = IR_SECOND, .type = carry ? PRED : in.type, .a = v });
    }
    return v;
}

static uint32_t snapshot(Ir *ir, uint32_t pc_off, uint32_t insn_index)
{
    IrSnap s = { ir->n_commits, ir->n_blocks - 1, pc_off, insn_index };
    if (ir->n_snaps) {
        const IrSnap *o = &ir->snaps[ir->n_snaps - 1];
        if (o->n_commits == s.n_commits && o->block == s.block && o->pc_off == s.pc_off &&
            o->insn_index == s.insn_index)
            return ir->n_snaps - 1;
    }
    IR_PUSH(ir, snaps) = s;
    return ir->n_snaps - 1;
}

/* For exits that do pc := entry + pc_off. */
static uint32_t snapshot_pc(Ir *ir, uint32_t pc_off, uint32_t insn_index)
{
    struct IrBuilder *b = ir->builder;
    g_assert(!b->pc_lost && !slotset_has(&b->dirty, ir->slots->pc));    /* entry pc is still in memory */
    return snapshot(ir, pc_off, insn_index);
}

/* The state at the start of the instruction being built. */
static uint32_t snapshot_start(Ir *ir)
{
    struct IrBuilder *b = ir->builder;
    g_assert(b->in_insn && !b->sealed);         /* after a helper took pending slots nothing may fault */
    return snapshot_pc(ir, ir->guest[ir->n_guest - 1].pc_off, b->done);
}

/* --- blocks and guest instructions ---------------------------------------------------------------------------- */

static void forget_slots(struct IrBuilder *b)
{
    b->known = b->dirty = b->pending = b->drops = (SlotSet){ { 0 } };
}

void ir_block(Ir *ir)
{
    struct IrBuilder *b = ir->builder;

    g_assert(!b->open && !b->in_insn);
    IR_PUSH(ir, blocks) = (IrBlock){ .first = ir->n_insns, .end = ir->n_insns, .first_commit = ir->n_commits };
    b->open = true;
    b->sealed = b->pc_lost = false;
    b->entry_pc = b->second_of = VAL_NONE;
    b->head = 0;
    ir_forget_numbers(b);
    forget_slots(b);
    if (ir->n_blocks > 1)
        return;                 /* heads are for entries and back edges */

    uint32_t snap = snapshot(ir, 0, 0);
    IR_PUSH(ir, exits) = (IrExit){ .kind = EXIT_RUN, .snap = snap, .aux = EXITR_KICK };
    b->head = ir_append(ir, (IrInsn){ .op = IR_HEAD, .aux = ir->n_exits - 1 });
}

static void end_block(Ir *ir)
{
    struct IrBuilder *b = ir->builder;
    ir->blocks[ir->n_blocks - 1].end = ir->n_insns;
    b->open = false;
    b->pending = (SlotSet){ { 0 } };
}

void ir_insn_start(Ir *ir, uint32_t pc_off)
{
    struct IrBuilder *b = ir->builder;
    g_assert(b->open && !b->in_insn);
    b->in_insn = true;
    b->sealed = false;
    b->mark.insns = ir->n_insns;
    b->mark.snaps = ir->n_snaps;
    b->mark.commits = ir->n_commits;
    b->mark.exits = ir->n_exits;
    b->mark.helpers = ir->n_helpers;
    b->mark.pc_lost = b->pc_lost;
    IR_PUSH(ir, guest) = (IrGuestInsn){ pc_off, ir->n_insns };
}

void ir_insn_start_extra(Ir *ir, uint32_t pc_off)
{
    ir_insn_start(ir, pc_off);
    ir->n_extra++;
    ir->builder->extra = true;
}

void ir_insn_end(Ir *ir)
{
    struct IrBuilder *b = ir->builder;

    g_assert(b->in_insn);
    b->in_insn = b->sealed = false;
    b->done += !b->extra;
    b->extra = false;
    if (!b->open)               /* it has ended the block by raising */
        return;
    SlotSet left = b->pending;
    while (!slotset_empty(left)) {
        unsigned slot = slotset_take(&left);
        if (ir->slots->slot[slot].scratch)
            continue;
        if (b->folding && slotset_has(&b->known, slot) && b->cur[slot] == b->pend[slot])
            continue;           /* what memory or the log already says */
        IR_PUSH(ir, commits) = (IrCommit){ slot, b->pend[slot] };
        b->cur[slot] = b->pend[slot];
        slotset_add(&b->known, slot);
        slotset_add(&b->dirty, slot);
    }
    for (left = slotset_and(b->drops, b->dirty); !slotset_empty(left); ) {
        unsigned slot = slotset_take(&left);
        IR_PUSH(ir, commits) = (IrCommit){ slot, VAL_NONE };
        slotset_del(&b->known, slot);
        slotset_del(&b->dirty, slot);
    }
    b->pending = b->drops = (SlotSet){ { 0 } };
}

void ir_insn_abandon(Ir *ir)
{
    struct IrBuilder *b = ir->builder;

    g_assert(b->in_insn && b->open);
    b->in_insn = b->sealed = false;
    b->pending = b->drops = (SlotSet){ { 0 } };
    ir->n_guest--;
    if (ir->n_insns == b->mark.insns && ir->n_commits == b->mark.commits)
        return;                 /* the usual case: given up while decoding */

    ir->n_insns = b->mark.insns;
    ir->n_snaps = b->mark.snaps;
    ir->n_commits = b->mark.commits;
    ir->n_exits = b->mark.exits;
    ir->n_helpers = b->mark.helpers;
    b->pc_lost = b->mark.pc_lost;
    ir_forget_numbers(b);
    if (b->entry_pc >= b->mark.insns)
        b->entry_pc = VAL_NONE;
    /* The log says what was dirty; clean copies are merely read again. */
    forget_slots(b);
    for (uint32_t i = ir->blocks[ir->n_blocks - 1].first_commit; i < ir->n_commits; i++) {
        IrCommit c = ir->commits[i];
        if (c.v) {
            b->cur[c.slot] = c.v;
            slotset_add(&b->known, c.slot);
            slotset_add(&b->dirty, c.slot);
        } else {
            slotset_del(&b->known, c.slot);
            slotset_del(&b->dirty, c.slot);
        }
    }
}

void ir_finish(Ir *ir, uint32_t guest_len)
{
    struct IrBuilder *b = ir->builder;
    g_assert(!b->open && ir->n_blocks);
    ir->insns[ir->blocks[0].first].flags = ir->n_guest - ir->n_extra;
    ir->guest_len = guest_len;
}

unsigned ir_guest_count(const Ir *ir) { return ir->n_guest; }

void ir_set_folding(Ir *ir, bool on) { ir->builder->folding = on; }

/* --- constants ------------------------------------------------------------------------------------------------ */

static Val constant(Ir *ir, IrType t, uint64_t lo, uint64_t hi)
{
    struct IrBuilder *b = ir->builder;
    uint32_t h = hash3((uint32_t)lo, (uint32_t)(lo >> 32) + (uint32_t)hi, t + (uint32_t)(hi >> 32));
    IrStamped *e = NULL;

    for (unsigned i = 0; i < CONST_PROBES; i++) {
        e = &b->consts[(h + i) % CONST_HASH];
        if (e->stamp != b->const_stamp)
            break;
        const IrConst *c = &ir->consts[e->v & ~VAL_CONST];
        if (c->lo == lo && c->hi == hi && c->type == t)
            return e->v;
    }
    IR_PUSH(ir, consts) = (IrConst){ lo, hi, t };
    *e = (IrStamped){ b->const_stamp, VAL_CONST | (ir->n_consts - 1) };
    return e->v;
}

Val ir_imm(Ir *ir, IrType t, uint64_t v)
{
    g_assert(t == PRED || (t >= I8 && t <= I64));
    return constant(ir, t, v & eval_mask(t), 0);
}

Val ir_imm128(Ir *ir, uint64_t lo, uint64_t hi) { return constant(ir, V128T, lo, hi); }

bool ir_is_imm(const Ir *ir, Val v, uint64_t *out)
{
    if (!val_is_const(v))
        return false;
    *out = const_lo(ir, v);
    return true;
}

/* --- slots ---------------------------------------------------------------------------------------------------- */

Val ir_get(Ir *ir, unsigned slot)
{
    struct IrBuilder *b = ir->builder;

    g_assert(slot < ir->n_slots && ir->slots->slot[slot].type != T_NONE);
    if (slotset_has(&b->pending, slot))
        return b->pend[slot];
    if (slotset_has(&b->known, slot) && (b->folding || slotset_has(&b->dirty, slot)))
        return b->cur[slot];
    Val v = ir_append(ir, (IrInsn){ .op = IR_SLOT_GET, .type = ir->slots->slot[slot].type, .aux = slot });
    b->cur[slot] = v;
    slotset_add(&b->known, slot);
    return v;
}

void ir_put(Ir *ir, unsigned slot, Val v)
{
    struct IrBuilder *b = ir->builder;

    g_assert(slot < ir->n_slots && b->in_insn && val_type(ir, v) == ir->slots->slot[slot].type);
    if (!b->open)
        return;
    b->pend[slot] = v;
    slotset_add(&b->pending, slot);
    slotset_del(&b->drops, slot);
}

void ir_drop(Ir *ir, unsigned slot)
{
    struct IrBuilder *b = ir->builder;

    g_assert(slot < ir->n_slots && b->in_insn);
    slotset_del(&b->pending, slot);
    slotset_add(&b->drops, slot);
}

Val ir_pc(Ir *ir, int64_t off)
{
    struct IrBuilder *b = ir->builder;
    if (!b->entry_pc) {
        g_assert(!b->pc_lost);
        b->entry_pc = ir_append(ir, (IrInsn){ .op = IR_SLOT_GET, .type = I64, .aux = ir->slots->pc });
    }
    return ir_addi(ir, b->entry_pc, off);
}

static void store_slot(Ir *ir, unsigned slot, Val v)
{
    ir_append(ir, (IrInsn){ .op = IR_SLOT_PUT, .a = v, .aux = slot });
    if (slot == ir->slots->pc)
        ir->builder->pc_lost = true;
}

/* --- pure operations ------------------------------------------------------------------------------------------ */

Val ir_op1(Ir *ir, IrOp op, Val a)
{
    g_assert(type_is_int(val_type(ir, a)));
    return ir_emit(ir, (IrInsn){ .op = op, .type = val_type(ir, a), .a = a });
}

Val ir_op2(Ir *ir, IrOp op, Val a, Val b)
{
    IrType t = val_type(ir, a);
    g_assert(type_is_int(t) && val_type(ir, b) == (ir_ops[op].sig[3] == 's' ? I8 : t));
    return ir_emit(ir, (IrInsn){ .op = op, .type = t, .a = a, .b = b });
}

Val ir_op3(Ir *ir, IrOp op, Val a, Val b, Val c)
{
    IrType t = val_type(ir, op == IR_SELECT ? b : a);
    return ir_emit(ir, (IrInsn){ .op = op, .type = t, .a = a, .b = b, .c = c });
}

Val ir_second(Ir *ir, Val first)
{
    struct IrBuilder *b = ir->builder;
    g_assert(first && first == b->second_of);
    return b->second;
}

Val ir_addi(Ir *ir, Val a, int64_t imm)
{
    if (!imm && ir->builder->folding)
        return a;
    Val k = ir_imm(ir, val_type(ir, a), (uint64_t)imm);
    return ir_op2(ir, IR_ADD, a, k);
}

Val ir_op2i(Ir *ir, IrOp op, Val a, uint64_t imm)
{
    Val k = ir_imm(ir, ir_ops[op].sig[3] == 's' ? I8 : val_type(ir, a), imm);
    return ir_op2(ir, op, a, k);
}

Val ir_ext(Ir *ir, IrOp op, IrType to, Val a)
{
    IrType from = val_type(ir, a);
    if (from == to)
        return a;
    g_assert(op == IR_TRUNC ? type_size(to) < type_size(from) : from == PRED || type_size(to) > type_size(from));
    return ir_emit(ir, (IrInsn){ .op = op, .type = to, .a = a });
}

Val ir_resize(Ir *ir, IrType to, Val a, bool sign)
{
    bool narrower = type_size(to) < type_size(val_type(ir, a));
    return ir_ext(ir, narrower ? IR_TRUNC : sign ? IR_SEXT : IR_ZEXT, to, a);
}

Val ir_extract(Ir *ir, Val a, unsigned pos, unsigned len)
{
    IrType t = val_type(ir, a);
    g_assert(len && pos + len <= type_bits(t));
    return ir_emit(ir, (IrInsn){ .op = IR_EXTRACT, .type = t, .a = a, .aux = FIELD_AUX(pos, len) });
}

Val ir_deposit(Ir *ir, Val a, Val b, unsigned pos, unsigned len)
{
    IrType t = val_type(ir, a);
    g_assert(len && pos + len <= type_bits(t) && val_type(ir, b) == t);
    return ir_emit(ir, (IrInsn){ .op = IR_DEPOSIT, .type = t, .a = a, .b = b, .aux = FIELD_AUX(pos, len) });
}

Val ir_cmp(Ir *ir, IrCond c, Val a, Val b)
{
    g_assert(type_is_int(val_type(ir, a)) && val_type(ir, a) == val_type(ir, b));
    return ir_emit(ir, (IrInsn){ .op = IR_CMP, .type = PRED, .a = a, .b = b, .aux = c });
}

Val ir_cmpi(Ir *ir, IrCond c, Val a, uint64_t imm)
{
    Val k = ir_imm(ir, val_type(ir, a), imm);
    return ir_cmp(ir, c, a, k);
}

Val ir_select(Ir *ir, Val p, Val x, Val y) { return ir_op3(ir, IR_SELECT, p, x, y); }

Val ir_concat(Ir *ir, Val low, Val high)
{
    g_assert(val_type(ir, low) == V128T && val_type(ir, high) == V128T);
    return ir_emit(ir, (IrInsn){ .op = IR_CONCAT, .type = V256T, .a = low, .b = high });
}

static Val half(Ir *ir, IrOp op, Val v)
{
    g_assert(val_type(ir, v) == V256T);
    return ir_emit(ir, (IrInsn){ .op = op, .type = V128T, .a = v });
}

Val ir_low(Ir *ir, Val v) { return half(ir, IR_LOW, v); }
Val ir_high(Ir *ir, Val v) { return half(ir, IR_HIGH, v); }

Val ir_host(Ir *ir, IrType t, unsigned row, Val a, Val b, Val c, unsigned imm)
{
    uint32_t fp = host_rows[row].flags & HOF_FP ? HOSTF_FP : 0;
    return ir_emit(ir, (IrInsn){ .op = IR_HOST, .type = t, .flags = fp, .a = a, .b = b, .c = c,
                                   .aux = HOST_AUX(row, imm) });
}

/* --- memory --------------------------------------------------------------------------------------------------- */

Val ir_load(Ir *ir, IrType t, unsigned memop, Val addr)
{
    uint32_t snap = snapshot_start(ir);
    return ir_append(ir, (IrInsn){ .op = IR_LOAD, .type = t, .flags = memop, .a = addr, .aux = snap });
}

void ir_store(Ir *ir, unsigned memop, Val addr, Val v)
{
    uint32_t snap = snapshot_start(ir);
    if (ir->builder->folding)
        v = ir_fold_stored(ir, v, mo_bytes(memop));
    ir_append(ir, (IrInsn){ .op = IR_STORE, .flags = memop, .a = addr, .b = v, .aux = snap });
}

Val ir_atomic(Ir *ir, AtomicOp op, unsigned memop, Val addr, Val b, Val c)
{
    uint32_t snap = snapshot_start(ir);
    return ir_append(ir, (IrInsn){ .op = IR_ATOMIC, .type = val_type(ir, b), .flags = ATOMIC_FLAGS(memop, op),
                                   .a = addr, .b = b, .c = op == AT_CAS ? c : VAL_NONE, .aux = snap });
}

void ir_fence(Ir *ir) { ir_append(ir, (IrInsn){ .op = IR_FENCE }); }

/* --- calls ---------------------------------------------------------------------------------------------------- */

/* Stores what the helper must find in memory.  Slots that it may write are stored as well: it may leave them. */
static void store_before_call(Ir *ir, const IrHelper *h)
{
    struct IrBuilder *b = ir->builder;
    SlotSet touched = slotset_or(h->reads, h->writes);
    SlotSet pending = slotset_and(b->pending, touched);
    SlotSet dirty = slotset_without(slotset_and(b->dirty, touched), pending);

    while (!slotset_empty(dirty)) {
        unsigned slot = slotset_take(&dirty);
        store_slot(ir, slot, b->cur[slot]);
        slotset_del(&b->dirty, slot);
        IR_PUSH(ir, commits) = (IrCommit){ slot, VAL_NONE };
    }
    while (!slotset_empty(pending)) {
        unsigned slot = slotset_take(&pending);
        if (!ir->slots->slot[slot].scratch) {
            g_assert(!(h->flags & HF_FAULTS));          /* its failure could not be undone */
            b->sealed = true;
            if (slotset_has(&b->dirty, slot))
                IR_PUSH(ir, commits) = (IrCommit){ slot, VAL_NONE };
            slotset_del(&b->dirty, slot);
        }
        store_slot(ir, slot, b->pend[slot]);
        slotset_del(&b->pending, slot);
        b->cur[slot] = b->pend[slot];
        slotset_add(&b->known, slot);
    }
}

static uint32_t helper_index(Ir *ir, const IrHelper *h)
{
    for (uint32_t i = 0; i < ir->n_helpers; i++) {
        if (ir->helpers[i] == h)
            return i;
    }
    IR_PUSH(ir, helpers) = h;
    return ir->n_helpers - 1;
}

Val ir_callv(Ir *ir, const IrHelper *h, unsigned n, const Val *args)
{
    struct IrBuilder *b = ir->builder;
    IrInsn call = { .op = IR_CALL, .aux = helper_index(ir, h) };

    g_assert(n == h->nargs && n <= 5);
    store_before_call(ir, h);
    if (h->flags & HF_FAULTS)
        call.flags = snapshot_start(ir);
    else
        call.type = h->ret;
    if (n > 3)
        ir_append(ir, (IrInsn){ .op = IR_ARGS, .a = args[3], .b = n > 4 ? args[4] : VAL_NONE });
    call.a = n > 0 ? args[0] : VAL_NONE;
    call.b = n > 1 ? args[1] : VAL_NONE;
    call.c = n > 2 ? args[2] : VAL_NONE;
    Val v = ir_append(ir, call);

    b->known = slotset_without(b->known, h->writes);
    if (slotset_has(&h->writes, ir->slots->pc))
        b->pc_lost = true;
    if (h->flags & HF_FP)
        ir_forget_numbers(b);          /* FP rows before and after it may see another MXCSR */
    return call.type == T_NONE ? VAL_NONE : v;
}

Val ir_call(Ir *ir, const IrHelper *h, ...)
{
    Val args[5];
    va_list ap;

    g_assert(h->nargs <= 5);
    va_start(ap, h);
    for (unsigned i = 0; i < h->nargs; i++)
        args[i] = va_arg(ap, Val);
    va_end(ap);
    return ir_callv(ir, h, h->nargs, args);
}

/* --- exits ---------------------------------------------------------------------------------------------------- */

static bool never(const Ir *ir, Val p)
{
    uint64_t k;
    return ir->builder->folding && ir_is_imm(ir, p, &k) && !k;
}

/* p: VAL_NONE for an unconditional exit. */
static void emit_exit(Ir *ir, Val p, IrExit e)
{
    IR_PUSH(ir, exits) = e;
    ir_append(ir, (IrInsn){ .op = p ? IR_EXIT_IF : IR_EXIT, .a = p, .aux = ir->n_exits - 1 });
    if (!p)
        end_block(ir);
}

static IrExit exit_direct(Ir *ir, int32_t target_off)
{
    uint32_t snap = snapshot_pc(ir, (uint32_t)target_off, ir->builder->done);
    return (IrExit){ .kind = EXIT_DIRECT, .snap = snap, .target_off = target_off };
}

void ir_exit_direct(Ir *ir, int32_t target_off)
{
    g_assert(!ir->builder->in_insn);
    emit_exit(ir, VAL_NONE, exit_direct(ir, target_off));
}

void ir_exit_direct_if(Ir *ir, Val p, int32_t target_off)
{
    g_assert(!ir->builder->in_insn);
    if (never(ir, p))
        return;
    emit_exit(ir, p, exit_direct(ir, target_off));
}

static void exit_to_pc_slot(Ir *ir, IrExitKind kind)
{
    struct IrBuilder *b = ir->builder;
    g_assert(!b->in_insn && (b->pc_lost || slotset_has(&b->dirty, ir->slots->pc)));
    emit_exit(ir, VAL_NONE, (IrExit){ .kind = kind, .snap = snapshot(ir, 0, b->done) });
}

void ir_exit_indirect(Ir *ir) { exit_to_pc_slot(ir, EXIT_INDIRECT); }

void ir_exit_is_call(Ir *ir, int32_t return_off)
{
    IrExit *x = &ir->exits[ir->n_exits - 1];
    if (x->kind != EXIT_DIRECT && x->kind != EXIT_INDIRECT)
        return;
    x->use = EXIT_CALL;
    x->return_off = return_off;
}

void ir_exit_is_return(Ir *ir)
{
    IrExit *x = &ir->exits[ir->n_exits - 1];
    if (x->kind == EXIT_INDIRECT)
        x->use = EXIT_RETURN;
}

void ir_exit_mode(Ir *ir) { exit_to_pc_slot(ir, EXIT_MODE); }

void ir_exit_run(Ir *ir, unsigned reason, int32_t pc_off)
{
    g_assert(!ir->builder->in_insn);
    uint32_t snap = snapshot_pc(ir, (uint32_t)pc_off, ir->builder->done);
    emit_exit(ir, VAL_NONE, (IrExit){ .kind = EXIT_RUN, .snap = snap, .aux = reason });
}

void ir_raise(Ir *ir, unsigned vector, uint32_t error)
{
    uint32_t snap = snapshot_start(ir);
    emit_exit(ir, VAL_NONE, (IrExit){ .kind = EXIT_RAISE, .snap = snap, .aux = vector, .aux2 = error });
}

void ir_raise_if(Ir *ir, Val p, unsigned vector, uint32_t error)
{
    if (never(ir, p))
        return;
    uint32_t snap = snapshot_start(ir);
    emit_exit(ir, p, (IrExit){ .kind = EXIT_RAISE, .snap = snap, .aux = vector, .aux2 = error });
}
