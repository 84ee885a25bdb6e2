"""The Optuna search: rounds of trials, their journal, and the choice of the best configuration."""
