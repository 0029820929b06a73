/* SPDX-License-Identifier: GPL-2.0-or-later
 * The debug registers and the single step: what hits, where the #DB is taken, what DR6 says (SDM 3B 18.2, 18.3; in older
 * editions 17.2, 17.3), and what holds it back (SDM 3A 6.8.3). */
#include "rows.inc"

#define DR7_W1 0x10000          /* of DR0: write, 1 byte */
#define DR7_W2 0x50000
#define DR7_W4 0xd0000
#define DR7_W8 0x90000
#define DR7_IO 0x20000
#define DR7_IO4 0xe0000
#define DR7_A1 0x30000
#define DR7_A4 0xf0000

    .macro dr n, v
        mov $(\v), %eax
        mov %eax, %dr\n
    .endm
    .macro arm at, dr7
        dr 0, (\at)
        dr 7, (\dr7)
    .endm

/* --- instruction breakpoints: faults */

    row debug.exec, MODE_P32
    code 32
        arm FB(1), 2
        nop
    1:  nop
        done
    end
    row debug.exec.local, MODE_P32
    code 32
        dr 3, FB(1)
        dr 7, 0x40
    1:  nop
        done
    end
    row debug.exec.two, MODE_P32
    code 32
        dr 1, FB(1)
        dr 2, FB(1)
        dr 7, 0x28
    1:  nop
        done
    end
    row debug.exec.before_ud, MODE_P32
    code 32
        arm FB(1), 2
    1:  ud2
    end
    row debug.exec.off, MODE_P32
    code 32
        arm FB(1), 0
    1:  nop
        done
    end
    row debug.exec.inside, MODE_P32             /* only an instruction's first byte counts */
    code 32
        arm FB(1)+1, 2
    1:  mov $1, %ecx
        done
    end
    row debug.exec.warm, MODE_P32               /* set in a loop that has run many times */
    code 32
        dr 0, FB(2)
        xor %ecx, %ecx
    1:  inc %ecx
        cmp $5000, %ecx
        jne 2f
        dr 7, 2
    2:  nop
        jmp 1b
    end
    row debug.exec.rf, MODE_P32                 /* RF holds it off once */
    code 32
        arm FB(1), 2
        xor %ecx, %ecx
        pushf
        orl $0x10000, (%esp)
        push %cs
        push $FB(1)
        iret
    1:  inc %ecx
        cmp $3, %ecx
        jne 1b
        done
    end
    row debug.exec.rf_popf, MODE_P32            /* POPF clears RF */
    code 32
        arm FB(1), 2
        pushf
        orl $0x10000, (%esp)
        popf
    1:  nop
        done
    end
    row debug.exec.rf_fault, MODE_P32           /* a fault pushes RF: the handler's IRET passes the breakpoint */
    code 32
        arm FB(1), 2
        pushf
        orl $0x10000, (%esp)
        push %cs
        push $FB(1)
        iret
    1:  ud2
    end
    row debug.exec.after_mov_ss, MODE_P32
    code 32
        arm FB(1), 2
        mov %ss, %ecx
        mov %ecx, %ss
    1:  inc %edx
        done
    end
    row debug.exec.after_sti, MODE_P32          /* STI's shadow is for interrupts */
    code 32
        arm FB(1), 2
        cli
        sti
    1:  inc %edx
        done
    end
    row debug.exec.long, MODE_L64
    code 64
        mov $FB(1), %rax
        mov %rax, %dr0
        mov $2, %eax
        mov %rax, %dr7
    1:  nop
        done
    end
    row debug.exec.p16, MODE_P16
    code 16
        arm FB(1), 2
    1:  nop
        done
    end
    row debug.exec.real, MODE_REAL
    code 16
        arm FB(1), 2
    1:  nop
        done
    end

