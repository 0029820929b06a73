/* SPDX-License-Identifier: GPL-2.0-or-later
 * The intermediate representation: a region is an array of blocks of insns in SSA form.  docs/ir.md explains it by
 * examples; ir.def is the table of operations.
 *
 * A Val names what an insn computes (its index), or a constant (VAL_CONST | index into consts).  Insn 0 is unused so
 * that 0 means "no value".  Guest state lives in slots; inside a region slots are forwarded as values, writes are
 * recorded in the commit log instead of being stored, and a snapshot says how far into the log a given point is.
 * "Dirty" slots at a point: replay the log of the block from first_commit up to the snapshot's n_commits; the last
 * entry for a slot counts; VAL_NONE there means memory is up to date.
 */
#ifndef RHEA_TCG_IR_H
#define RHEA_TCG_IR_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include "tcg/layout.h"

typedef uint32_t Val;
enum { VAL_NONE = 0 };
#define VAL_CONST 0x80000000u
static inline bool val_is_const(Val v) { return v & VAL_CONST; }

typedef enum IrType { T_NONE, I8, I16, I32, I64, I128, F32, F64, V128T, V256T, PRED, IR_N_TYPES } IrType;
/* In bytes; PRED is 1. */
static inline unsigned type_size(IrType t)
{
    static const uint8_t size[IR_N_TYPES] = { 0, 1, 2, 4, 8, 16, 4, 8, 16, 32, 1 };
    return size[t];
}
static inline unsigned type_bits(IrType t) { return type_size(t) * 8; }
static inline bool type_is_int(IrType t) { return t >= I8 && t <= I128; }

enum { E_READ = 1, E_WRITE = 2, E_SNAP = 4, E_END = 8, E_SECOND = 16, E_PIN = 32, E_CALL = 64 };

typedef enum IrOp {
    IR_NOP,
#define IR(name, sig, effects, text) IR_##name,
#include "tcg/ir.def"
#undef IR
    IR_N_OPS
} IrOp;

typedef struct IrOpInfo { const char *name, *sig; uint8_t effects; const char *text; } IrOpInfo;
extern const IrOpInfo ir_ops[IR_N_OPS];         /* name in lower case */

/* aux of CMP.  TST: (a & b) compared with 0. */
typedef enum IrCond {
    C_EQ, C_NE, C_LTU, C_GEU, C_LEU, C_GTU, C_LT, C_GE, C_LE, C_GT, C_TSTEQ, C_TSTNE, IR_N_CONDS
} IrCond;
static inline IrCond cond_not(IrCond c) { return c ^ 1; }       /* pairs above are opposites */

/* aux of EXTRACT and DEPOSIT */
#define FIELD_AUX(pos, len) ((pos) | (len) << 8)
#define FIELD_POS(aux) ((aux) & 0xff)
#define FIELD_LEN(aux) ((aux) >> 8 & 0xff)

/* aux of HOST */
#define HOST_AUX(row, imm) ((row) | (uint32_t)(imm) << 16)
#define HOST_ROW(aux) ((aux) & 0xffff)
#define HOST_IMM(aux) ((aux) >> 16 & 0xff)
enum { HOSTF_FP = 1 };          /* flags of HOST: the row is HOF_FP; never removed, since it sets sticky flags */

/* flags of LOAD, STORE, ATOMIC */
typedef enum MemOp {
    MO_8, MO_16, MO_32, MO_64, MO_128, MO_256,
    MO_SIZE   = 7,              /* log2 of the bytes */
    MO_BE     = 0x08,           /* big-endian guest access */
    MO_ALIGN  = 0x10,           /* misaligned: Target.misaligned decides (x86: #GP of aligned SSE accesses) */
    MO_RMW    = 0x20,           /* a load that is followed by a store to the same place: probes for write */
    MO_ACQ    = 0x40,           /* later accesses stay behind this one */
    MO_REL    = 0x80,           /* earlier accesses stay before this one */
    MO_SC     = 0x100,          /* with a store: followed by a store-to-load barrier */
    MO_VIEW   = 0x7000,         /* 0: the current view; else 1 + the TLB view to use (user access from the kernel) */
    MO_VIEW_SHIFT = 12,
} MemOp;
static inline unsigned mo_bytes(unsigned mo) { return 1u << (mo & MO_SIZE); }

/* flags of ATOMIC: MemOp | op << 16 */
typedef enum AtomicOp { AT_ADD, AT_AND, AT_OR, AT_XOR, AT_XCHG, AT_CAS } AtomicOp;
#define ATOMIC_FLAGS(mo, op) ((mo) | (uint32_t)(op) << 16)
#define ATOMIC_OP(flags) ((flags) >> 16)

