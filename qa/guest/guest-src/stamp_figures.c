#include "stamp_figures.h"

#include <string.h>
#include <time.h>

static double clock_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

double monotonic_s(void)
{
	return clock_s(CLOCK_MONOTONIC);
}

double epoch_s(void)
{
	return clock_s(CLOCK_REALTIME);
}

/* By the wall clock as it is now: it may have been set since the moment in question. */
static double epoch_of(double moment_s)
{
	return epoch_s() - (monotonic_s() - moment_s);
}

void figures_begin(struct figures *f, long number, double now_s)
{
	memset(f, 0, sizeof(*f));
	f->number = number;
	f->start_s = now_s;
	f->gap.since_s = now_s;
	f->gap.longest_at_s = now_s;
}

void gap_extend(struct gap *gap, double now_s)
{
	if (now_s - gap->since_s > gap->longest_s) {
		gap->longest_s = now_s - gap->since_s;
		gap->longest_at_s = gap->since_s;
	}
}

void gap_restart(struct gap *gap, double now_s)
{
	if (now_s > gap->since_s)
		gap->since_s = now_s;
}

void figures_io_done(struct figures *f, enum io_kind kind, double took_s)
{
	if (kind == IO_WRITE)
		f->writes++;
	else
		f->reads++;
	if (took_s > f->longest_io_s)
		f->longest_io_s = took_s;
}

void figures_io_failed(struct figures *f, const struct io_failure *failure)
{
	if (f->io_errors < LISTED)
		f->failures[f->io_errors] = *failure;
	f->io_errors++;
	if (failure->after_s > f->longest_io_s)
		f->longest_io_s = failure->after_s;
}

void figures_found(struct figures *f, const struct finding *finding)
{
	long count = f->lost + f->stale + f->corrupt;

	if (count < LISTED)
		f->findings[count] = *finding;
	if (!strcmp(finding->kind, "lost"))
		f->lost++;
	else if (!strcmp(finding->kind, "stale"))
		f->stale++;
	else
		f->corrupt++;
}

static void print_failures(FILE *out, const struct figures *f)
{
	fprintf(out, ", \"errors\": [");
	for (long i = 0; i < f->io_errors && i < LISTED; i++) {
		const struct io_failure *e = &f->failures[i];

		fprintf(out, "%s{\"epoch\": %.3f, \"op\": \"%s\", \"slot\": %llu, \"errno\": %d, \"error\": \"%s\", "
			"\"after_s\": %.3f}", i ? ", " : "", e->epoch_s, e->kind == IO_WRITE ? "write" : "read",
			(unsigned long long)e->slot, e->error, e->error ? strerror(e->error) : "short transfer",
			e->after_s);
	}
	fprintf(out, "]");
}

static void print_findings(FILE *out, const struct figures *f)
{
	long count = f->lost + f->stale + f->corrupt;

	fprintf(out, ", \"findings\": [");
	for (long i = 0; i < count && i < LISTED; i++) {
		const struct finding *d = &f->findings[i];

		fprintf(out, "%s{\"epoch\": %.3f, \"kind\": \"%s\", \"slot\": %llu, \"found\": %llu, "
			"\"acknowledged\": %llu, \"attempted\": %llu}", i ? ", " : "", d->epoch_s, d->kind,
			(unsigned long long)d->slot.number, (unsigned long long)d->found,
			(unsigned long long)d->slot.acknowledged, (unsigned long long)d->slot.attempted);
	}
	fprintf(out, "]");
}

void figures_print(FILE *out, const struct figures *f)
{
	fprintf(out, "\"window\": %ld, \"start_epoch\": %.3f, \"end_epoch\": %.3f, \"ios\": %ld, \"writes\": %ld, "
		"\"reads\": %ld, \"io_errors\": %ld, \"longest_gap_s\": %.3f, \"longest_gap_at_epoch\": %.3f, "
		"\"longest_io_s\": %.3f, \"checked\": %ld, \"lost\": %ld, \"stale\": %ld, \"corrupt\": %ld, "
		"\"uncertain\": %ld, \"unread\": %ld", f->number, epoch_of(f->start_s), epoch_s(),
		f->writes + f->reads, f->writes, f->reads, f->io_errors, f->gap.longest_s,
		epoch_of(f->gap.longest_at_s), f->longest_io_s, f->checked, f->lost, f->stale, f->corrupt,
		f->uncertain, f->unread);
	print_failures(out, f);
	print_findings(out, f);
}

void figures_append(const char *path, const struct figures *f)
{
	FILE *out = fopen(path, "a");

	if (!out) {
		perror(path);
		return;
	}
	fprintf(out, "{");
	figures_print(out, f);
	fprintf(out, "}\n");
	if (fclose(out))
		perror(path);
}
