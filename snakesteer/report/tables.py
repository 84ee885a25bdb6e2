"""Tables of the report that belong to no figure."""

from snakesteer.evaluation.control_kinds import FAMILIES
from snakesteer.report.engine_text import equal_tokens
from snakesteer.report.evidence import Evidence, Record
from snakesteer.report.figures.figure import Table
from snakesteer.report.wording import p_number, percent, points, signed

RATE_LABELS = (
    ("Numeric match (the measure)", "accuracy"),
    ("lm-evaluation-harness, strict-match", "strict_match"),
    ("lm-evaluation-harness, flexible-extract", "flexible_extract"),
    ("Judged as math-verify judges", "math_verify_agreement"),
    ("Without a final number", "invalid_rate"),
    ("Cut off at the length limit", "truncated_rate"),
    ("Cut off before a final number", "unfinished_rate"),
    ("Repeating itself", "repetition_rate"),
)

# What a verdict says of one steering against another.
COMPARED = {"helps": "better", "hurts": "worse"}


def make_tables(evidence: Evidence) -> dict[str, Table]:
    """The tables by name."""
    manifest, record = evidence.manifest, evidence.provenance
    return {
        "answers": answers_table(evidence),
        "families": families_table(evidence),
        "against": against_table(evidence),
        "steps": steps_table(evidence),
        "gate": gate_table(evidence),
        "vectors": vectors_table(evidence),
        "splits": Table(
            "Sizes of the splits",
            ("Split", "Problems", "SHA-256 of the file"),
            tuple(
                (name, str(split["size"]), split["file_sha256"][:16] + "…")
                for name, split in manifest["splits"].items()
            ),
        ),
        "overlaps": Table(
            "Questions that two splits share",
            _overlap_columns(manifest),
            tuple(
                (pair.replace("/", " and "), *map(str, shared.values()))
                for pair, shared in manifest["overlaps"].items()
            ),
        ),
        "run": run_table(evidence),
        "versions": _pairs("Versions", "Package", "Version", record["versions"]),
        "seeds": _pairs("Seeds", "Key", "Seed", record["seeds"]),
        "hashes": _pairs("SHA-256 of the files", "File", "SHA-256", record["sha256"]),
    }


def _overlap_columns(manifest: Record) -> tuple[str, ...]:
    """What `snakesteer.data.duplicates.overlaps` counts, in words."""
    near = "numbers and names" if manifest["near_duplicates"] == "names" else "numbers"
    columns = ("Splits", "Word for word", f"Up to their {near}", "Of one group")
    return columns[: 1 + len(next(iter(manifest["overlaps"].values())))]


def answers_table(evidence: Evidence) -> Table:
    """All graders, and the signs of a model that steering has broken."""
    metrics = [evidence.test[f"{run}_benchmark_metrics"] for run in ("baseline", "steered")]
    rows = [
        (label, *(percent(each[key]) for each in metrics))
        for label, key in RATE_LABELS
        if key in metrics[0]
    ]
    lengths = (f"{each['mean_new_tokens']:.1f}" for each in metrics)
    return Table(
        "How the answers to the test split look",
        ("Share of answers", "Unsteered", "Steered"),
        (*rows, ("Mean length in tokens", *lengths)),
    )


def families_table(evidence: Evidence) -> Table:
    """How often random directions and shuffled labels do as well as the tested vector."""
    return Table(
        "The tested vector among controls of one kind",
        ("Controls", "Accuracy", "Beaten", "p (permutation)", "Smallest possible p"),
        tuple(
            (
                FAMILIES[kind].capitalize(),
                f"{percent(family['worst'])} to {percent(family['best'])}",
                f"{family['below_chosen']} of {family['count']}",
                p_number(family["p_value"]),
                p_number(family["smallest_p"]),
            )
            for kind, family in evidence.controls["families"].items()
        ),
    )


def against_table(evidence: Evidence) -> Table:
    """The tested configuration against each control, on the same problems."""
    return Table(
        "The tested steering against each control",
        (
            "Control",
            "Ahead by, in points",
            "Interval",
            "Gained",
            "Lost",
            "p",
            "p (Holm)",
            "Verdict",
        ),
        tuple(
            (
                arm.label,
                signed(100.0 * found["difference"]),
                " to ".join(signed(100.0 * end) for end in found["difference_ci"]),
                str(found["mcnemar"]["gained"]),
                str(found["mcnemar"]["lost"]),
                p_number(found["mcnemar"]["p_value"]),
                p_number(found["p_holm"]),
                COMPARED.get(found["verdict"], found["verdict"]),
            )
            for arm, control in zip(evidence.arms[2:], evidence.controls["controls"], strict=True)
            for found in (control["against_chosen"],)
        ),
    )


def steps_table(evidence: Evidence) -> Table:
    """Accuracy on easy and hard problems."""
    return Table(
        "Accuracy by the number of steps of the gold solution",
        ("Steps", "Problems", "Unsteered", "Steered", "Gained", "Lost"),
        tuple(
            (
                group["steps"],
                str(group["n"]),
                percent(group["baseline_accuracy"]),
                percent(group["steered_accuracy"]),
                str(group["gained"]),
                str(group["lost"]),
            )
            for group in evidence.test["by_steps"]
        ),
    )


