/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86 CPU for debuggers: registers in gdb's order and form, page tables without side effects.
 * Sources: gdb's manual, appendix "Standard Target Features" (i386); SDM vol. 3, chapter 4; vol. 1, 8.1. */
#include <string.h>

#include "memory/space.h"
#include "target/x86/debug.h"
#include "target/x86/x87.h"
#include "util/endian.h"

/* --- registers.  An id is a class and a number in it. */

enum { R_GPR = 0x000, R_SEL = 0x100, R_BASE = 0x200, R_ST = 0x300, R_XMM = 0x400, R_YMMH = 0x500, R_CR = 0x600, R_ONE = 0x700 };
enum { ONE_PC, ONE_FLAGS, ONE_FCTRL, ONE_FSTAT, ONE_FTAG, ONE_FISEG, ONE_FIOFF, ONE_FOSEG, ONE_FOOFF, ONE_FOP, ONE_MXCSR,
       ONE_KERNEL_GS, ONE_EFER };

#define GPR64(n, r) { n, "int64", NULL, 64, R_GPR + r }
#define GPR32(n, r) { n, "int32", NULL, 32, R_GPR + r }
#define SEL(n, s)   { n, "int32", NULL, 32, R_SEL + s }
#define ST(i)       { "st" #i, "i387_ext", NULL, 80, R_ST + i }
#define X87(n, r)   { n, "int", "float", 32, R_ONE + r }
#define XMM(i)      { "xmm" #i, "vec128", NULL, 128, R_XMM + i }
#define YMMH(i)     { "ymm" #i "h", "uint128", NULL, 128, R_YMMH + i }
#define SYS64(n, r) { n, "int64", "system", 64, r }

#define SELECTORS SEL("cs", CS), SEL("ss", SS), SEL("ds", DS), SEL("es", ES), SEL("fs", FS), SEL("gs", GS)
#define FLOATS \
    ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7), X87("fctrl", ONE_FCTRL), X87("fstat", ONE_FSTAT), \
    X87("ftag", ONE_FTAG), X87("fiseg", ONE_FISEG), X87("fioff", ONE_FIOFF), X87("foseg", ONE_FOSEG), \
    X87("fooff", ONE_FOOFF), X87("fop", ONE_FOP)
#define EIGHT(R) R(0), R(1), R(2), R(3), R(4), R(5), R(6), R(7)
#define SIXTEEN(R) EIGHT(R), R(8), R(9), R(10), R(11), R(12), R(13), R(14), R(15)
#define MXCSR { "mxcsr", "i386_mxcsr", "vector", 32, R_ONE + ONE_MXCSR }
#define SYSTEM SYS64("cr0", R_CR + 0), SYS64("cr2", R_CR + 2), SYS64("cr3", R_CR + 3), SYS64("cr4", R_CR + 4), \
               SYS64("cr8", R_CR + 8), SYS64("efer", R_ONE + ONE_EFER)

static const DebugReg core64[] = {
    GPR64("rax", RAX), GPR64("rbx", RBX), GPR64("rcx", RCX), GPR64("rdx", RDX), GPR64("rsi", RSI), GPR64("rdi", RDI),
    { "rbp", "data_ptr", NULL, 64, R_GPR + RBP }, { "rsp", "data_ptr", NULL, 64, R_GPR + RSP },
    GPR64("r8", R8), GPR64("r9", R9), GPR64("r10", R10), GPR64("r11", R11), GPR64("r12", R12), GPR64("r13", R13),
    GPR64("r14", R14), GPR64("r15", R15), { "rip", "code_ptr", NULL, 64, R_ONE + ONE_PC },
    { "eflags", "i386_eflags", NULL, 32, R_ONE + ONE_FLAGS }, SELECTORS, FLOATS,
};
static const DebugReg core32[] = {
    GPR32("eax", RAX), GPR32("ecx", RCX), GPR32("edx", RDX), GPR32("ebx", RBX),
    { "esp", "data_ptr", NULL, 32, R_GPR + RSP }, { "ebp", "data_ptr", NULL, 32, R_GPR + RBP },
    GPR32("esi", RSI), GPR32("edi", RDI), { "eip", "code_ptr", NULL, 32, R_ONE + ONE_PC },
    { "eflags", "i386_eflags", NULL, 32, R_ONE + ONE_FLAGS }, SELECTORS, FLOATS,
};
static const DebugReg sse64[] = { SIXTEEN(XMM), MXCSR };
static const DebugReg sse32[] = { EIGHT(XMM), MXCSR };
static const DebugReg segments[] = {
    { "fs_base", "int64", NULL, 64, R_BASE + FS }, { "gs_base", "int64", NULL, 64, R_BASE + GS },
};
static const DebugReg system64[] = { SYS64("k_gs_base", R_ONE + ONE_KERNEL_GS), SYSTEM };
static const DebugReg system32[] = { SYSTEM };
static const DebugReg avx64[] = { SIXTEEN(YMMH) };
static const DebugReg avx32[] = { EIGHT(YMMH) };

