/* SPDX-License-Identifier: GPL-2.0-or-later
 * Random user-level instruction sequences, made from the translator's own rows, run (a) on the host processor, (b) by
 * the IR interpreter, plain and optimised, (c) compiled.  Registers, flags, vectors, x87 state, memory and the
 * exception must agree.  Flags that the manuals leave undefined are followed through the sequence: they are not
 * compared, and instructions that read them are not generated.
 *
 *
 *     insn_x86 --minutes 10 --seed 7 [--row "0F AF"]       prints minimal reproducers; --verbose: their IR as well
 *
 * The sandbox is mapped at one address that native and guest code share, so addresses need no translation.  Host
 * signals give the processor's exception vector.  Globals: the native register file, which assembly reaches
 * pc-relative, and what the signal handler needs. */
#include <capstone/capstone.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/ldt.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "config.h"
#include "tcg/backend.h"
#include "tcg/build_int.h"
#include "target/x86/sys.h"
#include "tcg/hostop.h"
#include "tests/fuzz/insn_x86.h"

/* --- native */

uint64_t fuzz_gpr[16], fuzz_flags, fuzz_host_sp, fuzz_data_sel;
struct { uint32_t offset; uint16_t selector; } __attribute__((packed, aligned(8))) fuzz_entry;  /* far pointer */
Fx fuzz_fx;
/* Whole vector registers, where the host has them; what is not ymm comes from fuzz_fx. */
V256 fuzz_ymm[16];
uint8_t fuzz_avx;
void fuzz_enter(void);
extern const char fuzz_exit[], fuzz_resume[];

__asm__(".text\n"
        ".globl fuzz_enter, fuzz_exit, fuzz_resume\n"
        "fuzz_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, fuzz_host_sp(%rip)\n"
        "    mov fuzz_data_sel(%rip), %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %ss\n"
        "    fxrstor64 fuzz_fx(%rip)\n"
        "    cmpb $0, fuzz_avx(%rip)\n"
        "    je 1f\n"
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "    vmovups fuzz_ymm+32*\\n(%rip), %ymm\\n\n"
        ".endr\n"
        "1:\n"
        "    pushq fuzz_flags(%rip); popfq\n"
        "    mov fuzz_gpr(%rip), %rax;      mov fuzz_gpr+8(%rip), %rcx;   mov fuzz_gpr+16(%rip), %rdx\n"
        "    mov fuzz_gpr+24(%rip), %rbx;   mov fuzz_gpr+32(%rip), %rsp;  mov fuzz_gpr+40(%rip), %rbp\n"
        "    mov fuzz_gpr+48(%rip), %rsi;   mov fuzz_gpr+56(%rip), %rdi;  mov fuzz_gpr+64(%rip), %r8\n"
        "    mov fuzz_gpr+72(%rip), %r9;    mov fuzz_gpr+80(%rip), %r10;  mov fuzz_gpr+88(%rip), %r11\n"
        "    mov fuzz_gpr+96(%rip), %r12;   mov fuzz_gpr+104(%rip), %r13; mov fuzz_gpr+112(%rip), %r14\n"
        "    mov fuzz_gpr+120(%rip), %r15\n"
        "    ljmpl *fuzz_entry(%rip)\n"
        "fuzz_exit:\n"
        "    mov %rax, fuzz_gpr(%rip);      mov %rcx, fuzz_gpr+8(%rip);   mov %rdx, fuzz_gpr+16(%rip)\n"
        "    mov %rbx, fuzz_gpr+24(%rip);   mov %rsp, fuzz_gpr+32(%rip);  mov %rbp, fuzz_gpr+40(%rip)\n"
        "    mov %rsi, fuzz_gpr+48(%rip);   mov %rdi, fuzz_gpr+56(%rip);  mov %r8, fuzz_gpr+64(%rip)\n"
        "    mov %r9, fuzz_gpr+72(%rip);    mov %r10, fuzz_gpr+80(%rip);  mov %r11, fuzz_gpr+88(%rip)\n"
        "    mov %r12, fuzz_gpr+96(%rip);   mov %r13, fuzz_gpr+104(%rip); mov %r14, fuzz_gpr+112(%rip)\n"
        "    mov %r15, fuzz_gpr+120(%rip)\n"
        "    mov fuzz_host_sp(%rip), %rsp\n"
        "    pushfq; popq fuzz_flags(%rip)\n"
        "    pushq $2; popfq\n"                /* AC is not for C */
        "    mov $0x2b, %eax; mov %eax, %ss\n"
        "    fxsave64 fuzz_fx(%rip)\n"
        "    cmpb $0, fuzz_avx(%rip)\n"
        "    je fuzz_resume\n"
        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
        "    vmovups %ymm\\n, fuzz_ymm+32*\\n(%rip)\n"
        ".endr\n"
        "    vzeroupper\n"
        "fuzz_resume:\n"
        "    cld\n"
        "    fninit\n"
        "    push $0x1f80; ldmxcsr (%rsp); pop %rax\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n");

static uint8_t *code_rw;
static State *native_out;       /* where the handler puts the state of a fault */

