/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest memory: one slot for each piece of RAM or ROM of the flat view, and the log of pages that the guest has written.
 * What is not mapped, or no whole page, is reached through exits, so a view that changes under running vCPUs at worst
 * takes the slow way for a moment.
 *
 * The log feeds memory/dirty.h: it runs while a client listens, and is read when one harvests.  A bitmap for each slot;
 * with dirty-ring-size= a ring for each vCPU, which costs what was written and not what there is (API, 8.29). */
#include "accel/kvm/kvm_int.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "memory/dirty.h"
#include "util/bits.h"
#include "util/error.h"
#include "util/log.h"

static KvmSlot *slot_at(Kvm *k, unsigned i) { return &g_array_index(k->slots, KvmSlot, i); }

static bool set_slot(Kvm *k, unsigned i, uint64_t len)
{
    const KvmSlot *s = slot_at(k, i);
    struct kvm_userspace_memory_region r = {
        .slot = i, .flags = (s->readonly ? KVM_MEM_READONLY : 0) | (k->logging && !s->readonly ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = s->pa, .memory_size = len, .userspace_addr = (uintptr_t)s->host };
    int e = kvm_ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &r);
    if (e < 0)
        log_error(NULL, "kvm: guest memory at %#" G_GINT64_MODIFIER "x: %s", (guint64)s->pa, g_strerror(-e));
    return e >= 0;
}

/* --- the log as bitmaps */

/* Pages [from, to) of the slot, whole words of the bitmap: what is set there goes to the dirty map and is cleared. */
static void read_log(Kvm *k, unsigned i, uint64_t from, uint64_t to)
{
    const KvmSlot *s = slot_at(k, i);
    uint64_t pages = s->len >> RAM_PAGE_SHIFT, words = (pages + 63) / 64;
    g_autofree uint64_t *bits = g_try_malloc0(words * 8);
    struct kvm_dirty_log get = { .slot = i, .dirty_bitmap = bits };
    int e = bits ? kvm_ioctl(k->vm_fd, KVM_GET_DIRTY_LOG, &get) : -ENOMEM;
    if (e < 0) {                        /* then all may have been written */
        log_error(NULL, "kvm: the log of written pages: %s", g_strerror(-e));
        dirty_mark(k->a.m.ram, s->ram_page, pages);
        return;
    }
    if (!k->log_by_hand) {              /* reading has cleared all of it */
        from = 0;
        to = pages;
    }
    for (uint64_t w = from / 64; w < (to + 63) / 64; w++)
        for (uint64_t b = bits[w]; b; b &= b - 1) {
            uint64_t page = w * 64 + __builtin_ctzll(b);
            if (page < pages)
                dirty_mark(k->a.m.ram, s->ram_page + page, 1);
        }
    if (!k->log_by_hand)
        return;
    struct kvm_clear_dirty_log clear = { .slot = i, .first_page = from, .num_pages = MIN(align_up(to, 64), pages) - from,
                                         .dirty_bitmap = bits + from / 64 };
    e = kvm_ioctl(k->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear);
    if (e < 0)
        log_error(NULL, "kvm: the log of written pages cannot be cleared: %s", g_strerror(-e));
}

/* --- the log as rings */

static void read_ring(Kvm *k, KvmVcpu *v)
{
    for (;;) {
        struct kvm_dirty_gfn *g = &v->ring[v->ring_next % k->ring_entries];
        if (!(__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
            return;
        unsigned slot = g->slot & 0xffff;
        if (slot < k->slots->len && g->offset < slot_at(k, slot)->len >> RAM_PAGE_SHIFT)
            dirty_mark(k->a.m.ram, slot_at(k, slot)->ram_page + g->offset, 1);
        __atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        v->ring_next++;
    }
}

/* memory_lock is held. */
static void read_rings(Kvm *k)
{
    for (unsigned i = 0; i < k->a.vcpus->len; i++) {
        KvmVcpu *v = k->a.vcpus->pdata[i];
        if (v->ring)
            read_ring(k, v);
    }
    kvm_ioctl(k->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
}

void kvm_ring_full(Kvm *k)
{
    pthread_mutex_lock(&k->memory_lock);
    read_rings(k);
    pthread_mutex_unlock(&k->memory_lock);
}

bool kvm_ring_map(KvmVcpu *v, GError **err)
{
    Kvm *k = v->kvm;
    if (!k->ring_entries)
        return true;
    void *p = mmap(NULL, k->ring_entries * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
                   KVM_DIRTY_LOG_PAGE_OFFSET * RAM_PAGE_SIZE);
    if (p == MAP_FAILED)
        return fail_errno(err, errno, "vCPU %u: the ring of written pages", v->v.index);
    v->ring = p;
    return true;
}

/* Before the first vCPU. */
bool kvm_log_open(Kvm *k, uint64_t ring_entries, GError **err)
{
    static const uint32_t caps[] = { KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING };
    int manual = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    if (ring_entries) {
        uint64_t bytes = ring_entries * sizeof(struct kvm_dirty_gfn);
        for (unsigned i = 0; i < G_N_ELEMENTS(caps); i++) {
            int most = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)caps[i]);
            if (most <= 0)
                continue;
            if (bytes > (uint64_t)most)
                return fail(err, "dirty-ring-size=%" G_GUINT64_FORMAT ": the host kernel takes up to %u", ring_entries,
                            (unsigned)(most / sizeof(struct kvm_dirty_gfn)));
            struct kvm_enable_cap cap = { .cap = caps[i], .args = { bytes } };
            int e = kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &cap);
            if (e < 0)
                return fail_errno(err, -e, "dirty-ring-size=%" G_GUINT64_FORMAT, ring_entries);
            k->ring_entries = ring_entries;
            return true;
        }
        return fail(err, "dirty-ring-size: the host kernel's KVM has no dirty ring; without it bitmaps are used");
    }
    struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                  .args = { manual & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE } };
    k->log_by_hand = manual > 0 && cap.args[0] && kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &cap) >= 0;
    return true;
}

