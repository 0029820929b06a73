/* SPDX-License-Identifier: GPL-2.0-or-later
 * Hardware task switches: JMP, CALL, INT, exceptions, IRET; 16- and 32-bit task states; faults and in which task they
 * come.  SDM vol. 3, 7.2.1, 7.3, tables 7-1 and 7-2. */
#include <string.h>

#include "tests/x86_fake.h"

enum {
    S_TSS2 = 0x48, S_TSS16 = 0x58, S_TGATE = 0x88,
    F_TSS2 = 0xc000, F_TSS3 = 0xd000, ENTRY2 = F_CODE + 0x400, STACK2 = 0x28000, MARK = 0x11110000,
};

/* The 32-bit task state at F_TSS2, as privilege 0 code in flat segments. */
static void make_tss(Fake *f)
{
    memset(f->ram + F_TSS2, 0, 0x68);
    fake_put32(f, F_TSS2 + 0x20, ENTRY2);
    fake_put32(f, F_TSS2 + 0x24, FL_1 | FL_CF);
    for (unsigned i = 0; i < 8; i++)
        fake_put32(f, F_TSS2 + 0x28 + 4 * i, i == RSP ? STACK2 : MARK + i);
    static const uint16_t sels[6] = { S_KDS, S_KCS, S_KDS, S_KDS, S_UDS, 0 };
    for (unsigned i = 0; i < 6; i++)
        fake_put32(f, F_TSS2 + 0x48 + 4 * i, sels[i]);
    fake_desc(f, S_TSS2, F_TSS2, 0x67, SEG_P | SYS_TSS32 << 8);
    fake_desc(f, S_LDT, F_LDT, 0x17, SEG_P | SYS_LDT << 8);
}

/* The same in 16 bits at F_TSS3. */
static void make_tss16(Fake *f)
{
    memset(f->ram + F_TSS3, 0, 0x2c);
    uint16_t t[22] = { [7] = 0x400, [8] = FL_1 | FL_ZF, [17] = S_KDS, [18] = S_CS16, [19] = S_KDS, [20] = S_KDS };
    for (unsigned i = 0; i < 8; i++)
        t[9 + i] = i == RSP ? 0x7000 : 0x2220 + i;
    memcpy(f->ram + F_TSS3, t, 0x2c);
    fake_desc(f, S_TSS16, F_TSS3, 0x2b, SEG_P | SYS_TSS16 << 8);
}

static Fake *start(void)
{
    Fake *f = fake_new("max");
    fake_protected(f);
    make_tss(f);
    make_tss16(f);
    fake_desc(f, S_TSS, F_TSS, 0x2067, SEG_P | SYS_TSS32_BUSY << 8);
    fake_put32(f, F_GDT + S_TGATE, S_TSS2 << 16);
    fake_put32(f, F_GDT + S_TGATE + 4, SEG_P | SYS_TASK_GATE << 8);
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP)
            f->c->s.hot[i] = 0x55550000 + i;
    x86_load_seg(f->c, ES, S_UDS);
    return f;
}

static unsigned type_of(Fake *f, uint16_t sel) { return fake_get32(f, F_GDT + sel + 4) >> 8 & 15; }

static void assert_in_task2(Fake *f)
{
    X86Cpu *c = f->c;
    g_assert_cmphex(c->seg[TR].sel, ==, S_TSS2);
    g_assert_cmphex(c->seg[TR].base, ==, F_TSS2);
    g_assert_cmphex(c->seg[TR].attr >> 8 & 15, ==, SYS_TSS32_BUSY);
    g_assert_cmpuint(type_of(f, S_TSS2), ==, SYS_TSS32_BUSY);
    g_assert_cmphex(*x86_pc(c), ==, ENTRY2);
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmphex(c->s.hot[i], ==, i == RSP ? STACK2 : MARK + i);
    g_assert_cmphex(c->seg[FS].sel, ==, S_UDS);
    g_assert_cmphex(c->seg[GS].sel, ==, 0);
    g_assert_true(c->cr0 & CR0_TS);
    g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
}

