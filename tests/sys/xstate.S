/* SPDX-License-Identifier: GPL-2.0-or-later
 * XCR0, headers that XRSTOR refuses, protection of states: SDM 1 13.3, 13.4.2, 13.8; pages of XSETBV, XGETBV, XRSTOR. */
#include "tests/sys/rows.inc"

    .macro xcr name, ecx, low, high=0
    row xstate.xsetbv.\name, MODE_L64, cr4=CR4_OSXSAVE|CR4_OSFXSR, need=NEED_AVX2
    code 64
        mov $\ecx, %ecx
        mov $\low, %eax
        mov $\high, %edx
        xsetbv
        xor %ecx, %ecx
        xgetbv
        mov %eax, %ebx
        mov $7, %eax
        xor %edx, %edx
        xsetbv
        mov $0xa5, %eax
        mov $0xa5, %ecx
        done
    end
    .endm
    xcr x87, 0, 1
    xcr sse, 0, 3
    xcr avx, 0, 7
    xcr none, 0, 0
    xcr no_x87, 0, 6
    xcr avx_without_sse, 0, 5
    xcr bit63, 0, 7, 0x80000000
    xcr mpx_half, 0, 0xf
    xcr index1, 1, 7
    row xstate.xgetbv.index2, MODE_L64, cr4=CR4_OSXSAVE, need=NEED_AVX2
    code 64
        mov $2, %ecx
        xgetbv
        done
    end
    row xstate.osxsave_cpuid, MODE_L64, need=NEED_XSAVE     /* CPUID shows CR4.OSXSAVE */
    code 64
        mov $1, %eax
        cpuid
        shr $27, %ecx
        and $1, %ecx
        mov %ecx, %esi
        mov %cr4, %rdi
        bts $18, %rdi
        mov %rdi, %cr4
        mov $1, %eax
        cpuid
        shr $27, %ecx
        and $1, %ecx
        mov %ecx, %edi
        xor %eax, %eax
        xor %ebx, %ebx
        xor %ecx, %ecx
        xor %edx, %edx
        mov %cr4, %rdx
        btr $18, %rdx
        mov %rdx, %cr4
        done
    end
    row xstate.avx_off, MODE_L64, cr4=CR4_OSXSAVE|CR4_OSFXSR, need=NEED_AVX2    /* XCR0 without AVX: VEX is #UD */
    poke4(IDT64 + 6 * 16, (F(2) & 0xffff) | S_CODE64 << 16)
    poke4(IDT64 + 6 * 16 + 4, 0x18e00)
    code 64
        xor %ecx, %ecx
        mov $3, %eax
        xor %edx, %edx
        xsetbv
        andn %eax, %ecx, %esi               /* BMI is not AVX */
        vaddps %xmm0, %xmm1, %xmm2
        mov $1, %edi
    2:  mov $7, %eax
        xsetbv
        int $0x81
    end
/* A header at DATA + 512 of an area at FRAME. */
    .macro xrs name, bv, comp, at16, mxcsr, mask, off=0
    row xstate.xrstor.\name, MODE_L64, cr4=CR4_OSXSAVE|CR4_OSFXSR, need=NEED_AVX2
    poke4(FRAME + 24, \mxcsr)
    poke2(FRAME, 0x37f)
    poke8(FRAME + 512, \bv)
    poke8(FRAME + 520, \comp)
    poke8(FRAME + 528, \at16)
    poke8(FRAME + 536, 0)
    poke8(FRAME + 544, 0)
    poke8(FRAME + 552, 0)
    poke8(FRAME + 560, 0)
    poke8(FRAME + 568, 0)
    peek(4, DATA, "mxcsr")
    code 64
        fninit
        movl $0x1f80, DATA
        ldmxcsr DATA
        mov $FRAME + \off, %ebx
        mov $\mask, %eax
        mov $\mask, %edx
        xrstor (%rbx)
        stmxcsr DATA
        done
    end
    .endm
    xrs init, 0, 0, 0, 0x1fa0, -1
    xrs all, 7, 0, 0, 0x1fa0, -1
    xrs bv_not_enabled, 0x87, 0, 0, 0x1f80, -1
    xrs bv_upper, 0x4000000000000000, 0, 0, 0x1f80, -1
    xrs bv63, 0x8000000000000000, 0, 0, 0x1f80, -1
    xrs comp_nonzero, 7, 1, 0, 0x1f80, -1
    xrs reserved16, 7, 0, 1, 0x1f80, -1
    xrs mxcsr_reserved, 7, 0, 0, 0x11f80, -1
    xrs mxcsr_reserved_init, 0, 0, 0, 0x11f80, -1
    xrs mxcsr_not_asked, 7, 0, 0, 0x11f80, 1
    xrs mxcsr_avx_only, 7, 0, 0, 0x1fa0, 4
    xrs misaligned, 7, 0, 0, 0x1f80, -1, 32
    row xstate.fxrstor_mxcsr, MODE_L64, cr4=CR4_OSFXSR
    poke4(FRAME + 24, 0x10000)
    code 64
        fxrstor FRAME
        done
    end
    row xstate.xss, MODE_L64                /* no supervisor components */
    code 64
        mov $0xda0, %ecx
        mov $0x100000, %eax
        xor %edx, %edx
        wrmsr
        done
    end

/* The processor's own accesses are the supervisor's: SMAP holds for them whatever AC says, and their faults have no U bit (SDM
 * 3A 4.6.1, 4.7).  DATA's page is a user page, with an LDT in it. */
    row xstate.smap.ldt, MODE_L64, fl=FL_AC, cr4=CR4_SMAP, user=1, need=NEED_SMAP
    poke8(GDT + S_X, DESC(DATA, 0x7f, 0x82, 0))
    poke8(GDT + S_X + 8, 0)
    poke8(DATA + 8, DESC(0, 0xfffff, 0x93, 0xc))
    code 64
        mov $S_X, %eax
        lldt %ax
        mov DATA + 8, %ecx                  /* the program may, */
        mov $0x0c, %ebx
        mov %ebx, %fs                       /* the processor may not */
        done
    end
    row xstate.smap.lar, MODE_L64, fl=FL_AC, cr4=CR4_SMAP, user=1, need=NEED_SMAP
    poke8(GDT + S_X, DESC(DATA, 0x7f, 0x82, 0))
    poke8(GDT + S_X + 8, 0)
    code 64
        mov $S_X, %eax
        lldt %ax
        mov $0x0c, %ebx
        lar %ebx, %ecx
        done
    end
    row xstate.smap.push, MODE_L64, fl=FL_AC, cr4=CR4_SMAP, user=1, need=NEED_SMAP
    code 64
        mov $DATA + 0x40, %esp
        push %rax
        clac
        mov $STACK0, %esp
        mov DATA, %ebx
        done
    end
    row xstate.smap.cpl3, MODE_L64, user=1, need=NEED_SMAP
    poke8(GDT + S_X, DESC(LIN + 0x3000, 0x7f, 0x82, 0))
    poke8(GDT + S_X + 8, 0)
    code 64
        mov $S_X, %eax
        lldt %ax
        pushq $S_UDATA
        pushq $STACK3
        pushq $2
        pushq $S_UCODE64
        pushq $FB(1)
        iretq
    1:  mov $0x0f, %ebx
        mov %ebx, %fs
        done
    end
