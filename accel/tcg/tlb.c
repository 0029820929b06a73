/* SPDX-License-Identifier: GPL-2.0-or-later
 * TLB contexts: one software TLB, fetch TLB and jump cache per address-space id and view, so that switching between
 * address spaces, or between kernel and user, forgets nothing.  Flushes cost what was filled, not what there is: sets
 * of filled entries tell which to clear, and a flush that keeps globals leaves those of the global set.
 *
 * A context belongs to one vCPU and is touched by its thread only, or while it is paused or another vCPU is alone. */
#include "accel/tcg/tcg_int.h"

#include <string.h>
#include <sys/mman.h>
#include "util/log.h"

/* --- clearing */

static void tlb_drop(Context *c, unsigned i)
{
    c->hw.tlb[i].read = c->hw.tlb[i].write = TLB_EMPTY;
    bit_clear(c->tlb_used, i);
    bit_clear(c->tlb_global, i);
    c->v->st.tlb_dropped++;
}

static void jump_drop(Context *c, unsigned i)
{
    c->hw.jump[i].tag = jump_empty(i);
    bit_clear(c->jump_used, i);
    bit_clear(c->jump_global, i);
    bit_clear(c->jump_straddles, i);
    c->v->st.jump_dropped++;
}

static void fetch_drop(Context *c, unsigned i)
{
    c->fetch[i].va = TLB_EMPTY;
    bit_clear(c->fetch_used, i);
    bit_clear(c->fetch_global, i);
}

/* Of a kind of entries that are all gone; without words there are no hashes either. */
static void forget_kind(uint64_t *words, unsigned n, uint64_t *hashes, size_t len)
{
    uint64_t any = 0;
    for (unsigned i = 0; i < n; i++)
        any |= words[i];
    if (!any)
        return;
    memset(words, 0, n * sizeof *words);
    memset(hashes, 0, len);
}

static void jump_flush(Context *c, bool globals)
{
    for (unsigned i = jump_next(c, 0, globals); i < JUMP_SIZE; i = jump_next(c, i + 1, globals))
        jump_drop(c, i);
    for (unsigned g = 0; g <= globals; g++)
        forget_kind(c->jump_words[g], G_N_ELEMENTS(c->jump_words[g]), c->jump_pages[g], sizeof c->jump_pages[g]);
}

static void context_flush(Context *c, bool globals)
{
    for (unsigned i = tlb_next(c, 0, globals); i < TLB_SIZE; i = tlb_next(c, i + 1, globals))
        tlb_drop(c, i);
    for (unsigned g = 0; g <= globals; g++)
        forget_kind(c->tlb_words[g], G_N_ELEMENTS(c->tlb_words[g]), c->fast_pages[g], sizeof c->fast_pages[g]);
    for (unsigned w = 0; w < N_FETCH / 64; w++)
        for (uint64_t m = c->fetch_used[w] & ~(globals ? 0 : c->fetch_global[w]); m; m &= m - 1)
            fetch_drop(c, w * 64 + __builtin_ctzll(m));
    jump_flush(c, globals);
    if (globals)
        memset(c->large, 0, sizeof c->large);    /* else: global fragments of large mappings may be left */
}

void context_forget_code(Context *c, const uint8_t *lo, const uint8_t *hi)
{
    for (unsigned i = jump_next(c, 0, true); i < JUMP_SIZE; i = jump_next(c, i + 1, true)) {
        const uint8_t *code = c->hw.jump[i].code;
        if (code >= lo && code < hi)
            jump_drop(c, i);
    }
}

/* --- contexts */

#define CONTEXT_LEN ((sizeof(Context) + PAGE_SIZE - 1) & PAGE_MASK)

static Context *context_new(TcgVcpu *v)
{
    Context *c = mmap(NULL, CONTEXT_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c == MAP_FAILED)
        g_error("out of memory for a TLB context");
    c->v = v;
    for (unsigned i = 0; i < TLB_SIZE; i += TLB_SIZE - 1) {
        g_assert(tlb_needs_empty(i));
        c->hw.tlb[i].read = c->hw.tlb[i].write = TLB_EMPTY;
    }
    c->hw.jump[0].tag = jump_empty(0);          /* all others are zero */
    for (unsigned i = 0; i < N_FETCH; i++)
        fetch_drop(c, i);
    return c;
}

void contexts_free(TcgVcpu *v)
{
    for (unsigned i = 0; i < v->n_ctxs; i++)
        munmap(v->ctxs[i], CONTEXT_LEN);
}

