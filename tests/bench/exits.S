/* SPDX-License-Identifier: GPL-2.0-or-later
 * A firmware image of 64 KiB that makes COUNT exits of one kind and leaves through isa-debug-exit at port 0xf4.  KIND:
 *   0   byte reads of the first serial port's line status
 *   1   32-bit writes to an address where nothing is
 *   2   halts that end by the local APIC's one-shot timer, 20 microseconds after */
        .set    rom, 0xffff0000
        .set    stack, 0x8000
        .set    idt, 0x1000
        .code32
start32:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack, %esp
        mov     $COUNT, %edi
#if KIND == 0
        mov     $0x3fd, %edx
1:      inb     %dx, %al
        dec     %edi
        jnz     1b
#elif KIND == 1
        mov     $0xd0000000, %ebx
1:      mov     %edi, (%ebx)
        dec     %edi
        jnz     1b
#else
        mov     $(rom + timer - base), %eax     /* gate 0x30: offset, selector 8, 32-bit interrupt gate */
        mov     %eax, %ebx
        and     $0xffff, %eax
        or      $0x80000, %eax
        and     $0xffff0000, %ebx
        or      $0x8e00, %ebx
        mov     %eax, idt + 0x30 * 8
        mov     %ebx, idt + 0x30 * 8 + 4
        lidtl   rom + idt_pointer - base
        mov     $0xfee00000, %ebx
        movl    $0x1ff, 0xf0(%ebx)
        movl    $0x30, 0x320(%ebx)
        movl    $0xb, 0x3e0(%ebx)
1:      movl    $20000, 0x380(%ebx)
        sti
        hlt
        dec     %edi
        jnz     1b
#endif
        mov     $21, %eax
        outb    %al, $0xf4
2:      hlt
        jmp     2b

timer:  movl    $0, 0xfee000b0          /* end of interrupt */
        lret    $4                      /* no IRET: KVM's instruction emulator may have none; IF stays clear until STI */

idt_pointer:
        .word   0x7ff
        .long   idt
gdt:    .quad   0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   rom + gdt - base
        .set    base, start32

        .org    0xff80
        .code16
start16:
        lgdtl   %cs:(gdt_pointer - base)
        mov     $1, %eax
        mov     %eax, %cr0
        ljmpl   $8, $(rom + start32 - base)
        .org    0xfff0
        jmp     start16
        .org    0x10000
