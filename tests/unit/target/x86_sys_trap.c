/* SPDX-License-Identifier: GPL-2.0-or-later
 * Exceptions, interrupts, IRET, fast system calls: frames, codes, priorities, and faults on the way. */
#include <string.h>

#include "tests/x86_fake.h"

static Fake *start(bool wide)
{
    Fake *f = fake_new("max");
    if (wide)
        fake_long(f);
    else
        fake_protected(f);
    return f;
}

#define FRAME(i) fake_get64(f, c->s.hot[RSP] + 8 * (i))
#define FRAME32(i) fake_get32(f, c->s.hot[RSP] + 4 * (i))

static void assert_at(Fake *f, unsigned vector)
{
    g_assert_cmphex(*x86_pc(f->c), ==, F_HANDLER + vector * 16);
    g_assert_false(f->c->exc_pending);
    g_assert_cmpuint(f->triple, ==, 0);
}

/* --- delivery in long mode */

static void long_same_privilege(void)
{
    for (unsigned slow = 0; slow < 2; slow++) {
        Fake *f = start(true);
        X86Cpu *c = f->c;
        f->no_host = slow;
        *x86_flags(c) |= FL_IF | FL_TF | FL_NT;
        c->s.hot[RSP] = F_STACK - 4;            /* aligned down to 16 */
        x86_raise_pf(c, 0x1234, 3);
        g_assert_true(x86_service(&c->s));
        assert_at(f, EXC_PF);
        g_assert_cmphex(c->cr2, ==, 0x1234);
        g_assert_cmphex(c->s.hot[RSP], ==, F_STACK - 16 - 48);
        g_assert_cmphex(FRAME(0), ==, 3);
        g_assert_cmphex(FRAME(1), ==, F_CODE);
        g_assert_cmphex(FRAME(2), ==, S_KCS);
        g_assert_cmphex(FRAME(3), ==, FL_1 | FL_IF | FL_TF | FL_NT | FL_RF);
        g_assert_cmphex(FRAME(4), ==, F_STACK - 4);
        g_assert_cmphex(FRAME(5), ==, 0x18);
        g_assert_cmphex(*x86_flags(c), ==, FL_1);
        fake_free(f);
    }
}

static void long_from_user(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    fake_user(f, 0x800000, 0x900000);
    g_assert_cmpuint(fake_view(f), ==, VIEW_USER);
    *x86_flags(c) |= FL_IF;
    x86_raise(c, EXC_GP, 0x33);
    g_assert_true(x86_service(&c->s));
    assert_at(f, EXC_GP);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmpuint(fake_view(f), ==, VIEW_KERNEL);
    g_assert_cmphex(c->s.hot[RSP], ==, F_RSP0 - 48);
    g_assert_cmphex(c->seg[SS].sel, ==, 0);
    g_assert_cmphex(FRAME(0), ==, 0x33);
    g_assert_cmphex(FRAME(1), ==, 0x800000);
    g_assert_cmphex(FRAME(2), ==, S_UCS);
    g_assert_cmphex(FRAME(4), ==, 0x900000);
    g_assert_cmphex(FRAME(5), ==, S_UDS);
    g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
    /* and back */
    c->s.hot[RSP] += 8;
    g_assert_true(x86_iret(c, 8, 0));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(*x86_pc(c), ==, 0x800000);
    g_assert_cmphex(c->s.hot[RSP], ==, 0x900000);
    g_assert_cmphex(c->seg[CS].sel, ==, S_UCS);
    g_assert_cmphex(c->seg[SS].sel, ==, S_UDS);
    g_assert_true(*x86_flags(c) & FL_RF);
    fake_free(f);
}

static void long_ist(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    fake_gate(f, EXC_GP, S_KCS, F_HANDLER, SYS_TRAP32, 0, 1);
    *x86_flags(c) |= FL_IF;
    x86_raise(c, EXC_GP, 0);
    x86_service(&c->s);
    g_assert_cmphex(c->s.hot[RSP], ==, F_IST1 - 48);
    g_assert_true(*x86_flags(c) & FL_IF);               /* a trap gate leaves it */
    fake_free(f);
}

