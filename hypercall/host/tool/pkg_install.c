// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera pkg install`, `search` and `index`.
#include "hypercall/host/tool/pkg.h"
#include "hypercall/host/tool/quantize_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct conversion {
    uint32_t threads;
};

static int convert(void *context, const char *from, const char *to, const char *type, bool pack)
{
    const struct conversion *c = context;
    char quantised[PATH_MAX + 8];
    snprintf(quantised, sizeof quantised, "%s.quant", to);
    const char *packed_from = type ? quantised : from;
    int status = type ? tool_quantize_file(from, pack ? quantised : to, type, c->threads) : TOOL_OK;
    if (!status && pack) {
        status = tool_pack_file(packed_from, to, c->threads);
    }
    if (type && pack) {
        unlink(quantised);
    }
    return status ? -EIO : 0;
}

static void print_installed(struct packages *p, const struct packages_entry *e, bool existed,
                            bool json)
{
    char identity[WEIGHTS_TEXT], size[16], path[PATH_MAX] = "";
    weights_identity_text(&e->identity, identity);
    pkg_print_bytes(e->bytes, size);
    (void)packages_blob_path(p, e->blob, path);
    if (json) {
        printf("{\"name\":\"%s\",\"identity\":\"%s\",\"type\":\"%s\",\"bytes\":%llu,\"existed\":%s,"
               "\"source_sha256\":\"%s\",\"path\":",
               e->name, identity, e->type, (unsigned long long)e->bytes, existed ? "true" : "false",
               e->source_sha256);
        tool_print_json_text(path, strlen(path));
        printf("}\n");
        return;
    }
    printf("%s: %s, %s, %s%s\n", e->name, existed ? "is installed already" : "installed", e->type,
           size, e->packed ? ", packed" : "");
    printf("  %s\n  %s\n  tessera run %s\n", identity, path, e->name);
}

int pkg_install(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    struct packages p;
    struct packages_entry e;
    struct conversion c = {0};
    const char *ca_file = NULL;
    bool json = false, existed;
    struct packages_request q = {.convert = convert, .convert_context = &c};
    struct tool_option options[] = {
        {"--name", OPTION_TEXT, &q.name, false},    {"--type", OPTION_TEXT, &q.type, false},
        {"--pack", OPTION_FLAG, &q.pack, false},    {"--sha256", OPTION_TEXT, &q.sha256, false},
        {"--index", OPTION_TEXT, &q.index, false},  {"--replace", OPTION_FLAG, &q.replace, false},
        {"--cacert", OPTION_TEXT, &ca_file, false}, {"-t", OPTION_COUNT, &c.threads, false},
        {"--json", OPTION_FLAG, &json, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1) {
        return tool_misuse("wanted: install SOURCE");
    }
    if (q.type && !quantize_find(q.type)) {
        return tool_misuse("--type: '%s' is no type to quantize to", q.type);
    }
    if (c.threads > 1024) {
        return tool_misuse("-t: at most 1024 threads");
    }
    q.source = words[0];
    status = pkg_open(&p, true);
    if (status) {
        return status;
    }
    p.ca_file = ca_file;
    if (packages_install(&p, &q, &e, &existed) != 0) {
        return tool_fail("%s", p.error);
    }
    print_installed(&p, &e, existed, json);
    return TOOL_OK;
}

// ---- search ------------------------------------------------------------------------------------

struct search {
    struct packages *p;
    const char *word;
    bool json;
    size_t looked_at, broken, found;
};

static void print_model(struct search *s, const struct packages_model *m)
{
    char size[16] = "?";
    if (m->size) {
        pkg_print_bytes(m->size, size);
    }
    if (!s->json) {
        if (s->found == 0) {
            printf("%-28s %-8s %9s  %-12s %s\n", "NAME", "TYPE", "SIZE", "LICENCE", "DESCRIPTION");
        }
        printf("%-28s %-8s %9s  %-12s %s\n", m->name, m->type, size, m->licence, m->description);
        return;
    }
    const char *const fields[][2] = {{"type", m->type},       {"architecture", m->architecture},
                                     {"licence", m->licence}, {"description", m->description},
                                     {"sha256", m->sha256},   {"file", m->place}};
    printf("%s{\"name\":\"%s\",\"size\":%llu", s->found ? ",\n " : "", m->name,
           (unsigned long long)m->size);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        printf(",\"%s\":", fields[i][0]);
        tool_print_json_text(fields[i][1], strlen(fields[i][1]));
    }
    putchar('}');
}

static int search_index(void *context, const char *place)
{
    struct search *s = context;
    struct packages_model *models;
    size_t count;
    s->looked_at++;
    if (packages_index_load(s->p, place, &models, &count) != 0) {
        tool_fail("%s", s->p->error); // the others may do
        s->broken++;
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        const struct packages_model *m = &models[i];
        if (!s->word || strcasestr(m->name, s->word) || strcasestr(m->description, s->word) ||
            strcasestr(m->architecture, s->word) || strcasecmp(m->type, s->word) == 0) {
            print_model(s, m);
            s->found++;
        }
    }
    free(models);
    return 0;
}

int pkg_search(int argc, char **argv)
{
    const char *words[1] = {NULL}, *index = NULL, *ca_file = NULL;
    size_t word_count;
    struct packages p;
    struct search s = {.p = &p};
    struct tool_option options[] = {
        {"--index", OPTION_TEXT, &index, false},
        {"--cacert", OPTION_TEXT, &ca_file, false},
        {"--json", OPTION_FLAG, &s.json, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    status = status ? status : pkg_open(&p, false);
    if (status) {
        return status;
    }
    p.ca_file = ca_file;
    s.word = word_count ? words[0] : NULL;
    if (s.json) {
        putchar('[');
    }
    int rc = index ? search_index(&s, index) : packages_index_places(&p, search_index, &s);
    if (s.json) {
        printf("]\n");
    }
    if (rc) {
        return tool_fail("%s", p.error);
    }
    if (s.looked_at == 0) {
        return tool_fail("no index is configured: --index PLACE, TESSERA_INDEX, or a line in "
                         "~/.config/tessera/indexes");
    }
    if (s.found == 0 && !s.broken && !s.json) {
        printf("no model%s%s\n", s.word ? " that has to do with " : "", s.word ? s.word : "");
    }
    return s.broken ? TOOL_FAILED : TOOL_OK;
}

int pkg_index(int argc, char **argv)
{
    const char *words[1];
    size_t word_count, count;
    struct packages p;
    int status = tool_options(argc, argv, NULL, 0, words, 1, &word_count);
    if (!status && word_count != 1) {
        status = tool_misuse("wanted: index FOLDER");
    }
    status = status ? status : pkg_open(&p, false);
    if (status) {
        return status;
    }
    if (packages_index_make(&p, words[0], &count) != 0) {
        return tool_fail("%s", p.error);
    }
    printf("%s/index.json: %zu models\n", words[0], count);
    return TOOL_OK;
}
