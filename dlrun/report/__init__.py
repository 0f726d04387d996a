"""One self-contained HTML file about a run, several, or a sweep; knows neither torch nor Hydra."""
