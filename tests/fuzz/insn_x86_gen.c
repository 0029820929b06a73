/* SPDX-License-Identifier: GPL-2.0-or-later
 * The x86 instruction fuzzer's cases: encodings made from rows, which flags they leave undefined, random states. */
#include <string.h>

#include "tests/fuzz/insn_x86.h"

/* --- flags that an instruction reads, sets, leaves undefined */

enum { SZAP = FL_SF | FL_ZF | FL_AF | FL_PF, C = FL_CF, O = FL_OF };

static uint32_t cc_reads(unsigned cc)
{
    static const uint32_t reads[8] = { O, C, FL_ZF, C | FL_ZF, FL_SF, FL_PF, FL_SF | O, FL_SF | O | FL_ZF };
    return reads[cc >> 1 & 7];
}

static FlagUse alu_use(unsigned n)
{
    bool logic = n == 1 || n == 4 || n == 6;
    return (FlagUse){ n == 2 || n == 3 ? C : 0, FL_ARITH, logic ? FL_AF : 0 };
}

/* SDM vol. 2 and APM vol. 3, instruction pages: RCL, SAL.  size: of the operand in bytes. */
static FlagUse shift_use(unsigned digit, unsigned op, unsigned count, unsigned size)
{
    bool by_cl = op >= 0xd2, by_1 = op >= 0xd0 && !by_cl;
    count = by_1 ? 1 : count & (size == 8 ? 63 : 31);
    FlagUse u = { 0 };
    if (digit < 4) {
        if (digit >= 2)
            u.reads = C;
        u.sets = by_cl ? 0 : count == 1 ? C | O : count ? C : 0;
        u.undef = by_cl || count > 1 ? O : 0;
        return u;
    }
    u.sets = by_cl || !count ? 0 : FL_ARITH;
    u.undef = by_cl || count > 1 ? O | FL_AF : count ? FL_AF : 0;
    if (size < 4 && (by_cl || count >= size * 8) && digit != 7)
        u.undef |= C;
    return u;
}

static FlagUse flag_use_0f(const X86Dec *d, unsigned imm, unsigned size)
{
    unsigned op = d->opcode;
    unsigned count = imm & (size == 8 ? 63 : 31);
    switch (op) {
    case 0x40 ... 0x4f:
    case 0x80 ... 0x9f:
        return (FlagUse){ cc_reads(op & 15), 0, 0 };
    case 0xa3: case 0xab: case 0xb3: case 0xbb: case 0xba:
        return (FlagUse){ 0, C, O | FL_SF | FL_AF | FL_PF };
    case 0xa4: case 0xac:
        return (FlagUse){ 0, count ? FL_ARITH : 0, count > 1 ? O | FL_AF : count ? FL_AF : 0 };
    case 0xa5: case 0xad:
        return (FlagUse){ 0, 0, O | FL_AF };
    case 0xaf:
        return (FlagUse){ 0, C | O, SZAP };
    case 0xbc: case 0xbd:
        return d->pfx == PFX_F3 ? (FlagUse){ 0, C | FL_ZF, O | FL_SF | FL_PF | FL_AF }
                                : (FlagUse){ 0, FL_ZF, O | FL_SF | FL_PF | FL_AF | C };
    case 0xb8: case 0xb0: case 0xb1: case 0xc0: case 0xc1: case 0x2e: case 0x2f:
        return (FlagUse){ 0, FL_ARITH, 0 };
    case 0xc7:
        return (FlagUse){ 0, d->digit == 1 ? FL_ZF : FL_ARITH, 0 };
    default:
        return (FlagUse){ 0 };
    }
}

/* SDM vol. 2: ANDN, BLSR, BLSMSK, BLSI, BZHI, BEXTR; VPTEST, VTESTPS, VUCOMISS, VCOMISS and relatives set them all. */
static FlagUse flag_use_vex(const X86Dec *d)
{
    unsigned op = d->opcode;
    if (d->map == MAP_VEX + 1)
        return op == 0x2e || op == 0x2f ? (FlagUse){ 0, FL_ARITH, 0 } : (FlagUse){ 0 };
    if (d->map == MAP_VEX + 3)
        return op >= 0x60 && op <= 0x63 ? (FlagUse){ 0, FL_ARITH, 0 } : (FlagUse){ 0 };
    if (op == 0x0e || op == 0x0f || op == 0x17)
        return (FlagUse){ 0, FL_ARITH, 0 };
    if (op == 0xf2 || op == 0xf3 || (op == 0xf5 && d->pfx == PFX_NONE))
        return (FlagUse){ 0, C | O | FL_SF | FL_ZF, FL_AF | FL_PF };
    return op == 0xf7 && d->pfx == PFX_NONE ? (FlagUse){ 0, C | O | FL_ZF, FL_AF | FL_PF | FL_SF } : (FlagUse){ 0 };
}