typedef struct IrInsn {
    uint8_t  op, type;          /* IrOp, IrType of the result */
    uint8_t  n_uses;            /* saturating; set by the backward pass */
    uint8_t  in_snap;           /* 1: some snapshot needs the value; set by the backward pass */
    uint32_t flags;             /* MemOp; CALL of a HF_FAULTS helper: snapshot; HEAD: guest insns; HOST: HOSTF_* */
    Val      a, b, c;
    uint32_t aux;               /* slot, condition, snapshot (memory), exit, edge, helper, field, host row */
} IrInsn;

typedef struct IrConst { uint64_t lo, hi; uint8_t type; } IrConst;

/* Guest state as the IR sees it. */
typedef struct Slot {
    const char *name;
    uint8_t     type;           /* IrType */
    uint32_t    offset;         /* in the CPU struct */
    bool        scratch;        /* means nothing between guest instructions: never committed, may be stored at once */
    uint8_t     upper;          /* v128: the slot that lies right above it in memory, as the upper half of a v256; 0: none */
} Slot;
enum { MAX_SLOTS = 128 };
typedef struct SlotTable { const Slot *slot; unsigned n; unsigned pc; /* the slot at PC_OFFSET */ } SlotTable;

typedef struct SlotSet { uint64_t w[2]; } SlotSet;
static inline bool slotset_has(const SlotSet *s, unsigned i) { return s->w[i / 64] >> i % 64 & 1; }

/* A C function called from generated code: ret fn(CpuState *cpu, arguments...), arguments and result in integer
 * registers (vectors travel through slots).  Slots in reads are stored before the call if dirty; cached copies of
 * slots in writes are dropped after it.  HF_FAULTS: the result is a status (int, not a value): non-zero means that
 * the target has recorded an exception or wants to leave: state is restored from the snapshot (start of the insn) and the run
 * loop is told (EXIT_FAULT).  Such a helper must leave slots untouched when it fails; its value, if any, is in
 * cpu->helper_ret.  An instruction has at most one helper that writes slots, after its last other faulting operation. */
enum { HF_FAULTS = 1, HF_PURE = 2, HF_FP = 4 /* uses or changes the guest's MXCSR / host FP state */ };
/* Most calls can be spared: where (word & mask) != 0 is as `set` says, the call would do nothing, and its value, if it has
 * one, is the byte `value`; where (word & zero_mask) == zero_is its value is 0.  Word and value are offsets in the CPU struct.
 * For helpers without arguments. */
typedef struct IrGuard { uint32_t word, mask; bool set; uint32_t value, zero_mask, zero_is; } IrGuard;
typedef struct IrHelper {
    const char *name;
    void       *fn;
    uint8_t     ret, nargs, flags;      /* ret: IrType or T_NONE */
    SlotSet     reads, writes;
    const IrGuard *guard;
} IrHelper;

typedef struct IrSnap {
    uint32_t n_commits;         /* of the log */
    uint32_t block;
    uint32_t pc_off;            /* guest pc here = pc slot at region entry + pc_off (sign-extended) */
    uint32_t insn_index;        /* guest instructions retired since region entry */
} IrSnap;

typedef struct IrCommit { uint32_t slot; Val v; } IrCommit;

typedef enum IrExitKind {
    EXIT_DIRECT,                /* to pc at entry + target_off, same mode: a patchable link if in the same guest page */
    EXIT_INDIRECT,              /* to the pc slot's value, same mode: inline look-up */
    EXIT_MODE,                  /* to the pc slot; mode or context may have changed: ctx reloaded, then look-up */
    EXIT_RUN,                   /* to the run loop with reason: aux (EXITR_*) */
    EXIT_RAISE,                 /* to the run loop: raise exception vector aux, error code aux2 (pc: of the insn) */
} IrExitKind;

/* DIRECT and INDIRECT exits that are calls and returns, for back ends with a return stack; a hint to these only. */
typedef enum IrExitUse { EXIT_JUMP, EXIT_CALL, EXIT_RETURN } IrExitUse;

typedef struct IrExit {
    uint8_t  kind, use;
    uint32_t snap;              /* dirty slots here are stored.  DIRECT, RAISE, RUN: pc := entry + its pc_off as well */
    int32_t  target_off;        /* DIRECT */
    int32_t  return_off;        /* CALL: it will return to entry + this */
    uint32_t aux, aux2;
} IrExit;

