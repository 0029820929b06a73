/* SPDX-License-Identifier: GPL-2.0-or-later
 * Expressions of the monitor: C's operators and their precedence, on 64-bit integers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/command.h"
#include "target/debug.h"
#include "util/error.h"

enum { MAX_DEPTH = 100 };

typedef struct Parser { const char *p; Vcpu *cpu; unsigned depth; GError **err; } Parser;

static bool sum(Parser *e, unsigned level, uint64_t *v);

static void skip(Parser *e)
{
    while (g_ascii_isspace(*e->p))
        e->p++;
}

static bool register_value(Parser *e, uint64_t *v)
{
    size_t n = 0;
    while (g_ascii_isalnum(e->p[n]) || e->p[n] == '_' || e->p[n] == '.')
        n++;
    g_autofree char *name = g_ascii_strdown(e->p, (gssize)n);
    const TargetDebug *d = e->cpu ? vcpu_target(e->cpu)->debug : NULL;
    if (!d || !d->lookup(vcpu_cpu(e->cpu), name, v))
        return fail(e->err, "unknown register");
    e->p += n;
    return true;
}

static bool number(Parser *e, uint64_t *v)
{
    char *end;
    if (*e->p == '\'' && e->p[1] && e->p[2] == '\'') {
        *v = (uint8_t)e->p[1];
        e->p += 3;
        return true;
    }
    if (!g_ascii_isdigit(*e->p)) {
        if (!*e->p)
            return fail(e->err, "unexpected end of expression");
        return fail(e->err, "invalid char '%c' in expression", *e->p);
    }
    errno = 0;
    *v = g_ascii_strtoull(e->p, &end, 0);
    if (errno == ERANGE)
        return fail(e->err, "number too large");
    e->p = end;
    return !g_ascii_isalnum(*end) || fail(e->err, "invalid char '%c' in expression", *end);
}

static bool unary(Parser *e, uint64_t *v)
{
    bool ok;
    if (++e->depth > MAX_DEPTH)
        return fail(e->err, "the expression is nested too deeply");
    skip(e);
    switch (*e->p) {
    case '+':
    case '-':
    case '~': {
        char op = *e->p++;
        ok = unary(e, v);
        *v = op == '-' ? -*v : op == '~' ? ~*v : *v;
        break;
    }
    case '(':
        e->p++;
        ok = sum(e, 0, v);
        if (ok && *e->p != ')')
            ok = fail(e->err, "')' expected");
        else if (ok)
            e->p++;
        break;
    case '$':
        e->p++;
        ok = register_value(e, v);
        break;
    default:
        ok = number(e, v);
    }
    e->depth--;
    skip(e);
    return ok;
}

/* By rising precedence. */
static const char *const operators[] = { "|", "^", "&", "<>", "+-", "*/%" };

static bool apply(Parser *e, char op, uint64_t *v, uint64_t w)
{
    switch (op) {
    case '|': *v |= w; break;
    case '^': *v ^= w; break;
    case '&': *v &= w; break;
    case '<': *v = w < 64 ? *v << w : 0; break;
    case '>': *v = w < 64 ? *v >> w : 0; break;
    case '+': *v += w; break;
    case '-': *v -= w; break;
    case '*': *v *= w; break;
    default:
        if (!w)
            return fail(e->err, "division by zero");
        *v = op == '/' ? *v / w : *v % w;
    }
    return true;
}

static bool sum(Parser *e, unsigned level, uint64_t *v)
{
    if (level == G_N_ELEMENTS(operators))
        return unary(e, v);
    if (!sum(e, level + 1, v))
        return false;
    while (*e->p && strchr(operators[level], *e->p)) {
        char op = *e->p++;
        uint64_t w = 0;
        if ((op == '<' || op == '>') && *e->p++ != op)
            return fail(e->err, "invalid char '%c' in expression", op);
        if (!sum(e, level + 1, &w) || !apply(e, op, v, w))
            return false;
    }
    return true;
}

bool expr_parse(const char **text, Vcpu *cpu, uint64_t *v, GError **err)
{
    Parser e = { *text, cpu, 0, err };
    *v = 0;
    bool ok = sum(&e, 0, v);
    *text = e.p;
    return ok;
}
