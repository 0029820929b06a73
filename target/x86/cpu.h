/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86 CPU: its state, the slots that generated code sees, and what its parts offer to each other.
 * Sources: AMD64 Architecture Programmer's Manual (APM) vol. 1-5, Intel SDM vol. 1-4. */
#ifndef RHEA_TARGET_X86_CPU_H
#define RHEA_TARGET_X86_CPU_H

#include "target/port.h"
#include "target/target.h"
#include "util/describe.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum { ES, CS, SS, DS, FS, GS, N_SEGS, LDTR = N_SEGS, TR, N_SEG_REGS };

/* EFLAGS */
enum {
    FL_CF = 1, FL_1 = 2, FL_PF = 4, FL_AF = 0x10, FL_ZF = 0x40, FL_SF = 0x80, FL_TF = 0x100, FL_IF = 0x200, FL_DF = 0x400,
    FL_OF = 0x800, FL_IOPL = 0x3000, FL_NT = 0x4000, FL_RF = 0x10000, FL_VM = 0x20000, FL_AC = 0x40000,
    FL_VIF = 0x80000, FL_VIP = 0x100000, FL_ID = 0x200000,
    FL_ARITH = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};

/* Arithmetic flags are kept as (operation, operands): cc_op and cc_a, cc_b, cc_c at the operand size in the low bits
 * (upper bits of the operand slots are ignored).  CCF_CARRY: CF is cc_cf (0 or 1), CCF_OVF: OF is cc_of, all others as
 * the operation says: BT, CLC, STC, CMC and most rotates set only the carry, ADCX and ADOX one of the two.  They are bytes,
 * which is what SETcc leaves.
 *  CCF_INC, CCF_DEC: an INC or DEC
 * came after the operation: its result is cc_d, CF is that of the operation, so that nobody need compute it. */
typedef enum CcOp {
    CC_EFLAGS,          /* a: the flags at their EFLAGS places */
    CC_ADD = 4,         /* a result, b second operand; + size (0: 8 bits .. 3: 64) here and below */
    CC_SUB = 8,         /* a result, b subtrahend */
    CC_CMP = 12,        /* a minuend, b subtrahend */
    CC_LOGIC = 16,      /* a result; CF, OF, AF 0 */
    CC_ADC = 20,        /* a result, b and c operands */
    CC_SBB = 24,        /* a result, b minuend, c subtrahend */
    CC_SHL = 28,        /* a result, b operand, c count (masked, not 0); OF as for a count of 1; AF 0.  SHLD too */
    CC_SHR = 32,        /* the same.  SHRD too */
    CC_SAR = 36,        /* the same */
    CC_IMUL = 40,       /* a, b factors: CF, OF: the signed product does not fit; SF, PF of the low half; ZF, AF 0 */
    CC_UMUL = 44,       /* the same, unsigned */
    CCF_OVF = 0x40,
    CCF_CARRY = 0x80,
    CCF_ALL = CCF_OVF | CCF_CARRY,
    CCF_INC = 0x100, CCF_DEC = 0x200,       /* with CCF_OVF: OF is newer than they are */
    CCF_STEP = CCF_INC | CCF_DEC,
    CCF_STEP_SIZE = 10, /* shift: size of the operand of INC or DEC, 0: 8 bits .. 3: 64 */
} CcOp;

