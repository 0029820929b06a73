/* SPDX-License-Identifier: GPL-2.0-or-later
 * The guest's file system carried to the host folder (vvfat_int.h).
 *
 * First the whole of the guest's FAT and folders is read.  Anything that does not fit together (a cluster used twice, a
 * chain that ends early or in nowhere, a loop) means that the guest is in the middle of something, or hostile: then nothing
 * is done now.  Then the two trees are matched, by first clusters (which survive renames), then by names, and the host's is
 * changed until it is like the guest's.  Contents of new files, and of those that do not simply go on where they were, are
 * written to a file beside and renamed, so no half-written file ever has the name.  A file is deleted only when its first
 * cluster is free or another's: a name that has gone while the chain stands may come back under another name.
 *
 * Nothing outside the folder is reached: folders are opened one name at a time without following links, and names are
 * those of single files.  What others changed on the host meanwhile is left alone. */
#include "block/vvfat/vvfat_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/endian.h"
#include "util/log.h"

enum { MAX_FOUND = 1 << 20, MAX_FOLDER = 16 << 20, MAX_PASSES = 64, PIECE = 1 << 20 };
#define TEMPORARY ".rhea-"

typedef struct Found {
    struct Found *parent;
    char      *name;
    bool       folder;
    uint32_t   size, *chain, n_chain;
    uint16_t   date, time;
    Node      *node;            /* its like on the host */
    GPtrArray *kids;
} Found;

typedef struct Mirror {
    Block     *b;
    Fat       *f;
    uint8_t   *fat, *used;      /* a bit a cluster */
    Found     *root;
    unsigned   n_found, blocked, done, n_temporary;
    const char *inconsistent;
    int        error;           /* of the host, the first */
} Mirror;

static void found_free(Found *g)
{
    for (unsigned i = 0; g->kids && i < g->kids->len; i++)
        found_free(g->kids->pdata[i]);
    if (g->kids)
        g_ptr_array_free(g->kids, TRUE);
    g_free(g->name);
    g_free(g->chain);
    g_free(g);
}

/* --- what the guest has */

static bool odd(Mirror *m, const char *why)
{
    m->inconsistent = m->inconsistent ? m->inconsistent : why;
    return false;
}

static bool take_chain(Mirror *m, uint32_t first, uint32_t **out, uint32_t *n)
{
    const Fat *f = m->f;
    GArray *a = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    bool ok = true;
    for (uint32_t c = first; ok && c < fat_end(f); c = vvfat_fat_get(f, m->fat, c)) {
        if (c < 2 || c - 2 >= f->n_clusters) {
            ok = odd(m, "a chain of clusters leads nowhere");
        } else if (bit_get(m->used, c)) {
            ok = odd(m, "a cluster is used twice");
        } else {
            bit_put(m->used, c);
            g_array_append_val(a, c);
        }
        if (!ok)
            break;
    }
    *n = a->len;
    *out = (uint32_t *)(void *)g_array_free(a, FALSE);
    return ok;
}

static bool name_ok(const char *name)
{
    return *name && strcmp(name, ".") && strcmp(name, "..") && !strchr(name, '/') && strlen(name) <= 255 &&
           !g_str_has_prefix(name, TEMPORARY);
}

/* Parts of a long name come before the short one, the last part first. */
typedef struct Long { uint16_t units[260]; unsigned expect; uint8_t sum; bool any; } Long;

static void take_part(Long *l, const uint8_t *e)
{
    static const uint8_t places[13] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    unsigned part = e[0] & 0x1f;
    if (e[0] & 0x40 && part && part <= 20) {
        memset(l->units, 0, sizeof l->units);
        l->any = true;
        l->expect = part;
        l->sum = e[13];
    }
    if (!l->any || part != l->expect || !part || e[13] != l->sum) {
        l->any = false;
        return;
    }
    l->expect--;
    for (unsigned i = 0; i < 13; i++)
        l->units[(part - 1) * 13 + i] = load_le16(e + places[i]);
}

