/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "target/x86/translate.h"
#include "tcg/backend.h"
#include "tests/x86_fake.h"
#include "util/bits.h"

static Fake *fake_of(CpuState *s) { return x86_cpu(s)->vcpu; }

static void tlb_select(CpuState *s, uint32_t asid, unsigned view)
{
    Fake *f = fake_of(s);
    f->asid = asid;
    s->ctx = (TlbContext *)&f->views[view];
    f->selects++;
}
static void tlb_flush(CpuState *s, int32_t asid, bool globals)
{
    Fake *f = fake_of(s);
    f->flushes++;
    f->flush_asid = asid;
    f->flush_globals = globals;
}
static void tlb_flush_page(CpuState *s, int32_t asid, uint64_t va)
{
    Fake *f = fake_of(s);
    f->page_flushes++;
    f->flush_asid = asid;
    f->flush_va = va;
}

static uint8_t *byte(CpuState *s, uint64_t va, MmuAccess acc, int view)
{
    Fake *f = fake_of(s);
    MmuResult r;
    static uint8_t outside;
    if (!x86_mmu(s, va, acc, view < 0 ? fake_view(f) : (unsigned)view, &r))
        return NULL;
    outside = 0xff;
    return r.pa < FAKE_RAM ? f->ram + r.pa : &outside;
}

static bool probe(CpuState *s, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    for (unsigned i = 0; i < len; i++)
        if ((i == 0 || !((va + i) & 0xfff)) && !byte(s, va + i, acc, view))
            return false;
    return true;
}
static bool load(CpuState *s, uint64_t va, unsigned size, int view, uint64_t *v)
{
    uint64_t r = 0;
    for (unsigned i = 0; i < size; i++) {
        uint8_t *p = byte(s, va + i, ACC_READ, view);
        if (!p)
            return false;
        r |= (uint64_t)*p << 8 * i;
    }
    *v = r;
    return true;
}
static bool store(CpuState *s, uint64_t va, unsigned size, int view, uint64_t v)
{
    if (!probe(s, va, size, ACC_WRITE, view))
        return false;
    for (unsigned i = 0; i < size; i++)
        *byte(s, va + i, ACC_WRITE, view) = v >> 8 * i;
    return true;
}
static void *host(CpuState *s, uint64_t va, unsigned len, MmuAccess acc, int view)
{
    Fake *f = fake_of(s);
    X86Cpu *c = f->c, before = *c;
    if (f->no_host || (va & 0xfff) + len > 0x1000)
        return NULL;
    uint8_t *p = byte(s, va, acc, view);
    if (!p) {                           /* no fault is taken */
        c->exc_pending = before.exc_pending;
        c->exc_noncanonical = before.exc_noncanonical;
    }
    return p;
}
static void attention(CpuState *s) { fake_of(s)->attentions++; }
static void attention_after(CpuState *s) { fake_of(s)->after++; }
static uint64_t now_ns(CpuState *s) { return fake_of(s)->now; }
static uint64_t random64(CpuState *s) { (void)s; return 0x123456789abcdef0; }
static uint64_t port_load(CpuState *s, uint16_t port, unsigned size)
{
    fake_of(s)->port = port;
    return fake_of(s)->port_value & size_mask(size);
}
static void port_store(CpuState *s, uint16_t port, unsigned size, uint64_t v)
{
    fake_of(s)->port = port;
    fake_of(s)->port_value = v & size_mask(size);
}
static bool phys_load(CpuState *s, uint64_t pa, unsigned size, uint64_t *v)
{
    Fake *f = fake_of(s);
    f->phys_loads++;
    if (pa + size > FAKE_RAM)
        return false;
    *v = 0;
    memcpy(v, f->ram + pa, size);
    return true;
}
static bool phys_cas(CpuState *s, uint64_t pa, unsigned size, uint64_t old, uint64_t new_)
{
    Fake *f = fake_of(s);
    uint64_t now;
    if (f->racing) {                    /* somebody else sets a software bit first */
        f->racing = false;
        f->ram[pa + 1] |= 2;
    }
    if (!phys_load(s, pa, size, &now) || now != old)
        return false;
    memcpy(f->ram + pa, &new_, size);
    return true;
}
static bool cas(CpuState *s, uint64_t va, unsigned size, uint64_t old[2], const uint64_t new_[2])
{
    uint64_t now[2] = { 0 };
    if (!probe(s, va, size, ACC_WRITE, -1))
        return false;
    for (unsigned i = 0; i < size; i += 8)
        load(s, va + i, 8, -1, &now[i / 8]);
    if (!memcmp(now, old, size))
        for (unsigned i = 0; i < size; i += 8)
            store(s, va + i, 8, -1, new_[i / 8]);
    memcpy(old, now, size);
    return true;
}
static void triple_fault(CpuState *s) { fake_of(s)->triple++; }
static void smm(CpuState *s, bool on) { fake_of(s)->smm = on; }
static bool single_insn(const CpuState *s) { (void)s; return false; }

