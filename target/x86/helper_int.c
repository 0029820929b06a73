/* SPDX-License-Identifier: GPL-2.0-or-later
 * Helpers of the integer rows: what is too long or too rare to be translated.  Source: APM vol. 3. */
#include "target/x86/translate.h"

/* --- RCL, RCR.  what: count | operand bytes << 8 | right << 16 */

typedef struct Rotated { uint64_t v; bool cf; } Rotated;

static Rotated rotate_carry(uint64_t x, uint32_t what, bool cf)
{
    unsigned bits = (what >> 8 & 0xff) * 8, count = what & 0xff;
    if (bits < 32)
        count %= bits + 1;
    Rotated r = { x, cf };
    for (; count; count--) {
        bool out;
        if (what >> 16) {
            out = r.v & 1;
            r.v = r.v >> 1 | (uint64_t)r.cf << (bits - 1);
        } else {
            out = r.v >> (bits - 1) & 1;
            r.v = r.v << 1 | r.cf;
        }
        r.cf = out;
    }
    if (bits < 64)
        r.v &= (1ull << bits) - 1;
    return r;
}

static uint64_t h_rcl(CpuState *s, uint64_t x, uint32_t what, uint32_t flags)
{
    return rotate_carry(x, what, flags & FL_CF).v;
}

/* OF as for a count of 1 (undefined for others); a count of 0 changes nothing. */
static uint64_t h_rcl_flags(CpuState *s, uint64_t x, uint32_t what, uint32_t flags)
{
    unsigned top = (what >> 8 & 0xff) * 8 - 1;
    if (!(what & 0xff))
        return flags;
    Rotated r = rotate_carry(x, what, flags & FL_CF);
    bool of = what >> 16 ? (r.v >> top ^ r.v >> (top - 1)) & 1 : (r.v >> top & 1) != r.cf;
    return (flags & ~(FL_CF | FL_OF)) | (r.cf ? FL_CF : 0) | (of ? FL_OF : 0);
}

const IrHelper x86_helper_rcl = { "x86_rcl", h_rcl, I64, 3, HF_PURE };
const IrHelper x86_helper_rcl_flags = { "x86_rcl_flags", h_rcl_flags, I32, 3, HF_PURE };

/* --- IDIV r/m64 whose dividend is not a sign extension */

static int h_idiv64(CpuState *s, uint64_t divisor)
{
    X86Cpu *c = x86_cpu(s);
    unsigned __int128 x = (unsigned __int128)s->hot[X_RDX] << 64 | s->hot[X_RAX];
    bool neg = s->hot[X_RDX] >> 63, neg_d = divisor >> 63;
    unsigned __int128 ux = neg ? -x : x;
    uint64_t d = neg_d ? -divisor : divisor;
    /* |quotient| must be below 2^63, or 2^63 itself if negative */
    if (!d || (uint64_t)(ux >> 64) >= d) {
        x86_raise(c, EXC_DE, 0);
        return 1;
    }
    uint64_t q = (uint64_t)(ux / d), r = (uint64_t)(ux % d);
    if (q > (1ull << 63) - (neg == neg_d)) {
        x86_raise(c, EXC_DE, 0);
        return 1;
    }
    s->hot[X_RAX] = neg != neg_d ? -q : q;
    s->hot[X_RDX] = neg ? -r : r;
    return 0;
}

#define RAX_RDX (SLOT_BIT(X_RAX) | SLOT_BIT(X_RDX))
const IrHelper x86_helper_idiv64 = {
    "x86_idiv64", h_idiv64, T_NONE, 1, HF_FAULTS, .reads = { { RAX_RDX } }, .writes = { { RAX_RDX } },
};

/* --- CMPXCHG8B, CMPXCHG16B */

static void put_zf(X86Cpu *c, uint32_t flags, bool zf)
{
    c->s.hot[X_CC_A] = (flags & FL_ARITH & ~FL_ZF) | (zf ? FL_ZF : 0);
    *x86_cc_op(c) = CC_EFLAGS;
}

static int h_cmpxchg8b(CpuState *s, uint64_t va, uint32_t flags)
{
    X86Cpu *c = x86_cpu(s);
    uint64_t *hot = s->hot;
    uint64_t expected = (uint32_t)hot[X_RAX] | hot[X_RDX] << 32, now[2] = { expected };
    const uint64_t wanted[2] = { (uint32_t)hot[X_RBX] | hot[X_RCX] << 32 };
    if (va & 7 && s->mode_tag >> 48 & MODE_AC) {
        x86_raise(c, EXC_AC, 0);
        return 1;
    }
    if (!c->hooks->cas(s, va, 8, now, wanted))
        return 1;
    if (now[0] != expected) {
        hot[X_RAX] = (uint32_t)now[0];
        hot[X_RDX] = now[0] >> 32;
    }
    put_zf(c, flags, now[0] == expected);
    return 0;
}

static int h_cmpxchg16b(CpuState *s, uint64_t va, uint32_t flags)
{
    X86Cpu *c = x86_cpu(s);
    uint64_t *hot = s->hot, now[2] = { hot[X_RAX], hot[X_RDX] };
    const uint64_t wanted[2] = { hot[X_RBX], hot[X_RCX] };
    if (va & 15) {
        x86_raise(c, EXC_GP, 0);
        return 1;
    }
    if (!c->hooks->cas(s, va, 16, now, wanted))
        return 1;
    bool equal = now[0] == hot[X_RAX] && now[1] == hot[X_RDX];
    if (!equal) {
        hot[X_RAX] = now[0];
        hot[X_RDX] = now[1];
    }
    put_zf(c, flags, equal);
    return 0;
}

