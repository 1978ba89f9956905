// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The tensor call: what guest and host agree on (SPEC.md says it in words; spec_test.c holds the
// two together). One region of shared memory a guest (BAR 2 of an ivshmem-doorbell device, on the
// host a sealed memfd), in it the host's page, the guest's page, two rings, and the arena. All
// values are little-endian. Neither side believes the other: each copies a value once, then checks
// it.
#ifndef HYPERCALL_ABI_CALL_H
#define HYPERCALL_ABI_CALL_H

#include <stddef.h>
#include <stdint.h>

#define HC_MAGIC       0x4c4c414354524554ull // "TERTCALL"
#define HC_ABI_VERSION 2u

// ---- the region --------------------------------------------------------------------------------
enum {
    HC_LEAST_REGION = 1 << 20, // bytes; regions are powers of two
    HC_HOST_PAGE = 0x0000,     // struct hc_host_page, written by the host alone
    HC_GUEST_PAGE = 0x1000,    // struct hc_guest_page, written by the guest alone
    HC_SUBMISSIONS = 0x2000,   // HC_SUBMISSION_COUNT of struct hc_submission, by the guest
    HC_COMPLETIONS = 0x4000,   // HC_COMPLETION_COUNT of struct hc_completion, by the host
    HC_ARENA = 0x14000,        // to the region's end: lent in pieces by HC_ALLOC
    HC_SUBMISSION_COUNT = 128,
    HC_COMPLETION_COUNT = 2048,
    // Completions that answers to calls that were refused may take beyond what calls reserve.
    HC_COMPLETION_RESERVE = HC_SUBMISSION_COUNT,
};

// Peers and vectors of the ivshmem device: the guest is peer 0, because QEMU saves a machine with
// the region in it only as that one (master=on). A doorbell is a write of peer << 16 | vector to
// BAR 0 at offset 12.
enum { HC_PEER_HOST = 1, HC_PEER_GUEST = 0, HC_DOORBELL = 12 };
enum {
    HC_VECTOR_CALLS = 0, // guest to host: new submissions; host to guest: new completions
    HC_VECTOR_STATE = 1, // guest to host: attach; host to guest: host_state or epoch changed
    HC_VECTOR_COUNT = 2,
};

enum hc_host_state {
    HC_HOST_ABSENT = 0,     // nobody serves the region yet
    HC_HOST_READY = 1,      // a worker serves it
    HC_HOST_RESTARTING = 2, // the worker ended; another one comes, with a new epoch
    HC_HOST_GONE = 3,       // nobody will serve this region again
    HC_HOST_CUT_OFF = 4,    // the guest broke the rules: nothing is served until it attaches anew
};

// Words that one side writes and the other waits for stand 128 bytes apart: two cache lines, which
// processors fetch in pairs.
struct hc_host_page {
    uint64_t magic;
    uint32_t version;
    uint32_t epoch; // grows with every worker; never 0 once one has served
    uint64_t region_bytes;
    uint64_t features; // HC_FEATURE_ bits
    uint32_t state;    // enum hc_host_state
    // The guest's generation that the host serves. Written only when nothing that earlier ones
    // asked for touches the region any more.
    uint32_t attached;
    uint32_t reason; // with HC_HOST_CUT_OFF: enum hc_status of what was wrong
    uint8_t unused0[84];
    uint32_t completion_tail; // completions written so far
    uint8_t unused1[124];
    uint32_t submission_head; // submissions copied so far
    // 1: the host sleeps or is about to; ring HC_VECTOR_CALLS after writing submissions.
    uint32_t submission_needs_kick;
    uint8_t unused2[120];
};
struct hc_guest_page {
    // Grows each time the guest attaches: after a boot, a new epoch, or being cut off. Before it
    // does, the guest sets the three indices below to 0 and forgets all handles and calls.
    uint32_t generation;
    uint32_t version; // the guest's HC_ABI_VERSION
    uint8_t unused0[120];
    uint32_t submission_tail; // submissions written so far
    uint8_t unused1[124];
    uint32_t completion_head; // completions copied so far
    // 1: the guest sleeps or is about to; raise HC_VECTOR_CALLS after writing completions.
    uint32_t completion_needs_kick;
    uint8_t unused2[120];
};

