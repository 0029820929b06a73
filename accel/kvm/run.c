/* SPDX-License-Identifier: GPL-2.0-or-later
 * The run loop of a vCPU: deliver what is pending, enter the guest, act upon why it came out.
 *
 * A kick's signal handler sets immediate_exit, on the vCPU's own thread.  The loop clears it and then takes the requests,
 * so a kick that came earlier is seen there, and one that comes later makes KVM_RUN return at once. */
#include "accel/kvm/kvm_int.h"

#include <errno.h>
#include <sys/ioctl.h>
#include "util/log.h"
#include "util/qsr.h"

void kvm_vcpu_interrupt(Vcpu *vc)
{
    KvmVcpu *v = (KvmVcpu *)vc;
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
}

/* --- the end of a CPU */

static void die(KvmVcpu *v)
{
    v->dead = true;
    if (v->kvm->a.m.cpu_dead)
        v->kvm->a.m.cpu_dead(v->kvm->a.m.self, v->v.index);
}

static void dump(KvmVcpu *v, GString *s)
{
    if (v->in_kernel && kvm_state_get(v) < 0)
        return;
    x86_dump(&v->cpu->s, s);
    v->in_kernel = true;                /* it still has them */
}

void kvm_vcpu_failed(KvmVcpu *v, const char *why)
{
    GString *s = g_string_new(NULL);
    dump(v, s);
    log_error(NULL, "kvm: cpu%u stopped: %s\n%s", v->v.index, why, s->str);
    g_string_free(s, TRUE);
    v->dead = true;
    if (v->kvm->a.m.cpu_failed)
        v->kvm->a.m.cpu_failed(v->kvm->a.m.self, v->v.index);
}

/* --- exits */

static void port_io(KvmVcpu *v)
{
    struct kvm_run *r = v->run;
    Space *io = v->kvm->a.m.io;
    uint8_t *data = (uint8_t *)r + r->io.data_offset;
    for (unsigned i = 0; i < r->io.count; i++, data += r->io.size) {
        uint64_t value = 0;
        if (r->io.direction == KVM_EXIT_IO_OUT) {
            __builtin_memcpy(&value, data, r->io.size);
            space_store(io, r->io.port, r->io.size, value);
        } else {
            value = space_load(io, r->io.port, r->io.size, NULL);
            __builtin_memcpy(data, &value, r->io.size);
        }
    }
}

/* The kernel cuts accesses into pieces of up to 8 bytes, not always a power of two. */
static void mmio(KvmVcpu *v)
{
    struct kvm_run *r = v->run;
    Space *mem = v->kvm->a.m.mem;
    if (r->mmio.is_write)
        space_write(mem, r->mmio.phys_addr, r->mmio.data, r->mmio.len);
    else
        space_read(mem, r->mmio.phys_addr, r->mmio.data, r->mmio.len);
}

static void internal_error(KvmVcpu *v)
{
    struct kvm_run *r = v->run;
    static const char *const names[] = { "", "an instruction that the host kernel cannot emulate", "simultaneous exceptions",
                                         "an exit while an event was being delivered", "an unexpected exit reason" };
    if (r->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && kvm_debug_at_break(v))
        return;
    GString *s = g_string_new("internal error of the host kernel");
    if (r->internal.suberror < G_N_ELEMENTS(names) && r->internal.suberror)
        g_string_append_printf(s, ": %s", names[r->internal.suberror]);
    g_string_append_printf(s, " (suberror %u", r->internal.suberror);
    for (unsigned i = 0; i < MIN(r->internal.ndata, G_N_ELEMENTS(r->internal.data)); i++)
        g_string_append_printf(s, ", %#" G_GINT64_MODIFIER "x", (guint64)r->internal.data[i]);
    g_string_append_c(s, ')');
    kvm_vcpu_failed(v, s->str);
    g_string_free(s, TRUE);
}

static void unknown_exit(KvmVcpu *v)
{
    struct kvm_run *r = v->run;
    g_autofree char *why =
        r->exit_reason == KVM_EXIT_FAIL_ENTRY
            ? g_strdup_printf("the hardware refuses to enter the guest, reason %#" G_GINT64_MODIFIER "x",
                              (guint64)r->fail_entry.hardware_entry_failure_reason)
            : g_strdup_printf("exit for reason %u, which this program does not know", r->exit_reason);
    kvm_vcpu_failed(v, why);
}

static void system_event(KvmVcpu *v)
{
    trace(LOG_RESET, "cpu%u: system event %u\n", v->v.index, v->run->system_event.type);
    die(v);
}

static void handle_exit(KvmVcpu *v)
{
    uint32_t reason = v->run->exit_reason;
    if (G_UNLIKELY(kvm_coalesced_pending(v)))
        kvm_coalesced_drain(v);
    v->exits[MIN(reason, G_N_ELEMENTS(v->exits) - 1)]++;
    switch (reason) {
    case KVM_EXIT_IO:
        port_io(v);
        break;
    case KVM_EXIT_MMIO:
        mmio(v);
        break;
    case KVM_EXIT_HLT:
        v->cpu->halted = true;
        break;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_INTR:
        break;
    case KVM_EXIT_IOAPIC_EOI:
        kvm_chips_eoi(v->kvm, v->run->eoi.vector);
        break;
    case KVM_EXIT_DIRTY_RING_FULL:
        kvm_ring_full(v->kvm);
        break;
    case KVM_EXIT_DEBUG:
        kvm_debug_exit(v);
        break;
    case KVM_EXIT_SHUTDOWN:
        trace(LOG_INT | LOG_RESET, "cpu%u: triple fault\n", v->v.index);
        die(v);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        system_event(v);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        internal_error(v);
        break;
    default:
        unknown_exit(v);
    }
}

