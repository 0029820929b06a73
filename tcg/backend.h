/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a back end (tcg/x86_64, tcg/interp) offers to accel/tcg: compile a region, enter it, patch its links, and
 * restore guest state at a fault from the region's snapshots. */
#ifndef RHEA_TCG_BACKEND_H
#define RHEA_TCG_BACKEND_H

#include "tcg/ir.h"

/* Slow paths, called by generated code with every host register preserved around them; compiled without FP.
 * Non-zero: leave with EXITR_FAULT.
 *   load:   value to cpu->scratch[0] (and [1] for MO_128), zero-extended
 *   store:  value in cpu->scratch[0..1]
 *   atomic: operand in scratch[0], for AT_CAS the new value in scratch[1]; old value to cpu->helper_ret
 * replay: check mode only: called in place of every helper with its arguments, the helper in cpu->scratch[0]. */
typedef struct SlowOps {
    int (*load)(CpuState *cpu, uint64_t va, uint32_t memop);
    int (*store)(CpuState *cpu, uint64_t va, uint32_t memop);
    int (*atomic)(CpuState *cpu, uint64_t va, uint32_t flags);
    uint64_t (*replay)(CpuState *cpu, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);
} SlowOps;

/* A patchable DIRECT exit.  Unlinked, its jump goes to a stub that sets the pc slot, looks the target up in the jump
 * cache as an INDIRECT exit does, and returns EXITR_LINK when it is not there: exits to other guest pages are never
 * linked and live on that look-up. */
typedef struct CodeLink {
    struct CodeBlock *owner;
    int32_t           target_off;       /* from the owner's entry pc */
    uint32_t          patch_at;         /* offset in the owner's code of the aligned 32-bit displacement */
    uint32_t          stub_at;          /* offset of the stub: what the jump goes to when unlinked */
    uint32_t          loop_at;          /* where in the owner's own code it goes to when linked to that: its head, or behind
                                         * loads of what is in registers there already */
    struct CodeBlock *to;               /* linked to, or NULL; accel/tcg's business from here on */
    struct CodeLink  *next;             /* other links into the same block */
} CodeLink;

/* What compiling gives.  Snapshot data lies in the code memory behind the code; links are allocated there as well. */
typedef struct CodeBlock {
    const uint8_t *code;                /* executable address of the entry */
    uint32_t       code_len, total_len; /* code; code and data (what was taken from the buffer) */
    uint32_t       n_links;
    CodeLink      *links;
    const uint8_t *snap_data;           /* private to the back end */
    uint32_t       snap_len;
} CodeBlock;

/* Writable and executable views of one memory. */
typedef struct CodeMemory { uint8_t *rw; const uint8_t *rx; size_t size; } CodeMemory;

typedef struct BackendOptions {
    bool     check;                     /* helpers go to SlowOps.replay */
    bool     exact_count;               /* countdown tells what has run, not what blocks that were left early hold: an
                                         * addition to memory per side exit taken, 3 % of gzip.  Goes with check */
    bool     random_registers;          /* stress: registers handed out at random */
    uint32_t seed;
    /* Compiled code adds one there before it calls the helper; NULL: nothing is counted. */
    uint64_t *(*counter)(void *self, const IrHelper *h);
    void     *counter_self;
} BackendOptions;

typedef struct CpuExit { uint64_t reason, arg; } CpuExit;       /* EXITR_*; returned in rax, rdx */

typedef struct Backend Backend;

/* Thunks (entry, slow paths, exits) are put at the start of mem; *used says how much they took. */
Backend *backend_new(const SlowOps *ops, const BackendOptions *options, CodeMemory mem, size_t *used);
void     backend_free(Backend *be);
/* Compiles the region at mem (offset at, at most room bytes).  False: does not fit (nothing written that counts).
 * The region must have passed ir_pass_dead(). */
bool     backend_compile(Backend *be, const Ir *ir, size_t at, size_t room, CodeBlock *out);
CpuExit  backend_enter(Backend *be, CpuState *cpu, const void *code);
/* After EXITR_FAULT: writes the dirty slots and pc of the snapshot at host address `at` from cpu->dump_* and spills. */
void     backend_restore(Backend *be, CpuState *cpu, const CodeBlock *cb, uint64_t at);
/* guest instructions retired before the snapshot at host address `at`, since region entry */
unsigned backend_insns_at(Backend *be, const CodeBlock *cb, uint64_t at);
void     backend_link(Backend *be, CodeLink *link, const CodeBlock *to);        /* to NULL: unlink; one aligned store */
/* Whoever still enters the block, through the jump cache, comes out with EXITR_LOOKUP; it is linked to no more. */
void     backend_retire(Backend *be, const CodeBlock *cb);
/* A comment line per stretch of code for -d out_asm: what each address belongs to. */
void     backend_annotate(Backend *be, const CodeBlock *cb, GString *out);

/* tcg/interp: runs unoptimised or optimised IR; the reference.  Same results as backend_enter for one region (never
 * follows links).  State is written back before it returns; EXITR_FAULT's arg is the number of guest instructions
 * retired since entry.  With ops->replay every helper goes there, as in compiled code. */
typedef struct Interp Interp;
Interp  *interp_new(const SlowOps *ops);
void     interp_free(Interp *in);
CpuExit  interp_run(Interp *in, CpuState *cpu, const Ir *ir);   /* DIRECT exit: reason EXITR_LINK, pc slot updated */

#endif
