"""The record of the run: effective config, code, versions, machine, files."""

import json
from pathlib import Path

from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log
from snakesteer.records.provenance import provenance

with script_log(snakemake.log[0]):
    code = {str(path) for path in snakemake.input.code}  # told by its commit
    record = provenance(
        config=json.loads(snakemake.params.config),
        model=read_json(snakemake.input.info),
        final=read_json(snakemake.input.results),
        paths=[path for path in map(str, snakemake.input) if path not in code],
        checkout=Path(snakemake.scriptdir).parents[1],
    )
    write_json(snakemake.output[0], record)
