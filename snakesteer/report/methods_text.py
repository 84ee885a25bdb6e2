"""The methods paragraph of a run, and BibTeX of what the run used."""

import json
import re
from pathlib import Path

from snakesteer.config.catalogue import METHODS
from snakesteer.evaluation.control_kinds import FAMILIES
from snakesteer.report.engine_text import engine_sentences
from snakesteer.report.evidence import Evidence, Record
from snakesteer.report.harness_text import harness_sentences
from snakesteer.report.off_target_text import off_target_sentences
from snakesteer.report.reads import reads_of, reads_words
from snakesteer.report.steering_text import searched_words, steering_sentences, strength_words
from snakesteer.report.wording import (
    configuration,
    count,
    data_name,
    delivered_words,
    model_name,
    p_value,
    percent,
    percent_interval,
    points,
    points_interval,
)

REFERENCES = Path(__file__).parent / "assets" / "references.bib"

SAMPLERS = {
    "tpe": "the tree-structured Parzen estimator [@bergstra2011tpe]",
    "random": "random search",
    "gp": "a Gaussian process",
    "qmc": "a quasi-random sequence",
    "cmaes": "CMA-ES [@hansen2001cmaes]",
    "grid": "a grid",
}
PRUNERS = {
    "median": "the median of earlier trials",
    "successive_halving": "successive halving [@jamieson2016halving]",
    "hyperband": "Hyperband [@li2018hyperband]",
    "wilcoxon": "a Wilcoxon signed-rank test against the best trial [@wilcoxon1945]",
}


def methods_text(evidence: Evidence) -> str:
    """The methods paragraph, Markdown with citation keys as pandoc reads them."""
    paragraphs = (_setting(evidence), _steering(evidence), _search(evidence), _result(evidence))
    return "\n\n".join(" ".join(sentences) for sentences in paragraphs) + "\n"


def references(methods: str) -> str:
    """BibTeX entries of what a methods paragraph cites, in the order of the keys."""
    entries = bibliography()
    # What a user wrote (a rule for tokens, a name) may look like a citation.
    return "\n\n".join(entries[key] for key in cited(methods) if key in entries) + "\n"


def cited(methods: str) -> list[str]:
    """Keys that a text cites, sorted."""
    return sorted(set(re.findall(r"@(\w+)", " ".join(re.findall(r"\[@[^\]]*\]", methods)))))


