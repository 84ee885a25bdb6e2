"""The chosen configuration for other tools.

Inputs: best_config.json, test_evaluation.json, model/info.json, pairs/train.jsonl, vectors.
Outputs: export/manifest.json, export/steering_vector.{safetensors,json} (canonical),
export/control_vector.gguf (llama.cpp), export/lm_eval_steering.pt (lm-evaluation-harness),
export/easysteer.{json,gguf} (EasySteer).
Steps: find out which formats can hold the configuration; write those. A format that cannot is named
in the manifest with the reason, and asking for its file fails with it.
"""


checkpoint export_manifest:
    input:
        best="<results>/best_config.json",
    output:
        "<results>/export/manifest.json",
    log:
        "<results>/logs/export_manifest.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("export_manifest"),
    script:
        "../scripts/export_manifest.py"


rule export_canonical:
    input:
        best="<results>/best_config.json",
        results="<results>/test_evaluation.json",
        info="<depth>/model/info.json",
        pairs="<directions>/pairs/train.jsonl",
        vectors=VECTOR_FILES,
        model=MODEL_INPUT,
    output:
        expand("<results>/export/{file}", file=EXPORTS["canonical"]),
    log:
        "<results>/logs/export_canonical.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(**MODEL, **section_params("pairs"), format="canonical"),
        code=code_of("export"),
    script:
        "../scripts/export.py"


use rule export_canonical as export_control_vector with:
    output:
        expand("<results>/export/{file}", file=EXPORTS["control_vector"]),
    log:
        "<results>/logs/export_control_vector.log",
    params:
        **named(**MODEL, **section_params("pairs"), format="control_vector"),


use rule export_canonical as export_lm_eval with:
    output:
        expand("<results>/export/{file}", file=EXPORTS["lm_eval"]),
    log:
        "<results>/logs/export_lm_eval.log",
    params:
        **named(**MODEL, **section_params("pairs"), format="lm_eval"),


use rule export_canonical as export_easysteer with:
    output:
        expand("<results>/export/{file}", file=EXPORTS["easysteer"]),
    log:
        "<results>/logs/export_easysteer.log",
    params:
        **named(**MODEL, **section_params("pairs"), format="easysteer"),
