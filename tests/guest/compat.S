/* SPDX-License-Identifier: GPL-2.0-or-later
 * A 32-bit program for a 64-bit kernel: both system call entries, thread-local storage through GS, a segment with a
 * limit, a fault taken as a signal, processes.  Prints a line for each. */
.macro sys nr, b=$0, c=$0, d=$0
    mov \b, %ebx
    mov \c, %ecx
    mov \d, %edx
    mov $\nr, %eax
    int $0x80
.endm
.macro say text
    jmp 9f
8:  .ascii "\text\n"
9:  sys 4, $1, $8b, $(9b - 8b)
.endm

.globl _start
_start:
    say "int 80h"
    jmp 2f
1:  .ascii "syscall\n"
2:  mov $4, %eax
    mov $1, %ebx
    mov $1b, %ecx
    mov $8, %edx
    call fast

    sys 243, $tls                       /* set_thread_area */
    mov tls, %eax
    lea 3(,%eax,8), %eax
    mov %eax, %gs
    cmpl $0x12345678, %gs:0
    jne bad
    movl $7, %gs:4
    cmpl $7, words + 4
    jne bad
    say "gs"

    sys 123, $1, $ldt, $16              /* modify_ldt: 8 bytes long */
    test %eax, %eax
    jnz bad
    mov $7, %eax                        /* entry 0 of the LDT */
    mov %eax, %fs
    cmpl $7, %fs:4
    jne bad
    mov $174, %eax                      /* rt_sigaction SIGSEGV */
    mov $11, %ebx
    mov $on_segv, %ecx
    xor %edx, %edx
    mov $8, %esi
    int $0x80
    mov %fs:5, %eax                     /* ends beyond: #GP, SIGSEGV; the handler goes on at `beyond` */
    jmp bad
beyond:
    say "limit"

    mov $50, %esi
3:  sys 2                               /* fork */
    test %eax, %eax
    jz child
    sys 7, %eax, $status, $0            /* waitpid */
    cmpl $0x2a00, status
    jne bad
    dec %esi
    jnz 3b
    say "50 processes"
    sys 1, $0
bad:
    say "wrong"
    sys 1, $1
child:
    sys 1, $42

/* As in the vdso: the kernel comes back to its own landing pad, which pops these. */
fast:
    push %ecx
    push %edx
    push %ebp
    mov %ecx, %ebp
    syscall
    ud2

handler:
    mov $stack_top, %esp
    jmp beyond

.data
.align 8
tls:     .long -1, words, 0xfffff, 0x51          /* 32 bits, pages, useable */
ldt:     .long 0, words, 7, 0x41                 /* 32 bits, bytes, useable */
on_segv: .long handler, 0x44000000, restorer, 0, 0       /* SA_NODEFER, SA_RESTORER */
words:   .long 0x12345678, 0
status:  .long 0
.text
restorer:
    mov $173, %eax
    int $0x80
.bss
    .space 4096
stack_top:
.section .note.GNU-stack, "", @progbits
