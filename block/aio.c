/* SPDX-License-Identifier: GPL-2.0-or-later
 * The event loop of an I/O thread: io_uring (io_uring(7); the system calls by themselves, so that no library is
 * loaded) or a thread pool behind one eventfd.
 *
 * Requests are rows in the ring until one_round() hands all of them over in the one call that also waits.
 *
 * A 4 KiB read that the page cache has costs less than half by preadv2() than by way of the ring, and a file in memory
 * would go to a worker thread and back, which costs ten times as much as the copying.  So small ones of those are done at
 * once (AIO_AUTO), but not for ever: after some of them the coroutine lets the others go first.
 *
 * Linux AIO (io_submit(2)) is there for who asks for it by "aio=native".  Its requests are handed over together as well, and
 * the loop's own eventfd tells that one has ended. */
#include "block/aio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/error.h"

enum { RING_ENTRIES = 256, MAX_THREADS = 32, AT_ONCE = 64 << 10, AT_ONCE_BYTES = 2 << 20, AT_ONCE_COST = 4 << 10 };

typedef struct Ring {
    int       fd;
    unsigned *sq_head, *sq_tail, *sq_array, *cq_head, *cq_tail;
    unsigned  sq_mask, sq_entries, cq_mask;
    unsigned  to_submit;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void     *map, *sqe_map;
    size_t    map_len, sqe_map_len;
} Ring;

/* What a coroutine waits for; lies on its stack. */
typedef struct Op {
    Coroutine *co;
    int        res;
    bool       done;
    int      (*fn)(void *self);     /* for a helper thread */
    void      *self;
    struct Op *next;
} Op;

/* Linux AIO; made by the first file that wants it. */
typedef struct Native {
    aio_context_t ctx;              /* 0: none */
    GPtrArray    *waiting;          /* struct iocb *: not handed over yet, oldest first */
    unsigned      in_flight;
} Native;

typedef struct Post { void (*fn)(void *self); void *self; struct Post *next; } Post;
typedef struct Sleeper { Coroutine *co; int64_t at_ns; struct Sleeper *next; } Sleeper;
typedef struct PollOp { Coroutine *co; int fd; unsigned events; int res; struct PollOp *next; } PollOp;

struct Aio {
    bool     uring;
    Ring     ring;
    int      event;
    uint64_t event_value;
    Native   native;
    Op       event_op;              /* the read of the eventfd that stands in the ring */
    bool     event_armed;

    GMutex   lock;                  /* of what other threads hand over */
    Post    *posts, **posts_last;
    Op      *finished, **finished_last;
    bool     signalled;             /* the eventfd has been written and not read */

    bool     at_once, patient;
    int      budget;                /* bytes to be done at once until the next round */
    GThreadPool *pool, *compute;
    Sleeper *sleepers;              /* by time */
    PollOp  *polls;                 /* with the thread pool */
    CoQueue  paused;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* --- the ring */

static int ring_setup(struct io_uring_params *p)
{
    /* One submitter, and completions are looked at only when we ask: saves interruptions.  Older kernels know less. */
    static const unsigned wishes[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN, 0
    };
    for (unsigned i = 0; i < ARRAY_LEN(wishes); i++) {
        *p = (struct io_uring_params){ .flags = wishes[i] | IORING_SETUP_CLAMP };
        int fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, p);
        if (fd >= 0)
            return fd;
        if (errno != EINVAL)
            break;
    }
    return -errno;
}

