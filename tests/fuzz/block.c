/* SPDX-License-Identifier: GPL-2.0-or-later
 * What a fuzzer feeds to the block layer: images of each format, writes to a vvfat disk, and both ends of NBD.
 *
 * An image of several MiB is mostly zeros, so an input is a list of the pieces that are not:
 *   byte 0           what is done with the image: READ_ONLY ...
 *   then, each:      4 bytes, little-endian: bits 23..0 the sector, bits 31..24 the count of sectors less one
 *                    that many sectors; the input's end may cut the last piece, and that is the image's end */
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "block/nbd/server.h"
#include "tests/fuzz/block.h"
#include "util/endian.h"

enum { SECTOR = 512, WINDOW = 256 << 10, MAX_RUN = 256 };
enum { READ_ONLY = 0, READ_WRITE = 1, CHECK = 2, REPAIR = 3, HOW = 3 };      /* bits 1..0 of byte 0 */

typedef struct Fuzz {
    Aio *aio;
    BlockGraph *graph;
    const char *format;
    bool can_write;
    void (*feed)(struct Fuzz *f, const uint8_t *data, size_t len);
    const uint8_t *data;            /* of the input that runs */
    size_t len;
    char *dir;                      /* of its own; NULL: none */
    /* NBD */
    NbdServer *nbd;
    int listener;                   /* where the client finds the middle */
    char *address;
    struct Middle *middle;          /* of the conversation that goes on; NULL: none */
    bool watched, stop;
    CoQueue watch_ended;
} Fuzz;

/* The program's one; libFuzzer's entry points take no pointer. */
static Fuzz fuzz;

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

/* --- images */
/* 0 <= n bytes of the file's piece at *at begin at data; false: the input has ended. */
static bool next_piece(const uint8_t **data, size_t *len, uint64_t *at, size_t *n)
{
    if (*len < 4)
        return false;
    uint32_t head = load_le32(*data);
    *at = (head & 0xffffff) * (uint64_t)SECTOR;
    *n = MIN(((head >> 24) + 1) * (size_t)SECTOR, *len - 4);
    *data += 4;
    *len -= 4;
    return true;
}

static void write_pieces(int fd, const uint8_t *data, size_t len)
{
    uint64_t at;
    size_t n;
    for (; next_piece(&data, &len, &at, &n); data += n, len -= n)
        if (n ? pwrite(fd, data, n, (off_t)at) != (ssize_t)n : ftruncate(fd, (off_t)at))
            die("writing the image");
}

void fuzz_block_pack(const char *image, const char *input)
{
    g_autofree char *bytes = NULL;
    gsize len = 0;
    GError *err = NULL;
    FILE *out = fopen(input, "wb");
    if (!out || !g_file_get_contents(image, &bytes, &len, &err))
        die(err ? err->message : input);
    fputc(READ_WRITE, out);
    for (gsize at = 0; at < len;) {
        gsize n = 0;
        while (at + n < len && n < MAX_RUN * SECTOR && !buf_is_zero(bytes + at + n, MIN(SECTOR, len - at - n)))
            n += SECTOR;
        /* A file that ends in zeros has its end told by its last sector. */
        if (!n && len - at <= SECTOR)
            n = SECTOR;
        if (n) {
            uint8_t head[4];
            store_le32(head, (uint32_t)(at / SECTOR) | (uint32_t)(n / SECTOR - 1) << 24);
            fwrite(head, 1, sizeof head, out);
            fwrite(bytes + at, 1, MIN(n, len - at), out);
        }
        at += MAX(n, SECTOR);
    }
    if (fclose(out))
        die(input);
}

void fuzz_block_unpack(const char *input, const char *image)
{
    g_autofree char *bytes = NULL;
    gsize len = 0;
    GError *err = NULL;
    FILE *out = fopen(image, "wb");
    if (!out || !g_file_get_contents(input, &bytes, &len, &err))
        die(err ? err->message : image);
    if (len)
        write_pieces(fileno(out), (uint8_t *)bytes + 1, len - 1);
    if (fclose(out))
        die(image);
}

static void map_and_read(Block *b, uint64_t at, uint8_t *buf)
{
    uint64_t end = MIN(block_length(b), at + WINDOW);
    Extent e;
    for (uint64_t p = at; p < end && !block_map(b, p, end - p, &e); p += e.len)
        g_assert_true(e.len && e.len <= end - p);
    if (at < end)
        block_read(b, at, buf, end - at);
}

