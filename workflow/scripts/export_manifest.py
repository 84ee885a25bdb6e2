"""Which formats the chosen configuration can be exported to."""

from pathlib import Path

from snakesteer.records.files import read_json, write_json
from snakesteer.records.logs import script_log
from snakesteer.report.exports.formats import export_manifest, remove_refused

with script_log(snakemake.log[0]):
    found = export_manifest(read_json(snakemake.input.best))
    remove_refused(Path(snakemake.output[0]).parent, found)
    write_json(snakemake.output[0], found)
