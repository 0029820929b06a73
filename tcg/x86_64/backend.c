/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86-64 back end: compiles a region in one forward pass over its insns.
 *
 * Registers: rsp host stack, rbp the CPU state (biased), r15 the current TlbContext, r10 r11 xmm14 xmm15
 * scratch; the rest is allocated.  Layout of a region in code memory: code, cold stubs, constants,
 * snapshot records, table of faulting sites, links. */
#include "tcg/x86_64/x64.h"

enum { MARGIN = 3072 };         /* more than one insn can take in either buffer, but for moves along edges */

/* --- what the allocator asks for */

void host_move(Gen *g, unsigned to, unsigned from)
{
    if (!reg_is_vec(to))
        x64_mov(g, to, from);
    else if (g->be->avx)
        x64_vrr(g, 0x28 | O_0F | (g->wide ? O_L : 0), to & 15, 0, from & 15);
    else
        x64_rr(g, 0x28 | O_0F, to & 15, from & 15);
}

static void vec_home(Gen *g, uint32_t op, unsigned reg, int32_t disp)
{
    if (g->be->avx)
        x64_vrm(g, op, reg & 15, 0, RBP, disp);
    else
        x64_cpu(g, op, reg & 15, disp);
}

void host_load(Gen *g, unsigned to, int32_t disp, unsigned bytes)
{
    if (reg_is_vec(to)) {
        uint32_t op = bytes == 32 ? 0x10 | O_0F | O_L : bytes == 16 ? 0x10 | O_0F : bytes == 8 ? 0x7e | O_0F | O_F3 : 0x6e | O_0F | O_66;
        vec_home(g, op, to, disp);
        return;
    }
    uint32_t op = bytes == 1 ? 0xb6 | O_0F : bytes == 2 ? 0xb7 | O_0F : bytes == 4 ? 0x8b : 0x8b | O_W;
    x64_cpu(g, op, to, disp);
}

void host_store(Gen *g, int32_t disp, unsigned from, unsigned bytes)
{
    if (reg_is_vec(from)) {
        uint32_t op = bytes == 32 ? 0x11 | O_0F | O_L : bytes == 16 ? 0x11 | O_0F : bytes == 8 ? 0xd6 | O_0F | O_66 : 0x7e | O_0F | O_66;
        vec_home(g, op, from, disp);
        return;
    }
    uint32_t op = bytes == 1 ? 0x88 | O_BREG : bytes == 2 ? 0x89 | O_66 : bytes == 4 ? 0x89 : 0x89 | O_W;
    x64_cpu(g, op, from, disp);
}

static void vec_const(Gen *g, unsigned to, const IrConst *k)
{
    unsigned r = to & 15;
    if (!k->lo && !k->hi) {
        if (g->be->avx)
            x64_vrr(g, 0xef | O_0F | O_66, r, r, r);
        else
            x64_rr(g, 0xef | O_0F | O_66, r, r);
        return;
    }
    uint32_t at = g->n_pool * 8;
    GEN_PUSH(g, pool) = k->lo;
    GEN_PUSH(g, pool) = k->hi;
    if (g->be->avx)
        x64_vex(g, 0x10 | O_0F, r, 0, 0, 0);
    else
        x64_prefixes(g, 0x10 | O_0F, r, 0, 0);
    x64_1(g, (r & 7) << 3 | 5);         /* [rip + disp32] */
    x64_fix(g, FIX_POOL, at);
}

void host_const(Gen *g, unsigned to, const IrConst *k)
{
    if (reg_is_vec(to)) {
        vec_const(g, to, k);
    } else if (!k->lo && !g->flags_live && !g->flags_a) {
        x64_rr(g, 0x31, to, to);
    } else {
        x64_mov_i(g, to, k->lo);
    }
}

void host_zext(Gen *g, unsigned to, unsigned from, unsigned bytes)
{
    if (bytes == 1)
        x64_rr(g, 0xb6 | O_0F | O_BRM, to, from);
    else if (bytes == 2)
        x64_rr(g, 0xb7 | O_0F, to, from);
    else if (bytes == 4)
        x64_mov32(g, to, from);
    else if (to != from)
        x64_mov(g, to, from);
}

void x64_to_thunk(Gen *g, unsigned opcode, uint32_t thunk)
{
    if (opcode > 0xff)
        x64_1(g, opcode >> 8);
    x64_1(g, opcode);
    x64_fix(g, FIX_MEM, thunk);
}

/* --- one insn */

static void slot_get(Gen *g, uint32_t i)
{
    unsigned slot = g->ir->insns[i].aux;
    if (slot_volatile(g, slot)) {
        unsigned r = ra_def(g, i, ent_is_vec(g, i) ? VECS : GPRS);
        host_load(g, r, slot_disp(g, slot), slot_bytes(g, slot));
        return;
    }
    ra_home_overwrite(g, slot, i);
    if (slot == g->ir->slots->pc && !g->entry_pc && g->pc_mem_known && !g->pc_mem_off)
        g->entry_pc = i;
}

