/* SPDX-License-Identifier: GPL-2.0-or-later
 * From bytes to a row and its operands' places.  The rows' opcode and operand columns are parsed once, into look-up
 * tables that are constant from then on: map x opcode x mandatory prefix, then ModRM.reg x (memory, register), then
 * a list of rows of which the first that fits counts.
 * Sources: Intel SDM vol. 2 chapter 2 and appendix A, AMD APM vol. 3 chapter 1 and appendix A. */
#include <pthread.h>
#include <string.h>
#include "target/x86/decode.h"

enum { MAX_DECS = 2048, MAX_CELLS = 32768, MAX_LISTS = 32768 };

/* cell[pfx * 16 + reg * 2 + is_reg] or, not grouped, cell[pfx]: the index of a list in lists[]. */
typedef struct OpcodeEntry { uint16_t cells; bool has_modrm, grouped; } OpcodeEntry;

typedef struct Tables {
    X86Dec      dec[MAX_DECS];          /* [0] unused: 0 ends a list */
    unsigned    n_dec, n_cells, n_lists;
    OpcodeEntry entry[N_MAPS][256];
    uint16_t    cell[MAX_CELLS];        /* [0..63]: the empty cells */
    uint16_t    list[MAX_LISTS];        /* [0]: the empty list */
} Tables;

static Tables *tables;
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

/* --- parsing the rows */

/* Bytes are written in capitals: "cb" and "cd" are code offsets. */
static int hex_byte(const char *s, unsigned n)
{
    if (n != 2 || !g_ascii_isxdigit(s[0]) || !g_ascii_isxdigit(s[1]) || g_ascii_islower(s[0]) || g_ascii_islower(s[1]))
        return -1;
    return g_ascii_xdigit_value(s[0]) << 4 | g_ascii_xdigit_value(s[1]);
}

static void bad_row(const X86Row *row) { g_error("x86 row \"%s\" \"%s\" does not parse", row->opcode, row->operands); }

/* "VEX.128.66.0F38.W0": what is not said may be anything, but without 66, F2, F3 there must be none of them. */
static unsigned parse_vex(X86Dec *d, const X86Row *row)
{
    static const struct { char name[5]; uint8_t pfx, map, l, w; } parts[] = {
        { "128", .l = 1 }, { "LZ", .l = 1 }, { "256", .l = 2 }, { "LIG", 0 }, { "NP", 0 }, { "66", .pfx = PFX_66 },
        { "F3", .pfx = PFX_F3 }, { "F2", .pfx = PFX_F2 }, { "0F", .map = 1 }, { "0F38", .map = 2 },
        { "0F3A", .map = 3 }, { "W0", .w = 1 }, { "W1", .w = 2 }, { "WIG", 0 },
    };
    unsigned len = strcspn(row->opcode, " ");
    d->pfx = PFX_NONE;
    for (unsigned at = 4; at < len;) {
        unsigned n = strcspn(row->opcode + at, ". "), i = 0;
        while (i < G_N_ELEMENTS(parts) && (strlen(parts[i].name) != n || memcmp(parts[i].name, row->opcode + at, n)))
            i++;
        if (i == G_N_ELEMENTS(parts))
            bad_row(row);
        d->pfx = parts[i].pfx ? parts[i].pfx : d->pfx;
        d->map |= parts[i].map;
        d->vex_l |= parts[i].l;
        d->vex_w |= parts[i].w;
        at += n + 1;
    }
    if (!d->map)
        bad_row(row);
    d->map += MAP_VEX;
    return len + 1;
}

