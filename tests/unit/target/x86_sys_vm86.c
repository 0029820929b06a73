/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtual-8086 mode: entry, exit, instructions that IOPL guards, VME and PVI.  SDM vol. 3, chapter 20 (named 22 in
 * newer editions); vol. 2, IRET, INT n, CLI, STI, PUSHF, POPF. */
#include <string.h>

#include "tests/x86_fake.h"

enum { CS86 = F_CODE >> 4, SS86 = 0x2000, SP86 = 0x100, IP86 = 0x20 };

/* In virtual-8086 mode at CS86:IP86, code there. */
static Fake *start86(unsigned iopl, uint64_t cr4, uint64_t flags, const uint8_t *code, unsigned len)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    fake_protected(f);
    if (!x86_set_cr(c, 4, cr4))
        g_assert_not_reached();
    uint32_t frame[9] = { IP86, CS86, FL_1 | FL_VM | iopl << 12 | flags, SP86, SS86, 0x3000, 0x3100, 0x3200, 0x3300 };
    memcpy(f->ram + F_STACK - 36, frame, sizeof frame);
    c->s.hot[RSP] = F_STACK - 36;
    g_assert_true(x86_iret(c, 4, 0));
    memcpy(f->ram + F_CODE + IP86, code, len);
    return f;
}
#define START86(iopl, cr4, flags, ...) \
    start86(iopl, cr4, flags, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static uint16_t word(Fake *f, unsigned at) { return fake_get32(f, at); }

/* --- in and out (20.2.5, 20.2.6) */

static void entry_and_exit(void)
{
    Fake *f = START86(0, 0, FL_IF | FL_TF | FL_NT, 0x90);
    X86Cpu *c = f->c;
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(*x86_pc(c), ==, IP86);
    g_assert_cmphex(c->s.hot[RSP], ==, SP86);
    static const struct { unsigned seg; uint16_t sel; } segs[] = {
        { CS, CS86 }, { SS, SS86 }, { ES, 0x3000 }, { DS, 0x3100 }, { FS, 0x3200 }, { GS, 0x3300 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(segs); i++) {
        const X86Seg *s = &c->seg[segs[i].seg];
        g_assert_cmphex(s->sel, ==, segs[i].sel);
        g_assert_cmphex(*x86_seg_base(c, segs[i].seg), ==, segs[i].sel << 4);
        g_assert_cmphex(s->limit, ==, 0xffff);
        g_assert_cmphex(s->attr, ==, 0xf300);
    }
    g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
    x86_raise(c, EXC_GP, 0);
    x86_service(&c->s);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER + EXC_GP * 16);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmphex(c->seg[SS].sel, ==, S_KDS);
    g_assert_cmphex(c->s.hot[RSP], ==, F_RSP0 - 40);
    uint32_t want[10] = { 0, IP86, CS86, FL_1 | FL_VM | FL_IF | FL_TF | FL_NT | FL_RF, SP86, SS86, 0x3000, 0x3100, 0x3200,
                          0x3300 };
    for (unsigned i = 0; i < 10; i++)
        g_assert_cmphex(i == 2 || i > 4 ? word(f, F_RSP0 - 40 + 4 * i) : fake_get32(f, F_RSP0 - 40 + 4 * i), ==, want[i]);
    static const uint8_t null[] = { ES, DS, FS, GS };
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmphex(c->seg[null[i]].sel | c->seg[null[i]].attr, ==, 0);
    g_assert_cmphex(*x86_flags(c), ==, FL_1);
    c->s.hot[RSP] += 4;
    g_assert_true(x86_iret(c, 4, 0));
    g_assert_true(x86_vm86(c));
    g_assert_cmphex(*x86_pc(c), ==, IP86);
    fake_free(f);
}

/* A gate to a handler that is not privilege 0, IRET to an EIP beyond 64 KiB, IRET with VM above privilege 0. */
static void bad_exits(void)
{
    Fake *f = START86(3, 0, 0, 0xcd, 0x80);
    X86Cpu *c = f->c;
    fake_gate(f, 0x80, S_CONF, F_HANDLER, SYS_INT32, 3, 0);
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    g_assert_cmphex(c->exc_error, ==, S_CONF);
    fake_gate(f, 0x80, S_UCS, F_HANDLER, SYS_INT32, 3, 0);
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    g_assert_cmphex(c->exc_error, ==, S_UCS & ~3);
    fake_gate(f, 0x80, S_KCS, F_HANDLER, SYS_INT32, 0, 0);
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    g_assert_cmphex(c->exc_error, ==, 0x80 * 8 + 2);
    g_assert_true(x86_vm86(c));
    fake_free(f);
    f = fake_new("max");
    c = f->c;
    fake_protected(f);
    uint32_t frame[9] = { 0x10000, CS86, FL_1 | FL_VM, SP86, SS86 };
    memcpy(f->ram + F_STACK - 36, frame, sizeof frame);
    c->s.hot[RSP] = F_STACK - 36;
    g_assert_false(x86_iret(c, 4, 0));
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    g_assert_false(x86_vm86(c));
    c->exc_pending = false;
    fake_user(f, 0x800000, F_STACK - 36);
    frame[0] = 0x800000, frame[1] = S_UCS;
    memcpy(f->ram + F_STACK - 36, frame, sizeof frame);
    g_assert_true(x86_iret(c, 4, 0));                   /* privilege 3: the bit is not looked at */
    g_assert_false(x86_vm86(c));
    g_assert_cmphex(*x86_pc(c), ==, 0x800000);
    fake_free(f);
}

/* --- what IOPL guards (20.2.7, 20.3, tables 20-1 and 20-2) */

enum { OK = -1, GP = EXC_GP, UD = EXC_UD };
#define VIF FL_VIF
#define VIP FL_VIP
#define VME CR4_VME

typedef struct Guarded {
    const char *name;
    uint8_t  code[4];
    unsigned iopl;
    uint64_t cr4, flags;
    uint16_t pushed[3];         /* on the stack before: for POPF, IRET: what they pop */
    int      vector;
    uint64_t after;             /* of IF, VIF, VIP, TF, DF, CF */
} Guarded;

static void guarded(void)
{
    static const Guarded t[] = {
        { "cli",             { 0xfa }, 3, 0,   FL_IF,       { 0 }, OK, 0 },
        { "cli",             { 0xfa }, 0, 0,   FL_IF,       { 0 }, GP, FL_IF },
        { "cli, VME",        { 0xfa }, 0, VME, FL_IF | VIF, { 0 }, OK, FL_IF },
        { "cli, VME, IOPL",  { 0xfa }, 3, VME, FL_IF | VIF, { 0 }, OK, VIF },
        { "cli, VME, VIP",   { 0xfa }, 2, VME, VIP | VIF,   { 0 }, OK, VIP },
        { "cli, PVI",        { 0xfa }, 0, CR4_PVI, VIF,     { 0 }, GP, VIF },
        { "sti",             { 0xfb }, 3, 0,   0,           { 0 }, OK, FL_IF },
        { "sti",             { 0xfb }, 2, 0,   0,           { 0 }, GP, 0 },
        { "sti, VME",        { 0xfb }, 0, VME, 0,           { 0 }, OK, VIF },
        { "sti, VME, VIP",   { 0xfb }, 0, VME, VIP,         { 0 }, GP, VIP },
        { "sti, VME, IOPL",  { 0xfb }, 3, VME, VIP,         { 0 }, OK, FL_IF | VIP },
        { "pushf",           { 0x9c }, 0, 0,   0,           { 0 }, GP, 0 },
        { "pushfd, VME",     { 0x66, 0x9c }, 0, VME, 0,     { 0 }, GP, 0 },
        { "popf",            { 0x9d }, 0, 0,   0,           { FL_IF }, GP, 0 },
        { "popf, IOPL",      { 0x9d }, 3, 0,   0,           { FL_IF | FL_DF | FL_CF }, OK, FL_IF | FL_DF | FL_CF },
        { "popf, VME",       { 0x9d }, 0, VME, 0,           { FL_IF | FL_CF }, OK, VIF | FL_CF },
        { "popf, VME, off",  { 0x9d }, 0, VME, VIF | FL_IF, { FL_DF }, OK, FL_IF | FL_DF },
        { "popf, VME, TF",   { 0x9d }, 0, VME, 0,           { FL_TF }, GP, 0 },
        { "popf, VME, VIP",  { 0x9d }, 0, VME, VIP,         { FL_IF }, GP, VIP },
        { "popf, VME, VIP",  { 0x9d }, 0, VME, VIP | VIF,   { 0 }, OK, VIP },
        { "popfd, VME",      { 0x66, 0x9d }, 0, VME, 0,     { 0 }, GP, 0 },
        { "iret",            { 0xcf }, 0, 0,   0,           { 0x33, CS86, FL_IF }, GP, 0 },
        { "iret, IOPL",      { 0xcf }, 3, 0,   0,           { 0x33, CS86, FL_IF }, OK, FL_IF },
        { "iret, VME",       { 0xcf }, 0, VME, 0,           { 0x33, CS86, FL_IF }, OK, VIF },
        { "iret, VME, TF",   { 0xcf }, 0, VME, 0,           { 0x33, CS86, FL_TF }, GP, 0 },
        { "iret, VME, VIP",  { 0xcf }, 0, VME, VIP,         { 0x33, CS86, FL_IF }, GP, VIP },
        { "iretd, VME",      { 0x66, 0xcf }, 0, VME, 0,     { 0x33, CS86, FL_IF }, GP, 0 },
        { "hlt",             { 0xf4 }, 3, 0,   0,           { 0 }, GP, 0 },
        { "mov eax, cr0",    { 0x0f, 0x20, 0xc0 }, 3, 0, 0, { 0 }, GP, 0 },
        { "lgdt",            { 0x0f, 0x01, 0x16 }, 3, 0, 0, { 0 }, GP, 0 },
        { "sldt",            { 0x0f, 0x00, 0xc0 }, 3, 0, 0, { 0 }, UD, 0 },
        { "lar",             { 0x0f, 0x02, 0xc0 }, 3, 0, 0, { 0 }, UD, 0 },
        { "arpl",            { 0x63, 0xc0 }, 3, 0, 0,       { 0 }, UD, 0 },
        { "smsw",            { 0x0f, 0x01, 0xe0 }, 3, 0, 0, { 0 }, OK, 0 },
        { "int1",            { 0xf1 }, 0, 0, 0,             { 0 }, OK, 0 },
        { "int3",            { 0xcc }, 0, 0, 0,             { 0 }, OK, 0 },
    };
    uint64_t shown = FL_IF | VIF | VIP | FL_TF | FL_DF | FL_CF;
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start86(t[i].iopl, t[i].cr4, t[i].flags, t[i].code, sizeof t[i].code);
        X86Cpu *c = f->c;
        memcpy(f->ram + 0x20000 + SP86, t[i].pushed, 6);
        int got = fake_step(f);
        if (got != t[i].vector || (x86_vm86(c) && (x86_eflags(c) & shown) != t[i].after))
            g_test_message("%s with IOPL %u: vector %d, flags %x", t[i].name, t[i].iopl, got, (unsigned)x86_eflags(c));
        g_assert_cmpint(got, ==, t[i].vector);
        if (x86_vm86(c)) {
            g_assert_cmphex(x86_eflags(c) & shown, ==, t[i].after);
            g_assert_cmpuint(x86_iopl(c), ==, t[i].iopl);
            g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
        }
        if (got >= 0) {
            g_assert_cmphex(c->s.hot[RSP], ==, SP86);
            g_assert_cmphex(*x86_pc(c), ==, IP86);
        }
        fake_free(f);
    }
}