static void on_signal(int sig, siginfo_t *info, void *context)
{
    __asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" : : : "memory", "cc");    /* AC is not for C */
    static const uint8_t order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                       REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    if (!native_out) {
        signal(sig, SIG_DFL);
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        native_out->gpr[i] = g[order[i]];
    native_out->flags = g[REG_EFL];
    native_out->pc = g[REG_RIP];
    /* #SS for a non-canonical address is told from #GP by x86_service(), which does not run here */
    native_out->vector = g[REG_TRAPNO] == EXC_SS && g[REG_CSGSFS] >> 48 == USER_DATA ? EXC_GP : g[REG_TRAPNO];
    memcpy(&native_out->fx, uc->uc_mcontext.fpregs, sizeof(Fx));
    /* Linux: the signal frame is an XSAVE area, in the standard format; a component that it leaves out is zero. */
    enum { XSTATE_BV = 512, YMM_HIGH = 576 };
    const uint8_t *area = (const uint8_t *)uc->uc_mcontext.fpregs;
    memset(native_out->ymmh, 0, sizeof native_out->ymmh);
    if (fuzz_avx && area[XSTATE_BV] & XCR0_AVX)
        memcpy(native_out->ymmh, area + YMM_HIGH, sizeof native_out->ymmh);
    g[REG_RIP] = (uintptr_t)fuzz_resume;
    g[REG_RSP] = fuzz_host_sp;
    g[REG_EFL] &= ~(greg_t)(FL_DF | FL_TF | FL_AC);
    g[REG_CSGSFS] = (g[REG_CSGSFS] & 0xffffffff0000) | USER_CS64 | (greg_t)USER_DATA << 48;
}

static void native_init(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
    static uint8_t stack[65536];
    stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack };
    sigaltstack(&ss, NULL);
    struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &sa, NULL);
}

