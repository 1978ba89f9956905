// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// HTTP by libcurl: its start, and many servers asked at once, of whom one that is stuck keeps
// nobody waiting longer than the given time.
#ifndef TESSERA_BASE_HTTP_H
#define TESSERA_BASE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

// libcurl is ready for use; the first call, which is to come before there are threads, makes it so.
bool http_ready(void);

struct http_question {
    char url[192];
    const char *key;     // of the API, NULL or "": none
    const char *ca_file; // a certificate to trust besides the system's, NULL: none
    // the answer
    int http;     // its status, 0: none came
    char *body;   // NUL-terminated, cut at 1 MB; NULL: empty. free() it.
    size_t bytes; //
    double ms;    // until the last byte
};
// GETs all of them and returns once all are answered, or after `ms`. 0 or -ENOMEM.
int http_ask(struct http_question *questions, size_t count, long ms);

#endif
