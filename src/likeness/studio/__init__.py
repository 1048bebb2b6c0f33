"""Pages in a browser: the only code that speaks HTTP to people."""
