/* SPDX-License-Identifier: GPL-2.0-or-later
 * The process's one log.  Lines are put together first and written by one call, so that threads do not mix
 * them; traces to a file go through stdio's buffer, messages to people do not. */
#include "util/log.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/error.h"

uint32_t log_mask;

typedef struct Log {
    pthread_mutex_t lock;
    FILE           *file;           /* NULL: stderr */
    char            program[32];
    bool            time;           /* log_set_prefix() */
    char            guest[64];
    time_t          second;         /* rate limit of log_guest: lines shown in this second, lines dropped */
    unsigned        shown, dropped;
} Log;

static Log the_log = { .lock = PTHREAD_MUTEX_INITIALIZER, .program = "rhea-system" };

static const struct { LogCategory bit; const char *name, *help; } categories[] = {
#define X(id, name, help) { id, name, help },
    LOG_CATEGORIES(X)
#undef X
};

bool log_set_categories(const char *list, GError **err)
{
    uint32_t mask = 0;
    char **names = g_strsplit(list, ",", -1);
    bool ok = true;
    if (!strcmp(list, "none")) {
        g_strfreev(names);
        __atomic_store_n(&log_mask, 0, __ATOMIC_RELAXED);
        return true;
    }
    for (char **n = names; *n && ok; n++) {
        uint32_t bit = 0;
        if (!strcmp(*n, "all"))
            bit = (1u << LOG_N_CATEGORIES) - 1;
        for (unsigned i = 0; i < G_N_ELEMENTS(categories); i++)
            if (!strcmp(*n, categories[i].name))
                bit = categories[i].bit;
        if (!bit)
            ok = fail(err, "-d: unknown log item '%s' (-d help lists them)", *n);
        mask |= bit;
    }
    g_strfreev(names);
    if (ok)
        __atomic_or_fetch(&log_mask, mask, __ATOMIC_RELAXED);
    return ok;
}

const char *log_category(unsigned i, const char **help)
{
    if (i >= G_N_ELEMENTS(categories))
        return NULL;
    *help = categories[i].help;
    return categories[i].name;
}

void log_help(GString *out)
{
    g_string_append(out, "Log items (comma separated):\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(categories); i++)
        g_string_append_printf(out, "%-14s %s\n", categories[i].name, categories[i].help);
    g_string_append_printf(out, "%-14s %s\n", "all", "all of them");
}

bool log_set_file(const char *path, GError **err)
{
    char **parts = g_strsplit(path, "%d", 2);
    char *name = parts[0] && parts[1] ? g_strdup_printf("%s%d%s", parts[0], (int)getpid(), parts[1])
                                      : g_strdup(path);
    g_strfreev(parts);
    FILE *f = fopen(name, "we");
    bool ok = f || fail_errno(err, errno, "-D: %s", name);
    if (f) {
        pthread_mutex_lock(&the_log.lock);
        if (the_log.file)
            fclose(the_log.file);
        the_log.file = f;
        pthread_mutex_unlock(&the_log.lock);
    }
    g_free(name);
    return ok;
}

void log_set_program(const char *name) { g_strlcpy(the_log.program, name, sizeof the_log.program); }

void log_set_prefix(bool time, const char *guest)
{
    the_log.time = time;
    g_strlcpy(the_log.guest, guest ? guest : "", sizeof the_log.guest);
}

static void say(const char *kind, const char *obj, const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    char stamp[40] = "";
    if (the_log.time) {
        struct timespec t;
        struct tm tm;
        clock_gettime(CLOCK_REALTIME, &t);
        gmtime_r(&t.tv_sec, &tm);
        size_t n = strftime(stamp, sizeof stamp, "%FT%T", &tm);
        g_snprintf(stamp + n, sizeof stamp - n, ".%06ldZ ", t.tv_nsec / 1000);
    }
    log_flush();
    fprintf(stderr, "%s%s%s%s: %s%s%s%s\n", stamp, the_log.guest, *the_log.guest ? " " : "", the_log.program, kind,
            obj ? obj : "", obj ? ": " : "", text);
}

#define SAY(kind) do { va_list ap; va_start(ap, fmt); say(kind, obj, fmt, ap); va_end(ap); } while (0)
void log_error(const char *obj, const char *fmt, ...) { SAY(""); }
void log_warn(const char *obj, const char *fmt, ...) { SAY("warning: "); }
void log_info(const char *obj, const char *fmt, ...) { SAY("info: "); }
#undef SAY

void log_write(const char *text, size_t len)
{
    pthread_mutex_lock(&the_log.lock);
    fwrite(text, 1, len, the_log.file ? the_log.file : stderr);
    pthread_mutex_unlock(&the_log.lock);
}

static void log_vtext(const char *fmt, va_list ap)
{
    char small[512];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        log_write(small, (size_t)n);
    } else {
        char *text = g_strdup_vprintf(fmt, again);
        log_write(text, strlen(text));
        g_free(text);
    }
    va_end(again);
}

void log_text(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_vtext(fmt, ap);
    va_end(ap);
}

void log_guest_slow(const char *obj, const char *fmt, ...)
{
    /* The limit is on host time: a guest in a loop must not fill the disk. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&the_log.lock);
    unsigned dropped = 0;
    if (now.tv_sec != the_log.second) {
        the_log.second = now.tv_sec;
        dropped = the_log.dropped;
        the_log.shown = the_log.dropped = 0;
    }
    bool show = the_log.shown < LOG_GUEST_PER_SECOND;
    if (show)
        the_log.shown++;
    else
        the_log.dropped++;
    pthread_mutex_unlock(&the_log.lock);
    if (dropped)
        log_text("guest: %u more errors were not shown\n", dropped);
    if (!show)
        return;
    va_list ap;
    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_text("guest: %s%s%s\n", obj ? obj : "", obj ? ": " : "", text);
    g_free(text);
}

void log_flush(void)
{
    pthread_mutex_lock(&the_log.lock);
    if (the_log.file)
        fflush(the_log.file);
    pthread_mutex_unlock(&the_log.lock);
}
