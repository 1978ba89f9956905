// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera pack`: the same model with the rows of its matrices interleaved as the kernels read them
// (tensor/pack.h): one file that all guests and all ISA levels share. Made once, whole or absent.
#include "hypercall/host/base/hex.h"
#include "hypercall/host/store/weights.h"
#include "hypercall/host/tool/tool.h"
#include "tensor/files.h"
#include "tensor/gguf_write.h"
#include "tensor/pack.h"

#include <errno.h>
#include <mbedtls/sha256.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALIGNMENT = 64, FILE_MULTIPLE = 2 << 20, BATCH_BYTES = 8 << 20, HASH_BYTES = 8 << 20 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

struct job {
    const struct gguf *from;
    const struct tn_files *files;
    struct tn_pool *pool;
    struct tn_gguf_file *file;
    char architecture[64];
    uint64_t work, total_work; // bytes hashed and written, of all
    uint64_t in_bytes, out_bytes, packed;
    char sha256[65];
    uint64_t begun;
    int shown;
};

// Only for what takes longer than a second.
static void show_progress(struct job *j, const char *what)
{
    int percent = (int)(j->total_work ? 100 * j->work / j->total_work : 100);
    if (percent / 10 == j->shown / 10 || tool_now_ns() - j->begun < 1000000000u) {
        return;
    }
    j->shown = percent;
    fprintf(stderr, "%3d%% %s\n", percent, what);
}

// ---- what to pack
// --------------------------------------------------------------------------------

static bool is_named(const struct gguf_tensor *t, const char *name)
{
    return t->name.bytes == strlen(name) && memcmp(t->name.data, name, t->name.bytes) == 0;
}

static bool has_part(const struct gguf_tensor *t, const char *part)
{
    return memmem(t->name.data, t->name.bytes, part, strlen(part)) != NULL;
}

static uint64_t key_of(const struct job *j, const char *name)
{
    char key[160];
    uint64_t value = 0;
    snprintf(key, sizeof key, "%s.%s", j->architecture, name);
    return gguf_u64(j->from, key, &value) == 0 ? value : 0;
}

// Matrices that hold several, used apart: each must begin with a strip.
static bool parts_begin_strips(const struct job *j, const struct gguf_tensor *t)
{
    if (has_part(t, ".attn_qkv.")) {
        uint64_t heads = key_of(j, "attention.head_count"), width = key_of(j, "embedding_length");
        uint64_t length = key_of(j, "attention.key_length");
        uint64_t q = !heads ? 0 : length ? heads * length : width;
        return q && q < t->shape[1] && q % TN_STRIP_ROWS == 0 &&
               (t->shape[1] - q) % (2 * TN_STRIP_ROWS) == 0;
    }
    return !has_part(t, ".ffn_up.") || t->shape[1] % (2 * TN_STRIP_ROWS) == 0 ||
           strcmp(j->architecture, "phi3") != 0;
}

// Matrices that products read; tables of which single rows are taken stay as they are.
static bool is_to_be_packed(const struct job *j, const struct gguf_tensor *t)
{
    if (t->dims < 2 || t->shape[1] < TN_STRIP_ROWS || !tn_can_pack(t->type) ||
        !has_part(t, ".weight") || is_named(t, "position_embd.weight") ||
        is_named(t, "token_types.weight")) {
        return false;
    }
    if (is_named(t, "token_embd.weight")) { // also the output matrix, if there is no other
        return !gguf_find(j->from, "output.weight") && strcmp(j->architecture, "bert") != 0;
    }
    return parts_begin_strips(j, t);
}

static uint64_t packed_bytes(const struct gguf_tensor *t)
{
    uint64_t rows = (t->shape[1] + TN_STRIP_ROWS - 1) / TN_STRIP_ROWS * TN_STRIP_ROWS;
    return tn_row_bytes(t->type, t->shape[0]) * rows * t->shape[2] * t->shape[3];
}

