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

typedef struct Bench { Ir *ir; Interp *in; TestCpu *cpu; } Bench;

static CpuExit run_text(Bench *b, const char *text)
{
    g_autoptr(GError) err = NULL;
    if (!ir_parse(b->ir, text, test_helpers, n_test_helpers, &err))
        g_error("%s", err->message);
    g_autofree char *bad = ir_verify(b->ir);
    g_assert_cmpstr(bad, ==, NULL);
    ir_pass_dead(b->ir);
    return interp_run(b->in, &b->cpu->s, b->ir);
}

static Bench bench_new(void)
{
    Bench b = { ir_new(&test_slots), interp_new(&test_slow_ops), test_cpu_new() };
    b.cpu->s.countdown = 100;
    b.cpu->s.hot[16] = 0x1000;
    b.cpu->s.fp_control = 0x1f80;
    return b;
}

static void bench_free(Bench *b)
{
    ir_free(b->ir);
    interp_free(b->in);
    free(b->cpu);
}

/* Fibonacci: parameters that change places on the way back. */
static const char *const loop =
    "region 8\n"
    "block 0\n"
    "    head 2, run 3 @+0 #0\n"
    "    %2 = i64 slot_get r0\n"
    "    jump 1(%2, 0i64, 1i64)\n"
    "block 1\n"
    "    %4 = i64 param 0\n"
    "    %5 = i64 param 1\n"
    "    %6 = i64 param 2\n"
    "    r0 := %4\n"
    "    r1 := %5\n"
    "    head 1, run 3 @+4 #0\n"
    "    %8 = i64 add %5, %6\n"
    "    %9 = i64 sub %4, 1i64\n"
    "    %10 = p cmp.eq %9, 0i64\n"
    "    branch %10, 2(), 1(%9, %6, %8)\n"
    "block 2\n"
    "    r0 := 0i64\n"
    "    r1 := %6\n"
    "    exit direct +8 @+8 #2\n";

static void loops(void)
{
    Bench b = bench_new();

    b.cpu->s.hot[0] = 10;
    CpuExit x = run_text(&b, loop);
    g_assert_cmpuint(x.reason, ==, EXITR_LINK);
    g_assert_cmpuint(b.cpu->s.hot[1], ==, 55);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1008);
    g_assert_cmpint(b.cpu->s.countdown, ==, 100 - 2 - 10);

    /* The countdown runs out in the middle: state of that iteration, and what the head took. */
    b.cpu->s.countdown = 5;
    b.cpu->s.hot[0] = 10;
    b.cpu->s.hot[16] = 0x1000;
    x = run_text(&b, loop);
    g_assert_cmpuint(x.reason, ==, EXITR_KICK);
    g_assert_cmpuint(x.arg, ==, 1);
    g_assert_cmpuint(b.cpu->s.hot[0], ==, 7);
    g_assert_cmpuint(b.cpu->s.hot[1], ==, 2);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1004);

    b.cpu->s.countdown = 1;
    b.cpu->s.hot[16] = 0x1000;
    x = run_text(&b, loop);
    g_assert_cmpuint(x.reason, ==, EXITR_KICK);
    g_assert_cmpuint(x.arg, ==, 2);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1000);
    bench_free(&b);
}

static void faults(void)
{
    static const char *const text =
        "region 8\n"
        "block 0\n"
        "    head 2, run 3 @+0 #0\n"
        "    %2 = i64 slot_get r0\n"
        "    %3 = i64 slot_get r1\n"
        "    r2 := 5i64\n"
        "    %4 = i64 load.64 %2 @+4 #1\n"
        "    r2 := %4\n"
        "    r3 := 6i64\n"
        "    store.32.sc %3, %4 @+6 #2\n"
        "    exit run 4 @+8 #3\n";
    Bench b = bench_new();

    b.cpu->s.hot[0] = TEST_BAD_PAGE << PAGE_BITS;
    CpuExit x = run_text(&b, text);
    g_assert_cmpuint(x.reason, ==, EXITR_FAULT);
    g_assert_cmpuint(x.arg, ==, 1);
    g_assert_cmpuint(b.cpu->s.hot[2], ==, 5);
    g_assert_cmpuint(b.cpu->s.hot[3], ==, 0);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1004);

    b.cpu->s.hot[0] = 64;
    b.cpu->s.hot[1] = (TEST_ROM_PAGE << PAGE_BITS) - 2;         /* straddles */
    b.cpu->s.hot[16] = 0x1000;
    b.cpu->ram[65] = 7;
    x = run_text(&b, text);
    g_assert_cmpuint(x.reason, ==, EXITR_FAULT);
    g_assert_cmpuint(x.arg, ==, 2);
    g_assert_cmpuint(b.cpu->s.hot[2], ==, 0x700);
    g_assert_cmpuint(b.cpu->s.hot[3], ==, 6);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1006);

    b.cpu->s.hot[1] = 128;
    b.cpu->s.hot[16] = 0x1000;
    x = run_text(&b, text);
    g_assert_cmpuint(x.reason, ==, 4);
    g_assert_cmpuint(b.cpu->ram[129], ==, 7);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1008);
    bench_free(&b);
}

