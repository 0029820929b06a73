/* SPDX-License-Identifier: GPL-2.0-or-later
 * Changes of stack through gates and far returns, and what is wrong with the new one: SDM 2A CALL, INT n, RET; 3A 5.8.5,
 * 6.15 (#TS, #SS).  Gates lead to ring 1, so that ring 0's stack is there for the fault. */
#include "tests/sys/rows.inc"

/* \how from ring 3 to code in ring 1, whose stack is described by \access, \limit, \flags; ss1 and esp1 stand in the TSS. */
    .macro inner name, access, limit, flags, esp1, ss1, tss_limit, how:req
    row stack.\name, MODE_P32, cpl=3
    poke8(GDT + S_X, DESC(STACK_SEG, \limit, \access, \flags))
    poke8(GDT + S_X + 8, GATE(S_CODE1 - 1, F(1), 0xec, 2))
    poke8(IDT + 0x81 * 8, GATE(S_CODE1 - 1, F(1), 0xee, 0))
    poke8(IDT, GATE(S_CODE1 - 1, F(1), 0xee, 0))
    poke2(GDT + S_TSS, \tss_limit)
    poke4(TSS + 12, \esp1)
    poke2(TSS + 16, \ss1)
    peek(1, GDT + S_X + 5, "access")
    code 32
        pushl $0x11112222
        pushl $0x33334444
        \how
        done
    1:  mov %ss, %ecx
        mov (%esp), %eax
        mov 4(%esp), %edx
        mov %esp, %ebx
        done
    end
    .endm
    .set call_it, S_X + 8 + 3
#define INNER(name, access, limit, flags, esp1, ss1, tss) \
    inner call.name, access, limit, flags, esp1, ss1, tss, "lcall $call_it, $0"; \
    inner int.name, access, limit, flags, esp1, ss1, tss, "int $0x81"; \
    inner de.name, access, limit, flags, esp1, ss1, tss, "xor %ecx, %ecx; div %ecx"
    INNER(fine, 0xb2, 0xffff, 4, 0x1000, S_X+1, 0x1200)
    INNER(room_for_some, 0xb3, 0xffff, 4, 8, S_X+1, 0x1200)
    INNER(limit, 0xb3, 0xfff, 4, 0x1008, S_X+1, 0x1200)
    INNER(down, 0xb7, 0xfff, 4, 0x1008, S_X+1, 0x1200)
    INNER(not_present, 0x33, 0xffff, 4, 0x1000, S_X+1, 0x1200)
    INNER(read_only, 0xb1, 0xffff, 4, 0x1000, S_X+1, 0x1200)
    INNER(code, 0xbb, 0xffff, 4, 0x1000, S_X+1, 0x1200)
    INNER(dpl, 0x93, 0xffff, 4, 0x1000, S_X+1, 0x1200)
    INNER(rpl, 0xb3, 0xffff, 4, 0x1000, S_X+2, 0x1200)
    INNER(null, 0xb3, 0xffff, 4, 0x1000, 1, 0x1200)
    INNER(beyond, 0xb3, 0xffff, 4, 0x1000, 0x1001, 0x1200)
    INNER(in_ldt, 0xb3, 0xffff, 4, 0x1000, 0x105, 0x1200)
    INNER(tss_ends, 0xb3, 0xffff, 4, 0x1000, S_X+1, 0x10)
    INNER(tss_just, 0xb3, 0xffff, 4, 0x1000, S_X+1, 0x11)
    INNER(sp16, 0xb3, 0xffff, 0, 0xbeef1000, S_X+1, 0x1200)
    INNER(sp16_wraps, 0xb3, 0xffff, 0, 4, S_X+1, 0x1200)

/* Parameters: of a 16-bit stack that wraps, all 31. */
    row stack.params16, MODE_P16, cpl=3
    poke8(GDT + S_X, GATE(S_CODE, F(1), 0xec, 3))
    poke8(STACK_SEG + 0xfffc, 0x2222111100000000)
    poke8(STACK_SEG, 0x44443333)
    code 16
        mov $0xfffc, %sp
        lcall $S_X + 3, $0
        done
        .code32
    1:  mov $S_DATA, %eax
        mov %eax, %ds
        mov %esp, %ebx
        mov 8(%esp), %ecx
        mov 12(%esp), %edx
        mov 16(%esp), %esi
        mov 20(%esp), %edi
        done
    end
    row stack.params31, MODE_P32, cpl=3
    poke8(GDT + S_X, GATE(S_CODE, F(1), 0xec, 31))
    code 32
        mov $31, %ecx
    2:  push %ecx
        loop 2b
        lcall $S_X + 3, $0
        mov %esp, %esi
        done
    1:  mov %esp, %ebx
        mov 8(%esp), %edx
        mov 8 + 30 * 4(%esp), %edi
        lret $31 * 4
    end
    row stack.params_fault, MODE_P32, cpl=3, paging=PAGING_2    /* the caller's stack is read as the caller's */
    poke8(GDT + S_X, GATE(S_CODE, F(1), 0xec, 4))
    code 32
        mov $LIN - 4, %esp
        lcall $S_X + 3, $0
        done
    1:  done
    end

