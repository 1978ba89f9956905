// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera quantize`: a model's weights in another type, as a new GGUF file that is whole or
// absent.
#include "hypercall/host/tool/quantize_plan.h"
#include "hypercall/host/tool/tool.h"

#include "tensor/files.h"
#include "tensor/gguf_write.h"
#include "tensor/quant.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TILE_VALUES = 1 << 15, BATCH_TILES = 256 };

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

struct job {
    const struct gguf *from;
    const struct quantize_recipe *recipe;
    struct quantize_model model;
    uint32_t *type;    // of each tensor
    bool split_halves; // rows of attn_q and attn_k come as halves; GGUF wants neighbours
    uint32_t heads, kv_heads;
    struct tn_pool *pool;
    struct tn_gguf_file *file;
    uint64_t values, total_values; // done, in all
    uint64_t in_bytes, out_bytes;
    double error, square; // of matrices that change
    uint64_t by_type[TN_TYPE_LIMIT];
    int shown;
    char message[256];
};

// ---- one tensor ---------------------------------------------------------------------------------

struct batch {
    const struct gguf_tensor *tensor;
    uint32_t type;
    size_t in_row, out_row; // bytes
    uint64_t first, rows;   // of this batch
    uint64_t tile_rows;     // rows a tile has
    uint64_t half;          // of a head's rows that are to be brought together; 0: as they are
    float *values;          // 2 * row for each worker
    uint8_t *out;           // rows
    double *error, *square; // of each tile
    int *failed;            // of each tile: 0 or an errno
    uint64_t *failed_row;   // of each tile
};

// Where row `r` of the new file stands in the old one.
static uint64_t source_row(const struct batch *b, uint64_t r)
{
    if (!b->half) {
        return r;
    }
    uint64_t in_head = r % (2 * b->half);
    return r - in_head + in_head % 2 * b->half + in_head / 2;
}

static int check_finite(const float *x, uint64_t n)
{
    bool finite = true;
    for (uint64_t i = 0; i < n; i++) {
        finite = finite && x[i] - x[i] == 0;
    }
    return finite ? 0 : -EINVAL;
}

static void run_tile(void *arg, size_t i, unsigned worker)
{
    const struct batch *b = arg;
    uint64_t n = b->tensor->shape[0], from = i * b->tile_rows, to = from + b->tile_rows;
    float *x = b->values + (size_t)worker * 2 * n, *back = x + n;
    b->error[i] = b->square[i] = 0;
    b->failed[i] = 0;
    for (uint64_t r = from; r < to && r < b->rows; r++) {
        uint64_t source = source_row(b, b->first + r);
        uint8_t *out = b->out + r * b->out_row;
        const uint8_t *in = (const uint8_t *)b->tensor->data + source * b->in_row;
        int rc = tn_quant_decode(b->tensor->type, in, n, x);
        if (b->type == b->tensor->type) {
            memcpy(out, in, b->in_row);
            rc = rc ? 0 : check_finite(x, n); // what cannot be decoded is not judged
        } else {
            rc = tn_quant_encode(b->type, x, n, out);
        }
        if (rc) {
            b->failed[i] = rc;
            b->failed_row[i] = source;
            return;
        }
        if (b->type == b->tensor->type) {
            continue;
        }
        tn_quant_decode(b->type, out, n, back);
        float error = 0, square = 0; // of one row: enough digits
        for (uint64_t k = 0; k < n; k++) {
            error += (back[k] - x[k]) * (back[k] - x[k]);
            square += x[k] * x[k];
        }
        b->error[i] += (double)error;
        b->square[i] += (double)square;
    }
}

static int describe_failure(struct job *j, const struct batch *b, size_t tile)
{
    const char *what = b->failed[tile] == -ERANGE ? "a value is too large for %s"
                                                  : "a value is not a finite number (%s wanted)";
    char reason[96];
    snprintf(reason, sizeof reason, what, tn_type_info(b->type)->name);
    snprintf(j->message, sizeof j->message, "%.*s: row %llu: %s",
             (int)(b->tensor->name.bytes < 96 ? b->tensor->name.bytes : 96), b->tensor->name.data,
             (unsigned long long)b->failed_row[tile], reason);
    gguf_say_where(j->from, j->message, sizeof j->message);
    return tool_fail("%s", j->message);
}

