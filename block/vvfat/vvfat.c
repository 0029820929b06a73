/* SPDX-License-Identifier: GPL-2.0-or-later
 * vvfat: the driver (vvfat_int.h). */
#include "block/vvfat/vvfat_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/error.h"
#include "util/log.h"

enum { PIECE = 1 << 20 };

/* --- options */

/* fat:[floppy:][12:|16:|32:][rw:]FOLDER */
static bool vvfat_filename(const char *prefix, const char *name, Json *o, GError **err)
{
    static const struct { const char *word, *key, *value; } words[] = {
        { "floppy:", "floppy", "on" }, { "rw:", "rw", "on" }, { "12:", "fat-type", "12" }, { "16:", "fat-type", "16" },
        { "32:", "fat-type", "32" },
    };
    for (bool found = true; found;) {
        found = false;
        for (unsigned i = 0; i < ARRAY_LEN(words); i++)
            if (g_str_has_prefix(name, words[i].word)) {
                json_set(o, words[i].key, json_string(words[i].value));
                name += strlen(words[i].word);
                found = true;
            }
    }
    if (!*name)
        return fail(err, "fat: is followed by a folder (fat:[floppy:][12:|16:|32:][rw:]FOLDER)");
    json_set(o, "dir", json_string(name));
    return true;
}

static bool read_options(Block *b, Fat *f, GError **err)
{
    const char *dir = NULL, *label = "RHEA VVFAT";
    uint64_t type = 0;
    if (!block_opt_string(b->options, "dir", &dir, err) || !block_opt_u64(b->options, "fat-type", 32, &type, err) ||
        !block_opt_bool(b->options, "floppy", &f->floppy, err) || !block_opt_string(b->options, "label", &label, err) ||
        !block_opt_bool(b->options, "rw", &f->rw, err))
        return false;
    if (!dir)
        return fail(err, "vvfat: option 'dir' is missing");
    if (type && type != 12 && type != 16 && type != 32)
        return fail(err, "fat-type %" PRIu64 " is none of 12, 16, 32", type);
    if (strlen(label) > 11)
        return fail(err, "label '%s' is longer than 11 bytes", label);
    for (const char *p = label; *p; p++)
        if ((uint8_t)*p < 0x20 || strchr("\"*+,./:;<=>?[\\]|", *p) || *(const signed char *)p < 0)
            return fail(err, "label '%s' has characters that FAT does not allow in labels", label);
    f->dir = g_strdup(dir);
    f->type = (unsigned)type;
    memset(f->label, ' ', 11);
    for (unsigned i = 0; label[i]; i++)
        f->label[i] = g_ascii_toupper(label[i]);
    if ((b->flags & BLOCK_RDWR) && !f->rw) {
        if (!(b->flags & BLOCK_MAY_READ_ONLY))
            return fail(err, "%s is shown read-only unless rw is asked for (fat:rw:FOLDER, rw=on)", dir);
        b->flags &= ~(unsigned)BLOCK_RDWR;
    }
    g_free(b->filename);
    g_autofree char *number = type ? g_strdup_printf("%u:", f->type) : g_strdup("");
    b->filename = g_strdup_printf("fat:%s%s%s%s", f->floppy ? "floppy:" : "", number, f->rw ? "rw:" : "", dir);
    return true;
}

static bool make_over(Fat *f, GError **err)
{
    const char *folder = g_getenv("TMPDIR");
    folder = folder && *folder ? folder : "/var/tmp";
    f->over = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (f->over < 0) {
        g_autofree char *path = g_build_filename(folder, "rhea-XXXXXX", NULL);
        f->over = mkostemp(path, O_CLOEXEC);
        if (f->over < 0)
            return fail_errno(err, errno, "cannot make a file for the guest's writes in %s", folder);
        unlink(path);
    }
    f->written = g_malloc0(f->sectors / 8 + 1);
    f->dirty = g_malloc0(f->sectors / 8 + 1);
    return true;
}

static bool vvfat_open(Block *b, GError **err)
{
    Fat *f = b->state;
    f->root_fd = f->over = -1;
    f->dead = g_ptr_array_new_with_free_func((GDestroyNotify)vvfat_node_free);
    for (unsigned i = 0; i < OPEN_FILES; i++)
        f->open[i].fd = -1;
    if (!read_options(b, f, err) || !vvfat_lay_out(f, err) || ((b->flags & BLOCK_RDWR) && !make_over(f, err)))
        return false;
    b->length = f->sectors * SECTOR;
    b->align = SECTOR;
    return true;
}

