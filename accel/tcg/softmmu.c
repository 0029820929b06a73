/* SPDX-License-Identifier: GPL-2.0-or-later
 * The slow paths of guest memory: TLB misses, page-crossing and misaligned accesses, I/O, ROM, stores to pages with
 * code.  Generated code calls them with guest vectors live in host registers, so this file is compiled without FP
 * (hot-y) and calls nothing that may use FP but through fp_shield(). */
#include "accel/tcg/tcg_int.h"

static inline uint64_t host_load(const void *p, unsigned n)
{
    switch (n) {
    case 1: return *(const volatile uint8_t *)p;
    case 2: { uint16_t x; __builtin_memcpy(&x, p, 2); return x; }
    case 4: { uint32_t x; __builtin_memcpy(&x, p, 4); return x; }
    default: { uint64_t x; __builtin_memcpy(&x, p, 8); return x; }
    }
}

static inline void host_store(void *p, unsigned n, uint64_t val)
{
    switch (n) {
    case 1: *(volatile uint8_t *)p = val; break;
    case 2: { uint16_t x = val; __builtin_memcpy(p, &x, 2); break; }
    case 4: { uint32_t x = val; __builtin_memcpy(p, &x, 4); break; }
    default: __builtin_memcpy(p, &val, 8); break;
    }
}

static inline bool code_flag(const TcgVcpu *v, uint32_t ram_page)
{
    return __atomic_load_n(&v->code_flags[ram_page], __ATOMIC_RELAXED);
}

static inline uint64_t swap(uint64_t x, unsigned n) { return __builtin_bswap64(x) >> (64 - 8 * n); }

/* A value of n bytes in words, low first, the other way round. */
static inline void swap_words(uint64_t *x, unsigned n)
{
    uint64_t low = x[0];
    x[0] = n == 16 ? swap(x[1], 8) : swap(low, n);
    if (n == 16)
        x[1] = swap(low, 8);
}

/* --- filling */

/* NULL: no RAM there, or not the whole page (finer pieces go the slow way). */
const Window *window_find(TcgVcpu *v, uint64_t pa)
{
    for (unsigned i = 0; i < N_WINDOWS; i++)
        if (pa - v->win[i].pa < v->win[i].len)
            return &v->win[i];
    WindowReq r = { v, pa, NULL };
    fp_shield(window_fetch, &r, v->cpu->fp_host);
    return r.found;
}

/* Registers that entry i is filled, and from what. */
static void mark_bits(Context *c, unsigned i, bool global, uint64_t va, unsigned log)
{
    bit_set(c->tlb_used, i);
    bit_set(c->tlb_words[global], i / 64);
    if (global)
        bit_set(c->tlb_global, i);
    else
        bit_clear(c->tlb_global, i);
    mark_frames(c, global, va, log);
}

