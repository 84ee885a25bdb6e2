"""The typed config: what it accepts, what it refuses, and with which words."""

import pytest
from pydantic import ValidationError

from snakesteer.config import (
    Config,
    DataConfig,
    GenerationConfig,
    PairsConfig,
    PromptConfig,
    SteeringConfig,
)
from snakesteer.config.load import load_config
from snakesteer.config.pairs import READS
from snakesteer.config.params import leaves, section
from snakesteer.errors import UserError

# Each: what a user wrote, and what the message must contain: key, value and remedy.
UNKNOWN_KEYS = [
    ({"serch": {}}, ["serch is not a known key", "Did you mean 'search'?"]),
    ({"search": {"ntrials": 3}}, ["search.ntrials is not", "Did you mean 'n_trials'?", "sampler"]),
    ({"model": {"zzz": 1}}, ["model.zzz is not a known key", "Remove it", "num_layers"]),
    ({1: 2}, ["1 is not a known key"]),
]
WRONG_TYPES = [
    ({"training": {"objective": "rl"}}, ["training.objective", "'sft'", "'reinforce'"]),
    ({"training": {"held_out": 1.0}}, ["training.held_out = 1"]),
    ({"training": {"kl": 0.1}}, ["training.kl is 0.1", "'sft'", "for reinforce", "Leave kl out"]),
    ({"training": {"samples": 4}}, ["training.samples is 4", "own_correct"]),
    (
        {"training": {"objective": "own_correct", "beta": 1.0}},
        ["training.beta is 1.0", "'own_correct'", "for preference"],
    ),
    ({"model": "gpt2"}, ['model = "gpt2"', "keys of its own", "model: {name: …}"]),
    ({"pairs": None}, ["pairs = null", "keys of its own"]),
    ({"search": {"n_trials": "many"}}, ['search.n_trials = "many"', "integer", "Default: 8"]),
    ({"search": {"n_trials": 2.5}}, ["search.n_trials = 2.5", "fractional"]),
    ({"search": {"n_trials": 0}}, ["search.n_trials = 0", "greater than or equal to 2"]),
    ({"data": {"steps": 3}}, ["data.steps = 3", "1 or 2"]),
    ({"data": {"source": "web"}}, ['data.source = "web"', "'embedded', 'hub' or 'folder'"]),
    ({"data": {"val": -1}}, ["data.val = -1"]),
    ({"model": {"dtype": "int8"}}, ["model.dtype", "bfloat16"]),
    ({"model": {"trust_remote_code": "well"}}, ["model.trust_remote_code", "boolean"]),
    (
        {"prompt": {"chat": True, "chat_template_kwargs": ["enable_thinking"]}},
        ["prompt.chat_template_kwargs = ", "dictionary", "Default: {}"],
    ),
    (
        {"prompt": {"chat": True, "chat_template_kwargs": {"enable_thinking": None}}},
        ['prompt.chat_template_kwargs = {"enable_thinking": null}'],
    ),
    ({"prompt": {"stop": "Question:"}}, ['prompt.stop = "Question:"', "list"]),
    ({"generation": {"temperature": 3}}, ["generation.temperature = 3", "equal to 2"]),
    ({"generation": {"temperature": "nan"}}, ["generation.temperature", "finite"]),
    ({"generation": {"max_new_tokens": 0}}, ["generation.max_new_tokens = 0"]),
    ({"generation": {"top_p": 0}}, ["generation.top_p = 0", "greater than 0"]),
    ({"steering": {"methods": []}}, ["steering.methods = []", "at least 1"]),
    (
        {"steering": {"methods": ["cca"]}},
        ["steering.methods names 'cca'", "caa, dac", "methods/cca.py"],
    ),
    ({"steering": {"operators": ["ad"]}}, ['steering.operators = ["ad"]', "'clamp'"]),
    ({"steering": {"band": 0}}, ["steering.band = 0"]),
    ({"steering": {"strength": [0]}}, ["steering.strength = [0]", "Lowest and highest"]),
    ({"steering": {"layers": 8}}, ["steering.layers = 8", "a range '8-12'"]),
    ({"steering": {"layers": [None]}}, ["steering.layers = [null]", "fractions of the depth"]),
    ({"evaluation": {"confidence": 1}}, ["evaluation.confidence = 1", "less than 1"]),
]
INSTRUCTIONS = {"kind": "prompt_contrast", "read": "last_prompt_token"}
IMPOSSIBLE = [
    ({"data": {"source": "folder"}}, ["data.folder is missing", "train.jsonl"]),
    ({"data": {"train": 7}}, ["data.train is 7", "prompt.shots (4)", "need 8", "Raise data.train"]),
    ({"data": {"val": 3}}, ["data.val is 3", "pairs.min_pairs (4)", "Raise data.val"]),
    ({"prompt": {"template": "Q:"}}, ["prompt.template is 'Q:'", "{question} exactly once"]),
    ({"prompt": {"template": "{question}{question}"}}, ["{question} exactly once"]),
    ({"prompt": {"answer_template": ""}}, ["prompt.answer_template is ''", "{answer}"]),
    ({"prompt": {"system": "Be brief."}}, ["prompt.system", "prompt.chat: true"]),
    (
        {"prompt": {"chat_template_kwargs": {"enable_thinking": False}}},
        ["prompt.chat_template_kwargs", "prompt.chat: true"],
    ),
    (
        {"prompt": {"chat": True, "chat_template_kwargs": {"tokenize": True, "messages": "Hi"}}},
        ["prompt.chat_template_kwargs holds messages, tokenize", "such as enable_thinking"],
    ),
    ({"prompt": {"stop": [""]}}, ["prompt.stop contains an empty string", "Remove it"]),
    ({"generation": {"do_sample": True}}, ["temperature is 0", "do_sample: false"]),
    ({"generation": {"temperature": 0.7}}, ["temperature is 0.7", "do_sample: true"]),
    ({"engine": {"name": "vllm", "attention": "flex"}}, ["attention is 'flex'", "name: slots"]),
    ({"engine": {"compile": "always", "attention": "flex"}}, ["compile is 'always'", "blocks"]),
    ({"generation": {"top_k": 5}}, ["top_k is set", "top_k: 0"]),
    ({"generation": {"top_p": 0.5}}, ["generation.top_p", "top_p: 1.0"]),
    ({"steering": {"methods": ["caa", "caa"]}}, ["steering.methods names 'caa' twice"]),
    ({"steering": {"directions": ["probe"] * 2}}, ["steering.directions names 'probe' twice"]),
    ({"steering": {"strength": [0.1, 0.3]}}, ["[0.1, 0.3] and leaves out 0", "include 0"]),
    ({"steering": {"strength": [0.5, -0.5]}}, ["steering.strength is [0.5, -0.5]", "[low, high]"]),
    ({"steering": {"strength": [0, 0]}}, ["steering.strength is [0.0, 0.0]"]),
    ({"steering": {"dac_ptop": [0.0, 0.5]}}, ["steering.dac_ptop", "(0, 1]"]),
    ({"steering": {"dac_ptop": [0.5, 1.5]}}, ["steering.dac_ptop", "(0, 1]"]),
    ({"steering": {"dac_entropy_threshold": [-1, 1]}}, ["cannot be negative"]),
    ({"steering": {"dac_max_alpha": [3, 1]}}, ["steering.dac_max_alpha is [3.0, 1.0]"]),
    ({"steering": {"dac_probe": 0}}, ["steering.dac_probe = 0", "greater than 0"]),
    # Its old name: a factor on the raw vector, which means something else now.
    (
        {"steering": {"dac_probe_alpha": 20}},
        ["steering.dac_probe_alpha is not a known key", "Did you mean 'dac_probe'?"],
    ),
    # It has another meaning, too: there are no rounds any more.
    (
        {"search": {"trials_per_round": 4}},
        ["search.trials_per_round is not a known key", "Did you mean 'trials_in_flight'?"],
    ),
    ({"steering": {"scope": "first_k"}}, ["steering.first_k is None", "Set both or neither"]),
    ({"steering": {"operators": ["add"] * 2}}, ["steering.operators names 'add' twice"]),
    (
        {"steering": {"methods": ["dac"], "operators": ["clamp"]}},
        ["steering.operators is ['clamp']", "['dac']", "Add caa"],
    ),
    ({"steering": {"gates": []}}, ["steering.gates = []", "at least 1 item"]),
    ({"steering": {"gates": "none"}}, ["steering.gates", "valid list"]),
    ({"steering": {"gates": ["none", 0.4]}}, ["steering.gates holds 0.4", "Write none, or a gate"]),
    ({"steering": {"gates": [{}]}}, ["a gate that lacks layer", "{layer: 0.4, "]),
    (
        {"steering": {"gates": [{"layer": 3, "threshold": 0.1}]}},
        ["has 'threshold', which is none of layer, direction,", "A whole one is"],
    ),
    ({"steering": {"gates": [{"layer": 1.5}]}}, ["has layer: 1.5 (no block counted from 0"]),
    ({"steering": {"gates": [{"layer": -1}]}}, ["has layer: -1 (no block counted from 0"]),
    (
        {"steering": {"gates": [{"layer": 1, "direction": "trained"}]}},
        ["has direction: 'trained' (none of caa, "],
    ),
    (
        {"steering": {"gates": [{"layer": 1, "quantile": 1}]}},
        ["has quantile: 1 (input should be less than 1)"],
    ),
    (
        {"steering": {"gates": [{"layer": 1, "when": "always"}]}},
        ["has when: 'always' (input should be 'token' or 'prompt')"],
    ),
    (
        {"steering": {"unit": "kl", "strength": [0, 1], "gates": [{"layer": 1}]}},
        ["steering.unit is 'kl' and steering.gates has a gate", "Leave gates out, or use"],
    ),
    ({"steering": {"gates": [{"layer": 1}] * 2}}, ["names 'token cosine caa layer 1 above 0.5'"]),
    (
        {"steering": {"methods": ["dac"], "gates": [{"layer": 1}]}},
        ["steering.gates is [", "none uses it: it is for caa", "Add caa, or leave gates out"],
    ),
    ({"steering": {"methods": ["actadd"]}}, ["actadd_prompts is None", "Set both or neither"]),
    (
        {"steering": {"actadd_prompts": ["Think.", "Guess."]}},
        ["['caa', 'dac']", "('Think.', 'Guess.')", "Set both or neither"],
    ),
    ({"steering": {"actadd_prompts": ["Think."]}}, ["steering.actadd_prompts"]),
    ({"steering": {"first_k": 3}}, ["steering.first_k is 3", "Set both or neither"]),
    (
        {"steering": {"scope": "generated_window"}},
        ["steering.generated_window is None", "only with it. Set both or neither"],
    ),
    (
        {"steering": {"generated_window": [0, 4]}},
        ["'from_last_prompt_token' and steering.generated_window is (0, 4)", "Set both"],
    ),
    ({"steering": {"scope": "not_at_tokens"}}, ["at_tokens is None", "'at_tokens' or 'not_at"]),
    ({"steering": {"at_tokens": [7]}}, ["steering.at_tokens is (7,)", "Set both or neither"]),
    (
        {"steering": {"scope": "at_tokens", "at_tokens": "a)"}},
        ["steering.at_tokens is 'a)', which is no regular expression", "Correct it, or"],
    ),
    (
        {"steering": {"scope": "at_tokens", "at_tokens": []}},
        ["steering.at_tokens is []", "name at least one token"],
    ),
    (
        {"steering": {"scope": "at_tokens", "at_tokens": ["a", -3]}},
        ["steering.at_tokens is ['a', -3]", "ids from 0 on"],
    ),
    (
        {"steering": {"scope": "outside_generated_window", "generated_window": [4, 4]}},
        ["steering.generated_window is [4, 4] and holds no token", "0 <= a < b"],
    ),
    (
        {"steering": {"scope": "generated_window", "generated_window": [-1, 4]}},
        ["steering.generated_window is [-1, 4]", "count from 0"],
    ),
    (
        {
            "steering": {"scope": "generated_window", "generated_window": [39, 60]},
            "generation": {"max_new_tokens": 40},
        },
        ["steering.generated_window is [39, 60]", "no answer would be steered", "another window"],
    ),
    (
        {"steering": {"methods": ["caa", "actadd"], "band": 2, "actadd_prompts": ["a", "b"]}},
        ["steering.band is 2", "['caa', 'actadd']", "Leave band out"],
    ),
    ({"steering": {"methods": ["iti"], "band": 2}}, ["steering.band is 2", "Leave band out"]),
    (
        {"steering": {"methods": ["dac", "iti"], "scope": "all"}},
        ["steering.scope is 'all'", "['dac', 'iti']", "Add caa, or leave scope out"],
    ),
    (
        {"steering": {"methods": ["dac"], "scope": "first_k", "first_k": 2}},
        ["steering.scope is 'first_k'", "Add caa, or leave scope out"],
    ),
    (
        {"steering": {"methods": ["caa", "iti"], "dac_kl": "per_token"}},
        ["steering.dac_kl is 'per_token'", "Add dac or dac_heads, or leave dac_kl out"],
    ),
    (
        {"steering": {"methods": ["iti"], "heads_schedule": "fixed"}},
        ["steering.heads_schedule is 'fixed'", "Add dac_heads, or leave heads_schedule out"],
    ),
    (
        {"steering": {"heads_after": "zero"}},
        ["steering.heads_after is 'zero'", "Add dac_heads, or leave heads_after out"],
    ),
    ({"steering": {"layers": "12-8"}}, ["steering.layers is '12-8', an empty range"]),
    ({"steering": {"layers": [8, 8]}}, ["names a layer twice: [8, 8]"]),
    *(
        (
            {"pairs": {"kind": kind, **read}},
            [f"pairs.kind is '{kind}'", "accidents of style", "pairs.read: response_mean or last"],
        )
        for kind in ("model_correct_vs_wrong", "own_right_vs_wrong", "gold_vs_own_wrong")
        for read in ({"read": "first_difference"}, {})
    ),
    (
        {"pairs": {"kind": "prompt_contrast", "read": "response_mean"}},
        ["pairs.read is 'response_mean'", "without a solution", "pairs.read: last_prompt_token"],
    ),
    (
        {"pairs": {"read": "last_prompt_token"}},
        [
            "pairs.kind is 'gold_vs_corrupted'",
            "the same prompt",
            "before_last_number or first_diff",
        ],
    ),
    ({"pairs": {"prompts": ["A", "B"]}}, ["pairs.prompts is ['A', 'B']", "leave prompts out"]),
    (
        {"pairs": {**INSTRUCTIONS, "prompts": ["Think.", "Think. "]}},
        ["pairs.prompts is ['Think.', 'Think. ']", "Write two different instructions"],
    ),
    ({"pairs": {**INSTRUCTIONS, "prompts": ["A", ""]}}, ["Write two different instructions"]),
    ({"pairs": {**INSTRUCTIONS, "prompts": ["A"]}}, ["pairs.prompts"]),
    (
        {"pairs": INSTRUCTIONS, "steering": {"methods": ["dac_heads"]}},
        ["pairs.kind is 'prompt_contrast'", "['dac_heads']", "leave dac_heads out"],
    ),
    ({"evaluation": {"samples": 3}}, ["evaluation.samples is 3", "do_sample: true"]),
    ({"evaluation": {"prompt_control": ""}}, ["evaluation.prompt_control"]),
    (
        {"results": "runs/a", "evaluation": {"ledger": "runs/b/../a/reads"}},
        ["evaluation.ledger is 'runs/b/../a/reads'", "inside results", "outside of them"],
    ),
    ({"search": {"objectives": ["kl"]}}, ["search.objectives is ['kl']", "[accuracy, kl]"]),
    ({"search": {"objectives": ["kl", "accuracy"]}}, ["Write [accuracy] or [accuracy, kl]"]),
    (
        {"search": {"objectives": ["accuracy", "kl"], "sampler": "cmaes"}},
        ["search.sampler is 'cmaes'", "one objective alone", "tpe, gp"],
    ),
    (
        {"search": {"objectives": ["accuracy", "kl"], "pruner": "hyperband"}},
        ["search.pruner is 'hyperband'", "Leave search.pruner out"],
    ),
    (
        {"search": {"kl_budget": 0.2}},
        ["search.kl_budget is 0.2", "search.objectives is ['accuracy']", "Set both or neither"],
    ),
    (
        {"steering": {"unit": "kl", "operators": ["add", "clamp"]}},
        ["steering.unit is 'kl'", "['add', 'clamp']", "Leave clamp out"],
    ),
    (
        {
            "steering": {"unit": "kl", "strength": [0, 0.1]},
            "sensitivity": {"in_report": True, "strengths": [-0.1, 0.05, 0.2]},
        },
        ["sensitivity.strengths names [-0.1, 0.2]", "[0.0, 0.1]", "leave these out"],
    ),
    ({"sensitivity": {"strengths": [0.1, 0]}}, ["[0.1, 0.0]", "Name every other strength once"]),
    ({"sensitivity": {"strengths": [0.1, 0.1]}}, ["sensitivity.strengths is [0.1, 0.1]"]),
    ({"sensitivity": {"methods": ["caa", "caa"]}}, ["sensitivity.methods names 'caa' twice"]),
    ({"sensitivity": {"methods": ["iti"]}}, ["sensitivity.methods"]),
]


