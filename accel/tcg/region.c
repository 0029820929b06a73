/* SPDX-License-Identifier: GPL-2.0-or-later
 * Translated blocks: finding them by physical address and mode, making them, linking them, and the memory that they
 * are kept in.
 *
 * The memory is a ring of segments.  Blocks are put one behind the other into the current segment; when it is full the
 * next one, which holds the oldest blocks, is emptied and filled anew.  So the memory is never fragmented, what is hot
 * is soon translated again, and a block's descriptor can live exactly as long as its code.  A block that dies early
 * (self-modifying code) leaves its bytes unused until then: links and fault look-ups into it stay valid. */
#include "accel/tcg/tcg_int.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "config.h"
#include "util/error.h"
#include "util/log.h"

enum { MAX_INSNS = 128, MIN_SEGMENT = 256 << 10, CODE_ALIGN = 16, FETCH_BYTES = 64 };

/* --- the back end, on hosts that have one */

#if HOST_X86_64
static void open_backend(Tcg *t)
{
    BackendOptions o = { .check = t->check, .random_registers = t->stress_regalloc, .seed = t->seed,
                         .exact_count = t->stats || t->check, .counter = t->stats ? helper_counter : NULL, .counter_self = t };
    t->backend = backend_new(t->check ? &softmmu_check_ops : &softmmu_ops, &o, t->mem, &t->thunks);
}
static void close_backend(Tcg *t) { backend_free(t->backend); }
static bool compile(Tcg *t, const Ir *ir, size_t at, size_t room, CodeBlock *out)
{
    return backend_compile(t->backend, ir, at, room, out);
}
static void patch(Tcg *t, CodeLink *l, const CodeBlock *to) { backend_link(t->backend, l, to); }
CpuExit code_enter(TcgVcpu *v, const uint8_t *code) { return backend_enter(v->tcg->backend, v->cpu, code); }
unsigned code_restore(TcgVcpu *v, Block **b, uint64_t at)
{
    const CodeBlock *cb = &v->transient.cb;
    if (cb->code && at - (uint64_t)cb->code <= cb->total_len && v->single) {
        *b = &v->transient;
    } else {
        pthread_mutex_lock(&v->tcg->lock);
        *b = block_at_host(v->tcg, at);
        pthread_mutex_unlock(&v->tcg->lock);
    }
    g_assert(*b);
    backend_restore(v->tcg->backend, v->cpu, &(*b)->cb, at);
    return backend_insns_at(v->tcg->backend, &(*b)->cb, at);
}
#else
static void open_backend(Tcg *t) { }
static void close_backend(Tcg *t) { }
static bool compile(Tcg *t, const Ir *ir, size_t at, size_t room, CodeBlock *out) { return false; }
static void patch(Tcg *t, CodeLink *l, const CodeBlock *to) { }
CpuExit code_enter(TcgVcpu *v, const uint8_t *code) { g_assert_not_reached(); }
unsigned code_restore(TcgVcpu *v, Block **b, uint64_t at) { g_assert_not_reached(); }
#endif

/* --- memory */

enum { HUGE_PAGE = 2 << 20 };

/* One mapping, since only anonymous memory gets huge pages everywhere.  NULL: the host wants no memory that is both
 * writable and executable. */
static uint8_t *map_whole(size_t size)
{
    uint8_t *p = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t skip = -(uintptr_t)p & (HUGE_PAGE - 1);
    if (skip)
        munmap(p, skip);
    munmap(p + skip + size, HUGE_PAGE - skip);
    madvise(p + skip, size, MADV_HUGEPAGE);
    return p + skip;
}

