/* SPDX-License-Identifier: GPL-2.0-or-later
 * Cases of the hostile guest: random instructions of the tables' rows, what a kernel does and what it should not do, and
 * the memory that they run in: descriptor tables, page tables, tasks, handlers, data. */
#include <string.h>

#include "target/x86/sys.h"
#include "tests/fuzz/guest_bytes.h"

static uint64_t interesting(Rng *r)
{
    unsigned kind = rnd(r, 8);
    return kind == 6 ? DATA + rnd(r, DATA_LEN) : rnd_kind(r, kind);
}

static void put(Chunk *k, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n && k->len < CHUNK_LEN; i++)
        k->b[k->len++] = v >> 8 * i;
}
static void image64(Case *c, unsigned at, uint64_t v) { memcpy(c->image + at, &v, 8); }

/* An offset in DS that reaches the linear address, or its part of the data area. */
static uint64_t ds_off(const Case *c, uint64_t linear) { return is16(c) ? linear & (DATA_LEN - 1) : linear; }
static uint64_t data_at(Case *c, Rng *r)
{
    static const unsigned edge[] = { 0, 0xff0, 0xff8, 0xffc, 0xfff, 0x800, 0x840, 0x1000, 0x2000 };
    return ds_off(c, DATA + (chance(r, 2) ? PICK(r, edge) : rnd(r, DATA_LEN)));
}

static void mov_imm(Case *c, Chunk *k, unsigned reg, uint64_t v)
{
    if (c->kind == K_LONG && v >> 32) {
        put(k, 0x48 | reg >> 3, 1);
        put(k, 0xb8 | (reg & 7), 1);
        put(k, v, 8);
        return;
    }
    if (is16(c))
        put(k, 0x66, 1);
    else if (c->kind == K_LONG && reg > 7)
        put(k, 0x41, 1);
    put(k, 0xb8 | (reg & 7), 1);
    put(k, v, 4);
}

/* op with a ModRM that names an absolute address. */
static void op_abs(Case *c, Chunk *k, const char *op, unsigned reg, uint64_t at)
{
    for (; *op; op++)
        put(k, (uint8_t)*op == 0xfe ? 0 : (uint8_t)*op, 1);
    if (is16(c)) {
        put(k, reg << 3 | 6, 1);
        put(k, at, 2);
    } else if (c->kind == K_LONG) {
        put(k, reg << 3 | 4, 1);
        put(k, 0x25, 1);
        put(k, at, 4);
    } else {
        put(k, reg << 3 | 5, 1);
        put(k, at, 4);
    }
}

static uint16_t selector(Rng *r)
{
    static const uint16_t sel[] = { 0, 3, S_CODE64, S_DATA, S_CODE32, S_CODE16, S_DATA16, S_UCODE64, S_UDATA, S_UCODE32,
                                    S_UCODE16, S_UDATA16, S_DOWN, S_TSS, S_LDT, S_GATE, S_CONFORMING, S_ABSENT, S_TSS2, S_TSS16, S_TGATE };
    if (chance(r, 8))
        return rnd64(r);
    return chance(r, 4) ? S_RANDOM + rnd(r, GDT_LEN - S_RANDOM + 8) : PICK(r, sel) | (chance(r, 6) ? rnd(r, 8) : 0);
}

static uint64_t code_pointer(Case *c, Rng *r)
{
    uint64_t off = c->code_off + rnd(r, 64);
    if (chance(r, 10))
        return interesting(r);
    return is16(c) ? off : CODE + off + (c->high && chance(r, 2) ? UINT64_C(0xffffff8000000000) : 0);
}

static uint64_t pte(Rng *r, uint64_t pa)
{
    uint64_t e = pa | 7 | 0x60;
    if (chance(r, 2))
        e ^= PICK(r, ((const uint64_t[]){ 1, 2, 4, 0x20, 0x40, 0x60, 0x80, 0x100, UINT64_C(1) << 63, UINT64_C(1) << 51, 0x18 }));
    return e;
}
static uint64_t any_page(Rng *r) { return (uint64_t)rnd(r, chance(r, 8) ? 0x200 : 0xa0) << 12; }

/* --- chunks: a row of the tables, as the decoder would have it */

static unsigned imm_size(const X86Op *op, unsigned opsize, bool rexw)
{
    return op->size < OSZ_V ? op->size : op->size == OSZ_V ? opsize : op->size == OSZ_Z ? MIN(opsize, 4) : rexw ? 8 : 4;
}

