/* SPDX-License-Identifier: GPL-2.0-or-later
 * Errors of the user's world: a GError that says one sentence, set and returned in one statement. */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include <glib.h>
#include <stdbool.h>

/* fail(err, fmt, ...): sets *err (which may be NULL: nobody asks) and is false.
 * fail_errno(err, errnum, fmt, ...): the same, ending in ": " and the text of an errno value.
 * fail_prefix(err, fmt, ...): puts what this floor knows in front of the message that is in *err already; is
 * false. Macros, so that the compiler sees that they are false. */
#define fail(err, ...)                (error_set((err), __VA_ARGS__), error_false())
#define fail_errno(err, errnum, ...)  (error_set_errno((err), (errnum), __VA_ARGS__), error_false())
#define fail_prefix(err, ...)         (error_prefix((err), __VA_ARGS__), error_false())

static inline bool error_false(void) { return false; }
void error_set(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void error_set_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);
void error_prefix(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
