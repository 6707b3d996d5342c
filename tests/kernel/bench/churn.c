// SPDX-License-Identifier: MIT
/*
 * Checks that memory keeps what is written to it while a daemon moves its pages and other threads disturb both.
 *
 * All threads share a heap that is first touched on one node. Checkers visit its pages at random, most often a hot part
 * of it: a visit compares all words of the page that are the thread's own with what it wrote there last, and writes the
 * next version. Every page belongs to all checkers, one line of a cache in turn, so that a page that is copied while
 * one of them writes, or mapped where another belongs, differs from what was written. One thread sends pages that have
 * come to another node back, so that there is always something to promote. Each disturbance named has a thread of its
 * own; all go on until every one has done its rounds, or until SIGTERM.
 *
 * Prints a JSON line when the heap is placed and one at the end; exits with 1 if anything was not as written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { PAGE = 4096, WORDS = PAGE / 8, LINES = 64, WORDS_OF_LINE = WORDS / LINES };
enum { HUGE = 512, HUGE_BYTES = HUGE * PAGE }; /* pages of a huge page */
enum { MAX_RANGE = 256, MAX_LOCKED = 16, MAX_SENT = 16 }; /* pages that are disturbed, locked, sent back at once */
enum { MAX_USES = 12, MAX_PATIENCE = 200, ALONE_PAUSES = 10 }; /* pauses in which memory is used, and before a fork */
enum { MAX_THREADS = 8, MAX_COMPLAINTS = 5, NS_PER_MS = 1000000 };
enum { HOT_SHARE = 8, COLD_VISITS = 50 }; /* an eighth of the pages is hot; one of so many visits is to any page */

static const char usage[] =
	"usage: churn -s MIB [-t THREADS] [-n NODE, -1 for any] [-r ROUNDS of each disturbance, 0 for no end]\n"
	"             [-p PAUSE_MS] [-w, waits for standard input to end before it begins]\n"
	"             [-x check or a DISTURBANCE, whose memory is to be spoiled once] [DISTURBANCE...]\n"
	"disturbances: back (always) fork map discard protect move huge swap lock\n";

struct area {
	uint64_t *words;
	uint64_t pages;
	uint64_t identity; /* of its content, or a page of what was mapped here before would pass for one of this */
	uint32_t version; /* of all its pages, where one thread has it for itself */
};

/* A thread that disturbs. */
struct disturber {
	const struct disturbance *kind;
	pthread_t thread;
	uint64_t random;
	struct area area; /* of its own, between rounds */
	atomic_ulong rounds, moved, effects;
};

struct disturbance {
	const char *name;
	void (*round)(struct disturber *disturber);
};

static struct {
	uint64_t pages, rounds;
	int64_t pause_ms;
	int threads, node;
	bool is_waiting;
	const char *spoiled;
} options = { .threads = 2, .node = 1, .rounds = 10, .pause_ms = 10 };

static struct area heap;
static atomic_uint_least32_t *versions[MAX_THREADS]; /* of each page: what a checker has written to all its lines */
static atomic_ulong checks, errors;
static atomic_int num_busy; /* disturbers that have rounds to do */
static atomic_bool is_stopped, is_spoiled;

static void fail(const char *what)
{
	perror(what);
	_exit(3);
}

static uint64_t random_number(uint64_t *state) /* xorshift64 */
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	return *state ^= *state << 17;
}

static uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return (random_number(state) >> 11) % limit;
}

static void pause_ms(int64_t ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS };

	nanosleep(&time, NULL);
}

/* Counts an error. Async-signal safe as far as glibc's dprintf is: a child of a process with threads calls it too. */
__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
	va_list arguments;

	if (atomic_fetch_add(&errors, 1) >= MAX_COMPLAINTS)
		return;
	va_start(arguments, format);
	vdprintf(STDERR_FILENO, format, arguments);
	va_end(arguments);
}

/* What a page holds */

/* The word that stands for a version in a line of a page, another one for each: 0 is memory nobody has written to. */
static uint64_t word_of(const struct area *area, uint64_t page, unsigned int line, uint32_t version)
{
	uint64_t mixed = area->identity << 40 ^ page << 6 ^ line;

	mixed = mixed * 0x9e3779b97f4a7c15ull ^ version * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ mixed >> 29) * 0x94d049bb133111ebull;
	return version ? (mixed & ~(uint64_t)UINT32_MAX) | version : 0;
}