static __attribute__((noinline)) TlbEntry *tlb_fill(TcgVcpu *v, Context *c, uint64_t va, MmuAccess acc)
{
    MmuResult r;
    if (!v->target->mmu(v->cpu, va, acc, c->view, &r)) {        /* compiled without FP, see target.h */
        v->st.fill_faults++;
        return NULL;
    }
    v->st.tlb_fills++;
    unsigned i = tlb_index(va), log = 63 - __builtin_clzll(r.page_len | PAGE_SIZE);
    TlbEntry *e = &c->hw.tlb[i];
    uint64_t page = va & PAGE_MASK;
    if (bit_test(c->tlb_used, i)) {
        bool here = ((e->read & e->write) & ~(uint64_t)TLB_SLOW) == page;   /* one of them may be TLB_EMPTY */
        v->st.tlb_replaced += !here;
        v->st.tlb_upgraded += here;
    }
    uint64_t pa = r.pa & PAGE_MASK, slow = v->tcg->check || v->tcg->stress_fault ? TLB_SLOW : 0;
    const Window *w = window_find(v, pa);
    e->pa = pa | (r.global ? TLBE_GLOBAL : 0) | (log > PAGE_BITS ? TLBE_LARGE : 0) | log << TLBE_LOG_SHIFT;
    e->read = r.readable ? page : TLB_EMPTY;
    e->write = r.writable ? page : TLB_EMPTY;
    if (w) {
        uint64_t ram_page = w->ram_page + ((pa - w->pa) >> PAGE_BITS);
        e->addend = (uint64_t)(w->host + (pa - w->pa)) - page;
        c->ram_page[i] = ram_page;
        e->read |= slow;
        if (w->readonly)
            e->pa |= TLBE_READONLY;
        /* With several vCPUs only a store makes an entry for fast stores: see writer_note(). */
        bool fast = !slow && !w->readonly && r.writable && dirty_settled(v->ram, ram_page) && !code_flag(v, ram_page) &&
                    (acc == ACC_WRITE || !v->tcg->several);
        if (fast) {
            writer_note(v, ram_page);
            fast = !code_flag(v, ram_page);
        }
        if (fast)
            bit_set(c->fast_pages[r.global], ram_hash(ram_page));
        else if (r.writable)
            e->write |= TLB_SLOW;
    } else {
        c->ram_page[i] = RAM_NONE;
        e->read |= TLB_SLOW;
        e->write |= TLB_SLOW;
    }
    if (G_UNLIKELY(v->n_watches) && debug_watches_page(v, page)) {
        e->pa |= TLBE_WATCH;
        e->read |= TLB_SLOW;
        e->write |= TLB_SLOW;
    }
    mark_bits(c, i, r.global, va, log);
    return e;
}

/* The entry for va with permission for acc; NULL: fault recorded. */
static inline TlbEntry *tlb_get(TcgVcpu *v, Context *c, uint64_t va, MmuAccess acc)
{
    TlbEntry *e = &c->hw.tlb[tlb_index(va)];
    uint64_t have = acc == ACC_WRITE ? e->write : e->read;
    if (G_LIKELY((have & ~(uint64_t)TLB_SLOW) == (va & PAGE_MASK)))
        return e;
    return tlb_fill(v, c, va, acc);
}

static Context *context_of_view(CpuState *cpu, unsigned view)
{
    Context *c = context(cpu);
    if (view == c->view)
        return c;
    TcgVcpu *v = tcg_vcpu(cpu);
    v->st.view_other++;
    Context *o = c->by_view[view];
    if (o && o->asid == c->asid && o->view == view)
        return o;
    ContextReq r = { v, c->asid, view, NULL };
    fp_shield(context_get_req, &r, cpu->fp_host);
    c->by_view[view] = r.found;
    return r.found;
}

static inline Context *context_of(CpuState *cpu, unsigned memop)
{
    return memop & MO_VIEW ? context_of_view(cpu, ((memop & MO_VIEW) >> MO_VIEW_SHIFT) - 1) : context(cpu);
}

/* --- I/O */

static bool io_access(TcgVcpu *v, bool write, uint64_t pa, unsigned n, uint64_t *val)
{
    IoReq r = { v, pa, write ? *val : 0, n, false };
    fp_shield(write ? io_store : io_load, &r, v->cpu->fp_host);
    if (!write)
        *val = r.value;
    return !r.fault;
}

/* Before an access with MO_ALIGN.  False: fault recorded. */
static bool aligned(CpuState *cpu, uint64_t va, unsigned memop)
{
    if (G_LIKELY(!(memop & MO_ALIGN) || !(va & (mo_bytes(memop) - 1))))
        return true;
    MisalignedReq r = { cpu, va, memop, false };
    fp_shield(misaligned, &r, cpu->fp_host);
    return r.allowed;
}

/* --- pieces: n bytes at va, all in the page of e */

static inline bool load_piece(TcgVcpu *v, Context *c, TlbEntry *e, uint64_t va, unsigned n, uint64_t *out)
{
    if (G_LIKELY(c->ram_page[tlb_index(va)] != RAM_NONE)) {
        *out = host_load((const void *)(va + e->addend), n);
        return true;
    }
    v->st.io_loads++;
    return io_access(v, false, (e->pa & PAGE_MASK) | (va & ~PAGE_MASK), n, out);
}

