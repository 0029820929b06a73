/* SPDX-License-Identifier: GPL-2.0-or-later
 * Exceptions: which one, with what code and frame, by what priority (SDM 3A 6.9, table 6-2), and what becomes of a second
 * one while the first is delivered (6.15, tables 6-4, 6-5). */
#include "tests/sys/rows.inc"

/* An event in each mode and privilege: the frame's form. */
    .macro in_mode name, mode, bits, cpl=0, fl=0
    row exc.ud.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        done
    end
    row exc.int3.\name, \mode, cpl=\cpl, fl=\fl
    poke1(IDT + 3 * 8 + 5, 0xee)
    poke1(IDT64 + 3 * 16 + 5, 0xee)
    code \bits
        int3
        done
    end
    row exc.int_n.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        int $0x81
        done
    end
    row exc.int_n_dpl.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        int $0x15
        done
    end
    row exc.icebp.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        .byte 0xf1
        done
    end
    row exc.de.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        xor %ecx, %ecx
        div %ecx
        done
    end
    row exc.de_overflow.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        mov $1, %ecx
        mov $1, %edx
        idiv %ecx
        done
    end
    row exc.cli.\name, \mode, cpl=\cpl, fl=\fl|FL_IF
    code \bits
        cli
        done
    end
    row exc.clts.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        clts
        done
    end
    row exc.in_port.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        in $0xe9, %al
        done
    end
    row exc.len15.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        .fill 14, 1, 0x66                   /* 15 bytes are the most: SDM 2A 2.3.11 */
        nop
        done
    end
    row exc.len16.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        .fill 15, 1, 0x66
        nop
        done
    end
    row exc.lock.\name, \mode, cpl=\cpl, fl=\fl
    code \bits
        .byte 0xf0, 0x89, 0xc0              /* lock mov */
        done
    end
    row exc.nm_em.\name, \mode, cpl=\cpl, fl=\fl, cr0=CR0_EM
    code \bits
        fnop
        done
    end
    row exc.nm_ts.\name, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS
    code \bits
        fnop
        done
    end
    row exc.wait_ts.\name, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS
    code \bits
        fwait
        done
    end
    row exc.wait_mp_ts.\name, \mode, cpl=\cpl, fl=\fl, cr0=CR0_TS|CR0_MP
    code \bits
        fwait
        done
    end
    .endm
    in_mode p32, MODE_P32, 32
    in_mode p32.cpl3, MODE_P32, 32, 3
    in_mode p32.cpl3.iopl3, MODE_P32, 32, 3, FL_IOPL3
    in_mode p16, MODE_P16, 16
    in_mode p16.cpl3, MODE_P16, 16, 3
    in_mode l64, MODE_L64, 64
    in_mode l64.cpl3, MODE_L64, 64, 3
    in_mode c32, MODE_C32, 32
    in_mode c32.cpl3, MODE_C32, 32, 3
    in_mode c16.cpl3, MODE_C16, 16, 3
    in_mode real, MODE_REAL, 16
    in_mode v86, MODE_V86, 16, 3
    in_mode v86.iopl3, MODE_V86, 16, 3, FL_IOPL3

