/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the parts of the x86 instruction fuzzer share: places, states, instructions, random numbers. */
#ifndef RHEA_TESTS_FUZZ_INSN_X86_H
#define RHEA_TESTS_FUZZ_INSN_X86_H

#include "target/x86/decode.h"
#include "tests/fuzz/rng.h"

enum {
    SANDBOX = 0x20000000, SANDBOX_LEN = 4 * PAGE_SIZE, READ_ONLY_LEN = PAGE_SIZE /* behind it */,
    CODE = 0x20100000, CODE_LEN = 2 * PAGE_SIZE,
    EXIT_AT = PAGE_SIZE + 2048,                             /* 64-bit code at CODE + EXIT_AT: where sequences jump to when they end */
    USER_CS32 = 0x23, USER_CS64 = 0x33, USER_DATA = 0x2b,         /* Linux's */
    MAX_INSNS = 8, MAX_BLOCKS = 200, FUZZ_FLAGS = FL_ARITH | FL_DF,
};

/* FXSAVE image (APM vol. 2 figure 11-8). */
typedef struct Fx {
    uint16_t fcw, fsw;
    uint8_t  ftw, pad;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    struct { uint64_t mant; uint16_t exp, pad[3]; } st[8];
    V128     xmm[16];
    uint8_t  rest[96];
} __attribute__((aligned(16))) Fx;
_Static_assert(sizeof(Fx) == 512, "FXSAVE image");

typedef struct State {
    bool     code32;            /* compatibility mode */
    uint8_t  limits;            /* 32-bit: which of the segments of fuzz_limits DS, ES and SS are; 0: flat */
    uint64_t gpr[16], flags, pc;
    int      vector;            /* -1: ran to the end */
    Fx       fx;
    V128     ymmh[16];
    uint8_t  mem[SANDBOX_LEN];
} State;

typedef struct FlagUse { uint32_t reads, sets, undef; } FlagUse;

typedef struct Insn {
    const X86Dec *d;
    bool     code32;
    uint32_t base;
    unsigned dec_index;
    uint8_t  b[32];
    unsigned len;
    unsigned disp_at, rip_at;   /* place of a branch's displacement, of a RIP-relative one; 0: none */
    FlagUse  use;
} Insn;

typedef struct Case {
    Insn     insn[MAX_INSNS];
    unsigned n, start, off[MAX_INSNS + 1];      /* start: of the first instruction; off: of all, from CODE */
    uint32_t unknown[MAX_INSNS + 1];            /* flags undefined before instruction i */
    State    in;
} Case;

/* String instructions that move or compare memory. */
static inline bool is_string(const X86Dec *d)
{
    return d->map == 0 && d->opcode >= 0xa4 && d->opcode <= 0xaf && (d->opcode & 0xfe) != 0xa8;
}

/* insn_x86_gen.c */
/* Rows that leave user code, or whose effect depends on more than the sandbox: why, and where they are tested.  NULL: the row
 * must be hit. */
const char *fuzz_excluded(const X86Dec *d);
/* Data segments whose base is the sandbox: limits in bytes, some expanding down. */
typedef struct FuzzLimit { uint32_t limit; bool down; } FuzzLimit;
enum { N_LIMITS = 8 };
extern const FuzzLimit fuzz_limits[N_LIMITS];
/* base: of the segments that its operands are in. */
void fuzz_generate(Rng *r, Insn *i, const X86Dec *d, bool code32, uint32_t base);
void fuzz_random_state(Rng *r, State *s, bool code32);
bool fuzz_has_op(const X86Dec *d, X86OpKind k);

#endif
