/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86-64 back end against the interpreter: random regions, with the TLB empty and filled, with registers handed out
 * at random, without the host's newer instructions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "tcg/build_int.h"
#include "tcg/hostop.h"
#include "tcg/x86_64/x64.h"
#include "tests/ir_random.h"

/* --- slow paths: generated code expects vector registers untouched */

#define KEEP_VECTORS(call) \
    uint8_t fx[512] __attribute__((aligned(16))); \
    __asm__ volatile("fxsave64 %0" : "=m"(fx)); \
    int r = call; \
    __asm__ volatile("fxrstor64 %0" : : "m"(fx)); \
    return r
#define GENERAL __attribute__((target("general-regs-only")))
GENERAL static int load(CpuState *c, uint64_t va, uint32_t mo) { KEEP_VECTORS(test_slow_ops.load(c, va, mo)); }
GENERAL static int store(CpuState *c, uint64_t va, uint32_t mo) { KEEP_VECTORS(test_slow_ops.store(c, va, mo)); }
GENERAL static int atomic(CpuState *c, uint64_t va, uint32_t fl) { KEEP_VECTORS(test_slow_ops.atomic(c, va, fl)); }
static const SlowOps slow_ops = { load, store, atomic, NULL };

typedef struct Rig {
    Backend    *be;
    CodeMemory  mem;
    size_t      used;
    TlbContext *ctx;
    Interp     *interp;
    Ir         *plain, *opt;
    TestCpu    *a, *b;
} Rig;

