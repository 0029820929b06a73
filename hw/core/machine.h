/* SPDX-License-Identifier: GPL-2.0-or-later
 * A machine: everything hangs off it, so two can live in one process. */
#ifndef HW_CORE_MACHINE_H
#define HW_CORE_MACHINE_H

#include "hw/core/device.h"
#include "util/loop.h"
#include "util/qsr.h"

typedef enum RunState { RUN_PAUSED, RUN_RUNNING, RUN_SHUTDOWN } RunState;

typedef enum RunCause {
    CAUSE_NONE, CAUSE_HOST_QUIT, CAUSE_HOST_SIGNAL, CAUSE_HOST_ERROR, CAUSE_HOST_RESET,
    CAUSE_GUEST_SHUTDOWN, CAUSE_GUEST_RESET, CAUSE_GUEST_PANIC,     /* panic: a triple fault and the like */
} RunCause;

/* Why it is paused. */
typedef enum PauseWhy { PAUSE_PRELAUNCH, PAUSE_USER, PAUSE_DEBUG, PAUSE_SHUTDOWN } PauseWhy;

/* Told after each change of the run state, on the loop's thread. */
typedef struct MachineListener { void (*changed)(void *self); void *self; } MachineListener;

/* Set by the accelerator's glue.  On the loop's thread, no lock held. */
typedef struct MachineHooks {
    void (*pause)(void *self);          /* returns when every vCPU stands outside guest code */
    void (*resume)(void *self);
    void (*reset)(void *self);          /* vCPU state; between pause and resume, after the devices */
} MachineHooks;

struct Machine {
    char       *name;                   /* for the log; -name */
    Clock      *clock;
    Loop       *loop;
    RamMap     *ram;
    Space      *mem, *io;               /* io: x86 ports, 16 bits, there on every machine and empty on most */
    LockDomain  topology, legacy;
    GPtrArray  *devices;                /* Device, in order of making, which is the order of reset and save */
    GPtrArray  *streams;                /* Stream, owned */
    GPtrArray  *types;                  /* const DeviceType: types beside hw/devices.def, for tests */
    GPtrArray  *cpus;                   /* opaque: the accelerator's vCPUs, by index */
    const MsiHost *msi_host;            /* raises messages by file descriptor: hw/core/msifd.h; NULL: nobody does */
    void       *msi_host_self;
    MsiSink     msi;                    /* the interrupt controller that takes messages */
    void       *accel;                  /* opaque */
    const void *board;                  /* opaque: the board's own */

    const MachineHooks *hooks;
    void               *hooks_self;
    bool        no_reboot, no_shutdown; /* the options: reset quits; shutdown pauses instead of quitting */

    RunState    state;                  /* loop's thread writes */
    PauseWhy    pause_why;
    GArray     *listeners;              /* MachineListener */
    unsigned    requests;               /* bits, any thread */
    int         request_cause, exit_code;
};

/* clock: NULL for a host clock (stopped until machine_start); owned from now on.  Registers the thread for
 * QSR. */
Machine *machine_new(const char *name, Clock *clock);
/* vCPU threads are gone, same thread as machine_new(). */
void machine_free(Machine *m);

Device *machine_find(Machine *m, const char *id);       /* NULL: there is none */
Stream *machine_stream(Machine *m, const char *id);
void    machine_add_stream(Machine *m, Stream *s);      /* owned from now on */
void    machine_add_type(Machine *m, const DeviceType *t);

/* Any thread, any lock held, also from generated code's helpers: acted upon by machine_poll() on the loop's
 * thread. */
void machine_request_reset(Machine *m, RunCause cause);
void machine_request_shutdown(Machine *m, RunCause cause);
void machine_request_exit(Machine *m, int code);  /* shutdown that ends the process with this code, always */
void machine_request_pause(Machine *m);
void machine_request_resume(Machine *m);
void machine_request_debug_pause(Machine *m);   /* a vCPU has stopped itself for a debugger */

/* The rest: on the loop's thread. */
void machine_reset(Machine *m);         /* every device, in order, then the vCPUs; the machine is paused */
void machine_reset_devices(Machine *m);
void machine_start(Machine *m);         /* clock and vCPUs run */
void machine_pause(Machine *m);
const char *machine_state_name(const Machine *m);      /* "running", "paused", "paused (debug)" ... */
void machine_add_listener(Machine *m, void (*changed)(void *self), void *self);
void machine_remove_listener(Machine *m, void *self);
/* Acts upon requests.  False: the machine has ended, m->exit_code and m->request_cause say how. */
bool machine_poll(Machine *m);
/* Loop until the machine ends; returns the exit code. */
int  machine_run(Machine *m);

/* All devices and the clock as one stream: header, then (type, id, version, fields) of each.  The machine stands; the bytes are
 * the caller's.  What is restored may be anything; after a failure the machine is to be reset or freed. */
GByteArray *machine_save(Machine *m);
bool machine_restore(Machine *m, const uint8_t *bytes, size_t len, GError **err);

static inline void machine_send_msi(Machine *m, uint64_t addr, uint32_t data) 
{
    msi_send(&m->msi, addr, data);
}

#endif