static bool map_code(Tcg *t, GError **err)
{
    size_t size = (t->tb_size + (uint64_t)MAX_VCPUS * TRANSIENT_LEN + HUGE_PAGE - 1) & -(size_t)HUGE_PAGE;
    t->mem.size = size;
    t->mem.rw = t->split_wx ? NULL : map_whole(size);
    t->mem.rx = t->mem.rw;
    if (t->mem.rw)
        return true;
    t->mem_fd = memfd_create("rhea-code", MFD_CLOEXEC);
    if (t->mem_fd < 0 || ftruncate(t->mem_fd, size))
        return fail_errno(err, errno, "cannot make %" G_GUINT64_FORMAT " MiB of code memory", t->tb_size >> 20);
    void *rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, t->mem_fd, 0);
    if (rw == MAP_FAILED)
        return fail_errno(err, errno, "cannot map %" G_GUINT64_FORMAT " MiB of code memory", t->tb_size >> 20);
    t->mem.rw = rw;
    void *rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, t->mem_fd, 0);
    if (rx == MAP_FAILED)
        return fail_errno(err, errno, "cannot map executable memory");
    t->mem.rx = rx;
    return true;
}

bool code_cache_init(Tcg *t, GError **err)
{
    t->hash = g_new0(Block *, (size_t)1 << HASH_BITS);
    t->front = g_new0(FrontEntry, (size_t)1 << FRONT_BITS);
    t->pages = g_new0(CodePage *, (size_t)1 << PAGE_HASH_BITS);
    if (!t->use_interp) {
        if (!map_code(t, err))
            return false;
        open_backend(t);
    }
    t->thunks = (t->thunks + CODE_ALIGN - 1) & -(size_t)CODE_ALIGN;
    t->n_seg = CLAMP((t->tb_size - t->thunks) / MIN_SEGMENT, 2, MAX_SEGMENTS);
    size_t size = (t->tb_size - t->thunks) / t->n_seg & -(size_t)CODE_ALIGN;
    for (unsigned i = 0; i < t->n_seg; i++)
        t->seg[i] = (Segment){ t->thunks + i * size, size, 0, g_ptr_array_new() };
    return true;
}

static Block *block_alloc(void)
{
    void *b = NULL;
    if (posix_memalign(&b, 64, sizeof(Block)))
        g_error("out of memory for a block");
    return memset(b, 0, sizeof(Block));
}

static void block_free(Block *b)
{
    if (b->ir)
        ir_free(b->ir);
    free(b);
}

/* Lock held, and alone: nobody is in generated code or holds a pointer to a block. */
static void segment_empty(Tcg *t, Segment *s)
{
    if (!s->blocks->len)
        return;
    t->st.evictions++;
    t->st.evicted += s->blocks->len;
    for (unsigned i = 0; !t->use_interp && i < t->a.vcpus->len; i++) {
        TcgVcpu *v = t->a.vcpus->pdata[i];
        for (unsigned n = 0; n < v->n_ctxs; n++)
            context_forget_code(v->ctxs[n], t->mem.rx + s->at, t->mem.rx + s->at + s->size);
    }
    for (unsigned i = 0; i < s->blocks->len; i++)
        block_kill(t, s->blocks->pdata[i]);
    for (unsigned i = 0; i < s->blocks->len; i++)
        block_free(s->blocks->pdata[i]);
    g_ptr_array_set_size(s->blocks, 0);
}

void code_cache_free(Tcg *t)
{
    for (unsigned i = 0; i < t->n_seg; i++) {
        segment_empty(t, &t->seg[i]);
        g_ptr_array_free(t->seg[i].blocks, TRUE);
    }
    if (t->pages)
        for (unsigned i = 0; i < 1u << PAGE_HASH_BITS; i++)
            while (t->pages[i]) {
                CodePage *p = t->pages[i];
                t->pages[i] = p->next;
                g_free(p);
            }
    g_free(t->pages);
    g_free(t->hash);
    g_free(t->front);
    if (t->backend)
        close_backend(t);
    if (t->mem.rw)
        munmap(t->mem.rw, t->mem.size);
    if (t->mem.rx && t->mem.rx != t->mem.rw)
        munmap((void *)t->mem.rx, t->mem.size);
    if (t->mem_fd >= 0)
        close(t->mem_fd);
}

