/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-io: scripted requests to an image: reads, writes of patterns, zeroes, discards, flushes, and abrupt ends.
 * Commands, options and output are qemu-io's. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "block/block.h"
#include "config.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

typedef struct Io {
    Aio        *aio;
    BlockGraph *graph;
    Block      *b;              /* NULL: closed */
    Json       *opened;         /* what b was opened with besides its name */
    char       *path;           /* NULL: the options say it */
    unsigned    opened_flags, under_way;
    CoQueue     ended;          /* under_way has become 0 */
    GPtrArray  *commands;       /* of -c */
    GPtrArray  *objects;        /* of --object */
    const char *filename, *format;
    unsigned    flags;
    bool        image_opts, copy_on_read, quit, failed;
} Io;

typedef struct Command Command;
/* False: it did not work, and that has been said. */
typedef bool CommandFn(Io *io, const Command *c, int argc, char **argv);
struct Command { const char *name, *alias; CommandFn *fn; unsigned how; int min, max; const char *usage, *help; };

static bool say(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static bool say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fflush(stdout);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

static bool size_of(const char *text, uint64_t *out)
{
    GError *err = NULL;
    if (parse_size("size", text, 1, out, &err))
        return true;
    say("%s", err->message);
    g_error_free(err);
    return false;
}

static void size_text(double v, char *out, size_t len)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    unsigned u = 0;
    for (; v >= 1024 && u + 1 < G_N_ELEMENTS(units); u++)
        v /= 1024;
    snprintf(out, len, v == (double)(uint64_t)v ? "%.0f %s" : "%.3f %s", v, units[u]);
}

static void report(const char *did, uint64_t done, uint64_t at, int64_t began, bool machine)
{
    double seconds = MAX((double)(g_get_monotonic_time() - began) / 1e6, 1e-6);
    char size[32], rate[32];
    if (machine) {
        unsigned whole = (unsigned)seconds;
        printf("%" PRIu64 ",1,%u:%02u:%05.2f,%.3f,%.3f\n", done, whole / 3600, whole / 60 % 60, seconds - whole / 60 * 60.0,
               (double)done / seconds, 1 / seconds);
        return;
    }
    size_text((double)done, size, sizeof size);
    size_text((double)done / seconds, rate, sizeof rate);
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n%s, 1 ops; %05.2f sec (%s/sec and %.4f ops/sec)\n", did,
           done, done, at, size, seconds, rate, 1 / seconds);
}

static void dump(const uint8_t *p, uint64_t at, uint64_t len)
{
    for (uint64_t i = 0; i < len; i += 16) {
        printf("%08" PRIx64 ":  ", at + i);
        for (uint64_t k = i; k < MIN(i + 16, len); k++)
            printf("%02x ", p[k]);
        for (uint64_t k = i; k < MIN(i + 16, len); k++)
            putchar(isgraph(p[k]) ? p[k] : '.');
        putchar('\n');
    }
}

enum { HOW_WRITE = 1, HOW_VECTOR = 2, HOW_LATER = 4, HOW_CLOSED = 8, HOW_DISCARD = 16 };

typedef struct Transfer {
    Io      *io;
    const Command *c;
    bool     quiet, pattern, verbose, zeroes, compress, fua, unmap, no_fallback, machine, part;
    uint8_t  byte;
    const char *source;         /* a file to write the contents of */
    uint64_t at, len, skip, match;      /* match: bytes from skip on must be the pattern */
    int      n_lengths;
    uint64_t length[64];
} Transfer;

static bool pattern_of(const char *text, Transfer *t)
{
    char *end;
    unsigned long v = strtoul(text, &end, 0);
    t->pattern = true;
    t->byte = (uint8_t)v;
    return (*text && !*end && v <= 255) || say("%s is not a valid pattern byte", text);
}

static const char *transfer_letters(const Command *c)
{
    if (c->how & HOW_DISCARD)
        return "+Cq";
    if (!(c->how & HOW_WRITE))
        return c->how & HOW_VECTOR ? "+CqvP:" : "+CqvpP:s:l:";
    return c->how & HOW_LATER ? "+CfqzuP:" : c->how & HOW_VECTOR ? "+CfqP:" : "+cCfnpquzP:s:";
}

