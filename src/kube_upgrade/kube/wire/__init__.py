"""Kubernetes objects as they travel: msgspec structs reduced to what we read, and their way to values."""
