"""snakesteer: does activation steering change a language model's accuracy on GSM8K?

The library behind the workflow. Nothing here imports Snakemake; the rules in ``workflow/`` call
these modules through thin scripts.
"""

import os

__version__ = "0.1.0"

# Read when torch loads its OpenMP library. Threads that wait for each other spin by default; where
# cores are shared with other jobs, that made decoding up to seven times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
