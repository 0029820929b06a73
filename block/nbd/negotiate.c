/* SPDX-License-Identifier: GPL-2.0-or-later
 * NBD: the client's part of the negotiation. */
#include <errno.h>
#include <string.h>

#include "block/nbd/nbd.h"
#include "block/nbd/tls.h"
#include "util/endian.h"
#include "util/error.h"

static bool broken(GError **err, int r, const char *what)
{
    return r == -ECONNRESET ? fail(err, "the server closed the connection at %s", what) : fail_errno(err, -r, "%s", what);
}

static int send_option(NbdStream *s, uint32_t option, const void *data, size_t len)
{
    uint8_t h[16];
    store_be64(h, NBD_OPTION_MAGIC);
    store_be32(h + 8, option);
    store_be32(h + 12, (uint32_t)len);
    struct iovec v[] = { { h, sizeof h }, { (void *)(uintptr_t)data, len } };
    return nbd_writev(s, v, 2);
}

typedef struct Reply { uint32_t type, len; uint8_t *data; } Reply;

static bool read_reply(NbdStream *s, uint32_t option, Reply *out, GError **err)
{
    uint8_t h[20];
    int r = nbd_read(s, h, sizeof h);
    if (r)
        return broken(err, r, "option negotiation");
    if (load_be64(h) != NBD_REPLY_MAGIC || load_be32(h + 8) != option)
        return fail(err, "the server's answer to option %u is not one", option);
    *out = (Reply){ .type = load_be32(h + 12), .len = load_be32(h + 16) };
    if (out->len > NBD_MAX_OPTION)
        return fail(err, "the server's answer to option %u has %u bytes", option, out->len);
    out->data = g_malloc0(out->len + 1);
    r = nbd_read(s, out->data, out->len);
    if (!r)
        return true;
    g_free(out->data);
    return broken(err, r, "option negotiation");
}

/* An error reply as text; it may bring its own. */
static bool refused(const char *what, const Reply *p, GError **err)
{
    static const char *const names[] = {
        [NBD_ERR_UNSUP] = "not supported", [NBD_ERR_POLICY] = "forbidden by the server's policy", [NBD_ERR_INVALID] = "invalid",
        [4] = "not supported on its platform", [NBD_ERR_TLS_REQUIRED] = "the server wants TLS (tls-creds=)", [NBD_ERR_UNKNOWN] = "no such export",
        [NBD_ERR_SHUTDOWN] = "the server is shutting down", [8] = "it wants a block size to be asked for", [NBD_ERR_TOO_BIG] = "too large",
    };
    uint32_t n = p->type & 0x7fffffff;
    g_autofree char *said = g_utf8_make_valid((char *)p->data, (gssize)p->len);
    return fail(err, "%s: %s%s%s", what, n < G_N_ELEMENTS(names) && names[n] ? names[n] : "refused", *said ? ": " : "", said);
}

static bool greet(NbdStream *s, bool *oldstyle, uint64_t *size, uint32_t *flags, GError **err)
{
    uint8_t h[18];
    int r = nbd_read(s, h, 16);
    if (r)
        return broken(err, r, "the greeting");
    if (load_be64(h) != NBD_MAGIC)
        return fail(err, "this is no NBD server");
    *oldstyle = load_be64(h + 8) == UINT64_C(0x00420281861253);
    if (*oldstyle) {
        uint8_t rest[8 + 4 + 124];
        r = nbd_read(s, rest, sizeof rest);
        *size = load_be64(rest);
        *flags = load_be32(rest + 8);
        return !r || broken(err, r, "the greeting");
    }
    if (load_be64(h + 8) != NBD_OPTION_MAGIC)
        return fail(err, "this NBD server speaks an unknown dialect");
    r = nbd_read(s, h + 16, 2);
    if (r)
        return broken(err, r, "the greeting");
    uint16_t theirs = load_be16(h + 16);
    if (!(theirs & NBD_FIXED_NEWSTYLE))
        return fail(err, "the server knows no fixed newstyle negotiation");
    uint8_t mine[4];
    store_be32(mine, NBD_FIXED_NEWSTYLE | (theirs & NBD_NO_ZEROES));
    *flags = theirs;
    r = nbd_write(s, mine, sizeof mine);
    return !r || broken(err, r, "the greeting");
}

/* A request whose answer is one ACK or a refusal; *ok says which. */
static bool simple_option(NbdStream *s, uint32_t option, const char *what, bool needed, bool *ok, GError **err)
{
    Reply p;
    int r = send_option(s, option, NULL, 0);
    if (r)
        return broken(err, r, what);
    if (!read_reply(s, option, &p, err))
        return false;
    *ok = p.type == NBD_REP_ACK;
    bool good = *ok || !needed || refused(what, &p, err);
    g_free(p.data);
    return good;
}

