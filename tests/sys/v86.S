/* SPDX-License-Identifier: GPL-2.0-or-later
 * Virtual-8086 mode: SDM 3B 21.2, 21.3; what is sensitive to IOPL, VME's virtual interrupt flag and redirection. */
#include "tests/sys/rows.inc"

#define each_row(name_, ...) \
    row v86.iopl0.name_, MODE_V86, fl=FL_IF; \
    code 16; \
    __VA_ARGS__; \
    done; \
    end; \
    row v86.iopl3.name_, MODE_V86, fl=FL_IF|FL_IOPL3; \
    code 16; \
    __VA_ARGS__; \
    done; \
    end; \
    row v86.vme.name_, MODE_V86, fl=FL_IF, cr4=CR4_VME, need=NEED_VME; \
    code 16; \
    __VA_ARGS__; \
    done; \
    end; \
    row v86.vme_vip.name_, MODE_V86, fl=FL_IF|FL_VIP, cr4=CR4_VME, need=NEED_VME; \
    code 16; \
    __VA_ARGS__; \
    done; \
    end
    each_row(cli, cli)
    each_row(sti, sti)
    each_row(pushf, pushf; pop %bx)
    each_row(pushfl, pushfl; pop %ebx)
    each_row(popf_if, pushw $0x202; popf)
    each_row(popf_noif, pushw $2; popf)
    each_row(popf_tf, pushw $0x102; popf)
    each_row(popfl, pushl $0x202; popfl)
    each_row(iret, pushw $0x202; pushw $CODE >> 4; pushw $FBO(1); iret; 1: nop)
    each_row(int, int $0x85)
    each_row(int3, int3)
    each_row(hlt, hlt)
    each_row(in, in $0x80, %al)
    each_row(lldt, lldt %ax)
    each_row(arpl, arpl %ax, %cx)
    each_row(lmsw, lmsw %ax)
    each_row(smsw, smsw %ecx)
    each_row(mov_cr, mov %cr0, %eax)
    each_row(far_jmp, ljmp $0x0fff, $0x10 + FBO(1); 1: mov %cs, %cx)
    each_row(load_ds, mov $0xffff, %ax; mov %ax, %ds; mov 0x10, %cx)
    each_row(limit, mov $0xffff, %bx; mov (%bx), %ax)
    each_row(linear_wrap, mov $0xffff, %ax; mov %ax, %es; mov %es:0x20, %cl)

/* A monitor: the INT of the 8086 program is reflected to its own handler, as DOS extenders do. */
    row v86.monitor, MODE_V86, fl=FL_IF
    poke8(IDT + 13 * 8, GATE(S_CODE, F(2), 0x8e, 0))
    poke4(0x85 * 4, ((CODE >> 4) << 16) | FO(1))
    peek(2, DATA, "frame_ip")
    peek(2, DATA + 2, "frame_cs")
    peek(2, DATA + 4, "frame_fl")
    code 16
        mov $0x1234, %ax
        int $0x85
        mov $0x77, %bx
        done
    1:  mov %sp, %bp                        /* the handler, in virtual-8086 mode */
        mov (%bp), %cx
        mov %cx, 0
        mov 2(%bp), %cx
        mov %cx, 2
        mov 4(%bp), %cx
        mov %cx, 4
        inc %ax
        iret                                /* #GP too: the monitor does it */
        .code32
    2:  push %eax                           /* error code at 4, then EIP CS EFLAGS ESP SS */
        push %ebx
        push %ecx
        mov $S_DATA, %ebx
        mov %ebx, %ds
        movzwl 28(%esp), %ebx
        movzwl 32(%esp), %ecx
        shl $4, %ecx
        add %ebx, %ecx                      /* linear stack */
        mov 16(%esp), %eax
        cmpb $0xcd, CODE(%eax)
        jne 3f
        mov 24(%esp), %ebx
        mov %bx, -2(%ecx)
        mov 20(%esp), %ebx
        mov %bx, -4(%ecx)
        lea 2(%eax), %ebx
        mov %bx, -6(%ecx)
        subl $6, 28(%esp)
        movzwl 0x85 * 4, %ebx
        mov %ebx, 16(%esp)
        jmp 4f
    3:  movzwl (%ecx), %ebx
        mov %ebx, 16(%esp)
        addl $6, 28(%esp)
    4:  pop %ecx
        pop %ebx
        pop %eax
        add $4, %esp
        iret
    end
    row v86.redirect, MODE_V86, fl=FL_IF, cr4=CR4_VME, need=NEED_VME
    poke4(0x85 * 4, ((CODE >> 4) << 16) | FO(1))
    poke1(TSS_IOMAP - 32 + 0x85 / 8, 0)
    code 16
        int $0x85
        done
    1:  pushf
        pop %dx
        mov %sp, %bp
        mov 4(%bp), %bx
        done
    end
    row v86.redirect_off, MODE_V86, fl=FL_IF|FL_IOPL3, cr4=CR4_VME, need=NEED_VME
    poke1(TSS_IOMAP - 32 + 0x85 / 8, 0xff)
    code 16
        int $0x85
        done
    end
    row v86.out_denied, MODE_V86
    poke1(TSS_IOMAP + 0x80 / 8, 1)
    code 16
        out %al, $0x81
        out %al, $0x80
        done
    end
    row v86.iret_to, MODE_P32               /* frames of 9 words into v86, selectors as they are */
    code 32
        pushl $0x3004
        pushl $0x3003
        pushl $0x3002
        pushl $0x3001
        pushl $STACK_SEG >> 4
        pushl $0xbeefe000
        pushl $FL_VM | FL_IOPL3 | 2
        pushl $CODE >> 4
        pushl $FBO(1)
        iret
        .code16
    1:  done
    end
/* VIF and VIP both set: the monitor's turn before the first instruction (SDM 3B 21.3.2). */
    .macro iret_to_vip name, cr4, image
    row v86.iret_to_\name, MODE_P32, cr4=\cr4, need=NEED_VME
    code 32
        pushl $0
        pushl $0
        pushl $0
        pushl $0
        pushl $STACK_SEG >> 4
        pushl $0xe000
        pushl $FL_VM | FL_VIP | \image
        pushl $CODE >> 4
        pushl $FBO(1)
        iret
        .code16
        nop
    1:  nop
        done
    end
    .endm
    iret_to_vip vip, CR4_VME, FL_VIF
    iret_to_vip vip_only, CR4_VME, 0
    iret_to_vip vip_iopl3, CR4_VME, FL_VIF | FL_IOPL3
    iret_to_vip vip_no_vme, CR4_PVI, FL_VIF
    row v86.vme_iret_vif, MODE_V86, fl=FL_VIF, cr4=CR4_VME, need=NEED_VME   /* an IRET of 8086 code brings no VIP */
    code 16
        pushw $0x202
        pushw $CODE >> 4
        pushw $FBO(1)
        iret
    1:  pushf
        done
    end
    row v86.iret_to_cpl3, MODE_P32, cpl=3   /* VM cannot be set from ring 3 */
    code 32
        pushl $FL_VM | 2
        mov %cs, %eax
        push %eax
        pushl $FB(1)
        iret
    1:  done
    end
