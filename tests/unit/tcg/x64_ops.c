/* SPDX-License-Identifier: GPL-2.0-or-later
 * Each operation of the x86-64 back end by itself: every type, every kind of place that an operand may
 * come from, against the interpreter; that every op has a row that always fits; links; encodings against
 * capstone. */
#include <capstone/capstone.h>
#include "tests/unit/tcg/x64_rig.h"

enum { IN_SLOT, IN_REG, IN_CONST, SPILLED, SAME, N_KINDS };

static uint64_t seed_x = 88172645463325252;
static uint64_t rnd64(void)
{
    seed_x ^= seed_x << 13, seed_x ^= seed_x >> 7, seed_x ^= seed_x << 17;
    return seed_x;
}
static uint64_t number(void)
{
    static const uint64_t special[] = { 0, 1, UINT64_MAX, 0x80, 0x7f, 0xff, 0x8000, 0xffff, 0x80000000, 0x7fffffff,
                                        0xffffffff, 0xffffffff80000000, 0x8000000000000000, 3 };
    uint64_t v = rnd64();
    return v & 1 ? special[(v >> 8) % ARRAY_LEN(special)] : v & 2 ? v >> 40 : v;
}

static Val operand(Ir *ir, IrType t, unsigned kind, unsigned slot, Val first)
{
    Val v;
    switch (kind) {
    case SAME:
        return first;
    case IN_CONST:
        return t == PRED ? ir_imm(ir, t, rnd64() & 1) : ir_imm(ir, t, number());
    default:
        v = ir_get(ir, slot);
        if (kind != IN_SLOT) {
            Val k = ir_imm(ir, I64, 0x55aa);
            v = ir_op2(ir, IR_XOR, v, k);
        }
        if (t == PRED) {
            Val k = ir_imm(ir, I64, 4);
            return ir_cmp(ir, C_TSTNE, v, k);
        }
        return ir_resize(ir, t, v, false);
    }
}

static Val masked(Ir *ir, IrOp op, Val v, uint64_t mask)
{
    Val k = ir_imm(ir, val_type(ir, v), mask);
    return ir_op2(ir, op, v, k);
}

/* One region: operands, values that compete for registers, the operation, its results to slots. */
static void build(Ir *ir, IrOp op, IrType t, const unsigned kind[3], uint32_t aux)
{
    const char *sig = ir_ops[op].sig + 2;
    Val v[3] = { 0 }, other[16], out, second = VAL_NONE;
    bool crowded = kind[0] == SPILLED || kind[1] == SPILLED || kind[2] == SPILLED;

    ir_reset(ir);
    ir_block(ir);
    ir_insn_start(ir, 0);
    for (unsigned k = 0; k < 3 && sig[k] != '-'; k++) {
        IrType ty = sig[k] == 's' ? I8 : sig[k] == 'p' ? PRED : t;
        unsigned from = kind[k] == SAME && (k == 0 || val_type(ir, v[0]) != ty) ? IN_REG : kind[k];
        v[k] = operand(ir, ty, from, TS_R0 + k, v[0]);
        if (sig[k] == 's') {            /* counts below the width */
            uint64_t c;
            v[k] = ir_is_imm(ir, v[k], &c) ? ir_imm(ir, I8, c & (type_bits(t) - 1))
                                           : masked(ir, IR_AND, v[k], type_bits(t) - 1);
        }
    }
    if (op == IR_UDIV || op == IR_SDIV) {
        v[1] = masked(ir, IR_AND, v[1], bits_mask(type_bits(t) - 1));
        v[1] = masked(ir, IR_OR, v[1], 1);
    } else if (op == IR_UDIVW) {
        v[0] = masked(ir, IR_AND, v[0], bits_mask(type_bits(t) - 2));
        v[2] = masked(ir, IR_OR, v[2], BIT(type_bits(t) - 1));
    }
    for (unsigned k = 0; crowded && k < ARRAY_LEN(other); k++) {
        Val x = ir_get(ir, TS_R4), y = ir_imm(ir, I64, 77 * k + 5);
        other[k] = ir_op2(ir, IR_MUL, x, y);
    }
    if (op == IR_EXTRACT) {
        out = ir_extract(ir, v[0], FIELD_POS(aux), FIELD_LEN(aux));
    } else if (op == IR_DEPOSIT) {
        out = ir_deposit(ir, v[0], v[1], FIELD_POS(aux), FIELD_LEN(aux));
    } else if (op == IR_CMP) {
        out = ir_cmp(ir, aux, v[0], v[1]);
    } else {
        out = ir_append(ir, (IrInsn){ .op = op, .type = t, .a = v[0], .b = v[1], .c = v[2] });
        if (ir_ops[op].effects & E_SECOND)
            second = ir_append(ir, (IrInsn){ .op = IR_SECOND, .a = out,
                                             .type = op == IR_ADDC || op == IR_SUBB ? PRED : t });
    }
    out = ir_resize(ir, I64, out, false);
    ir_put(ir, TS_R5, out);
    if (second) {
        second = ir_resize(ir, I64, second, false);
        ir_put(ir, TS_R6, second);
    }
    if (crowded) {
        Val sum = other[0];
        for (unsigned k = 1; k < ARRAY_LEN(other); k++)
            sum = ir_op2(ir, IR_XOR, sum, other[k]);
        sum = ir_op2(ir, IR_ADD, sum, ir_get(ir, TS_R0));
        ir_put(ir, TS_R7, sum);
        for (unsigned k = 0; k < 3 && v[k]; k++) {      /* operands live on */
            Val x = ir_resize(ir, I64, v[k], false);
            ir_put(ir, TS_R1 + k, x);
        }
    }
    ir_insn_end(ir);
    ir_exit_run(ir, EXITR_HALT, 4);
    ir_finish(ir, 4);
}

