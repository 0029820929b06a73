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
 * With several vCPUs the blocks are dropped after the store, so that nobody makes new ones of the old bytes; no other
 * vCPU enters them from then on, whatever leads there.  One that is inside goes on to its end, as a processor does with
 * what it has fetched.  Before a page's first block is made, no vCPU may have a way to store to it unseen: which ones
 * might is known by page (writers), and if there is another one than that which translates, all stand still once and
 * every TLB entry becomes slow to write.
 *
 * Writes by devices are filed, and acted upon at the next safe point of whoever comes first. */
#include "accel/tcg/tcg_int.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
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

/* Lock held.  The flag is set before the first byte is read, and stays while pinned, blocks or not.  A vCPU that has a
 * page's flag in its way looks for blocks and pins after its store: with pins it waits for the lock, so that the block
 * that is being made is there to be dropped. */
bool code_page_pin(TcgVcpu *v, uint64_t ram_page)
{
    Tcg *t = v->tcg;
    __atomic_add_fetch(&page_get(t, ram_page)->pins, 1, __ATOMIC_SEQ_CST);
    if (!v->code_flags[ram_page]) {
        __atomic_store_n(&v->code_flags[ram_page], 1, __ATOMIC_SEQ_CST);
        tlb_protect_page(v, ram_page);
    }
    if (!t->several)
        return true;
    uint16_t w = __atomic_load_n(&t->writers[ram_page], __ATOMIC_SEQ_CST);
    return (w & 0xff00) != atomic_load(&t->epoch) || !(w & 0xff) || (w & 0xff) == v->v.index + 1;
}

/* All pages at once, since it costs little more than one: what is still being written is slow once. */
void code_pages_settle(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    for (unsigned i = 0; i < t->a.vcpus->len; i++)
        tlb_protect_all(t->a.vcpus->pdata[i]);
    atomic_store(&t->epoch, (uint16_t)(atomic_load(&t->epoch) + 0x100));
}

static void page_release(Tcg *t, CodePage *p)
{
    if (p->blocks || p->pins)
        return;
    __atomic_store_n(&p->chunks, 0, __ATOMIC_RELAXED);
    p->hits = 0;
    __atomic_store_n(&t->a.m.ram->code_flags[p->ram_page], 0, __ATOMIC_RELEASE);
}

void code_page_unpin(Tcg *t, uint64_t ram_page)
{
    CodePage *p = page_get(t, ram_page);
    __atomic_sub_fetch(&p->pins, 1, __ATOMIC_SEQ_CST);
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
    __atomic_store_n(&p->chunks, p->chunks | chunk_bits(ra & ~PAGE_MASK, len), __ATOMIC_RELAXED);
    __atomic_store_n(&p->blocks, l, __ATOMIC_RELEASE);      /* code_covers() takes no lock */
}

void code_page_add(Tcg *t, Block *b)
{
    add_link(t, b, 0, b->ra, b->len);
    if (b->ra2 != RA_NONE)
        add_link(t, b, 1, b->ra2, b->len2);
}

static void remove_link(Tcg *t, PageLink *l, uint64_t ra)
{
    __atomic_store_n(l->prev, l->next, __ATOMIC_RELEASE);
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
    bool hit = false;
    for (PageLink *l = p ? p->blocks : NULL; l && !hit; l = l->next)
        hit = link_covers(l, offset, len);
    if (!hit)
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

/* --- other processors' pipelines.  A jump that was changed, or the entry of a block that is dead, may have been fetched
 * by another processor before; when our store is seen there it must not be run any more. */

static int membarrier(int cmd) { return syscall(SYS_membarrier, cmd, 0, 0); }

void code_sync_init(void) { membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE); }

static void code_sync(Tcg *t)
{
    if (t->several)
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
}

/* --- from other threads, or from devices that this vCPU has just touched */

static void file_written(Tcg *t, uint64_t ram_page, unsigned offset, unsigned len)
{
    pthread_mutex_lock(&t->written_lock);
    Written *last = t->written->len ? &g_array_index(t->written, Written, t->written->len - 1) : NULL;
    if (last && last->ram_page == ram_page) {
        unsigned lo = MIN(last->offset, offset), hi = MAX(last->offset + last->len, offset + len);
        last->offset = lo;
        last->len = hi - lo;
    } else if (t->written->len == MAX_WRITTEN) {
        t->written_all = true;
    } else {
        Written w = { ram_page, offset, len };
        g_array_append_val(t->written, w);
    }
    atomic_store(&t->written_any, true);
    pthread_mutex_unlock(&t->written_lock);
    for (unsigned i = 0; i < t->a.vcpus->len; i++)
        vcpu_request(t->a.vcpus->pdata[i], VCPU_WORK);
}

void code_store(void *req)
{
    CodeStore *r = req;
    Tcg *t = r->v->tcg;
    if (r->file) {
        file_written(t, r->ram_page, r->offset, r->len);
        return;
    }
    pthread_mutex_lock(&t->lock);
    uint64_t before = t->st.invalidated;
    t->st.code_stores++;
    drop(t, r->ram_page, r->offset, r->len);
    bool any = t->st.invalidated != before;
    pthread_mutex_unlock(&t->lock);
    if (any)
        code_sync(t);
}

void ram_written_hook(void *self, uint64_t ram_page, unsigned offset, unsigned len)
{
    Tcg *t = self;
    __atomic_add_fetch(&t->st.dma_hits, 1, __ATOMIC_RELAXED);
    file_written(t, ram_page, offset, len);
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

/* Whoever comes first does it for all; those who come meanwhile wait for the lock. */
static void take_written(Tcg *t)
{
    pthread_mutex_lock(&t->lock);
    pthread_mutex_lock(&t->written_lock);
    GArray *written = t->written;
    bool all = t->written_all;
    t->written = g_array_new(FALSE, FALSE, sizeof(Written));
    t->written_all = false;
    pthread_mutex_unlock(&t->written_lock);
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
    code_sync(t);
    pthread_mutex_lock(&t->written_lock);
    atomic_store(&t->written_any, t->written->len || t->written_all);
    pthread_mutex_unlock(&t->written_lock);
    pthread_mutex_unlock(&t->lock);
    g_array_free(written, TRUE);
}

void invalidate_work(TcgVcpu *v)
{
    pthread_mutex_lock(&v->work_lock);
    GArray *protect = v->protect->len ? v->protect : NULL;
    bool remapped = v->remapped;
    if (protect)
        v->protect = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    v->remapped = false;
    pthread_mutex_unlock(&v->work_lock);

    if (atomic_load(&v->tcg->written_any))
        take_written(v->tcg);
    if (remapped)
        tlb_remapped(v);
    if (!protect)
        return;
    for (unsigned i = 0; i + 1 < protect->len; i += 2)
        protect_range(v, g_array_index(protect, uint64_t, i), g_array_index(protect, uint64_t, i + 1));
    g_array_free(protect, TRUE);
}