static void show_progress(struct job *j, const struct gguf_tensor *t, uint32_t type)
{
    int percent = (int)(j->total_values ? 100 * j->values / j->total_values : 100);
    bool terminal = isatty(STDERR_FILENO);
    if (percent == j->shown || (!terminal && percent / 10 == j->shown / 10)) {
        return;
    }
    j->shown = percent;
    fprintf(stderr, "%s%3d%% %-32.*s %s -> %s%s", terminal ? "\r" : "", percent,
            (int)(t->name.bytes < 32 ? t->name.bytes : 32), t->name.data,
            tn_type_info(t->type)->name, tn_type_info(type)->name, terminal ? "\033[K" : "\n");
    if (terminal && percent == 100) {
        fputc('\n', stderr);
    }
}

static uint64_t rows_of(const struct gguf_tensor *t)
{
    return t->shape[1] * t->shape[2] * t->shape[3];
}

// Half of a head's rows where they must change places.
static uint64_t half_head(const struct job *j, const struct gguf_tensor *t)
{
    if (!j->split_halves) {
        return 0;
    }
    uint32_t heads = 0;
    if (memmem(t->name.data, t->name.bytes, ".attn_q.", 8)) {
        heads = j->heads;
    } else if (memmem(t->name.data, t->name.bytes, ".attn_k.", 8)) {
        heads = j->kv_heads;
    }
    uint64_t rows = t->dims == 2 ? t->shape[1] : t->shape[0];
    return heads && rows % (2 * heads) == 0 ? rows / heads / 2 : 0;
}

static int write_batches(struct job *j, struct batch *b)
{
    uint64_t rows = rows_of(b->tensor);
    int status = TOOL_OK;
    while (b->first < rows && !status) {
        uint64_t most = b->tile_rows * BATCH_TILES;
        b->rows = rows - b->first < most ? rows - b->first : most;
        size_t tiles = (size_t)((b->rows + b->tile_rows - 1) / b->tile_rows);
        j->pool->run(j->pool, run_tile, b, tiles);
        for (size_t i = 0; i < tiles && !status; i++) {
            if (b->failed[i]) {
                status = describe_failure(j, b, i);
            }
            j->error += b->error[i];
            j->square += b->square[i];
        }
        int rc = status ? 0 : tn_gguf_write_data(j->file, b->out, b->rows * b->out_row);
        if (rc) {
            status = tool_fail("the file cannot be written: %s", strerror(-rc));
        }
        if (interrupted && !status) {
            status = tool_fail("interrupted; nothing is left behind");
        }
        b->first += b->rows;
        j->values += b->rows * b->tensor->shape[0];
        if (!status) {
            show_progress(j, b->tensor, b->type);
        }
    }
    return status;
}

static int convert(struct job *j, uint64_t index)
{
    const struct gguf_tensor *t = gguf_tensor_at(j->from, index);
    struct gguf_tensor column = *t;
    struct batch b = {.tensor = t, .type = j->type[index], .half = half_head(j, t)};
    if (b.half && t->dims < 2) { // a bias: its values change places, as if each were a row
        column.shape[1] = t->shape[0];
        column.shape[0] = 1;
        b.tensor = &column;
    }
    uint64_t n = b.tensor->shape[0];
    b.in_row = tn_row_bytes(t->type, n);
    b.out_row = tn_row_bytes(b.type, n);
    b.tile_rows = n < TILE_VALUES ? TILE_VALUES / n : 1;
    uint64_t rows = rows_of(b.tensor), most = b.tile_rows * BATCH_TILES;
    b.values = malloc((size_t)j->pool->width * 2 * n * sizeof *b.values);
    b.out = malloc((rows < most ? rows : most) * b.out_row);
    b.error = malloc(BATCH_TILES * sizeof *b.error);
    b.square = malloc(BATCH_TILES * sizeof *b.square);
    b.failed = malloc(BATCH_TILES * sizeof *b.failed);
    b.failed_row = malloc(BATCH_TILES * sizeof *b.failed_row);
    int status = b.values && b.out && b.error && b.square && b.failed && b.failed_row
                     ? write_batches(j, &b)
                     : tool_fail("no memory for rows of %llu values", (unsigned long long)n);
    free(b.values);
    free(b.out);
    free(b.error);
    free(b.square);
    free(b.failed);
    free(b.failed_row);
    return status;
}

// ---- the file -----------------------------------------------------------------------------------

// Keys that tell of the old file rather than of the model.
static bool is_replaced(struct gguf_string key)
{
    static const char *const names[] = {"general.file_type", "general.quantization_version",
                                        "general.alignment", "tessera.rope.split_halves"};
    if (key.bytes >= 6 && memcmp(key.data, "split.", 6) == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (key.bytes == strlen(names[i]) && memcmp(key.data, names[i], key.bytes) == 0) {
            return true;
        }
    }
    return false;
}

