/* SPDX-License-Identifier: GPL-2.0-or-later
 * System management mode: entry on SMI, RSM, the state save area in its two layouts: that of AMD64 processors
 * (revision 20064h), and for processors without long mode the P6's (revision 20000h).  Memory looks as the
 * accelerator's `smm` hook makes it look.
 * Sources: APM vol. 2, 10.2 and 10.3, table 10-1; SDM vol. 3, 34.3 to 34.7 (31 in newer editions). */
#include <stddef.h>
#include <string.h>

#include "target/x86/sys.h"

/* The area is the last 512 bytes of 64 KiB at SMBASE; places are told as offsets from SMBASE + 8000h + 7E00h. */
enum { AREA = 0xfe00, AREA_LEN = 0x200, ENTRY = 0x8000, SMBASE_RESET = 0x30000 };
enum { REVISION_32 = 0x20000, REVISION_64 = 0x20064, AT_REVISION = 0xfefc };

typedef struct Place { uint16_t member, at64, at32; } Place;
#define HOT(i) (offsetof(X86Cpu, s.hot) + 8 * (i))
#define MEMBER(m) offsetof(X86Cpu, m)

/* 8 bytes each in the wide layout, 4 in the narrow one.  0: not there. */
static const Place places[] = {
    { HOT(RAX), 0xfff8, 0xffd0 }, { HOT(RCX), 0xfff0, 0xffd4 }, { HOT(RDX), 0xffe8, 0xffd8 }, { HOT(RBX), 0xffe0, 0xffdc },
    { HOT(RSP), 0xffd8, 0xffe0 }, { HOT(RBP), 0xffd0, 0xffe4 }, { HOT(RSI), 0xffc8, 0xffe8 }, { HOT(RDI), 0xffc0, 0xffec },
    { HOT(R8), 0xffb8, 0 }, { HOT(R9), 0xffb0, 0 }, { HOT(R10), 0xffa8, 0 }, { HOT(R11), 0xffa0, 0 },
    { HOT(R12), 0xff98, 0 }, { HOT(R13), 0xff90, 0 }, { HOT(R14), 0xff88, 0 }, { HOT(R15), 0xff80, 0 },
    { HOT(16), 0xff78, 0xfff0 },                                /* RIP */
    { MEMBER(dr[6]), 0xff68, 0xffcc }, { MEMBER(dr[7]), 0xff60, 0xffc8 },
    { MEMBER(cr0), 0xff58, 0xfffc }, { MEMBER(cr3), 0xff50, 0xfff8 }, { MEMBER(cr4), 0xff48, 0xff14 },
    { MEMBER(efer), 0xfed0, 0 },
};
enum { RFLAGS_64 = 0xff70, RFLAGS_32 = 0xfff4, SMBASE_64 = 0xff00, SMBASE_32 = 0xfef8, HALT_64 = 0xfec9, HALT_32 = 0xff02 };

/* Hidden parts: 16 bytes each, in both layouts (the narrow one has reserved space there).  The selectors' places in the
 * narrow one. */
static const struct { uint8_t seg; uint16_t at, at32; } seg_places[] = {
    { ES, 0xfe00, 0xffa8 }, { CS, 0xfe10, 0xffac }, { SS, 0xfe20, 0xffb0 }, { DS, 0xfe30, 0xffb4 }, { FS, 0xfe40, 0xffb8 },
    { GS, 0xfe50, 0xffbc }, { LDTR, 0xfe70, 0xffc0 }, { TR, 0xfe90, 0xffc4 },
};
enum { AT_GDT = 0xfe60, AT_IDT = 0xfe80 };

typedef struct Area { uint8_t b[AREA_LEN]; bool wide; } Area;

static void put(Area *a, unsigned at, unsigned size, uint64_t v) { memcpy(a->b + at - AREA, &v, size); }
static uint64_t get(const Area *a, unsigned at, unsigned size)
{
    uint64_t v = 0;
    memcpy(&v, a->b + at - AREA, size);
    return v;
}

