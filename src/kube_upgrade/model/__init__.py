"""The vocabulary: frozen values. Nothing here imports more than the standard library."""