static Segment *segment_next(Tcg *t)
{
    t->cur = (t->cur + 1) % t->n_seg;
    Segment *s = &t->seg[t->cur];
    segment_empty(t, s);
    s->used = 0;
    return s;
}

Block *block_at_host(Tcg *t, uint64_t host)
{
    uint64_t at = host - (uint64_t)t->mem.rx;
    for (unsigned i = 0; i < t->n_seg; i++) {
        const Segment *s = &t->seg[i];
        if (at - s->at >= s->size)
            continue;
        unsigned lo = 0, hi = s->blocks->len;           /* first block behind the address */
        while (lo < hi) {
            unsigned mid = (lo + hi) / 2;
            const Block *b = s->blocks->pdata[mid];
            if ((uint64_t)b->cb.code <= host)
                lo = mid + 1;
            else
                hi = mid;
        }
        Block *b = lo ? s->blocks->pdata[lo - 1] : NULL;
        return b && host - (uint64_t)b->cb.code <= b->cb.total_len ? b : NULL;
    }
    return NULL;
}

/* --- the table */

/* The front table is read without a lock: an entry counts if its sequence number has not changed around the reading. */
static inline bool front_get(const FrontEntry *f, uint64_t key, Found *out, bool global)
{
    uint64_t seq = __atomic_load_n(&f->seq, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&f->key, __ATOMIC_ACQUIRE) != key)
        return false;
    *out = (Found){
        __atomic_load_n(&f->b, __ATOMIC_ACQUIRE), __atomic_load_n(&f->code, __ATOMIC_ACQUIRE), .kept = true, .global = global
    };
    return __atomic_load_n(&f->seq, __ATOMIC_RELAXED) == seq && !(seq & 1);
}