static bool parse_transfer(const Command *c, int argc, char **argv, Transfer *t)
{
    *t = (Transfer){ .c = c, .byte = 0xcd, .match = UINT64_MAX };
    bool write = c->how & HOW_WRITE;
    optind = 0;
    for (int k; (k = getopt(argc, argv, transfer_letters(c))) != -1;) {
        bool ok = true;
        switch (k) {
        case 'q': t->quiet = true; break;
        case 'v': t->verbose = true; break;
        case 'c': t->compress = true; break;
        case 'C': t->machine = true; break;
        case 'f': t->fua = true; break;
        case 'u': t->unmap = true; break;
        case 'n': t->no_fallback = true; break;
        case 'z': t->zeroes = true; break;
        case 'P': ok = pattern_of(optarg, t); break;
        case 's':
            t->part = true;
            if (write)
                t->source = optarg;
            else
                ok = size_of(optarg, &t->skip);
            break;
        case 'l': t->part = true; ok = size_of(optarg, &t->match); break;
        case 'p': break;        /* means nothing to others either, since long */
        default: return say("usage: %s %s", c->name, c->usage);
        }
        if (!ok)
            return false;
    }
    if (t->zeroes + t->pattern + (t->source != NULL) > 1 && write)
        return say("Only one of -z, -P, and -s can be specified at the same time");
    if ((t->unmap || t->no_fallback) && !t->zeroes)
        return say("-%c requires -z to be specified", t->unmap ? 'u' : 'n');
    if (!write && t->part && !t->pattern)
        return say("-s and -l go with -P");
    bool one = !(c->how & HOW_VECTOR) || t->zeroes;
    if (argc - optind < 2 || (one && argc - optind > 2) || argc - optind > 64)
        return say("usage: %s %s", c->name, c->usage);
    if (!size_of(argv[optind++], &t->at))
        return false;
    for (; optind < argc; optind++) {
        if (!size_of(argv[optind], &t->length[t->n_lengths]))
            return false;
        if (!t->zeroes && !(c->how & HOW_DISCARD) && t->length[t->n_lengths] > INT32_MAX)
            return say("a length over 2 GiB");
        t->len += t->length[t->n_lengths++];
    }
    if (t->skip > t->len)
        return say("pattern verification range exceeds end of read data");
    if (t->match == UINT64_MAX)
        t->match = t->len - t->skip;
    return t->match <= t->len - t->skip || say("pattern verification range exceeds end of read data");
}

static struct iovec *vector_of(const Transfer *t, uint8_t *buf)
{
    struct iovec *v = g_new(struct iovec, t->n_lengths);
    for (int i = 0; i < t->n_lengths; i++) {
        v[i] = (struct iovec){ buf, t->length[i] };
        buf += t->length[i];
    }
    return v;
}

static bool read_now(const Transfer *t)
{
    uint8_t *buf = block_memory(t->len);
    if (!buf)
        return say("no memory");
    g_autofree struct iovec *v = vector_of(t, buf);
    int64_t began = g_get_monotonic_time();
    int r = block_readv(t->io->b, t->at, v, t->n_lengths);
    bool ok = !r || say("%s failed: %s", t->c->name, g_strerror(-r));
    if (ok && t->pattern)
        for (uint64_t i = 0; i < t->match && ok; i++)
            if (buf[t->skip + i] != t->byte)
                ok = say("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes", t->at + t->skip, t->match);
    if (!r && t->verbose)
        dump(buf, t->at, t->len);
    if (!r && !t->quiet)
        report("read", t->len, t->at, began, t->machine);
    free(buf);
    return ok;
}

/* The contents of a file, again and again. */
static bool fill_from(const char *source, uint8_t *buf, uint64_t len)
{
    g_autofree char *data = NULL;
    gsize n;
    GError *err = NULL;
    if (!g_file_get_contents(source, &data, &n, &err)) {
        say("%s", err->message);
        g_error_free(err);
        return false;
    }
    if (!n)
        return say("%s is empty", source);
    for (uint64_t i = 0; i < len; i += n)
        memcpy(buf + i, data, MIN(n, len - i));
    return true;
}

