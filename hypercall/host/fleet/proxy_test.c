// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A fleet's endpoint as text: which servers back ends get, what takes a running HAProxy there, what
// the configuration says, and what its statistics are read as.
//
// Links: hypercall/host/fleet/proxy_config.c hypercall/host/fleet/proxy_files.c
// Links: hypercall/host/fleet/proxy_servers.c hypercall/host/fleet/proxy_sync.c
// Links: hypercall/host/fleet/proxy_stats.c hypercall/host/fleet/proxy_folder.c
// Links: hypercall/host/fleet/record.c hypercall/host/fleet/spec.c hypercall/host/fleet/fields.c
// Links: hypercall/host/fleet/tables.c
// Links: hypercall/host/machine/values.c hypercall/host/fleet/parts.c hypercall/host/fleet/yaml.c
// Links: hypercall/host/fleet/endpoint_parts.c hypercall/host/fleet/version.c
// Links: hypercall/host/machine/size.c hypercall/host/machine/text.c
// Links: hypercall/host/machine/tensord.c hypercall/host/machine/tensord_answer.c
// Libs: -lyaml -ljansson -lmbedcrypto
#include "hypercall/host/fleet/proxy_private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char error[700];
static struct fleet_record record;
static struct proxy_member members[4];
static struct proxy_share shares[2] = {{"chat", 0, 0}, {"embed", 0, 0}};
static struct proxy_input in = {
    .record = &record, .folder = "/run/x", .members = members, .shares = shares, .share_count = 2};
static struct proxy_row rows[16];
static size_t row_count;

static void start(const char *endpoint)
{
    char yaml[600];
    struct fleet_spec s;
    fleet_record_free(&record);
    snprintf(yaml, sizeof yaml,
             "fleet: shop\nendpoint: {listen: '[::1]:8000'%s}\nmodels:\n"
             "- {name: chat, model: a.gguf, aliases: [gpt], health: {interval: 1s, path: /h}}\n"
             "- {name: embed, model: b.gguf, replicas: 0}\n",
             endpoint);
    if (fleet_spec_parse(yaml, strlen(yaml), "f", "/d", &s, error, sizeof error) ||
        fleet_record_new(&s, &record, error, sizeof error)) {
        fail_msg("%s", error);
    }
    in.member_count = 0;
    shares[0] = (struct proxy_share){"chat", 0, 0};
    row_count = 0;
    static const char *const backends[] = {"chat.a", "chat.b", "embed.a", "embed.b"};
    for (int i = 0; i < 4; i++) {
        rows[row_count] = (struct proxy_row){.type = PROXY_ROW_BACKEND};
        strcpy(rows[row_count++].backend, backends[i]);
        rows[row_count] = (struct proxy_row){.type = PROXY_ROW_SERVER, .backup = true};
        strcpy(rows[row_count].server, "wake");
        strcpy(rows[row_count++].backend, backends[i]);
    }
}

static struct proxy_member *member(const char *name, unsigned slot, const char *version)
{
    struct proxy_member *m = &members[in.member_count];
    *m = (struct proxy_member){.port = 20000 + (uint32_t)in.member_count, .slot = slot};
    strcpy(m->name, name);
    strcpy(m->service, "chat");
    strcpy(m->version, version);
    in.member_count++;
    return m;
}

static struct proxy_row *row(const char *backend, const char *server, enum proxy_health health,
                             uint32_t port)
{
    struct proxy_row *r = &rows[row_count++];
    *r = (struct proxy_row){.type = PROXY_ROW_SERVER, .health = health, .port = port};
    strcpy(r->backend, backend);
    strcpy(r->server, server);
    return r;
}

// The commands but for maps, "|" between them.
static const char *commands(void)
{
    static char out[4000];
    struct text t = {0};
    assert_int_equal(proxy_sync(&in, rows, row_count, &t), 0);
    out[0] = 0;
    for (char *at = t.data, *line; at && (line = strsep(&at, "\n"));) {
        if (*line && strncmp(line, "set map", 7) != 0) {
            sprintf(out + strlen(out), "%s%s", out[0] ? "|" : "", line);
        }
    }
    free(t.data);
    return out;
}