static FlagUse flag_use(const X86Dec *d, unsigned imm, unsigned size, bool rep)
{
    unsigned op = d->opcode, digit = d->digit;
    if (x86_dec_vex(d))
        return flag_use_vex(d);
    if (d->map == 1)
        return flag_use_0f(d, imm, size);
    if (d->map == 2)
        return op == 0x17 ? (FlagUse){ 0, FL_ARITH, 0 } :
               op == 0xf6 && d->pfx == PFX_66 ? (FlagUse){ C, C, 0 } :
               op == 0xf6 && d->pfx == PFX_F3 ? (FlagUse){ O, O, 0 } : (FlagUse){ 0 };
    if (d->map == 3)
        return op >= 0x60 && op <= 0x63 ? (FlagUse){ 0, FL_ARITH, 0 } : (FlagUse){ 0 };
    if (op < 0x40 && (op & 7) < 6)
        return alu_use(op >> 3);
    switch (op) {
    case 0x80 ... 0x83:
        return alu_use(digit);
    case 0x27: case 0x2f:
        return (FlagUse){ C | FL_AF, FL_ARITH, O };
    case 0x37: case 0x3f:
        return (FlagUse){ FL_AF, C | FL_AF, O | FL_SF | FL_ZF | FL_PF };
    case 0xd4: case 0xd5:
        return (FlagUse){ 0, FL_SF | FL_ZF | FL_PF, O | C | FL_AF };
    case 0x40: case 0x48:
        return (FlagUse){ 0, FL_ARITH & ~C, 0 };
    case 0xfe: case 0xff:
        return digit < 2 ? (FlagUse){ 0, FL_ARITH & ~C, 0 } : (FlagUse){ 0 };
    case 0x84: case 0x85: case 0xa8: case 0xa9:
        return alu_use(4);
    case 0xf6: case 0xf7:
        return digit < 2 ? alu_use(4) : digit == 2 ? (FlagUse){ 0 } : digit == 3 ? (FlagUse){ 0, FL_ARITH, 0 } :
               digit < 6 ? (FlagUse){ 0, C | O, SZAP } : (FlagUse){ 0, 0, FL_ARITH };
    case 0xc0: case 0xc1: case 0xd0 ... 0xd3:
        return shift_use(digit, op, imm, size);
    case 0x69: case 0x6b:
        return (FlagUse){ 0, C | O, SZAP };
    case 0x9e:
        return (FlagUse){ 0, SZAP | C, 0 };
    case 0x9f:
        return (FlagUse){ SZAP | C, 0, 0 };
    case 0x9c:
        return (FlagUse){ FL_ARITH, 0, 0 };
    case 0xd6:
        return (FlagUse){ C, 0, 0 };
    case 0xf5:
        return (FlagUse){ C, C, 0 };
    case 0xf8: case 0xf9:
        return (FlagUse){ 0, C, 0 };
    case 0xa6: case 0xa7: case 0xae: case 0xaf:
        return (FlagUse){ 0, rep ? 0 : FL_ARITH, 0 };
    case 0xe0: case 0xe1:
        return (FlagUse){ FL_ZF, 0, 0 };
    case 0x70 ... 0x7f:
        return (FlagUse){ cc_reads(op & 15), 0, 0 };
    case 0xda: case 0xdb: case 0xdf:
        if (d->byte_mask && d->byte >= 0xe8 && op != 0xda)      /* FCOMI and relatives */
            return (FlagUse){ 0, FL_ARITH, 0 };
        if (d->byte_mask && d->byte < 0xe0 && op != 0xdf)       /* FCMOVcc */
            return (FlagUse){ C | FL_ZF | FL_PF, 0, 0 };
        return (FlagUse){ 0 };
    default:
        return (FlagUse){ 0 };
    }
}

