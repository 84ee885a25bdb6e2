"""Does activation steering change a model's accuracy on GSM8K?

Everything lies under the results folder (config key `results`, here <results>):
  data/{train,test}.jsonl            the source's own parts
  splits/{train,val,test}.jsonl      disjoint; manifest.json proves it
  model/info.json                    depth, commit, layers
  pairs/, activations/{split}/layer_{L}.h5, probes/, vectors/{direction}/layer_{L}.safetensors
  heads/{method}.safetensors         vectors of attention heads (methods dac_heads, iti)
  baseline/val.jsonl                 unsteered answers
  study/study.db, study/trials.csv   the search
  best_config.json                   what it chose
  test_final.json, test_generations.jsonl, provenance.json
"""

from snakemake.utils import min_version

min_version("9.14.8")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/vectors.smk"
include: "workflow/rules/heads.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/test.smk"


localrules:
    all,
    splits,
    vectors,
    study,


rule all:
    default_target: True
    input:
        "<results>/test_final.json",
        "<results>/provenance.json",


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


onstart:
    started["at"] = time.time()
    if REFERENCE_INSTEAD:
        logger.warning(
            f"steering.methods {CONFIG.steering.methods} needs the reference engine, which is slower; "
            "it gives all answers of this run."
        )


onsuccess:
    print(final_summary(CONFIG.results, since=started["at"]))