static bool says_map(const char *entry)
{
    struct text t = {0};
    assert_int_equal(proxy_sync(&in, rows, row_count, &t), 0);
    char line[200];
    snprintf(line, sizeof line, "set map /run/x/%s\n", entry);
    bool found = strstr(t.data, line) != NULL;
    free(t.data);
    return found;
}

static void a_new_server_has_to_show_that_it_is_up(void **unused)
{
    (void)unused;
    start("");
    member("g1", 0, "v1");
    assert_string_equal(
        commands(),
        "add server chat.a/g1 127.0.0.1:20000 check inter 1000ms fastinter 500ms downinter 500ms "
        "fall 3 rise 1 observe layer4 error-limit 1 on-error mark-down|"
        "enable health chat.a/g1;enable server chat.a/g1;set server chat.a/g1 health down");
    row("chat.a", "g1", PROXY_DOWN, 20000);
    assert_string_equal(commands(), "");
    assert_true(says_map("health.map chat starting"));
    assert_true(says_map("health.map embed starting"));
    rows[row_count - 1].health = PROXY_UP;
    assert_string_equal(commands(), "");
    assert_true(says_map("health.map * ok"));
    members[0].port = 20009; // it came back elsewhere
    assert_string_equal(commands(), "set server chat.a/g1 addr 127.0.0.1 port 20009");
}

static void a_member_that_drains_gets_nothing_new(void **unused)
{
    (void)unused;
    start("");
    member("g1", 0, "v1")->state = PROXY_DRAIN;
    assert_string_equal(commands(), ""); // it is not put in for that
    struct proxy_row *r = row("chat.a", "g1", PROXY_UP, 20000);
    assert_string_equal(commands(), "set server chat.a/g1 state drain");
    r->health = PROXY_DRAINING;
    assert_string_equal(commands(), "");
    members[0].state = PROXY_READY;
    assert_string_equal(commands(),
                        "set server chat.a/g1 state ready;set server chat.a/g1 health down");
}

static void what_is_not_wanted_ends_its_work_first(void **unused)
{
    (void)unused;
    start("");
    struct proxy_row *r = row("chat.a", "old", PROXY_UP, 1);
    assert_string_equal(commands(), "set server chat.a/old state maint");
    r->health = PROXY_MAINT;
    r->sessions = 1;
    assert_string_equal(commands(), "");
    r->sessions = 0;
    r->queued = 1;
    assert_string_equal(commands(), "");
    r->queued = 0;
    assert_string_equal(commands(), "del server chat.a/old");
    strcpy(r->backend, "other"); // none of this fleet's back ends
    assert_string_equal(commands(), "");
}

static void the_other_slot_stands_in_where_none_is_up(void **unused)
{
    (void)unused;
    start("");
    member("g1", 0, "v1");
    member("g2", 1, "v2");
    struct proxy_row *stable = row("chat.a", "g1", PROXY_UP, 20000);
    struct proxy_row *canary = row("chat.b", "g2", PROXY_UP, 20001);
    assert_string_equal(commands(), "");
    assert_true(says_map("canary.map chat chat.b"));
    assert_true(says_map("version-a.map chat v1"));
    assert_true(says_map("version-b.map chat v2"));
    canary->health = PROXY_DOWN;
    stable->health = PROXY_DOWN; // so is this one: no help
    assert_string_equal(commands(), "");
    stable->health = PROXY_UP;
    // It is known to be up: no check first.
    assert_non_null(strstr(commands(), "add server chat.b/g1 127.0.0.1:20000 "));
    assert_non_null(strstr(commands(), "|enable health chat.b/g1;enable server chat.b/g1"));
    assert_null(strstr(commands(), "health down"));
    row("chat.b", "g1", PROXY_UP, 20000);
    assert_string_equal(commands(), "");
    canary->health = PROXY_UP; // and goes again
    assert_string_equal(commands(), "set server chat.b/g1 state maint");
    // An empty slot to which nothing comes has none.
    row_count -= 2;
    in.member_count = 1;
    assert_string_equal(commands(), "");
    assert_true(says_map("canary.map chat none"));
    // Unless requests of a version that was taken back are still there.
    for (size_t i = 0; i < row_count; i++) {
        if (strcmp(rows[i].backend, "chat.b") == 0 && rows[i].backup) {
            rows[i].sessions = 1;
        }
    }
    assert_non_null(strstr(commands(), "add server chat.b/g1 "));
}

