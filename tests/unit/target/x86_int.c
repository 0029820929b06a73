/* SPDX-License-Identifier: GPL-2.0-or-later
 * Integer and flow rows, where random sequences on the host do not reach: control flow, 16-bit code, segment limits,
 * interrupted string instructions, single step, blocks. */
#include <inttypes.h>
#include <string.h>

#include "target/x86/translate.h"
#include "tests/x86_fake.h"

static Fake *start64(const uint8_t *code, unsigned len)
{
    Fake *f = fake_new("max");
    fake_long(f);
    fake_user(f, 0x800000, 0x900000);
    memcpy(f->ram + 0x800000, code, len);
    return f;
}

static Fake *start16(const uint8_t *code, unsigned len, uint16_t ip)
{
    Fake *f = fake_new("max");
    x86_set_seg_real(f->c, CS, 0x1000);
    x86_set_seg_real(f->c, SS, 0x2000);
    x86_set_seg_real(f->c, DS, 0x3000);
    x86_set_seg_real(f->c, ES, 0x4000);
    *x86_pc(f->c) = ip;
    f->c->s.hot[RSP] = 0x100;
    x86_mode_changed(f->c);
    for (unsigned i = 0; i < len; i++)
        f->ram[0x10000 + (uint16_t)(ip + i)] = code[i];
    return f;
}

#define BYTES(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })
#define START(...) start64(BYTES(__VA_ARGS__))

static uint64_t *reg(Fake *f, unsigned n) { return &f->c->s.hot[n]; }

/* --- near control flow */

static void calls(void)
{
    Fake *f = START(0xe8, 0x10, 0, 0, 0);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800015);
    g_assert_cmphex(*reg(f, RSP), ==, 0x900000 - 8);
    g_assert_cmphex(fake_get64(f, 0x900000 - 8), ==, 0x800005);
    f->ram[0x800015] = 0xc2;                                    /* ret 16 */
    f->ram[0x800016] = 0x10;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800005);
    g_assert_cmphex(*reg(f, RSP), ==, 0x900010);
    f->ram[0x800005] = 0xff;                                    /* call [rsp - 8], read before the push */
    memcpy(f->ram + 0x800006, (uint8_t[]){ 0x54, 0x24, 0xf8 }, 3);
    fake_put64(f, 0x900008, 0x812345);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x812345);
    g_assert_cmphex(fake_get64(f, 0x900008), ==, 0x800009);
    f->ram[0x812345] = 0xff;                                    /* jmp rax */
    f->ram[0x812346] = 0xe0;
    *reg(f, RAX) = 0x800000;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800000);
    fake_free(f);
}

/* A call whose push faults leaves everything as it was. */
static void call_faults(void)
{
    Fake *f = START(0xe8, 0x10, 0, 0, 0);
    *reg(f, RSP) = 0x100008;                                    /* the kernel's */
    g_assert_cmpint(fake_step(f), ==, EXC_PF);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800000);
    g_assert_cmphex(*reg(f, RSP), ==, 0x100008);
    fake_free(f);
}

typedef struct Loop { uint8_t code[3]; uint64_t rcx, rcx_after; bool zf, taken; } Loop;

static void loops(void)
{
    static const Loop t[] = {
        { { 0xe2, 0x20 },       2, 1, false, true },
        { { 0xe2, 0x20 },       1, 0, false, false },
        { { 0xe2, 0x20 },       0, ~0ull, false, true },
        { { 0xe1, 0x20 },       2, 1, true, true },
        { { 0xe1, 0x20 },       2, 1, false, false },
        { { 0xe0, 0x20 },       2, 1, false, true },
        { { 0xe0, 0x20 },       2, 1, true, false },
        { { 0xe3, 0x20 },       0, 0, false, true },
        { { 0xe3, 0x20 },       1, 1, false, false },
        { { 0x67, 0xe2, 0x20 }, 0x100000001, 0, false, false },
        { { 0x67, 0xe3, 0x20 }, 0x100000000, 0x100000000, false, true },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        unsigned len = t[i].code[0] == 0x67 ? 3 : 2;
        Fake *f = start64(t[i].code, len);
        *reg(f, RCX) = t[i].rcx;
        x86_set_eflags(f->c, t[i].zf ? FL_ZF : 0, FL_ZF);
        g_test_message("%u", i);
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmphex(*reg(f, RCX), ==, t[i].rcx_after);
        g_assert_cmphex(*x86_pc(f->c), ==, 0x800000 + len + (t[i].taken ? 0x20 : 0));
        fake_free(f);
    }
}

