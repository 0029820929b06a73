/* SPDX-License-Identifier: GPL-2.0-or-later
 * Leaving a region: dirty slots are stored, the pc is set, then a patchable jump, an inline look-up or the
 * way back to the run loop.  Also block heads, stores to slots and helper calls. */
#include "tcg/x86_64/x64.h"

enum {
    HELPER_SCRATCH = offsetof(CpuState, scratch) - CPU_BIAS,
    FP_CONTROL = offsetof(CpuState, fp_control) - CPU_BIAS,
    FP_HOST = offsetof(CpuState, fp_host) - CPU_BIAS,
};

static void store_const(Gen *g, int32_t disp, const IrConst *k, unsigned bytes)
{
    for (unsigned at = 0; at < bytes; at += 8) {
        uint64_t v = at ? k->hi : k->lo;
        unsigned n = MIN(bytes - at, 8);
        if (n == 8 && (int64_t)v != (int32_t)v) {
            x64_mov_i(g, RTMP, v);
            x64_cpu(g, 0x89 | O_W, RTMP, disp + at);
        } else if (n == 1) {
            x64_cpu(g, 0xc6, 0, disp + at);
            x64_1(g, v & 0xff);
        } else if (n == 2) {
            x64_cpu(g, 0xc7 | O_66, 0, disp + at);
            x64_1(g, v & 0xff);
            x64_1(g, v >> 8 & 0xff);
        } else {
            x64_cpu(g, 0xc7 | wide(n == 8), 0, disp + at);
            x64_4(g, (uint32_t)v);
        }
    }
}

static void add_to(Gen *g, int32_t disp, bool w, int32_t imm)
{
    bool small = imm == (int8_t)imm;
    x64_cpu(g, (small ? 0x83 : 0x81) | wide(w), ALU_ADD, disp);
    if (small)
        x64_1(g, (unsigned)imm);
    else
        x64_4(g, (uint32_t)imm);
}

/* The upper half of a v256 to memory. */
static void store_high(Gen *g, int32_t to, uint32_t e)
{
    const Ent *x = &g->ent[e];
    if (x->reg == NO_REG) {
        g_assert(x->spill || g->overflow);
        host_load(g, VTMP, spill_disp(x->spill - 1) + 16, 16);
        host_store(g, to, VTMP, 16);
    } else {
        x64_vrm(g, 0x19 | O_0F3A | O_66 | O_L, x->reg & 15, 0, RBP, to);        /* vextractf128 */
        x64_1(g, 1);
    }
}

/* Entity, plus a constant, to slot memory through the scratch registers. */
static void store_ent(Gen *g, unsigned slot, SnapEnt s)
{
    int32_t to = slot_disp(g, slot), plus = s.plus;
    unsigned bytes = slot_bytes(g, slot);
    uint32_t e = s.ent;
    if (s.high) {
        store_high(g, to, e);
        return;
    }
    if (plus) {
        unsigned from = g->ent[e].reg;
        if (from == NO_REG && g->ent[e].home == slot + 1) { /* all others that read this memory have done so */
            add_to(g, to, bytes == 8, plus);
            return;
        }
        if (from == NO_REG)
            ra_copy_to(g, from = RTMP, e);
        x64_rm(g, 0x8d | O_W, RTMP, from, plus);
        host_store(g, to, RTMP, bytes);
        return;
    }
    if (ent_is_const(g, e)) {
        store_const(g, to, ent_const(g, e), bytes);
        return;
    }
    unsigned r = g->ent[e].reg;
    if (r == NO_REG) {
        r = ent_is_vec(g, e) ? VTMP : RTMP;
        ra_copy_to(g, r, e);
    }
    host_store(g, to, r, bytes);
}

static bool is_zero(const Gen *g, uint32_t e)
{
    return ent_is_const(g, e) && !ent_const(g, e)->lo && !ent_const(g, e)->hi;
}

/* A v256, or a v128 with zeros above, to its two slots at once.  A v128 in a register has zeros above: all that makes
 * one is encoded with VEX. */