static void parse_opcode(X86Dec *d, const X86Row *row)
{
    bool have_opcode = false, escaped = false, vex = !strncmp(row->opcode, "VEX.", 4);
    d->digit = -1;
    for (const char *s = row->opcode + (vex ? parse_vex(d, row) : 0); *s;) {
        unsigned n = strcspn(s, " ");
        int byte = hex_byte(s, MIN(n, 2));
        if (n == 2 && !memcmp(s, "NP", 2)) {
            d->pfx = PFX_NONE;
        } else if (n == 5 && !memcmp(s, "REX.W", 5)) {
            d->rexw = true;
        } else if (*s == '/') {
            d->has_modrm = true;
            if (s[1] >= '0' && s[1] <= '7')
                d->digit = s[1] - '0';
            else if (s[1] != 'r')
                bad_row(row);
        } else if (byte >= 0 && !have_opcode) {
            if (!vex && !escaped && n == 2 && (byte == 0x66 || byte == 0xf2 || byte == 0xf3) && s[2] == ' ') {
                d->pfx = byte == 0x66 ? PFX_66 : byte == 0xf3 ? PFX_F3 : PFX_F2;
            } else if (!vex && !escaped && byte == 0x0f) {
                escaped = true;
                d->map = 1;
            } else if (d->map == 1 && (byte == 0x38 || byte == 0x3a) && s[2] == ' ') {
                d->map = byte == 0x38 ? 2 : 3;
            } else {
                d->opcode = byte;
                have_opcode = true;
                if (n == 4 && !memcmp(s + 2, "+r", 2))
                    d->plus_r = true;
                else if (n != 2)
                    bad_row(row);
            }
        } else if (byte >= 0 && (n == 2 || (n == 4 && !memcmp(s + 2, "+i", 2)))) {
            d->has_modrm = true;
            d->byte = byte;
            d->byte_mask = n == 4 ? 0xf8 : 0xff;
        } else if (!have_opcode || n > 3) {
            bad_row(row);                       /* else: ib, iw, cd, ... */
        }
        s += n;
        s += *s == ' ';
    }
    if (!have_opcode)
        bad_row(row);
    if (d->pfx == PFX_ANY && d->map && row->flags & R_SSE)
        d->pfx = PFX_NONE;
}

static int parse_size(const char *s, unsigned n)
{
    static const struct { char name[3]; uint8_t size; } sizes[] = {
        { "", OSZ_NONE }, { "b", 1 }, { "bs", 1 }, { "w", 2 }, { "d", 4 }, { "q", 8 }, { "v", OSZ_V }, { "z", OSZ_Z },
        { "y", OSZ_Y }, { "dq", 16 }, { "qq", 32 }, { "x", OSZ_X }, { "ss", 4 }, { "sd", 8 }, { "xh", OSZ_XH },
        { "xq", OSZ_XQ }, { "xe", OSZ_XE }, { "a", OSZ_NONE }, { "p", OSZ_NONE }, { "s", OSZ_NONE }, { "t", OSZ_NONE },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++)
        if (strlen(sizes[i].name) == n && !memcmp(sizes[i].name, s, n))
            return sizes[i].size;
    return -1;
}

