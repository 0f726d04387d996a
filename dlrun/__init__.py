"""dlrun: one line in a shell becomes a deep-learning experiment that can be trusted."""

__version__ = "0.1.0"
