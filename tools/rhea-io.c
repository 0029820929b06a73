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
#include <unistd.h>

#include "block/block.h"
#include "config.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

typedef struct Io {
    Aio        *aio;
    BlockGraph *graph;
    Block      *b;
    GPtrArray  *commands;       /* of -c */
    GPtrArray  *objects;        /* of --object */
    const char *filename, *format;
    unsigned    flags;
    bool        image_opts, quit, failed;
} Io;

typedef struct Command Command;
/* False: it did not work, and that has been said. */
typedef bool CommandFn(Io *io, const Command *c, int argc, char **argv);
struct Command { const char *name, *alias; CommandFn *fn; unsigned how; const char *usage; };

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

static void report(const char *did, uint64_t done, uint64_t at, int64_t began)
{
    double seconds = MAX((double)(g_get_monotonic_time() - began) / 1e6, 1e-6);
    char size[32], rate[32];
    size_text((double)done, size, sizeof size);
    size_text((double)done / seconds, rate, sizeof rate);
    printf("%s %" PRIu64 "/%" PRIu64 " bytes at offset %" PRIu64 "\n%s, 1 ops; %02.2f sec (%s/sec and %.4f ops/sec)\n", did,
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

enum { HOW_READ, HOW_WRITE, HOW_VECTOR = 2 };

typedef struct Transfer {
    bool     quiet, pattern, verbose, zeroes, compress, fua, unmap, no_fallback;
    uint8_t  byte;
    uint64_t at, len;
    int      n_lengths;
    uint64_t length[64];
} Transfer;

static bool parse_transfer(const Command *c, int argc, char **argv, Transfer *t)
{
    *t = (Transfer){ .byte = 0xcd };
    bool vector = c->how & HOW_VECTOR;
    optind = 0;
    for (int k; (k = getopt(argc, argv, "qvCbcfnuzpP:l:s:i")) != -1;) {
        switch (k) {
        case 'q': t->quiet = true; break;
        case 'v': t->verbose = true; break;
        case 'c': t->compress = true; break;
        case 'f': t->fua = true; break;
        case 'u': t->unmap = true; break;
        case 'n': t->no_fallback = true; break;
        case 'z': t->zeroes = true; break;
        case 'P': {
            char *end;
            unsigned long v = strtoul(optarg, &end, 0);
            if (*end || v > 255)
                return say("%s is not a valid pattern byte", optarg);
            t->byte = (uint8_t)v;
            t->pattern = true;
            break;
        }
        case 'C': case 'b': case 'p': case 'i': break;
        default: return say("%s: unknown option (usage: %s %s)", c->name, c->name, c->usage);
        }
    }
    if (argc - optind < 2 || (!vector && argc - optind > 2) || argc - optind > 64)
        return say("usage: %s %s", c->name, c->usage);
    if (!size_of(argv[optind++], &t->at))
        return false;
    for (; optind < argc; optind++) {
        if (!size_of(argv[optind], &t->length[t->n_lengths]))
            return false;
        if (t->length[t->n_lengths] > 1 << 30)
            return say("a length over 1 GiB");
        t->len += t->length[t->n_lengths++];
    }
    return true;
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

static bool do_read(Io *io, const Command *c, int argc, char **argv)
{
    Transfer t;
    if (!parse_transfer(c, argc, argv, &t))
        return false;
    uint8_t *buf = block_memory(t.len);
    if (!buf)
        return say("no memory");
    g_autofree struct iovec *v = vector_of(&t, buf);
    int64_t began = g_get_monotonic_time();
    int r = block_readv(io->b, t.at, v, t.n_lengths);
    bool ok = !r || say("read failed: %s", g_strerror(-r));
    if (ok && t.pattern)
        for (uint64_t i = 0; i < t.len && ok; i++)
            if (buf[i] != t.byte)
                ok = say("Pattern verification failed at offset %" PRIu64 ", %" PRIu64 " bytes", t.at, t.len);
    if (!r && t.verbose)
        dump(buf, t.at, t.len);
    if (!r && !t.quiet)
        report("read", t.len, t.at, began);
    free(buf);
    return ok;
}

static bool do_write(Io *io, const Command *c, int argc, char **argv)
{
    Transfer t;
    if (!parse_transfer(c, argc, argv, &t))
        return false;
    unsigned flags = (t.compress ? BLOCK_COMPRESS : 0) | (t.fua ? BLOCK_FUA : 0) | (t.unmap ? BLOCK_MAY_UNMAP : 0) |
                     (t.no_fallback ? BLOCK_NO_FALLBACK : 0);
    int64_t began = g_get_monotonic_time();
    int r;
    if (t.zeroes) {
        r = block_zero(io->b, t.at, t.len, flags);
    } else {
        uint8_t *buf = block_memory(t.len);
        if (!buf)
            return say("no memory");
        memset(buf, t.byte, t.len);
        g_autofree struct iovec *v = vector_of(&t, buf);
        r = block_writev(io->b, t.at, v, t.n_lengths, flags);
        free(buf);
    }
    if (r)
        return say("write failed: %s", g_strerror(-r));
    if (!t.quiet)
        report("wrote", t.len, t.at, began);
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
        report("discard", t.len, t.at, began);
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
    GError *err = NULL;
    if (argc != 2 || !size_of(argv[1], &n))
        return say("usage: %s %s", c->name, c->usage);
    if (block_resize(io->b, n, PREALLOC_OFF, &err))
        return true;
    say("%s", err->message);
    g_error_free(err);
    return false;
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
    if (argc != 2)
        return say("usage: %s %s", c->name, c->usage);
    co_sleep_ns(io->aio, (int64_t)(g_ascii_strtod(argv[1], NULL) * 1e6));
    return true;
}

static bool do_abort(Io *io, const Command *c, int argc, char **argv) { abort(); }
static bool do_raise(Io *io, const Command *c, int argc, char **argv)
{
    if (argc != 2)
        return say("usage: %s %s", c->name, c->usage);
    raise(atoi(argv[1]));
    return true;
}
static bool do_quit(Io *io, const Command *c, int argc, char **argv) { io->quit = true; return true; }
static bool do_nothing(Io *io, const Command *c, int argc, char **argv) { return true; }
static bool do_help(Io *io, const Command *c, int argc, char **argv);

static const Command commands[] = {
    { "abort", NULL, do_abort, 0, "-- ends the process at once" },
    { "aio_flush", NULL, do_nothing, 0, "-- nothing: requests are waited for" },
    { "aio_read", NULL, do_read, HOW_VECTOR, "[-qv] [-P byte] offset length..." },
    { "aio_write", NULL, do_write, HOW_WRITE | HOW_VECTOR, "[-qfuz] [-P byte] offset length..." },
    { "alloc", NULL, do_alloc, 0, "offset [length]" },
    { "discard", "d", do_discard, 0, "[-q] offset length" },
    { "flush", "f", do_flush, 0, "" },
    { "help", "?", do_help, 0, "" },
    { "length", "l", do_length, 0, "" },
    { "map", NULL, do_map, 0, "" },
    { "quit", "q", do_quit, 0, "" },
    { "read", "r", do_read, 0, "[-qv] [-P byte] offset length" },
    { "readv", NULL, do_read, HOW_VECTOR, "[-qv] [-P byte] offset length..." },
    { "sigraise", NULL, do_raise, 0, "signal" },
    { "sleep", NULL, do_sleep, 0, "milliseconds" },
    { "truncate", "t", do_truncate, 0, "size" },
    { "write", "w", do_write, HOW_WRITE, "[-cfnquz] [-P byte] offset length" },
    { "writev", NULL, do_write, HOW_WRITE | HOW_VECTOR, "[-fq] [-P byte] offset length..." },
};

static bool do_help(Io *io, const Command *c, int argc, char **argv)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        printf("%s %s\n", commands[i].name, commands[i].usage);
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
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, argv[0]) || !g_strcmp0(commands[i].alias, argv[0])) {
            io->failed |= !commands[i].fn(io, &commands[i], argc, argv);
            fflush(stdout);
            return;
        }
    io->failed = true;
    say("command \"%s\" not found", argv[0]);
}

