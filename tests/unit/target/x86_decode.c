/* SPDX-License-Identifier: GPL-2.0-or-later
 * The decoder: every row is reachable, lengths agree with capstone, prefixes count as the manuals say. */
#include <capstone/capstone.h>
#include <string.h>

#include "target/x86/decode.h"

typedef struct Decoded { X86DecStatus status; const X86Dec *d; unsigned len; X86Trans t; X86Args a; } Decoded;

static X86Cpu *cpu;

static Decoded decode(uint32_t mode, const uint8_t *bytes, unsigned n)
{
    uint8_t code[48] = { 0 };
    TransReq req = { .cpu = &cpu->s };
    Decoded r = { .t = { .mode = mode, .code64 = mode == MODE_CS64, .req = &req } };
    memcpy(code, bytes, n);
    r.status = x86_decode(&r.t, &r.a, code, &r.d, &r.len);
    return r;
}
#define DECODE(mode, ...) decode(mode, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* The shortest encoding that a row allows. */
static unsigned encode(const X86Dec *d, uint8_t *p)
{
    static const uint8_t prefix[] = { [PFX_66] = 0x66, [PFX_F3] = 0xf3, [PFX_F2] = 0xf2 };
    unsigned n = 0;
    if (x86_dec_vex(d)) {
        static const uint8_t pp[] = { [PFX_66] = 1, [PFX_F3] = 2, [PFX_F2] = 3 };
        p[n++] = 0xc4;
        p[n++] = 0xe0 | (d->map - MAP_VEX);
        p[n++] = (d->vex_w == 2) << 7 | 0x78 | (d->vex_l == 2) << 2 | (d->pfx > PFX_NONE ? pp[d->pfx] : 0);
        p[n++] = d->opcode;
        if (d->has_modrm)
            p[n++] = (d->mod == 1 ? 0x00 : 0xc0) | (d->digit > 0 ? d->digit : 0) << 3 |
                     (d->row->flags & R_VSIB ? 4 : 0);
        return n;
    }
    if (d->pfx >= PFX_66)
        p[n++] = prefix[d->pfx];
    if (d->rexw)
        p[n++] = 0x48;
    if (d->map)
        p[n++] = 0x0f;
    if (d->map > 1)
        p[n++] = d->map == 2 ? 0x38 : 0x3a;
    p[n++] = d->opcode;
    if (d->has_modrm) {
        unsigned reg = d->digit >= 0 ? d->digit : 0;
        p[n++] = d->byte_mask ? d->byte : (d->mod == 1 ? 0x00 : 0xc0) | reg << 3;
    }
    return n;
}

/* The first row that fits is the row itself: none stands in another's shadow. */
static void rows_reachable(void)
{
    unsigned n, checked = 0;
    const X86Dec *decs = x86_decs(&n);
    for (unsigned i = 0; i < n; i++) {
        const X86Row *row = decs[i].row;
        if (row->feature && !x86_has(cpu, row->feature))
            continue;
        uint8_t code[16] = { 0 };
        unsigned len = encode(&decs[i], code);
        uint32_t mode = row->flags & R_NO64 ? MODE_CS32 : MODE_CS64;
        Decoded r = decode(mode, code, len);
        if (r.status != DEC_OK || (r.d != &decs[i] && strcmp(r.d->row->opcode, row->opcode)))
            g_test_message("\"%s\" \"%s\" gives \"%s\"", row->opcode, row->operands, r.status == DEC_OK ? r.d->row->opcode : "#UD");
        g_assert_cmpint(r.status, ==, DEC_OK);
        g_assert_cmpstr(r.d->row->opcode, ==, row->opcode);
        g_assert_cmpuint(r.len, >=, len);
        checked++;
    }
    g_test_message("%u of %u rows", checked, n);
}

/* Where capstone is not the manual: near branches with 66 (Intel's ignore it), MOV with control registers, 3DNow,
 * hints, FWAIT merged with what follows, EXTRQ and INSERTQ outside 64-bit code. */
static bool compared(const Decoded *r, const cs_insn *in)
{
    uint8_t op = r->a.opcode;
    if (r->d->map == 1 && (op == 0x0f || (op & 0xfc) == 0x20 || op == 0x24 || op == 0x26 || op == 0x78))
        return false;
    return !(r->t.code64 && r->t.data16 && r->d->row->flags & R_FORCE64) && r->d->map + op != 0x9b;
}

