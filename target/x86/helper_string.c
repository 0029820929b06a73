/* SPDX-License-Identifier: GPL-2.0-or-later
 * Repeated string instructions, in bulk on host memory where whole pages are plain RAM, else element by element.
 * A fault after some progress is dropped: the registers say how far it came, the pc stays at the instruction, and its
 * next run faults at its first iteration, with nothing done.  Each call does a bounded amount, so that interrupts are
 * taken between calls.  Source: APM vol. 3 section 1.2.6 and the instruction pages. */
#include "target/x86/debug.h"
#include "target/x86/string.h"
#include "util/bits.h"

enum { BULK_BYTES = 1 << 16, SLOW_ELEMENTS = 256 };

typedef struct Rep {
    X86Cpu  *c;
    unsigned op, size, shift, adsize;           /* size: 1 << shift */
    uint32_t what;
    uint64_t src_base, dst_base, mask;          /* mask: of offsets, by the address size */
    uint64_t si, di, n, done;                   /* done: iterations of this call */
    uint64_t rax;
    bool     down, compares, stop, aligned;     /* aligned: elements must be */
    uint64_t lhs, rhs;                          /* of the last comparison */
} Rep;

static bool uses_src(const Rep *r)
{
    return r->op == STR_MOVS || r->op == STR_LODS || r->op == STR_CMPS || r->op == STR_OUTS;
}
static bool uses_dst(const Rep *r) { return r->op != STR_LODS && r->op != STR_OUTS; }
static bool writes_dst(const Rep *r) { return r->op == STR_MOVS || r->op == STR_STOS || r->op == STR_INS; }

static unsigned src_seg(const Rep *r) { return r->what >> REP_SEG & 7; }

static uint64_t linear(const Rep *r, uint64_t base, uint64_t off)
{
    uint64_t va = base + off;
    return r->what & REP_CODE64 ? va : va & 0xffffffff;
}

/* By constant sizes: memcpy() of a variable one is a call. */
static inline uint64_t get_element(const void *p, unsigned size)
{
    uint16_t v2;
    uint32_t v4;
    uint64_t v8;
    switch (size) {
    case 1:  return *(const uint8_t *)p;
    case 2:  return memcpy(&v2, p, 2), GUINT16_FROM_LE(v2);
    case 4:  return memcpy(&v4, p, 4), GUINT32_FROM_LE(v4);
    default: return memcpy(&v8, p, 8), GUINT64_FROM_LE(v8);
    }
}

static inline void put_element(void *p, unsigned size, uint64_t v)
{
    uint16_t v2 = GUINT16_TO_LE(v);
    uint32_t v4 = GUINT32_TO_LE(v);
    uint64_t v8 = GUINT64_TO_LE(v);
    switch (size) {
    case 1:  *(uint8_t *)p = v; break;
    case 2:  memcpy(p, &v2, 2); break;
    case 4:  memcpy(p, &v4, 4); break;
    default: memcpy(p, &v8, 8); break;
    }
}

/* n elements from off on: n if all of them may be accessed, else 0: one() finds which. */
static uint64_t within_limit(const Rep *r, unsigned seg, bool write, uint64_t off, uint64_t n)
{
    if (!(r->what & REP_LIMITS) || !n)
        return n;
    uint64_t low = r->down ? off - (n - 1) * r->size : off, high = low + (n - 1) * r->size;
    return x86_within(r->c, seg, low, r->size, write) && x86_within(r->c, seg, high, r->size, write) ? n : 0;
}

/* How many elements from off on lie in one page and do not wrap. */
static uint64_t run_length(const Rep *r, uint64_t base, uint64_t off)
{
    uint64_t in_page = linear(r, base, off) & (PAGE_SIZE - 1);
    if (r->aligned && in_page % r->size)
        return 0;
    if (in_page + r->size > PAGE_SIZE || (r->mask - off) + 1 - 1 < r->size - 1)
        return 0;
    if (r->down)
        return (MIN(in_page, off) >> r->shift) + 1;
    uint64_t room = MIN((uint64_t)PAGE_SIZE - in_page - 1, r->mask - off);
    return (room + 1) >> r->shift;
}

static void *host_run(Rep *r, uint64_t base, uint64_t off, uint64_t n, MmuAccess acc)
{
    uint64_t low = r->down ? off - (n - 1) * r->size : off;
    return r->c->hooks->host(&r->c->s, linear(r, base, low), n * r->size, acc, -1);
}

static void note_compare(Rep *r, uint64_t lhs, uint64_t rhs)
{
    r->lhs = lhs;
    r->rhs = rhs;
    r->compares = true;
    if (r->what & REP_COUNTED)
        r->stop = (lhs != rhs) != !!(r->what & REP_WHILE_NE);
}

static void advance(Rep *r, uint64_t n)
{
    uint64_t by = r->down ? -(n * r->size) : n * r->size;
    if (uses_src(r))
        r->si = (r->si + by) & r->mask;
    if (uses_dst(r))
        r->di = (r->di + by) & r->mask;
    r->n -= n;
    r->done += n;
}

