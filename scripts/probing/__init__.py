"""The probe: small copies of every kind in mounts of fusecopy, and what the running kernel makes of each."""
