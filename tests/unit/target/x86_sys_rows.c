/* SPDX-License-Identifier: GPL-2.0-or-later
 * System instructions from their bytes: translated, interpreted one at a time, and looked at. */
#include <string.h>

#include "tests/x86_fake.h"

typedef enum Who { K64, U64, K32, U32, K16 } Who;       /* privilege and mode that an instruction runs in */

static Fake *start(Who who, const char *model, const uint8_t *code, unsigned len)
{
    Fake *f = fake_new(model);
    if (who == K64 || who == U64)
        fake_long(f);
    else if (who != K16)
        fake_protected(f);
    if (who == U64 || who == U32)
        fake_user(f, 0x800000, 0x900000);
    if (who == K16) {
        x86_set_seg_real(f->c, CS, 0x1000);
        *x86_pc(f->c) = 0;
        x86_mode_changed(f->c);
    }
    memcpy(f->ram + x86_target.code_va(&f->c->s, *x86_pc(f->c)), code, len);
    return f;
}

#define START(who, ...) start(who, "max", (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* --- who may do what: the exception of each privileged instruction, by mode */

typedef struct Privilege { const char *name; uint8_t code[8]; int k64, u64, u32, k16; } Privilege;

static void privileges(void)
{
    enum { OK = -1, GP = EXC_GP, UD = EXC_UD };
    static const Privilege t[] = {
        { "cli",          { 0xfa },                   OK, GP, GP, OK },
        { "sti",          { 0xfb },                   OK, GP, GP, OK },
        { "hlt",          { 0xf4 },                   OK, GP, GP, OK },
        { "in al, 16",    { 0xe4, 0x10 },             OK, GP, GP, OK },
        { "out dx, eax",  { 0xef },                   OK, GP, GP, OK },
        { "mov rax, cr0", { 0x0f, 0x20, 0xc0 },       OK, GP, GP, OK },
        { "mov rax, cr1", { 0x0f, 0x20, 0xc8 },       UD, UD, UD, UD },
        { "mov cr2, rax", { 0x0f, 0x22, 0xd0 },       OK, GP, GP, OK },
        { "mov rax, dr7", { 0x0f, 0x21, 0xf8 },       OK, GP, GP, OK },
        { "mov dr0, rax", { 0x0f, 0x23, 0xc0 },       OK, GP, GP, OK },
        { "clts",         { 0x0f, 0x06 },             OK, GP, GP, OK },
        { "invd",         { 0x0f, 0x08 },             OK, GP, GP, OK },
        { "wbinvd",       { 0x0f, 0x09 },             OK, GP, GP, OK },
        { "invlpg [0]",   { 0x0f, 0x01, 0x3c, 0x25 }, OK, GP, GP, OK },
        { "lgdt",         { 0x0f, 0x01, 0x14, 0x25, 0, 0, 2, 0 }, OK, GP, GP, OK },
        { "lmsw ax",      { 0x0f, 0x01, 0xf0 },       OK, GP, GP, OK },
        { "smsw eax",     { 0x0f, 0x01, 0xe0 },       OK, OK, OK, OK },
        { "swapgs",       { 0x0f, 0x01, 0xf8 },       OK, GP, UD, UD },
        { "clac",         { 0x0f, 0x01, 0xca },       OK, UD, UD, OK },
        { "stac",         { 0x0f, 0x01, 0xcb },       OK, UD, UD, OK },
        { "rdtsc",        { 0x0f, 0x31 },             OK, OK, OK, OK },
        { "rdtscp",       { 0x0f, 0x01, 0xf9 },       OK, OK, OK, OK },
        { "rdmsr",        { 0x0f, 0x32 },             OK, GP, GP, OK },
        { "wrmsr",        { 0x0f, 0x30 },             OK, GP, GP, OK },
        { "rdpmc",        { 0x0f, 0x33 },             GP, GP, GP, GP },
        { "cpuid",        { 0x0f, 0xa2 },             OK, OK, OK, OK },
        { "sldt eax",     { 0x0f, 0x00, 0xc0 },       OK, OK, OK, UD },
        { "lldt ax",      { 0x0f, 0x00, 0xd0 },       OK, GP, GP, UD },
        { "ltr ax",       { 0x0f, 0x00, 0xd8 },       GP, GP, GP, UD },
        { "verr ax",      { 0x0f, 0x00, 0xe0 },       OK, OK, OK, UD },
        { "lar eax, eax", { 0x0f, 0x02, 0xc0 },       OK, OK, OK, UD },
        { "xgetbv",       { 0x0f, 0x01, 0xd0 },       UD, UD, UD, UD },        /* OSXSAVE is clear */
        { "monitor",      { 0x0f, 0x01, 0xc8 },       UD, UD, UD, UD },
        { "mwait",        { 0x0f, 0x01, 0xc9 },       UD, UD, UD, UD },
        { "rdfsbase eax", { 0xf3, 0x0f, 0xae, 0xc0 }, UD, UD, UD, UD },  /* FSGSBASE is clear */
        { "sysret",       { 0x0f, 0x07 },             OK, GP, UD, UD },
        { "sysexit",      { 0x0f, 0x35 },             UD, UD, GP, GP },
        { "rdrand eax",   { 0x0f, 0xc7, 0xf0 },       OK, OK, OK, OK },
        { "rdpid eax",    { 0xf3, 0x0f, 0xc7, 0xf8 }, OK, OK, OK, OK },
        { "mov cs, ax",   { 0x8e, 0xc8 },             UD, UD, UD, UD },
        { "mov ds, ax",   { 0x8e, 0xd8 },             OK, OK, OK, OK },
        { "push es",      { 0x06 },                   UD, UD, OK, OK },
        { "lock cli",     { 0xf0, 0xfa },             UD, UD, UD, UD },
        { "ud2",          { 0x0f, 0x0b },             UD, UD, UD, UD },
    };
    static const Who who[] = { K64, U64, U32, K16 };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        for (unsigned k = 0; k < 4; k++) {
            Fake *f = start(who[k], "max", t[i].code, sizeof t[i].code);
            int want = (const int[]){ t[i].k64, t[i].u64, t[i].u32, t[i].k16 }[k];
            f->c->s.hot[RAX] = 0;
            f->c->s.hot[RCX] = 0x10;
            int got = fake_step(f);
            if (got != want)
                g_test_message("%s in mode %u: vector %d, not %d", t[i].name, who[k], got, want);
            g_assert_cmpint(got, ==, want);
            fake_free(f);
        }
    }
}

