/* SPDX-License-Identifier: GPL-2.0-or-later
 * A kernel of one page that does what its command line says and leaves through isa-debug-exit at port 0xf4:
 *   exit N          at once, as N (the process's status is 2 N + 1)
 *   triple          a fault with no interrupt table
 *   unmapped        jumps to where nothing is
 *   hello           "hello" on the first serial port and on the debug console at 0xe9, then exit 0
 *   answer          waits for a character on the first serial port, answers with a line, waits for another, then exit 0
 *   halt            waits for an interrupt that never comes
 *   cpuid           every leaf of CPUID on the first serial port, a line each: leaf, subleaf, EAX, EBX, ECX, EDX; then exit 0
 *   ports SEED [N], mmio SEED [N], msrs SEED [N]    N random reads and writes, then exit 21
 *   tables SEED [N]     N random descriptor tables, selectors, control registers and far transfers, then exit 21 if it
 *                   lives that long
 * It is entered by the PVH protocol (Xen's docs/misc/pvh.pandoc): 32-bit, flat, no paging, ebx the start information. */
__asm__(".pushsection .note.Xen, \"a\", @note\n"
        ".long 4, 4, 18\n"                  /* XEN_ELFNOTE_PHYS32_ENTRY */
        ".asciz \"Xen\"\n"
        ".long entry\n"
        ".popsection\n"
        ".globl entry\n"
        "entry: mov $stack_top, %esp\n"
        "push %ebx\n"
        "call run\n"
        /* A fault with an error code (#GP of a refused MSR access): skip the two bytes of the instruction. */
        "fault_with_code: add $4, %esp\n"
        "addl $2, (%esp)\n"
        "lret $4\n"                         /* no IRET: KVM's instruction emulator has none outside real mode */
        /* Any exception while tables are random: back to the loop, with tables as they should be. */
        "recover: lgdt own_gdt_pointer\n"
        "ljmp $8, $1f\n"
        "1: mov $16, %eax\n"
        "mov %eax, %ds\n"
        "mov %eax, %es\n"
        "mov %eax, %ss\n"
        "mov recover_esp, %esp\n"
        "jmp *recover_eip\n");

typedef unsigned long long U64;
typedef struct StartInfo { unsigned magic, version, flags, modules; U64 module_list, command_line; } StartInfo;

static char stack[4096] __attribute__((aligned(16), used));
__asm__(".set stack_top, stack + 4096");

static struct { unsigned low, high; } idt[64];
static struct __attribute__((packed)) { unsigned short limit; void *base; } idt_pointer = { sizeof idt - 1, idt };
extern char fault_with_code[];

static void out8(unsigned port, unsigned v) { __asm__ volatile("outb %b0, %w1" : : "a"(v), "Nd"(port)); }