/* What is wrong with the gate, and the fault that it leads to.  Each is found while #UD (benign) is delivered. */
typedef struct GateCase { const char *name; uint16_t sel; unsigned type, kill, error, vector; } GateCase;

static void bad_gates(void)
{
    enum { NOT_PRESENT = 1, LIMIT = 2 };
    static const GateCase t[] = {
        { "task gate", S_KCS, SYS_TASK_GATE, 0, EXC_UD * 8 + 2 + 1, EXC_GP },
        { "16-bit gate", S_KCS, SYS_INT16, 0, EXC_UD * 8 + 2 + 1, EXC_GP },
        { "absent", S_KCS, SYS_INT32, NOT_PRESENT, EXC_UD * 8 + 2 + 1, EXC_NP },
        { "null selector", 0, SYS_INT32, 0, 1, EXC_GP },
        { "data segment", S_KDS, SYS_INT32, 0, S_KDS + 1, EXC_GP },
        { "32-bit code", S_KCS32, SYS_INT32, 0, S_KCS32 + 1, EXC_GP },
        { "beyond the GDT", 0x1000, SYS_INT32, 0, 0x1001, EXC_GP },
        { "user code", S_UCS & ~3, SYS_INT32, 0, (S_UCS & ~3) + 1, EXC_GP },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(true);
        X86Cpu *c = f->c;
        g_test_message("%s", t[i].name);
        fake_gate(f, EXC_UD, t[i].sel, F_HANDLER, t[i].type, 0, 0);
        if (t[i].kill == NOT_PRESENT)
            f->ram[F_IDT + EXC_UD * 16 + 5] &= 0x7f;
        x86_raise(c, EXC_UD, 0);
        x86_service(&c->s);
        assert_at(f, t[i].vector);
        g_assert_cmphex(FRAME(0), ==, t[i].error);
        fake_free(f);
    }
}

/* --- two exceptions at once (SDM vol. 3, table 6-5) */

static void break_gate(Fake *f, unsigned vector) { f->ram[F_IDT + vector * 16 + 5] &= 0x7f; }      /* #NP */

static void double_faults(void)
{
    static const struct { unsigned first; bool pf_on_stack; unsigned then; } t[] = {
        { EXC_UD, false, EXC_NP }, { EXC_DB, false, EXC_NP }, { EXC_BP, false, EXC_NP },
        { EXC_DE, false, EXC_DF }, { EXC_GP, false, EXC_DF }, { EXC_SS, false, EXC_DF },
        { EXC_TS, false, EXC_DF },
        { EXC_PF, false, EXC_DF }, { EXC_UD, true, EXC_PF }, { EXC_GP, true, EXC_PF },
        { EXC_PF, true, EXC_DF },
        { EXC_AC, false, EXC_NP },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(true);
        X86Cpu *c = f->c;
        g_test_message("vector %u, then a fault%s", t[i].first, t[i].pf_on_stack ? " on the stack" : " of the gate");
        if (t[i].pf_on_stack)
            c->s.hot[RSP] = 0x7000000;          /* not mapped */
        else
            break_gate(f, t[i].first);
        fake_gate(f, EXC_DF, S_KCS, F_HANDLER + EXC_DF * 16, SYS_INT32, 0, 1);
        fake_gate(f, EXC_PF, S_KCS, F_HANDLER + EXC_PF * 16, SYS_INT32, 0, 1);
        if (!t[i].pf_on_stack && t[i].first == EXC_PF)
            break_gate(f, EXC_PF);
        if (t[i].pf_on_stack && t[i].first == EXC_PF)
            fake_gate(f, EXC_PF, S_KCS, F_HANDLER + EXC_PF * 16, SYS_INT32, 0, 0);
        if (t[i].first == EXC_PF)
            x86_raise_pf(c, 0x1234, 2);
        else
            x86_raise(c, t[i].first, 0);
        x86_service(&c->s);
        assert_at(f, t[i].then);
        if (t[i].then == EXC_DF)
            g_assert_cmphex(FRAME(0), ==, 0);
        g_assert_cmphex(FRAME(1), ==, F_CODE);
        if (t[i].first == EXC_PF && t[i].pf_on_stack)
            g_assert_cmphex(c->cr2, ==, 0x7000000 - 8);
        fake_free(f);
    }
}

