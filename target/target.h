/* SPDX-License-Identifier: GPL-2.0-or-later
 * What an architecture gives to the tcg accelerator (Target), and what the accelerator gives to it (CpuHooks). */
#ifndef RHEA_TARGET_TARGET_H
#define RHEA_TARGET_TARGET_H

#include "tcg/ir.h"
#include "memory/space.h"

typedef enum MmuAccess { ACC_READ, ACC_WRITE, ACC_EXEC } MmuAccess;

/* One translated page, as the TLB wants it. */
typedef struct MmuResult {
    uint64_t pa;                /* of va itself */
    uint64_t page_len;          /* of the mapping: 4 KiB, 2 MiB, 1 GiB */
    bool     readable, writable /* now, dirty bit set */, executable, global;
} MmuResult;

/* Filled by whoever asks for a translation; the translator reads guest code through it. */
typedef struct TransReq {
    CpuState      *cpu;
    uint64_t       pc;          /* value of the pc slot at entry */
    uint32_t       mode;        /* Target.mode_key() */
    unsigned       max_insns;   /* 1: single instruction, precise replay of a store into the running region */
    /* Code bytes from pc on; never past first_len except through trans_more(). */
    const uint8_t *code;
    unsigned       first_len;   /* bytes left in the page of pc */
    uint8_t        buf[32];     /* page-straddling first instruction */
    const uint64_t *checks;     /* bit per page offset of code_va(): TargetDebug.at_insn() is to be asked before an
                                 * instruction that starts there; NULL: nowhere */
    bool           fault;       /* set by the translator: an exception is recorded instead, the block is not to be run */
    bool         (*more)(struct TransReq *req);   /* maps the next page (fetch fault: false, exception recorded) and
                                                   * makes code point to a buffer of first_len + up to 16 bytes (buf) */
} TransReq;

typedef struct Target {
    const char      *name;
    const SlotTable *slots;
    size_t           cpu_size;
    int              cs_arch;                                   /* capstone, or -1 */
    int            (*cs_mode)(const CpuState *cpu, uint32_t mode);

    /* 16 bits: all that translation depends on besides the bytes. */
    uint32_t (*mode_key)(const CpuState *cpu);
    /* Where code is fetched from when the pc slot holds pc (x86: linear address). */
    uint64_t (*code_va)(const CpuState *cpu, uint64_t pc);
    /* Builds one block at req->pc; never fails: undecodable bytes become an exception. Ends within the page of pc
     * but for an instruction that straddles as the block's first. */
    void     (*translate)(Ir *ir, TransReq *req);
    /* Walks the page tables for one access in the given view.  False: exception recorded in the CPU.  Slow paths call
     * it while guest vectors are live in host registers: it and what it calls, recording the exception included, are
     * compiled without FP (hot-y) and call no library function. */
    bool     (*mmu)(CpuState *cpu, uint64_t va, MmuAccess acc, unsigned view, MmuResult *out);
    /* An access with MO_ALIGN is misaligned: records the exception and returns false, or allows it. */
    bool     (*misaligned)(CpuState *cpu, uint64_t va, unsigned memop);
    /* A physical access hit nothing.  x86: all ones / dropped; others may fault. */
    bool     (*unassigned)(CpuState *cpu, uint64_t pa, MmuAccess acc);
    /* Records exception vector with error, for EXITR_RAISE. */
    void     (*raise)(CpuState *cpu, unsigned vector, uint32_t error);
    /* Between blocks: delivers the recorded exception if any, then takes a pending interrupt that is allowed now.
     * False: the CPU is halted and nothing wakes it. */
    bool     (*service)(CpuState *cpu);
    /* Reasons from EXITR_TARGET on. */
    void     (*leave)(CpuState *cpu, uint64_t reason);
    void     (*dump)(const CpuState *cpu, GString *out);        /* registers, as `info registers` prints them */
    const struct TargetDebug *debug;                            /* target/debug.h; NULL: nothing for debuggers */
} Target;

