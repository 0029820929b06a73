/* SPDX-License-Identifier: GPL-2.0-or-later
 * What goes first where an instruction has several things wrong with it (SDM 3A table 6-2; pages of the instructions), and
 * that a fault leaves all registers as they were. */
#include "tests/sys/rows.inc"

/* At privilege 3 with an operand that is not mapped: the privilege goes first. */
    .irp which, lldt, ltr, lgdt, lidt, lmsw
    row prio.priv.\which, MODE_L64, cpl=3
    code 64
        \which LIN + 0x3000
        done
    end
    .endr
    .irp which, sldt, str, verr, verw
    row prio.operand.\which, MODE_L64, cpl=3
    code 64
        \which LIN + 0x3000
        done
    end
    .endr
    .macro prio name, mode, bits, cpl, do:req, need=0
    row prio.\name, \mode, cpl=\cpl, need=\need
    code \bits
        \do
        done
    end
    .endm
    prio invpcid3, MODE_L64, 64, 3, "mov $9, %eax; invpcid 0x803000, %rax", NEED_INVPCID
    prio lock_priv, MODE_L64, 64, 3, ".byte 0xf0; cli; hlt"
    prio lock_hlt, MODE_L64, 64, 3, ".byte 0xf0, 0xf4"
    prio cr1_3, MODE_L64, 64, 3, ".byte 0x0f, 0x20, 0xc8"
    prio cr8_3, MODE_L64, 64, 3, "mov %cr8, %rax"
    prio cr5_0, MODE_L64, 64, 0, ".byte 0x0f, 0x22, 0xe8"
    prio cr9_0, MODE_L64, 64, 0, ".byte 0x44, 0x0f, 0x20, 0xc8"
    prio dr8_0, MODE_L64, 64, 0, ".byte 0x44, 0x0f, 0x21, 0xc0"
    prio swapgs_c32, MODE_C32, 32, 0, ".byte 0x0f, 0x01, 0xf8"
    prio xsetbv3, MODE_L64, 64, 3, "xsetbv"
    prio wrpkru_off, MODE_L64, 64, 3, "wrpkru"
    prio stac3, MODE_L64, 64, 3, "stac"
    prio clac_v86, MODE_V86, 16, 3, "clac"
    prio rsm, MODE_L64, 64, 0, "rsm"
    prio rsm3, MODE_L64, 64, 3, "rsm"
    prio vmxon, MODE_L64, 64, 3, "vmxon 0x30000"
    prio getsec, MODE_L64, 64, 0, "getsec"
    prio encls, MODE_L64, 64, 0, "encls"
    prio xbegin, MODE_L64, 64, 0, "xbegin 1f; 1:"
    prio xtest, MODE_L64, 64, 0, "xtest"
    prio ud0, MODE_L64, 64, 3, "ud0 0x803000, %eax"
    prio ud1, MODE_L64, 64, 3, "ud1 0x803000, %eax"
    prio mov_cs, MODE_L64, 64, 3, ".byte 0x8e, 0xc8"
    prio mov_seg6, MODE_L64, 64, 3, ".byte 0x8e, 0xf0"
    prio mov_from_seg7, MODE_L64, 64, 3, ".byte 0x8c, 0x3c, 0x25, 0, 0x30, 0x80, 0"
    prio clflush_noncanonical, MODE_L64, 64, 3, "movabs $0x800000000000, %rbx; clflush (%rbx)"
    prio prefetch_noncanonical, MODE_L64, 64, 3, "movabs $0x800000000000, %rbx; prefetcht0 (%rbx)"
    prio invlpg_noncanonical, MODE_L64, 64, 0, "movabs $0x800000000000, %rbx; invlpg (%rbx)"
    prio movbe_noncanonical_ss, MODE_L64, 64, 3, "movabs $0x800000000000, %rbp; movbe (%rbp), %eax"
    prio int_dpl_np, MODE_P32, 32, 3, "int $0x15"
    prio cmpxchg16b, MODE_L64, 64, 3, "cmpxchg16b 0x803008"
    prio cmpxchg8b_reg, MODE_L64, 64, 3, ".byte 0x0f, 0xc7, 0xc8"
    prio rdfsbase_c32, MODE_C32, 32, 0, ".byte 0xf3, 0x0f, 0xae, 0xc0"
    prio hlt_v86, MODE_V86, 16, 3, "hlt"
    prio rdmsr_v86, MODE_V86, 16, 3, "rdmsr"
    prio lgdt_v86, MODE_V86, 16, 3, "lgdt 0"
    prio sgdt_v86, MODE_V86, 16, 3, "sgdt 0"
    prio str_v86, MODE_V86, 16, 3, "str %ax"
    prio lar_v86, MODE_V86, 16, 3, "lar %ax, %cx"
    prio invd_v86, MODE_V86, 16, 3, "invd"
    prio vex_v86, MODE_V86, 16, 3, ".byte 0xc5, 0xf8, 0x77"
    prio vex_real, MODE_REAL, 16, 0, ".byte 0xc5, 0xf8, 0x77"
    prio lar_real, MODE_REAL, 16, 0, "lar %ax, %cx"
    prio arpl_real, MODE_REAL, 16, 0, "arpl %ax, %cx"
    prio ltr_real, MODE_REAL, 16, 0, "ltr %ax"
    prio verr_real, MODE_REAL, 16, 0, "verr 0"
    prio syscall_real, MODE_REAL, 16, 0, "syscall"
    prio sysenter_real, MODE_REAL, 16, 0, "sysenter"
    prio sysexit_real, MODE_REAL, 16, 0, "sysexit"

