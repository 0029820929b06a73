/* SPDX-License-Identifier: GPL-2.0-or-later
 * The registers as text, in the layout that users of `info registers` know. */
#include <inttypes.h>

#include "target/x86/sys.h"

static void dump_seg(X86Cpu *c, const char *name, unsigned i, GString *out)
{
    const X86Seg *g = &c->seg[i];
    uint64_t base = i < N_SEGS ? *x86_seg_base(c, i) : g->base;
    g_string_append_printf(out, "%-3s=%04x %016" PRIx64 " %08x %08x DPL=%u%s%s\n", name, g->sel, base,
                           g->limit, g->attr, g->attr >> SEG_DPL_SHIFT & 3, g->attr & SEG_P ? "" : " absent",
                           i != CS ? "" : g->attr & SEG_L ? " CS64" : g->attr & SEG_DB ? " CS32" : " CS16");
}

void x86_dump(const CpuState *s, GString *out)
{
    X86Cpu *c = (X86Cpu *)s;            /* x86_eflags() and x86_mxcsr() only fold what is lazily kept */
    static const char *const gpr[16] = { "RAX", "RBX", "RCX", "RDX", "RSI", "RDI", "RBP", "RSP",
                                         "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15" };
    static const uint8_t order[16] = { RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP,
                                       R8,  R9,  R10, R11, R12, R13, R14, R15 };
    static const char *const seg[N_SEG_REGS] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDT", "TR" };
    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(out, "%s=%016" PRIx64 "%c", gpr[i], c->s.hot[order[i]],
                               i % 4 == 3 ? '\n' : ' ');
    uint64_t fl = x86_eflags(c);
    g_string_append_printf(out,
                           "RIP=%016" PRIx64 " RFL=%08" PRIx64 " [%c%c%c%c%c%c%c] CPL=%u A20=%d HLT=%d\n",
                           *x86_pc(c), fl, fl & FL_DF ? 'D' : '-', fl & FL_OF ? 'O' : '-',
                           fl & FL_SF ? 'S' : '-', fl & FL_ZF ? 'Z' : '-', fl & FL_AF ? 'A' : '-',
                           fl & FL_PF ? 'P' : '-', fl & FL_CF ? 'C' : '-', c->cpl, !c->a20_off, c->halted);
    for (unsigned i = 0; i < N_SEG_REGS; i++)
        dump_seg(c, seg[i], i, out);
    g_string_append_printf(out, "GDT=     %016" PRIx64 " %08x\nIDT=     %016" PRIx64 " %08x\n", c->gdt.base,
                           c->gdt.limit, c->idt.base, c->idt.limit);
    g_string_append_printf(out, "CR0=%08" PRIx64 " CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08" PRIx64 "\n",
                           c->cr0, c->cr2, c->cr3, c->cr4);
    for (unsigned i = 0; i < 8; i++)
        if (i != 4 && i != 5)
            g_string_append_printf(out, "DR%u=%016" PRIx64 "%c", i, c->dr[i], i == 3 || i == 7 ? '\n' : ' ');
    g_string_append_printf(out, "EFER=%016" PRIx64 " XCR0=%" PRIx64 "\n", c->efer, c->xcr0);
    g_string_append_printf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", c->fcw,
                           (c->fsw & ~0x3800) | c->fpu_top << 11, c->fpu_top, (uint8_t)~c->fpu_empty,
                           x86_mxcsr(c));
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(out, "FPR%u=%016" PRIx64 " %04x%c", i, c->fpr[i].mant, c->fpr[i].exp,
                               i % 2 ? '\n' : ' ');
    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(out, "XMM%02u=%016" PRIx64 "%016" PRIx64 "%c", i, c->ymm[i].lo.u64[1],
                               c->ymm[i].lo.u64[0], i % 2 ? '\n' : ' ');
}
