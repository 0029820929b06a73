/* SPDX-License-Identifier: GPL-2.0-or-later
 * TLS for NBD by GnuTLS. */
#include "block/nbd/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/library.h"
#include "util/options.h"

/* What is used of the library. */
#define GNUTLS_FUNCTIONS(F)                                                                                              \
    F(certificate_allocate_credentials) F(certificate_free_credentials) F(certificate_set_x509_trust_file)               \
    F(certificate_set_x509_crl_file) F(certificate_set_x509_key_file) F(certificate_server_set_request)                  \
    F(psk_allocate_server_credentials) F(psk_free_server_credentials) F(psk_set_server_credentials_file)                 \
    F(psk_allocate_client_credentials) F(psk_free_client_credentials) F(psk_set_client_credentials)                      \
    F(init) F(deinit) F(set_default_priority) F(set_default_priority_append) F(priority_set_direct) F(credentials_set)   \
    F(transport_set_int2) F(handshake) F(record_get_direction) F(record_send) F(record_recv) F(session_set_verify_cert)  \
    F(server_name_set) F(strerror)

typedef struct Gnutls {
#define F(name) __typeof__(&gnutls_##name) name;
    GNUTLS_FUNCTIONS(F)
#undef F
} Gnutls;

struct NbdCreds {
    const Gnutls *g;
    char *priority;
    bool  server, psk, verify;
    gnutls_certificate_credentials_t x509;
    gnutls_psk_server_credentials_t  psk_server;
    gnutls_psk_client_credentials_t  psk_client;
};
struct NbdTls { const Gnutls *g; gnutls_session_t session; };

static gpointer gnutls_open(gpointer unused)
{
#define F(name) "gnutls_" #name,
    return library_open("libgnutls.so.30", (const char *const[]){ GNUTLS_FUNCTIONS(F) NULL });
#undef F
}

static const Gnutls *library(GError **err)
{
    static GOnce once = G_ONCE_INIT;
    const Gnutls *g = g_once(&once, gnutls_open, NULL);
    if (!g)
        fail(err, "TLS needs GnuTLS (libgnutls.so.30, Debian package libgnutls30)");
    return g;
}

/* --- credentials */

static char *file_in(const char *dir, const char *name, bool needed, GError **err)
{
    char *path = g_build_filename(dir, name, NULL);
    if (!access(path, R_OK))
        return path;
    if (needed)
        fail_errno(err, errno, "cannot read %s", path);
    g_free(path);
    return NULL;
}

static bool load_x509(NbdCreds *c, const char *dir, GError **err)
{
    int r = c->g->certificate_allocate_credentials(&c->x509);
    g_autofree char *ca = file_in(dir, "ca-cert.pem", c->verify, err);
    g_autofree char *crl = file_in(dir, "ca-crl.pem", false, NULL);
    g_autofree char *cert = file_in(dir, c->server ? "server-cert.pem" : "client-cert.pem", c->server, c->verify && !ca ? NULL : err);
    g_autofree char *key = file_in(dir, c->server ? "server-key.pem" : "client-key.pem", cert, c->server && !cert ? NULL : err);
    if ((c->verify && !ca) || (c->server && !cert) || (cert && !key))
        return false;
    if (r >= 0 && ca)
        r = c->g->certificate_set_x509_trust_file(c->x509, ca, GNUTLS_X509_FMT_PEM);
    if (r >= 0 && crl)
        r = c->g->certificate_set_x509_crl_file(c->x509, crl, GNUTLS_X509_FMT_PEM);
    if (r >= 0 && cert)
        r = c->g->certificate_set_x509_key_file(c->x509, cert, key, GNUTLS_X509_FMT_PEM);
    return r >= 0 || fail(err, "certificates in %s: %s", dir, c->g->strerror(r));
}

static bool load_psk(NbdCreds *c, const char *dir, const char *user, GError **err)
{
    g_autofree char *path = file_in(dir, "keys.psk", true, err);
    if (!path)
        return false;
    int r;
    if (c->server) {
        r = c->g->psk_allocate_server_credentials(&c->psk_server);
        if (r >= 0)
            r = c->g->psk_set_server_credentials_file(c->psk_server, path);
        return r >= 0 || fail(err, "%s: %s", path, c->g->strerror(r));
    }
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, err))
        return false;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    const char *key = NULL;
    for (char **l = lines; *l && !key; l++)
        if (g_str_has_prefix(*l, user) && (*l)[strlen(user)] == ':')
            key = g_strchomp(*l) + strlen(user) + 1;
    if (!key)
        return fail(err, "%s has no key of '%s'", path, user);
    r = c->g->psk_allocate_client_credentials(&c->psk_client);
    gnutls_datum_t d = { (unsigned char *)(uintptr_t)key, (unsigned)strlen(key) };
    if (r >= 0)
        r = c->g->psk_set_client_credentials(c->psk_client, user, &d, GNUTLS_PSK_KEY_HEX);
    return r >= 0 || fail(err, "%s: %s", path, c->g->strerror(r));
}

