/* SPDX-License-Identifier: GPL-2.0-or-later
 * Interrupt, trap and call gates: stacks, flags, sizes, what is refused.  SDM 3A 5.8, 6.12, 6.14. */
#include "tests/sys/rows.inc"

/* Words of the stack to where rows peek at them. */
    .macro keep to, words:vararg
    .irp word, \words
        mov \word(%esp), %eax
        mov %eax, DATA + \to + \word
    .endr
    .endm
    .macro keep64 to, words:vararg
    .irp word, \words
        mov \word(%rsp), %rax
        mov %rax, DATA + \to + \word
    .endr
    .endm

/* By kind of gate: what becomes of IF, TF, NT, and the frame's form, from ring 3 and within a ring. */
    .macro int_gate name, access, mode, cpl, bits
    row gate.\name\().cpl\cpl, \mode, cpl=\cpl, fl=FL_IF|FL_NT|FL_AC|FL_DF|FL_IOPL3
    poke8(GDT + S_X, DESC(CODE, 0xffff, 0x9b, 4))      /* 16-bit gates have 16-bit offsets */
    poke8(IDT + 0x81 * 8, GATE(S_X, FO(1), \access, 0))
    peek(4, DATA, "inner")
    peek(4, DATA + 4, "f0")
    peek(4, DATA + 8, "f1")
    peek(4, DATA + 12, "f2")
    peek(4, DATA + 16, "f3")
    peek(4, DATA + 20, "f4")
    peek(4, DATA + 24, "sp")
    code \bits
        int $0x81
        done
    1:
        .code32
        pushf
        mov $S_DATA, %eax
        mov %eax, %ds
        pop DATA
        keep 4, 0, 4, 8, 12, 16
        mov %esp, DATA + 24
        done
    end
    .endm
    int_gate int32, 0xee, MODE_P32, 0, 32
    int_gate int32, 0xee, MODE_P32, 3, 32
    int_gate trap32, 0xef, MODE_P32, 0, 32
    int_gate trap32, 0xef, MODE_P32, 3, 32
    int_gate int16, 0xe6, MODE_P32, 0, 32
    int_gate int16, 0xe6, MODE_P32, 3, 32
    int_gate trap16, 0xe7, MODE_P32, 3, 32
    int_gate p16_int32, 0xee, MODE_P16, 3, 16
    int_gate p16_int16, 0xe6, MODE_P16, 3, 16

/* There and back, all of EFLAGS that IRET brings back at each privilege. */
    .macro iret_flags name, cpl, image, start=0
    row gate.iret.\name, MODE_P32, cpl=\cpl, fl=\start
    code 32
        pushl $\image
        mov %cs, %eax
        push %eax
        pushl $FB(1)
        iret
    1:  pushf
        pop %ebx
        done
    end
    .endm
    iret_flags all0, 0, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|0x200000
    iret_flags all3, 3, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|0x200000
    iret_flags if3_iopl3, 3, FL_IF, FL_IOPL3
    iret_flags clear3_iopl3, 3, 0, FL_IOPL3|FL_IF
    iret_flags rf, 0, FL_RF
