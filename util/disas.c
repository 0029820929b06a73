/* SPDX-License-Identifier: GPL-2.0-or-later
 * Machine code as text. */
#include "util/disas.h"

#include <capstone/capstone.h>
#include <dlfcn.h>

typedef struct Capstone {
    __typeof__(&cs_open)        open;
    __typeof__(&cs_close)       close;
    __typeof__(&cs_malloc)      malloc;
    __typeof__(&cs_free)        free;
    __typeof__(&cs_disasm_iter) iter;
} Capstone;

static gpointer capstone_open(gpointer unused)
{
    char *name = g_strdup_printf("libcapstone.so.%d", CS_API_MAJOR);
    void *lib = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    g_free(name);
    if (!lib)
        return NULL;
    Capstone *c = g_new(Capstone, 1);
    *c = (Capstone){ (__typeof__(c->open))dlsym(lib, "cs_open"), (__typeof__(c->close))dlsym(lib, "cs_close"),
                     (__typeof__(c->malloc))dlsym(lib, "cs_malloc"), (__typeof__(c->free))dlsym(lib, "cs_free"),
                     (__typeof__(c->iter))dlsym(lib, "cs_disasm_iter") };
    return c->open && c->close && c->malloc && c->free && c->iter ? c : NULL;
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
        if (c->iter(h, &code, &len, &pc, in)) {
            g_string_append_printf(s, "0x%08" G_GINT64_MODIFIER "x:  ", in->address);
            for (unsigned i = 0; i < MAX(in->size, 8); i++)
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
