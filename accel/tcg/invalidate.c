/* SPDX-License-Identifier: GPL-2.0-or-later
 * Self-modifying code.  A RAM page from which a block was read carries a code flag; while it does, stores to it take
 * the slow path, which asks here whether they touch a block's bytes.
 *
 * A store by guest code to a block's bytes is refused at first: the block that stores may be the one that is changed,
 * and what follows in it would be stale.  Refused, the instruction has had no effect; the run loop runs it again as a
 * block of its own, in which the store is done and the blocks it hits are dropped.  So guest code sees its own stores
 * from the next instruction on, and no look-up of "which block am I in" is needed.
 *
 * A page whose code is hit repeatedly is being reused rather than patched: all its blocks go, and stores are fast again.
 *
 * Writes by devices are filed with the vCPU, which acts upon them at its next safe point. */
#include "accel/tcg/tcg_int.h"

#include "util/log.h"

enum { PAGE_PATIENCE = 3, MAX_WRITTEN = 1024 };

static CodePage *page_get(Tcg *t, uint64_t ram_page)
{
    CodePage *p = code_page(t, ram_page);
    if (!p) {                                   /* never freed before the end: bounded by the guest's RAM */
        CodePage **head = &t->pages[ram_page & ((1 << PAGE_HASH_BITS) - 1)];
        p = g_new0(CodePage, 1);
        p->ram_page = ram_page;
        p->next = *head;
        __atomic_store_n(head, p, __ATOMIC_RELEASE);
    }
    return p;
}

/* Lock held.  The flag is set before the first byte is read, and stays while pinned, blocks or not: a write by a
 * device that comes in while a block is being made is filed and hits that block. */
void code_page_pin(TcgVcpu *v, uint64_t ram_page)
{
    page_get(v->tcg, ram_page)->pins++;
    if (v->code_flags[ram_page])
        return;
    __atomic_store_n(&v->code_flags[ram_page], 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < v->tcg->a.vcpus->len; i++)
        tlb_protect_page(v->tcg->a.vcpus->pdata[i], ram_page);
}

static void page_release(Tcg *t, CodePage *p)
{
    if (p->blocks || p->pins)
        return;
    p->chunks = 0;
    p->hits = 0;
    __atomic_store_n(&t->a.m.ram->code_flags[p->ram_page], 0, __ATOMIC_RELEASE);
}

void code_page_unpin(Tcg *t, uint64_t ram_page)
{
    CodePage *p = code_page(t, ram_page);
    p->pins--;
    page_release(t, p);
}

static void add_link(Tcg *t, Block *b, unsigned i, uint64_t ra, unsigned len)
{
    CodePage *p = page_get(t, ra >> PAGE_BITS);
    PageLink *l = &b->page[i];
    l->b = b;
    l->next = p->blocks;
    l->prev = &p->blocks;
    if (l->next)
        l->next->prev = &l->next;
    p->blocks = l;
    p->chunks |= chunk_bits(ra & ~PAGE_MASK, len);
}

void code_page_add(Tcg *t, Block *b)
{
    add_link(t, b, 0, b->ra, b->len);
    if (b->ra2 != RA_NONE)
        add_link(t, b, 1, b->ra2, b->len2);
}

static void remove_link(Tcg *t, PageLink *l, uint64_t ra)
{
    *l->prev = l->next;
    if (l->next)
        l->next->prev = l->prev;
    page_release(t, code_page(t, ra >> PAGE_BITS));
}

void code_page_remove(Tcg *t, Block *b)
{
    remove_link(t, &b->page[0], b->ra);
    if (b->ra2 != RA_NONE)
        remove_link(t, &b->page[1], b->ra2);
}

/* Lock held. */
static void drop(Tcg *t, uint64_t ram_page, unsigned offset, unsigned len)
{
    CodePage *p = code_page(t, ram_page);
    if (!p)
        return;
    bool all = ++p->hits >= PAGE_PATIENCE;
    t->st.page_drops += all;
    for (PageLink *l = p->blocks, *next; l; l = next) {
        next = l->next;
        if (!all && !link_covers(l, offset, len))
            continue;
        t->st.invalidated += !l->b->dead;       /* a straddler with both halves in one page comes twice */
        block_kill(t, l->b);
    }
}

