"""What servers speak that sources read from: HTTP, Kafka, logs of changes, webhooks."""