/* The first one, whatever it is called. */
static void delete_snapshot(Block *b)
{
    GPtrArray *list;
    if (!block_snapshot_list(b, &list, NULL))
        return;
    if (list->len)
        block_snapshot_delete(b, ((BlockSnapshot *)list->pdata[0])->name, NULL);
    g_ptr_array_free(list, TRUE);
}

/* All that one can do with an image; results do not matter, coming back does. */
static void use(Block *b, unsigned how)
{
    g_autofree uint8_t *buf = g_malloc0(WINDOW);
    uint64_t len = block_length(b), far = len > WINDOW ? len - WINDOW : 0;
    BlockInfo info;
    BlockCheck k;
    map_and_read(b, 0, buf);
    map_and_read(b, far, buf);
    map_and_read(b, far / 2 & ~UINT64_C(511), buf);
    if (!block_info(b, &info))
        json_free(info.specific);
    GPtrArray *list;
    if (block_snapshot_list(b, &list, NULL))
        g_ptr_array_unref(list);
    if (block_writable(b) && how == READ_WRITE) {
        size_t n = MIN(len, 1000);
        block_write(b, 0, buf, n, 0);
        block_write(b, far / 2, buf, n, BLOCK_FUA);
        block_zero(b, 0, MIN(len, WINDOW / 2), BLOCK_MAY_UNMAP);
        block_discard(b, far, MIN(len, WINDOW));
        block_write(b, 0, buf, MIN(len, 64 << 10), BLOCK_COMPRESS);
        block_snapshot_create(b, "new", NULL);
        block_write(b, far, buf, MIN(len, WINDOW), 0);
        block_flush(b);
        block_snapshot_apply(b, "1", NULL);
        delete_snapshot(b);
        block_resize(b, len + (1 << 20), PREALLOC_OFF, NULL);
        map_and_read(b, 0, buf);
    }
    if (how == CHECK || how == REPAIR) {
        block_check(b, how == REPAIR ? CHECK_FIX_LEAKS | CHECK_FIX_ERRORS : 0, &k, NULL);
        block_check_clear(&k);
    }
}

static void feed_image(Fuzz *f, const uint8_t *data, size_t len)
{
    static const unsigned flags[] = { [READ_ONLY] = 0, [READ_WRITE] = BLOCK_RDWR, [CHECK] = BLOCK_CHECK, [REPAIR] = BLOCK_RDWR | BLOCK_CHECK };
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0)
        die("memfd_create");
    write_pieces(fd, data + 1, len - 1);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    unsigned how = data[0] & HOW;
    if (!f->can_write && (how & 1))
        how--;
    GError *err = NULL;
    Json *o = json_object();
    json_set(o, "driver", json_string(f->format));
    if (!strcmp(f->format, "luks"))
        json_set(o, "key-secret", json_string("s"));
    Block *b = block_open(f->graph, path, o, flags[how] | BLOCK_NO_BACKING, &err);
    g_assert_true(!b == (err != NULL));
    g_clear_error(&err);
    if (b) {
        use(b, how);
        block_close(b);
    }
    close(fd);
}

/* --- vvfat: the pieces are what a guest writes to the disk that shows a folder.  Nothing beside the folder may change. */
static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    return remove(path);
}

static void feed_vvfat(Fuzz *f, const uint8_t *data, size_t len)
{
    g_autofree char *share = g_build_filename(f->dir, "share", NULL), *folder = g_build_filename(share, "Folder", NULL),
                    *old = g_build_filename(share, "old file.txt", NULL), *inner = g_build_filename(folder, "INNER.BIN", NULL),
                    *link = g_build_filename(share, "link", NULL), *beside = g_build_filename(f->dir, "beside", NULL);
    g_autofree char *text = NULL;
    GError *err = NULL;
    if (mkdir(share, 0700) || mkdir(folder, 0700) || symlink("../beside", link) || !g_file_set_contents(old, "old\n", 4, &err) ||
        !g_file_set_contents(inner, share, -1, &err) || !g_file_set_contents(beside, "beside", -1, &err))
        die(share);
    Json *o = json_object();
    json_set(o, "driver", json_string("vvfat"));
    json_set(o, "dir", json_string(share));
    json_set(o, "rw", json_bool(true));
    json_set(o, "floppy", json_bool(data[0] & 1));
    Block *b = block_open(f->graph, NULL, o, BLOCK_RDWR, &err);
    if (!b)
        die(err->message);
    uint64_t at;
    size_t n;
    for (data++, len--; next_piece(&data, &len, &at, &n); data += n, len -= n)
        if (n)
            block_write(b, at % block_length(b), data, MIN(n, block_length(b) - at % block_length(b)), 0);
        else
            block_flush(b);
    block_flush(b);
    g_autofree uint8_t *buf = g_malloc(WINDOW);
    map_and_read(b, 0, buf);
    block_close(b);
    g_assert_true(g_file_get_contents(beside, &text, NULL, NULL) && !strcmp(text, "beside"));
    if (nftw(share, remove_entry, 16, FTW_DEPTH | FTW_PHYS))
        die(share);
    /* Only what was made above is there. */
    if (remove(beside))
        die(beside);
    GDir *d = g_dir_open(f->dir, 0, NULL);
    g_assert_null(g_dir_read_name(d));
    g_dir_close(d);
}

