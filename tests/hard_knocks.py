"""The catalogue of bad inputs and faults, made from the tests' own tables: docs/hard_knocks.md.

``python -m tests.hard_knocks`` writes it; tests/unit/hard_knocks/test_catalogue.py compares.
"""

from collections.abc import Iterable
from pathlib import Path

from tests.unit.hard_knocks import (
    test_configs,
    test_data,
    test_faults,
    test_files,
    test_limits,
    test_models,
    test_templates,
)
from tests.workflow import test_bad_inputs

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "hard_knocks.md"

INTRODUCTION = """\
# Hard knocks

What has been tried to break a run, and what happened. "Refused" means: a message of one paragraph
with the words shown, among others; a non-zero exit status; no traceback, no half-written file. What
stands under Data, Models, Chat templates and Result files is repaired in the test, and the same job
finishes; so it is with the disks and limits of the machine. This page is made from the tables of
the tests (`python -m tests.hard_knocks`), and a test compares them.
"""

# Faults that have a test of their own: what, what happens, file, function.
SINGLE = [
    (
        "a second Snakemake in the same folder",
        'refused: "Directory cannot be locked"; finishes when the first has ended',
        "tests/workflow/test_hard_knocks.py",
        "test_faults_one_after_the_other",
    ),
    (
        "data from the year 2100 (a clock that was wrong)",
        'refused: "clock skew", with the file; finishes with the time put right',
        "tests/workflow/test_hard_knocks.py",
        "test_faults_one_after_the_other",
    ),
    (
        "a read-only results folder",
        'refused before the first job: "cannot be written to"',
        "tests/workflow/test_hard_knocks.py",
        "test_faults_one_after_the_other",
    ),
    (
        "a full disk under a whole run",
        'refused: "The disk is full"; finished files stay, and the run goes on',
        "tests/workflow/test_hard_knocks.py",
        "test_faults_one_after_the_other",
    ),
    (
        "a full disk in the middle of a search",
        "stops; finished trials are kept, and the search goes on behind them",
        "tests/unit/hard_knocks/test_faults.py",
        "test_a_search_on_a_full_disk_goes_on_where_it_stopped",
    ),
    (
        "a full disk for the study's database",
        'refused: "The disk is full"; written when there is room',
        "tests/unit/hard_knocks/test_faults.py",
        "test_the_studys_tables_on_a_full_disk",
    ),
    (
        "a journal dated 1970 or 2100",
        "no effect: the search goes on",
        "tests/unit/hard_knocks/test_faults.py",
        "test_a_journal_from_another_time",
    ),
    (
        "`ulimit -v`: less memory than a batch needs",
        'refused: "Out of memory", with the keys to change',
        "tests/unit/hard_knocks/test_faults.py",
        "test_a_real_limit_on_memory",
    ),
    (
        "`ulimit -f`, or a quota",
        'refused: "a quota or limit on files"',
        "tests/unit/hard_knocks/test_faults.py",
        "test_a_real_limit_on_file_sizes",
    ),
    (
        "a GPU without memory for all slots (simulated)",
        "the whole call again with half the slots, and a warning",
        "tests/unit/engine/slots/test_run.py",
        "test_out_of_memory_starts_again_with_fewer_slots",
    ),
    (
        "a GPU without memory for four slots (simulated)",
        'refused: "do not fit into the GPU\'s memory"',
        "tests/unit/engine/slots/test_run.py",
        "test_out_of_memory_with_the_fewest_slots_is_an_error",
    ),
    (
        "a search killed at twelve random moments",
        "loses no finished trial",
        "tests/workflow/test_survival.py",
        "test_a_search_killed_at_twelve_moments",
    ),
    (
        "a search killed at any moment, again and again",
        "becomes the study that an undisturbed search gives",
        "tests/unit/search/test_kills.py",
        "test_processes_killed_at_any_time",
    ),
    (
        "`snakemake` killed (KILL, INT, TERM), and started again",
        "loses no finished trial; nothing keeps running",
        "tests/workflow/test_survival.py",
        "test_the_whole_command_killed_at_three_moments",
    ),
    (
        "half a line at the end of the journal",
        "the line is dropped; finished trials stay",
        "tests/unit/search/test_journal.py",
        "test_half_a_line_costs_nothing",
    ),
    (
        "a damaged line in the middle of the journal",
        'refused: "is damaged"; the file is left alone',
        "tests/unit/search/test_journal.py",
        "test_a_damaged_journal_is_named_and_left_alone",
    ),
    (
        "half a line at the end of the ledger of test reads",
        "it is kept, named and counted apart; the next read starts a new line",
        "tests/unit/records/test_ledger.py",
        "test_half_a_line_is_kept_and_told",
    ),
    (
        "two processes of one search worker",
        "the second waits",
        "tests/unit/search/test_journal.py",
        "test_one_process_of_a_worker_at_a_time",
    ),
    (
        "a lock left by a killed process",
        "no effect: the kernel freed it",
        "tests/unit/search/test_journal.py",
        "test_a_lock_file_left_by_a_killed_process_costs_no_time",
    ),
    (
        "a strength that makes every number infinite",
        "that answer is wrong; its neighbours are not touched",
        "tests/unit/engine/slots/test_engine.py",
        "test_a_huge_strength_ruins_no_other_row",
    ),
    (
        "answers that repeat one character 40,000 times",
        "graded at once",
        "tests/unit/evaluation/test_grading.py",
        "test_a_long_degenerate_answer_costs_no_square_of_its_length",
    ),
    (
        "calculations with thousands of brackets, terms or digits",
        "passed over",
        "tests/unit/vectors/test_corruption.py",
        "test_absurd_calculations_are_passed_over",
    ),
    (
        "a prompt longer than the context",
        'refused: "do not fit into the model\'s context"',
        "tests/unit/hard_knocks/test_models.py",
        "test_a_prompt_longer_than_the_context",
    ),
    (
        "`prompt.chat: true` without a chat template",
        'refused: "no chat template"',
        "tests/unit/data/test_prompts.py",
        "test_no_template",
    ),
    (
        "a hub id without a network, or `HF_HUB_OFFLINE`",
        "refused, with the ways out: network, filled cache, local folder",
        "tests/unit/models/test_loading.py",
        "test_unknown_hub_id",
    ),
    (
        "data from the hub without a network",
        'refused: "Without a network", with the ways out',
        "tests/workflow/test_bad_inputs.py",
        "test_a_hub_without_a_network",
    ),
    (
        "HuggingFace's cache cannot be written",
        'refused: "Permission denied", "HF_HOME"',
        "tests/unit/hard_knocks/test_models.py",
        "test_a_cache_that_cannot_be_written",
    ),
    (
        "Python code that comes with a model",
        'never runs; refused: "model.trust_remote_code"',
        "tests/unit/models/test_loading.py",
        "test_code_of_a_model_does_not_run",
    ),
    (
        "`.bin` weights without anything else in them",
        "fine, read by PyTorch's restricted reader",
        "tests/unit/hard_knocks/test_models.py",
        "test_weights_in_the_old_format_are_read_without_running_anything",
    ),
    (
        "code in data, vectors or results",
        "cannot run: the library has no pickle, eval or shell",
        "tests/unit/test_safety.py",
        "test_nothing_that_is_read_can_run",
    ),
    (
        "a damaged GGUF file",
        'refused: "cannot be loaded"',
        "tests/unit/models/test_gguf.py",
        "test_a_damaged_gguf_file_is_explained",
    ),
    (
        "`model.quantization` without bitsandbytes",
        'refused: "pip install bitsandbytes"',
        "tests/unit/models/test_quantization.py",
        "test_without_the_package_it_is_explained",
    ),
    (
        "numbers that are not finite in offloaded weights",
        'refused: "not finite", with the weight',
        "tests/unit/models/test_placement.py",
        "test_offloaded_numbers_that_are_not_finite_are_found",
    ),
    (
        "a search on a study that has more trials than `search.n_trials`",
        "all of them count; log, best_config.json and the result say so",
        "tests/unit/search/test_run.py",
        "test_a_study_that_has_more_trials_than_are_asked_for",
    ),
    (
        "`~`, `$HOME` and `${DATA}` in the paths of a config",
        "fine: written out, and recorded so",
        "tests/unit/hard_knocks/test_limits.py",
        "test_home_and_variables_are_written_out_in_every_path",
    ),
    (
        "a wrong shape, a missing key or a division by zero in our own code",
        "a traceback: a bug never looks like bad input",
        "tests/unit/records/test_library_errors.py",
        "test_a_bug_keeps_its_traceback",
    ),
    (
        "a GPU that is taken, broken or too new; no C compiler; no more threads (simulated)",
        "refused, with what to look at and the keys to change",
        "tests/unit/records/test_library_errors.py",
        "test_what_can_strike_anywhere",
    ),
    (
        "a results folder on a file system without locks (simulated)",
        'refused: "The file system has no locks"',
        "tests/unit/records/test_library_errors.py",
        "test_what_can_strike_anywhere",
    ),
    (
        "one test problem",
        '"inconclusive", whatever came out',
        "tests/unit/hard_knocks/test_limits.py",
        "test_one_test_problem_proves_nothing",
    ),
    (
        "a chunk larger than the validation split",
        "fine: one chunk",
        "tests/unit/hard_knocks/test_limits.py",
        "test_a_chunk_larger_than_the_validation_split",
    ),
    (
        "answers of one token; a prompt that leaves room for one",
        "fine: the first token of the longer answer",
        "tests/unit/hard_knocks/test_limits.py",
        "test_one_token_to_a_full_context",
    ),
    (
        "blanks, quotes, `$`, `;`, `#` and letters of any script in the results folder",
        "fine",
        "tests/workflow/test_tasks.py",
        "test_a_task_with_bare_numbers",
    ),
    (
        "a model that is still thinking at the token limit",
        "finishes; `model_check` counts such answers and says what to do",
        "tests/unit/evaluation/checks/test_hints.py",
        "test_thinking_that_does_not_end",
    ),
    (
        "a thinking model, asked in its chat template",
        "finishes; gold solutions stand behind a closed think block, and `model_check` says so",
        "tests/workflow/test_chat.py",
        "test_a_run_with_a_thinking_model",
    ),
    (
        "a switch in prompt.chat_template_kwargs that the template does not read",
        "finishes; `model_check` names it",
        "tests/unit/evaluation/checks/test_hints.py",
        "test_a_switch_that_the_template_does_not_read",
    ),
    (
        "questions that begin with the label that prompt.template writes",
        "finishes; `model_check` counts them",
        "tests/unit/evaluation/checks/test_hints.py",
        "test_a_label_that_the_question_has_already",
    ),
    (
        "an answer in a chat that says `Question:` again",
        "fine: it is not cut there",
        "tests/unit/engine/test_open.py",
        "test_a_chat_may_say_the_question_again",
    ),
    (
        "a target behind `--configfile` or `--config`",
        "refused by Snakemake, in words that docs/troubleshooting.md explains",
        "tests/workflow/test_bad_inputs.py",
        "test_a_target_behind_a_config_is_said_as_in_the_page",
    ),
    (
        "a data set of the hub that is a Python script",
        'never runs; refused: "scripts are no longer supported", with the ways out',
        "tests/unit/data/test_sources.py",
        "test_a_set_that_is_a_script_names_the_way_out",
    ),
    (
        "a data set with a test part only",
        'refused: "data.train_part and data.test_part"; with both the same, it gives all splits',
        "tests/unit/data/test_sources.py",
        "test_a_set_with_a_test_part_only",
    ),
    (
        "rows without `data.group_field`",
        "refused: \"'seed' is missing\", with the rows",
        "tests/unit/data/test_sources.py",
        "test_groups_and_answers_that_are_left_out",
    ),
    (
        "perturbations of one problem, and other names in it",
        "never in two splits",
        "tests/unit/data/test_splits.py",
        "test_groups_never_cross",
    ),
    (
        "XML entities that would fill the memory",
        'refused: "not a file of rows in the format .xml"',
        "tests/unit/data/test_part_files.py",
        "test_a_bomb_of_xml_entities_does_not_go_off",
    ),
    (
        "a test part that repeats the train part",
        'refused: "has 0 problems, not counting 8 that duplicate"',
        "tests/unit/hard_knocks/test_data.py",
        "test_a_test_part_that_repeats_the_train_part",
    ),
]


