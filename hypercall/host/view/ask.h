// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Many guests asked at once, over HTTP: one that is stuck keeps nobody waiting longer than the
// given time.
#ifndef TESSERA_VIEW_ASK_H
#define TESSERA_VIEW_ASK_H

#include <stddef.h>

struct view_question {
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
int view_ask(struct view_question *questions, size_t count, long ms);

#endif
