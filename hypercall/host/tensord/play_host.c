// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The daemon and its guests, played by tests.
#include "hypercall/host/tensord/play_host.h"

#include "hypercall/host/store/weights.h"
#include "hypercall/host/tensord/holder.h"
#include "tensor/model/synthetic.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOT_BYTES = 64 << 10, REPLY = 64 << 10 };

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

// ---- the daemon --------------------------------------------------------------------------------

static void write_model(struct play_daemon *d)
{
    struct synthetic_options o;
    char error[256] = "";
    assert_true(synthetic_default("llama", TN_Q8_0, &o));
    o.context = 512;
    d->file = synthetic_model(&o, &d->file_bytes);
    assert_non_null(d->file);
    FILE *f = fopen(d->model, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(d->file, 1, d->file_bytes, f), d->file_bytes);
    assert_int_equal(fclose(f), 0);
    if (tn_model_open(d->file, d->file_bytes, &d->tensor_model, error, sizeof error)) {
        fail_msg("%s", error);
    }
    tn_model_info(d->tensor_model, &d->info);
}

static int control_connect(const struct play_daemon *d)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", d->control);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a)) {
        close(fd);
        return -1;
    }
    return fd;
}

char *play_control(const struct play_daemon *d, const char *request)
{
    int fd = control_connect(d);
    char *reply = calloc(1, REPLY);
    size_t filled = 0;
    if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) < 0 ||
        send(fd, "\n", 1, MSG_NOSIGNAL) < 0) {
        free(reply);
        reply = NULL;
    }
    while (reply && filled < REPLY - 1 && !strchr(reply, '\n')) {
        ssize_t n = recv(fd, reply + filled, REPLY - 1 - filled, 0);
        if (n <= 0) {
            break;
        }
        filled += (size_t)n;
    }
    if (fd >= 0) {
        close(fd);
    }
    return reply;
}

long play_number(const char *json, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = json ? strstr(json, quoted) : NULL;
    return at ? strtol(at + strlen(quoted), NULL, 10) : -1;
}

void play_start(struct play_daemon *d, const char *const *extra)
{
    const char *arguments[32] = {"tensord", "--no-sandbox", "--dir", d->dir, "--threads", "1"};
    char request[256];
    struct weights_identity identity;
    char error[256];
    int n = 6;
    memset(d, 0, sizeof *d);
    snprintf(d->dir, sizeof d->dir, "/tmp/tensord-test.XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    snprintf(d->control, sizeof d->control, "%s/tensord.sock", d->dir);
    snprintf(d->model, sizeof d->model, "%s/model.gguf", d->dir);
    write_model(d);
    while (extra && *extra && n < 31) {
        arguments[n++] = *extra++;
    }
    d->holder = fork();
    assert_true(d->holder >= 0);
    if (d->holder == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);            // a test that fails leaves nothing behind
        setenv("ASAN_OPTIONS", "detect_leaks=0", 1); // what lasts for ever is not freed at the end
        setenv("XDG_CACHE_HOME", d->dir, 1);
        exit(tensord_main(n, (char **)(uintptr_t)arguments));
    }
    for (int i = 0, fd = -1; fd < 0; i++) {
        assert_true(i < 500);
        pause_ms(10);
        fd = control_connect(d);
        if (fd >= 0) {
            close(fd);
            break;
        }
    }
    snprintf(request, sizeof request, "{\"op\":\"add-model\",\"path\":\"%s\"}", d->model);
    char *reply = play_control(d, request);
    assert_non_null(reply);
    assert_non_null(strstr(reply, "\"ok\":true"));
    setenv("XDG_CACHE_HOME", d->dir, 1);
    if (weights_identity(d->model, NULL, &identity, error, sizeof error)) {
        fail_msg("%s", error);
    }
    assert_non_null(strstr(reply, "sha256:"));
    memcpy(d->identity.sha256, identity.sha256, sizeof d->identity.sha256);
    free(reply);
}

