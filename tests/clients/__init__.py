"""The clients that people push and pull with, against a real server."""
