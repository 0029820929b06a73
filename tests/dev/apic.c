/* SPDX-License-Identifier: GPL-2.0-or-later
 * Local APIC (SDM vol. 3) and I/O APIC (82093AA) without CPUs: fake ports take the interrupts. */
#include <sys/eventfd.h>

#include "hw/core/msifd.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/lapic.h"
#include "tests/fake_port.h"

enum { ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0, ISR = 0x100,
       TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310, LVT_TIMER = 0x320, LVT_LINT0 = 0x350,
       LVT_LINT1 = 0x360, LVT_ERROR = 0x370, ICT = 0x380, CCT = 0x390, DCR = 0x3e0 };
enum { MASKED = 0x10000, PERIODIC = 0x20000, DEADLINE = 0x40000, LEVEL = 0x8000, REMOTE_IRR = 0x4000 };
enum { APICBASE = 0x1b, TSC_DEADLINE = 0x6e0, X2 = 0x800, BASE_X2 = 0x400, BASE_EN = 0x800, BASE_BSP = 0x100 };

static uint32_t rd(Bench *b, const char *apic, unsigned reg) { return bench_read_at(b, apic, reg, 4); }
static void wr(Bench *b, const char *apic, unsigned reg, uint32_t v) { bench_write_at(b, apic, reg, 4, v); }
static uint32_t io_rd(Bench *b, uint8_t reg)
{
    wr(b, "io", 0, reg);
    return rd(b, "io", 0x10);
}
static void io_wr(Bench *b, uint8_t reg, uint32_t v)
{
    wr(b, "io", 0, reg);
    wr(b, "io", 0x10, v);
}
static void redirect(Bench *b, unsigned pin, uint32_t low, uint8_t dest)
{
    io_wr(b, 0x11 + 2 * pin, (uint32_t)dest << 24);
    io_wr(b, 0x10 + 2 * pin, low);
}

typedef struct Two { FakeCpu cpu[2]; } Two;

/* Two processors, software-enabled, and an I/O APIC. */
static void make(Bench *b, Two *t)
{
    bench_add(b, "lapic,id=l0,id-number=0");
    bench_add(b, "lapic,id=l1,id-number=1");
    bench_add(b, "ioapic,id=io");
    b->m->msi = lapic_msi_sink(b->m);
    fake_cpu(&t->cpu[0], b, "l0");
    fake_cpu(&t->cpu[1], b, "l1");
    wr(b, "l0", SVR, 0x1ff);
    wr(b, "l1", SVR, 0x1ff);
}

static void after_reset(Bench *b)
{
    FakeCpu c;
    uint64_t v;
    bench_add(b, "lapic,id=l0,id-number=0");
    fake_cpu(&c, b, "l0");
    g_assert_cmphex(rd(b, "l0", ID), ==, 0);
    g_assert_cmphex(rd(b, "l0", VERSION), ==, 0x50014);
    g_assert_cmphex(rd(b, "l0", SVR), ==, 0xff);
    g_assert_cmphex(rd(b, "l0", DFR), ==, 0xffffffff);
    g_assert_cmphex(rd(b, "l0", LVT_TIMER), ==, MASKED);
    g_assert_true(fake_rdmsr(&c, b, APICBASE, &v));
    g_assert_cmphex(v, ==, LAPIC_BASE | BASE_EN | BASE_BSP);
    wr(b, "l0", LVT_TIMER, 0x40);                   /* software-disabled: the mask bit stays */
    g_assert_cmphex(rd(b, "l0", LVT_TIMER), ==, MASKED | 0x40);
    wr(b, "l0", SVR, 0x1ff);
    wr(b, "l0", LVT_TIMER, 0x40);
    g_assert_cmphex(rd(b, "l0", LVT_TIMER), ==, 0x40);
    wr(b, "l0", SVR, 0xff);
    g_assert_cmphex(rd(b, "l0", LVT_TIMER), ==, MASKED | 0x40);
}

static void an_edge_from_the_io_apic(Bench *b)
{
    Two t;
    make(b, &t);
    redirect(b, 4, 0x34, 0);
    bench_drive(b, "io.in", 4, true);
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);
    g_assert_cmphex(rd(b, "l0", IRR + 0x10), ==, 1 << 20);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x34);
    g_assert_cmphex(rd(b, "l0", ISR + 0x10), ==, 1 << 20);
    g_assert_cmphex(rd(b, "l0", TMR + 0x10), ==, 0);
    g_assert_cmphex(rd(b, "l0", PPR), ==, 0x30);
    bench_drive(b, "io.in", 4, false);
    bench_drive(b, "io.in", 4, true);               /* the same class: waits for EOI */
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    wr(b, "l0", EOI, 0);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x34);
    wr(b, "l0", EOI, 0);
    g_assert_cmphex(rd(b, "l0", PPR), ==, 0);
}

