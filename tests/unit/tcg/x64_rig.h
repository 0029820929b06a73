/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the tests of the x86-64 back end share: code memory, a TLB, two CPUs of tests/ir_slots.h, and the
 * comparison of a compiled region with the interpreter. */
#ifndef RHEA_TESTS_X64_RIG_H
#define RHEA_TESTS_X64_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "tcg/build_int.h"
#include "tcg/hostop.h"
#include "tcg/x86_64/x64.h"
#include "tests/ir_random.h"

/* Slow paths: generated code expects vector registers untouched, whole ones where the host has AVX (the C library's memcpy()
 * uses them). */
#define RIG_KEEP_VECTORS(call) \
    uint8_t area[1024] __attribute__((aligned(64))); \
    bool avx = __builtin_cpu_supports("avx"); \
    __builtin_memset(area + 512, 0, 64); \
    if (avx) \
        __asm__ volatile("xsave64 %0" : "+m"(area) : "a"(7), "d"(0)); \
    else \
        __asm__ volatile("fxsave64 %0" : "=m"(area)); \
    int r = call; \
    if (avx) \
        __asm__ volatile("xrstor64 %0" : : "m"(area), "a"(7), "d"(0)); \
    else \
        __asm__ volatile("fxrstor64 %0" : : "m"(area)); \
    return r
#define RIG_GENERAL __attribute__((target("general-regs-only"), no_sanitize("address", "undefined")))
RIG_GENERAL static int rig_load(CpuState *c, uint64_t va, uint32_t mo)
{
    RIG_KEEP_VECTORS(test_slow_ops.load(c, va, mo));
}
RIG_GENERAL static int rig_store(CpuState *c, uint64_t va, uint32_t mo)
{
    RIG_KEEP_VECTORS(test_slow_ops.store(c, va, mo));
}
RIG_GENERAL static int rig_atomic(CpuState *c, uint64_t va, uint32_t fl)
{
    RIG_KEEP_VECTORS(test_slow_ops.atomic(c, va, fl));
}
static const SlowOps rig_slow_ops = { rig_load, rig_store, rig_atomic, NULL };

typedef struct Rig {
    Backend    *be;
    CodeMemory  mem;
    size_t      used;
    TlbContext *ctx;
    Interp     *interp;
    Ir         *plain, *opt;
    TestCpu    *a, *b;
    bool        loops;                  /* jumps of the region to itself are linked */
} Rig;

static inline void rig_open(Rig *r, const BackendOptions *o)
{
    r->mem.size = 1 << 20;
    r->mem.rw = mmap(NULL, r->mem.size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(r->mem.rw != MAP_FAILED);
    r->mem.rx = r->mem.rw;
    BackendOptions exact = *o;
    exact.exact_count = true;           /* as the interpreter counts, which it is compared with */
    r->be = backend_new(&rig_slow_ops, &exact, r->mem, &r->used);
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

static inline void rig_close(Rig *r)
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

/* As on a host that lacks what is not in features. */
static inline void rig_limit(Rig *r, unsigned features)
{
    r->be->features &= features;
    r->be->avx &= !!(features & HOST_AVX);
    rows_free(r->be->rows);
    r->be->rows = rows_new(x64_rows, x64_n_rows, r->be->features);
}

static inline void rig_fill_tlb(Rig *r, bool filled)
{
    for (unsigned i = 0; i < TLB_SIZE; i++)
        r->ctx->tlb[i] = (TlbEntry){ TLB_EMPTY, TLB_EMPTY, 0, 0 };
    for (unsigned page = 0; filled && page < TEST_RAM >> PAGE_BITS; page++)
        if (page != TEST_BAD_PAGE)
            r->ctx->tlb[page] = (TlbEntry){ page << PAGE_BITS,
                                            page == TEST_ROM_PAGE ? page << PAGE_BITS | TLB_SLOW : page << PAGE_BITS,
                                            (uintptr_t)r->b->ram, 0 };
}

static inline void rig_describe(Rig *r, const CodeBlock *cb, uint32_t seed, const char *what)
{
    g_autoptr(GString) s = g_string_new(NULL);
    ir_print(r->opt, s);
    g_test_message("seed %u: %s\n%s", seed, what, s->str);
    g_string_set_size(s, 0);
    for (uint32_t i = 0; i < cb->code_len; i++)
        g_string_append_printf(s, "%02x", cb->code[i]);
    g_test_message("code: %s", s->str);
}

/* Runs r->opt compiled on b, which is as a was before another form of it was interpreted there, with exit
 * x. */
static inline bool rig_agree(Rig *r, CpuExit x, uint32_t seed, unsigned exits[64])
{
    CodeBlock cb;
    r->b->s.ctx = r->ctx;
    g_assert_true(backend_compile(r->be, r->opt, r->used, r->mem.size - r->used, &cb));
    for (unsigned i = 0; r->loops && i < cb.n_links; i++)
        backend_link(r->be, &cb.links[i], &cb);
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
        diff = g_strdup_printf("exit %u %#lx, "
                               "interpreter %u %#lx", (unsigned)y.reason, y.arg, (unsigned)x.reason, x.arg);
    if (!diff)
        diff = test_cpu_diff(r->a, r->b);
    if (!diff)
        return true;
    rig_describe(r, &cb, seed, diff);
    g_test_fail();
    return false;
}

#endif
