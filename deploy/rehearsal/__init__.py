"""Rehearses a release: deploys it under load, checks it, rolls it back, and counts what that has cost."""
