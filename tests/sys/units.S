/* SPDX-License-Identifier: GPL-2.0-or-later
 * Which instructions are to be had by CR0.EM, MP, TS and CR4.OSFXSR, OSXSAVE: SDM 3A tables 13-1, 13-3 (FPU, MMX, SSE), 2A
 * 2.5 (VEX), instruction pages of FXSAVE and XSAVE. */
#include "tests/sys/rows.inc"

/* \do in each of 32 combinations.  Two bits of eax:edx for each, the first the lowest: 0 it runs, 1 #UD, 2 #NM, 3 others. */
    .macro units name, need, do:req
    row units.\name, MODE_P32, need=\need
    poke8(IDT + 6 * 8, GATE(S_CODE, F(4), 0x8e, 0))
    poke8(IDT + 7 * 8, GATE(S_CODE, F(5), 0x8e, 0))
    poke8(IDT + 13 * 8, GATE(S_CODE, F(6), 0x8e, 0))
    code 32
        xor %ebx, %ebx
        xor %eax, %eax
        xor %edx, %edx
        mov $DATA, %edi
        mov $0x1f80, %esi
        mov %esi, 24(%edi)
    1:  mov %ebx, %esi                      /* bits 0 to 2: MP, EM, TS; 3: OSFXSR; 4: OSXSAVE */
        and $7, %esi
        shl $1, %esi
        or $CR0_PE | CR0_ET, %esi
        mov %esi, %cr0
        mov %ebx, %esi
        and $8, %esi
        shl $6, %esi
        test $16, %ebx
        jz 2f
        or $CR4_OSXSAVE, %esi
    2:  mov %esi, %cr4
        push %eax
        push %edx
        xor %eax, %eax
        xor %edx, %edx
        mov %esp, %esi
        xor %ebp, %ebp
        .byte 0x90
        \do
    3:  mov %esi, %esp
        pop %edx
        pop %eax
        shrd $2, %edx, %eax
        shrd $2, %ebp, %edx
        inc %ebx
        cmp $32, %ebx
        jb 1b
        mov $CR0_PE | CR0_ET, %ecx
        mov %ecx, %cr0
        xor %esi, %esi
        mov %esi, %cr4
        int $0x81
    4:  mov $1, %ebp
        jmp 3b
    5:  mov $2, %ebp
        jmp 3b
    6:  mov $3, %ebp
        jmp 3b
    end
    .endm
    units x87, 0, "fnop"
    units fninit, 0, "fninit"
    units fwait, 0, "fwait"
    units fnstsw, 0, "fnstsw %ax"
    units mmx, 0, "paddb %mm0, %mm1"
    units mmx_mem, 0, "paddb 0x7ffffffc, %mm1"
    units emms, 0, "emms"
    units sse, 0, "addps %xmm0, %xmm1"
    units sse_misaligned, 0, "addps 1(%edi), %xmm1"
    units pshufw, 0, "pshufw $0, %mm0, %mm1"
    units cvtpi2ps, 0, "cvtpi2ps %mm0, %xmm1"
    units cvtps2pi, 0, "cvtps2pi %xmm0, %mm1"
    units movdq2q, 0, "movdq2q %xmm0, %mm1"
    units maskmovq, 0, "maskmovq %mm0, %mm1"
    units movntq, 0, "movntq %mm0, (%edi)"
    units pabsb_mm, 0, "pabsb %mm0, %mm1"
    units movnti, 0, "movnti %eax, (%edi)"
    units prefetch, 0, "prefetchnta (%edi)"
    units sfence, 0, "sfence"
    units lfence, 0, "lfence"
    units mfence, 0, "mfence"
    units pause, 0, "pause"
    units clflush, 0, "clflush (%edi)"
    units crc32, 0, "crc32l %eax, %ecx"
    units popcnt, 0, "popcnt %eax, %ecx"
    units pextrb, 0, "pextrb $0, %xmm0, %ecx"
    units aesenc, 0, "aesenc %xmm0, %xmm1"
    units ldmxcsr, 0, "ldmxcsr 24(%edi)"
    units stmxcsr, 0, "stmxcsr 24(%edi)"
    units fxsave, 0, "fxsave 0x600000"
    units fxrstor, 0, "fxsave 0x600000; fxrstor 0x600000"
    units fxsave_misaligned, 0, "fxsave 4(%edi)"
    units xsave, NEED_XSAVE, "xsave 0x600000"
    units xsave_misaligned, NEED_XSAVE, "xsave 4(%edi)"
    units xgetbv, NEED_XSAVE, "xor %ecx, %ecx; xgetbv"
    units xgetbv_bad, NEED_XSAVE, "mov $5, %ecx; xgetbv"
    units xsetbv_bad, NEED_XSAVE, "mov $5, %ecx; xsetbv"
    units vaddps, NEED_AVX2, "vaddps %xmm0, %xmm1, %xmm2"
    units vzeroupper, NEED_AVX2, "vzeroupper"
    units vmovaps_misaligned, NEED_AVX2, "vmovaps 1(%edi), %xmm0"
    units andn, NEED_AVX2, "andn %eax, %ecx, %edx"
    units stac, NEED_SMAP, "stac"
    units rdpkru, NEED_PKU, "xor %ecx, %ecx; rdpkru"