static void pushed_flags(void)
{
    static const struct { unsigned iopl; uint64_t cr4, flags; uint16_t want; } t[] = {
        { 3, 0, FL_IF | FL_NT, FL_1 | FL_IF | FL_NT | FL_IOPL },
        { 3, VME, FL_IF, FL_1 | FL_IF | FL_IOPL },
        { 0, VME, FL_IF | FL_CF, FL_1 | FL_IOPL | FL_CF },
        { 1, VME, VIF, FL_1 | FL_IOPL | FL_IF },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = START86(t[i].iopl, t[i].cr4, t[i].flags, 0x9c);
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmphex(f->c->s.hot[RSP], ==, SP86 - 2);
        g_assert_cmphex(word(f, 0x20000 + SP86 - 2), ==, t[i].want);
        fake_free(f);
    }
}

/* INT n: the protected-mode handler, the program's own, or #GP (table 20-2). */
static void int_n(void)
{
    enum { HANDLER = -1, OWN = -2 };
    static const struct { unsigned iopl; uint64_t cr4; bool bit; uint64_t flags; int want; uint16_t pushed; uint64_t after; } t[] = {
        { 3, 0, false, FL_IF, HANDLER, 0, 0 },
        { 0, 0, false, FL_IF, GP, 0, 0 },
        { 2, 0, false, FL_IF, GP, 0, 0 },
        { 3, VME, true, FL_IF, HANDLER, 0, 0 },
        { 0, VME, true, FL_IF, GP, 0, 0 },
        { 3, VME, false, FL_IF | VIF, OWN, FL_1 | FL_IF | FL_IOPL, VIF },
        { 0, VME, false, FL_IF | VIF, OWN, FL_1 | FL_IF | FL_IOPL, FL_IF },
        { 0, VME, false, FL_IF | VIP, OWN, FL_1 | FL_IOPL, FL_IF | VIP },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = START86(t[i].iopl, t[i].cr4, t[i].flags, 0xcd, 0x80);
        X86Cpu *c = f->c;
        fake_put32(f, F_TSS + 0x64, 0x88 << 16);        /* the port map at 88h, the redirection map at 68h */
        f->ram[F_TSS + 0x68 + 0x80 / 8] = t[i].bit;
        fake_put32(f, 4 * 0x80, 0x12340567);
        g_test_message("row %u", i);
        int got = fake_step(f);
        g_assert_cmpint(got, ==, t[i].want == GP ? GP : -1);
        if (t[i].want == GP) {
            g_assert_cmphex(c->exc_error, ==, 0);
            g_assert_cmphex(*x86_pc(c), ==, IP86);
        } else if (t[i].want == HANDLER) {
            g_assert_cmphex(*x86_pc(c), ==, F_HANDLER + 0x80 * 16);
            g_assert_cmphex(fake_get32(f, F_RSP0 - 36), ==, IP86 + 2);
        } else {
            g_assert_true(x86_vm86(c));
            g_assert_cmphex(c->seg[CS].sel, ==, 0x1234);
            g_assert_cmphex(*x86_pc(c), ==, 0x567);
            g_assert_cmphex(c->s.hot[RSP], ==, SP86 - 6);
            g_assert_cmphex(word(f, 0x20000 + SP86 - 6), ==, IP86 + 2);
            g_assert_cmphex(word(f, 0x20000 + SP86 - 4), ==, CS86);
            g_assert_cmphex(word(f, 0x20000 + SP86 - 2), ==, t[i].pushed);
            g_assert_cmphex(x86_eflags(c) & (FL_IF | VIF | VIP), ==, t[i].after);
        }
        fake_free(f);
    }
}