static void a_masked_edge_is_lost(Bench *b)
{
    Two t;
    make(b, &t);
    redirect(b, 4, MASKED | 0x34, 0);
    bench_drive(b, "io.in", 4, true);
    redirect(b, 4, 0x34, 0);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
}

static void a_level_comes_again_until_it_goes(Bench *b)
{
    Two t;
    make(b, &t);
    redirect(b, 9, LEVEL | 0x51, 1);
    bench_drive(b, "io.in", 9, true);
    g_assert_cmphex(io_rd(b, 0x10 + 18), ==, REMOTE_IRR | LEVEL | 0x51);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x51);
    g_assert_cmphex(rd(b, "l1", TMR + 0x20), ==, 1 << 17);
    wr(b, "l1", EOI, 0);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x51);
    bench_drive(b, "io.in", 9, false);
    wr(b, "l1", EOI, 0);
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);
    g_assert_cmphex(io_rd(b, 0x10 + 18), ==, LEVEL | 0x51);
    redirect(b, 9, MASKED | LEVEL | 0x51, 1);       /* while masked it waits */
    bench_drive(b, "io.in", 9, true);
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);
    redirect(b, 9, LEVEL | 0x51, 1);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x51);
}

static void the_io_apics_own_eoi_register(Bench *b)
{
    Two t;
    make(b, &t);
    redirect(b, 9, LEVEL | 0x51, 0);
    bench_drive(b, "io.in", 9, true);
    bench_drive(b, "io.in", 9, false);
    wr(b, "io", 0x40, 0x52);
    g_assert_cmphex(io_rd(b, 0x10 + 18), ==, REMOTE_IRR | LEVEL | 0x51);
    wr(b, "io", 0x40, 0x51);
    g_assert_cmphex(io_rd(b, 0x10 + 18), ==, LEVEL | 0x51);
}

static void io_apic_registers(Bench *b)
{
    Two t;
    make(b, &t);
    g_assert_cmphex(io_rd(b, 1), ==, 0x170020);
    io_wr(b, 0, 0xffffffff);
    g_assert_cmphex(io_rd(b, 0), ==, 0x0f000000);
    io_wr(b, 0x3f, 0xffffffff);
    io_wr(b, 0x3e, 0xffffffff);
    g_assert_cmphex(io_rd(b, 0x3e), ==, 0x1ffff & ~(REMOTE_IRR | 0x1000));
    g_assert_cmphex(io_rd(b, 0x3f), ==, 0xff000000);
    g_assert_cmphex(io_rd(b, 0x40), ==, 0);
    io_wr(b, 0x40, 0xffffffff);
    g_assert_cmphex(rd(b, "io", 0x20), ==, 0);
}

static void priorities(Bench *b)
{
    Two t;
    make(b, &t);
    for (unsigned pin = 0; pin < 4; pin++)
        redirect(b, pin, 0x30 + 0x20 * pin, 0);
    bench_drive(b, "io.in", 1, true);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x50);
    bench_drive(b, "io.in", 0, true);               /* lower: waits */
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    bench_drive(b, "io.in", 3, true);               /* higher: nests */
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x90);
    g_assert_cmphex(rd(b, "l0", PPR), ==, 0x90);
    wr(b, "l0", EOI, 0);
    g_assert_cmphex(rd(b, "l0", PPR), ==, 0x50);
    wr(b, "l0", EOI, 0);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x30);
    wr(b, "l0", EOI, 0);
    wr(b, "l0", EOI, 0);                            /* one too many does nothing */
    t.cpu[0].port.intc->set_cr8(t.cpu[0].port.intc_self, 7);
    g_assert_cmphex(rd(b, "l0", TPR), ==, 0x70);
    bench_drive(b, "io.in", 2, true);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    wr(b, "l0", TPR, 0x6f);
    g_assert_cmpuint(t.cpu[0].port.intc->get_cr8(t.cpu[0].port.intc_self), ==, 6);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x70);
}

