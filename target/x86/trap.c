/* SPDX-License-Identifier: GPL-2.0-or-later
 * Exceptions and interrupts: recording, priorities, delivery through the IDT, software interrupts, IRET
 * and the fast system calls.  Sources: SDM vol. 3, chapter 6; APM vol. 2, chapter 8; instruction pages of
 * SYSCALL, SYSRET, IRET.
 *
 * An exception is recorded where it is found (x86_raise) with the pc slot still at its instruction, and
 * delivered by x86_service() or, for INT n, by the helper. */
#include <inttypes.h>
#include <string.h>

#include "target/x86/debug.h"
#include "util/log.h"

static bool has_error_code(unsigned vector)
{
    return 0x27d00u >> vector & 1;      /* 8, 10 to 14, 17 */
}

void x86_raise(X86Cpu *c, unsigned vector, uint32_t error)
{
    if (c->exc_kept)
        return;
    c->exc_pending = true;
    c->exc_noncanonical = false;
    c->exc_vector = vector;
    c->exc_error = error;
}

void x86_raise_pf(X86Cpu *c, uint64_t va, uint32_t error)
{
    if (c->exc_kept)
        return;
    x86_raise(c, EXC_PF, error);
    c->exc_cr2 = va;
}

bool x86_stack_fault(X86Cpu *c)
{
    if (c->exc_noncanonical && c->exc_vector == EXC_GP)
        c->exc_vector = EXC_SS;
    return false;
}

/* --- gates */

typedef struct Event {
    uint8_t  vector;
    bool     soft;              /* INT n, INT3, INTO: the gate's DPL counts */
    bool     int_n;             /* INT n: in virtual-8086 mode IOPL and the redirection map count */
    bool     has_error;
    bool     fault;             /* RF is set in the image: the instruction will be restarted */
    uint32_t error;
    uint64_t ret;               /* pc to be pushed */
} Event;

typedef struct Gate { unsigned type, dpl, ist; uint16_t sel; uint64_t off; } Gate;

/* An error code that names an IDT entry. */
static bool fault_gate(X86Cpu *c, unsigned exc, const Event *ev)
{
    return x86_fault(c, exc, ev->vector * 8u | 2 | c->exc_ext);
}

static bool read_gate(X86Cpu *c, const Event *ev, Gate *g)
{
    bool wide = x86_long(c);
    unsigned len = wide ? 16 : 8;
    uint64_t lo, hi = 0, at = c->idt.base + ev->vector * len;
    if (ev->vector * len + len - 1 > c->idt.limit)
        return fault_gate(c, EXC_GP, ev);
    const uint64_t *p = c->hooks->host(&c->s, at, len, ACC_READ, x86_sys_view(c));
    if (p) {
        memcpy(&lo, p, 8);
        if (wide)
            memcpy(&hi, p + 1, 8);
    } else if (!x86_sys_load(c, at, 8, &lo) || (wide && !x86_sys_load(c, at + 8, 8, &hi))) {
        return false;
    }
    g->type = lo >> 40 & 15;
    g->dpl = lo >> 45 & 3;
    g->ist = wide ? lo >> 32 & 7 : 0;
    g->sel = lo >> 16;
    g->off = (lo & 0xffff) | (lo >> 32 & 0xffff0000);
    if (wide)
        g->off |= (hi & UINT32_MAX) << 32;
    else if (g->type == SYS_INT16 || g->type == SYS_TRAP16)
        g->off &= 0xffff;
    bool known = g->type == SYS_INT32 || g->type == SYS_TRAP32 ||
                 (!wide && (g->type == SYS_INT16 || g->type == SYS_TRAP16 || g->type == SYS_TASK_GATE));
    if (!known || (lo >> 44 & 1) || (ev->soft && g->dpl < c->cpl))
        return fault_gate(c, EXC_GP, ev);
    if (!(lo >> 47 & 1))
        return fault_gate(c, EXC_NP, ev);
    return true;
}

/* The handler's code segment and privilege. */
static bool read_handler_cs(X86Cpu *c, const Gate *g, X86Desc *d, unsigned *cpl)
{
    if (sel_null(g->sel))
        return x86_fault(c, EXC_GP, c->exc_ext);
    if (!x86_read_desc(c, g->sel, EXC_GP, d))
        return false;
    if (!desc_is_code(*d) || desc_dpl(*d) > c->cpl)
        return x86_fault_sel(c, EXC_GP, g->sel);
    if (x86_long(c) && (d->hi & (SEG_L | SEG_DB)) != SEG_L)
        return x86_fault_sel(c, EXC_GP, g->sel);
    if (!(d->hi & SEG_P))
        return x86_fault_sel(c, EXC_NP, g->sel);
    *cpl = d->hi & DESC_C ? c->cpl : desc_dpl(*d);
    return x86_mark_accessed(c, g->sel, d);
}

