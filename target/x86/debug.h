/* SPDX-License-Identifier: GPL-2.0-or-later
 * The debug registers (debug.c) and the debugger's view of the CPU (gdb.c), as the rest of the target sees them. */
#ifndef RHEA_TARGET_X86_DEBUG_H
#define RHEA_TARGET_X86_DEBUG_H

#include "target/debug.h"
#include "target/x86/sys.h"

enum { DR_EXEC, DR_WRITE, DR_IO, DR_ACCESS };           /* R/W fields of DR7 */
enum { DR6_BD = 0x2000, DR6_BS = 0x4000, DR6_BT = 0x8000, DR7_GD = 0x2000, DEBUGCTL_BTF = 2 };

/* An instruction at linear address va is about to run; see TargetDebug.at_insn. */
bool x86_debug_insn(CpuState *s, uint64_t va);
unsigned x86_debug_points(const CpuState *s, TargetPoint out[TARGET_POINTS]);
bool x86_debug_watched(CpuState *s, uint64_t va, unsigned len, bool write);
bool x86_debug_faulted(const CpuState *s);
/* A port is about to be accessed.  False: the instruction is to fail now, it will be run again by itself. */
bool x86_debug_port(X86Cpu *c, uint16_t port, unsigned size);
bool x86_debug_service(X86Cpu *c);
bool x86_settle(CpuState *s);            /* trap.c: TargetDebug.settle */
void x86_debug_resume(X86Cpu *c);

extern const TargetDebug x86_debug;

#endif
