"""What the engine vllm cannot do is refused by name, before a run."""

import pytest

from snakesteer.config.load import load_config
from snakesteer.errors import UserError

CAA = {"methods": ["caa"]}


def vllm(**sections):
    return {"engine": {"name": "vllm"}, "steering": CAA, **sections}


def test_what_it_can():
    config = load_config(
        vllm(
            steering={**CAA, "scope": "all", "band": 2, "operators": ["add", "ablate", "angular"]},
            engine={"name": "vllm", "tensor_parallel": 2, "batch_invariant": True, "slots": 64},
            model={"gpus": 2, "device_map": "auto"},
        )
    )
    assert config.engine.tensor_parallel == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (vllm(steering={}), "a method is 'dac', which sets its strength from three passes"),
        (vllm(steering={"methods": ["caa", "iti"]}), "'iti', which steers attention heads"),
        (vllm(steering={"methods": ["dac_heads"]}), "'dac_heads', which steers attention heads"),
        (
            vllm(steering={"methods": ["actadd"], "actadd_prompts": ["a", "b"]}),
            "'actadd', which steers the start of prompts",
        ),
        (vllm(sensitivity={"methods": ["dac"]}), "a method is 'dac'"),
        (vllm(model={"quantization": "nf4"}), "model.quantization is 'nf4'"),
        (vllm(model={"device": "mps"}), "model.device is 'mps'"),
        (vllm(engine={"name": "vllm", "compile": "always"}), "engine.compile is 'always'"),
        (
            vllm(
                engine={"name": "vllm", "batch_invariant": True},
                model={"device": "cpu"},
            ),
            "batch_invariant is true and model.device is 'cpu'",
        ),
        (
            vllm(engine={"name": "vllm", "tensor_parallel": 4}, model={"gpus": 2}),
            "device_map is 'none'",
        ),
        (
            vllm(
                engine={"name": "vllm", "tensor_parallel": 4},
                model={"gpus": 2, "device_map": "auto"},
            ),
            "asks for 2 of the GPUs",
        ),
        ({"engine": {"tensor_parallel": 2}}, "engine.tensor_parallel is 2 but engine.name is"),
        ({"engine": {"batch_invariant": True}}, "engine.batch_invariant is True but engine.name"),
    ],
)
def test_what_it_cannot(values, said):
    with pytest.raises(UserError) as refused:
        load_config(values)
    assert said in str(refused.value)


def test_ranks_on_a_cpu_need_no_gpus():
    engine = {"name": "vllm", "tensor_parallel": 2}
    assert load_config(vllm(engine=engine, model={"device": "cpu"}))
