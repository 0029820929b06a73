/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86 CPU as an object: slots, allocation, reset, direct-boot entry, saved state.
 * Sources: SDM vol. 3, 9.1 (state after power-up, reset, INIT); Linux Documentation/x86/boot.rst (entry
 * states). */
#include <stddef.h>
#include <string.h>

#include "target/x86/sys.h"
#include "util/bits.h"

#define HOT(n) (offsetof(X86Cpu, s.hot) + 8 * (n))
#define GPR(n, i) [X_RAX + (i)] = { n, I64, HOT(i) }
#define XMM(i) \
    [X_XMM0 + (i)] = { "xmm" #i, V128T, offsetof(X86Cpu, ymm[i].lo), .upper = X_YMMH0 + (i) }, \
    [X_YMMH0 + (i)] = { "ymmh" #i, V128T, offsetof(X86Cpu, ymm[i].hi) }
#define VTMP(i) [X_VTMP0 + (i)] = { "vtmp" #i, V128T, offsetof(X86Cpu, vtmp[i / 2].v[i % 2]), .scratch = true }
#define BASE(n, i) [X_ES_BASE + (i)] = { n "_base", I64, HOT(22 + (i)) }

static const Slot slots[X_N_SLOTS] = {
    GPR("rax", 0), GPR("rcx", 1), GPR("rdx", 2), GPR("rbx", 3), GPR("rsp", 4), GPR("rbp", 5),
    GPR("rsi", 6), GPR("rdi", 7),
    GPR("r8", 8), GPR("r9", 9), GPR("r10", 10), GPR("r11", 11), GPR("r12", 12), GPR("r13", 13),
    GPR("r14", 14), GPR("r15", 15),
    [X_PC] = { "pc", I64, HOT(16) },
    [X_CC_A] = { "cc_a", I64, HOT(17) }, [X_CC_B] = { "cc_b", I64, HOT(18) },
    [X_CC_C] = { "cc_c", I64, HOT(19) }, [X_CC_D] = { "cc_d", I64, HOT(28) },
    [X_CC_OP] = { "cc_op", I32, HOT(20) }, [X_CC_CF] = { "cc_cf", I8, HOT(20) + 4 },
    [X_CC_OF] = { "cc_of", I8, HOT(20) + 5 },
    [X_EFLAGS] = { "eflags", I64, HOT(21) },
    BASE("es", 0), BASE("cs", 1), BASE("ss", 2), BASE("ds", 3), BASE("fs", 4), BASE("gs", 5),
    XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7),
    XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
    VTMP(0), VTMP(1), VTMP(2), VTMP(3), VTMP(4), VTMP(5),
    [X_XMM_TMP] = { "xmm_tmp", V128T, offsetof(X86Cpu, xmm_tmp), .scratch = true },
    [X_HELPER_RET] = { "helper_ret", I64, offsetof(X86Cpu, s.helper_ret), .scratch = true },
    [X_SCRATCH] = { "scratch", V128T, offsetof(X86Cpu, s.scratch), .scratch = true },
    [X_MXCSR] = { "mxcsr", I32, offsetof(X86Cpu, mxcsr) },
    [X_FPU] = { "fpu", T_NONE, offsetof(X86Cpu, fpr) },
    [X_SYS] = { "sys", T_NONE, offsetof(X86Cpu, cr0) },
    [X_KERNEL_GS] = { "kernel_gs", I64, offsetof(X86Cpu, kernel_gs_base) },
    [X_CR4] = { "cr4", I64, offsetof(X86Cpu, cr4) },
    [X_CS_LIMIT] = { "cs_limit", I32, offsetof(X86Cpu, seg[CS].limit) },
    [X_CR0] = { "cr0", I64, offsetof(X86Cpu, cr0) },
    [X_CR2] = { "cr2", I64, offsetof(X86Cpu, cr2) },
    [X_CR3] = { "cr3", I64, offsetof(X86Cpu, cr3) },
    [X_CTX] = { "ctx", I64, offsetof(X86Cpu, s.ctx) },
    [X_AC_CTX] = { "ac_ctx", I64, offsetof(X86Cpu, ac_ctx) },
    [X_SHADOW] = { "shadow", I8, offsetof(X86Cpu, shadow) },
};

const SlotTable x86_slots = { slots, X_N_SLOTS, X_PC };

_Static_assert((int)X_N_SLOTS <= MAX_SLOTS && (int)X_AC_CTX < (int)X_YMMH0, "SlotSet has 128 bits");
_Static_assert((int)X86F_N <= 256, "X86Model.has has 256 bits");

/* --- saved state */

static const Field seg_state[] = {
    FIELD(X86Seg, sel), FIELD(X86Seg, limit), FIELD(X86Seg, attr), FIELD(X86Seg, base), { 0 }
};
static const Field table_state[] = { FIELD(X86Table, base), FIELD(X86Table, limit), { 0 } };
static const Field vec_state[] = {
    { .name = "u64", .type = FT_U64, .at = 0, .size = 8, .count = 2 }, { 0 }
};
static const Field ymm_state[] = { FIELD_SUB(X86Ymm, lo, 1, vec_state), FIELD_SUB(X86Ymm, hi, 1, vec_state), { 0 } };
static const Field fpr_state[] = {
    { .name = "mant", .type = FT_U64, .at = offsetof(X86Fpr, mant), .size = 8, .count = 1 },
    { .name = "exp", .type = FT_U16, .at = offsetof(X86Fpr, exp), .size = 2, .count = 1 }, { 0 }
};

const Field x86_state[] = {
    { .name = "hot", .type = FT_U64, .at = offsetof(X86Cpu, s.hot), .size = 8, .count = 32 },
    FIELD_SUB(X86Cpu, ymm, 16, ymm_state),
    FIELD(X86Cpu, mxcsr), FIELD_SUB(X86Cpu, fpr, 8, fpr_state),
    FIELD(X86Cpu, fcw), FIELD(X86Cpu, fsw), FIELD(X86Cpu, fop), FIELD(X86Cpu, fpu_top),
    FIELD(X86Cpu, fpu_empty),
    FIELD(X86Cpu, fip), FIELD(X86Cpu, fdp), FIELD(X86Cpu, fcs), FIELD(X86Cpu, fds),
    FIELD_SUB(X86Cpu, seg, N_SEG_REGS, seg_state), FIELD_SUB(X86Cpu, gdt, 1, table_state),
    FIELD_SUB(X86Cpu, idt, 1, table_state),
    FIELD(X86Cpu, cr0), FIELD(X86Cpu, cr2), FIELD(X86Cpu, cr3), FIELD(X86Cpu, cr4),
    FIELD(X86Cpu, xcr0), FIELD(X86Cpu, dr),
    FIELD(X86Cpu, cpl), FIELD(X86Cpu, halted), FIELD(X86Cpu, nmi_blocked), FIELD(X86Cpu, a20_off),
    FIELD(X86Cpu, shadow),
    FIELD(X86Cpu, efer), FIELD(X86Cpu, star), FIELD(X86Cpu, lstar), FIELD(X86Cpu, cstar),
    FIELD(X86Cpu, sfmask),
    FIELD(X86Cpu, kernel_gs_base), FIELD(X86Cpu, sysenter_cs), FIELD(X86Cpu, sysenter_esp),
    FIELD(X86Cpu, sysenter_eip),
    FIELD(X86Cpu, tsc_aux), FIELD(X86Cpu, pat), FIELD(X86Cpu, tsc_offset), FIELD(X86Cpu, spec_ctrl),
    FIELD(X86Cpu, mtrr_def), FIELD(X86Cpu, mtrr_fixed), FIELD(X86Cpu, mtrr_var),
    FIELD(X86Cpu, misc_enable), FIELD(X86Cpu, xss),
    FIELD(X86Cpu, exc_pending), FIELD(X86Cpu, exc_noncanonical), FIELD(X86Cpu, exc_kept), FIELD(X86Cpu, in_smm), FIELD(X86Cpu, ferr),
    FIELD(X86Cpu, smm_nmi_blocked), FIELD(X86Cpu, smbase), FIELD(X86Cpu, exc_vector),
    FIELD(X86Cpu, exc_error),
    FIELD(X86Cpu, exc_cr2), FIELD(X86Cpu, exc_dr6), FIELD(X86Cpu, trap_dr6), FIELD(X86Cpu, no_break),
    FIELD(X86Cpu, rf_done), FIELD(X86Cpu, rep_inside), FIELD(X86Cpu, wait_sipi), FIELD(X86Cpu, pdpte),
    FIELD(X86Cpu, tsc_adjust), FIELD(X86Cpu, mcg_status), FIELD(X86Cpu, debugctl),
    FIELD(X86Cpu, pkru),
    FIELD(X86Cpu, irq_held), FIELD(X86Cpu, irq_vector), FIELD(X86Cpu, pv_msr),
    { 0 }
};

/* What is derived is made anew; values that only a forged stream can hold are cut to size. */
void x86_restored(X86Cpu *c)
{
    c->cpl &= 3;
    c->fpu_top &= 7;
    c->mxcsr &= 0xffff;
    c->xcr0 = (c->xcr0 & x86_xcr0_allowed(c)) | 1;
    c->xss = 0;
    c->cur_view = ~0u;
    c->delivering = false;
    if (c->hooks->smm)
        c->hooks->smm(&c->s, c->in_smm);
    c->shadow &= SHADOW_STI | SHADOW_SS;
    c->trap_dr6 &= 0xe00f;
    x86_debug_changed(c);
    x86_set_mxcsr(c, c->mxcsr);
    x86_tlb_forget(c);
    x86_mode_changed(c);
}

/* --- reset */

static void reset_segments(X86Cpu *c)
{
    for (unsigned i = 0; i < N_SEGS; i++) {
        c->seg[i] = (X86Seg){ .limit = 0xffff, .attr = SEG_P | SEG_S | (i == CS ? 0xb00 : 0x300) };
        *x86_seg_base(c, i) = 0;
    }
    c->seg[CS].sel = 0xf000;
    *x86_seg_base(c, CS) = 0xffff0000;
    c->seg[LDTR] = (X86Seg){ .limit = 0xffff, .attr = SEG_P | SYS_LDT << 8 };
    c->seg[TR] = (X86Seg){ .limit = 0xffff, .attr = SEG_P | SYS_TSS32_BUSY << 8 };
    c->gdt = c->idt = (X86Table){ .limit = 0xffff };
}

void x86_init_reset(X86Cpu *c)
{
    x86_leave_smm(c);
    memset(c->s.hot, 0, sizeof c->s.hot);
    reset_segments(c);
    uint32_t sig[4];
    x86_cpuid(c, 1, 0, sig);
    c->s.hot[RDX] = sig[0];
    *x86_pc(c) = 0xfff0;
    *x86_flags(c) = FL_1;
    c->cr0 = (c->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
    c->cr2 = c->cr3 = c->cr4 = 0;
    memset(c->dr, 0, sizeof c->dr);
    c->dr[6] = 0xffff0ff0;
    c->dr[7] = 0x400;
    c->cpl = 0;
    c->efer = 0;
    c->kernel_gs_base = 0;
    c->shadow = 0;
    c->halted = c->nmi_blocked = false;
    c->wait_sipi = c->port.cpu_index != 0;      /* SDM vol. 3, 9.4.3: all but the boot processor */
    c->exc_pending = c->exc_noncanonical = c->exc_kept = c->delivering = false;
    c->exc_dr6 = c->trap_dr6 = 0;
    c->no_break = c->rf_done = c->rep_inside = false;
    x86_debug_changed(c);
    c->irq_held = false;
    c->cur_view = ~0u;
    x86_tlb_forget(c);
    x86_mode_changed(c);
}

void x86_reset(X86Cpu *c)
{
    memset(c->ymm, 0, sizeof c->ymm);
    memset(c->fpr, 0, sizeof c->fpr);
    c->fcw = 0x40;
    c->fsw = c->fop = c->fcs = c->fds = 0;
    c->fip = c->fdp = 0;
    c->fpu_top = 0;
    c->fpu_empty = 0;                   /* tag word 5555h: not empty, zero */
    c->cr0 = CR0_CD | CR0_NW;
    c->xcr0 = 1;
    c->pkru = 0;
    c->star = c->lstar = c->cstar = c->sfmask = 0;
    c->sysenter_cs = c->sysenter_esp = c->sysenter_eip = 0;
    c->tsc_aux = c->spec_ctrl = c->xss = c->debugctl = c->mcg_status = 0;
    c->pat = 0x0007040600070406;
    c->mtrr_def = 0;
    memset(c->mtrr_fixed, 0, sizeof c->mtrr_fixed);
    memset(c->mtrr_var, 0, sizeof c->mtrr_var);
    c->a20_off = atomic_load(&c->port.lines) & LINE_A20M;
    x86_smm_reset(c);
    if (c->ferr) {
        c->ferr = false;
        c->port.ferr(c->port.ferr_self, c->port.cpu_index, false);
    }
    c->misc_enable = 1;                 /* fast strings */
    c->tsc_adjust = 0;
    memset(c->pv_msr, 0, sizeof c->pv_msr);
    c->pv_msr[PV_POLL_CONTROL] = 1;
    c->tsc_offset = -c->hooks->now_ns(&c->s);
    x86_set_mxcsr(c, 0x1f80);
    x86_init_reset(c);
}

/* --- direct boot */

enum { BOOT_CS = 0x10, BOOT_DS = 0x18 };

/* Memory types as firmware leaves them: write-back, but uncached above 640 KiB and where devices are below
 * 4 GiB. Kernels make no use of the PAT while the MTRRs are off. */
static void boot_mtrrs(X86Cpu *c)
{
    enum { ENABLE = 0xc00, WB = 6, VALID = 0x800 };
    const uint64_t wb = 0x0606060606060606, wp = 0x0505050505050505;
    c->mtrr_fixed[0] = c->mtrr_fixed[1] = wb; /* to 512 KiB, to 640 KiB; [2], video memory: uncached */
    for (unsigned i = 3; i < 11; i++)
        c->mtrr_fixed[i] = wp;
    c->mtrr_var[0] = 0xc0000000;
    c->mtrr_var[1] = ((UINT64_C(1) << c->model->phys_bits) - 0x40000000) | VALID;
    c->mtrr_def = ENABLE | WB;
}

static void boot_segments(X86Cpu *c, uint32_t code_width, uint64_t gdt, uint16_t gdt_limit)
{
    static const uint8_t data[] = { ES, SS, DS, FS, GS };
    x86_set_seg_flat(c, CS, BOOT_CS, SEG_G | SEG_P | SEG_S | 0xb00 | code_width);
    for (unsigned i = 0; i < sizeof data; i++)
        x86_set_seg_flat(c, data[i], BOOT_DS, SEG_G | SEG_DB | SEG_P | SEG_S | 0x300);
    c->gdt = (X86Table){ gdt, gdt_limit };
    c->idt = (X86Table){ 0, 0 };
    c->cpl = 0;
    if (x86_has(c, X86F_MTRR))
        boot_mtrrs(c);
}

void x86_enter_long(X86Cpu *c, uint64_t rip, uint64_t rsi, uint64_t rsp, uint64_t cr3, uint64_t gdt,
                    uint16_t gdt_limit)
{
    boot_segments(c, SEG_L, gdt, gdt_limit);
    c->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
    c->cr3 = cr3;
    c->cr4 = CR4_PAE;
    c->efer = EFER_LME | EFER_LMA;
    c->s.hot[RSI] = rsi;
    c->s.hot[RSP] = rsp;
    *x86_pc(c) = rip;
    x86_tlb_forget(c);
    x86_mode_changed(c);
}

void x86_enter_protected(X86Cpu *c, uint32_t eip, uint32_t ebx, uint32_t esi, uint64_t gdt,
                         uint16_t gdt_limit)
{
    boot_segments(c, SEG_DB, gdt, gdt_limit);
    c->cr0 = CR0_PE | CR0_ET;
    c->s.hot[RBX] = ebx;
    c->s.hot[RSI] = esi;
    *x86_pc(c) = eip;
    x86_tlb_forget(c);
    x86_mode_changed(c);
}

/* --- allocation */

static uint64_t tsc_at(CpuPort *port, uint64_t now_ns)
{
    return now_ns + CONTAINER_OF(port, X86Cpu, port)->tsc_offset;
}
static uint64_t ns_of_tsc(CpuPort *port, uint64_t tsc)
{
    return tsc - CONTAINER_OF(port, X86Cpu, port)->tsc_offset;
}

X86Cpu *x86_cpu_new(const X86Model *model, const CpuHooks *hooks)
{
    X86Cpu *c = g_aligned_alloc0(1, (sizeof *c + 63) & ~(size_t)63, 64);
    c->model = model;
    c->hooks = hooks;
    c->walk_gen = 1;
    c->port.tsc_hz = X86_TSC_HZ;
    c->port.tsc_at = tsc_at;
    c->port.ns_of_tsc = ns_of_tsc;
    return c;
}

void x86_cpu_free(X86Cpu *c) { g_aligned_free(c); }
