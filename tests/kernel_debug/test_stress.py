"""What has to hold of memory under stress however slow the kernel: laws of tests/kernel, of another guest."""

from tests.kernel.test_stress import (  # noqa: F401 - collected here
    loads,
    test_it_unloads_and_leaves_nothing_whoever_ends_first,
    test_no_byte_is_lost_under,
    test_processes_are_killed_while_they_are_scanned_and_moved,
)