@pytest.mark.parametrize(("kind", "read"), [(k, r) for k, reads in READS.items() for r in reads])
def test_every_kind_of_pair_can_be_read_somewhere(kind, read):
    config = load_config({"pairs": {"kind": kind, "read": read}})
    assert section(PairsConfig, "pairs", leaves("pairs", config.pairs)) == config.pairs


@pytest.mark.parametrize(("values", "expected"), UNKNOWN_KEYS + WRONG_TYPES + IMPOSSIBLE)
def test_bad_configs_are_refused_with_key_value_and_remedy(values, expected):
    with pytest.raises(UserError) as caught:
        load_config(values)
    message = str(caught.value)
    for text in expected:
        assert text in message
    assert message.count("\n  - ") == 1
    assert "config/config.yaml" in message


def test_every_problem_is_named_at_once():
    with pytest.raises(UserError) as caught:
        load_config(
            {
                "serch": {},
                "data": {"val": 0, "source": "folder"},
                "steering": {"methods": ["x", "y"], "layers": "?"},
            }
        )
    problems = str(caught.value).split("\n  - ")[1:]
    keys = {problem.split(" ")[0] for problem in problems}
    assert keys == {"serch", "data.val", "steering.methods"}


def test_two_impossible_sections_are_both_named():
    with pytest.raises(UserError) as caught:
        load_config({"generation": {"do_sample": True}, "prompt": {"stop": [""]}})
    assert "generation.do_sample" in str(caught.value)
    assert "prompt.stop" in str(caught.value)


