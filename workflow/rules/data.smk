"""Problems and splits.

Inputs: the data source (generator, hub, or a folder with a file for each part).
Outputs: data/{official}.jsonl, splits/{train,val,test}.jsonl, splits/manifest.json.
Steps: read each official part by itself; draw the train split from the official train part, the
validation split from the same or (data.validation_from) from the official test part, and the test split
from the official test part, leaving out what duplicates train or validation. Of a source with one part,
which is official train and test part both, what is left.
The test part meets the others only in `test_split`, which nothing before the final test reads, and,
where it holds validation, in `val_split`, which writes the validation problems alone.
"""


rule official_data:
    input:
        folder=source_file,
    output:
        "<problems>/data/{official}.jsonl",
    log:
        "<problems>/logs/official_data_{official}.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(
            **section_params(
                "data", "train", "val", "validation_from", "test", "near_duplicates"
            )
        ),
        code=code_of("official_data"),
    script:
        "../scripts/official_data.py"


rule train_split:
    input:
        problems="<problems>/data/train.jsonl",
    output:
        "<problems>/splits/train.jsonl",
    log:
        "<problems>/logs/train_split.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(train=CONFIG.data.train, seed=CONFIG.data.seed, near=CONFIG.data.near),
        code=code_of("train_split"),
        # Only to say early that all do not fit; `input` keeps them out of the rerun triggers.
        val=lambda wildcards, input: (
            CONFIG.data.val if CONFIG.data.validation_from == "train" else 0
        ),
        test=lambda wildcards, input: (
            CONFIG.data.test
            if CONFIG.data.one_part and CONFIG.data.validation_from == "train"
            else 0
        ),
    script:
        "../scripts/train_split.py"


rule val_split:
    input:
        problems=f"<problems>/data/{CONFIG.data.validation_from}.jsonl",
        train="<problems>/splits/train.jsonl",
    output:
        "<problems>/splits/val.jsonl",
    log:
        "<problems>/logs/val_split.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(
            validation_from=CONFIG.data.validation_from,
            val=CONFIG.data.val,
            seed=CONFIG.data.seed,
            near=CONFIG.data.near,
        ),
        code=code_of("val_split"),
        # As above.
        test=lambda wildcards, input: CONFIG.data.test,
    script:
        "../scripts/val_split.py"


rule test_split:
    input:
        official_train="<problems>/data/train.jsonl",
        official_test="<problems>/data/test.jsonl",
        train="<problems>/splits/train.jsonl",
        val="<problems>/splits/val.jsonl",
    output:
        test="<problems>/splits/test.jsonl",
        manifest="<problems>/splits/manifest.json",
    log:
        "<problems>/logs/test_split.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(
            validation_from=CONFIG.data.validation_from,
            test=CONFIG.data.test,
            seed=CONFIG.data.seed,
            near=CONFIG.data.near,
        ),
        code=code_of("test_split"),
    script:
        "../scripts/test_split.py"
