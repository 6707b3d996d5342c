"""What a report tells of, small: one input of every kind, in whose names a word of the test's choice stands."""

import json
from pathlib import Path
from typing import Any

HOSTILE = "</script><script>hacked=1</script>\"'><img src=x onerror=hacked=1>{{7*7}}\n\0\u202e$x$<!--"
"""A name that would like to be more than one."""

RUNS = {
    "no-migration": [100.0, 100.0, 100.0],
    "best-static": [90.0, 91.0, 92.0],
    "numab2": [95.0, 99.0, 104.0],
}


def evaluation(word: str = "", **more: Any) -> dict[str, Any]:
    """What `evaluate --json` writes of three scenarios with little, something and much at stake."""
    rows = [
        {
            "scenario": f"{scenario}{word}",
            "policy": f"{policy}{word}" if word else policy,
            "kind": {"no-migration": "nothing", "best-static": "search", "numab2": "rule"}[policy],
            "daemon": f"daemon{word}",
            "chosen_on": [f"first{word}", f"other{word}"] if policy == "best-static" else [],
            "recovery_s": {"mean": 12.5, "ci95": [12.0, 13.0], "regained": 0.75},
            "daemon_cpu_s": {f"scanner{word}": {"mean": 3.5, "ci95": None}, "total": {"mean": 3.5, "ci95": None}},
            "seconds": {"mean": 1.0, "ci95": None, "runs": list(runs)},
            "process_seconds": [{"workload": f"{name}{word}", "mean": 50.0, "ci95": [49.0, 51.0]} for name in "ab"],
            "truncated_runs": 0,
            "bounds": {"all_fast": 50.0, "clairvoyant": clairvoyant_s, "no_migration": 100.0},
        }
        for scenario, clairvoyant_s in (("little", 99.0), ("some", 95.0), ("much", 60.0))
        for policy, runs in RUNS.items()
    ]
    return {
        "schema": 1,
        "suite": f"suite{word}",
        "git_revision": f"0123{word}",
        "seeds": [10000, 10001, 10002],
        "objective": f"time{word}",
        "verdicts": [
            {
                "scenario": f"much{word}",
                "words": f"nobody wins{word}",
                "bounds": {
                    "clairvoyant": {"runs": [59.0, 60.0, 61.0]},
                    "no_migration": {"runs": RUNS["no-migration"]},
                    f"later{word}": {"runs": [70.0, 70.0, 70.0]},
                },
            }
        ],
        "rows": rows,
        "timelines": [timeline(policy, word) for policy in ("numab2", "best-static", "numa-balancing")],
        "of a later version": {"more": [word]},
    } | more


def timeline(policy: str, word: str = "") -> dict[str, Any]:
    """An episode over time, in two phases."""
    times = [float(time) for time in range(0, 101, 4)]
    return {
        "scenario": f"some{word}",
        "policy": f"{policy}{word}",
        "seed": 10000,
        "capacity_gib": 4.0,
        "phases": [{"from_s": 0.0, "name": f"first{word}"}, {"from_s": 48.0, "name": f"second{word}"}],
        "time_s": times,
        "classes": [
            {"name": f"hot{word}", "fast_gib": [2 + time / 100 for time in times]},
            {"name": f"cold{word}", "fast_gib": [1 - time / 100 for time in times]},
        ],
        "tunables": [
            {"name": "scan_period", "unit": "ms", "min": 100.0, "max": 6e4, "values": [1000.0 for _ in times]},
            {"name": f"of later{word}", "unit": f"u{word}", "min": 1.0, "max": 64.0}
            | {"values": [None if time > 50 else 8.0 for time in times]},
        ],
    }


def search(word: str = "") -> dict[str, Any]:
    """What `tune --json` writes of a scenario."""
    finalists = [
        {
            "policy": f"static:{period},1024,inf{word}",
            "setting": {"scan_period_ms": period, "throttle_bytes_per_s": None, f"x{word}": 1.5},
            "screening_s": 90.0,
            "seconds": {"mean": 90.0 + period / 1000, "ci95": [89.0, 92.0 + period / 1000]},
        }
        for period in (1000, 2000)
    ]
    return {
        "schema": 1,
        "scenario": f"skewed{word}",
        "daemon": f"daemon{word}",
        "sampler": "random",
        "git_revision": None,
        "budget": {"trials": 2, "episodes": 4, "env_steps": 100, "wall_s": 1.0},
        "finalists": finalists,
    }


def searched(sampler: str, *regrets: float, **more: Any) -> dict[str, Any]:
    """What a search keeps of its budget, with an incumbent every 100 steps; clairvoyant is 100 s, all fast 80 s."""
    incumbents = [
        {"trials": number, "env_steps": 100 * number, "machine_s": 200.0 * number, "policy": "static:1"}
        | {"screening": 1.0, "objective": {"mean": 100 * (1 + regret), "ci95": None}}
        for number, regret in enumerate(regrets, start=1)
    ]
    return {
        "schema": 1,
        "scenario": "moving-hot-set",
        "daemon": "kmmscand-tunable",
        "sampler": sampler,
        "sampler_seed": 0,
        "git_revision": "a",
        "budget": {"trials": 9, "episodes": 9, "env_steps": 2000, "wall_s": 1.0, "machine_s": 4000.0},
        "references": {"all_fast": 80.0, "clairvoyant": 100.0},
        "curve": {"trials": 9, "env_steps": 1000, "machine_s": 2000.0, "incumbents": incumbents},
    } | more


