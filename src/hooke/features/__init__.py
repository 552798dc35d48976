"""Features: what is known of a feature from where it fires: statistics, examples, near misses, neighbours. Arrays in, arrays out."""