enum hc_feature {
    HC_FEATURE_RUN = 1 << 0,    // HC_MODEL_OPEN, HC_RUN
    HC_FEATURE_OPS = 1 << 1,    // tensors, operations, graphs
    HC_FEATURE_TRAIN = 1 << 2,  // HC_TRAIN_*
    HC_FEATURE_DEVICE = 1 << 3, // an accelerator besides the host's cores
};

// ---- calls -------------------------------------------------------------------------------------
struct hc_submission {
    uint16_t call; // enum hc_call
    uint16_t flags;
    uint32_t zero;
    uint64_t tag; // the guest's own; comes back in completions. Unique among the calls in flight
    uint64_t argument[6];
};

enum hc_call {
    HC_NOTHING = 0, // answers at once: are you there?
    // buffer, offset, bytes: struct hc_capabilities is written there.
    HC_CAPABILITIES = 1,
    HC_ALLOC = 2,       // bytes → buffer, offset of it in the region; what lies there stays
    HC_FREE = 3,        // buffer
    HC_MODEL_OPEN = 4,  // buffer, offset of struct hc_model_open → model; its info is filled in
    HC_MODEL_CLOSE = 5, // model
    HC_RUN = 6,         // buffer, offset of struct hc_run → tokens, then the end
    HC_CANCEL = 7,      // tag of a call in flight, which then ends as HC_CANCELLED or as it would
    HC_STATISTICS = 8,  // buffer, offset, bytes: struct hc_statistics is written there
    HC_TENSOR = 9,      // buffer, offset of struct hc_tensor → tensor
    HC_TENSOR_FREE = 10,
    HC_WEIGHT = 11,      // model, buffer, offset, bytes of a name → tensor, read-only
    HC_GRAPH = 12,       // buffer, offset, bytes of struct hc_graph → graph
    HC_GRAPH_FREE = 13,  // graph
    HC_GRAPH_RUN = 14,   // graph, buffer, offset, count of uint32_t tensors
    HC_MATMUL = 15,      // out, in, weights, bias (0: none): out = in weights^T + bias
    HC_ATTENTION = 16,   // out, q, k, v, scale (its float bits), 1: causal
    HC_SOFTMAX = 17,     // out, in, scale (float bits)
    HC_NORM = 18,        // out, in, weight, bias (0: RMS norm), epsilon (float bits)
    HC_TRANSFER = 19,    // to, from: bytes of tensors of one type and shape
    HC_TRAIN_OPEN = 20,  // buffer, offset of struct hc_train_open → session, parameters
    HC_TRAIN_STEP = 21,  // buffer, offset of struct hc_train_step → loss, norm (float bits)
    HC_TRAIN_READ = 22,  // session, tensor of F32: parameters are written to it
    HC_TRAIN_CLOSE = 23, // session
    HC_CALL_COUNT = 24,
};

enum hc_kind {
    HC_END = 0,   // the call's last: status is valid
    HC_TOKEN = 1, // of a run: value[0] = id, value[1] = how many this run made so far
};
struct hc_completion {
    uint64_t tag;
    uint16_t call;
    uint16_t kind;
    int32_t status; // 0 or a negative enum hc_status
    uint64_t value[2];
};