static bool type_fits(IrOp op, IrType t)
{
    return !strstr(ir_ops[op].text, "(i32, i64") || t >= I32;
}

static void one(Rig *r, IrOp op, IrType t, const unsigned kind[3], uint32_t aux, unsigned exits[64])
{
    build(r->opt, op, t, kind, aux);
    ir_pass_dead(r->opt);
    test_cpu_seed(r->a, (uint32_t)rnd64());
    for (unsigned k = 0; k < 8; k++)
        r->a->s.hot[k] = number();
    memcpy(r->b, r->a, sizeof *r->b);
    CpuExit x = interp_run(r->interp, &r->a->s, r->opt);
    rig_agree(r, x, op, exits);
}

static uint32_t some_field(IrType t)
{
    unsigned bits = type_bits(t), pos = rnd64() % bits, len = 1 + rnd64() % (bits - pos);
    if (rnd64() & 1)
        pos &= ~7u, len = MAX(8, len & ~7u);
    return FIELD_AUX(pos, MIN(len, bits - pos));
}

static void all_ops(unsigned features, bool random)
{
    Rig rig = { 0 }, *r = &rig;
    unsigned exits[64] = { 0 }, n = 0;
    rig_open(r, &(BackendOptions){ .random_registers = random, .seed = 3 });
    rig_limit(r, features);
    rig_fill_tlb(r, true);
    ir_set_folding(r->opt, false);
    for (unsigned op = IR_ADD; op <= IR_SELECT; op++) {
        if (op == IR_ZEXT || op == IR_SEXT || op == IR_TRUNC)
            continue;                   /* below */
        for (IrType t = I8; t <= I64; t++) {
            if (!type_fits(op, t))
                continue;
            for (unsigned combo = 0; combo < N_KINDS * N_KINDS * N_KINDS; combo++) {
                unsigned kind[3] = { combo % N_KINDS, combo / N_KINDS % N_KINDS, combo / N_KINDS / N_KINDS };
                const char *sig = ir_ops[op].sig + 2;
                if ((sig[1] == '-' && kind[1]) || (sig[2] == '-' && kind[2]) || kind[0] == SAME)
                    continue;
                unsigned times = op == IR_CMP ? IR_N_CONDS : 4;
                for (unsigned k = 0; k < times; k++, n++)
                    one(r, op, t, kind, op == IR_CMP ? k : some_field(t), exits);
            }
        }
    }
    g_test_message("%u regions", n);
    rig_close(r);
}

