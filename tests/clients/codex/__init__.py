"""The official Codex CLI (package.json: from npm), and what the tests need to run it offline."""