static bool store_whole(Gen *g, unsigned slot)
{
    unsigned upper = g->ir->slots->slot[slot].upper;
    if (!g->be->avx || !upper || !slotset_has(&g->dirty, upper) ||
        g->home_ent[upper] == gen_ent(g, g->dirty_val[upper]))
        return false;
    SnapEnt low = snap_ent(g, g->dirty_val[slot]), high = snap_ent(g, g->dirty_val[upper]);
    if (low.high || ent_is_const(g, low.ent))
        return false;
    bool v256 = ent_type(g, low.ent) == V256T;
    if (v256 ? !high.high || high.ent != low.ent : !is_zero(g, high.ent) || g->ent[low.ent].reg == NO_REG)
        return false;
    unsigned r = g->ent[low.ent].reg;
    if (r == NO_REG)
        ra_copy_to(g, r = VTMP, low.ent);
    host_store(g, slot_disp(g, slot), r, 32);
    return true;
}

/* Memory to memory by way of the stack. */
static void push_home(Gen *g, unsigned home, uint32_t e, int32_t plus)
{
    if (slot_bytes(g, home) == 16) {
        x64_cpu(g, 0xff, 6, slot_disp(g, home));
        x64_cpu(g, 0xff, 6, slot_disp(g, home) + 8);
    } else {
        ra_copy_to(g, RTMP, e);         /* zero-extends */
        if (plus)
            x64_rm(g, 0x8d | O_W, RTMP, RTMP, plus);
        x64_prefixes(g, 0x50 | (RTMP & 7), 0, 0, RTMP);
    }
}
static void pop_slot(Gen *g, unsigned slot)
{
    unsigned bytes = slot_bytes(g, slot);
    if (bytes == 16) {
        x64_cpu(g, 0x8f, 0, slot_disp(g, slot) + 8);
        x64_cpu(g, 0x8f, 0, slot_disp(g, slot));
    } else {
        x64_prefixes(g, 0x58 | (RTMP & 7), 0, 0, RTMP);
        host_store(g, slot_disp(g, slot), RTMP, bytes);
    }
}

/* Stores the dirty slots; without_pc: the pc gets its value otherwise.  Slots that get what another slot's
 * memory holds are read first if that memory is about to change. */
static void store_dirty(Gen *g, bool without_pc)
{
    uint8_t list[MAX_SLOTS], crossed[MAX_SLOTS];
    unsigned n = 0, n_crossed = 0;
    SlotSet written = { { 0, 0 } };

    for (unsigned w = 0; w < 2; w++)
        for (uint64_t m = g->dirty.w[w]; m; m &= m - 1) {
            unsigned s = w * 64 + bits_ctz(m);
            if (g->home_ent[s] == gen_ent(g, g->dirty_val[s]) || (without_pc && s == g->ir->slots->pc))
                continue;
            list[n++] = s;
            written.w[w] |= BIT(s % 64);
        }
    for (unsigned k = 0; k < n; k++) {
        SnapEnt s = snap_ent(g, g->dirty_val[list[k]]);
        const Ent *x = &g->ent[s.ent];
        if (x->reg == NO_REG && x->home && x->home - 1 != list[k] && slotset_has(&written, x->home - 1)) {
            push_home(g, x->home - 1, s.ent, s.plus);
            crossed[n_crossed++] = list[k];
            list[k] = 0xff;
        }
    }
    bool zero = false;                  /* VTMP2 is: for what VZEROUPPER leaves */
    for (unsigned k = 0; k < n; k++)
        if (list[k] != 0xff && slotset_has(&written, list[k])) {
            bool clear = g->be->avx && slot_bytes(g, list[k]) == 16 && is_zero(g, gen_ent(g, g->dirty_val[list[k]]));
            if (clear && !zero) {
                x64_vrr(g, 0xef | O_0F | O_66, VTMP2 & 15, VTMP2 & 15, VTMP2 & 15);
                zero = true;
            }
            if (clear)
                host_store(g, slot_disp(g, list[k]), VTMP2, 16);
            else if (store_whole(g, list[k]))
                written.w[g->ir->slots->slot[list[k]].upper / 64] &= ~BIT(g->ir->slots->slot[list[k]].upper % 64);
            else
                store_ent(g, list[k], snap_ent(g, g->dirty_val[list[k]]));
        }
    while (n_crossed)
        pop_slot(g, crossed[--n_crossed]);
}

static bool pc_is_64(const Gen *g) { return slot_bytes(g, g->ir->slots->pc) == 8; }