static void map_sandbox(void)
{
    uint8_t *p = mmap((void *)(uintptr_t)SANDBOX, SANDBOX_LEN + READ_ONLY_LEN, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    for (unsigned i = 0; p != MAP_FAILED && i < READ_ONLY_LEN; i++)
        p[SANDBOX_LEN + i] = i * 7 + i / 256;
    if (p == MAP_FAILED || mprotect(p + SANDBOX_LEN, READ_ONLY_LEN, PROT_READ) < 0) {
        perror("insn_x86: mmap");
        exit(1);
    }
}

/* Two views of one memory: code is not writable where it runs. */
static void map_code(void)
{
    int fd = memfd_create("insn_x86", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, CODE_LEN))
        exit(1);
    code_rw = mmap(NULL, CODE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *p = mmap((void *)(uintptr_t)CODE, CODE_LEN, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (code_rw == MAP_FAILED || p == MAP_FAILED) {
        perror("insn_x86: mmap");
        exit(1);
    }
    close(fd);
}

static void run_native(const State *in, State *out, unsigned start, uint64_t end)
{
    memcpy((void *)(uintptr_t)SANDBOX, in->mem, SANDBOX_LEN);
    memcpy(fuzz_gpr, in->gpr, sizeof fuzz_gpr);
    fuzz_flags = in->flags | FL_1 | FL_IF;
    fuzz_fx = in->fx;
    for (unsigned i = 0; i < 16; i++)
        fuzz_ymm[i] = (V256){ { in->fx.xmm[i], in->ymmh[i] } };
    fuzz_entry.offset = CODE + start;
    fuzz_data_sel = in->limits ? in->limits << 3 | 7 : USER_DATA;      /* in the LDT: see segments_init() */
    fuzz_entry.selector = in->code32 ? USER_CS32 : USER_CS64;
    out->vector = -1;
    native_out = out;
    fuzz_enter();
    native_out = NULL;
    if (out->vector < 0) {
        memcpy(out->gpr, fuzz_gpr, sizeof fuzz_gpr);
        out->flags = fuzz_flags;
        out->fx = fuzz_fx;
        for (unsigned i = 0; i < 16; i++)
            out->ymmh[i] = fuzz_ymm[i].v[1];
        out->pc = end;
    }
    memcpy(out->mem, (void *)(uintptr_t)SANDBOX, SANDBOX_LEN);
}

/* --- the guest: flat memory that is the sandbox */

/* Called with guest vectors live in host registers: no FP, no library functions. */
#define SLOW __attribute__((target("general-regs-only")))

static SLOW bool in_sandbox(uint64_t va, uint64_t len, bool write)
{
    uint64_t room = write ? SANDBOX_LEN : SANDBOX_LEN + READ_ONLY_LEN;
    if (va - SANDBOX < room && va - SANDBOX + len <= room)
        return true;
    return !write && va - CODE < CODE_LEN && va - CODE + len <= CODE_LEN;
}

static SLOW bool reach(CpuState *s, uint64_t va, uint64_t len, bool write)
{
    if (in_sandbox(va, len, write))
        return true;
    bool canonical = (uint64_t)((int64_t)(va << 16) >> 16) == va &&
                     (uint64_t)((int64_t)((va + len - 1) << 16) >> 16) == va + len - 1;
    x86_raise(x86_cpu(s), canonical ? EXC_PF : EXC_GP, 0);
    return false;
}

static SLOW bool aligned(CpuState *s, uint64_t va, uint32_t memop)
{
    return !(memop & MO_ALIGN) || !(va & (mo_bytes(memop) - 1)) || x86_target.misaligned(s, va, memop);
}

static SLOW void copy(volatile void *to, const volatile void *from, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        ((volatile uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
}

static SLOW int slow_load(CpuState *s, uint64_t va, uint32_t memop)
{
    unsigned len = mo_bytes(memop);
    if (!aligned(s, va, memop) || !reach(s, va, len, memop & MO_RMW))
        return 1;
    s->scratch[0] = s->scratch[1] = s->scratch[2] = s->scratch[3] = 0;
    copy(s->scratch, (void *)(uintptr_t)va, len);
    return 0;
}

static SLOW int slow_store(CpuState *s, uint64_t va, uint32_t memop)
{
    unsigned len = mo_bytes(memop);
    if (!aligned(s, va, memop) || !reach(s, va, len, true))
        return 1;
    copy((void *)(uintptr_t)va, s->scratch, len);
    return 0;
}

static SLOW int slow_atomic(CpuState *s, uint64_t va, uint32_t flags)
{
    unsigned len = mo_bytes(flags);
    uint64_t old = 0, v = s->scratch[0], m = len == 8 ? ~0ull : (1ull << len * 8) - 1;
    if (!aligned(s, va, flags & 0xffff) || !reach(s, va, len, true))
        return 1;
    copy(&old, (void *)(uintptr_t)va, len);
    switch (ATOMIC_OP(flags)) {
    case AT_ADD: v += old; break;
    case AT_AND: v &= old; break;
    case AT_OR:  v |= old; break;
    case AT_XOR: v ^= old; break;
    case AT_CAS: v = (old & m) == (v & m) ? s->scratch[1] : old; break;
    }
    copy((void *)(uintptr_t)va, &v, len);
    s->helper_ret = old;
    return 0;
}

static const SlowOps slow_ops = { slow_load, slow_store, slow_atomic, NULL };

static bool hook_load(CpuState *s, uint64_t va, unsigned size, int view, uint64_t *v)
{
    if (!reach(s, va, size, false))
        return false;
    *v = 0;
    memcpy(v, (void *)(uintptr_t)va, size);
    return true;
}

static bool hook_store(CpuState *s, uint64_t va, unsigned size, int view, uint64_t v)
{
    if (!reach(s, va, size, true))
        return false;
    memcpy((void *)(uintptr_t)va, &v, size);
    return true;
}

static void *hook_host(CpuState *s, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    return in_sandbox(va, len, acc == ACC_WRITE) ? (void *)(uintptr_t)va : NULL;
}

static bool hook_probe(CpuState *s, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    return reach(s, va, len, acc == ACC_WRITE);
}

static bool hook_cas(CpuState *s, uint64_t va, unsigned size, uint64_t old[2], const uint64_t new_[2])
{
    uint64_t now[2];
    if (!reach(s, va, size, true))
        return false;
    memcpy(now, (void *)(uintptr_t)va, size);
    if (!memcmp(now, old, size))
        memcpy((void *)(uintptr_t)va, new_, size);
    memcpy(old, now, size);
    return true;
}

static void hook_nothing(CpuState *s) { }
static void hook_select(CpuState *s, uint32_t asid, unsigned view) { }

static const CpuHooks hooks = {
    .load = hook_load, .store = hook_store, .host = hook_host, .probe = hook_probe, .attention = hook_nothing,
    .tlb_select = hook_select, .cas = hook_cas,
};

static void fx_to_cpu(X86Cpu *c, const Fx *fx)
{
    unsigned top = fx->fsw >> 11 & 7;
    for (unsigned i = 0; i < 16; i++)
        c->ymm[i].lo = fx->xmm[i];
    c->mxcsr = fx->mxcsr;
    c->fcw = fx->fcw;
    c->fsw = fx->fsw & ~(7 << 11);
    c->fpu_top = top;
    c->fpu_empty = ~fx->ftw;
    for (unsigned i = 0; i < 8; i++) {
        c->fpr[(top + i) & 7].mant = fx->st[i].mant;
        c->fpr[(top + i) & 7].exp = fx->st[i].exp;
    }
}

static void cpu_to_fx(X86Cpu *c, Fx *fx)
{
    memset(fx, 0, sizeof *fx);
    for (unsigned i = 0; i < 16; i++)
        fx->xmm[i] = c->ymm[i].lo;
    fx->mxcsr = x86_mxcsr(c);
    fx->fcw = c->fcw;
    fx->fsw = (c->fsw & ~(7 << 11)) | c->fpu_top << 11;
    fx->ftw = ~c->fpu_empty;
    for (unsigned i = 0; i < 8; i++) {
        fx->st[i].mant = c->fpr[(c->fpu_top + i) & 7].mant;
        fx->st[i].exp = c->fpr[(c->fpu_top + i) & 7].exp;
    }
}

typedef enum Engine { INTERP_PLAIN, INTERP_OPT, COMPILED, COMPILED_RANDOM, N_ENGINES } Engine;
static const char *const engine_name[N_ENGINES] = {
    "interpreted without folding", "interpreted", "compiled", "compiled with random registers",
};

typedef struct Guest {
    X86Cpu  *c;
    Ir      *ir, *plain;
    Interp  *in;
    Backend *be[N_ENGINES];
    CodeMemory mem[N_ENGINES];
    size_t   at[N_ENGINES], start[N_ENGINES];   /* of code not yet thrown away */
    TlbContext *ctx;
    bool     print;
} Guest;

static void open_backend(Guest *g, Engine e)
{
    BackendOptions o = { .random_registers = e == COMPILED_RANDOM, .seed = 1 };
    CodeMemory *m = &g->mem[e];
    m->size = 1 << 20;
    m->rw = mmap(NULL, m->size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->rw == MAP_FAILED) {
        perror("insn_x86: mmap");
        exit(1);
    }
    m->rx = m->rw;
    g->be[e] = backend_new(&slow_ops, &o, *m, &g->start[e]);
    g->at[e] = g->start[e];
}

/* Half of the sandbox is in the TLB, so that accesses straddle from the inline path to the slow one. */
static void open_context(Guest *g)
{
    g->ctx = g_aligned_alloc0(1, sizeof *g->ctx, PAGE_SIZE);
    for (unsigned i = 0; i < TLB_SIZE; i++)
        g->ctx->tlb[i] = (TlbEntry){ TLB_EMPTY, TLB_EMPTY, 0, 0 };
    for (unsigned i = 0; i < JUMP_SIZE; i++)
        g->ctx->jump[i] = (JumpEntry){ jump_empty(i), NULL };
    for (unsigned i = 0; i < SANDBOX_LEN / PAGE_SIZE; i += 2) {
        uint64_t page = SANDBOX + i * PAGE_SIZE;
        g->ctx->tlb[tlb_index(page)] = (TlbEntry){ page, page, 0, 0 };
    }
    g->ctx->tlb[tlb_index(SANDBOX + SANDBOX_LEN)] = (TlbEntry){ SANDBOX + SANDBOX_LEN, TLB_EMPTY, 0, 0 };
    g->c->s.ctx = g->ctx;
}

static bool more(TransReq *req)
{
    req->code = memcpy(req->buf, req->code, MIN(req->first_len + 16, sizeof req->buf));
    return true;
}

static uint32_t mode_bits(const X86Cpu *c, const State *in)
{
    bool unmasked = (~c->mxcsr >> 7 & 0x3f) != 0;
    return (in->code32 ? MODE_CS32 | MODE_SS32 : MODE_CS64) | 3 << MODE_CPL_SHIFT | (unmasked ? MODE_FPEXC : 0) |
           (in->limits ? MODE_BASES | MODE_LIMITS : 0) | (in->flags & FL_AC ? MODE_AC : 0);
}

static void load_segments(X86Cpu *c, unsigned limits)
{
    static const uint8_t data[] = { ES, SS, DS };
    const FuzzLimit *l = &fuzz_limits[limits];
    for (unsigned i = 0; i < N_SEGS; i++)
        x86_set_seg_flat(c, i, 0x2b, SEG_P | SEG_S | SEG_DB | (i == CS ? 0xb00 : 0x300) | 3 << SEG_DPL_SHIFT);
    for (unsigned i = 0; limits && i < sizeof data; i++) {
        c->seg[data[i]].limit = l->limit;
        c->seg[data[i]].attr |= l->down ? DESC_C : 0;
        *x86_seg_base(c, data[i]) = SANDBOX;
    }
}

static CpuExit run_block(Guest *g, Engine e, uint64_t pc, uint64_t end, uint32_t mode)
{
    TransReq req = { .cpu = &g->c->s, .pc = pc, .mode = mode, .max_insns = 64, .code = (uint8_t *)(uintptr_t)pc,
                     .first_len = MIN(end - pc, PAGE_SIZE - pc % PAGE_SIZE), .more = more };
    Ir *ir = e == INTERP_PLAIN ? g->plain : g->ir;
    ir_reset(ir);
    ir->entry_page_off = pc & (PAGE_SIZE - 1);
    x86_translate(ir, &req);
    if (e != INTERP_PLAIN)
        ir_pass_dead(ir);
    g_autofree char *wrong = ir_verify(ir);
    if (wrong || g->print) {
        GString *text = g_string_new(NULL);
        ir_print(ir, text);
        printf("%s\n%s\n", text->str, wrong ? wrong : "");
        g_string_free(text, TRUE);
    }
    if (e < COMPILED)
        return interp_run(g->in, &g->c->s, ir);
    CodeBlock cb;
    if (!backend_compile(g->be[e], ir, g->at[e], g->mem[e].size - g->at[e], &cb)) {
        g->at[e] = g->start[e];
        if (!backend_compile(g->be[e], ir, g->at[e], g->mem[e].size - g->at[e], &cb)) {
            printf("insn_x86: does not fit\n");
            exit(1);
        }
    }
    g->at[e] = (g->at[e] + cb.total_len + 63) & ~(size_t)63;
    CpuExit x = backend_enter(g->be[e], &g->c->s, cb.code);
    if (x.reason == EXITR_FAULT)
        backend_restore(g->be[e], &g->c->s, &cb, x.arg);
    return x;
}

static void run_guest(Guest *g, Engine e, const State *in, State *out, unsigned start, uint64_t end)
{
    X86Cpu *c = g->c;
    memcpy((void *)(uintptr_t)SANDBOX, in->mem, SANDBOX_LEN);
    memcpy(c->s.hot, in->gpr, sizeof in->gpr);
    c->s.hot[X_PC] = CODE + start;
    load_segments(c, in->limits);
    c->s.hot[X_EFLAGS - 1] = FL_1;
    x86_set_eflags(c, in->flags, FUZZ_FLAGS | FL_AC);
    fx_to_cpu(c, &in->fx);
    for (unsigned i = 0; i < 16; i++)
        c->ymm[i].hi = in->ymmh[i];
    x86_set_mxcsr(c, in->fx.mxcsr);
    c->s.fp_host = 0x1f80;
    c->exc_pending = false;
    out->vector = -1;
    for (unsigned n = 0; c->s.hot[X_PC] != end && n < MAX_BLOCKS; n++) {
        c->s.countdown = 1 << 20;
        uint64_t pc = c->s.hot[X_PC];
        if (pc < CODE || pc > end) {
            out->vector = EXC_PF;
            break;
        }
        uint32_t mode = mode_bits(c, in);
        c->s.mode_tag = (uint64_t)mode << 48;
        CpuExit x = run_block(g, e, pc, end, mode);
        if (x.reason == EXITR_RAISE) {
            out->vector = x.arg & 0xff;
            break;
        }
        if (x.reason == EXITR_FAULT) {
            out->vector = c->exc_pending ? c->exc_vector : 255;
            break;
        }
    }
    memcpy(out->gpr, c->s.hot, sizeof out->gpr);
    out->pc = c->s.hot[X_PC];
    out->flags = x86_eflags(c);
    cpu_to_fx(c, &out->fx);
    for (unsigned i = 0; i < 16; i++)
        out->ymmh[i] = c->ymm[i].hi;
    memcpy(out->mem, (void *)(uintptr_t)SANDBOX, SANDBOX_LEN);
}

/* --- cases */

typedef struct Options {
    uint64_t cases, seed;
    double minutes;
    const char *row;
    bool verbose, interpret, tap;
} Options;

typedef struct Fuzz {
    Options  opt;
    const X86Dec *dec;
    unsigned n_dec, n_pool, *pool;
    uint64_t *hits, *ok;
    Guest    g;
    bool     compat;            /* the host runs 32-bit code */
    bool     segments;          /* and with segments of ours */
    unsigned engines;           /* to run, by bit */
    unsigned job, jobs;         /* this process's share of the cases */
    csh      cs, cs32;
} Fuzz;

/* Jumps that disturb no register: to CODE + EXIT_AT, from there on to fuzz_exit. */
static void put_jump(uint8_t *code, unsigned at, bool code32)
{
    static const uint8_t indirect[6] = { 0xff, 0x25, 2 };
    uint64_t to = (uintptr_t)fuzz_exit;
    memcpy(code + EXIT_AT, indirect, 6);
    memcpy(code + EXIT_AT + 8, &to, 8);         /* aligned, for AC */
    uint32_t low = code32 ? CODE + EXIT_AT : EXIT_AT - (at + 5);
    uint16_t selector = USER_CS64;
    code[at] = code32 ? 0xea : 0xe9;
    memcpy(code + at + 1, &low, 4);
    memcpy(code + at + 5, &selector, 2);
}

static void lay_out(Case *c)
{
    uint8_t *code = code_rw;
    unsigned at = c->start;
    for (unsigned i = 0; i < c->n; i++) {
        c->off[i] = at;
        at += c->insn[i].len;
    }
    c->off[c->n] = at;
    for (unsigned i = 0; i < c->n; i++) {
        Insn *in = &c->insn[i];
        memcpy(code + c->off[i], in->b, in->len);
        if (in->disp_at) {       /* branches skip the next instruction */
            unsigned skip = i + 1 < c->n ? c->insn[i + 1].len : 0;
            if (in->d->map == 0 && in->d->opcode == 0xe8)
                skip = 0;
            code[c->off[i] + in->disp_at] = skip;
        }
        if (in->rip_at) {                               /* RIP-relative: moves with the instruction */
            int32_t disp;
            memcpy(&disp, in->b + in->rip_at, 4);
            disp -= c->off[i];
            memcpy(code + c->off[i] + in->rip_at, &disp, 4);
        }
    }
    put_jump(code, at, c->in.code32);
}

/* Which flags are undefined before each instruction; instructions that would read such are dropped. */
static void follow_flags(Case *c)
{
    uint32_t u = 0, skipped = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < c->n; i++) {
        Insn in = c->insn[i];
        u |= skipped;           /* of the path around the instruction before, if it could be skipped */
        skipped = 0;
        if (in.use.reads & u)
            continue;
        bool may_skip = n && c->insn[n - 1].disp_at;
        c->insn[n] = in;
        c->unknown[n++] = u;
        if (may_skip)
            skipped = u;
        u = (u & ~in.use.sets) | in.use.undef;
    }
    c->n = n;
    c->unknown[n] = u | skipped;
}

static void make_case(Fuzz *f, uint64_t number, Case *c)
{
    Rng r = { f->opt.seed * 0x9e3779b97f4a7c15ull + number };
    rnd64(&r);
    bool code32 = f->compat && number % 4 == 3;
    fuzz_random_state(&r, &c->in, code32);
    c->start = chance(&r, 4) ? PAGE_SIZE - 1 - rnd(&r, 40) : 0;         /* some straddle a page */
    if (c->in.limits && !f->segments)
        c->in.limits = 0;
    c->n = 1 + rnd(&r, MAX_INSNS);
    for (unsigned i = 0; i < c->n; i++) {
        unsigned k = f->pool[rnd(&r, f->n_pool)], wrong = code32 ? R_ONLY64 : R_NO64;
        if (f->dec[k].row->flags & wrong || (code32 && f->dec[k].rexw)) {
            c->n = i;           /* not of this mode */
            break;
        }
        fuzz_generate(&r, &c->insn[i], &f->dec[k], code32, c->in.limits ? SANDBOX : 0);
        c->insn[i].dec_index = k;
    }
    follow_flags(c);
    lay_out(c);
}

/* --- comparing */

static unsigned insn_at(const Case *c, uint64_t pc)
{
    for (unsigned i = 0; i < c->n; i++)
        if (pc < CODE + c->off[i + 1])
            return i;
    return c->n;
}

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

static void differ(GString *s, const char *name, uint64_t a, uint64_t b)
{
    if (a != b)
        g_string_append_printf(s, "  %-8s host %016" PRIx64 "  guest %016" PRIx64 "\n", name, a, b);
}

static bool memory_fault(int vector) { return vector == EXC_PF || vector == EXC_GP || vector == EXC_AC; }

/* Both operands of a string comparison or move fault: which goes first is not architectural.  In 32-bit code accesses
 * that wrap at 4 GiB exceed a limit, which is not modelled for flat segments. */
static bool either_operand(const Case *c, const State *a, const State *b)
{
    unsigned i = insn_at(c, a->pc);
    return i < c->n && (c->in.code32 || is_string(c->insn[i].d)) && memory_fault(a->vector) && memory_fault(b->vector);
}

/* Misaligned and beyond the limit of SS, or not canonical: which goes first is not architectural. */
static bool either_check(const Case *c, const State *a, const State *b)
{
    unsigned i = insn_at(c, a->pc), seen = a->vector < 0 || b->vector < 0 ? 0 : 1u << a->vector | 1u << b->vector;
    bool either = i < c->n && c->insn[i].d->row->flags & (R_SSE | R_AVX);
    if (either && c->in.limits && seen == (1u << EXC_SS | 1u << EXC_GP))
        return true;
    return c->in.flags & FL_AC && seen == (1u << EXC_AC | 1u << EXC_GP);
}

static void compare_x87(const State *a, const State *b, GString *s)
{
    char name[16];
    differ(s, "fcw", a->fx.fcw, b->fx.fcw);
    differ(s, "fsw", a->fx.fsw, b->fx.fsw);
    differ(s, "ftw", a->fx.ftw, b->fx.ftw);
    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "st%u.m", i);
        differ(s, name, a->fx.st[i].mant, b->fx.st[i].mant);
        snprintf(name, sizeof name, "st%u.e", i);
        differ(s, name, a->fx.st[i].exp, b->fx.st[i].exp);
    }
}

/* Empty: they agree. */
static void compare(const Case *c, const State *a, const State *b, GString *s)
{
    uint32_t mask = FUZZ_FLAGS & ~c->unknown[insn_at(c, a->pc)];
    char name[16];
    if (a->vector != b->vector && !either_operand(c, a, b) && !either_check(c, a, b))
        g_string_append_printf(s, "  exception host %d guest %d\n", a->vector, b->vector);
    differ(s, "rip", a->pc, b->pc);
    for (unsigned i = 0; i < (c->in.code32 ? 8 : 16); i++)
        differ(s, gpr_names[i], c->in.code32 ? (uint32_t)a->gpr[i] : a->gpr[i],
               c->in.code32 ? (uint32_t)b->gpr[i] : b->gpr[i]);
    differ(s, "flags", a->flags & mask, b->flags & mask);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 2; k++) {
            snprintf(name, sizeof name, "xmm%u.%u", i, k);
            differ(s, name, a->fx.xmm[i].u64[k], b->fx.xmm[i].u64[k]);
            snprintf(name, sizeof name, "ymm%u.%u", i, 2 + k);
            if (fuzz_avx)
                differ(s, name, a->ymmh[i].u64[k], b->ymmh[i].u64[k]);
        }
    differ(s, "mxcsr", a->fx.mxcsr, b->fx.mxcsr);
    if (a->vector != EXC_XM)    /* whether CVTPS2PI switches to MMX before it faults is the model's choice */
        compare_x87(a, b, s);
    for (unsigned i = 0; i < SANDBOX_LEN; i += 8)
        if (memcmp(a->mem + i, b->mem + i, 8)) {
            snprintf(name, sizeof name, "[+%x]", i);
            differ(s, name, *(const uint64_t *)(a->mem + i), *(const uint64_t *)(b->mem + i));
            break;
        }
}

