"""Which GGUF file the model is read from, by its hash; a hub's file is downloaded."""

from snakesteer.config import ModelConfig
from snakesteer.config.params import section
from snakesteer.models.gguf import find_gguf
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    write_json(snakemake.output[0], find_gguf(section(ModelConfig, "model", snakemake.params)))
