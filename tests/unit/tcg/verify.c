/* SPDX-License-Identifier: GPL-2.0-or-later
 * The verifier: regions that parse but are not well formed, each with the complaint it earns. */
#include <string.h>
#include "tcg/build_int.h"
#include "tcg/hostop.h"
#include "tests/ir_slots.h"

typedef struct Broken { const char *body, *complaint; } Broken;

/* %1 to %9 stand in front of each body; "    exit" ends it unless the body says otherwise. */
static const char *const prologue =
    "region 4\n"
    "block 0\n"
    "    %1 = i64 slot_get r0\n"
    "    %2 = i32 slot_get w0\n"
    "    %3 = i8 slot_get b0\n"
    "    %4 = i16 slot_get h0\n"
    "    %5 = v128 slot_get v0\n"
    "    %6 = p cmp.eq %1, 0i64\n"
    "  insn +0\n";
static const char *const epilogue = "    exit direct +4 @+4 #1\n";

static const Broken list[] = {
    { "    %10 = i64 add %1, %2\n", "operand b is i32, not i64" },
    { "    %10 = i64 add %1\n", "operand b is not defined" },
    { "    %10 = i64 not %1, %1\n", "not used" },
    { "    %10 = p add %6, %6\n", "result is an integer" },
    { "    %10 = i64 cmp.eq %1, %1\n", "result is a predicate" },
    { "    %10 = p cmp.eq %1, %2\n", "integers of one type" },
    { "    %10 = p cmp.eq %6, %6\n", "integers of one type" },
    { "    %10 = v128 slot_get r0\n", "of another type" },
    { "    slot_put r0, %2\n", "of another type" },
    { "    %10 = i64 slot_get sys\n", "no such slot" },
    { "    %10 = f64 slot_get r0\n", "no operation gives f64" },
    { "    %10 = i8 shl %3, 1i8\n", "i32 or i64 only" },
    { "    %10 = i64 shl %1, 64i8\n", "shift count 64" },
    { "    %10 = i64 shl %1, 1i64\n", "operand b is i64, not i8" },
    { "    %10 = i16 bswap %4\n", "i32 or i64 only" },
    { "    %10 = i32 zext %1\n", "from i64 to i32" },
    { "    %10 = i64 trunc %2\n", "from i32 to i64" },
    { "    %10 = i64 sext %6\n", "operand a is not an integer" },
    { "    %10 = i32 extract %2, 30, 3\n", "does not lie in the value" },
    { "    %10 = i32 deposit %2, %2, 0, 0\n", "does not lie in the value" },
    { "    %10 = i64 select %1, %1, %1\n", "operand a is i64, not p" },
    { "    %10 = i64 second %1\n", "does not follow its first" },
    { "    %10 = i64 addc %1, %1, %6\n    %11 = i64 second %10\n", "second result of another type" },
    { "    %10 = i32 load.64 %1 @+0 #0\n", "access size and type" },
    { "    %10 = i32 load.32 %2 @+0 #0\n", "operand a is i32, not i64" },
    { "    %10 = v128 load.16 %1 @+0 #0\n", "access size and type" },
    { "    %10 = v128 load.64.be %1 @+0 #0\n", "no byte order" },
    { "    store.64 %1, %2 @+0 #0\n", "more than it has" },
    { "    %10 = i32 atomic.add.64 %1, %2 @+0 #0\n", "access size and type" },
    { "    %10 = i32 atomic.add.32 %1, %2, %2 @+0 #0\n", "third operand" },
    { "    %10 = i32 atomic.cas.32 %1, %2 @+0 #0\n", "third operand" },
    { "    %10 = i64 call pure(%1, %1, %5)\n", "arguments of helpers are integers" },
    { "    %10 = i32 call pure(%1, %1, %1)\n", "gives another type" },
    { "    %10 = v128 host.addps.0 %5\n", "operand is not defined" },
    { "    %10 = v128 host.addps.0 %5, %1\n", "wants another type" },
    { "    %10 = i64 host.addps.0 %5, %5\n", "gives another type" },
    { "    %10 = v128 host.addps.0 %5, %5, %5\n", "has fewer operands" },
    { "    exit_if %1, direct +4 @+4 #1\n", "operand a is i64, not p" },
    { "    head 1, direct +4 @+4 #1\n", "leaves to the run loop" },
    { "    r0 := %2\n", "r0 is i32, not i64" },
    { "    exit direct +4 @+4 #1\n", "ends with its only exit" },
    { "    jump 1()\nblock 1\n    %10 = i64 param 0\n", "takes 1 parameters" },
    { "    jump 1(%2)\nblock 1\n    %10 = i64 param 0\n", "argument is i32, not i64" },
    { "    jump 2()\nblock 1\n", "no such edge" },
    { "    jump 1()\nblock 1\n    jump 0()\nblock 2\n", "without a head" },
    { "    jump 1()\nblock 1\n    %10 = i64 add %1, 1i64\n    %11 = i64 param 0\n", "parameters come first" },
    { "    branch %6, 1(), 2()\nblock 1\n    %10 = i64 slot_get r0\n    jump 2()\nblock 2\n    %11 = i64 not %10\n",
      "does not dominate" },
};

static void rejects(void)
{
    Ir *ir = ir_new(&test_slots);
    for (unsigned i = 0; i < G_N_ELEMENTS(list); i++) {
        g_autofree char *text = g_strconcat(prologue, list[i].body, epilogue, NULL);
        g_autoptr(GError) err = NULL;
        if (!ir_parse(ir, text, test_helpers, n_test_helpers, &err))
            g_error("%s%s", list[i].body, err->message);
        g_autofree char *error = ir_verify(ir);
        g_test_message("%s", error);
        if (!error || !strstr(error, list[i].complaint))
            g_error("%swanted: %s\ngot: %s", list[i].body, list[i].complaint, error);
    }
    ir_free(ir);
}

/* What no text can say. */
static void rejects_more(void)
{
    Ir *ir = ir_new(&test_slots);
    g_autofree char *text = g_strconcat(prologue, "    %10 = i64 add %1, %1\n", epilogue, NULL);

    for (unsigned i = 0; i < 8; i++) {
        g_assert_true(ir_parse(ir, text, test_helpers, n_test_helpers, NULL));
        g_autofree char *fine = ir_verify(ir);
        g_assert_cmpstr(fine, ==, NULL);
        switch (i) {
        case 0: ir->insns[10].op = 200; break;
        case 1: ir->insns[10].a = 10; break;
        case 2: ir->insns[10].b = VAL_CONST | 77; break;
        case 3: ir->insns[6].aux = IR_N_CONDS; break;
        case 4: ir->insns[11].aux = 9; break;
        case 5: ir->snaps[0].n_commits = 5; break;
        case 6: ir->blocks[0].end--; break;
        default: ir->n_blocks = 0;
        }
        g_autofree char *error = ir_verify(ir);
        g_assert_nonnull(error);
    }
    ir_free(ir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/verify/rejects", rejects);
    g_test_add_func("/tcg/verify/rejects-more", rejects_more);
    return g_test_run();
}
