"""Streaks: for how many visits in a row the scanner has found slow pages accessed, where a daemon has a threshold.

`Machine.streaks` splits the cells *previous* of a lump's places by that number. Which of these pages have been touched
since does not depend on it, as accesses have no memory, and neither does which of them leave: so what a visit finds
touched is a random part of them all (multivariate hypergeometric), and pages that have left in between are taken out of
the counts when these are looked at next. The draws have a stream of their own, so that all else is as it is without.

Arguments: `streaks` int32[longest], pages by the length of their streak, 1 and up.
"""

from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.state import QUEUED, SLOW
from tierenv.sim.random import hypergeometric


@njit_inlined
def has_streaks(machine):
    """Whether a machine's daemon asks for more than the last two windows."""
    return machine.parameters.most_streak > 0


@njit_inlined
def own_streaks(machine, lump, place):
    """Streaks of a place of a lump."""
    return machine.streaks[lump, place >> 2, : machine.parameters.most_streak]


@njit_inlined
def draw_elsewhere(state):
    """Draw from the other of the two streams from now on."""
    state.random_counter, state.streak_counter = state.streak_counter, state.random_counter


@njit
def begin_streaks(machine, lump, pages):
    """Forget what is known of a lump; so many pages of it, which are new on the slow node, count as touched once."""
    for place in (SLOW, QUEUED):
        streaks = own_streaks(machine, lump, place)
        for index in range(len(streaks)):
            streaks[index] = 0
    machine.streaks[lump, SLOW >> 2, 0] = pages


@njit
def visit_streaks(machine, lump, place):
    """Visit the pages of a place whose cells are still as before. Returns those that come up to the threshold."""
    state = machine.state
    counts = machine.counts
    streaks = own_streaks(machine, lump, place)
    draw_elsewhere(state)
    leave(state, streaks, counts[lump, place + 2] + counts[lump, place + 3])
    lengthen(state, streaks, counts[lump, place + 3], counts[lump, place + 2])
    draw_elsewhere(state)
    streaks[0] = counts[lump, place + 1]
    return count_from(streaks, state.access_threshold)


@njit
def list_streaks(machine, lump, pages):
    """Put so many of the pages that come up to the threshold on the list with their streaks."""
    state = machine.state
    draw_elsewhere(state)
    unlisted, listed = own_streaks(machine, lump, SLOW), own_streaks(machine, lump, QUEUED)
    transfer(state, unlisted, listed, pages, state.access_threshold)
    draw_elsewhere(state)


@njit
def unlist_streaks(machine, lump, pages):
    """Take so many of the listed pages with a streak, any of them, off the list; the cells are still as before."""
    state = machine.state
    counts = machine.counts
    draw_elsewhere(state)
    for place in (SLOW, QUEUED):
        leave(state, own_streaks(machine, lump, place), counts[lump, place + 2] + counts[lump, place + 3])
    unlisted, listed = own_streaks(machine, lump, SLOW), own_streaks(machine, lump, QUEUED)
    transfer(state, listed, unlisted, pages, 0.0)
    draw_elsewhere(state)


@njit_inlined
def count_from(streaks, least):
    """Pages whose streak is not shorter than `least`."""
    pages = 0
    for index in range(len(streaks)):
        if index + 1 >= least:
            pages += streaks[index]
    return pages


@njit_inlined
def leave(state, streaks, pages):
    """Take out at random what is beyond so many pages: they have been promoted, or freed."""
    total = count_from(streaks, 0.0)
    gone = total - pages
    for index in range(len(streaks)):
        if gone > 0:
            held = streaks[index]
            taken = hypergeometric(state, gone, held, total)
            streaks[index] -= taken
            gone -= taken
            total -= held


@njit_inlined
def lengthen(state, streaks, touched, untouched):
    """Let so many pages, drawn from all, go on with their streak; the others lose it."""
    left = touched + untouched
    longest = len(streaks) - 1
    for index in range(longest, -1, -1):
        held = streaks[index]
        streaks[index] = 0
        if held > 0 and touched > 0:
            longer = hypergeometric(state, touched, held, left) if touched < left else held
            streaks[min(index + 1, longest)] += longer
            touched -= longer
            left -= held


@njit_inlined
def transfer(state, source, target, pages, least):
    """Move pages, drawn from those whose streak is not shorter than `least`, to another place with their streaks."""
    left = count_from(source, least)
    for index in range(len(source)):
        if index + 1 >= least:
            held = source[index]
            moved = hypergeometric(state, pages, held, left) if pages < left else held
            source[index] -= moved
            target[index] += moved
            pages -= moved
            left -= held
