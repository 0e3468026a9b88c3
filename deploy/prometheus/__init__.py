"""Writes the rules that Prometheus reads: what is recorded, and what somebody is told of."""
