/* SPDX-License-Identifier: GPL-2.0-or-later
 * Segment loads, types, limits: SDM 3A 3.4.5, 5.3 to 5.6.  Selectors S_X.. are the rows' own. */
#include "tests/sys/rows.inc"

/* Each kind of descriptor into each kind of segment register: access byte, and RPL. */
    .macro load name, access, rpl, cpl=0
    .irp reg, ds, ss
    row seg.load.\name\().cpl\cpl\().\reg, MODE_P32, cpl=\cpl
    poke8(GDT + S_X, DESC(0, 0xfffff, \access, 0xc))
    peek(1, GDT + S_X + 5, "access")
    code 32
        mov $S_X | \rpl, %eax
        mov %eax, %\reg
        done
    end
    .endr
    .endm
    load null, 0, 0
    load ro, 0x90, 0
    load rw, 0x92, 0
    load ro_down, 0x94, 0
    load rw_down, 0x96, 0
    load xo, 0x98, 0
    load xr, 0x9a, 0
    load xo_conf, 0x9c, 0
    load xr_conf, 0x9e, 0
    load rw_np, 0x12, 0
    load xr_np, 0x1a, 0
    load ldt, 0x82, 0
    load tss, 0x89, 0
    load gate, 0x8c, 0
    load rw_dpl3, 0xf2, 0
    load rw_dpl3_rpl3, 0xf2, 3
    load rw_rpl3, 0x92, 3
    load rw, 0x92, 3, 3
    load rw_dpl3, 0xf2, 3, 3
    load rw_dpl3_rpl0, 0xf2, 0, 3
    load xr_dpl3, 0xfa, 3, 3
    load xr_conf, 0x9e, 3, 3
    load xo_dpl3, 0xf8, 3, 3

    row seg.null.ds, MODE_P32
    code 32
        xor %eax, %eax
        mov %eax, %ds
        mov %ds, %ebx
        mov DATA, %ecx
        done
    end
    row seg.null.ds3, MODE_P32
    code 32
        mov $3, %eax
        mov %eax, %fs
        mov %fs, %ebx
        mov %fs:DATA, %ecx
        done
    end
    row seg.null.ss, MODE_P32
    code 32
        xor %eax, %eax
        mov %eax, %ss
        done
    end
    row seg.null.ss64, MODE_L64
    code 64
        xor %eax, %eax
        mov %eax, %ss
        push %rax
        done
    end
    row seg.null.ss64_rpl, MODE_L64
    code 64
        mov $1, %eax
        mov %eax, %ss
        done
    end
    row seg.null.ss64_cpl3, MODE_L64, cpl=3
    code 64
        mov $3, %eax
        mov %eax, %ss
        done
    end
    row seg.null.es64, MODE_L64
    code 64
        xor %eax, %eax
        mov %eax, %es
        mov %es:DATA, %ecx
        done
    end
    row seg.beyond, MODE_P32
    code 32
        mov $GDT_LEN, %eax
        mov %eax, %ds
        done
    end
    row seg.last, MODE_P32
    poke8(GDT + GDT_LEN - 8, DESC(0, 0xfffff, 0x93, 0xc))
    code 32
        mov $GDT_LEN - 8, %eax
        mov %eax, %ds
        done
    end
    row seg.ldt, MODE_P32
    poke8(LDT + 8, DESC(0, 0xfffff, 0x92, 0xc))
    peek(1, LDT + 8 + 5, "access")
    code 32
        mov $0xc, %eax
        mov %eax, %ds
        mov DATA, %ecx
        done
    end
    row seg.ldt_none, MODE_P32
    code 32
        xor %eax, %eax
        lldt %ax
        mov $0xc, %ebx
        mov %ebx, %ds
        done
    end
    row seg.ldt_beyond, MODE_P32
    code 32
        mov $LDT_LEN + 4, %ebx
        mov %ebx, %ds
        done
    end
    row seg.cs_by_mov, MODE_P32
    code 32
        .byte 0x8e, 0xc8                    /* mov %eax, %cs */
        done
    end

