/* SPDX-License-Identifier: GPL-2.0-or-later
 * The tcg accelerator as the registry sees it: options, opening, vCPUs. */
#include "accel/tcg/tcg_int.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "config.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

/* --- options */

static bool take_choice(Options *o, const char *key, const char *a, const char *b, bool *is_b, GError **err)
{
    const char *text = options_get(o, key);
    if (!text)
        return true;
    if (strcmp(text, a) && strcmp(text, b))
        return fail(err, "%s=%s: it can be '%s' or '%s'", key, text, a, b);
    *is_b = !strcmp(text, b);
    return true;
}

static bool take_stress(Tcg *t, const char *text, GError **err)
{
    if (!text)
        return true;
    char **names = g_strsplit(text, "+", 0);
    bool ok = true;
    for (char **n = names; *n && ok; n++) {
        if (!strcmp(*n, "interrupt"))
            t->stress_interrupt = true;
        else if (!strcmp(*n, "regalloc"))
            t->stress_regalloc = true;
        else if (!strcmp(*n, "fault"))
            t->stress_fault = true;
        else
            ok = fail(err, "stress=%s: it can be 'interrupt', 'regalloc', 'fault' or several, joined by '+'", *n);
    }
    g_strfreev(names);
    return ok;
}

static bool take_options(Tcg *t, Options *o, GError **err)
{
    bool multi = true;
    uint64_t mib = 256;
    options_get(o, "accel");
    if (!take_choice(o, "thread", "single", "multi", &multi, err) ||
        !take_choice(o, "backend", "native", "interp", &t->use_interp, err) ||
        !options_bool(o, "check", &t->check, err) || !options_bool(o, "stats", &t->stats, err) ||
        !options_bool(o, "one-insn-per-tb", &t->one_insn, err) || !options_bool(o, "split-wx", &t->split_wx, err) ||
        !options_u64(o, "tb-size", 1, 1900, &mib, err) || !options_u64(o, "seed", 0, UINT32_MAX, &t->seed, err) ||
        !take_stress(t, options_get(o, "stress"), err) || !options_done(o, err))
        return false;
    t->tb_size = mib << 20;
    t->single = !multi || t->check;         /* check=on runs everything twice: nobody may change it in between */
    if (t->check && t->use_interp)
        return fail(err, "check=on compares the interpreter with compiled code; it does not go with backend=interp");
    if (!HOST_X86_64 && !t->use_interp)
        return fail(err, "there is no code generator for this host; use backend=interp");
    return true;
}

/* --- memory map */

static void map_changed(void *self)
{
    Tcg *t = self;
    for (unsigned i = 0; i < t->a.vcpus->len; i++) {
        TcgVcpu *v = t->a.vcpus->pdata[i];
        if (vcpu_is_self(&v->v)) {              /* a device that it has just written to: true from the next access on */
            tlb_remapped(v);
            v->want_settled = t->several;
            tcg_vcpu_interrupt(&v->v);
            continue;
        }
        pthread_mutex_lock(&v->work_lock);
        v->remapped = true;
        pthread_mutex_unlock(&v->work_lock);
        vcpu_request(&v->v, VCPU_WORK);
    }
}
static const MemoryListener map_listener = { .commit = map_changed };

/* --- opening */

static void tcg_close(Accel *a)
{
    Tcg *t = (Tcg *)a;
    if (t->listener) {
        space_remove_listener(t->a.m.mem, t->listener, t);
        if (t->a.m.smm)
            space_remove_listener(t->a.m.smm, t->listener, t);
    }
    RamMap *ram = t->a.m.ram;
    if (ram && ram->written_self == t) {
        ram->written = NULL;
        ram->protect = NULL;
        ram->written_self = ram->protect_self = NULL;
    }
    code_cache_free(t);
    g_hash_table_destroy(t->counters);
    if (t->perfmap)
        fclose(t->perfmap);
    if (t->writers)
        munmap(t->writers, RAM_MAP_PAGES * sizeof *t->writers);
    turn_free(t);
    g_array_free(t->written, TRUE);
    pthread_mutex_destroy(&t->written_lock);
    pthread_mutex_destroy(&t->lock);
    g_free(t);
}