static bool start_tls(NbdStream *s, const NbdCreds *tls, const char *host, GError **err)
{
    bool ok;
    return simple_option(s, NBD_OPT_STARTTLS, "TLS", true, &ok, err) && nbd_tls_start(s, tls, host, err);
}

static GByteArray *meta_request(const char *name, const char *context)
{
    GByteArray *a = g_byte_array_new();
    uint8_t word[4];
    store_be32(word, (uint32_t)strlen(name));
    g_byte_array_append(a, word, 4);
    g_byte_array_append(a, (const uint8_t *)name, (guint)strlen(name));
    store_be32(word, context ? 1 : 0);
    g_byte_array_append(a, word, 4);
    if (context) {
        store_be32(word, (uint32_t)strlen(context));
        g_byte_array_append(a, word, 4);
        g_byte_array_append(a, (const uint8_t *)context, (guint)strlen(context));
    }
    return a;
}

/* Contexts that the server has: one asked for by SET_META (its id in e), or all by LIST_META (names in list). */
static bool meta(NbdStream *s, uint32_t option, const char *name, const char *context, NbdExport *e, GPtrArray *list, GError **err)
{
    GByteArray *a = meta_request(name, context);
    int r = send_option(s, option, a->data, a->len);
    g_byte_array_free(a, TRUE);
    if (r)
        return broken(err, r, "asking for contexts");
    for (unsigned n = 0; n < 10000; n++) {
        Reply p;
        if (!read_reply(s, option, &p, err))
            return false;
        if (p.type == NBD_REP_META && p.len >= 4) {
            if (list) {
                g_ptr_array_add(list, g_utf8_make_valid((char *)p.data + 4, (gssize)p.len - 4));
            } else if (p.len - 4 == strlen(context) && !memcmp(p.data + 4, context, p.len - 4)) {
                e->meta_id = load_be32(p.data);
                e->has_meta = true;
            }
        }
        g_free(p.data);
        if (p.type != NBD_REP_META)
            return true;        /* ACK, or a server that knows none */
    }
    return fail(err, "the server names contexts without an end");
}

static bool take_info(const Reply *p, NbdExport *e, GError **err)
{
    uint16_t type = p->len >= 2 ? load_be16(p->data) : 0xffff;
    if (type == NBD_INFO_EXPORT && p->len == 12) {
        e->size = load_be64(p->data + 2);
        e->flags = load_be16(p->data + 10);
    } else if (type == NBD_INFO_BLOCK_SIZE && p->len == 14) {
        e->min_block = load_be32(p->data + 2);
        e->preferred = load_be32(p->data + 6);
        e->max_block = load_be32(p->data + 10);
        if (!e->min_block || (e->min_block & (e->min_block - 1)) || e->min_block > 65536 || e->max_block < e->min_block)
            return fail(err, "the server's block sizes are %u to %u", e->min_block, e->max_block);
    } else if (type == NBD_INFO_DESCRIPTION) {
        g_free(e->description);
        e->description = g_utf8_make_valid((char *)p->data + 2, (gssize)p->len - 2);
    }
    return true;
}

/* INFO or GO; *unknown: the server knows neither. */
static bool export_info(NbdStream *s, uint32_t option, const char *name, NbdExport *e, bool *unknown, GError **err)
{
    GByteArray *a = meta_request(name, NULL);       /* the name with its length; then two bytes: how many infos are asked for */
    g_byte_array_set_size(a, a->len - 4);
    uint8_t wanted[6] = { 0, 2, 0, NBD_INFO_BLOCK_SIZE, 0, NBD_INFO_DESCRIPTION };
    g_byte_array_append(a, wanted, sizeof wanted);
    int r = send_option(s, option, a->data, a->len);
    g_byte_array_free(a, TRUE);
    bool have = false;
    *unknown = false;
    if (r)
        return broken(err, r, "asking for the export");
    for (unsigned n = 0; n < 1000; n++) {
        Reply p;
        if (!read_reply(s, option, &p, err))
            return false;
        bool good = p.type != NBD_REP_INFO || take_info(&p, e, err);
        have |= p.type == NBD_REP_INFO && p.len == 12;
        if (p.type == NBD_REP_ERR(NBD_ERR_UNSUP))
            *unknown = true;
        else if (p.type & 0x80000000u) {
            g_autofree char *what = g_strdup_printf("export '%s'", name);
            good = refused(what, &p, err);
        }
        g_free(p.data);
        if (!good || *unknown || p.type == NBD_REP_ACK)
            return good && (*unknown || have || fail(err, "the server does not say how large export '%s' is", name));
    }
    return fail(err, "the server describes export '%s' without an end", name);
}

