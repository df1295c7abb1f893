"""The server broken on purpose: what it acknowledged must hold."""
