/* SPDX-License-Identifier: GPL-2.0-or-later
 * Runs rows: builds descriptor tables and page tables, enters the row's mode, and prints what the exception or
 * interrupt that ended it shows.  One line a row on the debug port E9h:
 *
 *      NAME #VECTOR e=ERROR ip=CS:IP fl=FLAGS sp=SS:SP [what differs from the start] [peeks]
 *
 * Command line: PREFIX FROM [l]: rows whose names start with PREFIX (- for all), the first FROM of them left out; l: only
 * rows of long mode, for a KVM without VT, which emulates all else and has neither IRET nor paging there. */
#include "tests/sys/sys.h"

enum { DEBUGCON = 0xe9, EXIT = 0xf4, MAX_POKES = 64 };
typedef struct StartInfo { U32 magic, version, flags, modules; U64 module_list, command_line; } StartInfo;
extern const U8 stubs32[], stubs64[], low_start[], low_end[];
extern const U32 low_common_at;

static char text[8192];
static U32 text_len;
static char prefix[64];
static U32 from, row_n;
static U32 features, long_only;

#define AT8(a) (*(volatile U8 *)(a))
#define AT16(a) (*(volatile U16 *)(a))
#define AT32(a) (*(volatile U32 *)(a))
#define AT64(a) (*(volatile U64 *)(a))

/* GCC calls these for structures. */
void *memcpy(void *to, const void *from_, unsigned n)
{
    void *t = to;
    __asm__ volatile("rep movsb" : "+D"(t), "+S"(from_), "+c"(n) : : "memory");
    return to;
}
void *memset(void *to, int v, unsigned n)
{
    void *t = to;
    __asm__ volatile("rep stosb" : "+D"(t), "+c"(n) : "a"(v) : "memory");
    return to;
}

/* --- output */

static void flush(void)
{
    const char *p = text;
    __asm__ volatile("rep outsb" : "+S"(p), "+c"(text_len) : "d"(DEBUGCON) : "memory");
    text_len = 0;
}

void print(const char *s)
{
    for (; *s; s++) {
        text[text_len++] = *s;
        if (text_len == sizeof text)
            flush();
    }
}

void print_hex(U64 v)
{
    char digits[17], *p = digits + 16;
    *p = 0;
    do {
        *--p = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v);
    print(p);
}

static void print_field(const char *name, U64 v)
{
    print(" ");
    print(name);
    print("=");
    print_hex(v);
}

/* --- tables */

static void put_desc(U32 slot, U32 base, U32 limit, U32 access, U32 flags)
{
    AT32(GDT + (slot & ~7)) = (limit & 0xffff) | base << 16;
    AT32(GDT + (slot & ~7) + 4) = (base >> 16 & 0xff) | access << 8 | (limit & 0xf0000) | flags << 20 | (base & 0xff000000);
}

static const struct { U16 slot; U8 access, flags; U32 base, limit; } descs[] = {
    { S_CODE, 0x9b, 0xc, 0, 0xfffff }, { S_CODE64, 0x9b, 0xa, 0, 0xfffff }, { S_DATA, 0x93, 0xc, 0, 0xfffff },
    { S_CODE16, 0x9b, 0, CODE, 0xffff }, { S_DATA16, 0x93, 0, STACK_SEG, 0xffff },
    { S_UCODE, 0xfb, 0xc, 0, 0xfffff }, { S_UDATA, 0xf3, 0xc, 0, 0xfffff }, { S_UCODE64, 0xfb, 0xa, 0, 0xfffff },
    { S_UCODE16, 0xfb, 0, CODE, 0xffff }, { S_UDATA16, 0xf3, 0, STACK_SEG, 0xffff },
    { S_LOW16, 0x9b, 0, 0, 0xffff }, { S_LOWDATA, 0x93, 0, 0, 0xffff },
    { S_SYSENTER, 0x9b, 0xc, 0, 0xfffff }, { S_SYSENTER + 8, 0x93, 0xc, 0, 0xfffff },
    { S_SYSENTER + 16, 0xfb, 0xc, 0, 0xfffff }, { S_SYSENTER + 24, 0xf3, 0xc, 0, 0xfffff },
    { S_SYSENTER + 32, 0xfb, 0xa, 0, 0xfffff }, { S_SYSENTER + 40, 0xf3, 0xc, 0, 0xfffff },
    { S_CODE1, 0xbb, 0xc, 0, 0xfffff }, { S_DATA1, 0xb3, 0xc, 0, 0xfffff },
    { S_CODE2, 0xdb, 0xc, 0, 0xfffff }, { S_DATA2, 0xd3, 0xc, 0, 0xfffff },
};

