"""One thin file a verb: it parses, calls and prints. `parsers.py` has all arguments."""
