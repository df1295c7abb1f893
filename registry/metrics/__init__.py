"""What is counted and measured while the server runs, in memory that all of its processes share."""
