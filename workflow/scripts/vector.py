"""One steering vector."""

from dataclasses import asdict

from snakesteer.records.logs import script_log
from snakesteer.steering.vector import write_vector
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.estimate import diagnose, make_vector
from snakesteer.vectors.probes import read_probe

with script_log(snakemake.log[0]):
    activations = read_activations(snakemake.input.activations)
    probe = read_probe(snakemake.input.probe)
    vector = make_vector(snakemake.wildcards.direction, activations, probe)
    diagnostics = diagnose(vector, activations)
    write_vector(snakemake.output[0], vector, {**activations.attributes, **asdict(diagnostics)})
