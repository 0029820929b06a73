/* SPDX-License-Identifier: GPL-2.0-or-later
 * The text form: what is printed reads back to the same; what is not IR is refused with a line number. */
#include <string.h>
#include "tcg/build_int.h"
#include "tests/ir_random.h"

static char *print(const Ir *ir)
{
    GString *s = g_string_new(NULL);
    ir_print(ir, s);
    return g_string_free(s, FALSE);
}

static void round_trip(void)
{
    Ir *ir = ir_new(&test_slots), *back = ir_new(&test_slots);

    for (uint32_t seed = 0; seed < 2000; seed++) {
        ir_random(ir, seed, IRR_ALL);
        if (seed & 1)
            ir_pass_dead(ir);
        g_autofree char *a = print(ir);
        g_autoptr(GError) err = NULL;
        if (!ir_parse(back, a, test_helpers, n_test_helpers, &err))
            g_error("seed %u: %s", seed, err->message);
        g_autofree char *bad = ir_verify(back), *b = print(back);
        g_assert_cmpstr(bad, ==, NULL);
        g_assert_cmpstr(a, ==, b);
    }
    ir_free(ir);
    ir_free(back);
}

static const char *const broken[] = {
    "",
    "hello",
    "region x",
    "block 1",
    "%1 = i64 slot_get r0",                         /* no block yet */
    "block 0\n %1 = i64 slot_get r9",
    "block 0\n %1 = i65 slot_get r0",
    "block 0\n %1 = i64 frob r0",
    "block 0\n %1 = i64 slot_get r0 r1",
    "block 0\n %1 = i64 slot_get r0\n %1 = i64 slot_get r0",
    "block 0\n %1 = i64 add %2, 3i64",
    "block 0\n %1 = i64 add 3, 3i64",
    "block 0\n %1 = p cmp.foo 3i64, 3i64",
    "block 0\n %1 = i64 load.24 3i64 @+0 #0",
    "block 0\n %1 = i64 load.32.fast 3i64 @+0 #0",
    "block 0\n %1 = i64 load.32 3i64",
    "block 0\n %1 = i64 atomic.nand.64 3i64, 3i64 @+0 #0",
    "block 0\n %1 = i64 call frob()",
    "block 0\n %1 = i64 call pure(1i64)",
    "block 0\n %1 = v128 host.frobps.0 0:1v128",
    "block 0\n exit nowhere @+0 #0",
    "block 0\n exit direct +4",
    "block 0\n exit indirect call @+0 #0",
    "block 0\n jump 0(",
    "block 0\n r0 :=",
    "block 0\n r0 := 1i64 2",
    "block 0\n %99999999999 = i64 slot_get r0",
    "block 0\n %2000000 = i64 slot_get r0",
};

static void refused(void)
{
    Ir *ir = ir_new(&test_slots);
    for (unsigned i = 0; i < G_N_ELEMENTS(broken); i++) {
        g_autoptr(GError) err = NULL;
        g_assert_false(ir_parse(ir, broken[i], test_helpers, n_test_helpers, &err));
        g_assert_nonnull(err);
        g_test_message("%s", err->message);
    }
    ir_free(ir);
}

/* Any prefix of a good text, and any text with a byte changed, is read or refused, nothing worse. */
static void mangled(void)
{
    Ir *ir = ir_new(&test_slots), *back = ir_new(&test_slots);
    uint64_t x = 88172645463325252u;

    for (uint32_t seed = 0; seed < 300; seed++) {
        ir_random(ir, seed, IRR_ALL);
        g_autofree char *a = print(ir);
        for (unsigned i = 0; i < 20; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            g_autofree char *b = g_strdup(a);
            b[x % strlen(a)] = x & 1 << 20 ? 0 : (char)(32 + (x >> 32) % 95);
            g_autoptr(GError) err = NULL;
            if (ir_parse(back, b, test_helpers, n_test_helpers, &err)) {
                g_free(ir_verify(back));        /* right or wrong, it must not crash */
                g_autofree char *c = print(back);
                g_assert_nonnull(c);
            }
        }
    }
    ir_free(ir);
    ir_free(back);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/text/round-trip", round_trip);
    g_test_add_func("/tcg/text/refused", refused);
    g_test_add_func("/tcg/text/mangled", mangled);
    return g_test_run();
}