enum hc_status {
    HC_OK = 0,
    HC_BAD_CALL = 1,       // no such call, or a field that must be 0 is not
    HC_BAD_HANDLE = 2,     // not this guest's, or of another kind
    HC_BAD_RANGE = 3,      // offset and length leave the buffer, or are not aligned
    HC_BAD_VALUE = 4,      // a field is out of its limits
    HC_BAD_TOKEN = 5,      // a token id beyond the vocabulary
    HC_BAD_PAGE = 6,       // a KV page beyond the store
    HC_NO_MEMORY = 7,      // the region, a quota or the host has none left
    HC_BUSY = 8,           // too many calls in flight, or completions not taken
    HC_NOT_FOUND = 9,      // no such weights or tensor here
    HC_NOT_SUPPORTED = 10, // this host does not offer it
    HC_CANCELLED = 11,     // by HC_CANCEL
    HC_TOO_LONG = 12,      // the call took more time than its limit
    HC_FAILED = 13,        // the host failed: damaged weights, no finite numbers
    HC_DUPLICATE_TAG = 14, // another call in flight has this tag
    HC_QUOTA = 15,         // the guest's share of computing is used up for now
    HC_BROKEN_RING = 16,   // indices that cannot be: the guest is cut off
    HC_STATUS_COUNT = 17,
};

// ---- arguments in memory -----------------------------------------------------------------------
enum {
    HC_MOST_BUFFERS = 256, // handles of one guest
    HC_MOST_MODELS = 8,
    HC_MOST_TENSORS = 1024,
    HC_MOST_GRAPHS = 64,
    HC_MOST_RUNS = 64, // in flight
    HC_MOST_STOPS = 24,
    HC_MOST_TOKENS = 1024,    // one run makes at most
    HC_MOST_PROMPT = 1 << 17, // tokens one run reads at most
    HC_MOST_PAGES = 1 << 16,  // entries of a page table
    HC_MOST_BIASES = 1024,    // of logits
    HC_MOST_NAME = 128,
    HC_ALIGN = 64, // of buffers, offsets of tensors and KV stores
};

// A piece of a buffer. bytes may be implied by the call.
struct hc_span {
    uint32_t buffer; // 0: none
    uint32_t zero;
    uint64_t offset;
};

// Weights are known by the SHA-256 of the GGUF they came from, and the version of packing (0: as
// they came).
struct hc_identity {
    uint8_t sha256[32];
    uint32_t packing;
    uint32_t zero;
};

struct hc_model_open {
    struct hc_identity identity;
    uint32_t kv_type; // GGUF type: F32 0, F16 1, Q8_0 8, Q4_0 2
    uint32_t zero;
    // Filled in by the host.
    uint32_t vocabulary, context, layers, kv_heads, head_dim, isa;
    uint64_t kv_page_bytes; // of 32 positions, all layers
};

// A sequence goes on: reads token_count tokens, then makes tokens until a stop id, most_tokens, or
// cancellation. Each token is posted as HC_TOKEN as it is made, the stop id is not. HC_END's
// value[0] is the reason (enum hc_reason) and value[1] how many tokens were made. After HC_END the
// host touches none of the run's memory any more.
struct hc_run {
    uint32_t model;
    uint32_t flags;          // HC_RUN_
    struct hc_span kv;       // [layer][page][kv head]{K, V}: tensor/exec.h
    uint32_t kv_page_total;  // pages of that store, which says where layers begin
    uint32_t kv_page_count;  // entries of the page table
    struct hc_span kv_pages; // uint32_t: page i holds positions [32 i, 32 i + 32)
    struct hc_span tokens;   // int32_t: history_count tokens, then token_count that are new
    uint32_t history_count;  // already in the KV store, for penalties
    uint32_t token_count;
    uint32_t position;    // of the first new token
    uint32_t most_tokens; // 0: none is made (logits only)
    // Sampling as in tensor/infer.h. Draw number i of the run is draw `counter` + i of the seed.
    float temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    uint32_t top_k, repeat_last;
    uint64_t seed, counter;
    struct hc_span mask;   // a bit a token of the vocabulary, 1: allowed; buffer 0: all
    struct hc_span biases; // struct hc_bias
    uint32_t bias_count;
    uint32_t stop_count;
    int32_t stops[HC_MOST_STOPS];
    struct hc_span logits; // float [logit_rows][vocabulary]
    uint32_t logit_rows;   // of the last new tokens; 0: none
    uint32_t zero;
};
enum { HC_RUN_FLAGS = 0 };