void host_add_pc(Gen *g, int32_t delta)
{
    if (delta)
        add_to(g, slot_disp(g, g->ir->slots->pc), pc_is_64(g), delta);
}

/* pc slot := entry pc + off */
static void set_pc(Gen *g, int32_t off)
{
    g_assert(g->pc_mem_known);
    host_add_pc(g, off - g->pc_mem_off);
}

/* Jumps to (or calls) what the look-up cache has for the pc in r11. */
static void look_up(Gen *g, bool calls)
{
    _Static_assert(sizeof(JumpEntry) == 16, "the shift below scales by it");
    enum { AT = offsetof(TlbContext, jump) };
    if (g->be->features & HOST_BMI2) {
        x64_vrr(g, 0xf0 | O_0F3A | O_F2 | O_W, RTMP, 0, RTMP2);         /* rorx */
        x64_1(g, JUMP_BITS);
    } else {
        x64_mov(g, RTMP, RTMP2);
        x64_shift_i(g, true, SH_SHR, RTMP, JUMP_BITS);
    }
    x64_rr(g, 0x33, RTMP, RTMP2);
    x64_shift_i(g, false, SH_SHL, RTMP, 4);
    x64_rr(g, 0x81, ALU_AND, RTMP);
    x64_4(g, (JUMP_SIZE - 1) << 4);
    x64_cpu(g, 0x33 | O_W, RTMP2, cpu_disp(offsetof(CpuState, mode_tag)));
    x64_rx(g, 0x3b | O_W, RTMP2, RCTX, RTMP, 0, AT + offsetof(JumpEntry, tag));
    x64_to_thunk(g, 0x0f80 | CC_NE, g->be->thunk.lookup);
    x64_rx(g, 0xff, calls ? 2 : 4, RCTX, RTMP, 0, AT + offsetof(JumpEntry, code));
}

void x64_look_up(Gen *g) { look_up(g, false); }

static void nops(Gen *g, unsigned n)
{
    static const uint8_t bytes[4][3] = { { 0 }, { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 } };
    for (unsigned k = 0; k < n; k++)
        x64_1(g, bytes[n][k]);
}

/* What an unlinked jump goes to: asks to be linked.  backend_enter() then aims the jump at what follows,
 * the look-up, which stays for targets that may not be linked. */
static void link_stub(Gen *g)
{
    x64_to_thunk(g, 0xe8, g->be->thunk.link);
    x64_fix(g, FIX_LINK, g->n_links - 1);
    x64_to_thunk(g, 0xe9, g->be->thunk.look_up);
}

/* A jump (or call) that can be aimed at another block, or at this one. */
static void link_jump(Gen *g, bool calls, int32_t target_off, uint32_t loop_at)
{
    nops(g, (3 - ((uintptr_t)g->p & 3)) & 3);   /* so that the displacement is aligned: both buffers are */
    x64_1(g, calls ? 0xe8 : 0xe9);
    CodeLink *link = &GEN_PUSH(g, links);
    *link = (CodeLink){ .target_off = target_off, .loop_at = loop_at };
    link->patch_at = (uint32_t)(g->p - (g->in_cold ? g->cold : g->hot_start));
    link->owner = g->in_cold ? (struct CodeBlock *)g : NULL;           /* for now: patch_at is in cold code */
    if (g->in_cold) {
        x64_4(g, 0);                                    /* the stub is next */
        link->stub_at = cold_at(g);
        link_stub(g);
    } else {
        x64_fix(g, FIX_COLD, cold_at(g));
        cold_begin(g);
        link->stub_at = cold_at(g);
        link_stub(g);
        cold_end(g);
    }
}

/* --- a block that jumps to its own head.  What it reads of the guest's state is loaded once, ahead of the head, and kept
 * in registers along that jump.  Memory has all of it as well, as at any other way into a block: so whoever leaves at
 * the head needs nothing, and a slot for which there is no register, or that a value does not fit, is loaded. */

static bool is_loop(const IrExit *x) { return x->kind == EXIT_DIRECT && !x->target_off; }

