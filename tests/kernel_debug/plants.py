"""Faults that are planted in the daemon, so that what finds none in it is known to find some."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.daemons import rewrite


@dataclass(frozen=True)
class Change:
    """A text of one of the daemon's files that another takes the place of."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Plant:
    """A fault, and the line of the kernel's log that tells of it."""

    changes: tuple[Change, ...]
    caught: str


_PUT = "\ttierd_put(batch->process);\n"
_FREE = "\ttierd_free(batch, sizeof(*batch), 0);\n"

_REMEMBER = "\ttable = memory_of(chunk.process, address);\n\tif (!table) {\n"
_COUNT_LOST = "\t\ttierd_count(lost_tables, 1);\n\t\treturn;\n\t}\n"
_LOCK_TABLE = "\tfirst = tierd_lock_table(mm, address, &lock);\n\tif (!first)\n\t\treturn;\n"
_UNLOCK_TABLE = "\t\ttierd_unlock_table(first, lock);\n"
_ALLOCATE = "table = tierd_alloc(sizeof(*table), beside, {});"

_REFUSE = "\tif (strlen(name) >= sizeof(command))\n\t\treturn -EINVAL;\n"
_LOCK = "\tmutex_lock(&tierd_lock);\n"
_UNLOCK = "\tmutex_unlock(&tierd_lock);\n"
_TAKE_NAME = "\tstrscpy(command, name, sizeof(command));\n"

_GRAB = "\tmmgrab(mm);\n"
_END_PASS = "\t\t\tchunk.is_pass_over = true;\n"

_FREE_TABLE = "\t\ttierd_free_table(&process->tables, index, table);\n\t\tcond_resched();\n"

PLANTS = {
    "a batch of the list used after it is freed": Plant(
        (Change("list.c", _PUT + _FREE, _FREE + _PUT),), "BUG: KASAN: slab-use-after-free in "
    ),
    "an allocation that may sleep under the lock of a page table": Plant(
        (
            Change(
                "scanner.c",
                _REMEMBER + _COUNT_LOST + _LOCK_TABLE,
                _LOCK_TABLE + _REMEMBER + _UNLOCK_TABLE + _COUNT_LOST,
            ),
            Change("scanner.c", _ALLOCATE.format("GFP_NOWAIT"), _ALLOCATE.format("GFP_KERNEL")),
        ),
        "BUG: sleeping function called from invalid context",
    ),
    "a lock kept where a name is refused": Plant(
        (Change("processes.c", _REFUSE + _LOCK + _TAKE_NAME, _LOCK + _REFUSE + _TAKE_NAME),),
        "WARNING: lock held when returning to user space!",
    ),
    "locks taken in two orders": Plant(
        (
            Change("processes.c", _GRAB, "\tmmap_read_lock(mm);\n\tmmap_read_unlock(mm);\n" + _GRAB),
            Change("scanner.c", _END_PASS, f"\t\t{_LOCK}{_END_PASS}\t\t{_UNLOCK}"),
        ),
        "WARNING: possible circular locking dependency detected",
    ),
    "marks of page tables not freed": Plant(
        (Change("processes.c", _FREE_TABLE, "\t\txa_erase(&process->tables, index);\n"),),
        "kmemleak: [1-9][0-9]* new suspected memory leaks",
    ),
}
"""By what is wrong."""


def plant(name: str, folder: Path) -> None:
    """Plant a fault in the source in a folder, every text of which has to stand there once."""
    for change in PLANTS[name].changes:
        rewrite(folder / change.file, re.escape(change.old), change.new.replace("\\", r"\\"))