static int vvfat_close(Block *b)
{
    Fat *f = b->state;
    int r = 0;
    if (b->opened && f->any_dirty) {
        r = vvfat_mirror(b);
        if (f->any_dirty)
            log_warn(b->node_name, "the guest's last changes are not in %s: %s", f->dir, f->complaint ? f->complaint : g_strerror(-r));
    }
    for (unsigned i = 0; i < OPEN_FILES; i++)
        if (f->open[i].fd >= 0)
            close(f->open[i].fd);
    for (unsigned i = 0; f->runs && i < f->runs->len; i++)
        g_free(g_array_index(f->runs, Run, i).data);
    if (f->runs)
        g_array_free(f->runs, TRUE);
    if (f->root)
        vvfat_node_free(f->root);
    g_ptr_array_free(f->dead, TRUE);
    if (f->over >= 0)
        close(f->over);
    if (f->root_fd >= 0)
        close(f->root_fd);
    g_free(f->written);
    g_free(f->dirty);
    g_free(f->head);
    g_free(f->dir);
    g_free(f->complaint);
    return r;
}

/* --- reading */

void vvfat_forget_file(Fat *f, Node *n)
{
    for (unsigned i = 0; i < OPEN_FILES; i++)
        if (f->open[i].node == n && !f->open[i].users) {
            close(f->open[i].fd);
            f->open[i] = (OpenFile){ .fd = -1 };
        }
}

static int open_node(const Fat *f, const Node *n)
{
    int folder = vvfat_open_folder(f, n->parent);
    if (folder < 0)
        return -errno;
    int fd = openat(folder, n->host_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), r = fd < 0 ? -errno : fd;
    struct stat st;
    close(folder);
    if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode))) {
        close(fd);
        r = -EIO;
    }
    return r;
}

/* Bytes of a file from `at`; zeros past its end. */
static int read_file(Block *b, Node *n, uint64_t at, uint8_t *out, uint64_t len)
{
    Fat *f = b->state;
    OpenFile *o = NULL, own = { .fd = -1 };
    for (unsigned i = 0; i < OPEN_FILES && !o; i++)
        if (f->open[i].node == n)
            o = &f->open[i];
    for (unsigned i = 0; i < OPEN_FILES && !o; i++) {
        OpenFile *old = &f->open[f->next_open++ % OPEN_FILES];
        if (old->users)
            continue;
        if (old->fd >= 0)
            close(old->fd);
        *old = (OpenFile){ .fd = -1 };
        o = old;
    }
    o = o ? o : &own;
    if (o->fd < 0) {
        int fd = open_node(f, n);
        if (fd < 0)
            return fd;
        *o = (OpenFile){ .node = n, .fd = fd };
    }
    o->users++;
    struct iovec v = { out, len };
    int64_t done = co_preadv(b->aio, o->fd, &v, 1, at, AIO_CACHED);
    if (done >= 0)
        memset(out + done, 0, len - (uint64_t)done);
    o->users--;
    if (own.fd >= 0)
        close(own.fd);
    return done < 0 ? (int)done : 0;
}

/* Sectors that the guest has not written: as they were at the start.  How many were read (at least 1), or -errno. */
static int64_t read_first(Block *b, uint64_t sector, uint64_t n, uint8_t *out)
{
    Fat *f = b->state;
    if (sector < f->data) {
        n = MIN(n, f->data - sector);
        memcpy(out, f->head + sector * SECTOR, n * SECTOR);
        return (int64_t)n;
    }
    uint32_t c = (uint32_t)((sector - f->data) / f->cluster_sectors) + 2;
    const Run *r = vvfat_run(f, c);
    if (!r) {
        n = MIN(n, cluster_sector(f, c + 1) - sector);
        memset(out, 0, n * SECTOR);
        return (int64_t)n;
    }
    uint64_t inside = sector - cluster_sector(f, r->first);
    n = MIN(n, (uint64_t)r->n * f->cluster_sectors - inside);
    int result = 0;
    if (r->data)
        memcpy(out, r->data + inside * SECTOR, n * SECTOR);
    else if (r->node->gone)
        memset(out, 0, n * SECTOR);
    else
        result = read_file(b, r->node, r->at + inside * SECTOR, out, n * SECTOR);
    return result ? result : (int64_t)n;
}

/* How many of n sectors from here on are alike in being written or not. */
static uint64_t alike(const Fat *f, uint64_t sector, uint64_t n)
{
    if (!f->written)
        return n;
    bool first = bit_get(f->written, sector);
    uint64_t i = 1;
    while (i < n && bit_get(f->written, sector + i) == first)
        i++;
    return i;
}

