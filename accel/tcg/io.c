/* SPDX-License-Identifier: GPL-2.0-or-later
 * Where slow paths leave the world of generated code: the shield that keeps its vector registers, device accesses,
 * look-ups in the memory map; and those hooks of the target that are not about guest memory. */
#include "accel/tcg/tcg_int.h"

#include <sys/random.h>
#include "tcg/hostop.h"
#include "util/log.h"

/* Calls fn(arg) with all vector registers and MXCSR as they are kept, under the host's own control word: whole ymm
 * registers where the host has them, since generated code may hold such and C libraries use what they find. */
#if defined(__x86_64__)
#define PAIR(op, n, at, m, at2) "    " op " %" #n ", " #at "(%rsp)\n" "    " op " %" #m ", " #at2 "(%rsp)\n"
#define BACK(op, n, at, m, at2) "    " op " " #at "(%rsp), %" #n "\n" "    " op " " #at2 "(%rsp), %" #m "\n"
#define ALL(how, op, r) \
    how(op, r##0, 0, r##1, 32) how(op, r##2, 64, r##3, 96) how(op, r##4, 128, r##5, 160) how(op, r##6, 192, r##7, 224) \
    how(op, r##8, 256, r##9, 288) how(op, r##10, 320, r##11, 352) how(op, r##12, 384, r##13, 416) \
    how(op, r##14, 448, r##15, 480)
#define SHIELD(name, save, restore, clean) \
    ".globl " name "\n" \
    ".type " name ", @function\n" \
    name ":\n" \
    "    push %rbp\n" \
    "    mov %rsp, %rbp\n" \
    "    sub $544, %rsp\n" \
    "    and $-32, %rsp\n" \
    save \
    "    stmxcsr 512(%rsp)\n" \
    "    mov %edx, 516(%rsp)\n" \
    "    ldmxcsr 516(%rsp)\n" \
    clean \
    "    mov %rdi, %rax\n" \
    "    mov %rsi, %rdi\n" \
    "    call *%rax\n" \
    "    ldmxcsr 512(%rsp)\n" \
    restore \
    "    leave\n" \
    "    ret\n" \
    ".size " name ", . - " name "\n"
typedef void ShieldFn(void (*fn)(void *arg), void *arg, uint32_t mxcsr);
ShieldFn fp_shield_xmm, fp_shield_ymm;
asm(".text\n"
    SHIELD("fp_shield_xmm", ALL(PAIR, "movaps", xmm), ALL(BACK, "movaps", xmm), "")
    SHIELD("fp_shield_ymm", ALL(PAIR, "vmovaps", ymm), ALL(BACK, "vmovaps", ymm), "    vzeroupper\n"));

/* Vectors are live here as well. */
__attribute__((target("general-regs-only"))) void fp_shield(void (*fn)(void *arg), void *arg, uint32_t mxcsr)
{
    (host_features() & HOST_AVX ? fp_shield_ymm : fp_shield_xmm)(fn, arg, mxcsr);
}
#else
void fp_shield(void (*fn)(void *arg), void *arg, uint32_t mxcsr) { fn(arg); }      /* the interpreter holds none */
#endif

/* --- devices */

/* A device may have raised an interrupt, or changed code by DMA: what was filed before the guest could see the
 * access's effect is acted upon at the next block head. */
static void after_io(TcgVcpu *v)
{
    if (vcpu_requested(&v->v))
        tcg_vcpu_interrupt(&v->v);
}

static void unassigned(IoReq *r, MemStatus st, MmuAccess acc)
{
    const Target *t = r->v->target;
    r->fault = st == MEM_UNASSIGNED && t->unassigned && !t->unassigned(r->v->cpu, r->pa, acc);
}

void io_load(void *req)
{
    IoReq *r = req;
    MemStatus st;
    r->value = space_load(r->v->mem, r->pa, r->size, &st);
    after_io(r->v);
    unassigned(r, st, ACC_READ);
}

void io_store(void *req)
{
    IoReq *r = req;
    MemStatus st = space_store(r->v->mem, r->pa, r->size, r->value);
    after_io(r->v);
    unassigned(r, st, ACC_WRITE);
}

static uint64_t port_load(CpuState *cpu, uint16_t port, unsigned size)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    v->st.io_loads++;
    uint64_t x = space_load(v->io, port, size, NULL);
    after_io(v);
    return x;
}

static void port_store(CpuState *cpu, uint16_t port, unsigned size, uint64_t x)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    v->st.io_stores++;
    space_store(v->io, port, size, x);
    after_io(v);
}

/* --- the target */

void misaligned(void *req)
{
    MisalignedReq *r = req;
    r->allowed = tcg_vcpu(r->cpu)->target->misaligned(r->cpu, r->va, r->memop);
}

/* --- memory map */

/* Remembers the run of whole RAM pages from the page of pa on. */
void window_fetch(void *req)
{
    WindowReq *r = req;
    TcgVcpu *v = r->v;
    MemSection sec;
    uint64_t page = r->pa & PAGE_MASK;
    r->found = NULL;
    if (!space_lookup(v->mem, page, &sec) || !sec.host || sec.len < PAGE_SIZE)
        return;
    if (((uintptr_t)sec.host & ~PAGE_MASK) || sec.ram_page + (sec.len >> PAGE_BITS) >= RAM_NONE)
        return;                                 /* mapped at an odd offset: the slow way serves */
    Window *w = &v->win[v->next_win++ % N_WINDOWS];
    for (unsigned i = 0; i < N_WINDOWS; i++)    /* a longer view of one that is there takes its place */
        if (v->win[i].len && page < v->win[i].pa && page + sec.len > v->win[i].pa)
            w = &v->win[i];
    *w = (Window){ page, sec.len & PAGE_MASK, sec.host, sec.ram_page, sec.readonly };
    r->found = w;
}

void dirty_req(void *req)
{
    DirtyReq *r = req;
    dirty_mark(r->v->ram, r->ram_page, 1);
}

/* --- hooks */

static void attention(CpuState *cpu)
{
    if (cpu->vcpu)
        tcg_vcpu_interrupt(cpu->vcpu);
}

static void attention_after(CpuState *cpu) { tcg_vcpu(cpu)->after_one = true; }

/* Guests measure interrupts by this time.  On a host that is late with timers (the loop's thread gets its turn after this
 * one) it must not show what is behind their deadlines and they not yet fired: the vCPU runs them before it goes on. */
static uint64_t now_ns(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    int64_t now = clock_now_ns(v->tcg->a.m.clock);
    if (G_UNLIKELY(now >= clock_next_ns(v->tcg->a.m.clock))) {
        v->timers_late = true;
        tcg_vcpu_interrupt(&v->v);
    }
    return now;
}

static uint64_t random64(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    uint64_t x;
    if (v->random_left < sizeof x) {
        if (getrandom(v->random, sizeof v->random, 0) != sizeof v->random)      /* never short up to 256 bytes */
            g_error("the host's getrandom() fails");
        v->random_left = sizeof v->random;
    }
    v->random_left -= sizeof x;
    __builtin_memcpy(&x, v->random + v->random_left, sizeof x);
    return x;
}

static void triple_fault(CpuState *cpu)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    if (log_on(LOG_INT | LOG_RESET)) {
        GString *s = g_string_new("triple fault\n");
        v->target->dump(cpu, s);
        log_write(s->str, s->len);
        g_string_free(s, TRUE);
    }
    v->dead = true;
    if (v->tcg->a.m.cpu_dead)
        v->tcg->a.m.cpu_dead(v->tcg->a.m.self, v->v.index);
    tcg_vcpu_interrupt(&v->v);
}

