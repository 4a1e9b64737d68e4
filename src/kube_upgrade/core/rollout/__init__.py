"""Which node upgrades next, and why the others wait. Start at decide.py."""