/* Slots.  The first 32 live in CpuState.hot. */
enum {
    X_RAX, X_RCX, X_RDX, X_RBX, X_RSP, X_RBP, X_RSI, X_RDI, X_R8, X_R9, X_R10, X_R11, X_R12, X_R13, X_R14, X_R15,
    X_PC,               /* RIP / EIP: the offset in CS, of the next instruction */
    X_CC_A, X_CC_B, X_CC_C,                     /* i64 */
    X_CC_OP, X_CC_CF,                           /* i32, i8 */
    X_EFLAGS,           /* i64: all but the arithmetic flags (those bits are 0), bit 1 set */
    X_ES_BASE, X_CS_BASE, X_SS_BASE, X_DS_BASE, X_FS_BASE, X_GS_BASE,           /* i64 */
    X_XMM0,                                     /* v128, 16 of them */
    X_XMM_TMP = X_XMM0 + 16,                    /* v128: memory operands of helpers that work on slots */
    X_HELPER_RET,                               /* i64: CpuState.helper_ret */
    X_SCRATCH,                                  /* v128: CpuState.scratch */
    X_MXCSR,                                    /* i32 */
    X_FPU,                                      /* a token: all the x87/MMX state, for helpers' reads and writes */
    X_SYS,                                      /* a token: control registers, descriptor tables, MSRs, CPL, mode */
    X_KERNEL_GS,                                /* i64: kernel_gs_base */
    X_CR4,                                      /* i64: read only, for checks: MOV to CR4 goes through x86_set_cr() */
    X_SHADOW,                                   /* i8: after STI and MOV SS, see X86Cpu.shadow */
    X_CC_D,             /* i64 */
    X_CC_OF,            /* i8 */
    X_CS_LIMIT,         /* i32, read only */
    X_CR0, X_CR2, X_CR3,                        /* i64: as X_CR4 */
    X_CTX, X_AC_CTX,                            /* i64: the TLB context, and the one to go to when AC changes */
    X_YMMH0 = 64,       /* v128, 16 of them: upper halves; X_XMM0 + n lies right below X_YMMH0 + n in the struct */
    X_VTMP0 = X_YMMH0 + 16,                     /* v128, 6 of them: three operands of AVX helpers, two halves each */
    X_N_SLOTS = X_VTMP0 + 6
};
extern const SlotTable x86_slots;

#define SLOTS_GPR  0x000000000000ffffull
#define SLOTS_PC   (1ull << X_PC)
#define SLOTS_CC   (0x1full << X_CC_A | 3ull << X_CC_D)
#define SLOTS_FL   (SLOTS_CC | 1ull << X_EFLAGS)
#define SLOTS_BASE (0x3full << X_ES_BASE)
#define SLOTS_XMM  (0x1ffffull << X_XMM0)       /* with XMM_TMP */
#define SLOT_BIT(s) (1ull << (s))               /* of SlotSet.w[0], where all are but the upper halves */
#define SLOTS_ALL  (~0ull)
#define SLOTS_YMMH 0xffffull                    /* of SlotSet.w[1] */
#define SLOTS_VTMP 0x3f0000ull                  /* the same */

typedef struct X86Seg {         /* attr: bits 8..23 of the descriptor's second word at their places (0x00f0ff00) */
    uint16_t sel;
    uint32_t limit;             /* in bytes */
    uint32_t attr;
    uint64_t base;              /* FS, GS, ... : the slot is the truth for segments 0..5, see cpu->hot / seg_base() */
} X86Seg;
enum { SEG_TYPE = 0xf00, SEG_S = 0x1000, SEG_DPL_SHIFT = 13, SEG_P = 0x8000, SEG_L = 0x200000, SEG_DB = 0x400000, SEG_G = 0x800000 };

typedef struct X86Table { uint64_t base; uint16_t limit; } X86Table;

typedef struct X86Ymm { V128 lo /* XMM */, hi; } __attribute__((aligned(32))) X86Ymm;

typedef union X86Fpr { struct { uint64_t mant; uint16_t exp; }; uint8_t b[16]; } X86Fpr;