/* What only some modes have. */
    row exc.into, MODE_P32, cpl=3
    poke1(IDT + 4 * 8 + 5, 0xee)
    code 32
        mov $0x7f, %al
        inc %al
        into
        done
    end
    row exc.into_not, MODE_P32
    code 32
        test %eax, %eax
        into
        done
    end
    row exc.into_dpl, MODE_P32, cpl=3
    code 32
        mov $0x7f, %al
        inc %al
        into
        done
    end
    row exc.into.l64, MODE_L64
    code 64
        .byte 0xce
        done
    end
    row exc.bound, MODE_P32
    poke4(DATA, -5)
    poke4(DATA + 4, 5)
    code 32
        mov $-5, %eax
        bound %eax, DATA
        mov $5, %eax
        bound %eax, DATA
        mov $6, %eax
        bound %eax, DATA
        done
    end
    row exc.bound16, MODE_P32
    poke4(DATA, 0x0005fffb)
    code 32
        mov $0xfffa, %eax
        bound %ax, DATA
        done
    end
    row exc.ac, MODE_P32, cpl=3, fl=FL_AC, cr0=CR0_AM
    code 32
        mov DATA + 4, %eax
        mov DATA + 2, %ax
        mov DATA + 1, %al
        mov DATA + 2, %eax
        done
    end
    row exc.ac_word, MODE_P32, cpl=3, fl=FL_AC, cr0=CR0_AM
    code 32
        mov DATA + 1, %ax
        done
    end
    row exc.ac_push, MODE_P32, cpl=3, fl=FL_AC, cr0=CR0_AM
    code 32
        inc %esp
        push %eax
        done
    end
    row exc.ac_cpl0, MODE_P32, fl=FL_AC, cr0=CR0_AM
    code 32
        mov DATA + 2, %eax
        done
    end
    row exc.ac_am_clear, MODE_P32, cpl=3, fl=FL_AC
    code 32
        mov DATA + 2, %eax
        done
    end
    row exc.ac_cmpxchg8b, MODE_P32, cpl=3, fl=FL_AC, cr0=CR0_AM
    code 32
        cmpxchg8b DATA + 4
        done
    end
    row exc.ac_before_pf, MODE_L64, cpl=3, fl=FL_AC, cr0=CR0_AM
    code 64
        mov LIN + 2, %eax                   /* not mapped: #PF and #AC are of one class; the order is the model's */
        done
    end
    row exc.ac_sse, MODE_L64, cpl=3, cr4=CR4_OSFXSR
    code 64
        movaps DATA + 8, %xmm0
        done
    end
    row exc.ud_osfxsr, MODE_P32
    code 32
        movaps DATA, %xmm0
        done
    end
    row exc.mf, MODE_P32, cr0=CR0_NE
    code 32
        fninit
        fldz
        fnstcw DATA
        andw $~4, DATA
        fldcw DATA
        fld1
        fdiv %st(1), %st
        fnop
        done
    end
    row exc.xm, MODE_L64, cr4=CR4_OSFXSR|CR4_OSXMMEXCPT
    poke4(DATA, 0x1d80)                     /* ZM clear */
    code 64
        ldmxcsr DATA
        xorps %xmm0, %xmm0
        mov $0x3f800000, %eax
        movd %eax, %xmm1
        divss %xmm0, %xmm1
        done
    end
    row exc.xm_is_ud, MODE_L64, cr4=CR4_OSFXSR
    poke4(DATA, 0x1d80)
    code 64
        ldmxcsr DATA
        xorps %xmm0, %xmm0
        mov $0x3f800000, %eax
        movd %eax, %xmm1
        divss %xmm0, %xmm1
        done
    end
    row exc.mxcsr, MODE_L64, cr4=CR4_OSFXSR
    poke4(DATA, 0x10000)
    code 64
        ldmxcsr DATA
        done
    end
    row exc.noncanonical, MODE_L64
    code 64
        movabs $0x800000000000, %rbx
        mov (%rbx), %eax
        done
    end
    row exc.noncanonical_ss, MODE_L64
    code 64
        movabs $0x800000000000, %rbp
        mov (%rbp), %eax
        done
    end
    row exc.noncanonical_end, MODE_L64
    code 64
        movabs $0x7ffffffffffd, %rbx        /* the page is not there, and its end is beyond */
        mov (%rbx), %eax
        done
    end
    row exc.noncanonical_jump, MODE_L64
    code 64
        movabs $0x800000000000, %rbx
        jmp *%rbx
    end
    row exc.noncanonical_ret, MODE_L64
    code 64
        movabs $0x800000000000, %rbx
        push %rbx
        ret
    end
    row exc.segment_limit_code, MODE_P16
    poke1(CODE + 0xffff, 0x90)              /* the last byte: a nop */
    poke2(CODE + 0x10000, 0x0b0f)
    code 16
        cmp $0xffff, %ax                    /* where IP wraps */
        je 1f
        mov $0xffff, %ax
        jmp *%ax
    1:  done
    end
    row exc.segment_limit_code.real, MODE_REAL
    poke1(CODE + 0xffff, 0x90)
    poke2(CODE + 0x10000, 0x0b0f)
    code 16
        cmp $0xffff, %ax                    /* where IP wraps */
        je 1f
        mov $0xffff, %ax
        jmp *%ax
    1:  done
    end
    row exc.tsd, MODE_P32, cpl=3, cr4=CR4_TSD
    code 32
        rdtsc
        done
    end
    row exc.rdpmc, MODE_P32, cpl=3
    code 32
        rdpmc
        done
    end
    .irp which, sgdt, sidt, sldt, str, smsw
    row exc.umip.\which, MODE_P32, cpl=3, cr4=CR4_UMIP, need=NEED_UMIP
    code 32
        \which DATA
        done
    end
    .endr
    .irp which, lgdt, lidt, lldt, ltr, lmsw, invlpg
    row exc.priv.\which, MODE_P32, cpl=3
    code 32
        \which DATA
        done
    end
    .endr
    .irp which, clts, hlt, invd, wbinvd, rdmsr, wrmsr, sysexit
    row exc.priv.\which, MODE_P32, cpl=3
    code 32
        \which
        done
    end
    .endr