/* False: somebody else is at it. */
static bool front_put(FrontEntry *f, uint64_t key, const uint8_t *code, Block *b)
{
    uint64_t seq = __atomic_load_n(&f->seq, __ATOMIC_RELAXED);
    if (seq & 1 || !__atomic_compare_exchange_n(&f->seq, &seq, seq + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        return false;
    __atomic_store_n(&f->key, key, __ATOMIC_RELEASE);
    __atomic_store_n(&f->code, code, __ATOMIC_RELEASE);
    __atomic_store_n(&f->b, b, __ATOMIC_RELEASE);
    __atomic_store_n(&f->seq, seq + 2, __ATOMIC_SEQ_CST);
    return true;
}

static void front_forget(FrontEntry *f, const Block *b)
{
    while (__atomic_load_n(&f->b, __ATOMIC_SEQ_CST) == b && !front_put(f, 0, NULL, NULL))
        sched_yield();
}

/* A block that dies is dead first and is then taken out of here; so either we see that or it is seen here. */
static void front_add(FrontEntry *f, uint64_t key, Block *b)
{
    if (front_put(f, key, b->cb.code, b) && __atomic_load_n(&b->dead, __ATOMIC_SEQ_CST))
        front_forget(f, b);
}

/* A RAM address has 40 bits, so that a key tells all.  Bit 63 makes it differ from an empty entry's 0. */
static uint64_t key_of(uint64_t ra, uint32_t mode) { return UINT64_C(1) << 63 | (uint64_t)mode << 40 | ra; }

static unsigned hash_of(uint64_t key, unsigned bits) { return key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits); }

static void hash_add(Tcg *t, Block *b)
{
    Block **head = &t->hash[hash_of(key_of(b->ra, b->mode), HASH_BITS)];
    b->hash_next = *head;
    __atomic_store_n(head, b, __ATOMIC_RELEASE);
}

static void hash_remove(Tcg *t, Block *b)
{
    uint64_t key = key_of(b->ra, b->mode);
    front_forget(&t->front[hash_of(key, FRONT_BITS)], b);
    Block **at = &t->hash[hash_of(key, HASH_BITS)];
    while (*at != b)
        at = &(*at)->hash_next;
    __atomic_store_n(at, b->hash_next, __ATOMIC_RELEASE);
}

/* --- links */

static void unlink_code(Tcg *t, CodeLink *l)
{
    patch(t, l, NULL);
    l->to = NULL;
}

static void links_drop(Tcg *t, Block *b)
{
    for (CodeLink *l = b->incoming, *next; l; l = next) {
        next = l->next;
        unlink_code(t, l);
    }
    b->incoming = NULL;
    for (unsigned i = 0; i < b->cb.n_links; i++) {      /* its own too: its code may be running still */
        CodeLink *l = &b->cb.links[i];
        if (!l->to)
            continue;
        CodeLink **at = &((Block *)l->to)->incoming;
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
        unlink_code(t, l);
    }
}

void block_kill(Tcg *t, Block *b)
{
    if (b->dead)
        return;
    __atomic_store_n(&b->dead, true, __ATOMIC_SEQ_CST);
    links_drop(t, b);
    if (!b->listed)
        return;
    b->listed = false;
    hash_remove(t, b);
    code_page_remove(t, b);
    if (!t->use_interp && !t->check)
        backend_retire(t->backend, &b->cb);     /* jump entries may still name it */
}

bool block_link(TcgVcpu *v, CodeLink *link, Block *to)
{
    Block *from = (Block *)link->owner;
    int64_t at = (int64_t)(from->ra & ~PAGE_MASK) + link->target_off;
    /* Within one guest page, so that the target's mapping is the one under which the owner runs. */
    if (to->ra2 != RA_NONE || from->mode != to->mode || at != (int64_t)(to->ra & ~PAGE_MASK) ||
        (from->ra ^ to->ra) >> PAGE_BITS)
        return false;
    pthread_mutex_lock(&v->tcg->lock);
    bool ok = !from->dead && from->listed && to->listed && !link->to;
    if (ok) {
        link->to = &to->cb;
        link->next = to->incoming;
        to->incoming = link;
        patch(v->tcg, link, &to->cb);
    }
    pthread_mutex_unlock(&v->tcg->lock);
    v->st.links += ok;
    return ok;
}

/* --- fetching */

/* NULL: fault, exception recorded. */
static FetchEntry *fetch_page(TcgVcpu *v, uint64_t va)
{
    Context *c = context(v->cpu);
    unsigned i = va >> PAGE_BITS & (N_FETCH - 1);
    FetchEntry *f = &c->fetch[i];
    if (G_LIKELY(f->va == (va & PAGE_MASK)))
        return f;
    MmuResult r;
    if (!v->target->mmu(v->cpu, va, ACC_EXEC, c->view, &r))
        return NULL;
    v->st.fetch_fills++;
    const Window *w = window_find(v, r.pa & PAGE_MASK);
    uint64_t skip = w ? (r.pa & PAGE_MASK) - w->pa : 0;
    *f = (FetchEntry){
        .va = va & PAGE_MASK, .pa = r.pa & PAGE_MASK, .global = r.global,
        .log = 63 - __builtin_clzll(r.page_len | PAGE_SIZE),
        .host = w ? w->host + skip : NULL,
        .ram_page = w ? w->ram_page + (skip >> PAGE_BITS) : RAM_PAGE_NONE,
    };
    bit_set(c->fetch_used, i);
    bit_clear(c->fetch_global, i);
    if (f->global)
        bit_set(c->fetch_global, i);
    mark_frames(c, f->global, va, f->log);
    return f;
}

/* One translation under way. */
typedef struct Trans {
    TransReq   req;                     /* first */
    TcgVcpu   *v;
    uint64_t   va;
    FetchEntry first, second;
    bool       fault, straddles;
    bool       pinned;                  /* second is */
    bool       unkeepable;              /* its second page is I/O */
    bool       transient;
    bool       copied;                  /* its bytes change while they are read: a copy of them is translated */
    unsigned   max_insns, full;         /* full: the segment that had no room */
    enum { TRANS_DONE, TRANS_SETTLE, TRANS_EVICT } wants;       /* to be alone, for that, and then to begin anew */
    uint8_t    io[FETCH_BYTES];         /* code in I/O space */
} Trans;

/* Word by word, so that no store is seen in half. */
static void copy_words(uint64_t *to, const uint8_t *from, unsigned n)
{
    for (unsigned i = 0; i < n / 8; i++)
        to[i] = __atomic_load_n((const uint64_t *)from + i, __ATOMIC_RELAXED);
}

static const uint8_t *fetch_bytes(TcgVcpu *v, const FetchEntry *f, unsigned offset, uint8_t *buf, unsigned n)
{
    if (f->host)
        return f->host + offset;
    for (unsigned i = 0; i < n; i++)
        buf[i] = space_load(v->mem, f->pa + offset + i, 1, NULL);
    return buf;
}

static bool fetch_more(TransReq *req)
{
    Trans *t = (Trans *)req;
    enum { BUF = sizeof req->buf };
    g_assert(req->first_len <= BUF / 2 && !t->straddles);      /* longer than any instruction */
    FetchEntry *f = fetch_page(t->v, (t->va & PAGE_MASK) + PAGE_SIZE);
    if (!f) {
        t->fault = true;
        return false;
    }
    t->second = *f;
    t->straddles = true;
    if (f->host && !t->pinned && !t->transient) {
        if (!code_page_pin(t->v, f->ram_page))
            t->wants = TRANS_SETTLE;
        t->pinned = true;
    }
    memcpy(req->buf, req->code, req->first_len);
    unsigned n = BUF / 2;
    uint8_t bytes[BUF / 2];
    uint64_t words[BUF / 16];
    if (t->copied && f->host) {
        copy_words(words, f->host, n);
        memcpy(req->buf + req->first_len, words, n);
    } else {
        memcpy(req->buf + req->first_len, fetch_bytes(t->v, f, 0, bytes, n), n);
    }
    req->code = req->buf;
    return true;
}

/* --- translating */

/* The thread's own time: others on a busy host do not count. */
static uint64_t stat_ns(const TcgVcpu *v)
{
    struct timespec ts;
    if (!v->log_stats)
        return 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void verify(const Ir *ir, const char *when)
{
    char *wrong = ir_verify(ir);
    if (!wrong)
        return;
    GString *s = g_string_new(NULL);
    ir_print(ir, s);
    g_error("the IR is malformed %s: %s\n%s", when, wrong, s->str);
}

static void log_ir(const char *title, const Ir *ir)
{
    GString *s = g_string_new(title);
    ir_print(ir, s);
    g_string_append_c(s, '\n');
    log_write(s->str, s->len);
    g_string_free(s, TRUE);
}

/* Guest code to optimised IR.  False: fetch fault. */
static bool translate(Trans *t, Ir *ir, unsigned max_insns)
{
    TcgVcpu *v = t->v;
    unsigned offset = t->va & ~PAGE_MASK, rest = PAGE_SIZE - offset;
    uint64_t start = stat_ns(v);
    if (!t->first.host)
        rest = MIN(rest, FETCH_BYTES);
    t->fault = t->straddles = false;
    t->req = (TransReq){
        .cpu = v->cpu, .pc = v->cpu->hot[PC_OFFSET / 8], .mode = cpu_mode(v->cpu), .max_insns = max_insns,
        .first_len = rest, .more = fetch_more, .checks = v->tcg->any_checks ? v->tcg->checks : NULL,
    };
    t->req.code = fetch_bytes(v, &t->first, offset, t->io, rest);
    if (t->copied && t->first.host) {   /* more than a block can have: MAX_INSNS of them */
        unsigned skip = offset % 8, words = MIN((rest + skip) / 8, G_N_ELEMENTS(v->code_copy));
        copy_words(v->code_copy, t->req.code - skip, words * 8);
        t->req.code = (const uint8_t *)v->code_copy + skip;
        t->req.first_len = words * 8 - skip;
    }
    ir_reset(ir);
    ir->entry_page_off = offset;
    v->target->translate(ir, &t->req);
    if (t->fault || t->req.fault)
        return false;
    if (log_on(LOG_IN_ASM))
        disas_guest(v, ir, t->va, t->req.code, ir->guest_len);
    if (log_on(LOG_OP))
        log_ir("OP:\n", ir);
    if (DEBUG_BUILD || v->tcg->check)
        verify(ir, "as built");
    ir_pass_dead(ir);
    if (DEBUG_BUILD || v->tcg->check)
        verify(ir, "after pass_dead");
    if (log_on(LOG_OP_OPT))
        log_ir("OP after optimization:\n", ir);
    v->tcg->st.translate_ns += stat_ns(v) - start;
    return true;
}

static size_t ir_bytes(const Ir *ir)
{
    return ir->cap_insns * sizeof *ir->insns + ir->cap_consts * sizeof *ir->consts + ir->cap_snaps * sizeof *ir->snaps +
           ir->cap_commits * sizeof *ir->commits + ir->cap_guest * sizeof *ir->guest + sizeof *ir + sizeof(Block);
}

/* Puts the code of ir at the end of the segment, or (NULL) where this vCPU's transient block lies; cb->total_len says how
 * much it took.  Without a back end the IR is what is kept, and counts. */
static bool emit(TcgVcpu *v, const Ir *ir, Segment *s, Block *b)
{
    Tcg *t = v->tcg;
    size_t room = s ? s->size - s->used : TRANSIENT_LEN;
    if (!t->use_interp)
        return compile(t, ir, s ? s->at + s->used : t->tb_size + (size_t)v->v.index * TRANSIENT_LEN, room, &b->cb);
    b->cb.total_len = ir_bytes(ir);
    return !s || b->cb.total_len <= room;
}

static void describe(Block *b, const Trans *t, const Ir *ir)
{
    unsigned rest = PAGE_SIZE - (t->va & ~PAGE_MASK), len = ir->guest_len;
    b->mode = t->req.mode;
    b->n_insns = MAX(ir->n_guest - ir->n_extra, 1);
    b->ra = (t->first.ram_page << PAGE_BITS) | (t->va & ~PAGE_MASK);
    b->ra2 = RA_NONE;
    if (!len)                           /* bytes that were no instruction: any change among them may make one */
        len = MIN(rest, 16);
    if (t->straddles && len > rest) {
        b->ra2 = t->second.ram_page << PAGE_BITS;
        b->len2 = len - rest;
    }
    b->len = MIN(len, rest);
}

/* Where vCPUs are storing while we read, what is read may be half old and half new. */
typedef struct Quiet { CodePage *p; uint32_t begun; } Quiet;

static Quiet quiet_begin(Tcg *t, const FetchEntry *f)
{
    Quiet q = { t->several && f->host ? code_page(t, f->ram_page) : NULL, 0 };
    if (q.p) {
        uint32_t done = __atomic_load_n(&q.p->done, __ATOMIC_ACQUIRE);
        q.begun = __atomic_load_n(&q.p->begun, __ATOMIC_ACQUIRE);
        q.begun -= q.begun != done;             /* will not be what it is then */
    }
    return q;
}

static bool quiet_end(const Quiet *q)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return !q->p || __atomic_load_n(&q->p->begun, __ATOMIC_RELAXED) == q->begun;
}

static bool translate_whole(Trans *t, Ir *ir)
{
    Quiet first = quiet_begin(t->v->tcg, &t->first);
    t->copied = false;
    if (!translate(t, ir, t->max_insns))
        return false;
    if (quiet_end(&first) && !(t->straddles && t->v->tcg->several))
        return true;
    t->copied = true;
    return translate(t, ir, t->max_insns);
}

/* Lock held.  A block to be kept, or (b given) a transient one.  NULL: fetch fault, or wants. */
static Block *make(TcgVcpu *v, Trans *t, Block *transient)
{
    Tcg *tcg = v->tcg;
    bool keep_ir = tcg->use_interp || tcg->check;
    Ir *ir = keep_ir && !transient ? ir_new(v->target->slots) : v->ir;
    Block *b = transient ? transient : block_alloc();
    Segment *s = &tcg->seg[tcg->cur];
    t->transient = transient != NULL;
    bool ok = translate_whole(t, ir);
    t->unkeepable = ok && t->straddles && !t->second.host && !transient;
    if (ok && !t->unkeepable && t->wants == TRANS_DONE) {
        if (transient)
            memset(b, 0, sizeof *b);
        uint64_t start = stat_ns(v);
        bool done = emit(v, ir, transient ? NULL : s, b);
        tcg->st.compile_ns += stat_ns(v) - start;
        if (done) {
            describe(b, t, ir);
            b->seg = s - tcg->seg;
            if (transient || keep_ir)
                b->ir = ir;
            return b;
        }
        g_assert(!transient);
        t->wants = TRANS_EVICT;
        t->full = tcg->cur;
        if (!s->used) {                 /* does not fit into an empty segment */
            g_assert(t->max_insns > 1);
            t->max_insns /= 2;
            t->full = MAX_SEGMENTS;
        }
    }
    if (!transient) {
        free(b);
        if (keep_ir)
            ir_free(ir);
    }
    return NULL;
}

static void unpin_second(Tcg *tcg, Trans *t)
{
    if (t->pinned)
        code_page_unpin(tcg, t->second.ram_page);
    t->pinned = false;
}

static void keep(Tcg *tcg, const Trans *t, Block *b)
{
    Segment *s = &tcg->seg[b->seg];
    s->used = MIN(s->size, (s->used + b->cb.total_len + CODE_ALIGN - 1) & -(size_t)CODE_ALIGN);
    g_ptr_array_add(s->blocks, b);
    code_page_add(tcg, b);
    hash_add(tcg, b);
    b->listed = true;
    tcg->st.blocks++;
    tcg->st.guest_insns += b->n_insns;
    tcg->st.guest_bytes += b->len + b->len2;
    tcg->st.host_bytes += b->cb.code_len;
    tcg->st.data_bytes += b->cb.total_len - b->cb.code_len;
    if (log_on(LOG_OUT_ASM) && !tcg->use_interp)
        disas_host(tcg, b);
    if (tcg->perfmap)
        perfmap_add(tcg, b, t->va);
}

/* What nobody else may be inside for; see there. */
static void do_alone(TcgVcpu *v, const Trans *t)
{
    Tcg *tcg = v->tcg;
    alone_begin(v);
    if (t->wants == TRANS_SETTLE)
        code_pages_settle(v);
    pthread_mutex_lock(&tcg->lock);
    if (t->wants == TRANS_EVICT && t->full == tcg->cur)
        segment_next(tcg);
    pthread_mutex_unlock(&tcg->lock);
    alone_end(v);
}

static Block *hash_find(Tcg *t, uint64_t ra, uint32_t mode)
{
    Block *b = __atomic_load_n(&t->hash[hash_of(key_of(ra, mode), HASH_BITS)], __ATOMIC_ACQUIRE);
    while (b && (b->ra != ra || b->mode != mode || b->ra2 != RA_NONE))
        b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE);
    return b;
}

