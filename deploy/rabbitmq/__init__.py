"""What RabbitMQ is told: its configuration, its plugins, and the definitions of dutiful's vhost and users."""
