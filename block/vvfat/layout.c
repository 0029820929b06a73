/* SPDX-License-Identifier: GPL-2.0-or-later
 * The folder as it is at the start, and the disk made of it (vvfat_int.h).  Left out: symbolic links, sockets, pipes and
 * devices, whose contents lie elsewhere. */
#include "block/vvfat/vvfat_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/log.h"

enum { HEADS = 16, TRACK = 63, CYLINDERS = 1024, MAX_SECTORS = 64 << 21 /* 64 GiB */ };

/* --- nodes */

void vvfat_node_free(Node *n)
{
    if (n->kids)
        for (unsigned i = 0; i < n->kids->len; i++)
            vvfat_node_free(n->kids->pdata[i]);
    if (n->kids)
        g_ptr_array_free(n->kids, TRUE);
    g_free(n->host_name);
    g_free(n->fat_name);
    g_free(n->chain);
    g_free(n);
}

int vvfat_open_folder(const Fat *f, const Node *n)
{
    if (!n->parent)
        return openat(f->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int above = vvfat_open_folder(f, n->parent);
    if (above < 0)
        return -1;
    int fd = openat(above, n->host_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), e = errno;
    close(above);
    errno = e;
    return fd;
}

/* --- names */

/* Names of one folder that are taken: long ones folded to one case, short ones as their 11 bytes. */
typedef struct Names { GHashTable *taken, *next; } Names;

static bool add_long(Names *m, const char *name)
{
    g_autofree char *fold = g_utf8_casefold(name, -1);
    g_autofree char *key = g_strconcat("l", fold, NULL);
    return g_hash_table_add(m->taken, g_steal_pointer(&key));
}

/* What FAT can hold: invalid bytes and characters become '_', as do spaces and dots at the end. */
static char *fat_name(Names *m, const char *host)
{
    g_autoptr(GString) s = g_string_new(NULL);
    for (const char *p = host; *p;) {
        gunichar c = g_utf8_get_char_validated(p, -1);
        bool bad = c == (gunichar)-1 || c == (gunichar)-2;
        if (bad || c < 0x20 || c == 0x7f || (c < 0x80 && strchr("\"*/:<>?\\|", (int)c)))
            g_string_append_c(s, '_');
        else
            g_string_append_unichar(s, c);
        p = bad ? p + 1 : g_utf8_next_char(p);
    }
    char *last = s->str + s->len - 1;
    if (*last == '.' || *last == ' ')
        *last = '_';
    if (add_long(m, s->str))
        return g_strdup(s->str);
    for (unsigned i = 2;; i++) {
        g_autofree char *other = g_strdup_printf("%s~%u", s->str, i);
        if (add_long(m, other))
            return g_steal_pointer(&other);
    }
}

static bool short_char(char c) { return g_ascii_isupper(c) || g_ascii_isdigit(c) || (c && strchr("$%'-_@~`!(){}^#&", c)); }

/* 3.6: base and extension, with a number if that loses something. */
static void short_name(Names *m, const char *name, uint8_t out[11])
{
    const char *dot = strrchr(name, '.');
    char base[9] = "", ext[4] = "";
    unsigned nb = 0, ne = 0;
    bool lossy = dot == name;
    for (const char *p = name; *p; p++) {
        if (p == dot && p != name)
            continue;
        char c = g_ascii_toupper(*p);
        if (c == ' ' || c == '.') {
            lossy = true;
            continue;
        }
        if (!short_char(c)) {
            lossy = true;
            c = '_';
            if (((unsigned char)*p & 0xc0) == 0x80)
                continue;       /* inside a character */
        }
        bool in_ext = dot && dot != name && p > dot;
        if (in_ext ? ne == 3 : nb == 8)
            lossy = true;
        else if (in_ext)
            ext[ne++] = c;
        else
            base[nb++] = c;
    }
    if (!nb)
        base[nb++] = '_';
    for (unsigned n = 0;; n++) {
        char tail[9] = "", key[16];
        if (n || lossy) {
            /* Counting goes on where it stopped for names that begin alike. */
            g_autofree char *alike = g_strdup_printf("%.2s.%s", base, ext);
            unsigned i = GPOINTER_TO_UINT(g_hash_table_lookup(m->next, alike)) + 1;
            g_hash_table_insert(m->next, g_steal_pointer(&alike), GUINT_TO_POINTER(i));
            g_snprintf(tail, sizeof tail, "~%u", i % 1000000);
        }
        unsigned keep = MIN(nb, 8 - (unsigned)strlen(tail));
        g_snprintf(key, sizeof key, "s%.*s%s", (int)keep, base, tail);
        unsigned len = (unsigned)strlen(key + 1);
        memset(out, ' ', 11);
        memcpy(out, key + 1, len);
        memcpy(out + 8, ext, ne);
        g_autofree char *full = g_strdup_printf("s%.11s", (const char *)out);
        if (g_hash_table_add(m->taken, g_steal_pointer(&full)))
            return;
    }
}

uint8_t vvfat_short_sum(const uint8_t name[11])
{
    uint8_t sum = 0;
    for (unsigned i = 0; i < 11; i++)
        sum = (uint8_t)((sum << 7 | sum >> 1) + name[i]);
    return sum;
}

static bool is_short(const Node *n)
{
    char text[13], *p = text;
    for (unsigned i = 0; i < 8 && n->short_name[i] != ' '; i++)
        *p++ = (char)n->short_name[i];
    if (n->short_name[8] != ' ')
        *p++ = '.';
    for (unsigned i = 8; i < 11 && n->short_name[i] != ' '; i++)
        *p++ = (char)n->short_name[i];
    *p = 0;
    return !strcmp(text, n->fat_name);
}

/* --- the folder */

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(Node *const *)a)->host_name, (*(Node *const *)b)->host_name);
}