/* Whether some block was made from these bytes. */
static bool code_covers(Tcg *t, uint64_t ram_page, unsigned offset, unsigned len)
{
    CodePage *p = code_page(t, ram_page);
    if (!p || !(__atomic_load_n(&p->chunks, __ATOMIC_RELAXED) & chunk_bits(offset, len)))
        return false;
    for (PageLink *l = __atomic_load_n(&p->blocks, __ATOMIC_ACQUIRE); l; l = __atomic_load_n(&l->next, __ATOMIC_ACQUIRE))
        if (link_covers(l, offset, len))
            return true;
    return false;
}

/* Before bytes of a RAM page may be changed.  False: they hold code and the store is refused: the block that runs may be
 * the one that is changed, so the instruction is to be run again by itself. */
static bool store_allowed(TcgVcpu *v, Context *c, TlbEntry *e, uint64_t va, unsigned n)
{
    uint32_t ram_page = c->ram_page[tlb_index(va)];
    if (G_LIKELY(!(e->write & TLB_SLOW)) || ram_page == RAM_NONE || (e->pa & TLBE_READONLY))
        return true;
    if (!code_flag(v, ram_page))
        writer_note(v, ram_page);
    if (!code_flag(v, ram_page))
        return true;
    v->st.code_page_stores++;
    if (v->single || !v->in_code || !code_covers(v->tcg, ram_page, va & ~PAGE_MASK, n))
        return true;
    v->retry = true;
    __atomic_add_fetch(&v->tcg->st.retries, 1, __ATOMIC_RELAXED);
    return false;
}

/* Around a slow store to RAM; what is returned goes to the second. */
static inline CodePage *store_begin(TcgVcpu *v, Context *c, uint64_t va)
{
    uint32_t ram_page = c->ram_page[tlb_index(va)];
    CodePage *p = v->tcg->several && code_flag(v, ram_page) ? code_page(v->tcg, ram_page) : NULL;
    if (p)
        __atomic_add_fetch(&p->begun, 1, __ATOMIC_SEQ_CST);
    return p;
}

/* Blocks that the store has hit are dropped, clients that wait for the page to be written are told; the page may be fast
 * from now on. */
static void store_done(TcgVcpu *v, Context *c, TlbEntry *e, CodePage *p, uint64_t va, unsigned n)
{
    uint32_t ram_page = c->ram_page[tlb_index(va)];
    if (p)
        __atomic_add_fetch(&p->done, 1, __ATOMIC_SEQ_CST);
    if (!dirty_settled(v->ram, ram_page)) {
        DirtyReq r = { v, ram_page };
        fp_shield(dirty_req, &r, v->cpu->fp_host);
    }
    if (v->tcg->several)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);        /* either its translator sees the bytes or we see the flag and the pin */
    if (code_flag(v, ram_page)) {
        p = code_page(v->tcg, ram_page);
        if ((p && __atomic_load_n(&p->pins, __ATOMIC_SEQ_CST)) || code_covers(v->tcg, ram_page, va & ~PAGE_MASK, n)) {
            CodeStore r = { v, ram_page, va & ~PAGE_MASK, n, false };
            fp_shield(code_store, &r, v->cpu->fp_host);
        }
        return;
    }
    if (!v->tcg->check && !v->tcg->stress_fault && !(e->pa & TLBE_WATCH) && (e->write & ~(uint64_t)TLB_SLOW) == (va & PAGE_MASK)) {
        e->write &= ~(uint64_t)TLB_SLOW;        /* store_allowed() has noted us */
        bit_set(c->fast_pages[!!(e->pa & TLBE_GLOBAL)], ram_hash(ram_page));
        v->st.upgrades++;
    }
}