static char *long_name(const Long *l, const uint8_t *e)
{
    if (!l->any || l->expect || l->sum != vvfat_short_sum(e))
        return NULL;
    unsigned n = 0;
    while (n < ARRAY_LEN(l->units) && l->units[n] && l->units[n] != 0xffff)
        n++;
    return g_utf16_to_utf8(l->units, n, NULL, NULL, NULL);
}

/* The case of its two parts is in byte 12, as Windows NT began to have it.  Bytes above 7f as in Latin-1, for want of a better
 * guess at the guest's code page. */
static char *short_to_name(const uint8_t *e)
{
    g_autoptr(GString) s = g_string_new(NULL);
    for (unsigned i = 0; i < 11; i++) {
        uint8_t c = i == 0 && e[0] == 0x05 ? 0xe5 : e[i];
        unsigned last = i < 8 ? 8 : 11, k = i;
        while (k < last && e[k] == ' ')
            k++;
        if (k == last) {        /* blanks to the end of the part */
            i = last - 1;
            continue;
        }
        if (i == 8)
            g_string_append_c(s, '.');
        bool lower = e[12] & (i < 8 ? 0x08 : 0x10);
        g_string_append_unichar(s, lower ? (gunichar)g_ascii_tolower((char)c) & 0xff : c);
    }
    return g_strdup(s->str);
}

static bool take_folder(Mirror *m, Found *folder, unsigned depth);

static bool take_entry(Mirror *m, Found *folder, GHashTable *names, const uint8_t *e, char *name, unsigned depth)
{
    const Fat *f = m->f;
    uint32_t first = load_le16(e + 26) | (f->type == 32 ? (uint32_t)load_le16(e + 20) << 16 : 0);
    if (++m->n_found > MAX_FOUND) {
        g_free(name);
        return odd(m, "there are more than a million files");
    }
    if (!g_hash_table_add(names, g_utf8_casefold(name, -1))) {
        g_free(name);
        return odd(m, "two files of a folder have one name");
    }
    Found *g = g_new0(Found, 1);
    g_ptr_array_add(folder->kids, g);
    g->parent = folder;
    g->name = name;
    g->folder = e[11] & ATTR_FOLDER;
    g->size = g->folder ? 0 : load_le32(e + 28);
    g->time = load_le16(e + 22);
    g->date = load_le16(e + 24);
    if (first && !take_chain(m, first, &g->chain, &g->n_chain))
        return false;
    if (g->folder) {
        g->kids = g_ptr_array_new();
        return g->n_chain ? take_folder(m, g, depth + 1) : odd(m, "a folder has no cluster");
    }
    return (uint64_t)g->n_chain * cluster_bytes(f) >= g->size || odd(m, "a file is longer than its chain of clusters");
}

static int read_chain(Mirror *m, const Found *g, uint8_t *out)
{
    int r = 0;
    for (uint32_t i = 0; i < g->n_chain && !r; i++)
        r = vvfat_read_sectors(m->b, cluster_sector(m->f, g->chain[i]), m->f->cluster_sectors, out + (size_t)i * cluster_bytes(m->f));
    return r;
}

static bool take_folder(Mirror *m, Found *folder, unsigned depth)
{
    const Fat *f = m->f;
    bool fixed_root = !folder->parent && f->type != 32;
    uint64_t len = fixed_root ? (uint64_t)f->root_entries * DIR_ENTRY : (uint64_t)folder->n_chain * cluster_bytes(f);
    if (depth > MAX_DEPTH || len > MAX_FOLDER)
        return odd(m, "folders are nested too deep, or one is too large");
    g_autofree uint8_t *bytes = g_try_malloc0(len + 1);
    int r = !bytes ? -ENOMEM
          : fixed_root ? vvfat_read_sectors(m->b, f->start + f->reserved + 2 * f->fat_sectors, len / SECTOR, bytes)
          : read_chain(m, folder, bytes);
    if (r) {
        m->error = r;
        return odd(m, "a folder cannot be read");
    }
    Long *l = g_new0(Long, 1);
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool ok = true;
    for (uint64_t i = 0; ok && i + DIR_ENTRY <= len && bytes[i]; i += DIR_ENTRY) {
        const uint8_t *e = bytes + i;
        if ((e[11] & 0x3f) == ATTR_LONG && e[0] != 0xe5) {
            take_part(l, e);
            continue;
        }
        char *name = e[0] == 0xe5 || (e[11] & ATTR_LABEL) || e[0] == '.' ? NULL : long_name(l, e);
        if (e[0] != 0xe5 && !(e[11] & ATTR_LABEL) && e[0] != '.') {
            name = name ? name : short_to_name(e);
            /* A name that no file of the host can have: as if it were not there. */
            if (name_ok(name))
                ok = take_entry(m, folder, names, e, name, depth);
            else
                g_free(name);
        }
        l->any = false;
    }
    g_hash_table_destroy(names);
    g_free(l);
    return ok;
}

