// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// Calls on tensors: handles (tensors.c), descriptions of graphs (graphs.c), training (training.c),
// the work (jobs.c), which the compute thread does between passes. Under the worker's lock but for
// the work itself.
#ifndef TENSORD_CALLS_OPS_H
#define TENSORD_CALLS_OPS_H

#include "hypercall/host/tensord/worker.h"
#include "tensor/ops.h"
#include "tensor/train.h"

#include <errno.h>
#include <stdatomic.h>

struct tensor_handle {
    uint32_t serial;
    bool used, read_only;
    uint32_t type, dims;
    uint64_t shape[4];
    uint64_t bytes;
    void *data; // in the region, or in weights, which stay mapped
};

// A graph that was opened; `tensors` says what may be bound.
struct graph {
    struct tn_ops *ops;
    struct tn_ops_tensor *tensors;
    uint32_t tensor_count;
    size_t memory;
};
struct graph_handle {
    uint32_t serial;
    struct graph *graph; // NULL: free
    uint32_t jobs;       // in flight that use it
};

// A training session (training.c).
enum { MOST_SESSIONS = 4 };
struct session_handle {
    uint32_t serial;
    struct tn_train *train; // NULL: free
    uint32_t context, sequences, jobs;
    size_t memory;
};

struct job {
    struct job *next; // of the guest, oldest first
    struct guest *guest;
    uint64_t tag;
    uint16_t call;
    // A graph to be opened: copies, malloc'ed; or one that is there (`handle`).
    struct tn_ops_graph description;
    struct tn_ops_tensor *tensors;
    struct tn_ops_node *nodes;
    struct graph_handle *handle;
    bool keep;       // the graph opened becomes a handle (HC_GRAPH)
    void **bindings; // [tensor], NULL: nothing is run
    uint64_t *bytes; // that each binding has
    // HC_TRANSFER.
    void *to;
    const void *from;
    uint64_t transfer_bytes;
    // HC_TRAIN_*.
    struct tn_train_options options;
    struct tn_train *train; // opened
    struct session_handle *session;
    struct tn_train_batch batch;
    int32_t *ids; // of the batch
    uint64_t value[2];
    size_t memory;
    uint64_t until_ns;
    atomic_bool stop;
};

struct ops {
    struct tensor_handle tensors[HC_MOST_TENSORS];
    uint32_t tensor_count;
    struct graph_handle graphs[HC_MOST_GRAPHS];
    uint32_t graph_count;
    struct session_handle sessions[MOST_SESSIONS];
    struct job *jobs;    // that wait
    struct job *running; // by the compute thread
    uint32_t job_count;  // both
};

uint64_t ops_features(void);
// Answers or begins a call from HC_TENSOR on.
int ops_call(struct guest *g, const struct hc_submission *s, uint64_t value[2], bool *later);
bool ops_has_tag(const struct guest *g, uint64_t tag);
bool ops_cancel(struct guest *g, uint64_t tag); // false: no such call
void ops_stop(struct guest *g);                 // what is under way ends soon
void ops_close(struct guest *g);                // everything is freed; nothing is under way
// The guest whose next piece of work comes first by its virtual time, or NULL; and that work, with
// the lock released meanwhile.
struct guest *ops_ready(struct worker *w);
void ops_work(struct worker *w, struct guest *g);

// Between these files
// ------------------------------------------------------------------------------
struct tensor_handle *tensor_of(struct guest *g, uint64_t handle); // NULL: none
int tensor_create(struct guest *g, const struct hc_submission *s, uint64_t value[2]);
int tensor_free(struct guest *g, uint64_t handle);
int tensor_weight(struct guest *g, const struct hc_submission *s, uint64_t value[2]);
// Parts of a call that say what is to be computed. 0 or an enum hc_status.
int graph_read(struct guest *g, const struct hc_submission *s, struct job *j);
int graph_bind(struct guest *g, const struct hc_submission *s, struct job *j);
int graph_single(struct guest *g, const struct hc_submission *s, struct job *j);
int graph_free(struct guest *g, uint64_t handle);
void graph_close(struct guest *g, struct graph *graph);
void session_close(struct guest *g, struct session_handle *s);
int training_prepare(struct guest *g, const struct hc_submission *s, struct job *j);
int training_work(struct worker *w, struct job *j);  // without the lock
int training_settle(struct guest *g, struct job *j); // a session opened becomes a handle
int training_close(struct guest *g, uint64_t handle);

#endif
