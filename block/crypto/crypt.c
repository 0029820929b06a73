/* SPDX-License-Identifier: GPL-2.0-or-later
 * Sector encryption as dm-crypt and LUKS (on-disk format 1.2.3, sections 2 and 6) know it: each sector by itself, with an
 * initialisation vector made from its number.
 *   plain    the number's low 32 bits, little-endian, then zeros
 *   plain64  all 64 bits
 *   essiv    plain64 encrypted with the hash of the key
 *
 * A handle of the library has a state, so each thread at work takes one from a pool. */
#include "block/crypto/crypt.h"

#include <errno.h>
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"
#include "util/library.h"

enum { WORKER_QUICK = 256 << 10, WORKER_SLOW = 8 << 10, MAX_BLOCK = 16 };

#define GCRYPT_FUNCTIONS(F)                                                                                             \
    F(check_version) F(control) F(md_hash_buffer) F(kdf_derive) F(cipher_open) F(cipher_close)           \
    F(cipher_setkey) F(cipher_setiv) F(cipher_encrypt) F(cipher_decrypt)

typedef struct Gcrypt {
#define F(name) __typeof__(&gcry_##name) name;
    GCRYPT_FUNCTIONS(F)
#undef F
} Gcrypt;

static gpointer gcrypt_open(gpointer unused)
{
#define F(name) "gcry_" #name,
    Gcrypt *g = library_open("libgcrypt.so.20", (const char *const[]){ GCRYPT_FUNCTIONS(F) NULL });
#undef F
    if (!g || !g->check_version("1.8.0"))
        return NULL;
    /* Somebody else in this process may have set it up.  Handles are wiped when closed; locked memory would be 16 KiB. */
    if (!g->control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
        g->control(GCRYCTL_DISABLE_SECMEM, 0);
        g->control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    }
    return g;
}

static const Gcrypt *library(void)
{
    static GOnce once = G_ONCE_INIT;
    return g_once(&once, gcrypt_open, NULL);
}

bool crypt_ready(GError **err)
{
    return library() || fail(err, "encryption needs libgcrypt 1.8 (libgcrypt.so.20, Debian package libgcrypt20)");
}

/* --- what there is */

static const CryptCipher ciphers[] = {
    { "aes-128",     "aes",     16, 16, GCRY_CIPHER_AES128,     true  },
    { "aes-192",     "aes",     24, 16, GCRY_CIPHER_AES192,     true  },
    { "aes-256",     "aes",     32, 16, GCRY_CIPHER_AES256,     true  },
    { "cast5-128",   "cast5",   16, 8,  GCRY_CIPHER_CAST5,      false },
    { "serpent-128", "serpent", 16, 16, GCRY_CIPHER_SERPENT128, false },
    { "serpent-192", "serpent", 24, 16, GCRY_CIPHER_SERPENT192, false },
    { "serpent-256", "serpent", 32, 16, GCRY_CIPHER_SERPENT256, false },
    { "twofish-128", "twofish", 16, 16, GCRY_CIPHER_TWOFISH128, false },
    { "twofish-192", "twofish", 24, 16, 0,                      false },
    { "twofish-256", "twofish", 32, 16, GCRY_CIPHER_TWOFISH,    false },
};
static const CryptHash hashes[] = {
    { "md5", 16, GCRY_MD_MD5 }, { "ripemd160", 20, GCRY_MD_RMD160 }, { "sha1", 20, GCRY_MD_SHA1 },
    { "sha224", 28, GCRY_MD_SHA224 }, { "sha256", 32, GCRY_MD_SHA256 }, { "sha384", 48, GCRY_MD_SHA384 },
    { "sha512", 64, GCRY_MD_SHA512 },
};
static const char *const modes[] = { [CRYPT_ECB] = "ecb", [CRYPT_CBC] = "cbc", [CRYPT_XTS] = "xts" };
static const char *const ivs[] = { [CRYPT_PLAIN] = "plain", [CRYPT_PLAIN64] = "plain64", [CRYPT_ESSIV] = "essiv" };

