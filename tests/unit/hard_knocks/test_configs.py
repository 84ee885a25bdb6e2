"""Configs that are refused, as the Snakefile reads them: before anything is done."""

from typing import Any

import pytest

from snakesteer.config.layers import settled_layers
from snakesteer.config.load import load_config
from snakesteer.errors import UserError
from snakesteer.models.depth import depth_before_download
from tests.tiny_models import NUM_LAYERS
from tests.workflow.project import CONFIG

# Overlay → what is said: key or value, and remedy.
BAD_CONFIGS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown section": ({"serch": {}}, ("serch is not a known key", "Did you mean 'search'?")),
    "unknown key": ({"search": {"ntrials": 3}}, ("search.ntrials", "Did you mean 'n_trials'?")),
    "section as a text": ({"model": "gpt2"}, ('model = "gpt2"', "must hold keys of its own")),
    "wrong type": ({"search": {"n_trials": "many"}}, ('search.n_trials = "many"', "Default: 8")),
    "fraction of a trial": ({"search": {"n_trials": 2.5}}, ("search.n_trials = 2.5", "Default: 8")),
    "out of range": (
        {"generation": {"temperature": 3}},
        ("generation.temperature = 3", "less than or equal to 2"),
    ),
    "not finite": ({"steering": {"strength": [0, float("inf")]}}, ("steering.strength", "finite")),
    "no methods": ({"steering": {"methods": []}}, ("steering.methods = []", "at least 1 item")),
    "unknown method": (
        {"steering": {"methods": ["cca"]}},
        ("steering.methods names 'cca'", "actadd, caa, dac"),
    ),
    "method twice": (
        {"steering": {"methods": ["caa", "caa"]}},
        ("steering.methods names 'caa' twice", "Name each once"),
    ),
    "no layers": ({"steering": {"layers": []}}, ("steering.layers is empty", "Write [8, 10]")),
    "layer beyond the model": (
        {"steering": {"layers": [1, 4]}},
        ("layer 4, but the model has 4 layers (0 to 3)", "Use layers up to 3"),
    ),
    "fractions of nothing known": (
        {"model": {"name": "some/model"}, "steering": {"layers": [0.5]}},
        ("steering.layers holds fractions", "Set model.num_layers"),
    ),
    "sampling at 0": (
        {"generation": {"do_sample": True}},
        ("do_sample is true but generation.temperature is 0", "Set a temperature above 0"),
    ),
    "ignored temperature": (
        {"generation": {"temperature": 0.7}},
        ("generation.do_sample is false", "Set do_sample: true"),
    ),
    "0 left out": (
        {"steering": {"strength": [0.1, 0.3]}},
        ("leaves out 0", "Let the range include 0"),
    ),
    "range turned": (
        {"steering": {"dac_ptop": [0.8, 0.2]}},
        ("steering.dac_ptop is [0.8, 0.2]", "Write it as [low, high]"),
    ),
    "a budget without its objective": (
        {"search": {"kl_budget": 0.2}},
        ("only the objective kl has a budget", "Set both or neither"),
    ),
    "two objectives for a sampler of one": (
        {"search": {"objectives": ["accuracy", "kl"], "sampler": "cmaes"}},
        ("which knows one objective alone", "Use search.sampler: tpe"),
    ),
    "few nats of what does much at once": (
        {"steering": {"unit": "kl", "operators": ["clamp"]}},
        ("clamp takes a component off at the smallest strength", "Leave clamp out"),
    ),
    "a scope without its window": (
        {"steering": {"scope": "generated_window"}},
        ("generated_window goes with scope", "Set both or neither"),
    ),
    "a window behind all answers": (
        {"steering": {"scope": "generated_window", "generated_window": [5000, 6000]}},
        ("no answer would be steered", "Choose another window"),
    ),
    "a broken regular expression": (
        {"steering": {"scope": "at_tokens", "at_tokens": "[a"}},
        ("steering.at_tokens is '[a', which is no regular expression", "Correct it"),
    ),
    "a gate without a layer": (
        {"steering": {"gates": ["none", {"direction": "caa"}]}},
        ("steering.gates holds a gate that lacks layer", "A whole one is {layer: 0.4,"),
    ),
    "first_k without k": (
        {"steering": {"scope": "first_k"}},
        ("first_k goes with scope", "Set both or neither"),
    ),
    "no placeholder": (
        {"prompt": {"template": "Solve this:"}},
        ("prompt.template is 'Solve this:'", "Write for example"),
    ),
    "no folder named": (
        {"data": {"folder": None}},
        ("data.folder is missing", "Set data.folder to a folder"),
    ),
    "model not there": (
        {"model": {"name": "./no model"}},
        ("'./no model', but there is no such folder", "Name a folder"),
    ),
    "unset variable in a path": (
        {"model": {"name": "${NOT_SET_ANYWHERE}/model"}},
        ("model.name is '${NOT_SET_ANYWHERE}/model'", "'NOT_SET_ANYWHERE' is not set"),
    ),
    "ledger of test reads inside the results": (
        {"evaluation": {"ledger": "results/test_ledger"}},
        ("evaluation.ledger is 'results/test_ledger'", "Name a folder outside"),
    ),
    "fewer problems than shots and pairs": (
        {"data": {"train": 4}},
        ("data.train is 4", "Raise data.train"),
    ),
}


def read(values: dict[str, Any]) -> None:
    """As workflow/rules/common.smk does it."""
    config = load_config(values)
    settled_layers(config.steering, depth_before_download(config.model))


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configs(name: str):
    overlay, words = BAD_CONFIGS[name]
    values = {**CONFIG, "model": {**CONFIG["model"], "name": "a/model"}}
    if "model" not in overlay:
        values["model"]["num_layers"] = NUM_LAYERS  # as of the model that is there in a whole run
    for key, given in overlay.items():
        values[key] = {**values.get(key, {}), **given} if isinstance(given, dict) else given
    with pytest.raises(UserError) as error:
        read(values)
    assert [word for word in words if word not in str(error.value)] == [], error.value
