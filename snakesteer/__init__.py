"""snakesteer: does activation steering change a language model's accuracy on GSM8K?

The library behind the workflow. Nothing here imports Snakemake; the rules in ``workflow/`` call
these modules through thin scripts.
"""

__version__ = "0.1.0"