/* INT n to a conforming segment stays in the ring; from virtual-8086 mode only ring 0 will do. */
    row stack.int_conforming, MODE_P32, cpl=3
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x9e, 0xc))
    poke8(IDT + 0x81 * 8, GATE(S_X, F(1), 0xee, 0))
    code 32
        int $0x81
        done
    1:  mov %cs, %ebx
        mov (%esp), %ecx
        done
    end
    .macro from_v86 name, sel, access, gate
    row stack.v86.\name, MODE_V86, fl=FL_IOPL3
    poke8(GDT + S_X, DESC(0, 0xfffff, \access, 0xc))
    poke8(IDT + 0x81 * 8, GATE(\sel, F(1), \gate, 0))
    code 16
        int $0x81
        done
        .code32
    1:  mov %esp, %ebx
        mov %cs, %ecx
        mov (%esp), %edx
        done
    end
    .endm
    from_v86 ring0, S_X, 0x9b, 0xee
    from_v86 ring1, S_X, 0xbb, 0xee
    from_v86 ring3, S_X, 0xfb, 0xee
    from_v86 conforming, S_X, 0x9f, 0xee
    from_v86 gate_dpl, S_X, 0x9b, 0x8e
    from_v86 null, 0, 0x9b, 0xee
    row stack.v86.task, MODE_V86, fl=FL_IOPL3       /* a task gate: the whole 8086 task into its TSS */
    poke8(IDT + 0x81 * 8, GATE(S_TSS_B, 0, 0xe5, 0))
    poke4(TSS_B + 0x20, F(1))
    peek(4, TSS + 0x24, "efl")
    peek(4, TSS + 0x20, "eip")
    peek(2, TSS + 0x54, "ds")
    code 16
        int $0x81
        done
        .code32
    1:  pushf
        pop %ecx
        done
    end
    row stack.v86.task_back, MODE_V86, fl=FL_IOPL3
    poke8(IDT + 0x81 * 8, GATE(S_TSS_B, 0, 0xe5, 0))
    poke4(TSS_B + 0x20, F(1))
    code 16
        int $0x81
        mov $0x77, %cx
        done
        .code32
    1:  iret
    end

/* Far returns. */
    .macro fret name, mode, cs, ss, access=0, how=lretl, esp=STACK3
    row stack.lret.\name, \mode, user=1
    poke8(GDT + S_X, DESC(0, 0xfffff, \access, 0xc))
    code 32
        pushl $\ss
        pushl $\esp
        pushl $0x5555
        pushl $\cs
        pushl $FB(1)
        \how $4
        done
    1:  mov %esp, %ebx
        done
    end
    .endm
    fret outer, MODE_P32, S_UCODE, S_UDATA
    fret outer_c32, MODE_C32, S_UCODE, S_UDATA
    fret to_ring1, MODE_P32, S_CODE1, S_DATA1
    fret ss_np, MODE_P32, S_UCODE, S_X+3, 0x73
    fret ss_ro, MODE_P32, S_UCODE, S_X+3, 0xf1
    fret ss_rpl, MODE_P32, S_UCODE, 0x3a
    fret ss_null, MODE_P32, S_UCODE, 0
    fret ss_null_c32, MODE_C32, S_UCODE, 3
    fret ss_beyond, MODE_P32, S_UCODE, 0x1003
    fret cs_np, MODE_P32, S_X+3, S_UDATA, 0x7b
    fret cs_dpl, MODE_P32, S_X+3, S_UDATA, 0xdb
    fret cs_conforming, MODE_P32, S_X+3, S_UDATA, 0x9f
    fret cs_conforming_dpl, MODE_P32, S_X+1, S_DATA1, 0xff
    fret cs_null, MODE_P32, 0, S_UDATA
    fret cs_data, MODE_P32, S_DATA, S_UDATA
    fret cs_gate, MODE_P32, S_X, S_UDATA, 0x8c
    row stack.lret.inward, MODE_P32, cpl=3
    code 32
        pushl $S_CODE
        pushl $FB(1)
        lret
    1:  done
    end
    row stack.lret.params, MODE_P32         /* both stacks are relieved of them; data segments are emptied */
    poke4(STACK3, 0x77777777)
    code 32
        mov $S_UDATA, %eax
        mov %eax, %fs
        pushl $S_UDATA
        pushl $STACK3 - 8
        pushl $1
        pushl $2
        pushl $S_UCODE
        pushl $FB(1)
        lret $8
    1:  mov %esp, %ebx
        done
    end
    row stack.lret.words, MODE_P32
    poke8(GDT + S_X, DESC(CODE, 0xffff, 0xfb, 4))
    code 32
        pushw $S_UDATA
        pushw $0xeff0
        pushw $S_X + 3
        pushw $FBO(1)
        lretw
    1:  mov %esp, %ebx
        done
    end
    row stack.iret.words, MODE_P32          /* 16-bit IRET to ring 3: the upper half of EFLAGS stays */
    poke8(GDT + S_X, DESC(CODE, 0xffff, 0xfb, 4))
    code 32
        pushw $S_UDATA
        pushw $0xeff0
        pushw $FL_DF
        pushw $S_X + 3
        pushw $FBO(1)
        iretw
    1:  mov %esp, %ebx
        done
    end

/* MOV SS and POP SS hold debug exceptions off for one instruction; if that is a software interrupt, the #DB comes at its
 * handler's first instruction (SDM 3A 6.8.3). */
    .macro pending name, do:req
    row stack.pending.\name, MODE_P32, cpl=3
    poke2(DATA, S_UDATA)
    poke8(IDT + 3 * 8, GATE(S_CODE, F(2), 0xee, 0))
    poke8(IDT + 0x81 * 8, GATE(S_CODE, F(2), 0xee, 0))
    poke8(GDT + S_X, GATE(S_CODE, F(1), 0xec, 0))
    code 32
        lcall $S_X + 3, $0
        mov DATA, %ss
        \do
        done
    1:  mov $DATA, %eax                     /* the breakpoint: reads and writes of a word */
        mov %eax, %dr0
        mov $0x70002, %eax
        mov %eax, %dr7
        lret
    2:  nop
        done
    end
    .endm
    pending nop, "nop; nop"
    pending int, "int $0x81"
    pending int3, "int3"
    pending ud, "ud2"
    pending gate, "lcall $0x103, $0"
