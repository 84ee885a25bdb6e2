"""Kinds of trouble of whole runs, on one machine, on a cluster and with a database; see SINGLE."""

OF_RUNS = [
    (
        "three Snakemakes started at once in the same folder; `--unlock` while one works",
        'one works, the others are refused: "Directory cannot be locked", "Another run works on"',
        "tests/workflow/test_live_runs.py",
        "test_one_run_at_a_time_and_no_lock_of_a_dead_one",
    ),
    (
        "`kill -9` of `snakemake` alone, whose job goes on",
        "the same command waits for that job, and goes on behind it",
        "tests/workflow/test_live_runs.py",
        "test_one_run_at_a_time_and_no_lock_of_a_dead_one",
    ),
    (
        "a lock of a run on another machine",
        'left alone; refused: "Directory cannot be locked", and whose it is',
        "tests/unit/records/test_live_runs.py",
        "test_a_run_of_another_machine_is_left_alone",
    ),
    (
        "a working directory on a file system without locks, or one that grants all (simulated)",
        "a warning; or the process counts alone",
        "tests/unit/records/test_live_runs.py",
        "test_where_every_lock_is_granted_the_process_counts",
    ),
    (
        "a real PostgreSQL or MariaDB that is restarted and killed under two workers, which are "
        "killed, too",
        "loses no finished trial; the workers wait, and go on",
        "tests/database/test_servers.py",
        "test_killed_workers_and_a_restarted_server_lose_no_trial",
    ),
    (
        "the password of the study's database",
        "in no file, no message and no command line",
        "tests/database/test_servers.py",
        "test_a_whole_run_and_a_password_that_nobody_sees",
    ),
    (
        "two workers on SLURM that are requeued, preempted, and lose their node",
        "loses no finished trial; the run goes on by itself",
        "tests/slurm/test_faults.py",
        "test_two_workers_are_requeued_preempted_and_lose_their_node",
    ),
    (
        "`kill -9` of the `snakemake` of a study on SLURM",
        "the same command goes on; nothing finished is done again",
        "tests/slurm/test_faults.py",
        "test_a_study_whose_snakemake_is_killed_goes_on",
    ),
    (
        "a job with a GPU of SLURM's that torch does not see (simulated)",
        'refused: "SLURM has handed a GPU to this job"; never a silent run on the CPU',
        "tests/unit/models/test_loading.py",
        "test_a_gpu_that_slurm_has_handed_out_must_be_seen",
    ),
]
