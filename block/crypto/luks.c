/* SPDX-License-Identifier: GPL-2.0-or-later
 * LUKS version 1, after "LUKS1 On-Disk Format Specification", version 1.2.3.
 *
 * A slot holds the volume key, split into `stripes` pieces of its size that only together give it (section 2.4), encrypted
 * with a key that PBKDF2 makes from the slot's password.  All waiting for PBKDF2 is done by helper threads.
 *
 * A hostile header could ask for hours of PBKDF2.  Iterations of the active slots, each with the digest that follows it, are at most
 * MAX_ITERATIONS together, 2^27: about 25 seconds of SHA-256 per 32 bytes of key on processors with SHA instructions; what
 * cryptsetup and others make by default, two seconds' worth, is a tenth of that for each slot. */
#include "block/crypto/luks.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "block/crypto/secret.h"
#include "util/bits.h"
#include "util/endian.h"
#include "util/error.h"

enum {
    HEADER = 592, SLOT0 = 208, SLOT_SIZE = 48, ALIGN = 4096, MIN_ITERATIONS = 1000, MAX_ITERATIONS = 1 << 27, MAX_STRIPES = 16384,
};
#define SLOT_ACTIVE   0x00ac71f3u
#define SLOT_INACTIVE 0x0000deadu
static const uint8_t magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

int luks_probe(const uint8_t *head, size_t n)
{
    return n >= HEADER && !memcmp(head, magic, sizeof magic) && load_be16(head + 6) == 1 ? 100 : 0;
}

static uint64_t material_size(const Luks *l, const LuksSlot *s) { return (uint64_t)crypt_key_size(&l->spec) * s->stripes; }
static uint64_t material_room(const CryptSpec *s) { return align_up((uint64_t)crypt_key_size(s) * LUKS_STRIPES, ALIGN); }

/* --- the header */

static bool text_at(const uint8_t *p, size_t size, const char *what, char *out, GError **err)
{
    memcpy(out, p, size);
    return memchr(p, 0, size) || fail(err, "LUKS header: the %s does not end", what);
}

/* "xts-plain64", "cbc-essiv:sha256", "ecb". */
static bool parse_mode(const char *text, CryptSpec *s, GError **err)
{
    g_auto(GStrv) part = g_strsplit(text, "-", 2);
    char *iv = part[0] ? part[1] : NULL, *hash = iv ? strchr(iv, ':') : NULL;
    if (hash)
        *hash++ = 0;
    if (!crypt_mode(part[0] ? part[0] : "", &s->mode, err))
        return false;
    s->iv = CRYPT_PLAIN64;
    if (!iv)
        return s->mode == CRYPT_ECB || fail(err, "mode '%s' has no initialisation vector", text);
    if (!crypt_iv(iv, &s->iv, err))
        return false;
    if (!!hash != (s->iv == CRYPT_ESSIV))
        return fail(err, "mode '%s': a hash goes with essiv", text);
    if (hash)
        s->iv_hash = crypt_hash(hash, err);
    return !hash || s->iv_hash;
}

/* Slots and payload: within the room, apart from each other. */
static bool check_places(const Luks *l, uint64_t room, GError **err)
{
    uint64_t iterations = 0;
    if (l->payload > room)
        return fail(err, "LUKS header: the payload begins at %" PRIu64 ", behind the end (%" PRIu64 ")", l->payload, room);
    if (l->digest_iterations < 1 || l->digest_iterations > MAX_ITERATIONS)
        return fail(err, "LUKS header: %u iterations for the key's digest; 1 to %d are accepted", l->digest_iterations, MAX_ITERATIONS);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slot[i];
        if (s->stripes < 1 || s->stripes > MAX_STRIPES)
            return fail(err, "LUKS header: slot %u has %u stripes; 1 to %d are accepted (%d is usual)", i, s->stripes, MAX_STRIPES,
                        LUKS_STRIPES);
        uint64_t size = align_up(material_size(l, s), CRYPT_SECTOR);
        if (s->at < HEADER || s->at > l->payload || size > l->payload - s->at)
            return fail(err, "LUKS header: slot %u (%" PRIu64 " bytes at %" PRIu64 ") is not between header and payload (%" PRIu64 ")",
                        i, size, s->at, l->payload);
        for (unsigned k = 0; k < i; k++)
            if (s->at < l->slot[k].at + material_size(l, &l->slot[k]) && l->slot[k].at < s->at + size)
                return fail(err, "LUKS header: slots %u and %u overlap", k, i);
        if (s->active && !s->iterations)
            return fail(err, "LUKS header: slot %u has no iterations", i);
        iterations += s->active ? (uint64_t)s->iterations + l->digest_iterations : 0;
    }
    if (iterations > MAX_ITERATIONS)
        return fail(err, "LUKS header: %" PRIu64 " iterations in all slots together; up to %d are accepted, since a crafted header could "
                    "keep this program busy for hours ('cryptsetup luksChangeKey --iter-time' makes fewer)", iterations, MAX_ITERATIONS);
    return true;
}

