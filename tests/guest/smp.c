/* SPDX-License-Identifier: GPL-2.0-or-later
 * A kernel that runs on several processors and does with them what its command line says; what it finds goes to the first
 * serial port, and it leaves through isa-debug-exit at port 0xf4 with 0, or 1 if something was wrong.
 *   CPUS litmus RUNS        memory-order tests; what x86 forbids must not be seen (SDM vol. 3, 9.2; "A better x86 memory
 *                           model: x86-TSO", Owens, Sarkar, Sewell)
 *   CPUS atomics N          LOCKed instructions of every kind on shared operands, aligned, unaligned, across lines and pages
 *   CPUS code N             a processor runs what another writes, with and without synchronisation
 *   CPUS storm N            mappings change under everybody; no processor may use one that it has dropped
 *   CPUS time N             time stamps taken one after another on different processors never run backwards
 *   CPUS reset N            resets the machine N times by turns, out of running timers and interrupts; each finds everything as new
 * It is entered by the PVH protocol, goes to 64-bit mode with memory mapped one to one, and starts the others by SIPI. */
__asm__(".pushsection .note.Xen, \"a\", @note\n"
        ".long 4, 4, 18\n"                  /* XEN_ELFNOTE_PHYS32_ENTRY */
        ".asciz \"Xen\"\n"
        ".long entry\n"
        ".popsection\n"
        ".globl entry\n"
        ".code32\n"
        "entry: mov %ebx, start_info\n"
        "mov $pd, %edi\n"                   /* 4 GiB in pages of 2 MiB */
        "mov $0x83, %eax\n"
        "1: mov %eax, (%edi)\n"
        "add $8, %edi\n"
        "add $0x200000, %eax\n"
        "jnc 1b\n"
        "mov $pd + 3, %eax\n"
        "mov $pdpt, %edi\n"
        "mov $4, %ecx\n"
        "2: mov %eax, (%edi)\n"
        "add $8, %edi\n"
        "add $0x1000, %eax\n"
        "loop 2b\n"
        "movl $pdpt + 3, pml4\n"
        "to_long: lgdt gdt_pointer\n"       /* every processor comes by here, in 32-bit mode */
        "mov $0x20, %eax\n"                 /* PAE */
        "mov %eax, %cr4\n"
        "mov $pml4, %eax\n"
        "mov %eax, %cr3\n"
        "mov $0xc0000080, %ecx\n"           /* EFER.LME */
        "rdmsr\n"
        "or $0x100, %eax\n"
        "wrmsr\n"
        "mov $0x80000011, %eax\n"
        "mov %eax, %cr0\n"
        "ljmp $8, $long_mode\n"
        ".code64\n"
        "long_mode: mov $16, %eax\n"
        "mov %eax, %ds\n"
        "mov %eax, %es\n"
        "mov %eax, %ss\n"
        "mov $1, %edi\n"
        "lock xadd %edi, started\n"
        "mov %edi, %eax\n"
        "inc %eax\n"
        "shl $13, %eax\n"
        "lea stacks(%rax), %rsp\n"
        "call cpu_main\n"
        /* What the others start with, at 8000h. */
        ".code16\n"
        "trampoline: cli\n"
        "xor %ax, %ax\n"
        "mov %ax, %ds\n"
        "lgdtl 0x8000 + trampoline_gdt - trampoline\n"
        "mov $0x11, %eax\n"
        "mov %eax, %cr0\n"
        "ljmpl $24, $0x8000 + trampoline_32 - trampoline\n"
        ".code32\n"
        "trampoline_32: mov $16, %eax\n"
        "mov %eax, %ds\n"
        "mov $to_long, %eax\n"
        "jmp *%eax\n"
        "trampoline_gdt: .word 31\n"
        ".long gdt\n"
        "trampoline_end:\n"
        ".code64\n");

typedef unsigned char U8;
typedef unsigned short U16;
typedef unsigned U32;
typedef unsigned long U64;
typedef struct StartInfo { U32 magic, version, flags, modules; U64 module_list, command_line; } StartInfo;

enum { MAX_CPUS = 64, PAGE = 4096 };
#define USED __attribute__((used))
#define PAGES __attribute__((used, aligned(4096)))

