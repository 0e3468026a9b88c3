"""The contenders' jobs."""