static bool parse(Luks *l, const uint8_t *h, uint64_t room, GError **err)
{
    char cipher[32], mode[32], hash[32];
    if (memcmp(h, magic, sizeof magic))
        return fail(err, "no LUKS header");
    if (load_be16(h + 6) != 1)
        return fail(err, "LUKS version %u is not known here, version 1 is ('cryptsetup convert --type luks1')", load_be16(h + 6));
    if (!text_at(h + 8, 32, "cipher", cipher, err) || !text_at(h + 40, 32, "mode", mode, err) ||
        !text_at(h + 72, 32, "hash", hash, err) || !text_at(h + 168, 40, "UUID", l->uuid, err))
        return false;
    uint32_t key = load_be32(h + 108);
    if (!parse_mode(mode, &l->spec, err) || !(l->hash = crypt_hash(hash, err)))
        return fail_prefix(err, "LUKS header: ");
    l->spec.cipher = l->spec.mode == CRYPT_XTS && key % 2 ? NULL : crypt_cipher_sized(cipher, l->spec.mode == CRYPT_XTS ? key / 2 : key);
    if (!l->spec.cipher)
        return fail(err, "LUKS header: no cipher '%s' with keys of %u bytes in mode '%s' is known", cipher, key, mode);
    l->payload = (uint64_t)load_be32(h + 104) * CRYPT_SECTOR;
    if (!l->payload)
        return fail(err, "LUKS header: it is detached from its payload, which is not known here");
    memcpy(l->digest, h + 112, sizeof l->digest);
    memcpy(l->digest_salt, h + 132, sizeof l->digest_salt);
    l->digest_iterations = load_be32(h + 164);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const uint8_t *p = h + SLOT0 + i * SLOT_SIZE;
        uint32_t state = load_be32(p);
        if (state != SLOT_ACTIVE && state != SLOT_INACTIVE)
            return fail(err, "LUKS header: slot %u is neither active nor inactive (%#x)", i, state);
        l->slot[i] = (LuksSlot){ .active = state == SLOT_ACTIVE, .iterations = load_be32(p + 4),
                                 .at = (uint64_t)load_be32(p + 40) * CRYPT_SECTOR, .stripes = load_be32(p + 44) };
        memcpy(l->slot[i].salt, p + 8, sizeof l->slot[i].salt);
    }
    return check_places(l, room, err);
}

Luks *luks_open(Block *file, uint64_t base, uint64_t room, GError **err)
{
    uint8_t h[HEADER];
    if (room < HEADER) {
        fail(err, "no room for a LUKS header");
        return NULL;
    }
    int r = block_read(file, base, h, sizeof h);
    if (r) {
        fail_errno(err, -r, "cannot read the LUKS header");
        return NULL;
    }
    Luks *l = g_new0(Luks, 1);
    l->file = file;
    l->base = base;
    if (parse(l, h, room, err))
        return l;
    luks_free(l);
    return NULL;
}

void luks_free(Luks *l)
{
    if (!l)
        return;
    crypt_free(l->crypt);
    explicit_bzero(l, sizeof *l);
    g_free(l);
}

