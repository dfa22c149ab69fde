"""What files say about themselves: pure readers of the formats this store knows."""
