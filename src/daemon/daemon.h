/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor of one VM, as the command line sees it. */
#ifndef CLOUDER_DAEMON_DAEMON_H
#define CLOUDER_DAEMON_DAEMON_H

int daemon_run(int argc, char **argv); /* argv[0] is "run"; returns the exit status */
extern const char daemon_run_usage[];

#endif