static int ring_open(Ring *r)
{
    struct io_uring_params p;
    r->fd = ring_setup(&p);
    if (r->fd < 0)
        return r->fd;
    unsigned need = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((p.features & need) != need) {
        close(r->fd);
        return -ENOSYS;
    }
    r->map_len = MAX(p.sq_off.array + p.sq_entries * sizeof(unsigned),
                     p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe));
    r->sqe_map_len = p.sq_entries * sizeof(struct io_uring_sqe);
    r->map = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
    r->sqe_map = mmap(NULL, r->sqe_map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
    if (r->map == MAP_FAILED || r->sqe_map == MAP_FAILED) {
        close(r->fd);
        return -ENOMEM;
    }
    uint8_t *m = r->map;
    r->sq_head = (unsigned *)(void *)(m + p.sq_off.head);
    r->sq_tail = (unsigned *)(void *)(m + p.sq_off.tail);
    r->sq_array = (unsigned *)(void *)(m + p.sq_off.array);
    r->cq_head = (unsigned *)(void *)(m + p.cq_off.head);
    r->cq_tail = (unsigned *)(void *)(m + p.cq_off.tail);
    r->cqes = (struct io_uring_cqe *)(void *)(m + p.cq_off.cqes);
    r->sqes = r->sqe_map;
    r->sq_entries = p.sq_entries;
    r->sq_mask = p.sq_entries - 1;
    r->cq_mask = p.cq_entries - 1;
    for (unsigned i = 0; i < p.sq_entries; i++)
        r->sq_array[i] = i;
    return 0;
}

static void ring_close(Ring *r)
{
    munmap(r->map, r->map_len);
    munmap(r->sqe_map, r->sqe_map_len);
    close(r->fd);
}

static bool ring_has_completion(const Ring *r)
{
    return *r->cq_head != __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
}

/* timeout_ns < 0: for ever.  want: how many completions to wait for. */
static void ring_enter(Ring *r, unsigned want, int64_t timeout_ns)
{
    struct __kernel_timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    struct io_uring_getevents_arg arg = { .ts = timeout_ns >= 0 ? (uintptr_t)&ts : 0 };
    syscall(SYS_io_uring_enter, r->fd, r->to_submit, want, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg,
            sizeof arg);
    /* On errors (interrupted, timed out) the head tells how many rows were taken all the same. */
    r->to_submit = *r->sq_tail - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE);
}

static struct io_uring_sqe *ring_sqe(Ring *r)
{
    unsigned tail = *r->sq_tail;
    while (tail - __atomic_load_n(r->sq_head, __ATOMIC_ACQUIRE) == r->sq_entries)
        ring_enter(r, 0, -1);
    struct io_uring_sqe *e = &r->sqes[tail & r->sq_mask];
    memset(e, 0, sizeof *e);
    return e;
}

static void ring_put(Ring *r, Op *op)
{
    unsigned tail = *r->sq_tail;
    r->sqes[tail & r->sq_mask].user_data = (uintptr_t)op;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
    r->to_submit++;
}

static int ring_wait(Aio *a, Op *op)
{
    ring_put(&a->ring, op);
    while (!op->done)
        co_yield();
    return op->res;
}

static bool ring_reap(Aio *a)
{
    Ring *r = &a->ring;
    bool any = false;
    while (ring_has_completion(r)) {
        struct io_uring_cqe *c = &r->cqes[*r->cq_head & r->cq_mask];
        Op *op = (Op *)(uintptr_t)c->user_data;
        op->res = c->res;
        op->done = true;
        __atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
        if (op == &a->event_op) {
            a->event_armed = false;
            continue;
        }
        any = true;
        co_wake(op->co);
    }
    return any;
}

/* --- Linux AIO */

static int native_open(Native *n)
{
    if (n->ctx)
        return 0;
    if (syscall(SYS_io_setup, RING_ENTRIES, &n->ctx))
        return -errno;
    n->waiting = g_ptr_array_new();
    return 0;
}

static void native_close(Native *n)
{
    if (!n->ctx)
        return;
    assert(!n->in_flight && !n->waiting->len);
    syscall(SYS_io_destroy, n->ctx);
    g_ptr_array_free(n->waiting, TRUE);
}

static void native_done(const struct iocb *c, int64_t res)
{
    Op *op = (Op *)(uintptr_t)c->aio_data;
    op->res = (int)res;
    op->done = true;
    co_wake(op->co);
}

/* Hands over what waits, as far as the kernel takes it.  Whether one ended by being refused. */
static bool native_submit(Native *n)
{
    unsigned done = 0;
    bool any = false;
    while (n->ctx && done < n->waiting->len && n->in_flight < RING_ENTRIES) {
        unsigned want = MIN(n->waiting->len - done, RING_ENTRIES - n->in_flight);
        long took = syscall(SYS_io_submit, n->ctx, (long)want, n->waiting->pdata + done);
        if (took < 0 && (errno == EAGAIN || errno == EINTR) && n->in_flight)
            break;      /* goes on once one has ended */
        if (took < 0 && errno == EINTR)
            continue;
        if (took < 0) {
            native_done(n->waiting->pdata[done++], -errno);
            any = true;
            continue;
        }
        n->in_flight += (unsigned)took;
        done += (unsigned)took;
    }
    if (done)
        g_ptr_array_remove_range(n->waiting, 0, done);
    return any;
}

