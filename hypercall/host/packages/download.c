// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A download that goes on where it was broken off (RFC 9110, sections 13.1.5 and 14: If-Range,
// Range). The hash is computed as the bytes come; what was there before is read again for it.
#include "hypercall/host/base/files.h"
#include "hypercall/host/packages/private.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ATTEMPTS_IN_VAIN = 5, ATTEMPTS_MOST = 200, SYNC_BYTES = 64 << 20 };

struct transfer {
    struct packages *p;
    const struct origin *origin;
    struct partial *part;
    struct obtained *out;
    CURL *curl;
    int fd;
    uint64_t at;   // bytes in the file and in the hash
    uint64_t from; // asked for
    size_t skip;   // bytes of the answer that are there already
    mbedtls_sha256_context sha;
    // Of the answer that comes; of the last one after redirections.
    char etag[VALIDATOR_BYTES], modified[VALIDATOR_BYTES], range[80];
    bool begun, takes;
    long status;
    int rc; // why we stopped it; the store has the message
};

static int start_hash(struct transfer *t)
{
    return mbedtls_sha256_starts_ret(&t->sha, 0)
               ? pk_fail(t->p, -EIO, "the SHA-256 cannot be computed")
               : 0;
}

static void get_header(const char *line, size_t bytes, const char *name, char *out, size_t room)
{
    size_t n = strlen(name);
    if (bytes <= n || strncasecmp(line, name, n) != 0) {
        return;
    }
    while (n < bytes && (line[n] == ' ' || line[n] == '\t')) {
        n++;
    }
    while (bytes > n && (line[bytes - 1] == '\r' || line[bytes - 1] == '\n' ||
                         line[bytes - 1] == ' ' || line[bytes - 1] == '\t')) {
        bytes--;
    }
    out[0] = 0;
    if (bytes - n < room && !memchr(line + n, 0, bytes - n)) {
        memcpy(out, line + n, bytes - n);
        out[bytes - n] = 0;
    }
}

static size_t take_header(char *line, size_t one, size_t count, void *context)
{
    struct transfer *t = context;
    size_t n = one * count;
    if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        t->etag[0] = t->modified[0] = t->range[0] = 0;
    }
    get_header(line, n, "ETag:", t->etag, sizeof t->etag);
    get_header(line, n, "Last-Modified:", t->modified, sizeof t->modified);
    get_header(line, n, "Content-Range:", t->range, sizeof t->range);
    return n;
}

// From the beginning: the file is cut before the note speaks of another version.
static int begin_anew(struct transfer *t)
{
    char plain[VALIDATOR_BYTES];
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    pk_partial_forget(t->part);
    t->at = 0;
    t->skip = 0;
    t->out->resumed = false;
    if (ftruncate(t->fd, 0) != 0 || lseek(t->fd, 0, SEEK_SET) != 0) {
        return pk_fail(t->p, -errno, "%s: %s", t->part->part, strerror(errno));
    }
    t->part->total = length > 0 ? (uint64_t)length : 0;
    // What has control characters is no validator that can be sent back.
    pk_plain(plain, sizeof plain, t->etag);
    strcpy(t->part->etag, strcmp(plain, t->etag) == 0 ? plain : "");
    pk_plain(plain, sizeof plain, t->modified);
    strcpy(t->part->modified, strcmp(plain, t->modified) == 0 ? plain : "");
    if (length >= 0 && t->origin->size && (uint64_t)length != t->origin->size) {
        return pk_fail(t->p, -EBADMSG,
                       "%s: the server offers %llu bytes and the index promises %llu: nothing was "
                       "installed",
                       t->origin->place, (unsigned long long)length,
                       (unsigned long long)t->origin->size);
    }
    uint64_t wanted = t->part->total ? t->part->total : t->origin->size;
    int rc = wanted ? pk_check_room(t->p, pk_padded(wanted), t->origin->place) : 0;
    rc = rc ? rc : start_hash(t);
    return rc ? rc : pk_partial_note(t->p, t->part);
}

static int go_on(struct transfer *t)
{
    uint64_t first, last, total;
    if (pk_content_range_parse(t->range, &first, &last, &total) != 0 || first != t->from ||
        (t->part->total && total != t->part->total) ||
        (t->origin->size && total != t->origin->size) ||
        (t->part->etag[0] && t->etag[0] && strcmp(t->part->etag, t->etag) != 0)) {
        // Another version, or a server that does not know what it does: once more, from 0.
        pk_partial_forget(t->part);
        t->at = 0;
        return ftruncate(t->fd, 0) != 0
                   ? pk_fail(t->p, -errno, "%s: %s", t->part->part, strerror(errno))
                   : pk_fail(t->p, -EAGAIN, "%s: the server sends another part than was asked for",
                             t->origin->place);
    }
    t->part->total = total;
    t->skip = (size_t)(t->at - t->from);
    if (lseek(t->fd, (off_t)t->at, SEEK_SET) < 0) {
        return pk_fail(t->p, -errno, "%s: %s", t->part->part, strerror(errno));
    }
    return 0;
}

