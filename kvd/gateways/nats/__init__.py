"""The bridge that publishes changes to NATS JetStream."""
