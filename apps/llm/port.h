// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// What the workload needs of its surroundings, so that it runs as a guest (port_guest.c) and as a
// process on the host (port_native_host.c) unchanged.
#ifndef APPS_LLM_PORT_H
#define APPS_LLM_PORT_H

#include "apps/llm/text.h"
#include "hypercall/guest/client.h"
#include "tensor/pool.h"

#include <stdint.h>

uint64_t port_now_ns(void); // monotonic
void port_random(void *out, size_t bytes);
// Runs fn(arg) on the HTTP server's strand, in order. Any strand. -ENOMEM: its queue is full.
int port_post(void (*fn)(void *arg), void *arg);
// The workload's own strands, each started once. 0 or a negative errno.
enum port_strand { PORT_ENGINE, PORT_READER, PORT_STRAND_COUNT };
int port_start(enum port_strand which, void (*run)(void *arg), void *arg);
void port_wake(enum port_strand which);
// On that strand: until woken (a wake before the wait counts) or the time is over (0: no limit).
void port_wait(enum port_strand which, uint32_t timeout_ms);
// Between pieces of long work, on any strand: lets others of the same or more urgency run.
void port_yield(void);
// Between small pieces: lets the more urgent run now, and those of the same urgency after a turn of
// several milliseconds.
void port_pause(void);
// Where tensor work runs; lasts for ever.
struct tn_pool *port_pool(void);
// Memory for KV and scratch, and how much of it may be taken now.
void *port_alloc(size_t bytes);
void port_free(void *block);
uint64_t port_free_bytes(void);
// The region that is shared with the host for tensor calls; its doorbells wake PORT_ENGINE, and so
// the port may be used by that strand and before it starts. where: on the host, the server's
// socket. 0; -ENODEV: there is none; else a negative errno and in error why. Once.
int port_offload_open(const char *where, struct hc_port *port, void **region, uint64_t *bytes,
                      char *error, size_t error_bytes);
// The machine's own metrics, in Prometheus' text format.
void port_metrics(struct text *out);
enum port_level { PORT_ERROR, PORT_WARN, PORT_INFO };
void port_log(enum port_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
