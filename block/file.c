/* SPDX-License-Identifier: GPL-2.0-or-later
 * Files and block devices of the host.
 *
 * Locks are open-file-description locks (fcntl(2)) on single bytes, as QEMU sets them (observed in /proc/locks), so
 * that the two keep out of each other's images.  Byte 100 + n: I use n; 200 + n: nobody else may use n.  n is 0 to
 * read, 1 to write, 3 to resize.  All are read locks; whether somebody holds one is asked with F_OFD_GETLK.  Gives way
 * to no lease and leaves network filesystems to say what they can do. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "block/driver.h"
#include "util/bits.h"
#include "util/error.h"

enum { USE_READ = 1 << 0, USE_WRITE = 1 << 1, USE_RESIZE = 1 << 3, LOCK_USES = 100, LOCK_DENIES = 200, N_USES = 5 };

typedef struct File {
    int  fd;
    bool device;                    /* a block device */
    unsigned aio_flags;             /* AIO_CACHED, AIO_MEMORY */
    int  past;                      /* BLOCK_PASSING: the same file by O_DIRECT; -1: none */
    bool past_failed;               /* the filesystem would not; errors of the device are the usual way's to tell */
    bool no_zero_range, no_punch;   /* the filesystem said so */
    /* The last extent that SEEK_DATA told, so that asking again for its rest costs nothing. */
    uint64_t seen_from, seen_to;
    bool     seen_data;
} File;

static const char *use_name(unsigned n) { return n == 1 ? "writing" : n == 3 ? "resizing" : "reading"; }

