"""What happens to a flow: one reason per file, one addon class per reason. `codex_auth` is the script that mitmproxy loads."""