static Node *add_node(Node *parent, const char *name, const struct stat *st)
{
    Node *n = g_new0(Node, 1);
    n->parent = parent;
    n->host_name = g_strdup(name);
    n->folder = S_ISDIR(st->st_mode);
    n->size = n->folder ? 0 : (uint32_t)st->st_size;
    n->dev = st->st_dev;
    n->ino = st->st_ino;
    n->mtime = st->st_mtim;
    if (n->folder)
        n->kids = g_ptr_array_new();
    if (parent)
        g_ptr_array_add(parent->kids, n);
    return n;
}

static bool scan(Fat *f, Node *folder, unsigned depth, GError **err)
{
    if (depth > MAX_DEPTH)
        return fail(err, "%s: folders nest more than %d deep", f->dir, MAX_DEPTH);
    int fd = vvfat_open_folder(f, folder);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int e = errno;
        if (fd >= 0)
            close(fd);
        return fail_errno(err, e, "cannot read folder %s%s%s", f->dir, folder->host_name ? ".../" : "",
                          folder->host_name ? folder->host_name : "");
    }
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));) {
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
            (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
            continue;
        if (S_ISREG(st.st_mode) && st.st_size > UINT32_MAX)
            ok = fail(err, "%s is larger than the 4 GiB that a FAT file may have", e->d_name);
        else
            add_node(folder, e->d_name, &st);
    }
    closedir(d);
    g_ptr_array_sort(folder->kids, by_name);
    Names m = { g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };
    for (unsigned i = 0; ok && i < folder->kids->len; i++) {
        Node *n = folder->kids->pdata[i];
        n->fat_name = fat_name(&m, n->host_name);
        short_name(&m, n->fat_name, n->short_name);
    }
    g_hash_table_destroy(m.taken);
    g_hash_table_destroy(m.next);
    for (unsigned i = 0; ok && i < folder->kids->len; i++) {
        Node *n = folder->kids->pdata[i];
        ok = !n->folder || scan(f, n, depth + 1, err);
    }
    return ok;
}

static glong name_units(const Node *n, gunichar2 **out)
{
    glong units = 0;
    *out = g_utf8_to_utf16(n->fat_name, -1, NULL, &units, NULL);
    return units;
}

static unsigned n_entries(const Node *n)
{
    gunichar2 *units;
    unsigned count = 1;
    if (!is_short(n)) {
        count += ((unsigned)name_units(n, &units) + 12) / 13;
        g_free(units);
    }
    return count;
}

static uint32_t folder_entries(const Node *folder)
{
    uint32_t n = folder->parent ? 2 : 1;        /* ".", ".."; the label */
    for (unsigned i = 0; i < folder->kids->len; i++)
        n += n_entries(folder->kids->pdata[i]);
    return n;
}

static uint64_t clusters_needed(const Fat *f, const Node *n)
{
    uint64_t bytes = n->folder ? ((uint64_t)folder_entries(n) + 1) * DIR_ENTRY : n->size, all = 0;
    if (n->parent || f->type == 32)
        all = (bytes + cluster_bytes(f) - 1) / cluster_bytes(f);
    for (unsigned i = 0; n->folder && i < n->kids->len; i++)
        all += clusters_needed(f, n->kids->pdata[i]);
    return all;
}

/* --- geometry */

