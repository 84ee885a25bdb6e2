"""One run, from problems to report.

Inputs: the config of the run. Outputs: its results folder (see the Snakefile).
Steps: the rules of all stages, and what a person asks for by name.
"""


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/model.smk"
include: "rules/vectors.smk"
include: "rules/heads.smk"
include: "rules/gates.smk"
include: "rules/kl_strengths.smk"
include: "rules/checks.smk"
include: "rules/search.smk"
include: "rules/test.smk"
include: "rules/evidence.smk"
include: "rules/off_target.smk"
include: "rules/provenance.smk"
include: "rules/export.smk"
include: "rules/report.smk"


# What the whole run makes.
WANTED = [
    "<results>/test_final.json",
    "<results>/provenance.json",
    "<results>/controls.json",
    "<results>/report.html",
    *(["<results>/figures/sensitivity.svg"] if CONFIG.sensitivity.in_report else []),
    *expand("<results>/{name}.json", name=OFF_TARGET),
]


rule splits:
    input:
        "<results>/splits/manifest.json",
    localrule: True


rule vectors:
    input:
        VECTOR_FILES,
        PROBE_METRICS,
    localrule: True


rule study:
    input:
        "<results>/best_config.json",
    localrule: True


rule export:
    input:
        "<results>/export/manifest.json",
        exported_files,
    localrule: True


onstart:
    check_folders()
    hold_results()
    check_off_target()
    started["at"] = time.time()
    if not Path(CONFIG.results, "test_final.json").exists():
        logger.info(planned_power())
    if RUN.compile_refused:
        logger.warning(
            "engine.compile is always, but operators, bands, several vectors, gates and attention heads may round differently "
            "in compiled code: nothing is compiled. Set engine.compile: auto."
        )


onsuccess:
    print(final_summary(CONFIG.results, since=started["at"]))