/* --- interrupts, with the controllers in this process */

static void to_controller(KvmVcpu *v, unsigned cr8)
{
    const CpuIntc *intc = v->cpu->port.intc;
    if (v->run->cr8 != cr8)
        intc->set_cr8(v->cpu->port.intc_self, v->run->cr8);
    if (v->run->apic_base != v->apic_base) {
        v->apic_base = v->run->apic_base;
        intc->msr_write(v->cpu->port.intc_self, 0x1b, v->apic_base);
    }
}

/* Reset, INIT, start-up: these change registers.  False: the kernel did not take the state. */
static bool take_startup(KvmVcpu *v)
{
    if (!(atomic_load(&v->cpu->port.pending) & (PORT_RESET | PORT_INIT | PORT_SIPI)))
        return true;
    if (v->in_kernel && kvm_state_get(v) < 0)
        return false;
    while (x86_take_startup(v->cpu))
        continue;
    return true;
}

/* What the hardware does not do for a guest, or kernels are built without. */
static void not_done(KvmVcpu *v, uint32_t pending)
{
    CpuPort *port = &v->cpu->port;
    port_clear(port, PORT_SMI | PORT_LINES);
    if (pending & PORT_SMI)
        log_guest("kvm", "cpu%u: a system management interrupt is dropped; -accel tcg has that mode", v->v.index);
    if (pending & PORT_LINES && atomic_load(&port->lines) & LINE_A20M)
        log_guest("kvm", "cpu%u: address line 20 stays open; -accel tcg masks it", v->v.index);
}

static void take_interrupt(KvmVcpu *v)
{
    CpuPort *port = &v->cpu->port;
    uint32_t pending = atomic_load(&port->pending);
    v->run->request_interrupt_window = 0;
    if (G_LIKELY(!pending))
        return;
    if (G_UNLIKELY(pending & (PORT_SMI | PORT_LINES)))
        not_done(v, pending);
    if (pending & PORT_NMI) {
        port_clear(port, PORT_NMI);
        ioctl(v->fd, KVM_NMI);
    }
    if (!(pending & PORT_INTR) || !port->intc)
        return;
    int vector = v->can_inject ? port->intc->acknowledge(port->intc_self) : -1;
    if (vector >= 0) {
        struct kvm_interrupt in = { .irq = vector };
        int e = kvm_ioctl(v->fd, KVM_INTERRUPT, &in);
        if (e < 0)
            log_error(NULL, "kvm: cpu%u: interrupt %d is lost: %s", v->v.index, vector, g_strerror(-e));
        v->can_inject = false;
    }
    if (atomic_load(&port->pending) & PORT_INTR)
        v->run->request_interrupt_window = 1;
}

static bool wakes(KvmVcpu *v)
{
    uint32_t pending = atomic_load(&v->cpu->port.pending);
    return (pending & PORT_NMI) || ((pending & PORT_INTR) && v->if_flag);
}

/* With the controllers in this process: nothing to run.  Kernel ones wait in the kernel. */
static bool stands(KvmVcpu *v) { return v->cpu->wait_sipi || (v->cpu->halted && !wakes(v)); }

/* --- the loop */

/* The access that made the last exit ends inside the kernel: only then are the registers those of an instruction's end. */
static void finish_exit(KvmVcpu *v)
{
    if (!v->in_kernel)
        return;
    do {
        v->run->immediate_exit = 1;
        if (ioctl(v->fd, KVM_RUN, NULL) < 0)
            break;                      /* EINTR: nothing is left to do */
        handle_exit(v);                 /* the next piece of the same access */
    } while (!v->dead);
}

static void enter(KvmVcpu *v)
{
    const CpuIntc *intc = v->lapic ? NULL : v->cpu->port.intc;
    unsigned cr8 = intc ? intc->get_cr8(v->cpu->port.intc_self) : 0;
    v->run->cr8 = cr8;
    qsr_offline();
    int e = ioctl(v->fd, KVM_RUN, NULL) < 0 ? errno : 0;
    qsr_online();
    v->if_flag = v->run->if_flag;
    v->can_inject = v->run->ready_for_interrupt_injection;
    if (intc)
        to_controller(v, cr8);
    if (e == EINTR || e == EAGAIN) {
        if (kvm_coalesced_pending(v))
            kvm_coalesced_drain(v);
        return;
    }
    if (!e) {
        handle_exit(v);
        return;
    }
    g_autofree char *why = g_strdup_printf("the host kernel cannot run it: %s", g_strerror(e));
    kvm_vcpu_failed(v, why);
}

void kvm_vcpu_run(Vcpu *vc)
{
    KvmVcpu *v = (KvmVcpu *)vc;
    for (;;) {
        __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_RELAXED);
        atomic_signal_fence(memory_order_seq_cst);
        /* Nobody has asked for anything nearly always, and looking costs nothing. */
        if (vcpu_requested(vc) && atomic_exchange(&vc->requests, 0) & VCPU_STOP)
            break;
        if (!v->lapic && !v->dead && !take_startup(v))
            v->dead = true;
        if (v->dead || (!v->lapic && stands(v))) {
            vcpu_sleep(vc);
            continue;
        }
        v->cpu->halted = false;
        if (!v->in_kernel && kvm_state_put(v) < 0) {
            kvm_vcpu_failed(v, "the host kernel does not take its registers");
            continue;
        }
        take_interrupt(v);
        if (!vcpu_requested(vc))
            enter(v);
    }
    finish_exit(v);
}
