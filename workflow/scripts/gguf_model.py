"""A GGUF model as a folder of safetensors and tokenizer."""

from pathlib import Path

from snakesteer.models.gguf import copy_gguf
from snakesteer.records.files import read_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    copy_gguf(read_json(snakemake.input.source), Path(snakemake.output.model).parent)
