"""Messages of a Kafka broker: which there are, and those between two offsets, the same however often they are read."""