static bool write_now(const Transfer *t)
{
    unsigned flags = (t->compress ? BLOCK_COMPRESS : 0) | (t->fua ? BLOCK_FUA : 0) | (t->unmap ? BLOCK_MAY_UNMAP : 0) |
                     (t->no_fallback ? BLOCK_NO_FALLBACK : 0);
    uint8_t *buf = t->zeroes ? NULL : block_memory(t->len);
    if (!t->zeroes && !buf)
        return say("no memory");
    if (buf)
        memset(buf, t->byte, t->len);
    if (t->source && !fill_from(t->source, buf, t->len)) {
        free(buf);
        return false;
    }
    int64_t began = g_get_monotonic_time();
    int r;
    if (t->zeroes) {
        r = block_zero(t->io->b, t->at, t->len, flags);
    } else {
        g_autofree struct iovec *v = vector_of(t, buf);
        r = block_writev(t->io->b, t->at, v, t->n_lengths, flags);
    }
    free(buf);
    if (r)
        return say("%s failed: %s", t->c->name, g_strerror(-r));
    if (!t->quiet)
        report("wrote", t->len, t->at, began, t->machine);
    return true;
}

static bool transfer_now(const Transfer *t) { return t->c->how & HOW_WRITE ? write_now(t) : read_now(t); }

static void transfer_later(void *self)
{
    Transfer *t = self;
    Io *io = t->io;
    transfer_now(t);        /* it counts as done: what went wrong was said */
    fflush(stdout);
    g_free(t);
    if (!--io->under_way)
        co_queue_wake_all(&io->ended);
}

static void wait_all(Io *io)
{
    while (io->under_way)
        co_queue_wait(&io->ended);
}

static bool do_transfer(Io *io, const Command *c, int argc, char **argv)
{
    Transfer t;
    if (!parse_transfer(c, argc, argv, &t))
        return false;
    t.io = io;
    if (!(c->how & HOW_LATER))
        return transfer_now(&t);
    io->under_way++;
    co_start(transfer_later, g_memdup2(&t, sizeof t));
    return true;
}

static bool do_aio_flush(Io *io, const Command *c, int argc, char **argv)
{
    wait_all(io);
    return true;
}

static bool do_discard(Io *io, const Command *c, int argc, char **argv)
{
    Transfer t;
    if (!parse_transfer(c, argc, argv, &t))
        return false;
    int64_t began = g_get_monotonic_time();
    int r = block_discard(io->b, t.at, t.len);
    if (r)
        return say("discard failed: %s", g_strerror(-r));
    if (!t.quiet)
        report("discard", t.len, t.at, began, t.machine);
    return true;
}

static bool do_flush(Io *io, const Command *c, int argc, char **argv)
{
    int r = block_flush(io->b);
    return !r || say("flush failed: %s", g_strerror(-r));
}

static bool do_truncate(Io *io, const Command *c, int argc, char **argv)
{
    uint64_t n;
    BlockPrealloc how = PREALLOC_OFF;
    GError *err = NULL;
    bool ok = true;
    optind = 0;
    for (int k; ok && (k = getopt(argc, argv, "+m:")) != -1;)
        ok = k == 'm' ? block_parse_prealloc(optarg, &how, &err) : say("usage: %s %s", c->name, c->usage);
    if (ok && optind != argc - 1)
        return say("usage: %s %s", c->name, c->usage);
    if (ok && !size_of(argv[optind], &n))
        return false;
    if (ok && block_resize(io->b, n, how, &err))
        return true;
    if (err)
        say("rhea-io: %s", err->message);
    g_clear_error(&err);
    return false;
}

/* --- opening */

/* The image by io->path and io->opened. */
static bool open_image(Io *io, GError **err)
{
    io->b = block_open(io->graph, io->path, io->opened ? json_copy(io->opened) : json_object(), io->opened_flags, err);
    if (!io->b || !io->copy_on_read)
        return io->b;
    Json *o = json_object();
    json_set(o, "driver", json_string("copy-on-read"));
    json_set(o, "file", json_string(block_name(io->b)));
    Block *below = io->b;
    io->b = block_open(io->graph, NULL, o, io->opened_flags, err);
    block_close(below);
    return io->b;
}