static bool parse_name(X86Op *op, const char *s, unsigned n)
{
    static const struct { char name[6]; X86Op op; } names[] = {
        { "1", { OPK_ONE, 0, 0 } }, { "AL", { OPK_REG, 1, RAX } }, { "CL", { OPK_REG, 1, RCX } },
        { "AH", { OPK_AH, 1, 0 } }, { "AX", { OPK_REG, 2, RAX } }, { "DX", { OPK_REG, 2, RDX } },
        { "eAX", { OPK_REG, OSZ_Z, RAX } }, { "rAX", { OPK_REG, OSZ_V, RAX } }, { "XMM0", { OPK_XMM0, 16, 0 } },
        { "ES" }, { "CS" }, { "SS" }, { "DS" }, { "FS" }, { "GS" }, { "ST" }, { "ST0" }, { "STi" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (strlen(names[i].name) == n && !memcmp(names[i].name, s, n)) {
            *op = names[i].op;
            return true;
        }
    return false;
}

static void parse_operand(X86Dec *d, X86Op *op, const char *s, unsigned n, const X86Row *row)
{
    static const struct { char letter; uint8_t kind; } letters[] = {
        { 'E', OPK_E }, { 'G', OPK_G }, { 'R', OPK_R }, { 'Z', OPK_Z }, { 'M', OPK_M }, { 'I', OPK_I }, { 'J', OPK_J },
        { 'O', OPK_O }, { 'A', OPK_A }, { 'V', OPK_V }, { 'W', OPK_W }, { 'U', OPK_U }, { 'Q', OPK_Q },
        { 'H', OPK_H }, { 'B', OPK_B }, { 'L', OPK_L },
        { 'P', OPK_NONE }, { 'N', OPK_NONE }, { 'S', OPK_NONE }, { 'C', OPK_NONE }, { 'D', OPK_NONE },
        { 'X', OPK_NONE }, { 'Y', OPK_NONE },
    };
    if (parse_name(op, s, n))
        return;
    int size = parse_size(s + 1, n - 1);
    unsigned i = 0;
    while (i < G_N_ELEMENTS(letters) && letters[i].letter != *s)
        i++;
    if (i == G_N_ELEMENTS(letters) || size < 0)
        bad_row(row);
    op->kind = letters[i].kind;
    op->size = size;
    bool vector = size == 16 || size == 32 || size >= OSZ_X || (n == 3 && s[1] == 's' && (s[2] == 's' || s[2] == 'd'));
    if (op->kind == OPK_M && vector)
        op->kind = OPK_MV;
    if (op->kind == OPK_H || op->kind == OPK_B)
        d->vvvv = true;
    if (strchr("EGRMVWUQPNSCDHBL", *s))
        d->has_modrm = true;
    if (strchr("EMWQ", *s))
        d->rm_op = op - d->op;
    if (*s == 'M')
        d->mod = 1;
    if (strchr("RUN", *s) && d->mod != 3)
        d->mod = 2;
    if (*s == 'C' || *s == 'D')
        d->mod = 3;             /* MOV CRn, DRn */
}

static void parse_row(X86Dec *d, const X86Row *row)
{
    d->row = row;
    d->rm_op = -1;
    parse_opcode(d, row);
    for (const char *s = row->operands; *s;) {
        unsigned n = strcspn(s, " ");
        if (d->n_ops == MAX_OPS)
            bad_row(row);
        parse_operand(d, &d->op[d->n_ops++], s, n, row);
        s += n;
        s += *s == ' ';
    }
    if (row->flags & R_MEMONLY)
        d->mod = 1;
    if (row->flags & R_REGONLY)
        d->mod = 2;
}

/* --- tables */

static bool may_match(const X86Dec *d, unsigned pfx, int reg, int is_reg)
{
    static const uint8_t wanted[4] = { PFX_NONE, PFX_66, PFX_F3, PFX_F2 };
    if (d->pfx != PFX_ANY && d->pfx != wanted[pfx])
        return false;
    if (reg < 0)
        return true;
    if (d->byte_mask && (!is_reg || (d->byte >> 3 & 7) != reg))
        return false;
    if (d->digit >= 0 && d->digit != reg)
        return false;
    return !d->mod || d->mod == 3 || d->mod == 1 + is_reg;
}

/* Rows for one cell: those that name their prefix first.  Equal lists of one opcode are shared; oldest: the first. */
static uint16_t make_list(Tables *tb, const uint16_t *ids, unsigned n, unsigned pfx, int reg, int is_reg, unsigned oldest)
{
    unsigned start = tb->n_lists;
    for (int any = 0; any < 2; any++)
        for (unsigned i = 0; i < n; i++) {
            const X86Dec *d = &tb->dec[ids[i]];
            if ((d->pfx == PFX_ANY) == any && may_match(d, pfx, reg, is_reg))
                tb->list[tb->n_lists++] = ids[i];
        }
    if (start == tb->n_lists)
        return 0;
    tb->list[tb->n_lists++] = 0;
    g_assert(tb->n_lists < MAX_LISTS - 256);
    unsigned len = tb->n_lists - start;
    for (unsigned at = oldest; at + len <= start; at++)
        if (!memcmp(tb->list + at, tb->list + start, len * sizeof *tb->list)) {
            tb->n_lists = start;
            return at;
        }
    return start;
}

static void make_entry(Tables *tb, OpcodeEntry *e, const uint16_t *ids, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const X86Dec *d = &tb->dec[ids[i]];
        e->has_modrm |= d->has_modrm;
        e->grouped |= d->digit >= 0 || d->byte_mask || d->mod;
    }
    unsigned per = e->grouped ? 16 : 1, oldest = tb->n_lists;
    g_assert(tb->n_cells + 4 * per <= MAX_CELLS);
    e->cells = tb->n_cells;
    for (unsigned pfx = 0; pfx < 4; pfx++)
        for (unsigned i = 0; i < per; i++)
            tb->cell[tb->n_cells++] = make_list(tb, ids, n, pfx, e->grouped ? (int)i >> 1 : -1, i & 1, oldest);
}

static void make_tables(void)
{
    static const X86Row *const lists[] = { x86_rows_alu, x86_rows_bits, x86_rows_flow, x86_rows_string, x86_rows_sys, x86_rows_sse,
                                           x86_rows_x87, x86_rows_bmi, x86_rows_avx, x86_rows_vector };
    Tables *tb = g_new0(Tables, 1);
    uint16_t *next = g_new0(uint16_t, MAX_DECS * 8), *node_dec = g_new0(uint16_t, MAX_DECS * 8);
    uint16_t first[N_MAPS][256] = { 0 }, last[N_MAPS][256] = { 0 };
    unsigned n_nodes = 1;
    tb->n_dec = 1;
    tb->n_lists = 1;
    tb->n_cells = 64;
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++)
        for (const X86Row *row = lists[i]; row->opcode; row++) {
            g_assert(tb->n_dec < MAX_DECS);
            X86Dec *d = &tb->dec[tb->n_dec];
            parse_row(d, row);
            for (unsigned r = 0; r < (d->plus_r ? 8 : 1); r++) {
                unsigned node = n_nodes++, op = d->opcode + r;
                node_dec[node] = tb->n_dec;
                if (last[d->map][op])
                    next[last[d->map][op]] = node;
                else
                    first[d->map][op] = node;
                last[d->map][op] = node;
            }
            tb->n_dec++;
        }
    for (unsigned map = 0; map < N_MAPS; map++)
        for (unsigned op = 0; op < 256; op++) {
            uint16_t ids[256];
            unsigned n = 0;
            for (unsigned node = first[map][op]; node && n < 256; node = next[node])
                ids[n++] = node_dec[node];
            if (n)
                make_entry(tb, &tb->entry[map][op], ids, n);
        }
    g_free(next);
    g_free(node_dec);
    tables = tb;
}