static uint64_t *member(X86Cpu *c, const Place *p) { return (uint64_t *)((char *)c + p->member); }
static uint64_t *base_of(X86Cpu *c, unsigned seg) { return seg < N_SEGS ? x86_seg_base(c, seg) : &c->seg[seg].base; }

/* --- out */

static void make_area(X86Cpu *c, Area *a, bool was_halted)
{
    bool wide = a->wide = x86_has(c, X86F_LM);
    memset(a->b, 0, sizeof a->b);
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        const Place *p = &places[i];
        if (wide ? p->at64 : p->at32)
            put(a, wide ? p->at64 : p->at32, wide ? 8 : 4, *member(c, p));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(seg_places); i++) {
        const X86Seg *s = &c->seg[seg_places[i].seg];
        unsigned at = seg_places[i].at;
        put(a, at, 2, s->sel);
        put(a, at + 2, 2, (s->attr >> 8 & 0xff) | (s->attr >> 12 & 0xf00));
        put(a, at + 4, 4, s->limit);
        put(a, at + 8, 8, *base_of(c, seg_places[i].seg));
        if (!wide)
            put(a, seg_places[i].at32, 4, s->sel);
    }
    put(a, AT_GDT + 4, 4, c->gdt.limit);
    put(a, AT_GDT + 8, 8, c->gdt.base);
    put(a, AT_IDT + 4, 4, c->idt.limit);
    put(a, AT_IDT + 8, 8, c->idt.base);
    put(a, wide ? RFLAGS_64 : RFLAGS_32, wide ? 8 : 4, x86_eflags(c));
    put(a, wide ? SMBASE_64 : SMBASE_32, 4, c->smbase);
    put(a, wide ? HALT_64 : HALT_32, 1, was_halted);
    put(a, AT_REVISION, 4, wide ? REVISION_64 : REVISION_32);
}

/* Real-mode like, with 4 GiB segments (SDM vol. 3, table 34-4). */
static void entry_state(X86Cpu *c)
{
    enum { DATA = SEG_P | SEG_S | SEG_G | 0x300 };
    c->cr0 &= ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    c->cr4 = c->efer = 0;
    c->dr[7] = 0x400;
    c->cpl = 0;
    c->shadow = 0;
    c->trap_dr6 = c->exc_dr6 = 0;
    x86_set_eflags(c, FL_1, UINT64_MAX);
    for (unsigned i = 0; i < N_SEGS; i++)
        x86_set_seg_flat(c, i, 0, DATA);
    c->seg[CS].sel = c->smbase >> 4;
    *x86_seg_base(c, CS) = c->smbase;
    *x86_pc(c) = ENTRY;
}

static void changed(X86Cpu *c)
{
    x86_tlb_forget(c);
    x86_debug_changed(c);
    x86_mode_changed(c);
}

static void set_view(X86Cpu *c, bool on)
{
    c->in_smm = on;
    if (c->hooks->smm)
        c->hooks->smm(&c->s, on);
}

void x86_enter_smm(X86Cpu *c)
{
    Area a;
    make_area(c, &a, c->halted);
    set_view(c, true);
    c->smm_nmi_blocked = c->nmi_blocked;
    c->nmi_blocked = true;
    c->halted = false;
    entry_state(c);
    changed(c);
    for (unsigned i = 0; i < AREA_LEN; i += 8)          /* no paging now: it cannot fault */
        c->hooks->store(&c->s, (uint32_t)(c->smbase + AREA + i), 8, VIEW_KERNEL, get(&a, AREA + i, 8));
}

void x86_leave_smm(X86Cpu *c)
{
    if (c->in_smm)
        set_view(c, false);
}

void x86_smm_reset(X86Cpu *c)
{
    c->smbase = SMBASE_RESET;
    c->smm_nmi_blocked = false;
}

