"""Problems: where they come from, how they are split, and how a gold answer is read."""
