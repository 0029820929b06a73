/* SPDX-License-Identifier: GPL-2.0-or-later
 * Which encodings exist: every opcode of the one-, two- and three-byte maps with every mandatory prefix and ModRM, executed
 * as one instruction on the host processor and here, in 64-bit and 32-bit user code.  Either both raise #UD or neither.
 * A row that is missing, too wide or in another's way shows as a line.
 *
 * The host's instruction runs under TF, so that a signal comes after it whatever it does.  Not tried are those that enter
 * the kernel or a hypervisor, and those that move FS and GS, on which the C library stands. */
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "target/x86/decode.h"
#include "tests/x86_fake.h"

enum { CODE_AT = 0x20100000, DATA_AT = 0x20000000, DATA_LEN = 0x4000, DATA_MID = DATA_AT + 0x2000 };

uint64_t opcode_host_sp, opcode_cs;
void opcode_enter(void);
extern const char opcode_resume[];

__asm__(".text\n"
        ".globl opcode_enter, opcode_resume\n"
        "opcode_enter:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "    mov %rsp, opcode_host_sp(%rip)\n"
        "    mov $0x2b, %eax; mov %eax, %ds; mov %eax, %es\n"
        "    push $0x2b\n"              /* SS */
        "    push $0x20001000\n"        /* RSP */
        "    push $0x302\n"             /* TF, IF */
        "    pushq opcode_cs(%rip)\n"
        "    push $0x20100000\n"
        "    mov $0x20002000, %eax; mov %rax, %rcx; mov %rax, %rdx; mov %rax, %rbx; mov %rax, %rbp; mov %rax, %rsi\n"
        "    mov %rax, %rdi; mov %rax, %r8;  mov %rax, %r9;  mov %rax, %r10; mov %rax, %r11\n"
        "    mov %rax, %r12; mov %rax, %r13; mov %rax, %r14; mov %rax, %r15\n"
        "    iretq\n"
        "opcode_resume:\n"
        "    cld; fninit\n"
        "    push $0x1f80; ldmxcsr (%rsp); pop %rax\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    ret\n");

static volatile int host_vector = -1;
static bool running;

static void on_signal(int sig, siginfo_t *info, void *context)
{
    (void)info;
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    if (!running) {
        signal(sig, SIG_DFL);
        return;
    }
    host_vector = g[REG_TRAPNO];
    g[REG_RIP] = (uintptr_t)opcode_resume;
    g[REG_RSP] = opcode_host_sp;
    g[REG_EFL] &= ~(greg_t)(FL_DF | FL_TF | FL_AC);
    g[REG_CSGSFS] = (g[REG_CSGSFS] & ~(greg_t)0xffff) | 0x33;
}

static uint8_t *host_code;

static bool host_ud(const uint8_t *code, bool code32)
{
    memset(host_code, 0x90, 64);
    memcpy(host_code, code, 15);
    memset((void *)(uintptr_t)DATA_AT, 0, DATA_LEN);
    opcode_cs = code32 ? 0x23 : 0x33;
    running = true;
    opcode_enter();
    running = false;
    return host_vector == EXC_UD;
}

static bool guest_ud(Fake *f, const uint8_t *code, bool code32)
{
    enum { AT = 0x900000, MID = 0xa00000 };
    X86Cpu *c = f->c;
    X86Desc d = { .lo = fake_get32(f, F_GDT + (S_UCS32 & ~7)), .hi = fake_get32(f, F_GDT + (S_UCS32 & ~7) + 4) };
    fake_user(f, AT, MID);
    if (code32)
        x86_set_seg(c, CS, S_UCS32, d);
    d = (X86Desc){ .lo = fake_get32(f, F_GDT + (S_UDS & ~7)), .hi = fake_get32(f, F_GDT + (S_UDS & ~7) + 4) };
    x86_set_seg(c, DS, S_UDS, d);
    x86_set_seg(c, ES, S_UDS, d);
    memset(f->ram + AT, 0x90, 64);
    memcpy(f->ram + AT, code, 15);
    memset(f->ram + MID - 0x1000, 0, 0x2000);
    for (unsigned i = 0; i < 16; i++)
        c->s.hot[i] = MID;
    *x86_flags(c) = FL_1 | FL_IF;
    c->exc_pending = false;
    c->shadow = 0;
    c->fcw = 0x37f;
    c->fsw = 0;
    x86_set_mxcsr(c, 0x1f80);
    x86_mode_changed(c);
    return fake_step(f) == EXC_UD;
}

/* What QEMU's name for the processor would be: all that both have. */
static Fake *guest_new(void)
{
    g_autoptr(GString) spec = g_string_new("max");
    for (unsigned i = 1; i < X86F_N; i++) {
        const X86Feature *row = x86_feature(i);
        uint32_t r[4] = { 0 };
        __get_cpuid_count(row->leaf, row->sub, &r[0], &r[1], &r[2], &r[3]);
        if (!(r[row->reg] >> row->bit & 1) && i != X86F_OSXSAVE && i != X86F_OSPKE)
            g_string_append_printf(spec, ",-%.*s", (int)strcspn(row->names, "|"), row->names);
    }
    Fake *f = fake_new(spec->str);
    g_assert_nonnull(f->c->model);
    fake_long(f);
    f->c->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    f->c->cr0 |= CR0_MP;
    f->c->xcr0 = 3;
    f->c->efer |= EFER_SCE;
    return f;
}