static void lengths(gconstpointer data)
{
    uint32_t mode = GPOINTER_TO_UINT(data);
    csh cs;
    cs_insn *in;
    unsigned both = 0, differ = 0;
    GRand *rand = g_rand_new_with_seed(mode + 1);
    g_assert_cmpint(cs_open(CS_ARCH_X86, mode == MODE_CS64 ? CS_MODE_64 : mode == MODE_CS32 ? CS_MODE_32 : CS_MODE_16, &cs), ==, 0);
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t code[48] = { 0 };
        for (unsigned k = 0; k < 16; k++)
            code[k] = g_rand_int(rand);
        static const uint8_t starts[][3] = { { 0x0f }, { 0x66, 0x0f }, { 0xf3, 0x0f }, { 0xf2, 0x0f }, { 0x0f, 0x38 }, { 0x66, 0x0f, 0x38 },
                                             { 0x66, 0x0f, 0x3a }, { 0x48 }, { 0xc4, 0xe2 }, { 0xc4, 0xe3 }, { 0xc4, 0xe1 },
                                             { 0xc5 } };
        unsigned s = g_rand_int_range(rand, 0, 16);
        if (s < G_N_ELEMENTS(starts))
            memcpy(code, starts[s], starts[s][2] ? 3 : starts[s][1] ? 2 : 1);
        Decoded r = decode(mode, code, sizeof code);
        if (r.status != DEC_OK || !cs_disasm(cs, code, 15, 0, 1, &in))
            continue;
        both++;
        if (in->size != r.len && compared(&r, in)) {
            differ++;
            g_test_message("%02x %02x %02x %02x %02x %02x: %u (%s), capstone %u %s %s", code[0], code[1], code[2], code[3],
                           code[4], code[5], r.len, r.d->row->opcode, in->size, in->mnemonic, in->op_str);
        }
        cs_free(in, 1);
    }
    g_test_message("%u compared", both);
    g_assert_cmpuint(both, >, 50000);
    g_assert_cmpuint(differ, ==, 0);
    g_rand_free(rand);
    cs_close(&cs);
}

static void prefixes(void)
{
    Decoded r = DECODE(MODE_CS64, 0x48, 0x66, 0x89, 0xc8);              /* REX before another prefix is void */
    g_assert_cmpuint(r.t.opsize, ==, 2);
    r = DECODE(MODE_CS64, 0x66, 0x48, 0x89, 0xc8);
    g_assert_cmpuint(r.t.opsize, ==, 8);
    r = DECODE(MODE_CS64, 0xf2, 0xf3, 0x0f, 0x58, 0xc1);                /* the last of F2 and F3 */
    g_assert_cmpstr(r.d->row->opcode, ==, "F3 0F 58 /r");
    r = DECODE(MODE_CS64, 0xf3, 0xf2, 0x66, 0x0f, 0x58, 0xc1);          /* and they go before 66 */
    g_assert_cmpstr(r.d->row->opcode, ==, "F2 0F 58 /r");
    r = DECODE(MODE_CS64, 0x66, 0xf2, 0x0f, 0x38, 0xf1, 0xc1);          /* which then is an operand size */
    g_assert_cmpuint(r.t.opsize, ==, 2);
    r = DECODE(MODE_CS64, 0x64, 0x2e, 0x8b, 0x00);                      /* CS does not undo FS in 64-bit mode */
    g_assert_cmpint(r.t.seg_override, ==, FS);
    r = DECODE(MODE_CS32, 0x64, 0x2e, 0x8b, 0x00);
    g_assert_cmpint(r.t.seg_override, ==, CS);
    r = DECODE(MODE_CS64, 0x66, 0xe9, 1, 2, 3, 4);                      /* 66 is ignored */
    g_assert_cmpuint(r.len, ==, 6);
    g_assert_cmphex(r.a.imm, ==, 0x04030201);
    r = DECODE(MODE_CS32, 0x66, 0xe9, 1, 2, 3, 4);
    g_assert_cmpuint(r.len, ==, 4);
}

/* SDM vol. 2, 2.3.11: more than 15 bytes are #GP. */
static void too_long(void)
{
    uint8_t code[32];
    memset(code, 0x66, sizeof code);
    code[14] = 0x90;
    g_assert_cmpint(decode(MODE_CS64, code, 32).status, ==, DEC_OK);
    code[14] = 0x66;
    code[15] = 0x90;
    g_assert_cmpint(decode(MODE_CS64, code, 32).status, ==, DEC_LONG);
    memset(code, 0x2e, 10);
    memcpy(code + 10, (uint8_t[]){ 0x81, 0x05 }, 2);                    /* 10 + 2 + 4 + 4 */
    g_assert_cmpint(decode(MODE_CS64, code, 32).status, ==, DEC_LONG);
}

typedef struct Mem { uint32_t mode; uint8_t code[8]; int base, index, scale, seg; int64_t disp; unsigned len; } Mem;