/* --- NBD: our client talks with our server, and the input changes what goes in one direction:
 *   2 bytes, little-endian: bytes that pass unchanged; then one: bits 7..6 the Edit, bits 5..0 the count; then bytes. */
typedef enum Edit { REPLACE, INSERT, DROP, HANG_UP } Edit;
typedef struct Middle {
    Fuzz *f;
    int client, server;             /* ends of the two connections */
    const uint8_t *edits;
    size_t left;
    unsigned running;
    uint64_t moved;                 /* counts what has been passed on, for the watchdog */
    CoQueue ended;
} Middle;
static void feed_nbd_server(Fuzz *f, const uint8_t *data, size_t len);
typedef struct Direction { Middle *m; int from, to; bool edited; } Direction;

static void say(Middle *m, int fd, const uint8_t *buf, size_t len)
{
    while (len) {
        ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);
        if (n < 0 && (errno != EAGAIN || co_poll(m->f->aio, fd, POLLOUT) < 0))
            return;                     /* the reader of the other direction notices as well */
        if (n > 0)
            buf += n, len -= (size_t)n, m->moved++;
    }
}

/* Passes buf on as the edits want it.  *skip: bytes to the next edit. */
static bool edit(Middle *m, int to, const uint8_t *buf, size_t len, size_t *skip)
{
    for (;;) {
        size_t n = MIN(len, *skip);
        say(m, to, buf, n);
        buf += n, len -= n, *skip -= n;
        if (*skip || !m->left)
            return true;
        Edit what = m->edits[0] >> 6;
        n = MIN(m->edits[0] & 63, m->left - 1);
        m->edits++, m->left--;
        if (what == HANG_UP)
            return false;
        if (what != DROP) {
            say(m, to, m->edits, n);
            m->edits += n, m->left -= n;
        }
        if (what != INSERT) {
            size_t gone = MIN(n, len);
            buf += gone, len -= gone;
        }
        *skip = m->left >= 3 ? load_le16(m->edits) : SIZE_MAX;
        m->edits += MIN(2, m->left), m->left -= MIN(2, m->left);
    }
}

static void pass_on(void *self)
{
    Direction *d = self;
    Middle *m = d->m;
    uint8_t buf[8192];
    size_t skip = SIZE_MAX;
    ssize_t n;
    if (d->edited && m->left >= 3) {
        skip = load_le16(m->edits);
        m->edits += 2, m->left -= 2;
    }
    while (co_poll(m->f->aio, d->from, POLLIN) >= 0 && (n = read(d->from, buf, sizeof buf)) > 0)
        if (!edit(m, d->to, buf, (size_t)n, &skip))
            break;
    shutdown(d->from, SHUT_RDWR);
    shutdown(d->to, SHUT_RDWR);
    if (!--m->running)
        co_queue_wake_all(&m->ended);
    g_free(d);
}

static void start_direction(Middle *m, int from, int to, bool edited)
{
    Direction *d = g_new(Direction, 1);
    *d = (Direction){ m, from, to, edited };
    m->running++;
    co_start(pass_on, d);
}

/* An edit can make either end wait for what never comes.  Whoever is silent for two rounds is hung up on. */
static void watch(void *self)
{
    Fuzz *f = self;
    uint64_t seen = 0;
    while (!f->stop) {
        co_sleep_ns(f->aio, 3000000);
        Middle *m = f->middle;
        if (m && m->moved == seen) {
            shutdown(m->client, SHUT_RDWR);
            shutdown(m->server, SHUT_RDWR);
        }
        seen = m ? m->moved : 0;
    }
    f->watched = false;
    co_queue_wake_all(&f->watch_ended);
}