static void ops(void) { all_ops(~0u, false); }
static void ops_random(void) { all_ops(~0u, true); }
static void ops_old(void)
{
    all_ops(~(HOST_AVX | HOST_AVX2 | HOST_BMI1 | HOST_BMI2 | HOST_LZCNT | HOST_POPCNT), false);
}

/* --- conversions: all pairs, signed or not, from memory and from registers, of loads too */

static void conversions(void)
{
    Rig rig = { 0 }, *r = &rig;
    unsigned exits[64] = { 0 };
    rig_open(r, &(BackendOptions){ 0 });
    for (unsigned n = 0; n < 4 * 4 * 2 * 3 * 8; n++) {
        IrType from = I8 + n % 4, to = I8 + n / 4 % 4;
        bool sign = n / 16 % 2;
        unsigned how = n / 32 % 3;
        rig_fill_tlb(r, n & 1);
        ir_reset(r->opt);
        ir_block(r->opt);
        ir_insn_start(r->opt, 0);
        Val v;
        if (how == 0) {
            v = operand(r->opt, from, IN_SLOT, TS_R0, VAL_NONE);
        } else if (how == 1) {
            v = operand(r->opt, from, IN_REG, TS_R0, VAL_NONE);
        } else {
            Val at = ir_imm(r->opt, I64, 0x100 + 8 * (rnd64() % 64));
            v = ir_load(r->opt, from, from - I8, at);
        }
        Val w = ir_resize(r->opt, to, v, sign), x = ir_resize(r->opt, I64, w, !sign);
        ir_put(r->opt, TS_R1, x);
        x = ir_resize(r->opt, I64, v, sign);
        ir_put(r->opt, TS_R2, x);
        x = ir_resize(r->opt, I64, v, !sign);
        ir_put(r->opt, TS_R3, x);
        ir_insn_end(r->opt);
        ir_exit_run(r->opt, EXITR_HALT, 4);
        ir_finish(r->opt, 4);
        ir_pass_dead(r->opt);
        test_cpu_seed(r->a, n);
        r->a->s.hot[0] = number();
        memcpy(r->b, r->a, sizeof *r->b);
        CpuExit e = interp_run(r->interp, &r->a->s, r->opt);
        rig_agree(r, e, n, exits);
    }
    rig_close(r);
}

/* --- rows */

/* The last row of each op takes any operands, whatever the host has. */
static void last_rows(void)
{
    for (unsigned op = 0; op < IR_N_OPS; op++) {
        unsigned types = 0;
        const EmitRow *last[8] = { 0 };
        for (unsigned i = 0; i < x64_n_rows; i++)
            if (x64_rows[i].op == op)
                for (unsigned t = 0; t < 8; t++)
                    if (x64_rows[i].types >> t & 1) {
                        last[t] = &x64_rows[i];
                        types |= 1u << t;
                    }
        for (unsigned t = 0; t < 8; t++) {
            if (!last[t])
                continue;
            const char *fields[] = { last[t]->a, last[t]->b, last[t]->c };
            g_assert_cmpuint(last[t]->needs, ==, 0);
            for (unsigned k = 0; k < 3; k++)
                g_assert_true(!fields[k] || strchr("=rmc", fields[k][0]));
        }
        if (types)
            g_test_message("%s: types %#x", ir_ops[op].name, types);
    }
}

/* --- links */

static void simple_region(Ir *ir, unsigned slot, int32_t target)
{
    ir_reset(ir);
    ir_block(ir);
    ir_insn_start(ir, 0);
    Val v = ir_get(ir, slot);
    v = ir_addi(ir, v, 1);
    ir_put(ir, slot, v);
    ir_insn_end(ir);
    ir_exit_direct(ir, target);
    ir_finish(ir, 4);
    ir_pass_dead(ir);
}

static void h_nothing(CpuState *cpu) { }
static const IrHelper nothing = { "nothing", h_nothing, T_NONE, 0, 0 };

