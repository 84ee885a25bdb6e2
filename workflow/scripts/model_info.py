"""What is known of the model before its weights are read; checks the config against it."""

from pathlib import Path

from snakesteer.config.layers import resolve_layers
from snakesteer.models.loading import describe_model, download_model
from snakesteer.models.open import model_section
from snakesteer.records.files import sha256_file, write_json
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    model = model_section(snakemake.params, snakemake.input.model)
    info = describe_model(model)
    layers = resolve_layers(list(snakemake.params.layers), info["num_layers"])
    download_model(model, info["commit"])
    # A hub model is known by its commit, a folder by its files.
    hashes = {Path(path).name: sha256_file(path) for path in snakemake.input.model}
    write_json(snakemake.output[0], {**info, "layers": layers, "sha256": hashes})
