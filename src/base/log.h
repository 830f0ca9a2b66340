/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line to standard error for each thing worth saying; only the place that handles an error logs it. */
#ifndef CLOUDER_BASE_LOG_H
#define CLOUDER_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Messages above this level are dropped. Default: LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Puts "name: " before every line (copied, at most 63 bytes). NULL: no prefix. */
void log_set_prefix(const char *name);

/* fmt without a trailing newline; control characters in the result are printed as '?'. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