/* The index of the row (its first member is its name), or -1 and an error that names them all. */
static int row_named(const char *what, const void *rows, size_t size, unsigned n, const char *name, GError **err)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (unsigned i = 0; i < n; i++) {
        const char *row = *(const char *const *)((const char *)rows + i * size);
        if (!strcmp(row, name))
            return (int)i;
        g_string_append_printf(known, "%s%s", i ? ", " : "", row);
    }
    fail(err, "%s '%s' is none of %s", what, name, known->str);
    return -1;
}
#define ROW_NAMED(what, rows, name, err) row_named(what, rows, sizeof (rows)[0], ARRAY_LEN(rows), name, err)

const CryptCipher *crypt_cipher(const char *name, GError **err)
{
    int i = ROW_NAMED("cipher", ciphers, name, err);
    return i < 0 ? NULL : &ciphers[i];
}

const CryptHash *crypt_hash(const char *name, GError **err)
{
    int i = ROW_NAMED("hash", hashes, name, err);
    return i < 0 ? NULL : &hashes[i];
}

bool crypt_mode(const char *name, CryptMode *out, GError **err)
{
    int i = ROW_NAMED("cipher mode", modes, name, err);
    *out = (CryptMode)MAX(i, 0);
    return i >= 0;
}

bool crypt_iv(const char *name, CryptIv *out, GError **err)
{
    int i = ROW_NAMED("initialisation vector", ivs, name, err);
    *out = (CryptIv)MAX(i, 0);
    return i >= 0;
}

const CryptCipher *crypt_cipher_sized(const char *family, unsigned key)
{
    for (unsigned i = 0; i < ARRAY_LEN(ciphers); i++)
        if (!strcmp(ciphers[i].family, family) && ciphers[i].key == key)
            return &ciphers[i];
    return NULL;
}
const char *crypt_mode_name(CryptMode m) { return modes[m]; }
const char *crypt_iv_name(CryptIv iv) { return ivs[iv]; }
unsigned crypt_key_size(const CryptSpec *s) { return s->cipher->key * (s->mode == CRYPT_XTS ? 2 : 1); }

/* --- hashes and keys */

void crypt_digest(const CryptHash *h, const void *in, size_t len, uint8_t *out)
{
    library()->md_hash_buffer(h->algo, out, in, len);
}

int crypt_derive(const CryptHash *h, const void *password, size_t len, const uint8_t *salt, size_t salt_len,
                 uint32_t iterations, uint8_t *out, size_t out_len)
{
    return library()->kdf_derive(password, len, GCRY_KDF_PBKDF2, h->algo, salt, salt_len, iterations, out_len, out) ? -EIO : 0;
}

bool crypt_decrypt_once(const uint8_t key[32], const uint8_t iv[16], uint8_t *data, size_t len, GError **err)
{
    if (!crypt_ready(err))
        return false;
    const Gcrypt *g = library();
    gcry_cipher_hd_t h;
    if (g->cipher_open(&h, GCRY_CIPHER_AES256, GCRY_CIPHER_MODE_CBC, 0))
        return fail(err, "libgcrypt has no AES-256");
    bool ok = !g->cipher_setkey(h, key, 32) && !g->cipher_setiv(h, iv, 16) && !g->cipher_decrypt(h, data, len, NULL, 0);
    g->cipher_close(h);
    return ok || fail(err, "libgcrypt cannot decrypt with AES-256");
}

/* --- keys at work */

typedef struct Handle { gcry_cipher_hd_t data, iv; } Handle;

struct Crypt {
    const Gcrypt *g;
    CryptSpec spec;
    uint8_t   key[CRYPT_MAX_KEY], iv_key[CRYPT_MAX_HASH];
    const CryptCipher *iv_cipher;
    GMutex    lock;             /* of idle, which holds what no thread uses now */
    GPtrArray *idle;
};

