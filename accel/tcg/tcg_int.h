/* SPDX-License-Identifier: GPL-2.0-or-later
 * accel/tcg from inside: the vCPU, its TLB contexts, translated blocks and where they are kept.  docs/accel.md. */
#ifndef ACCEL_TCG_INT_H
#define ACCEL_TCG_INT_H

#include <stdio.h>
#include "accel/debug.h"
#include "memory/dirty.h"
#include "tcg/backend.h"

typedef struct Tcg Tcg;
typedef struct TcgVcpu TcgVcpu;
typedef struct Check Check;

/* RAM addresses: ram_page << 12 | offset.  Blocks are keyed by them rather than by guest-physical addresses, so that
 * aliases share translations and a remapped page keeps its own. */
#define RA_NONE UINT64_MAX
#define RAM_NONE UINT32_MAX                     /* in 32-bit page numbers */

/* --- blocks (region.c) */

typedef struct Block Block;
typedef struct PageLink { Block *b; struct PageLink *next, **prev; } PageLink;

struct Block {
    CodeBlock  cb;                              /* first: CodeLink.owner is a Block */
    uint64_t   ra;                              /* entry */
    Block     *hash_next;                       /* up to here: one cache line, all that a look-up passes over */
    uint64_t   ra2;                             /* page that holds the rest of a straddling one, or RA_NONE */
    uint32_t   mode;
    uint8_t    checked, extent;                 /* check.c: runs with all registers compared; what is compared then */
    uint16_t   len, len2;                       /* guest bytes in the page of ra, in that of ra2 */
    uint32_t   n_insns;
    bool       dead;                            /* not to be entered again; memory stays until its segment is reused */
    bool       listed;                          /* in hash table and page lists */
    uint32_t   seg;
    CodeLink  *incoming;
    PageLink   page[2];
    Ir        *ir;                              /* kept for the interpreter and for check=on, else NULL */
};

typedef struct CodePage {                       /* a RAM page that blocks were read from */
    uint64_t         ram_page;
    uint64_t         chunks;                    /* bit per 64 bytes: some block may cover them */
    PageLink        *blocks;
    unsigned         hits;                      /* stores that hit code since the page had none */
    unsigned         pins;                      /* translations that are reading it */
    /* Several vCPUs: stores by them to the page, begun and done.  What was read while neither changed is of one time. */
    uint32_t         begun, done;
    struct CodePage *next;
} CodePage;

/* The code memory is a ring of segments: one is filled at a time, and the oldest is emptied for reuse. */
enum { MAX_SEGMENTS = 8 };
typedef struct Segment { size_t at, size, used; GPtrArray *blocks; /* by address */ } Segment;

/* In front of the hash table: what was found lately, direct mapped, with all that entering a block takes in one cache
 * line.  Straddlers, whose second page has to be looked up each time, are not put here. */
typedef struct FrontEntry { uint64_t key; const uint8_t *code; Block *b; uint64_t seq; /* odd: being written */ } FrontEntry;

enum { FRONT_BITS = 15, HASH_BITS = 17, PAGE_HASH_BITS = 12 };
enum { MAX_VCPUS = 64, TRANSIENT_LEN = 32 << 10 };      /* code memory of a block that is not kept, one per vCPU */

struct Tcg {
    Accel          a;                           /* first */
    /* options */
    bool           stats;                       /* helper calls are counted, translation is timed */
    bool           check, use_interp, stress_interrupt, stress_regalloc, stress_fault, one_insn;
    uint64_t       tb_size;                     /* bytes */
    uint64_t       seed;
    bool           split_wx;                    /* code memory is mapped twice, writable and executable */
    bool           single;                      /* thread=single: one vCPU runs at a time */

