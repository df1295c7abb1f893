"""Black-box checks of any registry against the OCI distribution specification: `python -m conformance --url URL`."""