const X86Dec *x86_decs(unsigned *n)
{
    pthread_once(&tables_once, make_tables);
    *n = tables->n_dec - 1;
    return tables->dec + 1;
}

/* --- decoding */

static inline uint16_t get16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return GUINT16_FROM_LE(v); }
static inline uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return GUINT32_FROM_LE(v); }
static inline uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return GUINT64_FROM_LE(v); }

enum { P_SEG = 1, P_66, P_67, P_LOCK, P_REP, P_REX };

static const uint8_t prefix_class[256] = {
    [0x26] = P_SEG, [0x2e] = P_SEG, [0x36] = P_SEG, [0x3e] = P_SEG, [0x64] = P_SEG, [0x65] = P_SEG,
    [0x66] = P_66, [0x67] = P_67, [0xf0] = P_LOCK, [0xf2] = P_REP, [0xf3] = P_REP, [0x40 ... 0x4f] = P_REX,
};

/* APM vol. 3 section 1.2: legacy prefixes in any order; REX counts only right before the opcode; of F2 and F3 the last
 * one counts.  Returns the opcode's place. */
static unsigned decode_prefixes(X86Trans *t, const uint8_t *p)
{
    unsigned n = 0;
    bool ad = false;
    t->rex = t->vex_l = 0;
    t->vex = false;
    t->lock = t->repz = t->repnz = t->data16 = false;
    t->seg_override = -1;
    for (; n < X86_MAX_LEN; n++) {
        uint8_t b = p[n], k = prefix_class[b];
        if (G_LIKELY(!k) || (k == P_REX && !t->code64))
            break;
        t->rex = 0;
        switch (k) {
        case P_REX:
            t->rex = b;
            break;
        case P_SEG:             /* in 64-bit mode only FS and GS count, and the others do not undo them */
            if (b >= 0x64)
                t->seg_override = FS + (b - 0x64);
            else if (!t->code64)
                t->seg_override = b >> 3 & 3;
            break;
        case P_66:
            t->data16 = true;
            break;
        case P_67:
            ad = true;
            break;
        case P_LOCK:
            t->lock = true;
            break;
        default:
            t->repz = b == 0xf3;
            t->repnz = b == 0xf2;
        }
    }
    if (t->code64)
        t->adsize = ad ? 4 : 8;
    else
        t->adsize = ((t->mode & MODE_CS) == MODE_CS32) != ad ? 4 : 2;
    return n;
}

static const int8_t base16[8] = { RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX };
static const int8_t index16[8] = { RSI, RDI, RSI, RDI, -1, -1, -1, -1 };

static unsigned decode_mem16(X86Args *a, const uint8_t *p)
{
    unsigned rm = a->modrm & 7;
    a->base = base16[rm];
    a->index = index16[rm];
    a->scale = 0;
    a->disp = 0;
    if (a->mod == 0 && rm == 6) {
        a->base = -1;
        a->disp = get16(p);
        return 2;
    }
    if (a->mod == 1) {
        a->disp = (int8_t)p[0];
        return 1;
    }
    if (a->mod == 2) {
        a->disp = (int16_t)get16(p);
        return 2;
    }
    return 0;
}

