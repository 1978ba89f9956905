// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// `tessera deploy`: another version of a service, brought in while it serves.
#include "hypercall/host/base/clock.h"
#include "hypercall/host/tool/fleet.h"

#include "hypercall/host/tool/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_SECONDS = 1800 };

struct deploy {
    const char *uri, *service, *strategy, *steps;
    struct fleet_changes new;
    uint32_t weight, seconds, step_seconds, ready_seconds, requests;
    double error_rate, latency_ratio;
    bool status, roll_back, promote, no_wait, hold;
    struct tool_option *options;
};

static void print(const char *service, const struct fleet_deployment *d)
{
    printf("%s: %s of version %s in place of %s: %s", service, fleet_strategy_name(d->strategy),
           d->to, d->from, fleet_phase_name(d->phase));
    if (deploy_is_running(d)) {
        printf(", %u %% of the requests%s", d->weight,
               d->hold ? ", held there: --promote goes on" : "");
    }
    printf("%s%s\n", d->reason[0] ? ": " : "", d->reason);
}

// The one that is meant, where there is only one.
static struct fleet_service *choose(struct fleet_record *r, const char *service)
{
    struct fleet_service *s = service[0]              ? fleet_service(r, service)
                              : r->service_count == 1 ? &r->services[0]
                                                      : NULL;
    if (!s && service[0]) {
        tool_fail("the fleet '%s' has no service '%s' (`tessera status %s` lists them)",
                  r->spec.name, service, r->spec.name);
    } else if (!s) {
        tool_fail("the fleet '%s' has %zu services: --service says which is meant", r->spec.name,
                  r->service_count);
    }
    return s;
}

// ---- what is there -----------------------------------------------------------------------------

