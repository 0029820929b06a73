/* SPDX-License-Identifier: GPL-2.0-or-later
 * String compares of SSE4.2: the portable one against the host's instruction, every immediate, random operands of few
 * values so that matches are frequent.  (What both make of lengths and flags is compared with the host by fuzz/insn_x86.) */
#include <glib.h>

#include "target/x86/sse.h"
#include "tcg/hostop.h"

static void portable_against_host(void)
{
    GRand *r = g_rand_new_with_seed(1);
    for (unsigned n = 0; n < 200000; n++) {
        V128 a, b;
        unsigned imm = n % 64, most = imm & 1 ? 8 : 16, values = n / 64 % 3 ? 4 : 256, want;
        for (unsigned i = 0; i < 16; i++) {
            a.u8[i] = g_rand_int_range(r, 0, values) - (values == 4 ? 2 : 0);
            b.u8[i] = g_rand_int_range(r, 0, values) - (values == 4 ? 2 : 0);
        }
        unsigned len_a = g_rand_int_range(r, 0, most + 1), len_b = g_rand_int_range(r, 0, most + 1);
        if (!host_compare_strings(&a, len_a, &b, len_b, imm, &want)) {
            g_test_skip("the host has no SSE4.2");
            break;
        }
        g_assert_cmphex(sse_compare_strings(&a, len_a, &b, len_b, imm), ==, want);
    }
    g_rand_free(r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/target/x86/strings/portable-against-host", portable_against_host);
    return g_test_run();
}
