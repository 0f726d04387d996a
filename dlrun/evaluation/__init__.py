"""Numbers and pictures of a method, by what it can do."""