static bool is_prefix(uint8_t b, bool code32)
{
    return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) || b == 0xf0 || b == 0xf2 || b == 0xf3 ||
           b == 0x0f || (!code32 && (b & 0xf0) == 0x40);
}

/* VEX, XOP and EVEX have tests of their own. */
static bool skipped(unsigned map, unsigned op, unsigned pfx, unsigned modrm, bool code32)
{
    unsigned reg = modrm >> 3 & 7, mod = modrm >> 6;
    if (map == 0)
        return is_prefix(op, code32) || op == 0xcd || op == 0xc4 || op == 0xc5 || op == 0x62 || (op == 0x8f && reg) ||
               (op == 0x8e && (reg == 4 || reg == 5)) || op == 0x9a || op == 0xea /* far, to the kernel's own gates maybe */;
    if (map != 1)
        return false;
    if (op == 0x38 || op == 0x3a || op == 0x05 || op == 0x34 || op == 0xa1 || op == 0xa9 || op == 0xb4 || op == 0xb5)
        return true;
    if (op == 0xae && pfx == 2 && mod == 3)             /* WRFSBASE, WRGSBASE; the shadow stack's */
        return true;
    return op == 0x01 && mod == 3;
}

/* SYSEXIT is #UD in long mode by APM vol. 3; the host says #GP at privilege 3. */
static bool excused(unsigned map, unsigned op) { return map == 1 && op == 0x35; }

/* Grouped by the whole ModRM byte. */
static bool whole_modrm(unsigned map, unsigned op)
{
    return map == 0 ? op >= 0xd8 && op <= 0xdf : map == 1 && (op == 0xae || op == 0xc7);
}

static unsigned tried, differences;

static void try_one(Fake *f, unsigned map, unsigned pfx, unsigned op, unsigned modrm, bool code32)
{
    static const uint8_t prefix[4] = { 0, 0x66, 0xf3, 0xf2 };
    uint8_t code[16] = { 0 };
    unsigned n = 0;
    if (skipped(map, op, pfx, modrm, code32) || excused(map, op))
        return;
    if (pfx)
        code[n++] = prefix[pfx];
    if (map)
        code[n++] = 0x0f;
    if (map > 1)
        code[n++] = map == 2 ? 0x38 : 0x3a;
    code[n++] = op;
    code[n++] = modrm;
    bool host = host_ud(code, code32), guest = guest_ud(f, code, code32);
    tried++;
    if (host == guest)
        return;
    if (differences++ < 60)
        g_printerr("# %s %02x %02x %02x %02x %02x: %s #UD\n", code32 ? "32-bit" : "64-bit", code[0], code[1], code[2], code[3],
                   code[4], host ? "the host's alone" : "ours alone");
}

static void every_opcode(void)
{
    unsigned a, b = 0, c, d;
    __get_cpuid(0, &a, &b, &c, &d);
    if (b != signature_AMD_ebx) {
        g_test_skip("the reserved encodings are compared with those of an AMD processor");
        return;
    }
    static uint8_t stack[65536];
    stack_t ss = { .ss_sp = stack, .ss_size = sizeof stack }, old;
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
    struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK }, was[G_N_ELEMENTS(signals)];
    host_code = mmap((void *)(uintptr_t)CODE_AT, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    void *data = mmap((void *)(uintptr_t)DATA_AT, DATA_LEN, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (host_code == MAP_FAILED || data == MAP_FAILED) {
        g_test_skip("the host's address space is taken where the instructions should run (a sanitizer's shadow)");
        return;
    }
    sigaltstack(&ss, &old);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &sa, &was[i]);
    Fake *f = guest_new();
    static const uint8_t ret32[15] = { 0x90 };
    bool compat = !host_ud(ret32, true) && host_vector == EXC_DB;
    for (unsigned code32 = 0; code32 <= compat; code32++)
        for (unsigned map = 0; map < 4; map++)
            for (unsigned pfx = 0; pfx < 4; pfx++)
                for (unsigned op = 0; op < 256; op++)
                    for (unsigned modrm = 0; modrm < 256; modrm++)
                        if (modrm >= 0xc0 ? whole_modrm(map, op) || (modrm & 7) == 1 : modrm < 0x40 && (modrm & 7) == 3)
                            try_one(f, map, pfx, op, modrm, code32);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &was[i], NULL);
    sigaltstack(&old, NULL);
    munmap(host_code, 4096);
    munmap(data, DATA_LEN);
    g_test_message("%u encodings", tried);
    g_assert_cmpuint(differences, ==, 0);
    fake_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/opcodes/all", every_opcode);
    return g_test_run();
}
