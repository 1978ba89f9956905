// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A step's tables for the device, and the way of K and V between the sequences' stores and it.
#include "tensor/cuda/executor.h"

#include "tensor/core/math.h"

#include <errno.h>
#include <string.h>

enum { PAGE = TN_KV_PAGE_TOKENS };

static size_t aligned(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static struct cuda_tables places(const struct tn_cuda_executor *x, size_t rows, size_t outputs,
                                 size_t pages)
{
    struct cuda_tables t = {0};
    t.outputs = aligned(rows * sizeof(struct cuda_row));
    t.turns = t.outputs + aligned(outputs * sizeof(uint32_t));
    t.pages = t.turns + aligned(rows * x->graph->turn_floats * sizeof(float));
    t.bytes = t.pages + aligned(pages * sizeof(uint32_t));
    return t;
}

size_t cuda_tables_bytes(const struct tn_cuda_executor *x)
{
    return places(x, x->options.max_tokens, x->options.max_tokens, x->options.pages).bytes;
}

static uint32_t pages_of(const struct tn_step_sequence *s)
{
    return (s->position + s->token_count + PAGE - 1) / PAGE;
}

// Cosines, then sines, of the row's position for each rope.
static void write_turns(const struct tn_cuda_executor *x, uint32_t position, float *out)
{
    for (uint32_t r = 0; r < x->graph->rope_count; r++) {
        const struct ir_rope *rope = x->graph->ropes[r];
        const double *frequency = ir_rope_frequency(rope, x->options.context);
        uint32_t pairs = rope->rotated / 2;
        float *turns = out + rope->place;
        for (uint32_t p = 0; p < pairs; p++) {
            double s, c;
            tn_sincos(position * frequency[p], &s, &c);
            turns[p] = (float)(c * rope->magnitude);
            turns[pairs + p] = (float)(s * rope->magnitude);
        }
    }
}

// ---- K and V to the device ---------------------------------------------------------------------

// The first `count` pages of a sequence; those that are neighbours on both sides go in one copy.
static void load_pages(struct tn_cuda_executor *x, const struct tn_step_sequence *s,
                       const struct cuda_run *run, uint32_t count)
{
    const struct cuda_driver *f = &x->model->device->driver;
    for (uint32_t first = 0, some; first < count; first += some) {
        some = 1;
        while (first + some < count && s->kv_pages[first + some] == s->kv_pages[first] + some &&
               run->pages[first + some] == run->pages[first] + some) {
            some++;
        }
        for (size_t layer = 0; layer < x->graph->layers; layer++) {
            const uint8_t *from = (const uint8_t *)s->kv +
                                  (layer * s->kv_page_total + s->kv_pages[first]) * x->page_bytes;
            cuda_address to =
                x->kv + (layer * x->options.pages + run->pages[first]) * x->page_bytes;
            if (cuda_failed(x, f->copy_in_later(to, from, some * x->page_bytes, x->stream),
                            "copying K and V")) {
                return;
            }
        }
    }
    x->loaded_pages += count;
}

int cuda_bind(struct tn_cuda_executor *x)
{
    uint32_t row = 0, output = 0, page = 0, pages = 0;
    for (size_t i = 0; i < x->sequence_count; i++) {
        pages += pages_of(&x->sequences[i]);
    }
    if (pages > x->options.pages) {
        return -ENOSPC;
    }
    x->at = places(x, x->row_count, x->output_count, pages);
    struct cuda_row *rows = (void *)x->host_tables;
    uint32_t *outputs = (void *)(x->host_tables + x->at.outputs);
    float *turns = (void *)(x->host_tables + x->at.turns);
    uint32_t *table = (void *)(x->host_tables + x->at.pages);
    for (size_t i = 0; i < x->sequence_count; i++) {
        const struct tn_step_sequence *s = &x->sequences[i];
        struct cuda_run *run;
        uint32_t load = 0, count = pages_of(s);
        int rc = cuda_pages_bind(&x->pages, s, &run, &load);
        if (rc) {
            return rc;
        }
        load_pages(x, s, run, load);
        memcpy(table + page, run->pages, count * sizeof *table);
        for (uint32_t t = 0; t < s->token_count; t++, row++) {
            rows[row] = (struct cuda_row){s->tokens[t], s->position + t, page};
            write_turns(x, s->position + t, turns + (size_t)row * x->graph->turn_floats);
            if (t >= s->logits_from) {
                x->logit_rows[output] =
                    s->logits + (size_t)(t - s->logits_from) * x->graph->vocabulary;
                outputs[output++] = row;
            }
        }
        page += count;
    }
    const struct cuda_driver *f = &x->model->device->driver;
    return cuda_failed(x, f->copy_in_later(x->tables, x->host_tables, x->at.bytes, x->stream),
                       "copying tables")
               ? -EIO
               : 0;
}

// ---- K and V from the device -------------------------------------------------------------------

// One head of one position: K goes to its column of the page, V to its row.
static void store_head(uint8_t *head, const uint8_t *fresh, uint32_t dim, uint32_t place,
                       size_t element)
{
    for (uint32_t d = 0; d < dim; d++) {
        memcpy(head + (d * PAGE + place) * element, fresh + d * element, element);
    }
    memcpy(head + (PAGE + place) * dim * element, fresh + dim * element, dim * element);
}

void cuda_store_fresh(const struct tn_cuda_executor *x)
{
    const struct ir_graph *g = x->graph;
    size_t head_bytes = x->page_bytes / g->kv_heads;
    size_t fresh_head = (size_t)2 * g->head_dim * x->kv_element;
    const uint8_t *fresh = x->host_fresh;
    for (size_t layer = 0; layer < g->layers; layer++) {
        for (size_t i = 0; i < x->sequence_count; i++) {
            const struct tn_step_sequence *s = &x->sequences[i];
            uint8_t *store = (uint8_t *)s->kv + layer * s->kv_page_total * x->page_bytes;
            for (uint32_t t = 0; t < s->token_count; t++) {
                uint32_t position = s->position + t;
                uint8_t *page = store + s->kv_pages[position / PAGE] * x->page_bytes;
                for (uint32_t h = 0; h < g->kv_heads; h++, fresh += fresh_head) {
                    store_head(page + h * head_bytes, fresh, g->head_dim, position % PAGE,
                               x->kv_element);
                }
            }
        }
    }
}