enum {
    CR0_PE = 1, CR0_MP = 2, CR0_EM = 4, CR0_TS = 8, CR0_ET = 16, CR0_NE = 32, CR0_WP = 1 << 16, CR0_AM = 1 << 18,
    CR0_NW = 1 << 29, CR0_CD = 1 << 30,
    CR4_VME = 1, CR4_PVI = 2, CR4_TSD = 4, CR4_DE = 8, CR4_PSE = 16, CR4_PAE = 32, CR4_MCE = 64, CR4_PGE = 128, CR4_PCE = 256,
    CR4_OSFXSR = 512, CR4_OSXMMEXCPT = 1024, CR4_UMIP = 2048, CR4_FSGSBASE = 1 << 16, CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18, CR4_SMEP = 1 << 20, CR4_SMAP = 1 << 21, CR4_PKE = 1 << 22,
    EFER_SCE = 1, EFER_LME = 256, EFER_LMA = 1024, EFER_NXE = 2048, EFER_FFXSR = 1 << 14, EFER_AIBRSE = 1 << 21,
};
#define CR0_PG 0x80000000u
enum { XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };
enum { PV_POLL_CONTROL = 5, N_PV_MSRS = 7 };   /* of KVM's own MSRs, from 4b564d00 on */

/* Vectors */
enum {
    EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_TS = 10, EXC_NP, EXC_SS, EXC_GP, EXC_PF,
    EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM,
};

/* Mode key: the 16 bits of Target.mode_key, of the translation key and of jump tags. */
enum {
    MODE_CS16 = 0, MODE_CS32 = 1, MODE_CS64 = 2, MODE_CS = 3,   /* default operand and address size */
    MODE_CPL = 3 << 2, MODE_CPL_SHIFT = 2,
    MODE_SS32 = 1 << 4,         /* stack address size 32 (not in 64-bit mode) */
    MODE_BASES = 1 << 5,        /* some base of ES CS SS DS is not 0: add them (FS and GS are always added) */
    MODE_TF = 1 << 6,           /* single step: one-instruction blocks that end with a #DB */
    MODE_FPU_NM = 1 << 7,       /* CR0.TS or EM: x87/MMX raise #NM; with TS, SSE too */
    MODE_SSE_UD = 1 << 8,       /* CR4.OSFXSR clear or CR0.EM: SSE raises #UD */
    MODE_FPEXC = 1 << 9,        /* MXCSR unmasks some exception: SSE FP goes the checked way */
    MODE_AVX_UD = 1 << 10,      /* CR4.OSXSAVE clear or XCR0 without SSE and AVX: AVX raises #UD */
    /* bit 11 is free: x87 helpers index the register stack with the TOP of the CPU struct, so that code need not
     * be translated once per TOP */
    MODE_AC = 1 << 12,          /* CR0.AM, EFLAGS.AC, privilege 3: accesses must be aligned */
    MODE_REAL = 1 << 13,        /* real or virtual-8086 mode */
    MODE_LIMITS = 1 << 14,      /* some segment is not flat 4 GiB (or expands down, or is null): check limits */
    MODE_IOPL = 1 << 15,        /* CPL <= IOPL: CLI, STI, IN, OUT need no further checks */
};

/* X86Cpu.shadow */
enum { SHADOW_STI = 1, SHADOW_SS = 2 /* MOV SS, POP SS: no debug exception either (SDM vol. 3, 6.8.3) */ };

/* TLB views */
enum { VIEW_KERNEL /* SMAP not in force */, VIEW_SMAP, VIEW_USER };

enum { X86_TSC_HZ = 1000000000 };       /* the TSC counts the virtual clock's nanoseconds */

/* CPUID features: X86F_FPU ... */
enum {
    X86F_NONE,
#define F(id, name, leaf, sub, reg, bit, have) X86F_##id,
#include "target/x86/features.def"
#undef F
    X86F_N
};

/* FEAT_ASKED: emulated, but part of a model only if asked for.  FEAT_HOST: not emulated; an accelerator may have it from its
 * host, no state of the processor hangs on it that is not kept here. */
typedef enum X86Have { FEAT_NO, FEAT_YES, FEAT_ASKED, FEAT_HOST } X86Have;

typedef struct X86Feature {             /* a row of features.def */
    const char *names;
    uint32_t    leaf;
    uint8_t     sub, reg, bit;
    uint8_t     have;                   /* X86Have */
} X86Feature;

