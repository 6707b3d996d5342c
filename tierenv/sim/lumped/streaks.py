"""Streaks: for how many visits in a row the scanner has found slow pages accessed, where a daemon has a threshold.

`Machine.streaks` splits the cells *previous* of a lump's places by that number. Which of these pages have been touched
since does not depend on it, as accesses have no memory, and neither does which of them leave: so what a visit finds
touched is a random part of them all (multivariate hypergeometric), and pages that have left in between are taken out of
the counts when these are looked at next. The draws have a stream of their own, so that all else is as it is without.

Arguments: `streaks` int32[longest], pages by the length of their streak, 1 and up.
"""

import math

import numpy as np

from tierenv.sim.jit import njit, njit_inlined
from tierenv.sim.lumped.state import QUEUED, SLOW
from tierenv.sim.random import hypergeometric, uniform

MOST_SUMMED = 30
"""Mean number of things found up to which probabilities are added up: beyond it a normal number is as good."""


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


@njit
def drawn_of(state, wanted, marked, total):
    """How many of `wanted` things drawn from `total` are among the `marked`.

    `hypergeometric` takes a rounded normal number where many are wanted, whose mean is off where few are found, as few
    pages have a long streak. Here few are found by adding up their probabilities, of which the first is

        P(0) = (total - wanted)! (total - marked)! / (total! (total - wanted - marked)!)

    Wanted and left things, and marked and other ones, change places so that neither are more than half.
    """
    fewer_wanted, fewer_marked = min(wanted, total - wanted), min(marked, total - marked)
    if fewer_wanted * fewer_marked > MOST_SUMMED * total:
        found = hypergeometric(state, fewer_wanted, fewer_marked, total)
    else:
        others = total - fewer_wanted - fewer_marked
        logarithm = math.lgamma(total - fewer_wanted + 1.0) + math.lgamma(total - fewer_marked + 1.0)
        chance = math.exp(logarithm - math.lgamma(total + 1.0) - math.lgamma(others + 1.0))
        left = uniform(state)
        found = np.int64(0)
        while left > chance and found < min(fewer_wanted, fewer_marked):
            left -= chance
            chance *= (fewer_wanted - found) * (fewer_marked - found) / ((found + 1.0) * (others + found + 1.0))
            found += 1
    if fewer_wanted < wanted:
        found = fewer_marked - found
    return found if fewer_marked == marked else wanted - found


@njit_inlined
def leave(state, streaks, pages):
    """Take out at random what is beyond so many pages: they have been promoted, or freed."""
    total = count_from(streaks, 0.0)
    gone = total - pages
    for index in range(len(streaks)):
        if gone > 0:
            held = streaks[index]
            taken = drawn_of(state, gone, held, total)
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
            longer = drawn_of(state, touched, held, left) if touched < left else held
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
            moved = drawn_of(state, pages, held, left) if pages < left else held
            source[index] -= moved
            target[index] += moved
            pages -= moved
            left -= held