int vvfat_read_sectors(Block *b, uint64_t sector, uint64_t n, uint8_t *out)
{
    Fat *f = b->state;
    while (n) {
        int64_t done = (int64_t)alike(f, sector, n);
        if (f->written && bit_get(f->written, sector)) {
            struct iovec v = { out, (size_t)done * SECTOR };
            int64_t r = co_preadv(b->aio, f->over, &v, 1, sector * SECTOR, AIO_CACHED);
            if (r != done * SECTOR)
                return r < 0 ? (int)r : -EIO;
        } else {
            done = read_first(b, sector, (uint64_t)done, out);
            if (done < 0)
                return (int)done;
        }
        sector += (uint64_t)done;
        n -= (uint64_t)done;
        out += done * SECTOR;
    }
    return 0;
}

static int vvfat_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    uint64_t len = iov_size(v, nv);
    if (nv == 1)
        return vvfat_read_sectors(b, at / SECTOR, len / SECTOR, v->iov_base);
    uint8_t *buf = block_memory(MIN(len, PIECE));
    int r = buf ? 0 : -ENOMEM;
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        n = MIN(len - done, PIECE);
        r = vvfat_read_sectors(b, (at + done) / SECTOR, n / SECTOR, buf);
        if (!r)
            iov_from_buf(v, nv, done, buf, n);
    }
    free(buf);
    return r;
}

static int vvfat_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    Fat *f = b->state;
    uint64_t sector = at / SECTOR, n = alike(f, sector, (len + at % SECTOR + SECTOR - 1) / SECTOR);
    *out = (Extent){ .flags = EXTENT_ALLOCATED | EXTENT_DATA };
    if (!(f->written && bit_get(f->written, sector)) && sector >= f->data) {
        uint32_t c = (uint32_t)((sector - f->data) / f->cluster_sectors) + 2, end = c;
        const Run *r = vvfat_run(f, c);
        /* Clusters were given out from the first on, without gaps. */
        if (!r)
            out->flags = EXTENT_ALLOCATED | EXTENT_ZERO;
        end = r ? r->first + r->n : f->n_clusters + 3;
        if (r)
            n = MIN(n, cluster_sector(f, end) - sector);
    } else if (sector < f->data) {
        n = MIN(n, f->data - sector);
    }
    out->len = MIN(len, n * SECTOR - at % SECTOR);
    return 0;
}

/* --- writing */

static void mark(Fat *f, uint64_t sector, uint64_t n)
{
    for (uint64_t i = sector; i < sector + n; i++) {
        bit_put(f->written, i);
        bit_put(f->dirty, i);
    }
    f->any_dirty = true;
}

static int write_over(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Fat *f = b->state;
    int64_t len = (int64_t)iov_size(v, nv), n = co_pwritev(b->aio, f->over, v, nv, at, 0);
    return n == len ? 0 : n < 0 ? (int)n : -ENOSPC;
}

static int vvfat_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Fat *f = b->state;
    co_mutex_lock(&f->lock);
    int r = write_over(b, at, v, nv);
    if (!r)
        mark(f, at / SECTOR, iov_size(v, nv) / SECTOR);
    co_mutex_unlock(&f->lock);
    return r;
}

int vvfat_keep_cluster(Block *b, uint32_t cluster)
{
    Fat *f = b->state;
    g_autofree uint8_t *buf = g_malloc(SECTOR);
    int r = 0;
    for (uint64_t s = cluster_sector(f, cluster), i = 0; i < f->cluster_sectors && !r; i++, s++) {
        if (bit_get(f->written, s))
            continue;
        struct iovec v = { buf, SECTOR };
        r = vvfat_read_sectors(b, s, 1, buf);
        if (!r)
            r = write_over(b, s * SECTOR, &v, 1);
        if (!r)
            bit_put(f->written, s);
    }
    return r;
}

static int vvfat_flush(Block *b)
{
    Fat *f = b->state;
    co_mutex_lock(&f->lock);
    int r = f->any_dirty ? vvfat_mirror(b) : 0;
    co_mutex_unlock(&f->lock);
    return r;
}

const BlockDriver block_vvfat_driver = {
    .name = "vvfat", .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(Fat), .prefixes = { "fat:" }, .parse_filename = vvfat_filename,
    .co_open = vvfat_open, .co_close = vvfat_close, .co_read = vvfat_read, .co_write = vvfat_write, .co_flush = vvfat_flush,
    .co_map = vvfat_map,
};
