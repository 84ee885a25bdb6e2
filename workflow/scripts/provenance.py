"""The record of the run: effective config, code, versions, machine, files."""

import json

from snakesteer.files import read_json, write_json
from snakesteer.logs import script_log
from snakesteer.provenance import file_hashes, git_state, machine, timestamp, versions

with script_log(snakemake.log[0]):
    config = json.loads(snakemake.params.config)
    results = read_json(snakemake.input.results)
    record = {
        "created": timestamp(),
        "config": config,
        "git": git_state(snakemake.scriptdir),
        "versions": versions(),
        "machine": machine(),
        "model": read_json(snakemake.input.info),
        "run": results["run"],
        "seeds": {
            f"{name}.{key}": value
            for name, section in config.items()
            if isinstance(section, dict)
            for key, value in section.items()
            if key.endswith("seed")
        },
        "sha256": file_hashes(str(path) for path in snakemake.input),
    }
    write_json(snakemake.output[0], record)