static const CpuHooks hooks = {
    .tlb_select = tlb_select,
    .tlb_flush = tlb_flush,
    .tlb_flush_page = tlb_flush_page,
    .load = load,
    .store = store,
    .host = host,
    .probe = probe,
    .attention = attention,
    .attention_after = attention_after,
    .now_ns = now_ns,
    .random64 = random64,
    .port_load = port_load,
    .port_store = port_store,
    .phys_load = phys_load,
    .phys_cas = phys_cas,
    .triple_fault = triple_fault,
    .smm = smm,
    .single_insn = single_insn,
    .cas = cas,
};

static int acknowledge(void *self)
{
    Fake *f = self;
    int v = f->vector;
    port_clear(&f->c->port, PORT_INTR);
    return v;
}
static bool intc_msr_read(void *self, uint32_t msr, uint64_t *v)
{
    Fake *f = self;
    *v = msr == 0x1b ? f->apic_base : f->x2apic;
    return true;
}
static bool intc_msr_write(void *self, uint32_t msr, uint64_t v)
{
    Fake *f = self;
    if (msr == 0x1b)
        f->apic_base = v;
    else
        f->x2apic = v;
    return msr != 0x802;
}
static unsigned get_cr8(void *self) { return ((Fake *)self)->cr8; }
static void set_cr8(void *self, unsigned v) { ((Fake *)self)->cr8 = v; }
static const CpuIntc intc = { acknowledge, intc_msr_read, intc_msr_write, get_cr8, set_cr8 };

Fake *fake_new(const char *model)
{
    Fake *f = g_new0(Fake, 1);
    f->ram = g_malloc0(FAKE_RAM);
    f->apic_base = 0xfee00900;
    f->c = x86_cpu_new(x86_model_parse(model, NULL), &hooks);
    f->c->vcpu = f;
    f->c->port.intc = &intc;
    f->c->port.intc_self = f;
    x86_reset(f->c);
    return f;
}

void fake_free(Fake *f)
{
    x86_model_free(f->c->model);
    x86_cpu_free(f->c);
    g_free(f->ram);
    g_free(f);
}

void fake_desc(Fake *f, uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr)
{
    uint32_t l = attr & SEG_G ? limit >> 12 : limit;
    uint64_t at = F_GDT + (sel & ~7u);
    fake_put32(f, at, base << 16 | (l & 0xffff));
    fake_put32(f, at + 4, (base & 0xff000000) | (base >> 16 & 0xff) | (l & 0xf0000) | attr);
}

void fake_gate(Fake *f, unsigned vector, uint16_t sel, uint64_t off, unsigned type, unsigned dpl,
               unsigned ist)
{
    bool wide = x86_long(f->c);
    uint64_t at = F_IDT + vector * (wide ? 16 : 8);
    fake_put32(f, at, (uint32_t)sel << 16 | (off & 0xffff));
    fake_put32(f, at + 4, (off & 0xffff0000) | SEG_P | dpl << 13 | type << 8 | ist);
    if (wide)
        fake_put64(f, at + 8, off >> 32);
}

enum { CODE = SEG_P | SEG_S | SEG_G | 0xb00, DATA = SEG_P | SEG_S | SEG_G | 0x300, USER = 3 << 13 };