static uint64_t pushed_flags(X86Cpu *c, const Event *ev)
{
    return x86_eflags(c) | (ev->fault ? FL_RF : 0);
}

/* TF, NT, VM and RF end with the entry, IF through an interrupt gate. */
static void enter_handler(X86Cpu *c, const Gate *g, X86Desc cs, unsigned cpl)
{
    uint64_t drop = FL_TF | FL_NT | FL_VM | FL_RF;
    if (!(g->type & 1))
        drop |= FL_IF;
    *x86_flags(c) &= ~drop;
    x86_set_seg(c, CS, (g->sel & ~3) | cpl, cs);
    *x86_pc(c) = g->off;
    c->shadow = 0;
    x86_new_cpl(c, cpl);
}

static bool deliver_long(X86Cpu *c, const Event *ev)
{
    Gate g;
    X86Desc cs;
    unsigned cpl;
    if (!read_gate(c, ev, &g) || !read_handler_cs(c, &g, &cs, &cpl))
        return false;
    uint64_t rsp = c->s.hot[RSP];
    uint16_t ss;
    if ((cpl != c->cpl || g.ist) && !x86_tss_stack(c, cpl, g.ist, &ss, &rsp))
        return false;
    if (!x86_canonical(g.off))
        return x86_fault(c, EXC_GP, c->exc_ext);
    uint64_t frame[6] = { ev->error,           ev->ret,       c->seg[CS].sel,
                          pushed_flags(c, ev), c->s.hot[RSP], c->seg[SS].sel };
    const uint64_t *from = ev->has_error ? frame : frame + 1;
    unsigned n = ev->has_error ? 6 : 5;
    rsp = (rsp & ~UINT64_C(15)) - 8 * n;
    int view = cpl == 3 ? VIEW_USER : x86_sys_view(c);
    void *p = c->hooks->host(&c->s, rsp, 8 * n, ACC_WRITE, view);
    if (p) {
        memcpy(p, from, 8 * n);
    } else {
        for (unsigned i = n; i-- > 0;)
            if (!c->hooks->store(&c->s, rsp + 8 * i, 8, view, from[i]))
                return x86_stack_fault(c);
    }
    c->s.hot[RSP] = rsp;
    bool inner = cpl != c->cpl;
    c->cpl = cpl;                       /* the DPL of an empty SS, by which RSM knows the privilege */
    if (inner)
        x86_set_seg_null(c, SS, cpl);
    enter_handler(c, &g, cs, cpl);
    return true;
}

/* The stack of a more privileged handler. */
static bool inner_stack(X86Cpu *c, unsigned cpl, X86Stack *st, uint16_t *ss, X86Desc *ssd)
{
    uint64_t sp;
    if (!x86_tss_stack(c, cpl, 0, ss, &sp) || !x86_check_ss(c, *ss, cpl, EXC_TS, ssd))
        return false;
    *st = (X86Stack){
        .c = c, .sp = sp, .mask = ssd->hi & SEG_DB ? UINT32_MAX : 0xffff, .base = desc_base(*ssd),
        .limit = desc_limit(*ssd), .attr = ssd->hi & DESC_ATTR, .fresh = true, .ss = *ss, .top = sp,
        .view = x86_sys_view(c)
    };
    return true;
}

static bool push_segs(X86Cpu *c, X86Stack *st, unsigned size)
{
    static const uint8_t segs[] = { GS, FS, DS, ES };
    for (unsigned i = 0; i < sizeof segs; i++)
        if (!x86_stack_push(st, size, c->seg[segs[i]].sel))
            return false;
    return true;
}

