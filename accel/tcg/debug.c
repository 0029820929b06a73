/* SPDX-License-Identifier: GPL-2.0-or-later
 * Breakpoints and watchpoints, a debugger's and those in the guest's own debug registers.
 *
 * Instruction breakpoints.  A check is compiled before each instruction whose offset in its page is that of some
 * breakpoint, wherever it is mapped: blocks are by physical address, and which page a virtual address names may change.
 * A block that has no such check and would need one is dropped when the breakpoint is set, so links, jump caches and
 * whatever else leads to it find a block without caring why; the check is one helper call in one instruction of 4096.
 * Offsets stay marked until the last of a debugger's points goes and no CPU has one of its own.
 *
 * Data breakpoints.  TLB entries of pages with watched bytes are slow.  What hits in the middle of a block is refused
 * like a store into code (invalidate.c): its instruction runs again by itself, so that what follows comes right after it. */
#include "accel/tcg/tcg_int.h"

#include "target/debug.h"

/* --- where checks are */

static bool covers_offset(const Block *b, unsigned at)
{
    unsigned first = b->ra & ~PAGE_MASK;
    return (at >= first && at < first + b->len) || (b->ra2 != RA_NONE && at < b->len2);
}

/* Lock held. */
static void drop_blocks_at(Tcg *t, unsigned at)
{
    for (unsigned s = 0; s < t->n_seg; s++) {
        GPtrArray *blocks = t->seg[s].blocks;
        for (unsigned i = 0; i < blocks->len; i++) {
            Block *b = blocks->pdata[i];
            if (b->listed && covers_offset(b, at))
                block_kill(t, b);
        }
    }
}

/* Takes effect on this vCPU at its next block; on the others as well, which are paused or not concerned. */
static void check_add(Tcg *t, uint64_t va)
{
    unsigned at = va & ~PAGE_MASK;
    pthread_mutex_lock(&t->lock);
    if (!bit_test(t->checks, at)) {
        bit_set(t->checks, at);
        t->any_checks = true;
        drop_blocks_at(t, at);
    }
    pthread_mutex_unlock(&t->lock);
}

/* All paused.  The marks of what is left are made anew. */
static void checks_renew(Tcg *t)
{
    uint64_t want[PAGE_SIZE / 64] = { 0 };
    unsigned n;
    const DebugPoint *p = accel_debug_points(&t->a, &n);
    for (unsigned i = 0; i < n; i++)
        if (p[i].kind <= DEBUG_HW_BREAK)
            bit_set(want, p[i].va & ~PAGE_MASK);
    for (unsigned i = 0; i < t->a.vcpus->len; i++) {
        TcgVcpu *v = t->a.vcpus->pdata[i];
        TargetPoint own[TARGET_POINTS];
        n = v->target->debug ? v->target->debug->points(v->cpu, own) : 0;
        for (unsigned k = 0; k < n; k++)
            if (own[k].exec)
                bit_set(want, own[k].va & ~PAGE_MASK);
    }
    pthread_mutex_lock(&t->lock);
    t->any_checks = false;
    for (unsigned at = 0; at < PAGE_SIZE; at++) {
        if (bit_test(want, at))
            t->any_checks = true;
        else if (bit_test(t->checks, at))
            drop_blocks_at(t, at);
    }
    memcpy(t->checks, want, sizeof want);
    pthread_mutex_unlock(&t->lock);
}

/* --- watched data */

enum { MANY_PAGES = 64 };

/* TLB entries of the range are to be filled anew. */
static void forget_range(TcgVcpu *v, const Watch *w)
{
    uint64_t first = w->va & PAGE_MASK, n = ((w->va + (w->len - 1)) >> PAGE_BITS) - (w->va >> PAGE_BITS) + 1;
    if (n > MANY_PAGES) {
        tlb_hook_flush(v->cpu, -1, true);
        return;
    }
    for (; n--; first += PAGE_SIZE)
        tlb_hook_flush_page(v->cpu, -1, first);
}

static bool wanted(DebugKind kind, bool write)
{
    return kind == DEBUG_WATCH_ACCESS || kind == (write ? DEBUG_WATCH_WRITE : DEBUG_WATCH_READ);
}

