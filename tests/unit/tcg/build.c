/* SPDX-License-Identifier: GPL-2.0-or-later
 * The builder: forwarding of slots, pending and committed writes, snapshots, helpers' read and write sets, exits. */
#include <stdlib.h>
#include <string.h>
#include "tests/ir_slots.h"
#include "tcg/build_int.h"

/* What the region prints, after the backward pass if dead. */
static char *text(Ir *ir, bool dead)
{
    GString *s = g_string_new(NULL);
    if (dead)
        ir_pass_dead(ir);
    ir_print(ir, s);
    return g_string_free(s, FALSE);
}

static void expect(Ir *ir, bool dead, const char *want)
{
    g_autofree char *got = text(ir, dead);
    g_assert_cmpstr(got, ==, want);
    ir_free(ir);
}

static Ir *start(void)
{
    Ir *ir = ir_new(&test_slots);
    ir_block(ir);
    return ir;
}

static void forwarding(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val a = ir_get(ir, TS_R0), b = ir_get(ir, TS_R0);
    g_assert_cmpuint(a, ==, b);
    Val sum = ir_addi(ir, a, 5);
    ir_put(ir, TS_R1, sum);
    g_assert_cmpuint(ir_get(ir, TS_R1), ==, sum);
    ir_insn_end(ir);
    ir_insn_start(ir, 4);
    Val c = ir_get(ir, TS_R1);
    g_assert_cmpuint(c, ==, sum);
    Val again = ir_addi(ir, a, 5);
    g_assert_cmpuint(again, ==, sum);
    ir_put(ir, TS_R1, again);                   /* no change: no commit */
    ir_put(ir, TS_R0, b);                       /* what memory holds: no commit */
    ir_insn_end(ir);
    ir_exit_direct(ir, 8);
    ir_finish(ir, 8);
    expect(ir, false,
           "region 8\n"
           "block 0\n"
           "    head 2, run 3 @+0 #0\n"
           "  insn +0\n"
           "    %2 = i64 slot_get r0\n"
           "    %3 = i64 add %2, 5i64\n"
           "  insn +4\n"
           "    r1 := %3\n"
           "    exit direct +8 @+8 #2\n");
}

/* What nobody will look at is not stored, even if an instruction before put it; a later put counts again. */
static void drops(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val k = ir_imm(ir, I64, 7);
    ir_put(ir, TS_R0, k);
    ir_put(ir, TS_R1, k);
    ir_put(ir, TS_R2, k);
    ir_insn_end(ir);
    ir_insn_start(ir, 4);
    ir_drop(ir, TS_R0);
    ir_drop(ir, TS_R1);
    ir_put(ir, TS_R1, k);                       /* it was 7 before: no commit, and not dropped */
    ir_insn_end(ir);
    ir_exit_direct(ir, 8);
    ir_finish(ir, 8);
    for (uint32_t i = 0; i < ir->n_commits; i++)
        if (ir->commits[i].slot == TS_R0 && i >= 3)
            g_assert_cmpuint(ir->commits[i].v, ==, VAL_NONE);
    g_assert_cmpuint(ir->n_commits, ==, 4);
    TestCpu *c = test_cpu_new();
    test_cpu_seed(c, 1);
    Interp *in = interp_new(&test_slow_ops);
    interp_run(in, &c->s, ir);
    g_assert_cmphex(*(uint64_t *)((char *)c + test_slots.slot[TS_R1].offset), ==, 7);
    g_assert_cmphex(*(uint64_t *)((char *)c + test_slots.slot[TS_R2].offset), ==, 7);
    g_assert_cmphex(*(uint64_t *)((char *)c + test_slots.slot[TS_R0].offset), !=, 7);
    interp_free(in);
    free(c);
    ir_free(ir);
}

/* Within an instruction writes are seen by reads but not by snapshots. */
static void pending(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val k = ir_imm(ir, I64, 7);
    ir_put(ir, TS_R1, k);
    g_assert_cmpuint(ir_get(ir, TS_R1), ==, k);
    Val a = ir_imm(ir, I64, 64);
    Val v = ir_load(ir, I64, MO_64, a);         /* sees nothing */
    ir_put(ir, TS_R2, v);
    ir_insn_end(ir);
    ir_insn_start(ir, 3);
    ir_put(ir, TS_R1, v);
    ir_store(ir, MO_64, a, k);                  /* sees the first instruction's */
    ir_insn_end(ir);
    ir_exit_direct(ir, 6);
    ir_finish(ir, 6);
    expect(ir, true,
           "region 6\n"
           "block 0\n"
           "    head 2, run 3 @+0 #0\n"
           "  insn +0\n"
           "    %2 = i64 load.64 0x40i64 @+0 #0\n"
           "  insn +3\n"
           "    r1 := 7i64\n"
           "    r2 := %2\n"
           "    store.64 0x40i64, 7i64 @+3 #1\n"
           "    r1 := %2\n"
           "    exit direct +6 @+6 #2\n");
}