/* What the old task left in its state. */
static void assert_saved(Fake *f, uint64_t pc, uint64_t flags)
{
    g_assert_cmphex(fake_get32(f, F_TSS + 0x20), ==, pc);
    g_assert_cmphex(fake_get32(f, F_TSS + 0x24), ==, flags);
    for (unsigned i = 0; i < 8; i++)
        g_assert_cmphex(fake_get32(f, F_TSS + 0x28 + 4 * i), ==, i == RSP ? F_STACK : 0x55550000 + i);
    static const uint16_t sels[6] = { S_UDS, S_KCS, S_KDS, S_KDS, S_KDS, S_KDS };
    for (unsigned i = 1; i < 4; i++)
        g_assert_cmphex(fake_get32(f, F_TSS + 0x48 + 4 * i) & 0xffff, ==, i == CS ? 0x10 : sels[i]);
    g_assert_cmphex(fake_get32(f, F_TSS + 0x48) & 0xffff, ==, S_UDS);
}

/* --- the four ways (7.3) */

static void jumps(void)
{
    for (unsigned gate = 0; gate < 2; gate++) {
        Fake *f = start();
        X86Cpu *c = f->c;
        memcpy(f->ram + F_CODE, (uint8_t[]){ 0xea, 0, 0, 0, 0, gate ? S_TGATE : S_TSS2, 0 }, 7);
        g_assert_cmpint(fake_step(f), ==, -1);
        assert_in_task2(f);
        g_assert_cmphex(x86_eflags(c), ==, FL_1 | FL_CF);
        assert_saved(f, F_CODE + 7, FL_1);
        g_assert_cmpuint(type_of(f, S_TSS), ==, SYS_TSS32);     /* not busy any more */
        g_assert_cmphex(fake_get32(f, F_TSS2) & 0xffff, ==, 0); /* no back link */
        fake_free(f);
    }
}

static void call_and_return(void)
{
    for (unsigned gate = 0; gate < 2; gate++) {
        Fake *f = start();
        X86Cpu *c = f->c;
        x86_set_eflags(c, FL_IF | FL_DF, FL_IF | FL_DF);
        memcpy(f->ram + F_CODE, (uint8_t[]){ 0x9a, 0, 0, 0, 0, gate ? S_TGATE : S_TSS2, 0 }, 7);
        g_assert_cmpint(fake_step(f), ==, -1);
        assert_in_task2(f);
        g_assert_cmphex(x86_eflags(c), ==, FL_1 | FL_CF | FL_NT);
        assert_saved(f, F_CODE + 7, FL_1 | FL_IF | FL_DF);
        g_assert_cmpuint(type_of(f, S_TSS), ==, SYS_TSS32_BUSY);
        g_assert_cmphex(fake_get32(f, F_TSS2) & 0xffff, ==, S_TSS);
        f->ram[ENTRY2] = 0xcf;
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmphex(c->seg[TR].sel, ==, S_TSS);
        g_assert_cmphex(*x86_pc(c), ==, F_CODE + 7);
        g_assert_cmphex(x86_eflags(c), ==, FL_1 | FL_IF | FL_DF);
        g_assert_cmphex(c->s.hot[RAX], ==, 0x55550000);
        g_assert_cmpuint(type_of(f, S_TSS2), ==, SYS_TSS32);
        g_assert_cmpuint(type_of(f, S_TSS), ==, SYS_TSS32_BUSY);
        g_assert_cmphex(fake_get32(f, F_TSS2 + 0x20), ==, ENTRY2 + 1);
        g_assert_cmphex(fake_get32(f, F_TSS2 + 0x24), ==, FL_1 | FL_CF);       /* NT is cleared in the image */
        fake_free(f);
    }
}

