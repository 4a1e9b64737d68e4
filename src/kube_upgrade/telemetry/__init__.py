"""What the programs say of themselves: logs, metrics and probes."""