static void run(void *self)
{
    Io *io = self;
    GError *err = NULL;
    Json *o = io->image_opts ? json_from_options("--image-opts", io->filename, NULL, &err) : json_object();
    if (o && io->format)
        json_set(o, "driver", json_string(io->format));
    io->b = o ? block_open(io->graph, io->image_opts ? NULL : io->filename, o, io->flags, &err) : NULL;
    if (!io->b) {
        say("rhea-io: %s", err->message);
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
    int r = block_close(io->b);
    if (r) {
        say("rhea-io: closing: %s", g_strerror(-r));
        io->failed = true;
    }
}

int main(int argc, char **argv)
{
    enum { IMAGE_OPTS = 1000, OBJECT };
    static const struct option options[] = {
        { "cmd", required_argument, NULL, 'c' }, { "format", required_argument, NULL, 'f' },
        { "read-only", no_argument, NULL, 'r' }, { "nocache", no_argument, NULL, 'n' },
        { "cache", required_argument, NULL, 't' }, { "discard", required_argument, NULL, 'd' },
        { "force-share", no_argument, NULL, 'U' }, { "image-opts", no_argument, NULL, IMAGE_OPTS },
        { "aio", required_argument, NULL, 'i' }, { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
        { "object", required_argument, NULL, OBJECT }, { NULL }
    };
    Io io = { .commands = g_ptr_array_new(), .objects = g_ptr_array_new(), .flags = BLOCK_RDWR | BLOCK_UNMAP };
    GError *err = NULL;
    log_set_program("rhea-io");
    for (int c; (c = getopt_long(argc, argv, "c:f:rnt:d:Ui:hV", options, NULL)) != -1;) {
        switch (c) {
        case 'c': g_ptr_array_add(io.commands, optarg); break;
        case 'f': io.format = optarg; break;
        case 'r': io.flags &= ~(unsigned)(BLOCK_RDWR | BLOCK_UNMAP); break;
        case 'n': io.flags |= BLOCK_DIRECT; break;
        case 'U': io.flags |= BLOCK_SHARE; break;
        case 't':
            if (!block_parse_cache(optarg, &io.flags, &err))
                return say("rhea-io: %s", err->message), 1;
            break;
        case 'd':
            if (!strcmp(optarg, "off") || !strcmp(optarg, "ignore"))
                io.flags &= ~(unsigned)BLOCK_UNMAP;
            break;
        case 'i':
            if (!block_parse_aio(optarg, &io.flags, &err))
                return say("rhea-io: %s", err->message), 1;
            break;
        case IMAGE_OPTS: io.image_opts = true; break;
        case OBJECT: g_ptr_array_add(io.objects, optarg); break;
        case 'h':
            printf("usage: rhea-io [-f FORMAT] [-r] [-n] [-t CACHE] [-d MODE] [-U] [-i threads|native|io_uring] [--image-opts] [--object OBJECT] [-c COMMAND]... FILE\n");
            return 0;
        case 'V': printf("rhea-io version " RHEA_VERSION "\n"); return 0;
        default: return 1;
        }
    }
    if (optind != argc - 1)
        return say("rhea-io: which image?"), 1;
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
