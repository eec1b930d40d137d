"""How large, and how far off."""
