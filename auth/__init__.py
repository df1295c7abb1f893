"""Who asks, and what they may do. Imports nothing of the registry."""