/* --- flags */

static void flags(void)
{
    Fake *f = START(K64, 0xfb);                         /* sti */
    X86Cpu *c = f->c;
    atomic_store(&c->port.pending, PORT_INTR);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_true(*x86_flags(c) & FL_IF);
    g_assert_true(c->shadow);
    g_assert_cmpuint(f->attentions, ==, 1);
    g_assert_cmphex(*x86_pc(c), ==, F_CODE + 1);
    fake_free(f);

    f = START(K64, 0x9c);                               /* pushfq */
    c = f->c;
    x86_set_eflags(c, FL_1 | FL_IF | FL_RF | FL_CF | FL_OF | FL_AC | FL_ID, ~0ull);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(fake_get64(f, F_STACK - 8), ==, FL_1 | FL_IF | FL_CF | FL_OF | FL_AC | FL_ID);
    fake_free(f);

    static const struct { Who who; unsigned iopl; bool word; uint64_t old, v, want; } popf[] = {
        { K64, 0, false, FL_1, ~0ull, FL_1 | FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_ID },
        { U64, 0, false, FL_1, ~0ull, FL_1 | FL_ARITH | FL_TF | FL_DF | FL_NT | FL_AC | FL_ID },
        { U64, 0, false, FL_1 | FL_IF, 0, FL_1 | FL_IF },
        { U64, 3, false, FL_1 | FL_IF | FL_IOPL, 0, FL_1 | FL_IOPL },
        { K64, 0, true, FL_1 | FL_AC | FL_ID, 0xffff, FL_1 | FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_ID },
        { K64, 0, true, FL_1 | FL_AC | FL_ID | FL_CF, 0, FL_1 | FL_AC | FL_ID },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(popf); i++) {
        f = popf[i].word ? START(K64, 0x66, 0x9d) : start(popf[i].who, "max", (const uint8_t[]){ 0x9d }, 1);
        c = f->c;
        x86_set_eflags(c, popf[i].old, ~0ull);
        x86_mode_changed(c);
        fake_put64(f, c->s.hot[RSP], popf[i].v);
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmphex(x86_eflags(c), ==, popf[i].want);
        g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
        fake_free(f);
    }
}

