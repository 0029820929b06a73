/* SPDX-License-Identifier: GPL-2.0-or-later
 * Accelerators: what runs guest CPUs.  The machine side (boards, main) opens one of a list, gives it the machine's
 * memory and clock and its CPUs, and starts, pauses and resets it; it never asks which one runs.
 *
 * Threads: every vCPU has a host thread.  All functions here are for the loop's thread, with no device lock held.  docs/accel.md. */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include "target/port.h"
#include "target/target.h"
#include "util/clock.h"
#include "util/irqchip.h"

typedef struct Accel Accel;
typedef struct Vcpu Vcpu;

/* --- why a vCPU stopped itself; what acts upon these is in accel/debug.h */

/* In the order of gdb's Z packets. */
typedef enum DebugKind {
    DEBUG_SW_BREAK, DEBUG_HW_BREAK,             /* instruction at va: the vCPU stops before it */
    DEBUG_WATCH_WRITE, DEBUG_WATCH_READ, DEBUG_WATCH_ACCESS,    /* [va, va+len): it stops after the instruction */
    DEBUG_N_KINDS
} DebugKind;

typedef struct DebugPoint {
    DebugKind kind;
    uint64_t  va, len;                          /* virtual, in whichever address space; len of a breakpoint: 1 */
} DebugPoint;

typedef enum DebugWhy {
    DEBUG_NONE,
    DEBUG_POINT,                                /* DebugStop.point was hit */
    DEBUG_STEPPED,                              /* vcpu_debug_step() is done */
} DebugWhy;

typedef struct DebugStop {
    DebugWhy   why;
    DebugPoint point;
    uint64_t   va;                              /* of the access that hit a watchpoint */
} DebugStop;

/* What the machine gives; copied.  The callbacks come from any vCPU thread and only file a request. */
typedef struct AccelMachine {
    const Target *target;               /* of its CPUs; NULL: whatever is added (tests) */
    Clock  *clock;
    Space  *mem, *io;                   /* io: x86 ports */
    Space  *smm;                        /* x86: mem as a CPU in system management mode sees it; NULL: the same */
    RamMap *ram;
    void   *self;
    void  (*cpu_dead)(void *self, unsigned cpu_index);     /* triple fault: the board resets, or ends, the machine */
    void   (*cpu_failed)(void *self, unsigned cpu_index);   /* cannot go on, said why: nothing that the guest asked for */
    /* A vCPU has hit a breakpoint or the like and stopped itself (accel/debug.h): the machine pauses the others. */
    void   (*cpu_stopped)(void *self, unsigned cpu_index);
    bool    perfmap;                    /* -perfmap: write /tmp/perf-PID.map */
    bool    cpu_pm;                     /* -overcommit cpu-pm=on: waiting vCPUs keep their processors */
    bool    chips;                      /* the board will offer its interrupt hardware: accel_add_chip() */
} AccelMachine;

/* Tries the specs ("tcg,tb-size=64") in order; n 0 stands for "tcg".  What was refused before one that works is told
 * by log_warn; NULL: none works, err says why for each. */
Accel *accel_open(const char *const *specs, unsigned n, const AccelMachine *m, GError **err);
void   accel_close(Accel *a);           /* stops and joins all vCPUs; their CPU models are the caller's to free after */
const char *accel_name(const Accel *a);
void   accel_help(GString *out);        /* -accel help */

/* What CPU models are created with. */
const CpuHooks *accel_hooks(const Accel *a);

/* The most that a CPU can have here and what "-cpu host" is, as the target describes CPUs (x86: X86Model); the
 * accelerator's.  NULL: any CPU that the target implements, and there is no "-cpu host". */
const void *accel_host_cpu(Accel *a);

/* Gives a CPU to the accelerator, which must be paused, as all are at first.  port may be NULL (tests).  The CPU's
 * model stays the caller's, and must be reset after this and before it runs, so that it selects its TLB context.  NULL: err
 * says why, such as too many of them. */
Vcpu  *accel_add_vcpu(Accel *a, const Target *t, CpuState *cpu, CpuPort *port, GError **err);
/* Offers a chip to work while the machine runs (util/irqchip.h): all before the first resume, local APICs with the index of
 * their vCPU. */