typedef struct X86Caches {              /* CPUID's view of them: leaves 2, 80000005h, 80000006h; 4 or 8000001Dh by subleaf */
    uint32_t    descriptors[4], l1[4], l2[4], cache[4][4];
} X86Caches;

typedef struct X86Model {               /* cpuid.c: what CPUID says */
    const char *name, *vendor, *brand;  /* vendor: 12 characters */
    uint32_t    family, model, stepping, level, xlevel;
    const X86Caches *caches;            /* NULL: no such leaves */
    bool        intel;                  /* by the vendor: where Intel's processors and AMD's differ */
    uint8_t     phys_bits, virt_bits;
    uint64_t    has[4];                 /* bit X86F_* */
    uint64_t    asked[4];               /* what -cpu has switched on by name */
} X86Model;

/* cpuid.c: what XSAVE keeps, by bit of XCR0 or XSS; feature 0: there is no such component. */
typedef struct X86Component { uint8_t feature; uint16_t at, size; } X86Component;
enum { X86_COMPONENTS = 10 };
extern const X86Component x86_components[X86_COMPONENTS];

/* How many of each are in the next larger: threads in a core, cores in a die, dies in a package; 0 counts as 1. */
typedef struct X86Topology { uint16_t threads, cores, dies; } X86Topology;

/* A page table found by walking to it, with the rights gathered on the way: see mmu.c. */
typedef struct X86Walk { uint64_t tag, table; uint32_t gen, rights; } X86Walk;
enum { X86_WALKS = 128 };

typedef struct X86Cpu {
    CpuState        s;          /* first; GPRs hot[0..15], PC hot[16], CC_A.. hot[17..19], CC_OP hot[20] lo, CC_CF and CC_OF above it,
                                 * EFLAGS hot[21], segment bases hot[22..27], CC_D hot[28] */
    X86Ymm          ymm[16];    /* halves side by side: generated code reads and writes both at once */
    V128            xmm_tmp;
    V256            vtmp[3];
    uint32_t        mxcsr;      /* guest's; sticky flags of the run are merged when someone looks: x86_mxcsr() */

    /* x87: fpr[] by physical number; TOP in fpu_top; tag: bit i set = register i empty */
    X86Fpr          fpr[8];
    uint16_t        fcw, fsw /* without TOP */, fop;
    uint8_t         fpu_top, fpu_empty;
    uint16_t        fpu_store_sw;       /* between the halves of an x87 store: status word to be, see helper_x87.c */
    uint64_t        fip, fdp;
    uint16_t        fcs, fds;

    X86Seg          seg[N_SEG_REGS];    /* base of ES..GS: in the slots, see x86_seg_base() */
    X86Table        gdt, idt;
    uint64_t        cr0, cr2, cr3, cr4, xcr0, dr[8];
    uint8_t         cpl;
    bool            halted, nmi_blocked, a20_off;
    uint8_t         shadow;             /* SHADOW_*: no interrupt before the next instruction has run.  The row sets it
                                         * and X86Trans.shadow; the driver clears it with the next one */
    uint64_t        efer, star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip,
                    tsc_aux, pat, tsc_offset, apic_base_hint, spec_ctrl, mtrr_def, mtrr_fixed[11], mtrr_var[16], misc_enable, xss;
    /* The exception recorded by a failing walk, helper or raise; delivered by service(). */
    bool            exc_pending, exc_noncanonical;
    bool            exc_kept;           /* recorded for a state that is in place already: what a fetch records is dropped */
    uint8_t         exc_vector;
    uint32_t        exc_error;
    uint64_t        exc_cr2, exc_dr6;
    /* debug.c: enabled breakpoints by kind, a bit each; what data and I/O breakpoints the instruction has hit (or BT);
     * no instruction breakpoint before the next one; the instruction that RF was for runs */
    uint8_t         dr_exec, dr_data, dr_io;
    uint32_t        trap_dr6;
    bool            no_break, rf_done;
    bool            rep_inside;         /* the last instruction was a string one with iterations left: what comes in
                                         * between pushes RF (SDM vol. 3, 17.3.1.1) */
    bool            delivering;         /* an event is being delivered: errors carry exc_ext */
    uint8_t         exc_ext;            /* EXT bit of error codes: 1 while the event is not an INT n */
    bool            ferr;               /* FERR# is raised */
    bool            in_smm, smm_nmi_blocked;        /* the latter: nmi_blocked before the SMI */
    uint64_t        smbase;
    bool            wait_sipi;          /* after reset or INIT, not the boot processor */
    uint64_t        pdpte[4];           /* legacy PAE: loaded with CR3 */
    uint64_t        tsc_adjust, mcg_status, debugctl;
    uint32_t        pkru;
    /* What a hypervisor below leaves when it is taken away: an interrupt that its controller has given and that has not
     * been delivered; KVM's own MSRs 4b564d00 to 06, which mean nothing without it.  Of POLL_CONTROL bit 0, which the
     * guest clears when it waits for events by itself, is set at reset. */
    bool            irq_held;
    uint8_t         irq_vector;
    uint64_t        pv_msr[N_PV_MSRS];

    /* Derived: the mode key's part that hangs on CR0, CR4, MXCSR; what the TLB was last told; the page-walk cache. */
    uint32_t        key_control;
    uint32_t        cur_asid, cur_view; /* cur_view ~0: must be told again */
    uint64_t        cur_base;           /* of code, when the context was selected: its jump cache is by EIP */
    /* STAC and CLAC swap the context (CpuState.ctx) with ac_ctx, if ac_ready is 1.  cur_ctx: the one of cur_view;
     * ac_view: of the other of the two. */
    uint64_t        ac_ctx, cur_ctx;
    uint32_t        ac_ready, ac_view;
    uint32_t        walk_gen;
    X86Walk         walk[X86_WALKS];

    CpuPort         port;
    X86Topology     topology;           /* these two set by the board, with port.cpu_index, before the CPU is used */
    uint32_t        apic_id;
    const CpuHooks *hooks;
    void           *vcpu;               /* the accelerator's */
    const X86Model *model;
} X86Cpu;

