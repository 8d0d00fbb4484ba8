/* guest_agent PORT: process 1 of the guest after /init has set it up; serves requests from a virtio-serial port.
 *
 * A request is one line, "OP REQUEST [ARGUMENTS]"; its answer is one line that begins with REQUEST. Texts travel in base64.
 *   PING  r              -> r PONG UPTIME_S EPOCH_US
 *   CLOCK r EPOCH_US     -> r OK                 sets the wall clock
 *   RUN   r JOB TEXT     -> r OK                 starts `sh -c TEXT` in a process group of its own
 *   POLL  r JOB          -> r RUNNING | r DONE CODE TEXT   CODE as a shell would give it, TEXT = standard output and error
 *   FREE  r JOB          -> r OK                 forgets a job that is done
 *   KILL  r JOB SIGNAL   -> r OK                 to the job's process group
 *   READ  r PATH         -> r DONE 0 TEXT        a file's content
 *   OFF   r              -> r OK                 powers off
 *   anything else        -> r ERROR TEXT
 * The host may disconnect at any time, in the middle of a line too: an answer nobody takes is dropped, and an unfinished
 * request line is ended by the empty line that the next client begins with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_JOBS = 256, LINE_BYTES = 1 << 18, MAX_TEXT = 1 << 20, SEND_MS = 1000, IDLE_S = 1 };

struct job {
	char name[64];		/* empty = free */
	pid_t pid;
	int done, code;
};

static struct job jobs[MAX_JOBS];
static int port;
static sigset_t wake_mask;	/* while waiting: SIGCHLD and SIGIO may interrupt */

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t encode(const unsigned char *in, size_t bytes, char *out)
{
	char *start = out;

	for (size_t i = 0; i < bytes; i += 3) {
		unsigned group = in[i] << 16 | (i + 1 < bytes ? in[i + 1] << 8 : 0) | (i + 2 < bytes ? in[i + 2] : 0);

		*out++ = DIGITS[group >> 18];
		*out++ = DIGITS[group >> 12 & 63];
		*out++ = i + 1 < bytes ? DIGITS[group >> 6 & 63] : '=';
		*out++ = i + 2 < bytes ? DIGITS[group & 63] : '=';
	}
	*out = 0;
	return out - start;
}

/* In place; ends the text with a zero byte. */
static void decode(char *text)
{
	char *out = text;
	unsigned bits = 0, group = 0;

	for (const char *in = text; *in && *in != '='; in++) {
		const char *digit = strchr(DIGITS, *in);

		group = group << 6 | (digit ? digit - DIGITS : 0);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			*out++ = group >> bits;
		}
	}
	*out = 0;
}

/* The driver learns that a client came by another way than the client's bytes, and perhaps later: until then it takes no
 * answer. A client that has really gone costs SEND_MS. */
static void send_line(const char *line, size_t bytes)
{
	struct pollfd p = { .fd = port, .events = POLLOUT };

	for (int waited_ms = 0; bytes && waited_ms < SEND_MS; ) {
		ssize_t sent = write(port, line, bytes);

		if (sent > 0) {
			line += sent;
			bytes -= sent;
			waited_ms = 0;
			continue;
		}
		poll(&p, 1, 1);
		if (p.revents & POLLHUP)
			usleep(1000);
		waited_ms++;
	}
}

static void answer(const char *request, const char *words)
{
	char line[512];
	int bytes = snprintf(line, sizeof(line), "%s %s\n", request, words);

	send_line(line, bytes);
}

static void answer_error(const char *request, const char *what)
{
	char encoded[256], line[512];

	encode((const unsigned char *)what, strnlen(what, 150), encoded);
	snprintf(line, sizeof(line), "ERROR %s", encoded);
	answer(request, line);
}

/* DONE CODE and the content of a file; of a longer one the end, where commands say what went wrong. */
static void answer_file(const char *request, int code, const char *path)
{
	static unsigned char text[MAX_TEXT];
	static char line[MAX_TEXT / 3 * 4 + 256];
	size_t bytes = 0;
	ssize_t got;
	int head, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		answer_error(request, strerror(errno));
		return;
	}
	if (lseek(fd, 0, SEEK_END) > MAX_TEXT)
		lseek(fd, -MAX_TEXT, SEEK_END);
	else
		lseek(fd, 0, SEEK_SET);
	while (bytes < MAX_TEXT && (got = read(fd, text + bytes, MAX_TEXT - bytes)) > 0)
		bytes += got;
	close(fd);
	head = snprintf(line, 200, "%s DONE %d ", request, code);
	head += encode(text, bytes, line + head);
	line[head] = '\n';
	send_line(line, head + 1);
}

static struct job *find_job(const char *name)
{
	for (int i = 0; i < MAX_JOBS; i++)
		if (!strcmp(jobs[i].name, name))
			return &jobs[i];
	return NULL;
}

static void output_path(char *path, size_t bytes, const char *name)
{
	snprintf(path, bytes, "/jobs/%s.out", name);
}

