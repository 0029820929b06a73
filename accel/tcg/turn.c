/* SPDX-License-Identifier: GPL-2.0-or-later
 * Several vCPUs: who may run, and standing still for each other.
 *
 * A vCPU is *inside* while it may use translated code and what is said of it: from before the run loop looks at its
 * requests to its end, but for sleep.  Between two rounds of the loop it holds no pointer to a block and its TLBs may be
 * changed by others, which is what alone_begin() waits for: all others outside, and staying there until alone_end().
 * It costs the others' way to their next block head, and if the host has fewer processors than there are vCPUs their
 * turn on one; so it is for what is rare (docs/accel.md has the list).
 *
 * thread=single, and check=on, which cannot do otherwise: being inside is a token that goes round.
 *
 * Nobody waits here who holds a lock. */
#include "accel/tcg/tcg_int.h"

#include <errno.h>
#include <sched.h>
#include <time.h>
#include "util/qsr.h"

enum { SLICE_NS = 5000000, PAUSES = 32 };

void turn_init(Tcg *t)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->turn.lock, NULL);
    pthread_cond_init(&t->turn.changed, &attr);
    pthread_condattr_destroy(&attr);
}

void turn_free(Tcg *t)
{
    pthread_mutex_destroy(&t->turn.lock);
    pthread_cond_destroy(&t->turn.changed);
}

static void wait_slice(Tcg *t)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += SLICE_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    TcgVcpu *holder = t->turn.holder;
    if (pthread_cond_timedwait(&t->turn.changed, &t->turn.lock, &until) == ETIMEDOUT && holder &&
        holder == t->turn.holder) {
        atomic_store(&holder->pass_on, true);
        vcpu_request(&holder->v, VCPU_WORK);
    }
}

/* Lock held. */
static void take_token(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    uint64_t ticket = t->turn.next++;
    while (t->turn.serving != ticket) {
        if (t->turn.serving + 1 == ticket)      /* the next in line sees to it that the token comes round */
            wait_slice(t);
        else
            pthread_cond_wait(&t->turn.changed, &t->turn.lock);
    }
    t->turn.holder = v;
    atomic_store(&v->pass_on, false);
}

void turn_enter(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    if (!t->several)
        return;
    if (!t->single) {
        atomic_store(&v->inside, true);
        if (G_LIKELY(!atomic_load(&t->turn.stopping)))
            return;
        atomic_store(&v->inside, false);
    }
    qsr_offline();
    pthread_mutex_lock(&t->turn.lock);
    if (t->single) {
        take_token(v);
    } else {
        pthread_cond_broadcast(&t->turn.changed);       /* who counts may have seen us inside */
        while (t->turn.stopping)
            pthread_cond_wait(&t->turn.changed, &t->turn.lock);
    }
    atomic_store(&v->inside, true);
    pthread_mutex_unlock(&t->turn.lock);
    qsr_online();
}

void turn_leave(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    if (!t->several)
        return;
    atomic_store(&v->inside, false);
    if (!t->single && G_LIKELY(!atomic_load(&t->turn.stopping)))
        return;
    pthread_mutex_lock(&t->turn.lock);
    if (t->single) {
        t->turn.holder = NULL;
        t->turn.serving++;
    }
    pthread_cond_broadcast(&t->turn.changed);
    pthread_mutex_unlock(&t->turn.lock);
}

static bool others_inside(TcgVcpu *v, bool ask)
{
    bool any = false;
    for (unsigned i = 0; i < v->tcg->a.vcpus->len; i++) {
        TcgVcpu *w = v->tcg->a.vcpus->pdata[i];
        if (w == v || !atomic_load(&w->inside))
            continue;
        any = true;
        if (ask)
            vcpu_request(&w->v, VCPU_WORK);
    }
    return any;
}

void alone_begin(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    v->st.alone++;
    v->alone = true;
    if (!t->several || t->single)
        return;
    qsr_offline();
    pthread_mutex_lock(&t->turn.lock);
    atomic_store(&v->inside, false);
    if (t->turn.stopping)
        pthread_cond_broadcast(&t->turn.changed);
    while (t->turn.stopping)
        pthread_cond_wait(&t->turn.changed, &t->turn.lock);
    atomic_store(&t->turn.stopping, true);
    for (bool ask = true; others_inside(v, ask); ask = false)
        pthread_cond_wait(&t->turn.changed, &t->turn.lock);
    pthread_mutex_unlock(&t->turn.lock);
    qsr_online();
}

void alone_end(TcgVcpu *v)
{
    Tcg *t = v->tcg;
    v->alone = false;
    if (!t->several || t->single)
        return;
    pthread_mutex_lock(&t->turn.lock);
    atomic_store(&t->turn.stopping, false);
    atomic_store(&v->inside, true);
    pthread_cond_broadcast(&t->turn.changed);
    pthread_mutex_unlock(&t->turn.lock);
}

/* PAUSE and the like: the guest waits for another of its CPUs, which may be waiting for this thread's processor. */
void turn_relax(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v || !v->tcg->several || ++v->pauses % PAUSES)
        return;
    if (v->tcg->single) {
        atomic_store(&v->pass_on, true);
        tcg_vcpu_interrupt(&v->v);
    } else {
        sched_yield();
    }
}

/* What no host instruction does atomically is done with all others standing still: false in the middle of a block, whose
 * instruction is to fail then and will be run again. */
bool turn_alone(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (!v->tcg->several || v->tcg->single || v->alone || !v->in_code)
        return true;
    v->want_alone = v->retry = true;
    return false;
}
