/* SPDX-License-Identifier: GPL-2.0-or-later
 * System management mode: entry, the save area in both layouts, RSM, what is blocked and latched.  APM vol. 2, 10.2 and
 * 10.3, table 10-1; SDM vol. 3, 34.3 to 34.8. */
#include <string.h>

#include "tests/x86_fake.h"

enum { BASE = 0x30000, CODE = BASE + 0x8000 };

static uint8_t *area(Fake *f, unsigned at) { return f->ram + BASE + at; }
static uint64_t get(Fake *f, unsigned at, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, area(f, at), size);
    return v;
}

static void smi(Fake *f)
{
    atomic_fetch_or(&f->c->port.pending, PORT_SMI);
    x86_service(&f->c->s);
}

static Fake *start(bool wide, const char *model)
{
    Fake *f = fake_new(model);
    if (wide)
        fake_long(f);
    else
        fake_protected(f);
    f->ram[CODE] = 0x0f;                        /* rsm */
    f->ram[CODE + 1] = 0xaa;
    return f;
}

static void assert_entered(Fake *f)
{
    X86Cpu *c = f->c;
    g_assert_true(c->in_smm && f->smm);
    g_assert_cmphex(*x86_pc(c), ==, 0x8000);
    g_assert_cmphex(c->seg[CS].sel, ==, c->smbase >> 4 & 0xffff);
    g_assert_cmphex(*x86_seg_base(c, CS), ==, c->smbase);
    for (unsigned i = 0; i < N_SEGS; i++)
        g_assert_cmphex(c->seg[i].limit, ==, UINT32_MAX);
    g_assert_cmphex(*x86_seg_base(c, DS) | c->seg[DS].sel, ==, 0);
    g_assert_cmphex(c->cr0 & (CR0_PE | CR0_EM | CR0_TS | CR0_PG), ==, 0);
    g_assert_cmphex(c->cr4 | c->efer, ==, 0);
    g_assert_cmphex(c->dr[7], ==, 0x400);
    g_assert_cmphex(x86_eflags(c), ==, FL_1);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_true(c->nmi_blocked);
    g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
}

/* All state is back after RSM, from privilege 3 of long mode. */
static void round_trip(void)
{
    Fake *f = start(true, "max");
    X86Cpu *c = f->c;
    fake_user(f, 0x800000, 0x900000);
    x86_load_seg(c, DS, S_UDS);
    *x86_seg_base(c, FS) = 0x123456789abc;
    for (unsigned i = 0; i < 16; i++)
        if (i != RSP)
            c->s.hot[i] = UINT64_C(0x1111111111111111) * i;
    x86_set_eflags(c, FL_IF | FL_CF | FL_OF | FL_AC | FL_ID, UINT64_MAX);
    c->dr[6] = 0xffff4ff1;
    x86_mode_changed(c);
    GByteArray *before = describe_save(x86_state, c);
    smi(f);
    assert_entered(f);
    static const struct { unsigned at, size; uint64_t want; } t[] = {
        { 0xfefc, 4, 0x20064 }, { 0xff00, 4, BASE }, { 0xfec9, 1, 0 }, { 0xfed0, 8, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE },
        { 0xff50, 8, F_PML4 }, { 0xff60, 8, 0x400 }, { 0xff68, 8, 0xffff4ff1 }, { 0xff78, 8, 0x800000 },
        { 0xff70, 8, FL_1 | FL_IF | FL_CF | FL_OF | FL_AC | FL_ID }, { 0xfff0, 8, 0x1111111111111111 },
        { 0xff80, 8, ~UINT64_C(0) }, { 0xffd8, 8, 0x900000 }, { 0xfe10, 2, S_UCS }, { 0xfe12, 2, 0xafb },
        { 0xfe14, 4, UINT32_MAX }, { 0xfe30, 2, S_UDS }, { 0xfe48, 8, 0x123456789abc }, { 0xfe64, 4, GDT_LIMIT },
        { 0xfe68, 8, F_GDT }, { 0xfe88, 8, F_IDT }, { 0xfe90, 2, S_TSS }, { 0xfe98, 8, F_TSS },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_test_message("%x", t[i].at);
        g_assert_cmphex(get(f, t[i].at, t[i].size), ==, t[i].want);
    }
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_false(c->in_smm || f->smm);
    GByteArray *after = describe_save(x86_state, c);
    if (before->len != after->len || memcmp(before->data, after->data, before->len)) {
        GString *s = g_string_new(NULL);
        describe_show(x86_state, c, s);
        g_test_message("%s", s->str);
        g_string_free(s, TRUE);
    }
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(c->s.mode_tag >> 48, ==, x86_mode_bits(c));
    g_assert_cmpuint(before->len, ==, after->len);
    g_assert_cmpint(memcmp(before->data, after->data, before->len), ==, 0);
    g_byte_array_free(before, TRUE);
    g_byte_array_free(after, TRUE);
    fake_free(f);
}

/* A handler that came from privilege 3 runs with an empty SS; its DPL is where RSM finds the privilege. */
static void empty_ss(void)
{
    Fake *f = start(true, "max");
    X86Cpu *c = f->c;
    fake_user(f, 0x800000, 0x900000);
    fake_gate(f, 0x80, S_KCS, 0x12345, SYS_INT32, 3, 0);
    g_assert_true(x86_int_soft(c, 0x80, 0 /* SOFT_INT */, 0x800002));
    g_assert_cmphex(c->seg[SS].sel, ==, 0);
    smi(f);
    assert_entered(f);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(c->cpl, ==, 0);
    g_assert_cmphex(*x86_pc(c), ==, 0x12345);
    fake_free(f);
}

