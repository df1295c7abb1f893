"""Logging in, from outside: passwords, tokens, the token server, refusals, and what ends them."""
