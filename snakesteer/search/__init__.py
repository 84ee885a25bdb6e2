"""The Optuna search: spaces, rounds of trials, and the choice of the best configuration."""