static void emit_insn(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];

    g->flags_live = false;
    if (g->carry && !x64_keeps_flags(g, i))
        x64_carry_to_reg(g);
    g->flags_live = g->carry;
    switch (in->op) {
    case IR_SLOT_GET:                           /* loaded when used */
        slot_get(g, i);
        return;
    case IR_SLOT_PUT:
        x64_slot_put(g, i);
        return;
    case IR_EXIT_IF:
        x64_exit_if(g, i);
        return;
    case IR_SELECT:
        x64_select(g, i);
        return;
    case IR_CMP:
        x64_cmp(g, i);
        return;
    case IR_PARAM: case IR_SECOND: case IR_ARGS:
        return;
    default:
        break;
    }
    g->flags_a = VAL_NONE;
    switch (in->op) {
    case IR_LOAD:   x64_load(g, i); break;
    case IR_STORE:  x64_store(g, i); break;
    case IR_ATOMIC: x64_atomic(g, i); break;
    case IR_FENCE:  x64_fence(g); break;
    case IR_CALL:   x64_call(g, i); break;
    case IR_EXIT:   x64_exit(g, i); break;
    case IR_HEAD:   x64_head(g, i); break;
    case IR_HOST:   x64_host(g, i); break;
    case IR_CONCAT: x64_concat(g, i); break;
    case IR_HIGH:   x64_high(g, i); break;
    case IR_JUMP:   x64_jump(g, i); break;
    case IR_BRANCH: x64_branch(g, i); break;
    case IR_ADDC: case IR_SUBB:
        x64_carry(g, i);
        break;
    case IR_UMULW: case IR_SMULW: case IR_UDIVW: case IR_UDIV: case IR_SDIV:
        x64_mul_div(g, i);
        break;
    default:
        if (g->how[i] & HOW_SCALE)
            x64_scaled_add(g, i);
        else if ((in->op == IR_EXTRACT || in->op == IR_ZEXT || in->op == IR_SEXT) && x64_extend_memory(g, i))
            break;
        else if (!select_emit(g, g->be->rows, i))
            g_error("x86-64: no row for %s of type %u", ir_ops[in->op].name, in->type);
        break;
    }
}

/* What moves along an edge may take: each value from one place in memory to another, by way of a third. */
static uint32_t edge_bytes(const Gen *g, uint32_t edge)
{
    enum { MOVE = 40 };
    const IrEdge *e = &g->ir->edges[edge];
    return MOVE * (e->n_args + g->blocks[e->to].n_live);
}

static bool room(Gen *g, const IrInsn *in)
{
    uint32_t need = MARGIN;
    if (in->op == IR_JUMP || in->op == IR_BRANCH)
        need += edge_bytes(g, in->aux);
    if (in->op == IR_BRANCH)
        need += edge_bytes(g, in->aux + 1);
    if (g->p + need > g->hot_limit || g->overflow)
        return false;
    uint32_t used = (uint32_t)(g->cold_end - g->cold);
    if (used + need > g->cold_cap) {
        g->cold_cap = 2 * g->cold_cap + need;
        g->cold = g_realloc(g->cold, g->cold_cap);
        g->cold_end = g->cold + used;
    }
    return true;
}

static bool emit_block(Gen *g, uint32_t block)
{
    const IrBlock *b = &g->ir->blocks[block];
    for (uint32_t i = b->first; i < b->end; i++) {
        if (g->ir->insns[i].op == IR_NOP || g->how[i] & (HOW_DEAD | HOW_SUM) || g->rep[i] != i)
            continue;
        if (!room(g, &g->ir->insns[i]))
            return false;
        ra_start_insn(g, i);
        emit_insn(g, i);
        ra_end_insn(g, i);
    }
    return true;
}

/* --- putting it together */

typedef struct SnapTable { uint32_t n; Site site[]; } SnapTable;

static uint32_t up(uint32_t v, uint32_t to) { return (v + to - 1) & ~(to - 1); }