static volatile uint64_t *place_of(const struct area *area, uint64_t page, unsigned int line)
{
	return &area->words[page * WORDS + line * WORDS_OF_LINE + (page + line) % WORDS_OF_LINE];
}

static void write_page(const struct area *area, uint64_t page, unsigned int first, unsigned int step, uint32_t version)
{
	for (unsigned int line = first; line < LINES; line += step)
		*place_of(area, page, line) = word_of(area, page, line, version);
}

static void check_page(const char *where, const struct area *area, uint64_t page, unsigned int first, unsigned int step,
		       uint32_t version)
{
	for (unsigned int line = first; line < LINES; line += step) {
		uint64_t found = *place_of(area, page, line), expected = word_of(area, page, line, version);

		if (found != expected) {
			complain("churn: %s: page %ju of %ju line %u: %016jx, not %016jx\n", where, (uintmax_t)page,
				 (uintmax_t)area->pages, line, (uintmax_t)found, (uintmax_t)expected);
			return;
		}
	}
}

/*
 * A page of the heap that nobody can write to: each checker was at most in the middle of a visit, which writes one line
 * after the other. No version may be older than the least, where these are given.
 */
static void check_still_page(const char *where, uint64_t page, uint32_t *const *least)
{
	for (int thread = 0; thread < options.threads; thread++) {
		uint32_t newest = (uint32_t)*place_of(&heap, page, thread), before = newest;

		for (int line = thread; line < LINES; line += options.threads) {
			uint64_t found = *place_of(&heap, page, line);
			uint32_t version = (uint32_t)found;

			if (found != word_of(&heap, page, line, version) || version > before || newest - version > 1 ||
			    (least && version < least[thread][page])) {
				complain("churn: %s: page %ju line %d: %016jx is no version from %u on, newest %u\n",
					 where, (uintmax_t)page, line, (uintmax_t)found,
					 least ? least[thread][page] : 0, newest);
				return;
			}
			before = version;
		}
	}
}

/* Proves that a check can find an error: flips a bit of one byte, once, if this is what the options ask for. */
static void spoil(const char *where, const struct area *area, uint64_t page, unsigned int line)
{
	if (options.spoiled && !strcmp(options.spoiled, where) && !atomic_exchange(&is_spoiled, true))
		((volatile uint8_t *)place_of(area, page, line))[page % 8] ^= 1;
}

/* Memory and its nodes */

static void *address_of(const struct area *area, uint64_t page)
{
	return area->words + page * WORDS;
}

/* Only first touches are bound to a node: a daemon leaves alone what stays bound. */
static void bind_thread(bool is_bound)
{
	unsigned long nodes = is_bound ? 1ul << (options.node & 63) : 0;
	int mode = is_bound ? MPOL_BIND : MPOL_DEFAULT;

	if (options.node >= 0 && syscall(SYS_set_mempolicy, mode, is_bound ? &nodes : NULL, 8 * sizeof(nodes)))
		fail("churn: set_mempolicy");
}

static void advise(const struct area *area, uint64_t first, uint64_t pages, int advice)
{
	if (madvise(address_of(area, first), pages * PAGE, advice))
		fail("churn: madvise");
}

/* What depends on what others do to the same pages. */
static bool try_to_advise(const struct area *area, uint64_t first, uint64_t pages, int advice)
{
	return !madvise(address_of(area, first), pages * PAGE, advice);
}

static struct area map_area(uint64_t pages, void *hint, int advice)
{
	static atomic_ulong num_areas;
	struct area area = { .pages = pages, .identity = ++num_areas };

	area.words = mmap(hint, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area.words == MAP_FAILED)
		fail("churn: mmap");
	if (advice)
		advise(&area, 0, pages, advice);
	return area;
}

static void unmap(struct area *area, uint64_t first, uint64_t pages)
{
	if (pages && munmap(address_of(area, first), pages * PAGE))
		fail("churn: munmap");
}

