// SPDX-License-Identifier: MIT
/*
 * Random accesses in steps of a page to memory that is first touched on one node, after the abench of the kmmscand
 * series as far as that is published (kmmscand.md section 8): there an iteration of a thread is as many accesses as
 * there are pages, with a pause after it. Ends when all iterations are done, or by SIGTERM.
 *
 * Prints a JSON line when the threads start, one a second, and one at the end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MAX_THREADS = 64, ASKED_AT_ONCE = 1024, NS = 1000000000 };
enum { HOT_SHARE = 10, HOT_ACCESSES = 9, MOVE_SHARE = 4 }; /* a tenth of the pages gets 9 of 10 accesses, moves by a quarter */

static const char usage[] =
	"usage: abench -s MIB [-t THREADS] [-i ITERATIONS, 0 for no end] [-d PAUSE_US] [-b ACCESSES before a pause]\n"
	"              [-n NODE, -1 for any] [-m uniform|zipf|moving] [-p SECONDS between moves, 0 for none]\n";

enum pattern { UNIFORM, ZIPF, MOVING, PATTERNS };
static const char *const pattern_names[PATTERNS] = { "uniform", "zipf", "moving" };

static struct {
	uint64_t pages, iterations, burst;
	int64_t pause_ns, move_ns;
	int threads, node;
	enum pattern pattern;
} options = { .threads = 2, .iterations = 512, .pause_ns = 1000, .node = 1 };

static uint8_t *memory;
static struct { _Alignas(64) atomic_uint_least64_t accesses; } done[MAX_THREADS];
static atomic_uint_least64_t first_hot; /* page */
static atomic_int running;
static atomic_bool is_stopped;

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * NS + time.tv_nsec;
}

static uint64_t random_number(uint64_t *state) /* xorshift64 */
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static uint64_t draw_page(uint64_t *state)
{
	uint64_t number = random_number(state) >> 8, rank;

	switch (options.pattern) {
	case ZIPF: /* exponent 1; a prime step scatters the ranks over the memory */
		rank = (uint64_t)exp((double)number / (1ull << 56) * log((double)options.pages + 1)) - 1;
		return rank * 2654435761u % options.pages;
	case MOVING:
		if (number % 10 < HOT_ACCESSES)
			return (first_hot + number / 10 % (options.pages / HOT_SHARE)) % options.pages;
		return number / 10 % options.pages;
	default:
		return number % options.pages;
	}
}

static void *work(void *argument)
{
	uint64_t number = (uintptr_t)argument, state = (number + 1) * 0x9e3779b97f4a7c15ull, made = 0;

	while (!is_stopped && (!options.iterations || made < options.iterations * options.pages)) {
		for (uint64_t i = 0; i < options.burst; i++)
			((volatile uint8_t *)memory)[draw_page(&state) * PAGE]++;
		made += options.burst;
		atomic_store_explicit(&done[number].accesses, made, memory_order_relaxed);
		for (int64_t until = now_ns() + options.pause_ns; options.pause_ns && now_ns() < until;)
			;
	}
	running--;
	return NULL;
}

/* Only the first touch is bound to a node: NUMA balancing does not look at memory that stays bound. */
static void place_memory(void)
{
	unsigned long nodes = options.node < 0 ? 0 : 1ul << options.node;

	memory = mmap(NULL, options.pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || madvise(memory, options.pages * PAGE, MADV_NOHUGEPAGE))
		goto failed;
	if (nodes && syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes)))
		goto failed;
	for (uint64_t page = 0; page < options.pages; page++)
		memory[page * PAGE] = 1;
	if (!nodes || !syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
		return;
failed:
	perror("abench: memory");
	exit(1);
}