static bool deliver_protected(X86Cpu *c, const Event *ev)
{
    Gate g;
    X86Desc cs, ssd;
    unsigned cpl;
    if (!read_gate(c, ev, &g))
        return false;
    if (g.type == SYS_TASK_GATE)
        return x86_task_switch(c, g.sel, TASK_CALL, ev->ret, ev->fault ? FL_RF : 0,
                               ev->has_error ? &ev->error : NULL);
    if (!read_handler_cs(c, &g, &cs, &cpl))
        return false;
    bool vm86 = x86_vm86(c), inner = cpl != c->cpl;
    if (vm86 && cpl)                    /* to privilege 0 only (SDM vol. 2, INT n) */
        return x86_fault_sel(c, EXC_GP, g.sel);
    unsigned size = g.type & 8 ? 4 : 2;
    X86Stack st = x86_stack_now(c);
    uint64_t old_sp = c->s.hot[RSP];
    uint16_t ss = 0;
    if (inner && (!inner_stack(c, cpl, &st, &ss, &ssd) || (vm86 && !push_segs(c, &st, size)) ||
                  !x86_stack_push(&st, size, c->seg[SS].sel) || !x86_stack_push(&st, size, old_sp)))
        return false;
    if (!x86_stack_push(&st, size, pushed_flags(c, ev)) || !x86_stack_push(&st, size, c->seg[CS].sel) ||
        !x86_stack_push(&st, size, ev->ret) || (ev->has_error && !x86_stack_push(&st, size, ev->error)))
        return false;
    if (g.off > desc_limit(cs))
        return x86_fault(c, EXC_GP, c->exc_ext);
    if (inner)
        x86_set_seg(c, SS, (ss & ~3) | cpl, ssd);
    if (vm86) {
        static const uint8_t segs[] = { ES, DS, FS, GS };
        for (unsigned i = 0; i < sizeof segs; i++)
            x86_set_seg_null(c, segs[i], 0);
    }
    x86_stack_commit(c, &st);
    enter_handler(c, &g, cs, cpl);
    return true;
}

/* The bit of the interrupt redirection map, which ends where the port bitmap begins (SDM vol. 3, 20.3.3). */
static bool redirection(X86Cpu *c, unsigned vector, bool *protected)
{
    const X86Seg *tr = &c->seg[TR];
    uint64_t at, bits;
    if (!(tr->attr & SEG_P) || !(tr->attr & 0x800) || tr->limit < 0x67)
        return x86_fault(c, EXC_GP, 0);
    if (!x86_sys_load(c, tr->base + 0x66, 2, &at))
        return false;
    at = at + vector / 8 - 32;
    if (at > tr->limit)
        return x86_fault(c, EXC_GP, 0);
    if (!x86_sys_load(c, tr->base + at, 1, &bits))
        return false;
    *protected = bits >> vector % 8 & 1;
    return true;
}

/* To the handler in the virtual-8086 program's own vector table; IOPL below 3: its IF is VIF. */
static bool deliver_redirected(X86Cpu *c, const Event *ev)
{
    uint64_t v, flags = x86_eflags(c);
    bool virtual = x86_iopl(c) < 3;
    if (!c->hooks->load(&c->s, ev->vector * 4, 4, -1, &v))
        return false;
    if (virtual)
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
    X86Stack st = x86_stack_now(c);
    if (!x86_stack_push(&st, 2, flags) || !x86_stack_push(&st, 2, c->seg[CS].sel) || !x86_stack_push(&st, 2, ev->ret))
        return false;
    x86_stack_commit(c, &st);
    *x86_flags(c) &= ~(uint64_t)(FL_TF | FL_RF | (virtual ? FL_VIF : FL_IF));
    x86_set_seg_vm86(c, CS, v >> 16);
    *x86_pc(c) = v & 0xffff;
    c->shadow = false;
    x86_privilege_changed(c);
    return true;
}

/* INT n in virtual-8086 mode: SDM vol. 3, table 20-2. */
static bool deliver_int_vm86(X86Cpu *c, const Event *ev)
{
    bool protected = true;
    if ((c->cr4 & CR4_VME) && !redirection(c, ev->vector, &protected))
        return false;
    if (!protected)
        return deliver_redirected(c, ev);
    return x86_iopl(c) == 3 ? deliver_protected(c, ev) : x86_fault(c, EXC_GP, 0);
}

static bool deliver_real(X86Cpu *c, const Event *ev)
{
    uint64_t v;
    if (ev->vector * 4u + 3 > c->idt.limit)
        return fault_gate(c, EXC_GP, ev);
    if (!x86_sys_load(c, c->idt.base + ev->vector * 4, 4, &v))
        return false;
    X86Stack st = x86_stack_now(c);
    if (!x86_stack_push(&st, 2, x86_eflags(c)) || !x86_stack_push(&st, 2, c->seg[CS].sel) ||
        !x86_stack_push(&st, 2, ev->ret))
        return false;
    x86_stack_commit(c, &st);
    *x86_flags(c) &= ~(uint64_t)(FL_TF | FL_IF | FL_AC | FL_RF);
    x86_set_seg_real(c, CS, v >> 16);
    *x86_pc(c) = v & 0xffff;
    c->shadow = 0;
    x86_privilege_changed(c);
    return true;
}

