// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What holds for every request: certificates are verified, redirections are few, nothing hangs.
// And small answers as a whole.
#include "hypercall/host/base/http.h"
#include "hypercall/host/packages/private.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

enum { REDIRECTIONS = 5, CONNECT_S = 30, SILENT_S = 60 };

int pk_check_url(struct packages *p, const char *url)
{
    CURLU *u = curl_url();
    char *user = NULL, *host = NULL;
    int rc = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                     curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK
                 ? 0
                 : pk_fail(p, -EINVAL, "%s: is no URL", url);
    if (!rc && curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK) {
        rc = pk_fail(p, -EINVAL,
                     "a URL with a password in it would be kept and shown: put it into ~/.netrc "
                     "(machine %s login USER password WORD) and leave it out here",
                     host);
    }
    curl_free(user);
    curl_free(host);
    curl_url_cleanup(u);
    return rc;
}

void *pk_curl(struct packages *p, const char *url, bool any)
{
    if (!http_ready()) {
        pk_fail(p, -ENOMEM, "libcurl does not start");
        return NULL;
    }
    CURL *c = pk_check_url(p, url) == 0 ? curl_easy_init() : NULL;
    if (!c) {
        return NULL;
    }
    bool secure = strncasecmp(url, "https:", 6) == 0;
    // As the programs of curl and OpenSSL do it.
    const char *ca = p->ca_file ? p->ca_file : getenv("CURL_CA_BUNDLE");
    ca = ca ? ca : getenv("SSL_CERT_FILE");
    bool good = curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR,
                                 secure && !any ? "https" : "http,https") == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_MAXREDIRS, (long)REDIRECTIONS) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 100L) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SILENT_S) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_USERAGENT, "tessera") == CURLE_OK &&
                curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL) == CURLE_OK &&
                (!ca || curl_easy_setopt(c, CURLOPT_CAINFO, ca) == CURLE_OK);
    if (!good) {
        pk_fail(p, -ENOMEM, "libcurl refuses its options");
        curl_easy_cleanup(c);
        return NULL;
    }
    return c;
}

struct small {
    char *text;
    size_t bytes, most;
    bool too_large;
};

static size_t take(char *data, size_t one, size_t count, void *context)
{
    struct small *s = context;
    size_t n = one * count;
    s->too_large = n > s->most - s->bytes;
    char *more = s->too_large ? NULL : realloc(s->text, s->bytes + n + 1);
    if (!more) {
        return 0;
    }
    s->text = more;
    memcpy(s->text + s->bytes, data, n);
    s->bytes += n;
    s->text[s->bytes] = 0;
    return n;
}

int pk_fetch_small(struct packages *p, const char *url, size_t most, char **out, size_t *bytes)
{
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    struct small s = {.most = most};
    CURL *c = pk_curl(p, url, false);
    if (!c) {
        return -EINVAL;
    }
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &s);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 300L);
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    int rc = 0;
    if (s.too_large) {
        rc = pk_fail(p, -EFBIG, "%s: has more than %zu MB", url, most >> 20);
    } else if (code != CURLE_OK) {
        rc = pk_fail(p, -EIO, "%s: %s", url, why[0] ? why : curl_easy_strerror(code));
    } else if (status != 200) {
        rc = pk_fail(p, status == 404 ? -ENOENT : -EIO, "%s: the server answers %ld", url, status);
    } else if (!s.text) {
        rc = pk_fail(p, -EINVAL, "%s: is empty", url);
    }
    if (rc) {
        free(s.text);
        return rc;
    }
    *out = s.text;
    *bytes = s.bytes;
    return 0;
}
