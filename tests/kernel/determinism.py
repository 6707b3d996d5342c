"""`make kernel-determinism`: boots every guest twice from one image and compares all that it says, byte by byte.

Only that makes a failure of tests/kernel one that comes again. What a guest measures changes with every file of the
image, and with every kernel.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.kernel.boots import BOOTS, WORK, prepare
from tests.kernel.packages import UnavailableError
from tests.kernel.qemu import BootError


def main() -> int:
    """Returns 0, 1 if a guest says different things or fails, or 2 where none can run."""
    try:
        run = prepare()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            twice = {name: [pool.submit(run, name, WORK / f"{name}-{time}") for time in (1, 2)] for name in BOOTS}
            logs = {name: [future.result().logs for future in futures] for name, futures in twice.items()}
    except (UnavailableError, BootError) as error:
        print(f"kernel-determinism: {error}", file=sys.stderr)
        return 2 if isinstance(error, UnavailableError) else 1
    different = [name for name, (first, second) in logs.items() if first != second]
    for name in different:
        print(f"kernel-determinism: {name}: two boots differ, see {WORK}/{name}-1 and -2", file=sys.stderr)
    if not different:
        print(f"two boots each of {', '.join(BOOTS)} have said the same, {sum(map(_length, logs.values()))} bytes")
    return bool(different)


def _length(logs: list[tuple[bytes, bytes]]) -> int:
    return sum(map(len, logs[0]))


if __name__ == "__main__":
    sys.exit(main())
