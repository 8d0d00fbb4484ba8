/* What a stamped writer counts, for one measuring window or for its whole run, and how that is printed as JSON. */
#ifndef STAMP_FIGURES_H
#define STAMP_FIGURES_H

#include <stdint.h>
#include <stdio.h>

#include "stamp_block.h"

enum { LISTED = 20 };	/* errors and findings that are listed one by one; all are counted */

enum io_kind { IO_WRITE, IO_READ };

struct io_failure {
	double epoch_s;
	double after_s;
	uint64_t slot;
	enum io_kind kind;
	int error;		/* errno; 0 = short transfer */
};

struct finding {
	double epoch_s;
	const char *kind;	/* "lost", "stale" or "corrupt" */
	struct stamp_slot slot;
	uint64_t found;
};

/* A gap is a time without any completed write. All times here are CLOCK_MONOTONIC. */
struct gap {
	double since_s;		/* last completed write, or the beginning of the window if that is later */
	double longest_s;
	double longest_at_s;	/* when the longest one began */
};

struct figures {
	long number;
	double start_s;
	long writes, reads;	/* completed without error */
	long io_errors;
	long checked, lost, stale, corrupt, uncertain, unread;
	double longest_io_s;
	struct gap gap;
	struct io_failure failures[LISTED];
	struct finding findings[LISTED];
};

double monotonic_s(void);
double epoch_s(void);

void figures_begin(struct figures *f, long number, double now_s);
void figures_io_done(struct figures *f, enum io_kind kind, double took_s);
void figures_io_failed(struct figures *f, const struct io_failure *failure);
void figures_found(struct figures *f, const struct finding *finding);

/* Counts the gap up to now, whether or not a write has ended it. */
void gap_extend(struct gap *gap, double now_s);
void gap_restart(struct gap *gap, double now_s);

/* Prints the figures as the inside of a JSON object (without the braces). */
void figures_print(FILE *out, const struct figures *f);

/* Appends them to a file as one line; complains on standard error if that cannot be done. */
void figures_append(const char *path, const struct figures *f);

#endif
