"""The one evaluation on the test split, and the record of the run.

Inputs: splits/test.jsonl (read here and nowhere else), best_config.json, vectors, probes; for the
record of the run all files it read or made.
Outputs: test_final.json, test_generations.jsonl, provenance.json.
Steps: answer the test split unsteered and with the best configuration; compare them pairwise; write
down the hash of every file with config, code, versions and machine.
"""


rule test_final:
    input:
        problems="<results>/splits/test.jsonl",
        train="<results>/splits/train.jsonl",
        best="<results>/best_config.json",
        baseline_summary="<results>/baseline/val.json",
        vectors=VECTOR_FILES,
        probes=expand("<results>/probes/layer_{layer}.safetensors", layer=LAYERS),
        info="<results>/model/info.json",
        model=MODEL_INPUT,
        code=library("open_model", "open_engine", "final_test"),
    output:
        results="<results>/test_final.json",
        generations="<results>/test_generations.jsonl",
    log:
        "<results>/logs/test_final.log",
    benchmark:
        "<results>/benchmarks/test_final.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=1,
    params:
        **named(
            **MODEL,
            **section_params("prompt"),
            **section_params("generation"),
            **section_params("engine"),
            **section_params("pairs", "kind", "samples", "temperature", "min_pairs"),
            **section_params("evaluation", "random_controls", "prompt_control"),
        ),
    script:
        "../scripts/test_final.py"


rule provenance:
    input:
        results="<results>/test_final.json",
        generations="<results>/test_generations.jsonl",
        best="<results>/best_config.json",
        info="<results>/model/info.json",
        manifest="<results>/splits/manifest.json",
        data=expand("<results>/data/{official}.jsonl", official=["train", "test"]),
        splits=expand("<results>/splits/{split}.jsonl", split=["train", "val", "test"]),
        solutions=branch(
            CONFIG.pairs.kind == "model_correct_vs_wrong",
            then=expand("<results>/solutions/{split}.jsonl", split=["train", "val"]),
            otherwise=[],
        ),
        pairs=expand("<results>/pairs/{split}.jsonl", split=["train", "val"]),
        activations=expand(
            "<results>/activations/{split}/layer_{layer}.h5",
            split=["train", "val"],
            layer=LAYERS,
        ),
        probes=expand(
            "<results>/probes/layer_{layer}.{kind}",
            layer=LAYERS,
            kind=["json", "safetensors"],
        ),
        vectors=VECTOR_FILES,
        baseline=expand("<results>/baseline/val.{kind}", kind=["json", "jsonl"]),
        study=expand("<results>/study/{file}", file=["study.db", "trials.csv"]),
    output:
        "<results>/provenance.json",
    log:
        "<results>/logs/provenance.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        config=constant(CONFIG.model_dump_json()),
    script:
        "../scripts/provenance.py"
