/* stamp_writer: writes stamped blocks to one block device and proves that none that was acknowledged is lost.
 *
 * Each of --depth threads owns every depth-th slot and has one O_DIRECT I/O outstanding. Every READ_EVERY-th I/O reads
 * back a slot it wrote earlier: a block older than the acknowledged one is "stale". A verification reads every
 * acknowledged slot: there the same is "lost". Blocks that are torn or belong elsewhere are "corrupt" in both. A write
 * that was not acknowledged may or may not be found ("uncertain").
 *
 * Signals   SIGUSR1          a new measuring window begins; the finished one is appended to --report as a JSON line
 *           SIGUSR2          verify now: writing pauses, which counts as no gap
 *           SIGTERM, SIGINT  verify, append the last window, print the run's figures as one JSON line, end
 *
 * A gap (time without a completed write) that spans the beginning of a window counts in each window with the part that
 * lies in it, and whole in the figures of the run. Signals are served and the status is written while I/O hangs.
 * Exit: 0 all well, 1 errors or bad data, 2 could not start.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "stamp_block.h"
#include "stamp_figures.h"
#include "stamp_options.h"

enum { READ_EVERY = 8, PICKS = 16, STATUS_MS = 200, ERROR_PAUSE_US = 10000 };

struct worker {
	long index;
	unsigned seed;
	void *block;
	uint64_t next_slot;
	double io_since_s;	/* start of the I/O in flight, 0 = none; guarded by lock */
	pthread_t thread;
};

static struct options option;
static int fd;
static uint64_t slot_count;
static struct stamp_slot *slots;
static struct stamp_owner owner;
static struct worker workers[MAX_DEPTH];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* guards the four below and io_since_s */
static struct figures window, total;
static int writing_paused;
static long workers_left;

/* Verification number `verify_wanted` is under way until `verify_done` equals it; only then may the next be asked for,
 * so that all workers meet at the same barrier. */
static pthread_barrier_t barrier;
static atomic_long verify_wanted, verify_done;
static atomic_long last_verification = -1;

/* The kernel sends NVMe/TCP data in the context of the submitting thread; when the connection is dead, that thread can
 * get SIGPIPE though it never touched a socket (seen on Linux 6.12). The I/O itself goes on. */
static atomic_long sigpipes;

static void on_sigpipe(int signal_number)
{
	(void)signal_number;
	atomic_fetch_add(&sigpipes, 1);
}

static void io_ended(struct worker *w, uint64_t slot, enum io_kind kind, ssize_t got, int error)
{
	double now = monotonic_s();
	double took = now - w->io_since_s;

	pthread_mutex_lock(&lock);
	w->io_since_s = 0;
	if (got == (ssize_t)option.block_bytes) {
		figures_io_done(&window, kind, took);
		figures_io_done(&total, kind, took);
		if (kind == IO_WRITE) {
			if (!writing_paused) {
				gap_extend(&window.gap, now);
				gap_extend(&total.gap, now);
			}
			gap_restart(&window.gap, now);
			gap_restart(&total.gap, now);
		}
	} else {
		struct io_failure failure = { epoch_s() - took, took, slot, kind, got < 0 ? error : 0 };

		figures_io_failed(&window, &failure);
		figures_io_failed(&total, &failure);
	}
	pthread_mutex_unlock(&lock);
}

/* One read or write of a whole block; true if it was done without error. */
static int transfer(struct worker *w, uint64_t slot, enum io_kind kind)
{
	off_t offset = (off_t)(slot * option.block_bytes);
	ssize_t got;
	int error;

	pthread_mutex_lock(&lock);
	w->io_since_s = monotonic_s();
	pthread_mutex_unlock(&lock);
	do {
		got = kind == IO_WRITE ? pwrite(fd, w->block, option.block_bytes, offset)
				       : pread(fd, w->block, option.block_bytes, offset);
		error = errno;
	} while (got < 0 && error == EINTR);
	io_ended(w, slot, kind, got, error);
	if (got == (ssize_t)option.block_bytes)
		return 1;
	usleep(ERROR_PAUSE_US);
	return 0;
}

static void write_next(struct worker *w)
{
	struct stamp_slot *slot = &slots[w->next_slot];

	slot->attempted++;
	stamp_fill(w->block, option.block_bytes, &owner, slot->number, slot->attempted, (uint64_t)(epoch_s() * 1e6));
	if (transfer(w, slot->number, IO_WRITE))
		slot->acknowledged = slot->attempted;
	w->next_slot += option.depth;
	if (w->next_slot >= slot_count)
		w->next_slot = w->index;
}