static int begin_answer(struct transfer *t)
{
    t->begun = true;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    t->takes = t->status == 200 || (t->status == 206 && t->from);
    return t->status == 200 ? begin_anew(t) : t->takes ? go_on(t) : 0;
}

static int keep(struct transfer *t, const char *data, size_t bytes)
{
    size_t again = t->skip < bytes ? t->skip : bytes;
    uint64_t most = t->part->total ? t->part->total : t->origin->size;
    t->skip -= again;
    data += again;
    bytes -= again;
    if (most && bytes > most - t->at) {
        return pk_fail(t->p, -EBADMSG, "%s: the server sends more than the %llu bytes it promised",
                       t->origin->place, (unsigned long long)most);
    }
    int rc = file_write_all(t->fd, data, bytes);
    if (rc) {
        return pk_fail(t->p, rc,
                       "%s: cannot be written: %s (what has come stays; `tessera pkg "
                       "prune` removes it)",
                       t->part->part, strerror(-rc));
    }
    if (bytes && mbedtls_sha256_update_ret(&t->sha, (const unsigned char *)data, bytes)) {
        return pk_fail(t->p, -EIO, "the SHA-256 cannot be computed");
    }
    t->at += bytes;
    if (t->at - t->part->synced >= SYNC_BYTES) {
        // A server that tells no length is stopped before the disk is full.
        rc = most ? 0 : pk_check_room(t->p, (uint64_t)SYNC_BYTES * 4, t->origin->place);
        if (!rc && fdatasync(t->fd) == 0) {
            t->part->synced = t->at;
            rc = pk_partial_note(t->p, t->part);
        }
    }
    if (most && t->p->progress.show) {
        t->p->progress.show(t->p->progress.context, "downloading", t->at, most);
    }
    return rc;
}

static size_t take(char *data, size_t one, size_t count, void *context)
{
    struct transfer *t = context;
    size_t n = one * count;
    t->rc = t->begun ? 0 : begin_answer(t);
    if (!t->rc && t->takes) {
        t->rc = keep(t, data, n);
    }
    return t->rc || !t->takes ? 0 : n; // an error's text is not waited for
}

// What is there already, into the hash.
static int read_part(struct transfer *t)
{
    struct stat s;
    uint8_t *buffer = malloc(CHUNK_BYTES);
    int rc = buffer ? start_hash(t) : pk_fail(t->p, -ENOMEM, "no memory");
    if (!rc && fstat(t->fd, &s) != 0) {
        rc = pk_fail(t->p, -errno, "%s: %s", t->part->part, strerror(errno));
    }
    // Filled up to whole pages just before the end came.
    if (!rc && t->part->total && (uint64_t)s.st_size > t->part->total &&
        ftruncate(t->fd, (off_t)t->part->total) != 0) {
        rc = pk_fail(t->p, -errno, "%s: %s", t->part->part, strerror(errno));
    }
    // Without a validator only a hash that is known beforehand tells whether old and new fit.
    bool fits = t->part->etag[0] || t->part->modified[0] || t->origin->has_hash;
    while (!rc && fits) {
        ssize_t n = read(t->fd, buffer, CHUNK_BYTES);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = n < 0 ? pk_fail(t->p, -errno, "%s: %s", t->part->part, strerror(errno)) : 0;
            break;
        }
        rc = mbedtls_sha256_update_ret(&t->sha, buffer, (size_t)n)
                 ? pk_fail(t->p, -EIO, "the SHA-256 cannot be computed")
                 : 0;
        t->at += (uint64_t)n;
    }
    free(buffer);
    return rc;
}