struct hc_bias {
    int32_t token;
    float bias; // added to the logit; -infinity forbids
};

enum hc_reason { HC_REASON_STOP = 0, HC_REASON_LENGTH = 1 };

struct hc_capabilities {
    uint32_t version, epoch;
    uint64_t features;
    uint64_t region_bytes, free_bytes; // of the arena
    uint32_t isa;                      // enum tn_isa
    uint32_t threads;
    uint32_t device_count; // that compute, the host's cores among them
    uint32_t weight;       // this guest's share of the host
    uint32_t most_runs;
    uint32_t zero;
};

struct hc_statistics {
    uint64_t calls, refused; // of this guest
    uint64_t prompt_tokens, made_tokens;
    uint64_t compute_ns;             // this guest's share of passes
    uint64_t passes, pass_sequences; // passes it took part in; sequences in them, all guests'
    uint64_t waited_ns;              // its runs, between submission and their first pass
    uint32_t buffers, models, tensors, graphs, runs, zero;
};

struct hc_tensor {
    struct hc_span span;
    uint32_t type; // GGUF type
    uint32_t dims; // 1 to 4
    uint64_t shape[4];
};

// A graph: this header, then tensor_count of struct hc_graph_tensor, then node_count of struct
// hc_graph_node. Meanings: tensor/ops.h.
struct hc_graph {
    uint32_t tensor_count, node_count;
};
struct hc_graph_tensor {
    uint32_t type, dims, role, zero;
    uint64_t shape[4];
};
struct hc_graph_node {
    uint32_t kind, out;
    uint32_t in[4];
    float number[4];
    uint32_t integer[4];
};

struct hc_train_open {
    uint32_t vocabulary, context, embedding, layers, heads, kv_heads, feed_forward, steps;
    uint32_t sequences; // of a step
    float learning_rate, weight_decay, clip;
    uint64_t seed;
};
struct hc_train_step {
    uint32_t session, zero;
    struct hc_span tokens; // int32_t [sequences][context + 1]
};

#define HC_AT(type, field, offset)                                                                 \
    _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
#define HC_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
HC_AT(hc_host_page, state, 32);
HC_AT(hc_host_page, completion_tail, 128);
HC_AT(hc_host_page, submission_head, 256);
HC_SIZE(hc_host_page, 384);
HC_AT(hc_guest_page, submission_tail, 128);
HC_AT(hc_guest_page, completion_head, 256);
HC_SIZE(hc_guest_page, 384);
HC_SIZE(hc_submission, 64);
HC_SIZE(hc_completion, 32);
HC_SIZE(hc_span, 16);
HC_SIZE(hc_identity, 40);
HC_SIZE(hc_model_open, 80);
HC_AT(hc_run, temperature, 80);
HC_AT(hc_run, seed, 112);
HC_AT(hc_run, stops, 168);
HC_AT(hc_run, logits, 264);
HC_SIZE(hc_run, 288);
HC_SIZE(hc_bias, 8);
HC_SIZE(hc_capabilities, 56);
HC_SIZE(hc_statistics, 88);
HC_SIZE(hc_tensor, 56);
HC_SIZE(hc_graph, 8);
HC_SIZE(hc_graph_tensor, 48);
HC_SIZE(hc_graph_node, 56);
HC_SIZE(hc_train_open, 56);
HC_SIZE(hc_train_step, 24);
_Static_assert(HC_SUBMISSIONS + HC_SUBMISSION_COUNT * 64 == HC_COMPLETIONS, "rings");
_Static_assert(HC_COMPLETIONS + HC_COMPLETION_COUNT * 32 == HC_ARENA, "rings");

#endif