static void triple_fault(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    break_gate(f, EXC_GP);
    break_gate(f, EXC_NP);
    break_gate(f, EXC_DF);
    x86_raise(c, EXC_GP, 0);
    g_assert_false(x86_service(&c->s));
    g_assert_cmpuint(f->triple, ==, 1);
    x86_reset(c);
    g_assert_true(x86_service(&c->s));
    fake_free(f);
    f = start(true);                    /* no IDT at all */
    f->c->idt.limit = 0;
    x86_raise(f->c, EXC_UD, 0);
    g_assert_false(x86_service(&f->c->s));
    g_assert_cmpuint(f->triple, ==, 1);
    fake_free(f);
}

/* --- 32-bit protected mode */

static void protected_from_user(void)
{
    Fake *f = start(false);
    X86Cpu *c = f->c;
    fake_user(f, 0x800000, 0x900000);
    x86_raise(c, EXC_GP, 0x44);
    x86_service(&c->s);
    assert_at(f, EXC_GP);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmphex(c->seg[SS].sel, ==, S_KDS);
    g_assert_cmphex(c->s.hot[RSP], ==, F_RSP0 - 24);
    g_assert_cmphex(FRAME32(0), ==, 0x44);
    g_assert_cmphex(FRAME32(1), ==, 0x800000);
    g_assert_cmphex(FRAME32(2), ==, S_UCS);
    g_assert_cmphex(FRAME32(4), ==, 0x900000);
    g_assert_cmphex(FRAME32(5), ==, S_UDS);
    c->s.hot[RSP] += 4;
    g_assert_true(x86_iret(c, 4, 0));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(*x86_pc(c), ==, 0x800000);
    g_assert_cmphex(c->s.hot[RSP], ==, 0x900000);
    /* the same privilege: no stack in the frame */
    fake_free(f);
    f = start(false);
    c = f->c;
    x86_raise(c, EXC_UD, 0);
    x86_service(&c->s);
    g_assert_cmphex(c->s.hot[RSP], ==, F_STACK - 12);
    g_assert_true(x86_iret(c, 4, 0));
    g_assert_cmphex(c->s.hot[RSP], ==, F_STACK);
    fake_free(f);
}