/* --- memory/dirty.h asks */

static void log_switch(void *self, bool on)
{
    Kvm *k = self;
    pthread_mutex_lock(&k->memory_lock);
    k->logging = on;
    for (unsigned i = 0; i < k->slots->len; i++)
        if (slot_at(k, i)->len && !slot_at(k, i)->readonly)
            set_slot(k, i, slot_at(k, i)->len);
    pthread_mutex_unlock(&k->memory_lock);
}

static void log_sync(void *self, uint64_t ram_page, uint64_t n)
{
    Kvm *k = self;
    pthread_mutex_lock(&k->memory_lock);
    if (k->logging && k->ring_entries)
        read_rings(k);
    for (unsigned i = 0; k->logging && !k->ring_entries && i < k->slots->len; i++) {
        const KvmSlot *s = slot_at(k, i);
        uint64_t pages = s->len >> RAM_PAGE_SHIFT;
        if (s->readonly || ram_page >= s->ram_page + pages || ram_page + n <= s->ram_page)
            continue;
        uint64_t from = ram_page > s->ram_page ? ram_page - s->ram_page : 0;
        read_log(k, i, from & ~UINT64_C(63), MIN(ram_page + n - s->ram_page, pages));
    }
    pthread_mutex_unlock(&k->memory_lock);
}

/* --- doorbells and coalesced writes: attributes of I/O regions */

static void io_forget(Kvm *k, bool port, uint64_t pa, uint64_t len)
{
    for (unsigned i = k->io->len; i-- > 0;) {
        KvmIo *io = &g_array_index(k->io, KvmIo, i);
        if (io->port != port || io->at - pa >= len)
            continue;
        if (io->bell) {
            io->fd.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
            kvm_ioctl(k->vm_fd, KVM_IOEVENTFD, &io->fd);
        } else {
            struct kvm_coalesced_mmio_zone z = { .addr = io->at, .size = io->len, .pio = port };
            kvm_ioctl(k->vm_fd, KVM_UNREGISTER_COALESCED_MMIO, &z);
        }
        g_array_remove_index_fast(k->io, i);
    }
}

/* What the kernel does not take comes as an exit, and memory/ does it. */
static void io_tell(Kvm *k, bool port, const MemSection *sec)
{
    const DoorbellList *bells = sec->region->doorbells;
    for (unsigned i = 0; k->has_bells && bells && i < bells->n; i++) {
        const Doorbell *d = &bells->bells[i];
        if (d->at - sec->offset >= sec->len)
            continue;
        KvmIo io = { .at = sec->pa + (d->at - sec->offset), .len = 1, .port = port, .bell = true };
        io.fd = (struct kvm_ioeventfd){ .datamatch = d->value, .addr = io.at, .len = d->size, .fd = d->fd,
            .flags = (port ? KVM_IOEVENTFD_FLAG_PIO : 0) | (d->any ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH) };
        if (kvm_ioctl(k->vm_fd, KVM_IOEVENTFD, &io.fd) >= 0)
            g_array_append_val(k->io, io);
    }
    struct kvm_coalesced_mmio_zone z = { .addr = sec->pa, .size = sec->len, .pio = port };
    if (sec->region->coalesced && k->ring_page && sec->len <= UINT32_MAX && (!port || k->coalesces_ports) &&
        kvm_ioctl(k->vm_fd, KVM_REGISTER_COALESCED_MMIO, &z) >= 0) {
        KvmIo io = { .at = sec->pa, .len = sec->len, .port = port };
        g_array_append_val(k->io, io);
    }
}