/* Limits: access of 4 bytes at each place around the end, expand-up and expand-down. */
    .macro limit name, desc, at, op=mov
    row seg.limit.\name, MODE_P32
    poke8(GDT + S_X, \desc)
    code 32
        mov $S_X, %eax
        mov %eax, %ds
        \op \at, %ecx
        done
    end
    .endm
    limit up_in, DESC(DATA,0x1f,0x93,4), 0x1c
    limit up_over, DESC(DATA,0x1f,0x93,4), 0x1d
    limit up_beyond, DESC(DATA,0x1f,0x93,4), 0x20
    limit up_wrap, DESC(DATA,0xfffff,0x93,0xc), 0xfffffffe
    limit up_pages, DESC(DATA,0,0x93,0xc), 0xffc
    limit up_pages_over, DESC(DATA,0,0x93,0xc), 0xffd
    limit down_in, DESC(DATA,0x1f,0x97,4), 0x20
    limit down_below, DESC(DATA,0x1f,0x97,4), 0x1f
    limit down_zero, DESC(DATA,0x1f,0x97,4), 0
    limit down_16, DESC(DATA,0x1f,0x97,0), 0xfffc
    limit down_16_over, DESC(DATA,0x1f,0x97,0), 0xfffd
    limit down_16_far, DESC(DATA,0x1f,0x97,0), 0x10000
    limit down_full, DESC(DATA,0xfffff,0x97,0xc), 0xfffffffc
    .macro limit_ss name, desc, sp, what:vararg
    row seg.limit_ss.\name, MODE_P32
    poke8(GDT + S_X, \desc)
    code 32
        mov $S_X, %eax
        mov %eax, %ss
        mov $\sp, %esp
        \what
        mov $S_DATA, %ebx
        mov %ebx, %ss
        mov $STACK0, %esp
        done
    end
    .endm
/* The faults themselves need a stack: #SS comes by way of a task. */
    .macro limit_ss_fault name, desc, sp, what:vararg
    row seg.limit_ss.\name, MODE_P32
    poke8(GDT + S_X, \desc)
    poke1(IDT + 12 * 8 + 5, 0x85)
    poke2(IDT + 12 * 8 + 2, S_TSS_B)
    poke4(TSS_B + 0x20, F(2))
    peek(4, TSS + 0x20, "eip")
    peek(4, TSS + 0x38, "esp")
    code 32
        mov $S_X, %eax
        mov %eax, %ds
        mov %eax, %ss
        mov $\sp, %esp
        \what
        done
    2:  pop %eax
        done
    end
    .endm
    limit_ss push_first, DESC(DATA,0xfff,0x93,4), 0x1000, push %eax
    limit_ss pop_last, DESC(DATA,0xfff,0x93,4), 0xffc, pop %ecx
    limit_ss_fault pop_over, DESC(DATA,0xfff,0x93,4), 0xffd, pop %ecx
    limit_ss_fault pop_both, DESC(DATA,0xfff,0x93,4), 0xffd, popl 0x1000       /* the stack's goes before the operand's */
    limit_ss_fault push_under, DESC(DATA,0xfff,0x93,4), 2, push %eax
    limit_ss_fault push_down, DESC(DATA,0xfff,0x97,4), 0x1003, push %eax
    limit_ss_fault enter_over, DESC(DATA,0xfff,0x93,4), 8, enter $0, $2
    limit_ss sp16_wrap, DESC(DATA,0xffff,0x93,0), 0xbeef0000, push %eax

    row seg.write_ro, MODE_P32
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x91, 0xc))
    code 32
        mov $S_X, %eax
        mov %eax, %ds
        mov DATA, %ecx
        mov %ecx, DATA
        done
    end
    row seg.write_cs, MODE_P32
    code 32
        mov %eax, %cs:DATA
        done
    end
    row seg.read_xo, MODE_P32
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x99, 0xc))
    code 32
        ljmp $S_X, $FB(1)
    1:  mov %cs:DATA, %eax
        done
    end
    .irp which, lsl, lar, verr, verw
    .irp sel, S_CODE, S_DATA, S_UDATA, S_TSS, S_X, S_X+3, 0, GDT_LEN
    row seg.\which\().\sel, MODE_P32
    poke8(GDT + S_X, DESC(0x1234, 0x5678, 0x9a, 0))
    code 32
        mov $\sel, %eax
        .if 0
        .endif
        .ifc \which,lsl
        lsl %eax, %ecx
        .endif
        .ifc \which,lar
        lar %eax, %ecx
        .endif
        .ifc \which,verr
        verr %ax
        .endif
        .ifc \which,verw
        verw %ax
        .endif
        done
    end
    .endr
    .endr
    row seg.arpl, MODE_P32
    code 32
        mov $0x1230, %eax
        mov $0x2, %ecx
        arpl %cx, %ax
        pushf
        pop %edx
        arpl %cx, %ax
        done
    end
    .irp access, 0x82, 0x02, 0x92, 0x89
    row seg.lldt.\access, MODE_P32
    poke8(GDT + S_X, DESC(LDT, 0xff, \access, 0))
    code 32
        mov $S_X, %eax
        lldt %ax
        sldt %ecx
        done
    end
    row seg.ltr.\access, MODE_P32
    poke8(GDT + S_X, DESC(TSS_B, 0x67, \access, 0))
    peek(1, GDT + S_X + 5, "access")
    code 32
        mov $S_X, %eax
        ltr %ax
        done
    end
    .endr
    row seg.ltr.null, MODE_P32
    code 32
        xor %eax, %eax
        ltr %ax
        done
    end
    row seg.ltr.ldt_sel, MODE_P32
    code 32
        mov $4, %eax
        ltr %ax
        done
    end
