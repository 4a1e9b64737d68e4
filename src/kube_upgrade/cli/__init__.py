"""The command line: arguments and words; the work is done elsewhere."""
