"""The Optuna study on the validation split."""

from pathlib import Path

from snakesteer.data.prompts import open_prompter
from snakesteer.engine.open import check_same_run, open_answering_model, open_engine, run_record
from snakesteer.evaluation.token_kl import neutral_kl
from snakesteer.records.files import read_json
from snakesteer.records.logs import script_log
from snakesteer.search.journal import JOURNAL_NAME
from snakesteer.search.run import SearchInputs, search

with script_log(snakemake.log[0]):
    params, given = snakemake.params, snakemake.input
    resources = snakemake.resources.gpu, snakemake.threads
    loaded = open_answering_model(params, given.info, *resources, reads=bool(given.texts))
    prompter, _ = open_prompter(params, given.train, loaded.tokenizer)
    record = read_json(summary := given.baseline_summary)
    engine = open_engine(params, loaded, prompter, record)
    run = run_record(engine, loaded)
    search(
        SearchInputs(
            problems=given.problems,
            baseline=given.baseline,
            vectors=tuple(given.vectors),
            others=(summary, given.train, given.info, *given.texts),
            layers=tuple(params.layer_list),
            params=dict(params.items()),
            curves=tuple(given.curves),
            gates=tuple(given.gates),
        ),
        prompter,
        engine,
        rows=run.get("slots") or run["batch_size"],
        journal=Path(snakemake.output[0]).with_name(JOURNAL_NAME),
        worker=int(snakemake.wildcards.worker),
        output=snakemake.output[0],
        check=lambda: check_same_run(record, run_record(engine, loaded), summary),
        kl=neutral_kl(loaded, prompter, given.texts),
    )
