/* SPDX-License-Identifier: GPL-2.0-or-later
 * Model-specific registers.  Sources: APM vol. 2, appendix A; SDM vol. 4; AMD BKDG of family 0Fh for
 * C001_xxxx. Whatever is not here is #GP, as on hardware. */
#include <stddef.h>

#include "target/x86/sys.h"

uint64_t x86_tsc(X86Cpu *c) { return c->hooks->now_ns(&c->s) + c->tsc_offset; }

typedef enum MsrKind {
    MSR_PLAIN,          /* a member; bits outside mask: #GP */
    MSR_ADDRESS,        /* a member that must be canonical */
    MSR_CONST,          /* reads as value; writes are dropped if mask is ~0, else #GP */
    MSR_SPECIAL,        /* the switches below */
    MSR_INTC,           /* the interrupt controller's */
} MsrKind;

typedef struct MsrRow {
    uint32_t first, last;
    uint8_t  kind, feature;     /* X86F_*: absent without it */
    uint16_t at;                /* member in X86Cpu; consecutive registers are an array */
    uint64_t mask, value;
} MsrRow;

#define AT(m) offsetof(X86Cpu, m)
static const MsrRow rows[] = {
    { 0x00000000, 0x00000001, MSR_CONST, 0, 0, UINT64_MAX, 0 }, /* machine check of the Pentium */
    { 0x00000010, 0x00000010, MSR_SPECIAL },                                    /* TSC */
    { 0x00000017, 0x00000017, MSR_CONST, 0, 0, 0, 0 },                          /* platform id */
    { 0x0000001b, 0x0000001b, MSR_INTC, X86F_APIC },                            /* APICBASE */
    { 0x0000003b, 0x0000003b, MSR_SPECIAL, X86F_TSC_ADJUST },
    { 0x0000008b, 0x0000008b, MSR_CONST, 0, 0, UINT64_MAX, 0x01000065 },        /* patch level */
    /* Read by firmware, kernels and memtest86+ without asking CPUID: power on, SMIs counted, bus clock, ratios, cache
     * control, P states, thermal control */
    { 0x0000002a, 0x0000002a, MSR_CONST, 0, 0, UINT64_MAX, 0 },
    { 0x00000034, 0x00000034, MSR_CONST, 0, 0, 0, 0 },
    { 0x000000cd, 0x000000ce, MSR_CONST, 0, 0, 0, 0 },
    { 0x00000119, 0x00000119, MSR_CONST, 0, 0, UINT64_MAX, 0 },
    { 0x00000198, 0x00000198, MSR_CONST, 0, 0, 0, 0 },
    { 0x00000199, 0x0000019b, MSR_CONST, 0, 0, UINT64_MAX, 0 },
    { 0x0000019c, 0x0000019c, MSR_CONST, 0, 0, UINT64_MAX, 0 },
    { 0x000000fe, 0x000000fe, MSR_CONST, X86F_MTRR, 0, 0, 0x508 }, /* MTRRcap: WC, fixed, 8 variable */
    { 0x00000174, 0x00000174, MSR_PLAIN, X86F_SEP, AT(sysenter_cs), UINT32_MAX },
    { 0x00000175, 0x00000175, MSR_ADDRESS, X86F_SEP, AT(sysenter_esp) },
    { 0x00000176, 0x00000176, MSR_ADDRESS, X86F_SEP, AT(sysenter_eip) },
    { 0x00000179, 0x00000179, MSR_CONST, X86F_MCA, 0, 0, 0 },                   /* MCG_CAP: no banks */
    { 0x0000017a, 0x0000017a, MSR_PLAIN, X86F_MCA, AT(mcg_status), 7 },
    { 0x000001a0, 0x000001a0, MSR_PLAIN, 0, AT(misc_enable), UINT64_MAX },
    { 0x000001d9, 0x000001d9, MSR_PLAIN, 0, AT(debugctl), 0x7f },
    { 0x000001db, 0x000001de, MSR_CONST, 0, 0, 0, 0 }, /* last branch, none recorded */
    { 0x00000200, 0x0000020f, MSR_SPECIAL, X86F_MTRR },
    { 0x00000250, 0x00000250, MSR_SPECIAL, X86F_MTRR },
    { 0x00000258, 0x00000259, MSR_SPECIAL, X86F_MTRR },
    { 0x00000268, 0x0000026f, MSR_SPECIAL, X86F_MTRR },
    { 0x00000277, 0x00000277, MSR_SPECIAL, X86F_PAT },
    { 0x000002ff, 0x000002ff, MSR_SPECIAL, X86F_MTRR },
    { 0x000006e0, 0x000006e0, MSR_INTC, X86F_TSC_DEADLINE },
    { 0x00000800, 0x000008ff, MSR_INTC, X86F_X2APIC },
    { 0x00000da0, 0x00000da0, MSR_PLAIN, X86F_XSAVES, AT(xss), 0 },             /* XSS: no supervisor components */
    { 0xc0000080, 0xc0000080, MSR_SPECIAL },                                    /* EFER */
    { 0xc0000081, 0xc0000081, MSR_PLAIN, X86F_SYSCALL, AT(star), UINT64_MAX },
    { 0xc0000082, 0xc0000082, MSR_ADDRESS, X86F_LM, AT(lstar) },
    { 0xc0000083, 0xc0000083, MSR_ADDRESS, X86F_LM, AT(cstar) },
    { 0xc0000084, 0xc0000084, MSR_PLAIN, X86F_SYSCALL, AT(sfmask), UINT32_MAX },
    { 0xc0000100, 0xc0000100, MSR_ADDRESS, X86F_LM, AT(s.hot[22 + FS]) },
    { 0xc0000101, 0xc0000101, MSR_ADDRESS, X86F_LM, AT(s.hot[22 + GS]) },
    { 0xc0000102, 0xc0000102, MSR_ADDRESS, X86F_LM, AT(kernel_gs_base) },
    { 0xc0000103, 0xc0000103, MSR_PLAIN, X86F_RDTSCP, AT(tsc_aux), UINT32_MAX },
    /* AMD's own, as family 0Fh has them; written values are not kept where nothing here depends on them */
    { 0xc0010000, 0xc0010007, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* performance counters: they stand */
    { 0xc0010010, 0xc0010010, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* SYSCFG */
    { 0xc0010015, 0xc0010015, MSR_CONST, 0, 0, UINT64_MAX, 0x01000010 }, /* HWCR: TSC runs at P0, FFDIS */
    { 0xc0010016, 0xc0010019, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* IORR */
    { 0xc001001a, 0xc001001a, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* TOP_MEM */
    { 0xc001001d, 0xc001001d, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* TOP_MEM2 */
    { 0xc001001f, 0xc001001f, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* NB_CFG */
    { 0xc0010041, 0xc0010042, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* FIDVID */
    { 0xc0010055, 0xc0010055, MSR_CONST, 0, 0, UINT64_MAX, 0 }, /* interrupt pending message: no C1E */
    { 0xc0010058, 0xc0010058, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* MMIO configuration: off */
    { 0xc0010061, 0xc001006b, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* P states: none */
    { 0xc0010070, 0xc0010071, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* COFVID */
    { 0xc0010111, 0xc0010111, MSR_PLAIN, 0, AT(smbase), UINT32_MAX },           /* SMM base */
    { 0xc0010112, 0xc0010113, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* SMM_ADDR, SMM_MASK: the board's */
    { 0xc0010114, 0xc0010114, MSR_CONST, 0, 0, UINT64_MAX, 0x10 },              /* VM_CR: SVM disabled */
    { 0xc0010140, 0xc0010141, MSR_CONST, X86F_OSVW, 0, UINT64_MAX, 0 },         /* OSVW: no erratum is known */
    { 0xc0011020, 0xc0011023, MSR_CONST, 0, 0, UINT64_MAX, 0 }, /* LS_CFG IC_CFG DC_CFG BU_CFG */
    { 0xc0011029, 0xc0011029, MSR_CONST, 0, 0, UINT64_MAX, 2 },                 /* DE_CFG: LFENCE waits */
    { 0xc001102a, 0xc001102a, MSR_CONST, 0, 0, UINT64_MAX, 0 },                 /* BU_CFG2 */
};

static const MsrRow *find(const X86Cpu *c, uint32_t msr)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        if (msr >= rows[i].first && msr <= rows[i].last)
            return !rows[i].feature || x86_has(c, rows[i].feature) ? &rows[i] : NULL;
    return NULL;
}

static uint64_t *member(X86Cpu *c, const MsrRow *r) { return (uint64_t *)((char *)c + r->at); }

/* Index into mtrr_fixed. */
static unsigned fixed_index(uint32_t msr)
{
    return msr == 0x250 ? 0 : msr < 0x260 ? msr - 0x257 : msr - 0x265;
}

static bool memory_type(unsigned t) { return t <= 1 || (t >= 4 && t <= 6); }
static bool memory_types(uint64_t v, bool pat)
{
    for (unsigned i = 0; i < 64; i += 8) {
        unsigned t = v >> i & 0xff;
        if (!memory_type(t) && !(pat && t == 7))
            return false;
    }
    return true;
}

static bool read_special(X86Cpu *c, uint32_t msr, uint64_t *v)
{
    switch (msr) {
    case 0x10: *v = x86_tsc(c); break;
    case 0x3b: *v = c->tsc_adjust; break;
    case 0x277: *v = c->pat; break;
    case 0x2ff: *v = c->mtrr_def; break;
    case 0xc0000080: *v = c->efer; break;
    default: *v = msr < 0x210 ? c->mtrr_var[msr - 0x200] : c->mtrr_fixed[fixed_index(msr)]; break;
    }
    return true;
}

/* A deadline that is armed comes sooner or later now. */
static void tsc_moved(X86Cpu *c)
{
    const CpuIntc *intc = c->port.intc;
    uint64_t deadline;
    if (intc && intc->msr_read(c->port.intc_self, 0x6e0, &deadline) && deadline)
        intc->msr_write(c->port.intc_self, 0x6e0, deadline);
}

static bool write_special(X86Cpu *c, uint32_t msr, uint64_t v)
{
    uint64_t phys = ~UINT64_C(0) >> (64 - c->model->phys_bits);
    switch (msr) {
    case 0x10: {                        /* and TSC_ADJUST moves with it (SDM vol. 3, 17.17.3) */
        uint64_t delta = v - x86_tsc(c);
        c->tsc_offset += delta;
        c->tsc_adjust += delta;
        tsc_moved(c);
        return true;
    }
    case 0x3b:
        c->tsc_offset += v - c->tsc_adjust;
        c->tsc_adjust = v;
        tsc_moved(c);
        return true;
    case 0x277:
        if (!memory_types(v, true))
            return false;
        c->pat = v;
        return true;
    case 0x2ff:
        if ((v & ~UINT64_C(0xcff)) || !memory_type(v & 0xff))
            return false;
        c->mtrr_def = v;
        return true;
    case 0xc0000080: return x86_set_efer(c, v);
    default:
        if (msr >= 0x250) {
            if (!memory_types(v, false))
                return false;
            c->mtrr_fixed[fixed_index(msr)] = v;
            return true;
        }
        if ((v & ~phys) || (v & (msr & 1 ? 0x7ff : 0xf00)) || (!(msr & 1) && !memory_type(v & 0xff)))
            return false;
        c->mtrr_var[msr - 0x200] = v;
        return true;
    }
}

static bool read_row(X86Cpu *c, const MsrRow *r, uint32_t msr, uint64_t *v)
{
    switch (r->kind) {
    case MSR_PLAIN:
    case MSR_ADDRESS: *v = *member(c, r); return true;
    case MSR_CONST: *v = r->value; return true;
    case MSR_SPECIAL: return read_special(c, msr, v);
    case MSR_INTC: return c->port.intc && c->port.intc->msr_read(c->port.intc_self, msr, v);
    }
    return false;
}

static bool write_row(X86Cpu *c, const MsrRow *r, uint32_t msr, uint64_t v)
{
    switch (r->kind) {
    case MSR_PLAIN:
        if (v & ~r->mask)
            return false;
        *member(c, r) = v;
        return true;
    case MSR_ADDRESS:
        if (!x86_canonical(v))
            return false;
        *member(c, r) = v;
        return true;
    case MSR_CONST: return r->mask;
    case MSR_SPECIAL: return write_special(c, msr, v);
    case MSR_INTC: return c->port.intc && c->port.intc->msr_write(c->port.intc_self, msr, v);
    }
    return false;
}

bool x86_rdmsr(X86Cpu *c, uint32_t msr, uint64_t *v)
{
    const MsrRow *r = find(c, msr);
    return (r && read_row(c, r, msr, v)) || x86_fault(c, EXC_GP, 0);
}

bool x86_wrmsr(X86Cpu *c, uint32_t msr, uint64_t v)
{
    const MsrRow *r = find(c, msr);
    x86_serialize();
    return (r && write_row(c, r, msr, v)) || x86_fault(c, EXC_GP, 0);
}
