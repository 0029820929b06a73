/* SPDX-License-Identifier: GPL-2.0-or-later
 * Code shared by all regions: the way in and out, slow paths of memory accesses, faults.  Slow paths get
 * the address in r10 and the flags in r11d; C functions are compiled without vector registers (STYLE:
 * hot-y), so only the general registers that calls destroy are kept, in cpu->dump_gpr, where a fault needs
 * them anyway. */
#include "tcg/x86_64/x64.h"

enum {
    FP_CONTROL = offsetof(CpuState, fp_control) - CPU_BIAS,
    FP_HOST = offsetof(CpuState, fp_host) - CPU_BIAS,
};
static const uint8_t saved_by_us[] = { RBX, RBP, R12, R13, R14, R15 };

static int32_t dump_gpr(unsigned r) { return cpu_disp(offsetof(CpuState, dump_gpr) + 8 * r); }

static void move_gprs(Gen *g, bool save, uint32_t mask)
{
    for (; mask; mask &= mask - 1) {
        unsigned r = (unsigned)__builtin_ctz(mask);
        x64_cpu(g, (save ? 0x89 : 0x8b) | O_W, r, dump_gpr(r));
    }
}
static int32_t dump_vec(unsigned r) { return cpu_disp(offsetof(CpuState, dump_vec) + sizeof(V256) * r); }
static unsigned vector_bytes(const Gen *g) { return g->be->avx ? 32 : 16; }
static void dump_vectors(Gen *g)
{
    for (unsigned r = 0; r < 16; r++)
        host_store(g, dump_vec(r), FIRST_VEC + r, vector_bytes(g));
}

/* The run-time of a sanitizer, which instrumented code calls wherever it likes, does use vector registers. */
#if defined(__SANITIZE_ADDRESS__)
enum { KEEP_VECTORS = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { KEEP_VECTORS = 1 };
#else
enum { KEEP_VECTORS = 0 };
#endif
#else
enum { KEEP_VECTORS = 0 };
#endif

static uint32_t at(Gen *g)
{
    while (hot_at(g) % 16)
        x64_1(g, 0xcc);
    return hot_at(g);
}

/* The return address is the argument; everything else is dumped already but for the callee-saved ones. */
static void leave_with_return(Gen *g, unsigned reason)
{
    move_gprs(g, true, g->regs->all & g->regs->saved & GPRS);
    dump_vectors(g);
    x64_1(g, 0x58 | RDX);
    x64_mov_i(g, RAX, reason);
    x64_to_thunk(g, 0xe9, g->be->thunk.exit);
}

static uint32_t slow_path(Gen *g, const void *fn)
{
    uint32_t start = at(g), keep = g->regs->all & ~g->regs->saved & GPRS;
    move_gprs(g, true, keep);
    if (KEEP_VECTORS)
        dump_vectors(g);
    x64_rm(g, 0x8d | O_W, RDI, RBP, -CPU_BIAS);
    x64_mov(g, RSI, RTMP);
    x64_mov32(g, RDX, RTMP2);
    x64_alu_ri(g, true, ALU_SUB, RSP, 8);
    x64_mov_i(g, RAX, (uint64_t)(uintptr_t)fn);
    x64_rr(g, 0xff, 2, RAX);
    x64_alu_ri(g, true, ALU_ADD, RSP, 8);
    for (unsigned r = 0; KEEP_VECTORS && r < 16; r++)
        host_load(g, FIRST_VEC + r, dump_vec(r), vector_bytes(g));
    x64_rr(g, 0x85, RAX, RAX);
    x64_1(g, 0x0f);
    x64_1(g, 0x80 | CC_NE);
    uint8_t *jump = g->p;
    x64_4(g, 0);
    move_gprs(g, false, keep);
    x64_1(g, 0xc3);
    uint32_t rel = (uint32_t)(g->p - jump - 4);
    memcpy(jump, &rel, 4);
    leave_with_return(g, EXITR_FAULT);
    return start;
}

size_t x64_make_thunks(Backend *be, Gen *g)
{
    Thunks *t = &be->thunk;

    t->lookup = at(g);
    x64_mov_i(g, RAX, EXITR_LOOKUP);
    t->exit = hot_at(g);
    if (be->avx)
        x64_zero_upper(g);
    x64_cpu(g, 0xae | O_0F, 3, FP_CONTROL);
    x64_cpu(g, 0xae | O_0F, 2, FP_HOST);
    x64_cpu(g, 0x8b | O_W, RSP, cpu_disp(offsetof(CpuState, host_sp)));
    for (unsigned k = ARRAY_LEN(saved_by_us); k-- > 0;)
        x64_prefixes(g, 0x58 | (saved_by_us[k] & 7), 0, 0, saved_by_us[k]);
    x64_1(g, 0xc3);

    t->empty = at(g);
    x64_cpu(g, 0x8b | O_W, RSP, cpu_disp(offsetof(CpuState, returns)));
    t->look_up = hot_at(g);
    x64_cpu(g, 0x8b | O_W, RTMP2, cpu_disp(PC_OFFSET));
    x64_look_up(g);

    t->enter = at(g);
    for (unsigned k = 0; k < ARRAY_LEN(saved_by_us); k++)
        x64_prefixes(g, 0x50 | (saved_by_us[k] & 7), 0, 0, saved_by_us[k]);
    x64_rm(g, 0x8d | O_W, RBP, RDI, CPU_BIAS);
    x64_cpu(g, 0x89 | O_W, RSP, cpu_disp(offsetof(CpuState, host_sp)));
    x64_alu_ri(g, true, ALU_AND, RSP, -RETURNS_LEN);
    x64_1(g, 0x6a);                     /* push 0 */
    x64_1(g, 0);
    x64_prefixes(g, 0x8d | O_W, RAX, 0, 0);
    x64_1(g, 5);                        /* lea rax, [rip + ...] */
    x64_fix(g, FIX_MEM, t->empty);
    x64_1(g, 0x50 | RAX);
    x64_cpu(g, 0x89 | O_W, RSP, cpu_disp(offsetof(CpuState, returns)));
    x64_cpu(g, 0xae | O_0F, 2, FP_CONTROL);
    x64_cpu(g, 0x8b | O_W, RCTX, cpu_disp(offsetof(CpuState, ctx)));
    x64_rr(g, 0xff, 4, RSI);

    t->link = at(g);
    x64_1(g, 0x58 | RDX);
    x64_mov_i(g, RAX, EXITR_LINK);
    x64_to_thunk(g, 0xe9, t->exit);

    t->fault = at(g);
    leave_with_return(g, EXITR_FAULT);
    t->raise = at(g);
    move_gprs(g, true, g->regs->all & ~g->regs->saved & GPRS);
    leave_with_return(g, EXITR_RAISE);

    t->load = slow_path(g, (const void *)be->ops.load);
    t->store = slow_path(g, (const void *)be->ops.store);
    t->atomic = slow_path(g, (const void *)be->ops.atomic);
    at(g);
    return hot_at(g);
}
