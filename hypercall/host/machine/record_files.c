// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Where records lie, and how they are written.
#include "hypercall/host/base/files.h"
#include "hypercall/host/base/folders.h"
#include "hypercall/host/machine/console.h"
#include "hypercall/host/machine/record.h"
#include "hypercall/host/machine/record_private.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int record_path(const char *name, enum record_kind kind, bool make, char *out, size_t out_bytes,
                char *error, size_t error_bytes)
{
    static const char *const endings[RECORD_KINDS] = {
        [RECORD_READY_STATE] = ".ready", [RECORD_READY_STATE_NEW] = ".ready.new",
        [RECORD_READY] = ".ready.json",  [RECORD_SUSPENDED] = ".suspended.json",
        [RECORD_TIMES] = ".times.json",
    };
    char log[PATH_MAX - 16];
    // The console's log lies in the folder above.
    int rc = console_log_path(name, 0, log, sizeof log, error, error_bytes);
    char *slash = rc ? NULL : strrchr(log, '/');
    if (!slash) {
        return rc ? rc : -EINVAL;
    }
    *slash = 0;
    int n = snprintf(out, out_bytes, "%s/states", log);
    if (make && n > 0 && (size_t)n < out_bytes &&
        ((rc = folder_make_passable(log)) != 0 || (rc = folder_make(out, 0700)) != 0)) {
        snprintf(error, error_bytes, "%s: cannot be made: %s", out, strerror(-rc));
        return rc;
    }
    n = snprintf(out, out_bytes, "%s/states/%s%s", log, name, endings[kind]);
    if (n < 0 || (size_t)n >= out_bytes) {
        snprintf(error, error_bytes, "the path of the saved state is too long");
        return -ENAMETOOLONG;
    }
    return 0;
}

void record_forget(const char *name)
{
    char path[PATH_MAX], unused[200];
    for (int kind = 0; kind < RECORD_KINDS; kind++) {
        if (record_path(name, (enum record_kind)kind, false, path, sizeof path, unused,
                        sizeof unused) == 0) {
            unlink(path);
        }
    }
}

int record_store(const char *path, json_t *o, char *error, size_t error_bytes)
{
    char part[PATH_MAX + 24];
    char *text = o ? json_dumps(o, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    json_decref(o);
    snprintf(part, sizeof part, "%s.%d.part", path, (int)gettid());
    int rc = text ? file_replace(path, part, text, strlen(text), 0600, true) : -ENOMEM;
    free(text);
    if (rc) {
        snprintf(error, error_bytes, "%s: cannot be written: %s", path, strerror(-rc));
    }
    return rc;
}
