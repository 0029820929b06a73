/* SPDX-License-Identifier: GPL-2.0-or-later
 * Real mode as DOS and firmware use it: software interrupts with handlers, big real mode, trips to protected mode. */
#include "tests/sys/rows.inc"

    row real.int10, MODE_REAL, fl=FL_IF     /* a BIOS call: IF is cleared inside and comes back, CF goes out by the frame */
    poke4(0x10 * 4, ((CODE >> 4) << 16) | FO(1))
    code 16
        mov $0x0e41, %ax
        mov $7, %bx
        stc
        int $0x10
        pushf
        pop %dx
        done
    1:  push %bp
        mov %sp, %bp
        andw $~1, 6(%bp)
        pushf
        pop %cx
        pop %bp
        xchg %ah, %al
        iret
    end
    row real.far, MODE_REAL
    code 16
        lcall $0x0fff, $0x10 + FBO(1)
        mov %sp, %dx
        done
    1:  mov %cs, %bx
        mov %sp, %bp
        mov (%bp), %cx
        mov 2(%bp), %si
        lret
    end
    row real.segment_wrap, MODE_REAL        /* base FFFF0h: above 1 MiB with A20 on */
    poke1(0x100010, 0x5a)
    poke1(0x10, 0xa5)
    code 16
        mov $0xffff, %ax
        mov %ax, %es
        mov %es:0x20, %cl
        done
    end
    row real.sp_wrap, MODE_REAL
    code 16
        mov $0, %sp
        push %ax
        mov %sp, %bx
        pop %cx
        mov %sp, %dx
        mov $0x8000, %sp
        done
    end
    row real.sp_one, MODE_REAL              /* a word at SP = 1 would straddle the segment's end: #SS, not served here */
    poke4(12 * 4, ((CODE >> 4) << 16) | FO(1))
    code 16
        mov $0xffff, %bx
        mov %ss:(%bx), %ax
        done
    1:  mov $12, %cx
        done
    end
    row real.addr32, MODE_REAL              /* 32-bit offsets beyond the limit */
    code 16
        mov $0x10000, %ebx
        mov (%ebx), %al
        done
    end
    row real.unreal, MODE_REAL              /* limits of 4 GiB from protected mode stay */
    poke4(0x300000, 0x13579bdf)
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x93, 0xc))
    poke2(DATA, GDT_LEN - 1)
    poke4(DATA + 2, GDT)
    code 16
        cli
        lgdtl 0
        mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        mov $S_X, %bx
        mov %bx, %es
        and $0xfe, %al
        mov %eax, %cr0
        mov $0x300000, %ebx
        mov %es:(%ebx), %ecx
        xor %ax, %ax
        mov %ax, %es                        /* a load in real mode leaves the limit alone */
        mov %es:(%ebx), %edx
        done
    end
    row real.trip, MODE_REAL                /* DOS extender: to 32-bit protected mode, back, again */
    poke8(GDT + S_X, DESC(CODE, 0xffff, 0x9a, 4))
    poke8(GDT + S_X + 8, DESC(CODE, 0xffff, 0x9a, 0))
    poke2(DATA, GDT_LEN - 1)
    poke4(DATA + 2, GDT)
    code 16
        cli
        lgdtl 0
        mov $3, %ecx
    1:  mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        ljmp $S_X, $FBO(2)
        .code32
    2:  mov $S_DATA, %ebx
        mov %ebx, %ds
        add $0x10000, %esi
        mov $S_LOWDATA, %ebx
        mov %ebx, %ds
        ljmp $S_X + 8, $FBO(3)
        .code16
    3:  and $0xfe, %al
        mov %eax, %cr0
        ljmp $CODE >> 4, $FBO(4)
    4:  mov $DATA >> 4, %bx
        mov %bx, %ds
        loop 1b
        done
    end
    row real.lidt, MODE_REAL                /* vectors elsewhere */
    poke2(DATA, 0x3ff)
    poke4(DATA + 2, DATA + 0x10)
    poke4(DATA + 0x10 + 4 * 5, ((CODE >> 4) << 16) | FO(1))
    code 16
        .byte 0x0f, 0x01, 0x1e, 0, 0        /* lidt 0 */
        int $5
        done
    1:  mov %sp, %bx
        .byte 0x2e, 0x0f, 0x01, 0x1e; .word FBO(2)
        done
    2:  .word 0x3ff
        .long 0
    end
    row real.sidt24, MODE_REAL              /* 16-bit operands: the base's upper byte is stored as it is by all since the 386 */
    code 16
        .byte 0x0f, 0x01, 0x0e, 0, 0
        mov 0, %ax
        mov 2, %ebx
        done
    end
    row real.bcd, MODE_REAL
    code 16
        mov $0x0099, %ax
        add $1, %al
        daa
        mov %ax, %bx
        mov $0x37, %al
        mov $5, %ah
        aaa
        mov %ax, %cx
        mov $0x0305, %ax
        aad
        mov %ax, %dx
        mov $57, %al
        aam
        done
    end
    row real.rep, MODE_REAL                 /* SI and DI wrap at 64 KiB, CX alone counts */
    poke4(DATA, 0x44332211)
    code 16
        cld
        mov $0xfffe, %si
        mov $0x20, %di
        mov $4, %ecx
        rep movsb
        mov 0x20, %ebx
        done
    end
    row real.loop, MODE_REAL
    code 16
        mov $0x10002, %ecx
        xor %bx, %bx
    1:  inc %bx
        loop 1b
        done
    end
    row real.push_sp, MODE_REAL
    code 16
        push %sp
        pop %ax
        pusha
        popa
        done
    end