static void logical_destinations(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", LDR, 0x01000000);                   /* flat */
    wr(b, "l1", LDR, 0x02000000);
    redirect(b, 0, 0x800 | 0x41, 2);
    bench_drive(b, "io.in", 0, true);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x41);
    redirect(b, 1, 0x800 | 0x61, 0xff);
    bench_drive(b, "io.in", 1, true);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x61);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x61);
    redirect(b, 2, 0x900 | 0x71, 0xff);             /* lowest priority: one of them, the idler */
    wr(b, "l0", EOI, 0);
    bench_drive(b, "io.in", 2, true);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x71);
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);
    wr(b, "l0", EOI, 0);
    wr(b, "l1", EOI, 0);
    wr(b, "l1", EOI, 0);
    wr(b, "l0", DFR, 0x0fffffff);                   /* clusters of four */
    wr(b, "l1", DFR, 0x0fffffff);
    wr(b, "l0", LDR, 0x11000000);
    wr(b, "l1", LDR, 0x22000000);
    redirect(b, 3, 0x800 | 0x81, 0x2f);
    bench_drive(b, "io.in", 3, true);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x81);
}

static void interprocessor_interrupts(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", ICR2, 1 << 24);
    wr(b, "l0", ICR, 0x4000 | 0x55);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x55);
    g_assert_cmphex(rd(b, "l0", ICR), ==, 0x4055);
    wr(b, "l1", ICR, 0x40000 | 0x66);               /* self */
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x66);
    wr(b, "l1", ICR, 0xc0000 | 0x77);               /* all but self */
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x77);
    wr(b, "l1", ICR, 0x80000 | 0x400);              /* NMI to all */
    g_assert_true(fake_edge(&t.cpu[0], PORT_NMI));
    g_assert_true(fake_edge(&t.cpu[1], PORT_NMI));
    wr(b, "l0", ICR2, 1 << 24);
    wr(b, "l0", ICR, 0x500 | LEVEL | 0x4000);       /* INIT, then its level goes */
    g_assert_true(fake_edge(&t.cpu[1], PORT_INIT));
    g_assert_cmphex(rd(b, "l1", SVR), ==, 0xff);
    g_assert_cmphex(rd(b, "l1", ISR + 0x20), ==, 0);
    wr(b, "l0", ICR, 0x500 | LEVEL);
    g_assert_false(fake_edge(&t.cpu[1], PORT_INIT));
    wr(b, "l0", ICR, 0x600 | 0x9a);
    g_assert_true(fake_edge(&t.cpu[1], PORT_SIPI));
    g_assert_cmphex(t.cpu[1].port.sipi_vector, ==, 0x9a);
    wr(b, "l0", ICR, 0x66);                         /* software-disabled since INIT: fixed ones are dropped */
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);
}

static void errors(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", LVT_ERROR, 0xfe);
    wr(b, "l0", ICR, 0x05);                         /* vectors below 16 are illegal */
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0xfe);
    g_assert_cmphex(rd(b, "l0", ESR), ==, 0);
    wr(b, "l0", ESR, 0);
    g_assert_cmphex(rd(b, "l0", ESR), ==, 0x20);
    wr(b, "l0", ESR, 0);
    g_assert_cmphex(rd(b, "l0", ESR), ==, 0);
    redirect(b, 0, 0x07, 0);
    bench_drive(b, "io.in", 0, true);
    wr(b, "l0", ESR, 0);
    g_assert_cmphex(rd(b, "l0", ESR), ==, 0x40);
    (void)rd(b, "l0", 0x3f0);
    wr(b, "l0", 0x10, 1);
    wr(b, "l0", ESR, 0);
    g_assert_cmphex(rd(b, "l0", ESR), ==, 0x80);
    wr(b, "l0", EOI, 0);
    wr(b, "l0", LVT_ERROR, 0x03);                   /* an error interrupt that is one itself */
    wr(b, "l0", ICR, 0x05);
    wr(b, "l0", ESR, 0);
    g_assert_cmphex(rd(b, "l0", ESR), ==, 0x60);
}

static void the_timer(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", DCR, 0xb);                          /* by 1 */
    wr(b, "l0", LVT_TIMER, 0x20);
    wr(b, "l0", ICT, 100000);
    bench_step_ns(b, 40000);
    g_assert_cmpuint(rd(b, "l0", CCT), ==, 60000);
    bench_step_ns(b, 59999);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    bench_step_ns(b, 1);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x20);
    g_assert_cmpuint(rd(b, "l0", CCT), ==, 0);
    wr(b, "l0", EOI, 0);
    bench_step_ns(b, NS_PER_S);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    wr(b, "l0", DCR, 0x3);                          /* an old count does not come back with a new divisor */
    bench_step_ns(b, NS_PER_S);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    wr(b, "l0", LVT_TIMER, PERIODIC | 0x21);
    wr(b, "l0", ICT, 10000);                        /* by 16 */
    for (unsigned i = 0; i < 3; i++) {
        bench_step_ns(b, 159999);
        g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
        bench_step_ns(b, 1);
        g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x21);
        wr(b, "l0", EOI, 0);
    }
    bench_step_ns(b, 80000);
    wr(b, "l0", DCR, 0xb);                          /* goes on from the middle, faster */
    g_assert_cmpuint(rd(b, "l0", CCT), ==, 5000);
    wr(b, "l0", LVT_TIMER, MASKED | PERIODIC | 0x21);
    bench_step_ns(b, NS_PER_S);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    wr(b, "l0", ICT, 0);
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
}

