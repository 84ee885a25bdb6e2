"""The Optuna study on the validation split."""

from snakesteer.from_params import open_engine, open_model, open_prompter
from snakesteer.logs import script_log
from snakesteer.search.run import SearchInputs, search

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    search(
        SearchInputs(
            problems=snakemake.input.problems,
            baseline=snakemake.input.baseline,
            vectors=tuple(snakemake.input.vectors),
            layers=tuple(params.layer_list),
            params=dict(params.items()),
        ),
        prompter,
        open_engine(params, loaded),
        journal=params.journal,
        db=snakemake.output.db,
        trials=snakemake.output.trials,
    )