static unsigned in8(unsigned port)
{
    unsigned char v;
    __asm__ volatile("inb %w1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

enum { COM1 = 0x3f8, LSR = COM1 + 5, LSR_RX = 1, LSR_TX_EMPTY = 0x20, DEBUGCON = 0xe9 };

static void print(const char *text)
{
    for (; *text; text++) {
        while (!(in8(LSR) & LSR_TX_EMPTY))
            continue;
        out8(COM1, *text);
        out8(DEBUGCON, *text);
    }
}

static char await_character(void)
{
    while (!(in8(LSR) & LSR_RX))
        continue;
    return in8(COM1);
}

/* The other character tells that the line has been read: a pseudo-terminal drops what is unread when it closes. */
static void answer(void)
{
    static char line[] = "got ?\n";
    line[4] = await_character();
    print(line);
    await_character();
}

static unsigned random32(unsigned *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void leave(unsigned code)
{
    for (;;)
        out8(0xf4, code);
}

/* Not the ports that end the run: debug exit, the reset register and the keyboard controller's and port 92's resets. */
static int ends(unsigned port)
{
    return (port >= 0xf1 && port <= 0xf7) || (port >= 0xcf6 && port <= 0xcfc) || (port >= 0x61 && port <= 0x64) ||
           (port >= 0x8f && port <= 0x92);
}

static void poke_ports(unsigned seed, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned what = random32(&seed), v = random32(&seed), port = what & 0xffff;
        if (what & 0x30000000)              /* three in four where the devices are */
            port &= 0xfff;
        if (ends(port))
            continue;
        switch (what >> 16 & 7) {
        case 0: __asm__ volatile("inb %w1, %b0" : "=a"(v) : "Nd"(port)); break;
        case 1: __asm__ volatile("inw %w1, %w0" : "=a"(v) : "Nd"(port)); break;
        case 2: __asm__ volatile("inl %w1, %0" : "=a"(v) : "Nd"(port)); break;
        case 3: __asm__ volatile("outw %w0, %w1" : : "a"(v), "Nd"(port)); break;
        case 4: __asm__ volatile("outl %0, %w1" : : "a"(v), "Nd"(port)); break;
        default: out8(port, v);
        }
    }
}

static void poke_mmio(unsigned seed, unsigned n)
{
    static const unsigned bases[] = { 0xfec00000, 0xfee00000, 0xfed00000, 0xb0000000, 0xfffc0000, 0xa0000, 0xe0000 };
    for (unsigned i = 0; i < n; i++) {
        unsigned what = random32(&seed), v = random32(&seed);
        unsigned base = bases[what % (sizeof bases / sizeof *bases)];
        unsigned at = what & 0x100 ? base + (v >> 8 & 0xfff) : 0x80000000 | random32(&seed);
        if (!(what & 0x200))
            at &= ~7u;
        if ((at & ~0xffu) == 0xfee00300 && (v & 0xf0))      /* interrupt command register: an INIT or NMI to itself */
            continue;
        switch (what >> 16 & 7) {
        case 0: (void)*(volatile unsigned char *)at; break;
        case 1: (void)*(volatile unsigned short *)at; break;
        case 2: (void)*(volatile unsigned *)at; break;
        case 3: *(volatile unsigned char *)at = v; break;
        case 4: *(volatile unsigned short *)at = v; break;
        case 5: __asm__ volatile("lock xaddl %0, %1" : "+r"(v), "+m"(*(volatile unsigned *)at)); break;
        default: *(volatile unsigned *)at = v;
        }
    }
}

static void set_gate(unsigned n, const char *handler)
{
    unsigned short cs;
    __asm__("mov %%cs, %0" : "=r"(cs));
    idt[n].low = ((unsigned)handler & 0xffff) | (unsigned)cs << 16;
    idt[n].high = ((unsigned)handler & 0xffff0000) | 0x8e00;
}

static void poke_msrs(unsigned seed, unsigned n)
{
    static const unsigned bases[] = { 0, 0x10, 0x170, 0x1d0, 0x200, 0x2f0, 0x400, 0x800, 0xc0000080, 0xc0000100, 0x40000000 };
    set_gate(13, fault_with_code);
    __asm__ volatile("lidt %0" : : "m"(idt_pointer));
    for (unsigned i = 0; i < n; i++) {
        unsigned what = random32(&seed), low = random32(&seed), high = what & 0x1000 ? random32(&seed) : 0;
        unsigned msr = what & 0x100 ? bases[what % (sizeof bases / sizeof *bases)] + (low & 0x7f) : random32(&seed);
        if (what & 0x10000)
            __asm__ volatile("rdmsr" : "+a"(low), "+d"(high) : "c"(msr));
        else if (msr != 0x1b && msr != 0xc0000080)      /* the local APIC's base and EFER: moving them ends the run */
            __asm__ volatile("wrmsr" : : "a"(low), "d"(high), "c"(msr));
    }
}

static void print_hex(unsigned v)
{
    char text[10];
    for (unsigned i = 0; i < 8; i++)
        text[i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15];
    text[8] = ' ';
    text[9] = 0;
    print(text);
}

static void cpuid(unsigned leaf, unsigned sub, unsigned r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
}

/* Subleaves up to the one of which all that counts is 0, but of 0Dh as many as components may be. */
static void print_cpuid(unsigned base)
{
    unsigned r[4];
    cpuid(base, 0, r);
    unsigned last = r[0];
    if (last < base || last > base + 0x40)
        last = base;
    for (unsigned leaf = base; leaf <= last; leaf++) {
        unsigned subs = leaf == 4 || leaf == 0xb || leaf == 0x1f || leaf == 0x8000001d ? 8 : leaf == 7 ? 3 : leaf == 0xd ? 20 : 1;
        for (unsigned sub = 0; sub < subs; sub++) {
            cpuid(leaf, sub, r);
            if (sub && !(leaf == 0xd || leaf == 7) && !(r[0] | r[1]))
                break;
            if (sub > 1 && !(r[0] | r[1] | r[2] | r[3]))
                continue;
            print_hex(leaf);
            print_hex(sub);
            for (unsigned i = 0; i < 4; i++)
                print_hex(r[i]);
            print("\n");
        }
    }
}

/* The tables are random, the vectors lead to `recover`: what can be survived is, all else is a triple fault. */
extern char recover[];
static U64 own_gdt[32] __attribute__((aligned(8), used));
static struct __attribute__((packed)) { unsigned short limit; void *base; } own_gdt_pointer __attribute__((used)) = { 23, own_gdt };
static unsigned recover_esp __attribute__((used)), recover_eip __attribute__((used));

static void random_gdt(unsigned *seed)
{
    static const unsigned char types[] = { 0x9a, 0x92, 0xfa, 0xf2, 0x82, 0x89, 0x81, 0x8c, 0x84, 0x8e, 0x85, 0x9e, 0x96, 0x00 };
    own_gdt[1] = 0x00cf9b000000ffffull;
    own_gdt[2] = 0x00cf93000000ffffull;
    for (unsigned i = 3; i < 32; i++) {
        unsigned what = random32(seed);
        U64 type = what & 0x100 ? what & 0xff : types[what % sizeof types];
        own_gdt[i] = (U64)(random32(seed) & 0xffff0fffu) << 32 | random32(seed) | type << 40;
    }
    own_gdt_pointer.limit = 255;
}

static void one_of_tables(unsigned *seed)
{
    struct __attribute__((packed)) { unsigned short limit; unsigned base; } table = { random32(seed), random32(seed) };
    struct __attribute__((packed)) { unsigned offset; unsigned short sel; } far = { random32(seed), random32(seed) & 0xff };
    unsigned what = random32(seed), sel = random32(seed) & (what & 0x100 ? 0xffff : 0xff), v = random32(seed);
    if (what & 0x1000)
        table.base = (unsigned)own_gdt;
    switch (what & 15) {
    case 0: __asm__ volatile("lgdt %0; mov %1, %%fs" : : "m"(table), "r"(sel)); break;
    case 1: __asm__ volatile("lidt %0; int $0x20" : : "m"(table)); break;
    case 2: __asm__ volatile("lldt %w0" : : "r"(sel)); break;
    case 3: __asm__ volatile("ltr %w0" : : "r"(sel)); break;
    case 4: __asm__ volatile("mov %0, %%ss" : : "r"(sel)); break;
    case 5: __asm__ volatile("mov %0, %%gs; mov %%gs:(%1), %0" : "+r"(sel) : "r"(v)); break;
    case 6: __asm__ volatile("ljmp *%0" : : "m"(far)); break;
    case 7: __asm__ volatile("lcall *%0" : : "m"(far)); break;
    case 8: __asm__ volatile("push %0; push %1; push %2; iret" : : "r"(v), "r"(sel), "r"(far.offset)); break;
    case 9: __asm__ volatile("mov %0, %%cr4" : : "r"(v & 0x7f)); break;
    case 10: __asm__ volatile("mov %0, %%cr3" : : "r"(v)); break;
    case 11: __asm__ volatile("mov %0, %%cr0" : : "r"((v & 0x6005003e) | 1)); break;
    case 12: __asm__ volatile("mov %0, %%dr7; mov %1, %%dr0" : : "r"(v & 0xffff07ff), "r"(far.offset)); break;
    case 13: __asm__ volatile("push %0; popf; nop" : : "r"(v)); break;
    case 14: __asm__ volatile("lar %1, %0; lsl %1, %0; verr %w1; verw %w1; sgdt %2" : "+r"(v), "+r"(sel), "=m"(table)); break;
    default: __asm__ volatile("mov %0, %%ds; mov %0, %%es; pushw %%fs; pop %%fs" : : "r"(sel & 0xfc)); break;
    }
}

static void poke_tables(unsigned seed, unsigned n)
{
    static volatile unsigned left, state;       /* not in registers: faults come back here */
    left = n;
    state = seed;
    __asm__ volatile("mov %%esp, %0; movl $1f, %1; 1:" : "=m"(recover_esp), "=m"(recover_eip) : : "memory");
    while (left--) {
        unsigned s = state;
        own_gdt_pointer.limit = 255;
        random_gdt(&s);
        state = s ^ left << 16;
        __asm__ volatile("lgdt own_gdt_pointer; ljmp $8, $2f; 2:");
        for (unsigned v = 0; v < 64; v++)
            set_gate(v, recover);
        __asm__ volatile("lidt %0" : : "m"(idt_pointer));
        one_of_tables(&s);
    }
}

static int is(const char *word, const char *text)
{
    while (*word && *word == *text) {
        word++;
        text++;
    }
    return !*word && (!*text || *text == ' ');
}

/* The number after `skip` words, or `preset` if there is none. */
static unsigned number(const char *text, int skip, unsigned preset)
{
    unsigned n = 0;
    for (; skip; skip--) {
        while (*text && *text != ' ')
            text++;
        while (*text == ' ')
            text++;
    }
    if (!*text)
        return preset;
    for (; *text >= '0' && *text <= '9'; text++)
        n = n * 10 + *text - '0';
    return n;
}

void __attribute__((used)) run(const StartInfo *info)
{
    const char *what = (const char *)(unsigned)info->command_line;
    unsigned seed = number(what, 1, 0) * 2654435761u | 1;
    if (info->magic != 0x336ec578)
        leave(99);
    if (is("exit", what))
        leave(number(what, 1, 0));
    if (is("hello", what)) {
        print("hello\n");
        leave(0);
    }
    if (is("cpuid", what)) {
        print_cpuid(0);
        print_cpuid(0x40000000);
        print_cpuid(0x80000000);
        leave(0);
    }
    if (is("answer", what)) {
        answer();
        leave(0);
    }
    while (is("halt", what))
        __asm__ volatile("sti; hlt");
    if (is("triple", what))
        __asm__ volatile("ud2");
    if (is("unmapped", what))
        ((void (*)(void))0xf0000000)();
    if (is("ports", what))
        poke_ports(seed, number(what, 2, 200000));
    if (is("mmio", what))
        poke_mmio(seed, number(what, 2, 200000));
    if (is("msrs", what))
        poke_msrs(seed, number(what, 2, 100000));
    if (is("tables", what))
        poke_tables(seed, number(what, 2, 1000));
    leave(21);
}
