/* SPDX-License-Identifier: GPL-2.0-or-later
 * The debug registers: instruction, data and I/O breakpoints, and when their #DB comes.
 * Sources: SDM vol. 3, chapter 17 (17.2 registers, 17.3 exceptions), 6.8.3 (MOV SS), table 6-2 (priorities).
 *
 * Instruction breakpoints are faults: the accelerator has a check compiled before each instruction that lies at a
 * place where somebody has one (CpuHooks.debug_changed), which comes here.  Data and I/O breakpoints are traps: the
 * instruction runs by itself, what it hit gathers in trap_dr6, and x86_service() raises the #DB behind it.
 *
 * RF holds breakpoints off for one instruction.  While there is none it has no effect and is dropped as soon as it is
 * loaded; else the instruction that it is for runs by itself and x86_service() clears it (x86_flags_loaded()). */
#include "target/x86/debug.h"

static bool enabled(const X86Cpu *c, unsigned i) { return c->dr[7] >> 2 * i & 3; }
static unsigned kind(const X86Cpu *c, unsigned i) { return c->dr[7] >> (16 + 4 * i) & 3; }
static unsigned length(const X86Cpu *c, unsigned i)
{
    static const uint8_t len[] = { 1, 2, 8, 4 };
    return len[c->dr[7] >> (18 + 4 * i) & 3];
}
/* Low bits that the length covers are not looked at (17.2.5). */
static uint64_t start(const X86Cpu *c, unsigned i)
{
    uint64_t at = c->dr[i] & ~(uint64_t)(length(c, i) - 1);
    return x86_long(c) ? at : (uint32_t)at;
}

void x86_debug_changed(X86Cpu *c)
{
    c->dr_exec = c->dr_data = c->dr_io = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned k = kind(c, i), bit = 1u << i;
        if (!enabled(c, i))
            continue;
        if (k == DR_EXEC)
            c->dr_exec |= bit;
        else if (k != DR_IO)
            c->dr_data |= bit;
        else if (c->cr4 & CR4_DE)
            c->dr_io |= bit;
    }
    if (c->hooks->debug_changed)
        c->hooks->debug_changed(&c->s);
}

unsigned x86_debug_points(const CpuState *s, TargetPoint out[TARGET_POINTS])
{
    const X86Cpu *c = (const X86Cpu *)s;
    unsigned n = 0;
    for (unsigned i = 0; i < 4; i++) {
        if ((c->dr_exec | c->dr_data) >> i & 1)
            out[n++] = (TargetPoint){ start(c, i), length(c, i), c->dr_exec >> i & 1, kind(c, i) == DR_ACCESS,
                                      c->dr_data >> i & 1 };
    }
    return n;
}

bool x86_debug_insn(CpuState *s, uint64_t va)
{
    X86Cpu *c = x86_cpu(s);
    if (c->hooks->break_at && c->hooks->break_at(s, va))
        return true;
    if (!c->dr_exec || (*x86_flags(c) & FL_RF) || (c->shadow & SHADOW_SS) || c->no_break || c->rep_inside)
        return false;
    unsigned hit = 0;
    for (unsigned i = 0; i < 4; i++)
        if (c->dr_exec >> i & 1 && start(c, i) == va)
            hit |= 1u << i;
    if (!hit)
        return false;
    c->exc_dr6 |= hit;
    x86_raise(c, EXC_DB, 0);
    return true;
}

/* The conditions of breakpoints that are not enabled show too, once one that is has hit (17.2.3). */
static unsigned data_hits(const X86Cpu *c, uint64_t va, unsigned len, bool write)
{
    unsigned hit = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t at = start(c, i);
        bool concerns = kind(c, i) == DR_ACCESS || (kind(c, i) == DR_WRITE && write);
        if (concerns && (va - at < length(c, i) || at - va < len))
            hit |= 1u << i;
    }
    return hit & c->dr_data ? hit : 0;
}

bool x86_debug_watched(CpuState *s, uint64_t va, unsigned len, bool write)
{
    X86Cpu *c = x86_cpu(s);
    unsigned hit = data_hits(c, va, len, write);
    c->trap_dr6 |= hit;
    return hit;
}

/* #DB as a fault comes before all accesses. */
bool x86_debug_faulted(const CpuState *s)
{
    const X86Cpu *c = (const X86Cpu *)s;
    return c->exc_pending && c->exc_vector != EXC_DB;
}

bool x86_debug_port(X86Cpu *c, uint16_t port, unsigned size)
{
    unsigned hit = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned at = c->dr[i] & 0xffff & ~(length(c, i) - 1);
        if (kind(c, i) == DR_IO && port < at + length(c, i) && at < port + size)
            hit |= 1u << i;
    }
    if (!(hit & c->dr_io))
        return true;
    if (!c->hooks->precise(&c->s))
        return false;
    c->trap_dr6 |= hit;
    return true;
}

void x86_debug_task_trap(X86Cpu *c)
{
    c->trap_dr6 |= DR6_BT;
    c->hooks->attention(&c->s);
}

void x86_flags_loaded(X86Cpu *c)
{
    bool rf = *x86_flags(c) & FL_RF;
    if ((rf && c->dr_exec) || x86_virtual_interrupt(c))
        c->hooks->attention(&c->s);
    if (rf && !c->dr_exec && c->hooks->debug_changed)   /* else a processor keeps it */
        *x86_flags(c) &= ~(uint64_t)FL_RF;
}

/* What x86_service() does before it looks for interrupts.  True: an instruction in the shadow of MOV SS goes first, and
 * traps wait for it (6.8.3). */
bool x86_debug_service(X86Cpu *c)
{
    c->no_break = false;
    if (G_UNLIKELY(*x86_flags(c) & FL_RF)) {
        if (c->rf_done && !c->exc_pending)
            *x86_flags(c) &= ~(uint64_t)FL_RF;
        c->rf_done = false;
    }
    if (G_LIKELY(!c->trap_dr6))
        return false;
    if (x86_debug_faulted(&c->s)) {
        c->trap_dr6 &= DR6_BT;          /* the access was part of an instruction that faults and will come again */
        return false;
    }
    if (c->shadow & SHADOW_SS)
        return true;
    c->exc_dr6 |= c->trap_dr6;
    c->trap_dr6 = 0;
    x86_raise(c, EXC_DB, 0);
    return false;
}

/* Behind it: the next instruction has RF set and must run by itself. */
void x86_debug_resume(X86Cpu *c)
{
    if (G_UNLIKELY(*x86_flags(c) & FL_RF) && !c->halted) {
        c->rf_done = true;
        c->hooks->attention_after(&c->s);
    }
}
