// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Inside of the worker. Three kinds of threads: one looks after rings and the holder (io), one
// computes (compute), and short-lived ones open weights (opener). Everything below is under
// worker.lock unless its comment says whose it is.
#ifndef TENSORD_WORKER_H
#define TENSORD_WORKER_H

#include "hypercall/abi/ring.h"
#include "hypercall/host/tensord/arena.h"
#include "hypercall/host/tensord/link.h"
#include "tensor/cuda.h"
#include "tensor/infer.h"

#include <pthread.h>
#include <stdio.h>

enum {
    MOST_GUESTS = 256,
    MOST_WEIGHTS = 64,
    MOST_ENGINES = 64,
    PASS_SEQUENCES = 64, // of one pass
    PASS_TOKENS = 256,   // of one pass, when nobody waits for a next token
    PROMPT_BESIDE = 64,  // tokens of prompts in a pass with next tokens
    MOST_HISTORY = 1024, // tokens that penalties look back
};

// ---- weights -----------------------------------------------------------------------------------
enum weights_state { WEIGHTS_KNOWN, WEIGHTS_OPENING, WEIGHTS_OPEN, WEIGHTS_BAD };
struct weights {
    struct hc_identity identity;
    char name[256]; // for people
    int fd;
    uint64_t bytes;
    enum weights_state state;
    char error[200];
    const void *mapped;
    struct tn_model *model; // constant once WEIGHTS_OPEN
    struct tn_model_info info;
    struct tn_cuda_model *on_gpu; // NULL: the host's cores compute
    uint32_t opened;              // by guests now
};

// One model with one KV type: what runs are batched by.
struct engine {
    struct weights *weights;
    uint32_t kv_type;
    uint64_t kv_page_bytes;
    // The compute thread's.
    struct tn_executor *executor;
    struct tn_cuda_executor *on_gpu; // NULL: none (gpu.h)
    bool gpu_failed;                 // it did: `executor` goes on
    float *logits;                   // [PASS_SEQUENCES][vocabulary]
    struct tn_step_sequence step[PASS_SEQUENCES];
    struct run *runs[PASS_SEQUENCES];
    uint32_t count, rows;
    // For people.
    uint64_t passes, pass_sequences, pass_rows, ns;
    bool gpu_reported;
    uint64_t gpu_loaded; // pages of K and V that had to be copied to it
};

// ---- guests ------------------------------------------------------------------------------------
struct model_handle {
    struct engine *engine; // NULL: free
    uint32_t serial;
};

// A call that somebody else answers later: an opening of weights.
struct opening {
    uint64_t tag;
    uint64_t offset; // of struct hc_model_open in the region
    struct hc_model_open args;
    struct weights *weights; // NULL: none
    struct opening *next;
};

enum run_state { RUN_READY, RUN_IN_PASS };
struct run {
    struct guest *guest;
    struct run *next; // of the guest: prompts oldest first, then what was served longest ago
    uint64_t tag;
    struct engine *engine;
    uint64_t serial; // never another run's: tn_step_sequence.run
    enum run_state state;
    bool cancelled;
    uint8_t *kv; // in the region
    uint32_t kv_page_total, kv_page_count;
    float *logits_out; // in the region, NULL: none wanted
    uint32_t logit_rows;
    uint32_t first;  // position of tokens[0]
    uint32_t done;   // K and V of positions below are stored
    uint32_t count;  // positions whose tokens are known
    uint32_t prompt; // count at the beginning
    uint32_t made, most;
    struct tn_sampling sampling;
    struct tn_rng rng;
    struct tn_logit_rules rules;
    uint32_t stop_count;
    int32_t stops[HC_MOST_STOPS];
    uint64_t submitted_ns; // 0 once a pass has taken it
    size_t memory;         // bytes of this block
    uint32_t batch;        // tokens in the pass under way
    bool wants_token;      // that pass ends with a draw
    uint32_t *pages;
    int32_t *tokens; // history, prompt, made
};

struct guest {
    struct worker *worker;
    uint32_t number; // the holder's
    char name[64];
    struct guest_policy policy;
    int from_guest[HC_VECTOR_COUNT], to_guest[HC_VECTOR_COUNT];
    uint8_t *region;
    uint64_t region_bytes;
    struct hc_host_page *mine; // in the region
    const struct hc_guest_page *theirs;

    uint32_t attached; // the generation served, 0: none
    uint32_t refused;  // a generation that is not served: an older worker's, or one cut off
    bool blocked;      // must wait: for its own completions, its limits, or the end of a pass
    bool leaving;      // the machine is gone: freed when no pass works on it
    uint32_t completion_head;                  // as it was read last
    uint32_t submission_head, completion_tail; // what is believed; the region has copies
    uint32_t owed;                             // completions that calls in flight may still post
    bool untold;        // completions were posted; the guest may have to be woken
    uint32_t kicked_at; // its completion_head when it was woken last
    bool kicked;

    struct arena arena;
    struct model_handle models[HC_MOST_MODELS];
    struct opening *openings;
    struct run *runs;
    uint32_t run_count, in_pass;
    // The submission being looked at, when it is HC_RUN: its arguments' only copy.
    struct hc_run run;
    int run_status;  // 0: it is valid
    struct ops *ops; // tensors, graphs and work on them, NULL: none made (calls_ops.h)
    size_t memory;   // of the worker's own, for calls in flight

