"""Messages and services of proto/*.proto, generated when the package is built (see proto/generate.py)."""
