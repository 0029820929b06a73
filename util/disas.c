/* SPDX-License-Identifier: GPL-2.0-or-later
 * Machine code as text. */
#include "util/disas.h"

#include <capstone/capstone.h>

#include "util/library.h"

#define CAPSTONE_FUNCTIONS(F) F(open) F(close) F(malloc) F(free) F(disasm_iter)
typedef struct Capstone {
#define F(name) __typeof__(&cs_##name) name;
    CAPSTONE_FUNCTIONS(F)
#undef F
} Capstone;

static gpointer capstone_open(gpointer unused)
{
#define F(name) "cs_" #name,
    return library_open("libcapstone.so." G_STRINGIFY(CS_API_MAJOR), (const char *const[]){ CAPSTONE_FUNCTIONS(F) NULL });
#undef F
}

static const Capstone *capstone(void)
{
    static GOnce once = G_ONCE_INIT;
    return g_once(&once, capstone_open, NULL);
}

static void hex_line(GString *s, uint64_t pc, const uint8_t *code, unsigned n)
{
    g_string_append_printf(s, "0x%08" G_GINT64_MODIFIER "x: ", pc);
    for (unsigned i = 0; i < n; i++)
        g_string_append_printf(s, " %02x", code[i]);
    g_string_append_c(s, '\n');
}

void disas(GString *s, int arch, int mode, const uint8_t *code, size_t len, uint64_t pc)
{
    const Capstone *c = arch < 0 ? NULL : capstone();
    csh h;
    if (!c || c->open(arch, mode, &h) != CS_ERR_OK) {
        for (; len; len -= MIN(len, 16), code += 16, pc += 16)
            hex_line(s, pc, code, MIN(len, 16));
        return;
    }
    cs_insn *in = c->malloc(h);
    while (len) {
        if (c->disasm_iter(h, &code, &len, &pc, in)) {
            g_string_append_printf(s, "0x%08" G_GINT64_MODIFIER "x:  ", in->address);
            for (unsigned i = 0; i < MAX(in->size, 8u); i++)
                g_string_append_printf(s, i < in->size ? "%02x " : "   ", in->bytes[i % sizeof in->bytes]);
            g_string_append_printf(s, " %-8s %s\n", in->mnemonic, in->op_str);
        } else {
            hex_line(s, pc, code, 1);
            code++, pc++, len--;
        }
    }
    c->free(in, 1);
    c->close(&h);
}
