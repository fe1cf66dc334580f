"""What happens now: events that are taken, kept and answered for before the next run."""
