/* SPDX-License-Identifier: GPL-2.0-or-later
 * The registers as text, in the layout that users of `info registers` know. */
#include <inttypes.h>

#include "target/x86/sys.h"

/* Outside 64-bit code the layout is the 32-bit one: eight registers, addresses of 32 bits. */
static void dump_seg(X86Cpu *c, const char *name, unsigned i, int digits, GString *out)
{
    X86Seg *g = &c->seg[i];
    uint64_t base = i < N_SEGS ? *x86_seg_base(c, i) : g->base;
    g_string_append_printf(out, "%-3s=%04x %0*" PRIx64 " %08x %08x DPL=%u%s%s\n", name, g->sel, digits, base,
                           g->limit, g->attr, g->attr >> SEG_DPL_SHIFT & 3, g->attr & SEG_P ? "" : " absent",
                           i != CS ? "" : g->attr & SEG_L ? " CS64" : g->attr & SEG_DB ? " CS32" : " CS16");
}

static void dump_gpr(const X86Cpu *c, bool wide, GString *out)
{
    static const char *const name[16] = { "AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP",
                                          "8 ", "9 ", "10", "11", "12", "13", "14", "15" };
    static const uint8_t order[16] = { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP,
                                       R8,  R9,  R10, R11, R12, R13, R14, R15 };
    for (unsigned i = 0; i < (wide ? 16 : 8); i++) {
        uint64_t v = c->s.hot[order[i]];
        g_string_append_printf(out, "%c%s=%0*" PRIx64 "%c", wide ? 'R' : 'E', name[i], wide ? 16 : 8, wide ? v : (uint32_t)v,
                               i % 4 == 3 ? '\n' : ' ');
    }
}

void x86_dump(const CpuState *s, GString *out)
{
    X86Cpu *c = (X86Cpu *)s;            /* x86_eflags() and x86_mxcsr() only fold what is lazily kept */
    static const char *const seg[N_SEG_REGS] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR" };
    bool wide = x86_code64(c);
    int digits = wide ? 16 : 8;
    dump_gpr(c, wide, out);
    uint64_t fl = x86_eflags(c);
    g_string_append_printf(out,
                           "%cIP=%0*" PRIx64 " %cFL=%08" PRIx64 " [%c%c%c%c%c%c%c] CPL=%u A20=%d HLT=%d\n",
                           wide ? 'R' : 'E', digits, *x86_pc(c), wide ? 'R' : 'E', fl, fl & FL_DF ? 'D' : '-', fl & FL_OF ? 'O' : '-',
                           fl & FL_SF ? 'S' : '-', fl & FL_ZF ? 'Z' : '-', fl & FL_AF ? 'A' : '-',
                           fl & FL_PF ? 'P' : '-', fl & FL_CF ? 'C' : '-', c->cpl, !c->a20_off, c->halted);
    for (unsigned i = 0; i < N_SEG_REGS; i++)
        dump_seg(c, seg[i], i, digits, out);
    g_string_append_printf(out, "GDT=     %0*" PRIx64 " %08x\nIDT=     %0*" PRIx64 " %08x\n", digits, c->gdt.base,
                           c->gdt.limit, digits, c->idt.base, c->idt.limit);
    g_string_append_printf(out, "CR0=%08" PRIx64 " CR2=%0*" PRIx64 " CR3=%0*" PRIx64 " CR4=%08" PRIx64 "\n",
                           c->cr0, digits, c->cr2, digits, c->cr3, c->cr4);
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5)
            g_string_append_printf(out, "DR%u=%0*" PRIx64 "%c", i, digits, c->dr[i], i == 3 || i == 7 ? '\n' : ' ');
    g_string_append_printf(out, "EFER=%016" PRIx64 " XCR0=%" PRIx64 "\n", c->efer, c->xcr0);
    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", c->fcw,
                           (c->fsw & ~0x3800) | c->fpu_top << 11, c->fpu_top, (uint8_t)~c->fpu_empty,
                           x86_mxcsr(c));
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, c->fpr[i].mant, c->fpr[i].exp,
                               i % 2 ? '\n' : ' ');
    for (unsigned i = 0; i < (wide ? 16 : 8); i++)
        g_string_append_printf(out, "XMM%02u=%016" PRIx64 "%016" PRIx64 "%c", i, c->ymm[i].lo.u64[1],
                               c->ymm[i].lo.u64[0], i % 2 ? '\n' : ' ');
}