    /* turn.c */
    bool           several;                     /* vCPUs */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t  changed;
        _Atomic bool    stopping;               /* somebody wants to be, or is, alone */
        TcgVcpu        *holder;                 /* thread=single: of the token, which goes by tickets */
        uint64_t        next, serving;
    } turn;

    /* Several vCPUs: by RAM page who may have a TLB entry for fast stores: the epoch in the high byte, in the low one 0,
     * 1 + the vCPU's index, or MANY.  What is not of this epoch is 0; it ends when all entries are made slow. */
    uint16_t      *writers;
    _Atomic uint16_t epoch;

    /* Changes of RAM by others than vCPUs, to be acted upon by the first vCPU that comes to a safe point. */
    pthread_mutex_t written_lock;               /* the innermost */
    GArray        *written;                     /* Written */
    bool           written_all;
    _Atomic bool   written_any;

    /* Everything below under `lock`, but for the look-ups that say otherwise. */
    pthread_mutex_t lock;
    CodeMemory     mem;
    int            mem_fd;
    size_t         thunks;                      /* bytes that the back end took at the start */
    Segment        seg[MAX_SEGMENTS];
    unsigned       n_seg, cur;
    Backend       *backend;
    Block        **hash;                        /* read without the lock */
    FrontEntry    *front;
    CodePage     **pages;                       /* read without the lock */
    FILE          *perfmap;
    const MemoryListener *listener;
    /* Page offsets at which some instruction breakpoint lies (debug.c); blocks are made under the generation that they
     * were begun in. */
    uint64_t       checks[PAGE_SIZE / 64];
    bool           any_checks;
    GHashTable    *counters;                    /* stats: IrHelper -> uint64_t */

    struct {
        uint64_t blocks, one_insn_blocks, guest_insns, guest_bytes, host_bytes, data_bytes, translate_ns, compile_ns,
                 invalidated, page_drops, code_stores, evictions, evicted, dma_hits, retries;
    } st;
};

/* --- TLB contexts (tlb.c) */

enum { N_CONTEXTS = 32, N_FETCH = 512, N_VIEWS = 16, N_WINDOWS = 4, SELECT_SIZE = 64, FRAME_HASHES = 1 << 14 };

enum {                                          /* more bits of TlbEntry.pa */
    TLBE_READONLY = 4,                          /* ROM: reads are plain, writes go to the region */
    TLBE_WATCH = 0x400,                         /* data breakpoints in this page: all accesses are slow, and looked at */
    TLBE_LOG_SHIFT = 4, TLBE_LOG = 0x3f << TLBE_LOG_SHIFT,  /* log2 of the mapping's size */
};

/* Where code is fetched from: a TLB for C only. */
typedef struct FetchEntry {
    uint64_t       va;                          /* page; TLB_EMPTY */
    uint64_t       pa;
    uint64_t       ram_page;                    /* RAM_PAGE_NONE: I/O */
    const uint8_t *host;
    uint8_t        log;                         /* log2 of the mapping's size */
    bool           global;
} FetchEntry;

typedef struct Context {
    TlbContext  hw;                             /* first: cpu->ctx */
    uint32_t    ram_page[TLB_SIZE];             /* of each entry; RAM_NONE: I/O */
    /* What was filled since the last flush, and what of it a flush that keeps globals leaves. */
    uint64_t    tlb_used[TLB_SIZE / 64], tlb_global[TLB_SIZE / 64];
    /* Of *_used: words with members that are not global, with members that are.  Without a word there is none. */
    uint64_t    tlb_words[2][TLB_SIZE / 64 / 64], jump_words[2][JUMP_SIZE / 64 / 64];
    uint64_t    jump_used[JUMP_SIZE / 64], jump_global[JUMP_SIZE / 64], jump_straddles[JUMP_SIZE / 64];
    FetchEntry  fetch[N_FETCH];
    uint64_t    fetch_used[N_FETCH / 64], fetch_global[N_FETCH / 64];
    /* Hashes of what is present, so that dropping a page seldom has to search: pages in jump entries (by global),
     * 2 MiB and 1 GiB frames that hold fragments of large mappings.  See frame_hash(). */
    uint64_t    jump_pages[2][FRAME_HASHES / 64], large[FRAME_HASHES / 64];
    /* Hashes of the RAM pages that have been made fast to write, by global: of a page that is not among them no entry
     * needs to be made slow. */
    uint64_t    fast_pages[2][FRAME_HASHES / 64];

    TcgVcpu    *v;
    uint32_t    asid;
    unsigned    view;
    uint64_t    code_base;                      /* code_va(pc) - pc for which the jump entries hold */
    uint64_t    last_use;
    struct Context *by_view[N_VIEWS];           /* same asid, other view; checked before use */
} Context;

/* A piece of RAM or ROM that was looked up lately: spares walks through the space's view. */
typedef struct Window { uint64_t pa, len; uint8_t *host; uint64_t ram_page; bool readonly; } Window;

/* Data that is watched: by the guest's debug registers or a debugger's points, which are asked when it is hit. */
typedef struct Watch { uint64_t va, len; bool read, write; } Watch;

