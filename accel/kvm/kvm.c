/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kvm accelerator as the registry sees it: opening /dev/kvm or saying why not, guest memory, vCPUs. */
#include "accel/kvm/kvm_int.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int r;
    do
        r = ioctl(fd, request, arg);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

/* --- opening, and the reasons why not */

static bool host_has_vt(void)
{
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) && c & 1u << 5)
        return true;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && c & 1u << 2;
}

static bool no_device(const char *path, GError **err)
{
    if (!host_has_vt())
        return fail(err, "there is no %s: this processor has neither VT-x nor AMD-V, or the firmware or a hypervisor "
                         "below hides them", path);
    return fail(err, "there is no %s: load the kernel module ('modprobe kvm-intel' or 'modprobe kvm-amd')", path);
}

static bool no_permission(const char *path, GError **err)
{
    struct stat st;
    if (stat(path, &st) < 0 || (st.st_mode & 060) != 060)
        return fail(err, "no permission for %s, which is for its owner alone: as root, 'chgrp kvm %s && chmod 660 %s'",
                    path, path, path);
    struct group *g = getgrgid(st.st_gid);
    g_autofree char *number = g_strdup_printf("%u", (unsigned)st.st_gid);
    const char *name = g ? g->gr_name : number;
    return fail(err, "no permission for %s, which is for the group '%s': 'usermod -aG %s %s', then log in again", path,
                name, name, g_get_user_name());
}

