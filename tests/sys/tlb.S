/* SPDX-License-Identifier: GPL-2.0-or-later
 * TLB semantics: what must be gone after INVLPG, CR3, CR4, INVPCID, and that globals stay (SDM 3A 4.10).  A row changes the
 * entry behind the processor's back, invalidates, and looks.  Stale entries that are allowed are not looked for. */
#include "tests/sys/rows.inc"

    .macro pages entry
    poke8(PT4, FRAME | 3 | \entry)
    poke4(FRAME, 0x1111)
    poke4(FRAME + 0x1000, 0x2222)
    .endm
#define inv_row(name_, cr4_, entry_, need_, ...) \
    row tlb.name_, MODE_L64, cr4=cr4_, need=need_; \
    pages entry_; \
    code 64; \
    mov LIN, %eax; \
    movl $(FRAME + 0x1000) | 3 | entry_, PT4; \
    __VA_ARGS__; \
    mov LIN, %ebx; \
    done; \
    end
    inv_row(invlpg, 0, 0, 0, invlpg LIN)
    inv_row(invlpg_in_page, 0, 0, 0, invlpg LIN + 0xfff)
    inv_row(invlpg_global, CR4_PGE, 0x100, 0, invlpg LIN)
    inv_row(cr3, 0, 0, 0, mov %cr3, %rcx; mov %rcx, %cr3)
    inv_row(cr3_pge_not_global, CR4_PGE, 0, 0, mov %cr3, %rcx; mov %rcx, %cr3)
    inv_row(cr4_pge, CR4_PGE, 0x100, 0, mov %cr4, %rcx; btc $7, %rcx; mov %rcx, %cr4)
    inv_row(cr4_pge_on, 0, 0x100, 0, mov %cr4, %rcx; btc $7, %rcx; mov %rcx, %cr4)
    inv_row(cr0_wp, 0, 0, 0, mov %cr0, %rcx; btc $16, %rcx; mov %rcx, %cr0; mov %cr3, %rcx; mov %rcx, %cr3)
    inv_row(pcid_cr3, CR4_PCIDE, 0, NEED_PCID, mov %cr3, %rcx; mov %rcx, %cr3)
    inv_row(pcid_pcide_off, CR4_PCIDE, 0, NEED_PCID, mov %cr4, %rcx; btr $17, %rcx; mov %rcx, %cr4)
    inv_row(invpcid0, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, movq $LIN, DATA + 8; xor %ecx, %ecx; invpcid DATA, %rcx)
    inv_row(invpcid1, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, mov $1, %ecx; invpcid DATA, %rcx)
    inv_row(invpcid2_global, CR4_PCIDE|CR4_PGE, 0x100, NEED_PCID|NEED_INVPCID, mov $2, %ecx; invpcid DATA, %rcx)
    inv_row(invpcid3, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, mov $3, %ecx; invpcid DATA, %rcx)
    inv_row(invpcid_bad_type, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, mov $4, %ecx; invpcid DATA, %rcx)
    inv_row(invpcid_reserved, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, movl $0x1000, DATA; mov $1, %ecx; invpcid DATA, %rcx)
    inv_row(invpcid_noncanonical, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, movl $0x8000, DATA + 12; xor %ecx, %ecx; invpcid DATA, %rcx)
/* STAC and CLAC among what else decides on SMAP: user pages are there for ring 0 or not at once (SDM 3A 4.6). */
#define smap_row(name_, cr4_, ...) \
    row tlb.smap.name_, MODE_L64, cr4=cr4_, need=NEED_SMAP, user=1; \
    peek(4, DATA, "stored"); \
    code 64; \
    __VA_ARGS__; \
    mov DATA, %ecx; \
    done; \
    end
