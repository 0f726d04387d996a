"""From argv to a typed, frozen config, or to every reason why not."""