/* On the vCPU's thread, or while it is paused.  without: a point that is about to go; with: one that is about to come. */
static void watches_renew(TcgVcpu *v, const DebugPoint *without, const DebugPoint *with)
{
    if (!v->cpu->vcpu)
        return;
    GArray *list = g_array_new(FALSE, FALSE, sizeof(Watch));
    TargetPoint own[TARGET_POINTS];
    unsigned n = v->target->debug ? v->target->debug->points(v->cpu, own) : 0;
    for (unsigned i = 0; i < n; i++) {
        Watch w = { own[i].va, own[i].len, own[i].read, own[i].write };
        if (!own[i].exec)
            g_array_append_val(list, w);
    }
    const DebugPoint *p = accel_debug_points(&v->tcg->a, &n);
    for (unsigned i = 0; i < n + !!with; i++) {
        const DebugPoint *q = i < n ? &p[i] : with;
        Watch w = { q->va, q->len, wanted(q->kind, false), wanted(q->kind, true) };
        bool goes = without && without->kind == q->kind && without->va == q->va && without->len == q->len;
        if (q->kind >= DEBUG_WATCH_WRITE && !goes)
            g_array_append_val(list, w);
    }
    GArray *before = v->watches;
    v->watches = list;
    v->n_watches = list->len;
    for (unsigned i = 0; i < before->len; i++)
        forget_range(v, &g_array_index(before, Watch, i));
    for (unsigned i = 0; i < list->len; i++)
        forget_range(v, &g_array_index(list, Watch, i));
    g_array_free(before, TRUE);
}

void debug_watch_hit(void *req)
{
    const WatchReq *r = req;
    TcgVcpu *v = r->v;
    const DebugPoint *p = accel_debug_watch_at(&v->tcg->a, r->va, r->len, r->write);
    bool hit = v->target->debug && v->target->debug->watched(v->cpu, r->va, r->len, r->write);
    if (p && !v->has_hit) {
        v->has_hit = true;
        v->hit = *p;
        v->hit_va = MAX(r->va, p->va);
    }
    if (p || hit)
        tcg_vcpu_interrupt(&v->v);      /* a repeated instruction ends its run, too */
}

/* --- the rows of AccelType.debug; all vCPUs are paused */

static bool insert(Accel *a, const DebugPoint *p, GError **err)
{
    if (p->kind <= DEBUG_HW_BREAK) {
        check_add((Tcg *)a, p->va);
        return true;
    }
    for (unsigned i = 0; i < a->vcpus->len; i++)
        watches_renew(a->vcpus->pdata[i], NULL, p);
    return true;
}

static void remove_point(Accel *a, const DebugPoint *p)
{
    unsigned n;
    accel_debug_points(a, &n);
    if (p->kind > DEBUG_HW_BREAK) {
        for (unsigned i = 0; i < a->vcpus->len; i++)
            watches_renew(a->vcpus->pdata[i], p, NULL);
    } else if (n == 1) {                /* offsets stay marked while a debugger is at work: it comes back to them */
        checks_renew((Tcg *)a);
    }
}

const AccelDebug tcg_debug = { .insert = insert, .remove = remove_point };

/* --- the run loop's side */

void debug_vcpu_init(TcgVcpu *v) { v->watches = g_array_new(FALSE, FALSE, sizeof(Watch)); }

void debug_hook_changed(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v)
        return;
    TargetPoint own[TARGET_POINTS];
    unsigned n = v->target->debug->points(cpu, own), data = 0;
    for (unsigned i = 0; i < n; i++) {
        if (own[i].exec)
            check_add(v->tcg, own[i].va);
        else
            data++;
    }
    if (data || v->n_watches)
        watches_renew(v, NULL, NULL);
}

static uint64_t pc_va(const TcgVcpu *v) { return v->target->code_va(v->cpu, v->cpu->hot[PC_OFFSET / 8]); }

bool debug_hook_break_at(CpuState *cpu, uint64_t va)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    const DebugPoint *p = accel_debug_break_at(&v->tcg->a, va);
    if (!p || v->v.debug.step)
        return false;
    if (v->pass && v->pass_va == va) {
        v->pass = false;
        return false;
    }
    v->told_va = va;
    vcpu_debug_stop(&v->v, DEBUG_POINT, p, va);
    return true;
}

bool debug_hook_precise(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v->in_code || v->single)
        return true;
    v->retry = true;
    return false;
}

/* A breakpoint that was told, and at which it still stands, is not told again before its instruction has run. */
void debug_resumed(TcgVcpu *v)
{
    v->pass_va = pc_va(v);
    v->pass = v->tcg->any_checks && v->told_va == v->pass_va && v->v.debug.told;
    v->told_va = ~v->pass_va;
    v->v.debug.told = false;
}

void debug_again(TcgVcpu *v)
{
    v->pass_va = pc_va(v);
    v->pass = v->tcg->any_checks;
}

void debug_fetch_failed(TcgVcpu *v)
{
    uint64_t va = pc_va(v);
    if (v->tcg->any_checks && bit_test(v->tcg->checks, va & ~PAGE_MASK))
        v->target->debug->at_insn(v->cpu, va);
}

/* An instruction that faults will come again, and hit again. */
void debug_after(TcgVcpu *v)
{
    if (G_LIKELY(!v->has_hit))
        return;
    v->has_hit = false;
    if (!v->target->debug->faulted(v->cpu))
        vcpu_debug_stop(&v->v, DEBUG_POINT, &v->hit, v->hit_va);
}