/* What is cached of the other view goes; code of both may stay: it is filed by RAM page. */
static void smm(CpuState *cpu, bool on)
{
    TcgVcpu *v = tcg_vcpu(cpu);
    Space *mem = v && on && v->tcg->a.m.smm ? v->tcg->a.m.smm : v ? v->tcg->a.m.mem : NULL;
    if (!v || mem == v->mem)
        return;
    v->mem = mem;
    tlb_remapped(v);
}

static bool single_insn(const CpuState *cpu) { return cpu->vcpu && ((TcgVcpu *)cpu->vcpu)->single; }

const CpuHooks tcg_hooks = {
    .tlb_select = tlb_hook_select,
    .tlb_flush = tlb_hook_flush,
    .tlb_flush_page = tlb_hook_flush_page,
    .load = mem_load,
    .store = mem_store,
    .host = mem_host,
    .probe = mem_probe,
    .attention = attention,
    .attention_after = attention_after,
    .now_ns = now_ns,
    .random64 = random64,
    .port_load = port_load,
    .port_store = port_store,
    .phys_load = mem_phys_load,
    .phys_cas = mem_phys_cas,
    .triple_fault = triple_fault,
    .smm = smm,
    .single_insn = single_insn,
    .cas = mem_cas,
    .relax = turn_relax,
    .debug_changed = debug_hook_changed,
    .break_at = debug_hook_break_at,
    .precise = debug_hook_precise,
};