static bool write_header(Luks *l, GError **err)
{
    uint8_t h[HEADER] = { 0 };
    memcpy(h, magic, sizeof magic);
    store_be16(h + 6, 1);
    g_strlcpy((char *)h + 8, l->spec.cipher->family, 32);
    g_snprintf((char *)h + 40, 32, "%s-%s%s%s", crypt_mode_name(l->spec.mode), crypt_iv_name(l->spec.iv), l->spec.iv_hash ? ":" : "",
               l->spec.iv_hash ? l->spec.iv_hash->name : "");
    g_strlcpy((char *)h + 72, l->hash->name, 32);
    store_be32(h + 104, (uint32_t)(l->payload / CRYPT_SECTOR));
    store_be32(h + 108, crypt_key_size(&l->spec));
    memcpy(h + 112, l->digest, sizeof l->digest);
    memcpy(h + 132, l->digest_salt, sizeof l->digest_salt);
    store_be32(h + 164, l->digest_iterations);
    memcpy(h + 168, l->uuid, 40);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slot[i];
        uint8_t *p = h + SLOT0 + i * SLOT_SIZE;
        store_be32(p, s->active ? SLOT_ACTIVE : SLOT_INACTIVE);
        store_be32(p + 4, s->active ? s->iterations : 0);
        memcpy(p + 8, s->salt, s->active ? sizeof s->salt : 0);
        store_be32(p + 40, (uint32_t)(s->at / CRYPT_SECTOR));
        store_be32(p + 44, s->stripes);
    }
    int r = block_write(l->file, l->base, h, sizeof h, 0);
    if (!r)
        r = block_flush(l->file);
    return !r || fail_errno(err, -r, "cannot write the LUKS header");
}

void luks_info(const Luks *l, const char *format, Json *out)
{
    json_set(out, "ivgen-alg", json_string(crypt_iv_name(l->spec.iv)));
    json_set(out, "hash-alg", json_string(l->hash->name));
    json_set(out, "cipher-alg", json_string(l->spec.cipher->name));
    json_set(out, "uuid", json_string(l->uuid));
    if (l->spec.iv_hash)
        json_set(out, "ivgen-hash-alg", json_string(l->spec.iv_hash->name));
    if (format)
        json_set(out, "format", json_string(format));
    json_set(out, "cipher-mode", json_string(crypt_mode_name(l->spec.mode)));
    Json *slots = json_array();
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slot[i];
        Json *o = json_object();
        json_set(o, "active", json_bool(s->active));
        if (s->active)
            json_set(o, "iters", json_int(s->iterations));
        json_set(o, "key-offset", json_u64(s->at));
        if (s->active)
            json_set(o, "stripes", json_int(s->stripes));
        json_add(slots, o);
    }
    json_set(out, "slots", slots);
    json_set(out, "payload-offset", json_u64(l->payload));
    json_set(out, "master-key-iters", json_int(l->digest_iterations));
}

/* --- the anti-forensic splitter, section 2.4 */

/* Each piece of the hash's size becomes the hash of its number and itself. */
static void diffuse(const CryptHash *h, uint8_t *block, size_t size)
{
    uint8_t in[4 + CRYPT_MAX_HASH], out[CRYPT_MAX_HASH];
    for (size_t at = 0, n, i = 0; at < size; at += n, i++) {
        n = MIN(size - at, h->size);
        store_be32(in, (uint32_t)i);
        memcpy(in + 4, block + at, n);
        crypt_digest(h, in, 4 + n, out);
        memcpy(block + at, out, n);
    }
    explicit_bzero(in, sizeof in);
    explicit_bzero(out, sizeof out);
}

/* Goes through the stripes but the last: out becomes what that is combined with. */
static void fold_stripes(const CryptHash *h, const uint8_t *stripes, size_t size, unsigned n, uint8_t *out)
{
    memset(out, 0, size);
    for (unsigned i = 0; i + 1 < n; i++) {
        for (size_t k = 0; k < size; k++)
            out[k] ^= stripes[i * size + k];
        diffuse(h, out, size);
    }
}

