// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera pkg`: models installed under a name. Here what is installed; pkg_install.c installs.
#include "hypercall/host/tool/pkg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void say(void *unused, const char *line)
{
    (void)unused;
    fprintf(stderr, "%s\n", line);
}

int pkg_open(struct packages *p, bool make)
{
    *p = (struct packages){
        .progress = weights_progress_on_terminal(), .say = say, .in_use = pkg_in_use};
    return packages_open(p, make) == 0 ? TOOL_OK : tool_fail("%s", p->error);
}

void pkg_print_bytes(uint64_t bytes, char out[16])
{
    if (bytes >= 1000000000) {
        snprintf(out, 16, "%.1f GB", (double)bytes / 1e9);
    } else {
        snprintf(out, 16, "%.1f MB", (double)bytes / 1e6);
    }
}

// ---- list --------------------------------------------------------------------------------------

static void print_text(const char *before, const char *text)
{
    printf("%s", before);
    tool_print_json_text(text, strlen(text));
}

static int print_json(struct packages *p, const struct packages_entry *list, size_t count)
{
    putchar('[');
    for (size_t i = 0; i < count; i++) {
        const struct packages_entry *e = &list[i];
        char identity[WEIGHTS_TEXT], path[PATH_MAX];
        weights_identity_text(&e->identity, identity);
        if (packages_blob_path(p, e->blob, path) != 0) {
            return tool_fail("%s", p->error);
        }
        print_text(i ? ",\n {\"name\":" : "{\"name\":", e->name);
        print_text(",\"identity\":", identity);
        print_text(",\"type\":", e->type);
        printf(",\"bytes\":%llu,\"packed\":%s", (unsigned long long)e->bytes,
               e->packed ? "true" : "false");
        print_text(",\"path\":", path);
        print_text(",\"source\":", e->source);
        print_text(",\"source_sha256\":", e->source_sha256);
        if (e->converted[0]) {
            print_text(",\"converted\":", e->converted);
        }
        print_text(",\"installed\":", e->installed);
        putchar('}');
    }
    printf("]\n");
    return TOOL_OK;
}

