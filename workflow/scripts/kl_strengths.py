"""Which doses strengths in nats are."""

from snakesteer.config import SteeringConfig
from snakesteer.config.params import section
from snakesteer.data.prompts import open_prompter
from snakesteer.evaluation.kl_strengths import calibration_texts, kl_strengths
from snakesteer.models.open import open_model
from snakesteer.records.files import write_json
from snakesteer.records.logs import script_log
from snakesteer.steering.vector import read_vectors

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    loaded = open_model(params, given.info, snakemake.resources.gpu, snakemake.threads)
    prompter, problems = open_prompter(params, given.train, loaded.tokenizer)
    steering = section(SteeringConfig, "steering", params)
    texts = calibration_texts(prompter, problems, loaded.context)
    vectors = read_vectors(given.vectors)
    write_json(
        snakemake.output[0], kl_strengths(loaded, texts, steering, params.layer_list, vectors)
    )
