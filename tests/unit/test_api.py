"""The names of the older pipeline, and what they become in the config."""

import pytest

import snakesteer
from snakesteer.api import LEFT_OUT, GSM8KOptimizationPipeline, OptimizationConfig
from snakesteer.config import Config, Section
from snakesteer.errors import UserError


def test_every_field_becomes_a_key():
    config = OptimizationConfig(
        model_name="some/model",
        device="cpu",
        train_limit=20,
        val_limit=21,
        test_limit=22,
        layer_search_range=(6, 8),
        steering_methods=["caa"],
        n_trials=3,
        n_startup_trials=2,
        sampler="CmaEs",
        pruner="SuccessiveHalvingPruner",
        batch_size=4,
        max_new_tokens=128,
        temperature=0.5,
        do_sample=True,
        output_dir="out",
    ).workflow_config()
    assert (config.model.name, config.model.device) == ("some/model", "cpu")
    assert (config.data.train, config.data.val, config.data.test) == (20, 21, 22)
    assert config.data.source == "hub"
    assert (config.steering.layers, config.steering.methods) == ("6-8", ["caa"])
    assert (config.search.n_trials, config.search.n_startup_trials) == (3, 2)
    assert (config.search.sampler, config.search.pruner) == ("cmaes", "successive_halving")
    assert config.engine.batch_size == 4
    assert (config.generation.max_new_tokens, config.generation.temperature) == (128, 0.5)
    assert config.generation.do_sample
    assert config.results == "out"


def test_one_seed_for_all():
    config = OptimizationConfig(seed=7).workflow_config()
    seeds = [
        value
        for _, section in config
        if isinstance(section, Section)
        for key, value in section
        if key.endswith("seed")
    ]
    assert len(seeds) >= 6
    assert set(seeds) == {7}


def test_what_is_not_named_keeps_the_default_of_the_config():
    config = OptimizationConfig().workflow_config()
    assert config.steering.layers == Config().steering.layers
    assert config.prompt.template == Config().prompt.template


def test_overrides_win_key_by_key():
    overrides = {"data": {"source": "embedded", "val": 9}, "steering": {"layers": [1]}}
    config = OptimizationConfig(val_limit=20, overrides=overrides).workflow_config()
    assert (config.data.source, config.data.val, config.data.train) == ("embedded", 9, 500)
    assert config.steering.layers == [1]
    assert overrides["data"] == {"source": "embedded", "val": 9}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_fields_without_a_place_are_refused_with_a_remedy(name):
    with pytest.raises(UserError, match=name) as refused:
        OptimizationConfig(**{name: 1})
    assert refused.value.remedy == LEFT_OUT[name]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"sampler": "best"}, "search.sampler"),
        ({"pruner": "BestPruner"}, "search.pruner"),
        ({"steering_methods": ["none"]}, "steering.methods"),
        ({"temperature": 0.7}, "generation.temperature"),
        ({"overrides": {"data": {"sorce": "hub"}}}, "data.sorce"),
        ({"overrides": {"data": 3}}, "data = 3"),
        ({"layer_search_range": (8, 6)}, "steering.layers"),
    ],
)
def test_bad_values_are_refused_at_once(given, named):
    with pytest.raises(UserError, match=named):
        GSM8KOptimizationPipeline(OptimizationConfig(**given))


def test_unknown_fields_are_refused():
    with pytest.raises(TypeError, match="nonsense"):
        OptimizationConfig(nonsense=1)


def test_the_package_exports_what_it_names():
    assert snakesteer.OptimizationConfig is OptimizationConfig
    for name in snakesteer.__all__:
        assert callable(getattr(snakesteer, name))
        assert name in dir(snakesteer)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = snakesteer.nonsense