#define FLAG(n, b) "<field name=\"" n "\" start=\"" #b "\" end=\"" #b "\"/>"
static const char flags_types[] =
    "<flags id=\"i386_eflags\" size=\"4\">" FLAG("CF", 0) FLAG("", 1) FLAG("PF", 2) FLAG("AF", 4) FLAG("ZF", 6) FLAG("SF", 7)
    FLAG("TF", 8) FLAG("IF", 9) FLAG("DF", 10) FLAG("OF", 11) FLAG("NT", 14) FLAG("RF", 16) FLAG("VM", 17) FLAG("AC", 18)
    FLAG("VIF", 19) FLAG("VIP", 20) FLAG("ID", 21) "</flags>";
static const char vector_types[] =
    "<vector id=\"v8bf16\" type=\"bfloat16\" count=\"8\"/>"
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\"><field name=\"v8_bfloat16\" type=\"v8bf16\"/><field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
    "<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
    "<flags id=\"i386_mxcsr\" size=\"4\">" FLAG("IE", 0) FLAG("DE", 1) FLAG("ZE", 2) FLAG("OE", 3) FLAG("UE", 4) FLAG("PE", 5)
    FLAG("DAZ", 6) FLAG("IM", 7) FLAG("DM", 8) FLAG("ZM", 9) FLAG("OM", 10) FLAG("UM", 11) FLAG("PM", 12) FLAG("FZ", 15)
    "</flags>";

#define FEATURE(name, types, regs) { name, types, regs, G_N_ELEMENTS(regs) }
static const DebugFeature features64[] = {
    FEATURE("org.gnu.gdb.i386.core", flags_types, core64), FEATURE("org.gnu.gdb.i386.sse", vector_types, sse64),
    FEATURE("org.gnu.gdb.i386.segments", NULL, segments), FEATURE("org.rhea.i386.system", NULL, system64),
    FEATURE("org.gnu.gdb.i386.avx", NULL, avx64),
};
static const DebugFeature features32[] = {
    FEATURE("org.gnu.gdb.i386.core", flags_types, core32), FEATURE("org.gnu.gdb.i386.sse", vector_types, sse32),
    FEATURE("org.rhea.i386.system", NULL, system32), FEATURE("org.gnu.gdb.i386.avx", NULL, avx32),
};

static bool has_long(const CpuState *s) { return x86_has((const X86Cpu *)s, X86F_LM); }

static const char *arch(const CpuState *s) { return has_long(s) ? "i386:x86-64" : "i386"; }

/* The last one is there with AVX only. */
static const DebugFeature *features(const CpuState *s, unsigned *n)
{
    *n = (has_long(s) ? G_N_ELEMENTS(features64) : G_N_ELEMENTS(features32)) - !x86_has((const X86Cpu *)s, X86F_AVX);
    return has_long(s) ? features64 : features32;
}

/* Two bits per register: 0 valid, 1 zero, 2 special, 3 empty. */
static unsigned full_tag(const X86Cpu *c)
{
    unsigned tag = 0;
    for (unsigned i = 0; i < 8; i++) {
        const X86Fpr *r = &c->fpr[i];
        unsigned e = r->exp & 0x7fff, t = 0;
        if (c->fpu_empty >> i & 1)
            t = 3;
        else if (!e && !r->mant)
            t = 1;
        else if (!e || e == 0x7fff || !(r->mant >> 63))
            t = 2;
        tag |= t << 2 * i;
    }
    return tag;
}

static uint64_t get_one(X86Cpu *c, unsigned n)
{
    switch (n) {
    case ONE_PC:        return *x86_pc(c);
    case ONE_FLAGS:     return x86_eflags(c);
    case ONE_FCTRL:     return c->fcw;
    case ONE_FSTAT:     return (c->fsw & ~0x3800) | c->fpu_top << 11;
    case ONE_FTAG:      return full_tag(c);
    case ONE_FISEG:     return c->fcs;
    case ONE_FIOFF:     return (uint32_t)c->fip;
    case ONE_FOSEG:     return c->fds;
    case ONE_FOOFF:     return (uint32_t)c->fdp;
    case ONE_FOP:       return c->fop;
    case ONE_MXCSR:     return x86_mxcsr(c);
    case ONE_KERNEL_GS: return c->kernel_gs_base;
    default:            return c->efer;
    }
}

