// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the workload needs of its surroundings, so that it runs as a guest (port_guest.c) and as a
// process on the host (port_native_host.c) unchanged.
#ifndef APPS_LLM_PORT_H
#define APPS_LLM_PORT_H

#include "apps/llm/text.h"
#include "tensor/pool.h"

#include <stdint.h>

uint64_t port_now_ns(void); // monotonic
void port_random(void *out, size_t bytes);
// Runs fn(arg) on the HTTP server's strand, in order. Any strand. -ENOMEM: its queue is full.
int port_post(void (*fn)(void *arg), void *arg);
// Starts the one engine strand. 0 or a negative errno.
int port_engine_start(void (*run)(void *arg), void *arg);
void port_engine_wake(void);
// On the engine strand: until woken (a wake before the wait counts) or the time is over (0: no
// limit).
void port_engine_wait(uint32_t timeout_ms);
// Between steps: lets other strands of the same urgency run.
void port_engine_yield(void);
// Where tensor work runs; lasts for ever.
struct tn_pool *port_pool(void);
// Memory for KV and scratch, and how much of it may be taken now.
void *port_alloc(size_t bytes);
void port_free(void *block);
uint64_t port_free_bytes(void);
// The machine's own metrics, in Prometheus' text format.
void port_metrics(struct text *out);
enum port_level { PORT_ERROR, PORT_WARN, PORT_INFO };
void port_log(enum port_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
