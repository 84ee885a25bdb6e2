"""The search on the validation split.

Inputs: splits/{train,val}.jsonl, vectors, model/info.json, checks/zero_steering.json (a gate).
Outputs: baseline/val.jsonl, study/worker_{worker}.json, study/study.db, study/trials.csv,
study/confirmation.json (if problems are kept from the search), best_config.json.
Steps: answer the validation split unsteered, and its beginning once more with fewer slots, which shows
what rounding alone changes; run the Optuna study in one or more jobs, journaled in
study/journal.log (which is no declared output, so that a failed or killed job leaves it); write its
tables; answer what was kept from it under the best trial; choose that, and say whether to steer.
"""

SELECTION = {
    "one_standard_error": CONFIG.search.one_standard_error,
    "max_t": CONFIG.search.max_t,
    "confirm": CONFIG.search.confirm,
    "level": 1.0 - CONFIG.evaluation.confidence,
    "kl_budget": CONFIG.search.kl_budget if CONFIG.search.weighs_kl else None,
}
# What does not matter to a study of accuracy alone.
KL_KEYS = [] if CONFIG.search.weighs_kl else ["kl_budget"]
# Other passages than those of off_target.json, which is to report what was not optimised.
SEARCH_TEXTS = (
    [package_file("data", "assets", "neutral_search.txt")]
    if CONFIG.search.weighs_kl
    else []
)


rule baseline:
    input:
        problems="<problems>/splits/val.jsonl",
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        answers="<unsteered>/baseline/val.jsonl",
        summary="<unsteered>/baseline/val.json",
    log:
        "<unsteered>/logs/baseline.log",
    benchmark:
        "<unsteered>/benchmarks/baseline.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt"),
            **section_params("generation"),
            **section_params("engine"),
            chunk_size=CONFIG.search.chunk_size,
        ),
        code=code_of("baseline"),
        # Taking `input` keeps it out of the rerun triggers: more trials change no baseline.
        planned_tokens=lambda wildcards, input: RUN.planned_tokens,
    script:
        "../scripts/baseline.py"


rule search:
    input:
        problems="<problems>/splits/val.jsonl",
        train="<problems>/splits/train.jsonl",
        baseline="<unsteered>/baseline/val.jsonl",
        baseline_summary="<unsteered>/baseline/val.json",
        vectors=VECTOR_FILES,
        gates=THRESHOLDS,
        curves=KL_STRENGTHS,
        texts=SEARCH_TEXTS,
        gate="<results>/checks/zero_steering.json",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/study/worker_{worker}.json",
    log:
        "<results>/logs/search_{worker}.log",
    benchmark:
        "<results>/benchmarks/search_{worker}.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt"),
            **section_params("generation"),
            **section_params("engine"),
            **section_params("steering", "layers"),
            **section_params("search", "one_standard_error", "max_t", *KL_KEYS),
            layer_list=LAYERS,
        ),
        code=code_of("search"),
    script:
        "../scripts/search.py"


rule trials:
    input:
        workers=expand(
            "<results>/study/worker_{worker}.json", worker=range(CONFIG.search.workers)
        ),
    output:
        db="<results>/study/study.db",
        trials=report(
            "<results>/study/trials.csv",
            caption="../report/trials.rst",
            category="Search",
            labels={"shows": "all trials"},
        ),
    log:
        "<results>/logs/trials.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("trials"),
        n_trials=CONFIG.search.n_trials,
    script:
        "../scripts/trials.py"


rule confirmation:
    input:
        problems="<problems>/splits/val.jsonl",
        train="<problems>/splits/train.jsonl",
        db="<results>/study/study.db",
        baseline="<unsteered>/baseline/val.jsonl",
        baseline_summary="<unsteered>/baseline/val.json",
        vectors=VECTOR_FILES,
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<results>/study/confirmation.json",
    log:
        "<results>/logs/confirmation.log",
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt"),
            **section_params("generation"),
            **section_params("engine"),
            one_standard_error=CONFIG.search.one_standard_error,
            confirm=CONFIG.search.confirm,
            chunk_size=CONFIG.search.chunk_size,
        ),
        code=code_of("confirmation"),
    script:
        "../scripts/confirmation.py"


rule best_config:
    input:
        db="<results>/study/study.db",
        baseline="<unsteered>/baseline/val.jsonl",
        confirmation=branch(
            CONFIG.search.confirm > 0.0,
            then="<results>/study/confirmation.json",
            otherwise=[],
        ),
        probes=PROBE_METRICS,
        gate="<results>/checks/zero_steering.json",
    output:
        "<results>/best_config.json",
    log:
        "<results>/logs/best_config.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(
            seed=CONFIG.search.seed,
            n_trials=CONFIG.search.n_trials,
            **SELECTION,
        ),
        code=code_of("best_config"),
    script:
        "../scripts/best_config.py"