static void protected_bad_stack(void)
{
    static const struct { uint16_t ss; unsigned vector; uint32_t error; } t[] = {
        { 0, EXC_TS, 1 }, { S_UDS, EXC_TS, (S_UDS & ~3) | 1 }, { S_RO, EXC_TS, S_RO | 1 },
        { S_NP, EXC_SS, S_NP | 1 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(false);
        X86Cpu *c = f->c;
        fake_put32(f, F_TSS + 8, t[i].ss);
        fake_user(f, 0x800000, 0x900000);
        x86_raise(c, EXC_UD, 0);
        c->exc_pending = true;
        /* the fault's own delivery needs the same stack: a double fault, then the end; look at the first step only */
        uint8_t *desc = f->ram + F_IDT + 8 * t[i].vector;
        desc[2] = S_CONF, desc[3] = 0; /* conforming handler: stays at privilege 3, on the user's stack */
        x86_service(&c->s);
        assert_at(f, t[i].vector);
        g_assert_cmphex(FRAME32(0), ==, t[i].error);
        g_assert_cmpuint(c->cpl, ==, 3);
        fake_free(f);
    }
}

/* --- software interrupts */

static void soft_int(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    fake_user(f, 0x800000, 0x900000);
    g_assert_false(x86_int_soft(c, 0x81, 0, 0x800002));        /* DPL 0 */
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    g_assert_cmphex(c->exc_error, ==, 0x81 * 8 + 2);
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(c->s.hot[RSP], ==, 0x900000);
    c->exc_pending = false;
    g_assert_true(x86_int_soft(c, 0x80, 0, 0x800002));
    assert_at(f, 0x80);
    g_assert_cmphex(FRAME(0), ==, 0x800002);
    g_assert_false(FRAME(2) & FL_RF);
    fake_free(f);
}

/* --- interrupts, NMI, halt, INIT */

static void interrupts(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    f->vector = 0x55;
    atomic_store(&c->port.pending, PORT_INTR);
    g_assert_true(x86_service(&c->s));          /* IF clear */
    g_assert_cmphex(*x86_pc(c), ==, F_CODE);
    c->halted = true;
    g_assert_false(x86_service(&c->s));
    *x86_flags(c) |= FL_IF;
    c->halted = false;
    c->shadow = true;                           /* STI: not before one more instruction */
    g_assert_true(x86_service(&c->s));
    g_assert_cmphex(*x86_pc(c), ==, F_CODE);
    g_assert_cmpuint(f->after, ==, 1);
    c->halted = true;
    g_assert_true(x86_service(&c->s));
    assert_at(f, 0x55);
    g_assert_false(c->halted);
    g_assert_false(FRAME(2) & FL_RF);
    /* spurious: nothing happens */
    *x86_pc(c) = F_CODE;
    *x86_flags(c) |= FL_IF;
    f->vector = -1;
    atomic_store(&c->port.pending, PORT_INTR);
    g_assert_true(x86_service(&c->s));
    g_assert_cmphex(*x86_pc(c), ==, F_CODE);
    fake_free(f);
}

static void priorities(void)
{
    Fake *f = start(true);                      /* an exception goes first, then NMI, then the interrupt */
    X86Cpu *c = f->c;
    *x86_flags(c) |= FL_IF;
    fake_gate(f, EXC_UD, S_KCS, F_HANDLER + EXC_UD * 16, SYS_TRAP32, 0, 0);
    f->vector = 0x55;
    x86_raise(c, EXC_UD, 0);
    atomic_store(&c->port.pending, PORT_INTR | PORT_NMI);
    x86_service(&c->s);
    assert_at(f, EXC_NMI);
    g_assert_cmphex(FRAME(0), ==, F_HANDLER + EXC_UD * 16);
    g_assert_true(c->nmi_blocked);
    g_assert_cmpuint(f->attentions, >, 0);
    atomic_store(&c->port.pending, PORT_NMI);
    x86_service(&c->s);                         /* blocked */
    assert_at(f, EXC_NMI);
    g_assert_true(x86_iret(c, 8, 0));
    g_assert_false(c->nmi_blocked);
    x86_service(&c->s);
    assert_at(f, EXC_NMI);
    fake_free(f);
}

static void init_and_sipi(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    c->port.cpu_index = 1;
    c->lstar = 0x1234;
    atomic_store(&c->port.pending, PORT_INIT);
    g_assert_false(x86_service(&c->s));
    g_assert_true(c->wait_sipi);
    g_assert_cmphex(c->cr0, ==, CR0_ET);
    g_assert_cmphex(c->lstar, ==, 0x1234);
    c->port.sipi_vector = 0x9a;
    atomic_store(&c->port.pending, PORT_SIPI);
    g_assert_true(x86_service(&c->s));
    g_assert_cmphex(*x86_seg_base(c, CS), ==, 0x9a000);
    g_assert_cmphex(*x86_pc(c), ==, 0);
    atomic_store(&c->port.pending, PORT_SIPI);  /* a second one is nothing */
    *x86_pc(c) = 5;
    g_assert_true(x86_service(&c->s));
    g_assert_cmphex(*x86_pc(c), ==, 5);
    fake_free(f);
}

static void real_mode(void)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    g_assert_cmphex(*x86_seg_base(c, CS) + *x86_pc(c), ==, 0xfffffff0);
    fake_put32(f, 6 * 4, 0x12340100);
    c->idt = (X86Table){ 0, 0x3ff };
    x86_set_seg_real(c, SS, 0x2000);
    c->s.hot[RSP] = 0x100;
    x86_raise(c, EXC_UD, 0);
    x86_service(&c->s);
    g_assert_cmphex(*x86_pc(c), ==, 0x100);
    g_assert_cmphex(c->seg[CS].sel, ==, 0x1234);
    g_assert_cmphex(c->s.hot[RSP], ==, 0xfa);
    g_assert_cmphex(fake_get32(f, 0x200fa), ==, 0xf000fff0);
    g_assert_true(x86_iret(c, 2, 0));
    g_assert_cmphex(*x86_pc(c), ==, 0xfff0);
    g_assert_cmphex(*x86_seg_base(c, CS), ==, 0xf0000);
    fake_free(f);
}