def test_an_empty_config_is_the_default():
    assert load_config({}) == Config()


def test_strings_from_the_command_line_count_as_numbers():
    config = load_config(
        {
            "search": {"n_trials": "3"},
            "data": {"steps": "2", "train": "20"},
            "generation": {"do_sample": "true", "temperature": "0.7"},
            "steering": {"layers": ["8", "9"], "strength": ["-0.5", "0.5"]},
        }
    )
    assert config.search.n_trials == 3
    assert (config.data.steps, config.data.train) == (2, 20)
    assert (config.generation.do_sample, config.generation.temperature) == (True, 0.7)
    assert config.steering.layers == [8, 9]
    assert config.steering.strength == (-0.5, 0.5)
    assert load_config({"steering": {"layers": ["0.3", "0.5"]}}).steering.layers == [0.3, 0.5]


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Config().data.train = 3


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (DataConfig, {"train": 20, "source": "folder", "folder": "there"}),
        (PromptConfig, {"stop": ["a", "b"], "shots": 0}),
        (PromptConfig, {"chat": True, "chat_template_kwargs": {"thinking": False, "budget": 0}}),
        (GenerationConfig, {"do_sample": True, "temperature": 1.0}),
        (SteeringConfig, {"layers": "8-12", "strength": (0, 1), "methods": ["dac"]}),
        (SteeringConfig, {}),
    ],
)
def test_leaves_and_section_are_inverse(kind, changes):
    original = kind(**changes)
    params = leaves("it", original) | {"other__seed": 7, "layer": 3}
    assert section(kind, "it", params) == original


