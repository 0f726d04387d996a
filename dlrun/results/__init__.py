"""What many runs say together: filters, groups of seeds, comparisons, curves."""
