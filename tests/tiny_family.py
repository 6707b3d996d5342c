"""A family whose episodes take milliseconds, with every kind of draw."""

import copy
from pathlib import Path
from typing import Any

import yaml

DRAWN = {"draw": "product", "of": ["size"]}
TINY_FAMILY: dict[str, Any] = {
    "summary": "for tests",
    "daemon": "kmmscand-tunable",
    # bounds, which take longer than all the runs, are not computed for this objective
    "base": {"regions": 4, "control_interval": "500ms", "objective": "access-time"},
    "platforms": {
        "near": {"like": "amd-epyc-cxl", "cxl": {"idle_latency": {"draw": "uniform", "from": "200ns", "to": "250ns"}}},
        "far": {"like": "far-card", "cxl": {"bandwidth": {"draw": "log-uniform", "from": "15GB/s", "to": "25GB/s"}}},
        "middle": "two-x8-cards",
        "other": {"like": "one-x8-card", "scan_per_page": {"draw": "choice", "of": ["30ns", "60ns"]}},
        "last": "other-socket",
    },
    "forms": {
        "hot": {
            "kind": "separable",
            "let": {
                "size": {"draw": "uniform", "from": "128MiB", "to": "512MiB", "step": "16MiB"},
                "share": {"draw": "uniform", "from": 0.2, "to": 0.5},
            },
            "run_time": {"draw": "log-uniform", "from": "2s", "to": "4s"},
            "scenario": {
                "size": DRAWN,
                "fast_capacity": {"draw": "product", "of": ["share", "size"]},
                "workload": {
                    "like": "skewed",
                    "threads": {"draw": "log-uniform", "from": 4, "to": 32},
                    "heat": {
                        "classes": {
                            "hot": {"pages": {"draw": "uniform", "from": 0.3, "to": 0.8, "times": "share"}}
                            | {"accesses": {"draw": "uniform", "from": 0.6, "to": 0.9}},
                            "rest": {},
                        }
                    },
                },
            },
        },
        "even": {
            "kind": "nothing-to-win",
            "run_time": "2s",
            "scenario": {
                "size": "256MiB",
                "fast_capacity": {
                    "draw": "choice",
                    "of": ["64MiB", {"draw": "uniform", "from": "96MiB", "to": "1GiB"}],
                },
                "workload": {"draw": "choice", "of": ["gups", {"like": "abench", "think": "1us"}]},
            },
        },
        "mild": {
            "kind": "flat",
            "run_time": "2s",
            "scenario": {
                "size": "256MiB",
                "fast_capacity": "128MiB",
                "workload": {
                    "like": "skewed",
                    "heat": {"zipf": {"exponent": {"draw": "uniform", "from": 0.1, "to": 0.3}, "classes": 4}},
                },
            },
        },
    },
}


def tiny_family(**changes: Any) -> dict[str, Any]:
    """Returns the content of the file: each set has forms of all kinds, small ones of its own."""
    content = copy.deepcopy(TINY_FAMILY)
    mix = {"separable": 0.5, "flat": 0.2, "nothing-to-win": 0.3}
    forms = content["forms"]
    content["forms"] = {}
    content["splits"] = {}
    for number, (split, platforms) in enumerate(
        {"training": ["near", "far"], "selection": ["middle"], "final": ["other", "last"]}.items()
    ):
        for name, form in copy.deepcopy(forms).items():
            form["scenario"]["slow_capacity"] = f"{8 + number}GiB"  # so that no form is another's under another name
            content["forms"][f"{name}-{split}"] = form
        content["splits"][split] = {
            "platforms": platforms,
            "forms": [f"{name}-{split}" for name in forms],
            "scenarios": 24 if split == "final" else 10,
            "seed": number,
            "mix": dict(mix),
        }
    return content | changes


def write_family(folder: Path, content: dict[str, Any] | None = None, name: str = "tiny") -> Path:
    """Write the file. Returns its path."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.dump(content or tiny_family(), Dumper=_NoAliases, sort_keys=False))
    return path


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
