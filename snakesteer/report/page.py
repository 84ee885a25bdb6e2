"""The page: one file that needs nothing else, neither network nor neighbours.

Scripts may run only if their hash is in the page's content security policy: text that a model wrote
stays text even if it got through the escaping. The policy forbids all connections, too.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import vl_convert
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from snakesteer.report import wording
from snakesteer.report.evidence import Evidence, Record
from snakesteer.report.figures.figure import Figure
from snakesteer.report.harness_text import harness_table, harness_text
from snakesteer.report.off_target_text import off_target_table, off_target_text
from snakesteer.report.origins_text import origins_text
from snakesteer.report.reads import reads_text
from snakesteer.report.tables import luck, make_tables, rounding
from snakesteer.report.verdict import read_verdict

ASSETS = Path(__file__).parent / "assets"

# Of each kind of example on the page; all are in test_generations.jsonl.
EXAMPLES = 5
# Characters of a generated text on the page.
LONGEST = 1500


def render_page(
    evidence: Evidence, figures: Mapping[str, Figure], methods: str, references: str
) -> str:
    """The report as HTML.

    Args:
        evidence: Of the run.
        figures: By name.
        methods: The methods paragraph.
        references: BibTeX entries of what it cites.
    """
    return fill_page(
        "page.html.jinja",
        figures,
        evidence=evidence,
        test=evidence.test,
        model=wording.model_name(evidence.config["model"]),
        data=wording.data_name(evidence.config["data"]),
        chosen=wording.configuration(evidence.params),
        delivered=wording.delivered_words(evidence.test),
        verdict=read_verdict(evidence),
        tables=make_tables(evidence),
        luck=luck(evidence),
        elsewhere=(
            off_target_text(evidence.off_target, "gate" in evidence.params)
            if evidence.off_target
            else None
        ),
        elsewhere_table=off_target_table(evidence.off_target) if evidence.off_target else None,
        harness=harness_text(evidence.harness) if evidence.harness else None,
        harness_table=harness_table(evidence.harness) if evidence.harness else None,
        reads=reads_text(evidence),
        origins=origins_text(evidence),
        rounding=rounding(evidence),
        gained_from=wording.gained_from(evidence.test),
        examples=examples(evidence.generations, evidence.samples),
        config_text=yaml.safe_dump(dict(evidence.config), sort_keys=False, allow_unicode=True),
        methods=methods,
        references=references,
    )


def fill_page(template: str, figures: Mapping[str, Figure], *folders: Path, **parts: object) -> str:
    """A page of the report's kind: base.html.jinja with its style, scripts and figures inside.

    Args:
        template: Its name; it extends base.html.jinja.
        figures: By name.
        folders: Where it lies, if not in `ASSETS`.
        parts: What it names besides.
    """
    environment = Environment(
        loader=FileSystemLoader([*folders, ASSETS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("percent", "points", "points_interval", "percent_interval", "p_value"):
        environment.filters[name] = getattr(wording, name)
    specs = {name: spec for name, figure in figures.items() if (spec := figure.spec())}
    libraries = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # the stub has no default
    scripts = [libraries, (ASSETS / "page.js").read_text(encoding="utf-8")]
    return environment.get_template(template).render(
        figures=figures,
        images={
            name: _image(figure) for name, figure in figures.items() if figure.chart is not None
        },
        charts=Markup(script_json(specs)),
        css=Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
        **parts,
    )


def script_json(value: Any) -> str:
    """JSON for a data block: no text in it can end the block or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def examples(rows: Sequence[Record], samples: int) -> dict[str, Any]:
    """Answers to show: gained and lost ones, or a few of each outcome where none changed.

    Args:
        rows: Of test_generations.jsonl.
        samples: Answers to each problem: with several, it is answers that are counted.

    Returns:
        ``changed``, whether any outcome did, and ``groups`` with a ``title``, their ``count`` in
        all and the ``rows`` to show.
    """
    gained = [row for row in rows if row["steered_correct"] > row["baseline_correct"]]
    lost = [row for row in rows if row["steered_correct"] < row["baseline_correct"]]
    what = " answers" if samples > 1 else ""
    groups = [
        (f"Gained{what}: right only with steering", gained),
        (f"Lost{what}: right only without", lost),
    ]
    if not gained and not lost:
        groups = [
            (f"Right{what}", [row for row in rows if row["baseline_correct"]]),
            (f"Wrong{what}", [row for row in rows if not row["baseline_correct"]]),
        ]
    return {
        "changed": bool(gained or lost),
        "groups": [
            {
                "title": title,
                "count": len(found),
                "rows": [_example(row) for row in found[:EXAMPLES]],
            }
            for title, found in groups
            if found
        ],
    }


def _example(row: Record) -> dict[str, Any]:
    """A row with both texts cut to what the page shows, and to where they begin to differ."""
    before, after = (_clipped(row[f"{name}_text"]) for name in ("baseline", "steered"))
    same = _shared(before, after)
    return {
        **row,
        "baseline_parts": (before[:same], before[same:]),
        "steered_parts": (after[:same], after[same:]),
    }


def _shared(one: str, other: str) -> int:
    """Length of the common beginning, up to the last white space."""
    pairs = enumerate(zip(one, other, strict=False))
    end = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return end if end == len(one) == len(other) else max(one.rfind(c, 0, end) for c in " \n") + 1


def _clipped(text: str) -> str:
    text = text.strip()
    rest = len(text) - LONGEST
    return text if rest <= 0 else f"{text[:LONGEST]} … ({rest} more characters)"


def _image(figure: Figure) -> str:
    """The figure as a data URL, for print and for readers without scripts."""
    return "data:image/svg+xml;base64," + base64.b64encode(figure.svg().encode()).decode()


def _policy(scripts: Sequence[str]) -> str:
    """The content security policy: these scripts, styles of the page, images inside it."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