static void a_short_period_does_not_flood(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", DCR, 0xb);
    wr(b, "l0", LVT_TIMER, PERIODIC | 0x21);
    wr(b, "l0", ICT, 1);
    unsigned fired = 0;
    for (int64_t end = NS_PER_S / 10; clock_next_ns(b->m->clock) <= end; fired++)
        clock_step_ns(b->m->clock, clock_next_ns(b->m->clock) - clock_now_ns(b->m->clock));
    g_assert_cmpuint(fired, >, 1000);
    g_assert_cmpuint(fired, <=, 5001);
    clock_set_ns(b->m->clock, INT64_C(1000) * NS_PER_S);        /* a late host: once */
    bench_step_ns(b, 0);
    g_assert_cmpint(clock_next_ns(b->m->clock), >, clock_now_ns(b->m->clock));
}

static void the_tsc_deadline(Bench *b)
{
    Two t;
    uint64_t v;
    make(b, &t);
    FakeCpu *c = &t.cpu[0];
    g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, 5));           /* another mode: ignored */
    g_assert_true(fake_rdmsr(c, b, TSC_DEADLINE, &v));
    g_assert_cmphex(v, ==, 0);
    wr(b, "l0", LVT_TIMER, DEADLINE | 0xec);
    wr(b, "l0", ICT, 1000);                                     /* ignored in this mode */
    g_assert_cmpuint(rd(b, "l0", CCT), ==, 0);
    g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, FAKE_TSC_OFFSET + 50000));
    g_assert_true(fake_rdmsr(c, b, TSC_DEADLINE, &v));
    g_assert_cmphex(v, ==, FAKE_TSC_OFFSET + 50000);
    bench_step_ns(b, 49999);
    g_assert_cmpint(fake_take(c, b), ==, -1);
    bench_step_ns(b, 1);
    g_assert_cmphex(fake_take(c, b), ==, 0xec);
    g_assert_true(fake_rdmsr(c, b, TSC_DEADLINE, &v));
    g_assert_cmphex(v, ==, 0);
    wr(b, "l0", EOI, 0);
    g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, 1));           /* the past: at once */
    bench_step_ns(b, 0);
    g_assert_cmphex(fake_take(c, b), ==, 0xec);
    wr(b, "l0", EOI, 0);
    for (unsigned i = 0; i < 3; i++) {                          /* never */
        static const uint64_t far[] = { UINT64_MAX, (uint64_t)INT64_MAX + 1, (uint64_t)INT64_MAX + FAKE_TSC_OFFSET };
        g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, far[i]));
        bench_step_ns(b, NS_PER_S);
        g_assert_cmpint(fake_take(c, b), ==, -1);
    }
    g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, FAKE_TSC_OFFSET + UINT64_C(5) * NS_PER_S));
    g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, 0));           /* disarmed */
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
    g_assert_true(fake_wrmsr(c, b, TSC_DEADLINE, FAKE_TSC_OFFSET + UINT64_C(5) * NS_PER_S));
    wr(b, "l0", LVT_TIMER, 0xec);                               /* a change of mode disarms */
    g_assert_cmpint(clock_next_ns(b->m->clock), ==, TIME_NEVER);
}

static void local_pins(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", LVT_LINT1, 0x400);
    bench_drive(b, "l0.lint", 1, true);
    g_assert_true(fake_edge(&t.cpu[0], PORT_NMI));
    wr(b, "l0", LVT_LINT0, 0x35);
    bench_drive(b, "l0.lint", 0, true);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x35);
    wr(b, "l0", EOI, 0);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    bench_drive(b, "l0.lint", 0, false);
    wr(b, "l0", LVT_LINT0, LEVEL | 0x36);
    bench_drive(b, "l0.lint", 0, true);
    g_assert_cmphex(rd(b, "l0", LVT_LINT0), ==, LEVEL | REMOTE_IRR | 0x36);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x36);
    wr(b, "l0", EOI, 0);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x36);
    bench_drive(b, "l0.lint", 0, false);
    wr(b, "l0", EOI, 0);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    g_assert_cmphex(rd(b, "l0", LVT_LINT0), ==, LEVEL | 0x36);
}