static int list(int argc, char **argv)
{
    const char *words[1];
    size_t word_count, count;
    bool json = false;
    struct packages p;
    struct packages_entry *entries;
    struct tool_option options[] = {{"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 1, words, 0, &word_count);
    status = status ? status : pkg_open(&p, false);
    if (status) {
        return status;
    }
    if (packages_list(&p, &entries, &count) != 0) {
        return tool_fail("%s", p.error);
    }
    if (json) {
        status = print_json(&p, entries, count);
    } else {
        printf("%-28s %-8s %9s  %-19s %-10s %s\n", "NAME", "TYPE", "SIZE", "IDENTITY", "INSTALLED",
               "SOURCE");
        for (size_t i = 0; i < count; i++) {
            char identity[WEIGHTS_TEXT], size[16];
            weights_identity_text(&entries[i].identity, identity);
            pkg_print_bytes(entries[i].bytes, size);
            printf("%-28s %-8s %9s  %.19s %.10s %s\n", entries[i].name, entries[i].type, size,
                   identity, entries[i].installed, entries[i].source);
        }
    }
    free(entries);
    return status;
}

// ---- remove, verify, prune ---------------------------------------------------------------------

static int remove_model(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    bool force = false;
    uint64_t freed;
    char size[16];
    struct packages p;
    struct tool_option options[] = {{"--force", OPTION_FLAG, &force, false}};
    int status = tool_options(argc, argv, options, 1, words, 1, &word_count);
    if (!status && word_count != 1) {
        status = tool_misuse("wanted: remove NAME");
    }
    status = status ? status : pkg_open(&p, false);
    if (status) {
        return status;
    }
    if (packages_remove(&p, words[0], force, &freed) != 0) {
        return tool_fail("%s", p.error);
    }
    pkg_print_bytes(freed, size);
    printf("%s: removed, %s\n", words[0],
           freed ? size : "its file stays for the other names that have it");
    return TOOL_OK;
}

static int verify(int argc, char **argv)
{
    const char *words[1];
    size_t word_count, count, checked = 0, bad = 0;
    struct packages p;
    struct packages_entry *entries;
    struct packages_leftovers left;
    int status = tool_options(argc, argv, NULL, 0, words, 1, &word_count);
    status = status ? status : pkg_open(&p, false);
    if (status) {
        return status;
    }
    if (packages_list(&p, &entries, &count) != 0) {
        return tool_fail("%s", p.error);
    }
    for (size_t i = 0; i < count; i++) {
        if (word_count && strcmp(entries[i].name, words[0]) != 0) {
            continue;
        }
        checked++;
        if (packages_verify(&p, &entries[i]) == 0) {
            printf("%s: is as installed\n", entries[i].name);
        } else {
            bad++;
            status = tool_fail("%s", p.error);
        }
    }
    free(entries);
    struct packages_entry e;
    if (word_count && !checked && packages_find(&p, words[0], &e) != 0) {
        return tool_fail("%s", p.error);
    }
    if (!word_count && packages_prune(&p, false, &left) == 0 && left.blobs + left.parts) {
        char size[16];
        pkg_print_bytes(left.bytes, size);
        printf("%zu files that no name needs and %zu of interrupted installs, %s: `tessera pkg "
               "prune` removes them\n",
               left.blobs, left.parts, size);
    }
    return bad ? TOOL_FAILED : status;
}

static int prune(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    struct packages p;
    struct packages_leftovers left;
    char size[16];
    int status = tool_options(argc, argv, NULL, 0, words, 0, &word_count);
    status = status ? status : pkg_open(&p, true);
    if (status) {
        return status;
    }
    if (packages_prune(&p, true, &left) != 0) {
        return tool_fail("%s", p.error);
    }
    pkg_print_bytes(left.bytes, size);
    printf("removed %zu files that no name needed and %zu of interrupted installs, %s\n",
           left.blobs, left.parts, size);
    struct weights_unneeded copies;
    char error[PATH_MAX + 200];
    if (weights_copies_prune(true, pkg_copy_in_use, NULL, &copies, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    pkg_print_bytes(copies.bytes, size);
    printf("removed %zu copies of files that are gone or changed, %s\n", copies.count, size);
    return TOOL_OK;
}

static int run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {
        {"install", pkg_install}, {"search", pkg_search}, {"list", list},     {"ls", list},
        {"remove", remove_model}, {"rm", remove_model},   {"verify", verify}, {"prune", prune},
        {"index", pkg_index}};
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    return argc > 1 ? tool_misuse("no command 'pkg %s'", argv[1])
                    : tool_misuse("wanted: install, search, list, remove, verify, prune or index");
}

const struct tool_command tool_pkg = {
    .name = "pkg",
    .summary = "the model store: install, search, list, remove models by name",
    .help =
        "Usage: tessera pkg install SOURCE [OPTIONS]\n"
        "       tessera pkg search [WORD] [--index PLACE] [--json]\n"
        "       tessera pkg list [--json]\n"
        "       tessera pkg remove NAME [--force]\n"
        "       tessera pkg verify [NAME]     reads all again and compares the SHA-256\n"
        "       tessera pkg prune             removes what interrupted installs left, and copies\n"
        "                                     for guests whose source is gone or changed\n"
        "       tessera pkg index FOLDER      writes index.json for the folder's GGUF files\n\n"
        "Models are kept once by content under the SHA-256, and run by name: `tessera run NAME`.\n"
        "An install that is broken off goes on where it was.\n\n"
        "  SOURCE               a GGUF file, an http(s):// URL of one, or a name in an index;\n"
        "                       with --type also a Hugging Face model's folder\n"
        "  --name NAME          instead of the source's\n"
        "  --type TYPE          quantised as it is installed, like Q4_0 (see `quantize`)\n"
        "  --pack               laid out for the kernels (see `pack`)\n"
        "  --sha256 HEX         what the source must have\n"
        "  --index PLACE        a folder or URL with an index.json; without it TESSERA_INDEX\n"
        "                       (blanks between), ~/.config/tessera/indexes and\n"
        "                       /etc/tessera/indexes (one a line)\n"
        "  --replace            in the place of another model of that name\n"
        "  --cacert FILE        certificates to trust instead of the system's (CURL_CA_BUNDLE)\n"
        "  -t THREADS           for --type and --pack\n"
        "  --json               what was installed, as a JSON object\n\n"
        "The store is TESSERA_STORE, else for root /var/lib/tessera/models, else\n"
        "~/.local/share/tessera/models (XDG_DATA_HOME).\n",
    .run = run,
};
