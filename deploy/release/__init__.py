"""Checks whether this commit can be released, keeps the evidence, and tags it."""