static void external_interrupts(Bench *b)
{
    FakeCpu c;
    uint64_t v;
    bench_add(b, "i8259,id=pic");
    bench_add(b, "lapic,id=l0,id-number=0,pic=pic");
    bench_wire(b, "pic.int", "l0.lint", 0);
    fake_cpu(&c, b, "l0");
    static const uint8_t icw[] = { 0x20, 1, 0 };
    bench_write_at(b, "pic", 0, 1, 0x13);
    for (unsigned i = 0; i < 3; i++)
        bench_write_at(b, "pic", 1, 1, icw[i]);
    bench_drive(b, "pic.ir", 3, true);
    g_assert_cmpint(fake_take(&c, b), ==, -1);              /* LINT0 is masked */
    lapic_virtual_wire(machine_find(b->m, "l0"));
    g_assert_cmphex(fake_take(&c, b), ==, 0x23);
    g_assert_cmpint(fake_take(&c, b), ==, -1);
    bench_write_at(b, "pic", 0, 1, 0x20);
    wr(b, "l0", LVT_LINT0, MASKED | 0x700);
    bench_drive(b, "pic.ir", 4, true);
    g_assert_cmpint(fake_take(&c, b), ==, -1);
    g_assert_true(fake_rdmsr(&c, b, APICBASE, &v));
    g_assert_true(fake_wrmsr(&c, b, APICBASE, v & ~(uint64_t)BASE_EN));     /* off: the pin is INTR */
    g_assert_cmphex(fake_take(&c, b), ==, 0x24);
    bench_drive(b, "l0.lint", 1, true);                     /* and the other one NMI */
    g_assert_true(fake_edge(&c, PORT_NMI));
}

/* ExtINT on a pin behind which there is no 8259: nothing to acknowledge. */
static void an_external_interrupt_from_nobody(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", LVT_LINT0, 0x700);
    bench_drive(b, "l0.lint", 0, true);
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
}

static void message_signalled_interrupts(Bench *b)
{
    Two t;
    make(b, &t);
    machine_send_msi(b->m, 0xfee01000, 0x4055);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x55);
    wr(b, "l0", LDR, 0x01000000);
    machine_send_msi(b->m, 0xfee01004, 0x4056);             /* logical */
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x56);
    machine_send_msi(b->m, 0xfeeff000, 0x4077);             /* everybody */
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x77);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x77);
    wr(b, "l0", EOI, 0);
    machine_send_msi(b->m, 0xfee00000, 0x8088);             /* a level that went */
    g_assert_cmpint(fake_take(&t.cpu[0], b), ==, -1);
    machine_send_msi(b->m, 0xfee00000, 0x0400);
    g_assert_true(fake_edge(&t.cpu[0], PORT_NMI));
}

