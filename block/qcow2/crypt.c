/* SPDX-License-Identifier: GPL-2.0-or-later
 * qcow2: encrypted data clusters (specification, "crypt_method" and "Full disk encryption header pointer").
 *
 * Method 2: a LUKS header in clusters of its own.  A sector's number is its place in the file that holds the data, so a
 * cluster that moves is encrypted anew.
 * Method 1, of old: AES-128 in CBC mode under the password's first 16 bytes, plain64; a sector's number is the guest's.  Kept for
 * reading what there is; its key is as weak as the password.
 *
 * Metadata and compressed clusters are in the clear.  A cluster that is there but was never written would read as noise, so such
 * ones are marked as zeros. */
#include <string.h>

#include "block/crypto/secret.h"
#include "block/qcow2/qcow2_int.h"

enum { METHOD_AES = 1, METHOD_LUKS = 2, MAX_LUKS_BYTES = 64 << 20 };

int q2_data_readv(Block *b, uint64_t host, uint64_t guest, const struct iovec *v, int nv)
{
    Qcow2 *q = b->state;
    if (!q->crypt_method)
        return block_readv(q2_data(b), host, v, nv);
    return q->crypt ? crypt_readv(q->crypt, q2_data(b), host, (q->luks ? host : guest) / CRYPT_SECTOR, v, nv) : -EACCES;
}

int q2_data_writev(Block *b, uint64_t host, uint64_t guest, const struct iovec *v, int nv)
{
    Qcow2 *q = b->state;
    if (!q->crypt_method)
        return block_writev(q2_data(b), host, v, nv, 0);
    return q->crypt ? crypt_writev(q->crypt, q2_data(b), host, (q->luks ? host : guest) / CRYPT_SECTOR, v, nv) : -EACCES;
}

static bool find_luks(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    for (unsigned i = 0; i < q->extensions->len; i++) {
        Q2Extension *e = q->extensions->pdata[i];
        if (e->type != Q2_EXT_CRYPTO)
            continue;
        if (e->len != 16 || q->crypt_at)
            return fail(err, "the encryption header's extension has %u bytes or comes twice", e->len);
        q->crypt_at = load_be64(e->data);
        q->crypt_len = load_be64(e->data + 8);
        if (!q->crypt_at || (q->crypt_at & (q->cluster_size - 1)) || q->crypt_len > MAX_LUKS_BYTES ||
            q->crypt_at > b->file->length || q->crypt_len > b->file->length - q->crypt_at)
            return fail(err, "the encryption header (%" PRIu64 " bytes at %#" PRIx64 ") is not in the file", q->crypt_len, q->crypt_at);
    }
    if (!q->crypt_at)
        return fail(err, "the image says that it is encrypted with LUKS, but has no encryption header");
    q->luks = luks_open(b->file, q->crypt_at, q->crypt_len, err);
    return q->luks;
}

bool q2_crypt_open(Block *b, GError **err)
{
    Qcow2 *q = b->state;
    static const char *const methods[] = { [METHOD_AES] = "aes", [METHOD_LUKS] = "luks" };
    const char *format = NULL, *key = NULL;
    Json *o = json_get(b->options, "encrypt");
    if (o) {
        o->seen = true;
        if (o->type != JSON_OBJECT)
            return fail(err, "option 'encrypt' must be an object");
        if (!block_opt_string(o, "format", &format, err) || !block_opt_string(o, "key-secret", &key, err) ||
            !block_opt_done(o, "encrypt", err))
            return false;
    }
    if (!q->crypt_method)
        return !o || fail(err, "the image is not encrypted, but there are options of encryption");
    if (q->crypt_method > METHOD_LUKS)
        return fail(err, "the image is encrypted by method %u, which is unknown", q->crypt_method);
    if (format && strcmp(format, methods[q->crypt_method]))
        return fail(err, "the image is encrypted by '%s', not by '%s' as encrypt.format says", methods[q->crypt_method], format);
    if (b->length % CRYPT_SECTOR)
        return fail(err, "an encrypted disk of %" PRIu64 " bytes is not whole sectors", b->length);
    if (q->crypt_method == METHOD_LUKS && !find_luks(b, err))
        return false;
    b->align = CRYPT_SECTOR;
    /* Headers, checks and repairs need no key. */
    if (!key && (b->flags & (BLOCK_NO_IO | BLOCK_CHECK)))
        return true;
    if (q->crypt_method == METHOD_AES) {
        q->crypt = crypt_legacy_aes(b->graph, key, err);
        return q->crypt;
    }
    if (!luks_unlock(q->luks, b->graph, key, err))
        return key ? false : fail_prefix(err, "encrypt.");
    q->crypt = q->luks->crypt;
    return true;
}

