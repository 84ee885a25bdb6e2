"""Does activation steering change a model's accuracy on GSM8K?

Everything lies under the results folder (config key `results`, here <results>):
  data/{train,test}.jsonl            the source's own parts
  splits/{train,val,test}.jsonl      disjoint; manifest.json proves it
  model/info.json                    depth, commit, layers
  pairs/, activations/{split}/layer_{L}.h5, probes/, vectors/{direction}/layer_{L}.safetensors
  heads/{method}.safetensors         vectors of attention heads (methods dac_heads, iti)
  gates.json                         thresholds of gates, where there are any
  baseline/val.jsonl                 unsteered answers
  checks/zero_steering.json          the gate before the search: hooks do exactly what they should
  checks/model_check.json            a direct test of the model (target model_check)
  kl_strengths.json                  which doses strengths in nats are (steering.unit: kl)
  study/study.db, study/trials.csv   the search
  best_config.json                   what it chose
  test_evaluation.json, test_generations.jsonl  the answers on the test split and what they say
  test_final.json                    the same, with what the steering does elsewhere
  provenance.json                    enough to do the run again
  controls.json, control_generations.jsonl  what else would have done the same
  off_target.json, off_target.jsonl  what steering does elsewhere (target off_target)
  report.html, figures/              what a person looks at
  methods.md, references.bib         what a person pastes into a paper
  sensitivity.csv                    accuracy over strengths (target sensitivity), with
                                     figures/sensitivity.{svg,png}
  export/                            the chosen vector for other tools (target export)
What was read of a test split, over all runs, lies beside it (config key `evaluation.ledger`).

A study of many runs (config keys `runs`, `replicates`) has in its results folder:
  runs/{run}/                        the results of each, as above
  shared/{stage}-{hash}/             what several of them have in common, made once
  runs.csv, report.html, figures/    all runs and what they say together
"""

from pathlib import Path

from snakemake.utils import min_version

from snakesteer.study.plan import is_study

min_version("9.14.8")


# The working directory's own, as in a project that uses this workflow from elsewhere.
OWN_CONFIG = Path("config", "config.yaml")


configfile: OWN_CONFIG if OWN_CONFIG.is_file() else workflow.source_path(str(OWN_CONFIG))


report: "workflow/report/workflow.rst"


if is_study(config):

    include: "workflow/study.smk"

    RESULTS = STUDY.results

else:

    include: "workflow/run.smk"

    RESULTS = CONFIG.results


include: "workflow/live.smk"


rule all:
    default_target: True
    input:
        WANTED,
    localrule: True
