/* SPDX-License-Identifier: GPL-2.0-or-later
 * The event loop of an I/O thread: file operations, timers, descriptors and work for helper threads, each awaited
 * by a coroutine.  io_uring where the kernel allows it, otherwise a pool of threads.
 *
 * One thread runs an Aio; only aio_post() may be called from others. */
#ifndef BLOCK_AIO_H
#define BLOCK_AIO_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/coroutine.h"

typedef struct Aio Aio;
/* AIO_AUTO: the better of the others that there is, and small requests that no device delays are done at once, without
 * either. */
typedef enum AioEngine { AIO_AUTO, AIO_URING, AIO_THREADS } AioEngine;

/* NULL on error: AIO_URING where the kernel refuses it. */
Aio *aio_new(AioEngine engine, GError **err);
/* The thread has nothing better to do than to wait for its requests: with AIO_AUTO, small writes to the page cache are
 * done at once as well, though the kernel may make the whole thread wait while it cleans pages. */
void aio_set_patient(Aio *a);
void aio_free(Aio *a);                  /* nothing may be under way */
/* Runs fn(self) as a coroutine and polls until it has returned. */
void aio_run(Aio *a, void (*fn)(void *self), void *self);
/* fn(self) on the loop's thread, in order of posting; any thread. */
void aio_post(Aio *a, void (*fn)(void *self), void *self);

/* From here on: in coroutines on the loop's thread.  Bytes done (fewer than asked for at end of file), 0, or
 * -errno.  Transfers that the kernel cuts short are continued. */
enum {
    AIO_DSYNC  = 1 << 0,
    AIO_CACHED = 1 << 1,    /* goes through the page cache */
    AIO_MEMORY = 1 << 2,    /* the file is memory: there is no device */
    /* The user has said how ("aio="), and that is how, whatever would be faster. */
    AIO_BY_THREADS = 1 << 3,
    AIO_BY_URING   = 1 << 4,
    AIO_BY_NATIVE  = 1 << 5,    /* Linux AIO, io_submit(2), for reads and writes; the pool for the rest */
    AIO_BY         = AIO_BY_THREADS | AIO_BY_URING | AIO_BY_NATIVE,
};
/* Whether the kernel has what one of AIO_BY asks for; anywhere on the loop's thread. */
bool aio_can(Aio *a, unsigned by, GError **err);
int64_t co_preadv(Aio *a, int fd, const struct iovec *v, int nv, uint64_t at, unsigned flags);
int64_t co_pwritev(Aio *a, int fd, const struct iovec *v, int nv, uint64_t at, unsigned flags);
int co_fdatasync(Aio *a, int fd, unsigned flags);
int co_fallocate(Aio *a, int fd, int mode, uint64_t at, uint64_t len, unsigned flags);
/* Until fd is ready for one of poll(2)'s events; those that it is ready for. */
int co_poll(Aio *a, int fd, unsigned events);
void co_sleep_ns(Aio *a, int64_t ns);
/* fn(self) on a helper thread; its result. */
int co_work(Aio *a, int (*fn)(void *self), void *self);
/* The same for what computes and does not wait: as many at a time as there are processors. */
int co_compute(Aio *a, int (*fn)(void *self), void *self);
/* Lets everything else that is ready go first. */
void co_pause(Aio *a);

/* On scatter lists. */
uint64_t iov_size(const struct iovec *v, int nv);
void iov_from_buf(const struct iovec *v, int nv, uint64_t skip, const void *buf, uint64_t len);
void iov_to_buf(const struct iovec *v, int nv, uint64_t skip, void *buf, uint64_t len);
void iov_fill(const struct iovec *v, int nv, uint64_t skip, int byte, uint64_t len);
/* out[0..] becomes bytes [skip, skip + len) of v; out has room for nv.  The count. */
int iov_slice(const struct iovec *v, int nv, uint64_t skip, uint64_t len, struct iovec *out);
bool buf_is_zero(const void *buf, size_t len);
bool iov_is_zero(const struct iovec *v, int nv);

#endif