/* --- data breakpoints: traps */

    row debug.write1, MODE_P32
    code 32
        arm (DATA), (DR7_W1|2)
        movb $1, DATA
        nop
        done
    end
    row debug.write1.beside, MODE_P32
    code 32
        arm (DATA+1), (DR7_W1|2)
        movb $1, DATA
        movb $1, DATA + 2
        done
    end
    row debug.write4.overlap, MODE_P32
    code 32
        arm (DATA+4), (DR7_W4|2)
        movl $1, DATA + 1
        nop
        done
    end
    row debug.write4.masked, MODE_P32           /* low address bits are not looked at */
    code 32
        arm (DATA+3), (DR7_W4|2)
        movb $1, DATA
        nop
        done
    end
    row debug.write2.last, MODE_P32
    code 32
        arm (DATA+2), (DR7_W2|2)
        movb $1, DATA + 3
        nop
        done
    end
    row debug.write.read, MODE_P32              /* a read is no write */
    code 32
        arm (DATA), (DR7_W4|2)
        mov DATA, %ecx
        nop
        done
    end
    row debug.access.read, MODE_P32
    code 32
        arm (DATA), (DR7_A4|2)
        mov DATA + 2, %cl
        nop
        done
    end
    row debug.access.rmw, MODE_P32
    code 32
        arm (DATA), (DR7_A4|2)
        incl DATA
        nop
        done
    end
    row debug.access.locked, MODE_P32
    code 32
        arm (DATA), (DR7_W4|2)
        lock incl DATA
        nop
        done
    end
    row debug.access.fetch, MODE_P32            /* code is not data */
    code 32
        arm (FB(1)), (DR7_A4|2)
    1:  nop
        nop
        done
    end
    row debug.data.two, MODE_P32
    code 32
        dr 0, DATA
        dr 1, (DATA+1)
        dr 7, (DR7_W4|0x100000|0xa)
        movl $1, DATA
        nop
        done
    end
    row debug.data.sticky, MODE_P32             /* the processor clears nothing in DR6 */
    code 32
        dr 6, 0xffff0ff8
        arm (DATA), (DR7_W4|2)
        movl $1, DATA
        nop
        done
    end
    row debug.data.push, MODE_P32
    code 32
        arm (STACK0-4), (DR7_W4|2)
        push %ecx
        nop
        done
    end
    row debug.data.call, MODE_P32
    code 32
        arm (STACK0-4), (DR7_W4|2)
        call 1f
        nop
    1:  nop
        done
    end
    row debug.data.int, MODE_P32                /* after the transfer: at the handler's first instruction */
    poke8(IDT + 0x81 * 8, GATE(S_CODE, F(1), 0xee, 0))
    code 32
        arm (STACK0-4), (DR7_W4|2)
        int $0x81
        nop
    1:  nop
        done
    end
    row debug.data.warm, MODE_P32               /* set on a page that a loop has written often */
    code 32
        dr 0, (DATA+4)
        xor %ecx, %ecx
    1:  inc %ecx
        mov %ecx, DATA + 4
        cmp $5000, %ecx
        jne 1b
        dr 7, (DR7_W4|2)
        xor %ecx, %ecx
        mov %ecx, DATA
        jmp 1b
    end
    row debug.data.long8, MODE_L64
    code 64
        mov $DATA, %rax
        mov %rax, %dr0
        mov $(DR7_W8 | 2), %eax
        mov %rax, %dr7
        movb $1, DATA + 7
        nop
        done
    end
    row debug.data.real, MODE_REAL
    code 16
        arm (DATA), (DR7_W1|2)
        mov $(DATA >> 4), %ax
        mov %ax, %ds
        movb $1, 0
        nop
        done
    end
    row debug.data.off, MODE_P32                /* cleared again */
    code 32
        arm (DATA), (DR7_W4|2)
        dr 7, 0
        movl $1, DATA
        nop
        done
    end
    row debug.rep.movs, MODE_P32                /* between iterations */
    code 32
        arm (DATA+0x12), (DR7_W1|2)
        mov $DATA, %esi
        mov $(DATA+0x10), %edi
        mov $8, %ecx
        rep movsb
        done
    end
    row debug.rep.stos_last, MODE_P32
    code 32
        arm (DATA + 0x1c), (DR7_W4|2)
        mov $(DATA+0x10), %edi
        mov $4, %ecx
        rep stosl
        done
    end
    row debug.rep.scas, MODE_P32
    code 32
        arm (DATA+0x12), (DR7_A1|2)
        mov $(DATA+0x10), %edi
        mov $8, %ecx
        xor %eax, %eax
        repe scasb
        done
    end

/* --- MOV SS */

    row debug.mov_ss.data, MODE_P32             /* its own trap waits for the next instruction */
    poke2(DATA, S_DATA)
    code 32
        arm (DATA), (DR7_A1|2)
        mov DATA, %ss
        inc %ecx
        inc %ecx
        done
    end
    row debug.mov_ss.step, MODE_P32
    code 32
        mov %ss, %ecx
        pushf
        orl $0x100, (%esp)
        popf
        mov %ecx, %ss
        inc %edx
        inc %edx
        done
    end
    row debug.pop_ss.step, MODE_P32
    code 32
        push %ss
        pushf
        orl $0x100, (%esp)
        popf
        pop %ss
        inc %edx
        inc %edx
        done
    end

