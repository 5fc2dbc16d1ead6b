"""Batches -> checkpoints and results."""