static void snapshots_are_shared(void)
{
    Ir *ir = start();
    Val a = ir_imm(ir, I64, 64);
    ir_insn_start(ir, 0);
    Val v = ir_load(ir, I64, MO_64, a);
    Val w = ir_load(ir, I64, MO_64, a);
    g_assert_cmpuint(v, !=, w);                 /* loads are never the same: it may be a device */
    ir_store(ir, MO_64, a, v);
    ir_insn_end(ir);
    g_assert_cmpuint(ir->n_snaps, ==, 1);       /* and the head's is the same too */
    ir_insn_start(ir, 4);
    ir_store(ir, MO_64, a, w);
    ir_insn_end(ir);
    g_assert_cmpuint(ir->n_snaps, ==, 2);
    ir_exit_run(ir, EXITR_HALT, 8);
    ir_finish(ir, 8);
    ir_free(ir);
}

/* Dirty slots that a helper reads or may write are stored first; copies of those it writes are read again. */
static void helper_sets(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val r1 = ir_get(ir, TS_R1);
    ir_put(ir, TS_R2, r1);                      /* read and written by mutate */
    ir_put(ir, TS_R4, r1);                      /* written */
    ir_put(ir, TS_R7, r1);                      /* neither */
    ir_insn_end(ir);
    ir_insn_start(ir, 4);
    Val r3 = ir_get(ir, TS_R3);
    ir_call(ir, &th_mutate, r3);
    Val r2 = ir_get(ir, TS_R2), r4 = ir_get(ir, TS_R4), r7 = ir_get(ir, TS_R7), again = ir_get(ir, TS_R3);
    g_assert_cmpuint(r2, !=, r1);
    g_assert_cmpuint(r4, !=, r1);
    g_assert_cmpuint(r7, ==, r1);
    g_assert_cmpuint(again, ==, r3);
    ir_put(ir, TS_R0, r2);
    ir_put(ir, TS_R1, r4);
    ir_insn_end(ir);
    ir_exit_direct(ir, 8);
    ir_finish(ir, 8);
    expect(ir, true,
           "region 8\n"
           "block 0\n"
           "    head 2, run 3 @+0 #0\n"
           "  insn +0\n"
           "    %2 = i64 slot_get r1\n"
           "  insn +4\n"
           "    %3 = i64 slot_get r3\n"
           "    slot_put r2, %2\n"
           "    slot_put r4, %2\n"
           "    %6 = i16 call mutate(%3)\n"
           "    %7 = i64 slot_get r2\n"
           "    %8 = i64 slot_get r4\n"
           "    r7 := %2\n"
           "    r2 := -\n"
           "    r4 := -\n"
           "    r0 := %7\n"
           "    r1 := %8\n"
           "    exit direct +8 @+8 #2\n");
}

/* A helper that cannot fail takes pending slots as well; nothing may leave after it in the instruction. */
static void helper_takes_pending(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val k = ir_imm(ir, I64, 1), l = ir_imm(ir, I64, 2);
    ir_put(ir, TS_R0, k);
    ir_insn_end(ir);
    ir_insn_start(ir, 4);
    ir_put(ir, TS_R0, l);
    ir_put(ir, TS_TMP, k);                      /* scratch: stored, never committed */
    ir_call(ir, &th_read);
    ir_insn_end(ir);
    ir_exit_direct(ir, 8);
    ir_finish(ir, 8);
    expect(ir, false,
           "region 8\n"
           "block 0\n"
           "    head 2, run 3 @+0 #0\n"
           "  insn +0\n"
           "  insn +4\n"
           "    slot_put r0, 2i64\n"
           "    slot_put tmp, 1i64\n"
           "    %4 = i64 call read()\n"
           "    r0 := 1i64\n"
           "    r0 := -\n"
           "    exit direct +8 @+8 #2\n");
}

