/* SPDX-License-Identifier: GPL-2.0-or-later
 * Talks to an emulator's console by a script and reports as TAP (testanything.org).
 *
 *   console [-l LOG] [-s SCALE] SCRIPT COMMAND [ARGUMENT ...]      SCRIPT - is standard input
 *
 * The command runs on a pseudo-terminal of its own.  A script line is a word and the rest of the line:
 *   test NAME      begins a test case; it passes when its lines do, and a failure ends the script
 *   limit SECONDS  how long a wait may take, from here on (times SCALE)
 *   prompt TEXT    what the guest's shell prints when it is ready
 *   never TEXT     from here on, this text fails the test at once
 *   send TEXT      types TEXT and a carriage return
 *   key TEXT       types TEXT, where \xHH and \r mean what they do in C
 *   wait TEXT      until TEXT shows after what was matched last
 *   run TEXT       send, then wait for the prompt; the output is kept for the next two
 *   shows TEXT     the kept output has a line that is TEXT
 *   match REGEX    the kept output has a line that matches the POSIX extended REGEX
 *   idle SECONDS PERCENT [WAKES]   lets SECONDS go by; the command may use no more than PERCENT of a CPU meanwhile, or ten
 *                  times that if its threads were on a CPU no more than WAKES times a second: where others use the machine,
 *                  whoever wakes up finds the caches cold
 *   end STATUS ... until the command exits, with one of these
 *   cpu TEXT       says TEXT and the CPU time that the ended command took, in milliseconds
 * Blank lines and lines that begin with # are skipped.  What the command left running is killed at the end. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pty.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>

typedef struct Console {
    GString *text;              /* what the guest printed, without terminal escapes and carriage returns */
    size_t at;                  /* how much of it has been matched */
    GString *kept;              /* what the last run line printed */
    char *prompt;
    GPtrArray *never;
    double limit_s, scale;
    int pty;
    pid_t pid;
    bool open, ended;           /* the terminal still has a writer; the command has been waited for */
    int status;
    struct rusage usage;
    enum { PLAIN, ESCAPE, CSI } escape;
    FILE *log;
    char *why;                  /* what failed */
} Console;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static bool __attribute__((format(printf, 2, 3))) give_up(Console *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(c->why);
    c->why = g_strdup_vprintf(format, args);
    va_end(args);
    return false;
}

/* ash asks the terminal where the cursor is and colours its listings: none of that is text. */
static void take_byte(Console *c, char byte)
{
    switch (c->escape) {
    case ESCAPE:
        c->escape = byte == '[' ? CSI : PLAIN;
        return;
    case CSI:
        if (byte >= 0x40 && byte <= 0x7e)
            c->escape = PLAIN;
        return;
    case PLAIN:
        if (byte == 0x1b)
            c->escape = ESCAPE;
        else if (byte != '\r' && byte != '\0')
            g_string_append_c(c->text, byte);
    }
}

/* Takes what the command printed, after waiting for it up to wait_s.  False when there will be no more. */
static bool take_output(Console *c, double wait_s)
{
    char buf[4096];
    struct pollfd p = { c->pty, POLLIN, 0 };
    if (!c->open)
        return false;
    if (poll(&p, 1, wait_s > 0 ? (int)(wait_s * 1000) + 1 : 0) <= 0)
        return true;
    ssize_t n = read(c->pty, buf, sizeof buf);
    if (n <= 0) {               /* EIO: the last holder of the terminal is gone */
        c->open = n < 0 && (errno == EINTR || errno == EAGAIN);
        return c->open;
    }
    if (c->log) {
        fwrite(buf, 1, n, c->log);
        fflush(c->log);
    }
    for (ssize_t i = 0; i < n; i++)
        take_byte(c, buf[i]);
    return true;
}

static bool saw_forbidden(Console *c, size_t since)
{
    for (guint i = 0; i < c->never->len; i++) {
        const char *text = g_ptr_array_index(c->never, i);
        if (strstr(c->text->str + since, text))
            return give_up(c, "the guest printed \"%s\"", text), true;
    }
    return false;
}

