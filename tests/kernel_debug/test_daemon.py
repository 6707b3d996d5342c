"""The exported daemon on a kernel that tells of memory used after it is freed, of leaks, and of wrong locks."""

import re

import pytest

from tests.kernel_debug.boots import SCRIPTS, Guest
from tests.kernel_debug.plants import PLANTS

COMPLAINT = re.compile(
    r"BUG|WARNING|KASAN|UBSAN|ODEBUG|Oops|Call Trace|page_table_check|lockdep|suspicious|stall|lockup|corruption"
    r"|kmemleak: [1-9]|INFO: task|refcount_t|general protection|bad page|Bad page|Bad rss-counter"
)
"""What a kernel says when something is wrong."""
HARMLESS = re.compile(r"RCU lockdep checking is enabled")
"""What it also says when nothing is."""


def complaints(guest: Guest) -> list[str]:
    return [line for line in guest.console if COMPLAINT.search(line) and not HARMLESS.search(line)]


@pytest.mark.parametrize("guest", SCRIPTS, indirect=True)
def test_the_kernel_finds_nothing_wrong(guest: Guest) -> None:
    assert guest.error is None
    assert complaints(guest) == []


@pytest.mark.parametrize("guest", SCRIPTS, indirect=True)
def test_nothing_is_leaked(guest: Guest) -> None:
    assert "tierd" not in guest.boot.step("modules")["loaded"]
    assert guest.boot.step("leaks")["found"] == ""


@pytest.mark.parametrize("guest", SCRIPTS, indirect=True)
def test_locks_were_watched_until_the_end(guest: Guest) -> None:
    assert re.search(r"debug_locks: +1\n", guest.boot.step("locks")["stats"])


@pytest.mark.parametrize(("guest", "name"), zip(PLANTS, PLANTS, strict=True), indirect=["guest"], ids=list(PLANTS))
def test_a_planted_fault_is_caught(guest: Guest, name: str) -> None:
    assert any(re.search(PLANTS[name].caught, line) for line in guest.console)