static void links(void)
{
    Rig rig = { 0 }, *r = &rig;
    CodeBlock one, two;
    CpuState *cpu;
    rig_open(r, &(BackendOptions){ 0 });
    rig_fill_tlb(r, false);
    simple_region(r->opt, TS_R0, 16);
    g_assert_true(backend_compile(r->be, r->opt, r->used, 16384, &one));
    simple_region(r->opt, TS_R1, -16);
    r->opt->entry_page_off = 16;
    g_assert_true(backend_compile(r->be, r->opt, r->used + 16384, 16384, &two));
    cpu = &r->b->s;
    cpu->ctx = r->ctx;
    cpu->countdown = 100;
    cpu->hot[PC_OFFSET / 8] = 0x1000;
    cpu->fp_control = cpu->fp_host = 0x1f80;

    CpuExit e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LINK);
    g_assert_true((CodeLink *)e.arg == &one.links[0]);
    g_assert_true(one.links[0].owner == &one);
    g_assert_cmpint(one.links[0].target_off, ==, 16);
    g_assert_cmphex(cpu->hot[PC_OFFSET / 8], ==, 0x1010);

    /* Asked once and not linked: by the jump cache, then. */
    cpu->hot[PC_OFFSET / 8] = 0x1000;
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LOOKUP);
    r->ctx->jump[jump_index(0x1010)] = (JumpEntry){ jump_tag(0x1010, cpu->mode_tag), two.code };
    cpu->hot[PC_OFFSET / 8] = 0x1000;
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LINK);
    g_assert_true((CodeLink *)e.arg == &two.links[0]);
    g_assert_cmphex(cpu->hot[PC_OFFSET / 8], ==, 0x1000);
    g_assert_cmpuint(cpu->hot[1], ==, 1);

    /* A loop of two blocks ends when the countdown does. */
    backend_link(r->be, &one.links[0], &two);
    backend_link(r->be, &two.links[0], &one);
    cpu->countdown = 99;
    cpu->hot[0] = cpu->hot[1] = 0;
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_KICK);
    g_assert_cmpuint(e.arg, ==, 1);
    g_assert_cmpint(cpu->countdown, ==, -1);
    g_assert_cmpuint(cpu->hot[0], ==, 50);
    g_assert_cmpuint(cpu->hot[1], ==, 49);
    g_assert_cmphex(cpu->hot[PC_OFFSET / 8], ==, 0x1010);

    /* Unlinked it asks again. */
    backend_link(r->be, &one.links[0], NULL);
    cpu->countdown = 99;
    cpu->hot[PC_OFFSET / 8] = 0x1000;
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LINK);

    /* A jump to the own head goes behind the loads of registers; that of a retired block ends when it is unlinked. */
    simple_region(r->opt, TS_R0, 0);
    g_assert_true(backend_compile(r->be, r->opt, r->used, 16384, &one));
    g_assert_cmpuint(one.links[0].loop_at, >, 0);
    backend_link(r->be, &one.links[0], &one);
    cpu->countdown = 99;
    cpu->hot[0] = 0;
    cpu->hot[PC_OFFSET / 8] = 0x1000;
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_KICK);
    g_assert_cmpuint(cpu->hot[0], ==, 99);
    backend_link(r->be, &one.links[0], NULL);
    cpu->countdown = 99;
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LINK);
    g_assert_cmpuint(cpu->hot[0], ==, 100);
    g_assert_cmpint(cpu->countdown, ==, 98);
    backend_retire(r->be, &one);
    e = backend_enter(r->be, cpu, one.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LOOKUP);
    g_assert_cmpuint(cpu->hot[0], ==, 100);
    rig_close(r);
}

/* A call, the function that returns, and what it returns to. */
static void return_region(Ir *ir, unsigned slot, bool returns, int32_t page_off)
{
    ir_reset(ir);
    ir->entry_page_off = page_off;
    ir_block(ir);
    ir_insn_start(ir, 0);
    Val v = ir_get(ir, slot), pc = ir_get(ir, TS_R5);
    v = ir_addi(ir, v, 1);
    ir_put(ir, slot, v);
    if (returns)
        ir_put(ir, TS_PC, pc);
    ir_insn_end(ir);
    if (returns) {
        ir_exit_indirect(ir);
        ir_exit_is_return(ir);
    } else {
        ir_exit_direct(ir, 0x40);
        ir_exit_is_call(ir, 8);
    }
    ir_finish(ir, 4);
    ir_pass_dead(ir);
}

