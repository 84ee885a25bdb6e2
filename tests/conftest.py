"""What every test may count on: one thread, no hub, and small models on disk."""

import os

# Before transformers is imported: it reads these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from pathlib import Path

import pytest
import torch

from tests.tiny_models import save_tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tests run side by side, and sums in one thread have one order."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random-weight Llama and its tokenizer. Do not write to it."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "llama", "llama")