/* Those that rows change by running: busy bits, descriptors made by loads. */
static void refresh_tables(void)
{
    put_desc(S_TSS, TSS, 0x1000 + 0x200, 0x89, 0);
    put_desc(S_TSS_B, TSS_B, 0x67, 0x89, 0);
    put_desc(S_TSS_C, TSS_C, 0x2b, 0x81, 0);
    put_desc(S_TSS64, TSS64, 0x67, 0x89, 0);
    AT64(GDT + S_TSS64 + 8) = 0;
    put_desc(S_LDT, LDT, LDT_LEN - 1, 0x82, 0);
    AT64(GDT + S_LDT + 8) = 0;
    memset((void *)TSS, 0, 0x68);
    memset((void *)TSS_B, 0, 0x68);
    memset((void *)TSS_C, 0, 0x2c);
    AT32(TSS + 4) = STACK0;
    AT32(TSS + 8) = S_DATA;
    AT32(TSS + 12) = STACK1;
    AT32(TSS + 16) = S_DATA1;
    AT32(TSS + 20) = STACK1;
    AT32(TSS + 24) = S_DATA2;
    AT16(TSS + 0x66) = TSS_IOMAP - TSS;
    /* A task to switch to: its code is the row's. */
    AT32(TSS_B + 0x20) = CODE;
    AT32(TSS_B + 0x24) = 2;
    AT32(TSS_B + 0x38) = STACK3;
    AT32(TSS_B + 0x4c) = S_CODE;
    AT32(TSS_B + 0x48) = AT32(TSS_B + 0x50) = AT32(TSS_B + 0x54) = S_DATA;
    AT32(TSS_B + 0x58) = AT32(TSS_B + 0x5c) = S_DATA;
    AT32(TSS_B + 4) = STACK0;
    AT32(TSS_B + 8) = S_DATA;
    AT16(TSS_B + 0x66) = 0x68;
    AT32(TSS_B + 0x1c) = AT32(TSS + 0x1c) = context.cr3;
    AT16(TSS_C + 0x10) = 2;
    AT16(TSS_C + 0x22) = S_DATA16;
    AT16(TSS_C + 0x24) = S_CODE16;
    AT16(TSS_C + 0x26) = S_DATA16;
    AT16(TSS_C + 0x28) = S_DATA16;
    AT16(TSS_C + 0x1a) = 0x8000;
    AT16(TSS_C + 2) = 0x8000;
    AT16(TSS_C + 4) = S_DATA16;
}

static void make_tables(void)
{
    memset((void *)GDT, 0, IDT - GDT);
    for (U32 i = 0; i < sizeof descs / sizeof *descs; i++)
        put_desc(descs[i].slot, descs[i].base, descs[i].limit, descs[i].access, descs[i].flags);
    for (U32 v = 0; v < 256; v++) {
        U32 access = v < USER_GATES ? 0x8e : 0xee, at = (U32)stubs32 + v * 16, at64 = (U32)stubs64 + v * 16;
        AT32(IDT + v * 8) = (at & 0xffff) | S_CODE << 16;
        AT32(IDT + v * 8 + 4) = (at & 0xffff0000) | access << 8;
        AT32(IDT64 + v * 16) = (at64 & 0xffff) | S_CODE64 << 16;
        AT32(IDT64 + v * 16 + 4) = (at64 & 0xffff0000) | access << 8;
        AT64(IDT64 + v * 16 + 8) = 0;
        /* push vector; jmp low_common */
        U32 stub = LOW + 0x1000 + v * 8;
        AT8(stub) = 0x68;
        AT16(stub + 1) = v;
        AT8(stub + 3) = 0xe9;
        AT16(stub + 4) = low_common_at - (stub + 6);
        AT32(v * 4) = stub;
    }
    memcpy((void *)LOW, low_start, low_end - low_start);
    memset((void *)TSS, 0, TSS64 + 0x68 - TSS);
    memset((void *)TSS_IOMAP, 0, 0x200);
    AT8(TSS_IOMAP + 0x200) = 0xff;
    AT32(TSS64 + 4) = STACK0;
    AT32(TSS64 + 0x24) = IST1;
    AT16(TSS64 + 0x66) = 0x68;
}