/* False: another exception is recorded instead, nothing else has changed. */
static bool deliver(X86Cpu *c, const Event *ev)
{
    if (log_on(LOG_INT))
        log_text("x86: vector %02x error %x cs:pc %04x:%016" PRIx64 " cpl %u cr2 %016" PRIx64
                 " rsp %016" PRIx64 " rax %016" PRIx64 "%s\n",
                 ev->vector, ev->error, c->seg[CS].sel, ev->ret, c->cpl, c->cr2, c->s.hot[RSP], c->s.hot[RAX],
                 ev->soft ? " software" : "");
    c->delivering = true;
    c->exc_ext = !ev->soft;
    bool ok = !x86_pe(c)                     ? deliver_real(c, ev)
              : x86_long(c)                  ? deliver_long(c, ev)
              : ev->int_n && x86_vm86(c) ? deliver_int_vm86(c, ev)
                                             : deliver_protected(c, ev);
    c->delivering = false;
    c->rep_inside &= !ok;
    return ok;
}

/* SDM vol. 3, table 6-4. */
static bool contributory(unsigned v) { return v == EXC_DE || (v >= EXC_TS && v <= EXC_GP); }

/* A stack operand outside the canonical range is #SS, any other #GP: the instruction itself tells which.
 * It is in a form that has executed up to its memory access, so that lengths need no care beyond what is
 * looked at. */
static bool uses_stack_segment(X86Cpu *c)
{
    uint8_t b[16];
    uint64_t pc = *x86_pc(c), v;
    for (unsigned n = 0; n < sizeof b; n++) {
        if (!c->hooks->load(&c->s, pc + n, 1, -1, &v)) {
            if (n == 0)
                return false;
            v = 0;
        }
        b[n] = v;
    }
    unsigned i = 0, rex = 0;
    for (; i < 14; i++) {
        if ((b[i] & 0xf0) == 0x40)
            rex = b[i];
        else if (b[i] == 0x64 || b[i] == 0x65)
            return false;
        else if (b[i] == 0x66 || b[i] == 0x67 || b[i] == 0xf0 || b[i] == 0xf2 || b[i] == 0xf3 ||
                 b[i] == 0x2e || b[i] == 0x36 || b[i] == 0x3e || b[i] == 0x26)
            rex = 0;
        else
            break;
    }
    unsigned op = b[i++];
    if (op == 0x0f) {
        op = b[i++];
        if (op == 0xa0 || op == 0xa1 || op == 0xa8 || op == 0xa9)      /* push, pop FS and GS */
            return true;
        if (op == 0x38 || op == 0x3a)
            i++;
    } else if (op == 0xc4 || op == 0xc5) {                              /* VEX; in its first byte B is inverted */
        rex = op == 0xc4 && !(b[i] & 0x20);
        i += op == 0xc4 ? 3 : 2;
    } else if ((op >= 0x50 && op <= 0x5f) || op == 0x68 || op == 0x6a || op == 0x9c || op == 0x9d ||
               op == 0xc2 || op == 0xc3 || op == 0xc8 || op == 0xc9 || op == 0xca || op == 0xcb ||
               op == 0xcf || op == 0xe8) {
        return true;
    } else if ((op >= 0xa4 && op <= 0xaf) || (op >= 0x6c && op <= 0x6f) || (op >= 0xa0 && op <= 0xa3) ||
               op == 0xd7) {
        return false;                                                   /* no ModRM */
    }
    unsigned modrm = b[i < 15 ? i : 15], mod = modrm >> 6, rm = modrm & 7;
    if (mod == 3)
        return op == 0xff;                                              /* call or push of a register */
    if (rm == 4) {
        unsigned sib = b[i < 14 ? i + 1 : 15];
        rm = sib & 7;
        if (rm == 5 && mod == 0)
            return false;
    } else if (rm == 5 && mod == 0) {
        return false;
    }
    return !(rex & 1) && (rm == RSP || rm == RBP);
}

/* Delivers the recorded exception and what that leads to. */
static void deliver_exception(X86Cpu *c)
{
    int before = -1;                    /* vector whose delivery failed */
    while (c->exc_pending) {
        unsigned v = c->exc_vector;
        if (c->exc_noncanonical && before < 0 && v == EXC_GP && uses_stack_segment(c))
            v = EXC_SS;
        Event ev = {
            .vector = v, .error = c->exc_error, .has_error = has_error_code(v) && x86_pe(c), .ret = *x86_pc(c)
        };
        ev.fault = v == EXC_DB ? c->rep_inside : v != EXC_BP && v != EXC_OF;
        c->exc_pending = c->exc_noncanonical = c->exc_kept = false;
        if (v == EXC_PF)
            c->cr2 = c->exc_cr2;
        bool again = before >= 0 && ((contributory(before) && contributory(v)) ||
                                     (before == EXC_PF && (v == EXC_PF || contributory(v))));
        if (before == EXC_DF) {
            if (log_on(LOG_INT | LOG_GUEST))
                log_text("x86: triple fault at %016" PRIx64 ", vector %02x while #DF was delivered\n",
                         *x86_pc(c), v);
            c->halted = true;           /* shut down until the reset that this leads to */
            c->hooks->triple_fault(&c->s);
            return;
        }
        if (again)
            ev = (Event){ .vector = EXC_DF, .has_error = x86_pe(c), .ret = ev.ret };  /* an abort: no RF */
        if (v == EXC_DB && !again) {
            c->dr[6] |= c->exc_dr6;
            c->dr[7] &= ~(uint64_t)DR7_GD;      /* the handler may use the debug registers */
            c->debugctl &= ~(uint64_t)DEBUGCTL_BTF;
            c->exc_dr6 = 0;
        }
        before = ev.vector;
        deliver(c, &ev);
    }
}

