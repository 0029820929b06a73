/* SPDX-License-Identifier: GPL-2.0-or-later
 * Inputs that once did harm, tests/fuzz/corpus/TARGET/FILE: each must come back. */
#include <string.h>

#include <glib.h>

#include "tests/fuzz/block.h"

static void replay(gconstpointer path)
{
    g_autofree char *dir = g_path_get_dirname(path), *target = g_path_get_basename(dir), *bytes = NULL;
    gsize len;
    GError *err = NULL;
    g_assert_true(g_file_get_contents(path, &bytes, &len, &err));
    fuzz_block_start(target);
    fuzz_block_input((uint8_t *)bytes, len);
    fuzz_block_stop();
}

static GDir *open_dir(const char *path)
{
    GError *err = NULL;
    GDir *d = g_dir_open(path, 0, &err);
    if (!d)
        g_error("%s (run it from the source tree's root)", err->message);
    return d;
}

int main(int argc, char **argv)
{
    static const char root[] = "tests/fuzz/corpus";
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_test_init(&argc, &argv, NULL);
    GDir *targets = open_dir(root);
    for (const char *target; (target = g_dir_read_name(targets));) {
        g_autofree char *folder = g_build_filename(root, target, NULL);
        GDir *d = open_dir(folder);
        for (const char *name; (name = g_dir_read_name(d));)
            g_ptr_array_add(paths, g_build_filename(folder, name, NULL));
        g_dir_close(d);
    }
    g_dir_close(targets);
    for (unsigned i = 0; i < paths->len; i++) {
        const char *path = paths->pdata[i];
        g_autofree char *test = g_strdup_printf("/block/corpus/%s", path + sizeof root);
        g_test_add_data_func(test, path, replay);
    }
    return g_test_run();
}