/* store_allowed() has said yes. */
static inline bool store_piece(TcgVcpu *v, Context *c, TlbEntry *e, uint64_t va, unsigned n, uint64_t val)
{
    if (G_LIKELY(c->ram_page[tlb_index(va)] != RAM_NONE && !(e->pa & TLBE_READONLY))) {
        if (!(e->write & TLB_SLOW)) {
            host_store((void *)(va + e->addend), n, val);
            return true;
        }
        CodePage *p = store_begin(v, c, va);
        host_store((void *)(va + e->addend), n, val);
        store_done(v, c, e, p, va, n);
        return true;
    }
    v->st.io_stores++;
    return io_access(v, true, (e->pa & PAGE_MASK) | (va & ~PAGE_MASK), n, &val);
}

/* --- data breakpoints: an access to a page with some */

static bool watch_hits(const TcgVcpu *v, uint64_t va, unsigned n, bool write)
{
    bool hit = false;
    for (unsigned i = 0; i < v->n_watches && !hit; i++) {
        const Watch *w = &g_array_index(v->watches, Watch, i);
        hit = (write ? w->write : w->read) && (va - w->va < w->len || w->va - va < n);
    }
    return hit;
}

/* False: hit, and in the middle of a block: the access is to be failed, its instruction will be run by itself, in which
 * the hit is told (but for a probe). */
static __attribute__((noinline)) bool watch_access(TcgVcpu *v, uint64_t va, unsigned n, bool write, bool probe)
{
    if (!watch_hits(v, va, n, write))
        return true;
    if (v->in_code && !v->single) {
        v->retry = true;
        return false;
    }
    WatchReq r = { v, va, n, write };
    if (!probe)
        fp_shield(debug_watch_hit, &r, v->cpu->fp_host);
    return true;
}

static inline bool watch_ok(TcgVcpu *v, const TlbEntry *e, uint64_t va, unsigned n, bool write)
{
    return G_LIKELY(!(e->pa & TLBE_WATCH)) || watch_access(v, va, n, write, false);
}

static inline bool watch_probe(TcgVcpu *v, const TlbEntry *e, uint64_t va, unsigned n)
{
    return G_LIKELY(!(e->pa & TLBE_WATCH)) || watch_access(v, va, n, true, true);
}

/* --- stress=fault: all accesses are slow, and some fail for no reason: their instruction is run again by itself, as one
 * that stores into its own block is, and nobody may notice.  First all of them, then one in FAULT_MEAN or so. */

enum { FAULT_ALL = 50000, FAULT_MEAN = 256 };

static __attribute__((noinline)) bool fail_now(TcgVcpu *v)
{
    if (!v->in_code || v->single)
        return false;
    if (v->accesses < FAULT_ALL) {
        v->accesses++;
    } else if (v->fault_in) {
        v->fault_in--;
        return false;
    } else {
        v->fault_random = v->fault_random * UINT64_C(6364136223846793005) + v->tcg->seed + 1442695040888963407;
        v->fault_in = (v->fault_random >> 33) % (2 * FAULT_MEAN);
    }
    v->retry = true;
    return true;
}

static inline bool spurious(TcgVcpu *v) { return G_UNLIKELY(v->tcg->stress_fault) && fail_now(v); }

/* --- whole accesses of n bytes, 1 to 16 or 32, at any alignment; values in two words, low first */

static inline bool crosses(uint64_t va, unsigned n) { return (va & ~PAGE_MASK) + n > PAGE_SIZE; }

/* Probes both pages before anything is read or written. */
static __attribute__((noinline)) bool load_crossing(TcgVcpu *v, Context *c, uint64_t va, unsigned n, bool rmw, uint64_t *out)
{
    v->st.cross++;
    uint64_t second = (va & PAGE_MASK) + PAGE_SIZE;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t at = i ? second : va;
        TlbEntry *e;
        if ((rmw && !tlb_get(v, c, at, ACC_WRITE)) || !(e = tlb_get(v, c, at, ACC_READ)) ||
            !watch_ok(v, e, at, i ? n - (second - va) : second - va, false))
            return false;
    }
    out[0] = out[1] = 0;
    if (n == 32)
        out[2] = out[3] = 0;
    for (unsigned i = 0; i < n; i++) {
        /* looked up anew for each byte: an I/O access may have flushed */
        TlbEntry *e = tlb_get(v, c, va + i, ACC_READ);
        uint64_t byte;
        if (!e || !load_piece(v, c, e, va + i, 1, &byte))
            return false;
        out[i / 8] |= (byte & 0xff) << i % 8 * 8;
    }
    return true;
}