void x64_loop_begin(Gen *g)
{
    static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };    /* room for backend_retire() */
    const Ir *ir = g->ir;
    bool loops = false;
    g->n_loop = g->loop_at = 0;
    for (uint32_t k = 0; k < ir->n_exits; k++)
        loops |= is_loop(&ir->exits[k]);
    if (!loops || ir->n_blocks > 1 || g->exact)
        return;
    unsigned left[2] = { MAX_LOOP_GPRS, MAX_LOOP_VECS };
    g->pos = ir->blocks[0].first;
    g->locked = 0;
    for (uint32_t i = g->pos; i < ir->blocks[0].end && ir->insns[i].op != IR_CALL; i++) {
        const IrInsn *in = &ir->insns[i];
        bool vec = type_is_vec(in->type);
        if (in->op != IR_SLOT_GET || g->how[i] & HOW_DEAD || g->home_ent[in->aux] || in->aux == ir->slots->pc ||
            slot_volatile(g, in->aux) || !left[vec])
            continue;
        if (!g->n_loop)
            for (unsigned k = 0; k < sizeof nop5; k++)
                x64_1(g, nop5[k]);
        left[vec]--;
        ra_home_overwrite(g, in->aux, i);
        g->loop[g->n_loop++] = (LoopReg){ i, (uint8_t)in->aux, (uint8_t)ra_use(g, i, vec ? VECS : GPRS) };
    }
    g->locked = 0;
    g->loop_at = g->n_loop ? hot_at(g) : 0;
}

/* What a slot has got to, if that can be moved: else it is loaded. */
static bool loop_value(const Gen *g, const LoopReg *l, Move *move, int32_t *plus)
{
    *plus = 0;
    if (!slotset_has(&g->dirty, l->slot)) {
        *move = (Move){ .to = l->reg, .ent = l->ent };
        return g->ent[l->ent].reg != NO_REG && g->home_ent[l->slot] == l->ent;
    }
    Val v = g->dirty_val[l->slot];
    SnapEnt s = snap_ent(g, v);
    bool vec = type_is_vec(val_type(g->ir, v));
    *move = (Move){ .to = l->reg, .ent = s.ent, .zext_of = vec || s.plus ? VAL_NONE : v };
    *plus = s.plus;
    if (ent_is_const(g, s.ent))
        return !vec;
    return g->ent[s.ent].reg != NO_REG && !s.high && (!vec || ent_type(g, s.ent) == V128T);
}

static void loop_moves(Gen *g)
{
    Move moves[MAX_LOOP_REGS];
    int32_t plus[MAX_LOOP_REGS];
    unsigned n = 0;
    uint32_t load = 0;
    for (unsigned k = 0; k < g->n_loop; k++) {
        if (loop_value(g, &g->loop[k], &moves[n], &plus[n]))
            n++;
        else
            load |= 1u << k;
    }
    if (n)
        ra_parallel(g, moves, n);
    for (unsigned k = 0; k < n; k++)
        if (plus[k])
            x64_rm(g, 0x8d | O_W, moves[k].to, moves[k].to, plus[k]);
    for (; load; load &= load - 1) {
        const LoopReg *l = &g->loop[__builtin_ctz(load)];
        host_load(g, l->reg, slot_disp(g, l->slot), slot_bytes(g, l->slot));
    }
}

static bool same_page(const Gen *g, int32_t off)
{
    int64_t at = (int64_t)g->ir->entry_page_off + off;
    return at >= 0 && at < PAGE_SIZE;
}

/* --- the return stack is the host's own.  A call pushes the pc that it is to return to, with the mode, and calls; a return
 * compares its pc with that and returns, to return_site().  The stack is empty whenever generated code is entered and
 * after an EXIT_MODE that comes behind a change of mappings (cpu->returns_stale): so what is on it is as good as a link of
 * a block that is still running. */

/* In cold code, if the flags say cc; stale: as was asked for by cpu->returns_stale. */
static void empty_returns(Gen *g, unsigned cc, bool stale)
{
    x64_jump_cold(g, cc);
    uint32_t back = hot_at(g);
    cold_begin(g);
    x64_cpu(g, 0x8b | O_W, RSP, cpu_disp(offsetof(CpuState, returns)));
    if (stale) {
        x64_cpu(g, 0xc7, 0, cpu_disp(offsetof(CpuState, returns_stale)));
        x64_4(g, 0);
    }
    x64_jump_back(g, back);
    cold_end(g);
}