static Block *make_kept(TcgVcpu *v, Trans *t)
{
    Tcg *tcg = v->tcg;
    uint64_t ra = (t->first.ram_page << PAGE_BITS) | (t->va & ~PAGE_MASK);
    pthread_mutex_lock(&tcg->lock);
    t->max_insns = tcg->one_insn ? 1 : MAX_INSNS;
    t->wants = code_page_pin(v, t->first.ram_page) ? TRANS_DONE : TRANS_SETTLE;
    Block *b = tcg->several ? hash_find(tcg, ra, cpu_mode(v->cpu)) : NULL;      /* another vCPU was faster */
    while (!b) {
        if (t->wants == TRANS_DONE) {
            b = make(v, t, NULL);
            if (b)
                keep(tcg, t, b);
            if (t->wants == TRANS_DONE)
                break;
        }
        pthread_mutex_unlock(&tcg->lock);
        do_alone(v, t);
        t->wants = TRANS_DONE;
        pthread_mutex_lock(&tcg->lock);
        if (tcg->several)
            b = hash_find(tcg, ra, cpu_mode(v->cpu));
    }
    code_page_unpin(tcg, t->first.ram_page);
    unpin_second(tcg, t);
    pthread_mutex_unlock(&tcg->lock);
    return b;
}

static bool fetch_start(TcgVcpu *v, Trans *t)
{
    *t = (Trans){ .v = v };
    t->va = v->target->code_va(v->cpu, v->cpu->hot[PC_OFFSET / 8]);
    FetchEntry *f = fetch_page(v, t->va);
    if (!f)
        return false;
    t->first = *f;
    return true;
}

