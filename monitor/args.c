/* SPDX-License-Identifier: GPL-2.0-or-later
 * A command's arguments, as its row's spec describes them. */
#include <string.h>

#include "monitor/command.h"
#include "util/error.h"

static const char *skip(const char *p)
{
    while (g_ascii_isspace(*p))
        p++;
    return p;
}

/* The next "name:type?" of a spec; false: there is no more. */
static bool next_spec(const char **spec, Arg *a)
{
    memset(a, 0, sizeof *a);
    const char *p = *spec ? skip(*spec) : "";
    if (!*p)
        return false;
    size_t n = strcspn(p, ":");
    g_assert(n < sizeof a->name && p[n] == ':');
    memcpy(a->name, p, n);
    p += n + 1;
    a->type = *p++;
    if (a->type == '-') {
        a->i = (unsigned char)*p++;
        a->optional = true;
    }
    if (*p == '?') {
        a->optional = true;
        p++;
    }
    *spec = p;
    return true;
}

static void describe_one(const Arg *a, GString *out)
{
    if (a->type == '/') {
        g_string_append(out, " /fmt");
        return;
    }
    g_string_append(out, a->optional ? " [" : " ");
    if (a->type == '-')
        g_string_append_printf(out, "-%c", (char)a->i);
    else if (a->type == 'b')
        g_string_append(out, "on|off");
    else
        g_string_append(out, a->name);
    if (a->optional)
        g_string_append_c(out, ']');
}

void args_describe(const Command *c, GString *out)
{
    Arg a;
    for (const char *spec = c->args; next_spec(&spec, &a);)
        describe_one(&a, out);
}

/* A word, or a text in double quotes with \" \\ \n. */
static bool take_word(const char **p, char **out, GError **err)
{
    GString *s = g_string_new(NULL);
    const char *q = *p;
    bool quoted = *q == '"';
    for (q += quoted; *q && (quoted ? *q != '"' : !g_ascii_isspace(*q)); q++) {
        if (quoted && *q == '\\' && q[1]) {
            q++;
            g_string_append_c(s, *q == 'n' ? '\n' : *q);
        } else {
            g_string_append_c(s, *q);
        }
    }
    bool ok = !quoted || *q == '"' || fail(err, "unterminated string");
    *p = q + (quoted && ok);
    *out = g_string_free(s, FALSE);
    return ok;
}

static bool take_format(const char **p, Format *f, GError **err)
{
    *f = (Format){ 0 };
    if (**p != '/')
        return true;
    const char *q = *p + 1;
    for (; g_ascii_isdigit(*q); q++)
        f->count = f->count < 1000000 ? f->count * 10 + (unsigned)(*q - '0') : f->count;
    for (; *q && !g_ascii_isspace(*q); q++) {
        static const char sizes[] = "bhwg";
        const char *size = strchr(sizes, *q);
        if (size)
            f->size = 1u << (size - sizes);
        else if (strchr("xuodci", *q))
            f->letter = *q;
        else
            return fail(err, "invalid char in format: '%c'", *q);
    }
    *p = q;
    return true;
}

static bool take_flag(const char **p, Arg *a)
{
    const char *q = *p;
    if (q[0] == '-' && q[1] == (char)a->i && (!q[2] || g_ascii_isspace(q[2]))) {
        a->given = true;
        *p += 2;
    }
    a->i = a->given;
    return true;
}

static bool take(const char **p, Session *s, Arg *a, GError **err)
{
    if (a->type == '-')
        return take_flag(p, a);
    if (a->type == '/') {
        a->given = **p == '/';
        return take_format(p, &a->fmt, err);
    }
    if (!**p && a->optional)
        return true;
    if (a->type == 'i') {
        a->given = true;
        return expr_parse(p, s->cpu, &a->i, err);
    }
    if (!**p)
        return fail(err, "%s expected", a->type == 'F' ? "filename" : a->name);
    a->given = true;
    if (a->type == 's' || a->type == 'C') {
        a->s = g_strchomp(g_strdup(*p));
        *p += strlen(*p);
        return true;
    }
    if (!take_word(p, &a->s, err))
        return false;
    if (a->type != 'b')
        return true;
    a->i = !strcmp(a->s, "on");
    return a->i || !strcmp(a->s, "off") || fail(err, "expected 'on' or 'off'");
}

bool args_parse(const Command *c, const char *text, Session *s, Args *out, GError **err)
{
    const char *spec = c->args, *p = skip(text);
    out->n = 0;
    while (next_spec(&spec, &out->arg[out->n])) {
        Arg *a = &out->arg[out->n++];
        if (!take(&p, s, a, err))
            return false;
        p = skip(p);
        g_assert(out->n < MAX_ARGS);
    }
    return !*p || fail(err, "%s: extraneous characters at the end of line", c->names);
}

void args_clear(Args *a)
{
    for (unsigned i = 0; i < a->n; i++)
        g_free(a->arg[i].s);
    a->n = 0;
}

const Arg *args_find(const Args *a, const char *name)
{
    for (unsigned i = 0; i < a->n; i++)
        if (!strcmp(a->arg[i].name, name))
            return &a->arg[i];
    g_assert_not_reached();
}
