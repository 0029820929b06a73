/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupt controllers and interval timer inside the kernel.  kernel-irqchip=on: all of them; split: the local APICs, while
 * 8259s, I/O APIC and 8254 stay devices of this process; off: none.
 *
 * The devices own the state and lend it for as long as the machine runs: util/irqchip.h.  Pins are told to the kernel by
 * interrupt number ("GSI"), of which each pin has its own here. */
#include "accel/kvm/kvm_int.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include "util/error.h"
#include "util/log.h"

/* --- creation */

bool kvm_chips_parse(Kvm *k, const char *text, GError **err)
{
    static const char *const names[] = { [KVM_CHIPS_OFF] = "off", [KVM_CHIPS_SPLIT] = "split", [KVM_CHIPS_ON] = "on" };
    k->chips_asked = text != NULL;
    k->chips = KVM_CHIPS_ON;
    for (unsigned i = 0; text && i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(text, names[i])) {
            k->chips = i;
            return true;
        }
    }
    return !text || fail(err, "kernel-irqchip=%s: it can be 'on', 'split' or 'off'", text);
}

static bool has(const Kvm *k, int cap) { return kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)(long)cap) > 0; }

static bool create_split(Kvm *k, GError **err)
{
    struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { CHIP_IOAPIC_PINS } };
    int e = kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &cap);
    return e >= 0 || fail_errno(err, -e, "kernel-irqchip=split: the host kernel refuses");
}

static bool create_all(Kvm *k, GError **err)
{
    struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };     /* port 61h too, whose gate is channel 2's */
    int e = kvm_ioctl(k->vm_fd, KVM_CREATE_IRQCHIP, NULL);
    if (e < 0)
        return fail_errno(err, -e, "kernel-irqchip=on: the host kernel refuses");
    e = kvm_ioctl(k->vm_fd, KVM_CREATE_PIT2, &pit);
    if (e < 0)
        return fail_errno(err, -e, "kernel-irqchip=on: the host kernel makes no interval timer");
    struct kvm_reinject_control c = { .pit_reinject = !k->pit_discard };
    if (has(k, KVM_CAP_REINJECT_CONTROL) && kvm_ioctl(k->vm_fd, KVM_REINJECT_CONTROL, &c) < 0)
        log_warn(NULL, "kvm: the host kernel does not take kvm-pit.lost_tick_policy");
    return true;
}

/* Before the first vCPU. */
bool kvm_chips_create(Kvm *k, GError **err)
{
    if (!k->a.m.chips)
        k->chips = KVM_CHIPS_OFF;
    static const int on_needs[] = { KVM_CAP_IRQCHIP, KVM_CAP_PIT2, KVM_CAP_PIT_STATE2, KVM_CAP_IRQ_ROUTING, KVM_CAP_SIGNAL_MSI };
    bool can = k->chips != KVM_CHIPS_SPLIT || has(k, KVM_CAP_SPLIT_IRQCHIP);
    for (unsigned i = 0; k->chips != KVM_CHIPS_OFF && i < G_N_ELEMENTS(on_needs); i++)
        can = can && has(k, on_needs[i]);
    if (!can && k->chips_asked)
        return fail(err, "the host kernel has no interrupt controllers for this choice; kernel-irqchip=off does without");
    if (!can)
        k->chips = KVM_CHIPS_OFF;
    if (k->chips == KVM_CHIPS_OFF)
        return true;
    if (!(k->chips == KVM_CHIPS_SPLIT ? create_split(k, err) : create_all(k, err)))
        return false;
    int idle = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_DISABLE_EXITS);
    if (k->a.m.cpu_pm) {
        struct kvm_enable_cap pm = { .cap = KVM_CAP_X86_DISABLE_EXITS, .args = { idle > 0 ? idle : 0 } };
        if (idle <= 0 || kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &pm) < 0)
            return fail(err, "-overcommit cpu-pm=on: the host kernel does not leave idling to the guest");
    }
    struct kvm_enable_cap x2 = { .cap = KVM_CAP_X2APIC_API };
    x2.args[0] = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
    k->wide_ids = kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &x2) >= 0;
    k->max_gsi = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_IRQ_ROUTING);
    return true;
}