/* --- IRET */

typedef struct IretCase {
    const char *name;
    uint64_t    rip; uint16_t cs; uint64_t rsp; uint16_t ss;
    int         vector;         /* -1: works */
    uint32_t    error;
} IretCase;

static void iret_cases(void)
{
    static const IretCase t[] = {
        { "user", 0x800000, S_UCS, 0x900000, S_UDS, -1, 0 },
        { "compatibility", 0x800000, S_UCS32, 0x900000, S_UDS, -1, 0 },
        { "kernel", F_CODE, S_KCS, F_STACK, S_KDS, -1, 0 },
        { "kernel, null SS", F_CODE, S_KCS, F_STACK, 0, -1, 0 },
        { "user, null SS", 0x800000, S_UCS, 0x900000, 3, EXC_GP, 0 },
        { "compatibility, null SS", 0x800000, S_UCS32, 0x900000, 3, EXC_GP, 0 },
        { "null CS", 0x800000, 0, 0x900000, S_UDS, EXC_GP, 0 },
        { "CS beyond", 0x800000, 0x1003, 0x900000, S_UDS, EXC_GP, 0x1000 },
        { "data as CS", 0x800000, S_UDS, 0x900000, S_UDS, EXC_GP, S_UDS & ~3 },
        { "RPL over DPL", 0x800000, S_KCS | 3, 0x900000, S_UDS, EXC_GP, S_KCS },
        { "RPL of SS", 0x800000, S_UCS, 0x900000, S_UDS & ~3, EXC_GP, S_UDS & ~3 },
        { "DPL of SS", 0x800000, S_UCS, 0x900000, S_KDS | 3, EXC_GP, S_KDS },
        { "read-only SS", F_CODE, S_KCS, F_STACK, S_RO, EXC_GP, S_RO },
        { "absent SS", F_CODE, S_KCS, F_STACK, S_NP, EXC_SS, S_NP },
        { "non-canonical RIP", 1ull << 47, S_UCS, 0x900000, S_UDS, EXC_GP, 0 },
        { "LDT absent", 0x800000, S_UCS | 4, 0x900000, S_UDS, EXC_GP, (S_UCS | 4) & ~3 },
    };
    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(t); i++) {
        const IretCase *k = &t[i / 2];
        Fake *f = start(true);
        X86Cpu *c = f->c, *before = g_memdup2(c, sizeof *c);
        f->no_host = i & 1;
        g_test_message("%s", k->name);
        uint64_t frame[5] = { k->rip, k->cs, FL_1 | FL_IF | FL_ZF | FL_IOPL, k->rsp, k->ss };
        memcpy(f->ram + F_STACK - 40, frame, 40);
        c->s.hot[RSP] = before->s.hot[RSP] = F_STACK - 40;
        bool ok = x86_iret(c, 8, 0);
        g_assert_cmpint(ok ? -1 : c->exc_vector, ==, k->vector);
        if (ok) {
            g_assert_cmphex(*x86_pc(c), ==, k->rip);
            g_assert_cmphex(c->s.hot[RSP], ==, k->rsp);
            g_assert_cmphex(x86_eflags(c), ==, FL_1 | FL_IF | FL_ZF | FL_IOPL);
            g_assert_cmpuint(c->cpl, ==, k->cs & 3);
            g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
        } else {
            g_assert_cmphex(c->exc_error, ==, k->error);
            g_assert_cmpmem(c->s.hot, sizeof c->s.hot, before->s.hot, sizeof before->s.hot);
            g_assert_cmpmem(c->seg, sizeof c->seg, before->seg, sizeof before->seg);
        }
        g_free(before);
        fake_free(f);
    }
}