/* A stepped program's system call does not trap in the kernel. */
static void step_over_syscall(void)
{
    Fake *f = START(U64, 0x0f, 0x05);
    X86Cpu *c = f->c;
    c->star = (uint64_t)S_UCS32 << 48 | (uint64_t)S_KCS << 32;
    c->lstar = F_HANDLER;
    c->sfmask = FL_TF | FL_IF;
    *x86_flags(c) |= FL_TF;
    x86_mode_changed(c);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER);
    g_assert_cmphex(c->s.hot[R11], ==, FL_1 | FL_TF);
    g_assert_cmphex(c->exc_dr6, ==, 0);
    fake_free(f);
}

static void halt(void)
{
    Fake *f = START(K64, 0xf4);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(f->exit, ==, EXITR_HALT);
    g_assert_true(f->c->halted);
    g_assert_cmphex(*x86_pc(f->c), ==, F_CODE + 1);
    fake_free(f);
}

/* --- control registers */

static void control_registers(void)
{
    Fake *f = START(K64, 0x0f, 0x22, 0xd8);             /* mov cr3, rax */
    X86Cpu *c = f->c;
    c->s.hot[RAX] = F_PML4;
    f->flushes = 0;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(f->flushes, ==, 1);
    g_assert_false(f->flush_globals);
    g_assert_cmphex(*x86_pc(c), ==, F_CODE + 3);
    fake_free(f);

    f = START(K64, 0x44, 0x0f, 0x22, 0xc0);             /* mov cr8, rax */
    f->c->s.hot[RAX] = 7;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(f->cr8, ==, 7);
    f->c->s.hot[RAX] = 16;
    *x86_pc(f->c) = F_CODE;
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    fake_free(f);

    f = START(K64, 0x0f, 0x20, 0xe1);                   /* mov rcx, cr4 */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->c->s.hot[RCX], ==, CR4_PAE);
    fake_free(f);

    f = START(K64, 0x0f, 0x01, 0xe0);                   /* smsw eax */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->c->s.hot[RAX], ==, f->c->cr0);
    fake_free(f);

    f = START(K64, 0x0f, 0x06);                         /* clts */
    g_assert_true(x86_set_cr(f->c, 0, f->c->cr0 | CR0_TS));
    g_assert_true(f->c->s.mode_tag >> 48 & MODE_FPU_NM);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_false(f->c->s.mode_tag >> 48 & MODE_FPU_NM);
    fake_free(f);
}

static void debug_registers(void)
{
    Fake *f = START(K64, 0x0f, 0x23, 0xf8, 0x0f, 0x21, 0xf9);   /* mov dr7, rax; mov rcx, dr7 */
    X86Cpu *c = f->c;
    c->s.hot[RAX] = 0x2000;                                     /* GD */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->dr[7], ==, 0x2400);
    g_assert_cmpint(fake_step(f), ==, EXC_DB);
    g_assert_cmphex(c->exc_dr6, ==, 0x2000);
    x86_raise(c, EXC_DB, 0);
    x86_service(&c->s);
    g_assert_cmphex(c->dr[6], ==, 0xffff2ff0);
    g_assert_cmphex(c->dr[7], ==, 0x400);
    fake_free(f);
    f = START(K64, 0x0f, 0x23, 0xe0);                           /* mov dr4, rax */
    f->c->s.hot[RAX] = 1;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->c->dr[6], ==, 0xffff0ff1);
    f->c->cr4 |= CR4_DE;
    *x86_pc(f->c) = F_CODE;
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    fake_free(f);
}

