"""AMQP: knows pika, and nothing of jobs."""