static void interrupt(X86Cpu *c, unsigned vector)
{
    Event ev = { .vector = vector, .ret = *x86_pc(c), .fault = c->rep_inside };
    c->halted = false;
    if (!deliver(c, &ev) || c->exc_pending)
        deliver_exception(c);
}

bool x86_take_startup(X86Cpu *c)
{
    uint32_t pending = atomic_load_explicit(&c->port.pending, memory_order_acquire);
    if (pending & PORT_RESET) {
        port_clear(&c->port, PORT_RESET | PORT_INIT | PORT_SIPI | PORT_NMI | PORT_SMI);
        x86_reset(c);
        return true;
    }
    if ((pending & PORT_INIT) && !c->in_smm) {         /* SMM latches it (SDM vol. 3, 34.3.1) */
        port_clear(&c->port, PORT_INIT);
        x86_init_reset(c);
        return true;
    }
    if (pending & PORT_SIPI) {
        port_clear(&c->port, PORT_SIPI);
        if (c->wait_sipi) {
            c->wait_sipi = c->halted = false;
            x86_set_seg_real(c, CS, (uint16_t)(c->port.sipi_vector << 8));
            *x86_pc(c) = 0;
            x86_privilege_changed(c);
            return true;
        }
    }
    return false;
}

/* Takes one pending event.  False: none may be taken. */
static bool take_event(X86Cpu *c)
{
    uint32_t pending = atomic_load_explicit(&c->port.pending, memory_order_acquire);
    if (c->irq_held) {
        c->irq_held = false;
        interrupt(c, c->irq_vector);
        return true;
    }
    if (!pending)
        return false;
    if (pending & PORT_LINES)
        x86_lines_changed(c);
    if ((pending & PORT_SMI) && !c->in_smm && !c->wait_sipi && !c->shadow) {
        port_clear(&c->port, PORT_SMI);
        x86_enter_smm(c);
        return true;
    }
    if (x86_take_startup(c))
        return true;
    if (c->wait_sipi)
        return false;
    if ((pending & PORT_NMI) && !c->nmi_blocked && !c->shadow) {
        port_clear(&c->port, PORT_NMI);
        c->nmi_blocked = true;
        interrupt(c, EXC_NMI);
        return true;
    }
    if ((pending & PORT_INTR) && (*x86_flags(c) & FL_IF) && !c->shadow && c->port.intc) {
        int vector = c->port.intc->acknowledge(c->port.intc_self);
        if (vector < 0)
            return false;
        interrupt(c, vector);
        return true;
    }
    return false;
}

/* Delivers what is recorded.  True: an instruction in an interrupt shadow goes first. */
static bool settle(X86Cpu *c)
{
    bool wait = x86_debug_service(c);
    if (G_UNLIKELY(x86_virtual_interrupt(c)) && !c->exc_pending)
        x86_raise(c, EXC_GP, 0);
    if (c->exc_pending) {
        c->shadow = 0;
        deliver_exception(c);
    }
    if (c->shadow && !c->halted) {
        c->no_break = c->dr_exec && (c->shadow & SHADOW_SS);
        c->shadow = 0;
        if (wait || c->dr_exec || atomic_load_explicit(&c->port.pending, memory_order_relaxed))
            c->hooks->attention_after(&c->s);
        return true;
    }
    c->shadow = 0;
    return false;
}

static bool ready(X86Cpu *c)
{
    if (G_UNLIKELY(c->trap_dr6)) {              /* a breakpoint on the frame of an event */
        x86_debug_service(c);
        deliver_exception(c);
    }
    x86_debug_resume(c);
    return !c->halted && !c->wait_sipi;
}

bool x86_service(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if (settle(c))
        return true;
    bool taken = take_event(c);
    while (taken && c->wait_sipi)               /* the SIPI may have come with the INIT */
        taken = take_event(c);
    if (taken && atomic_load_explicit(&c->port.pending, memory_order_relaxed))
        c->hooks->attention(s);                 /* more may follow, through a trap gate or after a reset */
    return ready(c);
}

