"""The distribution API from outside: HTTP against a running server, as the specification has it."""