static bool finish(Gen *g, size_t room_left, CodeBlock *out)
{
    Backend *be = g->be;
    uint8_t *rw = g->hot_start;
    const uint8_t *rx = be->mem.rx + (rw - be->mem.rw);
    uint32_t hot = hot_at(g), cold_len = (uint32_t)(g->cold_end - g->cold);
    uint32_t cold = up(hot, 16), pool = up(cold + cold_len, 16), recs = pool + g->n_pool * 8;
    uint32_t table = up(recs + g->n_recs, 8), links = up(table + 4 + g->n_sites * sizeof(Site), 8);
    uint32_t total = links + g->n_links * sizeof(CodeLink);

    if (total > room_left || g->overflow)
        return false;
    memset(rw + hot, 0xcc, cold - hot);
    memcpy(rw + cold, g->cold, cold_len);
    memset(rw + cold + cold_len, 0xcc, pool - cold - cold_len);
    if (g->n_pool)
        memcpy(rw + pool, g->pool, g->n_pool * 8);
    if (g->n_recs)
        memcpy(rw + recs, g->recs, g->n_recs);

    for (uint32_t k = 0; k < g->n_fixups; k++) {
        const Fixup *f = &g->fixups[k];
        uint32_t at = f->at + (f->kind & FIX_AT_COLD ? cold : 0), target = f->target;
        switch (f->kind & ~FIX_AT_COLD) {
        case FIX_HOT:  break;
        case FIX_COLD: target += cold; break;
        case FIX_MEM:  target -= (uint32_t)(rw - be->mem.rw); break;
        case FIX_REC:  target += recs; break;
        case FIX_LINK: target = links + target * sizeof(CodeLink); break;
        case FIX_POOL: target += pool; break;
        default:       target = g->blocks[target].code_at; break;
        }
        uint32_t rel = target - at;
        memcpy(rw + at - 4, &rel, 4);
    }

    SnapTable *st = (SnapTable *)(rw + table);
    st->n = g->n_sites;
    for (uint32_t k = 0; k < g->n_sites; k++)
        st->site[k] = (Site){ g->sites[k].at + cold, g->sites[k].rec + recs };
    CodeLink *cl = (CodeLink *)(rw + links);
    for (uint32_t k = 0; k < g->n_links; k++) {
        cl[k] = g->links[k];
        cl[k].patch_at += cl[k].owner ? cold : 0;
        cl[k].stub_at += cold;
        cl[k].owner = out;
    }
    *out = (CodeBlock){ .code = rx, .code_len = cold + cold_len, .total_len = total,
                        .n_links = g->n_links, .links = cl, .snap_data = rx + table, .snap_len = 4 + g->n_sites * (uint32_t)sizeof(Site) };
    return true;
}

static void gen_begin(Gen *g, uint8_t *start, uint8_t *limit)
{
    g->p = g->hot_start = start;
    g->hot_limit = limit;
    g->cold_end = g->cold;
    g->in_cold = g->overflow = false;
    g->carry = 0;
    g->n_fixups = g->n_recs = g->n_sites = g->n_links = g->n_pool = 0;
}

bool backend_compile(Backend *be, const Ir *ir, size_t at, size_t room, CodeBlock *out)
{
    Gen *g = &be->gen;
    size_t start = (at + 15) & ~(size_t)15, pad = start - at;

    if (room < pad + 2 * MARGIN)
        return false;
    g->ir = ir;
    be->slots = ir->slots;
    gen_begin(g, be->mem.rw + start, be->mem.rw + at + room);
    gen_analyse(g);
    if (g->wide && !be->avx)
        return false;
    ra_start(g);
    g->blocks[0].known = true;
    for (uint32_t k = 0; k < ir->n_blocks; k++) {
        g->block = k;
        if (k && !edge_enter(g, k))
            continue;
        g->blocks[k].code_at = hot_at(g);
        if (!k)
            x64_loop_begin(g);
        if (!emit_block(g, k))
            return false;
    }
    if (!finish(g, room - pad, out))
        return false;
    out->total_len += (uint32_t)pad;
    return true;
}

/* --- running */

static void aim(Backend *be, const CodeLink *link, const uint8_t *target)
{
    const uint8_t *site = link->owner->code + link->patch_at;
    int32_t rel = (int32_t)(target - (site + 4));
    __atomic_store_n((int32_t *)(be->mem.rw + (site - be->mem.rx)), rel, __ATOMIC_RELEASE);
}

void backend_link(Backend *be, CodeLink *link, const CodeBlock *to)
{
    aim(be, link, to == link->owner ? to->code + link->loop_at : to ? to->code : link->owner->code + link->stub_at);
}

void backend_retire(Backend *be, const CodeBlock *cb)
{
    /* A block starts with its head's SUB, or a loop's NOP, which is as long as the jump at least and ends before the 8
     * aligned bytes do. */
    uint8_t *entry = be->mem.rw + (cb->code - be->mem.rx), bytes[8];
    int32_t rel = (int32_t)(be->mem.rx + be->thunk.lookup - (cb->code + 5));
    g_assert((uintptr_t)entry % 8 == 0);
    memcpy(bytes, entry, 8);
    bytes[0] = 0xe9;
    memcpy(bytes + 1, &rel, 4);
    uint64_t word;
    memcpy(&word, bytes, 8);
    __atomic_store_n((uint64_t *)entry, word, __ATOMIC_RELEASE);
}

