/* SPDX-License-Identifier: GPL-2.0-or-later
 * The state of compiling one region, shared by liveness, register allocation, row selection and the host's
 * emitters.
 *
 * Entities.  Several values may be the same bits: a TRUNC is its operand, so is a ZEXT of a value whose
 * upper bits are known to be zero.  rep[] maps values to entities, constants are entities as well (n_insns
 * + index); registers and spill slots hold entities.  In a register the bits above a value's type are
 * garbage unless zx[value] is set.
 *
 * Positions are insn indices.  A backward pass over each block notes, for every operand of every insn,
 * where its entity is used next, so that the forward pass (allocate and emit, insn by insn) always knows
 * the distance to the next use and whether an entity dies. */
#ifndef RHEA_TCG_GEN_H
#define RHEA_TCG_GEN_H

#include "tcg/ir.h"
#include "util/bits.h"

enum { NO_REG = 0xff, FIRST_VEC = 16, N_REGS = 32 };
#define NEVER UINT32_MAX
#define GPRS 0x0000ffffu
#define VECS 0xffff0000u

/* One entity while the forward pass runs. */
typedef struct Ent {
    uint32_t next;          /* position of the next use by an operation; NEVER */
    uint32_t last;          /* position of the last use, snapshots included; 0: unused */
    uint16_t spill;         /* 8-byte unit of CpuState.spill + 1; 0: none.  Vectors have two, or four */
    uint8_t  reg;           /* NO_REG: none */
    uint8_t  home;          /* slot + 1 whose memory holds the value; 0: none */
} Ent;

enum {                      /* how[]: decisions of the backward pass */
    HOW_DEAD   = 1,         /* nobody needs it: not emitted */
    HOW_FUSE   = 2,         /* its predicate operand is a CMP, emitted here */
    HOW_ADDR   = 4,         /* its address is an ADD of a constant, folded here */
    HOW_SCALE  = 8,         /* its operand b is a SHL by 1..3, folded here into an address computation */
    HOW_SEXT   = 16,        /* a load that sign-extends (to ext type) */
    HOW_SUM    = 64,        /* an ADD of a constant, or a HIGH, that only snapshots need: they say "a + constant",
                             * "upper half of a" */
    HOW_ZXUSED = 32,        /* someone relies on the zero upper bits of this load */
};

/* Accesses of a block off one base that lie close together share one look-up: the first that is executed
 * checks the page of them all and leaves the host address of the base in a register. */
typedef struct Group { uint32_t base; int32_t lo, hi; uint32_t last; uint16_t n; bool store; } Group;
enum { MAX_BASES = 3 };
/* A register that holds the host address of an entity, or 0: look again. */
typedef struct HostBase { uint32_t group; uint8_t reg; } HostBase;

enum { MAX_USES = 4 };
typedef struct Uses { uint32_t next[MAX_USES]; } Uses;

typedef struct Fixup { uint32_t at, target; uint8_t kind; } Fixup;
typedef struct Site { uint32_t at, rec; } Site;     /* offset of the return address in the code; record */

/* Which registers are what; constant per host and options. */
typedef struct RegFile {
    uint32_t all;           /* allocatable, bits 0..15 general, 16..31 vectors */
    uint32_t saved;         /* of these: survive calls */
    uint8_t  scratch, scratch2, vscratch;           /* never allocated */
} RegFile;

typedef struct LoopReg { uint32_t ent; uint8_t slot, reg; } LoopReg;
enum { MAX_LOOP_GPRS = 8, MAX_LOOP_VECS = 10, MAX_LOOP_REGS = MAX_LOOP_GPRS + MAX_LOOP_VECS };

typedef struct LiveIn { uint32_t ent, next, last; } LiveIn;
/* Where an entity is at a block's entry: a register, or its pinned spill slot. */
typedef struct EntryLoc { uint32_t ent; uint8_t reg; } EntryLoc;
typedef struct GenBlock {
    uint32_t first_live, n_live;        /* in Gen.live_in */
    uint32_t first_loc, n_loc;          /* in Gen.entry_locs, its parameters first */
    bool     known;                     /* the above: an edge to it has been compiled */
    uint32_t code_at;                   /* offset in the hot code */
    int32_t  pc_mem_off;
} GenBlock;

#define GEN_ARRAY(T, name) T *name; uint32_t n_##name, cap_##name