static Block *single(TcgVcpu *v, Trans *t)
{
    bool before = v->single;
    v->single = true;
    pthread_mutex_lock(&v->tcg->lock);
    t->max_insns = 1;
    t->wants = TRANS_DONE;
    Block *b = make(v, t, &v->transient);
    v->tcg->st.one_insn_blocks += b != NULL;
    pthread_mutex_unlock(&v->tcg->lock);
    v->single = before;
    if (b) {
        if (log_on(LOG_OUT_ASM) && !v->tcg->use_interp)
            disas_host(v->tcg, b);
    }
    return b;
}

Block *block_single(TcgVcpu *v)
{
    Trans t;
    return fetch_start(v, &t) ? single(v, &t) : NULL;
}

/* second: of a straddler. */
static bool found(Found *f, Block *b, bool kept, bool global, bool second)
{
    bool straddles = b->ra2 != RA_NONE;
    *f = (Found){
        b, b->cb.code, kept, global && (second || !straddles), straddles, straddles && global != second
    };
    return true;
}

bool block_find(TcgVcpu *v, Found *out)
{
    CpuState *cpu = v->cpu;
    uint64_t va = v->target->code_va(cpu, cpu->hot[PC_OFFSET / 8]);
    const FetchEntry *f = fetch_page(v, va);
    if (!f)
        return false;
    bool global = f->global;
    if (G_LIKELY(f->host)) {
        uint64_t ra = (f->ram_page << PAGE_BITS) | (va & ~PAGE_MASK);
        uint32_t mode = cpu_mode(cpu);
        uint64_t key = key_of(ra, mode);
        FrontEntry *front = &v->tcg->front[hash_of(key, FRONT_BITS)];
        if (G_LIKELY(front_get(front, key, out, global)))
            return true;
        Block *b = __atomic_load_n(&v->tcg->hash[hash_of(key, HASH_BITS)], __ATOMIC_ACQUIRE);
        for (; b; b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE)) {
            if (b->ra != ra || b->mode != mode)
                continue;
            if (b->ra2 == RA_NONE) {
                front_add(front, key, b);
                return found(out, b, true, global, false);
            }
            const FetchEntry *g = fetch_page(v, (va & PAGE_MASK) + PAGE_SIZE);
            if (!g)
                return false;
            if (g->host && g->ram_page == b->ra2 >> PAGE_BITS)
                return found(out, b, true, global, g->global);
        }
    }
    Trans t = { .v = v, .va = va };
    t.first = *f;
    Block *b = t.first.host ? make_kept(v, &t) : NULL;
    bool kept = b != NULL;
    if (!t.first.host || t.unkeepable)  /* code in I/O space is not kept */
        b = single(v, &t);
    return b && found(out, b, kept, global, b->ra2 != RA_NONE && t.second.global);
}