void play_stop(struct play_daemon *d)
{
    char command[128];
    int status = 0;
    if (d->holder > 0) {
        kill(d->holder, SIGTERM);
        assert_int_equal(waitpid(d->holder, &status, 0), d->holder);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    tn_model_close(d->tensor_model);
    free(d->file);
    snprintf(command, sizeof command, "rm -rf %s", d->dir);
    assert_int_equal(system(command), 0);
}

// ---- guests ------------------------------------------------------------------------------------

static void deliver(void *ctx, const struct hc_completion *c)
{
    struct play_guest *g = ctx;
    if (g->count == g->space) {
        g->space = g->space ? 2 * g->space : 256;
        g->events = realloc(g->events, g->space * sizeof *g->events);
        assert_non_null(g->events);
    }
    g->events[g->count++] =
        (struct play_event){c->tag, c->call, c->kind, c->status, {c->value[0], c->value[1]}};
}

void play_join(struct play_daemon *d, struct play_guest *g, const char *name, const char *policy)
{
    char request[256], path[160], error[200];
    memset(g, 0, sizeof *g);
    snprintf(request, sizeof request, "{\"op\":\"add-guest\",\"name\":\"%s\",\"region_mb\":16%s}",
             name, policy);
    char *reply = play_control(d, request);
    assert_non_null(reply);
    assert_non_null(strstr(reply, "\"ok\":true"));
    free(reply);
    snprintf(path, sizeof path, "%s/%s.ivshmem", d->dir, name);
    if (hc_connect(path, &g->connection, error, sizeof error)) {
        fail_msg("%s", error);
    }
    struct hc_port port = hc_connection_port(&g->connection);
    assert_int_equal(
        hc_client_init(&g->client, g->connection.region, g->connection.region_bytes, &port), 0);
    g->client.deliver = deliver;
    g->client.deliver_ctx = g;
    play_attach(d, g);
}

void play_leave(struct play_guest *g)
{
    hc_disconnect(&g->connection);
    free(g->events);
}

struct hc_completion play_call(struct play_guest *g, uint16_t call, uint64_t a, uint64_t b,
                               uint64_t c)
{
    const uint64_t arguments[6] = {a, b, c};
    struct hc_completion out = {.status = -999};
    assert_int_equal(hc_call(&g->client, call, arguments, 30000, &out), 0);
    return out;
}

void play_attach(struct play_daemon *d, struct play_guest *g)
{
    assert_int_equal(hc_attach_wait(&g->client, 30000), 0);
    struct hc_completion c = play_call(g, HC_ALLOC, PLAY_ARGUMENTS, 0, 0);
    assert_int_equal(c.status, 0);
    g->arguments = (uint32_t)c.value[0];
    g->arguments_at = c.value[1];
    struct hc_model_open *o = (void *)(g->client.region + g->arguments_at);
    *o = (struct hc_model_open){.identity = d->identity, .kv_type = TN_F32};
    c = play_call(g, HC_MODEL_OPEN, g->arguments, 0, 0);
    assert_int_equal(c.status, 0);
    g->model = (uint32_t)c.value[0];
    g->page_bytes = o->kv_page_bytes;
    assert_int_equal(o->vocabulary, d->info.vocabulary);
    c = play_call(g, HC_ALLOC, g->page_bytes * PLAY_KV_PAGES, 0, 0);
    assert_int_equal(c.status, 0);
    g->kv = (uint32_t)c.value[0];
    g->kv_at = c.value[1];
}

// ---- runs --------------------------------------------------------------------------------------

struct hc_run *play_run_at(struct play_guest *g, unsigned slot)
{
    return (void *)(g->client.region + g->arguments_at + slot * SLOT_BYTES);
}

struct hc_run play_run(struct play_guest *g, unsigned slot, const int32_t *tokens, uint32_t count,
                       uint32_t most)
{
    enum { PAGES = PLAY_KV_PAGES / 8, TABLE = 1024, TOKENS = 2048 };
    uint64_t at = slot * SLOT_BYTES;
    uint8_t *place = g->client.region + g->arguments_at + at;
    uint32_t pages[PAGES];
    for (uint32_t i = 0; i < PAGES; i++) {
        pages[i] = slot * PAGES + (i * 5 + 3) % PAGES;
    }
    memcpy(place + TABLE, pages, sizeof pages);
    memcpy(place + TOKENS, tokens, count * sizeof *tokens);
    return (struct hc_run){.model = g->model,
                           .kv = {.buffer = g->kv},
                           .kv_page_total = PLAY_KV_PAGES,
                           .kv_page_count = PAGES,
                           .kv_pages = {.buffer = g->arguments, .offset = at + TABLE},
                           .tokens = {.buffer = g->arguments, .offset = at + TOKENS},
                           .token_count = count,
                           .most_tokens = most,
                           .top_p = 1,
                           .repeat_penalty = 1};
}

uint64_t play_submit(struct play_guest *g, unsigned slot, const struct hc_run *run)
{
    uint64_t tag, arguments[6] = {g->arguments, slot * SLOT_BYTES};
    memcpy(play_run_at(g, slot), run, sizeof *run);
    uint32_t tokens = run->most_tokens <= HC_MOST_TOKENS ? run->most_tokens : 0;
    assert_int_equal(hc_submit(&g->client, HC_RUN, arguments, tokens, &tag), 0);
    return tag;
}

int play_end(struct play_guest *g, uint64_t tag, int32_t *made, uint32_t most, uint32_t *count,
             uint64_t *reason)
{
    uint32_t n = 0;
    size_t at = 0;
    uint64_t until = g->client.port.now_ns(g->client.port.ctx) + 60000000000ull;
    for (;;) {
        for (; at < g->count; at++) {
            const struct play_event *e = &g->events[at];
            if (e->tag != tag) {
                continue;
            }
            if (e->kind == HC_TOKEN) {
                assert_true(n < most);
                assert_int_equal(e->value[1], n + 1);
                made[n++] = (int32_t)e->value[0];
                continue;
            }
            if (count) {
                *count = n;
            }
            if (reason) {
                *reason = e->value[0];
            }
            if (e->status == 0) {
                assert_int_equal(e->value[1], n);
            }
            return -e->status;
        }
        if (hc_look(&g->client) != HC_LINK_UP) {
            return -1;
        }
        uint64_t now = g->client.port.now_ns(g->client.port.ctx);
        assert_true(now < until);
        if (at == g->count && hc_sleep_begin(&g->client)) {
            g->client.port.wait(g->client.port.ctx, now + 50000000);
            hc_sleep_end(&g->client);
        }
    }
}

// ---- what is right -----------------------------------------------------------------------------

void play_tokens(int32_t *tokens, uint32_t count, uint32_t seed)
{
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)((seed * 131 + i * 7919 + i * i * 31) % 300);
    }
}