U32 start_info USED;
static U64 pml4[512] PAGES, pdpt[512] PAGES, pd[4 * 512] PAGES, window_table[512] PAGES;
static U8 stacks[MAX_CPUS + 1][8192] PAGES;
static volatile U32 started USED;
static const U64 gdt[4] USED = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff };
static const struct __attribute__((packed)) { U16 limit; U64 base; } gdt_pointer USED = { 31, (U64)gdt };
static struct { U16 low, sel, type, mid; U32 high, zero; } idt[256];
static struct __attribute__((packed)) { U16 limit; void *base; } idt_pointer = { sizeof idt - 1, idt };
extern char trampoline[], trampoline_end[];

static U32 cpus;
static volatile U32 wrong;

/* --- small things */

static void out8(U16 port, U8 v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static U8 in8(U16 port)
{
    U8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static void print(const char *text)
{
    for (; *text; text++) {
        while (!(in8(0x3f8 + 5) & 0x20))
            continue;
        out8(0x3f8, *text);
    }
}
static void print_number(U64 v)
{
    char text[24], *p = text + sizeof text;
    *--p = 0;
    do
        *--p = '0' + v % 10;
    while (v /= 10);
    print(p);
}
static void leave(U8 code)
{
    for (;;)
        out8(0xf4, code);
}
static void result(const char *name, U64 seen, int bad)
{
    print(bad ? "WRONG " : "ok ");
    print(name);
    print(" ");
    print_number(seen);
    print("\n");
    wrong |= bad;
}
static void relax(void) { __asm__ volatile("pause" : : : "memory"); }
static void fence(void) { __asm__ volatile("mfence" : : : "memory"); }
static void serialize(void)
{
    U32 a = 0, c = 0, b, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}
static U32 cpuid_ecx(U32 leaf)
{
    U32 c = 0, b, d;
    __asm__ volatile("cpuid" : "+a"(leaf), "=b"(b), "+c"(c), "=d"(d));
    return c;
}
static U32 add(volatile U32 *p, U32 v)
{
    __asm__ volatile("lock xaddl %0, %1" : "+r"(v), "+m"(*p) : : "memory");
    return v;
}
static U32 random32(U32 *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    return *s ^= *s << 5;
}

/* All processors meet; twice in a row is fine. */
static void meet(void)
{
    static volatile U32 count, round;
    U32 now = round;
    if (add(&count, 1) + 1 == cpus) {
        count = 0;
        add(&round, 1);
    }
    while (round == now)
        relax();
}

#define LAPIC ((volatile U32 *)0xfee00000)
enum { L_ID = 0x20 / 4, L_EOI = 0xb0 / 4, L_SVR = 0xf0 / 4, L_ICR = 0x300 / 4, VECTOR = 0x80 };

static U64 rdtsc(void)
{
    U32 low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (U64)high << 32 | low;
}

/* --- memory order.  RUNS runs in batches: each run has its own lines, and begins by the clock, so that processors that run
 * at all run together.  The skew goes through what one run takes. */

enum { BATCH = 5000, TICKS = 400 };
typedef struct Line { volatile U32 v; U32 pad[15]; } Line;
static Line X[BATCH] PAGES, Y[BATCH] PAGES;
static U32 R[4][BATCH];
static U32 a_lock[MAX_CPUS][16];

typedef void Body(U32 cpu, U32 i);
typedef int Outcome(U32 i);
#define ST(l, n) (l[i].v = (n))
#define LD(r, l) (R[r][i] = l[i].v)
#define XCHG(l, n) do { U32 v_ = (n); __asm__ volatile("xchgl %0, %1" : "+r"(v_), "+m"(l[i].v) : : "memory"); } while (0)
#define LOCK() __asm__ volatile("lock orl $0, %0" : "+m"(a_lock[cpu][0]) : : "memory")
#define TEST(name, t0, t1, t2, t3, bad) \
    static void name##_body(U32 cpu, U32 i) \
    { switch (cpu) { case 0: t0; break; case 1: t1; break; case 2: t2; break; case 3: t3; break; } } \
    static int name##_bad(U32 i) { U32 r0 = R[0][i], r1 = R[1][i], r2 = R[2][i], r3 = R[3][i], x = X[i].v, y = Y[i].v; \
        (void)r0, (void)r1, (void)r2, (void)r3, (void)x, (void)y; return bad; }
TEST(sb, ST(X, 1); LD(0, Y), ST(Y, 1); LD(1, X), , , !r0 && !r1)
TEST(sb_mfence, ST(X, 1); fence(); LD(0, Y), ST(Y, 1); fence(); LD(1, X), , , !r0 && !r1)
TEST(sb_lock, ST(X, 1); LOCK(); LD(0, Y), ST(Y, 1); LOCK(); LD(1, X), , , !r0 && !r1)
TEST(sb_xchg, XCHG(X, 1); LD(0, Y), XCHG(Y, 1); LD(1, X), , , !r0 && !r1)
TEST(sb_cpuid, ST(X, 1); serialize(); LD(0, Y), ST(Y, 1); serialize(); LD(1, X), , , !r0 && !r1)
TEST(mp, ST(X, 1); ST(Y, 1), LD(0, Y); LD(1, X), , , r0 && !r1)
TEST(mp_xchg, ST(X, 1); XCHG(Y, 1), LD(0, Y); LD(1, X), , , r0 && !r1)
TEST(lb, LD(0, X); ST(Y, 1), LD(1, Y); ST(X, 1), , , r0 && r1)
TEST(s, ST(X, 2); ST(Y, 1), LD(0, Y); ST(X, 1), , , r0 && x == 2)
TEST(r_mfence, ST(X, 1); ST(Y, 1), ST(Y, 2); fence(); LD(0, X), , , y == 2 && !r0)
TEST(w2, ST(X, 1); ST(Y, 2), ST(Y, 1); ST(X, 2), , , x == 1 && y == 1)
TEST(corr, ST(X, 1), LD(0, X); LD(1, X), , , r0 && !r1)
TEST(iriw, ST(X, 1), ST(Y, 1), LD(0, X); LD(1, Y), LD(2, Y); LD(3, X), r0 && !r1 && r2 && !r3)
TEST(wrc, ST(X, 1), LD(0, X); ST(Y, 1), LD(1, Y); LD(2, X), , r0 && r1 && !r2)

static const struct { const char *name; U32 cpus; int allowed; Body *body; Outcome *bad; } litmus[] = {
    { "SB", 2, 1, sb_body, sb_bad }, { "SB+mfence", 2, 0, sb_mfence_body, sb_mfence_bad },
    { "SB+lock", 2, 0, sb_lock_body, sb_lock_bad }, { "SB+xchg", 2, 0, sb_xchg_body, sb_xchg_bad },
    { "SB+cpuid", 2, 0, sb_cpuid_body, sb_cpuid_bad },
    { "MP", 2, 0, mp_body, mp_bad }, { "MP+xchg", 2, 0, mp_xchg_body, mp_xchg_bad }, { "LB", 2, 0, lb_body, lb_bad },
    { "S", 2, 0, s_body, s_bad }, { "R+mfence", 2, 0, r_mfence_body, r_mfence_bad }, { "2+2W", 2, 0, w2_body, w2_bad },
    { "CoRR", 2, 0, corr_body, corr_bad }, { "IRIW", 4, 0, iriw_body, iriw_bad }, { "WRC", 3, 0, wrc_body, wrc_bad },
};

static void run_litmus(U32 cpu, U32 runs)
{
    static volatile U64 start, together, all_runs;
    static U8 ran[4][BATCH];
    for (U32 t = 0; t < sizeof litmus / sizeof *litmus; t++) {
        U32 n = litmus[t].cpus, seed = cpu * 77 + 1;
        U64 seen = 0;
        if (n > cpus)
            continue;
        for (U32 done = 0, batch; done < runs; done += batch) {
            batch = runs - done < BATCH ? runs - done : BATCH;
            if (!cpu)
                start = rdtsc() + 20000;
            meet();
            U64 at = start + random32(&seed) % 64;
            for (U32 i = 0; cpu < n && i < batch; i++, at += TICKS) {
                U64 now;
                while ((now = rdtsc()) < at)
                    continue;
                ran[cpu][i] = now < at + TICKS;         /* the host had something else to do: it runs alone */
                litmus[t].body(cpu, i);
            }
            meet();
            for (U32 i = 0; !cpu && i < batch; i++) {
                U32 all = 0;
                for (U32 c = 0; c < n; c++)
                    all += ran[c][i];
                together += all == n;
                seen += litmus[t].bad(i);
                X[i].v = Y[i].v = 0;
            }
        }
        if (!cpu)
            result(litmus[t].name, seen, seen && !litmus[t].allowed);
        all_runs += cpu ? 0 : (runs + BATCH - 1) / BATCH * BATCH;
    }
    if (!cpu) {
        result("runs at the same time", together, 0);
        result("runs", all_runs, 0);
    }
}

/* --- LOCK */

static struct {
    volatile U64 c64 __attribute__((aligned(64)));
    volatile U32 c32, xadd, cas, inc, adc;
    volatile U16 c16;
    volatile U8 c8, bits;
    volatile U64 c8b, shared[2] __attribute__((aligned(16)));
    U8 odd[256] __attribute__((aligned(64)));
} K PAGES;
static U8 astride[2 * PAGE] PAGES;

#define LOCKED(op, p, ...) __asm__ volatile("lock " op : "+m"(p) : __VA_ARGS__ : "memory", "cc")

static void add16_bytes(volatile U64 *p)        /* both words by one */
{
    U64 a = p[0], d = p[1];
    U8 ok;
    do
        __asm__ volatile("lock cmpxchg16b %1" : "=@ccz"(ok), "+m"(*(char (*)[16])p), "+a"(a), "+d"(d)
                         : "b"(a + 1), "c"(d + 1) : "memory");
    while (!ok);
}
static void add8_bytes(volatile U64 *p)
{
    U32 a = 0, d = 0;
    U8 ok;
    do
        __asm__ volatile("lock cmpxchg8b %1" : "=@ccz"(ok), "+m"(*p), "+a"(a), "+d"(d)
                         : "b"((U32)((U64)d << 32 | a) + 1), "c"((U32)((((U64)d << 32 | a) + 1) >> 32)) : "memory");
    while (!ok);
}

static void run_counters(U32 cpu, U32 n)
{
    volatile U32 *in_line = (void *)(K.odd + 5), *two_lines = (void *)(K.odd + 62), *two_pages = (void *)(astride + PAGE - 2);
    volatile U64 *two_pages8 = (void *)(astride + PAGE - 12);
    U64 lost = 0;
    U32 has_cx16 = cpuid_ecx(1) >> 13 & 1;
    for (U32 i = 0; i < n; i++) {
        LOCKED("addq $1, %0", K.c64);
        LOCKED("addl $1, %0", K.c32);
        LOCKED("addw $1, %0", K.c16);
        LOCKED("addb $1, %0", K.c8);
        LOCKED("incl %0", K.inc);
        add(&K.xadd, 1);
        __asm__ volatile("stc; lock adcl $0, %0" : "+m"(K.adc) : : "memory", "cc");
        U32 old = K.cas, seen;
        for (;; old = seen) {
            __asm__ volatile("lock cmpxchgl %2, %1" : "=a"(seen), "+m"(K.cas) : "r"(old + 1), "0"(old) : "memory");
            if (seen == old)
                break;
        }
        if (has_cx16)
            add16_bytes(K.shared);
        add8_bytes(&K.c8b);
        LOCKED("addl $1, %0", *in_line);
        LOCKED("addl $1, %0", *two_lines);
        if (i % 64 == 0) {
            LOCKED("addl $1, %0", *two_pages);
            LOCKED("addq $1, %0", *two_pages8);
        }
        if (cpu < 8) {                          /* its own bit in a byte of all */
            __asm__ volatile("lock xorb %b1, %0" : "+m"(K.bits) : "q"(1u << cpu) : "memory");
            lost += (K.bits >> cpu & 1) != !(i & 1);
        }
    }
    static volatile U64 all_lost;
    LOCKED("addq %1, %0", all_lost, "r"(lost));
    meet();
    if (cpu)
        return;
    U32 all = n * cpus, some = (n + 63) / 64 * cpus;
    result("64 bits", K.c64, K.c64 != all);
    result("32 bits", K.c32, K.c32 != all);
    result("16 bits", K.c16, K.c16 != (U16)all);
    result("8 bits", K.c8, K.c8 != (U8)all);
    result("INC", K.inc, K.inc != all);
    result("XADD", K.xadd, K.xadd != all);
    result("ADC", K.adc, K.adc != all);
    result("CMPXCHG", K.cas, K.cas != all);
    result("CMPXCHG8B", K.c8b, K.c8b != all);
    if (has_cx16)
        result("CMPXCHG16B", K.shared[0], K.shared[0] != all || K.shared[1] != all);
    result("within a line", *in_line, *in_line != all);
    result("across lines", *two_lines, *two_lines != all);
    result("across pages", *two_pages, *two_pages != some);
    result("8 bytes across pages", *two_pages8, *two_pages8 != some);
    result("lost bits", all_lost, all_lost != 0);
}

/* --- code.  mov eax, imm32; ret, with the operand aligned. */

enum { CODE_PAGES = 32 };
static U8 code[CODE_PAGES][PAGE] PAGES;
static volatile U32 turn[16], finished;

static volatile U32 *operand(U32 page) { return (volatile U32 *)(code[page] + 64); }
static void write_code(U32 page, U32 value)
{
    code[page][63] = 0xb8;
    code[page][68] = 0xc3;
    *operand(page) = value;
}
static U32 call_code(U32 page) { return ((U32 (*)(void))(code[page] + 63))(); }

static void run_code(U32 cpu, U32 n)
{
    U64 bad = 0, seen[2] = { 0 };
    /* Whenever it likes: old or new, nothing else.  Data beside it changes as well. */
    if (!cpu)
        write_code(0, 0x11223344);
    meet();
    if (cpu == 0) {
        for (U32 i = 0; i < n; i++) {
            *operand(0) = i & 1 ? 0x11223344 : 0x99aabbcc;
            *(volatile U32 *)(code[0] + 72) = i;
            *(volatile U32 *)(code[0] + 2048) = i;
            for (U32 k = 0; k < (i & 63); k++)
                relax();
        }
        finished = 1;
    } else if (cpu == 1) {
        while (!finished) {
            U32 v = call_code(0);
            seen[v == 0x11223344] += v == 0x11223344 || v == 0x99aabbcc;
            bad += v != 0x11223344 && v != 0x99aabbcc;
        }
        result("unsynchronised: neither old nor new", bad, bad != 0);
        result("unsynchronised: runs of one", seen[0], 0);
        result("unsynchronised: runs of the other", seen[1], 0);
    }
    meet();
    /* SDM vol. 3, 9.1.3: the one modifies and sets a flag, the other waits for it and serialises.  Each page is data of
     * the writer first, and code from then on. */
    bad = 0;
    for (U32 i = 1; i <= n && cpu < 2; i++) {
        U32 page = i % 3 ? i / 64 % CODE_PAGES : 0;
        if (cpu == 0) {
            if (i % 5)
                write_code(page, i);
            else
                __asm__ volatile("xchgq %0, %1" : "+r"((U64){ (U64)i }), "+m"(*(volatile U64 *)(code[page] + 128)) : : "memory");
            if (i % 5 == 0)
                write_code(page, i);
            turn[0] = i;
            while (turn[1] != i)
                relax();
        } else {
            while (turn[0] != i)
                relax();
            serialize();
            bad += call_code(page) != i;
            turn[1] = i;
        }
    }
    if (cpu == 1)
        result("synchronised: not the new", bad, bad != 0);
    meet();
    /* The other way round too: what was executed here is written there, by turns. */
    bad = 0;
    for (U32 i = 1; i <= n; i++) {
        if (i % cpus == cpu) {
            write_code(i % 7, i ^ 0x5a5a5a5a);
            turn[2] = i;
        }
        while (turn[2] != i)
            relax();
        serialize();
        bad += call_code(i % 7) != (i ^ 0x5a5a5a5a);
        meet();
    }
    result("everybody: not the new", bad, bad != 0);
    meet();
}

/* --- a storm of shoot-downs.  Every frame says its number; one that no mapping leads to any more says POISON. */

enum { WINDOW = 1 << 30, PAGES_SEEN = 16, FRAMES = 64 };
#define POISON 0xdeadu
static U64 frames[FRAMES][PAGE / 8] PAGES;
static volatile U32 mapped[PAGES_SEEN], storm_lock, victim, acks, changes;
static volatile U64 looks[MAX_CPUS];

static void invlpg(U64 va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }

static void __attribute__((interrupt)) on_ipi(void *frame)
{
    (void)frame;
    invlpg(WINDOW + (U64)victim * PAGE);
    add(&acks, 1);
    LAPIC[L_EOI] = 0;
}

static void map(U32 page, U32 frame)
{
    *(volatile U64 *)&window_table[page] = (U64)frames[frame] | 3;
    mapped[page] = frame;
}

static void change(U32 *seed)
{
    U32 page = random32(seed) % PAGES_SEEN, frame = random32(seed) % FRAMES;
    U32 one = 1;
    for (;;) {
        __asm__ volatile("xchgl %0, %1" : "+r"(one), "+m"(storm_lock) : : "memory");
        if (!one)
            break;
        relax();                                /* interrupts are on: others may be waiting for us */
    }
    for (U32 i = 0; i < PAGES_SEEN; i++)
        if (mapped[i] == frame)
            goto out;
    U32 old = mapped[page];
    *(volatile U64 *)frames[frame] = frame;
    victim = page;
    acks = 0;
    map(page, frame);
    invlpg(WINDOW + (U64)page * PAGE);
    LAPIC[L_ICR] = 0xc4000 | VECTOR;            /* all but self */
    while (acks != cpus - 1)
        relax();
    *(volatile U64 *)frames[old] = POISON;      /* nobody may see this */
    changes++;
out:
    storm_lock = 0;
}

static void run_storm(U32 cpu, U32 n)
{
    static volatile U64 bad;
    U32 seed = cpu * 1234567 + 1;
    if (!cpu) {
        for (U32 f = 0; f < FRAMES; f++)
            frames[f][0] = f;
        for (U32 p = 0; p < PAGES_SEEN; p++)
            map(p, p);
        *(volatile U64 *)&pd[WINDOW >> 21] = (U64)window_table | 3;
    }
    meet();
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
    __asm__ volatile("sti");
    while (changes < n) {
        if (random32(&seed) % 64 == 0)
            change(&seed);
        for (U32 i = 0; i < 64; i++) {
            U32 page = random32(&seed) % PAGES_SEEN;
            volatile U64 *p = (volatile U64 *)(WINDOW + (U64)page * PAGE);
            if (*p == POISON)
                LOCKED("incq %0", bad);
            LOCKED("incq %0", p[1 + cpu]);      /* sets A and D */
        }
        looks[cpu] += 64;
    }
    add(&started, 1);                           /* those that are done still answer the others' IPIs */
    while (started != 2 * cpus)
        relax();
    __asm__ volatile("cli");
    meet();
    if (cpu)
        return;
    U64 sum = 0, all = 0;
    for (U32 c = 0; c < cpus; c++) {
        all += looks[c];
        for (U32 f = 0; f < FRAMES; f++)
            sum += frames[f][1 + c];
    }
    result("changes", changes, 0);
    result("stale mappings seen", bad, bad != 0);
    result("increments", sum, sum != all);
}

/* --- clocks.  The turn goes round; whoever has it looks at its clock after whoever had it before.  With n of 0 until a key
 * is pressed, so that the machine may be stopped and let go on meanwhile. */

static void run_time(U32 cpu, U32 n)
{
    static volatile U32 whose, over;
    static volatile U64 last, furthest, backwards;
    for (U32 i = 0; !over; i++) {
        while (whose != cpu)
            relax();
        U64 now = rdtsc();
        if (now < last) {
            backwards++;
            if (last - now > furthest)
                furthest = last - now;
        }
        last = now;
        if (!cpu && i % 16 == 0)
            print("tick\n");
        if (!cpu)
            over |= n ? i == n : in8(0x3f8 + 5) & 1;
        whose = cpu + 1 == cpus ? 0 : cpu + 1;
    }
    meet();
    if (cpu)
        return;
    result("backwards", backwards, backwards != 0);
    result("by", furthest, furthest != 0);
}

/* --- reset: by port CF9h, by a triple fault, by port 92h.  What is counted stays in memory that nothing is loaded to. */

#define IOAPIC ((volatile U32 *)0xfec00000)
enum { L_TPR = 0x80 / 4, L_ISR = 0x100 / 4, L_IRR = 0x200 / 4, L_TIMER = 0x320 / 4, L_COUNT = 0x380 / 4,
       L_DIVIDE = 0x3e0 / 4, MASKED = 1 << 16, MARK = 0x7e5e7000 };
static volatile U32 *const resets = (volatile U32 *)0x3f00000;

/* SDM vol. 3, 11.4.7.1: registers after a reset; by INIT all but the id.  Firmware has enabled the first processor's. */
static U32 apic_wrong(U32 cpu)
{
    U32 bad = 0;
    bad += (LAPIC[L_SVR] & (cpu ? 0xfff : 0xff)) != 0xff;
    bad += LAPIC[L_TPR] != 0;
    bad += LAPIC[L_TIMER] != MASKED;
    bad += LAPIC[L_COUNT] != 0;
    for (U32 i = 0; i < 8; i++)
        bad += LAPIC[L_ISR + 4 * i] || LAPIC[L_IRR + 4 * i];
    return bad;
}

static U32 ioapic_wrong(void)
{
    U32 bad = 0;
    for (U32 pin = 0; pin < 24; pin++) {
        IOAPIC[0] = 0x10 + 2 * pin;
        bad += !(IOAPIC[4] & MASKED);
    }
    return bad;
}

static void run_reset(U32 cpu, U32 n, U32 bad)
{
    static volatile U32 all_bad;
    add(&all_bad, bad);
    meet();
    if (!cpu) {
        if ((*resets & 0xfffff000) != MARK)
            *resets = MARK;
        U32 done = *resets & 0xfff;
        print("reset ");
        print_number(done);
        print("\n");
        result("not as after a reset", all_bad + ioapic_wrong(), all_bad || ioapic_wrong());
        if (done == n) {
            *resets = 0;
            return;
        }
        *resets = MARK + done + 1;
    }
    LAPIC[L_DIVIDE] = 0xb;
    LAPIC[L_TPR] = 0x30;
    LAPIC[L_TIMER] = 0x20000 | VECTOR;          /* periodic */
    LAPIC[L_COUNT] = 300000;
    __asm__ volatile("sti");
    while (!acks)
        relax();
    meet();
    if (!cpu) {
        IOAPIC[0] = 0x10 + 2 * 4;
        IOAPIC[4] = VECTOR + 1;
        switch (*resets % 3) {
        case 0: out8(0xcf9, 2); out8(0xcf9, 6); break;
        case 1: out8(0x92, 1); break;
        default: idt_pointer.limit = 0; __asm__ volatile("lidt %0; ud2" : : "m"(idt_pointer)); break;
        }
    }
    for (;;)
        __asm__ volatile("hlt");
}

/* --- start */

static U32 number(const char **text)
{
    U32 v = 0;
    while (**text == ' ')
        ++*text;
    for (; **text >= '0' && **text <= '9'; ++*text)
        v = v * 10 + (**text - '0');
    return v;
}

static void start_others(void)
{
    for (U32 i = 0; i < trampoline_end - trampoline; i++)
        ((volatile U8 *)0x8000)[i] = trampoline[i];
    U64 at = (U64)on_ipi;
    idt[VECTOR].low = at;
    idt[VECTOR].sel = 8;
    idt[VECTOR].type = 0x8e00;
    idt[VECTOR].mid = at >> 16;
    LAPIC[L_ICR] = 0xc4500;                     /* INIT, then SIPI, to all but self */
    for (U32 i = 0; i < 10000; i++)
        relax();
    LAPIC[L_ICR] = 0xc4608;
    while (started != cpus)
        relax();
}

USED void cpu_main(U32 cpu)
{
    const StartInfo *info = (const StartInfo *)(U64)start_info;
    const char *what = (const char *)info->command_line;
    cpus = number(&what);
    __asm__ volatile("lidt %0" : : "m"(idt_pointer));
    U32 bad = apic_wrong(cpu);
    LAPIC[L_SVR] = 0x1ff;
    if (!cpu)
        start_others();
    while (*what == ' ')
        what++;
    char test = *what;
    while (*what && *what != ' ')
        what++;
    U32 n = number(&what);
    meet();
    switch (test) {
    case 'l': run_litmus(cpu, n); break;
    case 'a': run_counters(cpu, n); break;
    case 'c': run_code(cpu, n); break;
    case 's': run_storm(cpu, n); break;
    case 't': run_time(cpu, n); break;
    case 'r': run_reset(cpu, n, bad); break;
    }
    meet();
    if (!cpu)
        leave(wrong);
    for (;;)
        __asm__ volatile("hlt");
}