static void interrupts(void)
{
    Fake *f = start();                  /* INT n */
    X86Cpu *c = f->c;
    fake_gate(f, 0x80, S_TSS2, 0, SYS_TASK_GATE, 3, 0);
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0xcd, 0x80 }, 2);
    g_assert_cmpint(fake_step(f), ==, -1);
    assert_in_task2(f);
    assert_saved(f, F_CODE + 2, FL_1);
    g_assert_true(*x86_flags(c) & FL_NT);
    fake_free(f);

    f = start();                        /* a fault with an error code: RF in the image, the code on the stack */
    c = f->c;
    fake_gate(f, EXC_GP, S_TSS2, 0, SYS_TASK_GATE, 0, 0);
    x86_raise(c, EXC_GP, 0x1234);
    x86_service(&c->s);
    g_assert_cmphex(c->seg[TR].sel, ==, S_TSS2);
    g_assert_cmphex(c->s.hot[RSP], ==, STACK2 - 4);
    g_assert_cmphex(fake_get32(f, STACK2 - 4), ==, 0x1234);
    assert_saved(f, F_CODE, FL_1 | FL_RF);
    fake_free(f);

    f = start();                        /* an interrupt */
    c = f->c;
    x86_set_eflags(c, FL_IF, FL_IF);
    fake_gate(f, 0x55, S_TSS2, 0, SYS_TASK_GATE, 0, 0);
    f->vector = 0x55;
    atomic_store(&c->port.pending, PORT_INTR);
    x86_service(&c->s);
    assert_in_task2(f);
    assert_saved(f, F_CODE, FL_1 | FL_IF);
    fake_free(f);
}

static void sixteen_bit(void)
{
    Fake *f = start();
    X86Cpu *c = f->c;
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0x9a, 0, 0, 0, 0, S_TSS16, 0 }, 7);
    fake_desc(f, S_CS16, F_CODE, 0xffff, SEG_P | SEG_S | 0xa00);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->seg[TR].sel, ==, S_TSS16);
    g_assert_cmphex(c->seg[TR].attr >> 8 & 15, ==, SYS_TSS16_BUSY);
    g_assert_cmphex(*x86_pc(c), ==, 0x400);
    g_assert_cmphex(x86_eflags(c), ==, FL_1 | FL_ZF | FL_NT);
    g_assert_cmphex(c->s.hot[RBX] & 0xffff, ==, 0x2223);
    g_assert_cmphex(c->seg[CS].sel, ==, S_CS16);
    g_assert_cmphex(c->seg[FS].sel, ==, 0);
    g_assert_cmphex(fake_get32(f, F_TSS3) & 0xffff, ==, S_TSS);
    f->ram[F_CODE + 0x400] = 0xcf;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->seg[TR].sel, ==, S_TSS);
    g_assert_cmphex(*x86_pc(c), ==, F_CODE + 7);
    g_assert_cmphex(fake_get32(f, F_TSS3 + 0x0e), ==, (FL_1 | FL_ZF) << 16 | 0x401);
    fake_free(f);
}

/* Into and out of a virtual-8086 task; a new address space; the T bit (7.2.1). */
static void others(void)
{
    Fake *f = start();
    X86Cpu *c = f->c;
    fake_put32(f, F_TSS2 + 0x24, FL_1 | FL_VM | FL_IOPL);
    fake_put32(f, F_TSS2 + 0x20, 0x123);
    for (unsigned i = 0; i < 6; i++)
        fake_put32(f, F_TSS2 + 0x48 + 4 * i, 0x1000 + i);
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0xea, 0, 0, 0, 0, S_TSS2, 0 }, 7);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_true(x86_vm86(c));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(*x86_seg_base(c, GS), ==, 0x10050);
    g_assert_cmphex(c->seg[CS].limit, ==, 0xffff);
    g_assert_cmphex(*x86_pc(c), ==, 0x123);
    fake_free(f);

    f = start();
    c = f->c;
    fake_put32(f, F_TSS2 + 0x1c, 0x5000);
    fake_put32(f, F_PML4, 0x83);                        /* 4 MiB pages, linear = physical */
    fake_put32(f, F_PML4 + 4, 0x400083);
    memcpy(f->ram + 0x5000, f->ram + F_PML4, 8);
    c->cr3 = F_PML4;
    g_assert_true(x86_set_cr(c, 4, CR4_PSE) && x86_set_cr(c, 0, c->cr0 | CR0_PG));
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0xea, 0, 0, 0, 0, S_TSS2, 0 }, 7);
    unsigned flushes = f->flushes;
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->cr3, ==, 0x5000);
    g_assert_cmpuint(f->flushes, >, flushes);
    assert_in_task2(f);
    fake_free(f);

    f = start();
    c = f->c;
    fake_put32(f, F_TSS2 + 0x64, 1);
    memcpy(f->ram + F_CODE, (uint8_t[]){ 0xea, 0, 0, 0, 0, S_TSS2, 0 }, 7);
    g_assert_cmpint(fake_step(f), ==, -1);
    assert_in_task2(f);
    g_assert_cmpuint(f->attentions, >, 0);
    x86_service(&c->s);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER + EXC_DB * 16);
    g_assert_true(c->dr[6] & 0x8000);
    fake_free(f);
}