static bool native_reap(Native *n)
{
    bool any = false;
    while (n->in_flight) {
        struct io_event e[64];
        struct timespec now = { 0 };
        long got = syscall(SYS_io_getevents, n->ctx, 0L, (long)ARRAY_LEN(e), e, &now);
        if (got <= 0)
            break;
        n->in_flight -= (unsigned)got;
        for (long i = 0; i < got; i++)
            native_done((const struct iocb *)(uintptr_t)e[i].obj, e[i].res);
        any = true;
    }
    return any;
}

bool aio_can(Aio *a, unsigned by, GError **err)
{
    int r = by & AIO_BY_NATIVE ? native_open(&a->native) : 0;
    if (r)
        return fail_errno(err, -r, "aio=native: the kernel refuses io_setup()");
    if ((by & AIO_BY_URING) && !a->uring)
        return fail(err, "aio=io_uring: the kernel refuses it, or rhea was told to do without; aio=threads always works");
    return true;
}

/* --- the loop */

Aio *aio_new(AioEngine engine, GError **err)
{
    Aio *a = g_new0(Aio, 1);
    g_mutex_init(&a->lock);
    a->posts_last = &a->posts;
    a->finished_last = &a->finished;
    a->at_once = engine == AIO_AUTO;
    int r = engine == AIO_THREADS ? -ENOSYS : ring_open(&a->ring);
    a->uring = !r;
    /* A read of it waits in the ring, which asks for a blocking descriptor. */
    a->event = eventfd(0, EFD_CLOEXEC | (a->uring ? 0 : EFD_NONBLOCK));
    if (a->event < 0) {         /* nobody could wake the loop */
        fail_errno(err, errno, "eventfd");
        aio_free(a);
        return NULL;
    }
    if (engine == AIO_URING && r) {
        fail_errno(err, -r, "io_uring is not available");
        aio_free(a);
        return NULL;
    }
    return a;
}

void aio_free(Aio *a)
{
    assert(!a->posts && !a->finished && !a->sleepers && !a->polls);
    if (a->pool)
        g_thread_pool_free(a->pool, FALSE, TRUE);
    if (a->compute)
        g_thread_pool_free(a->compute, FALSE, TRUE);
    native_close(&a->native);
    if (a->uring)
        ring_close(&a->ring);
    close(a->event);
    g_mutex_clear(&a->lock);
    g_free(a);
}

void aio_set_patient(Aio *a) { a->patient = true; }

/* With the lock held: makes a waiting one_round() return. */
static void signal_once(Aio *a)
{
    uint64_t one = 1;
    if (a->signalled)
        return;
    a->signalled = true;
    if (write(a->event, &one, sizeof one) < 0)
        return;     /* the counter is full: the loop has been woken often enough */
}

void aio_post(Aio *a, void (*fn)(void *self), void *self)
{
    Post *p = g_new(Post, 1);
    *p = (Post){ .fn = fn, .self = self };
    g_mutex_lock(&a->lock);
    *a->posts_last = p;
    a->posts_last = &p->next;
    signal_once(a);
    g_mutex_unlock(&a->lock);
}

static bool take_handed_over(Aio *a)
{
    g_mutex_lock(&a->lock);
    Post *posts = a->posts;
    Op *ops = a->finished;
    a->posts = NULL;
    a->posts_last = &a->posts;
    a->finished = NULL;
    a->finished_last = &a->finished;
    a->signalled = false;
    g_mutex_unlock(&a->lock);
    bool any = posts || ops;
    while (ops) {
        Op *op = ops;
        ops = op->next;
        op->done = true;
        co_wake(op->co);
    }
    while (posts) {
        Post *p = posts;
        posts = p->next;
        p->fn(p->self);
        g_free(p);
    }
    return any;
}

