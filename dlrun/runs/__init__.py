"""The run folder: files, status, tracking, what a person sees."""