/* Pages on node 0, and of the hot ones; -1 where the kernel does not tell. */
static void count_fast(int64_t *fast, int64_t *fast_hot)
{
	uint64_t hot = options.pages / HOT_SHARE, start = first_hot;
	void *pages[ASKED_AT_ONCE];
	int nodes[ASKED_AT_ONCE];

	*fast = *fast_hot = 0;
	for (uint64_t page = 0; page < options.pages; page += ASKED_AT_ONCE) {
		uint64_t count = options.pages - page < ASKED_AT_ONCE ? options.pages - page : ASKED_AT_ONCE;

		for (uint64_t i = 0; i < count; i++)
			pages[i] = memory + (page + i) * PAGE;
		if (syscall(SYS_move_pages, 0, count, pages, NULL, nodes, 0)) {
			*fast = *fast_hot = -1;
			return;
		}
		for (uint64_t i = 0; i < count; i++) {
			*fast += nodes[i] == 0;
			*fast_hot += nodes[i] == 0 && (page + i + options.pages - start) % options.pages < hot;
		}
	}
}

static void print_line(const char *event, int64_t since_ns)
{
	int64_t fast, fast_hot;
	uint64_t accesses = 0;

	for (int i = 0; i < options.threads; i++)
		accesses += done[i].accesses;
	count_fast(&fast, &fast_hot);
	printf("{\"event\": \"%s\", \"elapsed_s\": %.3f, \"threads\": %d, \"accesses\": %llu, \"pages\": %llu, \"fast_pages\": %lld",
	       event, (double)(now_ns() - since_ns) / NS, options.threads, (unsigned long long)accesses,
	       (unsigned long long)options.pages, (long long)fast);
	if (options.pattern == MOVING)
		printf(", \"hot_pages\": %llu, \"fast_hot_pages\": %lld",
		       (unsigned long long)options.pages / HOT_SHARE, (long long)fast_hot);
	puts("}");
	fflush(stdout);
}

static void stop(int signal)
{
	(void)signal;
	is_stopped = true;
}

static void read_options(int count, char **words)
{
	int option;

	while ((option = getopt(count, words, "s:t:i:d:b:n:m:p:")) != -1) {
		switch (option) {
		case 's': options.pages = strtoull(optarg, NULL, 10) * 256; break;
		case 't': options.threads = atoi(optarg); break;
		case 'i': options.iterations = strtoull(optarg, NULL, 10); break;
		case 'd': options.pause_ns = atoll(optarg) * 1000; break;
		case 'b': options.burst = strtoull(optarg, NULL, 10); break;
		case 'n': options.node = atoi(optarg); break;
		case 'p': options.move_ns = (int64_t)(atof(optarg) * NS); break;
		case 'm':
			while (options.pattern < PATTERNS && strcmp(optarg, pattern_names[options.pattern]))
				options.pattern++;
			break;
		default: options.pages = 0; goto wrong;
		}
	}
wrong:
	if (optind < count || !options.pages || options.pattern == PATTERNS || options.threads < 1 ||
	    options.threads > MAX_THREADS || options.node > 63 || options.pause_ns < 0) {
		fputs(usage, stderr);
		exit(2);
	}
	if (!options.burst)
		options.burst = options.pages;
}

int main(int count, char **words)
{
	const struct sigaction action = { .sa_handler = stop };
	int64_t start_ns, moved_ns, due_ns;

	read_options(count, words);
	place_memory();
	sigaction(SIGTERM, &action, NULL);
	running = options.threads;
	start_ns = moved_ns = due_ns = now_ns();
	for (uintptr_t number = 0; number < (uintptr_t)options.threads; number++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, work, (void *)number);
		if (errno) {
			perror("abench: thread");
			return 1;
		}
	}
	print_line("start", start_ns);
	while (running) {
		struct timespec step = { .tv_nsec = 10 * 1000 * 1000 };

		nanosleep(&step, NULL);
		if (options.move_ns && now_ns() - moved_ns >= options.move_ns) {
			first_hot = (first_hot + options.pages / MOVE_SHARE) % options.pages;
			moved_ns += options.move_ns;
		}
		if (now_ns() - due_ns >= NS) {
			due_ns += NS;
			print_line("second", start_ns);
		}
	}
	print_line("end", start_ns);
	return 0;
}