/* User-accessible are, for rows of ring 3 and virtual-8086 mode: the code, the vectors, ring 3's stack, the data. */
static int is_user(U32 at) { return at < 0x20000 || (at >= STACK3 - 0x1000 && at < GDT); }

static void make_paging(U32 user)
{
    static U32 made = 2;            /* for which user the tables stand */
    if (made == user)
        return;
    made = user;
    memset((void *)PD2, 0, TABLES_END - PD2);
    AT32(PD2) = PT2_LOW | 0x27;
    AT32(PD2 + 4) = 0x4000a3;                           /* 4 MiB pages: rows without PSE do not go there */
    AT32(PD2 + 8) = PT2 | 0x27;
    AT32(PDPTP) = PDP | 1;
    AT32(PDP) = PTP_LOW | 0x27;
    AT32(PDP + 32) = PTP | 0x27;
    AT32(PML4) = PDPT4 | 0x27;
    AT32(PDPT4) = PD4 | 0x27;
    AT32(PD4) = PT4_LOW | 0x27;
    AT32(PD4 + 32) = PT4 | 0x27;
    for (U32 i = 1; i < 4; i++)
        AT32(PDP + i * 8) = AT32(PD4 + i * 8) = i << 21 | 0xe3;
    for (U32 i = 0; i < 1024; i++) {
        U32 at = i << 12, entry = at | 0x63 | (user && is_user(at) ? 4 : 0);
        AT32(PT2_LOW + i * 4) = entry;
        if (i < 512)
            AT32(PTP_LOW + i * 8) = AT32(PT4_LOW + i * 8) = entry;
    }
}

/* --- a row */

static U64 get(U32 at, U32 len)
{
    return len == 1 ? AT8(at) : len == 2 ? AT16(at) : len == 4 ? AT32(at) : AT64(at);
}

static void put(U32 at, U32 len, U64 v)
{
    if (len == 1)
        AT8(at) = v;
    else if (len == 2)
        AT16(at) = v;
    else if (len == 4)
        AT32(at) = v;
    else
        AT64(at) = v;
}

static void make_context(const Row *r)
{
    U32 user = r->cpl == 3 || r->mode == MODE_V86;
    Context *c = &context;
    U32 paging = r->mode >= MODE_L64 && r->mode <= MODE_C16 ? PAGING_4 : r->paging;
    *c = (Context){ .mode = r->mode, .eflags = r->eflags | 2, .cr0 = r->cr0 | CR0_PE | CR0_ET, .cr4 = r->cr4,
                    .efer = r->efer, .tss = S_TSS };
    if (paging != PAGING_OFF)
        c->cr0 |= CR0_PG;
    if (paging >= PAGING_PAE)
        c->cr4 |= CR4_PAE;
    if (paging == PAGING_2 && (features & NEED_PSE36))
        c->cr4 |= CR4_PSE;
    c->cr3 = paging == PAGING_2 ? PD2 : paging == PAGING_PAE ? PDPTP : paging == PAGING_4 ? PML4 : 0;
    if (paging == PAGING_4) {
        c->efer |= EFER_LME;
        c->tss = S_TSS64;
    }
    c->eip = CODE;
    c->ds = user ? S_UDATA : S_DATA;
    c->ss = c->ds;
    c->esp = user ? STACK3 : STACK0;
    switch (r->mode) {
    case MODE_P32: case MODE_C32: c->cs = user ? S_UCODE : S_CODE; break;
    case MODE_L64: c->cs = user ? S_UCODE64 : S_CODE64; break;
    case MODE_P16: case MODE_C16:
        c->cs = user ? S_UCODE16 : S_CODE16;
        c->ss = c->ds = user ? S_UDATA16 : S_DATA16;
        c->eip = 0;
        c->esp -= STACK_SEG;
        break;
    case MODE_V86:
        c->eflags |= FL_VM;
        c->cs = CODE >> 4;
        c->eip = 0;
        c->ss = STACK_SEG >> 4;
        c->esp = 0xf000;
        c->ds = DATA >> 4;
        break;
    case MODE_REAL:
        c->cs = CODE >> 4;
        c->ss = STACK_SEG >> 4;
        c->ds = DATA >> 4;
        c->esp = 0x8000;
        AT32(LOW_SAVE) = c->eflags;
        break;
    }
    if (r->cpl == 1) {
        c->cs = S_CODE1;
        c->ss = c->ds = S_DATA1;
        c->esp = STACK1;
    }
    if (r->ds)
        c->ds = r->ds;
    make_paging(user || r->user);
}

