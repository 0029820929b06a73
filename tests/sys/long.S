/* SPDX-License-Identifier: GPL-2.0-or-later
 * Descriptors and tables in 64-bit mode: their 16 bytes, widths of operands, what is null. SDM 3A 3.5.2, 5.8.3.1, 7.2.3;
 * pages of LAR, LSL, LLDT, LTR, LGDT, SGDT, SLDT, STR, SMSW. */
#include "tests/sys/rows.inc"

/* By type of descriptor, all 32 of them (bit n: access byte 80h | n): which LAR, LSL, VERR, VERW say yes to. */
    .macro answer ask, to
        \ask
        setz %ch
        shr $1, %\to
        test %ch, %ch
        jz 2f
        or $0x80000000, %\to
    2:  mov $0, %ch
    .endm
    .macro look name, mode, bits, dpl, rpl
    row look.\name, \mode
    poke8(GDT + S_X, DESC(0, 0xfffff, 0, 0))
    poke8(GDT + S_X + 8, 0)
    code \bits
        mov $S_X | \rpl, %edi
        xor %ecx, %ecx
        xor %eax, %eax
        xor %ebx, %ebx
        xor %edx, %edx
        xor %ebp, %ebp
    1:  mov %ecx, %esi
        or $0x80 | \dpl << 5, %esi
        xchg %esi, %ecx
        mov %cl, GDT + S_X + 5
        xchg %esi, %ecx
        answer "lar %edi, %esi", eax
        answer "lsl %edi, %esi", ebx
        answer "verr %di", edx
        answer "verw %di", ebp
        inc %ecx
        cmp $32, %ecx
        jb 1b
        done
    end
    .endm
    look l64, MODE_L64, 64, 0, 0
    look l64_rpl3, MODE_L64, 64, 0, 3
    look p32, MODE_P32, 32, 0, 0
    look p32_rpl3, MODE_P32, 32, 0, 3
    look p32_dpl3, MODE_P32, 32, 3, 3
    look c32, MODE_C32, 32, 0, 0

    row look.lar_bits, MODE_P32             /* the access rights, and limits by granularity; 16-bit operands cut */
    poke8(GDT + S_X, DESC(0x12345678, 0xfabcd, 0xf2, 0xd))
    code 32
        mov $S_X, %edi
        mov $-1, %eax
        mov %eax, %ebx
        mov %eax, %ecx
        mov %eax, %edx
        lar %edi, %eax
        lar %di, %bx
        lsl %edi, %ecx
        lsl %di, %dx
        done
    end
    row look.l64_bits, MODE_L64             /* 64-bit operands: zeros above */
    poke8(GDT + S_X, DESC(0x12345678, 0xfabcd, 0xf2, 0xd))
    code 64
        mov $S_X, %edi
        mov $-1, %rax
        mov %rax, %rbx
        mov %rax, %rcx
        mov %rax, %rdx
        lar %rdi, %rax
        lar %di, %bx
        lsl %rdi, %rcx
        lsl %di, %dx
        done
    end
    row look.beyond, MODE_L64               /* the upper half of a system descriptor is not looked at */
    poke8(GDT + GDT_LEN - 8, DESC(0, 0x67, 0x89, 0))
    code 64
        mov $GDT_LEN - 8, %edi
        lar %edi, %eax
        setz %bl
        done
    end

