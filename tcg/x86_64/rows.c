/* SPDX-License-Identifier: GPL-2.0-or-later
 * Host rows of plain integer operations, see tcg/select.c for the operand classes.  Operations on i8 and
 * i16 are done at 32 bits; what comes out above the type is garbage. */
#include "tcg/x86_64/x64.h"

/* The host flags tell the result from now on; of narrow results the upper bits are garbage. */
static void sets_flags(Gen *g, const Emit *e)
{
    g->flags_a = e->type >= I32 && e->type <= I64 ? g->pos : VAL_NONE;
    g->flags_b = VAL_NONE;
}
static void alu_i(Gen *g, const Emit *e)
{
    x64_alu_ri(g, e->w, e->aux, e->d, (int32_t)e->imm);
    sets_flags(g, e);
}
static void alu_u32(Gen *g, const Emit *e) { x64_alu_ri(g, false, e->aux, e->d, (int32_t)e->imm); }
static void alu_m(Gen *g, const Emit *e)
{
    x64_ro(g, (e->aux << 3 | 3) | wide(e->w), e->d, e->b, e->disp);
    sets_flags(g, e);
}
static void lea_i(Gen *g, const Emit *e) { x64_rm(g, 0x8d | wide(e->w), e->d, e->a, (int32_t)e->imm); }
static void lea_r(Gen *g, const Emit *e) { x64_rx(g, 0x8d | wide(e->w), e->d, e->a, e->b, 0, 0); }
static void unary(Gen *g, const Emit *e) { x64_rr(g, 0xf7 | wide(e->w), e->aux, e->d); }
static void not_pred(Gen *g, const Emit *e) { x64_alu_ri(g, false, ALU_XOR, e->d, 1); }
static void imul_m(Gen *g, const Emit *e) { x64_ro(g, 0xaf | O_0F | wide(e->w), e->d, e->b, e->disp); }
static void imul_i(Gen *g, const Emit *e)
{
    bool small = e->imm == (int8_t)e->imm;
    x64_rr(g, (small ? 0x6b : 0x69) | wide(e->w), e->d, e->a);
    if (small)
        x64_1(g, e->imm);
    else
        x64_4(g, (uint32_t)e->imm);
}
static void movzx8(Gen *g, const Emit *e) { x64_rr(g, 0xb6 | O_0F | O_BRM, e->d, e->a); }
static void movzx16(Gen *g, const Emit *e) { x64_rr(g, 0xb7 | O_0F, e->d, e->a); }

static void andn(Gen *g, const Emit *e) { x64_vrr(g, 0xf2 | O_0F38 | wide(e->w), e->d, e->b, e->a); }
static void and_not(Gen *g, const Emit *e)
{
    x64_mov(g, RTMP, e->b);
    x64_rr(g, 0xf7 | O_W, 2, RTMP);
    x64_rr(g, 0x23 | wide(e->w), e->d, RTMP);
}

static uint32_t shift_width(const Emit *e)
{
    return e->type == I16 ? O_66 : e->type == I64 ? O_W : e->type == I8 ? O_BRM : 0;
}
static void shift_i(Gen *g, const Emit *e)
{
    unsigned n = e->imm & (type_bits(e->type) - 1), op = e->type == I8 ? 0xc0 : 0xc1;
    if (!n) {
        if (e->type == I32)
            x64_mov32(g, e->d, e->d);       /* the result has zeros above, as of all 32-bit operations */
        return;
    }
    if (n == 1) {
        x64_rr(g, (op | 0x10) | shift_width(e), e->aux, e->d);
    } else {
        x64_rr(g, op | shift_width(e), e->aux, e->d);
        x64_1(g, n);
    }
}
static void shift_c(Gen *g, const Emit *e)
{
    x64_rr(g, (e->type == I8 ? 0xd2 : 0xd3) | shift_width(e), e->aux, e->d);
}
static void shift_x(Gen *g, const Emit *e)
{
    x64_vrr(g, 0xf7 | O_0F38 | e->aux | wide(e->w), e->d, e->b, e->a);
}
static void rorx(Gen *g, const Emit *e)
{
    unsigned bits = type_bits(e->type), n = e->imm & (bits - 1);
    x64_vrr(g, 0xf0 | O_0F3A | O_F2 | wide(e->w), e->d, 0, e->a);
    x64_1(g, e->aux == SH_ROR ? n : (bits - n) & (bits - 1));
}
/* [a << n] without a base takes a 32-bit displacement; [a + a] does not. */
static void shl_lea(Gen *g, const Emit *e)
{
    if (e->imm == 1) {
        x64_rx(g, 0x8d | wide(e->w), e->d, e->a, e->a, 0, 0);
        return;
    }
    x64_prefixes(g, 0x8d | wide(e->w), e->d, e->a, 0);
    x64_1(g, (e->d & 7) << 3 | 4);
    x64_1(g, (unsigned)e->imm << 6 | (e->a & 7) << 3 | 5);
    x64_4(g, 0);
}
static void shd_i(Gen *g, const Emit *e)
{
    unsigned n = e->imm & (type_bits(e->type) - 1);
    if (!n)
        return;
    x64_rr(g, e->aux | O_0F | wide(e->w), e->b, e->d);
    x64_1(g, n);
}
static void shd_c(Gen *g, const Emit *e) { x64_rr(g, (e->aux | 1) | O_0F | wide(e->w), e->b, e->d); }

