/* SPDX-License-Identifier: GPL-2.0-or-later
 * JSON values, after RFC 8259.  Our own since a library would have to be loaded by every start, and since options
 * arrive both as JSON and as dotted keys. */
#include "util/json.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "util/error.h"
#include "util/options.h"

enum { MAX_DEPTH = 100 };

static Json *value_new(JsonType type)
{
    Json *v = g_new0(Json, 1);
    v->type = type;
    return v;
}

Json *json_null(void) { return value_new(JSON_NULL); }
Json *json_bool(bool b) { Json *v = value_new(JSON_BOOL); v->boolean = b; return v; }
Json *json_int(int64_t i) { Json *v = value_new(JSON_INT); v->integer = i; return v; }
Json *json_u64(uint64_t u)
{
    Json *v = json_int((int64_t)u);
    v->is_unsigned = u > INT64_MAX;
    return v;
}
static Json *json_real(double d) { Json *v = value_new(JSON_REAL); v->real = d; return v; }
Json *json_string(const char *s) { Json *v = value_new(JSON_STRING); v->string = g_strdup(s); return v; }
static void free_item(void *v) { json_free(v); }
Json *json_array(void)
{
    Json *v = value_new(JSON_ARRAY);
    v->items = g_ptr_array_new_with_free_func(free_item);
    return v;
}
Json *json_object(void)
{
    Json *v = value_new(JSON_OBJECT);
    v->items = g_ptr_array_new_with_free_func(free_item);
    v->keys = g_ptr_array_new_with_free_func(g_free);
    return v;
}

void json_free(Json *v)
{
    if (!v)
        return;
    g_free(v->string);
    if (v->items)
        g_ptr_array_free(v->items, TRUE);
    if (v->keys)
        g_ptr_array_free(v->keys, TRUE);
    g_free(v);
}

Json *json_copy(const Json *v)
{
    Json *c = g_new(Json, 1);
    *c = *v;
    c->string = g_strdup(v->string);
    c->items = c->keys = NULL;
    if (v->items)
        c->items = g_ptr_array_new_with_free_func(free_item);
    if (v->keys)
        c->keys = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < json_count(v); i++) {
        g_ptr_array_add(c->items, json_copy(v->items->pdata[i]));
        if (v->keys)
            g_ptr_array_add(c->keys, g_strdup(v->keys->pdata[i]));
    }
    return c;
}

unsigned json_count(const Json *v) { return v->items ? v->items->len : 0; }
Json *json_item(const Json *v, unsigned i) { return v->items->pdata[i]; }
void json_add(Json *array, Json *item) { g_ptr_array_add(array->items, item); }

static int find(const Json *object, const char *key)
{
    for (unsigned i = 0; i < object->keys->len; i++)
        if (!strcmp(object->keys->pdata[i], key))
            return (int)i;
    return -1;
}

void json_set(Json *object, const char *key, Json *value)
{
    int i = find(object, key);
    if (i >= 0) {
        json_free(object->items->pdata[i]);
        object->items->pdata[i] = value;
        return;
    }
    g_ptr_array_add(object->keys, g_strdup(key));
    g_ptr_array_add(object->items, value);
}

Json *json_get(const Json *object, const char *key)
{
    int i = object->type == JSON_OBJECT ? find(object, key) : -1;
    return i < 0 ? NULL : object->items->pdata[i];
}

Json *json_take(Json *object, const char *key)
{
    int i = find(object, key);
    if (i < 0)
        return NULL;
    Json *v = object->items->pdata[i];
    object->items->pdata[i] = NULL;
    g_ptr_array_remove_index(object->items, (unsigned)i);
    g_ptr_array_remove_index(object->keys, (unsigned)i);
    return v;
}

bool json_drop(Json *object, const char *key)
{
    Json *v = json_take(object, key);
    json_free(v);
    return v;
}

/* --- parsing */

typedef struct Parser { const char *start, *p, *end; GError **err; } Parser;

static Json *parse_fail(Parser *s, const char *what)
{
    fail(s->err, "JSON: %s at byte %zu", what, (size_t)(s->p - s->start));
    return NULL;
}