/* --- TLB */

static void tlb(void)
{
    Fake *f = START(K64, 0x0f, 0x01, 0x38);             /* invlpg [rax] */
    X86Cpu *c = f->c;
    c->s.hot[RAX] = 0x123456789000;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(f->page_flushes, ==, 1);
    g_assert_cmphex(f->flush_va, ==, 0x123456789000);
    c->s.hot[RAX] = 1ull << 60;                         /* not canonical: nothing */
    *x86_pc(c) = F_CODE;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(f->page_flushes, ==, 1);
    fake_free(f);

    static const struct { uint64_t type, lo, va; bool pcide; int vector, asid; bool page, globals; } t[] = {
        { 0, 5, 0x1000, true, -1, 5, true, false },
        { 0, 5, 1ull << 50, true, EXC_GP, 0, false, false },
        { 0, 0x1000, 0, true, EXC_GP, 0, false, false },
        { 1, 5, 0, true, -1, 5, false, false },
        { 1, 5, 0, false, EXC_GP, 0, false, false },
        { 2, 0, 0, true, -1, -1, false, true },
        { 3, 0, 0, false, -1, -1, false, false },
        { 4, 0, 0, true, EXC_GP, 0, false, false },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        f = START(K64, 0x66, 0x0f, 0x38, 0x82, 0x01);   /* invpcid rax, [rcx] */
        c = f->c;
        if (t[i].pcide)
            g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_PCIDE));
        c->s.hot[RAX] = t[i].type;
        c->s.hot[RCX] = 0x50000;
        fake_put64(f, 0x50000, t[i].lo);
        fake_put64(f, 0x50008, t[i].va);
        f->flushes = f->page_flushes = 0;
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        if (t[i].vector < 0) {
            g_assert_cmpint(f->flush_asid, ==, t[i].asid);
            g_assert_cmpuint(f->page_flushes, ==, t[i].page);
            g_assert_cmpuint(f->flushes, ==, !t[i].page);
            g_assert_cmpuint(!t[i].page && f->flush_globals, ==, t[i].globals);
        }
        fake_free(f);
    }
}

/* --- SWAPGS, bases, STAC, time, random */

static void small_ones(void)
{
    Fake *f = START(K64, 0x0f, 0x01, 0xf8);
    X86Cpu *c = f->c;
    *x86_seg_base(c, GS) = 1;
    c->kernel_gs_base = 2;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_seg_base(c, GS), ==, 2);
    g_assert_cmphex(c->kernel_gs_base, ==, 1);
    fake_free(f);

    /* wrfsbase rax; rdgsbase rcx */
    f = START(U64, 0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x48, 0x0f, 0xae, 0xc9);
    c = f->c;
    g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_FSGSBASE));
    c->s.hot[RAX] = 0x7f1234567890;
    *x86_seg_base(c, GS) = 0x1122334455;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_seg_base(c, FS), ==, 0x7f1234567890);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, 0x1122334455);
    c->s.hot[RAX] = 1ull << 47;
    *x86_pc(c) = 0x800000;
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    fake_free(f);

    f = START(K64, 0x0f, 0x01, 0xcb, 0x0f, 0x01, 0xca);
    c = f->c;
    g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_SMAP));
    g_assert_cmpuint(fake_view(f), ==, VIEW_SMAP);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(fake_view(f), ==, VIEW_KERNEL);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(fake_view(f), ==, VIEW_SMAP);
    fake_free(f);

    f = START(U64, 0x0f, 0x31);
    c = f->c;
    f->now = 0x123456789a;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RAX], ==, 0x3456789a);
    g_assert_cmphex(c->s.hot[RDX], ==, 0x12);
    c->cr4 |= CR4_TSD;
    *x86_pc(c) = 0x800000;
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    fake_free(f);

    f = START(U64, 0x48, 0x0f, 0xc7, 0xf1);             /* rdrand rcx */
    c = f->c;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, 0x123456789abcdef0);
    g_assert_cmphex(x86_eflags(c) & FL_ARITH, ==, FL_CF);
    fake_free(f);

    f = START(U64, 0x0f, 0xa2);
    c = f->c;
    c->s.hot[RAX] = 0;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpmem(&c->s.hot[RBX], 4, "Auth", 4);
    g_assert_cmpmem(&c->s.hot[RDX], 4, "enti", 4);
    fake_free(f);
}