static __attribute__((noinline)) bool store_crossing(TcgVcpu *v, Context *c, uint64_t va, unsigned n, const uint64_t *val)
{
    v->st.cross++;
    uint64_t second = (va & PAGE_MASK) + PAGE_SIZE;
    unsigned n1 = second - va;
    TlbEntry *e1 = tlb_get(v, c, va, ACC_WRITE);
    if (!e1)
        return false;
    TlbEntry *e2 = tlb_get(v, c, second, ACC_WRITE);
    if (!e2 || !store_allowed(v, c, e1, va, n1) || !store_allowed(v, c, e2, second, n - n1) ||
        !watch_ok(v, e1, va, n1, true) || !watch_ok(v, e2, second, n - n1, true))
        return false;
    for (unsigned i = 0; i < n; i++) {
        TlbEntry *e = tlb_get(v, c, va + i, ACC_WRITE);
        if (!e || !store_piece(v, c, e, va + i, 1, val[i / 8] >> i % 8 * 8))
            return false;
    }
    return true;
}

static inline bool load_any(TcgVcpu *v, Context *c, uint64_t va, unsigned n, bool rmw, uint64_t *out)
{
    if (spurious(v))
        return false;
    if (G_UNLIKELY(crosses(va, n)))
        return load_crossing(v, c, va, n, rmw, out);
    if (rmw) {
        v->st.rmw++;
        if (!tlb_get(v, c, va, ACC_WRITE))
            return false;
    }
    TlbEntry *e = tlb_get(v, c, va, ACC_READ);
    if (!e || !watch_ok(v, e, va, n, false))
        return false;
    out[1] = 0;
    if (n <= 8)
        return load_piece(v, c, e, va, n, out);
    for (unsigned i = 0; i < n; i += 8) {
        if (i)
            e = tlb_get(v, c, va, ACC_READ);
        if (!e || !load_piece(v, c, e, va + i, 8, out + i / 8))
            return false;
    }
    return true;
}

static inline bool store_any(TcgVcpu *v, Context *c, uint64_t va, unsigned n, const uint64_t *val)
{
    if (spurious(v))
        return false;
    if (G_UNLIKELY(crosses(va, n)))
        return store_crossing(v, c, va, n, val);
    TlbEntry *e = tlb_get(v, c, va, ACC_WRITE);
    if (!e || !store_allowed(v, c, e, va, n) || !watch_ok(v, e, va, n, true))
        return false;
    if (n <= 8)
        return store_piece(v, c, e, va, n, val[0]);
    for (unsigned i = 0; i < n; i += 8) {
        if (i)
            e = tlb_get(v, c, va, ACC_WRITE);
        if (!e || !store_piece(v, c, e, va + i, 8, val[i / 8]))
            return false;
    }
    return true;
}

/* --- what generated code calls; 0: done */

int slow_load(CpuState *cpu, uint64_t va, uint32_t memop)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    unsigned n = mo_bytes(memop);
    v->st.loads++;
    if (!aligned(cpu, va, memop))
        return 1;
    uint64_t out[4];
    if (!load_any(v, context_of(cpu, memop), va, n, memop & MO_RMW, out))
        return 1;
    if (G_UNLIKELY(memop & MO_BE))
        swap_words(out, n);
    cpu->scratch[0] = out[0];
    cpu->scratch[1] = out[1];
    if (n == 32) {
        cpu->scratch[2] = out[2];
        cpu->scratch[3] = out[3];
    }
    return 0;
}

int slow_store(CpuState *cpu, uint64_t va, uint32_t memop)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    unsigned n = mo_bytes(memop);
    v->st.stores++;
    if (!aligned(cpu, va, memop))
        return 1;
    uint64_t val[4] = { cpu->scratch[0], cpu->scratch[1], cpu->scratch[2], cpu->scratch[3] };
    if (G_UNLIKELY(memop & MO_BE))
        swap_words(val, n);
    if (!store_any(v, context_of(cpu, memop), va, n, val))
        return 1;
    if (memop & MO_SC)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0;
}