/* The disk's size and the cluster's; each FAT's type follows from the number of clusters (3.5), so it has to fit. */
static bool choose_geometry(Fat *f, GError **err)
{
    static const struct { bool floppy; unsigned type; uint32_t sectors, cluster, root_entries; } rows[] = {
        { true, 12, 2880, 1, 224 }, { true, 16, 5760, 1, 240 }, { false, 12, 64 * HEADS * TRACK, 16, 512 },
        { false, 16, CYLINDERS * HEADS * TRACK, 16, 512 }, { false, 32, CYLINDERS * HEADS * TRACK, 8, 0 },
    };
    bool large = f->floppy && !f->type;         /* 2.88 MB */
    f->type = f->type ? f->type : f->floppy ? 12 : 16;
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].floppy == f->floppy && rows[i].type == f->type) {
            f->sectors = large ? 5760 : rows[i].sectors;
            f->cluster_sectors = large ? 2 : rows[i].cluster;
            f->root_entries = large ? 240 : rows[i].root_entries;
        }
    if (!f->sectors)
        return fail(err, "a floppy disk has FAT12 or FAT16");
    f->start = f->floppy ? 0 : TRACK;
    f->reserved = f->type == 32 ? 32 : 1;
    for (;;) {
        uint32_t root_sectors = f->root_entries * DIR_ENTRY / SECTOR;
        uint64_t rest = f->sectors - f->start - f->reserved - root_sectors;
        uint64_t clusters = rest / f->cluster_sectors;
        f->fat_sectors = (uint32_t)(((clusters + 2) * f->type / 8 + 1 + SECTOR - 1) / SECTOR);
        f->data = f->start + f->reserved + 2 * f->fat_sectors + root_sectors;
        f->n_clusters = (uint32_t)((f->sectors - f->data) / f->cluster_sectors);
        uint64_t needed = clusters_needed(f, f->root);
        if (f->root_entries && folder_entries(f->root) > f->root_entries)
            return fail(err, "%s has more files than the %u entries that the root folder of a FAT%u disk has (fat:32: has no limit)",
                        f->dir, f->root_entries, f->type);
        if (needed <= f->n_clusters)
            return true;
        if (f->type != 32)
            return fail(err, "%s does not fit on a FAT%u disk of %" PRIu64 " MiB%s", f->dir, f->type, f->sectors >> 11,
                        f->floppy ? "" : " (fat:32: grows with the folder)");
        uint64_t want = align_up(needed * f->cluster_sectors * 5 / 4 + (1 << 21), HEADS * TRACK);
        if (want > MAX_SECTORS)
            return fail(err, "%s is larger than the 64 GiB that this can show", f->dir);
        f->cluster_sectors = want > 16 << 21 ? 32 : want > 8 << 21 ? 16 : 8;
        f->sectors = want;
    }
}

/* --- what lies before the data */

static void put_chs(const Fat *f, uint8_t out[3], uint64_t lba)
{
    uint64_t cylinder = lba / (HEADS * TRACK), head = lba / TRACK % HEADS, sector = lba % TRACK + 1;
    if (cylinder > 1023) {
        cylinder = 1023;
        head = HEADS - 1;
        sector = TRACK;
    }
    out[0] = (uint8_t)head;
    out[1] = (uint8_t)(sector | (cylinder >> 8 << 6));
    out[2] = (uint8_t)cylinder;
}

static void make_partition_table(const Fat *f)
{
    uint8_t *e = f->head + 446;
    store_le32(f->head + 440, 0x52484541);      /* the disk's signature */
    e[0] = 0x80;
    put_chs(f, e + 1, f->start);
    e[4] = f->type == 12 ? 0x01 : f->type == 16 ? 0x06 : 0x0c;
    put_chs(f, e + 5, f->sectors - 1);
    store_le32(e + 8, f->start);
    store_le32(e + 12, (uint32_t)(f->sectors - f->start));
    f->head[510] = 0x55;
    f->head[511] = 0xaa;
}

