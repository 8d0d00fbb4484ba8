/* The command line of the stamped writer. */
#ifndef STAMP_OPTIONS_H
#define STAMP_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_DEPTH = 64 };

struct options {
	const char *device;
	const char *run;	/* of letters that need no quoting in JSON */
	const char *report;	/* file to append a line per window to; NULL = none */
	const char *status;	/* file to rewrite all the time; NULL = none */
	size_t block_bytes;
	uint64_t slots_mib;
	uint64_t device_id;	/* 0 = the device number */
	long depth;
	long interval_us;	/* pause of each thread after each I/O */
	double seconds;		/* 0 = until a signal */
};

/* 0, or -1 after it has printed what is wrong and the usage. */
int options_read(struct options *o, int count, char **words);

#endif
