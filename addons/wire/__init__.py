"""Formats, sans-io: bytes and values in, bytes and values out. No os, socket, clock, asyncio or logging below here."""