typedef struct Gen {
    struct Backend *be;
    const Ir *ir;
    const RegFile *regs;

    /* --- code: p is where bytes go now; cold code (stubs) collects in a buffer and is put behind the hot
     * code */
    uint8_t *p, *hot_start, *hot_limit;
    uint8_t *cold, *cold_end;           /* the buffer; the next byte while hot is current */
    uint32_t cold_cap;
    uint8_t *hot_p;                     /* saved while cold is current */
    bool     in_cold, overflow;
    GEN_ARRAY(Fixup, fixups);
    GEN_ARRAY(uint8_t, recs);
    GEN_ARRAY(Site, sites);
    GEN_ARRAY(struct CodeLink, links);
    GEN_ARRAY(uint64_t, pool);          /* 16-byte constants, two words each */

    /* --- entities, by index */
    uint32_t cap_ents, n_ents;
    Ent      *ent;
    uint32_t *rep;
    uint8_t  *zx, *how, *ext;
    uint16_t *group_of;                 /* by insn: index in groups + 1; 0: alone */
    GEN_ARRAY(Group, groups);
    uint32_t *next_call;                /* by insn: position of the first call after it */
    Uses     *uses;
    uint32_t *commit_prev;              /* by commit: entity of the slot before it */
    uint32_t cap_commits;

    /* --- allocation */
    uint32_t pos, block;
    uint32_t free, locked;
    uint32_t reg_ent[N_REGS];
    uint8_t  *spill_used;               /* by 8-byte unit */
    uint32_t spill_hint;
    HostBase base[MAX_BASES];
    unsigned n_bases;
    uint32_t base_regs;                 /* their registers */
    bool     wide;              /* there are v256 */
    bool     flags_live;                /* host flags hold something: constants by mov, not xor */
    bool     random;
    bool     exact;                     /* slots are stored only where the IR says: check=on compares also
                                         * those that nobody needs any more */
    bool     snap_now;                  /* the current insn may fault: what its snapshot needs stays */
    uint32_t rng;

    /* --- slots */
    uint32_t home_ent[MAX_SLOTS];       /* entity that the slot's memory holds; 0: unknown */
    uint32_t n_commits;                 /* of the log, taken in so far */
    SlotSet  dirty;
    SlotSet  kept;                      /* memory was changed since the log's entry: dirty_val stays out of it */
    Val      dirty_val[MAX_SLOTS];
    int32_t  pc_mem_off;                /* pc slot in memory = entry pc + this */
    bool     pc_mem_known;
    uint32_t entry_pc;                  /* entity that is the entry pc; 0: none */

    /* --- a block that jumps to its own head: slots that are in registers there */
    LoopReg  loop[MAX_LOOP_REGS];
    unsigned n_loop;
    uint32_t loop_at;                   /* that head, behind the loads; 0: none */

    /* --- regions of several blocks */
    GEN_ARRAY(GenBlock, blocks);
    GEN_ARRAY(LiveIn, live_in);
    GEN_ARRAY(EntryLoc, entry_locs);
    uint16_t *pin;                      /* by entity: spill slot of its own, + 1; 0: none */
    uint32_t cap_pin;
    uint64_t *bits;
    uint32_t cap_bits;

    /* --- what the host flags tell: compare of these two, or of value flags_a with 0 (flags_b: VAL_NONE) */
    Val      flags_a, flags_b;
    /* The entity (a predicate) that is in the host's carry flag and nowhere else; 0: none. */
    uint32_t carry;
} Gen;