static void addresses(void)
{
    static const Mem t[] = {
        { MODE_CS64, { 0x8b, 0x00 },                         RAX, -1, 0, DS, 0, 2 },
        { MODE_CS64, { 0x8b, 0x05, 1, 0, 0, 0 },             16, -1, 0, DS, 1, 6 },
        { MODE_CS32, { 0x8b, 0x05, 1, 0, 0, 0x80 },          -1, -1, 0, DS, (int32_t)0x80000001, 6 },
        { MODE_CS64, { 0x8b, 0x04, 0x25, 1, 0, 0, 0 },       -1, -1, 0, DS, 1, 7 },
        { MODE_CS64, { 0x8b, 0x04, 0x24 },                   RSP, -1, 0, SS, 0, 3 },
        { MODE_CS64, { 0x42, 0x8b, 0x04, 0x24 },             RSP, R12, 0, SS, 0, 4 },
        { MODE_CS64, { 0x8b, 0x44, 0xd8, 0xff },             RAX, RBX, 3, DS, -1, 4 },
        { MODE_CS64, { 0x8b, 0x45, 0x10 },                   RBP, -1, 0, SS, 16, 3 },
        { MODE_CS64, { 0x41, 0x8b, 0x45, 0x10 },             R13, -1, 0, DS, 16, 4 },
        { MODE_CS64, { 0x41, 0x8b, 0x04, 0x24 },             R12, -1, 0, DS, 0, 4 },
        { MODE_CS64, { 0x8b, 0x04, 0x6d, 4, 0, 0, 0 },       -1, RBP, 1, DS, 4, 7 },
        { MODE_CS64, { 0x65, 0x8b, 0x04, 0x24 },             RSP, -1, 0, GS, 0, 4 },
        { MODE_CS16, { 0x8b, 0x00 },                         RBX, RSI, 0, DS, 0, 2 },
        { MODE_CS16, { 0x8b, 0x42, 0xfe },                   RBP, RSI, 0, SS, -2, 3 },
        { MODE_CS16, { 0x8b, 0x06, 0x34, 0xf2 },             -1, -1, 0, DS, 0xf234, 4 },
        { MODE_CS16, { 0x67, 0x8b, 0x04, 0x24 },             RSP, -1, 0, SS, 0, 4 },
        { MODE_CS32, { 0x67, 0x8b, 0x46, 2 },                RBP, -1, 0, SS, 2, 4 },
        { MODE_CS64, { 0xa1, 8, 7, 6, 5, 4, 3, 2 },          -1, -1, 0, DS, 0x0002030405060708, 9 },
        { MODE_CS64, { 0x67, 0xa1, 4, 3, 2, 0x81 },          -1, -1, 0, DS, 0x81020304, 6 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        Decoded r = decode(t[i].mode, t[i].code, 8);
        g_test_message("%u", i);
        g_assert_cmpint(r.status, ==, DEC_OK);
        g_assert_true(r.a.is_mem);
        g_assert_cmpint(r.a.base, ==, t[i].base);
        g_assert_cmpint(r.a.index, ==, t[i].index);
        g_assert_cmpint(r.a.scale, ==, t[i].scale);
        g_assert_cmpint(r.a.seg, ==, t[i].seg);
        g_assert_cmphex(r.a.disp, ==, t[i].disp);
        g_assert_cmpuint(r.len, ==, t[i].len);
    }
}

/* Bytes that no row describes. */
static void undefined(void)
{
    static const uint8_t t[][8] = {
        { 0x0f, 0x0b }, { 0x0f, 0x04 }, { 0x0f, 0xff }, { 0x06 }, { 0xd6 }, { 0xff, 0xff }, { 0x8d, 0xc0 }, { 0xf0, 0x0f, 0x24 },
        { 0x0f, 0xc7, 0xc8 }, { 0x62 }, { 0xc4, 0xe2, 0x78 }, { 0xc5, 0xf9, 0x77 }, { 0xc5, 0xf0, 0x77 }, { 0xc5, 0xf0, 0x28, 0xc1 }, { 0x66, 0xc5, 0xf8, 0x28, 0xc1 },
        { 0x48, 0xc5, 0xf8, 0x28, 0xc1 }, { 0xf0, 0xc5, 0xf8, 0x28, 0xc1 }, { 0xf3, 0xc5, 0xf8, 0x28, 0xc1 }, { 0xc4, 0xe0, 0x78, 0x28, 0xc1 },
        { 0xc4, 0xe2, 0x7d, 0xdb, 0xc1 }, { 0xc4, 0xe2, 0xf9, 0x0c, 0xc1 }, { 0xc4, 0xe2, 0x79, 0x36, 0xc1 }, { 0x0f, 0xba, 0xc0 }, { 0x8f, 0xc8 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        g_test_message("%02x %02x %02x %02x", t[i][0], t[i][1], t[i][2], t[i][3]);
        g_assert_cmpint(decode(MODE_CS64, t[i], 8).status, ==, DEC_UD);
    }
}

int main(int argc, char **argv)
{
    static const CpuHooks hooks;
    g_test_init(&argc, &argv, NULL);
    cpu = x86_cpu_new(x86_model_parse("max", NULL), &hooks);
    g_test_add_func("/x86/decode/rows-reachable", rows_reachable);
    g_test_add_data_func("/x86/decode/lengths-64", GUINT_TO_POINTER(MODE_CS64), lengths);
    g_test_add_data_func("/x86/decode/lengths-32", GUINT_TO_POINTER(MODE_CS32), lengths);
    g_test_add_data_func("/x86/decode/lengths-16", GUINT_TO_POINTER(MODE_CS16), lengths);
    g_test_add_func("/x86/decode/prefixes", prefixes);
    g_test_add_func("/x86/decode/too-long", too_long);
    g_test_add_func("/x86/decode/addresses", addresses);
    g_test_add_func("/x86/decode/undefined", undefined);
    return g_test_run();
}