/* --- single step */

    row debug.step.popf, MODE_P32               /* behind the instruction that follows */
    code 32
        pushf
        orl $0x100, (%esp)
        popf
        inc %edx
        inc %edx
        done
    end
    row debug.step.iret, MODE_P32
    code 32
        pushf
        orl $0x100, (%esp)
        push %cs
        push $FB(1)
        iret
    1:  inc %edx
        inc %edx
        done
    end
    row debug.step.branch, MODE_P32
    code 32
        pushf
        orl $0x100, (%esp)
        popf
        jmp 1f
        nop
    1:  nop
        done
    end
    row debug.step.data, MODE_P32               /* both at once */
    code 32
        arm (DATA), (DR7_W4|2)
        pushf
        orl $0x100, (%esp)
        popf
        movl $1, DATA
        nop
        done
    end
    row debug.step.exec, MODE_P32               /* the trap behind comes before the fault ahead */
    code 32
        arm FB(1), 2
        pushf
        orl $0x100, (%esp)
        popf
        inc %edx
    1:  inc %edx
        done
    end
    row debug.step.rep, MODE_P32
    code 32
        mov $DATA, %edi
        mov $3, %ecx
        pushf
        orl $0x100, (%esp)
        popf
        rep stosb
        done
    end
    row debug.step.int, MODE_P32                /* INT n clears TF: no trap in the handler */
    code 32
        pushf
        orl $0x100, (%esp)
        popf
        int $0x81
    end
    row debug.step.fault, MODE_P32
    code 32
        pushf
        orl $0x100, (%esp)
        popf
        ud2
    end
    row debug.step.long, MODE_L64
    code 64
        pushf
        orl $0x100, (%rsp)
        popf
        inc %edx
        inc %edx
        done
    end
    row debug.step.user, MODE_L64, cpl=3
    code 64
        pushf
        orl $0x100, (%rsp)
        popf
        inc %edx
        inc %edx
        done
    end
    row debug.step.real, MODE_REAL
    code 16
        pushf
        pop %ax
        or $0x100, %ax
        push %ax
        popf
        inc %dx
        inc %dx
        done
    end
    row debug.step.v86, MODE_V86, cpl=3, fl=FL_IOPL3
    code 16
        pushf
        pop %ax
        or $0x100, %ax
        push %ax
        popf
        inc %dx
        inc %dx
        done
    end

/* --- DebugCtl.BTF: steps to branches only; a #DB clears it (SDM 3B 17.4.3) */

    .set at_code, CODE
    .set at_data, DATA
    .macro btf name, do:req
    row debug.btf.\name, MODE_P32
    poke8(IDT + 1 * 8, GATE(S_CODE, F(2), 0x8e, 0))
    code 32
        mov $0x1d9, %ecx
        mov $2, %eax
        xor %edx, %edx
        wrmsr
        xor %ecx, %ecx
        pushf
        orl $FL_TF, (%esp)
        popf
        \do
        done
    2:  pop %ebx
        mov $0x1d9, %ecx
        rdmsr
        mov %dr6, %ecx
        mov %ecx, %dr6
        done
    end
    .endm
    btf jmp, "nop; jmp 1f; nop; 1: nop"
    btf jcc, "xor %esi, %esi; jne 1f; je 1f; nop; 1: nop"
    btf loop, "mov $2, %ecx; 1: nop; loop 1b"
    btf call, "nop; call 1f; nop; 1: nop"
    btf ret, "push $(at_code + 1f - 9b); nop; ret; 1: nop"
    btf rep, "mov $at_data, %edi; mov $3, %ecx; rep stosb; mov %cr0, %eax; cpuid; jmp 1f; 1: nop"
    btf iret, "pushf; push %cs; push $(at_code + 1f - 9b); iret; 1: nop; jmp 3f; 3: nop"

/* --- I/O breakpoints */

    row debug.io.out, MODE_P32, cr4=CR4_DE
    code 32
        arm (0x80), (DR7_IO|2)
        out %al, $0x80
        nop
        done
    end
    row debug.io.ins, MODE_P32, cr4=CR4_DE
    code 32
        arm (0x80), (DR7_IO4|2)
        mov $DATA, %edi
        mov $0x82, %edx
        insb
        nop
        done
    end
    row debug.io.other, MODE_P32, cr4=CR4_DE
    code 32
        arm (0x80), (DR7_IO|2)
        out %al, $0x84
        done
    end
    row debug.io.rep, MODE_P32, cr4=CR4_DE
    code 32
        arm (0x80), (DR7_IO|2)
        mov $DATA, %esi
        mov $3, %ecx
        mov $0x80, %edx
        rep outsb
        done
    end

/* --- the registers */

    row debug.reg.gd, MODE_P32
    code 32
        dr 7, 0x2400
        mov %dr0, %ecx
        done
    end
    row debug.reg.gd_once, MODE_P32             /* INT1's #DB clears GD like any other */
    poke8(IDT + 1 * 8, GATE(S_CODE, F(1), 0xee, 0))
    code 32
        dr 7, 0x2400
        .byte 0xf1
        nop
    1:  mov %dr7, %ecx
        done
    end
    row debug.reg.dr4, MODE_P32
    code 32
        mov %dr4, %ecx
        mov %dr5, %edx
        done
    end
    row debug.reg.dr4_de, MODE_P32, cr4=CR4_DE
    code 32
        mov %dr4, %ecx
        done
    end
    row debug.reg.cpl3, MODE_P32, cpl=3
    code 32
        mov %dr7, %ecx
        done
    end
    row debug.reg.dr7_high, MODE_L64
    code 64
        mov $1, %rax
        shl $32, %rax
        mov %rax, %dr7
        done
    end
    row debug.reg.dr6_high, MODE_L64
    code 64
        mov $1, %rax
        shl $32, %rax
        mov %rax, %dr6
        done
    end
    row debug.reg.dr6_fixed, MODE_P32
    code 32
        xor %eax, %eax
        mov %eax, %dr6
        mov %dr6, %ecx
        dr 6, 0xffff0ff0
        done
    end
