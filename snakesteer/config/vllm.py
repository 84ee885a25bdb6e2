"""What the engine `vllm` can do, of what a run may ask for."""

from collections.abc import Iterable

from snakesteer.config import catalogue
from snakesteer.config.gates import gates_of
from snakesteer.config.generation import EngineConfig
from snakesteer.config.model import ModelConfig
from snakesteer.config.steering import SteeringConfig

_ONLY_VLLM = ("tensor_parallel", "batch_invariant")


def vllm_refusal(
    engine: EngineConfig,
    model: ModelConfig,
    steering: SteeringConfig,
    methods: Iterable[str],
) -> str | None:
    """Why a run cannot have this engine, as a sentence with its remedy; None where it can.

    Args:
        engine: The engine section.
        model: The model section.
        steering: The steering section.
        methods: All methods that the run steers with.
    """
    if engine.name != "vllm":
        for key in _ONLY_VLLM:
            value = getattr(engine, key)
            if value != EngineConfig.model_fields[key].default:
                return (
                    f"engine.{key} is {value} but engine.name is {engine.name!r}, which does not "
                    f"use it. Set engine.name: vllm, or leave {key} out"
                )
        return None
    return _methods(methods) or _gates(steering) or _weights(model) or _settings(engine, model)


def _methods(methods: Iterable[str]) -> str | None:
    for method in methods:
        kind = catalogue.METHODS[method].kind
        if method == "dac" or kind != "residual":
            why = {
                "residual": "sets its strength from three passes a token",
                "heads": "steers attention heads",
                "prompt_start": "steers the start of prompts",
            }[kind]
            return (
                f"engine.name is 'vllm' and a method is {method!r}, which {why}: hooks on vLLM's "
                "blocks add constant strengths to the residual stream. Name methods such as caa "
                "alone (steering.methods: [caa]), or set engine.name: slots"
            )
    return None


def _gates(steering: SteeringConfig) -> str | None:
    if gates_of(steering):
        return (
            "engine.name is 'vllm' and steering.gates has a gate: hooks on vLLM's blocks add "
            "whatever the model holds. Leave steering.gates out, or set engine.name: slots"
        )
    return None


def _weights(model: ModelConfig) -> str | None:
    if model.quantization != "none":
        return (
            f"engine.name is 'vllm' and model.quantization is {model.quantization!r}: vLLM would "
            "quantise the weights otherwise than the model that vectors are made from. Set "
            "model.quantization: none, or engine.name: reference"
        )
    if model.device == "mps":
        return (
            "engine.name is 'vllm' and model.device is 'mps': vLLM runs on GPUs with CUDA and on "
            "CPUs. Set model.device to one of these, or engine.name: slots"
        )
    return None


def _settings(engine: EngineConfig, model: ModelConfig) -> str | None:
    if engine.compile == "always":
        return (
            "engine.name is 'vllm' and engine.compile is 'always': hooks need vLLM's eager mode. "
            "Leave engine.compile out"
        )
    if engine.batch_invariant and model.device == "cpu":
        return (
            "engine.batch_invariant is true and model.device is 'cpu': vLLM has that mode on GPUs "
            "alone. Leave batch_invariant out"
        )
    gpus = model.gpus or 1
    if model.device != "cpu" and engine.tensor_parallel != gpus and engine.tensor_parallel > 1:
        return (
            f"engine.tensor_parallel is {engine.tensor_parallel}, but a job of this run asks for "
            f"{gpus} of the GPUs (model.gpus). Set model.gpus: {engine.tensor_parallel}, with "
            "model.device_map: auto"
        )
    return None