static int lock_byte(int fd, off_t byte)
{
    struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

static bool held_by_others(int fd, off_t byte)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

static bool take_locks(Block *b, int fd, bool insist, GError **err)
{
    unsigned uses = USE_READ | (b->flags & BLOCK_RDWR ? USE_WRITE | USE_RESIZE : 0);
    unsigned denies = USE_WRITE | USE_RESIZE;
    for (unsigned n = 0; n < N_USES; n++) {
        int r = uses & 1u << n ? lock_byte(fd, LOCK_USES + n) : 0;
        if (!r && (denies & 1u << n))
            r = lock_byte(fd, LOCK_DENIES + n);
        if (r && (insist || (r != -EINVAL && r != -ENOLCK && r != -EOPNOTSUPP)))
            return fail_errno(err, -r, "cannot lock %s", b->filename);
        if (r)
            return true;        /* the filesystem has no locks */
    }
    for (unsigned n = 0; n < N_USES; n++) {
        if ((denies & 1u << n) && held_by_others(fd, LOCK_USES + n))
            return fail(err, "%s is in use by another process, which has it open for %s%s", b->filename, use_name(n),
                        b->flags & BLOCK_RDWR ? "" : " (-U reads it all the same)");
        if ((uses & 1u << n) && held_by_others(fd, LOCK_DENIES + n))
            return fail(err, "%s is in use by another process, which does not let others open it for %s", b->filename,
                        use_name(n));
    }
    return true;
}

static bool file_filename(const char *prefix, const char *filename, Json *options, GError **err)
{
    json_set(options, "filename", json_string(filename));
    return true;
}

/* The granule of O_DIRECT: the smallest that a read works with. */
static uint32_t direct_granule(int fd)
{
    uint32_t found = 4096;
    void *buf = block_buffer(4096);
    for (uint32_t n = 512; buf && n < 4096; n *= 2)
        if (pread(fd, buf, n, 0) >= 0) {
            found = n;
            break;
        }
    free(buf);
    return found;
}

static bool in_memory(int fd)
{
    struct statfs fs;
    return !fstatfs(fd, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* --- past the page cache, though it is on
 *
 * A program that reads an image once copies what is in the page cache, and has the rest brought by the device straight to where
 * it wants it: that saves a copy, and the cache keeps what others use. */

enum { PAST_GRANULE = 4096, PAST_BYTES = 64 << 10 };

static void past_open(Block *b)
{
    File *s = b->state;
    struct stat one, other;
    if (!(b->flags & BLOCK_PASSING) || (b->flags & (BLOCK_RDWR | BLOCK_DIRECT)) || (s->aio_flags & AIO_MEMORY))
        return;
    s->past = open(b->filename, O_RDONLY | O_CLOEXEC | O_DIRECT | O_NONBLOCK);
    if (s->past < 0)
        return;
    if (fstat(s->fd, &one) || fstat(s->past, &other) || one.st_ino != other.st_ino || one.st_dev != other.st_dev) {
        close(s->past);
        s->past = -1;
        return;
    }
    fcntl(s->past, F_SETFL, fcntl(s->past, F_GETFL) & ~O_NONBLOCK);
}

static void past_close(File *s)
{
    if (s->past >= 0)
        close(s->past);
    s->past = -1;
}

/* Whether most of the range is not in the page cache and none of it waits there to be written.  cachestat(2), Linux 6.5. */
static bool is_cold(int fd, uint64_t at, uint64_t len)
{
    enum { CACHESTAT = 451 };   /* everywhere */
    struct { uint64_t at, len; } range = { at, len };
    struct { uint64_t cached, dirty, writeback, evicted, recently_evicted; } stat;
    return !syscall(CACHESTAT, fd, &range, &stat, 0) && !stat.dirty && !stat.writeback &&
           stat.cached * (uint64_t)sysconf(_SC_PAGESIZE) * 2 < len;
}

/* False: the usual way, please. */
static bool past_read(Block *b, uint64_t at, const struct iovec *v, int nv, uint64_t len)
{
    File *s = b->state;
    uint64_t all = at | len;
    for (int i = 0; i < nv; i++)
        all |= (uintptr_t)v[i].iov_base | v[i].iov_len;
    /* The file's end may lie anywhere. */
    if (s->past < 0 || s->past_failed || len < PAST_BYTES || (all & (PAST_GRANULE - 1)) || at + len > b->length ||
        !is_cold(s->fd, at, len))
        return false;
    if (co_preadv(b->aio, s->past, v, nv, at, s->aio_flags & ~(unsigned)(AIO_CACHED | AIO_MEMORY)) == (int64_t)len)
        return true;
    s->past_failed = true;
    return false;
}

static bool file_size(int fd, bool device, uint64_t *out)
{
    struct stat st;
    if (device)
        return !ioctl(fd, BLKGETSIZE64, out);
    if (fstat(fd, &st))
        return false;
    *out = (uint64_t)st.st_size;
    return true;
}

/* --- CD-ROM drives (linux/cdrom.h): the medium comes and goes */

static int file_read(Block *b, uint64_t at, const struct iovec *v, int nv);
static bool is_cdrom(const Block *b) { return b->drv == &block_host_cdrom_driver; }

/* What is in the drive now; without a medium it has no bytes. */
static void cdrom_size(Block *b)
{
    File *s = b->state;
    b->length = 0;
    if (ioctl(s->fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) == CDS_DISC_OK && ioctl(s->fd, BLKGETSIZE64, &b->length))
        b->length = 0;
}

static bool cdrom_open(Block *b, bool device, GError **err)
{
    File *s = b->state;
    if (!device || ioctl(s->fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) < 0)
        return fail(err, "%s is no CD-ROM drive (driver=file opens an image of a CD)", b->filename);
    cdrom_size(b);
    return true;
}

static int cdrom_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    File *s = b->state;
    if (!b->length || ioctl(s->fd, CDROM_MEDIA_CHANGED, CDSL_CURRENT) > 0) {
        /* A descriptor stays with the medium that it was opened with. */
        int fd = open(b->filename, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            return -errno;
        close(s->fd);
        s->fd = fd;
        cdrom_size(b);
    }
    return b->length ? file_read(b, at, v, nv) : -ENOMEDIUM;
}

/* How requests are done: as "aio" says, or else whoever opens the image. */
static bool file_engine(Block *b, const char *aio, GError **err)
{
    File *s = b->state;
    if (aio && !block_parse_aio(aio, &b->flags, err))
        return false;
    if ((b->flags & BLOCK_AIO_NATIVE) && !(b->flags & BLOCK_DIRECT))
        return fail(err, "aio=native was specified, but it requires cache.direct=on, which was not specified (cache=none or directsync has it)");
    s->aio_flags = b->flags & BLOCK_AIO_THREADS ? AIO_BY_THREADS : b->flags & BLOCK_AIO_NATIVE ? AIO_BY_NATIVE
                 : b->flags & BLOCK_AIO_URING ? AIO_BY_URING : 0;
    return aio_can(b->aio, s->aio_flags, err);
}

static bool file_open(Block *b, GError **err)
{
    File *s = b->state;
    const char *name = NULL, *locking = "auto", *aio = NULL;
    s->fd = s->past = -1;
    if (!block_opt_string(b->options, "filename", &name, err) ||
        !block_opt_string(b->options, "locking", &locking, err) || !block_opt_string(b->options, "aio", &aio, err))
        return false;
    if (!name)
        return fail(err, "%s: option 'filename' is missing", b->drv->name);
    if (strcmp(locking, "auto") && strcmp(locking, "on") && strcmp(locking, "off"))
        return fail(err, "locking '%s' is none of auto, on, off", locking);
    if (!file_engine(b, aio, err))
        return false;
    g_free(b->filename);
    b->filename = g_strdup(name);
    if (is_cdrom(b) && (b->flags & BLOCK_RDWR)) {
        if (!(b->flags & BLOCK_MAY_READ_ONLY))
            return fail(err, "%s: CD-ROM drives are only read (read-only=on, media=cdrom)", name);
        b->flags &= ~(unsigned)BLOCK_RDWR;
    }
    bool rdwr = b->flags & BLOCK_RDWR, direct = b->flags & BLOCK_DIRECT;
    s->fd = open(name, (rdwr ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | (direct ? O_DIRECT : 0));
    if (s->fd < 0 && errno == EINVAL && direct)
        return fail(err, "%s: its filesystem has no O_DIRECT, which cache=none and directsync need", name);
    if (s->fd < 0)
        return fail_errno(err, errno, "cannot open %s%s", name, rdwr ? "" : " for reading");
    struct stat st;
    if (fstat(s->fd, &st))
        return fail_errno(err, errno, "%s", name);
    s->device = S_ISBLK(st.st_mode);
    if (!s->device && !S_ISREG(st.st_mode))
        return fail(err, "%s is neither a file nor a block device", name);
    if (is_cdrom(b))
        return cdrom_open(b, s->device, err);
    fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) & ~O_NONBLOCK);
    if (!file_size(s->fd, s->device, &b->length))
        return fail_errno(err, errno, "size of %s", name);
    b->growable = !s->device;
    s->aio_flags |= (direct ? 0 : AIO_CACHED) | (in_memory(s->fd) ? AIO_MEMORY : 0);
    if (direct)
        b->align = b->mem_align = direct_granule(s->fd);
    past_open(b);
    if ((b->flags & BLOCK_SHARE) || !strcmp(locking, "off"))
        return true;
    return take_locks(b, s->fd, !strcmp(locking, "on"), err);
}

static void drop_locks(int fd)
{
    struct flock all = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = LOCK_USES, .l_len = 200 };
    fcntl(fd, F_OFD_SETLK, &all);
}

static bool file_reopen(Block *b, GError **err)
{
    File *s = b->state;
    bool rdwr = b->flags & BLOCK_RDWR;
    int fd = open(b->filename, (rdwr ? O_RDWR : O_RDONLY) | O_CLOEXEC | (b->flags & BLOCK_DIRECT ? O_DIRECT : 0));
    if (fd < 0)
        return fail_errno(err, errno, "cannot open %s%s", b->filename, rdwr ? " for writing" : "");
    struct stat before, after;
    if (fstat(s->fd, &before) || fstat(fd, &after) || before.st_ino != after.st_ino || before.st_dev != after.st_dev) {
        close(fd);
        return fail(err, "%s is another file by now", b->filename);
    }
    /* Our own locks would be in the way of the new descriptor's. */
    int old = s->fd;
    drop_locks(old);
    if (!(b->flags & BLOCK_SHARE) && !take_locks(b, fd, false, err)) {
        close(fd);
        b->flags ^= BLOCK_RDWR;
        take_locks(b, old, false, NULL);
        b->flags ^= BLOCK_RDWR;
        return false;
    }
    close(old);
    s->fd = fd;
    past_close(s);
    return true;
}

static int file_close(Block *b)
{
    File *s = b->state;
    past_close(s);
    if (s->fd < 0)
        return 0;
    /* A worker of io_uring may hold on to the file a little longer than to its request, and so to the locks. */
    drop_locks(s->fd);
    return close(s->fd) ? -errno : 0;
}

static int file_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    File *s = b->state;
    uint64_t len = iov_size(v, nv);
    if (past_read(b, at, v, nv, len))
        return 0;
    int64_t n = co_preadv(b->aio, s->fd, v, nv, at, s->aio_flags);
    if (n < 0)
        return (int)n;
    if ((uint64_t)n < len)
        iov_fill(v, nv, (uint64_t)n, 0, len - (uint64_t)n);
    return 0;
}

