/* SPDX-License-Identifier: GPL-2.0-or-later
 * XSAVE and its relatives beside the host's own: random states, random requests, headers whole and forged; what the host has
 * not, or gives to kernels only, by hand. */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "tests/x86_fake.h"

enum { AREA = 4096, AT = 0x900000, IMG = 0x901000, FX_AT = 0x902000, LEN = 2696, BV = 512, COMP = 520,
       MISALIGNED = 30 /* MXCSR_MASK has AMD's MM on hosts that have it */ };

typedef enum Op { XSAVE, XSAVEOPT, XSAVEC, XRSTOR, FXSAVE, FXRSTOR, XSAVES, XRSTORS } Op;
/* with a 64-bit operand and [rsi] */
static const uint8_t code_of[][4] = {
    { 0x48, 0x0f, 0xae, 0x26 }, { 0x48, 0x0f, 0xae, 0x36 }, { 0x48, 0x0f, 0xc7, 0x26 }, { 0x48, 0x0f, 0xae, 0x2e },
    { 0x48, 0x0f, 0xae, 0x06 }, { 0x48, 0x0f, 0xae, 0x0e }, { 0x48, 0x0f, 0xc7, 0x2e }, { 0x48, 0x0f, 0xc7, 0x1e },
};

static int guest(Fake *f, Op op, uint64_t rfbm, uint64_t at)
{
    X86Cpu *c = f->c;
    memcpy(f->ram + F_CODE, code_of[op], 4);
    *x86_pc(c) = F_CODE;
    c->s.hot[RSI] = at;
    c->s.hot[RAX] = (uint32_t)rfbm;
    c->s.hot[RDX] = rfbm >> 32;
    c->exc_pending = false;
    return fake_step(f);
}

static Fake *guest_new(uint64_t xcr0)
{
    Fake *f = fake_new("max");
    fake_long(f);
    f->c->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    f->c->xcr0 = xcr0;
    x86_mode_changed(f->c);
    return f;
}

/* --- the host's */

static sigjmp_buf caught;
static void on_signal(int sig) { (void)sig; siglongjmp(caught, 1); }

/* Restores `img` whole, then does `op` on `at`, then saves all to `after` (a restore's result).  False: it faulted. */
static bool host(Op op, uint32_t rfbm, uint8_t *at, const uint8_t *img, uint8_t *after)
{
    static const uint8_t fresh[AREA] __attribute__((aligned(64))) = { [0] = 0x7f, [1] = 3, [24] = 0x80, [25] = 0x1f };
    volatile bool ok = false;
    if (!sigsetjmp(caught, 1)) {
#define DO(insn) \
    __asm__ volatile("xrstor64 (%2)\n mov %4, %%eax\n" insn " (%3)\n mov $-1, %%eax\n xsave64 (%5)\n xrstor64 (%6)" \
                     : : "a"(-1), "d"(0), "r"(img), "r"(at), "r"(rfbm), "r"(after), "r"(fresh) : "memory")
        switch (op) {
        case XSAVE: DO("xsave64"); break;
        case XSAVEOPT: DO("xsaveopt64"); break;
        case XSAVEC: DO("xsavec64"); break;
        case FXSAVE: DO("fxsave64"); break;
        case FXRSTOR: DO("fxrstor64"); break;
        default: DO("xrstor64"); break;
        }
        ok = true;
    } else {
        __asm__ volatile("xrstor64 (%2)" : : "a"(-1), "d"(0), "r"(fresh) : "memory");
    }
    return ok;
}

