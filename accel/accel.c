/* SPDX-License-Identifier: GPL-2.0-or-later
 * The list of accelerators, and the life of vCPU threads: start, pause, resume, kick, sleep, end. */
#include "accel/accel.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "config.h"
#include "util/error.h"
#include "util/log.h"
#include "util/qsr.h"

static const AccelType *const accel_types[] = {
#if HOST_X86_64
    &accel_kvm,
#endif
    &accel_tcg,
};

/* Which vCPU this thread runs: what the signal handler needs to know and cannot be told otherwise. */
static __thread Vcpu *this_vcpu;

static int kick_signal(void) { return SIGRTMIN + 1; }

static const AccelType *type_find(const char *name, size_t len)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(accel_types); i++)
        if (strlen(accel_types[i]->name) == len && !memcmp(accel_types[i]->name, name, len))
            return accel_types[i];
    return NULL;
}

void accel_help(GString *out)
{
    g_string_append(out, "Accelerators:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(accel_types); i++)
        g_string_append_printf(out, "%-8s %s\n", accel_types[i]->name, accel_types[i]->help);
}

static Accel *accel_try(const char *spec, const AccelMachine *m, GError **err)
{
    size_t len = strcspn(spec, ",");
    const char *name = g_str_has_prefix(spec, "accel=") ? spec + strlen("accel=") : spec;
    const AccelType *t = type_find(name, len - (name - spec));
    if (!t) {
        fail(err, "unknown accelerator '%.*s' (-accel help lists them)", (int)(len - (name - spec)), name);
        return NULL;
    }
    Accel *a = t->open(spec, m, err);
    if (!a) {
        fail_prefix(err, "accelerator %s: ", t->name);
        return NULL;
    }
    a->type = t;
    a->m = *m;
    a->vcpus = g_ptr_array_new();
    a->debug_points = g_array_new(FALSE, FALSE, sizeof(DebugPoint));
    a->debug_counts = g_array_new(FALSE, FALSE, sizeof(unsigned));
    return a;
}

Accel *accel_open(const char *const *specs, unsigned n, const AccelMachine *m, GError **err)
{
    static const char *const preset[] = { "tcg" };
    if (!n) {
        specs = preset;
        n = 1;
    }
    GString *why = g_string_new(NULL);
    Accel *a = NULL;
    for (unsigned i = 0; i < n && !a; i++) {
        GError *e = NULL;
        a = accel_try(specs[i], m, &e);
        if (!a) {
            g_string_append_printf(why, "%s%s", why->len ? "; " : "", e->message);
            g_error_free(e);
        }
    }
    if (!a)
        fail(err, "%s", why->str);
    else if (why->len)
        log_warn(NULL, "%s; using %s", why->str, a->type->name);
    g_string_free(why, TRUE);
    return a;
}

const char *accel_name(const Accel *a) { return a->type->name; }
const CpuHooks *accel_hooks(const Accel *a) { return a->type->hooks; }
const void *accel_host_cpu(Accel *a) { return a->type->host_cpu ? a->type->host_cpu(a) : NULL; }
void accel_stats(Accel *a, GString *out) { a->type->stats(a, out); }
CpuState *vcpu_cpu(Vcpu *v) { return v->cpu; }
CpuPort *vcpu_port(Vcpu *v) { return v->port; }
int vcpu_tid(const Vcpu *v) { return v->tid; }
const Target *vcpu_target(Vcpu *v) { return v->target; }

/* --- kicks.  A request is a bit in the futex word; whoever sets the first bit wakes the thread or signals it.  The
 * handler runs on the vCPU's own thread, so that its store to the countdown cannot be lost in the plain subtraction
 * that generated code does.  The run loop tests the word after it has refilled the countdown, so that a signal that
 * came before is not lost either. */

static void kick_handler(int sig, siginfo_t *info, void *uc)
{
    Vcpu *v = this_vcpu;
    if (v)
        v->accel->type->vcpu_interrupt(v);
}

static void install_handler(void)
{
    struct sigaction sa = { .sa_sigaction = kick_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
    sigaction(kick_signal(), &sa, NULL);
}

static void futex(_Atomic uint32_t *word, int op, uint32_t val)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, NULL, NULL, 0);
}

bool vcpu_is_self(const Vcpu *v) { return this_vcpu == v; }

void vcpu_request(Vcpu *v, uint32_t bits)
{
    if (atomic_fetch_or(&v->requests, bits))
        return;                         /* whoever set the first bit has seen to it */
    if (this_vcpu == v)
        v->accel->type->vcpu_interrupt(v);
    else if (atomic_load(&v->sleeping))
        futex(&v->requests, FUTEX_WAKE, 1);
    else if (v->started)
        pthread_kill(v->thread, kick_signal());
}

/* Any thread.  The vCPU leaves guest code soon, or wakes up, and looks at its port. */
static void port_kick(CpuPort *port) { vcpu_request(port->vcpu, VCPU_KICK); }

void vcpu_sleep(Vcpu *v)
{
    qsr_offline();
    atomic_store(&v->sleeping, true);
    while (!atomic_load(&v->requests))
        futex(&v->requests, FUTEX_WAIT, 0);
    atomic_store(&v->sleeping, false);
    qsr_online();
}

/* --- threads */

static void wait_changed(Vcpu *v)
{
    qsr_offline();
    pthread_cond_wait(&v->changed, &v->lock);
    qsr_online();
}

