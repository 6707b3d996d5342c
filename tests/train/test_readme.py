"""The README's generated parts are what the committed results say."""

from tierenv.train.studies.readme import README, render


def test_readme_is_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert render(text) == text, "run: python -m tierenv.train.studies.readme"