#define GEN_PUSH(g, name) \
    (*(__extension__({ \
        if ((g)->n_##name == (g)->cap_##name) \
            (g)->name = gen_grow((g)->name, &(g)->cap_##name, sizeof *(g)->name); \
        &(g)->name[(g)->n_##name++]; })))
void *gen_grow(void *array, uint32_t *cap, size_t size);

static inline uint32_t gen_ent(const Gen *g, Val v)
{
    return val_is_const(v) ? g->ir->n_insns + (v & ~VAL_CONST) : g->rep[v];
}
static inline bool ent_is_const(const Gen *g, uint32_t e) { return e >= g->ir->n_insns; }
static inline const IrConst *ent_const(const Gen *g, uint32_t e) 
{
    return &g->ir->consts[e - g->ir->n_insns];
}
static inline bool type_is_vec(IrType t) { return t >= F32 && t <= V256T; }
static inline bool ent_is_vec(const Gen *g, uint32_t e)
{
    return type_is_vec(ent_is_const(g, e) ? ent_const(g, e)->type : g->ir->insns[e].type);
}
static inline IrType ent_type(const Gen *g, uint32_t e)
{
    return ent_is_const(g, e) ? ent_const(g, e)->type : g->ir->insns[e].type;
}
/* What it takes in memory. */
static inline unsigned ent_room(const Gen *g, uint32_t e)
{
    IrType t = ent_type(g, e);
    return t == V256T ? 32 : type_is_vec(t) ? 16 : 8;
}
static inline bool reg_is_vec(unsigned reg) { return reg >= FIRST_VEC; }
/* Nobody needs the entity after the current insn. */
static inline bool ent_dies(const Gen *g, uint32_t e) { return g->ent[e].last <= g->pos; }
static inline bool val_zx(const Gen *g, Val v) { return val_is_const(v) || g->zx[v]; }

/* The snapshot of an insn, or -1. */
static inline int32_t insn_snap(const Ir *ir, const IrInsn *in)
{
    switch (in->op) {
    case IR_LOAD: case IR_STORE: case IR_ATOMIC: return in->aux;
    case IR_EXIT: case IR_EXIT_IF: case IR_HEAD: return ir->exits[in->aux].snap;
    case IR_CALL: return ir->helpers[in->aux]->flags & HF_FAULTS ? (int32_t)in->flags : -1;
    default: return -1;
    }
}

/* --- live.c: the passes before code is made */
void gen_analyse(Gen *g);
/* The entities that insn i uses, at most MAX_USES, after fusing; the count. */
unsigned gen_uses(const Gen *g, uint32_t i, uint32_t out[MAX_USES]);

/* The entity that stands for a value in snapshots, and what to do with it. */
typedef struct SnapEnt { uint32_t ent; int32_t plus; bool high; } SnapEnt;
static inline SnapEnt snap_ent(const Gen *g, Val v)
{
    SnapEnt s = { gen_ent(g, v), 0, false };
    while (!ent_is_const(g, s.ent) && g->how[s.ent] & HOW_SUM) {
        const IrInsn *in = &g->ir->insns[s.ent];
        if (in->op == IR_HIGH)
            s.high = true;
        else
            s.plus += (int32_t)const_lo(g->ir, in->b);
        s.ent = gen_ent(g, in->a);
    }
    return s;
}
/* Some snapshot may need it here: the committed value of a slot, or what that is computed from. */
bool ent_is_dirty(const Gen *g, uint32_t e);
/* Its register may be overwritten by the current insn. */
static inline bool ent_dies_now(const Gen *g, uint32_t e)
{
    return ent_dies(g, e) && !(g->snap_now && ent_is_dirty(g, e));
}

/* --- regalloc.c.  All act at position g->pos.  Registers returned are locked until ra_end_insn(). */
void     ra_start(Gen *g);
void     ra_start_insn(Gen *g, uint32_t i);
void     ra_end_insn(Gen *g, uint32_t i);               /* uses done: advances next uses, frees the dead */
unsigned ra_use(Gen *g, uint32_t e, uint32_t mask);     /* e in a register of mask */
unsigned ra_temp(Gen *g, uint32_t mask);                /* a free register for the current insn only */
unsigned ra_def(Gen *g, uint32_t e, uint32_t mask);     /* a register for a new entity */
unsigned ra_def_from(Gen *g, uint32_t d, uint32_t a, uint32_t mask);    /* the same, holding a copy of a */
void     ra_take(Gen *g, unsigned reg);                 /* empties reg (its entity moves, spills), locks it */
void     ra_copy_to(Gen *g, unsigned reg, uint32_t e);  /* value of e to reg (taken), e stays where it is */
void     ra_set(Gen *g, uint32_t e, unsigned reg);      /* e is defined in reg (taken) */
void     ra_save(Gen *g, uint32_t e);                   /* e also has a place in memory from here on */
void     ra_take_with(Gen *g, unsigned reg, uint32_t e);        /* take reg and put the value of e there */
/* A place in memory, from the CPU base. */
bool     ra_mem(const Gen *g, uint32_t e, unsigned bytes, int32_t *disp);
void     ra_drop_reg(Gen *g, unsigned reg);             /* its entity keeps its other places */
void     ra_home_overwrite(Gen *g, unsigned slot, uint32_t e);  /* slot's memory becomes e (0: unknown) */
typedef struct Move { uint8_t to; uint8_t vec; uint32_t ent; Val zext_of; } Move;
/* All at once: registers `to` receive entities; a free register is not needed beyond the scratch ones. */
void     ra_parallel(Gen *g, const Move *moves, unsigned n);
/* Registers for host addresses: given only if one is free, taken away when anything else needs it. */
unsigned ra_base_find(Gen *g, uint32_t group);          /* the register, locked; or NO_REG */
unsigned ra_base_new(Gen *g, uint32_t group);           /* the same */
void     ra_base_drop_all(Gen *g);
uint16_t ra_pin(Gen *g, uint32_t e);
void     ra_clear(Gen *g, uint32_t first_commit);       /* nothing is anywhere */

/* --- edges.c: block boundaries of regions */
/* False: no way into the block has been compiled, so there is none. */
bool     edge_enter(Gen *g, uint32_t block);
/* Everything to where the target wants it; the first edge to a block decides that. */
void     edge_moves(Gen *g, const IrEdge *edge);

/* --- select.c */
typedef struct Emit {
    IrType   type, from;        /* of the result; of operand a */
    uint8_t  d, a, b, c;        /* registers; MEM: at disp from the CPU base (b only) */
    bool     w;                 /* type is 64 bits wide */
    int32_t  disp;
    uint32_t aux, field;        /* row's; insn's aux */
    int64_t  imm;
} Emit;
enum { MEM = 0xfe };
typedef struct EmitRow {
    uint8_t     op, types;      /* set of TB_* */
    const char *a, *b, *c;
    void      (*emit)(Gen *g, const Emit *e);
    uint32_t    aux;
    uint16_t    needs;
} EmitRow;
enum { TB_8 = 1, TB_16 = 2, TB_32 = 4, TB_64 = 8, TB_PRED = 16, TB_DQ = 12, TB_INT = 15, TB_ALL = 31 };

typedef struct Row { uint8_t types, ka, kb, kc; uint32_t aux; void (*emit)(Gen *g, const Emit *e); } Row;
typedef struct RowSet { uint16_t first[IR_N_OPS + 1]; Row *row; } RowSet;
RowSet *rows_new(const EmitRow *rows, unsigned n, unsigned features);
void    rows_free(RowSet *rs);
/* Emits insn i by the first row that fits; false: the op has none. */
bool    select_emit(Gen *g, const RowSet *rs, uint32_t i);

/* --- snapshot.c */
void     snap_advance(Gen *g, uint32_t snap);           /* the dirty set at this snapshot */
uint32_t snap_record(Gen *g, uint32_t snap);            /* where things are now; offset in recs */
void     snap_restore(const uint8_t *rec, const SlotTable *slots, CpuState *cpu);
unsigned snap_insns(const uint8_t *rec);

/* --- the host */
void host_move(Gen *g, unsigned to, unsigned from);     /* both general or both vectors; whole */
void host_load(Gen *g, unsigned to, int32_t disp, unsigned bytes);      /* from the CPU base; zero-extends.  Vectors: to 32 bytes */
void host_store(Gen *g, int32_t disp, unsigned from, unsigned bytes);
void host_const(Gen *g, unsigned to, const IrConst *k);
void host_add_pc(Gen *g, int32_t delta);                                 /* to the pc slot in memory */
void host_zext(Gen *g, unsigned to, unsigned from, unsigned bytes);     /* general */

static inline int32_t cpu_disp(uint32_t offset) { return (int32_t)offset - CPU_BIAS; }
static inline int32_t slot_disp(const Gen *g, unsigned slot)
{
    return cpu_disp(g->ir->slots->slot[slot].offset);
}
static inline unsigned slot_bytes(const Gen *g, unsigned slot)
{
    return type_size(g->ir->slots->slot[slot].type);
}
/* Slow paths use this memory: a slot there never stands for a value. */
static inline bool slot_volatile(const Gen *g, unsigned slot)
{
    uint32_t at = g->ir->slots->slot[slot].offset;
    return at >= offsetof(CpuState, helper_ret) && at < offsetof(CpuState, dump_gpr);
}
static inline int32_t spill_disp(unsigned unit) { return cpu_disp(offsetof(CpuState, spill) + unit * 8); }

#endif