static inline X86Cpu *x86_cpu(CpuState *s) { return (X86Cpu *)s; }
static inline uint64_t *x86_seg_base(X86Cpu *c, unsigned seg) { return &c->s.hot[22 + seg]; }
static inline uint32_t *x86_cc_op(X86Cpu *c) { return (uint32_t *)&c->s.hot[20]; }
/* CF in byte 0, OF in byte 1 */
static inline uint32_t *x86_cc_cf(X86Cpu *c) { return (uint32_t *)&c->s.hot[20] + 1; }

extern const Target x86_target;

/* cpu.c: allocates (64-byte aligned), all zero.  Once the accelerator has taken it in, x86_reset() makes it a CPU. */
X86Cpu  *x86_cpu_new(const X86Model *model, const CpuHooks *hooks);
void     x86_cpu_free(X86Cpu *c);
void     x86_reset(X86Cpu *c);

/* flags.c */
uint32_t x86_arith_flags(uint32_t cc_op, uint32_t cf, uint64_t a, uint64_t b, uint64_t c, uint64_t d);      /* FL_ARITH bits */
uint64_t x86_eflags(X86Cpu *c);                         /* the whole register */
void     x86_set_eflags(X86Cpu *c, uint64_t v, uint64_t mask);

/* Entry states of direct boot; on a CPU fresh from reset.  The board has written the GDT: selectors 0x10 flat code
 * (64-bit, or 32-bit for x86_enter_protected) and 0x18 flat data. */