/* With nothing in the jump cache: the return stack leads back, if the pc is the one that was pushed. */
static void returns(void)
{
    Rig rig = { 0 }, *r = &rig;
    CodeBlock caller, function, next;
    rig_open(r, &(BackendOptions){ 0 });
    rig_fill_tlb(r, false);
    return_region(r->opt, TS_R0, false, 0);
    g_assert_true(backend_compile(r->be, r->opt, r->used, 16384, &caller));
    return_region(r->opt, TS_R1, true, 0x40);
    g_assert_true(backend_compile(r->be, r->opt, r->used + 16384, 16384, &function));
    simple_region(r->opt, TS_R2, 16);
    r->opt->entry_page_off = 8;
    g_assert_true(backend_compile(r->be, r->opt, r->used + 32768, 16384, &next));
    CpuState *cpu = &r->b->s;
    cpu->ctx = r->ctx;
    cpu->countdown = 100;
    cpu->fp_control = cpu->fp_host = 0x1f80;
    g_assert_cmpuint(caller.n_links, ==, 2);
    backend_link(r->be, &caller.links[0], &function);
    for (unsigned linked = 0; linked < 2; linked++) {
        if (linked)
            backend_link(r->be, &caller.links[1], &next);
        cpu->hot[PC_OFFSET / 8] = 0x1000;
        cpu->hot[5] = 0x1008;
        CpuExit e = backend_enter(r->be, cpu, caller.code);
        g_assert_cmpuint(e.reason, ==, EXITR_LINK);
        g_assert_true((CodeLink *)e.arg == (linked ? &next.links[0] : &caller.links[1]));
        g_assert_cmphex(cpu->hot[PC_OFFSET / 8], ==, linked ? 0x1018 : 0x1008);
        g_assert_cmpuint(cpu->hot[2], ==, linked);
    }
    cpu->hot[PC_OFFSET / 8] = 0x1000;
    cpu->hot[5] = 0x100c;               /* to somewhere else */
    CpuExit e = backend_enter(r->be, cpu, caller.code);
    g_assert_cmpuint(e.reason, ==, EXITR_LOOKUP);
    g_assert_cmphex(cpu->hot[PC_OFFSET / 8], ==, 0x100c);
    cpu->hot[5] = 0;                    /* and when nobody has called, the place that the empty stack may hold included */
    for (unsigned k = 0; k < 2; k++) {
        e = backend_enter(r->be, cpu, function.code);
        g_assert_cmpuint(e.reason, ==, EXITR_LOOKUP);
        g_assert_cmphex(cpu->hot[PC_OFFSET / 8], ==, cpu->hot[5]);
        cpu->hot[5] = 0x1008;
    }
    g_assert_cmpuint(cpu->hot[0], ==, 3);
    g_assert_cmpuint(cpu->hot[1], ==, 5);
    rig_close(r);
}