/* --- segments */

static void segments(void)
{
    Fake *f = START(K64, 0x8e, 0xe0, 0x8c, 0xe1);       /* mov fs, ax; mov ecx, fs */
    X86Cpu *c = f->c;
    c->s.hot[RAX] = S_UDS;
    c->s.hot[RCX] = ~0ull;
    *x86_seg_base(c, FS) = 0x1234;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->seg[FS].sel, ==, S_UDS);
    g_assert_cmphex(*x86_seg_base(c, FS), ==, 0);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, S_UDS);
    fake_free(f);

    f = START(K64, 0x8e, 0xd0);                         /* mov ss, ax */
    c = f->c;
    c->s.hot[RAX] = S_KDS;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_true(c->shadow);
    fake_free(f);

    f = START(K64, 0x0f, 0x01, 0x08, 0x0f, 0x01, 0x10); /* sidt [rax]; lgdt [rax] */
    c = f->c;
    c->s.hot[RAX] = 0x50001;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(fake_get64(f, 0x50001) & 0xffff, ==, 0xfff);
    g_assert_cmphex(fake_get64(f, 0x50003), ==, F_IDT);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->gdt.base, ==, F_IDT);
    fake_free(f);

    f = START(K32, 0xc4, 0x08);                         /* les ecx, [eax] */
    c = f->c;
    c->s.hot[RAX] = 0x50000;
    fake_put32(f, 0x50000, 0x12345678);
    fake_put32(f, 0x50004, S_DATA16);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, 0x12345678);
    g_assert_cmphex(*x86_seg_base(c, ES), ==, 0x1000);
    g_assert_true(c->s.mode_tag >> 48 & MODE_BASES);
    g_assert_true(c->s.mode_tag >> 48 & MODE_LIMITS);
    fake_free(f);

    f = START(K32, 0x1e, 0x07);                         /* push ds; pop es */
    c = f->c;
    c->seg[DS].sel = S_KDS;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RSP], ==, F_STACK - 4);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->seg[ES].sel, ==, S_KDS);
    g_assert_cmphex(c->s.hot[RSP], ==, F_STACK);
    fake_free(f);

    f = START(K64, 0x0f, 0x02, 0xc8, 0x0f, 0x03, 0xc8, 0x0f, 0x02, 0xca); /* lar, lsl ecx, ax; lar ecx, dx */
    c = f->c;
    c->s.hot[RAX] = S_KCS;
    c->s.hot[RDX] = 0x1000;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, 0xa09b00);
    g_assert_true(x86_eflags(c) & FL_ZF);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, 0xffffffff);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.hot[RCX], ==, 0xffffffff);
    g_assert_false(x86_eflags(c) & FL_ZF);
    fake_free(f);
}

/* --- far transfers */