/* LLDT and LTR: 16 bytes. */
    .macro sysdesc name, access, high, sel=S_X, limit=0x67
    row long.lldt.\name, MODE_L64
    poke8(GDT + \sel, DESC(LDT, \limit, \access, 0))
    .if \sel + 8 < GDT_LEN
    poke8(GDT + \sel + 8, \high)
    .endif
    peek(1, GDT + \sel + 5, "access")
    code 64
        mov $\sel, %eax
        lldt %ax
        sldt %ecx
        done
    end
    row long.ltr.\name, MODE_L64
    poke8(GDT + \sel, DESC(TSS64, \limit, \access, 0))
    .if \sel + 8 < GDT_LEN
    poke8(GDT + \sel + 8, \high)
    .endif
    peek(1, GDT + \sel + 5, "access")
    code 64
        mov $\sel, %eax
        ltr %ax
        str %ecx
        done
    end
    .endm
    sysdesc tss, 0x89, 0
    sysdesc tss_busy, 0x8b, 0
    sysdesc tss16, 0x81, 0
    sysdesc ldt, 0x82, 0
    sysdesc ldt_np, 0x02, 0
    sysdesc tss_np, 0x09, 0
    sysdesc ldt_dpl3, 0xe2, 0
    sysdesc ldt_upper_type, 0x82, 0x20000000000
    sysdesc tss_upper_type, 0x89, 0x100000000000
    sysdesc ldt_noncanonical, 0x82, 0x8000
    sysdesc tss_noncanonical, 0x89, 0x8000
    sysdesc ldt_half, 0x82, 0, 0x1f8
    sysdesc tss_half, 0x89, 0, 0x1f8
    row long.ldt_upper, MODE_L64            /* a base above 4 GiB: the descriptor there is not mapped */
    poke8(GDT + S_X, DESC(LDT, 0xff, 0x82, 0))
    poke8(GDT + S_X + 8, 0x7f)
    code 64
        mov $S_X, %eax
        lldt %ax
        mov $0x0c, %ecx
        mov %ecx, %ds
        done
    end
    row long.store_widths, MODE_L64, fl=FL_DF
    code 64
        mov $S_LDT, %eax
        lldt %ax
        mov $-1, %rax
        mov %rax, %rbx
        mov %rax, %rcx
        mov %rax, %rdx
        mov %rax, %rsi
        mov %rax, %rdi
        mov %rax, %r8
        mov %rax, %r9
        mov %rax, %r10
        sldt %rax
        sldt %ebx
        sldt %cx
        str %rdx
        str %si
        smsw %rdi
        smsw %r8w
        mov %ds, %r9
        mov %ds, %r10w
        done
    end
    row long.store_memory, MODE_L64         /* 16 bits, whatever the operand size */
    poke8(DATA, -1)
    poke8(DATA + 8, -1)
    peek(8, DATA, "str")
    peek(8, DATA + 8, "smsw")
    code 64
        .byte 0x48
        str DATA
        .byte 0x48
        smsw DATA + 8
        done
    end
    row long.gdt_64, MODE_L64               /* the operand-size prefix does not matter; 10 bytes */
    poke2(DATA, GDT_LEN - 1)
    poke8(DATA + 2, GDT)
    poke8(DATA + 0x20, -1)
    poke8(DATA + 0x28, -1)
    peek(8, DATA + 0x20, "sgdt")
    peek(8, DATA + 0x28, "sgdt8")
    code 64
        .byte 0x66
        lgdt DATA
        .byte 0x66
        sgdt DATA + 0x20
        done
    end
    row long.gdt_noncanonical, MODE_L64
    poke2(DATA, GDT_LEN - 1)
    poke8(DATA + 2, 0x800000000000)
    code 64
        lgdt DATA
        done
    end
    row long.gdt_c32, MODE_C32              /* 6 bytes */
    poke2(DATA, GDT_LEN - 1)
    poke4(DATA + 2, GDT)
    poke4(DATA + 6, 0x8000)
    poke8(DATA + 0x20, -1)
    peek(8, DATA + 0x20, "sgdt")
    code 32
        lgdt DATA
        sgdt DATA + 0x20
        done
    end
    row long.gdt_p16, MODE_P32              /* 16-bit operands: 24 bits of base are loaded */
    poke2(DATA, GDT_LEN - 1)
    poke4(DATA + 2, GDT | 0x5a000000)
    poke8(DATA + 0x20, -1)
    peek(8, DATA + 0x20, "sgdt")
    code 32
        .byte 0x66
        lgdt DATA
        .byte 0x66
        sgdt DATA + 0x20
        done
    end