/* --- interrupt numbers.  The kernel's timer raises 0, which must be the only number of its pins: it counts what was
 * acknowledged by it.  Messages of interrupt file descriptors come after those of pins. */

enum { GSI_TIMER = 0, GSI_IOAPIC0 = 24, GSI_PIC = 32, GSI_MESSAGES = 64, TIMER_IOAPIC_PIN = 2 };

static unsigned gsi_ioapic(unsigned pin) { return pin == TIMER_IOAPIC_PIN ? GSI_TIMER : pin == 0 ? GSI_IOAPIC0 : pin; }
static unsigned gsi_pic(unsigned pin) { return pin == 0 ? GSI_TIMER : GSI_PIC + pin; }

static void route_pin(GArray *to, unsigned gsi, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry e = { .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { chip, pin } };
    g_array_append_val(to, e);
}

static void route_message(GArray *to, unsigned gsi, uint64_t addr, uint32_t data)
{
    struct kvm_irq_routing_entry e = { .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
                                       .u.msi = { .address_lo = addr, .address_hi = addr >> 32, .data = data } };
    g_array_append_val(to, e);
}

/* Of an I/O APIC in this process the kernel must know which vectors are level-triggered, since it hands out their EOIs. */
static void route_entry(GArray *to, unsigned pin, uint64_t rte)
{
    enum { LOGICAL = 1 << 11, MASKED = 1 << 16 };
    uint64_t addr = 0xfee00000 | (rte >> 56) << 12 | (rte & LOGICAL ? 4 : 0);
    if (!(rte & MASKED))
        route_message(to, pin, addr, (rte & 0xff) | (rte & 0x700) | (rte & 0x8000) | 0x4000);
}

/* The whole table each time: the kernel has no other way.  routes_lock is held. */
static int write_routes(Kvm *k)
{
    GArray *all = g_array_new(FALSE, TRUE, sizeof(struct kvm_irq_routing_entry));
    if (k->chips == KVM_CHIPS_ON) {
        route_pin(all, GSI_TIMER, KVM_IRQCHIP_PIC_MASTER, 0);
        route_pin(all, GSI_TIMER, KVM_IRQCHIP_IOAPIC, TIMER_IOAPIC_PIN);
        for (unsigned i = 1; i < 16; i++)
            route_pin(all, gsi_pic(i), i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i & 7);
        for (unsigned i = 0; i < CHIP_IOAPIC_PINS; i++)
            if (i != TIMER_IOAPIC_PIN)
                route_pin(all, gsi_ioapic(i), KVM_IRQCHIP_IOAPIC, i);
    } else {
        for (unsigned i = 0; i < CHIP_IOAPIC_PINS; i++)
            route_entry(all, i, k->rte[i]);
    }
    for (unsigned i = 0; i < k->messages->len; i++) {
        const KvmMessage *m = &g_array_index(k->messages, KvmMessage, i);
        if (m->used)
            route_message(all, GSI_MESSAGES + i, m->addr, m->data);
    }
    g_autofree struct kvm_irq_routing *r = g_malloc0(sizeof *r + all->len * sizeof r->entries[0]);
    r->nr = all->len;
    memcpy(r->entries, all->data, all->len * sizeof r->entries[0]);
    g_array_free(all, TRUE);
    return kvm_ioctl(k->vm_fd, KVM_SET_GSI_ROUTING, r);
}

static void routes_changed(Kvm *k)
{
    int e = write_routes(k);
    if (e < 0)
        log_error(NULL, "kvm: the host kernel does not take the interrupt routes: %s", g_strerror(-e));
}

/* --- what devices pass on while the machine runs */