/* What the head has counted and an exit in the middle leaves out is given back, by compiled code and the interpreter alike. */
static void counting(void)
{
    static const char *const text =
        "region 8\n"
        "block 0\n"
        "    head 9, run 3 @+0 #0\n"
        "    %2 = i64 slot_get r0\n"
        "    %3 = p cmp.eq %2, 1i64\n"
        "    %4 = p cmp.eq %2, 2i64\n"
        "    %5 = p cmp.eq %2, 3i64\n"
        "    exit_if %3, direct +16 @+4 #2\n"
        "    exit_if %4, raise 6 0x0 @+4 #3\n"
        "    exit_if %5, run 6 @+6 #5\n"
        "    exit direct +32 @+8 #9\n";
    static const struct { uint64_t r0; unsigned reason; int ran; } rows[] = {
        { 1, EXITR_LINK, 2 }, { 2, EXITR_RAISE, 3 }, { 3, EXITR_HALT, 5 }, { 4, EXITR_LINK, 9 },
    };
    Rig rig = { 0 }, *r = &rig;
    rig_open(r, &(BackendOptions){ 0 });
    rig_fill_tlb(r, false);
    Interp *interp = interp_new(&(SlowOps){ 0 });
    CpuState *cpu = &r->b->s;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        for (unsigned compiled = 0; compiled < 2; compiled++) {
            CodeBlock cb;
            g_autoptr(GError) err = NULL;
            ir_reset(r->opt);
            ir_parse(r->opt, text, NULL, 0, &err);
            g_assert_no_error(err);
            ir_pass_dead(r->opt);
            g_assert_true(backend_compile(r->be, r->opt, r->used, 16384, &cb));
            cpu->ctx = r->ctx;
            cpu->countdown = 100;
            cpu->hot[0] = rows[i].r0;
            cpu->hot[PC_OFFSET / 8] = 0x1000;
            cpu->fp_control = cpu->fp_host = 0x1f80;
            CpuExit e = compiled ? backend_enter(r->be, cpu, cb.code) : interp_run(interp, cpu, r->opt);
            g_assert_cmpuint(e.reason, ==, rows[i].reason);
            g_assert_cmpint(cpu->countdown, ==, 100 - rows[i].ran);
        }
    interp_free(interp);
    rig_close(r);
}

static uint64_t *count_here(void *self, const IrHelper *h) { return self; }

/* Calls are counted where that is asked for. */
static void counted_calls(void)
{
    uint64_t calls = 0;
    Rig rig = { 0 }, *r = &rig;
    rig_open(r, &(BackendOptions){ .counter = count_here, .counter_self = &calls });
    rig_fill_tlb(r, false);
    CpuState *cpu = &r->b->s;
    CodeBlock cb;
    ir_block(r->opt);
    for (unsigned i = 0; i < 3; i++) {
        ir_insn_start(r->opt, i);
        ir_call(r->opt, &nothing);
        ir_insn_end(r->opt);
    }
    ir_exit_run(r->opt, EXITR_HALT, 3);
    ir_finish(r->opt, 3);
    ir_pass_dead(r->opt);
    g_assert_true(backend_compile(r->be, r->opt, r->used, 16384, &cb));
    cpu->ctx = r->ctx;
    cpu->countdown = 100;
    cpu->fp_control = cpu->fp_host = 0x1f80;
    backend_enter(r->be, cpu, cb.code);
    g_assert_cmpuint(calls, ==, 3);
    backend_enter(r->be, cpu, cb.code);
    g_assert_cmpuint(calls, ==, 6);
    rig_close(r);
}

/* --- encodings of host operations */