static void changed(Block *b, uint64_t end)
{
    File *s = b->state;
    s->seen_to = 0;
    if (b->growable && end > b->length)
        b->length = end;
}

static int file_write(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    File *s = b->state;
    uint64_t len = iov_size(v, nv);
    int64_t n = co_pwritev(b->aio, s->fd, v, nv, at, s->aio_flags);
    changed(b, n > 0 ? at + (uint64_t)n : 0);
    return n < 0 ? (int)n : (uint64_t)n < len ? -ENOSPC : 0;
}

static int file_flush(Block *b)
{
    File *s = b->state;
    return co_fdatasync(b->aio, s->fd, s->aio_flags);
}

static bool unsupported(int r) { return r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -ENODEV; }

static int punch(Block *b, uint64_t at, uint64_t len)
{
    File *s = b->state;
    if (s->no_punch)
        return -ENOTSUP;
    int r = co_fallocate(b->aio, s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len, s->aio_flags);
    changed(b, 0);
    if (!unsupported(r))
        return r;
    s->no_punch = true;
    return -ENOTSUP;
}

static int file_zero(Block *b, uint64_t at, uint64_t len, unsigned flags)
{
    File *s = b->state;
    int r = -ENOTSUP;
    uint64_t end = at + len;
    if (!s->device && end > b->length) {
        /* What lies past the end becomes a hole by moving the end, by a write, since ftruncate() would cut off writes
         * that are under way further on. */
        uint64_t old = b->length, granule = MAX(b->align, 1);
        g_autofree void *raw = NULL;
        uint8_t byte = 0;
        struct iovec v = { &byte, 1 };
        if (granule > 1)
            v = (struct iovec){ raw = block_memory(granule), granule };
        if (!v.iov_base)
            return -ENOMEM;
        memset(v.iov_base, 0, granule);
        int64_t n = co_pwritev(b->aio, s->fd, &v, 1, end - granule, s->aio_flags);
        changed(b, n > 0 ? end : 0);
        if (n != (int64_t)granule)
            return n < 0 ? (int)n : -ENOSPC;
        if (at >= old)
            return 0;
        len = old - at;
    }
    if (flags & BLOCK_MAY_UNMAP)
        r = punch(b, at, len);
    if (r == -ENOTSUP && !s->no_zero_range) {
        r = co_fallocate(b->aio, s->fd, FALLOC_FL_ZERO_RANGE | (s->device ? FALLOC_FL_KEEP_SIZE : 0), at, len, s->aio_flags);
        changed(b, 0);
        if (unsupported(r)) {
            s->no_zero_range = true;
            r = -ENOTSUP;
        }
    }
    if (r == -ENOTSUP && !s->device) {      /* a hole, given its blocks again */
        r = punch(b, at, len);
        if (!r) {
            r = co_fallocate(b->aio, s->fd, 0, at, len, s->aio_flags);
            changed(b, 0);
            r = unsupported(r) ? 0 : r;
        }
    }
    return r;
}

