"""Tiny files in the formats of published data sets: their fields, problems of our own.

Each set has what its overlay in config/tasks/ must cope with: parts that are missing, variations of
one problem, answers that are no number.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

Rows = list[dict[str, Any]]

NAMES = ("Ada", "Ben", "Cleo", "Dan")
# What happens, and the question: no two are alike.
STORIES = (
    ("{name} picked {a} plums and {b} pears.", "How many fruits are there?"),
    ("A shelf has room for {a} books, {b} more were put on top.", "How many books does it hold?"),
    ("{name} walked {a} miles on Monday and {b} miles on Friday.", "How far did {name} walk?"),
    ("The bus carries {a} people when {b} people get on.", "How many people ride now?"),
    ("{name} baked {a} rolls before lunch and {b} after it.", "How many rolls were baked?"),
    ("In a pond {a} frogs sit on stones and {b} swim.", "How many frogs live there?"),
    ("{name} paid {a} dollars for a lamp and {b} for its bulb.", "What did {name} spend?"),
    ("There were {a} letters in the box, then {b} came.", "How many letters lie in it?"),
    ("{name} read {a} pages aloud and {b} silently.", "How many pages did {name} read?"),
    ("A choir of {a} children took in {b} new singers.", "How large is the choir?"),
    ("{name} planted {a} tulips beside {b} roses.", "How many flowers are in the bed?"),
    ("One tank holds {a} litres, the other {b}.", "How much do both hold?"),
    ("{name} saved {a} coins and found {b} under the sofa.", "How many coins is that?"),
    ("A train of {a} cars is joined by {b} cars.", "How long is the train in cars?"),
    ("{name} knitted {a} hats for cats and {b} for dogs.", "How many hats did {name} knit?"),
    ("The farm sold {a} eggs in the morning and {b} at night.", "How many eggs were sold?"),
)


def stories() -> Iterator[tuple[str, str, int, int]]:
    """Body, question, and the two numbers whose sum is asked for."""
    for n, (body, question) in enumerate(STORIES):
        name, a, b = NAMES[n % len(NAMES)], n + 3, 2 * n + 5
        yield body.format(name=name, a=a, b=b), question.format(name=name), a, b


def svamp() -> Rows:
    """Body and question apart; the answer is a text of a decimal."""
    return [
        {
            **{"ID": f"chal-{n}", "Body": body, "Question": question},
            **{"Equation": f"( {a}.0 + {b}.0 )", "Answer": f"{a + b}.0", "Type": "Addition"},
            "question_concat": f"{body} {question}",
        }
        for n, (body, question, a, b) in enumerate(stories())
    ]


def asdiv() -> Rows:
    """The unit behind the number; some answers are two numbers, a ratio or a word."""
    units = [" (fruits)", " ($)", "", " (miles)"]
    rows = [
        {
            **{"body": body, "question": question, "solution_type": "Addition"},
            **{"answer": f"{a + b}{units[n % 4]}", "formula": f"{a}+{b}={a + b}"},
        }
        for n, (body, question, a, b) in enumerate(stories())
    ]
    for n, answer in ((3, "1:5"), (6, "3 (hours); 30 (minutes)"), (9, "Sunday"), (12, "2/3")):
        rows[n]["answer"] = answer
    return rows


def mawps() -> Rows:
    """Calc-X: the result as a text, thousands behind low lines."""
    return [
        {
            **{"id": f"mawps__{n}", "question": f"{body} {question}", "chain": "<result></result>"},
            **{"result": f"{1000 * a + b:_}", "result_float": float(1000 * a + b)},
            **{"equation": f"x={a}+{b}", "expression": f"{a}+{b}"},
        }
        for n, (body, question, a, b) in enumerate(stories())
    ]


PERTURBATIONS = ("numerical substitution", "distraction insertion", "critical thinking")


def gsm_plus() -> Rows:
    """Perturbations of one problem behind one another; where a number is missing, "None"."""
    rows = []
    for body, question, a, b in stories():
        seed = {
            "seed_question": f"{body} {question}",
            "seed_solution": f"{a} + {b} = {a + b}",
            "seed_answer": str(a + b),
        }
        texts = (
            (f"{body} {question}".replace(str(a), str(a + 1)), str(a + b + 1)),
            (f"It rains. {body} The sun is shining again. {question}", str(a + b)),
            (f"{body} {question}".replace(str(b), "some"), "None"),
        )
        for kind, (text, answer) in zip(PERTURBATIONS, texts, strict=True):
            row = {"question": text, "solution": "…", "answer": answer, "perturbation_type": kind}
            rows.append({**row, **seed})
    return rows


def gsm_symbolic() -> Rows:
    """Instances of templates, with the original; solutions as GSM8K has them."""
    rows = []
    for template, (body, question) in enumerate(STORIES):
        for instance, name in enumerate(NAMES):
            a, b = template + 2 + instance, template + 7
            values = {"name": name, "a": a, "b": b}
            original = {"name": "Zoe", "a": 1, "b": 2}
            rows.append(
                {
                    **{"id": template, "instance": instance, "original_id": 100 + template},
                    "question": f"{body} {question}".format(**values),
                    "answer": f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n#### {a + b}",
                    "original_question": f"{body} {question}".format(**original),
                    **{"original_answer": "3\n#### 3", "canary": "a canary"},
                }
            )
    return rows


def mgsm() -> Rows:
    """No worked answer in the test part; the number apart."""
    return [
        {
            **{"question": f"{body} {question}", "answer": None},
            **{"answer_number": a + b, "equation_solution": None},
        }
        for body, question, a, b in stories()
    ]


def gsm1k() -> Rows:
    """Questions and numbers."""
    return [{"question": f"{b} {q}", "answer": x + y} for b, q, x, y in stories()]


# Name of the overlay → rows, and the files that they are written to.
SETS: dict[str, tuple[Rows, tuple[str, ...]]] = {
    "svamp": (svamp(), ("train.json", "test.json")),
    "asdiv": (asdiv(), ("validation.parquet",)),
    "mawps": (mawps(), ("train.parquet", "test.parquet")),
    "gsm-plus": (gsm_plus(), ("test.jsonl",)),
    "gsm-symbolic": (gsm_symbolic(), ("test.jsonl",)),
    "mgsm": (mgsm(), ("test.parquet",)),
    "gsm1k": (gsm1k(), ("test.parquet",)),
}


def write_set(name: str, folder: Path) -> None:
    """Write a set's files; of two, the first has ten rows and the other the rest."""
    rows, files = SETS[name]
    folder.mkdir()
    parts = (rows,) if len(files) == 1 else (rows[:10], rows[10:])
    for file, part in zip(files, parts, strict=True):
        write_table(folder / file, part)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, a JSON list or Parquet, as the ending says."""
    rows = list(rows)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
