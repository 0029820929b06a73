/* SPDX-License-Identifier: GPL-2.0-or-later
 * -d in_asm, -d out_asm, -perfmap: code as text. */
#include "accel/tcg/tcg_int.h"

#include <capstone/capstone.h>
#include "config.h"
#include "util/disas.h"
#include "util/log.h"

void disas_guest(TcgVcpu *v, const Ir *ir, uint64_t pc, const uint8_t *code, unsigned len)
{
    const Target *t = v->target;
    GString *s = g_string_new("----------------\nIN:\n");
    disas(s, t->cs_arch, t->cs_arch < 0 ? 0 : t->cs_mode(v->cpu, cpu_mode(v->cpu)), code, len, pc);
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
    disas(s, CS_ARCH_X86, CS_MODE_64, b->cb.code, b->cb.code_len, (uint64_t)b->cb.code);
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