/* --- passwords and slots, on helper threads */

typedef struct SlotWork {
    Luks    *l;
    const LuksSlot *slot;
    const Secret *password;
    uint8_t *material;          /* whole sectors; changed in place */
    uint8_t  key[CRYPT_MAX_KEY];
    uint32_t iterations;
    uint64_t iter_ms;
} SlotWork;

static Crypt *slot_crypt(SlotWork *w)
{
    uint8_t key[CRYPT_MAX_KEY];
    Crypt *c = NULL;
    if (!crypt_derive(w->l->hash, w->password->data, w->password->len, w->slot->salt, sizeof w->slot->salt, w->slot->iterations, key,
                      crypt_key_size(&w->l->spec)))
        c = crypt_new(&w->l->spec, key, NULL);
    explicit_bzero(key, sizeof key);
    return c;
}

static int check_digest(Luks *l, const uint8_t *key, uint8_t digest[20])
{
    return crypt_derive(l->hash, key, crypt_key_size(&l->spec), l->digest_salt, sizeof l->digest_salt, l->digest_iterations, digest, 20);
}

/* -EACCES: not this slot's password. */
static int slot_read(void *self)
{
    SlotWork *w = self;
    Luks *l = w->l;
    size_t size = crypt_key_size(&l->spec), last = (w->slot->stripes - 1) * size;
    uint8_t digest[20];
    Crypt *c = slot_crypt(w);
    if (!c)
        return -EIO;
    int r = crypt_run(c, false, 0, w->material, w->material, align_up(material_size(l, w->slot), CRYPT_SECTOR));
    crypt_free(c);
    if (r)
        return r;
    fold_stripes(l->hash, w->material, size, w->slot->stripes, w->key);
    for (size_t i = 0; i < size; i++)
        w->key[i] ^= w->material[last + i];
    r = check_digest(l, w->key, digest);
    return r ? r : memcmp(digest, l->digest, sizeof digest) ? -EACCES : 0;
}

/* w->material: random. */
static int slot_write(void *self)
{
    SlotWork *w = self;
    Luks *l = w->l;
    size_t size = crypt_key_size(&l->spec);
    uint8_t *last = w->material + (w->slot->stripes - 1) * size;
    Crypt *c = slot_crypt(w);
    if (!c)
        return -EIO;
    fold_stripes(l->hash, w->material, size, w->slot->stripes, last);
    for (size_t i = 0; i < size; i++)
        last[i] ^= w->key[i];
    int r = crypt_run(c, true, 0, w->material, w->material, align_up(material_size(l, w->slot), CRYPT_SECTOR));
    crypt_free(c);
    return r;
}