/* A change of RAM behind the vCPU's back, to be acted upon at its next safe point. */
typedef struct Written { uint64_t ram_page; uint16_t offset, len; } Written;

typedef struct TcgStats {
    uint64_t enters, exits[32], jump_fills, jump_dropped, jump_replaced, tlb_dropped, tlb_replaced, tlb_upgraded,
             links, fetch_fills, tlb_fills, fill_faults, loads, stores, atomics, cross, io_loads, io_stores, rmw,
             code_page_stores, upgrades, selects, select_misses, context_reuses, flush_all, flush_asid, flush_global,
             flush_page, flush_page_all, flush_page_scans, halts, kicks, services, helper_loads, helper_stores,
             host_ok, host_miss, checked, view_other, alone;
} TcgStats;

struct TcgVcpu {
    Vcpu        v;                              /* first */
    Tcg        *tcg;
    const Target *target;
    CpuState   *cpu;
    /* state of the run loop */
    int32_t     budget;                         /* what countdown was when cpu->insns was last brought up to date */
    bool        in_code;                        /* inside backend_enter() or interp_run() */
    bool        single;                         /* ... of a one-instruction block */
    bool        retry;                          /* a store into code was refused: do its instruction by itself */
    CodeLink   *link;                           /* the exit just taken, to be linked to what is found next */
    bool        held;                           /* a kick came meanwhile */
    bool        hold;                           /* check=on: kicks wait until the region has been replayed */
    bool        timers_late;                    /* the guest has seen a time that is behind a timer's: see now_ns() */
    bool        after_one;                      /* service(): run one instruction, then look again */
    bool        dead;                           /* triple fault: until reset */
    /* several vCPUs (turn.c) */
    _Atomic bool inside, pass_on;               /* pass_on: thread=single: another one's turn */
    bool        alone;                          /* between alone_begin() and alone_end() */
    bool        want_alone;                     /* with retry: the instruction wants nobody beside it */
    bool        want_settled;                   /* all others are to act upon what was filed before this one goes on */
    unsigned    pauses;
    bool        log_stats;
    /* debugging (debug.c) */
    GArray     *watches;                        /* Watch */
    unsigned    n_watches;                      /* of them, for the slow path */
    DebugPoint  hit;                            /* a debugger's watchpoint was hit by the instruction that runs */
    uint64_t    hit_va;
    bool        has_hit;
    uint32_t    accesses, fault_in;             /* stress=fault: how many there were; until the next that fails */
    uint64_t    fault_random;
    bool        pass;                           /* no stop at a breakpoint at pass_va: it was told, or is run again */
    uint64_t    pass_va, told_va;
    /* memory */
    Space      *mem, *io;
    uint8_t    *code_flags;
    RamMap     *ram;
    Context    *ctxs[N_CONTEXTS];
    uint32_t    asids[N_CONTEXTS];              /* theirs, so that flushes look at no others */
    unsigned    n_ctxs;
    /* Hashes of the pages and of the 2 MiB and 1 GiB frames of which some context may hold global entries. */
    uint64_t    globals[FRAME_HASHES / 64];
    Context    *select[SELECT_SIZE];            /* by asid and view; checked before use */
    uint64_t    clock;                          /* of last_use */
    Window      win[N_WINDOWS];
    unsigned    next_win;
    /* filed by other threads */
    pthread_mutex_t work_lock;
    bool        remapped;
    GArray     *protect;                        /* pairs of uint64_t: RAM pages whose dirty bits were cleared */

    Ir         *ir;                             /* scratch of the translator */
    Interp     *interp;
    Check      *chk;
    Block       transient;                      /* the one-instruction block that is not kept */
    uint64_t    code_copy[2048 / 8];            /* guest code that changes while it is translated */
    uint8_t     random[256];
    unsigned    random_left;
    TcgStats    st;
};

static inline TcgVcpu *tcg_vcpu(CpuState *cpu) { return cpu->vcpu; }
static inline Context *context(CpuState *cpu) { return (Context *)cpu->ctx; }
/* The two halves of a canonical address space, which are a program's and its kernel's, do not get into each other's
 * way: flushes are mostly in one of them, large mappings in the other. */