/* Begins where a huge page may. */
static struct area map_aligned(uint64_t pages, int advice)
{
	struct area whole = map_area(pages + HUGE, NULL, 0), area = whole;
	uint64_t before = -(uintptr_t)whole.words % HUGE_BYTES / PAGE;

	area.words = address_of(&whole, before);
	area.pages = pages;
	unmap(&whole, 0, before);
	unmap(&whole, before + pages, HUGE - before);
	advise(&area, 0, pages, advice);
	return area;
}

static void check_area(const char *where, const struct area *area)
{
	for (uint64_t page = 0; page < area->pages; page++)
		check_page(where, area, page, 0, 1, area->version);
}

static void write_area(struct area *area)
{
	area->version++;
	for (uint64_t page = 0; page < area->pages; page++)
		write_page(area, page, 0, 1, area->version);
}

/* Pages of a range that are on another node than they were placed on, as far as they were placed. */
static uint64_t find_moved(const struct area *area, uint64_t first, uint64_t pages, void **moved)
{
	void *addresses[MAX_RANGE];
	int nodes[MAX_RANGE];
	uint64_t count = 0;

	for (uint64_t i = 0; i < pages; i++)
		addresses[i] = address_of(area, first + i);
	if (options.node < 0 || syscall(SYS_move_pages, 0, pages, addresses, NULL, nodes, 0))
		return 0;
	for (uint64_t i = 0; i < pages; i++)
		if (nodes[i] >= 0 && nodes[i] != options.node)
			moved[count++] = addresses[i];
	return count;
}

static uint64_t count_moved(const struct area *area)
{
	uint64_t count = 0;
	void *moved[MAX_RANGE];

	for (uint64_t page = 0; page < area->pages; page += MAX_RANGE)
		count += find_moved(area, page, area->pages - page < MAX_RANGE ? area->pages - page : MAX_RANGE, moved);
	return count;
}

/* Memory of a disturber's own */

static void place(struct area *area)
{
	bind_thread(true);
	write_area(area);
	bind_thread(false);
}

static void use_once(const char *where, struct area *area)
{
	pause_ms(options.pause_ms);
	check_area(where, area);
	write_area(area);
	spoil(where, area, area->pages / 2, area->version % LINES);
}

/* Long enough, at times, for a daemon to find the pages hot and move them; it may be in the middle of that. */
static void use(struct disturber *disturber, struct area *area)
{
	for (uint64_t left = 1 + random_below(&disturber->random, MAX_USES); left && !is_stopped; left--)
		use_once(disturber->kind->name, area);
	disturber->moved += count_moved(area);
}

/* Every other round goes on until pages were moved, in reason. */
static void use_until_moved(struct disturber *disturber, struct area *area)
{
	bool is_patient = disturber->rounds % 2 && options.node >= 0;

	for (int left = MAX_PATIENCE; is_patient && left && !is_stopped && !count_moved(area); left--)
		use_once(disturber->kind->name, area);
	use(disturber, area);
}

/* Disturbances: one round of each. An effect is what shows that there was something to disturb. */

/* A range of the heap, every other time of its hot part. Returns its first page. */
static uint64_t draw_range(struct disturber *disturber, uint64_t *pages)
{
	uint64_t most = random_number(&disturber->random) & 64 ? heap.pages : heap.pages / HOT_SHARE;

	*pages = 1 + random_below(&disturber->random, MAX_RANGE < most ? MAX_RANGE : most);
	return random_below(&disturber->random, most - *pages + 1);
}

/* Sends some pages back to where they were placed: not all, or a daemon gets to no others. Effects: pages. */
static void send_back(struct disturber *disturber)
{
	uint64_t pages, first = draw_range(disturber, &pages), count;
	void *moved[MAX_RANGE];
	int nodes[MAX_RANGE], status[MAX_RANGE];

	count = find_moved(&heap, first, pages, moved);
	if (count > MAX_SENT)
		count = MAX_SENT;
	for (uint64_t i = 0; i < count; i++)
		nodes[i] = options.node;
	if (count && syscall(SYS_move_pages, 0, count, moved, nodes, status, MPOL_MF_MOVE) >= 0)
		for (uint64_t i = 0; i < count; i++)
			disturber->effects += status[i] == options.node;
}

