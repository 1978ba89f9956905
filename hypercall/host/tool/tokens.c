// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera tokenize` and `tessera detokenize`.
#include "hypercall/host/tool/tool.h"

#include "tensor/tokenizer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// The vocabulary alone when the file is one GGUF, which then needs no tensors; otherwise the whole
// model is opened.
struct vocabulary {
    void *map;
    size_t bytes;
    struct gguf *gguf;
    struct tokenizer *own;
    struct tool_model model;
    const struct tokenizer *tokenizer;
};

static void *map_file(const char *path, size_t *bytes)
{
    struct stat st;
    void *map = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        *bytes = (size_t)st.st_size;
        map = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    return map == MAP_FAILED ? NULL : map;
}

static int open_vocabulary(const char *path, struct vocabulary *v)
{
    char error[256] = "";
    *v = (struct vocabulary){0};
    v->map = map_file(path, &v->bytes);
    if (v->map && gguf_open(v->map, v->bytes, &v->gguf, error, sizeof error) == 0) {
        if (tokenizer_open(v->gguf, &v->own, error, sizeof error) == 0) {
            v->tokenizer = v->own;
            return TOOL_OK;
        }
        gguf_close(v->gguf);
        munmap(v->map, v->bytes);
        return tool_fail("%s: %s", path, error);
    }
    if (v->map) {
        munmap(v->map, v->bytes);
    }
    int status = tool_open(path, &v->model);
    v->tokenizer = status ? NULL : v->model.tokenizer;
    return status;
}

static void close_vocabulary(struct vocabulary *v)
{
    if (!v->own) {
        tool_close(&v->model);
        return;
    }
    tokenizer_close(v->own);
    gguf_close(v->gguf);
    munmap(v->map, v->bytes);
}

static int print_ids(const struct vocabulary *m, const char *text, size_t bytes, unsigned flags)
{
    long n = tokenizer_encode(m->tokenizer, text, bytes, flags, NULL, 0);
    int32_t *ids = malloc((n > 0 ? (size_t)n : 1) * sizeof *ids);
    if (n < 0 || !ids || tokenizer_encode(m->tokenizer, text, bytes, flags, ids, (size_t)n) != n) {
        free(ids);
        return tool_fail("the text cannot be tokenised");
    }
    putchar('[');
    for (long i = 0; i < n; i++) {
        printf("%s%d", i ? "," : "", ids[i]);
    }
    printf("]\n");
    free(ids);
    return TOOL_OK;
}

static int run_tokenize(int argc, char **argv)
{
    struct vocabulary m;
    const char *words[1];
    size_t word_count, bytes = 0;
    bool plain = false, parse = false, json = false;
    struct tool_option options[] = {{"--no-special", OPTION_FLAG, &plain, false},
                                    {"--parse-special", OPTION_FLAG, &parse, false},
                                    {"--json", OPTION_FLAG, &json, false}}; // it always is
    int status = tool_options(argc, argv, options, 3, words, 1, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 1) {
        return tool_misuse("wanted: MODEL, and the text on standard input");
    }
    status = open_vocabulary(words[0], &m);
    if (status) {
        return status;
    }
    char *text = tool_read_all("-", &bytes);
    unsigned flags = (plain ? 0u : TOKENIZE_ADD_SPECIAL) | (parse ? TOKENIZE_PARSE_SPECIAL : 0u);
    status = text ? print_ids(&m, text, bytes, flags) : TOOL_FAILED;
    free(text);
    close_vocabulary(&m);
    return status;
}

static int print_text(const struct vocabulary *m, const int32_t *ids, size_t count, bool special,
                      bool json)
{
    long n = tokenizer_decode(m->tokenizer, ids, count, special, NULL, 0);
    char *text = malloc(n > 0 ? (size_t)n : 1);
    if (n < 0 || !text ||
        tokenizer_decode(m->tokenizer, ids, count, special, text, (size_t)n) != n) {
        free(text);
        return tool_fail("an id lies outside the vocabulary of %u", tokenizer_size(m->tokenizer));
    }
    if (json) {
        tool_print_json_text(text, (size_t)n);
        putchar('\n');
    } else {
        fwrite(text, 1, (size_t)n, stdout);
    }
    free(text);
    return TOOL_OK;
}

static int run_detokenize(int argc, char **argv)
{
    struct vocabulary m;
    const char *words[2];
    size_t word_count, count;
    bool special = false, json = false;
    struct tool_option options[] = {{"--special", OPTION_FLAG, &special, false},
                                    {"--json", OPTION_FLAG, &json, false}};
    int status = tool_options(argc, argv, options, 2, words, 2, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 2) {
        return tool_misuse("wanted: MODEL and token ids like 1,5,9");
    }
    int32_t *ids = tool_ids(words[1], &count);
    if (!ids) {
        return TOOL_USAGE;
    }
    status = open_vocabulary(words[0], &m);
    if (!status) {
        status = print_text(&m, ids, count, special, json);
        close_vocabulary(&m);
    }
    free(ids);
    return status;
}

const struct tool_command tool_tokenize = {
    .name = "tokenize",
    .summary = "text on standard input to token ids",
    .help = "Usage: tessera tokenize MODEL [OPTIONS] < text\n\n"
            "Prints the ids as a JSON array. MODEL may be a GGUF that holds only a vocabulary.\n\n"
            "  --no-special      without the tokens (BOS, EOS) that the model wants around a text\n"
            "  --parse-special   special tokens written in the text are recognised\n"
            "  --json            changes nothing: it is JSON anyway\n",
    .run = run_tokenize,
};

const struct tool_command tool_detokenize = {
    .name = "detokenize",
    .summary = "token ids to text",
    .help = "Usage: tessera detokenize MODEL 1,5,9 [OPTIONS]\n\n"
            "Prints the text, with no newline of its own.\n\n"
            "  --special   show control tokens too\n"
            "  --json      as a JSON string\n",
    .run = run_detokenize,
};
