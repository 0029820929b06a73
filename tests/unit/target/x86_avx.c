/* SPDX-License-Identifier: GPL-2.0-or-later
 * AVX where random sequences on the host do not reach: what enables it, alignment, upper halves, faults of elements and
 * of accesses across pages.  SDM vol. 2, 2.4 (exception classes); vol. 1, 14.5. */
#include <string.h>

#include "target/x86/translate.h"
#include "tests/x86_fake.h"

enum { CODE = 0x800000, STACK = 0x900000, DATA = 0xa00000, END = FAKE_RAM /* nothing is mapped from here on */ };

static Fake *start(const uint8_t *code, unsigned len)
{
    Fake *f = fake_new("max");
    fake_long(f);
    f->c->cr4 |= CR4_OSXSAVE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    f->c->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    fake_user(f, CODE, STACK);
    x86_mode_changed(f->c);
    memcpy(f->ram + CODE, code, len);
    for (unsigned r = 0; r < 16; r++)
        for (unsigned i = 0; i < 4; i++) {
            f->c->ymm[r].lo.u32[i] = 0x1000 * r + i;
            f->c->ymm[r].hi.u32[i] = 0x1000 * r + 4 + i;
        }
    return f;
}
#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })
#define START(...) start(BYTES(__VA_ARGS__))

static void expect(Fake *f, int vector)
{
    f->c->exc_pending = false;
    g_assert_cmpint(fake_step(f), ==, vector);
    if (vector < 0)
        *x86_pc(f->c) = CODE;
}

/* --- what enables it */

typedef struct Enable { uint64_t cr0_set, cr4_clear, xcr0; int vector; } Enable;

static void enabled(void)
{
    static const Enable t[] = {
        { 0, 0, 7, -1 }, { 0, CR4_OSXSAVE, 7, EXC_UD }, { 0, 0, 3, EXC_UD }, { 0, 0, 1, EXC_UD }, { CR0_TS, 0, 7, EXC_NM },
        { CR0_EM, 0, 7, -1 }, { CR0_EM | CR0_TS, 0, 7, EXC_NM }, { 0, CR4_OSFXSR, 7, -1 }, { CR0_TS, CR4_OSXSAVE, 7, EXC_UD },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = START(0xc5, 0xfc, 0x58, 0xc1);                /* vaddps ymm0, ymm0, ymm1 */
        f->c->cr0 |= t[i].cr0_set;
        f->c->cr4 &= ~t[i].cr4_clear;
        f->c->xcr0 = t[i].xcr0;
        x86_mode_changed(f->c);
        g_test_message("%u", i);
        expect(f, t[i].vector);
        memcpy(f->ram + CODE, (uint8_t[]){ 0xc4, 0xe2, 0x78, 0xf2, 0xc1 }, 5);  /* andn: no vector state */
        expect(f, -1);
        fake_free(f);
    }
}

/* Neither real nor virtual-8086 mode has VEX: these are LES and LDS with a register. */
static void real_mode(void)
{
    Fake *f = fake_new("max");
    x86_set_seg_real(f->c, CS, 0x1000);
    *x86_pc(f->c) = 0;
    f->c->cr4 |= CR4_OSXSAVE;
    f->c->xcr0 = 7;
    x86_mode_changed(f->c);
    memcpy(f->ram + 0x10000, (uint8_t[]){ 0xc5, 0xf8, 0x58, 0xc1 }, 4);
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    f->c->exc_pending = false;
    memcpy(f->ram + 0x10000, (uint8_t[]){ 0xc4, 0xe2, 0x78, 0xf2, 0xc1 }, 5);
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
}

static void without_avx2(void)
{
    Fake *f = fake_new("max,-avx2");
    fake_long(f);
    f->c->cr4 |= CR4_OSXSAVE | CR4_OSFXSR;
    f->c->xcr0 = 7;
    x86_mode_changed(f->c);
    *x86_pc(f->c) = CODE;
    memcpy(f->ram + CODE, (uint8_t[]){ 0xc5, 0xf9, 0xfe, 0xc1, 0xc5, 0xfd, 0xfe, 0xc1 }, 8);    /* vpaddd xmm, ymm */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
}

/* --- alignment: only the moves that say so */