static void host_input(void *self, Chip *c, unsigned pin, bool level)
{
    Kvm *k = self;
    if (c->kind == CHIP_LAPIC) {                    /* of the local pins only the 8259 beside it (split) is wired: LINT0 */
        if (c->index >= k->a.vcpus->len || k->chips != KVM_CHIPS_SPLIT || pin != 0)
            return;
        CpuPort *port = ((Vcpu *)k->a.vcpus->pdata[c->index])->port;
        if (level)
            port_set(port, PORT_INTR);
        else
            port_clear(port, PORT_INTR);
        return;
    }
    struct kvm_irq_level l = { .irq = c->kind == CHIP_IOAPIC ? gsi_ioapic(pin) : gsi_pic(8 * c->index + pin), .level = level };
    kvm_ioctl(k->vm_fd, KVM_IRQ_LINE, &l);
}

static void host_message(void *self, uint64_t addr, uint32_t data)
{
    Kvm *k = self;
    struct kvm_msi msi = { .address_lo = addr, .address_hi = addr >> 32, .data = data };
    kvm_ioctl(k->vm_fd, KVM_SIGNAL_MSI, &msi);
}

static void host_entry(void *self, unsigned pin, uint64_t rte)
{
    Kvm *k = self;
    const uint64_t effects = ~(UINT64_C(1) << 12 | UINT64_C(1) << 14);      /* but delivery status and remote IRR */
    pthread_mutex_lock(&k->routes_lock);
    if ((k->rte[pin] ^ rte) & effects) {
        k->rte[pin] = rte;
        routes_changed(k);
    }
    pthread_mutex_unlock(&k->routes_lock);
}

static const ChipHost host_all = { host_input, host_message };
static const ChipHost host_split = { host_input, host_message, host_entry };

void kvm_chips_add(Accel *a, Chip *c)
{
    Kvm *k = (Kvm *)a;
    if (k->chips == KVM_CHIPS_OFF || (k->chips == KVM_CHIPS_SPLIT && (c->kind == CHIP_PIC || c->kind == CHIP_PIT)))
        return;
    c->host = k->chips == KVM_CHIPS_ON ? &host_all : &host_split;
    c->host_self = k;
    if (c->kind == CHIP_LAPIC) {
        if (c->index >= k->lapics->len)
            g_ptr_array_set_size(k->lapics, c->index + 1);
        k->lapics->pdata[c->index] = c;
    } else if (c->kind == CHIP_PIC) {
        k->pic[c->index & 1] = c;
    } else if (c->kind == CHIP_IOAPIC) {
        k->ioapic = c;
    } else {
        k->pit = c;
    }
}

void kvm_chips_eoi(Kvm *k, uint8_t vector)
{
    if (k->ioapic && k->ioapic->ops->eoi)
        k->ioapic->ops->eoi(k->ioapic->self, vector);
}

/* --- interrupts raised by file descriptors (KVM_IRQFD) */

static int assign(Kvm *k, int id, bool on)
{
    struct kvm_irqfd f = { .fd = g_array_index(k->messages, KvmMessage, id).fd, .gsi = GSI_MESSAGES + id,
                           .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };
    return kvm_ioctl(k->vm_fd, KVM_IRQFD, &f);
}

static void message_set(Kvm *k, int id, const KvmMessage *m)
{
    pthread_mutex_lock(&k->routes_lock);
    g_array_index(k->messages, KvmMessage, id) = *m;
    routes_changed(k);
    pthread_mutex_unlock(&k->routes_lock);
}

static int message_add(void *self, int fd, uint64_t addr, uint32_t data)
{
    Kvm *k = self;
    guint id = 0;
    while (id < k->messages->len && g_array_index(k->messages, KvmMessage, id).used)
        id++;
    if ((int)(GSI_MESSAGES + id) >= k->max_gsi)
        return -1;
    pthread_mutex_lock(&k->routes_lock);
    if (id == k->messages->len)
        g_array_set_size(k->messages, id + 1);
    pthread_mutex_unlock(&k->routes_lock);
    message_set(k, id, &(KvmMessage){ addr, data, fd, true });
    if (!k->a.running || assign(k, id, true) >= 0)
        return id;
    message_set(k, id, &(KvmMessage){ 0 });
    return -1;
}