void     x86_enter_long(X86Cpu *c, uint64_t rip, uint64_t rsi, uint64_t rsp, uint64_t cr3, uint64_t gdt, uint16_t gdt_limit);
void     x86_enter_protected(X86Cpu *c, uint32_t eip, uint32_t ebx, uint32_t esi, uint64_t gdt, uint16_t gdt_limit);
/* Saved state of everything but `model`, `hooks`, `port`; after loading: x86_restored(). */
extern const Field x86_state[];
void     x86_restored(X86Cpu *c);

/* mode.c: to be called after changes of what they derive: mode tag, TLB context, fp_control, attention. */
void     x86_mode_changed(X86Cpu *c);
bool     x86_set_cr(X86Cpu *c, unsigned n, uint64_t v); /* false: exception recorded */
bool     x86_set_efer(X86Cpu *c, uint64_t v);           /* false: #GP recorded */
void     x86_set_mxcsr(X86Cpu *c, uint32_t v);
void     x86_set_pkru(X86Cpu *c, uint32_t v);
uint32_t x86_mxcsr(X86Cpu *c);

/* seg.c */
bool     x86_load_seg(X86Cpu *c, unsigned seg, uint16_t sel);           /* MOV Sreg, POP Sreg, LxS */

uint32_t x86_mode_bits(const X86Cpu *c);                /* the mode key, computed */
void     x86_tlb_forget(X86Cpu *c);                     /* drops every translation */

/* trap.c */
void     x86_raise(X86Cpu *c, unsigned vector, uint32_t error);         /* records; whether it has a code follows from the vector */
void     x86_raise_pf(X86Cpu *c, uint64_t va, uint32_t error);
bool     x86_service(CpuState *s);
bool     x86_take_startup(X86Cpu *c);                   /* a pending reset, INIT or SIPI; false: there is none */

/* debug.c: after changes of DR0-DR3, DR7, CR4.DE; after a task switch to a task whose T bit is set, once all its state is
 * loaded: #DB with BT before its first instruction; after flags with RF or VIP have been loaded (x86_privilege_changed()
 * calls it). */
void     x86_debug_changed(X86Cpu *c);
void     x86_debug_task_trap(X86Cpu *c);
void     x86_flags_loaded(X86Cpu *c);

/* dump.c */
void     x86_dump(const CpuState *s, GString *out);

/* mmu.c */
bool     x86_mmu(CpuState *s, uint64_t va, MmuAccess acc, unsigned view, MmuResult *out);

/* msr.c: false: #GP recorded */
bool     x86_rdmsr(X86Cpu *c, uint32_t msr, uint64_t *v);
bool     x86_wrmsr(X86Cpu *c, uint32_t msr, uint64_t v);
uint64_t x86_tsc(X86Cpu *c);

/* models.c */
const X86Model *x86_model_parse(const char *spec, GError **err);        /* -cpu: "max,-sse4.2,pcid=off" */
/* The same for an accelerator that can give no more than `host` (NULL: all that is implemented), which is "host" and
 * "max" too.  What a named model has beyond that is left out with a warning (",enforce": refused); asking for it by
 * name is an error.  spec NULL: the default model, without what is beyond. */
const X86Model *x86_model_parse_for(const char *spec, const X86Model *host, GError **err);
const X86Feature *x86_feature(unsigned feature);        /* X86F_* */
void     x86_model_free(const X86Model *m);             /* after the last CPU of that model */
void     x86_models_help(GString *out);
/* topology.c: the APIC id of the CPU of that number.  What a leaf says of the topology, beside what it says else. */
uint32_t x86_apic_id(const X86Topology *t, unsigned index);
void     x86_topology_leaf(const X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
void     x86_cpuid(X86Cpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
uint64_t x86_xcr0_allowed(const X86Cpu *c);             /* bits that XSETBV may set */
uint32_t x86_xsave_size(uint64_t components, bool compact);     /* of the area, in bytes, for those components */
static inline bool x86_has(const X86Cpu *c, unsigned feature)  /* X86F_* */
{
    return c->model->has[feature / 64] >> feature % 64 & 1;
}

#endif
