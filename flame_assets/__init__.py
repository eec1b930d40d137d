"""Data files of face3d; see manifest.toml for their licences and origins."""
