"""Brings the project up on a machine: set-up, the local stack, the demo."""