static void bswap(Gen *g, const Emit *e)
{
    if (e->type == I16) {
        x64_rr(g, 0xc1 | O_66, SH_ROL, e->d);
        x64_1(g, 8);
        return;
    }
    x64_prefixes(g, (0xc8 | (e->d & 7)) | O_0F | wide(e->w), 0, 0, e->d);
}
static void count(Gen *g, const Emit *e) { x64_rr(g, e->aux | O_0F | O_F3 | wide(e->w), e->d, e->a); }
static void clz_bsr(Gen *g, const Emit *e)
{
    unsigned bits = type_bits(e->type);
    x64_mov_i(g, RTMP, 2 * bits - 1);                           /* for zero: (2n-1) ^ (n-1) = n */
    x64_rr(g, 0xbd | O_0F | wide(e->w), e->d, e->a);            /* bsr */
    x64_rr(g, (0x40 | CC_E) | O_0F | wide(e->w), e->d, RTMP);
    x64_alu_ri(g, e->w, ALU_XOR, e->d, bits - 1);
}
static void ctz_bsf(Gen *g, const Emit *e)
{
    x64_mov_i(g, RTMP, type_bits(e->type));
    x64_rr(g, 0xbc | O_0F | wide(e->w), e->d, e->a);
    x64_rr(g, (0x40 | CC_E) | O_0F | wide(e->w), e->d, RTMP);
}
static void popcnt_swar(Gen *g, const Emit *e)
{
    bool w = e->w;
    unsigned d = e->d;
    static const uint64_t m[3] = { 0x5555555555555555, 0x3333333333333333, 0x0f0f0f0f0f0f0f0f };
    /* d -= d >> 1 & m0; d = (d & m1) + (d >> 2 & m1); d = (d + (d >> 4)) & m2; d = d * 0x0101... >> top
     * byte */
    x64_mov(g, RTMP, d);
    x64_shift_i(g, w, SH_SHR, RTMP, 1);
    x64_mov_i(g, RTMP2, w ? m[0] : (uint32_t)m[0]);
    x64_rr(g, 0x23 | O_W, RTMP, RTMP2);
    x64_rr(g, 0x2b | wide(w), d, RTMP);
    x64_mov(g, RTMP, d);
    x64_shift_i(g, w, SH_SHR, RTMP, 2);
    x64_mov_i(g, RTMP2, w ? m[1] : (uint32_t)m[1]);
    x64_rr(g, 0x23 | O_W, RTMP, RTMP2);
    x64_rr(g, 0x23 | wide(w), d, RTMP2);
    x64_rr(g, 0x03 | wide(w), d, RTMP);
    x64_mov(g, RTMP, d);
    x64_shift_i(g, w, SH_SHR, RTMP, 4);
    x64_rr(g, 0x03 | wide(w), d, RTMP);
    x64_mov_i(g, RTMP2, w ? m[2] : (uint32_t)m[2]);
    x64_rr(g, 0x23 | wide(w), d, RTMP2);
    x64_mov_i(g, RTMP2, w ? 0x0101010101010101 : 0x01010101);
    x64_rr(g, 0xaf | O_0F | wide(w), d, RTMP2);
    x64_shift_i(g, w, SH_SHR, d, w ? 56 : 24);
}

static void zext(Gen *g, const Emit *e)
{
    host_zext(g, e->d, e->a, type_size(e->from));
}
static void sext(Gen *g, const Emit *e)
{
    if (e->from == I8)
        x64_rr(g, 0xbe | O_0F | O_BRM | wide(e->w), e->d, e->a);
    else if (e->from == I16)
        x64_rr(g, 0xbf | O_0F | wide(e->w), e->d, e->a);
    else
        x64_rr(g, 0x63 | O_W, e->d, e->a);
}
static void copy(Gen *g, const Emit *e)
{
    if (e->d != e->a)
        x64_mov(g, e->d, e->a);
}