/* p: what follows ModRM; the number of bytes used. */
static unsigned decode_mem(X86Trans *t, X86Args *a, const uint8_t *p)
{
    unsigned n = 0;
    if (t->adsize == 2) {
        n = decode_mem16(a, p);
    } else {
        unsigned base = a->modrm & 7;
        a->index = -1;
        a->scale = 0;
        if (base == 4) {
            uint8_t sib = p[n++];
            unsigned index = (sib >> 3 & 7) | (t->rex & 2) << 2;
            if (a->row->flags & R_VSIB) {
                a->vindex = index;
                a->scale = sib >> 6;
            } else if (index != 4) {
                a->index = index;
                a->scale = sib >> 6;
            }
            base = sib & 7;
        } else if (base == 5 && a->mod == 0 && t->code64) {
            a->base = 16;
            a->disp = (int32_t)get32(p);
            a->seg = t->seg_override >= 0 ? t->seg_override : DS;
            return 4;
        }
        a->base = base | (t->rex & 1) << 3;
        a->disp = 0;
        if (a->mod == 1) {
            a->disp = (int8_t)p[n++];
        } else if (a->mod == 2 || base == 5) {
            if (a->mod == 0)
                a->base = -1;
            a->disp = (int32_t)get32(p + n);
            n += 4;
        }
    }
    a->seg = t->seg_override >= 0 ? t->seg_override : a->base == RSP || a->base == RBP ? SS : DS;
    return n;
}

static void find_opsize(X86Trans *t, const X86Row *row)
{
    bool d = t->data16;
    if (t->code64)
        t->opsize = t->rex & 8 || row->flags & R_FORCE64 ? 8 : d ? 2 : row->flags & R_DEF64 ? 8 : 4;
    else
        t->opsize = ((t->mode & MODE_CS) == MODE_CS32) != d ? 4 : 2;
}

static unsigned decode_imm(X86Trans *t, X86Args *a, const X86Op *op, const uint8_t *p, bool first)
{
    unsigned size = x86_op_size(t, op), n;
    int64_t v;
    switch (op->kind) {
    case OPK_O:
        n = t->adsize;
        v = n == 2 ? get16(p) : n == 4 ? (int64_t)get32(p) : (int64_t)get64(p);
        a->base = a->index = -1;
        a->disp = v;
        a->seg = t->seg_override >= 0 ? t->seg_override : DS;
        a->is_mem = true;
        break;
    case OPK_J:
        n = size;
        v = n == 1 ? (int8_t)p[0] : n == 2 ? (int16_t)get16(p) : (int32_t)get32(p);
        break;
    case OPK_A:
        n = MIN(t->opsize, 4);
        v = n == 2 ? get16(p) : get32(p);
        v |= (int64_t)get16(p + n) << 32;
        n += 2;
        break;
    default:
        n = size;
        if (n == 1)
            v = (int8_t)p[0];
        else if (n == 2)
            v = op->size == 2 ? get16(p) : (int16_t)get16(p);
        else
            v = n == 4 ? (int64_t)(int32_t)get32(p) : (int64_t)get64(p);
        a->imm8 = p[0];
    }
    if (first)
        a->imm = v;
    return n;
}

static bool fits_vex(const X86Trans *t, const X86Dec *d, uint8_t modrm)
{
    if ((d->vex_l && d->vex_l != 1 + t->vex_l) || (d->vex_w && d->vex_w != 1 + t->vex_w) || (!d->vvvv && t->vvvv))
        return false;
    if (d->row->flags & R_VSIB && ((modrm & 7) != 4 || t->adsize == 2))
        return false;
    return !(d->row->flags & R_AVX2 && t->vex_l) || x86_has((const X86Cpu *)t->req->cpu, X86F_AVX2);
}

static inline bool fits(const X86Trans *t, const X86Dec *d, uint8_t modrm)
{
    const X86Row *row = d->row;
    if (d->rexw && !(t->rex & 8))
        return false;
    if ((modrm & d->byte_mask) != d->byte)
        return false;
    if (row->flags & (R_ONLY64 | R_NO64) && !!(row->flags & R_ONLY64) != t->code64)
        return false;
    if (x86_dec_vex(d) && !fits_vex(t, d, modrm))
        return false;
    return !row->feature || x86_has((const X86Cpu *)t->req->cpu, row->feature);
}

