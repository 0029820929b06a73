/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segment limits and types of data and code accesses, 64 KiB wrap of real mode, REP strings element by element, and
 * alignment checks.  SDM vol. 3, 5.3 (limits), 5.4 (types), 6.15 (#GP, #SS, #AC, table 6-7), 20.1 (real mode); vol. 2,
 * JMP, CALL, RET. */
#include <string.h>

#include "tests/x86_fake.h"

enum { OK = -1, GP = EXC_GP, SS_ = EXC_SS, AC = EXC_AC, UD = EXC_UD, BR = EXC_BR };
enum { BASE = 0x40000 };

/* --- operands: 32-bit code, DS and SS at BASE as the row says */

typedef struct Operand {
    const char *name;
    uint8_t  code[10];
    uint32_t limit, attr;       /* of DS and SS */
    uint32_t ebx;               /* EBP too */
    int      vector;
} Operand;

enum { RW = SEG_P | SEG_S | SEG_DB | 0x300, RO = SEG_P | SEG_S | SEG_DB | 0x100, DOWN = RW | 0x400, DOWN16 = DOWN & ~SEG_DB,
       XR = SEG_P | SEG_S | 0xb00, XO = SEG_P | SEG_S | 0x900 };

static void operands(void)
{
    static const Operand t[] = {
        { "load, last byte",     { 0x8b, 0x03 }, 0xfff, RW, 0xffc, OK },
        { "load, beyond",        { 0x8b, 0x03 }, 0xfff, RW, 0xffd, GP },
        { "byte, last",          { 0x8a, 0x03 }, 0xfff, RW, 0xfff, OK },
        { "store, beyond",       { 0x89, 0x03 }, 0xfff, RW, 0xffd, GP },
        { "store, by EBP",       { 0x89, 0x45, 0x00 }, 0xfff, RW, 0xffd, SS_ },
        { "store, read only",    { 0x89, 0x03 }, 0xfff, RO, 0, GP },
        { "load, read only",     { 0x8b, 0x03 }, 0xfff, RO, 0, OK },
        { "add [], read only",   { 0x01, 0x03 }, 0xfff, RO, 0, GP },
        { "cmp [], read only",   { 0x39, 0x03 }, 0xfff, RO, 0, OK },
        { "down, below",         { 0x8b, 0x03 }, 0xfff, DOWN, 0xfff, GP },
        { "down, above",         { 0x8b, 0x03 }, 0xfff, DOWN, 0x1000, OK },
        { "down, high",          { 0x8b, 0x03 }, 0xfff, DOWN, 0x20000, OK },
        { "down 16, high",       { 0x8b, 0x03 }, 0xfff, DOWN16, 0x10000, GP },
        { "down 16, end",        { 0x8b, 0x03 }, 0xfff, DOWN16, 0xfffd, GP },
        { "load of code",        { 0x8b, 0x03 }, 0xfff, XR, 0, OK },
        { "store to code",       { 0x89, 0x03 }, 0xfff, XR, 0, GP },
        { "load, execute only",  { 0x8b, 0x03 }, 0xfff, XO, 0, GP },
        { "les",                 { 0xc4, 0x03 }, 0xfff, RW, 0xffb, GP },
        { "bound",               { 0x62, 0x03 }, 0xfff, RW, 0xff9, GP },
        { "far jmp []",          { 0xff, 0x2b }, 0xfff, RW, 0xffb, GP },
        { "sgdt",                { 0x0f, 0x01, 0x03 }, 0xfff, RW, 0xffb, GP },
        { "lgdt",                { 0x0f, 0x01, 0x13 }, 0xfff, RW, 0xffb, GP },
        { "lgdt, last",          { 0x0f, 0x01, 0x13 }, 0xfff, RW, 0xffa, OK },
        { "sldt",                { 0x0f, 0x00, 0x03 }, 0xfff, RW, 0xfff, GP },
        { "mov [], ds",          { 0x8c, 0x1b }, 0xfff, RO, 0, GP },
        { "smsw",                { 0x0f, 0x01, 0x23 }, 0xfff, RW, 0xffe, OK },
        { "fxsave",              { 0x0f, 0xae, 0x03 }, 0xfff, RW, 0xe10, GP },
        { "cmpxchg8b",           { 0x0f, 0xc7, 0x0b }, 0xfff, RW, 0xff9, GP },
        { "fld tbyte",           { 0xdb, 0x2b }, 0xfff, RW, 0xff7, GP },
        { "fstp tbyte",          { 0xdb, 0x3b }, 0xfff, RO, 0, GP },
        { "fst dword",           { 0xd9, 0x13 }, 0xfff, RO, 0, GP },
        { "fld dword",           { 0xd9, 0x03 }, 0xfff, RO, 0, OK },
        { "fnstenv",             { 0xd9, 0x33 }, 0xfff, RW, 0xfe5, GP },
        { "fnstcw",              { 0xd9, 0x3b }, 0xfff, RO, 0, GP },
        { "movups",              { 0x0f, 0x10, 0x03 }, 0xfff, RW, 0xff1, GP },
        { "maskmovq",            { 0x0f, 0xf7, 0xc1 }, 0xfff, RO, 0, GP },
        { "xlat",                { 0xd7 }, 0xfff, RW, 0x1000, GP },
        { "clflush",             { 0x0f, 0xae, 0x3b }, 0xfff, RW, 0x1000, GP },
        { "lea",                 { 0x8d, 0x03 }, 0xfff, RW, 0x1000, OK },
        { "prefetch",            { 0x0f, 0x18, 0x0b }, 0xfff, RW, 0x1000, OK },
        { "bt [], far bit",      { 0x0f, 0xa3, 0x03 }, 0xfff, RW, 0x1000, OK },     /* EAX -32: the dword below */
        { "bts [], far bit",     { 0x0f, 0xab, 0x03 }, 0xfff, RO, 0x1000, GP },
        { "push",                { 0x50 }, 0xfff, RW, 0, OK },
        { "push [], beyond",     { 0xff, 0x33 }, 0xfff, RW, 0x1000, GP },
        { "pop [], read only",   { 0x8f, 0x03 }, 0xfff, RO, 0, GP },
        { "enter, level 2",      { 0xc8, 0, 0, 2 }, 0xfff, RW, 0x2000, SS_ },
        { "leave, beyond",       { 0xc9 }, 0xfff, RW, 0xffd, SS_ },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = fake_new("max");
        X86Cpu *c = f->c;
        fake_protected(f);
        x86_set_cr(c, 4, CR4_OSFXSR);
        x86_set_cr(c, 0, c->cr0 | CR0_NE);
        c->fpu_empty = 0;
        static const uint8_t segs[] = { DS, SS };
        for (unsigned k = 0; k < 2; k++) {
            uint32_t attr = segs[k] == SS && !(t[i].attr & DESC_W) ? (uint32_t)RW : segs[k] == SS ? t[i].attr | SEG_DB : t[i].attr;
            c->seg[segs[k]] = (X86Seg){ .sel = 0x18, .limit = t[i].limit, .attr = attr };
            *x86_seg_base(c, segs[k]) = BASE;
        }
        c->s.hot[RBX] = c->s.hot[RBP] = t[i].ebx;
        c->s.hot[RSP] = t[i].attr & 0x400 ? 0x2000 : 0x800;
        c->s.hot[RAX] = !memcmp(t[i].name, "bt", 2) ? (uint32_t)-32 : 0;
        if (!memcmp(t[i].name, "far", 3))
            fake_put32(f, BASE + t[i].ebx, F_CODE);
        c->s.hot[RCX] = c->s.hot[RDX] = 0;
        x86_mode_changed(c);
        memcpy(f->ram + F_CODE, t[i].code, sizeof t[i].code);
        int got = fake_step(f);
        if (got != t[i].vector)
            g_test_message("%s: vector %d, not %d", t[i].name, got, t[i].vector);
        g_assert_cmpint(got, ==, t[i].vector);
        if (got >= 0)
            g_assert_cmphex(c->exc_error, ==, 0);
        fake_free(f);
    }
}

/* A data segment whose selector is null cannot be used (5.4.1). */
static void null_segment(void)
{
    Fake *f = fake_new("max");
    fake_protected(f);
    g_assert_true(x86_load_seg(f->c, ES, 0));
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0x26, 0x8b, 0x03 }, 3);
    g_assert_cmpint(fake_step(f), ==, GP);
    fake_free(f);
}

