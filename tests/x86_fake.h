/* SPDX-License-Identifier: GPL-2.0-or-later
 * An x86 CPU on flat memory with no TLB: every access walks.  Counts what it is told to flush. */
#ifndef RHEA_TESTS_X86_FAKE_H
#define RHEA_TESTS_X86_FAKE_H

#include "target/x86/sys.h"

enum { FAKE_RAM = 1 << 24 };

/* Where the fixture of fake_long() and fake_protected() has its tables. */
enum {
    F_PML4 = 0x1000,
    F_PDPT = 0x2000,
    F_PD = 0x3000,
    F_PT = 0x4000,
    F_GDT = 0x8000,
    F_IDT = 0x9000,
    F_TSS = 0xa000,
    F_LDT = 0xb000,
    F_CODE = 0x10000,
    F_STACK = 0x20000,
    F_RSP0 = 0x30000,
    F_IST1 = 0x38000,
    F_HANDLER = 0x40000,
};
/* Selectors of its GDT. */
enum {
    S_KCS = 0x10,
    S_KDS = 0x18,
    S_UCS32 = 0x20 | 3,
    S_UDS = 0x28 | 3,
    S_UCS = 0x30 | 3,
    S_KCS32 = 0x38,
    S_TSS = 0x40,
    S_LDT = 0x50,
    S_CONF = 0x60,
    S_NP = 0x68,
    S_RO = 0x70,
    S_XO = 0x78,
    S_GATE = 0x80,
    S_DATA16 = 0x90,
    S_CS16 = 0x98,
    GDT_LIMIT = 0x9f,
};

typedef struct Fake {
    X86Cpu  *c;
    uint8_t *ram;
    uint64_t now;
    uint32_t asid;
    uint8_t  views[3];          /* CpuState.ctx points to the view's: fake_view() */
    unsigned selects, flushes, page_flushes, attentions, after, triple, phys_loads;
    int32_t  flush_asid;
    bool     flush_globals, no_host, racing, smm;
    uint64_t flush_va;
    int      vector;            /* of the next acknowledge */
    uint16_t port;
    uint64_t port_value, x2apic, cr8, apic_base, exit;
} Fake;

Fake *fake_new(const char *model);
void  fake_free(Fake *f);
/* 64-bit mode, 2 MiB pages: linear = physical for 16 MiB, user accessible from 8 MiB on; GDT, IDT, TSS set
 * up. */
void  fake_long(Fake *f);
/* 32-bit protected mode, paging off, same tables in their 32-bit forms. */
void  fake_protected(Fake *f);
/* Puts the CPU to privilege 3 (64-bit or 32-bit code as the mode is), stack at sp. */
void  fake_user(Fake *f, uint64_t pc, uint64_t sp);

static inline unsigned fake_view(const Fake *f) { return f->c->s.ctx ? (const uint8_t *)f->c->s.ctx - f->views : 0; }

static inline void fake_put64(Fake *f, uint64_t at, uint64_t v) { memcpy(f->ram + at, &v, 8); }
static inline void fake_put32(Fake *f, uint64_t at, uint32_t v) { memcpy(f->ram + at, &v, 4); }
static inline uint64_t fake_get64(Fake *f, uint64_t at) { uint64_t v; memcpy(&v, f->ram + at, 8); return v; }
static inline uint32_t fake_get32(Fake *f, uint64_t at) { uint32_t v; memcpy(&v, f->ram + at, 4); return v; }
void fake_gate(Fake *f, unsigned vector, uint16_t sel, uint64_t off, unsigned type, unsigned dpl,
               unsigned ist);
void  fake_desc(Fake *f, uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr);

/* Runs one instruction at the pc (identity mapped), translated and interpreted: vector of the exception
 * that is then recorded, or -1; f->exit is the region's exit. */
int   fake_step(Fake *f);
/* The same with a block of up to max_insns. */
int   fake_run(Fake *f, unsigned max_insns);

#endif
