/* SPDX-License-Identifier: GPL-2.0-or-later
 * When x87 and MMX instructions are not to be had, and errors that wait: #NM, #UD, #MF, FERR# and IGNNE#.  SDM vol. 3,
 * 2.5 (EM, MP, TS, NE), table 12-1 (MMX), table 6-2; vol. 1, appendix D. */
#include <string.h>

#include "tests/x86_fake.h"

enum { OK = -1, UD = EXC_UD, NM = EXC_NM, MF = EXC_MF, PF = EXC_PF };
enum { SW_IE = 1, SW_ES = 0x80, SW_B = 0x8000 };

static Fake *start(const uint8_t *code, unsigned len, uint64_t cr0, bool error)
{
    Fake *f = fake_new("max");
    X86Cpu *c = f->c;
    fake_long(f);
    g_assert_true(x86_set_cr(c, 4, c->cr4 | CR4_OSFXSR));
    g_assert_true(x86_set_cr(c, 0, (c->cr0 & ~(uint64_t)CR0_NE) | cr0));
    c->fcw = 0x37e;
    c->fsw = error ? SW_IE | SW_ES | SW_B : 0;
    c->s.hot[RBX] = 0x100000;
    memcpy(f->ram + F_CODE, code, len);
    return f;
}

static void availability(void)
{
    static const struct { const char *name; uint8_t code[6]; int none, em, ts, mp, mp_ts; } t[] = {
        { "fld1",           { 0xd9, 0xe8 }, OK, NM, NM, OK, NM },
        { "fwait",          { 0x9b }, OK, OK, OK, OK, NM },
        { "fnstsw ax",      { 0xdf, 0xe0 }, OK, NM, NM, OK, NM },
        { "emms",           { 0x0f, 0x77 }, OK, UD, NM, OK, NM },
        { "paddb mm, mm",   { 0x0f, 0xfc, 0xc1 }, OK, UD, NM, OK, NM },
        { "paddb mm, []",   { 0x0f, 0xfc, 0x03 }, OK, UD, NM, OK, NM },
        { "addps",          { 0x0f, 0x58, 0xc1 }, OK, UD, NM, OK, NM },
        { "fxsave",         { 0x0f, 0xae, 0x03 }, OK, NM, NM, OK, NM },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        const uint64_t cr0[5] = { 0, CR0_EM, CR0_TS, CR0_MP, CR0_MP | CR0_TS };
        const int want[5] = { t[i].none, t[i].em, t[i].ts, t[i].mp, t[i].mp_ts };
        for (unsigned k = 0; k < 5; k++) {
            Fake *f = start(t[i].code, sizeof t[i].code, cr0[k] | CR0_NE, false);
            int got = fake_step(f);
            if (got != want[k])
                g_test_message("%s, CR0 %x: vector %d, not %d", t[i].name, (unsigned)cr0[k], got, want[k]);
            g_assert_cmpint(got, ==, want[k]);
            fake_free(f);
        }
    }
}

/* A waiting error goes before the operand's page fault; control instructions do not wait. */
static void waiting_errors(void)
{
    static const struct { const char *name; uint8_t code[6]; int vector; } t[] = {
        { "fld1", { 0xd9, 0xe8 }, MF }, { "fwait", { 0x9b }, MF }, { "fnclex", { 0xdb, 0xe2 }, OK },
        { "fnstsw ax", { 0xdf, 0xe0 }, OK }, { "fninit", { 0xdb, 0xe3 }, OK },
        { "fld dword [unmapped]", { 0xd9, 0x03 }, MF }, { "paddb mm, mm", { 0x0f, 0xfc, 0xc1 }, MF },
        { "paddb mm, [unmapped]", { 0x0f, 0xfc, 0x03 }, MF }, { "movq [unmapped], mm", { 0x0f, 0x7f, 0x03 }, MF },
        { "addps xmm, [unmapped]", { 0x0f, 0x58, 0x03 }, PF },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Fake *f = start(t[i].code, sizeof t[i].code, CR0_NE, true);
        f->c->s.hot[RBX] = 0x70000000;
        g_test_message("%s", t[i].name);
        g_assert_cmpint(fake_step(f), ==, t[i].vector);
        fake_free(f);
    }
}

static unsigned levels, last_level;
static void ferr(void *self, unsigned cpu, bool level) { levels++, last_level = level; }

/* CR0.NE clear, with the pin: FERR# goes up and the instruction does not start; an interrupt finds it there; IGNNE# lets it
 * go on; FNCLEX takes FERR# back. */
static void ferr_pin(void)
{
    Fake *f = start((const uint8_t[]){ 0xd9, 0xe8, 0xdb, 0xe2 }, 4, 0, true);
    X86Cpu *c = f->c;
    g_assert_cmpint(fake_step(f), ==, MF);              /* no pin: #MF all the same */
    c->port.ferr = ferr;
    levels = 0;
    g_assert_cmpint(fake_run(f, 1), ==, -1);
    g_assert_cmpuint(levels, ==, 1);
    g_assert_true(last_level && c->ferr);
    g_assert_cmphex(*x86_pc(c), ==, F_CODE);
    *x86_flags(c) |= FL_IF;
    f->vector = 0x75;
    atomic_store(&c->port.pending, PORT_INTR);
    x86_service(&c->s);
    g_assert_cmphex(fake_get64(f, c->s.hot[RSP]), ==, F_CODE);
    g_assert_true(x86_iret(c, 8, 0));
    port_line(&c->port, LINE_IGNNE, true);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmphex(*x86_pc(c), ==, F_CODE + 2);
    g_assert_cmpuint(levels, ==, 1);
    g_assert_cmpint(fake_step(f), ==, -1);
    g_assert_cmpuint(levels, ==, 2);
    g_assert_false(last_level || c->ferr);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/fpu/availability", availability);
    g_test_add_func("/x86/fpu/waiting-errors", waiting_errors);
    g_test_add_func("/x86/fpu/ferr", ferr_pin);
    return g_test_run();
}