static void put_modrm(Case *c, Rng *r, Chunk *k, const X86Dec *d, bool ad16)
{
    unsigned mod = d->mod == 1 ? rnd(r, 3) : d->mod == 2 ? 3 : chance(r, 2) ? 3 : rnd(r, 3);
    unsigned reg = d->digit >= 0 ? (unsigned)d->digit : rnd(r, 8), rm = rnd(r, 8);
    uint8_t modrm = mod << 6 | reg << 3 | rm;
    if (d->byte_mask)
        modrm = d->byte | (modrm & ~d->byte_mask);
    put(k, modrm, 1);
    mod = modrm >> 6;
    rm = modrm & 7;
    if (mod == 3)
        return;
    if (ad16) {
        put(k, data_at(c, r), mod == 0 && rm == 6 ? 2 : mod);
        return;
    }
    uint8_t sib = rnd(r, 256);
    if (rm == 4)
        put(k, sib, 1);
    bool disp32 = mod == 2 || (mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5)));
    if (disp32) {
        bool rip = c->kind == K_LONG && rm == 5;
        put(k, rip || mod ? chance(r, 2) ? rnd(r, 64) - 32u : DATA - CODE + rnd(r, DATA_LEN) : data_at(c, r), 4);
    } else if (mod == 1) {
        put(k, rnd(r, 256), 1);
    }
}

/* VEX: now and then with fields that make it #UD. */
static void put_vex_row(Case *c, Rng *r, Chunk *k, const X86Dec *d, bool ad16)
{
    static const uint8_t pp[] = { [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };
    bool l = d->vex_l && !chance(r, 20) ? d->vex_l == 2 : chance(r, 2), w = d->vex_w ? d->vex_w == 2 : chance(r, 2);
    unsigned vvvv = d->vvvv || chance(r, 20) ? rnd(r, 16) : 0, rxb = c->kind == K_LONG ? rnd(r, 8) : 0;
    put(k, 0xc4, 1);
    put(k, (~rxb & 7) << 5 | (d->map - MAP_VEX), 1);
    put(k, w << 7 | (~vvvv & 15) << 3 | l << 2 | (d->pfx > PFX_NONE ? pp[d->pfx] : 0), 1);
    put(k, d->opcode, 1);
    if (d->has_modrm)
        put_modrm(c, r, k, d, ad16);
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->op[i].kind == OPK_I)
            put(k, rnd(r, 256), 1);
}

void put_row(Case *c, Rng *r, Chunk *k, const X86Dec *d)
{
    bool ad = chance(r, 10), data16 = (d->pfx == PFX_66 && !x86_dec_vex(d)) || (d->pfx == PFX_ANY && chance(r, 5));
    bool string = d->map == 0 && ((d->opcode >= 0xa4 && d->opcode <= 0xaf) || (d->opcode & 0xfc) == 0x6c);
    bool lock = chance(r, d->row->flags & R_LOCK ? 4 : 60);
    if (ad)
        put(k, 0x67, 1);
    if (data16)
        put(k, 0x66, 1);
    if (chance(r, 12))
        put(k, PICK(r, ((const uint8_t[]){ 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 })), 1);
    if (lock)
        put(k, 0xf0, 1);
    if (x86_dec_vex(d)) {
        put_vex_row(c, r, k, d, c->kind != K_LONG && is16(c) != ad);
        return;
    }
    if (d->pfx == PFX_F3 || d->pfx == PFX_F2)
        put(k, d->pfx == PFX_F3 ? 0xf3 : 0xf2, 1);
    else if (d->pfx == PFX_ANY && chance(r, string ? 2 : 20))
        put(k, 0xf2 + rnd(r, 2), 1);
    bool rexw = false;
    if (c->kind == K_LONG && (d->rexw || chance(r, 2))) {
        uint8_t rex = 0x40 | rnd(r, 16) | (d->rexw ? 8 : 0);
        put(k, rex, 1);
        rexw = rex & 8;
    }
    if (d->map)
        put(k, 0x0f, 1);
    if (d->map > 1)
        put(k, d->map == 2 ? 0x38 : 0x3a, 1);
    put(k, d->opcode + (d->plus_r ? rnd(r, 8) : 0), 1);
    bool ad16 = c->kind != K_LONG && is16(c) != ad;
    if (d->has_modrm)
        put_modrm(c, r, k, d, ad16);
    bool small = c->kind == K_LONG ? data16 : is16(c) != data16;
    unsigned opsize = rexw ? 8 : small ? 2 : 4;
    for (unsigned i = 0; i < d->n_ops; i++) {
        const X86Op *op = &d->op[i];
        if (op->kind == OPK_J)
            put(k, chance(r, 12) ? rnd64(r) : rnd(r, 40) - 16u, MIN(imm_size(op, opsize, rexw), 4));
        else if (op->kind == OPK_I)
            put(k, interesting(r), imm_size(op, opsize, rexw));
        else if (op->kind == OPK_O)
            put(k, data_at(c, r), c->kind == K_LONG ? (ad ? 4 : 8) : ad16 ? 2 : 4);
        else if (op->kind == OPK_A) {
            put(k, code_pointer(c, r), MIN(opsize, 4));
            put(k, selector(r), 2);
        }
    }
}