/* Elements in the instruction's order, where the areas overlap so that order shows. */
static void copy_in_order(uint8_t *d, const uint8_t *s, uint64_t n, unsigned size, bool down)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = (down ? n - 1 - i : i) * size;
        uint64_t v = get_element(s + at, size);
        put_element(d + at, size, v);
    }
}

static void bulk_movs(const Rep *r, uint8_t *d, const uint8_t *s, uint64_t n)
{
    uint64_t len = n * r->size;
    bool disturbs = r->down ? d < s && d + len > s : d > s && d < s + len;
    if (disturbs)
        copy_in_order(d, s, n, r->size, r->down);
    else
        memmove(d, s, len);
}

static void bulk_stos(const Rep *r, uint8_t *d, uint64_t n)
{
    uint64_t v = r->rax, byte = (v & 0xff) * UINT64_C(0x0101010101010101), unused = 64 - 8 * r->size;
    if (v << unused == byte << unused) {
        memset(d, (int)v, n * r->size);
        return;
    }
    for (uint64_t i = 0; i < n; i++)
        put_element(d + i * r->size, r->size, v);
}

/* Elements before the first that ends a comparison upwards, with size a constant. */
static inline __attribute__((always_inline)) uint64_t skip(const Rep *r, const uint8_t *s, const uint8_t *d, uint64_t n,
                                                           unsigned size)
{
    bool until_equal = r->what & REP_WHILE_NE;
    uint64_t i = 0, rax = size == 8 ? r->rax : r->rax & ((1ull << size * 8 % 64) - 1);
    if (s) {
        while (i < n && (get_element(s + i * size, size) == get_element(d + i * size, size)) != until_equal)
            i++;
    } else {
        while (i < n && (rax == get_element(d + i * size, size)) != until_equal)
            i++;
    }
    return i;
}

/* Of those that are passed over only the last is of interest, when it is the last of all. */
static uint64_t skip_upwards(const Rep *r, const uint8_t *s, const uint8_t *d, uint64_t n)
{
    uint64_t i;
    switch (r->size) {
    case 1: {
        const uint8_t *at = !s && r->what & REP_WHILE_NE ? memchr(d, (int)(r->rax & 0xff), n) : NULL;
        i = at ? (uint64_t)(at - d) : !s && r->what & REP_WHILE_NE ? n : skip(r, s, d, n, 1);
        break;
    }
    case 2:  i = skip(r, s, d, n, 2); break;
    case 4:  i = skip(r, s, d, n, 4); break;
    default: i = skip(r, s, d, n, 8); break;
    }
    return i < n ? i : n - 1;
}

/* Returns how many elements were compared. */
static uint64_t bulk_compare(Rep *r, const uint8_t *s, const uint8_t *d, uint64_t n)
{
    uint64_t m = r->size == 8 ? ~0ull : (1ull << r->size * 8) - 1, i = 0;
    if (!r->down && r->what & REP_COUNTED)
        i = skip_upwards(r, s, d, n);
    while (i < n && !r->stop) {
        uint64_t at = (r->down ? n - 1 - i : i) * r->size;
        uint64_t lhs = s ? get_element(s + at, r->size) : r->rax & m;
        note_compare(r, lhs, get_element(d + at, r->size));
        i++;
    }
    return i;
}

/* One stretch on host memory.  False: not possible here. */
static bool bulk(Rep *r, uint64_t limit)
{
    if (r->op == STR_INS || r->op == STR_OUTS)
        return false;
    uint64_t n = MIN(r->n, limit);
    if (uses_src(r))
        n = MIN(n, run_length(r, r->src_base, r->si));
    if (uses_dst(r))
        n = MIN(n, run_length(r, r->dst_base, r->di));
    if (uses_src(r))
        n = within_limit(r, src_seg(r), false, r->si, n);
    if (uses_dst(r))
        n = within_limit(r, ES, writes_dst(r), r->di, n);
    if (!n)
        return false;
    uint8_t *s = NULL, *d = NULL;
    if (uses_src(r) && !(s = host_run(r, r->src_base, r->si, n, ACC_READ)))
        return false;
    if (uses_dst(r) && !(d = host_run(r, r->dst_base, r->di, n, writes_dst(r) ? ACC_WRITE : ACC_READ)))
        return false;
    switch (r->op) {
    case STR_MOVS:
        bulk_movs(r, d, s, n);
        break;
    case STR_STOS:
        bulk_stos(r, d, n);
        break;
    case STR_LODS:
        r->rax = get_element(r->down ? s : s + (n - 1) * r->size, r->size);
        break;
    default:
        n = bulk_compare(r, s, d, n);
    }
    advance(r, n);
    return true;
}

/* Whether the element may be accessed at all; else a fault has been recorded. */
static bool allowed(const Rep *r, unsigned seg, uint64_t off, uint64_t va, bool write)
{
    if ((r->what & REP_LIMITS) && !x86_within(r->c, seg, off, r->size, write)) {
        x86_raise(r->c, seg == SS ? EXC_SS : EXC_GP, 0);
        return false;
    }
    if (r->aligned && va % r->size) {
        x86_raise(r->c, EXC_AC, 0);
        return false;
    }
    return true;
}