static void skip_space(Parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool hex4(Parser *s, unsigned *out)
{
    if (s->end - s->p < 4)
        return false;
    *out = 0;
    for (unsigned i = 0; i < 4; i++) {
        int d = g_ascii_xdigit_value(s->p[i]);
        if (d < 0)
            return false;
        *out = *out << 4 | (unsigned)d;
    }
    s->p += 4;
    return true;
}

static bool parse_escape(Parser *s, GString *out)
{
    if (s->p == s->end)
        return false;
    char c = *s->p++;
    const char *from = "\"\\/bfnrt", *to = "\"\\/\b\f\n\r\t", *at = c ? strchr(from, c) : NULL;
    if (at) {
        g_string_append_c(out, to[at - from]);
        return true;
    }
    unsigned u, low;
    if (c != 'u' || !hex4(s, &u))
        return false;
    if (u >= 0xd800 && u < 0xdc00) {    /* a pair of surrogates */
        if (s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u')
            return false;
        s->p += 2;
        if (!hex4(s, &low) || low < 0xdc00 || low > 0xdfff)
            return false;
        u = 0x10000 + ((u & 0x3ff) << 10 | (low & 0x3ff));
    } else if ((u >= 0xdc00 && u < 0xe000) || !u) {
        return false;       /* strings end at their first NUL here */
    }
    g_string_append_unichar(out, u);
    return true;
}

static char *parse_text(Parser *s)
{
    g_autoptr(GString) out = g_string_new(NULL);
    char quote = *s->p++;       /* single quotes as well, as QEMU's users are used to */
    for (;;) {
        if (s->p == s->end || (uint8_t)*s->p < 0x20) {
            parse_fail(s, "string without an end");
            return NULL;
        }
        char c = *s->p++;
        if (c == quote)
            break;
        if (c != '\\') {
            g_string_append_c(out, c);
        } else if (!parse_escape(s, out)) {
            parse_fail(s, "bad escape");
            return NULL;
        }
    }
    if (!g_utf8_validate(out->str, (gssize)out->len, NULL)) {
        parse_fail(s, "string is not UTF-8");
        return NULL;
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static Json *parse_number(Parser *s)
{
    const char *start = s->p;
    bool real = false;
    while (s->p < s->end && (g_ascii_isdigit(*s->p) || (*s->p && strchr("+-.eE", *s->p)))) {
        real |= *s->p == '.' || *s->p == 'e' || *s->p == 'E';
        s->p++;
    }
    g_autofree char *text = g_strndup(start, (size_t)(s->p - start));
    const char *digits = text + (*text == '-');
    if (!g_ascii_isdigit(*digits) || (*digits == '0' && g_ascii_isdigit(digits[1])))
        return parse_fail(s, "bad number");
    char *end;
    errno = 0;
    if (!real) {
        int64_t i = g_ascii_strtoll(text, &end, 10);
        if (!*end && !errno)
            return json_int(i);
        errno = 0;
        uint64_t u = *text == '-' ? 0 : g_ascii_strtoull(text, &end, 10);
        if (*text != '-' && !*end && !errno)
            return json_u64(u);
    }
    double d = g_ascii_strtod(text, &end);
    if (*end || !isfinite(d))
        return parse_fail(s, "bad number");
    return json_real(d);
}

static Json *parse_value(Parser *s, unsigned depth);

static Json *parse_group(Parser *s, unsigned depth)
{
    bool object = *s->p++ == '{';
    char close = object ? '}' : ']';
    Json *v = object ? json_object() : json_array();
    skip_space(s);
    if (s->p < s->end && *s->p == close) {
        s->p++;
        return v;
    }
    for (;;) {
        g_autofree char *key = NULL;
        skip_space(s);
        if (object) {
            if (s->p == s->end || (*s->p != '"' && *s->p != '\'')) {
                parse_fail(s, "member name expected");
                break;
            }
            key = parse_text(s);
            if (!key)
                break;
            skip_space(s);
            if (s->p == s->end || *s->p != ':') {
                parse_fail(s, "':' expected");
                break;
            }
            s->p++;
        }
        Json *item = parse_value(s, depth + 1);
        if (!item)
            break;
        if (object)
            json_set(v, key, item);
        else
            json_add(v, item);
        skip_space(s);
        if (s->p == s->end || (*s->p != ',' && *s->p != close)) {
            parse_fail(s, object ? "',' or '}' expected" : "',' or ']' expected");
            break;
        }
        if (*s->p++ == close)
            return v;
    }
    json_free(v);
    return NULL;
}

static bool word(Parser *s, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n))
        return false;
    s->p += n;
    return true;
}

static Json *parse_value(Parser *s, unsigned depth)
{
    skip_space(s);
    if (depth > MAX_DEPTH)
        return parse_fail(s, "nests too deep");
    if (s->p == s->end)
        return parse_fail(s, "value expected");
    switch (*s->p) {
    case '{': case '[':
        return parse_group(s, depth);
    case '"': case '\'': {
        g_autofree char *text = parse_text(s);
        return text ? json_string(text) : NULL;
    }
    default:
        if (word(s, "true"))
            return json_bool(true);
        if (word(s, "false"))
            return json_bool(false);
        if (word(s, "null"))
            return json_null();
        if (*s->p == '-' || g_ascii_isdigit(*s->p))
            return parse_number(s);
        return parse_fail(s, "value expected");
    }
}

Json *json_parse(const char *text, size_t len, GError **err)
{
    Parser s = { .start = text, .p = text, .end = text + len, .err = err };
    Json *v = parse_value(&s, 0);
    if (!v)
        return NULL;
    skip_space(&s);
    if (s.p != s.end) {
        parse_fail(&s, "text after the value");
        json_free(v);
        return NULL;
    }
    return v;
}

/* --- printing */

static void print_text(const char *t, GString *out)
{
    g_string_append_c(out, '"');
    for (; *t; t++) {
        const char *from = "\"\\\b\f\n\r\t", *to = "\"\\bfnrt", *at = strchr(from, *t);
        if (at)
            g_string_append_printf(out, "\\%c", to[at - from]);
        else if ((uint8_t)*t < 0x20 || *t == 0x7f)
            g_string_append_printf(out, "\\u%04x", *t);
        else
            g_string_append_c(out, *t);
    }
    g_string_append_c(out, '"');
}

static void new_line(GString *out, unsigned depth)
{
    g_string_append_c(out, '\n');
    for (unsigned i = 0; i < depth; i++)
        g_string_append(out, "    ");
}

static void print_at(const Json *v, bool pretty, unsigned depth, GString *out)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    switch (v->type) {
    case JSON_NULL:   g_string_append(out, "null"); break;
    case JSON_BOOL:   g_string_append(out, v->boolean ? "true" : "false"); break;
    case JSON_INT:
        if (v->is_unsigned)
            g_string_append_printf(out, "%" G_GUINT64_FORMAT, (uint64_t)v->integer);
        else
            g_string_append_printf(out, "%" G_GINT64_FORMAT, v->integer);
        break;
    case JSON_REAL:   g_string_append(out, g_ascii_dtostr(number, sizeof number, v->real)); break;
    case JSON_STRING: print_text(v->string, out); break;
    case JSON_ARRAY: case JSON_OBJECT:
        g_string_append_c(out, v->keys ? '{' : '[');
        for (unsigned i = 0; i < json_count(v); i++) {
            if (i)
                g_string_append(out, pretty ? "," : ", ");
            if (pretty)
                new_line(out, depth + 1);
            if (v->keys) {
                print_text(v->keys->pdata[i], out);
                g_string_append(out, ": ");
            }
            print_at(json_item(v, i), pretty, depth + 1, out);
        }
        if (pretty)
            new_line(out, depth);
        g_string_append_c(out, v->keys ? '}' : ']');
    }
}

void json_print(const Json *v, bool pretty, GString *out) { print_at(v, pretty, 0, out); }

/* --- dotted keys */

static bool set_dotted(Json *object, const char *what, const char *key, const char *value, GError **err)
{
    g_auto(GStrv) part = g_strsplit(key, ".", MAX_DEPTH);
    for (unsigned i = 0; part[i]; i++) {
        if (!*part[i])
            return fail(err, "%s: bad key '%s'", what, key);
        Json *below = json_get(object, part[i]);
        if (!part[i + 1]) {
            if (below && below->type == JSON_OBJECT)
                return fail(err, "%s: '%s' has both a value and parts", what, key);
            json_set(object, part[i], json_string(value));
        } else if (!below) {
            below = json_object();
            json_set(object, part[i], below);
        } else if (below->type != JSON_OBJECT) {
            return fail(err, "%s: '%s' has both a value and parts", what, key);
        }
        object = below;
    }
    return true;
}

/* Objects whose members are 0, 1, 2, ... become arrays. */
static void make_arrays(Json *v)
{
    if (v->type != JSON_OBJECT)
        return;
    bool array = json_count(v) > 0;
    for (unsigned i = 0; i < json_count(v); i++) {
        make_arrays(json_item(v, i));
        g_autofree char *n = g_strdup_printf("%u", i);
        array &= json_get(v, n) != NULL;
    }
    if (!array)
        return;
    GPtrArray *items = g_ptr_array_new_with_free_func(free_item);
    for (unsigned n = json_count(v), i = 0; i < n; i++) {
        g_autofree char *key = g_strdup_printf("%u", i);
        g_ptr_array_add(items, json_take(v, key));
    }
    g_ptr_array_free(v->items, TRUE);
    g_ptr_array_free(v->keys, TRUE);
    v->items = items;
    v->keys = NULL;
    v->type = JSON_ARRAY;
}

Json *json_from_options(const char *what, const char *text, const char *implied, GError **err)
{
    Options *o = options_parse(what, text, implied, err);
    if (!o)
        return NULL;
    Json *v = json_object();
    for (unsigned i = 0; i < options_count(o); i++) {
        const char *key, *value;
        options_item(o, i, &key, &value);
        if (!set_dotted(v, what, key, value, err)) {
            json_free(v);
            v = NULL;
            break;
        }
    }
    options_free(o);
    if (v)
        for (unsigned i = 0; i < json_count(v); i++)
            make_arrays(json_item(v, i));
    return v;
}
