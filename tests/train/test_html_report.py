"""Reports as files: what they say of every kind of input, names of others as text alone, one line for bad input."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train import report_inputs
from tests.train.report_inputs import FILES, HOSTILE, write_inputs, write_run
from tierenv.errors import ConfigError
from tierenv.train.cli import main
from tierenv.train.html_report.budget import comparison
from tierenv.train.html_report.document import Charts, Table
from tierenv.train.html_report.kinds import read_section
from tierenv.train.html_report.page import page
from tierenv.train.texts import clean, plain

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Elements(HTMLParser):
    """All elements of a page, in order, with the text right within them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.within: dict[int, list[str]] = {}
        """By the index of an element, the tags it stands in."""
        self._open: list[int] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within[len(self.elements)] = [self.elements[index][0] for index in self._open]
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open[-1]][0] == tag, f"</{tag}> ends no <{tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.elements[self._open[-1]][2].append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        return " ".join("".join(parts) for name, _, parts in self.elements if name in tags)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns a report on an input of every kind."""
    return page([read_section(path) for path in write_inputs(tmp_path_factory.mktemp("inputs"))])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the same with hostile names."""
    return page([read_section(path) for path in write_inputs(tmp_path_factory.mktemp("hostile"), HOSTILE)])


def test_a_report_tells_of_every_kind_and_lists_them(html: str) -> None:
    elements = Elements(html)
    headings = elements.text("h2")
    for words in ("Evaluation of suite", "Search of demo", "Fidelity", "Replay beside", "Calibration of card", "run"):
        assert words in headings
    targets = {attributes["href"] for attributes in elements.attributes("a")}
    assert {f"#s{number}" for number in range(1, 8)} < targets
    ids = [attributes["id"] for _, attributes, _ in elements.elements if "id" in attributes]
    assert len(set(ids)) == len(ids) and {target[1:] for target in targets if target} <= set(ids)


def test_a_report_asks_nothing_of_any_network(html: str) -> None:
    elements = Elements(html)
    for _, attributes, _ in elements.elements:
        for name in ("src", "href", "xlink:href", "action", "style", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "link" not in {tag for tag, _, _ in elements.elements}
    assert not re.search(r"@import|url\((?!#)", elements.text("style"))
    (policy,) = [each["content"] for each in elements.attributes("meta") if "http-equiv" in each]
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy


def test_a_report_is_small_and_without_pictures_over_time_has_no_script(html: str, tmp_path: Path) -> None:
    assert len(html.encode()) < 1_500_000
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report_inputs.evaluation(timelines=[])))
    still = page([read_section(path)])
    (policy,) = [each["content"] for each in Elements(still).attributes("meta") if "http-equiv" in each]
    assert "<script" not in still and "script-src 'none'" in str(policy) and len(still) < 100_000


def test_headings_are_in_order_and_tables_and_pictures_have_words(html: str) -> None:
    elements = Elements(html)
    levels = [int(tag[1]) for tag, _, _ in elements.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))
    assert elements.attributes("html") == [{"lang": "en"}]
    tables = len(elements.attributes("table"))
    assert tables > 10 and len(elements.attributes("caption")) == tables
    assert all(each.get("scope") in ("col", "row") for each in elements.attributes("th"))
    regions = [each for each in elements.attributes("div") if each.get("class") == "scroll"]
    assert len(regions) == tables and all(each["tabindex"] == "0" and each["aria-label"] for each in regions)
    pictures = [each for each in elements.attributes("svg") if each.get("class") == "marks"]
    assert len(pictures) > 10 and all(each["role"] == "img" for each in pictures)
    descriptions = [parts for tag, _, parts in elements.elements if tag == "desc"]
    assert len(descriptions) == len(pictures) and all("".join(parts).strip() for parts in descriptions)


def test_words_in_pictures_are_words(html: str) -> None:
    assert {"time [s]", "scan period", "numab2", "fast tier [GiB]"} <= {
        "".join(parts) for tag, _, parts in Elements(html).elements if tag == "text"
    }


def test_budgets_of_searches_and_trainings_stand_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(report_inputs.search_curves()))
    other = report_inputs.search() | report_inputs.searched("gp", 0.3, 0.3)
    (tmp_path / "other.json").write_text(json.dumps(other))
    inputs = [tmp_path / "one.json", tmp_path / "other.json", write_run(tmp_path / "run")]
    sections = [read_section(path) for path in inputs]
    compared = comparison(sections)
    assert compared is not None and comparison(sections[2:]) is None
    (part,) = compared.parts
    pictures, table = part.blocks
    assert isinstance(pictures, Charts) and isinstance(table, Table)
    rows = {row[0]: list(row[1:]) for row in table.rows}
    assert rows["search: tpe"][:5] == ["2", "1,000", "0.6", "32.50 %", "25.00 % to 40.00 %"]
    assert rows["search: gp"][:5] == ["2", "1,000", "0.6", "20.00 %", "10.00 % to 30.00 %"]
    assert rows["config"][:5] == ["1", "200", "0.1", "4.00 %", "4.00 % to 4.00 %"]
    assert [title.title for title in pictures.charts] == [
        "Regret against environment steps",
        "Regret against hours of a real machine",
    ]
    values = pictures.charts[0].specification["data"]["values"]
    of_tpe = [[each[key] for key in ("x", "y", "low", "high")] for each in values if each["label"] == "1. search: tpe"]
    expected = [[100, 45, 40, 50], [200, 32.5, 25, 40], [1000, 32.5, 25, 40]]
    np.testing.assert_allclose(of_tpe, expected)


def test_without_a_bound_regret_is_to_the_best_that_was_found(tmp_path: Path) -> None:
    content = {"schema": 1, "searches": [report_inputs.searched("tpe", regret) for regret in (0.5, 0.2)]}
    for each in content["searches"]:
        each["references"]["clairvoyant"] = None
    path = tmp_path / "one.json"
    path.write_text(json.dumps(content))
    compared = comparison([read_section(path)])
    assert compared is not None
    table = compared.parts[0].blocks[-1]
    assert isinstance(table, Table) and "regret to the best that was found" in table.columns
    assert table.rows[0][4:6] == ["12.50 %", "0.00 % to 25.00 %"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env_steps": 50}, "curve: env_steps must not fall"),
        ({"machine_s": 1e-3}, "curve: machine_s must not fall"),
        ({"incumbents": []}, "curve.incumbents"),
        ({"env_steps": 0}, "curve.env_steps=0"),
    ],
)
def test_a_curve_that_cannot_be_drawn_is_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    search = report_inputs.searched("tpe", 0.5)
    search["curve"] |= change
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"schema": 1, "searches": [search]}))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_section(path)


def test_names_of_others_stay_text(hostile: str, tmp_path: Path) -> None:
    """The very same elements, whatever names there are."""
    harmless = Elements(page([read_section(path) for path in write_inputs(tmp_path, "x")]))
    elements = Elements(hostile)
    assert [tag for tag, _, _ in harmless.elements] == [tag for tag, _, _ in elements.elements]
    assert "</script><script>hacked=1</script>" in elements.text("td") and "{{7*7}}" in elements.text("td")
    assert not set("\0\u202e") & set(hostile)
    assert "hacked=1" not in elements.text("style")
    scripts = [("".join(parts), each) for tag, each, parts in elements.elements if tag == "script"]
    for text, attributes in scripts:
        assert ("hacked" not in text) or (attributes["type"] == "application/json" and json.loads(text))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb\tc", "a b c"),
        ("a\0\x1b[1m", "a\ufffd\ufffd[1m"),
        ("a\u202eb\u2066\u200f\ufeff", "a\ufffdb\ufffd\ufffd\ufffd"),
        ("\ud800", "\ufffd"),
        ("é中😀", "é中😀"),
        ("x" * 1000, "x" * 299 + "…"),
    ],
)
def test_texts_of_others_are_seen_as_they_are(text: str, seen: str) -> None:
    assert plain(text) == seen
    assert clean({text: [text, 1, None]}) == {seen: [seen, 1, None]}
    plain(text).encode()


def test_scenarios_are_grouped_by_what_is_at_stake(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report_inputs.evaluation()))
    section = read_section(path)
    assert [part.title for part in section.parts] == [
        "All scenarios",
        "Little at stake",
        "Something at stake",
        "Much at stake",
        "Recovery and CPU time",
        "Processes",
        "Over time",
    ]
    assert dict(section.reproduce)["command"] == (
        "tierenv evaluate suite --seeds 3 --policy no-migration --policy best-static --policy numab2 --json FILE "
        "--timelines"
    )


def test_who_wins_is_judged_anew_and_paired_with_the_episodes_of_the_bounds(tmp_path: Path) -> None:
    content = report_inputs.evaluation(timelines=[])
    content["verdicts"][0]["bounds"]["no_migration"] = {"runs": [99.0, 100.0, 101.0]}
    titles, text = told(tmp_path, content)
    assert "nobody wins" not in text and titles[0] == "All scenarios"
    assert "best-static takes 91.0 % [90.2, 91.8] of the time without migration" in text
    # 90 / 99, 91 / 100 and 92 / 101: what episodes have in common cancels, as it cannot where means alone are known
    assert "['much', 'best-static', 'daemon', '91.0 [88.5, 93.5]', '-9.0 % [-9.2, -8.8]', '22.5 %" in text
    assert "['some', 'best-static', 'daemon', '91.0 [88.5, 93.5]', '-9.0 % [-11.5, -6.5]'" in text
    assert "best-static was chosen on 2 scenarios (first and other), by name none of those here." in text
    assert "['much', 'numab2', '12.5 [12.0, 13.0]', '75 %', '3.5', '3.5']" in text


def test_what_has_to_be_known_beside_the_verdicts_is_told_as_on_the_terminal(tmp_path: Path) -> None:
    missing = [{"policy": "one-static", "scenario": name, "reason": "none stored"} for name in ("some", "much")]
    content = report_inputs.evaluation(timelines=[], left_out=missing)
    content["rows"][-1]["seconds"]["runs"] = [50.0, 51.0, 52.0]
    _, text = told(tmp_path, content)
    assert "Left out: one-static on some and much: none stored." in text
    assert "Faster than the clairvoyant of " in text and "no bound to another: best-static and numab2." in text


def test_runs_that_were_given_up_are_marked_and_without_a_time_of_no_migration_nothing_is_at_stake(
    tmp_path: Path,
) -> None:
    content = report_inputs.evaluation(timelines=[])
    content["rows"][-1]["truncated_runs"] = 2
    titles, text = told(tmp_path, content)
    assert "['much', 'numab2', 'daemon', '≥ 99.3 [88.1, 110.5]', '≥ -0.7 % [" in text and "'≤ 1.7 % [" in text
    assert "numab2 is at least 9.2 % [" in text and "'≥ +9.16 % [" in text
    content["rows"][-3]["truncated_runs"] = 1
    titles, text = told(tmp_path, content)
    assert "Much at stake" not in titles and "Without bounds" in titles
    assert "Without much: no migration was given up there, so that nobody knows what is at stake." in text


def told(folder: Path, content: dict[str, Any]) -> tuple[list[str], str]:
    """Returns the titles of the parts of a section on this content, and all its texts."""
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    section = read_section(path)
    return [part.title for part in section.parts], str(section)


def test_what_is_judged_is_told_and_where_it_is_no_time_there_is_no_stake(tmp_path: Path) -> None:
    content = report_inputs.evaluation(timelines=[])
    for row in content["rows"]:
        runs = [2 * seconds for seconds in row["seconds"]["runs"]]
        row["objective"] = {"name": "application", "unit": "s", "mean": 1.0, "ci95": None, "runs": runs}
        row["bounds"] = {key: 2 * seconds for key, seconds in row["bounds"].items()}
        row["processes"] = [
            {"process": "mine", "end_s": {"mean": 50.0, "ci95": [49.0, 51.0]}, "slowdown": {"mean": 1.5, "ci95": None}},
            {"process": "theirs", "end_s": None, "slowdown": None, "access_s": {"mean": 2e-7, "ci95": None}},
        ]
    for row in content["rows"][:3]:
        row["bounds"] = dict.fromkeys(row["bounds"])
    titles, text = told(tmp_path, content)
    assert titles == [
        "All scenarios",
        "Something at stake",
        "Much at stake",
        "Without bounds",
        "Recovery and CPU time",
        "Processes",
    ]
    assert "application: 182 [177, 187] s" in text
    assert "'-9.0 % [-11.5, -6.5]'" in text, "of what is judged, not of the time"
    assert "['little', 'numab2', 'mine', '50.0 [49.0, 51.0]', '1.50', '-']" in text
    assert "['little', 'numab2', 'theirs', '-', '-', '200']" in text


def test_calibrations_to_other_quantities_than_times_are_told(tmp_path: Path) -> None:
    content = report_inputs.calibration() | {"schema": 2}
    cell = {"size_gb": None, "system": "numab2", "quantity": "latency", "unit": "ns", "error": 0.1}
    content["cells"].append(cell | {"measured": 250.0, "modelled": 275.0, "error_left_out": None})
    content["fixed"] = [{"field": "platform.sockets", "value": "1", "source": "lscpu"}]
    _, text = told(tmp_path, content)
    assert "['numab2 latency', '250 ns', '275 ns', '+10.0 %', '-']" in text
    assert "['platform.sockets', '1', 'lscpu']" in text


def test_verdicts_follow_an_objective_that_is_no_time(tmp_path: Path) -> None:
    content = report_inputs.evaluation()
    name = content["rows"][0]["scenario"]
    content["rows"] = [row for row in content["rows"] if row["scenario"] == name]
    assert "no-migration" in [row["policy"] for row in content["rows"]]
    for row in content["rows"]:
        worse = 1 if row["policy"] == "no-migration" else 2
        runs = [worse + 0.01 * number for number in range(len(row["seconds"]["runs"]))]
        row["objective"] = {"name": "mean-slowdown", "unit": "1", "runs": runs}
        row["bounds"] = {"clairvoyant": None, "no_migration": None, "all_fast": None}
    _, text = told(tmp_path, content)
    assert f"{name}: doing nothing wins: no-migration has a mean slowdown of 1.01; " in text
    assert f"{name}: Worse than no migration: " in text


def test_searches_by_another_objective_are_told(tmp_path: Path) -> None:
    content = report_inputs.search() | {"objective": {"name": "worst-slowdown", "unit": "1"}}
    for finalist in content["finalists"]:
        finalist |= {"objective": {"mean": 1.25, "ci95": [1.2, 1.3]}, "screening": 1.24, "screening_s": None}
    _, text = told(tmp_path, content)
    assert "worst-slowdown [1]" in text and "1.25 [1.2, 1.3]" in text and "'1.24'" in text


def test_a_run_that_goes_on_is_told_of_as_far_as_it_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert [part.title for part in read_section(run).parts] == ["Learning curve", "Rollouts"]
    (run / "progress.csv").unlink()
    (run / "evaluations.json").unlink()
    (run / "best" / "evaluation.json").unlink()
    (run / "manifest.json").unlink()
    assert [part.title for part in read_section(run).parts] == ["Learning"]


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("evaluation", lambda content: content.update(schema=2), "schema"),
        ("evaluation", lambda content: content["rows"][0]["seconds"].update(runs=[]), "rows.0.seconds.runs"),
        ("evaluation", lambda content: content["rows"][1].update(policy=7), "rows.1.policy"),
        ("evaluation", lambda content: content["rows"].append(content["rows"][0]), "rows.9"),
        ("evaluation", lambda content: content["rows"][1].update(kind="oracle"), "rows.1.kind"),
        ("evaluation", lambda content: content["rows"][1]["seconds"]["runs"].pop(), "rows.1: has 2 runs, policy no-"),
        (
            "evaluation",
            lambda content: content["verdicts"][0]["bounds"]["clairvoyant"]["runs"].pop(),
            "verdicts.0.bounds.clairvoyant.runs: must be 3",
        ),
        (
            "evaluation",
            lambda content: content.update(rows=[content["rows"][0] | {"policy": str(each)} for each in range(201)]),
            "rows: must be of at most 200 policies, got 201",
        ),
        ("evaluation", lambda content: content["timelines"][0]["time_s"].pop(), "timelines.0: classes: must have"),
        ("evaluation", lambda content: content["timelines"][0].update(time_s=[1.0, 1.0]), "timelines.0"),
        ("evaluation", lambda content: content["timelines"][1]["classes"][0].pop("name"), "classes.0.name"),
        ("search", lambda content: content.update(finalists=[]), "finalists"),
        ("suite-search", lambda content: content["scenarios"][0].update(finalists=3), "scenarios.0.finalists"),
        ("fidelity", lambda content: content["rows"][0].update(published=1e300), "rows.0.published"),
        ("replay", lambda content: content["rows"][0].pop("recorded"), "rows.0.recorded"),
        ("calibration", lambda content: content["parameters"][0].update(ci95=[1.0]), "parameters.0.ci95"),
        ("calibration", lambda content: content.update(cells=[]), "cells"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, change: Change, words: str
) -> None:
    content = FILES[name]()
    change(content)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert main(["report", str(path), "--output", str(tmp_path / "a.html")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tierenv: {path}: ") and error.count("\n") == 1 and words in error, error
    assert not (tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must hold an object"),
        ('{"schema": 1}', "is nothing that a report tells of"),
        ('{"measurements": [], "machine": {}}', "is nothing that a report tells of"),
        ('{"rows": [7]}', "is nothing that a report tells of"),
    ],
)
def test_what_is_none_of_ours_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        read_section(path)


def test_folders_and_places_that_do_not_do_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report_inputs.replay()))
    (tmp_path / "empty").mkdir()
    run = write_run(tmp_path / "run")
    (run / "progress.csv").write_text("a,b\n1,2\n")
    for arguments in (
        [str(tmp_path / "empty"), "--output", str(tmp_path / "a.html")],
        [str(run), "--output", str(tmp_path / "a.html")],
        [str(tmp_path / "none.json"), "--output", str(tmp_path / "a.html")],
        [str(path), "--output", str(path)],
        [str(path), "--output", str(tmp_path)],
        [str(path)] * 51 + ["--output", str(tmp_path / "a.html")],
    ):
        assert main(["report", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert json.loads(path.read_text()) and not (tmp_path / "a.html").exists()


def test_the_command_line_writes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(report_inputs.replay()))
    assert main(["report", str(path), "--output", str(tmp_path / "new" / "a.html")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'new' / 'a.html'}\n"
    assert (tmp_path / "new" / "a.html").read_text().startswith("<!DOCTYPE html>")
