/* SPDX-License-Identifier: GPL-2.0-or-later
 * Line editing with the keys that shells have taught people, on a terminal that knows ECMA-48's erase and cursor codes.
 * What is typed at the end of a line is echoed as it is, so that scripts on a socket see plain text. */
#include "monitor/line_edit.h"

#include <string.h>

typedef enum EscState { ESC_NONE, ESC_SEEN, ESC_CSI } EscState;

struct LineEdit {
    const LineEditUser *user;
    void      *self;
    char      *prompt;
    GString   *text;
    size_t     at;                      /* of the cursor */
    GPtrArray *history;
    guint      shown;                   /* entry of the history that is being looked at; history->len: none */
    char      *typed;                   /* what was there before going back in history */
    EscState   esc;
    unsigned   number;                  /* of an escape sequence */
    bool       after_cr;
};

LineEdit *line_edit_new(const char *prompt, const LineEditUser *user, void *self)
{
    LineEdit *e = g_new0(LineEdit, 1);
    e->prompt = g_strdup(prompt);
    e->user = user;
    e->self = self;
    e->text = g_string_new(NULL);
    e->history = g_ptr_array_new_with_free_func(g_free);
    return e;
}

void line_edit_free(LineEdit *e)
{
    g_ptr_array_free(e->history, TRUE);
    g_string_free(e->text, TRUE);
    g_free(e->prompt);
    g_free(e->typed);
    g_free(e);
}

static void put(LineEdit *e, const char *text) { e->user->write(e->self, text, strlen(text)); }

static void move_back(LineEdit *e, size_t n)
{
    char code[24];
    if (!n)
        return;
    g_snprintf(code, sizeof code, "\x1b[%zuD", n);
    put(e, code);
}

/* The text from the cursor on, anew. */
static void redraw_rest(LineEdit *e)
{
    e->user->write(e->self, e->text->str + e->at, e->text->len - e->at);
    put(e, "\x1b[K");
    move_back(e, e->text->len - e->at);
}

void line_edit_prompt(LineEdit *e)
{
    put(e, e->prompt);
    e->user->write(e->self, e->text->str, e->text->len);
    move_back(e, e->text->len - e->at);
}

void line_edit_clear(LineEdit *e)
{
    g_string_truncate(e->text, 0);
    e->at = 0;
    e->esc = ESC_NONE;
}

static void insert(LineEdit *e, const char *text, size_t len)
{
    if (e->text->len + len > LINE_MAX_LEN)
        return;
    g_string_insert_len(e->text, (gssize)e->at, text, (gssize)len);
    e->at += len;
    e->user->write(e->self, text, len);
    if (e->at < e->text->len)
        redraw_rest(e);
}

static void cut(LineEdit *e, size_t from, size_t to)
{
    if (from >= to)
        return;
    move_back(e, e->at - from);
    g_string_erase(e->text, (gssize)from, (gssize)(to - from));
    e->at = from;
    redraw_rest(e);
}

static void erase_here(LineEdit *e)
{
    if (e->at == e->text->len)
        return;
    g_string_erase(e->text, (gssize)e->at, 1);
    redraw_rest(e);
}

static void go_to(LineEdit *e, size_t at)
{
    if (at < e->at)
        move_back(e, e->at - at);
    else
        e->user->write(e->self, e->text->str + e->at, at - e->at);
    e->at = at;
}

static void replace(LineEdit *e, const char *text)
{
    go_to(e, 0);
    g_string_assign(e->text, text);
    e->at = e->text->len;
    put(e, e->text->str);
    put(e, "\x1b[K");
}

static void word_back(LineEdit *e)
{
    size_t from = e->at;
    while (from && e->text->str[from - 1] == ' ')
        from--;
    while (from && e->text->str[from - 1] != ' ')
        from--;
    cut(e, from, e->at);
}

/* --- history */

static void history_add(LineEdit *e)
{
    const char *last = e->history->len ? e->history->pdata[e->history->len - 1] : "";
    if (e->text->len && strcmp(last, e->text->str)) {
        if (e->history->len == LINE_HISTORY)
            g_ptr_array_remove_index(e->history, 0);
        g_ptr_array_add(e->history, g_strdup(e->text->str));
    }
    e->shown = e->history->len;
}

static void history_go(LineEdit *e, int by)
{
    if ((by < 0 && !e->shown) || (by > 0 && e->shown >= e->history->len))
        return;
    if (e->shown == e->history->len) {
        g_free(e->typed);
        e->typed = g_strdup(e->text->str);
    }
    e->shown += by;
    replace(e, e->shown == e->history->len ? e->typed : e->history->pdata[e->shown]);
}

/* --- completion */

