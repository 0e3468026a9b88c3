"""Every test runs with the runtime's own fixtures, and never with the settings of the shell that started it."""

pytest_plugins = ["workers.testing", "tests.servers", "tests.strangers"]
