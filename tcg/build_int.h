/* SPDX-License-Identifier: GPL-2.0-or-later
 * The builder's own state, shared by build.c, fold.c and the parser; and what tests may switch. */
#ifndef RHEA_TCG_BUILD_INT_H
#define RHEA_TCG_BUILD_INT_H

#include "tcg/build.h"

enum { VN_SIZE = 512, CONST_HASH = 512, CONST_PROBES = 4 };

typedef struct IrStamped { uint32_t stamp; Val v; } IrStamped;      /* valid while stamp is the table's */

struct IrBuilder {
    bool      folding;                  /* off: no folds, no value numbers, clean slots read anew */
    bool      open;                     /* in a block that has not ended */
    bool      in_insn;
    bool      extra;            /* ... which is not the guest's */
    bool      sealed;                   /* this instruction has changed memory slots: no snapshot may follow in it */
    bool      pc_lost;                  /* the pc slot in memory is no longer the entry pc */
    uint32_t  head;                     /* HEAD insn of the block, 0: none */
    uint32_t  head_guest;               /* guest instructions before it */
    uint32_t  done;                     /* guest instructions completed */

    /* Marks of ir_insn_start(), for ir_insn_abandon(). */
    struct { uint32_t insns, snaps, commits, exits, helpers; bool pc_lost; } mark;

    Val       entry_pc;
    Val       second_of, second;        /* the last op with two results */

    SlotSet   known, dirty, pending;    /* cur valid; cur not in memory; pend valid */
    SlotSet   drops;                    /* contents that nobody wants from the end of the instruction on */
    Val       cur[MAX_SLOTS], pend[MAX_SLOTS];

    uint32_t *fold_hits;                /* tests: how often each row applied, or NULL */
    uint8_t   fold_first[IR_N_OPS + 1];  /* rows of each op, see ir_fold_index() */
    uint32_t  vn_stamp, const_stamp;
    IrStamped vn[VN_SIZE];
    IrStamped consts[CONST_HASH];
};

/* Makes room for one more and returns it; n is the new element's index before the call. */
void *ir_grow(void *array, uint32_t *cap, size_t size);
#define IR_PUSH(ir, name) \
    (*(__extension__({ \
        if ((ir)->n_##name == (ir)->cap_##name) \
            (ir)->name = ir_grow((ir)->name, &(ir)->cap_##name, sizeof *(ir)->name); \
        &(ir)->name[(ir)->n_##name++]; })))

/* No value appended so far is found again. */
void ir_forget_numbers(struct IrBuilder *b);

/* For tests: with folding off the same calls give the plain region, to compare with. */
void ir_set_folding(Ir *ir, bool on);

/* Appends as it is: no fold, no numbering. */
Val ir_append(Ir *ir, IrInsn in);

/* A pure insn: folded, found, or appended (with the SECOND of those that have one). */
Val ir_emit(Ir *ir, IrInsn in);

/* parse.c: ir_parse(), which with fold sends pure insns through ir_emit(). */
bool ir_parse_folding(Ir *ir, const char *text, bool fold, const IrHelper *const *helpers, unsigned n_helpers,
                      GError **err);

/* fold.c: a value that stands for the insn, or VAL_NONE: append *in, which may have become a cheaper insn.
 * Ops with a second result set *second when they fold. */
Val ir_fold(Ir *ir, IrInsn *in, Val *second);
unsigned ir_fold_index(uint8_t first[IR_N_OPS + 1]);         /* number of rows */
const char *ir_fold_name(unsigned row);
/* What may be stored in place of v when only its low bytes count. */
Val ir_fold_stored(const Ir *ir, Val v, unsigned bytes);

static inline void slotset_add(SlotSet *s, unsigned i) { s->w[i / 64] |= UINT64_C(1) << i % 64; }
static inline void slotset_del(SlotSet *s, unsigned i) { s->w[i / 64] &= ~(UINT64_C(1) << i % 64); }
static inline SlotSet slotset_and(SlotSet a, SlotSet b)
{
    return (SlotSet){ { a.w[0] & b.w[0], a.w[1] & b.w[1] } };
}
static inline SlotSet slotset_or(SlotSet a, SlotSet b)
{
    return (SlotSet){ { a.w[0] | b.w[0], a.w[1] | b.w[1] } };
}
static inline SlotSet slotset_without(SlotSet a, SlotSet b)
{
    return (SlotSet){ { a.w[0] & ~b.w[0], a.w[1] & ~b.w[1] } };
}
static inline bool slotset_empty(SlotSet s) { return !(s.w[0] | s.w[1]); }
/* The lowest member, taken out; the set is not empty. */
static inline unsigned slotset_take(SlotSet *s)
{
    unsigned w = s->w[0] ? 0 : 1, i = (unsigned)__builtin_ctzll(s->w[w]);
    s->w[w] &= s->w[w] - 1;
    return w * 64 + i;
}

#endif