/* 3.1, 3.2: the BIOS parameter block. */
static void make_boot_sector(const Fat *f)
{
    uint8_t *s = f->head + f->start * SECTOR, *x = s + (f->type == 32 ? 64 : 36);
    uint32_t total = (uint32_t)(f->sectors - f->start);
    static const char *const types[] = { "FAT12   ", "FAT16   ", "FAT32   " };
    s[0] = 0xeb;
    s[1] = f->type == 32 ? 0x58 : 0x3c;
    s[2] = 0x90;
    memcpy(s + 3, "MSWIN4.1", 8);
    store_le16(s + 11, SECTOR);
    s[13] = (uint8_t)f->cluster_sectors;
    store_le16(s + 14, (uint16_t)f->reserved);
    s[16] = 2;
    store_le16(s + 17, (uint16_t)f->root_entries);
    store_le16(s + 19, total < 0x10000 ? (uint16_t)total : 0);
    s[21] = f->floppy ? 0xf0 : 0xf8;
    store_le16(s + 22, f->type == 32 ? 0 : (uint16_t)f->fat_sectors);
    store_le16(s + 24, f->floppy ? (f->sectors > 2880 ? 36 : 18) : TRACK);
    store_le16(s + 26, f->floppy ? 2 : HEADS);
    store_le32(s + 28, f->start);
    store_le32(s + 32, total < 0x10000 ? 0 : total);
    if (f->type == 32) {
        store_le32(s + 36, f->fat_sectors);
        store_le32(s + 44, f->root->chain[0]);
        store_le16(s + 48, 1);          /* FSInfo */
        store_le16(s + 50, 6);          /* the copy of this sector */
    }
    x[0] = f->floppy ? 0 : 0x80;
    x[2] = 0x29;
    store_le32(x + 3, 0x52484541);
    memcpy(x + 7, f->label, 11);
    memcpy(x + 18, types[f->type / 16], 8);
    s[510] = 0x55;
    s[511] = 0xaa;
    if (f->type != 32)
        return;
    uint8_t *i = s + SECTOR;
    store_le32(i, 0x41615252);
    store_le32(i + 484, 0x61417272);
    store_le32(i + 488, f->n_clusters + 2 - f->next_cluster);
    store_le32(i + 492, f->next_cluster);
    store_le32(i + 508, 0xaa550000);
    memcpy(s + 6 * SECTOR, s, 2 * SECTOR);
}

uint32_t vvfat_fat_get(const Fat *f, const uint8_t *fat, uint32_t c)
{
    switch (f->type) {
    case 12: return c & 1 ? load_le16(fat + c * 3 / 2) >> 4 : load_le16(fat + c * 3 / 2) & 0xfff;
    case 16: return load_le16(fat + c * 2);
    default: return load_le32(fat + (size_t)c * 4) & 0x0fffffff;
    }
}

static void fat_put(const Fat *f, uint32_t c, uint32_t v)
{
    uint8_t *fat = f->head + (size_t)(f->start + f->reserved) * SECTOR;
    switch (f->type) {
    case 12: {
        uint16_t old = load_le16(fat + c * 3 / 2);
        store_le16(fat + c * 3 / 2, c & 1 ? (uint16_t)((old & 0x000f) | v << 4) : (uint16_t)((old & 0xf000) | (v & 0xfff)));
        break;
    }
    case 16: store_le16(fat + c * 2, (uint16_t)v); break;
    default: store_le32(fat + (size_t)c * 4, v & 0x0fffffff); break;
    }
}