static void h_pause(CpuState *s)
{
    X86Cpu *c = x86_cpu(s);
    if (c->hooks->relax)
        c->hooks->relax(s);
}
const IrHelper x86_helper_pause = { "x86_pause", h_pause, T_NONE, 0 };

#define ABCD (RAX_RDX | SLOT_BIT(X_RBX) | SLOT_BIT(X_RCX))
const IrHelper x86_helper_cmpxchg8b = {
    "x86_cmpxchg8b", h_cmpxchg8b, T_NONE, 2, HF_FAULTS, .reads = { { ABCD | SLOT_BIT(X_SYS) } },
    .writes = { { RAX_RDX | SLOTS_CC } },
};
const IrHelper x86_helper_cmpxchg16b = {
    "x86_cmpxchg16b", h_cmpxchg16b, T_NONE, 2, HF_FAULTS, .reads = { { ABCD | SLOT_BIT(X_SYS) } },
    .writes = { { RAX_RDX | SLOTS_CC } },
};

/* --- DAA DAS AAA AAS AAM AAD: what = opcode | immediate << 8; AX | flags << 32 */

static uint32_t zsp(uint8_t v)
{
    return (v ? 0 : FL_ZF) | (v & 0x80 ? FL_SF : 0) | (__builtin_parity(v) ? 0 : FL_PF);
}

static uint64_t daa(uint16_t ax, uint32_t f, bool sub)
{
    uint8_t al = ax, old = al;
    bool cf = f & FL_CF, af = f & FL_AF, out = false;
    if ((al & 15) > 9 || af) {
        out = cf || (sub ? al < 6 : al > 0xf9);
        al += sub ? -6 : 6;
        af = true;
    }
    if (old > 0x99 || cf) {
        al += sub ? -0x60 : 0x60;
        out = true;
    }
    f = zsp(al) | (out ? FL_CF : 0) | (af ? FL_AF : 0);
    return (ax & 0xff00) | al | (uint64_t)f << 32;
}

static uint64_t aaa(uint16_t ax, uint32_t f, bool sub)
{
    bool adjust = (ax & 15) > 9 || f & FL_AF;
    if (adjust)
        ax += sub ? -0x106 : 0x106;
    ax &= 0xff0f;
    f = zsp(ax) | (adjust ? FL_CF | FL_AF : 0);
    return ax | (uint64_t)f << 32;
}

static uint64_t h_decimal(CpuState *s, uint64_t rax, uint32_t flags, uint32_t what)
{
    uint16_t ax = rax;
    uint8_t base = what >> 8;
    switch (what & 0xff) {
    case 0x27:
    case 0x2f:
        return daa(ax, flags, (what & 0xff) == 0x2f);
    case 0x37:
    case 0x3f:
        return aaa(ax, flags, (what & 0xff) == 0x3f);
    case 0xd4:
        ax = ((ax & 0xff) / (base ? base : 1)) << 8 | (ax & 0xff) % (base ? base : 1);
        break;
    default:
        ax = ((ax & 0xff) + (ax >> 8) * base) & 0xff;
    }
    return ax | (uint64_t)zsp(ax) << 32;
}

const IrHelper x86_helper_decimal = { "x86_decimal", h_decimal, I64, 3, HF_PURE };

/* --- single step of an instruction that puts the pc: the #DB is recorded, and taken at the next block's head */

static void h_step_soon(CpuState *s, uint32_t how)
{
    int (*record)(CpuState *, uint64_t, uint32_t) = x86_helper_single_step.fn;
    if (record(s, 0, how))
        x86_cpu(s)->hooks->attention(s);
}
const IrHelper x86_helper_step_soon = { "x86_step_soon", h_step_soon, T_NONE, 1, 0, .reads = { { SLOT_BIT(X_SYS) } } };

/* --- INTO */

static int h_into(CpuState *s, uint32_t of, uint64_t next)
{
    int (*deliver)(CpuState *, uint32_t, uint32_t, uint64_t) = x86_helper_int.fn;
    if (of)
        return deliver(s, EXC_OF, SOFT_INTO, next);
    s->hot[X_PC] = next;
    return 0;
}
const IrHelper x86_helper_into = {
    "x86_into", h_into, T_NONE, 2, HF_FAULTS, .reads = { { SLOTS_ALL & ~SLOT_BIT(X_SHADOW) } },
    .writes = { { SLOTS_ALL & ~SLOT_BIT(X_SHADOW) } },      /* as x86_helper_int */
};

/* --- segment limits: what = segment | write << 7 | length << 8.  APM vol. 2 sections 4.12 and 4.8. */

bool x86_within(const X86Cpu *c, unsigned n, uint64_t ea, unsigned len, bool write)
{
    const X86Seg *seg = &c->seg[n];
    bool rw = seg->attr & 0x200;
    uint64_t last = ea + len - 1;
    bool code = seg->attr & 0x800, expand_down = !code && seg->attr & 0x400, real = !(c->cr0 & CR0_PE);
    if (!real && (!(seg->attr & SEG_P) || (write ? code || !rw : code && !rw)))
        return false;
    if (!expand_down)
        return last <= seg->limit;
    return ea > seg->limit && last <= (seg->attr & SEG_DB ? 0xffffffffu : 0xffffu);
}

static int h_limit(CpuState *s, uint32_t what, uint64_t ea)
{
    X86Cpu *c = x86_cpu(s);
    unsigned n = what & 0x7f;
    if (x86_within(c, n, ea, what >> 8, what >> 7 & 1))
        return 0;
    x86_raise(c, n == SS ? EXC_SS : EXC_GP, 0);
    return 1;
}
const IrHelper x86_helper_limit = {
    "x86_limit", h_limit, T_NONE, 2, HF_FAULTS, .reads = { { SLOT_BIT(X_SYS) | SLOT_BIT(X_EFLAGS) } },
};
