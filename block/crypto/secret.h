/* SPDX-License-Identifier: GPL-2.0-or-later
 * Secrets: passwords and keys that images are opened with (--object secret). */
#ifndef BLOCK_CRYPTO_SECRET_H
#define BLOCK_CRYPTO_SECRET_H

#include "block/crypto/crypt.h"
#include "block/object.h"

typedef struct Secret { uint8_t *data; size_t len; } Secret;    /* a NUL follows data[len - 1] */

/* "secret,id=a,data=TEXT|file=PATH[,format=raw|base64][,keyid=OTHER,iv=BASE64]".  With keyid the data are encrypted with
 * AES-256-CBC and PKCS#7 padding under the 32-byte secret OTHER. */
Secret *secret_new(BlockGraph *g, const char *spec, GError **err);
void secret_free(Secret *s);                    /* wiped; NULL is fine */
/* One of block_add_object(), the graph's still. */
const Secret *block_secret(BlockGraph *g, const char *id, GError **err);

/* The cipher of encrypted images of old (qcow, qcow2): AES-128-CBC, plain64, under the first 16 bytes of the secret. */
Crypt *crypt_legacy_aes(BlockGraph *g, const char *key_secret, GError **err);

#endif
