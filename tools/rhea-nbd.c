/* SPDX-License-Identifier: GPL-2.0-or-later
 * rhea-nbd: serves an image over NBD, or lists what a server has.  Options are qemu-nbd's. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/nbd/server.h"
#include "block/nbd/tls.h"
#include "config.h"
#include "util/error.h"
#include "util/log.h"
#include "util/options.h"

typedef struct Serve {
    Aio        *aio;
    BlockGraph *graph;
    NbdAddress  address;
    const char *filename, *format, *name, *description, *cache, *aio_mode, *discard, *zeroes, *snapshot, *pid_file, *tls, *tls_host;
    GPtrArray  *objects, *bitmaps;
    uint64_t    offset, shared;
    bool        read_only, persistent, fork, image_opts, list, verbose, failed;
    int         ready;                  /* the parent that waits; -1: nobody */
    int         over[2];                /* a pipe: a byte in it ends the server */
} Serve;

/* For the signal handler: the writing end of Serve.over. */
static volatile sig_atomic_t over_fd;

static void on_signal(int n)
{
    if (write(over_fd, "", 1) < 0)
        return;         /* full: it has been told often enough */
}

static bool say(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
static bool say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("rhea-nbd: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

static const char usage[] =
    "usage: rhea-nbd [OPTIONS] FILE\n"
    "   or: rhea-nbd -L [OPTIONS]\n"
    "Serves a disk image over the Network Block Device protocol.\n\n"
    "  -p, --port=PORT           port to listen on (10809)\n"
    "  -b, --bind=ADDRESS        interface to bind to (all)\n"
    "  -k, --socket=PATH         a unix socket instead\n"
    "  -e, --shared=NUM          up to NUM clients at once (1); 0: any number\n"
    "  -t, --persistent          go on when the last client has gone\n"
    "  -v, --verbose             say what happens\n"
    "  -x, --export-name=NAME    the export's name (\"\")\n"
    "  -D, --description=TEXT    of the export, for people\n"
    "  -L, --list                list the exports of a server instead\n"
    "      --fork                detach when the socket is ready\n"
    "      --pid-file=PATH       write the process id\n"
    "      --object TYPE,id=ID,...   tls-creds-x509, tls-creds-psk, secret\n"
    "      --tls-creds=ID        use TLS with those credentials\n"
    "      --tls-hostname=NAME   whom the server's certificate must name (-L)\n"
    "  -B, --bitmap=NAME         show that dirty bitmap, as context qemu:dirty-bitmap:NAME\n"
    "  -f, --format=FORMAT       the image's format (probed)\n"
    "  -r, --read-only           no writes\n"
    "  -l, --load-snapshot=NAME  show an internal snapshot, read-only\n"
    "  -o, --offset=OFFSET       start there in the image\n"
    "      --image-opts          FILE is a list of options\n"
    "      --cache=MODE          none, writeback (default), writethrough, directsync, unsafe\n"
    "  -n, --nocache             as --cache=none\n"
    "      --aio=MODE            threads, native (with --cache=none), io_uring; default: what is best\n"
    "      --discard=MODE        ignore (default), unmap\n"
    "      --detect-zeroes=MODE  off (default), on, unmap\n"
    "  -h, --help  -V, --version\n";

/* --- -L */

static void print_export(const NbdListed *l)
{
    static const struct { unsigned bit; const char *name; } flags[] = {
        { NBD_READ_ONLY, "readonly" }, { NBD_SEND_FLUSH, "flush" }, { NBD_SEND_FUA, "fua" }, { NBD_SEND_TRIM, "trim" },
        { NBD_SEND_ZEROES, "zeroes" }, { NBD_SEND_DF, "df" }, { NBD_MULTI_CONN, "multi" }, { NBD_SEND_CACHE, "cache" },
        { NBD_SEND_FAST_ZERO, "fast-zero" },
    };
    printf(" export: '%s'\n", l->name);
    if (l->e.description && *l->e.description)
        printf("  description: %s\n", l->e.description);
    printf("  size:  %" PRIu64 "\n", l->e.size);
    printf("  flags: 0x%x (", l->e.flags);
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++)
        if (l->e.flags & flags[i].bit)
            printf(" %s", flags[i].name);
    printf(" )\n");
    if (l->e.min_block) {
        printf("  min block: %u\n  opt block: %u\n  max block: %u\n", l->e.min_block, l->e.preferred, l->e.max_block);
    }
    printf("  available meta contexts: %u\n", l->contexts->len);
    for (unsigned i = 0; i < l->contexts->len; i++)
        printf("   %s\n", (char *)l->contexts->pdata[i]);
}

static bool list(Serve *v, const NbdCreds *tls, GError **err)
{
    g_autofree NbdStream *s = g_new0(NbdStream, 1);
    int fd = nbd_connect(v->aio, &v->address, NULL, err);
    if (fd < 0)
        return false;
    nbd_stream_init(s, v->aio, fd);
    g_autoptr(GPtrArray) out = g_ptr_array_new_with_free_func(nbd_listed_free);
    bool ok = nbd_list(s, tls, v->tls_host ? v->tls_host : v->address.host, out, err);
    nbd_stream_close(s);
    if (!ok)
        return false;
    printf("exports available: %u\n", out->len);
    for (unsigned i = 0; i < out->len; i++)
        print_export(out->pdata[i]);
    return true;
}

/* --- serving */

static void left(void *self, unsigned remaining)
{
    Serve *v = self;
    if (!remaining && !v->persistent)
        on_signal(0);
}

static Json *image_options(Serve *v, GError **err)
{
    Json *o = v->image_opts ? json_from_options("--image-opts", v->filename, "file", err) : json_object();
    if (!o)
        return NULL;
    if (v->format)
        json_set(o, "driver", json_string(v->format));
    if (v->discard)
        json_set(o, "discard", json_string(v->discard));
    if (v->zeroes)
        json_set(o, "detect-zeroes", json_string(v->zeroes));
    return o;
}

static Block *open_image(Serve *v, GError **err)
{
    unsigned flags = v->read_only ? 0 : BLOCK_RDWR;
    if (!block_parse_cache(v->cache ? v->cache : "writeback", &flags, err) ||
        (v->aio_mode && !block_parse_aio(v->aio_mode, &flags, err)))
        return NULL;
    Json *o = image_options(v, err);
    Block *b = o ? block_open(v->graph, v->image_opts ? NULL : v->filename, o, flags, err) : NULL;
    if (b && v->snapshot && !block_snapshot_show(b, v->snapshot, err)) {
        block_close(b);
        return NULL;
    }
    if (!b || !v->offset)
        return b;
    Json *window = json_object();
    json_set(window, "driver", json_string("raw"));
    json_set(window, "file", json_string(block_name(b)));
    json_set(window, "offset", json_u64(v->offset));
    Block *w = block_open(v->graph, NULL, window, flags, err);
    block_close(b);
    return w;
}

static bool write_pid(const char *path, GError **err)
{
    g_autofree char *text = g_strdup_printf("%ld\n", (long)getpid());
    return g_file_set_contents(path, text, -1, err);
}

static bool serve(Serve *v, const NbdCreds *tls, GError **err)
{
    enum { MAX_SOCKETS = 8 };
    int fds[MAX_SOCKETS];
    Block *b = open_image(v, err);
    if (!b)
        return false;
    unsigned n = nbd_listen(&v->address, fds, MAX_SOCKETS, err);
    if (!n || (v->pid_file && !write_pid(v->pid_file, err))) {
        block_close(b);
        return false;
    }
    NbdServerHooks hooks = { v, left };
    NbdServer *s = nbd_server_new(v->aio, tls, (unsigned)v->shared, &hooks);
    nbd_server_export(s, v->name ? v->name : "", v->description, b, !v->read_only);
    for (unsigned i = 0; i < v->bitmaps->len; i++)
        if (!nbd_server_bitmap(s, v->name ? v->name : "", v->bitmaps->pdata[i], err)) {
            for (unsigned k = 0; k < n; k++)
                close(fds[k]);
            nbd_server_stop(s);
            block_close(b);
            return false;
        }
    for (unsigned i = 0; i < n; i++)
        nbd_server_listen(s, fds[i]);
    if (v->verbose)
        fprintf(stderr, "rhea-nbd: %s, %" PRIu64 " bytes, listening\n", block_filename(b), block_length(b));
    if (v->ready >= 0) {
        if (write(v->ready, "", 1) < 0)
            on_signal(0);       /* nobody waits any more */
        close(v->ready);
        v->ready = -1;
        int null = open("/dev/null", O_RDWR);
        for (int i = 0; i < 3 && null >= 0; i++)
            dup2(null, i);
    }
    co_poll(v->aio, v->over[0], POLLIN);
    nbd_server_stop(s);
    int r = block_close(b);
    if (v->address.unix_path)
        unlink(v->address.unix_path);
    if (v->pid_file)
        unlink(v->pid_file);
    return !r || fail_errno(err, -r, "cannot close the image");
}

static void run(void *self)
{
    Serve *v = self;
    GError *err = NULL;
    const NbdCreds *tls = NULL;
    bool ok = true;
    for (unsigned i = 0; i < v->objects->len && ok; i++)
        ok = block_add_object(v->graph, v->objects->pdata[i], &err);
    if (ok && v->tls) {
        tls = block_creds(v->graph, v->tls, &err);
        ok = tls != NULL;
        if (ok && nbd_creds_server(tls) == v->list)
            ok = fail(&err, "TLS credentials '%s' need endpoint=%s", v->tls, v->list ? "client" : "server");
    }
    ok = ok && (v->list ? list(v, tls, &err) : serve(v, tls, &err));
    if (ok)
        return;
    say("%s", err->message);
    g_error_free(err);
    v->failed = true;
}

/* The child goes on; the parent ends when it is told that the socket is ready. */
static bool detach(Serve *v)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC))
        return say("cannot make a pipe: %s", g_strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return say("cannot fork: %s", g_strerror(errno));
    if (pid) {
        char c;
        close(p[1]);
        exit(read(p[0], &c, 1) == 1 ? 0 : 1);
    }
    close(p[0]);
    v->ready = p[1];
    setsid();
    return true;
}

