"""What is said within a request: what a visitor does now, and what to show because of it."""