static void file_written(TcgVcpu *v, uint64_t ram_page, unsigned offset, unsigned len)
{
    pthread_mutex_lock(&v->work_lock);
    Written *last = v->written->len ? &g_array_index(v->written, Written, v->written->len - 1) : NULL;
    if (last && last->ram_page == ram_page) {
        unsigned lo = MIN(last->offset, offset), hi = MAX(last->offset + last->len, offset + len);
        last->offset = lo;
        last->len = hi - lo;
    } else if (v->written->len == MAX_WRITTEN) {
        v->written_all = true;
    } else {
        Written w = { ram_page, offset, len };
        g_array_append_val(v->written, w);
    }
    pthread_mutex_unlock(&v->work_lock);
    vcpu_request(&v->v, VCPU_WORK);
}

void code_store(void *req)
{
    CodeStore *r = req;
    TcgVcpu *v = r->v;
    Tcg *t = v->tcg;
    if (r->after) {
        file_written(v, r->ram_page, r->offset, r->len);
        return;
    }
    t->st.code_stores++;
    if (v->in_code && !v->single) {
        v->retry = r->refused = true;
        t->st.retries++;
        return;
    }
    pthread_mutex_lock(&t->lock);
    drop(t, r->ram_page, r->offset, r->len);
    pthread_mutex_unlock(&t->lock);
}

/* --- from other threads, or from devices that this vCPU has just touched */

void ram_written_hook(void *self, uint64_t ram_page, unsigned offset, unsigned len)
{
    Tcg *t = self;
    t->st.dma_hits++;
    for (unsigned i = 0; i < t->a.vcpus->len; i++)
        file_written(t->a.vcpus->pdata[i], ram_page, offset, len);
}

void ram_protect_hook(void *self, uint64_t ram_page, uint64_t n)
{
    Tcg *t = self;
    for (unsigned i = 0; i < t->a.vcpus->len; i++) {
        TcgVcpu *v = t->a.vcpus->pdata[i];
        uint64_t range[2] = { ram_page, ram_page + n };
        pthread_mutex_lock(&v->work_lock);
        g_array_append_vals(v->protect, range, 2);
        pthread_mutex_unlock(&v->work_lock);
        vcpu_request(&v->v, VCPU_WORK);
    }
}

/* A page that could be written fast since its dirty bit was cleared counts as written once more; from now on its
 * stores are seen. */
static void protect_range(TcgVcpu *v, uint64_t from, uint64_t to)
{
    for (unsigned n = 0; n < v->n_ctxs; n++) {
        Context *c = v->ctxs[n];
        for (unsigned i = tlb_next(c, 0, true); i < TLB_SIZE; i = tlb_next(c, i + 1, true)) {
            TlbEntry *e = &c->hw.tlb[i];
            if (c->ram_page[i] < from || c->ram_page[i] >= to || (e->write & TLB_SLOW))
                continue;
            dirty_mark(v->ram, c->ram_page[i], 1);
            e->write |= TLB_SLOW;
        }
    }
}

void invalidate_work(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    pthread_mutex_lock(&v->work_lock);
    GArray *written = v->written, *protect = v->protect;
    bool all = v->written_all, remapped = v->remapped;
    v->written = g_array_new(FALSE, FALSE, sizeof(Written));
    v->protect = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    v->written_all = v->remapped = false;
    pthread_mutex_unlock(&v->work_lock);

    pthread_mutex_lock(&t->lock);
    if (all) {
        for (unsigned i = 0; i < 1u << PAGE_HASH_BITS; i++)
            for (CodePage *p = t->pages[i]; p; p = p->next) {
                p->hits = PAGE_PATIENCE;
                drop(t, p->ram_page, 0, PAGE_SIZE);
            }
    }
    for (unsigned i = 0; i < written->len; i++) {
        const Written *w = &g_array_index(written, Written, i);
        drop(t, w->ram_page, w->offset, w->len);
    }
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i + 1 < protect->len; i += 2)
        protect_range(v, g_array_index(protect, uint64_t, i), g_array_index(protect, uint64_t, i + 1));
    if (remapped)
        tlb_remapped(v);
    g_array_free(written, TRUE);
    g_array_free(protect, TRUE);
}
