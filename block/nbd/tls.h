/* SPDX-License-Identifier: GPL-2.0-or-later
 * TLS for NBD by GnuTLS, which is loaded when first asked for. */
#ifndef BLOCK_NBD_TLS_H
#define BLOCK_NBD_TLS_H

#include "block/nbd/nbd.h"

typedef struct NbdCreds NbdCreds;

/* "tls-creds-x509,id=a,dir=D,endpoint=client|server[,verify-peer=on|off][,priority=P]" or
 * "tls-creds-psk,id=a,dir=D,endpoint=...[,username=U]", as -object has them; file names in the folder are those that QEMU's
 * users have: ca-cert.pem, ca-crl.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem, keys.psk. */
NbdCreds *nbd_creds_new(const char *spec, GError **err);
void nbd_creds_free(NbdCreds *c);               /* NULL is fine */
const NbdCreds *block_creds(BlockGraph *g, const char *id, GError **err);     /* one of block_add_object() */
bool nbd_creds_server(const NbdCreds *c);

/* In a coroutine: after it what goes over the stream is encrypted.  host: whom the certificate must name; NULL: anybody. */
bool nbd_tls_start(NbdStream *s, const NbdCreds *c, const char *host, GError **err);
void nbd_tls_free(NbdTls *t);
/* Bytes, or -errno; -EAGAIN: poll. */
ssize_t nbd_tls_read(NbdStream *s, void *buf, size_t len);
ssize_t nbd_tls_write(NbdStream *s, const void *buf, size_t len);

#endif