static void iret_flags(void)
{
    static const struct { unsigned cpl, iopl; uint64_t given, want; } t[] = {
        { 0, 0, ~0ull, FL_1 | FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_VIF | FL_VIP | FL_ID },
        { 3, 0, ~0ull, FL_1 | FL_ARITH | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID },
        { 3, 3, FL_IF, FL_1 | FL_IF | FL_IOPL },
        { 3, 3, 0, FL_1 | FL_IOPL },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(true);
        X86Cpu *c = f->c;
        uint64_t frame[5] = { 0x800000, S_UCS, t[i].given, 0x900000, S_UDS };
        if (t[i].cpl)
            fake_user(f, 0x800000, 0x900000 - 40);
        else
            c->s.hot[RSP] = F_STACK - 40;
        *x86_flags(c) = FL_1 | t[i].iopl << 12 | (t[i].iopl ? FL_IF : 0);
        memcpy(f->ram + c->s.hot[RSP], frame, 40);
        g_assert_true(x86_iret(c, 8, 0));
        g_assert_cmphex(x86_eflags(c), ==, t[i].want);
        fake_free(f);
    }
    Fake *f = start(true);
    *x86_flags(f->c) |= FL_NT;
    g_assert_false(x86_iret(f->c, 8, 0));
    g_assert_cmpuint(f->c->exc_vector, ==, EXC_GP);
    fake_free(f);
}

/* Data segments that privilege 3 may not have become null. */
static void iret_drops_segments(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    g_assert_true(x86_load_seg(c, DS, S_KDS));
    g_assert_true(x86_load_seg(c, ES, S_UDS));
    uint64_t frame[5] = { 0x800000, S_UCS, FL_1, 0x900000, S_UDS };
    memcpy(f->ram + F_STACK - 40, frame, 40);
    c->s.hot[RSP] = F_STACK - 40;
    g_assert_true(x86_iret(c, 8, 0));
    g_assert_cmphex(c->seg[DS].sel, ==, 0);
    g_assert_cmphex(c->seg[ES].sel, ==, S_UDS);
    fake_free(f);
}

/* --- SYSCALL and SYSRET */

static void syscall_sysret(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    c->star = (uint64_t)(S_UCS32) << 48 | (uint64_t)S_KCS << 32;
    c->lstar = 0xffffffff81000000;
    c->sfmask = FL_IF | FL_DF | FL_TF | FL_AC;
    fake_user(f, 0x800000, 0x900000);
    *x86_flags(c) |= FL_IF | FL_AC | FL_RF;
    g_assert_true(x86_syscall(c, 0x800002));
    g_assert_cmphex(*x86_pc(c), ==, c->lstar);
    g_assert_cmphex(c->s.hot[RCX], ==, 0x800002);
    g_assert_cmphex(c->s.hot[R11], ==, FL_1 | FL_IF | FL_AC);
    g_assert_cmphex(x86_eflags(c), ==, FL_1);
    g_assert_cmphex(c->s.hot[RSP], ==, 0x900000);
    g_assert_cmphex(c->seg[CS].sel, ==, S_KCS);
    g_assert_cmphex(c->seg[SS].sel, ==, S_KDS);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_true(x86_code64(c));
    c->s.hot[R11] |= FL_RF | FL_VM;
    g_assert_true(x86_sysret(c, 8));
    g_assert_cmphex(*x86_pc(c), ==, 0x800002);
    g_assert_cmphex(x86_eflags(c), ==, FL_1 | FL_IF | FL_AC);
    g_assert_cmphex(c->seg[CS].sel, ==, S_UCS);
    g_assert_cmphex(c->seg[SS].sel, ==, S_UDS);
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_false(x86_sysret(c, 8));                   /* not from privilege 3 */
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    c->exc_pending = false;
    /* compatibility mode */
    x86_new_cpl(c, 0);
    g_assert_true(x86_sysret(c, 4));
    g_assert_cmphex(c->seg[CS].sel, ==, S_UCS32);
    g_assert_false(x86_code64(c));
    g_assert_cmphex(c->s.mode_tag >> 48 & MODE_CS, ==, MODE_CS32);
    c->cstar = 0xffffffff82000000;
    g_assert_true(x86_syscall(c, 0x800002));
    g_assert_cmphex(*x86_pc(c), ==, c->cstar);
    /* a non-canonical return address faults at privilege 3 */
    MmuResult r;
    c->s.hot[RCX] = 1ull << 47;
    g_assert_true(x86_sysret(c, 8));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_false(x86_mmu(&c->s, *x86_pc(c), ACC_EXEC, VIEW_USER, &r));
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    c->exc_pending = false;
    c->efer &= ~(uint64_t)EFER_SCE;
    g_assert_false(x86_syscall(c, 0));
    g_assert_cmpuint(c->exc_vector, ==, EXC_UD);
    fake_free(f);
}