/* Whether the disk still has the file system that we made. */
static bool same_disk(Mirror *m)
{
    const Fat *f = m->f;
    g_autofree uint8_t *now = g_malloc(SECTOR);
    const uint8_t *boot = f->head + (size_t)f->start * SECTOR;
    unsigned end = f->type == 32 ? 48 : 24;
    m->error = vvfat_read_sectors(m->b, f->start, 1, now);
    if (m->error || memcmp(now + 11, boot + 11, end - 11))
        return odd(m, "the guest has made another file system there");
    return true;
}

static bool take_all(Mirror *m)
{
    Fat *f = m->f;
    if (!same_disk(m))
        return false;
    m->fat = g_try_malloc((size_t)f->fat_sectors * SECTOR + 4);
    m->used = g_malloc0(f->n_clusters / 8 + 2);
    m->error = m->fat ? vvfat_read_sectors(m->b, f->start + f->reserved, f->fat_sectors, m->fat) : -ENOMEM;
    if (m->error)
        return odd(m, "the FAT cannot be read");
    m->root = g_new0(Found, 1);
    m->root->folder = true;
    m->root->kids = g_ptr_array_new();
    if (f->type == 32 && !take_chain(m, f->root->chain[0], &m->root->chain, &m->root->n_chain))
        return false;
    return take_folder(m, m->root, 0);
}

/* --- matching */

static void index_nodes(GHashTable *by_cluster, Node *n)
{
    n->found = NULL;
    if (n->n_chain)
        g_hash_table_insert(by_cluster, GUINT_TO_POINTER(n->chain[0]), n);
    for (unsigned i = 0; n->folder && i < n->kids->len; i++)
        index_nodes(by_cluster, n->kids->pdata[i]);
}

static void match_clusters(GHashTable *by_cluster, Found *g)
{
    Node *n = g->n_chain ? g_hash_table_lookup(by_cluster, GUINT_TO_POINTER(g->chain[0])) : NULL;
    if (!g->node && n && n->parent && !n->found && n->folder == g->folder) {
        g->node = n;
        n->found = g;
    }
    for (unsigned i = 0; g->folder && i < g->kids->len; i++)
        match_clusters(by_cluster, g->kids->pdata[i]);
}

static bool same_name(const char *a, const char *b)
{
    g_autofree char *x = g_utf8_casefold(a, -1), *y = g_utf8_casefold(b, -1);
    return !strcmp(x, y);
}

static void match_names(Found *folder)
{
    GHashTable *names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (unsigned i = 0; folder->node && i < folder->node->kids->len; i++) {
        Node *n = folder->node->kids->pdata[i];
        if (!n->found)
            g_hash_table_insert(names, g_utf8_casefold(n->fat_name, -1), n);
    }
    for (unsigned i = 0; i < folder->kids->len; i++) {
        Found *g = folder->kids->pdata[i];
        g_autofree char *key = g_utf8_casefold(g->name, -1);
        Node *n = g->node ? NULL : g_hash_table_lookup(names, key);
        if (n && n->folder == g->folder) {
            g->node = n;
            n->found = g;
            g_hash_table_remove(names, key);
        }
        if (g->folder)
            match_names(g);
    }
    g_hash_table_destroy(names);
}

/* Nothing of the guest's has its clusters any more. */
static bool deletable(const Mirror *m, const Node *n)
{
    return !n->found && (!n->n_chain || !vvfat_fat_get(m->f, m->fat, n->chain[0]) || bit_get(m->used, n->chain[0]));
}