static int file_discard(Block *b, uint64_t at, uint64_t len)
{
    if (at >= b->length)
        return 0;
    return punch(b, at, MIN(len, b->length - at));
}

static int file_resize(Block *b, uint64_t len, BlockPrealloc how, GError **err)
{
    File *s = b->state;
    if (s->device) {
        if (len == b->length)
            return 0;
        fail(err, "%s is a device, whose size is what it is", b->filename);
        return -ENOTSUP;
    }
    if (how == PREALLOC_METADATA) {
        fail(err, "preallocation 'metadata' is for formats that have some");
        return -ENOTSUP;
    }
    uint64_t old = b->length;
    if (ftruncate(s->fd, (off_t)len))
        return -errno;
    b->length = len;
    s->seen_to = 0;
    int r = 0;
    if (len > old && how == PREALLOC_FALLOC)
        r = co_fallocate(b->aio, s->fd, 0, old, len - old, s->aio_flags);
    enum { CHUNK = 1 << 20 };
    g_autofree uint8_t *zeros = len > old && how == PREALLOC_FULL ? g_malloc0(CHUNK) : NULL;
    for (uint64_t at = old, n; zeros && at < len && !r; at += n) {
        n = MIN(len - at, CHUNK);
        struct iovec v = { zeros, n };
        int64_t done = co_pwritev(b->aio, s->fd, &v, 1, at, s->aio_flags);
        r = done < 0 ? (int)done : 0;
    }
    if (r) {            /* as it was */
        if (!ftruncate(s->fd, (off_t)old))
            b->length = old;
    }
    return r;
}