static void shares_and_slots_are_map_entries(void **unused)
{
    (void)unused;
    start("");
    shares[0] = (struct proxy_share){"chat", 1, 2500};
    member("g1", 0, "v1");
    member("g2", 0, "v2");
    assert_true(says_map("shares.map chat 2500"));
    assert_true(says_map("stable.map chat chat.b"));
    assert_true(says_map("other.map chat chat.a"));
    assert_true(says_map("version-a.map chat none")); // two
    assert_true(says_map("shares.map embed 0"));
}

static void before_its_reload_a_back_end_gets_no_commands(void **unused)
{
    (void)unused;
    start("");
    member("g1", 0, "v1");
    row_count = 0;
    assert_string_equal(commands(), "");
}

static const char *file(const struct proxy_files *f, enum proxy_file_name name)
{
    return f->file[name].data;
}

static void files_hold_what_is_known_to_be_up(void **unused)
{
    (void)unused;
    struct proxy_files f, again;
    start(", keys: [secret]");
    member("g1", 0, "v1")->known_up = true;
    member("g2", 0, "v1");
    assert_int_equal(proxy_files(&in, &f, error, sizeof error), 0);
    const char *cfg = file(&f, PROXY_CFG);
    assert_non_null(strstr(cfg, "    bind [::1]:8000\n"));
    assert_non_null(strstr(cfg, "    server g1 127.0.0.1:20000 check "));
    assert_null(strstr(cfg, "server g2"));
    assert_non_null(strstr(cfg, "backend chat.b\n"));
    assert_non_null(strstr(cfg, "http-check send meth GET uri /h ver"));
    assert_non_null(strstr(cfg, record.internal_key));
    assert_null(strstr(cfg, "secret"));
    assert_string_equal(file(&f, PROXY_MODELS), "chat chat\ngpt chat\nembed embed\n");
    assert_string_equal(file(&f, PROXY_KEYS),
                        "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n");
    // Members are no part of the structure; keys and the endpoint are.
    members[1].known_up = true;
    shares[0].share = 77;
    assert_int_equal(proxy_files(&in, &again, error, sizeof error), 0);
    assert_string_equal(again.structure, f.structure);
    assert_string_not_equal(file(&again, PROXY_CFG), cfg);
    proxy_files_free(&again);
    start(", keys: [other]");
    assert_int_equal(proxy_files(&in, &again, error, sizeof error), 0);
    assert_string_not_equal(again.structure, f.structure);
    proxy_files_free(&again);
    start(", keys: [secret], sticky: key");
    assert_int_equal(proxy_files(&in, &again, error, sizeof error), 0);
    assert_non_null(strstr(file(&again, PROXY_CFG), "balance hash var(txn.client)"));
    proxy_files_free(&again);
    proxy_files_free(&f);
    start(", keys: missing.txt");
    assert_int_equal(proxy_files(&in, &f, error, sizeof error), -ENOENT);
    assert_non_null(strstr(error, "/d/missing.txt: No such file"));
}

static void the_folder_is_the_users_and_fits_sockets(void **unused)
{
    (void)unused;
    char base[] = "/tmp/fleet-XXXXXX", path[200], wake[200], other[200], longer[200];
    assert_non_null(mkdtemp(base));
    setenv("XDG_RUNTIME_DIR", base, 1);
    assert_int_equal(
        proxy_folder("qemu:///session", "shop", path, sizeof path, error, sizeof error), 0);
    assert_string_equal(path + strlen(base), "/tessera/fleet/shop");
    // Fleets of one name on two connections do not meet.
    assert_int_equal(
        proxy_folder("qemu:///system", "shop", other, sizeof other, error, sizeof error), 0);
    assert_string_not_equal(other, path);
    assert_int_equal(rmdir(other), 0);
    *strrchr(other, '/') = 0;
    assert_int_equal(rmdir(other), 0);
    proxy_wake_path(path, "chat", 0, wake, sizeof wake);
    proxy_wake_path(path, "chat", 1, other, sizeof other);
    assert_string_not_equal(wake, other);
    assert_int_equal(rmdir(path), 0);
    *strrchr(path, '/') = 0;
    assert_int_equal(rmdir(path), 0);
    *strrchr(path, '/') = 0;
    assert_int_equal(rmdir(path), 0);
    snprintf(longer, sizeof longer, "%s/%070d", base, 0);
    setenv("XDG_RUNTIME_DIR", longer, 1);
    assert_int_not_equal(
        proxy_folder("qemu:///session", "shop", path, sizeof path, error, sizeof error), 0);
    rmdir(base);
}