/* --- generating */

static uint64_t interesting(Rng *r)
{
    unsigned kind = rnd(r, 8);
    return kind == 6 ? rnd64(r) & 0x8080808080808080ull : rnd_kind(r, kind);
}

/* R14 (a small index), R15 (into the sandbox; EBP in 32-bit code) and RSP are left alone, else little memory would be
 * hit. */
static unsigned pick_gpr(Rng *r, const Insn *i, uint8_t *rex, uint8_t rex_bit, bool byte)
{
    for (;;) {
        unsigned n = rnd(r, i->code32 ? 8 : 16);
        bool high_byte = byte && !*rex && (n == 4 || n == 5);
        if (n >= 14 || (n == 4 && !high_byte) || (n == 5 && i->code32 && !high_byte))
            continue;
        if (n >= 8 && !*rex)
            continue;
        if (n >= 8)
            *rex |= rex_bit;
        return n & 7;
    }
}

static void put(Insn *i, uint64_t v, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        i->b[i->len++] = v >> k * 8;
}

static int mem_disp(Rng *r)
{
    int d = (int)rnd(r, 400) - 200;
    return chance(r, 3) ? d : d & ~15;
}

/* ModRM, SIB and displacement of a memory operand; reg in bits 3-5 of modrm. */
static void put_mem(Rng *r, Insn *i, uint8_t *rex, unsigned rex_at, uint8_t modrm, unsigned imm_len)
{
    unsigned how = rnd(r, 32);
    int disp = mem_disp(r);
    if (i->code32 && how < 24) {                /* [ebp + disp] */
        put(i, modrm | 0x80 | 5, 1);
        put(i, disp, 4);
    } else if (how < 20 && *rex) {                     /* [r15 + disp] */
        *rex |= 1;
        bool small = disp == (int8_t)disp && !chance(r, 4);
        put(i, modrm | (small ? 0x40 : 0x80) | 7, 1);
        put(i, disp, small ? 1 : 4);
    } else if (how < 24 && *rex) {              /* [r15 + r14 * scale + disp] */
        *rex |= 3;
        put(i, modrm | 0x80 | 4, 1);
        put(i, rnd(r, 4) << 6 | 6 << 3 | 7, 1);
        put(i, disp, 4);
    } else if (how < 26 && !i->code32) {        /* [rip + disp] into the sandbox */
        put(i, modrm | 5, 1);
        uint64_t target = SANDBOX + SANDBOX_LEN / 2 + disp;
        i->rip_at = i->len;
        put(i, target - (CODE + i->len + 4 + imm_len), 4);      /* as for the first instruction: see lay_out() */
    } else if (how < 28) {                      /* [rsp + disp] */
        put(i, modrm | 0x80 | 4, 1);
        put(i, 4 << 3 | 4, 1);
        put(i, disp, 4);
    } else if (how < 31) {                      /* [disp32] */
        put(i, modrm | 4, 1);
        put(i, 0x25, 1);
        put(i, SANDBOX + SANDBOX_LEN / 2 + disp - i->base, 4);
    } else {                                    /* anything: mostly faults */
        if (*rex)
            *rex |= rnd(r, 4);
        unsigned mod = rnd(r, 3), base = rnd(r, 8);
        put(i, modrm | mod << 6 | base, 1);
        if (base == 4) {
            uint8_t sib = rnd(r, 256);
            put(i, sib, 1);
            if (mod == 0 && (sib & 7) == 5)
                put(i, disp, 4);
        } else if (mod == 0 && base == 5) {
            put(i, disp, 4);
        }
        if (mod)
            put(i, disp, mod == 1 ? 1 : 4);
    }
    if (*rex)
        i->b[rex_at] = *rex;
}

const char *fuzz_excluded(const X86Dec *d)
{
    unsigned op = d->opcode, flags = d->row->flags;
    if (flags & R_CPL0)
        return "privileged: x86_sys_rows, tests/sys";
    for (const X86Row *row = x86_rows_sys; row->opcode; row++)
        if (row == d->row)
            return "system: x86_sys_rows, x86_xsave, tests/sys";
    if (d->map == 0)
        switch (op) {
        case 0xcc: case 0xcd: case 0xce: case 0xf1:
            return "enters the kernel: x86_sys_trap, tests/sys";
        case 0xc2: case 0xc3:
            return "goes to where a random stack says: x86_int, guests";
        case 0x6c ... 0x6f:
            return "ports: x86_int, tests/sys";
        case 0xff:
            return d->digit == 2 || d->digit == 4 ? "goes to where random operands say: x86_int, guests" : NULL;
        case 0xd9: case 0xdd:
            return (d->digit == 4 || d->digit == 6) && d->mod == 1 ? "stores x87 instruction pointers: x86_x87" : NULL;
        }
    return NULL;
}

