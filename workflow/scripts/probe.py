"""The probe of one layer, fitted on train pairs and scored on validation pairs."""

from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.probe_fits import fit_probe, probe_metrics
from snakesteer.vectors.probes import write_probe

with script_log(snakemake.log[0]):
    train = read_activations(snakemake.input.train)
    probe = fit_probe(train, snakemake.params.c)
    metrics = probe_metrics(probe, read_activations(snakemake.input.val))
    write_probe(snakemake.output.probe, probe, {**train.attributes, "c": snakemake.params.c})
    write_json(snakemake.output.metrics, {"layer": int(snakemake.wildcards.layer), **metrics})