/* --- the host */

static void failed(Mirror *m, const Node *folder, const char *name, const char *what)
{
    int e = errno;
    log_warn(m->b->node_name, "%s: cannot %s %s%s: %s", m->f->dir, what, folder && folder->parent ? ".../" : "", name,
             g_strerror(e));
    m->error = m->error ? m->error : -e;
}

static void estrange(Mirror *m, Node *n)
{
    log_warn(m->b->node_name, "%s: %s was changed on the host meanwhile; what the guest does to it stays with the guest", m->f->dir,
             n->host_name);
    n->foreign = true;
}

/* Whether the file or folder is the one that we know, and as we left it. */
static bool is_ours(const Node *n, int folder_fd)
{
    struct stat st;
    return !fstatat(folder_fd, n->host_name, &st, AT_SYMLINK_NOFOLLOW) && st.st_dev == n->dev && st.st_ino == n->ino &&
           (n->folder ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode) && st.st_size == n->size &&
            st.st_mtim.tv_sec == n->mtime.tv_sec && st.st_mtim.tv_nsec == n->mtime.tv_nsec);
}

static void learn(Node *n, const struct stat *st)
{
    n->dev = st->st_dev;
    n->ino = st->st_ino;
    n->mtime = st->st_mtim;
    n->size = n->folder ? 0 : (uint32_t)st->st_size;
}

static void learn_chain(Node *n, const Found *g)
{
    g_free(n->chain);
    n->n_chain = g->n_chain;
    n->chain = g_memdup2(g->chain, g->n_chain * sizeof *g->chain);
}

/* It is no longer on the host; parts of the disk may still name it. */
static void retire(Mirror *m, Node *n)
{
    vvfat_forget_file(m->f, n);
    g_ptr_array_remove(n->parent->kids, n);
    n->gone = true;
    g_ptr_array_add(m->f->dead, n);
}

static Node *occupant(const Node *folder, const char *name, const Node *but)
{
    for (unsigned i = 0; i < folder->kids->len; i++) {
        Node *n = folder->kids->pdata[i];
        if (n != but && (!strcmp(n->host_name, name) || same_name(n->fat_name, name)))
            return n;
    }
    return NULL;
}

static int rename_to_free(int from, const char *old, int to, const char *new)
{
    struct stat st;
    if (!renameat2(from, old, to, new, RENAME_NOREPLACE))
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (!fstatat(to, new, &st, AT_SYMLINK_NOFOLLOW)) {      /* the file system cannot do it in one */
        errno = EEXIST;
        return -1;
    }
    return renameat(from, old, to, new);
}

/* The place is free, or becomes it by replacing *old, a file that may go. */
static bool place_free(Mirror *m, const Node *folder, const char *name, const Node *mover, bool is_folder, Node **old)
{
    *old = occupant(folder, name, mover);
    if (!*old)
        return true;
    if (!is_folder && !(*old)->folder && !(*old)->foreign && deletable(m, *old))
        return true;
    m->blocked++;
    return false;
}

static void move(Mirror *m, Found *g)
{
    Node *n = g->node, *to = g->parent->node, *old;
    bool renamed = strcmp(n->fat_name, g->name);
    const char *name = renamed ? g->name : n->host_name;
    if (!place_free(m, to, name, n, n->folder, &old))
        return;
    int from_fd = vvfat_open_folder(m->f, n->parent), to_fd = vvfat_open_folder(m->f, to);
    if (from_fd < 0 || to_fd < 0)
        failed(m, to, name, "move to");
    else if (!is_ours(n, from_fd) || (old && !is_ours(old, to_fd)))
        estrange(m, is_ours(n, from_fd) ? old : n);
    else if (old ? renameat(from_fd, n->host_name, to_fd, name) : rename_to_free(from_fd, n->host_name, to_fd, name))
        failed(m, to, name, "move to");
    else {
        if (old)
            retire(m, old);
        g_ptr_array_remove(n->parent->kids, n);
        g_ptr_array_add(to->kids, n);
        n->parent = to;
        if (renamed) {
            g_free(n->host_name);
            g_free(n->fat_name);
            n->host_name = g_strdup(g->name);
            n->fat_name = g_strdup(g->name);
        }
        m->done++;
    }
    if (from_fd >= 0)
        close(from_fd);
    if (to_fd >= 0)
        close(to_fd);
}

