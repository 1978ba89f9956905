/* SPDX-License-Identifier: Apache-2.0 */
/* SPDX-FileCopyrightText: The Tessera authors */
/*
 * tessera-train: trains a llama-architecture model from a corpus of ChatML conversations, scores it
 * on held-out questions, and writes it as a GGUF file.
 */
#include "tensor/train/evaluate.h"
#include "tensor/train/export.h"
#include "tensor/train/progress.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: tessera-train --corpus FILE --out FILE.gguf [options]\n"
    "\n"
    "Trains a small model of the llama architecture and writes it as GGUF (Q8_0).\n"
    "\n"
    "  --corpus FILE      ChatML conversations, each ended by an empty line\n"
    "  --held-out FILE    lines of category, question and exact answer, tabs between;\n"
    "                     scored during training and at the end\n"
    "  --out FILE         the GGUF file to write when all steps are done\n"
    "  --scores FILE      also write the final scores as a Markdown table\n"
    "  --name TEXT        general.name of the GGUF file\n"
    "  --checkpoint FILE  written every few minutes and on Ctrl-C\n"
    "  --resume           go on from the checkpoint if there is one\n"
    "  --steps N          how long to train (default 4000)\n"
    "  --seed N           the same seed gives the same model (default 1)\n"
    "  --threads N        default: all processors\n"
    "  --batch N          tokens in a step (default 8192)\n"
    "  --rate X           highest learning rate (default 0.002)\n"
    "  --decay X          weight decay (default 0.1)\n"
    "  --eval-every N     steps between held-out scores (default 500; 0: only at the end)\n"
    "  --wrong            at the end, print the questions answered wrongly\n"
    "  --vocab N --width N --layers N --heads N --kv-heads N --ff N --context N\n"
    "                     the shape (default 768 128 6 4 2 384 512)\n"
    "  --untied           an output matrix of its own instead of the token table\n";

struct settings {
    struct train_options options;
    const char *corpus, *held_out, *out, *scores, *name, *checkpoint;
    uint32_t batch, eval_every;
    unsigned threads;
    bool resume, wrong;
};

/* What main works with; everything zero until opened. */
struct state {
    struct train_vocab vocab;
    struct train_samples samples, questions;
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

static int parse(int argc, char **argv, struct settings *s)
{
    enum { CORPUS = 1, HELD_OUT, OUT, SCORES, NAME, CHECKPOINT, RESUME, STEPS, SEED, THREADS, BATCH,
           RATE, DECAY, EVAL, WRONG, VOCAB, WIDTH, LAYERS, HEADS, KV_HEADS, FF, CONTEXT, UNTIED,
           HELP };
    static const struct option longs[] = {
        {"corpus", 1, NULL, CORPUS},         {"held-out", 1, NULL, HELD_OUT},
        {"out", 1, NULL, OUT},               {"scores", 1, NULL, SCORES},
        {"name", 1, NULL, NAME},             {"checkpoint", 1, NULL, CHECKPOINT},
        {"resume", 0, NULL, RESUME},         {"steps", 1, NULL, STEPS},
        {"seed", 1, NULL, SEED},             {"threads", 1, NULL, THREADS},
        {"batch", 1, NULL, BATCH},           {"rate", 1, NULL, RATE},
        {"decay", 1, NULL, DECAY},           {"eval-every", 1, NULL, EVAL},
        {"wrong", 0, NULL, WRONG},           {"vocab", 1, NULL, VOCAB},
        {"width", 1, NULL, WIDTH},           {"layers", 1, NULL, LAYERS},
        {"heads", 1, NULL, HEADS},           {"kv-heads", 1, NULL, KV_HEADS},
        {"ff", 1, NULL, FF},                 {"context", 1, NULL, CONTEXT},
        {"untied", 0, NULL, UNTIED},         {"help", 0, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    struct train_shape *shape = &s->options.shape;
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        const uint32_t number = optarg ? (uint32_t)strtoul(optarg, NULL, 10) : 0;

        switch (option) {
        case CORPUS: s->corpus = optarg; break;
        case HELD_OUT: s->held_out = optarg; break;
        case OUT: s->out = optarg; break;
        case SCORES: s->scores = optarg; break;
        case NAME: s->name = optarg; break;
        case CHECKPOINT: s->checkpoint = optarg; break;
        case RESUME: s->resume = true; break;
        case STEPS: s->options.steps = number; break;
        case SEED: s->options.seed = strtoull(optarg, NULL, 10); break;
        case THREADS: s->threads = number; break;
        case BATCH: s->batch = number; break;
        case RATE: s->options.rate = strtof(optarg, NULL); break;
        case DECAY: s->options.decay = strtof(optarg, NULL); break;
        case EVAL: s->eval_every = number; break;
        case WRONG: s->wrong = true; break;
        case VOCAB: shape->vocab = number; break;
        case WIDTH: shape->width = number; break;
        case LAYERS: shape->layers = number; break;
        case HEADS: shape->heads = number; break;
        case KV_HEADS: shape->kv_heads = number; break;
        case FF: shape->ff = number; break;
        case CONTEXT: shape->context = number; break;
        case UNTIED: shape->tied = 0; break;
        case HELP: fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); return -EINVAL;
        }
    }
    if (!s->corpus || !s->out || optind != argc) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    s->options.shard_tokens = shape->context;
    s->options.shards = s->batch / shape->context ? s->batch / shape->context : 1;
    s->options.warmup = s->options.steps / 20 + 1;
    return 0;
}

/* Reads the corpus, learns the vocabulary from it, and turns both files into samples. */
static int load(struct state *state, struct settings *s)
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
    return fclose(file) ? -errno : 0;
}

/* Trains until all steps are done or somebody interrupts. */
static int train(struct state *state, const struct settings *s)
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
        if (rc)
            break;
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
static int finish(struct state *state, const struct settings *s)
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

static int run(struct state *state, struct settings *s)
{
    struct sigaction action = {.sa_handler = on_interrupt};
    int rc = load(state, s);

    if (rc)
        return rc;
    rc = train_run_open(&state->run, &s->options, s->threads);
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
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct settings settings = {
        .options = {.shape = {.vocab = 768, .width = 128, .layers = 6, .heads = 4, .kv_heads = 2,
                              .ff = 384, .context = 512, .tied = 1, .rope_base = 10000.0f,
                              .epsilon = 1e-5f},
                    .seed = 1, .steps = 4000, .rate = 0.002f, .decay = 0.1f, .clip = 1.0f},
        .name = "Tessera demonstration model",
        .batch = 8192,
        .eval_every = 500,
        .threads = processors > 0 ? (unsigned)processors : 1,
    };
    struct state state = {0};
    int rc = parse(argc, argv, &settings);

    if (rc)
        return 2;
    rc = run(&state, &settings);
    train_run_close(&state.run);
    train_samples_free(&state.samples);
    train_samples_free(&state.questions);
    train_vocab_free(&state.vocab);
    free(state.rounded);
    return rc ? 1 : 0;
}