/* Reasons of EXIT_RUN; also what cpu_enter() returns, with those of the accelerator. */
enum {
    EXITR_NONE,
    EXITR_LINK,         /* an unlinked DIRECT exit; arg: CodeLink */
    EXITR_LOOKUP,       /* the pc slot is not in the jump cache */
    EXITR_KICK,         /* countdown negative at a head; state as at the head; arg: what the head subtracted */
    EXITR_FAULT,        /* a helper or slow path returned non-zero; arg: host address for backend_restore() */
    EXITR_RAISE,        /* arg: vector | (uint64_t)error << 32; state and pc as at the start of the insn */
    EXITR_HALT, EXITR_TARGET = 16 /* first of the target's own */
};

typedef struct IrBlock {
    uint32_t first, end;        /* insns */
    uint32_t first_commit;
    uint32_t n_params;          /* the block's first insns are its PARAMs */
} IrBlock;

typedef struct IrEdge { uint32_t to; uint32_t first_arg, n_args; /* in Ir.edge_args */ } IrEdge;

typedef struct IrGuestInsn { uint32_t pc_off; uint32_t first; /* IR insn */ } IrGuestInsn;

#define IR_ARRAY(T, name) T *name; uint32_t n_##name, cap_##name

typedef struct Ir {
    const SlotTable *slots;
    uint32_t         n_slots;
    IR_ARRAY(IrInsn, insns);
    IR_ARRAY(IrConst, consts);
    IR_ARRAY(IrSnap, snaps);
    IR_ARRAY(IrCommit, commits);
    IR_ARRAY(IrExit, exits);
    IR_ARRAY(IrBlock, blocks);
    IR_ARRAY(IrEdge, edges);
    IR_ARRAY(Val, edge_args);
    IR_ARRAY(IrGuestInsn, guest);
    IR_ARRAY(const IrHelper *, helpers);
    uint32_t         entry_page_off;    /* of the entry pc in its guest page; set by the accelerator */
    uint32_t         n_extra;           /* of the guest[]: the translator's own, not counted */
    uint32_t         guest_len;         /* bytes of guest code from the entry pc */
    struct IrBuilder *builder;          /* private to tcg/build.c */
} Ir;

static inline IrType val_type(const Ir *ir, Val v)
{
    return val_is_const(v) ? ir->consts[v & ~VAL_CONST].type : ir->insns[v].type;
}
static inline uint64_t const_lo(const Ir *ir, Val v) { return ir->consts[v & ~VAL_CONST].lo; }

/* HOST: the 256-bit form of its row. */
static inline bool host_is_wide(const Ir *ir, const IrInsn *in)
{
    return in->type == V256T || (in->a && val_type(ir, in->a) == V256T);
}

/* The snapshot of an insn, or -1: it cannot leave the region. */
static inline int64_t ir_insn_snap(const Ir *ir, const IrInsn *in)
{
    switch (in->op) {
    case IR_LOAD: case IR_STORE: case IR_ATOMIC:
        return in->aux;
    case IR_CALL:
        return ir->helpers[in->aux]->flags & HF_FAULTS ? (int64_t)in->flags : -1;
    case IR_EXIT: case IR_EXIT_IF: case IR_HEAD:
        return ir->exits[in->aux].snap;
    default:
        return -1;
    }
}

/* Guest instructions that the head has counted and that do not run when this exit is taken: given back to countdown.
 * The head's own exit says by its argument what was subtracted.  Compiled code does so for RAISE, for others if asked. */
static inline uint32_t ir_not_run(const Ir *ir, const IrExit *x)
{
    const IrInsn *head = &ir->insns[ir->blocks[0].first];
    uint32_t done = ir->snaps[x->snap].insn_index;
    if (head->op != IR_HEAD || (x->kind == EXIT_RUN && x->aux == EXITR_KICK))
        return 0;
    return done < head->flags ? head->flags - done : 0;
}

Ir  *ir_new(const SlotTable *slots);            /* reused for many regions: ir_reset() keeps the arrays */
void ir_reset(Ir *ir);
void ir_free(Ir *ir);

/* tcg/verify.c: NULL if well formed, else a sentence that names the insn (free with g_free). */
char *ir_verify(const Ir *ir);
/* tcg/print.c, tcg/parse.c: text that reads back to the same region. */
void  ir_print(const Ir *ir, GString *out);
bool  ir_parse(Ir *ir, const char *text, const IrHelper *const *helpers, unsigned n_helpers, GError **err);
/* tcg/pass_dead.c: the one backward pass of tier 1: removes what nobody needs (turns it to NOP), sets n_uses. */
void  ir_pass_dead(Ir *ir);

#endif
