"""Problems and splits.

Inputs: the data source (generator, hub, or a folder with train.jsonl and test.jsonl).
Outputs: data/{official}.jsonl, splits/{train,val,test}.jsonl, splits/manifest.json.
Steps: read each official part by itself; carve train and validation from the official train part;
draw the test split from the official test part, leaving out what duplicates train or validation.
The test part meets the others only in `test_split`, which nothing before the final test reads.
"""


rule official_data:
    input:
        folder=source_file,
        code=code_of("official_data"),
    output:
        "<results>/data/{official}.jsonl",
    log:
        "<results>/logs/official_data_{official}.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(**section_params("data", "train", "val", "test")),
    script:
        "../scripts/official_data.py"


rule train_val_split:
    input:
        problems="<results>/data/train.jsonl",
        code=code_of("train_val_split"),
    output:
        train="<results>/splits/train.jsonl",
        val="<results>/splits/val.jsonl",
    log:
        "<results>/logs/train_val_split.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(train=CONFIG.data.train, val=CONFIG.data.val, seed=CONFIG.data.seed),
    script:
        "../scripts/train_val_split.py"


rule test_split:
    input:
        official_train="<results>/data/train.jsonl",
        official_test="<results>/data/test.jsonl",
        train="<results>/splits/train.jsonl",
        val="<results>/splits/val.jsonl",
        code=code_of("test_split"),
    output:
        test="<results>/splits/test.jsonl",
        manifest="<results>/splits/manifest.json",
    log:
        "<results>/logs/test_split.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        **named(test=CONFIG.data.test, seed=CONFIG.data.seed),
    script:
        "../scripts/test_split.py"