/* The same for a debugger that steps: interrupts wait. */
bool x86_settle(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    return settle(c) || ready(c);
}

/* --- software interrupts */

/* Leaves all slots as they were if it fails, but for what a double fault does. */
bool x86_int_soft(X86Cpu *c, unsigned vector, unsigned kind, uint64_t ret)
{
    Event ev = { .vector = vector, .soft = kind != 3 /* SOFT_INT1 */, .int_n = kind == 0 /* SOFT_INT */, .ret = ret };
    bool ok = deliver(c, &ev);
    if (ok && !ev.soft) {
        c->dr[7] &= ~(uint64_t)DR7_GD;
        c->debugctl &= ~(uint64_t)DEBUGCTL_BTF;
    }
    return ok;
}

/* --- IRET */

/* The whole register at once. */
static void put_flags(X86Cpu *c, uint64_t v)
{
    *x86_flags(c) = (v & ~(uint64_t)FL_ARITH) | FL_1;
    c->s.hot[17] = v & FL_ARITH;        /* X_CC_A */
    *x86_cc_op(c) = CC_EFLAGS;
}

/* What the flags image may change, by privilege before the return. */
static uint64_t iret_flags_mask(X86Cpu *c, unsigned opsize)
{
    uint64_t m = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID;
    if (c->cpl <= x86_iopl(c))
        m |= FL_IF;
    if (c->cpl == 0)
        m |= FL_IOPL | FL_VIF | FL_VIP;
    return opsize == 2 ? m & 0xffff : m;
}

static bool iret_real(X86Cpu *c, unsigned opsize)
{
    uint64_t ip, cs, fl;
    X86Stack st = x86_stack_now(c);
    if (!x86_stack_pop(&st, opsize, &ip) || !x86_stack_pop(&st, opsize, &cs) ||
        !x86_stack_pop(&st, opsize, &fl))
        return false;
    if (ip > c->seg[CS].limit)
        return x86_fault(c, EXC_GP, 0);
    x86_stack_commit(c, &st);
    x86_set_eflags(c, fl, opsize == 2 ? 0x7fd5 : 0x257fd5);
    x86_set_seg_real(c, CS, cs);
    *x86_pc(c) = ip;
    c->nmi_blocked = false;
    x86_privilege_changed(c);
    return true;
}

/* The image's TF and IF are the virtual-8086 program's: no single step; IF goes to VIF, unless an interrupt waits for
 * it.  SDM vol. 3, 20.3.3.5, and IRET. */
static bool vme_flags(X86Cpu *c, uint64_t image)
{
    if ((image & FL_TF) || ((image & FL_IF) && (*x86_flags(c) & FL_VIP)))
        return x86_fault(c, EXC_GP, 0);
    x86_set_eflags(c, (image & ~(uint64_t)FL_VIF) | (image & FL_IF ? FL_VIF : 0), 0x4dd5 | FL_VIF);
    return true;
}

bool x86_vme_popf(X86Cpu *c, uint64_t v)
{
    if (!vme_flags(c, v))
        return false;
    x86_privilege_changed(c);
    return true;
}

static bool iret_vm86(X86Cpu *c, unsigned opsize)
{
    bool virtual = x86_iopl(c) < 3;
    uint64_t ip, cs, fl;
    if (virtual && (opsize != 2 || !(c->cr4 & CR4_VME)))
        return x86_fault(c, EXC_GP, 0);
    X86Stack st = x86_stack_now(c);
    if (!x86_stack_pop(&st, opsize, &ip) || !x86_stack_pop(&st, opsize, &cs) || !x86_stack_pop(&st, opsize, &fl))
        return false;
    if (ip > 0xffff)
        return x86_fault(c, EXC_GP, 0);
    if (virtual) {
        if (!vme_flags(c, fl))
            return false;
    } else {
        x86_set_eflags(c, fl, opsize == 2 ? 0x4fd5 : 0x254fd5);
    }
    x86_stack_commit(c, &st);
    x86_set_seg_vm86(c, CS, cs);
    *x86_pc(c) = ip;
    c->nmi_blocked = false;
    x86_privilege_changed(c);
    return true;
}

