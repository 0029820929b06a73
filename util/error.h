/* SPDX-License-Identifier: GPL-2.0-or-later
 * Errors of the user's world: a GError that says one sentence, set and returned in one statement. */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include <glib.h>
#include <stdbool.h>

/* Sets *err (which may be NULL: nobody asks) and returns false. */
bool fail(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same, ending in ": " and the text of an errno value. */
bool fail_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
/* Puts what this floor knows in front of the message that is in *err already; returns false. */
bool fail_prefix(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
