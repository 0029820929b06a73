/* SPDX-License-Identifier: GPL-2.0-or-later
 * Ciphers over sectors of 512 bytes, hashes and key derivation, by libgcrypt, which is loaded when first asked for. */
#ifndef BLOCK_CRYPTO_CRYPT_H
#define BLOCK_CRYPTO_CRYPT_H

#include "block/driver.h"

enum { CRYPT_SECTOR = 512, CRYPT_MAX_KEY = 64, CRYPT_MAX_HASH = 64 };

typedef struct CryptCipher {
    const char *name, *family;  /* "aes-256", and what a LUKS header says: "aes" */
    unsigned    key, block;     /* bytes */
    int         algo;           /* libgcrypt's; 0: it has none */
    bool        quick;          /* done by the processor: gigabytes per second */
} CryptCipher;
typedef struct CryptHash { const char *name; unsigned size; int algo; } CryptHash;
typedef enum CryptMode { CRYPT_ECB, CRYPT_CBC, CRYPT_XTS } CryptMode;
typedef enum CryptIv { CRYPT_PLAIN, CRYPT_PLAIN64, CRYPT_ESSIV } CryptIv;

typedef struct CryptSpec {
    const CryptCipher *cipher;
    CryptMode          mode;
    CryptIv            iv;
    const CryptHash   *iv_hash;     /* of essiv */
} CryptSpec;

/* By name; NULL and an error that lists what there is. */
const CryptCipher *crypt_cipher(const char *name, GError **err);
const CryptHash *crypt_hash(const char *name, GError **err);
bool crypt_mode(const char *name, CryptMode *out, GError **err);
bool crypt_iv(const char *name, CryptIv *out, GError **err);
/* The cipher of a family ("aes") with a key of that many bytes; NULL: none. */
const CryptCipher *crypt_cipher_sized(const char *family, unsigned key);
const char *crypt_mode_name(CryptMode m);
const char *crypt_iv_name(CryptIv iv);
unsigned crypt_key_size(const CryptSpec *s);        /* bytes: twice the cipher's with XTS */

/* Any thread; the library must have been asked for by crypt_ready(). */
bool crypt_ready(GError **err);
void crypt_digest(const CryptHash *h, const void *in, size_t len, uint8_t *out);
int crypt_derive(const CryptHash *h, const void *password, size_t len, const uint8_t *salt, size_t salt_len,
                 uint32_t iterations, uint8_t *out, size_t out_len);         /* PBKDF2, RFC 8018 */
bool crypt_decrypt_once(const uint8_t key[32], const uint8_t iv[16], uint8_t *data, size_t len, GError **err); /* AES-256-CBC */

/* A key at work.  NULL: the cipher, mode and so on do not go together or are not to be had. */
typedef struct Crypt Crypt;
Crypt *crypt_new(const CryptSpec *s, const uint8_t *key, GError **err);
void crypt_free(Crypt *c);          /* NULL is fine */
/* Whole sectors, from in to out (which may be one); sector: number of the first.  Any thread.  0 or -EIO. */
int crypt_run(Crypt *c, bool encrypt, uint64_t sector, uint8_t *out, const uint8_t *in, size_t len);

/* Coroutines: whole sectors at `at` of b, whose first has that number as far as the cipher is concerned. */
int crypt_readv(Crypt *c, Block *b, uint64_t at, uint64_t sector, const struct iovec *v, int nv);
int crypt_writev(Crypt *c, Block *b, uint64_t at, uint64_t sector, const struct iovec *v, int nv);

#endif