/* Iterations that take iter_ms of this thread's time. */
static int measure(void *self)
{
    SlotWork *w = self;
    uint8_t key[CRYPT_MAX_KEY], salt[32] = { 0 };
    for (uint64_t n = 4096;; n *= 2) {
        struct timespec a, b;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
        int r = crypt_derive(w->l->hash, "password", 8, salt, sizeof salt, (uint32_t)n, key, crypt_key_size(&w->l->spec));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
        if (r)
            return r;
        uint64_t us = (uint64_t)((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
        if (us < 20000 && n < MAX_ITERATIONS / 2)
            continue;
        uint64_t count = MAX(n * w->iter_ms * 1000 / MAX(us, 1), MIN_ITERATIONS);
        w->iterations = (uint32_t)MIN(count, UINT32_MAX);
        return 0;
    }
}

static int random_bytes(void *out, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = getrandom((uint8_t *)out + done, len - done, 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Memory for a slot's key material, wiped by material_free(). */
static uint8_t *material_new(SlotWork *w) { return block_memory(align_up(material_size(w->l, w->slot), CRYPT_SECTOR)); }
static void material_free(SlotWork *w)
{
    if (w->material)
        explicit_bzero(w->material, align_up(material_size(w->l, w->slot), CRYPT_SECTOR));
    free(w->material);
}

/* Whether password opens the slot; its key goes to key. */
static int try_slot(Luks *l, unsigned i, const Secret *password, uint8_t *key)
{
    SlotWork w = { .l = l, .slot = &l->slot[i], .password = password };
    w.material = material_new(&w);
    int r = w.material ? 0 : -ENOMEM;
    if (!r)
        r = block_read(l->file, l->base + w.slot->at, w.material, align_up(material_size(l, w.slot), CRYPT_SECTOR));
    if (!r)
        r = co_work(l->file->aio, slot_read, &w);
    if (!r)
        memcpy(key, w.key, sizeof w.key);
    material_free(&w);
    explicit_bzero(&w, sizeof w);
    return r;
}

bool luks_unlock(Luks *l, BlockGraph *g, const char *key_secret, GError **err)
{
    if (!key_secret)
        return fail(err, "the image is encrypted: key-secret= must name a secret with its password (--object secret,id=...)");
    const Secret *password = block_secret(g, key_secret, err);
    if (!password || !crypt_ready(err))
        return false;
    /* Before any PBKDF2: what the library does not have. */
    Crypt *probe = crypt_new(&l->spec, l->key, err);
    if (!probe)
        return false;
    crypt_free(probe);
    int r = -EACCES;
    bool any = false;
    for (unsigned i = 0; i < LUKS_SLOTS && r == -EACCES; i++) {
        any |= l->slot[i].active;
        if (l->slot[i].active)
            r = try_slot(l, i, password, l->key);
    }
    if (!any)
        return fail(err, "none of the key slots is active: the key of this image is gone");
    if (r == -EACCES)
        return fail(err, "wrong password: secret '%s' opens none of the active key slots", key_secret);
    if (r)
        return fail_errno(err, -r, "cannot read the key slots");
    l->crypt = crypt_new(&l->spec, l->key, err);
    return l->crypt;
}

/* A password for slot i, which is inactive or to be overwritten. */
static bool activate(Luks *l, unsigned i, const Secret *password, uint64_t iter_ms, uint32_t iterations, GError **err)
{
    LuksSlot *s = &l->slot[i];
    SlotWork w = { .l = l, .slot = s, .password = password, .iterations = iterations, .iter_ms = iter_ms };
    uint64_t others = 0, size = align_up(material_size(l, s), CRYPT_SECTOR);
    int r = iterations ? 0 : co_work(l->file->aio, measure, &w);
    for (unsigned k = 0; k < LUKS_SLOTS; k++)
        others += k != i && l->slot[k].active ? (uint64_t)l->slot[k].iterations + l->digest_iterations : 0;
    others += l->digest_iterations;
    if (!r && others + w.iterations > MAX_ITERATIONS)
        return fail(err, "iter-time: %u iterations, %" PRIu64 " in all slots together; images with more than %d are refused when opened",
                    w.iterations, others + w.iterations, MAX_ITERATIONS);
    w.material = material_new(&w);
    if (!r && !w.material)
        r = -ENOMEM;
    if (!r)
        r = random_bytes(w.material, size);
    if (!r)
        r = random_bytes(s->salt, sizeof s->salt);
    s->iterations = w.iterations;
    memcpy(w.key, l->key, sizeof w.key);
    if (!r)
        r = co_work(l->file->aio, slot_write, &w);
    /* The material is there before the header says so. */
    if (!r)
        r = block_write(l->file, l->base + s->at, w.material, size, 0);
    if (!r)
        r = block_flush(l->file);
    material_free(&w);
    explicit_bzero(&w, sizeof w);
    if (r)
        return fail_errno(err, -r, "cannot write key slot %u", i);
    s->active = true;
    return true;
}

/* --- making */

bool luks_make_options(Json *o, const char *prefix, LuksMake *out, GError **err)
{
    *out = (LuksMake){ .iter_ms = 2000 };
    const char *text[6] = { NULL, "aes-256", "xts", NULL, NULL, "sha256" };
    static const char *const names[] = { "key-secret", "cipher-alg", "cipher-mode", "ivgen-alg", "ivgen-hash-alg", "hash-alg" };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        g_autofree char *name = g_strconcat(prefix, names[i], NULL);
        if (!block_opt_string(o, name, &text[i], err))
            return false;
    }
    g_autofree char *iter_time = g_strconcat(prefix, "iter-time", NULL);
    if (!block_opt_u64(o, iter_time, 3600000, &out->iter_ms, err))
        return false;
    if (!out->iter_ms)
        return fail(err, "%s must be 1 or more milliseconds", iter_time);
    out->key_secret = text[0];
    out->spec.cipher = crypt_cipher(text[1], err);
    out->hash = crypt_hash(text[5], err && *err ? NULL : err);
    if (!out->spec.cipher || !out->hash || !crypt_mode(text[2], &out->spec.mode, err) ||
        !crypt_iv(text[3] ? text[3] : "plain64", &out->spec.iv, err))
        return false;
    if (out->spec.iv == CRYPT_ESSIV) {
        out->spec.iv_hash = crypt_hash(text[4] ? text[4] : "sha256", err);
        return out->spec.iv_hash;
    }
    return !text[4] || fail(err, "%sivgen-hash-alg goes with ivgen-alg=essiv", prefix);
}

uint64_t luks_make_size(const LuksMake *m) { return ALIGN + LUKS_SLOTS * material_room(&m->spec); }

bool luks_make_ready(BlockGraph *g, const LuksMake *m, GError **err)
{
    uint8_t key[CRYPT_MAX_KEY] = { 0 };
    if (!m->key_secret)
        return fail(err, "key-secret= must name a secret with the password (--object secret,id=...)");
    if (!block_secret(g, m->key_secret, err))
        return false;
    Crypt *c = crypt_new(&m->spec, key, err);
    crypt_free(c);
    return c;
}

bool luks_make(Block *file, uint64_t base, const LuksMake *m, GError **err)
{
    const Secret *password = block_secret(file->graph, m->key_secret, err);
    if (!password)
        return false;
    Luks *l = g_new0(Luks, 1);
    *l = (Luks){ .file = file, .base = base, .payload = luks_make_size(m), .spec = m->spec, .hash = m->hash };
    uint8_t id[16];
    block_make_uuid(id);
    for (unsigned i = 0; i < sizeof id; i++)
        g_snprintf(l->uuid + strlen(l->uuid), 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        l->slot[i] = (LuksSlot){ .at = ALIGN + i * material_room(&m->spec), .stripes = LUKS_STRIPES };
    SlotWork w = { .l = l, .iter_ms = m->iter_ms };
    bool ok = !random_bytes(l->key, sizeof l->key) && !random_bytes(l->digest_salt, sizeof l->digest_salt);
    if (!ok)
        fail(err, "the host has no random numbers");
    l->crypt = ok ? crypt_new(&l->spec, l->key, err) : NULL;
    if (l->crypt && co_work(file->aio, measure, &w))
        fail(err, "libgcrypt cannot do PBKDF2 with %s", l->hash->name);
    ok = l->crypt && w.iterations;
    l->digest_iterations = (uint32_t)CLAMP(w.iterations / 8, MIN_ITERATIONS, MAX_ITERATIONS);
    if (ok && check_digest(l, l->key, l->digest))
        ok = fail(err, "libgcrypt cannot do PBKDF2 with %s", l->hash->name);
    ok = ok && activate(l, 0, password, 0, w.iterations, err) && write_header(l, err);
    luks_free(l);
    return ok;
}

/* --- amending */

static bool deactivate(Luks *l, const bool *which, bool force, GError **err)
{
    bool left = false;
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        left |= l->slot[i].active && !which[i];
    if (!left && !force)
        return fail(err, "that is every active key slot: without one the image can never be opened again (--force does it)");
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        LuksSlot *s = &l->slot[i];
        if (!which[i])
            continue;
        /* The material goes first: whatever happens, it is not left behind a slot that counts as erased. */
        uint64_t size = align_up(material_size(l, s), CRYPT_SECTOR);
        uint8_t *noise = block_memory(size);
        int r = noise ? random_bytes(noise, size) : -ENOMEM;
        if (!r)
            r = block_write(l->file, l->base + s->at, noise, size, 0);
        if (!r)
            r = block_flush(l->file);
        free(noise);
        if (r)
            return fail_errno(err, -r, "cannot erase key slot %u", i);
        s->active = false;
    }
    return write_header(l, err);
}

static bool amend_inactive(Luks *l, BlockGraph *g, int slot, const char *old_secret, bool force, GError **err)
{
    bool which[LUKS_SLOTS] = { false }, any = false;
    if ((slot < 0) == !old_secret)
        return fail(err, "state=inactive needs either keyslot= or old-secret=");
    const Secret *old = old_secret ? block_secret(g, old_secret, err) : NULL;
    if (old_secret && !old)
        return false;
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        uint8_t key[CRYPT_MAX_KEY];
        int r = !l->slot[i].active ? -EACCES : old ? try_slot(l, i, old, key) : i == (unsigned)slot ? 0 : -EACCES;
        explicit_bzero(key, sizeof key);
        if (r && r != -EACCES)
            return fail_errno(err, -r, "cannot read key slot %u", i);
        which[i] = !r;
        any |= !r;
    }
    if (!any)
        return old ? fail(err, "secret '%s' opens none of the active key slots", old_secret)
                   : fail(err, "key slot %d is not active", slot);
    return deactivate(l, which, force, err);
}

static bool amend_active(Luks *l, BlockGraph *g, int slot, const char *new_secret, uint64_t iter_ms, bool force, GError **err)
{
    const Secret *password = new_secret ? block_secret(g, new_secret, err) : NULL;
    if (!password)
        return new_secret ? false : fail(err, "state=active needs new-secret=");
    for (int i = 0; i < LUKS_SLOTS && slot < 0; i++)
        if (!l->slot[i].active)
            slot = i;
    if (slot < 0)
        return fail(err, "all key slots are active; state=inactive with keyslot= or old-secret= frees one");
    if (l->slot[slot].active && !force)
        return fail(err, "key slot %d is active: were overwriting it cut short, its password would be lost; make it inactive first, or "
                    "take another (--force overwrites it)", slot);
    LuksSlot before = l->slot[slot];
    if (activate(l, (unsigned)slot, password, iter_ms, 0, err))
        return write_header(l, err);
    l->slot[slot] = before;
    return false;
}

bool luks_amend(Luks *l, BlockGraph *g, Json *o, const char *prefix, GError **err)
{
    const char *text[3] = { NULL };
    static const char *const names[] = { "state", "new-secret", "old-secret" };
    uint64_t slot = UINT64_MAX, iter_ms = 2000;
    bool force = false;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        g_autofree char *name = g_strconcat(prefix, names[i], NULL);
        if (!block_opt_string(o, name, &text[i], err))
            return false;
    }
    g_autofree char *keyslot = g_strconcat(prefix, "keyslot", NULL), *iter_time = g_strconcat(prefix, "iter-time", NULL);
    bool timed = json_get(o, iter_time);
    if (!block_opt_u64(o, keyslot, LUKS_SLOTS - 1, &slot, err) || !block_opt_u64(o, iter_time, 3600000, &iter_ms, err) ||
        !block_opt_bool(o, "force", &force, err))
        return false;
    if (!l->crypt)
        return fail(err, "the image must be opened with its password (key-secret=) to change key slots");
    if (!iter_ms)
        return fail(err, "%s must be 1 or more milliseconds", iter_time);
    int i = slot < LUKS_SLOTS ? (int)slot : -1;
    if (!text[0] || (strcmp(text[0], "active") && strcmp(text[0], "inactive")))
        return fail(err, "%sstate must be active or inactive", prefix);
    if (!strcmp(text[0], "active"))
        return text[2] ? fail(err, "old-secret goes with state=inactive") : amend_active(l, g, i, text[1], iter_ms, force, err);
    if (text[1] || timed)
        return fail(err, "%s goes with state=active", text[1] ? "new-secret" : "iter-time");
    return amend_inactive(l, g, i, text[2], force, err);
}