static Accel *tcg_open(const char *spec, const AccelMachine *m, GError **err)
{
    Options *o = options_parse("-accel", spec, "accel", err);
    if (!o)
        return NULL;
    Tcg *t = g_new0(Tcg, 1);
    t->mem_fd = -1;
    t->seed = 1;
    t->counters = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    t->a.m = *m;
    pthread_mutex_init(&t->lock, NULL);
    pthread_mutex_init(&t->written_lock, NULL);
    t->written = g_array_new(FALSE, FALSE, sizeof(Written));
    turn_init(t);
    bool ok = take_options(t, o, err);
    options_free(o);
    if (ok && m->perfmap) {
        char *path = g_strdup_printf("/tmp/perf-%d.map", (int)getpid());
        t->perfmap = fopen(path, "w");
        if (!t->perfmap)
            ok = fail(err, "-perfmap: cannot write %s", path);
        else
            setvbuf(t->perfmap, NULL, _IOLBF, 0);
        g_free(path);
    }
    if (!ok || !code_cache_init(t, err)) {
        tcg_close(&t->a);
        return NULL;
    }
    return &t->a;
}

/* --- vCPUs */

static bool several_init(Tcg *t, GError **err)
{
    if (t->several)
        return true;
    void *w = mmap(NULL, RAM_MAP_PAGES * sizeof *t->writers, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w == MAP_FAILED)
        return fail_errno(err, errno, "cannot reserve address space");
    t->writers = w;
    t->several = true;
    code_sync_init();
    return true;
}

static Vcpu *tcg_vcpu_new(Accel *a, const Target *target, CpuState *cpu, GError **err)
{
    Tcg *t = (Tcg *)a;
    if (a->vcpus->len == MAX_VCPUS) {
        fail(err, "accelerator tcg runs %u CPUs at most", MAX_VCPUS);
        return NULL;
    }
    if (a->vcpus->len && !several_init(t, err))
        return NULL;
    RamMap *ram = t->a.m.ram;
    ram->written = ram_written_hook;
    ram->protect = ram_protect_hook;
    ram->written_self = ram->protect_self = t;

    TcgVcpu *v = g_new0(TcgVcpu, 1);
    v->tcg = t;
    v->target = target;
    v->cpu = cpu;
    v->mem = t->a.m.mem;
    v->io = t->a.m.io;
    v->ram = ram;
    v->code_flags = ram->code_flags;
    v->log_stats = log_on(LOG_STATS) || t->stats;
    pthread_mutex_init(&v->work_lock, NULL);
    v->protect = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    v->ir = ir_new(target->slots);
    debug_vcpu_init(v);
    if (t->use_interp)
        v->interp = interp_new(&softmmu_ops);
    if (t->check)
        v->chk = check_new(v);
    cpu->vcpu = v;
    cpu->ctx = &context_get(v, 0, 0)->hw;
    if (!t->listener) {
        t->listener = &map_listener;
        space_add_listener(v->mem, t->listener, t);
        if (t->a.m.smm)
            space_add_listener(t->a.m.smm, t->listener, t);
    }
    return &v->v;
}

static void tcg_vcpu_free(Vcpu *vc)
{
    TcgVcpu *v = (TcgVcpu *)vc;
    if (v->chk)
        check_free(v->chk);
    interp_free(v->interp);
    ir_free(v->ir);
    g_array_free(v->protect, TRUE);
    g_array_free(v->watches, TRUE);
    pthread_mutex_destroy(&v->work_lock);
    contexts_free(v);
    g_free(v);
}

static void tcg_vcpu_reset(Vcpu *vc)
{
    TcgVcpu *v = (TcgVcpu *)vc;
    v->want_alone = v->want_settled = false;
    v->dead = v->retry = v->after_one = v->has_hit = v->pass = false;
    v->link = NULL;
    tlb_remapped(v);
}

const AccelType accel_tcg = {
    .name = "tcg",
    .help = "translates guest code: thread=single|multi tb-size=MiB one-insn-per-tb=on|off stats=on|off; for testing "
            "backend=native|interp check=on|off stress=interrupt+regalloc+fault seed=N",
    .open = tcg_open,
    .close = tcg_close,
    .vcpu_new = tcg_vcpu_new,
    .vcpu_free = tcg_vcpu_free,
    .vcpu_reset = tcg_vcpu_reset,
    .vcpu_run = tcg_vcpu_run,
    .vcpu_interrupt = tcg_vcpu_interrupt,
    .stats = tcg_stats,
    .debug = &tcg_debug,
    .hooks = &tcg_hooks,
};
