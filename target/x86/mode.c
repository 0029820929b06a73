/* SPDX-License-Identifier: GPL-2.0-or-later
 * Control registers and what follows from them: mode key, TLB context, FP control word.
 * Sources: SDM vol. 3, 2.5, 4.10.4; APM vol. 2, 3.1, 5.5. */
#include "target/x86/sys.h"

static uint32_t key_of_segments(const X86Cpu *c)
{
    static const uint8_t data[] = { ES, CS, SS, DS, FS, GS };
    uint32_t key = (c->seg[CS].attr & SEG_DB) ? MODE_CS32 : MODE_CS16;
    if (c->seg[SS].attr & SEG_DB)
        key |= MODE_SS32;
    if (c->s.hot[22 + ES] | c->s.hot[22 + CS] | c->s.hot[22 + SS] | c->s.hot[22 + DS])
        key |= MODE_BASES;
    for (unsigned i = 0; i < sizeof data; i++) {
        const X86Seg *g = &c->seg[data[i]];
        bool down = (g->attr & (SEG_S | DESC_CODE | DESC_C)) == (SEG_S | DESC_C);
        bool writable = (g->attr & (DESC_CODE | DESC_W)) == DESC_W;
        if (g->limit != UINT32_MAX || !(g->attr & SEG_P) || down || (data[i] != CS && !writable))
            return key | MODE_LIMITS;
    }
    return key;
}

/* What follows from CR0, CR4 and MXCSR. */
static uint32_t key_of_control(const X86Cpu *c)
{
    uint32_t key = 0;
    if (c->cr0 & (CR0_TS | CR0_EM))
        key |= MODE_FPU_NM;
    if (!(c->cr4 & CR4_OSFXSR) || (c->cr0 & CR0_EM))
        key |= MODE_SSE_UD;
    if (!(c->cr4 & CR4_OSXSAVE) || (c->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX))
        key |= MODE_AVX_UD;
    if ((c->mxcsr & 0x1f80) != 0x1f80)
        key |= MODE_FPEXC;
    if (!(c->cr0 & CR0_PE))
        key |= MODE_REAL;
    return key;
}

/* What follows from flags, segments and privilege. */
static inline uint32_t key_of_rest(const X86Cpu *c)
{
    uint64_t flags = c->s.hot[21];
    uint32_t key = (uint32_t)c->cpl << MODE_CPL_SHIFT;
    key |= G_LIKELY(x86_code64(c)) ? (uint32_t)MODE_CS64 : key_of_segments(c);
    key |= flags & FL_TF ? MODE_TF : 0;
    key |= flags & FL_VM ? MODE_REAL : 0;
    if (G_UNLIKELY(flags & FL_AC) && c->cpl == 3 && (c->cr0 & CR0_AM))
        key |= MODE_AC;
    key |= c->cpl <= (flags & FL_IOPL) >> 12 ? MODE_IOPL : 0;
    return key;
}

uint32_t x86_mode_bits(const X86Cpu *c) { return key_of_control(c) | key_of_rest(c); }

static unsigned current_view(const X86Cpu *c)
{
    return c->cur_view == ~0u || (uintptr_t)c->s.ctx == c->cur_ctx ? c->cur_view : c->ac_view;
}

static void select_tlb(X86Cpu *c)
{
    uint32_t asid = c->cr4 & CR4_PCIDE ? c->cr3 & 0xfff : 0;
    uint32_t view = c->cpl == 3                                          ? VIEW_USER
                    : (c->cr4 & CR4_SMAP) && !(*x86_flags(c) & FL_AC) ? VIEW_SMAP
                                                                         : VIEW_KERNEL;
    uint64_t base = x86_code64(c) ? 0 : c->s.hot[22 + CS];
    if (asid == c->cur_asid && view == current_view(c) && base == c->cur_base)
        return;
    c->cur_base = base;
    c->cur_asid = asid;
    c->cur_view = view;
    c->ac_ready = 0;
    c->hooks->tlb_select(&c->s, asid, view);
    c->cur_ctx = (uintptr_t)c->s.ctx;
}

/* Entries into the kernel change AC several times or not at all, so the second context is looked for when the first
 * STAC or CLAC comes.  The accelerator gives a context to nobody else without being asked for another by
 * select_tlb(). */
void x86_prepare_ac(X86Cpu *c)
{
    if (c->ac_ready)
        return;
    unsigned view = current_view(c);
    TlbContext *ctx = c->s.ctx;
    c->ac_view = c->cur_view = view;
    c->ac_ctx = c->cur_ctx = (uintptr_t)ctx;
    if (c->cr4 & CR4_SMAP) {
        c->ac_view = view == VIEW_SMAP ? VIEW_KERNEL : VIEW_SMAP;
        c->hooks->tlb_select(&c->s, c->cur_asid, c->ac_view);
        c->ac_ctx = (uintptr_t)c->s.ctx;
        c->hooks->tlb_select(&c->s, c->cur_asid, view);
    }
    c->ac_ready = 1;
}

