"""HTTP: the URL table, the handlers, the table of errors, the server. Starlette appears only here and in main."""
