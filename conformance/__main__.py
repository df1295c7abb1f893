"""`python -m conformance`."""

import sys

try:
    from conformance.command import main
except ModuleNotFoundError as missing:
    if missing.name not in ("httpx", "jinja2"):
        raise
    print(f"conformance: {missing.name} is missing: pip install 'stowage[conformance]' brings it", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
