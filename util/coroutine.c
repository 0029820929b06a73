/* SPDX-License-Identifier: GPL-2.0-or-later
 * Coroutines on stacks of their own.  On x86-64 the switch saves what the System V ABI says a call preserves
 * (MXCSR and the x87 control word stay the thread's); elsewhere it is the C library's swapcontext().
 *
 * What a thread runs and its spare stacks are kept per thread: they are of the thread as its own stack is, so
 * they do not hang off a Machine. */
#include "util/coroutine.h"

#include <assert.h>
#include <glib.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"

#if !HOST_X86_64
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define FIBRES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBRES 1
#endif
#endif
#ifdef FIBRES
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define FIBRES 0
#endif

enum { SPARE_STACKS = 64, STACK_BYTES = FIBRES ? 4 * CO_STACK_SIZE : CO_STACK_SIZE };

typedef struct CoThread CoThread;
struct Coroutine {
    void     (*fn)(void *self);
    void      *self;
    CoThread  *thread;          /* NULL until first entered */
    Coroutine *next;            /* in a queue, the ready list or the spare list */
    uint8_t   *map;             /* guard page, then the stack */
    void      *fake_stack;      /* AddressSanitizer's, while it does not run */
    bool       ready, finished;
#if HOST_X86_64
    void      *sp;
#else
    ucontext_t context;
#endif
};

struct CoThread {
    Coroutine  *current;
    Coroutine  *ready, **ready_last;
    Coroutine  *spare;
    unsigned    n_spare;
    const void *stack;          /* of the thread itself, for AddressSanitizer */
    size_t      stack_size;
    void       *fake_stack;
#if HOST_X86_64
    void       *sp;
#else
    ucontext_t  context;
#endif
};

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void coroutine_free(Coroutine *co)
{
    munmap(co->map, STACK_BYTES + page_size());
    g_free(co);
}

static void thread_end(void *data)
{
    CoThread *t = data;
    while (t->spare) {
        Coroutine *co = t->spare;
        t->spare = co->next;
        coroutine_free(co);
    }
    g_free(t);
}

static CoThread *this_thread(void)
{
    static GPrivate key = G_PRIVATE_INIT(thread_end);
    CoThread *t = g_private_get(&key);
    if (!t) {
        t = g_new0(CoThread, 1);
        t->ready_last = &t->ready;
        g_private_set(&key, t);
    }
    return t;
}

static void leave(Coroutine *co);

/* The first function on a new stack. */
static void __attribute__((noreturn)) stack_bottom(void)
{
    CoThread *t = this_thread();
#if FIBRES
    __sanitizer_finish_switch_fiber(NULL, &t->stack, &t->stack_size);
#endif
    Coroutine *co = t->current;
    co->fn(co->self);
    co->finished = true;
    leave(co);
    g_assert_not_reached();
}

#if HOST_X86_64
/* Saves the registers that a call preserves on the stack, the stack pointer to *save, and goes on where `to` was
 * saved. */
void co_switch_stacks(void **save, void *to);
asm(".text\n"
    ".globl co_switch_stacks\n"
    ".hidden co_switch_stacks\n"
    ".type co_switch_stacks, @function\n"
    "co_switch_stacks:\n"
    "    push %rbp\n"
    "    push %rbx\n"
    "    push %r12\n"
    "    push %r13\n"
    "    push %r14\n"
    "    push %r15\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15\n"
    "    pop %r14\n"
    "    pop %r13\n"
    "    pop %r12\n"
    "    pop %rbx\n"
    "    pop %rbp\n"
    "    ret\n"
    ".size co_switch_stacks, . - co_switch_stacks\n");

static void context_init(Coroutine *co)
{
    /* As co_switch_stacks leaves it: six registers, the address to return to, and above that what would be
     * stack_bottom's own return address, so that it finds the stack aligned as after a call. */
    void **sp = (void **)(co->map + page_size() + STACK_BYTES);
    *--sp = NULL;
    *--sp = (void *)stack_bottom;
    for (unsigned i = 0; i < 6; i++)
        *--sp = NULL;
    co->sp = sp;
}
static void switch_in(CoThread *t, Coroutine *co) { co_switch_stacks(&t->sp, co->sp); }
static void switch_out(CoThread *t, Coroutine *co) { co_switch_stacks(&co->sp, t->sp); }
#else
static void context_init(Coroutine *co)
{
    getcontext(&co->context);
    co->context.uc_stack.ss_sp = co->map + page_size();
    co->context.uc_stack.ss_size = STACK_BYTES;
    co->context.uc_link = NULL;
    makecontext(&co->context, stack_bottom, 0);
}
static void switch_in(CoThread *t, Coroutine *co) { swapcontext(&t->context, &co->context); }
static void switch_out(CoThread *t, Coroutine *co) { swapcontext(&co->context, &t->context); }
#endif