NbdCreds *nbd_creds_new(const char *spec, GError **err)
{
    Options *o = options_parse("--object", spec, "qom-type", err);
    if (!o)
        return NULL;
    NbdCreds *c = g_new0(NbdCreds, 1);
    const char *type = options_get(o, "qom-type"), *id = options_get(o, "id"), *dir = options_get(o, "dir");
    const char *end = options_get(o, "endpoint"), *priority = options_get(o, "priority"), *user = options_get(o, "username");
    const char *verify = options_get(o, "verify-peer");
    bool ok = true;
    c->g = library(err);
    c->verify = true;
    c->psk = type && !strcmp(type, "tls-creds-psk");
    c->server = end && !strcmp(end, "server");
    c->priority = g_strdup(priority);
    if (!c->g)
        ok = false;
    else if (!type || (!c->psk && strcmp(type, "tls-creds-x509")))
        ok = fail(err, "--object: type '%s' is none of tls-creds-x509, tls-creds-psk, throttle-group", type ? type : "");
    else if (!id || !dir)
        ok = fail(err, "--object %s: id= and dir= are needed", type);
    else if (end && !c->server && strcmp(end, "client"))
        ok = fail(err, "--object %s: endpoint '%s' is neither client nor server", type, end);
    ok = ok && (!verify || parse_bool("verify-peer", verify, &c->verify, err)) && options_done(o, err) &&
         (c->psk ? load_psk(c, dir, user ? user : "qemu", err) : load_x509(c, dir, err));
    options_free(o);
    if (ok)
        return c;
    nbd_creds_free(c);
    return NULL;
}

void nbd_creds_free(NbdCreds *c)
{
    if (!c)
        return;
    if (c->x509)
        c->g->certificate_free_credentials(c->x509);
    if (c->psk_server)
        c->g->psk_free_server_credentials(c->psk_server);
    if (c->psk_client)
        c->g->psk_free_client_credentials(c->psk_client);
    g_free(c->priority);
    g_free(c);
}

bool nbd_creds_server(const NbdCreds *c) { return c->server; }

/* --- sessions */

static int session_new(NbdStream *s, const NbdCreds *c, const char *host, gnutls_session_t *out)
{
    const Gnutls *g = c->g;
    int r = g->init(out, (c->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (r < 0)
        return r;
    if (c->priority)
        r = g->priority_set_direct(*out, c->priority, NULL);
    else if (c->psk)
        r = g->set_default_priority_append(*out, "+ECDHE-PSK:+DHE-PSK:+PSK", NULL, 0);
    else
        r = g->set_default_priority(*out);
    if (r >= 0)
        r = !c->psk     ? g->credentials_set(*out, GNUTLS_CRD_CERTIFICATE, c->x509)
            : c->server ? g->credentials_set(*out, GNUTLS_CRD_PSK, c->psk_server)
                        : g->credentials_set(*out, GNUTLS_CRD_PSK, c->psk_client);
    if (c->server && !c->psk)
        g->certificate_server_set_request(*out, c->verify ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
    if (!c->psk && c->verify)
        g->session_set_verify_cert(*out, c->server ? NULL : host, 0);
    if (r >= 0 && host && !c->server)
        r = g->server_name_set(*out, GNUTLS_NAME_DNS, host, strlen(host));
    g->transport_set_int2(*out, s->fd, s->fd);
    return r;
}

bool nbd_tls_start(NbdStream *s, const NbdCreds *c, const char *host, GError **err)
{
    NbdTls *t = g_new0(NbdTls, 1);
    t->g = c->g;
    /* What was read ahead would have come before the handshake, from whoever is in the middle. */
    if (s->from != s->to) {
        g_free(t);
        return fail(err, "data before the TLS handshake");
    }
    int r = session_new(s, c, host, &t->session);
    while (r >= 0) {
        r = c->g->handshake(t->session);
        if (r >= 0)
            break;
        if (r == GNUTLS_E_INTERRUPTED) {
            r = 0;
        } else if (r == GNUTLS_E_AGAIN) {
            r = co_poll(s->aio, s->fd, c->g->record_get_direction(t->session) ? POLLOUT : POLLIN);
            if (r < 0)
                r = GNUTLS_E_PULL_ERROR;
        }
    }
    if (r < 0) {
        nbd_tls_free(t);
        return fail(err, "TLS handshake: %s", c->g->strerror(r));
    }
    s->tls = t;
    return true;
}

void nbd_tls_free(NbdTls *t)
{
    if (!t)
        return;
    if (t->session)
        t->g->deinit(t->session);
    g_free(t);
}

static ssize_t result(ssize_t n)
{
    return n >= 0 ? n : n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? -EAGAIN : n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : -EIO;
}
ssize_t nbd_tls_read(NbdStream *s, void *buf, size_t len) { return result(s->tls->g->record_recv(s->tls->session, buf, len)); }
ssize_t nbd_tls_write(NbdStream *s, const void *buf, size_t len) { return result(s->tls->g->record_send(s->tls->session, buf, len)); }
