/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86-64 back end against the interpreter: random regions, with the TLB empty and filled, with
 * registers handed out at random, without the host's newer instructions. */
#include "tests/unit/tcg/x64_rig.h"

static void random_regions(const BackendOptions *o, unsigned features, uint32_t first, uint32_t n, unsigned flags)
{
    Rig rig = { 0 }, *r = &rig;
    unsigned exits[64] = { 0 };
    rig_open(r, o);
    rig_limit(r, features);
    r->loops = flags & IRR_LOOPS;
    for (uint32_t seed = first; seed < first + n; seed++) {
        ir_random(r->plain, seed, flags);
        ir_random(r->opt, seed, flags);
        ir_pass_dead(r->opt);
        test_cpu_seed(r->a, seed);
        if (r->loops)                   /* so many times round at most */
            r->a->s.countdown = (int32_t)(seed % 8 * ir_guest_count(r->plain));
        r->opt->entry_page_off = r->a->s.hot[PC_OFFSET / 8] & ~PAGE_MASK;
        memcpy(r->b, r->a, sizeof *r->b);
        rig_fill_tlb(r, seed & 1);
        CpuExit x;
        do
            x = interp_run(r->interp, &r->a->s, r->plain);
        while (r->loops && x.reason == EXITR_LINK);
        if (!rig_agree(r, x, seed, exits))
            break;
    }
    g_test_message("kick %u", exits[EXITR_KICK]);
    g_test_message("link %u, lookup %u, fault %u, raise %u, halt %u", exits[EXITR_LINK], exits[EXITR_LOOKUP],
                   exits[EXITR_FAULT], exits[EXITR_RAISE], exits[EXITR_HALT]);
    rig_close(r);
}

/* --- regions of several blocks: a loop with a diamond in it
 *     0: start   1: head(counter, ...)   2, 3: either way   4: latch -> 1 or 5   5: exit */

typedef struct Loop {
    Ir      *ir;
    uint64_t x;
    uint32_t off;
    Val      i[24], v[12];
    unsigned ni, nv;
    bool     put[TS_N];
} Loop;

static uint32_t rnd(Loop *l, uint32_t n)
{
    l->x ^= l->x << 13, l->x ^= l->x >> 7, l->x ^= l->x << 17;
    return (uint32_t)(l->x >> 24) % n;
}
static Val pick(Loop *l) { return l->i[rnd(l, l->ni)]; }
static Val pick_v(Loop *l) { return l->v[rnd(l, l->nv)]; }
static void keep(Loop *l, Val v) { l->i[l->ni < 24 ? l->ni++ : rnd(l, 24)] = v; }

static void loop_insn(Loop *l)
{
    static const uint8_t ops[] = { IR_ADD, IR_SUB, IR_AND, IR_OR, IR_XOR, IR_MUL };
    Ir *ir = l->ir;
    ir_insn_start(ir, l->off);
    l->off += 4;
    for (unsigned n = 1 + rnd(l, 4); n; n--) {
        Val a = pick(l), b = pick(l), c;
        switch (rnd(l, 9)) {
        case 0: case 1: case 2:
            keep(l, ir_op2(ir, ops[rnd(l, 6)], a, b));
            break;
        case 3:
            a = ir_op2i(ir, IR_AND, a, 0x7ff8);
            keep(l, ir_load(ir, I64, MO_64, a));
            break;
        case 4:
            a = ir_op2i(ir, IR_AND, a, 0x1ff8);
            ir_store(ir, MO_64, a, b);
            break;
        case 5:
            c = ir_cmp(ir, rnd(l, IR_N_CONDS), a, b);
            a = pick(l);
            b = pick(l);
            keep(l, ir_select(ir, c, a, b));
            break;
        case 6:
            a = pick_v(l);
            b = pick_v(l);
            l->v[l->nv < 12 ? l->nv++ : rnd(l, 12)] = ir_host(ir, V128T, HOP_PADDQ, a, b, VAL_NONE, 0);
            break;
        case 7: {
            unsigned s = TS_R0 + rnd(l, 7);
            ir_put(ir, s, a);
            l->put[s] = true;
            break;
        }
        default:
            keep(l, ir_call(ir, &th_pure, a, b, a));
        }
    }
    if (rnd(l, 4) == 0) {
        Val v = pick_v(l);
        ir_put(ir, TS_V0 + rnd(l, 1), v);
        l->put[TS_V0] = true;
    }
    ir_insn_end(ir);
    if (rnd(l, 6) == 0) {
        Val p = pick(l);
        p = ir_op2i(ir, IR_AND, p, 31);
        p = ir_cmpi(ir, C_EQ, p, 3);
        ir_exit_direct_if(ir, p, (int32_t)rnd(l, 256));
    }
}

