"""Studies: trials that are ordinary runs, drawn by Optuna, pruned by what they have measured."""