static void message_change(void *self, int id, uint64_t addr, uint32_t data)
{
    Kvm *k = self;
    message_set(k, id, &(KvmMessage){ addr, data, g_array_index(k->messages, KvmMessage, id).fd, true });
}

static void message_remove(void *self, int id)
{
    Kvm *k = self;
    if (k->a.running)
        assign(k, id, false);
    message_set(k, id, &(KvmMessage){ 0 });
}

/* While the machine stands what is raised waits in its descriptor; assigning one that has been written to raises it. */
void kvm_messages_rest(Kvm *k, bool rest)
{
    for (unsigned i = 0; i < k->messages->len; i++)
        if (g_array_index(k->messages, KvmMessage, i).used && assign(k, i, !rest) < 0)
            log_error(NULL, "kvm: an interrupt's file descriptor is not taken; the interrupt is lost");
}

const MsiHost *kvm_msi_host(const Accel *a)
{
    static const MsiHost host = { message_add, message_change, message_remove };
    const Kvm *k = (const Kvm *)a;
    return k->chips != KVM_CHIPS_OFF && has(k, KVM_CAP_IRQFD) ? &host : NULL;
}

/* --- the 8259s: struct kvm_pic_state */

static void put_pic(struct kvm_pic_state *s, const PicRegs *r)
{
    *s = (struct kvm_pic_state){
        .last_irr = r->level, .irr = r->irr, .imr = r->imr, .isr = r->isr, .priority_add = (r->lowest + 1) & 7,
        .irq_base = r->base, .read_reg_select = r->read_isr, .poll = r->poll, .special_mask = r->special_mask,
        .init_state = r->init_step ? r->init_step - 1 : 0, .auto_eoi = r->aeoi, .rotate_on_auto_eoi = r->rotate_aeoi,
        .init4 = r->need_icw4, .elcr = r->elcr };
}

static void get_pic(const struct kvm_pic_state *s, PicRegs *r)
{
    r->irr = s->irr;
    r->imr = s->imr;
    r->isr = s->isr;
    r->lowest = (s->priority_add - 1) & 7;
    r->base = s->irq_base;
    r->read_isr = s->read_reg_select;
    r->poll = s->poll;
    r->special_mask = s->special_mask;
    r->init_step = s->init_state >= 1 && s->init_state <= 3 ? s->init_state + 1 : 0;
    r->aeoi = s->auto_eoi;
    r->rotate_aeoi = s->rotate_on_auto_eoi;
    r->need_icw4 = s->init4;
    r->elcr = s->elcr;
}

/* --- the I/O APIC: struct kvm_ioapic_state.  Its irr makes the kernel send again what is level-triggered and high; edges
 * were sent when they came. */

static void put_ioapic(struct kvm_ioapic_state *s, const IoapicRegs *r)
{
    *s = (struct kvm_ioapic_state){ .base_address = 0xfec00000, .ioregsel = r->select, .id = r->id };
    for (unsigned i = 0; i < CHIP_IOAPIC_PINS; i++) {
        s->redirtbl[i].bits = r->rte[i];
        if (r->level >> i & 1 && r->rte[i] & 0x8000)
            s->irr |= 1u << i;
    }
}

static void get_ioapic(const struct kvm_ioapic_state *s, IoapicRegs *r)
{
    r->select = s->ioregsel;
    r->id = s->id;
    for (unsigned i = 0; i < CHIP_IOAPIC_PINS; i++)
        r->rte[i] = s->redirtbl[i].bits & ~(UINT64_C(1) << 12);
}

/* --- the 8254: struct kvm_pit_state2.  Putting starts the counts anew: the kernel has no other way. */

enum { PIT_HZ = 1193182 };

