"""docs/model.md says what the code does: every marked departure is listed, and the calibration is the shipped one."""

import ast
import re
from pathlib import Path

from tierenv.train.studies.model_doc import MODEL_DOC, render

MODELS = Path(__file__).resolve().parent.parent / "tierenv" / "sim"


def marked_functions() -> set[str]:
    """Returns module.function of every MODEL: mark, below tierenv.sim."""
    found = set()
    for path in MODELS.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        for number, line in enumerate(text.splitlines(), 1):
            if "MODEL:" in line:
                around = [node for node in functions if node.lineno <= number <= node.end_lineno]
                inner = max(around, key=lambda node: node.lineno).name if around else "module"
                found.add(".".join((*path.relative_to(MODELS).with_suffix("").parts, inner)))
    return found


def test_every_departure_marked_in_the_code_is_listed_and_no_other():
    rows = re.findall(
        r"^\| `([\w.]+)` \|", MODEL_DOC.read_text(encoding="utf-8").split("## Departures")[1], re.MULTILINE
    )
    assert sorted(rows) == sorted(marked_functions())


def test_the_calibration_shown_is_the_shipped_one():
    text = MODEL_DOC.read_text(encoding="utf-8")
    assert render(text) == text, "run: python -m tierenv.train.studies.model_doc"
