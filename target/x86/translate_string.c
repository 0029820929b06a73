/* SPDX-License-Identifier: GPL-2.0-or-later
 * String instructions.  One iteration is translated; REP and port strings go to a helper that works in bulk, a bounded
 * amount at a time, and leaves the pc at the instruction while iterations remain.  Source: APM vol. 3 section 1.2.6. */
#include "target/x86/string.h"

extern const IrHelper x86_helper_rep;           /* helper_string.c */

static Val pointer(X86Trans *t, unsigned reg)
{
    Val v = ir_get(t->b, X_RAX + reg);
    return t->adsize == 8 ? v : ir_op2i(t->b, IR_AND, v, t->adsize == 4 ? 0xffffffff : 0xffff);
}

static unsigned source_seg(const X86Trans *t) { return t->seg_override >= 0 ? t->seg_override : DS; }

static Val address(X86Trans *t, unsigned reg, unsigned size, bool write)
{
    Val ea = pointer(t, reg);
    t->limit_len = size;
    t->limit_write = write;
    return x86_linear(t, reg == RDI ? ES : source_seg(t), ea);
}

/* + or - the size, as DF says. */
static Val step(X86Trans *t, unsigned size)
{
    Val f = ir_get(t->b, X_EFLAGS);
    Val up = ir_imm(t->b, I64, size), down = ir_imm(t->b, I64, -(int64_t)size), df = ir_imm(t->b, I64, FL_DF);
    Val p = ir_cmp(t->b, C_TSTNE, f, df);
    return ir_select(t->b, p, down, up);
}

static void advance(X86Trans *t, unsigned reg, Val by)
{
    Val v = ir_get(t->b, X_RAX + reg);
    v = ir_op2(t->b, IR_ADD, v, by);
    v = ir_ext(t->b, IR_TRUNC, x86_type(t->adsize), v);
    x86_put_reg(t, reg, t->adsize, v);
}

static Val base_of(X86Trans *t, unsigned seg)
{
    if (seg < FS && (t->code64 || !(t->mode & MODE_BASES)))
        return ir_imm(t->b, I64, 0);
    return ir_get(t->b, X_ES_BASE + seg);
}

static void bulk(X86Trans *t, X86Args *a, bool rep)
{
    Ir *b = t->b;
    unsigned op = a->row->arg;
    uint32_t what = op | (unsigned)a->size << REP_SIZE | (unsigned)t->adsize << REP_ADSIZE | (rep ? REP_COUNTED : 0) |
                    (t->repnz ? REP_WHILE_NE : 0) | (t->code64 ? REP_CODE64 : 0) | (t->mode & MODE_TF ? REP_ONE : 0) |
                    (!t->code64 && t->mode & MODE_LIMITS ? REP_LIMITS : 0) | source_seg(t) << REP_SEG;
    Val v[5];
    v[0] = ir_imm(b, I32, what);
    v[1] = base_of(t, source_seg(t));
    v[2] = base_of(t, ES);
    v[3] = ir_pc(b, t->off);
    if (!t->code64)
        v[3] = ir_op2i(b, IR_AND, v[3], 0xffffffff);
    v[4] = x86_next_pc(t);
    ir_callv(b, &x86_helper_rep, 5, v);
    x86_cc_forget(t);
    t->plain = true;
    x86_exit_indirect(t);
}

static bool tr_string(X86Trans *t, X86Args *a)
{
    unsigned op = a->row->arg, size = a->size;
    if (t->repz || t->repnz) {
        bulk(t, a, true);
        return true;
    }
    Val x, y, at;
    switch (op) {
    case STR_MOVS:
        at = address(t, RSI, size, false);
        x = x86_load(t, at, size);
        at = address(t, RDI, size, true);
        x86_store(t, at, size, x);
        break;
    case STR_STOS:
        at = address(t, RDI, size, true);
        x = x86_get_reg(t, RAX, size);
        x86_store(t, at, size, x);
        break;
    case STR_LODS:
        at = address(t, RSI, size, false);
        x = x86_load(t, at, size);
        x86_put_reg(t, RAX, size, x);
        break;
    case STR_SCAS:
        at = address(t, RDI, size, false);
        y = x86_load(t, at, size);
        x = x86_get_reg(t, RAX, size);
        x86_put_flags(t, CC_CMP, size, VAL_NONE, x, y);
        break;
    default:
        at = address(t, RSI, size, false);
        x = x86_load(t, at, size);
        at = address(t, RDI, size, false);
        y = x86_load(t, at, size);
        x86_put_flags(t, CC_CMP, size, VAL_NONE, x, y);
    }
    Val by = step(t, size);
    if (op == STR_MOVS || op == STR_LODS || op == STR_CMPS)
        advance(t, RSI, by);
    if (op != STR_LODS)
        advance(t, RDI, by);
    return true;
}

static bool tr_port_string(X86Trans *t, X86Args *a)
{
    if (!(t->mode & MODE_IOPL) || (t->mode & MODE_REAL && t->cpl == 3)) {      /* virtual-8086 mode: always */
        Val port = x86_get_reg(t, RDX, 2), size = ir_imm(t->b, I32, a->size);
        port = ir_ext(t->b, IR_ZEXT, I32, port);
        ir_call(t->b, &x86_helper_io_check, port, size);
    }
    bulk(t, a, t->repz || t->repnz);
    return true;
}

const X86Row x86_rows_string[] = {
    { "A4", "Yb Xb", tr_string, STR_MOVS },
    { "A5", "Yv Xv", tr_string, STR_MOVS },
    { "A6", "Xb Yb", tr_string, STR_CMPS },
    { "A7", "Xv Yv", tr_string, STR_CMPS },
    { "AA", "Yb",    tr_string, STR_STOS },
    { "AB", "Yv",    tr_string, STR_STOS },
    { "AC", "Xb",    tr_string, STR_LODS },
    { "AD", "Xv",    tr_string, STR_LODS },
    { "AE", "Yb",    tr_string, STR_SCAS },
    { "AF", "Yv",    tr_string, STR_SCAS },
    { "6C", "Yb",    tr_port_string, STR_INS },
    { "6D", "Yz",    tr_port_string, STR_INS },
    { "6E", "Xb",    tr_port_string, STR_OUTS },
    { "6F", "Xz",    tr_port_string, STR_OUTS },
    { NULL }
};