static void print_case(Fuzz *f, const Case *c)
{
    const uint8_t *code = (const uint8_t *)(uintptr_t)CODE;
    cs_insn *out;
    for (unsigned i = 0; i < c->n; i++) {
        unsigned len = c->off[i + 1] - c->off[i];
        printf("    %08x ", CODE + c->off[i]);
        for (unsigned k = 0; k < len; k++)
            printf("%02x ", code[c->off[i] + k]);
        if (cs_disasm(c->in.code32 ? f->cs32 : f->cs, code + c->off[i], len, CODE + c->off[i], 1, &out)) {
            printf(" %s %s", out->mnemonic, out->op_str);
            cs_free(out, 1);
        }
        printf("    {%s | %s}\n", c->insn[i].d->row->opcode, c->insn[i].d->row->operands);
    }
    for (unsigned i = 0; i < 16; i++)
        printf("    %-3s %016" PRIx64 "%s", gpr_names[i], c->in.gpr[i], i % 4 == 3 ? "\n" : "");
    printf("    flags %" PRIx64 " mxcsr %x fcw %x fsw %x ftw %x\n", c->in.flags, c->in.fx.mxcsr, c->in.fx.fcw, c->in.fx.fsw,
           c->in.fx.ftw);
}

/* The host has not the instruction, or is of a make that goes beyond the manual. */
static bool host_differs(const Case *c, const State *host)
{
    unsigned i = insn_at(c, host->pc);
    if (host->fx.mxcsr & 0x20000)               /* AMD's misaligned SSE mode (APM vol. 2, 11.3) */
        return true;
    if (~host->fx.mxcsr & 0xc00)                /* unmasked overflow and underflow: docs/gaps.md */
        return true;
    for (unsigned k = 0; k < c->n; k++)         /* DPPS, DPPD: which flags come with an unmasked exception, the same */
        if ((c->insn[k].d->map == 3 || c->insn[k].d->map == MAP_VEX + 3) && (c->insn[k].d->opcode & 0xfe) == 0x40 && ~host->fx.mxcsr & 0x1f80)
            return true;
    if (host->vector < 0 || i >= c->n)
        return false;
    const X86Dec *d = c->insn[i].d;
    if (d->map == 0 && d->opcode == 0x63 && host->vector == EXC_AC)     /* MOVSXD of 16 bits: aligned as 32 on the host */
        return true;
    /* MASKMOVx: whether bytes not written can fault is open (SDM); of MASKMOVQ, MMX has begun on the host though it faults */
    if ((d->map == 1 || d->map == MAP_VEX + 1) && d->opcode == 0xf7 && (host->vector != EXC_AC || d->row->flags & R_FPU))
        return true;
    return host->vector == EXC_UD && d->row->feature;
}

