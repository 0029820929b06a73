/* SPDX-License-Identifier: GPL-2.0-or-later
 * What an architecture tells a debugger: its registers in gdb's order and form, and its page tables.  The CPU stands
 * still meanwhile.  Nothing here has side effects on the guest but what set() is asked for. */
#ifndef RHEA_TARGET_DEBUG_H
#define RHEA_TARGET_DEBUG_H

#include "target/target.h"

enum { DEBUG_REG_BYTES = 64 };

/* One register, as <reg> of a target description has it. */
typedef struct DebugReg {
    const char *name, *type;            /* type: "int64", "code_ptr", "i387_ext", "vec128", an id of feature.types ... */
    const char *group;                  /* "general", "float", "vector", "system"; NULL: gdb's own idea */
    uint16_t    bits;
    uint16_t    id;                     /* the target's own */
} DebugReg;

/* A <feature>; its registers are numbered on from those of the one before. */
typedef struct DebugFeature {
    const char     *name, *types;       /* types: XML that its registers refer to, or NULL */
    const DebugReg *regs;
    unsigned        n;
} DebugFeature;

/* A run of virtual addresses that are mapped alike. */
typedef struct DebugMap { uint64_t va, pa, len, page_len; bool writable, user, executable, global; uint64_t raw; } DebugMap;
typedef bool DebugMapFn(void *self, const DebugMap *m);         /* false: enough */

/* A breakpoint of the guest's own, in debug registers: an instruction at va, or data of len bytes. */
enum { TARGET_POINTS = 16 };
typedef struct TargetPoint { uint64_t va; unsigned len; bool exec, read, write; } TargetPoint;

typedef struct TargetDebug {
    /* gdb's name of the architecture, and the features of this CPU; n: how many. */
    const char *(*arch)(const CpuState *cpu);
    const DebugFeature *(*features)(const CpuState *cpu, unsigned *n);
    /* Little-endian, bits/8 bytes.  set: false if the register cannot have that value. */
    void (*get)(CpuState *cpu, uint16_t id, uint8_t out[DEBUG_REG_BYTES]);
    bool (*set)(CpuState *cpu, uint16_t id, const uint8_t in[DEBUG_REG_BYTES]);
    /* A register by the name that the monitor's expressions use ("rip", "eax", "cs"). */
    bool (*lookup)(CpuState *cpu, const char *name, uint64_t *v);
    void (*set_pc)(CpuState *cpu, uint64_t pc);
    unsigned (*word_bits)(const CpuState *cpu);                 /* of addresses now: 16, 32, 64 */
    /* Walks the page tables as they are; *len: bytes from va to the end of the mapping. */
    bool (*translate)(const CpuState *cpu, Space *mem, uint64_t va, uint64_t *pa, uint64_t *len);
    /* Every leaf, by rising va.  False: there are more, of which fn has had enough or that nobody would wait for (tables
     * may lead to each other). */
    bool (*maps)(const CpuState *cpu, Space *mem, DebugMapFn *fn, void *self);
    const char *(*state)(const CpuState *cpu);                  /* "running", "halted" */
    /* Service without taking interrupts: delivers a recorded exception.  On the vCPU's thread. */
    bool (*settle)(CpuState *cpu);
    /* The guest's own, and what becomes of them; all on the vCPU's thread.  at_insn: before an instruction at a place that
     * TransReq.checks names; true: it does not run now, an exception is recorded or the vCPU stops.  watched: an access
     * to data that some point covers was made; whether it counts: then Target.service raises what follows after the
     * instruction.  faulted: an exception is recorded that the instruction at pc will be run again after. */
    unsigned (*points)(const CpuState *cpu, TargetPoint out[TARGET_POINTS]);
    bool (*at_insn)(CpuState *cpu, uint64_t va);
    bool (*watched)(CpuState *cpu, uint64_t va, unsigned len, bool write);
    bool (*faulted)(const CpuState *cpu);
} TargetDebug;

#endif
