/* SPDX-License-Identifier: GPL-2.0-or-later
 * The kvm accelerator: what its files share.  Source: Linux Documentation/virt/kvm/api.rst ("the API" below).
 * docs/kvm.md. */
#ifndef ACCEL_KVM_INT_H
#define ACCEL_KVM_INT_H

#include "accel/accel.h"

#include <linux/kvm.h>
#include "target/x86/cpu.h"

typedef enum KvmChips { KVM_CHIPS_OFF, KVM_CHIPS_SPLIT, KVM_CHIPS_ON } KvmChips;   /* kernel-irqchip= */

/* A route of a message-signalled interrupt that file descriptors raise. */
typedef struct KvmMessage { uint64_t addr; uint32_t data; int fd; bool used; } KvmMessage;

typedef struct KvmPatch { uint64_t va, pa; uint8_t byte; } KvmPatch;     /* a software breakpoint's int3, and what it hides */

/* A doorbell or a stretch of coalesced writes that the kernel was told of. */
typedef struct KvmIo { uint64_t at, len; bool port, bell; struct kvm_ioeventfd fd; } KvmIo;

typedef struct KvmSlot { uint64_t pa, len /* 0: free */, ram_page; uint8_t *host; bool readonly; } KvmSlot;

typedef struct Kvm {
    Accel     a;                        /* first */
    int       dev_fd, vm_fd;            /* -1: closed */
    size_t    run_size;
    GArray   *slots;                    /* KvmSlot, by number */
    unsigned  max_slots;
    const MemoryListener *listener;     /* NULL: not added yet */
    pthread_mutex_t ring_lock;          /* of coalesced writes */
    pthread_mutex_t memory_lock;        /* slots, and reading the log */
    GArray   *io;                       /* KvmIo */
    unsigned  ring_page;                /* of coalesced writes, in the mapping of kvm_run; 0: there is none */
    bool      has_bells, coalesces_ports;
    bool      logging;                  /* of written pages */
    bool      log_by_hand;              /* what has been read of the bitmap is cleared separately */
    uint64_t  ring_entries;             /* of each vCPU's ring; 0: bitmaps */
    struct kvm_cpuid2 *supported;
    X86Model  host;                     /* what -cpu host is, and the most that any model can have */
    char      vendor[13], brand[49];
    bool      has_readonly, has_clock, has_xcrs;
    GArray   *patches;                  /* debug.c: bytes under software breakpoints */
    uint32_t  debug_flags;              /* of KVM_SET_GUEST_DEBUG, those that the kernel has */
    /* irqchip.c */
    KvmChips  chips;
    bool      chips_asked;              /* by the user, so that there is no going on without */
    bool      pit_discard;              /* lost ticks of the timer are not made up for */
    bool      wide_ids;                 /* the kernel takes APIC ids of 32 bits */
    int       max_gsi;
    Chip     *pic[2], *ioapic, *pit;
    GPtrArray *lapics;                  /* Chip, by CPU */
    pthread_mutex_t routes_lock;
    GArray   *messages;                 /* KvmMessage */
    uint64_t  rte[CHIP_IOAPIC_PINS];    /* split: as the kernel was told last */
} Kvm;

typedef struct KvmMsr { uint32_t index; uint16_t at; uint64_t last; } KvmMsr;     /* last: what the kernel has */

typedef struct KvmVcpu {
    Vcpu      v;                        /* first */
    Kvm      *kvm;
    X86Cpu   *cpu;
    int       fd;
    struct kvm_run *run;
    bool      in_kernel;                /* the kernel has the registers; else X86Cpu does, as always when paused */
    bool      dead;                     /* shut down or failed: waits for a reset */
    bool      if_flag, can_inject;      /* as of the last exit */
    uint64_t  apic_base;                /* as the kernel was told last, or has told */
    uint64_t  tsc_khz;
    GArray   *msrs;                     /* KvmMsr: those of the table that this kernel has */
    /* What X86Cpu has no place for stays here from one pause to the next resume. */
    _Alignas(64) uint8_t xsave[sizeof(struct kvm_xsave)];       /* it may end in a flexible array */
    struct kvm_vcpu_events events;
    struct kvm_coalesced_mmio_ring *gathered;       /* NULL: the kernel gathers no writes */
    struct kvm_dirty_gfn *ring;         /* NULL: none */
    uint64_t  ring_next;
    struct kvm_guest_debug debug;       /* as the kernel was told last */
    Chip     *lapic;                    /* what it lent, while the machine runs; NULL: none */
    LapicRegs lapic_regs;
    uint64_t  exits[64];
} KvmVcpu;

/* Writes that came since the last exit: before anything else that the guest did gets anywhere. */
static inline bool kvm_coalesced_pending(const KvmVcpu *v)
{
    return v->gathered && __atomic_load_n(&v->gathered->last, __ATOMIC_ACQUIRE) != v->gathered->first;
}

/* ioctl() that goes on after EINTR; -errno on failure. */
int  kvm_ioctl(int fd, unsigned long request, void *arg);

/* cpuid.c */
bool kvm_cpuid_open(Kvm *k, GError **err);                      /* fills supported and host */
bool kvm_cpuid_set(KvmVcpu *v, GError **err);

/* state.c: on the vCPU's thread, or before it has one.  0 or -errno, with a message logged. */
void kvm_msrs_find(KvmVcpu *v);
int  kvm_state_put(KvmVcpu *v);
int  kvm_state_get(KvmVcpu *v);
void kvm_state_reset(KvmVcpu *v);                               /* X86Cpu has been reset: forget the rest */

/* memory.c */
bool kvm_log_open(Kvm *k, uint64_t ring_entries, GError **err);
bool kvm_ring_map(KvmVcpu *v, GError **err);
void kvm_ring_full(Kvm *k);
void kvm_memory_listen(Kvm *k);
void kvm_coalesced_drain(KvmVcpu *v);                           /* the ring is not empty */
void kvm_memory_close(Kvm *k);

/* debug.c */
extern const struct AccelDebug kvm_debug;
int  kvm_debug_put(KvmVcpu *v);                                 /* 0 or -errno */
void kvm_debug_exit(KvmVcpu *v);
bool kvm_debug_at_break(KvmVcpu *v);                            /* stands at a software breakpoint: stops there */

/* irqchip.c: 0 or -errno */
bool kvm_chips_parse(Kvm *k, const char *text, GError **err);   /* NULL: the default */
bool kvm_chips_create(Kvm *k, GError **err);
void kvm_chips_add(Accel *a, Chip *c);
const MsiHost *kvm_msi_host(const Accel *a);
void kvm_chips_eoi(Kvm *k, uint8_t vector);                     /* split: the I/O APIC's */
void kvm_chips_lend_lapics(Kvm *k);
int  kvm_chips_lend(Kvm *k);
int  kvm_chips_take(Kvm *k);
void kvm_messages_rest(Kvm *k, bool rest);
int  kvm_lapic_put(KvmVcpu *v);
int  kvm_lapic_get(KvmVcpu *v);

/* run.c */
void kvm_vcpu_run(Vcpu *vc);
void kvm_vcpu_interrupt(Vcpu *vc);
void kvm_vcpu_failed(KvmVcpu *v, const char *why);              /* dumps the registers; tells the machine */

#endif
