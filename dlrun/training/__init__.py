"""The loop, and what it needs: hardware, optimizers, schedules, checkpoints."""
