"""Writes the records of damo in this folder with damo's own code: `python write_damo.py VERSION`.

Needs `pip download --no-deps damo==VERSION`, unpacked into ./damo-VERSION, and the command `file`. One record, made in
memory, is written in every form that the version has: 1 GiB from 0x7f0000000000 on, of which the first quarter is hot,
the next half warm and the rest idle; snapshots of 100.044 ms with checks every 5 ms.

The other files here: what perf 6.1 printed of page faults with their addresses, which machines without events for
memory have, too (`perf record -e page-faults -c 1 -d -W`, and -g; `perf script -F comm,pid,tid,time,period,event,addr`,
with data_src,weight,ip,sym,symoff,dso, and as it is), and what abench printed (-s 8 -t 2 -i 700 -n -1, twice).
"""

import importlib
import random
import subprocess
import sys
from pathlib import Path

PAGES = 1 << 18
START_NS = 82877315633000
SNAPSHOT_NS = 100044000
FOUND = (0.6, 0.1, 0.0)


def snapshots(count: int) -> list[tuple[int, int, list[tuple[int, int, int, int]]]]:
    """Start, end and regions (start, end, nr_accesses, age) of each."""
    rng = random.Random(1)
    made = []
    for number in range(count):
        cuts = [0, PAGES // 4, rng.randrange(PAGES // 4 + 1, 3 * PAGES // 4), 3 * PAGES // 4, PAGES]
        chances = [FOUND[0], FOUND[1], FOUND[1], FOUND[2]]
        regions = [
            (
                0x7F0000000000 + low * 4096,
                0x7F0000000000 + high * 4096,
                sum(rng.random() < p for _ in range(20)),
                number,
            )
            for low, high, p in zip(cuts[:-1], cuts[1:], chances, strict=True)
        ]
        made.append((START_NS + number * SNAPSHOT_NS, START_NS + (number + 1) * SNAPSHOT_NS, regions))
    return made


def main() -> None:
    """Write the files of a version."""
    version = sys.argv[1]
    folder = Path(f"damo-{version}/damo").resolve()
    sys.path.insert(0, str(folder))
    damon = importlib.import_module("_damon")
    if (folder / "_damo_records.py").exists():
        records = importlib.import_module("_damo_records")
    else:
        records = importlib.import_module("_damon_result")
    if version < "2":
        write_old(records, version)
        return

    def record() -> list[object]:
        intervals = damon.DamonIntervals("5ms", "100ms", "1s")
        arguments = (0, 0, intervals, None, 0) + (([],) if version >= "3" else ())
        made = records.DamonRecord(*arguments)
        units = damon.unit_samples, damon.unit_aggr_intervals
        for start_ns, end_ns, regions in snapshots(3):
            own = [damon.DamonRegion(low, high, found, units[0], age, units[1]) for low, high, found, age in regions]
            made.snapshots.append(records.DamonSnapshot(start_ns, end_ns, own, None))
        return [made]

    for kind in ("json", "json_compressed", "perf_script"):
        problem = records.write_damon_records(record(), f"damo-{version}.{kind}", kind, 0o644)
        assert problem is None, problem
    verb = ["report", "access", "--raw_form", "--input"] if version >= "3" else ["report", "raw", "--input"]
    for name, options in (("report", []), ("raw-report", ["--raw_number"])):
        command = [sys.executable, str(folder / "damo.py"), *verb, f"damo-{version}.json_compressed", *options]
        Path(f"damo-{version}.{name}").write_text(subprocess.run(command, capture_output=True, text=True).stdout)


def write_old(records: object, version: str) -> None:
    """As damo 1 did."""
    result = records.DAMONResult()
    result.start_time, result.nr_snapshots = START_NS, 3
    made = []
    for start, end, regions in snapshots(3):
        snapshot = records.DAMONSnapshot(start, end, 0)
        snapshot.regions = [records.DAMONRegion(*region) for region in regions]
        made.append(snapshot)
    result.target_snapshots[0] = made
    result.end_time = made[-1].end_time
    records.write_damon_result(result, f"damo-{version}.perf_script", "perf_script", 0o644)


if __name__ == "__main__":
    main()
