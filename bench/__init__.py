"""How fast and how small: `make bench`. Ratios side by side on one machine, never a timed unit test."""
