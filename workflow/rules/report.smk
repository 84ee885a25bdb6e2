"""What a person looks at.

Inputs: the results of all other rules.
Outputs: report.html (one file that needs nothing else), figures/{figure}.{svg,png}, methods.md (a
paragraph to paste into a paper), references.bib (what it cites).
Steps: read the files of the run, draw the figures, put the numbers into words.
"""

REPORT_ASSETS = [
    package_file("report", "assets", path.name)
    for path in sorted(code_files.PACKAGE.joinpath("report", "assets").iterdir())
]


rule report:
    input:
        test="<results>/test_final.json",
        generations="<results>/test_generations.jsonl",
        best="<results>/best_config.json",
        baseline="<unsteered>/baseline/val.json",
        trials="<results>/study/trials.csv",
        db="<results>/study/study.db",
        probes=PROBE_METRICS,
        vectors=DIAGNOSED,
        model="<depth>/model/info.json",
        manifest="<problems>/splits/manifest.json",
        provenance="<results>/provenance.json",
        zero_steering="<results>/checks/zero_steering.json",
        controls="<results>/controls.json",
        sensitivity=branch(
            CONFIG.sensitivity.in_report,
            then="<results>/sensitivity.csv",
            otherwise=[],
        ),
        training=TRAINING_LOGS,
        assets=REPORT_ASSETS,
    output:
        report=report(
            "<results>/report.html",
            caption="../report/report.rst",
            category="Result",
            labels={"shows": "the whole report"},
        ),
        methods="<results>/methods.md",
        references="<results>/references.bib",
        png=expand(
            "<results>/figures/{figure}.png",
            figure=[
                "accuracy",
                "difference",
                "dose",
                "layer_dose",
                "history",
                "importance",
                "probes",
                *(["training"] if TRAINING_LOGS else []),
                *(["pareto"] if CONFIG.search.weighs_kl else []),
            ],
        ),
        accuracy=report(
            "<results>/figures/accuracy.svg",
            caption="../report/accuracy.rst",
            category="Result",
            labels={"shows": "accuracy on the test split"},
        ),
        difference=report(
            "<results>/figures/difference.svg",
            caption="../report/difference.rst",
            category="Result",
            labels={"shows": "difference from the unsteered model"},
        ),
        dose=report(
            "<results>/figures/dose.svg",
            caption="../report/dose.rst",
            category="Search",
            labels={"shows": "accuracy by dose"},
        ),
        layer_dose=report(
            "<results>/figures/layer_dose.svg",
            caption="../report/layer_dose.rst",
            category="Search",
            labels={"shows": "accuracy by layer and dose"},
        ),
        history=report(
            "<results>/figures/history.svg",
            caption="../report/history.rst",
            category="Search",
            labels={"shows": "trials in their order"},
        ),
        importance=report(
            "<results>/figures/importance.svg",
            caption="../report/importance.rst",
            category="Search",
            labels={"shows": "importance of parameters"},
        ),
        probes=report(
            "<results>/figures/probes.svg",
            caption="../report/probes.rst",
            category="Probes",
            labels={"shows": "AUC by layer"},
        ),
        training=(
            report(
                "<results>/figures/training.svg",
                caption="../report/training.rst",
                category="Search",
                labels={"shows": "training of the vectors"},
            )
            if TRAINING_LOGS
            else []
        ),
        pareto=(
            report(
                "<results>/figures/pareto.svg",
                caption="../report/pareto.rst",
                category="Search",
                labels={"shows": "accuracy by KL on neutral text"},
            )
            if CONFIG.search.weighs_kl
            else []
        ),
    log:
        "<results>/logs/report.log",
    localrule: True
    conda:
        "../../envs/snakesteer.yaml"
    params:
        code=code_of("report", **(GRID_METHODS if CONFIG.sensitivity.in_report else {})),
    script:
        "../scripts/report.py"