static void put_pit(struct kvm_pit_state2 *s, const PitRegs *r)
{
    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < 3; i++) {
        const PitChannel *c = &r->ch[i];
        s->channels[i] = (struct kvm_pit_channel_state){
            .count = c->count ? c->count : 0x10000, .latched_count = c->latched,
            .count_latched = !c->latch_left ? 0 : c->latch_left == 1 && c->access == 3 ? 2 : c->access,
            .status_latched = c->status_latched, .status = c->status,
            .read_state = c->access == 3 ? (c->read_high ? 4 : 3) : c->access,
            .write_state = c->access == 3 ? (c->write_high ? 4 : 3) : c->access,
            .write_latch = c->low, .rw_mode = c->access, .mode = c->mode, .bcd = c->bcd, .gate = c->gate };
    }
    s->channels[0].gate = s->channels[1].gate = 1;
#ifdef KVM_PIT_FLAGS_SPEAKER_DATA_ON
    s->flags = r->port_b & 2 ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0;
#endif
}

static void get_pit(const struct kvm_pit_state2 *s, PitRegs *r)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t now = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
    for (unsigned i = 0; i < 3; i++) {
        const struct kvm_pit_channel_state *c = &s->channels[i];
        int64_t gone = MAX(now - (int64_t)c->count_load_time, 0);
        r->ch[i] = (PitChannel){
            .count = c->count, .latched = c->latched_count, .mode = c->mode, .access = c->rw_mode & 3, .status = c->status,
            .low = c->write_latch, .latch_left = !c->count_latched ? 0 : c->count_latched == 3 ? 2 : 1, .bcd = c->bcd,
            .gate = c->gate, .status_latched = c->status_latched, .read_high = c->read_state == 4,
            .write_high = c->write_state == 4, .running = c->count != 0 && c->count_load_time,
            .elapsed = c->count_load_time ? muldiv64(gone, PIT_HZ, NS_PER_S) : 0 };
    }
    r->port_b = s->channels[2].gate;
#ifdef KVM_PIT_FLAGS_SPEAKER_DATA_ON
    r->port_b |= s->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON ? 2 : 0;
#endif
}

/* --- local APICs: struct kvm_lapic_state has the registers where the memory window has them */

int kvm_lapic_put(KvmVcpu *v)
{
    const Chip *c = v->lapic;
    struct kvm_lapic_state s = { 0 };
    const LapicRegs *r = &v->lapic_regs;
    if (!c || !c->lent)
        return 0;
    for (unsigned i = 0; i < 64; i++)
        memcpy(s.regs + 16 * i, &r->reg[i], 4);
    if (r->base & 1 << 10 && v->kvm->wide_ids)
        memcpy(s.regs + 0x20, &r->id, 4);
    else if (r->base & 1 << 10)
        memcpy(s.regs + 0x20, &(uint32_t){ r->id << 24 }, 4);
    return kvm_ioctl(v->fd, KVM_SET_LAPIC, &s);
}

int kvm_lapic_get(KvmVcpu *v)
{
    struct kvm_lapic_state s;
    if (!v->lapic || !v->lapic->lent)
        return 0;
    int e = kvm_ioctl(v->fd, KVM_GET_LAPIC, &s);
    for (unsigned i = 0; e >= 0 && i < 64; i++)
        memcpy(&v->lapic_regs.reg[i], s.regs + 16 * i, 4);
    return e;
}

/* --- lending */

static int put_chip(Kvm *k, unsigned id, Chip *c)
{
    ChipRegs r;
    struct kvm_irqchip s = { .chip_id = id };
    if (!c)
        return 0;
    c->ops->lend(c->self, &r);
    if (id == KVM_IRQCHIP_IOAPIC)
        put_ioapic(&s.chip.ioapic, &r.ioapic);
    else
        put_pic(&s.chip.pic, &r.pic);
    return kvm_ioctl(k->vm_fd, KVM_SET_IRQCHIP, &s);
}