/* VIF and VIP at privilege 3: with CR4.PVI and IOPL below 3 #GP at the first instruction (SDM 3B 21.3.2, 21.4). */
    .macro iret_vip name, cr4, image, cs=S_UCODE, ss=S_UDATA
    row gate.iret.vip_\name, MODE_P32, cr4=\cr4, need=NEED_VME
    code 32
        pushl $\ss
        pushl $STACK3
        pushl $FL_VIP | \image
        pushl $\cs
        pushl $FB(1)
        iret
        nop
    1:  done
    end
    .endm
    iret_vip both, CR4_PVI, FL_VIF
    iret_vip both_if, CR4_PVI, FL_VIF | FL_IF
    iret_vip vip_only, CR4_PVI, 0
    iret_vip iopl3, CR4_PVI, FL_VIF | FL_IOPL3
    iret_vip no_pvi, CR4_VME, FL_VIF
    iret_vip ring1, CR4_PVI, FL_VIF, S_CODE1, S_DATA1
    row gate.iret.vip_then_sti, MODE_P32, cr4=CR4_PVI, need=NEED_VME
    code 32
        pushl $S_UDATA
        pushl $STACK3
        pushl $FL_VIP
        pushl $S_UCODE
        pushl $FB(1)
        iret
    1:  cli
        sti                                 /* #GP here: an interrupt is waiting */
        done
    end
    row gate.iretq.vip, MODE_L64, cr4=CR4_PVI, user=1, need=NEED_VME
    code 64
        pushq $S_UDATA
        pushq $STACK3
        pushq $FL_VIF | FL_VIP
        pushq $S_UCODE64
        pushq $FB(1)
        iretq
        nop
    1:  done
    end
    row gate.iret.vif, MODE_P32, need=NEED_VME
    code 32
        pushl $FL_VIF | FL_VIP
        push %cs
        pushl $FB(1)
        iret
    1:  pushf
        pop %ebx
        done
    end

    .macro popf_flags name, mode, bits, cpl, image, start=0, cr4=0, need=0
    row gate.popf.\name, \mode, cpl=\cpl, fl=\start, cr4=\cr4, need=\need
    code \bits
        .if \bits == 16
        pushl $\image
        popfl
        pushfl
        pop %ebx
        .else
        push $\image
        popf
        pushf
        .if \bits == 64
        pop %rbx
        .else
        pop %ebx
        .endif
        .endif
        done
    end
    .endm
    popf_flags all0, MODE_P32, 32, 0, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|FL_VIF|FL_VIP|FL_RF|FL_VM|0x200000
    popf_flags all3, MODE_P32, 32, 3, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|FL_VIF|FL_VIP|FL_RF|FL_VM|0x200000
    popf_flags iopl3, MODE_P32, 32, 3, FL_IF|FL_DF, FL_IOPL3
    popf_flags all64, MODE_L64, 64, 0, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|FL_VIF|FL_VIP|FL_RF|FL_VM|0x200000
    popf_flags all64_3, MODE_L64, 64, 3, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|FL_VIF|FL_VIP|FL_RF|FL_VM|0x200000
    popf_flags real, MODE_REAL, 16, 0, FL_IF|FL_DF|FL_IOPL3|FL_NT|FL_AC|FL_VIF|FL_VIP|FL_RF|FL_VM
    popf_flags v86, MODE_V86, 16, 3, FL_IF|FL_DF
    popf_flags v86_iopl3, MODE_V86, 16, 3, FL_IF|FL_DF|FL_NT|FL_VIF|FL_VIP, FL_IOPL3
    popf_flags pvi, MODE_P32, 32, 3, FL_IF, 0, CR4_PVI, NEED_VME

/* IRET that is refused.  The frame is what the row pushes. */
    .macro bad_iret name, cs, ss=S_UDATA, flags=2, esp=STACK3, eip=0x100000, pokes=0
    row gate.bad_iret.\name, MODE_P32, fl=\flags&FL_NT
    .if \pokes
    poke8(GDT + S_X, DESC(0, 0xfffff, \pokes, 0xc))
    .endif
    code 32
        pushl $\ss
        pushl $\esp
        pushl $\flags&~FL_NT
        pushl $\cs
        pushl $\eip
        iret
        done
    end
    .endm
    bad_iret null_cs, 0
    bad_iret null_cs3, 3
    bad_iret data_cs, S_DATA
    bad_iret beyond, 0x1008
    bad_iret ldt_beyond, 0x10c
    bad_iret cs_np, S_X+3, S_UDATA, 2, STACK3, 0x100000, 0x7b
    bad_iret cs_dpl, S_X+3, S_UDATA, 2, STACK3, 0x100000, 0xdb
    bad_iret cs_conforming_dpl, S_X+1, S_UDATA, 2, STACK3, 0x100000, 0xff
    bad_iret ss_null, S_UCODE, 0
    bad_iret ss_rpl, S_UCODE, 0x3a
    bad_iret ss_ro, S_UCODE, S_X+3, 2, STACK3, 0x100000, 0xf1
    bad_iret ss_np, S_UCODE, S_X+3, 2, STACK3, 0x100000, 0x73
    bad_iret ss_dpl, S_UCODE, S_X+3, 2, STACK3, 0x100000, 0x93
    bad_iret ss_beyond, S_UCODE, 0x1013
    bad_iret nt, S_UCODE, S_UDATA, FL_NT
    row gate.bad_iret.eip_limit, MODE_P32
    poke8(GDT + S_X, DESC(CODE, 0xff, 0x9b, 4))
    poke2(CODE + 0x100, 0x0b0f)
    code 32
        pushf
        pushl $S_X
        pushl $0x100
        iret
        done
    end
    row gate.bad_iret.inner, MODE_P32, cpl=3
    code 32
        pushf
        pushl $S_CODE
        pushl $CODE
        iret
        done
    end
    row gate.iret.nulls_data, MODE_P32      /* SDM 2A IRET: segments of more privilege are emptied on the way out */
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x9e, 0xc))
    code 32
        mov $S_X, %eax                      /* conforming code stays */
        mov %eax, %fs
        mov $S_UDATA, %eax
        mov %eax, %gs
        pushl $S_UDATA
        pushl $STACK3
        pushl $2
        pushl $S_UCODE
        pushl $FB(1)
        iret
    1:  done
    end
    row gate.iret.to16, MODE_P32
    code 32
        pushf
        pushl $S_CODE16
        pushl $FBO(1)
        iret
        .code16
    1:  done
    end
    row gate.iretw, MODE_P32
    poke8(GDT + S_X, DESC(CODE, 0xffff, 0x9b, 4))
    code 32
        mov $0xffff, %eax
        pushfw
        pushw $S_X
        pushw $FBO(1)
        iretw
    1:  done
    end

