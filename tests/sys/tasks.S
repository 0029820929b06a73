/* SPDX-License-Identifier: GPL-2.0-or-later
 * Task switches: SDM 3A 7.  TSS_B (32-bit) and TSS_C (16-bit) are made by the driver; TSS is the task that runs. */
#include "tests/sys/rows.inc"

/* What the old task's segment holds afterwards, what the new one starts with; back link, busy bits, NT, TS. */
    .macro seen
    peek(4, TSS + 0x20, "eip")
    peek(4, TSS + 0x24, "efl")
    peek(4, TSS + 0x28, "eax")
    peek(4, TSS + 0x38, "esp")
    peek(2, TSS + 0x4c, "cs")
    peek(2, TSS_B, "link")
    peek(1, GDT + S_TSS + 5, "old")
    peek(1, GDT + S_TSS_B + 5, "new")
    .endm
    .macro switch name, mode=MODE_P32, cpl=0, fl=FL_DF, how:vararg
    row task.\name, \mode, cpl=\cpl, fl=\fl
    poke4(TSS_B + 0x20, F(1))
    poke4(TSS_B + 0x28, 0x1111)
    poke4(TSS_B + 0x34, 0x4444)
    poke1(GDT + S_X + 7, 0)
    poke8(GDT + S_X, GATE(S_TSS_B, 0, 0xe5, 0))
    poke8(IDT + 0x81 * 8, GATE(S_TSS_B, 0, 0xe5, 0))
    seen
    code 32
        mov $0x9999, %eax
        \how
        done
    1:  pushf
        pop %ecx
        done
    end
    .endm
    switch jmp, MODE_P32, 0, FL_DF, ljmp $S_TSS_B, $0
    switch call, MODE_P32, 0, FL_DF, lcall $S_TSS_B, $0
    switch jmp_gate, MODE_P32, 0, FL_DF, ljmp $S_X, $0
    switch call_gate, MODE_P32, 0, FL_DF, lcall $S_X, $0
    switch int_gate, MODE_P32, 0, FL_DF|FL_NT, int $0x81
    switch call_gate3, MODE_P32, 3, FL_DF, lcall $S_X | 3, $0
    switch int_gate3, MODE_P32, 3, FL_DF, int $0x81
    switch call_dpl, MODE_P32, 3, FL_DF, lcall $S_TSS_B, $0

/* There and back by IRET; the back link and NT lead home. */
    .macro back name, how:vararg
    row task.back.\name, MODE_P32
    poke4(TSS_B + 0x20, F(1))
    poke8(IDT + 0x81 * 8, GATE(S_TSS_B, 0, 0xe5, 0))
    peek(4, TSS_B + 0x20, "eip_b")
    peek(4, TSS_B + 0x24, "efl_b")
    peek(1, GDT + S_TSS + 5, "old")
    peek(1, GDT + S_TSS_B + 5, "new")
    code 32
        mov $0x9999, %eax
        \how
        mov %cr0, %ebx
        pushf
        pop %edx
        clts
        done
    1:  mov $0x2222, %eax
        iret
        done
    end
    .endm
    back call, lcall $S_TSS_B, $0
    back int, int $0x81

/* 16-bit tasks. */
    row task.jmp16, MODE_P32
    poke2(TSS_C + 0xe, FO(1))
    poke2(TSS_C + 0x12, 0x1111)
    peek(2, TSS_C, "link")
    code 32
        mov $0x99999999, %eax
        lcall $S_TSS_C, $0
        done
        .code16
    1:  done
    end

/* Refused: the descriptor, then each field of the new segment.  The faults of the first kind are the old task's, the others
 * are met in the new one. */
    .macro bad name, access=0x89, limit=0x67, sel=S_TSS_B
    row task.bad.\name, MODE_P32
    poke8(GDT + S_TSS_B, DESC(TSS_B, \limit, \access, 0))
    poke4(TSS_B + 0x20, F(1))
    peek(1, GDT + S_TSS_B + 5, "new")
    peek(1, GDT + S_TSS + 5, "old")
    code 32
        lcall $\sel, $0
        done
    1:  done
    end
    .endm
    bad busy, 0x8b
    bad np, 0x09
    bad limit, 0x89, 0x66
    bad in_ldt, 0x89, 0x67, S_TSS_B+4
    .macro field name, at, v
    row task.field.\name, MODE_P32
    poke4(TSS_B + 0x20, F(1))
    poke4(TSS_B + \at, \v)
    peek(1, GDT + S_TSS_B + 5, "new")
    peek(1, GDT + S_TSS + 5, "old")
    code 32
        ljmp $S_TSS_B, $0
        done
    1:  done
    end
    .endm
    field ds_tss, 0x54, S_TSS
    field ds_beyond, 0x54, 0x1000
    field ds_null, 0x54, 0
    row task.trap_bit, MODE_P32
    poke4(TSS_B + 0x20, F(1))
    poke2(TSS_B + 0x64, 1)
    code 32
        ljmp $S_TSS_B, $0
    1:  done
    end
    row task.link_bad, MODE_P32, fl=FL_NT   /* IRET with a back link that leads nowhere */
    poke2(TSS, S_DATA)
    code 32
        iret
        done
    end
    row task.link_free, MODE_P32, fl=FL_NT  /* the task of the back link is not busy */
    poke2(TSS, S_TSS_B)
    code 32
        iret
        done
    end
    row task.cr3, MODE_P32, paging=PAGING_2 /* CR3 comes with the task */
    poke4(TSS_B + 0x20, F(1))
    poke4(TSS_B + 0x1c, TABLES_END)
    poke4(TABLES_END, PT2_LOW | 7)
    poke4(TABLES_END + 8, PT2 | 7)
    poke4(PT2, FRAME | 3)
    code 32
        mov LIN, %eax
        ljmp $S_TSS_B, $0
    1:  mov %cr3, %ebx
        done
    end