static bool by_export_name(NbdStream *s, const char *name, bool no_zeroes, NbdExport *e, GError **err)
{
    uint8_t h[10];
    int r = send_option(s, NBD_OPT_EXPORT_NAME, name, strlen(name));
    if (!r)
        r = nbd_read(s, h, sizeof h);
    if (!r && !no_zeroes)
        r = nbd_skip(s, 124);
    e->size = load_be64(h);
    e->flags = load_be16(h + 8);
    return !r || (r == -ECONNRESET ? fail(err, "the server has no export '%s'", name) : broken(err, r, "asking for the export"));
}

bool nbd_negotiate(NbdStream *s, const char *name, const char *context, const NbdCreds *tls, const char *host, NbdExport *out, GError **err)
{
    bool old, unknown;
    uint32_t flags = 0;
    *out = (NbdExport){ .min_block = 1, .max_block = NBD_MAX_REQUEST };
    if (strlen(name) > NBD_MAX_NAME)
        return fail(err, "the export's name is longer than %u bytes", NBD_MAX_NAME);
    if (!greet(s, &old, &out->size, &flags, err))
        return false;
    if (old) {
        out->flags = (uint16_t)flags;
        if (tls || *name)
            return fail(err, "an oldstyle NBD server has neither TLS nor export names");
    } else {
        if (tls && !start_tls(s, tls, host, err))
            return false;
        if (!simple_option(s, NBD_OPT_STRUCTURED, "structured replies", false, &out->structured, err))
            return false;
        if (out->structured && context && !meta(s, NBD_OPT_SET_META, name, context, out, NULL, err))
            return false;
        if (!export_info(s, NBD_OPT_GO, name, out, &unknown, err))
            return false;
        if (unknown && !by_export_name(s, name, flags & NBD_NO_ZEROES, out, err))
            return false;
    }
    return out->size <= INT64_MAX || fail(err, "export '%s' has %" PRIu64 " bytes", name, out->size);
}

void nbd_listed_free(void *listed)
{
    NbdListed *l = listed;
    g_free(l->name);
    g_free(l->e.description);
    g_ptr_array_free(l->contexts, TRUE);
    g_free(l);
}

static bool list_names(NbdStream *s, GPtrArray *out, GError **err)
{
    int r = send_option(s, NBD_OPT_LIST, NULL, 0);
    if (r)
        return broken(err, r, "asking for the exports");
    for (unsigned n = 0; n < 10000; n++) {
        Reply p;
        if (!read_reply(s, NBD_OPT_LIST, &p, err))
            return false;
        uint32_t len = p.type == NBD_REP_SERVER && p.len >= 4 ? load_be32(p.data) : 0;
        bool good = true;
        if (p.type == NBD_REP_SERVER && (p.len < 4 || len > p.len - 4)) {
            good = fail(err, "the server's list of exports is damaged");
        } else if (p.type == NBD_REP_SERVER) {
            NbdListed *l = g_new0(NbdListed, 1);
            l->name = g_utf8_make_valid((char *)p.data + 4, len);
            l->contexts = g_ptr_array_new_with_free_func(g_free);
            g_ptr_array_add(out, l);
        } else if (p.type != NBD_REP_ACK) {
            good = refused("list of exports", &p, err);
        }
        g_free(p.data);
        if (!good || p.type == NBD_REP_ACK)
            return good;
    }
    return fail(err, "the server lists exports without an end");
}

bool nbd_list(NbdStream *s, const NbdCreds *tls, const char *host, GPtrArray *out, GError **err)
{
    bool old, structured, unknown;
    uint64_t size;
    uint32_t flags;
    if (!greet(s, &old, &size, &flags, err))
        return false;
    if (old)
        return fail(err, "an oldstyle NBD server has no list of exports");
    if ((tls && !start_tls(s, tls, host, err)) || !simple_option(s, NBD_OPT_STRUCTURED, "structured replies", false, &structured, err) ||
        !list_names(s, out, err))
        return false;
    for (unsigned i = 0; i < out->len; i++) {
        NbdListed *l = out->pdata[i];
        l->e.structured = structured;
        if (!export_info(s, NBD_OPT_INFO, l->name, &l->e, &unknown, err) ||
            (structured && !meta(s, NBD_OPT_LIST_META, l->name, NULL, &l->e, l->contexts, err)))
            return false;
    }
    send_option(s, NBD_OPT_ABORT, NULL, 0);
    return true;
}