static bool close_image(Io *io)
{
    int r = io->b ? (wait_all(io), block_close(io->b)) : 0;
    io->b = NULL;
    return !r || say("rhea-io: closing: %s", g_strerror(-r));
}

static bool failed(GError *err)
{
    say("rhea-io: %s", err->message);
    g_error_free(err);
    return false;
}

static bool set_discard(const char *mode, unsigned *flags, GError **err)
{
    bool off = !strcmp(mode, "off") || !strcmp(mode, "ignore");
    *flags = off ? *flags & ~(unsigned)BLOCK_UNMAP : *flags | BLOCK_UNMAP;
    return off || !strcmp(mode, "on") || !strcmp(mode, "unmap") || fail(err, "discard '%s' is neither unmap nor ignore", mode);
}

/* What "-o a=b,c=d" adds. */
static bool add_options(Json **to, const char *text, GError **err)
{
    Json *more = json_from_options("-o", text, NULL, err);
    if (!more)
        return false;
    if (!*to)
        *to = json_object();
    for (unsigned i = 0; i < json_count(more); i++)
        json_set(*to, more->keys->pdata[i], json_copy(json_item(more, i)));
    json_free(more);
    return true;
}

static bool do_open(Io *io, const Command *c, int argc, char **argv)
{
    unsigned flags = BLOCK_RDWR | BLOCK_UNMAP;
    Json *o = NULL;
    bool ok = true, copy = false;
    GError *err = NULL;
    optind = 0;
    for (int k; ok && (k = getopt(argc, argv, "+rCnkUi:t:d:o:")) != -1;) {
        switch (k) {
        case 'r': flags &= ~(unsigned)(BLOCK_RDWR | BLOCK_UNMAP); break;
        case 'C': copy = true; break;
        case 'n': flags |= BLOCK_DIRECT; break;
        case 'U': flags |= BLOCK_SHARE; break;
        case 'k': ok = block_parse_aio("native", &flags, &err); break;
        case 'i': ok = block_parse_aio(optarg, &flags, &err); break;
        case 't': ok = block_parse_cache(optarg, &flags, &err); break;
        case 'd': ok = set_discard(optarg, &flags, &err); break;
        case 'o': ok = add_options(&o, optarg, &err); break;
        default:  ok = fail(&err, "usage: %s %s", c->name, c->usage);
        }
    }
    if (ok && io->b)
        ok = fail(&err, "file open already, try 'help close'");
    if (ok && (argc - optind > 1 || (argc == optind && !o)))
        ok = fail(&err, "usage: %s %s", c->name, c->usage);
    if (!ok) {
        json_free(o);
        return failed(err);
    }
    json_free(io->opened);
    g_free(io->path);
    io->opened = o;
    io->path = g_strdup(argv[optind]);
    io->opened_flags = flags;
    io->copy_on_read = copy;
    return open_image(io, &err) || failed(err);
}

static bool do_close(Io *io, const Command *c, int argc, char **argv) { return close_image(io); }

/* Closed, and opened again with what changes; as it was, if that does not work. */
static bool do_reopen(Io *io, const Command *c, int argc, char **argv)
{
    unsigned flags = io->opened_flags, old_flags = flags;
    Json *o = io->opened ? json_copy(io->opened) : NULL, *old = io->opened;
    bool ok = true;
    GError *err = NULL;
    optind = 0;
    for (int k; ok && (k = getopt(argc, argv, "+rwc:o:")) != -1;) {
        switch (k) {
        case 'r': flags &= ~(unsigned)BLOCK_RDWR; break;
        case 'w': flags |= BLOCK_RDWR; break;
        case 'c': ok = block_parse_cache(optarg, &flags, &err); break;
        case 'o': ok = add_options(&o, optarg, &err); break;
        default:  ok = fail(&err, "usage: %s %s", c->name, c->usage);
        }
    }
    if (ok && optind != argc)
        ok = fail(&err, "usage: %s %s", c->name, c->usage);
    if (!ok || !close_image(io)) {
        json_free(o);
        return ok ? false : failed(err);
    }
    io->opened = o;
    io->opened_flags = flags;
    if (open_image(io, &err)) {
        json_free(old);
        return true;
    }
    failed(err);
    err = NULL;
    json_free(o);
    io->opened = old;
    io->opened_flags = old_flags;
    return open_image(io, &err) ? false : failed(err);
}