/* st: past EFLAGS.  f: EIP CS EFLAGS. */
static bool iret_to_vm86(X86Cpu *c, X86Stack *st, const uint64_t *f)
{
    static const uint8_t order[] = { SS, ES, DS, FS, GS };
    uint64_t esp, sel[5];
    if (!x86_stack_pop(st, 4, &esp))
        return false;
    for (unsigned i = 0; i < 5; i++)
        if (!x86_stack_pop(st, 4, &sel[i]))
            return false;
    if (f[0] > 0xffff)
        return x86_fault(c, EXC_GP, 0);
    x86_set_eflags(c, f[2] & 0x3f7fd5, UINT64_MAX);
    c->cpl = 3;
    x86_set_seg_vm86(c, CS, f[1]);
    for (unsigned i = 0; i < 5; i++)
        x86_set_seg_vm86(c, order[i], sel[i]);
    *x86_pc(c) = f[0];
    c->s.hot[RSP] = esp;
    c->nmi_blocked = false;
    c->shadow = 0;
    x86_privilege_changed(c);
    return true;
}

/* The checks of a stack segment that IRET and far RET load in long mode: null is allowed below privilege 3
 * when 64-bit code is returned to (SDM, IRET). */
static bool return_ss(X86Cpu *c, uint16_t ss, unsigned rpl, bool to64, X86Desc *d)
{
    if (sel_null(ss) && to64 && rpl != 3 && (ss & 3) == rpl) {
        d->lo = d->hi = 0;
        return true;
    }
    return x86_check_ss(c, ss, rpl, EXC_GP, d);
}

bool x86_iret(X86Cpu *c, unsigned opsize, uint64_t next)
{
    x86_serialize();
    if (!x86_pe(c))
        return iret_real(c, opsize);
    if (x86_vm86(c))
        return iret_vm86(c, opsize);
    if (*x86_flags(c) & FL_NT)
        return x86_long(c) ? x86_fault(c, EXC_GP, 0) : x86_task_return(c, next);
    bool code64 = x86_code64(c);
    uint64_t f[5];                              /* pc cs flags sp ss */
    X86Stack st = x86_stack_now(c);
    uint64_t mask = iret_flags_mask(c, opsize);
    const void *p;
    if (code64 && opsize == 8 && !x86_aligned_only(c) && (p = c->hooks->host(&c->s, st.sp, 40, ACC_READ, -1))) {
        memcpy(f, p, 40);
        st.sp += 40;
    } else {
        unsigned n = code64 ? 5 : 3;
        for (unsigned i = 0; i < n; i++)
            if (!x86_stack_pop(&st, opsize, &f[i]))
                return false;
    }
    uint16_t sel = f[1];
    X86Desc cs, ssd;
    if (!code64 && (f[2] & FL_VM) && opsize == 4 && c->cpl == 0 && !x86_long(c))
        return iret_to_vm86(c, &st, f);
    if (!x86_check_return_cs(c, sel, &cs))
        return false;
    unsigned rpl = sel & 3;
    bool outer = rpl > c->cpl, to64 = x86_long(c) && (cs.hi & SEG_L);
    if (!code64 && outer && (!x86_stack_pop(&st, opsize, &f[3]) || !x86_stack_pop(&st, opsize, &f[4])))
        return false;
    bool with_ss = code64 || outer;
    if (with_ss && !return_ss(c, f[4], rpl, to64, &ssd))
        return false;
    if (to64 ? !x86_canonical(f[0]) : (f[0] & UINT32_MAX) > desc_limit(cs))
        return x86_fault(c, EXC_GP, 0);
    if (!x86_mark_accessed(c, sel, &cs) || (with_ss && ssd.hi && !x86_mark_accessed(c, f[4], &ssd)))
        return false;
    put_flags(c, (f[2] & (mask | FL_ARITH)) | (*x86_flags(c) & ~mask));
    x86_set_seg(c, CS, sel, cs);
    *x86_pc(c) = to64 ? f[0] : f[0] & UINT32_MAX;
    if (with_ss) {
        if (ssd.hi)
            x86_set_seg(c, SS, f[4], ssd);
        else
            x86_set_seg_null(c, SS, f[4]);
        if (to64)
            c->s.hot[RSP] = f[3];
        else if (ssd.hi & SEG_DB)
            c->s.hot[RSP] = (uint32_t)f[3];
        else        /* IRETQ too: for what is left above Linux has its "espfix64" */
            c->s.hot[RSP] = (c->s.hot[RSP] & ~UINT64_C(0xffff)) | (f[3] & 0xffff);
    } else {
        x86_stack_commit(c, &st);
    }
    c->nmi_blocked = false;
    c->shadow = 0;
    c->cpl = rpl;
    if (outer)
        x86_drop_data_segs(c);
    x86_privilege_changed(c);
    return true;
}

/* --- SYSCALL, SYSRET, SYSENTER, SYSEXIT */

enum { FLAT_CODE = SEG_G | SEG_P | SEG_S | 0xb00, FLAT_DATA = SEG_G | SEG_DB | SEG_P | SEG_S | 0x300 };