static void far_transfers(void)
{
    Fake *f = START(K64, 0x48, 0xff, 0x18);             /* call far [rax] (m16:64) */
    X86Cpu *c = f->c;
    c->s.hot[RAX] = 0x50000;
    fake_put64(f, 0x50000, F_HANDLER);
    fake_put64(f, 0x50008, S_KCS);
    f->ram[F_HANDLER] = 0x48;
    f->ram[F_HANDLER + 1] = 0xcb;                       /* retfq */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER);
    g_assert_cmphex(fake_get64(f, F_STACK - 16), ==, F_CODE + 3);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(c), ==, F_CODE + 3);
    g_assert_cmphex(c->s.hot[RSP], ==, F_STACK);
    fake_free(f);

    f = START(K64, 0xff, 0x28);                         /* jmp far [rax] (m16:32) to compatibility mode */
    c = f->c;
    c->s.hot[RAX] = 0x50000;
    fake_put32(f, 0x50000, 0x10100);
    fake_put32(f, 0x50004, S_KCS32);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->s.mode_tag >> 48 & MODE_CS, ==, MODE_CS32);
    memcpy(f->ram + 0x10100, (const uint8_t[]){ 0xea, 0, 2, 1, 0, S_KCS, 0 }, 7);      /* jmp S_KCS:0x10200 */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_true(x86_code64(c));
    g_assert_cmphex(*x86_pc(c), ==, 0x10200);
    fake_free(f);

    /* a call gate from privilege 3 in long mode */
    f = START(U64, 0xff, 0x18);
    c = f->c;
    c->s.hot[RAX] = 0x850000;
    fake_put64(f, 0x850000, (uint64_t)(S_GATE | 3) << 32);
    fake_put32(f, F_GDT + S_GATE, S_KCS << 16 | (F_HANDLER & 0xffff));
    fake_put32(f, F_GDT + S_GATE + 4, (F_HANDLER & 0xffff0000) | SEG_P | 3 << 13 | SYS_CALL32 << 8);
    fake_put64(f, F_GDT + S_GATE + 8, 0);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER);
    g_assert_cmphex(c->s.hot[RSP], ==, F_RSP0 - 32);
    g_assert_cmphex(fake_get64(f, F_RSP0 - 32), ==, 0x800002);
    g_assert_cmphex(fake_get64(f, F_RSP0 - 24), ==, S_UCS);
    g_assert_cmphex(fake_get64(f, F_RSP0 - 16), ==, 0x900000);
    g_assert_cmphex(fake_get64(f, F_RSP0 - 8), ==, S_UDS);
    memcpy(f->ram + F_HANDLER, (const uint8_t[]){ 0x48, 0xca, 8, 0 }, 4);               /* retfq 8 */
    g_assert_cmpint(fake_step(f), ==, EXC_GP);          /* the frame is 8 bytes further: null CS or SS */
    f->ram[F_HANDLER + 2] = 0;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(c->s.hot[RSP], ==, 0x900000);
    fake_free(f);
}

/* --- ports */

static void ports(void)
{
    Fake *f = START(K64, 0xe4, 0x71, 0xed, 0xe6, 0x80); /* in al, 71h; in eax, dx; out 80h, al */
    X86Cpu *c = f->c;
    c->s.hot[RAX] = 0xffffffffffffffff;
    c->s.hot[RDX] = 0xabcd1234;
    f->port_value = 0x11223344;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->port, ==, 0x71);
    g_assert_cmphex(c->s.hot[RAX], ==, 0xffffffffffffff44);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->port, ==, 0x1234);
    g_assert_cmphex(c->s.hot[RAX], ==, 0x11223344);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(f->port, ==, 0x80);
    g_assert_cmphex(f->port_value, ==, 0x44);
    fake_free(f);

    /* the bitmap of the task state: ports 0x11 and 0x12 denied */
    static const struct { uint8_t size; uint16_t port; int vector; } t[] = {
        { 1, 0x10, -1 }, { 1, 0x11, EXC_GP }, { 1, 0x13, -1 }, { 2, 0x10, EXC_GP }, { 4, 0x0f, EXC_GP },
        { 4, 0x13, -1 },
        { 1, 0xffff, -1 }, { 2, 0xffff, EXC_GP },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        uint8_t in8[] = { 0xec }, in16[] = { 0x66, 0xed }, in32[] = { 0xed };
        f = start(U64, "max", t[i].size == 1 ? in8 : t[i].size == 2 ? in16 : in32, t[i].size == 2 ? 2 : 1);
        c = f->c;
        fake_put32(f, F_TSS + 0x64, 0x00680000);
        f->ram[F_TSS + 0x68 + 2] = 0x06;
        f->ram[F_TSS + 0x2068] = 0xff;
        c->seg[TR].limit = 0x2068;
        c->s.hot[RDX] = t[i].port;
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        fake_free(f);
    }
}

/* --- FXSAVE and XSAVE */