/* Far jumps to each kind of thing. */
    .irp access, 0x9a, 0x9e, 0xfa, 0xfe, 0x92, 0x1a, 0x82, 0x8e
    .irp cpl, 0, 3
    row seg.ljmp.\access\().cpl\cpl, MODE_P32, cpl=\cpl
    poke8(GDT + S_X, DESC(0, 0xfffff, \access, 0xc))
    code 32
        ljmp $S_X, $FB(1)
        done
    1:  mov %cs, %ecx
        done
    end
    .endr
    .endr
    row seg.ljmp.l_and_d, MODE_L64
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x9a, 0xe))
    poke4(DATA, F(1))
    poke2(DATA + 4, S_X)
    code 64
        ljmp *DATA
    1:  done
    end
    row seg.ljmp.l_in_legacy, MODE_P32      /* L is ignored outside IA-32e mode: 16-bit code */
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x9a, 0xa))
    code 32
        ljmp $S_X, $FB(1)
    1:  .code16
        mov $0x1234, %ax
        done
    end
    row seg.fs_base.msr, MODE_L64
    code 64
        mov $0xc0000100, %ecx
        mov $DATA - 0x1000, %eax
        xor %edx, %edx
        wrmsr
        movl $0x5555, %fs:0x1000
        mov DATA, %ebx
        mov $S_DATA, %esi
        mov %esi, %fs                       /* loads the descriptor's base */
        rdmsr
        done
    end
    row seg.gs_base.noncanonical, MODE_L64
    code 64
        mov $0xc0000101, %ecx
        mov $0x8000, %edx
        wrmsr
        done
    end
    row seg.swapgs, MODE_L64
    code 64
        mov $0xc0000102, %ecx
        mov $DATA, %eax
        xor %edx, %edx
        wrmsr
        swapgs
        movl $0x77, %gs:4
        mov DATA + 4, %ebx
        swapgs
        mov $0xc0000102, %ecx
        rdmsr
        done
    end
    row seg.swapgs_cpl3, MODE_L64, cpl=3
    code 64
        swapgs
        done
    end
    row seg.wrfsbase, MODE_L64, cpl=3, cr4=CR4_FSGSBASE, need=NEED_FSGSBASE
    code 64
        mov $DATA, %ebx
        wrfsbase %rbx
        movl $9, %fs:8
        rdfsbase %rcx
        mov DATA + 8, %edx
        done
    end
    row seg.wrfsbase_off, MODE_L64, cpl=3, need=NEED_FSGSBASE
    code 64
        wrfsbase %rbx
        done
    end
