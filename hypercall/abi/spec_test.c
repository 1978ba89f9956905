// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// SPEC.md says what call.h says: each row of its tables is compared with the compiler's value, and
// each name of the header has a row.
#include "hypercall/abi/ring.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct constant {
    const char *name;
    uint64_t value;
};
#define N(name)                                                                                    \
    {                                                                                              \
#name, (uint64_t)(name)                                                                    \
    }
static const struct constant constants[] = {
    // clang-format off
    N(HC_MAGIC), N(HC_ABI_VERSION), N(HC_LEAST_REGION), N(HC_HOST_PAGE), N(HC_GUEST_PAGE),
    N(HC_SUBMISSIONS), N(HC_SUBMISSION_COUNT), N(HC_COMPLETIONS), N(HC_COMPLETION_COUNT),
    N(HC_ARENA), N(HC_ALLOC), N(HC_COMPLETION_RESERVE), N(HC_PEER_HOST), N(HC_PEER_GUEST),
    N(HC_DOORBELL), N(HC_VECTOR_CALLS), N(HC_VECTOR_STATE), N(HC_VECTOR_COUNT),
    N(HC_HOST_ABSENT), N(HC_HOST_READY), N(HC_HOST_RESTARTING), N(HC_HOST_GONE),
    N(HC_HOST_CUT_OFF), N(HC_FEATURE_RUN), N(HC_MODEL_OPEN), N(HC_RUN), N(HC_FEATURE_OPS),
    N(HC_FEATURE_TRAIN), N(HC_FEATURE_DEVICE), N(HC_NOTHING), N(HC_CAPABILITIES), N(HC_FREE),
    N(HC_MODEL_CLOSE), N(HC_CANCEL), N(HC_CANCELLED), N(HC_STATISTICS), N(HC_TENSOR),
    N(HC_TENSOR_FREE), N(HC_WEIGHT), N(HC_GRAPH), N(HC_GRAPH_FREE), N(HC_GRAPH_RUN),
    N(HC_MATMUL), N(HC_ATTENTION), N(HC_SOFTMAX), N(HC_NORM), N(HC_TRANSFER), N(HC_TRAIN_OPEN),
    N(HC_TRAIN_STEP), N(HC_TRAIN_READ), N(HC_TRAIN_CLOSE), N(HC_CALL_COUNT), N(HC_END),
    N(HC_TOKEN), N(HC_OK), N(HC_BAD_CALL), N(HC_BAD_HANDLE), N(HC_BAD_RANGE), N(HC_BAD_VALUE),
    N(HC_BAD_TOKEN), N(HC_BAD_PAGE), N(HC_NO_MEMORY), N(HC_BUSY), N(HC_NOT_FOUND),
    N(HC_NOT_SUPPORTED), N(HC_TOO_LONG), N(HC_FAILED), N(HC_DUPLICATE_TAG), N(HC_QUOTA),
    N(HC_BROKEN_RING), N(HC_STATUS_COUNT), N(HC_MOST_BUFFERS), N(HC_MOST_MODELS),
    N(HC_MOST_TENSORS), N(HC_MOST_GRAPHS), N(HC_MOST_RUNS), N(HC_MOST_STOPS), N(HC_MOST_TOKENS),
    N(HC_MOST_PROMPT), N(HC_MOST_PAGES), N(HC_MOST_BIASES), N(HC_MOST_NAME), N(HC_ALIGN),
    N(HC_RUN_FLAGS), N(HC_REASON_STOP), N(HC_REASON_LENGTH)
    // clang-format on
};

struct field {
    const char *type, *name;
    size_t offset, size;
};
#define F(type, name)                                                                              \
    {                                                                                              \
#type, #name, offsetof(struct type, name), sizeof(((struct type *)0)->name)                \
    }
#define S(type)                                                                                    \
    {                                                                                              \
#type, "(all)", 0, sizeof(struct type)                                                     \
    }