static void alignment(void)
{
    static const struct { uint8_t code[4]; uint64_t at; int vector; } t[] = {
        { { 0xc5, 0xfc, 0x28, 0x00 }, DATA, -1 }, { { 0xc5, 0xfc, 0x28, 0x00 }, DATA + 16, EXC_GP },        /* vmovaps ymm */
        { { 0xc5, 0xf8, 0x28, 0x00 }, DATA + 16, -1 }, { { 0xc5, 0xf8, 0x28, 0x00 }, DATA + 8, EXC_GP },
        { { 0xc5, 0xfc, 0x10, 0x00 }, DATA + 1, -1 }, { { 0xc5, 0xfc, 0x58, 0x00 }, DATA + 1, -1 },         /* vmovups, vaddps */
        { { 0xc5, 0xfd, 0xe7, 0x00 }, DATA + 16, EXC_GP }, { { 0xc5, 0xfd, 0x7f, 0x00 }, DATA + 4, EXC_GP },  /* vmovntdq, vmovdqa */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(t[i].code, 4);
        f->c->s.hot[RAX] = t[i].at;
        g_test_message("%u", i);
        expect(f, t[i].vector);
        fake_free(f);
    }
}

/* --- upper halves */

static void upper_halves(void)
{
    Fake *f = START(0x0f, 0x58, 0xc1);                          /* addps keeps */
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[0].hi.u32[0], ==, 4);
    memcpy(f->ram + CODE, (uint8_t[]){ 0xc5, 0xf0, 0x58, 0xc2 }, 4);            /* vaddps xmm0, xmm1, xmm2 does not */
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[0].hi.u64[0] | f->c->ymm[0].hi.u64[1], ==, 0);
    g_assert_cmphex(f->c->ymm[1].hi.u32[0], ==, 0x1004);
    memcpy(f->ram + CODE, (uint8_t[]){ 0xc4, 0xe3, 0x75, 0x18, 0xc2, 1 }, 6);   /* vinsertf128 ymm0, ymm1, xmm2, 1 */
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[0].lo.u32[3], ==, 0x1003);
    g_assert_cmphex(f->c->ymm[0].hi.u32[3], ==, 0x2003);
    memcpy(f->ram + CODE, (uint8_t[]){ 0xc5, 0xf8, 0x77 }, 3);                  /* vzeroupper */
    expect(f, -1);
    for (unsigned r = 0; r < 16; r++)
        g_assert_cmphex(f->c->ymm[r].hi.u64[0] | f->c->ymm[r].hi.u64[1], ==, 0);
    g_assert_cmphex(f->c->ymm[15].lo.u32[3], ==, 0xf003);
    memcpy(f->ram + CODE, (uint8_t[]){ 0xc5, 0xfc, 0x77 }, 3);                  /* vzeroall */
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[15].lo.u64[1], ==, 0);
    fake_free(f);
}

/* --- faults */

static void across_the_end(void)
{
    Fake *f = START(0xc5, 0xfe, 0x7f, 0x00);                    /* vmovdqu [rax], ymm0 */
    f->c->s.hot[RAX] = END - 24;
    memset(f->ram + END - 24, 0x5a, 24);
    expect(f, EXC_PF);
    g_assert_cmphex(f->c->exc_cr2, ==, END);
    for (unsigned i = 0; i < 24; i++)
        g_assert_cmphex(f->ram[END - 24 + i], ==, 0x5a);
    f->ram[CODE + 2] = 0x6f;                                    /* load */
    expect(f, EXC_PF);
    g_assert_cmphex(f->c->ymm[0].lo.u32[1], ==, 1);
    fake_free(f);
}

static void masked(void)
{
    Fake *f = START(0xc4, 0xe2, 0x75, 0x2c, 0x00);              /* vmaskmovps ymm0, ymm1, [rax] */
    f->c->s.hot[RAX] = END - 8;
    memset(&f->c->ymm[1], 0, 32);
    fake_put64(f, END - 8, 0x2222222211111111);
    f->c->ymm[1].lo.u32[0] = f->c->ymm[1].lo.u32[1] = 0x80000000;
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[0].lo.u64[0], ==, 0x2222222211111111);
    g_assert_cmphex(f->c->ymm[0].lo.u64[1] | f->c->ymm[0].hi.u64[0] | f->c->ymm[0].hi.u64[1], ==, 0);
    f->c->ymm[1].hi.u32[3] = 0xffffffff;
    expect(f, EXC_PF);
    g_assert_cmphex(f->c->exc_cr2, ==, END + 20);
    g_assert_cmphex(f->c->ymm[0].lo.u64[0], ==, 0x2222222211111111);
    f->ram[CODE + 3] = 0x2e;                                    /* vmaskmovps [rax], ymm1, ymm0 */
    f->c->ymm[0].lo.u64[0] = 0x3333333344444444;
    expect(f, EXC_PF);
    g_assert_cmphex(fake_get64(f, END - 8), ==, 0x2222222211111111);
    f->c->ymm[1].hi.u32[3] = 0;
    f->c->ymm[1].lo.u32[0] = 0;
    expect(f, -1);
    g_assert_cmphex(fake_get64(f, END - 8), ==, 0x3333333311111111);
    fake_free(f);
}