static uint32_t loop_edge(Loop *l, uint32_t to, unsigned n, const Val *args)
{
    Ir *ir = l->ir;
    IR_PUSH(ir, edges) = (IrEdge){ to, ir->n_edge_args, n };
    for (unsigned k = 0; k < n; k++)
        IR_PUSH(ir, edge_args) = args[k];
    return ir->n_edges - 1;
}
/* Stores what the block has put, ends it with the insn, starts the next one. */
static void loop_end(Loop *l, IrOp op, Val p, uint32_t edge)
{
    for (unsigned s = 0; s < TS_N; s++)
        if (l->put[s]) {
            Val v = ir_get(l->ir, s);
            ir_append(l->ir, (IrInsn){ .op = IR_SLOT_PUT, .a = v, .aux = s });
            l->put[s] = false;
        }
    ir_append(l->ir, (IrInsn){ .op = op, .a = p, .aux = edge });
    l->ir->blocks[l->ir->n_blocks - 1].end = l->ir->n_insns;
    l->ir->builder->open = false;
    ir_block(l->ir);
}
static Val loop_param(Loop *l, IrType t, unsigned n)
{
    l->ir->blocks[l->ir->n_blocks - 1].n_params = n + 1;
    return ir_append(l->ir, (IrInsn){ .op = IR_PARAM, .type = t, .aux = n });
}

static void loop_region(Ir *ir, uint32_t seed)
{
    Loop loop = { .ir = ir, .x = (seed + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9) | 1 }, *l = &loop;
    unsigned n_params = 1 + rnd(l, 18), n_vec = rnd(l, 17), n2 = rnd(l, 3);
    Val args[40], cond[2];

    ir_reset(ir);
    ir_block(ir);
    ir_insn_start(ir, l->off++);
    for (unsigned s = TS_R0; s <= TS_R7; s++)
        keep(l, ir_get(ir, s));
    l->v[l->nv++] = ir_get(ir, TS_V1);
    l->v[l->nv++] = ir_get(ir, TS_V2);
    ir_insn_end(ir);
    loop_insn(l);
    args[0] = ir_imm(ir, I64, 1 + rnd(l, 5));
    for (unsigned k = 1; k < n_params; k++)
        args[k] = pick(l);
    for (unsigned k = 0; k < n_vec; k++)
        args[n_params + k] = pick_v(l);
    uint32_t e = loop_edge(l, 1, n_params + n_vec, args);
    loop_end(l, IR_JUMP, 0, e);

    Val counter = loop_param(l, I64, 0), param[40];
    for (unsigned k = 1; k < n_params; k++)
        keep(l, param[k] = loop_param(l, I64, k));
    for (unsigned k = 0; k < n_vec; k++)
        l->v[l->nv < 12 ? l->nv++ : rnd(l, 12)] = param[n_params + k] = loop_param(l, V128T, n_params + k);
    IR_PUSH(ir, snaps) = (IrSnap){ ir->n_commits, 1, l->off, ir_guest_count(ir) };
    IR_PUSH(ir, exits) = (IrExit){ .kind = EXIT_RUN, .snap = ir->n_snaps - 1, .aux = EXITR_KICK };
    ir_append(ir, (IrInsn){ .op = IR_HEAD, .flags = 300, .aux = ir->n_exits - 1 });
    loop_insn(l);
    cond[0] = pick(l);
    cond[1] = pick(l);
    Val p = ir_cmp(ir, rnd(l, C_TSTEQ), cond[0], cond[1]);
    e = loop_edge(l, 2, 0, NULL);
    loop_edge(l, 3, 0, NULL);
    loop_end(l, IR_BRANCH, p, e);

    Loop before = *l;
    for (unsigned side = 0; side < 2; side++) {
        uint64_t x = l->x;
        uint32_t off = l->off;
        *l = before;
        l->x = x;
        l->off = off;
        loop_insn(l);
        args[0] = pick(l);
        for (unsigned k = 0; k < n2; k++)
            args[1 + k] = pick_v(l);
        e = loop_edge(l, 4, 1 + n2, args);
        loop_end(l, IR_JUMP, 0, e);
    }
    {
        uint64_t x = l->x;
        uint32_t off = l->off;
        *l = before;
        l->x = x;
        l->off = off;
    }
    keep(l, loop_param(l, I64, 0));
    for (unsigned k = 0; k < n2; k++)
        l->v[l->nv < 12 ? l->nv++ : rnd(l, 12)] = loop_param(l, V128T, 1 + k);
    loop_insn(l);
    args[0] = ir_addi(ir, counter, -1);
    for (unsigned k = 1; k < n_params; k++)                     /* often a permutation */
        args[k] = rnd(l, 2) ? param[1 + rnd(l, n_params - 1)] : pick(l);
    for (unsigned k = 0; k < n_vec; k++)
        args[n_params + k] = rnd(l, 2) ? param[n_params + rnd(l, n_vec)] : pick_v(l);
    p = ir_cmpi(ir, C_NE, args[0], 0);
    e = loop_edge(l, 1, n_params + n_vec, args);
    loop_edge(l, 5, 0, NULL);
    loop_end(l, IR_BRANCH, p, e);

    ir_insn_start(ir, l->off);
    for (unsigned s = TS_R0; s <= TS_R7; s++) {
        Val v = pick(l);
        ir_put(ir, s, v);
    }
    Val v = pick_v(l);
    ir_put(ir, TS_V1, v);
    ir_insn_end(ir);
    ir_exit_run(ir, EXITR_HALT, 100);
    ir_finish(ir, 100);
}

