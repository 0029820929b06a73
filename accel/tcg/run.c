/* SPDX-License-Identifier: GPL-2.0-or-later
 * The run loop of a vCPU: find a block, enter it, act upon what it returns.
 *
 * Every block subtracts its instruction count from cpu->countdown at its head and leaves when that is negative.  The
 * loop refills it with REFILL; a kick subtracts KICK more, so that the count can be told from what is left even then. */
#include "accel/tcg/tcg_int.h"

#include "config.h"
#include "target/debug.h"
#include "util/log.h"
#include "util/qsr.h"

enum { REFILL = 1 << 29, KICK = 1 << 30, KICKED = -(1 << 28) };         /* below KICKED: a KICK is in it */

/* Also in the signal handler, on the vCPU's own thread: the subtraction in generated code is one instruction that
 * this cannot come into the middle of. */
void tcg_vcpu_interrupt(Vcpu *vc)
{
    TcgVcpu *v = (TcgVcpu *)vc;
    volatile int32_t *countdown = &v->cpu->countdown;
    if (v->hold)
        v->held = true;
    else if (*countdown > KICKED)
        *countdown -= KICK;
}

/* Brings cpu->insns up to date and refills countdown. */
static void settle(TcgVcpu *v)
{
    int32_t left = v->cpu->countdown;
    if (left <= KICKED)
        left += KICK;
    v->cpu->insns += v->budget - left;
    v->budget = v->cpu->countdown = REFILL;
}

/* Lets the next block run, and the head after it leave. */
static void leave_after(TcgVcpu *v, const Block *b)
{
    settle(v);
    v->budget = v->cpu->countdown = b->n_insns;
}

/* What C code runs under: the thread's own MXCSR, with all exceptions masked. */
static uint32_t host_fp_control(void)
{
#if HOST_X86_64
    return __builtin_ia32_stmxcsr();
#else
    return 0;
#endif
}

static void log_entry(TcgVcpu *v, const Block *b)
{
    if (log_on(LOG_EXEC))
        log_text("Trace %u: %p [%016" G_GINT64_MODIFIER "x/%04x] %u insns\n", v->v.index, (void *)b->cb.code,
                 v->cpu->hot[PC_OFFSET / 8], b->mode, b->n_insns);
    if (log_on(LOG_CPU)) {
        GString *s = g_string_new(NULL);
        v->target->dump(v->cpu, s);
        log_write(s->str, s->len);
        g_string_free(s, TRUE);
    }
}

static CpuExit enter(TcgVcpu *v, Block *b, const uint8_t *code)
{
    CpuExit e;
    if (log_on(LOG_EXEC | LOG_CPU))
        log_entry(v, b);
    v->st.enters++;
    v->in_code = true;
    if (G_UNLIKELY(v->tcg->check))
        e = check_run(v, b);
    else if (G_UNLIKELY(v->tcg->use_interp))
        e = interp_run(v->interp, v->cpu, b->ir);
    else
        e = code_enter(v, code);
    v->in_code = false;
    v->st.exits[MIN(e.reason, G_N_ELEMENTS(v->st.exits) - 1)]++;
    return e;
}

/* A faulting operation: state as its snapshot says; what the head counted and did not run is given back. */
static void restore(TcgVcpu *v, Block *entered, CpuExit e)
{
    Block *b = entered;
    unsigned done = e.arg;
    if (!v->tcg->use_interp && !v->tcg->check)
        done = code_restore(v, &b, e.arg);
    if (done < b->n_insns)
        v->cpu->countdown += b->n_insns - done;
}

/* Runs b and acts upon its exit.  True: the next block may be entered at once. */
static bool run_block(TcgVcpu *v, Block *b, const uint8_t *code)
{
    CpuState *cpu = v->cpu;
    CpuExit e = enter(v, b, code);
    if (e.reason != EXITR_FAULT)
        v->retry = false;
    switch (e.reason) {
    case EXITR_LINK:
        v->link = (CodeLink *)e.arg;
        return true;
    case EXITR_LOOKUP:
        return true;
    case EXITR_KICK:
        cpu->countdown += e.arg;
        v->st.kicks++;
        return false;
    case EXITR_FAULT:
        restore(v, b, e);
        return false;
    case EXITR_RAISE:
        v->target->raise(cpu, (uint32_t)e.arg, e.arg >> 32);
        return false;
    default:
        v->target->leave(cpu, e.reason);
        return false;
    }
}