/* The ring belongs to the machine, whichever vCPU looks; ring_lock makes that one. */
void kvm_coalesced_drain(KvmVcpu *v)
{
    Kvm *k = v->kvm;
    struct kvm_coalesced_mmio_ring *r = v->gathered;
    const unsigned n = (RAM_PAGE_SIZE - sizeof *r) / sizeof r->coalesced_mmio[0];
    pthread_mutex_lock(&k->ring_lock);
    while (r->first != __atomic_load_n(&r->last, __ATOMIC_ACQUIRE)) {
        struct kvm_coalesced_mmio e = r->coalesced_mmio[r->first % n];
        unsigned len = MIN(e.len, sizeof e.data);
        if (e.pio)
            space_write(k->a.m.io, e.phys_addr, e.data, len);
        else
            space_write(k->a.m.mem, e.phys_addr, e.data, len);
        __atomic_store_n(&r->first, (r->first + 1) % n, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&k->ring_lock);
}

static void io_open(Kvm *k)
{
    int page = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_COALESCED_MMIO);
    k->ring_page = page > 0 && (uint64_t)(page + 1) * RAM_PAGE_SIZE <= k->run_size ? page : 0;
    k->coalesces_ports = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_COALESCED_PIO) > 0;
    k->has_bells = kvm_ioctl(k->vm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_IOEVENTFD) > 0;
}

/* --- the memory map's changes */

/* The whole pages of a section.  False: there are none that the kernel could map. */
static bool whole_pages(const MemSection *sec, uint64_t *pa, uint64_t *len)
{
    uint64_t skip = -sec->pa & (RAM_PAGE_SIZE - 1);
    if (!sec->host || skip >= sec->len || ((uintptr_t)sec->host + skip) & (RAM_PAGE_SIZE - 1))
        return false;
    *pa = sec->pa + skip;
    *len = (sec->len - skip) & ~(uint64_t)(RAM_PAGE_SIZE - 1);
    return *len != 0;
}

static void add_slot(Kvm *k, const KvmSlot *s)
{
    unsigned i = 0;
    while (i < k->slots->len && slot_at(k, i)->len)
        i++;
    if (i == k->max_slots) {
        log_error(NULL, "kvm: the host kernel takes only %u pieces of guest memory", k->max_slots);
        return;
    }
    if (i == k->slots->len)
        g_array_set_size(k->slots, i + 1);
    *slot_at(k, i) = *s;
    if (!set_slot(k, i, s->len))
        slot_at(k, i)->len = 0;
}

static void memory_add(void *self, const MemSection *sec)
{
    Kvm *k = self;
    KvmSlot s = { .readonly = sec->readonly };
    if (!sec->host) {
        io_tell(k, false, sec);
        return;
    }
    if (!whole_pages(sec, &s.pa, &s.len))
        return;
    s.host = sec->host + (s.pa - sec->pa);
    s.ram_page = sec->ram_page + (s.pa - sec->pa + RAM_PAGE_SIZE - 1) / RAM_PAGE_SIZE;
    pthread_mutex_lock(&k->memory_lock);
    add_slot(k, &s);
    pthread_mutex_unlock(&k->memory_lock);
}

static void memory_remove(void *self, const MemSection *sec)
{
    Kvm *k = self;
    uint64_t pa, len;
    if (!sec->host)
        io_forget(k, false, sec->pa, sec->len);
    if (!whole_pages(sec, &pa, &len))
        return;
    pthread_mutex_lock(&k->memory_lock);
    for (unsigned i = 0; i < k->slots->len; i++) {
        KvmSlot *s = slot_at(k, i);
        if (!s->len || s->pa != pa)
            continue;
        if (k->logging && k->ring_entries)
            read_rings(k);
        else if (k->logging && !s->readonly)
            read_log(k, i, 0, s->len >> RAM_PAGE_SHIFT);
        set_slot(k, i, 0);
        s->len = 0;
    }
    pthread_mutex_unlock(&k->memory_lock);
}

static void port_add(void *self, const MemSection *sec) { io_tell(self, true, sec); }
static void port_remove(void *self, const MemSection *sec) { io_forget(self, true, sec->pa, sec->len); }

static const MemoryListener port_listener = { .add = port_add, .remove = port_remove };
static const MemoryListener memory_listener = { .add = memory_add, .remove = memory_remove };

void kvm_memory_listen(Kvm *k)
{
    RamMap *ram = k->a.m.ram;
    if (k->listener)
        return;
    k->listener = &memory_listener;
    k->logging = ram->dirty_clients;
    io_open(k);
    space_add_listener(k->a.m.mem, k->listener, k);
    space_add_listener(k->a.m.io, &port_listener, k);
    ram->log_switch = log_switch;
    ram->log_sync = log_sync;
    ram->log_self = k;
}

void kvm_memory_close(Kvm *k)
{
    RamMap *ram = k->a.m.ram;
    if (!k->listener)
        return;
    space_remove_listener(k->a.m.mem, k->listener, k);
    space_remove_listener(k->a.m.io, &port_listener, k);
    if (ram->log_self == k) {
        ram->log_switch = NULL;
        ram->log_sync = NULL;
    }
}