static void check_slot(struct worker *w, struct stamp_slot *slot, const char *older_is)
{
	uint64_t found;
	enum stamp_verdict verdict;

	if (!transfer(w, slot->number, IO_READ)) {
		pthread_mutex_lock(&lock);
		window.unread++;
		total.unread++;
		pthread_mutex_unlock(&lock);
		return;
	}
	verdict = stamp_judge(w->block, option.block_bytes, &owner, slot, &found);
	pthread_mutex_lock(&lock);
	window.checked++;
	total.checked++;
	if (verdict == STAMP_OLDER || verdict == STAMP_CORRUPT) {
		struct finding f = { epoch_s(), verdict == STAMP_OLDER ? older_is : "corrupt", *slot, found };

		figures_found(&window, &f);
		figures_found(&total, &f);
		slot->acknowledged = 0;		/* counted once; looked at again when it has been written again */
	} else if (verdict == STAMP_UNCERTAIN) {
		window.uncertain++;
		total.uncertain++;
		slot->acknowledged = found;	/* once seen it must stay */
	}
	pthread_mutex_unlock(&lock);
}

static struct stamp_slot *pick_written(struct worker *w)
{
	uint64_t own = (slot_count - w->index + option.depth - 1) / option.depth;

	for (int i = 0; i < PICKS; i++) {
		struct stamp_slot *slot = &slots[w->index + rand_r(&w->seed) % own * option.depth];

		if (slot->acknowledged)
			return slot;
	}
	return NULL;
}

/* The gap ends when the last I/O before the pause is done, and the next one begins when writing resumes. */
static void pause_writing(int paused)
{
	double now = monotonic_s();

	pthread_mutex_lock(&lock);
	if (paused) {
		gap_extend(&window.gap, now);
		gap_extend(&total.gap, now);
	} else {
		gap_restart(&window.gap, now);
		gap_restart(&total.gap, now);
	}
	writing_paused = paused;
	pthread_mutex_unlock(&lock);
}

static void verify(struct worker *w, long number)
{
	if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
		pause_writing(1);
	for (uint64_t i = w->index; i < slot_count; i += option.depth)
		if (slots[i].acknowledged)
			check_slot(w, &slots[i], "lost");
	if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
		if (number != atomic_load(&last_verification))
			pause_writing(0);
		atomic_store(&verify_done, number);
	}
}