/* --- code: fetches and targets */

static Fake *start16(uint16_t ip, const uint8_t *code, unsigned len)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    x86_set_seg_real(c, CS, 0x1000);
    x86_set_seg_real(c, SS, 0x2000);
    x86_set_seg_real(c, DS, 0x3000);
    x86_set_seg_real(c, ES, 0x4000);
    *x86_pc(c) = ip;
    c->s.hot[RSP] = 0x100;
    x86_mode_changed(c);
    memcpy(f->ram + 0x10000 + ip, code, len);
    return f;
}
#define START16(ip, ...) start16(ip, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void fetch_limits(void)
{
    static const struct { const char *name; uint16_t ip; uint8_t code[6]; uint32_t limit; int vector; uint64_t pc; } t[] = {
        { "last byte",                  0xffff, { 0x90 }, 0xffff, OK, 0x10000 },
        { "straddles",                  0xffff, { 0x89, 0xc0 }, 0xffff, GP, 0xffff },
        { "bad bytes beyond",           0xfff,  { 0x0f, 0xff }, 0xfff, GP, 0xfff },
        { "bad bytes",                  0x1ff,  { 0x0f, 0x0b }, 0x200, UD, 0x1ff },
        { "bad bytes, cut",             0x1ff,  { 0x0f, 0x0b }, 0x1ff, GP, 0x1ff },
        { "jmp short, in",              0x100,  { 0xeb, 0x10 }, 0x112, OK, 0x112 },
        { "jmp short, out",             0x100,  { 0xeb, 0x10 }, 0x111, GP, 0x100 },
        { "jmp short, wraps",           0xfff0, { 0xeb, 0x20 }, 0xffff, OK, 0x12 },
        { "jmp near 32, out",           0x100,  { 0x66, 0xe9, 0, 0, 1, 0 }, 0xffff, GP, 0x100 },
        { "jz, not taken",              0x100,  { 0x74, 0x10 }, 0x110, OK, 0x102 },
        { "jnz, taken, out",            0x100,  { 0x75, 0x10 }, 0x110, GP, 0x100 },
        { "call, out",                  0x100,  { 0xe8, 0, 0x10 }, 0x1000, GP, 0x100 },
        { "jmp bx, out",                0x100,  { 0xff, 0xe3 }, 0x1000, GP, 0x100 },
        { "call bx, out",               0x100,  { 0xff, 0xd3 }, 0x1000, GP, 0x100 },
        { "ret, out",                   0x100,  { 0xc3 }, 0x1000, GP, 0x100 },
        { "loop, out",                  0x100,  { 0xe2, 0x10 }, 0x111, GP, 0x100 },
        { "jcxz, not taken",            0x100,  { 0xe3, 0x10 }, 0x111, OK, 0x102 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start16(t[i].ip, t[i].code, sizeof t[i].code);
        X86Cpu *c = f->c;
        c->seg[CS].limit = t[i].limit;
        c->s.hot[RBX] = 0x2000;
        c->s.hot[RCX] = 5;
        fake_put32(f, 0x20100, 0x3000);
        x86_mode_changed(c);
        int got = fake_step(f);
        if (got != t[i].vector || *x86_pc(c) != t[i].pc)
            g_test_message("%s: vector %d, pc %x", t[i].name, got, (unsigned)*x86_pc(c));
        g_assert_cmpint(got, ==, t[i].vector);
        g_assert_cmphex(*x86_pc(c), ==, t[i].pc);
        if (got >= 0) {
            g_assert_cmphex(c->s.hot[RSP], ==, 0x100);
            g_assert_cmphex(fake_get32(f, 0x200fe) & 0xffff, ==, 0);   /* nothing pushed */
            g_assert_cmphex(c->s.hot[RCX], ==, 5);
        }
        fake_free(f);
    }
    Fake *f = START16(0xffff, 0x90);                    /* and then: #GP at 10000h, not a wrap (20.1.1) */
    g_assert_cmpint(fake_step(f), ==, OK);
    g_assert_cmpint(fake_step(f), ==, GP);
    g_assert_cmphex(*x86_pc(f->c), ==, 0x10000);
    fake_free(f);
}

/* Real mode: words at FFFFh, the stack's end, unreal mode (20.1). */
static void real_mode(void)
{
    static const struct { const char *name; uint8_t code[6]; uint16_t bx, sp; int vector; uint16_t sp_after; } t[] = {
        { "mov ax, [bx]",    { 0x8b, 0x07 }, 0xfffe, 0x100, OK, 0x100 },
        { "mov ax, [bx]",    { 0x8b, 0x07 }, 0xffff, 0x100, GP, 0x100 },
        { "mov ax, ss:[bx]", { 0x36, 0x8b, 0x07 }, 0xffff, 0x100, SS_, 0x100 },
        { "push ax",         { 0x50 }, 0, 0, OK, 0xfffe },
        { "push ax",         { 0x50 }, 0, 1, SS_, 1 },
        { "pop ax",          { 0x58 }, 0, 0xffff, SS_, 0xffff },
        { "pop ax",          { 0x58 }, 0, 0xfffe, OK, 0 },
        { "pusha",           { 0x60 }, 0, 6, OK, 0xfff6 },
        { "pusha, odd",      { 0x60 }, 0, 7, SS_, 7 },
        { "mov ax, cs:[bx]", { 0x2e, 0x8b, 0x07 }, 0, 0x100, OK, 0x100 },
        { "mov cs:[bx], ax", { 0x2e, 0x89, 0x07 }, 0, 0x100, OK, 0x100 },      /* CS is writable */
        { "mov eax, [ebx]",  { 0x67, 0x66, 0x8b, 0x03 }, 0xfffd, 0x100, GP, 0x100 },
        { "bound",           { 0x62, 0x07 }, 0, 0x100, BR, 0x100 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start16(0, t[i].code, sizeof t[i].code);
        f->c->s.hot[RBX] = t[i].bx;
        f->c->s.hot[RSP] = t[i].sp;
        f->c->s.hot[RAX] = 5;
        int got = fake_step(f);
        if (got != t[i].vector)
            g_test_message("%s: vector %d, not %d", t[i].name, got, t[i].vector);
        g_assert_cmpint(got, ==, t[i].vector);
        g_assert_cmphex(f->c->s.hot[RSP] & 0xffff, ==, t[i].sp_after);
        fake_free(f);
    }
    Fake *f = START16(0, 0x67, 0x8b, 0x03);             /* unreal: the limit of protected mode stays */
    f->c->seg[DS].limit = UINT32_MAX;
    f->c->s.hot[RBX] = 0x123456;
    fake_put32(f, 0x30000 + 0x123456, 0x55aa);
    x86_mode_changed(f->c);
    g_assert_cmpint(fake_step(f), ==, OK);
    g_assert_cmphex(f->c->s.hot[RAX], ==, 0x55aa);
    fake_free(f);
}

/* --- strings */

static void strings(void)
{
    static const struct {
        const char *name;
        uint8_t  code[4];
        uint32_t ds_limit, es_limit, esi, edi, ecx;
        int      vector;
        uint32_t esi_after, edi_after, ecx_after;
    } t[] = {
        { "rep movsb",          { 0xf3, 0xa4 }, 0xfff, 0xffff, 0xff0, 0, 0x20, GP, 0x1000, 0x10, 0x10 },
        { "rep movsd",          { 0xf3, 0xa5 }, 0xffff, 0x1ff, 0, 0x1f6, 0x20, GP, 8, 0x1fe, 0x1e },
        { "rep stosb, down",    { 0xf3, 0xaa }, 0xffff, 0xffff, 0, 4, 0x10, GP, 0, UINT32_MAX, 0xb },
        { "rep stosd",          { 0xf3, 0xab }, 0xffff, 0xff, 0, 0xfe, 1, GP, 0, 0xfe, 1 },
        { "rep lodsb, ss",      { 0xf3, 0x36, 0xac }, 0xff, 0xff, 0xf0, 0, 0x20, SS_, 0x100, 0, 0x10 },
        { "repe cmpsb",         { 0xf3, 0xa6 }, 0xff, 0x7f, 0x10, 0x10, 0x100, GP, 0x80, 0x80, 0x90 },
        { "repne scasw",        { 0xf2, 0x66, 0xaf }, 0xff, 0x7f, 0, 0x71, 0x100, GP, 0, 0x7f, 0xf9 },
        { "rep movsb, in full", { 0xf3, 0xa4 }, 0xff, 0xff, 0, 0, 0x100, OK, 0x100, 0x100, 0 },
        { "movsd",              { 0xa5 }, 0xff, 0xff, 0xfc, 0xfd, 0, GP, 0xfc, 0xfd, 0 },
        { "rep insb",           { 0xf3, 0x6c }, 0xff, 0xff, 0, 0xf0, 0x20, GP, 0, 0x100, 0x10 },
        { "rep outsb",          { 0xf3, 0x6e }, 0xff, 0xff, 0xf0, 0, 0x20, GP, 0x100, 0, 0x10 },
    };
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(t); i++) {
        unsigned k = i / 2;
        Fake *f = fake_new("max");
        X86Cpu *c = f->c;
        fake_protected(f);
        f->no_host = i & 1;
        static const uint8_t segs[] = { DS, ES, SS };
        for (unsigned s = 0; s < 3; s++) {
            c->seg[segs[s]] = (X86Seg){ .sel = 0x18, .limit = segs[s] == ES ? t[k].es_limit : t[k].ds_limit, .attr = RW };
            *x86_seg_base(c, segs[s]) = segs[s] == ES ? 2 * BASE : BASE;
        }
        c->s.hot[RSI] = t[k].esi;
        c->s.hot[RDI] = t[k].edi;
        c->s.hot[RCX] = t[k].ecx;
        c->s.hot[RAX] = 0x1111;
        x86_set_eflags(c, strstr(t[k].name, "down") ? FL_DF : 0, FL_DF);
        x86_mode_changed(c);
        memcpy(f->ram + F_CODE, t[k].code, 4);
        int got = -1;
        for (unsigned n = 0; n < 300 && got < 0 && *x86_pc(c) == F_CODE; n++)
            got = fake_step(f);
        g_test_message("%s%s", t[k].name, i & 1 ? ", slowly" : "");
        g_assert_cmpint(got, ==, t[k].vector);
        g_assert_cmphex(c->s.hot[RSI], ==, t[k].esi_after);
        g_assert_cmphex(c->s.hot[RDI], ==, t[k].edi_after);
        g_assert_cmphex(c->s.hot[RCX], ==, t[k].ecx_after);
        fake_free(f);
    }
}

/* --- #AC */

static void alignment(void)
{
    static const struct { const char *name; uint8_t code[10]; uint64_t rbx; int vector; } t[] = {
        { "word",                { 0x66, 0x8b, 0x03 }, 1, AC },
        { "word",                { 0x66, 0x8b, 0x03 }, 2, OK },
        { "dword",               { 0x8b, 0x03 }, 2, AC },
        { "qword",               { 0x48, 0x8b, 0x03 }, 4, AC },
        { "qword",               { 0x48, 0x8b, 0x03 }, 8, OK },
        { "byte",                { 0x8a, 0x03 }, 1, OK },
        { "store",               { 0x89, 0x03 }, 2, AC },
        { "add [], eax",         { 0x01, 0x03 }, 1, AC },
        { "lock add [], eax",    { 0xf0, 0x01, 0x03 }, 2, AC },
        { "xchg [], eax",        { 0x87, 0x03 }, 2, AC },
        { "cmpxchg8b",           { 0x0f, 0xc7, 0x0b }, 4, AC },
        { "push",                { 0x50 }, 0, AC },                            /* RSP is odd */
        { "movups",              { 0x0f, 0x10, 0x03 }, 1, AC },       /* as processors do (tests/fuzz/insn_x86) */
        { "movaps",              { 0x0f, 0x28, 0x03 }, 8, GP },
        { "movss",               { 0xf3, 0x0f, 0x10, 0x03 }, 2, AC },
        { "fld qword",           { 0xdd, 0x03 }, 4, AC },
        { "movsd",               { 0xa5 }, 2, AC },
        { "rep movsd",           { 0xf3, 0xa5 }, 2, AC },
        { "rep movsd",           { 0xf3, 0xa5 }, 4, OK },
        { "sidt",                { 0x0f, 0x01, 0x0b }, 3, OK },
        { "lfs",                 { 0x0f, 0xb4, 0x03 }, 2, AC },
        { "far ret",             { 0xcb }, 0, AC },
    };
    enum { ON, NO_AC, NO_AM, KERNEL };
    for (unsigned i = 0; i < 4 * G_N_ELEMENTS(t); i++) {
        unsigned k = i / 4, how = i % 4;
        Fake *f = fake_new("max");
        X86Cpu *c = f->c;
        fake_long(f);
        x86_set_cr(c, 4, c->cr4 | CR4_OSFXSR);
        x86_set_cr(c, 0, c->cr0 | (how == NO_AM ? 0 : CR0_AM));
        if (how == KERNEL)
            c->s.hot[RSP] = 0x900000, *x86_pc(c) = 0x800000;
        else
            fake_user(f, 0x800000, 0x900000);
        x86_set_eflags(c, how == NO_AC ? 0 : FL_AC, FL_AC);
        x86_mode_changed(c);
        c->s.hot[RBX] = c->s.hot[RSI] = 0x880000 + t[k].rbx;
        c->s.hot[RDI] = 0x890000;
        c->s.hot[RCX] = 1;
        c->s.hot[RSP] -= 0x101;
        memcpy(f->ram + 0x800000, t[k].code, sizeof t[k].code);
        int got = fake_step(f), want = how == ON || t[k].vector == GP ? t[k].vector : OK;
        if (!strcmp(t[k].name, "far ret") && how != ON)
            want = GP;                                  /* to a null selector */
        if (got != want)
            g_test_message("%s at %u, way %u: vector %d, not %d", t[k].name, (unsigned)t[k].rbx, how, got, want);
        g_assert_cmpint(got, ==, want);
        if (got == AC)
            g_assert_cmphex(c->exc_error, ==, 0);
        fake_free(f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/limits/operands", operands);
    g_test_add_func("/x86/limits/null-segment", null_segment);
    g_test_add_func("/x86/limits/code", fetch_limits);
    g_test_add_func("/x86/limits/real-mode", real_mode);
    g_test_add_func("/x86/limits/strings", strings);
    g_test_add_func("/x86/limits/alignment", alignment);
    return g_test_run();
}
