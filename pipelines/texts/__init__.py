"""What texts say: of people about the shop, and of products."""
