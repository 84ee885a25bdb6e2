"""The record of the run: effective config, code, versions, machine, files."""

import json
from pathlib import Path

from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log
from snakesteer.records.provenance import provenance
from snakesteer.study.links import link_shared

with script_log(snakemake.log[0]):
    given, results = snakemake.input, Path(snakemake.output[0]).parent
    inner = (given.info, given.manifest, given.pairs[0], given.baseline[0], *given.training[:1])
    folders = [results, *dict.fromkeys(Path(path).parents[1] for path in inner)]
    link_shared(results, folders[1:])
    record = provenance(
        config=json.loads(snakemake.params.config),
        model=read_json(given.info),
        final=read_json(given.results),
        paths=[*map(str, given)],
        folders=folders,
        checkout=Path(snakemake.scriptdir).parents[1],
    )
    write_json(snakemake.output[0], record)