static void read_heads(struct job *j)
{
    struct gguf_string a;
    char key[128];
    uint64_t heads;
    if (gguf_bool(j->from, "tessera.rope.split_halves", &j->split_halves) != 0 ||
        gguf_str(j->from, "general.architecture", &a) != 0 || a.bytes > 64) {
        j->split_halves = false;
        return;
    }
    snprintf(key, sizeof key, "%.*s.attention.head_count", (int)a.bytes, a.data);
    if (gguf_u64(j->from, key, &heads) == 0 && heads < 65536) {
        j->heads = j->kv_heads = (uint32_t)heads;
    }
    snprintf(key, sizeof key, "%.*s.attention.head_count_kv", (int)a.bytes, a.data);
    if (gguf_u64(j->from, key, &heads) == 0 && heads < 65536) {
        j->kv_heads = (uint32_t)heads;
    }
}

static int plan(struct job *j, struct tn_gguf_writer *w)
{
    uint32_t type;
    bool requantised = false;
    for (uint64_t i = 0; i < gguf_key_count(j->from); i++) {
        if (!is_replaced(gguf_key_at(j->from, i, &type))) {
            tn_gguf_copy_key(w, j->from, i);
        }
    }
    tn_gguf_put_u32(w, "general.file_type", j->recipe->file_type);
    if (tn_type_info(j->recipe->type)->block_values > 1) {
        tn_gguf_put_u32(w, "general.quantization_version", 2);
    }
    for (uint64_t i = 0; i < gguf_tensor_count(j->from); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->from, i);
        char name[128];
        bool shortened;
        uint32_t to = quantize_type(j->recipe, &j->model, t, &shortened);
        snprintf(name, sizeof name, "%.*s", (int)(t->name.bytes < 127 ? t->name.bytes : 127),
                 t->name.data);
        if (t->name.bytes > 127 || memchr(t->name.data, 0, t->name.bytes)) {
            return tool_fail("tensor '%s...': its name is too long or has a zero byte", name);
        }
        if (t->type >= TN_TYPE_LIMIT) {
            return tool_fail("%s: is packed for one machine's kernels; quantize the file it was "
                             "packed from",
                             name);
        }
        if (to != t->type && !tn_quant_decodes(t->type)) {
            return tool_fail("%s: type %s cannot be converted", name, tn_type_info(t->type)->name);
        }
        if (shortened) {
            fprintf(stderr, "%s: rows of %llu are no whole blocks: %s\n", name,
                    (unsigned long long)t->shape[0], tn_type_info(to)->name);
        }
        requantised = requantised || (to != t->type && tn_type_info(t->type)->block_values > 1);
        uint64_t bytes = tn_row_bytes(to, t->shape[0]) * rows_of(t);
        tn_gguf_put_tensor(w, name, to, t->shape, t->dims, NULL, bytes);
        j->type[i] = to;
        j->by_type[to]++;
        j->total_values += t->shape[0] * rows_of(t);
        j->in_bytes += t->bytes;
        j->out_bytes += bytes;
    }
    if (requantised) {
        fprintf(stderr, "note: weights that are quantised already lose twice; begin with F16 or "
                        "F32 where you can\n");
    }
    return TOOL_OK;
}

static void print_result(const struct job *j, const char *path, double seconds, bool json)
{
    double error = j->square > 0 ? sqrt(j->error / j->square) : 0;
    if (!json) {
        printf("%s: %.1f MB -> %.1f MB in %.1f s, relative rms error of what changed %.6f\n", path,
               (double)j->in_bytes / 1e6, (double)j->out_bytes / 1e6, seconds, error);
        return;
    }
    printf("{\"type\":\"%s\",\"in_bytes\":%llu,\"out_bytes\":%llu,\"seconds\":%.3f,"
           "\"relative_rms\":%.9f,\"tensors\":{",
           j->recipe->name, (unsigned long long)j->in_bytes, (unsigned long long)j->out_bytes,
           seconds, error);
    const char *comma = "";
    for (uint32_t i = 0; i < TN_TYPE_LIMIT; i++) {
        if (j->by_type[i]) {
            printf("%s\"%s\":%llu", comma, tn_type_info(i)->name,
                   (unsigned long long)j->by_type[i]);
            comma = ",";
        }
    }
    printf("}}\n");
}

