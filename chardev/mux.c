/* SPDX-License-Identifier: GPL-2.0-or-later
 * The Ctrl-A escapes on a console, as QEMU's users know them, and its timestamps. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "chardev/stream_int.h"

typedef struct Escape { char key; const char *help; void (*fn)(Stream *s); } Escape;

static int64_t now_ns(const Stream *s)
{
    if (s->clock)
        return clock_now_ns(s->clock);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

static void quit(Stream *s)
{
    if (s->control && s->control->quit)
        s->control->quit(s->control_self);
}

static void save(Stream *s)
{
    if (s->control && s->control->save)
        s->control->save(s->control_self);
}

static void send_break(Stream *s) { stream_event(s, STREAM_BREAK); }

static void toggle_stamps(Stream *s)
{
    pthread_mutex_lock(&s->out_lock);
    s->mux.stamps = !s->mux.stamps;
    s->mux.stamps_from = now_ns(s);
    pthread_mutex_unlock(&s->out_lock);
}

static void change_over(Stream *s)
{
    if (!s->child)
        return;
    s->child_focus = !s->child_focus;
    stream_event(s->child, s->child_focus ? STREAM_FOCUS : STREAM_UNFOCUS);
}

static void help(Stream *s);

static const Escape escapes[] = {
    { 'h', "this help",                          help          },
    { 'x', "quit the emulator",                  quit          },
    { 's', "write disk data back",               save          },
    { 't', "timestamps before lines, on/off",    toggle_stamps },
    { 'b', "send a break (magic SysRq)",         send_break    },
    { 'c', "switch between console and monitor", change_over   },
};

static void key_name(char *name, size_t size, uint8_t key)
{
    if (key <= 26)
        g_snprintf(name, size, "C-%c", 'a' + key - 1);
    else if (g_ascii_isgraph(key))
        g_snprintf(name, size, "%c", key);
    else
        g_snprintf(name, size, "0x%02x", key);
}

static void help(Stream *s)
{
    GString *text = g_string_new("\r\n");
    char first[8];
    key_name(first, sizeof first, s->mux.escape);
    for (unsigned i = 0; i < G_N_ELEMENTS(escapes); i++)
        if ((escapes[i].fn != save || (s->control && s->control->save)) && (escapes[i].fn != change_over || s->child))
            g_string_append_printf(text, "%s %-4c %s\r\n", first, escapes[i].key, escapes[i].help);
    g_string_append_printf(text, "%s %-4s send a %s\r\n", first, first, first);
    pthread_mutex_lock(&s->out_lock);
    stream_append(s, (const uint8_t *)text->str, text->len);
    pthread_mutex_unlock(&s->out_lock);
    g_string_free(text, TRUE);
}

size_t mux_filter(Stream *s, uint8_t *bytes, size_t len)
{
    size_t left = 0;
    for (size_t i = 0; i < len; i++) {
        if (!s->mux.escaped && bytes[i] == s->mux.escape) {
            s->mux.escaped = true;
        } else if (!s->mux.escaped) {
            bytes[left++] = bytes[i];
        } else if (bytes[i] == s->mux.escape) {
            s->mux.escaped = false;
            bytes[left++] = bytes[i];
        } else {
            s->mux.escaped = false;
            for (unsigned e = 0; e < G_N_ELEMENTS(escapes); e++) {
                if (escapes[e].key != (char)bytes[i])
                    continue;
                if (escapes[e].fn == change_over && left) {
                    stream_input(s, bytes, left);
                    left = 0;
                }
                escapes[e].fn(s);
            }
        }
    }
    return left;
}

void mux_output(Stream *s, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!s->mux.mid_line) {
            int64_t ms = (now_ns(s) - s->mux.stamps_from) / NS_PER_MS;
            char stamp[48];
            int n = snprintf(stamp, sizeof stamp, "[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000),
                             (int)(ms / 60000 % 60),
                             (int)(ms / 1000 % 60), (int)(ms % 1000));
            stream_append(s, (const uint8_t *)stamp, (size_t)n);
            s->mux.mid_line = true;
        }
        stream_append(s, &bytes[i], 1);
        s->mux.mid_line = bytes[i] != '\n';
    }
}