static const struct { int cap; const char *name; } needed[] = {
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
    { KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
    { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
    { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
    { KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
    { KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
    { KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
    { KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR" },
};

static bool open_device(Kvm *k, const char *path, GError **err)
{
    k->dev_fd = open(path, O_RDWR | O_CLOEXEC);
    if (k->dev_fd < 0 && errno == ENOENT)
        return no_device(path, err);
    if (k->dev_fd < 0 && (errno == EACCES || errno == EPERM))
        return no_permission(path, err);
    if (k->dev_fd < 0)
        return fail_errno(err, errno, "%s", path);
    int version = kvm_ioctl(k->dev_fd, KVM_GET_API_VERSION, NULL);
    if (version != KVM_API_VERSION)
        return fail(err, "%s does not answer as KVM does (API version %d, not %d)", path, version, KVM_API_VERSION);
    for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++)
        if (kvm_ioctl(k->dev_fd, KVM_CHECK_EXTENSION, (void *)(long)needed[i].cap) <= 0)
            return fail(err, "the host kernel's KVM lacks %s; a newer kernel has it", needed[i].name);
    return true;
}

/* Below the largest firmware, above the APICs: VT-x needs four pages of guest memory to run real mode in. */
enum { IDENTITY_MAP = 0xfeffc000, TSS = 0xfeffd000 };

static bool open_vm(Kvm *k, GError **err)
{
    uint64_t identity = IDENTITY_MAP;
    k->vm_fd = kvm_ioctl(k->dev_fd, KVM_CREATE_VM, NULL);
    if (k->vm_fd < 0)
        return fail_errno(err, -k->vm_fd, "the host kernel makes no virtual machine");
    if (kvm_ioctl(k->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
        kvm_ioctl(k->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)(uint32_t)TSS) < 0)
        return fail(err, "the host kernel refuses the pages that real mode needs");
    int size = kvm_ioctl(k->dev_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (size < (int)sizeof(struct kvm_run))
        return fail(err, "the host kernel's kvm_run is too small (%d bytes)", size);
    k->run_size = size;
    int slots = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_NR_MEMSLOTS);
    k->max_slots = slots > 0 ? slots : 32;
    k->has_clock = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_ADJUST_CLOCK) > 0;
    int debug = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_SET_GUEST_DEBUG2);
    k->debug_flags = debug > 0 ? debug : 0;
    k->has_xcrs = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_XCRS) > 0;
    return true;
}

/* --- options */

static bool take_options(Kvm *k, Options *o, const char **device, uint64_t *ring, GError **err)
{
    options_get(o, "accel");
    const char *path = options_get(o, "device"), *policy = options_get(o, "kvm-pit.lost_tick_policy");
    if (path)
        *device = path;
    if (policy && strcmp(policy, "discard") && strcmp(policy, "delay"))
        return fail(err, "kvm-pit.lost_tick_policy=%s: it can be 'delay' or 'discard'", policy);
    k->pit_discard = policy && !strcmp(policy, "discard");
    if (!options_u64(o, "dirty-ring-size", 0, 1 << 20, ring, err))
        return false;
    if (*ring & (*ring - 1) || (*ring && *ring < 1024))
        return fail(err, "dirty-ring-size=%" G_GUINT64_FORMAT ": a power of two from 1024 on, or 0 for bitmaps", *ring);
    return kvm_chips_parse(k, options_get(o, "kernel-irqchip"), err) && options_done(o, err);
}

/* --- accelerator */

static void kvm_close(Accel *a)
{
    Kvm *k = (Kvm *)a;
    kvm_memory_close(k);
    if (k->vm_fd >= 0)
        close(k->vm_fd);
    if (k->dev_fd >= 0)
        close(k->dev_fd);
    Chip *const chips[] = { k->pic[0], k->pic[1], k->ioapic, k->pit };
    for (unsigned i = 0; i < G_N_ELEMENTS(chips); i++)
        if (chips[i])
            chips[i]->host = NULL;
    for (unsigned i = 0; i < k->lapics->len; i++)
        if (k->lapics->pdata[i])
            ((Chip *)k->lapics->pdata[i])->host = NULL;
    g_array_free(k->patches, TRUE);
    g_ptr_array_free(k->lapics, TRUE);
    g_array_free(k->messages, TRUE);
    pthread_mutex_destroy(&k->routes_lock);
    pthread_mutex_destroy(&k->memory_lock);
    pthread_mutex_destroy(&k->ring_lock);
    g_array_free(k->io, TRUE);
    g_array_free(k->slots, TRUE);
    g_free(k->supported);
    g_free(k);
}

static Accel *kvm_open(const char *spec, const AccelMachine *m, GError **err)
{
    const char *device = "/dev/kvm";
    uint64_t ring = 0;
    if (m->target && m->target != &x86_target) {
        fail(err, "it runs guests of the host's own architecture, and this guest is %s", m->target->name);
        return NULL;
    }
    Options *o = options_parse("-accel", spec, "accel", err);
    if (!o)
        return NULL;
    Kvm *k = g_new0(Kvm, 1);
    k->dev_fd = k->vm_fd = -1;
    k->a.m = *m;
    k->slots = g_array_new(FALSE, TRUE, sizeof(KvmSlot));
    k->patches = g_array_new(FALSE, TRUE, sizeof(KvmPatch));
    k->lapics = g_ptr_array_new();
    k->messages = g_array_new(FALSE, TRUE, sizeof(KvmMessage));
    pthread_mutex_init(&k->routes_lock, NULL);
    pthread_mutex_init(&k->memory_lock, NULL);
    pthread_mutex_init(&k->ring_lock, NULL);
    k->io = g_array_new(FALSE, TRUE, sizeof(KvmIo));
    bool ok = take_options(k, o, &device, &ring, err) && open_device(k, device, err) && open_vm(k, err) &&
              kvm_log_open(k, ring, err) && kvm_chips_create(k, err) && kvm_cpuid_open(k, err);
    options_free(o);
    if (ok)
        return &k->a;
    kvm_close(&k->a);
    return NULL;
}

static const void *kvm_host_cpu(Accel *a) { return &((Kvm *)a)->host; }

static void kvm_stats(Accel *a, GString *out)
{
    static const char *const names[] = { [KVM_EXIT_IO] = "port", [KVM_EXIT_MMIO] = "MMIO", [KVM_EXIT_HLT] = "halt",
                                         [KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window", [KVM_EXIT_INTR] = "signal",
                                         [KVM_EXIT_SET_TPR] = "TPR", [KVM_EXIT_SHUTDOWN] = "shutdown" };
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        KvmVcpu *v = a->vcpus->pdata[i];
        for (unsigned r = 0; r < G_N_ELEMENTS(v->exits); r++) {
            if (!v->exits[r])
                continue;
            g_string_append_printf(out, "kvm: cpu%u: %" G_GINT64_MODIFIER "u exits: ", i, (guint64)v->exits[r]);
            if (r < G_N_ELEMENTS(names) && names[r])
                g_string_append_printf(out, "%s\n", names[r]);
            else
                g_string_append_printf(out, "reason %u\n", r);
        }
    }
}

/* --- vCPUs */

static void kvm_vcpu_free(Vcpu *vc)
{
    KvmVcpu *v = (KvmVcpu *)vc;
    if (v->ring)
        munmap(v->ring, v->kvm->ring_entries * sizeof *v->ring);
    if (v->run)
        munmap(v->run, v->kvm->run_size);
    if (v->fd >= 0)
        close(v->fd);
    g_array_free(v->msrs, TRUE);
    g_free(v);
}

static bool vcpu_open(KvmVcpu *v, unsigned index, GError **err)
{
    /* The kernel's local APICs have the number as their id. */
    uintptr_t id = v->kvm->chips == KVM_CHIPS_OFF ? index : v->cpu->apic_id;
    v->fd = kvm_ioctl(v->kvm->vm_fd, KVM_CREATE_VCPU, (void *)id);
    if (v->fd < 0)
        return fail_errno(err, -v->fd, "the host kernel makes no vCPU %u", index);
    void *run = mmap(NULL, v->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (run == MAP_FAILED)
        return fail_errno(err, errno, "vCPU %u: kvm_run", index);
    v->run = run;
    int khz = kvm_ioctl(v->fd, KVM_GET_TSC_KHZ, NULL);
    v->tsc_khz = khz > 0 ? khz : 0;
    return kvm_ring_map(v, err) && kvm_cpuid_set(v, err);
}

static Vcpu *kvm_vcpu_new(Accel *a, const Target *t, CpuState *cpu, GError **err)
{
    Kvm *k = (Kvm *)a;
    if (t != &x86_target) {
        fail(err, "accelerator kvm runs x86_64 CPUs here, not %s", t->name);
        return NULL;
    }
    KvmVcpu *v = g_new0(KvmVcpu, 1);
    v->kvm = k;
    v->cpu = x86_cpu(cpu);
    v->fd = -1;
    v->msrs = g_array_new(FALSE, FALSE, sizeof(KvmMsr));
    if (!vcpu_open(v, a->vcpus->len, err)) {
        kvm_vcpu_free(&v->v);
        return NULL;
    }
    kvm_msrs_find(v);
    kvm_memory_listen(k);
    if (k->ring_page)
        v->gathered = (void *)((char *)v->run + k->ring_page * RAM_PAGE_SIZE);
    return &v->v;
}

static void chips_failed(Kvm *k, const char *verb, int e)
{
    log_error(NULL, "kvm: cannot %s the interrupt controllers: %s", verb, g_strerror(-e));
    if (k->a.m.cpu_failed)
        k->a.m.cpu_failed(k->a.m.self, 0);
}

/* What changes guest state while vCPUs stand happens on the loop's thread: all clocks are set within a moment. */
static void kvm_resume(Accel *a)
{
    Kvm *k = (Kvm *)a;
    kvm_chips_lend_lapics(k);
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        KvmVcpu *v = a->vcpus->pdata[i];
        if (!v->dead && (kvm_state_put(v) < 0 || kvm_debug_put(v) < 0))
            kvm_vcpu_failed(v, "the host kernel does not take its registers");
    }
    int e = kvm_chips_lend(k);
    if (e < 0)
        chips_failed(k, "set", e);
    kvm_messages_rest(k, false);
}

static void kvm_paused(Accel *a)
{
    Kvm *k = (Kvm *)a;
    kvm_messages_rest(k, true);         /* what comes now waits in its descriptor: the local APICs are about to be read */
    for (unsigned i = 0; i < a->vcpus->len; i++) {
        KvmVcpu *v = a->vcpus->pdata[i];
        if (v->in_kernel && kvm_state_get(v) < 0)
            v->dead = true;
    }
    int e = kvm_chips_take(k);
    if (e < 0)
        chips_failed(k, "read", e);
}

static void kvm_vcpu_reset(Vcpu *vc) { kvm_state_reset((KvmVcpu *)vc); }

/* --- what the CPU model asks for while it holds the registers.  There is no TLB of ours to keep right. */

static Kvm *kvm_of(CpuState *cpu) { return ((KvmVcpu *)cpu->vcpu)->kvm; }
static void hook_select(CpuState *cpu, uint32_t asid, unsigned view) { }
static void hook_flush(CpuState *cpu, int32_t asid, bool globals) { }
static void hook_flush_page(CpuState *cpu, int32_t asid, uint64_t va) { }
static void hook_attention(CpuState *cpu) { }
static uint64_t hook_now(CpuState *cpu) { return clock_now_ns(kvm_of(cpu)->a.m.clock); }

static bool hook_phys_load(CpuState *cpu, uint64_t pa, unsigned size, uint64_t *v)
{
    MemStatus st;
    *v = space_load(kvm_of(cpu)->a.m.mem, pa, size, &st);
    return st == MEM_OK;
}

static const CpuHooks hooks = {
    .tlb_select = hook_select,
    .tlb_flush = hook_flush,
    .tlb_flush_page = hook_flush_page,
    .attention = hook_attention,
    .attention_after = hook_attention,
    .now_ns = hook_now,
    .phys_load = hook_phys_load,
};

const AccelType accel_kvm = {
    .name = "kvm",
    .help = "runs the guest on the host's own processor: kernel-irqchip=on|split|off dirty-ring-size=N "
            "kvm-pit.lost_tick_policy=delay|discard device=PATH",
    .open = kvm_open,
    .close = kvm_close,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_free = kvm_vcpu_free,
    .vcpu_reset = kvm_vcpu_reset,
    .resume = kvm_resume,
    .paused = kvm_paused,
    .add_chip = kvm_chips_add,
    .msi_host = kvm_msi_host,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_interrupt = kvm_vcpu_interrupt,
    .stats = kvm_stats,
    .host_cpu = kvm_host_cpu,
    .debug = &kvm_debug,
    .hooks = &hooks,
};