static int ask(struct transfer *t, CURLcode *code, char why[CURL_ERROR_SIZE])
{
    char range[40], condition[VALIDATOR_BYTES + 16];
    struct curl_slist *headers = NULL;
    // A part that is whole is not known to be the server's newest: its last byte is asked for.
    bool whole = t->part->total && t->at == t->part->total;
    t->from = whole ? t->at - 1 : t->at;
    t->begun = t->takes = false;
    t->status = 0;
    t->rc = 0;
    t->curl = pk_curl(t->p, t->origin->place, t->origin->has_hash);
    if (!t->curl) {
        return -EINVAL;
    }
    if (t->from) {
        // A weak ETag promises no equal bytes.
        bool weak = strncmp(t->part->etag, "W/", 2) == 0;
        const char *validator = t->part->etag[0] && !weak ? t->part->etag : t->part->modified;
        snprintf(range, sizeof range, "%llu-", (unsigned long long)t->from);
        curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
        if (validator[0]) {
            snprintf(condition, sizeof condition, "If-Range: %s", validator);
            headers = curl_slist_append(NULL, condition);
            curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
        }
    }
    curl_easy_setopt(t->curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(t->curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, why);
    *code = curl_easy_perform(t->curl);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    if (*code == CURLE_OK && !t->begun) {
        t->rc = begin_answer(t); // an answer without a body
    }
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(headers);
    return 0;
}

// After an answer: 0 whole, -EAGAIN once more, otherwise the end.
static int judge(struct transfer *t, CURLcode code, const char *why)
{
    const char *place = t->origin->place;
    if (t->rc) {
        return t->rc;
    }
    if (code == CURLE_OK && t->takes) {
        if (!t->part->total || t->at == t->part->total) {
            return 0;
        }
        return pk_fail(t->p, -EAGAIN, "%s: the server ends after %llu of %llu bytes", place,
                       (unsigned long long)t->at, (unsigned long long)t->part->total);
    }
    if (code == CURLE_OK || (t->begun && !t->takes)) {
        bool later = t->status == 408 || t->status == 416 || t->status == 429 ||
                     (t->status >= 500 && t->status != 501);
        if (t->status == 416 && ftruncate(t->fd, 0) == 0) { // it has fewer bytes than we
            pk_partial_forget(t->part);
            t->at = 0;
        }
        return pk_fail(t->p,
                       later              ? -EAGAIN
                       : t->status == 404 ? -ENOENT
                                          : -EACCES,
                       "%s: the server answers %ld", place, t->status);
    }
    pk_fail(t->p, -EIO, "%s: %s", place, why[0] ? why : curl_easy_strerror(code));
    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return -EAGAIN;
    default:
        return -EIO;
    }
}

static int run(struct transfer *t)
{
    int rc = read_part(t);
    t->out->resumed = t->at > 0;
    if (!rc && t->at) {
        pk_say(t->p, "Going on after %llu MB of an earlier run", (unsigned long long)(t->at >> 20));
    }
    unsigned vain = 0;
    uint64_t most = t->at; // that was ever there: what comes a second time is no progress
    for (unsigned i = 0; !rc && i < ATTEMPTS_MOST; i++) {
        char why[CURL_ERROR_SIZE] = "";
        CURLcode code = CURLE_OK;
        rc = ask(t, &code, why);
        rc = rc ? rc : judge(t, code, why);
        if (rc != -EAGAIN) {
            break;
        }
        vain = t->at > most ? 0 : vain + 1;
        most = t->at > most ? t->at : most;
        if (vain == ATTEMPTS_IN_VAIN || i + 1 == ATTEMPTS_MOST) {
            return -EIO; // with the last attempt's message
        }
        // Nothing to go on with when bytes cannot be matched up.
        if (t->at && !t->part->etag[0] && !t->part->modified[0] && !t->origin->has_hash) {
            t->at = 0;
            rc = ftruncate(t->fd, 0) != 0 || start_hash(t) ? -EIO : 0;
        }
        rc = 0;
        usleep(100000u << (vain < 5 ? vain : 5));
    }
    return rc;
}

int pk_download(struct packages *p, const struct origin *o, struct partial *part,
                struct obtained *out)
{
    struct transfer t = {.p = p, .origin = o, .part = part, .out = out};
    uint8_t hash[32];
    *out = (struct obtained){0};
    (void)chmod(part->part, 0600); // one that was about to become a blob is read-only
    t.fd = open(part->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (t.fd < 0) {
        return pk_fail(p, -errno, "%s: %s", part->part, strerror(errno));
    }
    mbedtls_sha256_init(&t.sha);
    int rc = run(&t);
    if (!rc && mbedtls_sha256_finish_ret(&t.sha, hash)) {
        rc = pk_fail(p, -EIO, "the SHA-256 cannot be computed");
    }
    if (!rc) {
        hex_write(hash, sizeof hash, out->sha256);
        out->bytes = part->total = t.at;
        rc = pk_partial_note(p, part); // the length, should it be filled up and the end come then
    }
    if (!rc && t.at == 0) {
        rc = pk_fail(p, -EINVAL, "%s: the file is empty", o->place);
    }
    mbedtls_sha256_free(&t.sha);
    close(t.fd);
    return rc;
}