def refused(words: Iterable[str]) -> str:
    """What is said, as a cell of the table."""
    return "refused: " + ", ".join(f'"{word}"' for word in words)


def sections() -> dict[str, list[tuple[str, str]]]:
    """Heading → rows: what is wrong, and what happens."""
    layers = dict.fromkeys(test_limits.BAD_LAYERS, ("layer",))
    full = {f"a full disk for {name}": ("The disk is full",) for name in test_faults.WRITERS}
    limits = {name: words for name, (_, words) in test_limits.BAD_LIMITS.items()}
    by_rule = {
        "Data": {name: words for name, (_, words) in test_data.BAD_DATA.items()},
        "Models": {name: words for name, (_, words) in test_models.BAD_MODELS.items()},
        "Chat templates": {n: words for n, (_, words) in test_templates.BAD_TEMPLATES.items()},
        "The hub": {name: words for name, (_, words) in test_models.HUB.items()},
        "Result files": {name: words for name, (_, _, words) in test_files.BAD_FILES.items()},
        "Configs": {name: words for name, (_, words) in test_configs.BAD_CONFIGS.items()},
        "Limits": limits | layers | full,
    }
    whole = {
        "Configs, in a whole run": {n: w for n, (_, w) in test_bad_inputs.BAD_CONFIGS.items()},
        "Data, in a whole run": {n: words for n, (_, words) in test_bad_inputs.BAD_DATA.items()},
        "Models, in a whole run": {
            n: words for n, (*_, words) in test_bad_inputs.BAD_MODELS.items()
        },
        "Results, in a whole run": {n: words for n, (*_, words) in test_bad_inputs.DAMAGE.items()},
    }
    tables = {
        heading: [(name, refused(words)) for name, words in table.items()]
        for heading, table in (by_rule | whole).items()
    }
    tables["Data"] += [(name, "fine") for name in test_data.FINE_DATA]
    fine = test_templates.FINE_TEMPLATES.items()
    tables["Chat templates"] += [(name, outcome) for name, (_, outcome) in fine]
    return {"The machine, and others": [row[:2] for row in SINGLE], **tables}


def document() -> str:
    """The page."""
    parts = [INTRODUCTION]
    total = 0
    for heading, rows in sections().items():
        total += len(rows)
        lines = [f"| {what} | {cell(outcome)} |" for what, outcome in rows]
        parts.append("\n".join([f"## {heading}\n", "| What | Outcome |", "| --- | --- |", *lines]))
    return "\n\n".join([part.strip() for part in parts]) + f"\n\n{total} lines.\n"


def cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