static uint64_t host_xcr0(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* A valid state in standard format, with components left out at random. */
static void random_state(GRand *r, uint8_t *img, uint64_t xcr0)
{
    for (unsigned i = 0; i < LEN; i++)
        img[i] = g_rand_int(r);
    memset(img + BV, 0, 64);
    uint64_t bv = g_rand_int(r) & xcr0;
    memcpy(img + BV, &bv, 8);
    /* The host may be AMD's, whose processors keep the pointers only while an exception is pending. */
    bool pending = g_rand_boolean(r);
    uint16_t fsw = (g_rand_int(r) & 0x7f00) | (pending ? 0x8081 : 0), fcw = pending ? 0x37e : 0x37f;
    if (!pending)
        memset(img + 6, 0, 18);
    memcpy(img, &fcw, 2);
    memcpy(img + 2, &fsw, 2);
    uint32_t mxcsr = g_rand_boolean(r) ? 0x1f80 : (g_rand_int(r) & 0xffff) | 0x1f80;
    memcpy(img + 24, &mxcsr, 4);
    img[5] = 0;
    img[7] &= 7;                        /* FOP */
    for (unsigned at = 8; at < 24; at += 8) {           /* FIP, FDP: canonical, which processors insist on or cut */
        uint64_t v;
        memcpy(&v, img + at, 8);
        v = (uint64_t)((int64_t)(v << 16) >> 16);
        memcpy(img + at, &v, 8);
    }
    if (!g_rand_int_range(r, 0, 4))
        memset(img + 160, 0, 256);
    if (!g_rand_int_range(r, 0, 4))
        memset(img + 576, 0, 256);
    for (unsigned i = 0; i < 8; i++)                    /* the six bytes above each register are undefined in memory */
        memset(img + 32 + 16 * i + 10, 0, 6);
}

static void random_header(GRand *r, uint8_t *at, uint64_t xcr0)
{
    uint64_t comp = g_rand_boolean(r) ? (g_rand_int(r) & xcr0) | UINT64_C(1) << 63 : 0;
    uint64_t bv = g_rand_int(r) & xcr0 & (comp ? comp : ~UINT64_C(0));
    memset(at + BV, 0, 64);
    switch (g_rand_int_range(r, 0, 8)) {
    case 0: bv |= UINT64_C(1) << g_rand_int_range(r, 3, 64); break;
    case 1: comp |= UINT64_C(1) << g_rand_int_range(r, 3, 64); break;
    case 2: at[BV + g_rand_int_range(r, 16, 64)] = 1; break;
    case 3: at[26] = g_rand_int(r) & ~2; break;
    }
    memcpy(at + BV, &bv, 8);
    memcpy(at + COMP, &comp, 8);
}

static void against_host(void)
{
    static const Op ops[] = { XSAVE, XSAVEOPT, XSAVEC, XRSTOR, FXSAVE, FXRSTOR };
    bool have = __builtin_cpu_supports("avx");
    if (!have || host_xcr0() != 7) {
        g_test_skip("the host has no AVX, or more state than that");
        return;
    }
    Fake *f = guest_new(3);
    X86Cpu *c = f->c;
    if (x86_has(c, X86F_AVX))
        c->xcr0 = 7;
    GRand *r = g_rand_new_with_seed(4711);
    uint8_t *img = g_aligned_alloc0(1, AREA, 64), *at = g_aligned_alloc0(1, AREA, 64), *after = g_aligned_alloc0(1, AREA, 64);
    uint8_t before[AREA];
    struct sigaction on = { .sa_handler = on_signal, .sa_flags = SA_NODEFER }, segv, bus;
    sigaction(SIGSEGV, &on, &segv);
    sigaction(SIGBUS, &on, &bus);
    for (unsigned i = 0; i < 20000; i++) {
        Op op = ops[g_rand_int_range(r, 0, G_N_ELEMENTS(ops))];
        uint64_t rfbm = g_rand_int(r) & 7 & c->xcr0;
        random_state(r, img, c->xcr0);
        random_state(r, at, c->xcr0);
        if (op == XRSTOR)
            random_header(r, at, c->xcr0);
        if (op == FXRSTOR && g_rand_boolean(r))
            at[26] = g_rand_int(r) & ~2;
        memset(after, 0, AREA);
        memcpy(f->ram + IMG, img, AREA);
        memcpy(f->ram + AT, at, AREA);
        f->no_host = g_rand_boolean(r);
        g_assert_cmpint(guest(f, XRSTOR, ~UINT64_C(0), IMG), ==, -1);
        int fault = guest(f, op, rfbm, AT);
        memcpy(before, at, AREA);
        bool ok = host(op, rfbm, at, img, after);
        /* The kernel of a host that was preempted leaves components in use that were not. */
        for (unsigned tries = 0; ok && tries < 20 && at[BV] != f->ram[AT + BV]; tries++) {
            memcpy(at, before, AREA);
            ok = host(op, rfbm, at, img, after);
        }
        g_test_message("%u: op %d, components %x, header %" PRIx64 " %" PRIx64, i, op, (unsigned)rfbm, *(uint64_t *)(at + BV),
                       *(uint64_t *)(at + COMP));
        g_assert_cmpint(fault, ==, ok ? -1 : EXC_GP);
        for (unsigned k = 0; ok && k < LEN; k++)        /* host code goes on with undefined bytes in the area's middle */
            if (f->ram[AT + k] != at[k] && k != MISALIGNED)
                g_error("%u: op %d, components %x: byte %u is %02x, the host's %02x", i, op, (unsigned)rfbm, k,
                        f->ram[AT + k], at[k]);
        memset(f->ram + IMG, 0, AREA);
        g_assert_cmpint(guest(f, XSAVE, ~UINT64_C(0), IMG), ==, -1);
        for (unsigned k = 0; ok && k < 832; k++)
            if (f->ram[IMG + k] != after[k] && k != BV && k != MISALIGNED)
                g_error("%u: after op %d, components %x: byte %u is %02x, the host's %02x", i, op, (unsigned)rfbm, k,
                        f->ram[IMG + k], after[k]);
    }
    sigaction(SIGSEGV, &segv, NULL);
    sigaction(SIGBUS, &bus, NULL);
    g_rand_free(r);
    g_aligned_free(img);
    g_aligned_free(at);
    g_aligned_free(after);
    fake_free(f);
}

/* PKRU travels with XSAVE in both formats, and through the kernel's instructions. */
static void pkru_and_supervisor(void)
{
    Fake *f = guest_new(3 | 1 << 9);
    X86Cpu *c = f->c;
    x86_set_pkru(c, 0x55555554);
    memset(f->ram + AT, 0, AREA);
    g_assert_cmpint(guest(f, XSAVE, ~UINT64_C(0), AT), ==, -1);
    g_assert_cmphex(fake_get32(f, AT + 2688), ==, 0x55555554);
    g_assert_cmphex(fake_get64(f, AT + BV) >> 9, ==, 1);
    memset(f->ram + AT, 0, AREA);
    g_assert_cmpint(guest(f, XSAVES, ~UINT64_C(0), AT), ==, -1);
    g_assert_cmphex(fake_get64(f, AT + COMP), ==, UINT64_C(1) << 63 | 0x203);
    g_assert_cmphex(fake_get32(f, AT + 576), ==, 0x55555554);
    x86_set_pkru(c, 0);
    g_assert_cmpint(guest(f, XRSTORS, ~UINT64_C(0), AT), ==, -1);
    g_assert_cmphex(c->pkru, ==, 0x55555554);
    fake_put64(f, AT + BV, 3);
    g_assert_cmpint(guest(f, XRSTORS, ~UINT64_C(0), AT), ==, -1);
    g_assert_cmphex(c->pkru, ==, 0);
    fake_put64(f, AT + COMP, 0);
    g_assert_cmpint(guest(f, XRSTORS, ~UINT64_C(0), AT), ==, EXC_GP);   /* the compact format alone */
    g_assert_cmpint(guest(f, XRSTOR, ~UINT64_C(0), AT), ==, -1);
    g_assert_cmpint(guest(f, XSAVE, ~UINT64_C(0), AT + 16), ==, EXC_GP);
    x86_new_cpl(c, 3);
    g_assert_cmpint(guest(f, XSAVES, ~UINT64_C(0), AT), ==, EXC_GP);
    c->cr4 &= ~(uint64_t)CR4_OSXSAVE;
    g_assert_cmpint(guest(f, XSAVE, ~UINT64_C(0), AT), ==, EXC_UD);
    fake_free(f);
}

/* EFER.FFXSR: kernels' FXSAVE leaves the XMM registers out. */
static void fast_fxsave(void)
{
    Fake *f = guest_new(3);
    X86Cpu *c = f->c;
    memset(f->ram + FX_AT, 0xee, 512);
    c->s.hot[RAX] = 0;
    g_assert_true(x86_set_efer(c, c->efer | EFER_FFXSR));
    g_assert_cmpint(guest(f, FXSAVE, 0, FX_AT), ==, -1);
    g_assert_cmphex(f->ram[FX_AT + 160], ==, 0xee);
    g_assert_cmphex(f->ram[FX_AT + 24], ==, 0x80);
    x86_new_cpl(c, 3);
    g_assert_cmpint(guest(f, FXSAVE, 0, AT), ==, -1);
    g_assert_cmphex(f->ram[AT + 160], ==, 0);
    fake_free(f);
}

/* RDPKRU, WRPKRU, XGETBV, XSETBV, SERIALIZE from their bytes. */
static void registers(void)
{
    static const struct { uint8_t code[3]; uint64_t rax, rcx, rdx, cr4; int vector; } t[] = {
        { { 0x0f, 0x01, 0xef }, 0x12345678, 0, 0, CR4_PKE, -1 },
        { { 0x0f, 0x01, 0xef }, 5, 1, 0, CR4_PKE, EXC_GP },
        { { 0x0f, 0x01, 0xef }, 5, 0, 1, CR4_PKE, EXC_GP },
        { { 0x0f, 0x01, 0xef }, 5, 0, 0, 0, EXC_UD },
        { { 0x0f, 0x01, 0xee }, 5, 0, 7, CR4_PKE, -1 },
        { { 0x0f, 0x01, 0xee }, 5, 1, 0, CR4_PKE, EXC_GP },
        { { 0x0f, 0x01, 0xee }, 5, 0, 0, 0, EXC_UD },
        { { 0x0f, 0x01, 0xd1 }, 0x203, 0, 0, CR4_OSXSAVE, -1 },
        { { 0x0f, 0x01, 0xd1 }, 0x202, 0, 0, CR4_OSXSAVE, EXC_GP },
        { { 0x0f, 0x01, 0xd1 }, 5, 0, 0, CR4_OSXSAVE, EXC_GP },         /* AVX without SSE */
        { { 0x0f, 0x01, 0xd1 }, 0xb, 0, 0, CR4_OSXSAVE, EXC_GP },
        { { 0x0f, 0x01, 0xd1 }, 3, 1, 0, CR4_OSXSAVE, EXC_GP },
        { { 0x0f, 0x01, 0xd0 }, 3, 1, 0, CR4_OSXSAVE, -1 },
        { { 0x0f, 0x01, 0xd0 }, 3, 2, 0, CR4_OSXSAVE, EXC_GP },
        { { 0x0f, 0x01, 0xe8 }, 3, 2, 0, 0, -1 },
    };
    Fake *f = guest_new(3);
    X86Cpu *c = f->c;
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        memcpy(f->ram + F_CODE, t[i].code, 3);
        c->cr4 = (c->cr4 & ~(uint64_t)(CR4_PKE | CR4_OSXSAVE)) | t[i].cr4;
        *x86_pc(c) = F_CODE;
        c->s.hot[RAX] = t[i].rax;
        c->s.hot[RCX] = t[i].rcx;
        c->s.hot[RDX] = t[i].rdx;
        c->exc_pending = false;
        g_test_message("%u", i);
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        if (i == 4) {
            g_assert_cmphex(c->s.hot[RAX], ==, 0x12345678);
            g_assert_cmphex(c->s.hot[RDX], ==, 0);
        }
    }
    g_assert_cmphex(c->xcr0, ==, 0x203);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/xsave/host", against_host);
    g_test_add_func("/x86/xsave/pkru-supervisor", pkru_and_supervisor);
    g_test_add_func("/x86/xsave/ffxsr", fast_fxsave);
    g_test_add_func("/x86/xsave/registers", registers);
    return g_test_run();
}