/* Faults in the midst of things. */
    row prio.lfs_keeps, MODE_P32            /* the offset's register keeps its value if the selector is bad */
    poke4(DATA, 0x12345678)
    poke2(DATA + 4, 0x1008)
    code 32
        lfs DATA, %ebx
        done
    end
    row prio.lss_keeps, MODE_P32
    poke4(DATA, 0x12345678)
    poke2(DATA + 4, S_CODE)
    code 32
        lss DATA, %esp
        done
    end
    row prio.pop_ss_keeps, MODE_P32
    code 32
        pushl $S_CODE
        pop %ss
        done
    end
    row prio.popa_keeps, MODE_P32, paging=PAGING_2
    code 32
        mov $LIN - 16, %esp
        popa
        done
    end
    row prio.lret_keeps, MODE_P32
    code 32
        pushl $S_DATA
        pushl $0
        lret $8
        done
    end
    row prio.lcall_limit, MODE_P32
    poke8(GDT + S_X, DESC(CODE, 0xff, 0x9b, 4))
    code 32
        lcall $S_X, $0x100
        done
    end
    row prio.xchg_keeps, MODE_P32, paging=PAGING_2
    code 32
        mov $0x55, %eax
        xchg %eax, LIN + 0x2000
        done
    end
    row prio.call_mem_keeps, MODE_P32
    poke4(DATA, 0)
    poke2(DATA + 4, S_DATA)
    code 32
        lcall *DATA
        done
    end
    row prio.iret_vm_ip, MODE_P32           /* to virtual-8086 mode beyond 64 KiB */
    code 32
        pushl $0
        pushl $0
        pushl $0
        pushl $0
        pushl $STACK_SEG >> 4
        pushl $0xe000
        pushl $FL_VM | 2
        pushl $CODE >> 4
        pushl $0x10000
        iret
    end
    row prio.sti_hlt_shadow, MODE_P32, cpl=3, fl=FL_IOPL3   /* IOPL does not make HLT allowed */
    code 32
        sti
        hlt
    end

/* I/O permission: SDM 1 19.5.2.  The map lies at 0x1000 in a TSS that ends at 0x1200, its last byte FFh. */
    .macro io name, limit, map, bits, port, do:req
    row prio.io.\name, MODE_P32, cpl=3
    poke2(GDT + S_TSS, \limit)
    poke2(TSS + 0x66, \map)
    poke2(TSS_IOMAP, \bits)
    code 32
        mov $\port, %edx
        xor %eax, %eax
        \do
        done
    end
    .endm
    io byte, 0x1200, 0x1000, 0xfeff, 8, "out %al, %dx"
    io byte_denied, 0x1200, 0x1000, 0x0100, 8, "out %al, %dx"
    io word_second, 0x1200, 0x1000, 0x0200, 8, "out %ax, %dx"
    io word_across, 0x1200, 0x1000, 0x0100, 7, "out %ax, %dx"
    io dword_across, 0x1200, 0x1000, 0x0400, 7, "out %eax, %dx"
    io dword_before, 0x1200, 0x1000, 0x0800, 7, "out %eax, %dx"
    io last_byte, 0x1001, 0x1000, 0, 0, "out %al, %dx"
    io no_end_byte, 0x1000, 0x1000, 0, 0, "out %al, %dx"
    io beyond, 0x1001, 0x1000, 0, 8, "out %al, %dx"
    io map_outside, 0x1200, 0x1201, 0, 0, "out %al, %dx"
    io map_wraps, 0x1200, 0xffff, 0, 0, "out %al, %dx"
    io outs_map_first, 0x1200, 0x1000, 0x0100, 8, "mov $0xfffffff0, %esi; outsb"
    io ins_denied, 0x1200, 0x1000, 0x0100, 8, "mov $0x30000, %edi; insb"
    io port_ffff, 0x1200, 0x1000, 0, 0xffff, "out %al, %dx"