/* Before anything is stored: the pc's memory is still known. */
static bool push_return(Gen *g, const IrExit *x)
{
    if (x->use != EXIT_CALL || !g->pc_mem_known || !pc_is_64(g))
        return false;
    x64_rr(g, 0xf7, 0, RSP);                    /* test: is it full? */
    x64_4(g, RETURNS_LEN - RETURN_FRAME);
    empty_returns(g, CC_E, false);
    x64_cpu(g, 0x8b | O_W, RTMP2, slot_disp(g, g->ir->slots->pc));
    x64_rm(g, 0x8d | O_W, RTMP2, RTMP2, x->return_off - g->pc_mem_off);
    x64_cpu(g, 0x33 | O_W, RTMP2, cpu_disp(offsetof(CpuState, mode_tag)));
    x64_prefixes(g, 0x50 | (RTMP2 & 7), 0, 0, RTMP2);
    return true;
}

/* Behind the host's call: the pc slot holds what was pushed. */
static void return_site(Gen *g, const IrExit *x)
{
    x64_rm(g, 0x8d | O_W, RSP, RSP, 8);
    if (same_page(g, x->return_off))
        link_jump(g, false, x->return_off, 0);
    else
        x64_to_thunk(g, 0xe9, g->be->thunk.look_up);
}

/* To the pc in r11.  Another one than the stack says (longjmp, a retpoline, a switch of threads): one call is forgotten, by
 * a host's return, so that the host's prediction keeps step; then it is looked up. */
static void pop_return(Gen *g)
{
    enum { STORE_AND_RET = 5 };
    x64_mov(g, RTMP, RTMP2);
    x64_cpu(g, 0x33 | O_W, RTMP, cpu_disp(offsetof(CpuState, mode_tag)));
    x64_rm(g, 0x39 | O_W, RTMP, RSP, 8);        /* cmp */
    x64_jump_cold(g, CC_NE);
    x64_1(g, 0xc3);
    cold_begin(g);
    x64_cpu(g, 0x3b | O_W, RSP, cpu_disp(offsetof(CpuState, returns)));
    x64_1(g, 0x70 | CC_E);                      /* nothing to forget */
    uint8_t *skip = g->p;
    x64_1(g, 0);
    x64_prefixes(g, 0x8d | O_W, RTMP, 0, 0);    /* lea r10, [rip + 5]: behind the RET */
    x64_1(g, (RTMP & 7) << 3 | 5);
    x64_4(g, STORE_AND_RET);
    x64_rm(g, 0x89 | O_W, RTMP, RSP, 0);
    x64_1(g, 0xc3);
    x64_rm(g, 0x8d | O_W, RSP, RSP, 8);
    *skip = (uint8_t)(g->p - skip - 1);
    look_up(g, false);
    cold_end(g);
}

/* After helpers that may have changed mappings. */
static void forget_returns(Gen *g)
{
    x64_cpu(g, 0x83, ALU_CMP, cpu_disp(offsetof(CpuState, returns_stale)));
    x64_1(g, 0);
    empty_returns(g, CC_NE, true);
}

static void direct(Gen *g, const IrExit *x)
{
    bool calls = push_return(g, x);
    store_dirty(g, true);
    if (!same_page(g, x->target_off)) {    /* another page, whose mapping may change: never linked */
        bool w = pc_is_64(g);
        int32_t delta = x->target_off - g->pc_mem_off, at = slot_disp(g, g->ir->slots->pc);
        g_assert(g->pc_mem_known);
        x64_cpu(g, 0x8b | wide(w), RTMP2, at);
        if (delta) {
            x64_alu_ri(g, w, ALU_ADD, RTMP2, delta);
            x64_cpu(g, 0x89 | wide(w), RTMP2, at);
        }
        look_up(g, calls);
        if (calls)
            return_site(g, x);
        return;
    }
    set_pc(g, x->target_off);
    if (is_loop(x))
        loop_moves(g);
    link_jump(g, calls, x->target_off, is_loop(x) ? g->loop_at : 0);
    if (calls)
        return_site(g, x);
}