/* Every condition after every kind of flag setting agrees with the flags themselves. */
static void conditions(void)
{
    static const uint8_t setters[][4] = {
        { 0x38, 0xd8 }, { 0x28, 0xd8 }, { 0x00, 0xd8 }, { 0x20, 0xd8 }, { 0x84, 0xd8 }, { 0x10, 0xd8 }, { 0x18, 0xd8 },
        { 0xfe, 0xc0 }, { 0xfe, 0xc8 }, { 0xd0, 0xe0 }, { 0xd0, 0xe8 }, { 0xc0, 0xf8, 0x03 }, { 0xd2, 0xe0 }, { 0xf6, 0xd8 },
        { 0xf6, 0xe3 }, { 0xf6, 0xeb }, { 0xd0, 0xc0 }, { 0xd0, 0xd8 }, { 0x9e }, { 0xf5 },
    };
    static const uint8_t values[] = { 0, 1, 2, 0x7f, 0x80, 0x81, 0xff };
    unsigned checked = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(setters); i++)
        for (unsigned k = 0; k < sizeof values * sizeof values; k++)
            for (unsigned cc = 0; cc < 16; cc++) {
                /* the setter, then setcc dl in the same block */
                uint8_t code[8] = { 0 };
                unsigned n = setters[i][0] == 0x9e || setters[i][0] == 0xf5 ? 1 : setters[i][0] == 0xc0 ? 3 : 2;
                memcpy(code, setters[i], n);
                memcpy(code + n, (uint8_t[]){ 0x0f, 0x90 | cc, 0xc2, 0xf4 }, 4);
                Fake *f = start64(code, n + 4);
                *reg(f, RAX) = values[k % sizeof values] | values[k / sizeof values] << 8;
                *reg(f, RBX) = values[k / sizeof values];
                *reg(f, RCX) = k % 9;
                x86_set_eflags(f->c, k & 1 ? FL_CF : 0, FL_ARITH);
                g_assert_cmpint(fake_run(f, 2), ==, -1);
                uint32_t fl = x86_eflags(f->c);
                bool c = fl & FL_CF, z = fl & FL_ZF, s = fl & FL_SF, o = fl & FL_OF, p = fl & FL_PF;
                bool want[8] = { o, c, z, c || z, s, p, s != o, z || s != o };
                if ((*reg(f, RDX) & 0xff) != (want[cc >> 1] != (cc & 1)))
                    g_test_message("setter %u cc %u rax %" PRIx64 " rbx %" PRIx64 " flags %x", i, cc, *reg(f, RAX), *reg(f, RBX), fl);
                g_assert_cmphex(*reg(f, RDX) & 0xff, ==, want[cc >> 1] != (cc & 1));
                checked++;
                fake_free(f);
            }
    g_test_message("%u", checked);
}

/* --- software interrupts, checks */

static void interrupts(void)
{
    Fake *f = START(0xcd, 0x30);
    fake_gate(f, 0x30, S_KCS, F_HANDLER, 14, 3, 0);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, F_HANDLER);
    g_assert_cmphex(fake_get64(f, *reg(f, RSP)), ==, 0x800002);
    fake_free(f);
    f = START(0xcd, 0x31);                                      /* a gate for the kernel only */
    fake_gate(f, 0x31, S_KCS, F_HANDLER, 14, 0, 0);
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800000);
    fake_free(f);
    f = START(0x0f, 0x0b);
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
    f = START(0xf0, 0x01, 0xc0);                                /* LOCK without memory; with CMP; with a good one */
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
    f = START(0xf0, 0x39, 0x04, 0x24);
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
    f = START(0xf0, 0x03, 0x04, 0x24);                          /* memory is the source */
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
}

/* --- strings */

/* REP MOVSB into a page that is not the user's: what fits is copied, the next run faults at its first iteration. */
static void rep_faults(void)
{
    Fake *f = START(0xf3, 0xa4);
    *reg(f, RSI) = 0x810000;
    *reg(f, RDI) = FAKE_RAM - 100;
    *reg(f, RCX) = 1000;
    for (unsigned i = 0; i < 100; i++)
        f->ram[0x810000 + i] = i;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800000);
    g_assert_cmpuint(*reg(f, RCX), ==, 900);
    g_assert_cmphex(*reg(f, RSI), ==, 0x810000 + 100);
    g_assert_cmpmem(f->ram + FAKE_RAM - 100, 100, f->ram + 0x810000, 100);
    g_assert_cmpint(fake_step(f), ==, EXC_PF);
    g_assert_cmphex(f->c->exc_cr2, ==, FAKE_RAM);
    g_assert_cmpuint(*reg(f, RCX), ==, 900);
    fake_free(f);
}