static int show(struct fleet_tool *t, const char *fleet, const char *service)
{
    char error[900];
    struct fleet_record r;
    if (carrier_read(t->host.libvirt, fleet, &r, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    bool any = false;
    for (size_t i = 0; i < r.service_count; i++) {
        const struct fleet_service *s = &r.services[i];
        if (s->has_deployment && (!service[0] || strcmp(s->name, service) == 0)) {
            print(s->name, &s->deployment);
            any = true;
        }
    }
    if (!any) {
        puts("No deployment.");
    }
    fleet_record_free(&r);
    return TOOL_OK;
}

// ---- a new one ---------------------------------------------------------------------------------

static int read_strategy(const struct deploy *o, struct fleet_deployment *d)
{
    const char *name = o->strategy ? o->strategy : "rolling";
    d->strategy = FLEET_ROLLING;
    while (strcmp(fleet_strategy_name(d->strategy), name) != 0) {
        if (d->strategy == FLEET_BLUE_GREEN) {
            return tool_misuse("--strategy: '%s' is none of rolling, canary, blue-green", name);
        }
        d->strategy++;
    }
    if (o->weight > 100 || (o->weight && o->steps)) {
        return tool_misuse("--weight: 1 to 100, without --steps");
    }
    char weight[16];
    snprintf(weight, sizeof weight, "%u", o->weight ? o->weight : 10);
    if (deploy_parse_steps(o->steps ? o->steps : weight, d) != 0) {
        return tool_misuse("--steps: '%s' is no ascending list of per cents like 10,50", o->steps);
    }
    d->hold = o->hold;
    return TOOL_OK;
}

static int read_limits(const struct deploy *o, struct fleet_limits *l)
{
    *l = fleet_default_limits;
    if (o->error_rate < 0 || o->error_rate > 1) {
        return tool_misuse("--error-rate: 0 to 1");
    }
    l->error_rate = o->error_rate > 0 ? o->error_rate : l->error_rate;
    l->latency_ratio = o->latency_ratio > 0 ? o->latency_ratio : l->latency_ratio;
    l->step_ms = o->step_seconds ? o->step_seconds * 1000 : l->step_ms;
    l->ready_ms = o->ready_seconds ? o->ready_seconds * 1000 : l->ready_ms;
    l->requests = o->requests != UINT32_MAX ? o->requests : l->requests;
    return TOOL_OK;
}

// Guests that go may take as long as fleet.yaml lets their requests.
static void choose_wait(struct deploy *o, const struct fleet_record *r)
{
    o->seconds = o->seconds ? o->seconds : WAIT_SECONDS + r->spec.endpoint.drain_ms / 1000;
}

// What is to be deployed. Files may take long to be looked at: not under the lock.
static int prepare(struct fleet_tool *t, const struct deploy *o, const char *fleet,
                   const char *service, const struct fleet_spec *file, struct fleet_deployment *d,
                   char chosen[FLEET_SERVICE])
{
    char error[900];
    struct fleet_record r;
    if (carrier_read(t->host.libvirt, fleet, &r, error, sizeof error) != 0) {
        return tool_fail("%s", error);
    }
    const struct fleet_service *s = choose(&r, service);
    const struct fleet_model *m = s ? fleet_find(&r.spec, s->name) : NULL;
    const struct fleet_model *in_file = m && file ? fleet_find(file, m->name) : NULL;
    int status = m ? read_strategy(o, d) : TOOL_FAILED;
    status = status ? status : read_limits(o, &d->limits);
    if (!status && file && !in_file) {
        status = tool_fail("the file has no service '%s'", m->name);
    }
    if (!status) {
        memcpy(chosen, m->name, FLEET_SERVICE);
        d->variant = in_file ? in_file->variant : m->variant;
        fleet_version(&m->variant, d->from);
        status = fleet_tool_change(t, &o->new, &d->variant);
    }
    if (!status) {
        fleet_version(&d->variant, d->to);
        if (strcmp(d->from, d->to) == 0) {
            status =
                tool_fail("%s runs that version (%s) already: nothing to deploy", chosen, d->to);
        }
    }
    fleet_record_free(&r);
    return status;
}

// file: NULL, or a fleet.yaml whose variant of the service is meant.
static int start(struct fleet_tool *t, struct deploy *o, const char *fleet, const char *service,
                 const struct fleet_spec *file, char chosen[FLEET_SERVICE])
{
    struct fleet_record r;
    struct fleet_deployment d = {0};
    char from[FLEET_VERSION] = "";
    int status = prepare(t, o, fleet, service, file, &d, chosen);
    status = status ? status : fleet_tool_begin(t, fleet, &r);
    if (status) {
        return status;
    }
    struct fleet_service *s = fleet_service(&r, chosen);
    struct fleet_model *m = fleet_find(&r.spec, chosen);
    if (m) {
        fleet_version(&m->variant, from);
    }
    if (!s || !m || strcmp(from, d.from) != 0) {
        status = tool_fail("%s was changed meanwhile: try again", chosen);
    } else if (s->has_deployment && deploy_is_running(&s->deployment)) {
        print(s->name, &s->deployment);
        status = tool_fail("a deployment of '%s' runs: --promote or --rollback ends it", chosen);
    } else if (m->has_canary) {
        status = tool_fail("%s has a canary of fleet.yaml; take it out first: a service has room "
                           "for two versions",
                           chosen);
    } else {
        d.started_ms = d.since_ms = wall_ms();
        s->deployment = d;
        s->has_deployment = true;
        print(s->name, &s->deployment);
        fflush(stdout);
        choose_wait(o, &r);
        status = fleet_tool_commit(t, &r);
    }
    fleet_record_free(&r);
    return status;
}

static int change(struct fleet_tool *t, struct deploy *o, const char *fleet, const char *service,
                  char chosen[FLEET_SERVICE])
{
    struct fleet_record r;
    int status = fleet_tool_begin(t, fleet, &r);
    if (status) {
        return status;
    }
    struct fleet_service *s = choose(&r, service);
    int rc = !s || !s->has_deployment ? -ENOENT
             : o->promote             ? deploy_promote(&s->deployment, wall_ms())
                                      : deploy_roll_back(&s->deployment, "by command", wall_ms());
    if (!s) {
        status = TOOL_FAILED;
    } else if (rc == -ENOENT) {
        status = tool_fail("%s has no deployment", s->name);
    } else if (rc) {
        print(s->name, &s->deployment);
        status = tool_fail("the deployment is over");
    } else {
        memcpy(chosen, s->name, FLEET_SERVICE);
        choose_wait(o, &r);
        status = fleet_tool_commit(t, &r);
    }
    fleet_record_free(&r);
    return status;
}

// ---- waiting -----------------------------------------------------------------------------------

struct goal {
    const char *service;
    bool back; // rolled back is what is wanted
};

static int is_over(void *context, const struct fleet_view *v)
{
    const struct goal *g = context;
    const struct fleet_service *s = v ? fleet_service(&v->record, g->service) : NULL;
    if (!s || !s->has_deployment) {
        tool_fail("the deployment is gone with its service");
        return -1;
    }
    if (deploy_is_running(&s->deployment)) {
        return 0;
    }
    bool back = s->deployment.phase == FLEET_ROLLED_BACK;
    if (back && !g->back) {
        tool_fail("%s was rolled back: %s", s->name, s->deployment.reason);
        return -1;
    }
    return 1;
}

static int run_deploy(struct deploy *o, const char *word)
{
    char fleet[FLEET_NAME], service[FLEET_SERVICE] = "", chosen[FLEET_SERVICE] = "";
    bool is_file = strchr(word, '.') != NULL;
    struct fleet_spec spec = {0};
    struct fleet_tool t;
    int status = is_file ? TOOL_OK : fleet_tool_split(word, fleet, service);
    if (!status && o->service) {
        if (service[0] || strlen(o->service) >= sizeof service) {
            return tool_misuse("--service: once, and no longer than %d", FLEET_SERVICE - 1);
        }
        snprintf(service, sizeof service, "%s", o->service);
    }
    status = status ? status : fleet_tool_open(&t, o->uri);
    if (status) {
        return status;
    }
    if (is_file) {
        status = fleet_tool_spec(&t, word, &spec);
        memcpy(fleet, spec.name, sizeof fleet);
    }
    if (!status && o->status) {
        status = show(&t, fleet, service);
    } else if (!status && (o->promote || o->roll_back)) {
        status = change(&t, o, fleet, service, chosen);
    } else if (!status && !is_file && !o->new.model && !o->new.image && !o->new.memory &&
               !o->new.vcpus && !o->new.settings) {
        status = tool_misuse("--model, --image, --memory, --vcpus or --settings say what is new");
    } else if (!status) {
        status = start(&t, o, fleet, service, is_file ? &spec : NULL, chosen);
    }
    if (!status && !o->status && !o->no_wait && !o->hold) {
        struct goal g = {.service = chosen, .back = o->roll_back};
        status = fleet_tool_wait(&t, fleet, o->seconds, is_over, &g);
        if (!status) {
            run_say("%s: %s", chosen, o->roll_back ? "rolled back" : "the new version serves");
        }
    }
    fleet_spec_free(&spec);
    fleet_tool_close(&t);
    return status;
}

static int deploy(int argc, char **argv)
{
    const char *words[1];
    size_t word_count;
    struct deploy o = {.requests = UINT32_MAX};
    struct tool_option options[] = {
        {"--connect", OPTION_TEXT, &o.uri, false},
        {"--service", OPTION_TEXT, &o.service, false},
        {"--model", OPTION_TEXT, &o.new.model, false},
        {"--image", OPTION_TEXT, &o.new.image, false},
        {"--memory", OPTION_TEXT, &o.new.memory, false},
        {"--vcpus", OPTION_COUNT, &o.new.vcpus, false},
        {"--settings", OPTION_TEXT, &o.new.settings, false},
        {"--strategy", OPTION_TEXT, &o.strategy, false},
        {"--weight", OPTION_COUNT, &o.weight, false},
        {"--steps", OPTION_TEXT, &o.steps, false},
        {"--hold", OPTION_FLAG, &o.hold, false},
        {"--step-seconds", OPTION_COUNT, &o.step_seconds, false},
        {"--ready-seconds", OPTION_COUNT, &o.ready_seconds, false},
        {"--requests", OPTION_COUNT, &o.requests, false},
        {"--error-rate", OPTION_NUMBER, &o.error_rate, false},
        {"--latency-ratio", OPTION_NUMBER, &o.latency_ratio, false},
        {"--status", OPTION_FLAG, &o.status, false},
        {"--rollback", OPTION_FLAG, &o.roll_back, false},
        {"--promote", OPTION_FLAG, &o.promote, false},
        {"--no-wait", OPTION_FLAG, &o.no_wait, false},
        {"--timeout", OPTION_COUNT, &o.seconds, false},
    };
    int status =
        tool_options(argc, argv, options, sizeof options / sizeof *options, words, 1, &word_count);
    if (!status && word_count != 1) {
        status = tool_misuse("wanted: FLEET, FLEET/SERVICE or FILE");
    }
    if (!status && o.status + o.roll_back + o.promote > 1) {
        status = tool_misuse("one of --status, --rollback, --promote");
    }
    return status ? status : run_deploy(&o, words[0]);
}

const struct tool_command tool_deploy = {
    .name = "deploy",
    .summary = "another version of a service, brought in while it serves",
    .help =
        "Usage: tessera deploy FLEET[/SERVICE] | FILE [OPTIONS]\n\n"
        "The new guests are made beside the old ones and get requests by the strategy; if they do "
        "not\n"
        "serve, fail, or are slow, they go again and the old ones stay. Returns when it is "
        "over.\n\n"
        "  --model FILE  --image FILE  --memory SIZE  --vcpus N  --settings 'KEY=VALUE …'\n"
        "                         what is new; with FILE its service's description is\n"
        "  --service NAME         which one, where the fleet has several\n"
        "  --strategy rolling     one by one (default)\n"
        "  --strategy canary      a part of the requests first: --weight 10, or --steps 10,50\n"
        "  --strategy blue-green  all guests beside the old ones, then all requests at once\n"
        "  --hold                 stay at the first step until --promote\n"
        "  --step-seconds N       how long a step is watched (30)\n"
        "  --requests N           no verdict on a step before so many (20)\n"
        "  --error-rate X         more failures than that above the old version's: back (0.05)\n"
        "  --latency-ratio X      mean latency more than X times the old version's: back (2)\n"
        "  --ready-seconds N      its guests must serve by then (120)\n"
        "  --status  --promote  --rollback\n"
        "                         of a deployment: what it does, on, back\n"
        "  --no-wait              return when it is noted\n"
        "  --timeout SECONDS      to wait (1800, and `drain` of fleet.yaml)\n"
        "  --connect URI          libvirt's connection\n",
    .run = deploy,
};