/* From the coroutine to the thread's own stack. */
static void leave(Coroutine *co)
{
    CoThread *t = co->thread;
    assert(t->current == co);
    t->current = NULL;
#if FIBRES
    __sanitizer_start_switch_fiber(co->finished ? NULL : &co->fake_stack, t->stack, t->stack_size);
#endif
    switch_out(t, co);
#if FIBRES
    __sanitizer_finish_switch_fiber(co->fake_stack, &t->stack, &t->stack_size);
#endif
}

static void enter(CoThread *t, Coroutine *co)
{
    assert(!co->thread || co->thread == t);     /* never changes thread */
    co->thread = t;
    co->ready = false;
    t->current = co;
#if FIBRES
    __sanitizer_start_switch_fiber(&t->fake_stack, co->map + page_size(), STACK_BYTES);
#endif
    switch_in(t, co);
#if FIBRES
    __sanitizer_finish_switch_fiber(t->fake_stack, NULL, NULL);
#endif
    if (!co->finished)
        return;
#if FIBRES
    __asan_unpoison_memory_region(co->map + page_size(), STACK_BYTES);
#endif
    if (t->n_spare == SPARE_STACKS) {
        coroutine_free(co);
        return;
    }
    co->next = t->spare;
    t->spare = co;
    t->n_spare++;
}

Coroutine *co_new(void (*fn)(void *self), void *self)
{
    CoThread *t = this_thread();
    Coroutine *co = t->spare;
    if (co) {
        t->spare = co->next;
        t->n_spare--;
        uint8_t *map = co->map;
        *co = (Coroutine){ .map = map };
    } else {
        co = g_new0(Coroutine, 1);
        size_t page = page_size();
        co->map = mmap(NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (co->map == MAP_FAILED || mprotect(co->map, page, PROT_NONE))
            g_error("no memory for a coroutine's stack");
    }
    co->fn = fn;
    co->self = self;
    context_init(co);
    return co;
}

void co_wake(Coroutine *co)
{
    CoThread *t = this_thread();
    assert(!co->ready && !co->finished);
    co->ready = true;
    co->next = NULL;
    *t->ready_last = co;
    t->ready_last = &co->next;
    if (t->current)
        return;
    /* Outermost: run what is ready until nothing is.  Somebody who is woken meanwhile joins the list's end. */
    while (t->ready) {
        Coroutine *first = t->ready;
        t->ready = first->next;
        if (!t->ready)
            t->ready_last = &t->ready;
        enter(t, first);
    }
}

void co_start(void (*fn)(void *self), void *self) { co_wake(co_new(fn, self)); }

void co_yield(void)
{
    Coroutine *co = this_thread()->current;
    assert(co);
    leave(co);
}

Coroutine *co_self(void) { return this_thread()->current; }

void co_queue_wait(CoQueue *q)
{
    Coroutine *co = co_self();
    assert(co);
    co->next = NULL;
    if (!q->first)
        q->last = &q->first;
    *q->last = co;
    q->last = &co->next;
    co_yield();
}

static Coroutine *queue_take(CoQueue *q)
{
    Coroutine *co = q->first;
    if (co)
        q->first = co->next;
    return co;
}

bool co_queue_wake_one(CoQueue *q)
{
    Coroutine *co = queue_take(q);
    if (!co)
        return false;
    co_wake(co);
    return true;
}

void co_queue_wake_all(CoQueue *q)
{
    /* Those who wait anew because of this are not woken again. */
    CoQueue all = *q;
    q->first = NULL;
    Coroutine *next;
    for (Coroutine *co = all.first; co; co = next) {
        next = co->next;
        co_wake(co);
    }
}

void co_mutex_lock(CoMutex *m)
{
    Coroutine *co = co_self();
    assert(co && m->holder != co);
    if (!m->holder) {
        m->holder = co;
        return;
    }
    co_queue_wait(&m->waiters);
    assert(m->holder == co);
}

void co_mutex_unlock(CoMutex *m)
{
    assert(m->holder == co_self());
    m->holder = queue_take(&m->waiters);
    if (m->holder)
        co_wake(m->holder);
}