CpuExit backend_enter(Backend *be, CpuState *cpu, const void *code)
{
    typedef CpuExit EnterFn(CpuState *cpu, const void *code);
    EnterFn *enter = (EnterFn *)(uintptr_t)(be->mem.rx + be->thunk.enter);
    CpuExit x = enter(cpu, code);
    if (x.reason == EXITR_LINK || x.reason == EXITR_RAISE) {    /* both are followed by a displacement */
        const uint8_t *p = (const uint8_t *)(uintptr_t)x.arg;
        int32_t rel;
        memcpy(&rel, p, 4);
        p += 4 + rel;
        if (x.reason == EXITR_LINK) {
            CodeLink *link = (CodeLink *)(be->mem.rw + (p - be->mem.rx));
            enum { CALL_AND_DISPLACEMENT = 9 };
            aim(be, link, link->owner->code + link->stub_at + CALL_AND_DISPLACEMENT);
            x.arg = (uintptr_t)link;
        } else {
            uint32_t head[3];           /* see raise_exception() */
            memcpy(head, p, sizeof head);
            x.arg = head[0] | (uint64_t)head[1] << 32;
            cpu->countdown += (int32_t)head[2];
            snap_restore(p + sizeof head, be->slots, cpu);
        }
    }
    return x;
}

static const uint8_t *find_record(const CodeBlock *cb, uint64_t at)
{
    const SnapTable *t = (const SnapTable *)cb->snap_data;
    uint32_t off = (uint32_t)(at - (uintptr_t)cb->code), lo = 0, hi = t->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (t->site[mid].at < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    g_assert(lo < t->n && t->site[lo].at == off);
    return cb->code + t->site[lo].rec;
}

void backend_restore(Backend *be, CpuState *cpu, const CodeBlock *cb, uint64_t at)
{
    snap_restore(find_record(cb, at), be->slots, cpu);
}

unsigned backend_insns_at(Backend *be, const CodeBlock *cb, uint64_t at)
{
    return snap_insns(find_record(cb, at));
}

void backend_annotate(Backend *be, const CodeBlock *cb, GString *out)
{
    const SnapTable *t = (const SnapTable *)cb->snap_data;
    for (uint32_t k = 0; k < t->n; k++)
        g_string_append_printf(out, "; +%#x: may fault, %u guest insns done\n", t->site[k].at,
                               snap_insns(cb->code + t->site[k].rec));
    for (uint32_t k = 0; k < cb->n_links; k++)
        g_string_append_printf(out, "; +%#x: link to entry%+d, stub +%#x\n", cb->links[k].patch_at,
                               cb->links[k].target_off, cb->links[k].stub_at);
}

/* --- life */

Backend *backend_new(const SlowOps *ops, const BackendOptions *options, CodeMemory mem, size_t *used)
{
    Backend *be = g_new0(Backend, 1);
    Gen *g = &be->gen;

    be->ops = *ops;
    be->options = *options;
    be->mem = mem;
    be->features = host_features();
    be->avx = be->features & HOST_AVX;
    be->regs = (RegFile){
        .all = (GPRS & ~(1u << RSP | 1u << RBP | 1u << R10 | 1u << R11 | 1u << R15)) |
               (VECS & ~(1u << VTMP | 1u << VTMP2)),
        .saved = 1u << RBX | 1u << R12 | 1u << R13 | 1u << R14,
        .scratch = RTMP, .scratch2 = RTMP2, .vscratch = VTMP,
    };
    be->rows = rows_new(x64_rows, x64_n_rows, be->features);
    g->be = be;
    g->regs = &be->regs;
    g->random = options->random_registers;
    g->rng = options->seed;
    g->exact = options->check;
    g->cold_cap = 16384;
    g->cold = g_malloc(g->cold_cap);
    g->spill_used = g_malloc0(2 * SPILL_SLOTS);

    gen_begin(g, mem.rw, mem.rw + mem.size);
    *used = x64_make_thunks(be, g);
    for (uint32_t k = 0; k < g->n_fixups; k++) {        /* among the thunks only */
        uint32_t rel = g->fixups[k].target - g->fixups[k].at;
        memcpy(mem.rw + g->fixups[k].at - 4, &rel, 4);
    }
    return be;
}

void backend_free(Backend *be)
{
    if (!be)
        return;
    Gen *g = &be->gen;
    void *arrays[] = { g->cold, g->fixups, g->recs, g->sites, g->links, g->pool, g->ent, g->rep, g->zx, g->how,
                       g->ext, g->next_call, g->uses, g->commit_prev, g->spill_used, g->blocks, g->live_in,
                       g->entry_locs,
                       g->bits, g->pin, g->group_of, g->groups };
    for (unsigned k = 0; k < ARRAY_LEN(arrays); k++)
        g_free(arrays[k]);
    rows_free(be->rows);
    g_free(be);
}
