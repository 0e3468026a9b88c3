"""Measures dutiful beside its peers: one question a file, all contenders in the same run."""