def bibliography() -> dict[str, str]:
    """All entries that we know, by key."""
    entries = REFERENCES.read_text(encoding="utf-8").strip().split("\n\n")
    return {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def _setting(evidence: Evidence) -> list[str]:
    config, splits, run = evidence.config, evidence.manifest["splits"], evidence.test["run"]
    revision = evidence.model["commit"] or evidence.model["revision"]
    prompt, generation = config["prompt"], config["generation"]
    shots = prompt["shots"]
    decoding = "greedily"
    if generation["do_sample"]:
        kept = f", top-k {generation['top_k']}" if generation["top_k"] else ""
        decoding = (
            f"at temperature {generation['temperature']:g}{kept} and top-p {generation['top_p']:g}"
        )
    source = data_name(config["data"])
    if source == "GSM8K":
        source += f" [@cobbe2021gsm8k] (commit {config['data']['hub_revision'][:12]})"
    switches = prompt["chat_template_kwargs"]
    chat = "in its chat template " if prompt["chat"] else ""
    if switches:
        chat += f"({', '.join(f'{key}: {json.dumps(value)}' for key, value in switches.items())}) "
    return [
        f"We asked whether activation steering changes the accuracy of "
        f"{model_name(config['model'])}"
        f"{f' (revision {revision[:12]})' if revision else ''} on {source}.",
        f"{splits['train']['size']} train, {splits['val']['size']} validation and "
        f"{count(splits['test']['size'], 'test problem')} were drawn with seed "
        f"{config['data']['seed']}, {_parts(config['data'])}; no two splits share a question, not "
        f"even one that differs in its {_masked(evidence.manifest)} alone"
        f"{_groups(config['data'])}.",
        f"The model read {shots or 'no'} worked example{'' if shots == 1 else 's'} from train "
        f"{chat}and answered {decoding} with at most "
        f"{generation['max_new_tokens']} tokens ({run['dtype']}, {run['device']}).",
        "An answer was right if its final number equalled the gold number.",
    ]


def _parts(data: Record) -> str:
    """Which part of the source the splits are from."""
    if data["source"] != "embedded" and data["train_part"] == data["test_part"]:
        return f"all from the source's part {data['test_part']}"
    which = "validation and test" if data["validation_from"] == "test" else "test"
    return f"the {which} problems from the source's own test part"


def _masked(manifest: Record) -> str:
    """What near duplicates may differ in."""
    return "numbers and names" if manifest["near_duplicates"] == "names" else "numbers"


def _groups(data: Record) -> str:
    """What else splits do not share."""
    field = data["group_field"]
    return f", and no {field}" if field and data["source"] != "embedded" else ""


def _steering(evidence: Evidence) -> list[str]:
    return [
        *steering_sentences(evidence.config, _layers(evidence)),
        *engine_sentences(evidence.zero_steering),
    ]


def _search(evidence: Evidence) -> list[str]:
    search, steering = evidence.config["search"], evidence.config["steering"]
    low, high = steering["strength"]
    searched = searched_words(steering, _layers(evidence))
    weighed = "kl" in evidence.best
    price = "KL on neutral text" if weighed else "dose"
    pruner = None if weighed else PRUNERS.get(search["pruner"])
    trials = len(evidence.trials) + len(evidence.over_budget)
    rule = (
        f"the smallest {price} within one paired standard error of the highest accuracy won "
        "[@breiman1984cart]"
        if search["one_standard_error"]
        else f"the highest accuracy won, of equals the smallest {price}"
    )
    return [
        f"{searched} (between {low:g} and {high:g}: "
        f"{strength_words(steering)}) {'were' if ' and ' in searched else 'was'} searched on the "
        f"validation split in {trials} trials of Optuna [@akiba2019optuna] with "
        f"{SAMPLERS[search['sampler']]} and seed {search['seed']}"
        + (f"; hopeless trials were ended early by {pruner}." if pruner else "."),
        *(_two_objectives(evidence) if weighed else []),
        f"The unsteered model was trial 0; {rule}.",
        f"Steering was recommended if it won{_conditions(search, evidence.test['confidence'])}; "
        "the best steered trial was tested in any case.",
    ]


def _two_objectives(evidence: Evidence) -> list[str]:
    """What was searched for beside accuracy, and what became of the trials that cost too much."""
    record = evidence.best["kl"]
    return [
        "The search had two objectives: high accuracy, and a small mean KL(unsteered ‖ steered) of "
        "the next-token distribution on neutral passages, other ones than those reported below.",
        f"Trials above {record['budget']:g} nats per token ({record['over_budget']} of them) were "
        "ended before they answered anything; of the others, on the Pareto front or not, the "
        f"tested configuration ({record['tested']:.3g} nats per token) was chosen by accuracy.",
    ]


def _conditions(search: Record, confidence: float) -> str:
    """What else steering had to show on validation to be recommended."""
    found = ""
    if search["max_t"]:
        found += (
            ", if its lead over no steering stood a correction for the number of trials (max-T "
            f"sign flips [@westfall1993resampling], p < {1.0 - confidence:.2g})"
        )
    if search["confirm"]:
        found += (
            f", and if it led by more than one standard error on the {search['confirm']:.0%} of "
            "the validation problems that were kept from the search"
        )
    return found


def _result(evidence: Evidence) -> list[str]:
    test = evidence.test
    confidence = f"{test['confidence']:.0%}"
    interval = "Wilson's interval [@wilson1927]"
    if "seeds" in test:
        interval = "a bootstrap over problems [@efron1993bootstrap]"
    tested = configuration(evidence.params)
    sentences = [
        f"The search recommended {tested}, which was tested."
        if test["recommendation"] == "steer"
        else f"The search did not recommend steering; the best steered trial was {tested}.",
        *([f"Its {delivered}."] if (delivered := delivered_words(test)) else []),
        *_difference(evidence, confidence, interval),
    ]
    dose = "mean strength (no α_t of their own)" if evidence.dynamic else "dose"
    if evidence.params.get("operator") == "ablate":
        dose = "removed share (of each one's own component, which need not be as long)"
    kind = METHODS[evidence.params["steering_method"]].kind
    where = "heads" if kind == "heads" else "layer"
    where += "s" if {"band_layers", "further"} & {*evidence.params} else ""
    sentences.append(f"Controls at the same {where} and {dose}: {_controls(evidence)}.")
    sentences += off_target_sentences(evidence.off_target) if evidence.off_target else []
    sentences += harness_sentences(evidence.harness) if evidence.harness else []
    several = reads_of(evidence)["final"]["configurations"] > 1
    sentences.append(
        f"The test split had by then been read {reads_words(evidence)}"
        f"{', for which p-values are not adjusted' if several else ''}."
    )
    commit = evidence.provenance["git"]["commit"]
    sentences.append(
        "Computations were run with snakesteer"
        f"{f' (commit {commit[:12]})' if commit else ''} on Snakemake [@molder2021snakemake], "
        "PyTorch [@paszke2019pytorch], Transformers [@wolf2020transformers] and scikit-learn "
        "[@pedregosa2011sklearn]."
    )
    return sentences


def _difference(evidence: Evidence, confidence: str, interval: str) -> list[str]:
    test, (unsteered, steered) = evidence.test, evidence.arms[:2]
    assert steered.difference is not None
    assert steered.difference_ci is not None
    assert steered.p_value is not None
    name = "sign-flip permutation test [@fisher1935design]"
    if "McNemar" in test["test"]:
        name = "exact McNemar test [@mcnemar1947]"
    return [
        f"On {count(test['num_test_samples'], 'test problem')}, {evidence.answered}, accuracy was "
        f"{percent(unsteered.accuracy)} unsteered ({confidence} CI "
        f"{percent_interval(unsteered.accuracy_ci)}, {interval}) and {percent(steered.accuracy)} "
        f"steered ({percent_interval(steered.accuracy_ci)}), a difference of "
        f"{points(steered.difference)} ({confidence} CI {points_interval(steered.difference_ci)}, "
        f"paired percentile bootstrap [@efron1993bootstrap]; {steered.gained} gained, "
        f"{steered.lost} lost, {name}, {p_value(steered.p_value)}).",
        f"Verdict: {test['verdict']} (equivalence: two one-sided tests [@schuirmann1987tost; "
        f"@tango1998paired] within {100.0 * test['equivalence']['margin']:g} points, "
        f"{p_value(test['equivalence']['p_value'])}).",
    ]


def _controls(evidence: Evidence) -> str:
    """Differences of the controls; of those that are drawn, their range and their test."""
    parts = []
    for kind, family in evidence.controls["families"].items():
        drawn = [arm.difference for arm in evidence.arms if arm.kind == kind]
        found = [difference for difference in drawn if difference is not None]
        told = f"{len(found)} {FAMILIES[kind]} {points(min(found))} to {points(max(found))}"
        if len(found) == 1:
            told = f"one draw of {FAMILIES[kind]} {points(found[0])}"
        parts.append(f"{told} (permutation {p_value(family['p_value'])})")
    parts += [
        f"{arm.label.lower()} {points(arm.difference)} ({points_interval(arm.difference_ci)})"
        for arm in evidence.arms[2:]
        if arm.kind not in FAMILIES and arm.difference is not None and arm.difference_ci is not None
    ]
    return "; ".join(parts)


def _layers(evidence: Evidence) -> list[int]:
    return [probe["layer"] for probe in evidence.probes]
