/* SPDX-License-Identifier: GPL-2.0-or-later
 * What generated code knows of a vCPU: the head of every CPU struct, a software-TLB entry and the block look-up
 * cache.  One pinned host register holds &cpu->hot[16] (CPU_BIAS), so that the 32 hottest words are reached with an
 * 8-bit displacement; another holds the current TlbContext. */
#ifndef RHEA_TCG_LAYOUT_H
#define RHEA_TCG_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE_BITS = 12, PAGE_SIZE = 1 << PAGE_BITS };
#define PAGE_MASK (~(uint64_t)(PAGE_SIZE - 1))

enum { TLB_BITS = 14, TLB_SIZE = 1 << TLB_BITS, JUMP_BITS = 16, JUMP_SIZE = 1 << JUMP_BITS };

/* read/write: the page's address when a plain access may go straight to host memory at va + addend.  Any low bit set
 * makes every inline compare fail: TLB_SLOW for I/O, ROM writes, pages with code, watchpoints; TLB_EMPTY for none.
 * The inline compare is
 *     ((va + size - 1) & PAGE_MASK) == entry[tlb_index(va)].read
 * which also fails for an access that crosses its page; accesses that must be aligned (MO_ALIGN) compare
 * va & (PAGE_MASK | (size - 1)) instead. */
typedef struct TlbEntry {
    uint64_t read, write;
    uint64_t addend;            /* host address - guest virtual address; meaningful when read or write matches */
    uint64_t pa;                /* physical page, with TLBE_* below; for C only */
} TlbEntry;

#define TLB_EMPTY (~(uint64_t)0)
enum {
    TLB_SLOW    = 0x800,        /* in read/write: right page and permission, but take the slow path; none of the bits that
                                 * a misaligned MO_ALIGN access leaves in its compare */
    TLBE_GLOBAL = 1,            /* in pa: survives a flush that keeps globals */
    TLBE_LARGE  = 2,            /* in pa: part of a larger page: a flush of any page in it drops it */
};

/* Neighbouring pages have neighbouring entries, of which two share a cache line: what the table costs in caches goes by
 * the pages in use, not by its size, so it is large, and arrays that lie a power of two apart seldom meet in it. */
static inline unsigned tlb_index(uint64_t va) { return va >> PAGE_BITS & (TLB_SIZE - 1); }

/* New tables are zero, which is page 0: only the first entry could be taken for it, and the last one by an access that
 * wraps.  These two are set to TLB_EMPTY; the others can do without, and cost no memory until they are filled. */
static inline bool tlb_needs_empty(unsigned index) { return index == 0 || index == TLB_SIZE - 1; }

/* The block look-up cache: direct mapped by pc, see jump_index().  tag is pc ^ mode_tag. */
typedef struct JumpEntry {
    uint64_t    tag;            /* jump_empty(index): none */
    const void *code;           /* entry of the compiled block */
} JumpEntry;

/* An empty entry holds a tag that belongs to another index, so that it can never match: zero but for entry 0. */
static inline uint64_t jump_empty(unsigned index) { return !index; }

/* Functions start at multiples of 16, so the place in the page alone would crowd a sixteenth of the entries. */
static inline unsigned jump_index(uint64_t pc) { return (pc ^ pc >> JUMP_BITS) & (JUMP_SIZE - 1); }

/* One per address-space id and view (privilege and the like).  Owned by accel/tcg; private to one vCPU. */
typedef struct TlbContext {
    TlbEntry  tlb[TLB_SIZE];
    JumpEntry jump[JUMP_SIZE];
} TlbContext;

typedef union V128 {
    uint8_t  u8[16];
    uint16_t u16[8];
    uint32_t u32[4];
    uint64_t u64[2];
    int8_t   s8[16];
    int16_t  s16[8];
    int32_t  s32[4];
    int64_t  s64[2];
    float    f32[4];
    double   f64[2];
} __attribute__((aligned(16))) V128;

typedef struct V256 { V128 v[2]; } __attribute__((aligned(32))) V256;

enum { CPU_BIAS = 128, SPILL_SLOTS = 256 };

/* The head of every target's CPU struct.  Everything a block touches without a helper is here or is a slot. */
typedef struct CpuState {
    uint64_t    hot[32];        /* the target's hottest slots; hot[16] is always the program counter (PC slot) */

    int32_t     countdown;      /* decremented by the block's instruction count at block heads; negative: leave */
    uint32_t    fp_control;     /* host MXCSR that generated code runs under: guest rounding, all masked */
    uint32_t    fp_host;        /* host MXCSR of C code */
    uint32_t    returns_stale;  /* the return stack is to be emptied after this helper: mappings have changed */
    uint64_t    mode_tag;       /* (uint64_t)mode_key << 48, see jump_tag() */
    TlbContext *ctx;            /* current one; the pinned register is reloaded from here after mode changes */
    uint64_t    insns;          /* guest instructions retired up to the last refill of countdown */
    uint64_t    helper_ret;     /* value of a helper that also returns a status */
    uint64_t    scratch[4];     /* for the emitter's thunks */
    uint64_t    host_sp;        /* of what has entered generated code */
    uint64_t    returns;        /* the host's stack pointer when the return stack is empty */
    void       *vcpu;           /* the accelerator's; NULL until the CPU has been given to it */

    uint64_t    dump_gpr[16];   /* registers at a faulting operation, by host register number, for snapshots */
    V256        dump_vec[16];   /* the lower half of each, if the host has no more */
    V128        spill[SPILL_SLOTS];
} CpuState;

enum { PC_OFFSET = 16 * 8 };

/* Canonical pcs have 16 equal top bits, so 16 mode bits can be folded in without loss. */
static inline uint64_t jump_tag(uint64_t pc, uint64_t mode_tag) { return pc ^ mode_tag; }

#endif
