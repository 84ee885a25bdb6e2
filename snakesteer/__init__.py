"""snakesteer: does activation steering change a language model's accuracy on GSM8K?

The library behind the workflow. Nothing here imports Snakemake; the rules in ``workflow/`` call
these modules through thin scripts. From Python::

    from snakesteer import GSM8KOptimizationPipeline, GSM8KStudy, OptimizationConfig
    from snakesteer import generate, load_model, model_of, read_vector, steer, train_vector
"""

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Imported when they are asked for, so that no script pays for what it does not use.
_MODULES = {
    "GSM8KOptimizationPipeline": "api",
    "GSM8KStudy": "api",
    "OptimizationConfig": "api",
    "UserError": "errors",
    "generate": "evaluation.steered_text",
    "load_model": "evaluation.steered_text",
    "model_of": "evaluation.steered_text",
    "read_vector": "evaluation.steered_text",
    "steer": "evaluation.steered_text",
    "train_vector": "evaluation.steered_text",
}
__all__ = list(_MODULES)

# Read when torch loads its OpenMP library. Threads that wait for each other spin by default; where
# cores are shared with other jobs, that made decoding up to seven times slower. Threads that sleep
# at once take 1.6 times as long on idle cores. A few microseconds of spinning cost neither.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
# Read when cuBLAS starts. Without it, its products need not have the same bits every time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