/* What the stubs saved, made uniform. */
static U64 gprs[16], segs[4];           /* eax ecx edx ebx esp ebp esi edi r8..; ds es fs gs */
static U32 hs_ss, hs_sp, inter;

static U32 linear(U32 ss, U32 sp)
{
    U32 at = GDT + (ss & ~7), low = AT32(at), high = AT32(at + 4);
    U32 base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    return base + (high & 1 << 22 ? sp : sp & 0xffff);
}

/* Rows do not use INT n with these. */
static int pushes_error(U32 v) { return v == 8 || (v >= 10 && v <= 14) || v == 17; }

static Event make_event(void)
{
    Event e = { .cr2 = saved.cr2 };
    inter = 0;
    if (saved.kind == 0) {
        for (U32 i = 0; i < 8; i++)
            gprs[i] = AT32(LOW_SAVE + i * 4);
        for (U32 i = 0; i < 4; i++)
            segs[i] = AT16(LOW_SAVE + 32 + i * 4);
        U32 ss = AT16(LOW_SAVE + 48), sp = AT32(LOW_SAVE + 52), at = (ss << 4) + (sp & 0xffff);
        e.vector = AT16(LOW_SAVE + 56) & 0xff;
        e.ip = AT16(at);
        e.cs = AT16(at + 2);
        e.flags = AT16(at + 4);
        e.ss = ss;
        e.sp = sp + 6;
        return e;
    }
    if (saved.kind == 1) {
        U32 at = linear(saved.ss, saved.sp);
        const U32 *f = (const U32 *)at;
        for (U32 i = 0; i < 4; i++)
            segs[i] = f[3 - i] & 0xffff;
        for (U32 i = 0; i < 8; i++)
            gprs[i] = f[4 + 7 - i];
        f += 12;
        e.vector = *f++ & 0xff;
        hs_ss = saved.ss;
        e.has_error = pushes_error(e.vector);
        if (e.has_error)
            e.error = *f++;
        e.ip = f[0];
        e.cs = f[1] & 0xffff;
        e.flags = f[2];
        U32 v86 = e.flags & FL_VM;
        inter = v86 || (e.cs & 3) != (saved.cs & 3);
        hs_sp = saved.sp + ((U32)f - at) + (inter ? v86 ? 36 : 20 : 12);
        e.ss = inter ? f[4] & 0xffff : saved.ss;
        e.sp = inter ? f[3] : hs_sp;
        for (U32 i = 0; v86 && i < 4; i++)
            segs[i] = f[i == 0 ? 6 : i == 1 ? 5 : i + 5] & 0xffff;      /* ES DS FS GS */
        return e;
    }
    static const U8 order[15] = { 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 3, 2, 1, 0 };
    const U64 *f = (const U64 *)saved.sp;
    for (U32 i = 0; i < 4; i++)
        segs[i] = f[3 - i];
    for (U32 i = 0; i < 15; i++)
        gprs[order[i]] = f[4 + i];
    f += 19;
    e.vector = *f++ & 0xff;
    e.has_error = pushes_error(e.vector);
    if (e.has_error)
        e.error = *f++;
    e.ip = f[0];
    e.cs = f[1];
    e.flags = f[2];
    e.sp = f[3];
    e.ss = f[4];
    inter = (e.cs & 3) != (saved.cs & 3);
    hs_ss = saved.ss;
    hs_sp = (U32)(f + 5);
    return e;
}

