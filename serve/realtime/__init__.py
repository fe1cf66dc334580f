"""What happens now: events taken, kept and answered for before the next run, and what to show because of them."""