static inline unsigned frame_hash(uint64_t va, unsigned log)
{
    return (va >> 47 & 1) << 13 | ((va >> log) + log) * UINT64_C(0x9e3779b97f4a7c15) >> 51;
}
static inline unsigned large_hash(uint64_t va, unsigned log) { return frame_hash(va, log <= 21 ? 21 : 30); }
static inline unsigned ram_hash(uint32_t ram_page) { return ram_page * UINT32_C(0x9e3779b1) >> (32 - 14); }
static inline uint32_t cpu_mode(const CpuState *cpu) { return cpu->mode_tag >> 48; }
static inline bool bit_test(const uint64_t *set, unsigned i) { return set[i / 64] >> i % 64 & 1; }
static inline void bit_set(uint64_t *set, unsigned i) { set[i / 64] |= UINT64_C(1) << i % 64; }
static inline void bit_clear(uint64_t *set, unsigned i) { set[i / 64] &= ~(UINT64_C(1) << i % 64); }

/* A translation of the page at va, part of a mapping of 2^log bytes, goes into the context. */
static inline void mark_frames(Context *c, bool global, uint64_t va, unsigned log)
{
    if (global)
        bit_set(c->v->globals, frame_hash(va, PAGE_BITS));
    if (log <= PAGE_BITS)
        return;
    bit_set(c->large, large_hash(va, log));
    if (global)
        bit_set(c->v->globals, large_hash(va, log));
}

/* run.c */
void tcg_vcpu_run(Vcpu *vc);
void tcg_vcpu_interrupt(Vcpu *vc);              /* makes countdown negative, in a way that the count survives */

/* turn.c */
void turn_init(Tcg *t);
void turn_free(Tcg *t);
void turn_enter(TcgVcpu *v);                    /* waits while somebody is alone; thread=single: for the token */
void turn_leave(TcgVcpu *v);
/* Between two rounds of the run loop. */
static inline void turn_pass(TcgVcpu *v)
{
    while (G_UNLIKELY(atomic_load_explicit(&v->tcg->turn.stopping, memory_order_relaxed) ||
                   atomic_load_explicit(&v->pass_on, memory_order_relaxed))) {
        turn_leave(v);
        turn_enter(v);
    }
}
/* On the vCPU's thread, inside, no lock held.  Other vCPUs may have been alone before it returns. */
void alone_begin(TcgVcpu *v);
void alone_end(TcgVcpu *v);
void turn_relax(CpuState *cpu);                 /* CpuHooks */
bool turn_alone(CpuState *cpu);

/* region.c */
bool  code_cache_init(Tcg *t, GError **err);
void  code_cache_free(Tcg *t);
/* The block at the CPU's pc, translated if need be.  False: the fetch faulted, exception recorded. */
typedef struct Found {
    Block         *b;
    const uint8_t *code;
    bool           kept;                        /* not for one run only */
    bool           global;                      /* its pages are */
    bool           straddles;
    bool           mixed;                       /* ... from a global page into one that is not, or the reverse */
} Found;
bool   block_find(TcgVcpu *v, Found *found);
/* The one instruction at the pc, for one run: valid until the next call.  NULL as above. */
Block *block_single(TcgVcpu *v);
Block *block_at_host(Tcg *t, uint64_t host);    /* whose code holds the host address */
bool   block_link(TcgVcpu *v, CodeLink *link, Block *to);        /* false: they may not be linked */
CpuExit code_enter(TcgVcpu *v, const uint8_t *code);
/* State at the faulting operation at a host address; *b: the block that it lies in, which need not be the one that was
 * entered.  Returns how many of its instructions had retired. */
unsigned code_restore(TcgVcpu *v, Block **b, uint64_t at);
void   block_kill(Tcg *t, Block *b);            /* lock held: out of tables and links; never entered again */
static inline CodePage *code_page(Tcg *t, uint64_t ram_page)
{
    CodePage *p = __atomic_load_n(&t->pages[ram_page & ((1 << PAGE_HASH_BITS) - 1)], __ATOMIC_ACQUIRE);
    while (p && p->ram_page != ram_page)
        p = __atomic_load_n(&p->next, __ATOMIC_ACQUIRE);
    return p;
}

/* Bits of CodePage.chunks; whether a block's bytes in that page meet a range of it. */
static inline uint64_t chunk_bits(unsigned offset, unsigned len)
{
    unsigned first = offset / 64, last = (offset + len - 1) / 64;
    return ~UINT64_C(0) >> (63 - last) & ~UINT64_C(0) << first;
}
static inline bool link_covers(const PageLink *l, unsigned offset, unsigned len)
{
    const Block *b = l->b;
    bool second = l == &b->page[1];
    unsigned at = second ? 0 : b->ra & ~PAGE_MASK, n = second ? b->len2 : b->len;
    return offset < at + n && at < offset + len;
}

