/* SPDX-License-Identifier: GPL-2.0-or-later
 * Option strings.  An item is kept with whether anybody asked for it, so that a misspelt key is an error. */
#include "util/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"

typedef struct Item { char *key, *value; bool known; } Item;
struct Options { char *what; GPtrArray *items; };

static void item_free(void *p)
{
    Item *i = p;
    g_free(i->key);
    g_free(i->value);
    g_free(i);
}

/* Text up to a single comma, ",," read as ","; *p moves past it.  With `key`, stops before '=' as well. */
static char *take(const char **p, bool key)
{
    GString *s = g_string_new(NULL);
    for (; **p; (*p)++) {
        if (**p == ',') {
            if (key || (*p)[1] != ',')
                break;
            (*p)++;
        }
        if (key && **p == '=')
            break;
        g_string_append_c(s, **p);
    }
    return g_string_free(s, FALSE);
}

Options *options_parse(const char *what, const char *text, const char *implied, GError **err)
{
    Options *o = g_new0(Options, 1);
    o->what = g_strdup(what);
    o->items = g_ptr_array_new_with_free_func(item_free);
    const char *p = text;
    for (bool first = true; *p; first = false) {
        Item *i = g_new0(Item, 1);
        g_ptr_array_add(o->items, i);
        const char *start = p;
        i->key = take(&p, true);
        if (*p == '=') {
            p++;
            i->value = take(&p, false);
        } else if (first && implied) {
            g_free(i->key);
            p = start;                  /* again, since a value may hold ",," */
            i->key = g_strdup(implied);
            i->value = take(&p, false);
        } else {
            i->value = g_strdup("on");
        }
        if (!*i->key || p == start) {
            fail(err, "%s: '%s' has an item without a name", what, text);
            options_free(o);
            return NULL;
        }
        if (*p == ',' && !*++p) {
            fail(err, "%s: '%s' ends in a comma", what, text);
            options_free(o);
            return NULL;
        }
    }
    return o;
}

void options_free(Options *o)
{
    if (!o)
        return;
    g_ptr_array_free(o->items, TRUE);
    g_free(o->what);
    g_free(o);
}

const char *options_get(Options *o, const char *key)
{
    const char *value = NULL;
    for (unsigned n = 0; n < o->items->len; n++) {
        Item *i = o->items->pdata[n];
        if (!strcmp(i->key, key)) {
            i->known = true;
            value = i->value;
        }
    }
    return value;
}

bool options_bool(Options *o, const char *key, bool *out, GError **err)
{
    const char *v = options_get(o, key);
    return !v || parse_bool(key, v, out, err) || fail_prefix(err, "%s: ", o->what);
}

bool options_u64(Options *o, const char *key, uint64_t min, uint64_t max, uint64_t *out, GError **err)
{
    const char *v = options_get(o, key);
    return !v || parse_u64(key, v, min, max, out, err) || fail_prefix(err, "%s: ", o->what);
}

bool options_size(Options *o, const char *key, uint64_t unit, uint64_t *out, GError **err)
{
    const char *v = options_get(o, key);
    return !v || parse_size(key, v, unit, out, err) || fail_prefix(err, "%s: ", o->what);
}

bool options_done(Options *o, GError **err)
{
    for (unsigned n = 0; n < o->items->len; n++) {
        Item *i = o->items->pdata[n];
        if (!i->known)
            return fail(err, "%s: unknown parameter '%s'", o->what, i->key);
    }
    return true;
}

unsigned options_count(const Options *o) { return o->items->len; }

void options_item(Options *o, unsigned n, const char **key, const char **value)
{
    Item *i = o->items->pdata[n];
    i->known = true;
    *key = i->key;
    *value = i->value;
}

bool parse_bool(const char *what, const char *text, bool *out, GError **err)
{
    static const char *const yes[] = { "on", "yes", "true", "y" };
    static const char *const no[] = { "off", "no", "false", "n" };
    for (unsigned i = 0; i < G_N_ELEMENTS(yes); i++) {
        if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
            *out = !strcmp(text, yes[i]);
            return true;
        }
    }
    return fail(err, "'%s' is '%s', but takes on or off", what, text);
}

bool parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out, GError **err)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (!g_ascii_isdigit(*text) || *end)
        return fail(err, "'%s' is '%s', which is not a number", what, text);
    if (errno || v < min || v > max)
        return fail(err, "'%s' is %s, outside %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, what, text, min,
                    max);
    *out = v;
    return true;
}

bool parse_size(const char *what, const char *text, uint64_t unit, uint64_t *out, GError **err)
{
    char *end;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    errno = 0;
    unsigned long long whole = strtoull(text, &end, hex ? 16 : 10);     /* leading zeros say nothing, as with QEMU */
    if (!g_ascii_isdigit(*text))
        return fail(err, "'%s' is '%s', which is not a size such as 512M or 2G", what, text);
    bool over = errno == ERANGE;
    /* "1.5G" */
    double fraction = 0;
    if (!hex && *end == '.' && g_ascii_isdigit(end[1]))
        fraction = g_ascii_strtod(end, &end);
    static const char suffixes[] = "BKMGTPE";
    const char *s = *end ? strchr(suffixes, g_ascii_toupper(*end)) : NULL;
    uint64_t scale = unit;
    if (s) {
        scale = UINT64_C(1) << 10 * (s - suffixes);
        end++;
        if ((*end == 'i' || *end == 'I') && g_ascii_toupper(end[1]) == 'B')     /* MiB, MB */
            end += 2;
        else if (g_ascii_toupper(*end) == 'B' && scale > 1)
            end++;
    }
    if (*end)
        return fail(err, "'%s' is '%s', which is not a size such as 512M or 2G", what, text);
    unsigned __int128 v = (unsigned __int128)whole * scale + (uint64_t)(fraction * (double)scale);
    if (over || v > UINT64_MAX)
        return fail(err, "'%s' is %s, which is more than 64 bits can hold", what, text);
    *out = (uint64_t)v;
    return true;
}
