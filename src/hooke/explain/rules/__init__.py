"""Rules: a feature's name as a predicate over tokens that can be run; how such rules are searched for, kept and worded."""