/* VEX (SDM vol. 2, 2.3.5): p: what follows C4 or C5; the opcode map, 0: #UD.  Its bits come as REX would say them.
 * Outside 64-bit mode there are eight registers and W widens nothing, though rows may want it. */
static unsigned decode_vex(X86Trans *t, const uint8_t *p, bool three)
{
    static const uint8_t repeat[4] = { 0, 0, 0xf3, 0xf2 };
    uint8_t last = p[three], rxb = three ? ~p[0] >> 5 & 7 : (~p[0] >> 5 & 4);
    unsigned map = three ? p[0] & 31 : 1;
    if (t->lock || t->data16 || t->repz || t->repnz || t->rex || map < 1 || map > 3)
        return 0;
    t->vex = true;
    t->vex_w = three && last & 0x80;
    t->vvvv = ~last >> 3 & (t->code64 ? 15 : 7);
    t->vex_l = last >> 2 & 1;
    t->rex = 0x40 | (t->code64 ? t->vex_w << 3 | rxb : 0);
    t->data16 = (last & 3) == 1;
    t->repz = repeat[last & 3] == 0xf3;
    t->repnz = repeat[last & 3] == 0xf2;
    return MAP_VEX + map;
}

X86DecStatus x86_decode(X86Trans *t, X86Args *a, const uint8_t *p, const X86Dec **dec, unsigned *len)
{
    pthread_once(&tables_once, make_tables);
    const Tables *tb = tables;
    unsigned n = decode_prefixes(t, p);
    *len = n + 1;
    if (n >= X86_MAX_LEN)
        return DEC_LONG;
    unsigned map = 0, op = p[n++];
    if (op == 0x0f) {
        map = 1;
        op = p[n++];
        if (op == 0x38 || op == 0x3a) {
            map = op == 0x38 ? 2 : 3;
            op = p[n++];
        }
        *len = n;
    } else if ((op & 0xfe) == 0xc4 && (t->code64 || (p[n] >= 0xc0 && !(t->mode & MODE_REAL)))) {
        bool three = op == 0xc4;        /* else LES, LDS, whose operand is in memory */
        map = decode_vex(t, p + n, three);
        n += 1 + three;
        op = p[n++];
        *len = n;
        if (!map)
            return DEC_UD;
    }
    const OpcodeEntry *e = &tb->entry[map][op];
    unsigned pfx = t->repz ? 2 : t->repnz ? 3 : t->data16;
    unsigned cell = e->cells + pfx;
    if (t->vex)                 /* what they said is in pfx, and means nothing else */
        t->data16 = t->repz = t->repnz = false;
    uint8_t modrm = 0;
    a->opcode = op;
    a->is_mem = false;
    a->mod = 3;
    if (e->has_modrm) {
        modrm = p[n++];
        *len = n;
        a->modrm = modrm;
        a->mod = modrm >> 6;
        a->reg = (modrm >> 3 & 7) | (t->rex & 4) << 1;
        a->rm = (modrm & 7) | (t->rex & 1) << 3;
        if (e->grouped)
            cell = e->cells + pfx * 16 + (modrm >> 3 & 7) * 2 + (a->mod == 3);
    } else {
        a->rm = (op & 7) | (t->rex & 1) << 3;
    }
    const uint16_t *list = &tb->list[tb->cell[cell]];
    const X86Dec *d;
    for (;; list++) {
        if (!*list)
            return DEC_UD;
        d = &tb->dec[*list];
        if (fits(t, d, modrm))
            break;
    }
    *dec = d;
    a->row = d->row;
    a->n_ops = d->n_ops;
    find_opsize(t, d->row);
    if (d->mod == 3)
        a->mod = 3;
    if (a->mod != 3) {
        a->is_mem = true;
        n += decode_mem(t, a, p + n);
    }
    bool first = true;
    for (unsigned i = 0; i < d->n_ops; i++)
        if (d->op[i].kind >= OPK_I && d->op[i].kind <= OPK_A) {
            n += decode_imm(t, a, &d->op[i], p + n, first);
            first = false;
        }
    *len = n;
    t->next = t->off + n;
    return n > X86_MAX_LEN ? DEC_LONG : DEC_OK;
}
