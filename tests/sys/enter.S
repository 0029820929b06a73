/* SPDX-License-Identifier: GPL-2.0-or-later
 * Entry by PVH (Xen's docs/misc/pvh.pandoc: 32-bit, flat, no paging, ebx the start information); the way into every
 * mode, and back out of it from whatever stub an exception or interrupt came to.  Into ring 3 by far returns, not by
 * IRET: some KVMs' instruction emulators have none outside real mode. */
#include "tests/sys/sys.h"

    .section .note.Xen, "a", @note
    .long 4, 4, 18                      /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long entry

    .text
    .code32
    .globl entry, enter, context, saved, stubs32, stubs64, low_start, low_end
entry:
    mov $BOOT_STACK, %esp
    cld
    push %ebx
    call run
1:  hlt
    jmp 1b

/* struct Context */
#define C_CR0 context
#define C_CR3 context + 4
#define C_CR4 context + 8
#define C_EFER context + 12
#define C_EFLAGS context + 16
#define C_ESP context + 20
#define C_SS context + 24
#define C_EIP context + 28
#define C_CS context + 32
#define C_DS context + 36
#define C_MODE context + 40
#define C_TSS context + 44
/* struct Saved */
#define V_KIND saved
#define V_SP saved + 4
#define V_SS saved + 8
#define V_CS saved + 12
#define V_CR0 saved + 16
#define V_CR4 saved + 20
#define V_TR saved + 24
#define V_CR3 saved + 28
#define V_CR2 saved + 32
#define V_DR6 saved + 40
#define V_DR7 saved + 48
#define V_EFER saved + 56

/* General registers start from known values whose upper halves show what 16-bit code does to them. */
    .macro load_gprs
    mov $0xa0000000, %eax
    mov $0xa0000001, %ecx
    mov $0xa0000002, %edx
    mov $0xa0000003, %ebx
    mov $0xa0000005, %ebp
    mov $0xa0000006, %esi
    mov $0xa0000007, %edi
    .endm

enter:
    pusha
    pushf
    mov %esp, kernel_esp
    xor %eax, %eax
    mov %eax, %cr2
    mov $0xffff0ff0, %eax
    mov %eax, %dr6
    mov $0x400, %eax
    mov %eax, %dr7
    lgdt gdt_pointer
    mov C_MODE, %ebx
    cmp $MODE_REAL, %ebx
    je enter_real
    mov C_CR4, %eax
    and $~CR4_PCIDE, %eax               /* that is for long mode alone */
    mov %eax, %cr4
    mov C_CR3, %eax
    mov %eax, %cr3
    mov C_EFER, %eax
    test %eax, %eax
    jz 1f
    xor %edx, %edx
    mov $0xc0000080, %ecx
    wrmsr
1:  mov C_CR0, %eax
    mov %eax, %cr0
    jmp 2f
2:  testl $EFER_LME, C_EFER
    jnz 3f
    lidt idt_pointer
    jmp 4f
3:  mov C_CR4, %eax
    mov %eax, %cr4
    lidt idt64_pointer
4:  mov $S_LDT, %eax
    lldt %ax
    mov C_TSS, %eax
    ltr %ax
    cmp $MODE_L64, %ebx
    je enter_64
    cmp $MODE_V86, %ebx
    je enter_v86
    testl $3, C_CS
    jz 5f
    pushl C_SS
    pushl C_ESP
    jmp 6f
5:  lss C_ESP, %esp                     /* ESP and SS stand side by side */
6:  pushl C_CS
    pushl C_EIP
    pushl C_EFLAGS
    mov C_DS, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    load_gprs
    popf
    lret

enter_v86:                              /* SDM 3A 21.2.5: by IRET with VM set in the image of EFLAGS */
    pushl C_DS
    pushl C_DS
    pushl C_DS
    pushl C_DS
    pushl C_SS
    pushl C_ESP
    pushl C_EFLAGS
    pushl C_CS
    pushl C_EIP
    load_gprs
    iret

enter_64:
    ljmp $S_CODE64, $1f
    .code64
1:  mov (C_SS)(%rip), %ecx
    mov (C_ESP)(%rip), %edx
    mov (C_EIP)(%rip), %ebx
    mov (C_CS)(%rip), %eax
    test $3, %al
    jz 2f
    push %rcx
    push %rdx
    jmp 3f
2:  mov %edx, %esp
    mov %ecx, %ss
3:  push %rax
    push %rbx
    mov (C_EFLAGS)(%rip), %eax
    push %rax
    mov (C_DS)(%rip), %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    load_gprs
    mov $0xa0000008, %r8d
    mov $0xa0000009, %r9d
    mov $0xa000000a, %r10d
    mov $0xa000000b, %r11d
    mov $0xa000000c, %r12d
    mov $0xa000000d, %r13d
    mov $0xa000000e, %r14d
    mov $0xa000000f, %r15d
    testb $3, 16(%rsp)
    jnz 4f
    popfq
    lretq
4:  xchg %rax, (%rsp)
    xchg %rax, 16(%rsp)
    xchg %rax, 8(%rsp)
    xchg %rax, (%rsp)
    iretq
    .code32

enter_real:                             /* SDM 3A 9.9.2 */
    lidt ivt_pointer
    mov $S_LOWDATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    ljmp $S_LOW16, $LOW

/* --- what is copied to LOW.  %cs-relative throughout. */
#define AT_LOW(l) (LOW + l - low_start)
#define R_GPR (LOW_SAVE)
#define R_SEG (LOW_SAVE + 32)
#define R_SS (LOW_SAVE + 48)
#define R_SP (LOW_SAVE + 52)
#define R_VECTOR (LOW_SAVE + 56)
#define R_CR0 (LOW_SAVE + 60)
    .section .rodata
