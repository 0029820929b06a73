/* SPDX-License-Identifier: GPL-2.0-or-later
 * util/library.c on the C library's own files. */
#include "util/library.h"

#include <glib.h>

typedef struct Math { double (*floor)(double), (*ceil)(double); } Math;
static const char *const functions[] = { "floor", "ceil", NULL };

static void addresses_come_in_order(void)
{
    Math *m = library_open("libm.so.6", functions);
    g_assert_nonnull(m);
    g_assert_cmpfloat(m->floor(1.5), ==, 1);
    g_assert_cmpfloat(m->ceil(1.5), ==, 2);
    g_free(m);
}

static void the_first_file_that_is_there_counts(void)
{
    Math *m = library_open("libnot-there.so.1 libm.so.6", functions);
    g_assert_nonnull(m);
    g_free(m);
}

static void what_is_missing_is_told(void)
{
    static const char *const unknown[] = { "floor", "not_a_function", NULL };
    g_assert_null(library_open("libnot-there.so.1 libnot-there.so.2", functions));
    g_assert_null(library_open("libm.so.6", unknown));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/library/addresses_come_in_order", addresses_come_in_order);
    g_test_add_func("/library/the_first_file_that_is_there_counts", the_first_file_that_is_there_counts);
    g_test_add_func("/library/what_is_missing_is_told", what_is_missing_is_told);
    return g_test_run();
}