/* Contributory rules: a handler that cannot be entered.  Vector 0 by a gate that is not present is #NP. */
    row exc.df.de_np, MODE_P32
    poke8(IDT, 0)
    poke8(IDT + 11 * 8, 0)
    code 32
        xor %ecx, %ecx
        div %ecx
    end
    row exc.np.de, MODE_P32                 /* a benign way: #DE, then #NP is contributory upon contributory: #DF */
    poke1(IDT + 5, 0x0e)
    code 32
        xor %ecx, %ecx
        div %ecx
    end
    row exc.np.ud, MODE_P32                 /* #UD is benign: #NP is delivered, its code with EXT and IDT */
    poke1(IDT + 6 * 8 + 5, 0x0e)
    code 32
        ud2
    end
    row exc.gp.ud_bad_gate, MODE_P32
    poke1(IDT + 6 * 8 + 5, 0x82)
    code 32
        ud2
    end
    row exc.np.int_n, MODE_P32              /* by INT n: EXT is clear */
    poke1(IDT + 0x81 * 8 + 5, 0x6e)
    code 32
        int $0x81
        done
    end
    row exc.gp.idt_limit, MODE_P32
    poke2(DATA, 0x1ff)
    poke4(DATA + 2, IDT)
    code 32
        lidt DATA
        int $0x41
        done
    end
    row exc.np.gate_code, MODE_P32          /* the gate's segment is not present */
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x1b, 0xc))
    poke8(IDT + 0x81 * 8, GATE(S_X, F(1), 0xee, 0))
    code 32
        int $0x81
    1:  done
    end
/* A gate to a selector that is no code segment to go to. */
    .macro gate_to name, selector
    row exc.gp.gate_\name, MODE_P32
    poke8(IDT + 0x81 * 8, GATE(\selector, F(1), 0xee, 0))
    code 32
        int $0x81
    1:  done
    end
    .endm
    gate_to null, 0
    gate_to data, S_DATA
    gate_to beyond, 0x1008
    gate_to outer, 0x30                     /* code segment of ring 3 from ring 0 */
    row exc.ts.gate_ss_null, MODE_P32, cpl=3
    poke2(TSS + 8, 0)
    poke1(IDT + 10 * 8 + 5, 0x85)           /* #TS goes through a task gate: the stack of ring 0 is unusable */
    poke2(IDT + 10 * 8 + 2, S_TSS_B)
    poke4(TSS_B + 0x20, F(1))
    code 32
        int $0x81
        done
    1:  pop %eax
        done
    end
    row exc.df.stack, MODE_P32, paging=PAGING_2     /* #PF on the handler's stack: #DF by a task gate */
    poke1(IDT + 8 * 8 + 5, 0x85)
    poke2(IDT + 8 * 8 + 2, S_TSS_B)
    poke4(TSS_B + 0x20, F(1))
    peek(4, TSS + 0x38, "esp")
    peek(4, TSS + 0x20, "eip")
    code 32
        mov $LIN + 0x1000, %esp
        push %eax
        done
    1:  pop %eax
        done
    end
    row exc.df.stack64, MODE_L64
    poke1(IDT64 + 8 * 16 + 4, 1)
    code 64
        mov $LIN + 0x1000, %esp
        push %rax
        done
    end
    row exc.df.pf_pf, MODE_L64              /* #PF while #PF is delivered, on a stack of its own */
    poke1(IDT64 + 8 * 16 + 4, 1)
    code 64
        mov $LIN + 0x1000, %esp
        mov LIN, %eax
        done
    end
    row exc.gp_pf, MODE_L64                 /* contributory, then a page fault: that is served */
    poke1(IDT64 + 14 * 16 + 4, 1)
    poke8(TSS64 + 0x24, IST1)
    code 64
        mov $LIN + 0x1000, %esp
        mov $-1, %eax
        mov %rax, %cr8
        done
    end
    row exc.triple, MODE_P32
    poke2(DATA, 0)
    poke4(DATA + 2, IDT)
    code 32
        lidt DATA
        ud2
    end
    row exc.triple64, MODE_L64
    code 64
        mov $LIN + 0x1000, %esp
        push %rax
    end
    row exc.triple.real, MODE_REAL
    code 16
        mov $0, %bx
        .byte 0x2e, 0x0f, 0x01, 0x1e; .word FBO(1)      /* lidt %cs:1f */
        ud2
    1:  .word 0
        .long 0
    end
    row exc.real.idt_limit, MODE_REAL       /* SDM 3A 20.1.4: #GP, which real mode has the vector of */
    code 16
        .byte 0x2e, 0x0f, 0x01, 0x1e; .word FBO(1)
        int $0x20
        done
    1:  .word 0x7f
        .long 0
    end
    row exc.real.ss_limit, MODE_REAL
    code 16
        mov $0xffff, %bx
        mov %ss:(%bx), %ax
        done
    end
    row exc.real.ds_limit, MODE_REAL
    code 16
        mov $0xffff, %bx
        mov (%bx), %ax
        done
    end
    row exc.real.priv, MODE_REAL
    code 16
        sldt %ax
        done
    end