def search_curves(word: str = "") -> dict[str, Any]:
    """What `tierenv.train.studies.search_curves` writes."""
    searches = [searched(f"tpe{word}", 0.5, 0.25), searched(f"tpe{word}", 0.4), searched("gp", 0.3, 0.2, 0.1)]
    return {"schema": 1, "git_revision": f"a{word}", "searches": searches}


def suite_search(word: str = "") -> dict[str, Any]:
    """What `tune --json` writes of a suite."""
    for_all = [{"policy": f"static:1,2,3{word}", "setting": {}, "screening": 0.9, "relative_time": 0.91}]
    return {"schema": 1, "suite": f"demo{word}", "git_revision": "a", "scenarios": [search(word)], "for_all": for_all}


def fidelity(word: str = "") -> dict[str, Any]:
    """What `fidelity --json` writes of an experiment."""
    row = {
        "experiment": f"guest{word}",
        "unit": f"s{word}",
        "sign_ok": True,
        "tolerance": f"10 %{word}",
        "within": False,
    }
    rows = [
        row | {"id": f"first{word}", "published": 100.0, "modelled": 120.0, "error": 0.2, "fitted": True},
        row | {"id": f"second{word}", "published": 10.0, "modelled": 9.0, "error": -0.1, "fitted": False}
        | {"required": "tolerance", "failed": True},
        row | {"id": f"third{word}", "published": 0.0, "modelled": None, "error": None, "within": None},
    ]  # fmt: skip
    experiment = {"name": f"guest{word}", "summary": f"what{word}", "source": f"whose{word}", "role": "check"}
    return {"schema": 1, "git_revision": "a", "seeds": [10000], "experiments": [experiment], "rows": rows}


def replay(word: str = "") -> dict[str, Any]:
    """What `replay --json` writes."""
    row = {"unit": "pages", "is_gauge": False, "recorded": 100.0, "modelled": 90.0, "error": -0.1}
    return {
        "schema": 1,
        "git_revision": "a",
        "record": f"record{word}.jsonl",
        "kernel": f"6.12{word}",
        "scenario": f"skewed{word}",
        "daemon": "numa-balancing",
        "seed": 10000,
        "compared_intervals": 3,
        "compared_s": 1.5,
        "rows": [row | {"counter": f"{name}{word}", "interval_error": 0.1} for name in ("promoted", "faulted")],
        "notes": [f"note{word}"],
    }


def calibration(word: str = "") -> dict[str, Any]:
    """What `calibrate` writes beside a platform."""
    parameter = {"unit": f"ns{word}", "value": 40.0, "ci95": [30.0, 50.0], "prior": 35.0, "prior_log_sd": 0.2}
    cells = [
        {"size_gb": size, "system": f"numab2{word}", "measured_s": 100.0, "modelled_s": 101.0, "error": 0.01}
        | {"error_left_out": -0.02}
        for size in (8, 16)
    ]
    return {
        "schema": 1,
        "platform": f"card{word}",
        "workload": f"abench{word}",
        "mean_absolute_error": 0.01,
        "worst_error": 0.01,
        "worst_error_left_out": 0.02,
        "keeps_order": True,
        "parameters": [parameter | {"field": f"platform.{name}{word}", "source": f"who{word}"} for name in "ab"],
        "correlations": [[1.0, 0.5], [0.5, 1.0]],
        "cells": cells,
        "measurements": f"mine{word}.csv",
    }


PROGRESS = (
    "rollout/ep_rew_mean,rollout/normalised_time,time/total_timesteps\n-0.1,1.2,100\n-0.1,1\n-0.05,1.1,200\n,,300\n"
)
"""progress.csv of a run; its second row is torn."""

FILES = {
    "evaluation": evaluation,
    "search": search,
    "suite-search": suite_search,
    "search-curves": search_curves,
    "fidelity": fidelity,
    "replay": replay,
    "calibration": calibration,
}
"""What makes the JSON of each kind of file."""


def write_inputs(folder: Path, word: str = "") -> list[Path]:
    """Writes an input of every kind. Returns their paths."""
    paths = []
    for name, make in FILES.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(make(word)))
    return [*paths, write_run(folder / "run", word)]


def write_run(run: Path, word: str = "") -> Path:
    """Writes what a report reads of a run's folder. Returns its path."""
    run.mkdir()
    (run / "config.yaml").write_text("scenarios: [moving-hot-set]\n")
    (run / "progress.csv").write_text(PROGRESS)
    entries = [
        {"timesteps": steps, "machine_s": 2.0 * steps, "normalised_time": 1.1 - steps / 1e4}
        | {"by_scenario": {f"some{word}": 1.1 - steps / 1e4, "moving-hot-set": 1.3}}
        for steps in (100, 200)
    ]
    (run / "evaluations.json").write_text(json.dumps({"schema": 1, "evaluations": entries}))
    manifest = {"schema": 1, "command": f"tierenv train{word}", "versions": {f"numpy{word}": f"2{word}"}}
    (run / "manifest.json").write_text(json.dumps(manifest | {"timesteps": 200, "machine": {"cpu": f"AMD{word}"}}))
    (run / "best").mkdir()
    (run / "best" / "evaluation.json").write_text(json.dumps(entries[-1]))
    return run
