/* SPDX-License-Identifier: GPL-2.0-or-later
 * Guest memory: the inline look-up in the software TLB (tcg/layout.h), the access, and the slow path in cold code. */
#include "tcg/x86_64/x64.h"

typedef struct Access {
    unsigned base;              /* register of the address */
    int32_t  disp;
    unsigned mo, bytes;
    bool     write;             /* compares with TlbEntry.write */
} Access;

static Access access_start(Gen *g, uint32_t i, bool write)
{
    const IrInsn *in = &g->ir->insns[i];
    Access a = { .mo = in->flags & 0xffff, .bytes = mo_bytes(in->flags), .write = write };
    Val addr = in->a;
    snap_advance(g, in->aux);
    g->snap_now = true;
    if (g->how[i] & HOW_ADDR) {
        a.disp = (int32_t)const_lo(g->ir, g->ir->insns[addr].b);
        addr = g->ir->insns[addr].a;
    }
    a.base = ra_use(g, gen_ent(g, addr), GPRS);
    return a;
}

static void jump_cold(Gen *g, int cc)
{
    if (cc < 0) {
        x64_1(g, 0xe9);
    } else {
        x64_1(g, 0x0f);
        x64_1(g, 0x80 | cc);
    }
    x64_fix(g, FIX_COLD, cold_at(g));
}

static void address(Gen *g, unsigned to, const Access *a, int32_t more)
{
    if (a->disp + more)
        x64_rm(g, 0x8d | O_W, to, a->base, a->disp + more);
    else
        x64_mov(g, to, a->base);
}

/* Leaves the addend in r10.  False: the access has no fast path, the code jumps to the slow one. */
static bool probe(Gen *g, Access *a)
{
    if (a->mo & MO_VIEW || a->bytes > 16) {
        jump_cold(g, -1);
        return false;
    }
    enum { SHIFT = PAGE_BITS - 5, INDEX_MASK = (TLB_SIZE - 1) << 5 };
    _Static_assert(sizeof(TlbEntry) == 32, "the shift below scales by it");
    if (g->be->features & HOST_BMI2 && !a->disp) {
        x64_vrr(g, 0xf0 | O_0F3A | O_F2 | O_W, RTMP, 0, a->base);       /* rorx */
        x64_1(g, SHIFT);
    } else {
        address(g, RTMP, a, 0);
        x64_shift_i(g, true, SH_SHR, RTMP, SHIFT);
    }
    x64_rr(g, 0x81, ALU_AND, RTMP);
    x64_4(g, INDEX_MASK);
    bool align = a->mo & MO_ALIGN;
    address(g, RTMP2, a, align ? 0 : (int32_t)a->bytes - 1);
    x64_rr(g, 0x81 | O_W, ALU_AND, RTMP2);
    x64_4(g, (uint32_t)PAGE_MASK | (align ? a->bytes - 1 : 0));
    x64_rx(g, 0x3b | O_W, RTMP2, RCTX, RTMP, 0,
           a->write ? offsetof(TlbEntry, write) : offsetof(TlbEntry, read));
    jump_cold(g, CC_NE);
    x64_rx(g, 0x8b | O_W, RTMP, RCTX, RTMP, 0, offsetof(TlbEntry, addend));
    return true;
}

/* Calls the slow path with the address and the flags; a fault finds the snapshot record here. */
static void slow_call(Gen *g, const Access *a, uint32_t thunk, uint32_t flags, uint32_t rec)
{
    address(g, RTMP, a, 0);
    x64_mov_i(g, RTMP2, flags);
    x64_to_thunk(g, 0xe8, thunk);
    GEN_PUSH(g, sites) = (Site){ cold_at(g), rec };
}
static void jump_back(Gen *g, uint32_t hot)
{
    x64_1(g, 0xe9);
    x64_fix(g, FIX_HOT, hot);
}

