/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest memory: the inline look-up in the software TLB (tcg/layout.h), the access, and the slow path in
 * cold code.
 *
 * Of a group of accesses off one base (tcg/live.c) the first that runs checks that the whole range lies in
 * one page that allows what the group does, and keeps the host address of the base, or 0 if the check
 * failed.  The others test that register; at 0 they look for themselves, in cold code. */
#include "tcg/x86_64/x64.h"

typedef struct Access {
    unsigned base;              /* register of the address */
    int32_t  disp;
    unsigned mo, bytes;
    bool     write;             /* compares with TlbEntry.write */
    bool     fast;              /* has a fast path */
    unsigned host;              /* register of the base's host address; NO_REG */
    bool     leads;             /* it is set here */
    int32_t  lo, hi;            /* range that is checked, relative to base */
    bool     check_write;
    /* What is done there. */
    bool     store, vec, imm;
    unsigned reg;
    int64_t  value;             /* imm */
    IrType   sign_to;           /* load: T_NONE: zero-extends */
    uint32_t flags, thunk, rec;
} Access;

static Access access_start(Gen *g, uint32_t i, bool write)
{
    const IrInsn *in = &g->ir->insns[i];
    Access a = { .mo = in->flags & 0xffff, .bytes = mo_bytes(in->flags), .write = write,
                 .host = NO_REG, .flags = in->flags };
    Val addr = in->a;
    snap_advance(g, in->aux);
    g->snap_now = true;
    if (g->how[i] & HOW_ADDR) {
        a.disp = (int32_t)const_lo(g->ir, g->ir->insns[addr].b);
        addr = g->ir->insns[addr].a;
    }
    a.base = ra_use(g, gen_ent(g, addr), GPRS);
    a.fast = !(a.mo & MO_VIEW) && a.bytes <= 32;
    a.lo = a.disp;
    a.hi = a.disp + (int32_t)a.bytes;
    a.check_write = write;
    return a;
}

/* After all other registers have been given out. */
static void access_share(Gen *g, Access *a, uint32_t i)
{
    if (!g->group_of[i])
        return;
    uint32_t group = g->group_of[i] - 1;
    const Group *gr = &g->groups[group];
    a->host = ra_base_find(g, group);
    if (a->host != NO_REG || gr->last == i)
        return;
    a->host = ra_base_new(g, group);
    if (a->host == NO_REG)
        return;
    a->leads = true;
    a->lo = gr->lo > 0 && gr->hi <= 256 ? 0 : gr->lo;          /* from the base itself: a shorter check */
    a->hi = gr->hi;
    a->check_write |= gr->store;
}

static void address(Gen *g, unsigned to, unsigned base, int32_t disp)
{
    if (disp)
        x64_rm(g, 0x8d | O_W, to, base, disp);
    else
        x64_mov(g, to, base);
}

/* Compares the page of [base + lo, base + hi) with its TLB entry; equal: plain memory.  The entry is found
 * by the first byte and compared with the page of the last, so a range that crosses pages never matches. */
static void look(Gen *g, const Access *a, int32_t lo, int32_t hi, bool write)
{
    enum { SHIFT = PAGE_BITS - 5, INDEX_MASK = (TLB_SIZE - 1) << 5 };
    _Static_assert(sizeof(TlbEntry) == 32, "the shift below scales by it");
    bool align = a->mo & MO_ALIGN;
    if (g->be->features & HOST_BMI2 && !lo) {
        x64_vrr(g, 0xf0 | O_0F3A | O_F2 | O_W, RTMP, 0, a->base);       /* rorx */
        x64_1(g, SHIFT);
    } else {
        address(g, RTMP, a->base, lo);
        x64_shift_i(g, true, SH_SHR, RTMP, SHIFT);
    }
    x64_rr(g, 0x81, ALU_AND, RTMP);
    x64_4(g, INDEX_MASK);
    address(g, RTMP2, a->base, align ? lo : hi - 1);
    x64_rr(g, 0x81 | O_W, ALU_AND, RTMP2);
    x64_4(g, (uint32_t)PAGE_MASK | (align ? a->bytes - 1 : 0));
    x64_rx(g, 0x3b | O_W, RTMP2, RCTX, RTMP, 0, write ? offsetof(TlbEntry, write) : offsetof(TlbEntry, read));
}
static void get_addend(Gen *g) { x64_rx(g, 0x8b | O_W, RTMP, RCTX, RTMP, 0, offsetof(TlbEntry, addend)); }

enum { SCRATCH = offsetof(CpuState, scratch) - CPU_BIAS };

