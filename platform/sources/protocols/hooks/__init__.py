"""Webhooks: who sent a message (`signatures`), and where it is durable before it is answered (`journal`)."""