bool fuzz_has_op(const X86Dec *d, X86OpKind k)
{
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->op[i].kind == k)
            return true;
    return false;
}

static bool has_size(const X86Dec *d, unsigned size)
{
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->op[i].size == size)
            return true;
    return false;
}

static bool is_byte_op(const X86Dec *d, X86OpKind k)
{
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->op[i].kind == k)
            return d->op[i].size == 1;
    return false;
}

static unsigned put_prefixes(Rng *r, Insn *i, const X86Dec *d, bool ad, bool data16, bool rep, bool lock)
{
    if (ad)
        put(i, 0x67, 1);
    if (data16)
        put(i, 0x66, 1);
    if (d->pfx == PFX_F3 || d->pfx == PFX_F2)
        put(i, d->pfx == PFX_F3 ? 0xf3 : 0xf2, 1);
    if (rep)
        put(i, 0xf2 + rnd(r, 2), 1);
    if (lock)
        put(i, 0xf0, 1);
    return i->len;
}

static uint8_t pick_rex(Rng *r, const X86Dec *d, bool branch)
{
    uint8_t rex = 0;
    if (d->rexw || (!branch && !chance(r, 4))) {
        rex = 0x40;
        if (d->rexw || ((has_size(d, OSZ_V) || has_size(d, OSZ_Y) || d->n_ops == 0) && chance(r, 2)))
            rex |= 8;
        if (d->map == 1 && d->opcode == 0xc7 && !d->rexw)
            rex &= ~8;
    }
    return rex;
}

/* A general register's number that does no harm. */
static unsigned pick_any_gpr(Rng *r, const Insn *i)
{
    uint8_t rex = i->code32 ? 0 : 0x40;
    unsigned n = pick_gpr(r, i, &rex, 8, false);
    return n | (rex & 8);
}