/* --- chunks: what a kernel does, and what it should not do */

static void rec_msr(Case *c, Rng *r, Chunk *k)
{
    static const uint32_t msr[] = { 0x10, 0x17, 0x1b, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x1d9,
        0x1db, 0x200, 0x20f, 0x210, 0x250, 0x251, 0x258, 0x259, 0x25a, 0x268, 0x26f, 0x270, 0x277, 0x2ff, 0x6e0, 0x800,
        0x808, 0x80b, 0x830, 0x8ff, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
        0xc0000102, 0xc0000103, 0xc0010010, 0xc0010015, 0xc001001a, 0xc0010114, 0xc0011029 };
    mov_imm(c, k, RCX, chance(r, 10) ? rnd64(r) : PICK(r, msr));
    uint64_t v = interesting(r);
    if (chance(r, 3))
        v = c->efer ^ (1u << rnd(r, 16));
    mov_imm(c, k, RAX, (uint32_t)v);
    mov_imm(c, k, RDX, chance(r, 2) ? v >> 32 : 0);
    put(k, chance(r, 3) ? 0x320f : 0x300f, 2);
}

static void rec_control(Case *c, Rng *r, Chunk *k)
{
    unsigned n = PICK(r, ((const uint8_t[]){ 0, 0, 3, 3, 4, 4, 2, 8, 1, 5 }));
    uint64_t v = n == 0 ? c->cr0 : n == 4 ? c->cr4 : is_long(c) ? PML4 : PD32;
    if (!chance(r, 3))
        v ^= UINT64_C(1) << rnd(r, chance(r, 4) ? 64 : 32);
    if (chance(r, 12))
        v = interesting(r);
    bool dr = chance(r, 3);
    mov_imm(c, k, RAX, dr ? interesting(r) : v);
    put(k, 0x0f, 1);
    put(k, (dr ? 0x21 : 0x20) | (chance(r, 4) ? 0 : 2), 1);
    put(k, 0xc0 | (dr ? rnd(r, 8) : n) << 3, 1);
}

static void rec_table(Case *c, Rng *r, Chunk *k)
{
    if (chance(r, 3))           /* a sensible one, mostly */
        op_abs(c, k, "\x0f\x01", chance(r, 2) ? 2 : 3, ds_off(c, DATA + 0x800 + 16 * rnd(r, 4)));
    else if (chance(r, 2))
        op_abs(c, k, "\x0f\x01", rnd(r, 8), data_at(c, r));
    else {
        mov_imm(c, k, RAX, selector(r));
        put(k, 0x0f, 1);
        put(k, 0, 1);
        put(k, 0xc0 | rnd(r, 6) << 3, 1);
    }
}

static void rec_segment(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, RAX, selector(r));
    put(k, 0x8e, 1);
    put(k, 0xc0 | rnd(r, 8) << 3, 1);
}

static void push_imm(Case *c, Chunk *k, uint64_t v)
{
    mov_imm(c, k, RAX, v);
    put(k, 0x50, 1);
}

static void rec_far(Case *c, Rng *r, Chunk *k)
{
    uint16_t cs = selector(r);
    switch (rnd(r, 4)) {
    case 0:                     /* IRET */
        push_imm(c, k, selector(r));
        push_imm(c, k, chance(r, 4) ? interesting(r) : is16(c) ? 0x7000 : STACK + 0x7000);
        push_imm(c, k, chance(r, 2) ? 0x202 : rnd64(r));
        push_imm(c, k, cs);
        push_imm(c, k, code_pointer(c, r));
        if (c->kind == K_LONG && !chance(r, 6))
            put(k, 0x48, 1);
        put(k, 0xcf, 1);
        break;
    case 1:                     /* RETF */
        push_imm(c, k, cs);
        push_imm(c, k, code_pointer(c, r));
        if (c->kind == K_LONG && !chance(r, 6))
            put(k, 0x48, 1);
        put(k, chance(r, 3) ? 0x10ca : 0xcb, chance(r, 3) ? 3 : 1);
        break;
    case 2:
        mov_imm(c, k, RAX, code_pointer(c, r));
        op_abs(c, k, "\x89", 0, ds_off(c, DATA + 0x900));
        mov_imm(c, k, RAX, cs);
        op_abs(c, k, "\x89", 0, ds_off(c, DATA + (is16(c) ? 0x902 : 0x904)));
        op_abs(c, k, "\xff", chance(r, 2) ? 5 : 3, ds_off(c, DATA + 0x900));
        break;
    default:
        if (c->kind == K_LONG) {
            mov_imm(c, k, RCX, code_pointer(c, r));
            mov_imm(c, k, 11, rnd64(r) & 0x3ffff);
            put(k, chance(r, 2) ? 0x48 : 0x90, 1);
        } else {
            mov_imm(c, k, RCX, STACK_TOP);
            mov_imm(c, k, RDX, code_pointer(c, r));
        }
        put(k, 0x0f, 1);
        put(k, PICK(r, ((const uint8_t[]){ 0x05, 0x07, 0x34, 0x35 })), 1);
    }
}

