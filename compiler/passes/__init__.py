"""One pass per file, each with a verify of its own."""