static void tables(Fake *f, bool wide)
{
    fake_desc(f, S_KCS, 0, UINT32_MAX, CODE | (wide ? SEG_L : SEG_DB));
    fake_desc(f, S_KDS, 0, UINT32_MAX, DATA | SEG_DB);
    fake_desc(f, S_UCS32, 0, UINT32_MAX, CODE | SEG_DB | USER);
    fake_desc(f, S_UDS, 0, UINT32_MAX, DATA | SEG_DB | USER);
    fake_desc(f, S_UCS, 0, UINT32_MAX, CODE | (wide ? SEG_L : SEG_DB) | USER);
    fake_desc(f, S_KCS32, 0, UINT32_MAX, CODE | SEG_DB);
    fake_desc(f, S_TSS, F_TSS, 0x2067, SEG_P | SYS_TSS32 << 8);
    fake_desc(f, S_LDT, F_LDT, 0x17, SEG_P | SYS_LDT << 8);
    fake_desc(f, S_CONF, 0, UINT32_MAX, CODE | 0x400 | (wide ? SEG_L : SEG_DB));
    fake_desc(f, S_NP, 0, UINT32_MAX, (DATA & ~SEG_P) | SEG_DB);
    fake_desc(f, S_RO, 0, UINT32_MAX, SEG_P | SEG_S | SEG_G | SEG_DB | 0x100);
    fake_desc(f, S_XO, 0, UINT32_MAX, SEG_P | SEG_S | SEG_G | SEG_DB | 0x900);
    fake_desc(f, S_DATA16, 0x1000, 0xffff, SEG_P | SEG_S | 0x200);
    fake_desc(f, S_CS16, 0x1000, 0xffff, SEG_P | SEG_S | 0xa00);
    fake_put32(f, F_TSS + 0x64, 0xffff0000);            /* no port bitmap */
    f->c->gdt = (X86Table){ F_GDT, GDT_LIMIT };
    f->c->idt = (X86Table){ F_IDT, wide ? 0xfff : 0x7ff };
    f->c->seg[TR] =
        (X86Seg){ .sel = S_TSS, .limit = 0x2067, .attr = SEG_P | SYS_TSS32_BUSY << 8, .base = F_TSS };
    for (unsigned v = 0; v < 256; v++)
        fake_gate(f, v, S_KCS, F_HANDLER + v * 16, SYS_INT32, v == 3 || v == 4 || v == 0x80 ? 3 : 0, 0);
}

void fake_long(Fake *f)
{
    fake_put64(f, F_PML4, F_PDPT | 7);
    fake_put64(f, F_PDPT, F_PD | 7);
    for (unsigned i = 0; i < 8; i++)
        fake_put64(f, F_PD + 8 * i, (uint64_t)i << 21 | 0x80 | (i < 4 ? 3 : 7));
    x86_enter_long(f->c, F_CODE, 0, F_STACK, F_PML4, F_GDT, GDT_LIMIT);
    f->c->efer |= EFER_NXE | EFER_SCE;
    f->c->seg[CS].sel = S_KCS;
    tables(f, true);
    fake_put64(f, F_TSS + 4, F_RSP0);
    fake_put64(f, F_TSS + 36, F_IST1);
    f->c->s.hot[21] = FL_1;
    x86_mode_changed(f->c);
}

void fake_protected(Fake *f)
{
    x86_enter_protected(f->c, F_CODE, 0, 0, F_GDT, GDT_LIMIT);
    tables(f, false);
    fake_put32(f, F_TSS + 4, F_RSP0);
    fake_put32(f, F_TSS + 8, S_KDS);
    f->c->s.hot[RSP] = F_STACK;
    f->c->s.hot[21] = FL_1;
    x86_mode_changed(f->c);
}