static uint32_t load_op(unsigned bytes, IrType sign_to)
{
    switch (bytes) {
    case 1:  return (sign_to ? 0xbe : 0xb6) | O_0F | wide(sign_to == I64);
    case 2:  return (sign_to ? 0xbf : 0xb7) | O_0F | wide(sign_to == I64);
    case 4:  return sign_to ? 0x63 | O_W : 0x8b;
    default: return 0x8b | O_W;
    }
}
static uint32_t store_op(unsigned bytes)
{
    return bytes == 1 ? 0x88 | O_BREG : bytes == 2 ? 0x89 | O_66 : bytes == 4 ? 0x89 : 0x89 | O_W;
}

static void bswap(Gen *g, unsigned r, unsigned bytes)
{
    if (bytes == 2) {
        x64_rr(g, 0xc1 | O_66, SH_ROL, r);
        x64_1(g, 8);
    } else if (bytes > 2) {
        x64_prefixes(g, (0xc8 | (r & 7)) | O_0F | wide(bytes == 8), 0, 0, r);
    }
}

/* Where an access goes: base and, if not NO_REG, index. */
typedef struct Place { unsigned base, index; int32_t disp; } Place;

static void at_place(Gen *g, uint32_t op, unsigned reg, Place p)
{
    if (p.index == NO_REG)
        x64_rm(g, op, reg, p.base, p.disp);
    else
        x64_rx(g, op, reg, p.base, p.index, 0, p.disp);
}

/* Vector moves to and from memory: 4, 8, 16, 32 bytes. */
static void vec_mem(Gen *g, bool store, unsigned bytes, unsigned reg, Place p)
{
    uint32_t op;
    if (bytes >= 16)
        op = (store ? 0x11 : 0x10) | O_0F | (bytes == 32 ? O_L : 0);                              /* movups */
    else if (bytes == 8)
        op = store ? 0xd6 | O_0F | O_66 : 0x7e | O_0F | O_F3;           /* movq */
    else
        op = (store ? 0x7e : 0x6e) | O_0F | O_66;                       /* movd */
    if (!g->be->avx)
        at_place(g, op, reg & 15, p);
    else if (p.index == NO_REG)
        x64_vrm(g, op, reg & 15, 0, p.base, p.disp);
    else
        x64_vrx(g, op, reg & 15, p.base, p.index, p.disp);
}
/* movd between a vector and a general register */
static void vec_gpr(Gen *g, bool to_gpr, unsigned vec, unsigned gpr)
{
    uint32_t op = (to_gpr ? 0x7e : 0x6e) | O_0F | O_66;
    if (g->be->avx)
        x64_vrr(g, op, vec & 15, 0, gpr);
    else
        x64_rr(g, op, vec & 15, gpr);
}

static void do_load(Gen *g, const Access *a, Place p)
{
    if (a->vec && a->bytes < 4) {
        at_place(g, load_op(a->bytes, T_NONE), RTMP2, p);
        vec_gpr(g, false, a->reg, RTMP2);
    } else if (a->vec) {
        vec_mem(g, false, a->bytes, a->reg, p);
    } else if (a->mo & MO_BE) {
        at_place(g, load_op(a->bytes, T_NONE), a->reg, p);
        bswap(g, a->reg, a->bytes);
        if (a->sign_to && a->bytes < 8)
            x64_rr(g, load_op(a->bytes, a->sign_to) | (a->bytes == 1 ? O_BRM : 0), a->reg, a->reg);
    } else {
        at_place(g, load_op(a->bytes, a->sign_to), a->reg, p);
    }
}

static void do_store(Gen *g, const Access *a, Place p)
{
    unsigned bytes = a->bytes;
    if (a->vec && bytes < 4) {
        vec_gpr(g, true, a->reg, RTMP2);
        at_place(g, store_op(bytes), RTMP2, p);
    } else if (a->vec) {
        vec_mem(g, true, bytes, a->reg, p);
    } else if (a->imm) {
        uint32_t op = bytes == 1 ? 0xc6 : bytes == 2 ? 0xc7 | O_66 : bytes == 4 ? 0xc7 : 0xc7 | O_W;
        at_place(g, op, 0, p);
        for (unsigned n = 0; n < MIN(bytes, 4); n++)
            x64_1(g, (unsigned)(a->value >> 8 * n) & 0xff);
    } else if (a->mo & MO_BE && bytes > 1) {
        x64_mov(g, RTMP2, a->reg);
        bswap(g, RTMP2, bytes);
        at_place(g, store_op(bytes), RTMP2, p);
    } else {
        at_place(g, store_op(bytes), a->reg, p);
    }
}