static void raise_exception(Gen *g, const IrExit *x)
{
    uint32_t head[3] = { x->aux, x->aux2, ir_not_run(g->ir, x) }, at = g->n_recs;
    for (unsigned k = 0; k < sizeof head; k++)
        GEN_PUSH(g, recs) = head[k / 4] >> 8 * (k % 4) & 0xff;
    snap_record(g, x->snap);
    x64_to_thunk(g, 0xe8, g->be->thunk.raise);
    x64_fix(g, FIX_REC, at);
}

/* counted: what the head has subtracted, if this is its exit. */
static void leave(Gen *g, const IrExit *x, uint32_t counted)
{
    int32_t pc_at = slot_disp(g, g->ir->slots->pc);
    uint32_t not_run = x->kind == EXIT_RAISE ? 0 : ir_not_run(g->ir, x);
    if (not_run && g->be->options.exact_count)
        add_to(g, cpu_disp(offsetof(CpuState, countdown)), false, (int32_t)not_run);
    switch (x->kind) {
    case EXIT_DIRECT:
        direct(g, x);
        break;
    case EXIT_INDIRECT: case EXIT_MODE: {
        bool calls = push_return(g, x);
        store_dirty(g, false);
        if (x->kind == EXIT_MODE) {
            x64_cpu(g, 0x8b | O_W, RCTX, cpu_disp(offsetof(CpuState, ctx)));
            forget_returns(g);
        }
        unsigned pc = g->ir->slots->pc, r = NO_REG;
        if (slotset_has(&g->dirty, pc))
            r = g->ent[gen_ent(g, g->dirty_val[pc])].reg;
        if (r != NO_REG && pc_is_64(g))
            x64_mov(g, RTMP2, r);
        else
            x64_cpu(g, 0x8b | wide(pc_is_64(g)), RTMP2, pc_at);
        if (x->use == EXIT_RETURN && pc_is_64(g)) {
            pop_return(g);
        } else {
            look_up(g, calls);
            if (calls)
                return_site(g, x);
        }
        break;
    }
    case EXIT_RUN:
        store_dirty(g, true);
        set_pc(g, (int32_t)g->ir->snaps[x->snap].pc_off);
        x64_mov_i(g, RAX, x->aux);
        x64_mov_i(g, RDX, x->aux == EXITR_KICK ? counted : 0);
        x64_to_thunk(g, 0xe9, g->be->thunk.exit);
        break;
    default:
        raise_exception(g, x);
        break;
    }
}

void x64_exit(Gen *g, uint32_t i)
{
    const IrExit *x = &g->ir->exits[g->ir->insns[i].aux];
    snap_advance(g, x->snap);
    leave(g, x, 0);
}

static void leave_if(Gen *g, unsigned cc, const IrExit *x, uint32_t counted)
{
    snap_advance(g, x->snap);
    x64_1(g, 0x0f);
    if (g->loop_at && is_loop(x)) {     /* likely, so it stays where it is */
        x64_1(g, 0x80 | (cc ^ 1));
        uint8_t *skip = g->p;
        x64_4(g, 0);
        leave(g, x, counted);
        uint32_t rel = (uint32_t)(g->p - skip - 4);
        memcpy(skip, &rel, 4);
        return;
    }
    x64_1(g, 0x80 | cc);
    x64_fix(g, FIX_COLD, cold_at(g));
    cold_begin(g);
    leave(g, x, counted);
    cold_end(g);
}

void x64_exit_if(Gen *g, uint32_t i)
{
    unsigned cc = x64_test(g, i);
    leave_if(g, cc, &g->ir->exits[g->ir->insns[i].aux], 0);
}

void x64_head(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    bool small = in->flags < 128;
    x64_cpu(g, small ? 0x83 : 0x81, ALU_SUB, cpu_disp(offsetof(CpuState, countdown)));
    if (small)
        x64_1(g, in->flags);
    else
        x64_4(g, in->flags);
    g->flags_a = VAL_NONE;
    leave_if(g, CC_S, &g->ir->exits[in->aux], in->flags);
}

/* --- between the blocks of a region */

static void go_to(Gen *g, const IrEdge *edge)
{
    edge_moves(g, edge);
    if (edge->to == g->block + 1 && !g->in_cold)
        return;                         /* it is next */
    x64_1(g, 0xe9);
    x64_fix(g, FIX_BLOCK, edge->to);
}

void x64_jump(Gen *g, uint32_t i) { go_to(g, &g->ir->edges[g->ir->insns[i].aux]); }