/* Undoes pokes in reverse, so that several of one place are no trouble. */
static struct { U32 at, len; U64 v; } undo[MAX_POKES];

Event run_code(const Row *r, const U8 *code, U32 len)
{
    make_context(r);
    refresh_tables();
    memset((void *)DATA, 0, DATA_LEN);
    memcpy((void *)CODE, code, len);
    AT32(CODE + len) = 0x0b0f0b0f;      /* ud2: what runs past its end */
    U32 n = 0;
    for (const Poke *p = r->pokes; p < r[1].pokes && n < MAX_POKES; p++, n++) {
        undo[n].at = p->at;
        undo[n].len = p->len;
        undo[n].v = get(p->at, p->len);
        put(p->at, p->len, p->v);
    }
    enter();
    Event e = make_event();
    return e;
}

static void finish(const Row *r)
{
    U32 n = r[1].pokes - r->pokes;
    while (n--)
        put(undo[n].at, undo[n].len, undo[n].v);
}

static void show(const Row *r, const Event *e)
{
    static const char *const gpr_name[16] = { "ax", "cx", "dx", "bx", "", "bp", "si", "di", "r8", "r9", "r10", "r11", "r12",
                                             "r13", "r14", "r15" };
    static const char *const seg_name[4] = { "ds", "es", "fs", "gs" };
    U32 mode64 = saved.kind == 2;
    print(" #");
    print_hex(e->vector);
    if (e->has_error)
        print_field("e", e->error);
    print_field("ip", e->cs);
    print(":");
    print_hex(e->ip);
    print_field("fl", e->flags);
    print_field("sp", e->ss);
    print(":");
    print_hex(e->sp);
    if (saved.kind && (inter || hs_ss != S_DATA || (mode64 && hs_sp != e->sp))) {
        print_field("h", saved.cs);
        print(":");
        print_hex(hs_ss);
        print(":");
        print_hex(hs_sp);
    }
    if (e->cr2)
        print_field("cr2", e->cr2);
    for (U32 i = 0; i < (mode64 ? 16 : 8); i++)
        if (i != 4 && gprs[i] != 0xa0000000u + i && !(i >= 8 && gprs[i] == 0))
            print_field(gpr_name[i], gprs[i]);
    for (U32 i = 0; i < 4; i++)
        if (segs[i] != context.ds)
            print_field(seg_name[i], segs[i]);
    if (saved.dr6 != 0xffff0ff0)
        print_field("dr6", saved.dr6);
    if (saved.dr7 != 0x400)
        print_field("dr7", saved.dr7);
    if (r->mode != MODE_REAL || saved.kind) {
        if (saved.cr0 != context.cr0)
            print_field("cr0", saved.cr0);
        if (saved.cr4 != context.cr4)
            print_field("cr4", saved.cr4);
        if (saved.cr3 != context.cr3)
            print_field("cr3", saved.cr3);
        if (saved.tr != context.tss)
            print_field("tr", saved.tr);
    }
    for (const Peek *p = r->peeks; p < r[1].peeks; p++) {
        print(" ");
        print(p->name);
        if (!*p->name)
            print_hex(p->at);
        print("=");
        print_hex(get(p->at, p->len));
    }
}

int wanted(const char *name)
{
    for (U32 i = 0; prefix[i]; i++)
        if (prefix[i] != name[i])
            return 0;
    return row_n++ >= from;
}

