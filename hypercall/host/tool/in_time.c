// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
#include "hypercall/host/tool/in_time.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// A system's daemon may probe QEMU for half a minute as it starts.
enum { CONNECT_SECONDS = 60 };

struct attempt {
    in_time_open_fn *open;
    const char *uri;
    virConnectPtr connection;
    char error[900];
    int rc;
};

static void *attempt_thread(void *context)
{
    struct attempt *a = context;
    a->rc = a->open(a->uri, &a->connection, a->error, sizeof a->error);
    return NULL;
}

int connect_in_time(in_time_open_fn *open, const char *uri, virConnectPtr *out, char *error,
                    size_t error_bytes)
{
    struct attempt *a = calloc(1, sizeof *a);
    pthread_t thread;
    struct timespec until;
    if (!a) {
        return -ENOMEM;
    }
    a->open = open;
    a->uri = uri;
    int rc = -pthread_create(&thread, NULL, attempt_thread, a);
    if (rc == 0) {
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += CONNECT_SECONDS;
        rc = -pthread_timedjoin_np(thread, NULL, &until);
        if (rc) {
            pthread_detach(thread);
            snprintf(error, error_bytes, "%s does not answer in %d seconds", uri, CONNECT_SECONDS);
            return rc;
        }
        rc = a->rc;
        *out = a->connection;
        snprintf(error, error_bytes, "%s", a->error);
    }
    free(a);
    return rc;
}