static void extract(Gen *g, const Emit *e)
{
    unsigned pos = FIELD_POS(e->field), len = FIELD_LEN(e->field), bits = type_bits(e->type);
    if (pos == 8 && len == 8 && e->a < 4 && e->d < 8) {         /* movzx d, ah */
        x64_1(g, 0x0f);
        x64_1(g, 0xb6);
        x64_1(g, 0xc0 | e->d << 3 | (e->a + 4));
        return;
    }
    if (pos == 0) {
        if (len == 8 || len == 16 || len == 32) {
            host_zext(g, e->d, e->a, len / 8);
            return;
        }
        if (len == 64) {
            copy(g, e);
            return;
        }
    }
    copy(g, e);
    bool w = pos + len > 32;
    if (pos)
        x64_shift_i(g, w, SH_SHR, e->d, pos);
    if (pos + len == bits && bits >= 32)
        return;
    if (len == 8 || len == 16 || len == 32) {
        host_zext(g, e->d, e->d, len / 8);
    } else if (len < 32) {
        x64_alu_ri(g, false, ALU_AND, e->d, (int32_t)bits_mask(len));
    } else {
        x64_shift_i(g, true, SH_SHL, e->d, 64 - len);
        x64_shift_i(g, true, SH_SHR, e->d, 64 - len);
    }
}

static void deposit(Gen *g, const Emit *e)
{
    unsigned pos = FIELD_POS(e->field), len = FIELD_LEN(e->field), bits = type_bits(e->type);
    unsigned d = e->d, b = e->b;
    if (len >= bits) {
        x64_mov(g, d, b);
        return;
    }
    if (pos == 0 && len == 8) {
        x64_rr(g, 0x88 | O_BREG | O_BRM, b, d);
        return;
    }
    if (pos == 0 && len == 16) {
        x64_rr(g, 0x89 | O_66, b, d);
        return;
    }
    if (pos == 8 && len == 8 && d < 4 && b < 4) {               /* mov dh, bl */
        x64_1(g, 0x88);
        x64_1(g, 0xc0 | b << 3 | (d + 4));
        return;
    }
    /* d & ~mask | (b & ones) << pos */
    uint64_t ones = bits_mask(len), mask = ones << pos;
    bool w = bits == 64;
    if (len == 8 || len == 16 || len == 32) {
        host_zext(g, RTMP, b, len / 8);
    } else {
        x64_mov(g, RTMP, b);
        x64_shift_i(g, true, SH_SHL, RTMP, 64 - len);
        x64_shift_i(g, true, SH_SHR, RTMP, 64 - len);
    }
    if (pos)
        x64_shift_i(g, true, SH_SHL, RTMP, pos);
    if ((int64_t)~mask == (int32_t)~mask || !w) {
        x64_alu_ri(g, w, ALU_AND, d, (int32_t)~mask);
    } else {
        x64_mov_i(g, RTMP2, ~mask);
        x64_rr(g, 0x23 | O_W, d, RTMP2);
    }
    x64_rr(g, 0x0b | wide(w), d, RTMP);
}