static void x2apic(Bench *b)
{
    Two t;
    uint64_t v;
    make(b, &t);
    FakeCpu *c = &t.cpu[1];
    g_assert_false(fake_rdmsr(c, b, X2 + 2, &v));                       /* xAPIC mode: no such MSRs */
    g_assert_true(fake_rdmsr(c, b, APICBASE, &v));
    g_assert_cmphex(v, ==, LAPIC_BASE | BASE_EN);
    g_assert_false(fake_wrmsr(c, b, APICBASE, LAPIC_BASE | BASE_X2));
    g_assert_false(fake_wrmsr(c, b, APICBASE, LAPIC_BASE | BASE_EN | 1));
    g_assert_true(fake_wrmsr(c, b, APICBASE, LAPIC_BASE | BASE_EN | BASE_X2));
    g_assert_true(fake_rdmsr(c, b, X2 + 2, &v));
    g_assert_cmphex(v, ==, 1);
    g_assert_true(fake_rdmsr(c, b, X2 + 0xd, &v));                      /* LDR follows from the id */
    g_assert_cmphex(v, ==, 2);
    g_assert_true(fake_rdmsr(c, b, X2 + 0xf, &v));
    g_assert_cmphex(v, ==, 0x1ff);                                      /* the state came along */
    static const struct { uint32_t msr; uint64_t v; } refused[] = {
        { X2 + 2, 0 }, { X2 + 3, 0 }, { X2 + 0xa, 0 }, { X2 + 0xb, 1 }, { X2 + 0xd, 0 }, { X2 + 0xe, 0 },
        { X2 + 8, 0x100 }, { X2 + 0xf, 0x1000 }, { X2 + 0x10, 0 }, { X2 + 0x28, 1 }, { X2 + 0x30, 0x20000 },
        { X2 + 0x31, 0 }, { X2 + 0x32, 0x80000 }, { X2 + 0x37, 0x700 }, { X2 + 0x38, UINT64_C(1) << 32 },
        { X2 + 0x39, 0 }, { X2 + 0x3e, 4 }, { X2 + 0x3f, 0x100 }, { X2 + 0x40, 0 }, { X2 + 0xff, 0 },
        { APICBASE, LAPIC_BASE | BASE_EN },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++)
        g_assert_false(fake_wrmsr(c, b, refused[i].msr, refused[i].v));
    static const uint8_t unreadable[] = { 0x9, 0xb, 0xe, 0x31, 0x3f, 0x00, 0x2f };
    for (unsigned i = 0; i < G_N_ELEMENTS(unreadable); i++)
        g_assert_false(fake_rdmsr(c, b, X2 + unreadable[i], &v));
    g_assert_true(fake_wrmsr(c, b, X2 + 0x3f, 0x91));                   /* self IPI */
    g_assert_cmphex(fake_take(c, b), ==, 0x91);
    g_assert_true(fake_wrmsr(c, b, X2 + 0xb, 0));
    g_assert_true(fake_wrmsr(c, b, X2 + 0x30, UINT64_C(1) << 32 | 0x92));
    g_assert_cmphex(fake_take(c, b), ==, 0x92);
    g_assert_true(fake_wrmsr(c, b, X2 + 0xb, 0));
    g_assert_true(fake_wrmsr(c, b, X2 + 0x30, UINT64_C(2) << 32 | 0x800 | 0x93));
    g_assert_cmphex(fake_take(c, b), ==, 0x93);
    g_assert_true(fake_wrmsr(c, b, X2 + 0xb, 0));
    redirect(b, 0, 0x94, 0xff);                                         /* 8 bits of ones are everybody */
    bench_drive(b, "io.in", 0, true);
    g_assert_cmphex(fake_take(c, b), ==, 0x94);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x94);
    g_assert_true(fake_wrmsr(c, b, APICBASE, LAPIC_BASE));              /* back by way of "disabled" */
    g_assert_cmpint(fake_take(c, b), ==, -1);
    g_assert_true(fake_wrmsr(c, b, APICBASE, LAPIC_BASE | BASE_EN));
    g_assert_cmphex(rd(b, "l1", ID), ==, 1 << 24);
    g_assert_cmphex(rd(b, "l1", SVR), ==, 0xff);
}

static void the_cpu_is_kicked_once(Bench *b)
{
    Two t;
    make(b, &t);
    redirect(b, 0, 0x41, 0);
    redirect(b, 1, 0x42, 0);
    bool cycles = b->cycles;
    b->cycles = false;                                      /* a cycle takes the request away and brings it back */
    t.cpu[0].kicks = 0;
    bench_drive(b, "io.in", 0, true);
    bench_drive(b, "io.in", 1, true);
    g_assert_cmpuint(t.cpu[0].kicks, ==, 1);
    b->cycles = cycles;
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x42);
    g_assert_cmpuint(t.cpu[1].kicks, ==, 0);
}