/* Elements below the one that faults are there, and their masks cleared; the rest is as it was. */
static void gather(void)
{
    Fake *f = START(0xc4, 0xe2, 0x75, 0x90, 0x04, 0x90);        /* vpgatherdd ymm0, [rax + ymm2 * 4], ymm1 */
    f->c->s.hot[RAX] = DATA;
    memset(&f->c->ymm[1], 0xff, 32);
    f->c->ymm[1].lo.u32[1] = 7;                                 /* not wanted */
    for (unsigned i = 0; i < 8; i++) {
        fake_put32(f, DATA + 16 * i, 0xabc0 + i);
        (i < 4 ? &f->c->ymm[2].lo : &f->c->ymm[2].hi)->u32[i % 4] = 4 * i;
    }
    f->c->ymm[2].hi.u32[1] = (END - DATA) / 4;
    g_assert_cmpint(fake_step(f), ==, -1);                      /* as far as it comes, then again */
    g_assert_cmphex(*x86_pc(f->c), ==, CODE);
    for (unsigned tries = 0; tries < 2; tries++) {
        if (tries)
            expect(f, EXC_PF);
        g_assert_cmphex(f->c->ymm[0].lo.u32[0], ==, 0xabc0);
        g_assert_cmphex(f->c->ymm[0].lo.u32[1], ==, 1);
        g_assert_cmphex(f->c->ymm[0].hi.u32[0], ==, 0xabc4);
        g_assert_cmphex(f->c->ymm[0].hi.u32[1], ==, 5);
        g_assert_cmphex(f->c->ymm[1].lo.u64[0] | f->c->ymm[1].lo.u64[1] | f->c->ymm[1].hi.u32[0], ==, 0);
        g_assert_cmphex(f->c->ymm[1].hi.u32[1] & f->c->ymm[1].hi.u32[3], ==, 0xffffffff);
    }
    g_assert_cmphex(f->c->exc_cr2, ==, END);
    g_assert_cmphex(*x86_pc(f->c), ==, CODE);
    f->c->ymm[2].hi.u32[1] = -4;                                /* signed */
    fake_put32(f, DATA - 16, 0xdef);
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[0].hi.u32[1], ==, 0xdef);
    g_assert_cmphex(f->c->ymm[0].hi.u32[3], ==, 0xabc7);
    g_assert_cmphex(f->c->ymm[1].hi.u64[0] | f->c->ymm[1].hi.u64[1], ==, 0);
    memcpy(f->ram + CODE, (uint8_t[]){ 0xc4, 0xe2, 0x6d, 0x90, 0x04, 0x90 }, 6);        /* mask and index the same */
    expect(f, EXC_UD);
    fake_free(f);
}

/* An unmasked exception of an upper lane: nothing is written. */
static void unmasked(void)
{
    Fake *f = START(0xc5, 0xf4, 0x5e, 0xc2);                    /* vdivps ymm0, ymm1, ymm2 */
    x86_set_mxcsr(f->c, 0x1f80 & ~0x200);                       /* division by zero */
    x86_mode_changed(f->c);
    for (unsigned i = 0; i < 4; i++)
        f->c->ymm[1].lo.f32[i] = f->c->ymm[1].hi.f32[i] = f->c->ymm[2].lo.f32[i] = f->c->ymm[2].hi.f32[i] = 2;
    expect(f, -1);
    g_assert_cmphex(f->c->ymm[0].hi.u32[3], ==, 0x3f800000);
    f->c->ymm[2].hi.u32[2] = 0;
    f->c->ymm[1].lo.u32[0] = 3;                                 /* a denormal, told with it */
    expect(f, EXC_XM);
    g_assert_cmphex(f->c->ymm[0].hi.u32[2], ==, 0x3f800000);
    g_assert_cmphex(x86_mxcsr(f->c) & 0x3f, ==, 6);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/avx/enabled", enabled);
    g_test_add_func("/x86/avx/real-mode", real_mode);
    g_test_add_func("/x86/avx/without-avx2", without_avx2);
    g_test_add_func("/x86/avx/alignment", alignment);
    g_test_add_func("/x86/avx/upper-halves", upper_halves);
    g_test_add_func("/x86/avx/across-the-end", across_the_end);
    g_test_add_func("/x86/avx/masked", masked);
    g_test_add_func("/x86/avx/gather", gather);
    g_test_add_func("/x86/avx/unmasked", unmasked);
    return g_test_run();
}
