/* SPDX-License-Identifier: GPL-2.0-or-later
 * A CPU as its interrupt controller sees it. */
#include "tests/fake_port.h"

#include "hw/intc/lapic.h"
#include "util/bits.h"

static void kick(CpuPort *port) { CONTAINER_OF(port, FakeCpu, port)->kicks++; }
static uint64_t tsc_at(CpuPort *port, uint64_t now_ns) { return now_ns + FAKE_TSC_OFFSET; }
static uint64_t ns_of_tsc(CpuPort *port, uint64_t tsc) { return tsc - FAKE_TSC_OFFSET; }

void fake_cpu(FakeCpu *c, Bench *b, const char *lapic)
{
    *c = (FakeCpu){ .port = { .kick = kick, .tsc_hz = NS_PER_S, .tsc_at = tsc_at, .ns_of_tsc = ns_of_tsc } };
    lapic_attach(machine_find(b->m, lapic), &c->port);
}

static void between(Bench *b)
{
    if (b->cycles)
        bench_cycle(b);
}

int fake_take(FakeCpu *c, Bench *b)
{
    between(b);
    return c->port.pending & PORT_INTR ? c->port.intc->acknowledge(c->port.intc_self) : -1;
}

bool fake_edge(FakeCpu *c, uint32_t bit)
{
    bool there = c->port.pending & bit;
    port_clear(&c->port, bit);
    return there;
}

bool fake_wrmsr(FakeCpu *c, Bench *b, uint32_t msr, uint64_t v)
{
    between(b);
    return c->port.intc->msr_write(c->port.intc_self, msr, v);
}

bool fake_rdmsr(FakeCpu *c, Bench *b, uint32_t msr, uint64_t *v)
{
    between(b);
    return c->port.intc->msr_read(c->port.intc_self, msr, v);
}