/* --- in */

static bool read_area(X86Cpu *c, Area *a)
{
    a->wide = x86_has(c, X86F_LM);
    for (unsigned i = 0; i < AREA_LEN; i += 8) {
        uint64_t v;
        if (!c->hooks->phys_load(&c->s, x86_a20(c, (uint32_t)(c->smbase + AREA + i)), 8, &v))
            return false;
        put(a, AREA + i, 8, v);
    }
    return true;
}

static void load_segments(X86Cpu *c, const Area *a)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(seg_places); i++) {
        X86Seg *s = &c->seg[seg_places[i].seg];
        unsigned at = seg_places[i].at;
        uint32_t attr = get(a, at + 2, 2);
        s->sel = a->wide ? get(a, at, 2) : get(a, seg_places[i].at32, 2);
        s->attr = (attr & 0xff) << 8 | (attr & 0xf00) << 12;
        s->limit = get(a, at + 4, 4);
        *base_of(c, seg_places[i].seg) = get(a, at + 8, 8);
    }
    c->gdt = (X86Table){ get(a, AT_GDT + 8, 8), get(a, AT_GDT + 4, 2) };
    c->idt = (X86Table){ get(a, AT_IDT + 8, 8), get(a, AT_IDT + 4, 2) };
}

/* Combinations that MOV to these registers refuses shut the processor down (SDM vol. 3, 34.7.2; APM, RSM). */
static bool valid(X86Cpu *c)
{
    bool pg = c->cr0 & CR0_PG, lme = c->efer & EFER_LME, pae = c->cr4 & CR4_PAE;
    if ((pg && !(c->cr0 & CR0_PE)) || ((c->cr0 & CR0_NW) && !(c->cr0 & CR0_CD)) || c->cr0 >> 32)
        return false;
    if ((c->cr4 & ~x86_cr4_allowed(c)) || (c->cr3 >> c->model->phys_bits) || (c->efer & ~x86_efer_allowed(c)))
        return false;
    if (lme && pg && !pae)
        return false;
    if (!(c->efer & EFER_LMA) != !(lme && pg))
        return false;
    return !pg || !pae || lme || x86_load_pdptes(c, c->cr3);
}

bool x86_rsm(X86Cpu *c)
{
    Area a;
    if (!c->in_smm)
        return x86_fault(c, EXC_UD, 0);
    bool ok = read_area(c, &a);
    for (unsigned i = 0; ok && i < G_N_ELEMENTS(places); i++) {
        const Place *p = &places[i];
        if (a.wide ? p->at64 : p->at32)
            *member(c, p) = get(&a, a.wide ? p->at64 : p->at32, a.wide ? 8 : 4);
    }
    if (!ok || !valid(c)) {
        c->exc_pending = false;
        c->halted = true;
        c->hooks->triple_fault(&c->s);
        return true;
    }
    c->dr[6] = (c->dr[6] & 0xe00f) | 0xffff0ff0;
    c->dr[7] = (c->dr[7] & 0xffff2bff) | 0x400;
    c->cr0 |= CR0_ET;
    load_segments(c, &a);
    x86_set_eflags(c, get(&a, a.wide ? RFLAGS_64 : RFLAGS_32, 4) & 0x3f7fd5, UINT64_MAX);
    c->cpl = !x86_pe(c) ? 0 : x86_vm86(c) ? 3 : c->seg[SS].attr >> SEG_DPL_SHIFT & 3;
    c->smbase = get(&a, a.wide ? SMBASE_64 : SMBASE_32, 4);
    c->nmi_blocked = c->smm_nmi_blocked;
    c->shadow = 0;
    set_view(c, false);
    changed(c);
    if (get(&a, a.wide ? HALT_64 : HALT_32, 1) & 1) {
        c->halted = true;
        c->hooks->attention(&c->s);
    }
    return true;
}