static void rec_state(Case *c, Rng *r, Chunk *k)
{
    static const char *const op[] = { "\x0f\xae", "\x0f\xae", "\xd9", "\xdd", "\xdb", "\x0f\xc7", "\xdf" };
    mov_imm(c, k, RAX, chance(r, 2) ? 7 : interesting(r));
    mov_imm(c, k, RDX, chance(r, 2) ? 0 : interesting(r));
    uint64_t at = data_at(c, r);
    if (!chance(r, 3))
        at &= ~UINT64_C(63);
    if (c->kind == K_LONG && chance(r, 3))
        put(k, 0x48, 1);
    op_abs(c, k, PICK(r, op), rnd(r, 8), at);
}

static void rec_string(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, RCX, chance(r, 2) ? interesting(r) : rnd(r, 0x2000));
    mov_imm(c, k, RSI, chance(r, 8) ? interesting(r) : data_at(c, r));
    uint64_t to = data_at(c, r);
    if (chance(r, 6))
        to = ds_off(c, chance(r, 2) ? CODE + c->code_off : IO_AT + 0xff0);
    mov_imm(c, k, RDI, to);
    if (chance(r, 4))
        put(k, 0xfd, 1);
    else if (chance(r, 2))
        put(k, 0xfc, 1);
    if (chance(r, 6))
        put(k, 0x66, 1);
    put(k, 0xf2 + rnd(r, 2), 1);
    if (c->kind == K_LONG && chance(r, 3))
        put(k, 0x48, 1);
    put(k, PICK(r, ((const uint8_t[]){ 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x6c, 0x6d, 0x6e, 0x6f })), 1);
}

static void rec_modify(Case *c, Rng *r, Chunk *k)
{
    uint64_t at = CODE + c->code_off + rnd(r, 160);
    if (chance(r, 4))
        at += ALIAS_AT;
    mov_imm(c, k, RAX, rnd64(r));
    if (is16(c))
        put(k, 0x2e, 1);        /* CS: faults in protected mode */
    static const char *const op[] = { "\x88", "\x89", "\x01", "\xf0\x01", "\x87", "\x0f\x11", "\x0f\xc1" };
    op_abs(c, k, PICK(r, op), 0, is16(c) ? at - CODE : at);
}

static void rec_tlb(Case *c, Rng *r, Chunk *k)
{
    unsigned i = chance(r, 2) ? rnd(r, 0xa0) : (CODE + c->code_off) >> 12;
    unsigned wide = is_long(c) || c->pae ? 8 : 4;
    if (!is16(c)) {
        mov_imm(c, k, RAX, pte(r, chance(r, 2) ? any_page(r) : i << 12) & (wide == 8 && c->kind == K_LONG ? ~0ull : 0xffffffff));
        if (c->kind == K_LONG)
            put(k, 0x48, 1);
        op_abs(c, k, "\x89", 0, (wide == 8 ? PT : PT32) + i * wide);
    }
    if (chance(r, 2))
        op_abs(c, k, "\x0f\x01", 7, is16(c) ? rnd(r, 0x10000) : chance(r, 8) ? interesting(r) : i << 12);
    if (chance(r, 3)) {
        mov_imm(c, k, RAX, rnd(r, 5));
        op_abs(c, k, "\x66\x0f\x38\x82", 0, data_at(c, r));
    }
}