static void *vcpu_thread(void *self)
{
    Vcpu *v = self;
    stack_t ss = { .ss_sp = v->sigstack, .ss_size = SIGSTKSZ };
    sigaltstack(&ss, NULL);
    this_vcpu = v;
    v->tid = syscall(SYS_gettid);
    port_current = v->port;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kick_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    qsr_register();
    pthread_mutex_lock(&v->lock);
    while (!v->quit) {
        if (!v->want_run) {
            v->stopped = true;
            pthread_cond_broadcast(&v->changed);
            wait_changed(v);
            continue;
        }
        v->stopped = false;
        pthread_mutex_unlock(&v->lock);
        v->accel->type->vcpu_run(v);
        pthread_mutex_lock(&v->lock);
        atomic_fetch_and(&v->requests, ~(uint32_t)VCPU_STOP);
    }
    v->stopped = true;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    qsr_unregister();
    this_vcpu = NULL;
    port_current = NULL;
    ss.ss_flags = SS_DISABLE;
    sigaltstack(&ss, NULL);
    return NULL;
}

static void vcpu_start(Vcpu *v)
{
    /* All signals but the kick are other threads' business. */
    sigset_t all, old;
    sigfillset(&all);
    v->sigstack = g_malloc(SIGSTKSZ);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int e = pthread_create(&v->thread, NULL, vcpu_thread, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e)
        g_error("cannot create a vCPU thread: %s", g_strerror(e));
    char name[16];
    snprintf(name, sizeof name, "cpu%u", v->index);
    pthread_setname_np(v->thread, name);
    /* In this order for all to see, as whoever files a request does the opposite: one of the two sends the signal. */
    atomic_store(&v->started, true);
    if (atomic_load(&v->requests))      /* filed while there was nothing to send a signal to */
        pthread_kill(v->thread, kick_signal());
}

Vcpu *accel_add_vcpu(Accel *a, const Target *t, CpuState *cpu, CpuPort *port, GError **err)
{
    g_assert(!a->running);
    Vcpu *v = a->type->vcpu_new(a, t, cpu, err);
    if (!v)
        return NULL;
    v->accel = a;
    v->target = t;
    v->cpu = cpu;
    v->port = port;
    v->index = a->vcpus->len;
    v->stopped = true;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
    g_ptr_array_add(a->vcpus, v);
    cpu->vcpu = v;
    if (port) {
        port->vcpu = v;
        port->kick = port_kick;
    }
    return v;
}

void accel_add_chip(Accel *a, Chip *c)
{
    g_assert(!a->running);
    if (a->type->add_chip)
        a->type->add_chip(a, c);
}

const MsiHost *accel_msi_host(const Accel *a) { return a->type->msi_host ? a->type->msi_host(a) : NULL; }

static void resume(Accel *a, bool all)
{
    if (a->running)
        return;
    a->running = true;
    install_handler();
    if (a->type->resume)
        a->type->resume(a);
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        Vcpu *v = a->vcpus->pdata[i];
        if (all)
            v->debug.stop.why = DEBUG_NONE;
        if (v->debug.hold || v->debug.stop.why != DEBUG_NONE)
            continue;
        pthread_mutex_lock(&v->lock);
        v->want_run = true;
        v->stopped = false;
        pthread_cond_broadcast(&v->changed);
        pthread_mutex_unlock(&v->lock);
        if (!v->started)
            vcpu_start(v);
    }
}

void accel_resume(Accel *a) { resume(a, true); }

bool accel_freeze(Accel *a)
{
    bool ran = a->running;
    accel_pause(a);
    return ran;
}

void accel_thaw(Accel *a, bool ran)
{
    if (ran)
        resume(a, false);
}

static void ask_stop(Vcpu *v, bool quit)
{
    pthread_mutex_lock(&v->lock);
    v->want_run = false;
    v->quit |= quit;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    if (v->started)
        vcpu_request(v, VCPU_STOP);
}

void accel_pause(Accel *a)
{
    if (!a->running)
        return;
    a->running = false;
    for (unsigned i = 0; i < a->vcpus->len; i++)
        ask_stop(a->vcpus->pdata[i], false);
    bool online = qsr_is_online();
    if (online)
        qsr_offline();
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        Vcpu *v = a->vcpus->pdata[i];
        pthread_mutex_lock(&v->lock);
        while (!v->stopped)
            pthread_cond_wait(&v->changed, &v->lock);
        pthread_mutex_unlock(&v->lock);
    }
    if (online)
        qsr_online();
    if (a->type->paused)
        a->type->paused(a);
}

void accel_reset(Accel *a)
{
    g_assert(!a->running);
    for (unsigned i = 0; i < a->vcpus->len; i++)
        a->type->vcpu_reset(a->vcpus->pdata[i]);
}

void accel_close(Accel *a)
{
    if (!a)
        return;
    accel_pause(a);
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        Vcpu *v = a->vcpus->pdata[i];
        ask_stop(v, true);
        if (v->started)
            pthread_join(v->thread, NULL);
        if (v->port) {
            v->port->kick = NULL;
            v->port->vcpu = NULL;
        }
        v->cpu->vcpu = NULL;
        pthread_mutex_destroy(&v->lock);
        pthread_cond_destroy(&v->changed);
        g_free(v->sigstack);
        a->type->vcpu_free(v);
    }
    GPtrArray *vcpus = a->vcpus;
    g_ptr_array_set_size(vcpus, 0);
    g_array_free(a->debug_points, TRUE);
    g_array_free(a->debug_counts, TRUE);
    a->type->close(a);
    g_ptr_array_free(vcpus, TRUE);
}
