"""Catalogue row -> posters in shards."""
