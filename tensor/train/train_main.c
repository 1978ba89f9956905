/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * tessera-train: trains a llama-architecture model from a corpus of ChatML conversations, scores it
 * on held-out questions, and writes it as a GGUF file.
 */
#include "tensor/train/evaluate.h"
#include "tensor/train/export.h"
#include "tensor/train/progress.h"
#include "tensor/train/settings.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What main works with; everything zero until opened. */
struct state {
    struct train_vocab vocab;
    struct train_samples samples, questions;
    struct tn_pool *pool;
    struct train_run run;
    float *rounded;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static int complain(int rc, const char *what, const char *name)
{
    fprintf(stderr, "tessera-train: %s %s: %s\n", what, name, strerror(-rc));
    return rc;
}

/* Reads the corpus, learns the vocabulary from it, and turns both files into samples. */
static int load(struct state *state, struct train_settings *s)
{
    char *text = NULL;
    size_t length;
    int rc = train_read_file(s->corpus, &text, &length);

    if (rc)
        return complain(rc, "cannot read", s->corpus);
    rc = train_vocab_learn(&state->vocab, text, length, s->options.shape.vocab);
    if (!rc)
        rc = train_samples_from_chats(&state->samples, &state->vocab, text, length,
                                      s->options.shape.context);
    free(text);
    if (rc)
        return complain(rc, "cannot use", s->corpus);
    s->options.shape.vocab = (uint32_t)state->vocab.size;
    printf("%zu conversations, %zu tokens, vocabulary of %zu\n", state->samples.count,
           state->samples.tokens, state->vocab.size);
    if (!s->held_out)
        return 0;
    rc = train_read_file(s->held_out, &text, &length);
    if (rc)
        return complain(rc, "cannot read", s->held_out);
    rc = train_samples_from_questions(&state->questions, &state->vocab, text, length,
                                      s->options.shape.context);
    free(text);
    return rc ? complain(rc, "cannot use", s->held_out) : 0;
}

static double percent(const struct train_score *score)
{
    return score->asked ? 100.0 * score->right / score->asked : 100.0;
}

static int score(struct state *state, bool wrong, struct train_scores *scores)
{
    train_round_to_q8(&state->run.net, state->run.parameters, state->rounded);
    return train_evaluate(&state->run, state->rounded, &state->questions,
                          wrong ? &state->vocab : NULL, scores);
}

static void print_scores(const struct train_scores *scores)
{
    printf("held out: exact %.2f%%  loss %.4f ", percent(&scores->all), scores->loss);
    for (size_t i = 0; i < scores->count; i++)
        printf(" %s %.1f", scores->category[i].category, percent(&scores->category[i]));
    putchar('\n');
    fflush(stdout);
}

static int write_scores(const struct train_scores *scores, const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file)
        return -errno;
    fprintf(file, "| category | questions | exact answers |\n|---|---:|---:|\n");
    for (size_t i = 0; i < scores->count; i++)
        fprintf(file, "| %s | %u | %.1f %% |\n", scores->category[i].category,
                scores->category[i].asked, percent(&scores->category[i]));
    fprintf(file, "| **all** | **%u** | **%.1f %%** |\n", scores->all.asked, percent(&scores->all));
    return ferror(file) | fclose(file) ? -EIO : 0;
}

/* Trains until all steps are done or somebody interrupts. */
static int train(struct state *state, const struct train_settings *s)
{
    struct train_run *run = &state->run;
    struct train_progress progress;
    struct train_report report;
    struct train_scores scores;
    int rc = 0;

    train_progress_begin(&progress, run->step);
    while (!rc && run->step < s->options.steps && !interrupted) {
        const bool last = run->step + 1 == s->options.steps;

        rc = train_run_step(run, &state->samples, &report);
        if (rc) {
            train_progress_break(&progress);
            return complain(rc, "cannot go on",
                            rc == -ERANGE ? "because the loss is no finite number: lower --rate"
                            : rc == -EDOM ? "because a batch has no assistant's words"
                                          : "with this step");
        }
        train_progress_step(&progress, run, &report);
        if (s->checkpoint && (run->step % 200 == 0 || last || interrupted)) {
            rc = train_run_save(run, s->checkpoint);
            if (rc)
                return complain(rc, "cannot write", s->checkpoint);
        }
        if (state->questions.count && s->eval_every && run->step % s->eval_every == 0 && !last) {
            rc = score(state, false, &scores);
            train_progress_break(&progress);
            if (!rc)
                print_scores(&scores);
        }
    }
    train_progress_break(&progress);
    return rc;
}

/* Scores and writes the finished model. */
static int finish(struct state *state, const struct train_settings *s)
{
    struct train_scores scores;
    int rc;

    if (state->questions.count) {
        rc = score(state, s->wrong, &scores);
        if (rc)
            return complain(rc, "cannot score", s->held_out);
        print_scores(&scores);
        if (s->scores && (rc = write_scores(&scores, s->scores)))
            return complain(rc, "cannot write", s->scores);
    }
    rc = train_export_gguf(&state->run.net, state->run.parameters, &state->vocab, s->name, s->out);
    if (rc)
        return complain(rc, "cannot write", s->out);
    printf("wrote %s\n", s->out);
    return 0;
}

static int run(struct state *state, struct train_settings *s)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    int rc = load(state, s);

    if (rc)
        return rc;
    state->pool = tn_pool_threads(s->threads);
    rc = state->pool ? train_run_open(&state->run, &s->options, state->pool) : -ENOMEM;
    if (rc)
        return complain(rc, "cannot train", "a model of this shape");
    printf("%zu parameters, %u tokens a step, %u threads\n", state->run.net.parameters,
           s->options.shards * s->options.shard_tokens, s->threads);
    state->rounded = malloc(state->run.net.parameters * sizeof(float));
    if (!state->rounded)
        return complain(-ENOMEM, "cannot train", "this model");
    if (s->resume && s->checkpoint && !access(s->checkpoint, F_OK)) {
        rc = train_run_load(&state->run, s->checkpoint);
        if (rc)
            return complain(rc, "cannot resume from", s->checkpoint);
        printf("resumed at step %u\n", state->run.step);
    }
    fflush(stdout);
    action.sa_flags = (int)SA_RESETHAND; /* a second Ctrl-C ends at once */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    rc = train(state, s);
    if (rc)
        return rc;
    if (interrupted) {
        printf("interrupted at step %u; %s\n", state->run.step,
               s->checkpoint ? "--resume goes on from the checkpoint" : "nothing was saved");
        return -EINTR;
    }
    return finish(state, s);
}

int main(int argc, char **argv)
{
    struct train_settings settings;
    struct state state = {0};
    int rc = train_settings_parse(argc, argv, &settings);

    if (rc)
        return 2;
    if (settings.help) {
        fputs(train_usage, stdout);
        return 0;
    }
    rc = run(&state, &settings);
    train_run_close(&state.run);
    tn_pool_free(state.pool);
    train_samples_free(&state.samples);
    train_samples_free(&state.questions);
    train_vocab_free(&state.vocab);
    free(state.rounded);
    return rc ? 1 : 0;
}