static Node *add_node(Found *g, const struct stat *st)
{
    Node *n = g_new0(Node, 1);
    n->parent = g->parent->node;
    n->folder = g->folder;
    n->host_name = g_strdup(g->name);
    n->fat_name = g_strdup(g->name);
    if (n->folder)
        n->kids = g_ptr_array_new();
    learn(n, st);
    learn_chain(n, g);
    g_ptr_array_add(n->parent->kids, n);
    n->found = g;
    g->node = n;
    return n;
}

static void make_folder(Mirror *m, Found *g)
{
    Node *to = g->parent->node, *old;
    struct stat st;
    if (!place_free(m, to, g->name, NULL, true, &old))
        return;
    int fd = vvfat_open_folder(m->f, to);
    if (fd < 0 || mkdirat(fd, g->name, 0777) || fstatat(fd, g->name, &st, AT_SYMLINK_NOFOLLOW)) {
        failed(m, to, g->name, "make");
    } else {
        add_node(g, &st);
        m->done++;
    }
    if (fd >= 0)
        close(fd);
}

/* --- contents */

static void set_time(int fd, const Found *g)
{
    struct tm tm = { .tm_year = (g->date >> 9) + 80, .tm_mon = (g->date >> 5 & 15) - 1, .tm_mday = g->date & 31,
                     .tm_hour = g->time >> 11, .tm_min = g->time >> 5 & 63, .tm_sec = (g->time & 31) * 2, .tm_isdst = -1 };
    struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = mktime(&tm) } };
    if (g->date)
        futimens(fd, t);
}

static int put(Mirror *m, int fd, uint64_t at, uint8_t *buf, uint64_t len)
{
    struct iovec v = { buf, len };
    int64_t n = co_pwritev(m->b->aio, fd, &v, 1, at, 0);
    return n == (int64_t)len ? 0 : n < 0 ? (int)n : -ENOSPC;
}

/* From cluster `from` of the chain on everything; before that what has been written to since the last time. */
static int write_contents(Mirror *m, const Found *g, int fd, uint32_t from)
{
    const Fat *f = m->f;
    uint32_t unit = cluster_bytes(f);
    uint8_t *buf = block_memory(unit);
    int r = buf ? 0 : -ENOMEM;
    for (uint32_t i = 0; !r && (uint64_t)i * unit < g->size; i++) {
        uint64_t s = cluster_sector(f, g->chain[i]), at = (uint64_t)i * unit;
        bool dirty = i >= from;
        for (unsigned k = 0; k < f->cluster_sectors && !dirty; k++)
            dirty = bit_get(f->dirty, s + k);
        if (!dirty)
            continue;
        r = vvfat_read_sectors(m->b, s, f->cluster_sectors, buf);
        if (!r)
            r = put(m, fd, at, buf, MIN(unit, g->size - at));
    }
    free(buf);
    if (!r && ftruncate(fd, g->size))
        r = -errno;
    if (!r)
        set_time(fd, g);
    return r ? r : co_fdatasync(m->b->aio, fd, 0);
}

static uint32_t alike(const Node *n, const Found *g)
{
    uint32_t i = 0;
    while (i < n->n_chain && i < g->n_chain && n->chain[i] == g->chain[i])
        i++;
    return i;
}

/* The file's old clusters that it loses but the FAT does not: their contents would go with it. */
static int keep_lost(Mirror *m, const Node *n, const Found *g)
{
    int r = 0;
    for (uint32_t i = alike(n, g); i < n->n_chain && !r; i++)
        if (vvfat_fat_get(m->f, m->fat, n->chain[i]))
            r = vvfat_keep_cluster(m->b, n->chain[i]);
    return r;
}

