// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The terminal's modes. What is restored is kept in static storage: a signal may come at any time.
#include "hypercall/host/tool/terminal.h"
#include "hypercall/host/tool/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static volatile sig_atomic_t input_changed, screen_changed;

void terminal_restore(void)
{
    static const char back[] = "\033[?25h\033[?1049l";
    if (input_changed) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        input_changed = 0;
    }
    if (screen_changed) {
        screen_changed = 0;
        ssize_t n = write(STDOUT_FILENO, back, sizeof back - 1);
        (void)n; // a terminal that is gone needs nothing
    }
}

// tcsetattr and write may be called here (POSIX: async-signal-safe).
static void on_deadly_signal(int number)
{
    terminal_restore();
    raise(number); // its usual effect: SA_RESETHAND
}

static void restore_always(void)
{
    static bool ready;
    static const int deadly[] = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    if (ready) {
        return;
    }
    ready = true;
    atexit(terminal_restore);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++) {
        struct sigaction act = {.sa_handler = on_deadly_signal,
                                .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
        sigaction(deadly[i], &act, NULL);
    }
}

static int change_input(bool raw)
{
    if (tcgetattr(STDIN_FILENO, &before) != 0) {
        return tool_fail("the terminal's mode cannot be read: %s", strerror(errno));
    }
    restore_always();
    struct termios t = before;
    if (raw) {
        cfmakeraw(&t);
    } else {
        t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    }
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    input_changed = 1;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &t) != 0) {
        input_changed = 0;
        return tool_fail("the terminal's mode cannot be set: %s", strerror(errno));
    }
    return TOOL_OK;
}

int terminal_table(bool keys)
{
    int status = keys && isatty(STDIN_FILENO) ? change_input(false) : TOOL_OK;
    if (!status) {
        restore_always();
        screen_changed = 1;
        fputs("\033[?1049h\033[?25l\033[H\033[2J", stdout);
        fflush(stdout);
    }
    return status;
}

int terminal_raw(void)
{
    return change_input(true);
}

void terminal_size(unsigned *rows, unsigned *columns)
{
    struct winsize w;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 0 && w.ws_col > 0;
    *rows = known ? w.ws_row : 24;
    *columns = known ? w.ws_col : 80;
}
