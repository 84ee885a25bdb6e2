"""Does activation steering change a model's accuracy on GSM8K?

Everything lies under the results folder (config key `results`, here <results>):
  data/{train,test}.jsonl            the source's own parts
  splits/{train,val,test}.jsonl      disjoint; manifest.json proves it
  model/info.json                    depth, commit, layers
  pairs/, activations/{split}/layer_{L}.h5, probes/, vectors/{direction}/layer_{L}.safetensors
  heads/{method}.safetensors         vectors of attention heads (methods dac_heads, iti)
  baseline/val.jsonl                 unsteered answers
  checks/zero_steering.json          the gate before the search: hooks do exactly what they should
  checks/model_check.json            a direct test of the model (target model_check)
  study/study.db, study/trials.csv   the search
  best_config.json                   what it chose
  test_final.json, test_generations.jsonl, provenance.json
  controls.json, control_generations.jsonl  what else would have done the same
  off_target.json, off_target.jsonl  what steering does elsewhere (target off_target)
  report.html, figures/              what a person looks at
  methods.md, references.bib         what a person pastes into a paper
  sensitivity.csv                    accuracy over strengths (target sensitivity), with
                                     figures/sensitivity.{svg,png}
  export/                            the chosen vector for other tools (target export)
What was read of a test split, over all runs, lies beside it (config key `evaluation.ledger`).
"""

from snakemake.utils import min_version

min_version("9.14.8")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/vectors.smk"
include: "workflow/rules/heads.smk"
include: "workflow/rules/checks.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/test.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/off_target.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    splits,
    vectors,
    study,
    export,


rule all:
    default_target: True
    input:
        "<results>/test_final.json",
        "<results>/provenance.json",
        "<results>/controls.json",
        "<results>/report.html",
        branch(
            CONFIG.sensitivity.in_report,
            then="<results>/figures/sensitivity.svg",
            otherwise=[],
        ),
        branch(
            CONFIG.off_target.in_report,
            then="<results>/off_target.json",
            otherwise=[],
        ),


rule splits:
    input:
        "<results>/splits/manifest.json",


rule vectors:
    input:
        VECTOR_FILES,
        PROBE_METRICS,


rule study:
    input:
        "<results>/best_config.json",


rule export:
    input:
        "<results>/export/manifest.json",
        exported_files,


onstart:
    check_folders()
    check_second_task()
    started["at"] = time.time()
    if not Path(CONFIG.results, "test_final.json").exists():
        logger.info(planned_power())
    if COMPILE_REFUSED:
        logger.warning(
            "engine.compile is always, but operators, bands and attention heads may round differently "
            "in compiled code: nothing is compiled. Set engine.compile: auto."
        )


onsuccess:
    print(final_summary(CONFIG.results, since=started["at"]))
