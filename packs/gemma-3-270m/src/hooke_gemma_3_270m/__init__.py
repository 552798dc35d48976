"""Data of the pack: SAE weights and their atlas. Hooke reads the files; there is no code here."""