static inline uint64_t size_bits(unsigned n) { return ~UINT64_C(0) >> (64 - 8 * n); }

static uint64_t atomic_result(unsigned op, uint64_t old, uint64_t x, uint64_t y, unsigned n)
{
    switch (op) {
    case AT_ADD:  return old + x;
    case AT_AND:  return old & x;
    case AT_OR:   return old | x;
    case AT_XOR:  return old ^ x;
    case AT_XCHG: return x;
    default:      return ((old ^ x) & size_bits(n)) ? old : y;          /* AT_CAS */
    }
}

#if defined(__x86_64__)
/* Atomic at any alignment. */
static bool host_cas(void *p, unsigned n, uint64_t old, uint64_t val)
{
    bool ok;
    switch (n) {
    case 1:  __asm__ volatile("lock cmpxchgb %b3, %1" : "=@ccz"(ok), "+m"(*(char *)p), "+a"(old) : "q"(val) : "memory"); break;
    case 2:  __asm__ volatile("lock cmpxchgw %w3, %1" : "=@ccz"(ok), "+m"(*(char (*)[2])p), "+a"(old) : "r"(val) : "memory"); break;
    case 4:  __asm__ volatile("lock cmpxchgl %k3, %1" : "=@ccz"(ok), "+m"(*(char (*)[4])p), "+a"(old) : "r"(val) : "memory"); break;
    default: __asm__ volatile("lock cmpxchgq %q3, %1" : "=@ccz"(ok), "+m"(*(char (*)[8])p), "+a"(old) : "r"(val) : "memory"); break;
    }
    return ok;
}
#else
static bool host_cas(void *p, unsigned n, uint64_t old, uint64_t val)
{
    switch (n) {
    case 1:  return __sync_bool_compare_and_swap((uint8_t *)p, old, val);
    case 2:  return __sync_bool_compare_and_swap((uint16_t *)p, old, val);
    case 4:  return __sync_bool_compare_and_swap((uint32_t *)p, old, val);
    default: return __sync_bool_compare_and_swap((uint64_t *)p, old, val);
    }
}
#endif

/* A piece of RAM within one page is atomic towards other vCPUs and devices, aligned or not as far as the host can do
 * that.  I/O and operands that cross pages are read and written in two steps, with all other vCPUs standing still. */
#if defined(__x86_64__)
enum { HOST_ATOMIC_UNALIGNED = 1 };
#else
enum { HOST_ATOMIC_UNALIGNED = 0 };
#endif

/* The entry if an atomic access of n bytes can be done at the host; *status: 1 fault or to be run again. */
static TlbEntry *atomic_entry(TcgVcpu *v, Context *c, uint64_t va, unsigned n, int *status)
{
    *status = spurious(v);
    if (*status)
        return NULL;
    if (HOST_ATOMIC_UNALIGNED ? crosses(va, n) : va & (n - 1))
        return NULL;
    TlbEntry *e = tlb_get(v, c, va, ACC_WRITE);
    if (!e || !(e = tlb_get(v, c, va, ACC_READ)) || !store_allowed(v, c, e, va, n) || !watch_ok(v, e, va, n, false) ||
        !watch_ok(v, e, va, n, true)) {
        *status = 1;
        return NULL;
    }
    return c->ram_page[tlb_index(va)] != RAM_NONE && !(e->pa & TLBE_READONLY) ? e : NULL;
}

