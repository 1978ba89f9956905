// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the commands of `tessera` share: their table, options, and a model made ready to run.
#ifndef TESSERA_TOOL_H
#define TESSERA_TOOL_H

#include "tensor/files.h"
#include "tensor/infer.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

// Exit statuses.
enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

struct tool_command {
    const char *name, *summary, *help;
    int (*run)(int argc, char **argv); // argv[0] is the command's name
};
extern const struct tool_command tool_run_guest;
extern const struct tool_command tool_ls;
extern const struct tool_command tool_top;
extern const struct tool_command tool_inspect;
extern const struct tool_command tool_logs;
extern const struct tool_command tool_console;
extern const struct tool_command tool_chat;
extern const struct tool_command tool_stop_guest;
extern const struct tool_command tool_start_guest;
extern const struct tool_command tool_rm;
extern const struct tool_command tool_suspend;
extern const struct tool_command tool_resume;
extern const struct tool_command tool_check;
extern const struct tool_command tool_up;
extern const struct tool_command tool_diff;
extern const struct tool_command tool_down;
extern const struct tool_command tool_scale;
extern const struct tool_command tool_deploy;
extern const struct tool_command tool_fleets;
extern const struct tool_command tool_status;
extern const struct tool_command tool_agent;
extern const struct tool_command tool_image;
extern const struct tool_command tool_pkg;
extern const struct tool_command tool_doctor;
extern const struct tool_command tool_generate;
extern const struct tool_command tool_eval;
extern const struct tool_command tool_bench;
extern const struct tool_command tool_embed;
extern const struct tool_command tool_tokenize;
extern const struct tool_command tool_detokenize;
extern const struct tool_command tool_quantize;
extern const struct tool_command tool_pack;

// Prints "tessera COMMAND: ..." and returns the status.
int tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int tool_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

// ---- options -----------------------------------------------------------------------------------

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_COUNT,
    OPTION_NUMBER,
    OPTION_COUNTS,
    OPTION_OPTIONAL, // a text only as "--name=value"; "--name" alone gives ""
    OPTION_TEXTS     // as often as there is room
};

struct tool_counts {
    uint32_t values[64];
    size_t count;
};

struct tool_texts {
    const char *values[16];
    uint32_t count;
};

struct tool_option {
    const char *name; // "--prompt" or "-n"
    enum option_kind kind;
    void *value; // bool, const char *, uint32_t, double, struct tool_counts, struct tool_texts
    bool given;
};

// Reads options and at most `most` other words. TOOL_OK, or TOOL_USAGE with a message printed.
int tool_options(int argc, char **argv, struct tool_option *options, size_t option_count,
                 const char **words, size_t most, size_t *word_count);
// Is `word` a slip of the known one, and a smaller one than *best (UINT_MAX at first), which it
// then becomes?
bool tool_is_near(const char *word, const char *known, unsigned *best);
// A key from --key, in *key, or from --key-file FILE ("-": standard input's first line; otherwise
// the file's one word). *key comes to point into `room`; what stood on the command line is blotted
// out, so that others see it no longer than it takes to start. Neither given: *key stays NULL.
enum { TOOL_KEY = 256 };
int tool_key(const char *file, char room[TOOL_KEY], const char **key);
// "1,5,9" to ids; the caller frees. NULL with a message printed.
int32_t *tool_ids(const char *text, size_t *count);

// ---- making models ------------------------------------------------------------------------------

// As `tessera quantize` and `tessera pack` do, without the line about the result. TOOL_OK, or a
// message is printed and nothing is left behind.
int tool_quantize_file(const char *from, const char *to, const char *type, uint32_t threads);
int tool_pack_file(const char *from, const char *to, uint32_t threads);
// TOOL_FAILED with a message if the file would not fit beside what is there.
int tool_check_room(const char *path, uint64_t bytes);

// ---- models ------------------------------------------------------------------------------------

enum { TOOL_STEP_TOKENS = 512 };

struct tool_setup {
    uint32_t threads;       // 0: all CPUs this process may use
    const char *isa;        // NULL: the best
    const char *kv;         // "f32", "f16", "q8_0", "q4_0"; NULL: f32
    uint32_t context;       // positions wanted, 0: the model's
    uint32_t sequences;     // at once, 0: 1
    uint32_t max_tokens;    // in one step, 0: TOOL_STEP_TOKENS
    struct tn_trace *trace; // times by operation, NULL: none
    struct tn_pool *pool;   // another engine's, which outlives this one; NULL: one of its own
};

struct tool_model {
    struct tn_files *files;
    struct tn_model *model;
    struct tn_model_info info;
    const struct tokenizer *tokenizer;
};
// Maps and opens the file that a word on the command line means: itself, or where no such file is
// the installed model of that name (`tessera pkg`). TOOL_FAILED with a message printed.
int tool_open(const char *path, struct tool_model *m);
void tool_close(struct tool_model *m);

struct tool_engine {
    struct tn_pool *pool;
    bool pool_is_lent;
    struct tn_executor *executor;
    enum tn_isa isa;
    uint32_t context, max_tokens, sequences;
    uint32_t pages, pages_each; // of all sequences, of one
    uint32_t *page_table;       // 0, 1, 2, ...: each sequence has pages_each of them
    struct tool_populate *populate;
};
// TOOL_FAILED with a message for models of the other kind: that embed texts, or that go on with
// them.
int tool_wants(const struct tool_model *m, bool embeds);
int tool_start(const struct tool_model *m, const struct tool_setup *s, struct tool_engine *e);
void tool_stop(struct tool_engine *e);
// Begins to map the model's pages, beside what the caller does. NULL: it does not. The files must
// stay until the stop.
struct tool_populate *tool_populate_start(const struct tn_files *files);
void tool_populate_stop(struct tool_populate *p); // NULL: nothing

// Runs tokens [from, count) of one sequence at positions from `from`, in steps of e->max_tokens.
// `row` gets the logits of the wanted positions in order; all: every position, otherwise the last.
int tool_run(struct tool_engine *e, const struct tool_model *m, const int32_t *tokens,
             uint32_t from, uint32_t count, bool all,
             int (*row)(void *ctx, uint32_t position, float *logits), void *ctx);

// Times by operation: begun anew, printed with the dearest first.
void tool_start_trace(struct tn_trace *t);
void tool_print_trace(struct tn_trace *t, FILE *out, bool json);

// After logits that are not finite: prints which weight is to blame. Returns TOOL_FAILED.
int tool_fail_numbers(const struct tn_model *m);

uint64_t tool_now_ns(void);
uint32_t tool_cpus(void);
// A whole file or stream; NUL-terminated, the caller frees. NULL with a message printed.
char *tool_read_all(const char *path, size_t *bytes); // path "-": standard input
void tool_print_json_text(const char *text, size_t bytes);

#endif