// ---- tensors
// -------------------------------------------------------------------------------------

struct batch {
    const struct gguf_tensor *tensor;
    size_t row_bytes;
    uint64_t strips_of_one, first; // of one matrix; of the batch
    uint8_t *out;
};

static void pack_tile(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    const struct batch *b = arg;
    uint64_t strip = b->first + i, matrix = strip / b->strips_of_one;
    uint64_t row = strip % b->strips_of_one * TN_STRIP_ROWS, rows = b->tensor->shape[1];
    const uint8_t *w = (const uint8_t *)b->tensor->data + (matrix * rows + row) * b->row_bytes;
    tn_pack_strip(b->tensor->type, w, b->row_bytes,
                  rows - row < TN_STRIP_ROWS ? rows - row : TN_STRIP_ROWS, b->tensor->shape[0],
                  b->out + i * TN_STRIP_ROWS * b->row_bytes);
}

static int write_bytes(struct job *j, const void *data, size_t bytes)
{
    int rc = tn_gguf_write_data(j->file, data, bytes);
    if (rc) {
        return tool_fail("the file cannot be written: %s", strerror(-rc));
    }
    j->work += bytes;
    show_progress(j, "written");
    return interrupted ? tool_fail("interrupted; nothing is left behind") : TOOL_OK;
}

static int write_packed(struct job *j, const struct gguf_tensor *t)
{
    struct batch b = {.tensor = t,
                      .row_bytes = tn_row_bytes(t->type, t->shape[0]),
                      .strips_of_one = (t->shape[1] + TN_STRIP_ROWS - 1) / TN_STRIP_ROWS};
    size_t strip = TN_STRIP_ROWS * b.row_bytes, most = BATCH_BYTES / strip + 1;
    uint64_t strips = b.strips_of_one * t->shape[2] * t->shape[3];
    most = most < strips ? most : (size_t)strips;
    b.out = malloc(most * strip);
    int status = b.out ? TOOL_OK : tool_fail("no memory: %zu bytes", most * strip);
    while (b.first < strips && !status) {
        size_t n = strips - b.first < most ? (size_t)(strips - b.first) : most;
        j->pool->run(j->pool, pack_tile, &b, n);
        status = write_bytes(j, b.out, n * strip);
        b.first += n;
    }
    free(b.out);
    return status;
}

static int write_plain(struct job *j, const struct gguf_tensor *t)
{
    int status = TOOL_OK;
    for (uint64_t at = 0; at < t->bytes && !status; at += BATCH_BYTES) {
        uint64_t n = t->bytes - at < BATCH_BYTES ? t->bytes - at : BATCH_BYTES;
        status = write_bytes(j, (const uint8_t *)t->data + at, n);
    }
    return status;
}

// ---- the file
// ------------------------------------------------------------------------------------

// Of the source's content, as everywhere (store/weights.h); of several shards all bytes, one after
// the other.
static int hash_source(struct job *j)
{
    mbedtls_sha256_context sha;
    mbedtls_sha256_init(&sha);
    int rc = mbedtls_sha256_starts_ret(&sha, 0), status = TOOL_OK;
    const struct gguf_block *block;
    for (size_t i = 0; (block = tn_files_block(j->files, i)) && !status; i++) {
        size_t bytes = tn_files_block(j->files, 1)
                           ? block->bytes
                           : (size_t)weights_content_bytes(j->from, block->bytes);
        for (size_t at = 0; at < bytes && !rc && !status; at += HASH_BYTES) {
            size_t n = bytes - at < HASH_BYTES ? bytes - at : HASH_BYTES;
            rc = mbedtls_sha256_update_ret(&sha, (const uint8_t *)block->data + at, n);
            j->work += n;
            show_progress(j, "the source's SHA-256");
            status = interrupted ? tool_fail("interrupted") : TOOL_OK;
        }
    }
    uint8_t hash[32];
    rc = rc ? rc : mbedtls_sha256_finish_ret(&sha, hash);
    mbedtls_sha256_free(&sha);
    if (rc && !status) {
        return tool_fail("the source's SHA-256 cannot be computed (mbedTLS error %d)", rc);
    }
    hex_write(hash, sizeof hash, j->sha256);
    return status;
}