low_start:
    .code16
    mov %cr0, %eax
    and $~CR0_PE, %eax
    mov %eax, %cr0
    ljmp $0, $AT_LOW(1f)
1:  mov $STACK_SEG >> 4, %ax
    mov %ax, %ss
    mov $0x8000, %esp
    mov %cs:LOW_SAVE, %eax              /* EFLAGS, put there by the driver */
    push %eax
    mov $DATA >> 4, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    load_gprs
    popfl
    ljmp $CODE >> 4, $0
    .balign 16
low_common:                             /* the vector is on the stack */
    mov %eax, %cs:R_GPR
    pop %ax
    mov %ax, %cs:R_VECTOR
    mov %ecx, %cs:R_GPR + 4
    mov %edx, %cs:R_GPR + 8
    mov %ebx, %cs:R_GPR + 12
    mov %esp, %cs:R_SP
    mov %ebp, %cs:R_GPR + 20
    mov %esi, %cs:R_GPR + 24
    mov %edi, %cs:R_GPR + 28
    mov %ds, %cs:R_SEG
    mov %es, %cs:R_SEG + 4
    mov %fs, %cs:R_SEG + 8
    mov %gs, %cs:R_SEG + 12
    mov %ss, %cs:R_SS
    mov %cr0, %eax
    mov %eax, %cs:R_CR0
    or $CR0_PE, %al
    lgdtl %cs:AT_LOW(2f)
    mov %eax, %cr0
    ljmpl $S_CODE, $back_real
    .balign 4
2:  .word GDT_LEN - 1
    .long GDT
low_end:
    .globl low_common_at
low_common_at: .long AT_LOW(low_common)

    .text
    .code32
back_real:
    mov $S_DATA, %eax
    mov %eax, %ds
    movl $0, V_KIND
    mov LOW_SAVE + 60, %eax
    mov %eax, V_CR0
    jmp out

/* --- stubs: 16 bytes each */
    .balign 16
stubs32:
    vector = 0
    .rept 256
    .balign 16
    push $vector                        /* sign-extended; the driver looks at the low byte */
    jmp common32
    vector = vector + 1
    .endr
common32:
    pusha
    push %ds
    push %es
    push %fs
    push %gs
    mov $S_DATA, %eax
    mov %eax, %ds
    movl $1, V_KIND
    mov %esp, V_SP
    mov %ss, V_SS
    mov %cs, V_CS
    mov %cr0, %eax
    mov %eax, V_CR0
    mov %cr3, %eax
    mov %eax, V_CR3
    xor %eax, %eax
    str %ax
    mov %eax, V_TR
    jmp out

    .code64
    .balign 16
stubs64:
    vector = 0
    .rept 256
    .balign 16
    push $vector
    jmp common64
    vector = vector + 1
    .endr
common64:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    xor %eax, %eax
    mov %ds, %eax
    push %rax
    mov %es, %eax
    push %rax
    mov %fs, %eax
    push %rax
    mov %gs, %eax
    push %rax
    movl $2, (V_KIND)(%rip)
    mov %esp, (V_SP)(%rip)
    mov %ss, (V_SS)(%rip)
    mov %cs, (V_CS)(%rip)
    mov %cr0, %rax
    mov %eax, (V_CR0)(%rip)
    mov %cr3, %rax
    mov %eax, (V_CR3)(%rip)
    xor %eax, %eax
    str %ax
    mov %eax, (V_TR)(%rip)
    mov %cr2, %rax
    mov %rax, (V_CR2)(%rip)
    mov $0xc0000080, %ecx
    rdmsr
    mov %eax, (V_EFER)(%rip)
    mov %cr4, %rax
    mov %eax, (V_CR4)(%rip)
    mov $CR4_PAE, %eax                  /* PCIDE must be clear before PG is */
    mov %rax, %cr4
    mov $S_DATA, %eax
    mov %eax, %ss
    mov $BOOT_STACK - 2048, %esp
    pushq $S_CODE
    lea 1f(%rip), %rax
    push %rax
    lretq
    .code32
1:  mov $S_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov $CR0_PE | CR0_ET, %eax
    mov %eax, %cr0
    xor %eax, %eax
    xor %edx, %edx
    mov $0xc0000080, %ecx
    wrmsr
    jmp flat

out:                                    /* DS is flat, CS 32-bit; maybe paged */
    mov %cr2, %eax
    mov %eax, V_CR2
    mov %cr4, %eax
    mov %eax, V_CR4
flat:
    mov %dr6, %eax
    mov %eax, V_DR6
    mov %dr7, %eax
    mov %eax, V_DR7
    mov $0x400, %eax
    mov %eax, %dr7
    mov $S_DATA, %eax
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov kernel_esp, %esp
    mov $CR0_PE | CR0_ET, %eax
    mov %eax, %cr0
    jmp 1f
1:  xor %eax, %eax
    mov %eax, %cr4
    lldt %ax
    cmpl $0, C_EFER
    je 2f
    xor %edx, %edx
    mov $0xc0000080, %ecx
    wrmsr
2:  pushf
    testl $FL_VIF | FL_VIP, (%esp)
    lea 4(%esp), %esp
    jz 3f
    push %cs                            /* POPF would leave them set for the rows behind */
    pushl $4f
    iret
3:  popf
4:  popa
    ret

    .data
    .balign 8
gdt_pointer: .word GDT_LEN - 1
    .long GDT
    .word 0
idt_pointer: .word 0x7ff
    .long IDT
    .word 0
idt64_pointer: .word 0xfff
    .long IDT64
    .word 0
ivt_pointer: .word 0x3ff
    .long 0
    .bss
    .balign 16
kernel_esp: .space 4
    .balign 16
context: .space 64
    .balign 16
saved: .space 256
    .balign 16