static void rec_flags(Case *c, Rng *r, Chunk *k)
{
    switch (rnd(r, 6)) {
    case 0: case 1:
        push_imm(c, k, chance(r, 2) ? rnd64(r) & 0x7ffff : 1u << rnd(r, 22));
        if (is16(c) && chance(r, 2))
            put(k, 0x66, 1);
        put(k, 0x9d, 1);
        break;
    case 2: put(k, chance(r, 2) ? 0xfb : 0xfa, 1); break;
    case 3: put(k, 0xcd, 1); put(k, rnd(r, chance(r, 2) ? 32 : 256), 1); break;
    case 4: put(k, PICK(r, ((const uint8_t[]){ 0xf4, 0xcc, 0xce, 0xf1, 0x17, 0xfb })), 1); break;
    default:
        mov_imm(c, k, RDX, rnd(r, 0x10000));
        put(k, PICK(r, ((const uint8_t[]){ 0xec, 0xed, 0xee, 0xef })), 1);
    }
}

static void rec_bytes(Case *c, Rng *r, Chunk *k)
{
    for (unsigned n = 1 + rnd(r, 16); n--;)
        put(k, rnd(r, 256), 1);
}

static void rec_register(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, rnd(r, c->kind == K_LONG ? 16 : 8), chance(r, 2) ? data_at(c, r) : interesting(r));
}

static void rec_loop(Case *c, Rng *r, Chunk *k)
{
    mov_imm(c, k, RCX, 2 + rnd(r, 12));
    unsigned start = k->len;
    put(k, 0x04, 1);            /* ADD AL, ib */
    put(k, rnd(r, 256), 1);
    op_abs(c, k, chance(r, 2) ? "\xfe" "\xfe" : "\x10", rnd(r, 2), chance(r, 4) && !is16(c) ? CODE + c->code_off + rnd(r, 96) : data_at(c, r));
    put(k, 0xe2, 1);
    put(k, start - (k->len + 1), 1);
}

static void make_chunk(const GuestRows *rows, Case *c, Rng *r, Chunk *k)
{
    static void (*const recipe[])(Case *, Rng *, Chunk *) = {
        rec_msr, rec_control, rec_table, rec_segment, rec_far, rec_state, rec_string, rec_modify, rec_tlb, rec_flags,
        rec_bytes, rec_register, rec_loop, rec_modify, rec_tlb, rec_register,
    };
    k->len = 0;
    k->dec = -1;
    unsigned how = rnd(r, 16);
    if (how < 9) {
        k->dec = how < 8 ? rnd(r, rows->n_dec) : rows->sys[rnd(r, rows->n_sys)];
        put_row(c, r, k, &rows->dec[k->dec]);
    } else {
        PICK(r, recipe)(c, r, k);
    }
    if (chance(r, 40) && k->len)
        k->b[rnd(r, k->len)] ^= 1 << rnd(r, 8);
}

/* --- the machine's memory */