static int write_file(struct job *j, struct tn_gguf_writer *w, const char *path)
{
    struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART}, old_int, old_term,
                     old_hup;
    int rc = tn_gguf_begin(w, path, &j->file);
    if (rc) {
        return tool_fail("%s: cannot be written: %s", path, strerror(-rc));
    }
    sigaction(SIGINT, &act, &old_int);
    sigaction(SIGTERM, &act, &old_term);
    sigaction(SIGHUP, &act, &old_hup);
    int status = TOOL_OK;
    for (uint64_t i = 0; i < gguf_tensor_count(j->from) && !status; i++) {
        status = convert(j, i);
    }
    if (status) {
        tn_gguf_drop(j->file);
    } else if ((rc = tn_gguf_finish(j->file, 1))) {
        status = tool_fail("%s: cannot be written: %s", path, strerror(-rc));
    }
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGHUP, &old_hup, NULL);
    return status;
}

enum report { REPORT_NONE, REPORT_TEXT, REPORT_JSON };

static int quantize(struct job *j, const char *to, uint32_t threads, enum report report)
{
    uint64_t start = tool_now_ns();
    struct tn_gguf_writer *w = tn_gguf_writer_new();
    j->type = calloc(gguf_tensor_count(j->from) + 1, sizeof *j->type);
    j->pool = tn_pool_threads(threads ? threads : tool_cpus());
    int status = w && j->type && j->pool ? plan(j, w) : tool_fail("no memory");
    status = status ? status : tool_check_room(to, j->out_bytes);
    if (!status) {
        status = write_file(j, w, to);
    }
    if (!status && report != REPORT_NONE) {
        print_result(j, to, (double)(tool_now_ns() - start) / 1e9, report == REPORT_JSON);
    }
    if (j->pool) {
        tn_pool_free(j->pool);
    }
    free(j->type);
    tn_gguf_writer_free(w);
    return status;
}

static int quantize_file(const char *from, const char *to, const char *type, bool pure,
                         uint32_t threads, enum report report)
{
    char error[512] = "";
    struct tn_files *files;
    struct gguf *index;
    struct job j = {.recipe = quantize_find(type)};
    if (!j.recipe) {
        return tool_misuse("'%s' is no type to quantize to", type);
    }
    if (tn_files_open(from, &files, &index, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    j.from = index;
    j.model = quantize_describe(index, pure);
    read_heads(&j);
    int status = quantize(&j, to, threads, report);
    gguf_close(index);
    tn_files_close(files);
    return status;
}

int tool_quantize_file(const char *from, const char *to, const char *type, uint32_t threads)
{
    return quantize_file(from, to, type, false, threads, REPORT_NONE);
}

static int run(int argc, char **argv)
{
    const char *words[3];
    size_t word_count;
    uint32_t threads = 0;
    bool json = false, pure = false;
    struct tool_option options[] = {
        {"-t", OPTION_COUNT, &threads, false},
        {"--json", OPTION_FLAG, &json, false},
        {"--pure", OPTION_FLAG, &pure, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 3, &word_count);
    if (status) {
        return status;
    }
    if (word_count != 3) {
        return tool_misuse("wanted: IN OUT TYPE");
    }
    if (threads > 1024) {
        return tool_misuse("-t: at most 1024 threads");
    }
    return quantize_file(words[0], words[1], words[2], pure, threads,
                         json ? REPORT_JSON : REPORT_TEXT);
}

const struct tool_command tool_quantize = {
    .name = "quantize",
    .summary = "a model's weights in another type, as a new file",
    .help =
        "Usage: tessera quantize IN OUT TYPE [OPTIONS]\n\n"
        "  IN     a GGUF file (of several shards: any of them), or a Hugging Face model's\n"
        "         folder (safetensors)\n"
        "  OUT    the new GGUF file; it appears when it is whole\n"
        "  TYPE   F32 F16 BF16 Q8_0 Q5_0 Q5_1 Q4_0 Q4_1 Q6_K Q5_K Q4_K Q3_K Q2_K IQ4_NL IQ4_XS\n"
        "         MXFP4: every matrix has this type, the output matrix Q6_K where that is more;\n"
        "         or a mixture: Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M\n\n"
        "Vectors stay F32. Rows that are no whole blocks get a type with smaller blocks.\n\n"
        "  --pure         the output matrix has TYPE too, mixtures do not mix\n"
        "  -t THREADS     as many as this process may use\n"
        "  --json         the result as a JSON object\n",
    .run = run,
};