def test_leaves_do_not_depend_on_how_the_yaml_was_written():
    one = load_config({"steering": {"strength": [0, 1], "unit": "alpha"}})
    other = load_config({"steering": {"unit": "alpha", "strength": [0.0, "1"]}})
    assert repr(leaves("steering", one.steering)) == repr(leaves("steering", other.steering))
    assert list(leaves("probe", one.probe)) == ["probe__c"]


def test_switches_of_a_template_are_what_yaml_and_the_command_line_say():
    """From the command line all are texts, and the text false would switch thinking on."""

    def switches(**given):
        prompt = load_config({"prompt": {"chat": True, "chat_template_kwargs": given}}).prompt
        return prompt.chat_template_kwargs

    from_yaml = switches(enable_thinking=False, budget=512, share=0.5, effort="low")
    texts = switches(effort="low", share="0.5", budget="512", enable_thinking="False")
    assert repr(list(texts.items())) == repr(list(from_yaml.items()))
    assert texts["enable_thinking"] is False
    for text in ("26 Jul 2024", "007", "1.50", "[1]", "null", ""):
        assert switches(text=text) == {"text": text}


def test_stop_strings_go_with_the_format():
    plain, chat = PromptConfig(), PromptConfig(chat=True)
    assert plain.stops == ("Question:", "</s>", "<|im_end|>")
    assert chat.stops == ("</s>", "<|im_end|>")
    for given in ([], ["Question:"]):
        assert PromptConfig(chat=True, stop=given).stops == tuple(given)
        assert PromptConfig(stop=given).stops == tuple(given)