static bool wait_text(Console *c, const char *text)
{
    double deadline = now_s() + c->limit_s * c->scale;
    size_t since = c->at;
    for (;;) {
        char *found = strstr(c->text->str + c->at, text);
        if (saw_forbidden(c, since))
            return false;
        if (found) {
            c->at = found - c->text->str + strlen(text);
            return true;
        }
        double left = deadline - now_s();
        if (left <= 0)
            return give_up(c, "no \"%s\" in %g s", text, c->limit_s * c->scale);
        if (!take_output(c, left))
            return give_up(c, "the command ended before it printed \"%s\"", text);
    }
}

static bool type(Console *c, const char *text, size_t len)
{
    double deadline = now_s() + c->limit_s * c->scale;
    while (len) {
        struct pollfd p = { c->pty, POLLOUT | POLLIN, 0 };
        double left = deadline - now_s();
        if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) <= 0)
            return give_up(c, "the console takes no more input");
        if (p.revents & POLLIN)
            take_output(c, 0);
        if (!(p.revents & POLLOUT)) {
            if (!c->open)
                return give_up(c, "the command ended before this could be typed");
            continue;
        }
        ssize_t n = write(c->pty, text, MIN(len, 64));
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return give_up(c, "typing failed: %s", strerror(errno));
        if (n > 0) {
            text += n;
            len -= n;
        }
    }
    return true;
}

static bool send_line(Console *c, const char *text)
{
    char *line = g_strconcat(text, "\r", NULL);
    bool ok = type(c, line, strlen(line));
    g_free(line);
    return ok;
}

static bool key(Console *c, const char *text)
{
    GString *s = g_string_new(NULL);
    for (const char *p = text; *p; p++) {
        unsigned value;
        if (p[0] == '\\' && p[1] == 'r') {
            g_string_append_c(s, '\r');
            p++;
        } else if (p[0] == '\\' && p[1] == 'x' && sscanf(p + 2, "%2x", &value) == 1) {
            g_string_append_c(s, value);
            p += 3;
        } else {
            g_string_append_c(s, *p);
        }
    }
    bool ok = type(c, s->str, s->len);
    g_string_free(s, TRUE);
    return ok;
}

static bool run_line(Console *c, const char *text)
{
    if (!c->prompt)
        return give_up(c, "the script runs a command but names no prompt");
    size_t from = c->at;
    if (!send_line(c, text) || !wait_text(c, c->prompt))
        return false;
    g_string_truncate(c->kept, 0);
    g_string_append_len(c->kept, c->text->str + from, c->at - strlen(c->prompt) - from);
    return true;
}

/* A whole line, so that the echo of the command, which follows the prompt, is never taken for its output. */
static bool shows(Console *c, const char *text, bool is_regex)
{
    regex_t regex;
    if (is_regex && regcomp(&regex, text, REG_EXTENDED | REG_NOSUB))
        return give_up(c, "not a regular expression: %s", text);
    char **lines = g_strsplit(c->kept->str, "\n", -1);
    bool found = false;
    for (char **line = lines; *line && !found; line++)
        found = is_regex ? regexec(&regex, *line, 0, NULL, 0) == 0 : strcmp(*line, text) == 0;
    g_strfreev(lines);
    if (is_regex)
        regfree(&regex);
    return found || give_up(c, "no line %s \"%s\" in:\n%s", is_regex ? "matches" : "is", text, c->kept->str);
}