static void handle_free(Crypt *c, Handle *h)
{
    if (h->data)
        c->g->cipher_close(h->data);
    if (h->iv)
        c->g->cipher_close(h->iv);
    g_free(h);
}

static Handle *handle_new(Crypt *c)
{
    static const int gcrypt_mode[] = {
        [CRYPT_ECB] = GCRY_CIPHER_MODE_ECB, [CRYPT_CBC] = GCRY_CIPHER_MODE_CBC, [CRYPT_XTS] = GCRY_CIPHER_MODE_XTS,
    };
    Handle *h = g_new0(Handle, 1);
    bool ok = !c->g->cipher_open(&h->data, c->spec.cipher->algo, gcrypt_mode[c->spec.mode], 0) &&
              !c->g->cipher_setkey(h->data, c->key, crypt_key_size(&c->spec));
    if (ok && c->iv_cipher)
        ok = !c->g->cipher_open(&h->iv, c->iv_cipher->algo, GCRY_CIPHER_MODE_ECB, 0) &&
             !c->g->cipher_setkey(h->iv, c->iv_key, c->iv_cipher->key);
    if (ok)
        return h;
    handle_free(c, h);
    return NULL;
}

Crypt *crypt_new(const CryptSpec *s, const uint8_t *key, GError **err)
{
    if (!crypt_ready(err))
        return NULL;
    if (!s->cipher->algo) {
        fail(err, "cipher '%s' is not in libgcrypt", s->cipher->name);
        return NULL;
    }
    if (s->mode == CRYPT_XTS && s->cipher->block != 16) {
        fail(err, "cipher '%s' has blocks of %u bytes, mode xts is for blocks of 16 (take cbc)", s->cipher->name, s->cipher->block);
        return NULL;
    }
    Crypt *c = g_new0(Crypt, 1);
    c->g = library();
    c->spec = *s;
    c->idle = g_ptr_array_new();
    g_mutex_init(&c->lock);
    memcpy(c->key, key, crypt_key_size(s));
    if (s->iv == CRYPT_ESSIV) {
        c->iv_cipher = crypt_cipher_sized(s->cipher->family, s->iv_hash->size);
        if (!c->iv_cipher) {
            fail(err, "essiv with %s needs a key of %u bytes, which cipher '%s' does not have", s->iv_hash->name,
                 s->iv_hash->size, s->cipher->family);
            crypt_free(c);
            return NULL;
        }
        crypt_digest(s->iv_hash, key, crypt_key_size(s), c->iv_key);
    }
    Handle *h = handle_new(c);
    if (!h) {
        fail(err, "libgcrypt refuses cipher '%s' in mode %s", s->cipher->name, modes[s->mode]);
        crypt_free(c);
        return NULL;
    }
    g_ptr_array_add(c->idle, h);
    return c;
}

void crypt_free(Crypt *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->idle->len; i++)
        handle_free(c, c->idle->pdata[i]);
    g_ptr_array_free(c->idle, TRUE);
    g_mutex_clear(&c->lock);
    explicit_bzero(c, sizeof *c);
    g_free(c);
}

static int run_sectors(Crypt *c, Handle *h, bool encrypt, uint64_t sector, uint8_t *out, const uint8_t *in, size_t len)
{
    __typeof__(c->g->cipher_encrypt) step = encrypt ? c->g->cipher_encrypt : c->g->cipher_decrypt;
    gcry_error_t e = 0;
    if (c->spec.mode == CRYPT_ECB)      /* no vector, so all at once */
        return step(h->data, out, len, in, len) ? -EIO : 0;
    for (size_t at = 0; at < len && !e; at += CRYPT_SECTOR, sector++) {
        uint8_t iv[MAX_BLOCK] = { 0 };
        store_le64(iv, c->spec.iv == CRYPT_PLAIN ? (uint32_t)sector : sector);
        if (h->iv)
            e = c->g->cipher_encrypt(h->iv, iv, c->iv_cipher->block, NULL, 0);
        if (!e)
            e = c->g->cipher_setiv(h->data, iv, c->spec.cipher->block);
        if (!e)
            e = step(h->data, out + at, CRYPT_SECTOR, in + at, CRYPT_SECTOR);
    }
    return e ? -EIO : 0;
}