static size_t common(GPtrArray *words)
{
    const char *first = words->pdata[0];
    size_t n = strlen(first);
    for (guint i = 1; i < words->len; i++) {
        const char *w = words->pdata[i];
        size_t k = 0;
        while (k < n && w[k] == first[k])
            k++;
        n = k;
    }
    return n;
}

static void list(LineEdit *e, GPtrArray *words)
{
    put(e, "\n");
    unsigned widest = 0, column = 0;
    for (guint i = 0; i < words->len; i++)
        widest = MAX(widest, (unsigned)strlen(words->pdata[i]));
    for (guint i = 0; i < words->len; i++) {
        g_autofree char *cell = g_strdup_printf("%-*s", (int)widest + 2, (char *)words->pdata[i]);
        put(e, cell);
        column += widest + 2;
        if (column + widest + 2 > 80 || i + 1 == words->len) {
            put(e, "\n");
            column = 0;
        }
    }
    line_edit_prompt(e);
}

static void complete(LineEdit *e)
{
    if (e->at != e->text->len || !e->user->complete)
        return;
    GPtrArray *words = e->user->complete(e->self, e->text->str);
    size_t typed = 0;
    while (typed < e->text->len && e->text->str[e->text->len - typed - 1] != ' ')
        typed++;
    if (words->len) {
        size_t n = common(words);
        const char *word = words->pdata[0];
        if (n > typed)
            insert(e, word + typed, n - typed);
        if (words->len == 1)
            insert(e, " ", 1);
        else if (n <= typed)
            list(e, words);
    }
    g_ptr_array_free(words, TRUE);
}

/* --- keys */

static void enter(LineEdit *e)
{
    put(e, "\n");
    history_add(e);
    g_autofree char *line = g_strdup(e->text->str);
    line_edit_clear(e);
    e->user->line(e->self, line);
}

static void csi(LineEdit *e, uint8_t c)
{
    e->esc = ESC_NONE;
    switch (c) {
    case 'A': history_go(e, -1); break;
    case 'B': history_go(e, 1); break;
    case 'C': go_to(e, MIN(e->at + 1, e->text->len)); break;
    case 'D': go_to(e, e->at ? e->at - 1 : 0); break;
    case 'H': go_to(e, 0); break;
    case 'F': go_to(e, e->text->len); break;
    case '~':
        if (e->number == 1 || e->number == 7)
            go_to(e, 0);
        else if (e->number == 4 || e->number == 8)
            go_to(e, e->text->len);
        else if (e->number == 3)
            erase_here(e);
        break;
    default:
        if (g_ascii_isdigit(c)) {
            e->number = (e->number * 10 + (c - '0')) % 1000;
            e->esc = ESC_CSI;
        }
    }
}

#define CTRL(c) ((c) & 0x1f)

static void control(LineEdit *e, uint8_t c)
{
    switch (c) {
    case CTRL('A'): go_to(e, 0); break;
    case CTRL('B'): go_to(e, e->at ? e->at - 1 : 0); break;
    case CTRL('C'):
        put(e, "\n");
        line_edit_clear(e);
        line_edit_prompt(e);
        break;
    case CTRL('D'):
        erase_here(e);
        break;
    case CTRL('E'): go_to(e, e->text->len); break;
    case CTRL('F'): go_to(e, MIN(e->at + 1, e->text->len)); break;
    case CTRL('H'):
    case 0x7f:
        cut(e, e->at ? e->at - 1 : 0, e->at);
        break;
    case '\t': complete(e); break;
    case CTRL('K'):
        g_string_truncate(e->text, e->at);
        redraw_rest(e);
        break;
    case CTRL('L'):
        put(e, "\x1b[2J\x1b[H");
        line_edit_prompt(e);
        break;
    case CTRL('N'): history_go(e, 1); break;
    case CTRL('P'): history_go(e, -1); break;
    case CTRL('U'): cut(e, 0, e->at); break;
    case CTRL('W'): word_back(e); break;
    case 27: e->esc = ESC_SEEN; break;
    }
}

void line_edit_key(LineEdit *e, uint8_t c)
{
    bool after_cr = e->after_cr;
    e->after_cr = c == '\r';
    if (e->esc == ESC_CSI) {
        csi(e, c);
    } else if (e->esc == ESC_SEEN) {
        e->esc = c == '[' || c == 'O' ? ESC_CSI : ESC_NONE;
        e->number = 0;
    } else if (c == '\r' || (c == '\n' && !after_cr)) {
        enter(e);
    } else if (c == '\n') {
        return;                         /* the second half of CR LF */
    } else if (c < 32 || c == 0x7f) {
        control(e, c);
    } else {
        insert(e, (const char *)&c, 1);
    }
}