static void do_access(Gen *g, const Access *a, Place p)
{
    if (a->store)
        do_store(g, a, p);
    else
        do_load(g, a, p);
}

/* Calls the slow path with the address and the flags; a fault finds the snapshot record here. */
static void slow_call(Gen *g, const Access *a)
{
    address(g, RTMP, a->base, a->disp);
    x64_mov_i(g, RTMP2, a->flags);
    x64_to_thunk(g, 0xe8, a->thunk);
    GEN_PUSH(g, sites) = (Site){ cold_at(g), a->rec };
}

static void slow(Gen *g, const Access *a)
{
    const Place scratch = { RBP, NO_REG, SCRATCH };
    if (a->store && a->vec) {
        vec_mem(g, true, MAX(a->bytes, 16), a->reg, scratch);
    } else if (a->store && a->imm) {
        x64_cpu(g, 0xc7 | O_W, 0, SCRATCH);
        x64_4(g, (uint32_t)a->value);
    } else if (a->store) {
        x64_cpu(g, 0x89 | O_W, a->reg, SCRATCH);
    }
    slow_call(g, a);
    if (a->store)
        return;
    if (a->vec)
        vec_mem(g, false, MAX(a->bytes, 8), a->reg, scratch);
    else
        x64_cpu(g, load_op(a->bytes, a->sign_to), a->reg, SCRATCH);
}

/* The way of an access that cannot use the shared check: its own, then the slow path. */
static void alone(Gen *g, const Access *a, uint32_t back)
{
    look(g, a, a->disp, a->disp + (int32_t)a->bytes, a->write);
    x64_1(g, 0x70 | CC_NE);
    uint8_t *jump = g->p;
    x64_1(g, 0);
    get_addend(g);
    do_access(g, a, (Place){ a->base, RTMP, a->disp });
    x64_jump_back(g, back);
    *jump = (uint8_t)(g->p - jump - 1);
}

static void whole_access(Gen *g, const Access *a)
{
    bool follows = a->host != NO_REG && !a->leads, own = follows;
    if (!a->fast) {
        x64_jump_cold(g, -1);
    } else if (follows) {
        x64_rr(g, 0x85 | O_W, a->host, a->host);
        x64_jump_cold(g, CC_E);
        do_access(g, a, (Place){ a->host, NO_REG, a->disp });
    } else {
        look(g, a, a->lo, a->hi, a->check_write);
        x64_jump_cold(g, CC_NE);
        get_addend(g);
        if (a->leads) {
            x64_rx(g, 0x8d | O_W, a->host, a->base, RTMP, 0, 0);
            own = a->lo != a->disp || a->hi != a->disp + (int32_t)a->bytes || a->check_write != a->write;
            do_access(g, a, (Place){ a->host, NO_REG, a->disp });
        } else {
            do_access(g, a, (Place){ a->base, RTMP, a->disp });
        }
    }
    uint32_t back = hot_at(g);
    if (a->store && a->mo & MO_SC)
        x64_fence(g);
    cold_begin(g);
    if (a->leads)
        x64_mov_i(g, a->host, 0);
    if (own)
        alone(g, a, back);
    slow(g, a);
    x64_jump_back(g, back);
    cold_end(g);
}

static void load_vec(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    Access a = access_start(g, i, in->flags & MO_RMW);
    a.vec = true;
    a.thunk = g->be->thunk.load;
    a.reg = ra_def(g, i, VECS);
    access_share(g, &a, i);
    a.rec = snap_record(g, in->aux);
    whole_access(g, &a);
}

void x64_load(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    if (type_is_vec(in->type)) {
        load_vec(g, i);
        return;
    }
    Access a = access_start(g, i, in->flags & MO_RMW);
    uint32_t addr = g->reg_ent[a.base];
    a.thunk = g->be->thunk.load;
    a.sign_to = g->how[i] & HOW_SEXT ? g->ext[i] : T_NONE;
    if (!ent_is_const(g, addr) && ent_dies_now(g, addr)) {
        access_share(g, &a, i);
        a.rec = snap_record(g, in->aux);
        a.reg = a.base;
        ra_drop_reg(g, a.reg);
        ra_set(g, i, a.reg);
    } else {
        a.reg = ra_def(g, i, GPRS);
        access_share(g, &a, i);
        a.rec = snap_record(g, in->aux);
    }
    whole_access(g, &a);
}

