/* SPDX-License-Identifier: GPL-2.0-or-later
 * LUKS version 1: a header with eight key slots, at the start of a file (block/crypto/driver.c) or somewhere in a qcow2 image. */
#ifndef BLOCK_CRYPTO_LUKS_H
#define BLOCK_CRYPTO_LUKS_H

#include "block/crypto/crypt.h"

enum { LUKS_SLOTS = 8, LUKS_STRIPES = 4000 };

typedef struct LuksSlot {
    bool     active;
    uint32_t iterations, stripes;
    uint64_t at;                    /* of the key material, from the header on */
    uint8_t  salt[32];
} LuksSlot;

typedef struct Luks {
    Block     *file;
    uint64_t   base, payload;       /* where the header is in file; its length with all key material */
    CryptSpec  spec;
    const CryptHash *hash;
    uint32_t   digest_iterations;
    uint8_t    digest[20], digest_salt[32];
    char       uuid[41];
    LuksSlot   slot[LUKS_SLOTS];
    Crypt     *crypt;               /* NULL: not unlocked */
    uint8_t    key[CRYPT_MAX_KEY];  /* once unlocked */
} Luks;

int luks_probe(const uint8_t *head, size_t n);

/* All in coroutines.  Reads and checks the header, which ends at base + room at the latest; it stays locked. */
Luks *luks_open(Block *file, uint64_t base, uint64_t room, GError **err);
void luks_free(Luks *l);            /* keys are wiped; NULL is fine */
bool luks_unlock(Luks *l, BlockGraph *g, const char *key_secret, GError **err);
/* Members of "info"; format: one more of them, NULL: none. */
void luks_info(const Luks *l, const char *format, Json *out);

/* How a new header is to be; prefix ("" or "encrypt.") stands before each option's name. */
typedef struct LuksMake {
    const char *key_secret;
    CryptSpec   spec;
    const CryptHash *hash;
    uint64_t    iter_ms;
} LuksMake;
bool luks_make_options(Json *o, const char *prefix, LuksMake *out, GError **err);
uint64_t luks_make_size(const LuksMake *m);        /* of the header, up to the payload */
/* Whether the secret is there and the rest goes together, before anything is written. */
bool luks_make_ready(BlockGraph *g, const LuksMake *m, GError **err);
bool luks_make(Block *file, uint64_t base, const LuksMake *m, GError **err);
/* Options state, new-secret, old-secret, keyslot, iter-time, force. */
bool luks_amend(Luks *l, BlockGraph *g, Json *o, const char *prefix, GError **err);

#define LUKS_MAKE_OPTIONS(prefix)                                                                   \
    { prefix "cipher-alg", "str", "aes-256 (default), aes-128, serpent-256, twofish-256, ..." },    \
    { prefix "cipher-mode", "str", "xts (default), cbc or ecb" },                                   \
    { prefix "hash-alg", "str", "of the password: sha256 (default), sha512, sha1, ..." },           \
    { prefix "iter-time", "num", "milliseconds that trying a password takes, default 2000" },       \
    { prefix "ivgen-alg", "str", "plain64 (default), plain or essiv" },                             \
    { prefix "ivgen-hash-alg", "str", "of essiv: sha256 (default)" },                               \
    { prefix "key-secret", "str", "id of the secret with the password" }

#define LUKS_AMEND_OPTIONS(prefix)                                                                  \
    { prefix "iter-time", "num", "milliseconds that trying the new password takes, default 2000" }, \
    { prefix "keyslot", "num", "the slot, 0 to 7" },                                                \
    { prefix "new-secret", "str", "id of the secret with the new password" },                       \
    { prefix "old-secret", "str", "state=inactive: all slots that this password opens" },           \
    { prefix "state", "str", "active or inactive" }

#endif