void q2_crypt_close(Qcow2 *q)
{
    if (!q->luks)
        crypt_free(q->crypt);
    luks_free(q->luks);
}

void q2_crypt_info(Block *b, Json *data)
{
    Qcow2 *q = b->state;
    Json *o = json_object();
    if (q->luks)
        luks_info(q->luks, "luks", o);
    else
        json_set(o, "format", json_string("aes"));
    json_set(data, "encrypt", o);
}

/* --- making */

bool q2_crypt_options(Json *o, Q2CryptMake *m, GError **err)
{
    const char *format = NULL;
    bool old = false, given = json_get(o, "encrypt");
    Json *nested = json_get(o, "encrypt");
    for (unsigned i = 0; i < json_count(o); i++)
        given |= g_str_has_prefix(o->keys->pdata[i], "encrypt.");
    if (nested) {
        nested->seen = true;
        if (nested->type != JSON_OBJECT)
            return fail(err, "option 'encrypt' must be an object");
    }
    if (!block_opt_string(nested ? nested : o, nested ? "format" : "encrypt.format", &format, err) ||
        !block_opt_bool(o, "encryption", &old, err))
        return false;
    if (old && !format)
        format = "aes";
    if (!format)
        return !given || fail(err, "encrypt.format=luks is missing");
    if (!strcmp(format, "aes"))
        return fail(err, "encrypt.format=aes is broken by design and is read, but no longer made; take encrypt.format=luks");
    if (strcmp(format, "luks"))
        return fail(err, "encrypt.format '%s' is not luks", format);
    m->on = true;
    return nested ? luks_make_options(nested, "", &m->luks, err) && block_opt_done(nested, "encrypt", err)
                  : luks_make_options(o, "encrypt.", &m->luks, err);
}

bool q2_crypt_make(Block *b, const Q2CryptMake *m, GError **err)
{
    Qcow2 *q = b->state;
    uint64_t len = luks_make_size(&m->luks), at, got;
    co_mutex_lock(&q->lock);
    int r = q2_alloc(b, q2_clusters(q, len), true, &at, &got);
    if (!r)
        q->fresh = MAX(q->fresh, at + (got << q->cluster_bits));
    co_mutex_unlock(&q->lock);
    if (!r)
        r = block_zero(b->file, at, got << q->cluster_bits, BLOCK_MAY_UNMAP);
    if (r)
        return fail_errno(err, -r, "cannot make room for the encryption header");
    if (!luks_make(b->file, at, &m->luks, err))
        return false;
    Q2Extension *e = g_new(Q2Extension, 1);
    *e = (Q2Extension){ Q2_EXT_CRYPTO, 16, g_malloc(16) };
    store_be64(e->data, at);
    store_be64(e->data + 8, len);
    g_ptr_array_insert(q->extensions, 0, e);
    q->crypt_method = METHOD_LUKS;
    q->crypt_at = at;
    q->crypt_len = len;
    co_mutex_lock(&q->lock);
    r = q2_commit(b, true);         /* counted before it is named */
    if (!r)
        r = q2_header_write(b);
    co_mutex_unlock(&q->lock);
    return !r || fail_errno(err, -r, "cannot write the header");
}

bool q2_crypt_amend(Block *b, Json *o, GError **err)
{
    Qcow2 *q = b->state;
    bool given = false;
    for (unsigned i = 0; i < json_count(o); i++)
        given |= g_str_has_prefix(o->keys->pdata[i], "encrypt.");
    if (!given)
        return true;
    if (!q->luks)
        return fail(err, q->crypt_method ? "the image is encrypted by 'aes', which has no key slots" : "the image is not encrypted");
    return luks_amend(q->luks, b->graph, o, "encrypt.", err);
}