static void encoding(Rig *r, csh cs, unsigned row, bool wide, const char *prefix, unsigned *seen)
{
    const HostRow *h = &host_rows[row];
    Ir *ir = r->opt;
    Val a = VAL_NONE, b = VAL_NONE, c = VAL_NONE, v;
    uint32_t needs = wide ? h->wide_needs : h->needs;
    bool up = h->wide == HW_UP || h->wide == HW_BCAST;
    IrType t = wide && h->wide != HW_DOWN ? V256T : V128T;

    if ((needs & r->be->features) != needs || (wide ? h->wide == HW_NONE : h->flags & HOF_256) ||
        needs & (HOST_VAES | HOST_VPCLMUL))     /* which capstone does not know */
        return;
    ir_reset(ir);
    ir_block(ir);
    ir_insn_start(ir, 0);
    bool ga = h->kind == HK_VG || h->kind == HK_GGG, gb = h->kind == HK_VVG || h->kind == HK_GGG;
    v = ir_get(ir, TS_R0);
    Val g32 = ir_ext(ir, IR_TRUNC, I32, v);
    g32 = ir_op2i(ir, IR_XOR, g32, 1);
    a = ga ? g32 : ir_get(ir, TS_V0);
    if (h->kind != HK_VV && h->kind != HK_VG && h->kind != HK_GV && h->kind != HK_VSHI)
        b = gb ? g32 : ir_get(ir, TS_V1);
    if (h->kind == HK_VVVV || h->kind == HK_FMA)
        c = ir_get(ir, TS_V2);
    if (wide) {
        Val v3 = ir_get(ir, TS_V3);
        a = up ? a : ir_concat(ir, a, v3);
        b = !b || h->wide == HW_COUNT ? b : ir_concat(ir, b, v3);
        c = c ? ir_concat(ir, c, v3) : c;
    }
    if (h->kind == HK_GV || h->kind == HK_FVV || h->kind == HK_GGG)
        t = I32;
    v = ir_host(ir, t, row, a, b, c, 1);
    if (t == I32)
        ir_put(ir, TS_W0, v);
    else
        ir_put(ir, TS_V3, t == V256T ? ir_high(ir, v) : v);
    ir_insn_end(ir);
    ir_exit_run(ir, EXITR_HALT, 4);
    ir_finish(ir, 4);
    ir_pass_dead(ir);

    CodeBlock cb;
    g_assert_true(backend_compile(r->be, ir, r->used, 16384, &cb));
    g_autofree char *name = g_ascii_strdown(h->name + (h->flags & HOF_VEX && h->name[0] == 'V'), -1);
    g_autoptr(GString) all = g_string_new(NULL);
    cs_insn *insn;
    size_t n = cs_disasm(cs, cb.code, cb.code_len, (uintptr_t)cb.code, 0, &insn);
    bool found = false;
    for (size_t k = 0; k < n; k++) {
        const char *m = insn[k].mnemonic;
        g_string_append_printf(all, "%s %s; ", m, insn[k].op_str);
        bool vex = m[0] == 'v';
        if (!strcmp(prefix, "v") && !(h->flags & HOF_LEGACY) && strncmp(m, "vmov", 4) && m[0] == 'v')
            found |= !strncmp(m + 1, name, MIN(strlen(name), 4));
        found |= !strncmp(m + vex, name, MIN(strlen(name), 4));
        g_assert_false(vex && !*prefix);        /* none where the host has none */
    }
    cs_free(insn, n);
    /* names of the table that the disassembler spells otherwise */
    static const char *const aliases[][2] = { { "movdv", "movd" }, { "movdg", "movd" }, { "cmp", "cmp" } };
    for (unsigned k = 0; k < ARRAY_LEN(aliases); k++)
        found |= g_str_has_prefix(name, aliases[k][0]) && strstr(all->str, aliases[k][1]);
    if (!found) {
        g_test_message("%s: %s", h->name, all->str);
        g_test_fail();
    }
    ++*seen;
}

static void encodings(void)
{
    csh cs;
    g_assert_cmpint(cs_open(CS_ARCH_X86, CS_MODE_64, &cs), ==, CS_ERR_OK);
    cs_option(cs, CS_OPT_SKIPDATA, CS_OPT_ON);
    for (unsigned pass = 0; pass < 2; pass++) {
        Rig rig = { 0 }, *r = &rig;
        unsigned seen = 0;
        rig_open(r, &(BackendOptions){ 0 });
        if (pass || !r->be->avx)
            rig_limit(r, ~(HOST_AVX | HOST_AVX2 | HOST_FMA | HOST_F16C | HOST_BMI1 | HOST_BMI2 | HOST_VAES | HOST_VPCLMUL));
        for (unsigned row = 0; row < HOST_N_ROWS; row++)
            for (unsigned wide = 0; wide <= r->be->avx; wide++)
                encoding(r, cs, row, wide, r->be->avx ? "v" : "", &seen);
        g_test_message("%u rows, %s", seen, r->be->avx ? "VEX" : "legacy");
        rig_close(r);
    }
    cs_close(&cs);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/x64/ops", ops);
    g_test_add_func("/tcg/x64/ops-random-registers", ops_random);
    g_test_add_func("/tcg/x64/ops-old-host", ops_old);
    g_test_add_func("/tcg/x64/conversions", conversions);
    g_test_add_func("/tcg/x64/last-rows", last_rows);
    g_test_add_func("/tcg/x64/links", links);
    g_test_add_func("/tcg/x64/returns", returns);
    g_test_add_func("/tcg/x64/counting", counting);
    g_test_add_func("/tcg/x64/counted-calls", counted_calls);
    g_test_add_func("/tcg/x64/encodings", encodings);
    return g_test_run();
}