/* CPU seconds of the command so far, all its threads. */
static double cpu_s(Console *c)
{
    char *path = g_strdup_printf("/proc/%d/stat", c->pid), *stat = NULL;
    double s = 0;
    unsigned long user, system;
    if (g_file_get_contents(path, &stat, NULL, NULL)) {
        char *rest = strrchr(stat, ')');       /* the name may hold anything */
        if (rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
            s = (double)(user + system) / sysconf(_SC_CLK_TCK);
    }
    g_free(stat);
    g_free(path);
    return s;
}

/* How often the command's threads were on a CPU so far: the third number of /proc/PID/task/TID/schedstat; negative where the
 * kernel does not count. */
static double times_on_cpu(Console *c)
{
    g_autofree char *folder = g_strdup_printf("/proc/%d/task", c->pid);
    GDir *d = g_dir_open(folder, 0, NULL);
    double sum = 0;
    bool counted = d != NULL;
    for (const char *name; d && (name = g_dir_read_name(d));) {
        g_autofree char *path = g_build_filename(folder, name, "schedstat", NULL), *stat = NULL;
        unsigned long times;
        counted &= g_file_get_contents(path, &stat, NULL, NULL) && sscanf(stat, "%*u %*u %lu", &times) == 1;
        sum += counted ? times : 0;
    }
    if (d)
        g_dir_close(d);
    return counted ? sum : -1;
}

static bool idle(Console *c, const char *text)
{
    double seconds, percent, wakes = -1;
    if (sscanf(text, "%lf %lf %lf", &seconds, &percent, &wakes) < 2)
        return give_up(c, "idle wants seconds and percent");
    double start = now_s(), cpu = cpu_s(c), times = times_on_cpu(c);
    while (now_s() - start < seconds)
        if (!take_output(c, start + seconds - now_s()))
            return give_up(c, "the command ended while it should have idled");
    double took = now_s() - start, used = (cpu_s(c) - cpu) / took * 100, woke = times < 0 ? INFINITY : (times_on_cpu(c) - times) / took;
    printf("# idle: %.2f %% of a CPU over %g s, %.1f times a second\n", used, took, woke);
    return used <= (woke <= wakes ? percent * 10 : percent) ||
           give_up(c, "idle cost %.2f %% of a CPU, more than %g %%, %.1f times a second", used, percent, woke);
}

static bool reap(Console *c, double wait_s)
{
    double deadline = now_s() + wait_s;
    while (!c->ended) {
        if (wait4(c->pid, &c->status, WNOHANG, &c->usage) == c->pid)
            c->ended = true;
        else if (now_s() >= deadline)
            return false;
        else if (!c->open)
            poll(NULL, 0, 5);
        else
            take_output(c, 0.05);
    }
    while (take_output(c, 0.05) && c->open && poll(&(struct pollfd){ c->pty, POLLIN, 0 }, 1, 0) > 0)
        continue;
    return true;
}

static bool end(Console *c, const char *text)
{
    if (!reap(c, c->limit_s * c->scale))
        return give_up(c, "still running after %g s", c->limit_s * c->scale);
    if (WIFSIGNALED(c->status))
        return give_up(c, "killed by signal %d (%s)", WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
    int status = WEXITSTATUS(c->status);
    char **allowed = g_strsplit(text, " ", -1), *got = g_strdup_printf("%d", status);
    bool ok = g_strv_contains((const char *const *)allowed, got);
    g_strfreev(allowed);
    g_free(got);
    return ok || give_up(c, "exit status %d, not %s", status, text);
}

static bool cpu(Console *c, const char *text)
{
    double ms = (c->usage.ru_utime.tv_sec + c->usage.ru_stime.tv_sec) * 1e3 +
                (c->usage.ru_utime.tv_usec + c->usage.ru_stime.tv_usec) / 1e3;
    if (!c->ended)
        return give_up(c, "cpu comes after end");
    printf("# %s: %.1f ms of CPU\n", text, ms);
    return true;
}

static bool set_limit(Console *c, const char *text)
{
    c->limit_s = g_ascii_strtod(text, NULL);
    return true;
}

static bool set_prompt(Console *c, const char *text)
{
    g_free(c->prompt);
    c->prompt = g_strdup(text);
    return true;
}

static bool forbid(Console *c, const char *text)
{
    g_ptr_array_add(c->never, g_strdup(text));
    return true;
}

static bool shows_line(Console *c, const char *text) { return shows(c, text, false); }
static bool shows_match(Console *c, const char *text) { return shows(c, text, true); }

static const struct Word {
    const char *name;
    bool (*act)(Console *c, const char *text);
} words[] = {
    { "limit", set_limit }, { "prompt", set_prompt }, { "never", forbid },      { "send", send_line },
    { "key", key },         { "wait", wait_text },    { "run", run_line },      { "shows", shows_line },
    { "match", shows_match }, { "idle", idle },       { "end", end },           { "cpu", cpu },
};

static bool act(Console *c, const char *word, const char *text)
{
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (strcmp(words[i].name, word) == 0)
            return words[i].act(c, text);
    return give_up(c, "no such word in scripts: %s", word);
}

/* Every line of text after "# ". */
static void diagnose(const char *text)
{
    char **lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        printf("# %s\n", *line);
    g_strfreev(lines);
}

static void report_failure(Console *c, const char *test, int number, int line)
{
    const char *tail = c->text->str + c->text->len;
    for (int n = 0; tail > c->text->str && (n += tail[-1] == '\n') <= 15;)
        tail--;
    printf("not ok %d - %s\n", number, test);
    printf("# script line %d: ", line);
    diagnose(c->why);
    diagnose("the console's last lines:");
    diagnose(tail);
}

static int play(Console *c, char **lines)
{
    int plan = 0, number = 0, bad = 0;
    char *test = NULL;
    for (char **line = lines; *line; line++)
        plan += g_str_has_prefix(*line, "test ");
    printf("1..%d\n", plan);
    for (int i = 0; lines[i]; i++) {
        char *line = g_strstrip(lines[i]);
        if (!*line || *line == '#')
            continue;
        char **parts = g_strsplit(line, " ", 2);
        const char *text = parts[1] ? parts[1] : "";
        if (strcmp(parts[0], "test") == 0) {
            if (test)
                printf("ok %d - %s\n", number, test);
            g_free(test);
            test = g_strdup(text);
            number++;
        } else if (!act(c, parts[0], text)) {
            report_failure(c, test ? test : "start", number, i + 1);
            bad++;
        }
        g_strfreev(parts);
        fflush(stdout);
        if (bad)
            break;
    }
    if (test && !bad)
        printf("ok %d - %s\n", number, test);
    if (bad && number < plan)
        printf("Bail out! %d of %d tests not run\n", plan - number, plan);
    g_free(test);
    return bad;
}

static bool spawn(Console *c, char **argv)
{
    struct winsize size = { .ws_row = 24, .ws_col = 250 };
    c->pid = forkpty(&c->pty, NULL, NULL, &size);
    if (c->pid < 0)
        return give_up(c, "no pseudo-terminal: %s", strerror(errno));
    if (c->pid == 0) {
        execvp(argv[0], argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    c->open = true;
    return true;
}

int main(int argc, char **argv)
{
    Console c = { .text = g_string_new(NULL), .kept = g_string_new(NULL), .never = g_ptr_array_new(), .limit_s = 60, .scale = 1 };
    char *script = NULL;
    GError *err = NULL;
    int option;
    while ((option = getopt(argc, argv, "+l:s:")) != -1) {
        if (option == 'l' && !(c.log = fopen(optarg, "w"))) {
            perror(optarg);
            return 2;
        }
        if (option == 's')
            c.scale = g_ascii_strtod(optarg, NULL);
        if (option == '?')
            return 2;
    }
    if (argc - optind < 2) {
        fprintf(stderr, "usage: console [-l LOG] [-s SCALE] SCRIPT COMMAND [ARGUMENT ...]\n");
        return 2;
    }
    const char *path = argv[optind];
    if (!g_file_get_contents(strcmp(path, "-") ? path : "/dev/stdin", &script, NULL, &err) || !spawn(&c, argv + optind + 1)) {
        fprintf(stderr, "console: %s\n", err ? err->message : c.why);
        return 2;
    }
    char **lines = g_strsplit(script, "\n", -1);
    int bad = play(&c, lines);
    if (!c.ended) {
        kill(-c.pid, SIGKILL);          /* forkpty made it a session's leader */
        kill(c.pid, SIGKILL);
        waitpid(c.pid, NULL, 0);
    }
    g_strfreev(lines);
    g_free(script);
    g_string_free(c.text, TRUE);
    g_string_free(c.kept, TRUE);
    g_ptr_array_free(c.never, TRUE);
    return bad ? 1 : 0;
}