/* Always with C4: the rows that C5 can say are made by it now and then. */
static void generate_vex(Rng *r, Insn *i, const X86Dec *d)
{
    static const uint8_t pp[] = { [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };
    unsigned n_regs = i->code32 ? 8 : 16;
    bool mem = d->mod == 1 || (d->mod == 0 && d->has_modrm && chance(r, 2));
    bool l = d->vex_l ? d->vex_l == 2 : chance(r, 2), w = d->vex_w ? d->vex_w == 2 : chance(r, 2);
    if (mem && !i->code32 && chance(r, 40))
        put(i, 0x67, 1);
    unsigned start = i->len, vvvv = fuzz_has_op(d, OPK_B) ? pick_any_gpr(r, i) : fuzz_has_op(d, OPK_H) ? rnd(r, n_regs) : 0;
    put(i, 0xc4, 1);
    put(i, 0, 1);
    put(i, w << 7 | (~vvvv & 15) << 3 | l << 2 | (d->pfx > PFX_NONE ? pp[d->pfx] : 0), 1);
    put(i, d->opcode, 1);
    unsigned reg = d->digit >= 0 ? (unsigned)d->digit : fuzz_has_op(d, OPK_G) ? pick_any_gpr(r, i) : rnd(r, n_regs);
    uint8_t rex = i->code32 ? 0 : 0x40;
    bool gpr = d->rm_op < 0 ? fuzz_has_op(d, OPK_R) : d->op[d->rm_op].kind == OPK_E;
    unsigned imm_len = fuzz_has_op(d, OPK_I);
    if (mem) {
        put_mem(r, i, &rex, start, (reg & 7) << 3, imm_len);
    } else if (d->has_modrm) {
        unsigned rm = gpr ? pick_any_gpr(r, i) : rnd(r, n_regs);
        put(i, 0xc0 | (reg & 7) << 3 | (rm & 7), 1);
        rex |= rm >> 3;
    }
    rex |= reg >> 3 << 2;
    i->b[start] = 0xc4;
    i->b[start + 1] = (~rex & 7) << 5 | (d->map - MAP_VEX);
    if (imm_len)
        put(i, rnd(r, 256) & (i->code32 && fuzz_has_op(d, OPK_L) ? 0x7f : 0xff), 1);
    if (d->map == MAP_VEX + 1 && !w && !(rex & 3) && chance(r, 2)) {    /* the short form */
        uint8_t last = i->b[start + 2];
        memmove(i->b + start + 2, i->b + start + 3, i->len - start - 3);
        i->b[start] = 0xc5;
        i->b[start + 1] = (last & 0x7f) | (~rex & 4) << 5;
        i->len--;
        if (i->rip_at)
            i->rip_at--;
    }
    i->use = flag_use(d, 0, 0, false);
}

void fuzz_generate(Rng *r, Insn *i, const X86Dec *d, bool code32, uint32_t base)
{
    const X86Row *row = d->row;
    memset(i, 0, sizeof *i);
    i->d = d;
    i->code32 = code32;
    i->base = base;
    if (x86_dec_vex(d)) {
        generate_vex(r, i, d);
        return;
    }
    bool branch = fuzz_has_op(d, OPK_J), integer = !(row->flags & (R_SSE | R_FPU));
    bool data16 = d->pfx == PFX_66, rep = is_string(d) && chance(r, 2);
    /* 16-bit BSWAP, and SHLD by more than 16, are undefined */
    bool no16 = branch || !integer || (d->map == 1 && (d->opcode >= 0xc8 || d->opcode == 0xa5 || d->opcode == 0xad)) ||
                d->rexw;
    if (!data16 && !no16 && d->map < 2 && chance(r, 5))
        data16 = true;
    bool mem = d->has_modrm && !d->byte_mask && (d->mod == 1 || (d->mod == 0 && chance(r, 2)));
    if (d->rm_op >= 0 && d->op[d->rm_op].kind == OPK_E && d->op[d->rm_op].size == OSZ_NONE && d->mod == 0)
        mem = chance(r, 2);
    if ((d->map == 2 && d->opcode >= 0xc8 && d->opcode <= 0xcd) || (d->map == 3 && d->opcode == 0xcc))
        mem = false;            /* SHA: must be aligned (SDM vol. 2, exceptions type 4), but some AMD processors allow all */
    if (d->map == 1 && d->opcode == 0x2a && fuzz_has_op(d, OPK_Q))
        mem = false;            /* CVTPI2Px: whether the form with memory switches to MMX differs between makes */
    bool lock = row->flags & R_LOCK && mem && chance(r, 3);
    if (fuzz_has_op(d, OPK_O))
        mem = true;
    /* In 32-bit code it would choose the 16-bit forms of ModRM, which reach nothing here and are of other lengths. */
    bool ad = mem && !branch && !code32 && chance(r, 40);
    unsigned rex_at = put_prefixes(r, i, d, ad, data16, rep, lock);
    uint8_t rex = code32 ? 0 : pick_rex(r, d, branch);
    if (rex)
        put(i, rex, 1);
    if (d->map)
        put(i, 0x0f, 1);
    if (d->map >= 2)
        put(i, d->map == 2 ? 0x38 : 0x3a, 1);
    unsigned wide = code32 ? 4 : 8, opsize = rex & 8 ? 8 : row->flags & R_FORCE64 ? wide : data16 && d->pfx != PFX_66 ? 2 :
                    row->flags & R_DEF64 ? wide : 4;
    if (d->plus_r) {
        unsigned n = pick_gpr(r, i, &rex, 1, has_size(d, 1));
        put(i, d->opcode + n, 1);
    } else {
        put(i, d->opcode, 1);
    }
    /* the immediate's length, for RIP-relative operands */
    unsigned imm_len = 0;
    X86Trans t = { .opsize = opsize, .rex = rex, .adsize = code32 || ad ? 4 : 8 };
    for (unsigned k = 0; k < d->n_ops; k++)
        if (d->op[k].kind == OPK_I || d->op[k].kind == OPK_J)
            imm_len += x86_op_size(&t, &d->op[k]);
    if (d->byte_mask) {
        put(i, d->byte | (d->byte_mask == 0xf8 ? rnd(r, 8) : 0), 1);
    } else if (d->has_modrm) {
        unsigned reg = d->digit >= 0 ? (unsigned)d->digit : fuzz_has_op(d, OPK_G) ?
                       pick_gpr(r, i, &rex, 4, is_byte_op(d, OPK_G)) : rnd(r, 8);
        if (fuzz_has_op(d, OPK_V) && rex && chance(r, 2))
            rex |= 4;
        if (mem) {
            put_mem(r, i, &rex, rex_at, reg << 3, imm_len);
        } else {
            bool gpr = d->rm_op < 0 ? fuzz_has_op(d, OPK_R) : d->op[d->rm_op].kind == OPK_E;
            unsigned rm = gpr ? pick_gpr(r, i, &rex, 1, d->rm_op >= 0 && d->op[d->rm_op].size == 1) : rnd(r, 8);
            if (!gpr && rex && row->flags & R_SSE && chance(r, 2))
                rex |= 1;
            put(i, 0xc0 | reg << 3 | rm, 1);
        }
    }
    if (rex)
        i->b[rex_at] = rex;
    unsigned imm = 0;
    for (unsigned k = 0; k < d->n_ops; k++) {
        unsigned size = x86_op_size(&t, &d->op[k]);
        if (d->op[k].kind == OPK_I) {
            uint64_t v = interesting(r);
            if (d->map == 0 && d->opcode == 0xc8)       /* ENTER: small frames */
                v = rnd(r, size == 2 ? 64 : 4);
            if (d->map == 1 && (d->opcode == 0xa4 || d->opcode == 0xac) && opsize == 2)
                v = rnd(r, 17);
            imm = v & 0xff;
            put(i, v, size);
        } else if (d->op[k].kind == OPK_J) {
            i->disp_at = i->len;
            put(i, 0, size);
        } else if (d->op[k].kind == OPK_O) {
            put(i, SANDBOX + SANDBOX_LEN / 2 + mem_disp(r) - i->base, t.adsize);
        }
    }
    unsigned size0 = d->n_ops ? x86_op_size(&t, &d->op[0]) : opsize;
    i->use = flag_use(d, imm, size0, rep);
}

static const double doubles[] = {
    0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e308, -1e308, 4.9e-324, 2.2250738585072014e-308, 1e-310, 2147483647.5, -2147483648.0,
    9.3e18, -9.3e18, 1e10, 0.1, 65504.0, 1e-40,
};

static uint64_t random_double(Rng *r)
{
    uint64_t v;
    double d = doubles[rnd(r, G_N_ELEMENTS(doubles))];
    memcpy(&v, &d, 8);
    switch (rnd(r, 8)) {
    case 0: return 0x7ff0000000000000ull | (uint64_t)rnd(r, 2) << 63;
    case 1: return 0x7ff8000000000000ull | rnd(r, 1000) | (uint64_t)rnd(r, 2) << 63;
    case 2: return 0x7ff0000000000001ull | rnd(r, 1000);
    case 3: return rnd64(r);
    default: return v;
    }
}

static uint32_t random_float(Rng *r)
{
    uint32_t v;
    float f = (float)doubles[rnd(r, G_N_ELEMENTS(doubles))];
    memcpy(&v, &f, 4);
    switch (rnd(r, 8)) {
    case 0: return 0x7f800000u | rnd(r, 2) << 31;
    case 1: return 0x7fc00000u | rnd(r, 1000) | rnd(r, 2) << 31;
    case 2: return 0x7f800001u | rnd(r, 1000);
    case 3: return rnd64(r);
    default: return v;
    }
}

static uint64_t random_lane(Rng *r, unsigned how)
{
    return how == 0 ? random_double(r) : how == 1 ? random_float(r) | (uint64_t)random_float(r) << 32 : interesting(r);
}

static void random_fx(Rng *r, Fx *fx)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned how = rnd(r, 3);
        for (unsigned k = 0; k < 2; k++)
            fx->xmm[i].u64[k] = random_lane(r, how);
    }
    fx->mxcsr = 0x1f80;
    if (chance(r, 3))
        fx->mxcsr |= rnd(r, 4) << 13;
    if (chance(r, 6))
        fx->mxcsr |= 0x8000;
    if (chance(r, 6))
        fx->mxcsr |= 0x40;
    if (chance(r, 8))
        fx->mxcsr |= rnd(r, 64);
    if (chance(r, 12))
        fx->mxcsr &= ~((rnd(r, 64) & ~0x18) << 7);
    fx->fcw = 0x37f;
    if (chance(r, 3))
        fx->fcw = 0x7f | rnd(r, 4) << 10 | (chance(r, 2) ? 3 : rnd(r, 2) * 2) << 8;
    fx->fsw = rnd(r, 8) << 11;
    fx->ftw = chance(r, 4) ? rnd(r, 256) : 0xff;
    for (unsigned i = 0; i < 8; i++) {
        uint64_t bits = random_double(r);
        double d;
        memcpy(&d, &bits, 8);
        long double v = d;
        memcpy(&fx->st[i].mant, &v, 8);
        memcpy(&fx->st[i].exp, (char *)&v + 8, 2);
        if (chance(r, 12)) {
            fx->st[i].mant = rnd64(r);
            fx->st[i].exp = rnd64(r);
        }
    }
}