// Keys that tell of the old file rather than of the model.
static bool is_replaced(struct gguf_string key)
{
    static const char alignment[] = "general.alignment";
    return (key.bytes >= 6 && memcmp(key.data, "split.", 6) == 0) ||
           (key.bytes == sizeof alignment - 1 && memcmp(key.data, alignment, key.bytes) == 0);
}

static int plan(struct job *j, struct tn_gguf_writer *w)
{
    uint32_t type;
    tn_gguf_set_alignment(w, ALIGNMENT);
    for (uint64_t i = 0; i < gguf_key_count(j->from); i++) {
        if (!is_replaced(gguf_key_at(j->from, i, &type))) {
            tn_gguf_copy_key(w, j->from, i);
        }
    }
    tn_gguf_put_u32(w, "tessera.packed.version", TN_PACKED_VERSION);
    tn_gguf_put_string(w, "tessera.packed.source_sha256", j->sha256);
    for (uint64_t i = 0; i < gguf_tensor_count(j->from); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->from, i);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(t->name.bytes < 127 ? t->name.bytes : 127),
                 t->name.data);
        if (t->name.bytes > 127 || memchr(t->name.data, 0, t->name.bytes)) {
            return tool_fail("tensor '%s...': its name is too long or has a zero byte", name);
        }
        bool packs = is_to_be_packed(j, t);
        uint64_t bytes = packs ? packed_bytes(t) : t->bytes;
        tn_gguf_put_tensor(w, name, packs ? t->type | (uint32_t)TN_PACKED : t->type, t->shape,
                           t->dims, NULL, bytes);
        j->packed += packs;
        j->in_bytes += t->bytes;
        j->out_bytes += bytes;
    }
    return TOOL_OK;
}

static int write_file(struct job *j, const char *path)
{
    struct tn_gguf_writer *w = tn_gguf_writer_new();
    int status = w ? plan(j, w) : tool_fail("no memory");
    status = status ? status : tool_check_room(path, j->out_bytes + FILE_MULTIPLE);
    int rc = status ? 0 : tn_gguf_begin(w, path, &j->file);
    if (rc) {
        status = tool_fail("%s: cannot be written: %s", path, strerror(-rc));
    }
    for (uint64_t i = 0; i < gguf_tensor_count(j->from) && !status; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->from, i);
        status = is_to_be_packed(j, t) ? write_packed(j, t) : write_plain(j, t);
    }
    if (status && j->file) {
        tn_gguf_drop(j->file);
    } else if (!status && (rc = tn_gguf_finish(j->file, FILE_MULTIPLE))) {
        status = tool_fail("%s: cannot be written: %s", path, strerror(-rc));
    }
    tn_gguf_writer_free(w);
    return status;
}

static int check_source(struct job *j, const char *path)
{
    struct gguf_string a;
    uint64_t version;
    bool packed = gguf_u64(j->from, "tessera.packed.version", &version) == 0;
    j->total_work = tn_files_bytes(j->files);
    for (uint64_t i = 0; i < gguf_tensor_count(j->from); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->from, i);
        packed = packed || t->type & TN_PACKED;
        j->total_work += t->bytes;
    }
    if (packed) {
        return tool_fail("%s: is packed already", path);
    }
    bool split_halves = false;
    if (gguf_bool(j->from, "tessera.rope.split_halves", &split_halves) == 0 && split_halves) {
        return tool_fail("%s: is no GGUF file; make one first with `tessera quantize`", path);
    }
    if (gguf_str(j->from, "general.architecture", &a) != 0 || a.bytes >= sizeof j->architecture) {
        return tool_fail("%s: general.architecture is missing or too long", path);
    }
    memcpy(j->architecture, a.data, a.bytes);
    return TOOL_OK;
}