void x64_branch(Gen *g, uint32_t i)
{
    const IrEdge *taken = &g->ir->edges[g->ir->insns[i].aux], *other = taken + 1;
    unsigned cc = x64_test(g, i);
    if (taken->to == g->block + 1) {    /* falls through instead */
        const IrEdge *e = taken;
        taken = other;
        other = e;
        cc ^= 1;
    }
    x64_jump_cold(g, cc);
    uint32_t jcc = g->n_fixups - 1;
    cold_begin(g);
    const uint8_t *start = g->p;
    uint32_t mine = g->n_fixups;
    edge_moves(g, taken);
    if (g->p == start && g->n_fixups == mine) {                        /* nothing to do on the way */
        g->fixups[jcc].kind = FIX_BLOCK;
        g->fixups[jcc].target = taken->to;
    } else {
        x64_1(g, 0xe9);
        x64_fix(g, FIX_BLOCK, taken->to);
    }
    cold_end(g);
    go_to(g, other);
}

/* --- slots */

/* Follows what the pc slot's memory holds. */
static void track_pc(Gen *g, Val v)
{
    const Ir *ir = g->ir;
    g->pc_mem_known = false;
    if (val_is_const(v) || !g->entry_pc)
        return;
    const IrInsn *in = &ir->insns[v];
    if (gen_ent(g, v) == g->entry_pc) {
        g->pc_mem_off = 0;
        g->pc_mem_known = true;
    } else if ((in->op == IR_ADD || in->op == IR_SUB) && val_is_const(in->b) && !val_is_const(in->a) &&
               gen_ent(g, in->a) == g->entry_pc) {
        int64_t k = (int64_t)const_lo(ir, in->b);
        g->pc_mem_off = (int32_t)(in->op == IR_ADD ? k : -k);
        g->pc_mem_known = true;
    }
}

void x64_slot_put(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    uint32_t e = gen_ent(g, in->a);
    unsigned slot = in->aux;

    if (slot == g->ir->slots->pc)
        track_pc(g, in->a);
    g->kept.w[slot / 64] |= BIT(slot % 64);
    if (g->home_ent[slot] == e)
        return;
    ra_home_overwrite(g, slot, 0);
    if (!ent_is_const(g, e))
        ra_use(g, e, ent_is_vec(g, e) ? VECS : GPRS);
    store_ent(g, slot, (SnapEnt){ .ent = e });
    ra_home_overwrite(g, slot, e);
}

/* --- calls */

static const uint8_t arg_reg[] = { RDI, RSI, RDX, RCX, R8, R9 };

/* What lives on in registers that the call destroys goes to one that survives, or to memory. */
static void save_live(Gen *g, uint32_t i, bool faults)
{
    for (uint32_t m = g->regs->all & ~g->free & ~g->regs->saved; m; m &= m - 1) {
        unsigned r = (unsigned)__builtin_ctz(m);
        uint32_t e = g->reg_ent[r];
        if (!e || ent_is_const(g, e) || g->ent[e].last < i)
            continue;
        if (g->ent[e].last == i && !(faults && ent_is_dirty(g, e)))
            continue;
        uint32_t safe = g->free & g->regs->saved;
        if (!reg_is_vec(r) && safe && g->ent[e].next != NEVER && !g->ent[e].home && !g->ent[e].spill) {
            unsigned to = (unsigned)__builtin_ctz(safe);
            host_move(g, to, r);
            ra_drop_reg(g, r);
            ra_set(g, e, to);
        } else {
            ra_save(g, e);
        }
    }
}

static void call_host(Gen *g, const void *fn)
{
    x64_mov_i(g, RAX, (uint64_t)(uintptr_t)fn);
    x64_rr(g, 0xff, 2, RAX);
}