/* opcode, register, [base + r10 + disp] */
static void at_host(Gen *g, uint32_t op, unsigned reg, const Access *a)
{
    x64_rx(g, op, reg, a->base, RTMP, 0, a->disp);
}

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

static void bswap(Gen *g, unsigned r, unsigned bytes)
{
    if (bytes == 2) {
        x64_rr(g, 0xc1 | O_66, SH_ROL, r);
        x64_1(g, 8);
    } else if (bytes > 2) {
        x64_prefixes(g, (0xc8 | (r & 7)) | O_0F | wide(bytes == 8), 0, 0, r);
    }
}

/* Vector moves to and from memory: 4, 8, 16 bytes. */
static void vec_mem(Gen *g, bool store, unsigned bytes, unsigned reg, const Access *a, int32_t cpu)
{
    uint32_t op;
    if (bytes == 16)
        op = (store ? 0x11 : 0x10) | O_0F;                              /* movups */
    else if (bytes == 8)
        op = store ? 0xd6 | O_0F | O_66 : 0x7e | O_0F | O_F3;           /* movq */
    else
        op = (store ? 0x7e : 0x6e) | O_0F | O_66;                       /* movd */
    if (a && g->be->avx)
        x64_vrx(g, op, reg & 15, a->base, RTMP, a->disp);
    else if (a)
        x64_rx(g, op, reg & 15, a->base, RTMP, 0, a->disp);
    else if (g->be->avx)
        x64_vrm(g, op, reg & 15, 0, RBP, cpu);
    else
        x64_cpu(g, op, reg & 15, cpu);
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

static void load_vec(Gen *g, uint32_t i)
{
    Access a = access_start(g, i, g->ir->insns[i].flags & MO_RMW);
    unsigned d = ra_def(g, i, VECS);
    uint32_t rec = snap_record(g, g->ir->insns[i].aux);
    if (probe(g, &a)) {
        if (a.bytes < 4) {
            at_host(g, load_op(a.bytes, T_NONE), RTMP2, &a);
            vec_gpr(g, false, d, RTMP2);
        } else {
            vec_mem(g, false, a.bytes, d, &a, 0);
        }
    }
    uint32_t back = hot_at(g);
    cold_begin(g);
    slow_call(g, &a, g->be->thunk.load, g->ir->insns[i].flags, rec);
    vec_mem(g, false, a.bytes == 16 ? 16 : 8, d, NULL, SCRATCH);
    jump_back(g, back);
    cold_end(g);
}

void x64_load(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    if (type_is_vec(in->type)) {
        load_vec(g, i);
        return;
    }
    Access a = access_start(g, i, in->flags & MO_RMW);
    uint32_t addr = g->reg_ent[a.base], rec;
    unsigned d;
    IrType sign_to = g->how[i] & HOW_SEXT ? g->ext[i] : T_NONE;
    if (!ent_is_const(g, addr) && ent_dies_now(g, addr)) {
        rec = snap_record(g, in->aux);
        d = a.base;
        ra_drop_reg(g, d);
        ra_set(g, i, d);
    } else {
        d = ra_def(g, i, GPRS);
        rec = snap_record(g, in->aux);
    }
    if (probe(g, &a)) {
        if (in->flags & MO_BE) {
            at_host(g, load_op(a.bytes, T_NONE), d, &a);
            bswap(g, d, a.bytes);
            if (sign_to && a.bytes < 8)
                x64_rr(g, load_op(a.bytes, sign_to) | (a.bytes == 1 ? O_BRM : 0), d, d);
        } else {
            at_host(g, load_op(a.bytes, sign_to), d, &a);
        }
    }
    uint32_t back = hot_at(g);
    cold_begin(g);
    slow_call(g, &a, g->be->thunk.load, in->flags, rec);
    x64_cpu(g, load_op(a.bytes, sign_to), d, SCRATCH);
    jump_back(g, back);
    cold_end(g);
}

static uint32_t store_op(unsigned bytes)
{
    return bytes == 1 ? 0x88 | O_BREG : bytes == 2 ? 0x89 | O_66 : bytes == 4 ? 0x89 : 0x89 | O_W;
}

static void store_vec(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    Access a = access_start(g, i, true);
    unsigned v = ra_use(g, gen_ent(g, in->b), VECS);
    uint32_t rec = snap_record(g, in->aux);
    if (probe(g, &a)) {
        if (a.bytes < 4) {
            vec_gpr(g, true, v, RTMP2);
            at_host(g, store_op(a.bytes), RTMP2, &a);
        } else {
            vec_mem(g, true, a.bytes, v, &a, 0);
        }
    }
    if (in->flags & MO_SC)
        x64_fence(g);
    uint32_t back = hot_at(g);
    cold_begin(g);
    vec_mem(g, true, 16, v, NULL, SCRATCH);
    slow_call(g, &a, g->be->thunk.store, in->flags, rec);
    jump_back(g, back);
    cold_end(g);
}

void x64_store(Gen *g, uint32_t i)
{
    const IrInsn *in = &g->ir->insns[i];
    if (type_is_vec(val_type(g->ir, in->b))) {
        store_vec(g, i);
        return;
    }
    Access a = access_start(g, i, true);
    bool be = in->flags & MO_BE && a.bytes > 1, imm = false;
    int64_t k = 0;
    unsigned v = 0;
    if (val_is_const(in->b) && !be) {
        k = bits_sext(const_lo(g->ir, in->b), MIN(a.bytes, 8) * 8);
        imm = k == (int32_t)k;
    }
    if (!imm)
        v = ra_use(g, gen_ent(g, in->b), GPRS);
    uint32_t rec = snap_record(g, in->aux);
    if (probe(g, &a)) {
        if (imm) {
            uint32_t op = a.bytes == 1 ? 0xc6 : a.bytes == 2 ? 0xc7 | O_66 : a.bytes == 4 ? 0xc7 : 0xc7 | O_W;
            at_host(g, op, 0, &a);
            for (unsigned n = 0; n < MIN(a.bytes, 4); n++)
                x64_1(g, (unsigned)(k >> 8 * n) & 0xff);
        } else if (be) {
            x64_mov(g, RTMP2, v);
            bswap(g, RTMP2, a.bytes);
            at_host(g, store_op(a.bytes), RTMP2, &a);
        } else {
            at_host(g, store_op(a.bytes), v, &a);
        }
    }
    if (in->flags & MO_SC)
        x64_fence(g);
    uint32_t back = hot_at(g);
    cold_begin(g);
    if (imm) {
        x64_cpu(g, 0xc7 | O_W, 0, SCRATCH);
        x64_4(g, (uint32_t)k);
    } else {
        x64_cpu(g, 0x89 | O_W, v, SCRATCH);
    }
    slow_call(g, &a, g->be->thunk.store, in->flags, rec);
    jump_back(g, back);
    cold_end(g);
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
    static const uint8_t alu[] = { [AT_ADD] = ALU_ADD, [AT_AND] = ALU_AND, [AT_OR] = ALU_OR, [AT_XOR] = ALU_XOR };
    AtomicOp op = ATOMIC_OP(in->flags);
    bool used = g->ent[i].last != 0;
    Access a = access_start(g, i, true);
    uint32_t eb = gen_ent(g, in->b);
    unsigned b, c = 0, d = NO_REG;

    /* rax is the old value of a compare and exchange; everything is in place before the probe, for the record */
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
    uint32_t rec = snap_record(g, in->aux);
    if (probe(g, &a)) {
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
    slow_call(g, &a, g->be->thunk.atomic, in->flags, rec);
    if (d != NO_REG)
        x64_cpu(g, 0x8b | O_W, d, cpu_disp(offsetof(CpuState, helper_ret)));
    jump_back(g, back);
    cold_end(g);
    if (d != NO_REG)
        ra_set(g, i, d);
}
