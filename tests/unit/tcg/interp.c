/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random regions through the interpreter: as built plainly, and folded and after the backward pass.  Both must end in
 * the same state. */
#include <stdlib.h>
#include <string.h>
#include "tcg/build_int.h"
#include "tests/ir_random.h"

static void describe(Ir *ir, const char *title)
{
    GString *s = g_string_new(NULL);
    ir_print(ir, s);
    g_test_message("%s\n%s", title, s->str);
    g_string_free(s, TRUE);
}

static bool well_formed(Ir *ir, uint32_t seed)
{
    g_autofree char *error = ir_verify(ir);
    if (!error)
        return true;
    describe(ir, error);
    g_test_message("seed %u", seed);
    g_test_fail();
    return false;
}

static void folded_equals_plain(void)
{
    Ir *plain = ir_new(&test_slots), *opt = ir_new(&test_slots);
    Interp *in = interp_new(&test_slow_ops);
    TestCpu *a = test_cpu_new(), *b = test_cpu_new();
    unsigned exits[64] = { 0 };

    ir_set_folding(plain, false);
    for (uint32_t seed = 0; seed < 20000; seed++) {
        ir_random(plain, seed, IRR_ALL);
        ir_random(opt, seed, IRR_ALL);
        if (!well_formed(plain, seed) || !well_formed(opt, seed))
            break;
        ir_pass_dead(opt);
        if (!well_formed(opt, seed))
            break;
        test_cpu_seed(a, seed);
        memcpy(b, a, sizeof *b);
        CpuExit x = interp_run(in, &a->s, plain), y = interp_run(in, &b->s, opt);
        g_autofree char *diff = test_cpu_diff(a, b);
        if (!diff && (x.reason != y.reason || x.arg != y.arg))
            diff = g_strdup("exit");
        if (diff) {
            describe(plain, "plain");
            describe(opt, "folded");
            g_test_message("seed %u: %s", seed, diff);
            g_test_fail();
            break;
        }
        exits[x.reason]++;
    }
    g_test_message("link %u, lookup %u, fault %u, raise %u, halt %u", exits[EXITR_LINK], exits[EXITR_LOOKUP],
                   exits[EXITR_FAULT], exits[EXITR_RAISE], exits[EXITR_HALT]);
    interp_free(in);
    ir_free(plain);
    ir_free(opt);
    free(a);
    free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/interp/folded-equals-plain", folded_equals_plain);
    return g_test_run();
}