/* The window of all: the memory map shows one APIC there, each CPU sees its own. */
static void every_cpu_sees_its_own(Bench *b)
{
    static const char *const name[] = { "l0", "l1" };
    Two t;
    make(b, &t);
    for (unsigned i = 0; i < 2; i++)
        device_map(machine_find(b->m, name[i]), 0, b->m->mem, LAPIC_BASE, i);
    wr(b, "l0", TPR, 0x10);
    wr(b, "l1", TPR, 0x20);
    for (unsigned i = 0; i < 2; i++) {
        port_current = &t.cpu[i].port;
        g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + ID, 4), ==, i << 24);
        g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + TPR, 4), ==, 0x10 * (i + 1));
        bench_store(b, b->m->mem, LAPIC_BASE + TPR, 4, 0x30 * (i + 1));
        bench_store(b, b->m->mem, LAPIC_BASE + ICR, 4, 0x40000 | (0x71 + i));           /* to itself */
        bench_store(b, b->m->mem, LAPIC_BASE + ICR, 4, 0x40000 | (0x81 + i));
    }
    port_current = NULL;
    g_assert_cmphex(rd(b, "l0", TPR), ==, 0x30);
    g_assert_cmphex(rd(b, "l1", TPR), ==, 0x60);
    for (unsigned i = 0; i < 2; i++)
        g_assert_cmphex(fake_take(&t.cpu[i], b), ==, 0x81 + i);
    port_current = &t.cpu[1].port;
    bench_store(b, b->m->mem, LAPIC_BASE + EOI, 4, 0);
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x72);
    port_current = NULL;
    g_assert_cmphex(rd(b, "l0", PPR), ==, 0x80);
    /* In x2APIC mode it has no window; the other's is not its business.  Elsewhere neither. */
    port_current = &t.cpu[1].port;
    g_assert_true(fake_wrmsr(&t.cpu[1], b, APICBASE, LAPIC_BASE | BASE_EN | BASE_X2));
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + TPR, 4), ==, UINT32_MAX);
    bench_store(b, b->m->mem, LAPIC_BASE + TPR, 4, 0);
    port_current = &t.cpu[0].port;
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + TPR, 4), ==, 0x30);
    g_assert_true(fake_wrmsr(&t.cpu[1], b, APICBASE, LAPIC_BASE));
    g_assert_true(fake_wrmsr(&t.cpu[1], b, APICBASE, LAPIC_BASE | BASE_EN));
    g_assert_true(fake_wrmsr(&t.cpu[0], b, APICBASE, (LAPIC_BASE + 0x2000) | BASE_EN));
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + TPR, 4), ==, UINT32_MAX);
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + 0x2000 + TPR, 4), ==, 0x30);
    port_current = &t.cpu[1].port;
    g_assert_cmphex(bench_load(b, b->m->mem, LAPIC_BASE + ID, 4), ==, 1 << 24);
    port_current = NULL;
}

static void init_forgets_an_earlier_start_up(Bench *b)
{
    Two t;
    make(b, &t);
    wr(b, "l0", ICR2, 1 << 24);
    wr(b, "l0", ICR, 0x4600 | 0x9a);
    g_assert_cmphex(t.cpu[1].port.pending, ==, PORT_SIPI);
    wr(b, "l0", ICR, 0x4500);
    g_assert_cmphex(t.cpu[1].port.pending, ==, PORT_INIT);
    wr(b, "l0", ICR, 0x4600 | 0x9b);
    g_assert_cmphex(t.cpu[1].port.pending, ==, PORT_INIT | PORT_SIPI);
    g_assert_cmphex(t.cpu[1].port.sipi_vector, ==, 0x9b);
}

/* An interrupt behind a file descriptor, with nobody but the loop to take it. */
static void a_message_by_descriptor(Bench *b)
{
    Two t;
    make(b, &t);
    MsiFd *f = msifd_new(b->m, NULL);
    msifd_set(f, 0xfee01000, 0x4055);
    eventfd_write(msifd_fd(f), 1);
    loop_run_once(b->m->loop, false);
    g_assert_cmpint(fake_take(&t.cpu[1], b), ==, -1);           /* masked */
    msifd_mask(f, false);
    while (loop_run_once(b->m->loop, false))
        continue;
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x55);
    wr(b, "l1", EOI, 0);
    msifd_set(f, 0xfee01000, 0x4066);
    eventfd_write(msifd_fd(f), 1);
    while (loop_run_once(b->m->loop, false))
        continue;
    g_assert_cmphex(fake_take(&t.cpu[1], b), ==, 0x66);
    msifd_free(f);
}

/* --- lent to an accelerator */

typedef struct FakeHost { unsigned inputs, messages; uint64_t addr; uint32_t data; unsigned pin; bool level; ChipKind kind; } FakeHost;

static void host_input(void *self, Chip *c, unsigned pin, bool level)
{
    FakeHost *h = self;
    h->inputs++;
    h->kind = c->kind;
    h->pin = pin;
    h->level = level;
}

static void host_message(void *self, uint64_t addr, uint32_t data)
{
    FakeHost *h = self;
    h->messages++;
    h->addr = addr;
    h->data = data;
}

static const ChipHost fake_host = { host_input, host_message };

static Chip *chip_of(Bench *b, const char *id)
{
    Device *d = machine_find(b->m, id);
    return (Chip *)((char *)d + d->type->chip);
}

