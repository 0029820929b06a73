/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the two halves of the hostile guest share: where things are, what a case is, random numbers. */
#ifndef RHEA_TESTS_FUZZ_GUEST_BYTES_H
#define RHEA_TESTS_FUZZ_GUEST_BYTES_H

#include "target/x86/decode.h"
#include "tests/fuzz/rng.h"

/* Physical and, but for noise in the page tables, linear addresses. */
enum {
    RAM_LEN = 0x40000, ROM_AT = 0x40000, IO_AT = 0x50000, ALIAS_AT = 0x60000,
    PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, PD32 = 0x5000, PT32 = 0x6000, PAE = 0x7000,
    GDT = 0x8000, IDT = 0x9000, TSS = 0xa000, LDT = 0xb000, IVT = 0xc000, TSS2 = 0xd000, TSS16 = 0xe000, SYSCALL_AT = 0xf000,
    HANDLERS = 0x10000, HANDLER_LEN = 32, CODE = 0x20000, DATA = 0x28000, DATA_LEN = 0x4000, STACK = 0x30000,
    STACK_TOP = 0x38000, STACK0 = 0x3c000,
    MAX_CHUNKS = 24, CHUNK_LEN = 96, MAX_EVENTS = 96, MAX_VISITS = 20000, MAX_BLOCK = 128,
};
enum {                          /* selectors */
    S_CODE64 = 0x08, S_DATA = 0x10, S_CODE32 = 0x18, S_CODE16 = 0x20, S_DATA16 = 0x28, S_UCODE64 = 0x33, S_UDATA = 0x3b,
    S_UCODE32 = 0x43, S_UCODE16 = 0x4b, S_UDATA16 = 0x53, S_DOWN = 0x5b, S_TSS = 0x60, S_LDT = 0x70, S_GATE = 0x83,
    S_CONFORMING = 0x90, S_ABSENT = 0x98, S_TSS2 = 0xa3, S_TSS16 = 0xab, S_TGATE = 0xb3,
    S_RANDOM = 0xb8, GDT_LEN = 0x100,
};

typedef enum Kind { K_LONG, K_COMPAT32, K_COMPAT16, K_PROT32, K_PROT16, K_REAL, K_VM86, N_KINDS } Kind;
typedef struct Chunk { uint8_t b[CHUNK_LEN]; unsigned len; int dec; } Chunk;

typedef struct Case {
    Kind     kind;
    unsigned cpl, n, limit;
    bool     paging, pae, high;
    bool     quiet;                     /* no interrupts, whose time hangs on where blocks begin: all rigs take part */
    uint64_t code_off;                  /* in the code area */
    uint64_t cr0, cr4, efer, flags, gpr[16];
    uint32_t mxcsr;
    uint16_t fcw;
    Chunk    chunk[MAX_CHUNKS];
    uint8_t  image[RAM_LEN];
} Case;

static inline bool is16(const Case *c) { return c->kind == K_COMPAT16 || c->kind == K_PROT16 || c->kind >= K_REAL; }
static inline bool is_long(const Case *c) { return c->kind <= K_COMPAT16; }

/* The tables' rows; sys: numbers of those that are system instructions. */
typedef struct GuestRows { const X86Dec *dec; unsigned n_dec, *sys, n_sys; } GuestRows;

/* guest_bytes_gen.c */
void make_case(const GuestRows *rows, Rng *r, Case *c);
void put_row(Case *c, Rng *r, Chunk *k, const X86Dec *d);       /* appends an instruction of that row */
void lay_out(Case *c);                                          /* puts the chunks into the image; after changes of them */

#endif