/* A failing helper leaves like a failing load; a raise has vector and error. */
static void helpers_and_raises(void)
{
    static const char *const text =
        "region 8\n"
        "block 0\n"
        "    %1 = i64 slot_get r0\n"
        "    r1 := 1i64\n"
        "    call check(%1, 3i64) @+4 #1\n"
        "    %3 = i64 slot_get ret\n"
        "    r1 := %3\n"
        "    exit raise 13 0x18 @+6 #2\n";
    Bench b = bench_new();

    CpuExit x = run_text(&b, text);
    g_assert_cmpuint(x.reason, ==, EXITR_FAULT);
    g_assert_cmpuint(x.arg, ==, 1);
    g_assert_cmpuint(b.cpu->s.hot[1], ==, 1);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1004);

    b.cpu->s.hot[0] = 5;
    b.cpu->s.hot[16] = 0x1000;
    x = run_text(&b, text);
    g_assert_cmpuint(x.reason, ==, EXITR_RAISE);
    g_assert_cmpuint(x.arg, ==, 13 | UINT64_C(0x18) << 32);
    g_assert_cmpuint(b.cpu->s.hot[1], ==, 6);
    g_assert_cmpuint(b.cpu->s.hot[6], ==, 3);
    g_assert_cmpuint(b.cpu->s.hot[16], ==, 0x1006);
    bench_free(&b);
}

/* Rounding from fp_control, sticky flags back into it. */
static void floating_point(void)
{
    static const char *const text =
        "region 4\n"
        "block 0\n"
        "    %1 = v128 slot_get v0\n"
        "    %2 = v128 slot_get v1\n"
        "    %3 = v128 host.divsd.0 %1, %2\n"
        "    v2 := %3\n"
        "    exit direct +4 @+4 #1\n";
    Bench b = bench_new();

    b.cpu->v[0].f64[0] = 1;
    b.cpu->v[1].f64[0] = 3;
    run_text(&b, text);
    double nearest = b.cpu->v[2].f64[0];
    g_assert_cmphex(b.cpu->s.fp_control, ==, 0x1f80 | 0x20);    /* inexact */
    b.cpu->s.fp_control = 0x1f80 | 2 << 13;                     /* up */
    run_text(&b, text);
    g_assert_cmpfloat(b.cpu->v[2].f64[0], >, nearest);
    b.cpu->v[1].f64[0] = 0;
    run_text(&b, text);
    g_assert_cmphex(b.cpu->s.fp_control, ==, (0x1f80 | 2 << 13) | 0x24);        /* and division by zero */
    bench_free(&b);
}

static uint64_t replay(CpuState *s, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    g_assert_true(((const IrHelper *)(uintptr_t)s->scratch[0]) == &th_five);
    return a + b + c + d + e;
}

/* Check mode: helpers go to the hook. */
static void replayed(void)
{
    static const char *const text =
        "region 4\n"
        "block 0\n"
        "    %2 = i32 call five(1i64, 2i64, 3i64, 4i16, 0xffffffffi64)\n"
        "    w0 := %2\n"
        "    exit direct +4 @+4 #1\n";
    Bench b = bench_new();
    SlowOps ops = test_slow_ops;

    ops.replay = replay;
    interp_free(b.in);
    b.in = interp_new(&ops);
    run_text(&b, text);
    g_assert_cmpuint((uint32_t)b.cpu->s.hot[17], ==, 9);
    bench_free(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/interp/loops", loops);
    g_test_add_func("/tcg/interp/faults", faults);
    g_test_add_func("/tcg/interp/helpers-and-raises", helpers_and_raises);
    g_test_add_func("/tcg/interp/floating-point", floating_point);
    g_test_add_func("/tcg/interp/replayed", replayed);
    g_test_add_func("/tcg/interp/folded-equals-plain", folded_equals_plain);
    return g_test_run();
}