/* tlb.c */
Context *context_get(TcgVcpu *v, uint32_t asid, unsigned view);
void  contexts_free(TcgVcpu *v);
void  context_forget_code(Context *c, const uint8_t *lo, const uint8_t *hi);
/* The next member of a set from i on that is not in another (NULL: of all); size: none.  words, more (or NULL): a bit per
 * word of the set that may be non-zero. */
static inline unsigned set_next(const uint64_t *set, const uint64_t *words, const uint64_t *more, const uint64_t *but,
                                unsigned size, unsigned i)
{
    uint64_t from = ~UINT64_C(0) << i % 64;
    for (unsigned w = i / 64; w < size / 64; w++, from = ~UINT64_C(0)) {
        uint64_t later = (words[w / 64] | (more ? more[w / 64] : 0)) >> w % 64;
        if (!later) {
            w |= 63;
            continue;
        }
        if (!(later & 1)) {
            w += __builtin_ctzll(later);
            from = ~UINT64_C(0);
        }
        uint64_t m = set[w] & ~(but ? but[w] : 0) & from;
        if (m)
            return w * 64 + __builtin_ctzll(m);
    }
    return size;
}
static inline unsigned tlb_next(const Context *c, unsigned i, bool globals)
{
    return set_next(c->tlb_used, c->tlb_words[0], globals ? c->tlb_words[1] : NULL, globals ? NULL : c->tlb_global,
                    TLB_SIZE, i);
}
static inline unsigned jump_next(const Context *c, unsigned i, bool globals)
{
    return set_next(c->jump_used, c->jump_words[0], globals ? c->jump_words[1] : NULL, globals ? NULL : c->jump_global,
                    JUMP_SIZE, i);
}
void  tlb_protect_page(TcgVcpu *v, uint64_t ram_page);  /* writes to it go the slow way from now on */
void  tlb_protect_all(TcgVcpu *v);                      /* all writes do */
void  tlb_remapped(TcgVcpu *v);                         /* physical memory has changed: forget all */
void  jump_fill(TcgVcpu *v, uint64_t pc, const Found *f);
void  tlb_hook_select(CpuState *cpu, uint32_t asid, unsigned view);
void  tlb_hook_flush(CpuState *cpu, int32_t asid, bool globals);
void  tlb_hook_flush_page(CpuState *cpu, int32_t asid, uint64_t va);

/* softmmu.c: no FP */
extern const SlowOps softmmu_ops, softmmu_check_ops;
int   slow_load(CpuState *cpu, uint64_t va, uint32_t memop);
int   slow_store(CpuState *cpu, uint64_t va, uint32_t memop);
int   slow_atomic(CpuState *cpu, uint64_t va, uint32_t flags);
const Window *window_find(TcgVcpu *v, uint64_t pa);     /* NULL: not RAM */
bool  mem_load(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t *out);
bool  mem_store(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t val);
void *mem_host(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view);
bool  mem_probe(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view);
bool  mem_cas(CpuState *cpu, uint64_t va, unsigned size, uint64_t old[2], const uint64_t new_[2]);
bool  mem_phys_load(CpuState *cpu, uint64_t pa, unsigned size, uint64_t *out);
bool  mem_phys_cas(CpuState *cpu, uint64_t pa, unsigned size, uint64_t old, uint64_t new_);

/* io.c: what slow paths call behind fp_shield(), and the other hooks of the target */
void  fp_shield(void (*fn)(void *arg), void *arg, uint32_t mxcsr);
typedef struct IoReq { TcgVcpu *v; uint64_t pa, value; unsigned size; bool fault; } IoReq;
void  io_load(void *req);
void  io_store(void *req);
typedef struct MisalignedReq { CpuState *cpu; uint64_t va; unsigned memop; bool allowed; } MisalignedReq;
void  misaligned(void *req);
typedef struct WindowReq { TcgVcpu *v; uint64_t pa; const Window *found; } WindowReq;
void  window_fetch(void *req);
typedef struct ContextReq { TcgVcpu *v; uint32_t asid; unsigned view; Context *found; } ContextReq;
void  context_get_req(void *req);
extern const CpuHooks tcg_hooks;

