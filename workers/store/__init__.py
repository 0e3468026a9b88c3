"""The store remembers jobs, leases, messages to send, and ticks; it knows SQL and nothing of AMQP."""