/* True: all engines agree with the host. */
static bool run_case(Fuzz *f, Case *c, bool report)
{
    static State host, guest;
    uint64_t end = CODE + c->off[c->n];
    bool good = true;
    run_native(&c->in, &host, c->start, end);
    if (host_differs(c, &host))
        return true;
    for (Engine e = INTERP_PLAIN; e < N_ENGINES; e++) {
        if (!(f->engines >> e & 1) || (e >= COMPILED && !f->g.be[e]))
            continue;
        run_guest(&f->g, e, &c->in, &guest, c->start, end);
        GString *s = g_string_new(NULL);
        compare(c, &host, &guest, s);
        if (s->len) {
            good = false;
            if (report)
                printf("  %s:\n%s", engine_name[e], s->str);
        }
        g_string_free(s, TRUE);
        if (!good)
            break;
    }
    if (good && !report && host.vector < 0)
        for (unsigned i = 0; i < c->n; i++)
            __atomic_fetch_add(&f->ok[c->insn[i].dec_index], 1, __ATOMIC_RELAXED);
    return good;
}

static void drop(Case *c, unsigned at)
{
    memmove(&c->insn[at], &c->insn[at + 1], (c->n - at - 1) * sizeof *c->insn);
    c->n--;
    follow_flags(c);
    lay_out(c);
}

