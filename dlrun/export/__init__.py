"""Trained networks as files that other programs read, each checked against the original."""
