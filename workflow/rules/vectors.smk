"""From splits to steering vectors.

Inputs: splits/{train,val}.jsonl, model/info.json, the user's own vectors (direction `file`).
Outputs: solutions/{split}.jsonl (own samples, if asked for), pairs/{split}.jsonl,
activations/{split}/layer_{L}.h5, without_token_means/{split}/layer_{L}.h5 and
token_effects/layer_{L}.safetensors (if asked for), probes/layer_{L}.{safetensors,json},
vectors/{direction}/layer_{L}.safetensors (direction actadd: one vector per prompt position).
Of direction `trained`: training/solutions.jsonl (own samples, if the objective learns from them),
training/{layers}.csv (the log of its steps), and training/{layers}.checkpoint, which is no declared
output, so that a failed or killed job leaves it.
Steps: make contrast pairs; read all layers in one forward pass per text; take off what the read tokens
predict, if asked for; fit a probe and estimate the directions per layer. Vectors, probes and effects of
tokens are made from train; validation pairs only score the probes.
"""


rule own_solutions:
    input:
        problems="<problems>/splits/{split}.jsonl",
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<directions>/solutions/{split}.jsonl",
    log:
        "<directions>/logs/own_solutions_{split}.log",
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
            **leaves("engine", CONFIG.engine),  # compared with nothing
            samples=CONFIG.pairs.samples,
            temperature=CONFIG.pairs.temperature,
            seed=CONFIG.pairs.seed,
        ),
        code=code_of("own_solutions"),
    script:
        "../scripts/own_solutions.py"


rule contrast_pairs:
    input:
        problems="<problems>/splits/{split}.jsonl",
        solutions=branch(
            CONFIG.pairs.kind in SAMPLED,
            then="<directions>/solutions/{split}.jsonl",
            otherwise=[],
        ),
    output:
        "<directions>/pairs/{split}.jsonl",
    log:
        "<directions>/logs/contrast_pairs_{split}.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(
            shots=CONFIG.prompt.shots,
            shots_seed=CONFIG.prompt.shots_seed,
            kind=CONFIG.pairs.kind,
            prompts=CONFIG.pairs.prompts,
            seed=CONFIG.pairs.seed,
            min_pairs=CONFIG.pairs.min_pairs,
        ),
        code=code_of("contrast_pairs"),
    script:
        "../scripts/contrast_pairs.py"


rule activations:
    input:
        pairs="<directions>/pairs/{split}.jsonl",
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        expand("<directions>/activations/{{split}}/layer_{layer}.h5", layer=LAYERS),
    log:
        "<directions>/logs/activations_{split}.log",
    benchmark:
        "<directions>/benchmarks/activations_{split}.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt", "stop"),
            read=CONFIG.pairs.read,
            min_pairs=CONFIG.pairs.min_pairs,
            layers=LAYERS,
        ),
        code=code_of("activations"),
    script:
        "../scripts/activations.py"


rule token_means:
    input:
        train="<directions>/activations/train/layer_{layer}.h5",
        val="<directions>/activations/val/layer_{layer}.h5",
    output:
        train="<directions>/without_token_means/train/layer_{layer}.h5",
        val="<directions>/without_token_means/val/layer_{layer}.h5",
        effects="<directions>/token_effects/layer_{layer}.safetensors",
    log:
        "<directions>/logs/token_means_{layer}.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("token_means"),
    script:
        "../scripts/token_means.py"


rule probe:
    input:
        train=f"{ACTIVATIONS}/train/layer_{{layer}}.h5",
        val=f"{ACTIVATIONS}/val/layer_{{layer}}.h5",
    output:
        probe="<directions>/probes/layer_{layer}.safetensors",
        metrics="<directions>/probes/layer_{layer}.json",
    log:
        "<directions>/logs/probe_{layer}.log",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("probe"),
        c=CONFIG.probe.c,
    script:
        "../scripts/probe.py"