int slow_atomic(CpuState *cpu, uint64_t va, uint32_t flags)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Context *c = context_of(cpu, flags & 0xffff);
    unsigned n = mo_bytes(flags), op = ATOMIC_OP(flags);
    bool be = flags & MO_BE;
    int status;
    v->st.atomics++;
    if (!aligned(cpu, va, flags & 0xffff))
        return 1;
    uint64_t x = cpu->scratch[0], y = cpu->scratch[1], raw[2], old, new_;
    TlbEntry *e = atomic_entry(v, c, va, n, &status);
    if (e) {
        bool slow = e->write & TLB_SLOW;
        CodePage *page = slow ? store_begin(v, c, va) : NULL;
        void *p = (void *)(va + e->addend);
        do {
            raw[0] = host_load(p, n);
            old = be ? swap(raw[0], n) : raw[0];
            new_ = atomic_result(op, old, x, y, n) & size_bits(n);
        } while (!host_cas(p, n, raw[0], be ? swap(new_, n) : new_));
        if (slow)
            store_done(v, c, e, page, va, n);
        cpu->helper_ret = old;
        return 0;
    }
    if (status || !turn_alone(cpu) || !load_any(v, c, va, n, true, raw))
        return 1;
    old = be ? swap(raw[0], n) : raw[0] & size_bits(n);
    new_ = atomic_result(op, old, x, y, n) & size_bits(n);
    raw[0] = be ? swap(new_, n) : new_;
    if (!store_any(v, c, va, n, raw))
        return 1;
    cpu->helper_ret = old;
    return 0;
}

#if defined(__x86_64__)
static bool host_cas16(void *p, uint64_t old[2], const uint64_t new_[2])
{
    bool ok;
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(ok), "+m"(*(char (*)[16])p), "+a"(old[0]), "+d"(old[1]) : "b"(new_[0]), "c"(new_[1]) : "memory");
    return ok;
}
#else
static bool host_cas16(void *p, uint64_t old[2], const uint64_t new_[2])
{
    unsigned __int128 e = (unsigned __int128)old[1] << 64 | old[0];
    bool ok = __atomic_compare_exchange_n((unsigned __int128 *)p, &e, (unsigned __int128)new_[1] << 64 | new_[0], false,
                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    old[0] = e;
    old[1] = e >> 64;
    return ok;
}
#endif

bool mem_cas(CpuState *cpu, uint64_t va, unsigned size, uint64_t old[2], const uint64_t new_[2])
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Context *c = context(cpu);
    int status;
    v->st.atomics++;
    TlbEntry *e = atomic_entry(v, c, va, size, &status);
    if (e) {
        bool slow = e->write & TLB_SLOW;
        CodePage *page = slow ? store_begin(v, c, va) : NULL;
        void *p = (void *)(va + e->addend);
        if (size == 16) {
            host_cas16(p, old, new_);
        } else {
            uint64_t now = host_load(p, 8);
            while (!host_cas(p, 8, now, now == old[0] ? new_[0] : now))
                now = host_load(p, 8);
            old[0] = now;
        }
        if (slow)
            store_done(v, c, e, page, va, size);
        return true;
    }
    uint64_t now[2];
    if (status || !turn_alone(cpu) || !load_any(v, c, va, size, true, now))
        return false;
    bool equal = now[0] == old[0] && (size == 8 || now[1] == old[1]);
    if (!store_any(v, c, va, size, equal ? new_ : now))
        return false;
    old[0] = now[0];
    old[1] = now[1];
    return true;
}

const SlowOps softmmu_ops = { slow_load, slow_store, slow_atomic, NULL };

/* --- check=on: the same doors, with a notary behind them */

static int checked(CpuState *cpu, uint64_t va, uint32_t memop, unsigned kind)
{
    CheckAccess a = { cpu, va, memop, kind, 0 };
    fp_shield(check_access, &a, cpu->fp_host);
    return a.status;
}
static int checked_load(CpuState *cpu, uint64_t va, uint32_t memop) { return checked(cpu, va, memop, CHECK_LOAD); }
static int checked_store(CpuState *cpu, uint64_t va, uint32_t memop) { return checked(cpu, va, memop, CHECK_STORE); }
static int checked_atomic(CpuState *cpu, uint64_t va, uint32_t flags) { return checked(cpu, va, flags, CHECK_ATOMIC); }

const SlowOps softmmu_check_ops = { checked_load, checked_store, checked_atomic, check_helper };

/* --- hooks of the target */

