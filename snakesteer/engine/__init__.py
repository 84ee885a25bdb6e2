"""Generation engines: requests in, generations out."""