static void state_areas(void)
{
    enum { AT = 0x50000 };
    for (unsigned slow = 0; slow < 2; slow++) {
        Fake *f = START(K64, 0x48, 0x0f, 0xae, 0x00, 0x48, 0x0f, 0xae, 0x08); /* fxsave64, fxrstor64 [rax] */
        X86Cpu *c = f->c;
        f->no_host = slow;
        g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_OSFXSR));
        c->s.hot[RAX] = AT;
        c->fcw = 0x37f;
        c->fsw = 0x4100;
        c->fpu_top = 5;
        c->fpu_empty = 0x1f;
        c->fip = 0x1122334455667788;
        c->fpr[5].mant = 0x8000000000000000;
        c->fpr[5].exp = 0x3fff;
        x86_set_mxcsr(c, 0x1fa0);
        c->s.fp_control |= 1;                           /* a sticky flag of generated code */
        for (unsigned i = 0; i < 16; i++)
            c->ymm[i].lo.u64[0] = i + 1;
        X86Cpu *was = g_memdup2(c, sizeof *c);
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmphex(fake_get32(f, AT), ==, 0x6900037f);
        g_assert_cmphex(f->ram[AT + 4], ==, 0xe0);
        g_assert_cmphex(fake_get64(f, AT + 8), ==, c->fip);
        g_assert_cmphex(fake_get32(f, AT + 24), ==, 0x1fa1);
        g_assert_cmphex(fake_get64(f, AT + 32), ==, 0x8000000000000000);
        g_assert_cmphex(fake_get64(f, AT + 160 + 15 * 16), ==, 16);
        memset(c->ymm, 0, sizeof c->ymm);
        memset(c->fpr, 0, sizeof c->fpr);
        c->fsw = c->fcw = c->fpu_top = c->fpu_empty = 0;
        x86_set_mxcsr(c, 0x1f80);
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmpmem(c->ymm, sizeof c->ymm, was->ymm, sizeof was->ymm);
        g_assert_cmpmem(c->fpr, sizeof c->fpr, was->fpr, sizeof was->fpr);
        g_assert_cmphex(c->fsw, ==, 0x4100);
        g_assert_cmphex(c->fpu_top, ==, 5);
        g_assert_cmphex(c->fpu_empty, ==, 0x1f);
        g_assert_cmphex(x86_mxcsr(c), ==, 0x1fa1);
        fake_put32(f, AT + 24, 0x10000);
        *x86_pc(c) = F_CODE + 4;
        g_assert_cmpint(fake_step(f), ==, EXC_GP);
        c->s.hot[RAX] = AT + 8;
        g_assert_cmpint(fake_step(f), ==, EXC_GP);
        g_free(was);
        fake_free(f);
    }
}

static void xsave_areas(void)
{
    enum { AT = 0x50000, SAVE = F_CODE, RSTOR = F_CODE + 4, OPT = F_CODE + 8 };
    /* of [rcx] */
    Fake *f = START(K64, 0x48, 0x0f, 0xae, 0x21, 0x48, 0x0f, 0xae, 0x29, 0x48, 0x0f, 0xae, 0x31);
    X86Cpu *c = f->c;
    c->s.hot[RAX] = 3;
    c->s.hot[RCX] = AT;
    g_assert_cmpint(fake_step(f), ==, EXC_UD);          /* CR4.OSXSAVE is clear */
    g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_OSFXSR | CR4_OSXSAVE));
    c->xcr0 = 3;
    c->ymm[3].lo.u64[1] = 7;
    c->fcw = 0x37f;
    c->fpu_empty = 0xff;
    memset(f->ram + AT, 0xee, 576);
    fake_put64(f, AT + 512, 1);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(fake_get64(f, AT + 512), ==, 2);    /* the x87 is in its initial state */
    g_assert_cmphex(fake_get32(f, AT), ==, 0x37f);
    g_assert_cmphex(fake_get64(f, AT + 160 + 3 * 16 + 8), ==, 7);
    g_assert_cmphex(fake_get64(f, AT + 520), ==, 0xeeeeeeeeeeeeeeee);
    memset(f->ram + AT, 0xee, 576);
    fake_put64(f, AT + 512, 1);
    *x86_pc(c) = OPT;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(fake_get32(f, AT), ==, 0xeeeeeeee); /* left out */
    g_assert_cmphex(fake_get32(f, AT + 24), ==, 0x1f80);
    /* restoring: header checks, initial states */
    memset(f->ram + AT + 512, 0, 64);
    fake_put64(f, AT + 512, 2);
    memset(c->ymm, 0x55, sizeof c->ymm);
    c->fpr[2].mant = 5;
    *x86_pc(c) = RSTOR;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->ymm[3].lo.u64[1], ==, 7);
    g_assert_cmphex(c->fpr[2].mant, ==, 0);
    static const struct { unsigned at; uint64_t v; } bad[] = {
        { 512, 4 }, { 512, 1ull << 63 }, { 520, 1 }, { 528, 1 }, { 24, 0x1f8000001f80 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint64_t keep = fake_get64(f, AT + bad[i].at);
        fake_put64(f, AT + bad[i].at, bad[i].at == 24 ? 0x10000 : bad[i].v);
        *x86_pc(c) = RSTOR;
        g_assert_cmpint(fake_step(f), ==, EXC_GP);
        fake_put64(f, AT + bad[i].at, keep);
    }
    c->s.hot[RCX] = AT + 16;
    g_assert_cmpint(fake_step(f), ==, EXC_GP);
    c->s.hot[RCX] = 0x10f00000;                         /* unmapped */
    g_assert_cmpint(fake_step(f), ==, EXC_PF);
    fake_free(f);
}

