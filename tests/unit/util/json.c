/* SPDX-License-Identifier: GPL-2.0-or-later
 * JSON texts that are values and texts that are none, dotted keys. */
#include "util/json.h"

#include <string.h>

static void values(void)
{
    static const struct { const char *text, *printed; } good[] = {
        { " null ", "null" }, { "true", "true" }, { "false", "false" }, { "0", "0" }, { "-1", "-1" },
        { "18446744073709551615", "18446744073709551615" }, { "1e2", "100" }, { "-0.5", "-0.5" }, { "'a'", "\"a\"" },
        { "\"\\u0041\\n\\ud83d\\ude00\"", "\"A\\n\xf0\x9f\x98\x80\"" }, { "[]", "[]" }, { "{}", "{}" },
        { "[1, [2], {\"a\": null}]", "[1, [2], {\"a\": null}]" }, { "{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        GError *err = NULL;
        g_autoptr(GString) out = g_string_new(NULL);
        Json *v = json_parse(good[i].text, strlen(good[i].text), &err);
        g_assert_no_error(err);
        json_print(v, false, out);
        g_assert_cmpstr(out->str, ==, good[i].printed);
        json_free(v);
    }
}

static void no_values(void)
{
    static const struct { const char *text; size_t len; } bad[] = {
#define BAD(t) { t, sizeof t - 1 }
        BAD(""), BAD(" "), BAD("nul"), BAD("01"), BAD("-"), BAD("+1"), BAD("1e"), BAD("1e999"), BAD("1 2"), BAD("1\0"),
        BAD("1\0002"), BAD("\0"), BAD("'a"), BAD("\"a\nb\""), BAD("\"\\x41\""), BAD("\"\\u00\""), BAD("\"\\u0000\""),
        BAD("\"\\ud800\""), BAD("\"\xff\""), BAD("\"a\0\""), BAD("["), BAD("[1"), BAD("[1,"), BAD("[1,]"), BAD("[1 2]"), BAD("{1:2}"),
        BAD("{\"a\"}"), BAD("{\"a\":}"), BAD("{\"a\":1,}"), BAD("{\"a\":1"), BAD("]"),
#undef BAD
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;
        g_autofree char *exact = g_malloc(MAX(bad[i].len, 1));          /* a sanitizer sees reads behind it */
        memcpy(exact, bad[i].text, bad[i].len);
        Json *v = json_parse(exact, bad[i].len, &err);
        if (v)
            g_error("text %u is taken for a value", i);
        g_assert_nonnull(err);
        g_error_free(err);
    }
}

static void depth(void)
{
    for (unsigned n = 100; n <= 102; n += 2) {
        g_autofree char *text = g_malloc(2 * n);
        memset(text, '[', n);
        memset(text + n, ']', n);
        Json *v = json_parse(text, 2 * n, NULL);
        g_assert_true((v != NULL) == (n == 100));
        json_free(v);
    }
}

static void dotted(void)
{
    static const struct { const char *text, *printed; } good[] = {
        { "qcow2,file.driver=file,file.x=a,,b", "{\"driver\": \"qcow2\", \"file\": {\"driver\": \"file\", \"x\": \"a,b\"}}" },
        { "x.1=b,x.0=a", "{\"x\": [\"a\", \"b\"]}" }, { "x.0=a,x.2=b", "{\"x\": {\"0\": \"a\", \"2\": \"b\"}}" },
        { "x=1,x=2", "{\"x\": \"2\"}" },
    };
    static const char *const bad[] = { "a=1,a.b=2", "a.b=1,a=2", "a..b=1", ".a=1", "a.=1" };
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GString) out = g_string_new(NULL);
        Json *v = json_from_options("-blockdev", good[i].text, "driver", NULL);
        g_assert_nonnull(v);
        json_print(v, false, out);
        g_assert_cmpstr(out->str, ==, good[i].printed);
        json_free(v);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *err = NULL;
        g_assert_null(json_from_options("-blockdev", bad[i], "driver", &err));
        g_assert_nonnull(err);
        g_error_free(err);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/values", values);
    g_test_add_func("/json/no-values", no_values);
    g_test_add_func("/json/depth", depth);
    g_test_add_func("/json/dotted-keys", dotted);
    return g_test_run();
}