static void check_child(const struct disturber *disturber, uint32_t *const *least)
{
	const char *where = disturber->kind->name;
	uint32_t own = UINT32_MAX; /* no checker of the parent ever gets there */

	if (mprotect(heap.words, heap.pages * PAGE, PROT_READ | PROT_WRITE))
		fail("churn: mprotect in a child");
	spoil(where, &heap, heap.pages / 2, 0);
	for (uint64_t page = 0; page < heap.pages; page++) {
		check_still_page(where, page, least);
		if (page % 3 == 0)
			write_page(&heap, page, 0, 1, own);
	}
	pause_ms(options.pause_ms);
	for (uint64_t page = 0; page < heap.pages; page++)
		if (page % 3 == 0)
			check_page(where, &heap, page, 0, 1, own);
		else
			check_still_page(where, page, least);
	_exit(errors > 0);
}

/* A child finds the heap as it was, and writes what the parent never sees. Effects: children. */
static void fork_child(struct disturber *disturber)
{
	uint32_t *least[MAX_THREADS];
	int status;
	pid_t child;

	pause_ms(ALONE_PAUSES * options.pause_ms); /* a daemon leaves alone what a child shares */
	for (int thread = 0; thread < options.threads; thread++) {
		least[thread] = malloc(heap.pages * sizeof(**least));
		if (!least[thread])
			fail("churn: malloc");
		for (uint64_t page = 0; page < heap.pages; page++)
			least[thread][page] = versions[thread][page];
	}
	child = fork();
	if (child < 0)
		fail("churn: fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		errors = 0;
		check_child(disturber, least);
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		complain("churn: fork: a child has ended with status %x\n", status);
	disturber->effects++;
	for (int thread = 0; thread < options.threads; thread++)
		free(least[thread]);
}

/* Maps memory, every other time where the kernel likes, uses it, unmaps it in two parts. Effects: pages. */
static void map_and_unmap(struct disturber *disturber)
{
	uint64_t pages = 1 + random_below(&disturber->random, HUGE), first;
	void *hint = (void *)(0x100000000000ull + random_below(&disturber->random, 64 * HUGE) * PAGE);
	struct area area = map_area(pages, disturber->rounds % 2 ? hint : NULL, MADV_NOHUGEPAGE);

	disturber->effects += pages;
	if (pages % 2)
		check_area("map", &area); /* of zeros, which are one page until they are written to */
	place(&area);
	use_until_moved(disturber, &area);
	first = random_below(&disturber->random, pages + 1);
	unmap(&area, first, pages - first);
	area.pages = first;
	if (area.pages)
		use(disturber, &area);
	unmap(&area, 0, area.pages);
}

/* A page that may be freed at any time: as written, or zeros from some line on. Returns whether it was freed. */
static bool check_freed_page(const struct area *area, uint64_t page)
{
	bool is_freed = false;

	for (unsigned int line = 0; line < LINES; line++) {
		uint64_t found = *place_of(area, page, line);

		if (found ? is_freed || found != word_of(area, page, line, area->version) : false)
			complain("churn: discard: page %ju line %u: %016jx in a page that was freed\n",
				 (uintmax_t)page, line, (uintmax_t)found);
		is_freed |= !found;
	}
	return is_freed;
}

/*
 * Discards pages, which then are zeros, and frees others lazily: written to again, also these hold what is written
 * whatever reclaim does. Effects: pages that have lost their content.
 */
static void discard(struct disturber *disturber)
{
	struct area *area = &disturber->area, tail;
	uint64_t half;

	if (!area->pages) {
		*area = map_area(HUGE, NULL, MADV_NOHUGEPAGE);
		place(area);
	}
	use_until_moved(disturber, area);

	half = 1 + random_below(&disturber->random, area->pages - 1);
	tail = (struct area){ .words = address_of(area, half), .pages = area->pages - half };
	advise(&tail, 0, tail.pages, MADV_DONTNEED);
	spoil("discard", &tail, 0, 0);
	check_area("discard", &tail);
	disturber->effects += tail.pages;
	for (uint64_t page = 0; page < half; page++)
		check_page("discard", area, page, 0, 1, area->version);
	bind_thread(true);
	for (uint64_t page = half; page < area->pages; page++)
		write_page(area, page, 0, 1, area->version);
	bind_thread(false);
	use(disturber, area);

	advise(area, 0, area->pages, MADV_FREE);
	for (uint64_t page = 0; page < area->pages; page += 2)
		write_page(area, page, 0, 1, area->version + 1);
	pause_ms(options.pause_ms);
	advise(area, 0, area->pages, MADV_PAGEOUT);
	for (uint64_t page = 0; page < area->pages; page++)
		if (page % 2)
			disturber->effects += check_freed_page(area, page);
		else
			check_page("discard", area, page, 0, 1, area->version + 1);
	area->version++;
	bind_thread(true);
	for (uint64_t page = 1; page < area->pages; page += 2)
		write_page(area, page, 0, 1, area->version);
	bind_thread(false);
}

/* A checker that meets memory that is protected for the moment tries again. */
static void wait_for_access(int number, siginfo_t *info, void *context)
{
	uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)heap.words;

	(void)context;
	if (info->si_code == SEGV_ACCERR && offset < heap.pages * PAGE)
		sched_yield();
	else
		signal(number, SIG_DFL); /* the access comes again and ends the process */
}