static void rig_open(Rig *r, const BackendOptions *o)
{
    r->mem.size = 1 << 20;
    r->mem.rw = mmap(NULL, r->mem.size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(r->mem.rw != MAP_FAILED);
    r->mem.rx = r->mem.rw;
    r->be = backend_new(&slow_ops, o, r->mem, &r->used);
    r->ctx = aligned_alloc(4096, (sizeof *r->ctx + 4095) & ~4095ul);
    for (unsigned i = 0; i < JUMP_SIZE; i++)
        r->ctx->jump[i] = (JumpEntry){ jump_empty(i), NULL };
    r->interp = interp_new(&test_slow_ops);
    r->plain = ir_new(&test_slots);
    r->opt = ir_new(&test_slots);
    ir_set_folding(r->plain, false);
    r->a = test_cpu_new();
    r->b = test_cpu_new();
}

static void rig_close(Rig *r)
{
    backend_free(r->be);
    munmap(r->mem.rw, r->mem.size);
    interp_free(r->interp);
    ir_free(r->plain);
    ir_free(r->opt);
    free(r->ctx);
    free(r->a);
    free(r->b);
}

static void fill_tlb(Rig *r, bool filled)
{
    for (unsigned i = 0; i < TLB_SIZE; i++)
        r->ctx->tlb[i] = (TlbEntry){ TLB_EMPTY, TLB_EMPTY, 0, 0 };
    for (unsigned page = 0; filled && page < TEST_RAM >> PAGE_BITS; page++)
        if (page != TEST_BAD_PAGE)
            r->ctx->tlb[page] = (TlbEntry){ page << PAGE_BITS,
                                            page == TEST_ROM_PAGE ? page << PAGE_BITS | TLB_SLOW : page << PAGE_BITS,
                                            (uintptr_t)r->b->ram, 0 };
}

static void describe(Rig *r, const CodeBlock *cb, uint32_t seed, const char *what)
{
    g_autoptr(GString) s = g_string_new(NULL);
    ir_print(r->opt, s);
    printf("# seed %u: %s\n%s\n", seed, what, s->str);
    FILE *f = fopen("/tmp/x64-fail.bin", "wb");
    if (f) {
        fwrite(cb->code, 1, cb->code_len, f);
        fclose(f);
        printf("# code in /tmp/x64-fail.bin\n");
    }
}

/* Runs r->opt compiled on b, which starts as a; r->plain was run on a. */
static bool agree(Rig *r, CpuExit x, uint32_t seed, unsigned exits[64])
{
    CodeBlock cb;
    r->b->s.ctx = r->ctx;
    if (g_getenv("VERBOSE")) {
        g_autoptr(GString) t = g_string_new(NULL);
        ir_print(r->opt, t);
        fprintf(stderr, "seed %u\n%s\n", seed, t->str);
    }
    g_assert_true(backend_compile(r->be, r->opt, r->used, r->mem.size - r->used, &cb));
    CpuExit y = backend_enter(r->be, &r->b->s, cb.code);
    exits[y.reason]++;
    g_autofree char *diff = NULL;
    if (y.reason == EXITR_FAULT) {
        backend_restore(r->be, &r->b->s, &cb, y.arg);
        y.arg = backend_insns_at(r->be, &cb, y.arg);
    }
    r->b->s.ctx = NULL;
    if (y.reason == EXITR_LINK || y.reason == EXITR_LOOKUP)
        y.arg = 0;
    if (x.reason == EXITR_LINK)
        x = (CpuExit){ y.reason == EXITR_LOOKUP ? EXITR_LOOKUP : EXITR_LINK, 0 };
    if (x.reason != y.reason || x.arg != y.arg)
        diff = g_strdup_printf("exit %u %#lx, interpreter %u %#lx", (unsigned)y.reason, y.arg, (unsigned)x.reason, x.arg);
    if (!diff)
        diff = test_cpu_diff(r->a, r->b);
    if (!diff)
        return true;
    describe(r, &cb, seed, diff);
    return false;
}

static void random_regions(const BackendOptions *o, unsigned features, uint32_t first, uint32_t n, unsigned flags)
{
    Rig rig = { 0 }, *r = &rig;
    unsigned exits[64] = { 0 };
    rig_open(r, o);
    if (features != ~0u) {
        r->be->features &= features;
        r->be->avx &= !!(features & HOST_AVX);
        rows_free(r->be->rows);
        r->be->rows = rows_new(x64_rows, x64_n_rows, r->be->features);
    }
    for (uint32_t seed = first; seed < first + n; seed++) {
        ir_random(r->plain, seed, flags);
        ir_random(r->opt, seed, flags);
        ir_pass_dead(r->opt);
        test_cpu_seed(r->a, seed);
        r->opt->entry_page_off = r->a->s.hot[PC_OFFSET / 8] & ~PAGE_MASK;
        memcpy(r->b, r->a, sizeof *r->b);
        fill_tlb(r, seed & 1);
        CpuExit x = interp_run(r->interp, &r->a->s, r->plain);
        if (!agree(r, x, seed, exits)) {
            g_test_fail();
            break;
        }
    }
    g_test_message("link %u, lookup %u, fault %u, raise %u, halt %u", exits[EXITR_LINK], exits[EXITR_LOOKUP],
                   exits[EXITR_FAULT], exits[EXITR_RAISE], exits[EXITR_HALT]);
    rig_close(r);
}

static uint32_t env(const char *name, uint32_t otherwise)
{
    const char *s = g_getenv(name);
    return s ? (uint32_t)atoi(s) : otherwise;
}

static void plain(void)
{
    random_regions(&(BackendOptions){ 0 }, ~0u, env("SEED", 0), env("N", 20000), env("FLAGS", IRR_ALL));
}
static void at_random(void)
{
    random_regions(&(BackendOptions){ .random_registers = true, .seed = 1 }, ~0u, env("SEED", 0), env("N", 20000),
                   env("FLAGS", IRR_ALL));
}
static void old_host(void)
{
    random_regions(&(BackendOptions){ 0 }, ~(HOST_AVX | HOST_AVX2 | HOST_BMI1 | HOST_BMI2 | HOST_LZCNT | HOST_POPCNT),
                   env("SEED", 0), env("N", 20000), env("FLAGS", IRR_ALL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/x64/random", plain);
    g_test_add_func("/tcg/x64/random-registers", at_random);
    g_test_add_func("/tcg/x64/old-host", old_host);
    return g_test_run();
}