struct native {
    int32_t *made;
    uint32_t count;
};

static int on_token(void *ctx, int32_t id)
{
    struct native *n = ctx;
    n->made[n->count++] = id;
    return 0;
}

uint32_t play_native(struct play_daemon *d, const int32_t *tokens, uint32_t count, uint32_t most,
                     const struct tn_sampling *sampling, int32_t *made)
{
    char error[256];
    struct tn_executor *x;
    struct infer_engine *e;
    struct native n = {.made = made};
    const struct tn_executor_options o = {.isa = tn_isa_best(),
                                          .pool = &tn_pool_single,
                                          .max_tokens = 64,
                                          .max_sequences = 1,
                                          .kv_page_total = 16,
                                          .kv_type = TN_F32};
    if (tn_executor_open(d->tensor_model, &o, &x, error, sizeof error)) {
        fail_msg("%s", error);
    }
    assert_int_equal(infer_open(d->tensor_model, x, &(struct infer_options){.slots = 1}, &e), 0);
    const struct infer_request r = {.tokens = tokens,
                                    .token_count = count,
                                    .max_tokens = most,
                                    .ignore_end = true,
                                    .sampling = *sampling,
                                    .on_token = on_token,
                                    .ctx = &n};
    assert_int_equal(infer_submit(e, &r, NULL), 0);
    while (infer_step(e)) {
    }
    infer_close(e);
    tn_executor_close(x);
    return n.count;
}

int play_main(int argc, char **argv, int (*tests)(void))
{
    if (argc > 1 && strcmp(argv[1], "--worker") == 0) {
        return tensord_main(argc, argv);
    }
    return tests();
}