/* The whole of it, under a name of ours; the descriptor, or -1 (it has been said). */
static int write_beside(Mirror *m, const Found *g, int folder, char temporary[32], struct stat *st)
{
    snprintf(temporary, 32, TEMPORARY "%08x%08x", g_random_int(), g_random_int());
    int fd = openat(folder, temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    int r = write_contents(m, g, fd, 0);
    if (!r && !fstat(fd, st))
        return fd;
    errno = r ? -r : errno;
    int e = errno;
    close(fd);
    unlinkat(folder, temporary, 0);
    errno = e;
    return -1;
}

static void make_file(Mirror *m, Found *g)
{
    Node *to = g->parent->node, *old;
    char temporary[32];
    struct stat st;
    if (!place_free(m, to, g->name, NULL, false, &old))
        return;
    int folder = vvfat_open_folder(m->f, to), fd = folder < 0 ? -1 : write_beside(m, g, folder, temporary, &st);
    if (fd < 0) {
        failed(m, to, g->name, "make");
    } else if (old && !is_ours(old, folder)) {
        unlinkat(folder, temporary, 0);
        estrange(m, old);
    } else if (old ? renameat(folder, temporary, folder, g->name) : rename_to_free(folder, temporary, folder, g->name)) {
        failed(m, to, g->name, "make");
        unlinkat(folder, temporary, 0);
    } else {
        if (old)
            retire(m, old);
        add_node(g, &st);
        m->done++;
    }
    if (fd >= 0)
        close(fd);
    if (folder >= 0)
        close(folder);
}

static bool changed(const Mirror *m, const Found *g)
{
    const Fat *f = m->f;
    const Node *n = g->node;
    if (n->size != g->size || n->n_chain != g->n_chain || alike(n, g) != n->n_chain)
        return true;
    for (uint32_t i = 0; i < g->n_chain; i++)
        for (unsigned k = 0; k < f->cluster_sectors; k++)
            if (bit_get(f->dirty, cluster_sector(f, g->chain[i]) + k))
                return true;
    return false;
}

/* Clusters that the file keeps are where they were: the rest is written where it stands. */
static int update_in_place(Mirror *m, const Found *g, int folder, struct stat *st)
{
    int fd = openat(folder, g->node->host_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    /* What lies past the old end may have been written before it was part of the file. */
    int r = write_contents(m, g, fd, g->node->size / cluster_bytes(m->f));
    if (fstat(fd, st) && !r)
        r = -errno;
    close(fd);
    return r;
}

static int replace(Mirror *m, const Found *g, int folder, struct stat *st)
{
    char temporary[32];
    struct stat old;
    if (fstatat(folder, g->node->host_name, &old, AT_SYMLINK_NOFOLLOW))
        return -errno;
    int fd = write_beside(m, g, folder, temporary, st);
    if (fd < 0)
        return -errno;
    int r = fchmod(fd, old.st_mode & 07777) ? -errno : 0;
    if (!r && renameat(folder, temporary, folder, g->node->host_name))
        r = -errno;
    if (r)
        unlinkat(folder, temporary, 0);
    close(fd);
    return r;
}

static void update(Mirror *m, Found *g)
{
    Node *n = g->node;
    struct stat st;
    int folder = vvfat_open_folder(m->f, n->parent), r = 0;
    if (folder < 0) {
        failed(m, n->parent, n->host_name, "write");
        return;
    }
    uint32_t same = alike(n, g);
    if (!is_ours(n, folder)) {
        estrange(m, n);
    } else {
        r = keep_lost(m, n, g);
        if (!r)
            r = same == MIN(n->n_chain, g->n_chain) && same ? update_in_place(m, g, folder, &st) : replace(m, g, folder, &st);
        vvfat_forget_file(m->f, n);
        if (r) {
            errno = -r;
            failed(m, n->parent, n->host_name, "write");
        } else {
            learn(n, &st);
            learn_chain(n, g);
            m->done++;
        }
    }
    close(folder);
}

/* --- both trees */

static void carry_folder(Mirror *m, Found *folder)
{
    for (unsigned i = 0; i < folder->kids->len; i++) {
        Found *g = folder->kids->pdata[i];
        if (!g->node && g->folder)
            make_folder(m, g);
        else if (!g->node)
            make_file(m, g);
        else if (!g->node->foreign && (g->node->parent != folder->node || strcmp(g->node->fat_name, g->name)))
            move(m, g);
        if (!g->node)
            continue;
        if (g->folder) {
            learn_chain(g->node, g);
            carry_folder(m, g);
        }
    }
}

/* After names are as they should be: contents depend on nothing else. */
static void carry_contents(Mirror *m, Found *folder)
{
    for (unsigned i = 0; i < folder->kids->len; i++) {
        Found *g = folder->kids->pdata[i];
        if (g->folder)
            carry_contents(m, g);
        else if (g->node && !g->node->foreign && changed(m, g))
            update(m, g);
    }
}

static void delete_gone(Mirror *m, Node *folder)
{
    for (unsigned i = folder->kids->len; i--;) {
        Node *n = folder->kids->pdata[i];
        if (n->folder)
            delete_gone(m, n);
        if (n->foreign || !deletable(m, n) || (n->folder && n->kids->len))
            continue;
        int fd = vvfat_open_folder(m->f, folder);
        if (fd < 0 || !is_ours(n, fd))
            estrange(m, n);
        else if (unlinkat(fd, n->host_name, n->folder ? AT_REMOVEDIR : 0)) {
            if (errno == ENOTEMPTY || errno == EEXIST)
                estrange(m, n);         /* it holds what the guest was not shown */
            else
                failed(m, folder, n->host_name, "delete");
        } else {
            retire(m, n);
            m->done++;
        }
        if (fd >= 0)
            close(fd);
    }
}

/* Names that wait for each other in a circle: one of them steps aside. */
static bool step_aside(Mirror *m, Found *folder)
{
    for (unsigned i = 0; i < folder->kids->len; i++) {
        Found *g = folder->kids->pdata[i];
        Node *n = g->node, *in_way;
        if (n && !n->foreign && (n->parent != folder->node || strcmp(n->fat_name, g->name)) && folder->node &&
            (in_way = occupant(folder->node, g->name, n)) && in_way->found && !in_way->foreign) {
            char name[32];
            snprintf(name, sizeof name, TEMPORARY "move-%u", m->n_temporary++);
            int fd = vvfat_open_folder(m->f, in_way->parent);
            bool ok = fd >= 0 && is_ours(in_way, fd) && !rename_to_free(fd, in_way->host_name, fd, name);
            if (fd >= 0)
                close(fd);
            if (!ok)
                return false;
            g_free(in_way->host_name);
            g_free(in_way->fat_name);
            in_way->host_name = g_strdup(name);
            in_way->fat_name = g_strdup(name);
            return true;
        }
        if (g->folder && step_aside(m, g))
            return true;
    }
    return false;
}

static void carry(Mirror *m)
{
    for (unsigned pass = 0; pass < MAX_PASSES; pass++) {
        m->blocked = m->done = 0;
        carry_folder(m, m->root);
        if (!pass)
            carry_contents(m, m->root);
        delete_gone(m, m->f->root);
        if (!m->blocked || m->error || (!m->done && !step_aside(m, m->root)))
            break;
    }
}

int vvfat_mirror(Block *b)
{
    Fat *f = b->state;
    Mirror m = { .b = b, .f = f };
    bool ok = take_all(&m);
    if (ok) {
        GHashTable *by_cluster = g_hash_table_new(NULL, NULL);
        index_nodes(by_cluster, f->root);
        m.root->node = f->root;
        f->root->found = m.root;
        match_clusters(by_cluster, m.root);
        match_names(m.root);
        g_hash_table_destroy(by_cluster);
        carry(&m);
        if (f->type == 32)
            learn_chain(f->root, m.root);
    }
    g_free(f->complaint);
    f->complaint = m.inconsistent ? g_strdup(m.inconsistent) : m.error ? g_strdup(g_strerror(-m.error))
                 : m.blocked ? g_strdup("names are in each other's way") : NULL;
    if (!f->complaint) {
        memset(f->dirty, 0, f->sectors / 8 + 1);
        f->any_dirty = false;
    }
    if (m.root)
        found_free(m.root);
    g_free(m.fat);
    g_free(m.used);
    return m.error;
}
