"""What is done with profiles outside of an answer: audiences by channel under consent, experiments."""