static void call(Gen *g, const IrHelper *h)
{
    if (h->flags & HF_FP) {
        x64_cpu(g, 0xae | O_0F, 3, FP_CONTROL);
        x64_cpu(g, 0xae | O_0F, 2, FP_HOST);
    }
    if (g->be->avx)                     /* a block before, or fp_shield(), may have left upper halves as well */
        x64_zero_upper(g);
    x64_rm(g, 0x8d | O_W, RDI, RBP, -CPU_BIAS);
    if (g->be->options.counter) {
        x64_mov_i(g, RAX, (uint64_t)(uintptr_t)g->be->options.counter(g->be->options.counter_self, h));
        x64_1(g, 0xf0);
        x64_rm(g, 0xff | O_W, 0, RAX, 0);                               /* lock inc */
    }
    if (g->be->options.check) {
        x64_mov_i(g, RAX, (uint64_t)(uintptr_t)h);
        x64_cpu(g, 0x89 | O_W, RAX, HELPER_SCRATCH);
        call_host(g, (const void *)g->be->ops.replay);
    } else {
        call_host(g, h->fn);
    }
    if (h->flags & HF_FP)
        x64_cpu(g, 0xae | O_0F, 2, FP_CONTROL);
}

/* The call is in cold code.  (Not with check=on, which wants every call.) */
static void guarded_call(Gen *g, const IrHelper *h)
{
    const IrGuard *gu = h->guard;
    bool small = gu->mask <= 0xff;
    x64_cpu(g, small ? 0xf6 : 0xf7, 0, cpu_disp(gu->word));         /* test */
    if (small)
        x64_1(g, gu->mask);
    else
        x64_4(g, gu->mask);
    x64_jump_cold(g, gu->set ? CC_E : CC_NE);
    if (h->ret)
        host_load(g, RAX, cpu_disp(gu->value), 1);
    uint32_t back = hot_at(g);
    cold_begin(g);
    if (gu->zero_mask) {
        x64_cpu(g, 0x8b, RAX, cpu_disp(gu->word));
        x64_alu_ri(g, false, ALU_AND, RAX, (int32_t)gu->zero_mask);
        x64_alu_ri(g, false, ALU_SUB, RAX, (int32_t)gu->zero_is);
        x64_1(g, 0x0f);
        x64_1(g, 0x80 | CC_E);
        x64_fix(g, FIX_HOT, back);
    }
    call(g, h);
    x64_jump_back(g, back);
    cold_end(g);
}

void x64_call(Gen *g, uint32_t i)
{
    const Ir *ir = g->ir;
    const IrInsn *in = &ir->insns[i];
    const IrHelper *h = ir->helpers[in->aux];
    bool faults = h->flags & HF_FAULTS, check = g->be->options.check;
    Val args[5] = { in->a, in->b, in->c };
    Move moves[5];
    unsigned n = 0;

    if (ir->insns[i - 1].op == IR_ARGS) {
        args[3] = ir->insns[i - 1].a;
        args[4] = ir->insns[i - 1].b;
    }
    ra_base_drop_all(g);
    if (faults) {
        snap_advance(g, in->flags);
        g->snap_now = true;
    }
    for (unsigned w = 0; w < 2; w++)
        for (uint64_t m = h->writes.w[w]; m; m &= m - 1) {
            unsigned s = w * 64 + bits_ctz(m);
            if (s < ir->n_slots) {
                g->locked = 0;
                ra_home_overwrite(g, s, 0);
                g->kept.w[w] |= BIT(s % 64);
            }
        }
    g->locked = 0;
    save_live(g, i, faults);
    for (unsigned k = 0; k < 5 && args[k]; k++)
        moves[n++] = (Move){ .to = arg_reg[k + 1], .ent = gen_ent(g, args[k]), .zext_of = args[k] };
    ra_parallel(g, moves, n);

    if (h->guard && !check)
        guarded_call(g, h);
    else
        call(g, h);

    for (uint32_t m = g->regs->all & ~g->free & ~g->regs->saved; m; m &= m - 1)
        ra_drop_reg(g, (unsigned)__builtin_ctz(m));
    g->free |= g->regs->all & ~g->regs->saved;
    if (faults) {
        x64_rr(g, 0x85, RAX, RAX);
        x64_jump_cold(g, CC_NE);
        uint32_t rec = snap_record(g, in->flags);
        cold_begin(g);
        x64_to_thunk(g, 0xe8, g->be->thunk.fault);
        GEN_PUSH(g, sites) = (Site){ cold_at(g), rec };
        cold_end(g);
    }
    if (slotset_has(&h->writes, ir->slots->pc))
        g->pc_mem_known = false;
    if (in->type != T_NONE && h->ret != T_NONE && !faults)
        ra_set(g, i, RAX);
    g->flags_a = VAL_NONE;
}