int crypt_run(Crypt *c, bool encrypt, uint64_t sector, uint8_t *out, const uint8_t *in, size_t len)
{
    g_mutex_lock(&c->lock);
    Handle *h = c->idle->len ? g_ptr_array_steal_index_fast(c->idle, c->idle->len - 1) : NULL;
    g_mutex_unlock(&c->lock);
    if (!h)
        h = handle_new(c);
    if (!h)
        return -EIO;
    int r = run_sectors(c, h, encrypt, sector, out, in, len);
    g_mutex_lock(&c->lock);
    g_ptr_array_add(c->idle, h);
    g_mutex_unlock(&c->lock);
    return r;
}

/* --- requests */

typedef struct Work {
    Crypt   *c;
    bool     encrypt;
    uint64_t sector;
    const struct iovec *v;
    int      nv;
    uint8_t *out;               /* NULL: where v is */
} Work;

static int work(void *self)
{
    Work *w = self;
    uint8_t *out = w->out;
    uint64_t sector = w->sector;
    int r = 0;
    for (int i = 0; i < w->nv && !r; i++) {
        r = crypt_run(w->c, w->encrypt, sector, out ? out : w->v[i].iov_base, w->v[i].iov_base, w->v[i].iov_len);
        sector += w->v[i].iov_len / CRYPT_SECTOR;
        if (out)
            out += w->v[i].iov_len;
    }
    return r;
}

/* Long work goes to a helper thread. */
static int do_work(Work *w, Aio *aio, uint64_t len)
{
    return len >= (w->c->spec.cipher->quick ? WORKER_QUICK : WORKER_SLOW) ? co_work(aio, work, w) : work(w);
}

/* Each element is whole sectors. */
static bool whole_sectors(const struct iovec *v, int nv)
{
    for (int i = 0; i < nv; i++)
        if (v[i].iov_len % CRYPT_SECTOR)
            return false;
    return true;
}

int crypt_readv(Crypt *c, Block *b, uint64_t at, uint64_t sector, const struct iovec *v, int nv)
{
    uint64_t len = iov_size(v, nv);
    struct iovec one = { NULL, len };
    bool whole = whole_sectors(v, nv);
    Work w = { .c = c, .sector = sector, .v = whole ? v : &one, .nv = whole ? nv : 1 };
    if (!whole) {
        one.iov_base = block_buffer(len);
        if (!one.iov_base)
            return -ENOMEM;
    }
    int r = block_readv(b, at, w.v, w.nv);
    if (!r)
        r = do_work(&w, b->aio, len);
    if (!r && !whole)
        iov_from_buf(v, nv, 0, one.iov_base, len);
    free(one.iov_base);
    return r;
}

int crypt_writev(Crypt *c, Block *b, uint64_t at, uint64_t sector, const struct iovec *v, int nv)
{
    uint64_t len = iov_size(v, nv);
    uint8_t *buf = block_buffer(len);
    if (!buf)
        return -ENOMEM;
    struct iovec one = { buf, len };
    Work w = { .c = c, .encrypt = true, .sector = sector, .v = v, .nv = nv, .out = buf };
    if (!whole_sectors(v, nv)) {
        iov_to_buf(v, nv, 0, buf, len);
        w.v = &one;
        w.nv = 1;
        w.out = NULL;
    }
    int r = do_work(&w, b->aio, len);
    if (!r)
        r = block_writev(b, at, &one, 1, 0);
    free(buf);
    return r;
}
