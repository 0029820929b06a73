/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option strings, numbers, sizes and what is said about wrong ones. */
#include "util/options.h"

#include "util/error.h"

static void items_are_found(void)
{
    GError *err = NULL;
    Options *o = options_parse("-machine", "pc,accel=tcg,,x,usb,smm=off", "type", &err);
    g_assert_no_error(err);
    g_assert_cmpstr(options_get(o, "type"), ==, "pc");
    g_assert_cmpstr(options_get(o, "accel"), ==, "tcg,x");
    bool usb = false, smm = true;
    g_assert_true(options_bool(o, "usb", &usb, &err) && usb);
    g_assert_true(options_bool(o, "smm", &smm, &err) && !smm);
    g_assert_true(options_done(o, &err));
    options_free(o);
}

static void the_last_value_counts(void)
{
    Options *o = options_parse("-m", "size=1,size=2", NULL, NULL);
    g_assert_cmpstr(options_get(o, "size"), ==, "2");
    g_assert_true(options_done(o, NULL));
    options_free(o);
}

static void implied_value_keeps_its_commas(void)
{
    Options *o = options_parse("-chardev", "file,,a=b,path=c", "backend", NULL);
    g_assert_cmpstr(options_get(o, "backend"), ==, "file,a=b");
    options_free(o);
    o = options_parse("-x", "a,,b,c=d", "implied", NULL);
    g_assert_cmpstr(options_get(o, "implied"), ==, "a,b");
    g_assert_cmpstr(options_get(o, "c"), ==, "d");
    options_free(o);
    o = options_parse("-x", "", "implied", NULL);
    g_assert_cmpuint(options_count(o), ==, 0);
    options_free(o);
}

static void expect_error(bool ok, GError **err, const char *text)
{
    g_assert_false(ok);
    g_assert_nonnull(*err);
    g_assert_cmpstr((*err)->message, ==, text);
    g_clear_error(err);
}

static void errors_name_the_option(void)
{
    GError *err = NULL;
    bool b;
    uint64_t v;
    Options *o = options_parse("-accel", "tcg,tb-sze=4,n=70000,on=maybe,s=12Q", "accel", &err);
    options_get(o, "accel");
    expect_error(options_u64(o, "n", 0, 65535, &v, &err), &err, "-accel: 'n' is 70000, outside 0 to 65535");
    expect_error(options_bool(o, "on", &b, &err), &err, "-accel: 'on' is 'maybe', but takes on or off");
    expect_error(options_size(o, "s", 1, &v, &err), &err,
                 "-accel: 's' is '12Q', which is not a size such as 512M or 2G");
    expect_error(options_done(o, &err), &err, "-accel: unknown parameter 'tb-sze'");
    options_free(o);
    g_assert_null(options_parse("-x", "=3", NULL, &err));
    g_clear_error(&err);
    g_assert_null(options_parse("-x", "a=1,", NULL, &err));
    g_clear_error(&err);
    g_assert_null(options_parse("-x", ",a=1", "i", &err));
    g_clear_error(&err);
}

static void sizes(void)
{
    static const struct { const char *text; uint64_t unit, want; } good[] = {
        { "512", 1 << 20, UINT64_C(512) << 20 }, { "2G", 1 << 20, UINT64_C(2) << 30 }, { "4096", 1, 4096 },
        { "64k", 1, 65536 }, { "1.5G", 1, UINT64_C(3) << 29 }, { "0x10", 1, 16 }, { "16MiB", 1, 16 << 20 },
        { "1T", 1, UINT64_C(1) << 40 }, { "3MB", 1, 3 << 20 }, { "10B", 4096, 10 },
        { "15E", 1, UINT64_C(15) << 60 }, { "010M", 1, 10 << 20 }, { "08", 1, 8 }, { "00.5M", 1, 1 << 19 }, { "0X1f", 1, 31 },
    };
    static const char *const bad[] = { "", "x", "-1", "1Q", "16E", "99999999999999999999", "1M5", "1.5.5G",
                                       "G", "0x1.8", "0x" };
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        uint64_t v = 0;
        g_assert_true(parse_size("s", good[i].text, good[i].unit, &v, NULL));
        g_assert_cmpuint(v, ==, good[i].want);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;
        uint64_t v = 77;
        g_assert_false(parse_size("s", bad[i], 1, &v, &err));
        g_assert_cmpuint(v, ==, 77);
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/items", items_are_found);
    g_test_add_func("/options/last", the_last_value_counts);
    g_test_add_func("/options/implied", implied_value_keeps_its_commas);
    g_test_add_func("/options/errors", errors_name_the_option);
    g_test_add_func("/options/sizes", sizes);
    return g_test_run();
}