/* One element through the slow path.  False: a fault has been recorded, and nothing done. */
static bool one(Rep *r)
{
    const CpuHooks *h = r->c->hooks;
    CpuState *s = &r->c->s;
    uint64_t src = linear(r, r->src_base, r->si), dst = linear(r, r->dst_base, r->di), v = 0, w = 0;
    uint16_t port = s->hot[X_RDX];
    if ((r->op == STR_INS || r->op == STR_OUTS) && r->c->dr_io && !x86_debug_port(r->c, port, r->size))
        return false;
    if ((uses_src(r) && !allowed(r, src_seg(r), r->si, src, false)) ||
        (uses_dst(r) && !allowed(r, ES, r->di, dst, writes_dst(r))))
        return false;
    if (writes_dst(r) && !h->probe(s, dst, r->size, ACC_WRITE, -1))
        return false;
    if (uses_src(r) && !h->load(s, src, r->size, -1, &v))
        return false;
    switch (r->op) {
    case STR_STOS:
        v = r->rax;
        break;
    case STR_LODS:
        r->rax = v;
        break;
    case STR_SCAS:
    case STR_CMPS:
        if (!h->load(s, dst, r->size, -1, &w))
            return false;
        if (r->op == STR_SCAS)
            v = r->size == 8 ? r->rax : r->rax & ((1ull << r->size * 8) - 1);
        note_compare(r, v, w);
        break;
    case STR_INS:
        v = h->port_load(s, port, r->size);
        break;
    case STR_OUTS:
        h->port_store(s, port, r->size, v);
        break;
    }
    if (writes_dst(r) && !h->store(s, dst, r->size, -1, v))
        return false;
    advance(r, 1);
    return true;
}

static void put_width(uint64_t *reg, uint64_t v, unsigned bytes)
{
    if (bytes >= 4)
        *reg = bytes == 8 ? v : (uint32_t)v;
    else
        *reg = bits_put(*reg, 0, bytes * 8, v);
}

static void write_back(Rep *r)
{
    uint64_t *hot = r->c->s.hot;
    if (uses_src(r))
        put_width(&hot[X_RSI], r->si, r->adsize);
    if (uses_dst(r))
        put_width(&hot[X_RDI], r->di, r->adsize);
    if (r->what & REP_COUNTED)
        put_width(&hot[X_RCX], r->n, r->adsize);
    if (r->op == STR_LODS)
        put_width(&hot[X_RAX], r->rax, r->size);
    if (r->compares) {
        hot[X_CC_A] = r->lhs;
        hot[X_CC_B] = r->rhs;
        *x86_cc_op(r->c) = CC_CMP | __builtin_ctz(r->size);
    }
}

static int h_rep(CpuState *s, uint64_t what, uint64_t src_base, uint64_t dst_base, uint64_t pc, uint64_t next)
{
    X86Cpu *c = x86_cpu(s);
    unsigned size = what >> REP_SIZE & 0xff, adsize = what >> REP_ADSIZE & 0xff;
    uint64_t mask = adsize == 8 ? ~0ull : (1ull << adsize * 8) - 1;
    Rep r = {
        .c = c, .op = what & STR_OP, .size = size, .shift = __builtin_ctz(size), .adsize = adsize, .what = what, .src_base = src_base,
        .dst_base = dst_base, .mask = mask, .si = s->hot[X_RSI] & mask, .di = s->hot[X_RDI] & mask,
        .n = what & REP_COUNTED ? s->hot[X_RCX] & mask : 1, .rax = s->hot[X_RAX],
        .down = s->hot[X_EFLAGS - 1] & FL_DF, .aligned = s->mode_tag >> 48 & MODE_AC,
    };
    uint64_t limit = what & REP_ONE ? 1 : BULK_BYTES >> r.shift;
    unsigned slow = 0;
    while (r.n && !r.stop && r.done < limit && slow < SLOW_ELEMENTS) {
        if (bulk(&r, limit - r.done))
            continue;
        if (!one(&r)) {
            if (!r.done)
                return 1;
            c->exc_pending = false;
            break;
        }
        slow++;
        if (c->trap_dr6 || s->countdown < 0)    /* a trap comes between iterations */
            break;
    }
    if (r.done)
        write_back(&r);
    c->rep_inside = r.n && !r.stop;
    s->hot[X_PC] = c->rep_inside ? pc : next;
    return 0;
}

#define REP_REGS (SLOT_BIT(X_RAX) | SLOT_BIT(X_RCX) | SLOT_BIT(X_RSI) | SLOT_BIT(X_RDI))
const IrHelper x86_helper_rep = {
    "x86_rep", h_rep, T_NONE, 5, HF_FAULTS,
    .reads = { { REP_REGS | SLOT_BIT(X_RDX) | SLOT_BIT(X_EFLAGS) | SLOT_BIT(X_SYS) } },
    .writes = { { REP_REGS | SLOTS_CC | SLOTS_PC } },
};