/* invalidate.c */
/* Before its bytes are read.  False: other vCPUs may store to it unseen until code_pages_settle(). */
bool  code_page_pin(TcgVcpu *v, uint64_t ram_page);
void  code_sync_init(void);
void  code_pages_settle(TcgVcpu *v);            /* alone: no vCPU has an entry for fast stores */
void  code_page_unpin(Tcg *t, uint64_t ram_page);
void  code_page_add(Tcg *t, Block *b);
void  code_page_remove(Tcg *t, Block *b);
/* A store by this vCPU to bytes that blocks may cover, after the fact.  file: the running block may be among them, which
 * is for the next safe point. */
typedef struct CodeStore { TcgVcpu *v; uint64_t ram_page; unsigned offset, len; bool file; } CodeStore;
void  code_store(void *req);
/* This vCPU is about to have an entry for fast stores to the page, or to store by the slow path.  To be called before
 * the code flag is read: whoever sets the flag looks here after it. */
enum { WRITERS_MANY = 0xff };
static inline void writer_note(TcgVcpu *v, uint32_t ram_page)
{
    uint16_t *w = v->tcg->writers;
    if (!w)
        return;
    w += ram_page;
    uint16_t epoch = atomic_load_explicit(&v->tcg->epoch, memory_order_relaxed), mine = epoch | (v->v.index + 1);
    uint16_t was = __atomic_load_n(w, __ATOMIC_RELAXED);
    for (;;) {
        bool empty = (was & 0xff00) != epoch || !(was & 0xff);
        uint16_t now = empty || was == mine ? mine : epoch | WRITERS_MANY;
        if (was == now || __atomic_compare_exchange_n(w, &was, now, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            return;
    }
}
void  ram_written_hook(void *self, uint64_t ram_page, unsigned offset, unsigned len);
void  ram_protect_hook(void *self, uint64_t ram_page, uint64_t n);
void  invalidate_work(TcgVcpu *v);              /* at a safe point: what other threads have filed */
typedef struct DirtyReq { TcgVcpu *v; uint64_t ram_page; } DirtyReq;
void  dirty_req(void *req);

/* debug.c */
extern const AccelDebug tcg_debug;
void  debug_vcpu_init(TcgVcpu *v);
void  debug_hook_changed(CpuState *cpu);        /* CpuHooks */
bool  debug_hook_break_at(CpuState *cpu, uint64_t va);
bool  debug_hook_precise(CpuState *cpu);
void  debug_resumed(TcgVcpu *v);                /* vcpu_run() begins */
void  debug_again(TcgVcpu *v);                  /* the instruction at pc is run again by itself: breakpoints are behind it */
void  debug_fetch_failed(TcgVcpu *v);           /* a breakpoint comes before the fault of its fetch */
void  debug_after(TcgVcpu *v);                  /* after service() or an instruction: stops if a watchpoint was hit */
typedef struct WatchReq { TcgVcpu *v; uint64_t va; unsigned len; bool write; } WatchReq;
void  debug_watch_hit(void *req);               /* behind fp_shield() */
static inline bool debug_watches_page(const TcgVcpu *v, uint64_t page)
{
    for (unsigned i = 0; i < v->n_watches; i++) {
        const Watch *w = &g_array_index(v->watches, Watch, i);
        if (page + (PAGE_SIZE - 1) >= w->va && page <= w->va + (w->len - 1))
            return true;
    }
    return false;
}

/* check.c */
Check *check_new(TcgVcpu *v);
void   check_free(Check *c);
CpuExit check_run(TcgVcpu *v, Block *b);        /* interpreter, then compiled code; aborts if they differ */
typedef struct CheckAccess { CpuState *cpu; uint64_t va; uint32_t memop; unsigned kind; int status; } CheckAccess;
enum { CHECK_LOAD, CHECK_STORE, CHECK_ATOMIC, CHECK_CALL };
void   check_access(void *acc);
uint64_t check_helper(CpuState *cpu, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5);

/* stats.c */
void tcg_stats(Accel *a, GString *out);
uint64_t *helper_counter(void *tcg, const IrHelper *h);
/* disas.c */
void disas_guest(TcgVcpu *v, const Ir *ir, uint64_t pc, const uint8_t *code, unsigned len);
void disas_host(Tcg *t, const Block *b);
void perfmap_add(Tcg *t, const Block *b, uint64_t pc);

#endif