void x86_mode_changed(X86Cpu *c)
{
    c->key_control = key_of_control(c);
    c->ac_ready = 0;                    /* CR4.SMAP */
    x86_privilege_changed(c);
}

void x86_privilege_changed(X86Cpu *c)
{
    if (G_UNLIKELY(*x86_flags(c) & (FL_RF | FL_VIP)))
        x86_flags_loaded(c);
    c->s.mode_tag = (uint64_t)(c->key_control | key_of_rest(c)) << 48;
    select_tlb(c);
    uint32_t pending = atomic_load_explicit(&c->port.pending, memory_order_relaxed);
    if (pending && ((*x86_flags(c) & FL_IF) || (pending & ~(uint32_t)PORT_INTR)))
        c->hooks->attention(&c->s);
}

void x86_new_cpl(X86Cpu *c, unsigned cpl)
{
    c->cpl = cpl;
    x86_privilege_changed(c);
}

void x86_tlb_forget(X86Cpu *c)
{
    c->walk_gen++;
    c->hooks->tlb_flush(&c->s, -1, true);
}

void x86_lines_changed(X86Cpu *c)
{
    port_clear(&c->port, PORT_LINES);
    bool off = atomic_load(&c->port.lines) & LINE_A20M;
    if (off != c->a20_off) {
        c->a20_off = off;
        x86_tlb_forget(c);
    }
}

/* The four page-directory pointers of legacy PAE are registers, loaded with CR3 (SDM vol. 3, 4.4.1). */
bool x86_load_pdptes(X86Cpu *c, uint64_t cr3)
{
    uint64_t v[4], reserved = ~(uint64_t)0 << c->model->phys_bits | 0x1e6;
    for (unsigned i = 0; i < 4; i++) {
        if (!c->hooks->phys_load(&c->s, x86_a20(c, (cr3 & 0xffffffe0) + 8 * i), 8, &v[i]))
            v[i] = UINT64_MAX;
        if ((v[i] & 1) && (v[i] & reserved))
            return x86_fault(c, EXC_GP, 0);
    }
    for (unsigned i = 0; i < 4; i++)
        c->pdpte[i] = v[i];
    return true;
}

static bool legacy_pae(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static bool set_cr0(X86Cpu *c, uint64_t v)
{
    uint64_t old = c->cr0, efer = c->efer;
    if (v >> 32 || ((v & CR0_PG) && !(v & CR0_PE)) || ((v & CR0_NW) && !(v & CR0_CD)))
        return x86_fault(c, EXC_GP, 0);
    v = (v & (CR0_PG | CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD)) |
        CR0_ET;
    if ((v & CR0_PG) && !(old & CR0_PG) && (efer & EFER_LME)) {
        if (!(c->cr4 & CR4_PAE) || (c->seg[CS].attr & SEG_L))
            return x86_fault(c, EXC_GP, 0);
        efer |= EFER_LMA;
    }
    if (!(v & CR0_PG) && (old & CR0_PG)) {
        if (x86_code64(c) || (c->cr4 & CR4_PCIDE))
            return x86_fault(c, EXC_GP, 0);
        efer &= ~(uint64_t)EFER_LMA;
    }
    if (legacy_pae(v, c->cr4, efer) && ((v ^ old) & (CR0_PG | CR0_CD | CR0_NW)) &&
        !x86_load_pdptes(c, c->cr3))
        return false;
    c->cr0 = v;
    c->efer = efer;
    /* Firmware goes in and out of real mode thousands of times a second: without paging nothing depends on PE. */
    if ((v ^ old) & (CR0_PG | (v & CR0_PG ? CR0_WP : 0)))
        x86_tlb_forget(c);
    return true;
}

static bool set_cr3(X86Cpu *c, uint64_t v)
{
    bool pcide = c->cr4 & CR4_PCIDE, keep = pcide && v >> 63;
    if (pcide)
        v &= ~(UINT64_C(1) << 63);
    if (!x86_long(c))
        v &= UINT32_MAX;
    if (v >> c->model->phys_bits)
        return x86_fault(c, EXC_GP, 0);
    if (legacy_pae(c->cr0, c->cr4, c->efer) && !x86_load_pdptes(c, v))
        return false;
    c->cr3 = v;
    if (!keep) {
        c->walk_gen++;
        c->hooks->tlb_flush(&c->s, pcide ? (int32_t)(v & 0xfff) : 0, false);
    }
    return true;
}

uint64_t x86_cr4_allowed(const X86Cpu *c)
{
    static const struct { uint32_t bit; uint8_t feature; } row[] = {
        { CR4_VME, X86F_VME },
        { CR4_PVI, X86F_VME },
        { CR4_TSD, X86F_TSC },
        { CR4_DE, X86F_DE },
        { CR4_PSE, X86F_PSE },
        { CR4_PAE, X86F_PAE },
        { CR4_MCE, X86F_MCE },
        { CR4_PGE, X86F_PGE },
        { CR4_PCE, X86F_NONE },
        { CR4_OSFXSR, X86F_FXSR },
        { CR4_OSXMMEXCPT, X86F_SSE },
        { CR4_UMIP, X86F_UMIP },
        { CR4_FSGSBASE, X86F_FSGSBASE },
        { CR4_PCIDE, X86F_PCID },
        { CR4_OSXSAVE, X86F_XSAVE },
        { CR4_SMEP, X86F_SMEP },
        { CR4_SMAP, X86F_SMAP },
        { CR4_PKE, X86F_PKU },
    };
    uint64_t allowed = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(row); i++)
        if (row[i].feature == X86F_NONE || x86_has(c, row[i].feature))
            allowed |= row[i].bit;
    return allowed;
}

