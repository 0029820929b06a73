/* SPDX-License-Identifier: GPL-2.0-or-later
 * Masked moves and gathers: segment limits, alignment checks, single steps (SDM 2C VMASKMOV, VPMASKMOV, VGATHERDPS);
 * alignment checks of images of the FPU (SDM 2A FXSAVE, FSTENV).  The driver has enabled AVX in XCR0. */
#include "tests/sys/rows.inc"

#define CR4_AVX (CR4_OSFXSR|CR4_OSXSAVE)

    .set at_data, DATA              /* within quotes the preprocessor does nothing */

/* DS: 32 bytes at DATA.  All elements are wanted unless \do says otherwise. */
    .macro limited name, access, base, do:req
    row vec.limit.\name, MODE_P32, cr4=CR4_AVX, need=NEED_AVX2
    poke8(GDT + S_X, DESC(DATA,0x1f,\access,4))
    peek(8, DATA + 0x18, "stored")
    code 32
        mov $S_X, %eax
        mov %eax, %ds
        mov $\base, %esi
        vpcmpeqd %ymm1, %ymm1, %ymm1
        vpxor %xmm2, %xmm2, %xmm2
        xor %ebp, %ebp
        \do
        done
    end
    .endm
    limited load_in, 0x93, 0, "vmaskmovps (%esi), %ymm1, %ymm0"
    limited load_over, 0x93, 4, "vmaskmovps (%esi), %ymm1, %ymm0"
    limited load_q_over, 0x93, 8, "vpmaskmovq (%esi), %ymm1, %ymm0"
    limited load_xmm, 0x93, 16, "vpmaskmovd (%esi), %xmm1, %xmm0"
    limited load_low_half, 0x93, 16, "vmovdqa %xmm1, %xmm1; vpmaskmovd (%esi), %ymm1, %ymm0"
    limited load_none, 0x93, 0x4000, "vpmaskmovd (%esi), %ymm2, %ymm0"
    limited store_in, 0x93, 0, "vpmaskmovd %ymm1, %ymm1, (%esi)"
    limited store_over, 0x93, 4, "vpmaskmovd %ymm1, %ymm1, (%esi)"
    limited store_wrap, 0x93, 0xfffffff0, "vpmaskmovd %ymm1, %ymm1, (%esi)"
    limited store_read_only, 0x91, 0, "vpmaskmovd (%esi), %ymm1, %ymm0; vpmaskmovd %ymm1, %ymm1, (%esi)"
    limited gather_in, 0x93, 0x1c, "vpgatherdd %ymm1, (%esi, %ymm2, 4), %ymm0"
    limited gather_over, 0x93, 0x1d, "vpgatherdd %ymm1, (%esi, %ymm2, 4), %ymm0"
    limited null, 0x93, 0, "mov %ebp, %fs; vpmaskmovd %fs:(%esi), %ymm2, %ymm0; vpmaskmovd %fs:(%esi), %ymm1, %ymm0"

/* A gather that faults after some progress tells what it has loaded, and is not stepped over: RF is in the frame. */
    .macro gather_fault name, flags
    row vec.gather.\name, MODE_P32, cr4=CR4_AVX, need=NEED_AVX2
    poke8(GDT + S_X, DESC(DATA,0x1f,0x93,4))
    poke8(IDT + 13 * 8, GATE(S_CODE, F(1), 0x8e, 0))
    poke4(DATA + 4, 0x11223344)
    peek(8, DATA + 0x40, "value")
    peek(8, DATA + 0x48, "upper")
    peek(8, DATA + 0x50, "mask")
    peek(8, DATA + 0x58, "upper_mask")
    code 32
        mov $S_X, %eax
        mov %eax, %ds
        mov $4, %esi
        vpcmpeqd %xmm1, %xmm1, %xmm1
        vpxor %xmm0, %xmm0, %xmm0
        mov $0x4000, %ecx
        vmovd %ecx, %xmm2
        vpshufd $0x15, %xmm2, %xmm2             /* indices 0, 0, 0, 4000h */
        pushf
        orl $\flags, (%esp)
        popf
        vpgatherdd %xmm1, (%esi, %xmm2), %xmm0
        done
    1:  mov $S_DATA, %eax
        mov %eax, %ds
        vmovdqu %xmm0, DATA + 0x40
        vmovdqu %xmm1, DATA + 0x50
        pop %eax
        pop %ecx
        pop %edx
        pop %ebx
        done
    end
    .endm
    gather_fault progress, 0
    gather_fault progress_step, FL_TF

/* --- EFLAGS.AC.  SDM 2C: "No AC# reported for any mask bit combinations", "does not perform AC checks". */

    .macro ac name, do:req
    row exc.ac_\name, MODE_P32, cpl=3, fl=FL_AC, cr0=CR0_AM, cr4=CR4_AVX, need=NEED_AVX2
    code 32
        mov $DATA, %esi
        vpcmpeqd %ymm1, %ymm1, %ymm1
        vpxor %xmm2, %xmm2, %xmm2
        \do
        done
    end
    .endm
    ac maskload, "vpmaskmovd 1(%esi), %ymm1, %ymm0"
    ac maskstore, "vpmaskmovq %ymm1, %ymm1, 1(%esi)"
    ac gather, "vpgatherdd %ymm1, 1(%esi, %ymm2), %ymm0"
    ac vmovups, "vmovups 4(%esi), %ymm0"
    ac maskmovdqu, "mov $at_data + 4, %edi; maskmovdqu %xmm2, %xmm0"
    ac maskmovdqu8, "mov $at_data + 8, %edi; maskmovdqu %xmm2, %xmm0"
    ac maskmovq, "fninit; mov $at_data + 4, %edi; maskmovq %mm0, %mm1"
    ac stmxcsr, "stmxcsr 2(%esi)"
    ac fstpt, "fninit; fldz; fstpt 4(%esi)"
    ac fstpt8, "fninit; fldz; fstpt 8(%esi)"
    ac fnstenv, "fnstenv 2(%esi)"
    ac fnstenv4, "fnstenv 4(%esi)"
    ac fnstenv16, "fnstenvs 2(%esi)"
    ac fldenv, "fldenv 2(%esi)"
    ac fnsave, "fnsave 2(%esi)"
    ac fnsave4, "fnsave 4(%esi)"
    ac frstor, "frstor 2(%esi)"
    ac fxsave, "fxsave 2(%esi)"
    ac fxsave4, "fxsave 4(%esi)"
    ac fxrstor, "fxrstor 1(%esi)"
    ac xsave, "xor %eax, %eax; xor %edx, %edx; xsave 1(%esi)"