static void flat_cs_ss(X86Cpu *c, uint16_t cs, uint32_t width, uint16_t ss, unsigned cpl)
{
    x86_set_seg_flat(c, CS, cs, FLAT_CODE | width | cpl << SEG_DPL_SHIFT);
    x86_set_seg_flat(c, SS, ss, FLAT_DATA | cpl << SEG_DPL_SHIFT);
    x86_new_cpl(c, cpl);
}

/* On Intel's processors only in 64-bit code (SDM vol. 2, SYSCALL). */
bool x86_syscall(X86Cpu *c, uint64_t next)
{
    if (!(c->efer & EFER_SCE) || !x86_pe(c) || (c->model->intel && !x86_code64(c)))
        return x86_fault(c, EXC_UD, 0);
    uint16_t sel = (uint16_t)(c->star >> 32) & ~3;
    if (x86_long(c)) {
        uint64_t flags = x86_eflags(c) & ~(uint64_t)FL_RF;
        c->s.hot[RCX] = next;
        c->s.hot[R11] = flags;
        *x86_pc(c) = x86_code64(c) ? c->lstar : c->cstar;
        put_flags(c, flags & ~c->sfmask);
        flat_cs_ss(c, sel, SEG_L, sel + 8, 0);
    } else {
        c->s.hot[RCX] = (uint32_t)next;
        *x86_pc(c) = (uint32_t)c->star;
        *x86_flags(c) &= ~(uint64_t)(FL_IF | FL_VM | FL_RF);
        flat_cs_ss(c, sel, SEG_DB, sel + 8, 0);
    }
    return true;
}

/* To a non-canonical RCX: on AMD's processors the fetch faults, at privilege 3 (APM vol. 3, SYSRET); on Intel's SYSRET
 * itself does. */
bool x86_sysret(X86Cpu *c, unsigned opsize)
{
    if (!(c->efer & EFER_SCE) || !x86_pe(c) || (c->model->intel && !x86_code64(c)))
        return x86_fault(c, EXC_UD, 0);
    if (c->cpl || (c->model->intel && opsize == 8 && !x86_canonical(c->s.hot[RCX])))
        return x86_fault(c, EXC_GP, 0);
    uint16_t sel = c->star >> 48;
    uint32_t width = SEG_DB;
    if (x86_long(c)) {
        put_flags(c, c->s.hot[R11] & 0x3c7fd5);
        if (opsize == 8) {
            width = SEG_L;
            *x86_pc(c) = c->s.hot[RCX];
        } else {
            *x86_pc(c) = (uint32_t)c->s.hot[RCX];
        }
    } else {
        *x86_flags(c) |= FL_IF;
        *x86_pc(c) = (uint32_t)c->s.hot[RCX];
    }
    flat_cs_ss(c, (opsize == 8 ? sel + 16 : sel) | 3, width, (sel + 8) | 3, 3);
    return true;
}

/* AMD: in legacy mode only. */
bool x86_sysenter(X86Cpu *c)
{
    bool wide = x86_long(c);
    if (wide && !c->model->intel)
        return x86_fault(c, EXC_UD, 0);
    if (!x86_pe(c) || sel_null(c->sysenter_cs))
        return x86_fault(c, EXC_GP, 0);
    *x86_flags(c) &= ~(uint64_t)(FL_IF | FL_VM | FL_RF);
    c->s.hot[RSP] = wide ? c->sysenter_esp : (uint32_t)c->sysenter_esp;
    *x86_pc(c) = wide ? c->sysenter_eip : (uint32_t)c->sysenter_eip;
    uint16_t sel = c->sysenter_cs & ~3;
    flat_cs_ss(c, sel, wide ? SEG_L : SEG_DB, sel + 8, 0);
    return true;
}

bool x86_sysexit(X86Cpu *c, unsigned opsize)
{
    bool wide = opsize == 8;
    if (x86_long(c) && !c->model->intel)
        return x86_fault(c, EXC_UD, 0);
    if (!x86_pe(c) || sel_null(c->sysenter_cs) || c->cpl)
        return x86_fault(c, EXC_GP, 0);
    if (wide && (!x86_canonical(c->s.hot[RCX]) || !x86_canonical(c->s.hot[RDX])))
        return x86_fault(c, EXC_GP, 0);
    c->s.hot[RSP] = wide ? c->s.hot[RCX] : (uint32_t)c->s.hot[RCX];
    *x86_pc(c) = wide ? c->s.hot[RDX] : (uint32_t)c->s.hot[RDX];
    uint16_t sel = c->sysenter_cs + (wide ? 32 : 16);
    flat_cs_ss(c, sel | 3, wide ? SEG_L : SEG_DB, (sel + 8) | 3, 3);
    return true;
}