void fake_user(Fake *f, uint64_t pc, uint64_t sp)
{
    X86Cpu *c = f->c;
    X86Desc d = { .lo = fake_get32(f, F_GDT + (S_UCS & ~7)), .hi = fake_get32(f, F_GDT + (S_UCS & ~7) + 4) };
    x86_set_seg(c, CS, S_UCS, d);
    d = (X86Desc){ .lo = fake_get32(f, F_GDT + (S_UDS & ~7)), .hi = fake_get32(f, F_GDT + (S_UDS & ~7) + 4) };
    x86_set_seg(c, SS, S_UDS, d);
    c->s.hot[RSP] = sp;
    *x86_pc(c) = pc;
    x86_new_cpl(c, 3);
}

/* --- one instruction, interpreted */

static int slow_load(CpuState *s, uint64_t va, uint32_t memop)
{
    unsigned n = mo_bytes(memop);
    if ((memop & MO_ALIGN) && (va & (n - 1)))
        return !x86_target.misaligned(s, va, memop);
    s->scratch[1] = s->scratch[2] = s->scratch[3] = 0;
    for (unsigned i = 0; i < n; i += 8)
        if (!load(s, va + i, MIN(n, 8), -1, &s->scratch[i / 8]))
            return 1;
    return 0;
}
static int slow_store(CpuState *s, uint64_t va, uint32_t memop)
{
    unsigned n = mo_bytes(memop);
    if ((memop & MO_ALIGN) && (va & (n - 1)))
        return !x86_target.misaligned(s, va, memop);
    if (!probe(s, va, n, ACC_WRITE, -1))
        return 1;
    for (unsigned i = 0; i < n; i += 8)
        if (!store(s, va + i, MIN(n, 8), -1, s->scratch[i / 8]))
            return 1;
    return 0;
}
static int slow_atomic(CpuState *s, uint64_t va, uint32_t flags)
{
    unsigned n = mo_bytes(flags);
    uint64_t old, v = s->scratch[0], mask = n == 8 ? ~UINT64_C(0) : (UINT64_C(1) << n * 8) - 1;
    if ((flags & MO_ALIGN) && (va & (n - 1)))
        return !x86_target.misaligned(s, va, flags & 0xffff);
    if (!probe(s, va, n, ACC_WRITE, -1) || !load(s, va, n, -1, &old))
        return 1;
    switch (ATOMIC_OP(flags)) {
    case AT_ADD: v += old; break;
    case AT_AND: v &= old; break;
    case AT_OR:  v |= old; break;
    case AT_XOR: v ^= old; break;
    case AT_CAS: v = (old & mask) == (v & mask) ? s->scratch[1] : old; break;
    }
    s->helper_ret = old;
    return !store(s, va, n, -1, v);
}
static bool more(TransReq *req) { (void)req; return false; }

int fake_step(Fake *f) { return fake_run(f, 1); }

int fake_run(Fake *f, unsigned max_insns)
{
    static const SlowOps ops = { slow_load, slow_store, slow_atomic, NULL };
    X86Cpu *c = f->c;
    uint64_t pc = *x86_pc(c), at = x86_target.code_va(&c->s, pc);
    g_assert_cmphex(at, <, FAKE_RAM);
    Ir *ir = ir_new(&x86_slots);
    Interp *in = interp_new(&ops);
    TransReq req = { .cpu = &c->s,
                     .pc = pc,
                     .mode = x86_target.mode_key(&c->s),
                     .max_insns = max_insns,
                     .code = f->ram + at,
                     .first_len = 4096 - (at & 4095),
                     .more = more };
    ir_reset(ir);
    x86_target.translate(ir, &req);
    g_autofree char *bad = ir_verify(ir);
    g_assert_cmpstr(bad, ==, NULL);
    ir_pass_dead(ir);
    c->s.countdown = 100;
    CpuExit x = interp_run(in, &c->s, ir);
    f->exit = x.reason;
    if (x.reason == EXITR_RAISE)
        x86_raise(c, x.arg & 0xff, x.arg >> 32);
    interp_free(in);
    ir_free(ir);
    int vector = c->exc_pending ? c->exc_vector : -1;
    if (x.reason == EXITR_FAULT)
        g_assert_true(c->exc_pending || c->ferr);       /* the latter: the instruction waits for IRQ 13 */
    c->exc_pending = false;
    return vector;
}
