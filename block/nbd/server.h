/* SPDX-License-Identifier: GPL-2.0-or-later
 * NBD server: exports nodes of one graph to any number of clients, by coroutines of the graph's thread.
 *
 * Clients are hostile: what they send is bounded in length, in number and, until they have negotiated, in time. */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "block/nbd/nbd.h"

typedef struct NbdServer NbdServer;
typedef struct NbdServerHooks {
    void *self;
    void (*left)(void *self, unsigned remaining);       /* a client that had negotiated is gone; may be NULL */
} NbdServerHooks;

/* tls: NULL: in the clear; the caller keeps it.  max_clients: at once, 0: no limit. */
NbdServer *nbd_server_new(Aio *aio, const NbdCreds *tls, unsigned max_clients, const NbdServerHooks *hooks);
/* Takes a reference.  description may be NULL. */
void nbd_server_export(NbdServer *s, const char *name, const char *description, Block *b, bool writable);
/* Shows a bitmap of an export's node, or of one below it, as context "qemu:dirty-bitmap:NAME". */
bool nbd_server_bitmap(NbdServer *s, const char *export, const char *name, GError **err);
/* Accepts on a listening, non-blocking socket, which becomes the server's.  In a coroutine, as is the next. */
void nbd_server_listen(NbdServer *s, int fd);
/* One client that is connected already. */
void nbd_server_client(NbdServer *s, int fd);
/* Ends all connections, waits for what they are doing, frees. */
void nbd_server_stop(NbdServer *s);

#endif
