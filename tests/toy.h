/* SPDX-License-Identifier: GPL-2.0-or-later
 * A made-up architecture for tests of the accelerator: eight registers, a few instructions of 1 to 6 bytes, a
 * one-level page table with address-space ids, global and large pages, exceptions, one interrupt; and a bench that
 * holds memory, a device and the accelerator. */
#ifndef RHEA_TESTS_TOY_H
#define RHEA_TESTS_TOY_H

#include "accel/accel.h"
#include "util/qsr.h"

enum { TOY_R0, TOY_R7 = 7, TOY_PC, TOY_Q0, TOY_SYS, TOY_N_SLOTS };

/* Page-table entries: 8 bytes per 4 KiB page from ptbase; the upper bits are the physical page. */
enum { PTE_V = 1, PTE_W = 2, PTE_X = 4, PTE_G = 8, PTE_L = 16 /* the 2 MiB around it are alike: one mapping */,
       PTE_U = 32 /* also in view 1 */ };

enum { TOY_MAP_PAGES = 4096, TOY_RAM = 32 << 20, TOY_IO = 0x40000000, TOY_ROM = 0x50000000, TOY_VIEW = 8 /* bit of the mode */ };

enum {          /* exception vectors; r6 = number | va << 8 for faults, r7 = pc of the instruction */
    TOY_EXC_FAULT = 1, TOY_EXC_UNDEF = 6, TOY_EXC_ALIGN = 7, TOY_IRQ = 15,
};

typedef struct ToyCpu {
    CpuState s;
    V128     q0;
    uint64_t ptbase, n_pages;           /* paging is on when n_pages is not 0 */
    uint32_t asid;
    unsigned view;
    uint64_t vector;                    /* where exceptions go; 0: triple fault */
    bool     irq_on, halted, exc;
    uint64_t exc_word;
    uint64_t n_exc, n_irq, n_walks, n_inputs, printed[64];
    unsigned n_printed;
    CpuPort  port;
} ToyCpu;

/* Helper codes of SYS. */
enum { SYS_DONE, SYS_FLUSH_ALL, SYS_FLUSH_ASID /* r0; keeps globals */, SYS_FLUSH_PAGE /* r0, r1: asid */,
       SYS_ASID /* r0 */, SYS_VIEW /* r0 */, SYS_PTBASE /* r0, r1 pages */, SYS_VECTOR /* r0 */, SYS_PRINT /* r0 */,
       SYS_IRQ_ON, SYS_IRQ_OFF, SYS_WAIT /* halts with interrupts on */, SYS_TIME /* to r0 */, SYS_RANDOM /* to r0 */, SYS_PROBE /* r0: 100 bytes for writing */,
       SYS_PUT /* r1 to r0, through the hook */, SYS_INPUT /* the same, counted: as what cannot be undone */, SYS_GET /* from r0 to r1 */ };

typedef struct Toy {
    Accel    *accel;
    Vcpu     *vcpu;
    ToyCpu   *cpu;
    RamMap   *ram_map;
    Space    *mem, *io;
    Region    ram, dev, rom;
    uint8_t  *bytes;                    /* RAM */
    Clock    *clock;
    LockDomain domain;
    uint64_t  dev_reads, dev_writes, dev_last;
    _Atomic bool done, dead;
    pthread_mutex_t lock;
    pthread_cond_t  changed;
    uint64_t  at;                       /* assembler: where the next byte goes */
} Toy;

/* Ready, paused, pc 0. */
Toy  *toy_new(const char *spec);
void  toy_free(Toy *t);
/* Runs until SYS_DONE or a triple fault, then pauses. */
void  toy_run(Toy *t);
/* Resumes and returns at once; waits. */
void  toy_start(Toy *t);
void  toy_wait(Toy *t);
uint64_t toy_reg(const Toy *t, unsigned r);
/* An identity map of n pages at table. */
void  toy_map(Toy *t, uint64_t table, uint64_t n, unsigned flags);
void  toy_pte(Toy *t, uint64_t table, uint64_t va, uint64_t pa, unsigned flags);

/* Assembler, at t->at. */
void  a_halt(Toy *t);
void  a_li(Toy *t, unsigned r, int32_t v);
void  a_add(Toy *t, unsigned d, unsigned s);
void  a_addi(Toy *t, unsigned d, int8_t v);
void  a_ld(Toy *t, unsigned d, unsigned a);             /* 64 bits */
void  a_st(Toy *t, unsigned a, unsigned s);
void  a_stb(Toy *t, unsigned a, unsigned s);
void  a_rmw(Toy *t, unsigned a, unsigned s);            /* [a] += s */
void  a_atomic(Toy *t, unsigned a, unsigned s);         /* the same, and s = old */
void  a_ldq(Toy *t, unsigned a);                        /* q0, aligned */
void  a_stq(Toy *t, unsigned a);
void  a_ldv(Toy *t, unsigned d, unsigned a);            /* 64 bits by view 1 */
void  a_jnz(Toy *t, unsigned r, uint64_t to);
void  a_jmp(Toy *t, uint64_t to);
void  a_jr(Toy *t, unsigned r);
void  a_call(Toy *t, uint64_t to);                      /* r5: the address of what follows */
void  a_ret(Toy *t, unsigned r);                        /* a jump to it that is said to be a return */
void  a_sys(Toy *t, unsigned code);
void  a_done(Toy *t);                                   /* ends toy_run() */
void  a_repeat(Toy *t, unsigned r, uint64_t loop);      /* while --r */
void  a_visit(Toy *t, uint64_t to);                     /* a jump that comes back by a_jr(t, 7) */
void  a_paging(Toy *t, uint64_t table);                 /* on, with TOY_MAP_PAGES entries; r0 and r1 are used */
void  a_bad(Toy *t);

/* Runs a test under each way of running: "/accel/NAME/SPEC". */
void  toy_test(const char *name, void (*fn)(const char *spec));

extern const Target toy_target;

#endif