/* Ports: the map counts whatever IOPL (20.2.8.1). */
static void ports(void)
{
    static const uint8_t code[][2] = { { 0xec }, { 0xee }, { 0x6c }, { 0x6e }, { 0xe4, 0x10 } };
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(code); i++) {
        Fake *f = start86(3, 0, 0, code[i / 2], 2);
        f->c->s.hot[RDX] = 0x10;
        fake_put32(f, F_TSS + 0x64, 0x68 << 16);
        memset(f->ram + F_TSS + 0x68, 0, 16);
        f->ram[F_TSS + 0x68 + 2] = i & 1;
        g_assert_cmpint(fake_step(f), ==, i & 1 ? GP : OK);
        fake_free(f);
    }
}

/* PVI: CLI and STI of protected mode at privilege 3 (20.4). */
static void pvi(void)
{
    static const struct { uint8_t code; uint64_t cr4, flags; int vector; uint64_t after; } t[] = {
        { 0xfa, 0, VIF, GP, VIF }, { 0xfa, CR4_PVI, VIF | FL_IF, OK, FL_IF }, { 0xfb, CR4_PVI, 0, OK, VIF },
        { 0xfb, CR4_PVI, VIP, GP, VIP }, { 0xfb, VME, 0, GP, 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = fake_new("max");
        fake_protected(f);
        g_assert_true(x86_set_cr(f->c, 4, t[i].cr4));
        fake_user(f, 0x800000, 0x900000);
        x86_set_eflags(f->c, t[i].flags, VIF | VIP | FL_IF);
        f->ram[0x800000] = t[i].code;
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        g_assert_cmphex(x86_eflags(f->c) & (VIF | VIP | FL_IF), ==, t[i].after);
        fake_free(f);
    }
}

/* Code that straddles the end of its 64 KiB, jumps, loads: see x86_sys_limits.c.  Segment loads make bases. */
static void segments(void)
{
    Fake *f = START86(0, 0, 0, 0x8e, 0xd8, 0xa1, 0x10, 0x00);          /* mov ds, ax; mov ax, [10h] */
    f->c->s.hot[RAX] = 0x4321;
    fake_put32(f, 0x43220, 0xbeef);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_seg_base(f->c, DS), ==, 0x43210);
    g_assert_cmphex(f->c->seg[DS].limit, ==, 0xffff);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->c->s.hot[RAX], ==, 0xbeef);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/vm86/entry-and-exit", entry_and_exit);
    g_test_add_func("/x86/vm86/bad-exits", bad_exits);
    g_test_add_func("/x86/vm86/guarded-by-iopl", guarded);
    g_test_add_func("/x86/vm86/pushf", pushed_flags);
    g_test_add_func("/x86/vm86/int-n", int_n);
    g_test_add_func("/x86/vm86/ports", ports);
    g_test_add_func("/x86/vm86/pvi", pvi);
    g_test_add_func("/x86/vm86/segments", segments);
    return g_test_run();
}