static int file_map(Block *b, uint64_t at, uint64_t len, Extent *out)
{
    File *s = b->state;
    *out = (Extent){ .len = len, .flags = EXTENT_ALLOCATED | EXTENT_OFFSET, .file = b, .offset = at };
    if (at < s->seen_from || at >= s->seen_to) {
        off_t data = s->device ? (off_t)at : lseek(s->fd, (off_t)at, SEEK_DATA);
        s->seen_from = at;
        if (data < 0 && errno == ENXIO) {
            s->seen_data = false;
            s->seen_to = b->length;
        } else if (data > (off_t)at) {
            s->seen_data = false;
            s->seen_to = (uint64_t)data;
        } else {
            off_t hole = data < 0 || s->device ? -1 : lseek(s->fd, (off_t)at, SEEK_HOLE);
            s->seen_data = true;
            s->seen_to = hole > (off_t)at ? (uint64_t)hole : b->length;
        }
    }
    out->len = MIN(len, s->seen_to - at);
    out->flags |= s->seen_data ? EXTENT_DATA : EXTENT_ZERO;
    return 0;
}

static int file_info(Block *b, BlockInfo *out)
{
    File *s = b->state;
    struct stat st;
    if (fstat(s->fd, &st))
        return -errno;
    out->allocated = (uint64_t)st.st_blocks * 512;
    out->in_memory = s->aio_flags & AIO_MEMORY;
    return 0;
}

static bool file_create(BlockGraph *g, const char *filename, Json *options, GError **err)
{
    uint64_t size = 0;
    const char *prealloc = "off";
    BlockPrealloc how;
    if (!block_opt_size(options, "size", &size, err) ||
        !block_opt_string(options, "preallocation", &prealloc, err) || !block_parse_prealloc(prealloc, &how, err))
        return false;
    if (g_str_has_prefix(filename, "file:"))
        filename += 5;
    /* Not truncated before it is locked: somebody may be using it. */
    int fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
    if (fd < 0)
        return fail_errno(err, errno, "cannot create %s", filename);
    close(fd);
    Json *o = json_object();
    json_set(o, "driver", json_string("file"));
    json_set(o, "filename", json_string(filename));
    Block *b = block_open(g, NULL, o, BLOCK_RDWR | BLOCK_PROTOCOL, err);
    if (!b)
        return false;
    bool ok;
    File *s = b->state;
    if (s->device)
        ok = b->length >= size ? true : fail(err, "%s has %" PRIu64 " bytes, %" PRIu64 " are needed", filename, b->length, size);
    else
        ok = block_resize(b, 0, PREALLOC_OFF, err) && block_resize(b, size, how, err);
    int r = block_close(b);
    if (ok && r)
        ok = fail_errno(err, -r, "cannot close %s", filename);
    return ok;
}

static const BlockOption file_options[] = {
    { "preallocation", "str", "off, falloc or full" },
    { NULL }
};
static const BlockMaker file_maker = { .options = file_options, .co_create = file_create };

#define FILE_DRIVER                                                                                            \
    .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(File), .parse_filename = file_filename, .co_open = file_open,  \
    .co_close = file_close, .co_read = file_read, .co_write = file_write, .co_flush = file_flush,              \
    .co_zero = file_zero, .co_discard = file_discard, .co_resize = file_resize, .co_map = file_map,            \
    .co_info = file_info, .co_reopen = file_reopen, .maker = &file_maker
const BlockDriver block_file_driver = { .name = "file", .prefixes = { "file:" }, FILE_DRIVER };
const BlockDriver block_host_device_driver = { .name = "host_device", .prefixes = { "host_device:" }, FILE_DRIVER };
const BlockDriver block_host_cdrom_driver = {
    .name = "host_cdrom", .prefixes = { "host_cdrom:" }, .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(File),
    .parse_filename = file_filename, .co_open = file_open, .co_close = file_close, .co_read = cdrom_read,
};