static bool run_sleepers(Aio *a)
{
    bool any = false;
    int64_t now = a->sleepers ? now_ns() : 0;
    while (a->sleepers && a->sleepers->at_ns <= now) {
        Sleeper *s = a->sleepers;
        a->sleepers = s->next;
        any = true;
        co_wake(s->co);
    }
    return any;
}

static bool round_uring(Aio *a, int64_t timeout_ns)
{
    if (!a->event_armed) {
        a->event_op = (Op){ .res = 0 };
        struct io_uring_sqe *e = ring_sqe(&a->ring);
        e->opcode = IORING_OP_READ;
        e->fd = a->event;
        e->addr = (uintptr_t)&a->event_value;
        e->len = sizeof a->event_value;
        ring_put(&a->ring, &a->event_op);
        a->event_armed = true;
    }
    bool wait = timeout_ns != 0 && !ring_has_completion(&a->ring);
    ring_enter(&a->ring, wait, timeout_ns);
    return ring_reap(a);
}

static bool round_threads(Aio *a, int64_t timeout_ns)
{
    unsigned n = 1;
    for (PollOp *p = a->polls; p; p = p->next)
        n++;
    g_autofree struct pollfd *fds = g_new(struct pollfd, n);
    fds[0] = (struct pollfd){ .fd = a->event, .events = POLLIN };
    n = 1;
    for (PollOp *p = a->polls; p; p = p->next)
        fds[n++] = (struct pollfd){ .fd = p->fd, .events = (short)p->events };
    struct timespec ts = { timeout_ns / 1000000000, timeout_ns % 1000000000 };
    if (ppoll(fds, n, timeout_ns < 0 ? NULL : &ts, NULL) <= 0)
        return false;
    uint64_t value;
    if (fds[0].revents && read(a->event, &value, sizeof value) < 0)
        return false;
    /* Taken out first: whoever goes on may wait anew. */
    PollOp *ready = NULL;
    n = 1;
    for (PollOp **link = &a->polls, *p; (p = *link); n++) {
        if (!fds[n].revents) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        p->res = fds[n].revents;
        p->next = ready;
        ready = p;
    }
    bool any = ready;
    while (ready) {
        PollOp *p = ready;
        ready = p->next;
        co_wake(p->co);
    }
    return any;
}

/* Submits, waits if told to and nothing else is to do, resumes who can go on.  Whether any could. */
static bool one_round(Aio *a, bool wait)
{
    assert(!co_self());
    a->budget = AT_ONCE_BYTES;
    bool any = take_handed_over(a);
    any |= run_sleepers(a);
    any |= native_reap(&a->native);
    any |= native_submit(&a->native);
    int64_t timeout = -1;
    if (any || !wait || !co_queue_empty(&a->paused))
        timeout = 0;
    else if (a->sleepers)
        timeout = MAX(a->sleepers->at_ns - now_ns(), 0);      /* below 0 would be for ever */
    any |= a->uring ? round_uring(a, timeout) : round_threads(a, timeout);
    any |= take_handed_over(a);
    any |= native_reap(&a->native);
    any |= run_sleepers(a);
    any |= !co_queue_empty(&a->paused);
    co_queue_wake_all(&a->paused);
    return any;
}

typedef struct Run { void (*fn)(void *self); void *self; bool done; } Run;

static void run_main(void *self)
{
    Run *r = self;
    r->fn(r->self);
    r->done = true;
}

void aio_run(Aio *a, void (*fn)(void *self), void *self)
{
    Run r = { .fn = fn, .self = self };
    co_start(run_main, &r);
    while (!r.done)
        one_round(a, true);
}

/* --- helper threads */

static void work_main(void *data, void *user)
{
    Op *op = data;
    Aio *a = user;
    op->res = op->fn(op->self);
    g_mutex_lock(&a->lock);
    op->next = NULL;
    *a->finished_last = op;
    a->finished_last = &op->next;
    signal_once(a);
    g_mutex_unlock(&a->lock);
}

static int work_in(Aio *a, GThreadPool **pool, unsigned threads, int (*fn)(void *self), void *self)
{
    if (!*pool)
        *pool = g_thread_pool_new(work_main, a, (int)threads, FALSE, NULL);
    Op op = { .co = co_self(), .fn = fn, .self = self };
    g_thread_pool_push(*pool, &op, NULL);
    while (!op.done)
        co_yield();
    return op.res;
}

