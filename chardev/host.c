/* SPDX-License-Identifier: GPL-2.0-or-later
 * Back ends on the host: the terminal, a pseudo terminal, a file, nothing; and the syntax that names them. */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/stream_int.h"
#include "util/error.h"

/* --- the terminal: one per process, to be put back whatever happens --- */

static struct {
    volatile sig_atomic_t raw;
    int                   fd;
    struct termios        before;
} tty;

void terminal_restore(void)
{
    if (!tty.raw)
        return;
    tty.raw = 0;
    tcsetattr(tty.fd, TCSANOW, &tty.before);
}

void stream_restore_terminal(void) { terminal_restore(); }

/* Bytes as typed, at once, unechoed.  signals: C-c and C-z keep their meaning.  Output post-processing stays,
 * so that a bare newline from the guest still returns the carriage. */
static void terminal_raw(Stream *s, bool signals)
{
    struct termios t;
    if (tty.raw || !isatty(s->in_fd) || tcgetattr(s->in_fd, &t) < 0)
        return;
    tty.fd = STDIN_FILENO;
    tty.before = t;
    t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals)
        t.c_lflag &= ~(tcflag_t)ISIG;
    t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    tcsetattr(s->in_fd, TCSANOW, &t);
    tty.raw = 1;
    s->terminal = true;
}

void stream_send_break(Stream *s)
{
    if (!s || s->out_fd < 0 || !isatty(s->out_fd))
        return;
    stream_flush(s);
    tcsendbreak(s->out_fd, 0);
}

/* --- opening --- */

/* Our own, non-blocking way to where fd writes: O_NONBLOCK belongs to the open file, which we share with the
 * shell that started us, so terminals and pipes are opened anew.  Files never block and keep their
 * position. */
static int own_output(int fd, bool *may_block)
{
    struct stat st;
    *may_block = false;
    if (fstat(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0)
            return own;
        *may_block = true;      /* a socket, or a terminal of another user */
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static bool stdio_open(Stream *s, Options *o, GError **err)
{
    bool signals = !s->mux.on;
    if (!options_bool(o, "signal", &signals, err))
        return false;
    s->in_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);         /* may be closed: then there is no input */
    s->out_fd = own_output(STDOUT_FILENO, &s->may_block);
    signal(SIGPIPE, SIG_IGN);
    if (s->in_fd >= 0)
        terminal_raw(s, signals);
    return true;
}

static bool pty_open(Stream *s, Options *o, GError **err)
{
    char name[128];
    struct termios raw;
    memset(&raw, 0, sizeof raw);
    cfmakeraw(&raw);            /* from the start: an echo would come back to the guest as input */
    raw.c_cflag |= CREAD | CLOCAL;
    int master, slave;
    if (openpty(&master, &slave, name, &raw, NULL) < 0)
        return fail_errno(err, errno, "pty");
    fcntl(master, F_SETFL, O_NONBLOCK);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(slave, F_SETFD, FD_CLOEXEC);
    s->in_fd = s->out_fd = master;
    s->keep_fd = slave;         /* held open, so that users may come and go without a hang-up in between */
    s->path = g_strdup(name);
    return true;
}

static bool file_open(Stream *s, Options *o, GError **err)
{
    const char *path = options_get(o, "path");
    bool append = false;
    if (!path || !*path)
        return fail(err, "file: needs a path");
    if (!options_bool(o, "append", &append, err))
        return false;
    s->out_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | (append ? O_APPEND : O_TRUNC), 0666);
    return s->out_fd >= 0 || fail_errno(err, errno, "%s", path);
}

static bool null_open(Stream *s, Options *o, GError **err) { return true; }

static const BackEnd back_ends[] = {
    { "stdio", "the terminal, or standard input and output", stdio_open },
    { "pty",   "a new pseudo terminal",                      pty_open   },
    { "file",  "output to a file: file:PATH",                file_open  },
    { "socket", "a unix or TCP socket: unix:PATH, tcp:HOST:PORT, with ,server=on,wait=off", socket_open },
    { "null",  "nothing: output is dropped",                 null_open  },
    { NULL }
};

void stream_help(GString *out)
{
    for (const BackEnd *b = back_ends; b->name; b++)
        g_string_append_printf(out, "%-8s %s\n", b->name, b->help);
}

static Stream *open_options(Loop *loop, Options *o, bool mux, GError **err)
{
    const char *name = options_get(o, "backend"), *id = options_get(o, "id");
    const BackEnd *b = back_ends;
    while (b->name && (!name || strcmp(b->name, name)))
        b++;
    if (!b->name) {
        fail(err, "'%s' is not a character device (stdio, pty, file:PATH, unix:PATH, tcp:HOST:PORT, null)", name ? name : "");
        return NULL;
    }
    if (!options_bool(o, "mux", &mux, err))
        return NULL;
    Stream *s = stream_alloc(loop, id);
    s->mux.on = mux;
    if (!b->open(s, o, err) || !options_done(o, err)) {
        stream_free(s);
        return NULL;
    }
    if (!s->name)
        s->name = s->path ? g_strdup_printf("%s:%s", name, s->path) : g_strdup(name);
    stream_attach(s);
    return s;
}

Stream *stream_open_chardev(Loop *loop, const char *opts, GError **err)
{
    Options *o = options_parse("-chardev", opts, "backend", err);
    if (!o)
        return NULL;
    Stream *s = NULL;
    if (!options_get(o, "id"))
        fail(err, "-chardev: '%s' needs an id=", opts);
    else
        s = open_options(loop, o, false, err);
    options_free(o);
    return s;
}

/* "file:PATH" is "file,path=PATH" with the commas of PATH doubled. */
static char *from_colon(const char *spec, GError **err)
{
    char *socket = socket_from_colon(spec, err);
    const char *colon = strchr(spec, ':');
    if (socket || *err)
        return socket;
    if (!colon)
        return g_strdup(spec);
    GString *out = g_string_new_len(spec, colon - spec);
    g_string_append(out, ",path=");
    for (const char *p = colon + 1; *p; p++)
        g_string_append(out, *p == ',' ? ",," : (char[]){ *p, 0 });
    return g_string_free(out, FALSE);
}

Stream *stream_open(Loop *loop, const char *spec, GError **err)
{
    bool mux = g_str_has_prefix(spec, "mon:");
    GError *e = NULL;
    g_autofree char *opts = from_colon(mux ? spec + 4 : spec, &e);
    Options *o = e ? NULL : options_parse("-serial", opts, "backend", &e);
    if (e)
        g_propagate_error(err, e);
    if (!o)
        return NULL;
    Stream *s = open_options(loop, o, mux, err);
    options_free(o);
    return s;
}