/* A helper that may fail leaves with the state at the instruction's start. */
static void faulting_helper(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val k = ir_imm(ir, I64, 1);
    ir_put(ir, TS_R5, k);
    ir_put(ir, TS_R1, k);
    ir_insn_end(ir);
    ir_insn_start(ir, 4);
    ir_put(ir, TS_R1, ir_imm(ir, I64, 2));
    Val none = ir_call(ir, &th_check, k, k);
    g_assert_cmpuint(none, ==, VAL_NONE);
    Val ret = ir_get(ir, TS_HELPER_RET);
    ir_put(ir, TS_R2, ret);
    ir_insn_end(ir);
    ir_exit_direct(ir, 8);
    ir_finish(ir, 8);
    expect(ir, true,
           "region 8\n"
           "block 0\n"
           "    head 2, run 3 @+0 #0\n"
           "  insn +0\n"
           "  insn +4\n"
           "    slot_put r5, 1i64\n"
           "    r1 := 1i64\n"
           "    r5 := -\n"
           "    call check(1i64, 1i64) @+4 #1\n"
           "    %4 = i64 slot_get ret\n"
           "    r1 := 2i64\n"
           "    r2 := %4\n"
           "    exit direct +8 @+8 #2\n");
}

static void abandon(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val r0 = ir_get(ir, TS_R0);
    Val sum = ir_addi(ir, r0, 1);
    ir_put(ir, TS_R2, sum);
    ir_insn_end(ir);
    uint32_t insns = ir->n_insns, snaps = ir->n_snaps, exits = ir->n_exits;
    ir_insn_start(ir, 4);
    Val r3 = ir_get(ir, TS_R3);
    ir_put(ir, TS_R0, r3);
    ir_call(ir, &th_mutate, r3);                /* stores r2, drops copies */
    ir_insn_abandon(ir);
    g_assert_cmpuint(ir->n_insns, ==, insns);
    g_assert_cmpuint(ir->n_snaps, ==, snaps);
    g_assert_cmpuint(ir->n_exits, ==, exits);
    g_assert_cmpuint(ir_guest_count(ir), ==, 1);
    g_assert_cmpuint(ir_get(ir, TS_R2), ==, sum);               /* dirty again */
    ir_exit_direct(ir, 4);
    ir_finish(ir, 4);
    expect(ir, true,
           "region 4\n"
           "block 0\n"
           "    head 1, run 3 @+0 #0\n"
           "  insn +0\n"
           "    %2 = i64 slot_get r0\n"
           "    %3 = i64 add %2, 1i64\n"
           "    r2 := %3\n"
           "    exit direct +4 @+4 #1\n");
}

static void exits(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val r0 = ir_get(ir, TS_R0);
    ir_put(ir, TS_R1, r0);
    Val p = ir_cmpi(ir, C_LT, r0, 5), never = ir_cmpi(ir, C_LTU, r0, 0);
    ir_raise_if(ir, p, 13, 0x18);               /* before the write */
    ir_raise_if(ir, never, 13, 0x18);           /* not made */
    ir_insn_end(ir);
    ir_exit_direct_if(ir, p, -100);             /* after it */
    ir_insn_start(ir, 4);
    Val pc = ir_pc(ir, 8);
    ir_put(ir, TS_PC, pc);
    ir_insn_end(ir);
    ir_exit_indirect(ir);
    ir_finish(ir, 8);
    expect(ir, true,
           "region 8\n"
           "block 0\n"
           "    head 2, run 3 @+0 #0\n"
           "  insn +0\n"
           "    %2 = i64 slot_get r0\n"
           "    %3 = p cmp.lt %2, 5i64\n"
           "    exit_if %3, raise 13 0x18 @+0 #0\n"
           "    r1 := %2\n"
           "    exit_if %3, direct -100 @-100 #1\n"
           "  insn +4\n"
           "    %6 = i64 slot_get pc\n"
           "    %7 = i64 add %6, 8i64\n"
           "    pc := %7\n"
           "    exit indirect @+0 #2\n");
}

/* An instruction that raises for certain: ir_insn_end() after it is allowed and does nothing more. */
static void raising(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    ir_put(ir, TS_R1, ir_imm(ir, I64, 1));
    ir_raise(ir, 6, 0);
    ir_insn_end(ir);
    ir_finish(ir, 2);
    expect(ir, true,
           "region 2\n"
           "block 0\n"
           "    head 1, run 3 @+0 #0\n"
           "  insn +0\n"
           "    exit raise 6 0x0 @+0 #0\n");
}