static void put_desc(Case *c, uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr)
{
    image64(c, GDT + (sel & ~7), (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)attr << 32 |
                                     (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56);
}

static void make_gdt(Case *c, Rng *r)
{
    enum { CODE_A = 0x9b00, DATA_A = 0x9300, U = 0x6000, G = 0x800000, D = 0x400000, L = 0x200000 };
    put_desc(c, S_CODE64, 0, 0xfffff, CODE_A | G | L);
    put_desc(c, S_DATA, 0, 0xfffff, DATA_A | G | D);
    put_desc(c, S_CODE32, 0, 0xfffff, CODE_A | G | D);
    put_desc(c, S_CODE16, CODE, 0xffff, CODE_A);
    put_desc(c, S_DATA16, DATA, 0xffff, DATA_A);
    put_desc(c, S_UCODE64, 0, 0xfffff, CODE_A | U | G | L);
    put_desc(c, S_UDATA, 0, 0xfffff, DATA_A | U | G | D);
    put_desc(c, S_UCODE32, 0, 0xfffff, CODE_A | U | G | D);
    put_desc(c, S_UCODE16, CODE, 0xffff, CODE_A | U);
    put_desc(c, S_UDATA16, DATA, 0xffff, DATA_A | U);
    put_desc(c, S_DOWN, 0, 0x0ffff, (DATA_A | U | D) + 0x400);
    put_desc(c, S_TSS, TSS, 0x2fff, 0x8900);
    image64(c, GDT + S_TSS + 8, 0);
    put_desc(c, S_LDT, LDT, 0x7f, 0x8200);
    image64(c, GDT + S_LDT + 8, 0);
    uint64_t to = HANDLERS + HANDLER_LEN * rnd(r, 32);
    image64(c, GDT + (S_GATE & ~7), (to & 0xffff) | (uint64_t)(is_long(c) ? S_CODE64 : S_CODE32) << 16 | UINT64_C(0xec00) << 32 |
                                        (to >> 16) << 48);
    image64(c, GDT + (S_GATE & ~7) + 8, 0);
    put_desc(c, S_CONFORMING, 0, 0xfffff, 0x9f00 | G | (is_long(c) ? L : D));
    put_desc(c, S_ABSENT, 0, 0xfffff, 0x1300 | G);
    put_desc(c, S_TSS2, TSS2, 0x67, 0xe900);
    put_desc(c, S_TSS16, TSS16, 0x2b, 0xe100);
    image64(c, GDT + (S_TGATE & ~7), (uint64_t)(chance(r, 2) ? S_TSS2 : S_TSS16) << 16 | UINT64_C(0xe500) << 32);
    for (unsigned at = S_RANDOM; at < GDT_LEN; at += 8)
        image64(c, GDT + at, rnd64(r));
    for (unsigned at = 0; at < 0x80; at += 8)
        image64(c, LDT + at, rnd64(r) | UINT64_C(0x9000) << 32);
}

static void make_handlers(Case *c, Rng *r)
{
    for (unsigned v = 0; v < 32; v++) {
        Chunk k = { .len = 0 };
        bool error = 0x27d00u >> v & 1, word = c->kind == K_REAL || c->kind == K_PROT16;
        unsigned skip = 1 + rnd(r, 4);
        if (chance(r, 24)) {
            rec_bytes(c, r, &k);
        } else if (is_long(c)) {
            if (error)
                put(&k, 0x08c48348, 4);
            put(&k, 0x24048348, 4);
            put(&k, skip, 1);
            put(&k, 0xcf48, 2);
        } else if (!word) {
            if (error)
                put(&k, 0x04c483, 3);
            put(&k, 0x240483, 3);
            put(&k, skip, 1);
            put(&k, 0xcf, 1);
        } else {
            if (error && c->kind != K_REAL)
                put(&k, 0x02c483, 3);
            put(&k, 0x4683e58955, 5);
            put(&k, 2 | skip << 8, 2);
            put(&k, 0xcf5d, 2);
        }
        memcpy(c->image + HANDLERS + v * HANDLER_LEN, k.b, MIN(k.len, (unsigned)HANDLER_LEN));
    }
}

static void make_idt(Case *c, Rng *r)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t to = HANDLERS + HANDLER_LEN * (v & 31), type = (chance(r, 3) ? 0xee : 0x8e) + rnd(r, 2);
        unsigned cs = is_long(c) ? S_CODE64 : c->kind == K_PROT16 ? S_CODE16 : S_CODE32;
        if (chance(r, 60))
            cs = selector(r);
        if (c->kind == K_PROT16)
            to = chance(r, 2) ? to - CODE : HANDLERS;
        uint64_t g = (to & 0xffff) | (uint64_t)cs << 16 | type << 40 | (to >> 16 & 0xffff) << 48;
        if (chance(r, 60))
            g ^= UINT64_C(1) << rnd(r, 64);
        if (!is_long(c) && chance(r, 30))
            g = (uint64_t)(chance(r, 2) ? S_TSS2 : S_TSS16) << 16 | UINT64_C(0xe500) << 32;
        if (is_long(c)) {
            g |= (uint64_t)(chance(r, 8) ? rnd(r, 8) : 0) << 32;
            image64(c, IDT + v * 16, g);
            image64(c, IDT + v * 16 + 8, 0);
        } else {
            image64(c, IDT + v * 8, g);
        }
        uint32_t far = (HANDLERS >> 4) << 16 | HANDLER_LEN * (v & 31);
        memcpy(c->image + IVT + 4 * v, &far, 4);
    }
    for (unsigned i = 4; i < 0x68; i += 8)              /* stacks of both kinds of task state */
        image64(c, TSS + i, STACK0);
    if (!is_long(c))
        for (unsigned i = 8; i < 0x1c; i += 8)
            image64(c, TSS + i - 4, STACK0 | (uint64_t)S_DATA << 32);
    c->image[TSS + 0x66] = c->kind == K_VM86 ? 0x88 : 0x68;
    for (unsigned i = 0x68; i < 0x1000; i++)
        c->image[TSS + i] = chance(r, 2) ? 0 : rnd(r, 256);
}