static bool number(const char *what, const char *text, uint64_t max, uint64_t *out)
{
    GError *err = NULL;
    if (parse_u64(what, text, 0, max, out, &err))
        return true;
    say("%s", err->message);
    g_error_free(err);
    return false;
}

static bool parse(Serve *v, int argc, char **argv)
{
    enum { FORK = 256, PID_FILE, OBJECT, TLS, TLS_HOST, IMAGE_OPTS, CACHE, DISCARD, ZEROES, AIO };
    static const struct option options[] = {
        { "port", 1, NULL, 'p' }, { "bind", 1, NULL, 'b' }, { "socket", 1, NULL, 'k' }, { "shared", 1, NULL, 'e' },
        { "persistent", 0, NULL, 't' }, { "verbose", 0, NULL, 'v' }, { "export-name", 1, NULL, 'x' }, { "description", 1, NULL, 'D' }, { "bitmap", 1, NULL, 'B' },
        { "list", 0, NULL, 'L' }, { "fork", 0, NULL, FORK }, { "pid-file", 1, NULL, PID_FILE }, { "object", 1, NULL, OBJECT },
        { "tls-creds", 1, NULL, TLS }, { "tls-hostname", 1, NULL, TLS_HOST }, { "format", 1, NULL, 'f' }, { "read-only", 0, NULL, 'r' },
        { "load-snapshot", 1, NULL, 'l' }, { "offset", 1, NULL, 'o' }, { "image-opts", 0, NULL, IMAGE_OPTS }, { "cache", 1, NULL, CACHE },
        { "aio", 1, NULL, AIO },
        { "nocache", 0, NULL, 'n' }, { "discard", 1, NULL, DISCARD }, { "detect-zeroes", 1, NULL, ZEROES }, { "help", 0, NULL, 'h' },
        { "version", 0, NULL, 'V' }, { NULL },
    };
    GError *err = NULL;
    const char *host = NULL, *port = NULL, *path = NULL;
    for (int c; (c = getopt_long(argc, argv, "p:b:k:e:tvx:D:B:Lf:rl:o:nhV", options, NULL)) != -1;) {
        switch (c) {
        case 'p': port = optarg; break;
        case 'b': host = optarg; break;
        case 'k': path = optarg; break;
        case 'e':
            if (!number("--shared", optarg, 10000, &v->shared))
                return false;
            break;
        case 't': v->persistent = true; break;
        case 'v': v->verbose = true; break;
        case 'x': v->name = optarg; break;
        case 'D': v->description = optarg; break;
        case 'B': g_ptr_array_add(v->bitmaps, optarg); break;
        case 'L': v->list = true; break;
        case FORK: v->fork = true; break;
        case PID_FILE: v->pid_file = optarg; break;
        case OBJECT: g_ptr_array_add(v->objects, optarg); break;
        case TLS: v->tls = optarg; break;
        case TLS_HOST: v->tls_host = optarg; break;
        case 'f': v->format = optarg; break;
        case 'r': v->read_only = true; break;
        case 'l':
            v->snapshot = g_str_has_prefix(optarg, "snapshot.name=") ? optarg + 14 : g_str_has_prefix(optarg, "snapshot.id=") ? optarg + 12 : optarg;
            v->read_only = true;
            break;
        case 'o':
            if (!parse_size("--offset", optarg, 1, &v->offset, &err)) {
                say("%s", err->message);
                g_error_free(err);
                return false;
            }
            break;
        case IMAGE_OPTS: v->image_opts = true; break;
        case CACHE: v->cache = optarg; break;
        case 'n': v->cache = "none"; break;
        case AIO: v->aio_mode = optarg; break;
        case DISCARD: v->discard = optarg; break;
        case ZEROES: v->zeroes = optarg; break;
        case 'h': fputs(usage, stdout); exit(0);
        case 'V': printf("rhea-nbd %s\n", RHEA_VERSION); exit(0);
        default: return say("see rhea-nbd --help");
        }
    }
    if ((v->name && strlen(v->name) > NBD_MAX_NAME) || (v->description && strlen(v->description) > NBD_MAX_NAME))
        return say("export names and descriptions have at most %u bytes", NBD_MAX_NAME);
    if (path && (host || port))
        return say("a unix socket (-k) and an address (-b, -p) exclude each other");
    v->address = path ? (NbdAddress){ .unix_path = g_strdup(path) }
                      : (NbdAddress){ .host = g_strdup(host ? host : v->list ? "localhost" : NULL),
                                      .port = port ? g_strdup(port) : g_strdup_printf("%d", NBD_DEFAULT_PORT) };
    if (v->list)
        return optind == argc || say("-L takes no file");
    if (optind + 1 != argc)
        return say(optind == argc ? "which file? (rhea-nbd --help)" : "unexpected '%s'", argv[argc - 1]);
    v->filename = argv[optind];
    return true;
}

int main(int argc, char **argv)
{
    GError *err = NULL;
    Serve v = { .shared = 1, .ready = -1, .objects = g_ptr_array_new(), .bitmaps = g_ptr_array_new() };
    signal(SIGPIPE, SIG_IGN);
    if (!parse(&v, argc, argv) || (v.fork && !v.list && !detach(&v)))
        return 1;
    v.aio = aio_new(AIO_AUTO, &err);
    if (!v.aio) {
        say("%s", err->message);
        return 1;
    }
    v.graph = block_graph_new(v.aio);
    if (pipe2(v.over, O_CLOEXEC | O_NONBLOCK)) {
        say("cannot make a pipe: %s", g_strerror(errno));
        return 1;
    }
    over_fd = v.over[1];
    struct sigaction sa = { .sa_handler = on_signal };
    sigaction(SIGTERM, &sa, NULL);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGHUP, &sa, NULL);
    aio_run(v.aio, run, &v);
    block_graph_free(v.graph);
    aio_free(v.aio);
    nbd_address_clear(&v.address);
    g_ptr_array_free(v.objects, TRUE);
    return v.failed;
}
