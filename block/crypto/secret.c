/* SPDX-License-Identifier: GPL-2.0-or-later
 * Secrets.  Those given in the clear on a command line can be seen by other users of the host; file= and keyid= are for
 * that. */
#include "block/crypto/secret.h"

#include <string.h>

#include "util/error.h"

enum { MAX_SECRET = 64 << 10, MASTER_KEY = 32 };

void secret_free(Secret *s)
{
    if (!s)
        return;
    if (s->data)
        explicit_bzero(s->data, s->len);
    g_free(s->data);
    g_free(s);
}

const Secret *block_secret(BlockGraph *g, const char *id, GError **err)
{
    const Secret *s = block_object(g, OBJECT_SECRET, id);
    if (!s)
        fail(err, "there is no secret '%s' (--object secret,id=%s,file=...)", id, id);
    return s;
}

/* g_base64_decode() skips what it does not know; a key must not lose characters like that. */
static bool decode(const char *property, uint8_t **data, size_t *len, GError **err)
{
    const char *text = (const char *)*data;
    size_t digits = 0, pads = 0;
    for (size_t i = 0; i < *len; i++) {
        if (strchr(" \t\r\n", text[i]) && text[i])
            continue;
        if (text[i] == '=')
            pads++;
        else if (!pads && (g_ascii_isalnum(text[i]) || text[i] == '+' || text[i] == '/'))
            digits++;
        else
            return fail(err, "%s is not base64", property);
    }
    if ((digits + pads) % 4 || pads > 2)
        return fail(err, "%s is not base64 (%zu digits)", property, digits + pads);
    gsize n;
    uint8_t *out = g_base64_decode(text, &n), *copy = g_malloc(n + 1);
    memcpy(copy, out, n);
    copy[n] = 0;
    explicit_bzero(out, n);
    g_free(out);
    explicit_bzero(*data, *len);
    g_free(*data);
    *data = copy;
    *len = n;
    return true;
}

static bool decrypt(BlockGraph *g, Secret *s, const char *key_id, const char *iv_text, GError **err)
{
    const Secret *key = block_secret(g, key_id, err);
    if (!key)
        return fail_prefix(err, "keyid: ");
    if (key->len != MASTER_KEY)
        return fail(err, "keyid: secret '%s' has %zu bytes, an AES-256 key has %d", key_id, key->len, MASTER_KEY);
    if (!iv_text)
        return fail(err, "keyid needs iv=");
    uint8_t *iv = (uint8_t *)g_strdup(iv_text);
    size_t iv_len = strlen(iv_text);
    bool ok = decode("iv", &iv, &iv_len, err);
    if (ok && iv_len != 16)
        ok = fail(err, "iv has %zu bytes, 16 are needed", iv_len);
    if (ok && (!s->len || s->len % 16))
        ok = fail(err, "the encrypted data have %zu bytes, not whole blocks of 16 (is format=base64 missing?)", s->len);
    ok = ok && crypt_decrypt_once(key->data, iv, s->data, s->len, err);
    uint8_t pad = ok ? s->data[s->len - 1] : 0;
    bool padded = pad && pad <= 16;
    for (unsigned i = 0; ok && padded && i < pad; i++)
        padded = s->data[s->len - 1 - i] == pad;
    if (ok && !padded)
        ok = fail(err, "the data do not decrypt with secret '%s' and that iv (bad padding)", key_id);
    if (ok) {
        s->len -= pad;
        explicit_bzero(s->data + s->len, pad);
    }
    g_free(iv);
    return ok;
}

static bool load(BlockGraph *g, Secret *s, Options *o, GError **err)
{
    const char *data = options_get(o, "data"), *file = options_get(o, "file"), *format = options_get(o, "format");
    const char *key_id = options_get(o, "keyid"), *iv = options_get(o, "iv");
    options_get(o, "qom-type");
    options_get(o, "id");
    if (!options_done(o, err))
        return false;
    if (!data == !file)
        return fail(err, data ? "data and file exclude each other" : "data= or file= is needed");
    if (format && strcmp(format, "raw") && strcmp(format, "base64"))
        return fail(err, "format '%s' is neither raw nor base64", format);
    if (iv && !key_id)
        return fail(err, "iv goes with keyid");
    if (file) {
        gsize len;
        GError *why = NULL;
        if (!g_file_get_contents(file, (char **)&s->data, &len, &why)) {
            fail(err, "file: %s", why->message);
            g_error_free(why);
            return false;
        }
        s->len = len;
    } else {
        s->data = (uint8_t *)g_strdup(data);
        s->len = strlen(data);
    }
    if (s->len > MAX_SECRET)
        return fail(err, "%s: %zu bytes are more than the %d that a secret may have", file ? "file" : "data", s->len, MAX_SECRET);
    if (format && !strcmp(format, "base64") && !decode(file ? "file" : "data", &s->data, &s->len, err))
        return false;
    return !key_id || decrypt(g, s, key_id, iv, err);
}

Secret *secret_new(BlockGraph *g, const char *spec, GError **err)
{
    Options *o = options_parse("--object", spec, "qom-type", err);
    if (!o)
        return NULL;
    Secret *s = g_new0(Secret, 1);
    if (!load(g, s, o, err)) {
        fail_prefix(err, "--object secret,id=%s: ", options_get(o, "id"));
        secret_free(s);
        s = NULL;
    }
    options_free(o);
    return s;
}

Crypt *crypt_legacy_aes(BlockGraph *g, const char *key_secret, GError **err)
{
    uint8_t key[16] = { 0 };
    if (!key_secret) {
        fail(err, "the image is encrypted: encrypt.key-secret= must name a secret with its password (--object secret,id=...)");
        return NULL;
    }
    const Secret *s = block_secret(g, key_secret, err);
    if (!s)
        return NULL;
    memcpy(key, s->data, MIN(s->len, sizeof key));
    CryptSpec spec = { .cipher = crypt_cipher("aes-128", err), .mode = CRYPT_CBC, .iv = CRYPT_PLAIN64 };
    Crypt *c = crypt_new(&spec, key, err);
    explicit_bzero(key, sizeof key);
    return c;
}
