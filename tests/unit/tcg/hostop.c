/* SPDX-License-Identifier: GPL-2.0-or-later
 * Each row of hostop.def: its portable function against the host's own instruction, encoded from the row
 * (so the encoding columns are tested as well), with random and special operands, immediates and MXCSR
 * values. */
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include "tcg/hostop.h"

enum { CASES = 4000, MX_FLAGS = 0x3f, MX_MASKS = 0x1f80, MX_RC_FTZ_DAZ = 0xe040 };

/* Operands of a thunk, at the offsets that thunk_make() encodes. */
typedef struct Frame {
    V128     v1, v2, v0;                /* xmm1, xmm2, xmm0; xmm1 is the result */
    uint64_t rax, rcx, flags;
    uint32_t mxcsr, host;
} Frame;

static uint8_t *put(uint8_t *p, const char *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}
#define PUT(p, s) put(p, s, sizeof(s) - 1)

/* rdi: the frame.  Vector operands in xmm1, xmm2, xmm0; general ones in rax, rcx. */
static void thunk_make(uint8_t *p, const HostRow *row, unsigned imm, unsigned gsize)
{
    /* reg and rm per kind: VV VVV VVVV VG VVG GV FVV VSHI GGG */
    static const uint8_t regs[][2] = { { 1, 2 }, { 1, 2 }, { 1, 2 }, { 1, 0 }, { 1, 1 }, { 0, 1 }, { 1, 2 },
                                       { 0, 1 }, { 0, 1 } };
    unsigned reg = regs[row->kind][0], rm = regs[row->kind][1];
    if (row->flags & HOF_STORE)
        reg = 1, rm = 0;
    if (row->kind == HK_VSHI)
        reg = row->digit;
    p = PUT(p, "\x0f\xae\x5f\x4c");                     /* stmxcsr [rdi + 76] */
    p = PUT(p, "\xf3\x0f\x6f\x0f\xf3\x0f\x6f\x57\x10\xf3\x0f\x6f\x47\x20");     /* movdqu xmm1, 2, 0 */
    p = PUT(p, "\x48\x8b\x47\x30\x48\x8b\x4f\x38");     /* rax, rcx */
    p = PUT(p, "\x0f\xae\x57\x48");                     /* ldmxcsr [rdi + 72] */
    if (row->flags & HOF_VEX) {
        *p++ = 0xc4;
        *p++ = 0xe0 | row->map;
        *p++ = (row->flags & HOF_W && gsize == 8) << 7 | (~reg & 15) << 3 |
               (row->prefix == 0x66 ? 1 : row->prefix == 0xf3 ? 2 : row->prefix == 0xf2 ? 3 : 0);
    } else {
        if (row->prefix)
            *p++ = row->prefix;
        if (row->flags & HOF_W && gsize == 8)
            *p++ = 0x48;
        *p++ = 0x0f;
        if (row->map > 1)
            *p++ = row->map == 2 ? 0x38 : 0x3a;
    }
    *p++ = row->opcode;
    *p++ = 0xc0 | reg << 3 | rm;
    if (row->flags & HOF_IMM)
        *p++ = imm;
    p = PUT(p, "\x9c\x8f\x47\x40");                     /* pushf; pop [rdi + 64] */
    p = PUT(p, "\x0f\xae\x5f\x48\x0f\xae\x57\x4c");     /* stmxcsr [rdi + 72]; ldmxcsr [rdi + 76] */
    p = PUT(p, "\xf3\x0f\x7f\x0f\x48\x89\x47\x30\xc3"); /* movdqu [rdi], xmm1; [rdi + 48] = rax; ret */
}

static uint64_t special(GRand *r, bool f64)
{
    static const uint32_t top32[] = {
        0, 0x80000000, 1, 0x007fffff, 0x00800000, 0x3f800000, 0x7f7fffff, 0x7f800000, 0x7f800001,
        0x7fa12345, 0x7fc00000, 0xffc54321, 0x4b000000, 0x4effffff, 0x4f000000, 0x5f000000, 0xdf000000,
        0x3f000000, 0x3effffff, 0x33800000, 0x7e800000, 0x0c000000, 0x20000000, 0xcf000000, 0xbf000000,
        0x3fc00000, 0x40200000,
    };
    static const uint64_t top64[] = {
        0, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3ff0000000000000, 0x7fefffffffffffff,
        0x7ff0000000000000, 0x7ff0000000000001, 0x7ff4123412341234, 0x7ff8000000000000, 0x7ffc432143214321,
        0x41dfffffffe00000, 0x41e0000000000000, 0x41dfffffffc00000, 0x43dfffffffffffff, 0x43e0000000000000,
        0x47efffffffffffff, 0x36a0000000000000, 0x380fffffffffffff, 0x3810000000000000, 0x3690000000000000,
        0x3fe0000000000000, 0x3fdfffffffffffff, 0x4330000000000000, 0x432fffffffffffff, 0x3ca0000000000000,
        0x1ff0000000000000, 0x5fe0000000000000, 0x3ff8000000000000,
    };
    uint64_t sign = (uint64_t)g_rand_boolean(r) << 63;
    if (f64)
        return top64[g_rand_int_range(r, 0, G_N_ELEMENTS(top64))] ^ sign;
    return top32[g_rand_int_range(r, 0, G_N_ELEMENTS(top32))] ^ (sign >> 32);
}