/* Ends within the sandbox: in a page, at a page's end, at its own end; and from a place on to 4 GiB. */
const FuzzLimit fuzz_limits[N_LIMITS] = {
    [1] = { 0x20ff, false }, [2] = { 0x1fff, false }, [3] = { 0x3fff, false }, [4] = { 0x2007, false },
    [5] = { 0x1fff, true }, [6] = { 0x20ff, true }, [7] = { 0x2fff, false },
};

/* Pointers into the sandbox become offsets into a segment that starts there. */
static void make_relative(State *s)
{
    static const uint8_t pointers[] = { RSP, RBP, RSI, RDI, RBX };
    for (unsigned i = 0; i < sizeof pointers; i++)
        if (s->gpr[pointers[i]] - SANDBOX < SANDBOX_LEN + READ_ONLY_LEN)
            s->gpr[pointers[i]] -= SANDBOX;
}

void fuzz_random_state(Rng *r, State *s, bool code32)
{
    memset(s, 0, sizeof *s);
    s->code32 = code32;
    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = interesting(r);
    uint64_t mid = SANDBOX + SANDBOX_LEN / 2;
    s->gpr[RSP] = SANDBOX + SANDBOX_LEN / 4 + rnd(r, 32) * 8;
    s->gpr[RBP] = s->gpr[RSP] + rnd(r, 64) * 8;
    s->gpr[RSI] = mid + rnd(r, 2048) - 1024;
    s->gpr[RDI] = chance(r, 3) ? s->gpr[RSI] + rnd(r, 32) - 16 : mid + rnd(r, 2048) - 1024;
    if (chance(r, 2))
        s->gpr[RCX] = rnd(r, 100);
    if (chance(r, 4))
        s->gpr[RDX] = (int64_t)s->gpr[RAX] >> 63;
    if (chance(r, 4))
        s->gpr[RDX] = 0;
    if (chance(r, 2))
        s->gpr[RBX] = mid + rnd(r, 512);
    s->gpr[R14] = rnd(r, 16);
    s->gpr[R15] = chance(r, 16) ? SANDBOX + SANDBOX_LEN + (chance(r, 2) ? READ_ONLY_LEN : 0) - rnd(r, 64) :
                  chance(r, 48) && !code32 ? (UINT64_C(1) << 47) - rnd(r, 32) : (mid + rnd(r, 256)) & ~(chance(r, 4) ? 0 : 15ull);
    if (s->code32) {
        s->gpr[RBP] = s->gpr[R15];
        for (unsigned i = 0; i < 16; i++)
            s->gpr[i] = i < 8 ? (uint32_t)s->gpr[i] : 0;
    }
    s->flags = (rnd64(r) & FL_ARITH) | (chance(r, 6) ? FL_DF : 0) | (chance(r, 16) ? FL_AC : 0);
    if (code32 && chance(r, 3)) {
        s->limits = 1 + rnd(r, N_LIMITS - 1);
        make_relative(s);
    }
    for (unsigned i = 0; i < SANDBOX_LEN; i += 8) {
        uint64_t v = chance(r, 2) ? interesting(r) : rnd64(r);
        memcpy(s->mem + i, &v, 8);
    }
    random_fx(r, &s->fx);
    for (unsigned i = 0; i < 16; i++)
        for (unsigned k = 0; k < 2; k++)
            s->ymmh[i].u64[k] = random_lane(r, rnd(r, 3));
}
