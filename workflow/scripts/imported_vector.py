"""One steering vector of the user's own."""

from dataclasses import asdict

from snakesteer.records.logs import script_log
from snakesteer.steering.vector import write_vector
from snakesteer.vectors.activations import read_activations
from snakesteer.vectors.estimate import diagnose, vector_at
from snakesteer.vectors.imported import read_user_vector

with script_log(snakemake.log[0]):
    activations = read_activations(snakemake.input.activations)
    layer, hidden = int(snakemake.wildcards.layer), activations.positive.shape[1]
    raw = read_user_vector(snakemake.input.file, layer, hidden)
    vector = vector_at("file", raw, activations)
    known = {**asdict(diagnose(vector, activations)), "vector_file": snakemake.input.file}
    write_vector(snakemake.output[0], vector, {**activations.attributes, **known})