/* A long one comes out for interrupts and goes on, whatever way memory is reached. */
static void rep_is_bounded(void)
{
    for (int no_host = 0; no_host < 2; no_host++) {
        Fake *f = START(0xf3, 0xaa);
        f->no_host = no_host;
        *reg(f, RDI) = 0xa00000;
        *reg(f, RCX) = 0x40000;
        *reg(f, RAX) = 0x5a;
        unsigned steps = 0;
        while (*x86_pc(f->c) == 0x800000) {
            uint64_t before = *reg(f, RCX);
            g_assert_cmpint(fake_step(f), ==, -1);
            g_assert_cmpuint(before - *reg(f, RCX), <=, 0x10000);
            g_assert_cmpuint(before, >, *reg(f, RCX));
            steps++;
        }
        g_assert_cmpuint(steps, >=, 4);
        g_assert_cmpuint(*reg(f, RCX), ==, 0);
        for (unsigned i = 0; i < 0x40000; i++)
            g_assert_cmphex(f->ram[0xa00000 + i], ==, 0x5a);
        fake_free(f);
    }
}

/* Overlapping areas: each element is copied after the one before it. */
static void rep_overlaps(void)
{
    Fake *f = START(0xf3, 0xa4);
    memcpy(f->ram + 0x810000, "ab", 2);
    *reg(f, RSI) = 0x810000;
    *reg(f, RDI) = 0x810002;
    *reg(f, RCX) = 6;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpmem(f->ram + 0x810000, 8, "abababab", 8);
    fake_free(f);
    f = START(0xfd, 0xf3, 0x66, 0xa5);                          /* std; rep movsw */
    memcpy(f->ram + 0x810000, "abcdefgh", 8);
    *reg(f, RSI) = 0x810006;
    *reg(f, RDI) = 0x810004;
    *reg(f, RCX) = 3;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpmem(f->ram + 0x810000, 8, "ghghghgh", 8);
    g_assert_cmphex(*reg(f, RDI), ==, 0x80fffe);
    fake_free(f);
}

/* A 64-bit fill across pages, an element astride the border. */
static void rep_straddles(void)
{
    Fake *f = START(0xf3, 0x48, 0xab);
    *reg(f, RDI) = 0x810ffc;
    *reg(f, RCX) = 600;
    *reg(f, RAX) = 0x1122334455667788;
    while (*x86_pc(f->c) == 0x800000)
        g_assert_cmpint(fake_step(f), ==, -1);
    for (unsigned i = 0; i < 600; i++)
        g_assert_cmphex(fake_get64(f, 0x810ffc + i * 8), ==, 0x1122334455667788);
    g_assert_cmphex(fake_get64(f, 0x810ffc + 600 * 8), ==, 0);
    fake_free(f);
}

static void port_strings(void)
{
    Fake *f = fake_new("max");
    fake_long(f);
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0xf3, 0x6c }, 2);      /* rep insb */
    *x86_pc(f->c) = F_CODE;
    *reg(f, RDX) = 0x1f0;
    *reg(f, RDI) = 0x810000;
    *reg(f, RCX) = 3;
    f->port_value = 0x77;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(fake_get32(f, 0x810000), ==, 0x777777);
    g_assert_cmphex(f->port, ==, 0x1f0);
    g_assert_cmpuint(*reg(f, RCX), ==, 0);
    *reg(f, RDI) = FAKE_RAM;                                    /* nothing is read if it cannot be stored */
    *reg(f, RCX) = 1;
    f->port = 0;
    *x86_pc(f->c) = F_CODE;
    g_assert_cmpint(fake_step(f), ==, EXC_PF);
    g_assert_cmphex(f->port, ==, 0);
    fake_free(f);
}

/* --- 16-bit code */

static void wraps_at_64k(void)
{
    Fake *f = start16(BYTES(0xeb, 0x10), 0xfff8);               /* jmp +16: IP wraps */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x000a);
    fake_free(f);
    f = start16(BYTES(0x75, 0x10), 0xfff8);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x000a);
    fake_free(f);
    f = start16(BYTES(0x8b, 0x47, 0x10), 0);                    /* mov ax, [bx + 16]: the address wraps */
    *reg(f, RBX) = 0xfffa;
    fake_put32(f, 0x3000a, 0x1234);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*reg(f, RAX), ==, 0x1234);
    fake_free(f);
    f = start16(BYTES(0x50), 0);                                /* push ax: SP wraps, ESP's upper half stays */
    *reg(f, RSP) = 0xabcd0000;
    *reg(f, RAX) = 0x5566;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*reg(f, RSP), ==, 0xabcdfffe);
    g_assert_cmphex(fake_get32(f, 0x2fffe) & 0xffff, ==, 0x5566);
    fake_free(f);
}