/* Drops instructions while the difference stays. */
static void minimize(Fuzz *f, Case *c)
{
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < c->n && c->n > 1; i++) {
            Case *smaller = g_memdup2(c, sizeof *c);
            drop(smaller, i);
            if (smaller->n && !run_case(f, smaller, false)) {
                memcpy(c, smaller, sizeof *c);
                again = true;
            }
            g_free(smaller);
        }
    }
}

/* Kernels without IA-32 emulation have no such segment. */
static bool runs_32bit_code(void)
{
    static Case c;
    static State out;
    c.in.code32 = true;
    c.in.fx.mxcsr = 0x1f80;
    c.in.fx.fcw = 0x37f;
    lay_out(&c);
    run_native(&c.in, &out, 0, CODE);
    return out.vector < 0;
}

/* The segments of fuzz_limits in the LDT (modify_ldt(2)).  Not every kernel has it, nor lets everyone. */
static bool segments_init(void)
{
    for (unsigned i = 1; i < N_LIMITS; i++) {
        struct user_desc d = { .entry_number = i, .base_addr = SANDBOX, .limit = fuzz_limits[i].limit, .seg_32bit = 1,
                               .contents = fuzz_limits[i].down ? MODIFY_LDT_CONTENTS_STACK : MODIFY_LDT_CONTENTS_DATA };
        if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d) != 0)
            return false;
    }
    return true;
}

