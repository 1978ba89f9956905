// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Any bytes as an index, an entry, a note, a range, a place: refused, or what comes of them is safe
// to print, to use as a file's name and to write again.
//
// Links: hypercall/host/packages/text.c hypercall/host/packages/entry.c
// Links: hypercall/host/packages/index.c hypercall/host/packages/indexes.c
// Links: hypercall/host/packages/partial.c hypercall/host/packages/lock.c
// Links: hypercall/host/packages/store.c hypercall/host/packages/files.c
// Links: hypercall/host/packages/fetch.c
// Links: hypercall/host/store/text.c
// Libs: -lmbedcrypto -ljansson -lcurl
#include "hypercall/host/packages/private.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check_plain(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        check(*c >= 0x20 && *c != 0x7f && !(c[0] == 0xc2 && c[1] < 0xa0));
    }
}

static void try_index(struct packages *p, const char *text, size_t bytes)
{
    struct packages_model *models;
    char error[300];
    size_t count;
    if (pk_index_parse(text, bytes, &models, &count, error, sizeof error) != 0) {
        check_plain(error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct packages_model *m = &models[i];
        check(packages_name_is_valid(m->name) && pk_is_sha256(m->sha256));
        check_plain(m->description);
        check_plain(m->licence);
        check_plain(m->type);
        check_plain(m->file);
        if (pk_index_place(p, "/models/index.json", m) == 0) {
            check(pk_is_url(m->place) ||
                  (strncmp(m->place, "/models/", 8) == 0 && !strstr(m->place, "/../")));
        }
        if (pk_index_place(p, "https://host/models/", m) == 0) {
            check(pk_is_url(m->place));
        }
    }
    char *again = pk_index_text(models, count);
    struct packages_model *twice;
    size_t same;
    check(again && pk_index_parse(again, strlen(again), &twice, &same, error, sizeof error) == 0);
    check(same == count);
    free(again);
    free(twice);
    free(models);
}

static void try_entry(const char *text, size_t bytes)
{
    struct packages_entry e, again;
    char error[300];
    if (pk_entry_parse(text, bytes, &e, error, sizeof error) != 0) {
        check_plain(error);
        return;
    }
    check(packages_name_is_valid(e.name) && pk_is_sha256(e.blob));
    check_plain(e.source);
    check_plain(e.type);
    char *written = pk_entry_text(&e);
    check(written && pk_entry_parse(written, strlen(written), &again, error, sizeof error) == 0);
    check(strcmp(e.source, again.source) == 0 && e.bytes == again.bytes);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct packages p;
    struct partial part;
    char name[PACKAGES_NAME], out[40], *text = malloc(bytes + 1), *exact = malloc(bytes + !bytes);
    uint64_t first, last, total;
    bool same_boot;
    if (text && exact) {
        memcpy(text, data, bytes);
        memcpy(exact, data, bytes);
        text[bytes] = 0;
        try_index(&p, exact, bytes);
        try_entry(exact, bytes);
        if (pk_note_parse(exact, bytes, &part, &same_boot) == 0) {
            check_plain(part.etag);
            check_plain(part.modified);
        }
        if (pk_content_range_parse(text, &first, &last, &total) == 0) {
            check(first <= last && last < total);
        }
        pk_name_of(text, name);
        check(packages_name_is_valid(name));
        pk_plain(out, sizeof out, text);
        check_plain(out);
    }
    free(text);
    free(exact);
    return 0;
}