    uint64_t virtual_ns;  // computing used, by weight (compose.c)
    int64_t credit_ns;    // of policy.compute_percent
    uint64_t credit_at;   // when it was last added to
    uint64_t own_debt_ns; // time of work for it alone that others' has not made up for yet
    uint64_t pass_own;    // compose.c's, while it composes or charges
    bool counted;
    uint64_t pass_draw_ns; // of the pass under way: the compute thread's
    // What it took of the io thread in this window: calls, of policy.calls_per_second; time;
    // attaches; doorbells without news.
    uint32_t window_calls, window_attaches, idle_rings;
    uint64_t window_ns, window_began;
    bool quiet;    // its doorbells are not listened to until the window ends
    uint32_t asks; // of the holder, for weights that nobody knows yet
    uint64_t asks_at;
    struct hc_statistics statistics;
    uint32_t audit_lines; // written lately
    uint64_t audit_second, audit_dropped;
};

// ---- the worker --------------------------------------------------------------------------------
enum device_wish { DEVICE_AUTO, DEVICE_CPU, DEVICE_GPU };
struct worker_options {
    unsigned threads;
    enum tn_isa isa;
    uint32_t spin_us;   // looked for submissions before sleeping
    bool no_coalescing; // one sequence a pass: to see the difference
    bool no_sandbox;
    enum device_wish device;
    uint32_t gpu;             // of DEVICE_GPU: which
    const char *cuda_library; // NULL: the usual one
    int link, audit, metrics; // descriptors; -1: none
    uint32_t epoch;
};

struct worker {
    struct worker_options options;
    pthread_mutex_t lock;
    pthread_cond_t work; // for the compute thread
    struct guest *guests[MOST_GUESTS];
    uint32_t guest_count;
    struct weights weights[MOST_WEIGHTS];
    uint32_t weights_count;
    struct engine *engines[MOST_ENGINES];
    uint32_t engine_count;
    struct tn_pool *pool;
    struct tn_cuda_device *gpu; // NULL: none computes
    uint64_t run_serial;        // of the last run
    int news;                   // eventfd: wakes the io thread
    int epoll;
    uint64_t virtual_now;
    uint64_t passes, pass_sequences, pass_ns, started_ns;
    bool stopping;
};

uint64_t now_ns(void);
// Wakes the io thread.
void worker_news(struct worker *w);

// guest.c ----------------------------------------------------------------------------------------
// Takes the descriptors. NULL with a message in `error`.
struct guest *guest_open(struct worker *w, const struct link_message *m, const int *fds,
                         char *error, size_t error_bytes);
void guest_close(struct guest *g);
// Takes up an attach that the guest asks for, then at most `most` submissions. True: something was
// done, look again soon. (io thread)
bool guest_serve(struct guest *g, uint32_t most);
bool guest_has_news(const struct guest *g); // without the lock, for spinning
// Its doorbell rang (io thread).
void guest_rang(struct guest *g);
// Whether its doorbells are heard.
void guest_listen(struct guest *g, bool on);
// One completion of a call that reserved it.
void guest_post(struct guest *g, uint64_t tag, uint16_t call, uint16_t kind, int status,
                uint64_t value0, uint64_t value1);
// Wakes the guest if it sleeps and something was posted.
void guest_tell(struct guest *g);
void guest_set_state(struct guest *g, enum hc_host_state state);
// Everything that it had is forgotten; only when no pass works on it.
void guest_forget(struct guest *g);

// calls.c, run.c, weights.c ----------------------------------------------------------------------
// Answers or begins one call, whose submission is a copy. Completions it may post: *owed; status 0
// and *later: HC_END follows when it is done.
int call_run(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later);
uint32_t call_owes(struct guest *g, const struct hc_submission *s);
int run_submit(struct guest *g, const struct hc_submission *s);
// Posts HC_END and frees it. Not while a pass works on it.
void run_end(struct run *r, int status, enum hc_reason reason);
void run_free(struct run *r);
struct engine *guest_engine(struct guest *g, uint32_t handle);

void weights_add(struct worker *w, const struct link_message *m, int fd);
void weights_missing(struct worker *w, const struct hc_identity *identity);
// HC_MODEL_OPEN: answers at once or later.
int weights_open(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later);
void weights_close_handle(struct guest *g, struct model_handle *h);
// Ends the openings that can be ended. (io thread)
void weights_progress(struct worker *w);

// compose.c, compute.c ---------------------------------------------------------------------------
// Fills the engine's step with what the next pass takes. 0: nothing is ready.
uint32_t compose_pass(struct worker *w, struct engine **engine);
// Charges the guests of a pass whose step took `ns`; and one for drawing a token.
void compose_charge(struct worker *w, const struct engine *e, uint64_t ns);
void compose_charge_guest(struct guest *g, uint64_t ns);
bool compose_has_credit(struct guest *g);
void compose_charge_draw(struct guest *g, uint64_t ns);
void compose_wake(struct guest *g); // it has something to compute again
// A pass that was composed: its step and draws, without the lock; then what came of it, with the
// lock.
struct pass {
    int32_t ids[PASS_SEQUENCES]; // or one of:
    uint64_t step_ns, draw_ns[PASS_SEQUENCES];
};
enum { PASS_NO_TOKEN = -1, PASS_NOT_FINITE = -2, PASS_FAILED = -3, PASS_LATER = -4 };
void pass_compute(struct engine *e, struct pass *p);
void pass_deliver(struct worker *w, struct engine *e, const struct pass *p);
void *compute_thread(void *worker);

// For people -------------------------------------------------------------------------------------
// {"…":…}: malloc'ed; takes the lock.
char *statistics_json(struct worker *w);
char *statistics_prometheus(struct worker *w);
int metrics_start(struct worker *w, char *error, size_t error_bytes);
// A line of the audit log. Printf style; the text is escaped.
// A guest has few lines a second; those left out are counted in the next.
void audit(const struct worker *w, struct guest *g, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// `driver`: a GPU's driver was initialised before, and goes on talking to its devices.
int sandbox_enter(bool driver, char *error, size_t error_bytes);

int worker_main(const struct worker_options *o);

#endif