Run *vvfat_run(const Fat *f, uint32_t c)
{
    unsigned lo = 0, hi = f->runs->len;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        Run *r = &g_array_index(f->runs, Run, mid);
        if (c < r->first)
            hi = mid;
        else if (c - r->first < r->n)
            return r;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* A row of clusters for each folder and file, in the order of the tree. */
static void place(Fat *f, Node *n)
{
    uint64_t bytes = n->folder ? ((uint64_t)folder_entries(n) + 1) * DIR_ENTRY : n->size;
    if (!n->parent && f->type != 32)
        bytes = 0;
    n->n_chain = (uint32_t)((bytes + cluster_bytes(f) - 1) / cluster_bytes(f));
    n->chain = g_new(uint32_t, MAX(n->n_chain, 1));
    for (uint32_t i = 0; i < n->n_chain; i++) {
        uint32_t c = n->chain[i] = f->next_cluster++;
        fat_put(f, c, i + 1 < n->n_chain ? c + 1 : 0x0fffffff);
    }
    if (n->n_chain) {
        Run r = { .first = n->chain[0], .n = n->n_chain, .node = n->folder ? NULL : n,
                  .data = n->folder ? g_malloc0((size_t)n->n_chain * cluster_bytes(f)) : NULL };
        g_array_append_val(f->runs, r);
    }
    for (unsigned i = 0; n->folder && i < n->kids->len; i++)
        place(f, n->kids->pdata[i]);
}

/* --- folders' contents */

static void put_time(uint8_t *e, const struct timespec *t)
{
    struct tm tm;
    time_t s = t->tv_sec;
    localtime_r(&s, &tm);
    int year = tm.tm_year - 80;
    uint16_t date = year < 0 ? 0x21 : (uint16_t)(MIN(year, 127) << 9 | (tm.tm_mon + 1) << 5 | tm.tm_mday);
    uint16_t time = year < 0 ? 0 : (uint16_t)(tm.tm_hour << 11 | tm.tm_min << 5 | MIN(tm.tm_sec, 59) / 2);
    store_le16(e + 14, time);
    store_le16(e + 16, date);
    store_le16(e + 18, date);
    store_le16(e + 22, time);
    store_le16(e + 24, date);
}

static uint8_t *put_entry(uint8_t *e, const uint8_t name[11], uint8_t attr, uint32_t first, uint32_t size, const struct timespec *t)
{
    memcpy(e, name, 11);
    if (e[0] == 0xe5)
        e[0] = 0x05;
    e[11] = attr;
    put_time(e, t);
    store_le16(e + 20, (uint16_t)(first >> 16));
    store_le16(e + 26, (uint16_t)first);
    store_le32(e + 28, size);
    return e + DIR_ENTRY;
}

/* 7: the parts of a long name, the last one first. */
static uint8_t *put_long(uint8_t *e, const Node *n)
{
    static const uint8_t places[13] = { 1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30 };
    gunichar2 *units;
    unsigned len = (unsigned)name_units(n, &units), parts = (len + 12) / 13;
    for (unsigned part = parts; part; part--, e += DIR_ENTRY) {
        e[0] = (uint8_t)(part | (part == parts ? 0x40 : 0));
        e[11] = ATTR_LONG;
        e[13] = vvfat_short_sum(n->short_name);
        for (unsigned i = 0; i < 13; i++) {
            unsigned k = (part - 1) * 13 + i;
            store_le16(e + places[i], k < len ? units[k] : k == len ? 0 : 0xffff);
        }
    }
    g_free(units);
    return e;
}

static uint32_t first_cluster(const Node *n) { return n->n_chain ? n->chain[0] : 0; }

static void fill_folder(const Fat *f, const Node *folder, uint8_t *e)
{
    if (folder->parent) {
        /* To the root, ".." says 0 whatever its cluster (6.5). */
        e = put_entry(e, (const uint8_t *)".          ", ATTR_FOLDER, first_cluster(folder), 0, &folder->mtime);
        e = put_entry(e, (const uint8_t *)"..         ", ATTR_FOLDER, folder->parent->parent ? first_cluster(folder->parent) : 0, 0,
                      &folder->parent->mtime);
    } else {
        e = put_entry(e, (const uint8_t *)f->label, ATTR_LABEL, 0, 0, &folder->mtime);
    }
    for (unsigned i = 0; i < folder->kids->len; i++) {
        const Node *n = folder->kids->pdata[i];
        if (!is_short(n))
            e = put_long(e, n);
        e = put_entry(e, n->short_name, n->folder ? ATTR_FOLDER : ATTR_ARCHIVE, first_cluster(n), n->size, &n->mtime);
    }
}

static void fill_folders(const Fat *f, const Node *folder)
{
    if (folder->n_chain)
        fill_folder(f, folder, vvfat_run(f, folder->chain[0])->data);
    else
        fill_folder(f, folder, f->head + (size_t)(f->start + f->reserved + 2 * f->fat_sectors) * SECTOR);
    for (unsigned i = 0; i < folder->kids->len; i++) {
        const Node *n = folder->kids->pdata[i];
        if (n->folder)
            fill_folders(f, n);
    }
}

bool vvfat_lay_out(Fat *f, GError **err)
{
    f->root_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (f->root_fd < 0 || fstat(f->root_fd, &st))
        return fail_errno(err, errno, "cannot open folder %s", f->dir);
    f->root = add_node(NULL, NULL, &st);
    if (!scan(f, f->root, 0, err) || !choose_geometry(f, err))
        return false;
    f->head = g_malloc0((size_t)f->data * SECTOR);
    f->runs = g_array_new(FALSE, FALSE, sizeof(Run));
    f->next_cluster = 2;
    fat_put(f, 0, f->floppy ? 0x0ffffff0 : 0x0ffffff8);
    fat_put(f, 1, 0x0fffffff);
    place(f, f->root);
    if (!f->floppy)
        make_partition_table(f);
    make_boot_sector(f);
    size_t fat = (size_t)(f->start + f->reserved) * SECTOR, len = (size_t)f->fat_sectors * SECTOR;
    memcpy(f->head + fat + len, f->head + fat, len);
    fill_folders(f, f->root);
    return true;
}
