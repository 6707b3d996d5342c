"""Where results come from: the revision, and that the committed ones name a clean one."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tierenv.train.provenance import ARTEFACTS, SOURCES, git_revision, revision_of, versions

ROOT = Path(__file__).resolve().parents[2]
PROSE = {".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "docs", "results"}
"""What stands at the top of the tree and decides no result."""
RESULTS = [
    *sorted((ROOT / "results").glob("*.json")),
    *sorted((ROOT / "configs/policies").glob("*/policy.json")),
    ROOT / "configs/policies/best-static.json",
]


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", root, *identity, *arguments]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    return result.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "checkout")


def make_repository(root: Path) -> Path:
    """A checkout with a file in every kind of place."""
    for name in ("tierenv/env.py", "configs/daemons/x.yaml", "configs/policies/x/policy.json", "docs/a.md", "Makefile"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("as committed\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", str(root))
    return root


@pytest.mark.parametrize(
    "name",
    [
        "configs/policies/x/policy.json",
        "configs/families/x.openings.json",
        "docs/a.md",
        "results/new.json",
        "README.md",
    ],
)
def test_artefacts_and_prose_leave_a_revision_clean(checkout: Path, name: str) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("another text\n")
    assert revision_of(checkout) == git(checkout, "rev-parse", "--short=12", "HEAD")


@pytest.mark.parametrize(
    "name", ["tierenv/env.py", "configs/daemons/x.yaml", "configs/families/x.yaml", "Makefile", "train/new.py"]
)
def test_a_source_that_differs_makes_a_revision_dirty(checkout: Path, name: str) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("another text\n")
    assert revision_of(checkout) == git(checkout, "rev-parse", "--short=12", "HEAD") + "-dirty"


def test_a_hook_of_another_repository_does_not_change_the_revision(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = revision_of(checkout)
    other = make_repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert revision_of(checkout) == expected
    assert revision_of(checkout) != revision_of(other)


def test_a_folder_inside_another_projects_checkout_has_no_revision(checkout: Path, tmp_path: Path) -> None:
    assert revision_of(checkout / "tierenv") is None
    assert revision_of(tmp_path) is None


def test_every_file_at_the_top_is_a_source_or_is_not() -> None:
    tops = {name.partition("/")[0] for name in git(ROOT, "ls-files").splitlines()}
    assert tops - PROSE == set(SOURCES)
    assert all((ROOT / name).exists() for name in ARTEFACTS)


def test_versions_are_those_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"python", "numba", "numpy"} <= set(versions())
    monkeypatch.setattr("tierenv.train.provenance.PACKAGES", ("numpy", "no-such-package"))
    assert set(versions()) == {"python", "numpy"}


def revisions(content: Any) -> Iterator[str | None]:
    """Yields every revision a JSON file names, however deep."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from [value] if key == "git_revision" else revisions(value)
    elif isinstance(content, list):
        for value in content:
            yield from revisions(value)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_results_and_policies_come_from_a_clean_revision_of_this_repository(path: Path) -> None:
    named = list(revisions(json.loads(path.read_text(encoding="utf-8"))))
    assert named
    assert [revision for revision in named if revision is None or revision.endswith("-dirty")] == []
    if git_revision() is not None and git(ROOT, "rev-parse", "--is-shallow-repository") == "false":
        for revision in named:
            git(ROOT, "cat-file", "-e", f"{revision}^{{commit}}")