/* --- looking */

static bool do_info(Io *io, const Command *c, int argc, char **argv)
{
    BlockInfo i;
    int r = block_info(io->b, &i);
    if (r)
        return say("cannot look at the image: %s", g_strerror(-r));
    g_autoptr(GString) text = g_string_new(NULL);
    block_info_text(io->b, &i, NULL, text);
    printf("format name: %s\n", block_format(io->b));
    if (i.granule) {
        char size[32];
        size_text((double)i.granule, size, sizeof size);
        printf("cluster size: %s\n", size);
    }
    const char *specific = strstr(text->str, "Format specific information:");
    printf("%s", specific ? specific : "");
    json_free(i.specific);
    return true;
}

static bool do_length(Io *io, const Command *c, int argc, char **argv)
{
    char text[32];
    size_text((double)block_length(io->b), text, sizeof text);
    printf("%s\n", text);
    return true;
}

static bool do_map(Io *io, const Command *c, int argc, char **argv)
{
    for (uint64_t at = 0, len = block_length(io->b); at < len;) {
        Extent e, next;
        int r = block_map(io->b, at, len - at, &e);
        while (!r && at + e.len < len && !block_map(io->b, at + e.len, len - at - e.len, &next) &&
               !((next.flags ^ e.flags) & EXTENT_ALLOCATED))
            e.len += next.len;
        if (r)
            return say("cannot map: %s", g_strerror(-r));
        char size[32], where[32];
        size_text((double)e.len, size, sizeof size);
        size_text((double)at, where, sizeof where);
        printf("%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", size, e.len,
               e.flags & EXTENT_ALLOCATED ? "    " : "not ", where, at);
        at += e.len;
    }
    return true;
}