void x64_store(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    uint32_t v = gen_ent(g, in->b);
    Access a = access_start(g, i, true);
    a.store = true;
    a.thunk = g->be->thunk.store;
    a.vec = ent_is_vec(g, v);
    if (ent_is_const(g, v) && !a.vec && !(in->flags & MO_BE && a.bytes > 1)) {
        a.value = bits_sext(const_lo(g->ir, in->b), MIN(a.bytes, 8) * 8);
        a.imm = a.value == (int32_t)a.value;
    }
    if (!a.imm)
        a.reg = ra_use(g, v, a.vec ? VECS : GPRS);
    access_share(g, &a, i);
    a.rec = snap_record(g, in->aux);
    whole_access(g, &a);
}

void x64_fence(Gen *g)                  /* lock or dword [rsp], 0: cheaper than mfence */
{
    x64_1(g, 0xf0);
    x64_1(g, 0x83);
    x64_1(g, 0x0c);
    x64_1(g, 0x24);
    x64_1(g, 0);
    g->flags_a = VAL_NONE;
}

/* lock, opcode by width, reg, [r10] */
static void locked(Gen *g, IrType t, unsigned byte_op, uint32_t map, unsigned reg)
{
    uint32_t op = t == I8 ? byte_op | O_BREG : (byte_op | 1) | (t == I16 ? O_66 : t == I64 ? O_W : 0);
    x64_1(g, 0xf0);
    x64_rm(g, op | map, reg, RTMP, 0);
}

void x64_atomic(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    static const uint8_t alu[] = {
        [AT_ADD] = ALU_ADD, [AT_AND] = ALU_AND, [AT_OR] = ALU_OR, [AT_XOR] = ALU_XOR,
    };
    AtomicOp op = ATOMIC_OP(in->flags);
    bool used = g->ent[i].last != 0;
    Access a = access_start(g, i, true);
    uint32_t eb = gen_ent(g, in->b);
    unsigned b, c = 0, d = NO_REG;

    /* rax is the old value of a compare and exchange; everything is in place before the probe, for the
     * record */
    bool cmpxchg = op == AT_CAS || (used && op >= AT_AND && op <= AT_XOR);
    if (cmpxchg && a.base == RAX) {     /* out of the way */
        uint32_t e = g->reg_ent[RAX];
        g->locked &= ~(1u << RAX);
        a.base = ra_use(g, e, GPRS & ~(1u << RAX));
    }
    if (op == AT_CAS) {
        ra_take_with(g, RAX, eb);
        b = RAX;
        c = ra_use(g, gen_ent(g, in->c), GPRS);
        d = RAX;
    } else if (cmpxchg) {
        ra_take(g, RAX);
        b = ra_use(g, eb, GPRS);
        d = RAX;
    } else if (used || op == AT_XCHG) {
        b = d = ra_temp(g, GPRS);
        ra_copy_to(g, d, eb);
    } else {
        b = ra_use(g, eb, GPRS);
    }
    a.rec = snap_record(g, in->aux);
    a.thunk = g->be->thunk.atomic;
    if (!a.fast) {
        x64_jump_cold(g, -1);
    } else {
        look(g, &a, a.lo, a.hi, true);
        x64_jump_cold(g, CC_NE);
        get_addend(g);
        x64_rx(g, 0x8d | O_W, RTMP, a.base, RTMP, 0, a.disp);
        if (op == AT_CAS) {
            locked(g, in->type, 0xb0, O_0F, c);
        } else if (cmpxchg) {
            x64_rm(g, load_op(a.bytes, T_NONE), RAX, RTMP, 0);
            uint8_t *again = g->p;
            x64_mov(g, RTMP2, RAX);
            x64_rr(g, (alu[op] << 3 | 3) | O_W, RTMP2, b);
            locked(g, in->type, 0xb0, O_0F, RTMP2);
            x64_1(g, 0x70 | CC_NE);
            x64_1(g, (unsigned)(again - (g->p + 1)));
        } else if (op == AT_XCHG) {
            locked(g, in->type, 0x86, 0, d);
        } else if (used) {
            locked(g, in->type, 0xc0, O_0F, d);
        } else {
            locked(g, in->type, alu[op] << 3, 0, b);
        }
    }
    uint32_t back = hot_at(g);
    cold_begin(g);
    x64_cpu(g, 0x89 | O_W, b, SCRATCH);
    if (op == AT_CAS)
        x64_cpu(g, 0x89 | O_W, c, SCRATCH + 8);
    slow_call(g, &a);
    if (d != NO_REG)
        x64_cpu(g, 0x8b | O_W, d, cpu_disp(offsetof(CpuState, helper_ret)));
    x64_jump_back(g, back);
    cold_end(g);
    if (d != NO_REG)
        ra_set(g, i, d);
}
