"""Checkpoint -> engine -> predictions."""