void   accel_add_chip(Accel *a, Chip *c);
/* NULL: it has none.  Its self is the Accel. */
const MsiHost *accel_msi_host(const Accel *a);
void   accel_resume(Accel *a);          /* vCPUs run (their threads are made at the first call) */
void   accel_pause(Accel *a);           /* returns when every vCPU stands outside guest code */
/* A look at the CPUs in between: pauses if they run; accel_thaw() lets those run on that have not stopped themselves. */
bool   accel_freeze(Accel *a);          /* whether they ran */
void   accel_thaw(Accel *a, bool ran);
/* Between pause and resume, after the CPU models have been reset: forgets what was cached of their state. */
void   accel_reset(Accel *a);

/* "info jit": appends it.  Counters of vCPUs that run are a moment old. */
void   accel_stats(Accel *a, GString *out);

int vcpu_tid(const Vcpu *v);            /* thread id on the host; 0: it has none yet */
CpuState *vcpu_cpu(Vcpu *v);
CpuPort *vcpu_port(Vcpu *v);            /* may be NULL */
const Target *vcpu_target(Vcpu *v);

/* --- for accelerators */

typedef struct AccelType {
    const char *name, *help;
    Accel *(*open)(const char *spec, const AccelMachine *m, GError **err);
    void   (*close)(Accel *a);
    Vcpu  *(*vcpu_new)(Accel *a, const Target *t, CpuState *cpu, GError **err);
    void   (*vcpu_free)(Vcpu *v);
    void   (*vcpu_reset)(Vcpu *v);
    /* Optional.  On the loop's thread: before the vCPUs are let go, and when all of them stand. */
    void   (*resume)(Accel *a);
    void   (*paused)(Accel *a);
    void   (*add_chip)(Accel *a, Chip *c);
    const MsiHost *(*msi_host)(const Accel *a);
    /* Runs guest code on the vCPU's thread until a request (vcpu_requested) other than a kick comes in. */
    void   (*vcpu_run)(Vcpu *v);
    /* In the kick signal's handler, or on the vCPU's thread itself: make generated code leave at its next head. */
    void   (*vcpu_interrupt)(Vcpu *v);
    void   (*stats)(Accel *a, GString *out);
    const void *(*host_cpu)(Accel *a);  /* NULL: see accel_host_cpu() */
    const struct AccelDebug *debug;     /* accel/debug.h; NULL: no breakpoints */
    const CpuHooks *hooks;
} AccelType;

struct Accel {
    const AccelType *type;
    AccelMachine     m;
    GPtrArray       *vcpus;             /* Vcpu, by index */
    bool             running;           /* resumed */
    GArray          *debug_points, *debug_counts;       /* debug.c; change while paused only */
};

enum {                                  /* bits of Vcpu.requests */
    VCPU_KICK = 1,                      /* look at the port */
    VCPU_STOP = 2,                      /* pause, or end: leave vcpu_run() */
    VCPU_WORK = 4,                      /* the accelerator's own, from there on */
};

struct Vcpu {
    Accel           *accel;
    const Target    *target;
    CpuState        *cpu;
    CpuPort         *port;
    unsigned         index;
    pthread_t        thread;
    _Atomic int      tid;               /* the kernel's number of it; 0 before it runs */
    _Atomic bool     started;           /* thread is there to be signalled */
    void            *sigstack;
    /* Futex word.  Kickers set bits, the vCPU thread takes them. */
    _Atomic uint32_t requests;
    _Atomic bool     sleeping;          /* in vcpu_sleep(): wake by futex; else by signal */
    pthread_mutex_t  lock;              /* for the three below */
    pthread_cond_t   changed;
    bool             want_run, quit, stopped;
    struct {                            /* accel/debug.h */
        bool      step;                 /* run one instruction, then vcpu_debug_stop(v, DEBUG_STEPPED, ...) */
        bool      hold;
        bool      told;                 /* somebody has been told of the stop */
        DebugStop stop;
    } debug;
};

/* Files a request and gets the thread's attention.  Any thread, whatever locks it holds. */
void vcpu_request(Vcpu *v, uint32_t bits);
/* On the vCPU's thread: waits, quiescent, until requests is not 0. */
void vcpu_sleep(Vcpu *v);
static inline uint32_t vcpu_requested(Vcpu *v) { return atomic_load_explicit(&v->requests, memory_order_acquire); }
bool vcpu_is_self(const Vcpu *v);       /* this thread is the vCPU's */

extern const AccelType accel_tcg, accel_kvm;

#endif
