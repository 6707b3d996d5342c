"""The generated parts of documents are what the committed results say."""

from tierenv.train.studies import live_doc, readme, reliability_doc


def test_readme_is_current() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.render(text) == text, "run: python -m tierenv.train.studies.readme"


def test_reliability_is_current() -> None:
    text = reliability_doc.RELIABILITY_DOC.read_text(encoding="utf-8")
    assert reliability_doc.render(text) == text, "run: python -m tierenv.train.studies.reliability_doc"


def test_live_is_current() -> None:
    text = live_doc.LIVE_DOC.read_text(encoding="utf-8")
    assert live_doc.render(text) == text, "run: python -m tierenv.train.studies.live_doc"