static void print_result(const struct job *j, const char *path, bool json)
{
    double seconds = (double)(tool_now_ns() - j->begun) / 1e9;
    unsigned long long tensors = gguf_tensor_count(j->from), packed = j->packed;
    if (json) {
        printf("{\"version\":%d,\"source_sha256\":\"%s\",\"tensors\":%llu,\"packed\":%llu,"
               "\"in_bytes\":%llu,\"out_bytes\":%llu,\"seconds\":%.3f}\n",
               TN_PACKED_VERSION, j->sha256, tensors, packed, (unsigned long long)j->in_bytes,
               (unsigned long long)j->out_bytes, seconds);
    } else {
        printf("%s: %llu of %llu tensors packed, %.1f MB, in %.1f s\n", path, packed, tensors,
               (double)j->out_bytes / 1e6, seconds);
    }
}

enum report { REPORT_NONE, REPORT_TEXT, REPORT_JSON };

static int pack(struct job *j, const char *from, const char *to, enum report report)
{
    struct sigaction act = {.sa_handler = on_interrupt}, old_int, old_term, old_hup;
    sigaction(SIGINT, &act, &old_int);
    sigaction(SIGTERM, &act, &old_term);
    sigaction(SIGHUP, &act, &old_hup);
    j->begun = tool_now_ns();
    int status = check_source(j, from);
    if (!status) {
        status = hash_source(j);
    }
    if (!status) {
        status = write_file(j, to);
    }
    if (!status && report != REPORT_NONE) {
        print_result(j, to, report == REPORT_JSON);
    }
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGHUP, &old_hup, NULL);
    return status;
}

static int pack_file(const char *from, const char *to, uint32_t threads, enum report report)
{
    char error[512] = "";
    struct tn_files *files;
    struct gguf *index;
    if (tn_files_open(from, &files, &index, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    struct job j = {.from = index,
                    .files = files,
                    .pool = tn_pool_threads(threads ? threads : tool_cpus()),
                    .shown = -1};
    int status = j.pool ? pack(&j, from, to, report) : tool_fail("no memory");
    tn_pool_free(j.pool);
    gguf_close(index);
    tn_files_close(files);
    return status;
}

int tool_pack_file(const char *from, const char *to, uint32_t threads)
{
    return pack_file(from, to, threads, REPORT_NONE);
}

static int run(int argc, char **argv)
{
    const char *words[2];
    size_t word_count;
    uint32_t threads = 0;
    bool json = false;
    struct tool_option options[] = {
        {"-t", OPTION_COUNT, &threads, false},
        {"--json", OPTION_FLAG, &json, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 2, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 2) {
        return tool_misuse("wanted: IN OUT");
    }
    if (threads > 1024) {
        return tool_misuse("-t: at most 1024 threads");
    }
    return pack_file(words[0], words[1], threads, json ? REPORT_JSON : REPORT_TEXT);
}

const struct tool_command tool_pack = {
    .name = "pack",
    .summary = "a model's weights laid out for the kernels, as a new file",
    .help = "Usage: tessera pack IN OUT [OPTIONS]\n\n"
            "The new file has the same numbers, sixteen rows of each matrix interleaved: models\n"
            "run faster from it, with the same results, at every ISA level. Its keys are the\n"
            "source's and tessera.packed.version and .source_sha256; other programs cannot read\n"
            "it. Its length is a multiple of 2 MB.\n\n"
            "  IN             a GGUF file (of several shards: any of them)\n"
            "  OUT            the new file; it appears when it is whole\n"
            "  -t THREADS     as many as this process may use\n"
            "  --json         the result as a JSON object\n",
    .run = run,
};