static bool set_cr4(X86Cpu *c, uint64_t v)
{
    uint64_t old = c->cr4, diff = v ^ old;
    if (v & ~x86_cr4_allowed(c))
        return x86_fault(c, EXC_GP, 0);
    if ((diff & CR4_PAE) && x86_long(c))
        return x86_fault(c, EXC_GP, 0);
    if ((v & diff & CR4_PCIDE) && (!x86_long(c) || (c->cr3 & 0xfff)))
        return x86_fault(c, EXC_GP, 0);
    if (legacy_pae(c->cr0, v, c->efer) && (diff & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) &&
        !x86_load_pdptes(c, c->cr3))
        return false;
    c->cr4 = v;
    if ((diff & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP | CR4_PKE)) || (old & diff & CR4_PCIDE))
        x86_tlb_forget(c);
    if (diff & CR4_DE)
        x86_debug_changed(c);
    if (diff & CR4_SMAP) /* what VIEW_KERNEL and VIEW_SMAP allow does not change, only which is used */
        c->walk_gen++;
    return true;
}

bool x86_set_cr(X86Cpu *c, unsigned n, uint64_t v)
{
    bool ok = true;
    if (n != 8)
        x86_serialize();
    switch (n) {
    case 0: ok = set_cr0(c, v); break;
    case 2: c->cr2 = v; return true;
    case 3: ok = set_cr3(c, v); break;
    case 4: ok = set_cr4(c, v); break;
    case 8:
        if (v > 15)
            return x86_fault(c, EXC_GP, 0);
        if (c->port.intc)
            c->port.intc->set_cr8(c->port.intc_self, v);
        return true;
    default: return x86_fault(c, EXC_UD, 0);
    }
    if (ok)
        x86_mode_changed(c);
    return ok;
}

uint64_t x86_efer_allowed(const X86Cpu *c)
{
    uint64_t allowed = EFER_LMA;
    allowed |= x86_has(c, X86F_SYSCALL) ? EFER_SCE : 0;
    allowed |= x86_has(c, X86F_LM) ? EFER_LME : 0;
    allowed |= x86_has(c, X86F_NX) ? EFER_NXE : 0;
    allowed |= x86_has(c, X86F_FXSR_OPT) ? EFER_FFXSR : 0;
    allowed |= x86_has(c, X86F_AUTO_IBRS) ? EFER_AIBRSE : 0;
    return allowed;
}

bool x86_set_efer(X86Cpu *c, uint64_t v)
{
    uint64_t allowed = x86_efer_allowed(c);
    uint64_t diff = v ^ c->efer;
    if ((v & ~allowed) || ((diff & EFER_LME) && (c->cr0 & CR0_PG)))
        return x86_fault(c, EXC_GP, 0);
    c->efer = (v & ~(uint64_t)EFER_LMA) | (c->efer & EFER_LMA);
    if (diff & EFER_NXE)
        x86_tlb_forget(c);
    return true;
}

/* The TLB has what the keys allowed.  Kernels write PKRU when it changes, which is rare: one flush is cheaper than a context
 * for each value. */
void x86_set_pkru(X86Cpu *c, uint32_t v)
{
    bool changed = v != c->pkru;
    c->pkru = v;
    if (changed && (c->cr4 & CR4_PKE))
        x86_tlb_forget(c);
}

/* Sticky flags of generated code gather in fp_control, which is what the host's MXCSR holds while it runs. */
uint32_t x86_mxcsr(X86Cpu *c)
{
    c->mxcsr |= c->s.fp_control & 0x3f;
    return c->mxcsr;
}

void x86_set_mxcsr(X86Cpu *c, uint32_t v)
{
    uint32_t diff = v ^ c->mxcsr;
    c->mxcsr = v;
    c->s.fp_control = (v & 0xe07f) | 0x1f80;
    if (diff & 0x1f80)
        x86_mode_changed(c);
}