static void sysenter(void)
{
    Fake *f = start(false);
    X86Cpu *c = f->c;
    fake_user(f, 0x800000, 0x900000);
    g_assert_false(x86_sysenter(c));
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    c->exc_pending = false;
    c->sysenter_cs = S_KCS;
    c->sysenter_esp = F_STACK;
    c->sysenter_eip = F_HANDLER;
    *x86_flags(c) |= FL_IF;
    g_assert_true(x86_sysenter(c));
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmphex(c->s.hot[RSP], ==, F_STACK);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER);
    g_assert_false(*x86_flags(c) & FL_IF);
    c->s.hot[RCX] = 0x900000;
    c->s.hot[RDX] = 0x800010;
    g_assert_true(x86_sysexit(c, 4));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(c->seg[CS].sel, ==, S_UCS32);
    g_assert_cmphex(*x86_pc(c), ==, 0x800010);
    fake_free(f);
}

/* In long mode: Intel's processors have SYSENTER and SYSEXIT, and SYSCALL only in 64-bit code. */
static void sysenter_intel(void)
{
    Fake *f = fake_new("Nehalem,check=off");
    X86Cpu *c = f->c;
    fake_long(f);
    c->efer |= EFER_SCE;
    c->sysenter_cs = S_KCS;
    c->sysenter_esp = 0xffff800000012340;
    c->sysenter_eip = 0xffff800000000000;
    x86_set_seg_flat(c, CS, S_UCS32, SEG_G | SEG_P | SEG_S | SEG_DB | 0xb00 | 3 << SEG_DPL_SHIFT);
    x86_new_cpl(c, 3);
    g_assert_false(x86_syscall(c, 0));
    g_assert_cmpuint(c->exc_vector, ==, EXC_UD);
    c->exc_pending = false;
    g_assert_true(x86_sysenter(c));
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_true(x86_code64(c));
    g_assert_cmphex(c->s.hot[RSP], ==, 0xffff800000012340);
    g_assert_cmphex(*x86_pc(c), ==, 0xffff800000000000);
    c->s.hot[RCX] = 0x900000;
    c->s.hot[RDX] = UINT64_C(1) << 47;
    g_assert_false(x86_sysexit(c, 8));
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    c->exc_pending = false;
    c->s.hot[RDX] = 0x800010;
    g_assert_true(x86_sysexit(c, 8));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_true(x86_code64(c));
    g_assert_cmphex(c->seg[CS].sel, ==, (S_KCS + 32) | 3);
    c->cpl = 0;
    c->s.hot[RCX] = UINT64_C(1) << 47;
    g_assert_false(x86_sysret(c, 8));
    g_assert_cmpuint(c->exc_vector, ==, EXC_GP);
    fake_free(f);
}

