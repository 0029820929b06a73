/* SPDX-License-Identifier: GPL-2.0-or-later
 * x87 rows against the host's FPU: each row's helper runs on a random FPU state, the host runs the same
 * instruction between FRSTOR and FNSAVE, and registers, status, control and tag words must agree.  Not
 * compared: FIP, FDP, FOP (hosts differ in when they save them). */
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include "target/x86/translate.h"
#include "target/x86/x87.h"

enum { CASES = 400, ENV32 = 28, IMAGE = 108, MEM = 128 };

/* What the thunk works on; rdi points here, rdx to mem. */
typedef struct Frame {
    uint8_t  image[IMAGE + 4];
    uint8_t  mem[MEM];
    uint64_t flags;
} Frame;

static uint8_t *put(uint8_t *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

static void thunk_make(uint8_t *p, const uint8_t *insn, unsigned n)
{
    p = put(p, "\xdd\x27", 2);                                  /* frstor [rdi] */
    p = put(p, "\x48\x8d\x57\x70", 4);                          /* rdx = rdi + 112 */
    p = put(p, "\x31\xc0", 2);                                  /* xor eax, eax */
    p = put(p, insn, n);
    p = put(p, "\x9c\x8f\x87\xf0\x00\x00\x00", 7);              /* pushf; pop [rdi + 240] */
    p = put(p, "\xdd\x37\xc3", 3);                              /* fnsave [rdi]; ret */
}

static X86Fpr random_value(GRand *r)
{
    static const X86Fpr special[] = {
        { { 0, 0 } }, { { 0x8000000000000000, 0x3fff } }, { { 0x8000000000000000, 0x7fff } },
        { { 0xc000000000000000, 0x7fff } }, { { 0xd123456789abcdef, 0x7fff } },
        { { 0x9123456789abcdef, 0x7fff } }, { { 0x8000000000000001, 0x7fff } }, { { 1, 0 } },
        { { 0x7fffffffffffffff, 0 } }, { { 0x8000000000000000, 0 } } /* pseudo-denormal */,
        { { 0x8000000000000000, 1 } }, { { 0xffffffffffffffff, 0x7ffe } },
        { { 0x1234567812345678, 0x4000 } } /* unnormal */, { { 0, 0x7fff } },
        { { 0x4000000000000000, 0x7fff } }, { { 0x8000000000000000, 0x3ffe } },
        { { 0xc000000000000000, 0x3fff } }, { { 0xffffffffffffffff, 0x3ffe } },
        { { 0x8000000000000000, 0x403e } }, { { 0x8000000000000000, 0x401e } },
        { { 0xfffffffe00000000, 0x401d } }, { { 0x8000000000000000, 0x400e } },
        { { 0xb504f333f9de6484, 0x3ffd } }, { { 0x95f619980c433000, 0x3ffd } },
        { { 0x8000000000000000, 0x43fe } }, { { 0xfffffffffffffc00, 0x43fe } },
        { { 0x8000000000000000, 0x3c01 } }, { { 0x8000000000000400, 0x3c00 } },
        { { 0x8000000000000000, 0x3f81 } }, { { 0x8000000000000000, 0x407e } },
        { { 0xa123456789abcdef, 0x3f80 } }, { { 0x9abcdef012345678, 0x403d } },
    };
    X86Fpr v = { { ((uint64_t)g_rand_int(r) << 32 | g_rand_int(r)) | 1ull << 63, 0 } };
    switch (g_rand_int_range(r, 0, 5)) {
    case 0:  v = special[g_rand_int_range(r, 0, G_N_ELEMENTS(special))]; break;
    case 1:  v.exp = g_rand_int_range(r, 0, 0x8000); break;                    /* any size */
    case 2:  v.exp = 0x3fff + g_rand_int_range(r, -66, 66); break;
    case 3:  v.mant &= 0xfff0000000000000; v.exp = 0x3fff + g_rand_int_range(r, -4, 20); break;
    default: v.exp = 0x3fff + g_rand_int_range(r, -2, 3); break;
    }
    v.exp |= g_rand_boolean(r) ? 0x8000 : 0;
    return v;
}

static void random_state(X86Cpu *c, GRand *r)
{
    c->fcw = 0x40 | (g_rand_int(r) & 0xf00) | (g_rand_int_range(r, 0, 3) ? 0x3f : g_rand_int(r) & 0x3f);
    if (g_rand_int_range(r, 0, 3) == 0)
        c->fcw = 0x37f;                                 /* has a quicker way */
    c->fsw = (g_rand_int(r) & 0x477f & ~(~c->fcw & 0x3f)) | (g_rand_int(r) & 0x200);
    c->fpu_top = g_rand_int_range(r, 0, 8);
    c->fpu_empty = g_rand_int_range(r, 0, 3) ? 1u << ((c->fpu_top + 7) & 7) : g_rand_int(r) & 0xff;
    for (unsigned i = 0; i < 8; i++)
        c->fpr[i] = random_value(r);
}

static void image_make(const X86Cpu *c, uint8_t *out)
{
    uint32_t env[7] = { c->fcw, x87_fsw(c), x87_full_tags(c) };
    memcpy(out, env, sizeof env);
    for (unsigned i = 0; i < 8; i++)
        memcpy(out + ENV32 + 10 * i, c->fpr[(c->fpu_top + i) & 7].b, 10);
}

static uint8_t *guest_mem;              /* what the hooks below see at address 0 */

static bool load(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t *v)
{
    *v = 0;
    memcpy(v, guest_mem + va, size);
    return true;
}

static bool store(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t v)
{
    memcpy(guest_mem + va, &v, size);
    return true;
}

static bool probe(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    return true;
}

static const CpuHooks hooks = { .load = load, .store = store, .probe = probe };

typedef struct Case { const X86Row *row; uint8_t insn[4]; unsigned n, i; bool is_mem; } Case;

/* The opcode column: "D8 C0+i", "D9 E8" or "D9 /2" as bytes. */
static bool encode(const X86Row *row, unsigned i, Case *k)
{
    *k = (Case){ .row = row, .i = i };
    const char *s = row->opcode;
    k->insn[k->n++] = strtoul(s, NULL, 16);
    s = strchr(s, ' ');
    if (!s)
        return false;
    if (s[1] == '/') {
        k->is_mem = true;
        k->insn[k->n++] = (s[2] - '0') << 3 | 2;                /* [rdx] */
    } else {
        unsigned plus = strstr(s, "+i") ? i : 0;
        k->insn[k->n++] = strtoul(s + 1, NULL, 16) + plus;
        k->i = k->insn[1] & 7;
    }
    return true;
}

static const uint8_t kind_bytes[] = { [X87_F32] = 4, [X87_I32] = 4, [X87_F64] = 8, [X87_I16] = 2,
                                      [X87_I64] = 8,
                                      [X87_F80] = 10, [X87_BCD] = 10 };

static void fill_memory(uint8_t *mem, X87Kind kind, GRand *r)
{
    static const uint32_t f32[] = {
        0, 1, 0x7fffff, 0x3f800000, 0x7f800000, 0x7fc00000, 0x7f812345, 0xc0490fdb, 0x00800000,
    };
    static const uint64_t f64[] = {
        0, 1, 0xfffffffffffff, 0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000,
        0x7ff0000012345678, 0xc00921fb54442d18, 0x0010000000000000,
    };
    for (unsigned i = 0; i < MEM; i++)
        mem[i] = g_rand_int(r);
    X86Fpr v = random_value(r);
    if (kind == X87_F80)
        memcpy(mem, v.b, 10);
    if (kind == X87_BCD)
        for (unsigned i = 0; i < 10; i++)
            mem[i] = i == 9 ? g_rand_int(r) & 0x80 : (uint32_t)(g_rand_int_range(r, 0, 10) |
                                                                g_rand_int_range(r, 0, 10) << 4);
    if (kind == X87_F32 && g_rand_boolean(r))
        memcpy(mem, &f32[g_rand_int_range(r, 0, G_N_ELEMENTS(f32))], 4);
    if (kind == X87_F64 && g_rand_boolean(r))
        memcpy(mem, &f64[g_rand_int_range(r, 0, G_N_ELEMENTS(f64))], 8);
}

/* Runs the helpers as translate_x87.c strings them together; the flags of FCOMI. */
static uint64_t run_ours(X86Cpu *c, const Case *k, bool cond)
{
    CpuState *s = &c->s;
    uint32_t w = k->row->arg;
    X87Op op = x87_op(w);
    uint64_t lo = 0, hi = 0;
    if (op >= X87_LDENV) {
        g_assert_cmpint(x87_env(s, w, 0), ==, 0);
    } else if (!k->is_mem) {
        w |= k->i << X87W_I;
        int status = op == X87_CMOV ? x87_cmov(s, w, 0, cond)
                   : op == X87_COMI || op == X87_UCOMI ? x87_comi(s, w, 0) : x87_reg(s, w, 0);
        g_assert_cmpint(status, ==, 0);
    } else if (op == X87_ST) {
        g_assert_cmpint(x87_store(s, w, 0), ==, 0);
        memcpy(guest_mem, &c->xmm_tmp, kind_bytes[x87_i(w)]);
        x87_stored(s, w, 0, 0);
    } else {
        memcpy(&lo, guest_mem, MIN(8, kind_bytes[x87_i(w)]));
        memcpy(&hi, guest_mem + 8, kind_bytes[x87_i(w)] > 8 ? 2 : 0);
        g_assert_cmpint(x87_mem(s, w, 0, 0, lo, hi), ==, 0);
    }
    return s->helper_ret;
}

static void print_image(const char *who, const uint8_t *image, const uint8_t *mem)
{
    GString *g = g_string_new(NULL);
    for (unsigned i = 0; i < 8; i++) {
        X86Fpr v;
        memcpy(v.b, image + ENV32 + 10 * i, 10);
        g_string_append_printf(g, " %04x:%016lx", v.exp, v.mant);
    }
    g_test_message("  %s cw %02x%02x sw %02x%02x tw %02x%02x%s mem %08x", who, image[1], image[0], image[5],
                   image[4], image[9],
                   image[8], g->str, *(const uint32_t *)mem);
    g_string_free(g, true);
}

static bool same_image(const uint8_t *x, const uint8_t *y)
{
    return !memcmp(x, y, 2) && !memcmp(x + 4, y + 4, 2) && !memcmp(x + 8, y + 8, 2) &&
           !memcmp(x + ENV32, y + ENV32, 80);
}

/* Environments in memory, but for the pointers. */
static bool same_memory(const Case *k, const uint8_t *x, const uint8_t *y)
{
    X87Op op = x87_op(k->row->arg);
    if (op != X87_STENV && op != X87_SAVE)
        return !memcmp(x, y, MEM);
    return !memcmp(x, y, 12) && !memcmp(x + ENV32, y + ENV32, MEM - ENV32);
}

static bool one_case(X86Cpu *c, const Case *k, uint8_t *code, GRand *r)
{
    static uint8_t mem[MEM];
    Frame f, in;
    X87Op op = x87_op(k->row->arg);
    random_state(c, r);
    image_make(c, f.image);
    if (op == X87_LDENV || op == X87_RSTOR) {
        fill_memory(mem, X87_BCD, r);
        X86Cpu *other = g_new0(X86Cpu, 1);
        random_state(other, r);
        image_make(other, mem);
        g_free(other);
    } else {
        fill_memory(mem, k->is_mem ? x87_i(k->row->arg) : 0, r);
    }
    memcpy(f.mem, mem, MEM);
    in = f;
    ((void (*)(Frame *))code)(&f);

    guest_mem = mem;
    /* xor eax, eax has set ZF and PF: E, BE and U hold */
    unsigned cc = k->insn[1] >> 3 & 3;
    bool cond = (cc != 0) ^ (k->insn[0] & 1);
    if (g_rand_boolean(r)) /* IE and PE of older operations are no business of this one */
        asm volatile("fldz; fldz; fdivp; fstp %%st(0); fld1; fldpi; fdivp; fstp %%st(0)" : : : "st", "st(1)");
    uint64_t flags = run_ours(c, k, cond);
    uint8_t image[IMAGE];
    image_make(c, image);
    bool flags_fine = (op != X87_COMI && op != X87_UCOMI) || flags == (f.flags & 0x45);
    if (same_image(image, f.image) && same_memory(k, mem, f.mem) && flags_fine)
        return true;
    g_test_message("%s (%02x %02x)", k->row->opcode, k->insn[0], k->insn[1]);
    print_image("in  ", in.image, in.mem);
    print_image("host", f.image, f.mem);
    print_image("ours", image, mem);
    g_test_message("  flags host %lx ours %lx", f.flags & 0x45, flags);
    return false;
}

static void rows_match_the_host(void)
{
    uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    X86Cpu *c = g_new0(X86Cpu, 1);
    GRand *r = g_rand_new_with_seed(2);
    unsigned cases = 0, bad = 0;
    c->hooks = &hooks;
    for (const X86Row *row = x86_rows_x87; row->opcode; row++)
        for (unsigned i = 0; i < (strstr(row->opcode, "+i") ? 8 : 1); i++) {
            Case k;
            /* FLDCW, FSTCW, FSTSW, FNCLEX, FNINIT, FENI and FWAIT have no word: see the other tests */
            if (!encode(row, i, &k) || (x87_op(row->arg) <= X87_MUL && !strchr("8ACE", row->opcode[1])))
                continue;
            thunk_make(code, k.insn, k.n);
            for (unsigned n = 0; n < CASES; n++, cases++)
                if (!one_case(c, &k, code, r)) {
                    bad++;
                    break;
                }
        }
    g_test_message("%u cases", cases);
    g_assert_cmpuint(bad, ==, 0);
    g_rand_free(r);
    g_free(c);
    munmap(code, 4096);
}

static void control_words(void)
{
    X86Cpu *c = g_new0(X86Cpu, 1);
    CpuState *s = &c->s;
    x87_init(s);
    g_assert_cmphex(x87_get_fcw(s), ==, 0x37f);
    g_assert_cmphex(x87_full_tags(c), ==, 0xffff);
    c->fsw = 4;                                       /* a masked zero divide becomes pending when unmasked */
    x87_set_fcw(s, 0x37b);
    g_assert_cmphex(x87_get_fsw(s), ==, 0x8084);
    x87_set_fcw(s, 0xffff);
    g_assert_cmphex(x87_get_fcw(s), ==, 0x1f7f);
    g_assert_cmphex(x87_get_fsw(s), ==, 4);
    c->fsw = 0x477f;
    c->fpu_top = 5;
    x87_clex(s);
    g_assert_cmphex(x87_get_fsw(s), ==, 0x6f00);
    mmx_put(s, 3, 0x123456789abcdef0);
    g_assert_cmphex(mmx_get(s, 3), ==, 0x123456789abcdef0);
    g_assert_cmphex(c->fpr[3].exp, ==, 0xffff);
    g_assert_cmphex(x87_get_fsw(s), ==, 0x4700);
    g_assert_cmpuint(c->fpu_empty, ==, 0);
    mmx_empty(s);
    g_assert_cmpuint(c->fpu_empty, ==, 0xff);
    g_free(c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/target/x86/x87/rows-match-the-host", rows_match_the_host);
    g_test_add_func("/target/x86/x87/control-words", control_words);
    return g_test_run();
}