static V128 random_vector(GRand *r, bool fp)
{
    V128 v;
    unsigned how = g_rand_int_range(r, 0, 6);
    for (unsigned i = 0; i < 4; i++)
        v.u32[i] = g_rand_int(r);
    for (unsigned i = 0; i < 4 && fp && how >= 2; i++)          /* special lanes among random ones */
        if (how == 2 || g_rand_boolean(r))
            v.u32[i] = special(r, false);
    for (unsigned i = 0; i < 2 && fp && how >= 4; i++)
        v.u64[i] = special(r, true);
    for (unsigned i = 0; i < 2 && fp && how == 1; i++)     /* integers and halves: rounding to nearest even */
        v.f64[i] = (int32_t)g_rand_int(r) / (g_rand_boolean(r) ? 2.0 : 65536.0);
    for (unsigned i = 0; i < 16 && !fp && how == 1; i++)        /* saturation's and comparison's corners */
        v.u8[i] = (const uint8_t[]){ 0, 0x7f, 0x80, 0xff }[g_rand_int_range(r, 0, 4)];
    for (unsigned i = 0; i < 2 && !fp && how == 2; i++)         /* shift counts */
        v.u64[i] = g_rand_int_range(r, 0, 70);
    return v;
}

static bool vector_result(unsigned kind)
{
    return kind != HK_GV && kind != HK_FVV && kind != HK_GGG;
}

static void check_row(const HostRow *row, uint8_t *code, GRand *r)
{
    bool fp = row->flags & HOF_FP || strstr(row->name, "RCP") || strstr(row->name, "RSQRT");
    unsigned immediates = row->flags & HOF_IMM ? 256 : 1;
    if (!strncmp(row->name, "CMP", 3))
        immediates = 8;
    for (unsigned gsize = 4; gsize <= (row->flags & HOF_W ? 8 : 4); gsize += 4)
        for (unsigned k = 0; k < immediates; k++) {
            unsigned imm = row->flags & HOF_IMM ? k : 0;
            thunk_make(code, row, imm, gsize);
            for (unsigned i = 0; i < CASES / immediates + 20; i++) {
                Frame f = { random_vector(r, fp), random_vector(r, fp), random_vector(r, fp),
                            .rax = g_rand_int(r),
                            .rcx = (uint64_t)g_rand_int(r) << 32 | g_rand_int(r) };
                if (g_rand_int_range(r, 0, 8) == 0)
                    f.v2 = f.v1;
                f.rax |= gsize == 8 ? (uint64_t)g_rand_int(r) << 32 : 0;
                f.mxcsr = MX_MASKS | (g_rand_int(r) & (MX_RC_FTZ_DAZ | MX_FLAGS));
                V128 va = row->kind == HK_VV ? f.v2 : f.v1, vb = f.v2, vc = f.v0, d;
                HostArg a = { .v = &va }, b = { .v = &vb }, c = { .v = &vc };
                if (row->kind == HK_VG)
                    a.g = f.rax;
                if (row->kind == HK_VVG)
                    b.g = f.rcx;
                if (row->kind == HK_GGG)
                    a.g = f.rax, b.g = f.rcx;
                uint32_t mxcsr = f.mxcsr, in_mxcsr = f.mxcsr;
                Frame in = f;
                /* the result may overlie an operand, as in the interpreter */
                V128 *out = row->kind == HK_VG || row->kind == HK_GGG ? &d : i & 1 ? &d : &va;
                uint64_t g = row->fn(out, a, b, c, imm, &mxcsr, gsize);
                ((void (*)(Frame *))code)(&f);
                bool same = vector_result(row->kind) ? !memcmp(out, &f.v1, 16)
                          : row->kind == HK_FVV ? g == (f.flags & 0x8d5) : g == f.rax;
                if (same && mxcsr == f.mxcsr)
                    continue;
                g_test_message("%s imm %02x gsize %u mxcsr %04x: %016lx:%016lx %016lx:%016lx rax %lx rcx %lx",
                               row->name, imm, gsize,
                               in_mxcsr, in.v1.u64[1], in.v1.u64[0], in.v2.u64[1], in.v2.u64[0], in.rax,
                               in.rcx);
                g_test_message("  host %016lx:%016lx rax %lx flags %lx mxcsr %04x", f.v1.u64[1], f.v1.u64[0],
                               f.rax,
                               f.flags & 0x8d5, f.mxcsr);
                g_test_message("  ours %016lx:%016lx ret %lx mxcsr %04x", out->u64[1], out->u64[0], g, mxcsr);
                g_test_fail();
                return;
            }
        }
}

static void rows_match_the_host(void)
{
    uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(code != MAP_FAILED);
    GRand *r = g_rand_new_with_seed(1);
    unsigned have = host_features(), tested = 0;
    for (unsigned i = 0; i < HOST_N_ROWS; i++)
        if (!(host_rows[i].needs & ~have)) {
            check_row(&host_rows[i], code, r);
            tested++;
        }
    g_test_message("%u of %u rows tested on this host (features %x)", tested, HOST_N_ROWS, have);
    g_rand_free(r);
    munmap(code, 4096);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tcg/hostop/rows-match-the-host", rows_match_the_host);
    return g_test_run();
}
