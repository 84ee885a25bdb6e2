"""The record of the run, enough to do it again and compare (`python -m snakesteer.reproduce`).

Inputs: data, splits, and all that was made from them up to test and controls; the sensitivity table
where the report shows it; the user's own vectors. Not the model's weights (model/info.json names them),
the folder or hub that data/ was read from, what workers leave beside study/study.db and study/trials.csv,
logs, benchmarks, what is made on request only (export, model_check), and the report, which is made last.
Outputs: provenance.json.
Steps: take the hash of every file, and write it down with config, code, versions and machine. Of the
test split, too, only the hash is taken.
"""


rule provenance:
    input:
        results="<results>/test_final.json",
        evaluation="<results>/test_evaluation.json",
        generations="<results>/test_generations.jsonl",
        best="<results>/best_config.json",
        info="<depth>/model/info.json",
        manifest="<problems>/splits/manifest.json",
        data=expand("<problems>/data/{official}.jsonl", official=["train", "test"]),
        splits=expand("<problems>/splits/{split}.jsonl", split=["train", "val", "test"]),
        solutions=branch(
            CONFIG.pairs.kind in SAMPLED,
            then=expand(
                "<directions>/solutions/{split}.jsonl", split=["train", "val"]
            ),
            otherwise=[],
        ),
        pairs=expand("<directions>/pairs/{split}.jsonl", split=["train", "val"]),
        activations=expand(
            "<directions>/activations/{split}/layer_{layer}.h5",
            split=["train", "val"],
            layer=LAYERS,
        ),
        without_token_means=branch(
            ADJUSTED,
            then=expand(
                "<directions>/without_token_means/{split}/layer_{layer}.h5",
                split=["train", "val"],
                layer=LAYERS,
            ),
            otherwise=[],
        ),
        token_effects=TOKEN_EFFECTS,
        probes=expand(
            "<directions>/probes/layer_{layer}.{kind}",
            layer=LAYERS,
            kind=["json", "safetensors"],
        ),
        user_vectors=[*USER_VECTORS.values()],
        head_activations=branch(
            users("heads.iti_heads", METHODS),
            then=expand(
                "<directions>/heads/{kind}/{split}",
                kind=["activations", *(["without_token_means"] if ADJUSTED else [])],
                split=["train", "val"],
            ),
            otherwise=[],
        ),
        training=TRAINING_LOGS
        + (
            ["<training>/training/solutions.jsonl"]
            if TRAINING_LOGS and LEARNS_FROM_SAMPLES
            else []
        ),
        vectors=VECTOR_FILES,
        kl_strengths=KL_STRENGTHS,
        baseline=expand("<unsteered>/baseline/val.{kind}", kind=["json", "jsonl"]),
        study=expand("<results>/study/{file}", file=["study.db", "trials.csv"]),
        checks="<results>/checks/zero_steering.json",
        controls=["<results>/controls.json", "<results>/control_generations.jsonl"],
        sensitivity=branch(
            CONFIG.sensitivity.in_report,
            then="<results>/sensitivity.csv",
            otherwise=[],
        ),
        off_target=expand(
            "<results>/{name}.{kind}", name=OFF_TARGET, kind=["json", "jsonl"]
        ),
    output:
        "<results>/provenance.json",
    log:
        "<results>/logs/provenance.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("provenance"),
        config=constant(CONFIG.model_dump_json()),
    script:
        "../scripts/provenance.py"