/* What is stored may be wider than the access: narrowing before it goes. */
static void narrow_stores(void)
{
    Ir *ir = start();
    ir_insn_start(ir, 0);
    Val r0 = ir_get(ir, TS_R0);
    Val b = ir_ext(ir, IR_TRUNC, I8, r0), w = ir_ext(ir, IR_TRUNC, I16, r0);
    Val z = ir_ext(ir, IR_ZEXT, I32, w);
    ir_store(ir, MO_8, r0, b);
    ir_store(ir, MO_16, r0, z);
    ir_store(ir, MO_32, r0, z);
    ir_insn_end(ir);
    ir_exit_direct(ir, 4);
    ir_finish(ir, 4);
    expect(ir, true,
           "region 4\n"
           "block 0\n"
           "    head 1, run 3 @+0 #0\n"
           "  insn +0\n"
           "    %2 = i64 slot_get r0\n"
           "    %4 = i16 trunc %2\n"
           "    %5 = i32 zext %4\n"
           "    store.8 %2, %2 @+0 #0\n"
           "    store.16 %2, %2 @+0 #0\n"
           "    store.32 %2, %5 @+0 #0\n"
           "    exit direct +4 @+4 #1\n");
}

static void constants(void)
{
    Ir *ir = start();
    uint64_t v;
    Val a = ir_imm(ir, I8, 0x1ff), b = ir_imm(ir, I8, UINT64_MAX);
    g_assert_cmpuint(a, ==, b);
    g_assert_true(ir_is_imm(ir, a, &v));
    g_assert_cmpuint(v, ==, 0xff);
    Val wide = ir_imm(ir, I16, 0xff);
    g_assert_cmpuint(a, !=, wide);
    Val x = ir_imm128(ir, 1, 2), y = ir_imm128(ir, 1, 2), z = ir_imm128(ir, 1, 3);
    g_assert_cmpuint(x, ==, y);
    g_assert_cmpuint(x, !=, z);
    for (unsigned i = 0; i < 5000; i++)         /* more than the hash holds */
        ir_imm(ir, I64, i * UINT64_C(0x10001));
    a = ir_imm(ir, I64, 0x10001 * UINT64_C(4999));
    g_assert_cmpuint(const_lo(ir, a), ==, 0x10001 * UINT64_C(4999));
    ir_free(ir);
}

/* Nothing of one region is found in the next. */
static void reset(void)
{
    Ir *ir = ir_new(&test_slots);
    for (unsigned i = 0; i < 3; i++) {
        ir_reset(ir);
        ir_block(ir);
        ir_insn_start(ir, 0);
        Val r0 = ir_get(ir, TS_R0), r1 = ir_get(ir, i ? TS_R1 : TS_R2);
        Val sum = ir_op2(ir, IR_ADD, r0, r1);
        g_assert_cmpuint(r0, ==, 2);
        g_assert_cmpuint(sum, ==, 4);
        ir_put(ir, TS_R3, sum);
        ir_insn_end(ir);
        ir_exit_direct(ir, 1);
        ir_finish(ir, 1);
        g_autofree char *bad = ir_verify(ir);
        g_assert_cmpstr(bad, ==, NULL);
        g_assert_cmpuint(ir->n_snaps, ==, 2);
    }
    ir_free(ir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/build/forwarding", forwarding);
    g_test_add_func("/tcg/build/pending", pending);
    g_test_add_func("/tcg/build/drops", drops);
    g_test_add_func("/tcg/build/snapshots", snapshots_are_shared);
    g_test_add_func("/tcg/build/helper-sets", helper_sets);
    g_test_add_func("/tcg/build/helper-takes-pending", helper_takes_pending);
    g_test_add_func("/tcg/build/faulting-helper", faulting_helper);
    g_test_add_func("/tcg/build/abandon", abandon);
    g_test_add_func("/tcg/build/exits", exits);
    g_test_add_func("/tcg/build/raising", raising);
    g_test_add_func("/tcg/build/narrow-stores", narrow_stores);
    g_test_add_func("/tcg/build/constants", constants);
    g_test_add_func("/tcg/build/reset", reset);
    return g_test_run();
}
