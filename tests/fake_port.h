/* SPDX-License-Identifier: GPL-2.0-or-later
 * A CPU as its interrupt controller sees it: takes interrupts when told to, and counts kicks. */
#ifndef TESTS_FAKE_PORT_H
#define TESTS_FAKE_PORT_H

#include "target/port.h"
#include "tests/bench.h"

typedef struct FakeCpu {
    CpuPort  port;
    unsigned kicks;
} FakeCpu;

/* Attaches to a local APIC; the TSC counts nanoseconds from `tsc_offset` on. */
enum { FAKE_TSC_OFFSET = 1000 };
void fake_cpu(FakeCpu *c, Bench *b, const char *lapic);
/* INTR is up: the vector that it takes, or -1. */
int  fake_take(FakeCpu *c, Bench *b);
/* Was the edge there?  It is taken. */
bool fake_edge(FakeCpu *c, uint32_t bit);
bool fake_wrmsr(FakeCpu *c, Bench *b, uint32_t msr, uint64_t v);
bool fake_rdmsr(FakeCpu *c, Bench *b, uint32_t msr, uint64_t *v);

#endif
