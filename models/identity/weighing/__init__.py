"""What a pair of records weighs: blocking, comparison levels, the trained model, match weights."""
