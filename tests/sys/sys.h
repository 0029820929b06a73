/* SPDX-License-Identifier: GPL-2.0-or-later
 * What the rows of tests/sys (assembler) and their driver (C) share: addresses, selectors, modes.  Everything that can
 * show in a record lies at a fixed address below 1 MiB, so that records do not change when the guest grows, and so that
 * real-mode and virtual-8086 code reaches it. */
#ifndef TESTS_SYS_H
#define TESTS_SYS_H

/* Linear = physical, but for LIN's window. */
#define LOW         0x08000     /* trampolines and stubs of real mode */
#define LOW_SAVE    0x0a000     /* what they save */
#define CODE        0x10000     /* a row's code; 1000:0 in real mode; offset 0 in MODE_P16 and MODE_C16 */
#define STACK_SEG   0x20000     /* base of 16-bit stacks; 2000:0 */
#define STACK0      0x28000     /* top of the stack of rings 0: also TSS's */
#define STACK1      0x2b000     /* of rings 1 and 2 in the TSS */
#define STACK3      0x2f000     /* of ring 3 */
#define IST1        0x2d000
#define DATA        0x30000     /* 3000:0; user-accessible where CPL is 3; its first 128 bytes are zero in every row */
#define DATA_LEN    0x80
#define GDT         0x40000     /* 0x400 bytes */
#define LDT         0x40400     /* 0x100 bytes: LDT_LEN */
#define IDT         0x41000     /* 256 gates of 32-bit mode */
#define IDT64       0x42000     /* 256 gates of long mode */
#define TSS         0x43000     /* the current task's */
#define TSS_B       0x43200     /* a 32-bit task to switch to, GDT slot S_TSS_B */
#define TSS_C       0x43400     /* and a 16-bit one */
#define TSS64       0x43600
#define TSS_IOMAP   0x44000     /* far behind TSS: offset 0x1000; all zero, ended by FFh */
/* Paging structures.  The first 8 MiB are mapped one to one by all of them but for the window LIN..LIN+4 MiB, whose
 * lowest level a row fills in by `poke`: PT2 (2-level), PTP (PAE), PT4 (4-level), an entry each 4 KiB. */
#define PD2         0x50000
#define PT2_LOW     0x51000
#define PT2         0x52000
#define PDPTP       0x53000
#define PDP         0x54000
#define PTP_LOW     0x55000
#define PTP         0x56000
#define PML4        0x58000
#define PDPT4       0x59000
#define PD4         0x5a000
#define PT4_LOW     0x5b000
#define PT4         0x5c000
#define TABLES_END  0x5e000
#define BOOT_STACK  0x9e000     /* the driver's: fixed, since the upper half of ESP shows where SS is 16 bits wide */
#define LIN         0x800000    /* the window's linear address: entry 2 of PD2, entry 4 of PDP and PD4 */
#define FRAME       0x600000    /* physical pages that rows may map there */

/* Selectors. */
#define S_CODE      0x08        /* flat 32-bit */
#define S_CODE64    0x10        /* with S_DATA behind it: SYSCALL's */
#define S_DATA      0x18
#define S_CODE16    0x20        /* base CODE */
#define S_DATA16    0x28        /* base STACK_SEG, limit ffff, 16-bit stack */
#define S_UCODE     0x33        /* SYSRET's: 32-bit code, data, 64-bit code */
#define S_UDATA     0x3b
#define S_UCODE64   0x43
#define S_UCODE16   0x4b        /* base CODE */
#define S_UDATA16   0x53        /* base STACK_SEG */
#define S_TSS       0x58
#define S_TSS64     0x60
#define S_LDT       0x70        /* 16 bytes in long mode */
#define S_LOW16     0x80        /* base 0, limit ffff, code: the way to real mode */
#define S_LOWDATA   0x88        /* base 0, limit ffff */
#define S_SYSENTER  0x90        /* code, data, user code, user data, user code64, user data */
#define S_TSS_B     0xc0
#define S_TSS_C     0xc8
#define S_CODE1     0xd1        /* rings 1 and 2 */
#define S_DATA1     0xd9
#define S_DATA2     0xe2
#define S_CODE2     0xea
#define S_X         0x100       /* from here to 0x1f8: zero, for rows */
#define GDT_LEN     0x200
#define LDT_LEN     0x100

/* Row modes. */
#define MODE_P32    0           /* protected, 32-bit */
#define MODE_P16    1           /* protected, 16-bit code and stack */
#define MODE_L64    2
#define MODE_C32    3           /* compatibility mode, 32-bit */
#define MODE_C16    4
#define MODE_REAL   5
#define MODE_V86    6