static void loops(const BackendOptions *o, uint32_t first, uint32_t n)
{
    Rig rig = { 0 }, *r = &rig;
    unsigned exits[64] = { 0 };
    rig_open(r, o);
    for (uint32_t seed = first; seed < first + n; seed++) {
        loop_region(r->plain, seed);
        loop_region(r->opt, seed);
        ir_pass_dead(r->opt);
        g_autofree char *bad = ir_verify(r->opt);
        g_assert_cmpstr(bad, ==, NULL);
        test_cpu_seed(r->a, seed);
        r->opt->entry_page_off = r->a->s.hot[PC_OFFSET / 8] & ~PAGE_MASK;
        memcpy(r->b, r->a, sizeof *r->b);
        rig_fill_tlb(r, seed & 1);
        CpuExit x = interp_run(r->interp, &r->a->s, r->plain);
        if (!rig_agree(r, x, seed, exits))
            break;
    }
    g_test_message("link %u, lookup %u, fault %u, halt %u", exits[EXITR_LINK], exits[EXITR_LOOKUP],
                   exits[EXITR_FAULT], exits[EXITR_HALT]);
    rig_close(r);
}

static uint32_t env(const char *name, uint32_t otherwise)
{
    const char *s = g_getenv(name);
    return s ? (uint32_t)atoi(s) : otherwise;
}

static void plain(void)
{
    random_regions(&(BackendOptions){ 0 }, ~0u, env("SEED", 0), env("N", 10000), env("FLAGS", IRR_ALL));
}
static void at_random(void)
{
    random_regions(&(BackendOptions){ .random_registers = true, .seed = 1 }, ~0u, env("SEED", 0), env("N", 10000),
                   env("FLAGS", IRR_ALL));
}
static void old_host(void)
{
    random_regions(&(BackendOptions){ 0 }, ~(HOST_AVX | HOST_AVX2 | HOST_BMI1 | HOST_BMI2 | HOST_LZCNT | HOST_POPCNT),
                   env("SEED", 0), env("N", 10000), env("FLAGS", IRR_ALL & ~IRR_VEX));
}

/* Regions that jump to their own head, and go round. */
static void to_itself(void)
{
    random_regions(&(BackendOptions){ 0 }, ~0u, env("SEED", 0), env("N", 10000), env("FLAGS", IRR_ALL) | IRR_LOOPS);
}
static void to_itself_no_calls(void)
{
    random_regions(&(BackendOptions){ 0 }, ~0u, env("SEED", 0), env("N", 10000), (env("FLAGS", IRR_ALL) & ~IRR_CALLS) | IRR_LOOPS);
}
static void to_itself_random(void)
{
    random_regions(&(BackendOptions){ .random_registers = true, .seed = 3 }, ~0u, env("SEED", 0), env("N", 10000),
                   (env("FLAGS", IRR_ALL) & ~IRR_CALLS) | IRR_LOOPS);
}
static void to_itself_old_host(void)
{
    random_regions(&(BackendOptions){ 0 }, ~(HOST_AVX | HOST_AVX2 | HOST_BMI1 | HOST_BMI2 | HOST_LZCNT | HOST_POPCNT),
                   env("SEED", 0), env("N", 10000), (env("FLAGS", IRR_ALL & ~IRR_VEX) & ~IRR_CALLS) | IRR_LOOPS);
}

static void loop_plain(void) { loops(&(BackendOptions){ 0 }, env("SEED", 0), env("N", 10000)); }
static void loop_random(void)
{
    loops(&(BackendOptions){ .random_registers = true, .seed = 7 }, env("SEED", 0), env("N", 10000));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/x64/random", plain);
    g_test_add_func("/tcg/x64/random-registers", at_random);
    g_test_add_func("/tcg/x64/old-host", old_host);
    g_test_add_func("/tcg/x64/to-itself", to_itself);
    g_test_add_func("/tcg/x64/to-itself-no-calls", to_itself_no_calls);
    g_test_add_func("/tcg/x64/to-itself-random-registers", to_itself_random);
    g_test_add_func("/tcg/x64/to-itself-old-host", to_itself_old_host);
    g_test_add_func("/tcg/x64/loops", loop_plain);
    g_test_add_func("/tcg/x64/loops-random-registers", loop_random);
    return g_test_run();
}