static void *work(void *argument)
{
	struct worker *w = argument;
	struct stamp_slot *slot;
	long verified = 0;

	usleep(option.interval_us * w->index / option.depth);
	for (long step = 1; ; step++) {
		long wanted = atomic_load(&verify_wanted);

		if (verified != wanted) {
			verify(w, wanted);
			verified = wanted;
			if (verified == atomic_load(&last_verification))
				break;
		}
		if (step % READ_EVERY == 0 && (slot = pick_written(w)))
			check_slot(w, slot, "stale");
		else
			write_next(w);
		usleep(option.interval_us);
	}
	pthread_mutex_lock(&lock);
	workers_left--;
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* Call with the lock held: what is still going on belongs to the figures too. */
static void count_unfinished(struct figures *f, double now)
{
	if (!writing_paused)
		gap_extend(&f->gap, now);
	for (long i = 0; i < option.depth; i++)
		if (workers[i].io_since_s && now - workers[i].io_since_s > f->longest_io_s)
			f->longest_io_s = now - workers[i].io_since_s;
}

static void begin_window(void)
{
	struct figures finished;
	double now = monotonic_s();

	pthread_mutex_lock(&lock);
	count_unfinished(&window, now);
	finished = window;
	figures_begin(&window, finished.number + 1, now);
	pthread_mutex_unlock(&lock);
	if (option.report)
		figures_append(option.report, &finished);
}

static void write_status(void)
{
	char temporary[4096];
	struct figures w, t;
	double gap_s, now = monotonic_s();
	FILE *out;

	if (!option.status)
		return;
	pthread_mutex_lock(&lock);
	count_unfinished(&window, now);
	w = window;
	t = total;
	gap_s = writing_paused ? 0 : now - t.gap.since_s;
	pthread_mutex_unlock(&lock);
	snprintf(temporary, sizeof(temporary), "%s.new", option.status);
	out = fopen(temporary, "w");
	if (!out) {
		perror(temporary);
		return;
	}
	fprintf(out, "{\"epoch\": %.3f, \"window\": %ld, \"ios\": %ld, \"writes\": %ld, \"io_errors\": %ld, \"gap_s\": %.3f, "
		"\"longest_gap_s\": %.3f, \"verifications\": %ld, \"lost\": %ld, \"stale\": %ld, \"corrupt\": %ld}\n",
		epoch_s(), w.number, t.writes + t.reads, t.writes, t.io_errors, gap_s, w.gap.longest_s,
		atomic_load(&verify_done), t.lost, t.stale, t.corrupt);
	if (fclose(out) || rename(temporary, option.status))
		perror(option.status);
}

static int serve_signals(const sigset_t *signals)
{
	const struct timespec tick = { 0, STATUS_MS * 1000000L };
	double end = option.seconds ? monotonic_s() + option.seconds : 0;
	int verify_asked = 0, end_asked = 0;
	long left;

	do {
		int signal_number = sigtimedwait(signals, NULL, &tick);

		if (signal_number == SIGUSR1)
			begin_window();
		verify_asked |= signal_number == SIGUSR2;
		end_asked |= signal_number == SIGTERM || signal_number == SIGINT || (end && monotonic_s() > end);
		if ((verify_asked || end_asked) && atomic_load(&verify_done) == atomic_load(&verify_wanted)
		    && atomic_load(&last_verification) < 0) {
			if (end_asked)
				atomic_store(&last_verification, atomic_load(&verify_wanted) + 1);
			atomic_fetch_add(&verify_wanted, 1);
			verify_asked = 0;
		}
		write_status();
		pthread_mutex_lock(&lock);
		left = workers_left;
		pthread_mutex_unlock(&lock);
	} while (left);
	begin_window();
	printf("{\"run\": \"%s\", \"device\": \"%s\", \"device_id\": %llu, \"windows\": %ld, \"sigpipes\": %ld, "
	       "\"verifications\": %ld, ", option.run, option.device, (unsigned long long)option.device_id,
	       window.number - 1, atomic_load(&sigpipes), atomic_load(&verify_done));
	figures_print(stdout, &total);
	printf("}\n");
	return total.io_errors || total.lost || total.stale || total.corrupt || total.unread;
}

static int open_device(void)
{
	struct stat found;
	uint64_t bytes = 0;

	fd = open(option.device, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &found)) {
		fprintf(stderr, "cannot open %s: %s\n", option.device, strerror(errno));
		return -1;
	}
	if (S_ISBLK(found.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes)) {
		fprintf(stderr, "cannot read the size of %s: %s\n", option.device, strerror(errno));
		return -1;
	}
	slot_count = option.slots_mib * 1048576 / option.block_bytes;
	if (slot_count * option.block_bytes > bytes) {
		fprintf(stderr, "%s has %llu bytes, --slots-mib %llu needs more: give a smaller number\n", option.device,
			(unsigned long long)bytes, (unsigned long long)option.slots_mib);
		return -1;
	}
	if (!option.device_id)
		option.device_id = found.st_rdev;
	return 0;
}

static int start_workers(void)
{
	double now = monotonic_s();

	slots = calloc(slot_count, sizeof(*slots));
	if (!slots)
		return -1;
	for (uint64_t i = 0; i < slot_count; i++)
		slots[i].number = i;
	owner.run = stamp_hash(option.run, strlen(option.run));
	owner.device = option.device_id;
	figures_begin(&window, 1, now);
	figures_begin(&total, 0, now);
	workers_left = option.depth;
	pthread_barrier_init(&barrier, NULL, option.depth);
	for (long i = 0; i < option.depth; i++) {
		struct worker *w = &workers[i];

		w->index = w->next_slot = w->seed = i;
		if (posix_memalign(&w->block, 4096, option.block_bytes)
		    || pthread_create(&w->thread, NULL, work, w))
			return -1;
	}
	return 0;
}

int main(int count, char **words)
{
	const int served[] = { SIGUSR1, SIGUSR2, SIGTERM, SIGINT };
	struct sigaction on_pipe = { .sa_handler = on_sigpipe, .sa_flags = SA_RESTART };
	sigset_t signals;

	if (options_read(&option, count, words))
		return 2;
	sigemptyset(&signals);
	for (size_t i = 0; i < sizeof(served) / sizeof(*served); i++)
		sigaddset(&signals, served[i]);
	sigprocmask(SIG_BLOCK, &signals, NULL);	/* before the workers start: they inherit it */
	sigaction(SIGPIPE, &on_pipe, NULL);
	if (open_device())
		return 2;
	if (start_workers()) {
		fprintf(stderr, "cannot start %ld threads with %llu slots: out of memory\n", option.depth,
			(unsigned long long)slot_count);
		return 2;
	}
	return serve_signals(&signals);
}
