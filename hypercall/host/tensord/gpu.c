// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The worker's GPU: choosing it by the score, models and engines on it, and the way back to the
// host's cores.
#include "hypercall/host/tensord/gpu.h"

#include "hypercall/host/tensord/calls_ops.h"
#include "hypercall/host/tensord/devices.h"

#include <errno.h>

// ---- choosing ----------------------------------------------------------------------------------

// The GPU with the best score, if it is better than the cores'. Its bus id is written to `bus_id`.
static bool choose(char *bus_id, size_t bytes)
{
    struct device found[MOST_DEVICES];
    int best = devices_best(found, devices_find(found));
    if (best < 0 || !found[best].is_gpu) {
        return false;
    }
    snprintf(bus_id, bytes, "%s", found[best].bus_id);
    return true;
}

bool gpu_open(struct worker *w)
{
    const struct worker_options *o = &w->options;
    char error[240] = "", bus_id[sizeof((struct device *)0)->bus_id] = "";
    struct tn_cuda_device_info info;
    if (o->device == DEVICE_CPU) {
        return true;
    }
    if (o->device == DEVICE_AUTO) {
        if (tn_cuda_available(o->cuda_library, error, sizeof error)) {
            return true; // the usual machine: nothing to say
        }
        if (!choose(bus_id, sizeof bus_id)) {
            audit(w, NULL, "device", "the host's cores have the best score");
            return true;
        }
    }
    if (tn_cuda_device_open(o->cuda_library, o->gpu, bus_id, &w->gpu, error, sizeof error)) {
        w->gpu = NULL;
        audit(w, NULL, "device", "the host's cores compute: %s", error);
        fprintf(stderr, "tensord worker: the host's cores compute: %s\n", error);
        return false;
    }
    tn_cuda_device_info(w->gpu, &info);
    audit(w, NULL, "device", "%s computes, %llu of %llu bytes are free", info.name,
          (unsigned long long)info.free_bytes, (unsigned long long)info.memory_bytes);
    return true;
}

uint64_t worker_features(const struct worker *w)
{
    return HC_FEATURE_RUN | ops_features() | (w->gpu ? HC_FEATURE_DEVICE : 0);
}

uint32_t worker_device_count(const struct worker *w)
{
    return w->gpu ? 2 : 1;
}

// ---- models and engines ------------------------------------------------------------------------

struct tn_cuda_model *gpu_weights(struct worker *w, const struct tn_model *m, char *note,
                                  size_t note_bytes)
{
    struct tn_cuda_model *model = NULL;
    char error[240] = "";
    *note = 0;
    if (!w->gpu) {
        return NULL;
    }
    if (tn_cuda_model_open(w->gpu, m, &model, error, sizeof error)) {
        snprintf(note, note_bytes, ", for the host's cores: %s", error);
        return NULL;
    }
    snprintf(note, note_bytes, ", on the GPU");
    return model;
}

// Pages for every sequence of a pass at its longest, or half of the memory that is left: another
// model may come.
static uint32_t pages_for(struct worker *w, const struct engine *e)
{
    struct tn_cuda_device_info info;
    tn_cuda_device_info(w->gpu, &info);
    uint64_t longest = (e->weights->info.context + TN_KV_PAGE_TOKENS - 1) / TN_KV_PAGE_TOKENS;
    uint64_t room = info.free_bytes / 2 / e->kv_page_bytes;
    return (uint32_t)(room < PASS_SEQUENCES * longest ? room : PASS_SEQUENCES * longest);
}

void gpu_engine(struct worker *w, struct engine *e)
{
    char error[240] = "";
    if (!w->gpu || !e->weights->on_gpu) {
        return;
    }
    const struct tn_cuda_executor_options o = {.max_tokens = PASS_TOKENS,
                                               .max_sequences = PASS_SEQUENCES,
                                               .kv_type = e->kv_type,
                                               .pages = pages_for(w, e)};
    if (tn_cuda_executor_open(e->weights->on_gpu, &o, &e->on_gpu, error, sizeof error)) {
        e->on_gpu = NULL;
        audit(w, NULL, "device", "%s with KV type %u, for the host's cores: %s", e->weights->name,
              e->kv_type, error);
    }
}

int engine_step(struct engine *e, const struct tn_step_sequence *steps, size_t count)
{
    if (e->on_gpu && !e->gpu_failed) {
        int rc = tn_cuda_step(e->on_gpu, steps, count);
        if (rc != -EIO && rc != -ENOSPC) {
            return rc;
        }
        // Not enough pages: this time on the cores. The sequences' own stores are up to date.
        e->gpu_failed = rc == -EIO;
    }
    return tn_step(e->executor, steps, count);
}

void gpu_report(struct worker *w, struct engine *e)
{
    struct tn_cuda_statistics t = {0};
    if (e->on_gpu) {
        tn_cuda_get_statistics(e->on_gpu, &t);
    }
    e->gpu_loaded = t.loaded_pages;
    if (e->gpu_failed && !e->gpu_reported) {
        e->gpu_reported = true;
        audit(w, NULL, "device", "%s goes on with the host's cores: %s", e->weights->name,
              tn_cuda_failure(e->on_gpu));
    }
}

const char *engine_device(const struct engine *e)
{
    return e->on_gpu && !e->gpu_reported ? "gpu" : "cpu";
}
