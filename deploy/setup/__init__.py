"""Installs what the project needs and finds it again; uses the standard library only, since it runs first."""