/* Call gates. */
    .macro call_gate name, access, count, cpl, sel=S_X+8, how=lcall
    row gate.call.\name, MODE_P32, cpl=\cpl
    poke8(GDT + S_X + 8, DESC(CODE, 0xffff, 0x9b, 4))
    poke8(GDT + S_X + 16, DESC(CODE, 0xffff, 0x9f, 4))
    poke8(GDT + S_X + 24, DESC(CODE, 0xffff, 0xfb, 4))
    poke8(GDT + S_X, GATE(\sel, FO(1), \access, \count))
    peek(4, DATA, "sp")
    peek(4, DATA + 4, "f0")
    peek(4, DATA + 8, "f1")
    peek(4, DATA + 12, "f2")
    peek(4, DATA + 16, "f3")
    peek(4, DATA + 20, "f4")
    peek(4, DATA + 24, "f5")
    peek(4, DATA + 28, "cs")
    code 32
        pushl $0x11112222
        pushl $0x33334444
        \how $S_X | \cpl, $0x77777777       /* the offset is not looked at */
    3:  done
    1:  mov %cs, DATA + 28
        mov %esp, DATA
        keep 4, 0, 4, 8, 12, 16, 20
        xor %eax, %eax
        .if (\access & 15) != 4
        .ifc \how,lcall
        lret $4 * \count
        .endif
        .endif
        done
    end
    .endm
    call_gate same, 0x8c, 2, 0
    call_gate inner, 0xec, 2, 3
    call_gate inner0, 0xec, 0, 3
    call_gate inner16, 0xe4, 2, 3
    call_gate same16, 0x84, 0, 0
    call_gate dpl, 0x8c, 0, 3
    call_gate np, 0x6c, 0, 3
    call_gate null, 0xec, 0, 3, 0
    call_gate data, 0xec, 0, 3, S_DATA
    call_gate to_ring3, 0xec, 0, 3, S_X+24
    call_gate outward, 0xec, 0, 0, S_UCODE
    call_gate jmp_same, 0x8c, 0, 0, S_X+8, ljmp
    call_gate jmp_inner, 0xec, 0, 3, S_X+8, ljmp
    call_gate conforming, 0xec, 0, 3, S_X+16
    call_gate conforming_jmp, 0xec, 0, 3, S_X+16, ljmp

    row gate.call64.same, MODE_L64
    poke8(GDT + S_X, GATE(S_CODE64, F(1), 0x8c, 0))
    poke8(GDT + S_X + 8, 0)
    peek(8, DATA, "sp")
    peek(8, DATA + 8, "f0")
    peek(8, DATA + 16, "f1")
    poke8(DATA + 24, (S_X << 32))
    code 64
        lcall *DATA + 24
        done
    1:  mov %rsp, DATA
        keep64 8, 0, 8
        lretq
    end
    row gate.call64.inner, MODE_L64, cpl=3
    poke8(GDT + S_X, GATE(S_CODE64, F(1), 0xec, 0))
    poke8(GDT + S_X + 8, 0)
    peek(8, DATA, "sp")
    peek(8, DATA + 8, "f0")
    peek(8, DATA + 16, "f1")
    peek(8, DATA + 32, "f2")
    peek(8, DATA + 40, "f3")
    poke8(DATA + 24, ((S_X + 3) << 32))
    code 64
        lcall *DATA + 24
        done
    1:  mov %rsp, DATA
        keep64 8, 0, 8
        keep64 16, 16, 24
        lretq
    end
    row gate.call64.upper, MODE_L64         /* type bits of the upper half must be 0: SDM 3A 5.8.3.1 */
    poke8(GDT + S_X, GATE(S_CODE64, F(1), 0x8c, 0))
    poke8(GDT + S_X + 8, 0x0c00 << 32)
    poke8(DATA + 24, (S_X << 32))
    code 64
        lcall *DATA + 24
        done
    1:  done
    end
    row gate.call64.to_compat, MODE_L64
    poke8(GDT + S_X, GATE(S_CODE, F(1), 0x8c, 0))
    poke8(GDT + S_X + 8, 0)
    poke8(DATA + 24, (S_X << 32))
    code 64
        lcall *DATA + 24
        done
    1:  done
    end
    row gate.call64.offset, MODE_L64
    poke8(GDT + S_X, GATE(S_CODE64, F(1), 0x8c, 0))
    poke8(GDT + S_X + 8, 0x8000)            /* not canonical */
    poke8(DATA + 24, (S_X << 32))
    code 64
        lcall *DATA + 24
        done
    1:  done
    end
    row gate.int64.ist, MODE_L64
    poke1(IDT64 + 0x81 * 16 + 4, 1)
    code 64
        int $0x81
    end
    row gate.int64.ist_zero, MODE_L64
    poke8(TSS64 + 0x24, 0x800000000000)     /* not canonical: #SS by way of the current stack */
    poke1(IDT64 + 0x81 * 16 + 4, 1)
    code 64
        int $0x81
    end
    row gate.int64.align, MODE_L64
    code 64
        sub $3, %rsp
        int $0x81
    end
    row gate.int64.rsp0, MODE_L64, cpl=3
    poke8(TSS64 + 4, 0x27ff9)
    code 64
        int $0x81
    end
    row gate.int64.type, MODE_L64
    poke1(IDT64 + 0x81 * 16 + 5, 0xe6)      /* no 16-bit gates in long mode */
    code 64
        int $0x81
    end
    row gate.int64.compat_code, MODE_L64
    poke2(IDT64 + 0x81 * 16 + 2, S_CODE)
    code 64
        int $0x81
    end
    row gate.iretq.same, MODE_L64           /* pops SS and RSP too */
    code 64
        pushq $S_DATA
        pushq $STACK0 - 0x103
        pushfq
        pushq $S_CODE64
        pushq $FB(1)
        iretq
    1:  done
    end
    row gate.iretq.null_ss, MODE_L64        /* allowed in 64-bit mode below ring 3 */
    code 64
        pushq $0
        pushq $STACK0
        pushfq
        pushq $S_CODE64
        pushq $FB(1)
        iretq
    1:  done
    end
    row gate.iretq.null_ss3, MODE_L64
    code 64
        pushq $3
        pushq $STACK3
        pushfq
        pushq $S_UCODE64
        pushq $FB(1)
        iretq
    1:  done
    end
    row gate.iretq.noncanonical, MODE_L64
    code 64
        pushq $S_DATA
        pushq $STACK0
        pushfq
        pushq $S_CODE64
        movabs $0x800000000000, %rax
        push %rax
        iretq
        done
    end
    row gate.iretq.noncanonical3, MODE_L64
    code 64
        pushq $S_UDATA
        pushq $STACK3
        pushfq
        pushq $S_UCODE64
        movabs $0x800000000000, %rax
        push %rax
        iretq
        done
    end
    row gate.iretq.nt, MODE_L64, fl=FL_NT
    code 64
        pushq $S_DATA
        pushq $STACK0
        pushfq
        pushq $S_CODE64
        pushq $FB(1)
        iretq
    1:  done
    end
    row gate.iretq.to_compat, MODE_L64
    code 64
        pushq $S_UDATA
        pushq $STACK3
        pushq $2
        pushq $S_UCODE
        pushq $FB(1)
        iretq
        .code32
    1:  done
    end
    row gate.iretd.to64, MODE_C32           /* frames of 4 bytes */
    code 32
        pushl $S_DATA
        pushl $STACK0 - 0x40
        pushf
        pushl $S_CODE64
        pushl $FB(1)
        iret
    1:  done
    end
    row gate.lretq.outer, MODE_L64
    code 64
        pushq $S_UDATA
        pushq $STACK3
        pushq $0x5555
        pushq $S_UCODE64
        pushq $FB(1)
        lretq $8
    1:  done
    end