static void run_child(const char *output, const char *script)
{
	sigset_t none;
	int fd;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	fd = open("/dev/null", O_RDONLY);
	dup2(fd, 0);
	fd = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	close(fd);
	execl("/bin/sh", "sh", "-c", script, NULL);
	_exit(127);
}

static void run(const char *request, const char *name, char *script)
{
	struct job *job = find_job("");
	char output[128];

	if (find_job(name) || !job || strlen(name) >= sizeof(job->name)) {
		answer_error(request, "this job name is in use or too long, or too many jobs were not waited for");
		return;
	}
	decode(script);
	output_path(output, sizeof(output), name);
	job->pid = fork();
	if (job->pid == 0)
		run_child(output, script);
	if (job->pid < 0) {
		answer_error(request, strerror(errno));
		return;
	}
	strcpy(job->name, name);
	job->done = 0;
	answer(request, "OK");
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (int i = 0; i < MAX_JOBS; i++)
			if (jobs[i].name[0] && jobs[i].pid == pid) {
				jobs[i].done = 1;
				jobs[i].code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			}
}

static void ping(const char *request)
{
	struct timespec up, wall;
	char words[128];

	clock_gettime(CLOCK_BOOTTIME, &up);
	clock_gettime(CLOCK_REALTIME, &wall);
	snprintf(words, sizeof(words), "PONG %.3f %lld", up.tv_sec + up.tv_nsec / 1e9,
		 wall.tv_sec * 1000000LL + wall.tv_nsec / 1000);
	answer(request, words);
}

static void set_clock(const char *request, const char *epoch_us)
{
	long long us = atoll(epoch_us);
	struct timespec wall = { us / 1000000, us % 1000000 * 1000 };

	if (clock_settime(CLOCK_REALTIME, &wall))
		answer_error(request, strerror(errno));
	else
		answer(request, "OK");
}

static void serve_job(const char *op, const char *request, const char *name, const char *argument)
{
	struct job *job = find_job(name);
	char output[128];

	output_path(output, sizeof(output), name);
	if (!*name || !job) {
		answer_error(request, "no such job");
	} else if (!strcmp(op, "POLL")) {
		if (job->done)
			answer_file(request, job->code, output);
		else
			answer(request, "RUNNING");
	} else if (!strcmp(op, "FREE") && job->done) {
		unlink(output);
		job->name[0] = 0;
		answer(request, "OK");
	} else if (!strcmp(op, "KILL") && !job->done) {
		kill(-job->pid, atoi(argument));
		answer(request, "OK");
	} else {
		answer_error(request, job->done ? "the job is done" : "the job still runs");
	}
}

static void serve(char *line)
{
	char *rest = line, *words[4] = { "", "", "", "" }, *word;

	for (int i = 0; i < 4 && (word = strsep(&rest, " ")); i++)
		words[i] = word;
	if (!*words[1])
		return;	/* an empty line, or the remains of one that was cut off */
	reap();
	if (!strcmp(words[0], "PING")) {
		ping(words[1]);
	} else if (!strcmp(words[0], "CLOCK")) {
		set_clock(words[1], words[2]);
	} else if (!strcmp(words[0], "RUN")) {
		run(words[1], words[2], words[3]);
	} else if (!strcmp(words[0], "READ")) {
		decode(words[2]);
		answer_file(words[1], 0, words[2]);
	} else if (!strcmp(words[0], "OFF")) {
		answer(words[1], "OK");
		usleep(50000);
		reboot(RB_POWER_OFF);
	} else {
		serve_job(words[0], words[1], words[2], words[3]);
	}
}

/* Without a client reading gives 0 and poll() would return at once: then wait for the signal that the driver sends when a
 * client comes. */
static void wait_for_input(int has_client)
{
	struct pollfd p = { .fd = port, .events = POLLIN };
	const struct timespec idle = { IDLE_S, 0 };

	ppoll(&p, has_client ? 1 : 0, &idle, &wake_mask);
	reap();
}

static void on_wake(int signal_number)
{
	(void)signal_number;
}

static void open_port(const char *path)
{
	struct sigaction wake = { .sa_handler = on_wake };
	sigset_t blocked;

	port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (port < 0) {
		perror(path);
		exit(1);
	}
	sigaction(SIGCHLD, &wake, NULL);
	sigaction(SIGIO, &wake, NULL);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGIO);
	sigprocmask(SIG_BLOCK, &blocked, &wake_mask);
	fcntl(port, F_SETOWN, getpid());
	fcntl(port, F_SETFL, O_NONBLOCK | O_ASYNC);
}

int main(int count, char **words)
{
	static char line[LINE_BYTES];
	size_t used = 0;
	ssize_t got;
	char *end;

	if (count != 2)
		return 2;
	open_port(words[1]);
	for (;;) {
		got = read(port, line + used, sizeof(line) - 1 - used);
		if (got <= 0) {
			wait_for_input(got < 0);
			continue;
		}
		used += got;
		while ((end = memchr(line, '\n', used))) {
			*end = 0;
			serve(line);
			used -= end + 1 - line;
			memmove(line, end + 1, used);
		}
		if (used == sizeof(line) - 1)
			used = 0;	/* no request is that long */
	}
}