/* The states of two more tasks, mostly sensible. */
static void make_tasks(Case *c, Rng *r)
{
    bool vm = chance(r, 3), user = chance(r, 2);
    uint16_t cs = user ? S_UCODE32 : S_CODE32, ds = user ? S_UDATA : S_DATA;
    uint32_t t[26] = { [7] = c->pae ? PAE : PD32, [8] = vm ? c->code_off : CODE + c->code_off,
                       [9] = FL_1 | (vm ? FL_VM : 0) | (chance(r, 2) ? FL_IF : 0) | (chance(r, 2) ? FL_IOPL : 0), [24] = S_LDT,
                       [25] = chance(r, 8) };
    for (unsigned i = 10; i < 18; i++)
        t[i] = data_at(c, r);
    t[14] = vm ? 0x4000 : STACK_TOP - 0x200;
    for (unsigned i = 0; i < 6; i++)
        t[18 + i] = vm ? (i == CS ? CODE : i == SS ? STACK : DATA) >> 4 : i == CS ? cs : ds;
    t[2] = t[4] = t[6] = S_DATA;
    t[1] = t[3] = t[5] = STACK0;
    if (chance(r, 4))
        t[rnd(r, 26)] = chance(r, 2) ? selector(r) : (uint32_t)interesting(r);
    memcpy(c->image + TSS2, t, sizeof t);
    uint16_t n[22] = { [7] = c->code_off, [8] = FL_1 | (chance(r, 2) ? FL_IF : 0), [13] = 0x4000, [17] = S_UDATA16, [18] = S_UCODE16,
                       [19] = S_UDATA16, [20] = S_UDATA16, [21] = chance(r, 2) ? S_LDT : 0 };
    n[1] = n[3] = n[5] = 0x4000;
    n[2] = n[4] = n[6] = S_DATA16;
    if (chance(r, 4))
        n[rnd(r, 22)] = selector(r);
    memcpy(c->image + TSS16, n, sizeof n);
    c->image[STACK_TOP] = 0x0f;         /* where an SMI goes: RSM */
    c->image[STACK_TOP + 1] = 0xaa;
}

static void make_tables(Case *c, Rng *r)
{
    bool noisy = chance(r, 2);
    for (unsigned i = 0; i < 512; i++) {
        uint64_t pa = i < 0xa0 ? i << 12 : any_page(r);
        bool vital = i < 0x11 || i == CODE >> 12 || i == DATA >> 12 || i == (STACK_TOP >> 12) - 1 || i == (STACK0 >> 12) - 1;
        uint64_t e = noisy && !chance(r, 4) && (!vital || chance(r, 20)) ? pte(r, chance(r, 4) ? any_page(r) : pa) : pa | 0x67;
        image64(c, PT + 8 * i, e);
        uint32_t low = e;
        memcpy(c->image + PT32 + 4 * i, &low, 4);
    }
    image64(c, PML4, PDPT | 7);
    image64(c, PML4 + 8 * 511, PDPT | 7);
    image64(c, PML4 + 8, rnd64(r));
    image64(c, PDPT, PD | 7);
    image64(c, PDPT + 8, 0x87 | rnd(r, 2) << 8);        /* 1 GiB at 0 */
    image64(c, PDPT + 16, pte(r, PD));
    image64(c, PD, PT | 7);
    image64(c, PD + 8, 0xe7 | rnd(r, 2) << 8);          /* 2 MiB at 0 */
    image64(c, PD + 16, pte(r, PML4));
    image64(c, PD + 24, rnd64(r));
    image64(c, PAE, PD | 1);
    image64(c, PAE + 8, chance(r, 2) ? PD | 1 : rnd64(r));
    image64(c, PAE + 16, 0);
    image64(c, PAE + 24, PD | 1);
    uint32_t pd32[4] = { PT32 | 7, 0xe7, rnd64(r), PT32 | 5 };
    memcpy(c->image + PD32, pd32, sizeof pd32);
}

static void make_data(Case *c, Rng *r)
{
    for (unsigned at = DATA; at < DATA + DATA_LEN; at += 8)
        image64(c, at, chance(r, 3) ? 0 : interesting(r));
    for (unsigned i = 0; i < 4; i++) {                  /* operands of LGDT, LIDT */
        uint64_t base = i & 1 ? IDT : GDT;
        uint16_t limit = i & 1 ? 0xfff : GDT_LEN - 1;
        if (i > 1) {
            base = interesting(r);
            limit = rnd64(r);
        }
        memcpy(c->image + DATA + 0x800 + 16 * i, &limit, 2);
        image64(c, DATA + 0x802 + 16 * i, base);
    }
    Chunk k = { .len = 0 };
    while (k.len < 40)
        rec_flags(c, r, &k);
    memcpy(c->image + SYSCALL_AT, k.b, k.len);
    if (chance(r, 2))
        image64(c, SYSCALL_AT, 0x070f48);
}