static void stop_nbd(void *self)
{
    Fuzz *f = self;
    nbd_server_stop(f->nbd);
    f->stop = true;
    while (f->watched)
        co_queue_wait(&f->watch_ended);
}

static void accept_client(void *self)
{
    Middle *m = self;
    Fuzz *f = m->f;
    int fds[2];
    while (m->client < 0 && co_poll(f->aio, f->listener, POLLIN) >= 0)
        m->client = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
        die("socketpair");
    m->server = fds[1];
    nbd_server_client(f->nbd, fds[0]);
    bool to_server = f->feed == feed_nbd_server;
    f->middle = m;
    start_direction(m, m->client, m->server, to_server);
    start_direction(m, m->server, m->client, !to_server);
    if (!--m->running)
        co_queue_wake_all(&m->ended);
}

static void converse(Fuzz *f, const uint8_t *data, size_t len)
{
    Middle m = { .f = f, .client = -1, .server = -1, .edits = data, .left = len, .running = 1 };
    co_start(accept_client, &m);

    g_autofree char *name = g_strdup_printf("nbd+unix:///?socket=%s", f->address);
    Block *b = block_open(f->graph, name, NULL, BLOCK_RDWR, NULL);
    if (b) {
        use(b, READ_WRITE);
        block_close(b);
    }
    while (m.running)
        co_queue_wait(&m.ended);
    f->middle = NULL;
    close(m.client);
    close(m.server);
}

/* Two names, since the program's target is told by them. */
static void feed_nbd_server(Fuzz *f, const uint8_t *data, size_t len) { converse(f, data, len); }
static void feed_nbd_client(Fuzz *f, const uint8_t *data, size_t len) { converse(f, data, len); }

static void start_nbd(void *self)
{
    Fuzz *f = self;
    GError *err = NULL;
    Block *b = block_open(f->graph, "json:{\"driver\":\"null-co\",\"size\":\"16M\",\"read-zeroes\":true}", NULL, BLOCK_RDWR, &err);
    if (!b)
        die(err->message);
    f->nbd = nbd_server_new(f->aio, NULL, 0, NULL);
    nbd_server_export(f->nbd, "", "the only one", b, true);
    block_close(b);
    f->address = g_build_filename(f->dir, "socket", NULL);
    NbdAddress a = { .unix_path = f->address };
    if (!nbd_listen(&a, &f->listener, 1, &err))
        die(err->message);
    f->watched = true;
    co_start(watch, f);
}

static void feed(void *self)
{
    Fuzz *f = self;
    f->feed(f, f->data, f->len);
}

void fuzz_block_start(const char *target)
{
    const BlockDriver *d = block_driver(target);
    GError *err = NULL;
    fuzz = (Fuzz){ .format = target, .can_write = d && block_driver_options(d) };
    fuzz.feed = !strcmp(target, "nbd-server") ? feed_nbd_server : !strcmp(target, "nbd-client") ? feed_nbd_client
              : !strcmp(target, "vvfat") ? feed_vvfat : d && block_driver_is_format(d) ? feed_image : NULL;
    if (!fuzz.feed) {
        fprintf(stderr, "'%s' is no image format, nor vvfat, nbd-server or nbd-client\n", target);
        exit(1);
    }
    fuzz.aio = aio_new(AIO_AUTO, &err);
    if (!fuzz.aio)
        die(err->message);
    fuzz.graph = block_graph_new(fuzz.aio);
    if (!block_add_object(fuzz.graph, "secret,id=s,data=pw", &err))
        die(err->message);
    if (fuzz.feed == feed_image)
        return;
    fuzz.dir = g_dir_make_tmp("rhea-fuzz-XXXXXX", &err);
    if (!fuzz.dir)
        die(err->message);
    if (fuzz.feed != feed_vvfat)
        aio_run(fuzz.aio, start_nbd, &fuzz);
}

void fuzz_block_input(const uint8_t *data, size_t len)
{
    if (!len)
        return;
    fuzz.data = data;
    fuzz.len = len;
    aio_run(fuzz.aio, feed, &fuzz);
}

void fuzz_block_stop(void)
{
    if (fuzz.nbd) {
        aio_run(fuzz.aio, stop_nbd, &fuzz);
        close(fuzz.listener);
        unlink(fuzz.address);
        g_free(fuzz.address);
    }
    if (fuzz.dir)
        rmdir(fuzz.dir);
    g_free(fuzz.dir);
    block_graph_free(fuzz.graph);
    aio_free(fuzz.aio);
}