/* With CPUID's bit: the line is read, hints are reserved, waiting ends or halts (SDM vol. 2, MONITOR, MWAIT). */
static void monitor_mwait(void)
{
    static const struct { uint8_t code[4]; Who who; uint64_t rax, rcx, flags; int vector; bool halts; } t[] = {
        { { 0x0f, 0x01, 0xc8 }, K64, F_CODE, 0, 0, -1, false },
        { { 0x0f, 0x01, 0xc8 }, K64, F_CODE, 1, 0, EXC_GP, false },
        { { 0x0f, 0x01, 0xc8 }, K64, 0x70000000, 0, 0, EXC_PF, false },
        { { 0x0f, 0x01, 0xc8 }, U64, 0x800000, 0, 0, EXC_UD, false },
        { { 0x0f, 0x01, 0xc9 }, K64, 0, 0, FL_IF, -1, true },
        { { 0x0f, 0x01, 0xc9 }, K64, 0, 1, 0, -1, false },
        { { 0x0f, 0x01, 0xc9 }, K64, 0, 2, 0, EXC_GP, false },
        { { 0x0f, 0x01, 0xc9 }, U64, 0, 0, 0, EXC_UD, false },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(t[i].who, "max,monitor=on", t[i].code, 4);
        X86Cpu *c = f->c;
        c->s.hot[RAX] = t[i].rax;
        c->s.hot[RCX] = t[i].rcx;
        *x86_flags(c) |= t[i].flags;
        g_test_message("row %u", i);
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        g_assert_cmpuint(c->halted, ==, t[i].halts);
        if (t[i].vector < 0)
            g_assert_cmphex(*x86_pc(c), ==, F_CODE + 3);
        fake_free(f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/rows/privileges", privileges);
    g_test_add_func("/x86/rows/flags", flags);
    g_test_add_func("/x86/rows/step-syscall", step_over_syscall);
    g_test_add_func("/x86/rows/halt", halt);
    g_test_add_func("/x86/rows/control", control_registers);
    g_test_add_func("/x86/rows/debug", debug_registers);
    g_test_add_func("/x86/rows/tlb", tlb);
    g_test_add_func("/x86/rows/small", small_ones);
    g_test_add_func("/x86/rows/segments", segments);
    g_test_add_func("/x86/rows/far", far_transfers);
    g_test_add_func("/x86/rows/ports", ports);
    g_test_add_func("/x86/rows/fxsave", state_areas);
    g_test_add_func("/x86/rows/xsave", xsave_areas);
    g_test_add_func("/x86/rows/monitor-mwait", monitor_mwait);
    return g_test_run();
}