/* Takes the right to write, or all rights, from pages in use: nothing changes in them. Effects: writes refused. */
static void protect(struct disturber *disturber)
{
	uint64_t pages, first = draw_range(disturber, &pages), page = first + random_below(&disturber->random, pages);
	bool is_readable = disturber->rounds % 2;
	int zeros = open("/dev/zero", O_RDONLY);

	if (zeros < 0)
		fail("churn: /dev/zero");
	if (mprotect(address_of(&heap, first), pages * PAGE, is_readable ? PROT_READ : PROT_NONE))
		fail("churn: mprotect");
	for (uint64_t i = 0; is_readable && i < pages; i++)
		check_still_page("protect", first + i, NULL);
	pause_ms(options.pause_ms);
	/* The kernel writes for a process only where this may itself. */
	if (read(zeros, address_of(&heap, page), 8) >= 0 || errno != EFAULT)
		complain("churn: protect: page %ju can be written to\n", (uintmax_t)page);
	else
		disturber->effects++;
	for (uint64_t i = 0; is_readable && i < pages; i++)
		check_still_page("protect", first + i, NULL);
	if (mprotect(address_of(&heap, first), pages * PAGE, PROT_READ | PROT_WRITE))
		fail("churn: mprotect");
	spoil("protect", &heap, page, 0);
	close(zeros);
}

/* Addresses that are taken, so that nobody else is there, some pages after those where a huge page may begin. */
static void *reserve(uint64_t pages, uint64_t shift)
{
	struct area area = map_aligned(pages + HUGE, MADV_NOHUGEPAGE);

	unmap(&area, 0, shift);
	unmap(&area, shift + pages, HUGE - shift);
	return address_of(&area, shift);
}

