/* SPDX-License-Identifier: GPL-2.0-or-later
 * Images on web and FTP servers, read-only, by libcurl, which is loaded when first asked for.  Helper threads make the requests:
 * ranges of bytes, read ahead to `readahead` and kept until something else is read. */
#include <curl/curl.h>
#include <errno.h>
#include <string.h>

#include "block/driver.h"
#include "util/error.h"
#include "util/library.h"

enum { N_HANDLES = 4, MAX_READAHEAD = 64 << 20 };

#define CURL_FUNCTIONS(F) F(global_init) F(easy_init) F(easy_cleanup) F(easy_reset) F(easy_setopt) F(easy_getinfo) F(easy_perform) F(easy_strerror)
/* The header checks the types of arguments by macros of the functions' names. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
typedef struct Libcurl {
#define F(name) __typeof__(&curl_##name) name;
    CURL_FUNCTIONS(F)
#undef F
} Libcurl;

typedef struct Handle { CURL *easy; bool busy; uint64_t at, len; uint8_t *data; /* what it fetched last */ } Handle;

typedef struct Web {
    const Libcurl *lib;
    char    *url, *user, *password, *cookie;
    uint64_t readahead, timeout_s;
    bool     verify, ranges;
    Handle   handle[N_HANDLES];
    unsigned next;
    CoQueue  free;
} Web;

static gpointer curl_open(gpointer unused)
{
#define F(name) "curl_" #name,
    Libcurl *c = library_open("libcurl.so.4 libcurl-gnutls.so.4", (const char *const[]){ CURL_FUNCTIONS(F) NULL });
#undef F
    return c && !c->global_init(CURL_GLOBAL_DEFAULT) ? c : NULL;
}

static bool curl_filename(const char *prefix, const char *filename, Json *o, GError **err)
{
    g_autofree char *url = g_strconcat(prefix, filename, NULL);
    json_set(o, "url", json_string(url));
    return true;
}

/* --- requests, on helper threads */

typedef struct Fetch { Web *w; Handle *h; uint64_t at, len, got; bool head; CURLcode result; long status; curl_off_t size; } Fetch;

static size_t take_data(char *data, size_t size, size_t n, void *self)
{
    Fetch *f = self;
    uint64_t len = (uint64_t)size * n;
    /* A server that ignores the range would send the whole file. */
    if (len > f->len - f->got)
        return 0;
    memcpy(f->h->data + f->got, data, len);
    f->got += len;
    return len;
}

static size_t take_header(char *data, size_t size, size_t n, void *self)
{
    Fetch *f = self;
    size_t len = size * n;
    static const char ranges[] = "accept-ranges:";
    if (len > sizeof ranges && !g_ascii_strncasecmp(data, ranges, sizeof ranges - 1)) {
        g_autofree char *v = g_strndup(data + sizeof ranges - 1, len - sizeof ranges + 1);
        f->w->ranges |= !g_ascii_strcasecmp(g_strstrip(v), "bytes");
    }
    return len;
}

static int perform(void *self)
{
    Fetch *f = self;
    Web *w = f->w;
    const Libcurl *c = w->lib;
    CURL *e = f->h->easy;
    char range[64];
    c->easy_reset(e);
    c->easy_setopt(e, CURLOPT_URL, w->url);
    c->easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    c->easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
    c->easy_setopt(e, CURLOPT_FAILONERROR, 1L);
    c->easy_setopt(e, CURLOPT_CONNECTTIMEOUT, (long)w->timeout_s);
    c->easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    c->easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)w->timeout_s);
    c->easy_setopt(e, CURLOPT_SSL_VERIFYPEER, (long)w->verify);
    c->easy_setopt(e, CURLOPT_SSL_VERIFYHOST, w->verify ? 2L : 0L);
    c->easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https,ftp,ftps");
    c->easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https,ftp,ftps");
    if (w->user)
        c->easy_setopt(e, CURLOPT_USERNAME, w->user);
    if (w->password)
        c->easy_setopt(e, CURLOPT_PASSWORD, w->password);
    if (w->cookie)
        c->easy_setopt(e, CURLOPT_COOKIE, w->cookie);
    c->easy_setopt(e, CURLOPT_WRITEDATA, f);
    c->easy_setopt(e, CURLOPT_WRITEFUNCTION, take_data);
    if (f->head) {
        c->easy_setopt(e, CURLOPT_NOBODY, 1L);
        c->easy_setopt(e, CURLOPT_HEADERDATA, f);
        c->easy_setopt(e, CURLOPT_HEADERFUNCTION, take_header);
    } else {
        g_snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, f->at, f->at + f->len - 1);
        c->easy_setopt(e, CURLOPT_RANGE, range);
    }
    f->result = c->easy_perform(e);
    c->easy_getinfo(e, CURLINFO_RESPONSE_CODE, &f->status);
    c->easy_getinfo(e, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &f->size);
    return f->result == CURLE_OK ? 0 : f->result == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;
}

/* --- the node */