/* One to be used for something else, by number. */
static unsigned context_oldest(TcgVcpu *v)
{
    if (v->n_ctxs < N_CONTEXTS) {
        v->ctxs[v->n_ctxs] = context_new(v);
        return v->n_ctxs++;
    }
    unsigned old = N_CONTEXTS;
    for (unsigned i = 0; i < v->n_ctxs; i++)
        if (&v->ctxs[i]->hw != v->cpu->ctx && (old == N_CONTEXTS || v->ctxs[i]->last_use < v->ctxs[old]->last_use))
            old = i;
    v->st.context_reuses++;
    context_flush(v->ctxs[old], true);
    return old;
}

static unsigned select_index(uint32_t asid, unsigned view) { return (asid * 4 + view) % SELECT_SIZE; }

Context *context_get(TcgVcpu *v, uint32_t asid, unsigned view)
{
    Context **cached = &v->select[select_index(asid, view)], *c = *cached;
    if (!c || c->asid != asid || c->view != view) {
        v->st.select_misses++;
        unsigned i = 0;
        while (i < v->n_ctxs && (v->asids[i] != asid || v->ctxs[i]->view != view))
            i++;
        bool known = i < v->n_ctxs;
        if (!known)
            i = context_oldest(v);
        *cached = c = v->ctxs[i];
        if (!known) {
            c->asid = v->asids[i] = asid;
            c->view = view;
        }
    }
    c->last_use = ++v->clock;
    return c;
}

void context_get_req(void *req)
{
    ContextReq *r = req;
    r->found = context_get(r->v, r->asid, r->view);
}

/* Jump entries are by the pc slot, but what they lead to depends on where code_va() puts it.  Targets call this after
 * every change of that, so here is where the entries of another base are dropped. */
void tlb_hook_select(CpuState *cpu, uint32_t asid, unsigned view)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v)
        return;                                 /* reset before it was given to us */
    v->st.selects++;
    Context *from = context(cpu), *c = from->asid == asid ? from->by_view[view] : NULL;
    if (G_LIKELY(c && c->asid == asid && c->view == view))      /* in and out of the kernel */
        c->last_use = ++v->clock;
    else
        c = from->by_view[view] = context_get(v, asid, view);
    cpu->ctx = &c->hw;
    uint64_t base = v->target->code_va(cpu, 0);
    if (from->asid != asid || from->code_base != base)
        cpu->returns_stale = 1;
    if (G_UNLIKELY(base != c->code_base)) {
        jump_flush(c, true);
        c->code_base = base;
    }
}

/* --- flushes */

void tlb_hook_flush(CpuState *cpu, int32_t asid, bool globals)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v)
        return;
    cpu->returns_stale = 1;
    v->st.flush_all += asid < 0;
    v->st.flush_asid += asid >= 0;
    v->st.flush_global += globals;
    trace(LOG_MMU, "tlb: flush asid %d%s\n", asid, globals ? " with globals" : "");
    if (asid < 0 && globals)
        memset(v->globals, 0, sizeof v->globals);
    for (unsigned i = 0; i < v->n_ctxs; i++)
        if (asid < 0 || v->asids[i] == (uint32_t)asid)
            context_flush(v->ctxs[i], globals);
}

static unsigned entry_log(const TlbEntry *e) { return (e->pa & TLBE_LOG) >> TLBE_LOG_SHIFT; }
static uint64_t entry_va(const TlbEntry *e) { return (e->read != TLB_EMPTY ? e->read : e->write) & PAGE_MASK; }

/* Pages of pc that lie in the same 2^log frame as pc; straddlers also when their second page does. */
static void jump_drop_range(Context *c, uint64_t pc, unsigned log, bool only_global)
{
    /* A tag's mode bits are in its top 16; canonical addresses differ below them. */
    for (unsigned i = jump_next(c, 0, true); i < JUMP_SIZE; i = jump_next(c, i + 1, true)) {
        uint64_t tag = c->hw.jump[i].tag;
        bool hit = (tag ^ pc) << 16 >> (16 + log) == 0;
        if (!hit && bit_test(c->jump_straddles, i))
            hit = ((tag + PAGE_SIZE) ^ pc) << 16 >> (16 + log) == 0;
        if (hit && (!only_global || bit_test(c->jump_global, i)))
            jump_drop(c, i);
    }
}

static bool same_frame(uint64_t a, uint64_t b, unsigned log) { return log > 63 || (a ^ b) >> log == 0; }

/* Drops all that came from large mappings around va. */
static void drop_large(Context *c, uint64_t va, bool only_global)
{
    c->v->st.flush_page_scans++;
    unsigned widest = 0;
    for (unsigned i = tlb_next(c, 0, true); i < TLB_SIZE; i = tlb_next(c, i + 1, true)) {
        unsigned log = entry_log(&c->hw.tlb[i]);
        if (log > PAGE_BITS && same_frame(entry_va(&c->hw.tlb[i]), va, log) && (!only_global || bit_test(c->tlb_global, i)))
            tlb_drop(c, i);
    }
    for (unsigned i = 0; i < N_FETCH; i++) {
        FetchEntry *f = &c->fetch[i];
        if (f->log > PAGE_BITS && f->va != TLB_EMPTY && (f->global || !only_global) && same_frame(f->va, va, f->log)) {
            if (f->log > widest)
                widest = f->log;
            fetch_drop(c, i);
        }
    }
    /* Entries of the jump cache may outlive the fetch entry that they came from. */
    unsigned log = bit_test(c->large, frame_hash(va, 30)) ? 30 : 21;
    jump_drop_range(c, va - c->code_base, widest > log ? widest : log, only_global);
}

