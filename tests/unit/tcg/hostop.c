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
    V256     v1, v2, v0;                /* ymm1, ymm2, ymm0; ymm1 is the result */
    uint64_t rax, rcx, flags;
    uint32_t mxcsr, host;
} Frame;

static uint8_t *put(uint8_t *p, const char *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}
#define PUT(p, s) put(p, s, sizeof(s) - 1)

static uint8_t *put_legacy(uint8_t *p, const HostRow *row, unsigned gsize)
{
    /* reg and rm per kind */
    static const uint8_t regs[][2] = {
        [HK_VV] = { 1, 2 }, [HK_VVV] = { 1, 2 }, [HK_VVVV] = { 1, 2 }, [HK_VG] = { 1, 0 }, [HK_VVG] = { 1, 1 },
        [HK_GV] = { 0, 1 }, [HK_FVV] = { 1, 2 }, [HK_VSHI] = { 0, 1 }, [HK_GGG] = { 0, 1 },
    };
    unsigned reg = regs[row->kind][0], rm = regs[row->kind][1];
    if (row->flags & HOF_STORE)
        reg = 1, rm = 0;
    if (row->kind == HK_VSHI)
        reg = row->digit;
    if (row->prefix)
        *p++ = row->prefix;
    if (row->flags & HOF_W && gsize == 8)
        *p++ = 0x48;
    *p++ = 0x0f;
    if (row->map > 1)
        *p++ = row->map == 2 ? 0x38 : 0x3a;
    *p++ = row->opcode;
    *p++ = 0xc0 | reg << 3 | rm;
    return p;
}

static uint8_t *put_vex(uint8_t *p, const HostRow *row, unsigned gsize, bool wide)
{
    static const uint8_t regs[][3] = {          /* reg, vvvv, rm */
        [HK_VV] = { 1, 0, 2 }, [HK_VVV] = { 1, 1, 2 }, [HK_VVVV] = { 1, 1, 2 }, [HK_VG] = { 1, 0, 0 }, [HK_VVG] = { 1, 1, 1 },
        [HK_GV] = { 0, 0, 1 }, [HK_FVV] = { 1, 0, 2 }, [HK_VSHI] = { 0, 1, 1 }, [HK_GGG] = { 0, 0, 1 }, [HK_FMA] = { 1, 2, 0 },
    };
    const uint8_t *r = regs[row->kind];
    bool four = row->kind == HK_VVVV, turned = row->flags & HOF_STORE;
    unsigned reg = row->kind == HK_VSHI ? row->digit : r[turned ? 2 : 0], prefix = four ? 0x66 : row->prefix;
    bool w = row->flags & HOF_W1 || (row->flags & HOF_W && gsize == 8);
    *p++ = 0xc4;
    *p++ = 0xe0 | (four ? 3 : row->map);
    *p++ = w << 7 | (~r[1] & 15) << 3 | wide << 2 | (prefix == 0x66 ? 1 : prefix == 0xf3 ? 2 : prefix == 0xf2 ? 3 : 0);
    *p++ = four ? row->digit : row->opcode;
    *p++ = 0xc0 | reg << 3 | r[turned ? 0 : 2];
    if (four)
        *p++ = 0;
    return p;
}