int co_work(Aio *a, int (*fn)(void *self), void *self) { return work_in(a, &a->pool, MAX_THREADS, fn, self); }

int co_compute(Aio *a, int (*fn)(void *self), void *self)
{
    return work_in(a, &a->compute, MIN(g_get_num_processors(), MAX_THREADS), fn, self);
}

/* --- file operations */

typedef struct FileOp {
    unsigned            opcode;         /* io_uring's */
    int                 fd, mode;
    const struct iovec *v;
    int                 nv;
    uint64_t            at, len;
    unsigned            rw_flags, flags;
} FileOp;

static int file_op_blocking(void *self)
{
    FileOp *f = self;
    ssize_t n;
    do {
        switch (f->opcode) {
        case IORING_OP_READV:  n = preadv2(f->fd, f->v, f->nv, (off_t)f->at, (int)f->rw_flags); break;
        case IORING_OP_WRITEV: n = pwritev2(f->fd, f->v, f->nv, (off_t)f->at, (int)f->rw_flags); break;
        case IORING_OP_FSYNC:  n = fdatasync(f->fd); break;
        default:               n = fallocate(f->fd, f->mode, (off_t)f->at, (off_t)f->len); break;
        }
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

static int file_op_native(Aio *a, FileOp *f)
{
    Op op = { .co = co_self() };
    struct iocb c = {
        .aio_data = (uintptr_t)&op, .aio_fildes = (uint32_t)f->fd, .aio_offset = (int64_t)f->at, .aio_nbytes = (uint64_t)f->nv,
        .aio_buf = (uintptr_t)f->v, .aio_rw_flags = (int)f->rw_flags, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)a->event,
        .aio_lio_opcode = f->opcode == IORING_OP_READV ? IOCB_CMD_PREADV : IOCB_CMD_PWRITEV,
    };
    g_ptr_array_add(a->native.waiting, &c);
    while (!op.done)
        co_yield();
    /* No room in the kernel, and nothing under way that would make some. */
    return op.res == -EAGAIN ? co_work(a, file_op_blocking, f) : op.res;
}

static int file_op(Aio *a, FileOp *f)
{
    bool transfers = f->opcode == IORING_OP_READV || f->opcode == IORING_OP_WRITEV;
    if ((f->flags & AIO_BY_NATIVE) && transfers)
        return file_op_native(a, f);
    if (!a->uring || (f->flags & (AIO_BY_THREADS | AIO_BY_NATIVE)))
        return co_work(a, file_op_blocking, f);
    Op op;
    do {
        op = (Op){ .co = co_self() };
        struct io_uring_sqe *e = ring_sqe(&a->ring);
        e->opcode = (uint8_t)f->opcode;
        e->fd = f->fd;
        e->off = f->at;
        switch (f->opcode) {
        case IORING_OP_FSYNC:
            e->off = 0;
            e->fsync_flags = IORING_FSYNC_DATASYNC;
            break;
        case IORING_OP_FALLOCATE:
            e->addr = f->len;
            e->len = (unsigned)f->mode;
            break;
        default:
            e->addr = (uintptr_t)f->v;
            e->len = (unsigned)f->nv;
            e->rw_flags = (int)f->rw_flags;
            /* Copying that much is better done by a worker, beside this thread. */
            if (a->at_once && !(f->flags & AIO_BY) && (f->flags & (AIO_CACHED | AIO_MEMORY)) && f->len > AT_ONCE)
                e->flags = IOSQE_ASYNC;
        }
        ring_wait(a, &op);
    } while (op.res == -EINTR || op.res == -EAGAIN);
    return op.res;
}

/* Whether f, len bytes of it, has been done, and no device was waited for; its result. */
static bool done_at_once(Aio *a, FileOp *f, uint64_t len, int *result)
{
    if (!a->at_once || (f->flags & AIO_BY) || len > AT_ONCE || !(f->flags & (AIO_MEMORY | AIO_CACHED)))
        return false;
    if (a->budget <= 0)
        co_pause(a);
    a->budget -= MAX((int)len, AT_ONCE_COST);
    if (f->flags & AIO_MEMORY) {
        *result = file_op_blocking(f);
        return true;
    }
    if (f->opcode == IORING_OP_WRITEV && a->patient) {
        *result = file_op_blocking(f);
        return true;
    }
    if (f->opcode != IORING_OP_READV)
        return false;
    f->rw_flags = RWF_NOWAIT;
    *result = file_op_blocking(f);
    f->rw_flags = 0;
    return *result != -EAGAIN && *result != -EOPNOTSUPP;
}

static int file_op_somehow(Aio *a, FileOp *f, uint64_t len)
{
    int r;
    if (f->opcode == IORING_OP_READV || f->opcode == IORING_OP_WRITEV)
        f->len = len;
    return done_at_once(a, f, len, &r) ? r : file_op(a, f);
}

static int64_t transfer(Aio *a, FileOp *f)
{
    enum { MAX_IOV = 1024 };    /* IOV_MAX of Linux */
    uint64_t done = 0, total = iov_size(f->v, f->nv), start = f->at;
    g_autofree struct iovec *rest = NULL;
    const struct iovec *v = f->v;
    int nv = f->nv;
    for (;;) {
        f->nv = MIN(f->nv, MAX_IOV);
        int n = file_op_somehow(a, f, total - done);
        if (n < 0)
            return n;
        done += (unsigned)n;
        if (!n || done == total)
            return (int64_t)done;
        if (!rest)
            rest = g_new(struct iovec, nv);
        f->nv = iov_slice(v, nv, done, total - done, rest);
        f->v = rest;
        f->at = start + done;
    }
}

int64_t co_preadv(Aio *a, int fd, const struct iovec *v, int nv, uint64_t at, unsigned flags)
{
    FileOp f = { .opcode = IORING_OP_READV, .fd = fd, .v = v, .nv = nv, .at = at, .flags = flags };
    return transfer(a, &f);
}

int64_t co_pwritev(Aio *a, int fd, const struct iovec *v, int nv, uint64_t at, unsigned flags)
{
    FileOp f = { .opcode = IORING_OP_WRITEV, .fd = fd, .v = v, .nv = nv, .at = at, .flags = flags,
                 .rw_flags = flags & AIO_DSYNC ? RWF_DSYNC : 0 };
    return transfer(a, &f);
}

int co_fdatasync(Aio *a, int fd, unsigned flags)
{
    FileOp f = { .opcode = IORING_OP_FSYNC, .fd = fd, .flags = flags & (AIO_MEMORY | AIO_BY) };
    return file_op_somehow(a, &f, 0);
}

int co_fallocate(Aio *a, int fd, int mode, uint64_t at, uint64_t len, unsigned flags)
{
    FileOp f = { .opcode = IORING_OP_FALLOCATE, .fd = fd, .mode = mode, .at = at, .len = len, .flags = flags & (AIO_MEMORY | AIO_BY) };
    return file_op_somehow(a, &f, len);
}

int co_poll(Aio *a, int fd, unsigned events)
{
    if (a->uring) {
        Op op = { .co = co_self() };
        struct io_uring_sqe *e = ring_sqe(&a->ring);
        e->opcode = IORING_OP_POLL_ADD;
        e->fd = fd;
        e->poll32_events = G_BYTE_ORDER == G_BIG_ENDIAN ? events << 16 | events >> 16 : events;
        return ring_wait(a, &op);
    }
    PollOp *p = g_new(PollOp, 1);
    *p = (PollOp){ .co = co_self(), .fd = fd, .events = events, .next = a->polls };
    a->polls = p;
    while (!p->res)
        co_yield();
    int res = p->res;
    g_free(p);
    return res;
}

void co_sleep_ns(Aio *a, int64_t ns)
{
    Sleeper s = { .co = co_self() };
    if (__builtin_add_overflow(now_ns(), ns, &s.at_ns))
        s.at_ns = INT64_MAX;
    Sleeper **link = &a->sleepers;
    while (*link && (*link)->at_ns <= s.at_ns)
        link = &(*link)->next;
    s.next = *link;
    *link = &s;
    co_yield();
}

void co_pause(Aio *a) { co_queue_wait(&a->paused); }
