/* SPDX-License-Identifier: GPL-2.0-or-later
 * Shared libraries that are loaded when first asked for: dlopen(3). */
#include "util/library.h"

#include <dlfcn.h>
#include <glib.h>

void *library_open(const char *files, const char *const *functions)
{
    g_auto(GStrv) names = g_strsplit(files, " ", -1);
    void *lib = NULL;
    for (char **name = names; *name && !lib; name++)
        lib = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return NULL;
    unsigned n = g_strv_length((char **)functions);
    void **at = g_new(void *, n);
    for (unsigned i = 0; i < n; i++) {
        at[i] = dlsym(lib, functions[i]);
        if (!at[i]) {
            g_free(at);
            dlclose(lib);
            return NULL;
        }
    }
    return at;
}