static inline Context *context_for(CpuState *cpu, int view)
{
    return view < 0 ? context(cpu) : context_of_view(cpu, view);
}

bool mem_load(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t *out)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Context *c = context_for(cpu, view);
    v->st.helper_loads++;
    if (G_LIKELY(!(size & (size - 1)))) {
        uint64_t val[2];
        if (!load_any(v, c, va, size, false, val))
            return false;
        *out = val[0];
        return true;
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < size; i++) {
        uint64_t val[2];
        if (!load_any(v, c, va + i, 1, false, val))
            return false;
        sum |= (val[0] & 0xff) << 8 * i;
    }
    *out = sum;
    return true;
}

bool mem_store(CpuState *cpu, uint64_t va, unsigned size, int view, uint64_t val)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Context *c = context_for(cpu, view);
    v->st.helper_stores++;
    if (G_LIKELY(!(size & (size - 1))))
        return store_any(v, c, va, size, &val);
    if (!mem_probe(cpu, va, size, ACC_WRITE, view))
        return false;
    for (unsigned i = 0; i < size; i++) {
        uint64_t byte = val >> 8 * i & 0xff;
        if (!store_any(v, c, va + i, 1, &byte))
            return false;
    }
    return true;
}

/* No walk is made, since that could fault: what is not in the TLB is not there yet. */
void *mem_host(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Context *c = context_for(cpu, view);
    TlbEntry *e = &c->hw.tlb[tlb_index(va)];
    uint64_t have = acc == ACC_WRITE ? e->write : e->read & ~(uint64_t)TLB_SLOW;
    if (v->tcg->check && acc == ACC_WRITE && !(e->pa & TLBE_READONLY) && c->ram_page[tlb_index(va)] != RAM_NONE &&
        !code_flag(v, c->ram_page[tlb_index(va)]))
        have &= ~(uint64_t)TLB_SLOW;            /* slow for the check's sake only */
    if (have != (va & PAGE_MASK) || (e->pa & TLBE_WATCH) || crosses(va, len) || c->ram_page[tlb_index(va)] == RAM_NONE) {
        v->st.host_miss++;
        return NULL;
    }
    v->st.host_ok++;
    return (void *)(va + e->addend);
}

/* A store that is probed for is not refused afterwards either: INS must not read its port twice. */
bool mem_probe(CpuState *cpu, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Context *c = context_for(cpu, view);
    for (unsigned n; len; va += n, len -= n) {
        n = MIN(len, PAGE_SIZE - (unsigned)(va & ~PAGE_MASK));
        TlbEntry *e = tlb_get(v, c, va, acc);
        if (!e || (acc == ACC_WRITE && !(store_allowed(v, c, e, va, n) && watch_probe(v, e, va, n))))
            return false;
    }
    return true;
}

bool mem_phys_load(CpuState *cpu, uint64_t pa, unsigned size, uint64_t *out)
{
    const Window *w = window_find(tcg_vcpu(cpu), pa);
    if (!w || (pa & (size - 1)))
        return false;
    *out = host_load(w->host + (pa - w->pa), size);
    return true;
}

bool mem_phys_cas(CpuState *cpu, uint64_t pa, unsigned size, uint64_t old, uint64_t new_)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    const Window *w = window_find(v, pa);
    if (!w || w->readonly || (pa & (size - 1)))
        return false;
    uint64_t ram_page = w->ram_page + ((pa - w->pa) >> PAGE_BITS);
    if (!host_cas(w->host + (pa - w->pa), size, old, new_))
        return false;
    if (!dirty_settled(v->ram, ram_page)) {
        DirtyReq r = { v, ram_page };
        fp_shield(dirty_req, &r, cpu->fp_host);
    }
    /* Page tables among code: the few bytes changed are filed, to be looked at when this block has ended. */
    if (G_UNLIKELY(code_flag(v, ram_page)) && code_covers(v->tcg, ram_page, pa & ~PAGE_MASK, size)) {
        CodeStore r = { v, ram_page, pa & ~PAGE_MASK, size, true };
        fp_shield(code_store, &r, cpu->fp_host);
    }
    return true;
}