static uint64_t get_cr(X86Cpu *c, unsigned n)
{
    switch (n) {
    case 0:  return c->cr0;
    case 2:  return c->cr2;
    case 3:  return c->cr3;
    case 4:  return c->cr4;
    default: return c->port.intc ? c->port.intc->get_cr8(c->port.intc_self) : 0;
    }
}

static uint64_t get64(X86Cpu *c, uint16_t id)
{
    unsigned n = id & 0xff;
    switch (id & 0xff00) {
    case R_GPR:  return c->s.hot[n];
    case R_SEL:  return c->seg[n].sel;
    case R_BASE: return *x86_seg_base(c, n);
    case R_CR:   return get_cr(c, n);
    default:     return get_one(c, n);
    }
}

static void get(CpuState *s, uint16_t id, uint8_t out[DEBUG_REG_BYTES])
{
    X86Cpu *c = x86_cpu(s);
    unsigned n = id & 0xff;
    memset(out, 0, DEBUG_REG_BYTES);
    switch (id & 0xff00) {
    case R_ST:
        memcpy(out, c->fpr[(c->fpu_top + n) & 7].b, 10);
        return;
    case R_XMM:
        memcpy(out, c->ymm[n].lo.u8, 16);
        return;
    case R_YMMH:
        memcpy(out, c->ymm[n].hi.u8, 16);
        return;
    }
    uint64_t v = GUINT64_TO_LE(get64(c, id));
    memcpy(out, &v, 8);
}

static bool set_sel(X86Cpu *c, unsigned n, uint16_t sel)
{
    if (c->seg[n].sel == sel)
        return true;
    if (!x86_realish(c))
        return false;                   /* a descriptor would have to be loaded, and might fault */
    x86_set_seg_real(c, n, sel);
    x86_mode_changed(c);
    return true;
}

/* Checked as MOV to it would be; what that raises is forgotten. */
static bool set_control(X86Cpu *c, uint16_t id, uint64_t v)
{
    if (get64(c, id) == v)
        return true;
    if (c->exc_pending)
        return false;
    bool ok = id == R_ONE + ONE_EFER ? x86_set_efer(c, v) : x86_set_cr(c, id & 0xff, v);
    c->exc_pending = false;
    x86_mode_changed(c);
    return ok;
}

static void set_tag(X86Cpu *c, unsigned tag)
{
    c->fpu_empty = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tag >> 2 * i & 3) == 3)
            c->fpu_empty |= 1u << i;
}

static void set_pc(CpuState *s, uint64_t pc)
{
    X86Cpu *c = x86_cpu(s);
    if (*x86_pc(c) == pc)
        return;
    *x86_pc(c) = x86_code64(c) ? pc : (uint32_t)pc;
    c->halted = false;
}

static bool set_one(X86Cpu *c, unsigned n, uint64_t v)
{
    switch (n) {
    case ONE_PC:
        set_pc(&c->s, v);
        return true;
    case ONE_FLAGS:
        x86_set_eflags(c, v, FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_VIF | FL_VIP | FL_ID);
        x86_mode_changed(c);
        return !((v ^ x86_eflags(c)) & FL_VM);
    case ONE_FCTRL:     c->fcw = v; return true;
    case ONE_FSTAT:
        c->fsw = v & ~0x3800;
        c->fpu_top = v >> 11 & 7;
        return true;
    case ONE_FTAG:      set_tag(c, v); return true;
    case ONE_FISEG:     c->fcs = v; return true;
    case ONE_FIOFF:     c->fip = (c->fip & ~(uint64_t)UINT32_MAX) | (uint32_t)v; return true;
    case ONE_FOSEG:     c->fds = v; return true;
    case ONE_FOOFF:     c->fdp = (c->fdp & ~(uint64_t)UINT32_MAX) | (uint32_t)v; return true;
    case ONE_FOP:       c->fop = v & 0x7ff; return true;
    case ONE_MXCSR:
        if (v & ~UINT64_C(0xffff))
            return false;
        x86_set_mxcsr(c, v);
        return true;
    case ONE_KERNEL_GS: c->kernel_gs_base = v; return x86_canonical(v);
    default:            return set_control(c, R_ONE + n, v);
    }
}