/* What is lent and taken back unchanged is as it was; in between pins and messages go to the host, and accesses nowhere. */
static void lent_and_taken_back(Bench *b)
{
    static const char *const ids[] = { "l0", "l1", "io", "pic", "pit" };
    Two t;
    FakeHost h = { 0 };
    ChipRegs regs[5];
    make(b, &t);
    bench_add(b, "i8259,id=pic");
    bench_add(b, "i8254,id=pit");
    bench_write_at(b, "pic", 0, 1, 0x11);
    bench_write_at(b, "pic", 1, 1, 0x20);
    bench_write_at(b, "pic", 1, 1, 0x04);
    bench_write_at(b, "pic", 1, 1, 0x01);
    bench_write_at(b, "pic", 1, 1, 0xfa);
    bench_write_at(b, "pit", 3, 1, 0x34);
    bench_write_at(b, "pit", 0, 1, 0x00);
    bench_write_at(b, "pit", 0, 1, 0x10);
    redirect(b, 4, 0x34, 1);
    redirect(b, 9, 0xa041, 0);
    wr(b, "l0", LVT_TIMER, PERIODIC | 0x33);
    wr(b, "l0", ICT, 1000000);
    wr(b, "l1", TPR, 0x20);
    bench_drive(b, "io.in", 9, true);
    bench_drive(b, "pic.ir", 1, true);
    bench_step_ns(b, 300000);
    GByteArray *before = machine_save(b->m);
    for (unsigned i = 0; i < 5; i++) {
        Chip *c = chip_of(b, ids[i]);
        c->host = &fake_host;
        c->host_self = &h;
        c->ops->lend(c->self, &regs[i]);
    }
    bench_drive(b, "io.in", 4, true);
    g_assert_cmpuint(h.inputs, ==, 1);
    g_assert_true(h.kind == CHIP_IOAPIC && h.pin == 4 && h.level);
    bench_drive(b, "io.in", 4, false);
    bench_drive(b, "pic.ir", 7, true);
    g_assert_true(h.kind == CHIP_PIC && h.pin == 7 && h.level);
    bench_drive(b, "pic.ir", 7, false);
    machine_send_msi(b->m, 0xfee01004, 0x4155);
    g_assert_cmpuint(h.messages, ==, 1);
    g_assert_cmphex(h.addr, ==, 0xfee0100c);                    /* lowest priority: the redirection hint too */
    g_assert_cmphex(h.data, ==, 0x4155);
    g_assert_cmphex(rd(b, "l0", ID), ==, 0xffffffff);
    wr(b, "l0", TPR, 0xf0);
    bench_write_at(b, "pic", 1, 1, 0xff);
    bench_write_at(b, "pit", 3, 1, 0x30);
    wr(b, "io", 0, 0x12);
    g_assert_cmpuint(t.cpu[0].port.pending & PORT_INTR, ==, 0);
    for (unsigned i = 0; i < 5; i++) {
        Chip *c = chip_of(b, ids[i]);
        c->ops->take(c->self, &regs[i]);
    }
    GByteArray *after = machine_save(b->m);
    g_assert_cmpmem(after->data, after->len, before->data, before->len);
    g_byte_array_free(before, TRUE);
    g_byte_array_free(after, TRUE);
    g_assert_cmphex(fake_take(&t.cpu[0], b), ==, 0x41);
}

static const BenchCase cases[] = {
    { "after reset", NULL, after_reset },
    { "an edge from the IOAPIC", NULL, an_edge_from_the_io_apic },
    { "a masked edge is lost", NULL, a_masked_edge_is_lost },
    { "a level comes again until it goes", NULL, a_level_comes_again_until_it_goes },
    { "the IOAPIC's own EOI register", NULL, the_io_apics_own_eoi_register },
    { "IOAPIC registers", NULL, io_apic_registers },
    { "priorities", NULL, priorities },
    { "logical destinations", NULL, logical_destinations },
    { "interprocessor interrupts", NULL, interprocessor_interrupts },
    { "errors", NULL, errors },
    { "the timer", NULL, the_timer },
    { "a short period does not flood", NULL, a_short_period_does_not_flood },
    { "the TSC deadline", NULL, the_tsc_deadline },
    { "local pins", NULL, local_pins },
    { "external interrupts", NULL, external_interrupts },
    { "an external interrupt from nobody", NULL, an_external_interrupt_from_nobody },
    { "message-signalled interrupts", NULL, message_signalled_interrupts },
    { "x2APIC", NULL, x2apic },
    { "every CPU sees its own", NULL, every_cpu_sees_its_own },
    { "INIT forgets an earlier start-up", NULL, init_forgets_an_earlier_start_up },
    { "the CPU is kicked once", NULL, the_cpu_is_kicked_once },
    { "a message by a descriptor", NULL, a_message_by_descriptor },
    { "lent and taken back", NULL, lent_and_taken_back },
    { 0 }
};

int main(int argc, char **argv) { return bench_main(argc, argv, "apic", cases); }
