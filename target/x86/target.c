/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86 CPU as the tcg accelerator sees it. */
#include <capstone/capstone.h>

#include "target/x86/debug.h"
#include "target/x86/translate.h"

static uint32_t mode_key(const CpuState *s) { return s->mode_tag >> 48; }

static uint64_t code_va(const CpuState *s, uint64_t pc)
{
    const X86Cpu *c = (const X86Cpu *)s;
    return x86_code64(c) ? pc : (uint32_t)(s->hot[22 + CS] + pc);
}

static int capstone_mode(const CpuState *s, uint32_t mode)
{
    (void)s;
    return (mode & MODE_CS) == MODE_CS64   ? CS_MODE_64
           : (mode & MODE_CS) == MODE_CS32 ? CS_MODE_32
                                           : CS_MODE_16;
}

/* Only accesses that must be aligned come here: SSE's 16-byte operands, and all under MODE_AC. */
static bool misaligned(CpuState *s, uint64_t va, unsigned memop)
{
    (void)va;
    x86_raise(x86_cpu(s), mo_bytes(memop) < 16 ? EXC_AC : EXC_GP, 0);
    return false;
}

static bool unassigned(CpuState *s, uint64_t pa, MmuAccess acc)
{
    (void)s, (void)pa, (void)acc;
    return true;                        /* reads give ones, writes are lost */
}

static void raise_exception(CpuState *s, unsigned vector, uint32_t error)
{
    x86_raise(x86_cpu(s), vector, error);
}

static void leave(CpuState *s, uint64_t reason)
{
    (void)s, (void)reason;              /* there are no such exits */
}

const Target x86_target = {
    .name = "x86_64",
    .slots = &x86_slots,
    .cpu_size = sizeof(X86Cpu),
    .cs_arch = CS_ARCH_X86,
    .cs_mode = capstone_mode,
    .mode_key = mode_key,
    .code_va = code_va,
    .translate = x86_translate,
    .mmu = x86_mmu,
    .misaligned = misaligned,
    .unassigned = unassigned,
    .raise = raise_exception,
    .service = x86_service,
    .leave = leave,
    .dump = x86_dump,
    .debug = &x86_debug,
};
