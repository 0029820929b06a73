/* SPDX-License-Identifier: GPL-2.0-or-later
 * The Network Block Device protocol (NetworkBlockDevice/nbd, doc/proto.md): fixed newstyle negotiation, structured replies,
 * block status.  All numbers on the wire are big-endian. */
#ifndef BLOCK_NBD_NBD_H
#define BLOCK_NBD_NBD_H

#include "block/driver.h"

typedef struct NbdCreds NbdCreds;           /* tls.h */

#define NBD_MAGIC           UINT64_C(0x4e42444d41474943)     /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC    UINT64_C(0x49484156454f5054)     /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC     UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC   0x25609513u
#define NBD_SIMPLE_MAGIC    0x67446698u
#define NBD_CHUNK_MAGIC     0x668e33efu

enum {
    NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2,                              /* of both sides */
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3, NBD_OPT_STARTTLS = 5, NBD_OPT_INFO = 6, NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED = 8, NBD_OPT_LIST_META = 9, NBD_OPT_SET_META = 10,
    NBD_REP_ACK = 1, NBD_REP_SERVER = 2, NBD_REP_INFO = 3, NBD_REP_META = 4,
    NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3,
    NBD_HAS_FLAGS = 1, NBD_READ_ONLY = 2, NBD_SEND_FLUSH = 4, NBD_SEND_FUA = 8, NBD_SEND_TRIM = 32, NBD_SEND_ZEROES = 64,
    NBD_SEND_DF = 128, NBD_MULTI_CONN = 256, NBD_SEND_CACHE = 1024, NBD_SEND_FAST_ZERO = 2048,
    NBD_READ = 0, NBD_WRITE = 1, NBD_DISC = 2, NBD_FLUSH = 3, NBD_TRIM = 4, NBD_CACHE = 5, NBD_ZEROES = 6, NBD_STATUS = 7,
    NBD_F_FUA = 1, NBD_F_NO_HOLE = 2, NBD_F_DF = 4, NBD_F_REQ_ONE = 8, NBD_F_FAST_ZERO = 16,
    NBD_CHUNK_NONE = 0, NBD_CHUNK_DATA = 1, NBD_CHUNK_HOLE = 2, NBD_CHUNK_STATUS = 5, NBD_CHUNK_ERROR = 32769, NBD_CHUNK_ERROR_AT = 32770,
    NBD_CHUNK_DONE = 1,
    NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2,                                 /* of base:allocation */
    NBD_STATE_DIRTY = 1,                                                    /* of qemu:dirty-bitmap: */
    NBD_MAX_REQUEST = 32 << 20, NBD_MAX_NAME = 4096, NBD_MAX_OPTION = 64 << 10,
    NBD_DEFAULT_PORT = 10809,
};
#define NBD_REP_ERR(n)      (0x80000000u + (n))
enum { NBD_ERR_UNSUP = 1, NBD_ERR_POLICY = 2, NBD_ERR_INVALID = 3, NBD_ERR_TLS_REQUIRED = 5, NBD_ERR_UNKNOWN = 6, NBD_ERR_SHUTDOWN = 7,
       NBD_ERR_TOO_BIG = 9 };
#define NBD_BASE_ALLOCATION "base:allocation"

/* --- a connection: bytes in both directions, by coroutines of one thread.  Sockets are non-blocking. */
typedef struct NbdTls NbdTls;               /* a session (tls.c) */
typedef struct NbdStream {
    Aio     *aio;
    int      fd;
    NbdTls  *tls;                           /* NULL: in the clear */
    size_t   from, to;                      /* what was read ahead lies at buf[from, to) */
    uint8_t  buf[16384];
} NbdStream;

void nbd_stream_init(NbdStream *s, Aio *aio, int fd);
void nbd_stream_close(NbdStream *s);
void nbd_stream_stop(NbdStream *s);         /* both directions fail from now on; whoever waits is woken */
/* All of it: 0 or -errno; -ECONNRESET: the other side has gone. */
int  nbd_read(NbdStream *s, void *buf, size_t len);
int  nbd_readv(NbdStream *s, const struct iovec *v, int nv);
int  nbd_skip(NbdStream *s, uint64_t len);
int  nbd_write(NbdStream *s, const void *buf, size_t len);
int  nbd_writev(NbdStream *s, const struct iovec *v, int nv);

/* --- addresses */
typedef struct NbdAddress { char *unix_path, *host, *port; } NbdAddress;   /* either the first or the others */
void nbd_address_clear(NbdAddress *a);
/* In a coroutine; a socket, -1 on error.  *pending (NULL: nobody asks) is the socket meanwhile: to shut it down ends it. */
int  nbd_connect(Aio *aio, const NbdAddress *a, int *pending, GError **err);
/* Sockets that listen, at most max; 0 on error. */
unsigned nbd_listen(const NbdAddress *a, int *fds, unsigned max, GError **err);

/* --- the client's negotiation */
typedef struct NbdExport { uint64_t size; uint16_t flags; uint32_t min_block, preferred, max_block; uint32_t meta_id;
                           bool structured, has_meta; char *description; } NbdExport;
/* For export `name`; meta: the context wanted, NULL: none.  tls: credentials, NULL: in the clear. */
bool nbd_negotiate(NbdStream *s, const char *name, const char *meta, const NbdCreds *tls, const char *host, NbdExport *out, GError **err);
/* The names of all exports, with sizes and so on. */
typedef struct NbdListed { char *name; NbdExport e; GPtrArray *contexts; } NbdListed;
bool nbd_list(NbdStream *s, const NbdCreds *tls, const char *host, GPtrArray *out, GError **err);    /* NbdListed * */
void nbd_listed_free(void *listed);

#endif