#define PAGING_OFF  0
#define PAGING_2    1
#define PAGING_PAE  2
#define PAGING_4    3

#define USER_GATES  0x20        /* vectors from here on have gates of DPL 3 */

/* Bits of registers, as the manuals name them. */
#define CR0_PE 1
#define CR0_MP 2
#define CR0_EM 4
#define CR0_TS 8
#define CR0_ET 0x10
#define CR0_NE 0x20
#define CR0_WP 0x10000
#define CR0_AM 0x40000
#define CR0_NW 0x20000000
#define CR0_CD 0x40000000
#define CR0_PG 0x80000000
#define CR4_VME 1
#define CR4_PVI 2
#define CR4_TSD 4
#define CR4_DE 8
#define CR4_PSE 0x10
#define CR4_PAE 0x20
#define CR4_MCE 0x40
#define CR4_PGE 0x80
#define CR4_PCE 0x100
#define CR4_OSFXSR 0x200
#define CR4_OSXMMEXCPT 0x400
#define CR4_UMIP 0x800
#define CR4_FSGSBASE 0x10000
#define CR4_PCIDE 0x20000
#define CR4_OSXSAVE 0x40000
#define CR4_SMEP 0x100000
#define CR4_SMAP 0x200000
#define CR4_PKE 0x400000
#define EFER_SCE 1
#define EFER_LME 0x100
#define EFER_NXE 0x800
#define FL_CF 1
#define FL_TF 0x100
#define FL_IF 0x200
#define FL_DF 0x400
#define FL_IOPL3 0x3000
#define FL_NT 0x4000
#define FL_RF 0x10000
#define FL_VM 0x20000
#define FL_AC 0x40000
#define FL_VIF 0x80000
#define FL_VIP 0x100000

/* Feature bits that a row needs: looked up in CPUID by the driver, see needs[] in main.c. */
#define NEED_SMEP   1
#define NEED_SMAP   2
#define NEED_NX     4
#define NEED_PCID   8
#define NEED_INVPCID 0x10
#define NEED_VME    0x20
#define NEED_1G     0x40
#define NEED_LM     0x80
#define NEED_UMIP   0x100
#define NEED_SYSENTER 0x200
#define NEED_PSE36  0x400
#define NEED_PKU    0x800
#define NEED_XSAVE  0x1000
#define NEED_FSGSBASE 0x2000
#define NEED_RDTSCP 0x4000
#define NEED_AVX2   0x8000

#ifndef __ASSEMBLER__
typedef unsigned char U8;
typedef unsigned short U16;
typedef unsigned U32;
typedef unsigned long long U64;

/* As `row` in rows.inc lays it out.  A row's pokes, peeks and code end where the next row's begin. */
typedef struct Poke { U32 at, len; U64 v; } Poke;
typedef struct Peek { U32 at, len; const char *name; } Peek;
typedef struct Row {
    const char *name;
    U8 mode, paging, cpl, user;      /* user: pages are, though it starts in ring 0 */
    U32 eflags, cr0, cr4, efer, need, ds;
    const Poke *pokes;
    const Peek *peeks;
    const U8   *code;
} Row;

/* What enter() goes by and what the stubs save; offsets stand in enter.S. */
typedef struct Context {
    U32 cr0, cr3, cr4, efer, eflags, esp, ss, eip, cs, ds, mode, tss;
} Context;
typedef struct Saved {
    U32 kind;                   /* of the stub: 0 real, 1 32-bit, 2 64-bit */
    U32 sp, ss, cs, cr0, cr4, tr, cr3;
    U64 cr2, dr6, dr7, efer;
    U32 gpr[8], ds, es, fs, gs, vector, ip, flags;      /* of real mode alone */
} Saved;
extern Context context;
extern Saved saved;
void enter(void);

extern const Row rows[], rows_end[];
/* paging.c: rows made by loops. */
void paging_rows(void);
/* main.c */
U32 has(U32 need);
int wanted(const char *name);
int begin(const char *name, U32 need, U32 mode, U32 cpl);
void finish_line(void);
void print(const char *text);
void print_hex(U64 v);
/* Runs one row and leaves its event in `saved`; made rows have pokes and peeks of [0, n). */
typedef struct Event { U32 vector, error, has_error; U64 ip, flags, sp, cr2; U32 cs, ss; } Event;
Event run_code(const Row *row, const U8 *code, U32 len);
#endif
#endif
