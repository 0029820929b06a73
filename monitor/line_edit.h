/* SPDX-License-Identifier: GPL-2.0-or-later
 * A line editor for terminals: keys in, lines out, with history and completion.  It knows no stream. */
#ifndef MONITOR_LINE_EDIT_H
#define MONITOR_LINE_EDIT_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct LineEdit LineEdit;

typedef struct LineEditUser {
    void (*write)(void *self, const char *text, size_t len);    /* to the terminal */
    void (*line)(void *self, const char *line);                 /* one has been entered */
    GPtrArray *(*complete)(void *self, const char *line);       /* whole words for the last word of line; freed by the caller */
} LineEditUser;

enum { LINE_MAX_LEN = 4095, LINE_HISTORY = 64 };

LineEdit *line_edit_new(const char *prompt, const LineEditUser *user, void *self);
void line_edit_free(LineEdit *e);
void line_edit_key(LineEdit *e, uint8_t byte);
void line_edit_prompt(LineEdit *e);             /* a fresh prompt, with what has been typed so far */
void line_edit_clear(LineEdit *e);              /* forgets what has been typed */

#endif