/* Far transfers of each operand size. */
    row long.lcall_32, MODE_L64
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x9b, 0xa))
    poke4(DATA, F(1))
    poke2(DATA + 4, S_X)
    code 64
        lcall *DATA
        done
    1:  mov %rsp, %rbx
        pop %rcx
        mov %cs, %edx
        done
    end
    row long.lcall_to_compat, MODE_L64      /* and back by a 32-bit RET */
    poke4(DATA, F(1))
    poke2(DATA + 4, S_CODE)
    code 64
        lcall *DATA
        mov %cs, %esi
        done
        .code32
    1:  mov %cs, %edx
        mov (%esp), %ebx
        mov 4(%esp), %ecx
        lretl
    end
    row long.lcall_16, MODE_L64
    poke8(GDT + S_X, DESC(0, 0xfffff, 0x9b, 0xa))
    poke2(DATA, LOW + 0xf00)
    poke2(DATA + 2, S_X)
    poke4(LOW + 0xf00, 0x0b0fe389)
    code 64
        .byte 0x66
        lcall *DATA
        done
    end
    row long.lret_noncanonical, MODE_L64
    code 64
        pushq $S_CODE64
        movabs $0x800000000000, %rax
        push %rax
        mov %rsp, %rbx
        movq %rax, (%rsp)
        mov $S_CODE64, %ecx
        mov %rcx, 8(%rsp)
        lretq
        done
    end
    row long.lret_32, MODE_L64              /* without REX.W: 4-byte words */
    code 64
        sub $8, %rsp
        movl $FB(1), (%rsp)
        movl $S_CODE64, 4(%rsp)
        lretl
    1:  done
    end
    row long.iretd, MODE_L64                /* 4-byte words, five of them */
    code 64
        sub $20, %rsp
        movl $FB(1), (%rsp)
        movl $S_CODE64, 4(%rsp)
        movl $FL_DF | 2, 8(%rsp)
        movl $STACK0 - 0x300, 12(%rsp)
        movl $S_DATA, 16(%rsp)
        iretl
    1:  done
    end
    row long.iret_to_16, MODE_L64           /* to a 16-bit stack: the upper halves of ESP */
    code 64
        pushq $S_UDATA16
        pushq $0x1234f000
        pushq $2
        pushq $S_UCODE16
        pushq $FBO(1)
        iretq
        .code16
    1:  done
    end
    row long.iret_compat_limit, MODE_L64
    poke8(GDT + S_X, DESC(CODE, 0xff, 0xfb, 4))
    code 64
        pushq $S_UDATA
        pushq $STACK3
        pushq $2
        pushq $S_X + 3
        pushq $0x100
        iretq
        done
    end
    row long.push_seg, MODE_L64
    code 64
        mov $S_DATA, %eax
        mov %eax, %fs
        mov %rsp, %rbx
        push %fs
        sub %rsp, %rbx
        mov %rsp, %rcx
        pushw %fs
        sub %rsp, %rcx
        popw %gs
        pop %rdx
        done
    end
    row long.pop_ds64, MODE_L64
    code 64
        .byte 0x1f
        done
    end
    row long.les, MODE_L64                  /* is VEX here: one that says nothing */
    code 64
        .byte 0xc4, 0x04, 0x25, 0, 0, 3, 0
        done
    end
    row long.cr3_low_bits, MODE_L64         /* 11:5 and 2:0 are ignored and kept */
    code 64
        mov %cr3, %rax
        or $0x18, %rax
        mov %rax, %cr3
        mov %cr3, %rbx
        btr $3, %rbx
        btr $4, %rbx
        mov %rbx, %cr3
        mov %cr3, %rcx
        done
    end
    row long.pcide_cr3, MODE_L64, need=NEED_PCID    /* only with CR3's low bits clear */
    code 64
        mov %cr3, %rax
        or $1, %rax
        mov %rax, %cr3
        mov %cr4, %rbx
        or $CR4_PCIDE, %rbx
        mov %rbx, %cr4
        done
    end
    row long.cr4_la57, MODE_L64             /* not to be switched while paging is on, had or not */
    code 64
        mov %cr4, %rax
        bts $12, %rax
        mov %rax, %cr4
        done
    end
    row long.cr2_wide, MODE_L64
    code 64
        movabs $0x123456789abcdef0, %rax
        mov %rax, %cr2
        mov %cr2, %rbx
        done
    end
    row long.mov_cr_prefixes, MODE_L64      /* the operand size is 64 bits and mod is 3, whatever is said */
    code 64
        mov $-1, %rax
        .byte 0x66, 0x0f, 0x20, 0x00
        mov $-1, %rbx
        .byte 0x67, 0x0f, 0x20, 0x43
        done
    end
    row long.efer_lma, MODE_L64             /* LMA is ignored in what is written */
    code 64
        mov $0xc0000080, %ecx
        rdmsr
        and $~0x400, %eax
        wrmsr
        rdmsr
        done
    end
    row long.wrmsr_fsbase_compat, MODE_C32  /* bits above 31 do not show in 32-bit addresses */
    code 32
        mov $0xc0000100, %ecx
        mov $DATA - 0x1000, %eax
        mov $0x7f, %edx
        wrmsr
        movl $0x5555, %fs:0x1000
        mov DATA, %ebx
        rdmsr
        done
    end
