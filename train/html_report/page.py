"""The file: template, style and script, the library beside them, and what the browser is allowed."""

import base64
import hashlib
import itertools
from collections.abc import Sequence
from importlib import resources

from tierenv import __version__
from tierenv.train.html_report.charts import draw
from tierenv.train.html_report.document import Chart, Section, Timelines

HATCHES = (
    "",
    "M-2 10L10 -2M-2 2L2 -2M6 10L10 6",
    "M-2 -2L10 10M6 -2L10 2M-2 6L2 10",
    "M0 4H8",
    "M4 0V8",
    "M0 4H8M4 0V8",
    "M-2 -2L10 10M-2 10L10 -2",
    "M2 2h1M6 6h1",
    "M0 2L4 6L8 2",
    "M2 2h4v4h-4z",
)
"""Of the patterns of classes: what tells them apart without colours."""


def page(sections: Sequence[Section]) -> str:
    """A report as HTML that needs nothing beside itself."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    numbers = itertools.count(1)
    environment.filters["drawn"] = lambda chart: Markup(_drawn(chart, next(numbers)))
    is_live = any(isinstance(block, Timelines) for each in sections for part in each.parts for block in part.blocks)
    style, library, script = _file("style.css"), _library() if is_live else "", _file("report.js") if is_live else ""
    title = f"Report: {sections[0].title}" if len(sections) == 1 else f"Report on {len(sections)} inputs"
    text: str = environment.get_template("report.html").render(
        title=title,
        version=__version__,
        sections=sections,
        hatches=HATCHES,
        policy=_content_security_policy(style, [text for text in (library, script) if text]),
        style=Markup(style),
        library=Markup(library),
        library_size=f"{len(library.encode()) / 1e6:.1f} MB",
        script=Markup(script),
    )
    return f"{text.strip()}\n"


def _drawn(chart: Chart, number: int) -> str:
    """A picture with names of its own for what it clips its marks by: Vega names them alike in every picture."""
    svg = draw(chart)
    for start in ('id="', "url(#"):
        svg = svg.replace(f"{start}clip", f"{start}chart-{number}-clip")
    return svg


def _file(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, as vl-convert holds it, with nothing that ends a script early."""
    import vl_convert

    text: str = vl_convert.javascript_bundle()  # type: ignore[call-arg] # stubs lack the default: all of Vega
    return text.replace("</script", r"<\/script")


def _content_security_policy(style: str, scripts: Sequence[str]) -> str:
    """Forbids everything but the very style and scripts of the page: https://www.w3.org/TR/CSP3."""
    allowed = " ".join(map(_hash, scripts)) or "'none'"
    return f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
