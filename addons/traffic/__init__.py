"""What went through the proxy, in a local SQLite database that holds no secret: `Recorder` writes it, the commands read it."""