/* A processor without long mode keeps the P6's layout; virtual-8086 mode comes back. */
static void narrow(void)
{
    Fake *f = start(false, "pentium");
    X86Cpu *c = f->c;
    uint32_t frame[9] = { 0x20, 0x1000, FL_1 | FL_VM | FL_IOPL, 0x100, 0x2000, 0x3000, 0x3100, 0x3200, 0x3300 };
    memcpy(f->ram + F_STACK - 36, frame, sizeof frame);
    c->s.hot[RSP] = F_STACK - 36;
    g_assert_true(x86_iret(c, 4, 0));
    c->s.hot[RAX] = 0x12345678;
    smi(f);
    assert_entered(f);
    g_assert_cmphex(get(f, 0xfefc, 4), ==, 0x20000);
    g_assert_cmphex(get(f, 0xfef8, 4), ==, BASE);
    g_assert_cmphex(get(f, 0xffd0, 4), ==, 0x12345678);
    g_assert_cmphex(get(f, 0xfff0, 4), ==, 0x20);
    g_assert_cmphex(get(f, 0xffac, 4), ==, 0x1000);
    g_assert_cmphex(get(f, 0xfff4, 4), ==, FL_1 | FL_VM | FL_IOPL);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_true(x86_vm86(c));
    g_assert_cmpuint(c->cpl, ==, 3);
    g_assert_cmphex(c->seg[CS].sel, ==, 0x1000);
    g_assert_cmphex(*x86_seg_base(c, ES), ==, 0x30000);
    g_assert_cmphex(c->s.hot[RAX], ==, 0x12345678);
    fake_free(f);
}

/* The handler changes what it returns to: SMBASE, HLT again, RIP, RAX. */
static void changed_area(void)
{
    Fake *f = start(true, "max");
    X86Cpu *c = f->c;
    c->halted = true;
    smi(f);
    assert_entered(f);
    g_assert_cmpuint(get(f, 0xfec9, 1), ==, 1);
    uint32_t base = 0x90000;
    memcpy(area(f, 0xff00), &base, 4);
    uint64_t rax = 0xfeedface;
    memcpy(area(f, 0xfff8), &rax, 8);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(c->smbase, ==, base);
    g_assert_cmphex(c->s.hot[RAX], ==, rax);
    g_assert_true(c->halted);
    g_assert_false(x86_service(&c->s));
    smi(f);
    assert_entered(f);
    g_assert_cmphex(*x86_seg_base(c, CS), ==, base);
    f->ram[base + 0xfec9] = 0;                          /* not again */
    memcpy(f->ram + base + 0x8000, f->ram + CODE, 2);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_false(c->halted);
    x86_reset(c);
    g_assert_cmphex(c->smbase, ==, BASE);
    fake_free(f);
}

/* SMI, INIT and NMI wait for RSM; an NMI handler that was interrupted stays one (SDM vol. 3, 34.8). */
static void blocked(void)
{
    Fake *f = start(true, "max");
    X86Cpu *c = f->c;
    smi(f);
    atomic_fetch_or(&c->port.pending, PORT_NMI | PORT_INIT | PORT_SMI);
    x86_service(&c->s);
    assert_entered(f);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(f->attentions, >, 0);
    x86_service(&c->s);
    assert_entered(f);                                  /* the second SMI goes first */
    g_assert_cmpint(fake_step(f), ==, -1);
    atomic_fetch_and(&c->port.pending, ~PORT_INIT);
    x86_service(&c->s);
    g_assert_cmphex(*x86_pc(c), ==, F_HANDLER + EXC_NMI * 16);
    g_assert_true(c->nmi_blocked);
    smi(f);
    c->nmi_blocked = false;                             /* an IRET in SMM */
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_true(c->nmi_blocked);
    smi(f);
    g_assert_true(f->smm);
    x86_reset(c);
    g_assert_false(f->smm || c->in_smm);
    fake_free(f);
}

static void bad_rsm(void)
{
    Fake *f = start(true, "max");
    memcpy(f->ram + F_CODE, f->ram + CODE, 2);
    g_assert_cmpint(fake_step(f), ==, EXC_UD);
    static const struct { unsigned at; uint64_t set; } t[] = {
        { 0xff58, 1ull << 32 }, { 0xff58, CR0_NW }, { 0xff48, 1 << 13 }, { 0xfed0, 1 << 9 }, { 0xff50, 1ull << 60 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        x86_reset(f->c);
        fake_long(f);
        smi(f);
        uint64_t v = get(f, t[i].at, 8) | t[i].set;
        memcpy(area(f, t[i].at), &v, 8);
        g_assert_cmpint(fake_step(f), ==, -1);
        g_assert_cmpuint(f->triple, ==, i + 1);
        g_assert_true(f->c->halted);
    }
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/smm/round-trip", round_trip);
    g_test_add_func("/x86/smm/empty-ss", empty_ss);
    g_test_add_func("/x86/smm/narrow", narrow);
    g_test_add_func("/x86/smm/changed-area", changed_area);
    g_test_add_func("/x86/smm/blocked", blocked);
    g_test_add_func("/x86/smm/bad-rsm", bad_rsm);
    return g_test_run();
}