static bool curl_co_open(Block *b, GError **err)
{
    Web *w = b->state;
    static GOnce once = G_ONCE_INIT;
    const char *url = NULL, *user = NULL, *password = NULL, *cookie = NULL;
    w->readahead = 256 << 10;
    w->timeout_s = 5;
    w->verify = true;
    if (!block_opt_string(b->options, "url", &url, err) || !block_opt_string(b->options, "username", &user, err) ||
        !block_opt_string(b->options, "password", &password, err) || !block_opt_string(b->options, "cookie", &cookie, err) ||
        !block_opt_size(b->options, "readahead", &w->readahead, err) || !block_opt_u64(b->options, "timeout", 3600, &w->timeout_s, err) ||
        !block_opt_bool(b->options, "sslverify", &w->verify, err))
        return false;
    if (!url || !g_str_has_prefix(url, b->drv->prefixes[0]))
        return fail(err, "%s: option 'url' does not start with %s", b->drv->name, b->drv->prefixes[0]);
    if (!w->readahead || w->readahead % 512 || w->readahead > MAX_READAHEAD)
        return fail(err, "readahead %" PRIu64 " is no multiple of 512 up to 64M", w->readahead);
    if (b->flags & BLOCK_RDWR)
        return fail(err, "%s images can only be read (read-only=on)", b->drv->name);
    w->lib = g_once(&once, curl_open, NULL);
    if (!w->lib)
        return fail(err, "%s needs libcurl (libcurl.so.4, Debian package libcurl4)", b->drv->name);
    w->url = g_strdup(url);
    w->user = g_strdup(user);
    w->password = g_strdup(password);
    w->cookie = g_strdup(cookie);
    g_free(b->filename);
    b->filename = g_strdup(url);
    for (unsigned i = 0; i < N_HANDLES; i++)
        w->handle[i].easy = w->lib->easy_init();
    Fetch f = { .w = w, .h = &w->handle[0], .head = true };
    if (!f.h->easy || co_work(b->aio, perform, &f))
        return fail(err, "%s: %s%s", url, w->lib->easy_strerror(f.result),
                    f.result == CURLE_HTTP_RETURNED_ERROR ? (f.status == 404 ? " (404: there is no such file)" : "") : "");
    if (f.size < 0)
        return fail(err, "%s: the server does not say how long it is", url);
    if (g_str_has_prefix(url, "http") && !w->ranges)
        return fail(err, "%s: the server does not support ranges of bytes", url);
    b->length = (uint64_t)f.size;
    b->growable = true;         /* images may end in the middle of a cluster */
    return true;
}

static Handle *take_handle(Web *w, uint64_t at, uint64_t len)
{
    for (;;) {
        for (unsigned i = 0; i < N_HANDLES; i++) {
            Handle *h = &w->handle[i];
            if (!h->busy && h->data && at >= h->at && len <= h->len && at - h->at <= h->len - len)
                return h;
        }
        for (unsigned i = 0; i < N_HANDLES; i++) {
            Handle *h = &w->handle[w->next++ % N_HANDLES];
            if (!h->busy && h->easy)
                return h;
        }
        co_queue_wait(&w->free);
    }
}

static int fetch(Block *b, uint64_t at, uint64_t len, const struct iovec *v, int nv, uint64_t skip)
{
    Web *w = b->state;
    Handle *h = take_handle(w, at, len);
    int r = 0;
    h->busy = true;
    if (!h->data || at < h->at || at - h->at > h->len || len > h->len - (at - h->at)) {
        Fetch f = { .w = w, .h = h, .at = at, .len = MIN(w->readahead, b->length - at) };
        h->len = 0;
        h->at = at;
        if (!h->data)
            h->data = g_try_malloc(w->readahead);
        r = h->data ? co_work(b->aio, perform, &f) : -ENOMEM;
        if (!r && f.got < len)
            r = -EIO;
        if (!r)
            h->len = f.got;
    }
    if (!r)
        iov_from_buf(v, nv, skip, h->data + (at - h->at), len);
    h->busy = false;
    co_queue_wake_all(&w->free);
    return r;
}

static int curl_read(Block *b, uint64_t at, const struct iovec *v, int nv)
{
    Web *w = b->state;
    uint64_t total = iov_size(v, nv), len = at < b->length ? MIN(total, b->length - at) : 0;
    int r = 0;
    if (len < total)
        iov_fill(v, nv, len, 0, total - len);
    for (uint64_t done = 0, n; done < len && !r; done += n) {
        n = MIN(len - done, w->readahead);
        r = fetch(b, at + done, n, v, nv, done);
    }
    return r;
}

static int curl_close(Block *b)
{
    Web *w = b->state;
    for (unsigned i = 0; i < N_HANDLES; i++) {
        if (w->handle[i].easy)
            w->lib->easy_cleanup(w->handle[i].easy);
        g_free(w->handle[i].data);
    }
    g_free(w->url);
    g_free(w->user);
    g_free(w->password);
    g_free(w->cookie);
    return 0;
}

#define CURL_DRIVER(scheme)                                                                                         \
    .name = scheme, .kind = BLOCK_KIND_PROTOCOL, .size = sizeof(Web), .prefixes = { scheme "://" },                  \
    .parse_filename = curl_filename, .co_open = curl_co_open, .co_close = curl_close, .co_read = curl_read
const BlockDriver block_http_driver = { CURL_DRIVER("http") };
const BlockDriver block_https_driver = { CURL_DRIVER("https") };
const BlockDriver block_ftp_driver = { CURL_DRIVER("ftp") };
const BlockDriver block_ftps_driver = { CURL_DRIVER("ftps") };
