"""The Optuna study on the validation split."""

from pathlib import Path

from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_engine, run_record
from snakesteer.models.open import open_model
from snakesteer.records.files import read_json
from snakesteer.records.logs import script_log
from snakesteer.search.journal import JOURNAL_NAME
from snakesteer.search.run import SearchInputs, search

with script_log(snakemake.log[0]):
    params = snakemake.params
    loaded = open_model(params, snakemake.input.info, snakemake.resources.gpu, snakemake.threads)
    prompter, _ = open_prompter(params, snakemake.input.train, loaded.tokenizer)
    record = read_json(snakemake.input.baseline_summary)
    engine = open_engine(params, loaded, prompter, record)
    run = run_record(engine, loaded)
    summary = snakemake.input.baseline_summary
    search(
        SearchInputs(
            problems=snakemake.input.problems,
            baseline=snakemake.input.baseline,
            vectors=tuple(snakemake.input.vectors),
            others=tuple(snakemake.input[name] for name in ("baseline_summary", "train", "info")),
            layers=tuple(params.layer_list),
            params=dict(params.items()),
        ),
        prompter,
        engine,
        rows=run.get("slots") or run["batch_size"],
        journal=Path(snakemake.output[0]).with_name(JOURNAL_NAME),
        worker=int(snakemake.wildcards.worker),
        output=snakemake.output[0],
        check=lambda: check_same_run(record, run_record(engine, loaded), summary),
    )
