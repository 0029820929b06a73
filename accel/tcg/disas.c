/* SPDX-License-Identifier: GPL-2.0-or-later
 * -d in_asm, -d out_asm, -perfmap: code as text. */
#include "accel/tcg/tcg_int.h"

#include <capstone/capstone.h>
#include "config.h"
#include "util/log.h"

static void hex_line(GString *s, uint64_t pc, const uint8_t *code, unsigned n)
{
    g_string_append_printf(s, "0x%08" G_GINT64_MODIFIER "x: ", pc);
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(s, " %02x", code[i]);
    g_string_append_c(s, '\n');
}

/* What capstone does not know is shown as bytes. */
static void disassemble(GString *s, int arch, int mode, const uint8_t *code, size_t len, uint64_t pc)
{
    csh h;
    if (arch < 0 || cs_open(arch, mode, &h) != CS_ERR_OK) {
        for (; len; len -= MIN(len, 16), code += 16, pc += 16)
            hex_line(s, pc, code, MIN(len, 16));
        return;
    }
    cs_insn *in = cs_malloc(h);
    while (len) {
        if (cs_disasm_iter(h, &code, &len, &pc, in)) {
            g_string_append_printf(s, "0x%08" G_GINT64_MODIFIER "x:  ", in->address);
            for (unsigned i = 0; i < MAX(in->size, 8); i++)
                g_string_append_printf(s, i < in->size ? "%02x " : "   ", in->bytes[i % sizeof in->bytes]);
            g_string_append_printf(s, " %-8s %s\n", in->mnemonic, in->op_str);
        } else {
            hex_line(s, pc, code, 1);
            code++, pc++, len--;
        }
    }
    cs_free(in, 1);
    cs_close(&h);
}

void disas_guest(TcgVcpu *v, const Ir *ir, uint64_t pc, const uint8_t *code, unsigned len)
{
    const Target *t = v->target;
    GString *s = g_string_new("----------------\nIN:\n");
    disassemble(s, t->cs_arch, t->cs_arch < 0 ? 0 : t->cs_mode(v->cpu, cpu_mode(v->cpu)), code, len, pc);
    g_string_append_c(s, '\n');
    log_write(s->str, s->len);
    g_string_free(s, TRUE);
}

void disas_host(Tcg *t, const Block *b)
{
    GString *s = g_string_new(NULL);
    g_string_append_printf(s, "OUT: [size=%u, data=%u]\n", b->cb.code_len, b->cb.total_len - b->cb.code_len);
#if HOST_X86_64
    backend_annotate(t->backend, &b->cb, s);
    disassemble(s, CS_ARCH_X86, CS_MODE_64, b->cb.code, b->cb.code_len, (uint64_t)b->cb.code);
#endif
    g_string_append_c(s, '\n');
    log_write(s->str, s->len);
    g_string_free(s, TRUE);
}

/* Linux perf's map of generated code; the guest has no symbols for us, so its address is the name. */
void perfmap_add(Tcg *t, const Block *b, uint64_t pc)
{
    fprintf(t->perfmap, "%" G_GINT64_MODIFIER "x %x guest_%" G_GINT64_MODIFIER "x\n", (uint64_t)b->cb.code,
            b->cb.code_len, pc);
}
