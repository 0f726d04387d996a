"""The packaged configuration: YAML only; this file makes it a package that Hydra finds."""