/* What target code may ask of the accelerator; reached from its CPU struct.  All on the vCPU's own thread. */
typedef struct CpuHooks {
    /* The current address space (x86: PCID; others ASID) and view (privilege x AC ...: 0..15 target's choice).
     * Sets cpu->ctx.  Cheap when it was used lately. */
    void (*tlb_select)(CpuState *cpu, uint32_t asid, unsigned view);
    /* asid -1: all.  globals: drop global entries too. */
    void (*tlb_flush)(CpuState *cpu, int32_t asid, bool globals);
    /* The page of va (all of a large page) in asid (-1: all); globals in every address space. */
    void (*tlb_flush_page)(CpuState *cpu, int32_t asid, uint64_t va);
    /* Guest memory by virtual address in a view (-1: the current one).  False: exception recorded. Any alignment. */
    bool (*load)(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t *v);
    bool (*store)(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t v);
    /* Host address of [va, va+len) if it lies in one page of plain RAM and may be accessed so, else NULL (no fault
     * taken; try load/store).  For bulk string operations, FXSAVE and the like. Stores through it to pages with
     * code are not allowed: NULL is returned for them. */
    void *(*host)(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view);
    /* Makes sure an access of len bytes (may straddle) would succeed. False: exception recorded, or the store is refused as
     * `store` would (the instruction runs again by itself): so what cannot be undone comes after it. */
    bool (*probe)(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view);
    /* Leave at the next block head (an interrupt may be taken now). */
    void (*attention)(CpuState *cpu);
    /* From Target.service only: leave after one more instruction (an interrupt shadow ends then). */
    void (*attention_after)(CpuState *cpu);
    uint64_t (*now_ns)(CpuState *cpu);          /* the machine's virtual clock */
    uint64_t (*random64)(CpuState *cpu);        /* RDRAND and the like: the one source of entropy */
    uint64_t (*port_load)(CpuState *cpu, uint16_t port, unsigned size);
    void     (*port_store)(CpuState *cpu, uint16_t port, unsigned size, uint64_t v);
    /* Physical accesses of page walks: plain 64-bit, and compare-and-swap for A/D bits. False: not RAM. */
    bool (*phys_load)(CpuState *cpu, uint64_t pa, unsigned size, uint64_t *v);
    bool (*phys_cas)(CpuState *cpu, uint64_t pa, unsigned size, uint64_t old, uint64_t new_);
    void (*triple_fault)(CpuState *cpu);        /* or another reason to reset the machine */
    /* x86: memory is seen as AccelMachine.smm says (on), or as all CPUs see it; drops every translation.  NULL: there
     * is one view only. */
    void (*smm)(CpuState *cpu, bool on);
    /* Compares 8 or 16 bytes at va (16: aligned) in the current view with old and if equal stores new_ there, atomically
     * towards all other CPUs; old gets what was there.  The page must be writable in any case.  False: fault, with the
     * exception recorded or to be run again. */
    bool (*cas)(CpuState *cpu, uint64_t va, unsigned size, uint64_t old[2], const uint64_t new_[2]);
    /* The guest waits in a loop for another of its CPUs (PAUSE). */
    void (*relax)(CpuState *cpu);
    bool (*single_insn)(const CpuState *cpu);   /* translating or running a one-instruction block */
    /* The guest's own breakpoints are others now (TargetDebug.points).  NULL: they are not the accelerator's business. */
    void (*debug_changed)(CpuState *cpu);
    /* A debugger has a breakpoint at va, and the vCPU stops: leave.  NULL: there are none. */
    bool (*break_at)(CpuState *cpu, uint64_t va);
    /* Something is to happen right after the current instruction.  False: too late, others follow it in its block; fail
     * now without an exception, and it is run again by itself. */
    bool (*precise)(CpuState *cpu);
} CpuHooks;

#endif