static bool set(CpuState *s, uint16_t id, const uint8_t in[DEBUG_REG_BYTES])
{
    X86Cpu *c = x86_cpu(s);
    unsigned n = id & 0xff;
    uint64_t v;
    memcpy(&v, in, 8);
    v = GUINT64_FROM_LE(v);
    switch (id & 0xff00) {
    case R_GPR:
        c->s.hot[n] = v;
        return true;
    case R_SEL:
        return set_sel(c, n, v);
    case R_BASE:
        if (!x86_canonical(v))
            return false;
        *x86_seg_base(c, n) = v;
        x86_mode_changed(c);
        return true;
    case R_ST:
        memcpy(c->fpr[(c->fpu_top + n) & 7].b, in, 10);
        return true;
    case R_XMM:
        memcpy(c->ymm[n].lo.u8, in, 16);
        return true;
    case R_YMMH:
        memcpy(c->ymm[n].hi.u8, in, 16);
        return true;
    case R_CR:
        return set_control(c, id, v);
    default:
        return set_one(c, n, v);
    }
}

/* --- names of the monitor's expressions: gdb's, "pc", "eax" to "edi", and segment parts as "cs.base" */

static const DebugReg *find(const DebugReg *r, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (r[i].bits <= 64 && !strcmp(r[i].name, name))
            return &r[i];
    return NULL;
}

static bool segment_part(X86Cpu *c, const char *name, uint64_t *v)
{
    static const char *const names[N_SEG_REGS] = { "es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr" };
    for (unsigned i = 0; i < N_SEG_REGS; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(name, names[i], n))
            continue;
        const X86Seg *g = &c->seg[i];
        if (!name[n])
            *v = g->sel;
        else if (!strcmp(name + n, ".base"))
            *v = i < N_SEGS ? *x86_seg_base(c, i) : g->base;
        else if (!strcmp(name + n, ".limit"))
            *v = g->limit;
        else
            continue;
        return true;
    }
    return false;
}

static bool lookup(CpuState *s, const char *name, uint64_t *v)
{
    X86Cpu *c = x86_cpu(s);
    unsigned n;
    if (!strcmp(name, "pc"))
        name = "rip";
    else if (!strcmp(name, "sp"))
        name = "rsp";
    else if (!strcmp(name, "fp"))
        name = "rbp";
    if (segment_part(c, name, v))
        return true;
    const DebugReg *r = NULL;
    for (unsigned i = 0, k = G_N_ELEMENTS(features64); i < k && !r; i++)
        r = find(features64[i].regs, features64[i].n, name);
    if (!r)
        r = find(core32, G_N_ELEMENTS(core32), name);
    for (n = 0; n < 8; n++)             /* DR0 to DR7 are gdb's own business, so not in its list */
        if (!r && name[0] == 'd' && name[1] == 'r' && name[2] == '0' + (int)n && !name[3]) {
            *v = c->dr[n];
            return true;
        }
    if (!r)
        return false;
    *v = get64(c, r->id);
    if (r->bits < 64)
        *v &= (UINT64_C(1) << r->bits) - 1;
    return true;
}

static unsigned word_bits(const CpuState *s)
{
    const X86Cpu *c = (const X86Cpu *)s;
    return x86_code64(c) ? 64 : c->seg[CS].attr & SEG_DB ? 32 : 16;
}

static const char *state(const CpuState *s)
{
    const X86Cpu *c = (const X86Cpu *)s;
    return c->wait_sipi ? "waiting for start-up" : c->halted ? "halted" : "running";
}

/* --- page tables */

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PS = 0x80, PTE_G = 0x100 };
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDR UINT64_C(0x000ffffffffff000)

typedef struct Tables {
    const X86Cpu *c;
    Space        *mem;
    bool          pae;
    DebugMapFn   *fn;
    void         *self;
    unsigned      left;                 /* entries that list() may look at */
} Tables;

/* RAM of n entries from `at` on; NULL: there is none. */
static const uint8_t *entries(const Tables *t, uint64_t at, unsigned n)
{
    MemSection sec;
    return space_lookup(t->mem, at, &sec) && sec.host && sec.len >= n * (t->pae ? 8 : 4) ? sec.host : NULL;
}

/* Entry i, if it is present. */
static bool get_entry(const Tables *t, const uint8_t *table, unsigned i, uint64_t *e)
{
    *e = t->pae ? load_le64(table + 8 * i) : load_le32(table + 4 * i);
    return *e & PTE_P;
}

static unsigned shift_of(const Tables *t, unsigned level) { return t->pae ? 12 + 9 * (level - 1) : level == 2 ? 22 : 12; }

static bool is_large(const Tables *t, unsigned level, uint64_t e)
{
    return level == 1 || ((e & PTE_PS) && level < 4 && (t->pae || (t->c->cr4 & CR4_PSE)));
}

