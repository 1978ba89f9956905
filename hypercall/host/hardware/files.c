// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Small files below a root folder.
#include "hypercall/host/base/files.h"
#include "hypercall/host/hardware/private.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 16 << 20 };

bool hw_path(char out[PATH_MAX], const char *root, const char *format, ...)
{
    va_list args;
    size_t used = strlen(root);
    if (used >= PATH_MAX) {
        return false;
    }
    memcpy(out, root, used + 1);
    va_start(args, format);
    int n = vsnprintf(out + used, PATH_MAX - used, format, args);
    va_end(args);
    return n >= 0 && (size_t)n < PATH_MAX - used;
}

char *hw_read(const char *path)
{
    char *text = NULL;
    size_t bytes;
    return file_load(path, MOST_BYTES, &text, &bytes) == 0 ? text : NULL;
}

bool hw_line(const char *path, char *out, size_t out_bytes)
{
    char *text = hw_read(path);
    out[0] = 0;
    if (!text) {
        return false;
    }
    text[strcspn(text, "\n")] = 0;
    size_t length = strlen(text);
    while (length && (text[length - 1] == ' ' || text[length - 1] == '\t')) {
        text[--length] = 0;
    }
    snprintf(out, out_bytes, "%s", text);
    free(text);
    return true;
}

uint64_t hw_number(const char *path, uint64_t missing)
{
    char text[64], *end;
    if (!hw_line(path, text, sizeof text) || text[0] < '0' || text[0] > '9') {
        return missing;
    }
    unsigned long long v = strtoull(text, &end, text[1] == 'x' ? 16 : 10);
    return *end ? missing : v;
}

bool hw_link_name(const char *path, char *out, size_t out_bytes)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    out[0] = 0;
    if (n <= 0) {
        return false;
    }
    target[n] = 0;
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    if (strlen(name) >= out_bytes) {
        return false;
    }
    strcpy(out, name);
    return true;
}

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

void hw_entries(const char *path, void (*each)(void *context, const char *name), void *context)
{
    struct dirent **entries;
    int n = scandir(path, &entries, visible, alphasort);
    for (int i = 0; i < n; i++) {
        each(context, entries[i]->d_name);
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
}
