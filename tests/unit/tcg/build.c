/* SPDX-License-Identifier: GPL-2.0-or-later
 * The builder: forwarding of slots, pending and committed writes, snapshots, helpers' read and write sets, exits. */
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/build/forwarding", forwarding);
    return g_test_run();
}
