/* SPDX-License-Identifier: GPL-2.0-or-later
 * Sessions: a stream, a line editor, the commands. */
#include "monitor/monitor.h"

#include <string.h>

#include "monitor/command.h"
#include "monitor/line_edit.h"
#include "util/error.h"

struct Monitor {
    MonitorEnv env;
    GPtrArray *terminals;               /* Terminal */
    GdbServer *gdb;
};

typedef struct Terminal {
    Session   s;
    Stream   *stream;
    Fifo8     in;
    LineEdit *edit;
    bool      greeted;
} Terminal;

static const char prompt[] = "(qemu) ";  /* what scripts wait for */

/* --- output: a newline is CR LF, since the terminal may be raw */

static void write_text(Terminal *t, const char *text, size_t len)
{
    while (len) {
        const char *eol = memchr(text, '\n', len);
        size_t n = eol ? (size_t)(eol - text) : len;
        stream_write(t->stream, text, n);
        if (eol)
            stream_write(t->stream, "\r\n", 2);
        n += eol != NULL;
        text += n;
        len -= n;
    }
}

static void edit_write(void *self, const char *text, size_t len) { write_text(self, text, len); }

static void edit_line(void *self, const char *line)
{
    Terminal *t = self;
    GError *err = NULL;
    t->s.out = g_string_new(NULL);
    if (!command_run(&t->s, line, &err)) {
        g_string_append_printf(t->s.out, "%s\n", err->message);
        g_error_free(err);
    }
    write_text(t, t->s.out->str, t->s.out->len);
    g_string_free(t->s.out, TRUE);
    t->s.out = NULL;
    if (!t->s.quit)
        line_edit_prompt(t->edit);
    stream_flush(t->stream);
}

static GPtrArray *edit_complete(void *self, const char *line)
{
    Terminal *t = self;
    return command_complete(&t->s, line);
}

static const LineEditUser edit_user = { edit_write, edit_line, edit_complete };

/* --- input */

static void filled(void *self)
{
    Terminal *t = self;
    while (!fifo8_empty(&t->in))
        line_edit_key(t->edit, fifo8_pop(&t->in));
    stream_flush(t->stream);
}

static void greet(Terminal *t)
{
    g_autofree char *text = g_strdup_printf("Rhea %s monitor - type 'help' for more information\n", t->s.env->version);
    write_text(t, text, strlen(text));
    line_edit_clear(t->edit);
    line_edit_prompt(t->edit);
    t->greeted = true;
    stream_flush(t->stream);
}

static void event(void *self, StreamEvent ev)
{
    Terminal *t = self;
    if (ev == STREAM_OPENED) {
        greet(t);
    } else if (ev == STREAM_FOCUS) {
        write_text(t, "\n", 1);
        if (!t->greeted)
            greet(t);
        else
            line_edit_prompt(t->edit);
        stream_flush(t->stream);
    } else if (ev == STREAM_UNFOCUS) {
        write_text(t, "\n", 1);
        stream_flush(t->stream);
    }
}

bool monitor_open(Monitor *m, Stream *s, GError **err)
{
    Terminal *t = g_new0(Terminal, 1);
    if (!stream_claim(s, "monitor", NULL, err)) {
        g_free(t);
        return false;
    }
    t->s = (Session){ .monitor = m, .env = &m->env, .cpu = accel_vcpu(m->env.accel, 0) };
    t->stream = s;
    t->edit = line_edit_new(prompt, &edit_user, t);
    fifo8_set_cap(&t->in, FIFO8_MAX);
    stream_fill(s, &t->in, filled, t, NULL);
    stream_on_event(s, event, t);
    g_ptr_array_add(m->terminals, t);
    if (stream_is_open(s) && strcmp(stream_name(s), "mux") != 0)
        greet(t);
    return true;
}

/* --- the whole */

Monitor *monitor_new(const MonitorEnv *env)
{
    Monitor *m = g_new0(Monitor, 1);
    m->env = *env;
    m->terminals = g_ptr_array_new();
    return m;
}

void monitor_free(Monitor *m)
{
    if (!m)
        return;
    gdb_free(m->gdb);
    for (guint i = 0; i < m->terminals->len; i++) {
        Terminal *t = m->terminals->pdata[i];
        stream_release(t->stream);
        line_edit_free(t->edit);
        g_free(t);
    }
    g_ptr_array_free(m->terminals, TRUE);
    g_free(m);
}

const MonitorEnv *monitor_env(const Monitor *m) { return &m->env; }

bool monitor_gdb(Monitor *m, const char *spec, GError **err)
{
    gdb_free(m->gdb);
    m->gdb = NULL;
    if (!strcmp(spec, "none"))
        return true;
    m->gdb = gdb_new(m, spec, err);
    return m->gdb;
}
