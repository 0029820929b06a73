/* SPDX-License-Identifier: GPL-2.0-or-later
 * The list of accelerators: what is accepted, and what is said of what is not. */
#include "accel/accel.h"
#include "config.h"

#include <string.h>

static void refused(const char *specs, const char *why)
{
    char **list = g_strsplit(specs, " ", -1);
    AccelMachine m = { 0 };
    GError *err = NULL;
    Accel *a = accel_open((const char *const *)list, g_strv_length(list), &m, &err);
    g_assert_null(a);
    g_assert_nonnull(err);
    g_test_message("%s: %s", specs, err->message);
    g_assert_nonnull(strstr(err->message, why));
    g_assert_null(strchr(err->message, '\n'));
    g_error_free(err);
    g_strfreev(list);
}

static void refusals(void)
{
    refused("nonsense", "nonsense");
    refused("accel=", "unknown accelerator");
    refused("nonsense tcg,tb-size=x", "tb-size");
    refused("tcg,tb-size=0", "tb-size");
    refused("tcg,tb-size=100000", "tb-size");
    refused("tcg,nonsense=1", "nonsense");
    refused("tcg,thread=many", "'single' or 'multi'");
    refused("tcg,backend=x", "'native' or 'interp'");
    refused("tcg,stress=x", "'interrupt'");
    refused("tcg,check=maybe", "check");
    refused("tcg,check=on,backend=interp", "check=on");
}

static void opened(const char *spec)
{
    AccelMachine m = { 0 };
    GError *err = NULL;
    Accel *a = accel_open(spec ? &spec : NULL, spec ? 1 : 0, &m, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(accel_name(a), ==, "tcg");
    g_assert_nonnull(accel_hooks(a));
    accel_close(a);
}

static void accepted(void)
{
    opened(NULL);
    opened("tcg,backend=interp");
    if (HOST_X86_64)
        opened("tcg,split-wx=on");
    opened("accel=tcg,backend=interp,thread=single,one-insn-per-tb=on,stress=interrupt+regalloc,seed=3");
}

static void help(void)
{
    GString *s = g_string_new(NULL);
    accel_help(s);
    g_assert_nonnull(strstr(s->str, "tcg"));
    g_string_free(s, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/accel/refusals", refusals);
    g_test_add_func("/accel/accepted", accepted);
    g_test_add_func("/accel/help", help);
    return g_test_run();
}