static bool do_alloc(Io *io, const Command *c, int argc, char **argv)
{
    uint64_t at, len = 512, sum = 0;
    if (argc < 2 || argc > 3 || !size_of(argv[1], &at) || (argc == 3 && !size_of(argv[2], &len)))
        return say("usage: %s %s", c->name, c->usage);
    for (uint64_t i = 0; i < len;) {
        Extent e;
        int r = block_map(io->b, at + i, len - i, &e);
        if (r)
            return say("cannot map: %s", g_strerror(-r));
        sum += e.flags & EXTENT_ALLOCATED ? e.len : 0;
        i += e.len;
    }
    char where[32];
    size_text((double)at, where, sizeof where);
    printf("%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, len, where);
    return true;
}

static bool do_sleep(Io *io, const Command *c, int argc, char **argv)
{
    co_sleep_ns(io->aio, (int64_t)(g_ascii_strtod(argv[1], NULL) * 1e6));
    return true;
}

static bool do_abort(Io *io, const Command *c, int argc, char **argv) { abort(); }
static bool do_raise(Io *io, const Command *c, int argc, char **argv)
{
    raise(atoi(argv[1]));
    return true;
}
static bool do_quit(Io *io, const Command *c, int argc, char **argv) { io->quit = true; return true; }
static bool do_help(Io *io, const Command *c, int argc, char **argv);

/* How many arguments: options count. */
static const Command commands[] = {
    { "abort", NULL, do_abort, HOW_CLOSED, 0, 0, "", "ends the process at once, by a signal" },
    { "aio_flush", NULL, do_aio_flush, 0, 0, 0, "", "waits until all requests of aio_read and aio_write have ended" },
    { "aio_read", NULL, do_transfer, HOW_VECTOR | HOW_LATER, 2, 64, "[-Cqv] [-P pattern] off len [len..]", "begins a read, and tells when it has ended" },
    { "aio_write", NULL, do_transfer, HOW_WRITE | HOW_VECTOR | HOW_LATER, 2, 64, "[-Cfquz] [-P pattern] off len [len..]", "begins a write, and tells when it has ended" },
    { "alloc", NULL, do_alloc, 0, 1, 2, "offset [count]", "counts the bytes that this image has itself" },
    { "close", "c", do_close, 0, 0, 0, "", "closes the image" },
    { "discard", "d", do_discard, HOW_DISCARD, 2, 64, "[-Cq] off len", "gives bytes back" },
    { "flush", "f", do_flush, 0, 0, 0, "", "brings everything to the disk" },
    { "help", "?", do_help, HOW_CLOSED, 0, 1, "[command]", "tells about one or all commands" },
    { "info", "i", do_info, 0, 0, 0, "", "tells about the image" },
    { "length", "l", do_length, 0, 0, 0, "", "its length" },
    { "map", NULL, do_map, 0, 0, 0, "", "which parts this image has itself" },
    { "open", "o", do_open, HOW_CLOSED, 1, 64, "[-rCnkU] [-i aio] [-t cache] [-d discard] [-o options] [path]", "opens an image" },
    { "quit", "q", do_quit, HOW_CLOSED, 0, 0, "", "ends the program" },
    { "read", "r", do_transfer, 0, 2, 64, "[-Cqv] [-P pattern [-s off] [-l len]] off len", "reads; -P: and compares" },
    { "readv", NULL, do_transfer, HOW_VECTOR, 2, 64, "[-Cqv] [-P pattern] off len [len..]", "reads into several buffers" },
    { "reopen", NULL, do_reopen, 0, 0, 64, "[-r|-w] [-c cache] [-o options]", "opens the image again, with other options" },
    { "sigraise", NULL, do_raise, HOW_CLOSED, 1, 1, "signal", "sends this process a signal" },
    { "sleep", NULL, do_sleep, HOW_CLOSED, 1, 1, "milliseconds", "waits" },
    { "truncate", "t", do_truncate, 0, 1, 3, "[-m prealloc_mode] off", "makes the image longer or shorter" },
    { "write", "w", do_transfer, HOW_WRITE, 2, 64, "[-cCfnquz] [-P pattern | -s source_file] off len", "writes a pattern, zeros or a file's contents" },
    { "writev", NULL, do_transfer, HOW_WRITE | HOW_VECTOR, 2, 64, "[-Cfq] [-P pattern] off len [len..]", "writes from several buffers" },
};

static const Command *find_command(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, name) || !g_strcmp0(commands[i].alias, name))
            return &commands[i];
    return NULL;
}

static bool do_help(Io *io, const Command *c, int argc, char **argv)
{
    const Command *one = argc > 1 ? find_command(argv[1]) : NULL;
    if (argc > 1 && !one)
        return say("command %s not found", argv[1]);
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!one || one == &commands[i])
            printf("%s%s%s -- %s\n", commands[i].name, *commands[i].usage ? " " : "", commands[i].usage, commands[i].help);
    return true;
}

static void run_line(Io *io, const char *line)
{
    g_auto(GStrv) raw = g_strsplit_set(line, " \t\n", -1);
    char *argv[64];
    int argc = 0;
    for (unsigned i = 0; raw[i] && argc < 63; i++)
        if (*raw[i])
            argv[argc++] = raw[i];
    argv[argc] = NULL;
    if (!argc || *argv[0] == '#')
        return;
    const Command *c = find_command(argv[0]);
    bool ok;
    if (!c)
        ok = say("command \"%s\" not found", argv[0]);
    else if (!io->b && !(c->how & HOW_CLOSED))
        ok = say("no file open, try 'help open'");
    else if (argc - 1 < c->min || argc - 1 > c->max)
        ok = say("bad argument count %d to %s, expected %s %d arguments", argc - 1, argv[0], argc - 1 < c->min ? "at least" : "at most",
                 argc - 1 < c->min ? c->min : c->max);
    else
        ok = c->fn(io, c, argc, argv);
    io->failed |= !ok;
    fflush(stdout);
}

