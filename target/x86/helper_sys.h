/* SPDX-License-Identifier: GPL-2.0-or-later
 * Helpers of the system rows: arguments as the comments say; those marked F fault.  See helper_sys.c. */
#ifndef RHEA_TARGET_X86_HELPER_SYS_H
#define RHEA_TARGET_X86_HELPER_SYS_H

#include "target/x86/translate.h"

extern const IrHelper
    x86_helper_get_cr8,         /* I64 */
    x86_helper_set_cr,          /* F number, value */
    x86_helper_lmsw,            /* F value */
    x86_helper_clts,
    x86_helper_get_dr,          /* F number; X_HELPER_RET */
    x86_helper_set_dr,          /* F number, value */
    x86_helper_io_break,        /* F port, size */
    x86_helper_cpuid,
    x86_helper_rdmsr, x86_helper_wrmsr,         /* F */
    x86_helper_tsc, x86_helper_tsc_aux, x86_helper_random,      /* I64 */
    x86_helper_xgetbv,          /* F; X_HELPER_RET */
    x86_helper_xsetbv,          /* F */
    x86_helper_invlpg,          /* address */
    x86_helper_invpcid,         /* F type, descriptor low, high */
    x86_helper_mode_changed,    /* after X_EFLAGS was written */
    x86_helper_prepare_ac,      /* before STAC and CLAC, at privilege 0: makes X_CTX and X_AC_CTX the two to swap */
    x86_helper_interrupts_on,
    x86_helper_virtual_if,      /* F 1: STI; CLI and STI by VIF: #GP unless CR4.VME or PVI says so */
    x86_helper_vme_popf,        /* F image */
    x86_helper_halt,
    x86_helper_mwait,
    x86_helper_iret,            /* F operand size, pc after it */
    x86_helper_rsm,             /* F */
    x86_helper_syscall,         /* F pc after it */
    x86_helper_sysret,          /* F operand size */
    x86_helper_sysenter,        /* F */
    x86_helper_sysexit,         /* F operand size */
    x86_helper_load_seg,        /* F segment, selector */
    x86_helper_get_sel,         /* segment: I64 */
    x86_helper_far_jmp,         /* F selector, offset, operand size, pc after it */
    x86_helper_far_call,        /* F selector, offset, operand size, pc after it */
    x86_helper_far_ret,         /* F operand size, bytes to drop */
    x86_helper_lldt, x86_helper_ltr,            /* F selector */
    x86_helper_look,            /* F selector, LOOK_*; X_HELPER_RET */
    x86_helper_get_table,       /* 1: IDT, 1: limit: I64 */
    x86_helper_set_table,       /* F 1: IDT, base, limit */
    x86_helper_fxsave, x86_helper_fxrstor,      /* F address, 1: 64-bit pointers */
    x86_helper_xsave,           /* F address, 1: 64-bit pointers, 1: XSAVEOPT */
    x86_helper_xsavec, x86_helper_xrstor,       /* F address, 1: 64-bit pointers, 1: XSAVES, XRSTORS */
    x86_helper_rdpkru, x86_helper_wrpkru;       /* F */

#endif
