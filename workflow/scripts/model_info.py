"""What is known of the model before its weights are read; checks the config against it."""

from snakesteer.config.layers import resolve_layers
from snakesteer.models.open import model_record
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    info = model_record(snakemake.params, snakemake.input.model)
    layers = resolve_layers(list(snakemake.params.layers), info["num_layers"])
    write_json(snakemake.output[0], {**info, "layers": layers})