static void run(void *self)
{
    Io *io = self;
    GError *err = NULL;
    bool ok = true;
    if (io->filename) {
        io->opened = io->image_opts ? json_from_options("--image-opts", io->filename, NULL, &err) : json_object();
        ok = io->opened;
        if (ok && io->format)
            json_set(io->opened, "driver", json_string(io->format));
        io->path = io->image_opts ? NULL : g_strdup(io->filename);
        io->opened_flags = io->flags;
        ok = ok && open_image(io, &err);
    }
    if (!ok) {
        failed(err);
        io->failed = true;
        return;
    }
    for (unsigned i = 0; i < io->commands->len && !io->quit; i++)
        run_line(io, io->commands->pdata[i]);
    if (!io->commands->len) {
        char line[4096];
        bool terminal = isatty(0);
        while (!io->quit && (!terminal || printf("rhea-io> ") > 0) && !fflush(stdout) && fgets(line, sizeof line, stdin))
            run_line(io, line);
    }
    io->failed |= !close_image(io);
    json_free(io->opened);
    g_free(io->path);
}

int main(int argc, char **argv)
{
    enum { IMAGE_OPTS = 1000, OBJECT };
    static const struct option options[] = {
        { "cmd", required_argument, NULL, 'c' }, { "format", required_argument, NULL, 'f' },
        { "read-only", no_argument, NULL, 'r' }, { "nocache", no_argument, NULL, 'n' },
        { "copy-on-read", no_argument, NULL, 'C' }, { "native-aio", no_argument, NULL, 'k' },
        { "cache", required_argument, NULL, 't' }, { "discard", required_argument, NULL, 'd' },
        { "force-share", no_argument, NULL, 'U' }, { "image-opts", no_argument, NULL, IMAGE_OPTS },
        { "aio", required_argument, NULL, 'i' }, { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
        { "object", required_argument, NULL, OBJECT }, { NULL }
    };
    Io io = { .commands = g_ptr_array_new(), .objects = g_ptr_array_new(), .flags = BLOCK_RDWR | BLOCK_UNMAP };
    GError *err = NULL;
    log_set_program("rhea-io");
    for (int c; (c = getopt_long(argc, argv, "c:f:rnkCt:d:Ui:hV", options, NULL)) != -1;) {
        switch (c) {
        case 'c': g_ptr_array_add(io.commands, optarg); break;
        case 'f': io.format = optarg; break;
        case 'r': io.flags &= ~(unsigned)(BLOCK_RDWR | BLOCK_UNMAP); break;
        case 'n': io.flags |= BLOCK_DIRECT; break;
        case 'U': io.flags |= BLOCK_SHARE; break;
        case 'C': io.copy_on_read = true; break;
        case 'k': block_parse_aio("native", &io.flags, NULL); break;
        case 't':
            if (!block_parse_cache(optarg, &io.flags, &err))
                return say("rhea-io: %s", err->message), 1;
            break;
        case 'd':
            if (!set_discard(optarg, &io.flags, &err))
                return say("rhea-io: %s", err->message), 1;
            break;
        case 'i':
            if (!block_parse_aio(optarg, &io.flags, &err))
                return say("rhea-io: %s", err->message), 1;
            break;
        case IMAGE_OPTS: io.image_opts = true; break;
        case OBJECT: g_ptr_array_add(io.objects, optarg); break;
        case 'h':
            printf("usage: rhea-io [-f FORMAT] [-r] [-n] [-C] [-k] [-t CACHE] [-d MODE] [-U] [-i threads|native|io_uring] [--image-opts] [--object OBJECT] [-c COMMAND]... [FILE]\n");
            return 0;
        case 'V': printf("rhea-io version " RHEA_VERSION "\n"); return 0;
        default: return 1;
        }
    }
    if (optind < argc - 1)
        return say("rhea-io: one image, please; '%s' is another", argv[argc - 1]), 1;
    io.filename = argv[optind];
    io.aio = aio_new(AIO_AUTO, &err);
    if (!io.aio)
        return say("rhea-io: %s", err->message), 1;
    io.graph = block_graph_new(io.aio);
    for (unsigned i = 0; i < io.objects->len; i++)
        if (!block_add_object(io.graph, io.objects->pdata[i], &err)) {
            say("rhea-io: %s", err->message);
            return 1;
        }
    aio_run(io.aio, run, &io);
    block_graph_free(io.graph);
    aio_free(io.aio);
    g_ptr_array_free(io.commands, TRUE);
    g_ptr_array_free(io.objects, TRUE);
    return io.failed;
}