const EmitRow x64_rows[] = {
    /* op        types    a    b       c     emitter  aux   needs */
    { IR_ADD,    TB_INT, "!", "i8",    NULL, alu_i,   ALU_ADD },
    { IR_ADD,    TB_INT, "!", "i32",   NULL, alu_i,   ALU_ADD },
    { IR_ADD,    TB_INT, "r", "i32",   NULL, lea_i,   0 },
    { IR_ADD,    TB_INT, "!", "m",     NULL, alu_m,   ALU_ADD },
    { IR_ADD,    TB_INT, "r", "r",     NULL, lea_r,   0 },
    { IR_SUB,    TB_INT, "=", "i32",   NULL, alu_i,   ALU_SUB },
    { IR_SUB,    TB_INT, "=", "m",     NULL, alu_m,   ALU_SUB },
    { IR_AND,    TB_DQ,  "r", "ff",    NULL, movzx8,  0 },
    { IR_AND,    TB_DQ,  "r", "ffff",  NULL, movzx16, 0 },
    { IR_AND,    TB_ALL, "=", "i32",   NULL, alu_i,   ALU_AND },
    { IR_AND,    TB_64,  "=", "u32",   NULL, alu_u32, ALU_AND },
    { IR_AND,    TB_ALL, "=", "m",     NULL, alu_m,   ALU_AND },
    { IR_OR,     TB_ALL, "=", "i32",   NULL, alu_i,   ALU_OR },
    { IR_OR,     TB_ALL, "=", "m",     NULL, alu_m,   ALU_OR },
    { IR_XOR,    TB_ALL, "=", "i32",   NULL, alu_i,   ALU_XOR },
    { IR_XOR,    TB_ALL, "=", "m",     NULL, alu_m,   ALU_XOR },
    { IR_ANDC,   TB_INT, "r", "r",     NULL, andn,    0, HOST_BMI1 },
    { IR_ANDC,   TB_ALL, "=", "r",     NULL, and_not, 0 },
    { IR_NOT,    TB_PRED, "=", NULL,   NULL, not_pred, 0 },
    { IR_NOT,    TB_INT, "=", NULL,    NULL, unary,   2 },
    { IR_NEG,    TB_INT, "=", NULL,    NULL, unary,   3 },
    { IR_MUL,    TB_INT, "r", "i32",   NULL, imul_i,  0 },
    { IR_MUL,    TB_INT, "=", "m",     NULL, imul_m,  0 },

    { IR_SHL,    TB_DQ,  "!", "i",     NULL, shift_i, SH_SHL },
    { IR_SHL,    TB_DQ,  "r", "lea",   NULL, shl_lea, 0 },
    { IR_SHL,    TB_DQ,  "=", "i",     NULL, shift_i, SH_SHL },
    { IR_SHL,    TB_DQ,  "r", "r",     NULL, shift_x, O_66, HOST_BMI2 },
    { IR_SHL,    TB_DQ,  "=", "c",     NULL, shift_c, SH_SHL },
    { IR_SHR,    TB_DQ,  "=", "i",     NULL, shift_i, SH_SHR },
    { IR_SHR,    TB_DQ,  "r", "r",     NULL, shift_x, O_F2, HOST_BMI2 },
    { IR_SHR,    TB_DQ,  "=", "c",     NULL, shift_c, SH_SHR },
    { IR_SAR,    TB_DQ,  "=", "i",     NULL, shift_i, SH_SAR },
    { IR_SAR,    TB_DQ,  "r", "r",     NULL, shift_x, O_F3, HOST_BMI2 },
    { IR_SAR,    TB_DQ,  "=", "c",     NULL, shift_c, SH_SAR },
    { IR_ROL,    TB_INT, "!", "i",     NULL, shift_i, SH_ROL },
    { IR_ROL,    TB_DQ,  "r", "i",     NULL, rorx,    SH_ROL, HOST_BMI2 },
    { IR_ROL,    TB_INT, "=", "i",     NULL, shift_i, SH_ROL },
    { IR_ROL,    TB_INT, "=", "c",     NULL, shift_c, SH_ROL },
    { IR_ROR,    TB_INT, "!", "i",     NULL, shift_i, SH_ROR },
    { IR_ROR,    TB_DQ,  "r", "i",     NULL, rorx,    SH_ROR, HOST_BMI2 },
    { IR_ROR,    TB_INT, "=", "i",     NULL, shift_i, SH_ROR },
    { IR_ROR,    TB_INT, "=", "c",     NULL, shift_c, SH_ROR },
    { IR_SHLD,   TB_DQ,  "=", "r",     "i",  shd_i,   0xa4 },
    { IR_SHLD,   TB_DQ,  "=", "r",     "c",  shd_c,   0xa4 },
    { IR_SHRD,   TB_DQ,  "=", "r",     "i",  shd_i,   0xac },
    { IR_SHRD,   TB_DQ,  "=", "r",     "c",  shd_c,   0xac },

    { IR_BSWAP,  TB_INT, "=", NULL,    NULL, bswap,   0 },
    { IR_CLZ,    TB_DQ,  "r", NULL,    NULL, count,   0xbd, HOST_LZCNT },
    { IR_CLZ,    TB_DQ,  "r", NULL,    NULL, clz_bsr, 0 },
    { IR_CTZ,    TB_DQ,  "r", NULL,    NULL, count,   0xbc, HOST_BMI1 },
    { IR_CTZ,    TB_DQ,  "r", NULL,    NULL, ctz_bsf, 0 },
    { IR_POPCNT, TB_DQ,  "r", NULL,    NULL, count,   0xb8, HOST_POPCNT },
    { IR_POPCNT, TB_DQ,  "=", NULL,    NULL, popcnt_swar, 0 },
    { IR_ZEXT,   TB_INT, "r", NULL,    NULL, zext,    0 },
    { IR_SEXT,   TB_INT, "r", NULL,    NULL, sext,    0 },
    { IR_TRUNC,  TB_INT, "r", NULL,    NULL, copy,    0 },
    { IR_EXTRACT, TB_INT, "r", NULL,   NULL, extract, 0 },
    { IR_DEPOSIT, TB_INT, "=", "r",    NULL, deposit, 0 },
};
const unsigned x64_n_rows = ARRAY_LEN(x64_rows);