static int put_timer(Kvm *k)
{
    ChipRegs r;
    struct kvm_pit_state2 s;
    if (!k->pit)
        return 0;
    k->pit->ops->lend(k->pit->self, &r);
    put_pit(&s, &r.pit);
    return kvm_ioctl(k->vm_fd, KVM_SET_PIT2, &s);
}

/* Before the vCPUs' state is put: local APICs go with it. */
void kvm_chips_lend_lapics(Kvm *k)
{
    for (unsigned i = 0; k->chips != KVM_CHIPS_OFF && i < k->a.vcpus->len; i++) {
        KvmVcpu *v = k->a.vcpus->pdata[i];
        ChipRegs r;
        v->lapic = i < k->lapics->len ? k->lapics->pdata[i] : NULL;
        if (!v->lapic)
            continue;
        v->lapic->ops->lend(v->lapic->self, &r);
        v->lapic_regs = r.lapic;
    }
}

/* After it: what these send finds its local APIC. */
int kvm_chips_lend(Kvm *k)
{
    int e = 0;
    if (k->chips == KVM_CHIPS_OFF)
        return 0;
    if (k->chips == KVM_CHIPS_SPLIT && k->ioapic) {
        ChipRegs r;
        k->ioapic->ops->lend(k->ioapic->self, &r);      /* to read it: it stays where it is */
        k->ioapic->ops->take(k->ioapic->self, &r);
        memcpy(k->rte, r.ioapic.rte, sizeof k->rte);
    }
    pthread_mutex_lock(&k->routes_lock);
    e = write_routes(k);
    pthread_mutex_unlock(&k->routes_lock);
    if (k->chips != KVM_CHIPS_ON || e < 0)
        return e;
    e = put_chip(k, KVM_IRQCHIP_PIC_MASTER, k->pic[0]);
    e = e < 0 ? e : put_chip(k, KVM_IRQCHIP_PIC_SLAVE, k->pic[1]);
    e = e < 0 ? e : put_chip(k, KVM_IRQCHIP_IOAPIC, k->ioapic);
    return e < 0 ? e : put_timer(k);
}

static int take_chip(Kvm *k, unsigned id, Chip *c)
{
    ChipRegs r = { 0 };
    struct kvm_irqchip s = { .chip_id = id };
    if (!c || !c->lent)
        return 0;
    int e = kvm_ioctl(k->vm_fd, KVM_GET_IRQCHIP, &s);
    if (e < 0)
        return e;
    if (id == KVM_IRQCHIP_IOAPIC)
        get_ioapic(&s.chip.ioapic, &r.ioapic);
    else
        get_pic(&s.chip.pic, &r.pic);
    c->ops->take(c->self, &r);
    return 0;
}

static int take_timer(Kvm *k)
{
    ChipRegs r;
    struct kvm_pit_state2 s;
    if (!k->pit || !k->pit->lent)
        return 0;
    int e = kvm_ioctl(k->vm_fd, KVM_GET_PIT2, &s);
    if (e < 0)
        return e;
    get_pit(&s, &r.pit);
    k->pit->ops->take(k->pit->self, &r);
    return 0;
}

/* All vCPUs stand, their registers and those of their local APICs have been read. */
int kvm_chips_take(Kvm *k)
{
    int e = take_timer(k), bad = e;
    for (unsigned i = 0; i < k->a.vcpus->len; i++) {
        KvmVcpu *v = k->a.vcpus->pdata[i];
        if (!v->lapic || !v->lapic->lent)
            continue;
        ChipRegs r = { .lapic = v->lapic_regs };
        v->lapic->ops->take(v->lapic->self, &r);
    }
    /* The slave before the master, and what sends to local APICs after they are back. */
    e = take_chip(k, KVM_IRQCHIP_PIC_SLAVE, k->pic[1]);
    bad = e < 0 ? e : bad;
    e = take_chip(k, KVM_IRQCHIP_PIC_MASTER, k->pic[0]);
    bad = e < 0 ? e : bad;
    e = take_chip(k, KVM_IRQCHIP_IOAPIC, k->ioapic);
    return e < 0 ? e : bad;
}