static void run_once(TcgVcpu *v)
{
    Block *b = block_single(v);
    if (!b) {
        debug_fetch_failed(v);
        return;
    }
    leave_after(v, b);
    v->single = true;
    run_block(v, b, b->cb.code);
    v->single = false;
    v->link = NULL;                     /* its code is not kept, so is not linked from */
}

/* One instruction by itself: it stores into code, an interrupt shadow ends after it, it has hit a data breakpoint, it
 * wants to be atomic and needs all others to stand still for it. */
static void run_single(TcgVcpu *v)
{
    if (!v->want_alone)
        run_once(v);
    v->retry = false;
    if (G_LIKELY(!v->want_alone))
        return;
    v->want_alone = false;
    alone_begin(v);
    run_once(v);
    alone_end(v);
}

static void run_blocks(TcgVcpu *v)
{
    /* A wish to leave that came up in service(), with nothing that could be done about it: one block goes first. */
    bool leave = v->cpu->countdown < 0 || v->tcg->stress_interrupt;
    bool plain = !v->tcg->check && !v->tcg->use_interp;
    for (;;) {
        Found f;
        CodeLink *link = v->link;
        uint64_t evictions = __atomic_load_n(&v->tcg->st.evictions, __ATOMIC_RELAXED);
        v->link = NULL;
        if (!block_find(v, &f)) {
            debug_fetch_failed(v);
            return;
        }
        if (plain && f.kept) {
            /* an eviction may have taken the link's owner */
            if (!link || evictions != __atomic_load_n(&v->tcg->st.evictions, __ATOMIC_RELAXED) || !block_link(v, link, f.b))
                jump_fill(v, v->cpu->hot[PC_OFFSET / 8], &f);
        }
        if (leave)
            leave_after(v, f.b);
        leave = false;
        v->single = !f.kept;
        bool on = run_block(v, f.b, f.code);
        v->single = false;
        if (v->retry) {
            v->retry = false;
            debug_again(v);
            run_single(v);
            return;
        }
        if (!on)
            return;
        if (!f.kept)
            v->link = NULL;
    }
}

/* A debugger's step leaves interrupts aside, or every step would end in the timer's handler; not so on a halted CPU,
 * which only they can wake. */
static bool service(TcgVcpu *v)
{
    if (G_UNLIKELY(v->v.debug.step) && v->target->debug->settle(v->cpu))
        return true;
    return v->target->service(v->cpu);
}

/* What the instruction has raised is part of the step. */
static void stepped(TcgVcpu *v)
{
    v->target->debug->settle(v->cpu);
    v->after_one = false;               /* the next resume asks again */
    debug_after(v);
    if (!v->dead)
        vcpu_debug_stop(&v->v, DEBUG_STEPPED, NULL, 0);
}

static void sleep_outside(TcgVcpu *v)
{
    turn_leave(v);
    vcpu_sleep(&v->v);
    turn_enter(v);
}

void tcg_vcpu_run(Vcpu *vc)
{
    TcgVcpu *v = (TcgVcpu *)vc;
    turn_enter(v);
    debug_resumed(v);
    v->cpu->fp_host = host_fp_control();
    for (;;) {
        uint32_t req = atomic_exchange(&vc->requests, 0);
        if (req & VCPU_WORK)
            invalidate_work(v);
        if (req & VCPU_STOP)
            break;
        qsr_quiescent();
        turn_pass(v);                   /* after the requests: whoever wants us outside has said so before them */
        if (G_UNLIKELY(v->want_settled)) {
            v->want_settled = false;    /* whoever has stood outside looks at its requests before it goes on */
            alone_begin(v);
            alone_end(v);
        }
        if (v->dead) {
            sleep_outside(v);
            continue;
        }
        settle(v);
        if (G_UNLIKELY(v->timers_late)) {
            v->timers_late = false;
            clock_run(v->tcg->a.m.clock);
        }
        v->st.services++;
        bool runs = service(v);
        debug_after(v);
        if (v->dead || vc->debug.stop.why != DEBUG_NONE)
            continue;
        if (!runs) {
            v->st.halts++;
            sleep_outside(v);
            continue;
        }
        /* service() may have ended an interrupt shadow, so it is not asked again before something has run.  A signal
         * before settle() is forgotten, but its request is seen here. */
        if (vcpu_requested(vc))
            tcg_vcpu_interrupt(vc);
        if (v->after_one || vc->debug.step) {
            v->after_one = false;
            run_single(v);
        } else {
            run_blocks(v);
        }
        if (G_UNLIKELY(vc->debug.step))
            stepped(v);
        debug_after(v);
    }
    settle(v);
    turn_leave(v);
}