/* Moves memory to other addresses, once as whole page tables and once page by page. Effects: pages moved. */
static void move(struct disturber *disturber)
{
	struct area *area = &disturber->area;

	if (!area->pages) {
		*area = map_aligned(HUGE, MADV_NOHUGEPAGE);
		place(area);
	}
	use_until_moved(disturber, area);
	for (unsigned int time = 0; time < 2; time++) {
		uint64_t size = area->pages * PAGE;
		void *to = reserve(area->pages, time ? 1 + random_below(&disturber->random, HUGE - 1) : 0);

		if (mremap(area->words, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			fail("churn: mremap");
		area->words = to;
		disturber->effects += area->pages;
		use(disturber, area);
	}
}

/* Has huge pages, cuts the last one in one of three ways, and collapses the rest. */
static void cut_huge_pages(struct disturber *disturber)
{
	struct area area = map_aligned(2 * HUGE, MADV_HUGEPAGE), tail;
	uint64_t pages = 1 + random_below(&disturber->random, HUGE - 1);

	place(&area);
	use(disturber, &area);
	area.pages -= pages;
	tail = (struct area){ .words = address_of(&area, area.pages), .pages = pages };
	switch (disturber->rounds % 3) {
	case 0:
		unmap(&tail, 0, pages);
		tail.pages = 0;
		break;
	case 1:
		advise(&tail, 0, pages, MADV_DONTNEED);
		check_area("huge", &tail);
		break;
	default:
		advise(&tail, 0, pages, MADV_NOHUGEPAGE);
	}
	use(disturber, &area);
	disturber->effects += try_to_advise(&area, 0, HUGE, MADV_COLLAPSE);
	check_area("huge", &area);
	unmap(&area, 0, area.pages);
	unmap(&tail, 0, tail.pages);
}

/* The same, and makes a huge page of pages in use, which becomes small ones again. Effects: huge pages made. */
static void use_huge_pages(struct disturber *disturber)
{
	uint64_t first = random_below(&disturber->random, heap.pages / HUGE) * HUGE;

	cut_huge_pages(disturber);
	if (try_to_advise(&heap, first, HUGE, MADV_HUGEPAGE) && try_to_advise(&heap, first, HUGE, MADV_COLLAPSE))
		disturber->effects++;
	pause_ms(options.pause_ms);
	/* Cold is a part of it: it is split. */
	try_to_advise(&heap, first, 1 + random_below(&disturber->random, HUGE - 1), MADV_COLD);
	try_to_advise(&heap, first, HUGE, MADV_NOHUGEPAGE);
}

/* Has pages in use swapped out, and others deemed cold. Effects: pages that are not in memory a while after. */
static void swap_out(struct disturber *disturber)
{
	uint64_t pages, first = draw_range(disturber, &pages);
	unsigned char *is_resident = calloc(heap.pages, 1);

	try_to_advise(&heap, first, pages, MADV_PAGEOUT);
	first = draw_range(disturber, &pages);
	try_to_advise(&heap, first, pages, MADV_COLD);
	pause_ms(options.pause_ms);
	if (!is_resident || mincore(heap.words, heap.pages * PAGE, is_resident))
		fail("churn: mincore");
	for (uint64_t page = 0; page < heap.pages; page++)
		disturber->effects += !(is_resident[page] & 1);
	free(is_resident);
}

/* Locks pages in use into memory for a while; no more than any user may. Effects: locks. */
static void lock(struct disturber *disturber)
{
	uint64_t pages, first = draw_range(disturber, &pages);

	if (pages > MAX_LOCKED)
		pages = MAX_LOCKED;
	disturber->effects += !mlock(address_of(&heap, first), pages * PAGE);
	pause_ms(options.pause_ms);
	if (munlock(address_of(&heap, first), pages * PAGE))
		fail("churn: munlock");
}

static const struct disturbance disturbances[] = {
	{ "back", send_back },	 { "fork", fork_child }, { "map", map_and_unmap },   { "discard", discard },
	{ "protect", protect },	 { "move", move },	 { "huge", use_huge_pages }, { "swap", swap_out },
	{ "lock", lock },
};

enum { DISTURBANCES = sizeof(disturbances) / sizeof(*disturbances) };

static struct disturber disturbers[DISTURBANCES];

/* Threads */

static void *disturb(void *argument)
{
	struct disturber *disturber = argument;

	while (!is_stopped) {
		disturber->kind->round(disturber);
		if (++disturber->rounds == options.rounds && --num_busy == 0)
			is_stopped = true;
		pause_ms(options.pause_ms);
	}
	return NULL;
}

static void *check(void *argument)
{
	uint64_t thread = (uintptr_t)argument, state = (thread + 1) * 0x9e3779b97f4a7c15ull;
	unsigned int step = options.threads;

	while (!is_stopped) {
		bool is_hot = random_below(&state, COLD_VISITS) > 0;
		uint64_t page = random_below(&state, is_hot ? heap.pages / HOT_SHARE : heap.pages);
		uint32_t version = versions[thread][page];

		check_page("check", &heap, page, thread, step, version);
		write_page(&heap, page, thread, step, version + 1);
		versions[thread][page] = version + 1;
		spoil("check", &heap, page, thread);
		atomic_fetch_add_explicit(&checks, 1, memory_order_relaxed);
	}
	return NULL;
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
	errno = pthread_create(thread, NULL, run, argument);
	if (errno)
		fail("churn: thread");
}

static void place_heap(void)
{
	heap = map_aligned(options.pages, MADV_NOHUGEPAGE);
	place(&heap);
	for (int thread = 0; thread < options.threads; thread++) {
		versions[thread] = calloc(heap.pages, sizeof(**versions));
		if (!versions[thread])
			fail("churn: calloc");
		for (uint64_t page = 0; page < heap.pages; page++)
			versions[thread][page] = heap.version;
	}
}

static void check_heap(void)
{
	for (int thread = 0; thread < options.threads; thread++)
		for (uint64_t page = 0; page < heap.pages; page++)
			check_page("end", &heap, page, thread, options.threads, versions[thread][page]);
}

static void print_result(void)
{
	printf("{\"event\": \"end\", \"errors\": %lu, \"pages\": %ju, \"checks\": %lu, \"disturbances\": {", errors,
	       (uintmax_t)heap.pages, checks);
	for (unsigned int i = 0; i < DISTURBANCES; i++) {
		struct disturber *disturber = &disturbers[i];

		if (disturber->kind)
			printf("%s\"%s\": {\"rounds\": %lu, \"effects\": %lu, \"moved\": %lu}", i ? ", " : "",
			       disturber->kind->name, disturber->rounds, disturber->effects, disturber->moved);
	}
	puts("}}");
}

static void stop(int number)
{
	(void)number;
	is_stopped = true;
}

static int find_disturbance(const char *name)
{
	for (unsigned int i = 0; i < DISTURBANCES; i++)
		if (!strcmp(name, disturbances[i].name))
			return i;
	return -1;
}

static void choose(unsigned int disturbance)
{
	struct disturber *disturber = &disturbers[disturbance];

	num_busy += !disturber->kind;
	disturber->kind = &disturbances[disturbance];
	disturber->random = (disturbance + 1) * 0xd1342543de82ef95ull;
}

static void read_options(int count, char **words)
{
	bool is_wrong = false;
	int option;

	while ((option = getopt(count, words, "s:t:n:r:p:x:w")) != -1) {
		switch (option) {
		case 's': options.pages = strtoull(optarg, NULL, 10) * 256; break;
		case 't': options.threads = atoi(optarg); break;
		case 'n': options.node = atoi(optarg); break;
		case 'r': options.rounds = strtoull(optarg, NULL, 10); break;
		case 'p': options.pause_ms = atoll(optarg); break;
		case 'x': options.spoiled = optarg; break;
		case 'w': options.is_waiting = true; break;
		default: is_wrong = true;
		}
	}
	choose(0);
	for (int i = optind; i < count; i++) {
		int disturbance = find_disturbance(words[i]);

		if (disturbance < 0)
			is_wrong = true;
		else
			choose(disturbance);
	}
	if (is_wrong || !options.pages || options.pages % HUGE || options.threads < 1 ||
	    options.threads > MAX_THREADS || options.node > 63 || options.pause_ms < 0) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int count, char **words)
{
	const struct sigaction on_stop = { .sa_handler = stop };
	const struct sigaction on_fault = { .sa_sigaction = wait_for_access, .sa_flags = SA_SIGINFO | SA_NODEFER };
	pthread_t checkers[MAX_THREADS];

	read_options(count, words);
	place_heap();
	sigaction(SIGTERM, &on_stop, NULL);
	sigaction(SIGSEGV, &on_fault, NULL);
	printf("{\"event\": \"start\", \"pages\": %ju, \"moved\": %ju}\n", (uintmax_t)heap.pages,
	       (uintmax_t)count_moved(&heap));
	fflush(stdout);
	while (options.is_waiting && getchar() != EOF)
		;
	for (uintptr_t thread = 0; thread < (uintptr_t)options.threads; thread++)
		start_thread(&checkers[thread], check, (void *)thread);
	for (unsigned int i = 0; i < DISTURBANCES; i++)
		if (disturbers[i].kind)
			start_thread(&disturbers[i].thread, disturb, &disturbers[i]);
	for (unsigned int i = 0; i < DISTURBANCES; i++)
		if (disturbers[i].kind)
			pthread_join(disturbers[i].thread, NULL);
	for (int thread = 0; thread < options.threads; thread++)
		pthread_join(checkers[thread], NULL);
	check_heap();
	print_result();
	return errors > 0;
}