rule vector:
    input:
        activations=f"{ACTIVATIONS}/train/layer_{{layer}}.h5",
        probe="<directions>/probes/layer_{layer}.safetensors",
    output:
        "<directions>/vectors/{direction}/layer_{layer}.safetensors",
    log:
        "<directions>/logs/vector_{direction}_{layer}.log",
    wildcard_constraints:
        # Without one, nothing: an empty constraint would be none at all.
        direction="|".join(ESTIMATED) or "(?!)",
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=estimator_code,
    script:
        "../scripts/vector.py"


rule imported_vector:
    input:
        file=lambda wildcards: USER_VECTORS[wildcards.layer],
        activations=f"{ACTIVATIONS}/train/layer_{{layer}}.h5",
    output:
        f"<directions>/vectors/{IMPORTED}/layer_{{layer}}.safetensors",
    log:
        "<directions>/logs/imported_vector_{layer}.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("imported_vector"),
    script:
        "../scripts/imported_vector.py"


rule actadd_vectors:
    input:
        activations=expand(
            "<directions>/activations/train/layer_{layer}.h5", layer=LAYERS
        ),
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        expand("<directions>/vectors/actadd/layer_{layer}.safetensors", layer=LAYERS),
    log:
        "<directions>/logs/actadd_vectors.log",
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("prompt", "stop"),
            prompts=CONFIG.steering.actadd_prompts,
            layers=LAYERS,
        ),
        code=code_of("actadd_vectors"),
    script:
        "../scripts/actadd_vectors.py"


rule training_solutions:
    input:
        problems="<problems>/splits/train.jsonl",
        train="<problems>/splits/train.jsonl",
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        "<training>/training/solutions.jsonl",
    log:
        "<training>/logs/training_solutions.log",
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
            **leaves("engine", CONFIG.engine),  # compared with nothing
            samples=CONFIG.training.samples,
            temperature=CONFIG.training.temperature,
            seed=CONFIG.training.seed,
        ),
        code=code_of("own_solutions"),
    script:
        "../scripts/own_solutions.py"


rule trained_vectors:
    input:
        train="<problems>/splits/train.jsonl",
        solutions=branch(
            LEARNS_FROM_SAMPLES,
            then="<training>/training/solutions.jsonl",
            otherwise=[],
        ),
        info="<depth>/model/info.json",
        model=MODEL_INPUT,
    output:
        vectors=(
            expand(
                f"<training>/vectors/{TRAINED}/layer_{{layer}}.safetensors",
                layer=LAYERS,
            )
            if TOGETHER
            else f"<training>/vectors/{TRAINED}/layer_{{layer}}.safetensors"
        ),
        log=f"<training>/training/{TRAINING_NAME}.csv",
    log:
        f"<training>/logs/trained_vectors_{TRAINING_NAME}.log",
    benchmark:
        f"<training>/benchmarks/trained_vectors_{TRAINING_NAME}.tsv"
    conda:
        "../../envs/snakesteer.yaml"
    threads: 4
    resources:
        gpu=GPUS,
        mem_mb=model_memory,
    params:
        **named(
            **MODEL,
            **section_params("training"),
            **section_params("prompt", *([] if DRAWS_ANSWERS else ["stop"])),
            **(leaves("engine", CONFIG.engine) if DRAWS_ANSWERS else {}),
            **(
                {"generation__max_new_tokens": CONFIG.generation.max_new_tokens}
                if DRAWS_ANSWERS
                else {}
            ),
            scope=CONFIG.steering.scope,
            first_k=CONFIG.steering.first_k,
            window=CONFIG.steering.generated_window,
            tokens=CONFIG.steering.at_tokens,
        ),
        code=code_of("trained_vectors"),
        layers=lambda wildcards: LAYERS if TOGETHER else [int(wildcards.layer)],
    script:
        "../scripts/trained_vectors.py"
