"""What steering is and does: vectors, operators, and the space that a search chooses from."""