/* rdi: the frame.  Vector operands in ymm1, ymm2, ymm0; general ones in rax, rcx. */
static void thunk_make(uint8_t *p, const HostRow *row, unsigned imm, unsigned gsize, bool wide, bool ymm)
{
    p = PUT(p, "\x0f\xae\x5f\x7c");                     /* stmxcsr [rdi + 124] */
    p = ymm ? PUT(p, "\xc5\xfe\x6f\x0f\xc5\xfe\x6f\x57\x20\xc5\xfe\x6f\x47\x40")   /* vmovdqu ymm1, 2, 0 */
            : PUT(p, "\xf3\x0f\x6f\x0f\xf3\x0f\x6f\x57\x20\xf3\x0f\x6f\x47\x40");  /* movdqu */
    p = PUT(p, "\x48\x8b\x47\x60\x48\x8b\x4f\x68");     /* rax, rcx */
    p = PUT(p, "\x0f\xae\x57\x78");                     /* ldmxcsr [rdi + 120] */
    p = wide || row->flags & HOF_VEX ? put_vex(p, row, gsize, wide) : put_legacy(p, row, gsize);
    if (row->flags & HOF_IMM)
        *p++ = imm;
    p = PUT(p, "\x9c\x8f\x47\x70");                     /* pushf; pop [rdi + 112] */
    p = PUT(p, "\x0f\xae\x5f\x78\x0f\xae\x57\x7c");     /* stmxcsr [rdi + 120]; ldmxcsr [rdi + 124] */
    p = ymm ? PUT(p, "\xc5\xfe\x7f\x0f\xc5\xf8\x77") : PUT(p, "\xf3\x0f\x7f\x0f");    /* [rdi] = ymm1; vzeroupper */
    p = PUT(p, "\x48\x89\x47\x60\xc3");                /* [rdi + 96] = rax; ret */
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

static V256 random_wide(GRand *r, bool fp)
{
    V256 v;
    v.v[0] = random_vector(r, fp);
    v.v[1] = random_vector(r, fp);
    return v;
}

static bool zero_half(const V128 *v) { return !(v->u64[0] | v->u64[1]); }

static void report(const HostRow *row, bool wide, unsigned imm, unsigned gsize, uint32_t mxcsr, const Frame *in,
                   const Frame *host, const V256 *ours, uint64_t ret, uint32_t our_mxcsr)
{
    const V256 *v[] = { &in->v1, &in->v2, &in->v0, &host->v1, ours };
    static const char *const name[] = { "v1", "v2", "v0", "host", "ours" };
    g_test_message("%s%s imm %02x gsize %u mxcsr %04x rax %lx rcx %lx", row->name, wide ? " 256" : "", imm, gsize, mxcsr,
                   in->rax, in->rcx);
    for (unsigned k = 0; k < 5; k++)
        g_test_message("  %-4s %016lx %016lx %016lx %016lx", name[k], v[k]->v[1].u64[1], v[k]->v[1].u64[0],
                       v[k]->v[0].u64[1], v[k]->v[0].u64[0]);
    g_test_message("  host rax %lx flags %lx mxcsr %04x, ours %lx mxcsr %04x", host->rax, host->flags & 0x8d5, host->mxcsr,
                   ret, our_mxcsr);
    g_test_fail();
}

/* False: they differ. */
static bool check_once(const HostRow *row, const uint8_t *code, GRand *r, unsigned imm, unsigned gsize, bool wide, bool over)
{
    bool fp = row->flags & HOF_FP || strstr(row->name, "RCP") || strstr(row->name, "RSQRT");
    Frame f = { random_wide(r, fp), random_wide(r, fp), random_wide(r, fp), .rax = g_rand_int(r),
                .rcx = (uint64_t)g_rand_int(r) << 32 | g_rand_int(r) };
    if (g_rand_int_range(r, 0, 8) == 0)
        f.v2 = f.v1;
    f.rax |= gsize == 8 ? (uint64_t)g_rand_int(r) << 32 : 0;
    f.mxcsr = MX_MASKS | (g_rand_int(r) & (MX_RC_FTZ_DAZ | MX_FLAGS));
    V256 va = row->kind == HK_VV ? f.v2 : f.v1, vb = f.v2, vc = f.v0, d = { 0 };
    if (wide && row->wide == HW_COUNT)
        vb.v[1] = (V128){ .u64 = { 0, 0 } };
    HostArg a = { .v = &va.v[0] }, b = { .v = &vb.v[0] }, c = { .v = &vc.v[0] };
    if (row->kind == HK_VG)
        a.g = f.rax;
    if (row->kind == HK_VVG)
        b.g = f.rcx;
    if (row->kind == HK_GGG)
        a.g = f.rax, b.g = f.rcx;
    uint32_t mxcsr = f.mxcsr, in_mxcsr = f.mxcsr;
    Frame in = f;
    /* the result may overlie an operand, as in the interpreter */
    V256 *out = over && row->kind != HK_VG && row->kind != HK_GGG ? &va : &d;
    uint64_t g = wide ? host_run_wide(row, out, &va, &vb, &vc, imm, &mxcsr)
                      : row->fn(&out->v[0], a, b, c, imm, &mxcsr, gsize);
    ((void (*)(Frame *))(uintptr_t)code)(&f);
    bool same = row->kind == HK_FVV ? g == (f.flags & 0x8d5) : g == f.rax;
    if (vector_result(row->kind))
        same = !memcmp(&out->v[0], &f.v1.v[0], 16) &&
               (!wide || (row->wide == HW_DOWN ? zero_half(&f.v1.v[1]) : !memcmp(&out->v[1], &f.v1.v[1], 16)));
    if (!same || mxcsr != f.mxcsr)
        report(row, wide, imm, gsize, in_mxcsr, &in, &f, out, g, mxcsr);
    return same && mxcsr == f.mxcsr;
}

static void check_row(const HostRow *row, uint8_t *code, GRand *r, bool wide, bool ymm)
{
    unsigned immediates = row->flags & HOF_IMM ? 256 : 1;
    if (!strncmp(row->name, "CMP", 3))
        immediates = 8;
    if (!strncmp(row->name, "VCMP", 4))
        immediates = 32;
    for (unsigned gsize = 4; gsize <= (row->flags & HOF_W ? 8 : 4); gsize += 4)
        for (unsigned k = 0; k < immediates; k++) {
            thunk_make(code, row, k, gsize, wide, ymm);
            for (unsigned i = 0; i < CASES / immediates + 20; i++)
                if (!check_once(row, code, r, row->flags & HOF_IMM ? k : 0, gsize, wide, i & 1))
                    return;
        }
}

static void rows_match_the_host(gconstpointer data)
{
    bool wide = GPOINTER_TO_INT(data);
    uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert_true(code != MAP_FAILED);
    GRand *r = g_rand_new_with_seed(1);
    unsigned have = host_features(), tested = 0, rows = 0;
    for (unsigned i = 0; i < HOST_N_ROWS; i++) {
        const HostRow *row = &host_rows[i];
        bool exists = wide ? row->wide != HW_NONE : !(row->flags & HOF_256);
        rows += exists;
        if (exists && !((wide ? row->wide_needs : row->needs) & ~have)) {
            check_row(row, code, r, wide, have & HOST_AVX);
            tested++;
        }
    }
    g_test_message("%u of %u rows tested on this host (features %x)", tested, rows, have);
    g_rand_free(r);
    munmap(code, 4096);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/tcg/hostop/rows-match-the-host", GINT_TO_POINTER(false), rows_match_the_host);
    g_test_add_data_func("/tcg/hostop/256-bit-rows-match-the-host", GINT_TO_POINTER(true), rows_match_the_host);
    return g_test_run();
}
