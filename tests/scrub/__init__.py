"""Scrubbing, and comparing database and storage: real servers whose files somebody damaged."""
