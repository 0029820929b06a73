/* SPDX-License-Identifier: GPL-2.0-or-later
 * What fail() and its like put into a GError. */
#include "util/error.h"

static GQuark rhea_quark(void) { return g_quark_from_static_string("rhea"); }

void error_set(GError **err, const char *fmt, ...)
{
    if (!err)
        return;
    va_list ap;
    va_start(ap, fmt);
    g_assert(!*err);
    *err = g_error_new_valist(rhea_quark(), 1, fmt, ap);
    va_end(ap);
}

void error_set_errno(GError **err, int errnum, const char *fmt, ...)
{
    if (!err)
        return;
    va_list ap;
    va_start(ap, fmt);
    char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    error_set(err, "%s: %s", what, g_strerror(errnum));
    g_free(what);
}

void error_prefix(GError **err, const char *fmt, ...)
{
    if (!err || !*err)
        return;
    va_list ap;
    va_start(ap, fmt);
    char *prefix = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    char *whole = g_strconcat(prefix, (*err)->message, NULL);
    g_free((*err)->message);
    (*err)->message = whole;
    g_free(prefix);
}