static void drop_page(Context *c, uint64_t va, bool only_global)
{
    uint64_t page = va & PAGE_MASK;
    unsigned i = tlb_index(va);
    if (entry_va(&c->hw.tlb[i]) == page && (!only_global || bit_test(c->tlb_global, i)))
        tlb_drop(c, i);
    unsigned k = va >> PAGE_BITS & (N_FETCH - 1);
    if (c->fetch[k].va == page && (!only_global || c->fetch[k].global))
        fetch_drop(c, k);
    if (G_UNLIKELY(c->code_base))
        jump_flush(c, true);            /* pcs wrap at a width that we do not know */
    uint64_t pc = va - c->code_base;
    unsigned hash = frame_hash(pc, PAGE_BITS);
    if (bit_test(c->jump_pages[1], hash) || (!only_global && bit_test(c->jump_pages[0], hash)))
        jump_drop_range(c, pc, PAGE_BITS, only_global);
    if (bit_test(c->large, frame_hash(va, 21)) || bit_test(c->large, frame_hash(va, 30)))
        drop_large(c, va, only_global);
}

void tlb_hook_flush_page(CpuState *cpu, int32_t asid, uint64_t va)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v)
        return;
    cpu->returns_stale = 1;
    v->st.flush_page++;
    trace(LOG_MMU, "tlb: flush page %016" G_GINT64_MODIFIER "x asid %d\n", va, asid);
    bool global = bit_test(v->globals, frame_hash(va, PAGE_BITS)) || bit_test(v->globals, frame_hash(va, 21)) ||
                  bit_test(v->globals, frame_hash(va, 30));
    v->st.flush_page_all += global;
    for (unsigned i = 0; i < v->n_ctxs; i++) {
        bool own = asid < 0 || v->asids[i] == (uint32_t)asid;
        if (own || global)
            drop_page(v->ctxs[i], va, !own);
    }
}

void tlb_remapped(TcgVcpu *v)
{
    memset(v->win, 0, sizeof v->win);
    memset(v->globals, 0, sizeof v->globals);
    for (unsigned i = 0; i < v->n_ctxs; i++)
        context_flush(v->ctxs[i], true);
}

void tlb_protect_page(TcgVcpu *v, uint64_t ram_page)
{
    for (unsigned n = 0; n < v->n_ctxs; n++) {
        Context *c = v->ctxs[n];
        unsigned hash = ram_hash(ram_page);
        if (!bit_test(c->fast_pages[0], hash) && !bit_test(c->fast_pages[1], hash))
            continue;
        for (unsigned i = tlb_next(c, 0, true); i < TLB_SIZE; i = tlb_next(c, i + 1, true))
            if (c->ram_page[i] == ram_page && c->hw.tlb[i].write != TLB_EMPTY)
                c->hw.tlb[i].write |= TLB_SLOW;
    }
}

void tlb_protect_all(TcgVcpu *v)
{
    for (unsigned n = 0; n < v->n_ctxs; n++) {
        Context *c = v->ctxs[n];
        for (unsigned i = tlb_next(c, 0, true); i < TLB_SIZE; i = tlb_next(c, i + 1, true))
            if (c->hw.tlb[i].write != TLB_EMPTY)
                c->hw.tlb[i].write |= TLB_SLOW;
    }
}

void jump_fill(TcgVcpu *v, uint64_t pc, const Found *f)
{
    if (G_UNLIKELY(f->mixed))
        return;                         /* it would have to go when either page goes, by different flushes */
    bool global = f->global;
    Context *c = context(v->cpu);
    unsigned i = jump_index(pc);
    c->hw.jump[i].code = f->code;
    c->hw.jump[i].tag = jump_tag(pc, v->cpu->mode_tag);
    v->st.jump_replaced += bit_test(c->jump_used, i);
    bit_set(c->jump_used, i);
    bit_set(c->jump_words[global], i / 64);
    bit_clear(c->jump_global, i);
    bit_clear(c->jump_straddles, i);
    if (global)
        bit_set(c->jump_global, i);
    for (unsigned n = 0; n <= f->straddles; n++) {
        bit_set(c->jump_pages[global], frame_hash(pc + n * PAGE_SIZE, PAGE_BITS));
    }
    if (f->straddles)
        bit_set(c->jump_straddles, i);
    v->st.jump_fills++;
}