#define flip_smap mov %cr4, %rdx; btc $21, %rdx; mov %rdx, %cr4
    smap_row(none, CR4_SMAP, nop)
    smap_row(stac, CR4_SMAP, stac)
    smap_row(clac, CR4_SMAP, stac; movl $1, DATA; clac)
    smap_row(again, CR4_SMAP, stac; incl DATA; clac; stac; incl DATA; clac; stac; stac; incl DATA; clac; clac)
    smap_row(stac_stac, CR4_SMAP, clac; stac; incl DATA; stac; incl DATA)
    smap_row(off_with_ac, CR4_SMAP, stac; clac; stac; flip_smap; clac; incl DATA; stac; clac; incl DATA; flip_smap)
    smap_row(on_with_ac, 0, stac; clac; stac; flip_smap; incl DATA; clac)
    smap_row(off, CR4_SMAP, stac; clac; flip_smap)
    smap_row(popf, CR4_SMAP, stac; clac; pushf; orl $FL_AC, (%rsp); popf; incl DATA; clac; stac; incl DATA; clac)
    smap_row(popf_clears, CR4_SMAP, stac; incl DATA; pushf; andl $~FL_AC, (%rsp); popf)
    smap_row(cr3, CR4_SMAP, stac; clac; mov %cr3, %rdx; mov %rdx, %cr3; stac; incl DATA; mov %rdx, %cr3; clac)
    row tlb.pcid_other, MODE_L64, need=NEED_PCID    /* each PCID has its own */
    pages 0
    code 64
        mov %cr4, %rcx
        bts $17, %rcx
        mov %rcx, %cr4
        mov LIN, %eax
        mov $PML4 | 5, %ecx
        mov %rcx, %cr3
        movl $(FRAME + 0x1000) | 3, PT4
        mov LIN, %ebx
        mov $PML4 | 5, %ecx
        bts $63, %rcx
        mov %rcx, %cr3
        mov LIN, %esi
        mov $PML4, %ecx
        mov %rcx, %cr3
        mov LIN, %edi
        done
    end
    row tlb.present_needs_nothing, MODE_L64         /* absence is not cached */
    poke4(FRAME, 0x1111)
    poke8(IDT64 + 14 * 16, GATE(S_CODE64, F(1), 0x8e, 0))
    code 64
        mov LIN, %eax
        done
    1:  mov %cr2, %rbx
        movl $FRAME | 3, PT4
        add $8, %rsp
        iretq
    end
    row tlb.rights_up, MODE_L64, cr0=CR0_WP         /* more rights need no invalidation: the fault drops the entry */
    poke8(PT4, FRAME | 1)
    poke8(IDT64 + 14 * 16, GATE(S_CODE64, F(1), 0x8e, 0))
    peek(4, FRAME, "frame")
    code 64
        mov LIN, %eax
        movl $0x5555, LIN
        done
    1:  inc %ecx
        orl $2, PT4
        add $8, %rsp
        iretq
    end
    row tlb.dirty, MODE_L64
    pages 0
    peek(8, PT4, "pte")
    code 64
        mov LIN, %eax
        mov PT4, %ebx
        mov %eax, LIN
        mov PT4, %ecx
        done
    end
    row tlb.accessed_levels, MODE_L64
    pages 0
    poke8(PD4 + 32, PT4 | 3)
    peek(1, PD4 + 32, "pde")
    peek(1, PT4, "pte")
    code 64
        mov LIN + 8, %eax
        done
    end
    row tlb.large_2m, MODE_L64
    poke8(PD4 + 32, FRAME | 0x83)
    poke4(FRAME + 0x12345 * 4, 0x77)
    peek(1, PD4 + 32, "pde")
    code 64
        mov LIN + 0x12345 * 4, %eax
        movl $0, PD4 + 32
        invlpg LIN + 0x1ff000
        mov LIN + 0x12345 * 4, %ebx
        done
    end
#define FRAME2 (FRAME + 0x200000)
    row tlb.rights_down, MODE_L64, cr0=CR0_WP
    pages 0
    code 64
        movl $0x1112, LIN
        movl $FRAME | 1, PT4
        invlpg LIN
        mov LIN, %eax
        mov %eax, LIN
        done
    end
    row tlb.small_to_large, MODE_L64                /* what led to the page goes with it */
    pages 0
    poke8(PD4 + 32, PT4 | 3)
    poke4(FRAME2, 0x3333)
    code 64
        mov LIN, %eax
        movl $FRAME2 | 0x83, PD4 + 32
        invlpg LIN
        mov LIN, %ebx
        done
    end
#define large_row(name_, cr4_, entry_, need_, ...) \
    row tlb.large_2m.name_, MODE_L64, cr4=cr4_, need=need_; \
    poke8(PD4 + 32, FRAME | 0x83 | entry_); \
    poke4(FRAME + 0x5000, 0x1111); \
    poke4(FRAME2 + 0x5000, 0x2222); \
    code 64; \
    mov LIN, %eax; \
    mov LIN + 0x5000, %eax; \
    movl $FRAME2 | 0x83 | entry_, PD4 + 32; \
    __VA_ARGS__; \
    mov LIN + 0x5000, %ebx; \
    done; \
    end
    large_row(invlpg, 0, 0, 0, invlpg LIN + 0x1ff000)
    large_row(invlpg_global, CR4_PGE, 0x100, 0, invlpg LIN + 0x1ff000)
    large_row(cr3, CR4_PGE, 0, 0, mov %cr3, %rcx; mov %rcx, %cr3)
    large_row(cr4_pge, CR4_PGE, 0x100, 0, mov %cr4, %rcx; btc $7, %rcx; mov %rcx, %cr4)
    large_row(invpcid0, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, movq $LIN + 0x100000, DATA + 8; xor %ecx, %ecx; invpcid DATA, %rcx)
    large_row(invpcid1, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, mov $1, %ecx; invpcid DATA, %rcx)
    large_row(invpcid2, CR4_PCIDE|CR4_PGE, 0x100, NEED_PCID|NEED_INVPCID, mov $2, %ecx; invpcid DATA, %rcx)
    large_row(invpcid3, CR4_PCIDE, 0, NEED_PCID|NEED_INVPCID, mov $3, %ecx; invpcid DATA, %rcx)
    /* PCID 5 sees the page, PCID 0 changes and invalidates it, PCID 5 is come back to without a flush */