static void limits(void)
{
    Fake *f = start16(BYTES(0x8b, 0x07), 0);                    /* mov ax, [bx]: two bytes at FFFF */
    *reg(f, RBX) = 0xffff;
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    fake_free(f);
    f = start16(BYTES(0x36, 0x8b, 0x07), 0);
    *reg(f, RBX) = 0xffff;
    g_assert_cmpint(fake_step(f), ==, EXC_SS);
    fake_free(f);
    f = start16(BYTES(0x67, 0x66, 0x8b, 0x03), 0);              /* mov eax, [ebx] beyond 64 KiB */
    *reg(f, RBX) = 0x10000;
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    fake_free(f);
    f = start16(BYTES(0x8d, 0x07), 0);                          /* lea does not access */
    *reg(f, RBX) = 0xffff;
    g_assert_cmpint(fake_step(f), ==, -1);
    fake_free(f);
}

/* --- single step: after the instruction, with the pc of the next, wherever that is */

static void single_step(void)
{
    Fake *f = START(0x90);
    x86_set_eflags(f->c, FL_TF, FL_TF);
    x86_mode_changed(f->c);
    g_assert_cmpint(fake_step(f), ==, EXC_DB);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800001);
    fake_free(f);
    f = START(0xeb, 0x20);
    x86_set_eflags(f->c, FL_TF, FL_TF);
    x86_mode_changed(f->c);
    g_assert_cmpint(fake_step(f), ==, EXC_DB);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800022);
    fake_free(f);
    f = START(0x74, 0x20);
    x86_set_eflags(f->c, FL_TF | FL_ZF, FL_TF | FL_ZF);
    x86_mode_changed(f->c);
    g_assert_cmpint(fake_step(f), ==, EXC_DB);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x800022);
    fake_free(f);
    f = START(0xff, 0xe0);
    *reg(f, RAX) = 0x812345;
    x86_set_eflags(f->c, FL_TF, FL_TF);
    x86_mode_changed(f->c);
    g_assert_cmpint(fake_step(f), ==, EXC_DB);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x812345);
    g_assert_cmpuint(f->attentions, >, 0);
    fake_free(f);
}

/* --- blocks */

static unsigned block_insns(const uint8_t *code, unsigned len, uint64_t at, unsigned max)
{
    Fake *f = start64(code, 0);
    memcpy(f->ram + at, code, len);
    TransReq req = { .cpu = &f->c->s, .pc = at, .mode = x86_target.mode_key(&f->c->s), .max_insns = max, .code = f->ram + at,
                     .first_len = 4096 - (at & 4095) };
    Ir *ir = ir_new(&x86_slots);
    ir_reset(ir);
    x86_target.translate(ir, &req);
    g_autofree char *bad = ir_verify(ir);
    g_assert_cmpstr(bad, ==, NULL);
    unsigned n = ir_guest_count(ir);
    ir_free(ir);
    fake_free(f);
    return n;
}

static void blocks(void)
{
    uint8_t nops[200];
    memset(nops, 0x90, sizeof nops);
    g_assert_cmpuint(block_insns(nops, sizeof nops, 0x800000, 64), ==, 64);
    g_assert_cmpuint(block_insns(nops, sizeof nops, 0x800000, 5), ==, 5);
    g_assert_cmpuint(block_insns(nops, sizeof nops, 0x800ff0, 64), ==, 16);     /* the page ends */
    uint8_t jumps[40];
    for (unsigned i = 0; i < sizeof jumps; i += 2)
        memcpy(jumps + i, (uint8_t[]){ 0x74, 0x40 }, 2);
    g_assert_cmpuint(block_insns(jumps, sizeof jumps, 0x800000, 64), ==, 4);    /* side exits are few */
    static const uint8_t astride[] = { 0x90, 0x90, 0x48, 0xb8 };                /* movabs over the border */
    g_assert_cmpuint(block_insns(astride, sizeof astride, 0x800ffc, 64), ==, 2);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/int/calls", calls);
    g_test_add_func("/x86/int/call-faults", call_faults);
    g_test_add_func("/x86/int/loops", loops);
    g_test_add_func("/x86/int/conditions", conditions);
    g_test_add_func("/x86/int/interrupts", interrupts);
    g_test_add_func("/x86/int/rep-faults", rep_faults);
    g_test_add_func("/x86/int/rep-is-bounded", rep_is_bounded);
    g_test_add_func("/x86/int/rep-overlaps", rep_overlaps);
    g_test_add_func("/x86/int/rep-straddles", rep_straddles);
    g_test_add_func("/x86/int/port-strings", port_strings);
    g_test_add_func("/x86/int/wraps-at-64k", wraps_at_64k);
    g_test_add_func("/x86/int/limits", limits);
    g_test_add_func("/x86/int/single-step", single_step);
    g_test_add_func("/x86/int/blocks", blocks);
    return g_test_run();
}