/* --- faults (tables 7-1, 6-6) */

typedef struct Break {
    const char *name;
    uint32_t at, value;         /* what is written there before (at 0: nothing) */
    bool     new_task;          /* the fault is the new task's */
    int      vector;
    uint32_t error;
} Break;

#define DESC_HI(sel) (F_GDT + ((sel) & ~7) + 4)

static void faults(void)
{
    static const Break t[] = {
        { "busy", DESC_HI(S_TSS2), SEG_P | SYS_TSS32_BUSY << 8 | F_TSS2 >> 16, false, EXC_GP, S_TSS2 },
        { "absent", DESC_HI(S_TSS2), SYS_TSS32 << 8, false, EXC_NP, S_TSS2 },
        { "limit", F_GDT + S_TSS2, F_TSS2 << 16 | 0x66, false, EXC_TS, S_TSS2 },
        { "LDT selector in the LDT", F_TSS2 + 0x60, 0x14, true, EXC_TS, 0x14 },
        { "LDT is a TSS", F_TSS2 + 0x60, S_TSS, true, EXC_TS, S_TSS },
        { "LDT beyond", F_TSS2 + 0x60, 0x1000, true, EXC_TS, 0x1000 },
        { "null CS", F_TSS2 + 0x4c, 0, true, EXC_TS, 0 },
        { "CS is data", F_TSS2 + 0x4c, S_KDS, true, EXC_TS, S_KDS },
        { "RPL of CS", F_TSS2 + 0x4c, S_KCS | 3, true, EXC_TS, S_KCS },
        { "CS beyond", F_TSS2 + 0x4c, 0x1000, true, EXC_TS, 0x1000 },
        { "null SS", F_TSS2 + 0x50, 0, true, EXC_TS, 0 },
        { "SS read only", F_TSS2 + 0x50, S_RO, true, EXC_TS, S_RO },
        { "RPL of SS", F_TSS2 + 0x50, S_KDS | 3, true, EXC_TS, S_KDS },
        { "SS absent", F_TSS2 + 0x50, S_NP, true, EXC_SS, S_NP },
        { "DS execute only", F_TSS2 + 0x54, S_XO, true, EXC_TS, S_XO },
        { "DS is a TSS", F_TSS2 + 0x54, S_TSS, true, EXC_TS, S_TSS },
        { "DS absent", F_TSS2 + 0x54, S_NP, true, EXC_NP, S_NP },
        { "DS, RPL over DPL", F_TSS2 + 0x54, S_KDS | 3, true, EXC_TS, S_KDS },
        { "GS beyond", F_TSS2 + 0x5c, 0x1000, true, EXC_TS, 0x1000 },
        { "EIP beyond CS", F_TSS2 + 0x4c, S_CS16, true, EXC_GP, 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start();
        X86Cpu *c = f->c;
        g_test_message("%s", t[i].name);
        fake_put32(f, t[i].at, t[i].value);
        memcpy(f->ram + F_CODE, (uint8_t[]){ 0xea, 0, 0, 0, 0, S_TSS2, 0 }, 7);
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        g_assert_cmphex(c->exc_error, ==, t[i].error);
        if (t[i].new_task) {
            g_assert_cmphex(c->seg[TR].sel, ==, S_TSS2);
            g_assert_cmphex(*x86_pc(c), ==, ENTRY2);
            g_assert_cmphex(c->s.hot[RAX], ==, MARK);
            g_assert_cmpuint(type_of(f, S_TSS), ==, SYS_TSS32);
            g_assert_true(c->exc_kept);
        } else {
            g_assert_cmphex(c->seg[TR].sel, ==, S_TSS);
            g_assert_cmphex(*x86_pc(c), ==, F_CODE);
            g_assert_cmphex(c->s.hot[RAX], ==, 0x55550000);
            g_assert_cmpuint(type_of(f, S_TSS), ==, SYS_TSS32_BUSY);
            g_assert_false(c->cr0 & CR0_TS);
        }
        fake_free(f);
    }
}

/* Rights to gates and task states; IRET along a bad back link; the gate's own selector. */
static void rights(void)
{
    static const struct { const char *name; uint32_t at, value; uint16_t sel; int vector; uint32_t error; } t[] = {
        { "TSS of DPL 0", 0, 0, S_TSS2, EXC_GP, S_TSS2 },
        { "gate of DPL 0", 0, 0, S_TGATE, EXC_GP, S_TGATE },
        { "gate absent", DESC_HI(S_TGATE), SYS_TASK_GATE << 8 | 3 << 13, S_TGATE, EXC_NP, S_TGATE },
        { "gate to a data segment", F_GDT + S_TGATE, S_KDS << 16, S_TGATE | 0x8000, EXC_GP, S_KDS },
        { "gate to the LDT", F_GDT + S_TGATE, 0x14 << 16, S_TGATE | 0x8000, EXC_GP, 0x14 },
        { "gate of DPL 3", 0, 0, S_TGATE | 0x8000, -1, 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start();
        g_test_message("%s", t[i].name);
        if (t[i].sel & 0x8000)
            fake_put32(f, DESC_HI(S_TGATE), SEG_P | SYS_TASK_GATE << 8 | 3 << 13);
        if (t[i].at)
            fake_put32(f, t[i].at, t[i].value);
        fake_user(f, 0x800000, 0x900000);
        memcpy(f->ram + 0x800000, (uint8_t[]){ 0x9a, 0, 0, 0, 0, t[i].sel, 0 }, 7);
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        if (t[i].vector >= 0)
            g_assert_cmphex(f->c->exc_error, ==, t[i].error);
        else
            assert_in_task2(f);
        fake_free(f);
    }
    static const struct { uint16_t link; int vector; } back[] = {
        { S_TSS2, EXC_TS } /* not busy */, { S_KDS, EXC_TS }, { 0x14, EXC_TS }, { 0x1000, EXC_TS }, { 0, EXC_TS },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(back); i++) {
        Fake *f = start();
        x86_set_eflags(f->c, FL_NT, FL_NT);
        fake_put32(f, F_TSS, back[i].link);
        f->ram[F_CODE] = 0xcf;
        g_assert_cmpint(fake_step(f), ==, back[i].vector);
        g_assert_cmphex(f->c->exc_error, ==, back[i].link & ~3);
        g_assert_cmphex(*x86_pc(f->c), ==, F_CODE);
        fake_free(f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/task/jmp", jumps);
    g_test_add_func("/x86/task/call-and-iret", call_and_return);
    g_test_add_func("/x86/task/interrupts", interrupts);
    g_test_add_func("/x86/task/16-bit", sixteen_bit);
    g_test_add_func("/x86/task/vm86-cr3-trap", others);
    g_test_add_func("/x86/task/faults", faults);
    g_test_add_func("/x86/task/rights", rights);
    return g_test_run();
}