#define pcid_row(name_, cr4_, entry_, need_, ...) \
    row tlb.pcid5.name_, MODE_L64, cr4=CR4_PCIDE|cr4_, need=NEED_PCID|need_; \
    pages entry_; \
    code 64; \
    mov $PML4 | 5, %esi; \
    mov %rsi, %cr3; \
    bts $63, %rsi; \
    mov LIN, %eax; \
    mov $PML4, %ecx; \
    mov %rcx, %cr3; \
    movl $(FRAME + 0x1000) | 3 | entry_, PT4; \
    __VA_ARGS__; \
    mov %rsi, %cr3; \
    mov LIN, %ebx; \
    done; \
    end
    pcid_row(invlpg_global, CR4_PGE, 0x100, 0, invlpg LIN)
    pcid_row(cr4_pge, CR4_PGE, 0x100, 0, mov %cr4, %rcx; btc $7, %rcx; mov %rcx, %cr4)
    pcid_row(invpcid0, 0, 0, NEED_INVPCID, movq $5, DATA; movq $LIN, DATA + 8; xor %ecx, %ecx; invpcid DATA, %rcx)
    pcid_row(invpcid1, 0, 0, NEED_INVPCID, movq $5, DATA; mov $1, %ecx; invpcid DATA, %rcx)
    pcid_row(invpcid2_global, CR4_PGE, 0x100, NEED_INVPCID, mov $2, %ecx; invpcid DATA, %rcx)
    pcid_row(invpcid3, CR4_PGE, 0, NEED_INVPCID, mov $3, %ecx; invpcid DATA, %rcx)
    row tlb.pcid5.invlpg_large_global, MODE_L64, cr4=CR4_PCIDE|CR4_PGE, need=NEED_PCID
    poke8(PD4 + 32, FRAME | 0x183)
    poke4(FRAME + 0x5000, 0x1111)
    poke4(FRAME2 + 0x5000, 0x2222)
    code 64
        mov $PML4 | 5, %esi
        mov %rsi, %cr3
        bts $63, %rsi
        mov LIN + 0x5000, %eax
        mov $PML4, %ecx
        mov %rcx, %cr3
        movl $FRAME2 | 0x183, PD4 + 32
        invlpg LIN + 0x1ff000
        mov %rsi, %cr3
        mov LIN + 0x5000, %ebx
        done
    end
    .macro rsvd name, mode, paging, at, v, need=0, efer=0
    row tlb.reserved.\name, \mode, paging=\paging, need=\need, efer=\efer
    poke8(\at, \v)
    code 32
        .byte 0xa1
        .long LIN
        .if \mode == MODE_L64
        .long 0
        .endif
        done
    end
    .endm
    rsvd pde_2m, MODE_L64, PAGING_4, PD4+32, FRAME|0x2083
    rsvd nx_off, MODE_L64, PAGING_4, PT4, FRAME|0x8000000000000003
    rsvd nx_on, MODE_L64, PAGING_4, PT4, FRAME|0x8000000000000003, NEED_NX, EFER_NXE
    rsvd pae_pde_2m, MODE_P32, PAGING_PAE, PDP+32, FRAME|0x2083
    rsvd pae_high, MODE_P32, PAGING_PAE, PTP, FRAME|0x4000000000000003
    rsvd pse_bit21, MODE_P32, PAGING_2, PD2+8, 0x600083|0x200000
    rsvd pse, MODE_P32, PAGING_2, PD2+8, 0x400083
    row tlb.pdpte_reserved, MODE_P32, paging=PAGING_PAE
    poke4(PDPTP + 8, 0)
    code 32
        movl $3, PDPTP + 8
        mov %cr3, %eax
        mov %eax, %cr3
        done
    end
    row tlb.pdpte_cached, MODE_P32, paging=PAGING_PAE       /* registers: a change in memory shows at the next CR3 */
    poke4(PTP, FRAME | 3)
    code 32
        movl $0, PDPTP
        mov LIN, %eax
        movl $PDP | 1, PDPTP
        done
    end
    row tlb.straddle, MODE_L64                              /* the second page's fault, and nothing written */
    poke8(PT4, FRAME | 3)
    peek(4, FRAME + 0xffc, "frame")
    code 64
        movl $-1, LIN + 0xffe
        done
    end
    row tlb.rmw_ro, MODE_L64, cr0=CR0_WP                    /* a read-modify-write faults as a write */
    poke8(PT4, FRAME | 1)
    code 64
        incl LIN
        done
    end
    row tlb.smc, MODE_P32                                   /* code that changes itself, the next instruction even */
    code 32
        movb $0x43, FB(1)
    1:  nop
        mov $3, %ecx
    2:  incb FB(3) + 1
    3:  mov $0x10, %al
        loop 2b
        done
    end
    row tlb.smc_alias, MODE_L64                             /* by another linear address */
    poke8(PT4, CODE | 3)
    code 64
        xor %ebx, %ebx
        mov $2, %ecx
    1:  nop
        movw $0xc3ff, LIN + BO(1)                          /* inc %ebx, too long by one: the byte behind is as it was */
        movb $0x90, LIN + BO(1) + 1
        movb $0x90, LIN + BO(1)
        dec %ecx
        jnz 1b
        done
    end