/* Of this host and of the model. */
static bool possible(const Fuzz *f, const X86Dec *d)
{
    return !(d->row->flags & R_NO64 && !f->compat) && (fuzz_avx || !(d->row->flags & R_AVX)) && (!d->row->feature || x86_has(f->g.c, d->row->feature));
}

static void fuzz_init(Fuzz *f)
{
    fuzz_avx = !!(host_features() & HOST_AVX);
    map_sandbox();
    map_code();
    native_init();
    fuzz_data_sel = USER_DATA;
    f->compat = runs_32bit_code();
    f->segments = f->compat && segments_init();
    f->dec = x86_decs(&f->n_dec);
    f->pool = g_new0(unsigned, f->n_dec);
    f->hits = mmap(NULL, 2 * f->n_dec * sizeof *f->hits, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (f->hits == MAP_FAILED) {
        perror("insn_x86: mmap");
        exit(1);
    }
    f->ok = f->hits + f->n_dec;         /* the counts of all processes */
    static const X86Model *model;       /* lives as long as the program */
    model = x86_model_parse("max", NULL);
    f->g.c = x86_cpu_new(model, &hooks);
    f->g.c->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    f->g.c->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    f->g.c->cpl = 3;
    open_context(&f->g);
    f->g.ir = ir_new(&x86_slots);
    f->g.plain = ir_new(&x86_slots);
    ir_set_folding(f->g.plain, false);
    f->g.in = interp_new(&slow_ops);
    for (Engine e = COMPILED; e < N_ENGINES; e++)
        if (HOST_X86_64 && !f->opt.interpret)
            open_backend(&f->g, e);
    for (unsigned i = 0; i < f->n_dec; i++) {
        const X86Dec *d = &f->dec[i];
        if (fuzz_excluded(d) || !possible(f, d))
            continue;
        if (f->opt.row && !strstr(d->row->opcode, f->opt.row))
            continue;
        f->pool[f->n_pool++] = i;
    }
    cs_open(CS_ARCH_X86, CS_MODE_64, &f->cs);
    cs_open(CS_ARCH_X86, CS_MODE_32, &f->cs32);
}

static void fuzz_free(Fuzz *f)
{
    for (Engine e = COMPILED; e < N_ENGINES; e++)
        backend_free(f->g.be[e]);
    interp_free(f->g.in);
    ir_free(f->g.ir);
    ir_free(f->g.plain);
    g_aligned_free(f->g.ctx);
    x86_cpu_free(f->g.c);
    g_free(f->pool);
    munmap(f->hits, 2 * f->n_dec * sizeof *f->hits);
    cs_close(&f->cs);
    cs_close(&f->cs32);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* All engines; fewer if a case only has to be shown good. */
enum { ALL_ENGINES = (1 << N_ENGINES) - 1 };
static unsigned some_engines(uint64_t number)
{
    static const uint8_t other[3] = { INTERP_PLAIN, INTERP_OPT, COMPILED_RANDOM };
    return 1u << COMPILED | 1u << other[number % 3];
}

/* The failures among this process's share of the cases. */
static unsigned fuzz_share(Fuzz *f)
{
    unsigned failures = 0;
    double stop = f->opt.minutes ? now() + f->opt.minutes * 60 : 0;
    Case *c = g_new(Case, 1);
    for (uint64_t n = f->job; f->opt.minutes ? now() < stop : n < f->opt.cases; n += f->jobs) {
        make_case(f, n, c);
        if (!c->n)
            continue;
        for (unsigned i = 0; i < c->n; i++)
            __atomic_fetch_add(&f->hits[c->insn[i].dec_index], 1, __ATOMIC_RELAXED);
        f->engines = f->g.be[COMPILED] ? some_engines(n / f->jobs) : ALL_ENGINES;
        if (run_case(f, c, false))
            continue;
        f->engines = ALL_ENGINES;
        minimize(f, c);
        lay_out(c);
        printf("\ncase %" PRIu64 " (--seed %" PRIu64 "):\n", n, f->opt.seed);
        print_case(f, c);
        f->g.print = f->opt.verbose;
        run_case(f, c, true);
        f->g.print = false;
        if (++failures == 10)
            break;
    }
    g_free(c);
    return failures;
}

/* One process for each host processor: the sandbox is at one address in all. */
static unsigned fuzz_processes(Fuzz *f)
{
    unsigned failures = 0;
    fflush(stdout);
    for (f->job = 0; f->job < f->jobs; f->job++) {
        pid_t pid = fork();
        if (pid == 0) {
            munmap(code_rw, CODE_LEN);
            munmap((void *)(uintptr_t)CODE, CODE_LEN);
            map_code();                 /* its own */
            unsigned n = fuzz_share(f);
            fflush(stdout);
            _exit(n);
        }
        if (pid < 0) {
            perror("insn_x86: fork");
            exit(1);
        }
    }
    for (unsigned i = 0; i < f->jobs; i++) {
        int status;
        wait(&status);
        failures += WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 1;
        if (!WIFEXITED(status))
            printf("a process ended with signal %d\n", WTERMSIG(status));
    }
    return failures;
}

/* Rows by what became of them; those that should have run and never did are named. */
static unsigned report(const Fuzz *f, unsigned failures)
{
    const char *comment = f->opt.tap ? "# " : "";
    unsigned never = 0, absent = 0, excluded = 0;
    for (unsigned i = 0; i < f->n_pool; i++) {
        unsigned k = f->pool[i];
        if (f->ok[k])
            continue;
        never++;
        printf("%snever run to the end: %s | %s (made %" PRIu64 " times)\n", comment, f->dec[k].row->opcode,
               f->dec[k].row->operands, f->hits[k]);
    }
    for (unsigned i = 0; i < f->n_dec; i++) {
        const char *why = fuzz_excluded(&f->dec[i]);
        if (why && f->opt.verbose)
            printf("%snot tried: %s | %s: %s\n", comment, f->dec[i].row->opcode, f->dec[i].row->operands, why);
        excluded += why != NULL;
        absent += !why && !possible(f, &f->dec[i]);
    }
    printf("%s%" PRIu64 " cases, %u rows: %u run, %u never run to the end, %u not tried with a reason, %u not of this host or model; "
           "%u failures\n", comment, f->opt.cases, f->n_dec, f->n_pool - never, never, excluded, absent, failures);
    return never;
}

/* The build by the other compiler repeats a part. */
#ifdef __clang__
enum { N_CASES = 200000 };
#else
enum { N_CASES = 1000000 };
#endif

int main(int argc, char **argv)
{
    Fuzz f = { .opt = { .cases = N_CASES, .seed = 1 }, .jobs = CLAMP(sysconf(_SC_NPROCESSORS_ONLN), 1, 16) };
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--cases"))
            f.opt.cases = strtoull(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--seed"))
            f.opt.seed = strtoull(v, NULL, 0), i++;
        else if (!strcmp(argv[i], "--jobs"))
            f.jobs = CLAMP(atoi(v), 1, 64), i++;
        else if (!strcmp(argv[i], "--minutes"))
            f.opt.minutes = atof(v), i++;
        else if (!strcmp(argv[i], "--row"))
            f.opt.row = v, i++;
        else if (!strcmp(argv[i], "--verbose"))
            f.opt.verbose = true;
        else if (!strcmp(argv[i], "--interpret"))
            f.opt.interpret = true;
        else if (!strcmp(argv[i], "--tap"))
            f.opt.tap = true;
        else if (strncmp(argv[i], "--seed=", 7)) {      /* GTest's seed is not ours */
            fprintf(stderr, "usage: insn_x86 [--cases N] [--jobs N] [--seed S] [--minutes M] [--row OPCODE] [--verbose] [--interpret]\n");
            return 1;
        }
    }
#if defined(__SANITIZE_ADDRESS__)
    /* The sanitizer's shadow lies where wild addresses of the generated code point to: the host would not fault. */
    if (f.opt.tap) {
        printf("1..0 # SKIP the host's address space holds the sanitizer's shadow\n");
        return 0;
    }
#endif
    fuzz_init(&f);
    unsigned failures = fuzz_processes(&f), never = report(&f, failures);
    fuzz_free(&f);
    if (f.opt.tap) {
        printf("%s 1 /fuzz/insn_x86/agree-with-host\n", failures ? "not ok" : "ok");
        printf("%s 2 /fuzz/insn_x86/every-row-ran\n1..2\n", never ? "not ok" : "ok");
    }
    return failures || (f.opt.tap && never);
}