void lay_out(Case *c)
{
    memset(c->image + CODE, 0x90, 0x8000);
    unsigned at = CODE + c->code_off;
    for (unsigned i = 0; i < c->n; i++) {
        memcpy(c->image + at, c->chunk[i].b, c->chunk[i].len);
        at += c->chunk[i].len;
    }
    c->image[at] = 0xf4;        /* HLT: #GP for programs */
    c->image[at + 1] = 0xeb;
    c->image[at + 2] = 0xfd;
}

void make_case(const GuestRows *rows, Rng *r, Case *c)
{
    static const uint8_t kinds[] = { K_LONG, K_LONG, K_LONG, K_LONG, K_COMPAT32, K_COMPAT16, K_PROT32, K_PROT32, K_PROT16, K_REAL,
                                     K_VM86, K_VM86 };
    memset(c, 0, sizeof *c);
    c->kind = PICK(r, kinds);
    c->cpl = c->kind == K_REAL ? 0 : c->kind == K_VM86 || chance(r, 3) ? 3 : 0;
    c->paging = is_long(c) || (c->kind != K_REAL && chance(r, 2));
    c->pae = is_long(c) || chance(r, 2);
    c->high = c->kind == K_LONG && chance(r, 4);
    c->quiet = chance(r, 2);
    c->code_off = chance(r, 3) ? 0x1000 - 1 - rnd(r, 60) : rnd(r, 0x100);
    c->limit = 2 * MAX_BLOCK + (chance(r, 8) ? 8000 : 600);
    c->cr0 = CR0_ET | CR0_NE | (c->kind == K_REAL ? 0 : CR0_PE) | (c->paging ? CR0_PG : 0) | (chance(r, 2) ? CR0_WP : 0) |
             (chance(r, 20) ? CR0_TS : 0) | (chance(r, 30) ? CR0_EM : 0) | (chance(r, 4) ? CR0_AM : 0);
    c->cr4 = (c->pae ? CR4_PAE : 0) | (chance(r, 2) ? CR4_PSE : 0) | (chance(r, 2) ? CR4_PGE : 0) |
             (chance(r, 12) ? 0 : CR4_OSFXSR) | (chance(r, 4) ? 0 : CR4_OSXMMEXCPT) | (chance(r, 4) ? 0 : CR4_OSXSAVE) |
             (chance(r, 2) ? CR4_FSGSBASE : 0) | (is_long(c) && chance(r, 2) ? CR4_PCIDE : 0) | (chance(r, 8) ? CR4_SMEP : 0) |
             (chance(r, 8) ? CR4_SMAP : 0) | (chance(r, 4) ? CR4_UMIP : 0) |
             (chance(r, 2) ? CR4_VME : 0) | (chance(r, 2) ? CR4_PVI : 0) | (chance(r, 8) ? CR4_TSD : 0) | (chance(r, 2) ? CR4_DE : 0);
    c->efer = EFER_SCE | (is_long(c) ? EFER_LME | EFER_LMA : 0) | (chance(r, 2) ? EFER_NXE : 0);
    c->flags = FL_1 | (chance(r, 2) ? FL_IF : 0) | (chance(r, 8) ? FL_IOPL : 0) | (chance(r, 12) ? FL_TF : 0) |
               (chance(r, 6) ? FL_AC : 0) | (chance(r, 8) ? FL_DF : 0);
    if (c->kind == K_VM86)
        c->flags |= FL_VM | (chance(r, 2) ? FL_IOPL : 0);
    if (chance(r, 6))
        c->flags |= chance(r, 2) ? FL_VIF : FL_VIP;
    if (!is_long(c) && chance(r, 20))
        c->flags |= FL_NT;
    c->mxcsr = chance(r, 4) ? rnd64(r) & 0xffbf : 0x1f80;
    c->fcw = chance(r, 4) ? rnd64(r) & 0x1f7f : 0x37f;
    for (unsigned i = 0; i < 16; i++)
        c->gpr[i] = chance(r, 2) ? data_at(c, r) : interesting(r);
    if (c->kind != K_LONG)
        for (unsigned i = 0; i < 16; i++)
            c->gpr[i] = (uint32_t)c->gpr[i];
    c->gpr[RSP] = is16(c) ? 0x4000 : STACK_TOP - 0x100;
    for (unsigned at = STACK; at < RAM_LEN; at += 8)
        image64(c, at, chance(r, 4) ? code_pointer(c, r) : interesting(r));
    make_gdt(c, r);
    make_handlers(c, r);
    make_idt(c, r);
    make_tasks(c, r);
    make_tables(c, r);
    make_data(c, r);
    c->n = 1 + rnd(r, MAX_CHUNKS);
    for (unsigned i = 0; i < c->n; i++)
        make_chunk(rows, c, r, &c->chunk[i]);
    lay_out(c);
}
