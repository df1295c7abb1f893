"""Measures Stowage beside CNCF distribution, interleaved in one run on this machine."""