def vectors_table(evidence: Evidence) -> Table:
    """How far the pairs agree on each vector, and how much of it the read tokens predict."""
    return Table(
        "What the vectors are worth",
        (
            *("Vector", "Pairs", "Split-half cosine", "95% of splits", "Token cosine"),
            *("Token share", "Warnings"),
        ),
        tuple(
            (
                f"{header['direction']}, layer {header['layer']}",
                str(header["pairs"]),
                signed(header["split_half_cosine"], 2),
                " to ".join(signed(end, 2) for end in header["split_half_interval"]),
                signed(header["token_cosine"], 2),
                signed(header["token_share"], 2),
                "; ".join(warning.partition(":")[0] for warning in header["warnings"]) or "none",
            )
            for header in evidence.vectors
        ),
    )


def gate_table(evidence: Evidence) -> Table:
    """What the zero-steering check compared and measured."""
    return Table(
        "What the check compared and measured",
        (
            *("Kind of steering", "α = 0: tokens", "α = 0: largest logit difference"),
            *("α ≠ 0: places steered", "places untouched", "largest error (roundings)"),
            "logits off the plain model's (of what rounding explains)",
        ),
        tuple(
            (
                name,
                equal_tokens(found),
                f"{found['max_logit_difference']:g}",
                *_measured(found),
                _unlike_plain(found["plain_model"]),
            )
            for name, found in evidence.zero_steering["kinds"].items()
        ),
    )


def _measured(found: Record) -> tuple[str, str, str]:
    """What was measured at a strength; nothing for no steering."""
    if "places_steered" not in found:
        return "", "", ""
    error = f"{found['max_error_in_roundings']:.2g}"
    return str(found["places_steered"]), str(found["places_left_alone"]), error


def _unlike_plain(found: Record) -> str:
    """How far an engine's logits were from the plain model's."""
    return f"{found['error']:.2g} of {found['bound']:.2g}"


def run_table(evidence: Evidence) -> Table:
    """What the run was made with."""
    record = evidence.provenance
    git, model, run = record["git"], evidence.model, evidence.test["run"]
    commit = git["commit"] or "no checkout"
    if git["dirty"]:
        commit += f" with local changes ({git['diff_sha256'][:12]}…)"
    rows = {
        "Finished": record["created"],
        "snakesteer commit": commit,
        "Model": model["name"],
        "Model revision": model["commit"] or model["revision"] or "none (a local model)",
        "Architecture": f"{model['model_type']}, {model['num_layers']} layers of "
        f"{model['hidden_size']}",
        "Engine": f"{run['engine']}, {run['slots']} at a time"
        if run.get("slots")
        else run["engine"],
        "Device and dtype": f"{run['device']}, {run['dtype']}",
        "Machine": _machine(record["machine"]),
    }
    return Table("The run", ("What", "Value"), tuple(rows.items()))


def _machine(machine: Record) -> str:
    parts = [
        f"{machine['processor']}, {machine['cores']} cores",
        f"{machine['memory_bytes'] / 2**30:.0f} GiB",
        machine["platform"],
    ]
    if gpu := machine["gpu"]:
        parts.insert(0, f"{gpu['name']} ({gpu['memory_bytes'] / 2**30:.0f} GiB)")
    return ", ".join(parts)


def luck(evidence: Evidence) -> str:
    """What became, on test, of the lead on validation."""
    test = evidence.test
    on_validation = test["best_validation_score"] - test["baseline_validation_score"]
    text = (
        "On validation the tested configuration differed from the unsteered model by "
        f"{points(on_validation)}, on test by {points(test['accuracy_improvement'])}. The best of "
        "many noisy candidates looks better than it is: trust the test split."
    )
    if "seeds" in test:
        seeds = test["seeds"]
        text += (
            f" Each problem was answered {seeds['samples']} times; from sample to sample accuracy "
            f"has a standard deviation of {100 * seeds['baseline_sd']:.1f} points unsteered and "
            f"{100 * seeds['steered_sd']:.1f} steered."
        )
    return text


def rounding(evidence: Evidence) -> str:
    """How many validation answers change without any steering; empty where it was not measured."""
    floor = evidence.baseline["noise_floor"]
    if floor is None:
        return ""
    first = "first " if floor["n"] < evidence.baseline["total_samples"] else ""
    of = f"{floor['n']} validation answers"
    flips = floor["gained"] + floor["lost"]
    text = f"Answered again with {floor['setting']} and no steering, "
    if not floor["texts_changed"]:
        return f"{text}the {first}{of} read the same."
    text += f"{floor['texts_changed']} of the {first}{of} read differently and "
    if not flips:
        return f"{text}none changed between right and wrong."
    return f"{text}{flips} changed between right and wrong: effects below that are rounding."


def _pairs(caption: str, key: str, value: str, found: dict[str, object]) -> Table:
    return Table(caption, (key, value), tuple((name, str(each)) for name, each in found.items()))