/* The name of a row; false if it cannot be had here. */
int begin(const char *name, U32 need, U32 mode, U32 cpl)
{
    print(name);
    flush();                        /* should the row take the machine down, its name is known */
    if (!(need & ~features) && (!long_only || mode == MODE_L64 || (mode == MODE_C32 && cpl == 0)))
        return 1;
    print(" skip");
    finish_line();
    return 0;
}

void finish_line(void)
{
    print("\n");
    flush();
}

static void run_row(const Row *r)
{
    if (!begin(r->name, r->need, r->mode, r->cpl))
        return;
    Event e = run_code(r, r->code, r[1].code - r->code);
    show(r, &e);
    finish(r);
    finish_line();
}

/* --- start */

static void cpuid(U32 leaf, U32 sub, U32 *regs)
{
    __asm__ volatile("cpuid" : "=a"(regs[0]), "=b"(regs[1]), "=c"(regs[2]), "=d"(regs[3]) : "a"(leaf), "c"(sub));
}

U32 has(U32 need) { return !(need & ~features); }

static void find_features(void)
{
    static const struct { U32 need, leaf; U8 reg, bit; } needs[] = {
        { NEED_SMEP, 7, 1, 7 }, { NEED_SMAP, 7, 1, 20 }, { NEED_NX, 0x80000001, 3, 20 }, { NEED_PCID, 1, 2, 17 },
        { NEED_INVPCID, 7, 1, 10 }, { NEED_VME, 1, 3, 1 }, { NEED_1G, 0x80000001, 3, 26 }, { NEED_LM, 0x80000001, 3, 29 },
        { NEED_UMIP, 7, 2, 2 }, { NEED_SYSENTER, 1, 3, 11 }, { NEED_PSE36, 1, 3, 17 }, { NEED_PKU, 7, 2, 3 },
        { NEED_XSAVE, 1, 2, 26 }, { NEED_FSGSBASE, 7, 1, 0 }, { NEED_RDTSCP, 0x80000001, 3, 27 },
        { NEED_AVX2, 7, 1, 5 },
    };
    U32 regs[4], max[2];
    cpuid(0, 0, regs);
    max[0] = regs[0];
    print("# vendor ");
    char vendor[13] = { 0 };
    memcpy(vendor, &regs[1], 4);
    memcpy(vendor + 4, &regs[3], 4);
    memcpy(vendor + 8, &regs[2], 4);
    print(vendor);
    print("\n");
    cpuid(0x80000000, 0, regs);
    max[1] = regs[0];
    for (U32 i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (needs[i].leaf > max[needs[i].leaf >> 31])
            continue;
        cpuid(needs[i].leaf, 0, regs);
        if (regs[needs[i].reg] >> needs[i].bit & 1)
            features |= needs[i].need;
    }
    if (has(NEED_AVX2))                     /* XCR0: x87, SSE, AVX */
        __asm__ volatile("mov %%cr4, %%esi; mov %%esi, %%edi; or %0, %%edi; mov %%edi, %%cr4; xsetbv; mov %%esi, %%cr4"
                         : : "i"(CR4_OSXSAVE), "a"(7), "c"(0), "d"(0) : "esi", "edi");
}

void __attribute__((used)) run(const StartInfo *info)
{
    const char *p = (const char *)(U32)info->command_line;
    U32 n = 0;
    while (*p && *p != ' ' && n < sizeof prefix - 1)
        prefix[n++] = *p++;
    if (prefix[0] == '-')
        prefix[0] = 0;
    while (*p == ' ')
        p++;
    for (; *p >= '0' && *p <= '9'; p++)
        from = from * 10 + *p - '0';
    while (*p == ' ')
        p++;
    long_only = *p == 'l';
    __asm__ volatile("mov $0xff, %%al; out %%al, $0x21; out %%al, $0xa1" : : : "eax");      /* 8259s: no interrupts */
    find_features();
    make_tables();
    for (const Row *r = rows; r < rows_end - 1; r++)
        if (wanted(r->name))
            run_row(r);
    paging_rows();
    print("# end\n");
    flush();
    for (;;)
        __asm__ volatile("outb %b0, %w1" : : "a"(21), "Nd"(EXIT));
}
