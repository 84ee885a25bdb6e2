"""The chosen configuration in the formats of other tools, or the reason why not."""