static const struct field fields[] = {
    // clang-format off
    F(hc_host_page, magic), F(hc_host_page, version), F(hc_host_page, epoch),
    F(hc_host_page, region_bytes), F(hc_host_page, features), F(hc_host_page, state),
    F(hc_host_page, attached), F(hc_host_page, reason), F(hc_host_page, completion_tail),
    F(hc_host_page, submission_head), F(hc_host_page, submission_needs_kick), S(hc_host_page),
    F(hc_guest_page, generation), F(hc_guest_page, version), F(hc_guest_page, submission_tail),
    F(hc_guest_page, completion_head), F(hc_guest_page, completion_needs_kick), S(hc_guest_page),
    F(hc_submission, call), F(hc_submission, flags), F(hc_submission, zero),
    F(hc_submission, tag), F(hc_submission, argument), S(hc_submission), F(hc_completion, tag),
    F(hc_completion, call), F(hc_completion, kind), F(hc_completion, status),
    F(hc_completion, value), S(hc_completion), F(hc_span, buffer), F(hc_span, zero),
    F(hc_span, offset), S(hc_span), F(hc_identity, sha256), F(hc_identity, packing),
    F(hc_identity, zero), S(hc_identity), F(hc_model_open, identity), F(hc_model_open, kv_type),
    F(hc_model_open, zero), F(hc_model_open, vocabulary), F(hc_model_open, context),
    F(hc_model_open, layers), F(hc_model_open, kv_heads), F(hc_model_open, head_dim),
    F(hc_model_open, isa), F(hc_model_open, kv_page_bytes), S(hc_model_open), F(hc_run, model),
    F(hc_run, flags), F(hc_run, kv), F(hc_run, kv_page_total), F(hc_run, kv_page_count),
    F(hc_run, kv_pages), F(hc_run, tokens), F(hc_run, history_count), F(hc_run, token_count),
    F(hc_run, position), F(hc_run, most_tokens), F(hc_run, temperature), F(hc_run, top_p),
    F(hc_run, min_p), F(hc_run, repeat_penalty), F(hc_run, presence_penalty),
    F(hc_run, frequency_penalty), F(hc_run, top_k), F(hc_run, repeat_last), F(hc_run, seed),
    F(hc_run, counter), F(hc_run, mask), F(hc_run, biases), F(hc_run, bias_count),
    F(hc_run, stop_count), F(hc_run, stops), F(hc_run, logits), F(hc_run, logit_rows),
    F(hc_run, zero), S(hc_run), F(hc_bias, token), F(hc_bias, bias), S(hc_bias),
    F(hc_capabilities, version), F(hc_capabilities, epoch), F(hc_capabilities, features),
    F(hc_capabilities, region_bytes), F(hc_capabilities, free_bytes), F(hc_capabilities, isa),
    F(hc_capabilities, threads), F(hc_capabilities, device_count), F(hc_capabilities, weight),
    F(hc_capabilities, most_runs), F(hc_capabilities, zero), S(hc_capabilities),
    F(hc_statistics, calls), F(hc_statistics, refused), F(hc_statistics, prompt_tokens),
    F(hc_statistics, made_tokens), F(hc_statistics, compute_ns), F(hc_statistics, passes),
    F(hc_statistics, pass_sequences), F(hc_statistics, waited_ns), F(hc_statistics, buffers),
    F(hc_statistics, models), F(hc_statistics, tensors), F(hc_statistics, graphs),
    F(hc_statistics, runs), F(hc_statistics, zero), S(hc_statistics), F(hc_tensor, span),
    F(hc_tensor, type), F(hc_tensor, dims), F(hc_tensor, shape), S(hc_tensor),
    F(hc_graph, tensor_count), F(hc_graph, node_count), S(hc_graph), F(hc_graph_tensor, type),
    F(hc_graph_tensor, dims), F(hc_graph_tensor, role), F(hc_graph_tensor, zero),
    F(hc_graph_tensor, shape), S(hc_graph_tensor), F(hc_graph_node, kind), F(hc_graph_node, out),
    F(hc_graph_node, in), F(hc_graph_node, number), F(hc_graph_node, integer), S(hc_graph_node),
    F(hc_train_open, vocabulary), F(hc_train_open, context), F(hc_train_open, embedding),
    F(hc_train_open, layers), F(hc_train_open, heads), F(hc_train_open, kv_heads),
    F(hc_train_open, feed_forward), F(hc_train_open, steps), F(hc_train_open, sequences),
    F(hc_train_open, learning_rate), F(hc_train_open, weight_decay), F(hc_train_open, clip),
    F(hc_train_open, seed), S(hc_train_open), F(hc_train_step, session), F(hc_train_step, zero),
    F(hc_train_step, tokens), S(hc_train_step)
    // clang-format on
};
enum {
    CONSTANTS = sizeof constants / sizeof *constants,
    FIELDS = sizeof fields / sizeof *fields,
};

static char *read_whole(const char *path)
{
    enum { MOST = 1 << 18 };
    FILE *f = fopen(path, "rb"); // tests run in the repository's root
    char *text = calloc(1, MOST);
    assert_non_null(f);
    assert_non_null(text);
    assert_in_range(fread(text, 1, MOST - 1, f), 1, MOST - 2);
    fclose(f);
    return text;
}

// The cells of a table's row, trimmed; 0: not a row.
enum { MOST_CELLS = 4 };
static int cells_of(char *line, char *cell[MOST_CELLS])
{
    int n = 0;
    if (*line != '|') {
        return 0;
    }
    for (char *at = line + 1, *end; n < MOST_CELLS && (end = strchr(at, '|')); at = end + 1) {
        *end = 0;
        while (*at == ' ') {
            at++;
        }
        for (char *last = end - 1; last >= at && *last == ' '; last--) {
            *last = 0;
        }
        cell[n++] = at;
    }
    return n;
}

