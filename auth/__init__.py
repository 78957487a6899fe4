"""Who we are: signing in with a ChatGPT plan, keeping the token fresh, and never losing or showing it."""