// ---- statistics --------------------------------------------------------------------------------

#define HEADER                                                                                     \
    "# pxname,svname,qcur,qmax,scur,stot,econ,eresp,wretr,wredis,status,weight,bck,lastchg,type,"  \
    "hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,ttime,lastsess,addr,\n"

static void statistics_are_read_by_their_names(void **unused)
{
    (void)unused;
    static const char csv[] = HEADER
        "endpoint,FRONTEND,,,3,9,,,,,OPEN,,,,0,0,9,0,0,0,0,,,,\n"
        "chat.a,g1,1,5,2,40,3,4,5,6,UP 1/3,1,0,77,2,0,30,0,4,6,0,120,-1,127.0.0.1:20001,\n"
        "chat.a,g2,0,0,0,0,0,0,0,0,\"MAINT (via x,y)\",1,0,7,2,0,0,0,0,0,0,0,4,127.0.0.1:2,\n"
        "chat.a,wake,0,0,0,0,0,0,0,0,no check,1,1,7,2,0,0,0,0,0,0,0,4,unix,\n"
        "chat.a,BACKEND,0,0,0,0,0,0,0,0,UP,1,0,7,1,0,0,0,0,0,0,0,4,,\n"
        "chat.b,g1,0,0,1,10,0,0,0,0,DRAIN,1,0,7,2,0,10,0,0,0,0,20,8,127.0.0.1:20001,\n\n";
    struct proxy_row *r, sum;
    size_t n;
    assert_int_equal(proxy_stats_parse(csv, strlen(csv), &r, &n, error, sizeof error), 0);
    assert_int_equal(n, 6);
    assert_int_equal(r[0].type, PROXY_ROW_FRONTEND);
    assert_int_equal(r[1].health, PROXY_UP);
    assert_int_equal(r[1].port, 20001);
    assert_int_equal(r[1].responses, 40);
    assert_int_equal(r[1].errors_5xx, 6);
    assert_int_equal(r[1].errors_connection, 3);
    assert_int_equal(r[1].redispatches, 6);
    assert_true(r[1].last_session_s == UINT64_MAX);
    assert_int_equal(r[2].health, PROXY_MAINT);
    assert_true(r[3].backup);
    assert_int_equal(r[3].port, 0);
    assert_int_equal(r[4].type, PROXY_ROW_BACKEND);
    assert_false(r[4].backup);
    assert_true(proxy_member_row(r, n, "g1", &sum));
    assert_int_equal(sum.requests, 50);
    assert_int_equal(sum.latency_ms, 100);
    assert_int_equal(sum.sessions, 3);
    assert_int_equal(sum.health, PROXY_UP);
    assert_int_equal(sum.last_session_s, 8);
    assert_false(proxy_member_row(r, n, "g3", &sum));
    free(r);
    static const char *const bad[] = {"", "#", "pxname,svname\n", "# pxname,svname\na,b\n",
                                      "Unknown command: 'x'"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(proxy_stats_parse(bad[i], strlen(bad[i]), &r, &n, error, sizeof error),
                         -EPROTO);
        assert_null(r);
    }
    for (size_t i = strlen(HEADER); i < strlen(csv); i++) { // cut anywhere
        char *cut = malloc(i);
        memcpy(cut, csv, i);
        assert_int_equal(proxy_stats_parse(cut, i, &r, &n, error, sizeof error), 0);
        free(cut);
        free(r);
    }
}

static int end(void **unused)
{
    (void)unused;
    fleet_record_free(&record);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_server_has_to_show_that_it_is_up),
        cmocka_unit_test(a_member_that_drains_gets_nothing_new),
        cmocka_unit_test(what_is_not_wanted_ends_its_work_first),
        cmocka_unit_test(the_other_slot_stands_in_where_none_is_up),
        cmocka_unit_test(shares_and_slots_are_map_entries),
        cmocka_unit_test(before_its_reload_a_back_end_gets_no_commands),
        cmocka_unit_test(files_hold_what_is_known_to_be_up),
        cmocka_unit_test(the_folder_is_the_users_and_fits_sockets),
        cmocka_unit_test(statistics_are_read_by_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