/* --- non-canonical stack operands are #SS (SDM vol. 3, 3.3.7.1) */

static void noncanonical_operands(void)
{
    static const struct { uint8_t code[8]; unsigned vector; } t[] = {
        { { 0x50 }, EXC_SS },                           /* push rax */
        { { 0x48, 0x8b, 0x45, 0x00 }, EXC_SS },         /* mov rax, [rbp] */
        { { 0x48, 0x8b, 0x44, 0x24, 0x08 }, EXC_SS },   /* mov rax, [rsp+8] */
        { { 0x49, 0x8b, 0x45, 0x00 }, EXC_GP },         /* mov rax, [r13] */
        { { 0x48, 0x8b, 0x00 }, EXC_GP },               /* mov rax, [rax] */
        { { 0x65, 0x48, 0x8b, 0x45, 0x00 }, EXC_GP },   /* mov rax, gs:[rbp] */
        { { 0xff, 0xd0 }, EXC_SS },                     /* call rax */
        { { 0x48, 0xa5 }, EXC_GP },                     /* movsq */
        { { 0x0f, 0xa8 }, EXC_SS },                     /* push gs */
        { { 0x8b, 0x05, 0, 0, 0, 0 }, EXC_GP },         /* mov eax, [rip] */
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(true);
        X86Cpu *c = f->c;
        MmuResult r;
        memcpy(f->ram + F_CODE, t[i].code, sizeof t[i].code);
        g_assert_false(x86_mmu(&c->s, 1ull << 60, ACC_READ, VIEW_KERNEL, &r));
        x86_service(&c->s);
        assert_at(f, t[i].vector);
        g_assert_cmphex(FRAME(0), ==, 0);
        fake_free(f);
    }
}

/* The delivery's own accesses are supervisor accesses under SMAP, whatever AC says. */
static void smap_delivery(void)
{
    Fake *f = start(true);
    X86Cpu *c = f->c;
    g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_SMAP));
    g_assert_cmpuint(fake_view(f), ==, VIEW_SMAP);
    *x86_flags(c) |= FL_AC;
    x86_mode_changed(c);
    g_assert_cmpuint(fake_view(f), ==, VIEW_KERNEL);
    c->s.hot[RSP] = 0x900000;                           /* a user page */
    fake_gate(f, EXC_PF, S_KCS, F_HANDLER + EXC_PF * 16, SYS_INT32, 0, 1);
    x86_raise(c, EXC_UD, 0);
    x86_service(&c->s);
    assert_at(f, EXC_PF);
    g_assert_cmphex(FRAME(0), ==, 3);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/trap/long-same", long_same_privilege);
    g_test_add_func("/x86/trap/long-user", long_from_user);
    g_test_add_func("/x86/trap/long-ist", long_ist);
    g_test_add_func("/x86/trap/bad-gates", bad_gates);
    g_test_add_func("/x86/trap/double", double_faults);
    g_test_add_func("/x86/trap/triple", triple_fault);
    g_test_add_func("/x86/trap/protected-user", protected_from_user);
    g_test_add_func("/x86/trap/protected-bad-stack", protected_bad_stack);
    g_test_add_func("/x86/trap/soft", soft_int);
    g_test_add_func("/x86/trap/interrupts", interrupts);
    g_test_add_func("/x86/trap/priorities", priorities);
    g_test_add_func("/x86/trap/init-sipi", init_and_sipi);
    g_test_add_func("/x86/trap/real", real_mode);
    g_test_add_func("/x86/trap/iret", iret_cases);
    g_test_add_func("/x86/trap/iret-flags", iret_flags);
    g_test_add_func("/x86/trap/iret-segments", iret_drops_segments);
    g_test_add_func("/x86/trap/syscall", syscall_sysret);
    g_test_add_func("/x86/trap/sysenter", sysenter);
    g_test_add_func("/x86/trap/sysenter-intel", sysenter_intel);
    g_test_add_func("/x86/trap/noncanonical", noncanonical_operands);
    g_test_add_func("/x86/trap/smap", smap_delivery);
    return g_test_run();
}
