/* SPDX-License-Identifier: GPL-2.0-or-later
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT and MSRs: SDM 2B, 3A 5.8.7, 5.8.8. */
#include "tests/sys/rows.inc"

#define STAR 0xc0000081
#define LSTAR 0xc0000082
#define CSTAR 0xc0000083
#define FMASK 0xc0000084
#define WRMSR(msr, low, high) mov $msr, %ecx; mov $low, %eax; mov $high, %edx; wrmsr
/* Rows start in ring 0, set the MSRs, go to ring 3 by SYSRET and come back. */
#define SYS_SETUP WRMSR(STAR, 0, 0x00230010); WRMSR(LSTAR, FB(1), 0); WRMSR(FMASK, FL_IF | FL_DF | FL_TF, 0)
#define sys_row(name_, efer_, ...) \
    row sys.name_, MODE_L64, efer=efer_, user=1; \
    code 64; \
    SYS_SETUP; \
    __VA_ARGS__; \
    done; \
    1:  mov %rsp, %rbp; \
    mov %cs, %ebx; \
    mov %ss, %esi; \
    pushfq; \
    pop %rdi; \
    done; \
    end
    sys_row(syscall0, EFER_SCE, std; syscall)
    sys_row(syscall_off, 0, syscall)
    sys_row(sysret_off, 0, mov $FB(2), %ecx; sysretq; 2: nop)
    sys_row(sysret, EFER_SCE, mov $FB(2), %ecx; mov $FL_IF | FL_DF | 2, %r11d; sysretq; 2: nop)
    sys_row(sysret_syscall, EFER_SCE, mov $FB(2), %ecx; mov $FL_DF | 2, %r11d; sysretq; 2: syscall)
    sys_row(sysret32, EFER_SCE, mov $FB(2), %ecx; mov $2, %r11d; sysretl; 2: .code32; mov %cs, %ebx; mov %ss, %esi; ud2; .code64)
    sys_row(sysret_flags, EFER_SCE, mov $FB(2), %ecx; mov $-1 & ~(FL_TF | FL_IF | FL_VIF | FL_VIP), %r11d; sysretq; 2: nop)
    sys_row(syscall_np, EFER_SCE, mov $S_DATA, %ecx; lldt %cx; syscall)
    row sys.syscall_cpl3, MODE_L64, cpl=3, efer=0
    code 64
        syscall
        done
    end
    row sys.sysret_cpl3, MODE_L64, cpl=3, efer=EFER_SCE
    code 64
        sysretq
        done
    end
    row sys.syscall_legacy, MODE_P32        /* SCE clear */
    code 32
        syscall
        done
    end
#define enter_row(name_, cs_, ...) \
    row sys.name_, MODE_P32, user=1, need=NEED_SYSENTER, fl=FL_DF; \
    code 32; \
    WRMSR(0x174, cs_, 0); \
    WRMSR(0x175, STACK0 - 0x100, 0); \
    WRMSR(0x176, FB(1), 0); \
    __VA_ARGS__; \
    done; \
    1:  mov %esp, %ebp; \
    mov %cs, %ebx; \
    mov %ss, %esi; \
    pushf; \
    pop %edi; \
    done; \
    end
    enter_row(sysenter0, S_SYSENTER, sysenter)
    enter_row(sysenter_null, 0, sysenter)
    enter_row(sysexit, S_SYSENTER, mov $STACK3, %ecx; mov $FB(2), %edx; sysexit; 2: mov %cs, %ebx; mov %ss, %esi)
    enter_row(sysexit_null, 0, mov $STACK3, %ecx; mov $FB(2), %edx; sysexit; 2: nop)
    enter_row(sysexit_sysenter, S_SYSENTER, mov $STACK3, %ecx; mov $FB(2), %edx; sysexit; 2: sysenter)
    .macro msr name, msr, low, high
    row msr.\name, MODE_L64
    code 64
        mov $\msr, %ecx
        mov $\low, %eax
        mov $\high, %edx
        wrmsr
        rdmsr
        done
    end
    .endm
    msr unknown, 0x12345678, 0, 0
    msr lstar_noncanonical, LSTAR, 0, 0x8000
    msr star, STAR, 0x11223344, 0x55667788
    msr fmask, FMASK, 0xffffffff, 0
    msr pat_bad, 0x277, 0x02, 0
    msr pat, 0x277, 0x00070406, 0x00070406
    msr efer_reserved, 0xc0000080, 0x10500, 0x1
    msr efer_lme_off, 0xc0000080, 0, 0
    msr tsc_aux, 0xc0000103, 0x1234, 0
    msr sysenter_eip, 0x176, 0, 0x8000
    .macro cr name, mode, reg, v
    row cr.\name, \mode
    code 32
        mov $\v, %eax
        mov %eax, %\reg
        mov %\reg, %ebx
        done
    end
    .endm
    cr cr0_pg_without_pe, MODE_P32, cr0, CR0_PG
    cr cr0_nw_without_cd, MODE_P32, cr0, CR0_PE|CR0_NW
    cr cr0_reserved, MODE_P32, cr0, 0x1fcaffd1
    cr cr0_et, MODE_P32, cr0, CR0_PE
    cr cr4_reserved, MODE_P32, cr4, 0x80000000
    cr cr4_pae_off, MODE_C32, cr4, 0
    cr cr4_pcide_legacy, MODE_P32, cr4, CR4_PCIDE
    cr cr2, MODE_P32, cr2, 0x12345678
    row cr.cr0_upper, MODE_L64
    code 64
        mov %cr0, %rax
        bts $32, %rax
        mov %rax, %cr0
        done
    end
    row cr.cr3_upper, MODE_L64
    code 64
        mov %cr3, %rax
        bts $62, %rax
        mov %rax, %cr3
        done
    end
    row cr.cr0_pg_off_l64, MODE_L64
    code 64
        mov %cr0, %rax
        btr $31, %rax
        mov %rax, %cr0
        done
    end
    row cr.cr1, MODE_P32
    code 32
        .byte 0x0f, 0x20, 0xc8
        done
    end
    row cr.lmsw, MODE_P32
    code 32
        mov $0xfffffff0, %eax               /* PE is not cleared; bits above 3 are not looked at */
        lmsw %ax
        mov %cr0, %ebx
        mov $0xa, %eax
        lmsw %ax
        mov %cr0, %ecx
        clts
        mov %cr0, %edx
        done
    end