static const struct constant *find_constant(const char *name)
{
    for (size_t i = 0; i < CONSTANTS; i++) {
        if (strcmp(constants[i].name, name) == 0) {
            return &constants[i];
        }
    }
    return NULL;
}

static size_t find_field(const char *type, const char *name)
{
    size_t i = 0;
    while (i < FIELDS && (strcmp(fields[i].type, type) != 0 || strcmp(fields[i].name, name) != 0)) {
        i++;
    }
    return i;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);
    if (end == text || *end) {
        fail_msg("SPEC.md: '%s' is no number", text);
    }
    return value;
}

// Marks what the tables say and complains of what is not so.
static void read_tables(bool said_constant[CONSTANTS], bool said_field[FIELDS])
{
    char *text = read_whole("hypercall/abi/SPEC.md"), *rest = text, *line;
    char type[64] = "";
    while ((line = strsep(&rest, "\n"))) {
        char *cell[MOST_CELLS];
        int n = cells_of(line, cell);
        if (n == 0) {
            type[0] = 0;
        } else if (strncmp(cell[0], "struct ", 7) == 0) {
            snprintf(type, sizeof type, "%s", cell[0] + 7);
        } else if (type[0] && strcmp(cell[0], "---") != 0) {
            size_t i = find_field(type, cell[0]);
            if (n < 3 || i == FIELDS) {
                fail_msg("SPEC.md: struct %s has no field '%s'", type, cell[0]);
            }
            if (fields[i].size != number(cell[2]) ||
                (strcmp(cell[0], "(all)") != 0 && fields[i].offset != number(cell[1]))) {
                fail_msg("struct %s.%s is at %zu, %zu bytes; SPEC.md says %s, %s", type, cell[0],
                         fields[i].offset, fields[i].size, cell[1], cell[2]);
            }
            said_field[i] = true;
        } else if (strncmp(cell[0], "HC_", 3) == 0) {
            const struct constant *c = find_constant(cell[0]);
            if (n < 2 || !c) {
                fail_msg("SPEC.md: the header has no %s", cell[0]);
            } else if (c->value != number(cell[1])) {
                fail_msg("%s is %llu; SPEC.md says %s", cell[0], (unsigned long long)c->value,
                         cell[1]);
            }
            said_constant[c - constants] = true;
        }
    }
    free(text);
}

static void the_tables_say_what_the_header_says(void **unused)
{
    (void)unused;
    bool said_constant[CONSTANTS] = {0}, said_field[FIELDS] = {0};
    read_tables(said_constant, said_field);
    for (size_t i = 0; i < CONSTANTS; i++) {
        if (!said_constant[i]) {
            fail_msg("SPEC.md has no row for %s", constants[i].name);
        }
    }
    for (size_t i = 0; i < FIELDS; i++) {
        if (!said_field[i]) {
            fail_msg("SPEC.md has no row for struct %s.%s", fields[i].type, fields[i].name);
        }
    }
}

// What was added to the header is looked at here, too.
static void each_name_of_the_header_has_a_row(void **unused)
{
    (void)unused;
    char *text = read_whole("hypercall/abi/call.h");
    for (char *at = text; (at = strstr(at, "HC_")); at++) {
        char name[64];
        size_t n = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        bool inside = at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '_');
        if (inside || n >= sizeof name || at[n - 1] == '_' || at[n] == '*') {
            continue; // a part of another word, or "HC_TRAIN_*" in a comment
        }
        memcpy(name, at, n);
        name[n] = 0;
        if (strcmp(name, "HC_AT") != 0 && strcmp(name, "HC_SIZE") != 0 && !find_constant(name)) {
            fail_msg("%s is in call.h and not in this test", name);
        }
    }
    for (char *at = text; (at = strstr(at, "\nstruct hc_")); at++) {
        char name[64];
        size_t n = strcspn(at + 8, " ;");
        snprintf(name, sizeof name, "%.*s", (int)n, at + 8);
        if (find_field(name, "(all)") == FIELDS) {
            fail_msg("struct %s is in call.h and not in this test", name);
        }
    }
    free(text);
}

// A field that was added would leave a gap, or move the next.
static void fields_fill_their_structures(void **unused)
{
    (void)unused;
    size_t sum = 0;
    for (size_t i = 0; i < FIELDS; i++) {
        bool page = strstr(fields[i].type, "_page") != NULL; // have room between words
        if (strcmp(fields[i].name, "(all)") != 0) {
            sum += fields[i].size;
        } else {
            if (!page && sum != fields[i].size) {
                fail_msg("struct %s: %zu bytes of fields, %zu in all", fields[i].type, sum,
                         fields[i].size);
            }
            sum = 0;
        }
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(the_tables_say_what_the_header_says),
        cmocka_unit_test(each_name_of_the_header_has_a_row),
        cmocka_unit_test(fields_fill_their_structures),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
