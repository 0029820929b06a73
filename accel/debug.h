/* SPDX-License-Identifier: GPL-2.0-or-later
 * Debugging the guest from outside, whichever accelerator runs it: breakpoints, watchpoints, single steps, and vCPUs
 * that stop because of one.  The gdb stub and the monitor use it; docs/accel.md.
 *
 * A vCPU that hits something stops itself (vcpu_debug_stop) and tells the machine, which pauses the others.  All that
 * inserts, removes, holds or steps is for the loop's thread, with the accelerator paused.  Registers and memory are
 * read and written through the target (TargetDebug in target/debug.h) while it is paused: every accelerator leaves the
 * whole state in the CPU model then, and takes changes from there when it goes on. */
#ifndef ACCEL_DEBUG_H
#define ACCEL_DEBUG_H

#include "accel/accel.h"

/* Adds or removes one.  The same point may be added several times and is then removed as often.  An accelerator may
 * refuse: what it has no room for (kvm: four in all of hardware breakpoints and watchpoints), what it cannot do (a
 * watchpoint on reads alone), an address that cannot be written. */
bool accel_debug_insert(Accel *a, DebugKind kind, uint64_t va, uint64_t len, GError **err);
bool accel_debug_remove(Accel *a, DebugKind kind, uint64_t va, uint64_t len);   /* false: there is none such */
void accel_debug_clear(Accel *a);               /* all points, holds, steps and unread stops */

/* The next resume lets it run one instruction (or one exception's delivery).  Device interrupts wait meanwhile, as
 * people who step expect, unless the CPU is halted. */
void vcpu_debug_step(Vcpu *v, bool on);
/* A held vCPU does not run when the others are resumed. */
void vcpu_debug_hold(Vcpu *v, bool on);
bool vcpu_debug_held(const Vcpu *v);

/* Why it stopped itself since the last resume; DEBUG_NONE: it has not.  vcpu_debug_tell(): the user has been told, so that
 * a breakpoint at which it still stands does not stop it again; what nobody was told of stops it once more. */
DebugStop vcpu_debug_stopped(Vcpu *v);
void vcpu_debug_tell(Vcpu *v);
bool vcpu_debug_told(const Vcpu *v);

unsigned accel_n_vcpus(const Accel *a);
Vcpu *accel_vcpu(const Accel *a, unsigned index);       /* NULL beyond the last */
unsigned vcpu_index(const Vcpu *v);

/* Guest memory by the vCPU's virtual addresses as they are mapped now; no access rights are looked at, nothing is marked
 * accessed, ROM can be written.  What points hide (an int3 in memory) is not seen.  False: not mapped, part may be done. */
bool vcpu_debug_read(Vcpu *v, uint64_t va, void *buf, size_t len);
bool vcpu_debug_write(Vcpu *v, uint64_t va, const void *buf, size_t len);
/* va to pa; *len (may be NULL): bytes from there to the mapping's end. */
bool vcpu_debug_translate(Vcpu *v, uint64_t va, uint64_t *pa, uint64_t *len);

/* --- for accelerators */

/* Row of AccelType.debug.  NULL members: can't.  insert and remove come with the list (accel_debug_points) not changed
 * yet, and each point once however often it is inserted. */
typedef struct AccelDebug {
    bool (*insert)(Accel *a, const DebugPoint *p, GError **err);
    void (*remove)(Accel *a, const DebugPoint *p);
    /* Optional: the bytes that inserting put over guest memory are put back into what was read, and kept while written. */
    void (*unmask)(Accel *a, uint64_t pa, uint8_t *buf, size_t len);
    void (*written)(Accel *a, uint64_t pa, const uint8_t *buf, size_t len);
} AccelDebug;

const DebugPoint *accel_debug_points(const Accel *a, unsigned *n);
/* The point that an instruction at va, or an access to [va, va+len), hits; NULL: none. */
const DebugPoint *accel_debug_break_at(const Accel *a, uint64_t va);
const DebugPoint *accel_debug_watch_at(const Accel *a, uint64_t va, uint64_t len, bool write);
/* On the vCPU's own thread: it has hit a point, or done its step (Vcpu.debug.step).  It will not run on before it is
 * resumed: vcpu_run() is to return as for VCPU_STOP, which this files.  The first of several is kept. */
void vcpu_debug_stop(Vcpu *v, DebugWhy why, const DebugPoint *p, uint64_t va);

#endif
