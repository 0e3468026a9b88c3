"""One behaviour a file, named for what it gives; their order is one list, in workers/broker.py."""