static uint64_t base_of(const Tables *t, unsigned level, uint64_t e)
{
    unsigned shift = shift_of(t, level);
    if (!t->pae)                        /* PSE-36 */
        return level == 2 ? (e & 0xffc00000) | (e >> 13 & 0xff) << 32 : e & 0xfffff000;
    return e & PTE_ADDR & ~((UINT64_C(1) << shift) - 1);
}

static unsigned start(Tables *t, const X86Cpu *c, Space *mem, uint64_t *table)
{
    *t = (Tables){ .c = c, .mem = mem, .pae = c->cr4 & CR4_PAE };
    if (!t->pae) {
        *table = c->cr3 & 0xfffff000;
        return 2;
    }
    *table = x86_long(c) ? c->cr3 & PTE_ADDR : c->cr3 & 0xffffffe0;
    return x86_long(c) ? 4 : 3;
}

static bool translate(const CpuState *s, Space *mem, uint64_t va, uint64_t *pa, uint64_t *len)
{
    const X86Cpu *c = (const X86Cpu *)s;
    if (!x86_long(c))
        va = (uint32_t)va;
    if (!(c->cr0 & CR0_PG)) {
        *pa = va;
        *len = PAGE_SIZE - va % PAGE_SIZE;
    } else {
        Tables t;
        uint64_t table, e;
        unsigned level = start(&t, c, mem, &table);
        if (x86_long(c) && !x86_canonical(va))
            return false;
        for (;; level--) {
            unsigned shift = shift_of(&t, level);
            const uint8_t *p = entries(&t, table + (va >> shift & (t.pae ? 511 : 1023)) * (t.pae ? 8 : 4), 1);
            if (!p || !get_entry(&t, p, 0, &e))
                return false;
            if (is_large(&t, level, e)) {
                uint64_t size = UINT64_C(1) << shift;
                *pa = base_of(&t, level, e) + (va & (size - 1));
                *len = size - (va & (size - 1));
                break;
            }
            table = e & PTE_ADDR;
        }
    }
    if (c->a20_off) {
        *pa &= ~(UINT64_C(1) << 20);
        *len = MIN(*len, PAGE_SIZE - *pa % PAGE_SIZE);
    }
    return true;
}

/* One table, and those below it.  False: enough. */
static bool list(Tables *t, unsigned level, uint64_t table, uint64_t va, uint64_t rights)
{
    unsigned shift = shift_of(t, level), n = !t->pae ? 1024 : level == 3 && !x86_long(t->c) ? 4 : 512;
    const uint8_t *p = entries(t, table, n);
    if (!p)
        return true;
    if (t->left < n)
        return false;
    t->left -= n;
    for (unsigned i = 0; i < n; i++) {
        uint64_t e, at = va + ((uint64_t)i << shift);
        if (!get_entry(t, p, i, &e))
            continue;
        if (level == 4 && at >> 47)
            at |= UINT64_C(0xffff) << 48;
        uint64_t r = level == 3 && n == 4 ? rights : (rights & (e | ~(uint64_t)(PTE_W | PTE_U))) | (e & PTE_NX);
        if (!is_large(t, level, e)) {
            if (!list(t, level - 1, e & PTE_ADDR, at, r))
                return false;
            continue;
        }
        DebugMap m = {
            .va = at, .pa = base_of(t, level, e), .len = UINT64_C(1) << shift, .page_len = UINT64_C(1) << shift,
            .writable = r & PTE_W, .user = r & PTE_U, .executable = !(r & PTE_NX), .global = e & PTE_G, .raw = e,
        };
        if (!t->fn(t->self, &m))
            return false;
    }
    return true;
}

static bool maps(const CpuState *s, Space *mem, DebugMapFn *fn, void *self)
{
    const X86Cpu *c = (const X86Cpu *)s;
    Tables t;
    uint64_t table;
    if (!(c->cr0 & CR0_PG))
        return true;
    unsigned level = start(&t, c, mem, &table);
    t.fn = fn;
    t.self = self;
    t.left = 1 << 24;                   /* 64 GiB by small pages */
    return list(&t, level, table, 0, PTE_W | PTE_U);
}

const TargetDebug x86_debug = {
    .arch = arch, .features = features, .get = get, .set = set, .lookup = lookup, .set_pc = set_pc, .word_bits = word_bits,
    .translate = translate, .maps = maps, .state = state, .settle = x86_settle, .points = x86_debug_points,
    .at_insn = x86_debug_insn, .watched = x86_debug_watched, .faulted = x86_debug_faulted,
};
